package compositing

import (
	"image"
	"image/color"
	"testing"
)

// benchSubject is a 1380x1380 picture with a soft-rimmed subject that fills half of it.
func benchSubject() (*image.NRGBA, *image.Gray) {
	m, p := image.NewGray(image.Rect(0, 0, 1380, 1380)), image.NewNRGBA(image.Rect(0, 0, 1380, 1380))
	for i := range 60 {
		disc(m, 690, 700, 560-float64(i)/2, uint8(min(4*i+20, 255)))
	}
	for i := range p.Pix {
		p.Pix[i] = uint8(i*7 + i>>9)
		if i%4 == 3 {
			p.Pix[i] = 255
		}
	}
	return p, m
}

func BenchmarkCompositing(b *testing.B) {
	src, mask := benchSubject()
	shadow, cut := CastShadow(mask, DefaultShadow()), Cutout(src, mask)
	white := color.NRGBA{255, 255, 255, 255}
	for _, bb := range []struct {
		name string
		fn   func()
	}{
		{"ClearFaint", func() { ClearFaint(mask, 8) }},
		{"DropSpecks", func() { DropSpecks(mask, 0.01) }},
		{"Bounds", func() { Bounds(mask) }},
		{"Objects", func() { Objects(mask) }},
		{"Cutout", func() { Cutout(src, mask) }},
		{"Over", func() { Over(cut, src) }},
		{"Flatten", func() { Flatten(cut, white) }},
		{"CastShadow", func() { CastShadow(mask, DefaultShadow()) }},
		{"ComposeTransparent", func() { Compose(cut, shadow, nil) }},
		{"ComposeBackground", func() { Compose(cut, shadow, src) }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				bb.fn()
			}
		})
	}
}
