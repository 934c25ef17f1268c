package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cutout/inference"
	"cutout/weights"
)

// installOwn puts copies of the network for people under names of one's own into a directory.
func installOwn(t *testing.T, names ...string) (dir string) {
	t.Helper()
	people, _ := weights.Lookup(weights.People)
	data, err := people.Load()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	for _, name := range names {
		description := fmt.Sprintf("sha256 = %q\n[input]\nwidth = 256\nheight = 256\nfilter = \"bilinear\"\nscale = \"255\"\nmean = [0,0,0]\nstd = [1,1,1]\n", people.SHA256)
		for file, content := range map[string][]byte{name + ".onnx": data, name + ".toml": []byte(description)} {
			if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func TestModelsOnDemand(t *testing.T) {
	t.Parallel()
	dir := installOwn(t, "a", "b", "c", "damaged", "pinned")
	if err := os.WriteFile(filepath.Join(dir, "damaged.onnx"), []byte("no network"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := New(t.Context(), Config{WeightsDir: dir, Quality: Fast, Models: []string{"pinned"}, Limits: ModelLimits{Count: 2}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.models.wait()
	people, _ := weights.Lookup(weights.People)
	photo := disc(64, 64, 32, 32, 20)
	ask := func(o Options) *Result {
		t.Helper()
		res, err := p.Run(t.Context(), photo, o)
		if err != nil {
			t.Fatalf("%+v: %v", o, err)
		}
		return res
	}
	if res := ask(Options{}); res.Model != weights.Default || res.Asked != "" || res.Version != "309c8469258d" {
		t.Errorf("the default: %s@%s, asked %q", res.Model, res.Version, res.Asked)
	}
	for _, name := range []string{"a", "b", "a", "pinned"} {
		if res := ask(Options{Model: name}); res.Model != name || res.Asked != "" || res.Version != people.Version() {
			t.Errorf("%s: %s@%s, asked %q", name, res.Model, res.Version, res.Asked)
		}
	}
	ask(Options{Model: "c"})
	s := p.ModelStats()
	var loaded []string
	for _, m := range s.Loaded {
		loaded = append(loaded, m.Name)
		if m.Bytes < 100_000 || m.Users != 0 {
			t.Errorf("%+v", m)
		}
	}
	if got := strings.Join(loaded, " "); got != "u2netp selfie_segmentation a c pinned" { // b was the longest unused
		t.Errorf("loaded: %s", got)
	}
	if s.Loads["a"] != 1 || s.Unloads["b"] != 1 || s.Unloads["a"] != 0 {
		t.Errorf("%+v", s)
	}
	for range 2 {
		for asked, failed := range map[string]int64{"damaged": 1, "u2net": 0, "nobody's": 0} {
			if res := ask(Options{Model: asked}); res.Model != weights.Default || res.Asked != asked {
				t.Errorf("%s: %s, asked %q", asked, res.Model, res.Asked)
			}
			if got := p.ModelStats().Failed[asked]; got != failed { // it is not read again for every request
				t.Errorf("%s: failed %d times", asked, got)
			}
		}
	}
	if got := p.ModelStats().Substituted; got["damaged"] != 2 || got["u2net"] != 2 || got["a"] != 0 {
		t.Errorf("substituted: %v", got)
	}

	for name, tc := range map[string]struct {
		o    Options
		want error
	}{
		"default":          {Options{Model: weights.Default, Exact: true}, nil},
		"default, version": {Options{Model: weights.Default, Exact: true, Version: "309c"}, nil},
		"default, other":   {Options{Model: weights.Default, Exact: true, Version: "409c"}, ErrOtherVersion},
		"own":              {Options{Model: "a", Exact: true, Version: people.Version()}, nil},
		"own, other":       {Options{Model: "a", Exact: true, Version: "0000"}, ErrOtherVersion},
		"not installed":    {Options{Model: "u2net", Exact: true}, weights.ErrNotInstalled},
		"unknown":          {Options{Model: "nobody's", Exact: true}, weights.ErrUnknown},
	} {
		res, err := p.Run(t.Context(), photo, tc.o)
		var refused *ModelError
		if !errors.Is(err, tc.want) || tc.want != nil && (!errors.As(err, &refused) || refused.Name != tc.o.Model || res != nil) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
	if _, err := p.Run(t.Context(), photo, Options{Model: "damaged", Exact: true}); err == nil {
		t.Error("a damaged network serves")
	}
	for _, s := range p.ModelStats().Loaded {
		if s.Users != 0 {
			t.Errorf("%s is still used", s.Name)
		}
	}
}

func TestIdentify(t *testing.T) {
	t.Parallel()
	dir := installOwn(t, "a")
	p, err := New(t.Context(), Config{WeightsDir: dir, Limits: ModelLimits{Count: 1}})
	if err != nil {
		t.Fatal(err)
	}
	people, _ := weights.Lookup(weights.People)
	for model, want := range map[string]string{
		"": "u2netp@309c8469258d", "u2netp": "u2netp@309c8469258d", "u2net": "u2netp@309c8469258d", "a": "a@" + people.Version(),
	} {
		o, id, err := p.Identify(Options{Model: model})
		if err != nil || id != want || o.Quality != Balanced || o.Subject != Universal || o.Format != "png" || o.Output != Cutout {
			t.Errorf("%q: %s, %+v, %v", model, id, o, err)
		}
	}
	if _, _, err := p.Identify(Options{Quality: "best"}); !errors.Is(err, ErrOption) {
		t.Errorf("got %v", err)
	}
}

func TestNewRefusesModels(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"unknown":       {Model: "nobody's"},
		"pinned":        {Models: []string{"nobody's"}},
		"not installed": {WeightsDir: t.TempDir(), Models: []string{"u2net"}},
	} {
		if _, err := New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "network") && !errors.Is(err, weights.ErrNotInstalled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// holder is a set of models that load at once, or when they are let.
func holder(t *testing.T, limits ModelLimits, gate chan struct{}) (m *models, loads *atomic.Int64) {
	t.Helper()
	people, _ := weights.Lookup(weights.People)
	data, err := people.Load()
	if err != nil {
		t.Fatal(err)
	}
	model, err := inference.Load(data, inference.Config{})
	if err != nil {
		t.Fatal(err)
	}
	loads = &atomic.Int64{}
	m = newModels("", limits, nil, func(_ context.Context, e weights.Entry) (*network, error) {
		loads.Add(1)
		if gate != nil {
			<-gate
		}
		if strings.HasPrefix(e.Name, "panics") {
			panic("of a decoder")
		}
		return &network{entry: e, model: model}, nil
	})
	t.Cleanup(m.wait)
	return m, loads
}

func (m *models) names() map[string]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := map[string]bool{}
	for name := range m.held {
		names[name] = true
	}
	return names
}

func TestModelStaysWhileItIsUsed(t *testing.T) {
	t.Parallel()
	m, _ := holder(t, ModelLimits{Count: 1}, nil)
	take := func(name string) func() {
		t.Helper()
		n, release, err := m.acquire(t.Context(), weights.Entry{Name: name})
		if err != nil || n.entry.Name != name {
			t.Fatal(err)
		}
		return release
	}
	a := take("a")
	b := take("b")
	if got := m.names(); !got["a"] || !got["b"] {
		t.Errorf("a network that is used was let go: %v", got)
	}
	again := take("a")
	a()
	a() // twice is once
	if got := m.names(); !got["a"] {
		t.Errorf("one of two users let it go: %v", got)
	}
	again()
	if got := m.names(); got["a"] || !got["b"] {
		t.Errorf("nobody uses a: %v", got)
	}
	b()
	if got := m.names(); !got["b"] {
		t.Errorf("there is room for b: %v", got)
	}
}

func TestModelLimits(t *testing.T) {
	t.Parallel()
	m, _ := holder(t, ModelLimits{Count: 10, Bytes: 1000}, nil)
	if _, _, err := m.acquire(t.Context(), weights.Entry{Name: "large", Size: 1000}); !errors.Is(err, ErrModelRoom) {
		t.Errorf("larger than everything: %v", err)
	}
	none, _ := holder(t, ModelLimits{}, nil)
	if _, _, err := none.acquire(t.Context(), weights.Entry{Name: "a"}); !errors.Is(err, ErrModelRoom) {
		t.Errorf("none: %v", err)
	}
	if err := none.pin(t.Context(), weights.Entry{Name: "a", Size: 1 << 40}); err != nil {
		t.Errorf("pinned: %v", err)
	}
	if n, release, err := none.acquire(t.Context(), weights.Entry{Name: "a"}); err != nil || n == nil {
		t.Errorf("pinned: %v", err)
	} else {
		release()
	}
	// What a network really takes is known once it is loaded: the one before it goes then.
	for _, name := range []string{"a", "b"} {
		_, release, err := m.acquire(t.Context(), weights.Entry{Name: name, Size: 1})
		if err != nil {
			t.Fatal(err)
		}
		release()
	}
	if got := m.names(); len(got) > 1 {
		t.Errorf("%v are over the limit of bytes", got)
	}
}

// A caller that leaves while a network is loaded takes nothing along, and many callers load it once.
func TestModelLoadsOnce(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	m, loads := holder(t, ModelLimits{Count: 1}, gate)
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, _, err := m.acquire(ctx, weights.Entry{Name: "a"})
		left <- err
	}()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			n, release, err := m.acquire(t.Context(), weights.Entry{Name: "a"})
			if err != nil || n == nil {
				t.Error(err)
				return
			}
			release()
		})
	}
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("who left: %v", err)
	}
	close(gate)
	wg.Wait()
	if loads.Load() != 1 {
		t.Errorf("loaded %d times", loads.Load())
	}
}

func TestModelThatPanicsOrFails(t *testing.T) {
	t.Parallel()
	m, loads := holder(t, ModelLimits{Count: 1}, nil)
	now := time.Now()
	m.now = func() time.Time { return now }
	for range 3 {
		if _, _, err := m.acquire(t.Context(), weights.Entry{Name: "panics"}); err == nil || !strings.Contains(err.Error(), "of a decoder") {
			t.Errorf("got %v", err)
		}
	}
	if loads.Load() != 1 {
		t.Errorf("tried %d times within a minute", loads.Load())
	}
	now = now.Add(retryLoad)
	_, _, _ = m.acquire(t.Context(), weights.Entry{Name: "panics"})
	if loads.Load() != 2 {
		t.Errorf("not tried again after a minute: %d", loads.Load())
	}
}

func TestModelsHammer(t *testing.T) {
	t.Parallel()
	m, _ := holder(t, ModelLimits{Count: 2}, nil)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(g)))
			for range 200 {
				name := string(rune('a' + random.IntN(5)))
				ctx, cancel := context.WithCancel(t.Context())
				if random.IntN(10) == 0 {
					cancel()
				}
				n, release, err := m.acquire(ctx, weights.Entry{Name: name})
				switch {
				case err == nil && n.entry.Name != name:
					t.Errorf("%s instead of %s", n.entry.Name, name)
				case err != nil && !errors.Is(err, context.Canceled):
					t.Error(err)
				case err == nil:
					release()
				}
				cancel()
			}
		})
	}
	wg.Wait()
	m.wait()
	if got := m.names(); len(got) > 2 {
		t.Errorf("%v are held", got)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, h := range m.held {
		if h.users != 0 {
			t.Errorf("%s has %d users", name, h.users)
		}
	}
}
