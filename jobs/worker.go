package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Handler does a job. It gives every input an outcome, with Task.Done or Task.Fail, and returns nil; a job may come
// back with outcomes from an earlier attempt, see Task.Pending. An error lets the job be tried again, unless it is
// Permanent. ctx ends when the job is cancelled, its lease lost or the worker stops; context.Cause tells which.
type Handler func(ctx context.Context, t *Task) error

// PermanentError ends a job at once: trying again would change nothing.
type PermanentError struct {
	Public string // fit for the client
	Err    error  // may be nil
}

func (e *PermanentError) Error() string {
	if e.Err == nil {
		return e.Public
	}
	return fmt.Sprintf("%s: %v", e.Public, e.Err)
}

// Unwrap returns the cause.
func (e *PermanentError) Unwrap() error { return e.Err }

// Start lets this process do jobs of a kind, so many at a time. It returns at once; Close ends it.
func (s *Service) Start(kind string, workers int, h Handler) error {
	if err := s.check(); err != nil {
		return err
	}
	q := s.queues[kind]
	if q == nil || workers < 1 || h == nil {
		return fmt.Errorf("%w: %d workers for kind %q", ErrInvalid, workers, kind)
	}
	for range workers {
		s.workers.Go(func() { s.work(q, func(m jetstream.Msg) { s.run(q, h, m) }) })
	}
	return nil
}

const (
	fetchWait  = 30 * time.Second // of one question for a job
	maxRetry   = 5 * time.Second  // between questions that fail
	maxBackoff = 5 * time.Minute  // between attempts
)

// work takes one job after the other. It asks for the next only when it is free: a job that waits with a busy worker
// waits for nobody else.
func (s *Service) work(q *queue, run func(jetstream.Msg)) {
	retry := 50 * time.Millisecond
	for s.fetching.Err() == nil {
		ctx, cancel := context.WithTimeout(s.fetching, fetchWait)
		batch, err := q.consumer.Fetch(1, jetstream.FetchContext(ctx))
		if err == nil {
			for m := range batch.Messages() {
				retry = 50 * time.Millisecond
				if s.fetching.Err() != nil {
					_ = m.Nak() // another worker may have it at once
					continue
				}
				run(m)
			}
			err = batch.Error()
		}
		cancel()
		if err != nil && s.fetching.Err() == nil && !errors.Is(err, context.DeadlineExceeded) {
			s.cfg.Log.Warn("job store: cannot ask for jobs", "kind", q.kind, "error", err.Error())
			_ = pause(s.fetching, retry)
			retry = min(2*retry, maxRetry)
		}
	}
}

// run does one job.
func (s *Service) run(q *queue, h Handler, m jetstream.Msg) {
	id := m.Subject()[strings.LastIndexByte(m.Subject(), '.')+1:]
	log := s.cfg.Log.With("job", hint(id), "kind", q.kind)
	t, err := s.begin(q, id, log)
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, errEnded):
		s.drop(m, id, log) // cancelled, done by another worker that could not say so, or too old
		return
	case err != nil:
		log.Warn("job store: a job cannot be taken", "error", err.Error())
		_ = m.NakWithDelay(s.cfg.Backoff)
		return
	}
	ctx, stop := context.WithCancelCause(context.WithoutCancel(s.fetching))
	t.stop = stop
	s.track(t, true)
	defer s.track(t, false)
	limited, cancel := context.WithTimeoutCause(ctx, s.cfg.MaxRuntime, ErrRuntime)
	defer cancel()

	returned := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				log.Error("panic in a job", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				returned <- fmt.Errorf("panic: %v", p)
			}
		}()
		returned <- h(limited, t)
	}()
	err = s.hold(limited, t, m, returned)
	cause := context.Cause(limited)
	stop(nil)
	s.settle(t, m, err, cause)
}

// drop takes a job that needs no work off its queue. Whoever is to be told of its end may not have been.
func (s *Service) drop(m jetstream.Msg, id string, log *slog.Logger) {
	if err := s.announceEnded(context.WithoutCancel(s.fetching), id); err != nil {
		log.Warn("job store: the end of a job cannot be told", "error", err.Error())
		_ = m.NakWithDelay(s.cfg.Backoff)
		return
	}
	_ = m.Ack()
}

