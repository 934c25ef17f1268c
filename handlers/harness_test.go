package handlers_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/textproto"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"cutout/compositing"
	"cutout/config"
	"cutout/fetch"
	"cutout/handlers"
	"cutout/jobs"
	"cutout/metrics"
	"cutout/pipeline"
)

// TestMain fails when the tests leave goroutines of ours behind.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if leaked := leakedGoroutines(); leaked != "" {
			fmt.Fprintf(os.Stderr, "goroutines are left:\n%s\n", leaked)
			code = 1
		}
	}
	os.Exit(code)
}

// leakedGoroutines returns the stacks of goroutines that run code of this module or a server's connection, after
// having given them time to end.
func leakedGoroutines() string {
	var leaked []string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		buf := make([]byte, 1<<20)
		leaked = nil
		for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			ours := strings.Contains(stack, "cutout/") || strings.Contains(stack, "net/http.(*conn).serve")
			if ours && !strings.Contains(stack, "TestMain") {
				leaked = append(leaked, stack)
			}
		}
		if len(leaked) == 0 {
			return ""
		}
	}
	return strings.Join(leaked, "\n\n")
}

// call is what the processor was asked.
type call struct {
	image   []byte
	options pipeline.Options
}

// fakeProcessor answers with a small result, or as run says.
type fakeProcessor struct {
	mu    sync.Mutex
	calls []call
	run   func(ctx context.Context, image []byte, o pipeline.Options) (*pipeline.Result, error)
}

func (p *fakeProcessor) Run(ctx context.Context, image []byte, o pipeline.Options) (*pipeline.Result, error) {
	p.mu.Lock()
	p.calls = append(p.calls, call{image, o})
	p.mu.Unlock()
	if p.run != nil {
		return p.run(ctx, image, o)
	}
	return sampleResult(), nil
}

func (p *fakeProcessor) last(t *testing.T) call {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.calls) == 0 {
		t.Fatal("the processor was not asked")
	}
	return p.calls[len(p.calls)-1]
}

func (p *fakeProcessor) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.calls)
}

func sampleResult() *pipeline.Result {
	return &pipeline.Result{
		Data: samplePNG, Format: "png", Width: 8, Height: 6, Score: 0.9,
		Objects: []pipeline.Object{{Box: compositing.Box{X: 0.138, Y: 0.37, W: 0.6613333333333333, H: 0.456}}},
		Stages: []pipeline.Stage{
			{Name: "decode", Duration: time.Millisecond}, {Name: "infer", Duration: 2 * time.Millisecond},
			{Name: "matte"}, {Name: "composite"}, {Name: "encode"},
		},
	}
}

var samplePNG = encodePNG(8, 6)

func encodePNG(w, h int) []byte {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	img.SetNRGBA(1, 1, color.NRGBA{R: 200, G: 100, B: 50, A: 255})
	var buf bytes.Buffer
	if err := png.Encode(&buf, img); err != nil {
		panic(err) // of a picture made right here
	}
	return buf.Bytes()
}

// fakeFetcher has files by URL.
type fakeFetcher struct {
	mu    sync.Mutex
	asked []string
	files map[string]string
	errs  map[string]error
}

func (f *fakeFetcher) Get(_ context.Context, rawURL string, maxBytes int64) (*fetch.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, rawURL)
	if err := f.errs[rawURL]; err != nil {
		return nil, err
	}
	body, ok := f.files[rawURL]
	if !ok {
		return nil, &fetch.Error{Kind: fetch.Status, Code: 404, Public: "The server of the URL answered 404 Not Found."}
	}
	if int64(len(body)) > maxBytes {
		return nil, &fetch.Error{Kind: fetch.TooLarge, Public: "The file behind the URL is too large."}
	}
	return &fetch.Result{Body: []byte(body), Name: rawURL[strings.LastIndex(rawURL, "/")+1:]}, nil
}

func (f *fakeFetcher) urls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.asked...)
}

// syncBuffer is a log that several goroutines write to.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// bundle is a running server and what it is made of.
type bundle struct {
	t         *testing.T
	server    *handlers.Server
	processor *fakeProcessor
	fetcher   *fakeFetcher
	metrics   *metrics.Metrics
	log       *syncBuffer
	addr      string
	url       string
	client    *http.Client // checks requests and replies against the OpenAPI document
	quirky    *http.Client // checks replies only
}

