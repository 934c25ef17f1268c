package pipeline

import (
	"cutout/admission"
	"cutout/codec"
)

// What a request costs, roughly: milliseconds on one core, for a picture without any pixels and for each megapixel. Only
// their ratios matter, since the admission learns how fast the machine is. Measured at one thread on a 2.5 GHz Cascade
// Lake with JPEG photos of 0.26, 1.9 and 16 megapixels, 2026-11-21.
var costs = map[Quality]struct{ fixed, megapixel float64 }{
	Fast:     {200, 46},
	Balanced: {310, 85},
	Precise:  {450, 105},
}

// Memory that a request takes at its peak: the file, and for each pixel the picture as decoded and upright, its mask,
// its foreground, its cutout and the encoded result. Larger than what was measured, to be safe.
const (
	bytesPerPixel = 24
	fixedBytes    = 8 << 20
)

// demand tells the admission what a request will take.
func demand(info codec.Info, size int, o *Options) admission.Demand {
	pixels := int64(info.Width) * int64(info.Height)
	c := costs[o.Quality]
	d := admission.Demand{
		Work:   c.fixed + c.megapixel*float64(pixels)/1e6,
		Memory: fixedBytes + int64(size) + bytesPerPixel*pixels,
	}
	if o.Background != nil && o.Background.Image != nil {
		if bg, err := codec.Inspect(o.Background.Image, o.Background.Limits); err == nil {
			d.Memory += int64(len(o.Background.Image)) + 8*int64(bg.Width)*int64(bg.Height)
		}
	}
	return d
}

// MaxPixels is the largest picture, in pixels, that so much memory is enough for; at least one of a megapixel.
func MaxPixels(memory int64) int64 { return max(1e6, (memory-fixedBytes)/bytesPerPixel) }
