// Package photoroom speaks the wire format of PhotoRoom's API, version 1.
package photoroom

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"cutout/codec"
	"cutout/config"
	"cutout/handlers/dialect"
	"cutout/handlers/upload"
	"cutout/metrics"
	"cutout/pipeline"
)

// Name of the dialect in metrics and the log.
const Name = "photoroom"

const path = "/v1/segment"

// Names of the parameters.
const (
	fieldImage    = "image_file"
	fieldFormat   = "format"
	fieldChannels = "channels"
	fieldColor    = "bg_color"
	fieldSize     = "size"
	fieldCrop     = "crop"
	fieldDespill  = "despill"
)

var formats = map[string]codec.Format{"png": codec.PNG, "jpg": codec.JPEG, "webp": codec.WebP}

// sizes are the pixels of a result at most.
var sizes = map[string]int64{"preview": 250_000, "medium": 1_500_000, "hd": 4_000_000, "full": 36_000_000}

// API is the dialect.
type API struct {
	cfg       config.Pictures
	limits    codec.Limits
	processor dialect.Processor
}

// New builds the dialect.
func New(cfg config.Pictures, p dialect.Processor) *API {
	return &API{cfg: cfg, processor: p, limits: codec.Limits{
		MaxBytes: int64(cfg.MaxFile), MaxPixels: cfg.MaxPixels, Formats: []codec.Format{codec.JPEG, codec.PNG, codec.WebP},
	}}
}

// Routes lists what the dialect serves.
func (a *API) Routes() []dialect.Route {
	return []dialect.Route{{
		Dialect: Name, Method: http.MethodPost, Path: path, MaxBody: int64(a.cfg.MaxRequest), Computes: true,
		Fields: []string{fieldImage, fieldFormat, fieldChannels, fieldColor, fieldSize, fieldCrop, fieldDespill},
		Serve:  a.segment, Fail: fail,
	}}
}

func (a *API) segment(w http.ResponseWriter, r *dialect.Request) error {
	form, err := r.Form()
	if err != nil {
		return err
	}
	refuse := func(reason, kind, detail string, cause error) error {
		r.Record.Fail(reason, cause)
		return writeError(w, http.StatusBadRequest, kind, detail)
	}
	image, ok := form.Get(fieldImage)
	if !ok || len(image.Data) == 0 {
		return refuse(dialect.ReasonMissingImage, "missing_image", "Please provide an image.", nil)
	}
	options, invalid := parse(form)
	if invalid != "" {
		return refuse(dialect.ReasonBadParameter, "invalid_parameter", invalid, nil)
	}
	options.Limits = a.limits
	result, err := a.processor.Run(r.Context(), image.Data, options)
	if err != nil {
		var limit *codec.LimitError
		switch {
		case r.Context().Err() != nil:
			return err // a deadline or a client that went away, whatever it looks like from inside
		case errors.As(err, &limit) && limit.What == "bytes":
			return refuse(r.Record.Reject(err), "image_too_large", fmt.Sprintf("The image file exceeds the limit of %v.", a.cfg.MaxFile), err)
		case errors.As(err, &limit):
			return refuse(r.Record.Reject(err), "image_too_large", fmt.Sprintf("The image has %dx%d pixels, at most %d pixels are taken.",
				limit.Width, limit.Height, a.limits.MaxPixels), err)
		case errors.Is(err, codec.ErrUndecodable):
			return refuse(r.Record.Reject(err), "invalid_image", "The image could not be read. JPEG, PNG and WebP are taken.", err)
		default:
			return err
		}
	}
	r.Record.Picture(result)
	defer r.Record.Time(metrics.StageWrite)()
	return write(w, r.Request, result)
}

