package matting

import (
	"context"
	"errors"
	"image"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// blurredMask makes what a network would of a matte: small and soft.
func blurredMask(alpha *image.Gray, mw, mh int) *image.Gray {
	small := image.NewGray(image.Rect(0, 0, mw, mh))
	w, h := alpha.Rect.Dx(), alpha.Rect.Dy()
	for y := range mh {
		for x := range mw {
			x0, x1 := (x-1)*w/mw, (x+2)*w/mw
			y0, y1 := (y-1)*h/mh, (y+2)*h/mh
			sum, n := 0, 0
			for yy := max(0, y0); yy < min(h, y1); yy++ {
				for xx := max(0, x0); xx < min(w, x1); xx++ {
					sum += int(alpha.Pix[yy*alpha.Stride+xx])
					n++
				}
			}
			small.Pix[y*small.Stride+x] = uint8(sum / max(1, n))
		}
	}
	return small
}

func TestRefineFindsTheEdge(t *testing.T) {
	t.Parallel()
	for _, size := range [][2]int{{640, 480}, {500, 900}, {200, 200}} {
		photo, alpha := scene(size[0], size[1], 4)
		mask := blurredMask(alpha, 80, 80)
		plain := image.NewGray(alpha.Rect)
		enlarge(plain, mask, nil, 1)
		got, err := Refine(context.Background(), photo, mask, RefineOptions{})
		if err != nil {
			t.Fatal(err)
		}
		before, after := difference(plain, alpha), difference(got, alpha)
		t.Logf("%v: mean difference from the truth %.5f, was %.5f", size, after, before)
		if after > before/2 {
			t.Errorf("%v: mean difference from the truth %.5f, was %.5f", size, after, before)
		}
	}
}

func TestRefineOfAnySize(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w, h := rapid.IntRange(1, 90).Draw(t, "w"), rapid.IntRange(1, 90).Draw(t, "h")
		photo, alpha := scene(w, h, rapid.Uint64().Draw(t, "seed"))
		mask := image.NewGray(image.Rect(0, 0, rapid.IntRange(1, 40).Draw(t, "mw"), rapid.IntRange(1, 40).Draw(t, "mh")))
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "noise"), 1))
		if rapid.Bool().Draw(t, "shaped") {
			mask = blurredMask(alpha, mask.Rect.Dx(), mask.Rect.Dy())
		} else {
			for i := range mask.Pix {
				mask.Pix[i] = uint8(rng.Uint32() >> 24)
			}
		}
		o := RefineOptions{Grid: rapid.SampledFrom([]int{0, 1, 30}).Draw(t, "grid"), Threads: 1}
		a, err := Refine(context.Background(), photo, mask, o)
		if err != nil {
			t.Fatal(err)
		}
		o.Threads = 3
		b, err := Refine(context.Background(), photo, mask, o)
		if err != nil {
			t.Fatal(err)
		}
		if string(a.Pix) != string(b.Pix) {
			t.Fatal("the result depends on the number of threads")
		}
		plain := image.NewGray(alpha.Rect)
		enlarge(plain, mask, nil, 1)
		for i, v := range plain.Pix {
			if v >= balanced.keepAbove && a.Pix[i] < 128 || v <= balanced.keepBelow && a.Pix[i] > 127 {
				t.Fatalf("pixel %d went from %d to %d", i, v, a.Pix[i])
			}
		}
	})
}

