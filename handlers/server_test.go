package handlers_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cutout/config"
	"cutout/handlers"
	"cutout/pipeline"
)

// Every route stands in the document, and nothing stands there that is not served.
func TestRoutesAndDocumentAgree(t *testing.T) {
	t.Parallel()
	cfg, _ := testConfig(t)
	server, err := handlers.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := document()
	if err != nil {
		t.Fatalf("openapi.yaml: %v", err)
	}
	var served, described []string
	for _, route := range server.Routes() {
		served = append(served, route.Method+" "+route.Path)
	}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+path)
		}
	}
	for _, route := range served {
		if !slices.Contains(described, route) {
			t.Errorf("%s is served but not in the document", route)
		}
	}
	for _, route := range described {
		if !slices.Contains(served, route) {
			t.Errorf("%s is in the document but not served", route)
		}
	}
}

func TestSystemRoutes(t *testing.T) {
	t.Parallel()
	var broken error
	var mu sync.Mutex
	b := start(t, func(c *handlers.Config) {
		c.Checks = []handlers.Check{{Name: "model", Run: func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			return broken
		}}}
	})
	if got := b.get("/healthz"); got.status != 200 || got.body != `{"status":"ok","version":"v1.2.3"}` {
		t.Errorf("/healthz: %d %s", got.status, got.body)
	}
	if got := b.get("/readyz"); got.status != 200 || got.body != `{"status":"ready","checks":{"model":"ok"}}` {
		t.Errorf("/readyz: %d %s", got.status, got.body)
	}
	mu.Lock()
	broken = errors.New("still loading")
	mu.Unlock()
	if got := b.get("/readyz"); got.status != 503 || got.body != `{"status":"not ready","checks":{"model":"still loading"}}` {
		t.Errorf("/readyz: %d %s", got.status, got.body)
	}
	if got := b.get("/openapi.yaml"); got.status != 200 || got.body != string(openAPI) {
		t.Errorf("/openapi.yaml: %d, %d bytes", got.status, len(got.body))
	}
	if got := b.get("/metrics"); got.status != 200 || !strings.Contains(got.body, "cutout_requests_in_flight 1") {
		t.Errorf("/metrics: %d", got.status)
	}
}

func TestUnroutedRequests(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	for _, tc := range []struct {
		method, path string
		status       int
		body, allow  string
	}{
		{"GET", "/nowhere", 404, `{"detail":"Not Found"}`, ""},
		{"POST", "/v2/results", 404, `{"detail":"Not Found"}`, ""},
		{"GET", "/v1/results", 405, `{"detail":"Method Not Allowed"}`, "POST"},
		{"DELETE", "/v1/version", 405, `{"detail":"Method Not Allowed"}`, "GET"},
	} {
		got := b.send(b.quirky, tc.method, tc.path, "", "")
		if got.status != tc.status || got.body != tc.body {
			t.Errorf("%s %s: %d %s", tc.method, tc.path, got.status, got.body)
		}
		if !strings.Contains(got.header.Get("Allow"), tc.allow) {
			t.Errorf("%s %s: allows %q", tc.method, tc.path, got.header.Get("Allow"))
		}
		if got.header.Get("X-Request-ID") == "" {
			t.Errorf("%s %s: no request id", tc.method, tc.path)
		}
	}
	if !strings.Contains(b.get("/metrics").body, `cutout_requests_total{code="404",dialect="system",route="unmatched"} 2`) {
		t.Error("paths that lead nowhere are not counted under one label")
	}
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	cfg, b := testConfig(t)
	server, err := handlers.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for sent, kept := range map[string]bool{
		"": false, "abc-123": true, "a b": false, "a\"b": false, "ä": false, strings.Repeat("x", 128): true, strings.Repeat("x", 129): false,
	} {
		r := httptest.NewRequest("GET", "/v1/version", nil)
		r.Header.Set("X-Request-ID", sent)
		got := recorder(server, r).Header().Get("X-Request-ID")
		if (got == sent) != kept || got == "" || seen[got] {
			t.Errorf("%q became %q", sent, got)
		}
		seen[got] = true
		if !strings.Contains(b.log.String(), `"request_id":"`+got+`"`) {
			t.Errorf("%q is not in the log", got)
		}
	}
}

