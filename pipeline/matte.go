package pipeline

import (
	"context"
	"fmt"
	"image"

	"cutout/compositing"
	"cutout/matting"
)

// Mask values that are as good as none and all. Whoever sees a cutout of full alpha expects the photo's own colours
// there, and faint alpha keeps boxes from being tight.
const (
	faintAlpha = 8   // 3 %
	fullAlpha  = 250 // 98 %
)

// speck is the share of the heaviest component's alpha under which a component is dirt.
const speck = 0.01

// matte brings the network's mask to the photo's size and edges and finds the colours of what is half transparent.
func (j *job) matte(ctx context.Context) error {
	if j.seen == nil {
		j.mask = image.NewGray(image.Rect(0, 0, j.result.Width, j.result.Height))
		return nil
	}
	if err := j.refine(ctx); err != nil {
		return fmt.Errorf("pipeline: matte: %w", err)
	}
	if j.o.Binary {
		compositing.Binarise(j.mask, 128)
	}
	compositing.ClearFaint(j.mask, faintAlpha)
	if j.o.Quality == Fast || j.masked() && len(j.o.Also) == 0 {
		return nil
	}
	if err := j.colour(ctx); err != nil {
		return fmt.Errorf("pipeline: foreground: %w", err)
	}
	return nil
}

// refine makes the full-size mask as the quality asks for.
func (j *job) refine(ctx context.Context) error {
	knobs := j.o.Matting
	if j.o.Quality != Precise {
		knobs = nil
	}
	if j.o.Quality == Fast || knobs != nil {
		j.mask = j.seen.enlarged(j.photo.Rect)
	} else {
		fine, err := matting.Refine(ctx, view(j.photo, j.seen.part), j.seen.mask,
			matting.RefineOptions{Precise: j.o.Quality == Precise, Threads: j.threads()})
		if err != nil {
			return err
		}
		j.mask = j.seen.whole(fine, j.photo.Rect)
	}
	if j.o.Clean {
		j.mask = compositing.Clean(j.mask)
	}
	if knobs != nil {
		if err := j.closedForm(ctx, *knobs); err != nil {
			return err
		}
	}
	if j.o.Quality != Fast && !j.o.Clean {
		compositing.ClearFaint(j.mask, faintAlpha) // faint bridges would make the dirt part of the subject
		compositing.DropSpecks(j.mask, speck)
		compositing.FillNearlyFull(j.mask, fullAlpha)
	}
	return nil
}

// closedForm mattes with a trimap of the mask made as the knobs say. A mask that is sure of nothing, or of one side
// only, stays as it is, as in the tools whose knobs these are.
func (j *job) closedForm(ctx context.Context, o MattingOptions) error {
	tri := matting.Trimap(j.mask, matting.TrimapOptions{
		ForegroundThreshold: int(o.ForegroundThreshold), BackgroundThreshold: int(o.BackgroundThreshold),
		ErodeSize: o.ErodeSize, Threads: j.threads(),
	})
	var seen [256]bool
	for _, v := range tri.Pix {
		seen[v] = true
	}
	if !seen[matting.Foreground] || !seen[matting.Background] {
		return nil
	}
	alpha, err := matting.ClosedForm(ctx, j.photo, tri, matting.ClosedFormOptions{BaseSize: o.BaseSize, Threads: j.threads()})
	if err != nil {
		return err
	}
	j.mask = alpha
	return nil
}

// colour replaces the photo by one whose half-transparent pixels have the subject's colours. What was transparent in
// the photo stays so.
func (j *job) colour(ctx context.Context) error {
	foreground, err := matting.EstimateForeground(ctx, j.photo, j.mask, matting.ForegroundOptions{KeepAlpha: true, Threads: j.threads()})
	if err != nil {
		return err
	}
	j.photo = foreground
	return nil
}
