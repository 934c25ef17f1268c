// Command asm generates the amd64 kernels of package kernels.
//
// Run it with `make generate`; the output is committed. Every kernel exists for AVX-512 and for AVX2+FMA; the plain Go
// twin in generic.go is the specification. All of them work on channel blocks of 16 float32 (64 bytes): one ZMM
// register or two YMM registers hold the 16 channels of one pixel.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// isa abstracts over the two instruction sets: a block of 16 channels is `halves` registers of `bytes` bytes.
type isa struct {
	name   string
	bytes  int
	halves int
	vec    []Register // fixed by hand: kernels are tiled to the last register
}

func avx512() isa {
	return isa{name: "AVX512", bytes: 64, halves: 1, vec: []Register{
		Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15,
		Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23, Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31,
	}}
}

func avx2() isa {
	return isa{name: "AVX2", bytes: 32, halves: 2, vec: []Register{
		Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7, Y8, Y9, Y10, Y11, Y12, Y13, Y14, Y15,
	}}
}

// imm returns the narrowest immediate that ADDQ and its kin take.
func imm(v int) Op {
	if v < 128 {
		return U8(v)
	}
	return U32(v)
}

func (s isa) zero(r Register) {
	if s.bytes == 64 {
		VPXORQ(r, r, r)
		return
	}
	VXORPS(r, r, r)
}

// Offsets of the fields of gemmCall.
const (
	gA = iota * 8
	gW
	gDst
	gTiles
	gK4
	gAStride
	gWStride
	gDStride
	gBias
	gPre
	gPost
	gClamp
	gLoHi // lo, hi float32
	gNext // weights of the next call, likely; moved on while they are prefetched
)

