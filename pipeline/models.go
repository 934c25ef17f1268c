package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"cutout/weights"
)

// ModelLimits bounds the networks that are held beside the pipeline's own, which are loaded when a request first asks for
// them. What nobody uses is let go, the longest unused first.
type ModelLimits struct {
	Count int   // zero: none, every request is served by the pipeline's own
	Bytes int64 // of weights and of the memory of one run each; zero: any
}

// ModelError says that a network that was asked for, and no other, cannot serve.
type ModelError struct {
	Name, Version string
	Err           error // why
}

func (e *ModelError) Error() string {
	name := e.Name
	if e.Version != "" {
		name += "@" + e.Version
	}
	return fmt.Sprintf("network %s: %v", name, e.Err)
}

// Unwrap returns the cause.
func (e *ModelError) Unwrap() error { return e.Err }

// What keeps a network from serving.
var (
	ErrOtherVersion = errors.New("another version is installed")
	ErrModelRoom    = errors.New("no room is set aside for it")
)

// ModelState is what is known of a network that is loaded.
type ModelState struct {
	Name, Version string
	Bytes         int64 // see ModelLimits
	Users         int   // requests that use it now; not counted for the pipeline's own
	Pinned        bool  // is never let go
}

// ModelStats counts what became of networks beside the pipeline's own.
type ModelStats struct {
	Loaded        []ModelState
	Loads, Failed map[string]int64 // by name
	Unloads       map[string]int64
	Substituted   map[string]int64 // requests that another network than theirs has served, by the name they asked for
}

// retryLoad is how long a network that could not be loaded is not tried again: to find that out costs as much as to load it.
const retryLoad = time.Minute

// memoryOfFile is about how many times the size of its file a network takes once it is loaded: its weights as they came
// and as the kernels want them, and the memory of a run. U²-Net takes 5.1 times.
const memoryOfFile = 5

// worthReturning is from which size on, in bytes, what a network held is given back to the system at once and not when the
// collector next thinks of it: that takes a collection.
const worthReturning = 64 << 20

// models holds networks beside the pipeline's own.
type models struct {
	dir    string
	limits ModelLimits
	load   func(context.Context, weights.Entry) (*network, error)
	log    *slog.Logger
	now    func() time.Time

	mu    sync.Mutex
	held  map[string]*heldModel // by name
	clock int64                 // counts uses
	stats ModelStats            // Loaded is made when asked for
	work  sync.WaitGroup        // loads
}

// heldModel is a network that is loaded, being loaded, or could not be.
type heldModel struct {
	name    string
	ready   chan struct{} // closed once network or err is set
	network *network
	err     error
	failed  time.Time
	bytes   int64 // an estimate until it is loaded
	users   int
	used    int64 // by models.clock
	pinned  bool
}

func newModels(dir string, limits ModelLimits, log *slog.Logger, load func(context.Context, weights.Entry) (*network, error)) *models {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &models{
		dir: dir, limits: limits, load: load, log: log, now: time.Now, held: map[string]*heldModel{},
		stats: ModelStats{Loads: map[string]int64{}, Failed: map[string]int64{}, Unloads: map[string]int64{}, Substituted: map[string]int64{}},
	}
}

// find returns what is installed under a name, without reading it.
func (m *models) find(name string) (weights.Entry, error) {
	e, err := weights.Find(m.dir, name)
	if err != nil {
		return weights.Entry{}, err
	}
	return e, e.Installed(m.dir)
}

// acquire returns a network that is installed, loading it where it is not. It stays until release is called. Loading goes
// on where ctx ends before: the next request will want it.
func (m *models) acquire(ctx context.Context, e weights.Entry) (n *network, release func(), err error) {
	h, err := m.take(ctx, e, false)
	if err != nil {
		return nil, nil, err
	}
	release = sync.OnceFunc(func() { m.release(h) })
	select {
	case <-h.ready:
	case <-ctx.Done():
		release()
		return nil, nil, ctx.Err()
	}
	if h.err != nil {
		release()
		return nil, nil, h.err
	}
	return h.network, release, nil
}

// pin loads a network for good.
func (m *models) pin(ctx context.Context, e weights.Entry) error {
	h, err := m.take(ctx, e, true)
	if err != nil {
		return err
	}
	<-h.ready
	m.release(h)
	return h.err
}

// take counts a user of a network, whose loading it begins where nobody has.
func (m *models) take(ctx context.Context, e weights.Entry, pinned bool) (*heldModel, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.held[e.Name]
	if h != nil && h.err != nil && m.now().Sub(h.failed) >= retryLoad {
		delete(m.held, e.Name)
		h = nil
	}
	if h == nil {
		h = &heldModel{name: e.Name, ready: make(chan struct{}), bytes: memoryOfFile * e.Size, pinned: pinned}
		if !pinned {
			if m.limits.Count <= 0 || m.limits.Bytes > 0 && h.bytes > m.limits.Bytes {
				return nil, ErrModelRoom
			}
		}
		m.held[e.Name] = h
		m.makeRoom()
		m.work.Add(1)
		go m.fill(context.WithoutCancel(ctx), h, e)
	}
	m.clock++
	h.used = m.clock
	h.users++
	return h, nil
}

// fill loads a network.
func (m *models) fill(ctx context.Context, h *heldModel, e weights.Entry) {
	defer m.work.Done()
	start := time.Now()
	n, err := m.guarded(ctx, e)
	m.mu.Lock()
	defer m.mu.Unlock()
	defer close(h.ready)
	if err != nil {
		h.err, h.failed, h.bytes = err, m.now(), 0
		m.stats.Failed[h.name]++
		m.log.Error("a network could not be loaded, another serves", "model", h.name, "error", err.Error())
		return
	}
	h.network, h.bytes = n, n.model.Bytes()
	m.stats.Loads[h.name]++
	m.log.Info("network loaded", "model", h.name, "version", n.version, "bytes", h.bytes, "load_ms", time.Since(start).Milliseconds())
	m.makeRoom()
}

