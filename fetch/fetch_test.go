package fetch

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// loopbackOnly is the configuration of every test that opens a socket: nothing beyond loopback is reached.
func loopbackOnly(t testing.TB) Config {
	return Config{OnlyAllowed: true, Allow: prefixes(t, "127.0.0.0/8", "::1/128")}
}

func newFetcher(t testing.TB, cfg Config) *Fetcher {
	t.Helper()
	f, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func serve(t testing.TB, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// wantKind checks the kind of a failure and that nothing of the inside shows in its public text.
func wantKind(t *testing.T, err error, kind Kind) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a %s error", err, kind)
	}
	if e.Kind != kind {
		t.Fatalf("got %s (%v), want %s", e.Kind, err, kind)
	}
	if e.Public == "" {
		t.Fatalf("%s: no public text", kind)
	}
	for _, secret := range []string{"127.0.0.1", "localhost", "169.254", "::1", "secret", "dial", "lookup"} {
		if strings.Contains(e.Public, secret) {
			t.Fatalf("%s: public text %q leaks %q", kind, e.Public, secret)
		}
	}
	return e
}

func TestGet(t *testing.T) {
	t.Parallel()
	var got http.Header
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Clone()
		w.Header().Set("Content-Type", "text/html") // not looked at
		_, _ = fmt.Fprint(w, r.URL.RequestURI())
	})
	f := newFetcher(t, loopbackOnly(t))
	res, err := f.Get(t.Context(), s.URL+"/dir/my photo ü.jpg?a=b c", 1000)
	if err != nil {
		t.Fatal(err)
	}
	if want := "/dir/my%20photo%20%C3%BC.jpg?a=b%20c"; string(res.Body) != want {
		t.Errorf("server saw %q, want %q", res.Body, want)
	}
	if want := "my photo ü.jpg"; res.Name != want {
		t.Errorf("name %q, want %q", res.Name, want)
	}
	if got.Get("User-Agent") != "cutout" || got.Get("Accept-Encoding") != "identity" {
		t.Errorf("headers %v", got)
	}
	for _, h := range []string{"Authorization", "Cookie", "Referer", "X-Forwarded-For"} {
		if got.Get(h) != "" {
			t.Errorf("sent %s", h)
		}
	}
}

func TestGetNeverDecompresses(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	_, _ = zw.Write(make([]byte, 1<<20))
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	})
	res, err := newFetcher(t, loopbackOnly(t)).Get(t.Context(), s.URL, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(res.Body, packed.Bytes()) {
		t.Errorf("got %d bytes, want the %d sent", len(res.Body), packed.Len())
	}
}

func TestGetLimitsBytes(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.URL.Query().Get("n"))
		if err != nil {
			t.Error(err)
		}
		if r.URL.Query().Has("chunked") {
			w.(http.Flusher).Flush() // no Content-Length
		}
		_, _ = w.Write(make([]byte, n))
	})
	cfg := loopbackOnly(t)
	cfg.MaxBytes = 5000
	f := newFetcher(t, cfg)
	for _, tc := range []struct {
		n     int
		limit int64
		ok    bool
	}{
		{0, 100, true}, {99, 100, true}, {100, 100, true}, {101, 100, false}, {4000, 100, false},
		{5000, 0, true}, {5001, 0, false}, {5001, 1 << 40, false}, {5000, -1, true},
	} {
		for _, suffix := range []string{"", "&chunked"} {
			res, err := f.Get(t.Context(), fmt.Sprintf("%s/?n=%d%s", s.URL, tc.n, suffix), tc.limit)
			switch {
			case !tc.ok:
				wantKind(t, err, TooLarge)
			case err != nil:
				t.Errorf("%d%s of %d: %v", tc.n, suffix, tc.limit, err)
			case len(res.Body) != tc.n:
				t.Errorf("%d%s: got %d bytes", tc.n, suffix, len(res.Body))
			}
		}
	}
}

// An origin that never stops sending must be cut off at the limit, not at the deadline.
func TestGetCutsEndlessStream(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		chunk := make([]byte, 64<<10)
		for r.Context().Err() == nil {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	_, err := newFetcher(t, loopbackOnly(t)).Get(t.Context(), s.URL, 1<<20)
	wantKind(t, err, TooLarge)
}

func TestGetStatus(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		code, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Secret", "secret")
		w.WriteHeader(code)
		if code != http.StatusNoContent && code != http.StatusNotModified {
			_, _ = fmt.Fprint(w, "secret")
		}
	})
	f := newFetcher(t, loopbackOnly(t))
	for _, code := range []int{204, 206, 301, 304, 401, 403, 404, 418, 429, 500, 503, 599} {
		_, err := f.Get(t.Context(), s.URL+"/"+strconv.Itoa(code), 100)
		e := wantKind(t, err, Status)
		if e.Code != code || !strings.Contains(e.Public, strconv.Itoa(code)) {
			t.Errorf("%d: code %d, text %q", code, e.Code, e.Public)
		}
	}
}

