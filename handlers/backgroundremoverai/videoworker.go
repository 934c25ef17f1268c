package backgroundremoverai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"cutout/admission"
	"cutout/config"
	"cutout/handlers/dialect"
	"cutout/jobs"
	"cutout/metrics"
	"cutout/pipeline"
	"cutout/video"
)

// Frames readies the pipeline for a clip; it may wait until that is loaded.
type Frames func(ctx context.Context, o pipeline.Options) (*pipeline.Frames, error)

// segmentTime is how much of a clip an interruption costs at most, and which is not done again.
const segmentTime = 8 * time.Second

// VideoWorker does the jobs with clips that the dialect submits. What it has made of a clip is kept in the store, segment by
// segment, so that another attempt, be it on another machine, goes on after the last of them.
func VideoWorker(cfg config.Video, tools *video.Tools, frames Frames, m *metrics.Video, log *slog.Logger) jobs.Handler {
	w := &videoWorker{cfg: cfg, tools: tools, frames: frames, metrics: m, log: log}
	return w.run
}

type videoWorker struct {
	cfg     config.Video
	tools   *video.Tools
	frames  Frames
	metrics *metrics.Video
	log     *slog.Logger
}

// resume is what is kept of a clip that is not done: the segments, whose files are those that are saved with it.
type resume struct {
	Input    int             `json:"input"`
	Version  string          `json:"version"` // of ffmpeg: another's segments may not fit
	Segments []video.Segment `json:"segments"`
}

func (w *videoWorker) run(ctx context.Context, t *jobs.Task) error {
	var o options
	if err := json.Unmarshal(t.Options(), &o); err != nil || o.Video == nil || !o.Video.Format.Valid() {
		return &jobs.PermanentError{Public: "The job cannot be read.", Err: err}
	}
	masker, err := w.frames(ctx, o.frames())
	if err != nil {
		return err
	}
	var broken error // the last of what may go better the next time
	for _, i := range t.Pending() {
		err := w.one(ctx, t, o, masker, i)
		if _, ok := errors.AsType[*video.BackgroundError](err); ok && ctx.Err() == nil {
			return &jobs.PermanentError{Public: "Background: " + explainVideo(err), Err: err}
		}
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("%w: %w", context.Cause(ctx), ctx.Err())
		case err != nil:
			w.metrics.Clip(string(o.Video.Format), "failed")
			w.log.Warn("a clip failed", "job", t.ID(), "format", string(o.Video.Format), "error", err.Error())
			broken = err
			if t.Last() {
				broken = t.Fail(ctx, i, "Processing failed.")
			}
		}
	}
	return broken
}

// one gives one clip its outcome.
func (w *videoWorker) one(ctx context.Context, t *jobs.Task, o options, masker video.Masker, i int) (err error) {
	work, err := video.NewWork(w.cfg.WorkDir)
	if err != nil {
		return err
	}
	defer func() {
		if removed := work.Remove(); err == nil {
			err = removed
		}
	}()
	job := video.Job{Dir: work.Dir, Input: filepath.Join(work.Dir, "input"), Options: video.Options{
		Format: o.Video.Format, Rate: o.Video.Rate, Frames: o.Video.Frames, Limits: video.Limits{
			MaxDuration: w.cfg.MaxDuration, MaxFrames: w.cfg.MaxFrames, MaxPixels: w.cfg.MaxPixels, MaxOutput: int64(w.cfg.MaxOutput),
		},
	}}
	job.Color, _ = dialect.ParseColor(o.Video.Color) // checked when it was handed in
	if err := fetchTo(ctx, t, t.Inputs()[i], job.Input); err != nil {
		return err
	}
	if extras := t.Extras(); len(extras) > 0 {
		job.Background = filepath.Join(work.Dir, "background")
		if err := fetchTo(ctx, t, extras[0], job.Background); err != nil {
			return err
		}
	}
	kept, err := w.restore(ctx, t, i, &job)
	if err != nil {
		return err
	}
	job.SegmentTime = segmentTime
	job.Keep = func(ctx context.Context, s video.Segment) error {
		f, err := store(ctx, t, filepath.Join(work.Dir, s.Name), s.Name, "application/octet-stream")
		if err != nil {
			return err
		}
		kept.Segments = append(kept.Segments, s)
		state, err := json.Marshal(kept)
		if err != nil {
			return err
		}
		return t.Save(ctx, state, f)
	}
	job.Progress = func(p video.Progress) {
		t.Progress(p.Done, p.Total)
		if p.Rate > 0 {
			t.Rate(p.Rate)
		}
	}
	result, err := w.tools.Convert(admission.InBackground(ctx), masker, job)
	if err != nil {
		message := explainVideo(err)
		if _, ok := errors.AsType[*video.BackgroundError](err); ok || message == "" || ctx.Err() != nil {
			return err
		}
		w.metrics.Clip(string(o.Video.Format), "refused")
		w.log.Info("a clip is refused", "job", t.ID(), "error", err.Error())
		return t.Fail(ctx, i, message)
	}
	f, err := store(ctx, t, result.Path, resultName(t.Inputs(), i, o.Video.Format.Extension()), o.Video.Format.Type())
	if err != nil {
		return err
	}
	if err := t.Done(ctx, i, f); err != nil {
		return err
	}
	w.record(t, o.Video, result)
	return t.Forget(ctx)
}

