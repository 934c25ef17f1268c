package codec

import (
	"encoding/binary"
	"image"
)

// upright undoes an Exif orientation: it gives the picture as it is meant to be seen. Orientation 1 gives src itself.
// src has its origin at (0,0) and Stride 4*width, and so has the result.
func upright(src *image.NRGBA, orientation int) *image.NRGBA {
	if orientation <= 1 || orientation > 8 {
		return src
	}
	w, h := src.Rect.Dx(), src.Rect.Dy()
	dw, dh := w, h
	if orientation >= 5 {
		dw, dh = h, w
	}
	// The pixel (x,y) of src goes to byte x*dx + y*dy + start.
	var start, dx, dy int
	switch orientation {
	case 2: // mirrored left to right
		start, dx, dy = w-1, -1, dw
	case 3: // turned by 180 degrees
		start, dx, dy = dw*dh-1, -1, -dw
	case 4: // mirrored top to bottom
		start, dx, dy = dw*(dh-1), 1, -dw
	case 5: // mirrored along the main diagonal
		start, dx, dy = 0, dw, 1
	case 6: // needs a quarter turn clockwise
		start, dx, dy = dw-1, dw, -1
	case 7: // mirrored along the other diagonal
		start, dx, dy = dw*dh-1, -dw, -1
	case 8: // needs a quarter turn anticlockwise
		start, dx, dy = dw*(dh-1), -dw, 1
	}
	dst := image.NewNRGBA(image.Rect(0, 0, dw, dh))
	// Square tiles keep both the rows read and the columns written in the cache.
	const tile = 32
	bands := (h + tile - 1) / tile
	parallel(bands, func(from, to int) {
		for y0 := from * tile; y0 < min(to*tile, h); y0 += tile {
			for x0 := 0; x0 < w; x0 += tile {
				for y := y0; y < min(y0+tile, h); y++ {
					s := src.Pix[4*(y*w+x0) : 4*(y*w+min(x0+tile, w))]
					at := start + x0*dx + y*dy
					for ; len(s) >= 4; s = s[4:] {
						binary.LittleEndian.PutUint32(dst.Pix[4*at:], binary.LittleEndian.Uint32(s))
						at += dx
					}
				}
			}
		}
	})
	return dst
}
