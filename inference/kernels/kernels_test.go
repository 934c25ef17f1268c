package kernels

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"
)

// guard is written around every destination; a kernel that leaves its slice destroys it.
const guard = float32(-12345.5)

func random(r *rand.Rand, n int) []float32 {
	s := make([]float32, n)
	for i := range s {
		s[i] = r.Float32()*2 - 1
	}
	return s
}

// guarded returns a slice of n zeros between two guard bands, and a check that the bands are whole.
func guarded(t *testing.T, n int) ([]float32, func()) {
	t.Helper()
	const band = 64
	all := make([]float32, n+2*band+Block)
	for uintptr(unsafe.Pointer(&all[0]))%64 != 0 { // on a cache line, where kernels may choose other stores
		all = all[1:]
	}
	for i := range all {
		all[i] = guard
	}
	s := all[band : band+n : band+n]
	clear(s)
	return s, func() {
		t.Helper()
		for i := range band {
			if all[i] != guard || all[band+n+i] != guard {
				t.Fatalf("wrote outside its slice")
			}
		}
	}
}

func near(t *testing.T, what string, got, want []float32, tol float64) {
	t.Helper()
	for i := range want {
		if d := math.Abs(float64(got[i] - want[i])); !(d <= tol*(1+math.Abs(float64(want[i])))) {
			t.Fatalf("%s: element %d is %g, reference says %g", what, i, got[i], want[i])
		}
	}
}

// eachNative runs f for every assembly set the processor has.
func eachNative(t *testing.T, f func(t *testing.T, s *Set)) {
	t.Helper()
	sets := native()
	if len(sets) == 0 {
		t.Skip("no assembly kernels for this processor")
	}
	for _, s := range sets {
		t.Run(s.Name, func(t *testing.T) { f(t, s) })
	}
}

func epilogues(r *rand.Rand, n, size int) map[string]*Epilogue {
	inf := float32(math.Inf(1))
	return map[string]*Epilogue{
		"none":  nil,
		"bias":  {Bias: random(r, n)},
		"relu":  {Bias: random(r, n), Clamp: true, Hi: inf},
		"relu6": {Clamp: true, Hi: 0.5, Lo: -0.25},
		"pre":   {Bias: random(r, n), Pre: random(r, size), Clamp: true, Hi: inf},
		"post":  {Bias: random(r, n), Post: random(r, size), Clamp: true, Hi: inf},
		"both":  {Pre: random(r, size), Post: random(r, size)},
	}
}

func TestGemm(t *testing.T) {
	eachNative(t, func(t *testing.T, set *Set) {
		r := rand.New(rand.NewPCG(1, 2))
		for _, m := range []int{1, 2, 3, 5, 6, 7, 11, 12, 13, 23, 24, 25, 49, 60} {
			for _, n := range []int{1, 2, 3, 4} {
				for _, k := range []int{4, 8, 16, 20, 48} {
					s := GemmShape{M: m, N: n, K: k, AStride: m*16 + 16, WStride: k*16 + 32, DStride: m*16 + 48}
					size := (n-1)*s.DStride + m*16
					a, w := random(r, ((k+15)/16)*s.AStride), random(r, n*s.WStride)
					for name, e := range epilogues(r, n*16, size) {
						want := make([]float32, size)
						gemmGeneric(want, a, w, s, e)
						got, check := guarded(t, size)
						set.Gemm(got, a, w, s, e)
						check()
						near(t, fmt.Sprintf("m=%d n=%d k=%d %s", m, n, k, name), got, want, 2e-6*float64(k))
					}
				}
			}
		}
	})
}

func TestGemmBatch(t *testing.T) {
	eachNative(t, func(t *testing.T, set *Set) {
		r := rand.New(rand.NewPCG(11, 12))
		for _, m := range []int{1, 2, 5, 11, 12, 20, 24, 36, 47} {
			for _, n := range []int{1, 2, 3, 5} {
				s := GemmShape{M: m, N: n, K: 20, AStride: m*16 + 16, WStride: 20*16 + 32, DStride: m*16 + 48}
				size := (n-1)*s.DStride + m*16
				step := BatchStep{D: size + 16, A: 2*s.AStride + 32, W: n*s.WStride + 16}
				a, w := random(r, 3*step.A), random(r, 3*step.W)
				want := make([]float32, 2*step.D+size)
				batchOf(gemmGeneric)(want, a, w, s, 3, step)
				got, check := guarded(t, len(want))
				set.GemmBatch(got, a, w, s, 3, step)
				check()
				near(t, fmt.Sprintf("m=%d n=%d", m, n), got, want, 5e-5)
			}
		}
	})
}

