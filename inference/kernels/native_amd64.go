//go:build !noasm

package kernels

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

// The call structures mirror the field offsets in _asm/main.go: every field takes eight bytes, strides are in bytes.
type gemmCall struct {
	a, w, dst                 unsafe.Pointer
	tiles, k4                 int
	aStride, wStride, dStride int
	bias, pre, post           unsafe.Pointer
	clamp                     int
	lo, hi                    float32
	next                      uintptr // scratch of the kernel
}

type winogradCall struct {
	src, dst       unsafe.Pointer
	row, pos, tile int
	scratch        unsafe.Pointer
	bias, pre      unsafe.Pointer
	post           unsafe.Pointer
	clamp          int
	lo, hi         float32
}

type tapsCall struct {
	dst, src, offsets, weights unsafe.Pointer
	taps, pixels, step         int
	bias                       unsafe.Pointer
	clamp                      int
	lo, hi                     float32
}

type lerpCall struct {
	dst, a, b, off0, off1, weights unsafe.Pointer
	n                              int
	weight                         float32
}

type arithCall struct {
	dst, a, b unsafe.Pointer
	n, step   int
}

func native() []*Set {
	var sets []*Set
	x := cpu.X86
	if x.HasAVX512F && x.HasAVX512DQ && x.HasAVX512VL {
		sets = append(sets, &Set{
			Name: "avx512", Gemm: gemmAVX512, GemmBatch: gemmBatchAVX512, WinogradInput: winogradInput512, WinogradOutput: winogradOutput512,
			MaxTaps: maxTaps512, DepthwiseTaps: depthwiseTaps512, Lerp: lerp512, GatherLerp: gatherLerp512, Arithmetic: arithmetic512,
		})
	}
	if x.HasAVX2 && x.HasFMA {
		sets = append(sets, &Set{
			Name: "avx2", Gemm: gemmAVX2, GemmBatch: batchOf(gemmAVX2), WinogradInput: winogradInput2, WinogradOutput: winogradOutput2,
			MaxTaps: maxTaps2, DepthwiseTaps: depthwiseTaps2, Lerp: lerp2, GatherLerp: gatherLerp2, Arithmetic: arithmetic2,
		})
	}
	return sets
}

