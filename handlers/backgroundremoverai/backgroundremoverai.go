// Package backgroundremoverai speaks the wire format of BackgroundRemoverAI: files are handed in together, their state
// is polled and the results are downloaded.
package backgroundremoverai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"cutout/config"
	"cutout/handlers/dialect"
	"cutout/handlers/hosted"
	"cutout/handlers/webhook"
	"cutout/jobs"
	"cutout/metrics"
)

// Name of the dialect in metrics and the log.
const Name = "backgroundremoverai"

// Kind of the jobs that Worker does.
const Kind = "image"

// API is the dialect.
type API struct {
	cfg   config.BackgroundRemoverAI
	jobs  *jobs.Service
	hooks *webhook.Hooks
	video *Video // nil: clips are refused
}

// New builds the dialect. hooks may be nil: nobody is called back then.
func New(cfg config.BackgroundRemoverAI, j *jobs.Service, hooks *webhook.Hooks) *API {
	return &API{cfg: cfg, jobs: j, hooks: hooks}
}

// fieldUUID names a job in polls.
const fieldUUID = "uuid"

// Routes lists what the dialect serves. Another dialect has the path of the polls too; proxies add and remove slashes, so
// what the request holds decides whose it is.
func (a *API) Routes() []dialect.Route {
	convert := dialect.Route{
		Dialect: Name, Method: http.MethodPost, Path: "/v1/convert/", MaxBody: a.largestRequest(), Fields: fields,
		Serve: a.convert, Fail: fail,
	}
	bare := convert
	bare.Path = "/v1/convert"
	poll := dialect.Route{
		Dialect: Name, Method: http.MethodPost, Path: "/v1/results/", MaxBody: 1 << 10, Fields: []string{fieldUUID},
		Claims: isPoll, Serve: a.results, Fail: fail,
		Keyless: true, // clients send none: the uuid is the secret
	}
	barePoll := poll
	barePoll.Path = "/v1/results"
	remove := dialect.Route{
		Dialect: Name, Method: http.MethodDelete, Path: "/v1/jobs/{uuid}", Serve: a.remove, Fail: fail, Keyless: true,
	}
	return []dialect.Route{convert, bare, poll, barePoll, remove}
}

func isPoll(r *dialect.Request) bool {
	form, err := r.Form()
	if err != nil {
		return false
	}
	if _, ok := form.Get("image", "url"); ok {
		return false
	}
	_, ok := form.Get(fieldUUID)
	return ok
}

// fileField names the fields for pictures as the documented clients do, in Python, PHP and others.
var fileField = regexp.MustCompile(`^files?(\[[0-9]*\])?$`)

// backgroundFields may hold the background; the documentation names none.
var backgroundFields = []string{"bg_image", "background_image", "background", "bg_file", "bg_image_file", "image_bg", "bg_video", "background_video", "video_bg"}

// incoming are the files of a request on their way into the store.
type incoming struct {
	pictures   []jobs.File
	background jobs.File
	problem    *dialect.Error // the first; the rest of the body is passed over, for most clients read no reply before they have sent all
}

func (i *incoming) all() []jobs.File { return append(slices.Clone(i.pictures), i.background) }

func (a *API) convert(w http.ResponseWriter, r *dialect.Request) error {
	ctx := r.Context()
	var in incoming
	kept := false
	defer func() {
		if !kept {
			a.jobs.Discard(ctx, in.all()...)
		}
	}()
	form, err := r.Stream(func(field, name string, body io.Reader) error { return a.take(ctx, &in, field, name, body) })
	if err != nil {
		return err
	}
	o, err := parse(form)
	callback, _ := form.Get(webhook.Field)
	if err == nil && callback.Text() != "" {
		err = a.hooks.Check(callback.Text())
	}
	if err == nil && len(in.pictures) == 0 && in.problem == nil {
		err = badRequest(dialect.ReasonMissingImage, "No file was sent: send one or more as files.")
	}
	if err == nil && in.problem != nil {
		err = in.problem
	}
	if err == nil {
		err = a.fetchBackground(ctx, form, o, &in)
	}
	if err == nil {
		err = a.checkFiles(o, &in)
	}
	if err == nil && o.Video == nil && o.Background == backgroundImage && in.background.Key == "" {
		err = badRequest(dialect.ReasonMissingImage, "bg_type=image needs a background: send it as bg_image.")
	}
	if err != nil {
		return err
	}
	options, err := json.Marshal(o)
	if err != nil {
		return err
	}
	sub := jobs.Submission{Kind: Kind, Options: options, Inputs: in.pictures, Callback: callback.Text()}
	if o.Video != nil {
		sub.Kind = VideoKind
	}
	if o.Video == nil && o.Background == backgroundImage || o.Video != nil && o.Video.Format.Needs() != "" {
		sub.Extras = []jobs.File{in.background}
	} else {
		a.jobs.Discard(ctx, in.background)
	}
	id, err := a.jobs.Submit(ctx, sub)
	if err != nil {
		return jobError(err)
	}
	kept = true
	return dialect.WriteJSON(w, http.StatusOK, accepted{UUID: id})
}

func badRequest(reason, message string) *dialect.Error {
	return &dialect.Error{Status: http.StatusBadRequest, Reason: reason, Public: message}
}

func jobError(err error) error {
	if known := dialect.JobError(err); known != nil {
		return known
	}
	return err
}

