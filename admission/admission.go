// Package admission decides which request computes when: a bounded queue with a deadline stands before the cores and the
// memory, and who could not be served in time is told so at once.
//
// Each request that computes holds a slot. One alone has all cores, many share them, each as often as it asks. A queue
// takes up bursts. Once it has had to refuse somebody it is kept so short that those who are let in are served about as
// fast as ever, until the backlog that would have built up is worked off: a server that lets everybody wait at three
// times its capacity serves nobody in time.
package admission

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Class is what kind of work a request is.
type Class int

// Classes of work.
const (
	Interactive Class = iota // somebody waits for the answer
	Background               // jobs: they wait as long as it takes, and take what others leave
)

func (c Class) String() string {
	if c == Background {
		return "background"
	}
	return "interactive"
}

// Reasons of a refusal.
const (
	ReasonQueueFull = "queue_full" // nobody else may wait
	ReasonWait      = "wait"       // the wait would be too long
	ReasonMemory    = "memory"     // bodies of requests take all the memory they may
	ReasonDeadline  = "deadline"   // the wait was expected to be shorter
)

// Error is a refusal.
type Error struct {
	Reason     string
	RetryAfter time.Duration // after which trying again makes sense
}

func (e *Error) Error() string {
	return fmt.Sprintf("not admitted: %s, try again in %v", e.Reason, e.RetryAfter.Round(time.Millisecond))
}

// Config bounds what is let in. The zero value lets as many compute as there are processors, and as many wait as come.
type Config struct {
	Slots  int           // requests that compute at a time; 0: one a processor
	Cores  int           // that are shared among them; 0: all processors
	Queue  int           // most requests that wait; 0: no bound
	Wait   time.Duration // longest wait of a request that is let in; 0: no bound
	Memory int64         // bytes that those who compute may take together; 0: no bound
	Bodies int64         // bytes that bodies of requests may take together; 0: no bound

	Observer Observer
	Now      func() time.Time // nil: time.Now
}

// Observer is told what becomes of requests. Any of its functions may be nil.
type Observer struct {
	Admitted func(c Class, wait time.Duration)
	Refused  func(c Class, reason string)
}

// Validate reports the first setting that cannot work.
func (c Config) Validate() error {
	switch {
	case c.Slots < 0 || c.Cores < 0 || c.Queue < 0:
		return fmt.Errorf("admission: %d slots, %d cores, queue of %d: must not be negative", c.Slots, c.Cores, c.Queue)
	case c.Wait < 0:
		return fmt.Errorf("admission: wait %v: must not be negative", c.Wait)
	case c.Memory < 0 || c.Bodies < 0:
		return fmt.Errorf("admission: memory %d, bodies %d: must not be negative", c.Memory, c.Bodies)
	}
	return nil
}

// How the queue behaves once it has refused somebody.
const (
	// patience is the share of the time a request takes for which one more may wait then. Arrivals come so often that
	// half of it keeps every core busy.
	patience = 0.5
	// memory of the backlog that would have built up, beyond which nothing is gained by remembering.
	longestBacklog = 5 * time.Second
)

const (
	// learning is the weight of the newest observation of how long work takes.
	learning = 0.1
	// backgroundShare is how many others pass before work in the background gets a turn of its own, so that it never
	// stands still.
	backgroundShare = 8
	leastRetry      = time.Second
)

// Controller admits requests. It is safe for concurrent use.
type Controller struct {
	cfg Config

	mu      sync.Mutex
	running map[*Lease]struct{}
	queues  [2][]*waiter // by class
	memory  int64        // of those that compute
	bodies  int64
	passed  int // others since background work that waits had a turn
	total   uint64

	pace    pace
	backlog float64   // seconds of work that would wait had nobody been refused; only while overloaded
	drained time.Time // when backlog was last brought up to date
	over    bool
}

// waiter is somebody in a queue.
type waiter struct {
	demand  Demand
	class   Class
	since   time.Time
	granted chan *Lease // of one
}