// gemm emits one register tile of pixels x blocks outputs, looped over gTiles tiles.
func gemm(s isa, pixels, blocks int) {
	name := fmt.Sprintf("gemm%dx%d%s", pixels, blocks, s.name)
	TEXT(name, NOSPLIT, "func(call *byte)")
	Doc(fmt.Sprintf("%s computes %d pixels x %d channels a tile, g.tiles tiles; see gemmGeneric.", name, pixels, blocks*16))
	Pragma("noescape")
	call := RDI
	a, w, dst := RSI, RDX, RCX
	aCur, total, inner := R8, R9, R10
	aStride, wStride, dStride := R11, R12, R13
	wCur, tmp, pre, post := RAX, RBX, R14, R15
	Load(Param("call"), call)
	at := func(off int) Mem { return Mem{Base: call, Disp: off} }
	MOVQ(at(gA), a)
	MOVQ(at(gDst), dst)
	MOVQ(at(gAStride), aStride)
	SUBQ(imm(64), aStride)
	MOVQ(at(gWStride), wStride)
	MOVQ(at(gDStride), dStride)
	MOVQ(at(gPre), pre)
	MOVQ(at(gPost), post)
	MOVQ(at(gW), w)

	n := blocks * s.halves // registers across the channels of a pixel
	acc := func(p, j int) Register { return s.vec[p*n+j] }
	free := s.vec[pixels*n:]
	// dstMem addresses register j of pixel p relative to base.
	mem := func(base Register, stride Register, p, j int) Mem {
		m := Mem{Base: base, Disp: p*64 + (j%s.halves)*s.bytes}
		if j >= s.halves {
			m.Index, m.Scale = stride, 1
		}
		return m
	}

	// The weights of the next output blocks follow these. They come from L3, so they are asked for while this call computes.
	LEAQ(Mem{Base: w, Index: wStride, Scale: uint8(blocks)}, tmp)
	MOVQ(tmp, at(gNext))

	Label("tile")
	// Accumulators start at the bias, or at zero.
	MOVQ(at(gBias), tmp)
	TESTQ(tmp, tmp)
	JZ(LabelRef("nobias"))
	for j := range n {
		VMOVUPS(Mem{Base: tmp, Disp: j * s.bytes}, acc(0, j))
	}
	for p := 1; p < pixels; p++ {
		for j := range n {
			VMOVAPS(acc(0, j), acc(p, j))
		}
	}
	JMP(LabelRef("start"))
	Label("nobias")
	for p := range pixels {
		for j := range n {
			s.zero(acc(p, j))
		}
	}
	Label("start")
	TESTQ(pre, pre)
	JZ(LabelRef("nopre"))
	for p := range pixels {
		for j := range n {
			VADDPS(mem(pre, dStride, p, j), acc(p, j), acc(p, j))
		}
	}
	ADDQ(imm(pixels*64), pre)
	Label("nopre")

	MOVQ(a, aCur)
	MOVQ(w, wCur)
	// The pixels of the next channel block, and of the next tile, lie in L2 and are all needed at once: without asking for them
	// a fifth of the time goes by waiting.
	for p := range pixels {
		PREFETCHT0(Mem{Base: aCur, Index: aStride, Scale: 1, Disp: 64 + p*64})
		PREFETCHT0(Mem{Base: aCur, Disp: (pixels + p) * 64})
	}
	MOVQ(at(gK4), total)
	MOVQ(U32(4), inner)
	next := tmp
	MOVQ(at(gNext), next)
	Label("k4")
	PREFETCHT1(Mem{Base: next})
	PREFETCHT1(Mem{Base: next, Disp: 64})
	ADDQ(U32(128), next)
	for kk := range 4 {
		ws := free[:n]
		bc := free[n:]
		if s.bytes == 64 && len(free) >= 2*n+2 {
			// Alternate the weight registers so that loads of the next step do not wait for this one.
			if kk%2 == 1 {
				ws = free[n : 2*n]
			}
			bc = free[2*n:]
		}
		for j := range n {
			m := Mem{Base: wCur, Disp: kk*64 + (j%s.halves)*s.bytes}
			if j >= s.halves {
				m.Index, m.Scale = wStride, 1
			}
			VMOVUPS(m, ws[j])
		}
		for p := range pixels {
			x := Mem{Base: aCur, Disp: p*64 + kk*4}
			if s.bytes == 64 && n == 1 {
				VFMADD231PS_BCST(x, ws[0], acc(p, 0))
				continue
			}
			b := bc[p%len(bc)]
			VBROADCASTSS(x, b)
			for j := range n {
				VFMADD231PS(ws[j], b, acc(p, j))
			}
		}
	}
	ADDQ(U32(256), wCur)
	ADDQ(imm(16), aCur)
	DECQ(inner)
	JNZ(LabelRef("same"))
	ADDQ(aStride, aCur)
	MOVQ(U32(4), inner)
	for p := range pixels {
		PREFETCHT0(Mem{Base: aCur, Index: aStride, Scale: 1, Disp: 64 + p*64})
	}
	Label("same")
	DECQ(total)
	JNZ(LabelRef("k4"))
	MOVQ(next, at(gNext))

	CMPQ(at(gClamp), imm(0))
	JE(LabelRef("noclamp"))
	lo, hi := free[0], free[1]
	VBROADCASTSS(at(gLoHi), lo)
	VBROADCASTSS(at(gLoHi+4), hi)
	for p := range pixels {
		for j := range n {
			VMAXPS(lo, acc(p, j), acc(p, j))
			VMINPS(hi, acc(p, j), acc(p, j))
		}
	}
	Label("noclamp")
	TESTQ(post, post)
	JZ(LabelRef("nopost"))
	for p := range pixels {
		for j := range n {
			VADDPS(mem(post, dStride, p, j), acc(p, j), acc(p, j))
		}
	}
	ADDQ(imm(pixels*64), post)
	Label("nopost")
	for p := range pixels {
		for j := range n {
			VMOVUPS(acc(p, j), mem(dst, dStride, p, j))
		}
	}
	ADDQ(imm(pixels*64), a)
	ADDQ(imm(pixels*64), dst)
	DECQ(at(gTiles))
	JNZ(LabelRef("tile"))
	VZEROUPPER()
	RET()
}

