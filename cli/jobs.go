package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"cutout/config"
	"cutout/handlers/backgroundremoverai"
	"cutout/jobs"
	"cutout/metrics"
)

// openJobs readies the job store. Where nobody chose the directory that cannot be used, jobs are unavailable and all else
// is served: a server for single pictures needs no disk.
func openJobs(ctx context.Context, c config.Jobs, m *metrics.Metrics, log *slog.Logger) (*jobs.Service, error) {
	var (
		service  *jobs.Service
		observer *metrics.Jobs
	)
	observer = m.NewJobs(func(ctx context.Context) (metrics.JobStats, error) {
		st, err := service.Stats(ctx)
		return metrics.JobStats{Waiting: st.Waiting, Running: st.Running, Oldest: st.Oldest, Bytes: st.Bytes}, err
	})
	service, err := jobs.Open(ctx, jobs.Config{
		Kinds: []string{backgroundremoverai.Kind}, DataDir: c.DataDir,
		URL: c.NATSURL, Credentials: c.NATSCredentials, CA: c.NATSCA, Cert: c.NATSCert, Key: c.NATSKey, Replicas: c.NATSReplicas,
		Retention: c.Retention, MaxStore: int64(c.MaxStore), MinFree: int64(c.MinFree), MaxQueue: c.MaxQueue, Log: log,
		Observer: jobs.Observer{
			Submitted: observer.Submitted, Retried: observer.Retried,
			Ended: func(kind string, p jobs.Phase, took time.Duration) { observer.Ended(kind, string(p), took) },
		},
	})
	if err == nil {
		return service, nil
	}
	if !errors.Is(err, jobs.ErrUnavailable) || c.NATSURL != "" || c.DataDir != "" {
		service = jobs.Unavailable(err) // for metrics that are asked on the way out
		return nil, fmt.Errorf("job store: %w", err)
	}
	log.Error("no jobs and no hosted results; name a directory for them with --data-dir", "error", err.Error())
	service = jobs.Unavailable(err)
	return service, nil
}
