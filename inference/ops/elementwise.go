package ops

import (
	"fmt"
	"math"
	"slices"

	"cutout/inference/tensor"
)

// elementwiseOps holds the operators that treat every element alike, broadcasting where they take several inputs.
func elementwiseOps() []Op {
	var ops []Op
	two, any1 := arity{2, 2, 1}, arity{1, -1, 1}
	arith := inferBroadcast(tensor.Invalid, numberTypes...)
	for _, name := range []string{"Add", "Sub", "Mul", "Div"} {
		ops = append(ops, newOp(name, 7, 0, two, arith, runArith))
		infer, run := withAxisBroadcast(arith, runArith)
		ops = append(ops, newOp(name, 1, 6, two, infer, run))
	}
	for _, name := range []string{"Max", "Min"} {
		ops = append(ops, newOp(name, 1, 0, any1, arith, runArith))
	}
	floats := inferBroadcast(tensor.Invalid, floatTypes...)
	ops = append(ops,
		newOp("Sum", 1, 0, any1, floats, runArith),
		newOp("Mean", 1, 0, any1, floats, runMean),
		newOp("Mod", 10, 0, two, inferMod, runMod),
		newOp("Pow", 7, 0, two, inferPow, runPow),
	)
	infer, run := withAxisBroadcast(inferPow, runPow)
	ops = append(ops, newOp("Pow", 1, 6, two, infer, run))
	return slices.Concat(ops, unaryOps())
}

// runArith folds any number of inputs with the node's operator; Sum is Add.
func runArith(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	if len(in) == 1 {
		return one(in[0]), nil
	}
	switch in[0].DType() {
	case tensor.Float32:
		return foldRows(in, arithRow[float32](n.OpType))
	case tensor.Float64:
		return foldRows(in, arithRow[float64](n.OpType))
	}
	if n.OpType == "Div" && hasZero(in[1]) {
		return nil, fmt.Errorf("integer division by zero")
	}
	switch in[0].DType() {
	case tensor.Int8:
		return foldRows(in, arithRow[int8](n.OpType))
	case tensor.Int16:
		return foldRows(in, arithRow[int16](n.OpType))
	case tensor.Int32:
		return foldRows(in, arithRow[int32](n.OpType))
	case tensor.Int64:
		return foldRows(in, arithRow[int64](n.OpType))
	case tensor.Uint8:
		return foldRows(in, arithRow[uint8](n.OpType))
	case tensor.Uint16:
		return foldRows(in, arithRow[uint16](n.OpType))
	case tensor.Uint32:
		return foldRows(in, arithRow[uint32](n.OpType))
	default:
		return foldRows(in, arithRow[uint64](n.OpType))
	}
}

func foldRows[T tensor.Number](in []*tensor.Tensor, f func(dst, a, b []T)) ([]*tensor.Tensor, error) {
	acc := in[0]
	for _, t := range in[1:] {
		shape, err := broadcastShapes(acc.Shape(), t.Shape())
		if err != nil {
			return nil, err
		}
		acc = binaryRows(shape, acc, t, f)
	}
	return one(acc), nil
}

func arithRow[T tensor.Number](op string) func(dst, a, b []T) {
	switch op {
	case "Add", "Sum":
		return addRow[T]
	case "Sub":
		return subRow[T]
	case "Mul":
		return mulRow[T]
	case "Div":
		return divRow[T]
	case "Max":
		return rowOf(func(a, b T) T { return max(a, b) })
	default:
		return rowOf(func(a, b T) T { return min(a, b) })
	}
}

// spread fills the rest of a row whose inputs are both single elements.
func spread[T any](dst []T) { fill(dst[1:], dst[0]) }

