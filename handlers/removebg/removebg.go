// Package removebg speaks the wire format of remove.bg's API, version 1.0.
package removebg

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"cutout/codec"
	"cutout/compositing"
	"cutout/config"
	"cutout/fetch"
	"cutout/handlers/dialect"
	"cutout/metrics"
	"cutout/pipeline"
)

// Name of the dialect in metrics and the log.
const Name = "removebg"

const (
	pathRemove  = "/v1.0/removebg"
	pathAccount = "/v1.0/account"
)

// unlimited is what is said of credits and of requests a minute where nothing counts them.
const unlimited = 1_000_000

// API is the dialect.
type API struct {
	cfg       config.RemoveBG
	limits    codec.Limits
	processor dialect.Processor
	fetcher   dialect.Fetcher
}

// New builds the dialect.
func New(cfg config.RemoveBG, p dialect.Processor, f dialect.Fetcher) *API {
	return &API{
		cfg: cfg, processor: p, fetcher: f,
		limits: codec.Limits{
			MaxBytes: int64(cfg.MaxFile), MaxPixels: cfg.MaxPixels, Formats: []codec.Format{codec.JPEG, codec.PNG, codec.WebP},
		},
	}
}

// Routes lists what the dialect serves.
func (a *API) Routes() []dialect.Route {
	return []dialect.Route{
		{
			Dialect: Name, Method: http.MethodPost, Path: pathRemove, MaxBody: int64(a.cfg.MaxRequest), Fields: fields,
			Computes: true, Serve: a.remove, Fail: fail,
		},
		{Dialect: Name, Method: http.MethodGet, Path: pathAccount, Serve: account, Fail: fail},
	}
}

// account tells of credits as if there were always enough: clients look before they send. Its keys are those of the
// hosted service and no other, because clients build their objects of them.
func account(w http.ResponseWriter, r *dialect.Request) error {
	setQuota(w, r.Quota)
	return writeJSON(w, http.StatusOK, accountReply{Data: accountData{Attributes: attributes{
		Credits: credits{Total: unlimited, Enterprise: unlimited},
		API:     calls{FreeCalls: unlimited, Sizes: "all"},
	}}})
}

func (a *API) remove(w http.ResponseWriter, r *dialect.Request) error {
	setQuota(w, r.Quota)
	form, err := r.Form()
	if err != nil {
		return err
	}
	if err := form.ReadJSON(); err != nil {
		return refuse(w, r, dialect.ReasonBadBody, err, problem{Title: "The request body is not a JSON object of plain values", Code: "invalid_json"})
	}
	req, problems := a.parse(form)
	if len(problems) > 0 {
		reason := dialect.ReasonBadParameter
		if problems[0].Code == codeMissingSource {
			reason = dialect.ReasonMissingImage
		}
		return refuse(w, r, reason, nil, problems...)
	}

	ctx := r.Context()
	image, err := a.load(ctx, r.Record, req.image)
	if err != nil {
		return a.explain(ctx, w, r, req.image, image, err)
	}
	if req.background.set {
		background, err := a.load(ctx, r.Record, req.background)
		if err != nil {
			return a.explain(ctx, w, r, req.background, background, err)
		}
		req.options.Background = &pipeline.Background{Image: background, Limits: a.limits}
	}
	req.options.Limits = a.limits
	result, err := a.processor.Run(ctx, image, req.options)
	if err != nil {
		if _, ok := errors.AsType[*pipeline.BackgroundError](err); ok {
			return a.explain(ctx, w, r, req.background, req.options.Background.Image, err)
		}
		return a.explain(ctx, w, r, req.image, image, err)
	}
	r.Record.Picture(result)
	if len(result.Objects) == 0 {
		return refuse(w, r, dialect.ReasonNoSubject, nil, problem{
			Title: "Could not identify foreground in image.", Code: "unknown_foreground",
		})
	}
	defer r.Record.Time(metrics.StageWrite)()
	return write(w, r, req, result)
}

// load gets the bytes of a picture.
func (a *API) load(ctx context.Context, record *dialect.Record, s source) ([]byte, error) {
	if s.url == "" {
		return s.data, nil
	}
	defer record.Time(metrics.StageFetch)()
	limit := a.limits.MaxBytes
	if limit == 0 {
		limit = int64(a.cfg.MaxRequest)
	}
	got, err := a.fetcher.Get(ctx, s.url, limit)
	if err != nil {
		return nil, err
	}
	return got.Body, nil
}

