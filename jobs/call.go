package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Call is word for a client's server: that a job has ended, or what became of something that was no job. It is handed
// over at least once, so that a receiver may see it again; its ID tells.
type Call struct {
	ID      string
	URL     string
	Job     *Status // that has ended; nil: Body is the word
	Body    []byte
	Attempt int // from one
}

// Deliver hands a Call over. An error lets it be tried again later, unless it is Permanent.
type Deliver func(ctx context.Context, c Call) error

// Outcomes of an attempt to deliver a Call.
const (
	CallDelivered = "delivered"
	CallRetried   = "retried" // it failed and is tried again
	CallFailed    = "failed"  // for good
)

// callRecord is a Call as it is stored.
type callRecord struct {
	ID       string    `json:"id"`
	URL      string    `json:"url"`
	Job      string    `json:"job,omitempty"`
	Body     File      `json:"body,omitzero"` // of a call without a job
	Attempts int       `json:"attempts,omitempty"`
	Next     time.Time `json:"next,omitzero"` // not before
	Expires  time.Time `json:"expires"`
}

func callKey(id string) string { return "call." + id }

func (s *Service) callSubject(id string) string { return s.cfg.Namespace + ".call." + id }

// Call lets a URL be told something, as soon as it can be reached and at least once. It returns the call's id.
//
// Errors: ErrQueueFull, ErrStoreFull, ErrUnavailable.
func (s *Service) Call(ctx context.Context, url string, body []byte) (id string, err error) {
	f, err := s.Upload(ctx, "call", "application/json", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	r := callRecord{ID: newID(), URL: url, Body: f, Expires: s.cfg.Now().UTC().Add(s.cfg.Retention)}
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := s.enqueueCall(ctx, r); err != nil {
		s.dropCall(ctx, r)
		return "", err
	}
	return r.ID, nil
}

// enqueueCall stores a call and queues it. One of the same id that is known stays as it is.
func (s *Service) enqueueCall(ctx context.Context, r callRecord) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := s.state.Create(ctx, callKey(r.ID), data); err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
		return storeError("call back", err)
	}
	// A subject holds one message: where the call is queued already, this changes nothing.
	_, err = s.js.Publish(ctx, s.callSubject(r.ID), []byte(r.ID))
	if err == nil || strings.Contains(err.Error(), "maximum messages per subject exceeded") {
		return nil
	}
	return storeError("call back", err)
}

// announce lets those who want to know be told that a job has ended. It may be done again until they have been.
func (s *Service) announce(ctx context.Context, r *record) error {
	if r.Callback == "" || r.Told || !r.Phase.final() {
		return nil
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	return s.enqueueCall(ctx, callRecord{ID: r.ID, URL: r.Callback, Job: r.ID, Expires: r.Expires})
}

// announceEnded does so for a job whose worker may have died before it could.
func (s *Service) announceEnded(ctx context.Context, id string) error {
	short, cancel := bounded(ctx)
	defer cancel()
	r, _, err := s.load(short, id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.announce(ctx, r)
}

// StartCalls lets this process deliver calls, so many at a time. It returns at once; Close ends it.
func (s *Service) StartCalls(workers int, d Deliver) error {
	if err := s.check(); err != nil {
		return err
	}
	if workers < 1 || d == nil {
		return fmt.Errorf("%w: %d workers for calls", ErrInvalid, workers)
	}
	for range workers {
		s.workers.Go(func() { s.work(s.calls, func(m jetstream.Msg) { s.deliver(d, m) }) })
	}
	return nil
}

// deliver makes one attempt at a call.
func (s *Service) deliver(d Deliver, m jetstream.Msg) {
	id := m.Subject()[strings.LastIndexByte(m.Subject(), '.')+1:]
	log := s.cfg.Log.With("call", hint(id))
	ctx := context.WithoutCancel(s.fetching)
	r, revision, err := s.loadCall(ctx, id)
	var c Call
	if err == nil {
		if wait := time.Until(r.Next); wait > 0 { // taken early: the worker that noted the pause is gone, and its note to the queue too
			_ = m.NakWithDelay(wait)
			return
		}
		c, err = s.call(ctx, r)
	}
	switch {
	case errors.Is(err, ErrNotFound): // told, too old, or its job was deleted
		s.dropCall(ctx, r)
		_ = m.Ack()
		return
	case err != nil:
		log.Warn("job store: a call cannot be read", "error", err.Error())
		_ = m.NakWithDelay(s.cfg.Backoff)
		return
	}
	err = s.attempt(d, c, m)
	if err != nil && s.calling.Err() != nil {
		_ = m.Nak() // the stop, not the receiver, is to blame: another worker may have it at once
		return
	}
	var permanent *PermanentError
	outcome := CallDelivered
	switch {
	case err == nil:
	case errors.As(err, &permanent), c.Attempt >= s.cfg.CallAttempts:
		outcome = CallFailed
		log.Error("a client's server was not told", "attempts", c.Attempt, "error", err.Error())
	default:
		outcome = CallRetried
		again := s.callBackoff(c.Attempt)
		r.Attempts, r.Next = c.Attempt, time.Now().UTC().Add(again)
		if err := s.updateCall(ctx, r, revision); err != nil {
			log.Warn("job store: an attempt at a call is not counted", "error", err.Error())
		}
		log.Warn("a client's server could not be told and is tried again", "attempt", c.Attempt, "in", again.Round(time.Millisecond).String(), "error", err.Error())
		_ = m.NakWithDelay(again)
	}
	if outcome != CallRetried {
		s.settleCall(ctx, r)
		_ = m.Ack()
	}
	if f := s.cfg.Observer.Called; f != nil {
		f(outcome)
	}
}

// attempt calls, and keeps the lease meanwhile.
func (s *Service) attempt(d Deliver, c Call, m jetstream.Msg) error {
	ctx, cancel := context.WithTimeout(s.calling, callTimeout)
	defer cancel()
	returned := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				s.cfg.Log.Error("panic in a call", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				returned <- fmt.Errorf("panic: %v", p)
			}
		}()
		returned <- d(ctx, c)
	}()
	ticker := time.NewTicker(s.cfg.Lease / 3)
	defer ticker.Stop()
	for {
		select {
		case err := <-returned:
			return err
		case <-ticker.C:
			_ = m.InProgress()
		}
	}
}