// parse reads the parameters; invalid says what is wrong with the first that is.
func parse(form *upload.Form) (o pipeline.Options, invalid string) {
	text := func(name, fallback string) string {
		field, _ := form.Get(name)
		if s := strings.ToLower(field.Text()); s != "" {
			return s
		}
		return fallback
	}
	refuse := func(name, want string) {
		if invalid == "" {
			invalid = fmt.Sprintf("Invalid value for %s: must be %s.", name, want)
		}
	}
	boolean := func(name string) bool {
		switch text(name, "false") {
		case "true":
			return true
		case "false":
		default:
			refuse(name, "true or false")
		}
		return false
	}
	o = pipeline.Options{Output: pipeline.Cutout, Quality: pipeline.Balanced}
	var ok bool
	if o.Format, ok = formats[text(fieldFormat, "png")]; !ok {
		refuse(fieldFormat, "png, jpg or webp")
	}
	switch text(fieldChannels, "rgba") {
	case "rgba":
	case "alpha":
		o.Output = pipeline.Mask
	default:
		refuse(fieldChannels, "rgba or alpha")
	}
	if o.MaxPixels, ok = sizes[text(fieldSize, "full")]; !ok {
		refuse(fieldSize, "preview, medium, hd or full")
	}
	if s := text(fieldColor, ""); s != "" {
		c, ok := dialect.ParseColor(s)
		if !ok {
			refuse(fieldColor, "a hex code or the name of a colour")
		}
		if o.Output != pipeline.Mask {
			o.Background = &pipeline.Background{Color: c}
		}
	}
	if boolean(fieldCrop) {
		o.Crop = &pipeline.Crop{}
	}
	boolean(fieldDespill) // colours at the edge are always the subject's own
	return o, invalid
}

// write answers with the picture, or with JSON where the client accepts that and no picture.
func write(w http.ResponseWriter, r *http.Request, result *pipeline.Result) error {
	header := w.Header()
	header.Set("X-Uncertainty-Score", strconv.FormatFloat(uncertainty(result), 'f', -1, 64))
	if accept := strings.ToLower(r.Header.Get("Accept")); !strings.Contains(accept, "application/json") ||
		strings.Contains(accept, "*/*") || strings.Contains(accept, "image/") {
		header.Set("Content-Type", "image/"+string(result.Format))
		header.Set("Content-Length", strconv.Itoa(len(result.Data)))
		w.WriteHeader(http.StatusOK)
		_, err := w.Write(result.Data)
		return err
	}
	const head, tail = `{"base64img":"`, `"}`
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(head)+base64.StdEncoding.EncodedLen(len(result.Data))+len(tail)))
	w.WriteHeader(http.StatusOK)
	if _, err := io.WriteString(w, head); err != nil {
		return err
	}
	encoder := base64.NewEncoder(base64.StdEncoding, w)
	if _, err := encoder.Write(result.Data); err != nil {
		return err
	}
	if err := encoder.Close(); err != nil {
		return err
	}
	_, err := io.WriteString(w, tail)
	return err
}

// uncertainty is how unsure the network was, 0..1 to two decimals: what its best score lacks to certainty.
func uncertainty(res *pipeline.Result) float64 {
	score := min(max(float64(res.Score), 0), 1)
	return float64(int((1-score)*100+0.5)) / 100
}

// failure is every reply that is no result.
type failure struct {
	Detail     string `json:"detail"`
	StatusCode int    `json:"status_code"`
	Type       string `json:"type"`
}

// fail writes an error that is not about a picture or a parameter.
func fail(w http.ResponseWriter, e *dialect.Error) {
	switch {
	case e.Reason == dialect.ReasonNoKey, e.Reason == dialect.ReasonBadKey:
		w.WriteHeader(http.StatusForbidden) // without a body, as there
		return
	case e.Status == http.StatusRequestEntityTooLarge:
		_ = writeError(w, http.StatusBadRequest, "image_too_large", e.Public) // a client that is gone cannot be told so
		return
	}
	_ = writeError(w, e.Status, e.Reason, e.Public)
}

func writeError(w http.ResponseWriter, status int, kind, detail string) error {
	body, err := json.Marshal(failure{Detail: detail, StatusCode: status, Type: kind})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err = w.Write(body)
	return err
}
