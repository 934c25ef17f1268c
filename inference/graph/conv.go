package graph

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"

	"cutout/inference/kernels"
	"cutout/inference/tensor"
)

// lowerConv picks the way of a 2-D convolution by its shape:
//   - 3x3, stride 1, no dilation: Winograd F(4x4,3x3), 36 instead of 144 multiplications for 16 results;
//   - the same with one output channel: the nine taps as output channels of a 1x1 convolution, then summed;
//   - 1x1, stride 1: one matrix product;
//   - depthwise: taps per channel block;
//   - all else: patches packed into a panel, then a matrix product.
//
// Grouped convolutions other than depthwise run as dense ones, with zeros between the groups.
func (c *compiler) lowerConv(call *Call) bool {
	in, w, out := call.In[0], call.In[1], call.Out[0]
	if !is4D(in) || !is4D(out) || w == nil || w.Const == nil || len(w.Type.Shape) != 4 || w.Type.DType != tensor.Float32 {
		return false
	}
	bias, ok := floats(call, 2)
	if !ok {
		return false
	}
	group, err := call.Node.Attrs.Int("group", 1)
	if err != nil {
		return false
	}
	ws := w.Type.Shape
	win, ok := windowOf(call, ws[2], ws[3])
	if !ok {
		return false
	}
	_, cin, _, _ := dims(in)
	_, cout, _, _ := dims(out)
	g := &convWeights{t: w.Const, v: tensor.Values[float32](w.Const), cout: cout, cin: ws[1], kh: ws[2], kw: ws[3]}
	unit := win.sh == 1 && win.sw == 1 && win.dh == 1 && win.dw == 1
	depthwise := group == cin && cin == cout && cin > 1
	if group != 1 && !depthwise {
		g.ungroup(group)
	}
	switch {
	case depthwise:
		c.depthwiseConv(call, win, g, bias)
	case ws[2] == 1 && ws[3] == 1 && unit && win.top == 0 && win.left == 0 && cin*cout <= 64 && !c.isBlocked(in):
		c.planarConv(call, g, bias)
	case ws[2] == 1 && ws[3] == 1 && unit && win.top == 0 && win.left == 0:
		c.pointwiseConv(call, win, g, bias)
	case unit && ws[2] == 3 && ws[3] == 3 && cout == 1 && cin >= block && win.top <= 2 && win.left <= 2:
		c.singleConv(call, win, g, bias)
	case win.suitsWinograd():
		c.winogradConv(call, win, g, bias)
	default:
		c.packedConv(call, win, g, bias)
	}
	return true
}

// suitsWinograd tells whether F(4x4,3x3) can do it.
func (w *window) suitsWinograd() bool {
	return w.kh == 3 && w.kw == 3 && w.sh == 1 && w.sw == 1 && w.dh == 1 && w.dw == 1 && w.top <= 2 && w.left <= 2 && w.oh >= 4 && w.ow >= 4
}

// isWinograd tells whether call is a convolution that lowerConv gives to winogradConv.
func isWinograd(call *Call) bool {
	in, w, out := call.In[0], call.In[1], call.Out[0]
	if out == nil || !is4D(in) || !is4D(out) || w == nil || w.Const == nil || len(w.Type.Shape) != 4 || w.Type.DType != tensor.Float32 {
		return false
	}
	ws := w.Type.Shape
	win, ok := windowOf(call, ws[2], ws[3])
	_, cin, _, _ := dims(in)
	return ok && ws[0] > 1 && ws[1] == cin && win.suitsWinograd()
}

// convWeights reads the weights [Cout][Cin][KH][KW] of a convolution.
type convWeights struct {
	t                 *tensor.Tensor
	v                 []float32
	cout, cin, kh, kw int
}

func (g *convWeights) at(o, i, y, x int) float32 { return g.v[((o*g.cin+i)*g.kh+y)*g.kw+x] }

// ungroup spreads the weights of a grouped convolution over all input channels.
func (g *convWeights) ungroup(groups int) {
	taps := g.kh * g.kw
	per := g.cout / groups
	v := make([]float32, g.cout*g.cin*groups*taps)
	for o := range g.cout {
		copy(v[(o*groups+o/per)*g.cin*taps:], g.v[o*g.cin*taps:(o+1)*g.cin*taps])
	}
	g.v, g.cin = v, g.cin*groups
}

