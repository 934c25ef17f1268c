package matting

import (
	"cmp"
	"context"
	"image"
	"math"
	"slices"
)

// The coarse space of the preconditioner. What plain relaxation takes hundreds of sweeps to find are mattes that are,
// near every place, a linear function of colour, with coefficients that change slowly over the picture: such mattes
// cost next to nothing in the matting Laplacian. So the coarse space is just these: at the nodes of a grid cellSize
// pixels apart sit four coefficients (a constant and one for each of red, green and blue), interpolated bilinearly in
// between. The Laplacian restricted to that space is small enough to be factored.

// cellSize is the distance of the nodes in pixels. Measured on 14 photos with wide trimaps: 4 takes half the iterations
// and ten times the factorisation, 16 twice the iterations.
const cellSize = 8

// dof is the number of coefficients at a node.
const dof = 4

type (
	vec4 = [dof]float64
	mat4 = [dof * dof]float64 // by row
)

// coarse is the factored coarse operator and the transfer to and from the fine one.
type coarse struct {
	b       *band
	colour  [][3]float32 // of the photo by slot, 0..1 less a half
	nx, ny  int          // nodes per row and column
	node    []int32      // number of the node at (X, Y) in order of elimination, -1 where there is none
	rowSeg  []int32      // segments of row y are rowSeg[y]:rowSeg[y+1]
	f       *factor
	rhs     []vec4
	threads int
}

// newCoarse finds the nodes that carry unknown pixels.
func newCoarse(b *band, photo *image.NRGBA, threads int) *coarse {
	c := &coarse{b: b, threads: threads, nx: (b.w-1)/cellSize + 2, ny: (b.h-1)/cellSize + 2}
	c.rowSeg = make([]int32, b.h+1)
	for _, s := range b.segs {
		c.rowSeg[s.y+1]++
	}
	for y := 0; y < b.h; y++ {
		c.rowSeg[y+1] += c.rowSeg[y]
	}
	c.node = make([]int32, c.nx*c.ny)
	for i := range c.node {
		c.node[i] = -1
	}
	for _, s := range b.segs {
		Y := int(s.y) / cellSize
		for X := int(s.x) / cellSize; X <= int(s.x+s.n-1)/cellSize; X++ {
			for _, d := range [4]int{0, 1, c.nx, c.nx + 1} {
				c.node[Y*c.nx+X+d] = 0
			}
		}
	}
	var places []int32
	for i, n := range c.node {
		if n == 0 {
			places = append(places, int32(i))
		}
	}
	c.dissect(places)
	for k, i := range places {
		c.node[i] = int32(k)
	}
	c.rhs = make([]vec4, len(places))
	c.f = newFactor(c, places)
	c.colour = make([][3]float32, b.n)
	b.blocks(threads, func(_ int, segs []seg) {
		for _, s := range segs {
			p := photo.Pix[int(s.y)*photo.Stride+4*int(s.x):]
			for j := 0; j < int(s.n); j++ {
				c.colour[int(s.at)+j] = [3]float32{float32(p[4*j])*(1./255) - .5, float32(p[4*j+1])*(1./255) - .5, float32(p[4*j+2])*(1./255) - .5}
			}
		}
	})
	return c
}

// dissect orders places by nested dissection: the nodes of the middle row or column of the longer extent go last, the
// halves they part are ordered likewise. That keeps the factor sparse (A. George, 1973).
func (c *coarse) dissect(places []int32) {
	if len(places) <= 8 {
		return
	}
	x0, y0, x1, y1 := int32(math.MaxInt32), int32(math.MaxInt32), int32(0), int32(0)
	nx := int32(c.nx)
	for _, p := range places {
		x0, x1 = min(x0, p%nx), max(x1, p%nx)
		y0, y1 = min(y0, p/nx), max(y1, p/nx)
	}
	along := func(p int32) int32 { return p % nx }
	if y1-y0 > x1-x0 {
		along = func(p int32) int32 { return p / nx }
	}
	if max(x1-x0, y1-y0) < 2 {
		return
	}
	values := make([]int32, len(places))
	for i, p := range places {
		values[i] = along(p)
	}
	slices.Sort(values)
	mid := values[len(values)/2]
	rank := func(p int32) int {
		switch v := along(p); {
		case v < mid:
			return 0
		case v > mid:
			return 1
		}
		return 2
	}
	slices.SortFunc(places, func(a, b int32) int {
		if r := rank(a) - rank(b); r != 0 {
			return r
		}
		return cmp.Compare(a, b)
	})
	n0 := 0
	for n0 < len(places) && rank(places[n0]) == 0 {
		n0++
	}
	n1 := n0
	for n1 < len(places) && rank(places[n1]) == 1 {
		n1++
	}
	c.dissect(places[:n0])
	c.dissect(places[n0:n1])
}

