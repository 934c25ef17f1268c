package ops

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"cutout/inference/tensor"
)

func resizeOps() []Op {
	return []Op{
		newOp("Resize", 10, 10, arity{2, 2, 1}, inferResize, runResize),
		newOp("Resize", 11, 0, arity{1, 4, 1}, inferResize, runResize),
		newOp("Upsample", 7, 8, arity{1, 1, 1}, inferResize, runResize),
		newOp("Upsample", 9, 9, arity{2, 2, 1}, inferResize, runResize),
	}
}

// ResizeAxis says how one axis is resampled: output position o is the sum over k of Weight[o*Taps+k] times the input
// at Index[o*Taps+k]. Indices are always inside the input. Where Outside is not nil and Outside[o] is set, the output
// is the extrapolation value instead.
type ResizeAxis struct {
	Axis, In, Out int
	Taps          int
	Index         []int32
	Weight        []float32
	Outside       []bool
}

// ResizePlan is everything a Resize or Upsample does, worked out from its attributes and inputs.
type ResizePlan struct {
	Out     []int        // output shape
	Nearest bool         // every axis has one tap of weight 1
	Axes    []ResizeAxis // axes that change, in ascending order; the rest is copied
	Fill    float32      // the extrapolation value
}

// resizeMode holds the attributes of a resize. The coordinate modes are those of the operator specification.
type resizeMode struct {
	mode, coordinates, nearest string
	cubicA                     float32
	excludeOutside, antialias  bool
	fill                       float32
	policy                     string
	axes                       []int // nil: all
	legacy                     bool  // opsets before 11: nearest rounds up when it shrinks
}

func readResizeMode(n *Node, rank int) (m resizeMode, err error) {
	linear := []string{"nearest", "linear"}
	switch {
	case n.OpType == "Upsample" || n.Opset < 11:
		// The first Upsample called its linear mode after the 2-D case.
		if m.mode, err = n.Attrs.OneOf("mode", append(linear, "bilinear", "trilinear")...); err != nil {
			return m, err
		}
		if m.mode != "nearest" {
			m.mode = "linear"
		}
		m.coordinates, m.nearest, m.policy, m.legacy = "asymmetric", "floor", "stretch", true
		return m, nil
	default:
		if m.mode, err = n.Attrs.OneOf("mode", append(linear, "cubic")...); err != nil {
			return m, err
		}
	}
	if m.coordinates, err = n.Attrs.OneOf("coordinate_transformation_mode", "half_pixel", "half_pixel_symmetric",
		"pytorch_half_pixel", "align_corners", "asymmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize"); err != nil {
		return m, err
	}
	if m.nearest, err = n.Attrs.OneOf("nearest_mode", "round_prefer_floor", "round_prefer_ceil", "floor", "ceil"); err != nil {
		return m, err
	}
	if m.policy, err = n.Attrs.OneOf("keep_aspect_ratio_policy", "stretch", "not_larger", "not_smaller"); err != nil {
		return m, err
	}
	if m.cubicA, err = n.Attrs.Float("cubic_coeff_a", -0.75); err != nil {
		return m, err
	}
	if m.fill, err = n.Attrs.Float("extrapolation_value", 0); err != nil {
		return m, err
	}
	if m.excludeOutside, err = n.Attrs.Bool("exclude_outside", false); err != nil {
		return m, err
	}
	if m.antialias, err = n.Attrs.Bool("antialias", false); err != nil {
		return m, err
	}
	if m.antialias && m.mode == "nearest" {
		return m, errors.New("attribute antialias does not go with mode nearest")
	}
	if n.Attrs.Has("axes") {
		axes, err := n.Attrs.Ints("axes")
		if err != nil {
			return m, err
		}
		if m.axes, err = axesIn(axes, rank); err != nil {
			return m, err
		}
	}
	return m, nil
}

// listValue returns the elements of input i, a list whose value must be known, as float32. ok is false where the
// input is omitted or empty, which the operator takes as omitted. An unknown value is ErrDynamic.
func listValue(in []Type, consts []*tensor.Tensor, i int) (v []float32, ok bool, err error) {
	if !present(in, i) {
		return nil, false, nil
	}
	if len(in[i].Shape) != 1 {
		return nil, false, fmt.Errorf("input %d has shape %v, want a list", i, in[i].Shape)
	}
	if in[i].Shape[0] == 0 {
		return nil, false, nil
	}
	if err := want(in, i, floatTypes...); err != nil {
		return nil, false, err
	}
	t := at(consts, i)
	if t == nil {
		return nil, false, ErrDynamic
	}
	if t.DType() == tensor.Float32 {
		return tensor.Values[float32](t), true, nil
	}
	for _, x := range tensor.Values[float64](t) {
		v = append(v, float32(x))
	}
	return v, true, nil
}

