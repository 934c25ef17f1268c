package graph

import (
	"fmt"
	"math"
	"slices"

	"cutout/inference/tensor"
)

// unary is an element-wise function of one value; a task is a stretch of it.
type unary struct {
	src, dst *store
	f        func(dst, src []float32)
	chunk    int
}

// chunkOf splits n elements so that stretches stay in L1 and there are tasks to share.
func chunkOf(n int) int { return max(1024, min(16384, (n+3)/4)+15) &^ 15 }

func (s *unary) tasks() int { return (s.dst.size + s.chunk - 1) / s.chunk }

func (s *unary) do(x *exec, _ *worker, task int) {
	lo, hi := task*s.chunk, min((task+1)*s.chunk, s.dst.size)
	s.f(x.buf(s.dst)[lo:hi], x.buf(s.src)[lo:hi])
}

// each lifts a scalar function to slices.
func each(f func(float32) float32) func(dst, src []float32) {
	return func(dst, src []float32) {
		src = src[:len(dst)]
		for i := range dst {
			dst[i] = f(src[i])
		}
	}
}

func clampSlice(lo, hi float32) func(dst, src []float32) {
	return func(dst, src []float32) {
		src = src[:len(dst)]
		for i := range dst {
			dst[i] = min(max(src[i], lo), hi)
		}
	}
}

func sigmoid(dst, src []float32) {
	src = src[:len(dst)]
	for i := range dst {
		dst[i] = float32(1 / (1 + math.Exp(-float64(src[i]))))
	}
}

// unaryOf returns the slice function of a call, nil where there is none. All of them keep padding lanes finite.
func unaryOf(call *Call) func(dst, src []float32) {
	a := call.Node.Attrs
	alpha := func(name string, def float32) float32 {
		v, err := a.Float(name, def)
		if err != nil {
			return float32(math.NaN())
		}
		return v
	}
	switch call.Node.OpType {
	case "Relu":
		return clampSlice(0, float32(math.Inf(1)))
	case "Clip":
		if lo, hi, ok := clipRange(call); ok {
			return clampSlice(lo, hi)
		}
	case "Sigmoid":
		return sigmoid
	case "Tanh":
		return each(func(v float32) float32 { return float32(math.Tanh(float64(v))) })
	case "LeakyRelu":
		k := alpha("alpha", 0.01)
		return each(func(v float32) float32 {
			if v < 0 {
				return v * k
			}
			return v
		})
	case "HardSigmoid":
		k, b := alpha("alpha", 0.2), alpha("beta", 0.5)
		return each(func(v float32) float32 { return min(max(k*v+b, 0), 1) })
	case "HardSwish":
		return each(func(v float32) float32 { return v * min(max(v/6+0.5, 0), 1) })
	case "Neg":
		return each(func(v float32) float32 { return -v })
	case "Abs":
		return each(func(v float32) float32 { return float32(math.Abs(float64(v))) })
	}
	return nil
}

// arithmetic is an element-wise operation of two values in channel blocks or row-major; a task is a stretch of one plane.
type arithmetic struct {
	op        byte // + - * / p (PRelu)
	a, b, dst *store
	bKind     operand
	swap      bool // the broadcast operand is the left one
	plane     int  // elements for which a per-channel operand stays the same block
	lanes     int
	chunk     int
	perPlane  int
	planes    int
}

type operand uint8

const (
	full operand = iota
	scalar
	channel // one value a channel
)

// lowerElementwise handles functions of one value and arithmetic of two, in the layout their inputs are in.
func (c *compiler) lowerElementwise(call *Call) bool {
	if len(call.Out) != 1 || call.Out[0] == nil || call.Out[0].Type.DType != tensor.Float32 || len(call.In) == 0 || call.In[0] == nil {
		return false
	}
	out := call.Out[0]
	if tensor.Count(out.Type.Shape) == 0 {
		return false
	}
	if f := unaryOf(call); f != nil {
		in := call.In[0]
		if in.Const != nil {
			return false
		}
		s := &unary{f: f}
		if c.isBlocked(in) {
			s.src = c.single(in)
			s.dst = c.newBlocked(out)
		} else {
			s.src = c.plain(in)
			s.dst = c.newPlain(out)
		}
		s.chunk = chunkOf(s.dst.size)
		c.shares = append(c.shares, share{s.dst, s.src, len(c.plan.steps)})
		c.emit(call.Node.OpType, s, []*store{s.src}, s.dst)
		return true
	}
	ops := map[string]byte{"Add": '+', "Sub": '-', "Mul": '*', "Div": '/', "PRelu": 'p'}
	op, ok := ops[call.Node.OpType]
	if !ok || len(call.In) != 2 || call.In[1] == nil {
		return false
	}
	return c.lowerBinary(call, op)
}

