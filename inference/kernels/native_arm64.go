//go:build !noasm

package kernels

// The call structures carry what one call of an assembly kernel needs: strides are in bytes, a nil pointer stands for
// none. The assembly takes the field offsets from here, by way of go_asm.h.
type gemmCall struct {
	a, w, dst       *float32
	tiles, k4       int
	aStride         int
	bias, pre, post *float32
	clamp           int
	lo, hi          float32
}

type winogradCall struct {
	src, dst        *float32
	row, pos, tiles int
	scratch         *float32
	bias, pre, post *float32
	clamp           int
	lo, hi          float32
}

type tapsCall struct {
	dst, src           *float32
	offsets            *int
	weights            *float32
	taps, pixels, step int
	bias               *float32
	clamp              int
	lo, hi             float32
}

type lerpCall struct {
	dst, a, b  *float32
	off0, off1 *int
	weights    *float32
	blocks     int
	weight     float32
}

type arithCall struct {
	dst, a, b    *float32
	blocks, step int
}

// gemm6 computes call.tiles tiles of 6 pixels x 16 channels, call.k4 times four input channels each, at least one of
// either; see gemmGeneric.
//
//go:noescape
func gemm6(call *gemmCall)

// gemm5 is gemm6 for 5 pixels a tile.
//
//go:noescape
func gemm5(call *gemmCall)

// gemm4 is gemm6 for 4 pixels a tile.
//
//go:noescape
func gemm4(call *gemmCall)

// gemm3 is gemm6 for 3 pixels a tile.
//
//go:noescape
func gemm3(call *gemmCall)

// gemm2 is gemm6 for 2 pixels a tile.
//
//go:noescape
func gemm2(call *gemmCall)

// gemm1 is gemm6 for 1 pixel a tile.
//
//go:noescape
func gemm1(call *gemmCall)

// winogradInput transforms call.tiles neighbouring 6x6 patches, at least one, 4 pixels apart; see winogradInputGeneric.
//
//go:noescape
func winogradInput(call *winogradCall)

// winogradOutput transforms call.tiles neighbouring tiles, at least one, back to 4x4 pixels each, with the epilogue;
// see winogradOutputGeneric.
//
//go:noescape
func winogradOutput(call *winogradCall)

// maxTaps takes the maximum of call.taps taps, at least one, for each of call.pixels pixels; see maxTapsGeneric.
//
//go:noescape
func maxTaps(call *tapsCall)

// depthwiseTaps sums call.taps weighted taps for each of call.pixels pixels; see depthwiseTapsGeneric.
//
//go:noescape
func depthwiseTaps(call *tapsCall)

// lerp blends call.blocks blocks, at least one, of two rows; see lerpGeneric.
//
//go:noescape
func lerp(call *lerpCall)

// gatherLerp resamples call.blocks blocks, at least one, along a row; see gatherLerpGeneric.
//
//go:noescape
func gatherLerp(call *lerpCall)

// add computes a + b over call.blocks blocks, at least one; see arithmeticGeneric.
//
//go:noescape
func add(call *arithCall)

// sub computes a - b like add.
//
//go:noescape
func sub(call *arithCall)

// mul computes a * b like add.
//
//go:noescape
func mul(call *arithCall)

// larger computes the maximum of a and b like add.
//
//go:noescape
func larger(call *arithCall)

// smaller computes the minimum of a and b like add.
//
//go:noescape
func smaller(call *arithCall)

// prelu computes max(a, 0) + min(a, 0) * b like add.
//
//go:noescape
func prelu(call *arithCall)

// native returns the one set of arm64: what it needs, Advanced SIMD, every 64-bit ARM processor has.
func native() []*Set {
	return []*Set{{
		Name: "neon", Gemm: gemmNEON, GemmBatch: batchOf(gemmNEON), WinogradInput: winogradInputNEON, WinogradOutput: winogradOutputNEON,
		MaxTaps: maxTapsNEON, DepthwiseTaps: depthwiseTapsNEON, Lerp: lerpNEON, GatherLerp: gatherLerpNEON, Arithmetic: arithmeticNEON,
	}}
}

// within panics unless the given number of rows, stride apart and width wide, lie inside s: assembly looks at nothing
// but addresses. There is at least one row of at least one element.
func within(s []float32, rows, stride, width int) {
	_ = s[width-1]
	_ = s[(rows-1)*stride:][width-1]
}

