package codec

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// unlikePillow lists the hostile files that are not decoded like Pillow does, and why.
var unlikePillow = map[string]string{
	"pillow_bmpsuite/b_badrle.bmp": "a run reaches outside of the picture, and the rest is guesswork",
}

// What both decode, both decode alike: the mean difference is at most 2 of 255, colours weighed by alpha.
func TestHostileFilesLikePillow(t *testing.T) {
	root := filepath.Join(sharedData(t), "nasty")
	f, err := os.Open("testdata/hostile.bin")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zlib.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	read := func(n int) []byte {
		b := make([]byte, n)
		if _, err := io.ReadFull(z, b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	both := 0
	for {
		var length [2]byte
		if _, err := io.ReadFull(z, length[:]); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := string(read(int(binary.LittleEndian.Uint16(length[:]))))
		w, h := int(binary.LittleEndian.Uint32(read(4))), int(binary.LittleEndian.Uint32(read(4)))
		nx, ny := min(w, 24), min(h, 24)
		want := read(4 * nx * ny)
		b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		m, _, _, err := DecodeStored(t.Context(), b, Limits{})
		if err != nil {
			if !refused[name] {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		both++
		diff := 255.0
		if m.Rect.Dx() == w && m.Rect.Dy() == h {
			sum := 0
			for y := range ny {
				for x := range nx {
					p := m.Pix[m.PixOffset(x*w/nx, y*h/ny):][:4]
					q := want[4*(y*nx+x):][:4]
					for c := range 3 {
						a, b := int(p[c])*int(p[3]), int(q[c])*int(q[3])
						sum += max(a-b, b-a)
					}
					sum += 255 * max(int(p[3])-int(q[3]), int(q[3])-int(p[3]))
				}
			}
			diff = float64(sum) / float64(255*4*nx*ny)
		}
		why, known := unlikePillow[name]
		switch {
		case diff > 2 && !known:
			t.Errorf("%s: %v and not %dx%d, or a mean difference of %.1f", name, m.Rect.Size(), w, h, diff)
		case diff <= 2 && known:
			t.Errorf("%s is said to differ (%s) and does not", name, why)
		}
	}
	if both < 200 {
		t.Errorf("only %d files were compared", both)
	}
}

// Bombs are refused before they cost anything to speak of.
func TestBombsAreRefusedCheaply(t *testing.T) {
	root := filepath.Join(sharedData(t), "nasty")
	server := Limits{MaxWidth: 8192, MaxHeight: 8192}
	for name, limits := range map[string]Limits{
		"crafted/bomb_30000x30000_1bit.png":     {},
		"crafted/bomb_12000x8000_rgb8_96MP.png": server,
		"crafted/gif_65535x65535.gif":           {},
		"crafted/lie_60000x60000_shortdata.png": {},
		"pillow_misc/decompression_bomb.gif":    {},
		"sharp/giant-image.jpg":                 {},
	} {
		b := readFile(t, filepath.Join(root, filepath.FromSlash(name)))
		best := time.Hour // of a few: the machine may be busy
		var n int64
		var err error
		for range 5 {
			start := time.Now()
			n = allocated(func() { _, _, err = Decode(t.Context(), bytes.Clone(b), limits) })
			best = min(best, time.Since(start))
		}
		if err == nil || n > 50<<20 || best > 50*time.Millisecond {
			t.Errorf("%s: %v after %v and %d bytes", name, err, best, n)
		}
	}
}
