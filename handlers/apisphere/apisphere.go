// Package apisphere speaks the wire format of APISphere's background removal.
package apisphere

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"cutout/codec"
	"cutout/config"
	"cutout/handlers/dialect"
	"cutout/handlers/upload"
	"cutout/metrics"
	"cutout/pipeline"
)

// Name of the dialect in metrics and the log.
const Name = "apisphere"

const path = "/v1/remove-bg/universal"

// Names of the parameters.
const (
	fieldImage   = "image"
	fieldSubject = "subject"
	fieldFormat  = "output_format"
)

// Output formats.
const (
	formatTransparent = "transparent"
	formatWhite       = "white_bg"
	formatMask        = "mask"
	formatCrop        = "crop"
)

// Codes of errors. Only the first is known from the service; what it answers otherwise is not published.
const (
	codeValidation   = "VALIDATION_ERROR"
	codeUpstream     = "UPSTREAM_ERROR"
	codeInternal     = "INTERNAL_ERROR"
	codeUnauthorized = "UNAUTHORIZED"
	codeRateLimit    = "RATE_LIMIT_EXCEEDED"
	codeMethod       = "METHOD_NOT_ALLOWED"
)

// API is the dialect.
type API struct {
	cfg       config.Pictures
	limits    codec.Limits
	processor dialect.Processor
}

// New builds the dialect.
func New(cfg config.Pictures, p dialect.Processor) *API {
	return &API{cfg: cfg, processor: p, limits: codec.Limits{
		MaxBytes: int64(cfg.MaxFile), MaxPixels: cfg.MaxPixels,
		Formats: []codec.Format{codec.JPEG, codec.PNG, codec.BMP, codec.WebP, codec.GIF},
	}}
}

// Routes lists what the dialect serves.
func (a *API) Routes() []dialect.Route {
	return []dialect.Route{{
		Dialect: Name, Method: http.MethodPost, Path: path, MaxBody: int64(a.cfg.MaxRequest), Computes: true,
		Fields: []string{fieldImage, fieldSubject, fieldFormat}, Serve: a.serve, Fail: fail,
	}}
}

func (a *API) serve(w http.ResponseWriter, r *dialect.Request) error {
	start := time.Now()
	form, err := r.Form()
	if err != nil {
		return err
	}
	refuse := func(reason, message string, cause error, details ...detail) error {
		r.Record.Fail(reason, cause)
		return writeError(w, http.StatusBadRequest, time.Since(start), failure{Code: codeValidation, Message: message, Details: details})
	}
	image, ok := form.Get(fieldImage)
	if !ok || len(image.Data) == 0 {
		return refuse(dialect.ReasonMissingImage, "Missing or empty image file", nil,
			detail{fieldImage, "File is required and cannot be empty"})
	}
	options, invalid := parse(form)
	if len(invalid) > 0 {
		return refuse(dialect.ReasonBadParameter, "Invalid "+invalid[0].Field, nil, invalid...)
	}

	options.Limits = a.limits
	result, err := a.processor.Run(r.Context(), image.Data, options)
	if err != nil {
		var limit *codec.LimitError
		switch {
		case r.Context().Err() != nil:
			return err // a deadline or a client that went away, whatever it looks like from inside
		case errors.As(err, &limit) && limit.What == "bytes":
			return refuse(r.Record.Reject(err), "Image file is too large", err, detail{fieldImage, a.fileLimit()})
		case errors.As(err, &limit):
			return refuse(r.Record.Reject(err), "Image resolution is too high", err, detail{
				fieldImage, fmt.Sprintf("Image has %dx%d pixels, at most %d pixels are allowed", limit.Width, limit.Height, a.limits.MaxPixels),
			})
		case errors.Is(err, codec.ErrUndecodable):
			return refuse(r.Record.Reject(err), "Invalid image file", err, detail{
				fieldImage, "Only JPEG, PNG, BMP, WEBP and GIF images are accepted, and the file must be intact",
			})
		default:
			return err
		}
	}
	r.Record.Picture(result)
	if options.Crop != nil && len(result.Objects) == 0 {
		return refuse(dialect.ReasonNoSubject, "No subject found in the image", nil,
			detail{fieldImage, "There is no subject to crop to"})
	}
	defer r.Record.Time(metrics.StageWrite)()
	w.Header().Set("Content-Type", "image/"+string(result.Format))
	w.Header().Set("Content-Length", strconv.Itoa(len(result.Data)))
	w.WriteHeader(http.StatusOK)
	_, err = w.Write(result.Data)
	return err
}

