package codec

import (
	"bytes"
	"image"
	"image/color"
	"testing"
)

func TestEncodeJPEGLaysOnColour(t *testing.T) {
	m := image.NewNRGBA(image.Rect(0, 0, 48, 32))
	for i := 0; i < len(m.Pix); i += 4 {
		copy(m.Pix[i:], []byte{200, 100, 0, []byte{0, 128, 255}[i/4%48/16]})
	}
	var b bytes.Buffer
	if err := EncodeJPEG(&b, m, 95, color.NRGBA{0, 0, 200, 17}); err != nil {
		t.Fatal(err)
	}
	got, info, err := Decode(t.Context(), b.Bytes(), Limits{})
	if err != nil || info.Format != JPEG {
		t.Fatal(info, err)
	}
	for x, want := range map[int][3]int{5: {0, 0, 200}, 24: {100, 50, 100}, 42: {200, 100, 0}} {
		c := got.NRGBAAt(x, 16)
		for i, v := range []uint8{c.R, c.G, c.B} {
			if d := int(v) - want[i]; d < -6 || d > 6 {
				t.Errorf("at %d: %v, want %v", x, c, want)
				break
			}
		}
	}
	grey := &image.Gray{Pix: bytes.Repeat([]byte{77}, 64), Stride: 8, Rect: image.Rect(0, 0, 8, 8)}
	b.Reset()
	if err := EncodeJPEG(&b, grey, 500, color.NRGBA{}); err != nil {
		t.Fatal(err)
	}
	if got, _, err := Decode(t.Context(), b.Bytes(), Limits{}); err != nil || got.Pix[0] != 77 {
		t.Error(got, err)
	}
	if err := EncodeJPEG(&b, image.NewNRGBA(image.Rect(0, 0, 65536, 1)), 90, color.NRGBA{}); err == nil {
		t.Error("a side of 65536 was written")
	}
	if err := EncodeJPEG(&b, image.NewNRGBA(image.Rect(0, 0, 0, 1)), 90, color.NRGBA{}); err == nil {
		t.Error("an empty picture was written")
	}
}

// The reader is golang.org/x/image's, which shares no code with the encoder.
func TestEncodeWebPReadsBack(t *testing.T) {
	whole := cutoutOf(photo(200, 150))
	for _, m := range []*image.NRGBA{whole, cutoutOf(photo(31, 17)), whole.SubImage(image.Rect(0, 0, 101, 77)).(*image.NRGBA)} {
		var b bytes.Buffer
		if err := EncodeWebP(&b, m, 80); err != nil {
			t.Fatal(err)
		}
		got, info, err := Decode(t.Context(), b.Bytes(), Limits{})
		if err != nil || !info.HasAlpha || info.Format != WebP || got.Rect.Size() != m.Rect.Size() {
			t.Fatal(info, err)
		}
		sum, n := 0, 0
		for y := range m.Rect.Dy() {
			for x := range m.Rect.Dx() {
				w, g := m.NRGBAAt(x, y), got.NRGBAAt(x, y)
				if w.A != g.A {
					t.Fatalf("alpha at (%d,%d) is %d, want %d", x, y, g.A, w.A)
				}
				if w.A > 0 {
					sum += max(int(w.G), int(g.G)) - min(int(w.G), int(g.G))
					n++
				}
			}
		}
		if mean := float64(sum) / float64(n); mean > 5 {
			t.Errorf("%v: mean difference of visible pixels %.2f", m.Rect, mean)
		}
	}
	var b bytes.Buffer
	if err := EncodeWebP(&b, &image.Gray{Pix: bytes.Repeat([]byte{90}, 64), Stride: 8, Rect: image.Rect(0, 0, 8, 8)}, 90); err != nil {
		t.Error(err)
	}
	if err := EncodeWebP(&b, image.NewNRGBA(image.Rect(0, 0, 16384, 1)), 90); err == nil {
		t.Error("a side of 16384 was written")
	}
}
