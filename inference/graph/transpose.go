package graph

import (
	"fmt"
	"slices"

	"cutout/inference/tensor"
)

// toBlocks turns a channels-last picture into channel blocks; fromBlocks is the way back. A task is one block of channels.
type toBlocks struct {
	dst, src  *store
	n, ch, hw int
}

type fromBlocks struct {
	dst       *store
	src       []view
	n, ch, hw int
	bands     int
}

// lowerTranspose handles the two transpositions between channels-first and channels-last pictures, and those that only move
// dimensions of one element.
func (c *compiler) lowerTranspose(call *Call) bool {
	in, out := call.In[0], call.Out[0]
	if in == nil || out == nil || in.Const != nil || in.Type.DType != tensor.Float32 || tensor.Count(in.Type.Shape) == 0 {
		return false
	}
	perm, err := call.Node.Attrs.Ints("perm")
	if err != nil || len(perm) != len(in.Type.Shape) {
		return false
	}
	if keepsOrder(in.Type.Shape, perm) {
		c.places[out] = &place{plain: c.plain(in), slot: -1}
		return true
	}
	if !is4D(in) {
		return false
	}
	switch {
	case slices.Equal(perm, []int{0, 3, 1, 2}):
		n, ch, h, w := dims(out)
		s := &toBlocks{n: n, ch: ch, hw: h * w, src: c.plain(in)}
		s.dst = c.newBlocked(out)
		c.emit(fmt.Sprintf("Transpose %v", out.Type.Shape), s, []*store{s.src}, s.dst)
		return true
	case slices.Equal(perm, []int{0, 2, 3, 1}) && c.isBlocked(in):
		n, ch, h, w := dims(in)
		s := &fromBlocks{n: n, ch: ch, hw: h * w, src: c.blocked(in), bands: min(h, 4)}
		s.dst = c.newPlain(out)
		c.emit(fmt.Sprintf("Transpose %v", out.Type.Shape), s, storesOf(s.src), s.dst)
		return true
	}
	return false
}

// keepsOrder tells whether a permutation moves only dimensions of one element, so that the elements stay where they are.
func keepsOrder(shape, perm []int) bool {
	last := -1
	for _, p := range perm {
		if p < 0 || p >= len(shape) {
			return false
		}
		if shape[p] == 1 {
			continue
		}
		if p < last {
			return false
		}
		last = p
	}
	return true
}

func (s *toBlocks) tasks() int { return s.n * blocksOf(s.ch) }

func (s *toBlocks) do(x *exec, _ *worker, task int) {
	blocks := blocksOf(s.ch)
	n, b := task/blocks, task%blocks
	have := min(block, s.ch-b*block)
	d := x.buf(s.dst)[task*s.hw*block:][:s.hw*block]
	src := x.buf(s.src)[n*s.hw*s.ch+b*block:]
	for p := range s.hw {
		px := d[p*block:][:block]
		copy(px, src[p*s.ch:][:have])
		clear(px[have:])
	}
}

func (s *fromBlocks) tasks() int { return s.n * s.bands }

func (s *fromBlocks) do(x *exec, _ *worker, task int) {
	n, band := task/s.bands, task%s.bands
	lo, hi := s.hw*band/s.bands, s.hw*(band+1)/s.bands
	blocks := blocksOf(s.ch)
	dst := x.buf(s.dst)[n*s.hw*s.ch:]
	for b := range blocks {
		have := min(block, s.ch-b*block)
		src := blockOf(x, s.src, n*blocks+b, s.hw*block)
		for p := lo; p < hi; p++ {
			copy(dst[p*s.ch+b*block:][:have], src[p*block:])
		}
	}
}
