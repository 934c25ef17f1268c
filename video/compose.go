package video

import (
	"image"
	"image/color"

	"cutout/codec"
)

// shrink makes a frame the size that the network sees. From twice that size on every pixel is the plain mean of those it
// stands for, at a fifth of the cost of the filter that pictures get; see docs/video.md for what that does to masks.
func shrink(frame *image.NRGBA, size image.Point) *image.NRGBA {
	w, h := frame.Rect.Dx(), frame.Rect.Dy()
	if w < 2*size.X || h < 2*size.Y {
		return codec.Lanczos(frame, size.X, size.Y)
	}
	out := image.NewNRGBA(image.Rectangle{Max: size})
	edges := make([]int, size.X+1)
	for x := range edges {
		edges[x] = x * w / size.X
	}
	sums := make([]uint32, 3*size.X)
	for y := range size.Y {
		y0, y1 := y*h/size.Y, (y+1)*h/size.Y
		clear(sums)
		for sy := y0; sy < y1; sy++ {
			row := frame.Pix[sy*frame.Stride:][:4*w]
			for x := range size.X {
				var r, g, b uint32
				p := row[4*edges[x] : 4*edges[x+1]]
				for i := 0; i+3 < len(p); i += 4 {
					r += uint32(p[i])
					g += uint32(p[i+1])
					b += uint32(p[i+2])
				}
				s := sums[3*x : 3*x+3 : 3*x+3]
				s[0] += r
				s[1] += g
				s[2] += b
			}
		}
		dst := out.Pix[y*out.Stride:]
		for x := range size.X {
			n := uint32((edges[x+1] - edges[x]) * (y1 - y0))
			dst[4*x] = uint8((sums[3*x] + n/2) / n)
			dst[4*x+1] = uint8((sums[3*x+1] + n/2) / n)
			dst[4*x+2] = uint8((sums[3*x+2] + n/2) / n)
			dst[4*x+3] = 255
		}
	}
	return out
}

// ground is what lies below the subject.
type ground struct {
	color   color.NRGBA
	picture *image.NRGBA // opaque, of the frame's size; nil: the colour
}

// compose turns a frame into one of the result, in its own memory, given its mask. What is transparent in the frame
// stays so. It returns the bytes for the encoder.
func compose(frame *image.NRGBA, mask *image.Gray, c content, below ground) []byte {
	n := frame.Rect.Dx() * frame.Rect.Dy()
	pix, alpha := frame.Pix[:4*n], mask.Pix[:n]
	switch c {
	case matte:
		for i, a := range alpha {
			if f := pix[4*i+3]; f != 255 {
				a = uint8((uint32(a)*uint32(f) + 127) / 255)
			}
			pix[i] = a // never ahead of what is still to be read
		}
		return pix[:n]
	case stencil:
		newSpread(frame, mask).clean(frame, mask, false) // what is left at the edge is opaque
		for i, a := range alpha {
			p := pix[4*i : 4*i+4 : 4*i+4]
			if a >= 128 && p[3] >= 128 {
				p[3] = 255
			} else {
				p[0], p[1], p[2], p[3] = 0, 0, 0, 0 // hides what was there, and packs best
			}
		}
		return pix
	case transparent:
		fill := newSpread(frame, mask)
		fill.clean(frame, mask, true)
		for i, a := range alpha {
			if f := pix[4*i+3]; f != 255 {
				a = uint8((uint32(a)*uint32(f) + 127) / 255)
			}
			pix[4*i+3] = a
		}
		return pix
	default:
		newSpread(frame, mask).clean(frame, mask, false)
		under := [4]uint8{below.color.R, below.color.G, below.color.B, 255}
		for i, a := range alpha {
			p := pix[4*i : 4*i+4 : 4*i+4]
			v := uint32(a)
			if p[3] != 255 {
				v = (v*uint32(p[3]) + 127) / 255
			}
			if v == 255 {
				continue
			}
			q := under[:]
			if below.picture != nil {
				q = below.picture.Pix[4*i : 4*i+4 : 4*i+4]
			}
			if v == 0 {
				p[0], p[1], p[2], p[3] = q[0], q[1], q[2], 255
				continue
			}
			p[0], p[1], p[2], p[3] = mix(p[0], q[0], v), mix(p[1], q[1], v), mix(p[2], q[2], v), 255
		}
		return pix
	}
}

// mix blends with a weight of 0 to 255, rounded to the nearest.
func mix(top, bottom uint8, a uint32) uint8 {
	v := uint32(top)*a + uint32(bottom)*(255-a) + 128
	return uint8((v + v>>8) >> 8)
}

// spread knows, on a coarse grid, the colours that the subject and its surroundings have near each place: those of the
// original picture averaged in a wide window with the mask, and with what it leaves, as weights (Forte, "Approximate Fast
// Foreground Colour Estimation", ICIP 2021, of which this is one round).
type spread struct {
	step   int // pixels of the frame to one of the grid
	w, h   int
	front  []float32 // of subject, four values a place: red, green, blue and how sure that is
	behind []float32
}

const (
	gridSide   = 240 // of the longer side of the grid, at least
	gridRadius = 6   // of the window, in places of the grid
)

