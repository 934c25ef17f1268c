package handlers_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cutout/admission"
	"cutout/handlers"
	"cutout/pipeline"
)

// gated starts a server before whose processor stands a queue, as it does before the pipeline. While stuck is closed
// work goes through, until then it takes its slot and stays.
func gated(t *testing.T, cfg admission.Config, change func(*handlers.Config)) (b *bundle, gate *admission.Controller, finish func()) {
	t.Helper()
	gate, err := admission.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b = start(t, func(c *handlers.Config) {
		c.Admission = gate
		if change != nil {
			change(c)
		}
	})
	stuck := make(chan struct{})
	finish = sync.OnceFunc(func() { close(stuck) })
	t.Cleanup(finish)
	b.processor.run = func(ctx context.Context, image []byte, o pipeline.Options) (*pipeline.Result, error) {
		lease, err := gate.Enter(ctx, admission.Demand{})
		if err != nil {
			return nil, err
		}
		defer lease.Release(true)
		select {
		case <-stuck:
			return formatted(ctx, image, o)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return b, gate, finish
}

// fill takes every slot and every place in the queue of a gate.
func fill(t *testing.T, gate *admission.Controller, slots, queue int) (empty func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(admission.Visit(context.Background()))
	var all sync.WaitGroup
	for range slots + queue {
		all.Go(func() {
			if l, err := gate.Enter(ctx, admission.Demand{}); err == nil {
				<-ctx.Done()
				l.Release(false)
			}
		})
	}
	eventually(t, "the queue is full", func() bool {
		s := gate.Stats()
		return s.Running[admission.Interactive] == slots && s.Waiting[admission.Interactive] == queue
	})
	empty = sync.OnceFunc(func() {
		cancel()
		all.Wait()
	})
	t.Cleanup(empty)
	return empty
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// busy is how each dialect says that it has no time.
var busy = []struct {
	name, method, path string
	contentType        string // of the body; empty: a form with the field
	field, body        string
	status             int
	want               string
}{
	{"api4ai", "POST", "/v1/results", "", "image", photo, 503, `{"message":"The server is busy, try again later."}`},
	{"api4ai people", "POST", "/img-bg-removal/v1/people/results", "", "image", photo, 503, `{"message":"The server is busy, try again later."}`},
	{"removebg", "POST", removeBG, "", "image_file", photo, 503, `{"errors":[{"title":"The server is busy, try again later.","code":"service_unavailable"}]}`},
	{"apisphere", "POST", apiSphere, "", "image", photo, 503, `"error":{"code":"UPSTREAM_ERROR","message":"The server is busy, try again later.","details":[]}}`},
	{"rembg", "POST", rembgPath, "", "file", photo, 503, `{"detail":"The server is busy, try again later."}`},
	{"rembg by URL", "GET", rembgPath + "?url=http://a.example/a.jpg", "", "", "", 503, `{"detail":"The server is busy, try again later."}`},
	{"photoroom", "POST", photoRoom, "", "image_file", photo, 503, `{"detail":"The server is busy, try again later.","status_code":503,"type":"overload"}`},
	{"ximilar", "POST", "/removebg/fast/removebg", "application/json", "", `{"records":[{"_base64":"` + photo + `"}]}`, 503, `"error_description":"The server is busy, try again later."`},
}

// What cannot be served in time is refused at once in the dialect's own way, before its body is there, while probes are
// answered; afterwards everything is as before.
func TestOverloadInEachDialect(t *testing.T) {
	t.Parallel()
	b, gate, finish := gated(t, admission.Config{Slots: 1, Queue: 2}, nil)
	finish()
	empty := fill(t, gate, 1, 2)
	send := func(i int) reply {
		tc := busy[i]
		contentType, body := tc.contentType, []byte(tc.body)
		if tc.field != "" {
			contentType, body = form(t, file(tc.field, "a.jpg", tc.body))
		}
		return b.ask(b.client, tc.method, tc.path, contentType, body)
	}
	for i, tc := range busy {
		got := send(i)
		if got.status != tc.status || !strings.Contains(got.body, tc.want) {
			t.Errorf("%s: %d %s", tc.name, got.status, got.body)
		}
		if after, err := strconv.Atoi(got.header.Get("Retry-After")); err != nil || after < 1 {
			t.Errorf("%s: Retry-After %q", tc.name, got.header.Get("Retry-After"))
		}
	}
	if b.processor.count() != 0 || len(b.fetcher.urls()) != 0 {
		t.Error("something was done for requests that were refused")
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/v1/version"} {
		if got := b.get(path); got.status != 200 {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	if !strings.Contains(b.get("/metrics").body, `cutout_failures_total{dialect="photoroom",reason="overload"} 1`) {
		t.Error("the refusals are not counted")
	}
	if log := b.log.String(); !strings.Contains(log, `"level":"WARN","msg":"request"`) || strings.Contains(log, `"level":"ERROR"`) {
		t.Error("refusals are no errors of the server, but they are worth a warning")
	}
	empty()
	for i, tc := range busy {
		if tc.name == "rembg by URL" || tc.name == "ximilar" {
			continue // there is no such file, and there are no jobs here
		}
		if got := send(i); got.status != 200 {
			t.Errorf("%s, afterwards: %d %s", tc.name, got.status, got.body)
		}
	}
}

// The refusal of the processor itself, once the body was read, has the same shape as that at the door.
func TestOverloadBehindTheDoor(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.processor.run = func(context.Context, []byte, pipeline.Options) (*pipeline.Result, error) {
		return nil, fmt.Errorf("pipeline: %w", &admission.Error{Reason: admission.ReasonWait, RetryAfter: 2600 * time.Millisecond})
	}
	for _, tc := range busy {
		if tc.field == "" {
			continue
		}
		contentType, body := form(t, file(tc.field, "a.jpg", tc.body))
		got := b.ask(b.client, tc.method, tc.path, contentType, body)
		if got.status != tc.status || !strings.Contains(got.body, tc.want) || got.header.Get("Retry-After") != "3" {
			t.Errorf("%s: %d %s, retry after %q", tc.name, got.status, got.body, got.header.Get("Retry-After"))
		}
	}
}

// A refusal does not wait for a body that takes its time, and reaches a client that only writes.
func TestOverloadIsToldBeforeTheBody(t *testing.T) {
	t.Parallel()
	b, gate, finish := gated(t, admission.Config{Slots: 1, Queue: 1}, nil)
	finish()
	fill(t, gate, 1, 1)
	for _, length := range []string{"Content-Length: 100000", "Content-Length: 30000000", "Transfer-Encoding: chunked", "Expect: 100-continue\r\nContent-Length: 9000000"} {
		conn := b.dial()
		head := "POST /v1/results HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\n" + length + "\r\n\r\n"
		if _, err := io.WriteString(conn, head); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second)) // the body never comes; its own timeout is a minute
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%s: %v", length, err)
			continue
		}
		if res.StatusCode != 503 {
			t.Errorf("%s: %d", length, res.StatusCode)
		}
		_ = conn.Close()
	}
	if got := b.raw(rawPost("multipart/form-data; boundary=B", strings.Repeat("x", 8<<20))); got.status != 503 {
		t.Errorf("a client that only writes: %d", got.status)
	}
	// A short one keeps its connection.
	contentType, body := form(t, file("image", "a.jpg", photo))
	conn := b.dial()
	reader := bufio.NewReader(conn)
	for range 3 {
		if _, err := fmt.Fprintf(conn, "POST /v1/results HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", contentType, len(body), body); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := read(t, res); got.status != 503 {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
}

// Bodies take no more memory together than they may: the one that is too much is refused, however small its parts.
func TestBodiesShareTheirMemory(t *testing.T) {
	t.Parallel()
	b, gate, finish := gated(t, admission.Config{Bodies: 1 << 20}, nil)
	contentType, body := form(t, file("image", "a.jpg", strings.Repeat("x", 700<<10)))
	first := make(chan reply, 1)
	go func() { first <- b.ask(b.quirky, "POST", "/v1/results", contentType, body) }()
	eventually(t, "the first one computes", func() bool { return gate.Stats().Running[admission.Interactive] == 1 })
	got := b.ask(b.client, "POST", "/v1/results", contentType, body)
	if got.status != 503 || got.body != `{"message":"The server is busy, try again later."}` || got.header.Get("Retry-After") == "" {
		t.Errorf("over the memory: %d %s", got.status, got.body)
	}
	finish()
	if got := <-first; got.status != 200 {
		t.Errorf("the first one: %d", got.status)
	}
	eventually(t, "all is given back", func() bool { return gate.Stats().Bodies == 0 })
}

// Who hangs up frees the slot, or the place in the queue.
func TestHangingUpFreesTheSlot(t *testing.T) {
	t.Parallel()
	b, gate, _ := gated(t, admission.Config{Slots: 1, Queue: 1}, nil)
	contentType, body := form(t, file("image", "a.jpg", photo))
	request := fmt.Sprintf("POST /v1/results HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", contentType, len(body), body)
	var conns []net.Conn
	for n := range 2 {
		conn := b.dial()
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		eventually(t, "it is in", func() bool {
			s := gate.Stats()
			return s.Running[admission.Interactive]+s.Waiting[admission.Interactive] == n+1
		})
	}
	_ = conns[1].Close()
	eventually(t, "the place in the queue is free", func() bool { return gate.Stats().Waiting[admission.Interactive] == 0 })
	_ = conns[0].Close()
	eventually(t, "the slot is free", func() bool { return gate.Stats().Running[admission.Interactive] == 0 })
}

// Connections that are held open without being used keep nobody out, whatever they have sent so far.
func TestSlowClientsKeepNobodyOut(t *testing.T) {
	t.Parallel()
	const limit = 8
	b := start(t, func(c *handlers.Config) { c.Server.MaxConnections = limit })
	for name, sent := range map[string]string{
		"nothing": "", "half a header": "POST /v1/results HTTP/1.1\r\nHost: x\r\nX-Slow: ", "half a body": slowHead + "--B\r\n", "nothing more": "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		for range 3 * limit {
			conn, err := net.Dial("tcp", b.addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			if _, err := io.WriteString(conn, sent); err != nil {
				t.Fatal(err)
			}
		}
		fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
		for range 5 {
			res, err := fresh.Get(b.url + "/healthz")
			if err != nil {
				t.Fatalf("%s sent: %v", name, err)
			}
			if got := read(t, res); got.status != 200 {
				t.Errorf("%s sent: %d", name, got.status)
			}
		}
		if open, _, dropped := b.server.Connections(); open > limit || dropped == 0 {
			t.Errorf("%s sent: %d connections are open, %d were dropped", name, open, dropped)
		}
	}
}

// When every connection is at work, probes are answered still and all else is refused.
func TestProbesBeyondTheLastConnection(t *testing.T) {
	t.Parallel()
	const limit = 4
	b := start(t, func(c *handlers.Config) { c.Server.MaxConnections = limit })
	finish := make(chan struct{})
	var running atomic.Int64
	b.processor.run = func(ctx context.Context, image []byte, o pipeline.Options) (*pipeline.Result, error) {
		running.Add(1)
		<-finish
		return formatted(ctx, image, o)
	}
	contentType, body := form(t, file("image", "a.jpg", photo))
	answers := make(chan int, limit)
	for range limit {
		go func() { answers <- b.ask(b.quirky, "POST", "/v1/results", contentType, body).status }()
	}
	eventually(t, "all are at work", func() bool { return running.Load() == limit })
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 200, "/v1/version": 503} {
		res, err := fresh.Get(b.url + path)
		if err != nil {
			t.Fatal(err)
		}
		if got := read(t, res); got.status != want {
			t.Errorf("%s: %d, want %d", path, got.status, want)
		}
	}
	close(finish)
	for range limit {
		if got := <-answers; got != 200 {
			t.Errorf("one that was at work: %d", got)
		}
	}
}

// HEAD is GET without the body.
func TestHead(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	for _, path := range []string{"/healthz", "/readyz", "/v1/version", "/v1/modes", "/openapi.yaml", "/v1.0/account"} {
		get := b.get(path)
		head := b.ask(b.quirkyHead(), "HEAD", path, "", nil)
		if head.status != get.status || head.body != "" || head.header.Get("Content-Type") != get.header.Get("Content-Type") {
			t.Errorf("%s: %d %q, GET: %d %q", path, head.status, head.header, get.status, get.header)
		}
	}
	if got := b.ask(b.quirkyHead(), "HEAD", "/v1/results", "", nil); got.status != 405 {
		t.Errorf("HEAD of what takes POST alone: %d", got.status)
	}
}

// quirkyHead is a client whose requests are not held against the document, which has no HEAD in it.
func (b *bundle) quirkyHead() *http.Client {
	return &http.Client{Transport: b.quirky.Transport.(checked).next}
}

// What a stranger says about addresses is not believed.
func TestForwardedHeaders(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		trusted bool
		header  string
		client  string // in the log; empty: none but the peer
	}{
		{"nobody is trusted", false, "203.0.113.9", ""},
		{"one proxy", true, "203.0.113.9", "203.0.113.9"},
		{"a client that lies to the proxy", true, "198.51.100.1, 203.0.113.9", "203.0.113.9"},
		{"proxies before the proxy", true, "203.0.113.9, 127.0.0.7, 127.0.0.8", "203.0.113.9"},
		{"IPv6 with a port", true, "[2001:db8::1]:443", "2001:db8::1"},
		{"garbage", true, "203.0.113.9, <script>", ""},
		{"nothing", true, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := start(t, func(c *handlers.Config) {
				if !tc.trusted {
					c.Server.TrustedProxies = nil
				}
			})
			b.ask(b.client, "GET", "/v1/modes", "", nil, "X-Forwarded-For", tc.header)
			b.get("/healthz")
			has := strings.Contains(b.log.String(), `"client":`)
			if has != (tc.client != "") || has && !strings.Contains(b.log.String(), `"client":"`+tc.client+`"`) {
				t.Errorf("the log has %s", b.log.String())
			}
		})
	}
}

// Each address has a limit of its own, the one behind a trusted proxy included; probes have none.
func TestClientRate(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *handlers.Config) { c.Server.ClientRate = 2 })
	ask := func(addr string) reply { return b.ask(b.client, "GET", "/v1/modes", "", nil, "X-Forwarded-For", addr) }
	for _, addr := range []string{"203.0.113.1", "203.0.113.2", "2001:db8:1::1"} {
		for range 2 {
			if got := ask(addr); got.status != 200 {
				t.Errorf("%s within its limit: %d", addr, got.status)
			}
		}
	}
	for _, addr := range []string{"203.0.113.1", "2001:db8:1::2"} { // the second is of the same network as before
		got := ask(addr)
		after, err := strconv.Atoi(got.header.Get("Retry-After"))
		if got.status != 429 || err != nil || after < 1 || after > 31 {
			t.Errorf("%s over its limit: %d, retry after %q", addr, got.status, got.header.Get("Retry-After"))
		}
	}
	for range 5 {
		if got := b.get("/healthz"); got.status != 200 {
			t.Errorf("a probe: %d", got.status)
		}
	}
}

