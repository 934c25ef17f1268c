package codec

import "slices"

// Inspect does everything that Decode does before it allocates a pixel: it reads the header and holds it against the
// limits. Its cost is bounded by len(b), its errors are Decode's.
func Inspect(b []byte, l Limits) (Info, error) {
	h, err := inspect(b, l)
	return h.Info, err
}

func inspect(b []byte, l Limits) (header, error) {
	if l.MaxBytes > 0 && int64(len(b)) > l.MaxBytes {
		return header{}, &LimitError{What: "bytes", Bytes: int64(len(b)), Limits: l}
	}
	h, err := readHeader(b)
	if err != nil {
		return header{}, err
	}
	if len(l.Formats) > 0 && !slices.Contains(l.Formats, h.Format) {
		return h, undecodable("%s pictures are not accepted here", h.Format)
	}
	if err := l.check(h.Info, len(b)); err != nil {
		return h, err
	}
	if err := h.checkPlausible(b); err != nil {
		return h, undecodable("%s: %v", h.Format, err)
	}
	return h, nil
}
