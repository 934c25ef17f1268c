package ops

import (
	"fmt"
	"math"

	"cutout/inference/tensor"
)

func poolOps() []Op {
	return []Op{
		newOp("MaxPool", 1, 0, arity{1, 1, 2}, inferMaxPool, runMaxPool),
		newOp("AveragePool", 1, 0, arity{1, 1, 1}, inferPool(floatTypes...), runAveragePool),
		newOp("LpPool", 2, 0, arity{1, 1, 1}, inferLpPool, runLpPool),
		newOp("GlobalMaxPool", 1, 0, arity{1, 1, 1}, inferGlobalPool, runGlobalPool),
		newOp("GlobalAveragePool", 1, 0, arity{1, 1, 1}, inferGlobalPool, runGlobalPool),
		newOp("GlobalLpPool", 2, 0, arity{1, 1, 1}, inferGlobalLpPool, runGlobalPool),
	}
}

func inferPool(dtypes ...tensor.DType) Infer {
	return func(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
		if err := want(in, 0, dtypes...); err != nil {
			return nil, err
		}
		win, err := PoolWindow(n, in[0].Shape)
		if err != nil {
			return nil, err
		}
		return []Type{{in[0].DType, append([]int{in[0].Shape[0], in[0].Shape[1]}, win.Out...)}}, nil
	}
}

func inferMaxPool(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	out, err := inferPool(tensor.Float32, tensor.Float64, tensor.Int8, tensor.Uint8)(n, in, consts)
	if err != nil {
		return nil, err
	}
	if _, err := n.Attrs.Bool("storage_order", false); err != nil {
		return nil, err
	}
	return append(out, Type{tensor.Int64, out[0].Shape}), nil
}

// taps is the part of a window that lies inside the input along one axis: n positions from first on, step apart.
type taps struct{ first, n, step int }

// tapsAt returns the taps of output position o along axis i.
func (w *Window) tapsAt(i, o int) taps {
	start, dilation := o*w.Stride[i]-w.PadBegin[i], w.Dilation[i]
	k0 := 0
	if start < 0 {
		k0 = (-start + dilation - 1) / dilation
	}
	k1 := 0
	if last := w.In[i] - 1 - start; last >= 0 {
		k1 = min(last/dilation+1, w.Kernel[i])
	}
	return taps{start + k0*dilation, max(k1-k0, 0), dilation}
}

// eachWindow calls f for every window of a plane of three axes, in row-major order of the output.
func (w *Window) eachWindow(f func(o int, d, h, v taps)) {
	across := make([]taps, w.Out[2])
	for i := range across {
		across[i] = w.tapsAt(2, i)
	}
	o := 0
	for od := range w.Out[0] {
		d := w.tapsAt(0, od)
		for oh := range w.Out[1] {
			h := w.tapsAt(1, oh)
			for _, v := range across {
				f(o, d, h, v)
				o++
			}
		}
	}
}

// pooling is a pooling's geometry with three spatial axes.
type pooling struct {
	Window
	planes, inPlane, outPlane int
}

func newPooling(n *Node, x []int) (pooling, error) {
	win, err := PoolWindow(n, x)
	if err != nil {
		return pooling{}, err
	}
	p := pooling{Window: win.to3(), planes: x[0] * x[1]}
	p.inPlane = p.In[0] * p.In[1] * p.In[2]
	p.outPlane = p.Out[0] * p.Out[1] * p.Out[2]
	return p, nil
}

func runMaxPool(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	switch in[0].DType() {
	case tensor.Float32:
		return maxPool(n, tensor.Values[float32](in[0]), float32(math.Inf(-1)), in[0].Shape(), out)
	case tensor.Float64:
		return maxPool(n, tensor.Values[float64](in[0]), math.Inf(-1), in[0].Shape(), out)
	case tensor.Int8:
		return maxPool(n, tensor.Values[int8](in[0]), math.MinInt8, in[0].Shape(), out)
	default:
		return maxPool(n, tensor.Values[uint8](in[0]), 0, in[0].Shape(), out)
	}
}

