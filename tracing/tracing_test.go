package tracing

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// fakeCollector keeps what it is sent.
type fakeCollector struct {
	mu       sync.Mutex
	requests []*collector.ExportTraceServiceRequest
	paths    []string
}

func (f *fakeCollector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = unzipped
	}
	data, err := io.ReadAll(body)
	sent := &collector.ExportTraceServiceRequest{}
	if err == nil {
		err = proto.Unmarshal(data, sent)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests, f.paths = append(f.requests, sent), append(f.paths, r.URL.Path)
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// spans lists everything that came, by name.
func (f *fakeCollector) spans() (byName map[string]*spans.Span, service string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	byName = map[string]*spans.Span{}
	for _, r := range f.requests {
		for _, resource := range r.GetResourceSpans() {
			for _, a := range resource.GetResource().GetAttributes() {
				if a.GetKey() == "service.name" {
					service = a.GetValue().GetStringValue()
				}
			}
			for _, scope := range resource.GetScopeSpans() {
				for _, s := range scope.GetSpans() {
					byName[s.GetName()] = s
				}
			}
		}
	}
	return byName, service
}

func TestSpansReachTheCollector(t *testing.T) {
	fake := &fakeCollector{}
	server := httptest.NewServer(fake)
	defer server.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	t.Setenv("OTEL_SERVICE_NAME", "shop")
	ctx := context.Background()
	tracer, err := Open(ctx, "v1.2.3", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	header := http.Header{"Traceparent": {"00-" + trace + "-" + parent + "-01"}}
	_, span := tracer.Begin(ctx, header, "POST")
	if span.ID() != trace {
		t.Errorf("the trace is %s, want that of the client", span.ID())
	}
	start := time.Now().Add(-time.Second)
	span.Stage("infer", start, 250*time.Millisecond)
	span.End(Request{Method: "POST", Route: "/v1/results", Dialect: "api4ai", Status: 503, Reason: "overload", Model: "u2netp", Pixels: 100})
	if err := tracer.Close(ctx); err != nil {
		t.Fatal(err)
	}
	byName, service := fake.spans()
	if service != "shop" || len(fake.paths) == 0 || fake.paths[0] != "/v1/traces" {
		t.Errorf("service %q, paths %v", service, fake.paths)
	}
	request, infer := byName["POST /v1/results"], byName["infer"]
	if request == nil || infer == nil {
		t.Fatalf("spans %v", byName)
	}
	if hex.EncodeToString(request.GetTraceId()) != trace || hex.EncodeToString(request.GetParentSpanId()) != parent {
		t.Errorf("the request's span is %x below %x", request.GetTraceId(), request.GetParentSpanId())
	}
	if !bytes.Equal(infer.GetParentSpanId(), request.GetSpanId()) || infer.GetEndTimeUnixNano()-infer.GetStartTimeUnixNano() != uint64(250*time.Millisecond) {
		t.Errorf("the stage: %v", infer)
	}
	if request.GetStatus().GetCode() != spans.Status_STATUS_CODE_ERROR {
		t.Errorf("the status: %v", request.GetStatus())
	}
	var attributes []string
	for _, a := range request.GetAttributes() {
		attributes = append(attributes, a.GetKey())
	}
	for _, want := range []string{"http.route", "http.response.status_code", "cutout.dialect", "cutout.model", "error.type"} {
		if !strings.Contains(strings.Join(attributes, " "), want) {
			t.Errorf("no attribute %s in %v", want, attributes)
		}
	}
}

// A nil tracer costs nothing and does nothing.
func TestNoTracer(t *testing.T) {
	t.Parallel()
	var tracer *Tracer
	ctx, span := tracer.Begin(t.Context(), http.Header{}, "GET")
	span.Stage("infer", time.Now(), time.Second)
	span.End(Request{})
	if ctx != t.Context() || span.ID() != "" || tracer.Close(ctx) != nil {
		t.Error("nothing became something")
	}
}
