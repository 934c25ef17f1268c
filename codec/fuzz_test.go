package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"path/filepath"
	"testing"
)

// addPictures seeds a fuzz target with the committed pictures.
func addPictures(f *testing.F) {
	files, err := filepath.Glob("testdata/pictures/*")
	if err != nil || len(files) == 0 {
		f.Fatal("no pictures", err)
	}
	for _, name := range files {
		f.Add(readFile(f, name))
	}
	for _, name := range []string{"p3.png", "adobe.png", "table.jpg"} {
		f.Add(readFile(f, "testdata/"+name))
	}
}

func FuzzDecode(f *testing.F) {
	addPictures(f)
	l := Limits{MaxBytes: 1 << 20, MaxPixels: 1 << 18} // small pictures, so that many are tried
	f.Fuzz(func(t *testing.T, b []byte) {
		m, info, err := Decode(t.Context(), b, l)
		if err != nil {
			var limit *LimitError
			if !errors.Is(err, ErrUndecodable) && !errors.As(err, &limit) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if m.Rect.Min.X != 0 || m.Rect.Min.Y != 0 || m.Rect.Dx() != info.Width || m.Rect.Dy() != info.Height ||
			m.Stride != 4*info.Width || len(m.Pix) != m.Stride*info.Height || info.Width*info.Height > 1<<18 {
			t.Fatalf("picture %v stride %d, info %+v", m.Rect, m.Stride, info)
		}
	})
}

func FuzzReadInfo(f *testing.F) {
	addPictures(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := ReadInfo(b)
		if (err == nil) != (i.Width > 0 && i.Height > 0 && i.Orientation >= 1 && i.Orientation <= 8) {
			t.Fatalf("%+v %v", i, err)
		}
		if err != nil && !errors.Is(err, ErrUndecodable) {
			t.Fatalf("untyped error %v", err)
		}
	})
}

func FuzzExif(f *testing.F) {
	f.Add(exifBlock(binary.LittleEndian, 6))
	f.Add(exifBlock(binary.BigEndian, 3))
	f.Add([]byte("Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		if o := exifOrientation(b); o < 1 || o > 8 {
			t.Fatalf("orientation %d", o)
		}
		if !bytes.Equal(b, before) {
			t.Fatal("the input was changed")
		}
	})
}

func FuzzICC(f *testing.F) {
	for _, name := range []string{"p3.png", "adobe.png", "table.jpg"} {
		h, err := readHeader(readFile(f, "testdata/"+name))
		if err != nil {
			f.Fatal(err)
		}
		p := h.profile
		if h.Format == PNG {
			if p, err = inflateProfile(p); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseProfile(b)
		if err != nil {
			return
		}
		for _, c := range p.curves {
			for _, v := range c {
				if !(v >= 0 && v <= 1) {
					t.Fatalf("curve value %v", v)
				}
			}
		}
		newProfileConverter(p).isIdentity() // must not index outside its table
	})
}

// FuzzPNGRoundTrip holds the encoder against an independent decoder for any size and content.
func FuzzPNGRoundTrip(f *testing.F) {
	f.Add(uint16(3), uint16(5), true, []byte{1, 2, 3, 250, 0})
	f.Add(uint16(700), uint16(500), false, []byte{0, 255})
	f.Fuzz(func(t *testing.T, w, h uint16, gray bool, pattern []byte) {
		if w == 0 || h == 0 || len(pattern) == 0 || int(w)*int(h) > 1<<20 {
			return
		}
		checkPNG(t, patterned(int(w), int(h), gray, pattern), PNGEncoder{})
	})
}

// FuzzDecodeJPEG goes straight to our own decoder, past the net under it: whatever the file, it ends without a panic and with
// the size that was asked for.
func FuzzDecodeJPEG(f *testing.F) {
	files, err := filepath.Glob("testdata/pictures/*.jpg")
	if err != nil || len(files) == 0 {
		f.Fatal("no pictures", err)
	}
	for _, name := range files {
		f.Add(readFile(f, name))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHeader(b)
		if err != nil || h.Format != JPEG || h.width*h.height > 1<<18 || h.checkPlausible(b) != nil {
			return
		}
		m, err := decodeHuffman(t.Context(), b, image.Pt(h.width, h.height), nil)
		if err == nil && m.Bounds() != image.Rect(0, 0, h.width, h.height) {
			t.Fatalf("%v of %dx%d", m.Bounds(), h.width, h.height)
		}
	})
}