// share is how many windows one that is looked at stands for: those at odd x+y are left out, which costs no iteration.
const share = 2

// cellSum collects the energy of the windows of one cell of the coarse grid.
type cellSum struct {
	// direct holds, for the pairs of the cell's four corners (both orders), the energy of windows with known pixels.
	direct [4][4]mat4
	// xx, yy and xy hold the energy of (colour, times the offset in x or y) of the other windows, weighted by the
	// products of the corners' slopes.
	xx, yy [3]mat4
	xy     [4]mat4
}

// windowEnergy adds a window to the cell sum. ux holds for its nine pixels 1 and the colour (less a half), wh the
// whitened colours of the matting Laplacian, (tx, ty) the place of its centre in the cell, 0..1.
func (s *cellSum) windowEnergy(u *[9]vec4, wh *[9][3]float32, tx, ty float64) {
	// Features: pixel offset times u. Sums of them, of them by whitened colour, and of their products.
	var fx, fy vec4
	var vx, vy [3]vec4
	var xx, yy, xy mat4
	for j := 0; j < 9; j++ {
		dx, dy := float64(j%3-1), float64(j/3-1)
		if dx == 0 && dy == 0 {
			continue
		}
		uj := &u[j]
		for c := 0; c < dof; c++ {
			fx[c] += dx * uj[c]
			fy[c] += dy * uj[c]
		}
		for k := 0; k < 3; k++ {
			v := float64(wh[j][k])
			vdx, vdy := v*dx, v*dy
			for c := 0; c < dof; c++ {
				vx[k][c] += vdx * uj[c]
				vy[k][c] += vdy * uj[c]
			}
		}
		for c := 0; c < dof; c++ {
			for d := 0; d < dof; d++ {
				t := uj[c] * uj[d]
				xx[c*dof+d] += dx * dx * t
				yy[c*dof+d] += dy * dy * t
				xy[c*dof+d] += dx * dy * t
			}
		}
	}
	for c := 0; c < dof; c++ {
		for d := 0; d < dof; d++ {
			i := c*dof + d
			xx[i] -= fx[c]*fx[d]/9 + vx[0][c]*vx[0][d] + vx[1][c]*vx[1][d] + vx[2][c]*vx[2][d]
			yy[i] -= fy[c]*fy[d]/9 + vy[0][c]*vy[0][d] + vy[1][c]*vy[1][d] + vy[2][c]*vy[2][d]
			xy[i] -= fx[c]*fy[d]/9 + vx[0][c]*vy[0][d] + vx[1][c]*vy[1][d] + vx[2][c]*vy[2][d]
		}
	}
	sx, sy := 1-tx, 1-ty
	for i := range xx {
		s.xx[0][i] += sy * sy * xx[i]
		s.xx[1][i] += sy * ty * xx[i]
		s.xx[2][i] += ty * ty * xx[i]
		s.yy[0][i] += sx * sx * yy[i]
		s.yy[1][i] += sx * tx * yy[i]
		s.yy[2][i] += tx * tx * yy[i]
		s.xy[0][i] += sy * sx * xy[i]
		s.xy[1][i] += sy * tx * xy[i]
		s.xy[2][i] += ty * sx * xy[i]
		s.xy[3][i] += ty * tx * xy[i]
	}
}