func TestGetRedirects(t *testing.T) {
	t.Parallel()
	var referers atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Referer() != "" {
			referers.Add(1)
		}
		q := r.URL.Query()
		if to := q.Get("to"); to != "" {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusFound)
			return
		}
		n, err := strconv.Atoi(q.Get("n"))
		if err != nil {
			t.Error(err)
		}
		if n > 0 {
			http.Redirect(w, r, "/hop?n="+strconv.Itoa(n-1), http.StatusMovedPermanently)
			return
		}
		_, _ = fmt.Fprint(w, "arrived")
	})
	f := newFetcher(t, loopbackOnly(t))

	res, err := f.Get(t.Context(), s.URL+"/first.jpg?n=5", 100)
	if err != nil {
		t.Fatal(err)
	}
	if string(res.Body) != "arrived" || res.Name != "first.jpg" {
		t.Errorf("got %q named %q", res.Body, res.Name)
	}
	_, err = f.Get(t.Context(), s.URL+"/?n=6", 100)
	wantKind(t, err, Redirects)
	if referers.Load() != 0 {
		t.Error("redirects carried a Referer")
	}

	for to, kind := range map[string]Kind{
		"http://169.254.169.254/latest/meta-data/": Address,
		"http://10.0.0.1/":                         Address,
		"file:///etc/passwd":                       BadScheme,
		"gopher://127.0.0.1/":                      BadScheme,
		"http://user:secret@127.0.0.1/":            Credentials,
		"http://127.0.0.1:bad/":                    Redirects,
	} {
		_, err := f.Get(t.Context(), s.URL+"/?to="+to, 100)
		wantKind(t, err, kind)
	}
}

func TestGetRefusesAddresses(t *testing.T) {
	t.Parallel()
	cfg := loopbackOnly(t)
	f := newFetcher(t, cfg)
	for _, u := range []string{
		"http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "http://192.168.0.1:8080/", "http://[fe80::1]/",
		"http://[::ffff:10.0.0.1]/", "http://[64:ff9b::a00:1]/", "https://100.100.100.200/", "http://0.0.0.0/", "http://8.8.8.8/",
	} {
		_, err := f.Get(t.Context(), u, 100)
		wantKind(t, err, Address)
	}

	// Without the opened range the loopback server is out of reach, by address and by name.
	s := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("reached") })
	cfg.Allow = prefixes(t, "192.0.2.0/24")
	f = newFetcher(t, cfg)
	_, err := f.Get(t.Context(), s.URL, 100)
	wantKind(t, err, Address)
	_, err = f.Get(t.Context(), strings.Replace(s.URL, "127.0.0.1", "localhost", 1), 100)
	wantKind(t, err, Address)
}

func TestGetDoesNotUseProxy(t *testing.T) {
	proxy := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the proxy was asked") })
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	if f := newFetcher(t, loopbackOnly(t)); f.transport.Proxy != nil {
		t.Fatal("a proxy would be used")
	}
	// Loopback targets never go through a proxy, so another address has to show it.
	_, err := newFetcher(t, loopbackOnly(t)).Get(t.Context(), "http://192.0.2.1/", 100)
	wantKind(t, err, Address)
}

// Not even a name server outside of the opened ranges is asked.
func TestGetHostNotFound(t *testing.T) {
	t.Parallel()
	f := newFetcher(t, Config{OnlyAllowed: true, Allow: prefixes(t, "192.0.2.0/24"), Timeout: 5 * time.Second})
	_, err := f.Get(t.Context(), "http://no-such-host.invalid/a.jpg", 100)
	wantKind(t, err, HostNotFound)
}

func TestLocalResolverAsksOnlyOpenedNameServers(t *testing.T) {
	t.Parallel()
	r := localResolver(newGuard(prefixes(t, "10.0.0.0/8"), true), time.Second)
	for _, address := range []string{"127.0.0.53:53", "8.8.8.8:53", "[fd00::1]:53", "nonsense"} {
		conn, err := r.Dial(t.Context(), "udp", address)
		if err == nil {
			_ = conn.Close()
		}
		if !errors.Is(err, errAddress) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestGetConnectionFailures(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	f := newFetcher(t, loopbackOnly(t))
	_, err = f.Get(t.Context(), "http://"+closed+"/a.jpg", 100)
	if e := wantKind(t, err, Connection); !errors.Is(e, syscall.ECONNREFUSED) {
		t.Errorf("cause %v", e.Err)
	}

	half := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write(make([]byte, 50))
	})
	_, err = f.Get(t.Context(), half.URL, 1000)
	wantKind(t, err, Connection)

	mute := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	_, err = f.Get(t.Context(), mute.URL, 1000)
	wantKind(t, err, Connection)
}