// hold keeps the lease until the handler returns, and writes down its progress.
func (s *Service) hold(ctx context.Context, t *Task, m jetstream.Msg, returned <-chan error) error {
	ticker := time.NewTicker(s.cfg.Lease / 3)
	defer ticker.Stop()
	for {
		select {
		case err := <-returned:
			return err
		case <-ticker.C:
		}
		if ctx.Err() != nil {
			continue // the handler has been told; its lease may lapse
		}
		if t.stalled() {
			t.stop(ErrStalled)
			continue
		}
		_ = m.InProgress()
		t.look(ctx)
	}
}

// begin makes a job this worker's own.
func (s *Service) begin(q *queue, id string, log *slog.Logger) (*Task, error) {
	exhausted := false
	ctx := context.WithoutCancel(s.fetching) // a job that was taken half is worse than one that is given back
	r, err := s.change(ctx, id, func(r *record) error {
		if r.Phase.final() {
			return errEnded
		}
		if exhausted = r.Charged >= s.cfg.MaxAttempts; exhausted {
			// The last worker did not live to say how it went.
			s.end(r, Failed, fmt.Sprintf("The job was given up after %d attempts.", r.Charged))
			return nil
		}
		now := s.cfg.Now().UTC()
		r.Phase, r.Attempt, r.Charged, r.Started = Running, r.Attempt+1, r.Charged+1, now
		r.Expires = now.Add(s.cfg.MaxRuntime + s.cfg.Retention)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if exhausted {
		log.Error("a job was given up: no attempt came back", "attempts", r.Charged)
		s.remove(ctx, slices.Concat(r.Inputs, r.Extras, r.Saved)...)
		s.observeEnd(r)
		return nil, errEnded
	}
	if r.Attempt > 1 {
		if f := s.cfg.Observer.Retried; f != nil {
			f(q.kind)
		}
	}
	return newTask(s, r), nil
}

// settle writes down how an attempt ended.
func (s *Service) settle(t *Task, m jetstream.Msg, err, cause error) {
	log := s.cfg.Log.With("job", hint(t.id), "kind", t.kind, "attempt", t.attempt)
	defer t.sweep()
	ctx := context.WithoutCancel(s.fetching)
	if errors.Is(cause, ErrLeaseLost) {
		log.Warn("a job was taken over by another worker")
		return
	}
	if errors.Is(cause, ErrCancelled) {
		s.drop(m, t.id, log)
		return
	}
	if err != nil && errors.Is(cause, ErrDraining) {
		_, changed := s.change(ctx, t.id, t.own(func(r *record) error {
			r.Phase, r.Charged = Queued, r.Charged-1
			return nil
		}))
		if changed != nil {
			log.Warn("job store: a job is given back without a note", "error", changed.Error())
		}
		_ = m.Nak()
		return
	}
	if err != nil && cause != nil && (errors.Is(cause, ErrStalled) || errors.Is(cause, ErrRuntime)) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	var (
		permanent *PermanentError
		again     bool
		charged   int
	)
	r, changed := s.change(ctx, t.id, t.own(func(r *record) error {
		charged = r.Charged
		again = false
		switch {
		case err == nil:
			s.end(r, Finished, "")
			r.Done, r.Total = t.progress(r)
		case errors.As(err, &permanent):
			s.end(r, Failed, permanent.Public)
		case r.Charged >= s.cfg.MaxAttempts:
			s.end(r, Failed, fmt.Sprintf("Processing failed, %d times.", r.Charged))
		default:
			again = true
			r.Phase = Queued
		}
		return nil
	}))
	switch {
	case errors.Is(changed, ErrLeaseLost):
		return
	case errors.Is(changed, ErrCancelled), errors.Is(changed, ErrNotFound), errors.Is(changed, errEnded):
		s.drop(m, t.id, log)
		return
	case changed != nil:
		// Nothing is known of the attempt. What has an outcome is not done again.
		log.Error("job store: the end of a job cannot be written down", "error", changed.Error())
		_ = m.NakWithDelay(s.backoff(charged))
		return
	case again:
		log.Warn("a job failed and is tried again", "error", err.Error())
		_ = m.NakWithDelay(s.backoff(charged))
		return
	}
	if err != nil {
		log.Error("a job failed", "error", err.Error())
	}
	if err := s.announce(ctx, r); err != nil {
		// Looked at again, the job has ended, and this is all there is left to do.
		log.Warn("job store: the end of a job cannot be told yet", "error", err.Error())
		_ = m.NakWithDelay(s.backoff(charged))
		s.remove(ctx, slices.Concat(r.Inputs, r.Extras, r.Saved)...)
		s.observeEnd(r)
		return
	}
	// The lease must be off before anything else happens, or a stop right now lets the job be looked at again.
	acked, cancel := bounded(ctx)
	defer cancel()
	if err := m.DoubleAck(acked); err != nil {
		log.Debug("job store: the end of a job is not acknowledged", "error", err.Error())
	}
	s.remove(ctx, slices.Concat(r.Inputs, r.Extras, r.Saved)...)
	s.observeEnd(r)
}

func (s *Service) backoff(attempts int) time.Duration {
	return min(s.cfg.Backoff<<min(max(attempts-1, 0), 16), maxBackoff)
}

func (s *Service) track(t *Task, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if on {
		if s.running[t.id] == nil {
			s.running[t.id] = map[*Task]struct{}{}
		}
		s.running[t.id][t] = struct{}{}
		return
	}
	delete(s.running[t.id], t)
	if len(s.running[t.id]) == 0 {
		delete(s.running, t.id)
	}
}

// interrupt ends the context of a job's handlers in this process; of all jobs where id is empty.
func (s *Service) interrupt(id string, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for job, tasks := range s.running {
		if id == "" || id == job {
			for t := range tasks {
				t.stop(cause)
			}
		}
	}
}

// Task is one attempt at a job. Its methods are safe for concurrent use.
type Task struct {
	s       *Service
	id      string
	kind    string
	attempt int
	last    bool
	options json.RawMessage
	inputs  []File
	extras  []File
	stop    context.CancelCauseFunc

	mu       sync.Mutex
	outcomes []Outcome
	created  map[string]File // not yet results
	beat     time.Time       // of the last sign of life
	state    json.RawMessage // as it was last saved
	saved    []File
	done     int
	total    int
	rate     float64
	counted  bool // by the handler
	written  bool
}

func newTask(s *Service, r *record) *Task {
	return &Task{
		s: s, id: r.ID, kind: r.Kind, attempt: r.Attempt, last: r.Charged >= s.cfg.MaxAttempts, options: r.Options, inputs: r.Inputs, extras: r.Extras,
		outcomes: r.Outcomes, state: r.State, saved: r.Saved, created: map[string]File{}, beat: time.Now(), written: true,
	}
}

// ID is that of the job.
func (t *Task) ID() string { return t.id }

// Attempt counts from one.
func (t *Task) Attempt() int { return t.attempt }

// Last tells whether the job has failed after this attempt, should it fail: time to give what cannot be done an outcome
// and save the rest.
func (t *Task) Last() bool { return t.last }

// Options are those of the submission.
func (t *Task) Options() json.RawMessage { return t.options }

// Inputs are those of the submission, in its order.
func (t *Task) Inputs() []File { return slices.Clone(t.inputs) }

// Extras are those of the submission, in its order.
func (t *Task) Extras() []File { return slices.Clone(t.extras) }

// Pending lists the inputs, by their index, that have no outcome yet: all of them at first, the rest after a worker died.
func (t *Task) Pending() []int {
	t.mu.Lock()
	defer t.mu.Unlock()
	var pending []int
	for i, o := range t.outcomes {
		if !o.Done {
			pending = append(pending, i)
		}
	}
	return pending
}

// Open opens an input or an extra. ctx is that of its reads.
func (t *Task) Open(ctx context.Context, f File) *Reader { return t.s.reader(ctx, f, time.Time{}) }

// Create stores a new file, to be named a result with Done; else it is removed at the end of the attempt.
func (t *Task) Create(ctx context.Context, name, contentType string) *TaskWriter {
	w := t.s.create(ctx, name, contentType)
	w.job, w.beat = t.id, t.Heartbeat
	t.mu.Lock()
	defer t.mu.Unlock()
	t.created[w.file.Key] = w.file
	return &TaskWriter{Writer: w, t: t}
}

// TaskWriter is a Writer whose file belongs to a job.
type TaskWriter struct {
	*Writer
	t *Task
}

// Finish makes the file complete and returns it.
func (w *TaskWriter) Finish() (File, error) {
	f, err := w.Writer.Finish()
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	w.t.created[f.Key] = f
	return f, err
}

// Done records the results of an input; from now on they can be read.
func (t *Task) Done(ctx context.Context, input int, results ...File) error {
	return t.outcome(ctx, input, Outcome{Done: true, Results: results})
}

// Fail records that an input gives no result. The message is fit for the client.
func (t *Task) Fail(ctx context.Context, input int, message string) error {
	return t.outcome(ctx, input, Outcome{Done: true, Error: message})
}

func (t *Task) outcome(ctx context.Context, input int, o Outcome) error {
	if input < 0 || input >= len(t.inputs) {
		return fmt.Errorf("%w: input %d of %d", ErrInvalid, input, len(t.inputs))
	}
	t.Heartbeat()
	_, err := t.s.change(ctx, t.id, t.own(func(r *record) error {
		r.Outcomes[input] = o
		r.Done, r.Total = t.progress(r)
		return nil
	}))
	if err != nil {
		t.lost(err)
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.outcomes[input] = o
	for _, f := range o.Results {
		delete(t.created, f.Key)
	}
	return nil
}

// Save keeps what another attempt needs to go on should this one break off: a state that only the handler understands,
// which replaces the one from before, and further files, which live until the job ends and are nobody else's to read.
func (t *Task) Save(ctx context.Context, state json.RawMessage, files ...File) error {
	t.Heartbeat()
	r, err := t.s.change(ctx, t.id, t.own(func(r *record) error {
		r.State, r.Saved = state, append(slices.Clip(r.Saved), files...)
		return nil
	}))
	if err != nil {
		t.lost(err)
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state, t.saved = r.State, r.Saved
	for _, f := range files {
		delete(t.created, f.Key)
	}
	return nil
}

// Saved is what was kept with Save, in this attempt and those before: the latest state, and all files.
func (t *Task) Saved() (state json.RawMessage, files []File) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state, slices.Clone(t.saved)
}

// Forget removes what was kept with Save: it is no longer needed.
func (t *Task) Forget(ctx context.Context) error {
	var gone []File
	_, err := t.s.change(ctx, t.id, t.own(func(r *record) error {
		gone = r.Saved
		r.State, r.Saved = nil, nil
		return nil
	}))
	if err != nil {
		t.lost(err)
		return err
	}
	t.mu.Lock()
	t.state, t.saved = nil, nil
	t.mu.Unlock()
	t.s.remove(ctx, gone...)
	return nil
}

// own lets a change through as long as the job is this attempt's.
func (t *Task) own(apply func(*record) error) func(*record) error {
	return func(r *record) error {
		switch {
		case r.Phase == Cancelled:
			return ErrCancelled
		case r.Phase.final():
			return errEnded
		case r.Attempt != t.attempt || r.Phase != Running:
			return ErrLeaseLost
		}
		return apply(r)
	}
}

// lost stops the handler where an error says that the job is no longer this attempt's.
func (t *Task) lost(err error) {
	switch {
	case errors.Is(err, ErrCancelled), errors.Is(err, ErrNotFound): // deleted
		t.stop(ErrCancelled)
	case errors.Is(err, ErrLeaseLost), errors.Is(err, errEnded):
		t.stop(ErrLeaseLost)
	}
}

// Progress tells how far the job is, in units of the handler's own; without it, inputs are counted. It is written down
// now and then. It is a sign of life.
func (t *Task) Progress(done, total int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.beat = time.Now()
	t.done, t.total, t.counted, t.written = done, total, true, false
}

// Rate tells how fast Progress goes, in its units a second. It is written down with it.
func (t *Task) Rate(perSecond float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rate = perSecond
}

// Heartbeat is a sign of life from a handler that has nothing else to report: one that gives none for as long as
// Config.Stall says is stopped.
func (t *Task) Heartbeat() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.beat = time.Now()
}

func (t *Task) stalled() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Since(t.beat) > t.s.cfg.Stall
}

func (t *Task) pace() float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rate
}

