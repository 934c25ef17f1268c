package matting

// level is the operator on the unknown pixels.
type level struct {
	*band
	a       []float32 // stencil coefficients by slot; couplings to known pixels are zero
	inv     []float32 // one over the diagonal
	r       []float32 // residual by slot
	threads int
}

func newLevel(b *band, a []float32, threads int) *level {
	l := &level{band: b, a: a, threads: threads, inv: make([]float32, b.n), r: make([]float32, b.n)}
	b.blocks(threads, func(_ int, segs []seg) {
		for _, s := range segs {
			for i := int(s.at); i < int(s.at+s.n); i++ {
				if d := a[i*stencil]; d > 0 {
					l.inv[i] = 1 / d
				}
			}
		}
	})
	return l
}

// around returns the sum over the neighbours of the j-th pixel of s of coupling times x.
func (l *level) around(s *seg, j int, x []float32) float32 {
	a := l.a
	at, up1, up2 := int(s.at)+j, int(s.up1)+j, int(s.up2)+j
	dn1, dn2 := int(s.dn1)+j, int(s.dn2)+j
	c := (*[stencil]float32)(a[at*stencil:])
	l0 := (*[2 * stencil]float32)(a[(at-2)*stencil:])
	l1 := (*[5 * stencil]float32)(a[(up1-2)*stencil:])
	l2 := (*[5 * stencil]float32)(a[(up2-2)*stencil:])
	x0 := (*[5]float32)(x[at-2:])
	u1 := (*[5]float32)(x[up1-2:])
	u2 := (*[5]float32)(x[up2-2:])
	d1 := (*[5]float32)(x[dn1-2:])
	d2 := (*[5]float32)(x[dn2-2:])
	s0 := c[1]*x0[3] + c[2]*x0[4] + l0[2]*x0[0] + l0[stencil+1]*x0[1]
	s1 := c[3]*d1[0] + c[4]*d1[1] + c[5]*d1[2] + c[6]*d1[3] + c[7]*d1[4]
	s2 := c[8]*d2[0] + c[9]*d2[1] + c[10]*d2[2] + c[11]*d2[3] + c[12]*d2[4]
	// The pixel at column -2 of a row above couples to this one by its own (dx 2, dy 1 or 2), and so on.
	s3 := l1[7]*u1[0] + l1[stencil+6]*u1[1] + l1[2*stencil+5]*u1[2] + l1[3*stencil+4]*u1[3] + l1[4*stencil+3]*u1[4]
	s4 := l2[12]*u2[0] + l2[stencil+11]*u2[1] + l2[2*stencil+10]*u2[2] + l2[3*stencil+9]*u2[3] + l2[4*stencil+8]*u2[4]
	return ((s1 + s2) + (s3 + s4)) + s0
}

// apply sets y to the operator times x.
func (l *level) apply(x, y []float32) {
	l.blocks(l.threads, func(_ int, segs []seg) {
		for i := range segs {
			s := &segs[i]
			for j := 0; j < int(s.n); j++ {
				at := int(s.at) + j
				y[at] = l.a[at*stencil]*x[at] + l.around(s, j, x)
			}
		}
	})
}

// residual sets r to b minus the operator times x.
func (l *level) residual(b, x, r []float32) {
	l.blocks(l.threads, func(_ int, segs []seg) {
		for i := range segs {
			s := &segs[i]
			for j := 0; j < int(s.n); j++ {
				at := int(s.at) + j
				r[at] = b[at] - l.a[at*stencil]*x[at] - l.around(s, j, x)
			}
		}
	})
}

// forward makes one Gauss-Seidel sweep in raster order, even blocks first.
func (l *level) forward(b, x []float32) {
	for odd := 0; odd < 2; odd++ {
		l.parity(l.threads, odd, func(_ int, segs []seg) {
			for i := range segs {
				s := &segs[i]
				for j := 0; j < int(s.n); j++ {
					at := int(s.at) + j
					x[at] = (b[at] - l.around(s, j, x)) * l.inv[at]
				}
			}
		})
	}
}

// backward makes the sweep of forward in the opposite order, which makes the two together symmetric.
func (l *level) backward(b, x []float32) {
	for odd := 1; odd >= 0; odd-- {
		l.parity(l.threads, odd, func(_ int, segs []seg) {
			for i := len(segs) - 1; i >= 0; i-- {
				s := &segs[i]
				for j := int(s.n) - 1; j >= 0; j-- {
					at := int(s.at) + j
					x[at] = (b[at] - l.around(s, j, x)) * l.inv[at]
				}
			}
		})
	}
}

// precondition sets z to an approximate solution for r: a sweep, a correction from the coarse space, a sweep back.
func (l *level) precondition(c *coarse, r, z []float32) {
	clear(z)
	l.forward(r, z)
	l.residual(r, z, l.r)
	c.restrict(l.r)
	c.f.solve(c.rhs)
	c.prolong(z)
	l.backward(r, z)
}
