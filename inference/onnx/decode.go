// Package onnx reads ONNX models into the engine's graph.
//
// The decoder is onnx-go v0.5.0, whose Backend the package implements. onnx-go refuses or mangles much of what
// published models hold, so a pass over the protobuf wire format runs before it (see normalise) and writes a message
// that onnx-go decodes as it stands. From onnx-go come the graph (which operator, with which attributes, reads and
// writes which values, and which tensor is whose), its inputs and its outputs; from the pass come the elements of the
// tensors, the opsets and the declared types. Both halves are joined here.
//
// The format is specified in onnx.proto and IR.md of the ONNX project.
package onnx

import (
	"fmt"

	onnxgo "github.com/owulveryck/onnx-go"
	gorgonia "gorgonia.org/tensor"

	"cutout/inference/graph"
	"cutout/inference/tensor"
)

// Decode reads a model in ONNX's protobuf format. The result shares no memory with data.
//
// Half floats come back as float32. Constant nodes keep their place; each holds its value in the attribute value, a
// tensor. Nodes without a name get that of their first result. An initializer is a constant, also where the model
// declares it as an input with a default. Operators and their attributes are not checked here.
//
// Errors are *FormatError, *UnsupportedError, *LimitError, or, for what a node asks for, *ops.UnsupportedError.
func Decode(data []byte) (*graph.Model, error) {
	c, err := normalise(data)
	if err != nil {
		return nil, err
	}
	b := &backend{resolve: c.resolve}
	decoded, err := decode(b, c.message)
	if err != nil {
		return nil, err
	}
	return c.join(b, decoded)
}

// decode runs onnx-go. It panics on some malformed messages; none of those known gets this far, and one that does
// must not take the process down.
func decode(b *backend, message []byte) (m *onnxgo.Model, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = malformed("", "onnx-go: %v", r)
		}
	}()
	m = onnxgo.NewModel(b)
	if err := m.UnmarshalBinary(message); err != nil {
		return nil, malformed("", "onnx-go: %v", err)
	}
	return m, nil
}

// resolve returns the tensor that a placeholder stands for.
func (c *clean) resolve(placeholder gorgonia.Tensor) (*tensor.Tensor, error) {
	at, err := placeholder.At(0)
	if err != nil {
		return nil, err
	}
	i, ok := at.(int64)
	if !ok || i < 0 || i >= int64(len(c.tensors)) {
		return nil, fmt.Errorf("a placeholder holds %v, which is no tensor's place", at)
	}
	return c.tensors[i], nil
}

// join puts what onnx-go decoded together with what was kept aside.
func (c *clean) join(b *backend, decoded *onnxgo.Model) (*graph.Model, error) {
	if len(b.calls) != len(c.nodes) {
		return nil, malformed("", "onnx-go decoded %d nodes of %d", len(b.calls), len(c.nodes))
	}
	m := &graph.Model{
		Producer:     c.producer,
		Opsets:       c.opsets,
		Nodes:        make([]*graph.Node, len(b.calls)),
		Initializers: map[string]*tensor.Tensor{},
	}
	for i, call := range b.calls {
		n := &graph.Node{Node: c.nodes[i], Inputs: call.inputs, Results: call.results}
		if n.OpType != call.opType || n.Outputs != len(call.results) {
			return nil, malformed(n.String(), "onnx-go decoded %s with %d outputs", call.opType, len(call.results))
		}
		n.Attrs = call.attrs
		m.Nodes[i] = n
	}
	for _, v := range b.vertices {
		if v.tensor != nil {
			m.Initializers[v.name] = v.tensor
		}
	}
	for _, id := range decoded.Input {
		m.Inputs = append(m.Inputs, c.values[b.vertices[id].name])
	}
	for _, id := range decoded.Output {
		m.Outputs = append(m.Outputs, c.values[b.vertices[id].name])
	}
	var err error
	m.Nodes, err = sorted(m.Nodes)
	return m, err
}

// sorted returns nodes so that each comes after those it reads from. Those of a sorted model keep their order.
func sorted(nodes []*graph.Node) ([]*graph.Node, error) {
	writer := map[string]int{}
	for i, n := range nodes {
		for _, name := range n.Results {
			if name != "" {
				writer[name] = i
			}
		}
	}
	const (
		unseen = iota
		open
		done
	)
	state := make([]uint8, len(nodes))
	next := make([]int, len(nodes)) // input to look at
	order := make([]*graph.Node, 0, len(nodes))
	var stack []int // depth first without recursion: a model may be one long chain
	for i := range nodes {
		if state[i] == unseen {
			stack = append(stack, i)
			state[i] = open
		}
		for len(stack) > 0 {
			at := stack[len(stack)-1]
			n := nodes[at]
			if next[at] == len(n.Inputs) {
				state[at] = done
				order = append(order, n)
				stack = stack[:len(stack)-1]
				continue
			}
			name := n.Inputs[next[at]]
			next[at]++
			from, ok := writer[name]
			if !ok || state[from] == done {
				continue
			}
			if state[from] == open {
				return nil, malformed(n.String(), "depends on itself through %q", name)
			}
			state[from] = open
			stack = append(stack, from)
		}
	}
	return order, nil
}
