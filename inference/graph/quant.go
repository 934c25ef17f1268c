package graph

import (
	"math"

	"cutout/inference/ops"
	"cutout/inference/tensor"
)

// Dynamically quantised convolutions run in float32 on whole numbers: DynamicQuantizeLinear leaves q - zero_point, which
// ConvInteger multiplies with w - w_zero_point. Sums stay exact up to 2^24 and round beyond, far below one step of the
// quantisation; in exchange every fast form of a convolution serves.

// extremes finds the least and largest value of a picture, zero among them; a task is one channel block.
type extremes struct {
	src, dst *store // dst is [tasks][2]
	ch, hw   int
	n        int
}

// quantize rounds a picture to the 256 steps that dynamic quantisation picks and leaves their distance to the zero point.
// A task is one channel block; the first also stores the scale.
type quantize struct {
	src, limits, dst, scale *store
	n, ch, hw               int
}

func (c *compiler) lowerDynamicQuantize(call *Call) bool {
	in := call.In[0]
	if in == nil || !is4D(in) || len(call.Out) != 3 || call.Out[0] == nil || call.Out[1] == nil || call.Out[0].Output {
		return false
	}
	q, scale, zero := call.Out[0], call.Out[1], call.Out[2]
	if zero != nil && zero.Output {
		return false
	}
	for _, user := range q.Users {
		if !c.centred(user, q, zero) {
			return false
		}
	}
	if zero != nil {
		for _, user := range zero.Users {
			if !c.centred(user, q, zero) {
				return false
			}
		}
	}
	n, ch, h, w := dims(in)
	src := c.single(in)
	e := &extremes{src: src, n: n, ch: ch, hw: h * w}
	e.dst = c.newStore(2 * e.tasks())
	c.emit("Extremes", e, []*store{src}, e.dst)
	s := &quantize{src: src, limits: e.dst, n: n, ch: ch, hw: h * w}
	s.dst, s.scale = c.newStore(src.size), c.newStore(1)
	c.shares = append(c.shares, share{s.dst, src, len(c.plan.steps)})
	c.emit("DynamicQuantizeLinear", s, []*store{src, e.dst}, s.dst, s.scale)
	c.places[q] = &place{blocked: []view{{st: s.dst, blocks: n * blocksOf(ch)}}, slot: -1}
	c.places[scale] = &place{plain: s.scale, slot: -1}
	return true
}

// centred tells whether a call is a ConvInteger of q that lowerConvInteger will take.
func (c *compiler) centred(call *Call, q, zero *Value) bool {
	if call.Node.OpType != "ConvInteger" || len(call.In) < 2 || call.In[0] != q || len(call.Out[0].Type.Shape) != 4 {
		return false
	}
	if len(call.In) > 2 && call.In[2] != nil && call.In[2] != zero || zero != nil && (len(call.In) < 3 || call.In[2] == nil) {
		return false
	}
	w := call.In[1]
	if w == nil || w.Const == nil || len(w.Type.Shape) != 4 {
		return false
	}
	if len(call.In) > 3 && call.In[3] != nil && (call.In[3].Const == nil || call.In[3].Const.Len() != 1) {
		return false
	}
	out := call.Out[0]
	if out.Output || len(out.Users) != 1 || out.Users[0].Node.OpType != "Cast" || out.Users[0].Out[0] == nil {
		return false
	}
	return out.Users[0].Out[0].Type.DType == tensor.Float32
}

// lowerConvInteger runs as the float32 convolution it is once both operands are centred, and takes the Cast behind it.
func (c *compiler) lowerConvInteger(call *Call) bool {
	q := call.In[0]
	if p := c.places[q]; p == nil || p.blocked == nil {
		return false
	}
	w := call.In[1].Const
	zero := 0
	if len(call.In) > 3 && call.In[3] != nil {
		zero = wholeNumbers(call.In[3].Const)[0]
	}
	vals := wholeNumbers(w)
	centred := make([]float32, len(vals))
	for i, v := range vals {
		centred[i] = float32(v - zero)
	}
	cast := call.Out[0].Users[0]
	c.done[cast] = true
	x := &Value{Name: q.Name, Type: ops.Type{DType: tensor.Float32, Shape: q.Type.Shape}}
	c.places[x] = c.places[q]
	weights := tensor.Of(centred, w.Shape()...)
	conv := &Call{
		Node: &Node{Node: ops.Node{Name: call.Node.Name, OpType: "Conv", Opset: call.Node.Opset, Attrs: call.Node.Attrs, Outputs: 1}},
		In:   []*Value{x, {Name: call.In[1].Name, Type: ops.Type{DType: tensor.Float32, Shape: w.Shape()}, Const: weights}},
		Out:  []*Value{cast.Out[0]},
	}
	c.order[conv] = c.order[call]
	return c.lowerConv(conv)
}

// wholeNumbers reads an 8-bit tensor.
func wholeNumbers(t *tensor.Tensor) []int {
	out := make([]int, t.Len())
	switch t.DType() {
	case tensor.Uint8:
		for i, v := range tensor.Values[uint8](t) {
			out[i] = int(v)
		}
	case tensor.Int8:
		for i, v := range tensor.Values[int8](t) {
			out[i] = int(v)
		}
	}
	return out
}

func (s *extremes) tasks() int { return s.n * blocksOf(s.ch) }

func (s *extremes) do(x *exec, _ *worker, task int) {
	blocks := blocksOf(s.ch)
	have := min(block, s.ch-task%blocks*block)
	src := x.buf(s.src)[task*s.hw*block:][:s.hw*block]
	var lo, hi [block]float32
	for len(src) > 0 {
		px := src[:block]
		src = src[block:]
		for i, v := range px {
			lo[i], hi[i] = min(lo[i], v), max(hi[i], v)
		}
	}
	d := x.buf(s.dst)[2*task:][:2]
	d[0], d[1] = 0, 0
	for i := range have {
		d[0], d[1] = min(d[0], lo[i]), max(d[1], hi[i])
	}
}

func (s *quantize) tasks() int { return s.n * blocksOf(s.ch) }

func (s *quantize) do(x *exec, _ *worker, task int) {
	var lo, hi float32
	for i, v := range x.buf(s.limits) {
		if i%2 == 0 {
			lo = min(lo, v)
		} else {
			hi = max(hi, v)
		}
	}
	scale := (hi - lo) / 255
	if task == 0 {
		x.buf(s.scale)[0] = scale
	}
	src, dst := x.buf(s.src)[task*s.hw*block:][:s.hw*block], x.buf(s.dst)[task*s.hw*block:][:s.hw*block]
	if scale == 0 {
		clear(dst)
		return
	}
	zero := float32(math.RoundToEven(float64(min(max(-lo/scale, 0), 255))))
	// Adding and taking away 1.5*2^23 rounds to the nearest whole number, ties to even, without a branch.
	const magic = 3 << 22
	for i, v := range src {
		q := v / scale
		q += magic
		q -= magic
		dst[i] = min(max(q, -zero), 255-zero)
	}
}