// scaleKey makes derived weights that carry an absorbed scale distinct from others of the same tensor.
func scaleKey(t *tail) string {
	key := make([]byte, 0, 4*len(t.scale))
	for _, v := range t.scale {
		key = binary.LittleEndian.AppendUint32(key, math.Float32bits(v))
	}
	return string(key)
}

func scaleAt(t *tail, o int) float32 {
	if t.scale == nil {
		return 1
	}
	return t.scale[o]
}

// roundUp4 is the depth of a matrix product: kernels take channels by fours.
func roundUp4(n int) int { return (n + 3) &^ 3 }

// l2Bytes is the cache a worker's panels should fit in, and winogradTiles the most tiles a panel holds. Measured on Cascade Lake
// (1 MiB of L2), 2026-11, with `cutout bench infer` on u2netp: 24 to 36 tiles are level, 12 lose 8 % to weights that come from
// L3 anew for every panel, 72 lose 15 % to panels that leave L2.
const (
	l2Bytes       = 1 << 20
	winogradTiles = 36
)

// winogradConv is F(4x4,3x3) of Lavin and Gray (2015): V = B^T d B for a block of tiles, 36 matrix products with the
// transformed weights, then Y = A^T M A with the epilogue. A task is one block of tiles, whose panels stay in L2.
type winogradConv struct {
	win        window
	n          int
	src        []view
	dst        *store
	u          []float32 // [36][Cout/16][K16][16]
	k          int       // input channels rounded up to 4
	kBlocks    int
	outBlocks  int
	th, tw     int
	tile       int // tiles a task
	perPicture int // tasks a picture
	chunk      int // output blocks at a time
	vPos, mPos int // float32 between positions of the panels
	epi        epilogue
	halved     *store // the result's largest values of two by two, nil where nothing wants them
	halving    []int  // offsets of the four, in bytes
}

func (c *compiler) winogradConv(call *Call, win window, g *convWeights, bias []float32) {
	t := c.absorb(call, true)
	n, cin, _, _ := dims(call.In[0])
	s := &winogradConv{win: win, n: n, k: roundUp4(cin), kBlocks: blocksOf(cin), outBlocks: blocksOf(g.cout)}
	s.src = c.views(call.In[0])
	s.epi = c.epilogueOf(&t, bias, g.cout)
	s.u = c.weights.get(g.t, "winograd43"+scaleKey(&t), func() []float32 { return winogradWeights(g, &t) })
	s.th, s.tw = (win.oh+3)/4, (win.ow+3)/4
	total := s.th * s.tw
	s.chunk = min(s.outBlocks, 4)
	per := 4 * kernels.WinogradPositions * block * (s.kBlocks + s.chunk) // bytes of panels for each tile
	step := 12
	if s.chunk == 1 {
		step = 24 // the register tile of a single output block is 24 pixels high
	}
	s.tile = max(step, min(winogradTiles, l2Bytes/per)/step*step)
	// At least four tasks where the picture allows, so that several cores have something to do.
	if quarter := (total + 3) / 4; quarter < s.tile {
		s.tile = max(step/2, (quarter+step/2-1)/(step/2)*(step/2))
	}
	s.perPicture = (total + s.tile - 1) / s.tile
	odd := func(v int) int { return v | block } // an odd number of cache lines keeps the 36 streams in different sets
	s.vPos = odd(s.kBlocks * s.tile * block)
	s.mPos = odd(s.chunk * s.tile * block)
	patch := 4 * kernels.WinogradPositions * block
	note := ""
	for _, v := range s.src {
		if v.up != nil {
			patch = max(patch, enlargedPatch+v.up.iw*block)
			note = " enlarging"
		}
	}
	c.needScratch(kernels.WinogradPositions*(s.vPos+s.mPos) + kernels.WinogradScratch + patch)
	s.dst = c.newBlocked(t.out)
	if pooled := c.absorbPool(t.out); pooled != nil {
		s.halved = c.newBlocked(pooled)
		s.halving = []int{0, block * 4, win.ow * block * 4, (win.ow + 1) * block * 4}
		note += " pooling"
	}
	c.emit(fmt.Sprintf("Conv winograd%s %d>%d %dx%d", note, cin, g.cout, win.oh, win.ow), s, append(storesOf(s.src), s.epi.pre, s.epi.post), s.dst, s.halved)
}

