package onnx

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"cutout/inference/ops"
	"cutout/inference/tensor"
)

// Element types of TensorProto.DataType that are told apart here; the engine's own are ops.TypeNumbered's.
const (
	typeFloat    = 1
	typeInt64    = 7
	typeString   = 8
	typeFloat16  = 10
	typeBFloat16 = 16
)

// tensorMessage is a TensorProto whose lists are still as they came.
type tensorMessage struct {
	name     string
	dims     []int64
	dataType int64
	raw      []byte
	hasRaw   bool
	floats   []byte  // float_data and double_data, little-endian
	ints     []int64 // int32_data, int64_data and uint64_data
	reason   string  // why the tensor is unsupported, empty where it is not
}

func parseTensor(msg []byte) (*tensorMessage, error) {
	t := &tensorMessage{}
	err := walk(msg, func(f field) (err error) {
		switch f.key {
		case tensorName:
			return text(&t.name, f)
		case tensorDims:
			t.dims = append(t.dims, int64(f.bits))
		case tensorDimsPacked:
			t.dims, err = varints(t.dims, f.data)
		case tensorDataType:
			t.dataType = int64(int32(f.bits))
		case tensorRaw:
			t.raw, t.hasRaw = f.data, true
		case tensorFloat:
			t.floats = binary.LittleEndian.AppendUint32(t.floats, uint32(f.bits))
		case tensorDouble:
			t.floats = binary.LittleEndian.AppendUint64(t.floats, f.bits)
		case tensorFloatPacked, tensorDoublePacked:
			if t.floats == nil {
				// One list is the rule and need not be copied. What is appended to it must not land in the model.
				t.floats = slices.Clip(f.data)
			} else {
				t.floats = append(t.floats, f.data...)
			}
		case tensorInt64, tensorUint64:
			t.ints = append(t.ints, int64(f.bits))
		case tensorInt64Packed, tensorUint64Packed:
			t.ints, err = varints(t.ints, f.data)
		case tensorInt32:
			t.ints = append(t.ints, int64(int32(f.bits)))
		case tensorInt32Packed: // protobuf drops what is above 32 bits
			from := len(t.ints)
			t.ints, err = varints(t.ints, f.data)
			for i := from; i < len(t.ints); i++ {
				t.ints[i] = int64(int32(t.ints[i]))
			}
		case tensorSegment:
			t.reason = "the tensor is split into segments"
		case tensorExternal:
			t.reason = "the data lies in another file (external data)"
		case tensorLocation:
			if f.bits != 0 {
				t.reason = "the data lies in another file (external data)"
			}
		}
		return err
	})
	return t, err
}

// unheld is the reason why something that parses has no place in the engine.
type unheld string

func (u unheld) Error() string { return string(u) }

// build makes the engine's tensor of the message: half floats widened to float32, elements copied. The elements are
// counted against the bytes at hand before anything is allocated.
func (t *tensorMessage) build() (*tensor.Tensor, error) {
	if t.reason != "" {
		return nil, unheld(t.reason)
	}
	if t.dataType == typeString {
		return nil, unheld("it holds strings")
	}
	dtype, err := ops.TypeNumbered(int(t.dataType))
	if err != nil {
		return nil, unheld(err.Error())
	}
	shape := make([]int, len(t.dims))
	for i, d := range t.dims {
		if d < 0 || d > math.MaxInt32 {
			return nil, fmt.Errorf("dimension %d of shape %v is out of range", i, t.dims)
		}
		shape[i] = int(d)
	}
	n, err := tensor.CheckShape(shape, ops.MaxElements)
	if err != nil {
		return nil, err
	}
	width := dtype.Size() // of an element on the wire
	if t.dataType == typeFloat16 || t.dataType == typeBFloat16 {
		width = 2
	}
	var data []byte
	have, asInts := 0, false
	switch {
	case t.hasRaw:
		data = t.raw
	case t.dataType == typeFloat || dtype == tensor.Float64:
		data = t.floats
	default:
		have, asInts = len(t.ints), true
	}
	if !asInts {
		if len(data)%width != 0 {
			return nil, fmt.Errorf("%d bytes of data do not divide into elements of %d", len(data), width)
		}
		have = len(data) / width
	}
	if have != n {
		return nil, fmt.Errorf("shape %v has %d elements, the data %d", shape, n, have)
	}
	if asInts {
		return fromInts(t.ints, t.dataType, dtype, shape)
	}
	switch t.dataType {
	case typeFloat16:
		return widen(data, tensor.FromFloat16, shape), nil
	case typeBFloat16:
		return widen(data, tensor.FromBFloat16, shape), nil
	}
	return fromRaw(data, dtype, shape)
}

