// Package api4ai speaks the wire format of API4AI's background removal.
package api4ai

import (
	"context"
	"crypto/md5" //nolint:gosec // the format wants it; it protects nothing
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"cutout/codec"
	"cutout/compositing"
	"cutout/config"
	"cutout/fetch"
	"cutout/handlers/dialect"
	"cutout/handlers/hosted"
	"cutout/handlers/upload"
	"cutout/metrics"
	"cutout/pipeline"
)

// Name of the dialect in metrics and the log.
const Name = "api4ai"

// Modes of a result, in the order in which they are listed.
const (
	modeImage  = "fg-image"
	modeShadow = "fg-image-shadow"
	modeMask   = "fg-mask"
)

var modes = []string{modeImage, modeShadow, modeMask}

// Names of the parameters. Quality and subject are ours; a client that knows nothing of them loses nothing.
const (
	fieldImage           = "image"
	fieldURL             = "url"
	fieldBackground      = "image-bg"
	fieldBackgroundURL   = "url-bg"
	fieldMode            = "mode"
	fieldRepresentation  = "representation"
	fieldQuality         = "quality"
	fieldSubject         = "subject"
	representationBase64 = "base64"
	representationURL    = "url"
)

// The hosted service lives below the second prefix, its twins on marketplaces below the first. All give the same.
var prefixes = []string{
	"/v1",
	"/img-bg-removal/v1",
	"/img-bg-removal/v1/general",
	"/img-bg-removal/v1/cars",
	"/img-bg-removal/v1/people",
}

// resolutionCeiling is the number of pixels above which the service no longer names the picture's size.
const resolutionCeiling = 178956970

// defaultName is that of an upload without one.
const defaultName = "image"

// maxURL bounds a URL in bytes, and with it what is taken for one in a field meant for a file.
const maxURL = 8 << 10

// Messages of a status.
const (
	messageOK         = "Success"
	messageUnreadable = "Can not load image."
	messageBackground = "Can not load background image."
	messageInternal   = "Processing failed"
)

// Config of the dialect.
type Config struct {
	Limits  config.Limits
	Version string      // as vX.Y.Z
	Files   *hosted.API // for results that are handed over as a URL; nil: there is no place for them
}

// API is the dialect.
type API struct {
	cfg       Config
	limits    codec.Limits
	processor dialect.Processor
	fetcher   dialect.Fetcher
}

// New builds the dialect.
func New(cfg Config, p dialect.Processor, f dialect.Fetcher) *API {
	a := &API{
		cfg: cfg, processor: p, fetcher: f,
		limits: codec.Limits{
			MaxBytes: int64(cfg.Limits.MaxFile), MaxWidth: cfg.Limits.MaxWidth, MaxHeight: cfg.Limits.MaxHeight,
			Formats: []codec.Format{codec.JPEG, codec.PNG},
		},
	}
	if cfg.Limits.AnyFormat {
		a.limits.Formats = nil
	}
	return a
}

// Routes lists what the dialect serves.
func (a *API) Routes() []dialect.Route {
	var routes []dialect.Route
	for _, prefix := range prefixes {
		get := dialect.Route{Dialect: Name, Method: http.MethodGet, Fail: fail}
		version, list := get, get
		version.Path, version.Serve, version.Keyless = prefix+"/version", a.version, true
		list.Path, list.Serve = prefix+"/modes", a.modes
		results := dialect.Route{
			Dialect: Name, Method: http.MethodPost, Path: prefix + "/results", MaxBody: int64(a.cfg.Limits.MaxRequest),
			Fields: []string{
				fieldImage, fieldURL, fieldBackground, fieldBackgroundURL, fieldMode, fieldRepresentation, fieldQuality, fieldSubject,
			},
			Computes: true, Serve: a.results, Fail: fail,
		}
		slashed := results // proxies add and remove slashes
		slashed.Path += "/"
		routes = append(routes, version, list, results, slashed)
	}
	return routes
}

func (a *API) version(w http.ResponseWriter, _ *dialect.Request) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err := w.Write([]byte(a.cfg.Version))
	return err
}

func (a *API) modes(w http.ResponseWriter, _ *dialect.Request) error {
	return writeJSON(w, http.StatusOK, modes)
}

// request is what a client asked for, validated.
type request struct {
	mode       string
	hosted     bool // the picture is handed over as a URL
	options    pipeline.Options
	image      source
	background source // the zero one: none
}

// source is a picture that came along, or the URL of one.
type source struct {
	data []byte
	name string
	url  string
	set  bool
}

