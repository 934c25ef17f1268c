package graph

import (
	"fmt"

	"cutout/inference/kernels"
	"cutout/inference/tensor"
)

// transposedConv is ConvTranspose without groups. Row y of the output gathers from every input row i and kernel row k with
// y = i*stride - top + k*dilation: the input row times the weights of that kernel row is a matrix product that yields, for every
// input pixel, what each kernel column adds; these are then added up where they fall. No product is computed twice. A task is
// one output row.
type transposedConv struct {
	win             window // ih,iw is the input here, oh,ow the output
	n               int
	src             *store
	dst             *store
	w               []float32 // [KH][KW][Cout/16][K16][16], narrow [KH][K16][16] with lane kx*Cout+o
	k               int
	blocks, outputs int
	narrow          int // Cout where the kernel columns of all outputs fit in one block, else 0
	epi             epilogue
}

func (c *compiler) lowerConvTranspose(call *Call) bool {
	in, w, out := call.In[0], call.In[1], call.Out[0]
	if !is4D(in) || !is4D(out) || w == nil || w.Const == nil || len(w.Type.Shape) != 4 || w.Type.DType != tensor.Float32 {
		return false
	}
	bias, ok := floats(call, 2)
	group, err := call.Node.Attrs.Int("group", 1)
	if !ok || err != nil || group != 1 {
		return false
	}
	ws := w.Type.Shape
	win, ok := transposedWindow(call, ws[2], ws[3])
	if !ok {
		return false
	}
	n, cin, _, _ := dims(in)
	_, cout, _, _ := dims(out)
	t := c.absorb(call, true)
	s := &transposedConv{win: win, n: n, k: roundUp4(cin), blocks: blocksOf(cin), outputs: blocksOf(cout)}
	s.src = c.single(in)
	s.epi = c.epilogueOf(&t, bias, cout)
	v := tensor.Values[float32](w.Const)
	if ws[3]*cout <= block {
		s.narrow = cout
	}
	s.w = c.weights.get(w.Const, "transposed"+scaleKey(&t), func() []float32 {
		k := s.blocks * block
		if s.narrow > 0 {
			u := alignedFloats(ws[2] * k * block)
			for i := range cin {
				for o := range cout {
					for y := range ws[2] {
						for x := range ws[3] {
							u[(y*k+i)*block+x*cout+o] = v[((i*cout+o)*ws[2]+y)*ws[3]+x] * scaleAt(&t, o)
						}
					}
				}
			}
			return u
		}
		u := alignedFloats(ws[2] * ws[3] * s.outputs * k * block)
		for i := range cin {
			for o := range cout {
				for y := range ws[2] {
					for x := range ws[3] {
						u[(((y*ws[3]+x)*s.outputs+o/block)*k+i)*block+o%block] = v[((i*cout+o)*ws[2]+y)*ws[3]+x] * scaleAt(&t, o)
					}
				}
			}
		}
		return u
	})
	c.needScratch((win.kw*win.iw + win.ow) * s.outputs * block)
	s.dst = c.newBlocked(t.out)
	c.emit(fmt.Sprintf("ConvTranspose %dx%d/%d %d>%d %dx%d", win.kh, win.kw, win.sh, cin, cout, win.oh, win.ow), s,
		[]*store{s.src, s.epi.pre, s.epi.post}, s.dst)
	return true
}

// transposedWindow reads the geometry of a ConvTranspose; the output size is that of the inferred shape, from which the padding
// before follows where the model leaves it open.
func transposedWindow(call *Call, kh, kw int) (window, bool) {
	w, ok := windowOf(call, kh, kw)
	if !ok {
		return w, false
	}
	auto, err := call.Node.Attrs.String("auto_pad", "NOTSET")
	if err != nil {
		return w, false
	}
	if auto == "SAME_UPPER" || auto == "SAME_LOWER" || call.Node.Attrs.Has("output_shape") {
		extra, err := call.Node.Attrs.IntsN("output_padding", 2, 0)
		if err != nil {
			return w, false
		}
		before := func(in, out, k, s, d, extra int) int {
			total := max(0, s*(in-1)+extra+(k-1)*d+1-out)
			if auto == "SAME_UPPER" {
				return total / 2
			}
			return total - total/2
		}
		w.top = before(w.ih, w.oh, kh, w.sh, w.dh, extra[0])
		w.left = before(w.iw, w.ow, kw, w.sw, w.dw, extra[1])
	}
	return w, true
}

