package codec

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"image"
	"io"
	"math"
	"os"
	"testing"

	"pgregory.net/rapid"
)

// formula gives the same bytes as source in testdata/make_resample.py.
func formula(w, h, channels int) []byte {
	out := make([]byte, w*h*channels)
	state := uint32(12345 + w*1000 + h)
	for i := range out {
		state = state*1664525 + 1013904223
		v := byte(state >> 24)
		if i/channels%3 == 0 {
			if v > 127 {
				v = 255
			} else {
				v = 0
			}
		}
		out[i] = v
	}
	return out
}

func rgbToNRGBA(pix []byte, w, h int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		copy(m.Pix[4*i:], pix[3*i:3*i+3])
		m.Pix[4*i+3] = byte(i) // alpha must not matter
	}
	return m
}

func TestResampleEqualsPillow(t *testing.T) {
	f, err := os.Open("testdata/resample.bin")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zlib.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	records := 0
	for ; ; records++ {
		var head [6]uint32
		if err := binary.Read(z, binary.LittleEndian, &head); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		channels, flt := int(head[0]), int(head[1])
		sw, sh, w, h := int(head[2]), int(head[3]), int(head[4]), int(head[5])
		size := w * h * channels
		if channels == 0 {
			size = 4 * w * h
		}
		want := make([]byte, size)
		if _, err := io.ReadFull(z, want); err != nil {
			t.Fatal(err)
		}
		name := func() any { return []int{channels, flt, sw, sh, w, h} }
		switch channels {
		case 3:
			got := [...]func(*image.NRGBA, int, int) *image.NRGBA{Lanczos, Bilinear}[flt](rgbToNRGBA(formula(sw, sh, 3), sw, sh), w, h)
			if !bytes.Equal(got.Pix, rgbOpaque(want)) {
				t.Errorf("RGB %v differs", name())
			}
		case 1:
			src := &image.Gray{Pix: formula(sw, sh, 1), Stride: sw, Rect: image.Rect(0, 0, sw, sh)}
			got := [...]func(*image.Gray, int, int) *image.Gray{LanczosGray, BilinearGray}[flt](src, w, h)
			if !bytes.Equal(got.Pix, want) {
				t.Errorf("grey %v differs", name())
			}
		case 0:
			src := make([]float32, sw*sh)
			for i, v := range formula(sw, sh, 1) {
				src[i] = float32(v)/64 - 1
			}
			got := [...]func([]float32, int, int, int, int) []float32{LanczosFloat, BilinearFloat}[flt](src, sw, sh, w, h)
			for i, v := range got {
				// One unit in the last place: the sine of the C library and of Go round differently at times.
				x := math.Float32frombits(binary.LittleEndian.Uint32(want[4*i:]))
				if math.Abs(float64(v-x)) > 3e-7 {
					t.Fatalf("float %v differs at %d: %g, want %g", name(), i, v, x)
				}
			}
		}
	}
	if records != 102 {
		t.Errorf("%d records, want 102", records)
	}
}

func rgbOpaque(pix []byte) []byte {
	var out []byte
	for i := 0; i+3 <= len(pix); i += 3 {
		out = append(out, pix[i], pix[i+1], pix[i+2], 255)
	}
	return out
}

// A flat picture stays flat whatever the sizes, a grey one stays grey, and strides and cropped pictures are respected.
func TestResampleProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		side := rapid.IntRange(1, 60)
		sw, sh, w, h := side.Draw(t, "sw"), side.Draw(t, "sh"), side.Draw(t, "w"), side.Draw(t, "h")
		v := rapid.Byte().Draw(t, "v")
		flat := image.NewGray(image.Rect(0, 0, sw, sh))
		for i := range flat.Pix {
			flat.Pix[i] = v
		}
		for _, p := range LanczosGray(flat, w, h).Pix {
			if p != v {
				t.Fatalf("flat %d became %d", v, p)
			}
		}
		pad := rapid.IntRange(0, 9).Draw(t, "pad")
		pix := rapid.SliceOfN(rapid.Byte(), sw*sh, sw*sh).Draw(t, "pix")
		gray := &image.Gray{Pix: make([]byte, (sw+pad)*sh), Stride: sw + pad, Rect: image.Rect(0, 0, sw, sh)}
		rgb := &image.NRGBA{Pix: make([]byte, (4*sw+pad)*sh), Stride: 4*sw + pad, Rect: image.Rect(0, 0, sw, sh)}
		for i, p := range pix {
			gray.Pix[i/sw*gray.Stride+i%sw] = p
			copy(rgb.Pix[i/sw*rgb.Stride+4*(i%sw):], []byte{p, p, p})
		}
		before := bytes.Clone(gray.Pix)
		a, b := LanczosGray(gray, w, h), Lanczos(rgb, w, h)
		for i, p := range a.Pix {
			if b.Pix[4*i] != p || b.Pix[4*i+1] != p || b.Pix[4*i+2] != p || b.Pix[4*i+3] != 255 {
				t.Fatalf("grey %d became %v in RGB", p, b.Pix[4*i:4*i+4])
			}
		}
		clear(a.Pix)
		if !bytes.Equal(gray.Pix, before) {
			t.Fatal("the source was changed or shared")
		}
	})
}

// The assembly gives what the plain way gives, whatever the sizes, and stays inside of the picture.
func TestResampleNativeEqualsPlain(t *testing.T) {
	if !hasNative {
		t.Skip("this machine, or this build, has no assembly to compare")
	}
	rapid.Check(t, func(t *rapid.T) {
		side := rapid.IntRange(1, 150)
		w, h, n := side.Draw(t, "w"), side.Draw(t, "h"), side.Draw(t, "n")
		flt := rapid.SampledFrom([]filter{lanczos3, triangle}).Draw(t, "filter")
		channels := rapid.SampledFrom([]int{1, 4}).Draw(t, "channels")
		src := plane{formula(w, h, channels), w * channels, w, h, channels}
		if rapid.Bool().Draw(t, "extreme") {
			for i, v := range src.pix {
				src.pix[i] = v >> 7 * 255
			}
		}
		compare := func(name string, a, b plane) {
			for i, v := range a.pix {
				if channels == 1 || i%4 != 3 {
					if b.pix[i] != v {
						t.Fatalf("%s: byte %d is %d, want %d", name, i, b.pix[i], v)
					}
				}
			}
		}
		compare("across", resampleAcross(src, newWeights(w, n, flt), false), resampleAcross(src, newWeights(w, n, flt), true))
		compare("down", resampleDown(src, newWeights(h, n, flt), false), resampleDown(src, newWeights(h, n, flt), true))
	})
}

func BenchmarkLanczos(b *testing.B) {
	src := noise(1380, 1380, 1)
	b.Run("1380to320", func(b *testing.B) {
		for b.Loop() {
			Lanczos(src, 320, 320)
		}
	})
	large := image.NewNRGBA(image.Rect(0, 0, 4000, 4000))
	b.Run("4000to320", func(b *testing.B) {
		for b.Loop() {
			Lanczos(large, 320, 320)
		}
	})
	mask := image.NewGray(image.Rect(0, 0, 320, 320))
	copy(mask.Pix, formula(320, 320, 1))
	b.Run("mask320to1380", func(b *testing.B) {
		for b.Loop() {
			LanczosGray(mask, 1380, 1380)
		}
	})
	b.Run("mask320to4000", func(b *testing.B) {
		for b.Loop() {
			LanczosGray(mask, 4000, 4000)
		}
	})
}
