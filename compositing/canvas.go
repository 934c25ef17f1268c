package compositing

import (
	"image"
	"math"
)

// Layout says which part of a picture goes where on a canvas. To lies inside the canvas; From may reach outside of the
// picture, which is transparent there. Where their sizes differ the part is scaled.
type Layout struct {
	Size     image.Point     // of the canvas
	From, To image.Rectangle // in the picture and on the canvas
}

// Picture lays m out. What the part does not cover is transparent.
func (l Layout) Picture(m *image.NRGBA, resize Resize) *image.NRGBA {
	if l.From.Size() == l.To.Size() {
		if l.To.Size() == l.Size {
			return CropTo(m, l.From)
		}
		// The canvas as seen from the picture may show more of it than the part.
		m = CropTo(m, l.From)
	} else {
		m = resize(CropTo(m, l.From), l.To.Dx(), l.To.Dy())
	}
	return CropTo(m, image.Rectangle{Max: l.Size}.Sub(l.To.Min))
}

// AlphaOf returns the alpha of m as a mask.
func AlphaOf(m *image.NRGBA) *image.Gray {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	out := image.NewGray(image.Rect(0, 0, w, h))
	eachBand(w, h, func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			s, d := row(m.Pix, m.Stride, y, 4*w), row(out.Pix, out.Stride, y, w)
			for x := range d {
				d[x] = s[4*x+3]
			}
		}
	})
	return out
}

// BoundsOver returns the smallest rectangle that holds every pixel of m with at least the given alpha, empty when there
// is none.
func BoundsOver(m *image.NRGBA, alpha uint8) image.Rectangle {
	a := AlphaOf(m)
	ClearFaint(a, alpha)
	return Bounds(a)
}

// Binarise sets every value of mask from threshold up to 255 and all others to 0, in place.
func Binarise(mask *image.Gray, threshold uint8) {
	w, h := mask.Rect.Dx(), mask.Rect.Dy()
	eachBand(w, h, func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			r := row(mask.Pix, mask.Stride, y, w)
			for x, v := range r {
				if v >= threshold {
					r[x] = 255
				} else {
					r[x] = 0
				}
			}
		}
	})
}

// Clean removes what is thinner than three pixels from mask, smooths its outline and binarises it: a morphological
// opening with a cross of 3x3, a Gaussian of 5x5 with a deviation of 2 (mirrored at the border without repeating the
// outermost pixel), and a cut at 127. These are the steps of rembg's post_process, after Ji et al., "Optimized mask
// selection for person segmentation", 2021.
func Clean(mask *image.Gray) *image.Gray {
	m := extremum(mask, 255, func(a, b uint8) uint8 { return min(a, b) })
	m = extremum(m, 0, func(a, b uint8) uint8 { return max(a, b) })
	m = gauss5(m)
	Binarise(m, 127)
	return m
}

// extremum replaces each value by the extreme one of itself and its four neighbours; beyond the border lies outside,
// which must change nothing.
func extremum(m *image.Gray, outside uint8, pick func(a, b uint8) uint8) *image.Gray {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	out := image.NewGray(image.Rect(0, 0, w, h))
	none := make([]uint8, w)
	for x := range none {
		none[x] = outside
	}
	eachBand(w, h, func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			above, below := none, none
			if y > 0 {
				above = row(m.Pix, m.Stride, y-1, w)
			}
			if y+1 < h {
				below = row(m.Pix, m.Stride, y+1, w)
			}
			s, d := row(m.Pix, m.Stride, y, w), row(out.Pix, out.Stride, y, w)
			for x, v := range s {
				v = pick(pick(v, above[x]), below[x])
				if x > 0 {
					v = pick(v, s[x-1])
				}
				if x+1 < w {
					v = pick(v, s[x+1])
				}
				d[x] = v
			}
		}
	})
	return out
}

// gauss5 convolves m with a Gaussian of 5x5 and deviation 2.
func gauss5(m *image.Gray) *image.Gray {
	const radius = 2
	var kernel [2*radius + 1]float32
	var sum float64
	for i := range kernel {
		d := float64(i - radius)
		sum += math.Exp(-d * d / 8)
	}
	for i := range kernel {
		d := float64(i - radius)
		kernel[i] = float32(math.Exp(-d*d/8) / sum)
	}
	w, h := m.Rect.Dx(), m.Rect.Dy()
	wide := newPlane(w, h)
	eachBand(w, h, func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			s, d := row(m.Pix, m.Stride, y, w), wide.row(y)
			for x := range d {
				var v float32
				for i, k := range kernel {
					v += k * float32(s[mirror(x+i-radius, w)])
				}
				d[x] = v
			}
		}
	})
	out := image.NewGray(image.Rect(0, 0, w, h))
	eachBand(w, h, func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			var rows [len(kernel)][]float32
			for i := range rows {
				rows[i] = wide.row(mirror(y+i-radius, h))
			}
			d := row(out.Pix, out.Stride, y, w)
			for x := range d {
				var v float32
				for i, k := range kernel {
					v += k * rows[i][x]
				}
				d[x] = uint8(v + 0.5)
			}
		}
	})
	return out
}

