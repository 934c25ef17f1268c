package compositing

import (
	"bytes"
	"image"
	"image/color"
	"math"
	"testing"

	"golang.org/x/image/draw"
	"pgregory.net/rapid"
)

// pictureIn draws a straight-alpha picture with a stride of its own.
func pictureIn(t *rapid.T, name string, w, h int) *image.NRGBA {
	stride := 4 * (w + rapid.IntRange(0, 2).Draw(t, name+" padding"))
	m := &image.NRGBA{Pix: make([]uint8, stride*h), Stride: stride, Rect: image.Rect(0, 0, w, h)}
	copy(m.Pix, rapid.SliceOfN(rapid.Byte(), len(m.Pix), len(m.Pix)).Draw(t, name))
	alpha := rapid.SampledFrom([]string{"any", "opaque", "hard"}).Draw(t, name+" alpha")
	for i := 3; i < len(m.Pix); i += 4 {
		switch alpha {
		case "opaque":
			m.Pix[i] = 255
		case "hard":
			m.Pix[i] = uint8(int8(m.Pix[i]) >> 7)
		}
	}
	return m
}

func size(t *rapid.T) (w, h int) {
	return rapid.IntRange(1, 12).Draw(t, "width"), rapid.IntRange(1, 12).Draw(t, "height")
}

// overSlow is Porter and Duff's formula in real numbers, 0..255.
func overSlow(t, b color.NRGBA) [4]float64 {
	ta, ba := float64(t.A)/255, float64(b.A)/255
	a := ta + ba*(1-ta)
	if a == 0 {
		return [4]float64{}
	}
	mix := func(t, b uint8) float64 { return (float64(t)*ta + float64(b)*ba*(1-ta)) / a }
	return [4]float64{mix(t.R, b.R), mix(t.G, b.G), mix(t.B, b.B), 255 * a}
}

// nearest tells whether p is want rounded; halves may go either way.
func nearest(p color.NRGBA, want [4]float64) bool {
	for i, v := range [4]uint8{p.R, p.G, p.B, p.A} {
		if math.Abs(float64(v)-want[i]) > 0.5+1e-9 {
			return false
		}
	}
	return true
}

// apart is the largest difference of two channels.
func apart(a, b color.NRGBA) int {
	d := 0
	for _, p := range [][2]uint8{{a.R, b.R}, {a.G, b.G}, {a.B, b.B}, {a.A, b.A}} {
		d = max(d, int(p[0])-int(p[1]), int(p[1])-int(p[0]))
	}
	return d
}

func TestDiv255(t *testing.T) {
	t.Parallel()
	for x := range uint32(255*255 + 1) {
		if want := (x + 127) / 255; div255(x) != want {
			t.Fatalf("div255(%d) = %d, want %d", x, div255(x), want)
		}
	}
}

func TestCutout(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w, h := size(t)
		src, mask := pictureIn(t, "picture", w, h), grayIn(t, "mask", w, h)
		got := Cutout(src, mask)
		for y := range h {
			for x := range w {
				want := src.NRGBAAt(x, y)
				want.A = uint8((int(want.A)*int(mask.GrayAt(x, y).Y) + 127) / 255)
				if want.A == 0 {
					want = color.NRGBA{}
				}
				if p := got.NRGBAAt(x, y); p != want {
					t.Fatalf("%d,%d: got %v, want %v", x, y, p, want)
				}
			}
		}
	})
}

func TestCutoutInPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, h := rapid.IntRange(1, 40).Draw(t, "w"), rapid.IntRange(1, 3).Draw(t, "h")
		m, mask := image.NewNRGBA(image.Rect(0, 0, w, h)), image.NewGray(image.Rect(0, 0, w, h))
		extremes := rapid.OneOf(rapid.Just[uint8](0), rapid.Just[uint8](255), rapid.Byte())
		run := rapid.IntRange(1, 20).Draw(t, "run") // neighbours are alike, as in pictures
		var alpha, value uint8
		for i := range mask.Pix {
			if i%run == 0 {
				alpha, value = extremes.Draw(t, "alpha"), extremes.Draw(t, "mask")
			}
			copy(m.Pix[4*i:], []uint8{uint8(i), uint8(3 * i), uint8(7 * i), alpha})
			mask.Pix[i] = value
		}
		want := Cutout(m, mask)
		CutoutInPlace(m, mask)
		if !bytes.Equal(m.Pix, want.Pix) || !bytes.Equal(mask.Pix, AlphaOf(want).Pix) {
			t.Fatalf("%v and %v, want %v", m.Pix, mask.Pix, want.Pix)
		}
	})
}

