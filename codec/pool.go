package codec

import (
	"context"
	"image"
	"sync"
	"weak"
)

// Pool keeps the pixels of pictures that are done with for those to come. A photo of 16 megapixels takes 64 MB, and to
// have them cleared costs a fifth of what decoding it costs. The garbage collector takes them all the same, so that the
// pool adds nothing to what the program needs. The zero value is ready; a nil *Pool keeps nothing.
type Pool struct {
	mu   sync.Mutex
	kept [4]weak.Pointer[image.NRGBA]
	next int // of kept that is overwritten
}

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
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept[p.next] = weak.Make(m)
	p.next = (p.next + 1) % len(p.kept)
}

// picture is an opaque picture to be painted all over: its pixels may hold anything.
func (p *Pool) picture(w, h int) *image.NRGBA {
	n := 4 * w * h
	if p != nil && n >= pooled {
		p.mu.Lock()
		defer p.mu.Unlock()
		for i, kept := range p.kept {
			// What is far too large is for larger pictures.
			if m := kept.Value(); m != nil && cap(m.Pix) >= n && cap(m.Pix) <= 4*n {
				p.kept[i] = weak.Pointer[image.NRGBA]{}
				return &image.NRGBA{Pix: m.Pix[:n], Stride: 4 * w, Rect: image.Rect(0, 0, w, h)}
			}
		}
	}
	return image.NewNRGBA(image.Rect(0, 0, w, h))
}