// absorbPool takes the maximum pooling of v by two in both directions, if there is one, and returns its result. It suits
// pictures of whole 4x4 tiles alone.
func (c *compiler) absorbPool(v *Value) *Value {
	_, _, h, w := dims(v)
	if h%4 != 0 || w%4 != 0 {
		return nil
	}
	for _, call := range v.Users {
		if call.Node.OpType != "MaxPool" || call.Node.Domain != "" && call.Node.Domain != "ai.onnx" || c.done[call] ||
			len(call.Out) != 1 || call.Out[0] == nil || !is4D(call.Out[0]) {
			continue
		}
		kernel, err := call.Node.Attrs.IntsN("kernel_shape", 2, 1)
		if err != nil {
			continue
		}
		win, ok := windowOf(call, kernel[0], kernel[1])
		if ok && win == (window{kh: 2, kw: 2, sh: 2, sw: 2, dh: 1, dw: 1, ih: h, iw: w, oh: h / 2, ow: w / 2}) {
			c.done[call] = true
			return call.Out[0]
		}
	}
	return nil
}

// winogradWeights computes U = G g G^T for every pair of channels, in float64.
func winogradWeights(g *convWeights, t *tail) []float32 {
	G := [6][3]float64{{1. / 4, 0, 0}, {-1. / 6, -1. / 6, -1. / 6}, {-1. / 6, 1. / 6, -1. / 6}, {1. / 24, 1. / 12, 1. / 6}, {1. / 24, -1. / 12, 1. / 6}, {0, 0, 1}}
	ob, k16 := blocksOf(g.cout), blocksOf(g.cin)*block
	u := alignedFloats(kernels.WinogradPositions * ob * k16 * block)
	var wg sync.WaitGroup
	for first := range ob {
		wg.Go(func() {
			for o := first * block; o < min((first+1)*block, g.cout); o++ {
				scale := float64(scaleAt(t, o))
				for i := range g.cin {
					w := g.v[(o*g.cin+i)*9:][:9]
					var half [6][3]float64
					for a := range 6 {
						for y := range 3 {
							half[a][y] = G[a][0]*float64(w[y]) + G[a][1]*float64(w[3+y]) + G[a][2]*float64(w[6+y])
						}
					}
					at := (first*k16+i)*block + o%block
					for a := range 6 {
						h := &half[a]
						for b := range 6 {
							u[(a*6+b)*ob*k16*block+at] = float32((h[0]*G[b][0] + h[1]*G[b][1] + h[2]*G[b][2]) * scale)
						}
					}
				}
			}
		})
	}
	wg.Wait()
	return u
}

func (s *winogradConv) tasks() int { return s.n * s.perPicture }

func (s *winogradConv) do(x *exec, w *worker, task int) {
	set := x.plan.kernels
	pic := task / s.perPicture
	first := task % s.perPicture * s.tile
	tiles := min(s.tile, s.th*s.tw-first)
	v := w.scratch[:kernels.WinogradPositions*s.vPos]
	m := w.scratch[len(v):][:kernels.WinogradPositions*s.mPos]
	tmp := w.scratch[len(v)+len(m):][:kernels.WinogradScratch]
	patch := w.scratch[len(v)+len(m)+len(tmp):]

	plane := s.win.ih * s.win.iw * block
	for b := range s.kBlocks {
		at, i := findBlock(s.src, pic*s.kBlocks+b)
		if up := at.up; up != nil {
			small := up.ih * up.iw * block
			s.transformEnlarged(set, v[b*s.tile*block:], up, x.buf(at.st)[i*small:][:small:small], first, tiles, tmp, patch)
			continue
		}
		s.transformInput(set, v[b*s.tile*block:], x.buf(at.st)[i*plane:][:plane:plane], first, tiles, tmp, patch)
	}
	ksize := s.kBlocks * block * block
	outPlane := s.win.oh * s.win.ow * block
	dst := x.buf(s.dst)
	for ob := 0; ob < s.outBlocks; ob += s.chunk {
		nb := min(s.chunk, s.outBlocks-ob)
		shape := kernels.GemmShape{M: tiles, N: nb, K: s.k, AStride: s.tile * block, WStride: ksize, DStride: s.tile * block}
		set.GemmBatch(m, v, s.u[ob*ksize:], shape, kernels.WinogradPositions, kernels.BatchStep{D: s.mPos, A: s.vPos, W: s.outBlocks * ksize})
		for b := range nb {
			at := (pic*s.outBlocks + ob + b) * outPlane
			e := s.epi.at(x, w, at)
			e.Bias = e.Bias[(ob+b)*block:][:block]
			s.transformOutput(set, dst[at:][:outPlane], m[b*s.tile*block:], e, first, tiles, tmp, patch)
			if s.halved != nil {
				s.pool(set, x.buf(s.halved)[at/4:][:outPlane/4], dst[at:][:outPlane], first, tiles)
			}
		}
	}
}

