package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/color"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cutout/pipeline"
)

// fake answers with the picture it was given, when it is let.
type fake struct {
	runs    atomic.Int64
	gate    chan struct{} // nil: at once
	started chan struct{} // gets one for each run, if not nil
	run     func(ctx context.Context, image []byte) (*pipeline.Result, error)
	model   string
}

func (f *fake) Identify(ctx context.Context, o pipeline.Options) (pipeline.Options, string, error) {
	if o.Quality == "best" {
		return o, "", pipeline.ErrOption
	}
	if o.Quality == "" {
		o.Quality = pipeline.Balanced
	}
	return o, f.model, ctx.Err()
}

func (f *fake) Run(ctx context.Context, image []byte, _ pipeline.Options) (*pipeline.Result, error) {
	f.runs.Add(1)
	if f.started != nil {
		f.started <- struct{}{}
	}
	if f.gate != nil {
		select {
		case <-f.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if f.run != nil {
		return f.run(ctx, image)
	}
	return &pipeline.Result{Data: bytes.Clone(image), Stages: []pipeline.Stage{{Name: "infer", Duration: time.Second}}}, nil
}

func TestHit(t *testing.T) {
	t.Parallel()
	f := &fake{}
	c := New(Config{Bytes: 1 << 20, TTL: time.Minute}, f)
	first, err := c.Run(t.Context(), []byte("photo"), pipeline.Options{})
	if err != nil || first.Stages[0].Name != "infer" {
		t.Fatalf("%+v, %v", first, err)
	}
	again, err := c.Run(t.Context(), []byte("photo"), pipeline.Options{Quality: pipeline.Balanced}) // the default, named
	if err != nil || string(again.Data) != "photo" || len(again.Stages) != 1 || again.Stages[0].Name != Stage {
		t.Fatalf("%+v, %v", again, err)
	}
	if first.Stages[0].Name != "infer" {
		t.Error("the first result was changed")
	}
	if s := c.Stats(); f.runs.Load() != 1 || s.Hits != 1 || s.Misses != 1 || s.Joined != 0 || s.Bytes < 5 {
		t.Errorf("%d runs, %+v", f.runs.Load(), s)
	}
	if _, err := c.Run(t.Context(), []byte("photo"), pipeline.Options{Quality: "best"}); !errors.Is(err, pipeline.ErrOption) {
		t.Errorf("got %v", err)
	}
}

func TestWhatMakesRequestsDiffer(t *testing.T) {
	t.Parallel()
	f := &fake{model: "a@1"}
	c := New(Config{Bytes: 1 << 20, TTL: time.Minute}, f)
	runs := func(ctx context.Context, image string, o pipeline.Options) int64 {
		t.Helper()
		before := f.runs.Load()
		if _, err := c.Run(ctx, []byte(image), o); err != nil {
			t.Fatal(err)
		}
		return f.runs.Load() - before
	}
	background := func(image []byte, c color.NRGBA) pipeline.Options {
		return pipeline.Options{Background: &pipeline.Background{Image: image, Color: c}}
	}
	alice, bob := WithScope(t.Context(), "alice"), WithScope(t.Context(), "bob")
	for name, tc := range map[string]func() int64{
		"another picture":    func() int64 { return runs(t.Context(), "b", pipeline.Options{}) },
		"another quality":    func() int64 { return runs(t.Context(), "a", pipeline.Options{Quality: pipeline.Fast}) },
		"a key":              func() int64 { return runs(alice, "a", pipeline.Options{}) },
		"another key":        func() int64 { return runs(bob, "a", pipeline.Options{}) },
		"a crop":             func() int64 { return runs(t.Context(), "a", pipeline.Options{Crop: &pipeline.Crop{}}) },
		"a background":       func() int64 { return runs(t.Context(), "a", background([]byte("x"), color.NRGBA{})) },
		"another background": func() int64 { return runs(t.Context(), "a", background([]byte("y"), color.NRGBA{})) },
		"an empty one":       func() int64 { return runs(t.Context(), "a", background([]byte{}, color.NRGBA{})) },
		"a colour":           func() int64 { return runs(t.Context(), "a", background(nil, color.NRGBA{})) },
		"another colour":     func() int64 { return runs(t.Context(), "a", background(nil, color.NRGBA{R: 1})) },
	} {
		if got := tc(); got != 1 {
			t.Errorf("%s: computed %d times", name, got)
		}
		if got := tc(); got != 0 {
			t.Errorf("%s, again: computed %d times", name, got)
		}
	}
	runs(t.Context(), "a", pipeline.Options{})
	f.model = "a@2"
	if got := runs(t.Context(), "a", pipeline.Options{}); got != 1 {
		t.Errorf("another network: computed %d times", got)
	}
}

// Every field of the options counts, those that are added later too: each is changed and must change the key.
func TestEveryOptionCounts(t *testing.T) {
	t.Parallel()
	seen := map[key]string{}
	note := func(path string, o pipeline.Options) {
		k, ok := keyOf([]byte("photo"), o, "m", "")
		if !ok {
			t.Errorf("%s: no key", path)
			return
		}
		if other, taken := seen[k]; taken {
			t.Errorf("%s has the key of %s", path, other)
		}
		seen[k] = path
	}
	var o pipeline.Options
	note("nothing", o)
	leaves := 0
	var walk func(path string, v reflect.Value)
	walk = func(path string, v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
			note(path+" (present)", o)
			walk(path, v.Elem())
			v.SetZero()
		case reflect.Struct:
			for i := range v.NumField() {
				if !v.Type().Field(i).IsExported() {
					t.Errorf("%s.%s is not exported: the key does not have it", path, v.Type().Field(i).Name)
					continue
				}
				walk(path+"."+v.Type().Field(i).Name, v.Field(i))
			}
		case reflect.Array:
			for i := range v.Len() {
				walk(fmt.Sprintf("%s[%d]", path, i), v.Index(i))
			}
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			note(path+" (one)", o)
			if v.Type().Elem().Kind() != reflect.Uint8 {
				walk(path+"[0]", v.Index(0))
			}
			v.SetZero()
		default:
			leaves++
			switch {
			case v.CanInt():
				v.SetInt(7)
			case v.CanUint():
				v.SetUint(7)
			case v.CanFloat():
				v.SetFloat(7)
			case v.Kind() == reflect.String:
				v.SetString("7")
			case v.Kind() == reflect.Bool:
				v.SetBool(true)
			default:
				t.Fatalf("%s is a %s", path, v.Kind())
			}
			note(path, o)
			v.SetZero()
		}
	}
	walk("Options", reflect.ValueOf(&o).Elem())
	if leaves < 30 {
		t.Errorf("only %d values were found", leaves)
	}
	if _, ok := keyOf(nil, pipeline.Options{Placement: &pipeline.Placement{Scale: math.NaN()}}, "", ""); ok {
		t.Error("what cannot be written down has a key")
	}
}

func TestJoinedRequestsAreComputedOnce(t *testing.T) {
	t.Parallel()
	f := &fake{gate: make(chan struct{}), started: make(chan struct{}, 1)}
	c := New(Config{Bytes: 1 << 20, TTL: time.Minute}, f)
	const callers = 10
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			r, err := c.Run(t.Context(), []byte("photo"), pipeline.Options{})
			if err != nil || string(r.Data) != "photo" {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
	<-f.started
	waitFor(t, func() bool { return c.Stats().Joined == callers-1 })
	close(f.gate)
	wg.Wait()
	if s := c.Stats(); f.runs.Load() != 1 || s.Misses != 1 || s.Joined != callers-1 {
		t.Errorf("%d runs, %+v", f.runs.Load(), s)
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come about")
		}
	}
}

// The first caller hangs up: the others get their result, of the same run.
func TestCallerThatHangsUpTakesNobodyAlong(t *testing.T) {
	t.Parallel()
	f := &fake{gate: make(chan struct{}), started: make(chan struct{}, 1)}
	c := New(Config{Bytes: 1 << 20, TTL: time.Minute}, f)
	first, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := c.Run(first, []byte("photo"), pipeline.Options{})
		gone <- err
	}()
	<-f.started
	second := make(chan error, 1)
	go func() {
		_, err := c.Run(t.Context(), []byte("photo"), pipeline.Options{})
		second <- err
	}()
	waitFor(t, func() bool { return c.Stats().Joined == 1 })
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("who hung up: %v", err)
	}
	close(f.gate)
	if err := <-second; err != nil {
		t.Errorf("who waited: %v", err)
	}
	if f.runs.Load() != 1 {
		t.Errorf("computed %d times", f.runs.Load())
	}
}

