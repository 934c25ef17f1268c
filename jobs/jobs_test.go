package jobs

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
)

const kind = "image"

// TestMain runs the tests, or is the child process of one; at the end no goroutine of a service may be left.
func TestMain(m *testing.M) {
	if dir := os.Getenv("JOBS_TEST_CHILD"); dir != "" {
		child(dir)
		return
	}
	if url := os.Getenv("JOBS_TEST_WORKER"); url != "" {
		workerChild(url)
		return
	}
	if config := os.Getenv("JOBS_TEST_NODE"); config != "" {
		nodeChild(config)
		return
	}
	before := runtime.NumGoroutine()
	code := m.Run()
	if code == 0 && !settled(before) {
		buf := make([]byte, 1<<20)
		fmt.Fprintf(os.Stderr, "goroutines are left:\n%s\n", buf[:runtime.Stack(buf, true)])
		code = 1
	}
	os.Exit(code)
}

func settled(before int) bool {
	for range 500 {
		if runtime.NumGoroutine() <= before+1 { // the testing package may keep one for signals
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

// clock is a time that stands until it is told to move.
type clock struct{ now atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.now.Store(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) Now() time.Time          { return time.Unix(0, c.now.Load()).UTC() }
func (c *clock) Advance(d time.Duration) { c.now.Add(int64(d)) }

// bundle is a service and what it reports.
type bundle struct {
	*Service
	ended chan Phase
}

func open(t *testing.T, cfg Config) *bundle {
	t.Helper()
	b := &bundle{ended: make(chan Phase, 1000)}
	if cfg.DataDir == "" && cfg.URL == "" {
		cfg.DataDir = t.TempDir()
	}
	setDefault(&cfg.MinFree, 1)
	setDefault(&cfg.Backoff, time.Millisecond)
	if cfg.Kinds == nil {
		cfg.Kinds = []string{kind}
	}
	cfg.Observer.Ended = func(_ string, p Phase, _ time.Duration) { b.ended <- p }
	var err error
	if b.Service, err = Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.close(t) })
	return b
}

func (b *bundle) close(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func (b *bundle) wait(t *testing.T, want Phase) {
	t.Helper()
	select {
	case got := <-b.ended:
		if got != want {
			t.Fatalf("a job is %s, want %s", got, want)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("no job ends")
	}
}

// until waits for something that only polling shows.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

func (b *bundle) upload(t *testing.T, name string, data []byte) File {
	t.Helper()
	f, err := b.Upload(t.Context(), name, "text/plain", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (b *bundle) submit(t *testing.T, sub Submission) string {
	t.Helper()
	sub.Kind = kind
	id, err := b.Submit(t.Context(), sub)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (b *bundle) status(t *testing.T, id string) Status {
	t.Helper()
	st, err := b.Status(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func (b *bundle) start(t *testing.T, workers int, h Handler) {
	t.Helper()
	if err := b.Start(kind, workers, h); err != nil {
		t.Fatal(err)
	}
}

func (b *bundle) read(t *testing.T, key string) []byte {
	t.Helper()
	r, err := b.OpenFile(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// stored counts the messages below the files: parts and their chunks.
func (b *bundle) stored(t *testing.T) uint64 {
	t.Helper()
	info, err := b.files.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Msgs
}

// upper is a handler that gives every input back in capitals.
func upper(ctx context.Context, t *Task) error {
	for _, i := range t.Pending() {
		if err := upperOne(ctx, t, i); err != nil {
			return err
		}
	}
	return nil
}

func upperOne(ctx context.Context, t *Task, i int) error {
	in := t.Inputs()[i]
	data, err := io.ReadAll(t.Open(ctx, in))
	if err != nil {
		return err
	}
	if len(data) == 0 {
		return t.Fail(ctx, i, "empty: "+in.Name)
	}
	w := t.Create(ctx, in.Name+".up", "text/upper")
	if _, err := w.Write(bytes.ToUpper(data)); err != nil {
		return err
	}
	f, err := w.Finish()
	if err != nil {
		return err
	}
	return t.Done(ctx, i, f)
}

func TestJob(t *testing.T) {
	t.Parallel()
	b := open(t, Config{})
	big := bytes.Repeat([]byte("some text, "), 200_000) // two parts
	inputs := []File{b.upload(t, "big", big), b.upload(t, "empty", nil), b.upload(t, "small", []byte("abc"))}
	id := b.submit(t, Submission{Inputs: inputs, Options: []byte(`{"a":1}`), Extras: []File{b.upload(t, "extra", []byte("x"))}})
	if st := b.status(t, id); st.Phase != Queued || st.Ahead != 1 || st.Total != 3 || st.Done != 0 || !st.Started.IsZero() {
		t.Errorf("before: %+v", st)
	}
	b.start(t, 2, func(ctx context.Context, task *Task) error {
		if string(task.Options()) != `{"a":1}` || task.ID() != id || task.Attempt() != 1 || len(task.Extras()) != 1 {
			t.Errorf("task %+v", task)
		}
		return upper(ctx, task)
	})
	b.wait(t, Finished)
	st := b.status(t, id)
	if st.Phase != Finished || st.Done != 3 || st.Total != 3 || st.Ahead != 0 || st.Attempts != 1 || st.Ended.IsZero() || st.Error != "" {
		t.Fatalf("after: %+v", st)
	}
	if diff := cmp.Diff(Outcome{Done: true, Error: "empty: empty"}, st.Outcomes[1]); diff != "" {
		t.Errorf("outcome of the empty file: %s", diff)
	}
	if f := st.Outcomes[0].Results[0]; f.Name != "big.up" || f.Type != "text/upper" || f.Size != int64(len(big)) {
		t.Errorf("result %+v", f)
	}
	if got := b.read(t, st.Outcomes[2].Results[0].Key); string(got) != "ABC" {
		t.Errorf("result %q", got)
	}
	r, err := b.OpenFile(t.Context(), st.Outcomes[0].Results[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := iotest.TestReader(r, bytes.ToUpper(big)); err != nil {
		t.Error(err)
	}
	if !r.Expires.Equal(st.Expires) {
		t.Errorf("the file expires %v, its job %v", r.Expires, st.Expires)
	}
	// Inputs are private and of no more use: they go with the end of the job.
	for _, f := range inputs {
		if _, err := b.OpenFile(t.Context(), f.Key); !errors.Is(err, ErrNotFound) {
			t.Errorf("an input can be opened: %v", err)
		}
	}
	want := uint64(0) // chunks and one description for each part
	for _, o := range st.Outcomes {
		for _, f := range o.Results {
			for n := range f.parts() {
				want += 1 + uint64((min(f.PartSize, f.Size-n*f.PartSize)+chunkSize-1)/chunkSize)
			}
		}
	}
	until(t, "the inputs are removed", func() bool { return b.stored(t) == want })
}

// TestObjectStore reads files the way any other client of the object store does, and notices what one has spoilt.
func TestObjectStore(t *testing.T) {
	t.Parallel()
	b := open(t, Config{})
	data := bytes.Repeat([]byte("0123456789"), 100_000)
	f, err := b.Host(t.Context(), "h", "", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	store, err := b.js.ObjectStore(t.Context(), "cutout-files")
	if err != nil {
		t.Fatal(err)
	}
	got, err := store.GetBytes(t.Context(), f.part(0))
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes: %v", len(got), err)
	}
	info, err := store.GetInfo(t.Context(), f.part(0))
	if err != nil {
		t.Fatal(err)
	}
	chunks, meta := b.objectSubjects(f.part(0), info.NUID)
	info.Digest = "SHA-256=" + strings.Repeat("A", 43) + "="
	spoilt, err := json.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.js.Publish(t.Context(), meta, spoilt); err != nil {
		t.Fatal(err)
	}
	read := func() error {
		r, err := b.OpenFile(t.Context(), f.Key)
		if err != nil {
			return err
		}
		n, err := r.Read(make([]byte, 10))
		if n != 0 {
			t.Errorf("%d bytes of a spoilt file", n)
		}
		return err
	}
	if err := read(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("another digest: %v", err)
	}
	b.purgeChunks(t.Context(), chunks)
	if err := read(); !errors.Is(err, ErrNotFound) {
		t.Errorf("no chunks: %v", err)
	}
}

func TestLocked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := open(t, Config{DataDir: dir})
	_, err := Open(t.Context(), Config{DataDir: dir, Kinds: []string{kind}})
	if !errors.Is(err, ErrLocked) || !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Fatalf("second service: %v", err)
	}
	b.close(t)
	open(t, Config{DataDir: dir})
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), Config{DataDir: filepath.Join(file, "dir"), Kinds: []string{kind}})
	if !errors.Is(err, ErrUnavailable) {
		t.Fatalf("directory below a file: %v", err)
	}
	s := Unavailable(err)
	_, statusErr := s.Status(t.Context(), newID())
	_, uploadErr := s.Upload(t.Context(), "", "", strings.NewReader("x"))
	_, hostErr := s.Host(t.Context(), "", "", strings.NewReader("x"))
	_, submitErr := s.Submit(t.Context(), Submission{Kind: kind})
	_, openErr := s.OpenFile(t.Context(), newKey())
	_, statsErr := s.Stats(t.Context())
	for name, err := range map[string]error{
		"status": statusErr, "upload": uploadErr, "host": hostErr, "submit": submitErr, "open": openErr, "stats": statsErr,
		"cancel": s.Cancel(t.Context(), newID()), "delete": s.Delete(t.Context(), newID()),
		"healthy": s.Healthy(t.Context()), "start": s.Start(kind, 1, upper),
	} {
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "not a directory") {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.Discard(t.Context(), File{Key: newKey()})
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"no kinds":              {},
		"kind with a dot":       {Kinds: []string{"a.b"}},
		"wildcard namespace":    {Kinds: []string{kind}, Namespace: "*"},
		"six replicas":          {Kinds: []string{kind}, Replicas: 6, URL: "nats://127.0.0.1:1"},
		"embedded replicas":     {Kinds: []string{kind}, Replicas: 3},
		"certificate, no key":   {Kinds: []string{kind}, Cert: "x", URL: "nats://127.0.0.1:1"},
		"negative retention":    {Kinds: []string{kind}, Retention: -1},
		"nobody at the address": {Kinds: []string{kind}, URL: "nats://127.0.0.1:1"},
	} {
		s, err := Open(t.Context(), cfg)
		if err == nil {
			t.Errorf("%s: opened", name)
			_ = s.Close(t.Context())
		}
	}
}

// TestAttempts lets handlers fail.
func TestAttempts(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		handle   func(attempt int) error
		phase    Phase
		attempts int
		message  string
	}{
		"third time lucky": {
			func(n int) error {
				if n < 3 {
					return errors.New("not yet")
				}
				return nil
			}, Finished, 3, "",
		},
		"never":     {func(int) error { return errors.New("secret") }, Failed, 3, "Processing failed, 3 times."},
		"permanent": {func(int) error { return &PermanentError{Public: "No use.", Err: errors.New("secret")} }, Failed, 1, "No use."},
		"panic":     {func(int) error { panic("secret") }, Failed, 3, "Processing failed, 3 times."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t, Config{})
			id := b.submit(t, Submission{})
			b.start(t, 1, func(_ context.Context, task *Task) error { return tc.handle(task.Attempt()) })
			b.wait(t, tc.phase)
			st := b.status(t, id)
			if st.Phase != tc.phase || st.Attempts != tc.attempts || st.Error != tc.message {
				t.Errorf("%+v", st)
			}
		})
	}
}

// TestGivenUp has a job whose workers never came back.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	b := open(t, Config{MaxAttempts: 2})
	id := b.submit(t, Submission{Inputs: []File{b.upload(t, "a", []byte("a"))}})
	if _, err := b.change(t.Context(), id, func(r *record) error {
		r.Phase, r.Charged, r.Attempt = Running, 2, 2
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	b.start(t, 1, func(context.Context, *Task) error {
		t.Error("a third attempt")
		return nil
	})
	b.wait(t, Failed)
	if st := b.status(t, id); st.Error != "The job was given up after 2 attempts." {
		t.Errorf("%+v", st)
	}
	until(t, "the input is removed", func() bool { return b.Service.conn != nil && b.stored(t) == 0 })
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	c := newClock()
	b := open(t, Config{Now: c.Now, Retention: time.Hour})
	hosted, err := b.Host(t.Context(), "h", "text/plain", strings.NewReader("hosted"))
	if err != nil {
		t.Fatal(err)
	}
	late := b.submit(t, Submission{ID: "late"})
	c.Advance(59 * time.Minute)
	if got := b.read(t, hosted.Key); string(got) != "hosted" {
		t.Errorf("hosted file %q", got)
	}
	b.status(t, late)
	c.Advance(time.Minute)
	if _, err := b.OpenFile(t.Context(), hosted.Key); !errors.Is(err, ErrNotFound) {
		t.Errorf("hosted file after its time: %v", err)
	}
	if _, err := b.Status(t.Context(), late); !errors.Is(err, ErrNotFound) {
		t.Errorf("job after its time: %v", err)
	}

	id := b.submit(t, Submission{Inputs: []File{b.upload(t, "a", []byte("a"))}})
	var again atomic.Bool
	b.start(t, 1, func(ctx context.Context, task *Task) error {
		if task.ID() != id && !again.Load() {
			t.Errorf("job %s runs after its time", task.ID())
		}
		return upper(ctx, task)
	})
	b.wait(t, Finished)
	key := b.status(t, id).Outcomes[0].Results[0].Key
	c.Advance(time.Hour - time.Nanosecond)
	if got := b.read(t, key); string(got) != "A" {
		t.Errorf("result %q", got)
	}
	c.Advance(time.Nanosecond)
	if _, err := b.OpenFile(t.Context(), key); !errors.Is(err, ErrNotFound) {
		t.Errorf("result after its time: %v", err)
	}
	if _, err := b.Status(t.Context(), id); !errors.Is(err, ErrNotFound) {
		t.Errorf("job after its time: %v", err)
	}
	if err := b.Delete(t.Context(), id); !errors.Is(err, ErrNotFound) {
		t.Errorf("delete after its time: %v", err)
	}
	// The id is free again.
	again.Store(true)
	b.submit(t, Submission{ID: "late"})
	b.wait(t, Finished)

	info, err := b.files.Info(t.Context())
	if err != nil || info.Config.MaxAge < 2*time.Hour {
		t.Errorf("the store cleans up after %v: %v", info.Config.MaxAge, err)
	}
}

func TestQuotas(t *testing.T) {
	t.Parallel()
	free := atomic.Int64{}
	free.Store(math.MaxInt64)
	var putErr atomic.Pointer[error]
	b := open(t, Config{
		MaxFile: 5 << 20, MaxStore: 7 << 20, MaxQueue: 2, MinFree: 1 << 20,
		freeSpace: func(string) (int64, error) { return free.Load(), nil },
		putPart: func() error {
			if p := putErr.Load(); p != nil {
				return *p
			}
			return nil
		},
	})
	data := make([]byte, 6<<20)
	upload := func(r io.Reader) error {
		_, err := b.Upload(t.Context(), "f", "", r)
		return err
	}
	empty := func() {
		t.Helper()
		if n := b.stored(t); n != 0 {
			t.Errorf("%d messages are left", n)
		}
	}
	if err := upload(bytes.NewReader(data)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("over the file limit: %v", err)
	}
	empty()
	broken := errors.New("the client is gone")
	if err := upload(io.MultiReader(bytes.NewReader(data[:3<<20]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("a reader that breaks: %v", err)
	}
	empty()

	free.Store(2 << 20)
	if err := upload(bytes.NewReader(data[:4<<20])); !errors.Is(err, ErrStoreFull) {
		t.Errorf("disk full: %v", err)
	}
	empty()
	free.Store(0)
	if _, err := b.Submit(t.Context(), Submission{Kind: kind}); !errors.Is(err, ErrStoreFull) {
		t.Errorf("submit on a full disk: %v", err)
	}
	free.Store(math.MaxInt64)

	noSpace := errors.New("write x.blk: no space left on device")
	putErr.Store(&noSpace)
	if err := upload(bytes.NewReader(data[:4<<20])); !errors.Is(err, ErrStoreFull) {
		t.Errorf("the disk fails: %v", err)
	}
	lost := errors.New("timeout")
	putErr.Store(&lost)
	if err := upload(bytes.NewReader(data[:4<<20])); !errors.Is(err, ErrUnavailable) {
		t.Errorf("the store fails: %v", err)
	}
	if _, err := b.Host(t.Context(), "h", "", strings.NewReader("x")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("host while the store fails: %v", err)
	}
	putErr.Store(nil)
	empty()

	f := b.upload(t, "f", data[:4<<20])
	if err := upload(bytes.NewReader(data[:4<<20])); !errors.Is(err, ErrStoreFull) {
		t.Errorf("over the quota: %v", err)
	}
	b.Discard(t.Context(), f)
	empty()
	until(t, "there is room again", func() bool { return upload(bytes.NewReader(data[:4<<20])) == nil })

	b.submit(t, Submission{})
	b.submit(t, Submission{})
	if _, err := b.Submit(t.Context(), Submission{ID: "third", Kind: kind}); !errors.Is(err, ErrQueueFull) {
		t.Errorf("over the queue's length: %v", err)
	}
	if _, err := b.Status(t.Context(), "third"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a job that was refused: %v", err)
	}
	for name, sub := range map[string]Submission{
		"kind": {Kind: "video"}, "id": {Kind: kind, ID: "a.>"}, "options": {Kind: kind, Options: []byte("{")},
	} {
		if _, err := b.Submit(t.Context(), sub); !errors.Is(err, ErrInvalid) {
			t.Errorf("bad %s: %v", name, err)
		}
	}
}

// TestResultFails has the store fail while a worker writes: the job is tried again, and nothing half-written shows.
func TestResultFails(t *testing.T) {
	t.Parallel()
	var fail atomic.Int32
	b := open(t, Config{putPart: func() error {
		if fail.Add(-1) == 0 {
			return errors.New("no space left on device")
		}
		return nil
	}})
	data := bytes.Repeat([]byte("a"), partSize+1)
	id := b.submit(t, Submission{Inputs: []File{b.upload(t, "a", data)}})
	fail.Store(2) // the second part of the result
	b.start(t, 1, upper)
	b.wait(t, Finished)
	st := b.status(t, id)
	if st.Attempts != 2 || len(st.Outcomes[0].Results) != 1 {
		t.Fatalf("%+v", st)
	}
	if got := b.read(t, st.Outcomes[0].Results[0].Key); !bytes.Equal(got, bytes.ToUpper(data)) {
		t.Errorf("%d bytes", len(got))
	}
	want := uint64(1 + 8 + 1 + 1)
	until(t, "only the result is left", func() bool { return b.stored(t) == want })
}

func TestPosition(t *testing.T) {
	t.Parallel()
	b := open(t, Config{Kinds: []string{kind, "other"}})
	if _, err := b.Submit(t.Context(), Submission{Kind: "other"}); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for range 4 {
		ids = append(ids, b.submit(t, Submission{}))
	}
	positions := func() (got []int) {
		time.Sleep(positionAge + 10*time.Millisecond) // the view may be that old
		for _, id := range ids {
			got = append(got, b.status(t, id).Ahead)
		}
		return got
	}
	if diff := cmp.Diff([]int{1, 2, 3, 4}, positions()); diff != "" {
		t.Error(diff)
	}
	if err := b.Cancel(t.Context(), ids[1]); err != nil {
		t.Fatal(err)
	}
	if got := positions(); got[0] > 1 || got[1] != 0 || got[2] != 2 || got[3] != 3 {
		t.Errorf("after the second was cancelled: %v", got)
	}
	release, begun := make(chan struct{}), make(chan string, 4)
	b.start(t, 1, func(_ context.Context, task *Task) error {
		begun <- task.ID()
		<-release
		return nil
	})
	if got := <-begun; got != ids[0] {
		t.Errorf("the first to begin is %s", got)
	}
	if diff := cmp.Diff([]int{0, 0, 1, 2}, positions()); diff != "" {
		t.Error(diff)
	}
	st, err := b.Stats(t.Context())
	if err != nil || st.Waiting[kind] != 2 || st.Running[kind] != 1 || st.Waiting["other"] != 1 || st.Oldest[kind].IsZero() {
		t.Errorf("stats %+v: %v", st, err)
	}
	close(release)
	for _, want := range []Phase{Cancelled, Finished, Finished, Finished} {
		b.wait(t, want)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	b := open(t, Config{})
	queued := b.submit(t, Submission{Inputs: []File{b.upload(t, "a", []byte("a"))}})
	if err := b.Cancel(t.Context(), queued); err != nil {
		t.Fatal(err)
	}
	b.wait(t, Cancelled)
	if n := b.stored(t); n != 0 {
		t.Errorf("%d messages are left of a cancelled job", n)
	}
	begun, causes := make(chan struct{}), make(chan error, 1)
	b.start(t, 1, func(ctx context.Context, task *Task) error {
		if task.ID() == queued {
			t.Error("a cancelled job runs")
		}
		if err := upperOne(ctx, task, 0); err != nil {
			return err
		}
		w := task.Create(ctx, "left over", "")
		_, _ = w.Write([]byte("x"))
		_, _ = w.Finish()
		close(begun)
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return upperOne(context.WithoutCancel(ctx), task, 1) // too late
	})
	id := b.submit(t, Submission{Inputs: []File{b.upload(t, "a", []byte("a")), b.upload(t, "b", []byte("b"))}})
	<-begun
	st := b.status(t, id)
	if st.Phase != Running || st.Done != 1 || len(st.Outcomes[0].Results) != 1 {
		t.Fatalf("while it runs: %+v", st)
	}
	if err := b.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if cause := <-causes; !errors.Is(cause, ErrCancelled) {
		t.Errorf("the handler was stopped by: %v", cause)
	}
	b.wait(t, Cancelled)
	if after := b.status(t, id); after.Phase != Cancelled || after.Outcomes[0].Done || after.Outcomes[1].Done {
		t.Errorf("after: %+v", after)
	}
	if _, err := b.OpenFile(t.Context(), st.Outcomes[0].Results[0].Key); !errors.Is(err, ErrNotFound) {
		t.Errorf("a result of the cancelled job: %v", err)
	}
	until(t, "nothing is left", func() bool { return b.stored(t) == 0 })
	if err := b.Cancel(t.Context(), id); err != nil {
		t.Errorf("again: %v", err)
	}
	if err := b.Cancel(t.Context(), newID()); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	b := open(t, Config{})
	b.start(t, 1, upper)
	id := b.submit(t, Submission{Inputs: []File{b.upload(t, "a", []byte("a"))}})
	b.wait(t, Finished)
	key := b.status(t, id).Outcomes[0].Results[0].Key
	if err := b.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Status(t.Context(), id); !errors.Is(err, ErrNotFound) {
		t.Errorf("status: %v", err)
	}
	if _, err := b.OpenFile(t.Context(), key); !errors.Is(err, ErrNotFound) {
		t.Errorf("result: %v", err)
	}
	if n := b.stored(t); n != 0 {
		t.Errorf("%d messages are left", n)
	}
	if info, err := b.states.Info(t.Context()); err != nil || info.State.Msgs != 0 {
		t.Errorf("%d states are left, %v", info.State.Msgs, err)
	}
	if err := b.Delete(t.Context(), id); !errors.Is(err, ErrNotFound) {
		t.Errorf("again: %v", err)
	}
}

func TestIdempotent(t *testing.T) {
	t.Parallel()
	b := open(t, Config{})
	first := b.upload(t, "a", []byte("a"))
	if id := b.submit(t, Submission{ID: "mine", Inputs: []File{first}}); id != "mine" {
		t.Errorf("id %q", id)
	}
	second := b.upload(t, "b", []byte("b"))
	b.submit(t, Submission{ID: "mine", Inputs: []File{second}})
	b.submit(t, Submission{ID: "mine", Inputs: []File{first}})
	if n := b.stored(t); n != 2 {
		t.Errorf("%d messages: the second upload stays", n)
	}
	var runs atomic.Int32
	b.start(t, 2, func(ctx context.Context, task *Task) error {
		runs.Add(1)
		return upper(ctx, task)
	})
	b.wait(t, Finished)
	b.submit(t, Submission{ID: "mine"})
	marker := b.submit(t, Submission{}) // behind whatever the repetition may have queued
	b.wait(t, Finished)
	if got := runs.Load(); got != 2 || b.status(t, marker).Phase != Finished {
		t.Errorf("%d runs, want one of each job", got)
	}
	if got := b.read(t, b.status(t, "mine").Outcomes[0].Results[0].Key); string(got) != "A" {
		t.Errorf("result %q", got)
	}
}

// TestStall stops a handler that gives no sign of life, and one that takes too long.
func TestStall(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cfg   Config
		cause error
		beat  bool
	}{
		"stalled":  {Config{Stall: 50 * time.Millisecond, Lease: 60 * time.Millisecond, MaxAttempts: 1}, ErrStalled, false},
		"too long": {Config{Stall: 5 * time.Second, MaxRuntime: 50 * time.Millisecond, MaxAttempts: 1}, ErrRuntime, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t, tc.cfg)
			causes := make(chan error, 10)
			b.start(t, 1, func(ctx context.Context, task *Task) error {
				for ctx.Err() == nil {
					if tc.beat {
						task.Heartbeat()
					}
					_ = pause(ctx, 5*time.Millisecond)
				}
				causes <- context.Cause(ctx)
				return ctx.Err()
			})
			b.submit(t, Submission{})
			if cause := <-causes; !errors.Is(cause, tc.cause) {
				t.Errorf("stopped by: %v", cause)
			}
			b.wait(t, Failed)
		})
	}
}

// TestProgress sees what a handler reports while it works.
func TestProgress(t *testing.T) {
	t.Parallel()
	b := open(t, Config{Lease: 60 * time.Millisecond})
	release := make(chan struct{})
	b.start(t, 1, func(_ context.Context, task *Task) error {
		task.Progress(7, 30)
		<-release
		task.Progress(30, 30)
		return nil
	})
	id := b.submit(t, Submission{})
	until(t, "progress shows", func() bool { st := b.status(t, id); return st.Done == 7 && st.Total == 30 })
	close(release)
	b.wait(t, Finished)
	if st := b.status(t, id); st.Done != 30 || st.Attempts != 1 {
		t.Errorf("after: %+v", st)
	}
}

// TestForeignNames asks for jobs and files by what is no id or key.
func TestForeignNames(t *testing.T) {
	t.Parallel()
	b := open(t, Config{})
	b.submit(t, Submission{ID: "known"})
	for _, name := range []string{
		"", "*", ">", "known.x", "../known", "known\x00", "known ", " known", "job.known", "$KV", strings.Repeat("a", 65), "é", "a/b", "known\r\n",
	} {
		if _, err := b.Status(t.Context(), name); !errors.Is(err, ErrNotFound) {
			t.Errorf("Status(%q): %v", name, err)
		}
		if _, err := b.OpenFile(t.Context(), name); !errors.Is(err, ErrNotFound) {
			t.Errorf("OpenFile(%q): %v", name, err)
		}
		if err := b.Delete(t.Context(), name); !errors.Is(err, ErrNotFound) {
			t.Errorf("Delete(%q): %v", name, err)
		}
	}
	seen := map[string]bool{}
	for range 100 {
		id, key := newID(), newKey()
		if !idForm.MatchString(id) || len(id) != 36 || id[14] != '4' || !keyForm.MatchString(key) || seen[id] || seen[key] {
			t.Fatalf("id %q, key %q", id, key)
		}
		seen[id], seen[key] = true, true
	}
}

// natsServer runs a server of its own on a free port of the loopback.
func natsServer(t *testing.T) string {
	t.Helper()
	n, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	n.Start()
	t.Cleanup(func() {
		n.Shutdown()
		n.WaitForShutdown()
	})
	if !n.ReadyForConnections(2 * time.Minute) {
		t.Fatal("the server does not start")
	}
	return n.ClientURL()
}

// TestShared has two services take jobs off one server.
func TestShared(t *testing.T) {
	t.Parallel()
	url := natsServer(t)
	a, b := open(t, Config{URL: url}), open(t, Config{URL: url})
	const jobs = 40
	var (
		mu   sync.Mutex
		runs = map[string][]string{}
		ids  []string
	)
	barrier := make(chan struct{})
	for name, s := range map[string]*bundle{"a": a, "b": b} {
		var once sync.Once
		s.start(t, 2, func(ctx context.Context, task *Task) error {
			once.Do(func() { barrier <- struct{}{} }) // each service gets its hands on a job before any is done
			mu.Lock()
			runs[task.ID()] = append(runs[task.ID()], name)
			mu.Unlock()
			return upper(ctx, task)
		})
	}
	for i := range jobs {
		ids = append(ids, a.submit(t, Submission{Inputs: []File{a.upload(t, "f", fmt.Appendf(nil, "job %d", i))}}))
	}
	<-barrier
	<-barrier
	for range jobs {
		select {
		case <-a.ended:
		case <-b.ended:
		case <-time.After(2 * time.Minute):
			t.Fatal("not all jobs end")
		}
	}
	for i, id := range ids {
		st := b.status(t, id) // submitted to the other
		if st.Phase != Finished || len(runs[id]) != 1 {
			t.Errorf("job %d: %s, runs %v", i, st.Phase, runs[id])
			continue
		}
		if got := b.read(t, st.Outcomes[0].Results[0].Key); string(got) != fmt.Sprintf("JOB %d", i) {
			t.Errorf("job %d: %q", i, got)
		}
	}
	if err := a.Healthy(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestTakeover cuts a worker off: another one gets the job, and what the first still does counts for nothing.
func TestTakeover(t *testing.T) {
	t.Parallel()
	url := natsServer(t)
	a, b := open(t, Config{URL: url, Lease: 300 * time.Millisecond}), open(t, Config{URL: url, Lease: 300 * time.Millisecond})
	begun, gone := make(chan struct{}), make(chan error, 1)
	taken := make(chan struct{})
	a.start(t, 1, func(ctx context.Context, task *Task) error {
		close(begun)
		<-taken
		gone <- upperOne(context.WithoutCancel(ctx), task, 1)
		<-ctx.Done()
		gone <- context.Cause(ctx)
		return nil
	})
	id := a.submit(t, Submission{Inputs: []File{a.upload(t, "a", []byte("a")), a.upload(t, "b", []byte("b"))}})
	<-begun
	// As after a pause of the whole process: no heartbeat arrives while the lease runs out.
	if _, err := a.change(t.Context(), id, func(r *record) error { r.Attempt++; return nil }); err != nil {
		t.Fatal(err)
	}
	close(taken)
	if err := <-gone; !errors.Is(err, ErrLeaseLost) {
		t.Errorf("an outcome of the first worker: %v", err)
	}
	if err := <-gone; !errors.Is(err, ErrLeaseLost) {
		t.Errorf("the first worker is stopped by: %v", err)
	}
	b.start(t, 1, upper)
	b.wait(t, Finished)
	st := b.status(t, id)
	if st.Attempts < 3 || len(st.Outcomes[1].Results) != 1 {
		t.Errorf("%+v", st)
	}
}

// TestDrain stops a service in the middle of a job: the other one has it at once, long before the lease ends.
func TestDrain(t *testing.T) {
	t.Parallel()
	url := natsServer(t)
	cfg := Config{URL: url, Lease: time.Minute, MaxAttempts: 1}
	a, b := open(t, cfg), open(t, cfg)
	begun := make(chan struct{})
	a.start(t, 1, func(ctx context.Context, task *Task) error {
		if err := upperOne(ctx, task, 0); err != nil {
			return err
		}
		close(begun)
		<-ctx.Done()
		if !errors.Is(context.Cause(ctx), ErrDraining) {
			t.Errorf("stopped by: %v", context.Cause(ctx))
		}
		return ctx.Err()
	})
	id := a.submit(t, Submission{Inputs: []File{a.upload(t, "a", []byte("a")), a.upload(t, "b", []byte("b"))}})
	<-begun
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Close(over); !errors.Is(err, context.Canceled) {
		t.Errorf("Close: %v", err)
	}
	start := time.Now()
	b.start(t, 1, func(ctx context.Context, task *Task) error {
		if got := task.Pending(); !slices.Equal(got, []int{1}) {
			t.Errorf("pending %v, want the second input", got)
		}
		return upper(ctx, task)
	})
	b.wait(t, Finished)
	if took := time.Since(start); took > 45*time.Second {
		t.Errorf("taken over after %v", took)
	}
	if st := b.status(t, id); st.Attempts != 2 || st.Outcomes[0].Results[0].Name != "a.up" || st.Outcomes[1].Results[0].Name != "b.up" {
		t.Errorf("%+v", st)
	}
	// A service without work stops at once.
	b.close(t)
}

// TestDrainWaits lets a job end that runs when the service stops.
func TestDrainWaits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := open(t, Config{DataDir: dir})
	begun, release := make(chan struct{}), make(chan struct{})
	b.start(t, 1, func(ctx context.Context, task *Task) error {
		close(begun)
		<-release
		return upper(ctx, task)
	})
	id := b.submit(t, Submission{Inputs: []File{b.upload(t, "a", []byte("a"))}})
	<-begun
	closed := make(chan error)
	go func() { closed <- b.Close(context.Background()) }()
	<-b.fetching.Done()
	close(release)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	again := open(t, Config{DataDir: dir})
	if st := again.status(t, id); st.Phase != Finished || st.Attempts != 1 {
		t.Errorf("%+v", st)
	}
}

// TestRestart keeps jobs, states and files over an orderly stop.
func TestRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := open(t, Config{DataDir: dir})
	data := make([]byte, 3<<20)
	_, _ = rand.Read(data)
	f, err := b.Host(t.Context(), "h", "application/octet-stream", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for range 5 {
		ids = append(ids, b.submit(t, Submission{Inputs: []File{b.upload(t, "a", []byte("a"))}}))
	}
	b.close(t)
	b = open(t, Config{DataDir: dir})
	if got := b.read(t, f.Key); !bytes.Equal(got, data) {
		t.Error("a hosted file has changed")
	}
	if st := b.status(t, ids[4]); st.Phase != Queued || st.Ahead != 5 {
		t.Errorf("%+v", st)
	}
	b.start(t, 2, upper)
	for range ids {
		b.wait(t, Finished)
	}
}
