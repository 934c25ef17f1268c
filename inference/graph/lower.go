package graph

import (
	"math"
	"slices"

	"cutout/inference/kernels"
	"cutout/inference/tensor"
)

// lower emits the steps of one call, and of the calls it can absorb: a fast form where there is one, else the reference
// operator on row-major tensors.
func (c *compiler) lower(call *Call) {
	if call.Node.Domain == "" || call.Node.Domain == "ai.onnx" {
		fast := false
		switch call.Node.OpType {
		case "Conv":
			fast = c.lowerConv(call)
		case "DynamicQuantizeLinear":
			fast = c.lowerDynamicQuantize(call)
		case "ConvInteger":
			fast = c.lowerConvInteger(call)
		case "ConvTranspose":
			fast = c.lowerConvTranspose(call)
		case "BatchNormalization":
			fast = c.lowerNorm(call)
		case "Transpose":
			fast = c.lowerTranspose(call)
		case "MaxPool", "AveragePool":
			fast = c.lowerPool(call)
		case "GlobalAveragePool":
			fast = c.lowerGlobalPool(call)
		case "Resize", "Upsample":
			fast = c.lowerResize(call)
		case "Concat":
			fast = c.lowerConcat(call)
		case "Identity", "Dropout", "Reshape", "Flatten", "Squeeze", "Unsqueeze":
			fast = c.lowerAlias(call)
		default:
			fast = c.lowerElementwise(call)
		}
		if fast {
			return
		}
	}
	c.lowerReference(call)
}

// referenceStep evaluates a call with its reference operator.
type referenceStep struct {
	call *Call
	in   []source
	out  []place
}

// source says where an input of a reference step comes from.
type source struct {
	konst *tensor.Tensor
	place place
	shape []int
	used  bool
}

func (s *referenceStep) tasks() int { return 1 }

func (s *referenceStep) do(x *exec, _ *worker, _ int) {
	in := make([]*tensor.Tensor, len(s.in))
	for i, src := range s.in {
		switch {
		case !src.used:
		case src.konst != nil:
			in[i] = src.konst
		case src.place.slot >= 0:
			in[i] = x.slots[src.place.slot]
		default:
			in[i] = tensor.Of(x.buf(src.place.plain), src.shape...)
		}
	}
	out, err := s.call.Op.Call(&s.call.Node.Node, in)
	if err != nil {
		x.fail(err)
		return
	}
	for i, v := range s.call.Out {
		switch {
		case v == nil:
		case s.out[i].slot >= 0:
			x.slots[s.out[i].slot] = out[i]
		default:
			copy(x.buf(s.out[i].plain), tensor.Values[float32](out[i]))
		}
	}
}

func (c *compiler) lowerReference(call *Call) {
	s := &referenceStep{call: call, in: make([]source, len(call.In)), out: make([]place, len(call.Out))}
	var reads, writes []*store
	for i, v := range call.In {
		if v == nil {
			continue
		}
		s.in[i] = source{used: true, konst: v.Const, shape: v.Type.Shape}
		if v.Const != nil {
			continue
		}
		if p := c.places[v]; p.slot >= 0 {
			s.in[i].place = *p
			continue
		}
		st := c.plain(v)
		s.in[i].place = place{plain: st, slot: -1}
		reads = append(reads, st)
	}
	for i, v := range call.Out {
		if v == nil {
			continue
		}
		if v.Type.DType == tensor.Float32 {
			writes = append(writes, c.newPlain(v))
		} else {
			c.places[v] = &place{slot: c.newSlot()}
		}
		s.out[i] = *c.places[v]
	}
	c.emit(call.Node.OpType, s, reads, writes...)
}

// lowerAlias lets an output stand in its input's row-major buffer.
func (c *compiler) lowerAlias(call *Call) bool {
	in, out := call.In[0], call.Out[0]
	if in == nil || out == nil || in.Const != nil || in.Type.DType != tensor.Float32 || len(call.Out) > 1 && call.Out[1] != nil ||
		call.Node.OpType == "Dropout" && len(call.In) > 2 {
		return false
	}
	if slices.Equal(in.Type.Shape, out.Type.Shape) {
		c.places[out] = c.place(in)
		return true
	}
	c.places[out] = &place{plain: c.plain(in), slot: -1}
	return true
}