func addRow[T tensor.Number](dst, a, b []T) {
	switch {
	case len(a) == 1 && len(b) == 1:
		dst[0] = a[0] + b[0]
		spread(dst)
	case len(a) == 1:
		addRow(dst, b, a)
	case len(b) == 1:
		y := b[0]
		for i, x := range a {
			dst[i] = x + y
		}
	default:
		b = b[:len(a)]
		dst = dst[:len(a)]
		for i, x := range a {
			dst[i] = x + b[i]
		}
	}
}

func subRow[T tensor.Number](dst, a, b []T) {
	switch {
	case len(a) == 1 && len(b) == 1:
		dst[0] = a[0] - b[0]
		spread(dst)
	case len(a) == 1:
		x := a[0]
		for i, y := range b {
			dst[i] = x - y
		}
	case len(b) == 1:
		y := b[0]
		for i, x := range a {
			dst[i] = x - y
		}
	default:
		b = b[:len(a)]
		dst = dst[:len(a)]
		for i, x := range a {
			dst[i] = x - b[i]
		}
	}
}

func mulRow[T tensor.Number](dst, a, b []T) {
	switch {
	case len(a) == 1 && len(b) == 1:
		dst[0] = a[0] * b[0]
		spread(dst)
	case len(a) == 1:
		mulRow(dst, b, a)
	case len(b) == 1:
		y := b[0]
		for i, x := range a {
			dst[i] = x * y
		}
	default:
		b = b[:len(a)]
		dst = dst[:len(a)]
		for i, x := range a {
			dst[i] = x * b[i]
		}
	}
}

func divRow[T tensor.Number](dst, a, b []T) {
	switch {
	case len(a) == 1 && len(b) == 1:
		dst[0] = a[0] / b[0]
		spread(dst)
	case len(a) == 1:
		x := a[0]
		for i, y := range b {
			dst[i] = x / y
		}
	case len(b) == 1:
		y := b[0]
		for i, x := range a {
			dst[i] = x / y
		}
	default:
		b = b[:len(a)]
		dst = dst[:len(a)]
		for i, x := range a {
			dst[i] = x / b[i]
		}
	}
}

func runMean(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	sum, err := runArith(&Node{OpType: "Sum"}, in, out)
	if err != nil || len(in) == 1 {
		return sum, err
	}
	if sum[0].DType() == tensor.Float64 {
		scale(tensor.Values[float64](sum[0]), 1/float64(len(in)))
	} else {
		scale(tensor.Values[float32](sum[0]), 1/float32(len(in)))
	}
	return sum, nil
}

func scale[T float32 | float64](v []T, by T) {
	for i := range v {
		v[i] *= by
	}
}

// hasZero reports whether an integer tensor holds a zero.
func hasZero(t *tensor.Tensor) bool {
	switch t.DType() {
	case tensor.Int8:
		return slices.Contains(tensor.Values[int8](t), 0)
	case tensor.Int16:
		return slices.Contains(tensor.Values[int16](t), 0)
	case tensor.Int32:
		return slices.Contains(tensor.Values[int32](t), 0)
	case tensor.Int64:
		return slices.Contains(tensor.Values[int64](t), 0)
	case tensor.Uint8:
		return slices.Contains(tensor.Values[uint8](t), 0)
	case tensor.Uint16:
		return slices.Contains(tensor.Values[uint16](t), 0)
	case tensor.Uint32:
		return slices.Contains(tensor.Values[uint32](t), 0)
	case tensor.Uint64:
		return slices.Contains(tensor.Values[uint64](t), 0)
	}
	return false
}

func inferMod(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	fmod, err := n.Attrs.Bool("fmod", false)
	if err != nil {
		return nil, err
	}
	if !fmod && slices.Contains(floatTypes, in[0].DType) {
		return nil, fmt.Errorf("attribute fmod must be 1 for %s", in[0].DType)
	}
	return inferBroadcast(tensor.Invalid, numberTypes...)(n, in, consts)
}

