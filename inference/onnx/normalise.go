package onnx

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"cutout/inference/graph"
	"cutout/inference/ops"
	"cutout/inference/tensor"
)

// Bounds of a model. The largest networks in use stay far below them; they keep the work that onnx-go does for a
// hostile file (an edge for every pair of an output and an input, a search of all inputs for every initializer)
// within about a second.
const (
	maxNodes        = 1 << 17
	maxEdges        = 1 << 20
	maxInitializers = 1 << 17
	maxInputs       = 1 << 10
	maxOutputs      = 1 << 12
)

// clean is a model split in two: the bytes that onnx-go can decode, and what it cannot carry, to be joined to its
// graph afterwards.
type clean struct {
	message []byte // a ModelProto

	producer string
	opsets   map[string]int
	nodes    []ops.Node // name, operator, domain and opset of each node, in the order of the message
	values   map[string]graph.ValueInfo
	tensors  []*tensor.Tensor // by reference, see placeholder
}

// source is a model as it stands in the file, cut into its messages.
type source struct {
	producer, version string
	opsets            map[string]int
	functions         map[[2]string]bool // by domain and name
	graphs            int

	name                                string
	nodes, initializers, inputs, output [][]byte
	sparse                              bool
}

// normalise reads the protobuf wire format of a model and writes another model that onnx-go v0.5.0 decodes without
// loss. What becomes of each part:
//
//   - Tensors, those of initializers and those of attributes, are read here and replaced by a placeholder, a single
//     int64 that is the tensor's place in clean.tensors. onnx-go has no half floats, no 8-bit and no unsigned types,
//     takes eight bytes of raw data for a bool, refuses tensors without elements, and copies weights four bytes at a
//     time through a growing slice, which costs twice their memory. A placeholder spares us all of it and still
//     leaves it to onnx-go to say which tensor belongs where.
//   - Half floats are widened to float32, also where a node asks for them by number (Cast to FLOAT16).
//   - Opsets, domains, node names, declared shapes and element types go to the side: onnx-go drops the first three and
//     mangles symbolic dimensions, and it allocates a tensor of the declared shape for every value it is told about.
//   - An empty tensor given to Resize as roi, scales or sizes stands for an omitted input and becomes one.
//   - Constant nodes hold their value in the attribute value, whichever of its forms the file uses.
//   - A node without inputs gets an omitted one: onnx-go would make up a name for it that may be taken.
//   - Attributes of files older than the type tag get one.
//   - What is not needed (documentation, metadata, value_info) is left out.
func normalise(data []byte) (*clean, error) {
	src, err := readModel(data)
	if err != nil {
		return nil, err
	}
	c := &clean{
		producer: src.producer,
		opsets:   src.opsets,
		values:   map[string]graph.ValueInfo{},
	}
	if src.version != "" {
		c.producer += " " + src.version
	}
	w := &writer{clean: c, src: src, given: map[string]bool{}, empty: map[string]bool{}}
	if err := w.graph(); err != nil {
		return nil, err
	}
	body := w.out
	w.out = nil
	w.bytes(modelGraph, body)
	c.message = w.out
	return c, nil
}

func readModel(data []byte) (*source, error) {
	src := &source{opsets: map[string]int{}, functions: map[[2]string]bool{}}
	var graphMessage []byte
	err := walk(data, func(f field) error {
		switch f.key {
		case modelProducerName:
			return text(&src.producer, f)
		case modelProducerVersion:
			return text(&src.version, f)
		case modelGraph:
			src.graphs++
			graphMessage = f.data
		case modelOpsetImport:
			return src.readOpset(f.data)
		case modelFunctions:
			return src.readFunction(f.data)
		}
		return nil
	})
	if err != nil {
		return nil, malformed("", "%v; is this an ONNX file?", err)
	}
	if src.graphs != 1 {
		return nil, malformed("", "has %d graphs, want one; is this an ONNX file?", src.graphs)
	}
	if len(src.opsets) == 0 {
		src.opsets[""] = 1 // files from before IR version 3 import nothing
	}
	err = walk(graphMessage, func(f field) error {
		var (
			list  *[][]byte
			limit int
			what  string
		)
		switch f.key {
		case graphName:
			return text(&src.name, f)
		case graphSparseInitializer:
			src.sparse = true
			return nil
		case graphNode:
			list, limit, what = &src.nodes, maxNodes, "nodes"
		case graphInitializer:
			list, limit, what = &src.initializers, maxInitializers, "initializers"
		case graphInput:
			// Old files declare every initializer as an input too.
			list, limit, what = &src.inputs, maxInputs+maxInitializers, "inputs"
		case graphOutput:
			list, limit, what = &src.output, maxOutputs, "outputs"
		default:
			return nil
		}
		if len(*list) == limit {
			return &LimitError{What: what, Limit: limit}
		}
		*list = append(*list, f.data)
		return nil
	})
	var limit *LimitError
	switch {
	case errors.As(err, &limit):
		return nil, err
	case err != nil:
		return nil, malformed("graph", "%v", err)
	case src.sparse:
		return nil, unsupported("graph", "sparse initializers")
	case len(src.nodes) == 0:
		return nil, malformed("graph", "has no nodes")
	case len(src.output) == 0:
		return nil, malformed("graph", "has no outputs")
	}
	return src, nil
}