func TestGetTLS(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "ok") }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // the refused handshake is what is wanted
	s.StartTLS()
	t.Cleanup(s.Close)

	cfg := loopbackOnly(t)
	_, err := newFetcher(t, cfg).Get(t.Context(), s.URL, 100)
	wantKind(t, err, TLS)

	plain := serve(t, func(http.ResponseWriter, *http.Request) {})
	_, err = newFetcher(t, cfg).Get(t.Context(), strings.Replace(plain.URL, "http:", "https:", 1), 100)
	wantKind(t, err, TLS)

	cfg.RootCAs = s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	res, err := newFetcher(t, cfg).Get(t.Context(), s.URL, 100)
	if err != nil || string(res.Body) != "ok" {
		t.Errorf("got %v, %v", res, err)
	}
}

func TestGetTimesOut(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	stall := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			_, _ = fmt.Fprint(w, "begun")
			w.(http.Flusher).Flush()
		}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}
	s := serve(t, stall)
	t.Cleanup(func() { close(release) })
	cfg := loopbackOnly(t)
	cfg.Timeout = 100 * time.Millisecond
	f := newFetcher(t, cfg)
	for _, path := range []string{"/header", "/body"} {
		_, err := f.Get(t.Context(), s.URL+path, 100)
		wantKind(t, err, Timeout)
	}

	cfg.Timeout = time.Minute
	f = newFetcher(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := f.Get(ctx, s.URL, 100)
	if e := wantKind(t, err, Timeout); !errors.Is(e, context.DeadlineExceeded) {
		t.Errorf("cause %v", e.Err)
	}

	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err = f.Get(ctx, s.URL, 100)
	if e := wantKind(t, err, Cancelled); !errors.Is(e, context.Canceled) {
		t.Errorf("cause %v", e.Err)
	}
}

func TestGetBoundsConcurrency(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int32
	s := serve(t, func(http.ResponseWriter, *http.Request) {
		n := now.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		time.Sleep(5 * time.Millisecond) // gives the others time to come in, were they let
		now.Add(-1)
	})
	cfg := loopbackOnly(t)
	cfg.MaxConcurrent, cfg.Rate = 3, 1e6
	f := newFetcher(t, cfg)
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			if _, err := f.Get(t.Context(), s.URL, 100); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := most.Load(); got > 3 {
		t.Errorf("%d fetches at a time, 3 are allowed", got)
	}
}

func TestGetBusy(t *testing.T) {
	t.Parallel()
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	cfg := loopbackOnly(t)
	cfg.MaxConcurrent, cfg.Rate, cfg.Timeout = 2, 0.001, 5*time.Second
	f := newFetcher(t, cfg)
	for range 2 { // the burst
		if _, err := f.Get(t.Context(), s.URL, 100); err != nil {
			t.Fatal(err)
		}
	}
	begun := time.Now()
	_, err := f.Get(t.Context(), s.URL, 100)
	wantKind(t, err, Busy)
	if took := time.Since(begun); took > time.Second {
		t.Errorf("a refusal that was certain took %v", took)
	}
	if len(f.slots) != 0 {
		t.Error("a slot was not given back")
	}

	cfg.Timeout, cfg.Rate = 50*time.Millisecond, 1e6
	f = newFetcher(t, cfg)
	f.slots <- struct{}{}
	f.slots <- struct{}{}
	_, err = f.Get(t.Context(), s.URL, 100)
	wantKind(t, err, Busy)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = f.Get(ctx, s.URL, 100)
	wantKind(t, err, Cancelled)
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"timeout":     {Timeout: -1},
		"bytes":       {MaxBytes: -1},
		"concurrency": {MaxConcurrent: -1},
		"rate":        {Rate: -1},
		"invalid":     {Allow: []netip.Prefix{{}}},
		"mapped":      {Allow: prefixes(t, "::ffff:10.0.0.0/104")},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(Config{}); err != nil {
		t.Error(err)
	}
	_, err := newFetcher(t, Config{OnlyAllowed: true}).Get(t.Context(), "http://127.0.0.1/", 100)
	wantKind(t, err, Address)
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	e := newError(Timeout, os.ErrDeadlineExceeded)
	if got := e.Error(); got != "fetch: timeout: i/o timeout" || !errors.Is(e, os.ErrDeadlineExceeded) {
		t.Errorf("got %q", got)
	}
	if got := statusError(599).Error(); got != "fetch: status: The server of the URL answered with status 599." {
		t.Errorf("got %q", got)
	}
	for _, kind := range []Kind{
		BadURL, BadScheme, Credentials, Address, HostNotFound, Connection, TLS, Timeout, TooLarge, Redirects, Busy, Cancelled,
	} {
		if publicText[kind] == "" {
			t.Errorf("%s: no public text", kind)
		}
	}
}