func (a *API) results(w http.ResponseWriter, r *dialect.Request) error {
	form, err := r.Form()
	if err != nil {
		return err
	}
	req, problems := a.parse(r, form)
	if len(problems) > 0 {
		r.Record.Fail(dialect.ReasonBadParameter, nil)
		return writeJSON(w, http.StatusUnprocessableEntity, invalid{Detail: problems})
	}
	if !req.image.set {
		r.Record.Fail(dialect.ReasonMissingImage, nil)
		return writeJSON(w, http.StatusUnprocessableEntity, missing{Detail: "Missing image or url field."})
	}

	ctx := r.Context()
	if req.hosted {
		// A store that takes nothing is told before anything is computed.
		if err := a.cfg.Files.Ready(ctx); err != nil {
			return err
		}
	}
	image, err := a.load(ctx, r.Record, req.image)
	if err != nil {
		return a.refuse(ctx, w, r, image, "", err)
	}
	if req.background.set {
		background, err := a.load(ctx, r.Record, req.background)
		if err != nil {
			return a.refuse(ctx, w, r, image, dialect.ReasonBackground, err)
		}
		req.options.Background = &pipeline.Background{Image: background.data, Limits: a.limits}
	}
	req.options.Limits = a.limits
	result, err := a.processor.Run(ctx, image.data, req.options)
	if err != nil {
		prefix := ""
		if _, ok := errors.AsType[*pipeline.BackgroundError](err); ok {
			prefix = dialect.ReasonBackground
		}
		return a.refuse(ctx, w, r, image, prefix, err)
	}
	r.Record.Picture(result)
	defer r.Record.Time(metrics.StageWrite)()
	if req.hosted {
		link, err := a.cfg.Files.Host(r.Request, hosted.FileName(image.name, "-"+req.mode, ".png"), "image/png", result.Data)
		if err != nil {
			return err
		}
		return writeJSON(w, http.StatusOK, success(image.name, sum(image.data), req.mode, link, result))
	}
	return writeResult(w, success(image.name, sum(image.data), req.mode, "", result), result.Data)
}

// parse reads the parameters. Those documented for the query are looked for in the body second.
func (a *API) parse(r *dialect.Request, form *upload.Form) (request, []problem) {
	var problems []problem
	query := r.URL.Query()
	choose := func(name, fallback string, allowed ...string) string {
		place, value := "query", strings.TrimSpace(query.Get(name))
		if value == "" {
			place = "body"
			field, _ := form.Get(name)
			value = field.Text()
		}
		if value == "" {
			return fallback
		}
		if slices.Contains(allowed, value) {
			return value
		}
		problems = append(problems, problem{
			Loc: []string{place, name},
			Msg: fmt.Sprintf("unexpected value; permitted: '%s'", strings.Join(allowed, "', '")),
		})
		return fallback
	}
	req := request{mode: choose(fieldMode, modeImage, modes...)}
	req.hosted = choose(fieldRepresentation, representationBase64, representationBase64, representationURL) == representationURL
	req.options.Quality = pipeline.Quality(choose(fieldQuality, "",
		string(pipeline.Fast), string(pipeline.Balanced), string(pipeline.Precise)))
	req.options.Subject = pipeline.Subject(choose(fieldSubject, "",
		string(pipeline.Universal), string(pipeline.Human), string(pipeline.Product)))
	req.options.Output, req.options.Format = pipeline.Cutout, codec.PNG

	req.image = chooseSource(form, fieldImage, fieldURL)
	switch req.mode {
	case modeMask:
		req.options.Output = pipeline.Mask
		return req, problems // a background means nothing to a mask: it is not even fetched
	case modeShadow:
		shadow := compositing.DefaultShadow()
		req.options.Shadow = &shadow
	}
	req.background = chooseSource(form, fieldBackground, fieldBackgroundURL)
	return req, problems
}

// chooseSource finds a picture in the field for a file, else in the one for a URL. Some clients send a URL in the
// first or a file in the second: the bytes tell.
func chooseSource(form *upload.Form, file, link string) source {
	if field, ok := form.Get(file); ok {
		if u, ok := asURL(field); ok {
			return source{url: u, set: true}
		}
		return asFile(field)
	}
	field, ok := form.Get(link)
	if !ok {
		return source{}
	}
	if _, ok := asURL(field); !ok && field.File {
		return asFile(field)
	}
	return source{url: field.Text(), set: true}
}

func asFile(field upload.Field) source {
	name := field.FileName
	if name == "" {
		name = defaultName
	}
	return source{data: field.Data, name: name, set: true}
}

// asURL tells whether a field holds a URL and nothing else.
func asURL(field upload.Field) (string, bool) {
	if len(field.Data) > maxURL {
		return "", false
	}
	text := field.Text()
	scheme, _, ok := strings.Cut(text, "://")
	isHTTP := strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https")
	return text, ok && isHTTP && !strings.ContainsAny(text, "\x00\r\n")
}

