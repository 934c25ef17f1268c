package main

import (
	"image"
	"math"
)

// Score is how one mask compares with the true one. Values are fractions in 0..1 unless said otherwise.
type Score struct {
	IoU      float64 // intersection over union of both, cut at one half
	MAE      float64 // mean absolute error of the mask as it is
	S        float64 // structure measure
	MaxF     float64 // best F-measure over all thresholds, beta² = 0.3
	Boundary float64 // F-measure of the outlines, cut at one half, where 2 pixels apart is near enough
	SAD      float64 // sum of absolute differences, in thousands of pixels
	Gradient float64 // gradient error, in thousands
}

// half is the least value counted as subject when a mask is cut at one half.
const half = 128

// measure compares a mask with the true one. Both are of the same size and not empty. SAD and Gradient are measured
// where the true mask is a matte.
func measure(got, want *image.Gray, matte bool) Score {
	s := Score{
		IoU:      iou(got, want),
		MAE:      mae(got, want),
		S:        structure(got, want),
		MaxF:     maxF(got, want),
		Boundary: boundaryF(got, want),
	}
	if matte {
		s.SAD = s.MAE * float64(pixels(want)) / 1000
		s.Gradient = gradientError(got, want)
	}
	return s
}

func pixels(m *image.Gray) int { return m.Rect.Dx() * m.Rect.Dy() }

// row returns the values of row y, counted from the top of the picture.
func row(m *image.Gray, y int) []uint8 {
	return m.Pix[y*m.Stride:][:m.Rect.Dx()]
}

// iou is the intersection over union of two masks cut at one half; 1 where both are empty.
func iou(got, want *image.Gray) float64 {
	var both, either int
	for y := range want.Rect.Dy() {
		g, w := row(got, y), row(want, y)
		for x := range w {
			inGot, inWant := g[x] >= half, w[x] >= half
			if inGot && inWant {
				both++
			}
			if inGot || inWant {
				either++
			}
		}
	}
	if either == 0 {
		return 1
	}
	return float64(both) / float64(either)
}

// mae is the mean absolute error, 0..1.
func mae(got, want *image.Gray) float64 {
	var sum int
	for y := range want.Rect.Dy() {
		g, w := row(got, y), row(want, y)
		for x := range w {
			d := int(g[x]) - int(w[x])
			sum += max(d, -d)
		}
	}
	return float64(sum) / 255 / float64(pixels(want))
}

// stretched returns a function that maps the values of a mask to 0..1, its least value to 0 and its largest to 1, as
// saliency benchmarks do before they measure structure and F. A mask of one value is only divided by 255.
func stretched(m *image.Gray) [256]float64 {
	lo, hi := uint8(255), uint8(0)
	for y := range m.Rect.Dy() {
		for _, v := range row(m, y) {
			lo, hi = min(lo, v), max(hi, v)
		}
	}
	var table [256]float64
	for v := range table {
		table[v] = float64(v) / 255
		if hi > lo {
			table[v] = (float64(v) - float64(lo)) / (float64(hi) - float64(lo))
		}
	}
	return table
}

// maxF is the best F-measure over 256 thresholds (Achanta et al., "Frequency-tuned salient region detection",
// CVPR 2009), weighing precision with beta² = 0.3. It is 0 where the true mask is empty.
func maxF(got, want *image.Gray) float64 {
	const beta2 = 0.3
	table := stretched(got)
	var inside, outside [256]int
	total := 0
	for y := range want.Rect.Dy() {
		g, w := row(got, y), row(want, y)
		for x := range w {
			level := int(table[g[x]] * 255)
			if w[x] >= half {
				inside[level]++
				total++
			} else {
				outside[level]++
			}
		}
	}
	best, hits, found := 0.0, 0, 0
	for level := 255; level >= 0; level-- {
		hits += inside[level]
		found += inside[level] + outside[level]
		if hits == 0 {
			continue
		}
		precision, recall := float64(hits)/float64(found), float64(hits)/float64(total)
		best = max(best, (1+beta2)*precision*recall/(beta2*precision+recall))
	}
	return best
}

