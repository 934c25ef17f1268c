package graph

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"cutout/inference/ops"
	"cutout/inference/tensor"
)

// Interpret runs a model node by node with the reference operators. It is what models run on whose shapes depend on
// their data, and what plans are tested against.
func Interpret(ctx context.Context, m *Model, inputs map[string]*tensor.Tensor, wanted []string) (map[string]*tensor.Tensor, error) {
	live, err := prune(m, wanted)
	if err != nil {
		return nil, err
	}
	values := make(map[string]*tensor.Tensor, len(m.Initializers)+len(live))
	maps.Copy(values, m.Initializers)
	maps.Copy(values, inputs)
	readers := map[string]int{}
	for _, n := range live {
		for _, name := range n.Inputs {
			readers[name]++
		}
	}
	for _, name := range wanted {
		readers[name]++
	}
	for _, n := range live {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := interpretNode(n, values); err != nil {
			return nil, err
		}
		for _, name := range n.Inputs {
			if readers[name]--; readers[name] == 0 {
				delete(values, name)
			}
		}
	}
	out := make(map[string]*tensor.Tensor, len(wanted))
	for _, name := range wanted {
		if out[name] = values[name]; out[name] == nil {
			return nil, fmt.Errorf("model has no value %q", name)
		}
	}
	return out, nil
}

func interpretNode(n *Node, values map[string]*tensor.Tensor) error {
	op, err := ops.Lookup(n.Domain, n.OpType, n.Opset)
	if err != nil {
		if unsupported, ok := errors.AsType[*ops.UnsupportedError](err); ok {
			unsupported.Node.Name = n.Name
		}
		return err
	}
	in := make([]*tensor.Tensor, len(n.Inputs))
	for i, name := range n.Inputs {
		if name == "" {
			continue
		}
		if in[i] = values[name]; in[i] == nil {
			return fmt.Errorf("%s reads %q, which nothing yields before it", n, name)
		}
	}
	out, err := op.Call(&n.Node, in)
	if err != nil {
		return err
	}
	for i, name := range n.Results {
		if name != "" {
			values[name] = out[i]
		}
	}
	return nil
}