func testConfig(t *testing.T) (handlers.Config, *bundle) {
	t.Helper()
	b := &bundle{
		t: t, processor: &fakeProcessor{}, fetcher: &fakeFetcher{files: map[string]string{}, errs: map[string]error{}},
		metrics: metrics.New(metrics.Build{Version: "v1.2.3", Model: "test"}), log: &syncBuffer{},
	}
	return handlers.Config{
		Server: config.Server{
			// Nothing here tests how fast a busy machine is.
			Addr: ":0", HeaderTimeout: time.Minute, BodyTimeout: time.Minute, RequestTimeout: time.Minute,
			WriteTimeout: time.Minute, IdleTimeout: time.Minute, ShutdownTimeout: time.Minute, MaxHeader: 1 << 16,
			TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		},
		API4AI: config.Limits{MaxWidth: 4096, MaxHeight: 4096, MaxFile: 16 << 20, MaxRequest: 32 << 20},
		RemoveBG: config.RemoveBG{
			Pictures: config.Pictures{MaxPixels: 50e6, MaxFile: 22 << 20, MaxRequest: 48 << 20}, Size: "preview",
		},
		APISphere: config.Pictures{MaxPixels: 50e6, MaxFile: 10 << 20, MaxRequest: 16 << 20},
		Rembg:     config.Pictures{MaxPixels: 50e6, MaxFile: 50 << 20, MaxRequest: 64 << 20},
		PhotoRoom: config.Pictures{MaxPixels: 36e6, MaxFile: 30 << 20, MaxRequest: 32 << 20},
		BackgroundRemoverAI: config.BackgroundRemoverAI{
			Pictures: config.Pictures{MaxPixels: 50e6, MaxFile: 1 << 20, MaxRequest: 32 << 20}, MaxFiles: 5,
		},
		Ximilar: config.Ximilar{Pictures: config.Pictures{MaxPixels: 50e6, MaxFile: 1 << 20, MaxRequest: 32 << 20}, MaxRecords: 10},
		Jobs:    jobs.Unavailable(errors.New("there is no store in this test")),
		Version: "v1.2.3", OpenAPI: openAPI, Processor: b.processor, Fetcher: b.fetcher, Metrics: b.metrics,
		Log: slog.New(slog.NewJSONHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}, b
}

// start runs a server on loopback; change may alter its settings.
func start(t *testing.T, change func(*handlers.Config)) *bundle {
	t.Helper()
	cfg, b := testConfig(t)
	if change != nil {
		change(&cfg)
	}
	server, err := handlers.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, l) }()
	b.server, b.addr, b.url = server, l.Addr().String(), "http://"+l.Addr().String()
	transport := &http.Transport{}
	b.client = &http.Client{Transport: checked{t: t, next: transport, request: true}}
	b.quirky = &http.Client{Transport: checked{t: t, next: transport}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return b
}

var (
	openAPI  = mustRead("../openapi.yaml")
	document = sync.OnceValues(func() (*openapi3.T, error) {
		doc, err := openapi3.NewLoader().LoadFromData(openAPI)
		if err != nil {
			return nil, err
		}
		return doc, doc.Validate(context.Background())
	})
)

func mustRead(path string) []byte {
	data, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	return data
}

// checked is a transport that holds every exchange against the OpenAPI document.
type checked struct {
	t       *testing.T
	next    http.RoundTripper
	request bool
}

func (c checked) RoundTrip(r *http.Request) (*http.Response, error) {
	var sent []byte
	if r.Body != nil {
		var err error
		if sent, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(sent))
	}
	res, err := c.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(got))
	if c.request {
		// A request that the server refuses for its form need not conform to the document.
		if res.StatusCode < 400 {
			again := r.Clone(r.Context())
			again.Body = io.NopCloser(bytes.NewReader(sent))
			if err := openapi3filter.ValidateRequest(r.Context(), validation(c.t, again)); err != nil {
				c.t.Errorf("%s %s: the request departs from the document: %v", r.Method, r.URL, err)
			}
		}
	}
	checkReply(c.t, r, res, got)
	return res, nil
}

func validation(t *testing.T, r *http.Request) *openapi3filter.RequestValidationInput {
	t.Helper()
	doc, err := document()
	if err != nil {
		t.Fatalf("openapi.yaml: %v", err)
	}
	path, params := template(doc, r.URL.Path)
	item := doc.Paths.Value(path)
	if item == nil || item.GetOperation(r.Method) == nil {
		return nil
	}
	return &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params,
		Route: &routers.Route{
			Spec: doc, Path: path, PathItem: item, Method: r.Method, Operation: item.GetOperation(r.Method),
		},
	}
}

// template finds the path of the document that a request's path is one of.
func template(doc *openapi3.T, path string) (string, map[string]string) {
	if doc.Paths.Value(path) != nil {
		return path, nil
	}
	asked := strings.Split(path, "/")
	for candidate := range doc.Paths.Map() {
		params, parts := map[string]string{}, strings.Split(candidate, "/")
		for i, part := range parts {
			if len(parts) != len(asked) {
				params = nil
				break
			}
			if name, ok := strings.CutPrefix(part, "{"); ok {
				params[strings.TrimSuffix(name, "}")] = asked[i]
			} else if part != asked[i] {
				params = nil
				break
			}
		}
		if params != nil {
			return candidate, params
		}
	}
	return path, nil
}