// maxPool takes the first of equal maxima. A window wholly in the padding yields lowest and the index -1.
func maxPool[T tensor.Number](n *Node, x []T, lowest T, shape []int, out []Type) ([]*tensor.Tensor, error) {
	p, err := newPooling(n, shape)
	if err != nil {
		return nil, err
	}
	columns, err := n.Attrs.Bool("storage_order", false)
	if err != nil {
		return nil, err
	}
	y := make([]T, p.planes*p.outPlane)
	var index []int64
	if len(out) > 1 {
		index = make([]int64, len(y))
	}
	inD, inH, inW := p.In[0], p.In[1], p.In[2]
	for i := range p.planes {
		src := x[i*p.inPlane:][:p.inPlane]
		p.eachWindow(func(o int, d, h, v taps) {
			best, where := lowest, -1
			for kd := range d.n {
				for kh := range h.n {
					at := ((d.first+kd*d.step)*inH+h.first+kh*h.step)*inW + v.first
					for range v.n {
						if src[at] > best || where < 0 {
							best, where = src[at], at
						}
						at += v.step
					}
				}
			}
			y[i*p.outPlane+o] = best
			if index == nil {
				return
			}
			if where >= 0 {
				if columns {
					where = where/(inH*inW) + inD*(where/inW%inH+inH*(where%inW))
				}
				where += i * p.inPlane
			}
			index[i*p.outPlane+o] = int64(where)
		})
	}
	result := one(tensor.Of(y, out[0].Shape...))
	if index != nil {
		result = append(result, tensor.Of(index, out[1].Shape...))
	}
	return result, nil
}

func runAveragePool(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	padded, err := n.Attrs.Bool("count_include_pad", false)
	if err != nil {
		return nil, err
	}
	if out[0].DType == tensor.Float64 {
		return averagePool[float64](n, in[0], padded, out)
	}
	return averagePool[float32](n, in[0], padded, out)
}

// averagePool divides by the number of elements a window holds; with padded set, positions in the padding count,
// while those that only rounding the output size up brought in do not. An empty window yields 0.
func averagePool[T float32 | float64](n *Node, in *tensor.Tensor, padded bool, out []Type) ([]*tensor.Tensor, error) {
	p, err := newPooling(n, in.Shape())
	if err != nil {
		return nil, err
	}
	x, y := tensor.Values[T](in), make([]T, p.planes*p.outPlane)
	weight := make([]T, p.outPlane)
	size := func(i, o int, t taps) int {
		if !padded {
			return t.n
		}
		start := o*p.Stride[i] - p.PadBegin[i]
		return min((p.In[i]+p.PadEnd[i]-start-1)/p.Dilation[i]+1, p.Kernel[i])
	}
	p.eachWindow(func(o int, d, h, v taps) {
		od, oh, ow := o/(p.Out[1]*p.Out[2]), o/p.Out[2]%p.Out[1], o%p.Out[2]
		if c := size(0, od, d) * size(1, oh, h) * size(2, ow, v); c > 0 {
			weight[o] = T(c)
		}
	})
	for i := range p.planes {
		src := x[i*p.inPlane:][:p.inPlane]
		p.eachWindow(func(o int, d, h, v taps) {
			var sum T
			for kd := range d.n {
				for kh := range h.n {
					at := ((d.first+kd*d.step)*p.In[1]+h.first+kh*h.step)*p.In[2] + v.first
					for range v.n {
						sum += src[at]
						at += v.step
					}
				}
			}
			if weight[o] > 0 {
				y[i*p.outPlane+o] = sum / weight[o]
			}
		})
	}
	return one(tensor.Of(y, out[0].Shape...)), nil
}

// norm is the p-norm of a stream of elements, in float64.
type norm struct{ p, sum float64 }

