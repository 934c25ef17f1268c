package video

import (
	"image"
	"math"
	"slices"
)

// motionSide is the side, in pixels of the small picture, of the blocks whose movement is looked for. Smaller ones follow
// outlines better and are fooled by flat places more often.
const motionSide = 8

// motion is where, in the picture before, each block of a picture was: hierarchical block matching, full search on a
// quarter of the size and refinement of the neighbours' best on the way up (Bierling, "Displacement Estimation by
// Hierarchical Blockmatching", VCIP 1988).
type motion struct {
	w, h     int // blocks
	vectors  []vector
	residual []float32 // what the movement leaves unexplained: see blocks
	still    bool      // every vector is zero
}

type vector struct{ x, y int16 } // from a block to where it was

// view is a frame as the network sees it.
type view struct {
	*image.NRGBA
	light *luma
}

func newView(m *image.NRGBA) *view { return &view{m, newLuma(m)} }

// luma is the brightness of a picture, at full, half and quarter size.
type luma [3]*image.Gray

func newLuma(m *image.NRGBA) *luma {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	l := &luma{image.NewGray(m.Rect)}
	for y := range h {
		row, out := m.Pix[y*m.Stride:][:4*w], l[0].Pix[y*w:][:w]
		for x := range out {
			p := row[4*x : 4*x+3 : 4*x+3]
			out[x] = uint8((77*uint32(p[0]) + 150*uint32(p[1]) + 29*uint32(p[2])) >> 8)
		}
	}
	for i := 1; i < len(l); i++ {
		l[i] = halved(l[i-1])
	}
	return l
}

// halved is a picture of half the size, rounded up; sides that are odd repeat their last pixel.
func halved(m *image.Gray) *image.Gray {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	out := image.NewGray(image.Rect(0, 0, (w+1)/2, (h+1)/2))
	for y := range out.Rect.Dy() {
		a, b := m.Pix[2*y*m.Stride:][:w], m.Pix[min(2*y+1, h-1)*m.Stride:][:w]
		dst := out.Pix[y*out.Stride:][:out.Rect.Dx()]
		for x := range dst {
			x0, x1 := 2*x, min(2*x+1, w-1)
			dst[x] = uint8((uint32(a[x0]) + uint32(a[x1]) + uint32(b[x0]) + uint32(b[x1]) + 2) / 4)
		}
	}
	return out
}

// motionReach is how far a block is looked for at first, in pixels of the quarter-size picture.
const motionReach = 6

// field is the vectors of one level: of blocks of some side, matched by the windows of twice that side around them.
type field struct {
	w, h    int
	side    int
	vectors []vector
}

func newField(w, h, side int) *field {
	f := &field{w: (w + side - 1) / side, h: (h + side - 1) / side, side: side}
	f.vectors = make([]vector, f.w*f.h)
	return f
}

// matcher compares windows of two pictures.
type matcher struct {
	now, before    *image.Gray
	window         image.Rectangle // in now
	area           int
	best           vector
	cost           int
	weightOfLength int // added for each pixel of a vector, in 1/64 of the window's area
	every          int // row that is compared
}

// at readies the matcher for the window of a block.
func (m *matcher) at(f *field, bx, by int) {
	m.window = image.Rect(bx*f.side-f.side/2, by*f.side-f.side/2, (bx+1)*f.side+f.side/2, (by+1)*f.side+f.side/2).Intersect(m.now.Rect)
	m.area = m.window.Dx() * ((m.window.Dy() + m.every - 1) / m.every)
	m.cost = math.MaxInt
}

// try looks at one vector.
func (m *matcher) try(v vector) {
	to := m.window.Add(image.Pt(int(v.x), int(v.y)))
	if !to.In(m.before.Rect) {
		return
	}
	cost := (max(int(v.x), -int(v.x)) + max(int(v.y), -int(v.y))) * m.area * m.weightOfLength / 64
	n := m.window.Dx()
	for y := 0; y < m.window.Dy(); y += m.every {
		a := m.now.Pix[(m.window.Min.Y+y)*m.now.Stride+m.window.Min.X:][:n]
		b := m.before.Pix[(to.Min.Y+y)*m.before.Stride+to.Min.X:][:n]
		for x, v := range a {
			d := int(v) - int(b[x])
			cost += max(d, -d)
		}
		if cost >= m.cost {
			return
		}
	}
	m.best, m.cost = v, cost
}

func newMatcher(f *field, now, before *image.Gray) *matcher {
	return &matcher{now: now, before: before, weightOfLength: 1, every: max(f.side/4, 1)}
}

