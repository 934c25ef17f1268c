package ops

import (
	"fmt"

	"cutout/inference/tensor"
)

// padding is Pad's work per dimension; negative amounts crop.
type padding struct {
	before, after []int
	mode          string
	value         *tensor.Tensor // one element, nil for zero
}

func paddingOf(n *Node, in []Type, consts []*tensor.Tensor) (padding, error) {
	rank := len(in[0].Shape)
	var pads []int
	var p padding
	var err error
	choices := []string{"constant", "reflect", "edge"}
	if n.Opset >= 19 {
		choices = append(choices, "wrap")
	}
	if p.mode, err = n.Attrs.OneOf("mode", choices...); err != nil {
		return p, err
	}
	axes := make([]int, rank)
	for i := range axes {
		axes[i] = i
	}
	if n.Opset < 11 {
		name := "pads"
		if n.Opset == 1 {
			name = "paddings"
		}
		if !n.Attrs.Has(name) {
			return p, fmt.Errorf("attribute %s is missing", name)
		}
		if pads, err = n.Attrs.Ints(name); err != nil {
			return p, err
		}
		v, err := n.Attrs.Float("value", 0)
		if err != nil {
			return p, err
		}
		if v != 0 {
			p.value = convert(tensor.Scalar(v), in[0].DType)
		}
	} else {
		if present(in, 2) {
			if in[2].DType != in[0].DType {
				return p, fmt.Errorf("input 2 is %s, input 0 is %s", in[2].DType, in[0].DType)
			}
			if c, err := tensor.CheckShape(in[2].Shape, 1); err != nil || c != 1 {
				return p, fmt.Errorf("input 2 has shape %v, want a scalar", in[2].Shape)
			}
			p.value = at(consts, 2)
		}
		if pads, _, err = intsValue(in, consts, 1); err != nil {
			return p, err
		}
		if n.Opset >= 18 {
			given, ok, err := intsValue(in, consts, 3)
			if err != nil {
				return p, err
			}
			if ok {
				if axes, err = axesIn(given, rank); err != nil {
					return p, err
				}
			}
		}
	}
	if len(pads) != 2*len(axes) {
		return p, fmt.Errorf("%d pads do not fit %d axes", len(pads), len(axes))
	}
	p.before, p.after = make([]int, rank), make([]int, rank)
	for i, a := range axes {
		p.before[a], p.after[a] = pads[i], pads[i+len(axes)]
	}
	return p, nil
}

func inferPad(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	p, err := paddingOf(n, in, consts)
	if err != nil {
		return nil, err
	}
	shape := make([]int, len(in[0].Shape))
	for d, size := range in[0].Shape {
		b, a := p.before[d], p.after[d]
		if b > MaxElements || a > MaxElements || b < -size || a < -size || size+b+a < 0 {
			return nil, fmt.Errorf("pads %d and %d do not fit dimension %d of %v", b, a, d, in[0].Shape)
		}
		shape[d] = size + b + a
		if p.mode != "constant" && size+min(b, 0)+min(a, 0) == 0 && shape[d] > 0 {
			return nil, fmt.Errorf("nothing to fill dimension %d of %v from", d, in[0].Shape)
		}
	}
	return []Type{{in[0].DType, shape}}, nil
}

// padIndex maps every output coordinate of a dimension to its source, or to -1 for the constant.
func padIndex(size, before, after int, mode string) []int {
	lo, hi := max(0, -before), size-max(0, -after) // what cropping leaves
	n := hi - lo
	index := make([]int, size+before+after)
	for i := range index {
		k := i - before - lo
		switch {
		case k >= 0 && k < n:
		case mode == "edge":
			k = max(0, min(k, n-1))
		case mode == "wrap":
			k = (k%n + n) % n
		case mode == "reflect":
			if period := 2 * (n - 1); period == 0 {
				k = 0
			} else if k = (k%period + period) % period; k >= n {
				k = period - k
			}
		default:
			index[i] = -1
			continue
		}
		index[i] = k + lo
	}
	return index
}

func runPad(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	p, err := paddingOf(n, typesOf(in), in)
	if err != nil {
		return nil, err
	}
	src, shape := in[0], out[0].Shape
	rank := len(shape)
	if tensor.Count(shape) == 0 {
		return one(tensor.New(src.DType(), shape...)), nil
	}
	if p.mode == "constant" {
		dst := tensor.New(src.DType(), shape...)
		if p.value != nil {
			copyView([]int{dst.Len()}, dst, 0, []int{1}, p.value, 0, []int{0})
		}
		inner := make([]int, rank)
		from, to := 0, 0
		own, strides := tensor.Strides(src.Shape()), tensor.Strides(shape)
		for d, size := range src.Shape() {
			inner[d] = size + min(p.before[d], 0) + min(p.after[d], 0)
			if inner[d] <= 0 {
				return one(dst), nil
			}
			from += max(0, -p.before[d]) * own[d]
			to += max(0, p.before[d]) * strides[d]
		}
		copyView(inner, dst, to, strides, src, from, own)
		return one(dst), nil
	}
	// One dimension at a time: the borders of the later ones are then made of padded data, as they should be.
	t := src
	for d := range rank {
		if p.before[d] == 0 && p.after[d] == 0 {
			continue
		}
		size := t.Shape()[d]
		along := padIndex(size, p.before[d], p.after[d], p.mode)
		outer, block := volume(t.Shape()[:d]), volume(t.Shape()[d+1:])
		index := make([]int, 0, outer*len(along))
		for o := range outer {
			for _, k := range along {
				index = append(index, o*size+k)
			}
		}
		next := append([]int(nil), t.Shape()...)
		next[d] = len(along)
		t = takeBlocks(next, t, index, block)
	}
	return one(t), nil
}
