package codec

import "bytes"

// iccParts collects the pieces into which a profile is cut in JPEG APP2 segments (ICC.1:2022, annex B.4).
type iccParts struct {
	parts [256][]byte
	count int
}

func (p *iccParts) add(seg []byte) {
	const id = "ICC_PROFILE\x00"
	if !bytes.HasPrefix(seg, []byte(id)) || len(seg) < len(id)+2 {
		return
	}
	if n := seg[len(id)]; p.parts[n] == nil {
		p.parts[n] = seg[len(id)+2:]
		p.count = int(seg[len(id)+1])
	}
}

// join gives the whole profile, nil where a piece is missing.
func (p *iccParts) join() []byte {
	var out []byte
	for i := 1; i <= p.count; i++ {
		if p.parts[i] == nil {
			return nil
		}
		out = append(out, p.parts[i]...)
	}
	return out
}

func (h *header) convertProfile(_, _ any) {}
