// Package cache computes equal requests once: those that arrive while the first is being answered wait for its result, and
// those that come shortly after get it again. It is made for clients that repeat a request whose reply was late or lost.
//
// Requests are equal when the bytes of their pictures, their options with all defaults filled in, the network that would
// serve them and their scope are. The scope is the key that a request came with: between keys nothing is shared, since how
// fast a result comes would tell one customer which pictures another has sent. Results stay in memory, for a bounded time
// and within a bounded number of bytes; they are never written anywhere.
package cache

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"runtime/debug"
	"sync"
	"time"

	"cutout/pipeline"
)

// Stage is the name of the only stage of a result that was not computed for its request.
const Stage = "cache"

// Processor computes results; see *pipeline.Pipeline for both methods.
type Processor interface {
	Run(ctx context.Context, image []byte, o pipeline.Options) (*pipeline.Result, error)
	Identify(ctx context.Context, o pipeline.Options) (complete pipeline.Options, model string, err error)
}

// Config bounds a cache.
type Config struct {
	Bytes int64            // of results that are kept; larger ones are not
	TTL   time.Duration    // how long a result is kept
	Now   func() time.Time // nil: time.Now
}

// Cache is a Processor's results. It is safe for concurrent use.
type Cache struct {
	cfg  Config
	next Processor

	mu      sync.Mutex
	results map[key]*list.Element // of *entry
	recent  *list.List            // the most recently used first
	flights map[key]*flight
	timer   *time.Timer // clears what is too old; nil where nothing is kept
	stats   Stats
}

// Stats counts requests by how they were served.
type Stats struct {
	Hits   int64 // with a result that was kept
	Joined int64 // with the result of an equal request that was under way
	Misses int64 // by computing
	Bytes  int64 // of the results that are kept now
}

type key [sha256.Size]byte

type entry struct {
	key     key
	result  *pipeline.Result
	bytes   int64
	expires time.Time
}

// flight is a result being computed.
type flight struct {
	done    chan struct{} // closed once the rest is set
	cancel  context.CancelFunc
	waiting int // callers

	result *pipeline.Result
	err    error
	panic  *panicError
}

// panicError is a panic on its way to the goroutine of a request, where it can be reported.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("%v\n%s", p.value, p.stack) }

// New puts a cache before a processor.
func New(cfg Config, next Processor) *Cache {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Cache{cfg: cfg, next: next, results: map[key]*list.Element{}, recent: list.New(), flights: map[key]*flight{}}
}

type scopeKey struct{}

// WithScope marks a request: it shares results with requests of the same scope alone.
func WithScope(ctx context.Context, scope string) context.Context {
	return context.WithValue(ctx, scopeKey{}, scope)
}

// Run is the processor's Run. Its results are shared: they must not be changed.
//
// A result is computed as long as anybody waits for it, within the deadline of the request that came first. Should that
// pass while a later one still has time, the later one begins anew.
func (c *Cache) Run(ctx context.Context, image []byte, o pipeline.Options) (*pipeline.Result, error) {
	start := c.cfg.Now()
	complete, model, err := c.next.Identify(ctx, o)
	if err != nil {
		return nil, err
	}
	scope, _ := ctx.Value(scopeKey{}).(string)
	k, ok := keyOf(image, complete, model, scope)
	if !ok {
		return c.next.Run(ctx, image, o)
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		kept, f, joined := c.enter(ctx, k, image, o)
		if kept != nil {
			return c.shared(kept, start), nil
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			c.leave(k, f)
			return nil, ctx.Err()
		}
		switch {
		case f.panic != nil:
			panic(f.panic)
		case joined && (errors.Is(f.err, context.Canceled) || errors.Is(f.err, context.DeadlineExceeded)):
			continue // the first request's time was over, not this one's
		case errors.Is(f.err, context.DeadlineExceeded) && passed(ctx):
			<-ctx.Done() // the flight's clock was a moment ahead; whoever is told of a deadline looks at this one
			return nil, ctx.Err()
		case f.err != nil:
			return nil, f.err
		case joined:
			return c.shared(f.result, start), nil
		default:
			return f.result, nil
		}
	}
}

// passed tells whether the time of a request is over.
func passed(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ok && !time.Now().Before(deadline)
}

// shared is a result as a request gets it that it was not computed for: the stages are another's.
func (c *Cache) shared(r *pipeline.Result, start time.Time) *pipeline.Result {
	mine := *r
	mine.Stages = []pipeline.Stage{{Name: Stage, Start: start, Duration: c.cfg.Now().Sub(start)}}
	return &mine
}

