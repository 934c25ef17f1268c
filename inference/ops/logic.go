package ops

import (
	"fmt"
	"math"
	"slices"

	"cutout/inference/tensor"
)

// logicOps holds comparisons, truth values and bits.
func logicOps() []Op {
	var ops []Op
	two := arity{2, 2, 1}
	legacy := func(name string, infer Infer, run compute) {
		infer, run = withAxisBroadcast(infer, run)
		ops = append(ops, newOp(name, 1, 6, two, infer, run))
	}
	for _, name := range []string{"And", "Or", "Xor"} {
		infer := inferBroadcast(tensor.Bool, tensor.Bool)
		ops = append(ops, newOp(name, 7, 0, two, infer, runBools))
		legacy(name, infer, runBools)
	}
	for _, name := range []string{"Greater", "Less"} {
		infer := inferBroadcast(tensor.Bool, numberTypes...)
		ops = append(ops, newOp(name, 7, 0, two, infer, runCompare))
		legacy(name, infer, runCompare)
	}
	for _, name := range []string{"GreaterOrEqual", "LessOrEqual"} {
		ops = append(ops, newOp(name, 12, 0, two, inferBroadcast(tensor.Bool, numberTypes...), runCompare))
	}
	equal := inferBroadcast(tensor.Bool, append(slices.Clone(boolTypes), numberTypes...)...)
	legacy("Equal", equal, runCompare)
	for _, name := range []string{"BitwiseAnd", "BitwiseOr", "BitwiseXor"} {
		ops = append(ops, newOp(name, 18, 0, two, inferBroadcast(tensor.Invalid, integerTypes...), runBits))
	}
	return append(ops,
		newOp("Equal", 7, 0, two, equal, runCompare),
		newOp("Not", 1, 0, arity{1, 1, 1}, inferSame(tensor.Bool), runNot),
		newOp("BitwiseNot", 18, 0, arity{1, 1, 1}, inferSame(integerTypes...), runBitwiseNot),
		newOp("BitShift", 11, 0, two, inferBitShift, runBits),
		newOp("Where", 9, 0, arity{3, 3, 1}, inferWhere, runWhere),
		newOp("IsNaN", 9, 0, arity{1, 1, 1}, inferToBool, runIsNaN),
		newOp("IsInf", 10, 0, arity{1, 1, 1}, inferIsInf, runIsInf),
	)
}

func runBools(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	var f func(a, b bool) bool
	switch n.OpType {
	case "And":
		f = func(a, b bool) bool { return a && b }
	case "Or":
		f = func(a, b bool) bool { return a || b }
	default:
		f = func(a, b bool) bool { return a != b }
	}
	return one(binaryRows(out[0].Shape, in[0], in[1], rowOf(f))), nil
}

func runCompare(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	shape, a, b := out[0].Shape, in[0], in[1]
	switch a.DType() {
	case tensor.Float32:
		return one(compare[float32](n.OpType, shape, a, b)), nil
	case tensor.Float64:
		return one(compare[float64](n.OpType, shape, a, b)), nil
	case tensor.Int8:
		return one(compare[int8](n.OpType, shape, a, b)), nil
	case tensor.Int16:
		return one(compare[int16](n.OpType, shape, a, b)), nil
	case tensor.Int32:
		return one(compare[int32](n.OpType, shape, a, b)), nil
	case tensor.Int64:
		return one(compare[int64](n.OpType, shape, a, b)), nil
	case tensor.Uint8:
		return one(compare[uint8](n.OpType, shape, a, b)), nil
	case tensor.Uint16:
		return one(compare[uint16](n.OpType, shape, a, b)), nil
	case tensor.Uint32:
		return one(compare[uint32](n.OpType, shape, a, b)), nil
	case tensor.Uint64:
		return one(compare[uint64](n.OpType, shape, a, b)), nil
	default: // only Equal takes bools
		return one(binaryRows(shape, a, b, rowOf(func(x, y bool) bool { return x == y }))), nil
	}
}

func compare[T tensor.Number](op string, shape []int, a, b *tensor.Tensor) *tensor.Tensor {
	var f func(x, y T) bool
	switch op {
	case "Greater":
		f = func(x, y T) bool { return x > y }
	case "GreaterOrEqual":
		f = func(x, y T) bool { return x >= y }
	case "Less":
		f = func(x, y T) bool { return x < y }
	case "LessOrEqual":
		f = func(x, y T) bool { return x <= y }
	default:
		f = func(x, y T) bool { return x == y }
	}
	return binaryRows(shape, a, b, rowOf(f))
}

func runNot(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	src := tensor.Values[bool](in[0])
	dst := make([]bool, len(src))
	for i, x := range src {
		dst[i] = !x
	}
	return one(tensor.Of(dst, in[0].Shape()...)), nil
}

func inferBitShift(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if !n.Attrs.Has("direction") {
		return nil, fmt.Errorf("attribute direction is missing")
	}
	if _, err := n.Attrs.OneOf("direction", "LEFT", "RIGHT"); err != nil {
		return nil, err
	}
	return inferBroadcast(tensor.Invalid, tensor.Uint8, tensor.Uint16, tensor.Uint32, tensor.Uint64)(n, in, consts)
}

