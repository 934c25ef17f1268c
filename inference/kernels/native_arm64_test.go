//go:build !noasm

package kernels

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// nanAfter returns n random values followed by a band of NaN that no kernel may look at, within the same slice.
func nanAfter(r *rand.Rand, n int) []float32 {
	s := random(r, n+64)
	for i := range 64 {
		s[n+i] = float32(math.NaN())
	}
	return s
}

// TestTilesOfEverySize covers what is left over after whole tiles, a partly used last block beside values that must not
// count, and planes that overlap or repeat.
func TestTilesOfEverySize(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	nan := float32(math.NaN())
	for m := range 20 {
		for _, k := range []int{4, 12, 16, 28, 32, 36} {
			for _, n := range []int{1, 3} {
				s := GemmShape{M: m, N: n, K: k, AStride: m * Block, WStride: k * Block, DStride: m * Block}
				a, w := random(r, (k+15)/16*s.AStride), nanAfter(r, n*s.WStride)
				for i := range a {
					if i/max(1, s.AStride)*Block+i%Block >= k {
						a[i] = nan
					}
				}
				for name, e := range epilogues(r, n*Block, n*s.DStride) {
					want := make([]float32, n*s.DStride)
					gemmGeneric(want, a, w, s, e)
					got, check := guarded(t, n*s.DStride)
					gemmNEON(got, a, w, s, e)
					check()
					near(t, fmt.Sprintf("m=%d n=%d k=%d %s", m, n, k, name), got, want, 2e-6*float64(k))
				}
			}
		}
	}
	for _, s := range []GemmShape{
		{M: 7, N: 2, K: 32, AStride: 0, WStride: 0, DStride: 7 * Block},      // every block of a, and of w, the same
		{M: 7, N: 2, K: 6, AStride: 7 * Block, WStride: 96, DStride: 7 * 16}, // K no multiple of four
		{M: 7, N: 2, K: 0, DStride: 7 * Block},
	} {
		a, w := random(r, 4*7*Block), random(r, 2*32*Block)
		e := &Epilogue{Bias: random(r, 2*Block)}
		want := make([]float32, 2*s.DStride)
		gemmGeneric(want, a, w, s, e)
		got, check := guarded(t, 2*s.DStride)
		gemmNEON(got, a, w, s, e)
		check()
		near(t, fmt.Sprint(s), got, want, 1e-4)
	}
}

// TestEpilogueInPlace adds to what the destination holds.
func TestEpilogueInPlace(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	s := GemmShape{M: 17, N: 2, K: 16, AStride: 17 * Block, WStride: 256, DStride: 17 * Block}
	a, w, d := random(r, s.AStride), random(r, 2*s.WStride), random(r, 2*s.DStride)
	want := append([]float32(nil), d...)
	gemmGeneric(want, a, w, s, &Epilogue{Pre: want})
	gemmNEON(d, a, w, s, &Epilogue{Pre: d})
	near(t, "in place", d, want, 1e-4)
}

// TestNotANumber holds maxima, minima and limits against Go's own for NaN, infinities and zeros of both signs.
func TestNotANumber(t *testing.T) {
	inf := float32(math.Inf(1))
	special := []float32{float32(math.NaN()), inf, -inf, 0, float32(math.Copysign(0, -1)), 1, -1, math.MaxFloat32}
	var a, b []float32
	for _, x := range special {
		for _, y := range special {
			a, b = append(a, x), append(b, y)
		}
	}
	same := func(what string, got, want []float32) {
		t.Helper()
		for i := range want {
			if got[i] != got[i] && want[i] != want[i] {
				continue
			}
			if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
				t.Errorf("%s of %g and %g: %g, reference says %g", what, a[i], b[i], got[i], want[i])
			}
		}
	}
	got, want := make([]float32, len(a)), make([]float32, len(a))
	for op := Add; op <= PRelu; op++ {
		arithmeticGeneric(op, want, a, b)
		arithmeticNEON(op, got, a, b)
		same(fmt.Sprint("op ", op), got, want)
	}
	one := make([]float32, Block)
	for i := range one {
		one[i] = 1
	}
	e := &Epilogue{Clamp: true, Lo: 0, Hi: 6}
	depthwiseTapsGeneric(want, a, one, []int{0}, len(a)/Block, Block, e)
	depthwiseTapsNEON(got, a, one, []int{0}, len(a)/Block, Block, e)
	same("clamp", got, want)
}

