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
	return Shadow{Opacity: 0.75, Blur: 0.035, Angle: -110, Length: 0.4, Color: color.NRGBA{A: 255}}
}

const (
	shadowSide    = 320  // longest side of the reduced mask from which the shadow is made: it is soft anyway
	groundSlope   = 0.3  // steepest ground: beyond it the silhouette's underside is the subject's and not the floor
	shadowParts   = 8    // most separate parts with a shadow of their own
	shadowGap     = 0.02 // parts nearer than this, as a fraction of the subject's longer side, stand together
	shadowMinArea = 0.01 // of the largest part; smaller ones cast none
)

// Darkness of the shadow's layers against that of the darkest place.
const (
	coreLevel    = 0.95 // the thin line where a foot stands
	ambientLevel = 0.55 // the light kept away around it
	poolLevel    = 0.4  // the soft pool under all of the figure, as from a wide light overhead
	castLevel    = 0.55 // the silhouette on the floor, at its root
	wallLevel    = 0.35 // the halo behind a figure cut off by the picture's lower edge
)

// CastShadow makes the layer that the subject of mask throws on an imagined floor: the colour of s with alpha, of the
// size of mask. The contact shadow hugs the parts of the silhouette's lower edge that can stand on the
// floor, each foot or wheel at its own height, in a soft pool under the whole. The cast shadow is the silhouette laid down on the floor from there,
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
	layers := make([][][]layer, len(figures))
	for i := range figures {
		layers[i] = figures[i].layers(s)
		for _, l := range slices.Concat(layers[i]...) {
			area = area.Union(l.grown())
		}
	}
	// One pixel of nothing all around lets the enlargement fade to 0 at the rim.
	area = area.Intersect(canvas.Inset(-1)).Inset(-1)
	light := newPlane(area.Dx(), area.Dy()) // what the shadow lets through
	for i := range light.pix {
		light.pix[i] = 1
	}
	for i := range figures {
		figures[i].shade(light, area, layers[i])
	}

	// From light kept away, in linear light, to the alpha that looks so on white.
	var curve [1026]float32
	dark := 1 - toLinear(1-s.Opacity)
	for i := range curve {
		curve[i] = float32(255 * (1 - fromLinear(1-dark*min(float64(i)/1024, 1))))
	}
	alpha := light
	for i, v := range light.pix {
		t := max(0, 1-v) * 1024
		j := int(t)
		alpha.pix[i] = curve[j] + (curve[j+1]-curve[j])*(t-float32(j))
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
	pool  []float64 // how much light each column keeps from the floor under it, 0..1
	air   float64   // how surely it stands on no floor that is seen, 0..1
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
	n := 0
	for n < min(len(figs), shadowParts) && float64(figs[n].area) >= shadowMinArea*float64(figs[0].area) {
		n++
	}
	figs = figs[:n]
	for i := range figs {
		figs[i].mask = mask
		figs[i].settle(bottom)
	}
	for i := range figs {
		figs[i].lift(figs)
	}
	return figs
}

// settle finds the floor under a figure and what of it stands there.
func (f *figure) settle(bottom float64) {
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
	var cut, stands float64
	for i, u := range f.under {
		if u < 0 {
			continue
		}
		if u > bottom-1-0.005*f.size {
			cut++
			continue
		}
		f.stand[i] = fall((low[i]-u)/(0.045*f.size)) * fall((f.floor[i]-u)/(0.22*f.size))
		stands += f.stand[i]
	}
	// The edge cuts the figure off where it takes a fair part of its width and most of what would stand.
	f.cut = rise((cut/w-0.1)/0.15) * rise((cut/max(cut+stands, 1)-0.25)/0.35)
	f.pool = make([]float64, n)
	for i, u := range f.under {
		if u >= 0 {
			f.pool[i] = fall((f.floor[i] - u) / (0.6 * h))
		}
	}
}

