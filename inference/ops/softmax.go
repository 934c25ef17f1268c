package ops

import (
	"math"

	"cutout/inference/tensor"
)

// softmaxOps holds Softmax and its kin. Up to opset 12 they see the input as a matrix, everything from axis on
// being one row; from 13 on they work along axis alone.
func softmaxOps() []Op {
	var ops []Op
	for _, name := range []string{"Softmax", "LogSoftmax", "Hardmax"} {
		ops = append(ops,
			newOp(name, 1, 12, arity{1, 1, 1}, inferSoftmax, runSoftmax),
			newOp(name, 13, 0, arity{1, 1, 1}, inferSoftmax, runSoftmax))
	}
	return ops
}

// softmaxView returns the sizes before, along and after the normalised dimension.
func softmaxView(n *Node, shape []int) (outer, size, inner int, err error) {
	def := -1
	if n.Opset < 13 {
		def = 1
	}
	axis, err := n.Attrs.Int("axis", def)
	if err != nil {
		return 0, 0, 0, err
	}
	if n.Opset < 13 {
		if axis != len(shape) { // a matrix of one column is allowed
			if axis, err = axisIn(axis, len(shape)); err != nil {
				return 0, 0, 0, err
			}
		}
		return volume(shape[:axis]), volume(shape[axis:]), 1, nil
	}
	if axis, err = axisIn(axis, len(shape)); err != nil {
		return 0, 0, 0, err
	}
	return volume(shape[:axis]), shape[axis], volume(shape[axis+1:]), nil
}

func inferSoftmax(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := want(in, 0, floatTypes...); err != nil {
		return nil, err
	}
	if _, _, _, err := softmaxView(n, in[0].Shape); err != nil {
		return nil, err
	}
	return []Type{in[0]}, nil
}

func runSoftmax(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	outer, size, inner, err := softmaxView(n, in[0].Shape())
	if err != nil {
		return nil, err
	}
	if in[0].DType() == tensor.Float64 {
		return one(softmax[float64](n.OpType, in[0], outer, size, inner)), nil
	}
	return one(softmax[float32](n.OpType, in[0], outer, size, inner)), nil
}

func softmax[T float32 | float64](op string, t *tensor.Tensor, outer, size, inner int) *tensor.Tensor {
	src := tensor.Values[T](t)
	dst := make([]T, len(src))
	if len(src) == 0 {
		return tensor.Of(dst, t.Shape()...)
	}
	for o := range outer {
		for i := range inner {
			base := o*size*inner + i
			last := base + size*inner
			top, best := src[base], base
			for k := base; k < last; k += inner {
				if src[k] > top {
					top, best = src[k], k
				}
			}
			if op == "Hardmax" {
				dst[best] = 1
				continue
			}
			sum := 0.0
			for k := base; k < last; k += inner {
				e := math.Exp(float64(src[k] - top))
				dst[k] = T(e)
				sum += e
			}
			if op == "LogSoftmax" {
				log := math.Log(sum)
				for k := base; k < last; k += inner {
					dst[k] = T(float64(src[k]-top) - log)
				}
				continue
			}
			for k := base; k < last; k += inner {
				dst[k] = T(float64(dst[k]) / sum)
			}
		}
	}
	return tensor.Of(dst, t.Shape()...)
}
