package graph

import (
	"math"
	"slices"
	"strings"

	"cutout/inference/kernels"
	"cutout/inference/tensor"
)

// chain is a row of element-wise operations, run one after another over a stretch that stays in L1. All values have one shape
// and one layout; a task is a stretch of one plane (of a channel block, or of a channel in row-major pictures).
type chain struct {
	src, dst *store
	ops      []microOp
	lanes    int // 16 in blocks, 1 in row-major
	channels int // of a picture in blocks
	plane    int // elements a plane
	planes   int
	chunk    int
	perPlane int
}

// microOp is one operation of a chain on what the operations before it left.
type microOp struct {
	op   kernels.Op
	kind operand
	st   *store            // full, channel, scalar
	k    [block]float32    // constant
	f    func(d []float32) // function, in place
	div  bool              // division instead of op
	swap bool              // the operand is the left side; division only
}

type operand uint8

const (
	constant operand = iota // one number
	full                    // a value of the same shape
	channel                 // one number a channel
	scalar                  // one number known at run time
	function
)

// splat repeats a number over a block.
func splat(v float32) (b [block]float32) {
	for i := range b {
		b[i] = v
	}
	return b
}

func arith(op kernels.Op, v float32) microOp { return microOp{op: op, k: splat(v)} }

func each(f func(float32) float32) microOp {
	return microOp{kind: function, f: func(d []float32) {
		for i, v := range d {
			d[i] = f(v)
		}
	}}
}

// sigmoid replaces every value by 1/(1+e^-v), within 2e-7.
func sigmoid(d []float32) {
	for i, v := range d {
		// e^-v = 2^n e^r with r within half of ln 2; e^r by its series to the sixth power (largest error 3e-8).
		x := min(max(-v, -87), 87)
		const round = 3 << 22 // added and taken off again it leaves a whole number, the nearest
		n := float32(float32(x*math.Log2E)+round) - round
		r := x - n*0.693359375 + n*2.12194440e-4 // ln 2 in two parts, so that nothing of x is lost
		e := 1 + r*(1+r*(1./2+r*(1./6+r*(1./24+r*(1./120+r*(1./720))))))
		d[i] = 1 / (1 + e*math.Float32frombits(uint32(int32(n)+127)<<23))
	}
}

// unaryOps returns the micro-operations of a function of one value, nil where there is none. All of them keep padding
// lanes finite. Relu and Clip with a NaN bound are not taken.
func unaryOps(call *Call) []microOp {
	a := call.Node.Attrs
	number := func(name string, def float32) float32 {
		v, err := a.Float(name, def)
		if err != nil {
			return float32(math.NaN())
		}
		return v
	}
	switch call.Node.OpType {
	case "Relu":
		return []microOp{arith(kernels.Max, 0)}
	case "Clip":
		if lo, hi, ok := clipRange(call); ok {
			return []microOp{arith(kernels.Max, lo), arith(kernels.Min, hi)}
		}
	case "LeakyRelu":
		return []microOp{arith(kernels.PRelu, number("alpha", 0.01))}
	case "HardSigmoid":
		return []microOp{
			arith(kernels.Mul, number("alpha", 0.2)), arith(kernels.Add, number("beta", 0.5)),
			arith(kernels.Max, 0), arith(kernels.Min, 1),
		}
	case "Neg":
		return []microOp{arith(kernels.Mul, -1)}
	case "Sigmoid":
		return []microOp{{kind: function, f: sigmoid}}
	case "Tanh":
		return []microOp{each(func(v float32) float32 { return float32(math.Tanh(float64(v))) })}
	case "HardSwish":
		return []microOp{each(func(v float32) float32 { return v * min(max(v/6+0.5, 0), 1) })}
	case "Abs":
		return []microOp{each(func(v float32) float32 { return float32(math.Abs(float64(v))) })}
	}
	return nil
}

// binaryOps tells of arithmetic of two values: the operation, and whether it is a division.
func binaryOps(call *Call) (op kernels.Op, div, ok bool) {
	switch call.Node.OpType {
	case "Add":
		return kernels.Add, false, true
	case "Sub":
		return kernels.Sub, false, true
	case "Mul":
		return kernels.Mul, false, true
	case "Div":
		return 0, true, true
	case "PRelu":
		return kernels.PRelu, false, true
	}
	return 0, false, false
}