// guarded is load with its panics made errors: nobody is there to catch them.
func (m *models) guarded(ctx context.Context, e weights.Entry) (n *network, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("pipeline: network %s: panic: %v\n%s", e.Name, r, debug.Stack())
		}
	}()
	return m.load(ctx, e)
}

func (m *models) release(h *heldModel) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h.users--
	m.makeRoom()
}

// makeRoom lets go of what nobody uses until the rest is within the limits. It is called with mu held.
func (m *models) makeRoom() {
	for {
		var (
			count  int
			bytes  int64
			oldest *heldModel
		)
		for _, h := range m.held {
			if h.pinned || h.err != nil {
				continue
			}
			count++
			bytes += h.bytes
			if h.users == 0 && h.network != nil && (oldest == nil || h.used < oldest.used) {
				oldest = h
			}
		}
		over := count > m.limits.Count || m.limits.Bytes > 0 && bytes > m.limits.Bytes
		if !over || oldest == nil {
			return
		}
		delete(m.held, oldest.name)
		m.stats.Unloads[oldest.name]++
		m.log.Info("network let go", "model", oldest.name, "bytes", oldest.bytes)
		if oldest.bytes >= worthReturning {
			m.work.Go(debug.FreeOSMemory)
		}
	}
}

// substituted counts a request that got another network than it asked for.
func (m *models) substituted(asked string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.Substituted[asked]++
}

// idleBytes is what the networks keep for their next runs.
func (m *models) idleBytes() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	var sum int64
	for _, h := range m.held {
		if h.network != nil {
			sum += h.network.model.IdleBytes()
		}
	}
	return sum
}

// wait ends once no network is being loaded.
func (m *models) wait() { m.work.Wait() }

// choose finds the network for a request: the one asked for where it is installed and can be loaded, else the pipeline's
// own. A request for one network exactly fails with *ModelError instead.
func (p *Pipeline) choose(ctx context.Context, o *Options) (n *network, release func(), err error) {
	if e, own, err := p.wanted(o); err != nil {
		return nil, nil, err
	} else if own {
		if o.Model != "" && o.Model != p.network.entry.Name {
			p.models.substituted(o.Model)
		}
	} else {
		n, release, err = p.models.acquire(ctx, e)
		switch {
		case err == nil && (!o.Exact || strings.HasPrefix(n.version, o.Version)):
			return n, release, nil
		case err == nil:
			release()
			return nil, nil, &ModelError{Name: o.Model, Version: o.Version, Err: ErrOtherVersion}
		case ctx.Err() != nil:
			return nil, nil, ctx.Err()
		case o.Exact:
			return nil, nil, &ModelError{Name: o.Model, Version: o.Version, Err: err}
		}
		p.models.substituted(o.Model)
	}
	return p.network, func() {}, nil
}

// wanted tells which network a request is for, as far as that is known without loading it: own is the pipeline's.
func (p *Pipeline) wanted(o *Options) (e weights.Entry, own bool, err error) {
	if o.Model == "" || o.Model == p.network.entry.Name {
		if o.Exact && !strings.HasPrefix(p.network.version, o.Version) {
			return weights.Entry{}, false, &ModelError{Name: o.Model, Version: o.Version, Err: ErrOtherVersion}
		}
		return p.network.entry, true, nil
	}
	e, err = p.models.find(o.Model)
	switch {
	case err == nil:
		return e, false, nil
	case o.Exact:
		return weights.Entry{}, false, &ModelError{Name: o.Model, Version: o.Version, Err: err}
	default:
		return p.network.entry, true, nil
	}
}

// Identify returns options with every default filled in, and a name for what would serve them: two requests of the same
// bytes, options and name have the same result. It fails as Run does with options that are not known.
func (p *Pipeline) Identify(o Options) (Options, string, error) {
	if err := o.complete(p.cfg); err != nil {
		return o, "", err
	}
	e, own, err := p.wanted(&o)
	if err != nil {
		return o, "", err
	}
	version := e.Version()
	if own {
		version = p.network.version
	}
	return o, e.Name + "@" + version, nil
}

// ModelStats tells which networks are loaded, by name, the pipeline's own first, and counts what became of the others.
func (p *Pipeline) ModelStats() ModelStats {
	m := p.models
	m.mu.Lock()
	defer m.mu.Unlock()
	s := ModelStats{
		Loads: maps.Clone(m.stats.Loads), Failed: maps.Clone(m.stats.Failed), Unloads: maps.Clone(m.stats.Unloads), Substituted: maps.Clone(m.stats.Substituted),
	}
	for _, h := range m.held {
		if h.network != nil {
			s.Loaded = append(s.Loaded, ModelState{Name: h.name, Version: h.network.version, Bytes: h.bytes, Users: h.users, Pinned: h.pinned})
		}
	}
	slices.SortFunc(s.Loaded, func(a, b ModelState) int { return strings.Compare(a.Name, b.Name) })
	own := func(n *network) ModelState {
		return ModelState{Name: n.entry.Name, Version: n.version, Bytes: n.model.Bytes(), Pinned: true}
	}
	if p.people != nil {
		s.Loaded = slices.Insert(s.Loaded, 0, own(p.people))
	}
	s.Loaded = slices.Insert(s.Loaded, 0, own(p.network))
	return s
}
