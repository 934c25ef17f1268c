package matting

import (
	"context"
	"image"
	"math"
)

// ClosedFormOptions tunes ClosedForm. The zero value takes the defaults.
type ClosedFormOptions struct {
	Epsilon       float64 // regularises the colour covariance of a window, colours being 0..1; zero: 1e-7
	Tolerance     float64 // the solver stops when the preconditioned residual has fallen to this share; zero: 5e-4
	MaxIterations int     // zero: 100
	// BaseSize bounds the longer side, in pixels, of the picture that is solved for; zero: none. The matte of the
	// reduced picture is brought to full size along the photo's own edges, sure pixels stay as they are.
	BaseSize int
	// MaxUnknown bounds the unknown pixels solved for, and with them the memory (some 250 bytes each): a picture with
	// more of them is reduced as with BaseSize. Zero: 1 million.
	MaxUnknown int
	Threads    int // zero: all CPUs

	prior *prior
}

// prior pulls the solution towards a known rough matte.
type prior struct {
	value, weight *image.Gray // of the solved picture's size
	scale         float32     // weight 255 pulls this much; a coupling of the Laplacian is of the order of one
}

func (o ClosedFormOptions) withDefaults() ClosedFormOptions {
	if o.Epsilon <= 0 {
		o.Epsilon = 1e-7
	}
	if o.Tolerance <= 0 {
		o.Tolerance = 5e-4
	}
	if o.MaxIterations <= 0 {
		o.MaxIterations = 100
	}
	if o.MaxUnknown <= 0 {
		o.MaxUnknown = 1 << 20
	}
	o.Threads = threadCount(o.Threads)
	return o
}

// ClosedForm finds the alpha of trimap's unknown pixels (any value but 0 and 255) such that in every 3x3 window it is
// as nearly as can be a linear function of the photo's colours; sure pixels are kept as they are. The method is
// A. Levin, D. Lischinski, Y. Weiss: A closed-form solution to natural image matting, PAMI 2008, with the sure pixels
// eliminated rather than weighted. Only unknown pixels and their neighbours cost time and memory.
//
// A trimap without sure background gives a matte of 255 and one without sure foreground one of 0. Errors: *SizeError,
// ErrNoKnown, and ctx.Err() when ctx ends first.
func ClosedForm(ctx context.Context, photo *image.NRGBA, trimap *image.Gray, o ClosedFormOptions) (*image.Gray, error) {
	if err := sameSize(photo, "trimap", trimap); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	w, h := photo.Rect.Dx(), photo.Rect.Dy()
	out := image.NewGray(image.Rect(0, 0, w, h))
	if w == 0 || h == 0 {
		return out, nil
	}
	var count [256]int
	for y := 0; y < h; y++ {
		row := out.Pix[y*out.Stride : y*out.Stride+w]
		copy(row, trimap.Pix[y*trimap.Stride:])
		for _, v := range row {
			count[v]++
		}
	}
	unknown := w*h - count[Foreground] - count[Background]
	switch {
	case unknown == 0:
		return out, nil
	case unknown == w*h:
		return nil, ErrNoKnown
	case count[Foreground] == 0 || count[Background] == 0:
		v := uint8(Background)
		if count[Background] == 0 {
			v = Foreground
		}
		for i := range out.Pix {
			out.Pix[i] = v
		}
		return out, nil
	}
	if w < 3 || h < 3 {
		// Too thin for a window: repeat the border.
		p, t := padded(photo, out)
		a, err := ClosedForm(ctx, p, t, o)
		if err != nil {
			return nil, err
		}
		for y := 0; y < h; y++ {
			copy(out.Pix[y*out.Stride:y*out.Stride+w], a.Pix[y*a.Stride:])
		}
		return out, nil
	}
	shrink := 1.0
	if o.BaseSize > 0 {
		shrink = max(shrink, float64(max(w, h))/float64(o.BaseSize))
	}
	if unknown > o.MaxUnknown {
		shrink = max(shrink, math.Sqrt(float64(unknown)/float64(o.MaxUnknown)))
	}
	gw, gh := max(3, int(float64(w)/shrink+.5)), max(3, int(float64(h)/shrink+.5))
	spans := unknownSpans(out.Pix, out.Stride, w, h, o.Threads, &isUnknown)
	if gw >= w && gh >= h {
		return out, solveBand(ctx, photo, out, spans, o)
	}
	gw, gh = min(gw, w), min(gh, h)
	small := shrinkPhoto(photo, gw, gh, nil, o.Threads)
	alpha := shrinkTrimap(out, gw, gh, o.Threads)
	if err := solveBand(ctx, small, alpha, unknownSpans(alpha.Pix, alpha.Stride, gw, gh, o.Threads, &isUnknown), o); err != nil {
		return nil, err
	}
	newJoint(small, alpha, jointEpsilon).enlarge(photo, spans, o.Threads, func(y, x int, alpha []uint8) {
		copy(out.Pix[y*out.Stride+x:], alpha)
	})
	return out, nil
}