// Offsets of the fields of winogradCall.
const (
	wSrc = iota * 8
	wDst
	wRow  // bytes between rows of the picture side
	wPos  // bytes between the 36 positions of the transformed side
	wTile // tiles, at most 8
	wScratch
	wBias
	wPre
	wPost
	wClamp
	wLoHi
)

// inputTransform6 emits B^T d for six values: registers d[0..5] to o[0..5] with three temporaries. Lavin and Gray 2015.
func inputTransform6(d, o [6]Register, t [3]Register, c2, c4, c5 Register) {
	// o0 = 4 d0 - 5 d2 + d4
	VMOVAPS(d[4], o[0])
	VFMADD231PS(d[0], c4, o[0])
	VFNMADD231PS(d[2], c5, o[0])
	// o5 = 4 d1 - 5 d3 + d5
	VMOVAPS(d[5], o[5])
	VFMADD231PS(d[1], c4, o[5])
	VFNMADD231PS(d[3], c5, o[5])
	// a = d4 - 4 d2, b = d3 - 4 d1
	a, b := t[0], t[1]
	VMOVAPS(d[4], a)
	VFNMADD231PS(d[2], c4, a)
	VMOVAPS(d[3], b)
	VFNMADD231PS(d[1], c4, b)
	VADDPS(b, a, o[1])
	VSUBPS(b, a, o[2])
	// c = d4 - d2, e = d3 - d1
	c, e := t[0], t[1]
	VSUBPS(d[2], d[4], c)
	VSUBPS(d[1], d[3], e)
	VMOVAPS(c, o[3])
	VMOVAPS(c, o[4])
	VFMADD231PS(e, c2, o[3])
	VFNMADD231PS(e, c2, o[4])
}

