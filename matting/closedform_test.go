package matting

import (
	"context"
	"errors"
	"image"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

func TestClosedFormAgainstReference(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"astronaut", "chelsea", "coffee", "rocket"} {
		photo, trimap := readPhoto(t, "testdata/"+name+"_photo.png"), readGray(t, "testdata/"+name+"_trimap.png")
		want := readGray(t, "testdata/"+name+"_alpha.png")
		got, err := ClosedForm(context.Background(), photo, trimap, ClosedFormOptions{})
		if err != nil {
			t.Fatal(err)
		}
		d := difference(got, want)
		t.Logf("%s: mean difference %.5f", name, d)
		if d > 0.005 {
			t.Errorf("%s: mean difference %.5f, at most 0.005 is wanted", name, d)
		}
		exact, err := ClosedForm(context.Background(), photo, trimap, ClosedFormOptions{Tolerance: 1e-5, MaxIterations: 60})
		if err != nil {
			t.Fatal(err)
		}
		// What is left is half a step of 8 bits on each side, and single precision.
		if d := difference(exact, want); d > 0.001 {
			t.Errorf("%s, solved to the end: mean difference %.5f", name, d)
		}
	}
}

// TestClosedFormOnPhotoSet holds the matte to the reference's and to the truth on photos with hand-made trimaps.
func TestClosedFormOnPhotoSet(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	data := dataDir(t)
	var sad, sadReference, n float64
	for _, p := range files(t, filepath.Join(data, "gt/alphamatting/image/*.png")) {
		name := filepath.Base(p)
		trimap := readGray(t, filepath.Join(data, "gt/alphamatting/trimap1", name))
		want := readGray(t, filepath.Join(data, "refpairs/pymatting_cf_trimap1", name))
		truth := readGray(t, filepath.Join(data, "gt/alphamatting/mask", name))
		got, err := ClosedForm(context.Background(), readPhoto(t, p), trimap, ClosedFormOptions{})
		if err != nil {
			t.Fatal(err)
		}
		d := difference(got, want)
		if d > 0.005 {
			t.Errorf("%s: mean difference %.5f, at most 0.005 is wanted", name, d)
		}
		pixels := float64(len(got.Pix)) / 1000
		t.Logf("%s: mean difference %.5f, SAD %.2f (reference %.2f) thousand", name, d, difference(got, truth)*pixels, difference(want, truth)*pixels)
		sad += difference(got, truth) * pixels
		sadReference += difference(want, truth) * pixels
		n++
	}
	t.Logf("mean SAD %.3f, reference %.3f thousand", sad/n, sadReference/n)
	if sad > sadReference {
		t.Errorf("mean SAD %.3f is over the reference's %.3f thousand", sad/n, sadReference/n)
	}
}

