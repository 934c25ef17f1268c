package onnx

import (
	"fmt"

	onnxgo "github.com/owulveryck/onnx-go"
	gonum "gonum.org/v1/gonum/graph"
	"gonum.org/v1/gonum/graph/iterator"
	gorgonia "gorgonia.org/tensor"

	"cutout/inference/ops"
	"cutout/inference/tensor"
)

// backend receives the graph that onnx-go decodes. onnx-go makes one vertex for every value and an edge from a result
// to each input of the operator that computes it, weighted by the place of the input; then it applies the operator
// to the results.
//
// Edges are kept as an ordered list. gonum's own graphs hold one edge between two vertices at most and would lose the
// second input of Mul(x, x).
type backend struct {
	vertices []*vertex
	edges    []edge // all of them; those from pending on belong to the operator about to be applied
	pending  int
	calls    []call
	resolve  func(gorgonia.Tensor) (*tensor.Tensor, error) // the engine's tensor for one of onnx-go's
}

// vertex is a value. The one with the empty name stands for everything omitted.
type vertex struct {
	id     int64
	name   string
	tensor *tensor.Tensor // of an initializer
	owner  *backend
}

// edge runs from a result to an input.
type edge struct {
	from, to gonum.Node
	weight   float64
}

// call is an operator with its inputs and results in order.
type call struct {
	opType          string
	attrs           ops.Attrs
	inputs, results []string
}

var (
	_ onnxgo.Backend     = (*backend)(nil)
	_ onnxgo.Namer       = (*vertex)(nil)
	_ onnxgo.DataCarrier = (*vertex)(nil)
)

func (v *vertex) ID() int64           { return v.id }
func (v *vertex) SetName(name string) { v.name = name }
func (v *vertex) GetName() string     { return v.name }

// SetTensor takes a placeholder and keeps the tensor it stands for.
func (v *vertex) SetTensor(t gorgonia.Tensor) (err error) {
	v.tensor, err = v.owner.resolve(t)
	return err
}

// GetTensor returns nil: the engine's tensors are not gorgonia's, and onnx-go does not ask while it decodes.
func (v *vertex) GetTensor() gorgonia.Tensor { return nil }

func (e edge) From() gonum.Node         { return e.from }
func (e edge) To() gonum.Node           { return e.to }
func (e edge) Weight() float64          { return e.weight }
func (e edge) ReversedEdge() gonum.Edge { return edge{from: e.to, to: e.from, weight: e.weight} }

// NewNode returns a vertex that is not in the graph yet.
func (b *backend) NewNode() gonum.Node { return &vertex{id: int64(len(b.vertices)), owner: b} }

// AddNode adds a vertex that NewNode made last.
func (b *backend) AddNode(n gonum.Node) {
	v, ok := n.(*vertex)
	if !ok || v.id != int64(len(b.vertices)) {
		panic(fmt.Sprintf("onnx: vertex %v added out of turn", n))
	}
	b.vertices = append(b.vertices, v)
}

// NewWeightedEdge returns an edge that is not in the graph yet.
func (b *backend) NewWeightedEdge(from, to gonum.Node, weight float64) gonum.WeightedEdge {
	return edge{from: from, to: to, weight: weight}
}

// SetWeightedEdge appends an edge, whether or not its vertices are joined already.
func (b *backend) SetWeightedEdge(e gonum.WeightedEdge) {
	b.edges = append(b.edges, edge{from: e.From(), to: e.To(), weight: e.Weight()})
}

// ApplyOperation records an operator. The edges set since the last one are its own: first those of its first result,
// in the order of its inputs, then the same for the others. Taking them in turn keeps apart the operators that share
// the vertex of omitted results.
func (b *backend) ApplyOperation(op onnxgo.Operation, results ...gonum.Node) error {
	own := b.edges[b.pending:]
	b.pending = len(b.edges)
	if len(results) == 0 || len(own)%len(results) != 0 {
		return fmt.Errorf("operator %s: %d edges for %d results", op.Name, len(own), len(results))
	}
	c := call{opType: op.Name, attrs: make(ops.Attrs, len(op.Attributes))}
	for i, e := range own[:len(own)/len(results)] {
		if e.from.ID() != results[0].ID() || e.weight != float64(i) {
			return fmt.Errorf("operator %s: input %d is out of order", op.Name, i)
		}
		c.inputs = append(c.inputs, e.to.(*vertex).name)
	}
	c.inputs = trim(c.inputs)
	for _, r := range results {
		c.results = append(c.results, r.(*vertex).name)
	}
	for name, value := range op.Attributes {
		if t, ok := value.(gorgonia.Tensor); ok {
			kept, err := b.resolve(t)
			if err != nil {
				return fmt.Errorf("operator %s: attribute %s: %w", op.Name, name, err)
			}
			value = kept
		}
		c.attrs[name] = value
	}
	b.calls = append(b.calls, c)
	return nil
}

// Node returns a vertex by its ID, nil where there is none.
func (b *backend) Node(id int64) gonum.Node {
	if id < 0 || id >= int64(len(b.vertices)) {
		return nil
	}
	return b.vertices[id]
}

// Nodes returns all vertices.
func (b *backend) Nodes() gonum.Nodes {
	all := make([]gonum.Node, len(b.vertices))
	for i, v := range b.vertices {
		all[i] = v
	}
	return iterator.NewOrderedNodes(all)
}

// From returns the inputs that the operator computing the value reads.
func (b *backend) From(id int64) gonum.Nodes {
	return b.pick(func(e edge) (gonum.Node, bool) { return e.to, e.from.ID() == id })
}

// To returns the results of the operators that read the value.
func (b *backend) To(id int64) gonum.Nodes {
	return b.pick(func(e edge) (gonum.Node, bool) { return e.from, e.to.ID() == id })
}

// HasEdgeBetween reports whether one of two values is computed from the other.
func (b *backend) HasEdgeBetween(x, y int64) bool {
	return b.HasEdgeFromTo(x, y) || b.HasEdgeFromTo(y, x)
}

// HasEdgeFromTo reports whether u is computed from v.
func (b *backend) HasEdgeFromTo(u, v int64) bool { return b.Edge(u, v) != nil }

// Edge returns the first edge from u to v, nil where there is none.
func (b *backend) Edge(u, v int64) gonum.Edge {
	for _, e := range b.edges {
		if e.from.ID() == u && e.to.ID() == v {
			return e
		}
	}
	return nil
}

// pick returns the vertices that choose accepts, each once.
func (b *backend) pick(choose func(edge) (gonum.Node, bool)) gonum.Nodes {
	var nodes []gonum.Node
	seen := map[int64]bool{}
	for _, e := range b.edges {
		if n, ok := choose(e); ok && !seen[n.ID()] {
			seen[n.ID()] = true
			nodes = append(nodes, n)
		}
	}
	return iterator.NewOrderedNodes(nodes)
}
