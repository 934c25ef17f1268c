// Package graph is the engine's intermediate representation of a model, and what is done to it before it runs:
// shape inference, constant folding, fusion, layout and memory planning.
package graph

import (
	"cutout/inference/ops"
	"cutout/inference/tensor"
)

// Model is a decoded ONNX graph. Values are named; a name is written once.
type Model struct {
	Producer     string
	Opsets       map[string]int // by domain, "" is ai.onnx
	Nodes        []*Node        // in topological order
	Initializers map[string]*tensor.Tensor
	Inputs       []ValueInfo // graph inputs that are not initializers
	Outputs      []ValueInfo
}

// Node is an operator call with the names of the values it reads and writes. An empty input name is an omitted
// optional input; an empty output name is an output nobody reads.
type Node struct {
	ops.Node
	Inputs  []string
	Results []string // output names; len(Results) == Node.Outputs
}

// ValueInfo declares a graph input or output.
type ValueInfo struct {
	Name  string
	DType tensor.DType
	Dims  []Dim // nil when the model declares no rank
}

// Dim is one declared dimension: a number, or a symbol when Size is negative.
type Dim struct {
	Size   int
	Symbol string
}