// restore puts what an earlier attempt has made where it was.
func (w *videoWorker) restore(ctx context.Context, t *jobs.Task, i int, job *video.Job) (resume, error) {
	kept := resume{Input: i, Version: w.tools.Version}
	state, files := t.Saved()
	if state == nil {
		return kept, nil
	}
	var before resume
	if err := json.Unmarshal(state, &before); err != nil || before.Input != i || before.Version != kept.Version || len(before.Segments) != len(files) {
		return kept, t.Forget(ctx)
	}
	for n, s := range before.Segments {
		if filepath.Base(s.Name) != s.Name {
			return kept, t.Forget(ctx)
		}
		if err := fetchTo(ctx, t, files[n], filepath.Join(job.Dir, s.Name)); err != nil {
			return kept, err
		}
	}
	w.log.Info("a clip goes on", "job", t.ID(), "attempt", t.Attempt(), "segments", len(before.Segments))
	job.Finished = before.Segments
	return before, nil
}

// record tells metrics and the log about a clip that is done.
func (w *videoWorker) record(t *jobs.Task, c *clip, r *video.Result) {
	s := r.Stats
	w.metrics.Clip(string(c.Format), "done")
	w.metrics.Frames(string(c.Format), s.Frames, s.Looked)
	for name, took := range map[string]time.Duration{
		"decode": s.Decode, "shrink": s.Shrink, "look": s.Look, "steady": s.Steady, "matte": s.Matte, "compose": s.Compose,
		"encode": s.Encode, "join": s.Join,
	} {
		w.metrics.Stage(name, took)
	}
	w.log.Info("clip", "job", t.ID(), "format", string(c.Format), "input", r.Info.String(), "frames", r.Frames, "bytes", r.Bytes,
		"worked", s.Frames, "looked", s.Looked, "cuts", s.Cuts, "ms", s.Elapsed.Milliseconds())
}

// fetchTo writes a file of the store to the disk. The disk is written as fast as the store is read; neither is held in
// memory.
func fetchTo(ctx context.Context, t *jobs.Task, f jobs.File, path string) (err error) {
	r := t.Open(ctx, f)
	defer func() { _ = r.Close() }() // it only lets memory go
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, beating{r, t})
	return errors.Join(err, out.Close())
}

// store writes a file of the disk to the store.
func store(ctx context.Context, t *jobs.Task, path, name, contentType string) (jobs.File, error) {
	in, err := os.Open(path)
	if err != nil {
		return jobs.File{}, err
	}
	defer func() { _ = in.Close() }() // only read from
	w := t.Create(ctx, name, contentType)
	if _, err := io.Copy(w, in); err != nil {
		w.Discard()
		return jobs.File{}, err
	}
	return w.Finish()
}

// beating is a reader whose job lives as long as it moves.
type beating struct {
	io.Reader
	t *jobs.Task
}

func (b beating) Read(p []byte) (int, error) {
	b.t.Heartbeat()
	return b.Reader.Read(p)
}

// explainVideo words what is wrong with a clip; empty where it is not the clip's fault.
func explainVideo(err error) string {
	var (
		bad        *video.UnreadableError
		limit      *video.LimitError
		background *video.BackgroundError
	)
	switch {
	case errors.As(err, &bad):
		return bad.Public
	case errors.As(err, &limit):
		return limit.Text
	case errors.As(err, &background):
		return explain(background.Err, video.BackgroundLimits)
	case errors.Is(err, jobs.ErrTooLarge):
		return "The result is larger than a file that is stored. Another video_format, framerate or frame_limit makes it smaller."
	default:
		return ""
	}
}