// One line a request, with its stages.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.post("/v1/results?api_key=secret", file("image", "a.jpg", photo))
	b.get("/metrics") // the line is written behind the reply; by the end of the next request it is there
	var lines []map[string]any
	for line := range strings.SplitSeq(strings.TrimSpace(b.log.String()), "\n") {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if v["path"] == "/v1/results" {
			lines = append(lines, v)
		}
	}
	if len(lines) != 1 {
		t.Fatalf("%d lines", len(lines))
	}
	line := lines[0]
	for key, want := range map[string]any{
		"level": "INFO", "msg": "request", "method": "POST", "dialect": "api4ai", "status": 200.0, "width": 8.0, "height": 6.0,
	} {
		if line[key] != want {
			t.Errorf("%s is %v, want %v", key, line[key], want)
		}
	}
	stages, _ := line["stages"].(map[string]any)
	for _, stage := range []string{"read_ms", "decode_ms", "infer_ms", "matte_ms", "composite_ms", "encode_ms", "write_ms"} {
		if _, ok := stages[stage]; !ok {
			t.Errorf("no stage %s in %v", stage, stages)
		}
	}
	if received, _ := line["received"].(float64); received < float64(len(photo)) {
		t.Errorf("received %v bytes", received)
	}
	if strings.Contains(b.log.String(), "secret") {
		t.Error("the query is in the log")
	}
}

func TestMetricsOfARequest(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.post("/v1/results", file("image", "a.jpg", photo))
	exposition := b.get("/metrics").body
	for _, want := range []string{
		`cutout_requests_total{code="200",dialect="api4ai",route="/v1/results"} 1`,
		`cutout_request_duration_seconds_count{dialect="api4ai",route="/v1/results"} 1`,
		`cutout_stage_duration_seconds_count{stage="read"} 1`,
		`cutout_stage_duration_seconds_count{stage="decode"} 1`,
		`cutout_stage_duration_seconds_count{stage="infer"} 1`,
		`cutout_stage_duration_seconds_count{stage="encode"} 1`,
		`cutout_stage_duration_seconds_count{stage="write"} 1`,
		`cutout_inference_duration_seconds_count{model="test",precision=""} 1`,
	} {
		if !strings.Contains(exposition, want) {
			t.Errorf("no line %s", want)
		}
	}
}

func TestPanicIsA500AndTheServerLives(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.processor.run = func(_ context.Context, image []byte, _ pipeline.Options) (*pipeline.Result, error) {
		if string(image) == "boom" {
			_ = image[len(image)+1]
		}
		return sampleResult(), nil
	}
	for range 3 {
		got := b.post("/v1/results", file("image", "a.jpg", "boom"))
		if got.status != 500 || got.body != `{"message":"Internal server error."}` {
			t.Fatalf("%d %s", got.status, got.body)
		}
		if got := b.post("/v1/results", file("image", "a.jpg", photo)).outcome(t); got.code != "ok" {
			t.Fatalf("after the panic: %+v", got)
		}
	}
	if log := b.log.String(); !strings.Contains(log, "index out of range") || !strings.Contains(log, "server_test.go") {
		t.Error("the log has no stack of the panic")
	}
	exposition := b.get("/metrics").body
	for _, want := range []string{
		"cutout_panics_total 3", `cutout_failures_total{dialect="api4ai",reason="panic"} 3`, "cutout_requests_in_flight 1",
	} {
		if !strings.Contains(exposition, want) {
			t.Errorf("no line %s", want)
		}
	}
}

const entityTooLarge = "Error: Request Entity Too Large\n\nYour client issued a request that was too large.\n"

func small(c *handlers.Config) {
	c.API4AI = config.Limits{MaxFile: 64 << 10, MaxRequest: 128 << 10}
}

func TestBodyLimit(t *testing.T) {
	t.Parallel()
	b := start(t, small)
	for name, size := range map[string]int{"just over": 128 << 10, "far over": 20 << 20} {
		got := b.post("/v1/results", file("image", "a.jpg", strings.Repeat("x", size)))
		if got.status != 413 || got.body != entityTooLarge || !strings.HasPrefix(got.header.Get("Content-Type"), "text/plain") {
			t.Errorf("%s: %d %s %q", name, got.status, got.header.Get("Content-Type"), got.body)
		}
	}
	if b.processor.count() != 0 {
		t.Error("the processor was asked")
	}
	if !strings.Contains(b.get("/metrics").body, `cutout_failures_total{dialect="api4ai",reason="body_too_large"} 2`) {
		t.Error("the failures are not counted")
	}
	if got := b.post("/v1/results", file("image", "a.jpg", strings.Repeat("x", 100<<10))).outcome(t); got.code != "ok" {
		t.Errorf("a body below the limit: %+v", got)
	}
}

