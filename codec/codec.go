// Package codec turns bytes into upright straight-alpha images and images back into bytes.
//
// The picture type is *image.NRGBA: 8 bits a channel, alpha not multiplied into the colours, origin at (0,0),
// Stride 4*width, EXIF orientation already applied, colours in sRGB. Masks and alpha planes are *image.Gray.
package codec

import (
	"errors"
	"fmt"
)

// Format names an image file format, as found in the bytes and never as told by a file name.
type Format string

// Formats that Sniff tells apart. Decode takes those it is allowed to by Limits.Formats.
const (
	JPEG Format = "jpeg"
	PNG  Format = "png"
	GIF  Format = "gif"
	BMP  Format = "bmp"
	WebP Format = "webp"
	TIFF Format = "tiff"
)

// Limits bounds an input before any pixel of it is allocated. A zero field sets no bound.
type Limits struct {
	MaxBytes  int64    // size of the file
	MaxWidth  int      // of the upright picture
	MaxHeight int      // of the upright picture
	MaxPixels int64    // width times height
	Formats   []Format // accepted formats; empty accepts all
}

// ErrUndecodable is wrapped by every error that says the bytes are no picture this package can read:
// unknown or refused format, damaged data, an empty picture.
var ErrUndecodable = errors.New("cannot decode the image")

// LimitError says that an input is over one of its Limits. Width and Height are those of the upright picture,
// 0 where the bytes were refused before the header was read.
type LimitError struct {
	What          string // "bytes", "resolution" or "pixels"
	Width, Height int
	Bytes         int64
	Limits        Limits
}

func (e *LimitError) Error() string {
	switch e.What {
	case "bytes":
		return fmt.Sprintf("file is too big: %d bytes, at most %d are taken", e.Bytes, e.Limits.MaxBytes)
	case "pixels":
		return fmt.Sprintf("resolution is too big: %dx%d, at most %d pixels are taken", e.Width, e.Height, e.Limits.MaxPixels)
	default:
		return fmt.Sprintf("resolution is too big: %dx%d, at most %dx%d is taken", e.Width, e.Height, e.Limits.MaxWidth, e.Limits.MaxHeight)
	}
}