func fromRaw(data []byte, dtype tensor.DType, shape []int) (*tensor.Tensor, error) {
	t := tensor.New(dtype, shape...)
	var dst any
	switch dtype {
	case tensor.Float32:
		dst = tensor.Values[float32](t)
	case tensor.Float64:
		dst = tensor.Values[float64](t)
	case tensor.Int8:
		dst = tensor.Values[int8](t)
	case tensor.Int16:
		dst = tensor.Values[int16](t)
	case tensor.Int32:
		dst = tensor.Values[int32](t)
	case tensor.Int64:
		dst = tensor.Values[int64](t)
	case tensor.Uint8:
		dst = tensor.Values[uint8](t)
	case tensor.Uint16:
		dst = tensor.Values[uint16](t)
	case tensor.Uint32:
		dst = tensor.Values[uint32](t)
	case tensor.Uint64:
		dst = tensor.Values[uint64](t)
	default:
		dst = tensor.Values[bool](t)
	}
	_, err := binary.Decode(data, binary.LittleEndian, dst)
	return t, err
}

// fromInts takes the elements from int32_data, int64_data or uint64_data, which also carry every narrower type:
// small integers and bools as numbers, half floats as their bits.
func fromInts(v []int64, dataType int64, dtype tensor.DType, shape []int) (*tensor.Tensor, error) {
	switch dtype {
	case tensor.Float32:
		bits := make([]byte, 0, 2*len(v))
		for _, x := range v {
			bits = binary.LittleEndian.AppendUint16(bits, uint16(x))
		}
		if dataType == typeFloat16 {
			return widen(bits, tensor.FromFloat16, shape), nil
		}
		return widen(bits, tensor.FromBFloat16, shape), nil
	case tensor.Int8:
		return narrow[int8](v, shape)
	case tensor.Int16:
		return narrow[int16](v, shape)
	case tensor.Int32:
		return narrow[int32](v, shape)
	case tensor.Int64:
		return narrow[int64](v, shape)
	case tensor.Uint8:
		return narrow[uint8](v, shape)
	case tensor.Uint16:
		return narrow[uint16](v, shape)
	case tensor.Uint32:
		return narrow[uint32](v, shape)
	case tensor.Uint64:
		return narrow[uint64](v, shape)
	default:
		out := make([]bool, len(v))
		for i, x := range v {
			out[i] = x != 0
		}
		return tensor.Of(out, shape...), nil
	}
}

func narrow[T tensor.Number](v []int64, shape []int) (*tensor.Tensor, error) {
	out := make([]T, len(v))
	for i, x := range v {
		if out[i] = T(x); int64(out[i]) != x {
			return nil, fmt.Errorf("element %d is %d, which %s cannot hold", i, x, tensor.TypeOf[T]())
		}
	}
	return tensor.Of(out, shape...), nil
}

func widen(data []byte, float func(uint16) float32, shape []int) *tensor.Tensor {
	out := make([]float32, len(data)/2)
	for i := range out {
		out[i] = float(binary.LittleEndian.Uint16(data[2*i:]))
	}
	return tensor.Of(out, shape...)
}