// ptr returns the address of s[i], nil for a nil slice.
func ptr(s []float32, i int) unsafe.Pointer {
	if s == nil {
		return nil
	}
	return unsafe.Pointer(&s[i])
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// newGemmCall checks that the last element each operand touches lies inside its slice, so that assembly cannot leave it.
func newGemmCall(dst, a, w []float32, s GemmShape, e *Epilogue) gemmCall {
	blocks := (s.K + Block - 1) / Block
	_ = dst[(s.N-1)*s.DStride+s.M*Block-1]
	_ = a[(blocks-1)*s.AStride+s.M*Block-1]
	_ = w[(s.N-1)*s.WStride+s.K*Block-1]
	c := gemmCall{k4: s.K / 4, aStride: s.AStride * 4, wStride: s.WStride * 4, dStride: s.DStride * 4}
	if e != nil {
		checkEpilogue(e, s.N*Block-1, (s.N-1)*s.DStride+s.M*Block-1)
		c.clamp, c.lo, c.hi = flag(e.Clamp), e.Lo, e.Hi
	}
	return c
}

// checkEpilogue panics unless the last bias and the last summand that a call touches lie inside their slices, where there
// are such.
func checkEpilogue(e *Epilogue, bias, sum int) {
	if e.Bias != nil {
		_ = e.Bias[bias]
	}
	if e.Pre != nil {
		_ = e.Pre[sum]
	}
	if e.Post != nil {
		_ = e.Post[sum]
	}
}

// aim points the call at pixel m of output block n.
func (c *gemmCall) aim(dst, a, w []float32, s *GemmShape, e *Epilogue, n, m int) {
	at := n*s.DStride + m*Block
	c.a, c.w, c.dst = ptr(a, m*Block), ptr(w, n*s.WStride), ptr(dst, at)
	if e == nil {
		return
	}
	c.bias = ptr(e.Bias, n*Block)
	c.pre = ptr(e.Pre, at)
	c.post = ptr(e.Post, at)
}

func gemmAVX512(dst, a, w []float32, s GemmShape, e *Epilogue) {
	if s.M == 0 || s.N == 0 {
		return
	}
	c := newGemmCall(dst, a, w, s, e)
	arg := (*byte)(unsafe.Pointer(&c))
	n := 0
	for ; n+1 < s.N; n += 2 {
		for m := 0; m < s.M; {
			c.aim(dst, a, w, &s, e, n, m)
			left := s.M - m
			switch {
			case left >= 12:
				c.tiles = left / 12
				m += c.tiles * 12
				gemm12x2AVX512(arg)
			case left >= 6:
				c.tiles = 1
				m += 6
				gemm6x2AVX512(arg)
			case left >= 3:
				c.tiles = 1
				m += 3
				gemm3x2AVX512(arg)
			default:
				c.tiles = left
				m += left
				gemm1x2AVX512(arg)
			}
		}
	}
	if n == s.N {
		return
	}
	for m := 0; m < s.M; {
		c.aim(dst, a, w, &s, e, n, m)
		left := s.M - m
		switch {
		case left >= 24:
			c.tiles = left / 24
			m += c.tiles * 24
			gemm24x1AVX512(arg)
		case left >= 12:
			c.tiles = 1
			m += 12
			gemm12x1AVX512(arg)
		case left >= 6:
			c.tiles = 1
			m += 6
			gemm6x1AVX512(arg)
		case left >= 3:
			c.tiles = 1
			m += 3
			gemm3x1AVX512(arg)
		default:
			c.tiles = left
			m += left
			gemm1x1AVX512(arg)
		}
	}
}

// gemmBatchAVX512 checks and sets up once what all products of the batch share.
func gemmBatchAVX512(dst, a, w []float32, s GemmShape, count int, step BatchStep) {
	if count == 0 || s.M == 0 || s.N == 0 {
		return
	}
	last := count - 1
	c := newGemmCall(dst[last*step.D:], a[last*step.A:], w[last*step.W:], s, nil)
	arg := (*byte)(unsafe.Pointer(&c))
	twelves, rest := s.M/12, s.M%12
	for i := range count {
		d, x, y := dst[i*step.D:], a[i*step.A:], w[i*step.W:]
		n := 0
		for ; n+1 < s.N; n += 2 {
			c.w = ptr(y, n*s.WStride)
			if twelves > 0 {
				c.a, c.dst, c.tiles = ptr(x, 0), ptr(d, n*s.DStride), twelves
				gemm12x2AVX512(arg)
			}
			if rest > 0 {
				c.a, c.dst = ptr(x, twelves*12*Block), ptr(d, n*s.DStride+twelves*12*Block)
				gemmRest2(&c, rest)
			}
		}
		if n < s.N {
			c.w = ptr(y, n*s.WStride)
			c.a, c.dst = ptr(x, 0), ptr(d, n*s.DStride)
			gemmRest1(&c, s.M)
		}
	}
}

// gemmRest2 runs m < 12 pixels from where the call points.
func gemmRest2(c *gemmCall, m int) {
	arg := (*byte)(unsafe.Pointer(c))
	for m > 0 {
		pixels := 0
		c.tiles = 1
		switch {
		case m >= 6:
			pixels = 6
			gemm6x2AVX512(arg)
		case m >= 3:
			pixels = 3
			gemm3x2AVX512(arg)
		default:
			c.tiles = m
			gemm1x2AVX512(arg)
			return
		}
		if m -= pixels; m > 0 {
			c.a = unsafe.Add(c.a, pixels*Block*4)
			c.dst = unsafe.Add(c.dst, pixels*Block*4)
		}
	}
}

// gemmRest1 runs m pixels of the last, unpaired output block from where the call points.
func gemmRest1(c *gemmCall, m int) {
	arg := (*byte)(unsafe.Pointer(c))
	for m > 0 {
		pixels := 0
		c.tiles = 1
		switch {
		case m >= 24:
			c.tiles = m / 24
			pixels = c.tiles * 24
			gemm24x1AVX512(arg)
		case m >= 12:
			pixels = 12
			gemm12x1AVX512(arg)
		case m >= 6:
			pixels = 6
			gemm6x1AVX512(arg)
		case m >= 3:
			pixels = 3
			gemm3x1AVX512(arg)
		default:
			c.tiles = m
			gemm1x1AVX512(arg)
			return
		}
		if m -= pixels; m > 0 {
			c.a = unsafe.Add(c.a, pixels*Block*4)
			c.dst = unsafe.Add(c.dst, pixels*Block*4)
		}
	}
}

func gemmAVX2(dst, a, w []float32, s GemmShape, e *Epilogue) {
	if s.M == 0 || s.N == 0 {
		return
	}
	c := newGemmCall(dst, a, w, s, e)
	arg := (*byte)(unsafe.Pointer(&c))
	for n := range s.N {
		for m := 0; m < s.M; {
			c.aim(dst, a, w, &s, e, n, m)
			left := s.M - m
			switch {
			case left >= 6:
				c.tiles = left / 6
				m += c.tiles * 6
				gemm6x1AVX2(arg)
			case left >= 3:
				c.tiles = 1
				m += 3
				gemm3x1AVX2(arg)
			default:
				c.tiles = left
				m += left
				gemm1x1AVX2(arg)
			}
		}
	}
}

func newInputCall(dst, src []float32, s TileShape, scratch []float32) winogradCall {
	_ = src[5*s.Row+(s.Tiles*4+2)*Block-1]
	_ = dst[(WinogradPositions-1)*s.Pos+s.Tiles*Block-1]
	_ = scratch[(s.Tiles*4+2)*6*Block-1]
	return winogradCall{src: ptr(src, 0), dst: ptr(dst, 0), row: s.Row * 4, pos: s.Pos * 4, tile: s.Tiles, scratch: ptr(scratch, 0)}
}

func newOutputCall(dst, src []float32, s TileShape, e *Epilogue, scratch []float32) winogradCall {
	last := 3*s.Row + s.Tiles*4*Block - 1
	_ = dst[last]
	_ = src[(WinogradPositions-1)*s.Pos+s.Tiles*Block-1]
	_ = scratch[24*Block-1]
	c := winogradCall{src: ptr(src, 0), dst: ptr(dst, 0), row: s.Row * 4, pos: s.Pos * 4, tile: s.Tiles, scratch: ptr(scratch, 0)}
	if e != nil {
		checkEpilogue(e, Block-1, last)
		c.bias, c.pre, c.post = ptr(e.Bias, 0), ptr(e.Pre, 0), ptr(e.Post, 0)
		c.clamp, c.lo, c.hi = flag(e.Clamp), e.Lo, e.Hi
	}
	return c
}

func winogradInput512(dst, src []float32, s TileShape, scratch []float32) {
	c := newInputCall(dst, src, s, scratch)
	winogradInputAVX512((*byte)(unsafe.Pointer(&c)))
}

func winogradInput2(dst, src []float32, s TileShape, scratch []float32) {
	c := newInputCall(dst, src, s, scratch)
	winogradInputAVX2((*byte)(unsafe.Pointer(&c)))
}

func winogradOutput512(dst, src []float32, s TileShape, e *Epilogue, scratch []float32) {
	c := newOutputCall(dst, src, s, e, scratch)
	winogradOutputAVX512((*byte)(unsafe.Pointer(&c)))
}

func winogradOutput2(dst, src []float32, s TileShape, e *Epilogue, scratch []float32) {
	c := newOutputCall(dst, src, s, e, scratch)
	winogradOutputAVX2((*byte)(unsafe.Pointer(&c)))
}

func newTapsCall(dst, src []float32, offsets []int, pixels, step int) tapsCall {
	_ = dst[pixels*Block-1]
	for _, o := range offsets {
		_ = src[(pixels-1)*step+o/4+Block-1] // indexed, since a slice may reach up to the capacity
	}
	return tapsCall{
		dst: ptr(dst, 0), src: ptr(src, 0), offsets: unsafe.Pointer(unsafe.SliceData(offsets)),
		taps: len(offsets), pixels: pixels, step: step * 4,
	}
}

func newDepthwiseCall(dst, src, w []float32, offsets []int, pixels, step int, e *Epilogue) tapsCall {
	c := newTapsCall(dst, src, offsets, pixels, step)
	_ = w[len(offsets)*Block-1]
	c.weights = ptr(w, 0)
	if e != nil {
		if e.Bias != nil {
			_ = e.Bias[Block-1]
		}
		c.bias = ptr(e.Bias, 0)
		c.clamp, c.lo, c.hi = flag(e.Clamp), e.Lo, e.Hi
	}
	return c
}

func maxTaps512(dst, src []float32, offsets []int, pixels, step int) {
	c := newTapsCall(dst, src, offsets, pixels, step)
	maxTapsAVX512((*byte)(unsafe.Pointer(&c)))
}

func maxTaps2(dst, src []float32, offsets []int, pixels, step int) {
	c := newTapsCall(dst, src, offsets, pixels, step)
	maxTapsAVX2((*byte)(unsafe.Pointer(&c)))
}

func depthwiseTaps512(dst, src, w []float32, offsets []int, pixels, step int, e *Epilogue) {
	c := newDepthwiseCall(dst, src, w, offsets, pixels, step, e)
	depthwiseTapsAVX512((*byte)(unsafe.Pointer(&c)))
}

func depthwiseTaps2(dst, src, w []float32, offsets []int, pixels, step int, e *Epilogue) {
	c := newDepthwiseCall(dst, src, w, offsets, pixels, step, e)
	depthwiseTapsAVX2((*byte)(unsafe.Pointer(&c)))
}

func newLerpCall(dst, a, b []float32, w float32) lerpCall {
	_, _ = a[len(dst)-1], b[len(dst)-1]
	return lerpCall{dst: ptr(dst, 0), a: ptr(a, 0), b: ptr(b, 0), n: len(dst) / Block, weight: w}
}

func newGatherCall(dst, src []float32, off0, off1 []int, w []float32) lerpCall {
	_ = dst[len(w)*Block-1]
	_, _ = src[off0[0]/4], src[off1[0]/4]
	_, _ = src[off0[len(w)-1]/4+Block-1], src[off1[len(w)-1]/4+Block-1]
	return lerpCall{
		dst: ptr(dst, 0), a: ptr(src, 0), off0: unsafe.Pointer(unsafe.SliceData(off0)), off1: unsafe.Pointer(unsafe.SliceData(off1)),
		weights: ptr(w, 0), n: len(w),
	}
}

func lerp512(dst, a, b []float32, w float32) {
	c := newLerpCall(dst, a, b, w)
	lerpAVX512((*byte)(unsafe.Pointer(&c)))
}

func lerp2(dst, a, b []float32, w float32) {
	c := newLerpCall(dst, a, b, w)
	lerpAVX2((*byte)(unsafe.Pointer(&c)))
}

func gatherLerp512(dst, src []float32, off0, off1 []int, w []float32) {
	c := newGatherCall(dst, src, off0, off1, w)
	gatherLerpAVX512((*byte)(unsafe.Pointer(&c)))
}

func gatherLerp2(dst, src []float32, off0, off1 []int, w []float32) {
	c := newGatherCall(dst, src, off0, off1, w)
	gatherLerpAVX2((*byte)(unsafe.Pointer(&c)))
}

// newArithCall covers the whole blocks of dst; what is left over is the caller's.
func newArithCall(dst, a, b []float32) (c arithCall, whole int) {
	whole = len(dst) &^ (Block - 1)
	if whole == 0 {
		return c, 0
	}
	_ = a[whole-1]
	c = arithCall{dst: ptr(dst, 0), a: ptr(a, 0), b: ptr(b, 0), n: whole / Block}
	if len(b) == Block {
		return c, whole
	}
	_ = b[whole-1]
	c.step = Block * 4
	return c, whole
}

// arithmeticRest finishes the elements after the whole blocks.
func arithmeticRest(op Op, dst, a, b []float32, whole int) {
	if whole == len(dst) {
		return
	}
	if len(b) != Block || len(dst) < Block {
		b = b[whole:]
	}
	arithmeticGeneric(op, dst[whole:], a[whole:], b)
}

func arithmetic512(op Op, dst, a, b []float32) {
	c, whole := newArithCall(dst, a, b)
	if arg := (*byte)(unsafe.Pointer(&c)); whole > 0 {
		switch op {
		case Add:
			addAVX512(arg)
		case Sub:
			subAVX512(arg)
		case Mul:
			mulAVX512(arg)
		case Max:
			maxAVX512(arg)
		case Min:
			minAVX512(arg)
		case PRelu:
			preluAVX512(arg)
		}
	}
	arithmeticRest(op, dst, a, b, whole)
}

func arithmetic2(op Op, dst, a, b []float32) {
	c, whole := newArithCall(dst, a, b)
	if arg := (*byte)(unsafe.Pointer(&c)); whole > 0 {
		switch op {
		case Add:
			addAVX2(arg)
		case Sub:
			subAVX2(arg)
		case Mul:
			mulAVX2(arg)
		case Max:
			maxAVX2(arg)
		case Min:
			minAVX2(arg)
		case PRelu:
			preluAVX2(arg)
		}
	}
	arithmeticRest(op, dst, a, b, whole)
}