// winogradInput emits V = B^T d B for a run of tiles: first the columns of the whole run, shared by neighbours, then the rows.
func winogradInput(s isa) {
	name := "winogradInput" + s.name
	TEXT(name, NOSPLIT, "func(call *byte)")
	Doc(name + " transforms call.tiles neighbouring 6x6 patches, 4 pixels apart; see winogradInputGeneric.")
	Pragma("noescape")
	call, src, dst, row, pos, n, scratch := RDI, RSI, RDX, RCX, R8, R9, R10
	p, q, i, row3, pos3, pos5 := R11, R12, R13, RAX, RBX, R14
	Load(Param("call"), call)
	at := func(off int) Mem { return Mem{Base: call, Disp: off} }
	MOVQ(at(wSrc), src)
	MOVQ(at(wDst), dst)
	MOVQ(at(wRow), row)
	MOVQ(at(wPos), pos)
	MOVQ(at(wScratch), scratch)
	LEAQ(Mem{Base: row, Index: row, Scale: 2}, row3)
	LEAQ(Mem{Base: pos, Index: pos, Scale: 2}, pos3)
	LEAQ(Mem{Base: pos, Index: pos, Scale: 4}, pos5)
	d := [6]Register{s.vec[0], s.vec[1], s.vec[2], s.vec[3], s.vec[4], s.vec[5]}
	// The AVX2 file has 16 registers: six in, six out would leave one temporary too few with three constants,
	// so outputs 1..4 are formed in place of inputs that are dead by then.
	c2, c4, c5 := s.vec[13], s.vec[14], s.vec[15]
	o := [6]Register{s.vec[6], s.vec[7], s.vec[8], s.vec[9], s.vec[10], s.vec[11]}
	t := [3]Register{s.vec[12], s.vec[5], s.vec[0]} // d5 and d0 are consumed before the temporaries are written
	constant := func(v uint32, r Register) {
		MOVL(U32(v), EAX)
		x := X0
		MOVQ(RAX, x)
		VBROADCASTSS(x, r)
	}
	MOVQ(row3, R15)
	constant(0x40000000, c2)
	constant(0x40800000, c4)
	constant(0x40a00000, c5)
	MOVQ(R15, row3)

	// Columns: 4*tiles+2 of them, each six pixels down.
	MOVQ(at(wTile), n)
	LEAQ(Mem{Base: n, Index: n, Scale: 1}, i)
	ADDQ(i, i)
	ADDQ(imm(2), i)
	MOVQ(src, p)
	MOVQ(scratch, q)
	Label("column")
	for h := range s.halves {
		off := h * s.bytes
		VMOVUPS(Mem{Base: p, Disp: off}, d[0])
		VMOVUPS(Mem{Base: p, Index: row, Scale: 1, Disp: off}, d[1])
		VMOVUPS(Mem{Base: p, Index: row, Scale: 2, Disp: off}, d[2])
		VMOVUPS(Mem{Base: p, Index: row3, Scale: 1, Disp: off}, d[3])
		VMOVUPS(Mem{Base: p, Index: row, Scale: 4, Disp: off}, d[4])
		LEAQ(Mem{Base: p, Index: row, Scale: 4}, R15)
		VMOVUPS(Mem{Base: R15, Index: row, Scale: 1, Disp: off}, d[5])
		inputTransform6(d, o, t, c2, c4, c5)
		for k := range 6 {
			VMOVUPS(o[k], Mem{Base: q, Disp: k*64 + off})
		}
	}
	ADDQ(imm(64), p)
	ADDQ(imm(6*64), q)
	DECQ(i)
	JNZ(LabelRef("column"))

	// Rows: tile by tile, six columns of six.
	MOVQ(scratch, q)
	Label("tile")
	MOVQ(dst, p)
	for k := range 6 {
		for h := range s.halves {
			off := h * s.bytes
			for j := range 6 {
				VMOVUPS(Mem{Base: q, Disp: j*6*64 + k*64 + off}, d[j])
			}
			inputTransform6(d, o, t, c2, c4, c5)
			VMOVUPS(o[0], Mem{Base: p, Disp: off})
			VMOVUPS(o[1], Mem{Base: p, Index: pos, Scale: 1, Disp: off})
			VMOVUPS(o[2], Mem{Base: p, Index: pos, Scale: 2, Disp: off})
			VMOVUPS(o[3], Mem{Base: p, Index: pos3, Scale: 1, Disp: off})
			VMOVUPS(o[4], Mem{Base: p, Index: pos, Scale: 4, Disp: off})
			VMOVUPS(o[5], Mem{Base: p, Index: pos5, Scale: 1, Disp: off})
		}
		LEAQ(Mem{Base: p, Index: pos3, Scale: 2}, p)
	}
	ADDQ(imm(64), dst)
	ADDQ(imm(4*6*64), q)
	DECQ(n)
	JNZ(LabelRef("tile"))
	VZEROUPPER()
	RET()
}

// outputTransform6 emits A^T m for six values in m to four in o, with two temporaries; m[1] and m[3] are clobbered.
func outputTransform6(m [6]Register, o [4]Register, c2, c4, c8 Register) {
	a, b, c, d := o[0], o[1], o[2], o[3]
	VADDPS(m[2], m[1], a) // a = m1+m2
	VSUBPS(m[2], m[1], b) // b = m1-m2
	VADDPS(m[4], m[3], m[1])
	VSUBPS(m[4], m[3], m[3])
	// m1 = m3+m4 = s, m3 = m3-m4 = t
	VMOVAPS(a, c)
	VFMADD231PS(m[1], c4, c) // o2 = a + 4 s
	VADDPS(m[5], b, d)
	VFMADD231PS(m[3], c8, d) // o3 = b + 8 t + m5
	VADDPS(m[0], a, a)
	VADDPS(m[1], a, a)       // o0
	VFMADD231PS(m[3], c2, b) // o1
}