// link turns one call into micro-operations on `from`, one of its inputs. It reports false where the call is not
// element-wise, its other input is not at hand before step `at`, or shapes do not fit.
func (c *compiler) link(call *Call, from *Value, blocked bool, at int) ([]microOp, bool) {
	if len(call.Out) != 1 || call.Out[0] == nil || call.Out[0].Type.DType != tensor.Float32 ||
		call.Node.Domain != "" && call.Node.Domain != "ai.onnx" || !slices.Equal(from.Type.Shape, call.Out[0].Type.Shape) {
		return nil, false
	}
	if call.In[0] == from {
		if ops := unaryOps(call); ops != nil {
			return ops, true
		}
	}
	op, div, ok := binaryOps(call)
	if !ok || len(call.In) != 2 || call.In[0] == nil || call.In[1] == nil {
		return nil, false
	}
	other, swap := call.In[1], false
	if other == from && call.In[0] != from {
		other, swap = call.In[0], true
	}
	if other.Type.DType != tensor.Float32 || swap && op == kernels.PRelu && !div {
		return nil, false
	}
	if other.Const == nil && other.Producer != nil && (c.order[other.Producer] >= at || c.places[other] == nil) {
		return nil, false
	}
	m := microOp{op: op, div: div, swap: swap && div}
	shape := from.Type.Shape
	switch {
	case slices.Equal(other.Type.Shape, shape):
		m.kind = full
	case tensor.Count(other.Type.Shape) == 1 && len(other.Type.Shape) <= len(shape):
		m.kind = scalar
		if other.Const != nil {
			m.kind, m.k = constant, splat(tensor.Values[float32](other.Const)[0])
		}
	case is4D(from) && isChannel(other.Type.Shape, shape) && (blocked || shape[0] == 1):
		m.kind = channel
	default:
		return nil, false
	}
	if blocked && div && (m.kind != constant || swap) {
		return nil, false // a division could leave NaN in padding lanes
	}
	if div && !swap && m.kind == constant {
		m = arith(kernels.Mul, 1/m.k[0])
	}
	switch m.kind {
	case full:
		m.st = c.inLayout(other, blocked)
	case scalar:
		m.st = c.plain(other)
	case channel:
		m.st = c.plain(other)
		if blocked {
			m.st = c.channelBlocks(other, shape[1])
		}
	}
	if swap && !div && op == kernels.Sub {
		return []microOp{m, arith(kernels.Mul, -1)}, true // b - a = -(a - b)
	}
	return []microOp{m}, true
}

func (c *compiler) inLayout(v *Value, blocked bool) *store {
	if blocked {
		return c.single(v)
	}
	return c.plain(v)
}

// lowerElementwise begins a chain at call and draws in the calls that follow it, as long as each is read by the next alone.
func (c *compiler) lowerElementwise(call *Call) bool {
	at := c.order[call]
	from := elementwiseInput(call)
	if from == nil || tensor.Count(from.Type.Shape) == 0 {
		return false
	}
	blocked := c.isBlocked(from)
	if is4D(from) && !blocked && len(call.In) == 2 {
		// The other operand may be in blocks already.
		if other := call.In[1]; other != nil && other != from && is4D(other) && c.isBlocked(other) && slices.Equal(other.Type.Shape, from.Type.Shape) {
			blocked = true
		}
	}
	ops, ok := c.link(call, from, blocked, at)
	if !ok && blocked {
		blocked = false
		ops, ok = c.link(call, from, blocked, at)
	}
	if !ok {
		return false
	}
	names := []string{call.Node.OpType}
	out := call.Out[0]
	for !out.Output && len(out.Users) == 1 {
		next := out.Users[0]
		more, ok := c.link(next, out, blocked, at)
		if !ok {
			break
		}
		ops = append(ops, more...)
		names = append(names, next.Node.OpType)
		c.done[next] = true
		out = next.Out[0]
	}
	s := &chain{src: c.inLayout(from, blocked), ops: ops, lanes: 1}
	reads := []*store{s.src}
	again := false
	for _, m := range ops {
		if m.st != nil {
			reads = append(reads, m.st)
			again = again || m.st == s.src
		}
	}
	if blocked {
		n, ch, h, w := dims(out)
		s.dst = c.newBlocked(out)
		s.lanes, s.channels, s.plane, s.planes = block, ch, h*w*block, n*blocksOf(ch)
	} else {
		s.dst = c.newPlain(out)
		s.plane, s.planes = s.dst.size, 1
		if slices.ContainsFunc(ops, func(m microOp) bool { return m.kind == channel }) {
			_, ch, h, w := dims(out)
			s.plane, s.planes = h*w, ch
		}
	}
	s.chunk = (max(512, min(2048, (s.plane+3)/4)) + block - 1) &^ (block - 1)
	s.perPlane = (s.plane + s.chunk - 1) / s.chunk
	if s.lanes == block {
		c.needScratch(s.chunk)
	}
	if !again {
		c.shares = append(c.shares, share{s.dst, s.src, len(c.plan.steps)})
	}
	c.emit("Chain "+strings.Join(names, "+"), s, reads, s.dst)
	return true
}

