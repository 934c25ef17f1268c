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

// openVideo looks for ffmpeg and, where it is there, lets this process do jobs with clips.
func openVideo(
	ctx context.Context, c config.Video, service *jobs.Service, frames backgroundremoverai.Frames, f dialect.Fetcher, m *metrics.Metrics, log *slog.Logger,
) (*backgroundremoverai.Video, error) {
	v := &backgroundremoverai.Video{Config: c, Fetcher: f}
	tools, err := video.Find(ctx, c.FFmpeg)
	if err != nil {
		if c.FFmpeg != "" {
			return nil, &usageError{err}
		}
		log.Warn("clips are refused", "error", err.Error())
		v.Missing = errors.New("ffmpeg 5 or newer was not found")
		return v, nil
	}
	if n := video.Sweep(c.WorkDir); n > 0 {
		log.Info("removed what killed processes left of clips", "directories", n)
	}
	log.Info("clips are taken", "ffmpeg", tools.FFmpeg, "version", tools.Version)
	if c.Workers == 0 {
		return v, nil
	}
	worker := backgroundremoverai.VideoWorker(c, tools, frames, m.NewVideo(), log)
	if err := service.Start(backgroundremoverai.VideoKind, c.Workers, worker); err != nil && !errors.Is(err, jobs.ErrUnavailable) {
		return nil, err
	}
	return v, nil
}

// Frames waits for the pipeline and readies it for a clip.
func (l *loader) Frames(ctx context.Context, o pipeline.Options) (*pipeline.Frames, error) {
	if err := l.wait(ctx); err != nil {
		return nil, err
	}
	return l.pipeline.Frames(o)
}