func TestClosedFormFindsTheMatte(t *testing.T) {
	t.Parallel()
	photo, alpha := scene(200, 160, 5)
	trimap := Trimap(alpha, TrimapOptions{ForegroundThreshold: 250, BackgroundThreshold: 5, ErodeSize: 9})
	got, err := ClosedForm(context.Background(), photo, trimap, ClosedFormOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if d := difference(got, alpha); d > 0.005 {
		t.Errorf("mean difference %.4f from the truth", d)
	}
	for i, v := range trimap.Pix {
		if v != Unknown && got.Pix[i] != v {
			t.Fatalf("sure pixel %d changed from %d to %d", i, v, got.Pix[i])
		}
	}
}

func TestClosedFormReduced(t *testing.T) {
	t.Parallel()
	photo, alpha := scene(400, 300, 5)
	trimap := Trimap(alpha, TrimapOptions{ForegroundThreshold: 250, BackgroundThreshold: 5, ErodeSize: 15})
	for name, o := range map[string]ClosedFormOptions{"base size": {BaseSize: 150}, "bounded memory": {MaxUnknown: 5000}} {
		got, err := ClosedForm(context.Background(), photo, trimap, o)
		if err != nil {
			t.Fatal(err)
		}
		if d := difference(got, alpha); d > 0.01 {
			t.Errorf("%s: mean difference %.4f from the truth", name, d)
		}
		for i, v := range trimap.Pix {
			if v != Unknown && got.Pix[i] != v {
				t.Fatalf("%s: sure pixel %d changed from %d to %d", name, i, v, got.Pix[i])
			}
		}
	}
}

func TestClosedFormOfAnyTrimap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w, h := rapid.IntRange(1, 70).Draw(t, "w"), rapid.IntRange(1, 70).Draw(t, "h")
		photo, _ := scene(w, h, rapid.Uint64().Draw(t, "seed"))
		if rapid.Bool().Draw(t, "flat") {
			clear(photo.Pix)
		}
		trimap := image.NewGray(image.Rect(0, 0, w, h))
		for i := range trimap.Pix {
			trimap.Pix[i] = Unknown
		}
		for i, n := 0, rapid.IntRange(0, 6).Draw(t, "areas"); i < n; i++ {
			v := rapid.SampledFrom([]uint8{0, 255, 128}).Draw(t, "value")
			x0, y0 := rapid.IntRange(0, w-1).Draw(t, "x"), rapid.IntRange(0, h-1).Draw(t, "y")
			x1, y1 := rapid.IntRange(x0, w).Draw(t, "x1"), rapid.IntRange(y0, h).Draw(t, "y1")
			for y := y0; y < y1; y++ {
				for x := x0; x < x1; x++ {
					trimap.Pix[y*trimap.Stride+x] = v
				}
			}
		}
		o := ClosedFormOptions{BaseSize: rapid.SampledFrom([]int{0, 1, 20}).Draw(t, "base"), Threads: 1}
		a, err := ClosedForm(context.Background(), photo, trimap, o)
		if errors.Is(err, ErrNoKnown) {
			for _, v := range trimap.Pix {
				if v != Unknown {
					t.Fatal("a sure pixel was overlooked")
				}
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		o.Threads = 3
		b, err := ClosedForm(context.Background(), photo, trimap, o)
		if err != nil {
			t.Fatal(err)
		}
		if string(a.Pix) != string(b.Pix) {
			t.Fatal("the matte depends on the number of threads")
		}
		for i, v := range trimap.Pix {
			if v != Unknown && a.Pix[i] != v {
				t.Fatalf("sure pixel %d changed from %d to %d", i, v, a.Pix[i])
			}
		}
	})
}