// transformInput transforms tiles first.. of one channel block into v: inner tiles straight from the picture, those at
// the border by way of a patch padded with zeros.
func (s *winogradConv) transformInput(set *kernels.Set, v, src []float32, first, tiles int, tmp, patch []float32) {
	row := s.win.iw * block
	for t := 0; t < tiles; {
		ty, tx := (first+t)/s.tw, (first+t)%s.tw
		y, x := ty*4-s.win.top, tx*4-s.win.left
		run := 0
		if y >= 0 && y+6 <= s.win.ih && x >= 0 {
			run = min((s.win.iw-x-2)/4, s.tw-tx, tiles-t, kernels.MaxTileRun)
		}
		shape := kernels.TileShape{Tiles: run, Row: row, Pos: s.vPos}
		if run > 0 {
			set.WinogradInput(v[t*block:], src[y*row+x*block:], shape, tmp)
			t += run
			continue
		}
		p := patch[:kernels.WinogradPositions*block]
		clear(p)
		x0, x1 := max(x, 0), min(x+6, s.win.iw)
		for yy := max(y, 0); yy < min(y+6, s.win.ih) && x0 < x1; yy++ {
			copy(p[((yy-y)*6+x0-x)*block:], src[yy*row+x0*block:yy*row+x1*block])
		}
		shape.Tiles, shape.Row = 1, 6*block
		set.WinogradInput(v[t*block:], p, shape, tmp)
		t++
	}
}

// enlargedPatch is the room for what a run of tiles reads of an enlarged picture. It stays in L1.
const enlargedPatch = 6 * (4*kernels.MaxTileRun + 2) * block

// transformEnlarged is transformInput for a channel block that is to be enlarged first, a run of tiles at a time.
func (s *winogradConv) transformEnlarged(set *kernels.Set, v []float32, up *resize, src []float32, first, tiles int, tmp, patch []float32) {
	room, line := patch[:enlargedPatch], patch[enlargedPatch:][:up.iw*block]
	for t := 0; t < tiles; {
		ty, tx := (first+t)/s.tw, (first+t)%s.tw
		run := min(s.tw-tx, tiles-t, kernels.MaxTileRun)
		y, x, width := ty*4-s.win.top, tx*4-s.win.left, 4*run+2
		up.patch(set, room, src, y, y+6, x, x+width, line)
		set.WinogradInput(v[t*block:], room, kernels.TileShape{Tiles: run, Row: width * block, Pos: s.vPos}, tmp)
		t += run
	}
}

// pool halves the tiles that were just written, while they are in the cache.
func (s *winogradConv) pool(set *kernels.Set, halved, dst []float32, first, tiles int) {
	for t := 0; t < tiles; {
		ty, tx := (first+t)/s.tw, (first+t)%s.tw
		run := min(s.tw-tx, tiles-t)
		for y := 2 * ty; y < 2*ty+2; y++ {
			set.MaxTaps(halved[(y*s.win.ow/2+2*tx)*block:], dst[(2*y*s.win.ow+4*tx)*block:], s.halving, 2*run, 2*block)
		}
		t += run
	}
}

