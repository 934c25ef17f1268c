package conformance

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"cutout/inference/ops"
	"cutout/inference/tensor"
)

// OmittedError says that a case needs something the engine leaves out on purpose.
type OmittedError struct{ Reason string }

func (e *OmittedError) Error() string { return e.Reason }

func omitted(format string, args ...any) error { return &OmittedError{fmt.Sprintf(format, args...)} }

var errWire = errors.New("malformed protobuf")

// model is what the node tests need of a ModelProto.
type model struct {
	opsets       map[string]int
	nodes        []node
	initializers map[string]*tensor.Tensor
	inputs       []value
	outputs      []value
}

type node struct {
	ops.Node
	inputs, outputs []string
	err             error // why the node cannot be represented, reported if it is reached
}

type value struct {
	name string
	err  error // why its type is left out
}

// field is one protobuf field: number, and either an integer or bytes.
type field struct {
	number protowire.Number
	wire   protowire.Type
	bits   uint64
	bytes  []byte
}

// fields calls f for every field of a message.
func fields(b []byte, f func(field) error) error {
	for len(b) > 0 {
		number, wire, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errWire
		}
		b = b[n:]
		v := field{number: number, wire: wire}
		switch wire {
		case protowire.VarintType:
			v.bits, n = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			var x uint32
			x, n = protowire.ConsumeFixed32(b)
			v.bits = uint64(x)
		case protowire.Fixed64Type:
			v.bits, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			v.bytes, n = protowire.ConsumeBytes(b)
		default:
			return errWire
		}
		if n < 0 {
			return errWire
		}
		b = b[n:]
		if err := f(v); err != nil {
			return err
		}
	}
	return nil
}

// numbers appends the values of a repeated numeric field, packed or not, as their raw bits.
func numbers(dst []uint64, v field, packed protowire.Type) ([]uint64, error) {
	if v.wire != protowire.BytesType {
		return append(dst, v.bits), nil
	}
	for b := v.bytes; len(b) > 0; {
		var x uint64
		var n int
		switch packed {
		case protowire.VarintType:
			x, n = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			var y uint32
			y, n = protowire.ConsumeFixed32(b)
			x = uint64(y)
		default:
			x, n = protowire.ConsumeFixed64(b)
		}
		if n < 0 {
			return nil, errWire
		}
		dst = append(dst, x)
		b = b[n:]
	}
	return dst, nil
}

