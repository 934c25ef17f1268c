package ops

import (
	"fmt"
	"slices"

	"cutout/inference/tensor"
)

func matmulOps() []Op {
	return []Op{
		newOp("MatMul", 1, 0, arity{2, 2, 1}, inferMatMul, runMatMul),
		newOp("Gemm", 1, 0, arity{2, 3, 1}, inferGemm, runGemm),
	}
}

// product is the geometry of a batched matrix product: y (batch..., m, n) = a (batch..., m, k) * b (batch..., k, n).
type product struct {
	m, k, n    int
	batch      []int
	aLead      []int // batch axes of a and b as given, to be broadcast to batch
	bLead      []int
	shape      []int // of the result, the axes that 1-D inputs lack taken out
	aVec, bVec bool
}

// newProduct follows numpy.matmul: 1-D inputs stand for a row and a column, leading axes broadcast.
func newProduct(a, b []int) (product, error) {
	p := product{aVec: len(a) == 1, bVec: len(b) == 1}
	if len(a) == 0 || len(b) == 0 {
		return p, fmt.Errorf("shapes %v and %v: a scalar has no matrix product", a, b)
	}
	if p.aVec {
		a = []int{1, a[0]}
	}
	if p.bVec {
		b = []int{b[0], 1}
	}
	p.aLead, p.bLead = a[:len(a)-2], b[:len(b)-2]
	p.m, p.k, p.n = a[len(a)-2], a[len(a)-1], b[len(b)-1]
	if b[len(b)-2] != p.k {
		return p, fmt.Errorf("shapes %v and %v do not multiply: %d columns against %d rows", a, b, p.k, b[len(b)-2])
	}
	var err error
	if p.batch, err = broadcastShapes(p.aLead, p.bLead); err != nil {
		return p, err
	}
	p.shape = slices.Clone(p.batch)
	if !p.aVec {
		p.shape = append(p.shape, p.m)
	}
	if !p.bVec {
		p.shape = append(p.shape, p.n)
	}
	return p, nil
}

// each calls f with the index of every matrix of the result and of the matrices of a and b it comes from.
func (p *product) each(f func(y, a, b int)) {
	plan := planRows(p.batch, tensor.Strides(p.batch), broadcastStrides(p.aLead, p.batch), broadcastStrides(p.bLead, p.batch))
	plan.each(func(o []int) {
		for i := range plan.n {
			f(o[0]+i*plan.step[0], o[1]+i*plan.step[1], o[2]+i*plan.step[2])
		}
	})
}

func inferMatMul(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := want(in, 0, append(slices.Clone(floatTypes), tensor.Int32, tensor.Int64, tensor.Uint32, tensor.Uint64)...); err != nil {
		return nil, err
	}
	if err := wantSame(in); err != nil {
		return nil, err
	}
	p, err := newProduct(in[0].Shape, in[1].Shape)
	if err != nil {
		return nil, err
	}
	return []Type{{in[0].DType, p.shape}}, nil
}

func runMatMul(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	switch out[0].DType {
	case tensor.Float32:
		return matMul[float32](in)
	case tensor.Float64:
		return matMul[float64](in)
	case tensor.Int32:
		return matMul[int32](in)
	case tensor.Int64:
		return matMul[int64](in)
	case tensor.Uint32:
		return matMul[uint32](in)
	default:
		return matMul[uint64](in)
	}
}

func matMul[T tensor.Number](in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	p, err := newProduct(in[0].Shape(), in[1].Shape())
	if err != nil {
		return nil, err
	}
	y := multiplyBatch(&p, tensor.Values[T](in[0]), tensor.Values[T](in[1]))
	return one(tensor.Of(y, p.shape...)), nil
}

func multiplyBatch[T tensor.Number](p *product, a, b []T) []T {
	y := make([]T, tensor.Count(p.shape))
	p.each(func(yi, ai, bi int) {
		multiply(y[yi*p.m*p.n:][:p.m*p.n], a[ai*p.m*p.k:][:p.m*p.k], b[bi*p.k*p.n:][:p.k*p.n], p.m, p.k, p.n)
	})
	return y
}