func winogradOutput(s isa) {
	name := "winogradOutput" + s.name
	TEXT(name, NOSPLIT, "func(call *byte)")
	Doc(name + " transforms call.tiles neighbouring tiles back to 4x4 pixels each, with the epilogue; see winogradOutputGeneric.")
	Pragma("noescape")
	call, src, dst, row, pos, n, scratch := RDI, RSI, RDX, RCX, R8, R9, R10
	p, pos3, pos5, pre, post, tmp := R11, RBX, R14, R12, R13, R15
	Load(Param("call"), call)
	at := func(off int) Mem { return Mem{Base: call, Disp: off} }
	MOVQ(at(wSrc), src)
	MOVQ(at(wDst), dst)
	MOVQ(at(wRow), row)
	MOVQ(at(wPos), pos)
	MOVQ(at(wScratch), scratch)
	MOVQ(at(wTile), n)
	MOVQ(at(wPre), pre)
	MOVQ(at(wPost), post)
	LEAQ(Mem{Base: pos, Index: pos, Scale: 2}, pos3)
	LEAQ(Mem{Base: pos, Index: pos, Scale: 4}, pos5)
	m := [6]Register{s.vec[0], s.vec[1], s.vec[2], s.vec[3], s.vec[4], s.vec[5]}
	o := [4]Register{s.vec[6], s.vec[7], s.vec[8], s.vec[9]}
	lo, hi, bias := s.vec[10], s.vec[11], s.vec[12]
	c2, c4, c8 := s.vec[13], s.vec[14], s.vec[15]
	constant := func(v uint32, r Register) {
		MOVL(U32(v), EAX)
		MOVQ(RAX, X0)
		VBROADCASTSS(X0, r)
	}
	constant(0x40000000, c2)
	constant(0x40800000, c4)
	constant(0x41000000, c8)
	VBROADCASTSS(at(wLoHi), lo)
	VBROADCASTSS(at(wLoHi+4), hi)

	Label("tile")
	for h := range s.halves {
		off := h * s.bytes
		// Down the columns: position (i,j) lies at (6i+j)*pos.
		MOVQ(src, p)
		for j := range 6 {
			// rows 0..5 of column j: p + 6i*pos
			MOVQ(p, tmp)
			for i := range 6 {
				VMOVUPS(Mem{Base: tmp, Disp: off}, m[i])
				if i < 5 {
					LEAQ(Mem{Base: tmp, Index: pos3, Scale: 2}, tmp)
				}
			}
			outputTransform6(m, o, c2, c4, c8)
			for i := range 4 {
				VMOVUPS(o[i], Mem{Base: scratch, Disp: (i*6+j)*64 + off})
			}
			if j < 5 {
				ADDQ(pos, p)
			}
		}
		s.zero(bias)
		MOVQ(at(wBias), tmp)
		TESTQ(tmp, tmp)
		lbl := fmt.Sprintf("nobias%d", h)
		JZ(LabelRef(lbl))
		VMOVUPS(Mem{Base: tmp, Disp: off}, bias)
		Label(lbl)
		// Across the rows, then the epilogue: bias, pre-add, clamp, post-add. tmp holds the offset of the row.
		XORQ(tmp, tmp)
		for i := range 4 {
			for j := range 6 {
				VMOVUPS(Mem{Base: scratch, Disp: (i*6+j)*64 + off}, m[j])
			}
			outputTransform6(m, o, c2, c4, c8)
			for j := range 4 {
				VADDPS(bias, o[j], o[j])
			}
			skip := fmt.Sprintf("nopre%d_%d", h, i)
			TESTQ(pre, pre)
			JZ(LabelRef(skip))
			LEAQ(Mem{Base: pre, Index: tmp, Scale: 1}, p)
			for j := range 4 {
				VADDPS(Mem{Base: p, Disp: j*64 + off}, o[j], o[j])
			}
			Label(skip)
			skip = fmt.Sprintf("noclamp%d_%d", h, i)
			CMPQ(at(wClamp), imm(0))
			JE(LabelRef(skip))
			for j := range 4 {
				VMAXPS(lo, o[j], o[j])
				VMINPS(hi, o[j], o[j])
			}
			Label(skip)
			skip = fmt.Sprintf("nopost%d_%d", h, i)
			TESTQ(post, post)
			JZ(LabelRef(skip))
			LEAQ(Mem{Base: post, Index: tmp, Scale: 1}, p)
			for j := range 4 {
				VADDPS(Mem{Base: p, Disp: j*64 + off}, o[j], o[j])
			}
			Label(skip)
			LEAQ(Mem{Base: dst, Index: tmp, Scale: 1}, p)
			for j := range 4 {
				VMOVUPS(o[j], Mem{Base: p, Disp: j*64 + off})
			}
			if i < 3 {
				ADDQ(row, tmp)
			}
		}
	}
	ADDQ(imm(64), src)
	ADDQ(imm(256), dst)
	TESTQ(pre, pre)
	JZ(LabelRef("pre0"))
	ADDQ(imm(256), pre)
	Label("pre0")
	TESTQ(post, post)
	JZ(LabelRef("post0"))
	ADDQ(imm(256), post)
	Label("post0")
	DECQ(n)
	JNZ(LabelRef("tile"))
	VZEROUPPER()
	RET()
}

