package graph

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"cutout/inference/kernels"
	"cutout/inference/ops"
	"cutout/inference/tensor"
)

const block = kernels.Block

// store is the room of one buffer of a plan: a stretch of the arena, or elements that live outside it.
type store struct {
	id          int
	size        int // float32
	offset      int // in the arena
	first, last int // steps between which it holds live data
	input       int // index into the run's inputs, -1 otherwise
	konst       []float32
	root        *store // the store whose room it shares, nil for its own
}

// view is a run of consecutive channel blocks of a blocked picture, [N][blocks][H][W][16] where N is 1.
type view struct {
	st     *store
	blocks int
	up     *resize // st is to be enlarged by whoever reads it; nil: it is as large as it should be
}

// place says where a value is kept. A value may be kept in several layouts at once.
type place struct {
	plain   *store // row-major float32
	blocked []view // NCHW16c; several views are a concatenation that was never copied
	slot    int    // tensor slot, -1: everything that is not float32
}

// step is one unit of a plan. Its tasks may run in any order and at the same time.
type step interface {
	tasks() int
	do(x *exec, w *worker, task int)
}

// Plan is a model compiled for one set of input shapes. It is immutable and may be run by many goroutines at once.
type Plan struct {
	kernels  *kernels.Set
	steps    []step
	names    []string // of steps, for profiles
	inputs   []planInput
	outputs  []planOutput
	arena    int // float32
	slots    int
	scratch  int        // float32 a worker needs
	parallel int        // largest number of tasks of any step
	free     chan *exec // runs' rooms for reuse, bounded
}

type planInput struct {
	name  string
	typ   ops.Type
	slot  int
	store int // index into exec.inputs, -1 for slots
}

type planOutput struct {
	name  string
	typ   ops.Type
	place place
	konst *tensor.Tensor
}

// Weights keeps what is derived from a model's weights, so that plans for several shapes share it.
type Weights struct {
	mu sync.Mutex
	m  map[weightKey][]float32
}

type weightKey struct {
	t    *tensor.Tensor
	form string
}

// get returns the derived form of t, made by f the first time.
func (w *Weights) get(t *tensor.Tensor, form string, f func() []float32) []float32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.m == nil {
		w.m = map[weightKey][]float32{}
	}
	k := weightKey{t, form}
	v, ok := w.m[k]
	if !ok {
		v = f()
		w.m[k] = v
	}
	return v
}

// Bytes returns the size of all derived forms.
func (w *Weights) Bytes() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var total int64
	for _, v := range w.m {
		total += 4 * int64(len(v))
	}
	return total
}

// Compile plans an analysed graph: it fuses, picks kernels and layouts, and lays the buffers out in one arena.
func Compile(a *Analysis, set *kernels.Set, weights *Weights) (*Plan, error) {
	c := &compiler{plan: &Plan{kernels: set, free: make(chan *exec, runtime.GOMAXPROCS(0))}, weights: weights, places: map[*Value]*place{}, done: map[*Call]bool{}}
	for i, in := range a.Inputs {
		pi := planInput{name: in.Name, typ: in.Type, slot: -1, store: -1}
		if in.Type.DType == tensor.Float32 {
			st := c.newStore(tensor.Count(in.Type.Shape))
			st.input = i
			pi.store = i
			c.places[in] = &place{plain: st, slot: -1}
		} else {
			pi.slot = c.newSlot()
			c.places[in] = &place{slot: pi.slot}
		}
		c.plan.inputs = append(c.plan.inputs, pi)
	}
	c.order = map[*Call]int{}
	for i, call := range a.Calls {
		c.order[call] = i
	}
	for _, call := range a.Calls {
		if c.done[call] {
			continue
		}
		c.lower(call)
	}
	var kept []*store
	for _, v := range a.Outputs {
		out := planOutput{name: v.Name, typ: v.Type, konst: v.Const}
		if v.Const == nil {
			p := c.places[v]
			if p == nil {
				return nil, fmt.Errorf("plan: output %q was never placed", v.Name)
			}
			if p.slot < 0 {
				kept = append(kept, c.plain(v))
			}
			out.place = *p
		}
		c.plan.outputs = append(c.plan.outputs, out)
	}
	for _, s := range kept {
		s.last = len(c.plan.steps)
	}
	c.layOut()
	return c.plan, nil
}

