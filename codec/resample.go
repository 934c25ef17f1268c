package codec

import (
	"encoding/binary"
	"image"
	"math"
	"slices"
)

// Resampling equals Image.resize of Pillow 13 bit for bit, because the reference masks the networks are judged by went
// through it: two passes, an 8-bit picture in between, the filter stretched by the scale when shrinking, coefficients in
// fixed point with 22 fractional bits.

// rowsFirst tells whether the vertical pass comes first. The order shows in the rounding of the picture in between.
// Pillow up to version 12 always starts with the horizontal pass; version 13 starts with the one that discards more,
// where it takes two rows for one column (found by comparing results; testdata/make_resample.py keeps watch).
func rowsFirst(sw, sh, w, h int) bool { return h < sh && sh-h > 2*(sw-w) }

// Lanczos resamples the colours of src to w x h pixels with a Lanczos filter of three lobes, like
// PIL.Image.convert("RGB").resize((w, h), LANCZOS): the alpha of src is ignored and that of the result is 255.
// src has its origin at (0,0) and is not empty; w and h are at least 1.
func Lanczos(src *image.NRGBA, w, h int) *image.NRGBA { return resampleRGB(src, w, h, lanczos3) }

// Bilinear is Lanczos with a triangle filter, which is stretched when shrinking too (Pillow's BILINEAR).
func Bilinear(src *image.NRGBA, w, h int) *image.NRGBA { return resampleRGB(src, w, h, triangle) }

// LanczosGray is Lanczos on one 8-bit channel (Pillow's mode L).
func LanczosGray(src *image.Gray, w, h int) *image.Gray { return resampleGray(src, w, h, lanczos3) }

// BilinearGray is Bilinear on one 8-bit channel (Pillow's mode L).
func BilinearGray(src *image.Gray, w, h int) *image.Gray { return resampleGray(src, w, h, triangle) }

// LanczosFloat resamples a plane of sh rows of sw values to h rows of w values (Pillow's mode F): sums in float64, each
// pass rounded to float32, values free to overshoot.
func LanczosFloat(src []float32, sw, sh, w, h int) []float32 {
	return resampleFloat(src, sw, sh, w, h, lanczos3)
}

// BilinearFloat is LanczosFloat with a triangle filter.
func BilinearFloat(src []float32, sw, sh, w, h int) []float32 {
	return resampleFloat(src, sw, sh, w, h, triangle)
}

// filter is a symmetric kernel that is zero beyond support.
type filter struct {
	support float64
	at      func(x float64) float64
}

var (
	triangle = filter{1, func(x float64) float64 { return max(0, 1-math.Abs(x)) }}
	lanczos3 = filter{3, func(x float64) float64 {
		if x < -3 || x >= 3 {
			return 0
		}
		return sinc(x) * sinc(x/3)
	}}
)

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	x *= math.Pi
	return math.Sin(x) / x
}

// weights holds, for each output sample, the run of input samples it is made of and their coefficients.
type weights struct {
	first, count []int
	size         int       // coefficients reserved per output sample
	f            []float64 // size per output sample, summing to 1
	fixed        []int32   // f in 22-bit fixed point
}

func (k *weights) at(i int) (first int, coefficients []int32) {
	return k.first[i], k.fixed[i*k.size:][:k.count[i]]
}

const precision = 32 - 8 - 2 // fractional bits: 8 are the sample's, 2 are room for overshoot

func newWeights(in, out int, flt filter) *weights {
	scale := float64(in) / float64(out)
	stretch := max(scale, 1)
	support := flt.support * stretch
	size := int(math.Ceil(support))*2 + 1
	k := &weights{
		first: make([]int, out), count: make([]int, out), size: size,
		f: make([]float64, out*size), fixed: make([]int32, out*size),
	}
	inverse := 1 / stretch
	for i := range out {
		center := (float64(i) + 0.5) * scale
		from := max(int(center-support+0.5), 0)
		to := min(int(center+support+0.5), in)
		row, sum := k.f[i*size:][:to-from], 0.0
		for x := range row {
			row[x] = flt.at((float64(x+from) - center + 0.5) * inverse)
			sum += row[x]
		}
		for x := range row {
			if sum != 0 {
				row[x] /= sum
			}
			v := row[x] * (1 << precision)
			if v < 0 {
				k.fixed[i*size+x] = int32(v - 0.5)
			} else {
				k.fixed[i*size+x] = int32(v + 0.5)
			}
		}
		k.first[i], k.count[i] = from, len(row)
	}
	return k
}