// target is the outcome of a resize along one axis. length is the output's length before it is cut to the integer
// out: the coordinate formulas count with its fraction where it comes of a scale.
type target struct {
	scale, length float32
	out           int
}

// resizeTargets works out what becomes of every axis.
func resizeTargets(n *Node, m resizeMode, in []Type, consts []*tensor.Tensor) ([]target, error) {
	shape := in[0].Shape
	axes := m.allAxes(len(shape))
	targets := make([]target, len(shape))
	for a, d := range shape {
		targets[a] = target{1, float32(d), d}
	}

	var scales []float32
	var sizes []int
	var err error
	switch {
	case n.OpType == "Upsample" && n.Opset < 9:
		scales, err = n.Attrs.Floats("scales")
	case n.Opset < 11:
		scales, _, err = listValue(in, consts, 1)
	default:
		if scales, _, err = listValue(in, consts, 2); err != nil {
			return nil, err
		}
		if present(in, 3) && tensorCount(in[3].Shape) != 0 {
			sizes, _, err = intsValue(in, consts, 3)
		}
	}
	if err != nil {
		return nil, err
	}
	if (len(scales) == 0) == (len(sizes) == 0) {
		return nil, errors.New("exactly one of scales and sizes must be given")
	}
	if given := max(len(scales), len(sizes)); given != len(axes) {
		return nil, fmt.Errorf("%d scales or sizes for %d axes", given, len(axes))
	}

	for i, s := range scales {
		a := axes[i]
		if n.OpType == "Upsample" && s < 1 {
			return nil, fmt.Errorf("scale %v of axis %d: Upsample takes 1 and more", s, a)
		}
		if targets[a], err = scaled(shape[a], s); err != nil {
			return nil, fmt.Errorf("axis %d: %w", a, err)
		}
		targets[a].out = int(targets[a].length)
	}

	for i, size := range sizes {
		a := axes[i]
		if size < 0 || size > maxSpatial {
			return nil, fmt.Errorf("size %d of axis %d is outside 0..%d", size, a, maxSpatial)
		}
		if shape[a] == 0 {
			if size != 0 {
				return nil, fmt.Errorf("axis %d of %v is empty and cannot grow", a, shape)
			}
			continue
		}
		targets[a] = target{float32(size) / float32(shape[a]), float32(size), size}
	}
	if len(sizes) == 0 || m.policy == "stretch" {
		return targets, nil
	}
	common := targets[axes[0]].scale
	for _, a := range axes[1:] {
		if m.policy == "not_larger" {
			common = min(common, targets[a].scale)
		} else {
			common = max(common, targets[a].scale)
		}
	}
	for _, a := range axes {
		if targets[a], err = scaled(shape[a], common); err != nil {
			return nil, fmt.Errorf("axis %d: %w", a, err)
		}
		targets[a].out = int(math.Floor(float64(targets[a].length) + 0.5))
	}
	return targets, nil
}

// scaled returns an axis of size in times scale, its integer length left open. The product is rounded to float32,
// as exporters expect of a scale such as 0.7.
func scaled(in int, scale float32) (target, error) {
	length := scale * float32(in)
	if !(scale > 0) || !(length <= maxSpatial) {
		return target{}, fmt.Errorf("scale %v of size %d is not a positive, bounded number", scale, in)
	}
	return target{scale: scale, length: length}, nil
}

// crops reports whether the coordinates are those of a region that may reach outside the input.
func (m *resizeMode) crops() bool { return m.coordinates == "tf_crop_and_resize" }

// allAxes returns the axes that scales, sizes and roi speak of.
func (m *resizeMode) allAxes(rank int) []int {
	if m.axes != nil {
		return m.axes
	}
	axes := make([]int, rank)
	for i := range axes {
		axes[i] = i
	}
	return axes
}

func outShape(targets []target) []int {
	shape := make([]int, len(targets))
	for i, t := range targets {
		shape[i] = t.out
	}
	return shape
}