// multiply adds the product of the row-major matrices a (m, k) and b (k, n) to y (m, n). Rows of b are used in
// panels that stay in the first-level cache while all rows of a pass by.
func multiply[T tensor.Number](y, a, b []T, m, k, n int) {
	const panel = 64
	for k0 := 0; k0 < k; k0 += panel {
		k1 := min(k0+panel, k)
		for i := range m {
			addChannels(y[i*n:][:n], b[k0*n:k1*n], a[i*k+k0:i*k+k1], k1-k0, n, 1, 1)
		}
	}
}

func inferGemm(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := want(in, 0, floatTypes...); err != nil {
		return nil, err
	}
	if err := wantSame(in); err != nil {
		return nil, err
	}
	m, _, cols, err := gemmSizes(n, in[0].Shape, in[1].Shape)
	if err != nil {
		return nil, err
	}
	shape := []int{m, cols}
	if present(in, 2) {
		c, err := broadcastShapes(in[2].Shape, shape)
		if err != nil || !slices.Equal(c, shape) {
			return nil, fmt.Errorf("input 2 of shape %v does not broadcast to %v", in[2].Shape, shape)
		}
	}
	return []Type{{in[0].DType, shape}}, nil
}

func gemmSizes(n *Node, a, b []int) (m, k, cols int, err error) {
	if len(a) != 2 || len(b) != 2 {
		return 0, 0, 0, fmt.Errorf("inputs %v and %v must be matrices", a, b)
	}
	ta, tb, err := gemmTransposes(n)
	if err != nil {
		return 0, 0, 0, err
	}
	m, k = a[0], a[1]
	if ta {
		m, k = k, m
	}
	rows, cols := b[0], b[1]
	if tb {
		rows, cols = cols, rows
	}
	if rows != k {
		return 0, 0, 0, fmt.Errorf("inputs %v and %v do not multiply with transA %t, transB %t", a, b, ta, tb)
	}
	return m, k, cols, nil
}

func gemmTransposes(n *Node) (a, b bool, err error) {
	if a, err = n.Attrs.Bool("transA", false); err != nil {
		return false, false, err
	}
	b, err = n.Attrs.Bool("transB", false)
	return a, b, err
}

func runGemm(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	if out[0].DType == tensor.Float64 {
		return gemm[float64](n, in)
	}
	return gemm[float32](n, in)
}

// gemm computes alpha*A*B + beta*C. Transposed inputs are laid out straight first: O(n²) against O(n³) of arithmetic.
func gemm[T float32 | float64](n *Node, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	m, k, cols, err := gemmSizes(n, in[0].Shape(), in[1].Shape())
	if err != nil {
		return nil, err
	}
	alpha, err := n.Attrs.Float("alpha", 1)
	if err != nil {
		return nil, err
	}
	beta, err := n.Attrs.Float("beta", 1)
	if err != nil {
		return nil, err
	}
	ta, tb, err := gemmTransposes(n)
	if err != nil {
		return nil, err
	}
	a, b := tensor.Values[T](in[0]), tensor.Values[T](in[1])
	if ta {
		a = transposed(a, k, m)
	}
	if tb {
		b = transposed(b, cols, k)
	}
	y := make([]T, m*cols)
	multiply(y, a, b, m, k, cols)
	if alpha != 1 {
		for i := range y {
			y[i] *= T(alpha)
		}
	}
	shape := []int{m, cols}
	if c := at(in, 2); c != nil && beta != 0 {
		v := tensor.Values[T](c)
		s := broadcastStrides(c.Shape(), shape)
		for i := range m {
			for j := range cols {
				y[i*cols+j] += T(beta) * v[i*s[0]+j*s[1]]
			}
		}
	}
	return one(tensor.Of(y, shape...)), nil
}

// transposed returns the transpose of the row-major matrix a (rows, cols).
func transposed[T any](a []T, rows, cols int) []T {
	t := make([]T, len(a))
	for i := range rows {
		for j := range cols {
			t[j*rows+i] = a[i*cols+j]
		}
	}
	return t
}