// load gets the bytes of a picture. On failure its name is still that of the picture.
func (a *API) load(ctx context.Context, record *dialect.Record, s source) (source, error) {
	if s.url == "" {
		return s, nil
	}
	s.name = nameOf(s.url)
	if len(s.url) > maxURL {
		return s, &fetch.Error{Kind: fetch.BadURL, Public: fmt.Sprintf("The URL is longer than %d bytes.", maxURL)}
	}
	defer record.Time(metrics.StageFetch)()
	limit := a.limits.MaxBytes
	if limit == 0 {
		limit = int64(a.cfg.Limits.MaxRequest)
	}
	got, err := a.fetcher.Get(ctx, s.url, limit)
	if err != nil {
		return s, err
	}
	s.data = got.Body
	if got.Name != "" {
		s.name = got.Name
	}
	return s, nil
}

// nameOf is the last segment of a URL's path, for pictures that could not be fetched.
func nameOf(rawURL string) string {
	path, _, _ := strings.Cut(rawURL, "#")
	path, _, _ = strings.Cut(path, "?")
	if _, rest, ok := strings.Cut(path, "://"); ok {
		_, path, _ = strings.Cut(rest, "/")
	}
	path = strings.TrimRight(path, "/")
	if name := path[strings.LastIndex(path, "/")+1:]; name != "" && len(name) <= 255 {
		return name
	}
	return defaultName
}

// refuse answers a picture that gives no result. Only errors that are not about a picture are handed back.
func (a *API) refuse(ctx context.Context, w http.ResponseWriter, r *dialect.Request, image source, prefix string, err error) error {
	if ctx.Err() != nil || dialect.Refusal(err) != nil {
		return err // a deadline or a client that went away, whatever it looks like from inside, or no time for it
	}
	message, reason := a.explain(r.Record, err, prefix == dialect.ReasonBackground)
	r.Record.Fail(prefix+reason, err)
	if reason == dialect.ReasonInternal {
		r.Log.Error("processing failed", "error", err.Error())
	}
	return writeJSON(w, http.StatusOK, failure(image.name, sum(image.data), message))
}

// explain words an error for the client and names its reason for the metrics.
func (a *API) explain(record *dialect.Record, err error, background bool) (message, reason string) {
	unreadable, subject := messageUnreadable, ""
	if background {
		unreadable, subject = messageBackground, "Background image: "
	}
	var (
		fetched *fetch.Error
		limit   *codec.LimitError
	)
	switch {
	case errors.As(err, &fetched):
		if fetched.Kind == fetch.TooLarge && a.limits.MaxBytes > 0 {
			return subject + a.tooLarge(0), dialect.ReasonFetch + string(fetched.Kind)
		}
		return strings.TrimSpace(unreadable + " " + fetched.Public), dialect.ReasonFetch + string(fetched.Kind)
	case errors.As(err, &limit):
		reason = record.Reject(err)
		switch {
		case limit.What == "bytes":
			return subject + a.tooLarge(limit.Bytes), reason
		case int64(limit.Width)*int64(limit.Height) > resolutionCeiling:
			return fmt.Sprintf("%sResolution is too big: exceeds limit of %d pixels.", subject, resolutionCeiling), reason
		default:
			return fmt.Sprintf("%sResolution is too big: %dx%d. Max allowed resolution: %dx%d.",
				subject, limit.Width, limit.Height, a.limits.MaxWidth, a.limits.MaxHeight), reason
		}
	case errors.Is(err, codec.ErrUndecodable):
		return unreadable, record.Reject(err)
	default:
		return messageInternal, dialect.ReasonInternal
	}
}

// tooLarge words a file over the limit; size is 0 where it is not known.
func (a *API) tooLarge(size int64) string {
	limit := strings.Replace(config.Bytes(a.limits.MaxBytes).String(), "MB", " MB", 1)
	if size == 0 {
		return fmt.Sprintf("File size is too big. Max allowed size: %s.", limit)
	}
	return fmt.Sprintf("File size is too big: %d bytes. Max allowed size: %s.", size, limit)
}

func sum(data []byte) string {
	digest := md5.Sum(data) //nolint:gosec // see the import
	return hex.EncodeToString(digest[:])
}

// fail writes an error that is not about a picture.
func fail(w http.ResponseWriter, e *dialect.Error) {
	switch e.Status {
	case http.StatusRequestEntityTooLarge:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(e.Status)
		_, _ = w.Write([]byte("Error: Request Entity Too Large\n\nYour client issued a request that was too large.\n"))
	case http.StatusMethodNotAllowed:
		_ = writeJSON(w, e.Status, missing{Detail: e.Public}) // a client that is gone cannot be told so
	default:
		_ = writeJSON(w, e.Status, message{Message: e.Public})
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	body, err := marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err = w.Write(body)
	return err
}

// marshal writes JSON as the hosted service does: compact, with <, > and & as they are.
func marshal(v any) ([]byte, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return []byte(strings.TrimSuffix(b.String(), "\n")), nil
}
