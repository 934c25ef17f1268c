package codec

import (
	"context"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"testing"
)

func decodeFile(t *testing.T, name string) *image.NRGBA {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	m, _, err := Decode(context.Background(), data, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestLanczosAlphaMatchesPillow holds transparent pictures against Pillow's, bit for bit.
func TestLanczosAlphaMatchesPillow(t *testing.T) {
	t.Parallel()
	src := decodeFile(t, "alpha.png")
	for _, size := range []image.Point{{20, 14}, {53, 10}, {11, 37}, {80, 60}, {1, 1}} {
		want := decodeFile(t, fmt.Sprintf("alpha.%dx%d.png", size.X, size.Y))
		got := LanczosAlpha(src, size.X, size.Y)
		if got.Rect != want.Rect {
			t.Fatalf("%v: got %v", size, got.Rect)
		}
		for i := 0; i < len(got.Pix); i += 4 {
			g, w := [4]uint8(got.Pix[i:]), [4]uint8(want.Pix[i:])
			if g != w && (g[3] != 0 || w[3] != 0) { // colours of what is not seen do not count
				t.Fatalf("%v: pixel %d is %v, want %v", size, i/4, g, w)
			}
		}
	}
}

func TestLanczosAlphaOfAnOpaquePicture(t *testing.T) {
	t.Parallel()
	src := image.NewNRGBA(image.Rect(0, 0, 9, 7))
	for i := range src.Pix {
		src.Pix[i] = uint8(i * 7)
		if i%4 == 3 {
			src.Pix[i] = 255
		}
	}
	got, want := LanczosAlpha(src, 5, 4), Lanczos(src, 5, 4)
	if string(got.Pix) != string(want.Pix) {
		t.Error("differs from Lanczos")
	}
}
