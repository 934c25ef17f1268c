// Package dialect is what the server and its dialects agree on: a dialect is a list of routes, each a plain function
// from a request to a reply in that dialect's shapes. Dialects know neither the HTTP framework nor each other.
package dialect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"cutout/codec"
	"cutout/fetch"
	"cutout/handlers/upload"
	"cutout/metrics"
	"cutout/pipeline"
)

// Processor turns an encoded picture into a result; *pipeline.Pipeline is one.
type Processor interface {
	Run(ctx context.Context, image []byte, o pipeline.Options) (*pipeline.Result, error)
}

// Fetcher gets the file behind a URL, of at most maxBytes; *fetch.Fetcher is one.
type Fetcher interface {
	Get(ctx context.Context, rawURL string, maxBytes int64) (*fetch.Result, error)
}

// Route is one method and path of a dialect.
type Route struct {
	Dialect string
	Method  string
	Path    string // parameters in braces, as in /jobs/{id}; read with Request.PathValue

	// MaxBody bounds the body in bytes; zero takes none.
	MaxBody int64
	// Fields names the form fields read, see upload.Options.
	Fields []string
	// Claims tells whether a request is this route's, where dialects share a method and path. The route whose Claims
	// is nil takes what no other claims.
	Claims func(*Request) bool
	// Serve answers. It may return an error instead as long as it has not written anything.
	Serve func(http.ResponseWriter, *Request) error
	// Fail writes an error in the shape of the route.
	Fail func(http.ResponseWriter, *Error)
	// Keyless routes are served without a key where keys are demanded: they tell nothing, or the path itself is the
	// secret.
	Keyless bool
	// Computes says that requests take a turn at the processors. Where there is none for them they are refused before
	// their body is read.
	Computes bool
	// Quiet routes are asked all the time by machines; they are logged as debug messages.
	Quiet bool
}

// Error is a request that ends with a status other than the dialect's own way of saying no.
type Error struct {
	Status     int
	Reason     string        // for metrics and the log: one of a small set of words
	Public     string        // a sentence fit for the client
	RetryAfter time.Duration // zero: not said
	Err        error         // the cause, for the log; may be nil
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Reason + ": " + e.Public
	}
	return e.Reason + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Reasons of failure that several dialects share.
const (
	ReasonBodyTooLarge = "body_too_large"
	ReasonBodyTimeout  = "body_timeout"
	ReasonBadBody      = "bad_body"
	ReasonBadParameter = "bad_parameter"
	ReasonMissingImage = "missing_image"
	ReasonUndecodable  = "undecodable"
	ReasonFetch        = "fetch_" // followed by the kind
	ReasonBackground   = "background_"
	ReasonTimeout      = "timeout"
	ReasonClientGone   = "client_gone"
	ReasonReplyBroken  = "reply_broken" // the client did not take the whole reply
	ReasonInternal     = "internal"
	ReasonPanic        = "panic"
	ReasonNotFound     = "not_found"
	ReasonMethod       = "method_not_allowed"
	ReasonNoSubject    = "no_subject" // where a dialect calls that a failure
	ReasonNoKey        = "no_key"
	ReasonBadKey       = "bad_key"
	ReasonRateLimit    = "rate_limit" // of the key; comes with status 429
	ReasonOverload     = "overload"   // comes with status 503
	ReasonUnavailable  = "jobs_unavailable"
	ReasonQueueFull    = "queue_full"
	ReasonStoreFull    = "store_full"
	ReasonFileTooLarge = "file_too_large"
	ReasonExpired      = "expired" // or never known
	ReasonModel        = "model_unavailable"
)

// StatusClientGone is logged and counted for a client that went away before its reply; nobody receives it.
const StatusClientGone = 499

// Request is a request on its way through a dialect.
type Request struct {
	*http.Request
	Log    *slog.Logger // carries the request id
	Record *Record
	Quota  Quota

	fields []string
	form   *upload.Form
	err    error
	read   bool
}

// Quota is what the client may still ask for. The zero one sets no bound.
type Quota struct {
	Limit     int64     // a minute
	Remaining int64     // of Limit, after this request
	Reset     time.Time // when Remaining is Limit again
}

// NewRequest makes a Request of an HTTP one whose body is bounded. fields are those of all routes that may serve it.
func NewRequest(r *http.Request, log *slog.Logger, record *Record, fields []string) *Request {
	return &Request{Request: r, Log: log, Record: record, fields: fields}
}

// Form reads the body, once. Its error is an *Error, fit to be returned by Serve.
func (r *Request) Form() (*upload.Form, error) {
	if r.read {
		return r.form, r.err
	}
	r.read = true
	defer r.Record.Time(metrics.StageRead)()
	form, err := upload.Read(r.Request, upload.Options{Known: r.fields})
	if err != nil {
		r.err = bodyError(err)
		return nil, r.err
	}
	r.form = form
	return form, nil
}

