package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

const path = "/v1/results"

// shot is one request.
type shot struct {
	sent time.Time
	took time.Duration
	code int // 0: no answer
	err  error
}

func (s shot) ended() time.Time { return s.sent.Add(s.took) }

// gun sends the same picture over and over.
type gun struct {
	c       *child
	photo   []byte
	quality string
}

func (g gun) fire(ctx context.Context) shot {
	contentType, body, err := form("image", fresh(g.photo), "quality", g.quality)
	if err != nil {
		return shot{err: err}
	}
	s := shot{sent: time.Now()}
	s.code, _, s.err = g.c.do(ctx, http.MethodPost, path, contentType, body)
	s.took = time.Since(s.sent)
	return s
}

// closed lets so many clients send one request after the other for a while.
func (g gun) closed(ctx context.Context, clients int, d time.Duration) []shot {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var (
		all   sync.WaitGroup
		mu    sync.Mutex
		shots []shot
	)
	for range clients {
		all.Go(func() {
			for ctx.Err() == nil {
				s := g.fire(context.WithoutCancel(ctx))
				mu.Lock()
				shots = append(shots, s)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return shots
}

// mostOpen bounds what one run holds at a time, whatever the server does.
const mostOpen = 4096

// open sends requests at random times, so many a second on average, whatever becomes of those before.
func (g gun) open(ctx context.Context, rate float64, d time.Duration) []shot {
	var (
		all    sync.WaitGroup
		mu     sync.Mutex
		shots  []shot
		inAir  = make(chan struct{}, mostOpen)
		random = rand.New(rand.NewPCG(1, 2))
		next   = time.Now()
		end    = next.Add(d)
	)
	for next.Before(end) && ctx.Err() == nil {
		time.Sleep(time.Until(next))
		inAir <- struct{}{}
		all.Go(func() {
			defer func() { <-inAir }()
			s := g.fire(ctx)
			mu.Lock()
			defer mu.Unlock()
			shots = append(shots, s)
		})
		next = next.Add(time.Duration(random.ExpFloat64() / rate * float64(time.Second)))
	}
	all.Wait()
	return shots
}

// took lists how long the shots with an answer took, the quickest first.
func took(shots []shot, code int) []time.Duration {
	var d []time.Duration
	for _, s := range shots {
		if s.code == code {
			d = append(d, s.took)
		}
	}
	slices.Sort(d)
	return d
}

// percentile of sorted values.
func percentile(d []time.Duration, p float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	return d[min(len(d)-1, int(math.Ceil(p*float64(len(d))))-1)]
}

// within counts answers of a kind that came between two moments.
func within(shots []shot, code int, from, to time.Time) int {
	n := 0
	for _, s := range shots {
		if s.code == code && !s.ended().Before(from) && s.ended().Before(to) {
			n++
		}
	}
	return n
}

const (
	warmUps     = 5
	lightLoad   = 0.2             // of the capacity
	ramp        = 8 * time.Second // until the server has noticed; told of, not judged
	probeEvery  = 100 * time.Millisecond
	promisedNo  = 50 * time.Millisecond
	promisedUp  = time.Second
	memoryShare = 1.10
)

// overload finds the capacity, offers a multiple of it and looks at what callers get.
func overload(ctx context.Context, s settings, out io.Writer) error {
	photo, err := picture(ctx, s.photo, s.size)
	if err != nil {
		return err
	}
	c, err := start(ctx, s)
	if err != nil {
		return err
	}
	defer func() { _ = c.stop() }()
	g := gun{c: c, photo: photo, quality: s.quality}
	for range warmUps {
		if got := g.fire(ctx); got.code != http.StatusOK {
			return fmt.Errorf("warming up: status %d, %w", got.code, got.err)
		}
	}
	phase := max(5*time.Second, s.duration/4)
	alone := took(g.closed(ctx, 1, phase), http.StatusOK)

	capacity, clients := 0., 0
	for _, n := range []int{1, 2, 4, 8} {
		from := time.Now()
		shots := g.closed(ctx, n, phase)
		// Until the last began, so that those that end one after the other at the end count for nothing.
		last := slices.MaxFunc(shots, func(a, b shot) int { return a.sent.Compare(b.sent) }).sent
		rate := float64(within(shots, http.StatusOK, from, last)) / last.Sub(from).Seconds()
		refused := len(took(shots, http.StatusServiceUnavailable))
		_, _ = fmt.Fprintf(out, "%d clients, one request after the other: %.2f a second, median %v, %d refused\n",
			n, rate, percentile(took(shots, http.StatusOK), .5).Round(time.Millisecond), refused)
		if rate > capacity {
			capacity, clients = rate, n
		}
	}
	light := took(g.open(ctx, lightLoad*capacity, phase), http.StatusOK)
	_, _ = fmt.Fprintf(out, "capacity: %.2f a second, with %d clients\n", capacity, clients)

	probes, stopProbes := c.probe(ctx)
	watched, stopWatch := context.WithCancel(ctx)
	w := c.watch(watched, probeEvery*5, resident)
	from := time.Now().Add(ramp)
	to := from.Add(s.duration)
	again := make(chan time.Duration, 1)
	go func() {
		time.Sleep(time.Until(to))
		again <- g.recover(ctx, to)
	}()
	shots := g.open(ctx, s.factor*capacity, time.Until(to))
	recovered := <-again
	health := stopProbes(probes)
	stopWatch()
	w.done.Wait()

	judged := slices.DeleteFunc(slices.Clone(shots), func(s shot) bool { return s.sent.Before(from) })
	yes, no := took(judged, http.StatusOK), took(judged, http.StatusServiceUnavailable)
	lost := len(judged) - len(yes) - len(no)
	goodput := float64(within(shots, http.StatusOK, from, to)) / to.Sub(from).Seconds()
	memory := w.over(resident, from, to)
	first, last := mean(memory[:len(memory)/3]), mean(memory[len(memory)*2/3:])
	slow := 0
	for _, d := range no {
		if d > promisedNo {
			slow++
		}
	}

	row := func(name string, shots []time.Duration) {
		_, _ = fmt.Fprintf(out, "%-34s %6d  p50 %-8v p90 %-8v p99 %-8v max %v\n", name, len(shots),
			percentile(shots, .5).Round(time.Millisecond), percentile(shots, .9).Round(time.Millisecond),
			percentile(shots, .99).Round(time.Millisecond), percentile(shots, 1).Round(time.Millisecond))
	}
	row("one at a time", alone)
	row(fmt.Sprintf("at %.0f %% of the capacity", lightLoad*100), light)
	row(fmt.Sprintf("at %.0f times: served", s.factor), yes)
	row(fmt.Sprintf("at %.0f times: refused", s.factor), no)
	early := slices.DeleteFunc(slices.Clone(shots), func(s shot) bool { return !s.sent.Before(from) })
	row(fmt.Sprintf("first %v: served", ramp), took(early, http.StatusOK))
	row(fmt.Sprintf("first %v: refused", ramp), took(early, http.StatusServiceUnavailable))
	row("/healthz meanwhile", took(health, http.StatusOK))

	limit := 3 * percentile(alone, .99)
	return report(out, []check{
		{"goodput", fmt.Sprintf("at least %.2f a second", .9*capacity), fmt.Sprintf("%.2f (%.0f %%)", goodput, 100*goodput/capacity), goodput >= .9*capacity},
		{"accepted requests lost", "0", fmt.Sprint(lost), lost == 0},
		{"p99 of the accepted", "at most " + limit.Round(time.Millisecond).String(), percentile(yes, .99).Round(time.Millisecond).String(), percentile(yes, .99) <= limit},
		{"refusals slower than 50 ms", "at most 1 %", fmt.Sprintf("%d of %d", slow, len(no)), slow*100 <= len(no)},
		{"memory, last over first third", fmt.Sprintf("at most %.2f", memoryShare), fmt.Sprintf("%.2f (%.0f MB)", last/first, last/(1<<20)), last <= memoryShare*first},
		{"health checks that failed", "0", fmt.Sprint(len(health) - len(took(health, http.StatusOK))), len(took(health, http.StatusOK)) == len(health)},
		{"served again after the end", "within " + promisedUp.String(), recovered.Round(time.Millisecond).String(), recovered >= 0 && recovered <= promisedUp},
	})
}

func mean(v []float64) float64 {
	sum := 0.
	for _, x := range v {
		sum += x
	}
	return sum / float64(max(1, len(v)))
}

// probe asks for the server's health all the time; the function ends it.
func (c *child) probe(ctx context.Context) (<-chan []shot, func(<-chan []shot) []shot) {
	ctx, cancel := context.WithCancel(ctx)
	out := make(chan []shot, 1)
	go func() {
		var shots []shot
		ticker := time.NewTicker(probeEvery)
		defer ticker.Stop()
		for ctx.Err() == nil {
			s := shot{sent: time.Now()}
			s.code, _, s.err = c.get(context.WithoutCancel(ctx), "/healthz")
			s.took = time.Since(s.sent)
			shots = append(shots, s)
			select {
			case <-ctx.Done():
			case <-ticker.C:
			}
		}
		out <- shots
	}()
	return out, func(shots <-chan []shot) []shot {
		cancel()
		return <-shots
	}
}

// recover tells how long after a moment a request was let in again; negative where none was.
func (g gun) recover(ctx context.Context, since time.Time) time.Duration {
	for time.Since(since) < time.Minute && ctx.Err() == nil {
		if s := g.fire(ctx); s.code == http.StatusOK {
			return s.sent.Sub(since)
		}
		time.Sleep(probeEvery)
	}
	return -1
}
