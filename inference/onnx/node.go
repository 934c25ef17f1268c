package onnx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"cutout/inference/ops"
	"cutout/inference/tensor"
)

// Values of AttributeProto.AttributeType.
const (
	kindUndefined = 0
	kindFloat     = 1
	kindInt       = 2
	kindString    = 3
	kindTensor    = 4
	kindGraph     = 5
	kindFloats    = 6
	kindInts      = 7
	kindStrings   = 8
	kindTensors   = 9
	kindGraphs    = 10
)

// nodeMessage is a NodeProto.
type nodeMessage struct {
	ops.Node
	inputs, results []string // trailing omitted ones cut off
	attributes      []*attribute
}

// attribute is an AttributeProto. Only the part that kind names counts.
type attribute struct {
	name    string
	kind    int64
	float   float32
	integer int64
	str     []byte
	message []byte         // of a tensor
	tensor  *tensor.Tensor // built from message, or from another form of a Constant's value
	floats  []byte         // little-endian
	ints    []int64
	strings [][]byte

	reference bool  // to an attribute of a function
	found     int64 // kind of the last part that was present
}

func (w *writer) readNode(i int, msg []byte) (*nodeMessage, error) {
	n := &nodeMessage{}
	var attributes [][]byte
	err := walk(msg, func(f field) error {
		var s string
		switch f.key {
		case nodeInput:
			err := text(&s, f)
			n.inputs = append(n.inputs, s)
			return err
		case nodeOutput:
			err := text(&s, f)
			n.results = append(n.results, s)
			return err
		case nodeName:
			return text(&n.Name, f)
		case nodeOpType:
			return text(&n.OpType, f)
		case nodeDomain:
			return text(&n.Domain, f)
		case nodeAttribute:
			attributes = append(attributes, f.data)
		}
		return nil
	})
	if err != nil {
		return nil, malformed(fmt.Sprintf("node %d %q", i, n.Name), "%v", err)
	}
	n.inputs, n.results = trim(n.inputs), trim(n.results)
	n.Outputs = len(n.results)
	n.Domain = canonical(n.Domain)
	opset, imported := w.opsets[n.Domain]
	n.Opset = opset
	if n.Name == "" && n.Outputs > 0 {
		n.Name = n.results[0] // messages need some name, and this one is unique
	}
	switch {
	case n.OpType == "":
		return nil, malformed(fmt.Sprintf("node %d %q", i, n.Name), "has no operator")
	case !imported:
		return nil, n.unsupported("the model imports no opset of this domain")
	case w.src.functions[[2]string{n.Domain, n.OpType}]:
		return nil, n.unsupported("the operator is a function that the model defines")
	case n.Outputs == 0:
		return nil, n.malformed("has no outputs")
	}
	// onnx-go makes an edge for every pair.
	if w.edges += n.Outputs * max(1, len(n.inputs)); w.edges > maxEdges {
		return nil, &LimitError{What: "edges", Limit: maxEdges}
	}
	for _, name := range n.results {
		if name == "" {
			continue
		}
		if w.given[name] {
			return nil, n.malformed("writes %q, which is written already", name)
		}
		w.given[name] = true
	}
	seen := map[string]bool{}
	for _, msg := range attributes {
		a, err := readAttribute(msg)
		if err == nil && seen[a.name] {
			err = errors.New("is given twice")
		}
		if err == nil {
			seen[a.name] = true
			err = a.resolve(n)
		}
		if reason, ok := errors.AsType[unheld](err); ok {
			return nil, n.unsupported("attribute %q: %s", a.name, reason)
		}
		if err != nil {
			return nil, n.malformed("attribute %q: %v", a.name, err)
		}
		n.attributes = append(n.attributes, a)
	}
	if n.Domain == "" && n.OpType == "Constant" {
		if err := w.constant(n); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func (n *nodeMessage) malformed(format string, args ...any) error {
	return malformed(n.String(), format, args...)
}

func (n *nodeMessage) unsupported(format string, args ...any) error {
	return &ops.UnsupportedError{Node: n.Node, Reason: fmt.Sprintf(format, args...)}
}

// trim cuts omitted names off the end.
func trim(names []string) []string {
	for len(names) > 0 && names[len(names)-1] == "" {
		names = names[:len(names)-1]
	}
	return names
}

func readAttribute(msg []byte) (*attribute, error) {
	a := &attribute{}
	err := walk(msg, func(f field) (err error) {
		switch f.key {
		case attrName:
			return text(&a.name, f)
		case attrType:
			a.kind = int64(int32(f.bits))
		case attrRefName:
			a.reference = len(f.data) > 0
		case attrFloat:
			a.float, a.found = math.Float32frombits(uint32(f.bits)), kindFloat
		case attrInt:
			a.integer, a.found = int64(f.bits), kindInt
		case attrString:
			a.str, a.found = f.data, kindString
		case attrTensor:
			a.message, a.found = f.data, kindTensor
		case attrFloats:
			a.floats, a.found = binary.LittleEndian.AppendUint32(a.floats, uint32(f.bits)), kindFloats
		case attrFloatsPacked:
			a.floats, a.found = append(a.floats, f.data...), kindFloats
		case attrInts:
			a.ints, a.found = append(a.ints, int64(f.bits)), kindInts
		case attrIntsPacked:
			a.found = kindInts
			a.ints, err = varints(a.ints, f.data)
		case attrStrings:
			a.strings, a.found = append(a.strings, f.data), kindStrings
		case attrGraph:
			a.found = kindGraph
		case attrGraphs:
			a.found = kindGraphs
		case attrTensors:
			a.found = kindTensors
		case attrTypeProto, attrTypeProtos, attrSparseTensor, attrSparseTensors:
			a.found = -1
		}
		return err
	})
	if err == nil && a.name == "" {
		err = errors.New("has no name")
	}
	return a, err
}

// resolve settles the attribute's kind and turns what onnx-go or the engine cannot hold into what they can.
func (a *attribute) resolve(n *nodeMessage) error {
	if a.reference {
		return unheld("refers to an attribute of a function")
	}
	if a.kind == kindUndefined { // before IR version 2 the kind followed from the part in use
		a.kind = a.found
	}
	switch a.kind {
	case kindInt:
		if isTypeNumber(n, a.name) && (a.integer == typeFloat16 || a.integer == typeBFloat16) {
			a.integer = typeFloat
		}
	case kindString:
		if s := string(a.str); isTypeNumber(n, a.name) && (s == "FLOAT16" || s == "BFLOAT16") {
			a.str = []byte("FLOAT")
		}
	case kindFloat, kindInts, kindStrings:
	case kindFloats:
		if len(a.floats)%4 != 0 {
			return errTruncated
		}
	case kindTensor:
		if a.message == nil {
			return errors.New("has no tensor")
		}
		t, err := parseTensor(a.message)
		if err != nil {
			return err
		}
		if a.tensor, err = t.build(); err != nil {
			return err
		}
	case kindGraph, kindGraphs:
		return unheld("sub-graphs are not supported")
	case kindTensors:
		return unheld("lists of tensors are not supported")
	default:
		return unheld(fmt.Sprintf("attributes of type %d are not supported", a.kind))
	}
	return nil
}

// isTypeNumber reports whether an attribute of a node names an element type: that of the result (Cast, EyeLike and
// the random operators, QuantizeLinear, the windows) or of a step on the way (LayerNormalization).
func isTypeNumber(n *nodeMessage, name string) bool {
	switch name {
	case "to", "dtype", "output_dtype", "output_datatype", "stash_type":
		return n.Domain == ""
	}
	return false
}

// constant leaves the node one attribute, value, a tensor.
func (w *writer) constant(n *nodeMessage) error {
	if len(n.attributes) != 1 {
		return n.malformed("has %d attributes, want one value", len(n.attributes))
	}
	a := n.attributes[0]
	switch {
	case a.name == "value" && a.kind == kindTensor:
	case a.name == "value_float" && a.kind == kindFloat:
		a.tensor = tensor.Scalar(a.float)
	case a.name == "value_int" && a.kind == kindInt:
		a.tensor = tensor.Scalar(a.integer)
	case a.name == "value_ints" && a.kind == kindInts:
		a.tensor = tensor.Of(append([]int64{}, a.ints...), len(a.ints))
	case a.name == "value_floats" && a.kind == kindFloats:
		v := make([]float32, len(a.floats)/4)
		if _, err := binary.Decode(a.floats, binary.LittleEndian, v); err != nil {
			return n.malformed("attribute %q: %v", a.name, err)
		}
		a.tensor = tensor.Of(v, len(v))
	case a.name == "value_string" || a.name == "value_strings" || a.name == "sparse_value":
		return n.unsupported("attribute %q is not supported", a.name)
	default:
		return n.malformed("attribute %q of type %d is no value", a.name, a.kind)
	}
	a.name, a.kind = "value", kindTensor
	w.empty[n.results[0]] = a.tensor.Len() == 0
	return nil
}

// node writes a node and keeps aside what onnx-go drops of it.
func (w *writer) node(n *nodeMessage) error {
	inputs := n.inputs
	if n.Domain == "" && n.OpType == "Resize" {
		for i := 1; i < len(inputs); i++ {
			if w.empty[inputs[i]] {
				inputs[i] = ""
			}
		}
		inputs = trim(inputs)
	}
	for _, name := range inputs {
		if name != "" && !w.given[name] {
			return n.malformed("reads %q, which nothing computes", name)
		}
	}
	if len(inputs) == 0 {
		inputs = []string{""}
	}
	w.nodes = append(w.nodes, n.Node)
	w.message(graphNode, func() {
		for _, name := range inputs {
			w.string(nodeInput, name)
		}
		for _, name := range n.results {
			w.string(nodeOutput, name)
		}
		w.string(nodeName, n.Name)
		w.string(nodeOpType, n.OpType)
		for _, a := range n.attributes {
			w.message(nodeAttribute, func() { w.attribute(a) })
		}
	})
	return nil
}

func (w *writer) attribute(a *attribute) {
	w.string(attrName, a.name)
	w.varint(attrType, a.kind)
	switch a.kind {
	case kindFloat:
		w.float(attrFloat, a.float)
	case kindInt:
		w.varint(attrInt, a.integer)
	case kindString:
		w.bytes(attrString, a.str)
	case kindTensor:
		w.message(attrTensor, func() { w.placeholder(a.tensor) })
	case kindFloats:
		w.bytes(attrFloatsPacked, a.floats)
	case kindInts:
		w.message(attrIntsPacked, func() {
			for _, v := range a.ints {
				w.out = protowire.AppendVarint(w.out, uint64(v))
			}
		})
	case kindStrings:
		for _, s := range a.strings {
			w.bytes(attrStrings, s)
		}
	}
}

func (w *writer) bytes(k key, b []byte) {
	w.out = protowire.AppendBytes(protowire.AppendVarint(w.out, uint64(k)), b)
}
