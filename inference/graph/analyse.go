package graph

import (
	"errors"
	"fmt"
	"slices"

	"cutout/inference/ops"
	"cutout/inference/tensor"
)

// Value is a named tensor of an analysed graph, with what is known of it before the model runs.
type Value struct {
	Name     string
	Type     ops.Type
	Const    *tensor.Tensor // nil when it is computed at run time
	Producer *Call          // nil for graph inputs and constants
	Users    []*Call        // calls that read it, in order; a call that reads it twice is listed twice
	Output   bool           // the caller asked for it
}

// Call is one node of an analysed graph.
type Call struct {
	Node *Node
	Op   *ops.Op
	In   []*Value // nil for an omitted optional input
	Out  []*Value // nil for an output nobody reads
}

// Analysis is a model for one set of input shapes: dead nodes are gone, constants folded, every shape known.
type Analysis struct {
	Calls   []*Call // in topological order
	Inputs  []*Value
	Outputs []*Value
}

// Analyse prunes what the wanted outputs do not need, infers all shapes and folds constants.
// It returns an error wrapping ops.ErrDynamic when a shape depends on the data; such a model can only be interpreted.
func Analyse(m *Model, inputs map[string][]int, wanted []string) (*Analysis, error) {
	live, err := prune(m, wanted)
	if err != nil {
		return nil, err
	}
	values := map[string]*Value{}
	for name, t := range m.Initializers {
		values[name] = &Value{Name: name, Type: ops.Type{DType: t.DType(), Shape: t.Shape()}, Const: t}
	}
	a := &Analysis{}
	for _, in := range m.Inputs {
		shape, ok := inputs[in.Name]
		if !ok {
			continue // an input that only pruned nodes read
		}
		v := &Value{Name: in.Name, Type: ops.Type{DType: in.DType, Shape: shape}}
		values[in.Name] = v
		a.Inputs = append(a.Inputs, v)
	}
	for _, n := range live {
		call, err := analyseNode(n, values)
		if err != nil {
			return nil, err
		}
		if call != nil {
			a.Calls = append(a.Calls, call)
		}
	}
	for _, name := range wanted {
		v := values[name]
		if v == nil {
			return nil, fmt.Errorf("model has no value %q", name)
		}
		v.Output = true
		a.Outputs = append(a.Outputs, v)
	}
	a.Calls = dropUnread(a.Calls)
	for _, c := range a.Calls {
		for _, v := range c.In {
			if v != nil {
				v.Users = append(v.Users, c)
			}
		}
	}
	return a, nil
}

// prune returns the nodes that the wanted values depend on, in model order.
func prune(m *Model, wanted []string) ([]*Node, error) {
	producer := map[string]*Node{}
	for _, n := range m.Nodes {
		for _, name := range n.Results {
			if name != "" {
				producer[name] = n
			}
		}
	}
	known := map[string]bool{}
	for _, in := range m.Inputs {
		known[in.Name] = true
	}
	for name := range m.Initializers {
		known[name] = true
	}
	need := map[*Node]bool{}
	stack := slices.Clone(wanted)
	for len(stack) > 0 {
		name := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		n := producer[name]
		if n == nil {
			if !known[name] {
				return nil, fmt.Errorf("model: nothing yields the value %q", name)
			}
			continue
		}
		if need[n] {
			continue
		}
		need[n] = true
		for _, in := range n.Inputs {
			if in != "" {
				stack = append(stack, in)
			}
		}
	}
	var live []*Node
	for _, n := range m.Nodes {
		if need[n] {
			live = append(live, n)
		}
	}
	return live, nil
}

// dropUnread removes calls none of whose outputs is read any more because folding took their readers.
func dropUnread(calls []*Call) []*Call {
	read := map[*Value]bool{}
	var kept []*Call
	for _, c := range slices.Backward(calls) {
		used := false
		for _, v := range c.Out {
			used = used || v != nil && (v.Output || read[v])
		}
		if !used {
			continue
		}
		for _, v := range c.In {
			if v != nil {
				read[v] = true
			}
		}
		kept = append(kept, c)
	}
	slices.Reverse(kept)
	return kept
}