func (a *API) fileLimit() string {
	return "File exceeds the limit of " + strings.Replace(a.cfg.MaxFile.String(), "MB", " MB", 1)
}

// parse reads the parameters.
func parse(form *upload.Form) (pipeline.Options, []detail) {
	var invalid []detail
	choose := func(name string, allowed ...string) string {
		field, _ := form.Get(name)
		value := field.Text()
		if value == "" {
			return allowed[0]
		}
		if slices.Contains(allowed, value) {
			return value
		}
		last := len(allowed) - 1
		invalid = append(invalid, detail{name, "Must be " + strings.Join(allowed[:last], ", ") + " or " + allowed[last]})
		return allowed[0]
	}
	o := pipeline.Options{Quality: pipeline.Balanced, Output: pipeline.Cutout, Format: codec.PNG}
	o.Subject = pipeline.Subject(choose(fieldSubject,
		string(pipeline.Universal), string(pipeline.Human), string(pipeline.Product)))
	switch choose(fieldFormat, formatTransparent, formatWhite, formatMask, formatCrop) {
	case formatWhite:
		o.Format = codec.JPEG // lays the subject on white
	case formatMask:
		o.Output, o.Binary = pipeline.Mask, true
	case formatCrop:
		o.Crop = &pipeline.Crop{}
	}
	return o, invalid
}

// The structs below are the reply to what gives no picture, in the order in which the service writes its keys.
type (
	envelope struct {
		Meta     meta     `json:"meta"`
		Data     *string  `json:"data"` // always null
		Warnings []string `json:"warnings"`
		Error    failure  `json:"error"`
	}
	meta struct {
		RequestID    string `json:"requestId"`
		CreatedAt    string `json:"createdAt"`
		ProcessingMs int64  `json:"processingMs"`
	}
	failure struct {
		Code    string   `json:"code"`
		Message string   `json:"message"`
		Details []detail `json:"details"`
	}
	detail struct {
		Field string `json:"field"`
		Issue string `json:"issue"`
	}
)

// fail writes an error that is not about a picture or a parameter.
func fail(w http.ResponseWriter, e *dialect.Error) {
	status, f := e.Status, failure{Message: e.Public}
	switch {
	case e.Reason == dialect.ReasonNoKey, e.Reason == dialect.ReasonBadKey:
		f.Code = codeUnauthorized
	case e.Status == http.StatusRequestEntityTooLarge:
		status, f.Code = http.StatusBadRequest, codeValidation
		f.Details = []detail{{fieldImage, e.Public}}
	case e.Status == http.StatusTooManyRequests:
		f.Code = codeRateLimit
	case e.Status == http.StatusMethodNotAllowed:
		f.Code = codeMethod
	case e.Status >= http.StatusBadRequest && e.Status < http.StatusInternalServerError:
		f.Code = codeValidation
	case e.Reason == dialect.ReasonTimeout:
		status, f.Code = http.StatusBadGateway, codeUpstream
	case e.Status == http.StatusServiceUnavailable:
		f.Code = codeUpstream
	default:
		f.Code = codeInternal
	}
	_ = writeError(w, status, 0, f) // a client that is gone cannot be told so
}

func writeError(w http.ResponseWriter, status int, took time.Duration, f failure) error {
	if f.Details == nil {
		f.Details = []detail{}
	}
	body, err := json.Marshal(envelope{
		Meta: meta{
			RequestID:    w.Header().Get("X-Request-ID"),
			CreatedAt:    time.Now().UTC().Format("2006-01-02T15:04:05.000Z"),
			ProcessingMs: took.Milliseconds(),
		},
		Warnings: []string{}, Error: f,
	})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err = w.Write(body)
	return err
}
