package matting

import (
	"context"
	"image"
)

// RefineOptions tunes Refine. The zero value takes the defaults.
type RefineOptions struct {
	// Precise looks at a band three times as wide and at twice the resolution, for hair, at some six times the cost.
	Precise bool
	Grid    int // longer side, in pixels, of the picture the matte is solved on; zero: 320, with Precise 640
	Threads int // zero: all CPUs
}

// tuning is how Refine works on its grid.
type tuning struct {
	grid       int     // longer side of the picture the matte is solved on
	foreground int     // mask values above are sure,
	background int     // and so are those below,
	erode      int     // after an erosion by one pixel for each of so many of the grid's longer side
	pull       float32 // how much the mask holds the matte where it is sure of itself
	tolerance  float64
	iterations int
	contrast   float64 // about the middle: the matte of a reduced photo is a little too soft
	keepAbove  uint8   // mask values from here up stay on their side of the middle,
	keepBelow  uint8   // and so do those down from here
}

// balanced was found on the photo sets of the quality table (half of 400 photos, u2netp masks): it is about the best
// for mattes of hair among those that make no set's masks worse.
var balanced = tuning{
	grid: 320, foreground: 240, background: 15, erode: 320, pull: 0.01, tolerance: 2e-3, iterations: 10, contrast: 1.25,
	keepAbove: 148, keepBelow: 108,
}

// precise does more for mattes of hair and costs sets of hard-edged masks 0.001 of MAE.
var precise = tuning{
	grid: 640, foreground: 240, background: 15, erode: 100, pull: 0.001, tolerance: 1e-3, iterations: 20, contrast: 1.25,
	keepAbove: 148, keepBelow: 108,
}

// Refine brings mask, a network's rough idea of the subject at any size, to the photo's size and to its edges. Around
// the mask's outline, and there only, it solves a closed-form matte on a small grid, held to the mask where that is
// sure, and applies the result's local functions of colour to the photo's own pixels. What the mask calls subject
// stays subject: only pixels it is unsure of change sides. Away from the outline the result is 0 or 255.
//
// Errors: *SizeError for an empty mask, and ctx.Err() when ctx ends first.
func Refine(ctx context.Context, photo *image.NRGBA, mask *image.Gray, o RefineOptions) (*image.Gray, error) {
	w, h := photo.Rect.Dx(), photo.Rect.Dy()
	if mask.Rect.Empty() && !photo.Rect.Empty() {
		return nil, &SizeError{What: "mask", Want: image.Pt(w, h)}
	}
	k := balanced
	if o.Precise {
		k = precise
	}
	if o.Grid > 0 {
		k.grid = o.Grid
	}
	o.Threads = threadCount(o.Threads)
	out := image.NewGray(image.Rect(0, 0, w, h))
	if w == 0 || h == 0 {
		return out, nil
	}
	gw, gh := w, h
	if long := max(w, h); long > k.grid {
		gw, gh = (w*k.grid+long/2)/long, (h*k.grid+long/2)/long
	}
	if gw < 3 || gh < 3 {
		enlarge(out, mask, nil, o.Threads)
		return out, nil
	}
	rough := image.NewGray(image.Rect(0, 0, gw, gh))
	enlarge(rough, mask, nil, o.Threads)
	tri := trimap(rough, TrimapOptions{
		ForegroundThreshold: k.foreground, BackgroundThreshold: k.background, ErodeSize: 1 + 2*max(1, (max(gw, gh)+k.erode/2)/k.erode), Threads: o.Threads,
	}, true)
	var seen [256]bool
	for _, v := range tri.Pix {
		seen[v] = true
	}
	if !seen[Foreground] || !seen[Background] {
		enlarge(out, mask, nil, o.Threads) // no outline to find
		return out, nil
	}
	weight := image.NewGray(rough.Rect)
	for i, v := range rough.Pix {
		d := 2*int(v) - 255
		weight.Pix[i] = uint8(max(d, -d))
	}
	spans := enlargedSpans(tri, w, h, o.Threads)
	fillSure(out, tri, spans, o.Threads)
	enlarge(out, mask, spans, o.Threads)
	gridSpans := unknownSpans(tri.Pix, tri.Stride, gw, gh, o.Threads, &isUnknown)
	// The windows of the unknown pixels and of the functions of colour around them reach two pixels out.
	small := shrinkPhoto(photo, gw, gh, widen(gridSpans, gw, 3), o.Threads)
	err := solveBand(ctx, small, tri, gridSpans, ClosedFormOptions{
		Tolerance: k.tolerance, MaxIterations: k.iterations, Threads: o.Threads,
		prior: &prior{value: rough, weight: weight, scale: k.pull},
	}.withDefaults())
	if err != nil {
		return nil, err
	}
	var sharp [256]uint8
	for v := range sharp {
		sharp[v] = uint8(max(0, min(255, (float64(v)-127.5)*k.contrast+127.5)) + .5)
	}
	newJoint(small, tri, jointEpsilon).enlarge(photo, spans, o.Threads, func(y, x int, alpha []uint8) {
		dst := out.Pix[y*out.Stride+x:]
		for i, v := range alpha {
			v = sharp[v]
			switch was := dst[i]; {
			case was >= k.keepAbove:
				v = max(v, 128)
			case was <= k.keepBelow:
				v = min(v, 127)
			}
			dst[i] = v
		}
	})
	return out, nil
}

