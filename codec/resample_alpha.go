package codec

import "image"

// LanczosAlpha resamples src to w x h pixels with a Lanczos filter of three lobes, colours weighed by their alpha, like
// PIL.Image.resize of mode RGBA: colours are multiplied by alpha before and divided by it afterwards. src has its
// origin at (0,0) and is not empty; w and h are at least 1.
func LanczosAlpha(src *image.NRGBA, w, h int) *image.NRGBA {
	if src.Opaque() {
		return Lanczos(src, w, h)
	}
	sw, sh := src.Rect.Dx(), src.Rect.Dy()
	alpha := image.NewGray(image.Rect(0, 0, sw, sh))
	colours := image.NewNRGBA(image.Rect(0, 0, sw, sh))
	eachRow(sh, func(y int) {
		s, d, a := src.Pix[y*src.Stride:][:4*sw], colours.Pix[y*colours.Stride:][:4*sw], alpha.Pix[y*alpha.Stride:][:sw]
		for x := range a {
			v := uint32(s[4*x+3])
			a[x] = uint8(v)
			for i := 4 * x; i < 4*x+3; i++ {
				t := uint32(s[i])*v + 128
				d[i] = uint8((t + t>>8) >> 8)
			}
		}
	})
	alpha, colours = LanczosGray(alpha, w, h), Lanczos(colours, w, h)
	eachRow(h, func(y int) {
		d, a := colours.Pix[y*colours.Stride:][:4*w], alpha.Pix[y*alpha.Stride:][:w]
		for x, v := range a {
			d[4*x+3] = v
			switch v {
			case 255:
			case 0:
				d[4*x], d[4*x+1], d[4*x+2] = 0, 0, 0
			default:
				for i := 4 * x; i < 4*x+3; i++ {
					d[i] = uint8(min(255*uint32(d[i])/uint32(v), 255))
				}
			}
		}
	})
	return colours
}