// lift finds how surely a figure stands on no floor because another one lies below it: clearly apart, it hangs in the
// air; above one that the picture's edge cuts off, it is a piece of that.
func (f *figure) lift(all []figure) {
	for i := range all {
		o := &all[i]
		shared := min(f.box.Max.X, o.box.Max.X) - max(f.box.Min.X, o.box.Min.X)
		gap := o.box.Min.Y - f.box.Max.Y
		if gap <= 0 || 2*shared < f.box.Dx() {
			continue
		}
		f.air = max(f.air, rise(float64(gap)/float64(f.box.Dy())/0.4-0.25), o.cut)
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

// layer is one of the soft shapes that a figure's shadow is made of.
type layer struct {
	area   image.Rectangle // that holds it before it is blurred
	sx, sy float64         // deviations of the blur
	level  float64
	draw   func(p plane, at image.Point) // at is the upper left corner of p
}

// grown is the area of the layer once it is blurred.
func (l layer) grown() image.Rectangle {
	x, y := int(3*l.sx)+2, int(3*l.sy)+2
	return image.Rect(l.area.Min.X-x, l.area.Min.Y-y, l.area.Max.X+x, l.area.Max.Y+y)
}

// layers returns the parts of the figure's shadow. Those of one group add up before they take light away.
func (f *figure) layers(s Shadow) [][]layer {
	var groups [][]layer
	if f.cut > 0 {
		shift := int(0.02*f.size + 0.5)
		area := f.box.Add(image.Pt(shift, shift))
		area.Max.Y += int(0.2 * f.size) // it goes on under the picture's lower edge, so that the blur does not fade there
		groups = append(groups, []layer{{area, 0.05 * f.size, 0.05 * f.size, wallLevel * f.cut,
			func(p plane, at image.Point) { f.wall(p, at, shift) }}})
	}
	level := (1 - f.cut) * (1 - f.air)
	if level == 0 {
		return groups
	}
	lines := func(at, weight []float64, above, below, sx, sy, level float64) {
		above, below, sx, sy = above*f.size, below*f.size, sx*f.size, sy*f.size
		area := f.box
		area.Min.Y, area.Max.Y = math.MaxInt32, math.MinInt32
		for i, v := range weight {
			if v > 0 {
				area.Min.Y = min(area.Min.Y, int(math.Floor(at[i]-above)))
				area.Max.Y = max(area.Max.Y, int(math.Ceil(at[i]+below)))
			}
		}
		if area.Empty() {
			return
		}
		groups = append(groups, []layer{{area, sx, sy, level,
			func(p plane, corner image.Point) { f.line(p, corner, at, weight, above, below) }}})
	}
	lines(f.under, f.stand, 0.05, 0.018, 0.012, 0.01, level*coreLevel)
	lines(f.under, f.stand, 0.08, 0.02, 0.04, 0.025, level*ambientLevel)
	lines(f.floor, f.pool, 0.06, 0.03, 0.09, 0.04, level*poolLevel)

	if s.Length > 0 {
		dx, dy := s.fallTo()
		// The floor can lie below the figure's own lower edge, so a point can be higher above it than the box is tall.
		low, high := slices.Min(f.floor), slices.Max(f.floor)
		tall := max(high-float64(f.box.Min.Y), 1)
		area := image.Rect(
			f.box.Min.X+int(math.Floor(min(0, dx*tall))), int(math.Floor(low+min(0, dy*tall))),
			f.box.Max.X+int(math.Ceil(max(0, dx*tall))), int(math.Ceil(high+max(0, dy*tall)))+1)
		var bands []layer
		for band, soft := range [3]float64{0.35, 1, 2} {
			sigma := soft * s.Blur * float64(f.box.Dy())
			bands = append(bands, layer{area, max(sigma, 0.8), max(0.6*sigma, 0.8), level * castLevel,
				func(p plane, at image.Point) { f.cast(p, at, s, band) }})
		}
		groups = append(groups, bands)
	}
	return groups
}

// shade multiplies into light, which covers area, what the figure's shadow lets through.
func (f *figure) shade(light plane, area image.Rectangle, groups [][]layer) {
	for _, g := range groups {
		var r image.Rectangle
		var level float64
		soft := 0.0
		for _, l := range g {
			r = r.Union(l.grown())
			level = l.level
			soft = max(soft, l.sx, l.sy)
		}
		// What lies outside of the canvas still counts as far as the blur brings it in.
		r = r.Intersect(area.Inset(-int(3*soft) - 2))
		seen := r.Intersect(area)
		if seen.Empty() {
			continue
		}
		work, tmp := newPlane(r.Dx(), r.Dy()), newPlane(r.Dx(), r.Dy())
		sum := work
		for i, l := range g {
			if i == 1 {
				work = newPlane(r.Dx(), r.Dy())
			}
			l.draw(work, r.Min)
			work.blur(l.sx, l.sy, tmp)
			if i > 0 {
				for j, v := range work.pix {
					sum.pix[j] += v
				}
				clear(work.pix)
			}
		}
		for y := seen.Min.Y; y < seen.Max.Y; y++ {
			through := light.row(y - area.Min.Y)[seen.Min.X-area.Min.X:][:seen.Dx()]
			for x, v := range sum.row(y - r.Min.Y)[seen.Min.X-r.Min.X:][:seen.Dx()] {
				through[x] *= 1 - float32(level)*min(v, 1)
			}
		}
	}
}

// line draws a stroke along the heights at, from above to below them, as strong as weight tells for each column.
func (f *figure) line(p plane, corner image.Point, at, weight []float64, above, below float64) {
	for i, v := range weight {
		x := f.box.Min.X + i - corner.X
		if v <= 0 || x < 0 || x >= p.w {
			continue
		}
		top, bottom := at[i]-above-float64(corner.Y), at[i]+below-float64(corner.Y)
		for y := max(int(top), 0); y < min(int(math.Ceil(bottom)), p.h); y++ {
			cover := min(bottom, float64(y+1)) - max(top, float64(y))
			p.pix[y*p.w+x] = float32(v * cover)
		}
	}
}

// cast lays the figure down on the floor: one of three bands of height, that overlap and add up to all of it.
func (f *figure) cast(p plane, at image.Point, s Shadow, band int) {
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
				tx := int(math.Floor(float64(x)+0.5+h*dx)) - at.X
				ty := int(math.Floor(floor+h*dy)) - at.Y
				if tx < 0 || ty < 0 || tx >= p.w || ty >= p.h {
					continue
				}
				if to := &p.pix[ty*p.w+tx]; *to < float32(v) {
					*to = float32(v)
				}
			}
		}
	}
}

