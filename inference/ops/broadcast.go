package ops

import (
	"fmt"
	"slices"

	"cutout/inference/tensor"
)

var (
	floatTypes   = []tensor.DType{tensor.Float32, tensor.Float64}
	signedTypes  = []tensor.DType{tensor.Float32, tensor.Float64, tensor.Int8, tensor.Int16, tensor.Int32, tensor.Int64}
	integerTypes = []tensor.DType{tensor.Int8, tensor.Int16, tensor.Int32, tensor.Int64, tensor.Uint8, tensor.Uint16, tensor.Uint32, tensor.Uint64}
	numberTypes  = append(slices.Clone(floatTypes), integerTypes...)
	indexTypes   = []tensor.DType{tensor.Int32, tensor.Int64}
	boolTypes    = []tensor.DType{tensor.Bool}
)

// broadcastShapes returns the shape that both shapes spread to under ONNX's multidirectional broadcasting.
func broadcastShapes(a, b []int) ([]int, error) {
	out := make([]int, max(len(a), len(b)))
	for i := range out {
		x, y := 1, 1
		if j := i - len(out) + len(a); j >= 0 {
			x = a[j]
		}
		if j := i - len(out) + len(b); j >= 0 {
			y = b[j]
		}
		switch {
		case x == y || y == 1:
			out[i] = x
		case x == 1:
			out[i] = y
		default:
			return nil, fmt.Errorf("shapes %v and %v do not broadcast", a, b)
		}
	}
	return out, nil
}

// broadcastStrides returns the strides that make a tensor of shape from look like one of shape to,
// to which it must broadcast: 0 along the dimensions that it repeats.
func broadcastStrides(from, to []int) []int {
	s := make([]int, len(to))
	own := tensor.Strides(from)
	for i := range from {
		if from[i] != 1 {
			s[len(to)-len(from)+i] = own[i]
		}
	}
	return s
}

// rowPlan walks operands that share an iteration space row by row. Dimensions that every operand steps through
// evenly are merged, so that the rows are as long as the strides allow.
type rowPlan struct {
	n       int     // elements of a row
	step    []int   // per operand: distance between neighbours in a row
	outer   []int   // sizes of the dimensions around a row, outermost first
	strides [][]int // per operand: strides of outer
	empty   bool
}

func planRows(shape []int, strides ...[]int) rowPlan {
	p := rowPlan{n: 1, step: make([]int, len(strides)), strides: make([][]int, len(strides))}
	// size and step of the dimension being merged, innermost first
	size, first := 1, true
	step := make([]int, len(strides))
	flush := func() {
		if p.n == 1 && len(p.outer) == 0 {
			p.n = size
			copy(p.step, step)
			return
		}
		p.outer = append(p.outer, size)
		for k := range strides {
			p.strides[k] = append(p.strides[k], step[k])
		}
	}
	for d, dim := range slices.Backward(shape) {
		switch dim {
		case 0:
			return rowPlan{empty: true}
		case 1:
			continue
		}
		merge := !first
		for k := range strides {
			if merge && strides[k][d] != step[k]*size {
				merge = false
			}
		}
		if merge {
			size *= dim
			continue
		}
		if !first {
			flush()
		}
		size, first = dim, false
		for k := range strides {
			step[k] = strides[k][d]
		}
	}
	flush()
	slices.Reverse(p.outer)
	for k := range p.strides {
		slices.Reverse(p.strides[k])
	}
	return p
}

// each calls f with the offset of every row, per operand. f must not keep the slice.
func (p *rowPlan) each(f func(offset []int)) {
	if p.empty {
		return
	}
	offset := make([]int, len(p.step))
	index := make([]int, len(p.outer))
	for {
		f(offset)
		d := len(index) - 1
		for ; d >= 0; d-- {
			index[d]++
			for k := range offset {
				offset[k] += p.strides[k][d]
			}
			if index[d] < p.outer[d] {
				break
			}
			for k := range offset {
				offset[k] -= p.strides[k][d] * p.outer[d]
			}
			index[d] = 0
		}
		if d < 0 {
			return
		}
	}
}

// row returns the elements of operand k's row at offset: one element where the operand repeats it.
func row[T any](p *rowPlan, v []T, k, offset int) []T {
	if p.step[k] == 0 {
		return v[offset : offset+1]
	}
	return v[offset : offset+p.n]
}

