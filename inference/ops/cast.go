package ops

import (
	"fmt"
	"math"

	"cutout/inference/tensor"
)

// Element types as ONNX numbers them (TensorProto.DataType).
var onnxTypes = map[int]tensor.DType{
	1: tensor.Float32, 2: tensor.Uint8, 3: tensor.Int8, 4: tensor.Uint16, 5: tensor.Int16, 6: tensor.Int32,
	7: tensor.Int64, 9: tensor.Bool, 11: tensor.Float64, 12: tensor.Uint32, 13: tensor.Uint64,
	// Half floats are widened when a model is decoded, so a cast to them is a cast to float32.
	10: tensor.Float32, 16: tensor.Float32,
}

// Before opset 6 Cast named its type.
var onnxTypeNames = map[string]int{
	"FLOAT": 1, "UINT8": 2, "INT8": 3, "UINT16": 4, "INT16": 5, "INT32": 6, "INT64": 7, "BOOL": 9,
	"FLOAT16": 10, "DOUBLE": 11, "UINT32": 12, "UINT64": 13, "BFLOAT16": 16,
}

// TypeNumbered returns the element type that ONNX's TensorProto.DataType number stands for. FLOAT16 and BFLOAT16
// are Float32, since the engine widens them. Types the engine does not hold are errors.
func TypeNumbered(number int) (tensor.DType, error) {
	if d, ok := onnxTypes[number]; ok {
		return d, nil
	}
	return tensor.Invalid, fmt.Errorf("element type %d of ONNX is not supported", number)
}

func castOps() []Op {
	return []Op{
		newOp("Cast", 1, 0, arity{1, 1, 1}, inferCast, runCast),
		newOp("CastLike", 15, 0, arity{2, 2, 1}, inferCastLike, runCast),
	}
}

func inferCast(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if !n.Attrs.Has("to") {
		return nil, fmt.Errorf("attribute to is missing")
	}
	var number int
	if n.Opset < 6 {
		name, err := n.Attrs.String("to", "")
		if err != nil {
			return nil, err
		}
		number = onnxTypeNames[name]
	} else {
		var err error
		if number, err = n.Attrs.Int("to", 0); err != nil {
			return nil, err
		}
	}
	to, err := TypeNumbered(number)
	if err != nil {
		return nil, err
	}
	return []Type{{to, in[0].Shape}}, nil
}

func inferCastLike(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	return []Type{{in[1].DType, in[0].Shape}}, nil
}

func runCast(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	return one(convert(in[0], out[0].DType)), nil
}

// convert returns t with another element type, t itself where the type is the same. Floats lose their fraction on
// the way to integers; what an integer type cannot hold keeps its low bits, and what int64 cannot hold (NaN too)
// becomes the most negative value, as x86 does it and the common runtimes with it. Bool is x != 0.
func convert(t *tensor.Tensor, to tensor.DType) *tensor.Tensor {
	if t.DType() == to {
		return t
	}
	shape := t.Shape()
	switch t.DType() {
	case tensor.Float32:
		return fromFloats(tensor.Values[float32](t), to, shape)
	case tensor.Float64:
		return fromFloats(tensor.Values[float64](t), to, shape)
	case tensor.Int8:
		return fromInts(tensor.Values[int8](t), to, shape)
	case tensor.Int16:
		return fromInts(tensor.Values[int16](t), to, shape)
	case tensor.Int32:
		return fromInts(tensor.Values[int32](t), to, shape)
	case tensor.Int64:
		return fromInts(tensor.Values[int64](t), to, shape)
	case tensor.Uint8:
		return fromInts(tensor.Values[uint8](t), to, shape)
	case tensor.Uint16:
		return fromInts(tensor.Values[uint16](t), to, shape)
	case tensor.Uint32:
		return fromInts(tensor.Values[uint32](t), to, shape)
	case tensor.Uint64:
		return fromInts(tensor.Values[uint64](t), to, shape)
	default:
		src := tensor.Values[bool](t)
		bits := make([]uint8, len(src))
		for i, x := range src {
			if x {
				bits[i] = 1
			}
		}
		return fromInts(bits, to, shape)
	}
}

func fromInts[F tensor.Number](src []F, to tensor.DType, shape []int) *tensor.Tensor {
	switch to {
	case tensor.Float32:
		return cast[F, float32](src, shape)
	case tensor.Float64:
		return cast[F, float64](src, shape)
	case tensor.Int8:
		return cast[F, int8](src, shape)
	case tensor.Int16:
		return cast[F, int16](src, shape)
	case tensor.Int32:
		return cast[F, int32](src, shape)
	case tensor.Int64:
		return cast[F, int64](src, shape)
	case tensor.Uint8:
		return cast[F, uint8](src, shape)
	case tensor.Uint16:
		return cast[F, uint16](src, shape)
	case tensor.Uint32:
		return cast[F, uint32](src, shape)
	case tensor.Uint64:
		return cast[F, uint64](src, shape)
	default:
		dst := make([]bool, len(src))
		for i, x := range src {
			dst[i] = x != 0
		}
		return tensor.Of(dst, shape...)
	}
}

func fromFloats[F float32 | float64](src []F, to tensor.DType, shape []int) *tensor.Tensor {
	switch to {
	case tensor.Float32, tensor.Float64, tensor.Bool:
		return fromInts(src, to, shape)
	case tensor.Int32:
		dst := make([]int32, len(src))
		for i, x := range src {
			if v := wholeNumber(float64(x)); v >= math.MinInt32 && v <= math.MaxInt32 {
				dst[i] = int32(v)
			} else {
				dst[i] = math.MinInt32
			}
		}
		return tensor.Of(dst, shape...)
	case tensor.Uint64:
		dst := make([]uint64, len(src))
		for i, x := range src {
			if x >= 1<<63 && x < 1<<64 {
				dst[i] = uint64(x)
			} else {
				dst[i] = uint64(wholeNumber(float64(x)))
			}
		}
		return tensor.Of(dst, shape...)
	}
	whole := make([]int64, len(src))
	for i, x := range src {
		whole[i] = wholeNumber(float64(x))
	}
	return fromInts(whole, to, shape)
}

// wholeNumber drops the fraction. Go leaves the conversion of values outside int64 to the machine.
func wholeNumber(x float64) int64 {
	if x >= -(1<<63) && x < 1<<63 {
		return int64(x)
	}
	return math.MinInt64
}

func cast[F, T tensor.Number](src []F, shape []int) *tensor.Tensor {
	dst := make([]T, len(src))
	for i, x := range src {
		dst[i] = T(x)
	}
	return tensor.Of(dst, shape...)
}