// optional returns the address of s[i], nil for a nil slice.
func optional(s []float32, i int) *float32 {
	if s == nil {
		return nil
	}
	return &s[i]
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

func gemmNEON(dst, a, w []float32, s GemmShape, e *Epilogue) {
	if s.M <= 0 || s.N <= 0 {
		return
	}
	if s.K <= 0 || s.K%4 != 0 {
		gemmGeneric(dst, a, w, s, e)
		return
	}
	if e == nil {
		e = &noEpilogue
	}
	within(dst, s.N, s.DStride, s.M*Block)
	within(a, (s.K+Block-1)/Block, s.AStride, s.M*Block)
	within(w, s.N, s.WStride, s.K*Block)
	if e.Bias != nil {
		within(e.Bias, s.N, Block, Block)
	}
	if e.Pre != nil {
		within(e.Pre, s.N, s.DStride, s.M*Block)
	}
	if e.Post != nil {
		within(e.Post, s.N, s.DStride, s.M*Block)
	}
	c := gemmCall{k4: s.K / 4, aStride: s.AStride * 4, clamp: flag(e.Clamp), lo: e.Lo, hi: e.Hi}
	for n := range s.N {
		c.w, c.bias = &w[n*s.WStride], optional(e.Bias, n*Block)
		for m := 0; m < s.M; {
			at := n*s.DStride + m*Block
			c.a, c.dst, c.pre, c.post = &a[m*Block], &dst[at], optional(e.Pre, at), optional(e.Post, at)
			c.tiles = 1
			left := s.M - m
			switch left {
			case 1:
				gemm1(&c)
			case 2:
				gemm2(&c)
			case 3:
				gemm3(&c)
			case 4:
				gemm4(&c)
			case 5:
				gemm5(&c)
			default:
				c.tiles = left / 6
				left = c.tiles * 6
				gemm6(&c)
			}
			m += left
		}
	}
}

func winogradInputNEON(dst, src []float32, s TileShape, scratch []float32) {
	if s.Tiles <= 0 {
		return
	}
	columns := s.Tiles*4 + 2
	within(src, 6, s.Row, columns*Block)
	within(dst, WinogradPositions, s.Pos, s.Tiles*Block)
	within(scratch, columns, 6*Block, 6*Block)
	c := winogradCall{src: &src[0], dst: &dst[0], row: s.Row * 4, pos: s.Pos * 4, tiles: s.Tiles, scratch: &scratch[0]}
	winogradInput(&c)
}

func winogradOutputNEON(dst, src []float32, s TileShape, e *Epilogue, _ []float32) {
	if s.Tiles <= 0 {
		return
	}
	if e == nil {
		e = &noEpilogue
	}
	width := s.Tiles * 4 * Block
	within(dst, 4, s.Row, width)
	within(src, WinogradPositions, s.Pos, s.Tiles*Block)
	if e.Bias != nil {
		within(e.Bias, 1, 0, Block)
	}
	if e.Pre != nil {
		within(e.Pre, 4, s.Row, width)
	}
	if e.Post != nil {
		within(e.Post, 4, s.Row, width)
	}
	c := winogradCall{
		src: &src[0], dst: &dst[0], row: s.Row * 4, pos: s.Pos * 4, tiles: s.Tiles,
		bias: optional(e.Bias, 0), pre: optional(e.Pre, 0), post: optional(e.Post, 0),
		clamp: flag(e.Clamp), lo: e.Lo, hi: e.Hi,
	}
	winogradOutput(&c)
}

// newTapsCall expects at least one pixel and one tap.
func newTapsCall(dst, src []float32, offsets []int, pixels, step int) tapsCall {
	within(dst, pixels, Block, Block)
	for _, o := range offsets {
		within(src[o>>2:], pixels, step, Block)
	}
	return tapsCall{dst: &dst[0], src: &src[0], offsets: &offsets[0], taps: len(offsets), pixels: pixels, step: step * 4}
}

func maxTapsNEON(dst, src []float32, offsets []int, pixels, step int) {
	if pixels <= 0 || len(offsets) == 0 {
		return
	}
	c := newTapsCall(dst, src, offsets, pixels, step)
	maxTaps(&c)
}

func depthwiseTapsNEON(dst, src, w []float32, offsets []int, pixels, step int, e *Epilogue) {
	if pixels <= 0 || len(offsets) == 0 {
		depthwiseTapsGeneric(dst, src, w, offsets, pixels, step, e)
		return
	}
	if e == nil {
		e = &noEpilogue
	}
	c := newTapsCall(dst, src, offsets, pixels, step)
	within(w, len(offsets), Block, Block)
	if e.Bias != nil {
		within(e.Bias, 1, 0, Block)
	}
	c.weights, c.bias = &w[0], optional(e.Bias, 0)
	c.clamp, c.lo, c.hi = flag(e.Clamp), e.Lo, e.Hi
	depthwiseTaps(&c)
}

func lerpNEON(dst, a, b []float32, w float32) {
	if len(dst) == 0 {
		return
	}
	within(a, 1, 0, len(dst))
	within(b, 1, 0, len(dst))
	whole := len(dst) &^ (Block - 1)
	if whole > 0 {
		c := lerpCall{dst: &dst[0], a: &a[0], b: &b[0], blocks: whole / Block, weight: w}
		lerp(&c)
	}
	lerpGeneric(dst[whole:], a[whole:], b[whole:], w)
}

func gatherLerpNEON(dst, src []float32, off0, off1 []int, w []float32) {
	if len(w) == 0 {
		return
	}
	within(dst, len(w), Block, Block)
	off0, off1 = off0[:len(w)], off1[:len(w)]
	for x := range w {
		_, _ = src[off0[x]>>2:][Block-1], src[off1[x]>>2:][Block-1]
	}
	c := lerpCall{dst: &dst[0], a: &src[0], off0: &off0[0], off1: &off1[0], weights: &w[0], blocks: len(w)}
	gatherLerp(&c)
}

func arithmeticNEON(op Op, dst, a, b []float32) {
	whole := len(dst) &^ (Block - 1)
	if whole == 0 || op > PRelu {
		arithmeticGeneric(op, dst, a, b)
		return
	}
	c := arithCall{dst: &dst[0], a: &a[0], b: &b[0], blocks: whole / Block, step: Block * 4}
	within(a, 1, 0, len(dst))
	rest := b
	if len(b) == Block {
		c.step = 0
	} else {
		within(b, 1, 0, len(dst))
		rest = b[whole:]
	}
	switch op {
	case Add:
		add(&c)
	case Sub:
		sub(&c)
	case Mul:
		mul(&c)
	case Max:
		larger(&c)
	case Min:
		smaller(&c)
	case PRelu:
		prelu(&c)
	}
	if whole < len(dst) {
		arithmeticGeneric(op, dst[whole:], a[whole:], rest)
	}
}
