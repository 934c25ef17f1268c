package codec

import (
	"bytes"
	"image"
	"image/png"
	"math/rand/v2"
	"testing"
)

func noise(w, h int, seed uint64) *image.NRGBA {
	r := rand.New(rand.NewPCG(seed, 1))
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := range m.Pix {
		m.Pix[i] = uint8(r.IntN(256)) >> (i / 4 % 8)
	}
	return m
}

func TestEncodePNGReadsBack(t *testing.T) {
	for _, size := range []image.Point{{1, 1}, {3, 5}, {640, 480}, {1000, 1003}, {70000, 3}, {1, 4000}} {
		m := noise(size.X, size.Y, 1)
		var b bytes.Buffer
		if err := EncodePNG(&b, m); err != nil {
			t.Fatal(err)
		}
		got, err := png.Decode(&b)
		if err != nil {
			t.Fatalf("%v: %v", size, err)
		}
		if !bytes.Equal(got.(*image.NRGBA).Pix, m.Pix) {
			t.Errorf("%v: pixels differ", size)
		}
	}
}