const (
	callTimeout    = time.Minute // of one attempt; the deliverer has a shorter one of its own
	maxCallBackoff = time.Hour
	maxCall        = 64 << 20 // bytes of a body that is read back
)

// callBackoff doubles from attempt to attempt. It is never quite the same, so that what failed together does not come back
// together.
func (s *Service) callBackoff(attempts int) time.Duration {
	d := min(s.cfg.CallBackoff<<min(max(attempts-1, 0), 16), maxCallBackoff)
	return d*9/10 + rand.N(d/5+1)
}

// loadCall reads a call's record. One that has expired is not found, but is given back all the same.
func (s *Service) loadCall(ctx context.Context, id string) (r callRecord, revision uint64, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	r.ID = id
	entry, err := s.state.Get(ctx, callKey(id))
	if err != nil {
		return r, 0, notFound("call", err)
	}
	if err := json.Unmarshal(entry.Value(), &r); err != nil {
		return r, 0, fmt.Errorf("call: %w: %w", ErrUnavailable, err)
	}
	if !s.cfg.Now().Before(r.Expires) {
		return r, 0, fmt.Errorf("call: %w", ErrNotFound)
	}
	return r, entry.Revision(), nil
}

// call puts together what is to be told. What its job has been told of already, or has no job any more, is not found.
func (s *Service) call(ctx context.Context, r callRecord) (Call, error) {
	c := Call{ID: r.ID, URL: r.URL, Attempt: r.Attempts + 1}
	if r.Job == "" {
		if r.Body.Size > maxCall {
			return c, fmt.Errorf("call of %d bytes: %w", r.Body.Size, ErrNotFound)
		}
		c.Body = make([]byte, r.Body.Size)
		_, err := io.ReadFull(s.reader(ctx, r.Body, time.Time{}), c.Body)
		return c, err
	}
	short, cancel := bounded(ctx)
	defer cancel()
	job, _, err := s.load(short, r.Job)
	if err != nil {
		return c, err
	}
	if job.Told || !job.Phase.final() {
		return c, fmt.Errorf("call: %w", ErrNotFound)
	}
	st := statusOf(job)
	c.Job = &st
	return c, nil
}

func (s *Service) updateCall(ctx context.Context, r callRecord, revision uint64) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := s.state.Update(ctx, callKey(r.ID), data, revision); err != nil {
		return storeError("call back", err)
	}
	return nil
}

// settleCall notes that nobody is to be told again, and forgets the call.
func (s *Service) settleCall(ctx context.Context, r callRecord) {
	if r.Job != "" {
		if _, err := s.change(ctx, r.Job, func(j *record) error { j.Told = true; return nil }); err != nil && !errors.Is(err, ErrNotFound) {
			s.cfg.Log.Warn("job store: it is not noted that a job's end was told", "job", hint(r.Job), "error", err.Error())
		}
	}
	s.dropCall(ctx, r)
}

// dropCall leaves nothing of a call, as far as the store lets it.
func (s *Service) dropCall(ctx context.Context, r callRecord) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	_ = s.forget(ctx, callKey(r.ID))
	s.remove(ctx, r.Body)
}