// fillSure sets the pixels of out between spans to what the reduced trimap is sure of there.
func fillSure(out, tri *image.Gray, spans [][][2]int32, threads int) {
	w, h := out.Rect.Dx(), out.Rect.Dy()
	cols, rows := interpolation(w, tri.Rect.Dx()), interpolation(h, tri.Rect.Dy())
	stripes(threads, h, func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			dst := out.Pix[y*out.Stride : y*out.Stride+w]
			fill := func(x0, x1 int) {
				if x0 >= x1 {
					return
				}
				v := tri.Pix[int(rows[y].a)*tri.Stride+int(cols[x0].a)]
				if v == Background {
					return
				}
				for x := x0; x < x1; x++ {
					dst[x] = v
				}
			}
			x := 0
			for _, s := range spans[y] {
				fill(x, int(s[0]))
				x = int(s[1])
			}
			fill(x, w)
		}
	})
}

// enlarge fills the spans of out, or all of it where they are nil, with mask, interpolated linearly; it makes smaller
// without averaging.
func enlarge(out, mask *image.Gray, spans [][][2]int32, threads int) {
	w, h := out.Rect.Dx(), out.Rect.Dy()
	mw, mh := mask.Rect.Dx(), mask.Rect.Dy()
	cols, rows := interpolation(w, mw), interpolation(h, mh)
	whole := [][2]int32{{0, int32(w)}}
	stripes(threads, h, func(y0, y1 int) {
		line := make([]float32, mw)
		for y := y0; y < y1; y++ {
			row := whole
			if spans != nil {
				row = spans[y]
			}
			if len(row) == 0 {
				continue
			}
			r := rows[y]
			a := mask.Pix[int(r.a)*mask.Stride : int(r.a)*mask.Stride+mw]
			b := mask.Pix[int(r.b)*mask.Stride : int(r.b)*mask.Stride+mw]
			for x := range line {
				line[x] = float32(a[x]) + r.t*(float32(b[x])-float32(a[x])) + .5
			}
			dst := out.Pix[y*out.Stride : y*out.Stride+w]
			for _, s := range row {
				for x := int(s[0]); x < int(s[1]); x++ {
					c := cols[x]
					l := line[c.a]
					dst[x] = uint8(l + c.t*(line[c.b]-l))
				}
			}
		}
	})
}

// enlargedSpans lists the stretches of the rows of a w x h picture that lie near an unknown pixel of a reduced trimap,
// or between sure ones of both kinds.
func enlargedSpans(tri *image.Gray, w, h, threads int) [][][2]int32 {
	gw, gh := tri.Rect.Dx(), tri.Rect.Dy()
	cols, rows := interpolation(w, gw), interpolation(h, gh)
	// start[i] is the first pixel right of grid pixel i, so that all from there to start[i+1] lie between i and i+1.
	start := make([]int32, gw+1)
	for i := range start {
		start[i] = int32(w)
	}
	for x := w - 1; x >= 0; x-- {
		start[cols[x].a] = int32(x)
	}
	for i := gw - 1; i >= 0; i-- {
		start[i] = min(start[i], start[i+1])
	}
	start[0] = 0
	spans := make([][][2]int32, h)
	stripes(threads, h, func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			a, b := tri.Pix[int(rows[y].a)*tri.Stride:], tri.Pix[int(rows[y].b)*tri.Stride:]
			var row [][2]int32
			for i := 0; i < gw; i++ {
				j := min(i+1, gw-1)
				v := a[i]
				if v == a[j] && v == b[i] && v == b[j] && (v == Foreground || v == Background) || start[i] == start[i+1] {
					continue
				}
				if k := len(row) - 1; k >= 0 && row[k][1] == start[i] {
					row[k][1] = start[i+1]
				} else {
					row = append(row, [2]int32{start[i], start[i+1]})
				}
			}
			spans[y] = row
		}
	})
	return spans
}
