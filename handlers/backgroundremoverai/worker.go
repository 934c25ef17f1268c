package backgroundremoverai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"cutout/codec"
	"cutout/config"
	"cutout/handlers/dialect"
	"cutout/handlers/hosted"
	"cutout/jobs"
	"cutout/pipeline"
)

// Worker does the jobs that the dialect submits. A picture that cannot be used fails by itself; the others go on.
func Worker(cfg config.BackgroundRemoverAI, p dialect.Processor) jobs.Handler {
	limits := codec.Limits{MaxBytes: int64(cfg.MaxFile), MaxPixels: cfg.MaxPixels}
	return func(ctx context.Context, t *jobs.Task) error {
		var o options
		if err := json.Unmarshal(t.Options(), &o); err != nil {
			return &jobs.PermanentError{Public: "The job cannot be read.", Err: err}
		}
		var background []byte
		if extras := t.Extras(); o.Background == backgroundImage && len(extras) > 0 && !o.OnlyMask {
			var err error
			if background, err = readAll(ctx, t, extras[0]); err != nil {
				return err
			}
		}
		var broken error // the last of what may go better the next time
		for _, i := range t.Pending() {
			err := remove(ctx, t, p, i, o.pipeline(limits, background))
			var bg *pipeline.BackgroundError
			switch {
			case errors.As(err, &bg):
				return &jobs.PermanentError{Public: "Background image: " + explain(bg.Err, limits), Err: err}
			case ctx.Err() != nil:
				return fmt.Errorf("%w: %w", context.Cause(ctx), ctx.Err())
			case err != nil:
				broken = err
				if t.Last() {
					broken = t.Fail(ctx, i, "Processing failed.")
				}
			}
		}
		return broken
	}
}

// remove gives one input its outcome.
func remove(ctx context.Context, t *jobs.Task, p dialect.Processor, i int, o pipeline.Options) error {
	in := t.Inputs()[i]
	data, err := readAll(ctx, t, in)
	if err != nil {
		return err
	}
	result, err := p.Run(ctx, data, o)
	var bg *pipeline.BackgroundError
	if err != nil {
		message := explain(err, o.Limits)
		if message == "" || ctx.Err() != nil || errors.As(err, &bg) {
			return err
		}
		return t.Fail(ctx, i, message)
	}
	w := t.Create(ctx, resultName(t.Inputs(), i, ".png"), "image/"+string(result.Format))
	if _, err := w.Write(result.Data); err != nil {
		return err
	}
	f, err := w.Finish()
	if err != nil {
		return err
	}
	return t.Done(ctx, i, f)
}

// resultName names a result after its upload, unlike it, so that a client that saves it beside the upload keeps both, and
// unlike the other results, be the uploads of one name.
func resultName(inputs []jobs.File, i int, extension string) string {
	name := func(i, n int) string {
		suffix := "_processed"
		if n > 0 {
			suffix = fmt.Sprintf("_processed-%d", n+1)
		}
		return hosted.FileName(inputs[i].Name, suffix, extension)
	}
	same := 0
	for before := range i {
		if name(before, 0) == name(i, 0) {
			same++
		}
	}
	return name(i, same)
}

func readAll(ctx context.Context, t *jobs.Task, f jobs.File) ([]byte, error) {
	r := t.Open(ctx, f)
	defer func() { _ = r.Close() }() // it only lets memory go
	data := make([]byte, f.Size)
	_, err := io.ReadFull(r, data)
	return data, err
}

// explain words what is wrong with a picture; empty where it is not the picture's fault.
func explain(err error, limits codec.Limits) string {
	var limit *codec.LimitError
	switch {
	case errors.As(err, &limit) && limit.What == "bytes":
		return fmt.Sprintf("The file is too large, at most %d bytes are taken.", limits.MaxBytes)
	case errors.As(err, &limit):
		return fmt.Sprintf("The image has %dx%d pixels, at most %d pixels are taken.", limit.Width, limit.Height, limits.MaxPixels)
	case errors.Is(err, codec.ErrUndecodable):
		return "The file is not an image that can be read."
	default:
		return ""
	}
}