func (n *norm) add(x float64) {
	x = math.Abs(x)
	switch n.p {
	case 1:
		n.sum += x
	case 2:
		n.sum += x * x
	default:
		n.sum += math.Pow(x, n.p)
	}
}

func (n *norm) value() float64 {
	switch n.p {
	case 1:
		return n.sum
	case 2:
		return math.Sqrt(n.sum)
	default:
		return math.Pow(n.sum, 1/n.p)
	}
}

func readP(n *Node) (float64, error) {
	p, err := n.Attrs.Int("p", 2)
	if err == nil && p < 1 {
		err = fmt.Errorf("attribute p is %d, want at least 1", p)
	}
	return float64(p), err
}

func inferLpPool(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if _, err := readP(n); err != nil {
		return nil, err
	}
	return inferPool(floatTypes...)(n, in, consts)
}

func inferGlobalLpPool(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if _, err := readP(n); err != nil {
		return nil, err
	}
	return inferGlobalPool(n, in, consts)
}

func runLpPool(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	if out[0].DType == tensor.Float64 {
		return lpPool[float64](n, in[0], out)
	}
	return lpPool[float32](n, in[0], out)
}

func lpPool[T float32 | float64](n *Node, in *tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	p, err := newPooling(n, in.Shape())
	if err != nil {
		return nil, err
	}
	power, err := readP(n)
	if err != nil {
		return nil, err
	}
	x, y := tensor.Values[T](in), make([]T, p.planes*p.outPlane)
	for i := range p.planes {
		src := x[i*p.inPlane:][:p.inPlane]
		p.eachWindow(func(o int, d, h, v taps) {
			acc := norm{p: power}
			for kd := range d.n {
				for kh := range h.n {
					at := ((d.first+kd*d.step)*p.In[1]+h.first+kh*h.step)*p.In[2] + v.first
					for range v.n {
						acc.add(float64(src[at]))
						at += v.step
					}
				}
			}
			y[i*p.outPlane+o] = T(acc.value())
		})
	}
	return one(tensor.Of(y, out[0].Shape...)), nil
}

func inferGlobalPool(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := want(in, 0, floatTypes...); err != nil {
		return nil, err
	}
	if err := wantRank(in, 0, 2, -1); err != nil {
		return nil, err
	}
	shape := make([]int, len(in[0].Shape))
	copy(shape, in[0].Shape[:2])
	for i, d := range in[0].Shape[2:] {
		if d == 0 {
			return nil, fmt.Errorf("input shape %v has no spatial elements to pool", in[0].Shape)
		}
		shape[i+2] = 1
	}
	return []Type{{in[0].DType, shape}}, nil
}

func runGlobalPool(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	if out[0].DType == tensor.Float64 {
		return globalPool[float64](n, in[0], out)
	}
	return globalPool[float32](n, in[0], out)
}

// globalPool reduces all spatial axes. Sums run in float64: a plane has too many elements for float32.
func globalPool[T float32 | float64](n *Node, in *tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	x, y := tensor.Values[T](in), make([]T, tensor.Count(out[0].Shape))
	if len(y) == 0 {
		return one(tensor.Of(y, out[0].Shape...)), nil
	}
	power, err := readP(n)
	if err != nil {
		return nil, err
	}
	area := len(x) / len(y)
	for i := range y {
		plane := x[i*area:][:area]
		switch n.OpType {
		case "GlobalMaxPool":
			y[i] = plane[0]
			for _, v := range plane {
				y[i] = max(y[i], v)
			}
		case "GlobalAveragePool":
			var sum float64
			for _, v := range plane {
				sum += float64(v)
			}
			y[i] = T(sum / float64(area))
		default:
			acc := norm{p: power}
			for _, v := range plane {
				acc.add(float64(v))
			}
			y[i] = T(acc.value())
		}
	}
	return one(tensor.Of(y, out[0].Shape...)), nil
}