func TestOver(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w, h := size(t)
		top, bottom := pictureIn(t, "top", w, h), pictureIn(t, "bottom", w, h)
		got := Over(top, bottom)
		c := color.NRGBA{rapid.Byte().Draw(t, "r"), rapid.Byte().Draw(t, "g"), rapid.Byte().Draw(t, "b"), rapid.Byte().Draw(t, "a")}
		flat := Flatten(top, c)
		for y := range h {
			for x := range w {
				a, b := top.NRGBAAt(x, y), bottom.NRGBAAt(x, y)
				p := got.NRGBAAt(x, y)
				if want := overSlow(a, b); !nearest(p, want) {
					t.Fatalf("%v over %v: got %v, want %v", a, b, p, want)
				}
				if b.A == 255 && p.A != 255 {
					t.Fatalf("%v over the opaque %v is %v", a, b, p)
				}
				if p, want := flat.NRGBAAt(x, y), overSlow(a, c); !nearest(p, want) {
					t.Fatalf("%v on %v: got %v, want %v", a, c, p, want)
				}
			}
		}
	})
}

// Rounded to the nearest, not only close to it: every opaque case of one channel.
func TestOverOpaqueExactly(t *testing.T) {
	t.Parallel()
	for a := range uint32(256) {
		for c := uint32(0); c < 256; c += 5 {
			for b := range uint32(256) {
				got := over(c|a<<24, b|255<<24) & 255
				if want := (c*a + b*(255-a) + 127) / 255; got != want {
					t.Fatalf("%d at %d over %d: got %d, want %d", c, a, b, got, want)
				}
			}
		}
	}
}

func TestComposeInLinearLight(t *testing.T) {
	t.Parallel()
	nothing := image.NewNRGBA(image.Rect(0, 0, 256, 256))
	shadow, grey := image.NewNRGBA(nothing.Rect), image.NewNRGBA(nothing.Rect)
	for y := range 256 {
		for x := range 256 {
			shadow.SetNRGBA(x, y, color.NRGBA{A: uint8(y)})
			grey.SetNRGBA(x, y, color.NRGBA{uint8(x), uint8(x), uint8(x), 255})
		}
	}
	got := Compose(nothing, shadow, grey)
	for y := range 256 {
		keep := toLinear(1 - float64(y)/255)
		for x := range 256 {
			want := 255 * fromLinear(keep*toLinear(float64(x)/255))
			p := got.NRGBAAt(x, y)
			if math.Abs(float64(p.R)-want) > 0.6 || p.R != p.G || p.G != p.B || p.A != 255 {
				t.Fatalf("shadow %d on %d: got %v, want %.2f", y, x, p, want)
			}
		}
		if p := got.NRGBAAt(255, y); int(p.R) != 255-y {
			t.Fatalf("shadow %d on white is %v, not what plain blending gives", y, p)
		}
	}
}

func TestCompose(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w, h := size(t)
		subject, shadow, bg := pictureIn(t, "subject", w, h), pictureIn(t, "shadow", w, h), pictureIn(t, "background", w, h)
		same := func(what string, a, b *image.NRGBA) {
			for y := range h {
				if !bytes.Equal(row(a.Pix, a.Stride, y, 4*w), row(b.Pix, b.Stride, y, 4*w)) {
					t.Fatalf("%s differs in row %d", what, y)
				}
			}
		}
		none := image.NewNRGBA(image.Rect(0, 0, w, h))
		same("no background", Compose(subject, shadow, nil), Over(subject, shadow))
		same("no shadow", Compose(subject, nil, bg), Over(subject, bg))
		same("an empty shadow", Compose(subject, none, bg), Over(subject, bg))
		same("neither", Compose(subject, nil, nil), subject)
		same("transparent background", Compose(subject, shadow, none), Over(subject, dropHidden(shadow)))
		c := color.NRGBA{rapid.Byte().Draw(t, "r"), rapid.Byte().Draw(t, "g"), rapid.Byte().Draw(t, "b"), rapid.Byte().Draw(t, "a")}
		same("colour", FlattenShadow(subject, shadow, c), Compose(subject, shadow, Flatten(none, c)))
		same("colour, no shadow", FlattenShadow(subject, nil, c), Flatten(subject, c))
		got := Compose(subject, shadow, bg)
		for y := range h {
			for x := range w {
				s, b := shadow.NRGBAAt(x, y), bg.NRGBAAt(x, y)
				if subject.NRGBAAt(x, y).A > 0 {
					continue
				}
				if want := overSlow(s, b)[3]; math.Abs(want-float64(got.NRGBAAt(x, y).A)) > 0.5+1e-9 {
					t.Fatalf("alpha of %v on %v: got %d, want %.2f", s, b, got.NRGBAAt(x, y).A, want)
				}
			}
		}
	})
}