// enter finds what is kept, or joins the flight that computes it, or starts one.
func (c *Cache) enter(ctx context.Context, k key, image []byte, o pipeline.Options) (kept *pipeline.Result, f *flight, joined bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if found := c.results[k]; found != nil {
		e := found.Value.(*entry)
		if c.cfg.Now().Before(e.expires) {
			c.recent.MoveToFront(found)
			c.stats.Hits++
			return e.result, nil, false
		}
		c.drop(found)
	}
	f, joined = c.flights[k], true
	if f == nil {
		joined = false
		own := context.WithoutCancel(ctx)
		f = &flight{done: make(chan struct{})}
		if deadline, ok := ctx.Deadline(); ok {
			own, f.cancel = context.WithDeadline(own, deadline)
		} else {
			own, f.cancel = context.WithCancel(own)
		}
		c.flights[k] = f
		c.stats.Misses++
		go c.fly(own, k, f, image, o)
	} else {
		c.stats.Joined++
	}
	f.waiting++
	return nil, f, joined
}

// leave takes back one that waited. Nobody computes for nobody.
func (c *Cache) leave(k key, f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.waiting--; f.waiting == 0 {
		f.cancel()
		if c.flights[k] == f {
			delete(c.flights, k) // who comes now begins anew
		}
	}
}

// fly computes a result and keeps it.
func (c *Cache) fly(ctx context.Context, k key, f *flight, image []byte, o pipeline.Options) {
	defer f.cancel()
	func() {
		defer func() {
			if v := recover(); v != nil {
				f.panic = &panicError{value: v, stack: debug.Stack()}
			}
		}()
		f.result, f.err = c.next.Run(ctx, image, o)
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flights[k] == f {
		delete(c.flights, k)
	}
	if f.panic == nil && f.err == nil {
		c.keep(k, f.result)
	}
	close(f.done)
}

// overhead is about what a result takes beside its pictures, in bytes.
const overhead = 1 << 10

// keep adds a result. It is called with mu held.
func (c *Cache) keep(k key, r *pipeline.Result) {
	e := &entry{key: k, result: r, bytes: overhead + int64(cap(r.Data)), expires: c.cfg.Now().Add(c.cfg.TTL)}
	for _, data := range r.Also {
		e.bytes += int64(cap(data))
	}
	if e.bytes > c.cfg.Bytes {
		return
	}
	if old := c.results[k]; old != nil {
		c.drop(old)
	}
	c.results[k] = c.recent.PushFront(e)
	c.stats.Bytes += e.bytes
	for c.stats.Bytes > c.cfg.Bytes {
		c.drop(c.recent.Back())
	}
	if c.timer == nil {
		c.timer = time.AfterFunc(c.cfg.TTL, c.sweep)
	}
}

// drop is called with mu held.
func (c *Cache) drop(found *list.Element) {
	e := c.recent.Remove(found).(*entry)
	delete(c.results, e.key)
	c.stats.Bytes -= e.bytes
}

// sweep drops what is too old, so that nothing stays longer than it may where no request comes.
func (c *Cache) sweep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = nil
	now, first := c.cfg.Now(), time.Time{}
	for found := c.recent.Front(); found != nil; {
		next := found.Next()
		if e := found.Value.(*entry); !now.Before(e.expires) {
			c.drop(found)
		} else if first.IsZero() || e.expires.Before(first) {
			first = e.expires
		}
		found = next
	}
	if c.recent.Len() > 0 {
		c.timer = time.AfterFunc(max(first.Sub(now), time.Millisecond), c.sweep)
	}
}

// Stats returns the counts so far.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// keyOf is a sum of everything that a result depends on. Options that cannot be written down, such as numbers that are
// none, have no key.
func keyOf(image []byte, o pipeline.Options, model, scope string) (key, bool) {
	sum := sha256.New()
	for _, part := range []string{scope, model} {
		writePart(sum, []byte(part))
	}
	writePart(sum, image)
	if o.Background != nil {
		// Written as it is: as JSON it would be a third longer, in memory.
		b := *o.Background
		writePart(sum, b.Image)
		hasImage := b.Image != nil
		b.Image = nil
		o.Background = &b
		writePart(sum, fmt.Appendf(nil, "%t", hasImage))
	}
	if err := json.NewEncoder(sum).Encode(o); err != nil { //nolint:musttag // nobody reads it: the names only have to differ
		return key{}, false
	}
	return key(sum.Sum(nil)), true
}

// writePart adds bytes with their length, so that what one part ends with cannot pass for the beginning of the next.
func writePart(sum hash.Hash, part []byte) {
	var length [8]byte
	binary.LittleEndian.PutUint64(length[:], uint64(len(part)))
	_, _ = sum.Write(length[:]) // never fails
	_, _ = sum.Write(part)
}