// analyseNode infers one node. A folded node yields no call: its outputs are constants.
func analyseNode(n *Node, values map[string]*Value) (*Call, error) {
	op, err := ops.Lookup(n.Domain, n.OpType, n.Opset)
	if err != nil {
		if unsupported, ok := errors.AsType[*ops.UnsupportedError](err); ok {
			unsupported.Node.Name = n.Name
		}
		return nil, err
	}
	c := &Call{Node: n, Op: op, In: make([]*Value, len(n.Inputs)), Out: make([]*Value, len(n.Results))}
	types := make([]ops.Type, len(n.Inputs))
	consts := make([]*tensor.Tensor, len(n.Inputs))
	folded := true
	for i, name := range n.Inputs {
		if name == "" {
			continue
		}
		v := values[name]
		if v == nil {
			return nil, fmt.Errorf("%s reads %q, which nothing yields before it", n, name)
		}
		c.In[i], types[i], consts[i] = v, v.Type, v.Const
		folded = folded && v.Const != nil
	}
	if out := shapeOf(n, types); out != nil {
		values[n.Results[0]] = &Value{Name: n.Results[0], Type: ops.Type{DType: out.DType(), Shape: out.Shape()}, Const: out}
		return nil, nil
	}
	if folded {
		out, err := op.Call(&n.Node, consts)
		if err != nil {
			return nil, err
		}
		for i, name := range n.Results {
			if name != "" && out[i] != nil {
				values[name] = &Value{Name: name, Type: ops.Type{DType: out[i].DType(), Shape: out[i].Shape()}, Const: out[i]}
			}
		}
		return nil, nil
	}
	outTypes, err := inferTypes(c, types, consts)
	if err != nil {
		return nil, err
	}
	for i, name := range n.Results {
		if name == "" {
			continue
		}
		if _, err := tensor.CheckShape(outTypes[i].Shape, ops.MaxElements); err != nil {
			return nil, fmt.Errorf("%s: %w", n, err)
		}
		v := &Value{Name: name, Type: outTypes[i], Producer: c}
		values[name], c.Out[i] = v, v
	}
	return c, nil
}

// shapeOf evaluates Shape and Size, whose result is known although their input is not.
func shapeOf(n *Node, types []ops.Type) *tensor.Tensor {
	if n.Domain != "" && n.Domain != "ai.onnx" || len(types) != 1 {
		return nil
	}
	shape := types[0].Shape
	switch n.OpType {
	case "Size":
		return tensor.Scalar(int64(tensor.Count(shape)))
	case "Shape":
		start, err1 := n.Attrs.Int("start", 0)
		end, err2 := n.Attrs.Int("end", len(shape))
		if err1 != nil || err2 != nil {
			return nil
		}
		r := len(shape)
		norm := func(v int) int {
			if v < 0 {
				v += r
			}
			return min(max(v, 0), r)
		}
		start, end = norm(start), max(norm(start), norm(end))
		out := make([]int64, 0, end-start)
		for _, d := range shape[start:end] {
			out = append(out, int64(d))
		}
		return tensor.Of(out, len(out))
	}
	return nil
}

// inferTypes asks the operator for its output types, or evaluates it on zeros where it has no rule of its own.
func inferTypes(c *Call, types []ops.Type, consts []*tensor.Tensor) ([]ops.Type, error) {
	if c.Op.Infer != nil {
		out, err := c.Op.Infer(&c.Node.Node, types, consts)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Node, err)
		}
		if len(out) < len(c.Node.Results) {
			return nil, fmt.Errorf("%s: yields %d outputs, the model asks for %d", c.Node, len(out), len(c.Node.Results))
		}
		return out, nil
	}
	in := make([]*tensor.Tensor, len(types))
	for i, v := range c.In {
		switch {
		case v == nil:
		case v.Const != nil:
			in[i] = v.Const
		default:
			in[i] = tensor.New(v.Type.DType, v.Type.Shape...)
		}
	}
	out, err := c.Op.Call(&c.Node.Node, in)
	if err != nil {
		return nil, err
	}
	res := make([]ops.Type, len(out))
	for i, t := range out {
		if t != nil {
			res[i] = ops.Type{DType: t.DType(), Shape: t.Shape()}
		}
	}
	return res, nil
}
