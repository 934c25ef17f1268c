package ops

import (
	"fmt"

	"cutout/inference/tensor"
)

func convOps() []Op {
	return []Op{
		newOp("Conv", 1, 0, arity{2, 3, 1}, inferConv, runConv),
		newOp("ConvTranspose", 1, 0, arity{2, 3, 1}, inferConvTranspose, runConvTranspose),
	}
}

func inferConv(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	win, _, err := ConvWindow(n, in[0].Shape, in[1].Shape)
	if err != nil {
		return nil, err
	}
	return inferFilter(in, win, in[1].Shape[0])
}

// inferFilter checks the element types and the bias of a convolution to m channels and returns its output type.
func inferFilter(in []Type, win Window, m int) ([]Type, error) {
	if err := want(in, 0, floatTypes...); err != nil {
		return nil, err
	}
	if err := wantSame(in); err != nil {
		return nil, err
	}
	if present(in, 2) && (len(in[2].Shape) != 1 || in[2].Shape[0] != m) {
		return nil, fmt.Errorf("bias has shape %v, want [%d]", in[2].Shape, m)
	}
	return []Type{{in[0].DType, append([]int{in[0].Shape[0], m}, win.Out...)}}, nil
}

func runConv(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	if out[0].DType == tensor.Float64 {
		return convFloats[float64](n, in, out)
	}
	return convFloats[float32](n, in, out)
}

func convFloats[T float32 | float64](n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	f, err := newFilter(n, in[0].Shape(), in[1].Shape())
	if err != nil {
		return nil, err
	}
	y := make([]T, tensor.Count(out[0].Shape))
	convolve(f, y, tensor.Values[T](in[0]), tensor.Values[T](in[1]), optional[T](in, 2))
	return one(tensor.Of(y, out[0].Shape...)), nil
}

// optional returns the elements of input i, nil where it is omitted.
func optional[T tensor.Element](in []*tensor.Tensor, i int) []T {
	if t := at(in, i); t != nil {
		return tensor.Values[T](t)
	}
	return nil
}

// filter is a convolution's geometry with three spatial axes.
type filter struct {
	Window
	batch, groups int
	inC, outC     int // channels of one group
}

func newFilter(n *Node, x, w []int) (filter, error) {
	win, group, err := ConvWindow(n, x, w)
	if err != nil {
		return filter{}, err
	}
	return filter{win.to3(), x[0], group, w[1], w[0] / group}, nil
}

// pointwise reports whether every output element reads just the input element at its own place.
func (f *filter) pointwise() bool {
	for i := range 3 {
		if f.Kernel[i] != 1 || f.Stride[i] != 1 || f.PadBegin[i] != 0 || f.PadEnd[i] != 0 {
			return false
		}
	}
	return true
}

// convolve computes y = x * w + bias for x (batch, groups*inC, D, H, W), w (groups*outC, inC, kernel) and y
// (batch, groups*outC, D', H', W'). bias may be nil.
//
// Each output row is summed in place from scaled input rows, so that the inner loop runs over contiguous
// elements and the rows it needs stay in cache. Depthwise convolutions are the case inC = 1 of the same loops.
func convolve[T float32 | float64 | int32](f filter, y, x, w, bias []T) {
	if f.pointwise() {
		area := f.In[0] * f.In[1] * f.In[2]
		f.In, f.Out = []int{1, 1, area}, []int{1, 1, area}
	}
	inRow, outRow := f.In[2], f.Out[2]
	plane := f.In[0] * f.In[1] * inRow
	taps := f.Kernel[0] * f.Kernel[1] * f.Kernel[2]
	spans := f.rowSpans()
	for b := range f.batch {
		for m := range f.groups * f.outC {
			first := (b*f.groups + m/f.outC) * f.inC // the group's first input channel
			for od := range f.Out[0] {
				for oh := range f.Out[1] {
					at := (((b*f.groups*f.outC+m)*f.Out[0]+od)*f.Out[1] + oh) * outRow
					dst := y[at : at+outRow]
					if bias != nil {
						fill(dst, bias[m])
					}
					for kd := range f.Kernel[0] {
						id := od*f.Stride[0] + kd*f.Dilation[0] - f.PadBegin[0]
						if id < 0 || id >= f.In[0] {
							continue
						}
						for kh := range f.Kernel[1] {
							ih := oh*f.Stride[1] + kh*f.Dilation[1] - f.PadBegin[1]
							if ih < 0 || ih >= f.In[1] {
								continue
							}
							src := x[((first*f.In[0]+id)*f.In[1]+ih)*inRow:]
							weights := w[m*f.inC*taps+(kd*f.Kernel[1]+kh)*f.Kernel[2]:]
							for kw, t := range spans {
								if t.lo < t.hi {
									addChannels(dst[t.lo:t.hi], src[t.from:], weights[kw:], f.inC, plane, taps, f.Stride[2])
								}
							}
						}
					}
				}
			}
		}
	}
}

