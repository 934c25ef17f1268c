package pipeline

import (
	"context"
	"fmt"
	"image"

	"cutout/admission"
	"cutout/compositing"
	"cutout/matting"
)

// frameWork is what one step of a frame costs, in the units of costs.
const frameWork = 200

// Frames takes the frames of one clip apart, in two steps between which the caller can steady the masks in time: Look, on
// a small picture, and Matte, on the whole frame. It uses the pipeline's own networks, one thread a call, and is safe for
// concurrent use: a clip keeps the cores busy by working on several frames at a time.
type Frames struct {
	p *Pipeline
	o Options
}

// Frames readies the pipeline for a clip. Of the options, those that say what to look for and how to matte count. Its
// error wraps ErrOption.
func (p *Pipeline) Frames(o Options) (*Frames, error) {
	if err := o.complete(p.cfg); err != nil {
		return nil, err
	}
	return &Frames{p: p, o: o}, nil
}

// Model names the network that finds the subject.
func (f *Frames) Model() string {
	if f.people() {
		return f.p.people.entry.Name
	}
	return f.p.Model()
}

func (f *Frames) people() bool { return f.o.Subject == Human && f.p.people != nil }

// Grid is the size, in pixels, of the pictures that Look takes and of the masks that it gives.
func (f *Frames) Grid() image.Point {
	return image.Pt(f.p.network.entry.Input.Width, f.p.network.entry.Input.Height)
}

// enter waits until this call may compute, beside the requests for single pictures.
func (f *Frames) enter(ctx context.Context) (leave func(), err error) {
	lease, err := f.p.cfg.Admission.Enter(ctx, admission.Demand{Work: frameWork, Brief: true})
	if err != nil {
		return nil, err
	}
	return func() { lease.Release(false) }, nil // how fast pictures are is not learnt from it
}

// Look finds the subject in a frame that was made Grid's size, its alpha being ignored. Where nothing is found the mask
// is all 0. The network for people is asked alone where it finds any, at a sixth of the cost.
func (f *Frames) Look(ctx context.Context, small *image.NRGBA) (*image.Gray, error) {
	if got, want := small.Rect.Size(), f.Grid(); got != want {
		return nil, fmt.Errorf("pipeline: a frame of %v is to be %v", got, want)
	}
	leave, err := f.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if f.people() {
		mask, err := f.lookForPeople(ctx, small)
		if mask != nil || err != nil {
			return mask, err
		}
	}
	n := f.p.network
	s, err := n.score(ctx, small, 1)
	if err != nil {
		return nil, fmt.Errorf("pipeline: %w", err)
	}
	if s.max < nothingFound {
		return image.NewGray(small.Rect), nil
	}
	return s.mask(n.entry.Output.Stretch), nil
}

// lookForPeople asks the network for people; nil where it finds nobody.
func (f *Frames) lookForPeople(ctx context.Context, small *image.NRGBA) (*image.Gray, error) {
	n := f.p.people
	s, err := n.score(ctx, n.shrink(small), 1)
	if err != nil {
		return nil, fmt.Errorf("pipeline: %w", err)
	}
	seen := image.NewGray(image.Rect(0, 0, s.width, s.height))
	for i := range seen.Pix {
		seen.Pix[i] = sharpened(s.at(i, n.entry.Output.Stretch))
	}
	if area, _ := judge(seen); area < fewPeople {
		return nil, nil // the other network may find something
	}
	return (&sight{mask: seen, part: small.Rect}).enlarged(small.Rect), nil
}

// decided is a mask with more contrast, by as much as it is in doubt, from none at sure up. A photo in doubt is looked at
// again; of a clip the frames around have been looked at, and smoothing has their answers in the mask.
func decided(mask *image.Gray) *image.Gray {
	_, doubt := judge(mask)
	share := float32(min(max(doubt/sure-1, 0), 1))
	if share == 0 {
		return mask
	}
	var table [256]uint8
	for i := range table {
		v := float32(i) / 255
		table[i] = uint8(255*v + share*(float32(sharpened(v))-255*v) + 0.5)
	}
	out := image.NewGray(mask.Rect)
	for i, v := range mask.Pix {
		out.Pix[i] = table[v]
	}
	return out
}

// Matte brings a mask of any size to the size and the edges of a frame, as the quality asks for: 255 is subject.
func (f *Frames) Matte(ctx context.Context, frame *image.NRGBA, mask *image.Gray) (*image.Gray, error) {
	leave, err := f.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if f.o.Quality != Fast && !f.people() {
		mask = decided(mask)
	}
	var out *image.Gray
	knobs := f.o.Matting
	if f.o.Quality != Precise {
		knobs = nil
	}
	if f.o.Quality == Fast || knobs != nil {
		out = (&sight{mask: mask, part: frame.Rect}).enlarged(frame.Rect)
	} else if out, err = matting.Refine(ctx, frame, mask, matting.RefineOptions{Precise: f.o.Quality == Precise, Threads: 1}); err != nil {
		return nil, fmt.Errorf("pipeline: matte: %w", err)
	}
	if knobs != nil {
		j := &job{photo: frame, mask: out, threads: func() int { return 1 }}
		if err := j.closedForm(ctx, *knobs); err != nil {
			return nil, fmt.Errorf("pipeline: matte: %w", err)
		}
		out = j.mask
	}
	compositing.ClearFaint(out, faintAlpha)
	if f.o.Quality != Fast {
		compositing.FillNearlyFull(out, fullAlpha)
	}
	return out, nil
}