func runBits(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	op := n.OpType
	if op == "BitShift" {
		direction, err := n.Attrs.OneOf("direction", "LEFT", "RIGHT")
		if err != nil {
			return nil, err
		}
		op = direction
	}
	shape, a, b := out[0].Shape, in[0], in[1]
	switch a.DType() {
	case tensor.Int8:
		return one(binaryRows(shape, a, b, bitRow[int8](op))), nil
	case tensor.Int16:
		return one(binaryRows(shape, a, b, bitRow[int16](op))), nil
	case tensor.Int32:
		return one(binaryRows(shape, a, b, bitRow[int32](op))), nil
	case tensor.Int64:
		return one(binaryRows(shape, a, b, bitRow[int64](op))), nil
	case tensor.Uint8:
		return one(binaryRows(shape, a, b, bitRow[uint8](op))), nil
	case tensor.Uint16:
		return one(binaryRows(shape, a, b, bitRow[uint16](op))), nil
	case tensor.Uint32:
		return one(binaryRows(shape, a, b, bitRow[uint32](op))), nil
	default:
		return one(binaryRows(shape, a, b, bitRow[uint64](op))), nil
	}
}

func bitRow[T integer](op string) func(dst, a, b []T) {
	switch op {
	case "BitwiseAnd":
		return rowOf(func(x, y T) T { return x & y })
	case "BitwiseOr":
		return rowOf(func(x, y T) T { return x | y })
	case "BitwiseXor":
		return rowOf(func(x, y T) T { return x ^ y })
	case "LEFT":
		// Only unsigned integers are shifted; the conversion keeps the compiler from checking for negative counts.
		return rowOf(func(x, y T) T { return x << uint64(y) })
	default:
		return rowOf(func(x, y T) T { return x >> uint64(y) })
	}
}

func runBitwiseNot(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	switch t := in[0]; t.DType() {
	case tensor.Int8:
		return one(bitNot[int8](t)), nil
	case tensor.Int16:
		return one(bitNot[int16](t)), nil
	case tensor.Int32:
		return one(bitNot[int32](t)), nil
	case tensor.Int64:
		return one(bitNot[int64](t)), nil
	case tensor.Uint8:
		return one(bitNot[uint8](t)), nil
	case tensor.Uint16:
		return one(bitNot[uint16](t)), nil
	case tensor.Uint32:
		return one(bitNot[uint32](t)), nil
	default:
		return one(bitNot[uint64](t)), nil
	}
}

func bitNot[T integer](t *tensor.Tensor) *tensor.Tensor {
	src := tensor.Values[T](t)
	dst := make([]T, len(src))
	for i, x := range src {
		dst[i] = ^x
	}
	return tensor.Of(dst, t.Shape()...)
}

func inferWhere(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := want(in, 0, tensor.Bool); err != nil {
		return nil, err
	}
	if in[1].DType != in[2].DType {
		return nil, fmt.Errorf("input 1 is %s, input 2 is %s", in[1].DType, in[2].DType)
	}
	shape, err := broadcastShapes(in[1].Shape, in[2].Shape)
	if err != nil {
		return nil, err
	}
	if shape, err = broadcastShapes(in[0].Shape, shape); err != nil {
		return nil, err
	}
	return []Type{{in[1].DType, shape}}, nil
}

func runWhere(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	shape := out[0].Shape
	switch in[1].DType() {
	case tensor.Float32:
		return one(where[float32](shape, in)), nil
	case tensor.Float64:
		return one(where[float64](shape, in)), nil
	case tensor.Int8:
		return one(where[int8](shape, in)), nil
	case tensor.Int16:
		return one(where[int16](shape, in)), nil
	case tensor.Int32:
		return one(where[int32](shape, in)), nil
	case tensor.Int64:
		return one(where[int64](shape, in)), nil
	case tensor.Uint8:
		return one(where[uint8](shape, in)), nil
	case tensor.Uint16:
		return one(where[uint16](shape, in)), nil
	case tensor.Uint32:
		return one(where[uint32](shape, in)), nil
	case tensor.Uint64:
		return one(where[uint64](shape, in)), nil
	default:
		return one(where[bool](shape, in)), nil
	}
}

func where[T tensor.Element](shape []int, in []*tensor.Tensor) *tensor.Tensor {
	dst := make([]T, tensor.Count(shape))
	cond, x, y := tensor.Values[bool](in[0]), tensor.Values[T](in[1]), tensor.Values[T](in[2])
	p := planRows(shape, tensor.Strides(shape), broadcastStrides(in[0].Shape(), shape),
		broadcastStrides(in[1].Shape(), shape), broadcastStrides(in[2].Shape(), shape))
	p.each(func(o []int) {
		d := dst[o[0] : o[0]+p.n]
		for i := range d {
			if cond[o[1]+i*p.step[1]] {
				d[i] = x[o[2]+i*p.step[2]]
			} else {
				d[i] = y[o[3]+i*p.step[3]]
			}
		}
	})
	return tensor.Of(dst, shape...)
}

func inferToBool(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := want(in, 0, floatTypes...); err != nil {
		return nil, err
	}
	return []Type{{tensor.Bool, in[0].Shape}}, nil
}

func runIsNaN(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	return one(testFloats(in[0], math.IsNaN)), nil
}

func inferIsInf(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	for _, name := range []string{"detect_negative", "detect_positive"} {
		if _, err := n.Attrs.Bool(name, true); err != nil {
			return nil, err
		}
	}
	return inferToBool(n, in, consts)
}

func runIsInf(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	negative, err := n.Attrs.Bool("detect_negative", true)
	if err != nil {
		return nil, err
	}
	positive, err := n.Attrs.Bool("detect_positive", true)
	if err != nil {
		return nil, err
	}
	return one(testFloats(in[0], func(x float64) bool {
		return positive && math.IsInf(x, 1) || negative && math.IsInf(x, -1)
	})), nil
}

func testFloats(t *tensor.Tensor, f func(float64) bool) *tensor.Tensor {
	dst := make([]bool, t.Len())
	if t.DType() == tensor.Float64 {
		for i, x := range tensor.Values[float64](t) {
			dst[i] = f(x)
		}
	} else {
		for i, x := range tensor.Values[float32](t) {
			dst[i] = f(float64(x))
		}
	}
	return tensor.Of(dst, t.Shape()...)
}
