package graph

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// team runs the tasks of one step after another on a fixed number of goroutines, the caller's among them.
// Between steps its helpers spin for a moment, since steps follow within microseconds, and then sleep.
type team struct {
	helpers []*helper
	epoch   atomic.Uint32
	stop    atomic.Bool
	next    atomic.Int64
	left    atomic.Int32
	step    step
	tasks   int64
	x       *exec
	wg      sync.WaitGroup
}

type helper struct {
	sleeping atomic.Bool
	wake     chan struct{}
	w        *worker
}

// spins is how often a waiting goroutine looks before it yields or sleeps: about 20 microseconds on a 2.5 GHz
// Cascade Lake, a little over the longest gap between two parallel steps of u2netp.
const spins = 20000

// start launches helpers for the workers past the first, which is the caller's.
func (t *team) start(x *exec) {
	t.x = x
	for _, w := range x.workers[1:] {
		h := &helper{wake: make(chan struct{}, 1), w: w}
		t.helpers = append(t.helpers, h)
		t.wg.Add(1)
		go t.help(h)
	}
}

// close ends the helpers and waits for them.
func (t *team) close() {
	t.stop.Store(true)
	t.signal()
	t.wg.Wait()
}

func (t *team) signal() {
	t.epoch.Add(1)
	for _, h := range t.helpers {
		if h.sleeping.CompareAndSwap(true, false) {
			h.wake <- struct{}{}
		}
	}
}

func (t *team) help(h *helper) {
	defer t.wg.Done()
	seen := uint32(0)
	for {
		h.wait(&t.epoch, seen)
		seen++
		if t.stop.Load() {
			return
		}
		t.work(h.w)
		t.left.Add(-1)
	}
}

// wait returns once epoch differs from seen.
func (h *helper) wait(epoch *atomic.Uint32, seen uint32) {
	for range spins {
		if epoch.Load() != seen {
			return
		}
	}
	h.sleeping.Store(true)
	if epoch.Load() != seen && h.sleeping.CompareAndSwap(true, false) {
		return
	}
	<-h.wake
}

// run executes all tasks of s and returns when the last has ended.
func (t *team) run(s step, tasks int) {
	if tasks == 1 || len(t.helpers) == 0 {
		for i := range tasks {
			s.do(t.x, t.x.workers[0], i)
		}
		return
	}
	t.step, t.tasks = s, int64(tasks)
	t.next.Store(0)
	t.left.Store(int32(len(t.helpers)))
	t.signal()
	t.work(t.x.workers[0])
	for i := 0; t.left.Load() != 0; i++ {
		if i > spins {
			runtime.Gosched()
		}
	}
}

func (t *team) work(w *worker) {
	defer func() {
		if r := recover(); r != nil {
			t.x.fail(fmt.Errorf("inference: panic in %T: %v\n%s", t.step, r, debug.Stack()))
		}
	}()
	for {
		i := t.next.Add(1) - 1
		if i >= t.tasks {
			return
		}
		t.step.do(t.x, w, int(i))
	}
}