// TestNothingToDo calls every kernel with an empty shape.
func TestNothingToDo(t *testing.T) {
	gemmNEON(nil, nil, nil, GemmShape{N: 1, K: 4}, nil)
	gemmNEON(nil, nil, nil, GemmShape{M: 1, K: 4}, nil)
	winogradInputNEON(nil, nil, TileShape{}, nil)
	winogradOutputNEON(nil, nil, TileShape{}, nil, nil)
	maxTapsNEON(nil, nil, nil, 1, Block)
	maxTapsNEON(nil, nil, []int{0}, 0, Block)
	depthwiseTapsNEON(nil, nil, nil, nil, 0, Block, nil)
	lerpNEON(nil, nil, nil, 1)
	gatherLerpNEON(nil, nil, nil, nil, nil)
	arithmeticNEON(Add, nil, nil, nil)

	bias := random(rand.New(rand.NewPCG(15, 16)), Block)
	got := make([]float32, Block)
	depthwiseTapsNEON(got, nil, nil, nil, 1, Block, &Epilogue{Bias: bias})
	near(t, "no taps", got, bias, 0)
}

// TestShortSlicesPanic shrinks each operand by one element in turn: the call must panic, not read or write past the end.
// The capacity is left as it was, for a slice is no shorter to assembly for having more behind it.
func TestShortSlicesPanic(t *testing.T) {
	const m, n, k, tiles, pixels = 7, 2, 20, 3, 5
	gemm := GemmShape{M: m, N: n, K: k, AStride: m*Block + 16, WStride: k * Block, DStride: m*Block + 32}
	in := TileShape{Tiles: tiles, Row: 15 * Block, Pos: 4 * Block}
	out := TileShape{Tiles: tiles, Row: 13 * Block, Pos: 4 * Block}
	offsets := []int{0, 3 * Block * 4, Block * 4}
	d, positions, pixelsOut := (n-1)*gemm.DStride+m*Block, 35*in.Pos+tiles*Block, 3*out.Row+tiles*4*Block
	kernels := map[string]struct {
		lengths []int
		call    func(s [][]float32)
	}{
		"gemm": {[]int{d, gemm.AStride + m*Block, n * gemm.WStride, n * Block, d, d}, func(s [][]float32) {
			gemmNEON(s[0], s[1], s[2], gemm, &Epilogue{Bias: s[3], Pre: s[4], Post: s[5]})
		}},
		"winograd input": {[]int{positions, 5*in.Row + (tiles*4+2)*Block, (tiles*4 + 2) * 6 * Block}, func(s [][]float32) {
			winogradInputNEON(s[0], s[1], in, s[2])
		}},
		"winograd output": {[]int{pixelsOut, positions, Block, pixelsOut, pixelsOut}, func(s [][]float32) {
			winogradOutputNEON(s[0], s[1], out, &Epilogue{Bias: s[2], Pre: s[3], Post: s[4]}, nil)
		}},
		"max": {[]int{pixels * Block, (2*pixels-2+3)*Block + Block}, func(s [][]float32) {
			maxTapsNEON(s[0], s[1], offsets, pixels, 2*Block)
		}},
		"depthwise": {[]int{pixels * Block, (2*pixels-2+3)*Block + Block, 3 * Block, Block}, func(s [][]float32) {
			depthwiseTapsNEON(s[0], s[1], s[2], offsets, pixels, 2*Block, &Epilogue{Bias: s[3]})
		}},
		"lerp": {[]int{0, 40, 40}, func(s [][]float32) {
			lerpNEON(make([]float32, 40), s[1], s[2], 0.5)
		}},
		"gather": {[]int{3 * Block, 4 * Block}, func(s [][]float32) {
			gatherLerpNEON(s[0], s[1], []int{0, 128, 64}, []int{64, 192, 64}, make([]float32, 3))
		}},
		"arithmetic": {[]int{0, 40, 40}, func(s [][]float32) {
			arithmeticNEON(Mul, make([]float32, 40), s[1], s[2])
		}},
	}
	panics := func(f func()) (yes bool) {
		defer func() { yes = recover() != nil }()
		f()
		return false
	}
	for name, c := range kernels {
		for short := -1; short < len(c.lengths); short++ {
			operands := make([][]float32, len(c.lengths))
			for i, size := range c.lengths {
				operands[i] = make([]float32, size, size+64)
			}
			if short >= 0 {
				if c.lengths[short] == 0 {
					continue
				}
				operands[short] = operands[short][:c.lengths[short]-1]
			}
			if got := panics(func() { c.call(operands) }); got != (short >= 0) {
				t.Errorf("%s with operand %d short: panicked %v", name, short, got)
			}
		}
	}
	block := make([]float32, 4*Block)
	for name, f := range map[string]func(){
		"negative offset":        func() { maxTapsNEON(block, block, []int{-1}, 1, Block) },
		"negative gather offset": func() { gatherLerpNEON(block, block, []int{-64}, []int{0}, []float32{1}) },
		"negative stride":        func() { gemmNEON(block, block, block, GemmShape{M: 1, N: 2, K: 4, DStride: -16}, nil) },
		"offsets too few":        func() { gatherLerpNEON(block, block, []int{0}, []int{0}, []float32{1, 1}) },
	} {
		if !panics(f) {
			t.Errorf("%s: no panic", name)
		}
	}
}