// lowerConcat joins channel-blocked pictures without copying them where every part but the last fills its blocks.
func (c *compiler) lowerConcat(call *Call) bool {
	out := call.Out[0]
	axis, err := call.Node.Attrs.Int("axis", 1)
	if err != nil || !is4D(out) || out.Type.Shape[0] != 1 || (axis != 1 && axis != -3) {
		return false
	}
	anyBlocked := false
	for i, v := range call.In {
		if v == nil || !is4D(v) {
			return false
		}
		if _, ch, _, _ := dims(v); ch%block != 0 && i < len(call.In)-1 {
			return c.concatPlain(call)
		}
		anyBlocked = anyBlocked || c.isBlocked(v)
	}
	if !anyBlocked {
		return c.concatPlain(call)
	}
	var views []view
	for _, v := range call.In {
		views = append(views, c.views(v)...)
	}
	c.places[out] = &place{blocked: views, slot: -1}
	return true
}

// concatPlain joins row-major pictures along the channels, which lie one after another.
func (c *compiler) concatPlain(call *Call) bool {
	out := call.Out[0]
	s := &joinStep{}
	for _, v := range call.In {
		s.src = append(s.src, c.plain(v))
	}
	s.dst = c.newPlain(out)
	c.emit("Concat", s, s.src, s.dst)
	return true
}

// joinStep copies row-major buffers one after another; a task is one of them.
type joinStep struct {
	dst *store
	src []*store
}

func (s *joinStep) tasks() int { return len(s.src) }

func (s *joinStep) do(x *exec, _ *worker, task int) {
	at := 0
	for _, p := range s.src[:task] {
		at += p.size
	}
	copy(x.buf(s.dst)[at:], x.buf(s.src[task]))
}

// tail is what a convolution absorbs of the calls that follow it.
type tail struct {
	scale, shift []float32 // per output channel, nil for none: applied before all else
	pre, post    *Value
	clamp        bool
	lo, hi       float32
	out          *Value // what the last absorbed call yields
}

// noLimit is the clamp that changes nothing.
var noLimit = struct{ lo, hi float32 }{float32(math.Inf(-1)), float32(math.Inf(1))}

// absorb follows the single reader of a convolution's output through scale, shift, addition and clamping, as far as one
// epilogue can do the work: y = clamp(x*scale + shift + pre, lo, hi) + post. Additions of other values only where sums is set.
func (c *compiler) absorb(call *Call, sums bool) tail {
	t := tail{out: call.Out[0], lo: noLimit.lo, hi: noLimit.hi}
	_, channels, _, _ := dims(t.out)
	at := c.order[call]
	for !t.out.Output && len(t.out.Users) == 1 {
		next := t.out.Users[0]
		if next.Node.Domain != "" && next.Node.Domain != "ai.onnx" || len(next.Out) == 0 || next.Out[0] == nil {
			break
		}
		ok := false
		switch next.Node.OpType {
		case "BatchNormalization":
			ok = !t.clamp && t.pre == nil && t.post == nil && t.absorbNorm(next, channels)
		case "Relu":
			ok = t.absorbClamp(0, float32(math.Inf(1)))
		case "Clip":
			lo, hi, known := clipRange(next)
			ok = known && t.absorbClamp(lo, hi)
		case "Mul", "Add":
			ok = t.absorbChannel(next, channels)
			if !ok && sums && next.Node.OpType == "Add" {
				ok = c.absorbAdd(&t, next, at)
			}
		}
		if !ok {
			break
		}
		t.out = next.Out[0]
		c.done[next] = true
	}
	return t
}

func (t *tail) absorbClamp(lo, hi float32) bool {
	if t.post != nil {
		return false
	}
	t.lo, t.hi = max(t.lo, lo), max(lo, min(t.hi, hi))
	t.clamp = true
	return true
}