// mixedEnergy is windowEnergy for a window of which only the pixels marked unknown may change.
func (s *cellSum) mixedEnergy(u *[9]vec4, wh *[9][3]float32, unknown *[9]bool, tx, ty float64) {
	var sum [4]vec4
	var proj [3][4]vec4
	for j := 0; j < 9; j++ {
		if !unknown[j] {
			continue
		}
		x, y := tx+float64(j%3-1)/cellSize, ty+float64(j/3-1)/cellSize
		phi := [4]float64{(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y}
		var p [4]vec4
		for n := range p {
			for c := 0; c < dof; c++ {
				p[n][c] = phi[n] * u[j][c]
				sum[n][c] += p[n][c]
				for k := 0; k < 3; k++ {
					proj[k][n][c] += float64(wh[j][k]) * p[n][c]
				}
			}
		}
		for n := range p {
			for m := n; m < 4; m++ {
				outer(&s.direct[n][m], &p[n], &p[m], 1)
			}
		}
	}
	for n := range sum {
		for m := n; m < 4; m++ {
			outer(&s.direct[n][m], &sum[n], &sum[m], -1./9)
			for k := range proj {
				outer(&s.direct[n][m], &proj[k][n], &proj[k][m], -1)
			}
		}
	}
}

// outer adds w times the product of the column a and the row b.
func outer(m *mat4, a, b *vec4, w float64) {
	for c := 0; c < dof; c++ {
		v := w * a[c]
		for d := 0; d < dof; d++ {
			m[c*dof+d] += v * b[d]
		}
	}
}

// energies turns the sums into the 4x4 blocks of the cell's corners n <= m, corners counted by row.
func (s *cellSum) energies() *[4][4]mat4 {
	const k = 1. / (cellSize * cellSize)
	for n := 0; n < 4; n++ {
		// The slope in x of corner n is sgx times a weight that depends on y alone, and so on.
		nx, ny := n&1, n>>1
		for m := n; m < 4; m++ {
			mx, my := m&1, m>>1
			sxx := float64((2*nx - 1) * (2*mx - 1))
			syy := float64((2*ny - 1) * (2*my - 1))
			sxy := float64((2*nx - 1) * (2*my - 1))
			syx := float64((2*ny - 1) * (2*mx - 1))
			e := &s.direct[n][m]
			for c := 0; c < dof; c++ {
				for d := 0; d < dof; d++ {
					i, j := c*dof+d, d*dof+c
					// xy is the sum of (x feature c)(y feature d).
					e[i] = share * (e[i] + k*(sxx*s.xx[ny+my][i]+syy*s.yy[nx+mx][i]+
						sxy*s.xy[2*ny+mx][i]+syx*s.xy[2*my+nx][j]))
				}
			}
		}
	}
	return &s.direct
}

// cellRow collects the sums of one row of cells, of those that are touched only.
type cellRow struct {
	at  []int32 // place in sum by column, -1 where untouched
	sum []cellSum
}

func newCellRow(columns int) *cellRow {
	r := &cellRow{at: make([]int32, columns)}
	for i := range r.at {
		r.at[i] = -1
	}
	return r
}

// reset makes the row as new but keeps its memory.
func (r *cellRow) reset() {
	for i := range r.at {
		r.at[i] = -1
	}
	r.sum = r.sum[:0]
}

func (r *cellRow) cell(X int) *cellSum {
	if r.at[X] < 0 {
		r.at[X] = int32(len(r.sum))
		r.sum = append(r.sum, cellSum{})
	}
	return &r.sum[r.at[X]]
}

// addRow adds the cells of coarse row Y to the operator. Cells share corners with those of rows Y-1 and Y+1 only.
func (c *coarse) addRow(r *cellRow, Y int) {
	for X, at := range r.at {
		if at < 0 {
			continue
		}
		e := r.sum[at].energies()
		corner := [4]int32{c.node[Y*c.nx+X], c.node[Y*c.nx+X+1], c.node[(Y+1)*c.nx+X], c.node[(Y+1)*c.nx+X+1]}
		for n := 0; n < 4; n++ {
			for m := n; m < 4; m++ {
				if corner[n] >= 0 && corner[m] >= 0 {
					c.f.add(int(corner[n]), int(corner[m]), &e[n][m])
				}
			}
		}
	}
}

// restrict sets c.rhs to the transposed interpolation of fine.
func (c *coarse) restrict(fine []float32) {
	clear(c.rhs)
	rows := c.ny - 1
	for odd := 0; odd < 2; odd++ {
		each(c.threads, (rows+1-odd)/2, func(i int) {
			Y := 2*i + odd
			for y := Y * cellSize; y < min(c.b.h, (Y+1)*cellSize); y++ {
				ty := float64(y-Y*cellSize) / cellSize
				for _, s := range c.b.segs[c.rowSeg[y]:c.rowSeg[y+1]] {
					c.cells(s, func(X, x0, n, at int) {
						var l, r [dof]float32
						t := float32(x0-X*cellSize) / cellSize
						f := fine[at : at+n]
						col := c.colour[at : at+n]
						for j, v := range f {
							k := &col[j]
							v0, v1, v2 := v*k[0], v*k[1], v*k[2]
							l[0] += v
							l[1] += v0
							l[2] += v1
							l[3] += v2
							r[0] += t * v
							r[1] += t * v0
							r[2] += t * v1
							r[3] += t * v2
							t += 1. / cellSize
						}
						base := Y*c.nx + X
						a, b := &c.rhs[c.node[base]], &c.rhs[c.node[base+1]]
						d, e := &c.rhs[c.node[base+c.nx]], &c.rhs[c.node[base+c.nx+1]]
						for k := range l {
							right := float64(r[k])
							left := float64(l[k]) - right
							a[k] += (1 - ty) * left
							b[k] += (1 - ty) * right
							d[k] += ty * left
							e[k] += ty * right
						}
					})
				}
			}
		})
	}
}

// prolong adds the interpolation of c.rhs to fine.
func (c *coarse) prolong(fine []float32) {
	each(c.threads, c.ny-1, func(Y int) {
		for y := Y * cellSize; y < min(c.b.h, (Y+1)*cellSize); y++ {
			ty := float64(y-Y*cellSize) / cellSize
			for _, s := range c.b.segs[c.rowSeg[y]:c.rowSeg[y+1]] {
				c.cells(s, func(X, x0, n, at int) {
					base := Y*c.nx + X
					a, b := &c.rhs[c.node[base]], &c.rhs[c.node[base+1]]
					d, e := &c.rhs[c.node[base+c.nx]], &c.rhs[c.node[base+c.nx+1]]
					var l, g [dof]float32
					t := float64(x0-X*cellSize) / cellSize
					for k := range l {
						left := a[k] + ty*(d[k]-a[k])
						right := b[k] + ty*(e[k]-b[k])
						l[k] = float32(left + t*(right-left))
						g[k] = float32((right - left) / cellSize)
					}
					f := fine[at : at+n]
					col := c.colour[at : at+n]
					for j := range f {
						k := &col[j]
						f[j] += l[0] + l[1]*k[0] + l[2]*k[1] + l[3]*k[2]
						l[0] += g[0]
						l[1] += g[1]
						l[2] += g[2]
						l[3] += g[3]
					}
				})
			}
		}
	})
}

// cells calls f for the stretches of a segment that lie in one cell each: the cell's column, the first pixel's column,
// the number of pixels and the first one's slot.
func (c *coarse) cells(s seg, f func(X, x0, n, at int)) {
	x, end, at := int(s.x), int(s.x+s.n), int(s.at)
	for x < end {
		X := x / cellSize
		n := min(end, (X+1)*cellSize) - x
		f(X, x, n, at)
		x += n
		at += n
	}
}

// factor is the sparse Cholesky factor of the coarse operator, in 4x4 blocks, by column.
type factor struct {
	n   int
	col []int32 // blocks of column k are col[k]:col[k+1], the first being the diagonal
	row []int32 // row of each block, ascending in a column
	val []mat4
}

// newFactor finds where the factor has blocks, nodes being numbered in the order of elimination.
func newFactor(c *coarse, places []int32) *factor {
	n := len(places)
	f := &factor{n: n, col: make([]int32, n+1)}
	structs := make([][]int32, n) // rows below the diagonal
	children := make([][]int32, n)
	mark := make([]int32, n)
	for i := range mark {
		mark[i] = -1
	}
	for k := 0; k < n; k++ {
		p := int(places[k])
		x, y := p%c.nx, p/c.nx
		var rows []int32
		mark[k] = int32(k)
		for dy := -1; dy <= 1; dy++ {
			for dx := -1; dx <= 1; dx++ {
				xx, yy := x+dx, y+dy
				if xx < 0 || yy < 0 || xx >= c.nx || yy >= c.ny {
					continue
				}
				if r := c.node[yy*c.nx+xx]; r > int32(k) && mark[r] != int32(k) {
					mark[r] = int32(k)
					rows = append(rows, r)
				}
			}
		}
		for _, ch := range children[k] {
			for _, r := range structs[ch] {
				if r > int32(k) && mark[r] != int32(k) {
					mark[r] = int32(k)
					rows = append(rows, r)
				}
			}
		}
		slices.Sort(rows)
		structs[k] = rows
		if len(rows) > 0 {
			children[rows[0]] = append(children[rows[0]], int32(k))
		}
		f.col[k+1] = f.col[k] + int32(len(rows)) + 1
	}
	f.row = make([]int32, f.col[n])
	f.val = make([]mat4, f.col[n])
	for k := 0; k < n; k++ {
		f.row[f.col[k]] = int32(k)
		copy(f.row[f.col[k]+1:], structs[k])
	}
	return f
}

// add adds the block at (i, j), and with it its transpose at (j, i).
func (f *factor) add(i, j int, m *mat4) {
	if i < j { // the lower triangle is kept: transpose
		i, j = j, i
		var t mat4
		for c := 0; c < dof; c++ {
			for d := 0; d < dof; d++ {
				t[c*dof+d] = m[d*dof+c]
			}
		}
		m = &t
	}
	rows := f.row[f.col[j]:f.col[j+1]]
	k, _ := slices.BinarySearch(rows, int32(i))
	v := &f.val[int(f.col[j])+k]
	for c := range v {
		v[c] += m[c]
	}
}

// ridge is added to the diagonal, relative to it: directions without energy, such as the coefficient of a colour that
// does not vary, would otherwise stop the factorisation.
const ridge = 1e-6

// factorise turns the operator into its Cholesky factor in place. Diagonal blocks then hold the inverse of the lower
// triangle. It returns ctx.Err() when ctx ends first.
func (f *factor) factorise(ctx context.Context) error {
	for k := 0; k < f.n; k++ {
		d := &f.val[f.col[k]]
		for c := 0; c < dof; c++ {
			d[c*dof+c] += ridge*d[c*dof+c] + 1e-12
		}
	}
	pos := make([]int32, f.n)
	for k := 0; k < f.n; k++ {
		if k&63 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		c0, c1 := f.col[k], f.col[k+1]
		inv := invLower(&f.val[c0])
		f.val[c0] = inv
		for b := c0 + 1; b < c1; b++ {
			f.val[b] = mulTransposed(&f.val[b], &inv)
		}
		for b := c0 + 1; b < c1; b++ {
			j := f.row[b]
			j0, j1 := f.col[j], f.col[j+1]
			for e := j0; e < j1; e++ {
				pos[f.row[e]] = e
			}
			for e := b; e < c1; e++ {
				subMulTransposed(&f.val[pos[f.row[e]]], &f.val[e], &f.val[b])
			}
		}
	}
	return nil
}

// invLower returns the inverse of the lower Cholesky factor of m.
func invLower(m *mat4) (inv mat4) {
	var l mat4
	for i := 0; i < dof; i++ {
		for j := 0; j <= i; j++ {
			s := m[i*dof+j]
			for k := 0; k < j; k++ {
				s -= l[i*dof+k] * l[j*dof+k]
			}
			if i == j {
				// Rounding can take a direction without energy below zero: give it none of the correction.
				if s <= 1e-9*m[i*dof+i] {
					s = math.Inf(1)
				}
				l[i*dof+i] = math.Sqrt(s)
			} else {
				l[i*dof+j] = s / l[j*dof+j]
			}
		}
	}
	for i := 0; i < dof; i++ {
		inv[i*dof+i] = 1 / l[i*dof+i]
		for j := 0; j < i; j++ {
			var s float64
			for k := j; k < i; k++ {
				s -= l[i*dof+k] * inv[k*dof+j]
			}
			inv[i*dof+j] = s * inv[i*dof+i]
		}
	}
	return inv
}

// mulTransposed returns a times the transpose of b.
func mulTransposed(a, b *mat4) (r mat4) {
	for i := 0; i < dof; i++ {
		for j := 0; j < dof; j++ {
			r[i*dof+j] = a[i*dof]*b[j*dof] + a[i*dof+1]*b[j*dof+1] + a[i*dof+2]*b[j*dof+2] + a[i*dof+3]*b[j*dof+3]
		}
	}
	return r
}

// subMulTransposed subtracts a times the transpose of b from r.
func subMulTransposed(r, a, b *mat4) {
	for i := 0; i < dof; i++ {
		a0, a1, a2, a3 := a[i*dof], a[i*dof+1], a[i*dof+2], a[i*dof+3]
		r[i*dof] -= a0*b[0] + a1*b[1] + a2*b[2] + a3*b[3]
		r[i*dof+1] -= a0*b[4] + a1*b[5] + a2*b[6] + a3*b[7]
		r[i*dof+2] -= a0*b[8] + a1*b[9] + a2*b[10] + a3*b[11]
		r[i*dof+3] -= a0*b[12] + a1*b[13] + a2*b[14] + a3*b[15]
	}
}

// solve replaces x by the operator's inverse times x.
func (f *factor) solve(x []vec4) {
	for k := 0; k < f.n; k++ {
		c0, c1 := f.col[k], f.col[k+1]
		d, v := &f.val[c0], x[k]
		var y vec4
		y[0] = d[0] * v[0]
		y[1] = d[4]*v[0] + d[5]*v[1]
		y[2] = d[8]*v[0] + d[9]*v[1] + d[10]*v[2]
		y[3] = d[12]*v[0] + d[13]*v[1] + d[14]*v[2] + d[15]*v[3]
		x[k] = y
		for b := c0 + 1; b < c1; b++ {
			m, t := &f.val[b], &x[f.row[b]]
			t[0] -= m[0]*y[0] + m[1]*y[1] + m[2]*y[2] + m[3]*y[3]
			t[1] -= m[4]*y[0] + m[5]*y[1] + m[6]*y[2] + m[7]*y[3]
			t[2] -= m[8]*y[0] + m[9]*y[1] + m[10]*y[2] + m[11]*y[3]
			t[3] -= m[12]*y[0] + m[13]*y[1] + m[14]*y[2] + m[15]*y[3]
		}
	}
	for k := f.n - 1; k >= 0; k-- {
		c0, c1 := f.col[k], f.col[k+1]
		v := x[k]
		for b := c0 + 1; b < c1; b++ {
			m, t := &f.val[b], &x[f.row[b]]
			v[0] -= m[0]*t[0] + m[4]*t[1] + m[8]*t[2] + m[12]*t[3]
			v[1] -= m[1]*t[0] + m[5]*t[1] + m[9]*t[2] + m[13]*t[3]
			v[2] -= m[2]*t[0] + m[6]*t[1] + m[10]*t[2] + m[14]*t[3]
			v[3] -= m[3]*t[0] + m[7]*t[1] + m[11]*t[2] + m[15]*t[3]
		}
		d := &f.val[c0]
		x[k] = vec4{
			d[0]*v[0] + d[4]*v[1] + d[8]*v[2] + d[12]*v[3],
			d[5]*v[1] + d[9]*v[2] + d[13]*v[3],
			d[10]*v[2] + d[14]*v[3],
			d[15] * v[3],
		}
	}
}
