package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// receiver is somebody who is called.
type receiver struct {
	mu    sync.Mutex
	calls []Call
	came  chan Call
	fail  func(Call) error
}

func newReceiver(fail func(Call) error) *receiver {
	return &receiver{came: make(chan Call, 100), fail: fail}
}

func (r *receiver) deliver(_ context.Context, c Call) error {
	r.mu.Lock()
	r.calls = append(r.calls, c)
	r.mu.Unlock()
	r.came <- c
	if r.fail != nil {
		return r.fail(c)
	}
	return nil
}

func (r *receiver) wait(t *testing.T) Call {
	t.Helper()
	select {
	case c := <-r.came:
		return c
	case <-time.After(time.Minute):
		t.Fatal("no call comes")
		return Call{}
	}
}

// idle waits until nobody is left to be called, and checks that nothing is left of any call.
func (b *bundle) idle(t *testing.T) {
	t.Helper()
	until(t, "all calls are settled", func() bool {
		st, err := b.Stats(t.Context())
		return err == nil && st.Calls == 0
	})
	until(t, "no call is remembered", func() bool {
		keys, err := b.state.ListKeysFiltered(t.Context(), "call.>")
		if err != nil {
			return errors.Is(err, jetstream.ErrNoKeysFound)
		}
		n := 0
		for range keys.Keys() {
			n++
		}
		return n == 0
	})
}

// calls is a service that counts how attempts at calls end.
func openCalls(t *testing.T, cfg Config) (*bundle, func() []string) {
	t.Helper()
	var (
		mu       sync.Mutex
		outcomes []string
	)
	setDefault(&cfg.CallBackoff, time.Millisecond)
	cfg.Observer.Called = func(outcome string) {
		mu.Lock()
		defer mu.Unlock()
		outcomes = append(outcomes, outcome)
	}
	return open(t, cfg), func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(outcomes)
	}
}

// The end of a job is told, again and again until it has been heard, and then no more.
func TestCalls(t *testing.T) {
	t.Parallel()
	heard := errors.New("not yet")
	for name, tc := range map[string]struct {
		fail     func(Call) error
		handle   Handler
		phase    Phase
		outcomes []string
	}{
		"at once":      {nil, upper, Finished, []string{CallDelivered}},
		"third time":   {func(c Call) error { return map[bool]error{true: heard}[c.Attempt < 3] }, upper, Finished, []string{CallRetried, CallRetried, CallDelivered}},
		"never":        {func(Call) error { return heard }, upper, Finished, []string{CallRetried, CallRetried, CallRetried, CallFailed}},
		"gone":         {func(Call) error { return &PermanentError{Public: "gone"} }, upper, Finished, []string{CallFailed}},
		"panic":        {panicOnce, upper, Finished, []string{CallRetried, CallDelivered}},
		"a failed job": {nil, func(context.Context, *Task) error { return &PermanentError{Public: "no use"} }, Failed, []string{CallDelivered}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, outcomes := openCalls(t, Config{CallAttempts: 4})
			r := newReceiver(tc.fail)
			if err := b.StartCalls(2, r.deliver); err != nil {
				t.Fatal(err)
			}
			b.start(t, 1, tc.handle)
			quiet := b.submit(t, Submission{Inputs: []File{b.upload(t, "q", []byte("q"))}})
			id := b.submit(t, Submission{Inputs: []File{b.upload(t, "a", []byte("a"))}, Callback: "https://receiver.example/"})
			b.wait(t, tc.phase)
			b.wait(t, tc.phase)
			for i := range tc.outcomes {
				c := r.wait(t)
				if c.ID != id || c.URL != "https://receiver.example/" || c.Attempt != i+1 || c.Job == nil || c.Job.ID != id || c.Job.Phase != tc.phase {
					t.Errorf("call %d: %+v of %s", i, c, id)
				}
				if tc.phase == Finished && len(c.Job.Outcomes[0].Results) != 1 {
					t.Errorf("call %d: %+v", i, c.Job)
				}
			}
			b.idle(t)
			if got := outcomes(); !slices.Equal(got, tc.outcomes) {
				t.Errorf("attempts ended %v, want %v", got, tc.outcomes)
			}
			b.status(t, quiet)
			if len(r.came) != 0 {
				t.Errorf("called again: %+v", <-r.came)
			}
		})
	}
}

func panicOnce(c Call) error {
	if c.Attempt == 1 {
		panic("a bug")
	}
	return nil
}