type compiler struct {
	plan    *Plan
	weights *Weights
	stores  []*store
	places  map[*Value]*place
	done    map[*Call]bool // calls fused into earlier ones
	order   map[*Call]int
	shares  []share
}

// share says that dst may take over src's room when src's last reader is the step that writes dst.
type share struct {
	dst, src *store
	step     int
}

func (c *compiler) newStore(size int) *store {
	s := &store{id: len(c.stores), size: size, input: -1, first: len(c.plan.steps)}
	s.last = s.first
	c.stores = append(c.stores, s)
	return s
}

func (c *compiler) newSlot() int {
	c.plan.slots++
	return c.plan.slots - 1
}

// emit appends a step that reads and writes the given stores.
func (c *compiler) emit(name string, s step, reads []*store, writes ...*store) {
	i := len(c.plan.steps)
	for _, r := range reads {
		if r != nil {
			r.last = max(r.last, i)
		}
	}
	for _, w := range writes {
		if w != nil {
			w.first = min(w.first, i)
			w.last = max(w.last, i)
		}
	}
	c.plan.steps = append(c.plan.steps, s)
	c.plan.names = append(c.plan.names, name)
	c.plan.parallel = max(c.plan.parallel, s.tasks())
}

// needScratch makes every worker carry at least n float32.
func (c *compiler) needScratch(n int) { c.plan.scratch = max(c.plan.scratch, n) }

// is4D tells whether v is a float32 picture [N,C,H,W].
func is4D(v *Value) bool {
	return v.Type.DType == tensor.Float32 && len(v.Type.Shape) == 4 && tensor.Count(v.Type.Shape) > 0
}

// dims returns N, C, H and W of a picture.
func dims(v *Value) (n, ch, h, w int) {
	s := v.Type.Shape
	return s[0], s[1], s[2], s[3]
}

func blocksOf(channels int) int { return (channels + block - 1) / block }

// place returns where a run-time value is kept, making constants float stores on the way.
func (c *compiler) place(v *Value) *place {
	p := c.places[v]
	if p == nil {
		p = &place{slot: -1}
		if v.Const != nil && v.Type.DType == tensor.Float32 {
			p.plain = c.newStore(v.Const.Len())
			p.plain.konst = tensor.Values[float32](v.Const)
		}
		c.places[v] = p
	}
	return p
}

// plain returns v in row-major layout, reordering it if it is kept in blocks only.
func (c *compiler) plain(v *Value) *store {
	p := c.place(v)
	if p.plain == nil {
		n, ch, h, w := dims(v)
		c.enlarge(p)
		st := c.newStore(n * ch * h * w)
		s := &unblockStep{dst: st, n: n, ch: ch, hw: h * w, src: p.blocked}
		c.emit("unblock", s, storesOf(p.blocked), st)
		p.plain = st
	}
	return p.plain
}

// views is blocked for readers that enlarge what they read.
func (c *compiler) views(v *Value) []view {
	if p := c.place(v); p.blocked != nil {
		return p.blocked
	}
	return c.blocked(v)
}

// blocked returns v in channel blocks, reordering it if it is kept plain only.
func (c *compiler) blocked(v *Value) []view {
	p := c.place(v)
	if p.blocked == nil {
		n, ch, h, w := dims(v)
		st := c.newStore(n * blocksOf(ch) * block * h * w)
		s := &blockStep{dst: st, src: p.plain, n: n, ch: ch, hw: h * w}
		if p.plain.konst != nil {
			st.konst = alignedFloats(st.size)
			for i := range s.tasks() {
				s.convert(st.konst, p.plain.konst, i)
			}
		} else {
			c.emit("block", s, []*store{p.plain}, st)
		}
		p.blocked = []view{{st: st, blocks: n * blocksOf(ch)}}
	}
	c.enlarge(p)
	return p.blocked
}

