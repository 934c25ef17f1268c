package pipeline

import (
	"context"
	"image"
	"image/color"
	"math"
	"testing"

	"cutout/codec"
	"cutout/compositing"
)

func TestPeopleMatchONNXRuntime(t *testing.T) {
	p := testPipeline(t)
	small, _, err := codec.Decode(context.Background(), read(t, "selfie_segmentation/astronaut.input.png"), codec.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.people.score(context.Background(), small, 1)
	if err != nil {
		t.Fatal(err)
	}
	worst := 0.0
	for i, w := range reference(t, "selfie_segmentation/astronaut.scores.npy") {
		worst = max(worst, math.Abs(float64(got.values[i]-w)))
	}
	if !(worst <= 1e-3) {
		t.Errorf("scores differ by up to %.2g", worst)
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	m := image.NewGray(image.Rect(0, 0, 10, 10))
	if area, doubt := judge(m); area != 0 || doubt != 0 {
		t.Errorf("empty: area %g, doubt %g", area, doubt)
	}
	for i := range 30 {
		m.Pix[i] = 255
	}
	if area, doubt := judge(m); math.Abs(area-0.3) > 1e-9 || doubt != 0 {
		t.Errorf("black and white: area %g, doubt %g", area, doubt)
	}
	for i := range m.Pix {
		m.Pix[i] = 51 // a fifth: 4*0.2*0.8/0.2
	}
	if area, doubt := judge(m); math.Abs(area-0.2) > 1e-9 || math.Abs(doubt-3.2) > 1e-9 {
		t.Errorf("fog: area %g, doubt %g", area, doubt)
	}
}

func TestNearer(t *testing.T) {
	t.Parallel()
	mask := image.NewGray(image.Rect(0, 0, 320, 320))
	fill := func(r image.Rectangle, v uint8) {
		for y := r.Min.Y; y < r.Max.Y; y++ {
			for x := r.Min.X; x < r.Max.X; x++ {
				mask.SetGray(x, y, color.Gray{Y: v})
			}
		}
	}
	picture := image.Rect(0, 0, 640, 320)
	if r := nearer(mask, picture); !r.Empty() {
		t.Errorf("nothing: %v", r)
	}
	fill(image.Rect(100, 100, 140, 180), 200)
	fill(image.Rect(10, 10, 14, 14), 255)  // a speck
	fill(image.Rect(200, 0, 320, 320), 60) // fog
	want := image.Rect(180, 80, 300, 200)  // 40x80 and a quarter of it, twice as wide in the picture
	if r := nearer(mask, picture); r != want {
		t.Errorf("got %v, want %v", r, want)
	}
	fill(image.Rect(0, 0, 40, 80), 255)
	want = image.Rect(0, 0, 2*175, 225)
	if r := nearer(mask, picture); r != want {
		t.Errorf("two parts at the border: got %v, want %v", r, want)
	}
	fill(image.Rect(0, 0, 250, 300), 255)
	if r := nearer(mask, picture); !r.Empty() {
		t.Errorf("most of the picture: %v", r)
	}
}

func TestMirrored(t *testing.T) {
	t.Parallel()
	m := discImage(41, 30, 12, 11, 6)
	twice := mirrored(mirrored(view(m, image.Rect(3, 2, 40, 29))))
	for y := range 27 {
		for x := range 37 {
			if twice.NRGBAAt(x, y) != m.NRGBAAt(x+3, y+2) {
				t.Fatalf("pixel %d,%d changed", x, y)
			}
		}
	}
	if once := mirrored(m); once.NRGBAAt(40-12, 11) != m.NRGBAAt(12, 11) || once.NRGBAAt(12, 11) == m.NRGBAAt(12, 11) {
		t.Error("the disc is not on the other side")
	}
	s := &scores{width: 3, height: 2, values: []float32{1, 2, 3, 4, 5, 6}}
	given := s.values
	s.mirror()
	for i, want := range []float32{3, 2, 1, 6, 5, 4} {
		if s.values[i] != want || given[i] != float32(i+1) {
			t.Fatalf("scores %v of %v", s.values, given)
		}
	}
}

// Where two answers contradict each other, the one that is sure of itself wins.
func TestAverage(t *testing.T) {
	t.Parallel()
	answer := func(v ...float32) *scores { return &scores{width: len(v), height: 1, values: v, max: 1} }
	got := average([]*scores{answer(1, 0, 0.4, 0.6), answer(1, 0, 0, 1)}, true)
	if got.Pix[0] != 255 || got.Pix[1] != 0 || got.Pix[2] != 0 || got.Pix[3] != 255 {
		t.Errorf("got %v", got.Pix)
	}
	got = average([]*scores{answer(1, 0, 1, 0), answer(1, 0, 0, 0)}, true)
	if got.Pix[2] != 128 {
		t.Errorf("equally sure: got %v, want one half", got.Pix)
	}
}

// tiny draws an orange disc of 4 % of the side on a lively ground: the network is in doubt about it from afar.
func tiny() *image.NRGBA {
	const side = 900
	m := image.NewNRGBA(image.Rect(0, 0, side, side))
	for y := range side {
		for x := range side {
			v := uint8(120 + 60*math.Sin(float64(x)/40)*math.Cos(float64(y)/55))
			c := color.NRGBA{R: v, G: v + 20, B: v - 10, A: 255}
			if dx, dy := x-620, y-300; dx*dx+dy*dy < 18*18 {
				c = color.NRGBA{R: 240, G: 100, B: 10, A: 255}
			}
			m.SetNRGBA(x, y, c)
		}
	}
	return m
}

// A mask of a part of the photo lands where the part was, at every level.
func TestSightInPlace(t *testing.T) {
	t.Parallel()
	photo := tiny()
	part := image.Rect(560, 240, 680, 360)
	mask := image.NewGray(image.Rect(0, 0, 320, 320))
	for y := range 320 {
		for x := range 320 {
			if dx, dy := float64(x-160)/320*120, float64(y-160)/320*120; dx*dx+dy*dy < 18*18 {
				mask.SetGray(x, y, color.Gray{Y: 255})
			}
		}
	}
	for _, o := range []Options{
		{Quality: Fast}, {Quality: Balanced}, {Quality: Precise},
		{Quality: Precise, Matting: &MattingOptions{ForegroundThreshold: 240, BackgroundThreshold: 10, ErodeSize: 5}},
	} {
		j := &job{o: o, photo: photo, threads: func() int { return 1 }, seen: &sight{mask: mask, part: part}}
		j.result.Width, j.result.Height = 900, 900
		if err := j.matte(context.Background()); err != nil {
			t.Fatal(err)
		}
		if j.mask.Rect != photo.Rect {
			t.Fatalf("%v: the mask is %v", o, j.mask.Rect)
		}
		compositing.Binarise(j.mask, 128)
		if box := compositing.Bounds(j.mask); !near(box, image.Rect(602, 282, 638, 318), 2) {
			t.Errorf("%v: the box is %v", o, box)
		}
	}
}

// A fast answer is that of one look, a precise one never that of fewer looks than a balanced one.
func TestLevelsSeeTheSameDisc(t *testing.T) {
	p := testPipeline(t)
	for _, q := range []Quality{Fast, Balanced, Precise} {
		for _, s := range []Subject{Universal, Human, Product} {
			res, err := p.Run(context.Background(), disc(300, 240, 100, 90, 50), Options{Quality: q, Subject: s})
			if err != nil {
				t.Fatal(err)
			}
			if got := seen(decodePNG(t, res.Data)); !near(got, image.Rect(50, 40, 150, 140), 6) {
				t.Errorf("%s %s: %v", q, s, got)
			}
		}
	}
}

// The default level gives soft edges the subject's colour and keeps that of opaque pixels.
func TestBalancedColours(t *testing.T) {
	p := testPipeline(t)
	res, err := p.Run(context.Background(), disc(300, 240, 100, 90, 50), Options{})
	if err != nil {
		t.Fatal(err)
	}
	out := decodePNG(t, res.Data).(*image.NRGBA)
	soft := 0
	for y := range 240 {
		for x := range 300 {
			c := out.NRGBAAt(x, y)
			if c.A > 0 && c.A < faintAlpha || c.A >= fullAlpha && c.A < 255 {
				t.Fatalf("pixel %d,%d has alpha %d", x, y, c.A)
			}
			if c.A < 128 {
				continue
			}
			if c.A < 255 {
				soft++
			}
			if d := int(c.B) - 20; d > 60 { // the ground has 200
				t.Fatalf("pixel %d,%d of alpha %d still has the ground's colour: %v", x, y, c.A, c)
			}
		}
	}
	t.Logf("%d soft pixels", soft)
	if c := out.NRGBAAt(100, 90); c != (color.NRGBA{R: 230, G: 110, B: 20, A: 255}) {
		t.Errorf("the middle is %v", c)
	}
}

// The network sees the file's own colours, the result has those of sRGB.
func TestNetworkSeesStoredColours(t *testing.T) {
	p := testPipeline(t)
	data := read(t, "../codec/testdata/adobe.png")
	stored, colours, _, err := codec.DecodeStored(context.Background(), data, codec.Limits{})
	if err != nil || colours == nil {
		t.Fatalf("the picture has no profile to convert (%v)", err)
	}
	scores, err := p.network.run(context.Background(), stored, 0)
	if err != nil {
		t.Fatal(err)
	}
	res, err := p.Run(context.Background(), data, Options{Quality: Fast})
	if err != nil {
		t.Fatal(err)
	}
	if res.Score != scores.max {
		t.Errorf("score %v, of the stored colours %v", res.Score, scores.max)
	}
	converted, _, err := codec.Decode(context.Background(), data, codec.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	out := decodePNG(t, res.Data).(*image.NRGBA)
	for i := 0; i < len(out.Pix); i += 4 {
		if out.Pix[i+3] > 0 && [3]uint8(out.Pix[i:]) != [3]uint8(converted.Pix[i:]) {
			t.Fatalf("pixel %d is %v, want %v", i/4, out.Pix[i:i+3], converted.Pix[i:i+3])
		}
	}
}
