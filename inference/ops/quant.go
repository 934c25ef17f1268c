package ops

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"cutout/inference/tensor"
)

func quantOps() []Op {
	return []Op{
		newOp("QuantizeLinear", 10, 0, arity{2, 3, 1}, inferQuantize, runQuantize),
		newOp("DequantizeLinear", 10, 0, arity{2, 3, 1}, inferDequantize, runDequantize),
		newOp("DynamicQuantizeLinear", 11, 0, arity{1, 1, 3}, inferDynamicQuantize, runDynamicQuantize),
		newOp("ConvInteger", 10, 0, arity{2, 4, 1}, inferConvInteger, runConvInteger),
		newOp("QLinearConv", 10, 0, arity{8, 9, 1}, inferQLinearConv, runQLinearConv),
		newOp("MatMulInteger", 10, 0, arity{2, 4, 1}, inferMatMulInteger, runMatMulInteger),
		newOp("QLinearMatMul", 10, 0, arity{8, 8, 1}, inferQLinearMatMul, runQLinearMatMul),
	}
}

var byteTypes = []tensor.DType{tensor.Uint8, tensor.Int8}

// limits returns the smallest and the largest value of T.
func limits[T integer]() (lo, hi T) {
	var zero T
	if zero-1 > zero {
		return zero, zero - 1 // unsigned: wraps to the largest
	}
	lo = T(1) << (8*tensor.TypeOf[T]().Size() - 1)
	return lo, ^lo
}

// saturate converts x to T, clamped to its range; NaN becomes 0.
func saturate[T integer](x float64) T {
	lo, hi := limits[T]()
	switch {
	case x != x:
		return 0
	case x <= float64(lo):
		return lo
	case x >= float64(hi):
		return hi
	}
	return T(x)
}

// quantize rounds half to even, adds the zero point and saturates.
func quantize[T integer](x, zero float64) T { return saturate[T](math.RoundToEven(x) + zero) }

// integers returns the elements of an integer tensor as int32; those of wider types must fit.
func integers(t *tensor.Tensor) []int32 {
	switch t.DType() {
	case tensor.Uint8:
		return widen(tensor.Values[uint8](t))
	case tensor.Int8:
		return widen(tensor.Values[int8](t))
	case tensor.Uint16:
		return widen(tensor.Values[uint16](t))
	case tensor.Int16:
		return widen(tensor.Values[int16](t))
	default:
		return tensor.Values[int32](t)
	}
}

func widen[T int8 | uint8 | int16 | uint16](v []T) []int32 {
	out := make([]int32, len(v))
	for i, x := range v {
		out[i] = int32(x)
	}
	return out
}

// granularity says which scale and zero point belong to an element: one for all, one per index of an axis, or one
// per block of elements along an axis. The parameters form a grid (outer, steps, inner), outer and inner being 1
// but for blocks.
type granularity struct {
	inner, length int // elements behind the axis, and along it
	block         int // elements of the axis that share parameters; 0: one parameter for all
	blocked       bool
}

func readGranularity(n *Node, in []Type) (g granularity, err error) {
	x, scale := in[0].Shape, in[1].Shape
	if present(in, 2) && !slices.Equal(in[2].Shape, scale) && (tensorCount(in[2].Shape) != 1 || tensorCount(scale) != 1) {
		return g, fmt.Errorf("scale %v and zero point %v differ in shape", scale, in[2].Shape)
	}
	if tensorCount(scale) == 1 && len(scale) < 2 {
		return g, nil
	}
	axis, err := n.Attrs.Int("axis", 1)
	if err != nil {
		return g, err
	}
	block, err := n.Attrs.Int("block_size", 0)
	if err != nil {
		return g, err
	}
	if len(x) == 1 && len(scale) == 1 && !n.Attrs.Has("axis") {
		axis = 0 // the default axis 1 does not exist
	}
	if axis, err = axisIn(axis, len(x)); err != nil {
		return g, err
	}
	g = granularity{inner: 1, length: x[axis], block: 1}
	for _, d := range x[axis+1:] {
		g.inner = mulSat(g.inner, d)
	}
	if len(scale) == 1 {
		if scale[0] != x[axis] {
			return g, fmt.Errorf("%d scales for axis %d of %v", scale[0], axis, x)
		}
		return g, nil
	}
	if block < 1 {
		return g, fmt.Errorf("scale has shape %v, want a scalar or a list", scale)
	}
	g.block, g.blocked = min(block, maxSpatial), true
	grid := slices.Clone(x)
	grid[axis] = (x[axis] + g.block - 1) / g.block
	if !slices.Equal(grid, scale) {
		return g, fmt.Errorf("scale has shape %v, blocks of %d along axis %d of %v want %v", scale, block, axis, x, grid)
	}
	return g, nil
}

