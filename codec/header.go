package codec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image/jpeg"
	"image/png"

	"golang.org/x/image/tiff"
)

// DefaultMaxPixels bounds width times height where Limits.MaxPixels is zero, so that a few forged header bytes cannot
// ask for gigabytes. It is the bound at which Pillow raises its decompression bomb warning: a quarter of 1 GiB of
// 24-bit pixels, and half as much again.
const DefaultMaxPixels = 178956970

// Info is what the header of a picture tells about it.
type Info struct {
	Format        Format
	Width, Height int  // of the upright picture, in pixels
	Orientation   int  // as stored, 1 to 8 (Exif 2.32, tag 0x0112); 1 where there is none or it is no valid value
	HasAlpha      bool // the file can hold transparent pixels; they may all be opaque
	Animated      bool // there is more than one frame; Decode gives the first
	HasProfile    bool // an ICC profile is embedded
}

// header is Info and what Decode needs besides.
type header struct {
	Info
	width, height int    // as stored, before the orientation is applied
	profile       []byte // ICC profile; for PNG the deflated one
	dataBytes     int64  // PNG: length of all IDAT chunks together; others: 0
	implausible   bool   // TIFF: too short for its size
	channels      int    // JPEG: number of components
	oneScan       bool   // JPEG: not progressive, all components in the first scan
	bitsPerPixel  int    // PNG
	gamma         uint32 // PNG: exponent that leads from light to stored values, in 1/100000, where nothing else tells; else 0
	gif           gifFrame
	bmp           *bmpHeader
	webp          webpFrame
}

// Sniff tells the format from the first bytes. A true result is no promise that the rest decodes.
func Sniff(b []byte) (Format, bool) {
	switch {
	case len(b) >= 3 && b[0] == 0xff && b[1] == 0xd8 && b[2] == 0xff:
		return JPEG, true
	case bytes.HasPrefix(b, []byte(pngSignature)):
		return PNG, true
	case bytes.HasPrefix(b, []byte("GIF87a")), bytes.HasPrefix(b, []byte("GIF89a")):
		return GIF, true
	case len(b) >= 12 && string(b[:4]) == "RIFF" && string(b[8:12]) == "WEBP":
		return WebP, true
	case bytes.HasPrefix(b, []byte("II*\x00")), bytes.HasPrefix(b, []byte("MM\x00*")):
		return TIFF, true
	case len(b) >= 18 && b[0] == 'B' && b[1] == 'M' && validDIBSize(binary.LittleEndian.Uint32(b[14:])):
		return BMP, true
	}
	return "", false
}

// ReadInfo reads the header of a picture. Its cost is bounded by len(b) and no pixel is allocated.
// The error wraps ErrUndecodable.
func ReadInfo(b []byte) (Info, error) {
	h, err := readHeader(b)
	return h.Info, err
}

func undecodable(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrUndecodable}, args...)...)
}

func readHeader(b []byte) (h header, err error) {
	f, ok := Sniff(b)
	if !ok {
		return header{}, undecodable("unknown format")
	}
	// The decoders of the standard library are fuzzed, but a panic in one of them must not take the process down.
	defer func() {
		if r := recover(); r != nil {
			h, err = header{}, undecodable("%s: damaged header: %v", f, r)
		}
	}()
	h.Format, h.Orientation = f, 1
	switch f {
	case JPEG:
		err = h.readJPEG(b)
	case PNG:
		err = h.readPNG(b)
	case GIF:
		err = h.readGIF(b)
	case BMP:
		err = h.readBMP(b)
	case WebP:
		err = h.readWebP(b)
	case TIFF:
		err = h.readTIFF(b)
	}
	if err != nil {
		return header{}, undecodable("%s: %v", f, err)
	}
	if h.width <= 0 || h.height <= 0 {
		return header{}, undecodable("%s: the picture is empty (%dx%d)", f, h.width, h.height)
	}
	if h.Orientation < 1 || h.Orientation > 8 {
		h.Orientation = 1
	}
	h.Width, h.Height = h.width, h.height
	if h.Orientation >= 5 {
		h.Width, h.Height = h.height, h.width
	}
	return h, nil
}

