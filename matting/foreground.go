package matting

import (
	"context"
	"image"
	"math"
)

// ForegroundOptions tunes EstimateForeground. The zero value takes the defaults.
type ForegroundOptions struct {
	Regularization float64 // pull of the neighbours' colours; zero: 1e-5
	GradientWeight float64 // further pull where alpha changes; zero: 1
	Threads        int     // zero: all CPUs
	KeepAlpha      bool    // the result's alpha channel is the photo's own
}

// Passes over a level: many where it is tiny, few where the coarser level has left little to do.
const (
	smallLevel  = 32
	smallPasses = 10
	bigPasses   = 2
)

// fringe is how far, in a level's pixels, colours are estimated beyond those that are asked for.
const fringe = 2

// fgLevel is one resolution of the estimate: for each slot of the band foreground and background red, green and blue,
// 0..1, and what they are estimated from.
type fgLevel struct {
	*band
	est   [][6]float32
	pixel [][4]float32 // red, green, blue and alpha of the photo, 0..1
}

// EstimateForeground finds the subject's own colours where alpha is neither 0 nor 255: there the photo shows them
// mixed with the background's. It returns the photo with those pixels' colours replaced; all others keep theirs, bit
// by bit, and alpha goes into the result's alpha channel unless the photo's is to be kept. Composing the result over any background with straight
// alpha gives no fringe of the old one.
//
// The method is T. Germer, T. Uelwer, S. Conrad, S. Harmeling: Fast multi-level foreground estimation, ICPR 2020, with
// its published parameters, computed near soft pixels only. It returns a *SizeError where the planes differ in size and
// ctx.Err() when ctx ends first.
func EstimateForeground(ctx context.Context, photo *image.NRGBA, alpha *image.Gray, o ForegroundOptions) (*image.NRGBA, error) {
	if err := sameSize(photo, "alpha", alpha); err != nil {
		return nil, err
	}
	if o.Regularization == 0 {
		o.Regularization = 1e-5
	}
	if o.GradientWeight == 0 {
		o.GradientWeight = 1
	}
	o.Threads = threadCount(o.Threads)
	w, h := photo.Rect.Dx(), photo.Rect.Dy()
	out := image.NewNRGBA(image.Rect(0, 0, w, h))
	stripes(o.Threads, h, func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			dst := out.Pix[y*out.Stride : y*out.Stride+4*w]
			copy(dst, photo.Pix[y*photo.Stride:])
			if o.KeepAlpha {
				continue
			}
			for x, a := range alpha.Pix[y*alpha.Stride : y*alpha.Stride+w] {
				dst[4*x+3] = a
			}
		}
	})
	var soft [256]bool
	for v := 1; v < 255; v++ {
		soft[v] = true
	}
	spans := unknownSpans(alpha.Pix, alpha.Stride, w, h, o.Threads, &soft)
	levels := foregroundLevels(w, h, spans)
	if levels == nil {
		return out, nil
	}
	fg, bg := meanColours(photo, alpha)
	var prev *fgLevel
	for _, b := range levels {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		l := newFgLevel(b, photo, alpha, prev, fg, bg, o.Threads)
		passes := bigPasses
		if b.w <= smallLevel && b.h <= smallLevel {
			passes = smallPasses
		}
		for i := 0; i < passes; i++ {
			l.pass(o)
		}
		prev = l
	}
	each(o.Threads, h, func(y int) {
		row := prev.row(y)
		for _, s := range spans[y] {
			for len(row) > 1 && row[0].x1 <= s[0] {
				row = row[1:]
			}
			e := prev.est[row[0].at+s[0]-row[0].x0:]
			dst := out.Pix[y*out.Stride+4*int(s[0]):]
			for j := 0; j < int(s[1]-s[0]); j++ {
				dst[4*j] = uint8(e[j][0]*255 + 0.5)
				dst[4*j+1] = uint8(e[j][1]*255 + 0.5)
				dst[4*j+2] = uint8(e[j][2]*255 + 0.5)
			}
		}
	})
	return out, nil
}

// foregroundLevels gives the bands of all resolutions, 1x1 first, on which colours are needed to know those of spans.
// It returns nil where spans are empty.
func foregroundLevels(w, h int, spans [][][2]int32) []*band {
	some := false
	for _, s := range spans {
		some = some || len(s) > 0
	}
	if !some {
		return nil
	}
	n := int(math.Ceil(math.Log2(float64(max(w, h)))))
	levels := make([]*band, n+1)
	for i := n; i >= 0; i-- {
		lw, lh := w, h
		if i < n {
			f := float64(i) / float64(n)
			lw, lh = int(math.RoundToEven(math.Pow(float64(w), f))), int(math.RoundToEven(math.Pow(float64(h), f)))
		}
		levels[i] = newBand(lw, lh, widen(spans, lw, fringe))
		if i == 0 {
			break
		}
		// The coarser level must hold every pixel one of this level's slots starts from.
		f := float64(i-1) / float64(n)
		pw, ph := int(math.RoundToEven(math.Pow(float64(w), f))), int(math.RoundToEven(math.Pow(float64(h), f)))
		spans = make([][][2]int32, ph)
		for y := -reach; y < lh+reach; y++ {
			py := clampInt(y, lh) * ph / lh
			for _, r := range levels[i].row(y) {
				x0, x1 := clampInt(int(r.x0), lw), clampInt(int(r.x1)-1, lw)
				spans[py] = append(spans[py], [2]int32{int32(x0 * pw / lw), int32(x1*pw/lw + 1)})
			}
		}
		for y := range spans {
			spans[y] = merge(spans[y])
		}
	}
	return levels
}

func clampInt(v, n int) int { return max(0, min(n-1, v)) }