// transformOutput is the way back: inner tiles straight to the picture, those that reach over its edge by way of patches.
func (s *winogradConv) transformOutput(set *kernels.Set, dst, m []float32, e *kernels.Epilogue, first, tiles int, tmp, patch []float32) {
	row := s.win.ow * block
	pre, post := e.Pre, e.Post
	for t := 0; t < tiles; {
		ty, tx := (first+t)/s.tw, (first+t)%s.tw
		y, x := ty*4, tx*4
		at := y*row + x*block
		run := 0
		if y+4 <= s.win.oh {
			run = min((s.win.ow-x)/4, tiles-t, kernels.MaxTileRun)
		}
		shape := kernels.TileShape{Tiles: run, Row: row, Pos: s.mPos}
		if run > 0 {
			if pre != nil {
				e.Pre = pre[at:]
			}
			if post != nil {
				e.Post = post[at:]
			}
			set.WinogradOutput(dst[at:], m[t*block:], shape, e, tmp)
			t += run
			continue
		}
		const size = 16 * block
		h, wd := min(4, s.win.oh-y), min(4, s.win.ow-x)*block
		grab := func(from []float32, i int) []float32 {
			if from == nil {
				return nil
			}
			p := patch[i*size:][:size]
			for r := range h {
				copy(p[r*4*block:], from[at+r*row:at+r*row+wd])
			}
			return p
		}
		e.Pre, e.Post = grab(pre, 1), grab(post, 2)
		p := patch[:size]
		shape.Tiles, shape.Row = 1, 4*block
		set.WinogradOutput(p, m[t*block:], shape, e, tmp)
		for r := range h {
			copy(dst[at+r*row:at+r*row+wd], p[r*4*block:])
		}
		t++
	}
}

// gemmWeights lays weights out as [Cout/16][K][16] where K runs over taps, then channel blocks, then channels.
func gemmWeights(g *convWeights, t *tail) []float32 {
	cb := blocksOf(g.cin)
	k := g.kh * g.kw * cb * block
	w := alignedFloats(blocksOf(g.cout) * k * block)
	for o := range g.cout {
		for y := range g.kh {
			for x := range g.kw {
				for i := range g.cin {
					row := ((y*g.kw+x)*cb+i/block)*block + i%block
					w[(o/block*k+row)*block+o%block] = g.at(o, i, y, x) * scaleAt(t, o)
				}
			}
		}
	}
	return w
}

// pointwiseConv is a 1x1 convolution: a matrix product over stretches of pixels. A task is one stretch.
type pointwiseConv struct {
	n, hw, stretch     int
	src                []view
	dst                *store
	w                  []float32
	k, blocks, outputs int
	epi                epilogue
}

func (c *compiler) pointwiseConv(call *Call, win window, g *convWeights, bias []float32) {
	t := c.absorb(call, true)
	n, cin, _, _ := dims(call.In[0])
	s := &pointwiseConv{n: n, hw: win.oh * win.ow, k: roundUp4(cin), blocks: blocksOf(cin), outputs: blocksOf(g.cout)}
	s.stretch = max(24, min(384, l2Bytes/2/(4*block*(s.blocks+s.outputs))/24*24))
	s.src = []view{{st: c.single(call.In[0]), blocks: n * s.blocks}}
	s.epi = c.epilogueOf(&t, bias, g.cout)
	s.w = c.weights.get(g.t, "gemm"+scaleKey(&t), func() []float32 { return gemmWeights(g, &t) })
	s.dst = c.newBlocked(t.out)
	c.emit(fmt.Sprintf("Conv 1x1 %d>%d %dx%d", cin, g.cout, win.oh, win.ow), s, append(storesOf(s.src), s.epi.pre, s.epi.post), s.dst)
}

func (s *pointwiseConv) tasks() int { return s.n * ((s.hw + s.stretch - 1) / s.stretch) }

func (s *pointwiseConv) do(x *exec, w *worker, task int) {
	per := (s.hw + s.stretch - 1) / s.stretch
	pic, from := task/per, task%per*s.stretch
	plane := s.hw * block
	shape := kernels.GemmShape{
		M: min(s.stretch, s.hw-from), N: s.outputs, K: s.k,
		AStride: plane, WStride: s.blocks * block * block, DStride: plane,
	}
	at := pic*s.outputs*plane + from*block
	e := s.epi.at(x, w, at)
	x.plan.kernels.Gemm(x.buf(s.dst)[at:], x.buf(s.src[0].st)[pic*s.blocks*plane+from*block:], s.w, shape, e)
}

// packedConv copies the patches of a stretch of one output row into a panel [taps*blocks][pixels][16] and multiplies it
// with the weights. A task is one output row.
type packedConv struct {
	win             window
	n               int
	src             []view
	dst             *store
	w               []float32
	k               int
	blocks, outputs int
	channels        int
	panel           int // pixels a panel holds
	epi             epilogue
}