func newSpread(frame *image.NRGBA, mask *image.Gray) *spread {
	fw, fh := frame.Rect.Dx(), frame.Rect.Dy()
	s := &spread{step: max(1, max(fw, fh)/gridSide)}
	s.w, s.h = (fw+s.step-1)/s.step, (fh+s.step-1)/s.step
	s.front, s.behind = make([]float32, 4*s.w*s.h), make([]float32, 4*s.w*s.h)
	for gy := range s.h {
		for gx := range s.w {
			f, b := s.front[4*(gy*s.w+gx):][:4:4], s.behind[4*(gy*s.w+gx):][:4:4]
			// A few pixels stand for the place: the window averages enough of them.
			x0, y0 := gx*s.step, gy*s.step
			half := s.step / 2
			for _, d := range [...]int{0, half} {
				x, y := min(x0+d, fw-1), min(y0+d, fh-1)
				a := float32(mask.Pix[y*mask.Stride+x])
				p := frame.Pix[y*frame.Stride+4*x:][:4:4]
				// What is sure counts most: a half-transparent pixel has the wrong colours for both.
				wf, wb := a*a*a/(255*255), (255-a)*(255-a)*(255-a)/(255*255)
				r, g, bl := float32(p[0]), float32(p[1]), float32(p[2])
				f[0] += wf * r
				f[1] += wf * g
				f[2] += wf * bl
				f[3] += wf
				b[0] += wb * r
				b[1] += wb * g
				b[2] += wb * bl
				b[3] += wb
			}
		}
	}
	scratch := make([]float32, len(s.front))
	for _, plane := range [][]float32{s.front, s.behind} {
		blurRows(scratch, plane, s.w, s.h)
		blurColumns(plane, scratch, s.w, s.h)
		for i := 0; i < len(plane); i += 4 {
			if n := plane[i+3]; n > 0.5 {
				plane[i] /= n
				plane[i+1] /= n
				plane[i+2] /= n
			} else {
				plane[i], plane[i+1], plane[i+2], plane[i+3] = 0, 0, 0, 0
			}
		}
	}
	return s
}

// blurRows sums four-valued places over windows of a row.
func blurRows(dst, src []float32, w, h int) {
	for y := range h {
		row, out := src[4*y*w:][:4*w], dst[4*y*w:][:4*w]
		var sum [4]float32
		for x := -gridRadius; x < w; x++ {
			if in := x + gridRadius; in < w {
				for c := range 4 {
					sum[c] += row[4*in+c]
				}
			}
			if x < 0 {
				continue
			}
			copy(out[4*x:], sum[:])
			if gone := x - gridRadius; gone >= 0 {
				for c := range 4 {
					sum[c] -= row[4*gone+c]
				}
			}
		}
	}
}

// blurColumns sums four-valued places over windows of a column.
func blurColumns(dst, src []float32, w, h int) {
	sums := make([]float32, 4*w)
	add := func(y int, sign float32) {
		row := src[4*y*w:][:4*w]
		for i, v := range row {
			sums[i] += sign * v
		}
	}
	for y := -gridRadius; y < h; y++ {
		if in := y + gridRadius; in < h {
			add(in, 1)
		}
		if y < 0 {
			continue
		}
		copy(dst[4*y*w:][:4*w], sums)
		if gone := y - gridRadius; gone >= 0 {
			add(gone, -1)
		}
	}
}

// clean gives the half-transparent pixels of a frame the colours of the subject, without what shone through. Those that
// are wholly transparent get the subject's colours near it where beyond is set, so that a codec that blurs across the
// edge finds no others there, and no alpha of their own.
func (s *spread) clean(frame *image.NRGBA, mask *image.Gray, beyond bool) {
	w, h := frame.Rect.Dx(), frame.Rect.Dy()
	var fill []uint8 // a row of the subject's colours
	if beyond {
		fill = make([]uint8, 4*w)
	}
	for y := range h {
		row, alpha := frame.Pix[y*frame.Stride:][:4*w], mask.Pix[y*mask.Stride:][:w]
		gy := (y / s.step) * s.w
		if beyond && y%s.step == 0 {
			s.subject(fill, gy)
		}
		for x := 0; x < w; x++ {
			switch alpha[x] {
			case 255:
			case 0:
				first := x
				for x+1 < w && alpha[x+1] == 0 {
					x++
				}
				if beyond {
					copy(row[4*first:4*x+4], fill[4*first:])
				}
			default:
				at := 4 * (gy + x/s.step)
				unmix(row[4*x:4*x+4:4*x+4], float32(alpha[x])/255, s.front[at:at+4:at+4], s.behind[at:at+4:at+4])
			}
		}
	}
}

// subject is a row of the frame in the subject's colours of the places from gy on.
func (s *spread) subject(row []uint8, gy int) {
	for x := 0; x < len(row); x += 4 * s.step {
		f := s.front[4*gy:][:4:4]
		gy++
		pixel := [4]uint8{uint8(f[0]), uint8(f[1]), uint8(f[2]), 0}
		for i := x; i < min(x+4*s.step, len(row)); i += 4 {
			copy(row[i:], pixel[:])
		}
	}
}

// unmix takes the surroundings out of a pixel that is the subject's for a share of a, given both their colours nearby.
func unmix(p []uint8, a float32, front, behind []float32) {
	if front[3] == 0 || behind[3] == 0 {
		return // nothing to tell them apart by
	}
	for c := range 3 {
		// What neither explains is the pixel's own, as far as it is the subject's.
		rest := float32(p[c]) - a*front[c] - (1-a)*behind[c]
		p[c] = uint8(min(max(front[c]+a*rest, 0), 255) + 0.5)
	}
}