// A body whose length nobody announced is cut off at the limit.
func TestBodyLimitOfAChunkedBody(t *testing.T) {
	t.Parallel()
	b := start(t, small)
	contentType, body := form(t, file("image", "a.jpg", strings.Repeat("x", 300<<10)))
	r, err := http.NewRequest("POST", b.url+"/v1/results", io.MultiReader(bytes.NewReader(body)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	res, err := b.quirky.Transport.(checked).next.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, res); got.status != 413 || got.body != entityTooLarge {
		t.Errorf("%d %q", got.status, got.body)
	}
}

// A client that looks for the reply only once it has written everything still gets it.
func TestBodyLimitReachesAClientThatOnlyWrites(t *testing.T) {
	t.Parallel()
	b := start(t, small)
	got := b.raw(rawPost("multipart/form-data; boundary=B", strings.Repeat("x", 8<<20)))
	if got.status != 413 || got.body != entityTooLarge {
		t.Errorf("%d %q", got.status, got.body)
	}
}

// A client that asks first is told no without having sent its body.
func TestBodyLimitBeforeTheBody(t *testing.T) {
	t.Parallel()
	b := start(t, small)
	got := b.raw("POST /v1/results HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\n" +
		"Expect: 100-continue\r\nContent-Length: 999999999999\r\n\r\n")
	if got.status != 413 || got.body != entityTooLarge {
		t.Errorf("%d %q", got.status, got.body)
	}
}

func TestMalformedBodies(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	many := strings.Repeat("--B\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\ny\r\n", 101) + "--B--\r\n"
	for name, tc := range map[string]struct {
		contentType, body, want string
	}{
		"cut short": {
			"multipart/form-data; boundary=B", "--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\nhalf a ph",
			"The multipart body ends before its last boundary.",
		},
		"no boundary anywhere": {"multipart/form-data", "just text", "The multipart body has no boundary."},
		"broken part header": {
			"multipart/form-data; boundary=B", "--B\r\nContent-\x00 no colon\r\n\r\nx\r\n--B--\r\n", "The multipart body is malformed.",
		},
		"too many fields": {"multipart/form-data; boundary=B", many, "The form has more than 100 fields."},
		"too many urlencoded fields": {
			"application/x-www-form-urlencoded", strings.Repeat("a=b&", 101), "The form has more than 100 fields.",
		},
	} {
		got := b.raw(rawPost(tc.contentType, tc.body))
		if got.status != 400 || got.body != `{"message":"`+tc.want+`"}` {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
}

// dial opens a connection that is closed with the test.
func (b *bundle) dial() net.Conn {
	b.t.Helper()
	conn, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		b.t.Fatal(err)
	}
	return conn
}

const slowHead = "POST /v1/results HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\nContent-Length: 1000\r\n\r\n"

func TestSlowBodyIsA408(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *handlers.Config) { c.Server.BodyTimeout = 100 * time.Millisecond })
	conn := b.dial()
	if _, err := io.WriteString(conn, slowHead+"--B\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := read(t, res)
	if got.status != 408 || got.body != `{"message":"The request body took too long to arrive."}` {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestSlowHeaderIsCutOff(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *handlers.Config) { c.Server.HeaderTimeout = 100 * time.Millisecond })
	conn := b.dial()
	if _, err := io.WriteString(conn, "POST /v1/results HTTP/1.1\r\nHost: x\r\nX-Slow: "); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if _, err := io.ReadAll(conn); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("cut off after %v", took)
	}
}

// The deadline for the body must not look like a client that went away once the body is there.
func TestProcessingMayOutlastTheBodyTimeout(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *handlers.Config) { c.Server.BodyTimeout = 100 * time.Millisecond })
	b.processor.run = func(ctx context.Context, _ []byte, _ pipeline.Options) (*pipeline.Result, error) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(400 * time.Millisecond):
			return sampleResult(), nil
		}
	}
	if got := b.post("/v1/results", file("image", "a.jpg", photo)); got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestSlowProcessingIsA503(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *handlers.Config) { c.Server.RequestTimeout = 100 * time.Millisecond })
	b.processor.run = func(ctx context.Context, _ []byte, _ pipeline.Options) (*pipeline.Result, error) {
		<-ctx.Done()
		return nil, fmt.Errorf("infer: %w", ctx.Err())
	}
	got := b.post("/v1/results", file("image", "a.jpg", photo))
	if got.status != 503 || got.body != `{"message":"The request took too long."}` || got.header.Get("Retry-After") != "1" {
		t.Errorf("%d %s, retry after %q", got.status, got.body, got.header.Get("Retry-After"))
	}
}

// A client that hangs up ends the work on its request.
func TestClientGoneCancelsTheWork(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	running, ended := make(chan struct{}), make(chan error, 1)
	b.processor.run = func(ctx context.Context, _ []byte, _ pipeline.Options) (*pipeline.Result, error) {
		close(running)
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}
	conn := b.dial()
	contentType, body := form(t, file("image", "a.jpg", photo))
	if _, err := io.WriteString(conn, rawPost(contentType, string(body))); err != nil {
		t.Fatal(err)
	}
	<-running
	_ = conn.Close()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the work goes on")
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if strings.Contains(b.get("/metrics").body, `cutout_requests_total{code="499",dialect="api4ai",route="/v1/results"} 1`) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the request is not counted as one whose client went away")
		}
	}
}