func inferResize(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	m, err := readResizeMode(n, len(in[0].Shape))
	if err != nil {
		return nil, err
	}
	if m.mode != "nearest" {
		if err := want(in, 0, numberTypes...); err != nil {
			return nil, err
		}
	}
	if m.crops() && !present(in, 1) {
		return nil, errors.New("tf_crop_and_resize needs input roi")
	}
	targets, err := resizeTargets(n, m, in, consts)
	if err != nil {
		return nil, err
	}
	return []Type{{in[0].DType, outShape(targets)}}, nil
}

// NewResizePlan works out a Resize or Upsample node. consts[i] is the value of input i; scales, sizes and, for
// tf_crop_and_resize, roi must be known, else the error is ErrDynamic.
func NewResizePlan(n *Node, in []Type, consts []*tensor.Tensor) (*ResizePlan, error) {
	shape := in[0].Shape
	m, err := readResizeMode(n, len(shape))
	if err != nil {
		return nil, err
	}
	targets, err := resizeTargets(n, m, in, consts)
	if err != nil {
		return nil, err
	}
	roi := make([][2]float32, len(shape))
	for i := range roi {
		roi[i] = [2]float32{0, 1}
	}
	if m.crops() {
		v, ok, err := listValue(in, consts, 1)
		if err != nil {
			return nil, err
		}
		axes := m.allAxes(len(shape))
		if !ok || len(v) != 2*len(axes) {
			return nil, fmt.Errorf("tf_crop_and_resize needs roi with %d entries, has %d", 2*len(axes), len(v))
		}
		for i, a := range axes {
			roi[a] = [2]float32{v[i], v[len(axes)+i]}
			for _, r := range roi[a] {
				if !(math.Abs(float64(r)) < 1e6) { // NaN included
					return nil, fmt.Errorf("roi %v is not a bounded region", v)
				}
			}
		}
	}
	plan := &ResizePlan{Out: outShape(targets), Nearest: m.mode == "nearest", Fill: m.fill}
	if tensorCount(plan.Out) == 0 {
		return plan, nil
	}
	for a, t := range targets {
		if t.out == shape[a] && t.scale == 1 && (!m.crops() || roi[a] == [2]float32{0, 1}) {
			continue
		}
		ax, err := m.axis(shape[a], t, roi[a])
		if err != nil {
			return nil, fmt.Errorf("axis %d: %w", a, err)
		}
		ax.Axis = a
		plan.Axes = append(plan.Axes, ax)
	}
	return plan, nil
}

// source returns the input coordinate of output position o. Everything is float32, in the order of the
// specification's formulas: nearest rounds these numbers, so a more exact coordinate would pick other pixels than
// the runtimes that models are exported against.
func (m *resizeMode) source(o, in int, t target, roi [2]float32) float32 {
	x, scale, length := float32(o), t.scale, t.length
	switch m.coordinates {
	case "asymmetric":
		return x / scale
	case "align_corners":
		if t.out == 1 || length == 1 {
			return 0
		}
		return x * float32(in-1) / (length - 1)
	case "pytorch_half_pixel":
		if t.out == 1 {
			return 0
		}
	case "tf_half_pixel_for_nn":
		return (x + 0.5) / scale
	case "half_pixel_symmetric":
		adjust := float32(t.out) / length
		offset := float32(in) / 2 * (1 - adjust)
		return offset + (x+0.5)/scale - 0.5
	case "tf_crop_and_resize":
		if t.out == 1 || length == 1 {
			return 0.5 * (roi[0] + roi[1]) * float32(in-1)
		}
		return roi[0]*float32(in-1) + x*(roi[1]-roi[0])*float32(in-1)/(length-1)
	}
	return (x+0.5)/scale - 0.5
}

// round picks the input position nearest to coordinate x.
func (m *resizeMode) round(x, scale float32) int {
	v := float64(x)
	switch {
	case m.legacy && scale < 1:
		return int(math.Ceil(v))
	case m.nearest == "floor":
		return int(math.Floor(v))
	case m.nearest == "ceil":
		return int(math.Ceil(v))
	}
	// A tie may be off by rounding: ONNX Runtime takes what is within 1e-6 for one.
	if tie := math.Floor(v) + 0.5; math.Abs(v-tie) <= 1e-6 {
		v = tie
	}
	if m.nearest == "round_prefer_ceil" {
		return int(math.Floor(v + 0.5))
	}
	return int(math.Ceil(v - 0.5))
}

