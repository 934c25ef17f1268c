package compositing

import (
	"encoding/binary"
	"image"
)

// Cutout returns src with its alpha multiplied by mask/255, rounded to the nearest. Colours are those of src wherever
// something is left to see; where nothing is, they are 0, which hides the background for good and compresses best.
// The mask must have the size of src.
func Cutout(src *image.NRGBA, mask *image.Gray) *image.NRGBA {
	sameSize("cutout", src.Rect, mask.Rect)
	w, h := src.Rect.Dx(), src.Rect.Dy()
	out := image.NewNRGBA(image.Rect(0, 0, w, h))
	eachBand(w, h, func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			s, d := row(src.Pix, src.Stride, y, 4*w), row(out.Pix, out.Stride, y, 4*w)
			for x, m := range row(mask.Pix, mask.Stride, y, w) {
				if m == 0 {
					continue // the buffer is zero already
				}
				p := binary.LittleEndian.Uint32(s[4*x:])
				if m != 255 {
					p = p&0xffffff | div255(p>>24*uint32(m))<<24
				}
				if p>>24 != 0 {
					binary.LittleEndian.PutUint32(d[4*x:], p)
				}
			}
		}
	})
	return out
}

// CutoutInPlace makes m what Cutout would return, and mask its alpha: what was transparent in m is 0 in both.
func CutoutInPlace(m *image.NRGBA, mask *image.Gray) {
	sameSize("cutout", m.Rect, mask.Rect)
	w, h := m.Rect.Dx(), m.Rect.Dy()
	eachBand(w, h, func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			cutRow(row(m.Pix, m.Stride, y, 4*w), row(mask.Pix, mask.Stride, y, w))
		}
	})
}

// cutRow takes eight pixels at a time where all of them go or all of them stay, as nearly everywhere.
func cutRow(pix, mask []uint8) {
	const opaque = 255 << 24
	for x := 0; x < len(mask); {
		if x+8 <= len(mask) {
			p := pix[4*x : 4*x+32 : 4*x+32]
			switch binary.LittleEndian.Uint64(mask[x:]) {
			case 0:
				clear(p)
				x += 8
				continue
			case 1<<64 - 1:
				a := binary.LittleEndian.Uint64(p) & binary.LittleEndian.Uint64(p[8:]) &
					binary.LittleEndian.Uint64(p[16:]) & binary.LittleEndian.Uint64(p[24:])
				if uint32(a)&uint32(a>>32)&opaque == opaque {
					x += 8
					continue
				}
			}
		}
		for end := min(x+8, len(mask)); x < end; x++ {
			p := binary.LittleEndian.Uint32(pix[4*x:])
			a := div255(p >> 24 * uint32(mask[x]))
			mask[x] = uint8(a)
			p = p&0xffffff | a<<24
			if a == 0 {
				p = 0
			}
			binary.LittleEndian.PutUint32(pix[4*x:], p)
		}
	}
}

// CropTo returns a copy of the part of m inside r. What of r lies outside of m is transparent.
func CropTo(m *image.NRGBA, r image.Rectangle) *image.NRGBA {
	out := image.NewNRGBA(image.Rect(0, 0, r.Dx(), r.Dy()))
	in := r.Intersect(image.Rect(0, 0, m.Rect.Dx(), m.Rect.Dy()))
	for y := in.Min.Y; y < in.Max.Y; y++ {
		copy(out.Pix[(y-r.Min.Y)*out.Stride+4*(in.Min.X-r.Min.X):], row(m.Pix[4*in.Min.X:], m.Stride, y, 4*in.Dx()))
	}
	return out
}

// CropMask returns a copy of the part of mask inside r. What of r lies outside of mask is 0.
func CropMask(mask *image.Gray, r image.Rectangle) *image.Gray {
	out := image.NewGray(image.Rect(0, 0, r.Dx(), r.Dy()))
	in := r.Intersect(image.Rect(0, 0, mask.Rect.Dx(), mask.Rect.Dy()))
	for y := in.Min.Y; y < in.Max.Y; y++ {
		copy(out.Pix[(y-r.Min.Y)*out.Stride+in.Min.X-r.Min.X:], row(mask.Pix[in.Min.X:], mask.Stride, y, in.Dx()))
	}
	return out
}

// Margin is room left around a box, in pixels a side. Negative values shrink the box.
type Margin struct{ Top, Right, Bottom, Left int }

// PadBox grows r by m. The result may reach outside of the picture, where CropTo puts transparent pixels; intersect it
// with the picture's bounds to keep it inside. An empty box stays empty.
func PadBox(r image.Rectangle, m Margin) image.Rectangle {
	if r.Empty() {
		return image.Rectangle{}
	}
	r.Min.X -= m.Left
	r.Min.Y -= m.Top
	r.Max.X += m.Right
	r.Max.Y += m.Bottom
	if r.Empty() {
		return image.Rectangle{}
	}
	return r
}
