package codec

import (
	"context"
	"image"
	"sync"
)

// Pool keeps the pixels of pictures that are done with for those to come. A photo of 16 megapixels takes 64 MB, and to
// have them cleared costs a fifth of what decoding it costs. It holds what was given back since the last but one
// garbage collection, so it shrinks by itself. The zero value is ready; a nil *Pool keeps nothing.
type Pool struct{ pixels sync.Pool }

// pooled is the least size, in bytes, that is worth keeping.
const pooled = 1 << 20

// DecodeStored is the function of that name with pixels of the pool.
func (p *Pool) DecodeStored(ctx context.Context, b []byte, l Limits) (*image.NRGBA, *Colours, Info, error) {
	return decodeStored(ctx, b, l, p)
}

// Put takes the pixels of m, which nobody may use afterwards.
func (p *Pool) Put(m *image.NRGBA) {
	if p == nil || m == nil || cap(m.Pix) < pooled {
		return
	}
	pix := m.Pix[:0]
	p.pixels.Put(&pix)
}

// picture is an opaque picture to be painted all over: its pixels may hold anything.
func (p *Pool) picture(w, h int) *image.NRGBA {
	n := 4 * w * h
	if p != nil && n >= pooled {
		// What is far too large is for larger pictures.
		if kept, ok := p.pixels.Get().(*[]byte); ok {
			switch {
			case cap(*kept) > 4*n:
				p.pixels.Put(kept)
			case cap(*kept) >= n:
				return &image.NRGBA{Pix: (*kept)[:n], Stride: 4 * w, Rect: image.Rect(0, 0, w, h)}
			}
		}
	}
	return image.NewNRGBA(image.Rect(0, 0, w, h))
}
