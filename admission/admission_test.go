package admission

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// clock is time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Unix(1_700_000_000, 0)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func controller(t *testing.T, cfg Config) *Controller {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func enter(t *testing.T, c *Controller, d Demand) *Lease {
	t.Helper()
	l, err := c.Enter(Visit(context.Background()), d)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// queued starts an Enter that has to wait and returns once it stands in the queue.
func queued(t *testing.T, c *Controller, ctx context.Context, d Demand) <-chan result {
	t.Helper()
	class := classOf(ctx)
	before := c.Stats().Waiting[class]
	out := make(chan result, 1)
	go func() {
		l, err := c.Enter(ctx, d)
		out <- result{l, err}
	}()
	for deadline := time.Now().Add(30 * time.Second); c.Stats().Waiting[class] == before; runtime.Gosched() {
		select {
		case r := <-out:
			t.Fatalf("did not wait: %v", r.err)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("never came to wait")
		}
	}
	return out
}

type result struct {
	lease *Lease
	err   error
}

func TestOneAloneHasAllCores(t *testing.T) {
	t.Parallel()
	c := controller(t, Config{Slots: 8, Cores: 8})
	first := enter(t, c, Demand{})
	if got := first.Threads(); got != 8 {
		t.Errorf("one alone has %d of 8 cores", got)
	}
	second := enter(t, c, Demand{})
	if a, b := first.Threads(), second.Threads(); a != 4 || b != 4 {
		t.Errorf("two have %d and %d of 8 cores", a, b)
	}
	var more []*Lease
	for range 6 {
		more = append(more, enter(t, c, Demand{}))
	}
	if got := first.Threads(); got != 1 {
		t.Errorf("one of eight has %d of 8 cores", got)
	}
	for _, l := range more {
		l.Release(true)
		l.Release(true) // does nothing
	}
	second.Release(true)
	if got := first.Threads(); got != 8 {
		t.Errorf("the last one has %d of 8 cores", got)
	}
	first.Release(true)
	if s := c.Stats(); s.Running != [2]int{} {
		t.Errorf("%v still run", s.Running)
	}
}

func TestFirstComeFirstServed(t *testing.T) {
	t.Parallel()
	c := controller(t, Config{Slots: 1, Cores: 4, Queue: 3})
	held := enter(t, c, Demand{})
	var waiting []<-chan result
	for range 3 {
		waiting = append(waiting, queued(t, c, Visit(context.Background()), Demand{}))
	}
	for i, w := range waiting {
		held.Release(true)
		r := <-w
		if r.err != nil {
			t.Fatalf("%d: %v", i, r.err)
		}
		held = r.lease
	}
	held.Release(true)
}

func TestFullQueueRefusesAtOnce(t *testing.T) {
	t.Parallel()
	var refused atomic.Int64
	c := controller(t, Config{Slots: 1, Queue: 1, Observer: Observer{Refused: func(class Class, reason string) {
		if class == Interactive && reason == ReasonQueueFull {
			refused.Add(1)
		}
	}}})
	held := enter(t, c, Demand{})
	waiting := queued(t, c, Visit(context.Background()), Demand{})
	for range 2 {
		_, err := c.Enter(Visit(context.Background()), Demand{})
		e, ok := Refusal(err)
		if !ok || e.Reason != ReasonQueueFull || e.RetryAfter < time.Second {
			t.Fatalf("over a full queue: %v", err)
		}
	}
	if err := c.Check(); err == nil {
		t.Error("nobody is turned away at the door of a full queue")
	}
	if refused.Load() != 3 {
		t.Errorf("%d refusals were told of, want 3", refused.Load())
	}
	held.Release(true)
	(<-waiting).lease.Release(true)
	if s := c.Stats(); s.Running != [2]int{} || s.Waiting != [2]int{} {
		t.Errorf("left over: %+v", s)
	}
}

