// Package ops implements the ONNX operators in plain Go on row-major tensors.
//
// These are the specification of the engine: the planner folds constants with them, falls back to them for what it
// has no fast kernel for, and its fast kernels are tested against them. One file holds one operator or one family.
// The source of every operator's semantics is the ONNX operator specification (Operators.md) of the opset named.
package ops

import (
	"fmt"

	"cutout/inference/tensor"
)

// Node is one operator call: which operator, in which opset, with which attributes.
type Node struct {
	Name    string // as in the model; may be empty
	OpType  string
	Domain  string // "" is ai.onnx
	Opset   int    // version of Domain that the model imports
	Attrs   Attrs
	Outputs int // number of outputs the call yields, trailing ones omitted by the model left out
}

// String names the node for messages: operator, opset and the node's name.
func (n *Node) String() string {
	domain := n.Domain
	if domain == "" {
		domain = "ai.onnx"
	}
	return fmt.Sprintf("%s (%s opset %d, node %q)", n.OpType, domain, n.Opset, n.Name)
}

// Attrs holds attribute values by name: int64, float32, string, []int64, []float32, []string or *tensor.Tensor.
type Attrs map[string]any

// Type is the element type and shape of a value.
type Type struct {
	DType tensor.DType
	Shape []int
}

// Eval computes a node. in[i] is nil for an omitted optional input. The result has n.Outputs entries.
// It must not change its inputs; an output may share elements with an input (Reshape, Identity).
// Malformed attributes, shapes or types are errors, never panics.
type Eval func(n *Node, in []*tensor.Tensor) ([]*tensor.Tensor, error)

// Infer computes the output types of a node from its input types. consts[i] is the value of input i where it is
// known when the plan is made, else nil. It returns ErrDynamic when the shape depends on a value that is not known.
type Infer func(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error)

// Op is one operator over a range of opsets.
type Op struct {
	Domain string
	Name   string
	Since  int // first opset this implementation follows
	Until  int // last opset it follows, 0 for no bound
	Eval   Eval
	Infer  Infer // nil: the planner evaluates the node on zeros to learn its output types
}

// UnsupportedError says that the engine has no implementation of an operator.
type UnsupportedError struct {
	Node   Node
	Reason string
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("unsupported operator %s: %s", e.Node.String(), e.Reason)
}
