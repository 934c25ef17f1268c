package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Phase is where a job stands.
type Phase string

// Phases. The last three are final.
const (
	Queued    Phase = "queued" // no worker has it
	Running   Phase = "running"
	Finished  Phase = "finished" // every input has an outcome, be it an error
	Failed    Phase = "failed"
	Cancelled Phase = "cancelled"
)

func (p Phase) final() bool { return p == Finished || p == Failed || p == Cancelled }

// Outcome is what became of one input: results or an error, or neither yet.
type Outcome struct {
	Results []File `json:"results,omitempty"`
	Error   string `json:"error,omitempty"` // fit for the client
	Done    bool   `json:"done,omitempty"`
}

// record is the state of a job as it is stored.
type record struct {
	ID        string          `json:"id"`
	Kind      string          `json:"kind"`
	Phase     Phase           `json:"phase"`
	Options   json.RawMessage `json:"options,omitempty"`
	Inputs    []File          `json:"inputs,omitempty"`
	Extras    []File          `json:"extras,omitempty"`
	Outcomes  []Outcome       `json:"outcomes,omitempty"` // one for each input
	Error     string          `json:"error,omitempty"`
	State     json.RawMessage `json:"state,omitempty"` // what the handler needs to go on, see Task.Save
	Saved     []File          `json:"saved,omitempty"`
	Attempt   int             `json:"attempt,omitempty"` // of the latest worker; only its writes count
	Charged   int             `json:"charged,omitempty"` // attempts that were not given back
	Done      int             `json:"progress_done,omitempty"`
	Total     int             `json:"progress_total,omitempty"`
	Rate      float64         `json:"progress_rate,omitempty"`
	Submitted time.Time       `json:"submitted"`
	Started   time.Time       `json:"started,omitzero"`
	Ended     time.Time       `json:"ended,omitzero"`
	Expires   time.Time       `json:"expires"`
	Callback  string          `json:"callback,omitempty"` // URL that is told of the end
	Told      bool            `json:"told,omitempty"`     // it was, or will not be
}

// lists tells whether a file is one of the job's results.
func (r *record) lists(key string) bool {
	return slices.ContainsFunc(r.Outcomes, func(o Outcome) bool {
		return o.Done && slices.ContainsFunc(o.Results, func(f File) bool { return f.Key == key })
	})
}

func (r *record) files() []File {
	files := slices.Concat(r.Inputs, r.Extras, r.Saved)
	for _, o := range r.Outcomes {
		files = append(files, o.Results...)
	}
	return files
}

// Submission is a job to be done.
type Submission struct {
	// ID makes a submission that is repeated the same job: letters, digits, dashes and underscores, at most 64. Empty
	// draws a random one. Whoever knows it can read the job's state.
	ID      string
	Kind    string
	Options json.RawMessage // for the handler
	Inputs  []File          // from Upload; each gets an outcome of its own
	Extras  []File          // from Upload, for all inputs: a background, for example
	// Callback is a URL that is told of the job's end, see StartCalls; empty: none. Of a job that is deleted it hears nothing.
	Callback string
}

// Submit queues a job and returns its id. A job of the same id that is still known is left as it is; the new
// submission's files are discarded then. On failure the files stay: the caller may try again or discard them.
//
// Errors: ErrInvalid, ErrQueueFull, ErrStoreFull, ErrUnavailable.
func (s *Service) Submit(ctx context.Context, sub Submission) (id string, err error) {
	if err := s.check(); err != nil {
		return "", err
	}
	q := s.queues[sub.Kind]
	switch {
	case q == nil:
		return "", fmt.Errorf("%w: kind %q", ErrInvalid, sub.Kind)
	case sub.ID != "" && !idForm.MatchString(sub.ID):
		return "", fmt.Errorf("%w: id", ErrInvalid)
	case len(sub.Options) > 0 && !json.Valid(sub.Options):
		return "", fmt.Errorf("%w: the options are not JSON", ErrInvalid)
	}
	if sub.ID == "" {
		sub.ID = newID()
	}
	now := s.cfg.Now().UTC()
	r := record{
		ID: sub.ID, Kind: sub.Kind, Phase: Queued, Options: sub.Options, Inputs: sub.Inputs, Extras: sub.Extras,
		Outcomes: make([]Outcome, len(sub.Inputs)), Total: len(sub.Inputs), Submitted: now, Expires: now.Add(s.cfg.Retention),
		Callback: sub.Callback,
	}
	data, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := s.admitDisk(int64(len(data))); err != nil {
		return "", err
	}
	if total, err := s.stored.add(ctx, int64(len(data))); err != nil {
		return "", storeError("submit", err)
	} else if total > s.cfg.MaxStore {
		return "", fmt.Errorf("%w: too many jobs are remembered", ErrStoreFull)
	}
	_, err = s.state.Create(ctx, jobKey(r.ID), data)
	if errors.Is(err, jetstream.ErrKeyExists) {
		return s.repeat(ctx, q, r)
	}
	if err != nil {
		return "", storeError("submit", err)
	}
	if err := s.publish(ctx, q, r.ID); err != nil {
		// Whether the message arrived is not known where the answer is lost. Without its state it means nothing.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
		defer cancel()
		_ = s.forget(clean, jobKey(r.ID))
		return "", err
	}
	if f := s.cfg.Observer.Submitted; f != nil {
		f(r.Kind)
	}
	return r.ID, nil
}