// What has been learnt of durations decides who would wait too long.
func TestWaitIsForeseen(t *testing.T) {
	t.Parallel()
	now := newClock()
	c := controller(t, Config{Slots: 1, Cores: 1, Queue: 100, Wait: 2 * time.Second, Now: now.now})
	for range 20 {
		l := enter(t, c, Demand{Work: 1})
		now.add(time.Second)
		l.Release(true)
	}
	held := enter(t, c, Demand{Work: 1})
	first := queued(t, c, Visit(context.Background()), Demand{Work: 1})
	if w := c.Stats().Wait; w < 1990*time.Millisecond || w > 2010*time.Millisecond {
		t.Errorf("behind two of a second each the wait is %v", w)
	}
	now.add(500 * time.Millisecond)
	second := queued(t, c, Visit(context.Background()), Demand{Work: 1}) // 1.5 s
	_, err := c.Enter(Visit(context.Background()), Demand{Work: 1})
	e, ok := Refusal(err)
	if !ok || e.Reason != ReasonWait {
		t.Fatalf("2.5 s of 2: %v", err)
	}
	if e.RetryAfter < 2400*time.Millisecond || e.RetryAfter > 2600*time.Millisecond {
		t.Errorf("try again in %v", e.RetryAfter)
	}
	held.Release(true)
	l := (<-first).lease
	l.Release(true)
	(<-second).lease.Release(true)
}

// A large picture counts for what it is.
func TestWorkScalesTheWait(t *testing.T) {
	t.Parallel()
	now := newClock()
	c := controller(t, Config{Slots: 1, Cores: 1, Wait: 5 * time.Second, Now: now.now})
	for range 20 {
		l := enter(t, c, Demand{Work: 2})
		now.add(200 * time.Millisecond)
		l.Release(true)
	}
	l := enter(t, c, Demand{Work: 40})
	if w := c.Stats().Wait; w < 3900*time.Millisecond || w > 4100*time.Millisecond {
		t.Errorf("behind twenty times the work of 200 ms the wait is %v", w)
	}
	l.Release(false)
	if w := c.pace.seconds(2); w < 0.19 || w > 0.21 {
		t.Errorf("work that was broken off taught that it takes %v s", w)
	}
}

// Once somebody was refused, the queue is kept short until the backlog is worked off; bursts are welcome again then.
func TestOverloadKeepsTheQueueShort(t *testing.T) {
	t.Parallel()
	now := newClock()
	c := controller(t, Config{Slots: 1, Cores: 1, Queue: 2, Now: now.now})
	for range 20 {
		l := enter(t, c, Demand{})
		now.add(time.Second)
		l.Release(true)
	}
	held := enter(t, c, Demand{})
	a := queued(t, c, Visit(context.Background()), Demand{})
	b := queued(t, c, Visit(context.Background()), Demand{})
	if c.Stats().Overloaded {
		t.Fatal("a burst that fits into the queue is no overload")
	}
	if err := c.Check(); err == nil {
		t.Fatal("let in over a full queue")
	}
	if !c.Stats().Overloaded {
		t.Fatal("a refusal is the beginning of overload")
	}
	now.add(time.Second)
	held.Release(true)
	held = (<-a).lease
	now.add(time.Second)
	held.Release(true)
	held = (<-b).lease
	if err := c.Check(); err == nil {
		t.Error("a whole second's wait for work of a second is let in under overload")
	}
	now.add(600 * time.Millisecond)
	if err := c.Check(); err != nil {
		t.Errorf("0.4 seconds' wait for work of a second: %v", err)
	}
	now.add(400 * time.Millisecond)
	held.Release(true)
	now.add(10 * time.Second)
	if c.Stats().Overloaded {
		t.Error("overloaded after ten idle seconds")
	}
	held = enter(t, c, Demand{})
	again := queued(t, c, Visit(context.Background()), Demand{})
	if err := c.Check(); err != nil {
		t.Errorf("a burst after the overload: %v", err)
	}
	held.Release(true)
	(<-again).lease.Release(true)
}