// elementwiseInput returns the run-time input that has the shape of the call's output, nil where there is none.
func elementwiseInput(call *Call) *Value {
	if len(call.Out) != 1 || call.Out[0] == nil {
		return nil
	}
	for _, v := range call.In {
		if v != nil && v.Const == nil && v.Type.DType == tensor.Float32 && slices.Equal(v.Type.Shape, call.Out[0].Type.Shape) {
			return v
		}
	}
	return nil
}

// isChannel tells whether shape broadcasts over picture along the channels only, the same for every picture.
func isChannel(shape, picture []int) bool {
	if len(shape) == 4 {
		return shape[0] == picture[0] && shape[1] == picture[1] && shape[2] == 1 && shape[3] == 1
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

func (s *chain) tasks() int { return s.planes * s.perPlane }

func (s *chain) do(x *exec, w *worker, task int) {
	plane, part := task/s.perPlane, task%s.perPlane
	lo, hi := plane*s.plane+part*s.chunk, plane*s.plane+min((part+1)*s.chunk, s.plane)
	d, cur := x.buf(s.dst)[lo:hi], x.buf(s.src)[lo:hi]
	set := x.plan.kernels
	for i := range s.ops {
		m := &s.ops[i]
		var b []float32
		switch m.kind {
		case function:
			if live := s.live(plane); live < block {
				s.apply(m.f, d, cur, w.scratch, live)
			} else {
				copy(d, cur)
				m.f(d)
			}
			cur = d
			continue
		case full:
			b = x.buf(m.st)[lo:hi]
		case scalar:
			w.splat = splat(x.buf(m.st)[0])
			b = w.splat[:]
		case channel:
			if s.lanes == block {
				b = x.buf(m.st)[plane*block:][:block]
			} else {
				w.splat = splat(x.buf(m.st)[plane])
				b = w.splat[:]
			}
		default:
			b = m.k[:]
		}
		if len(b) == block && len(d) < block {
			b = b[:len(d)]
		}
		if m.div {
			divide(d, cur, b, m.swap)
		} else {
			set.Arithmetic(m.op, d, cur, b)
		}
		cur = d
	}
}

// live is how many lanes of a plane's blocks are channels; the others are padding.
func (s *chain) live(plane int) int {
	if s.lanes != block {
		return block
	}
	return min(block, s.channels-plane%blocksOf(s.channels)*block)
}

// apply sets the first lanes of each block of d to f of those of src, and the others to 0: a network with one output would
// otherwise pay for sixteen.
func (s *chain) apply(f func([]float32), d, src, scratch []float32, live int) {
	tight := scratch[:0]
	for at := 0; at < len(src); at += block {
		tight = append(tight, src[at:at+live]...)
	}
	f(tight)
	clear(d)
	for at := 0; at < len(d); at += block {
		copy(d[at:at+live], tight)
		tight = tight[live:]
	}
}

// divide computes d = a/b, or b/a where swap is set; b may be one block against all.
func divide(d, a, b []float32, swap bool) {
	mask := -1
	if len(b) == block {
		mask = block - 1
	}
	for i := range d {
		v := b[i&mask]
		if swap {
			d[i] = v / a[i]
		} else {
			d[i] = a[i] / v
		}
	}
}