func TestClosedFormErrors(t *testing.T) {
	t.Parallel()
	photo, alpha := scene(64, 64, 1)
	trimap := Trimap(alpha, DefaultTrimap)
	var size *SizeError
	if _, err := ClosedForm(context.Background(), photo, image.NewGray(image.Rect(0, 0, 64, 63)), ClosedFormOptions{}); !errors.As(err, &size) {
		t.Errorf("got %v, want a SizeError", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := ClosedForm(ctx, photo, trimap, ClosedFormOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

// system builds the operator and its coarse space for a scene with a wide unknown band.
func system(t testing.TB, w, h int) (*level, *coarse, []float32) {
	t.Helper()
	photo, alpha := scene(w, h, 7)
	trimap := Trimap(alpha, TrimapOptions{ForegroundThreshold: 250, BackgroundThreshold: 5, ErodeSize: 9})
	b := newBand(w, h, unknownSpans(trimap.Pix, trimap.Stride, w, h, 1, &isUnknown))
	c := newCoarse(b, photo, 2)
	a, rhs := mattingLaplacian(b, c, photo, trimap, 1e-7, 2)
	return newLevel(b, a, 2), c, rhs
}

func TestLaplacianRowsSumToZero(t *testing.T) {
	t.Parallel()
	l, _, _ := system(t, 120, 90)
	ones, y := make([]float32, l.n), make([]float32, l.n)
	for i := range ones {
		ones[i] = 1
	}
	for _, s := range l.segs {
		for i := s.at; i < s.at+s.n; i++ {
			ones[i] = 1
		}
	}
	l.apply(ones, y)
	for _, s := range l.segs {
		for j := int32(0); j < s.n; j++ {
			x, yy := int(s.x+j), int(s.y)
			inner := true
			for dy := -reach; dy <= reach; dy++ {
				for dx := -reach; dx <= reach; dx++ {
					inner = inner && l.isUnknown(x+dx, yy+dy)
				}
			}
			if inner && math.Abs(float64(y[s.at+j])) > 1e-5 {
				t.Fatalf("row of (%d,%d) sums to %g", x, yy, y[s.at+j])
			}
		}
	}
}

func (b *band) isUnknown(x, y int) bool {
	for _, s := range b.segs {
		if int(s.y) == y && int(s.x) <= x && x < int(s.x+s.n) {
			return true
		}
	}
	return false
}

// TestPreconditionerIsSymmetric checks what conjugate gradients rely on.
func TestPreconditionerIsSymmetric(t *testing.T) {
	t.Parallel()
	l, c, _ := system(t, 120, 90)
	if err := c.f.factorise(context.Background()); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	plane := func() []float32 {
		p := make([]float32, l.n)
		for _, s := range l.segs {
			for i := s.at; i < s.at+s.n; i++ {
				p[i] = float32(rng.NormFloat64())
			}
		}
		return p
	}
	for range 5 {
		u, v, pu, pv := plane(), plane(), make([]float32, l.n), make([]float32, l.n)
		l.precondition(c, u, pu)
		l.precondition(c, v, pv)
		upv, vpu, upu := l.dot(u, pv), l.dot(v, pu), l.dot(u, pu)
		if math.Abs(upv-vpu) > 1e-4*math.Abs(upu) {
			t.Errorf("<u,Pv> = %g but <v,Pu> = %g (<u,Pu> = %g)", upv, vpu, upu)
		}
		if !(upu > 0) {
			t.Errorf("<u,Pu> = %g is not positive", upu)
		}
	}
}

// TestFactorSolves multiplies a solution of the coarse system by the operator it was factored from.
func TestFactorSolves(t *testing.T) {
	t.Parallel()
	_, c, _ := system(t, 120, 90)
	n := c.f.n
	dense := make([][]float64, n*dof)
	for i := range dense {
		dense[i] = make([]float64, n*dof)
	}
	for k := 0; k < n; k++ {
		for b := c.f.col[k]; b < c.f.col[k+1]; b++ {
			r := int(c.f.row[b])
			for i := 0; i < dof; i++ {
				for j := 0; j < dof; j++ {
					v := c.f.val[b][i*dof+j]
					dense[r*dof+i][k*dof+j] = v
					dense[k*dof+j][r*dof+i] = v
				}
			}
		}
	}
	for i := range dense {
		dense[i][i] += ridge*dense[i][i] + 1e-12
	}
	if err := c.f.factorise(context.Background()); err != nil {
		t.Fatal(err)
	}
	x := make([]vec4, n)
	rng := rand.New(rand.NewPCG(3, 4))
	want := make([]float64, n*dof)
	for i := range want {
		want[i] = rng.NormFloat64()
		x[i/dof][i%dof] = want[i]
	}
	c.f.solve(x)
	for i := range dense {
		var got float64
		for j, v := range dense[i] {
			got += v * x[j/dof][j%dof]
		}
		if math.Abs(got-want[i]) > 1e-5 {
			t.Fatalf("row %d: operator times solution is %g, want %g", i, got, want[i])
		}
	}
}

func FuzzClosedForm(f *testing.F) {
	f.Add(uint8(5), []byte{0, 128, 255, 128, 7, 0, 255})
	f.Add(uint8(1), []byte{128, 0})
	f.Fuzz(func(t *testing.T, width uint8, pix []byte) {
		w := int(width)
		if w == 0 || len(pix) < w || len(pix) > 4096 {
			return
		}
		h := len(pix) / w
		trimap := &image.Gray{Pix: pix[:w*h], Stride: w, Rect: image.Rect(0, 0, w, h)}
		photo := image.NewNRGBA(trimap.Rect)
		for i := range photo.Pix {
			photo.Pix[i] = pix[(i*5)%len(pix)]
		}
		got, err := ClosedForm(context.Background(), photo, trimap, ClosedFormOptions{Threads: 1})
		if err != nil {
			if !errors.Is(err, ErrNoKnown) {
				t.Fatal(err)
			}
			return
		}
		for i, v := range trimap.Pix {
			if (v == 0 || v == 255) && got.Pix[i] != v {
				t.Fatalf("sure pixel %d changed from %d to %d", i, v, got.Pix[i])
			}
		}
		if _, err := EstimateForeground(context.Background(), photo, got, ForegroundOptions{Threads: 1}); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkClosedForm(b *testing.B) {
	photo, alpha := scene(1380, 1380, 1)
	trimap := Trimap(alpha, TrimapOptions{ForegroundThreshold: 240, BackgroundThreshold: 10, ErodeSize: 30})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ClosedForm(context.Background(), photo, trimap, ClosedFormOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
