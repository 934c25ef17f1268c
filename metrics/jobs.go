package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Names of the metrics of jobs.
const (
	JobsSubmittedTotal = "cutout_jobs_submitted_total"
	JobsRetriedTotal   = "cutout_jobs_retried_total"
	JobDuration        = "cutout_job_duration_seconds"
	QueueDepth         = "cutout_queue_depth"
	QueueOldest        = "cutout_queue_oldest_seconds"
	StoreBytes         = "cutout_store_bytes"
	StoreUp            = "cutout_store_up"
	WebhooksTotal      = "cutout_webhooks_total"
	WebhooksWaiting    = "cutout_webhooks_waiting"
)

var jobBuckets = []float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600}

// Jobs records what becomes of jobs. Its methods fit the observer of package jobs.
type Jobs struct {
	submitted, retried, called *prometheus.CounterVec
	duration                   *prometheus.HistogramVec
}

// JobStats is a moment's view of the job store.
type JobStats struct {
	Waiting, Running map[string]int       // by kind
	Oldest           map[string]time.Time // submission of the oldest job that has not ended, by kind
	Bytes            int64                // of files
	Calls            int                  // to clients' servers that are to be made, now or again
}

// NewJobs adds the metrics of jobs. read is asked whenever the metrics are.
func (m *Metrics) NewJobs(read func(context.Context) (JobStats, error)) *Jobs {
	j := &Jobs{
		submitted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: JobsSubmittedTotal, Help: "Jobs submitted to this process, by kind.",
		}, []string{"kind"}),
		retried: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: JobsRetriedTotal, Help: "Attempts at jobs after the first that this process has begun, by kind.",
		}, []string{"kind"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: JobDuration, Help: "Time from the submission of a job to its end in this process, by kind and outcome.", Buckets: jobBuckets,
		}, []string{"kind", "outcome"}),
	}
	j.called = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: WebhooksTotal, Help: "Calls to clients' servers by this process, by outcome: delivered, retried or failed for good.",
	}, []string{"outcome"})
	gauge := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	m.registry.MustRegister(j.submitted, j.retried, j.duration, j.called, &jobStore{
		read:   read,
		calls:  gauge(WebhooksWaiting, "Calls to clients' servers that are to be made, now or again."),
		depth:  gauge(QueueDepth, "Jobs in the queue, by kind and whether a worker has them.", "kind", "state"),
		oldest: gauge(QueueOldest, "Age of the oldest job that has not ended, by kind.", "kind"),
		bytes:  gauge(StoreBytes, "Bytes that uploads and results take in the store."),
		up:     gauge(StoreUp, "Whether the job store answers."),
	})
	return j
}

// Submitted counts a job.
func (j *Jobs) Submitted(kind string) { j.submitted.WithLabelValues(kind).Inc() }

// Retried counts a further attempt.
func (j *Jobs) Retried(kind string) { j.retried.WithLabelValues(kind).Inc() }

// Ended records how a job ended: "finished", "failed" or "cancelled".
func (j *Jobs) Ended(kind, outcome string, took time.Duration) {
	j.duration.WithLabelValues(kind, outcome).Observe(took.Seconds())
}

// Called counts an attempt at a call to a client's server: "delivered", "retried" or "failed".
func (j *Jobs) Called(outcome string) { j.called.WithLabelValues(outcome).Inc() }

// jobStore asks the store when it is collected.
type jobStore struct {
	read                            func(context.Context) (JobStats, error)
	depth, oldest, bytes, calls, up *prometheus.Desc
}

// statsTimeout bounds the asking, so that a store that hangs holds up no other metric.
const statsTimeout = 2 * time.Second

// Describe implements prometheus.Collector.
func (s *jobStore) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.depth, s.oldest, s.bytes, s.calls, s.up} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (s *jobStore) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), statsTimeout)
	defer cancel()
	send := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	st, err := s.read(ctx)
	if err != nil {
		send(s.up, 0)
		return
	}
	send(s.up, 1)
	send(s.bytes, float64(st.Bytes))
	send(s.calls, float64(st.Calls))
	for kind, n := range st.Waiting {
		send(s.depth, float64(n), kind, "waiting")
		send(s.depth, float64(st.Running[kind]), kind, "running")
		age := 0.0
		if t, ok := st.Oldest[kind]; ok {
			age = max(0, time.Since(t).Seconds())
		}
		send(s.oldest, age, kind)
	}
}