// isUnknown tells by value whether a trimap's pixel is neither sure.
var isUnknown = func() (t [256]bool) {
	for v := range t {
		t[v] = v != Foreground && v != Background
	}
	return t
}()

// padded repeats the last column and row of photo and trimap until both sides are at least 3 pixels.
func padded(photo *image.NRGBA, trimap *image.Gray) (*image.NRGBA, *image.Gray) {
	w, h := photo.Rect.Dx(), photo.Rect.Dy()
	r := image.Rect(0, 0, max(3, w), max(3, h))
	p, t := image.NewNRGBA(r), image.NewGray(r)
	for y := 0; y < r.Max.Y; y++ {
		sy := min(y, h-1)
		for x := 0; x < r.Max.X; x++ {
			sx := min(x, w-1)
			copy(p.Pix[y*p.Stride+4*x:y*p.Stride+4*x+4], photo.Pix[sy*photo.Stride+4*sx:])
			t.Pix[y*t.Stride+x] = trimap.Pix[sy*trimap.Stride+sx]
		}
	}
	return p, t
}

// solveBand replaces the pixels of alpha, a trimap of at least 3x3 pixels, that lie in spans by their closed-form
// matte.
func solveBand(ctx context.Context, photo *image.NRGBA, alpha *image.Gray, spans [][][2]int32, o ClosedFormOptions) error {
	b := newBand(photo.Rect.Dx(), photo.Rect.Dy(), spans)
	if b.count == 0 {
		return nil
	}
	c := newCoarse(b, photo, o.Threads)
	a, rhs := mattingLaplacian(b, c, photo, alpha, o.Epsilon, o.Threads)
	if p := o.prior; p != nil {
		b.blocks(o.Threads, func(_ int, segs []seg) {
			for _, s := range segs {
				v := p.value.Pix[int(s.y)*p.value.Stride+int(s.x):]
				wt := p.weight.Pix[int(s.y)*p.weight.Stride+int(s.x):]
				for j := 0; j < int(s.n); j++ {
					pull := float32(wt[j]) * (1. / 255) * p.scale
					a[(int(s.at)+j)*stencil] += pull
					rhs[int(s.at)+j] += pull * float32(v[j]) * (1. / 255)
				}
			}
		})
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.f.factorise(ctx); err != nil {
		return err
	}
	x, err := conjugateGradients(ctx, newLevel(b, a, o.Threads), c, rhs, o)
	if err != nil {
		return err
	}
	b.blocks(o.Threads, func(_ int, segs []seg) {
		for _, s := range segs {
			row := alpha.Pix[int(s.y)*alpha.Stride+int(s.x):]
			for j := 0; j < int(s.n); j++ {
				row[j] = uint8(255*unit(x[int(s.at)+j]) + .5)
			}
		}
	})
	return nil
}

// conjugateGradients solves the operator for rhs, starting from zero.
func conjugateGradients(ctx context.Context, l *level, c *coarse, rhs []float32, o ClosedFormOptions) ([]float32, error) {
	n := l.n
	x, r, z, p, ap := make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)
	copy(r, rhs)
	l.precondition(c, r, z)
	copy(p, z)
	rz := l.dot(r, z)
	stop := rz * o.Tolerance * o.Tolerance
	for i := 0; i < o.MaxIterations && rz > stop; i++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		l.apply(p, ap)
		pap := l.dot(p, ap)
		if !(pap > 0) {
			break // single precision has no more to give
		}
		alpha := float32(rz / pap)
		l.blocks(l.threads, func(_ int, segs []seg) {
			for _, s := range segs {
				for i := s.at; i < s.at+s.n; i++ {
					x[i] += alpha * p[i]
					r[i] -= alpha * ap[i]
				}
			}
		})
		l.precondition(c, r, z)
		next := l.dot(r, z)
		beta := float32(next / rz)
		rz = next
		l.blocks(l.threads, func(_ int, segs []seg) {
			for _, s := range segs {
				for i := s.at; i < s.at+s.n; i++ {
					p[i] = z[i] + beta*p[i]
				}
			}
		})
	}
	return x, nil
}

// dot returns the scalar product over the unknown pixels, summed by block so that it does not depend on the threads.
func (l *level) dot(a, b []float32) float64 {
	part := make([]float64, len(l.block)-1)
	l.blocks(l.threads, func(i int, segs []seg) {
		var sum float64
		for _, s := range segs {
			for i := s.at; i < s.at+s.n; i++ {
				sum += float64(a[i]) * float64(b[i])
			}
		}
		part[i] = sum
	})
	var sum float64
	for _, v := range part {
		sum += v
	}
	return sum
}
