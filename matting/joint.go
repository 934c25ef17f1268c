package matting

import "image"

// joint brings the matte of a reduced photo to the size of the photo: near each reduced pixel alpha is taken for a
// linear function of colour, and that function, interpolated, is applied to the photo's own colours (K. He, J. Sun:
// Fast guided filter, arXiv 1505.00996, with colour guide).
type joint struct {
	photo *image.NRGBA
	alpha *image.Gray
	eps   float64
	coef  [][4]float32 // by pixel of the reduced photo: factors of red, green and blue, 0..1, and the constant
	have  []bool
}

// jointEpsilon regularises the colour covariance of joint's windows: about two steps of an 8-bit channel, squared.
const jointEpsilon = 1e-4

// jointRadius is half the side of joint's windows, less a half.
const jointRadius = 1

func newJoint(photo *image.NRGBA, alpha *image.Gray, eps float64) *joint {
	n := photo.Rect.Dx() * photo.Rect.Dy()
	return &joint{photo: photo, alpha: alpha, eps: eps, coef: make([][4]float32, n), have: make([]bool, n)}
}

// fit returns the linear function of colour nearest to alpha around (x, y) of the reduced photo.
func (g *joint) fit(x, y int) [4]float32 {
	w, h := g.photo.Rect.Dx(), g.photo.Rect.Dy()
	var n, r, gr, b, p int
	var rr, rg, rb, gg, gb, bb, rp, gp, bp int
	for yy := max(0, y-jointRadius); yy <= min(h-1, y+jointRadius); yy++ {
		for xx := max(0, x-jointRadius); xx <= min(w-1, x+jointRadius); xx++ {
			c := g.photo.Pix[yy*g.photo.Stride+4*xx:]
			c0, c1, c2, a := int(c[0]), int(c[1]), int(c[2]), int(g.alpha.Pix[yy*g.alpha.Stride+xx])
			n++
			r += c0
			gr += c1
			b += c2
			p += a
			rr += c0 * c0
			rg += c0 * c1
			rb += c0 * c2
			gg += c1 * c1
			gb += c1 * c2
			bb += c2 * c2
			rp += c0 * a
			gp += c1 * a
			bp += c2 * a
		}
	}
	k := 1 / float64(n)
	mr, mg, mb, mp := float64(r)*k, float64(gr)*k, float64(b)*k, float64(p)*k
	e := g.eps * 255 * 255
	vrr, vrg, vrb := float64(rr)*k-mr*mr+e, float64(rg)*k-mr*mg, float64(rb)*k-mr*mb
	vgg, vgb, vbb := float64(gg)*k-mg*mg+e, float64(gb)*k-mg*mb, float64(bb)*k-mb*mb+e
	v0, v1, v2 := float64(rp)*k-mr*mp, float64(gp)*k-mg*mp, float64(bp)*k-mb*mp
	c00, c01, c02 := vgg*vbb-vgb*vgb, vgb*vrb-vrg*vbb, vrg*vgb-vgg*vrb
	c11, c12, c22 := vrr*vbb-vrb*vrb, vrb*vrg-vrr*vgb, vrr*vgg-vrg*vrg
	inv := 1 / (vrr*c00 + vrg*c01 + vrb*c02)
	a0 := (c00*v0 + c01*v1 + c02*v2) * inv
	a1 := (c01*v0 + c11*v1 + c12*v2) * inv
	a2 := (c02*v0 + c12*v1 + c22*v2) * inv
	// Colours are 0..255 on both sides from here on, and so is alpha.
	return [4]float32{float32(a0), float32(a1), float32(a2), float32(mp - a0*mr - a1*mg - a2*mb)}
}

// enlarge computes the matte of the pixels of photo in spans. It hands f one stretch of alpha at a time, which begins at
// pixel (x, y) and is f's until it returns; calls are concurrent.
func (g *joint) enlarge(photo *image.NRGBA, spans [][][2]int32, threads int, f func(y, x int, alpha []uint8)) {
	w, h := photo.Rect.Dx(), photo.Rect.Dy()
	gw, gh := g.photo.Rect.Dx(), g.photo.Rect.Dy()
	cols, rows := interpolation(w, gw), interpolation(h, gh)
	// Which functions are needed: those around pixels in spans.
	for y := range spans {
		for _, s := range spans[y] {
			for _, yy := range [2]int32{rows[y].a, rows[y].b} {
				need := g.have[int(yy)*gw : int(yy+1)*gw]
				for x := cols[s[0]].a; x <= cols[s[1]-1].b; x++ {
					need[x] = true
				}
			}
		}
	}
	each(threads, gh, func(y int) {
		for x := 0; x < gw; x++ {
			if g.have[y*gw+x] {
				g.coef[y*gw+x] = g.fit(x, y)
			}
		}
	})
	stripes(threads, h, func(y0, y1 int) {
		line := make([]uint8, w)
		for y := y0; y < y1; y++ {
			ra, rb, ty := g.coef[int(rows[y].a)*gw:], g.coef[int(rows[y].b)*gw:], rows[y].t
			for _, s := range spans[y] {
				for x := int(s[0]); x < int(s[1]); x++ {
					c := cols[x]
					p := photo.Pix[y*photo.Stride+4*x : y*photo.Stride+4*x+3]
					c0, c1, c2 := float32(p[0]), float32(p[1]), float32(p[2])
					v := func(k *[4]float32) float32 { return k[0]*c0 + k[1]*c1 + k[2]*c2 + k[3] }
					// Interpolating values is interpolating the functions.
					l := v(&ra[c.a])
					l += ty * (v(&rb[c.a]) - l)
					r := v(&ra[c.b])
					r += ty * (v(&rb[c.b]) - r)
					line[x] = uint8(max(0, min(255, l+c.t*(r-l))) + .5)
				}
				f(y, int(s[0]), line[s[0]:s[1]])
			}
		}
	})
}

