// Command asm generates the amd64 kernels of package codec.
//
// Run it with `make generate`; the output is committed. All kernels need AVX2 and work on whole numbers, so that they
// give what their plain Go twins give, bit for bit.
package main

import (
	"encoding/binary"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// kernel begins a function with the given parameters.
func kernel(name, params, doc string) {
	TEXT(name, NOSPLIT, "func("+params+")")
	Doc(name + " " + doc)
	Pragma("noescape")
}

func param(name string) GPVirtual {
	r := GP64()
	Load(Param(name), r)
	return r
}

// bytes32 is a constant of 32 bytes.
func bytes32(name string, b [32]byte) Mem {
	m := GLOBL(name, RODATA|NOPTR)
	for i := 0; i < 32; i += 8 {
		DATA(i, U64(binary.LittleEndian.Uint64(b[i:])))
	}
	return m
}

// words is a constant of 16 words that repeat w.
func words(name string, w ...int) Mem {
	var b [32]byte
	for i := range 16 {
		binary.LittleEndian.PutUint16(b[2*i:], uint16(w[i%len(w)]))
	}
	return bytes32(name, b)
}

// dwords is a constant of 8 double words that are all v.
func dwords(name string, v int) Mem { return words(name, v&0xffff, v>>16) }

// Coefficients of 22 fractional bits are cut in two: the upper part, and the lowest coarse bits. Words of the picture are
// multiplied by both with VPMADDWD, which also adds the products of neighbours.
const (
	precision = 22
	coarse    = 11
)

// finish adds the sums of both parts up in the first.
func finish(hi, lo VecVirtual) {
	VPSLLD(U8(coarse), hi, hi)
	VPADDD(lo, hi, hi)
}

const acrossParams = "dst, src *[4]*byte, first *int, coef *uint16, n, steps int"

// acrossRGBA resamples four rows of pixels of four bytes, four taps a step.
func acrossRGBA(half Mem) {
	var mask [32]byte
	for i := range mask {
		lane, at := i/16*8, i%16
		mask[i] = 0x80 // zero
		if at%2 == 0 {
			mask[i] = byte(lane + at/4 + at/2%2*4)
		}
	}
	pairs := bytes32("pairsOfPixels", mask)

	kernel("acrossRGBA", acrossParams, "resamples four rows of RGBA pixels, n of them each; see rgbRows.")
	var src [4]GPVirtual
	rows := param("src")
	for i := range 4 {
		src[i] = GP64()
		MOVQ(Mem{Base: rows, Disp: 8 * i}, src[i])
	}
	first, n, coef, dst := param("first"), param("n"), param("coef"), param("dst")
	row, at, x, steps := GP64(), GP64(), GP64(), GP64()
	XORQ(x, x)
	shuffle := YMM()
	VMOVDQU(pairs, shuffle)

	Label("pixel")
	MOVQ(Mem{Base: first, Index: x, Scale: 8}, at)
	Load(Param("steps"), steps)
	var hi, lo [4]VecVirtual
	for i := range 4 {
		hi[i], lo[i] = YMM(), YMM()
		VPXOR(hi[i], hi[i], hi[i])
		VPXOR(lo[i], lo[i], lo[i])
	}
	ch, cl := YMM(), YMM()
	Label("step")
	VMOVDQU(Mem{Base: coef}, ch)
	VMOVDQU(Mem{Base: coef, Disp: 32}, cl)
	for i := range 4 {
		p, q := YMM(), YMM()
		VBROADCASTI128(Mem{Base: src[i], Index: at, Scale: 1}, p)
		VPSHUFB(shuffle, p, p)
		VPMADDWD(ch, p, q)
		VPADDD(q, hi[i], hi[i])
		VPMADDWD(cl, p, p)
		VPADDD(p, lo[i], lo[i])
	}
	ADDQ(Imm(64), coef)
	ADDQ(Imm(16), at)
	DECQ(steps)
	JNZ(LabelRef("step"))

	var sum [4]VecVirtual
	for i := range 4 {
		finish(hi[i], lo[i])
		upper := XMM()
		VEXTRACTI128(Imm(1), hi[i], upper)
		sum[i] = XMM()
		VPADDD(hi[i].AsX(), upper, sum[i])
		VPADDD(half, sum[i], sum[i])
		VPSRAD(Imm(precision), sum[i], sum[i])
	}
	VPACKSSDW(sum[1], sum[0], sum[0])
	VPACKSSDW(sum[3], sum[2], sum[2])
	VPACKUSWB(sum[2], sum[0], sum[0])
	for i := range 4 {
		MOVQ(Mem{Base: dst, Disp: 8 * i}, row)
		VPEXTRD(Imm(uint64(i)), sum[0], Mem{Base: row, Index: x, Scale: 4})
	}
	INCQ(x)
	CMPQ(x, n)
	JL(LabelRef("pixel"))
	VZEROUPPER()
	RET()
}

// acrossGray resamples four rows of single bytes, eight taps a step.
func acrossGray(half Mem) {
	kernel("acrossGray", acrossParams, "resamples four rows of bytes, n of them each; see grayRows.")
	var src [4]GPVirtual
	rows := param("src")
	for i := range 4 {
		src[i] = GP64()
		MOVQ(Mem{Base: rows, Disp: 8 * i}, src[i])
	}
	first, n, coef, dst := param("first"), param("n"), param("coef"), param("dst")
	row, at, x, steps := GP64(), GP64(), GP64(), GP64()
	XORQ(x, x)

	Label("pixel")
	MOVQ(Mem{Base: first, Index: x, Scale: 8}, at)
	Load(Param("steps"), steps)
	var hi, lo [4]VecVirtual
	for i := range 4 {
		hi[i], lo[i] = XMM(), XMM()
		VPXOR(hi[i], hi[i], hi[i])
		VPXOR(lo[i], lo[i], lo[i])
	}
	ch, cl := XMM(), XMM()
	Label("step")
	VMOVDQU(Mem{Base: coef}, ch)
	VMOVDQU(Mem{Base: coef, Disp: 16}, cl)
	for i := range 4 {
		p, q := XMM(), XMM()
		VPMOVZXBW(Mem{Base: src[i], Index: at, Scale: 1}, p)
		VPMADDWD(ch, p, q)
		VPADDD(q, hi[i], hi[i])
		VPMADDWD(cl, p, p)
		VPADDD(p, lo[i], lo[i])
	}
	ADDQ(Imm(32), coef)
	ADDQ(Imm(8), at)
	DECQ(steps)
	JNZ(LabelRef("step"))

	for i := range 4 {
		finish(hi[i], lo[i])
	}
	VPHADDD(hi[1], hi[0], hi[0])
	VPHADDD(hi[3], hi[2], hi[2])
	VPHADDD(hi[2], hi[0], hi[0])
	VPADDD(half, hi[0], hi[0])
	VPSRAD(Imm(precision), hi[0], hi[0])
	VPACKSSDW(hi[0], hi[0], hi[0])
	VPACKUSWB(hi[0], hi[0], hi[0])
	for i := range 4 {
		MOVQ(Mem{Base: dst, Disp: 8 * i}, row)
		VPEXTRB(Imm(uint64(i)), hi[0], Mem{Base: row, Index: x, Scale: 1})
	}
	INCQ(x)
	CMPQ(x, n)
	JL(LabelRef("pixel"))
	VZEROUPPER()
	RET()
}

// down sums rows, two taps a step, 32 bytes of each at a time.
func down(half Mem) {
	kernel("downRows", "dst, src *byte, stride int, coef *uint32, pairs, blocks int",
		"sets a row to the weighted sum of rows that lie stride apart; see columns.")
	dst, src, stride, coef, n := param("dst"), param("src"), param("stride"), param("coef"), param("blocks")
	p, c, pairs := GP64(), GP64(), GP64()
	zero := YMM()
	VPXOR(zero, zero, zero)

	Label("block")
	MOVQ(src, p)
	MOVQ(coef, c)
	Load(Param("pairs"), pairs)
	var hi, lo [4]VecVirtual
	for i := range 4 {
		hi[i], lo[i] = YMM(), YMM()
		VPXOR(hi[i], hi[i], hi[i])
		VPXOR(lo[i], lo[i], lo[i])
	}
	Label("pair")
	a, b, ch, cl, q := YMM(), YMM(), YMM(), YMM(), YMM()
	VMOVDQU(Mem{Base: p}, a)
	VPUNPCKLBW(Mem{Base: p, Index: stride, Scale: 1}, a, b)
	VPUNPCKHBW(Mem{Base: p, Index: stride, Scale: 1}, a, a)
	VPBROADCASTD(Mem{Base: c}, ch)
	VPBROADCASTD(Mem{Base: c, Disp: 4}, cl)
	for i := range 4 {
		from := b
		if i >= 2 {
			from = a
		}
		w := from
		if i%2 == 0 {
			w = YMM()
			VPUNPCKLBW(zero, from, w)
		} else {
			VPUNPCKHBW(zero, from, w)
		}
		VPMADDWD(ch, w, q)
		VPADDD(q, hi[i], hi[i])
		VPMADDWD(cl, w, w)
		VPADDD(w, lo[i], lo[i])
	}
	LEAQ(Mem{Base: p, Index: stride, Scale: 2}, p)
	ADDQ(Imm(8), c)
	DECQ(pairs)
	JNZ(LabelRef("pair"))
	for i := range 4 {
		finish(hi[i], lo[i])
		VPADDD(half, hi[i], hi[i])
		VPSRAD(Imm(precision), hi[i], hi[i])
	}
	VPACKSSDW(hi[1], hi[0], hi[0])
	VPACKSSDW(hi[3], hi[2], hi[2])
	VPACKUSWB(hi[2], hi[0], hi[0])
	VMOVDQU(hi[0], Mem{Base: dst})
	ADDQ(Imm(32), src)
	ADDQ(Imm(32), dst)
	DECQ(n)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}

// ycc converts 16 pixels at a time from full-range BT.601 to RGBA. The factors above one are what they exceed a whole
// number by; the products are rounded by halving them after one has been added.
func ycc() {
	crR, cbB := words("crToRed", 26345), words("cbToBlue", -14942)
	cG := words("chromaToGreen", -22554, 18734)
	bias, ones := words("chromaBias", 128), words("ones", 1)
	half, opaque := dwords("halfOf16", 1<<15), words("opaque", 255)
	kernel("yccToRGBA", "dst, y, cb, cr *byte, blocks int", "converts whole blocks of 16 pixels; see yccRow.")
	dst, y, cb, cr, n := param("dst"), param("y"), param("cb"), param("cr"), param("blocks")
	Label("block")
	l, u, v, r, b := YMM(), YMM(), YMM(), YMM(), YMM()
	VPMOVZXBW(Mem{Base: y}, l)
	VPMOVZXBW(Mem{Base: cb}, u)
	VPMOVZXBW(Mem{Base: cr}, v)
	VPSUBW(bias, u, u)
	VPSUBW(bias, v, v)
	VPADDW(v, v, r)
	VPMULHW(crR, r, r)
	VPADDW(ones, r, r)
	VPSRAW(Imm(1), r, r)
	VPADDW(v, r, r)
	VPADDW(l, r, r)
	VPADDW(u, u, b)
	u2 := YMM()
	VMOVDQA(b, u2)
	VPMULHW(cbB, b, b)
	VPADDW(ones, b, b)
	VPSRAW(Imm(1), b, b)
	VPADDW(u2, b, b)
	VPADDW(l, b, b)
	g, h := YMM(), YMM()
	VPUNPCKLWD(v, u, g)
	VPUNPCKHWD(v, u, h)
	for _, x := range []VecVirtual{g, h} {
		VPMADDWD(cG, x, x)
		VPADDD(half, x, x)
		VPSRAD(Imm(16), x, x)
	}
	VPACKSSDW(h, g, g)
	VPSUBW(v, g, g)
	VPADDW(l, g, g)
	VPACKUSWB(b, r, r)
	VPACKUSWB(opaque, g, g)
	VPUNPCKLBW(g, r, l)
	VPUNPCKHBW(g, r, r)
	VPUNPCKLWD(r, l, u)
	VPUNPCKHWD(r, l, v)
	VMOVDQU(u.AsX(), Mem{Base: dst})
	VMOVDQU(v.AsX(), Mem{Base: dst, Disp: 16})
	VEXTRACTI128(Imm(1), u, Mem{Base: dst, Disp: 32})
	VEXTRACTI128(Imm(1), v, Mem{Base: dst, Disp: 48})
	ADDQ(Imm(64), dst)
	ADDQ(Imm(16), y)
	ADDQ(Imm(16), cb)
	ADDQ(Imm(16), cr)
	DECQ(n)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}

// chromaSums blends two rows of 16 samples at a time into words.
func chromaSums() {
	kernel("chromaSums", "dst *uint16, near, far *byte, blocks int", "adds three times near and once far up, 16 samples a block; see chromaRow.")
	dst, near, far, n := param("dst"), param("near"), param("far"), param("blocks")
	Label("block")
	a, b, c := YMM(), YMM(), YMM()
	VPMOVZXBW(Mem{Base: near}, a)
	VPMOVZXBW(Mem{Base: far}, b)
	VPADDW(a, a, c)
	VPADDW(a, c, c)
	VPADDW(b, c, c)
	VMOVDQU(c, Mem{Base: dst})
	ADDQ(Imm(32), dst)
	ADDQ(Imm(16), near)
	ADDQ(Imm(16), far)
	DECQ(n)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}

// chromaBlend doubles 16 sums at a time.
func chromaBlend() {
	kernel("chromaBlend", "dst *byte, sums *uint16, blocks int, even, odd uint16",
		"doubles a row of sums, 16 a block, before and after which lies one more; see chromaRow.")
	dst, src, n := param("dst"), param("sums"), param("blocks")
	even, odd := YMM(), YMM()
	for i, r := range []VecVirtual{even, odd} {
		m, err := Param([]string{"even", "odd"}[i]).Resolve()
		if err != nil {
			panic(err)
		}
		VPBROADCASTW(m.Addr, r)
	}
	Label("block")
	a, b, c := YMM(), YMM(), YMM()
	VMOVDQU(Mem{Base: src}, a)
	VPADDW(a, a, b)
	VPADDW(a, b, b)
	VPADDW(Mem{Base: src, Disp: 2}, b, c)
	VPADDW(Mem{Base: src, Disp: -2}, b, b)
	VPADDW(even, b, b)
	VPADDW(odd, c, c)
	VPSRLW(Imm(4), b, b)
	VPSRLW(Imm(4), c, c)
	VPSLLW(Imm(8), c, c)
	VPOR(c, b, b)
	VMOVDQU(b, Mem{Base: dst})
	ADDQ(Imm(32), src)
	ADDQ(Imm(32), dst)
	DECQ(n)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}

// idct transforms two blocks at once, one in each half of the registers: row r of both lies at 32*r. The factors are those
// of inverseDCT, which is the twin of this.
func idct() {
	pair := func(name string, a, b int) Mem { return words(name, a, b) }
	even2, even3 := pair("even2", 4433, -10704), pair("even3", 10703, 4433)
	z3, z4 := pair("z3", -6436, 9633), pair("z4", 9633, 6437)
	odd0, odd3 := pair("odd0", -4927, -7373), pair("odd3", -7373, 4926)
	odd1, odd2 := pair("odd1", -4176, -20995), pair("odd2", -20995, 4177)
	round := [2]Mem{dwords("round11", 1<<10), dwords("round18", 1<<17)}
	shift := [2]uint64{11, 18}
	var bias [32]byte
	for i := range bias {
		bias[i] = 128
	}
	centre := bytes32("centre", bias)

	kernel("idctPair", "coef *int16, dst *byte, stride int", "transforms two blocks and stores them side by side; see inverseDCT.")
	coef, dst, stride := param("coef"), param("dst"), param("stride")
	upper, between := AllocLocal(8*32), AllocLocal(8*32)
	reg := func(i int) Register {
		return []Register{Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7, Y8, Y9, Y10, Y11, Y12, Y13, Y14, Y15}[i]
	}

	// half computes columns 0-3 or 4-7 of a pass into registers 0..7 as double words.
	half := func(in func(i int) Mem, unpack func(Op, Op, Op), pass int) {
		t := func(i int) Register { return reg(8 + i) }
		// Even part.
		VMOVDQU(in(2), t(0))
		unpack(in(6), t(0), t(0))
		VPMADDWD(even3, t(0), t(1))
		VPMADDWD(even2, t(0), t(0))
		VMOVDQU(in(0), t(2))
		VMOVDQU(in(4), t(3))
		VPADDW(t(3), t(2), t(4))
		VPSUBW(t(3), t(2), t(5))
		VPXOR(t(2), t(2), t(2))
		unpack(t(4), t(2), t(4)) // the word comes to stand in the upper half
		unpack(t(5), t(2), t(5))
		VPSRAD(Imm(3), t(4), t(4))
		VPSRAD(Imm(3), t(5), t(5))
		VPADDD(round[pass], t(4), t(4))
		VPADDD(round[pass], t(5), t(5))
		VPADDD(t(1), t(4), reg(0))
		VPSUBD(t(1), t(4), reg(3))
		VPADDD(t(0), t(5), reg(1))
		VPSUBD(t(0), t(5), reg(2))
		// Odd part.
		VMOVDQU(in(3), t(0))
		VPADDW(in(7), t(0), t(0))
		VMOVDQU(in(1), t(1))
		VPADDW(in(5), t(1), t(1))
		unpack(t(1), t(0), t(0))
		VPMADDWD(z4, t(0), t(1))
		VPMADDWD(z3, t(0), t(0))
		VMOVDQU(in(7), t(2))
		unpack(in(1), t(2), t(2))
		VPMADDWD(odd3, t(2), t(3))
		VPMADDWD(odd0, t(2), t(2))
		VPADDD(t(0), t(2), t(2)) // to rows 3 and 4
		VPADDD(t(1), t(3), t(3)) // to rows 0 and 7
		VMOVDQU(in(5), t(4))
		unpack(in(3), t(4), t(4))
		VPMADDWD(odd2, t(4), t(5))
		VPMADDWD(odd1, t(4), t(4))
		VPADDD(t(1), t(4), t(4)) // to rows 2 and 5
		VPADDD(t(0), t(5), t(5)) // to rows 1 and 6
		for i, o := range []Register{t(3), t(5), t(4), t(2)} {
			VPSUBD(o, reg(i), reg(7-i))
			VPADDD(o, reg(i), reg(i))
		}
		for i := range 8 {
			VPSRAD(Imm(shift[pass]), reg(i), reg(i))
		}
	}
	// transpose exchanges rows and columns of the words in registers 0..7 by way of 8..15.
	transpose := func() {
		for i := range 4 {
			VPUNPCKLWD(reg(2*i+1), reg(2*i), reg(8+2*i))
			VPUNPCKHWD(reg(2*i+1), reg(2*i), reg(8+2*i+1))
		}
		for i := range 2 { // lower and upper words of four rows each
			for j := range 2 {
				VPUNPCKLDQ(reg(8+4*j+i+2), reg(8+4*j+i), reg(4*i+2*j))
				VPUNPCKHDQ(reg(8+4*j+i+2), reg(8+4*j+i), reg(4*i+2*j+1))
			}
		}
		for i := range 2 {
			for k := range 2 {
				VPUNPCKLQDQ(reg(4*i+2+k), reg(4*i+k), reg(8+4*i+2*k))
				VPUNPCKHQDQ(reg(4*i+2+k), reg(4*i+k), reg(8+4*i+2*k+1))
			}
		}
	}
	for pass, base := range []Mem{{Base: coef}, between} {
		in := func(i int) Mem { return base.Offset(32 * i) }
		half(in, func(a, b, c Op) { VPUNPCKHWD(a, b, c) }, pass)
		for i := range 8 {
			VMOVDQU(reg(i), upper.Offset(32*i))
		}
		half(in, func(a, b, c Op) { VPUNPCKLWD(a, b, c) }, pass)
		for i := range 8 {
			VPACKSSDW(upper.Offset(32*i), reg(i), reg(i))
		}
		transpose()
		if pass == 0 {
			for i := range 8 {
				VMOVDQU(reg(8+i), between.Offset(32*i))
			}
		}
	}
	for i := range 4 {
		r := reg(8 + 2*i)
		VPACKSSWB(reg(9+2*i), r, r)
		VPADDB(centre, r, r)
		VPERMQ(Imm(0b11_01_10_00), r, r)
		VMOVDQU(r.(VecPhysical).AsX(), Mem{Base: dst})
		VEXTRACTI128(Imm(1), r, Mem{Base: dst, Index: stride, Scale: 1})
		if i < 3 {
			LEAQ(Mem{Base: dst, Index: stride, Scale: 2}, dst)
		}
	}
	VZEROUPPER()
	RET()
}

// subtract takes 32 bytes a block.
func subtract() {
	kernel("subtractBlocks", "dst, a, b *byte, blocks int", "sets bytes of dst to those of a less those of b, 32 a block.")
	dst, a, b, n := param("dst"), param("a"), param("b"), param("blocks")
	Label("block")
	x := YMM()
	VMOVDQU(Mem{Base: a}, x)
	VPSUBB(Mem{Base: b}, x, x)
	VMOVDQU(x, Mem{Base: dst})
	ADDQ(Imm(32), a)
	ADDQ(Imm(32), b)
	ADDQ(Imm(32), dst)
	DECQ(n)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}

// adler adds up the two sums of Adler-32, 32 bytes a block: the plain one, and the one in which each byte counts once for
// each that follows it, itself included. Bytes of earlier blocks count 32 times for each later block.
func adler() {
	var weights [32]byte
	for i := range weights {
		weights[i] = byte(32 - i)
	}
	weight, ones := bytes32("adlerWeights", weights), words("adlerOnes", 1)
	kernel("adlerBlocks", "p *byte, blocks int, a, b *uint32", "adds to the sums of Adler-32, which it does not reduce; see adlerSum.")
	p, n := param("p"), param("blocks")
	plain, before, weighted, zero, one, wt := YMM(), YMM(), YMM(), YMM(), YMM(), YMM()
	for _, r := range []VecVirtual{plain, before, weighted, zero} {
		VPXOR(r, r, r)
	}
	VMOVDQU(ones, one)
	VMOVDQU(weight, wt)
	blocks := GP64()
	MOVQ(n, blocks)
	Label("block")
	x, y := YMM(), YMM()
	VMOVDQU(Mem{Base: p}, x)
	VPADDD(plain, before, before)
	VPSADBW(zero, x, y)
	VPADDD(y, plain, plain)
	VPMADDUBSW(wt, x, x)
	VPMADDWD(one, x, x)
	VPADDD(x, weighted, weighted)
	ADDQ(Imm(32), p)
	DECQ(n)
	JNZ(LabelRef("block"))

	VPSLLD(Imm(5), before, before)
	VPADDD(before, weighted, weighted)
	total := func(r VecVirtual) GPVirtual {
		h, g := XMM(), GP32()
		VEXTRACTI128(Imm(1), r, h)
		VPADDD(r.AsX(), h, h)
		k := XMM()
		VPSHUFD(Imm(0b01_00_11_10), h, k)
		VPADDD(k, h, h)
		VPSHUFD(Imm(0b00_00_00_01), h, k)
		VPADDD(k, h, h)
		VMOVD(h, g)
		return g
	}
	sumA, sumB := total(plain), total(weighted)
	a, b := param("a"), param("b")
	old := GP32()
	MOVL(Mem{Base: a}, old)
	ADDL(old, sumA)
	MOVL(sumA, Mem{Base: a})
	IMULL(blocks.As32(), old)
	SHLL(Imm(5), old)
	ADDL(old, sumB)
	ADDL(sumB, Mem{Base: b})
	VZEROUPPER()
	RET()
}

func main() {
	ConstraintExpr("!noasm")
	half := dwords("half22", 1<<(precision-1))
	acrossRGBA(half)
	acrossGray(half)
	down(half)
	ycc()
	chromaSums()
	chromaBlend()
	idct()
	subtract()
	adler()
	Generate()
}