// addChannels adds n rows of src, rowStep apart and read at every step-th element, to dst, each times its weight;
// weights lie weightStep apart. Four rows at a time spare dst three of four trips to memory.
func addChannels[T tensor.Number](dst, src, weights []T, n, rowStep, weightStep, step int) {
	c := 0
	for ; step == 1 && c+4 <= n; c += 4 {
		s0, s1 := src[c*rowStep:][:len(dst)], src[(c+1)*rowStep:][:len(dst)]
		s2, s3 := src[(c+2)*rowStep:][:len(dst)], src[(c+3)*rowStep:][:len(dst)]
		w0, w1 := weights[c*weightStep], weights[(c+1)*weightStep]
		w2, w3 := weights[(c+2)*weightStep], weights[(c+3)*weightStep]
		for i := range dst {
			dst[i] += (s0[i]*w0 + s1[i]*w1) + (s2[i]*w2 + s3[i]*w3)
		}
	}
	for ; c < n; c++ {
		addScaled(dst, src[c*rowStep:], weights[c*weightStep], step)
	}
}

// rowSpan says which elements lo..hi-1 of an output row one tap reaches, and where it finds the first one's input.
type rowSpan struct{ lo, hi, from int }

// rowSpans returns the span of every tap of the innermost axis.
func (f *filter) rowSpans() []rowSpan {
	spans := make([]rowSpan, f.Kernel[2])
	for k := range spans {
		lo, hi := tapSpan(k, f.Stride[2], f.Dilation[2], f.PadBegin[2], f.In[2], f.Out[2])
		if lo < hi {
			spans[k] = rowSpan{lo, hi, lo*f.Stride[2] + k*f.Dilation[2] - f.PadBegin[2]}
		}
	}
	return spans
}

// addScaled adds w times every step-th element of src to dst.
func addScaled[T tensor.Number](dst, src []T, w T, step int) {
	if step == 1 {
		src = src[:len(dst)]
		for i, v := range src {
			dst[i] += v * w
		}
		return
	}
	for i := range dst {
		dst[i] += src[i*step] * w
	}
}

func inferConvTranspose(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	win, group, err := ConvTransposeWindow(n, in[0].Shape, in[1].Shape)
	if err != nil {
		return nil, err
	}
	return inferFilter(in, win, mulSat(in[1].Shape[1], group))
}

func runConvTranspose(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	if out[0].DType == tensor.Float64 {
		return convTransposeFloats[float64](n, in, out)
	}
	return convTransposeFloats[float32](n, in, out)
}

func convTransposeFloats[T float32 | float64](n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	win, group, err := ConvTransposeWindow(n, in[0].Shape(), in[1].Shape())
	if err != nil {
		return nil, err
	}
	x, w := in[0].Shape(), in[1].Shape()
	f := filter{win.to3(), x[0], group, x[1] / group, w[1]}
	y := make([]T, tensor.Count(out[0].Shape))
	scatter(f, y, tensor.Values[T](in[0]), tensor.Values[T](in[1]), optional[T](in, 2))
	return one(tensor.Of(y, out[0].Shape...)), nil
}

// scatter computes a transposed convolution: every element of x (batch, groups*inC, D, H, W) adds itself, times
// w (groups*inC, outC, kernel), to the elements of y (batch, groups*outC, D', H', W') under its window.
// bias may be nil.
func scatter[T float32 | float64](f filter, y, x, w, bias []T) {
	plane := f.Out[0] * f.Out[1] * f.Out[2]
	taps := f.Kernel[0] * f.Kernel[1] * f.Kernel[2]
	spans := f.scatterSpans()
	for b := range f.batch {
		for m := range f.groups * f.outC {
			out := y[(b*f.groups*f.outC+m)*plane:][:plane]
			if bias != nil {
				fill(out, bias[m])
			}
			g := m / f.outC
			for c := g * f.inC; c < (g+1)*f.inC; c++ {
				weights := w[(c*f.outC+m%f.outC)*taps:][:taps]
				for id := range f.In[0] {
					for ih := range f.In[1] {
						src := x[(((b*f.groups*f.inC+c)*f.In[0]+id)*f.In[1]+ih)*f.In[2]:][:f.In[2]]
						for kd := range f.Kernel[0] {
							od := id*f.Stride[0] + kd*f.Dilation[0] - f.PadBegin[0]
							if od < 0 || od >= f.Out[0] {
								continue
							}
							for kh := range f.Kernel[1] {
								oh := ih*f.Stride[1] + kh*f.Dilation[1] - f.PadBegin[1]
								if oh < 0 || oh >= f.Out[1] {
									continue
								}
								dst := out[(od*f.Out[1]+oh)*f.Out[2]:][:f.Out[2]]
								row := weights[(kd*f.Kernel[1]+kh)*f.Kernel[2]:][:f.Kernel[2]]
								for kw, t := range spans {
									addSpread(dst[t.from:], src[t.lo:t.hi], row[kw], f.Stride[2])
								}
							}
						}
					}
				}
			}
		}
	}
}

// scatterSpans returns for every tap of the innermost axis which elements lo..hi-1 of an input row land inside the
// output row, and where the first one lands.
func (f *filter) scatterSpans() []rowSpan {
	spans := make([]rowSpan, f.Kernel[2])
	for k := range spans {
		lo, hi := tapSpan(k, f.Stride[2], f.Dilation[2], f.PadBegin[2], f.Out[2], f.In[2])
		if lo < hi {
			spans[k] = rowSpan{lo, hi, lo*f.Stride[2] + k*f.Dilation[2] - f.PadBegin[2]}
		}
	}
	return spans
}

// addSpread adds w times src to every step-th element of dst.
func addSpread[T float32 | float64](dst, src []T, w T, step int) {
	for i, v := range src {
		dst[i*step] += v * w
	}
}
