package compositing

import (
	"encoding/binary"
	"image"
	"math"
	"math/bits"
	"slices"
)

// ClearFaint sets every value of mask under below to 0, in place. Values that nobody sees would otherwise widen the
// subject's box to most of the picture and keep the outside from being fully transparent.
func ClearFaint(mask *image.Gray, below uint8) {
	if below == 0 {
		return
	}
	eachSoft(mask, func(r []uint8) {
		for x, v := range r {
			if v < below {
				r[x] = 0
			}
		}
	})
}

// FillNearlyFull sets every value of mask from `from`, which is not 0, up to 255, in place. Whoever sees a cutout expects it
// to hold the photo's own colours unmixed there.
func FillNearlyFull(mask *image.Gray, from uint8) {
	eachSoft(mask, func(r []uint8) {
		for x, v := range r {
			if v >= from {
				r[x] = 255
			}
		}
	})
}

// eachSoft calls f for stretches of mask that hold all values other than 0 and 255, and some of those.
func eachSoft(mask *image.Gray, f func(r []uint8)) {
	w, h := mask.Rect.Dx(), mask.Rect.Dy()
	eachBand(w, h, func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			r := row(mask.Pix, mask.Stride, y, w)
			for ; len(r) >= 8; r = r[8:] {
				if v := binary.LittleEndian.Uint64(r); v != 0 && v != math.MaxUint64 {
					f(r[:8])
				}
			}
			f(r)
		}
	})
}

// Bounds returns the smallest rectangle that holds every non-zero value of mask, empty when there is none.
func Bounds(mask *image.Gray) image.Rectangle {
	w, h := mask.Rect.Dx(), mask.Rect.Dy()
	var b image.Rectangle
	top := 0
	for top < h && firstSet(row(mask.Pix, mask.Stride, top, w)) == w {
		top++
	}
	if top == h {
		return b
	}
	bottom := h
	for firstSet(row(mask.Pix, mask.Stride, bottom-1, w)) == w {
		bottom--
	}
	left, right := w, 0
	for y := top; y < bottom; y++ {
		r := row(mask.Pix, mask.Stride, y, w)
		left = min(left, firstSet(r[:left]))
		right += lastSet(r[right:]) + 1
	}
	return image.Rect(left, top, right, bottom)
}

// firstSet returns the index of the first non-zero value, len(r) when there is none.
func firstSet(r []uint8) int {
	i := 0
	for ; i+8 <= len(r); i += 8 {
		if v := binary.LittleEndian.Uint64(r[i:]); v != 0 {
			return i + bits.TrailingZeros64(v)/8
		}
	}
	for ; i < len(r); i++ {
		if r[i] != 0 {
			return i
		}
	}
	return len(r)
}

// lastSet returns the index of the last non-zero value, -1 when there is none.
func lastSet(r []uint8) int {
	i := len(r)
	for ; i >= 8; i -= 8 {
		if v := binary.LittleEndian.Uint64(r[i-8:]); v != 0 {
			return i - 1 - bits.LeadingZeros64(v)/8
		}
	}
	for i--; i >= 0; i-- {
		if r[i] != 0 {
			return i
		}
	}
	return -1
}

// run is a horizontal stretch of set pixels.
type run struct {
	y, x0, x1 int32 // columns x0..x1-1
	parent    int32 // index of another run of the same component; its own at the root
}

// runs lists the stretches of values of at least the threshold, row by row, and joins those that touch, corners
// included, by union-find: afterwards find tells the component of each.
type runs []run

func findRuns(mask *image.Gray, threshold uint8) runs {
	w, h := mask.Rect.Dx(), mask.Rect.Dy()
	var rs runs
	prev := 0 // first run of the row above
	for y := range h {
		r := row(mask.Pix, mask.Stride, y, w)
		start := len(rs)
		for x := 0; x < w; {
			x += firstSet(r[x:])
			for x < w && r[x] < threshold && r[x] != 0 {
				x++
			}
			if x == w || r[x] == 0 {
				continue
			}
			x0 := x
			for x < w && r[x] >= threshold {
				x++
			}
			rs = append(rs, run{int32(y), int32(x0), int32(x), int32(len(rs))})
		}
		for i, j := prev, start; i < start && j < len(rs); {
			if rs[i].x0 <= rs[j].x1 && rs[j].x0 <= rs[i].x1 {
				rs.join(int32(i), int32(j))
			}
			if rs[i].x1 < rs[j].x1 {
				i++
			} else {
				j++
			}
		}
		prev = start
	}
	return rs
}

func (rs runs) find(i int32) int32 {
	for rs[i].parent != i {
		rs[i].parent = rs[rs[i].parent].parent
		i = rs[i].parent
	}
	return i
}

func (rs runs) join(i, j int32) {
	i, j = rs.find(i), rs.find(j)
	if i < j {
		rs[j].parent = i
	} else {
		rs[i].parent = j
	}
}

// DropSpecks clears, in place, the components of mask (non-zero values that touch, corners included) whose summed
// alpha is less than fraction of that of the heaviest component, and returns how many it cleared.
func DropSpecks(mask *image.Gray, fraction float64) int {
	rs := findRuns(mask, 1)
	sums := make([]int64, len(rs))
	var heaviest int64
	for i := range rs {
		root := rs.find(int32(i))
		for _, v := range row(mask.Pix, mask.Stride, int(rs[i].y), mask.Rect.Dx())[rs[i].x0:rs[i].x1] {
			sums[root] += int64(v)
		}
		heaviest = max(heaviest, sums[root])
	}
	dropped := 0
	for i := range rs {
		root := rs.find(int32(i))
		if float64(sums[root]) >= fraction*float64(heaviest) {
			continue
		}
		if int(root) == i {
			dropped++
		}
		clear(row(mask.Pix, mask.Stride, int(rs[i].y), mask.Rect.Dx())[rs[i].x0:rs[i].x1])
	}
	return dropped
}