// clone is k with a first of its own.
func (k *weights) clone() *weights {
	c := *k
	c.first = slices.Clone(k.first)
	return &c
}

// span is the run of input samples that any output sample needs.
func (k *weights) span() (from, to int) {
	last := len(k.first) - 1
	return k.first[0], k.first[last] + k.count[last]
}

// The inner loops work on two samples at a time: they lie in the halves of a uint64, and since
// k*(a + b<<32) = k*a + (k*b)<<32, one multiplication by a coefficient serves both. A negative sum in the low half
// borrows one from the high half, which split gives back.

const (
	half      = 1 << (precision - 1)
	bothHalfs = half | half<<32
	lanes     = 0x000000ff000000ff
)

// split rounds the two sums in s and clips them to 0..255.
func split(s uint64) (lo, hi uint8) {
	l := int32(uint32(s))
	h := int32(uint32((s - uint64(int64(l))) >> 32))
	return clip8(l >> precision), clip8(h >> precision)
}

func clip8(v int32) uint8 {
	if uint32(v) > 255 {
		return uint8(^(v >> 31)) // 0 below, 255 above
	}
	return uint8(v)
}

// plane is 8-bit pixels in rows, the channels of a pixel side by side.
type plane struct {
	pix      []byte
	stride   int
	w, h     int
	channels int // 4, of which the last is of no account, or 1
}

func newPlane(w, h, channels int) plane {
	return plane{make([]byte, w*h*channels), w * channels, w, h, channels}
}

func (p plane) row(y int) []byte { return p.pix[y*p.stride:][:p.w*p.channels] }

func resampleRGB(src *image.NRGBA, w, h int, flt filter) *image.NRGBA {
	out := resample(plane{src.Pix, src.Stride, src.Rect.Dx(), src.Rect.Dy(), 4}, w, h, flt)
	for i := 3; i < len(out.pix); i += 4 {
		out.pix[i] = 255
	}
	return &image.NRGBA{Pix: out.pix, Stride: out.stride, Rect: image.Rect(0, 0, w, h)}
}

func resampleGray(src *image.Gray, w, h int, flt filter) *image.Gray {
	out := resample(plane{src.Pix, src.Stride, src.Rect.Dx(), src.Rect.Dy(), 1}, w, h, flt)
	return &image.Gray{Pix: out.pix, Stride: out.stride, Rect: image.Rect(0, 0, w, h)}
}

func resample(src plane, w, h int, flt filter) plane {
	if w == src.w && h == src.h { // nothing to do, but the result must not share src's memory
		out := newPlane(w, h, src.channels)
		for y := range h {
			copy(out.row(y), src.row(y))
		}
		return out
	}
	var x, y *weights
	if w != src.w {
		x = newWeights(src.w, w, flt)
	}
	switch {
	case h == src.h:
		return resampleAcross(src, x, hasNative)
	case h == w && src.h == src.w:
		y = x.clone()
	default:
		y = newWeights(src.h, h, flt)
	}
	if rowsFirst(src.w, src.h, w, h) {
		out := resampleDown(src, y, hasNative)
		if x != nil {
			out = resampleAcross(out, x, hasNative)
		}
		return out
	}
	if x != nil {
		// Rows no output row is made of are left out of the first pass.
		from, to := y.span()
		src.pix, src.h = src.pix[from*src.stride:], to-from
		for i := range y.first {
			y.first[i] -= from
		}
		src = resampleAcross(src, x, hasNative)
	}
	return resampleDown(src, y, hasNative)
}

// resampleAcross changes the width. Without native it takes no assembly.
func resampleAcross(src plane, k *weights, native bool) plane {
	dst := newPlane(len(k.first), src.h, src.channels)
	rows := 2 // at once
	var packed *packedWeights
	if native {
		packed = k.packAcross(src.w, src.channels)
	}
	if packed != nil || src.channels == 1 {
		rows = 4
	}
	parallel((src.h+rows-1)/rows, func(a, b int) {
		var words [][3]uint64
		if packed == nil {
			words = make([][3]uint64, src.w)
		}
		var d, s [4][]byte
		for y := a * rows; y < min(b*rows, src.h); y += rows {
			for i := range rows {
				// Below the last row is the last row again, which is harmless.
				d[i], s[i] = dst.row(min(y+i, src.h-1)), src.row(min(y+i, src.h-1))
			}
			switch {
			case packed != nil:
				acrossNative(&d, &s, packed)
			case src.channels == 1:
				grayRows(&d, &s, words, k)
			default:
				rgbRows(d[0], d[1], s[0], s[1], words, k)
			}
		}
	})
	return dst
}