// repeat handles the submission of a job that is known.
func (s *Service) repeat(ctx context.Context, q *queue, r record) (string, error) {
	known, _, err := s.load(ctx, r.ID)
	if errors.Is(err, ErrNotFound) { // expired: the id is free again
		if err := s.forget(ctx, jobKey(r.ID)); err != nil {
			return "", storeError("submit", err)
		}
		return s.Submit(ctx, Submission{
			ID: r.ID, Kind: r.Kind, Options: r.Options, Inputs: r.Inputs, Extras: r.Extras, Callback: r.Callback,
		})
	}
	if err != nil {
		return "", err
	}
	if known.Kind != r.Kind {
		return "", fmt.Errorf("%w: the id belongs to a job of another kind", ErrInvalid)
	}
	if known.Phase == Queued {
		// The process that took the job may have died before it was in the queue. A subject holds one message: where
		// the job is queued already, this changes nothing.
		if err := s.publish(ctx, q, r.ID); err != nil {
			return "", err
		}
	}
	mine := map[string]bool{}
	for _, f := range known.files() {
		mine[f.Key] = true
	}
	for _, f := range slices.Concat(r.Inputs, r.Extras) {
		if !mine[f.Key] {
			s.remove(ctx, f)
		}
	}
	return r.ID, nil
}

func (s *Service) publish(ctx context.Context, q *queue, id string) error {
	_, err := s.js.Publish(ctx, s.jobSubject(q.kind, id), []byte(id))
	if err == nil || strings.Contains(err.Error(), "maximum messages per subject exceeded") {
		return nil
	}
	return storeError("submit", err)
}

func jobKey(id string) string { return "job." + id }

// load reads a job's record. One that has expired is not found.
func (s *Service) load(ctx context.Context, id string) (*record, uint64, error) {
	if !idForm.MatchString(id) {
		return nil, 0, fmt.Errorf("job: %w", ErrNotFound)
	}
	var entry jetstream.KeyValueEntry
	if err := s.asking(ctx, func(ctx context.Context) (err error) {
		entry, err = s.state.Get(ctx, jobKey(id))
		return err
	}); err != nil {
		return nil, 0, notFound("job", err)
	}
	var r record
	if err := json.Unmarshal(entry.Value(), &r); err != nil {
		return nil, 0, fmt.Errorf("job: %w: %w", ErrUnavailable, err)
	}
	if !s.cfg.Now().Before(r.Expires) {
		return nil, 0, fmt.Errorf("job: %w", ErrNotFound)
	}
	return &r, entry.Revision(), nil
}

const maxConflicts = 20

// change applies a change to a job's record and stores it, again and again while others change it at the same time.
// An error of the change is returned as it is, and nothing stored.
func (s *Service) change(ctx context.Context, id string, apply func(*record) error) (*record, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	for n := range maxConflicts {
		r, revision, err := s.load(ctx, id)
		if err != nil {
			return nil, err
		}
		if err := apply(r); err != nil {
			return nil, err
		}
		data, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		short, cancel := context.WithTimeout(ctx, askAgain)
		_, err = s.state.Update(short, jobKey(id), data, revision)
		cancel()
		if err == nil {
			return r, nil
		}
		// Where the answer is lost, the record tells whether the change was made: it has another revision then, and the
		// change is applied to what it made of the record.
		lost := s.embedded == nil && ctx.Err() == nil && passing(err)
		if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) && !lost {
			return nil, storeError("job", err)
		}
		if err := pause(ctx, rand.N(time.Duration(n+1)*5*time.Millisecond)); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("job: %w", ErrConflict)
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Status is where a job stands.
type Status struct {
	ID        string
	Kind      string
	Phase     Phase
	Options   json.RawMessage
	Ahead     int // jobs of the kind that a worker takes up to and including this one; zero once one has it
	Inputs    []File
	Outcomes  []Outcome // one for each input, in their order
	Error     string    // of the job as a whole, fit for the client
	Done      int       // of Total; inputs unless the handler counts something else
	Total     int
	Rate      float64 // of Done a second, lately; zero: not known
	Attempts  int
	Submitted time.Time
	Started   time.Time // zero: not yet
	Ended     time.Time // zero: not yet
	Expires   time.Time
}

// Status tells where a job stands. A job that never was, has expired or was deleted is ErrNotFound.
func (s *Service) Status(ctx context.Context, id string) (Status, error) {
	if err := s.check(); err != nil {
		return Status{}, err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	r, _, err := s.load(ctx, id)
	if err != nil {
		return Status{}, err
	}
	st := statusOf(r)
	if r.Phase == Queued {
		st.Ahead = 1
		if q := s.queues[r.Kind]; q != nil {
			if st.Ahead, err = q.ahead(ctx, s.jobSubject(r.Kind, id)); err != nil {
				return Status{}, storeError("queue position", err)
			}
		}
	}
	return st, nil
}

func statusOf(r *record) Status {
	return Status{
		ID: r.ID, Kind: r.Kind, Phase: r.Phase, Options: r.Options, Inputs: r.Inputs, Outcomes: r.Outcomes, Error: r.Error,
		Done: r.Done, Total: r.Total, Rate: r.Rate, Attempts: r.Attempt,
		Submitted: r.Submitted, Started: r.Started, Ended: r.Ended, Expires: r.Expires,
	}
}

// positionAge is how old the view of a queue may be from which positions are told: many clients poll, and one answer
// serves them all.
const positionAge = 100 * time.Millisecond

// ahead counts the jobs that are taken up to and including the one on a subject.
func (q *queue) ahead(ctx context.Context, subject string) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if time.Since(q.seen) > positionAge {
		consumer, err := q.consumer.Info(ctx)
		if err != nil {
			return 0, err
		}
		stream, err := q.stream.Info(ctx)
		if err != nil {
			return 0, err
		}
		q.seen, q.last, q.behind, q.taken = time.Now(), stream.State.LastSeq, consumer.NumPending, consumer.Delivered.Stream
	}
	m, err := q.stream.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 1, nil // just taken, or not yet in the queue
	}
	if err != nil {
		return 0, err
	}
	behindIt := q.last - min(m.Sequence, q.last)
	if m.Sequence <= q.taken || q.behind <= behindIt {
		return 1, nil // to be taken again, or newer than the view
	}
	return clampInt(q.behind - behindIt), nil
}

