package codec

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"math/bits"
)

// The decoder is our own because golang.org/x/image/bmp refuses run lengths, bit fields, 16 bits a pixel and every
// header whose palette does not end where the pixels begin, all of which Windows programs write.

// bmpHeader is what lies before the pixels (Microsoft's BITMAPFILEHEADER and BITMAPCOREHEADER to BITMAPV5HEADER).
type bmpHeader struct {
	topDown      bool
	bitsPerPixel int
	compression  uint32
	offset       int64     // of the pixels in the file
	masks        [4]uint32 // red, green, blue, alpha; for 16 and 32 bits a pixel
	palette      [256][4]byte
}

// Values of biCompression.
const (
	bmpRaw         = 0
	bmpRLE8        = 1
	bmpRLE4        = 2
	bmpFields      = 3
	bmpFieldsAlpha = 6 // with a mask for alpha
)

func validDIBSize(n uint32) bool { return n == 12 || n >= 16 && n <= 124 }

func (h *header) readBMP(b []byte) error {
	le := binary.LittleEndian
	size := int(le.Uint32(b[14:])) // Sniff has seen 18 bytes
	if len(b) < 14+size {
		return errTruncated
	}
	d := b[14 : 14+size]
	h.bmp = new(bmpHeader)
	p := h.bmp
	p.offset = int64(le.Uint32(b[10:]))
	entry, colors := 4, uint32(0)
	planes := 0
	if size == 12 {
		h.width, h.height = int(le.Uint16(d[4:])), int(le.Uint16(d[6:]))
		planes, p.bitsPerPixel = int(le.Uint16(d[8:])), int(le.Uint16(d[10:]))
		entry = 3
	} else {
		h.width, h.height = int(int32(le.Uint32(d[4:]))), int(int32(le.Uint32(d[8:])))
		if h.height < 0 {
			h.height, p.topDown = -h.height, true
		}
		planes, p.bitsPerPixel = int(le.Uint16(d[12:])), int(le.Uint16(d[14:]))
		if size >= 20 {
			p.compression = le.Uint32(d[16:])
		}
		if size >= 36 {
			colors = le.Uint32(d[32:])
		}
	}
	if planes != 1 {
		return fmt.Errorf("%d planes", planes)
	}
	table := b[14+size:]
	switch p.bitsPerPixel {
	case 1, 2, 4, 8:
		all := uint32(1) << p.bitsPerPixel
		if colors == 0 {
			colors = all
		}
		for i := range p.palette {
			p.palette[i][3] = 255 // an index beyond the palette is black
		}
		for i := range int(min(colors, all)) {
			if len(table) < 3 || len(b)-len(table) >= int(min(p.offset, int64(len(b)))) {
				break
			}
			p.palette[i] = [4]byte{table[2], table[1], table[0], 255}
			table = table[min(entry, len(table)):]
		}
	case 16:
		p.masks = [4]uint32{0x7c00, 0x3e0, 0x1f}
	case 24, 32:
		p.masks = [4]uint32{0xff0000, 0xff00, 0xff}
	default:
		return fmt.Errorf("%d bits a pixel", p.bitsPerPixel)
	}
	switch {
	case p.compression == bmpRaw && size >= 56 && p.bitsPerPixel == 32:
		p.masks[3] = le.Uint32(d[52:]) & 0xff000000
	case p.compression == bmpRaw:
	case p.compression == bmpRLE8 && p.bitsPerPixel == 8, p.compression == bmpRLE4 && p.bitsPerPixel == 4:
	case (p.compression == bmpFields || p.compression == bmpFieldsAlpha) && (p.bitsPerPixel == 16 || p.bitsPerPixel == 32):
		// The masks belong to the header from version 2 and 3 on and follow a shorter one.
		fields := b[14+40:]
		n := 3
		if size >= 56 || p.compression == bmpFieldsAlpha {
			n = 4
		}
		if size < 40 || len(fields) < 4*n {
			return errTruncated
		}
		for i := range n {
			p.masks[i] = le.Uint32(fields[4*i:])
			if m := p.masks[i] >> bits.TrailingZeros32(p.masks[i]); m&(m+1) != 0 {
				return errors.New("a colour mask has gaps")
			}
		}
	default:
		return fmt.Errorf("compression %d with %d bits a pixel", p.compression, p.bitsPerPixel)
	}
	h.HasAlpha = p.masks[3] != 0
	return nil
}

// rowBytes is the length of an uncompressed row; rows are padded to four bytes.
func (p *bmpHeader) rowBytes(width int) int64 {
	return (int64(width)*int64(p.bitsPerPixel) + 31) / 32 * 4
}

func (p *bmpHeader) compressed() bool { return p.compression == bmpRLE8 || p.compression == bmpRLE4 }