// maxTaps bounds the number of weights of one axis: half a gigabyte with their indices.
const maxTaps = 1 << 26

// axis builds the taps of one axis.
func (m *resizeMode) axis(in int, t target, roi [2]float32) (ResizeAxis, error) {
	out := t.out
	ax := ResizeAxis{In: in, Out: out, Taps: 1}
	shrink := 1.0
	if m.antialias {
		shrink = min(float64(t.scale), 1)
	}
	switch m.mode {
	case "linear":
		ax.Taps = 2 * int(math.Ceil(1/shrink))
	case "cubic":
		ax.Taps = 2 * int(math.Ceil(2/shrink))
	}
	if ax.Taps > maxTaps/out {
		return ax, fmt.Errorf("resampling %d to %d positions takes too many weights", in, out)
	}
	ax.Index, ax.Weight = make([]int32, out*ax.Taps), make([]float32, out*ax.Taps)
	if m.crops() {
		ax.Outside = make([]bool, out)
	}
	weights := make([]float64, ax.Taps)
	for o := range out {
		x := m.source(o, in, t, roi)
		if ax.Outside != nil && (x < 0 || x > float32(in-1)) {
			ax.Outside[o] = true
			continue // the taps stay at input 0 with weight 0
		}
		index, weight := ax.Index[o*ax.Taps:][:ax.Taps], ax.Weight[o*ax.Taps:][:ax.Taps]
		if m.mode == "nearest" {
			index[0], weight[0] = int32(min(max(m.round(x, t.scale), 0), in-1)), 1
			continue
		}
		// The taps are the positions around x, as many on either side.
		floor := math.Floor(float64(x))
		ratio := float64(x) - floor
		first := int(floor) - ax.Taps/2 + 1
		var sum float64
		for k := range weights {
			d := math.Abs(float64(k-ax.Taps/2+1)-ratio) * shrink
			if m.mode == "linear" {
				weights[k] = max(1-d, 0)
			} else {
				weights[k] = cubicWeight(d, float64(m.cubicA))
			}
			if m.excludeOutside && (first+k < 0 || first+k >= in) {
				weights[k] = 0
			}
			sum += weights[k]
		}
		if !m.antialias && !m.excludeOutside || sum == 0 {
			sum = 1 // the plain weights sum to 1 by construction
		}
		for k, w := range weights {
			index[k] = int32(min(max(first+k, 0), in-1))
			weight[k] = float32(w / sum)
		}
	}
	return ax, nil
}

// cubicWeight is Keys' cubic convolution kernel with parameter a at distance d >= 0.
// R. Keys, "Cubic convolution interpolation for digital image processing", 1981.
func cubicWeight(d, a float64) float64 {
	switch {
	case d <= 1:
		return ((a+2)*d-(a+3))*d*d + 1
	case d < 2:
		return ((a*d-5*a)*d+8*a)*d - 4*a
	}
	return 0
}

func runResize(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	plan, err := NewResizePlan(n, typesOf(in), in)
	if err != nil {
		return nil, err
	}
	switch in[0].DType() {
	case tensor.Float32:
		return resize[float32](plan, in[0])
	case tensor.Float64:
		return resize[float64](plan, in[0])
	case tensor.Int8:
		return resizeInts[int8](plan, in[0])
	case tensor.Int16:
		return resizeInts[int16](plan, in[0])
	case tensor.Int32:
		return resizeInts[int32](plan, in[0])
	case tensor.Int64:
		return resizeInts[int64](plan, in[0])
	case tensor.Uint8:
		return resizeInts[uint8](plan, in[0])
	case tensor.Uint16:
		return resizeInts[uint16](plan, in[0])
	case tensor.Uint32:
		return resizeInts[uint32](plan, in[0])
	case tensor.Uint64:
		return resizeInts[uint64](plan, in[0])
	default:
		return one(tensor.Of(pick(plan, tensor.Values[bool](in[0]), in[0].Shape(), plan.Fill != 0), plan.Out...)), nil
	}
}

func resize[T float32 | float64](p *ResizePlan, t *tensor.Tensor) ([]*tensor.Tensor, error) {
	if p.Nearest {
		return one(tensor.Of(pick(p, tensor.Values[T](t), t.Shape(), T(p.Fill)), p.Out...)), nil
	}
	y, err := resample(p, tensor.Values[T](t), t.Shape())
	if err != nil {
		return nil, err
	}
	return one(tensor.Of(y, p.Out...)), nil
}