// readJPEG takes the size from the decoder that will be used, so that both see the same frame header, and the
// metadata from the segments before the first scan.
func (h *header) readJPEG(b []byte) error {
	c, err := jpeg.DecodeConfig(bytes.NewReader(b))
	if err != nil {
		return err
	}
	h.width, h.height = c.Width, c.Height
	var icc iccParts
	seenExif := false
	for i := 2; i+4 <= len(b); {
		if b[i] != 0xff {
			i++
			continue
		}
		m := b[i+1]
		if m == 0xff { // fill byte
			i++
			continue
		}
		if m == 0 || m == 1 || m >= 0xd0 && m <= 0xd8 { // no length follows
			i += 2
			continue
		}
		n := int(binary.BigEndian.Uint16(b[i+2:]))
		if m == 0xd9 || n < 2 || i+2+n > len(b) { // end, or damage
			break
		}
		seg := b[i+4 : i+2+n]
		if m == 0xda { // scan
			h.oneScan = h.oneScan && len(seg) > 0 && int(seg[0]) == h.channels
			break
		}
		switch {
		case m == 0xe1 && !seenExif && bytes.HasPrefix(seg, []byte("Exif\x00")) && len(seg) > 6:
			seenExif = true
			h.Orientation = exifOrientation(seg[6:])
		case m == 0xe2:
			icc.add(seg)
		case m >= 0xc0 && m <= 0xc2 && len(seg) > 5 && h.channels == 0:
			h.channels = int(seg[5])
			h.oneScan = m != 0xc2
		}
		i += 2 + n
	}
	h.profile = icc.join()
	h.HasProfile = len(h.profile) > 0
	return nil
}

const pngSignature = "\x89PNG\r\n\x1a\n"

func (h *header) readPNG(b []byte) error {
	c, err := png.DecodeConfig(bytes.NewReader(b))
	if err != nil {
		return err
	}
	h.width, h.height = c.Width, c.Height
	depth, colorType := int(b[24]), b[25] // DecodeConfig has read that far
	h.bitsPerPixel = depth * map[byte]int{0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colorType]
	h.HasAlpha = colorType&4 != 0
	frames := uint32(1)
	managed := false // what colours mean is said by another chunk
	for i := len(pngSignature); i+12 <= len(b); {
		n := int64(binary.BigEndian.Uint32(b[i:]))
		if n > int64(len(b)-i-12) {
			if string(b[i+4:i+8]) == "IDAT" {
				h.dataBytes += int64(len(b) - i - 8)
			}
			break
		}
		data := b[i+8 : i+8+int(n)]
		switch string(b[i+4 : i+8]) {
		case "IDAT":
			h.dataBytes += n
		case "tRNS":
			h.HasAlpha = h.HasAlpha || n > 0
		case "eXIf":
			h.Orientation = exifOrientation(data)
		case "iCCP":
			if h.profile == nil {
				h.profile = data
			}
		case "gAMA":
			if n == 4 {
				h.gamma = binary.BigEndian.Uint32(data)
			}
		case "sRGB", "cICP":
			managed = true
		case "acTL":
			if n >= 4 {
				frames = binary.BigEndian.Uint32(data)
			}
		}
		i += 12 + int(n)
	}
	h.HasProfile = h.profile != nil
	if managed || h.HasProfile { // which win over it
		h.gamma = 0
	}
	h.Animated = frames > 1
	return nil
}

// What readTIFF and exifOrientation look at in the first directory of a TIFF file.
const (
	tiffBitsPerSample = 0x0102
	tiffCompression   = 0x0103
	tiffOrientation   = 0x0112
	tiffPlanar        = 0x011c
)

func (h *header) readTIFF(b []byte) error {
	c, err := tiff.DecodeConfig(bytes.NewReader(b))
	if err != nil {
		return err
	}
	h.width, h.height = c.Width, c.Height
	h.Orientation = 1
	samples, compression := 1, uint32(1)
	next := walkIFD0(b, func(tag uint16, value uint32, count uint32) {
		switch tag {
		case tiffOrientation:
			h.Orientation = int(value)
		case tiffBitsPerSample:
			samples = int(min(count, 255))
		case tiffCompression:
			compression = value
		case tiffPlanar:
			if value == 2 && samples > 1 {
				err = fmt.Errorf("separate colour planes are not supported")
			}
		}
	})
	h.HasAlpha = samples == 4
	h.Animated = next != 0 // another directory follows
	// Pixels that an uncompressed, run-length, LZW or deflate byte can stand for; fax codes know no such bound, but each
	// row takes a bit at least.
	if most := 8 * 1400 * int64(len(b)); compression < 2 || compression > 4 {
		h.implausible = int64(h.width)*int64(h.height) > most
	} else {
		h.implausible = int64(h.height) > 8*int64(len(b))
	}
	return err
}