// Offsets of the fields of tapsCall.
const (
	tDst = iota * 8
	tSrc
	tOffsets
	tWeights
	tTaps
	tPixels
	tStep
	tBias
	tClamp
	tLoHi
)

// taps emits, for each pixel, a reduction over taps read at byte offsets from the pixel: the maximum, or the weighted sum of a
// depthwise convolution. Four pixels are in flight.
func taps(s isa, depthwise bool) {
	name := "maxTaps" + s.name
	if depthwise {
		name = "depthwiseTaps" + s.name
	}
	TEXT(name, NOSPLIT, "func(call *byte)")
	Doc(name + " reduces call.taps taps for each of call.pixels pixels; see the generic twin.")
	Pragma("noescape")
	call, dst, src, offs, ws, n, step := RDI, RSI, RDX, RCX, R8, R9, R10
	o, wp, k, p, step3, tmp := R11, R12, R13, RAX, RBX, R14
	Load(Param("call"), call)
	at := func(off int) Mem { return Mem{Base: call, Disp: off} }
	MOVQ(at(tDst), dst)
	MOVQ(at(tSrc), src)
	MOVQ(at(tOffsets), offs)
	MOVQ(at(tWeights), ws)
	MOVQ(at(tPixels), n)
	MOVQ(at(tStep), step)
	LEAQ(Mem{Base: step, Index: step, Scale: 2}, step3)
	wreg := s.vec[8:10]
	bias := s.vec[10:12]
	lo, hi := s.vec[12], s.vec[13]
	VBROADCASTSS(at(tLoHi), lo)
	VBROADCASTSS(at(tLoHi+4), hi)
	for h := range s.halves {
		s.zero(bias[h])
	}
	MOVQ(at(tBias), tmp)
	TESTQ(tmp, tmp)
	JZ(LabelRef("nobias"))
	for h := range s.halves {
		VMOVUPS(Mem{Base: tmp, Disp: h * s.bytes}, bias[h])
	}
	Label("nobias")
	body := func(pixels int, label string) {
		acc := func(px, h int) Register { return s.vec[px*s.halves+h] }
		addr := func(px, h int) Mem {
			m := Mem{Base: p, Disp: h * s.bytes}
			switch px {
			case 1:
				m.Index, m.Scale = step, 1
			case 2:
				m.Index, m.Scale = step, 2
			case 3:
				m.Index, m.Scale = step3, 1
			}
			return m
		}
		MOVQ(offs, o)
		MOVQ(at(tTaps), k)
		if depthwise {
			MOVQ(ws, wp)
			for px := range pixels {
				for h := range s.halves {
					VMOVAPS(bias[h], acc(px, h))
				}
			}
		} else {
			MOVQ(Mem{Base: o}, p)
			ADDQ(src, p)
			for px := range pixels {
				for h := range s.halves {
					VMOVUPS(addr(px, h), acc(px, h))
				}
			}
			ADDQ(imm(8), o)
			DECQ(k)
			JZ(LabelRef(label + "done"))
		}
		Label(label + "tap")
		MOVQ(Mem{Base: o}, p)
		ADDQ(src, p)
		if depthwise {
			for h := range s.halves {
				VMOVUPS(Mem{Base: wp, Disp: h * s.bytes}, wreg[h])
			}
			ADDQ(imm(64), wp)
		}
		for px := range pixels {
			for h := range s.halves {
				if depthwise {
					VFMADD231PS(addr(px, h), wreg[h], acc(px, h))
				} else {
					VMAXPS(addr(px, h), acc(px, h), acc(px, h))
				}
			}
		}
		ADDQ(imm(8), o)
		DECQ(k)
		JNZ(LabelRef(label + "tap"))
		Label(label + "done")
		if depthwise {
			CMPQ(at(tClamp), imm(0))
			JE(LabelRef(label + "noclamp"))
			for px := range pixels {
				for h := range s.halves {
					VMAXPS(lo, acc(px, h), acc(px, h))
					VMINPS(hi, acc(px, h), acc(px, h))
				}
			}
			Label(label + "noclamp")
		}
		for px := range pixels {
			for h := range s.halves {
				VMOVUPS(acc(px, h), Mem{Base: dst, Disp: px*64 + h*s.bytes})
			}
		}
	}
	Label("four")
	CMPQ(n, imm(4))
	JL(LabelRef("one"))
	body(4, "a")
	ADDQ(imm(256), dst)
	LEAQ(Mem{Base: src, Index: step, Scale: 4}, src)
	SUBQ(imm(4), n)
	JMP(LabelRef("four"))
	Label("one")
	TESTQ(n, n)
	JZ(LabelRef("end"))
	body(1, "b")
	ADDQ(imm(64), dst)
	ADDQ(step, src)
	DECQ(n)
	JMP(LabelRef("one"))
	Label("end")
	VZEROUPPER()
	RET()
}