// widen grows spans by d pixels to all four sides within a width of w.
func widen(spans [][][2]int32, w, d int) [][][2]int32 {
	out := make([][][2]int32, len(spans))
	for y := range out {
		for yy := max(0, y-d); yy <= min(len(spans)-1, y+d); yy++ {
			for _, s := range spans[yy] {
				out[y] = append(out[y], [2]int32{max(0, s[0]-int32(d)), min(int32(w), s[1]+int32(d))})
			}
		}
		out[y] = merge(out[y])
	}
	return out
}

// meanColours returns the mean colour, 0..1, of nearly opaque and of nearly transparent pixels, black where there are
// none. Of a large photo it looks at some rows only.
func meanColours(photo *image.NRGBA, alpha *image.Gray) (fg, bg [3]float32) {
	w, h := photo.Rect.Dx(), photo.Rect.Dy()
	step := 1 + w*h>>17
	var sum [2][3]uint64
	var count [2]uint64
	for y := 0; y < h; y += step {
		p := photo.Pix[y*photo.Stride : y*photo.Stride+4*w]
		for x, a := range alpha.Pix[y*alpha.Stride : y*alpha.Stride+w] {
			k := 0
			switch {
			case a > 229:
			case a < 26:
				k = 1
			default:
				continue
			}
			sum[k][0] += uint64(p[4*x])
			sum[k][1] += uint64(p[4*x+1])
			sum[k][2] += uint64(p[4*x+2])
			count[k]++
		}
	}
	for c := 0; c < 3; c++ {
		fg[c] = float32(float64(sum[0][c]) / 255 / (float64(count[0]) + 1e-5))
		bg[c] = float32(float64(sum[1][c]) / 255 / (float64(count[1]) + 1e-5))
	}
	return fg, bg
}

// newFgLevel samples photo and alpha for the band's slots and starts the estimate from the coarser level prev, or from
// the given colours where prev is nil.
func newFgLevel(b *band, photo *image.NRGBA, alpha *image.Gray, prev *fgLevel, fg, bg [3]float32, threads int) *fgLevel {
	l := &fgLevel{band: b, est: make([][6]float32, b.n), pixel: make([][4]float32, b.n)}
	W, H := photo.Rect.Dx(), photo.Rect.Dy()
	each(threads, b.h+2*reach, func(r int) {
		y := clampInt(r-reach, b.h)
		sy := y * H / b.h
		var from []run
		if prev != nil {
			from = prev.row(y * prev.h / b.h)
		}
		for _, ru := range b.row(r - reach) {
			for x := int(ru.x0); x < int(ru.x1); x++ {
				at := int(ru.at) + x - int(ru.x0)
				cx := clampInt(x, b.w)
				sx := cx
				if b.w != W {
					sx = cx * W / b.w
				}
				p := photo.Pix[sy*photo.Stride+4*sx:]
				q := &l.pixel[at]
				const k = 1. / 255
				q[0], q[1], q[2] = float32(p[0])*k, float32(p[1])*k, float32(p[2])*k
				a := alpha.Pix[sy*alpha.Stride+sx]
				q[3] = float32(a) * k
				e := &l.est[at]
				if prev == nil {
					*e = [6]float32{fg[0], fg[1], fg[2], bg[0], bg[1], bg[2]}
				} else {
					px := int32(cx * prev.w / b.w)
					for len(from) > 1 && from[0].x1 <= px {
						from = from[1:]
					}
					*e = prev.est[from[0].at+px-from[0].x0]
				}
			}
		}
	})
	return l
}

// pass goes once over the level, solving each pixel's colours for those of its four neighbours.
func (l *fgLevel) pass(o ForegroundOptions) {
	reg, grad := float32(o.Regularization), float32(o.GradientWeight)
	for odd := 0; odd < 2; odd++ {
		l.parity(o.Threads, odd, func(_ int, segs []seg) {
			for i := range segs {
				s := &segs[i]
				for j := int32(0); j < s.n; j++ {
					at := s.at + j
					nb := [4]int32{at - 1, at + 1, s.up1 + j, s.dn1 + j}
					// At the picture's border a pixel is its own neighbour.
					if s.x+j == 0 {
						nb[0] = at
					}
					if int(s.x+j) == l.w-1 {
						nb[1] = at
					}
					if s.y == 0 {
						nb[2] = at
					}
					if int(s.y) == l.h-1 {
						nb[3] = at
					}
					p := &l.pixel[at]
					a0 := p[3]
					a1 := 1 - a0
					f0, f1, f2 := a0*p[0], a0*p[1], a0*p[2]
					b0, b1, b2 := a1*p[0], a1*p[1], a1*p[2]
					var sum float32
					for _, k := range nb {
						d := a0 - l.pixel[k][3]
						if d < 0 {
							d = -d
						}
						da := reg + grad*d
						sum += da
						e := &l.est[k]
						f0 += da * e[0]
						f1 += da * e[1]
						f2 += da * e[2]
						b0 += da * e[3]
						b1 += da * e[4]
						b2 += da * e[5]
					}
					a00, a01, a11 := a0*a0+sum, a0*a1, a1*a1+sum
					inv := 1 / (a00*a11 - a01*a01)
					m00, m01, m11 := inv*a11, -inv*a01, inv*a00
					e := &l.est[at]
					e[0] = unit(m00*f0 + m01*b0)
					e[1] = unit(m00*f1 + m01*b1)
					e[2] = unit(m00*f2 + m01*b2)
					e[3] = unit(m01*f0 + m11*b0)
					e[4] = unit(m01*f1 + m11*b1)
					e[5] = unit(m01*f2 + m11*b2)
				}
			}
		})
	}
}

func unit(v float32) float32 { return max(0, min(1, v)) }