// dropHidden clears what cannot be seen.
func dropHidden(m *image.NRGBA) *image.NRGBA {
	return Cutout(m, &image.Gray{Pix: bytes.Repeat([]byte{255}, m.Rect.Dx()*m.Rect.Dy()), Stride: m.Rect.Dx(), Rect: m.Rect})
}

func TestSizesMustAgree(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("pictures of two sizes were laid on each other")
		}
	}()
	Over(image.NewNRGBA(image.Rect(0, 0, 2, 3)), image.NewNRGBA(image.Rect(0, 0, 3, 2)))
}

func TestCropTo(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w, h := size(t)
		m, mask := pictureIn(t, "picture", w, h), grayIn(t, "mask", w, h)
		x, y := rapid.IntRange(-15, 15).Draw(t, "x"), rapid.IntRange(-15, 15).Draw(t, "y")
		r := image.Rect(x, y, x+rapid.IntRange(0, 20).Draw(t, "crop width"), y+rapid.IntRange(0, 20).Draw(t, "crop height"))
		got, gotMask := CropTo(m, r), CropMask(mask, r)
		if got.Rect.Size() != r.Size() || gotMask.Rect.Size() != r.Size() || got.Rect.Min != (image.Point{}) {
			t.Fatalf("%v gave %v and %v", r, got.Rect, gotMask.Rect)
		}
		for y := range r.Dy() {
			for x := range r.Dx() {
				if p, want := got.NRGBAAt(x, y), m.NRGBAAt(x+r.Min.X, y+r.Min.Y); p != want {
					t.Fatalf("%d,%d: got %v, want %v", x, y, p, want)
				}
				if p, want := gotMask.GrayAt(x, y), mask.GrayAt(x+r.Min.X, y+r.Min.Y); p != want {
					t.Fatalf("%d,%d: got %v, want %v", x, y, p, want)
				}
			}
		}
	})
}

func TestPadBox(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		box  image.Rectangle
		m    Margin
		want image.Rectangle
	}{
		"none":     {image.Rect(3, 4, 10, 12), Margin{}, image.Rect(3, 4, 10, 12)},
		"each":     {image.Rect(3, 4, 10, 12), Margin{1, 2, 3, 5}, image.Rect(-2, 3, 12, 15)},
		"inwards":  {image.Rect(3, 4, 10, 12), Margin{-1, -2, -3, 0}, image.Rect(3, 5, 8, 9)},
		"vanishes": {image.Rect(3, 4, 10, 12), Margin{0, -7, 0, 0}, image.Rectangle{}},
		"empty":    {image.Rectangle{}, Margin{1, 1, 1, 1}, image.Rectangle{}},
	} {
		if got := PadBox(tc.box, tc.m); got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
}