// enlarge makes the views of p as large as they should be, for readers that cannot do so themselves.
func (c *compiler) enlarge(p *place) {
	for i, v := range p.blocked {
		if v.up == nil {
			continue
		}
		s := *v.up
		s.src = []view{{st: v.st, blocks: v.blocks}}
		s.dst = c.newStore(v.blocks * block * s.oh * s.ow)
		c.emitResize(&s)
		p.blocked[i] = view{st: s.dst, blocks: v.blocks}
	}
}

// single returns v in channel blocks in one buffer, copying a concatenation together.
func (c *compiler) single(v *Value) *store {
	views := c.blocked(v)
	if len(views) == 1 {
		return views[0].st
	}
	_, ch, h, w := dims(v)
	st := c.newStore(blocksOf(ch) * block * h * w)
	c.emit("concat", &copyStep{dst: st, src: views, plane: h * w * block}, storesOf(views), st)
	c.places[v].blocked = []view{{st: st, blocks: blocksOf(ch)}}
	return st
}

// isBlocked tells whether v is already kept in blocks.
func (c *compiler) isBlocked(v *Value) bool {
	p := c.places[v]
	return p != nil && p.blocked != nil
}

// newBlocked gives v a blocked buffer.
func (c *compiler) newBlocked(v *Value) *store {
	n, ch, h, w := dims(v)
	st := c.newStore(n * blocksOf(ch) * block * h * w)
	c.places[v] = &place{blocked: []view{{st: st, blocks: n * blocksOf(ch)}}, slot: -1}
	return st
}

// newPlain gives v a row-major buffer.
func (c *compiler) newPlain(v *Value) *store {
	st := c.newStore(tensor.Count(v.Type.Shape))
	c.places[v] = &place{plain: st, slot: -1}
	return st
}

func storesOf(views []view) []*store {
	out := make([]*store, len(views))
	for i, v := range views {
		out[i] = v.st
	}
	return out
}

// layOut gives every store its room: stores that share one first, then the rest, the largest first, each at the lowest offset
// that no store alive at the same time takes.
func (c *compiler) layOut() {
	for _, sh := range c.shares {
		src := sh.src
		for src.root != nil {
			src = src.root
		}
		if src.last != sh.step || src.size < sh.dst.size || src.input >= 0 || src.konst != nil || sh.dst.root != nil {
			continue
		}
		sh.dst.root = src
		src.last = max(src.last, sh.dst.last)
	}
	var todo []*store
	for _, s := range c.stores {
		if s.root == nil && s.input < 0 && s.konst == nil && s.size > 0 {
			todo = append(todo, s)
		}
	}
	slices.SortStableFunc(todo, func(a, b *store) int { return cmp.Compare(b.size, a.size) })
	var placed []*store // by offset
	for _, s := range todo {
		at := 0
		for _, p := range placed {
			if p.last < s.first || s.last < p.first {
				continue
			}
			if at+s.size <= p.offset {
				break
			}
			at = max(at, p.offset+p.size)
			at = (at + 15) &^ 15
		}
		s.offset = at
		c.plan.arena = max(c.plan.arena, at+s.size)
		i, _ := slices.BinarySearchFunc(placed, s, func(a, b *store) int { return cmp.Compare(a.offset, b.offset) })
		placed = slices.Insert(placed, i, s)
	}
	for _, s := range c.stores {
		root := s.root
		for root != nil && root.root != nil {
			root = root.root
		}
		if root != nil {
			s.offset = root.offset
		}
	}
}

// exec is the state of one run: its arena, its workers and what it was handed.
type exec struct {
	plan    *Plan
	arena   []float32
	inputs  [][]float32
	slots   []*tensor.Tensor
	workers []*worker
	times   []StepTime // filled by a profiled run
	mu      sync.Mutex
	err     error
}

// worker is the private room of one goroutine of a run.
type worker struct {
	scratch []float32
	// What kernels are handed by address lives here: it would be allocated anew for every call otherwise.
	epilogue kernels.Epilogue
	splat    [block]float32
}