// plausible tells whether size bytes of file can hold the picture: rows as they are, or runs of at most 255 pixels in
// two bytes.
func (p *bmpHeader) plausible(width, height int, size int64) bool {
	if p.compressed() {
		return int64(width)*int64(height) <= 128*size
	}
	// The padding of the last row may be missing.
	return p.offset+p.rowBytes(width)*int64(height)-3 <= size
}

func (h *header) decodeBMP(ctx context.Context, b []byte) (image.Image, error) {
	p := h.bmp
	if p.offset > int64(len(b)) {
		return nil, errTruncated
	}
	data := b[p.offset:]
	dst := image.NewNRGBA(image.Rect(0, 0, h.width, h.height))
	row := func(y int) []byte {
		if !p.topDown {
			y = h.height - 1 - y
		}
		return dst.Pix[y*dst.Stride:][:dst.Stride]
	}
	if p.compressed() {
		p.decodeRuns(data, h.width, h.height, row)
		return dst, nil
	}
	var scale [4]channelScale
	for i, m := range p.masks {
		scale[i] = newChannelScale(m)
	}
	stride, used := p.rowBytes(h.width), (h.width*p.bitsPerPixel+7)/8
	anyAlpha := byte(0)
	for y := range h.height {
		if y&63 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		at := int64(y) * stride
		if at+int64(used) > int64(len(data)) {
			return nil, errTruncated
		}
		s, d := data[at:], row(y)
		switch p.bitsPerPixel {
		case 24:
			for x := range h.width {
				q := s[3*x:][:3]
				*(*[4]byte)(d[4*x:]) = [4]byte{q[2], q[1], q[0], 255}
			}
		case 16, 32:
			for x := range h.width {
				var v uint32
				if p.bitsPerPixel == 16 {
					v = uint32(binary.LittleEndian.Uint16(s[2*x:]))
				} else {
					v = binary.LittleEndian.Uint32(s[4*x:])
				}
				q := [4]byte{scale[0].at(v), scale[1].at(v), scale[2].at(v), 255}
				if p.masks[3] != 0 {
					q[3] = scale[3].at(v)
				}
				anyAlpha |= q[3]
				*(*[4]byte)(d[4*x:]) = q
			}
		default:
			for x := range h.width {
				bit := x * p.bitsPerPixel
				v := s[bit>>3] >> (8 - p.bitsPerPixel - bit&7) & (1<<p.bitsPerPixel - 1)
				*(*[4]byte)(d[4*x:]) = p.palette[v]
			}
		}
	}
	if p.masks[3] != 0 && anyAlpha == 0 { // the writer left alpha unset
		for i := 3; i < len(dst.Pix); i += 4 {
			dst.Pix[i] = 255
		}
	}
	return dst, nil
}

// channelScale takes a channel out of a pixel and stretches it to 0..255.
type channelScale struct {
	mask  uint32
	shift int
	most  uint64
}

func newChannelScale(mask uint32) channelScale {
	shift := bits.TrailingZeros32(mask) & 31
	return channelScale{mask, shift, max(uint64(mask>>shift), 1)}
}

func (c channelScale) at(v uint32) byte { return byte(uint64(v&c.mask>>c.shift) * 255 / c.most) }

// decodeRuns decodes RLE8 and RLE4. Pixels that are skipped have the first colour. A stream that ends early leaves the
// rest as if skipped, and one that runs over the right edge is cut, as other readers do.
func (p *bmpHeader) decodeRuns(data []byte, w, h int, row func(int) []byte) {
	for y := range h {
		d := row(y)
		for x := range w {
			copy(d[4*x:], p.palette[0][:])
		}
	}
	x, y := 0, 0
	put := func(v byte) {
		if x < w && y < h {
			copy(row(y)[4*x:], p.palette[v][:])
		}
		x++
	}
	four := p.compression == bmpRLE4
	for len(data) >= 2 && y < h {
		n, v := int(data[0]), data[1]
		data = data[2:]
		switch {
		case n > 0:
			for i := range n {
				switch {
				case !four:
					put(v)
				case i&1 == 0:
					put(v >> 4)
				default:
					put(v & 15)
				}
			}
		case v == 0: // end of row
			x, y = 0, y+1
		case v == 1: // end of picture
			return
		case v == 2: // move right and on
			if len(data) < 2 {
				return
			}
			x, y = x+int(data[0]), y+int(data[1])
			data = data[2:]
		default: // v pixels as they are, padded to two bytes
			size := int(v)
			if four {
				size = (size + 1) / 2
			}
			for i := range int(v) {
				at := i
				if four {
					at /= 2
				}
				if at >= len(data) {
					return
				}
				switch {
				case !four:
					put(data[at])
				case i&1 == 0:
					put(data[at] >> 4)
				default:
					put(data[at] & 15)
				}
			}
			data = data[min(size+size&1, len(data)):]
		}
	}
}
