package kernels

func gemmGeneric(dst, a, w []float32, s GemmShape, e *Epilogue) {
	if e == nil {
		e = &noEpilogue
	}
	for n := range s.N {
		for m := 0; m < s.M; {
			// Two pixels at a time read every weight once for both; three would not fit the registers of a plain CPU.
			pixels := min(2, s.M-m)
			var acc [2][Block]float32
			at := n*s.DStride + m*Block
			for p := range pixels {
				if e.Bias != nil {
					copy(acc[p][:], e.Bias[n*Block:n*Block+Block])
				}
				if e.Pre != nil {
					for i, v := range e.Pre[at+p*Block:][:Block] {
						acc[p][i] += v
					}
				}
			}
			for k := 0; k < s.K; k += Block {
				depth := min(Block, s.K-k)
				x := a[k/Block*s.AStride+m*Block:]
				row := w[n*s.WStride+k*Block:]
				if pixels == 2 {
					madd2(&acc, x[:depth], x[Block:][:depth], row)
				} else {
					madd(&acc[0], x[:depth], row)
				}
			}
			for p := range pixels {
				finish(dst[at+p*Block:][:Block], &acc[p], e, at+p*Block)
			}
			m += pixels
		}
	}
}

// batchOf runs the products of a batch one by one.
func batchOf(gemm func(dst, a, w []float32, s GemmShape, e *Epilogue)) func(dst, a, w []float32, s GemmShape, count int, step BatchStep) {
	return func(dst, a, w []float32, s GemmShape, count int, step BatchStep) {
		for i := range count {
			gemm(dst[i*step.D:], a[i*step.A:], w[i*step.W:], s, nil)
		}
	}
}

// madd adds the product of channels x with their rows of weights.
func madd(acc *[Block]float32, x, w []float32) {
	for i, v := range x {
		wi := (*[Block]float32)(w[i*Block:])
		for j := range acc {
			acc[j] += v * wi[j]
		}
	}
}

// madd2 is madd for two pixels.
func madd2(acc *[2][Block]float32, x, y, w []float32) {
	y = y[:len(x)]
	for i, v := range x {
		u := y[i]
		wi := (*[Block]float32)(w[i*Block:])
		for j := range wi {
			acc[0][j] += v * wi[j]
			acc[1][j] += u * wi[j]
		}
	}
}

// finish clamps, adds Post and stores one block.
func finish(dst []float32, acc *[Block]float32, e *Epilogue, at int) {
	if e.Clamp {
		for i := range acc {
			acc[i] = min(max(acc[i], e.Lo), e.Hi)
		}
	}
	if e.Post != nil {
		for i, v := range e.Post[at : at+Block] {
			acc[i] += v
		}
	}
	copy(dst, acc[:])
}

func inputTransform6(d *[6]float32) {
	a, b := d[4]-4*d[2], d[3]-4*d[1]
	c, e := d[4]-d[2], d[3]-d[1]
	d0 := 4*d[0] - 5*d[2] + d[4]
	d5 := 4*d[1] - 5*d[3] + d[5]
	d[0], d[1], d[2], d[3], d[4], d[5] = d0, a+b, a-b, c+2*e, c-2*e, d5
}

func winogradInputGeneric(dst, src []float32, s TileShape, _ []float32) {
	for t := range s.Tiles {
		for ch := range Block {
			var p [6][6]float32
			for j := range 6 {
				var col [6]float32
				for i := range 6 {
					col[i] = src[i*s.Row+(t*4+j)*Block+ch]
				}
				inputTransform6(&col)
				for i := range 6 {
					p[i][j] = col[i]
				}
			}
			for i := range 6 {
				inputTransform6(&p[i])
				for j := range 6 {
					dst[(i*6+j)*s.Pos+t*Block+ch] = p[i][j]
				}
			}
		}
	}
}

func outputTransform6(m *[6]float32) (o [4]float32) {
	a, b, s, t := m[1]+m[2], m[1]-m[2], m[3]+m[4], m[3]-m[4]
	return [4]float32{m[0] + a + s, b + 2*t, a + 4*s, b + 8*t + m[5]}
}

func winogradOutputGeneric(dst, src []float32, s TileShape, e *Epilogue, _ []float32) {
	if e == nil {
		e = &noEpilogue
	}
	for t := range s.Tiles {
		for ch := range Block {
			var p [4][6]float32
			for j := range 6 {
				var col [6]float32
				for i := range 6 {
					col[i] = src[(i*6+j)*s.Pos+t*Block+ch]
				}
				for i, v := range outputTransform6(&col) {
					p[i][j] = v
				}
			}
			for i := range 4 {
				for j, v := range outputTransform6(&p[i]) {
					at := i*s.Row + (t*4+j)*Block + ch
					if e.Bias != nil {
						v += e.Bias[ch]
					}
					if e.Pre != nil {
						v += e.Pre[at]
					}
					if e.Clamp {
						v = min(max(v, e.Lo), e.Hi)
					}
					if e.Post != nil {
						v += e.Post[at]
					}
					dst[at] = v
				}
			}
		}
	}
}

func maxTapsGeneric(dst, src []float32, offsets []int, pixels, step int) {
	for x := range pixels {
		d := dst[x*Block:][:Block]
		for i, o := range offsets {
			s := src[x*step+o/4:][:Block]
			if i == 0 {
				copy(d, s)
				continue
			}
			for j, v := range s {
				d[j] = max(d[j], v)
			}
		}
	}
}

func depthwiseTapsGeneric(dst, src, w []float32, offsets []int, pixels, step int, e *Epilogue) {
	if e == nil {
		e = &noEpilogue
	}
	for x := range pixels {
		var acc [Block]float32
		if e.Bias != nil {
			copy(acc[:], e.Bias)
		}
		for i, o := range offsets {
			s := src[x*step+o/4:][:Block]
			wi := w[i*Block:][:Block]
			for j, v := range s {
				acc[j] += v * wi[j]
			}
		}
		if e.Clamp {
			for j := range acc {
				acc[j] = min(max(acc[j], e.Lo), e.Hi)
			}
		}
		copy(dst[x*Block:], acc[:])
	}
}

func lerpGeneric(dst, a, b []float32, w float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = a[i] + (b[i]-a[i])*w
	}
}

func gatherLerpGeneric(dst, src []float32, off0, off1 []int, w []float32) {
	for x, wx := range w {
		d := dst[x*Block:][:Block]
		a, b := src[off0[x]/4:][:Block], src[off1[x]/4:][:Block]
		for i := range d {
			d[i] = a[i] + (b[i]-a[i])*wx
		}
	}
}

func arithmeticGeneric(op Op, dst, a, b []float32) {
	a = a[:len(dst)]
	if len(b) == Block && len(dst) > Block {
		for i := 0; i < len(dst); i += Block {
			n := min(Block, len(dst)-i)
			arithmeticGeneric(op, dst[i:i+n], a[i:i+n], b[:n])
		}
		return
	}
	b = b[:len(dst)]
	switch op {
	case Add:
		for i := range dst {
			dst[i] = a[i] + b[i]
		}
	case Sub:
		for i := range dst {
			dst[i] = a[i] - b[i]
		}
	case Mul:
		for i := range dst {
			dst[i] = a[i] * b[i]
		}
	case Max:
		for i := range dst {
			dst[i] = max(a[i], b[i])
		}
	case Min:
		for i := range dst {
			dst[i] = min(a[i], b[i])
		}
	case PRelu:
		for i := range dst {
			dst[i] = max(a[i], 0) + min(a[i], 0)*b[i]
		}
	}
}
