// Package access decides who may ask and how much: keys in a file, limits a minute for each, and the secret by which a
// marketplace's gateway vouches for its customers.
package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cutout/handlers/dialect"
)

// RapidAPI is the name under which requests that RapidAPI's gateway vouches for are counted.
const RapidAPI = "rapidapi"

// checkEvery is how often the file of keys is looked at for changes.
const checkEvery = time.Second

// maxKey bounds a key in bytes; longer ones are not looked at.
const maxKey = 512

// Config says who may ask. The zero value lets everybody.
type Config struct {
	File        string           // of keys; empty: none is needed, unless ProxySecret is set
	ProxySecret string           // that RapidAPI's gateway sends along; empty: it is not looked for
	Log         *slog.Logger     // may be nil
	Now         func() time.Time // nil: time.Now
}

// Gate admits requests. It is safe for concurrent use.
type Gate struct {
	cfg    Config
	secret [sha256.Size]byte

	table   atomic.Pointer[table]
	checked atomic.Int64 // when the file was last looked at, in Unix nanoseconds

	mu    sync.Mutex
	meter map[string]*meter // by name
}

// table is a file of keys as it was read.
type table struct {
	keys     []Key
	modified time.Time
	size     int64
	missing  bool // the file could not be looked at since; said once
}

// Open reads the keys.
func Open(cfg Config) (*Gate, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	g := &Gate{cfg: cfg, secret: sha256.Sum256([]byte(cfg.ProxySecret)), meter: map[string]*meter{}}
	if cfg.File != "" {
		t, err := readTable(cfg.File)
		if err != nil {
			return nil, err
		}
		g.table.Store(t)
		g.checked.Store(cfg.Now().UnixNano())
	}
	return g, nil
}

func readTable(path string) (*table, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	keys, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("keys: %s: %w", path, err)
	}
	return &table{keys: keys, modified: info.ModTime(), size: info.Size()}, nil
}

// current is the table, read again where the file has changed. A file that cannot be used leaves the last one in force.
func (g *Gate) current() *table {
	t := g.table.Load()
	now := g.cfg.Now().UnixNano()
	last := g.checked.Load()
	if now-last < int64(checkEvery) || !g.checked.CompareAndSwap(last, now) {
		return t
	}
	info, err := os.Stat(g.cfg.File)
	if err == nil && info.ModTime().Equal(t.modified) && info.Size() == t.size {
		return t
	}
	var next *table
	if err == nil {
		next, err = readTable(g.cfg.File)
	}
	if err != nil {
		if !t.missing || info != nil {
			g.cfg.Log.Error("the file of keys cannot be used, the last one stays in force", "error", err.Error())
		}
		stale := *t
		stale.missing = true
		if info != nil { // complain again only once it has changed again
			stale.modified, stale.size = info.ModTime(), info.Size()
		}
		g.table.Store(&stale)
		return &stale
	}
	g.table.Store(next)
	g.cfg.Log.Info("the file of keys was read again", "keys", len(next.keys))
	return next
}

// Pass is an admitted request.
type Pass struct {
	Name  string // of the key; empty where none is needed
	Quota dialect.Quota

	charge func(pixels int64)
}

// Charge counts the pixels of the request's pictures against its limit. They are known only once it is done, so that a
// limit may be overdrawn by one request at a time; the next one waits until that is made good.
func (p Pass) Charge(pixels int64) {
	if p.charge != nil && pixels > 0 {
		p.charge(pixels)
	}
}

// Admit lets a request in or says why not: an *dialect.Error with ReasonNoKey or ReasonBadKey and status 401, or with
// ReasonRateLimit, status 429 and the time after which to try again. The quota of the Pass is set in the last case too.
func (g *Gate) Admit(r *http.Request) (Pass, error) {
	if g.cfg.File == "" && g.cfg.ProxySecret == "" {
		return Pass{}, nil
	}
	if g.cfg.ProxySecret != "" {
		sent := sha256.Sum256([]byte(r.Header.Get("X-Rapidapi-Proxy-Secret")))
		if subtle.ConstantTimeCompare(sent[:], g.secret[:]) == 1 {
			return Pass{Name: RapidAPI}, nil
		}
	}
	presented := candidates(r)
	if len(presented) == 0 {
		return Pass{}, &dialect.Error{
			Status: http.StatusUnauthorized, Reason: dialect.ReasonNoKey, Public: "An API key is needed.",
		}
	}
	refused := &dialect.Error{Status: http.StatusUnauthorized, Reason: dialect.ReasonBadKey, Public: "The API key is not valid."}
	if g.cfg.File == "" {
		return Pass{}, refused
	}
	keys := g.current().keys
	found := -1
	for _, key := range presented {
		if i := find(keys, key); i >= 0 {
			found = i
		}
	}
	if found < 0 {
		return Pass{}, refused
	}
	return g.admit(keys[found])
}