// take stores a file of the form, as it arrives.
func (a *API) take(ctx context.Context, in *incoming, field, name string, body io.Reader) error {
	picture := fileField.MatchString(field)
	if in.problem != nil || !picture && !slices.Contains(backgroundFields, field) {
		return nil //nolint:nilerr // passed over; the problem is told once all has arrived
	}
	switch {
	case picture && len(in.pictures) == a.cfg.MaxFiles:
		in.problem = badRequest(dialect.ReasonBadParameter, fmt.Sprintf("Too many files, at most %d are taken at a time.", a.cfg.MaxFiles))
		return nil
	case !picture && in.background.Key != "":
		return nil // the first counts
	}
	if len(name) > maxName {
		name = name[:maxName]
	}
	name = strings.ToValidUTF8(name, "")
	limited := &limitedReader{r: body, left: a.largestFile()}
	f, err := a.jobs.Upload(ctx, name, "", limited)
	switch {
	case errors.Is(err, errTooLarge):
		in.problem = tooLarge(a.largestFile())
	case err != nil:
		in.problem = dialect.JobError(err)
		if in.problem == nil {
			return err
		}
		return nil // told once all has arrived
	case picture:
		in.pictures = append(in.pictures, f)
	default:
		in.background = f
	}
	return nil
}

// maxName bounds what is kept of a file's name, in bytes.
const maxName = 255

var errTooLarge = errors.New("file over the limit")

// limitedReader fails where io.LimitedReader would pretend that the file ends. No bytes left to begin with: no limit.
type limitedReader struct {
	r    io.Reader
	left int64
	read int64
}

func (l *limitedReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	l.read += int64(n)
	if l.left > 0 && l.read > l.left {
		return 0, errTooLarge
	}
	return n, err
}

func (a *API) results(w http.ResponseWriter, r *dialect.Request) error {
	form, err := r.Form()
	if err != nil {
		return err
	}
	field, _ := form.Get(fieldUUID)
	st, err := a.jobs.Status(r.Context(), field.Text())
	switch {
	case errors.Is(err, jobs.ErrNotFound) || err == nil && st.Kind != Kind && st.Kind != VideoKind:
		r.Record.Fail(dialect.ReasonExpired, nil)
		reply := newState()
		reply.Finished, reply.Errors = true, []string{"The uuid is unknown or has expired."}
		return dialect.WriteJSON(w, http.StatusOK, reply)
	case err != nil:
		return jobError(err)
	}
	defer r.Record.Time(metrics.StageWrite)()
	return dialect.WriteJSON(w, http.StatusOK, stateOf(st))
}

// stateOf words where a job stands.
func stateOf(st jobs.Status) state {
	reply := newState()
	reply.QueueCount = st.Ahead
	reply.Progress = progressOf(st)
	reply.Finished = st.Phase == jobs.Finished || st.Phase == jobs.Failed || st.Phase == jobs.Cancelled
	for i, o := range st.Outcomes {
		switch {
		case o.Done && o.Error == "":
			for _, f := range o.Results {
				reply.Files = append(reply.Files, file{URL: hosted.Path(f), Filename: f.Name})
			}
		case o.Done:
			reply.Failed = append(reply.Failed, nameOf(st.Inputs[i]))
			reply.Errors = append(reply.Errors, nameOf(st.Inputs[i])+": "+o.Error)
		case reply.Finished:
			reply.Failed = append(reply.Failed, nameOf(st.Inputs[i]))
		}
	}
	switch {
	case st.Phase == jobs.Cancelled:
		reply.Errors = append(reply.Errors, "The job was cancelled.")
	case st.Error != "":
		reply.Errors = append(reply.Errors, st.Error)
	}
	return reply
}

// Callback words the end of a job for a client's server: the reply to a poll, with the id of the job before it.
func Callback(st jobs.Status) ([]byte, error) {
	return json.Marshal(struct {
		accepted
		state
	}{accepted{st.ID}, stateOf(st)})
}

// nameOf is the name under which a client knows a file it sent.
func nameOf(f jobs.File) string {
	if f.Name == "" {
		return "file"
	}
	return f.Name
}

// remove stops a job and leaves nothing of it.
func (a *API) remove(w http.ResponseWriter, r *dialect.Request) error {
	err := a.jobs.Delete(r.Context(), r.PathValue(fieldUUID))
	switch {
	case errors.Is(err, jobs.ErrNotFound):
		return &dialect.Error{Status: http.StatusNotFound, Reason: dialect.ReasonExpired, Public: "The uuid is unknown or has expired."}
	case err != nil:
		return jobError(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// The structs below are the replies, in the order in which the service writes its keys.
type (
	accepted struct {
		UUID string `json:"uuid"`
	}
	state struct {
		Files      []file   `json:"files"`
		Failed     []string `json:"failed"`
		Finished   bool     `json:"finished"`
		QueueCount int      `json:"queue_count"`
		Errors     []string `json:"errors"`

		Progress *progress `json:"progress,omitempty"` // the service has none; clients pass over it
	}
	file struct {
		URL      string `json:"url"`
		Filename string `json:"filename"`
	}
	failure struct {
		Error string `json:"error"`
	}
)

// newState has lists where clients loop over them, be they empty.
func newState() state { return state{Files: []file{}, Failed: []string{}, Errors: []string{}} }

func fail(w http.ResponseWriter, e *dialect.Error) {
	_ = dialect.WriteJSON(w, e.Status, failure{Error: e.Public}) // a client that is gone cannot be told so
}
