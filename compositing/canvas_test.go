package compositing

import (
	"image"
	"image/color"
	"image/png"
	"os"
	"testing"
)

func readGray(t *testing.T, name string) *image.Gray {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	m, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	g, ok := m.(*image.Gray)
	if !ok {
		t.Fatalf("%s is a %T", name, m)
	}
	return g
}

func TestCleanMatchesTheReference(t *testing.T) {
	t.Parallel()
	got, want := Clean(readGray(t, "clean_in.png")), readGray(t, "clean_out.png")
	for i, v := range got.Pix {
		if v != want.Pix[i] {
			t.Fatalf("pixel %d,%d is %d, want %d", i%got.Stride, i/got.Stride, v, want.Pix[i])
		}
	}
}

func TestCleanOfTinyMasks(t *testing.T) {
	t.Parallel()
	for _, size := range []image.Point{{1, 1}, {1, 5}, {5, 1}, {2, 2}, {3, 2}} {
		m := image.NewGray(image.Rectangle{Max: size})
		for i := range m.Pix {
			m.Pix[i] = 255
		}
		for i, v := range Clean(m).Pix {
			if v != 255 {
				t.Errorf("%v: value %d of a full mask became %d", size, i, v)
			}
		}
	}
}

func TestBinarise(t *testing.T) {
	t.Parallel()
	m := &image.Gray{Pix: []uint8{0, 127, 128, 255}, Stride: 4, Rect: image.Rect(0, 0, 4, 1)}
	Binarise(m, 128)
	if string(m.Pix) != "\x00\x00\xff\xff" {
		t.Errorf("got %v", m.Pix)
	}
}

// marked is a transparent picture with an opaque red rectangle.
func marked(w, h int, r image.Rectangle) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			m.SetNRGBA(x, y, color.NRGBA{R: 255, A: 255})
		}
	}
	return m
}

// sampled is a resize that is easy to foretell.
func sampled(src *image.NRGBA, w, h int) *image.NRGBA {
	out := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			out.SetNRGBA(x, y, src.NRGBAAt(x*src.Rect.Dx()/w, y*src.Rect.Dy()/h))
		}
	}
	return out
}

func TestLayout(t *testing.T) {
	t.Parallel()
	box := image.Rect(10, 20, 30, 30)
	m := marked(100, 60, box)
	for name, tc := range map[string]struct {
		layout Layout
		want   image.Rectangle // of what is opaque
	}{
		"crop":             {Layout{image.Pt(20, 10), box, image.Rect(0, 0, 20, 10)}, image.Rect(0, 0, 20, 10)},
		"crop beyond":      {Layout{image.Pt(60, 60), image.Rect(-10, -10, 50, 50), image.Rect(0, 0, 60, 60)}, image.Rect(20, 30, 40, 40)},
		"moved":            {Layout{image.Pt(100, 60), box, image.Rect(80, 50, 100, 60)}, image.Rect(80, 50, 100, 60)},
		"moved and halved": {Layout{image.Pt(50, 40), box, image.Rect(5, 7, 15, 12)}, image.Rect(5, 7, 15, 12)},
		"enlarged":         {Layout{image.Pt(100, 60), box, image.Rect(0, 5, 100, 55)}, image.Rect(0, 5, 100, 55)},
	} {
		got := tc.layout.Picture(m, sampled)
		if got.Rect.Size() != tc.layout.Size {
			t.Errorf("%s: the canvas has %v", name, got.Rect)
		}
		if b := Bounds(AlphaOf(got)); b != tc.want {
			t.Errorf("%s: the part is at %v, want %v", name, b, tc.want)
		}
	}
}

func TestBoundsOver(t *testing.T) {
	t.Parallel()
	m := marked(9, 9, image.Rect(2, 3, 4, 5))
	m.SetNRGBA(8, 8, color.NRGBA{A: 7})
	if got := BoundsOver(m, 8); got != image.Rect(2, 3, 4, 5) {
		t.Errorf("got %v", got)
	}
	if got := BoundsOver(m, 1); got != image.Rect(2, 3, 9, 9) {
		t.Errorf("with faint pixels: %v", got)
	}
}

func TestBleed(t *testing.T) {
	t.Parallel()
	m := image.NewNRGBA(image.Rect(0, 0, 37, 21))
	for y := range 21 {
		for x := range 37 {
			switch {
			case x < 10:
				m.SetNRGBA(x, y, color.NRGBA{R: uint8(200 + x), A: 255})
			case x == 10:
				m.SetNRGBA(x, y, color.NRGBA{R: 210, A: 100})
			case x > 30:
				m.SetNRGBA(x, y, color.NRGBA{B: 240, A: 255})
			}
		}
	}
	got := Bleed(m)
	if !got.Opaque() {
		t.Error("is not opaque")
	}
	for y := range 21 {
		for x := range 37 {
			p, q := m.NRGBAAt(x, y), got.NRGBAAt(x, y)
			if p.A == 255 && p != q {
				t.Fatalf("%d,%d: %v became %v", x, y, p, q)
			}
		}
		if c := got.NRGBAAt(10, y); c.R < 190 || c.B > 20 {
			t.Errorf("at the red edge: %v", c)
		}
		if c := got.NRGBAAt(12, y); c.R < 120 {
			t.Errorf("beside the red edge: %v", c)
		}
		if c := got.NRGBAAt(29, y); c.B < 120 {
			t.Errorf("beside the blue edge: %v", c)
		}
	}
	if c := Bleed(image.NewNRGBA(image.Rect(0, 0, 3, 1))).NRGBAAt(1, 0); c != (color.NRGBA{A: 255}) {
		t.Errorf("of nothing: %v", c)
	}
}