// Demand is what a request will take.
type Demand struct {
	Work   float64 // in units of the caller's own; 0: like the others
	Memory int64   // bytes
	Brief  bool    // of work in the background: so short that waiting for its end harms nobody
}

// New builds a controller.
func New(cfg Config) (*Controller, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Cores = cmp.Or(cfg.Cores, runtime.GOMAXPROCS(0))
	cfg.Slots = cmp.Or(cfg.Slots, cfg.Cores)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Controller{cfg: cfg, running: map[*Lease]struct{}{}}, nil
}

type (
	classKey struct{}
	visitKey struct{}
)

// InBackground marks work that nobody waits for.
func InBackground(ctx context.Context) context.Context {
	return context.WithValue(ctx, classKey{}, Background)
}

func classOf(ctx context.Context) Class {
	c, _ := ctx.Value(classKey{}).(Class)
	return c
}

// visit is one request of a client, which may compute several times. It is let in or refused as a whole.
type visit struct {
	mu       sync.Mutex
	admitted bool
	refused  *Error
}

// Visit marks everything that is computed with the context as one request: the first of it decides, all else follows.
func Visit(ctx context.Context) context.Context {
	return context.WithValue(ctx, visitKey{}, &visit{})
}

// Check tells whether a request that comes now would be let in: an *Error if not. It reserves nothing. Asking before the
// body of a request is read saves both sides the reading.
func (c *Controller) Check() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	if err := c.judge(now, c.pace.seconds(0)); err != nil {
		c.arrived(now, c.pace.seconds(0))
		c.refused(Interactive, err)
		return err
	}
	return nil
}

// Enter waits for a slot. The error is an *Error, or ctx's where that ends first. Whoever has a Lease releases it.
func (c *Controller) Enter(ctx context.Context, d Demand) (*Lease, error) {
	class := classOf(ctx)
	w := &waiter{demand: d, class: class, granted: make(chan *Lease, 1)}
	if err := c.join(ctx, w); err != nil {
		return nil, err
	}
	var timeout <-chan time.Time
	if class == Interactive && c.cfg.Wait > 0 && ctx.Value(visitKey{}) != nil {
		timer := time.NewTimer(2 * c.cfg.Wait) // estimates may be wrong, but not for ever
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case l := <-w.granted:
		return l, nil
	case <-ctx.Done():
		c.leave(w)
		return nil, ctx.Err()
	case <-timeout:
		c.leave(w)
		c.mu.Lock()
		defer c.mu.Unlock()
		err := &Error{Reason: ReasonDeadline, RetryAfter: c.retryAfter(c.cfg.Now())}
		c.refused(class, err)
		return nil, err
	}
}

// join puts w in its queue, or refuses it.
func (c *Controller) join(ctx context.Context, w *waiter) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	w.since = now
	v, isVisit := ctx.Value(visitKey{}).(*visit)
	if w.class == Interactive && isVisit {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.refused != nil {
			return v.refused
		}
		if !v.admitted {
			took := c.pace.seconds(w.demand.Work)
			err := c.judge(now, took)
			c.arrived(now, took)
			if err != nil {
				v.refused = err
				c.refused(w.class, err)
				return err
			}
			v.admitted = true
		}
	}
	c.queues[w.class] = append(c.queues[w.class], w)
	c.grant(now)
	return nil
}

// judge tells why a request that takes so many seconds cannot be let in; nil where it can.
func (c *Controller) judge(now time.Time, took float64) *Error {
	c.drain(now)
	waiting := len(c.queues[Interactive])
	wait := c.wait(now)
	reason := ""
	switch {
	case c.cfg.Queue > 0 && waiting >= c.cfg.Queue:
		reason = ReasonQueueFull
	case c.over && wait > max(patience*took, patience*c.pace.seconds(0)):
		reason = ReasonWait
	case c.cfg.Wait > 0 && wait > c.cfg.Wait.Seconds():
		reason = ReasonWait
	default:
		return nil
	}
	if !c.over {
		c.over, c.backlog, c.drained = true, longestBacklog.Seconds(), now
	}
	return &Error{Reason: reason, RetryAfter: c.retryAfter(now)}
}

