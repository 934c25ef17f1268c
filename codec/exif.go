package codec

import "encoding/binary"

// exifOrientation gives the orientation tag of an Exif block, which is a TIFF header and its directories
// (CIPA DC-008, "Exif 2.32"). It is 1, upright, where there is none or the block is damaged.
func exifOrientation(b []byte) int {
	// PNG and WebP writers are known to keep the prefix that belongs to JPEG alone.
	if len(b) >= 6 && string(b[:4]) == "Exif" {
		b = b[6:]
	}
	o := 1
	walkIFD0(b, func(tag uint16, value, _ uint32) {
		if tag == tiffOrientation && value >= 1 && value <= 8 {
			o = int(value)
		}
	})
	return o
}

// walkIFD0 calls f with each entry of a TIFF file's first directory: its tag, its first value where that is a BYTE,
// SHORT or LONG stored in the entry itself (0 otherwise) and the number of values. Damage ends the walk.
// It returns the offset of the next directory, 0 where there is none.
func walkIFD0(b []byte, f func(tag uint16, value, count uint32)) uint32 {
	if len(b) < 8 {
		return 0
	}
	var order binary.ByteOrder
	switch string(b[:4]) {
	case "II*\x00":
		order = binary.LittleEndian
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return 0
	}
	off := int64(order.Uint32(b[4:]))
	if off+2 > int64(len(b)) {
		return 0
	}
	n := int(order.Uint16(b[off:]))
	b = b[off+2:]
	for i := range n {
		if len(b) < 12*(i+1) {
			return 0
		}
		e := b[12*i:][:12]
		var v uint32
		switch order.Uint16(e[2:]) {
		case 1:
			v = uint32(e[8])
		case 3:
			v = uint32(order.Uint16(e[8:]))
		case 4:
			v = order.Uint32(e[8:])
		}
		f(order.Uint16(e), v, order.Uint32(e[4:]))
	}
	if len(b) < 12*n+4 {
		return 0
	}
	return order.Uint32(b[12*n:])
}