// A job that is cancelled says so; of one that is deleted nothing is heard, be its end told or about to be.
func TestCallsOfCancelledJobs(t *testing.T) {
	t.Parallel()
	b, outcomes := openCalls(t, Config{})
	const url = "https://receiver.example/"
	begun, release := make(chan string, 10), make(chan struct{})
	b.start(t, 1, func(ctx context.Context, task *Task) error {
		begun <- task.ID()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-release:
			return nil
		}
	})
	running := b.submit(t, Submission{Callback: url})
	if got := <-begun; got != running {
		t.Fatal(got)
	}
	queued, deleted := b.submit(t, Submission{Callback: url}), b.submit(t, Submission{Callback: url})
	if err := b.Delete(t.Context(), deleted); err != nil {
		t.Error(err)
	}
	for _, id := range []string{queued, running} { // in this order, lest the worker takes what waits
		if err := b.Cancel(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	finished := b.submit(t, Submission{Callback: url})
	if got := <-begun; got != finished {
		t.Fatal(got)
	}
	close(release)
	for _, want := range []Phase{Cancelled, Cancelled, Cancelled, Finished} {
		b.wait(t, want)
	}
	until(t, "the end is to be told", func() bool {
		_, _, err := b.loadCall(t.Context(), finished)
		return err == nil
	})
	if err := b.Delete(t.Context(), finished); err != nil {
		t.Error(err)
	}
	r := newReceiver(nil)
	if err := b.StartCalls(1, r.deliver); err != nil {
		t.Fatal(err)
	}
	got := map[string]Phase{}
	for range 2 {
		c := r.wait(t)
		got[c.ID] = c.Job.Phase
	}
	b.idle(t)
	if got[running] != Cancelled || got[queued] != Cancelled || len(outcomes()) != 2 {
		t.Errorf("%v, %v", got, outcomes())
	}
}

// What is no job can be told too. Nothing stays of it.
func TestCallsWithoutAJob(t *testing.T) {
	t.Parallel()
	b, _ := openCalls(t, Config{})
	body := []byte(strings.Repeat(`{"a":1}`, 500_000)) // more than a message of the store holds
	id, err := b.Call(t.Context(), "https://receiver.example/", body)
	if err != nil {
		t.Fatal(err)
	}
	r := newReceiver(func(c Call) error { return map[bool]error{true: errors.New("not yet")}[c.Attempt == 1] })
	if err := b.StartCalls(1, r.deliver); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if c := r.wait(t); c.ID != id || string(c.Body) != string(body) || c.Job != nil {
			t.Errorf("%+.100v", c)
		}
	}
	b.idle(t)
	until(t, "the body is removed", func() bool { return b.stored(t) == 0 })
}

// A pause between attempts outlives the process, and so does the count.
func TestCallsOverARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b, _ := openCalls(t, Config{DataDir: dir, CallBackoff: 2 * time.Second})
	r := newReceiver(func(Call) error { return errors.New("not yet") })
	if err := b.StartCalls(1, r.deliver); err != nil {
		t.Fatal(err)
	}
	b.start(t, 1, upper)
	id := b.submit(t, Submission{Callback: "https://receiver.example/"})
	b.wait(t, Finished)
	r.wait(t)
	until(t, "the attempt is counted", func() bool {
		c, _, err := b.loadCall(t.Context(), id)
		return err == nil && c.Attempts == 1
	})
	first := time.Now()
	b.close(t)

	b, outcomes := openCalls(t, Config{DataDir: dir})
	r = newReceiver(nil)
	if err := b.StartCalls(1, r.deliver); err != nil {
		t.Fatal(err)
	}
	if c := r.wait(t); c.ID != id || c.Attempt != 2 || time.Since(first) < time.Second {
		t.Errorf("%+v after %v", c, time.Since(first))
	}
	b.idle(t)
	if got := outcomes(); !slices.Equal(got, []string{CallDelivered}) {
		t.Error(got)
	}
}

// A worker that died between the end of a job and the word of it: the next one to see the job passes it on.
func TestCallsAfterADeath(t *testing.T) {
	t.Parallel()
	b, _ := openCalls(t, Config{})
	id := b.submit(t, Submission{Callback: "https://receiver.example/"})
	if _, err := b.change(t.Context(), id, func(r *record) error { b.end(r, Finished, ""); return nil }); err != nil {
		t.Fatal(err)
	}
	r := newReceiver(nil)
	if err := b.StartCalls(1, r.deliver); err != nil {
		t.Fatal(err)
	}
	b.start(t, 1, func(context.Context, *Task) error { return errors.New("done already") })
	if c := r.wait(t); c.ID != id || c.Job.Phase != Finished {
		t.Errorf("%+v", c)
	}
	b.idle(t)
}

// A stop does not wait for a receiver that hangs; the next process calls again, and the attempt does not count.
func TestCallsDrain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b, _ := openCalls(t, Config{DataDir: dir})
	begun := make(chan struct{})
	if err := b.StartCalls(1, func(ctx context.Context, _ Call) error {
		close(begun)
		<-ctx.Done()
		return fmt.Errorf("cut off: %w", ctx.Err())
	}); err != nil {
		t.Fatal(err)
	}
	id, err := b.Call(t.Context(), "https://receiver.example/", []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Close(over); !errors.Is(err, context.Canceled) {
		t.Errorf("Close: %v", err)
	}
	b, _ = openCalls(t, Config{DataDir: dir})
	r := newReceiver(nil)
	if err := b.StartCalls(1, r.deliver); err != nil {
		t.Fatal(err)
	}
	if c := r.wait(t); c.ID != id || c.Attempt != 1 {
		t.Errorf("%+v", c)
	}
	b.idle(t)
}
