package compositing

import (
	"encoding/binary"
	"image"
	"image/color"
	"math"
	"slices"
)

// DefaultShadow is a soft studio shadow: light from the upper left and a little from the front.
func DefaultShadow() Shadow {
	return Shadow{Opacity: 0.6, Blur: 0.035, Angle: -108, Length: 0.4, Color: color.NRGBA{A: 255}}
}

const (
	shadowSide    = 448  // longest side of the reduced mask from which the shadow is made: it is soft anyway
	groundSlope   = 0.3  // steepest ground: beyond it the silhouette's underside is the subject's and not the floor
	shadowParts   = 8    // most separate parts with a shadow of their own
	shadowGap     = 0.02 // parts nearer than this, as a fraction of the subject's longer side, stand together
	shadowMinArea = 0.01 // of the largest part; smaller ones cast none
)

// Darkness of the shadow's parts against the darkest place, where they meet.
const (
	coreLevel    = 0.9  // the thin line where a foot stands
	ambientLevel = 0.5  // the light kept away around it
	castLevel    = 0.5  // the silhouette on the floor, at its root
	wallLevel    = 0.25 // the halo behind a subject cut off by the lower edge
)

// CastShadow makes the layer that the subject of mask throws on an imagined floor: the colour of s with alpha, of the
// size of mask. It has two parts. The contact shadow hugs the parts of the silhouette's lower edge that can stand on
// the floor, each foot or wheel at its own height. The cast shadow is the silhouette laid down on the floor from there,
// softer and fainter with distance. Alpha is meant for plain (sRGB) blending on white; Compose keeps its look on other
// backgrounds. A subject that the picture's lower edge cuts off stands on nothing that is seen: it gets a faint halo as
// from a wall behind it instead. Parts clearly apart stand on their own ground. An empty mask gives an empty layer.
func CastShadow(mask *image.Gray, s Shadow) *image.NRGBA {
	w, h := mask.Rect.Dx(), mask.Rect.Dy()
	out := image.NewNRGBA(image.Rect(0, 0, w, h))
	box := Bounds(mask)
	s = s.sane()
	if box.Empty() || s.Opacity == 0 {
		return out
	}
	small, f := reduce(mask, box, shadowSide)
	bottom := float64(h-box.Min.Y) / float64(f)
	figures := findFigures(small, bottom)
	if len(figures) == 0 {
		return out
	}
	canvas := image.Rect(
		-(box.Min.X+f-1)/f, -(box.Min.Y+f-1)/f,
		(w-box.Min.X+f-1)/f, (h-box.Min.Y+f-1)/f)

	var area image.Rectangle
	for _, p := range figures {
		area = area.Union(p.reach(s))
	}
	// One pixel of nothing all around lets the enlargement fade to 0 at the rim.
	area = area.Intersect(canvas.Inset(-1)).Inset(-1)
	light := newPlane(area.Dx(), area.Dy()) // what the shadow lets through
	for i := range light.pix {
		light.pix[i] = 1
	}
	for _, p := range figures {
		p.shade(light, area, s)
	}

	// From light kept away, in linear light, to the alpha that looks so on white, in 1/256.
	alpha := make([]int32, len(light.pix))
	var curve [1025]float32
	dark := 1 - toLinear(1-s.Opacity)
	for i := range curve {
		curve[i] = float32(256 * 255 * (1 - fromLinear(1-dark*float64(i)/1024)))
	}
	for i, v := range light.pix {
		t := max(0, 1-v) * 1024
		j := min(int(t), 1023)
		alpha[i] = int32(curve[j] + (curve[j+1]-curve[j])*(t-float32(j)) + 0.5)
	}
	enlarge(out, alpha, area, box.Min, f, packed(s.Color)&0xffffff)
	return out
}

// sane brings every field into its range.
func (s Shadow) sane() Shadow {
	limit := func(v, low, high float64) float64 {
		if math.IsNaN(v) {
			return low
		}
		return min(max(v, low), high)
	}
	s.Opacity = limit(s.Opacity, 0, 1)
	s.Blur = limit(s.Blur, 0, 0.5)
	s.Length = limit(s.Length, 0, 3)
	if math.IsNaN(s.Angle) || math.IsInf(s.Angle, 0) {
		s.Angle = 0
	}
	return s
}

