package codec

import (
	"bytes"
	"encoding/binary"
	"image/png"
	"os"
	"testing"
)

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestProfilesAreConvertedLikeLittleCMS(t *testing.T) {
	for _, c := range []struct {
		name string
		most int // levels; Little CMS works with 16-bit tables and rounds its way
		mean float64
	}{
		{"p3.png", 1, 0.1}, {"adobe.png", 2, 0.1}, {"table.jpg", 1, 0.1},
	} {
		b := readFile(t, "testdata/"+c.name)
		got, info, err := Decode(t.Context(), b, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if !info.HasProfile {
			t.Errorf("%s: the profile was not seen", c.name)
		}
		ref := readFile(t, "testdata/"+c.name[:len(c.name)-4]+".srgb.png")
		want, _, err := Decode(t.Context(), ref, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		most, mean := difference(t, got.Pix, want.Pix)
		t.Logf("%s: largest difference %d, mean %.4f", c.name, most, mean)
		if most > c.most || mean > c.mean {
			t.Errorf("%s: largest difference %d, mean %.4f; want at most %d and %.2f", c.name, most, mean, c.most, c.mean)
		}
		if c.name == "p3.png" { // and that it did something
			raw, err := png.Decode(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			m, err := toNRGBA(raw)
			if err != nil {
				t.Fatal(err)
			}
			stored, colours, _, err := DecodeStored(t.Context(), b, Limits{})
			if err != nil || colours == nil || !bytes.Equal(stored.Pix, m.Pix) {
				t.Errorf("DecodeStored changed colours, or says that none need to be (%v)", err)
			}
			if most, _ := difference(t, m.Pix, want.Pix); most < 20 {
				t.Errorf("the reference hardly differs (%d) from the stored colours", most)
			}
		}
	}
}

func difference(t testing.TB, a, b []byte) (most int, mean float64) {
	t.Helper()
	if len(a) != len(b) {
		t.Fatalf("sizes differ: %d and %d bytes", len(a), len(b))
	}
	sum := 0
	for i := range a {
		d := int(a[i]) - int(b[i])
		if d < 0 {
			d = -d
		}
		most, sum = max(most, d), sum+d
	}
	return most, float64(sum) / float64(max(len(a), 1))
}

func TestGammaIsConverted(t *testing.T) {
	ramp := make([]byte, 1+256)
	for i := range 256 {
		ramp[1+i] = byte(i)
	}
	decode := func(chunks ...[]byte) []byte {
		m, _, err := Decode(t.Context(), pngOf(256, 1, 8, 0, bytes.Join(chunks, nil), zlibOf(t, ramp)), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		grey := make([]byte, 256)
		for i := range grey {
			grey[i] = m.Pix[4*i]
			if m.Pix[4*i+1] != grey[i] || m.Pix[4*i+2] != grey[i] {
				t.Fatalf("grey %d became %v", i, m.Pix[4*i:4*i+4])
			}
		}
		return grey
	}
	gamma := func(v uint32) []byte { return pngChunk("gAMA", binary.BigEndian.AppendUint32(nil, v)) }
	for _, c := range []struct {
		exponent uint32
		chunk    []byte
		at, want int // want is computed by hand from the curve of sRGB
	}{
		{100000, nil, 55, 128}, {100000, nil, 128, 188}, {100000, nil, 255, 255}, {100000, nil, 0, 0},
		{55556, nil, 128, 146}, {45455, nil, 100, 100}, {0, nil, 100, 100}, {1, nil, 100, 100},
		{100000, pngChunk("sRGB", []byte{0}), 100, 100}, // the other chunk wins
	} {
		if got := decode(gamma(c.exponent), c.chunk)[c.at]; int(got) != c.want {
			t.Errorf("of gamma %d, with %q: %d became %d, want %d", c.exponent, c.chunk, c.at, got, c.want)
		}
	}
}
