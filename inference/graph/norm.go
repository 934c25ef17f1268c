package graph

import (
	"fmt"

	"cutout/inference/kernels"
)

// affine scales and shifts each channel, with a clamp: a batch normalisation that no convolution took. A task is a stretch
// of one channel block.
type affine struct {
	src, dst     *store
	scale, shift []float32 // padded to blocks
	n, blocks    int
	hw, stretch  int
	clamp        bool
	lo, hi       float32
}

func (c *compiler) lowerNorm(call *Call) bool {
	in, out := call.In[0], call.Out[0]
	if in == nil || out == nil || !is4D(in) || in.Const != nil {
		return false
	}
	n, ch, h, w := dims(in)
	// The call itself begins the tail; what follows it is absorbed as after a convolution.
	t := tail{out: in, lo: noLimit.lo, hi: noLimit.hi}
	if !t.absorbNorm(call, ch) {
		return false
	}
	rest := c.absorb(call, false)
	if rest.scale != nil {
		for i := range t.scale {
			t.scale[i] *= rest.scale[i]
			t.shift[i] = t.shift[i]*rest.scale[i] + rest.shift[i]
		}
	}
	blocks := blocksOf(ch)
	s := &affine{n: n, blocks: blocks, hw: h * w, clamp: rest.clamp, lo: rest.lo, hi: rest.hi}
	s.scale, s.shift = make([]float32, blocks*block), make([]float32, blocks*block)
	copy(s.scale, t.scale)
	copy(s.shift, t.shift)
	s.stretch = max(32, min(512, (s.hw+3)/4))
	s.src = c.single(in)
	s.dst = c.newBlocked(rest.out)
	c.shares = append(c.shares, share{s.dst, s.src, len(c.plan.steps)})
	c.emit(fmt.Sprintf("BatchNormalization %d %dx%d", ch, h, w), s, []*store{s.src}, s.dst)
	return true
}

func (s *affine) tasks() int { return s.n * s.blocks * ((s.hw + s.stretch - 1) / s.stretch) }

func (s *affine) do(x *exec, w *worker, task int) {
	per := (s.hw + s.stretch - 1) / s.stretch
	plane, from := task/per, task%per*s.stretch
	pixels := min(s.stretch, s.hw-from)
	at := (plane*s.hw + from) * block
	b := plane % s.blocks
	w.epilogue = kernels.Epilogue{Bias: s.shift[b*block:][:block], Clamp: s.clamp, Lo: s.lo, Hi: s.hi}
	x.plan.kernels.DepthwiseTaps(x.buf(s.dst)[at:][:pixels*block], x.buf(s.src)[at:], s.scale[b*block:][:block], here[:], pixels, block, &w.epilogue)
}

// here is the offset table of a 1x1 window.
var here = [1]int{}
