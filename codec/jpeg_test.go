package codec

import (
	"bytes"
	"errors"
	"image"
	"image/png"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Files decode to what libjpeg makes of them, to the bit. The references are Pillow's.
func TestJPEGEqualsLibjpeg(t *testing.T) {
	files, err := filepath.Glob("testdata/pictures/*.jpg")
	if err != nil {
		t.Fatal(err)
	}
	var own []string
	for _, name := range files {
		b := readFile(t, name)
		h, err := readHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		m, err := decodeHuffman(t.Context(), b, image.Pt(h.width, h.height), nil)
		if errors.Is(err, errOtherProcess) {
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		own = append(own, filepath.Base(name))
		stored, err := toNRGBA(m)
		if err != nil {
			t.Fatal(err)
		}
		reference, err := png.Decode(bytes.NewReader(readFile(t, name+".png")))
		if err != nil {
			t.Fatal(err)
		}
		want, err := toNRGBA(reference)
		if err != nil {
			t.Fatal(err)
		}
		got := upright(stored, h.Orientation)
		if got.Rect != want.Rect || !bytes.Equal(got.Pix, want.Pix) {
			t.Errorf("%s differs", name)
		}
	}
	for _, name := range []string{"baseline_420.jpg", "baseline_422.jpg", "baseline_444.jpg", "even_420.jpg", "gray.jpg", "tiny_420.jpg", "progressive_420.jpg",
		"progressive_422.jpg", "progressive_444.jpg"} {
		if !slices.Contains(own, name) {
			t.Errorf("%s was left to the other decoder", name)
		}
	}
}

// Cut anywhere, a file is an error or a picture, and no goroutine is left behind.
func TestJPEGCutShort(t *testing.T) {
	for _, name := range []string{"baseline_420.jpg", "progressive_422.jpg", "gray.jpg"} {
		b := readFile(t, "testdata/pictures/"+name)
		h, err := readHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		size := image.Pt(h.width, h.height)
		for n := range len(b) - 64 {
			if _, err := decodeHuffman(t.Context(), b[:n], size, nil); err == nil {
				t.Fatalf("%s: %d of %d bytes are a picture", name, n, len(b))
			}
		}
	}
}

func TestJPEGKernelsEqualPlain(t *testing.T) {
	if !hasNative {
		t.Skip("this machine, or this build, has no assembly to compare")
	}
	t.Run("idct", rapid.MakeCheck(func(t *rapid.T) {
		most := rapid.SampledFrom([]int16{8, 300, 2047, 1<<15 - 1}).Draw(t, "most")
		coef := rapid.SliceOfN(rapid.Int16Range(-most, most), 128, 128).Draw(t, "coef")
		var a, b [8 * 20]byte
		inverseDCT(a[:], 20, coef)
		inverseDCT(a[8:], 20, coef[8:])
		idctNative(b[:], 20, coef)
		if a != b {
			t.Fatalf("samples %v, want %v", b, a)
		}
		for i := range coef {
			if i%16%8 != 0 || i >= 16 {
				coef[i] = 0
			}
		}
		idctNative(a[:], 20, coef)
		fillPair(b[:], 20, coef)
		if a != b {
			t.Fatalf("flat samples %v, want %v", b, a)
		}
	}))
	t.Run("chroma", rapid.MakeCheck(func(t *rapid.T) {
		n := rapid.IntRange(16, 70).Draw(t, "n")
		row := rapid.SliceOfN(rapid.Byte(), n, n)
		near, far := row.Draw(t, "near"), row.Draw(t, "far")
		sums := make([]uint16, n+2)
		for _, r := range [][2]uint16{{8, 7}, {4, 8}} {
			a, b := make([]byte, 2*n), make([]byte, 2*n)
			chromaRow(a, near, far, sums, r[0], r[1])
			chromaNative(b, near, far, sums, r[0], r[1])
			if !bytes.Equal(a, b) {
				t.Fatalf("%v, want %v", b, a)
			}
		}
	}))
	t.Run("colour", func(t *testing.T) {
		const n = 256 + 5
		luma, cb, cr := make([]byte, n), make([]byte, n), make([]byte, n)
		a, b := make([]byte, 4*n), make([]byte, 4*n)
		for u := range 256 {
			for v := range 256 {
				for i := range n {
					luma[i], cb[i], cr[i] = byte(i), byte(u), byte(v)
				}
				yccRow(a, luma, cb, cr)
				yccNative(b, luma, cb, cr)
				if !bytes.Equal(a, b) {
					t.Fatalf("chroma %d,%d differs", u, v)
				}
			}
		}
	})
}