// Cancel stops a job and removes its files; its state stays, as Cancelled. A job that has ended is left as it is.
//
// Errors: ErrNotFound, ErrUnavailable.
func (s *Service) Cancel(ctx context.Context, id string) error {
	if err := s.check(); err != nil {
		return err
	}
	r, err := s.cancel(ctx, id, false)
	if err != nil || r == nil {
		return err
	}
	s.remove(ctx, r.files()...)
	return nil
}

var errEnded = errors.New("has ended")

// cancel makes a job Cancelled and returns its record from before; nil where it had ended already. silent: nobody is told.
func (s *Service) cancel(ctx context.Context, id string, silent bool) (*record, error) {
	var before record
	r, err := s.change(ctx, id, func(r *record) error {
		if r.Phase.final() {
			return errEnded
		}
		before = *r
		before.Outcomes = slices.Clone(r.Outcomes)
		s.end(r, Cancelled, "")
		r.Told = r.Told || silent
		for i := range r.Outcomes {
			r.Outcomes[i] = Outcome{}
		}
		return nil
	})
	if errors.Is(err, errEnded) {
		return nil, nil //nolint:nilnil // said above
	}
	if err != nil {
		return nil, err
	}
	if err := s.announce(ctx, r); err != nil {
		s.cfg.Log.Warn("job store: a job stays queued until a worker can have its end told", "error", err.Error())
	} else {
		s.dequeue(ctx, r)
	}
	s.observeEnd(r)
	return &before, nil
}

// end makes a record final.
func (s *Service) end(r *record, p Phase, message string) {
	now := s.cfg.Now().UTC()
	r.Phase, r.Error, r.Ended, r.Expires = p, message, now, now.Add(s.cfg.Retention)
}

func (s *Service) observeEnd(r *record) {
	if f := s.cfg.Observer.Ended; f != nil {
		f(r.Kind, r.Phase, r.Ended.Sub(r.Submitted))
	}
}

// dequeue takes a job off its queue and tells the worker that has it, if any.
func (s *Service) dequeue(ctx context.Context, r *record) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	if q := s.queues[r.Kind]; q != nil && r.Started.IsZero() {
		// A job that somebody works on is taken off by that worker's acknowledgement.
		if err := q.stream.Purge(ctx, jetstream.WithPurgeSubject(s.jobSubject(r.Kind, r.ID))); err != nil {
			s.cfg.Log.Debug("job store: a cancelled job stays queued until a worker sees it", "error", err.Error())
		}
	}
	_ = s.conn.Publish(s.cancelSubject(r.ID), nil) // a worker that misses it looks at the state in time
}

// Delete stops a job if need be and removes its files and its state: nothing is left of it.
//
// Errors: ErrNotFound, ErrUnavailable.
func (s *Service) Delete(ctx context.Context, id string) error {
	if err := s.check(); err != nil {
		return err
	}
	before, err := s.cancel(ctx, id, true)
	if err != nil {
		return err
	}
	if before != nil {
		s.remove(ctx, before.files()...)
	}
	short, cancel := bounded(ctx)
	defer cancel()
	r, _, err := s.load(short, id)
	if err != nil {
		return err
	}
	if err := s.forget(short, jobKey(id)); err != nil {
		return storeError("delete", err)
	}
	s.remove(ctx, r.files()...)
	return nil
}