func runMod(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	fmod, err := n.Attrs.Bool("fmod", false)
	if err != nil {
		return nil, err
	}
	a, b, shape := in[0], in[1], out[0].Shape
	if hasZero(b) {
		return nil, fmt.Errorf("integer division by zero")
	}
	switch a.DType() {
	case tensor.Float32:
		return one(binaryRows(shape, a, b, rowOf(func(x, y float32) float32 { return float32(math.Mod(float64(x), float64(y))) }))), nil
	case tensor.Float64:
		return one(binaryRows(shape, a, b, rowOf(math.Mod))), nil
	case tensor.Int8:
		return one(binaryRows(shape, a, b, modRow[int8](fmod))), nil
	case tensor.Int16:
		return one(binaryRows(shape, a, b, modRow[int16](fmod))), nil
	case tensor.Int32:
		return one(binaryRows(shape, a, b, modRow[int32](fmod))), nil
	case tensor.Int64:
		return one(binaryRows(shape, a, b, modRow[int64](fmod))), nil
	case tensor.Uint8:
		return one(binaryRows(shape, a, b, modRow[uint8](true))), nil
	case tensor.Uint16:
		return one(binaryRows(shape, a, b, modRow[uint16](true))), nil
	case tensor.Uint32:
		return one(binaryRows(shape, a, b, modRow[uint32](true))), nil
	default:
		return one(binaryRows(shape, a, b, modRow[uint64](true))), nil
	}
}

type integer interface {
	int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64
}

// modRow takes the sign of the dividend (C) or, when trunc is off, that of the divisor (Python).
func modRow[T integer](trunc bool) func(dst, a, b []T) {
	if trunc {
		return rowOf(func(x, y T) T { return x % y })
	}
	return rowOf(func(x, y T) T {
		r := x % y
		if r != 0 && (r < 0) != (y < 0) {
			r += y
		}
		return r
	})
}

// inferPow lets the exponent have a type of its own, as opset 12 does.
func inferPow(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	for i := range 2 {
		if err := want(in, i, numberTypes...); err != nil {
			return nil, err
		}
	}
	shape, err := broadcastShapes(in[0].Shape, in[1].Shape)
	if err != nil {
		return nil, err
	}
	return []Type{{in[0].DType, shape}}, nil
}

func runPow(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	base, exponent, shape := in[0], in[1], out[0].Shape
	integers := slices.Contains(integerTypes, base.DType()) && slices.Contains(integerTypes, exponent.DType())
	if integers {
		// Whole powers of whole numbers are exact modulo the width of the type, which float64 is not.
		y := convert(exponent, tensor.Int64)
		z := binaryRows(shape, convert(base, tensor.Int64), y, rowOf(intPow))
		return one(convert(z, base.DType())), nil
	}
	e := convert(exponent, tensor.Float64)
	if base.DType() == tensor.Float32 && e.Len() == 1 && len(shape) == base.Rank() {
		x := tensor.Values[float32](base)
		dst := make([]float32, len(x))
		switch p := tensor.Values[float64](e)[0]; p {
		case 2:
			for i, v := range x {
				dst[i] = v * v
			}
		case 3:
			for i, v := range x {
				dst[i] = v * v * v
			}
		case 0.5:
			for i, v := range x {
				dst[i] = float32(math.Sqrt(float64(v)))
			}
		default:
			for i, v := range x {
				dst[i] = float32(math.Pow(float64(v), p))
			}
		}
		return one(tensor.Of(dst, shape...)), nil
	}
	z := binaryRows(shape, convert(base, tensor.Float64), e, rowOf(math.Pow))
	return one(convert(z, base.DType())), nil
}

// intPow is x to the power of y, wrapping; a negative power truncates to zero but for ±1.
func intPow(x, y int64) int64 {
	if y < 0 {
		switch {
		case x == 1 || x == -1 && y%2 == 0:
			return 1
		case x == -1:
			return -1
		}
		return 0
	}
	z := int64(1)
	for ; y > 0; y >>= 1 {
		if y&1 == 1 {
			z *= x
		}
		x *= x
	}
	return z
}
