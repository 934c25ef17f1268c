package codec

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestDecodeEqualsPillow(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/pictures/*")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, ref := range files {
		name, ok := strings.CutSuffix(ref, ".png")
		if _, err := os.Stat(name); !ok || err != nil {
			continue
		}
		seen++
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			b := readFile(t, name)
			info, err := ReadInfo(b)
			if err != nil {
				t.Fatal(err)
			}
			got, info2, err := Decode(t.Context(), b, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if info != info2 || got.Rect != image.Rect(0, 0, info.Width, info.Height) || got.Stride != 4*info.Width {
				t.Errorf("ReadInfo %+v, Decode %+v, picture %v stride %d", info, info2, got.Rect, got.Stride)
			}
			if ext := strings.TrimPrefix(filepath.Ext(name), "."); ext != strings.Replace(string(info.Format), "jpeg", "jpg", 1) {
				t.Errorf("format %q", info.Format)
			}
			if has := strings.Contains(name, "alpha") || strings.Contains(name, "trns") || strings.Contains(name, "transparent") ||
				strings.Contains(name, "rgba") || strings.Contains(name, "deflate"); has && !info.HasAlpha {
				t.Error("HasAlpha is false")
			}
			if info.Animated != (strings.Contains(name, "animated") || strings.Contains(name, "first_frame")) {
				t.Errorf("Animated is %v", info.Animated)
			}
			want, err := png.Decode(bytes.NewReader(readFile(t, ref)))
			if err != nil {
				t.Fatal(err)
			}
			w, err := toNRGBA(want)
			if err != nil {
				t.Fatal(err)
			}
			// Lossless formats and WebP are exact. Of JPEG the inverse cosine transforms round their own way, and
			// colour conversion can make three levels of one.
			most, mean := difference(t, got.Pix, w.Pix)
			if info.Format != JPEG && most != 0 || most > 3 || mean > 0.1 {
				t.Errorf("largest difference %d, mean %.4f", most, mean)
			}
		})
	}
	if seen < 35 {
		t.Errorf("%d pictures, want 35 or more", seen)
	}
}

// corners is a picture whose four corners tell its orientation.
func corners(w, h int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			c := color.NRGBA{220, 30, 30, 255} // top left
			switch {
			case x >= w/2 && y < h/2:
				c = color.NRGBA{30, 200, 30, 255}
			case x < w/2 && y >= h/2:
				c = color.NRGBA{30, 30, 220, 255}
			case y >= h/2:
				c = color.NRGBA{240, 240, 240, 255}
			}
			m.SetNRGBA(x, y, c)
		}
	}
	return m
}

// store gives m as a camera held the other way stores it: applying orientation to the result gives m again.
// The eight cases are written out from the table in Exif 2.32: which visual side row 0 and column 0 are.
func store(m *image.NRGBA, orientation int) *image.NRGBA {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	sw, sh := w, h
	if orientation >= 5 {
		sw, sh = h, w
	}
	s := image.NewNRGBA(image.Rect(0, 0, sw, sh))
	for row := range sh {
		for col := range sw {
			var x, y int
			switch orientation {
			case 1: // row 0 top, column 0 left
				x, y = col, row
			case 2: // top, right
				x, y = w-1-col, row
			case 3: // bottom, right
				x, y = w-1-col, h-1-row
			case 4: // bottom, left
				x, y = col, h-1-row
			case 5: // left, top
				x, y = row, col
			case 6: // right, top
				x, y = w-1-row, col
			case 7: // right, bottom
				x, y = w-1-row, h-1-col
			case 8: // left, bottom
				x, y = row, h-1-col
			}
			s.SetNRGBA(col, row, m.NRGBAAt(x, y))
		}
	}
	return s
}

// exifBlock is a TIFF header with one directory holding the orientation.
func exifBlock(order binary.AppendByteOrder, orientation int) []byte {
	b := []byte("II*\x00")
	if order == binary.AppendByteOrder(binary.BigEndian) {
		b = []byte("MM\x00*")
	}
	b = order.AppendUint32(b, 8)
	b = order.AppendUint16(b, 1)
	b = order.AppendUint16(b, tiffOrientation)
	b = order.AppendUint16(b, 3)
	b = order.AppendUint32(b, 1)
	b = order.AppendUint16(b, uint16(orientation))
	return append(b, 0, 0, 0, 0, 0, 0)
}

func pngChunk(kind string, data []byte) []byte { return appendChunk(nil, kind, data) }

func TestOrientation(t *testing.T) {
	for _, size := range []image.Point{{64, 48}, {33, 70}, {1, 5}} {
		upright := corners(size.X, size.Y)
		for o := 0; o <= 9; o++ {
			valid := max(o, 1)
			if o == 9 {
				valid = 1
			}
			stored := store(upright, valid)
			var jpg, lossless bytes.Buffer
			if err := jpeg.Encode(&jpg, stored, &jpeg.Options{Quality: 95}); err != nil {
				t.Fatal(err)
			}
			if err := png.Encode(&lossless, stored); err != nil {
				t.Fatal(err)
			}
			little, big := exifBlock(binary.LittleEndian, o), exifBlock(binary.BigEndian, o)
			app1 := append([]byte{0xff, 0xe1, 0, byte(8 + len(big))}, append([]byte("Exif\x00\x00"), big...)...)
			jpgFile := append([]byte{0xff, 0xd8}, append(app1, jpg.Bytes()[2:]...)...)
			p := lossless.Bytes()
			pngFile := append(append(bytes.Clone(p[:33]), pngChunk("eXIf", little)...), p[33:]...)
			for name, b := range map[string][]byte{"jpeg": jpgFile, "png": pngFile} {
				got, info, err := Decode(t.Context(), b, Limits{MaxWidth: size.X, MaxHeight: size.Y})
				if err != nil {
					t.Fatalf("%s %v orientation %d: %v", name, size, o, err)
				}
				if info.Orientation != valid || got.Rect != upright.Rect {
					t.Fatalf("%s %v orientation %d: read as %d, size %v", name, size, o, info.Orientation, got.Rect)
				}
				most, mean := difference(t, got.Pix, upright.Pix)
				if name == "png" && most != 0 || name == "jpeg" && size.X > 8 && mean > 6 {
					t.Errorf("%s %v orientation %d: largest difference %d, mean %.2f", name, size, o, most, mean)
				}
			}
		}
	}
}

func TestLimits(t *testing.T) {
	var buf bytes.Buffer
	if err := png.Encode(&buf, corners(40, 30)); err != nil {
		t.Fatal(err)
	}
	b := buf.Bytes()
	turned := append(append(bytes.Clone(b[:33]), pngChunk("eXIf", exifBlock(binary.BigEndian, 6))...), b[33:]...)
	for _, c := range []struct {
		name string
		file []byte
		l    Limits
		what string // of the LimitError, "" where it decodes, "format" for ErrUndecodable
	}{
		{"none", b, Limits{}, ""},
		{"just", b, Limits{MaxBytes: int64(len(b)), MaxWidth: 40, MaxHeight: 30, MaxPixels: 1200, Formats: []Format{JPEG, PNG}}, ""},
		{"bytes", b, Limits{MaxBytes: int64(len(b)) - 1}, "bytes"},
		{"width", b, Limits{MaxWidth: 39}, "resolution"},
		{"height", b, Limits{MaxHeight: 29}, "resolution"},
		{"pixels", b, Limits{MaxPixels: 1199}, "pixels"},
		{"turned fits", turned, Limits{MaxWidth: 30, MaxHeight: 40}, ""},
		{"turned does not", turned, Limits{MaxWidth: 40, MaxHeight: 30}, "resolution"},
		{"format", b, Limits{Formats: []Format{JPEG, WebP}}, "format"},
	} {
		_, info, err := Decode(t.Context(), c.file, c.l)
		var limit *LimitError
		switch {
		case c.what == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.what == "format" && !errors.Is(err, ErrUndecodable):
			t.Errorf("%s: %v", c.name, err)
		case c.what != "" && c.what != "format" && (!errors.As(err, &limit) || limit.What != c.what || limit.Error() == ""):
			t.Errorf("%s: %v", c.name, err)
		case limit != nil && c.what != "bytes" && (limit.Width != info.Width || limit.Height != info.Height):
			t.Errorf("%s: limit error speaks of %dx%d, the picture is %dx%d", c.name, limit.Width, limit.Height, info.Width, info.Height)
		}
	}
}

func TestDecodeEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, name := range []string{"rgb.png", "baseline_420.jpg", "plain.gif", "lossy.webp", "bits24.bmp", "raw.tiff"} {
		_, _, err := Decode(ctx, readFile(t, "testdata/pictures/"+name), Limits{})
		if !errors.Is(err, context.Canceled) || errors.Is(err, ErrUndecodable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every picture cut off at every point gives an error or a picture, and never a panic.
func TestTruncatedFiles(t *testing.T) {
	for _, name := range []string{"rgba.png", "progressive_420.jpg", "cmyk.jpg", "animated.gif", "lossy_alpha.webp",
		"lossless.webp", "animated.webp", "bits8.bmp", "deflate.tiff"} {
		b := readFile(t, "testdata/pictures/"+name)
		for n := 0; n < len(b); n += 1 + n/40 {
			m, _, err := Decode(t.Context(), b[:n], Limits{})
			if err == nil && m == nil || err != nil && !errors.Is(err, ErrUndecodable) {
				t.Fatalf("%s cut to %d bytes: %v", name, n, err)
			}
			if err == nil && n < len(b)/2 {
				t.Errorf("%s cut to %d of %d bytes decodes", name, n, len(b))
			}
		}
	}
	// A missing end marker alone is forgiven, and so is what follows the end.
	b := readFile(t, "testdata/pictures/baseline_420.jpg")
	for _, b := range [][]byte{b[:len(b)-2], append(bytes.Clone(b), "\xff\xd8\xff garbage"...)} {
		if _, _, err := Decode(t.Context(), b, Limits{}); err != nil {
			t.Error(err)
		}
	}
}

// pngOf builds a PNG with the given header fields and IDAT body.
func pngOf(w, h uint32, depth, colorType byte, extra []byte, idat []byte) []byte {
	ihdr := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, w), h)
	b := append([]byte(pngSignature), pngChunk("IHDR", append(ihdr, depth, colorType, 0, 0, 0))...)
	b = append(b, extra...)
	b = append(b, pngChunk("IDAT", idat)...)
	return append(b, pngChunk("IEND", nil)...)
}

func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// A few bytes that speak of a huge picture must be refused before anything is allocated for it.
func TestForgedHeaders(t *testing.T) {
	short := []byte{0x78, 0x01, 0x63, 0x60, 0, 0}
	le := binary.LittleEndian
	bmp := append([]byte("BM\x00\x00\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00\x28\x00\x00\x00"), le.AppendUint32(le.AppendUint32(nil, 13000), 13000)...)
	bmp = append(bmp, 1, 0, 24, 0)
	bmp = append(bmp, make([]byte, 64)...)
	rle := bytes.Clone(bmp)
	rle[28], rle[30] = 8, 1
	jpg := readFile(t, "testdata/pictures/baseline_420.jpg")
	at := bytes.Index(jpg, []byte{0xff, 0xc0}) + 5
	jpg = bytes.Clone(jpg)
	binary.BigEndian.PutUint16(jpg[at:], 13000)
	binary.BigEndian.PutUint16(jpg[at+2:], 13000)
	gif := []byte("GIF89a\xff\xff\xff\x09\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\xff\xff\xff\x09\x00\x02\x02\x44\x01\x00;")
	tif := bytes.Clone(readFile(t, "testdata/pictures/lzw.tiff"))
	walk := func(tag uint16, v uint16) {
		for i := 8; i+12 < len(tif); i++ {
			if le.Uint16(tif[i:]) == tag && le.Uint32(tif[i+4:]) == 1 && (le.Uint16(tif[i+2:]) == 3 || le.Uint16(tif[i+2:]) == 4) {
				le.PutUint16(tif[i+8:], v)
			}
		}
	}
	walk(0x100, 13000)
	walk(0x101, 13000)
	for name, b := range map[string][]byte{
		"png 60000x60000":  pngOf(60000, 60000, 8, 6, nil, short),
		"png 13000x13000":  pngOf(13000, 13000, 8, 6, nil, short),
		"png 2^31-1":       pngOf(1<<31-1, 1<<31-1, 1, 0, nil, short),
		"png 13000 1-bit":  pngOf(13000, 13000, 1, 3, pngChunk("PLTE", make([]byte, 6)), short),
		"png no data":      pngOf(100, 100, 8, 2, nil, nil),
		"bmp":              bmp,
		"bmp rle":          rle,
		"jpeg 13000x13000": jpg,
		"gif 65535x2559":   gif,
		"tiff 13000x13000": tif,
	} {
		var err error
		n := allocated(func() { _, _, err = Decode(t.Context(), b, Limits{}) })
		var limit *LimitError
		if !errors.Is(err, ErrUndecodable) && !errors.As(err, &limit) {
			t.Errorf("%s: %v", name, err)
		}
		if n > 1<<20 {
			t.Errorf("%s: %d bytes were allocated", name, n)
		}
	}
}

// Text and profile chunks that inflate without end cost nothing: they are not read, or only up to a bound.
func TestInflationBombs(t *testing.T) {
	var z bytes.Buffer
	bomb := zlibOf(t, make([]byte, 24<<20))
	z.WriteString("x\x00\x00")
	z.Write(bomb)
	for _, kind := range []string{"iCCP", "zTXt"} {
		b := pngOf(1, 1, 8, 2, pngChunk(kind, z.Bytes()), zlibOf(t, []byte{0, 9, 8, 7}))
		var m *image.NRGBA
		var err error
		n := allocated(func() { m, _, err = Decode(t.Context(), b, Limits{}) })
		if err != nil || !bytes.Equal(m.Pix, []byte{9, 8, 7, 255}) {
			t.Errorf("%s: %v %v", kind, m, err)
		}
		if n > 8<<20 {
			t.Errorf("%s: %d bytes were allocated", kind, n)
		}
	}
	// More pixels than the header says are not read.
	b := pngOf(1, 1, 8, 2, nil, zlibOf(t, append([]byte{0, 9, 8, 7}, make([]byte, 24<<20)...)))
	var err error
	if n := allocated(func() { _, _, err = Decode(t.Context(), b, Limits{}) }); n > 1<<20 {
		t.Errorf("long IDAT: %d bytes were allocated, %v", n, err)
	}
}

func TestSixteenBitAlphaStaysStraight(t *testing.T) {
	m := image.NewNRGBA64(image.Rect(0, 0, 256, 4))
	for y := range 4 {
		for x := range 256 {
			m.SetNRGBA64(x, y, color.NRGBA64{uint16(x) * 257, 0xabcd, 0x12ff, []uint16{0, 0x0100, 0x7fff, 0xffff}[y]})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	got, _, err := Decode(t.Context(), b.Bytes(), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for y := range 4 {
		for x := range 256 {
			want := color.NRGBA{uint8(x), 0xab, 0x12, []uint8{0, 1, 0x7f, 0xff}[y]}
			if got.NRGBAAt(x, y) != want {
				t.Fatalf("(%d,%d) is %v, want %v", x, y, got.NRGBAAt(x, y), want)
			}
		}
	}
}

// sharedData finds the folder of test pictures beside the repository, which not every checkout has.
func sharedData(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("there is no go.mod above")
		}
		dir = filepath.Dir(dir)
	}
	data := filepath.Join(dir, "..", "shared", "data")
	if _, err := os.Stat(data); err != nil {
		t.Skip("the shared test pictures are not here")
	}
	return data
}

// refused lists the hostile files that must not decode; every other one must.
var refused = map[string]bool{
	"crafted/bomb_30000x30000_1bit.png":      true, // 900 megapixels
	"crafted/gif_65535x65535.gif":            true,
	"crafted/jpeg_trunc_half.jpg":            true,
	"crafted/lie_60000x60000_shortdata.png":  true,
	"crafted/text.txt":                       true,
	"crafted/zero_width.png":                 true,
	"go_image/invalid-crc32.png":             true,
	"go_image/invalid-zlib.png":              true,
	"go_ximage/invalid-palette-ref.tiff":     true,
	"pillow_apng/syntax_num_frames_zero.png": true, // no pixels
	"pillow_bmpsuite/b_badbitcount.bmp":      true,
	"pillow_bmpsuite/q_rgb24png.bmp":         true, // a PNG inside a BMP
	"pillow_misc/broken.png":                 true,
	"pillow_misc/decompression_bomb.gif":     true,
	"pillow_misc/no_palette.gif":             true,
	"pillow_misc/truncated_end_chunk.png":    true,
	"pillow_misc/truncated_image.png":        true,
	"pillow_misc/zero_width.gif":             true,
	"pngsuite/xc9n2c08.png":                  true, // the x files are damaged on purpose
	"pngsuite/xcsn0g01.png":                  true,
	"pngsuite/xd3n2c08.png":                  true,
	"pngsuite/xdtn0g01.png":                  true,
	"pngsuite/xlfn0g04.png":                  true,
	"pngsuite/xs2n0g01.png":                  true,
	"pngsuite/xs7n0g01.png":                  true,
	"sharp/cielab-dagams.tiff":               true, // L*a*b*
	"sharp/fogra-0-100-100-0.tif":            true, // CMYK
	"sharp/giant-image.jpg":                  true, // 280 megapixels
	"sharp/pitm.avif":                        true, // formats not taken
	"sharp/relax.jp2":                        true,
	"sharp/testimgl.jpg":                     true, // lossless JPEG
	"sharp/truncated.png":                    true,
}

func TestHostileFiles(t *testing.T) {
	root := filepath.Join(sharedData(t), "nasty")
	files := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		b := readFile(t, path)
		info, infoErr := ReadInfo(b)
		if name == "crafted/bomb_12000x8000_rgb8_96MP.png" {
			// An honest picture of 96 megapixels; it is held against a server's limit here.
			_, _, err := Decode(t.Context(), b, Limits{MaxWidth: 4096, MaxHeight: 4096})
			var limit *LimitError
			if !errors.As(err, &limit) || limit.Width != 12000 || limit.Height != 8000 {
				t.Errorf("%s: %v", name, err)
			}
			return nil
		}
		var m *image.NRGBA
		var decodeErr error
		n := allocated(func() { m, _, decodeErr = Decode(t.Context(), b, Limits{}) })
		var limit *LimitError
		switch {
		case (decodeErr != nil) != refused[name]:
			t.Errorf("%s: refused is %v: %v", name, decodeErr != nil, decodeErr)
		case decodeErr != nil && !errors.Is(decodeErr, ErrUndecodable) && !errors.As(decodeErr, &limit):
			t.Errorf("%s: untyped error %v", name, decodeErr)
		case decodeErr == nil && (infoErr != nil || m.Rect.Dx() != info.Width || m.Rect.Dy() != info.Height):
			t.Errorf("%s: %v but ReadInfo says %+v %v", name, m.Rect, info, infoErr)
		}
		// Planes, pixels and the turned copy take 16 bytes a pixel at most, progressive JPEG 12 more for coefficients.
		if most := 28*int64(info.Width)*int64(info.Height) + 2*int64(len(b)) + 8<<20; infoErr == nil && decodeErr == nil && n > most {
			t.Errorf("%s: %d bytes allocated for %dx%d", name, n, info.Width, info.Height)
		}
		// A file that ends too soon is found out half way down the picture.
		if decodeErr != nil && n > max(8<<20, 5*min(int64(info.Width)*int64(info.Height), 1<<23)) {
			t.Errorf("%s: %d bytes allocated before it was refused", name, n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 250 {
		t.Errorf("only %d files", files)
	}
}

func BenchmarkDecode(b *testing.B) {
	m := photo(1380, 1380)
	var jpg, lossless bytes.Buffer
	if err := errors.Join(jpeg.Encode(&jpg, m, &jpeg.Options{Quality: 90}), png.Encode(&lossless, m)); err != nil {
		b.Fatal(err)
	}
	for name, f := range map[string][]byte{"jpeg": jpg.Bytes(), "png": lossless.Bytes()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := Decode(b.Context(), f, Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("jpeg/std", func(b *testing.B) {
		for b.Loop() {
			if _, err := jpeg.Decode(bytes.NewReader(jpg.Bytes())); err != nil {
				b.Fatal(err)
			}
		}
	})
}