// TestOffsetsBetweenElements rounds offsets down to whole elements, as the twin does.
func TestOffsetsBetweenElements(t *testing.T) {
	r := rand.New(rand.NewPCG(17, 18))
	src := random(r, 6*Block)
	got, want := make([]float32, 4*Block), make([]float32, 4*Block)
	maxTapsGeneric(want, src, []int{3, 70}, 4, Block)
	maxTapsNEON(got, src, []int{3, 70}, 4, Block)
	near(t, "max", got, want, 0)
	gatherLerpGeneric(want[:Block], src, []int{65}, []int{131}, []float32{0.25})
	gatherLerpNEON(got[:Block], src, []int{65}, []int{131}, []float32{0.25})
	near(t, "gather", got[:Block], want[:Block], 1e-6)
}

// TestPartialBlocks blends lengths that are no whole blocks.
func TestPartialBlocks(t *testing.T) {
	r := rand.New(rand.NewPCG(19, 20))
	for n := range 50 {
		a, b := random(r, n), random(r, n)
		want := make([]float32, n)
		lerpGeneric(want, a, b, 0.7)
		got, check := guarded(t, n)
		lerpNEON(got, a, b, 0.7)
		check()
		near(t, fmt.Sprint(n), got, want, 1e-6)
	}
}

// TestCallsAllocateNothing counts what the wrappers leave to the garbage collector.
func TestCallsAllocateNothing(t *testing.T) {
	s := GemmShape{M: 13, N: 2, K: 16, AStride: 13 * Block, WStride: 256, DStride: 13 * Block}
	buf, e := make([]float32, 40*WinogradScratch), &Epilogue{Clamp: true}
	tiles := TileShape{Tiles: 2, Row: 10 * Block, Pos: 2 * Block}
	offsets, weights := []int{0, 64}, []float32{1, 2}
	allocs := testing.AllocsPerRun(10, func() {
		gemmNEON(buf, buf, buf, s, e)
		winogradInputNEON(buf, buf, tiles, buf)
		winogradOutputNEON(buf, buf, tiles, e, buf)
		maxTapsNEON(buf, buf, offsets, 5, Block)
		depthwiseTapsNEON(buf, buf, buf, offsets, 5, Block, e)
		lerpNEON(buf[:64], buf, buf, 0.5)
		gatherLerpNEON(buf, buf, offsets, offsets, weights)
		arithmeticNEON(PRelu, buf[:100], buf, buf)
	})
	if allocs != 0 {
		t.Errorf("%g allocations", allocs)
	}
}
