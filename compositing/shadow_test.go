package compositing

import (
	"bytes"
	"errors"
	"flag"
	"image"
	"image/color"
	"image/png"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden pictures; look at them before they are kept")

func fill(m *image.Gray, r image.Rectangle) {
	r = r.Intersect(m.Rect)
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			m.Pix[y*m.Stride+x] = 255
		}
	}
}

// silhouettes are the kinds of subject a shadow has to deal with.
func silhouettes() map[string]*image.Gray {
	draw := func(w, h int, fn func(m *image.Gray)) *image.Gray {
		m := image.NewGray(image.Rect(0, 0, w, h))
		fn(m)
		return m
	}
	return map[string]*image.Gray{
		"ball":   draw(240, 180, func(m *image.Gray) { disc(m, 110, 80, 60, 255) }),
		"bottle": draw(160, 240, func(m *image.Gray) { fill(m, image.Rect(50, 70, 100, 200)); fill(m, image.Rect(65, 20, 85, 70)) }),
		"dog": draw(280, 200, func(m *image.Gray) { // four legs, the far ones higher
			fill(m, image.Rect(50, 50, 200, 110))
			fill(m, image.Rect(185, 30, 230, 75))
			for _, leg := range []image.Rectangle{{Min: image.Pt(55, 110), Max: image.Pt(70, 170)}, {Min: image.Pt(80, 110), Max: image.Pt(93, 160)},
				{Min: image.Pt(160, 110), Max: image.Pt(173, 162)}, {Min: image.Pt(182, 100), Max: image.Pt(197, 175)}} {
				fill(m, leg)
			}
		}),
		"portrait": draw(200, 200, func(m *image.Gray) { disc(m, 100, 70, 40, 255); fill(m, image.Rect(40, 120, 160, 200)) }),
		"pair":     draw(300, 160, func(m *image.Gray) { disc(m, 70, 70, 40, 255); disc(m, 210, 95, 45, 255) }),
		"kite": draw(200, 220, func(m *image.Gray) {
			fill(m, image.Rect(70, 140, 130, 210))
			disc(m, 110, 40, 25, 255)
		}),
	}
}

func alphaAt(m *image.NRGBA, x, y int) int { return int(m.Pix[y*m.Stride+4*x+3]) }

func TestShadowStandsUnderEachFoot(t *testing.T) {
	t.Parallel()
	s := CastShadow(silhouettes()["dog"], DefaultShadow())
	for name, foot := range map[string]image.Point{"near left": {62, 170}, "far left": {86, 160}, "far right": {166, 162}, "near right": {189, 175}} {
		at := alphaAt(s, foot.X, foot.Y+1)
		if at < 60 {
			t.Errorf("the %s foot stands on a shadow of %d only", name, at)
		}
		if below := alphaAt(s, foot.X, min(foot.Y+18, 199)); below > at/2 {
			t.Errorf("%s: the shadow does not hug the foot: %d at it, %d below", name, at, below)
		}
	}
	if belly := alphaAt(s, 125, 118); belly > 25 {
		t.Errorf("a contact shadow of %d hangs under the belly", belly)
	}
}

func TestShadowFallsWhereItIsTold(t *testing.T) {
	t.Parallel()
	m := silhouettes()["ball"]
	sum := func(m *image.NRGBA, r image.Rectangle) (n int) {
		for y := r.Min.Y; y < r.Max.Y; y++ {
			for x := r.Min.X; x < r.Max.X; x++ {
				n += alphaAt(m, x, y)
			}
		}
		return n
	}
	left, right := image.Rect(0, 90, 50, 180), image.Rect(170, 90, 220, 180)
	s := DefaultShadow()
	if l, r := sum(CastShadow(m, s), left), sum(CastShadow(m, s), right); r < 3*l {
		t.Errorf("light from the left: %d on the left, %d on the right", l, r)
	}
	s.Angle = -s.Angle
	if l, r := sum(CastShadow(m, s), left), sum(CastShadow(m, s), right); l < 3*r {
		t.Errorf("light from the right: %d on the left, %d on the right", l, r)
	}
	s.Length = 0
	if n := sum(CastShadow(m, s), image.Rect(190, 0, 240, 180)); n > 0 {
		t.Errorf("a shadow of no length reaches to the right: %d", n)
	}
	front := DefaultShadow()
	front.Angle = 0
	below := image.Rect(60, 150, 160, 180)
	if f, b := sum(CastShadow(m, front), below), sum(CastShadow(m, DefaultShadow()), below); f < 3*b/2 {
		t.Errorf("light from behind: %d in front, %d with light from the front", f, b)
	}
}