// figure is one part of the subject on its own ground, in pixels of the reduced mask.
type figure struct {
	mask  *image.Gray // the reduced mask of the whole subject
	box   image.Rectangle
	rows  []run     // its pixels over one half
	area  int       // number of them
	size  float64   // what lengths are measured by: small for thin things, whichever way they lie
	floor []float64 // height of the floor in each column of box
	under []float64 // lower edge of each column of box, from the top of the mask; -1 where there is none
	stand []float64 // how surely each column stands on the floor, 0..1
	cut   float64   // how surely the picture's lower edge cuts it off, 0..1
}

// findFigures splits the reduced mask into the parts that stand by themselves. bottom is the picture's lower edge.
func findFigures(mask *image.Gray, bottom float64) []figure {
	w, h := mask.Rect.Dx(), mask.Rect.Dy()
	core := image.NewGray(mask.Rect)
	for i, v := range mask.Pix {
		if v > 127 {
			core.Pix[i] = 255
		}
	}
	grown := dilate(core, max(1, int(shadowGap*float64(max(w, h))/2+0.5)))
	groups := findRuns(grown, 255)
	label := make([]int32, w*h) // 1 + index into figs of each pixel's group
	index := map[int32]int32{}
	for i, r := range groups {
		root := groups.find(int32(i))
		if _, ok := index[root]; !ok {
			index[root] = int32(len(index) + 1)
		}
		for x := r.x0; x < r.x1; x++ {
			label[int(r.y)*w+int(x)] = index[root]
		}
	}
	figs := make([]figure, len(index))
	for _, r := range findRuns(core, 255) {
		f := &figs[label[int(r.y)*w+int(r.x0)]-1]
		f.rows = append(f.rows, r)
		f.area += int(r.x1 - r.x0)
		f.box = f.box.Union(image.Rect(int(r.x0), int(r.y), int(r.x1), int(r.y)+1))
	}
	slices.SortStableFunc(figs, func(a, b figure) int { return b.area - a.area })
	n, lowest := 0, 0
	for n < min(len(figs), shadowParts) && float64(figs[n].area) >= shadowMinArea*float64(figs[0].area) {
		lowest = max(lowest, figs[n].box.Max.Y)
		n++
	}
	figs = figs[:n]
	for i := range figs {
		figs[i].mask = mask
		figs[i].settle(bottom, float64(lowest))
	}
	return figs
}

