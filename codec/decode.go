package codec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/gif"
	"image/png"
	"io"
	"strings"

	"golang.org/x/image/tiff"
)

// Decode reads the first picture of a file and gives it upright, in sRGB, with straight alpha: 8 bits a channel, origin
// (0,0), Stride 4*width. Of 16-bit channels the upper byte is kept. Colours below transparent pixels stay as stored.
// An embedded matrix profile (Display P3, Adobe RGB...) and the gamma of a PNG are converted to sRGB, any other profile is
// ignored.
//
// l is checked against the header before any pixel is allocated; where l.MaxPixels is zero DefaultMaxPixels holds.
// The error is a *LimitError, wraps ErrUndecodable, or is that of ctx.
func Decode(ctx context.Context, b []byte, l Limits) (*image.NRGBA, Info, error) {
	m, colours, info, err := DecodeStored(ctx, b, l)
	if err != nil {
		return nil, info, err
	}
	colours.Convert(m)
	return m, info, nil
}

// DecodeStored is Decode without the conversion of colours: the picture has those of the file, whatever their space,
// and the second result converts them. It is nil where they are as good as sRGB.
func DecodeStored(ctx context.Context, b []byte, l Limits) (*image.NRGBA, *Colours, Info, error) {
	return decodeStored(ctx, b, l, nil)
}

func decodeStored(ctx context.Context, b []byte, l Limits, p *Pool) (*image.NRGBA, *Colours, Info, error) {
	h, err := inspect(b, l)
	if err != nil {
		return nil, nil, h.Info, err
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, h.Info, fmt.Errorf("decode: %w", err)
	}
	m, colours, err := h.decode(ctx, b, p)
	if ctxErr := ctx.Err(); ctxErr != nil {
		return nil, nil, h.Info, fmt.Errorf("decode: %w", ctxErr)
	}
	if err != nil {
		return nil, nil, h.Info, undecodable("%s: %v", h.Format, err)
	}
	return upright(m, h.Orientation), colours, h.Info, nil
}

// check holds a header against the limits.
func (l Limits) check(i Info, size int) error {
	e := &LimitError{Width: i.Width, Height: i.Height, Bytes: int64(size), Limits: l}
	if l.MaxWidth > 0 && i.Width > l.MaxWidth || l.MaxHeight > 0 && i.Height > l.MaxHeight {
		e.What = "resolution"
		return e
	}
	if l.MaxPixels <= 0 {
		e.Limits.MaxPixels = DefaultMaxPixels
	}
	if int64(i.Width)*int64(i.Height) > e.Limits.MaxPixels {
		e.What = "pixels"
		return e
	}
	return nil
}

var errTruncated = errors.New("the file is truncated")

// checkPlausible refuses a file that is too short to hold the pixels its header speaks of, so that a few bytes cannot
// make a decoder allocate for a picture that never comes.
func (h *header) checkPlausible(b []byte) error {
	size, pixels := int64(len(b)), int64(h.width)*int64(h.height)
	switch h.Format {
	case PNG:
		// Deflate shrinks at most 1032 times.
		raw := int64(h.height) * ((int64(h.width)*int64(h.bitsPerPixel) + 7) / 8)
		if raw > 1032*h.dataBytes {
			return errTruncated
		}
	case JPEG:
		// Each block of 8x8 costs at least the one bit of its DC coefficient.
		if pixels > 64*8*size {
			return errTruncated
		}
	case BMP:
		if !h.bmp.plausible(h.width, h.height, size) {
			return errTruncated
		}
	case TIFF:
		if h.implausible {
			return errTruncated
		}
	case GIF:
		// An LZW code of 12 bits stands for at most 4096 pixels.
		if int64(h.gif.bounds.Dx())*int64(h.gif.bounds.Dy()) > 4096*size {
			return errTruncated
		}
	}
	return nil
}

// decode gives the picture as stored, not yet upright, and the conversion of its colours, if any is needed.
func (h *header) decode(ctx context.Context, b []byte, p *Pool) (m *image.NRGBA, colours *Colours, err error) {
	defer func() {
		if r := recover(); r != nil {
			m, colours, err = nil, nil, fmt.Errorf("damaged data: %v", r)
		}
	}()
	var stored image.Image
	switch h.Format {
	case JPEG:
		stored, err = h.decodeJPEG(ctx, b, p)
	case PNG:
		stored, err = png.Decode(&ctxReader{ctx, bytes.NewReader(b)})
	case GIF:
		stored, err = gif.Decode(&ctxReader{ctx, bytes.NewReader(h.gif.patched(b))})
	case WebP:
		stored, err = h.webp.decode(ctx, b)
	case BMP:
		stored, err = h.decodeBMP(ctx, b)
	case TIFF:
		stored, err = tiff.Decode(bytes.NewReader(b))
	default:
		err = fmt.Errorf("no decoder")
	}
	if err != nil {
		return nil, nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	want := image.Pt(h.width, h.height)
	switch h.Format {
	case GIF:
		m, err = h.gif.compose(b, stored, want)
	case WebP:
		m, err = h.webp.compose(stored, want)
	default:
		if stored.Bounds().Size() != want {
			return nil, nil, fmt.Errorf("size %v is not that of the header, %v", stored.Bounds().Size(), want)
		}
		m, err = toNRGBA(stored)
	}
	if err != nil {
		return nil, nil, err
	}
	switch {
	case len(h.profile) > 0:
		colours = h.colours(stored)
	case h.gamma > 0:
		colours = gammaColours(h.gamma)
	}
	return m, colours, nil
}

// jpegReader completes what the decoder insists on and other decoders do not: in a file of one scan the end marker, in a
// four-channel file the Adobe segment that says how its channels are to be read. A file of several scans without its
// end stays an error, since what is missing would leave it blurred or grey.
func (h *header) jpegReader(ctx context.Context, b []byte) io.Reader {
	var readers []io.Reader
	if h.channels == 4 {
		adobe := "\xff\xd8\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00" // transform 0: plain CMYK
		readers = append(readers, strings.NewReader(adobe))
		b = b[2:]
	}
	readers = append(readers, bytes.NewReader(b))
	if h.oneScan {
		readers = append(readers, strings.NewReader("\xff\xd9"))
	}
	return &ctxReader{ctx, io.MultiReader(readers...)}
}

// ctxReader ends a decoder's work when its context ends.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