func TestShadowOfWhatIsCutOff(t *testing.T) {
	t.Parallel()
	m := silhouettes()["portrait"]
	s := CastShadow(m, DefaultShadow())
	for i := 3; i < len(s.Pix); i += 4 {
		if s.Pix[i] > 90 {
			x, y := i%s.Stride/4, i/s.Stride
			t.Fatalf("a portrait has a floor shadow of %d at %d,%d", s.Pix[i], x, y)
		}
	}
	if beside := alphaAt(s, 163, 170); beside == 0 {
		t.Error("a portrait has no shadow at all")
	}
	if side, bottom := alphaAt(s, 165, 170), alphaAt(s, 165, 199); bottom < side*3/4 {
		t.Errorf("the halo fades to the picture's edge: %d, then %d", side, bottom)
	}
}

func TestShadowOfWhatFlies(t *testing.T) {
	t.Parallel()
	s := CastShadow(silhouettes()["kite"], DefaultShadow())
	if at := alphaAt(s, 110, 67); at > 12 {
		t.Errorf("what hangs in the air stands on a shadow of %d", at)
	}
	if at := alphaAt(s, 90, 210); at < 60 {
		t.Errorf("what stands below it has a shadow of %d only", at)
	}
}

func TestShadowIsAlikeAtAnySize(t *testing.T) {
	t.Parallel()
	small := silhouettes()["dog"]
	w, h := small.Rect.Dx(), small.Rect.Dy()
	for _, f := range []int{2, 3, 5} {
		large := image.NewGray(image.Rect(0, 0, f*w, f*h))
		for y := range f * h {
			for x := range f * w {
				large.Pix[y*large.Stride+x] = small.Pix[y/f*small.Stride+x/f]
			}
		}
		a, b := CastShadow(small, DefaultShadow()), CastShadow(large, DefaultShadow())
		var sum float64
		for y := range h {
			for x := range w {
				d := math.Abs(float64(alphaAt(a, x, y) - alphaAt(b, x*f+f/2, y*f+f/2)))
				sum += d
				if d > 45 {
					t.Fatalf("%d times enlarged: %d,%d differs by %g", f, x, y, d)
				}
			}
		}
		if mean := sum / float64(w*h); mean > 1 {
			t.Errorf("%d times enlarged: the shadow differs by %.2f in the mean", f, mean)
		}
	}
}

func TestShadowTakesAnything(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := grayOf(t, "mask")
		s := Shadow{
			Opacity: rapid.Float64().Draw(t, "opacity"), Blur: rapid.Float64().Draw(t, "blur"),
			Angle: rapid.Float64().Draw(t, "angle"), Length: rapid.Float64().Draw(t, "length"),
			Color: color.NRGBA{10, 20, 30, rapid.Byte().Draw(t, "alpha")},
		}
		if rapid.Bool().Draw(t, "sane") {
			s.Opacity, s.Blur = math.Mod(math.Abs(s.Opacity), 1), math.Mod(math.Abs(s.Blur), 0.2)
			s.Angle, s.Length = math.Mod(s.Angle, 360), math.Mod(math.Abs(s.Length), 2)
		}
		got := CastShadow(m, s)
		if got.Rect != m.Rect {
			t.Fatalf("the canvas became %v", got.Rect)
		}
		most := int(math.Ceil(255 * s.sane().Opacity))
		for i := 0; i < len(got.Pix); i += 4 {
			p := got.Pix[i : i+4]
			if a := int(p[3]); a > most || a == 0 && !bytes.Equal(p, []byte{0, 0, 0, 0}) || a > 0 && !bytes.Equal(p[:3], []byte{10, 20, 30}) {
				t.Fatalf("pixel %v of a shadow of at most %d", p, most)
			}
		}
		if !bytes.Equal(CastShadow(m, s).Pix, got.Pix) {
			t.Fatal("twice the same shadow differs")
		}
	})
}

func TestShadowOfNothing(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]*image.Gray{"empty": image.NewGray(image.Rect(0, 0, 50, 40)), "no pixels": image.NewGray(image.Rectangle{})} {
		if s := CastShadow(m, DefaultShadow()); s.Rect != m.Rect || !bytes.Equal(s.Pix, make([]byte, len(s.Pix))) {
			t.Errorf("%s: the layer is not empty", name)
		}
	}
	m := silhouettes()["ball"]
	none := DefaultShadow()
	none.Opacity = 0
	if s := CastShadow(m, none); !bytes.Equal(s.Pix, make([]byte, len(s.Pix))) {
		t.Error("a shadow without opacity is seen")
	}
}

