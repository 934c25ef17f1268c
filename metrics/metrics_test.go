package metrics

import (
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestExposition(t *testing.T) {
	t.Parallel()
	m := New(Build{Version: "v1.2.3", Model: "u2netp", Precision: "fp32"})
	end := m.Begin()
	m.Observe(Request{Dialect: "api4ai", Route: "/v1/results", Code: 200, Duration: 300 * time.Millisecond, Received: 1000, Sent: 2000})
	m.Stage("infer", 200*time.Millisecond)
	m.Inference("", 200*time.Millisecond)
	m.Inference("other", 100*time.Millisecond)
	m.Stage(StageRead, time.Millisecond)
	m.Failure("api4ai", "undecodable")
	m.Rejected("undecodable")
	m.Panic()
	m.Key("alice", 5_000_000, false)
	m.Key("alice", 0, true)

	body := scrape(t, m)
	for _, want := range []string{
		`cutout_requests_total{code="200",dialect="api4ai",route="/v1/results"} 1`,
		`cutout_request_duration_seconds_bucket{dialect="api4ai",route="/v1/results",le="0.25"} 0`,
		`cutout_request_duration_seconds_bucket{dialect="api4ai",route="/v1/results",le="0.4"} 1`,
		`cutout_requests_in_flight 1`,
		`cutout_received_bytes_total{dialect="api4ai"} 1000`,
		`cutout_sent_bytes_total{dialect="api4ai"} 2000`,
		`cutout_stage_duration_seconds_count{stage="infer"} 1`,
		`cutout_stage_duration_seconds_count{stage="read"} 1`,
		`cutout_inference_duration_seconds_count{model="u2netp",precision="fp32"} 1`,
		`cutout_inference_duration_seconds_count{model="other",precision="fp32"} 1`,
		`cutout_failures_total{dialect="api4ai",reason="undecodable"} 1`,
		`cutout_decode_rejected_total{reason="undecodable"} 1`,
		`cutout_panics_total 1`,
		`cutout_key_requests_total{key="alice"} 2`,
		`cutout_key_limited_total{key="alice"} 1`,
		`cutout_key_pixels_total{key="alice"} 5e+06`,
		`version="v1.2.3"`,
		`go_goroutines`,
		`process_resident_memory_bytes`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no line with %s", want)
		}
	}
	end()
	if body := scrape(t, m); !strings.Contains(body, "cutout_requests_in_flight 0") {
		t.Error("an ended request is still in flight")
	}
}

func TestRegistriesAreSeparate(t *testing.T) {
	t.Parallel()
	a, b := New(Build{}), New(Build{})
	a.Panic()
	if strings.Contains(scrape(t, b), "cutout_panics_total 1") {
		t.Error("two servers share a counter")
	}
}

// Dashboards and alerts depend on base units, so a metric must end in its unit.
func TestNamesFollowTheConvention(t *testing.T) {
	t.Parallel()
	m := New(Build{})
	m.Observe(Request{Code: 200})
	m.Stage("infer", time.Second)
	m.Inference("", time.Second)
	m.NewServer(func() ServerStats { return ServerStats{} }).Refused("interactive", "wait")
	m.Failure("a", "b")
	m.Rejected("c")
	m.Key("d", 1, true)
	good := regexp.MustCompile(`^cutout_[a-z_]+(_total|_seconds|_bytes|_in_flight|_info|_open|_slots|_running|_waiting|_overloaded)$`)
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "cutout_") && !good.MatchString(f.GetName()) {
			t.Errorf("%s: does not end in a base unit", f.GetName())
		}
		if f.GetHelp() == "" {
			t.Errorf("%s: has no help", f.GetName())
		}
	}
}

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if rec.Code != 200 {
		t.Fatalf("status %d", rec.Code)
	}
	return rec.Body.String()
}