// structure is the S-measure (Fan et al., "Structure-measure: A new way to evaluate foreground maps", ICCV 2017) with
// alpha 0.5: how alike the two masks are inside and outside of the subject, and in the four parts that meet at the
// subject's centre.
func structure(got, want *image.Gray) float64 {
	table := stretched(got)
	width, height := want.Rect.Dx(), want.Rect.Dy()

	var in, out moments // of the mask in the subject, and of what it leaves in the rest
	var sumX, sumY float64
	for y := range height {
		g, w := row(got, y), row(want, y)
		for x := range w {
			v := table[g[x]]
			if w[x] >= half {
				in.add(v)
				sumX += float64(x)
				sumY += float64(y)
			} else {
				out.add(1 - v)
			}
		}
	}
	area := float64(width * height)
	switch share := in.n / area; {
	case in.n == 0:
		return out.mean()
	case out.n == 0:
		return in.mean()
	default:
		object := in.object()*share + out.object()*(1-share)
		cx := int(math.RoundToEven(sumX/in.n)) + 1
		cy := int(math.RoundToEven(sumY/in.n)) + 1
		var region float64
		for _, r := range [...]image.Rectangle{
			image.Rect(0, 0, cx, cy), image.Rect(cx, 0, width, cy),
			image.Rect(0, cy, cx, height), image.Rect(cx, cy, width, height),
		} {
			if n := r.Dx() * r.Dy(); n > 0 {
				region += similarity(got, want, &table, r) * float64(n) / area
			}
		}
		return max(0, 0.5*object+0.5*region)
	}
}

// moments gathers count, sum and sum of squares.
type moments struct{ n, sum, squares float64 }

func (m *moments) add(v float64) {
	m.n++
	m.sum += v
	m.squares += v * v
}

func (m *moments) mean() float64 { return m.sum / m.n }

// variance is that of the sample, with n-1 degrees of freedom; 0 for a single value.
func (m *moments) variance() float64 {
	if m.n < 2 {
		return 0
	}
	return max(0, (m.squares-m.sum*m.sum/m.n)/(m.n-1))
}

// object is the object-aware similarity of values that should all be 1.
func (m *moments) object() float64 {
	mean := m.mean()
	return 2 * mean / (mean*mean + 1 + math.Sqrt(m.variance()))
}

// similarity is the region-aware similarity of a part of both masks: SSIM without its constants.
func similarity(got, want *image.Gray, table *[256]float64, r image.Rectangle) float64 {
	var a, b moments
	var product float64
	for y := r.Min.Y; y < r.Max.Y; y++ {
		g, w := row(got, y), row(want, y)
		for x := r.Min.X; x < r.Max.X; x++ {
			v := table[g[x]]
			a.add(v)
			if w[x] >= half {
				b.add(1)
				product += v
			} else {
				b.add(0)
			}
		}
	}
	var covariance float64
	if a.n > 1 {
		covariance = (product - a.sum*b.sum/a.n) / (a.n - 1)
	}
	top := 4 * a.mean() * b.mean() * covariance
	bottom := (a.mean()*a.mean() + b.mean()*b.mean()) * (a.variance() + b.variance())
	switch {
	case top != 0:
		return top / bottom
	case bottom == 0:
		return 1
	default:
		return 0
	}
}

// reach is how far, in pixels, two outlines may be apart and still count as one.
const reach = 2

// boundaryF is the F-measure of two masks' outlines: a pixel of one is found when the other has one within reach of it
// (Perazzi et al., "A benchmark dataset and evaluation methodology for video object segmentation", CVPR 2016). It is 1
// where neither has an outline and 0 where only one has.
func boundaryF(got, want *image.Gray) float64 {
	a, b := outline(got), outline(want)
	precision, okA := near(a, b, want.Rect.Size())
	recall, okB := near(b, a, want.Rect.Size())
	switch {
	case !okA && !okB:
		return 1
	case !okA || !okB || precision+recall == 0:
		return 0
	default:
		return 2 * precision * recall / (precision + recall)
	}
}