// settle finds the floor under a figure and what of it stands there. lowest is the lower edge of the lowest figure:
// one that ends far above it hangs in the air.
func (f *figure) settle(bottom, lowest float64) {
	w, h := float64(f.box.Dx()), float64(f.box.Dy())
	f.size = min(math.Sqrt(w*h), 1.25*min(w, h))
	n := f.box.Dx()
	f.under = make([]float64, n)
	for i := range f.under {
		f.under[i] = -1
	}
	mw, mh := f.mask.Rect.Dx(), f.mask.Rect.Dy()
	for _, r := range f.rows {
		for x := int(r.x0); x < int(r.x1); x++ {
			// The share of the pixel below that is covered gives the edge between the pixels.
			y := int(r.y) + 1
			var part float64
			if y < mh {
				part = float64(f.mask.Pix[y*mw+x]) / 255
			}
			f.under[x-f.box.Min.X] = float64(y) + part
		}
	}

	// The floor: the lowest line over the underside that is nowhere steeper than groundSlope, spanned straight between
	// the places where it touches and level beyond the outermost of them.
	f.floor = slices.Clone(f.under)
	for i := 1; i < n; i++ {
		f.floor[i] = max(f.floor[i], f.floor[i-1]-groundSlope)
	}
	for i := n - 2; i >= 0; i-- {
		f.floor[i] = max(f.floor[i], f.floor[i+1]-groundSlope)
	}
	span(f.floor)
	first, last := -1, 0
	for i, u := range f.under {
		if u >= 0 && f.floor[i]-u < 0.5+0.005*f.size {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	for i := range first {
		f.floor[i] = f.floor[first]
	}
	for i := last + 1; i < n; i++ {
		f.floor[i] = f.floor[last]
	}

	// What stands there is low by itself, near its neighbours' lowest point, and near the floor.
	low := highest(f.under, max(1, int(0.1*f.size+0.5)))
	f.stand = make([]float64, n)
	var stands, cut float64
	for i, u := range f.under {
		if u < 0 {
			continue
		}
		v := fall((low[i]-u)/(0.045*f.size)) * fall((f.floor[i]-u)/(0.22*f.size))
		stands += v
		if u > bottom-1-0.01*f.size {
			cut += v
			v = 0
		}
		f.stand[i] = v
	}
	share := cut / w
	f.cut = rise((share-0.2)/0.3) * rise(cut/max(stands, 1e-9)/0.5-0.5)
	air := rise((lowest-float64(f.box.Max.Y))/lowest/0.2 - 1)
	for i := range f.stand {
		f.stand[i] *= 1 - air
	}
}

// rise goes smoothly from 0 at 0 to 1 at 1, fall the other way.
func rise(t float64) float64 {
	t = min(max(t, 0), 1)
	return t * t * (3 - 2*t)
}

func fall(t float64) float64 { return 1 - rise(t) }

// span replaces v by its concave majorant: the string stretched over it.
func span(v []float64) {
	hull := make([]int, 0, len(v))
	for i := range v {
		for len(hull) >= 2 {
			a, b := hull[len(hull)-2], hull[len(hull)-1]
			if (v[b]-v[a])*float64(i-a) > (v[i]-v[a])*float64(b-a) {
				break
			}
			hull = hull[:len(hull)-1]
		}
		hull = append(hull, i)
	}
	for k := 1; k < len(hull); k++ {
		a, b := hull[k-1], hull[k]
		for i := a + 1; i < b; i++ {
			v[i] = v[a] + (v[b]-v[a])*float64(i-a)/float64(b-a)
		}
	}
}

// highest returns the largest value within radius of each index.
func highest(v []float64, radius int) []float64 {
	out := make([]float64, len(v))
	for i := range v {
		out[i] = slices.Max(v[max(i-radius, 0):min(i+radius+1, len(v))])
	}
	return out
}

// fallTo is where the shadow of a point one unit above the floor falls, in units right of and below its foot.
func (s Shadow) fallTo() (dx, dy float64) {
	sin, cos := math.Sincos(s.Angle * math.Pi / 180)
	dx, dy = -sin*s.Length, cos*s.Length
	// A real thing has depth: even light from the side lays no line on the floor.
	if least := 0.12 * s.Length; math.Abs(dy) < least {
		dy = math.Copysign(least, dy)
	}
	return dx, dy
}

// reach is a rectangle that holds all of the figure's shadow.
func (f *figure) reach(s Shadow) image.Rectangle {
	dx, dy := s.fallTo()
	h := float64(f.box.Dy()) + groundSlope*float64(f.box.Dx())
	soft := int(math.Ceil(max(3*2.5*s.Blur*h, 0.3*f.size))) + 2
	r := f.box
	if f.cut < 1 {
		r = r.Union(r.Add(image.Pt(int(dx*h), int(dy*h))))
	}
	return r.Inset(-soft)
}

// shade multiplies into light, which covers area, what the figure's shadow lets through.
func (f *figure) shade(light plane, area image.Rectangle, s Shadow) {
	r := f.reach(s).Intersect(area)
	if r.Empty() {
		return
	}
	work, tmp := newPlane(r.Dx(), r.Dy()), newPlane(r.Dx(), r.Dy())
	absorb := func(p plane, level float64) {
		for y := range p.h {
			l := light.row(y + r.Min.Y - area.Min.Y)[r.Min.X-area.Min.X:][:p.w]
			for x, v := range p.row(y) {
				l[x] *= 1 - float32(level)*min(v, 1)
			}
		}
		clear(p.pix)
	}
	if f.cut > 0 {
		f.wall(work, r)
		work.blur(0.05*f.size, 0.05*f.size, tmp)
		absorb(work, wallLevel*f.cut)
	}
	if f.cut == 1 {
		return
	}
	floor := 1 - f.cut
	f.contact(work, r, 0.05*f.size, 0.006*f.size)
	work.blur(0.012*f.size, 0.008*f.size, tmp)
	absorb(work, coreLevel*floor)

	f.contact(work, r, 0.1*f.size, 0.015*f.size)
	work.blur(0.05*f.size, 0.025*f.size, tmp)
	absorb(work, ambientLevel*floor)

	if s.Length > 0 {
		sum := newPlane(r.Dx(), r.Dy())
		h := float64(f.box.Dy())
		for band, soft := range [3]float64{0.35, 1, 2} {
			f.cast(work, r, s, band)
			work.blur(max(soft*s.Blur*h, 0.8), max(soft*s.Blur*h*0.6, 0.8), tmp)
			for i, v := range work.pix {
				sum.pix[i] += v
			}
			clear(work.pix)
		}
		absorb(sum, castLevel*floor)
	}
}

// contact draws the standing parts of the figure's lower edge, from above to below it.
func (f *figure) contact(p plane, r image.Rectangle, above, below float64) {
	for i, v := range f.stand {
		x := f.box.Min.X + i - r.Min.X
		if v <= 0 || x < 0 || x >= p.w {
			continue
		}
		top, bottom := f.under[i]-above-float64(r.Min.Y), f.under[i]+below-float64(r.Min.Y)
		for y := max(int(top), 0); y < min(int(math.Ceil(bottom)), p.h); y++ {
			cover := min(bottom, float64(y+1)) - max(top, float64(y))
			p.pix[y*p.w+x] = float32(v * cover)
		}
	}
}

// cast lays the figure down on the floor: one of three bands of height, that overlap and add up to all of it.
func (f *figure) cast(p plane, r image.Rectangle, s Shadow, band int) {
	dx, dy := s.fallTo()
	tall := float64(f.box.Dy())
	steps := int(math.Ceil(s.Length)) // where the shadow is longer than the figure, rows would leave gaps
	for _, run := range f.rows {
		for x := int(run.x0); x < int(run.x1); x++ {
			floor := f.floor[x-f.box.Min.X]
			for step := range steps {
				h := max(floor-float64(run.y)-(float64(step)+0.5)/float64(steps), 0)
				t := h / tall
				v := (1 - math.Abs(2*t-float64(band))) * (1 - 0.7*t)
				if v <= 0 {
					continue
				}
				tx := int(float64(x)+0.5+h*dx) - r.Min.X
				ty := int(floor+h*dy) - r.Min.Y
				if tx < 0 || ty < 0 || tx >= p.w || ty >= p.h {
					continue
				}
				if at := &p.pix[ty*p.w+tx]; *at < float32(v) {
					*at = float32(v)
				}
			}
		}
	}
}

// wall draws the figure itself, a little to the right and below, going on under the picture's lower edge.
func (f *figure) wall(p plane, r image.Rectangle) {
	shift := int(0.02*f.size + 0.5)
	for _, run := range f.rows {
		y := int(run.y) + shift - r.Min.Y
		last := y
		if int(run.y) == f.box.Max.Y-1 {
			last = p.h - 1
		}
		for ; y <= last; y++ {
			if y < 0 || y >= p.h {
				continue
			}
			for x := max(int(run.x0)+shift-r.Min.X, 0); x < min(int(run.x1)+shift-r.Min.X, p.w); x++ {
				p.pix[y*p.w+x] = 1
			}
		}
	}
}

// enlarge writes the colour rgb with the given alpha, in 1/256, factor times enlarged, to where area lies in out.
// Pixel (0,0) of the reduced mask has its upper left corner at origin.
func enlarge(out *image.NRGBA, alpha []int32, area image.Rectangle, origin image.Point, factor int, rgb uint32) {
	w := area.Dx()
	full := image.Rectangle{area.Min.Mul(factor).Add(origin), area.Max.Mul(factor).Add(origin)}.Intersect(out.Rect)
	// Positions in the reduced plane are in 1/(2*factor) pixels, measured from the centre of its first one.
	unit := 2 * factor
	split := func(at, low int) (int, int) {
		u := max(2*(at-low)+1-factor, 0)
		return u / unit, u % unit
	}
	eachBand(full.Dx(), full.Dy(), func(y0, y1 int) {
		line := make([]int32, w)
		for y := full.Min.Y + y0; y < full.Min.Y+y1; y++ {
			ay, fy := split(y, area.Min.Y*factor+origin.Y)
			a := alpha[ay*w : ay*w+w]
			b := a
			if ay+1 < area.Dy() {
				b = alpha[(ay+1)*w : (ay+2)*w]
			}
			var any int32
			for x := range line {
				v := a[x]*int32(unit-fy) + b[x]*int32(fy)
				line[x] = v
				any |= v
			}
			if any == 0 {
				continue
			}
			dst := row(out.Pix, out.Stride, y, 4*out.Rect.Dx())
			scale := int64(unit) * int64(unit) * 256
			for x := full.Min.X; x < full.Max.X; x++ {
				ax, fx := split(x, area.Min.X*factor+origin.X)
				right := min(ax+1, w-1)
				if line[ax]|line[right] == 0 {
					continue
				}
				v := (int64(line[ax])*int64(unit-fx) + int64(line[right])*int64(fx) + scale/2) / scale
				if v > 0 {
					binary.LittleEndian.PutUint32(dst[4*x:], rgb|uint32(v)<<24)
				}
			}
		}
	})
}
