package codec

import "image"

// jpegToRGB converts full-range BT.601 planes (JFIF) to RGB like libjpeg: chroma that is halved across or across and
// down is interpolated with a triangle filter ("fancy upsampling"), other chroma is repeated. Browsers and Pillow show
// these colours, so the masks of other tools rest on them; repeating everywhere is off by up to dozens of levels at
// coloured edges.
func jpegToRGB(dst *image.NRGBA, m *image.YCbCr) {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	hs, vs := subsampling(m.SubsampleRatio)
	cw, ch := (w+hs-1)/hs, (h+vs-1)/vs
	fancyH := hs == 2 && cw > 2
	fancyV := vs == 2 && (hs == 1 || fancyH)
	parallel(h, func(from, to int) {
		cb, cr := make([]byte, 2*w+16), make([]byte, 2*w+16)
		sums := make([]int32, cw)
		for y := from; y < to; y++ {
			near := y / vs
			next := near
			if fancyV {
				if y&1 == 0 {
					next = max(near-1, 0)
				} else {
					next = min(near+1, ch-1)
				}
			}
			for i, plane := range [2][]byte{m.Cb, m.Cr} {
				out := cb
				if i == 1 {
					out = cr
				}
				a, b := plane[near*m.CStride:][:cw], plane[next*m.CStride:][:cw]
				switch {
				case fancyH && fancyV:
					blendH2V2(out, a, b, sums)
				case fancyH:
					blendH2(out, a)
				case fancyV:
					bias := int32(1 + y&1)
					for x := range a {
						out[x] = uint8((3*int32(a[x]) + int32(b[x]) + bias) >> 2)
					}
				case hs == 1:
					copy(out, a)
				default:
					for x := range w {
						out[x] = a[x/hs]
					}
				}
			}
			yccRow(dst.Pix[y*dst.Stride:][:4*w], m.Y[y*m.YStride:][:w], cb, cr)
		}
	})
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

// blendH2 doubles a row: each output is 3/4 of the nearer and 1/4 of the farther input, rounded down and up in turn.
func blendH2(out, in []byte) {
	n := len(in)
	out = out[:2*n]
	out[0] = in[0]
	out[1] = uint8((3*int32(in[0]) + int32(in[1]) + 2) >> 2)
	for i := 1; i < n-1; i++ {
		v := 3 * int32(in[i])
		out[2*i] = uint8((v + int32(in[i-1]) + 1) >> 2)
		out[2*i+1] = uint8((v + int32(in[i+1]) + 2) >> 2)
	}
	out[2*n-2] = uint8((3*int32(in[n-1]) + int32(in[n-2]) + 1) >> 2)
	out[2*n-1] = in[n-1]
}

// blendH2V2 is blendH2 on a row that is first blended from the nearer row (3/4) and the farther (1/4).
func blendH2V2(out, near, far []byte, sums []int32) {
	n := len(near)
	out, far, sums = out[:2*n], far[:n], sums[:n]
	for i, v := range near {
		sums[i] = 3*int32(v) + int32(far[i])
	}
	out[0] = uint8((4*sums[0] + 8) >> 4)
	out[1] = uint8((3*sums[0] + sums[1] + 7) >> 4)
	prev, cur := sums[0], sums[1]
	for i := 1; i < n-1; i++ {
		next := sums[i+1]
		o := out[2*i:][:2]
		o[0] = uint8((3*cur + prev + 8) >> 4)
		o[1] = uint8((3*cur + next + 7) >> 4)
		prev, cur = cur, next
	}
	out[2*n-2] = uint8((3*cur + prev + 8) >> 4)
	out[2*n-1] = uint8((4*cur + 7) >> 4)
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
