package cli

import (
	"context"
	"errors"
	"log/slog"

	"cutout/config"
	"cutout/handlers/backgroundremoverai"
	"cutout/handlers/dialect"
	"cutout/jobs"
	"cutout/metrics"
	"cutout/pipeline"
	"cutout/video"
)

// errNoFFmpeg is what clients are told.
var errNoFFmpeg = errors.New("ffmpeg 5 or newer was not found")

// clips is what becomes known of ffmpeg while the server serves already: asking it what it can do takes longer than loading
// the network.
type clips struct {
	known chan struct{} // closed once err is set
	err   error
}

// await ends once it is known whether clips are taken, with why not.
func (c *clips) await() error {
	<-c.known
	return c.err
}

// check is the condition of readiness, which waits for nothing.
func (c *clips) check(context.Context) error {
	select {
	case <-c.known:
		return c.err
	default:
		return errors.New("ffmpeg is being looked for")
	}
}

// openVideo looks for ffmpeg once the network is loaded and, where it is there, lets this process do jobs with clips. A
// named one that cannot be used is an error at once.
func openVideo(
	ctx context.Context, c config.Video, service *jobs.Service, engine *loader, f dialect.Fetcher, m *metrics.Metrics, log *slog.Logger,
) (*backgroundremoverai.Video, *clips, error) {
	found := &clips{known: make(chan struct{})}
	v := &backgroundremoverai.Video{Config: c, Fetcher: f, Await: found.await}
	find := func() (err error) {
		defer close(found.known)
		tools, err := video.Find(ctx, c.FFmpeg)
		if err != nil {
			found.err = errNoFFmpeg
			return err
		}
		if n := video.Sweep(c.WorkDir); n > 0 {
			log.Info("removed what killed processes left of clips", "directories", n)
		}
		log.Info("clips are taken", "ffmpeg", tools.FFmpeg, "version", tools.Version)
		if c.Workers == 0 {
			return nil
		}
		worker := backgroundremoverai.VideoWorker(c, tools, engine.Frames, m.NewVideo(), log)
		if err := service.Start(backgroundremoverai.VideoKind, c.Workers, worker); err != nil && !errors.Is(err, jobs.ErrUnavailable) {
			found.err = errors.New("its jobs could not be started")
			return err
		}
		return nil
	}
	if c.FFmpeg != "" {
		if err := find(); err != nil {
			return nil, nil, &usageError{err}
		}
		return v, found, nil
	}
	go func() {
		_ = engine.wait(ctx)
		if err := find(); err != nil && ctx.Err() == nil {
			log.Warn("clips are refused", "error", err.Error())
		}
	}()
	return v, found, nil
}

// Frames waits for the pipeline and readies it for a clip.
func (l *loader) Frames(ctx context.Context, o pipeline.Options) (*pipeline.Frames, error) {
	if err := l.wait(ctx); err != nil {
		return nil, err
	}
	return l.pipeline.Frames(o)
}