// Clients that break off in the middle of a body or of a reply leave nothing behind; TestMain looks for goroutines.
func TestClientsThatBreakOff(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	big := bytes.Repeat([]byte("picture"), 1<<20)
	b.processor.run = func(context.Context, []byte, pipeline.Options) (*pipeline.Result, error) {
		res := sampleResult()
		res.Data = big
		return res, nil
	}
	contentType, body := form(t, file("image", "a.jpg", photo))
	whole := rawPost(contentType, string(body))
	for i := range 100 {
		conn := b.dial()
		request := whole
		if i%2 == 0 {
			request = whole[:len(whole)*i/100]
		}
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 {
			if _, err := io.ReadFull(conn, make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
		}
		_ = conn.Close()
	}
	if got := b.get("/healthz"); got.status != 200 {
		t.Errorf("afterwards: %d", got.status)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if strings.Contains(b.get("/metrics").body, "cutout_requests_in_flight 1") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("requests are still in flight")
		}
	}
}

func TestGracefulShutdownFinishesWhatWasAccepted(t *testing.T) {
	t.Parallel()
	cfg, b := testConfig(t)
	cfg.Server.ShutdownDelay = 50 * time.Millisecond
	server, err := handlers.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	running, finish := make(chan struct{}), make(chan struct{})
	b.processor.run = func(ctx context.Context, _ []byte, _ pipeline.Options) (*pipeline.Result, error) {
		close(running)
		select {
		case <-finish:
			return sampleResult(), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, l) }()

	b.url = "http://" + l.Addr().String()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	b.client = &http.Client{Transport: checked{t: t, next: transport}}
	answered := make(chan reply, 1)
	go func() { answered <- b.post("/v1/results", file("image", "a.jpg", photo)) }()
	<-running
	stop()

	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		got := recorder(server, httptest.NewRequest("GET", "/readyz", nil))
		if got.Code == 503 && strings.Contains(got.Body.String(), `"stopping"`) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("/readyz: %d %s", got.Code, got.Body)
		}
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			break // the port is closed
		}
		_ = conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("new connections are still taken")
		}
	}
	select {
	case <-served:
		t.Fatal("stopped with a request in flight")
	default:
	}
	close(finish)
	if got := (<-answered).outcome(t); got.code != "ok" {
		t.Errorf("the request in flight: %+v", got)
	}
	if err := <-served; err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestShutdownTimeoutEndsWhatIsLeft(t *testing.T) {
	t.Parallel()
	cfg, b := testConfig(t)
	cfg.Server.ShutdownTimeout = 100 * time.Millisecond
	server, err := handlers.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	running := make(chan struct{})
	b.processor.run = func(ctx context.Context, _ []byte, _ pipeline.Options) (*pipeline.Result, error) {
		close(running)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, l) }()
	b.addr = l.Addr().String()
	conn := b.dial()
	contentType, body := form(t, file("image", "a.jpg", photo))
	if _, err := io.WriteString(conn, rawPost(contentType, string(body))); err != nil {
		t.Fatal(err)
	}
	<-running
	stop()
	if err := <-served; err == nil || !strings.Contains(err.Error(), "still running") {
		t.Errorf("stop: %v", err)
	}
}

// Many at a time, for the race detector: replies must not get mixed up.
func TestConcurrentRequests(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.processor.run = func(_ context.Context, image []byte, _ pipeline.Options) (*pipeline.Result, error) {
		res := sampleResult()
		res.Data = bytes.Clone(image)
		return res, nil
	}
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			for j := range 5 {
				picture := strings.Repeat(fmt.Sprintf("%d-%d;", i, j), 10_000)
				got := b.post("/v1/results", file("image", fmt.Sprint(i), picture)).outcome(t)
				if string(got.picture) != picture || got.name != fmt.Sprint(i) || got.md5 != md5Of(picture) {
					t.Errorf("request %d/%d got another's reply", i, j)
				}
			}
		})
	}
	group.Wait()
}

func TestNewRefusesABrokenConfiguration(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*handlers.Config){
		"no processor": func(c *handlers.Config) { c.Processor = nil },
		"no fetcher":   func(c *handlers.Config) { c.Fetcher = nil },
		"no metrics":   func(c *handlers.Config) { c.Metrics = nil },
		"no log":       func(c *handlers.Config) { c.Log = nil },
		"no document":  func(c *handlers.Config) { c.OpenAPI = nil },
		"no address":   func(c *handlers.Config) { c.Server.Addr = "" },
		"no limit":     func(c *handlers.Config) { c.API4AI.MaxRequest = 0 },
	} {
		cfg, _ := testConfig(t)
		change(&cfg)
		if _, err := handlers.New(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