func (t *tail) affine(channels int) {
	if t.scale == nil {
		t.scale, t.shift = make([]float32, channels), make([]float32, channels)
		for i := range t.scale {
			t.scale[i] = 1
		}
	}
}

func (t *tail) absorbNorm(call *Call, channels int) bool {
	if training, err := call.Node.Attrs.Int("training_mode", 0); err != nil || training != 0 {
		return false
	}
	if spatial, err := call.Node.Attrs.Int("spatial", 1); err != nil || spatial != 1 {
		return false
	}
	eps, err := call.Node.Attrs.Float("epsilon", 1e-5)
	if err != nil || len(call.In) < 5 {
		return false
	}
	p := make([][]float32, 4)
	for i, v := range call.In[1:5] {
		if v == nil || v.Const == nil || v.Type.DType != tensor.Float32 || v.Const.Len() != channels {
			return false
		}
		p[i] = tensor.Values[float32](v.Const)
	}
	for _, v := range call.Out[1:] {
		if v != nil {
			return false
		}
	}
	t.affine(channels)
	for i := range channels {
		s := float32(float64(p[0][i]) / math.Sqrt(float64(p[3][i])+float64(eps)))
		t.scale[i] *= s
		t.shift[i] = t.shift[i]*s + p[1][i] - p[2][i]*s
	}
	return true
}

// absorbChannel takes a constant factor or summand per channel.
func (t *tail) absorbChannel(call *Call, channels int) bool {
	if t.clamp || t.pre != nil || t.post != nil {
		return false
	}
	k := call.In[0]
	if k == t.out {
		k = call.In[1]
	}
	if k == nil || k.Const == nil || k.Type.DType != tensor.Float32 {
		return false
	}
	v, ok := perChannel(k, channels)
	if !ok {
		return false
	}
	t.affine(channels)
	for i := range channels {
		if call.Node.OpType == "Mul" {
			t.scale[i] *= v[i]
			t.shift[i] *= v[i]
		} else {
			t.shift[i] += v[i]
		}
	}
	return true
}

// perChannel reads a constant that broadcasts over [N,C,H,W] along the channels only.
func perChannel(k *Value, channels int) ([]float32, bool) {
	vals := tensor.Values[float32](k.Const)
	shape := k.Type.Shape
	out := make([]float32, channels)
	if k.Const.Len() == 1 && len(shape) <= 4 {
		for i := range out {
			out[i] = vals[0]
		}
		return out, true
	}
	switch {
	case len(shape) == 3 && shape[0] == channels && shape[1] == 1 && shape[2] == 1,
		len(shape) == 4 && shape[0] == 1 && shape[1] == channels && shape[2] == 1 && shape[3] == 1:
		copy(out, vals)
		return out, true
	}
	return nil, false
}

// absorbAdd takes the addition of another value of the same shape that is there before the convolution runs.
func (c *compiler) absorbAdd(t *tail, call *Call, at int) bool {
	other := call.In[0]
	if other == t.out {
		other = call.In[1]
	}
	if other == nil || other == t.out || other.Const != nil || t.post != nil || !is4D(other) || !slices.Equal(other.Type.Shape, t.out.Type.Shape) {
		return false
	}
	if p := other.Producer; p != nil && (c.order[p] >= at || c.places[other] == nil) {
		return false
	}
	if t.clamp {
		t.post = other
	} else {
		if t.pre != nil {
			return false
		}
		t.pre = other
	}
	return true
}

// clipRange reads the bounds of a Clip whose bounds are known.
func clipRange(call *Call) (lo, hi float32, ok bool) {
	lo, hi = float32(-math.MaxFloat32), float32(math.MaxFloat32)
	if call.Node.Opset < 11 {
		a, err1 := call.Node.Attrs.Float("min", lo)
		b, err2 := call.Node.Attrs.Float("max", hi)
		return a, b, err1 == nil && err2 == nil
	}
	for i, p := range []*float32{&lo, &hi} {
		if len(call.In) <= i+1 || call.In[i+1] == nil {
			continue
		}
		k := call.In[i+1].Const
		if k == nil || k.DType() != tensor.Float32 || k.Len() != 1 {
			return 0, 0, false
		}
		*p = tensor.Values[float32](k)[0]
	}
	return lo, hi, true
}

