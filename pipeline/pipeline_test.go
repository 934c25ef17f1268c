package pipeline

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"cutout/codec"
	"cutout/compositing"
	"cutout/inference/npy"
	"cutout/inference/tensor"
)

const testdata = "../testdata"

// shared is one pipeline for all tests: loading compiles the network.
var shared = sync.OnceValues(func() (*Pipeline, error) { return New(context.Background(), Config{}) })

func testPipeline(t *testing.T) *Pipeline {
	t.Helper()
	p, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(testdata, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func photos(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(testdata, "photos", "*.png"))
	if err != nil || len(files) < 8 {
		t.Fatalf("found %d photos, want at least 8 (%v)", len(files), err)
	}
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = filepath.Base(f[:len(f)-len(".png")])
	}
	return names
}

// TestScoresMatchONNXRuntime holds the network's raw output against ONNX Runtime's for every stored photo. The largest
// difference is printed; it is Winograd's rounding, amplified by six up-sampled stages.
func TestScoresMatchONNXRuntime(t *testing.T) {
	p := testPipeline(t)
	worst := 0.0
	for _, name := range photos(t) {
		photo, _, err := codec.Decode(context.Background(), read(t, "photos/"+name+".png"), codec.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.network.run(context.Background(), photo, 0)
		if err != nil {
			t.Fatal(err)
		}
		want := reference(t, "u2netp/"+name+".scores.npy")
		diff := 0.0
		for i, w := range want {
			diff = max(diff, math.Abs(float64(got.values[i]-w)))
		}
		if !(diff <= 1e-3) {
			t.Errorf("%s: scores differ by up to %.2g, at most 1e-3 is allowed", name, diff)
		}
		worst = max(worst, diff)
	}
	t.Logf("largest difference to ONNX Runtime: %.2g", worst)
}

func reference(t *testing.T, name string) []float32 {
	t.Helper()
	ref, err := npy.Read(bytes.NewReader(read(t, name)), 1<<24)
	if err != nil {
		t.Fatal(err)
	}
	return tensor.Values[float32](ref)
}

// TestInputMatchesNumpy holds the prepared input tensor against the one NumPy and Pillow make.
func TestInputMatchesNumpy(t *testing.T) {
	p := testPipeline(t)
	photo, _, err := codec.Decode(context.Background(), read(t, "photos/astronaut.png"), codec.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	in := p.network.entry.Input
	got := tensor.Values[float32](prepare(codec.Lanczos(photo, in.Width, in.Height), in))
	for i, w := range reference(t, "u2netp/astronaut.input.npy") {
		if math.Abs(float64(got[i]-w)) > 1e-5 {
			t.Fatalf("element %d is %g, want %g", i, got[i], w)
		}
	}
}

// TestMaskMatchesRembg holds fast masks against those that rembg's steps make, pixel by pixel.
func TestMaskMatchesRembg(t *testing.T) {
	p := testPipeline(t)
	for _, name := range photos(t) {
		res, err := p.Run(context.Background(), read(t, "photos/"+name+".png"), Options{Output: Mask, Quality: Fast})
		if err != nil {
			t.Fatal(err)
		}
		got, want := decodePNG(t, res.Data), decodePNG(t, read(t, "u2netp/"+name+".mask.png"))
		gray, ok := got.(*image.Gray)
		if !ok || got.Bounds() != want.Bounds() {
			t.Fatalf("%s: mask is %T %v, want 8-bit grey %v", name, got, got.Bounds(), want.Bounds())
		}
		sum := 0
		for i, v := range gray.Pix {
			w := want.(*image.Gray).Pix[i]
			if w < faintAlpha {
				w = 0 // cleared here on purpose
			}
			d := int(v) - int(w)
			if d < 0 {
				d = -d
			}
			if d > 12 {
				t.Fatalf("%s: pixel %d is %d, want %d", name, i, v, w)
			}
			sum += d
		}
		if mean := float64(sum) / float64(len(gray.Pix)); mean > 0.1 {
			t.Errorf("%s: mean difference %.3f of 255", name, mean)
		}
	}
}

func decodePNG(t *testing.T, data []byte) image.Image {
	t.Helper()
	m, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func encodePNG(t *testing.T, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// uniform returns a picture of one colour.
func uniform(w, h int, c color.NRGBA) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := 0; i < len(m.Pix); i += 4 {
		m.Pix[i], m.Pix[i+1], m.Pix[i+2], m.Pix[i+3] = c.R, c.G, c.B, c.A
	}
	return m
}

func TestFlatPicturesAreEmpty(t *testing.T) {
	p := testPipeline(t)
	smooth := image.NewNRGBA(image.Rect(0, 0, 200, 150))
	for y := range 150 {
		for x := range 200 {
			smooth.SetNRGBA(x, y, color.NRGBA{uint8(60 + x/2), uint8(80 + y/2), 120, 255})
		}
	}
	for name, m := range map[string]*image.NRGBA{
		"white": uniform(100, 80, color.NRGBA{255, 255, 255, 255}), "black": uniform(64, 64, color.NRGBA{A: 255}),
		"grey": uniform(300, 200, color.NRGBA{128, 128, 128, 255}), "one pixel": uniform(1, 1, color.NRGBA{200, 10, 10, 255}), "smooth": smooth,
	} {
		res, err := p.Run(context.Background(), encodePNG(t, m), Options{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(res.Objects) != 0 {
			t.Errorf("%s: found %v, score %.3f", name, res.Objects, res.Score)
		}
		out := decodePNG(t, res.Data).(*image.NRGBA)
		for i := 3; i < len(out.Pix); i += 4 {
			if out.Pix[i] != 0 {
				t.Fatalf("%s: pixel %d is not transparent", name, i/4)
			}
		}
	}
}

func TestCutout(t *testing.T) {
	p := testPipeline(t)
	data := read(t, "photos/chelsea.png")
	res, err := p.Run(context.Background(), data, Options{Quality: Fast})
	if err != nil {
		t.Fatal(err)
	}
	src := decodePNG(t, data)
	out, ok := decodePNG(t, res.Data).(*image.NRGBA)
	if !ok || out.Rect != src.Bounds() || res.Width != out.Rect.Dx() || res.Height != out.Rect.Dy() || res.Format != codec.PNG {
		t.Fatalf("result is %T %v, %dx%d, %s", out, out.Rect, res.Width, res.Height, res.Format)
	}
	if len(res.Objects) == 0 || len(res.Stages) != 6 {
		t.Fatalf("objects %v, stages %v", res.Objects, res.Stages)
	}
	// Opaque pixels keep the photo's exact colour; outside of the box everything is transparent.
	box := res.Objects[0].Box
	x0, y0 := int(math.Round(box.X*float64(res.Width))), int(math.Round(box.Y*float64(res.Height)))
	area := image.Rect(x0, y0, x0+int(math.Round(box.W*float64(res.Width))), y0+int(math.Round(box.H*float64(res.Height))))
	opaque := 0
	for y := range res.Height {
		for x := range res.Width {
			c := out.NRGBAAt(x, y)
			if c.A > 0 && !image.Pt(x, y).In(area) {
				t.Fatalf("pixel %d,%d outside of the box %v has alpha %d", x, y, area, c.A)
			}
			if c.A >= 250 { // rembg's masks, cut and not rounded, end at 254 nearly everywhere
				opaque++
				c.A = 255
				want := color.NRGBAModel.Convert(src.At(x, y)).(color.NRGBA)
				if c != want {
					t.Fatalf("pixel %d,%d is %v, the photo has %v", x, y, c, want)
				}
			}
		}
	}
	if share := float64(opaque) / float64(res.Width*res.Height); share < 0.2 || share > 0.9 {
		t.Errorf("%.0f %% of the picture is opaque", share*100)
	}
}

func TestTransparentInputStaysTransparent(t *testing.T) {
	p := testPipeline(t)
	src := decodePNG(t, read(t, "photos/chelsea.png"))
	m := image.NewNRGBA(src.Bounds())
	for y := range m.Rect.Dy() {
		for x := range m.Rect.Dx() {
			c := color.NRGBAModel.Convert(src.At(x, y)).(color.NRGBA)
			if x < m.Rect.Dx()/2 {
				c.A = 0
			}
			m.SetNRGBA(x, y, c)
		}
	}
	res, err := p.Run(context.Background(), encodePNG(t, m), Options{})
	if err != nil {
		t.Fatal(err)
	}
	out := decodePNG(t, res.Data).(*image.NRGBA)
	for y := range m.Rect.Dy() {
		if a := out.NRGBAAt(m.Rect.Dx()/4, y).A; a != 0 {
			t.Fatalf("row %d: alpha %d where the input is transparent", y, a)
		}
	}
}

func TestBackgrounds(t *testing.T) {
	p := testPipeline(t)
	data := read(t, "photos/chelsea.png")
	red := color.NRGBA{255, 0, 0, 255}
	shadow := compositing.DefaultShadow()
	for name, o := range map[string]Options{
		"colour":             {Background: &Background{Color: red}},
		"picture":            {Background: &Background{Image: encodePNG(t, uniform(50, 300, red))}},
		"picture and shadow": {Background: &Background{Image: encodePNG(t, uniform(900, 30, red))}, Shadow: &shadow},
	} {
		res, err := p.Run(context.Background(), data, o)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		m := decodePNG(t, res.Data)
		if m.Bounds() != image.Rect(0, 0, res.Width, res.Height) {
			t.Fatalf("%s: %v for a %dx%d photo", name, m.Bounds(), res.Width, res.Height)
		}
		for y := 0; y < res.Height; y++ {
			for x := 0; x < res.Width; x++ {
				if _, _, _, a := m.At(x, y).RGBA(); a != 0xffff {
					t.Fatalf("%s: pixel %d,%d has alpha %#x", name, x, y, a)
				}
			}
		}
		if c := color.NRGBAModel.Convert(m.At(0, 0)); c != red {
			t.Errorf("%s: corner is %v, want the background", name, c)
		}
	}
	// A transparent background shows through.
	res, err := p.Run(context.Background(), data, Options{Background: &Background{Image: encodePNG(t, uniform(10, 10, color.NRGBA{}))}})
	if err != nil {
		t.Fatal(err)
	}
	if c := decodePNG(t, res.Data).(*image.NRGBA).NRGBAAt(0, 0); c.A != 0 {
		t.Errorf("corner over a transparent background is %v", c)
	}
}

func TestErrors(t *testing.T) {
	p := testPipeline(t)
	good := read(t, "photos/chelsea.png")
	var background *BackgroundError
	_, err := p.Run(context.Background(), []byte("no picture"), Options{})
	if !errors.Is(err, codec.ErrUndecodable) || errors.As(err, &background) {
		t.Errorf("text: %v", err)
	}
	_, err = p.Run(context.Background(), good, Options{Limits: codec.Limits{MaxWidth: 10, MaxHeight: 10}})
	if _, ok := errors.AsType[*codec.LimitError](err); !ok {
		t.Errorf("too large: %v", err)
	}
	_, err = p.Run(context.Background(), good, Options{Background: &Background{Image: []byte("no picture")}})
	if !errors.As(err, &background) || !errors.Is(err, codec.ErrUndecodable) {
		t.Errorf("bad background: %v", err)
	}
	if _, err = p.Run(context.Background(), good, Options{Output: Mask, Background: &Background{Image: []byte("no picture")}}); err != nil {
		t.Errorf("a mask needs no background, but: %v", err)
	}
	for _, o := range []Options{{Output: "hologram"}, {Quality: "best"}, {Subject: "ghost"}, {Format: "xcf"}} {
		if _, err = p.Run(context.Background(), good, o); !errors.Is(err, ErrOption) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err = p.Run(ctx, good, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
	if _, err = New(context.Background(), Config{Model: "nope"}); err == nil {
		t.Error("an unknown network was loaded")
	}
}

// TestConcurrentRuns checks that requests side by side do not see each other's buffers.
func TestConcurrentRuns(t *testing.T) {
	p := testPipeline(t)
	names := photos(t)
	want := make([][]byte, len(names))
	run := func(i int) []byte {
		res, err := p.Run(context.Background(), read(t, "photos/"+names[i]+".png"), Options{Output: Mask})
		if err != nil {
			t.Error(err)
			return nil
		}
		return res.Data
	}
	for i := range names {
		want[i] = run(i)
	}
	var wg sync.WaitGroup
	for i := range names {
		wg.Go(func() {
			if !bytes.Equal(run(i), want[i]) {
				t.Errorf("%s: another mask when run beside others", names[i])
			}
		})
	}
	wg.Wait()
}
