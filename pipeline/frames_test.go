package pipeline

import (
	"image"
	"testing"
)

// TestDecided leaves masks alone that are past doubt, and takes grey out of the others without turning any value's order.
func TestDecided(t *testing.T) {
	t.Parallel()
	sureMask := image.NewGray(image.Rect(0, 0, 64, 64))
	for i := range sureMask.Pix {
		if i%64 > 32 {
			sureMask.Pix[i] = 255
		}
	}
	sureMask.Pix[32] = 128
	if got := decided(sureMask); got != sureMask {
		t.Error("a mask past doubt is changed")
	}
	fog := image.NewGray(image.Rect(0, 0, 64, 64))
	for i := range fog.Pix {
		fog.Pix[i] = uint8(i % 256)
	}
	before := append([]uint8(nil), fog.Pix...)
	got := decided(fog)
	for i, v := range before {
		if fog.Pix[i] != v {
			t.Fatal("the mask itself is changed")
		}
		if want := sharpened(float32(v) / 255); got.Pix[i] != want {
			t.Fatalf("%d becomes %d, want %d", v, got.Pix[i], want)
		}
	}
	// Between the two it goes by degrees, so that frames do not jump.
	some := image.NewGray(image.Rect(0, 0, 100, 1))
	for i := range some.Pix {
		if i >= 50 {
			some.Pix[i] = 255
		}
	}
	for i := 46; i < 56; i++ {
		some.Pix[i] = 70
	}
	_, doubt := judge(some)
	if doubt <= sure || doubt >= 2*sure {
		t.Fatalf("doubt is %.3f", doubt)
	}
	if v := decided(some).Pix[50]; v >= 70 || v <= sharpened(70./255) {
		t.Errorf("70 becomes %d, of at least %d", v, sharpened(70./255))
	}
}