func TestWinogradTransforms(t *testing.T) {
	eachNative(t, func(t *testing.T, set *Set) {
		r := rand.New(rand.NewPCG(3, 4))
		scratch := make([]float32, WinogradScratch)
		for tiles := 1; tiles <= MaxTileRun; tiles++ {
			in := TileShape{Tiles: tiles, Row: (tiles*4 + 2 + tiles%3) * 16, Pos: tiles*16 + 16*(tiles%2)}
			src := random(r, 6*in.Row)
			size := 35*in.Pos + tiles*16
			want := make([]float32, size)
			winogradInputGeneric(want, src, in, nil)
			got, check := guarded(t, size)
			set.WinogradInput(got, src, in, scratch)
			check()
			near(t, "input", got, want, 1e-5)

			out := TileShape{Tiles: tiles, Row: (tiles*4 + tiles%3) * 16, Pos: in.Pos}
			m := random(r, size)
			osize := 3*out.Row + tiles*4*16
			for name, e := range epilogues(r, 16, osize) {
				want := make([]float32, osize)
				winogradOutputGeneric(want, m, out, e, nil)
				got, check := guarded(t, osize)
				set.WinogradOutput(got, m, out, e, scratch)
				check()
				near(t, "output "+name, got, want, 1e-5)
			}
		}
	})
}

func TestTaps(t *testing.T) {
	eachNative(t, func(t *testing.T, set *Set) {
		r := rand.New(rand.NewPCG(5, 6))
		for _, pixels := range []int{1, 2, 3, 4, 5, 7, 8, 13} {
			for _, ntaps := range []int{1, 2, 4, 9, 25} {
				for _, step := range []int{16, 32} {
					offsets := make([]int, ntaps)
					reach := 0
					for i := range offsets {
						offsets[i] = r.IntN(40) * 64
						reach = max(reach, offsets[i]/4)
					}
					src := random(r, (pixels-1)*step+reach+16)
					w := random(r, ntaps*16)
					want := make([]float32, pixels*16)
					maxTapsGeneric(want, src, offsets, pixels, step)
					got, check := guarded(t, pixels*16)
					set.MaxTaps(got, src, offsets, pixels, step)
					check()
					near(t, "max", got, want, 0)
					for _, e := range []*Epilogue{nil, {Bias: random(r, 16)}, {Bias: random(r, 16), Clamp: true, Hi: 6}} {
						depthwiseTapsGeneric(want, src, w, offsets, pixels, step, e)
						set.DepthwiseTaps(got, src, w, offsets, pixels, step, e)
						check()
						near(t, "depthwise", got, want, 1e-5)
					}
				}
			}
		}
	})
}

func TestLerp(t *testing.T) {
	eachNative(t, func(t *testing.T, set *Set) {
		r := rand.New(rand.NewPCG(7, 8))
		for _, n := range []int{1, 2, 5, 33} {
			a, b := random(r, n*16), random(r, n*16)
			want := make([]float32, n*16)
			lerpGeneric(want, a, b, 0.3)
			got, check := guarded(t, n*16)
			set.Lerp(got, a, b, 0.3)
			check()
			near(t, "lerp", got, want, 1e-6)
			off0, off1, w := make([]int, n), make([]int, n), random(r, n)
			for i := range n {
				off0[i], off1[i] = r.IntN(n)*64, r.IntN(n)*64
			}
			slices.Sort(off0)
			slices.Sort(off1)
			gatherLerpGeneric(want, a, off0, off1, w)
			set.GatherLerp(got, a, off0, off1, w)
			check()
			near(t, "gather", got, want, 1e-6)
		}
	})
}

func TestArithmetic(t *testing.T) {
	eachNative(t, func(t *testing.T, set *Set) {
		r := rand.New(rand.NewPCG(9, 10))
		for op := Add; op <= PRelu; op++ {
			for _, n := range []int{1, 5, 15, 16, 17, 32, 100, 160} {
				a := random(r, n)
				for _, b := range [][]float32{random(r, n), random(r, Block)} {
					if len(b) < n && len(b) != Block || len(b) == Block && n < Block {
						continue
					}
					want := make([]float32, n)
					arithmeticGeneric(op, want, a, b)
					got, check := guarded(t, n)
					set.Arithmetic(op, got, a, b)
					check()
					near(t, fmt.Sprintf("op %d of %d with %d", op, n, len(b)), got, want, 1e-6)
				}
			}
		}
	})
}