func TestRefineLeavesFlatMasks(t *testing.T) {
	t.Parallel()
	photo, _ := scene(100, 80, 1)
	for _, v := range []uint8{0, 9, 128, 255} {
		mask := image.NewGray(image.Rect(0, 0, 32, 32))
		for i := range mask.Pix {
			mask.Pix[i] = v
		}
		got, err := Refine(context.Background(), photo, mask, RefineOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range got.Pix {
			if p != v {
				t.Fatalf("mask of %d: pixel %d is %d", v, i, p)
			}
		}
	}
}

func TestRefineErrors(t *testing.T) {
	t.Parallel()
	photo, alpha := scene(64, 64, 1)
	var size *SizeError
	if _, err := Refine(context.Background(), photo, &image.Gray{}, RefineOptions{}); !errors.As(err, &size) {
		t.Errorf("got %v, want a SizeError", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Refine(ctx, photo, blurredMask(alpha, 32, 32), RefineOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

// TestRefineOnPhotoSets holds the refinement to what makes it fit to be always on: masks of no set get worse, mattes
// of hair and fur get better. CUTOUT_PHOTOS sets how many photos of a set are looked at; the default keeps the test
// short.
func TestRefineOnPhotoSets(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	data := dataDir(t)
	all := os.Getenv("CUTOUT_PHOTOS") == "all"
	var sad, sadPlain float64
	for _, set := range files(t, filepath.Join(data, "gt", "*")) {
		name := filepath.Base(set)
		photos := files(t, filepath.Join(set, "image", "*"))
		step := 1
		if name != "alphamatting" && name != "lemur" && !all {
			step = (len(photos) + 5) / 6
		}
		var n, iou, mae float64
		for i := 0; i < len(photos); i += step {
			base := strings.TrimSuffix(filepath.Base(photos[i]), filepath.Ext(photos[i]))
			truth := readGray(t, filepath.Join(set, "mask", base+".png"))
			plain := readGray(t, filepath.Join(data, "refpairs/u2netp_rembg_pre", name, base+".png"))
			got, err := Refine(context.Background(), readPhoto(t, photos[i]), networkMask(plain), RefineOptions{})
			if err != nil {
				t.Fatal(err)
			}
			n++
			was := overlap(plain, truth)
			iou += overlap(got, truth) - was
			mae += difference(got, truth) - difference(plain, truth)
			if (name == "alphamatting" || name == "lemur") && was > 0.9 {
				sad += difference(got, truth) * float64(len(truth.Pix))
				sadPlain += difference(plain, truth) * float64(len(truth.Pix))
			}
		}
		iou /= n
		mae /= n
		t.Logf("%-14s %3.0f photos: IoU %+.4f, MAE %+.4f", name, n, iou, mae)
		// A few photos of a set scatter more than the whole.
		slack := 1.0
		if step > 1 {
			slack = 3
		}
		if iou < -0.002*slack || mae > 0.001*slack {
			t.Errorf("%s: IoU %+.4f, MAE %+.4f", name, iou, mae)
		}
	}
	t.Logf("SAD against true mattes where the mask is right: %+.1f %%", 100*(sad/sadPlain-1))
	if sad > 0.9*sadPlain {
		t.Errorf("SAD against true mattes changed by %+.1f %%, at least -10 %% is wanted", 100*(sad/sadPlain-1))
	}
}

// networkMask brings a mask that was enlarged from 320x320 back to that.
func networkMask(m *image.Gray) *image.Gray {
	out := image.NewGray(image.Rect(0, 0, 320, 320))
	w, h := m.Rect.Dx(), m.Rect.Dy()
	xs, ys := cover(max(w, 320), 320), cover(max(h, 320), 320)
	if w < 320 || h < 320 {
		enlarge(out, m, nil, 1)
		return out
	}
	for y := range ys {
		for x := range xs {
			sum, n := 0, 0
			for yy := ys[y][0]; yy < ys[y][1]; yy++ {
				for xx := xs[x][0]; xx < xs[x][1]; xx++ {
					sum += int(m.Pix[yy*m.Stride+xx])
					n++
				}
			}
			out.Pix[y*320+x] = uint8((sum + n/2) / n)
		}
	}
	return out
}

// overlap is the intersection over union of two masks at one half.
func overlap(a, b *image.Gray) float64 {
	var inter, union float64
	for i, v := range a.Pix {
		p, q := v >= 128, b.Pix[i] >= 128
		if p && q {
			inter++
		}
		if p || q {
			union++
		}
	}
	if union == 0 {
		return 1
	}
	return inter / union
}

func BenchmarkRefine(b *testing.B) {
	photo, alpha := scene(1380, 1380, 1)
	mask := blurredMask(alpha, 320, 320)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Refine(context.Background(), photo, mask, RefineOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
