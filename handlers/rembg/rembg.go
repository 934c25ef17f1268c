// Package rembg speaks the wire format of rembg's own HTTP server.
package rembg

import (
	"context"
	"errors"
	"fmt"
	"image/color"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"cutout/codec"
	"cutout/config"
	"cutout/fetch"
	"cutout/handlers/dialect"
	"cutout/handlers/upload"
	"cutout/metrics"
	"cutout/pipeline"
)

// Name of the dialect in metrics and the log.
const Name = "rembg"

const path = "/api/remove"

// Names of the parameters.
const (
	fieldFile          = "file"
	fieldURL           = "url"
	fieldModel         = "model"
	fieldMatting       = "a"
	fieldForeground    = "af"
	fieldBackground    = "ab"
	fieldErode         = "ae"
	fieldOnlyMask      = "om"
	fieldPostProcess   = "ppm"
	fieldColor         = "bgc"
	fieldExtras        = "extras"
	fieldDecontaminate = "dc"
)

// models are the names that the server takes. What is not loaded is served by what is, and the reply says so.
var models = []string{
	"u2net", "u2netp", "u2net_human_seg", "u2net_cloth_seg", "u2net_custom", "silueta", "isnet-general-use", "isnet-anime",
	"dis_custom", "sam", "birefnet-general", "birefnet-general-lite", "birefnet-portrait", "birefnet-dis", "birefnet-hrsod",
	"birefnet-cod", "birefnet-massive", "ben_custom", "bria-rmbg",
}

// humans are those of the models that look for people.
var humans = map[string]bool{"u2net_human_seg": true, "birefnet-portrait": true}

// maxURL bounds a URL in bytes.
const maxURL = 8 << 10

// API is the dialect.
type API struct {
	cfg       config.Pictures
	limits    codec.Limits
	processor dialect.Processor
	fetcher   dialect.Fetcher
}

// New builds the dialect.
func New(cfg config.Pictures, p dialect.Processor, f dialect.Fetcher) *API {
	return &API{
		cfg: cfg, processor: p, fetcher: f,
		limits: codec.Limits{MaxBytes: int64(cfg.MaxFile), MaxPixels: cfg.MaxPixels}, // any format, as there
	}
}

// Routes lists what the dialect serves.
func (a *API) Routes() []dialect.Route {
	return []dialect.Route{
		{Dialect: Name, Method: http.MethodGet, Path: path, Computes: true, Serve: a.byURL, Fail: fail},
		{
			Dialect: Name, Method: http.MethodPost, Path: path, MaxBody: int64(a.cfg.MaxRequest), Computes: true,
			Fields: []string{
				fieldFile, fieldModel, fieldMatting, fieldForeground, fieldBackground, fieldErode, fieldOnlyMask, fieldPostProcess,
				fieldDecontaminate,
			},
			Serve: a.byUpload, Fail: fail,
		},
	}
}

// byURL serves GET: every parameter is in the query.
func (a *API) byURL(w http.ResponseWriter, r *dialect.Request) error {
	query := r.URL.Query()
	p := &parser{place: "query", query: query, get: func(name string) (string, bool) { return last(query, name) }}
	link, ok := last(query, fieldURL)
	if !ok {
		p.missing(fieldURL)
	}
	options := p.options()
	if len(p.problems) > 0 {
		return p.refuse(w, r)
	}
	ctx := r.Context()
	image, err := a.fetch(ctx, r.Record, link)
	if err != nil {
		return a.explain(ctx, w, r, err)
	}
	return a.run(w, r, image, options)
}

// byUpload serves POST: everything is in the form but the colour and the extras, which are in the query.
func (a *API) byUpload(w http.ResponseWriter, r *dialect.Request) error {
	form, err := r.Form()
	if err != nil {
		return err
	}
	p := &parser{place: "body", query: r.URL.Query(), get: func(name string) (string, bool) { return text(form, name) }}
	file, ok := form.Get(fieldFile)
	if !ok {
		p.missing(fieldFile)
	}
	options := p.options()
	if len(p.problems) > 0 {
		return p.refuse(w, r)
	}
	return a.run(w, r, file.Data, options)
}

// last is the value of a query's parameter; of several the last one counts.
func last(query url.Values, name string) (string, bool) {
	values := query[name]
	if len(values) == 0 {
		return "", false
	}
	return values[len(values)-1], true
}