// checkReply holds a reply against the document. Paths that lead nowhere have no entry there.
func checkReply(t *testing.T, r *http.Request, res *http.Response, body []byte) {
	t.Helper()
	input := validation(t, r)
	if input == nil {
		if res.StatusCode != http.StatusNotFound && res.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s %s: answered %d, but is not in the document", r.Method, r.URL.Path, res.StatusCode)
		}
		return
	}
	err := openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: res.StatusCode, Header: res.Header,
		Body: io.NopCloser(bytes.NewReader(body)), Options: &openapi3filter.Options{IncludeResponseStatus: true},
	})
	if err != nil {
		t.Errorf("%s %s: the reply %d departs from the document: %v", r.Method, r.URL, res.StatusCode, err)
	}
	if res.Header.Get("X-Request-ID") == "" {
		t.Errorf("%s %s: the reply has no request id", r.Method, r.URL)
	}
}

// part is a part of a form. An empty file means no filename parameter.
type part struct {
	name, file, value string
	isFile            bool
}

func text(name, value string) part { return part{name: name, value: value} }
func file(name, file, value string) part {
	return part{name: name, file: file, value: value, isFile: true}
}

// form writes parts as clients do: files with a type, text without.
func form(t *testing.T, parts ...part) (contentType string, body []byte) {
	t.Helper()
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	for _, p := range parts {
		header := textproto.MIMEHeader{}
		disposition := fmt.Sprintf(`form-data; name="%s"`, p.name)
		if p.isFile {
			disposition += fmt.Sprintf(`; filename="%s"`, p.file)
			header.Set("Content-Type", "application/octet-stream")
		}
		header.Set("Content-Disposition", disposition)
		pw, err := w.CreatePart(header)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(pw, p.value); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), buf.Bytes()
}

// reply is an answer with its body read.
type reply struct {
	status int
	header http.Header
	body   string
}

func (b *bundle) post(path string, parts ...part) reply {
	b.t.Helper()
	contentType, body := form(b.t, parts...)
	return b.send(b.client, "POST", path, contentType, string(body))
}

func (b *bundle) get(path string) reply {
	b.t.Helper()
	return b.send(b.client, "GET", path, "", "")
}

func (b *bundle) send(client *http.Client, method, path, contentType, body string) reply {
	b.t.Helper()
	r, err := http.NewRequest(method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	res, err := client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	return read(b.t, res)
}

func read(t *testing.T, res *http.Response) reply {
	t.Helper()
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, string(body)}
}

// raw sends the bytes of a whole request and reads its reply.
func (b *bundle) raw(request string) reply {
	b.t.Helper()
	conn, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		b.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		b.t.Fatal(err)
	}
	asked, err := http.ReadRequest(bufio.NewReader(strings.NewReader(request)))
	if err != nil {
		b.t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), asked)
	if err != nil {
		b.t.Fatal(err)
	}
	got := read(b.t, res)
	checkReply(b.t, asked, res, []byte(got.body))
	return got
}

// rawPost writes a request to /v1/results by hand.
func rawPost(contentType, body string) string {
	header := ""
	if contentType != "" {
		header = "Content-Type: " + contentType + "\r\n"
	}
	return fmt.Sprintf("POST /v1/results HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		header, len(body), body)
}

// outcome is the part of an API4AI reply that tests ask about.
type outcome struct {
	code, message, name, md5 string
	width, height            int
	entities                 int
	picture                  []byte
}

func (r reply) outcome(t *testing.T) outcome {
	t.Helper()
	if r.status != http.StatusOK {
		t.Fatalf("status %d: %s", r.status, r.body)
	}
	var v struct {
		Results []struct {
			Status        map[string]string
			Name, MD5     string
			Width, Height int
			Entities      []struct{ Kind, Name, Image string }
		}
	}
	if err := json.Unmarshal([]byte(r.body), &v); err != nil {
		t.Fatalf("%v in %s", err, r.body)
	}
	if len(v.Results) != 1 {
		t.Fatalf("%d results", len(v.Results))
	}
	res := v.Results[0]
	o := outcome{
		code: res.Status["code"], message: res.Status["message"], name: res.Name, md5: res.MD5,
		width: res.Width, height: res.Height, entities: len(res.Entities),
	}
	if len(res.Entities) > 0 {
		picture, err := base64.StdEncoding.DecodeString(res.Entities[0].Image)
		if err != nil {
			t.Fatal(err)
		}
		o.picture = picture
	}
	return o
}

// recorder runs a request through the server without a connection.
func recorder(s *handlers.Server, r *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, r)
	return rec
}