// Offsets of the fields of lerpCall.
const (
	lDst = iota * 8
	lA
	lB
	lOff0
	lOff1
	lWeights
	lN
	lWeight // float32
)

// lerp emits dst = a + (b-a)*w over contiguous blocks.
func lerp(s isa) {
	name := "lerp" + s.name
	TEXT(name, NOSPLIT, "func(call *byte)")
	Doc(name + " blends call.n blocks of two rows; see lerpGeneric.")
	Pragma("noescape")
	call, dst, a, b, n := RDI, RSI, RDX, RCX, R8
	Load(Param("call"), call)
	at := func(off int) Mem { return Mem{Base: call, Disp: off} }
	MOVQ(at(lDst), dst)
	MOVQ(at(lA), a)
	MOVQ(at(lB), b)
	MOVQ(at(lN), n)
	w := s.vec[15]
	VBROADCASTSS(at(lWeight), w)
	Label("loop")
	for h := range s.halves {
		VMOVUPS(Mem{Base: a, Disp: h * s.bytes}, s.vec[0])
		VMOVUPS(Mem{Base: b, Disp: h * s.bytes}, s.vec[1])
		VSUBPS(s.vec[0], s.vec[1], s.vec[1])
		VFMADD231PS(s.vec[1], w, s.vec[0])
		VMOVUPS(s.vec[0], Mem{Base: dst, Disp: h * s.bytes})
	}
	ADDQ(imm(64), a)
	ADDQ(imm(64), b)
	ADDQ(imm(64), dst)
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// gatherLerp emits dst[x] = row[off0[x]] + (row[off1[x]]-row[off0[x]])*w[x], offsets in bytes.
func gatherLerp(s isa) {
	name := "gatherLerp" + s.name
	TEXT(name, NOSPLIT, "func(call *byte)")
	Doc(name + " resamples call.n blocks along a row; see gatherLerpGeneric.")
	Pragma("noescape")
	call, dst, a, o0, o1, wp, n, t0, t1 := RDI, RSI, RDX, RCX, R8, R9, R10, RAX, RBX
	Load(Param("call"), call)
	at := func(off int) Mem { return Mem{Base: call, Disp: off} }
	MOVQ(at(lDst), dst)
	MOVQ(at(lA), a)
	MOVQ(at(lOff0), o0)
	MOVQ(at(lOff1), o1)
	MOVQ(at(lWeights), wp)
	MOVQ(at(lN), n)
	w := s.vec[15]
	Label("loop")
	MOVQ(Mem{Base: o0}, t0)
	MOVQ(Mem{Base: o1}, t1)
	VBROADCASTSS(Mem{Base: wp}, w)
	for h := range s.halves {
		VMOVUPS(Mem{Base: a, Index: t0, Scale: 1, Disp: h * s.bytes}, s.vec[0])
		VMOVUPS(Mem{Base: a, Index: t1, Scale: 1, Disp: h * s.bytes}, s.vec[1])
		VSUBPS(s.vec[0], s.vec[1], s.vec[1])
		VFMADD231PS(s.vec[1], w, s.vec[0])
		VMOVUPS(s.vec[0], Mem{Base: dst, Disp: h * s.bytes})
	}
	ADDQ(imm(8), o0)
	ADDQ(imm(8), o1)
	ADDQ(imm(4), wp)
	ADDQ(imm(64), dst)
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// Offsets of the fields of arithCall.
const (
	aDst = iota * 8
	aA
	aB
	aN
	aStep
)

// arithmetic emits dst = a op b over n blocks, where b advances by step bytes a block: 64, or 0 for one block against all.
func arithmetic(s isa, op string) {
	name := op + s.name
	TEXT(name, NOSPLIT, "func(call *byte)")
	Doc(name + " computes call.n blocks element by element; see the generic twin.")
	Pragma("noescape")
	call, dst, a, b, n, step := RDI, RSI, RDX, RCX, R8, R9
	Load(Param("call"), call)
	at := func(off int) Mem { return Mem{Base: call, Disp: off} }
	MOVQ(at(aDst), dst)
	MOVQ(at(aA), a)
	MOVQ(at(aB), b)
	MOVQ(at(aN), n)
	MOVQ(at(aStep), step)
	zero := s.vec[15]
	s.zero(zero)
	Label("loop")
	for h := range s.halves {
		x, y := s.vec[2*h], s.vec[2*h+1]
		VMOVUPS(Mem{Base: a, Disp: h * s.bytes}, x)
		m := Mem{Base: b, Disp: h * s.bytes}
		switch op {
		case "add":
			VADDPS(m, x, x)
		case "sub":
			VSUBPS(m, x, x)
		case "mul":
			VMULPS(m, x, x)
		case "max":
			VMAXPS(m, x, x)
		case "min":
			VMINPS(m, x, x)
		case "prelu": // max(x,0) + min(x,0)*b
			VMINPS(zero, x, y)
			VMAXPS(zero, x, x)
			VMULPS(m, y, y)
			VADDPS(y, x, x)
		}
		VMOVUPS(x, Mem{Base: dst, Disp: h * s.bytes})
	}
	ADDQ(imm(64), a)
	ADDQ(step, b)
	ADDQ(imm(64), dst)
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

func main() {
	ConstraintExpr("!noasm")
	for _, s := range []isa{avx512(), avx2()} {
		if s.bytes == 64 {
			for _, p := range []int{12, 6, 3, 1} {
				gemm(s, p, 2)
			}
			for _, p := range []int{24, 12, 6, 3, 1} {
				gemm(s, p, 1)
			}
		} else {
			for _, p := range []int{6, 3, 1} {
				gemm(s, p, 1)
			}
		}
		winogradInput(s)
		winogradOutput(s)
		taps(s, false)
		taps(s, true)
		lerp(s)
		gatherLerp(s)
		for _, op := range []string{"add", "sub", "mul", "max", "min", "prelu"} {
			arithmetic(s, op)
		}
	}
	Generate()
}