// arrived adds a request to the backlog that there would be had nobody been refused.
func (c *Controller) arrived(now time.Time, took float64) {
	if c.over {
		c.drain(now)
		c.backlog = min(c.backlog+took/float64(c.cfg.Slots), longestBacklog.Seconds())
	}
}

// drain works the imagined backlog off.
func (c *Controller) drain(now time.Time) {
	if !c.over {
		return
	}
	c.backlog -= now.Sub(c.drained).Seconds()
	c.drained = now
	if c.backlog <= 0 {
		c.over, c.backlog = false, 0
	}
}

func (c *Controller) refused(class Class, err *Error) {
	if f := c.cfg.Observer.Refused; f != nil {
		f(class, err.Reason)
	}
}

// retryAfter is when those who are in are done, and no less than clients can be told.
func (c *Controller) retryAfter(now time.Time) time.Duration {
	return max(leastRetry, time.Duration(c.wait(now)*float64(time.Second)))
}

// wait is how many seconds somebody who comes now has to wait for a slot, by what is known of those before.
func (c *Controller) wait(now time.Time) float64 {
	if len(c.running) < c.cfg.Slots && len(c.queues[Interactive]) == 0 {
		return 0
	}
	free := make([]float64, 0, c.cfg.Slots) // when each slot is free
	for l := range c.running {
		took := c.pace.seconds(l.demand.Work)
		free = append(free, max(took-now.Sub(l.since).Seconds(), took/10)) // who is late will not be much later
	}
	for len(free) < c.cfg.Slots {
		free = append(free, 0)
	}
	for _, w := range c.queues[Interactive] {
		i := least(free)
		free[i] += c.pace.seconds(w.demand.Work)
	}
	return free[least(free)]
}

func least(v []float64) int {
	best := 0
	for i := range v {
		if v[i] < v[best] {
			best = i
		}
	}
	return best
}

// grant gives free slots to those who wait.
func (c *Controller) grant(now time.Time) {
	for len(c.running) < c.cfg.Slots {
		class, ok := c.next()
		if !ok {
			return
		}
		w := c.queues[class][0]
		// Who needs more than there is may have it alone; nobody overtakes who waits for memory.
		if c.cfg.Memory > 0 && len(c.running) > 0 && c.memory+w.demand.Memory > c.cfg.Memory {
			return
		}
		c.queues[class] = slices.Delete(c.queues[class], 0, 1)
		switch {
		case class == Background:
			c.passed = 0
		case len(c.queues[Background]) > 0:
			c.passed++
		}
		l := &Lease{c: c, demand: w.demand, class: class, since: now, Waited: now.Sub(w.since)}
		c.memory += w.demand.Memory
		c.running[l] = struct{}{}
		c.total++
		l.crowded = len(c.running) >= c.cfg.Slots
		if f := c.cfg.Observer.Admitted; f != nil {
			f(class, l.Waited)
		}
		w.granted <- l
	}
}

// next is the class whose turn it is.
func (c *Controller) next() (Class, bool) {
	others, jobs := len(c.queues[Interactive]) > 0, len(c.queues[Background]) > 0
	if jobs { // one slot is kept for those who wait for an answer, where there is more than one and what holds it takes long
		held := 0
		for l := range c.running {
			if l.class == Background {
				held++
			}
		}
		jobs = held < max(1, c.cfg.Slots-1) || c.queues[Background][0].demand.Brief
	}
	switch {
	case jobs && (!others || c.passed >= backgroundShare):
		return Background, true
	case others:
		return Interactive, true
	}
	return Interactive, false
}

// leave takes w out of its queue, and gives back what it may just have been granted.
func (c *Controller) leave(w *waiter) {
	c.mu.Lock()
	i := slices.Index(c.queues[w.class], w)
	if i >= 0 {
		c.queues[w.class] = slices.Delete(c.queues[w.class], i, i+1)
		c.grant(c.cfg.Now()) // who waited behind it may fit into the memory that it did not
	}
	c.mu.Unlock()
	if i < 0 {
		(<-w.granted).Release(false)
	}
}