func text(form *upload.Form, name string) (string, bool) {
	field, ok := form.Get(name)
	return field.Text(), ok
}

func (a *API) fetch(ctx context.Context, record *dialect.Record, link string) ([]byte, error) {
	if len(link) > maxURL {
		return nil, &fetch.Error{Kind: fetch.BadURL, Public: fmt.Sprintf("The URL is longer than %d bytes.", maxURL)}
	}
	defer record.Time(metrics.StageFetch)()
	got, err := a.fetcher.Get(ctx, link, int64(a.cfg.MaxFile))
	if err != nil {
		return nil, err
	}
	return got.Body, nil
}

func (a *API) run(w http.ResponseWriter, r *dialect.Request, image []byte, o pipeline.Options) error {
	o.Limits = a.limits
	result, err := a.processor.Run(r.Context(), image, o)
	if err != nil {
		return a.explain(r.Context(), w, r, err)
	}
	r.Record.Picture(result)
	defer r.Record.Time(metrics.StageWrite)()
	w.Header().Set("Content-Type", "image/png")
	w.Header().Set("Content-Length", strconv.Itoa(len(result.Data)))
	w.WriteHeader(http.StatusOK)
	_, err = w.Write(result.Data)
	return err
}

// explain answers a picture that gives no result. Errors that are not about a picture are handed back.
func (a *API) explain(ctx context.Context, w http.ResponseWriter, r *dialect.Request, err error) error {
	if ctx.Err() != nil {
		return err // a deadline or a client that went away, whatever it looks like from inside
	}
	var (
		fetched *fetch.Error
		limit   *codec.LimitError
	)
	switch {
	case errors.As(err, &fetched):
		return refuse(w, r, dialect.ReasonFetch+string(fetched.Kind), err, fetched.Public)
	case errors.As(err, &limit) && limit.What == "bytes":
		return refuse(w, r, r.Record.Reject(err), err, fmt.Sprintf("The image is too large, at most %d bytes are taken.", a.limits.MaxBytes))
	case errors.As(err, &limit):
		return refuse(w, r, r.Record.Reject(err), err, fmt.Sprintf("The image has %dx%d pixels, at most %d pixels are taken.",
			limit.Width, limit.Height, a.limits.MaxPixels))
	case errors.Is(err, codec.ErrUndecodable):
		return refuse(w, r, r.Record.Reject(err), err, "The image cannot be decoded.")
	default:
		return err
	}
}

func refuse(w http.ResponseWriter, r *dialect.Request, reason string, cause error, message string) error {
	r.Record.Fail(reason, cause)
	return dialect.WriteJSON(w, http.StatusBadRequest, detail{message})
}

// parser reads parameters as FastAPI does, and words what is wrong with them as it does.
type parser struct {
	place    string // "query" or "body": where get looks
	get      func(name string) (value string, ok bool)
	query    url.Values
	problems []problem
}

func (p *parser) missing(name string) {
	p.problems = append(p.problems, problem{Type: "missing", Loc: []string{p.place, name}, Msg: "Field required"})
}

func (p *parser) invalid(kind, place, name, value, msg string, ctx map[string]any) {
	const longest = 200 // what is echoed of a value
	if len(value) > longest {
		value = strings.ToValidUTF8(value[:longest], "") + "..."
	}
	p.problems = append(p.problems, problem{Type: kind, Loc: []string{place, name}, Msg: msg, Input: &value, Ctx: ctx})
}

func (p *parser) boolean(name string) bool {
	value, ok := p.get(name)
	if !ok {
		return false
	}
	switch strings.ToLower(value) {
	case "true", "1", "on", "t", "y", "yes":
		return true
	case "false", "0", "off", "f", "n", "no":
		return false
	}
	p.invalid("bool_parsing", p.place, name, value, "Input should be a valid boolean, unable to interpret input", nil)
	return false
}

func (p *parser) integer(name string, fallback, most int) int {
	value, ok := p.get(name)
	if !ok {
		return fallback
	}
	v, ok := integer(value)
	switch {
	case !ok:
		p.invalid("int_parsing", p.place, name, value, "Input should be a valid integer, unable to parse string as an integer", nil)
	case v < 0:
		p.invalid("greater_than_equal", p.place, name, value, "Input should be greater than or equal to 0", map[string]any{"ge": 0})
	case v > most:
		p.invalid("less_than_equal", p.place, name, value, fmt.Sprintf("Input should be less than or equal to %d", most), map[string]any{"le": most})
	default:
		return v
	}
	return fallback
}