// An open loop at three times the capacity, in a model of time: every accepted request is served soon, no slot idles.
func TestOverloadInAModel(t *testing.T) {
	t.Parallel()
	const (
		slots   = 2
		service = 700 * time.Millisecond
		step    = time.Millisecond
	)
	now := newClock()
	c := controller(t, Config{Slots: slots, Cores: slots, Queue: 8, Wait: 10 * time.Second, Now: now.now})
	random := rand.New(rand.NewPCG(1, 2))
	type open struct {
		came  time.Time
		lease <-chan *Lease
		held  *Lease
		ends  time.Time
	}
	var in []*open
	arrive := func() {
		if c.Check() != nil {
			return
		}
		w := &waiter{demand: Demand{Work: 1}, granted: make(chan *Lease, 1)}
		if c.join(Visit(context.Background()), w) == nil {
			in = append(in, &open{came: now.now(), lease: w.granted})
		}
	}
	var longest time.Duration
	served, begin := 0, now.now()
	next := begin
	for now.now().Sub(begin) < 70*time.Second {
		for !next.After(now.now()) {
			arrive()
			next = next.Add(time.Duration(random.ExpFloat64() * float64(service) / slots / 3))
		}
		left := in[:0]
		for _, o := range in {
			if o.held == nil {
				select {
				case o.held = <-o.lease:
					o.ends = now.now().Add(time.Duration((0.9 + 0.2*random.Float64()) * float64(service)))
				default:
				}
			}
			if o.held != nil && !o.ends.After(now.now()) {
				o.held.Release(true)
				if now.now().Sub(begin) > 10*time.Second {
					longest = max(longest, now.now().Sub(o.came))
					served++
				}
				continue
			}
			left = append(left, o)
		}
		in = left
		now.add(step)
	}
	capacity := slots * 60 * float64(time.Second) / float64(service)
	t.Logf("served %d of %.0f, the slowest in %v of %v", served, capacity, longest, service)
	if float64(served) < 0.95*capacity {
		t.Errorf("%d requests were served where %.0f could have been", served, capacity)
	}
	if longest > 2*service {
		t.Errorf("the slowest took %v where the work is %v", longest, service)
	}
}

func TestWhoHangsUpLeavesTheQueue(t *testing.T) {
	t.Parallel()
	c := controller(t, Config{Slots: 1, Queue: 1})
	held := enter(t, c, Demand{})
	ctx, cancel := context.WithCancel(Visit(context.Background()))
	gone := queued(t, c, ctx, Demand{})
	cancel()
	if r := <-gone; !errors.Is(r.err, context.Canceled) {
		t.Fatalf("%v", r.err)
	}
	if w := c.Stats().Waiting; w != [2]int{} {
		t.Fatalf("%v still wait", w)
	}
	next := queued(t, c, Visit(context.Background()), Demand{})
	held.Release(true)
	(<-next).lease.Release(true)
}

func TestVisitIsJudgedOnce(t *testing.T) {
	t.Parallel()
	c := controller(t, Config{Slots: 1, Queue: 1})
	ctx := Visit(context.Background())
	held, err := c.Enter(ctx, Demand{})
	if err != nil {
		t.Fatal(err)
	}
	var waiting []<-chan result
	for range 3 { // over the queue's bound, but of a request that is in
		waiting = append(waiting, queued(t, c, ctx, Demand{}))
	}
	turnedAway := Visit(context.Background())
	if _, err := c.Enter(turnedAway, Demand{}); err == nil {
		t.Fatal("let in over a full queue")
	}
	held.Release(true)
	for _, w := range waiting {
		(<-w).lease.Release(true)
	}
	if _, err := c.Enter(turnedAway, Demand{}); err == nil {
		t.Error("half of a request was refused, the rest let in")
	}
}

func TestMemoryIsShared(t *testing.T) {
	t.Parallel()
	c := controller(t, Config{Slots: 4, Memory: 100})
	large := enter(t, c, Demand{Memory: 80})
	small := enter(t, c, Demand{Memory: 20})
	waits := queued(t, c, Visit(context.Background()), Demand{Memory: 30})
	small.Release(true) // 80 + 30 are too many still
	select {
	case <-waits:
		t.Fatal("let in over the memory there is")
	default:
	}
	large.Release(true)
	(<-waits).lease.Release(true)
	enter(t, c, Demand{Memory: 1000}).Release(true) // alone it may
	if got := c.Stats().Memory; got != 0 {
		t.Errorf("%d bytes are left over", got)
	}
}