// find is the index of a key, -1 where there is none. It looks at every line in the same way, whatever the key.
func find(keys []Key, key string) int {
	sum := sha256.Sum256([]byte(key))
	found := -1
	for i := range keys {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(sum[:], keys[i].Sum[:]), i, found)
	}
	return found
}

// candidates lists the keys of a request, from wherever the clients of any dialect put theirs.
func candidates(r *http.Request) []string {
	var found []string
	add := func(key string) {
		if key = strings.TrimSpace(key); key != "" && len(key) <= maxKey {
			found = append(found, key)
		}
	}
	for _, name := range []string{"X-Api-Key", "X-RapidAPI-Key", "A4A-CLIENT-API-KEY"} {
		add(r.Header.Get(name))
	}
	if authorization := r.Header.Get("Authorization"); authorization != "" {
		scheme, key, ok := strings.Cut(authorization, " ")
		if !ok {
			key = scheme // some clients send the bare key
		}
		add(key)
	}
	if strings.Contains(r.URL.RawQuery, "api_key") {
		add(r.URL.Query().Get("api_key"))
	}
	return found
}

// admit counts a request of a key against its limits.
func (g *Gate) admit(k Key) (Pass, error) {
	pass := Pass{Name: k.Name}
	if k.Requests == 0 && k.Megapixels == 0 {
		return pass, nil
	}
	now := g.cfg.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.meter[k.Name]
	if m == nil || m.key.Requests != k.Requests || m.key.Megapixels != k.Megapixels {
		m = newMeter(k, now)
		g.meter[k.Name] = m
	}
	m.requests.refill(now)
	m.pixels.refill(now)
	var wait time.Duration
	switch {
	case k.Requests > 0 && m.requests.level < 1:
		wait = m.requests.until(1)
	case k.Megapixels > 0 && m.pixels.level <= 0:
		wait = m.pixels.until(1)
	default:
		m.requests.level--
		if k.Megapixels > 0 {
			pass.charge = func(pixels int64) {
				g.mu.Lock()
				defer g.mu.Unlock()
				m.pixels.level -= float64(pixels)
			}
		}
	}
	pass.Quota = m.quota(k, now)
	if wait > 0 {
		return pass, &dialect.Error{
			Status: http.StatusTooManyRequests, Reason: dialect.ReasonRateLimit,
			Public: "The limit of the API key is reached.", RetryAfter: wait,
		}
	}
	return pass, nil
}

// meter is what a key has left.
type meter struct {
	key              Key
	requests, pixels bucket
}

func newMeter(k Key, now time.Time) *meter {
	return &meter{key: k, requests: newBucket(k.Requests, now), pixels: newBucket(k.Megapixels*1e6, now)}
}

// quota tells of the requests where those are limited, else of the megapixels.
func (m *meter) quota(k Key, now time.Time) dialect.Quota {
	b, unit := &m.requests, 1.
	if k.Requests == 0 {
		b, unit = &m.pixels, 1e6
	}
	return dialect.Quota{
		Limit: int64(b.size / unit), Remaining: int64(max(b.level, 0) / unit), Reset: now.Add(b.until(b.size)),
	}
}

// bucket is a token bucket that holds what may be used in a minute and is refilled steadily.
type bucket struct {
	size, level float64
	filled      time.Time
}

func newBucket(size float64, now time.Time) bucket {
	return bucket{size: size, level: size, filled: now}
}

func (b *bucket) refill(now time.Time) {
	if d := now.Sub(b.filled); d > 0 {
		b.level = min(b.size, b.level+b.size*d.Minutes())
		b.filled = now
	}
}

// until is the time until the bucket holds so much.
func (b *bucket) until(level float64) time.Duration {
	if b.level >= level || b.size == 0 {
		return 0
	}
	return time.Duration((level - b.level) / b.size * float64(time.Minute))
}

// ErrName is wrapped by errors that say that a name cannot be used for a key.
var ErrName = errors.New("names are 1 to 64 letters, digits, dots, dashes and underscores")
