package conformance

import (
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"

	"cutout/inference/ops"
	"cutout/inference/tensor"
)

// Runner computes the named outputs of a serialised model from its named inputs.
// An operator that it does not have is a *ops.UnsupportedError.
type Runner func(model []byte, inputs map[string]*tensor.Tensor) (map[string]*tensor.Tensor, error)

// Interpret is the plainest Runner: one operator after the other, straight from the registry. Beside the outputs it
// checks what an operator promises: that Infer foretells what Eval yields, and that Eval leaves its inputs alone.
func Interpret(data []byte, inputs map[string]*tensor.Tensor) (map[string]*tensor.Tensor, error) {
	m, err := readModel(data)
	if err != nil {
		return nil, err
	}
	values := map[string]*tensor.Tensor{}
	maps.Copy(values, m.initializers)
	maps.Copy(values, inputs)
	for _, n := range m.nodes {
		if _, err := ops.Lookup(n.Domain, n.OpType, n.Opset); err != nil {
			return nil, err
		}
	}
	for _, n := range m.nodes {
		if n.err != nil {
			return nil, n.err
		}
		in := make([]*tensor.Tensor, len(n.inputs))
		for i, name := range n.inputs {
			if name == "" {
				continue
			}
			t, ok := values[name]
			if !ok {
				return nil, fmt.Errorf("%s reads %q, which nothing writes", &n.Node, name)
			}
			in[i] = t
		}
		out, err := call(&n.Node, in)
		if err != nil {
			return nil, err
		}
		for i, name := range n.outputs {
			values[name] = out[i]
		}
	}
	outputs := map[string]*tensor.Tensor{}
	for _, v := range m.outputs {
		t, ok := values[v.name]
		if !ok {
			return nil, fmt.Errorf("output %q is not written", v.name)
		}
		outputs[v.name] = t
	}
	return outputs, nil
}

// BrokenPromiseError says that an operator does not do what the package ops promises of every operator.
type BrokenPromiseError struct{ Reason string }

func (e *BrokenPromiseError) Error() string { return e.Reason }

func broken(format string, args ...any) error {
	return &BrokenPromiseError{fmt.Sprintf(format, args...)}
}

func call(n *ops.Node, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	op, err := ops.Lookup(n.Domain, n.OpType, n.Opset)
	if err != nil {
		return nil, err
	}
	before := make([]uint64, len(in))
	for i, t := range in {
		before[i] = checksum(t)
	}
	out, err := op.Call(n, in)
	if err != nil {
		return nil, err
	}
	for i, t := range in {
		if checksum(t) != before[i] {
			return nil, broken("%s changed its input %d", n, i)
		}
	}
	if op.Infer == nil {
		return out, nil
	}
	types := typesOf(in)
	for known, consts := range map[bool][]*tensor.Tensor{true: in, false: make([]*tensor.Tensor, len(in))} {
		foretold, err := op.Infer(n, types, consts)
		if errors.Is(err, ops.ErrDynamic) {
			if known {
				return nil, broken("%s: shape unknown with every input known", n)
			}
			continue
		}
		if err != nil {
			return nil, broken("%s: Infer refuses what Eval takes: %v", n, err)
		}
		for i, t := range out {
			if t == nil {
				continue
			}
			if i >= len(foretold) || foretold[i].DType != t.DType() || !slices.Equal(foretold[i].Shape, t.Shape()) {
				return nil, broken("%s: Infer foretells %v, Eval yields %s %v as output %d", n, foretold, t.DType(), t.Shape(), i)
			}
		}
	}
	return out, nil
}

func typesOf(in []*tensor.Tensor) []ops.Type {
	types := make([]ops.Type, len(in))
	for i, t := range in {
		if t != nil {
			types[i] = ops.Type{DType: t.DType(), Shape: t.Shape()}
		}
	}
	return types
}

var seed = maphash.MakeSeed()

// checksum tells whether the elements of a tensor have changed; NaNs of the same bits are the same.
func checksum(t *tensor.Tensor) uint64 {
	if t == nil {
		return 0
	}
	return maphash.String(seed, fmt.Sprint(elements(t)))
}

func elements(t *tensor.Tensor) any {
	switch t.DType() {
	case tensor.Float32:
		return tensor.Values[float32](t)
	case tensor.Float64:
		return tensor.Values[float64](t)
	case tensor.Int8:
		return tensor.Values[int8](t)
	case tensor.Int16:
		return tensor.Values[int16](t)
	case tensor.Int32:
		return tensor.Values[int32](t)
	case tensor.Int64:
		return tensor.Values[int64](t)
	case tensor.Uint8:
		return tensor.Values[uint8](t)
	case tensor.Uint16:
		return tensor.Values[uint16](t)
	case tensor.Uint32:
		return tensor.Values[uint32](t)
	case tensor.Uint64:
		return tensor.Values[uint64](t)
	default:
		return tensor.Values[bool](t)
	}
}