// Lease is a slot that somebody holds.
type Lease struct {
	Waited time.Duration // in the queue

	c       *Controller
	demand  Demand
	class   Class
	since   time.Time
	crowded bool // every slot was taken when this one was
	once    sync.Once
}

// Threads is how many goroutines its holder may keep busy now. It changes as others come and go, so it is asked for
// again before every long step.
func (l *Lease) Threads() int {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	return max(1, l.c.cfg.Cores/max(1, len(l.c.running)))
}

// Release gives the slot back. done tells that the work was done to its end, from which is learnt how long it takes.
// Only the first call does anything.
func (l *Lease) Release(done bool) {
	l.once.Do(func() {
		c := l.c
		c.mu.Lock()
		defer c.mu.Unlock()
		now := c.cfg.Now()
		if done {
			crowded := l.crowded && len(c.running) >= c.cfg.Slots
			c.pace.learn(now.Sub(l.since).Seconds(), l.demand.Work, crowded, min(c.cfg.Cores, c.cfg.Slots))
		}
		delete(c.running, l)
		c.memory -= l.demand.Memory
		c.grant(now)
	})
}

// pace is what is known of how long work takes.
type pace struct {
	unit    float64 // seconds that a unit of work takes where every slot is taken; 0: not known
	guessed bool    // unit comes from requests that had cores to spare
	work    float64 // units that a request has, on average
}

// learn takes in one piece of work of so many seconds. cores is what one alone has and many have not.
func (p *pace) learn(seconds, work float64, crowded bool, cores int) {
	work = cmp.Or(work, 1)
	unit := seconds / work
	if !crowded {
		unit *= 1 + float64(cores-1)/2 // one core is not as much slower as there are fewer of them
	}
	switch {
	case p.unit == 0, p.guessed && crowded:
		p.unit = unit
	case crowded || p.guessed:
		p.unit += learning * (unit - p.unit)
	}
	p.guessed = (p.guessed || p.work == 0) && !crowded
	if p.work == 0 {
		p.work = work
	}
	p.work += learning * (work - p.work)
}

// seconds is what so much work takes on one slot among many; 0 units are the average.
func (p *pace) seconds(work float64) float64 { return p.unit * cmp.Or(work, p.work) }

// Reserve adds bytes of a body to what bodies take; the error is an *Error. What is reserved is freed with Free.
func (c *Controller) Reserve(bytes int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cfg.Bodies > 0 && c.bodies+bytes > c.cfg.Bodies {
		err := &Error{Reason: ReasonMemory, RetryAfter: c.retryAfter(c.cfg.Now())}
		c.refused(Interactive, err)
		return err
	}
	c.bodies += bytes
	return nil
}

// Free gives back what was reserved.
func (c *Controller) Free(bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bodies -= bytes
}

// Stats is a moment's view.
type Stats struct {
	Slots       int
	Running     [2]int // by class
	Waiting     [2]int // by class
	Memory      int64  // bytes that those who compute take, by their own estimate
	MemoryLimit int64  // 0: none
	Bodies      int64  // bytes that bodies of requests take
	BodiesLimit int64  // 0: none
	Overloaded  bool
	Wait        time.Duration // that somebody who came now would have
}

// Stats tells how things are.
func (c *Controller) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	c.drain(now)
	s := Stats{
		Slots: c.cfg.Slots, Memory: c.memory, MemoryLimit: c.cfg.Memory, Bodies: c.bodies, BodiesLimit: c.cfg.Bodies,
		Overloaded: c.over, Wait: time.Duration(min(c.wait(now), math.MaxInt32) * float64(time.Second)),
	}
	for l := range c.running {
		s.Running[l.class]++
	}
	for class, q := range c.queues {
		s.Waiting[class] = len(q)
	}
	return s
}

// Admitted counts those that were given a slot so far.
func (c *Controller) Admitted() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total
}

// Refusal is the *Error in err, if there is one.
func Refusal(err error) (*Error, bool) { return errors.AsType[*Error](err) }