// integer reads a whole number, one written with a fraction of zero included.
func integer(s string) (int, bool) {
	s = strings.TrimSpace(s)
	whole, fraction, _ := strings.Cut(s, ".")
	if strings.Trim(fraction, "0") != "" {
		return 0, false
	}
	v, err := strconv.ParseInt(whole, 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) { // out of range is clipped to what is out of every range here
		return 0, false
	}
	return int(min(max(v, -1), math.MaxInt32)), true
}

// maxErode is the largest erosion that makes a difference: no picture is wider.
const maxErode = math.MaxInt32

func (p *parser) options() pipeline.Options {
	o := pipeline.Options{Output: pipeline.Cutout, Quality: pipeline.Fast, Format: codec.PNG}
	if name, ok := p.get(fieldModel); ok {
		o.Model = p.model(name)
	} else {
		o.Model = models[0]
	}
	if humans[o.Model] {
		o.Subject = pipeline.Human
	}
	matting := p.boolean(fieldMatting)
	knobs := pipeline.MattingOptions{
		ForegroundThreshold: uint8(p.integer(fieldForeground, 240, 255)),
		BackgroundThreshold: uint8(p.integer(fieldBackground, 10, 255)),
		ErodeSize:           p.integer(fieldErode, 10, maxErode),
	}
	if p.boolean(fieldOnlyMask) {
		o.Output = pipeline.Mask
	}
	o.Clean = p.boolean(fieldPostProcess)
	switch decontaminate := p.boolean(fieldDecontaminate); {
	case o.Output == pipeline.Mask: // the mask is the network's, without matting
	case matting:
		o.Quality, o.Matting = pipeline.Precise, &knobs
	case decontaminate:
		o.Quality = pipeline.Balanced
	}
	if value, ok := last(p.query, fieldColor); ok && value != "" {
		if c, ok := parseColor(value); ok {
			o.Background = &pipeline.Background{Color: c}
		} else {
			p.invalid("value_error", "query", fieldColor, value, "Value error, the colour must be r,g,b,a with values from 0 to 255", nil)
		}
	}
	// The extras are for models that are prompted; what is no JSON is passed over there too.
	return o
}

// model takes the names of the known models.
func (p *parser) model(name string) string {
	if slices.Contains(models, name) {
		return name
	}
	pattern := "(" + strings.Join(models, "|") + ")"
	p.invalid("string_pattern_mismatch", p.place, fieldModel, name, "String should match pattern '"+pattern+"'",
		map[string]any{"pattern": pattern})
	return models[0]
}

// parseColor reads r,g,b,a; a colour without its last part is opaque.
func parseColor(s string) (color.NRGBA, bool) {
	parts := strings.Split(s, ",")
	if len(parts) != 3 && len(parts) != 4 {
		return color.NRGBA{}, false
	}
	v := [4]uint8{3: 255}
	for i, part := range parts {
		n, err := strconv.ParseUint(strings.TrimSpace(part), 10, 8)
		if err != nil {
			return color.NRGBA{}, false
		}
		v[i] = uint8(n)
	}
	return color.NRGBA{R: v[0], G: v[1], B: v[2], A: v[3]}, true
}

// The structs below are FastAPI's replies to what it refuses, in the order in which it writes their keys.
type (
	detail struct {
		Detail string `json:"detail"`
	}
	invalid struct {
		Detail []problem `json:"detail"`
	}
	problem struct {
		Type  string         `json:"type"`
		Loc   []string       `json:"loc"`
		Msg   string         `json:"msg"`
		Input *string        `json:"input"`
		Ctx   map[string]any `json:"ctx,omitempty"`
	}
)

func (p *parser) refuse(w http.ResponseWriter, r *dialect.Request) error {
	reason := dialect.ReasonBadParameter
	if p.problems[0].Type == "missing" {
		reason = dialect.ReasonMissingImage
	}
	r.Record.Fail(reason, nil)
	return dialect.WriteJSON(w, http.StatusUnprocessableEntity, invalid{p.problems})
}

// fail writes an error that is not about a picture or a parameter.
func fail(w http.ResponseWriter, e *dialect.Error) {
	_ = dialect.WriteJSON(w, e.Status, detail{e.Public}) // a client that is gone cannot be told so
}