// explain answers a picture that gives no result. Errors that are not about a picture are handed back.
func (a *API) explain(ctx context.Context, w http.ResponseWriter, r *dialect.Request, s source, data []byte, err error) error {
	if ctx.Err() != nil {
		return err // a deadline or a client that went away, whatever it looks like from inside
	}
	prefix := ""
	if s.background {
		prefix = dialect.ReasonBackground
	}
	var (
		fetched *fetch.Error
		limit   *codec.LimitError
		region  *pipeline.RegionError
	)
	switch {
	case errors.As(err, &fetched):
		return refuse(w, r, prefix+dialect.ReasonFetch+string(fetched.Kind), err, a.fetchProblem(s, fetched))
	case errors.As(err, &limit):
		reason := prefix + r.Record.Reject(err)
		if limit.What == "bytes" {
			return refuse(w, r, reason, err, a.fileTooLarge())
		}
		return refuse(w, r, reason, err, problem{
			Title: "Image resolution too high", Code: "resolution_too_high",
			Detail: fmt.Sprintf("Input image has %s megapixels, maximum supported input resolution is %s megapixels",
				megapixels(int64(limit.Width)*int64(limit.Height)), megapixels(a.limits.MaxPixels)),
		})
	case errors.As(err, &region) && region.Empty:
		return refuse(w, r, dialect.ReasonBadParameter, err, problem{
			Title: "ROI region is empty", Code: "roi_region_empty", Detail: "The given roi parameter defines an empty region",
		})
	case errors.As(err, &region):
		return refuse(w, r, dialect.ReasonBadParameter, err, problem{
			Title: "ROI exceeds image bounds", Code: "roi_exceeds_bounds",
			Detail: "The given roi parameter defines a region that exceeds the image bounds",
		})
	case errors.Is(err, codec.ErrUndecodable):
		return refuse(w, r, prefix+r.Record.Reject(err), err, a.unreadable(data))
	default:
		return err
	}
}

func (a *API) fetchProblem(s source, err *fetch.Error) problem {
	field, code, what := fieldURL, "failed_image_download", "image"
	invalid := "invalid_image_url"
	if s.background {
		field, code, what, invalid = fieldBackgroundURL, "failed_bg_download", "background image", "invalid_bg_image_url"
	}
	switch err.Kind {
	case fetch.BadURL, fetch.BadScheme, fetch.Credentials:
		return problem{Title: "Invalid " + field + ": Please provide a valid URL.", Code: invalid, Detail: err.Public}
	case fetch.TooLarge:
		return a.fileTooLarge()
	case fetch.Status:
		return problem{Title: fmt.Sprintf("Failed to download %s from given image_url: HTTP Status %d", what, err.Code), Code: code}
	default:
		return problem{Title: fmt.Sprintf("Failed to download %s from given image_url: %s", what, err.Public), Code: code}
	}
}

func (a *API) fileTooLarge() problem {
	return problem{Title: "File too large", Code: "file_too_large", Detail: fmt.Sprintf("File exceeds limit of %v", a.cfg.MaxFile)}
}

// unreadable tells what is wrong with bytes that could not be decoded.
func (a *API) unreadable(data []byte) problem {
	format, isPicture := codec.Sniff(data)
	allowed := false
	for _, f := range a.limits.Formats {
		allowed = allowed || f == format
	}
	if !isPicture || !allowed {
		got := string(format)
		if !isPicture {
			media, _, _ := strings.Cut(http.DetectContentType(data), ";")
			got = media[strings.Index(media, "/")+1:]
		}
		return problem{Title: "Invalid file type", Code: "invalid_file_type", Detail: "Expected jpg/png/webp, received " + got}
	}
	if _, err := codec.ReadInfo(data); err != nil {
		return problem{
			Title: "Failed to read image dimensions", Code: "invalid_dimensions",
			Detail: "The dimensions of the given image could not be read.",
		}
	}
	return problem{Title: "There was an error reading the image.", Code: "failed_to_read_image"}
}

// megapixels writes a number of pixels in millions, to one decimal where it is needed.
func megapixels(n int64) string {
	return strings.TrimSuffix(strconv.FormatFloat(float64(n)/1e6, 'f', 1, 64), ".0")
}