// resampleDown changes the height. Without native it takes no assembly.
func resampleDown(src plane, k *weights, native bool) plane {
	dst := newPlane(src.w, len(k.first), src.channels)
	parallel(dst.h, func(a, b int) {
		var coef []uint32
		for y := a; y < b; y++ {
			if native {
				var first int
				first, coef = k.packDown(y, src.h, coef[:0])
				if downNative(dst.row(y), src.pix[first*src.stride:], src.stride, coef) {
					continue
				}
			}
			first, c := k.at(y)
			columns(dst.row(y), src.pix[first*src.stride:], src.stride, c)
		}
	})
	return dst
}

// coarse is the number of the lowest bits of a coefficient that are multiplied apart from the others, so that both
// parts fit into 16 bits.
const coarse = 11

func upper(c int32) uint16 { return uint16(c >> coarse) }
func lower(c int32) uint16 { return uint16(c & (1<<coarse - 1)) }

// packedWeights are the coefficients for one row in the order in which the kernels take them: steps times some taps for
// each output, the missing ones zero.
type packedWeights struct {
	channels int
	first    []int // offset in bytes of the first tap's pixel
	steps    int
	coef     []uint16
	reach    int // bytes of a row that are read
}

// packAcross is nil where a row of w pixels is shorter than the whole steps.
func (k *weights) packAcross(w, channels int) *packedWeights {
	most := 0
	for _, n := range k.count {
		most = max(most, n)
	}
	taps := 4 // in a step
	if channels == 1 {
		taps = 8
	}
	p := &packedWeights{channels: channels, steps: (most + taps - 1) / taps, reach: w * channels}
	padded := p.steps * taps
	if padded > w {
		return nil
	}
	words := 32 // in a step: upper parts, lower parts
	if channels == 1 {
		words = 16
	}
	p.first = make([]int, len(k.first))
	p.coef = make([]uint16, len(k.first)*p.steps*words)
	for i := range k.first {
		first, c := k.at(i)
		start := min(first, w-padded)
		p.first[i] = start * channels
		out := p.coef[i*p.steps*words:]
		for j, v := range c {
			t := first - start + j
			o := out[t/taps*words:]
			if t %= taps; channels == 1 {
				o[t], o[8+t] = upper(v), lower(v)
				continue
			}
			for n := t/2*8 + t%2; n < t/2*8+8; n += 2 { // once for each channel of the pixel
				o[n], o[16+n] = upper(v), lower(v)
			}
		}
	}
	return p
}

// packDown appends the coefficients of output row i, of h input rows, to out: two words for each pair of rows, their
// upper parts and their lower parts. It appends nothing where there are too few rows.
func (k *weights) packDown(i, h int, out []uint32) (first int, coef []uint32) {
	first, c := k.at(i)
	pairs := (len(c) + 1) / 2
	if 2*pairs > h {
		return first, out
	}
	at := func(t int) int32 {
		if t < 0 || t >= len(c) {
			return 0
		}
		return c[t]
	}
	start := min(first, h-2*pairs)
	for t := start - first; len(out) < 2*pairs; t += 2 {
		a, b := at(t), at(t+1)
		out = append(out, uint32(upper(a))|uint32(upper(b))<<16, uint32(lower(a))|uint32(lower(b))<<16)
	}
	return start, out
}

// rgbRows resamples two rows at once; s0 and s1 may be the same row. words is room for what a pixel column of both is
// turned into: red, green and blue.
func rgbRows(d0, d1, s0, s1 []byte, words [][3]uint64, k *weights) {
	for i := range words {
		p := uint64(binary.LittleEndian.Uint32(s0[4*i:])) | uint64(binary.LittleEndian.Uint32(s1[4*i:]))<<32
		words[i] = [3]uint64{p & lanes, p >> 8 & lanes, p >> 16 & lanes}
	}
	for x := range k.first {
		first, ks := k.at(x)
		run := words[first:][:len(ks)]
		var r, g, b uint64 = bothHalfs, bothHalfs, bothHalfs
		for i, c := range ks {
			p, c := &run[i], uint64(int64(c))
			r += c * p[0]
			g += c * p[1]
			b += c * p[2]
		}
		o0, o1 := d0[4*x:][:4], d1[4*x:][:4]
		o0[0], o1[0] = split(r)
		o0[1], o1[1] = split(g)
		o0[2], o1[2] = split(b)
	}
}