// tap says which two pixels of a reduced row a pixel lies between, and how far it is from the first to the second.
type tap struct {
	a, b int32
	t    float32
}

// interpolation gives the taps of n pixels between m reduced ones that cover the same length.
func interpolation(n, m int) []tap {
	t := make([]tap, n)
	for i := range t {
		f := (float64(i)+.5)*float64(m)/float64(n) - .5
		f = max(0, min(float64(m-1), f))
		a := min(int(f), max(0, m-2))
		t[i] = tap{a: int32(a), b: int32(min(a+1, m-1)), t: float32(f - float64(a))}
	}
	return t
}

// cover gives for each of m reduced pixels the range of the n pixels whose centres it covers, at least one.
func cover(n, m int) [][2]int {
	r := make([][2]int, m)
	for i := range r {
		a, b := (2*i*n+m-1)/(2*m), (2*(i+1)*n+m-1)/(2*m)
		a = min(a, n-1)
		r[i] = [2]int{a, min(n, max(a+1, b))}
	}
	return r
}

// shrinkPhoto averages photo's colours down to gw x gh, not more than its own size: the pixels in spans of the result, or
// all of them where spans are nil.
func shrinkPhoto(photo *image.NRGBA, gw, gh int, spans [][][2]int32, threads int) *image.NRGBA {
	w, h := photo.Rect.Dx(), photo.Rect.Dy()
	out := image.NewNRGBA(image.Rect(0, 0, gw, gh))
	xs, ys := cover(w, gw), cover(h, gh)
	whole := [][2]int32{{0, int32(gw)}}
	stripes(threads, gh, func(y0, y1 int) {
		sum := make([][3]uint32, gw)
		for y := y0; y < y1; y++ {
			stretches := whole
			if spans != nil {
				stretches = spans[y]
			}
			for _, st := range stretches {
				sums, ranges := sum[st[0]:st[1]], xs[st[0]:st[1]]
				clear(sums)
				for yy := ys[y][0]; yy < ys[y][1]; yy++ {
					row := photo.Pix[yy*photo.Stride : yy*photo.Stride+4*w]
					for x, r := range ranges {
						var s0, s1, s2 uint32
						for p := row[4*r[0] : 4*r[1]]; len(p) >= 4; p = p[4:] {
							s0 += uint32(p[0])
							s1 += uint32(p[1])
							s2 += uint32(p[2])
						}
						s := &sums[x]
						s[0] += s0
						s[1] += s1
						s[2] += s2
					}
				}
				dst := out.Pix[y*out.Stride+4*int(st[0]):]
				for x, r := range ranges {
					n := uint32((r[1] - r[0]) * (ys[y][1] - ys[y][0]))
					for c, v := range sums[x] {
						dst[4*x+c] = uint8((v + n/2) / n)
					}
					dst[4*x+3] = 255
				}
			}
		}
	})
	return out
}

// shrinkTrimap reduces a trimap to gw x gh: a pixel is sure where all it covers is sure of the same.
func shrinkTrimap(t *image.Gray, gw, gh, threads int) *image.Gray {
	w, h := t.Rect.Dx(), t.Rect.Dy()
	out := image.NewGray(image.Rect(0, 0, gw, gh))
	xs, ys := cover(w, gw), cover(h, gh)
	stripes(threads, gh, func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			for x, r := range xs {
				lo, hi := uint8(255), uint8(0)
				for yy := ys[y][0]; yy < ys[y][1]; yy++ {
					for _, v := range t.Pix[yy*t.Stride+r[0] : yy*t.Stride+r[1]] {
						lo, hi = min(lo, v), max(hi, v)
					}
				}
				switch {
				case lo == Foreground:
					out.Pix[y*out.Stride+x] = Foreground
				case hi == Background:
					out.Pix[y*out.Stride+x] = Background
				default:
					out.Pix[y*out.Stride+x] = Unknown
				}
			}
		}
	})
	return out
}