// What makes a part of the mask an object of its own.
const (
	objectSide = 512  // longest side, in pixels, of the mask in which objects are looked for
	objectArea = 0.1  // least area, as a fraction of the largest object's
	objectGap  = 0.02 // least distance between two objects, as a fraction of the subject's longer side
	maxObjects = 32
)

// Objects returns the boxes of what mask shows, in pixels. The first is the box of the whole subject, that is of all
// non-zero values. Where the mask has several parts clearly apart, one box each follows, the largest part first.
// A part is a set of values over one half that lie within 2 % of the longer side of the subject's box of each other;
// it counts when its area is at least a tenth of the largest one's. Its box is that of the non-zero values around it.
// An empty mask has no objects.
func Objects(mask *image.Gray) []image.Rectangle {
	whole := Bounds(mask)
	if whole.Empty() {
		return nil
	}
	small, factor := reduce(mask, whole, objectSide)
	w, h := small.Rect.Dx(), small.Rect.Dy()
	radius := max(1, int(objectGap*float64(max(w, h))/2+0.5))

	// Parts nearer to each other than the gap grow together when each is grown by half of it.
	core := image.NewGray(small.Rect)
	for i, v := range small.Pix {
		if v > 127 {
			core.Pix[i] = 255
		}
	}
	grown := dilate(core, radius)
	rs := findRuns(grown, 255)
	areas := make([]int, len(rs))
	boxes := make([]image.Rectangle, len(rs))
	largest := 0
	for i := range rs {
		r, root := rs[i], rs.find(int32(i))
		y := int(r.y)
		for x := int(r.x0); x < int(r.x1); x++ {
			if core.Pix[y*w+x] != 0 {
				areas[root]++
			}
			if small.Pix[y*w+x] != 0 {
				boxes[root] = boxes[root].Union(image.Rect(x, y, x+1, y+1))
			}
		}
		largest = max(largest, areas[root])
	}
	var parts []int
	for i := range rs {
		if rs[i].parent == int32(i) && areas[i] > 0 && float64(areas[i]) >= objectArea*float64(largest) {
			parts = append(parts, i)
		}
	}
	found := []image.Rectangle{whole}
	if len(parts) < 2 {
		return found
	}
	slices.SortStableFunc(parts, func(a, b int) int { return areas[b] - areas[a] })
	for _, p := range parts[:min(len(parts), maxObjects)] {
		b := boxes[p]
		b = image.Rect(b.Min.X*factor, b.Min.Y*factor, b.Max.X*factor, b.Max.Y*factor).Add(whole.Min).Intersect(whole)
		found = append(found, Bounds(subGray(mask, b)).Add(b.Min))
	}
	return found
}

// subGray is the part of m inside r, sharing its pixels, with origin (0,0).
func subGray(m *image.Gray, r image.Rectangle) *image.Gray {
	return &image.Gray{Pix: m.Pix[r.Min.Y*m.Stride+r.Min.X:], Stride: m.Stride, Rect: image.Rect(0, 0, r.Dx(), r.Dy())}
}

// reduce shrinks the part of mask inside r by the least whole factor that brings its longer side to at most side
// pixels; each value is the mean of factor x factor values, those outside of r being 0. A set pixel stays non-zero.
func reduce(mask *image.Gray, r image.Rectangle, side int) (*image.Gray, int) {
	f := max(1, (max(r.Dx(), r.Dy())+side-1)/side)
	w, h := (r.Dx()+f-1)/f, (r.Dy()+f-1)/f
	out := image.NewGray(image.Rect(0, 0, w, h))
	eachBand(r.Dx(), h*f, func(y0, y1 int) {
		sums := make([]uint32, w)
		for y := (y0 + f - 1) / f; y < (y1+f-1)/f; y++ {
			clear(sums)
			for sy := y * f; sy < min(y*f+f, r.Dy()); sy++ {
				src := mask.Pix[(r.Min.Y+sy)*mask.Stride+r.Min.X:][:r.Dx()]
				for x := range sums[:w-1] {
					var s uint32
					for _, v := range src[x*f : x*f+f] {
						s += uint32(v)
					}
					sums[x] += s
				}
				for _, v := range src[(w-1)*f:] {
					sums[w-1] += uint32(v)
				}
			}
			area := uint32(f * f)
			for x, s := range sums {
				v := (s + area/2) / area
				if v == 0 && s > 0 {
					v = 1
				}
				out.Pix[y*w+x] = uint8(v)
			}
		}
	})
	return out, f
}

// dilate spreads the non-zero values of a mask of 0 and 255 over the square of the given radius around each.
func dilate(m *image.Gray, radius int) *image.Gray {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	wide := image.NewGray(m.Rect)
	for y := range h {
		src, dst := row(m.Pix, m.Stride, y, w), row(wide.Pix, w, y, w)
		until := 0
		for x, v := range src {
			if v == 0 {
				continue
			}
			for i := max(x-radius, until); i < min(x+radius+1, w); i++ {
				dst[i] = 255
			}
			until = min(x+radius+1, w)
		}
	}
	out := image.NewGray(m.Rect)
	last := make([]int, w) // last set row of each column, plus one
	for y := range h + radius {
		if y < h {
			for x, v := range row(wide.Pix, w, y, w) {
				if v != 0 {
					last[x] = y + 1
				}
			}
		}
		if oy := y - radius; oy >= 0 {
			dst := row(out.Pix, w, oy, w)
			for x, l := range last {
				if l > 0 && l-1 >= oy-radius {
					dst[x] = 255
				}
			}
		}
	}
	return out
}