// Once nobody waits the run is ended, and who comes then begins anew.
func TestNobodyComputesForNobody(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	f := &fake{started: make(chan struct{}, 2)}
	f.run = func(ctx context.Context, image []byte) (*pipeline.Result, error) {
		if f.runs.Load() == 1 {
			<-ctx.Done()
			close(ended)
			return nil, ctx.Err()
		}
		return &pipeline.Result{Data: image}, nil
	}
	c := New(Config{Bytes: 1 << 20, TTL: time.Minute}, f)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := c.Run(ctx, []byte("photo"), pipeline.Options{})
		gone <- err
	}()
	<-f.started
	cancel()
	<-gone
	<-ended
	if r, err := c.Run(t.Context(), []byte("photo"), pipeline.Options{}); err != nil || string(r.Data) != "photo" || f.runs.Load() != 2 {
		t.Errorf("%+v, %v, %d runs", r, err, f.runs.Load())
	}
}

// The deadline of the first request is not that of the others.
func TestDeadlineOfTheFirst(t *testing.T) {
	t.Parallel()
	f := &fake{gate: make(chan struct{}), started: make(chan struct{}, 2)}
	c := New(Config{Bytes: 1 << 20, TTL: time.Minute}, f)
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	go func() { _, _ = c.Run(short, []byte("photo"), pipeline.Options{}) }()
	<-f.started
	second := make(chan error, 1)
	go func() {
		_, err := c.Run(t.Context(), []byte("photo"), pipeline.Options{})
		second <- err
	}()
	<-f.started // the second has begun anew
	close(f.gate)
	if err := <-second; err != nil {
		t.Errorf("got %v", err)
	}
	if _, ok := short.Deadline(); !ok || f.runs.Load() != 2 {
		t.Errorf("%d runs", f.runs.Load())
	}
}

