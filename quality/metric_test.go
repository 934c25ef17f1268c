package main

import (
	"image"
	"math"
	"testing"
)

// plane makes a mask of the given rows.
func plane(rows ...[]uint8) *image.Gray {
	m := image.NewGray(image.Rect(0, 0, len(rows[0]), len(rows)))
	for y, r := range rows {
		copy(m.Pix[y*m.Stride:], r)
	}
	return m
}

// square makes a w x h mask that is 255 in r and 0 elsewhere.
func square(w, h int, r image.Rectangle) *image.Gray {
	m := image.NewGray(image.Rect(0, 0, w, h))
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			m.Pix[y*m.Stride+x] = 255
		}
	}
	return m
}

func wantNear(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.IsNaN(got) || math.Abs(got-want) > 1e-9 {
		t.Errorf("%s: got %.12f, want %.12f", what, got, want)
	}
}

func TestIoU(t *testing.T) {
	t.Parallel()
	a := plane([]uint8{255, 255, 0, 0})
	wantNear(t, "itself", iou(a, a), 1)
	wantNear(t, "half", iou(plane([]uint8{255, 0, 0, 0}), a), 0.5)
	wantNear(t, "shifted", iou(plane([]uint8{0, 255, 255, 0}), a), 1.0/3)
	wantNear(t, "apart", iou(plane([]uint8{0, 0, 255, 255}), a), 0)
	wantNear(t, "cut at one half", iou(plane([]uint8{128, 127, 127, 0}), a), 0.5)
	wantNear(t, "both empty", iou(plane([]uint8{0, 127}), plane([]uint8{0, 0})), 1)
	wantNear(t, "found nothing", iou(plane([]uint8{0, 0, 0, 0}), a), 0)
}

func TestMAE(t *testing.T) {
	t.Parallel()
	wantNear(t, "mixed", mae(plane([]uint8{0, 255}, []uint8{51, 102}), plane([]uint8{0, 0}, []uint8{0, 255})), (1+0.2+0.6)/4)
	a := measure(plane([]uint8{0, 255}, []uint8{51, 102}), plane([]uint8{0, 0}, []uint8{0, 255}), true)
	wantNear(t, "SAD", a.SAD, 1.8/1000)
}

func TestMaxF(t *testing.T) {
	t.Parallel()
	want := plane([]uint8{255, 255, 0, 0})
	wantNear(t, "itself", maxF(want, want), 1)
	// The threshold between 200 and 100 separates perfectly.
	wantNear(t, "separable", maxF(plane([]uint8{200, 210, 100, 90}), want), 1)
	// At 255: precision 1, recall 1/2. Lower ones give 2/3 and 1: 1.3*(2/3)/(0.2+1) = 0.7222; 1.3*0.5/(0.3+0.5) = 0.8125.
	wantNear(t, "mixed", maxF(plane([]uint8{255, 50, 100, 0}), want), 0.8125)
	wantNear(t, "nothing found", maxF(plane([]uint8{0, 0, 0, 0}), want), 1.3*0.5/(0.15+1))
	wantNear(t, "nothing there", maxF(want, plane([]uint8{0, 0, 0, 0})), 0)
}

func TestStructure(t *testing.T) {
	t.Parallel()
	want := square(8, 6, image.Rect(2, 1, 5, 4))
	wantNear(t, "itself", structure(want, want), 1)
	wantNear(t, "nothing there", structure(plane([]uint8{0, 51, 255, 0}), plane([]uint8{0, 0, 0, 0})), 1-1.2/4)
	wantNear(t, "all there", structure(plane([]uint8{0, 51, 255, 0}), plane([]uint8{255, 255, 255, 255})), 1.2/4)

	// One row of four, subject in the first two, mask 1, 1/2, 0, 0.
	// Object: inside mean 3/4, deviation 1/(2 sqrt 2); outside mean 1, deviation 0.
	// Centre at round(1/2) = 0, so the left part has one pixel: both deviations 0, similarity 1, weight 1/4.
	// The right part: mask 1/2, 0, 0 and truth 1, 0, 0: mean 1/6 and 1/3, variance 1/12 and 1/3, covariance 1/6.
	got := plane([]uint8{254, 127, 0, 0})
	inside := 2 * 0.75 / (0.75*0.75 + 1 + 1/(2*math.Sqrt2))
	object := 0.5*inside + 0.5*1
	right := (4 * (1.0 / 6) * (1.0 / 3) * (1.0 / 6)) / ((1.0/36 + 1.0/9) * (1.0/12 + 1.0/3))
	region := 0.25*1 + 0.75*right
	wantNear(t, "by hand", structure(got, plane([]uint8{255, 255, 0, 0})), 0.5*object+0.5*region)
}

