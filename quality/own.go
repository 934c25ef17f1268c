package main

import (
	"context"
	"fmt"
	"image"
	"image/draw"
	"os"

	"cutout/compositing"
	"cutout/pipeline"
)

// own makes masks with this program's pipeline.
type own struct {
	pipeline *pipeline.Pipeline
	quality  pipeline.Quality
	subject  pipeline.Subject
}

func newOwn(ctx context.Context, qualities []string, subject string) ([]level, error) {
	p, err := pipeline.New(ctx, pipeline.Config{})
	if err != nil {
		return nil, err
	}
	levels := make([]level, len(qualities))
	for i, q := range qualities {
		levels[i] = level{own{p, pipeline.Quality(q), pipeline.Subject(subject)}, q}
	}
	return levels, nil
}

func (o own) mask(ctx context.Context, s Sample) (*image.Gray, error) {
	b, err := o.run(ctx, s, pipeline.Options{Output: pipeline.Mask})
	if err != nil {
		return nil, err
	}
	return decodeMask(b)
}

func (o own) run(ctx context.Context, s Sample, options pipeline.Options) ([]byte, error) {
	photo, err := os.ReadFile(s.Photo)
	if err != nil {
		return nil, fmt.Errorf("read a photo: %w", err)
	}
	options.Quality, options.Subject = o.quality, o.subject
	r, err := o.pipeline.Run(ctx, photo, options)
	if err != nil {
		return nil, err
	}
	return r.Data, nil
}

func (o own) strip(ctx context.Context, s Sample) (Strip, error) {
	photo, err := readPhoto(s.Photo)
	if err != nil {
		return Strip{}, err
	}
	strip := Strip{Label: s.Name, Photo: photo}
	if strip.Mask, err = o.mask(ctx, s); err != nil {
		return Strip{}, err
	}
	if strip.Cutout, err = o.cutout(ctx, s, pipeline.Options{}); err != nil {
		return Strip{}, err
	}
	shadow := compositing.DefaultShadow()
	strip.Shadow, err = o.cutout(ctx, s, pipeline.Options{Shadow: &shadow})
	return strip, err
}

func (o own) cutout(ctx context.Context, s Sample, options pipeline.Options) (*image.NRGBA, error) {
	b, err := o.run(ctx, s, options)
	if err != nil {
		return nil, err
	}
	return decodeCutout(b)
}

// straight copies a picture into straight-alpha form.
func straight(m image.Image) *image.NRGBA {
	if n, ok := m.(*image.NRGBA); ok && n.Rect.Min == (image.Point{}) {
		return n
	}
	n := image.NewNRGBA(image.Rectangle{Max: m.Bounds().Size()})
	draw.Draw(n, n.Rect, m, m.Bounds().Min, draw.Src)
	return n
}
