package matting

import (
	"fmt"
	"image"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// naiveTrimap is Trimap by its definition.
func naiveTrimap(mask *image.Gray, o TrimapOptions, open bool) *image.Gray {
	w, h := mask.Rect.Dx(), mask.Rect.Dy()
	out := image.NewGray(image.Rect(0, 0, w, h))
	lo, hi := -(o.ErodeSize / 2), (o.ErodeSize-1)/2
	survives := func(x, y int, sure func(v uint8) bool, beyond bool) bool {
		at := func(dx, dy int) bool {
			xx, yy := x+dx, y+dy
			if xx < 0 || yy < 0 || xx >= w || yy >= h {
				return beyond
			}
			return sure(mask.Pix[yy*mask.Stride+xx])
		}
		switch {
		case o.ErodeSize < 0:
			return at(0, 0)
		case o.ErodeSize == 0:
			return at(0, 0) && at(-1, 0) && at(1, 0) && at(0, -1) && at(0, 1)
		}
		for dy := lo; dy <= hi; dy++ {
			for dx := lo; dx <= hi; dx++ {
				if !at(dx, dy) {
					return false
				}
			}
		}
		return true
	}
	for y := 0; y < h; y++ {
		for x := 0; x < w; x++ {
			v := uint8(Unknown)
			if survives(x, y, func(v uint8) bool { return int(v) > o.ForegroundThreshold }, open) {
				v = Foreground
			}
			if survives(x, y, func(v uint8) bool { return int(v) < o.BackgroundThreshold }, true) {
				v = Background
			}
			out.Pix[y*out.Stride+x] = v
		}
	}
	return out
}

func TestTrimapIsItsDefinition(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w, h := rapid.IntRange(1, 40).Draw(t, "w"), rapid.IntRange(1, 40).Draw(t, "h")
		mask := image.NewGray(image.Rect(0, 0, w, h))
		// Few holes, so that something survives the erosion.
		for i := range mask.Pix {
			mask.Pix[i] = 255
		}
		for i, n := 0, rapid.IntRange(0, 12).Draw(t, "holes"); i < n; i++ {
			x0, y0 := rapid.IntRange(0, w-1).Draw(t, "x"), rapid.IntRange(0, h-1).Draw(t, "y")
			v := rapid.Byte().Draw(t, "v")
			for y := y0; y < min(h, y0+rapid.IntRange(1, 20).Draw(t, "dy")); y++ {
				for x := x0; x < min(w, x0+9); x++ {
					mask.Pix[y*mask.Stride+x] = v
				}
			}
		}
		o := TrimapOptions{
			ForegroundThreshold: rapid.IntRange(0, 255).Draw(t, "fg"),
			BackgroundThreshold: rapid.IntRange(0, 255).Draw(t, "bg"),
			ErodeSize:           rapid.IntRange(-1, 14).Draw(t, "size"),
			Threads:             rapid.IntRange(1, 3).Draw(t, "threads"),
		}
		if diff := cmp.Diff(naiveTrimap(mask, o, false).Pix, Trimap(mask, o).Pix); diff != "" {
			t.Fatalf("%dx%d %+v: %s", w, h, o, diff)
		}
		if o.ErodeSize > 0 {
			if diff := cmp.Diff(naiveTrimap(mask, o, true).Pix, trimap(mask, o, true).Pix); diff != "" {
				t.Fatalf("open %dx%d %+v: %s", w, h, o, diff)
			}
		}
	})
}

func TestTrimapAgainstReference(t *testing.T) {
	t.Parallel()
	mask := readGray(t, "testdata/astronaut_mask.png")
	for _, size := range []int{0, 1, 2, 7, 24} {
		want := readGray(t, filepath.Join("testdata", fmt.Sprintf("trimap_%d.png", size)))
		got := Trimap(mask, TrimapOptions{ForegroundThreshold: 200, BackgroundThreshold: 40, ErodeSize: size})
		if d := difference(got, want); d != 0 {
			t.Errorf("erosion %d: differs by %g", size, d)
		}
	}
	for _, name := range []string{"astronaut", "chelsea", "coffee", "rocket"} {
		got := Trimap(readGray(t, "testdata/"+name+"_mask.png"), DefaultTrimap)
		if d := difference(got, readGray(t, "testdata/"+name+"_trimap.png")); d != 0 {
			t.Errorf("%s: differs by %g", name, d)
		}
	}
}

func TestTrimapTakesAnyErosion(t *testing.T) {
	t.Parallel()
	mask := image.NewGray(image.Rect(0, 0, 5, 4))
	for _, size := range []int{1 << 30, 1 << 62} {
		got := Trimap(mask, TrimapOptions{ForegroundThreshold: 240, BackgroundThreshold: 10, ErodeSize: size})
		for _, v := range got.Pix {
			if v != Background {
				t.Fatalf("erosion %d of a flat background: got %v", size, got.Pix)
			}
		}
	}
}
