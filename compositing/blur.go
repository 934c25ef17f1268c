package compositing

import "math"

// plane is a rectangle of values, row by row.
type plane struct {
	w, h int
	pix  []float32
}

func newPlane(w, h int) plane { return plane{w, h, make([]float32, w*h)} }

func (p plane) row(y int) []float32 { return p.pix[y*p.w : (y+1)*p.w : (y+1)*p.w] }

// blur convolves p in place with, nearly, a Gaussian of the given deviations in pixels: three box filters of fractional
// width each way (Gwosdek et al., Theoretical Foundations of Gaussian Convolution by Extended Box Filtering, 2011).
// What lies outside of p counts as 0. tmp is scratch of the same size.
func (p plane) blur(sigmaX, sigmaY float64, tmp plane) {
	if r, edge, ok := boxOf(sigmaX, p.w); ok {
		line := make([]float32, p.w)
		for y := range p.h {
			v := p.row(y)
			boxLine(line, v, r, edge)
			boxLine(v, line, r, edge)
			boxLine(line, v, r, edge)
			copy(v, line)
		}
	}
	if r, edge, ok := boxOf(sigmaY, p.h); ok {
		sums := make([]float32, p.w)
		boxColumns(tmp, p, sums, r, edge)
		boxColumns(p, tmp, sums, r, edge)
		boxColumns(tmp, p, sums, r, edge)
		copy(p.pix, tmp.pix)
	}
}

// boxOf returns the radius of the box of which three make a Gaussian of deviation sigma, and the weight of the pixel
// beyond it on each side. ok is false where there is nothing to blur.
func boxOf(sigma float64, n int) (radius int, edge float32, ok bool) {
	const least = 0.2 // below it a blur is not seen
	if sigma < least || n == 0 {
		return 0, 0, false
	}
	v := sigma * sigma / 3 // variance of each box
	r := math.Floor((math.Sqrt(12*v+1) - 1) / 2)
	// Variance of a box of radius r whose two outer pixels weigh a:
	// (r(r+1)(2r+1)/3 + 2a(r+1)^2) / (2r+1+2a) = v, solved for a.
	a := (v*(2*r+1) - r*(r+1)*(2*r+1)/3) / (2*(r+1)*(r+1) - 2*v)
	return int(r), float32(a), true
}

func boxLine(dst, src []float32, r int, edge float32) {
	n := len(src)
	at := func(i int) float32 {
		if i < 0 || i >= n {
			return 0
		}
		return src[i]
	}
	scale := 1 / (float32(2*r+1) + 2*edge)
	var sum float32
	for i := range min(r, n) {
		sum += src[i]
	}
	x := 0
	for ; x < min(r+1, n); x++ {
		sum += at(x + r)
		dst[x] = (sum + edge*(at(x-r-1)+at(x+r+1))) * scale
		sum -= at(x - r)
	}
	if n > 2*r+2 {
		for ; x < n-r-1; x++ {
			next := src[x+r]
			sum += next
			dst[x] = (sum + edge*(src[x-r-1]+src[x+r+1])) * scale
			sum -= src[x-r]
		}
	}
	for ; x < n; x++ {
		sum += at(x + r)
		dst[x] = (sum + edge*(at(x-r-1)+at(x+r+1))) * scale
		sum -= at(x - r)
	}
}

func boxColumns(dst, src plane, sums []float32, r int, edge float32) {
	clear(sums)
	add := func(y int, f float32) {
		if y < 0 || y >= src.h {
			return
		}
		for x, v := range src.row(y) {
			sums[x] += f * v
		}
	}
	for y := range min(r, src.h) {
		add(y, 1)
	}
	scale := 1 / (float32(2*r+1) + 2*edge)
	for y := range src.h {
		add(y+r, 1)
		d := dst.row(y)
		for x, s := range sums {
			d[x] = s * scale
		}
		for _, i := range [2]int{y - r - 1, y + r + 1} {
			if i >= 0 && i < src.h {
				f := edge * scale
				for x, v := range src.row(i) {
					d[x] += f * v
				}
			}
		}
		add(y-r, -1)
	}
}