func (c *compiler) packedConv(call *Call, win window, g *convWeights, bias []float32) {
	t := c.absorb(call, true)
	n, cin, _, _ := dims(call.In[0])
	s := &packedConv{win: win, n: n, blocks: blocksOf(cin), outputs: blocksOf(g.cout), channels: cin}
	s.src = c.blocked(call.In[0])
	s.epi = c.epilogueOf(&t, bias, g.cout)
	if s.blocks == 1 && cin*2 <= block {
		// Few channels: patches are packed densely, tap by tap and channel by channel.
		s.k = roundUp4(g.kh * g.kw * cin)
		s.w = c.weights.get(g.t, "dense"+scaleKey(&t), func() []float32 { return denseWeights(g, &t) })
	} else {
		s.k = g.kh * g.kw * s.blocks * block
		s.w = c.weights.get(g.t, "gemm"+scaleKey(&t), func() []float32 { return gemmWeights(g, &t) })
	}
	rows := blocksOf(s.k)
	s.panel = max(24, min(win.ow, l2Bytes/(4*block*rows)))
	c.needScratch(rows * s.panel * block)
	s.dst = c.newBlocked(t.out)
	c.emit(fmt.Sprintf("Conv %dx%d/%d %d>%d %dx%d", g.kh, g.kw, win.sh, cin, g.cout, win.oh, win.ow), s, append(storesOf(s.src), s.epi.pre, s.epi.post), s.dst)
}

// denseWeights lays weights out as [Cout/16][K][16] where K runs over taps, then channels, without padding between.
func denseWeights(g *convWeights, t *tail) []float32 {
	k := blocksOf(g.kh*g.kw*g.cin) * block
	w := alignedFloats(blocksOf(g.cout) * k * block)
	for o := range g.cout {
		for y := range g.kh {
			for x := range g.kw {
				for i := range g.cin {
					row := (y*g.kw+x)*g.cin + i
					w[(o/block*k+row)*block+o%block] = g.at(o, i, y, x) * scaleAt(t, o)
				}
			}
		}
	}
	return w
}

func (s *packedConv) tasks() int { return s.n * s.win.oh }

func (s *packedConv) do(x *exec, w *worker, task int) {
	pic, y := task/s.win.oh, task%s.win.oh
	rows := blocksOf(s.k)
	out := s.win.oh * s.win.ow * block
	dst := x.buf(s.dst)
	for from := 0; from < s.win.ow; from += s.panel {
		m := min(s.panel, s.win.ow-from)
		panel := w.scratch[:rows*m*block]
		if s.k < s.win.kh*s.win.kw*s.blocks*block {
			s.packDense(x, panel, pic, y, from, m)
		} else {
			s.pack(x, panel, pic, y, from, m)
		}
		shape := kernels.GemmShape{M: m, N: s.outputs, K: s.k, AStride: m * block, WStride: rows * block * block, DStride: out}
		at := pic*s.outputs*out + (y*s.win.ow+from)*block
		e := s.epi.at(x, w, at)
		x.plan.kernels.Gemm(dst[at:], panel, s.w, shape, e)
	}
}

// pack fills panel row (tap, channel block) with that block of the pixels the tap sees, zeros outside the picture.
func (s *packedConv) pack(x *exec, panel []float32, pic, y, from, m int) {
	win := &s.win
	plane := win.ih * win.iw * block
	for b := range s.blocks {
		src := blockOf(x, s.src, pic*s.blocks+b, plane)
		for ky := range win.kh {
			iy := y*win.sh - win.top + ky*win.dh
			for kx := range win.kw {
				d := panel[((ky*win.kw+kx)*s.blocks+b)*m*block:][:m*block]
				if iy < 0 || iy >= win.ih {
					clear(d)
					continue
				}
				row := src[iy*win.iw*block:][:win.iw*block]
				ix := from*win.sw - win.left + kx*win.dw
				if win.sw == 1 {
					lead := min(max(0, -ix), m)
					n := max(0, min(m, win.iw-ix)-lead)
					clear(d[:lead*block])
					if n > 0 {
						copy(d[lead*block:(lead+n)*block], row[(ix+lead)*block:])
					}
					clear(d[(lead+n)*block:])
					continue
				}
				for p := range m {
					px := d[p*block : p*block+block : p*block+block]
					if ix < 0 || ix >= win.iw {
						clear(px)
					} else {
						copy(px, row[ix*block:ix*block+block])
					}
					ix += win.sw
				}
			}
		}
	}
}

