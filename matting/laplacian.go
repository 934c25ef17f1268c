package matting

import (
	"image"
	"math"
	"sync"
)

// stencil is the number of coefficients kept per pixel of a symmetric operator that couples pixels up to reach apart:
// the diagonal, then the couplings to the pixels that follow in raster order, by row: (0,1) (0,2), (1,-2)..(1,2),
// (2,-2)..(2,2).
const stencil = 13

// coefAt gives the place in a stencil of the coupling to the pixel dx to the right and dy below.
func coefAt(dx, dy int) int {
	if dy == 0 {
		return dx
	}
	return 5*dy + dx // dy 1: 3..7, dy 2: 8..12
}

// pairs lists the 36 pairs of different pixels of a 3x3 window in raster order, with the place of their coupling.
var pairs = func() (t [36]struct{ p, q, k uint8 }) {
	n := 0
	for p := 0; p < 9; p++ {
		for q := p + 1; q < 9; q++ {
			t[n].p, t[n].q = uint8(p), uint8(q)
			t[n].k = uint8(coefAt(q%3-p%3, q/3-p/3))
			n++
		}
	}
	return t
}()

// unknownSpans lists the stretches of each row for which keep is true.
func unknownSpans(pix []byte, stride, w, h, threads int, keep *[256]bool) [][][2]int32 {
	spans := make([][][2]int32, h)
	stripes(threads, h, func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			row := pix[y*stride : y*stride+w]
			for x := 0; x < w; {
				if !keep[row[x]] {
					x++
					continue
				}
				x0 := x
				for x < w && keep[row[x]] {
					x++
				}
				spans[y] = append(spans[y], [2]int32{int32(x0), int32(x)})
			}
		}
	})
	return spans
}

// mattingLaplacian builds the matting Laplacian of photo over the band's unknown pixels, and the right-hand side that
// the known ones of trimap leave (A. Levin, D. Lischinski, Y. Weiss: A closed-form solution to natural image matting,
// PAMI 2008, equation 12, 3x3 windows). Known pixels are eliminated: their couplings come back as zero. Both pictures
// are at least 3x3; eps regularises the windows' colour covariance, colours being 0..1.
func mattingLaplacian(b *band, c *coarse, photo *image.NRGBA, trimap *image.Gray, eps float64, threads int) (a []float32, rhs []float32) {
	w, h := b.w, b.h
	a = make([]float32, b.n*stencil)
	rhs = make([]float32, b.n)
	unknown := make([]bool, b.n)
	for _, s := range b.segs {
		for i := s.at; i < s.at+s.n; i++ {
			unknown[i] = true
		}
	}
	// Windows go by rows of cells; those of one parity write to nothing in common.
	rows := c.ny - 1
	spare := sync.Pool{New: func() any { return newCellRow(c.nx - 1) }}
	for odd := 0; odd < 2; odd++ {
		each(threads, (rows+1-odd)/2, func(k int) {
			Y := 2*k + odd
			cells := spare.Get().(*cellRow)
			addWindows(b, photo, eps, unknown, a, cells, max(1, Y*cellSize), min(h-1, (Y+1)*cellSize))
			c.addRow(cells, Y)
			cells.reset()
			spare.Put(cells)
		})
	}
	// Take the known pixels out.
	each(threads, len(b.block)-1, func(i int) {
		for _, s := range b.segs[b.block[i]:b.block[i+1]] {
			for j := int32(0); j < s.n; j++ {
				x, y, at := int(s.x+j), int(s.y), int(s.at+j)
				sum := float32(0)
				base := [5]int32{s.up2 + j, s.up1 + j, s.at + j, s.dn1 + j, s.dn2 + j}
				for dy := -2; dy <= 2; dy++ {
					yy := y + dy
					if yy < 0 || yy >= h {
						continue
					}
					for dx := -2; dx <= 2; dx++ {
						xx := x + dx
						o := int(base[dy+2]) + dx
						if xx < 0 || xx >= w || unknown[o] || trimap.Pix[yy*trimap.Stride+xx] != Foreground {
							continue
						}
						if o > at {
							sum -= a[at*stencil+coefAt(dx, dy)]
						} else {
							sum -= a[o*stencil+coefAt(-dx, -dy)]
						}
					}
				}
				rhs[at] = sum
			}
		}
	})
	eliminate(b, unknown, a, threads)
	return a, rhs
}

// eliminate sets every coupling of which one end is known to zero, and the known pixels' diagonal to one.
func eliminate(b *band, unknown []bool, a []float32, threads int) {
	each(threads, b.h+2*reach, func(r int) {
		y := r - reach
		for _, ru := range b.row(y) {
			for j := int32(0); j < ru.x1-ru.x0; j++ {
				at := int(ru.at + j)
				if unknown[at] {
					continue
				}
				c := a[at*stencil : at*stencil+stencil]
				clear(c)
				c[0] = 1
			}
		}
	})
	b.blocks(threads, func(_ int, segs []seg) {
		for _, s := range segs {
			for j := int32(0); j < s.n; j++ {
				c := a[int(s.at+j)*stencil : int(s.at+j)*stencil+stencil]
				for dx := 1; dx <= 2; dx++ {
					if !unknown[int(s.at+j)+dx] {
						c[dx] = 0
					}
				}
				for dx := -2; dx <= 2; dx++ {
					if !unknown[int(s.dn1+j)+dx] {
						c[5+dx] = 0
					}
					if !unknown[int(s.dn2+j)+dx] {
						c[10+dx] = 0
					}
				}
			}
		}
	})
}

