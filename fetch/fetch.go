// Package fetch turns a URL that a stranger gave us into bytes, safely.
//
// Only http and https; the address actually dialled is checked, so private, loopback, link-local, metadata and shared
// addresses cannot be reached by name, by redirect or by DNS rebinding; no proxy, no cookies, no credentials, no
// decompression; bounded in bytes, in time, in number and in rate.
package fetch

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"golang.org/x/time/rate"
)

// maxRedirects is how many redirects are followed, each checked like the first URL.
const maxRedirects = 5

// Config says what may be fetched and how much of it. A zero field takes its default.
type Config struct {
	Allow       []netip.Prefix // ranges that are opened on any port, private ones included
	OnlyAllowed bool           // refuse every address outside of Allow, name servers included; all of them where Allow is empty

	Timeout       time.Duration  // for one fetch with all its redirects and its wait for a slot; 15 s
	MaxBytes      int64          // of any file, whatever a caller asks for; 64 MiB
	MaxConcurrent int            // fetches at a time; 16
	Rate          float64        // fetches begun per second, over a burst of MaxConcurrent; 50
	UserAgent     string         // "cutout"
	RootCAs       *x509.CertPool // trusted certificate authorities; nil takes the system's
}

// Validate reports the first field that cannot be worked with.
func (c Config) Validate() error {
	switch {
	case c.Timeout < 0:
		return fmt.Errorf("fetch: timeout %v is negative", c.Timeout)
	case c.MaxBytes < 0:
		return fmt.Errorf("fetch: size limit %d is negative", c.MaxBytes)
	case c.MaxConcurrent < 0:
		return fmt.Errorf("fetch: concurrency %d is negative", c.MaxConcurrent)
	case c.Rate < 0 || math.IsNaN(c.Rate):
		return fmt.Errorf("fetch: rate %v is negative", c.Rate)
	}
	for _, p := range c.Allow {
		if !p.IsValid() {
			return errors.New("fetch: an opened range is not valid")
		}
		if p.Addr().Is4In6() {
			return fmt.Errorf("fetch: write the opened range %v as IPv4", p)
		}
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.Timeout == 0 {
		c.Timeout = 15 * time.Second
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 64 << 20
	}
	if c.MaxConcurrent == 0 {
		c.MaxConcurrent = 16
	}
	if c.Rate == 0 {
		c.Rate = 50
	}
	if c.UserAgent == "" {
		c.UserAgent = "cutout"
	}
	return c
}

// Fetcher fetches URLs. It is safe for concurrent use.
type Fetcher struct {
	cfg       Config
	client    *http.Client
	poster    *http.Client
	guard     *guard
	transport *http.Transport
	slots     chan struct{}
	limiter   *rate.Limiter
}

// Result is a fetched file.
type Result struct {
	Body []byte // as sent, never decompressed
	Name string // last path segment of the URL asked for, percent-decoded; may be ""
}

// New returns a Fetcher, or an error where the configuration is not valid.
func New(cfg Config) (*Fetcher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	cfg.Allow = slices.Clone(cfg.Allow)
	g := newGuard(cfg.Allow, cfg.OnlyAllowed)
	dialer := &net.Dialer{Timeout: cfg.Timeout, KeepAlive: 30 * time.Second, Control: g.control}
	if cfg.OnlyAllowed {
		dialer.Resolver = localResolver(g, cfg.Timeout)
	}
	transport := &http.Transport{
		Proxy:                  nil, // a proxy would make the guard look at the proxy's address instead of the target's
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.RootCAs},
		TLSHandshakeTimeout:    cfg.Timeout,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConns:           cfg.MaxConcurrent,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
	return &Fetcher{
		cfg:       cfg,
		client:    &http.Client{Transport: transport, CheckRedirect: checkRedirect},
		poster:    &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		guard:     g,
		transport: transport,
		slots:     make(chan struct{}, cfg.MaxConcurrent),
		limiter:   rate.NewLimiter(rate.Limit(cfg.Rate), cfg.MaxConcurrent),
	}, nil
}

// localResolver resolves names from the hosts file and from name servers inside the opened ranges alone, so that not
// even a DNS query leaves them.
func localResolver(g *guard, timeout time.Duration) *net.Resolver {
	return &net.Resolver{
		PreferGo: true, // the C library's resolver would ignore Dial
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			target, err := netip.ParseAddrPort(address)
			if err != nil {
				return nil, fmt.Errorf("%w: name server: %w", errAddress, err)
			}
			if err := g.check(target); err != nil {
				return nil, fmt.Errorf("name server: %w", err)
			}
			d := net.Dialer{Timeout: timeout}
			return d.DialContext(ctx, network, address)
		},
	}
}

// checkRedirect applies the rules for URLs to where a redirect leads; the guard applies those for addresses.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return newError(Redirects, fmt.Errorf("more than %d redirects", maxRedirects))
	}
	u, err := parse(req.URL.String())
	if err != nil {
		if refused, ok := errors.AsType[*Error](err); ok {
			refused.Public = "The URL redirects to one that is refused. " + refused.Public
		}
		return err
	}
	req.URL.RawQuery = u.RawQuery
	req.Header.Del("Referer") // the first URL may hold a signature that is none of the next server's business
	return nil
}

// Close closes idle connections. Fetches under way go on.
func (f *Fetcher) Close() { f.transport.CloseIdleConnections() }

// Get fetches rawURL. It fails with TooLarge when the file has more than maxBytes bytes; 0 takes Config.MaxBytes,
// which no caller exceeds. Every error is an *Error.
func (f *Fetcher) Get(ctx context.Context, rawURL string, maxBytes int64) (*Result, error) {
	u, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	limit := f.cfg.MaxBytes
	if maxBytes > 0 {
		limit = min(limit, maxBytes)
	}
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	if err := f.acquire(caller, ctx); err != nil {
		return nil, err
	}
	defer func() { <-f.slots }()

	body, err := f.get(ctx, u, limit)
	if err != nil {
		return nil, classify(caller, ctx, err)
	}
	return &Result{Body: body, Name: name(u)}, nil
}

// acquire waits for a slot and for the rate limit.
func (f *Fetcher) acquire(caller, ctx context.Context) error {
	select {
	case f.slots <- struct{}{}:
	case <-ctx.Done():
		return refused(caller, ctx.Err())
	}
	if err := f.limiter.Wait(ctx); err != nil {
		<-f.slots
		return refused(caller, err)
	}
	return nil
}

func refused(caller context.Context, err error) error {
	if errors.Is(caller.Err(), context.Canceled) {
		return newError(Cancelled, err)
	}
	return newError(Busy, err)
}

// get performs the request and reads at most limit bytes of the answer.
func (f *Fetcher) get(ctx context.Context, u *url.URL, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, newError(BadURL, err)
	}
	req.Header.Set("User-Agent", f.cfg.UserAgent)
	// Content negotiators hand out WebP or AVIF only to those who name them.
	req.Header.Set("Accept", "image/png,image/jpeg,*/*;q=0.5")
	req.Header.Set("Accept-Encoding", "identity")

	resp, err := f.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // nothing was written, nothing can be lost
	if resp.StatusCode != http.StatusOK {
		return nil, statusError(resp.StatusCode)
	}
	if resp.ContentLength > limit {
		return nil, tooLargeError(limit)
	}
	var buf bytes.Buffer
	// A promised length is only a promise: reserve little of it.
	buf.Grow(int(min(max(resp.ContentLength, 0), 1<<20) + bytes.MinRead))
	n, err := io.Copy(&buf, io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, tooLargeError(limit)
	}
	return buf.Bytes(), nil
}
