package codec

import (
	"bytes"
	"testing"
)

// Whatever a kept picture held, the next one is what it would be without the pool.
func TestPool(t *testing.T) {
	var p Pool
	for _, name := range []string{"baseline_420.jpg", "progressive_444.jpg", "gray.jpg", "oriented.jpg", "cmyk.jpg", "rgba.png"} {
		b := readFile(t, "testdata/pictures/"+name)
		want, _, _, err := DecodeStored(t.Context(), b, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			kept := noise(600, 500, 3)
			p.Put(kept)
			got, _, _, err := p.DecodeStored(t.Context(), b, Limits{})
			if err != nil || got.Rect != want.Rect || got.Stride != want.Stride || !bytes.Equal(got.Pix, want.Pix) {
				t.Errorf("%s: %v, or another picture", name, err)
			}
			p.Put(got)
		}
	}
	for range 20 {
		var p Pool // one without pictures of earlier rounds, which are as good
		kept := noise(600, 500, 3)
		p.Put(kept)
		if m := p.picture(600, 450); &m.Pix[0] != &kept.Pix[0] || m.Rect.Dx() != 600 || m.Rect.Dy() != 450 || len(m.Pix) != 4*600*450 {
			t.Fatalf("%v of %d bytes", m.Rect, len(m.Pix))
		}
		if m := p.picture(10, 10); m.Opaque() || len(m.Pix) != 400 {
			t.Fatal("a small picture is not new")
		}
		if m := p.picture(6000, 50); len(m.Pix) != 4*6000*50 {
			t.Fatal("a picture has too few pixels")
		}
	}
}