// mirror reflects an index at the ends of 0..n-1 without repeating them.
func mirror(i, n int) int {
	if n == 1 {
		return 0
	}
	for i < 0 || i >= n {
		if i < 0 {
			i = -i
		} else {
			i = 2*(n-1) - i
		}
	}
	return i
}

// Bleed returns the colours of m, opaque, continued smoothly into what is transparent: a push-pull pyramid (Gortler et
// al., The Lumigraph, 1996), where each level averages the colours below it by their alpha and what has none takes
// that of the level above. Pixels of full alpha keep their colour to the bit. Fully transparent pictures become black.
func Bleed(m *image.NRGBA) *image.NRGBA {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	if m.Opaque() {
		return m
	}
	out := image.NewNRGBA(image.Rect(0, 0, w, h))
	half := pull(m)
	half.fill()
	eachBand(w, h, func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			s, d := row(m.Pix, m.Stride, y, 4*w), row(out.Pix, out.Stride, y, 4*w)
			for x := range w {
				p, q := s[4*x:4*x+4:4*x+4], d[4*x:4*x+4:4*x+4]
				q[3] = 255
				if p[3] == 255 {
					copy(q[:3], p)
					continue
				}
				c := half.between(x, y)
				a := float32(p[3]) / 255
				for i := range 3 {
					q[i] = uint8(float32(p[i])*a + c[i]*(1-a) + 0.5)
				}
			}
		}
	})
	return out
}

// level is one step of the pyramid: colours 0..255 multiplied by their weight, 0..1, and the weight.
type level struct {
	w, h int
	pix  [][4]float32
}

func (l *level) at(x, y int) [4]float32 { return l.pix[y*l.w+x] }

// between interpolates l at a pixel of the level below, which is twice as large: bilinear weights of 3/4 and 1/4.
func (l *level) between(x, y int) [4]float32 {
	x0, y0 := x/2, y/2
	x1, y1 := min(max(x0+x%2*2-1, 0), l.w-1), min(max(y0+y%2*2-1, 0), l.h-1)
	a, b, c, d := l.at(x0, y0), l.at(x1, y0), l.at(x0, y1), l.at(x1, y1)
	for i := range a {
		a[i] = (9*a[i] + 3*b[i] + 3*c[i] + d[i]) / 16
	}
	return a
}

// pull halves m into the pyramid's first level.
func pull(m *image.NRGBA) *level {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	l := &level{w: (w + 1) / 2, h: (h + 1) / 2}
	l.pix = make([][4]float32, l.w*l.h)
	for y := range h {
		s, d := row(m.Pix, m.Stride, y, 4*w), l.pix[y/2*l.w:]
		for x := range w {
			if a := float32(s[4*x+3]) / 255; a > 0 {
				c := &d[x/2]
				c[0] += a * float32(s[4*x])
				c[1] += a * float32(s[4*x+1])
				c[2] += a * float32(s[4*x+2])
				c[3] += a
			}
		}
	}
	return l
}

// fill divides the colours by their weight, those without any being taken from the levels above.
func (l *level) fill() {
	var up *level
	if l.w > 1 || l.h > 1 {
		up = &level{w: (l.w + 1) / 2, h: (l.h + 1) / 2}
		up.pix = make([][4]float32, up.w*up.h)
		for y := range l.h {
			for x := range l.w {
				c, d := l.at(x, y), &up.pix[y/2*up.w+x/2]
				for i := range d {
					d[i] += c[i]
				}
			}
		}
		up.fill()
	}
	for y := range l.h {
		for x := range l.w {
			c := &l.pix[y*l.w+x]
			var above [4]float32
			if up != nil {
				above = up.between(x, y)
			}
			weight := min(c[3], 1) // a whole pixel's worth of colour needs none from above
			for i := range 3 {
				own := float32(0)
				if c[3] > 0 {
					own = c[i] / c[3]
				}
				if up != nil {
					own = own*weight + above[i]*(1-weight)
				}
				c[i] = own
			}
		}
	}
}