func TestNormaliseBox(t *testing.T) {
	t.Parallel()
	if got, want := NormaliseBox(image.Rect(10, 20, 60, 100), 100, 200), (Box{0.1, 0.1, 0.5, 0.4}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// catmullRom is the Resize of these tests.
func catmullRom(src *image.NRGBA, width, height int) *image.NRGBA {
	out := image.NewNRGBA(image.Rect(0, 0, width, height))
	draw.CatmullRom.Scale(out, out.Rect, src, src.Rect, draw.Src, nil)
	return out
}

func TestPlace(t *testing.T) {
	t.Parallel()
	red, green, blue := color.NRGBA{200, 0, 0, 255}, color.NRGBA{0, 200, 0, 255}, color.NRGBA{0, 0, 200, 255}
	thirds := func(w, h int) *image.NRGBA { // side by side, or one above the other where the picture is upright
		m := image.NewNRGBA(image.Rect(0, 0, w, h))
		for y := range h {
			for x := range w {
				i := 3 * x / w
				if h > w {
					i = 3 * y / h
				}
				m.SetNRGBA(x, y, []color.NRGBA{red, green, blue}[i])
			}
		}
		return m
	}
	type at struct {
		x, y int
		want color.NRGBA
	}
	for name, tc := range map[string]struct {
		bw, bh, w, h int
		fit          Fit
		see          []at
	}{
		"cover cuts the sides":     {90, 30, 60, 60, FitCover, []at{{2, 2, green}, {57, 57, green}}},
		"cover keeps a sliver":     {90, 30, 80, 40, FitCover, []at{{2, 20, red}, {40, 20, green}, {77, 20, blue}}},
		"cover cuts top and foot":  {30, 90, 60, 60, FitCover, []at{{2, 2, green}, {57, 57, green}}},
		"cover shrinks":            {900, 300, 30, 30, FitCover, []at{{1, 1, green}, {28, 28, green}}},
		"cover, same size":         {90, 30, 90, 30, FitCover, []at{{2, 2, red}, {87, 28, blue}}},
		"cover, same height":       {90, 30, 30, 30, FitCover, []at{{0, 0, green}, {29, 29, green}}},
		"stretch":                  {90, 30, 60, 60, FitStretch, []at{{2, 2, red}, {30, 58, green}, {57, 2, blue}}},
		"contain":                  {90, 30, 60, 60, FitContain, []at{{2, 30, red}, {57, 30, blue}, {30, 18, color.NRGBA{}}, {30, 41, color.NRGBA{}}}},
		"centre, larger canvas":    {90, 30, 100, 40, FitCentre, []at{{4, 20, color.NRGBA{}}, {5, 5, red}, {94, 34, blue}, {95, 34, color.NRGBA{}}}},
		"centre, smaller canvas":   {90, 30, 30, 10, FitCentre, []at{{0, 0, green}, {29, 9, green}}},
		"one pixel covers it all":  {1, 1, 20, 30, FitCover, []at{{0, 0, red}, {19, 29, red}}},
		"contain keeps one pixel":  {3000, 1, 30, 30, FitContain, []at{{0, 15, red}, {29, 15, blue}, {0, 14, color.NRGBA{}}, {0, 16, color.NRGBA{}}}},
		"cover, one pixel high":    {3000, 1, 30, 30, FitCover, []at{{0, 0, green}, {29, 29, green}}},
		"a canvas of a few pixels": {90, 30, 3, 1, FitStretch, []at{{0, 0, color.NRGBA{182, 18, 0, 255}}, {2, 0, color.NRGBA{0, 18, 182, 255}}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Place(thirds(tc.bw, tc.bh), tc.w, tc.h, tc.fit, catmullRom)
			if got.Rect != image.Rect(0, 0, tc.w, tc.h) {
				t.Fatalf("the canvas is %v", got.Rect)
			}
			for _, a := range tc.see {
				if p := got.NRGBAAt(a.x, a.y); apart(p, a.want) > 20 {
					t.Errorf("%d,%d is %v, want %v", a.x, a.y, p, a.want)
				}
			}
		})
	}
}

// A background of any shape is never scaled to much more than the canvas: a long strip would fill the memory.
func TestCoverIsBounded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		bw, bh := rapid.IntRange(1, 300).Draw(t, "bw"), rapid.IntRange(1, 300).Draw(t, "bh")
		w, h := rapid.IntRange(1, 300).Draw(t, "w"), rapid.IntRange(1, 300).Draw(t, "h")
		got := Cover(image.NewNRGBA(image.Rect(0, 0, bw, bh)), w, h, func(src *image.NRGBA, sw, sh int) *image.NRGBA {
			scale := max(float64(w)/float64(bw), float64(h)/float64(bh))
			if float64(sw) > float64(w)+2*scale+1 || float64(sh) > float64(h)+2*scale+1 {
				t.Fatalf("scaled to %dx%d for a canvas of %dx%d", sw, sh, w, h)
			}
			// Aspect is kept to the pixel.
			if x, y := float64(src.Rect.Dx())*scale, float64(src.Rect.Dy())*scale; math.Abs(x-float64(sw)) > 1.01 || math.Abs(y-float64(sh)) > 1.01 {
				t.Fatalf("%v was scaled to %dx%d, by %g", src.Rect, sw, sh, scale)
			}
			return image.NewNRGBA(image.Rect(0, 0, sw, sh))
		})
		if got.Rect != image.Rect(0, 0, w, h) {
			t.Fatalf("the canvas is %v", got.Rect)
		}
	})
}