func TestFailuresAreNotKept(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	f := &fake{}
	f.run = func(context.Context, []byte) (*pipeline.Result, error) {
		switch f.runs.Load() {
		case 1:
			return nil, broken
		case 2:
			panic("of the pipeline")
		}
		return &pipeline.Result{}, nil
	}
	c := New(Config{Bytes: 1 << 20, TTL: time.Minute}, f)
	if _, err := c.Run(t.Context(), nil, pipeline.Options{}); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	func() {
		defer func() {
			if got := fmt.Sprint(recover()); !strings.Contains(got, "of the pipeline") || !strings.Contains(got, "cache_test.go") {
				t.Errorf("recovered %s", got)
			}
		}()
		_, _ = c.Run(t.Context(), nil, pipeline.Options{})
	}()
	if _, err := c.Run(t.Context(), nil, pipeline.Options{}); err != nil || f.runs.Load() != 3 {
		t.Errorf("%v, %d runs", err, f.runs.Load())
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	var mu sync.Mutex
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	f := &fake{run: func(_ context.Context, image []byte) (*pipeline.Result, error) {
		return &pipeline.Result{Data: make([]byte, 1000), Also: [][]byte{make([]byte, 1000*int(image[0]-'0'))}}, nil
	}}
	c := New(Config{Bytes: 10_000, TTL: time.Minute, Now: clock}, f)
	runs := func(image string) int64 {
		t.Helper()
		before := f.runs.Load()
		if _, err := c.Run(t.Context(), []byte(image), pipeline.Options{}); err != nil {
			t.Fatal(err)
		}
		if s := c.Stats(); s.Bytes > 10_000 {
			t.Errorf("%d bytes are kept", s.Bytes)
		}
		return f.runs.Load() - before
	}
	runs("1a")
	runs("1b") // 3 KB each
	runs("1c")
	if runs("1a") != 0 {
		t.Error("there is room for three")
	}
	runs("1d")
	if runs("1a") != 0 || runs("1b") != 1 {
		t.Error("it was not the longest unused that had to go")
	}
	for range 2 {
		if runs("9x") != 1 {
			t.Error("what is larger than everything was kept")
		}
	}
	if runs("1a") != 0 {
		t.Error("what is not kept drove out what is")
	}
	mu.Lock()
	now = now.Add(time.Minute)
	mu.Unlock()
	if runs("1a") != 1 {
		t.Error("it was kept too long")
	}
	mu.Lock()
	now = now.Add(time.Minute)
	mu.Unlock()
	c.sweep()
	if s := c.Stats(); s.Bytes != 0 {
		t.Errorf("%d bytes are left", s.Bytes)
	}
}

// What nobody asks for again goes all the same.
func TestSweepRunsByItself(t *testing.T) {
	t.Parallel()
	c := New(Config{Bytes: 1 << 20, TTL: 20 * time.Millisecond}, &fake{})
	for i := range 5 {
		if _, err := c.Run(t.Context(), []byte{byte(i)}, pipeline.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, func() bool { return c.Stats().Bytes == 0 })
}

func TestHammer(t *testing.T) {
	t.Parallel()
	f := &fake{}
	f.run = func(ctx context.Context, image []byte) (*pipeline.Result, error) {
		select {
		case <-time.After(time.Duration(len(image)) * time.Microsecond):
			return &pipeline.Result{Data: bytes.Clone(image)}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	c := New(Config{Bytes: 6 << 10, TTL: time.Millisecond}, f)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(2, uint64(g)))
			for range 300 {
				image := bytes.Repeat([]byte{byte('a' + random.IntN(6))}, 1+random.IntN(200))
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.IntN(400))*time.Microsecond)
				if random.IntN(2) == 0 {
					cancel()
					ctx, cancel = context.WithCancel(t.Context())
				}
				r, err := c.Run(ctx, image, pipeline.Options{})
				switch {
				case err == nil && !bytes.Equal(r.Data, image):
					t.Errorf("another's result: %q for %q", r.Data, image)
				case err != nil && ctx.Err() == nil:
					t.Errorf("got %v with time left", err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.flights) != 0 {
		waiting := 0
		for _, f := range c.flights {
			waiting += f.waiting
		}
		if waiting != 0 {
			t.Errorf("%d wait for ever", waiting)
		}
	}
	if len(c.results) != c.recent.Len() || c.stats.Bytes > 6<<10 {
		t.Errorf("%d and %d results, %d bytes", len(c.results), c.recent.Len(), c.stats.Bytes)
	}
}

// BenchmarkKey is what a request pays for a photo of half a megabyte that is not kept.
func BenchmarkKey(b *testing.B) {
	image := make([]byte, 512<<10)
	b.SetBytes(int64(len(image)))
	for b.Loop() {
		if _, ok := keyOf(image, pipeline.Options{}, "u2netp@309c8469258d", ""); !ok {
			b.Fatal("no key")
		}
	}
}
