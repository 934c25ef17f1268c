package matting

import "image"

// Values of a trimap.
const (
	Background = 0   // surely not the subject
	Unknown    = 128 // to be found out
	Foreground = 255 // surely the subject
)

// TrimapOptions says which pixels of a mask are sure. The zero value is not the default; DefaultTrimap is.
type TrimapOptions struct {
	ForegroundThreshold int // sure foreground is above this, 0..255
	BackgroundThreshold int // sure background is below this, 0..255
	// ErodeSize is the side in pixels of the square both sure areas are eroded with. An even square reaches one pixel
	// further up and left than down and right. 0 erodes with the 4-neighbour cross, less than 0 not at all.
	ErodeSize int
	Threads   int // zero: all CPUs
}

// DefaultTrimap holds the values clients of alpha matting expect where they name none.
var DefaultTrimap = TrimapOptions{ForegroundThreshold: 240, BackgroundThreshold: 10, ErodeSize: 10}

// Trimap splits mask into sure foreground (255), sure background (0) and unknown (128). Like the tools whose knobs
// these are, it takes what lies outside the picture for background when it erodes: a subject cut off by the picture's
// border gets an unknown seam there, a background does not.
//
// The cost is linear in the number of pixels whatever the erosion.
func Trimap(mask *image.Gray, o TrimapOptions) *image.Gray { return trimap(mask, o, false) }

// trimap is Trimap; where open is true, a subject does not end at the picture's border.
func trimap(mask *image.Gray, o TrimapOptions, open bool) *image.Gray {
	w, h := mask.Rect.Dx(), mask.Rect.Dy()
	out := image.NewGray(image.Rect(0, 0, w, h))
	if w == 0 || h == 0 {
		return out
	}
	threads := threadCount(o.Threads)
	// class of each pixel: bit 0 foreground, bit 1 background; they exclude each other only for sensible thresholds.
	const fg, bg = 1, 2
	var class [256]byte
	for v := range class {
		if v > o.ForegroundThreshold {
			class[v] |= fg
		}
		if v < o.BackgroundThreshold {
			class[v] |= bg
		}
	}
	value := [4]byte{Unknown, Foreground, Background, Background}
	at := func(x, y int) byte {
		if x < 0 || y < 0 || x >= w || y >= h {
			return bg
		}
		return class[mask.Pix[y*mask.Stride+x]]
	}
	if o.ErodeSize <= 0 {
		stripes(threads, h, func(y0, y1 int) {
			for y := y0; y < y1; y++ {
				dst := out.Pix[y*out.Stride : y*out.Stride+w]
				for x := range dst {
					c := at(x, y)
					if o.ErodeSize == 0 {
						c &= at(x-1, y) & at(x+1, y) & at(x, y-1) & at(x, y+1)
					}
					dst[x] = value[c]
				}
			}
		})
		return out
	}
	// Erosion by a square is one along rows, then one along columns. Each looks back over before pixels and ahead over
	// after; a pixel survives where the last pixel that lacks the class is further back than the whole window.
	size := min(o.ErodeSize, 2*max(w, h)+2) // a larger square sees no more
	before, after := size/2, (size-1)/2
	rows := make([]byte, w*h)
	// The last pixel without foreground before the picture begins; there is always background.
	outside, border := -1, byte(bg)
	if open {
		outside, border = -before-after-2, fg|bg
	}
	stripes(threads, h, func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			src := mask.Pix[y*mask.Stride : y*mask.Stride+w]
			dst := rows[y*w : y*w+w]
			noFg, noBg := outside, -before-after-2
			for x := 0; x < w+after; x++ {
				c := border
				if x < w {
					c = class[src[x]]
				}
				if c&fg == 0 {
					noFg = x
				}
				if c&bg == 0 {
					noBg = x
				}
				if x < after {
					continue
				}
				var v byte
				if x-noFg > before+after {
					v = fg
				}
				if x-noBg > before+after {
					v |= bg
				}
				dst[x-after] = v
			}
		}
	})
	// Columns are walked in stripes of neighbouring ones so that each cache line is read once.
	const cols = 64
	each(threads, (w+cols-1)/cols, func(i int) {
		x0 := i * cols
		n := min(cols, w-x0)
		var noFg, noBg [cols]int
		for j := range noFg {
			noFg[j], noBg[j] = outside, -before-after-2
		}
		for y := 0; y < h+after; y++ {
			if y < h {
				src := rows[y*w+x0 : y*w+x0+n]
				for j, c := range src {
					if c&fg == 0 {
						noFg[j] = y
					}
					if c&bg == 0 {
						noBg[j] = y
					}
				}
			} else if !open {
				for j := 0; j < n; j++ {
					noFg[j] = y
				}
			}
			if y < after {
				continue
			}
			dst := out.Pix[(y-after)*out.Stride+x0 : (y-after)*out.Stride+x0+n]
			for j := range dst {
				var v byte
				if y-noFg[j] > before+after {
					v = fg
				}
				if y-noBg[j] > before+after {
					v |= bg
				}
				dst[j] = value[v]
			}
		}
	})
	return out
}
