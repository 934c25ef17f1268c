package access

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cutout/handlers/dialect"
)

// clock is a time that tests move on.
type clock struct{ ns atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(1_000_000, c.ns.Load()) }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }

func line(name, secret string, limits ...any) string {
	sum := sha256.Sum256([]byte(secret))
	s := name + " " + hex.EncodeToString(sum[:])
	for _, l := range limits {
		s += " " + fmt.Sprint(l)
	}
	return s
}

func write(t *testing.T, path string, lines ...string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
}

func gate(t *testing.T, lines ...string) (*Gate, *clock, string) {
	t.Helper()
	path, c := filepath.Join(t.TempDir(), "keys"), &clock{}
	write(t, path, lines...)
	g, err := Open(Config{File: path, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	return g, c, path
}

func request(header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/x", http.NoBody)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func admit(t *testing.T, g *Gate, r *http.Request) (Pass, string) {
	t.Helper()
	pass, err := g.Admit(r)
	if err == nil {
		return pass, ""
	}
	var e *dialect.Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	if want := map[string]int{dialect.ReasonNoKey: 401, dialect.ReasonBadKey: 401, dialect.ReasonRateLimit: 429}[e.Reason]; e.Status != want {
		t.Errorf("%s comes with status %d", e.Reason, e.Status)
	}
	return pass, e.Reason
}

func TestEverybodyIsLetInWithoutKeys(t *testing.T) {
	t.Parallel()
	g, err := Open(Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*http.Request{request(), request("X-Api-Key", "whatever")} {
		if pass, reason := admit(t, g, r); reason != "" || pass.Name != "" {
			t.Errorf("got %+v, %q", pass, reason)
		}
	}
}

// Keys are taken from wherever the clients of any service put them.
func TestPlacesOfAKey(t *testing.T) {
	t.Parallel()
	g, _, _ := gate(t, "# the keys", "", line("alice", "secret")+" # hers", line("bob", "other"))
	for _, tc := range []struct {
		header []string
		query  string
		name   string
		reason string
	}{
		{header: []string{"X-RapidAPI-Key", "secret"}, name: "alice"},
		{header: []string{"x-api-key", "secret"}, name: "alice"},
		{header: []string{"A4A-CLIENT-API-KEY", "secret"}, name: "alice"},
		{header: []string{"Authorization", "secret"}, name: "alice"},
		{header: []string{"Authorization", "Token secret"}, name: "alice"},
		{header: []string{"Authorization", "JWT other"}, name: "bob"},
		{header: []string{"Authorization", "Bearer  other "}, name: "bob"},
		{query: "?api_key=secret&x=1", name: "alice"},
		{header: []string{"X-Api-Key", "wrong", "Authorization", "other"}, name: "bob"},
		{reason: dialect.ReasonNoKey},
		{header: []string{"X-Api-Key", ""}, reason: dialect.ReasonNoKey},
		{header: []string{"Authorization", "Bearer "}, reason: dialect.ReasonNoKey},
		{header: []string{"X-Api-Key", "Secret"}, reason: dialect.ReasonBadKey},
		{header: []string{"X-Api-Key", "secre"}, reason: dialect.ReasonBadKey},
		{header: []string{"X-Api-Key", hex.EncodeToString([]byte("secret"))}, reason: dialect.ReasonBadKey},
		{header: []string{"X-Api-Key", strings.Repeat("x", 1000)}, reason: dialect.ReasonNoKey},
		{query: "?key=secret", reason: dialect.ReasonNoKey},
		{header: []string{"X-RapidAPI-Proxy-Secret", ""}, reason: dialect.ReasonNoKey},
	} {
		r := request(tc.header...)
		r.URL.RawQuery = strings.TrimPrefix(tc.query, "?")
		pass, reason := admit(t, g, r)
		if pass.Name != tc.name || reason != tc.reason {
			t.Errorf("%v %s: %q, %q", tc.header, tc.query, pass.Name, reason)
		}
	}
}

func TestProxySecret(t *testing.T) {
	t.Parallel()
	alone, err := Open(Config{ProxySecret: "vouch"})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "keys")
	write(t, path, line("alice", "secret"))
	both, err := Open(Config{ProxySecret: "vouch", File: path})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range []*Gate{alone, both} {
		if pass, reason := admit(t, g, request("X-RapidAPI-Proxy-Secret", "vouch", "X-RapidAPI-Key", "anything")); reason != "" || pass.Name != RapidAPI {
			t.Errorf("with the secret: %+v, %q", pass, reason)
		}
		if _, reason := admit(t, g, request("X-RapidAPI-Proxy-Secret", "wrong", "X-RapidAPI-Key", "anything")); reason != dialect.ReasonBadKey {
			t.Errorf("with a wrong one: %q", reason)
		}
		if _, reason := admit(t, g, request()); reason != dialect.ReasonNoKey {
			t.Errorf("with none: %q", reason)
		}
	}
	if pass, _ := admit(t, both, request("X-Api-Key", "secret")); pass.Name != "alice" {
		t.Errorf("a key beside the secret: %+v", pass)
	}
}

func TestRequestsAMinute(t *testing.T) {
	t.Parallel()
	g, c, _ := gate(t, line("alice", "secret", 3), line("bob", "other"))
	for i := range 3 {
		pass, reason := admit(t, g, request("X-Api-Key", "secret"))
		want := dialect.Quota{Limit: 3, Remaining: int64(2 - i), Reset: c.now().Add(time.Duration(i+1) * 20 * time.Second)}
		if reason != "" || pass.Quota != want {
			t.Errorf("request %d: %q, %+v, want %+v", i, reason, pass.Quota, want)
		}
	}
	pass, err := g.Admit(request("X-Api-Key", "secret"))
	var e *dialect.Error
	if !errors.As(err, &e) || e.Reason != dialect.ReasonRateLimit || e.RetryAfter != 20*time.Second || pass.Quota.Remaining != 0 || pass.Quota.Limit != 3 || pass.Name != "alice" {
		t.Errorf("over the limit: %v, %+v", err, pass)
	}
	if pass, reason := admit(t, g, request("X-Api-Key", "other")); reason != "" || pass.Quota != (dialect.Quota{}) {
		t.Errorf("another key: %q, %+v", reason, pass.Quota)
	}
	c.advance(20 * time.Second)
	if _, reason := admit(t, g, request("X-Api-Key", "secret")); reason != "" {
		t.Errorf("after the wait: %q", reason)
	}
	if _, reason := admit(t, g, request("X-Api-Key", "secret")); reason != dialect.ReasonRateLimit {
		t.Errorf("twice after the wait: %q", reason)
	}
}

func TestMegapixelsAMinute(t *testing.T) {
	t.Parallel()
	g, c, _ := gate(t, line("alice", "secret", 0, 60))
	pass, reason := admit(t, g, request("X-Api-Key", "secret"))
	if reason != "" || pass.Quota.Limit != 60 || pass.Quota.Remaining != 60 {
		t.Fatalf("%q, %+v", reason, pass.Quota)
	}
	pass.Charge(80e6) // overdrawn by 20
	if _, reason := admit(t, g, request("X-Api-Key", "secret")); reason != dialect.ReasonRateLimit {
		t.Errorf("overdrawn: %q", reason)
	}
	c.advance(21 * time.Second)
	if pass, reason := admit(t, g, request("X-Api-Key", "secret")); reason != "" || pass.Quota.Remaining != 1 {
		t.Errorf("made good: %q, %+v", reason, pass.Quota)
	}
}

func TestTheFileIsReadAgain(t *testing.T) {
	t.Parallel()
	g, c, path := gate(t, line("alice", "secret", 1))
	if _, reason := admit(t, g, request("X-Api-Key", "secret")); reason != "" {
		t.Fatal(reason)
	}
	write(t, path, line("bob", "other"), line("alice", "secret", 10))
	if _, reason := admit(t, g, request("X-Api-Key", "other")); reason != dialect.ReasonBadKey {
		t.Errorf("at once: %q", reason)
	}
	c.advance(2 * time.Second)
	if pass, reason := admit(t, g, request("X-Api-Key", "other")); reason != "" || pass.Name != "bob" {
		t.Errorf("a new key: %q", reason)
	}
	if pass, reason := admit(t, g, request("X-Api-Key", "secret")); reason != "" || pass.Quota.Limit != 10 {
		t.Errorf("a new limit: %q, %+v", reason, pass.Quota)
	}
	write(t, path, "nonsense in the file")
	c.advance(2 * time.Second)
	if _, reason := admit(t, g, request("X-Api-Key", "other")); reason != "" {
		t.Errorf("after a broken file: %q", reason)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	c.advance(2 * time.Second)
	if _, reason := admit(t, g, request("X-Api-Key", "other")); reason != "" {
		t.Errorf("without a file: %q", reason)
	}
	write(t, path, line("carol", "third"))
	c.advance(2 * time.Second)
	if _, reason := admit(t, g, request("X-Api-Key", "other")); reason != dialect.ReasonBadKey {
		t.Errorf("a withdrawn key: %q", reason)
	}
	if pass, _ := admit(t, g, request("X-Api-Key", "third")); pass.Name != "carol" {
		t.Errorf("the last file: %+v", pass)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for want, text := range map[string]string{
		"line 1: want: name":            "alice",
		"line 2: want: name":            "\n" + line("a", "x", 1, 2, 3),
		"names are 1 to 64":             line("a/b", "x"),
		"no SHA-256":                    "alice 1234",
		`limit "-1"`:                    line("a", "x", -1),
		`limit "NaN"`:                   line("a", "x", 1, "NaN"),
		`limit "Inf"`:                   line("a", "x", "Inf"),
		"the key of another line":       line("a", "x") + "\n" + line("b", "x"),
		"line 3: a has other limits":    line("a", "x", 5) + "\n\n" + line("a", "y", 6),
		`"rapidapi": names are 1 to 64`: line("rapidapi", "x"),
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	keys, err := Parse([]byte(line("a", "x", 5) + "\r\n" + line("a", "y", 5) + "\n# none"))
	if err != nil || len(keys) != 2 || keys[1].Requests != 5 {
		t.Errorf("%v, %v", keys, err)
	}
	if _, err := Open(Config{File: filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("a missing file is taken")
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, limits := range [][2]float64{{0, 0}, {60, 0}, {0, 1.5}, {60, 500}} {
		secret, k, err := New("alice", limits[0], limits[1])
		if err != nil {
			t.Fatal(err)
		}
		if seen[secret] || len(secret) < 30 {
			t.Errorf("key %q", secret)
		}
		seen[secret] = true
		keys, err := Parse([]byte(k.String()))
		if err != nil || len(keys) != 1 || keys[0] != k || find(keys, secret) != 0 {
			t.Errorf("%s: %v, %v", k, keys, err)
		}
	}
	for _, name := range []string{"", "a b", "ä", strings.Repeat("x", 65)} {
		if _, _, err := New(name, 0, 0); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, _, err := New("a", -1, 0); err == nil {
		t.Error("a negative limit is taken")
	}
}

// For the race detector: many requests of one key while its file changes; no more than the limit are let in.
func TestManyAtATime(t *testing.T) {
	t.Parallel()
	g, c, path := gate(t, line("alice", "secret", 100))
	var admitted atomic.Int64
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for range 50 {
				if pass, err := g.Admit(request("X-Api-Key", "secret")); err == nil {
					admitted.Add(1)
					pass.Charge(1)
				}
			}
			write(t, path, line("alice", "secret", 100), fmt.Sprintf("# %d", i))
			c.advance(time.Millisecond) // a minute's share of it is next to nothing
		})
	}
	group.Wait()
	if n := admitted.Load(); n != 100 {
		t.Errorf("%d requests were let in", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(line("a", "x", 1, 2) + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := Parse(data)
		if err != nil {
			return
		}
		for _, k := range keys {
			again, err := Parse([]byte(k.String()))
			if err != nil || len(again) != 1 || again[0] != k {
				t.Errorf("%v becomes %v, %v", k, again, err)
			}
		}
	})
}

// What admitting a request costs, among a hundred keys and with both limits.
func BenchmarkAdmit(b *testing.B) {
	var lines []string
	for i := range 100 {
		lines = append(lines, line(fmt.Sprint("name", i), fmt.Sprint("secret", i), 1e9, 1e9))
	}
	path := filepath.Join(b.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		b.Fatal(err)
	}
	g, err := Open(Config{File: path})
	if err != nil {
		b.Fatal(err)
	}
	r := request("X-Api-Key", "secret50")
	for b.Loop() {
		pass, err := g.Admit(r)
		if err != nil {
			b.Fatal(err)
		}
		pass.Charge(1)
	}
}
