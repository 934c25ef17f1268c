// Package ximilar speaks the wire format of Ximilar's background removal: a batch of records in, links to results out.
package ximilar

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"time"

	"cutout/codec"
	"cutout/config"
	"cutout/fetch"
	"cutout/handlers/dialect"
	"cutout/handlers/hosted"
	"cutout/handlers/upload"
	"cutout/handlers/webhook"
	"cutout/jobs"
	"cutout/metrics"
	"cutout/pipeline"
)

// Name of the dialect in metrics and the log.
const Name = "ximilar"

// API is the dialect.
type API struct {
	cfg       config.Ximilar
	limits    codec.Limits
	jobs      *jobs.Service
	hosted    *hosted.API
	hooks     *webhook.Hooks
	processor dialect.Processor
	fetcher   dialect.Fetcher
}

// New builds the dialect. hooks may be nil: nobody is called back then.
func New(cfg config.Ximilar, j *jobs.Service, h *hosted.API, hooks *webhook.Hooks, p dialect.Processor, f dialect.Fetcher) *API {
	return &API{
		cfg: cfg, jobs: j, hosted: h, hooks: hooks, processor: p, fetcher: f,
		limits: codec.Limits{MaxBytes: int64(cfg.MaxFile), MaxPixels: cfg.MaxPixels},
	}
}

// maxAccount bounds the body of a request that is not about pictures.
const maxAccount = 64 << 10

// Routes lists what the dialect serves. With and without a slash at the end, as clients differ.
func (a *API) Routes() []dialect.Route {
	var routes []dialect.Route
	add := func(method, path string, maxBody int64, serve func(http.ResponseWriter, *dialect.Request) error) {
		for _, end := range []string{"", "/"} {
			routes = append(routes, dialect.Route{
				Dialect: Name, Method: method, Path: path + end, MaxBody: maxBody, Computes: maxBody > maxAccount, Serve: serve, Fail: fail,
			})
		}
	}
	for model, quality := range map[string]pipeline.Quality{"precise": pipeline.Precise, "fast": pipeline.Fast} {
		add(http.MethodPost, "/removebg/"+model+"/removebg", int64(a.cfg.MaxRequest), func(w http.ResponseWriter, r *dialect.Request) error {
			return a.removebg(w, r, quality)
		})
	}
	add(http.MethodGet, "/account/v2/details", 0, a.details)
	add(http.MethodGet, "/account/v2/user", 0, a.details) // where the published client in Python asks
	add(http.MethodPost, "/authorization/v2/authorize", maxAccount, a.authorize)
	return routes
}

func (a *API) removebg(w http.ResponseWriter, r *dialect.Request, quality pipeline.Quality) error {
	start := time.Now()
	form, err := r.Form()
	if err != nil {
		return err
	}
	requestID := w.Header().Get("X-Request-ID")
	in, err := parse(form.Body, form.Kind == upload.JSON || form.Kind == upload.Raw, a.cfg.MaxRecords)
	if err != nil {
		return err
	}
	if in.callback != "" {
		if err := a.hooks.Check(in.callback); err != nil {
			return err
		}
	}
	// A store that takes nothing is told before anything is computed.
	if err := a.jobs.Healthy(r.Context()); err != nil {
		return jobError(err)
	}

	out := make([]map[string]any, len(in.records))
	stores := make([]error, len(in.records))
	records := make([]dialect.Record, len(in.records))    // one for each goroutine
	slots := make(chan struct{}, runtime.GOMAXPROCS(0)+1) // one more is fetched while the others compute
	var all sync.WaitGroup
	for i, rec := range in.records {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			out[i], stores[i] = a.one(r, &records[i], rec, quality, requestID)
		})
	}
	all.Wait()
	for i := range records {
		r.Record.Merge(&records[i])
	}
	if err := errors.Join(stores...); err != nil {
		if r.Context().Err() != nil {
			return r.Context().Err() // a deadline or a client that went away, whatever it looks like from inside
		}
		return jobError(err)
	}
	defer r.Record.Time(metrics.StageWrite)()
	answer := reply{
		Records:    out,
		Status:     status{Code: http.StatusOK, Text: textOK, RequestID: requestID, ProcID: newID()},
		Statistics: statistics{Time: time.Since(start).Seconds()},
	}
	if in.callback != "" {
		body, err := marshal(answer)
		if err != nil {
			return err
		}
		if _, err := a.jobs.Call(r.Context(), in.callback, body); err != nil {
			return jobError(err)
		}
	}
	return writeJSON(w, http.StatusOK, answer)
}

func jobError(err error) error {
	if known := dialect.JobError(err); known != nil {
		return known
	}
	return err
}

// recordError is what is wrong with one record.
type recordError struct {
	code    int
	message string
	reason  string
	err     error
}

func (e *recordError) Error() string { return e.message }
func (e *recordError) Unwrap() error { return e.err }

