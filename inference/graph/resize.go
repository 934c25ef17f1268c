package graph

import (
	"fmt"
	"math"

	"cutout/inference/kernels"
	"cutout/inference/tensor"
)

// resize is a linear or nearest Resize over height and width. In blocks a task is a band of rows of one channel block,
// on row-major pictures a band of one plane.
type resize struct {
	name           string
	n, planes      int // pictures, planes (blocks or channels) a picture
	ih, iw, oh, ow int
	lanes          int // 16 in blocks, 1 on planes
	src            []view
	plain          *store
	dst            *store
	y0, y1         []int
	wy             []float32
	x0, x1         []int // in pixels; byte offsets in blocks
	wx             []float32
	bands          int
}

func (c *compiler) lowerResize(call *Call) bool {
	in, out := call.In[0], call.Out[0]
	if in == nil || out == nil || !is4D(in) || !is4D(out) {
		return false
	}
	n, ch, ih, iw := dims(in)
	on, och, oh, ow := dims(out)
	if on != n || och != ch {
		return false
	}
	r, ok := resizeRule(call)
	if !ok {
		return false
	}
	s := &resize{n: n, ih: ih, iw: iw, oh: oh, ow: ow}
	s.y0, s.y1, s.wy = r.axis(ih, oh, 2)
	s.x0, s.x1, s.wx = r.axis(iw, ow, 3)
	name := fmt.Sprintf("Resize %d %dx%d>%dx%d", ch, ih, iw, oh, ow)
	if ch < block/2 && !c.isBlocked(in) {
		s.lanes, s.planes = 1, ch
		s.plain = c.plain(in)
		s.dst = c.newPlain(out)
		s.bands = max(1, min(oh, 4/(n*ch)))
		c.needScratch(iw)
		c.emit(name, s, []*store{s.plain}, s.dst)
		return true
	}
	s.lanes, s.planes = block, blocksOf(ch)
	for i := range s.x0 {
		s.x0[i] *= block * 4
		s.x1[i] *= block * 4
	}
	s.name = name
	s.src = c.blocked(in)
	if len(s.src) == 1 && n == 1 && oh >= ih && ow >= iw && readByWinograd(out) {
		c.places[out] = &place{blocked: []view{{st: s.src[0].st, blocks: s.planes, up: s}}, slot: -1}
		return true
	}
	s.dst = c.newBlocked(out)
	c.emitResize(s)
	return true
}

// emitResize appends a resize in blocks.
func (c *compiler) emitResize(s *resize) {
	s.bands = max(1, min(s.oh, 4/(s.n*s.planes)))
	c.needScratch(s.iw * block)
	c.emit(s.name, s, storesOf(s.src), s.dst)
}

