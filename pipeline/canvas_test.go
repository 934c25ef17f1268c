package pipeline

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"testing"

	"cutout/codec"
	"cutout/compositing"
)

// disc is an orange disc on grey, which every network finds, with its centre at cx, cy.
func disc(w, h, cx, cy, radius int) []byte { return asPNG(discImage(w, h, cx, cy, radius)) }

func discImage(w, h, cx, cy, radius int) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			c := color.NRGBA{R: 190, G: 195, B: 200, A: 255}
			if dx, dy := x-cx, y-cy; dx*dx+dy*dy < radius*radius {
				c = color.NRGBA{R: 230, G: 110, B: 20, A: 255}
			}
			img.SetNRGBA(x, y, c)
		}
	}
	return img
}

func asPNG(m image.Image) []byte {
	var buf bytes.Buffer
	if err := png.Encode(&buf, m); err != nil {
		panic(err) // of a picture made right here
	}
	return buf.Bytes()
}

func runDisc(t *testing.T, data []byte, o Options) (*Result, image.Image) {
	t.Helper()
	o.Quality = Fast
	res, err := testPipeline(t).Run(context.Background(), data, o)
	if err != nil {
		t.Fatal(err)
	}
	if res.Model != "u2netp" {
		t.Errorf("model %q", res.Model)
	}
	if res.Format != codec.PNG {
		return res, nil
	}
	m := decodePNG(t, res.Data)
	if m.Bounds() != (image.Rectangle{Max: res.Canvas}) {
		t.Errorf("the picture has %v, the result says %v", m.Bounds(), res.Canvas)
	}
	return res, m
}

// seen is the box of what has at least half alpha, or in a grey picture half the white.
func seen(m image.Image) image.Rectangle {
	if g, ok := m.(*image.Gray); ok {
		mask := *g
		mask.Pix = bytes.Clone(g.Pix)
		compositing.ClearFaint(&mask, 128)
		return compositing.Bounds(&mask)
	}
	return compositing.BoundsOver(m.(*image.NRGBA), 128)
}

func near(got, want image.Rectangle, by int) bool {
	for _, d := range []int{
		got.Min.X - want.Min.X, got.Min.Y - want.Min.Y, got.Max.X - want.Max.X, got.Max.Y - want.Max.Y,
	} {
		if d < -by || d > by {
			return false
		}
	}
	return true
}

func px(v float64) Length      { return Length{Value: v} }
func percent(v float64) Length { return Length{Value: v / 100, Relative: true} }

func TestCropAndPlacement(t *testing.T) {
	t.Parallel()
	data := disc(300, 200, 100, 90, 40)
	plain, m := runDisc(t, data, Options{})
	box := plain.Objects[0].Box
	whole := image.Rect(
		int(box.X*300+.5), int(box.Y*200+.5), int((box.X+box.W)*300+.5), int((box.Y+box.H)*200+.5))
	if s := seen(m); !near(s, image.Rect(60, 50, 140, 130), 3) || plain.Canvas != image.Pt(300, 200) || plain.Full != plain.Canvas {
		t.Fatalf("without options: %v on %v", s, plain.Canvas)
	}
	bw, bh := float64(whole.Dx()), float64(whole.Dy())
	for name, tc := range map[string]struct {
		options Options
		canvas  image.Point
		subject image.Rectangle
	}{
		"crop": {Options{Crop: &Crop{}}, whole.Size(), image.Rect(0, 0, whole.Dx(), whole.Dy())},
		"crop with a margin in pixels": {
			Options{Crop: &Crop{px(1), px(20), px(30), px(400)}}, whole.Size().Add(image.Pt(420, 31)),
			image.Rect(400, 1, 400+whole.Dx(), 1+whole.Dy()),
		},
		"crop with a relative margin": {
			Options{Crop: &Crop{percent(50), percent(25), percent(50), percent(25)}},
			whole.Size().Add(image.Pt(2*int(bw/4+.5), 2*int(bh/2+.5))),
			image.Rect(int(bw/4+.5), int(bh/2+.5), int(bw/4+.5)+whole.Dx(), int(bh/2+.5)+whole.Dy()),
		},
		"centred":      {Options{Placement: &Placement{X: .5, Y: .5}}, image.Pt(300, 200), whole.Sub(whole.Min).Add(image.Pt((300-whole.Dx()+1)/2, (200-whole.Dy()+1)/2))},
		"bottom right": {Options{Placement: &Placement{X: 1, Y: 1}}, image.Pt(300, 200), whole.Add(image.Pt(300, 200).Sub(whole.Max))},
		"top left":     {Options{Placement: &Placement{}}, image.Pt(300, 200), whole.Sub(whole.Min)},
		"filling the height": {
			Options{Placement: &Placement{Scale: 1, X: .5, Y: .5}}, image.Pt(300, 200),
			image.Rect(150-int(100*bw/bh), 0, 150+int(100*bw/bh), 200),
		},
		"half the height, staying": {
			Options{Placement: &Placement{Scale: .5, Stay: true}}, image.Pt(300, 200),
			image.Rect(100-int(50*bw/bh), 40, 100+int(50*bw/bh), 140),
		},
		"tenth of a crop": {
			Options{Crop: &Crop{}, Placement: &Placement{Scale: .1, X: 1, Y: 0}}, whole.Size(),
			image.Rect(whole.Dx()-int(bw/10+.5), 0, whole.Dx(), int(bh/10+.5)),
		},
	} {
		for _, output := range []Output{Cutout, Mask} {
			tc.options.Output = output
			res, m := runDisc(t, data, tc.options)
			if res.Canvas != tc.canvas {
				t.Errorf("%s, %s: canvas %v, want %v", name, output, res.Canvas, tc.canvas)
			}
			if s := seen(m); !near(s, tc.subject, 4) {
				t.Errorf("%s, %s: subject at %v, want %v", name, output, s, tc.subject)
			}
			if got := res.Objects[0].Box; got != box || res.Width != 300 || res.Height != 200 {
				t.Errorf("%s, %s: box %v of %dx%d, want that of the input", name, output, got, res.Width, res.Height)
			}
			if _, grey := m.(*image.Gray); grey != (output == Mask) {
				t.Errorf("%s, %s: is a %T", name, output, m)
			}
		}
	}
}