// wall draws the figure itself, a little to the right and below, going on under the picture's lower edge.
func (f *figure) wall(p plane, at image.Point, shift int) {
	for _, run := range f.rows {
		y := int(run.y) + shift - at.Y
		last := y
		if int(run.y) == f.box.Max.Y-1 {
			last = p.h - 1
		}
		for ; y <= last; y++ {
			if y < 0 || y >= p.h {
				continue
			}
			for x := max(int(run.x0)+shift-at.X, 0); x < min(int(run.x1)+shift-at.X, p.w); x++ {
				p.pix[y*p.w+x] = 1
			}
		}
	}
}

// enlarge writes the colour rgb with the given alpha, 0..255, factor times enlarged between the pixels' centres, to
// where area, that of alpha, lies in out. Pixel (0,0) of the reduced mask has its upper left corner at origin.
func enlarge(out *image.NRGBA, alpha plane, area image.Rectangle, origin image.Point, factor int, rgb uint32) {
	width := out.Rect.Dx()
	full := image.Rectangle{Min: area.Min.Mul(factor), Max: area.Max.Mul(factor)}.Add(origin)
	// The rim of area is 0, so only what lies between the centres of its outermost pixels is drawn.
	first := full.Min.Add(image.Pt(factor/2, factor/2))
	rows := full.Intersect(out.Rect)
	eachBand(rows.Dx(), rows.Dy(), func(y0, y1 int) {
		line := make([]float32, alpha.w)
		for y := max(rows.Min.Y+y0, first.Y); y < rows.Min.Y+y1; y++ {
			ay := (y - first.Y) / factor
			if ay+1 >= alpha.h {
				return
			}
			share := phase((y-first.Y)%factor, factor)
			a, b := alpha.row(ay), alpha.row(ay+1)
			for x := range line {
				line[x] = a[x] + (b[x]-a[x])*share
			}
			dst := row(out.Pix, out.Stride, y, 4*width)
			for ax := range len(line) - 1 {
				left, right := line[ax], line[ax+1]
				if left+right < 0.5 {
					continue
				}
				step := (right - left) / float32(factor)
				v := left + (right-left)*phase(0, factor) + 0.5
				from := first.X + ax*factor
				for x := from; x < from+factor; x++ {
					if q := uint32(v); q > 0 && x >= 0 && x < width {
						binary.LittleEndian.PutUint32(dst[4*x:], rgb|q<<24)
					}
					v += step
				}
			}
		}
	})
}

// phase is how far the i-th small pixel right of a large one's centre lies on the way to the next one's. The centre of
// an odd number of small pixels is one of them.
func phase(i, factor int) float32 {
	if factor%2 == 1 {
		return float32(i) / float32(factor)
	}
	return (float32(i) + 0.5) / float32(factor)
}
