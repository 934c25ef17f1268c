// Package metrics names every metric of the program and keeps them in a registry of its own.
package metrics

import (
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Names of the metrics. Units are base units; labels are bounded: never a URL, a key or a file name.
const (
	RequestsTotal      = "cutout_requests_total"
	RequestDuration    = "cutout_request_duration_seconds"
	RequestsInFlight   = "cutout_requests_in_flight"
	ReceivedBytesTotal = "cutout_received_bytes_total"
	SentBytesTotal     = "cutout_sent_bytes_total"
	StageDuration      = "cutout_stage_duration_seconds"
	InferenceDuration  = "cutout_inference_duration_seconds"
	FailuresTotal      = "cutout_failures_total"
	DecodeRejected     = "cutout_decode_rejected_total"
	PanicsTotal        = "cutout_panics_total"
	KeyRequestsTotal   = "cutout_key_requests_total"
	KeyLimitedTotal    = "cutout_key_limited_total"
	KeyPixelsTotal     = "cutout_key_pixels_total"
	BuildInfo          = "cutout_build_info"
)

// Stage names that the server adds to those of the pipeline.
const (
	StageRead  = "read"  // the body of the request
	StageFetch = "fetch" // a picture named by URL
	StageWrite = "write" // the reply, base64 included
	StageInfer = "infer" // the pipeline's
)

// Build describes the running program.
type Build struct {
	Version   string // of the API, as /v1/version gives it
	Model     string // name of the model that serves
	Precision string // its arithmetic
}

// Metrics records what the server does. It is safe for concurrent use.
type Metrics struct {
	registry  *prometheus.Registry
	model     string
	precision string

	requests  *prometheus.CounterVec
	duration  *prometheus.HistogramVec
	inFlight  prometheus.Gauge
	received  *prometheus.CounterVec
	sent      *prometheus.CounterVec
	stages    *prometheus.HistogramVec
	inference *prometheus.HistogramVec
	failures  *prometheus.CounterVec
	rejected  *prometheus.CounterVec
	panics    prometheus.Counter

	keyRequests, keyLimited, keyPixels *prometheus.CounterVec
}

// Buckets of the histograms in seconds: a small picture takes tens of milliseconds, a large one on one busy core seconds.
var (
	requestBuckets = []float64{.005, .01, .025, .05, .1, .15, .25, .4, .6, 1, 1.5, 2.5, 5, 10, 30, 60}
	stageBuckets   = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .15, .25, .4, .6, 1, 2.5, 5, 10, 30}
)

// New builds the metrics of one server.
func New(b Build) *Metrics {
	m := &Metrics{
		registry:  prometheus.NewRegistry(),
		model:     b.Model,
		precision: b.Precision,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: RequestsTotal, Help: "Requests answered, by dialect, route and status code (499: the client went away).",
		}, []string{"dialect", "route", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: RequestDuration, Help: "Time from the headers of a request to the end of its reply.", Buckets: requestBuckets,
		}, []string{"dialect", "route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: RequestsInFlight, Help: "Requests being answered.",
		}),
		received: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: ReceivedBytesTotal, Help: "Bytes of request bodies read.",
		}, []string{"dialect"}),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: SentBytesTotal, Help: "Bytes of reply bodies written.",
		}, []string{"dialect"}),
		stages: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: StageDuration, Help: "Time one stage of a request took.", Buckets: stageBuckets,
		}, []string{"stage"}),
		inference: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: InferenceDuration, Help: "Time a request's picture was with the network, by the network and its arithmetic.", Buckets: stageBuckets,
		}, []string{"model", "precision"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: FailuresTotal, Help: "Requests that did not give a result, by dialect and reason, whatever their status code.",
		}, []string{"dialect", "reason"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: DecodeRejected, Help: "Pictures refused before or while they were decoded, by reason.",
		}, []string{"reason"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: PanicsTotal, Help: "Requests that ended in a panic.",
		}),
	}
	m.keyRequests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: KeyRequestsTotal, Help: "Requests that came with a valid key, by its name.",
	}, []string{"key"})
	m.keyLimited = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: KeyLimitedTotal, Help: "Requests refused because the limit of their key was reached, by its name.",
	}, []string{"key"})
	m.keyPixels = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: KeyPixelsTotal, Help: "Pixels of pictures processed for a key, by its name.",
	}, []string{"key"})
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: BuildInfo, Help: "Always 1; the labels describe the running program.",
		ConstLabels: prometheus.Labels{
			"version": b.Version, "model": b.Model, "precision": b.Precision, "goversion": runtime.Version(),
		},
	})
	build.Set(1)
	m.registry.MustRegister(
		m.requests, m.duration, m.inFlight, m.received, m.sent, m.stages, m.inference, m.failures, m.rejected, m.panics, build,
		m.keyRequests, m.keyLimited, m.keyPixels,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Registry is where other packages register collectors of their own.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Handler serves the metrics in the form Prometheus reads.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// Begin counts a request in flight; the returned function ends it.
func (m *Metrics) Begin() (end func()) {
	m.inFlight.Inc()
	return m.inFlight.Dec
}

// Request is one answered request.
type Request struct {
	Dialect        string
	Route          string // the route's pattern, never the path asked for
	Code           int
	Duration       time.Duration
	Received, Sent int64
}

// Observe records an answered request.
func (m *Metrics) Observe(r Request) {
	m.requests.WithLabelValues(r.Dialect, r.Route, strconv.Itoa(r.Code)).Inc()
	m.duration.WithLabelValues(r.Dialect, r.Route).Observe(r.Duration.Seconds())
	m.received.WithLabelValues(r.Dialect).Add(float64(r.Received))
	m.sent.WithLabelValues(r.Dialect).Add(float64(r.Sent))
}

// Stage records the time a stage took.
func (m *Metrics) Stage(name string, d time.Duration) {
	m.stages.WithLabelValues(name).Observe(d.Seconds())
}

// Inference records the time a picture was with a network; an empty name is the server's own. Names are those of networks
// that are loaded.
func (m *Metrics) Inference(model string, d time.Duration) {
	if model == "" {
		model = m.model
	}
	m.inference.WithLabelValues(model, m.precision).Observe(d.Seconds())
}

// Failure counts a request that gave no result.
func (m *Metrics) Failure(dialect, reason string) { m.failures.WithLabelValues(dialect, reason).Inc() }

// Rejected counts a picture that was refused by the decoder or its limits.
func (m *Metrics) Rejected(reason string) { m.rejected.WithLabelValues(reason).Inc() }

// Key counts a request that came with a valid key, and the pixels of its pictures. The names of keys are those of a file
// that the operator keeps.
func (m *Metrics) Key(name string, pixels int64, limited bool) {
	m.keyRequests.WithLabelValues(name).Inc()
	if limited {
		m.keyLimited.WithLabelValues(name).Inc()
	}
	m.keyPixels.WithLabelValues(name).Add(float64(pixels))
}

// Panic counts a request that panicked.
func (m *Metrics) Panic() { m.panics.Inc() }
