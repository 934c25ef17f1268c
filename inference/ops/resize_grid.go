package ops

import (
	"fmt"
	"math"
	"slices"

	"cutout/inference/tensor"
)

func gridSampleOps() []Op {
	return []Op{newOp("GridSample", 16, 0, arity{2, 2, 1}, inferGridSample, runGridSample)}
}

// gridMode holds the attributes of GridSample; mode is nearest, linear or cubic.
type gridMode struct {
	mode, padding string
	alignCorners  bool
}

func readGridMode(n *Node) (m gridMode, err error) {
	if n.Opset < 20 {
		m.mode, err = n.Attrs.OneOf("mode", "bilinear", "nearest", "bicubic")
	} else {
		m.mode, err = n.Attrs.OneOf("mode", "linear", "nearest", "cubic")
	}
	if err != nil {
		return m, err
	}
	switch m.mode {
	case "bilinear":
		m.mode = "linear"
	case "bicubic":
		m.mode = "cubic"
	}
	if m.padding, err = n.Attrs.OneOf("padding_mode", "zeros", "border", "reflection"); err != nil {
		return m, err
	}
	m.alignCorners, err = n.Attrs.Bool("align_corners", false)
	return m, err
}

func inferGridSample(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := want(in, 0, floatTypes...); err != nil {
		return nil, err
	}
	if err := wantSame(in); err != nil {
		return nil, err
	}
	x, grid := in[0].Shape, in[1].Shape
	axes := len(x) - 2
	if axes < 2 || axes > 3 || n.Opset < 20 && axes != 2 {
		return nil, fmt.Errorf("input shape %v has %d spatial axes, the operator takes 2 or (from opset 20) 3", x, axes)
	}
	if len(grid) != len(x) || grid[0] != x[0] || grid[len(grid)-1] != axes {
		return nil, fmt.Errorf("grid of shape %v does not fit input %v", grid, x)
	}
	out := slices.Concat(x[:2], grid[1:len(grid)-1])
	for _, d := range x[2:] {
		if d < 1 || d > maxSpatial {
			return nil, fmt.Errorf("input shape %v has a spatial size outside 1..%d", x, maxSpatial)
		}
	}
	_, err := readGridMode(n)
	return []Type{{in[0].DType, out}}, err
}

func runGridSample(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	m, err := readGridMode(n)
	if err != nil {
		return nil, err
	}
	if out[0].DType == tensor.Float64 {
		return one(gridSample[float64](&m, in[0], in[1], out[0].Shape)), nil
	}
	return one(gridSample[float32](&m, in[0], in[1], out[0].Shape)), nil
}

// gridTap is one input element that an output element reads.
type gridTap struct {
	at     int
	weight float64
}

// gridSample reads x (N, C, spatial...) at the coordinates of grid (N, spatial'..., axes), which name the innermost
// axis first and run over -1..1. The taps of a position serve all channels.
func gridSample[T float32 | float64](m *gridMode, tx, tgrid *tensor.Tensor, shape []int) *tensor.Tensor {
	x, grid := tensor.Values[T](tx), tensor.Values[T](tgrid)
	y := make([]T, tensor.Count(shape))
	if len(y) == 0 {
		return tensor.Of(y, shape...)
	}
	dims := tx.Shape()[2:]
	strides := tensor.Strides(dims)
	inArea, outArea, axes := tensor.Count(dims), tensor.Count(shape[2:]), len(dims)
	var taps, next []gridTap
	for b := range shape[0] {
		for o := range outArea {
			coords := grid[(b*outArea+o)*axes:][:axes]
			taps = append(taps[:0], gridTap{0, 1})
			for i, size := range dims {
				next = next[:0]
				for _, along := range m.taps(float64(denormalise(coords[axes-1-i], size, m.alignCorners)), size) {
					for _, t := range taps {
						next = append(next, gridTap{t.at + along.at*strides[i], t.weight * along.weight})
					}
				}
				taps, next = next, taps
			}
			for c := range shape[1] {
				plane := x[(b*shape[1]+c)*inArea:][:inArea]
				var sum float64
				for _, t := range taps {
					sum += t.weight * float64(plane[t.at])
				}
				y[(b*shape[1]+c)*outArea+o] = T(sum)
			}
		}
	}
	return tensor.Of(y, shape...)
}

// denormalise maps -1..1 to positions: to the outermost elements' centres, or to their outer edges.
func denormalise[T float32 | float64](v T, size int, alignCorners bool) T {
	if alignCorners {
		return (v + 1) / 2 * T(size-1)
	}
	return ((v+1)*T(size) - 1) / 2
}

// taps returns the elements of one axis that position v reads. Elements outside weigh nothing under zero padding
// and are left out.
func (m *gridMode) taps(v float64, size int) []gridTap {
	lo, hi := -0.5, float64(size)-0.5
	if m.alignCorners {
		lo, hi = 0, float64(size-1)
	}
	if m.mode == "nearest" {
		v = math.RoundToEven(v)
	}
	switch {
	case v != v:
		v = -1e9
	case m.padding == "border" && m.mode != "cubic":
		v = min(max(v, 0), float64(size-1))
	case m.padding == "reflection":
		v = reflect(v, lo, hi)
	}
	v = min(max(v, -1e9), 2e9) // far outside is outside, whatever the number
	var around [4]gridTap
	first := math.Floor(v)
	ratio := v - first
	var count int
	switch m.mode {
	case "nearest":
		around[0].weight, count = 1, 1
	case "linear":
		around[0].weight, around[1].weight, count = 1-ratio, ratio, 2
	default:
		first--
		for k := range around {
			around[k].weight = cubicWeight(math.Abs(float64(k-1)-ratio), -0.75)
		}
		count = 4
	}
	inside := around[:0]
	for k := range count {
		at := int(first) + k
		switch m.padding {
		case "zeros":
			if at < 0 || at >= size {
				continue
			}
		case "reflection":
			at = int(reflect(float64(at), lo, hi))
		}
		inside = append(inside, gridTap{min(max(at, 0), size-1), around[k].weight})
	}
	return inside
}

// reflect folds v into lo..hi, mirrored at both ends.
func reflect(v, lo, hi float64) float64 {
	span := hi - lo
	if span <= 0 || math.IsInf(v, 0) {
		return lo
	}
	d := math.Mod(math.Abs(v-lo), 2*span)
	if d > span {
		d = 2*span - d
	}
	return lo + d
}
