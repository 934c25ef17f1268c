package codec

import "image"

// jpegToRGB converts full-range BT.601 planes (JFIF) to RGB like libjpeg: chroma that is halved across or across and
// down is interpolated with a triangle filter ("fancy upsampling"), other chroma is repeated. Browsers and Pillow show
// these colours, so the masks of other tools rest on them; repeating everywhere is off by up to dozens of levels at
// coloured edges.
func jpegToRGB(dst *image.NRGBA, m *image.YCbCr) {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	hs, vs := subsampling(m.SubsampleRatio)
	samples := (h + vs - 1) / vs
	parallel(h, func(from, to int) {
		c := newChromaRows(w, hs, vs)
		for y := from; y < to; y++ {
			near, far := c.rows(y, samples)
			near, far = near*m.CStride, far*m.CStride
			c.convert(y, dst.Pix[y*dst.Stride:][:4*w], m.Y[y*m.YStride:][:w],
				m.Cb[near:], m.Cb[far:], m.Cr[near:], m.Cr[far:])
		}
	})
}

// chromaRows brings rows of subsampled chroma to full width and converts pixels with them.
type chromaRows struct {
	hs, vs               int
	w                    int // samples in a row
	horizontal, vertical bool
	cb, cr               []byte
	sums                 []uint16 // one more at both ends
}

// newChromaRows is for a picture of the given width with one sample for hs x vs pixels.
func newChromaRows(width, hs, vs int) chromaRows {
	c := chromaRows{hs: hs, vs: vs, w: (width + hs - 1) / hs}
	c.horizontal = hs == 2 && c.w > 2
	c.vertical = vs == 2 && (hs == 1 || c.horizontal)
	c.cb, c.cr = make([]byte, hs*c.w), make([]byte, hs*c.w)
	c.sums = make([]uint16, c.w+2)
	return c
}

// rows tells which rows of chroma, of so many, row y of the picture is made of: the nearer and the farther one.
func (c *chromaRows) rows(y, count int) (near, far int) {
	near = y / c.vs
	switch {
	case !c.vertical:
		return near, near
	case y%2 == 0:
		return near, max(near-1, 0)
	default:
		return near, min(near+1, count-1)
	}
}

// convert converts row y, given its luma and the rows of chroma that rows named.
func (c *chromaRows) convert(y int, dst, luma, cbNear, cbFar, crNear, crFar []byte) {
	cb := c.widen(y, c.cb, cbNear[:c.w], cbFar[:c.w])
	cr := c.widen(y, c.cr, crNear[:c.w], crFar[:c.w])
	if !yccNative(dst, luma, cb, cr) {
		yccRow(dst, luma, cb, cr)
	}
}

// widen gives a row of full width, in out or near.
func (c *chromaRows) widen(y int, out, near, far []byte) []byte {
	switch {
	case c.horizontal:
		even, odd := uint16(8), uint16(7)
		if !c.vertical {
			even, odd = 4, 8 // of four times the sample
		}
		if !chromaNative(out, near, far, c.sums, even, odd) {
			chromaRow(out, near, far, c.sums, even, odd)
		}
	case c.vertical:
		bias := int32(1 + y&1)
		for x := range near {
			out[x] = uint8((3*int32(near[x]) + int32(far[x]) + bias) >> 2)
		}
	case c.hs == 1:
		return near
	default:
		for x := range out {
			out[x] = near[x/c.hs]
		}
	}
	return out
}

// chromaRow doubles a row: each output is 3/4 of the nearer and 1/4 of the farther input, which themselves are 3/4 of near
// and 1/4 of far. even and odd are what is added to 16 times the outputs before they are cut.
func chromaRow(out, near, far []byte, sums []uint16, even, odd uint16) {
	n := len(near)
	out, far, sums = out[:2*n], far[:n], sums[:n+2]
	for i, v := range near {
		sums[i+1] = 3*uint16(v) + uint16(far[i])
	}
	sums[0], sums[n+1] = sums[1], sums[n]
	for i := range n {
		s := 3 * sums[i+1]
		out[2*i] = uint8((s + sums[i] + even) >> 4)
		out[2*i+1] = uint8((s + sums[i+2] + odd) >> 4)
	}
}

