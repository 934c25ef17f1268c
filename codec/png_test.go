package codec

import (
	"bytes"
	"compress/zlib"
	"errors"
	"hash/adler32"
	"image"
	"image/png"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

func noise(w, h int, seed uint64) *image.NRGBA {
	r := rand.New(rand.NewPCG(seed, 1))
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := range m.Pix {
		m.Pix[i] = uint8(r.IntN(256)) >> (i / 4 % 8)
	}
	return m
}

// photo is gradients with film grain, about as hard to compress as a photo.
func photo(w, h int) *image.NRGBA {
	r := rand.New(rand.NewPCG(7, 1))
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			i := m.PixOffset(x, y)
			for c := range 3 {
				m.Pix[i+c] = uint8((x*(c+1)/7+y*(3-c)/5)&127 + 64 + r.IntN(5))
			}
			m.Pix[i+3] = 255
		}
	}
	return m
}

// cutoutOf clears everything outside a soft-edged disc.
func cutoutOf(m *image.NRGBA) *image.NRGBA {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	for y := range h {
		for x := range w {
			dx, dy := 2*x-w, 2*y-h
			p := m.Pix[m.PixOffset(x, y):][:4]
			switch d := dx*dx + dy*dy; {
			case d > w*h/2:
				clear(p)
			case d > w*h/2-w*20:
				p[3] = 128
			}
		}
	}
	return m
}

func patterned(w, h int, gray bool, pattern []byte) image.Image {
	fill := func(pix []byte) {
		for i := range pix {
			pix[i] = pattern[i%len(pattern)] + byte(i/997)
		}
	}
	if gray {
		m := image.NewGray(image.Rect(0, 0, w, h))
		fill(m.Pix)
		return m
	}
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	fill(m.Pix)
	return m
}

func checkPNG(t testing.TB, m image.Image, e PNGEncoder) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := e.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	got, err := png.Decode(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatalf("%v: %v", m.Bounds(), err)
	}
	if got.Bounds().Size() != m.Bounds().Size() {
		t.Fatalf("size %v, want %v", got.Bounds(), m.Bounds())
	}
	g, err := toNRGBA(got)
	if err != nil {
		t.Fatal(err)
	}
	want, err := toNRGBA(m)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(g.Pix, want.Pix) {
		t.Fatalf("%v: pixels differ", m.Bounds())
	}
	return b.Bytes()
}

func TestEncodePNGReadsBack(t *testing.T) {
	for _, s := range []image.Point{{1, 1}, {3, 5}, {640, 480}, {1000, 1003}, {70000, 3}, {1, 4000}, {65536, 2}} {
		for _, gray := range []bool{false, true} {
			b := checkPNG(t, patterned(s.X, s.Y, gray, []byte{1, 2, 3, 250, 251, 0, 9}), PNGEncoder{})
			if want := map[bool]byte{false: 6, true: 0}[gray]; b[25] != want || b[24] != 8 {
				t.Errorf("colour type %d of %d bits, want %d of 8", b[25], b[24], want)
			}
		}
		checkPNG(t, noise(s.X, s.Y, 1), PNGEncoder{})
	}
}