// outline marks the pixels of a mask, cut at one half, that have a neighbour beside, above or below that is not part
// of it. The picture's border is no outline.
func outline(m *image.Gray) []bool {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	inside := func(x, y int) bool { return m.Pix[y*m.Stride+x] >= half }
	edge := make([]bool, w*h)
	for y := range h {
		for x := range w {
			edge[y*w+x] = inside(x, y) && ((x > 0 && !inside(x-1, y)) || (x < w-1 && !inside(x+1, y)) ||
				(y > 0 && !inside(x, y-1)) || (y < h-1 && !inside(x, y+1)))
		}
	}
	return edge
}

// near returns the share of a's pixels that have one of b's within reach, and whether a has any.
func near(a, b []bool, size image.Point) (share float64, ok bool) {
	var hits, total int
	for y := range size.Y {
		for x := range size.X {
			if !a[y*size.X+x] {
				continue
			}
			total++
			if within(b, size, x, y) {
				hits++
			}
		}
	}
	if total == 0 {
		return 0, false
	}
	return float64(hits) / float64(total), true
}

func within(b []bool, size image.Point, x, y int) bool {
	for v := max(0, y-reach); v <= min(size.Y-1, y+reach); v++ {
		for u := max(0, x-reach); u <= min(size.X-1, x+reach); u++ {
			if b[v*size.X+u] && (u-x)*(u-x)+(v-y)*(v-y) <= reach*reach {
				return true
			}
		}
	}
	return false
}

// gradientError is the sum of squared differences between the lengths of both masks' gradients, in thousands
// (Rhemann et al., "A perceptually motivated online benchmark for image matting", CVPR 2009): first derivatives of a
// Gaussian with a deviation of 1.4 pixels, normalised filters, borders repeated.
func gradientError(got, want *image.Gray) float64 {
	a, b := gradient(got), gradient(want)
	var sum float64
	for i := range a {
		sum += (a[i] - b[i]) * (a[i] - b[i])
	}
	return sum / 1000
}

// gradient returns the length of the gradient at every pixel of a mask scaled to 0..1.
func gradient(m *image.Gray) []float64 {
	const (
		sigma   = 1.4
		epsilon = 1e-2 // what lies beyond is cut off
	)
	radius := int(math.Ceil(sigma * math.Sqrt(-2*math.Log(math.Sqrt(2*math.Pi)*sigma*epsilon))))
	smooth, derive := make([]float64, 2*radius+1), make([]float64, 2*radius+1)
	for i := range smooth {
		x := float64(i - radius)
		smooth[i] = math.Exp(-x*x/(2*sigma*sigma)) / (sigma * math.Sqrt(2*math.Pi))
		derive[i] = -x * smooth[i] / (sigma * sigma)
	}
	normalise(smooth)
	normalise(derive)

	w, h := m.Rect.Dx(), m.Rect.Dy()
	values := make([]float64, w*h)
	for y := range h {
		for x, v := range row(m, y) {
			values[y*w+x] = float64(v) / 255
		}
	}
	dx := filter(filter(values, w, h, derive, false), w, h, smooth, true)
	dy := filter(filter(values, w, h, smooth, false), w, h, derive, true)
	for i := range dx {
		dx[i] = math.Hypot(dx[i], dy[i])
	}
	return dx
}

// normalise scales a filter to length one.
func normalise(f []float64) {
	var sum float64
	for _, v := range f {
		sum += v * v
	}
	for i := range f {
		f[i] /= math.Sqrt(sum)
	}
}

// filter correlates the rows, or the columns, of a plane with a kernel of odd length.
func filter(values []float64, w, h int, kernel []float64, columns bool) []float64 {
	out := make([]float64, len(values))
	radius := len(kernel) / 2
	for y := range h {
		for x := range w {
			var sum float64
			for i, k := range kernel {
				u, v := x+i-radius, y
				if columns {
					u, v = x, y+i-radius
				}
				sum += k * values[min(max(v, 0), h-1)*w+min(max(u, 0), w-1)]
			}
			out[y*w+x] = sum
		}
	}
	return out
}