// addWindows adds the windows with centres in rows y0..y1-1, 1 <= y0, y1 <= h-1, that hold an unknown pixel, to the
// Laplacian a and a share of them to the cells of their coarse row.
func addWindows(b *band, photo *image.NRGBA, eps float64, unknown []bool, a []float32, cells *cellRow, y0, y1 int) {
	w := b.w
	var col [9][3]float64
	var slot [9]int
	for y := y0; y < y1; y++ {
		// A window's nine pixels have slots wherever it holds an unknown pixel; then so has the centre row's stretch.
		up, dn := b.row(y-1), b.row(y+1)
		for _, ru := range b.row(y) {
			for x := max(1, int(ru.x0)+1); x < min(w-1, int(ru.x1)-1); x++ {
				for len(up) > 0 && int(up[0].x1) < x+2 {
					up = up[1:]
				}
				for len(dn) > 0 && int(dn[0].x1) < x+2 {
					dn = dn[1:]
				}
				if len(up) == 0 || len(dn) == 0 || int(up[0].x0) > x-1 || int(dn[0].x0) > x-1 {
					continue
				}
				s0 := int(up[0].at) + x - int(up[0].x0)
				s1 := int(ru.at) + x - int(ru.x0)
				s2 := int(dn[0].at) + x - int(dn[0].x0)
				if !(unknown[s0-1] || unknown[s0] || unknown[s0+1] || unknown[s1-1] || unknown[s1] || unknown[s1+1] ||
					unknown[s2-1] || unknown[s2] || unknown[s2+1]) {
					continue
				}
				slot = [9]int{s0 - 1, s0, s0 + 1, s1 - 1, s1, s1 + 1, s2 - 1, s2, s2 + 1}
				sampled := (x+y)&1 == 0
				var mr, mg, mb float64
				var u [9]vec4
				for dy := 0; dy < 3; dy++ {
					p := photo.Pix[(y+dy-1)*photo.Stride+4*(x-1):]
					p = p[:12:12]
					for dx := 0; dx < 3; dx++ {
						c := &col[3*dy+dx]
						c[0], c[1], c[2] = float64(p[4*dx])*(1./255), float64(p[4*dx+1])*(1./255), float64(p[4*dx+2])*(1./255)
						mr += c[0]
						mg += c[1]
						mb += c[2]
					}
				}
				if sampled {
					for i := range u {
						u[i] = vec4{1, col[i][0] - .5, col[i][1] - .5, col[i][2] - .5}
					}
				}
				mr, mg, mb = mr/9, mg/9, mb/9
				rr, rg, rb, gg, gb, bb := eps, 0.0, 0.0, eps, 0.0, eps
				for i := range col {
					c := &col[i]
					c[0] -= mr
					c[1] -= mg
					c[2] -= mb
					rr += c[0] * c[0]
					rg += c[0] * c[1]
					rb += c[0] * c[2]
					gg += c[1] * c[1]
					gb += c[1] * c[2]
					bb += c[2] * c[2]
				}
				// Cholesky factor of nine times the covariance; the colours it whitens have products of which the
				// Laplacian is made.
				l00 := 1 / math.Sqrt(rr)
				l10 := rg * l00
				l20 := rb * l00
				l11 := 1 / math.Sqrt(gg-l10*l10)
				l21 := (gb - l20*l10) * l11
				l22 := 1 / math.Sqrt(bb-l20*l20-l21*l21)
				var wh [9][3]float32
				for i := range col {
					c := &col[i]
					u := c[0] * l00
					v := (c[1] - l10*u) * l11
					t := (c[2] - l20*u - l21*v) * l22
					wh[i] = [3]float32{float32(u), float32(v), float32(t)}
					a[slot[i]*stencil] += float32(8./9 - (u*u + v*v + t*t))
				}
				for _, pr := range &pairs {
					p, q := &wh[pr.p], &wh[pr.q]
					a[slot[pr.p]*stencil+int(pr.k)] -= 1./9 + (p[0]*q[0] + p[1]*q[1] + p[2]*q[2])
				}
				if !sampled {
					continue
				}
				X := x / cellSize
				tx, ty := float64(x-X*cellSize)/cellSize, float64(y&(cellSize-1))/cellSize
				var free [9]bool
				all := true
				for i, s := range slot {
					free[i] = unknown[s]
					all = all && free[i]
				}
				if all {
					cells.cell(X).windowEnergy(&u, &wh, tx, ty)
				} else {
					cells.cell(X).mixedEnergy(&u, &wh, &free, tx, ty)
				}
			}
		}
	}
}