// at returns the index of the parameters of element i.
func (g *granularity) at(i int) int {
	switch {
	case g.block == 0:
		return 0
	case !g.blocked:
		return i / g.inner % g.length
	}
	steps := (g.length + g.block - 1) / g.block
	return (i/(g.inner*g.length)*steps+i/g.inner%g.length/g.block)*g.inner + i%g.inner
}

func inferQuantize(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := want(in, 0, tensor.Float32, tensor.Int32); err != nil {
		return nil, err
	}
	if err := want(in, 1, tensor.Float32, tensor.Int32); err != nil {
		return nil, err
	}
	to := tensor.Uint8
	number, err := n.Attrs.Int("output_dtype", 0)
	if err != nil {
		return nil, err
	}
	if number != 0 {
		if to, err = TypeNumbered(number); err != nil {
			return nil, err
		}
	}
	if present(in, 2) {
		if number != 0 && to != in[2].DType {
			return nil, fmt.Errorf("attribute output_dtype asks for %s, the zero point is %s", to, in[2].DType)
		}
		to = in[2].DType
	}
	if !slices.Contains([]tensor.DType{tensor.Uint8, tensor.Int8, tensor.Uint16, tensor.Int16}, to) {
		return nil, fmt.Errorf("cannot quantize to %s", to)
	}
	_, err = readGranularity(n, in)
	return []Type{{to, in[0].Shape}}, err
}

// asFloat32 returns the elements of a float32 or int32 tensor as float32.
func asFloat32(t *tensor.Tensor) []float32 {
	if t.DType() == tensor.Float32 {
		return tensor.Values[float32](t)
	}
	v := tensor.Values[int32](t)
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = float32(x)
	}
	return out
}

func runQuantize(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	switch out[0].DType {
	case tensor.Uint8:
		return quantizeLinear[uint8](n, in)
	case tensor.Int8:
		return quantizeLinear[int8](n, in)
	case tensor.Uint16:
		return quantizeLinear[uint16](n, in)
	default:
		return quantizeLinear[int16](n, in)
	}
}

func quantizeLinear[T integer](n *Node, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	g, err := readGranularity(n, typesOf(in))
	if err != nil {
		return nil, err
	}
	x, scale, zero := asFloat32(in[0]), asFloat32(in[1]), zeroPoints(in, 2, in[1].Len())
	y := make([]T, len(x))
	for i, v := range x {
		p := g.at(i)
		y[i] = quantize[T](float64(v/scale[p]), float64(zero[p]))
	}
	return one(tensor.Of(y, in[0].Shape()...)), nil
}

// zeroPoints returns the count zero points of input i; an omitted one is 0.
func zeroPoints(in []*tensor.Tensor, i, count int) []int32 {
	if t := at(in, i); t != nil {
		return integers(t)
	}
	return make([]int32, count)
}

