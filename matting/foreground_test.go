package matting

import (
	"context"
	"errors"
	"image"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// foregroundError returns the mean absolute difference, of 255, of two foregrounds over the soft pixels of alpha.
func foregroundError(got, want *image.NRGBA, alpha *image.Gray) float64 {
	var sum float64
	n := 0
	for i, a := range alpha.Pix {
		if a == 0 || a == 255 {
			continue
		}
		n++
		for c := 0; c < 3; c++ {
			sum += math.Abs(float64(got.Pix[4*i+c]) - float64(want.Pix[4*i+c]))
		}
	}
	return sum / 3 / float64(n)
}

func TestForegroundAgainstReference(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"astronaut", "chelsea", "coffee", "rocket"} {
		photo, alpha := readPhoto(t, "testdata/"+name+"_photo.png"), readGray(t, "testdata/"+name+"_alpha.png")
		got, err := EstimateForeground(context.Background(), photo, alpha, ForegroundOptions{})
		if err != nil {
			t.Fatal(err)
		}
		// Both solve the same equations; what is left is the order of the sweeps and where colours are estimated at all.
		if d := foregroundError(got, readPhoto(t, "testdata/"+name+"_foreground.png"), alpha); d > 0.2 {
			t.Errorf("%s: mean error %.3f of 255", name, d)
		} else {
			t.Logf("%s: mean error %.3f of 255", name, d)
		}
	}
}

func TestForegroundKeepsOpaquePixels(t *testing.T) {
	t.Parallel()
	photo, alpha := scene(90, 70, 3)
	got, err := EstimateForeground(context.Background(), photo, alpha, ForegroundOptions{})
	if err != nil {
		t.Fatal(err)
	}
	soft := 0
	for i, a := range alpha.Pix {
		if got.Pix[4*i+3] != a {
			t.Fatalf("pixel %d: alpha %d, want %d", i, got.Pix[4*i+3], a)
		}
		for c := 0; c < 3; c++ {
			switch d := math.Abs(float64(got.Pix[4*i+c]) - float64(photo.Pix[4*i+c])); {
			case (a == 0 || a == 255) && d != 0:
				t.Fatalf("pixel %d of alpha %d: colour changed", i, a)
			case a > 100 && a < 150 && d > 20:
				soft++
			}
		}
	}
	if soft == 0 {
		t.Error("no half transparent pixel lost the background's colour")
	}
}

func TestForegroundOfAnySize(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w, h := rapid.IntRange(1, 50).Draw(t, "w"), rapid.IntRange(1, 50).Draw(t, "h")
		photo, _ := scene(w, h, rapid.Uint64().Draw(t, "seed"))
		alpha := image.NewGray(image.Rect(0, 0, w, h))
		levels := rapid.SliceOfN(rapid.Byte(), 1, 5).Draw(t, "levels")
		for i := range alpha.Pix {
			alpha.Pix[i] = levels[(i*7919>>3)%len(levels)]
		}
		a, err := EstimateForeground(context.Background(), photo, alpha, ForegroundOptions{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		b, err := EstimateForeground(context.Background(), photo, alpha, ForegroundOptions{Threads: 3})
		if err != nil {
			t.Fatal(err)
		}
		if string(a.Pix) != string(b.Pix) {
			t.Fatal("the result depends on the number of threads")
		}
	})
}

func TestForegroundErrors(t *testing.T) {
	t.Parallel()
	photo, alpha := scene(64, 64, 1)
	var size *SizeError
	if _, err := EstimateForeground(context.Background(), photo, image.NewGray(image.Rect(0, 0, 64, 63)), ForegroundOptions{}); !errors.As(err, &size) {
		t.Errorf("got %v, want a SizeError", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := EstimateForeground(ctx, photo, alpha, ForegroundOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func BenchmarkForeground(b *testing.B) {
	photo, alpha := scene(1380, 1380, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := EstimateForeground(context.Background(), photo, alpha, ForegroundOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
