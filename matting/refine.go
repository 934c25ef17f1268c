package matting

import (
	"context"
	"image"
)

// RefineOptions tunes Refine. The zero value takes the defaults.
type RefineOptions struct {
	Grid    int // longer side, in pixels, of the picture the matte is solved on; zero: 320
	Threads int // zero: all CPUs
}

// How Refine works on its grid, found on the photo sets of the quality table (thirds of 400 photos, u2netp masks): each
// is the best for mattes of hair that makes no set's masks worse.
const (
	refineGrid       = 320
	refineForeground = 240  // mask values above are sure,
	refineBackground = 15   // and so are those below,
	refineErode      = 320  // after an erosion by one pixel for each of so many of the longer side
	refinePull       = 0.01 // how much the mask holds the matte where it is sure of itself
	refineTolerance  = 2e-3
	refineIterations = 10
	refineContrast   = 1.25 // about the middle: the matte of a reduced photo is a little too soft
	refineKeepAbove  = 148  // mask values from here up stay on their side of the middle,
	refineKeepBelow  = 108  // and so do those down from here
)

// Refine brings mask, a network's rough idea of the subject at any size, to the photo's size and to its edges. Around
// the mask's outline, and there only, it solves a closed-form matte on a small grid, held to the mask where that is
// sure, and applies the result's local functions of colour to the photo's own pixels. What the mask calls subject
// stays subject: only pixels it is unsure of change sides.
//
// Errors: *SizeError for an empty mask, and ctx.Err() when ctx ends first.
func Refine(ctx context.Context, photo *image.NRGBA, mask *image.Gray, o RefineOptions) (*image.Gray, error) {
	w, h := photo.Rect.Dx(), photo.Rect.Dy()
	if mask.Rect.Empty() && !photo.Rect.Empty() {
		return nil, &SizeError{What: "mask", Want: image.Pt(w, h)}
	}
	if o.Grid <= 0 {
		o.Grid = refineGrid
	}
	o.Threads = threadCount(o.Threads)
	out := image.NewGray(image.Rect(0, 0, w, h))
	if w == 0 || h == 0 {
		return out, nil
	}
	enlarge(out, mask, o.Threads)
	gw, gh := w, h
	if long := max(w, h); long > o.Grid {
		gw, gh = (w*o.Grid+long/2)/long, (h*o.Grid+long/2)/long
	}
	if gw < 3 || gh < 3 {
		return out, nil
	}
	small := shrinkPhoto(photo, gw, gh, o.Threads)
	rough := image.NewGray(small.Rect)
	enlarge(rough, mask, o.Threads)
	tri := trimap(rough, TrimapOptions{
		ForegroundThreshold: refineForeground, BackgroundThreshold: refineBackground, ErodeSize: 1 + 2*max(1, (max(gw, gh)+refineErode/2)/refineErode), Threads: o.Threads,
	}, true)
	var seen [256]bool
	for _, v := range tri.Pix {
		seen[v] = true
	}
	if !seen[Foreground] || !seen[Background] {
		return out, nil // no outline to find
	}
	weight := image.NewGray(small.Rect)
	for i, v := range rough.Pix {
		d := 2*int(v) - 255
		weight.Pix[i] = uint8(max(d, -d))
	}
	spans := enlargedSpans(tri, w, h, o.Threads)
	gridSpans := unknownSpans(tri.Pix, tri.Stride, gw, gh, o.Threads, &isUnknown)
	err := solveBand(ctx, small, tri, gridSpans, ClosedFormOptions{
		Tolerance: refineTolerance, MaxIterations: refineIterations, Threads: o.Threads,
		prior: &prior{value: rough, weight: weight, scale: refinePull},
	}.withDefaults())
	if err != nil {
		return nil, err
	}
	var sharp [256]uint8
	for v := range sharp {
		sharp[v] = uint8(max(0, min(255, (float64(v)-127.5)*refineContrast+127.5)) + .5)
	}
	newJoint(small, tri, jointEpsilon).enlarge(photo, spans, o.Threads, func(y, x int, alpha []uint8) {
		dst := out.Pix[y*out.Stride+x:]
		for i, v := range alpha {
			v = sharp[v]
			switch was := dst[i]; {
			case was >= refineKeepAbove:
				v = max(v, 128)
			case was <= refineKeepBelow:
				v = min(v, 127)
			}
			dst[i] = v
		}
	})
	return out, nil
}

// enlarge fills out with mask, interpolated linearly; it makes smaller without averaging.
func enlarge(out, mask *image.Gray, threads int) {
	w, h := out.Rect.Dx(), out.Rect.Dy()
	mw, mh := mask.Rect.Dx(), mask.Rect.Dy()
	cols, rows := interpolation(w, mw), interpolation(h, mh)
	stripes(threads, h, func(y0, y1 int) {
		line := make([]float32, mw)
		for y := y0; y < y1; y++ {
			r := rows[y]
			a := mask.Pix[int(r.a)*mask.Stride : int(r.a)*mask.Stride+mw]
			b := mask.Pix[int(r.b)*mask.Stride : int(r.b)*mask.Stride+mw]
			for x := range line {
				line[x] = float32(a[x]) + r.t*(float32(b[x])-float32(a[x])) + .5
			}
			dst := out.Pix[y*out.Stride : y*out.Stride+w]
			for x, c := range cols {
				l := line[c.a]
				dst[x] = uint8(l + c.t*(line[c.b]-l))
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