func (s *transposedConv) tasks() int { return s.n * s.win.oh }

func (s *transposedConv) do(x *exec, w *worker, task int) {
	win := &s.win
	pic, y := task/win.oh, task%win.oh
	plane := win.ih * win.iw * block
	row := win.ow * block
	acc := w.scratch[:s.outputs*row]
	parts := w.scratch[len(acc):][:win.kw*s.outputs*win.iw*block]
	clear(acc)
	src := x.buf(s.src)[pic*s.blocks*plane:]
	ksize := s.blocks * block * block
	columns := win.kw * s.outputs
	if s.narrow > 0 {
		columns = 1
	}
	shape := kernels.GemmShape{M: win.iw, N: columns, K: s.k, AStride: plane, WStride: ksize, DStride: win.iw * block}
	for ky := range win.kh {
		iy := y + win.top - ky*win.dh
		if iy < 0 || iy%win.sh != 0 || iy/win.sh >= win.ih {
			continue
		}
		x.plan.kernels.Gemm(parts, src[iy/win.sh*win.iw*block:], s.w[ky*columns*ksize:], shape, nil)
		if s.narrow > 0 {
			for kx := range win.kw {
				s.scatterNarrow(acc, parts, kx)
			}
			continue
		}
		for kx := range win.kw {
			for o := range s.outputs {
				s.scatter(acc[o*row:][:row], parts[(kx*s.outputs+o)*win.iw*block:][:win.iw*block], kx)
			}
		}
	}
	at := (pic*s.outputs*win.oh + y) * row
	dst := x.buf(s.dst)
	e := s.epi.at(x, w, 0)
	if s.narrow > 0 {
		finishNarrow(dst[at:][:row], acc, e, s.narrow, at)
		return
	}
	for o := range s.outputs {
		lo := at + o*win.oh*row
		finishRow(x.plan.kernels, dst[lo:][:row], acc[o*row:][:row], e, o, lo)
	}
}

// scatter adds what kernel column kx yields for each input pixel to the output pixels it falls on.
func (s *transposedConv) scatter(acc, part []float32, kx int) {
	win := &s.win
	ox := kx*win.dw - win.left
	for ix := 0; ix < win.iw; ix, ox = ix+1, ox+win.sw {
		if ox < 0 || ox >= win.ow {
			continue
		}
		d, p := acc[ox*block:][:block], part[ix*block:][:block]
		for i := range d {
			d[i] += p[i]
		}
	}
}

// scatterNarrow is scatter where the values of all kernel columns of an input pixel lie in one block.
func (s *transposedConv) scatterNarrow(acc, part []float32, kx int) {
	win := &s.win
	ox := kx*win.dw - win.left
	for ix := 0; ix < win.iw; ix, ox = ix+1, ox+win.sw {
		if ox < 0 || ox >= win.ow {
			continue
		}
		for o, v := range part[ix*block+kx*s.narrow:][:s.narrow] {
			acc[ox*block+o] += v
		}
	}
}

// finishNarrow is finishRow for the only block of a few channels; the lanes past them become 0.
func finishNarrow(dst, acc []float32, e *kernels.Epilogue, channels, at int) {
	clear(dst)
	for i := 0; i < len(dst); i += block {
		for o := i; o < i+channels; o++ {
			v := acc[o] + e.Bias[o-i]
			if e.Pre != nil {
				v += e.Pre[at+o]
			}
			if e.Clamp {
				v = min(max(v, e.Lo), e.Hi)
			}
			if e.Post != nil {
				v += e.Post[at+o]
			}
			dst[o] = v
		}
	}
}

// finishRow stores clamp(acc + bias + pre) + post for one row of one channel block.
func finishRow(set *kernels.Set, dst, acc []float32, e *kernels.Epilogue, o, at int) {
	set.Arithmetic(kernels.Add, dst, acc, e.Bias[o*block:][:block])
	if e.Pre != nil {
		set.Arithmetic(kernels.Add, dst, dst, e.Pre[at:][:len(dst)])
	}
	if e.Clamp {
		lo, hi := splat(e.Lo), splat(e.Hi)
		set.Arithmetic(kernels.Max, dst, dst, lo[:])
		set.Arithmetic(kernels.Min, dst, dst, hi[:])
	}
	if e.Post != nil {
		set.Arithmetic(kernels.Add, dst, dst, e.Post[at:][:len(dst)])
	}
}