// progress is how far the job is, given its record.
func (t *Task) progress(r *record) (done, total int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counted {
		return t.done, t.total
	}
	for _, o := range r.Outcomes {
		if o.Done {
			done++
		}
	}
	return done, len(r.Outcomes)
}

// look writes progress down if there is some, and else sees whether the job is still this attempt's.
func (t *Task) look(ctx context.Context) {
	t.mu.Lock()
	news := !t.written
	t.written = true
	t.mu.Unlock()
	var err error
	if news {
		_, err = t.s.change(ctx, t.id, t.own(func(r *record) error {
			r.Done, r.Total = t.progress(r)
			r.Rate = t.pace()
			return nil
		}))
	} else {
		short, cancel := bounded(ctx)
		defer cancel()
		var r *record
		if r, _, err = t.s.load(short, t.id); err == nil {
			err = t.own(func(*record) error { return nil })(r)
		}
	}
	if err != nil {
		t.lost(err)
	}
}

// sweep removes files that did not become results.
func (t *Task) sweep() {
	t.mu.Lock()
	files := make([]File, 0, len(t.created))
	for _, f := range t.created {
		files = append(files, f)
	}
	t.mu.Unlock()
	if len(files) > 0 {
		t.s.remove(t.s.fetching, files...)
	}
}
