package compositing

import (
	"encoding/binary"
	"image"
	"image/color"
)

// Over lays top on bottom: Porter and Duff's "over" (Compositing Digital Images, 1984) on straight alpha, in the
// pictures' own (sRGB) values, as every browser does it. Each channel is rounded once, to the nearest. A pixel that
// stays fully transparent is all 0. Both pictures must have the same size.
func Over(top, bottom *image.NRGBA) *image.NRGBA {
	sameSize("over", top.Rect, bottom.Rect)
	w, h := top.Rect.Dx(), top.Rect.Dy()
	out := image.NewNRGBA(image.Rect(0, 0, w, h))
	eachBand(w, h, func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			t, b := row(top.Pix, top.Stride, y, 4*w), row(bottom.Pix, bottom.Stride, y, 4*w)
			d := row(out.Pix, out.Stride, y, 4*w)
			for i := 0; i < len(d); i += 4 {
				p := binary.LittleEndian.Uint32(t[i:])
				if p>>24 != 255 { // the common case needs no call
					p = over(p, binary.LittleEndian.Uint32(b[i:]))
				}
				if p != 0 { // leaves memory that is zero already untouched
					binary.LittleEndian.PutUint32(d[i:], p)
				}
			}
		}
	})
	return out
}

// over lays one pixel on another; both and the result are R, G, B, A from the lowest byte up.
func over(t, b uint32) uint32 {
	ta := t >> 24
	if ta == 255 {
		return t
	}
	ba := b >> 24
	if ta == 0 {
		if ba == 0 {
			return 0
		}
		return b
	}
	if ba == 255 {
		return overOpaque(t, b, ta)
	}
	// Weights of the two colours, 255*255 being one.
	wt, wb := ta*255, ba*(255-ta)
	sum := wt + wb
	half := sum / 2
	r := (t&255*wt + b&255*wb + half) / sum
	g := (t>>8&255*wt + b>>8&255*wb + half) / sum
	bl := (t>>16&255*wt + b>>16&255*wb + half) / sum
	return r | g<<8 | bl<<16 | div255(sum)<<24
}

// overOpaque is over for an opaque bottom pixel.
func overOpaque(t, b, ta uint32) uint32 {
	tb := 255 - ta
	r := div255(t&255*ta + b&255*tb)
	g := div255(t>>8&255*ta + b>>8&255*tb)
	bl := div255(t>>16&255*ta + b>>16&255*tb)
	return r | g<<8 | bl<<16 | 255<<24
}

// Flatten lays m on the colour c. An opaque colour gives an opaque picture.
func Flatten(m *image.NRGBA, c color.NRGBA) *image.NRGBA {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	out := image.NewNRGBA(image.Rect(0, 0, w, h))
	b := packed(c)
	empty := over(0, b)
	eachBand(w, h, func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			t, d := row(m.Pix, m.Stride, y, 4*w), row(out.Pix, out.Stride, y, 4*w)
			for i := 0; i < len(d); i += 4 {
				p := binary.LittleEndian.Uint32(t[i:])
				if a := p >> 24; a == 0 {
					p = empty
				} else if a != 255 {
					p = over(p, b)
				}
				binary.LittleEndian.PutUint32(d[i:], p)
			}
		}
	})
	return out
}

// packed is c as over takes it.
func packed(c color.NRGBA) uint32 {
	return uint32(c.R) | uint32(c.G)<<8 | uint32(c.B)<<16 | uint32(c.A)<<24
}