// TestShortOperands holds that no kernel set touches memory past an operand that is one value too short: assembly has no
// bounds of its own, so the wrappers must panic first.
func TestShortOperands(t *testing.T) {
	eachNative(t, func(t *testing.T, set *Set) {
		floats := func(n int) []float32 { return make([]float32, n) }
		gemm := GemmShape{M: 7, N: 3, K: 32, AStride: 7 * Block, WStride: 32 * Block, DStride: 7 * Block}
		tiles := TileShape{Tiles: 3, Row: 14 * Block, Pos: 3 * Block}
		offsets := []int{0, 4 * Block, 8 * Block}
		for name, c := range map[string]struct {
			sizes []int
			call  func(o [][]float32)
		}{
			"gemm": {[]int{21 * Block, 14 * Block, 96 * Block, 3 * Block, 21 * Block, 21 * Block}, func(o [][]float32) {
				set.Gemm(o[0], o[1], o[2], gemm, &Epilogue{Bias: o[3], Pre: o[4], Post: o[5]})
			}},
			"batch": {[]int{42 * Block, 28 * Block, 192 * Block}, func(o [][]float32) {
				set.GemmBatch(o[0], o[1], o[2], gemm, 2, BatchStep{A: 14 * Block, W: 96 * Block, D: 21 * Block})
			}},
			"winograd input": {[]int{(35*3 + 3) * Block, 84 * Block, 14 * 6 * Block}, func(o [][]float32) {
				set.WinogradInput(o[0], o[1], tiles, o[2])
			}},
			"winograd output": {[]int{54 * Block, (35*3 + 3) * Block, Block, 54 * Block, 54 * Block}, func(o [][]float32) {
				set.WinogradOutput(o[0], o[1], tiles, &Epilogue{Bias: o[2], Pre: o[3], Post: o[4]}, floats(24*Block))
			}},
			"largest": {[]int{5 * Block, 7 * Block}, func(o [][]float32) {
				set.MaxTaps(o[0], o[1], offsets, 5, Block)
			}},
			"depthwise": {[]int{5 * Block, 7 * Block, 3 * Block, Block}, func(o [][]float32) {
				set.DepthwiseTaps(o[0], o[1], o[2], offsets, 5, Block, &Epilogue{Bias: o[3]})
			}},
			"lerp": {[]int{2 * Block, 2 * Block}, func(o [][]float32) {
				set.Lerp(floats(2*Block), o[0], o[1], 0.5)
			}},
			"gather": {[]int{2 * Block, 3 * Block}, func(o [][]float32) {
				set.GatherLerp(o[0], o[1], []int{0, 4 * Block}, []int{4 * Block, 8 * Block}, floats(2))
			}},
		} {
			operands := func(short int) [][]float32 {
				out := make([][]float32, len(c.sizes))
				for i, n := range c.sizes {
					if out[i] = floats(n); i == short {
						out[i] = out[i][:n-1]
					}
				}
				return out
			}
			c.call(operands(-1))
			for i := range c.sizes {
				func() {
					defer func() {
						if recover() == nil {
							t.Errorf("%s with operand %d one value short did not panic", name, i)
						}
					}()
					c.call(operands(i))
				}()
			}
		}
	})
}

func TestSelect(t *testing.T) {
	if s, err := Select("generic"); err != nil || s.Name != "generic" {
		t.Fatalf("generic: %v, %v", s, err)
	}
	if _, err := Select("vax"); err == nil {
		t.Fatal("an unknown set was selected")
	}
}

func BenchmarkGemm(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, s := range []GemmShape{{M: 48, N: 4, K: 128}, {M: 48, N: 4, K: 64}, {M: 48, N: 4, K: 32}, {M: 48, N: 1, K: 64}, {M: 48, N: 1, K: 16}} {
		s.AStride, s.WStride, s.DStride = s.M*16, s.K*16, s.M*16
		a, w, d := random(r, s.K*s.M), random(r, s.N*s.K*16), make([]float32, s.N*s.M*16)
		for _, set := range Available() {
			b.Run(fmt.Sprintf("%s/k%dn%d", set.Name, s.K, s.N*16), func(b *testing.B) {
				for b.Loop() {
					set.Gemm(d, a, w, s, nil)
				}
				b.ReportMetric(float64(2*s.M*s.N*16*s.K)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}

func BenchmarkWinogradInput(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	s := TileShape{Tiles: 8, Row: 322 * 16, Pos: 49 * 16}
	src, dst, scratch := random(r, 6*s.Row), make([]float32, 36*s.Pos), make([]float32, WinogradScratch)
	for _, set := range Available() {
		b.Run(set.Name, func(b *testing.B) {
			for b.Loop() {
				set.WinogradInput(dst, src, s, scratch)
			}
		})
	}
}

func BenchmarkWinogradOutput(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	s := TileShape{Tiles: 8, Row: 320 * 16, Pos: 49 * 16}
	dst, src, scratch := make([]float32, 4*s.Row), random(r, 36*s.Pos), make([]float32, WinogradScratch)
	for _, set := range Available() {
		b.Run(set.Name, func(b *testing.B) {
			for b.Loop() {
				set.WinogradOutput(dst, src, s, nil, scratch)
			}
		})
	}
}
