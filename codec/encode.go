package codec

import (
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io"

	"github.com/gen2brain/webp"
)

// EncodeJPEG writes m as a baseline JPEG of the given quality, 1 to 100, laid on the colour background, whose own alpha is
// ignored, since JPEG knows no transparency. m is an *image.NRGBA or *image.Gray with its origin at (0,0).
func EncodeJPEG(w io.Writer, m image.Image, quality int, background color.NRGBA) error {
	switch src := m.(type) {
	case *image.Gray:
	case *image.NRGBA:
		m = flatten(src, background)
	default:
		return fmt.Errorf("encode jpeg: unsupported pixel type %T", m)
	}
	if err := checkSides(m, 65535); err != nil {
		return fmt.Errorf("encode jpeg: %w", err)
	}
	if err := jpeg.Encode(w, m, &jpeg.Options{Quality: min(max(quality, 1), 100)}); err != nil {
		return fmt.Errorf("encode jpeg: %w", err)
	}
	return nil
}

// EncodeWebP writes m as a lossy WebP of the given quality, 1 to 100, with its transparency kept exactly. Colours below
// fully transparent pixels are not kept. m is an *image.NRGBA or *image.Gray with its origin at (0,0), and no side is
// longer than 16383 pixels.
func EncodeWebP(w io.Writer, m image.Image, quality int) (err error) {
	defer func() {
		if r := recover(); r != nil { // the encoder is libwebp in translation and runs out of memory by panicking
			err = fmt.Errorf("encode webp: %v", r)
		}
	}()
	if err := checkSides(m, 16383); err != nil {
		return fmt.Errorf("encode webp: %w", err)
	}
	var src *image.NRGBA
	switch m := m.(type) {
	case *image.NRGBA:
		src = m
		if width := 4 * m.Rect.Dx(); m.Stride != width || len(m.Pix) != width*m.Rect.Dy() {
			src = image.NewNRGBA(m.Rect)
			for y := range m.Rect.Dy() {
				copy(src.Pix[y*src.Stride:][:width], m.Pix[y*m.Stride:])
			}
		}
	case *image.Gray:
		if src, err = toNRGBA(m); err != nil {
			return fmt.Errorf("encode webp: %w", err)
		}
	default:
		return fmt.Errorf("encode webp: unsupported pixel type %T", m)
	}
	if err := webp.Encode(w, src, webp.Options{Quality: min(max(quality, 1), 100), Method: webp.DefaultMethod}); err != nil {
		return fmt.Errorf("encode webp: %w", err)
	}
	return nil
}

func checkSides(m image.Image, most int) error {
	if w, h := m.Bounds().Dx(), m.Bounds().Dy(); w < 1 || h < 1 || w > most || h > most {
		return fmt.Errorf("cannot write a picture of %dx%d: sides are 1 to %d", w, h, most)
	}
	return nil
}

// flatten lays m on a colour.
func flatten(m *image.NRGBA, c color.NRGBA) *image.RGBA {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	dst := image.NewRGBA(image.Rect(0, 0, w, h))
	bg := [3]uint32{uint32(c.R), uint32(c.G), uint32(c.B)}
	eachRow(h, func(y int) {
		s, d := m.Pix[y*m.Stride:][:4*w], dst.Pix[y*dst.Stride:][:4*w]
		for ; len(s) >= 4 && len(d) >= 4; s, d = s[4:], d[4:] {
			a := uint32(s[3])
			for i := range bg {
				t := uint32(s[i])*a + bg[i]*(255-a) + 128
				d[i] = uint8((t + t>>8) >> 8)
			}
			d[3] = 255
		}
	})
	return dst
}