// readByWinograd tells whether all that reads v, directly or joined with others, are convolutions that enlarge what they
// read while they transform it: the large picture is then never written.
func readByWinograd(v *Value) bool {
	if v.Output || len(v.Users) == 0 {
		return false
	}
	for _, call := range v.Users {
		switch call.Node.OpType {
		case "Concat":
			if call.Out[0] == nil || !is4D(call.Out[0]) || !readByWinograd(call.Out[0]) {
				return false
			}
		case "Conv":
			if !isWinograd(call) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// rule is how Resize maps an output coordinate to the input.
type rule struct {
	mode, coordinates, nearest string
	scales                     []float32 // nil: output over input size
}

func resizeRule(call *Call) (r rule, ok bool) {
	a := call.Node.Attrs
	var err [6]error
	r.mode, err[0] = a.String("mode", "nearest")
	r.coordinates, err[1] = a.String("coordinate_transformation_mode", "half_pixel")
	r.nearest, err[2] = a.String("nearest_mode", "round_prefer_floor")
	antialias, e3 := a.Int("antialias", 0)
	policy, e4 := a.String("keep_aspect_ratio_policy", "stretch")
	err[3], err[4] = e3, e4
	for _, e := range err {
		if e != nil {
			return r, false
		}
	}
	if antialias != 0 || policy != "stretch" || a.Has("axes") {
		return r, false
	}
	at := 2
	if call.Node.OpType == "Upsample" || call.Node.Opset < 11 {
		// These know one rule: asymmetric, and floor for nearest.
		r.coordinates, r.nearest, at = "asymmetric", "floor", 1
	}
	switch r.mode {
	case "linear", "bilinear":
		r.mode = "linear"
	case "nearest":
	default:
		return r, false
	}
	switch r.coordinates {
	case "half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners":
	default:
		return r, false
	}
	scales := []float32(nil)
	if a.Has("scales") {
		if scales, err[5] = a.Floats("scales"); err[5] != nil {
			return r, false
		}
	} else if len(call.In) > at && call.In[at] != nil {
		k := call.In[at].Const
		if k == nil || k.DType() != tensor.Float32 {
			return r, false
		}
		scales = tensor.Values[float32](k)
	}
	if len(scales) == 4 {
		r.scales = scales
	}
	return r, true
}

// axis returns for every output position the two input positions it blends and the weight of the second.
func (r rule) axis(in, out, dim int) (lo, hi []int, w []float32) {
	scale := float64(out) / float64(in)
	if r.scales != nil {
		scale = float64(r.scales[dim])
	}
	lo, hi, w = make([]int, out), make([]int, out), make([]float32, out)
	for i := range out {
		x := float64(i) / scale
		switch r.coordinates {
		case "half_pixel":
			x = (float64(i)+0.5)/scale - 0.5
		case "pytorch_half_pixel":
			x = 0
			if out > 1 {
				x = (float64(i)+0.5)/scale - 0.5
			}
		case "align_corners":
			x = 0
			if out > 1 {
				x = float64(i) * float64(in-1) / float64(out-1)
			}
		}
		if r.mode == "nearest" {
			switch r.nearest {
			case "floor":
				x = math.Floor(x)
			case "ceil":
				x = math.Ceil(x)
			case "round_prefer_ceil":
				x = math.Floor(x + 0.5)
			default:
				x = math.Ceil(x - 0.5)
			}
		}
		x = min(max(x, 0), float64(in-1))
		lo[i] = int(x)
		hi[i] = min(lo[i]+1, in-1)
		w[i] = float32(x - float64(lo[i]))
	}
	return lo, hi, w
}

// patch enlarges rows y0..y1 and columns x0..x1 of channel block src into dst, whose rows are width pixels apart; what
// lies outside of the enlarged picture is 0. tmp holds one row of src.
func (s *resize) patch(set *kernels.Set, dst, src []float32, y0, y1, x0, x1 int, tmp []float32) {
	width := x1 - x0
	from, to := max(x0, 0), min(x1, s.ow)
	if y0 < 0 || y1 > s.oh || x0 < 0 || x1 > s.ow {
		clear(dst[:(y1-y0)*width*block])
	}
	if from >= to {
		return
	}
	lo, hi := s.x0[from]/4, s.x1[to-1]/4+block
	for y := max(y0, 0); y < min(y1, s.oh); y++ {
		row := src[s.y0[y]*s.iw*block:][:s.iw*block]
		if s.wy[y] != 0 {
			other := src[s.y1[y]*s.iw*block:][:s.iw*block]
			set.Lerp(tmp[lo:hi], row[lo:hi], other[lo:hi], s.wy[y])
			row = tmp
		}
		set.GatherLerp(dst[((y-y0)*width+from-x0)*block:], row, s.x0[from:to], s.x1[from:to], s.wx[from:to])
	}
}

func (s *resize) tasks() int { return s.n * s.planes * s.bands }

func (s *resize) do(x *exec, w *worker, task int) {
	plane, band := task/s.bands, task%s.bands
	size := s.ih * s.iw * s.lanes
	var src []float32
	if s.lanes == 1 {
		src = x.buf(s.plain)[plane*size:][:size]
	} else {
		src = blockOf(x, s.src, plane, size)
	}
	dst := x.buf(s.dst)[plane*s.oh*s.ow*s.lanes:][:s.oh*s.ow*s.lanes]
	tmp := w.scratch[:s.iw*s.lanes]
	for y := s.oh * band / s.bands; y < s.oh*(band+1)/s.bands; y++ {
		row := src[s.y0[y]*s.iw*s.lanes:][:s.iw*s.lanes]
		if s.wy[y] != 0 {
			other := src[s.y1[y]*s.iw*s.lanes:][:s.iw*s.lanes]
			if s.lanes == 1 {
				for i := range tmp {
					tmp[i] = row[i] + (other[i]-row[i])*s.wy[y]
				}
			} else {
				x.plan.kernels.Lerp(tmp, row, other, s.wy[y])
			}
			row = tmp
		}
		d := dst[y*s.ow*s.lanes:][:s.ow*s.lanes]
		if s.lanes == 1 {
			for i := range d {
				a := row[s.x0[i]]
				d[i] = a + (row[s.x1[i]]-a)*s.wx[i]
			}
		} else {
			x.plan.kernels.GatherLerp(d, row, s.x0, s.x1, s.wx)
		}
	}
}