// one answers one record. Its error is about the store, or the request's context.
func (a *API) one(r *dialect.Request, record *dialect.Record, rec record, quality pipeline.Quality, requestID string) (out map[string]any, err error) {
	ctx := r.Context()
	out = map[string]any{}
	for name, value := range rec.fields {
		if name != fieldBase64 {
			out[name] = value
		}
	}
	if _, ok := out["_id"]; !ok {
		out["_id"] = newID()
	}
	defer func() {
		if p := recover(); p != nil { // a goroutine's panic would take the process along
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	results, result, err := a.process(ctx, record, rec, quality)
	if err == nil {
		var store error
		for _, made := range results {
			var f jobs.File
			f, store = a.jobs.Host(ctx, made.name, "image/"+string(made.format), bytes.NewReader(made.data))
			if store != nil {
				return nil, store
			}
			out[made.field] = a.hosted.URL(r.Request, f)
		}
		out["_width"], out["_height"] = result.Width, result.Height
		out["_status"] = status{Code: http.StatusOK, Text: textOK, RequestID: requestID}
		return out, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if busy := dialect.Refusal(err); busy != nil {
		return nil, busy // one record is refused with all the others
	}
	problem := a.explain(record, err)
	record.Fail(problem.reason, err)
	if problem.reason == dialect.ReasonInternal {
		r.Log.Error("processing failed", "error", err.Error())
	}
	out["_status"] = status{Code: problem.code, Text: problem.message, RequestID: requestID}
	return out, nil
}

// made is one picture of a result.
type made struct {
	field  string
	name   string
	format codec.Format
	data   []byte
}

func (a *API) process(ctx context.Context, record *dialect.Record, rec record, quality pipeline.Quality) ([]made, *pipeline.Result, error) {
	if rec.problem != nil {
		return nil, nil, rec.problem
	}
	data := rec.data
	if rec.url != "" {
		stop := record.Time(metrics.StageFetch)
		got, err := a.fetcher.Get(ctx, rec.url, a.limits.MaxBytes)
		stop()
		if err != nil {
			return nil, nil, err
		}
		data = got.Body
	}
	o, fields := rec.options(quality)
	o.Limits = a.limits
	result, err := a.processor.Run(ctx, data, o)
	if err != nil {
		return nil, nil, err
	}
	record.Picture(result)
	if len(result.Also) != len(o.Also) {
		return nil, nil, fmt.Errorf("%d of %d further pictures", len(result.Also), len(o.Also))
	}
	results := []made{{fieldOutput, "removebg" + extension(o.Format), o.Format, result.Data}}
	for i, v := range o.Also {
		results = append(results, made{fields[i], "removebg" + suffixes[fields[i]] + extension(v.Format), v.Format, result.Also[i]})
	}
	return results, result, nil
}

// explain words what is wrong with a record.
func (a *API) explain(record *dialect.Record, err error) *recordError {
	var (
		own     *recordError
		fetched *fetch.Error
		limit   *codec.LimitError
	)
	bad := func(reason, message string) *recordError {
		return &recordError{code: http.StatusBadRequest, message: message, reason: reason, err: err}
	}
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &fetched):
		return bad(dialect.ReasonFetch+string(fetched.Kind), fetched.Public)
	case errors.As(err, &limit) && limit.What == "bytes":
		return bad(record.Reject(err), fmt.Sprintf("The image is too large, at most %d bytes are taken.", a.limits.MaxBytes))
	case errors.As(err, &limit):
		return bad(record.Reject(err), fmt.Sprintf("The image has %dx%d pixels, at most %d pixels are taken.",
			limit.Width, limit.Height, a.limits.MaxPixels))
	case errors.Is(err, codec.ErrUndecodable):
		return bad(record.Reject(err), "The image cannot be decoded.")
	default:
		return &recordError{code: http.StatusInternalServerError, message: textUnknown, reason: dialect.ReasonInternal, err: err}
	}
}

// details tells about the account, of which there is none: what clients read is there, and nothing is used up.
func (a *API) details(w http.ResponseWriter, _ *dialect.Request) error {
	return writeJSON(w, http.StatusOK, account{
		ID: accountID, Email: "cutout@localhost", FirstName: "cutout", CreditsLimit: unlimited, DefaultWorkspace: accountID,
	})
}

// authorize tells a client, whose key has been looked at already, whose it is.
func (a *API) authorize(w http.ResponseWriter, r *dialect.Request) error {
	if _, err := r.Form(); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, authorization{UserID: accountID})
}

const (
	accountID = "00000000-0000-4000-8000-000000000000"
	unlimited = 1_000_000_000
)

const (
	textOK      = "OK"
	textAborted = "aborted by error"
	textUnknown = "unknown error"
)

// The structs below are the replies, in the order in which the service writes its keys.
type (
	reply struct {
		Records    []map[string]any `json:"records"`
		Status     status           `json:"status"`
		Statistics statistics       `json:"statistics"`
	}
	status struct {
		Code        int    `json:"code"`
		Text        string `json:"text"`
		Description string `json:"error_description,omitempty"`
		RequestID   string `json:"request_id,omitempty"`
		ProcID      string `json:"proc_id,omitempty"`
	}
	statistics struct {
		Time float64 `json:"processing time"` // seconds
	}
	refusal struct {
		Status status `json:"status"`
	}
	detail struct {
		Detail string `json:"detail"`
	}
	account struct {
		ID               string `json:"id"`
		Email            string `json:"email"`
		FirstName        string `json:"first_name"`
		LastName         string `json:"last_name"`
		CreditsCounter   int    `json:"credits_counter"`
		CreditsLimit     int    `json:"credits_limit"`
		DefaultWorkspace string `json:"default_workspace"`
	}
	authorization struct {
		UserID string `json:"user_id"`
	}
)

// fail writes an error that is about the whole request.
func fail(w http.ResponseWriter, e *dialect.Error) {
	var body any = refusal{status{
		Code: e.Status, Text: textAborted, Description: e.Public, RequestID: w.Header().Get("X-Request-ID"), ProcID: newID(),
	}}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusMethodNotAllowed:
		body = detail{e.Public}
	case http.StatusInternalServerError:
		body = refusal{status{
			Code: e.Status, Text: textUnknown, Description: e.Public, RequestID: w.Header().Get("X-Request-ID"), ProcID: newID(),
		}}
	}
	_ = writeJSON(w, e.Status, body) // a client that is gone cannot be told so
}

func writeJSON(w http.ResponseWriter, code int, v any) error {
	body, err := marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, err = w.Write(body)
	return err
}

func marshal(v any) ([]byte, error) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(body.Bytes(), []byte("\n")), nil
}