// refine fills a field from that of the picture of half the size, of whose blocks each stands for ratio in a row.
func (f *field) refine(now, before *image.Gray, coarse *field, ratio int) {
	m := newMatcher(f, now, before)
	for by := range f.h {
		for bx := range f.w {
			m.at(f, bx, by)
			m.try(vector{})
			cx, cy := min(bx/ratio, coarse.w-1), min(by/ratio, coarse.h-1)
			for _, d := range [...][2]int{{0, 0}, {-1, 0}, {1, 0}, {0, -1}, {0, 1}} {
				x, y := cx+d[0], cy+d[1]
				if x < 0 || y < 0 || x >= coarse.w || y >= coarse.h {
					continue
				}
				v := coarse.vectors[y*coarse.w+x]
				m.try(vector{2 * v.x, 2 * v.y})
			}
			c := m.best
			for dy := int16(-1); dy <= 1; dy++ {
				for dx := int16(-1); dx <= 1; dx++ {
					if dx != 0 || dy != 0 {
						m.try(vector{c.x + dx, c.y + dy})
					}
				}
			}
			f.vectors[by*f.w+bx] = m.best
		}
	}
}

// calm gives blocks the median of the vectors around them, where that explains them nearly as well: what is flat matches
// anywhere.
func (f *field) calm(now, before *image.Gray) {
	m := newMatcher(f, now, before)
	found := slices.Clone(f.vectors)
	var xs, ys [9]int16
	for by := range f.h {
		for bx := range f.w {
			n := 0
			for y := max(by-1, 0); y < min(by+2, f.h); y++ {
				for x := max(bx-1, 0); x < min(bx+2, f.w); x++ {
					xs[n], ys[n] = found[y*f.w+x].x, found[y*f.w+x].y
					n++
				}
			}
			slices.Sort(xs[:n])
			slices.Sort(ys[:n])
			i := by*f.w + bx
			median := vector{xs[n/2], ys[n/2]}
			if median == found[i] {
				continue
			}
			m.at(f, bx, by)
			m.try(found[i])
			m.cost += m.cost/8 + m.area/2
			m.try(median)
			f.vectors[i] = m.best
		}
	}
}

// newMotion finds where the blocks of a picture were in the one before.
func newMotion(before, now *view) *motion {
	size := now.Rect.Size()
	fine := newField(size.X, size.Y, motionSide)
	half := &field{w: fine.w, h: fine.h, side: motionSide / 2, vectors: make([]vector, len(fine.vectors))}
	quarter := newField(now.light[2].Rect.Dx(), now.light[2].Rect.Dy(), motionSide/2)
	m := matcher{now: now.light[2], before: before.light[2], weightOfLength: 6, every: 1}
	for by := range quarter.h {
		for bx := range quarter.w {
			m.at(quarter, bx, by)
			m.try(vector{})
			if m.cost <= m.area { // noise, of one level at most
				continue
			}
			// A neighbour's is likely, and makes short work of the others.
			i := by*quarter.w + bx
			if bx > 0 {
				m.try(quarter.vectors[i-1])
			}
			if by > 0 {
				m.try(quarter.vectors[i-quarter.w])
			}
			for dy := int16(-motionReach); dy <= motionReach; dy++ {
				for dx := int16(-motionReach); dx <= motionReach; dx++ {
					m.try(vector{dx, dy})
				}
			}
			quarter.vectors[i] = m.best
		}
	}
	half.refine(now.light[1], before.light[1], quarter, 2)
	fine.refine(now.light[0], before.light[0], half, 1)
	fine.calm(now.light[0], before.light[0])
	out := &motion{w: fine.w, h: fine.h, vectors: fine.vectors, residual: make([]float32, len(fine.vectors)), still: true}
	for by := range out.h {
		for bx := range out.w {
			i := by*out.w + bx
			out.residual[i] = max(unexplained(before.NRGBA, now.NRGBA, bx, by, out.vectors[i])-detailShare*detail(now.light[2], bx, by), 0)
			if out.vectors[i] != (vector{}) {
				out.still = false
			}
		}
	}
	return out
}

// detailShare is how much of a block's detail a vector that is right may leave unexplained, being wrong by half a pixel.
const detailShare = 0.3

