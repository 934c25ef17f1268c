package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"cutout/config"
	"cutout/fetch"
	"cutout/handlers/backgroundremoverai"
	"cutout/handlers/webhook"
	"cutout/jobs"
	"cutout/metrics"
)

// openJobs readies the job store. Where nobody chose the directory that cannot be used, jobs are unavailable and all else
// is served: a server for single pictures needs no disk.
func openJobs(ctx context.Context, c config.Jobs, w config.Webhooks, m *metrics.Metrics, log *slog.Logger) (*jobs.Service, error) {
	var (
		service  *jobs.Service
		observer *metrics.Jobs
	)
	observer = m.NewJobs(func(ctx context.Context) (metrics.JobStats, error) {
		st, err := service.Stats(ctx)
		return metrics.JobStats{Waiting: st.Waiting, Running: st.Running, Oldest: st.Oldest, Bytes: st.Bytes, Calls: st.Calls}, err
	})
	service, err := jobs.Open(ctx, jobs.Config{
		Kinds: []string{backgroundremoverai.Kind, backgroundremoverai.VideoKind}, MaxRuntime: longestJob, DataDir: c.DataDir,
		URL: c.NATSURL, Credentials: c.NATSCredentials, CA: c.NATSCA, Cert: c.NATSCert, Key: c.NATSKey, Replicas: c.NATSReplicas,
		Retention: c.Retention, MaxStore: int64(c.MaxStore), MinFree: int64(c.MinFree), MaxQueue: c.MaxQueue, CallAttempts: w.Attempts, Log: log,
		Observer: jobs.Observer{
			Submitted: observer.Submitted, Retried: observer.Retried,
			Ended:  func(kind string, p jobs.Phase, took time.Duration) { observer.Ended(kind, string(p), took) },
			Called: observer.Called,
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

// longestJob is how long one attempt at a job may take: a clip is worked on at a few frames a second. One that stands still is
// stopped long before.
const longestJob = 6 * time.Hour

// callWorkers is how many clients' servers are called at a time. They wait for strangers and cost next to nothing.
const callWorkers = 8

// newHooks readies the calls to clients' servers, behind a guard like that of pictures but with slots of its own: a slow
// receiver holds up no picture. Without a secret there are none, nor where nothing may be fetched.
func newHooks(c config.Webhooks, f config.Fetch) (*webhook.Hooks, error) {
	if c.Secret == "" || f.OnlyAllowed && len(f.Allow) == 0 {
		return nil, nil //nolint:nilnil // said above
	}
	poster, err := fetch.New(fetch.Config{
		Allow: f.Allow, OnlyAllowed: f.OnlyAllowed, Timeout: f.Timeout, MaxConcurrent: callWorkers,
	})
	if err != nil {
		return nil, err
	}
	hooks, err := webhook.New(webhook.Config{
		Secret: c.Secret, AllowHTTP: c.AllowHTTP, Poster: poster, Body: backgroundremoverai.Callback,
	})
	if err != nil {
		return nil, fmt.Errorf("--webhook-secret: %w", err)
	}
	return hooks, nil
}
