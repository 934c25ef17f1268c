package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"image"
	"math"

	"cutout/codec"
	"cutout/inference"
	"cutout/inference/tensor"
	"cutout/weights"
)

// network is a loaded segmentation model with the preparation its catalogue entry asks for.
type network struct {
	entry   weights.Entry
	version string // head of the SHA-256 of its file
	model   *inference.Model
}

// scores is what a network says of a picture, before it is stretched to a mask.
type scores struct {
	width, height int
	values        []float32 // [H,W], row-major, as the network yields them
	min, max      float32
}

// loadNetwork verifies, decodes and warms a network, so that the first request finds it compiled.
func loadNetwork(ctx context.Context, entry weights.Entry, dir, cpu string, threads int) (*network, error) {
	data, err := entry.LoadFrom(dir)
	if err != nil {
		return nil, fmt.Errorf("pipeline: %w", err)
	}
	if entry.SHA256 == "" {
		sum := sha256.Sum256(data)
		entry.SHA256 = hex.EncodeToString(sum[:])
	}
	model, err := inference.Load(data, inference.Config{CPU: cpu})
	if err != nil {
		return nil, fmt.Errorf("pipeline: network %s: %w", entry.Name, err)
	}
	if entry.Input.Name == "" && len(model.Inputs()) > 0 {
		entry.Input.Name = model.Inputs()[0].Name
	}
	if entry.Output.Name == "" && len(model.Outputs()) > 0 {
		entry.Output.Name = model.Outputs()[0].Name
	}
	n := &network{entry: entry, version: entry.Version(), model: model}
	if _, err := n.run(ctx, image.NewNRGBA(image.Rect(0, 0, 16, 16)), threads); err != nil {
		return nil, fmt.Errorf("pipeline: network %s: %w", entry.Name, err)
	}
	return n, nil
}

// run scores a photo.
func (n *network) run(ctx context.Context, photo *image.NRGBA, threads int) (*scores, error) {
	return n.score(ctx, n.shrink(photo), threads)
}

// shrink resamples a photo to the network's size.
func (n *network) shrink(photo *image.NRGBA) *image.NRGBA {
	if in := n.entry.Input; in.Filter == weights.Bilinear {
		return codec.Bilinear(photo, in.Width, in.Height)
	}
	return codec.Lanczos(photo, n.entry.Input.Width, n.entry.Input.Height)
}

// score runs the network on a picture of its size, scaled and normalised as its entry says.
func (n *network) score(ctx context.Context, small *image.NRGBA, threads int) (*scores, error) {
	in := n.entry.Input
	out, err := n.model.Run(ctx, map[string]*tensor.Tensor{in.Name: prepare(small, in)},
		inference.RunOptions{Threads: threads, Outputs: []string{n.entry.Output.Name}})
	if err != nil {
		return nil, err
	}
	return n.read(out[n.entry.Output.Name])
}

// prepare turns an 8-bit picture of the network's size into its input tensor, as rembg does: channel values divided by the
// largest of the picture or by 255, less the mean, over the deviation.
func prepare(m *image.NRGBA, in weights.Input) *tensor.Tensor {
	w, h := in.Width, in.Height
	divisor := float32(255)
	if in.Scale == weights.ByMax {
		top := byte(0)
		for i := 0; i < len(m.Pix); i += 4 {
			top = max(top, m.Pix[i], m.Pix[i+1], m.Pix[i+2])
		}
		divisor = max(float32(top), 1e-6)
	}
	data := make([]float32, 3*w*h)
	pixel, channel := 1, w*h
	if in.Layout == weights.NHWC {
		pixel, channel = 3, 1
	}
	for c := range 3 {
		mean, std := in.Mean[c], in.Std[c]
		if std == 0 {
			std = 1
		}
		var table [256]float32
		for v := range table {
			table[v] = (float32(v)/divisor - mean) / std
		}
		d := data[c*channel:]
		for i, p := 0, c; i < w*h; i, p = i+1, p+4 {
			d[i*pixel] = table[m.Pix[p]]
		}
	}
	return tensor.Of(data, in.Shape()...)
}

// read picks the subject's plane out of a network's output.
func (n *network) read(t *tensor.Tensor) (*scores, error) {
	shape := t.Shape()
	w, h := n.entry.Input.Width, n.entry.Input.Height
	if t.DType() != tensor.Float32 || w*h == 0 || t.Len()%(w*h) != 0 || len(shape) < 2 {
		return nil, fmt.Errorf("output %q is %s %v, not planes of %dx%d", n.entry.Output.Name, t.DType(), shape, w, h)
	}
	planes := t.Len() / (w * h)
	if n.entry.Output.Channel >= planes {
		return nil, fmt.Errorf("output %q has %d planes, plane %d is wanted", n.entry.Output.Name, planes, n.entry.Output.Channel)
	}
	v := tensor.Values[float32](t)
	s := &scores{width: w, height: h}
	if n.entry.Input.Layout == weights.NHWC && planes > 1 {
		s.values = make([]float32, w*h)
		for i := range s.values {
			s.values[i] = v[i*planes+n.entry.Output.Channel]
		}
	} else {
		s.values = v[n.entry.Output.Channel*w*h:][:w*h]
	}
	if n.entry.Output.Sigmoid {
		logits := s.values // those of the network are not ours to change
		s.values = make([]float32, len(logits))
		for i, x := range logits {
			s.values[i] = float32(1 / (1 + math.Exp(-float64(x))))
		}
	}
	s.min, s.max = float32(math.Inf(1)), float32(math.Inf(-1))
	for _, x := range s.values {
		s.min, s.max = min(s.min, x), max(s.max, x)
	}
	if math.IsNaN(float64(s.min+s.max)) || math.IsInf(float64(s.min+s.max), 0) {
		return nil, fmt.Errorf("output %q is not finite", n.entry.Output.Name)
	}
	return s, nil
}

// mask turns scores into an 8-bit mask of their own size: stretched to the full range where the entry says so, as rembg
// does (truncated, not rounded).
func (s *scores) mask(stretch bool) *image.Gray {
	m := image.NewGray(image.Rect(0, 0, s.width, s.height))
	for i := range m.Pix {
		m.Pix[i] = uint8(s.at(i, stretch) * 255)
	}
	return m
}

// at is a score as a mask value, 0..1. Stretched scores that are all the same are no mask.
func (s *scores) at(i int, stretch bool) float32 {
	v := s.values[i]
	if stretch {
		if s.max <= s.min {
			return 0
		}
		v = (v - s.min) / (s.max - s.min)
	}
	return min(max(v, 0), 1)
}
