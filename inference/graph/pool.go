package graph

import (
	"fmt"
	"math"
)

// pool is MaxPool or AveragePool on channel blocks. A task is one channel block of one picture.
type pool struct {
	win      window
	src      []view
	dst      *store
	n        int
	blocks   int
	average  bool
	countPad bool
	bottom   int // padding after the picture that counts, for countPad
	right    int
	offsets  []int     // of a window that lies inside
	weights  []float32 // for average: 1/taps for every tap
	y0, y1   int       // output rows and columns whose windows lie inside
	x0, x1   int
}

func (c *compiler) lowerPool(call *Call) bool {
	in, out := call.In[0], call.Out[0]
	if in == nil || out == nil || !is4D(in) || !is4D(out) || len(call.Out) > 1 && call.Out[1] != nil {
		return false
	}
	_, ch, _, _ := dims(in)
	if ch < block/2 && !c.isBlocked(in) {
		return false
	}
	attrs := call.Node.Attrs
	kernel, err := attrs.IntsN("kernel_shape", 2, 1)
	if err != nil {
		return false
	}
	win, ok := windowOf(call, kernel[0], kernel[1])
	if !ok {
		return false
	}
	countPad, err1 := attrs.Int("count_include_pad", 0)
	ceil, err2 := attrs.Int("ceil_mode", 0)
	auto, err3 := attrs.String("auto_pad", "NOTSET")
	if err1 != nil || err2 != nil || err3 != nil {
		return false
	}
	s := &pool{win: win, average: call.Node.OpType == "AveragePool", countPad: countPad != 0}
	if s.average && s.countPad && (ceil != 0 || auto != "NOTSET" && auto != "VALID") {
		return false // what counts past the declared padding is subtle: left to the reference
	}
	if s.countPad {
		pads, _ := attrs.IntsN("pads", 4, 0)
		s.bottom, s.right = pads[2], pads[3]
	}
	s.n, _, _, _ = dims(in)
	s.blocks = blocksOf(ch)
	s.src = c.blocked(in)
	for ky := range win.kh {
		for kx := range win.kw {
			s.offsets = append(s.offsets, (ky*win.dh*win.iw+kx*win.dw)*block*4)
		}
	}
	if s.average {
		s.weights = make([]float32, len(s.offsets)*block)
		for i := range s.weights {
			s.weights[i] = 1 / float32(len(s.offsets))
		}
		c.needScratch(len(s.weights))
	}
	s.y0, s.y1 = inside(win.ih, win.oh, win.kh, win.sh, win.dh, win.top)
	s.x0, s.x1 = inside(win.iw, win.ow, win.kw, win.sw, win.dw, win.left)
	s.dst = c.newBlocked(out)
	c.emit(fmt.Sprintf("%s %dx%d/%d %d %dx%d", call.Node.OpType, win.kh, win.kw, win.sh, ch, win.oh, win.ow), s, storesOf(s.src), s.dst)
	return true
}

func (s *pool) tasks() int { return s.n * s.blocks }

func (s *pool) do(x *exec, w *worker, task int) {
	win := &s.win
	src := blockOf(x, s.src, task, win.ih*win.iw*block)
	dst := x.buf(s.dst)[task*win.oh*win.ow*block:][:win.oh*win.ow*block]
	for y := range win.oh {
		row := dst[y*win.ow*block:][:win.ow*block]
		lo, hi := s.x0, s.x1
		if y < s.y0 || y >= s.y1 {
			lo, hi = 0, 0
		}
		for ox := 0; ox < win.ow; ox++ {
			if ox == lo && lo < hi {
				from := src[((y*win.sh-win.top)*win.iw+lo*win.sw-win.left)*block:]
				d := row[lo*block : hi*block]
				if s.average {
					x.plan.kernels.DepthwiseTaps(d, from, s.weights, s.offsets, hi-lo, win.sw*block, nil)
				} else {
					x.plan.kernels.MaxTaps(d, from, s.offsets, hi-lo, win.sw*block)
				}
				ox = hi - 1
				continue
			}
			s.border(row[ox*block:][:block], src, y, ox)
		}
	}
}

// border reduces one window that reaches over the edge.
func (s *pool) border(d, src []float32, y, ox int) {
	win := &s.win
	count := 0
	for i := range d {
		d[i] = 0
		if !s.average {
			d[i] = float32(math.Inf(-1))
		}
	}
	for ky := range win.kh {
		iy := y*win.sh - win.top + ky*win.dh
		for kx := range win.kw {
			ix := ox*win.sw - win.left + kx*win.dw
			if iy < 0 || iy >= win.ih || ix < 0 || ix >= win.iw {
				if s.countPad && iy < win.ih+s.bottom && ix < win.iw+s.right {
					count++
				}
				continue
			}
			count++
			px := src[(iy*win.iw+ix)*block:][:block]
			if s.average {
				for i, v := range px {
					d[i] += v
				}
			} else {
				for i, v := range px {
					d[i] = max(d[i], v)
				}
			}
		}
	}
	if s.average && count > 0 {
		for i := range d {
			d[i] /= float32(count)
		}
	}
}

// globalPool averages each channel. A task is one channel block of one picture.
type globalPool struct {
	src           []view
	dst           *store
	n, blocks, hw int
}

func (c *compiler) lowerGlobalPool(call *Call) bool {
	in, out := call.In[0], call.Out[0]
	if in == nil || out == nil || !is4D(in) || !is4D(out) || !c.isBlocked(in) {
		return false
	}
	n, ch, h, w := dims(in)
	s := &globalPool{n: n, blocks: blocksOf(ch), hw: h * w, src: c.blocked(in)}
	s.dst = c.newBlocked(out)
	c.emit("GlobalAveragePool", s, storesOf(s.src), s.dst)
	return true
}

func (s *globalPool) tasks() int { return s.n * s.blocks }

func (s *globalPool) do(x *exec, _ *worker, task int) {
	var sum [block]float64
	src := blockOf(x, s.src, task, s.hw*block)
	// Rows of partial sums in float32 keep the error small and the loop fast.
	const stretch = 64 * block
	for len(src) > 0 {
		part := src[:min(stretch, len(src))]
		src = src[len(part):]
		var acc [block]float32
		for len(part) >= block {
			for i, v := range part[:block] {
				acc[i] += v
			}
			part = part[block:]
		}
		for i, v := range acc {
			sum[i] += float64(v)
		}
	}
	d := x.buf(s.dst)[task*block:][:block]
	for i := range d {
		d[i] = float32(sum[i] / float64(s.hw))
	}
}
