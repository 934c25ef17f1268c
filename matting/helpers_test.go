package matting

import (
	"image"
	"image/color"
	"image/draw"
	_ "image/jpeg"
	_ "image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

func readImage(t testing.TB, path string) image.Image {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, _, err := image.Decode(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return img
}

func readPhoto(t testing.TB, path string) *image.NRGBA {
	t.Helper()
	img := readImage(t, path)
	out := image.NewNRGBA(image.Rect(0, 0, img.Bounds().Dx(), img.Bounds().Dy()))
	draw.Draw(out, out.Rect, img, img.Bounds().Min, draw.Src)
	return out
}

func readGray(t testing.TB, path string) *image.Gray {
	t.Helper()
	img := readImage(t, path)
	b := img.Bounds()
	out := image.NewGray(image.Rect(0, 0, b.Dx(), b.Dy()))
	for y := 0; y < b.Dy(); y++ {
		for x := 0; x < b.Dx(); x++ {
			out.SetGray(x, y, color.GrayModel.Convert(img.At(b.Min.X+x, b.Min.Y+y)).(color.Gray))
		}
	}
	return out
}

// dataDir returns the folder of photo sets beside the module, or skips the test.
func dataDir(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Skip("no go.mod above the package")
		}
		dir = up
	}
	data := filepath.Join(dir, "..", "shared", "data")
	if _, err := os.Stat(filepath.Join(data, "gt")); err != nil {
		t.Skip("the photo sets are not here")
	}
	return data
}

// files lists what matches pattern, or skips the test.
func files(t testing.TB, pattern string) []string {
	t.Helper()
	m, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	if len(m) == 0 {
		t.Skipf("no file matches %s", pattern)
	}
	return m
}

// difference returns the mean absolute difference of two planes, 0..1.
func difference(a, b *image.Gray) float64 {
	var sum int
	for i, v := range a.Pix {
		d := int(v) - int(b.Pix[i])
		sum += max(d, -d)
	}
	return float64(sum) / 255 / float64(len(a.Pix))
}

// scene draws a disc of one texture before another: the photo and its true matte.
func scene(w, h int, seed uint64) (*image.NRGBA, *image.Gray) {
	rng := rand.New(rand.NewPCG(seed, 1))
	photo, alpha := image.NewNRGBA(image.Rect(0, 0, w, h)), image.NewGray(image.Rect(0, 0, w, h))
	cx, cy, r := float64(w)/2, float64(h)/2, float64(min(w, h))/3
	for y := 0; y < h; y++ {
		for x := 0; x < w; x++ {
			dx, dy := float64(x)-cx, float64(y)-cy
			a := max(0, min(1, (r*r-dx*dx-dy*dy)/(2*r*4)+.5))
			alpha.Pix[y*alpha.Stride+x] = uint8(255*a + .5)
			p := photo.Pix[y*photo.Stride+4*x:]
			for c, fb := range [3][2]float64{{200, 30}, {120, 60}, {40, 160}} {
				p[c] = uint8(a*fb[0] + (1-a)*fb[1] + 10*rng.Float64() + float64(x+y)/float64(w+h)*30)
			}
			p[3] = 255
		}
	}
	return photo, alpha
}
