package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Names of the metrics of admission, connections and memory.
const (
	AdmissionWait       = "cutout_admission_wait_seconds"
	AdmissionRefused    = "cutout_admission_refused_total"
	AdmissionSlots      = "cutout_admission_slots"
	AdmissionRunning    = "cutout_admission_running"
	AdmissionWaiting    = "cutout_admission_waiting"
	AdmissionExpected   = "cutout_admission_expected_wait_seconds"
	AdmissionOverloaded = "cutout_admission_overloaded"
	AdmissionMemory     = "cutout_admission_memory_bytes"
	AdmissionMemoryMax  = "cutout_admission_memory_limit_bytes"
	BodyMemory          = "cutout_body_memory_bytes"
	BodyMemoryMax       = "cutout_body_memory_limit_bytes"
	ConnectionsOpen     = "cutout_connections_open"
	ConnectionsWaiting  = "cutout_connections_waiting"
	ConnectionsDropped  = "cutout_connections_dropped_total"
	ArenasIdle          = "cutout_arena_idle_bytes"
)

var waitBuckets = []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// Server records who was let in and who was not. Its methods fit the observer of package admission.
type Server struct {
	wait    *prometheus.HistogramVec
	refused *prometheus.CounterVec
}

// ServerStats is a moment's view of the server.
type ServerStats struct {
	Slots               int
	Running, Waiting    map[string]int // by class
	Expected            time.Duration  // wait of somebody who comes now
	Overloaded          bool
	Memory, MemoryLimit int64 // of requests that compute, by their own estimate; a limit of 0 is none
	Bodies, BodiesLimit int64 // of bodies of requests
	Connections         int
	ConnectionsWaiting  int   // of them, for their clients
	ConnectionsDropped  int64 // since the start, to make room for others
	Arenas              int64 // bytes that the engine keeps for its next runs
}

// NewServer adds the metrics of admission, connections and memory. read is asked whenever the metrics are.
func (m *Metrics) NewServer(read func() ServerStats) *Server {
	s := &Server{
		wait: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: AdmissionWait, Help: "Time requests waited for a slot, by class.", Buckets: waitBuckets,
		}, []string{"class"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: AdmissionRefused, Help: "Requests refused because they could not be served in time, by class and reason.",
		}, []string{"class", "reason"}),
	}
	m.registry.MustRegister(s.wait, s.refused, newServerCollector(read))
	return s
}

// Admitted records how long a request waited for its slot.
func (s *Server) Admitted(class string, wait time.Duration) {
	s.wait.WithLabelValues(class).Observe(wait.Seconds())
}

// Refused counts a request that was not let in.
func (s *Server) Refused(class, reason string) { s.refused.WithLabelValues(class, reason).Inc() }

// serverCollector asks the server when it is collected.
type serverCollector struct {
	read  func() ServerStats
	descs map[string]*prometheus.Desc
}

func newServerCollector(read func() ServerStats) *serverCollector {
	c := &serverCollector{read: read, descs: map[string]*prometheus.Desc{}}
	gauge := func(name, help string, labels ...string) { c.descs[name] = prometheus.NewDesc(name, help, labels, nil) }
	gauge(AdmissionSlots, "Requests that can compute at a time.")
	gauge(AdmissionRunning, "Requests that compute, by class.", "class")
	gauge(AdmissionWaiting, "Requests that wait for a slot, by class.", "class")
	gauge(AdmissionExpected, "Wait that a request which comes now would have.")
	gauge(AdmissionOverloaded, "1 while more comes than can be served, so that the queue is kept short.")
	gauge(AdmissionMemory, "Bytes that the requests which compute take, by estimate.")
	gauge(AdmissionMemoryMax, "Bytes that requests which compute may take; 0 for no bound.")
	gauge(BodyMemory, "Bytes that bodies of requests take.")
	gauge(BodyMemoryMax, "Bytes that bodies of requests may take; 0 for no bound.")
	gauge(ConnectionsOpen, "Open connections.")
	gauge(ConnectionsWaiting, "Connections that wait for their client: idle, or slow to send.")
	gauge(ConnectionsDropped, "Connections closed while they waited for their client, to make room for others.")
	gauge(ArenasIdle, "Bytes that the engine keeps for its next runs.")
	return c
}

// Describe implements prometheus.Collector.
func (c *serverCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *serverCollector) Collect(out chan<- prometheus.Metric) {
	st := c.read()
	send := func(name string, value float64, labels ...string) {
		kind := prometheus.GaugeValue
		if name == ConnectionsDropped {
			kind = prometheus.CounterValue
		}
		out <- prometheus.MustNewConstMetric(c.descs[name], kind, value, labels...)
	}
	send(AdmissionSlots, float64(st.Slots))
	for class, n := range st.Running {
		send(AdmissionRunning, float64(n), class)
	}
	for class, n := range st.Waiting {
		send(AdmissionWaiting, float64(n), class)
	}
	send(AdmissionExpected, st.Expected.Seconds())
	overloaded := 0.
	if st.Overloaded {
		overloaded = 1
	}
	send(AdmissionOverloaded, overloaded)
	send(AdmissionMemory, float64(st.Memory))
	send(AdmissionMemoryMax, float64(st.MemoryLimit))
	send(BodyMemory, float64(st.Bodies))
	send(BodyMemoryMax, float64(st.BodiesLimit))
	send(ConnectionsOpen, float64(st.Connections))
	send(ConnectionsWaiting, float64(st.ConnectionsWaiting))
	send(ConnectionsDropped, float64(st.ConnectionsDropped))
	send(ArenasIdle, float64(st.Arenas))
}