// detail is how much the brightness changes from cell to cell in and around a block, given the picture of the cells.
func detail(cells *image.Gray, bx, by int) float32 {
	const n = motionSide / cellSide
	r := image.Rect(bx*n-1, by*n-1, bx*n+n+1, by*n+n+1).Intersect(cells.Rect)
	sum, count := 0, 0
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			v := int(cells.Pix[y*cells.Stride+x])
			if x+1 < r.Max.X {
				d := v - int(cells.Pix[y*cells.Stride+x+1])
				sum += max(d, -d)
				count++
			}
			if y+1 < r.Max.Y {
				d := v - int(cells.Pix[(y+1)*cells.Stride+x])
				sum += max(d, -d)
				count++
			}
		}
	}
	return float32(sum) / float32(max(count, 1))
}

// unexplained is how much a block differs from where it was, in the measure of blocks.
func unexplained(before, now *image.NRGBA, bx, by int, v vector) float32 {
	w, h := now.Rect.Dx(), now.Rect.Dy()
	var sum float32
	cells := 0
	for y0 := by * motionSide; y0 < min((by+1)*motionSide, h); y0 += cellSide {
		for x0 := bx * motionSide; x0 < min((bx+1)*motionSide, w); x0 += cellSide {
			x1, y1 := min(x0+cellSide, w), min(y0+cellSide, h)
			var r, g, b int32
			for y := y0; y < y1; y++ {
				p := now.Pix[y*now.Stride+4*x0:][:4*(x1-x0)]
				q := before.Pix[(y+int(v.y))*before.Stride+4*(x0+int(v.x)):][:4*(x1-x0)]
				for i := 0; i+3 < len(p); i += 4 {
					r += int32(p[i]) - int32(q[i])
					g += int32(p[i+1]) - int32(q[i+1])
					b += int32(p[i+2]) - int32(q[i+2])
				}
			}
			sum += float32(max(r, -r)+max(g, -g)+max(b, -b)) / float32(3*(x1-x0)*(y1-y0))
			cells++
		}
	}
	return sum / float32(cells)
}

// carry moves what lies in a picture of the size of those compared to where the movement has taken it. Between the
// middles of blocks vectors are interpolated.
func (m *motion) carry(dst, src []float32, size image.Point) {
	if m.still {
		copy(dst, src)
		return
	}
	cols, rows := places(size.X, size.X, motionSide), places(size.Y, size.Y, motionSide)
	for y, r := range rows {
		for x, c := range cols {
			a, b := m.vectors[r.a*m.w+c.a], m.vectors[r.a*m.w+c.b]
			d, e := m.vectors[r.b*m.w+c.a], m.vectors[r.b*m.w+c.b]
			var vx, vy float32
			if a == b && a == d && a == e {
				sx, sy := x+int(a.x), y+int(a.y)
				if sx >= 0 && sy >= 0 && sx < size.X && sy < size.Y {
					dst[y*size.X+x] = src[sy*size.X+sx]
					continue
				}
				vx, vy = float32(a.x), float32(a.y)
			} else {
				top, bottom := float32(a.x)+c.t*float32(b.x-a.x), float32(d.x)+c.t*float32(e.x-d.x)
				vx = top + r.t*(bottom-top)
				top, bottom = float32(a.y)+c.t*float32(b.y-a.y), float32(d.y)+c.t*float32(e.y-d.y)
				vy = top + r.t*(bottom-top)
			}
			fx := min(max(float32(x)+vx, 0), float32(size.X-1))
			fy := min(max(float32(y)+vy, 0), float32(size.Y-1))
			x0, y0 := int(fx), int(fy)
			x1, y1 := min(x0+1, size.X-1), min(y0+1, size.Y-1)
			tx, ty := fx-float32(x0), fy-float32(y0)
			p, q := src[y0*size.X:], src[y1*size.X:]
			upper := p[x0] + tx*(p[x1]-p[x0])
			lower := q[x0] + tx*(q[x1]-q[x0])
			dst[y*size.X+x] = upper + ty*(lower-upper)
		}
	}
}

// carried is a mask of the other picture, moved to where it is in this one.
func (m *motion) carried(mask *image.Gray) []float32 {
	size := mask.Rect.Size()
	src, dst := make([]float32, size.X*size.Y), make([]float32, size.X*size.Y)
	for y := range size.Y {
		for x, v := range mask.Pix[y*mask.Stride:][:size.X] {
			src[y*size.X+x] = float32(v)
		}
	}
	m.carry(dst, src, size)
	return dst
}

// moves tells whether the block of a place was elsewhere.
func (m *motion) moves(x, y int) bool {
	return m.vectors[y/motionSide*m.w+x/motionSide] != vector{}
}