// packDense fills the panel with channels of few-channel pictures one after another, tap by tap.
func (s *packedConv) packDense(x *exec, panel []float32, pic, y, from, m int) {
	win := &s.win
	plane := win.ih * win.iw * block
	src := blockOf(x, s.src, pic, plane)
	clear(panel)
	for ky := range win.kh {
		iy := y*win.sh - win.top + ky*win.dh
		if iy < 0 || iy >= win.ih {
			continue
		}
		row := src[iy*win.iw*block:][:win.iw*block]
		for kx := range win.kw {
			for i := range s.channels {
				k := (ky*win.kw+kx)*s.channels + i
				d := panel[k/block*m*block+k%block:]
				ix := from*win.sw - win.left + kx*win.dw
				for p := range m {
					if ix >= 0 && ix < win.iw {
						d[p*block] = row[ix*block+i]
					}
					ix += win.sw
				}
			}
		}
	}
}

// singleConv is a 3x3 convolution with one output channel: a 1x1 convolution yields what each of the nine taps adds, the
// taps of neighbouring pixels are then summed. The result is row-major. A task is a band of rows.
type singleConv struct {
	win       window
	n         int
	src       []view
	dst       *store
	w         []float32 // [1][K][16], nine of the sixteen used
	k, blocks int
	band      int
	bias      float32
}

func (c *compiler) singleConv(call *Call, win window, g *convWeights, bias []float32) {
	n, cin, _, _ := dims(call.In[0])
	s := &singleConv{win: win, n: n, k: roundUp4(cin), blocks: blocksOf(cin)}
	s.band = max(1, min(win.oh, l2Bytes/2/(4*block*win.iw)-2))
	s.band = min(s.band, max(4, (win.oh+3)/4))
	s.src = c.blocked(call.In[0])
	if bias != nil {
		s.bias = bias[0]
	}
	s.w = c.weights.get(g.t, "taps", func() []float32 {
		w := alignedFloats(s.blocks * block * block)
		for i := range g.cin {
			for tap := range 9 {
				w[i*block+tap] = g.at(0, i, tap/3, tap%3)
			}
		}
		return w
	})
	c.needScratch((s.band + 2) * win.iw * block)
	s.dst = c.newPlain(call.Out[0])
	c.emit(fmt.Sprintf("Conv single %d>1 %dx%d", cin, win.oh, win.ow), s, storesOf(s.src), s.dst)
}

func (s *singleConv) tasks() int { return s.n * ((s.win.oh + s.band - 1) / s.band) }

func (s *singleConv) do(x *exec, w *worker, task int) {
	per := (s.win.oh + s.band - 1) / s.band
	pic, y0 := task/per, task%per*s.band
	y1 := min(y0+s.band, s.win.oh)
	i0, i1 := max(0, y0-s.win.top), min(s.win.ih, y1-1-s.win.top+3)
	plane := s.win.ih * s.win.iw * block
	taps := w.scratch[:(i1-i0)*s.win.iw*block]
	// Channel blocks that lie in different buffers add up one after another.
	left := s.blocks
	done := 0
	shape := kernels.GemmShape{M: (i1 - i0) * s.win.iw, N: 1, WStride: s.blocks * block * block, AStride: plane}
	e := &w.epilogue
	*e = kernels.Epilogue{}
	for _, v := range s.src {
		blocks := v.blocks / s.n
		shape.K = min(blocks*block, s.k-done*block)
		from := x.buf(v.st)[pic*blocks*plane+i0*s.win.iw*block:]
		x.plan.kernels.Gemm(taps, from, s.w[done*block*block:], shape, e)
		e.Pre = taps
		done += blocks
		left -= blocks
	}
	dst := x.buf(s.dst)[pic*s.win.oh*s.win.ow:]
	for y := y0; y < y1; y++ {
		row := dst[y*s.win.ow:][:s.win.ow]
		for i := range row {
			row[i] = s.bias
		}
		for tap := range 9 {
			iy := y - s.win.top + tap/3
			if iy < i0 || iy >= i1 {
				continue
			}
			shift := tap%3 - s.win.left
			lo, hi := max(0, -shift), min(s.win.ow, s.win.iw-shift)
			if lo >= hi {
				continue
			}
			t := taps[((iy-i0)*s.win.iw+lo+shift)*block+tap:]
			p := 0
			for i := lo; i < hi; i++ {
				row[i] += t[p]
				p += block
			}
		}
	}
}