func (c *compiler) lowerBinary(call *Call, op byte) bool {
	a, b, out := call.In[0], call.In[1], call.Out[0]
	if a.Type.DType != tensor.Float32 || b.Type.DType != tensor.Float32 {
		return false
	}
	s := &arithmetic{op: op}
	if !slices.Equal(a.Type.Shape, out.Type.Shape) {
		if op == 'p' || !slices.Equal(b.Type.Shape, out.Type.Shape) {
			return false
		}
		a, b, s.swap = b, a, true
	}
	if a.Const != nil {
		return false
	}
	size := tensor.Count(b.Type.Shape)
	blocked := is4D(out) && (c.isBlocked(a) || c.isBlocked(b))
	switch {
	case slices.Equal(b.Type.Shape, out.Type.Shape):
		s.bKind = full
	case size == 1 && len(b.Type.Shape) <= len(out.Type.Shape):
		s.bKind = scalar
	case is4D(out) && isChannel(b.Type.Shape, out.Type.Shape):
		s.bKind = channel
	default:
		return false
	}
	if blocked && op == '/' && s.bKind != scalar {
		blocked = false // a division could leave NaN in padding lanes
	}
	if !blocked && s.bKind == channel && out.Type.Shape[0] != 1 {
		return false
	}
	if blocked {
		n, ch, h, w := dims(out)
		s.lanes, s.plane, s.planes = block, h*w*block, n*blocksOf(ch)
		s.a = c.single(a)
		switch s.bKind {
		case full:
			s.b = c.single(b)
		case scalar:
			s.b = c.plain(b)
		default:
			s.b = c.channelBlocks(b, ch)
		}
		s.dst = c.newBlocked(out)
	} else {
		s.a, s.b = c.plain(a), c.plain(b)
		s.dst = c.newPlain(out)
		s.lanes, s.plane, s.planes = 1, s.dst.size, 1
		if s.bKind == channel {
			_, ch, h, w := dims(out)
			s.plane, s.planes = h*w, ch
		}
	}
	s.chunk = chunkOf(s.plane)
	s.perPlane = (s.plane + s.chunk - 1) / s.chunk
	c.shares = append(c.shares, share{s.dst, s.a, len(c.plan.steps)})
	c.emit(fmt.Sprintf("%s %v", call.Node.OpType, out.Type.Shape), s, []*store{s.a, s.b}, s.dst)
	return true
}

// isChannel tells whether shape broadcasts over picture along the channels only, the same for every picture.
func isChannel(shape, picture []int) bool {
	if len(shape) == 4 {
		return (shape[0] == 1 && picture[0] == 1 || shape[0] == picture[0]) && shape[1] == picture[1] && shape[2] == 1 && shape[3] == 1
	}
	return len(shape) == 3 && picture[0] == 1 && shape[0] == picture[1] && shape[1] == 1 && shape[2] == 1
}

// channelBlocks returns a per-channel operand as blocks, [N][C/16][16].
func (c *compiler) channelBlocks(v *Value, ch int) *store {
	if is4D(v) {
		return c.single(v)
	}
	p := c.plain(v)
	st := c.newStore(blocksOf(ch) * block)
	s := &blockStep{dst: st, src: p, n: 1, ch: ch, hw: 1}
	if p.konst != nil {
		st.konst = alignedFloats(st.size)
		for i := range s.tasks() {
			s.convert(st.konst, p.konst, i)
		}
	} else {
		c.emit("block", s, []*store{p}, st)
	}
	return st
}

func (s *arithmetic) tasks() int { return s.planes * s.perPlane }

func (s *arithmetic) do(x *exec, _ *worker, task int) {
	plane, part := task/s.perPlane, task%s.perPlane
	lo, hi := plane*s.plane+part*s.chunk, plane*s.plane+min((part+1)*s.chunk, s.plane)
	d, a, b := x.buf(s.dst)[lo:hi], x.buf(s.a)[lo:hi], x.buf(s.b)
	switch {
	case s.bKind == full:
		s.sliceSlice(d, a, b[lo:hi])
	case s.bKind == scalar:
		s.sliceScalar(d, a, b[0])
	case s.lanes == 1:
		s.sliceScalar(d, a, b[plane])
	default:
		k := b[plane*block:][:block]
		for i := 0; i < len(d); i += block {
			s.sliceSlice(d[i:i+block], a[i:i+block], k)
		}
	}
}

func (s *arithmetic) sliceSlice(d, a, b []float32) {
	if s.swap {
		a, b = b, a
	}
	a, b = a[:len(d)], b[:len(d)]
	switch s.op {
	case '+':
		for i := range d {
			d[i] = a[i] + b[i]
		}
	case '-':
		for i := range d {
			d[i] = a[i] - b[i]
		}
	case '*':
		for i := range d {
			d[i] = a[i] * b[i]
		}
	case '/':
		for i := range d {
			d[i] = a[i] / b[i]
		}
	case 'p':
		for i := range d {
			v := a[i]
			if v < 0 {
				v *= b[i]
			}
			d[i] = v
		}
	}
}

func (s *arithmetic) sliceScalar(d, a []float32, k float32) {
	a = a[:len(d)]
	switch {
	case s.op == '+':
		for i := range d {
			d[i] = a[i] + k
		}
	case s.op == '-' && s.swap:
		for i := range d {
			d[i] = k - a[i]
		}
	case s.op == '-':
		for i := range d {
			d[i] = a[i] - k
		}
	case s.op == '*':
		for i := range d {
			d[i] = a[i] * k
		}
	case s.op == '/' && s.swap:
		for i := range d {
			d[i] = k / a[i]
		}
	case s.op == '/':
		for i := range d {
			d[i] = a[i] / k
		}
	case s.op == 'p':
		for i := range d {
			v := a[i]
			if v < 0 {
				v *= k
			}
			d[i] = v
		}
	}
}