func (x *exec) fail(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err == nil {
		x.err = err
	}
}

// buf returns the elements of a store.
func (x *exec) buf(s *store) []float32 {
	switch {
	case s.konst != nil:
		return s.konst
	case s.input >= 0:
		return x.inputs[s.input]
	default:
		return x.arena[s.offset : s.offset+s.size : s.offset+s.size]
	}
}

// ArenaBytes returns the size of the arena a run takes.
func (p *Plan) ArenaBytes() int { return p.arena * 4 }

// Run executes the plan on up to threads goroutines. It returns ctx's error when ctx ends between two steps.
// The result is the caller's.
func (p *Plan) Run(ctx context.Context, in map[string]*tensor.Tensor, threads int) (map[string]*tensor.Tensor, error) {
	return p.execute(ctx, in, threads, nil)
}

// Profile is Run, telling what each step took instead of what came out.
func (p *Plan) Profile(ctx context.Context, in map[string]*tensor.Tensor, threads int) ([]StepTime, error) {
	times := make([]StepTime, len(p.steps))
	_, err := p.execute(ctx, in, threads, times)
	return times, err
}

func (p *Plan) execute(ctx context.Context, in map[string]*tensor.Tensor, threads int, times []StepTime) (map[string]*tensor.Tensor, error) {
	var x *exec
	select {
	case x = <-p.free:
	default:
		x = &exec{plan: p, arena: alignedFloats(p.arena), inputs: make([][]float32, len(p.inputs)), slots: make([]*tensor.Tensor, p.slots)}
	}
	defer p.release(x)
	x.times = times
	for i, pi := range p.inputs {
		t := in[pi.name]
		if t == nil {
			return nil, fmt.Errorf("inference: input %q is missing", pi.name)
		}
		if t.DType() != pi.typ.DType || !slices.Equal(t.Shape(), pi.typ.Shape) {
			return nil, fmt.Errorf("inference: input %q is %s %v, the plan is for %s %v", pi.name, t.DType(), t.Shape(), pi.typ.DType, pi.typ.Shape)
		}
		if pi.store >= 0 {
			x.inputs[i] = tensor.Values[float32](t)
		} else {
			x.slots[pi.slot] = t
		}
	}
	if err := x.run(ctx, max(1, min(threads, p.parallel))); err != nil {
		return nil, err
	}
	out := make(map[string]*tensor.Tensor, len(p.outputs))
	for _, o := range p.outputs {
		switch {
		case o.konst != nil:
			out[o.name] = o.konst
		case o.place.slot >= 0:
			out[o.name] = x.slots[o.place.slot]
		default:
			out[o.name] = tensor.Of(slices.Clone(x.buf(o.place.plain)), o.typ.Shape...)
		}
	}
	return out, nil
}

// release hands the run's room back for the next one, without what it was handed.
func (p *Plan) release(x *exec) {
	clear(x.inputs)
	clear(x.slots)
	x.err, x.times = nil, nil
	select {
	case p.free <- x:
	default:
	}
}

func (x *exec) run(ctx context.Context, threads int) error {
	for len(x.workers) < threads {
		x.workers = append(x.workers, &worker{scratch: alignedFloats(x.plan.scratch)})
	}
	all := x.workers
	x.workers = all[:threads]
	defer func() { x.workers = all }()
	t := &team{}
	t.start(x)
	defer t.close()
	return x.steps(ctx, t)
}

// StepTime is what one step of a profiled run took.
type StepTime struct {
	Name     string
	Duration time.Duration
}

// steps runs one step after another.
func (x *exec) steps(ctx context.Context, t *team) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("inference: panic: %v", r)
		}
	}()
	for i, s := range x.plan.steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		start := time.Time{}
		if x.times != nil {
			start = time.Now()
		}
		t.run(s, s.tasks())
		if x.times != nil {
			x.times[i] = StepTime{x.plan.names[i], time.Since(start)}
		}
		if x.err != nil {
			return x.err
		}
	}
	return nil
}