// Stream reads the body like Form, but hands files to a function as they arrive, see upload.Options. Files are not among
// the fields then. An *Error of the function is returned as it is.
func (r *Request) Stream(file func(field, fileName string, body io.Reader) error) (*upload.Form, error) {
	if r.read {
		return nil, errors.New("dialect: the body has been read")
	}
	r.read = true
	defer r.Record.Time(metrics.StageRead)()
	form, err := upload.Read(r.Request, upload.Options{Known: r.fields, MaxFields: maxStreamed, File: file})
	if err != nil {
		r.err = bodyError(err)
		return nil, r.err
	}
	r.form = form
	return form, nil
}

// maxStreamed bounds the fields of a form whose files are not kept in memory.
const maxStreamed = 1000

func bodyError(err error) *Error {
	var (
		known    *Error
		tooLarge *http.MaxBytesError
		form     *upload.FormError
	)
	switch {
	case errors.As(err, &known):
		return known
	case Refusal(err) != nil:
		return Refusal(err)
	case errors.As(err, &tooLarge):
		return &Error{
			Status: http.StatusRequestEntityTooLarge, Reason: ReasonBodyTooLarge, Err: err,
			Public: fmt.Sprintf("The request body is too large, at most %d bytes are taken.", tooLarge.Limit),
		}
	case errors.As(err, &form):
		return &Error{Status: http.StatusBadRequest, Reason: ReasonBadBody, Public: form.Public, Err: err}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &Error{
			Status: http.StatusRequestTimeout, Reason: ReasonBodyTimeout, Public: "The request body took too long to arrive.", Err: err,
		}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &Error{
			Status: http.StatusBadRequest, Reason: ReasonBadBody, Public: "The request body ended early.", Err: err,
		}
	default:
		return &Error{Status: http.StatusBadRequest, Reason: ReasonBadBody, Public: "The request body could not be read.", Err: err}
	}
}

// Record collects what one request did, for the log and the metrics. It belongs to the request's goroutine.
type Record struct {
	Stages   []pipeline.Stage
	Reason   string // why there was no result; empty for success
	Cause    error  // what the client is not told; may be nil
	Rejected string // why the decoder refused a picture
	Attrs    []slog.Attr
	Pixels   int64       // of the pictures that went through the pipeline
	Model    string      // that found the subject; of several the last
	Header   http.Header // of the reply; nil for a part of a request

	version string // of Model
}

// Add notes a stage.
func (r *Record) Add(name string, d time.Duration) {
	r.Stages = append(r.Stages, pipeline.Stage{Name: name, Start: time.Now().Add(-d), Duration: d})
}

// Time starts the clock of a stage; the returned function stops it.
func (r *Record) Time(name string) (stop func()) {
	start := time.Now()
	return func() { r.Add(name, time.Since(start)) }
}

// Fail notes that the request gives no result. The first reason stays.
func (r *Record) Fail(reason string, cause error) {
	if r.Reason == "" {
		r.Reason, r.Cause = reason, cause
	}
}

// Merge adds what a record of one part of the request has collected in a goroutine of its own.
func (r *Record) Merge(part *Record) {
	r.Stages = append(r.Stages, part.Stages...)
	r.Pixels += part.Pixels
	r.Attrs = append(r.Attrs, part.Attrs...)
	if part.Reason != "" {
		r.Fail(part.Reason, part.Cause)
	}
	if part.Rejected != "" {
		r.Rejected = part.Rejected
	}
	r.name(part.Model, part.version)
}

// name tells which network has served, in the header of the reply too.
func (r *Record) name(model, version string) {
	if model == "" {
		return
	}
	r.Model, r.version = model, version
	if r.Header != nil {
		r.Header.Set("X-Cutout-Model", model)
		if version != "" {
			r.Header.Set("X-Cutout-Model-Version", version)
		}
	}
}

// Picture notes what came out of the pipeline, and names the network in the header of the reply.
func (r *Record) Picture(res *pipeline.Result) {
	r.Stages = append(r.Stages, res.Stages...)
	r.Pixels += int64(res.Width) * int64(res.Height)
	r.name(res.Model, res.Version)
	if res.Asked != "" {
		r.Attrs = append(r.Attrs, slog.String("model_asked", res.Asked))
	}
	r.Attrs = append(r.Attrs,
		slog.Int("width", res.Width), slog.Int("height", res.Height), slog.Float64("score", float64(res.Score)))
}

// Reject notes the reason for which the pipeline refused a picture and returns it: "undecodable", "bytes",
// "resolution" or "pixels"; empty for any other error.
func (r *Record) Reject(err error) string {
	var limit *codec.LimitError
	switch {
	case errors.As(err, &limit):
		r.Rejected = limit.What
	case errors.Is(err, codec.ErrUndecodable):
		r.Rejected = ReasonUndecodable
	}
	return r.Rejected
}