func inferDequantize(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := want(in, 0, tensor.Uint8, tensor.Int8, tensor.Uint16, tensor.Int16, tensor.Int32); err != nil {
		return nil, err
	}
	if err := want(in, 1, tensor.Float32); err != nil {
		return nil, err
	}
	if present(in, 2) && in[2].DType != in[0].DType {
		return nil, fmt.Errorf("input is %s, its zero point %s", in[0].DType, in[2].DType)
	}
	_, err := readGranularity(n, in)
	return []Type{{tensor.Float32, in[0].Shape}}, err
}

func runDequantize(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	g, err := readGranularity(n, typesOf(in))
	if err != nil {
		return nil, err
	}
	x, scale, zero := integers(in[0]), tensor.Values[float32](in[1]), zeroPoints(in, 2, in[1].Len())
	y := make([]float32, len(x))
	for i, v := range x {
		p := g.at(i)
		y[i] = float32(int64(v)-int64(zero[p])) * scale[p]
	}
	return one(tensor.Of(y, in[0].Shape()...)), nil
}

func inferDynamicQuantize(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := want(in, 0, tensor.Float32); err != nil {
		return nil, err
	}
	return []Type{{tensor.Uint8, in[0].Shape}, {tensor.Float32, nil}, {tensor.Uint8, nil}}, nil
}

// runDynamicQuantize spreads the range of the input, widened to hold 0, over 0..255. All zeros get scale 1.
func runDynamicQuantize(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	x := tensor.Values[float32](in[0])
	var lo, hi float32
	for _, v := range x {
		lo, hi = min(lo, v), max(hi, v)
	}
	scale := float32(1)
	if lo != hi {
		scale = (hi - lo) / 255
	}
	zero := quantize[uint8](float64(-lo/scale), 0)
	y := make([]uint8, len(x))
	for i, v := range x {
		y[i] = quantize[uint8](float64(v/scale), float64(zero))
	}
	all := []*tensor.Tensor{tensor.Of(y, in[0].Shape()...), tensor.Scalar(scale), tensor.Scalar(zero)}
	return all[:len(out)], nil
}

// wantParameter reports a scale or zero point that is neither a single element nor, where n is not 0, one of each
// of n channels.
func wantParameter(in []Type, i, n int) error {
	if !present(in, i) {
		return nil
	}
	if c := tensorCount(in[i].Shape); c != 1 && (n == 0 || c != n || len(in[i].Shape) != 1) {
		return fmt.Errorf("input %d has shape %v, want a single element or %d", i, in[i].Shape, n)
	}
	return nil
}

// wantBytes checks a quantised operand and, when given, its zero point.
func wantBytes(in []Type, i, zero int) error {
	if err := want(in, i, byteTypes...); err != nil {
		return err
	}
	if present(in, zero) && in[zero].DType != in[i].DType {
		return fmt.Errorf("input %d is %s, its zero point %s", i, in[i].DType, in[zero].DType)
	}
	return nil
}

func inferConvInteger(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := errors.Join(wantBytes(in, 0, 2), wantBytes(in, 1, 3)); err != nil {
		return nil, err
	}
	win, _, err := ConvWindow(n, in[0].Shape, in[1].Shape)
	if err != nil {
		return nil, err
	}
	m := in[1].Shape[0]
	if err := errors.Join(wantParameter(in, 2, 0), wantParameter(in, 3, m)); err != nil {
		return nil, err
	}
	return []Type{{tensor.Int32, append([]int{in[0].Shape[0], m}, win.Out...)}}, nil
}

// centred returns a quantised operand less its zero points: a single one, or one for each of the rows that the
// elements fall into, in turn.
func centred(t, zero *tensor.Tensor, rows int) []int32 {
	v := integers(t)
	if zero == nil {
		return v
	}
	z := integers(zero)
	if len(z) == 1 {
		rows = 1
	}
	size := len(v) / max(rows, 1)
	for i := range v {
		v[i] -= z[i/size%len(z)]
	}
	return v
}

func runConvInteger(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	y, err := convIntegers(n, in[0], in[1], at(in, 2), at(in, 3), nil)
	if err != nil {
		return nil, err
	}
	return one(tensor.Of(y, out[0].Shape...)), nil
}