// A thousand clients that break off in the middle of a body, of the work or of a reply leave nothing behind.
func TestAThousandClientsThatBreakOff(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	gate, err := admission.New(admission.Config{Slots: 2, Queue: 1000, Bodies: 1 << 30, Memory: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, func(c *handlers.Config) { c.Admission = gate })
	large := bytes.Repeat([]byte("result"), 1<<19)
	b.processor.run = func(ctx context.Context, image []byte, o pipeline.Options) (*pipeline.Result, error) {
		lease, err := gate.Enter(ctx, admission.Demand{Memory: 1 << 20})
		if err != nil {
			return nil, err
		}
		defer lease.Release(true)
		res := sampleResult()
		res.Data = large
		return res, nil
	}
	contentType, body := form(t, file("image", "a.jpg", strings.Repeat("x", 400<<10)))
	whole := rawPost(contentType, string(body))
	breakOff := func(times int) {
		for i := range times {
			conn, err := net.Dial("tcp", b.addr)
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			switch i % 3 {
			case 0: // while it sends
				_, _ = io.WriteString(conn, whole[:len(whole)*(i%100)/100])
			case 1: // once it has sent
				_, _ = io.WriteString(conn, whole)
			case 2: // while it reads
				if _, err := io.WriteString(conn, whole); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(conn, make([]byte, 1000)); err != nil {
					t.Fatal(err)
				}
			}
			_ = conn.Close()
		}
		eventually(t, "all connections are closed and all is given back", func() bool {
			open, _, _ := b.server.Connections()
			s := gate.Stats()
			return open == 0 && s.Running == [2]int{} && s.Waiting == [2]int{} && s.Bodies == 0 && s.Memory == 0
		})
		b.processor.mu.Lock()
		b.processor.calls = nil // the test's own, pictures and all
		b.processor.mu.Unlock()
	}
	breakOff(60)
	before := held(t)
	breakOff(1000)
	after := held(t)
	t.Logf("before %+v, after %+v", before, after)
	if after.goroutines > before.goroutines+5 {
		t.Errorf("%d goroutines, then %d", before.goroutines, after.goroutines)
	}
	if after.files > before.files+5 {
		t.Errorf("%d open files, then %d", before.files, after.files)
	}
	if after.heap > before.heap+16<<20 {
		t.Errorf("%d bytes in use, then %d", before.heap, after.heap)
	}
}