func readModel(b []byte) (*model, error) {
	m := &model{opsets: map[string]int{}, initializers: map[string]*tensor.Tensor{}}
	var graph []byte
	err := fields(b, func(v field) error {
		switch v.number {
		case 7:
			graph = v.bytes
		case 8:
			domain, version := "", 0
			if err := fields(v.bytes, func(v field) error {
				switch v.number {
				case 1:
					domain = string(v.bytes)
				case 2:
					version = int(v.bits)
				}
				return nil
			}); err != nil {
				return err
			}
			if domain == "ai.onnx" {
				domain = ""
			}
			m.opsets[domain] = version
		case 25:
			return omitted("functions inside the model")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = fields(graph, func(v field) error {
		switch v.number {
		case 1:
			n, err := readNode(v.bytes)
			if err != nil {
				return err
			}
			m.nodes = append(m.nodes, n)
		case 5:
			name, t, err := readTensor(v.bytes)
			if err != nil {
				return err
			}
			m.initializers[name] = t
		case 11, 12:
			x, err := readValue(v.bytes)
			if err != nil {
				return err
			}
			if v.number == 11 {
				m.inputs = append(m.inputs, x)
			} else {
				m.outputs = append(m.outputs, x)
			}
		case 15:
			return omitted("sparse tensors")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := range m.nodes {
		n := &m.nodes[i]
		if n.Domain == "ai.onnx" {
			n.Domain = ""
		}
		n.Opset = m.opsets[n.Domain]
		for len(n.outputs) > 0 && n.outputs[len(n.outputs)-1] == "" {
			n.outputs = n.outputs[:len(n.outputs)-1]
		}
		n.Outputs = len(n.outputs)
	}
	return m, nil
}

func readValue(b []byte) (value, error) {
	var x value
	err := fields(b, func(v field) error {
		switch v.number {
		case 1:
			x.name = string(v.bytes)
		case 2:
			return fields(v.bytes, func(v field) error {
				switch v.number {
				case 1:
					// The data of some types lies in the files under another one, so the declaration decides.
					return fields(v.bytes, func(v field) error {
						if reason, ok := onnxNames[int(v.bits)]; ok && v.number == 1 {
							x.err = omitted("%s", reason)
						}
						return nil
					})
				case 4:
					x.err = omitted("sequences")
				case 9:
					x.err = omitted("optional values")
				case 8:
					x.err = omitted("sparse tensors")
				default:
					x.err = omitted("values that are no tensors")
				}
				return nil
			})
		}
		return nil
	})
	return x, err
}

func readNode(b []byte) (node, error) {
	n := node{Node: ops.Node{Attrs: ops.Attrs{}}}
	err := fields(b, func(v field) error {
		switch v.number {
		case 1:
			n.inputs = append(n.inputs, string(v.bytes))
		case 2:
			n.outputs = append(n.outputs, string(v.bytes))
		case 3:
			n.Name = string(v.bytes)
		case 4:
			n.OpType = string(v.bytes)
		case 5:
			var o *OmittedError
			if err := readAttr(v.bytes, n.Attrs); errors.As(err, &o) {
				n.err = err
			} else if err != nil {
				return err
			}
		case 7:
			n.Domain = string(v.bytes)
		}
		return nil
	})
	return n, err
}

func readAttr(b []byte, into ops.Attrs) error {
	var name, s string
	var kind, i uint64
	var f float32
	var t *tensor.Tensor
	var floats, ints []uint64
	var strings []string
	err := fields(b, func(v field) (err error) {
		switch v.number {
		case 1:
			name = string(v.bytes)
		case 2:
			f = math.Float32frombits(uint32(v.bits))
		case 3:
			i = v.bits
		case 4:
			s = string(v.bytes)
		case 5:
			_, t, err = readTensor(v.bytes)
		case 7:
			floats, err = numbers(floats, v, protowire.Fixed32Type)
		case 8:
			ints, err = numbers(ints, v, protowire.VarintType)
		case 9:
			strings = append(strings, string(v.bytes))
		case 20:
			kind = v.bits
		}
		return err
	})
	if err != nil {
		return err
	}
	switch kind {
	case 1:
		into[name] = f
	case 2:
		into[name] = int64(i)
	case 3:
		into[name] = s
	case 4:
		into[name] = t
	case 6:
		v := make([]float32, len(floats))
		for k, x := range floats {
			v[k] = math.Float32frombits(uint32(x))
		}
		into[name] = v
	case 7:
		v := make([]int64, len(ints))
		for k, x := range ints {
			v[k] = int64(x)
		}
		into[name] = v
	case 8:
		into[name] = strings
	case 5, 10:
		return omitted("subgraphs")
	default:
		return omitted("attributes of kind %d", kind)
	}
	return nil
}

var onnxNames = map[int]string{8: "strings", 14: "complex numbers", 15: "complex numbers", 16: "bfloat16",
	17: "float8", 18: "float8", 19: "float8", 20: "float8", 21: "4-bit integers", 22: "4-bit integers", 23: "4-bit floats"}

// readTensor reads a TensorProto; float16 is widened to float32, as the engine does it.
func readTensor(b []byte) (name string, t *tensor.Tensor, err error) {
	var dims, packed32, packed64, packedF, packedD, packedU []uint64
	var raw []byte
	hasRaw := false
	kind := 0
	err = fields(b, func(v field) (err error) {
		switch v.number {
		case 1:
			dims, err = numbers(dims, v, protowire.VarintType)
		case 2:
			kind = int(v.bits)
		case 4:
			packedF, err = numbers(packedF, v, protowire.Fixed32Type)
		case 5:
			packed32, err = numbers(packed32, v, protowire.VarintType)
		case 7:
			packed64, err = numbers(packed64, v, protowire.VarintType)
		case 8:
			name = string(v.bytes)
		case 9:
			raw, hasRaw = v.bytes, true
		case 10:
			packedD, err = numbers(packedD, v, protowire.Fixed64Type)
		case 11:
			packedU, err = numbers(packedU, v, protowire.VarintType)
		}
		return err
	})
	if err != nil {
		return "", nil, err
	}
	shape := make([]int, len(dims))
	for i, d := range dims {
		shape[i] = int(d)
	}
	count, err := tensor.CheckShape(shape, 1<<24)
	if err != nil {
		return "", nil, err
	}
	if reason, ok := onnxNames[kind]; ok {
		return name, nil, omitted("%s", reason)
	}
	width := map[int]int{1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8}[kind]
	if width == 0 {
		return "", nil, fmt.Errorf("element type %d", kind)
	}
	var bits []uint64
	switch {
	case hasRaw:
		if len(raw) != count*width {
			return "", nil, fmt.Errorf("%d bytes for shape %v of type %d", len(raw), shape, kind)
		}
		bits = make([]uint64, count)
		for i := range bits {
			switch p := raw[i*width:]; width {
			case 1:
				bits[i] = uint64(p[0])
			case 2:
				bits[i] = uint64(binary.LittleEndian.Uint16(p))
			case 4:
				bits[i] = uint64(binary.LittleEndian.Uint32(p))
			default:
				bits[i] = binary.LittleEndian.Uint64(p)
			}
		}
	case kind == 1:
		bits = packedF
	case kind == 11:
		bits = packedD
	case kind == 7:
		bits = packed64
	case kind == 12 || kind == 13:
		bits = packedU
	default:
		bits = packed32
	}
	if len(bits) != count {
		return "", nil, fmt.Errorf("%d values for shape %v", len(bits), shape)
	}
	switch kind {
	case 1:
		t = of(bits, shape, func(x uint64) float32 { return math.Float32frombits(uint32(x)) })
	case 2:
		t = of(bits, shape, func(x uint64) uint8 { return uint8(x) })
	case 3:
		t = of(bits, shape, func(x uint64) int8 { return int8(x) })
	case 4:
		t = of(bits, shape, func(x uint64) uint16 { return uint16(x) })
	case 5:
		t = of(bits, shape, func(x uint64) int16 { return int16(x) })
	case 6:
		t = of(bits, shape, func(x uint64) int32 { return int32(x) })
	case 7:
		t = of(bits, shape, func(x uint64) int64 { return int64(x) })
	case 9:
		t = of(bits, shape, func(x uint64) bool { return x != 0 })
	case 10:
		t = of(bits, shape, func(x uint64) float32 { return halfToFloat(uint16(x)) })
	case 11:
		t = of(bits, shape, math.Float64frombits)
	case 12:
		t = of(bits, shape, func(x uint64) uint32 { return uint32(x) })
	case 13:
		t = of(bits, shape, func(x uint64) uint64 { return x })
	}
	return name, t, nil
}

func of[T tensor.Element](bits []uint64, shape []int, f func(uint64) T) *tensor.Tensor {
	v := make([]T, len(bits))
	for i, x := range bits {
		v[i] = f(x)
	}
	return tensor.Of(v, shape...)
}

// halfToFloat widens an IEEE 754 binary16 value.
func halfToFloat(h uint16) float32 {
	sign := float64(1)
	if h&0x8000 != 0 {
		sign = -1
	}
	exponent, fraction := int(h>>10&31), float64(h&1023)
	switch exponent {
	case 0:
		return float32(sign * math.Ldexp(fraction, -24))
	case 31:
		if fraction != 0 {
			return float32(math.NaN())
		}
		return float32(math.Inf(int(sign)))
	}
	return float32(sign * math.Ldexp(1024+fraction, exponent-25))
}
