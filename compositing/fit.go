package compositing

import (
	"fmt"
	"image"
	"math"
)

// Fit says how a background is brought to the canvas.
type Fit int

// Ways to fit a background.
const (
	FitCover   Fit = iota // scaled, aspect kept, to cover the canvas, centred; what reaches over it is cut off
	FitStretch            // scaled to the canvas, aspect not kept
	FitContain            // scaled, aspect kept, to lie within the canvas, centred; the rest is transparent
	FitCentre             // not scaled, centred; cut off where larger, transparent around it where smaller
)

func (f Fit) String() string {
	switch f {
	case FitCover:
		return "cover"
	case FitStretch:
		return "stretch"
	case FitContain:
		return "contain"
	case FitCentre:
		return "centre"
	default:
		return fmt.Sprintf("Fit(%d)", int(f))
	}
}

// Resize scales a straight-alpha picture to width x height, both at least 1. It must weigh colours by alpha.
type Resize func(src *image.NRGBA, width, height int) *image.NRGBA

// Cover scales bg to cover a width x height canvas, centred, and cuts off what reaches over it.
func Cover(bg *image.NRGBA, width, height int, resize Resize) *image.NRGBA {
	return Place(bg, width, height, FitCover, resize)
}

// Place brings bg to a width x height canvas as fit says. All sizes must be at least 1. The result may share its pixels
// with bg where nothing is to be done.
func Place(bg *image.NRGBA, width, height int, fit Fit, resize Resize) *image.NRGBA {
	bw, bh := bg.Rect.Dx(), bg.Rect.Dy()
	if bw == width && bh == height {
		return bg
	}
	switch fit {
	case FitStretch:
		return resize(bg, width, height)
	case FitContain:
		scale := min(float64(width)/float64(bw), float64(height)/float64(bh))
		w, h := scaled(bw, scale, width), scaled(bh, scale, height)
		if w != bw || h != bh {
			bg = resize(bg, w, h)
		}
		return centred(bg, width, height)
	case FitCentre:
		return centred(bg, width, height)
	default:
		return cover(bg, width, height, resize)
	}
}

// scaled is side*scale in whole pixels, at least 1 and at most limit.
func scaled(side int, scale float64, limit int) int {
	return min(max(int(math.Round(float64(side)*scale)), 1), limit)
}

// cover cuts bg to what can be seen before it scales, so that a long strip costs no more than the canvas. The cut is
// made outwards to whole pixels, and the exact window is taken from the scaled picture.
func cover(bg *image.NRGBA, width, height int, resize Resize) *image.NRGBA {
	bw, bh := bg.Rect.Dx(), bg.Rect.Dy()
	scale := max(float64(width)/float64(bw), float64(height)/float64(bh))
	x0, w, left := window(bw, width, scale)
	y0, h, top := window(bh, height, scale)
	if w != bw || h != bh {
		bg = &image.NRGBA{Pix: bg.Pix[y0*bg.Stride+4*x0:], Stride: bg.Stride, Rect: image.Rect(0, 0, w, h)}
	}
	sw := max(int(math.Round(float64(w)*scale)), left+width)
	sh := max(int(math.Round(float64(h)*scale)), top+height)
	if sw != w || sh != h {
		bg = resize(bg, sw, sh)
	}
	if sw == width && sh == height && bg.Stride == 4*width {
		return bg
	}
	return CropTo(bg, image.Rect(left, top, left+width, top+height))
}

// window returns the source pixels, from..from+n-1 of side, that the centred canvas shows at the given scale, and where
// the canvas begins in them once they are scaled.
func window(side, canvas int, scale float64) (from, n, offset int) {
	seen := min(float64(canvas)/scale, float64(side))
	start := (float64(side) - seen) / 2
	const slack = 1e-6 // keeps rounding errors from adding a pixel
	from = max(int(math.Floor(start+slack)), 0)
	to := min(int(math.Ceil(start+seen-slack)), side)
	offset = max(int(math.Round((start-float64(from))*scale)), 0)
	return from, max(to-from, 1), offset
}

// centred puts m in the middle of a width x height canvas.
func centred(m *image.NRGBA, width, height int) *image.NRGBA {
	x, y := floorHalf(m.Rect.Dx()-width), floorHalf(m.Rect.Dy()-height)
	return CropTo(m, image.Rect(x, y, x+width, y+height))
}

// floorHalf is n/2 rounded down, for negative n too, so that odd differences fall the same way in both cases.
func floorHalf(n int) int { return n >> 1 }