// resizeInts interpolates in float64 and drops the fraction, as runtimes do; values beyond the type's range, which
// cubic makes, saturate.
func resizeInts[T integer](p *ResizePlan, t *tensor.Tensor) ([]*tensor.Tensor, error) {
	x := tensor.Values[T](t)
	if p.Nearest {
		return one(tensor.Of(pick(p, x, t.Shape(), saturate[T](float64(p.Fill))), p.Out...)), nil
	}
	v := make([]float64, len(x))
	for i, e := range x {
		v[i] = float64(e)
	}
	v, err := resample(p, v, t.Shape())
	if err != nil {
		return nil, err
	}
	y := make([]T, len(v))
	for i, e := range v {
		y[i] = saturate[T](math.Trunc(e))
	}
	return one(tensor.Of(y, p.Out...)), nil
}

// pick copies input elements by index: nearest-neighbour resizing of elements of any type.
func pick[T any](p *ResizePlan, x []T, shape []int, fill T) []T {
	y := make([]T, tensor.Count(p.Out))
	if len(y) == 0 {
		return y
	}
	axes := make([]*ResizeAxis, len(shape))
	for i := range p.Axes {
		axes[p.Axes[i].Axis] = &p.Axes[i]
	}
	in := tensor.Strides(shape)
	outer := tensor.Strides(p.Out)
	var walk func(axis, from, to int)
	walk = func(axis, from, to int) {
		if axis == len(shape) {
			y[to] = x[from]
			return
		}
		ax := axes[axis]
		for o := range p.Out[axis] {
			switch {
			case ax == nil:
				walk(axis+1, from+o*in[axis], to+o*outer[axis])
			case ax.Outside != nil && ax.Outside[o]:
				part := y[to+o*outer[axis]:][:outer[axis]]
				for i := range part {
					part[i] = fill
				}
			default:
				walk(axis+1, from+int(ax.Index[o])*in[axis], to+o*outer[axis])
			}
		}
	}
	walk(0, 0, 0)
	return y
}

// resample interpolates one axis after the other. Axes that shrink come first: that costs least, and no
// intermediate has more elements than the larger of input and output.
func resample[T float32 | float64](p *ResizePlan, x []T, shape []int) ([]T, error) {
	if tensorCount(p.Out) == 0 {
		return nil, nil
	}
	shape = slices.Clone(shape)
	axes := slices.Clone(p.Axes)
	slices.SortStableFunc(axes, func(a, b ResizeAxis) int {
		return cmp.Compare(float64(a.Out)/float64(a.In), float64(b.Out)/float64(b.In))
	})
	if len(axes) == 0 {
		return slices.Clone(x), nil
	}
	for i := range axes {
		ax := &axes[i]
		outer, inner := tensor.Count(shape[:ax.Axis]), tensor.Count(shape[ax.Axis+1:])
		shape[ax.Axis] = ax.Out
		count, err := tensor.CheckShape(shape, MaxElements)
		if err != nil {
			return nil, err
		}
		y := make([]T, count)
		for b := range outer {
			resampleAxis(ax, y[b*ax.Out*inner:][:ax.Out*inner], x[b*ax.In*inner:][:ax.In*inner], inner)
		}
		x = y
	}
	for i := range p.Axes {
		ax := &p.Axes[i]
		if ax.Outside == nil {
			continue
		}
		inner := tensor.Count(shape[ax.Axis+1:])
		for j := 0; j < len(x); j += inner {
			if ax.Outside[j/inner%ax.Out] {
				fill(x[j:j+inner], T(p.Fill))
			}
		}
	}
	return x, nil
}

// resampleAxis computes y (Out, inner) from x (In, inner).
func resampleAxis[T float32 | float64](ax *ResizeAxis, y, x []T, inner int) {
	for o := range ax.Out {
		index, weight := ax.Index[o*ax.Taps:][:ax.Taps], ax.Weight[o*ax.Taps:][:ax.Taps]
		if inner == 1 {
			var sum T
			for k, i := range index {
				if weight[k] != 0 {
					sum += T(weight[k]) * x[i]
				}
			}
			y[o] = sum
			continue
		}
		dst := y[o*inner:][:inner]
		for k, i := range index {
			if weight[k] != 0 {
				addScaled(dst, x[int(i)*inner:][:inner], T(weight[k]), 1)
			}
		}
	}
}