// epilogue is a tail ready to run: bias padded to whole blocks, additions as stores.
type epilogue struct {
	bias      []float32
	pre, post *store
	clamp     bool
	lo, hi    float32
}

// at readies the worker's epilogue for the kernel: additions start `off` float32 into their stores.
func (p *epilogue) at(x *exec, w *worker, off int) *kernels.Epilogue {
	e := &w.epilogue
	*e = kernels.Epilogue{Bias: p.bias, Clamp: p.clamp, Lo: p.lo, Hi: p.hi}
	if p.pre != nil {
		e.Pre = x.buf(p.pre)[off:]
	}
	if p.post != nil {
		e.Post = x.buf(p.post)[off:]
	}
	return e
}

// epilogueOf prepares a tail for blocked output; bias is the convolution's own, or nil.
func (c *compiler) epilogueOf(t *tail, bias []float32, channels int) epilogue {
	e := epilogue{clamp: t.clamp, lo: t.lo, hi: t.hi, bias: make([]float32, blocksOf(channels)*block)}
	for i := range channels {
		if bias != nil {
			e.bias[i] = bias[i]
		}
		if t.scale != nil {
			e.bias[i] = e.bias[i]*t.scale[i] + t.shift[i]
		}
	}
	if t.pre != nil {
		e.pre = c.single(t.pre)
	}
	if t.post != nil {
		e.post = c.single(t.post)
	}
	return e
}

// floats returns the elements of a constant float32 input, nil when it is absent.
func floats(call *Call, i int) (vals []float32, known bool) {
	if i >= len(call.In) || call.In[i] == nil {
		return nil, true
	}
	v := call.In[i]
	if v.Const == nil || v.Type.DType != tensor.Float32 {
		return nil, false
	}
	return tensor.Values[float32](v.Const), true
}

// window is the geometry of a 2-D convolution or pooling.
type window struct {
	kh, kw, sh, sw, dh, dw int
	top, left              int // padding before the picture; what follows is whatever the output size needs
	ih, iw, oh, ow         int
}

// windowOf reads the geometry of a call whose input and output shapes are known.
func windowOf(call *Call, kh, kw int) (window, bool) {
	_, _, ih, iw := dims(call.In[0])
	_, _, oh, ow := dims(call.Out[0])
	w := window{kh: kh, kw: kw, ih: ih, iw: iw, oh: oh, ow: ow}
	attrs := call.Node.Attrs
	strides, err1 := attrs.IntsN("strides", 2, 1)
	dilations, err2 := attrs.IntsN("dilations", 2, 1)
	pads, err3 := attrs.IntsN("pads", 4, 0)
	auto, err4 := attrs.String("auto_pad", "NOTSET")
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil {
		return w, false
	}
	w.sh, w.sw, w.dh, w.dw = strides[0], strides[1], dilations[0], dilations[1]
	w.top, w.left = pads[0], pads[1]
	same := func(in, out, k, s, d int) int { return max(0, (out-1)*s+(k-1)*d+1-in) }
	switch auto {
	case "SAME_UPPER":
		w.top, w.left = same(ih, oh, kh, w.sh, w.dh)/2, same(iw, ow, kw, w.sw, w.dw)/2
	case "SAME_LOWER":
		w.top, w.left = (same(ih, oh, kh, w.sh, w.dh)+1)/2, (same(iw, ow, kw, w.sw, w.dw)+1)/2
	case "VALID":
		w.top, w.left = 0, 0
	}
	return w, w.top >= 0 && w.left >= 0
}

// inside returns the range [lo,hi) of output positions all of whose taps lie inside an input of length in.
func inside(in, out, k, stride, dilation, before int) (lo, hi int) {
	lo = (before + stride - 1) / stride
	hi = (in - 1 - (k-1)*dilation + before) / stride
	if in-1-(k-1)*dilation+before < 0 {
		return 0, 0
	}
	hi = min(hi+1, out)
	if lo >= hi {
		return 0, 0
	}
	return lo, hi
}
