package compositing

import (
	"image"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// grayOf draws a small mask, mostly empty or full as real ones are, with a stride of its own.
func grayOf(t *rapid.T, name string) *image.Gray {
	w, h := rapid.IntRange(1, 40).Draw(t, name+" width"), rapid.IntRange(1, 30).Draw(t, name+" height")
	return grayIn(t, name, w, h)
}

func grayIn(t *rapid.T, name string, w, h int) *image.Gray {
	stride := w + rapid.IntRange(0, 3).Draw(t, name+" padding")
	m := &image.Gray{Pix: make([]uint8, stride*h), Stride: stride, Rect: image.Rect(0, 0, w, h)}
	value := rapid.OneOf(rapid.Just(uint8(0)), rapid.Just(uint8(0)), rapid.Just(uint8(255)), rapid.Byte())
	copy(m.Pix, rapid.SliceOfN(value, len(m.Pix), len(m.Pix)).Draw(t, name))
	return m
}

func disc(m *image.Gray, cx, cy, r float64, v uint8) {
	for y := range m.Rect.Dy() {
		for x := range m.Rect.Dx() {
			if math.Hypot(float64(x)+0.5-cx, float64(y)+0.5-cy) <= r {
				m.Pix[y*m.Stride+x] = v
			}
		}
	}
}

func TestFillNearlyFull(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := grayOf(t, "mask")
		from := rapid.Uint8Range(1, 255).Draw(t, "from")
		want := append([]uint8(nil), m.Pix...)
		for y := range m.Rect.Dy() {
			for i := y * m.Stride; i < y*m.Stride+m.Rect.Dx(); i++ {
				if want[i] >= from {
					want[i] = 255
				}
			}
		}
		FillNearlyFull(m, from)
		if diff := cmp.Diff(want, m.Pix); diff != "" {
			t.Fatalf("filled from %d (-want +got):\n%s", from, diff)
		}
	})
}

func TestClearFaint(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := grayOf(t, "mask")
		below := rapid.Byte().Draw(t, "below")
		before := append([]uint8(nil), m.Pix...)
		ClearFaint(m, below)
		for i, v := range before {
			if i%m.Stride < m.Rect.Dx() && v < below {
				v = 0
			}
			if m.Pix[i] != v {
				t.Fatalf("value %d: got %d, want %d", i, m.Pix[i], v)
			}
		}
	})
}

func TestBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := grayOf(t, "mask")
		var want image.Rectangle
		for y := range m.Rect.Dy() {
			for x := range m.Rect.Dx() {
				if m.GrayAt(x, y).Y != 0 {
					want = want.Union(image.Rect(x, y, x+1, y+1))
				}
			}
		}
		if got := Bounds(m); got != want {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

// flood labels the components of values of at least the threshold, corners included, the slow and plain way.
func flood(m *image.Gray, threshold uint8) (label []int, n int) {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	label = make([]int, w*h)
	for start := range label {
		if label[start] != 0 || m.Pix[start/w*m.Stride+start%w] < threshold {
			continue
		}
		n++
		label[start] = n
		for todo := []int{start}; len(todo) > 0; {
			p := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			for y := max(p/w-1, 0); y <= min(p/w+1, h-1); y++ {
				for x := max(p%w-1, 0); x <= min(p%w+1, w-1); x++ {
					if q := y*w + x; label[q] == 0 && m.Pix[y*m.Stride+x] >= threshold {
						label[q] = n
						todo = append(todo, q)
					}
				}
			}
		}
	}
	return label, n
}

func TestFindRuns(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := grayOf(t, "mask")
		threshold := uint8(rapid.IntRange(1, 255).Draw(t, "threshold"))
		label, n := flood(m, threshold)
		rs := findRuns(m, threshold)
		roots := map[int32]int{} // component of the flood each root stands for
		pixels := 0
		for i, r := range rs {
			for x := r.x0; x < r.x1; x++ {
				l := label[int(r.y)*m.Rect.Dx()+int(x)]
				root := rs.find(int32(i))
				if want, ok := roots[root]; l == 0 || ok && want != l {
					t.Fatalf("pixel %d,%d: component %d in run %d of root %d, which is %d", x, r.y, l, i, root, want)
				}
				roots[root] = l
				pixels++
			}
		}
		set := 0
		for _, l := range label {
			set += min(l, 1)
		}
		if len(roots) != n || pixels != set {
			t.Fatalf("got %d components of %d pixels, want %d of %d", len(roots), pixels, n, set)
		}
	})
}

func TestDropSpecks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := grayOf(t, "mask")
		fraction := rapid.Float64Range(0, 1).Draw(t, "fraction")
		label, n := flood(m, 1)
		sums := make([]int, n+1)
		w := m.Rect.Dx()
		for i, l := range label {
			sums[l] += int(m.Pix[i/w*m.Stride+i%w])
		}
		heaviest := 0
		for _, s := range sums {
			heaviest = max(heaviest, s)
		}
		before := append([]uint8(nil), m.Pix...)
		dropped := 0
		for _, s := range sums[1:] {
			if float64(s) < fraction*float64(heaviest) {
				dropped++
			}
		}
		if got := DropSpecks(m, fraction); got != dropped {
			t.Fatalf("dropped %d components, want %d", got, dropped)
		}
		for i, l := range label {
			at := i/w*m.Stride + i%w
			want := before[at]
			if float64(sums[l]) < fraction*float64(heaviest) {
				want = 0
			}
			if m.Pix[at] != want {
				t.Fatalf("value %d: got %d, want %d", i, m.Pix[at], want)
			}
		}
	})
}