func TestRegion(t *testing.T) {
	t.Parallel()
	// Two discs: the larger one is the subject unless the region leaves it out.
	img := discImage(300, 200, 80, 100, 50)
	for y := range 200 {
		for x := range 300 {
			if dx, dy := x-240, y-100; dx*dx+dy*dy < 900 {
				img.SetNRGBA(x, y, color.NRGBA{R: 20, G: 60, B: 200, A: 255})
			}
		}
	}
	data := asPNG(img)
	for name, region := range map[string]Region{
		"in pixels":   {px(180), px(40), px(300), px(160)},
		"in percents": {percent(60), percent(20), percent(100), percent(80)},
	} {
		res, m := runDisc(t, data, Options{Region: &region})
		if s := seen(m); !near(s, image.Rect(210, 70, 270, 130), 4) {
			t.Errorf("%s: subject at %v", name, s)
		}
		if res.Canvas != image.Pt(300, 200) || res.Width != 300 || res.Height != 200 {
			t.Errorf("%s: %v of %dx%d", name, res.Canvas, res.Width, res.Height)
		}
		if c := m.(*image.NRGBA).NRGBAAt(240, 100); c.R != 20 || c.G != 60 || c.B != 200 || c.A < 250 {
			t.Errorf("%s: %v in the middle of the subject", name, c)
		}
		if b := res.Objects[0].Box; !near(image.Rect(int(b.X*300), int(b.Y*200), int((b.X+b.W)*300), int((b.Y+b.H)*200)), image.Rect(210, 70, 270, 130), 6) {
			t.Errorf("%s: box %v", name, b)
		}
	}
	for name, tc := range map[string]struct {
		region Region
		empty  bool
	}{
		"outside":     {Region{px(0), px(0), px(301), px(200)}, false},
		"negative":    {Region{px(-1), px(0), px(10), px(10)}, false},
		"empty":       {Region{px(10), px(10), px(10), px(20)}, true},
		"turned":      {Region{px(20), px(0), px(10), px(10)}, true},
		"all of it":   {Region{percent(100), percent(0), percent(100), percent(100)}, true},
		"beyond 100%": {Region{percent(0), percent(0), percent(100), percent(101)}, false},
		"far away":    {Region{px(0), px(0), px(1e300), px(1)}, false},
	} {
		_, err := testPipeline(t).Run(context.Background(), data, Options{Region: &tc.region})
		var bad *RegionError
		if !errors.As(err, &bad) || bad.Empty != tc.empty {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMaxPixels(t *testing.T) {
	t.Parallel()
	data := disc(300, 200, 150, 100, 60)
	for most, want := range map[int64]image.Point{
		60000: {300, 200}, 59999: {299, 199}, 15000: {150, 100}, 600: {30, 20}, 1: {1, 1},
	} {
		for _, output := range []Output{Cutout, Mask} {
			res, m := runDisc(t, data, Options{Output: output, MaxPixels: most})
			if res.Canvas != want || res.Full != image.Pt(300, 200) {
				t.Errorf("%s of %d: %v of %v, want %v", output, most, res.Canvas, res.Full, want)
			}
			if most == 600 && !near(seen(m), image.Rect(9, 4, 21, 16), 1) {
				t.Errorf("%s of %d: subject at %v", output, most, seen(m))
			}
		}
	}
	res, _ := runDisc(t, disc(300, 2, 150, 1, 60), Options{MaxPixels: 30})
	if res.Canvas.X*res.Canvas.Y > 30 {
		t.Errorf("a strip has %v", res.Canvas)
	}
}

func TestFormats(t *testing.T) {
	t.Parallel()
	data := disc(120, 100, 60, 50, 30)
	blue := &Background{Color: color.NRGBA{B: 255, A: 255}}
	for name, tc := range map[string]struct {
		options Options
		want    codec.Format
	}{
		"auto, transparent": {Options{Format: Auto}, codec.PNG},
		"auto, opaque":      {Options{Format: Auto, Background: blue}, codec.JPEG},
		"auto, half opaque": {Options{Format: Auto, Background: &Background{Color: color.NRGBA{B: 255, A: 128}}}, codec.PNG},
		"auto, mask":        {Options{Format: Auto, Output: Mask}, codec.PNG},
		"jpeg":              {Options{Format: codec.JPEG}, codec.JPEG},
		"webp":              {Options{Format: codec.WebP}, codec.WebP},
		"zip":               {Options{Format: ZIP}, ZIP},
		"zip of a mask":     {Options{Format: ZIP, Output: Mask}, ZIP},
	} {
		res, _ := runDisc(t, data, tc.options)
		if res.Format != tc.want {
			t.Errorf("%s: %s, want %s", name, res.Format, tc.want)
			continue
		}
		if tc.want == ZIP {
			checkZIP(t, res.Data, image.Pt(120, 100))
			continue
		}
		if sniffed, _ := codec.Sniff(res.Data); sniffed != tc.want {
			t.Errorf("%s: the bytes are %s", name, sniffed)
		}
	}
	small, _ := runDisc(t, data, Options{Format: codec.JPEG, JPEG: 1})
	large, _ := runDisc(t, data, Options{Format: codec.JPEG, JPEG: 100})
	if len(small.Data) >= len(large.Data) {
		t.Errorf("quality 1 takes %d bytes, 100 takes %d", len(small.Data), len(large.Data))
	}
}

// checkZIP reads an archive as the hosted service's clients do.
func checkZIP(t *testing.T, data []byte, size image.Point) {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	open := func(name string, decode func(io.Reader) (image.Image, error)) image.Image {
		f, err := archive.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		m, err := decode(f)
		if err != nil {
			t.Fatal(err)
		}
		if m.Bounds().Max != size {
			t.Errorf("%s has %v, want %v", name, m.Bounds(), size)
		}
		return m
	}
	alpha, ok := open("alpha.png", png.Decode).(*image.Gray)
	if !ok {
		t.Fatal("alpha.png is not 8-bit grey")
	}
	if alpha.GrayAt(60, 50).Y < 250 || alpha.GrayAt(2, 2).Y != 0 {
		t.Errorf("alpha %d inside, %d outside", alpha.GrayAt(60, 50).Y, alpha.GrayAt(2, 2).Y)
	}
	colours := open("color.jpg", jpeg.Decode)
	for _, p := range []image.Point{{60, 50}, {33, 50}, {60, 77}} { // inside, and beside the subject's edge
		r, g, b, _ := colours.At(p.X, p.Y).RGBA()
		if r>>8 < 200 || g>>8 < 80 || g>>8 > 140 || b>>8 > 60 {
			t.Errorf("colour at %v: %d %d %d", p, r>>8, g>>8, b>>8)
		}
	}
}

func TestCleanAndBinary(t *testing.T) {
	t.Parallel()
	data := read(t, "photos/astronaut.png")
	soft, hard := 0, 0
	for _, o := range []Options{{Output: Mask}, {Output: Mask, Clean: true}, {Output: Mask, Binary: true}} {
		_, m := runDisc(t, data, o)
		for _, v := range m.(*image.Gray).Pix {
			if v != 0 && v != 255 {
				if o.Clean || o.Binary {
					hard++
				} else {
					soft++
				}
			}
		}
	}
	if soft == 0 || hard != 0 {
		t.Errorf("%d soft values before, %d after", soft, hard)
	}
}

func TestShadowsOnACanvas(t *testing.T) {
	t.Parallel()
	shadow := compositing.DefaultShadow()
	data := disc(300, 200, 150, 80, 40)
	plain, _ := runDisc(t, data, Options{Crop: &Crop{}})
	cropped, m := runDisc(t, data, Options{Crop: &Crop{}, Shadow: &shadow})
	if cropped.Canvas.X <= plain.Canvas.X || cropped.Canvas.Y < plain.Canvas.Y {
		t.Errorf("with a shadow the crop has %v, without %v", cropped.Canvas, plain.Canvas)
	}
	dark := 0
	for i := 0; i < len(m.(*image.NRGBA).Pix); i += 4 {
		if p := m.(*image.NRGBA).Pix[i:]; p[3] > 8 && p[0] < 30 {
			dark++
		}
	}
	if dark < 100 {
		t.Errorf("%d dark pixels", dark)
	}
	_, placed := runDisc(t, data, Options{Placement: &Placement{Scale: .5, X: .5, Y: .5}, Shadow: &shadow})
	// The shadow lies below the subject where that stands now.
	if a := placed.(*image.NRGBA).NRGBAAt(150, 152).A; a < 30 {
		t.Errorf("alpha %d below the subject", a)
	}
}