func subsampling(r image.YCbCrSubsampleRatio) (h, v int) {
	switch r {
	case image.YCbCrSubsampleRatio422:
		return 2, 1
	case image.YCbCrSubsampleRatio420:
		return 2, 2
	case image.YCbCrSubsampleRatio440:
		return 1, 2
	case image.YCbCrSubsampleRatio411:
		return 4, 1
	case image.YCbCrSubsampleRatio410:
		return 4, 2
	}
	return 1, 1
}

// yccRow converts one row with libjpeg's constants in 16-bit fixed point.
func yccRow(dst, yy, cb, cr []byte) {
	const (
		half16 = 1 << 15
		crR    = 91881  // 1.40200
		cbG    = -22554 // -0.34414
		crG    = -46802 // -0.71414
		cbB    = 116130 // 1.77200
	)
	cb, cr, dst = cb[:len(yy)], cr[:len(yy)], dst[:4*len(yy)]
	for x, v := range yy {
		l, u, w := int32(v), int32(cb[x])-128, int32(cr[x])-128
		r := l + (crR*w+half16)>>16
		g := l + (cbG*u+crG*w+half16)>>16
		b := l + (cbB*u+half16)>>16
		p := dst[4*x:][:4]
		p[0], p[1], p[2], p[3] = clip8(r), clip8(g), clip8(b), 255
	}
}

// webpToRGB converts the limited-range BT.601 planes of VP8 to RGB like libwebp: chroma interpolated with a 9:3:3:1
// filter, 14-bit fixed point. (The color package reads any YCbCr as JFIF and would give washed-out colours.)
// alpha may be nil.
func webpToRGB(dst *image.NRGBA, m *image.YCbCr, alpha []byte, alphaStride int) {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	cw, ch := (w+1)/2, (h+1)/2
	parallel(h, func(from, to int) {
		u, v := make([]byte, w+1), make([]byte, w+1)
		for y := from; y < to; y++ {
			// Output rows 2n-1 and 2n lie between chroma rows n-1 and n.
			near, far := y/2, y/2-1
			if y&1 == 1 {
				far = near + 1
			}
			far = min(max(far, 0), ch-1)
			blendVP8(u[:w], m.Cb[near*m.CStride:][:cw], m.Cb[far*m.CStride:][:cw])
			blendVP8(v[:w], m.Cr[near*m.CStride:][:cw], m.Cr[far*m.CStride:][:cw])
			d := dst.Pix[y*dst.Stride:][:4*w]
			vp8Row(d, m.Y[y*m.YStride:][:w], u, v)
			if alpha != nil {
				for x, a := range alpha[y*alphaStride:][:w] {
					d[4*x+3] = a
				}
			}
		}
	})
}

// blendVP8 is libwebp's UpsampleRgbaLinePair for one of the two lines: near is the closer chroma row.
func blendVP8(out, near, far []byte) {
	w := len(out)
	tl, l := int32(near[0]), int32(far[0])
	out[0] = uint8((3*tl + l + 2) >> 2)
	for x := 1; x <= (w-1)/2; x++ {
		t, cur := int32(near[x]), int32(far[x])
		avg := tl + t + l + cur + 8
		diag12 := (avg + 2*(t+l)) >> 3
		diag03 := (avg + 2*(tl+cur)) >> 3
		out[2*x-1] = uint8((diag12 + tl) >> 1)
		out[2*x] = uint8((diag03 + t) >> 1)
		tl, l = t, cur
	}
	if w&1 == 0 {
		out[w-1] = uint8((3*tl + l + 2) >> 2)
	}
}

func vp8Row(dst, yy, u, v []byte) {
	u, v, dst = u[:len(yy)], v[:len(yy)], dst[:4*len(yy)]
	for x, l := range yy {
		a, b, c := int32(l)*19077>>8, int32(u[x]), int32(v[x])
		p := dst[4*x:][:4]
		p[0] = clip8((a + c*26149>>8 - 14234) >> 6)
		p[1] = clip8((a - b*6419>>8 - c*13320>>8 + 8708) >> 6)
		p[2] = clip8((a + b*33050>>8 - 17685) >> 6)
		p[3] = 255
	}
}
