package metrics

import "github.com/prometheus/client_golang/prometheus"

// Names of the metrics of networks and of the cache.
const (
	ModelBytes            = "cutout_model_bytes"
	ModelLoadsTotal       = "cutout_model_loads_total"
	ModelFailuresTotal    = "cutout_model_failures_total"
	ModelUnloadsTotal     = "cutout_model_unloads_total"
	ModelSubstitutedTotal = "cutout_model_substituted_total"
	CacheRequestsTotal    = "cutout_cache_requests_total"
	CacheBytes            = "cutout_cache_bytes"
)

// ModelStats is a moment's view of the networks, by name.
type ModelStats struct {
	Bytes       map[string]int64 // of those that are loaded
	Loads       map[string]int64
	Failed      map[string]int64
	Unloads     map[string]int64
	Substituted map[string]int64 // by the name asked for
}

// CacheStats is a moment's view of the cache.
type CacheStats struct {
	Hits, Joined, Misses, Bytes int64
}

// collector sends what a function collects.
type collector struct {
	descs   []*prometheus.Desc
	collect func(send func(i int, value float64, labels ...string))
	kinds   []prometheus.ValueType
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	c.collect(func(i int, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(c.descs[i], c.kinds[i], value, labels...)
	})
}

func (c *collector) add(kind prometheus.ValueType, name, help string, labels ...string) {
	c.descs = append(c.descs, prometheus.NewDesc(name, help, labels, nil))
	c.kinds = append(c.kinds, kind)
}

// NewModels adds the metrics of networks. read is asked whenever the metrics are.
func (m *Metrics) NewModels(read func() ModelStats) {
	c := &collector{}
	c.add(prometheus.GaugeValue, ModelBytes, "Memory of each network that is loaded: weights and one run's.", "model")
	c.add(prometheus.CounterValue, ModelLoadsTotal, "Networks loaded because a request asked for them, by name.", "model")
	c.add(prometheus.CounterValue, ModelFailuresTotal, "Networks that could not be loaded, by name.", "model")
	c.add(prometheus.CounterValue, ModelUnloadsTotal, "Networks let go, by name.", "model")
	c.add(prometheus.CounterValue, ModelSubstitutedTotal, "Requests that another network has served than the one they asked for, by that one.", "model")
	c.collect = func(send func(int, float64, ...string)) {
		s := read()
		for i, values := range []map[string]int64{s.Bytes, s.Loads, s.Failed, s.Unloads, s.Substituted} {
			for name, v := range values {
				send(i, float64(v), name)
			}
		}
	}
	m.registry.MustRegister(c)
}

// NewCache adds the metrics of the cache. read is asked whenever the metrics are.
func (m *Metrics) NewCache(read func() CacheStats) {
	c := &collector{}
	c.add(prometheus.CounterValue, CacheRequestsTotal,
		"Requests by outcome: hit had a result that was kept, joined waited for that of an equal request, miss was computed.", "outcome")
	c.add(prometheus.GaugeValue, CacheBytes, "Bytes of the results that are kept.")
	c.collect = func(send func(int, float64, ...string)) {
		s := read()
		send(0, float64(s.Hits), "hit")
		send(0, float64(s.Joined), "joined")
		send(0, float64(s.Misses), "miss")
		send(1, float64(s.Bytes))
	}
	m.registry.MustRegister(c)
}