// convIntegers convolves the centred operands; padding is the zero point, and so adds nothing.
func convIntegers(n *Node, x, w, xZero, wZero *tensor.Tensor, bias []int32) ([]int32, error) {
	f, err := newFilter(n, x.Shape(), w.Shape())
	if err != nil {
		return nil, err
	}
	channels := f.groups * f.outC
	y := make([]int32, f.batch*channels*f.Out[0]*f.Out[1]*f.Out[2])
	convolve(f, y, centred(x, xZero, 1), centred(w, wZero, channels), bias)
	return y, nil
}

func inferQLinearConv(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := errors.Join(wantBytes(in, 0, 2), wantBytes(in, 3, 5), want(in, 7, byteTypes...)); err != nil {
		return nil, err
	}
	win, _, err := ConvWindow(n, in[0].Shape, in[3].Shape)
	if err != nil {
		return nil, err
	}
	m := in[3].Shape[0]
	for i, channels := range map[int]int{1: 0, 2: 0, 4: m, 5: m, 6: 0, 7: 0} {
		if err := wantParameter(in, i, channels); err != nil {
			return nil, err
		}
	}
	for _, i := range []int{1, 4, 6} {
		if err := want(in, i, tensor.Float32); err != nil {
			return nil, err
		}
	}
	if present(in, 8) {
		if err := want(in, 8, tensor.Int32); err != nil {
			return nil, err
		}
		if err := wantVectors(in, 8, m); err != nil {
			return nil, err
		}
	}
	return []Type{{in[7].DType, append([]int{in[0].Shape[0], m}, win.Out...)}}, nil
}

func runQLinearConv(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	acc, err := convIntegers(n, in[0], in[3], in[2], in[5], optional[int32](in, 8))
	if err != nil {
		return nil, err
	}
	m := in[3].Shape()[0]
	area := tensor.Count(out[0].Shape[2:])
	factor := make([]float32, m)
	xScale, wScale, yScale := tensor.Values[float32](in[1])[0], tensor.Values[float32](in[4]), tensor.Values[float32](in[6])[0]
	for c := range factor {
		factor[c] = xScale * wScale[c%len(wScale)] / yScale
	}
	return one(requantize(out[0], acc, integers(in[7])[0], func(i int) float32 { return factor[i/area%m] })), nil
}

// requantize scales 32-bit sums and rounds them to the bytes of type t.
func requantize(t Type, acc []int32, zero int32, factor func(i int) float32) *tensor.Tensor {
	if t.DType == tensor.Int8 {
		return requantizeTo[int8](t, acc, zero, factor)
	}
	return requantizeTo[uint8](t, acc, zero, factor)
}

func requantizeTo[T integer](t Type, acc []int32, zero int32, factor func(i int) float32) *tensor.Tensor {
	y := make([]T, len(acc))
	for i, v := range acc {
		y[i] = quantize[T](float64(float32(v)*factor(i)), float64(zero))
	}
	return tensor.Of(y, t.Shape...)
}

// wantRows reports a parameter of a that is neither a single element nor one for each of its m rows: a list, or the
// shape of a with its last axis 1.
func wantRows(in []Type, i int, a []int, m int) error {
	if !present(in, i) || tensorCount(in[i].Shape) == 1 {
		return nil
	}
	s := in[i].Shape
	if len(s) == 1 && s[0] == m && len(a) > 1 {
		return nil
	}
	if len(s) == len(a) && len(a) > 1 && s[len(s)-1] == 1 && slices.Equal(s[:len(s)-1], a[:len(a)-1]) {
		return nil
	}
	return fmt.Errorf("input %d has shape %v, want a single element or one for each row of %v", i, s, a)
}