func TestBoundaryF(t *testing.T) {
	t.Parallel()
	const w, h = 40, 40
	want := square(w, h, image.Rect(10, 10, 30, 30))
	for shift, expect := range map[int]float64{0: 1, 1: 1, 2: 1} {
		got := square(w, h, image.Rect(10+shift, 10, 30+shift, 30))
		wantNear(t, "shifted within reach", boundaryF(got, want), expect)
	}
	// Shifted by 10 to the right, up to the border. The outline of the true square has 4*20-4 = 76 pixels, the other
	// one, whose right side is no outline, 20+2*19 = 58. Of either, 12 pixels at the top and 12 at the bottom lie within
	// 2 columns of the overlap, and 2 more at both ends of the side in the other square are within 2 rows of it.
	precision, recall := 28.0/58, 28.0/76
	wantNear(t, "half off", boundaryF(square(w, h, image.Rect(20, 10, 40, 30)), want), 2*precision*recall/(precision+recall))
	empty := square(w, h, image.Rectangle{})
	wantNear(t, "both empty", boundaryF(empty, empty), 1)
	wantNear(t, "one empty", boundaryF(want, empty), 0)
	wantNear(t, "far apart", boundaryF(square(w, h, image.Rect(0, 0, 3, 3)), square(w, h, image.Rect(30, 30, 35, 35))), 0)

	// A diagonal neighbour at distance sqrt 8 is out of reach 2, one at sqrt 5 as well, one at 2 is not.
	dot := func(x, y int) *image.Gray { return square(11, 11, image.Rect(x, y, x+1, y+1)) }
	wantNear(t, "sqrt 8", boundaryF(dot(7, 7), dot(5, 5)), 0)
	wantNear(t, "sqrt 5", boundaryF(dot(7, 6), dot(5, 5)), 0)
	wantNear(t, "2", boundaryF(dot(7, 5), dot(5, 5)), 1)
	wantNear(t, "sqrt 2", boundaryF(dot(6, 6), dot(5, 5)), 1)
}

func TestGradientError(t *testing.T) {
	t.Parallel()
	a := square(30, 30, image.Rect(10, 10, 20, 20))
	wantNear(t, "itself", gradientError(a, a), 0)
	flat := square(30, 30, image.Rectangle{})
	wantNear(t, "flat", gradientError(flat, square(30, 30, image.Rect(0, 0, 30, 30))), 0)
	// A straight edge far from the border: every row is alike, and the smoothing across sums to a constant.
	edge := square(30, 30, image.Rect(0, 0, 15, 30))
	turned := square(30, 30, image.Rect(0, 0, 30, 15))
	wantNear(t, "symmetry", gradientError(edge, flat), gradientError(turned, flat))
	kernel := make([]float64, 9)
	smooth, norm, normS := 0.0, 0.0, 0.0
	for i := range kernel {
		x := float64(i - 4)
		g := math.Exp(-x * x / 3.92)
		kernel[i] = x * g
		smooth += g
		norm += x * x * g * g
		normS += g * g
	}
	var sum float64
	for at := range 30 { // response of the derivative at column at to a step between columns 14 and 15
		var d float64
		for i, k := range kernel {
			if min(max(at+i-4, 0), 29) < 15 {
				d += k
			}
		}
		sum += math.Pow(d/math.Sqrt(norm)*smooth/math.Sqrt(normS), 2)
	}
	wantNear(t, "straight edge", gradientError(edge, flat), 30*sum/1000)
}
