package codec

import (
	"encoding/binary"
	"errors"
	"image"
	"slices"
)

// gifFrame is what the blocks before the first picture say about it.
type gifFrame struct {
	bounds      image.Rectangle // on the canvas
	palette     []byte          // R, G, B of each entry
	transparent int             // palette index, -1 where there is none
	background  int             // palette index
}

func (h *header) readGIF(b []byte) error {
	errShort := errors.New("truncated header")
	if len(b) < 13 {
		return errShort
	}
	h.width, h.height = int(binary.LittleEndian.Uint16(b[6:])), int(binary.LittleEndian.Uint16(b[8:]))
	h.gif.transparent = -1
	h.gif.background = int(b[11])
	i := 13
	if b[10]&0x80 != 0 {
		n := 3 << (b[10]&7 + 1)
		if i+n > len(b) {
			return errShort
		}
		h.gif.palette = b[i : i+n]
		i += n
	}
	frames := 0
	for i < len(b) && b[i] != 0x3b {
		switch b[i] {
		case 0x21: // extension
			if i+8 <= len(b) && b[i+1] == 0xf9 && frames == 0 && b[i+2] == 4 && b[i+3]&1 != 0 {
				h.gif.transparent = int(b[i+6])
				h.HasAlpha = true
			}
			i += 2
		case 0x2c: // picture
			if i+10 > len(b) {
				return errShort
			}
			u16 := func(o int) int { return int(binary.LittleEndian.Uint16(b[i+o:])) }
			flags, n := b[i+9], 0
			if flags&0x80 != 0 {
				n = 3 << (flags&7 + 1)
				if i+10+n > len(b) {
					return errShort
				}
			}
			if frames == 0 {
				h.gif.bounds = image.Rect(u16(1), u16(3), u16(1)+u16(5), u16(3)+u16(7))
				if n > 0 {
					h.gif.palette = b[i+10 : i+10+n]
				}
				// A frame larger than its screen widens it, as in browsers and Pillow.
				h.width, h.height = max(h.width, h.gif.bounds.Max.X), max(h.height, h.gif.bounds.Max.Y)
			}
			frames++
			i += 10 + n + 1 // and the LZW code size
		default: // padding between blocks
			i++
			continue
		}
		for i < len(b) && b[i] != 0 {
			i += 1 + int(b[i])
		}
		i++
		if frames > 1 {
			break
		}
	}
	if frames == 0 {
		return errors.New("there is no picture in it")
	}
	h.Animated = frames > 1
	return nil
}

// patched gives the file with its screen made large enough for the first frame, which the decoder insists on.
func (g *gifFrame) patched(b []byte) []byte {
	w, h := binary.LittleEndian.Uint16(b[6:]), binary.LittleEndian.Uint16(b[8:])
	if g.bounds.Max.X <= int(w) && g.bounds.Max.Y <= int(h) {
		return b
	}
	b = slices.Clone(b)
	binary.LittleEndian.PutUint16(b[6:], uint16(min(max(g.bounds.Max.X, int(w)), 0xffff)))
	binary.LittleEndian.PutUint16(b[8:], uint16(min(max(g.bounds.Max.Y, int(h)), 0xffff)))
	return b
}

// compose puts the frame on its canvas. The palette comes from the file, since the decoder gives every transparent
// pixel the colour black, and the colours below transparency are seen by whoever ignores alpha.
func (g *gifFrame) compose(_ []byte, m image.Image, canvas image.Point) (*image.NRGBA, error) {
	p, ok := m.(*image.Paletted)
	if !ok {
		return nil, errors.New("not a paletted picture")
	}
	if p.Rect != g.bounds {
		return nil, errors.New("the frame is not where its header says")
	}
	var palette [256][4]byte
	for i := range palette {
		palette[i] = [4]byte{0, 0, 0, 255}
		if 3*i+3 <= len(g.palette) {
			copy(palette[i][:3], g.palette[3*i:])
		} else if len(g.palette) == 0 {
			palette[i] = [4]byte{byte(i), byte(i), byte(i), 255} // no palette: shades of grey
		}
	}
	if g.transparent >= 0 {
		palette[g.transparent][3] = 0
	}
	dst := image.NewNRGBA(image.Rectangle{Max: canvas})
	if p.Rect.Size() != canvas {
		fill := palette[g.background]
		if g.transparent >= 0 {
			fill = palette[g.transparent]
		}
		for i := 0; i < len(dst.Pix); i += 4 {
			copy(dst.Pix[i:], fill[:])
		}
	}
	paletted(dst, p.Rect.Min, p, &palette)
	return dst, nil
}
