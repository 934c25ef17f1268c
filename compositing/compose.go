package compositing

import (
	"encoding/binary"
	"image"
	"image/color"
	"math"
	"sync"
)

// Compose lays subject over shadow over background. A nil shadow or background is left out; the others must have the
// same size. Without a background the result is the subject on its shadow, transparent around them. On a background the
// shadow takes light away as a real one does, in linear light, and only as far as the background is there: on an opaque
// background the result is opaque, and where the background is transparent the shadow falls on whatever will lie below.
func Compose(subject, shadow, background *image.NRGBA) *image.NRGBA {
	if background == nil {
		if shadow == nil {
			return subject
		}
		return Over(subject, shadow)
	}
	if shadow == nil {
		return Over(subject, background)
	}
	sameSize("compose", subject.Rect, shadow.Rect)
	sameSize("compose", subject.Rect, background.Rect)
	light := linearLight()
	w, h := subject.Rect.Dx(), subject.Rect.Dy()
	out := image.NewNRGBA(image.Rect(0, 0, w, h))
	eachBand(w, h, func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			t, d := row(subject.Pix, subject.Stride, y, 4*w), row(out.Pix, out.Stride, y, 4*w)
			s, b := row(shadow.Pix, shadow.Stride, y, 4*w), row(background.Pix, background.Stride, y, 4*w)
			for i := 0; i < len(d); i += 4 {
				p := binary.LittleEndian.Uint32(t[i:])
				if p>>24 != 255 {
					below := binary.LittleEndian.Uint32(b[i:])
					if q := binary.LittleEndian.Uint32(s[i:]); q>>24 != 0 {
						below = light.shade(q, below)
					}
					p = over(p, below)
				}
				if p != 0 { // leaves memory that is zero already untouched
					binary.LittleEndian.PutUint32(d[i:], p)
				}
			}
		}
	})
	return out
}

// FlattenShadow lays subject over shadow over the colour c, as Compose does over a picture of that colour alone.
func FlattenShadow(subject, shadow *image.NRGBA, c color.NRGBA) *image.NRGBA {
	if shadow == nil {
		return Flatten(subject, c)
	}
	sameSize("flatten", subject.Rect, shadow.Rect)
	light := linearLight()
	base := packed(c)
	w, h := subject.Rect.Dx(), subject.Rect.Dy()
	out := image.NewNRGBA(image.Rect(0, 0, w, h))
	eachBand(w, h, func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			t, d := row(subject.Pix, subject.Stride, y, 4*w), row(out.Pix, out.Stride, y, 4*w)
			s := row(shadow.Pix, shadow.Stride, y, 4*w)
			for i := 0; i < len(d); i += 4 {
				p := binary.LittleEndian.Uint32(t[i:])
				if p>>24 != 255 {
					below := base
					if q := binary.LittleEndian.Uint32(s[i:]); q>>24 != 0 {
						below = light.shade(q, below)
					}
					p = over(p, below)
				}
				binary.LittleEndian.PutUint32(d[i:], p)
			}
		}
	})
	return out
}

// light holds the sRGB transfer function (IEC 61966-2-1) as tables.
type light struct {
	linear  [256]uint32  // 0..65535
	encoded [65536]uint8 // inverse of linear, rounded to the nearest sRGB value
}

// linearLight builds the tables on first use; they never change afterwards.
var linearLight = sync.OnceValue(func() *light {
	l := new(light)
	for i := range l.linear {
		l.linear[i] = uint32(math.Round(65535 * toLinear(float64(i)/255)))
	}
	from := 0
	for v := range 256 {
		to := 65536
		if v < 255 {
			to = int(math.Ceil(65535 * toLinear((float64(v)+0.5)/255)))
		}
		for i := from; i < to; i++ {
			l.encoded[i] = uint8(v)
		}
		from = to
	}
	return l
})

// shade darkens the background pixel b by the shadow pixel q. A shadow of alpha a over white looks like plain alpha
// blending, 255-a for black; the share of light that implies is what every other colour keeps too, so that the same
// shadow layer looks alike in a transparent file and on a background.
func (l *light) shade(q, b uint32) uint32 {
	qa, ba := q>>24, b>>24
	if ba == 0 {
		return q
	}
	keep := l.linear[255-qa]
	shaded := l.mix(q&255, b&255, keep) | l.mix(q>>8&255, b>>8&255, keep)<<8 | l.mix(q>>16&255, b>>16&255, keep)<<16
	if ba == 255 {
		return shaded | 255<<24
	}
	return over(shaded|ba<<24, q)
}

// mix blends one channel of the shadow's colour, q, into the background's, b, in linear light.
func (l *light) mix(q, b, keep uint32) uint32 {
	v := (uint64(l.linear[b])*uint64(keep) + uint64(l.linear[q])*uint64(65535-keep) + 32767) / 65535
	return uint32(l.encoded[v])
}

func toLinear(v float64) float64 {
	if v <= 0.04045 {
		return v / 12.92
	}
	return math.Pow((v+0.055)/1.055, 2.4)
}

func fromLinear(v float64) float64 {
	if v <= 0.0031308 {
		return v * 12.92
	}
	return 1.055*math.Pow(v, 1/2.4) - 0.055
}