// The golden pictures show each silhouette in grey over its shadow on white.
func TestShadowGolden(t *testing.T) {
	t.Parallel()
	for name, m := range silhouettes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			subject := image.NewNRGBA(m.Rect)
			for i, v := range m.Pix {
				copy(subject.Pix[4*i:], []uint8{120, 150, 160, v})
			}
			got := FlattenShadow(subject, CastShadow(m, DefaultShadow()), color.NRGBA{255, 255, 255, 255})
			path := filepath.Join("testdata", "shadow_"+name+".png")
			if *update {
				var b bytes.Buffer
				if err := png.Encode(&b, got); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			f, err := os.Open(path)
			if errors.Is(err, fs.ErrNotExist) {
				t.Fatal("no golden picture; -update writes it")
			} else if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			want, err := png.Decode(f)
			if err != nil {
				t.Fatal(err)
			}
			if want.Bounds() != got.Rect {
				t.Fatalf("size %v, want %v", got.Rect, want.Bounds())
			}
			for y := range got.Rect.Dy() {
				for x := range got.Rect.Dx() {
					w := color.NRGBAModel.Convert(want.At(x, y)).(color.NRGBA)
					if p := got.NRGBAAt(x, y); apart(p, w) > 3 {
						t.Fatalf("%d,%d is %v, want %v", x, y, p, w)
					}
				}
			}
		})
	}
}

func TestBlurIsGaussian(t *testing.T) {
	t.Parallel()
	for _, sigma := range []float64{0.3, 0.7, 1, 2.5, 6, 11.3} {
		p, tmp := newPlane(121, 111), newPlane(121, 111)
		p.row(55)[60] = 1
		p.blur(sigma, sigma/2, tmp)
		var sum, mx, my, vx, vy float64
		for y := range p.h {
			for x, v := range p.row(y) {
				sum += float64(v)
				mx += float64(v) * float64(x-60)
				my += float64(v) * float64(y-55)
				vx += float64(v) * float64((x-60)*(x-60))
				vy += float64(v) * float64((y-55)*(y-55))
			}
		}
		wantY := sigma * sigma / 4
		if sigma/2 < 0.2 {
			wantY = 0
		}
		for name, d := range map[string]float64{"sum": sum - 1, "centre x": mx, "centre y": my, "variance x": (vx - sigma*sigma) / (sigma * sigma), "variance y": vy - wantY} {
			if math.Abs(d) > 0.002*max(1, wantY) {
				t.Errorf("sigma %g: %s is off by %g", sigma, name, d)
			}
		}
	}
}

// Blurs wider than the plane must not run over its ends, and lose light over them only.
func TestBlurOfSmallPlanes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w, h := rapid.IntRange(1, 9).Draw(t, "w"), rapid.IntRange(1, 9).Draw(t, "h")
		sx, sy := rapid.Float64Range(0, 5).Draw(t, "sx"), rapid.Float64Range(0, 5).Draw(t, "sy")
		const far = 40
		small, large := newPlane(w, h), newPlane(w+2*far, h+2*far)
		for y := range h {
			for x := range w {
				v := rapid.Float32Range(0, 1).Draw(t, "v")
				small.row(y)[x], large.row(y + far)[x+far] = v, v
			}
		}
		small.blur(sx, sy, newPlane(w, h))
		large.blur(sx, sy, newPlane(large.w, large.h))
		for y := range h {
			for x := range w {
				// Cut off between the three passes, the small plane can only be darker.
				if a, b := small.row(y)[x], large.row(y + far)[x+far]; a < -1e-5 || a > b+1e-5 {
					t.Fatalf("%d,%d: got %g, at most %g is right", x, y, a, b)
				}
			}
		}
	})
}

func TestEachBandCoversAll(t *testing.T) {
	t.Parallel()
	for _, h := range []int{0, 1, 7, 1000, 4096} {
		seen := make([]int8, h)
		eachBand(4096, h, func(y0, y1 int) {
			for y := y0; y < y1; y++ {
				seen[y]++
			}
		})
		for y, n := range seen {
			if n != 1 {
				t.Fatalf("row %d of %d was visited %d times", y, h, n)
			}
		}
	}
}
