package ops

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"cutout/inference/tensor"
)

// ErrDynamic says that an output's shape depends on a value that is not known when the plan is made.
var ErrDynamic = errors.New("shape depends on a value known only when the model runs")

// MaxElements bounds the element count of every tensor an operator makes, so that a hostile model is refused
// instead of exhausting memory.
const MaxElements = 1 << 30

// All returns every implementation the package holds, in no particular order.
func All() []Op {
	return slices.Concat(
		castOps(),
		einsumOps(),
		elementwiseOps(),
		gatherOps(),
		logicOps(),
		neuralOps(),
		reduceOps(),
		shapeOps(),
		softmaxOps(),
	)
}

type opKey struct{ domain, name string }

// index holds the operators by name, newest first. It is built on first use and never changed.
var index = sync.OnceValue(func() map[opKey][]*Op {
	m := map[opKey][]*Op{}
	all := All()
	for i := range all {
		k := opKey{canonicalDomain(all[i].Domain), all[i].Name}
		m[k] = append(m[k], &all[i])
	}
	for _, versions := range m {
		slices.SortFunc(versions, func(a, b *Op) int { return b.Since - a.Since })
	}
	return m
})

func canonicalDomain(domain string) string {
	if domain == "ai.onnx" {
		return ""
	}
	return domain
}

// Lookup returns the newest implementation of an operator that follows opset. Where there is none the error is a
// *UnsupportedError that names the operator and the opset. Domains "" and "ai.onnx" are the same.
func Lookup(domain, opType string, opset int) (*Op, error) {
	versions := index()[opKey{canonicalDomain(domain), opType}]
	for _, op := range versions {
		if op.Since <= opset && (op.Until == 0 || opset <= op.Until) {
			return op, nil
		}
	}
	reason := "not implemented"
	if len(versions) > 0 {
		reason = fmt.Sprintf("not implemented for opset %d", opset)
	}
	return nil, &UnsupportedError{Node: Node{OpType: opType, Domain: domain, Opset: opset}, Reason: reason}
}

// Call runs op.Eval, checks that it yields what the node asks for, and names the node in its error.
func (op *Op) Call(n *Node, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	out, err := op.Eval(n, in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n, err)
	}
	if len(out) != n.Outputs {
		return nil, fmt.Errorf("%s: yields %d outputs, the model asks for %d", n, len(out), n.Outputs)
	}
	return out, nil
}

// compute is the arithmetic of an operator whose output types are known: out has n.Outputs entries.
type compute func(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error)

// arity is the number of inputs, omitted ones included, and of outputs that an operator takes.
// maxIn and maxOut below zero mean no bound. The first minIn inputs must be present.
type arity struct{ minIn, maxIn, maxOut int }

// check reports a node with too few or too many inputs or outputs.
func (a arity) check(n *Node, in []Type) error {
	if len(in) < a.minIn {
		return fmt.Errorf("has %d inputs, needs %d", len(in), a.minIn)
	}
	if a.maxIn >= 0 && len(in) > a.maxIn {
		return fmt.Errorf("has %d inputs, takes %d at most", len(in), a.maxIn)
	}
	for i := range a.minIn {
		if in[i].DType == tensor.Invalid {
			return fmt.Errorf("input %d is missing", i)
		}
	}
	if n.Outputs < 1 || a.maxOut >= 0 && n.Outputs > a.maxOut {
		return fmt.Errorf("has %d outputs, yields %d", n.Outputs, a.maxOut)
	}
	return nil
}

// newOp builds an Op whose Infer is the one place that checks inputs and attributes: Eval infers the output types,
// with every input as a known value, and leaves only the arithmetic to run. infer may return more types than the
// node has outputs; the rest is cut off.
func newOp(name string, since, until int, a arity, infer Infer, run compute) Op {
	checked := func(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
		if err := a.check(n, in); err != nil {
			return nil, err
		}
		out, err := infer(n, in, consts)
		if err != nil {
			return nil, err
		}
		if len(out) < n.Outputs {
			return nil, fmt.Errorf("yields %d outputs, the model asks for %d", len(out), n.Outputs)
		}
		out = out[:n.Outputs]
		for _, t := range out {
			if _, err := tensor.CheckShape(t.Shape, MaxElements); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return Op{
		Name: name, Since: since, Until: until,
		Infer: checked,
		Eval: func(n *Node, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
			out, err := checked(n, typesOf(in), in)
			if err != nil {
				return nil, err
			}
			return run(n, in, out)
		},
	}
}

// typesOf returns the types of tensors; an omitted one has the zero Type.
func typesOf(in []*tensor.Tensor) []Type {
	types := make([]Type, len(in))
	for i, t := range in {
		if t != nil {
			types[i] = Type{DType: t.DType(), Shape: t.Shape()}
		}
	}
	return types
}
