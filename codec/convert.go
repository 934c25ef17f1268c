package codec

import (
	"fmt"
	"image"
	"image/color"
)

// toNRGBA converts what the decoders give to straight alpha with origin (0,0), never by way of multiplied alpha and
// back where the file holds straight alpha. It reuses the pixels of m where it can.
func toNRGBA(m image.Image) (*image.NRGBA, error) {
	b := m.Bounds()
	w, h := b.Dx(), b.Dy()
	switch m := m.(type) {
	case *image.NRGBA:
		if b.Min == (image.Point{}) && m.Stride == 4*w && len(m.Pix) == 4*w*h {
			return m, nil
		}
	case *image.RGBA:
		if b.Min == (image.Point{}) && m.Stride == 4*w && len(m.Pix) == 4*w*h {
			unmultiply(m.Pix)
			return &image.NRGBA{Pix: m.Pix, Stride: m.Stride, Rect: m.Rect}, nil
		}
	}
	dst := image.NewNRGBA(image.Rect(0, 0, w, h))
	row := func(y int) []byte { return dst.Pix[y*dst.Stride:][:4*w] }
	switch m := m.(type) {
	case *image.NRGBA:
		eachRow(h, func(y int) { copy(row(y), m.Pix[m.PixOffset(b.Min.X, b.Min.Y+y):]) })
	case *image.RGBA:
		eachRow(h, func(y int) { copy(row(y), m.Pix[m.PixOffset(b.Min.X, b.Min.Y+y):]) })
		unmultiply(dst.Pix)
	case *image.NRGBA64:
		eachRow(h, func(y int) { upperBytes(row(y), m.Pix[m.PixOffset(b.Min.X, b.Min.Y+y):]) })
	case *image.RGBA64:
		eachRow(h, func(y int) { upperBytes(row(y), m.Pix[m.PixOffset(b.Min.X, b.Min.Y+y):]) })
		unmultiply(dst.Pix)
	case *image.Gray:
		eachRow(h, func(y int) {
			s, d := m.Pix[m.PixOffset(b.Min.X, b.Min.Y+y):][:w], row(y)
			for x, v := range s {
				p := d[4*x:][:4]
				p[0], p[1], p[2], p[3] = v, v, v, 255
			}
		})
	case *image.Gray16:
		eachRow(h, func(y int) {
			s, d := m.Pix[m.PixOffset(b.Min.X, b.Min.Y+y):][:2*w], row(y)
			for x := range w {
				v, p := s[2*x], d[4*x:][:4]
				p[0], p[1], p[2], p[3] = v, v, v, 255
			}
		})
	case *image.Paletted:
		var palette [256][4]byte
		for i, c := range m.Palette {
			if i < len(palette) {
				n := color.NRGBAModel.Convert(c).(color.NRGBA)
				palette[i] = [4]byte{n.R, n.G, n.B, n.A}
			}
		}
		paletted(dst, image.Point{}, m, &palette)
	case *image.CMYK:
		eachRow(h, func(y int) { cmykRow(row(y), m.Pix[m.PixOffset(b.Min.X, b.Min.Y+y):][:4*w]) })
	case *image.YCbCr:
		if b.Min != (image.Point{}) {
			return nil, fmt.Errorf("unexpected origin %v", b.Min)
		}
		jpegToRGB(dst, m)
	default:
		return nil, fmt.Errorf("unexpected pixel type %T", m)
	}
	return dst, nil
}

func eachRow(h int, f func(y int)) {
	parallel(h, func(from, to int) {
		for y := from; y < to; y++ {
			f(y)
		}
	})
}

// upperBytes keeps the more significant byte of each 16-bit big-endian channel.
func upperBytes(dst, src []byte) {
	src = src[:2*len(dst)]
	for i := range dst {
		dst[i] = src[2*i]
	}
}

// paletted draws m at the point at of dst.
func paletted(dst *image.NRGBA, at image.Point, m *image.Paletted, palette *[256][4]byte) {
	w := m.Rect.Dx()
	eachRow(m.Rect.Dy(), func(y int) {
		s, d := m.Pix[y*m.Stride:][:w], dst.Pix[dst.PixOffset(at.X, at.Y+y):][:4*w]
		for x, v := range s {
			*(*[4]byte)(d[4*x:]) = palette[v]
		}
	})
}

// unmultiply divides the colours by alpha in place, as Pillow does (truncating).
func unmultiply(pix []byte) {
	for ; len(pix) >= 4; pix = pix[4:] {
		a := uint32(pix[3])
		if a == 255 || a == 0 {
			continue
		}
		for i := range 3 {
			pix[i] = uint8(min(255*uint32(pix[i])/a, 255))
		}
	}
}

// cmykRow mixes inks without a colour profile, as Pillow does: each ink takes its share of what black leaves.
func cmykRow(dst, src []byte) {
	for len(dst) >= 4 && len(src) >= 4 {
		left := 255 - uint32(src[3])
		for i := range 3 {
			t := uint32(src[i])*left + 128
			dst[i] = uint8(left - (t+t>>8)>>8)
		}
		dst[3] = 255
		dst, src = dst[4:], src[4:]
	}
}