func TestObjects(t *testing.T) {
	t.Parallel()
	type circle struct {
		x, y, r float64
		v       uint8
	}
	for name, tc := range map[string]struct {
		width, height int
		circles       []circle
		want          []image.Rectangle
	}{
		"nothing":         {100, 80, nil, nil},
		"one":             {100, 80, []circle{{50, 40, 20, 255}}, []image.Rectangle{image.Rect(30, 20, 70, 60)}},
		"faint only":      {100, 80, []circle{{50, 40, 20, 90}}, []image.Rectangle{image.Rect(30, 20, 70, 60)}},
		"two apart":       {200, 80, []circle{{40, 40, 20, 255}, {150, 40, 30, 255}}, []image.Rectangle{image.Rect(20, 10, 180, 70), image.Rect(120, 10, 180, 70), image.Rect(20, 20, 60, 60)}},
		"two large apart": {2000, 800, []circle{{400, 400, 200, 255}, {1500, 400, 300, 255}}, []image.Rectangle{image.Rect(200, 100, 1800, 700), image.Rect(1200, 100, 1800, 700), image.Rect(200, 200, 600, 600)}},
		"two that touch":  {200, 80, []circle{{60, 40, 30, 255}, {120, 40, 31, 255}}, []image.Rectangle{image.Rect(30, 9, 151, 71)}},
		"a hair between":  {400, 200, []circle{{100, 100, 80, 255}, {262, 100, 80, 255}}, []image.Rectangle{image.Rect(20, 20, 342, 180)}},
		"a crumb aside":   {200, 80, []circle{{60, 40, 30, 255}, {150, 40, 5, 255}}, []image.Rectangle{image.Rect(30, 10, 155, 70)}},
		"soft rim": {200, 80, []circle{{40, 40, 22, 20}, {40, 40, 20, 255}, {150, 40, 30, 255}},
			[]image.Rectangle{image.Rect(18, 10, 180, 70), image.Rect(120, 10, 180, 70), image.Rect(18, 18, 62, 62)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := image.NewGray(image.Rect(0, 0, tc.width, tc.height))
			for _, c := range tc.circles {
				disc(m, c.x, c.y, c.r, c.v)
			}
			if diff := cmp.Diff(tc.want, Objects(m)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestObjectsHoldTogether(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := grayOf(t, "mask")
		found := Objects(m)
		whole := Bounds(m)
		if whole.Empty() != (len(found) == 0) {
			t.Fatalf("box %v, objects %v", whole, found)
		}
		if len(found) > 0 && found[0] != whole || len(found) == 2 {
			t.Fatalf("box %v, objects %v", whole, found)
		}
		for _, r := range found {
			if r.Empty() || !r.In(whole) {
				t.Fatalf("%v does not lie in %v", r, whole)
			}
		}
	})
}

func TestDilate(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := grayOf(t, "mask")
		for i, v := range m.Pix {
			if v > 0 {
				m.Pix[i] = 255
			}
		}
		radius := rapid.IntRange(0, 9).Draw(t, "radius")
		got := dilate(m, radius)
		for y := range m.Rect.Dy() {
			for x := range m.Rect.Dx() {
				var want uint8
				for sy := y - radius; sy <= y+radius; sy++ {
					for sx := x - radius; sx <= x+radius; sx++ {
						want = max(want, m.GrayAt(sx, sy).Y)
					}
				}
				if v := got.GrayAt(x, y).Y; v != want {
					t.Fatalf("%d,%d: got %d, want %d", x, y, v, want)
				}
			}
		}
	})
}

func TestReduce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := grayOf(t, "mask")
		x0, y0 := rapid.IntRange(0, m.Rect.Dx()-1).Draw(t, "x0"), rapid.IntRange(0, m.Rect.Dy()-1).Draw(t, "y0")
		r := image.Rect(x0, y0, rapid.IntRange(x0+1, m.Rect.Dx()).Draw(t, "x1"), rapid.IntRange(y0+1, m.Rect.Dy()).Draw(t, "y1"))
		side := rapid.IntRange(1, 50).Draw(t, "side")
		got, f := reduce(m, r, side)
		if longest := max(got.Rect.Dx(), got.Rect.Dy()); longest > side || f > 1 && (max(r.Dx(), r.Dy())+f-2)/(f-1) <= side {
			t.Fatalf("%v became %v by %d, for a side of %d", r, got.Rect, f, side)
		}
		for y := range got.Rect.Dy() {
			for x := range got.Rect.Dx() {
				sum := 0
				for i := range f * f {
					if p := image.Pt(r.Min.X+x*f+i%f, r.Min.Y+y*f+i/f); p.In(r) {
						sum += int(m.GrayAt(p.X, p.Y).Y)
					}
				}
				want := (sum + f*f/2) / (f * f)
				if sum > 0 {
					want = max(want, 1)
				}
				if v := int(got.GrayAt(x, y).Y); v != want {
					t.Fatalf("%d,%d: got %d, want %d", x, y, v, want)
				}
			}
		}
	})
}