// columns sets dst to the weighted sum of len(k) rows, which start at rows and lie stride apart.
func columns(dst, rows []byte, stride int, k []int32) {
	x := 0
	for ; x+8 <= len(dst); x += 8 {
		var a, b, c, d uint64 = bothHalfs, bothHalfs, bothHalfs, bothHalfs
		at := x
		for _, w := range k {
			v := binary.LittleEndian.Uint64(rows[at : at+8])
			w := uint64(int64(w))
			a += w * (v & lanes)
			b += w * (v >> 8 & lanes)
			c += w * (v >> 16 & lanes)
			d += w * (v >> 24 & lanes)
			at += stride
		}
		o := dst[x : x+8 : x+8]
		o[0], o[4] = split(a)
		o[1], o[5] = split(b)
		o[2], o[6] = split(c)
		o[3], o[7] = split(d)
	}
	for ; x < len(dst); x++ {
		s := int32(half)
		for i, w := range k {
			s += w * int32(rows[x+i*stride])
		}
		dst[x] = clip8(s >> precision)
	}
}

// grayRows resamples four rows at once; some may be the same. words is room for what a column of them is turned into.
func grayRows(d, s *[4][]byte, words [][3]uint64, k *weights) {
	s0, s1, s2, s3 := s[0][:len(words)], s[1][:len(words)], s[2][:len(words)], s[3][:len(words)]
	for i := range words {
		w := &words[i]
		w[0] = uint64(s0[i]) | uint64(s1[i])<<32
		w[1] = uint64(s2[i]) | uint64(s3[i])<<32
	}
	for x := range k.first {
		first, ks := k.at(x)
		run := words[first:][:len(ks)]
		var a, b uint64 = bothHalfs, bothHalfs
		for i, c := range ks {
			p, c := &run[i], uint64(int64(c))
			a += c * p[0]
			b += c * p[1]
		}
		d[0][x], d[1][x] = split(a)
		d[2][x], d[3][x] = split(b)
	}
}

func resampleFloat(src []float32, sw, sh, w, h int, flt filter) []float32 {
	across := func(p []float32, rows int) []float32 {
		if w == sw {
			return p
		}
		return floatAcross(p, sw, rows, newWeights(sw, w, flt))
	}
	if h == sh {
		if w == sw {
			return append([]float32(nil), src...)
		}
		return across(src, sh)
	}
	k := newWeights(sh, h, flt)
	if rowsFirst(sw, sh, w, h) {
		return across(floatDown(src, sw, k), h)
	}
	from, to := k.span()
	for i := range k.first {
		k.first[i] -= from
	}
	return floatDown(across(src[from*sw:to*sw], to-from), w, k)
}

func floatAcross(src []float32, sw, rows int, k *weights) []float32 {
	w := len(k.first)
	dst := make([]float32, w*rows)
	parallel(rows, func(a, b int) {
		for y := a; y < b; y++ {
			in, out := src[y*sw:][:sw], dst[y*w:][:w]
			for x := range out {
				c := k.f[x*k.size:][:k.count[x]]
				v := in[k.first[x]:][:len(c)]
				var s float64
				for i, c := range c {
					s += float64(float64(v[i]) * c) // the conversion keeps the product from being fused into the sum
				}
				out[x] = float32(s)
			}
		}
	})
	return dst
}

func floatDown(src []float32, w int, k *weights) []float32 {
	h := len(k.first)
	dst := make([]float32, w*h)
	parallel(h, func(a, b int) {
		sums := make([]float64, w)
		for y := a; y < b; y++ {
			clear(sums)
			for i, c := range k.f[y*k.size:][:k.count[y]] {
				for x, v := range src[(k.first[y]+i)*w:][:w] {
					sums[x] += float64(float64(v) * c)
				}
			}
			for x, s := range sums {
				dst[y*w+x] = float32(s)
			}
		}
	})
	return dst
}