// pngcheck looks at what decoders overlook, such as the sizes of the zlib window.
func TestEncodePNGIsValid(t *testing.T) {
	program, err := exec.LookPath("pngcheck")
	if err != nil {
		t.Skip("pngcheck is not installed (Debian: pngcheck)")
	}
	for name, m := range map[string]image.Image{
		"cutout":  cutoutOf(photo(1380, 1000)),
		"empty":   image.NewNRGBA(image.Rect(0, 0, 700, 800)),
		"noise":   noise(333, 777, 4),
		"narrow":  noise(1, 9000, 5),
		"wide":    noise(90000, 3, 6),
		"mask":    patterned(900, 900, true, []byte{0, 0, 0, 255, 255}),
		"one":     noise(1, 1, 7),
		"one row": patterned(5, 1, true, []byte{9}),
	} {
		file := filepath.Join(t.TempDir(), "a.png")
		if err := os.WriteFile(file, checkPNG(t, m, PNGEncoder{}), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), program, "-v", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestEncodePNGOfPartsAndOpaque(t *testing.T) {
	whole := noise(100, 80, 2)
	part := whole.SubImage(image.Rect(13, 7, 60, 71)).(*image.NRGBA)
	checkPNG(t, part, PNGEncoder{})
	grey := patterned(50, 40, true, []byte{3, 1, 4, 1, 5}).(*image.Gray)
	checkPNG(t, grey.SubImage(image.Rect(5, 5, 20, 33)), PNGEncoder{})

	if b := checkPNG(t, photo(300, 400), PNGEncoder{DropOpaqueAlpha: true}); b[25] != 2 {
		t.Errorf("an opaque picture has colour type %d, want 2", b[25])
	}
	if b := checkPNG(t, photo(30, 40), PNGEncoder{}); b[25] != 6 {
		t.Errorf("colour type %d without the option, want 6", b[25])
	}
	if b := checkPNG(t, cutoutOf(photo(300, 400)), PNGEncoder{DropOpaqueAlpha: true}); b[25] != 6 {
		t.Errorf("a transparent picture has colour type %d, want 6", b[25])
	}
}

// failingWriter fails after n bytes.
type failingWriter struct{ n int }

var errFull = errors.New("full")

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.n -= len(p); w.n < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestEncodePNGErrors(t *testing.T) {
	before := runtime.NumGoroutine()
	m := noise(900, 900, 3)
	for _, n := range []int{0, 20, 40, 5000, 400000, 900000} {
		if err := EncodePNG(&failingWriter{n}, m); !errors.Is(err, errFull) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
	for _, m := range []image.Image{image.NewNRGBA(image.Rectangle{}), image.NewGray(image.Rect(0, 0, 0, 5)), image.NewRGBA64(image.Rect(0, 0, 2, 2))} {
		if err := EncodePNG(&bytes.Buffer{}, m); err == nil {
			t.Errorf("%T %v was written", m, m.Bounds())
		}
	}
}

func TestCombineAdler(t *testing.T) {
	data := noise(300, 300, 5).Pix
	for _, cut := range []int{0, 1, 5, 65520, 65521, 65522, 131042, 200000, len(data)} {
		a, b := data[:cut], data[cut:]
		got := combineAdler(adler32.Checksum(a), adler32.Checksum(b), int64(len(b)))
		if want := adler32.Checksum(data); got != want {
			t.Errorf("cut at %d: %08x, want %08x", cut, got, want)
		}
	}
}

func TestAdlerSum(t *testing.T) {
	data := noise(300, 300, 5).Pix
	for i := range data[:100000] {
		data[i] = 255
	}
	for n := 0; n < len(data); n = n*5/4 + 1 {
		for _, p := range [][]byte{data[:n], data[len(data)-n:]} {
			if got, want := adlerSum(p), adler32.Checksum(p); got != want {
				t.Fatalf("%d bytes: %08x, want %08x", n, got, want)
			}
		}
	}
}

func TestSubtract(t *testing.T) {
	a, b := noise(31, 33, 8).Pix, noise(31, 33, 9).Pix
	got := make([]byte, len(a))
	subtract(got, a, b)
	for i := range got {
		if got[i] != a[i]-b[i] {
			t.Fatalf("byte %d: %d - %d = %d", i, a[i], b[i], got[i])
		}
	}
}

func zlibOf(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	_, err := z.Write(data)
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func BenchmarkEncodePNG(b *testing.B) {
	m := cutoutOf(photo(1380, 1380))
	run := func(name string, f func(*bytes.Buffer) error) {
		b.Run(name, func(b *testing.B) {
			var out bytes.Buffer
			b.ReportAllocs()
			for b.Loop() {
				out.Reset()
				if err := f(&out); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(out.Len()), "bytes")
		})
	}
	run("cutout", func(w *bytes.Buffer) error { return EncodePNG(w, m) })
	run("std/default", func(w *bytes.Buffer) error { return png.Encode(w, m) })
	fast := png.Encoder{CompressionLevel: png.BestSpeed}
	run("std/fastest", func(w *bytes.Buffer) error { return fast.Encode(w, m) })
}
