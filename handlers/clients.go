package handlers

import (
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"cutout/handlers/dialect"
)

const (
	// maxClients bounds how many addresses are remembered; over it the ones that have rested are forgotten.
	maxClients = 1 << 16
	// IPv6 clients have a network of their own, so their addresses say little.
	clientPrefix6 = 64
)

// clients limits how often one address may ask.
type clients struct {
	limit rate.Limit // requests a second; 0: as often as it likes
	burst int

	mu    sync.Mutex
	known map[netip.Prefix]*rate.Limiter
}

// newClients limits to so many requests a minute, all of which may come at once; 0 limits nothing.
func newClients(perMinute int) *clients {
	return &clients{limit: rate.Limit(float64(perMinute) / 60), burst: perMinute, known: map[netip.Prefix]*rate.Limiter{}}
}

// admit lets a request of a client in or says when to try again.
func (c *clients) admit(addr netip.Addr, now time.Time) error {
	if c.limit == 0 || !addr.IsValid() {
		return nil
	}
	bits := addr.BitLen()
	if addr.Is6() {
		bits = clientPrefix6
	}
	key, err := addr.Prefix(bits)
	if err != nil {
		return nil //nolint:nilerr // of an address that is valid and shorter than that: it cannot
	}
	limiter := c.of(key, now)
	r := limiter.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait == 0 {
		return nil
	}
	r.CancelAt(now)
	return &dialect.Error{
		Status: http.StatusTooManyRequests, Reason: dialect.ReasonRateLimit, Public: "Too many requests from this address.", RetryAfter: wait,
	}
}

func (c *clients) of(key netip.Prefix, now time.Time) *rate.Limiter {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.known[key]
	if l == nil {
		if len(c.known) >= maxClients {
			c.forget(now)
		}
		l = rate.NewLimiter(c.limit, c.burst)
		c.known[key] = l
	}
	return l
}

// forget drops those who may ask as often as anybody new, and everybody where that is not enough.
func (c *clients) forget(now time.Time) {
	for key, l := range c.known {
		if l.TokensAt(now) >= float64(c.burst) {
			delete(c.known, key)
		}
	}
	if len(c.known) >= maxClients {
		clear(c.known)
	}
}
