package codec

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"

	"golang.org/x/image/vp8l"
	"golang.org/x/image/webp"
)

// webpFrame is the first picture of a WebP file: its chunks, and its place on the canvas.
type webpFrame struct {
	bounds    image.Rectangle
	alpha     []byte // body of the ALPH chunk, nil where there is none
	vp8, vp8l []byte // body of the VP8 or VP8L chunk; one of them is set
	opaque    bool   // a lossless picture that says its alpha is not used
}

// chunks calls f with each RIFF chunk in b until f returns false or b ends. A last chunk cut short is given as it is.
func chunks(b []byte, f func(id string, data []byte) bool) {
	for len(b) >= 8 {
		n := min(int64(binary.LittleEndian.Uint32(b[4:])), int64(len(b)-8))
		if !f(string(b[:4]), b[8:8+n]) {
			return
		}
		b = b[min(8+n+n&1, int64(len(b))):]
	}
}

func u24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }

// readWebP reads the container of RFC 9649, the frame header of VP8 (RFC 6386, 9.1) and that of VP8L.
func (h *header) readWebP(b []byte) error {
	var err error
	frames, animated := 0, false
	take := func(id string, data []byte) bool { // a picture chunk, of the file or of the first frame
		f := &h.webp
		switch id {
		case "ALPH":
			if f.vp8 == nil && f.vp8l == nil {
				f.alpha = data
			}
		case "VP8 ":
			if f.vp8 == nil && f.vp8l == nil {
				f.vp8 = data
			}
		case "VP8L":
			if f.vp8 == nil && f.vp8l == nil {
				f.vp8l = data
			}
		}
		return true
	}
	chunks(b[12:], func(id string, data []byte) bool {
		switch id {
		case "VP8X":
			if len(data) < 10 {
				err = errors.New("truncated header")
				return false
			}
			animated = data[0]&0x02 != 0
			h.HasAlpha = data[0]&0x10 != 0
			h.width, h.height = u24(data[4:])+1, u24(data[7:])+1
		case "ANMF":
			frames++
			if frames == 1 && animated && len(data) >= 16 {
				x, y := 2*u24(data), 2*u24(data[3:])
				h.webp.bounds = image.Rect(x, y, x+u24(data[6:])+1, y+u24(data[9:])+1)
				chunks(data[16:], take)
			}
		case "EXIF":
			h.Orientation = exifOrientation(data)
		case "ICCP":
			h.profile = data
			h.HasProfile = true
		default:
			if !animated {
				return take(id, data)
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	h.Animated = frames > 1
	f := &h.webp
	var w, ht int
	switch {
	case f.vp8 != nil:
		if len(f.vp8) < 10 || f.vp8[0]&1 != 0 || !bytes.Equal(f.vp8[3:6], []byte{0x9d, 0x01, 0x2a}) {
			return errors.New("damaged frame header")
		}
		w, ht = int(binary.LittleEndian.Uint16(f.vp8[6:])&0x3fff), int(binary.LittleEndian.Uint16(f.vp8[8:])&0x3fff)
		h.HasAlpha = h.HasAlpha || f.alpha != nil
	case f.vp8l != nil:
		if len(f.vp8l) < 5 || f.vp8l[0] != 0x2f {
			return errors.New("damaged frame header")
		}
		bits := binary.LittleEndian.Uint32(f.vp8l[1:])
		w, ht = int(bits&0x3fff)+1, int(bits>>14&0x3fff)+1
		f.opaque = bits>>28&1 == 0
		h.HasAlpha = h.HasAlpha && animated || !f.opaque
	default:
		return errors.New("there is no picture in it")
	}
	if f.bounds.Empty() {
		f.bounds = image.Rect(0, 0, w, ht)
	}
	if h.width == 0 {
		h.width, h.height = w, ht
	}
	switch {
	case f.bounds.Dx() != w || f.bounds.Dy() != ht,
		!animated && (w != h.width || ht != h.height),
		!f.bounds.In(image.Rect(0, 0, h.width, h.height)):
		return fmt.Errorf("frame of %dx%d does not fit its container", w, ht)
	}
	return nil
}

// decode decodes the frame alone, in a container of its own.
func (f *webpFrame) decode(ctx context.Context, _ []byte) (image.Image, error) {
	if f.vp8l != nil {
		return vp8l.Decode(&ctxReader{ctx, bytes.NewReader(f.vp8l)})
	}
	var out bytes.Buffer
	out.Grow(len(f.vp8) + len(f.alpha) + 64)
	chunk := func(id string, data []byte) {
		out.WriteString(id)
		_ = binary.Write(&out, binary.LittleEndian, uint32(len(data))) // a bytes.Buffer does not fail
		out.Write(data)
		if len(data)&1 == 1 {
			out.WriteByte(0)
		}
	}
	out.WriteString("RIFF\x00\x00\x00\x00WEBP")
	if f.alpha != nil {
		w, h := f.bounds.Dx()-1, f.bounds.Dy()-1
		chunk("VP8X", []byte{0x10, 0, 0, 0, byte(w), byte(w >> 8), byte(w >> 16), byte(h), byte(h >> 8), byte(h >> 16)})
		chunk("ALPH", f.alpha)
	}
	chunk("VP8 ", f.vp8)
	b := out.Bytes()
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-8))
	return webp.Decode(&ctxReader{ctx, bytes.NewReader(b)})
}

// compose converts the frame to RGB and puts it on its canvas, which is transparent where the frame does not reach.
func (f *webpFrame) compose(m image.Image, canvas image.Point) (*image.NRGBA, error) {
	if m.Bounds().Size() != f.bounds.Size() {
		return nil, errors.New("size is not that of the header")
	}
	var frame *image.NRGBA
	switch m := m.(type) {
	case *image.NRGBA:
		frame = m
		if f.opaque {
			for i := 3; i < len(m.Pix); i += 4 {
				m.Pix[i] = 255
			}
		}
	case *image.YCbCr:
		frame = image.NewNRGBA(m.Rect)
		webpToRGB(frame, m, nil, 0)
	case *image.NYCbCrA:
		frame = image.NewNRGBA(m.Rect)
		webpToRGB(frame, &m.YCbCr, m.A, m.AStride)
	default:
		return nil, fmt.Errorf("unexpected pixel type %T", m)
	}
	if f.bounds.Size() == canvas {
		return toNRGBA(frame)
	}
	dst := image.NewNRGBA(image.Rectangle{Max: canvas})
	for y := range f.bounds.Dy() {
		copy(dst.Pix[dst.PixOffset(f.bounds.Min.X, f.bounds.Min.Y+y):][:4*f.bounds.Dx()], frame.Pix[y*frame.Stride:])
	}
	return dst, nil
}
