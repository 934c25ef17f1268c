package metrics

import (
	"strings"
	"testing"
)

func TestModelsAndCache(t *testing.T) {
	t.Parallel()
	m := New(Build{})
	m.NewModels(func() ModelStats {
		return ModelStats{
			Bytes: map[string]int64{"u2netp": 5_000_000}, Loads: map[string]int64{"u2net": 2}, Failed: map[string]int64{"silueta": 1},
			Unloads: map[string]int64{"u2net": 1}, Substituted: map[string]int64{"sam": 7},
		}
	})
	m.NewCache(func() CacheStats { return CacheStats{Hits: 1, Joined: 2, Misses: 3, Bytes: 4} })
	body := scrape(t, m)
	for _, want := range []string{
		`cutout_model_bytes{model="u2netp"} 5e+06`, `cutout_model_loads_total{model="u2net"} 2`,
		`cutout_model_failures_total{model="silueta"} 1`, `cutout_model_unloads_total{model="u2net"} 1`,
		`cutout_model_substituted_total{model="sam"} 7`, `cutout_cache_requests_total{outcome="hit"} 1`,
		`cutout_cache_requests_total{outcome="joined"} 2`, `cutout_cache_requests_total{outcome="miss"} 3`, `cutout_cache_bytes 4`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no line with %s", want)
		}
	}
}