// binaryRows computes an operator of two broadcast inputs row by row; f's inputs have the length of dst or 1.
func binaryRows[T, R tensor.Element](shape []int, a, b *tensor.Tensor, f func(dst []R, a, b []T)) *tensor.Tensor {
	dst := make([]R, tensor.Count(shape))
	x, y := tensor.Values[T](a), tensor.Values[T](b)
	p := planRows(shape, tensor.Strides(shape), broadcastStrides(a.Shape(), shape), broadcastStrides(b.Shape(), shape))
	p.each(func(o []int) {
		f(dst[o[0]:o[0]+p.n], row(&p, x, 1, o[1]), row(&p, y, 2, o[2]))
	})
	return tensor.Of(dst, shape...)
}

// rowOf turns a function of two elements into one of rows.
func rowOf[T, R any](f func(a, b T) R) func(dst []R, a, b []T) {
	return func(dst []R, a, b []T) {
		switch {
		case len(b) == 1:
			y := b[0]
			for i := range a {
				dst[i] = f(a[i], y)
			}
			if len(a) < len(dst) {
				fill(dst, dst[0])
			}
		case len(a) == 1:
			x := a[0]
			for i := range dst {
				dst[i] = f(x, b[i])
			}
		default:
			for i := range dst {
				dst[i] = f(a[i], b[i])
			}
		}
	}
}

func fill[T any](dst []T, v T) {
	for i := range dst {
		dst[i] = v
	}
}

// withAxisBroadcast adapts an operator to the broadcasting of opsets 1 to 6: none unless attribute broadcast is 1,
// and then the second input lines up with the first one's dimensions from attribute axis on.
func withAxisBroadcast(infer Infer, run compute) (Infer, compute) {
	align := func(n *Node, a, b []int) ([]int, error) {
		on, err := n.Attrs.Bool("broadcast", false)
		if err != nil {
			return nil, err
		}
		if !on {
			if !slices.Equal(a, b) {
				return nil, fmt.Errorf("shapes %v and %v differ and broadcast is off", a, b)
			}
			return b, nil
		}
		if len(b) > len(a) {
			return nil, fmt.Errorf("shape %v does not broadcast to %v", b, a)
		}
		axis, err := n.Attrs.Int("axis", len(a)-len(b))
		if err != nil {
			return nil, err
		}
		if axis < 0 {
			axis += len(a)
		}
		if axis < 0 || axis > len(a)-len(b) {
			return nil, fmt.Errorf("axis %d does not place shape %v in %v", axis, b, a)
		}
		out := slices.Repeat([]int{1}, len(a))
		copy(out[axis:], b)
		for i := range out {
			if out[i] != 1 && out[i] != a[i] {
				return nil, fmt.Errorf("shape %v does not broadcast to %v at axis %d", b, a, axis)
			}
		}
		return out, nil
	}
	return func(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
			b, err := align(n, in[0].Shape, in[1].Shape)
			if err != nil {
				return nil, err
			}
			return infer(n, []Type{in[0], {in[1].DType, b}}, nil)
		}, func(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
			shape, err := align(n, in[0].Shape(), in[1].Shape())
			if err != nil {
				return nil, err
			}
			b, err := in[1].Reshape(shape...)
			if err != nil {
				return nil, err
			}
			return run(n, []*tensor.Tensor{in[0], b}, out)
		}
}

// inferBroadcast is the shape function of operators of any number of broadcast inputs of one type.
// result is the output's element type; Invalid stands for the inputs' own.
func inferBroadcast(result tensor.DType, allowed ...tensor.DType) Infer {
	return func(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
		if err := want(in, 0, allowed...); err != nil {
			return nil, err
		}
		if err := wantSame(in); err != nil {
			return nil, err
		}
		shape := in[0].Shape
		for i, t := range in[1:] {
			if !present(in, i+1) {
				return nil, fmt.Errorf("input %d is missing", i+1)
			}
			var err error
			if shape, err = broadcastShapes(shape, t.Shape); err != nil {
				return nil, err
			}
		}
		dtype := result
		if dtype == tensor.Invalid {
			dtype = in[0].DType
		}
		return []Type{{dtype, slices.Clone(shape)}}, nil
	}
}

// inferSame is the shape function of operators whose output has the type of their first input.
func inferSame(allowed ...tensor.DType) Infer {
	return func(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
		if len(allowed) > 0 {
			if err := want(in, 0, allowed...); err != nil {
				return nil, err
			}
		}
		return []Type{in[0]}, nil
	}
}

func one(t *tensor.Tensor) []*tensor.Tensor { return []*tensor.Tensor{t} }