func TestBodies(t *testing.T) {
	t.Parallel()
	c := controller(t, Config{Bodies: 100})
	if err := c.Reserve(70); err != nil {
		t.Fatal(err)
	}
	if e, ok := Refusal(c.Reserve(40)); !ok || e.Reason != ReasonMemory {
		t.Errorf("%v", e)
	}
	c.Free(70)
	if err := c.Reserve(100); err != nil {
		t.Error(err)
	}
}

// Jobs take what others leave, keep one slot free for them, and never stand still.
func TestBackgroundComesSecond(t *testing.T) {
	t.Parallel()
	c := controller(t, Config{Slots: 2, Cores: 2})
	jobs := InBackground(context.Background())
	first, err := c.Enter(jobs, Demand{})
	if err != nil {
		t.Fatal(err)
	}
	if got := first.Threads(); got != 2 {
		t.Errorf("a job alone has %d of 2 cores", got)
	}
	second := queued(t, c, jobs, Demand{})
	urgent := enter(t, c, Demand{}) // the slot that is kept
	third := queued(t, c, Visit(context.Background()), Demand{})
	first.Release(true)
	r := <-third // before the job that waits longer
	if r.err != nil {
		t.Fatal(r.err)
	}
	turns := 0
	held := r.lease
	for {
		another := queued(t, c, Visit(context.Background()), Demand{})
		held.Release(true)
		select {
		case r := <-second:
			urgent.Release(true)
			(<-another).lease.Release(true)
			r.lease.Release(true)
			if turns == 0 || turns > backgroundShare {
				t.Errorf("a job had its turn after %d others", turns)
			}
			return
		case r := <-another:
			held = r.lease
			turns++
		}
		if turns > 100 {
			t.Fatal("a job stands still")
		}
	}
}

// Everything at once, for the race detector: what is taken is given back.
func TestHammer(t *testing.T) {
	t.Parallel()
	var peak, running atomic.Int64
	c := controller(t, Config{Slots: 3, Cores: 6, Queue: 5, Wait: time.Second, Memory: 50, Bodies: 1000})
	var all sync.WaitGroup
	for g := range 32 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(g), 1))
			for range 200 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(random.IntN(2000))*time.Microsecond)
				switch random.IntN(4) {
				case 0:
					ctx = InBackground(ctx)
				case 1: // neither: waits without a bound
				default:
					ctx = Visit(ctx)
				}
				if c.Reserve(20) == nil {
					defer c.Free(20)
				}
				l, err := c.Enter(ctx, Demand{Work: random.Float64(), Memory: int64(random.IntN(40))})
				if err == nil {
					n := running.Add(1)
					for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
					}
					if l.Threads() < 1 {
						t.Error("no core to work on")
					}
					runtime.Gosched()
					running.Add(-1)
					l.Release(random.IntN(2) == 0)
				}
				_ = c.Check()
				cancel()
			}
		})
	}
	all.Wait()
	if peak.Load() > 3 {
		t.Errorf("%d computed at a time, on 3 slots", peak.Load())
	}
	if s := c.Stats(); s.Running != [2]int{} || s.Waiting != [2]int{} || s.Memory != 0 || s.Bodies != 0 {
		t.Errorf("left over: %+v", s)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"slots": {Slots: -1}, "cores": {Cores: -1}, "queue": {Queue: -1}, "wait": {Wait: -1}, "memory": {Memory: -1}, "bodies": {Bodies: -1},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("negative %s: taken", name)
		}
	}
}

func BenchmarkEnter(b *testing.B) {
	c, err := New(Config{Slots: 2, Queue: 8, Wait: time.Second})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		ctx := Visit(context.Background())
		if err := c.Check(); err != nil {
			b.Fatal(err)
		}
		l, err := c.Enter(ctx, Demand{Work: 1})
		if err != nil {
			b.Fatal(err)
		}
		l.Release(true)
	}
}