// wantColumns is wantRows for the n columns of b: a list, or the shape of b with its last axis but one 1.
func wantColumns(in []Type, i int, b []int, n int) error {
	if !present(in, i) || tensorCount(in[i].Shape) == 1 {
		return nil
	}
	s := in[i].Shape
	if len(s) == 1 && s[0] == n && len(b) > 1 {
		return nil
	}
	k := len(b) - 2
	if len(s) == len(b) && k >= 0 && s[k] == 1 && s[k+1] == n && slices.Equal(s[:k], b[:k]) {
		return nil
	}
	return fmt.Errorf("input %d has shape %v, want a single element or one for each column of %v", i, s, b)
}

func inferMatMulInteger(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := errors.Join(wantBytes(in, 0, 2), wantBytes(in, 1, 3)); err != nil {
		return nil, err
	}
	p, err := newProduct(in[0].Shape, in[1].Shape)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(wantRows(in, 2, in[0].Shape, p.m), wantColumns(in, 3, in[1].Shape, p.n)); err != nil {
		return nil, err
	}
	return []Type{{tensor.Int32, p.shape}}, nil
}

func runMatMulInteger(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	p, err := newProduct(in[0].Shape(), in[1].Shape())
	if err != nil {
		return nil, err
	}
	return one(tensor.Of(multiplyIntegers(&p, in[0], in[1], at(in, 2), at(in, 3)), out[0].Shape...)), nil
}

// multiplyIntegers multiplies the centred operands. Sums wrap as 32-bit integers do.
func multiplyIntegers(p *product, a, b, aZero, bZero *tensor.Tensor) []int32 {
	av, bv := integers(a), integers(b)
	if aZero != nil {
		z := integers(aZero)
		for i := range av {
			av[i] -= z[i/p.k%len(z)]
		}
	}
	if bZero != nil {
		z := integers(bZero)
		for i := range bv {
			bv[i] -= z[columnParameter(p, len(z), i)]
		}
	}
	return multiplyBatch(p, av, bv)
}

// columnParameter returns which of count parameters belongs to element i of b (batch..., k, n).
func columnParameter(p *product, count, i int) int {
	switch count {
	case 1:
		return 0
	case p.n:
		return i % p.n
	}
	return i/(p.k*p.n)*p.n + i%p.n
}

func inferQLinearMatMul(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := errors.Join(wantBytes(in, 0, 2), wantBytes(in, 3, 5), want(in, 7, byteTypes...)); err != nil {
		return nil, err
	}
	for _, i := range []int{1, 4, 6} {
		if err := want(in, i, tensor.Float32); err != nil {
			return nil, err
		}
	}
	p, err := newProduct(in[0].Shape, in[3].Shape)
	if err != nil {
		return nil, err
	}
	a, b := in[0].Shape, in[3].Shape
	if err := errors.Join(wantRows(in, 1, a, p.m), wantRows(in, 2, a, p.m), wantColumns(in, 4, b, p.n),
		wantColumns(in, 5, b, p.n), wantParameter(in, 6, 0), wantParameter(in, 7, 0)); err != nil {
		return nil, err
	}
	if c := tensorCount(in[1].Shape); c != 1 && c != p.m || tensorCount(in[4].Shape) != 1 && tensorCount(in[4].Shape) != p.n {
		return nil, errors.New("scales that differ between the matrices of a batch are not supported")
	}
	return []Type{{in[7].DType, p.shape}}, nil
}

func runQLinearMatMul(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	p, err := newProduct(in[0].Shape(), in[3].Shape())
	if err != nil {
		return nil, err
	}
	acc := multiplyIntegers(&p, in[0], in[3], in[2], in[5])
	aScale, bScale, yScale := tensor.Values[float32](in[1]), tensor.Values[float32](in[4]), tensor.Values[float32](in[6])[0]
	return one(requantize(out[0], acc, integers(in[7])[0], func(i int) float32 {
		return aScale[i/p.n%p.m%len(aScale)] * bScale[i%p.n%len(bScale)] / yScale
	})), nil
}