func (src *source) readOpset(msg []byte) error {
	domain, version := "", int64(0)
	err := walk(msg, func(f field) error {
		switch f.key {
		case opsetDomain:
			return text(&domain, f)
		case opsetVersion:
			version = int64(f.bits)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if version < 0 || version > math.MaxInt32 {
		return fmt.Errorf("opset version %d of domain %q is out of range", version, domain)
	}
	src.opsets[canonical(domain)] = int(version)
	return nil
}

func (src *source) readFunction(msg []byte) error {
	var id [2]string
	err := walk(msg, func(f field) error {
		switch f.key {
		case functionDomain:
			return text(&id[0], f)
		case functionName:
			return text(&id[1], f)
		}
		return nil
	})
	id[0] = canonical(id[0])
	src.functions[id] = true
	return err
}

func canonical(domain string) string {
	if domain == "ai.onnx" {
		return ""
	}
	return domain
}

// writer makes the clean graph message.
type writer struct {
	*clean
	src   *source
	out   []byte
	given map[string]bool // names that are written: inputs, initializers, results of nodes
	empty map[string]bool // those of them that are constants without elements
	edges int
}

func (w *writer) graph() error {
	w.string(graphName, w.src.name)
	for i, msg := range w.src.initializers {
		if err := w.initializer(i, msg); err != nil {
			return err
		}
	}
	inputs := 0
	for i, msg := range w.src.inputs {
		info, err := readValue(msg)
		if err != nil {
			return within(err, fmt.Sprintf("graph input %d %q", i, info.Name))
		}
		if w.given[info.Name] { // an initializer is a constant here, whether or not it may be overridden
			if _, twice := w.values[info.Name]; twice {
				return malformed(fmt.Sprintf("graph input %q", info.Name), "is declared twice")
			}
			continue
		}
		if info.DType == tensor.Invalid {
			return malformed(fmt.Sprintf("graph input %q", info.Name), "has no type")
		}
		if inputs++; inputs > maxInputs {
			return &LimitError{What: "inputs", Limit: maxInputs}
		}
		w.given[info.Name] = true
		w.values[info.Name] = info
		w.value(graphInput, info.Name)
	}
	outputs := map[string]bool{}
	for i, msg := range w.src.output {
		info, err := readValue(msg)
		if err == nil && outputs[info.Name] {
			err = errors.New("is declared twice")
		}
		if err != nil {
			return within(err, fmt.Sprintf("graph output %d %q", i, info.Name))
		}
		outputs[info.Name] = true
		if _, alsoInput := w.values[info.Name]; !alsoInput {
			w.values[info.Name] = info
		}
		w.value(graphOutput, info.Name)
	}
	// Nodes need not be sorted, so that an empty constant may be defined after the Resize that takes it.
	nodes := make([]*nodeMessage, len(w.src.nodes))
	for i, msg := range w.src.nodes {
		n, err := w.readNode(i, msg)
		if err != nil {
			return err
		}
		nodes[i] = n
	}
	for _, n := range nodes {
		if err := w.node(n); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		if !w.given[name] {
			return malformed(fmt.Sprintf("graph output %q", name), "nothing computes it")
		}
	}
	return nil
}

// within says in which part of the model an error arose.
func within(err error, where string) error {
	if _, ok := errors.AsType[unheld](err); ok {
		return &UnsupportedError{Where: where, Reason: err.Error()}
	}
	return &FormatError{Where: where, Reason: err.Error()}
}

func (w *writer) initializer(i int, msg []byte) error {
	t, err := parseTensor(msg)
	where := fmt.Sprintf("initializer %d %q", i, t.name)
	if err != nil {
		return within(err, where)
	}
	switch {
	case t.name == "":
		return malformed(where, "has no name")
	case w.given[t.name]:
		return malformed(where, "its name is taken")
	}
	v, err := t.build()
	if err != nil {
		return within(err, where)
	}
	w.given[t.name] = true
	w.empty[t.name] = v.Len() == 0
	w.message(graphInitializer, func() {
		w.placeholder(v)
		w.string(tensorName, t.name)
	})
	return nil
}

// placeholder writes the fields of a one-element int64 tensor that stands for v, and keeps v.
func (w *writer) placeholder(v *tensor.Tensor) {
	w.varint(tensorDims, 1)
	w.varint(tensorDataType, typeInt64)
	w.varint(tensorInt64, int64(len(w.tensors)))
	w.tensors = append(w.tensors, v)
}

// value writes a ValueInfoProto that holds a name and no type.
func (w *writer) value(k key, name string) {
	w.message(k, func() { w.string(valueName, name) })
}

func readValue(msg []byte) (graph.ValueInfo, error) {
	var v graph.ValueInfo
	err := walk(msg, func(f field) error {
		switch f.key {
		case valueName:
			return text(&v.Name, f)
		case valueType:
			return readType(&v, f.data)
		}
		return nil
	})
	if err == nil && v.Name == "" {
		err = errors.New("has no name")
	}
	return v, err
}

func readType(v *graph.ValueInfo, msg []byte) error {
	return walk(msg, func(f field) error {
		switch f.key {
		case typeTensor:
			return walk(f.data, func(f field) (err error) {
				switch f.key {
				case tensorTypeElem:
					if v.DType, err = ops.TypeNumbered(int(int32(f.bits))); err != nil {
						err = unheld(err.Error())
					}
				case tensorTypeShape:
					v.Dims = []graph.Dim{}
					err = walk(f.data, func(f field) error {
						if f.key != shapeDim {
							return nil
						}
						d, err := readDim(f.data)
						v.Dims = append(v.Dims, d)
						return err
					})
				}
				return err
			})
		case typeSequence, typeMap, typeSparseTensor, typeOptional:
			return unheld("it is a sequence, map, sparse tensor or optional, not a tensor")
		}
		return nil
	})
}

func readDim(msg []byte) (graph.Dim, error) {
	d := graph.Dim{Size: -1}
	err := walk(msg, func(f field) error {
		switch f.key {
		case dimValue:
			if v := int64(f.bits); v > math.MaxInt32 {
				return fmt.Errorf("dimension %d is out of range", v)
			} else if v >= 0 { // some writers declare -1 for an unknown size
				d.Size = int(v)
			}
		case dimParam:
			return text(&d.Symbol, f)
		}
		return nil
	})
	if d.Size >= 0 {
		d.Symbol = ""
	}
	return d, err
}

// message writes a length-delimited field whose content body writes. The length goes before the content once it is
// known: messages are small, so that moving them costs less than a buffer for each.
func (w *writer) message(k key, body func()) {
	w.out = protowire.AppendVarint(w.out, uint64(k))
	start := len(w.out)
	body()
	end := len(w.out)
	w.out = protowire.AppendVarint(w.out, uint64(end-start))
	var size [10]byte
	n := copy(size[:], w.out[end:])
	copy(w.out[start+n:], w.out[start:end])
	copy(w.out[start:], size[:n])
}

func (w *writer) string(k key, s string) {
	w.out = protowire.AppendString(protowire.AppendVarint(w.out, uint64(k)), s)
}

func (w *writer) varint(k key, v int64) {
	w.out = protowire.AppendVarint(protowire.AppendVarint(w.out, uint64(k)), uint64(v))
}

func (w *writer) float(k key, v float32) {
	w.out = protowire.AppendFixed32(protowire.AppendVarint(w.out, uint64(k)), math.Float32bits(v))
}