// planarConv is a 1x1 convolution of very few channels on row-major planes. A task is one output plane.
type planarConv struct {
	n, hw, cin, cout int
	src, dst         *store
	w, bias          []float32
}

func (c *compiler) planarConv(call *Call, g *convWeights, bias []float32) {
	n, cin, h, w := dims(call.In[0])
	s := &planarConv{n: n, hw: h * w, cin: cin, cout: g.cout, w: g.v, bias: bias}
	s.src = c.plain(call.In[0])
	s.dst = c.newPlain(call.Out[0])
	c.emit(fmt.Sprintf("Conv planar %d>%d %dx%d", cin, g.cout, h, w), s, []*store{s.src}, s.dst)
}

func (s *planarConv) tasks() int { return s.n * s.cout }

func (s *planarConv) do(x *exec, _ *worker, task int) {
	pic, o := task/s.cout, task%s.cout
	d := x.buf(s.dst)[task*s.hw:][:s.hw]
	b := float32(0)
	if s.bias != nil {
		b = s.bias[o]
	}
	for i := range d {
		d[i] = b
	}
	src := x.buf(s.src)
	for i := range s.cin {
		f := s.w[o*s.cin+i]
		for p, v := range src[(pic*s.cin+i)*s.hw:][:s.hw] {
			d[p] += f * v
		}
	}
}

// depthwiseConv filters each channel by itself. A task is one channel block of one picture.
type depthwiseConv struct {
	win     window
	n       int
	src     []view
	dst     *store
	w       []float32 // [C/16][taps][16]
	blocks  int
	ph, pw  int // padded plane
	offsets []int
	epi     epilogue
}

func (c *compiler) depthwiseConv(call *Call, win window, g *convWeights, bias []float32) {
	t := c.absorb(call, false)
	n, ch, _, _ := dims(call.In[0])
	s := &depthwiseConv{win: win, n: n, blocks: blocksOf(ch)}
	s.src = c.blocked(call.In[0])
	s.epi = c.epilogueOf(&t, bias, ch)
	s.ph = (win.oh-1)*win.sh + (win.kh-1)*win.dh + 1
	s.pw = (win.ow-1)*win.sw + (win.kw-1)*win.dw + 1
	for ky := range win.kh {
		for kx := range win.kw {
			s.offsets = append(s.offsets, (ky*win.dh*s.pw+kx*win.dw)*block*4)
		}
	}
	taps := len(s.offsets)
	s.w = c.weights.get(g.t, "depthwise"+scaleKey(&t), func() []float32 {
		w := alignedFloats(s.blocks * taps * block)
		for o := range ch {
			for tap := range taps {
				w[(o/block*taps+tap)*block+o%block] = g.at(o, 0, tap/g.kw, tap%g.kw) * scaleAt(&t, o)
			}
		}
		return w
	})
	c.needScratch(s.ph * s.pw * block)
	s.dst = c.newBlocked(t.out)
	c.emit(fmt.Sprintf("Conv depthwise %dx%d/%d %d %dx%d", win.kh, win.kw, win.sh, ch, win.oh, win.ow), s, storesOf(s.src), s.dst)
}

func (s *depthwiseConv) tasks() int { return s.n * s.blocks }

func (s *depthwiseConv) do(x *exec, w *worker, task int) {
	win := &s.win
	src := blockOf(x, s.src, task, win.ih*win.iw*block)
	pad := w.scratch[:s.ph*s.pw*block]
	for y := range s.ph {
		d := pad[y*s.pw*block:][:s.pw*block]
		iy := y - win.top
		if iy < 0 || iy >= win.ih {
			clear(d)
			continue
		}
		n := min(s.pw, win.iw+win.left)
		clear(d[:min(win.left, s.pw)*block])
		if n > win.left {
			copy(d[win.left*block:n*block], src[iy*win.iw*block:])
		}
		clear(d[max(n, 0)*block:])
	}
	b := task % s.blocks
	e := s.epi.at(x, w, 0)
	e.Bias = e.Bias[b*block:][:block]
	weights := s.w[b*len(s.offsets)*block:][:len(s.offsets)*block]
	dst := x.buf(s.dst)[task*win.oh*win.ow*block:]
	for y := range win.oh {
		x.plan.kernels.DepthwiseTaps(dst[y*win.ow*block:][:win.ow*block], pad[y*win.sh*s.pw*block:], weights, s.offsets, win.ow, win.sw*block, e)
	}
}
