package cli

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"cutout/cache"
	"cutout/certs"
	"cutout/config"
	"cutout/handlers/dialect"
	"cutout/metrics"
)

// openCertificate reads the certificate; nil where none is wanted.
func openCertificate(c config.TLS, log *slog.Logger) (*certs.Pair, error) {
	if c.Cert == "" {
		return nil, nil
	}
	return certs.Open(c.Cert, c.Key, log)
}

// reloadOnHangup reads a certificate again with every SIGHUP, until stop is called.
func reloadOnHangup(ctx context.Context, p *certs.Pair) (stop func()) {
	signals, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer close(done)
		for {
			select {
			case <-signals:
				_ = p.Reload() // the log has what is wrong
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		cancel()
		<-done
	}
}

// newCache puts a cache before the pipeline where one is wanted.
func newCache(c config.Cache, engine *loader, recorder *metrics.Metrics) dialect.Processor {
	if c.Size == 0 {
		return engine
	}
	kept := cache.New(cache.Config{Bytes: int64(c.Size), TTL: c.TTL}, engine)
	recorder.NewCache(func() metrics.CacheStats {
		s := kept.Stats()
		return metrics.CacheStats{Hits: s.Hits, Joined: s.Joined, Misses: s.Misses, Bytes: s.Bytes}
	})
	return kept
}

// modelStats tells the metrics of networks; nothing until the pipeline is loaded.
func (l *loader) modelStats() metrics.ModelStats {
	if !l.ready() {
		return metrics.ModelStats{}
	}
	s := l.pipeline.ModelStats()
	bytes := make(map[string]int64, len(s.Loaded))
	for _, m := range s.Loaded {
		bytes[m.Name] = m.Bytes
	}
	return metrics.ModelStats{Bytes: bytes, Loads: s.Loads, Failed: s.Failed, Unloads: s.Unloads, Substituted: s.Substituted}
}