// setQuota tells clients how much more they may ask for, also where nobody counts.
func setQuota(w http.ResponseWriter, q dialect.Quota) {
	if q.Limit == 0 {
		q = dialect.Quota{Limit: unlimited, Remaining: unlimited, Reset: time.Now().Add(time.Minute)}
	}
	w.Header().Set("X-Ratelimit-Limit", strconv.FormatInt(q.Limit, 10))
	w.Header().Set("X-Ratelimit-Remaining", strconv.FormatInt(q.Remaining, 10))
	w.Header().Set("X-Ratelimit-Reset", strconv.FormatInt(q.Reset.Unix(), 10))
}

// write answers with the picture, or with JSON where the client accepts that and no picture.
func write(w http.ResponseWriter, r *dialect.Request, req request, result *pipeline.Result) error {
	header := w.Header()
	set := func(name string, value int) { header.Set(name, strconv.Itoa(value)) }
	box := foreground(result)
	set("X-Width", result.Canvas.X)
	set("X-Height", result.Canvas.Y)
	if result.Full != result.Canvas {
		set("X-Max-Width", result.Full.X)
		set("X-Max-Height", result.Full.Y)
	}
	set("X-Foreground-Top", box.Top)
	set("X-Foreground-Left", box.Left)
	set("X-Foreground-Width", box.Width)
	set("X-Foreground-Height", box.Height)
	set("X-Credits-Charged", 0)
	if req.kind != "" {
		header.Set("X-Type", req.kind)
	}
	if !wantsJSON(r.Request) {
		header.Set("Content-Type", contentTypes[result.Format])
		set("Content-Length", len(result.Data))
		w.WriteHeader(http.StatusOK)
		_, err := w.Write(result.Data)
		return err
	}
	head := `{"data":{"result_b64":"`
	tail := fmt.Sprintf(`","foreground_top":%d,"foreground_left":%d,"foreground_width":%d,"foreground_height":%d}}`,
		box.Top, box.Left, box.Width, box.Height)
	header.Set("Content-Type", "application/json; charset=utf-8")
	set("Content-Length", len(head)+base64.StdEncoding.EncodedLen(len(result.Data))+len(tail))
	w.WriteHeader(http.StatusOK)
	if _, err := io.WriteString(w, head); err != nil {
		return err
	}
	encoder := base64.NewEncoder(base64.StdEncoding, w) // a picture is megabytes: no copy of it is made
	if _, err := encoder.Write(result.Data); err != nil {
		return err
	}
	if err := encoder.Close(); err != nil {
		return err
	}
	_, err := io.WriteString(w, tail)
	return err
}

var contentTypes = map[codec.Format]string{
	codec.PNG: "image/png", codec.JPEG: "image/jpeg", codec.WebP: "image/webp", pipeline.ZIP: "application/zip",
}

// wantsJSON tells whether a client accepts JSON and no picture. Clients that leave the choice to their library send
// application/json beside */* and expect the bytes.
func wantsJSON(r *http.Request) bool {
	json := false
	for _, accept := range r.Header.Values("Accept") {
		for media := range strings.SplitSeq(accept, ",") {
			media, _, _ = strings.Cut(media, ";")
			switch media = strings.ToLower(strings.TrimSpace(media)); {
			case media == "application/json":
				json = true
			case media == "*/*", strings.HasPrefix(media, "image/"), media == "application/zip":
				return false
			}
		}
	}
	return json
}

// area is the subject's box in the pixels of the input.
type area struct{ Top, Left, Width, Height int }

func foreground(res *pipeline.Result) area {
	box := res.Objects[0].Box
	round := func(v float64, side int) int { return int(v*float64(side) + 0.5) }
	left, top := round(box.X, res.Width), round(box.Y, res.Height)
	return area{
		Top: top, Left: left, Width: round(box.X+box.W, res.Width) - left, Height: round(box.Y+box.H, res.Height) - top,
	}
}

// shadowOf describes a shadow of one of the service's types; ok is false for an unknown one. opacity 0 is the type's own.
func shadowOf(kind string, opacity float64) (s *compositing.Shadow, ok bool) {
	shadow := compositing.DefaultShadow()
	switch strings.ToLower(kind) {
	case "", "none":
		return nil, true
	case "auto", "3d":
	case "car", "drop": // what touches the ground, and the soft pool around it
		shadow.Length = 0
	default:
		return nil, false
	}
	if opacity > 0 {
		shadow.Opacity = opacity
	}
	return &shadow, true
}
