package ops

import (
	"fmt"
	"math"
	"slices"

	"cutout/inference/tensor"
)

// shapeOps holds the operators that rearrange, repeat or cut, and those that make or read shapes.
func shapeOps() []Op {
	unary := arity{1, 1, 1}
	return []Op{
		newOp("Identity", 1, 0, unary, inferSame(), runIdentity),
		newOp("Dropout", 1, 11, arity{1, 1, 2}, inferDropout, runDropout),
		newOp("Dropout", 12, 0, arity{1, 3, 2}, inferDropout, runDropout),
		newOp("Constant", 1, 0, arity{0, 0, 1}, inferConstant, runConstant),
		newOp("ConstantOfShape", 9, 0, unary, inferConstantOfShape, runConstantOfShape),
		newOp("Shape", 1, 0, unary, inferShape, runShape),
		newOp("Size", 1, 0, unary, inferSize, runSize),
		newOp("Reshape", 1, 4, unary, inferReshape, runReshape),
		newOp("Reshape", 5, 0, arity{2, 2, 1}, inferReshape, runReshape),
		newOp("Flatten", 1, 0, unary, inferFlatten, runReshape),
		newOp("Squeeze", 1, 12, unary, inferSqueeze, runReshape),
		newOp("Squeeze", 13, 0, arity{1, 2, 1}, inferSqueeze, runReshape),
		newOp("Unsqueeze", 1, 12, unary, inferUnsqueeze, runReshape),
		newOp("Unsqueeze", 13, 0, arity{2, 2, 1}, inferUnsqueeze, runReshape),
		newOp("Transpose", 1, 0, unary, inferTranspose, runTranspose),
		newOp("Concat", 1, 0, arity{1, -1, 1}, inferConcat, runConcat),
		newOp("Split", 1, 12, arity{1, 2, -1}, inferSplit, runSplit),
		newOp("Split", 13, 0, arity{1, 2, -1}, inferSplit, runSplit),
		newOp("Slice", 1, 9, unary, inferSlice, runSlice),
		newOp("Slice", 10, 0, arity{3, 5, 1}, inferSlice, runSlice),
		newOp("Expand", 8, 0, arity{2, 2, 1}, inferExpand, runExpand),
		newOp("Tile", 6, 0, arity{2, 2, 1}, inferTile, runTile),
		newOp("Pad", 1, 10, unary, inferPad, runPad),
		newOp("Pad", 11, 0, arity{2, 4, 1}, inferPad, runPad),
		newOp("Range", 11, 0, arity{3, 3, 1}, inferRange, runRange),
		newOp("DepthToSpace", 1, 0, unary, inferDepthToSpace, runDepthToSpace),
		newOp("SpaceToDepth", 1, 0, unary, inferSpaceToDepth, runSpaceToDepth),
		newOp("Trilu", 14, 0, arity{1, 2, 1}, inferTrilu, runTrilu),
		newOp("EyeLike", 9, 0, unary, inferEyeLike, runEyeLike),
	}
}

func runIdentity(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	return one(in[0]), nil
}

// inferDropout follows inference, where Dropout passes its input on. Before opset 10 the mask has the input's type.
func inferDropout(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := want(in, 0, floatTypes...); err != nil {
		return nil, err
	}
	if present(in, 2) {
		if err := want(in, 2, tensor.Bool); err != nil {
			return nil, err
		}
	}
	mask := Type{tensor.Bool, in[0].Shape}
	if n.Opset < 10 {
		mask.DType = in[0].DType
	}
	return []Type{in[0], mask}, nil
}

func runDropout(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	if training := at(in, 2); training != nil && slices.Contains(tensor.Values[bool](training), true) {
		// A ratio of zero drops nothing, in training too.
		if ratio := at(in, 1); ratio == nil || ratio.Len() != 1 || ratio.DType() == tensor.Bool ||
			tensor.Values[float64](convert(ratio, tensor.Float64))[0] != 0 {
			return nil, &UnsupportedError{Node: *n, Reason: "training mode"}
		}
	}
	results := []*tensor.Tensor{in[0]}
	if len(out) > 1 {
		ones := make([]uint8, in[0].Len())
		fill(ones, 1)
		results = append(results, convert(tensor.Of(ones, in[0].Shape()...), out[1].DType))
	}
	return results, nil
}

// constant returns the value of a Constant node, which one of several attributes holds.
func constant(n *Node) (*tensor.Tensor, error) {
	if t, err := n.Attrs.Tensor("value"); err != nil || t != nil {
		return t, err
	}
	switch {
	case n.Attrs.Has("value_float"):
		v, err := n.Attrs.Float("value_float", 0)
		return tensor.Scalar(v), err
	case n.Attrs.Has("value_int"):
		v, err := n.Attrs.Int("value_int", 0)
		return tensor.Scalar(int64(v)), err
	case n.Attrs.Has("value_floats"):
		v, err := n.Attrs.Floats("value_floats")
		return tensor.Of(v, len(v)), err
	case n.Attrs.Has("value_ints"):
		v, err := attr[[]int64](n.Attrs, "value_ints", nil)
		return tensor.Of(v, len(v)), err
	}
	return nil, fmt.Errorf("holds no numeric value")
}

func inferConstant(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	t, err := constant(n)
	if err != nil {
		return nil, err
	}
	return typesOf(one(t)), nil
}

func runConstant(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	t, err := constant(n)
	return one(t), err
}

func inferConstantOfShape(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	value, err := n.Attrs.Tensor("value")
	if err != nil {
		return nil, err
	}
	dtype := tensor.Float32
	if value != nil {
		if value.Len() != 1 {
			return nil, fmt.Errorf("attribute value holds %d elements, want one", value.Len())
		}
		dtype = value.DType()
	}
	shape, _, err := intsValue(in, consts, 0)
	if err != nil {
		return nil, err
	}
	return []Type{{dtype, shape}}, nil
}

func runConstantOfShape(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	value, err := n.Attrs.Tensor("value")
	if err != nil {
		return nil, err
	}
	dst := tensor.New(out[0].DType, out[0].Shape...)
	if value != nil {
		copyView([]int{dst.Len()}, dst, 0, []int{1}, value, 0, []int{0})
	}
	return one(dst), nil
}

// shapeRange returns the dimensions that Shape reports: all, or from opset 15 those from start to end.
func shapeRange(n *Node, rank int) (start, end int, err error) {
	if n.Opset < 15 {
		return 0, rank, nil
	}
	if start, err = n.Attrs.Int("start", 0); err != nil {
		return 0, 0, err
	}
	if end, err = n.Attrs.Int("end", rank); err != nil {
		return 0, 0, err
	}
	bound := func(v int) int {
		if v < 0 {
			v += rank
		}
		return max(0, min(v, rank))
	}
	start, end = bound(start), bound(end)
	return start, max(start, end), nil
}

func inferShape(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	start, end, err := shapeRange(n, len(in[0].Shape))
	if err != nil {
		return nil, err
	}
	return []Type{{tensor.Int64, []int{end - start}}}, nil
}

func runShape(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	start, end, err := shapeRange(n, in[0].Rank())
	if err != nil {
		return nil, err
	}
	v := make([]int64, 0, end-start)
	for _, d := range in[0].Shape()[start:end] {
		v = append(v, int64(d))
	}
	return one(tensor.Of(v, len(v))), nil
}

func inferSize(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	return []Type{{tensor.Int64, []int{}}}, nil
}

func runSize(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	return one(tensor.Scalar(int64(in[0].Len()))), nil
}

// runReshape serves every operator that only renames dimensions; Infer has worked out the shape.
func runReshape(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	t, err := in[0].Reshape(out[0].Shape...)
	return one(t), err
}

func inferReshape(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	var shape []int
	var err error
	if n.Opset < 5 {
		if shape, err = n.Attrs.Ints("shape"); err == nil && !n.Attrs.Has("shape") {
			err = fmt.Errorf("attribute shape is missing")
		}
	} else {
		shape, _, err = intsValue(in, consts, 1)
	}
	if err != nil {
		return nil, err
	}
	allowZero := false
	if n.Opset >= 14 {
		if allowZero, err = n.Attrs.Bool("allowzero", false); err != nil {
			return nil, err
		}
	}
	from := in[0].Shape
	shape = slices.Clone(shape)
	free, known := -1, 1
	for i, d := range shape {
		switch {
		case d == -1 && free >= 0:
			return nil, fmt.Errorf("shape %v has two unknown dimensions", shape)
		case d == -1:
			free = i
			continue
		case d < 0:
			return nil, fmt.Errorf("shape %v has a negative dimension", shape)
		case d == 0 && !allowZero:
			if i >= len(from) {
				return nil, fmt.Errorf("shape %v copies dimension %d of %v, which is not there", shape, i, from)
			}
			shape[i] = from[i]
		}
		known = mulSat(known, shape[i])
	}
	count := tensor.Count(from)
	if free >= 0 {
		switch {
		case known == 0 && count == 0 && allowZero:
			return nil, fmt.Errorf("shape %v leaves dimension %d undetermined", shape, free)
		case known == 0 && count == 0:
			// Runtimes agree on zero where any size would do.
			shape[free] = 0
		case known == 0 || count%known != 0:
			return nil, fmt.Errorf("cannot reshape %v to %v", from, shape)
		default:
			shape[free] = count / known
		}
	} else if known != count {
		return nil, fmt.Errorf("cannot reshape %v to %v", from, shape)
	}
	return []Type{{in[0].DType, shape}}, nil
}

func inferFlatten(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	axis, err := n.Attrs.Int("axis", 1)
	if err != nil {
		return nil, err
	}
	shape := in[0].Shape
	if axis < 0 {
		axis += len(shape)
	}
	if axis < 0 || axis > len(shape) {
		return nil, fmt.Errorf("axis %d is out of range for rank %d", axis, len(shape))
	}
	return []Type{{in[0].DType, []int{volume(shape[:axis]), volume(shape[axis:])}}}, nil
}

// axesOf reads axes from an attribute or, from the given opset on, from input 1. ok is false where they are absent.
func axesOf(n *Node, in []Type, consts []*tensor.Tensor, inputSince int) (axes []int, ok bool, err error) {
	if n.Opset >= inputSince {
		return intsValue(in, consts, 1)
	}
	axes, err = n.Attrs.Ints("axes")
	return axes, n.Attrs.Has("axes"), err
}

func inferSqueeze(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	axes, ok, err := axesOf(n, in, consts, 13)
	if err != nil {
		return nil, err
	}
	from := in[0].Shape
	if ok {
		if axes, err = axesIn(axes, len(from)); err != nil {
			return nil, err
		}
	}
	shape := make([]int, 0, len(from))
	for i, d := range from {
		drop := !ok && d == 1 || slices.Contains(axes, i)
		if drop && d != 1 {
			return nil, fmt.Errorf("dimension %d of %v is not 1", i, from)
		}
		if !drop {
			shape = append(shape, d)
		}
	}
	return []Type{{in[0].DType, shape}}, nil
}

func inferUnsqueeze(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	axes, ok, err := axesOf(n, in, consts, 13)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("attribute axes is missing")
	}
	from := in[0].Shape
	rank := len(from) + len(axes)
	if axes, err = axesIn(axes, rank); err != nil {
		return nil, err
	}
	shape := make([]int, 0, rank)
	for i := range rank {
		if slices.Contains(axes, i) {
			shape = append(shape, 1)
		} else {
			shape, from = append(shape, from[0]), from[1:]
		}
	}
	return []Type{{in[0].DType, shape}}, nil
}

func permutation(n *Node, rank int) ([]int, error) {
	if !n.Attrs.Has("perm") {
		perm := make([]int, rank)
		for i := range perm {
			perm[i] = rank - 1 - i
		}
		return perm, nil
	}
	perm, err := n.Attrs.Ints("perm")
	if err != nil {
		return nil, err
	}
	if len(perm) != rank {
		return nil, fmt.Errorf("attribute perm %v does not fit rank %d", perm, rank)
	}
	return axesIn(perm, rank)
}

func inferTranspose(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	perm, err := permutation(n, len(in[0].Shape))
	if err != nil {
		return nil, err
	}
	shape := make([]int, len(perm))
	for i, p := range perm {
		shape[i] = in[0].Shape[p]
	}
	return []Type{{in[0].DType, shape}}, nil
}

func runTranspose(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	perm, err := permutation(n, in[0].Rank())
	if err != nil {
		return nil, err
	}
	return one(transpose(in[0], perm)), nil
}

func concatAxis(n *Node, rank int) (int, error) {
	if n.Opset >= 4 && !n.Attrs.Has("axis") {
		return 0, fmt.Errorf("attribute axis is missing")
	}
	axis, err := n.Attrs.Int("axis", 1)
	if err != nil {
		return 0, err
	}
	return axisIn(axis, rank)
}

func inferConcat(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	axis, err := concatAxis(n, len(in[0].Shape))
	if err != nil {
		return nil, err
	}
	if err := wantSame(in); err != nil {
		return nil, err
	}
	shape := slices.Clone(in[0].Shape)
	for i, t := range in[1:] {
		if !present(in, i+1) {
			return nil, fmt.Errorf("input %d is missing", i+1)
		}
		if len(t.Shape) != len(shape) {
			return nil, fmt.Errorf("input %d has shape %v, input 0 has %v", i+1, t.Shape, in[0].Shape)
		}
		for d := range shape {
			if d != axis && t.Shape[d] != shape[d] {
				return nil, fmt.Errorf("input %d has shape %v, input 0 has %v, along axis %d", i+1, t.Shape, in[0].Shape, axis)
			}
		}
		shape[axis] += t.Shape[axis]
		if shape[axis] > MaxElements {
			return nil, fmt.Errorf("result has more than %d elements", MaxElements)
		}
	}
	return []Type{{in[0].DType, shape}}, nil
}

func runConcat(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	axis, err := concatAxis(n, in[0].Rank())
	if err != nil {
		return nil, err
	}
	dst := tensor.New(out[0].DType, out[0].Shape...)
	strides := tensor.Strides(dst.Shape())
	offset := 0
	for _, t := range in {
		copyView(t.Shape(), dst, offset, strides, t, 0, tensor.Strides(t.Shape()))
		offset += t.Shape()[axis] * strides[axis]
	}
	return one(dst), nil
}

// inferSplit takes the sizes from the attribute (before opset 13), from the input, or splits evenly.
func inferSplit(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	axis, err := n.Attrs.Int("axis", 0)
	if err != nil {
		return nil, err
	}
	if axis, err = axisIn(axis, len(in[0].Shape)); err != nil {
		return nil, err
	}
	dim := in[0].Shape[axis]
	var sizes []int
	given := false
	if n.Opset < 13 {
		sizes, err = n.Attrs.Ints("split")
		given = n.Attrs.Has("split")
	}
	if err == nil && !given && (n.Opset == 1 || n.Opset >= 13) {
		sizes, given, err = intsValue(in, consts, 1)
	}
	if err != nil {
		return nil, err
	}
	if !given {
		parts := n.Outputs
		if n.Opset >= 18 && n.Attrs.Has("num_outputs") {
			if parts, err = n.Attrs.Int("num_outputs", 0); err != nil {
				return nil, err
			}
			if parts < n.Outputs {
				return nil, fmt.Errorf("attribute num_outputs is %d, the node has %d outputs", parts, n.Outputs)
			}
		}
		// From opset 18 on the last part is the smaller one where the parts do not come out even.
		if dim%parts != 0 && n.Opset < 18 {
			return nil, fmt.Errorf("dimension %d does not split into %d equal parts", dim, parts)
		}
		part := dim / parts
		if dim%parts != 0 {
			part++
		}
		rest := dim
		for range n.Outputs {
			sizes = append(sizes, min(part, rest))
			rest -= sizes[len(sizes)-1]
		}
	} else {
		sum := 0
		for _, s := range sizes {
			if s < 0 || s > dim {
				return nil, fmt.Errorf("split %v does not fit dimension %d", sizes, dim)
			}
			sum += s
		}
		if sum != dim {
			return nil, fmt.Errorf("split %v does not add up to dimension %d", sizes, dim)
		}
	}
	out := make([]Type, len(sizes))
	for i, s := range sizes {
		shape := slices.Clone(in[0].Shape)
		shape[axis] = s
		out[i] = Type{in[0].DType, shape}
	}
	return out, nil
}

func runSplit(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	axis, err := n.Attrs.Int("axis", 0)
	if err != nil {
		return nil, err
	}
	if axis, err = axisIn(axis, in[0].Rank()); err != nil {
		return nil, err
	}
	strides := tensor.Strides(in[0].Shape())
	parts := make([]*tensor.Tensor, len(out))
	offset := 0
	for i, t := range out {
		parts[i] = tensor.New(t.DType, t.Shape...)
		copyView(t.Shape, parts[i], 0, tensor.Strides(t.Shape), in[0], offset, strides)
		offset += t.Shape[axis] * strides[axis]
	}
	return parts, nil
}

// slicing is Slice's window per dimension, after clamping.
type slicing struct{ start, step, count []int }

func slicingOf(n *Node, in []Type, consts []*tensor.Tensor) (slicing, error) {
	var starts, ends, axes, steps []int
	var hasAxes, hasSteps bool
	var err error
	if n.Opset < 10 {
		if !n.Attrs.Has("starts") || !n.Attrs.Has("ends") {
			return slicing{}, fmt.Errorf("attribute starts or ends is missing")
		}
		if starts, err = n.Attrs.Ints("starts"); err != nil {
			return slicing{}, err
		}
		if ends, err = n.Attrs.Ints("ends"); err != nil {
			return slicing{}, err
		}
		if axes, err = n.Attrs.Ints("axes"); err != nil {
			return slicing{}, err
		}
		hasAxes = n.Attrs.Has("axes")
	} else {
		if starts, _, err = intsValue(in, consts, 1); err != nil {
			return slicing{}, err
		}
		if ends, _, err = intsValue(in, consts, 2); err != nil {
			return slicing{}, err
		}
		if axes, hasAxes, err = intsValue(in, consts, 3); err != nil {
			return slicing{}, err
		}
		if steps, hasSteps, err = intsValue(in, consts, 4); err != nil {
			return slicing{}, err
		}
	}
	shape := in[0].Shape
	if !hasAxes {
		for i := range starts {
			axes = append(axes, i)
		}
	}
	if !hasSteps {
		steps = slices.Repeat([]int{1}, len(starts))
	}
	if len(ends) != len(starts) || len(axes) != len(starts) || len(steps) != len(starts) {
		return slicing{}, fmt.Errorf("%d starts, %d ends, %d axes and %d steps do not match", len(starts), len(ends), len(axes), len(steps))
	}
	if axes, err = axesIn(axes, len(shape)); err != nil {
		return slicing{}, err
	}
	s := slicing{make([]int, len(shape)), slices.Repeat([]int{1}, len(shape)), slices.Clone(shape)}
	for i, a := range axes {
		dim, step := shape[a], steps[i]
		if step == 0 {
			return slicing{}, fmt.Errorf("step of axis %d is 0", a)
		}
		// The last element a slice may start at or stop before: backwards it may stop before the first one.
		lo, hi := 0, dim
		if step < 0 {
			lo, hi = -1, dim-1
		}
		bound := func(v int) int {
			if v < 0 {
				if v < math.MinInt+dim {
					return lo
				}
				v += dim
			}
			return max(lo, min(v, hi))
		}
		start, end := bound(starts[i]), bound(ends[i])
		s.start[a], s.step[a] = start, step
		switch {
		case step > 0 && end > start:
			s.count[a] = (end-start-1)/step + 1
		case step < 0 && end < start:
			s.count[a] = (start-end-1)/-max(step, -math.MaxInt) + 1
		default:
			s.count[a] = 0
		}
		if s.count[a] <= 1 {
			s.step[a] = 1
		}
	}
	return s, nil
}

func inferSlice(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	s, err := slicingOf(n, in, consts)
	if err != nil {
		return nil, err
	}
	return []Type{{in[0].DType, s.count}}, nil
}

func runSlice(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	s, err := slicingOf(n, typesOf(in), in)
	if err != nil {
		return nil, err
	}
	dst := tensor.New(in[0].DType(), s.count...)
	strides := tensor.Strides(in[0].Shape())
	offset := 0
	for d := range strides {
		offset += s.start[d] * strides[d]
		strides[d] *= s.step[d]
	}
	copyView(s.count, dst, 0, tensor.Strides(s.count), in[0], offset, strides)
	return one(dst), nil
}

func inferExpand(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	shape, _, err := intsValue(in, consts, 1)
	if err != nil {
		return nil, err
	}
	if _, err := tensor.CheckShape(shape, MaxElements); err != nil {
		return nil, err
	}
	if shape, err = broadcastShapes(in[0].Shape, shape); err != nil {
		return nil, err
	}
	return []Type{{in[0].DType, shape}}, nil
}

func runExpand(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	shape := out[0].Shape
	dst := tensor.New(in[0].DType(), shape...)
	copyView(shape, dst, 0, tensor.Strides(shape), in[0], 0, broadcastStrides(in[0].Shape(), shape))
	return one(dst), nil
}

func inferTile(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	repeats, _, err := intsValue(in, consts, 1)
	if err != nil {
		return nil, err
	}
	if len(repeats) != len(in[0].Shape) {
		return nil, fmt.Errorf("%d repeats do not fit rank %d", len(repeats), len(in[0].Shape))
	}
	shape := make([]int, len(repeats))
	for i, r := range repeats {
		if r < 0 {
			return nil, fmt.Errorf("repeats %v are negative", repeats)
		}
		shape[i] = mulSat(in[0].Shape[i], r)
	}
	return []Type{{in[0].DType, shape}}, nil
}

// runTile looks at the output as (repeat, dimension) pairs, where the input has no step along the repeats.
func runTile(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	dst := tensor.New(in[0].DType(), out[0].Shape...)
	if dst.Len() == 0 {
		return one(dst), nil
	}
	own := tensor.Strides(in[0].Shape())
	var shape, strides []int
	for i, d := range in[0].Shape() {
		shape = append(shape, out[0].Shape[i]/d, d)
		strides = append(strides, 0, own[i])
	}
	copyView(shape, dst, 0, tensor.Strides(shape), in[0], 0, strides)
	return one(dst), nil
}

// rangeSteps are the values of Range, in the type it counts in.
func rangeCount[T float64 | int64](start, limit, delta T) (int, error) {
	if delta == 0 {
		return 0, fmt.Errorf("delta is 0")
	}
	count := math.Ceil((float64(limit) - float64(start)) / float64(delta))
	if math.IsNaN(count) || count > MaxElements {
		return 0, fmt.Errorf("range from %v to %v by %v has more than %d elements", start, limit, delta, MaxElements)
	}
	return int(max(count, 0)), nil
}

func inferRange(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := want(in, 0, tensor.Float32, tensor.Float64, tensor.Int16, tensor.Int32, tensor.Int64); err != nil {
		return nil, err
	}
	if err := wantSame(in); err != nil {
		return nil, err
	}
	for i, t := range in {
		if c, err := tensor.CheckShape(t.Shape, 1); err != nil || c != 1 {
			return nil, fmt.Errorf("input %d has shape %v, want a scalar", i, t.Shape)
		}
	}
	if at(consts, 0) == nil || at(consts, 1) == nil || at(consts, 2) == nil {
		return nil, ErrDynamic
	}
	var count int
	var err error
	if slices.Contains(floatTypes, in[0].DType) {
		var v [3]float64
		for i := range v {
			v[i] = tensor.Values[float64](convert(consts[i], tensor.Float64))[0]
		}
		count, err = rangeCount(v[0], v[1], v[2])
	} else {
		var v [3]int64
		for i := range v {
			v[i] = tensor.Values[int64](convert(consts[i], tensor.Int64))[0]
		}
		count, err = rangeCount(v[0], v[1], v[2])
	}
	if err != nil {
		return nil, err
	}
	return []Type{{in[0].DType, []int{count}}}, nil
}

func runRange(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	count := out[0].Shape[0]
	if slices.Contains(floatTypes, out[0].DType) {
		start := tensor.Values[float64](convert(in[0], tensor.Float64))[0]
		delta := tensor.Values[float64](convert(in[2], tensor.Float64))[0]
		v := make([]float64, count)
		for i := range v {
			v[i] = start + float64(i)*delta
		}
		return one(convert(tensor.Of(v, count), out[0].DType)), nil
	}
	start := tensor.Values[int64](convert(in[0], tensor.Int64))[0]
	delta := tensor.Values[int64](convert(in[2], tensor.Int64))[0]
	v := make([]int64, count)
	for i := range v {
		v[i] = start + int64(i)*delta
	}
	return one(convert(tensor.Of(v, count), out[0].DType)), nil
}

func blockSize(n *Node, in []Type) (int, error) {
	if err := wantRank(in, 0, 4, 4); err != nil {
		return 0, err
	}
	b, err := n.Attrs.Int("blocksize", 0)
	if err != nil {
		return 0, err
	}
	if b < 1 || b > 1<<15 {
		return 0, fmt.Errorf("attribute blocksize is %d", b)
	}
	return b, nil
}

func inferDepthToSpace(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	b, err := blockSize(n, in)
	if err != nil {
		return nil, err
	}
	if _, err := n.Attrs.OneOf("mode", "DCR", "CRD"); err != nil {
		return nil, err
	}
	s := in[0].Shape
	if s[1]%(b*b) != 0 {
		return nil, fmt.Errorf("%d channels do not divide by the square of blocksize %d", s[1], b)
	}
	return []Type{{in[0].DType, []int{s[0], s[1] / (b * b), mulSat(s[2], b), mulSat(s[3], b)}}}, nil
}

func runDepthToSpace(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	b, err := blockSize(n, typesOf(in))
	if err != nil {
		return nil, err
	}
	mode, err := n.Attrs.OneOf("mode", "DCR", "CRD")
	if err != nil {
		return nil, err
	}
	s := in[0].Shape()
	c := s[1] / (b * b)
	view, perm := []int{s[0], b, b, c, s[2], s[3]}, []int{0, 3, 4, 1, 5, 2}
	if mode == "CRD" {
		view, perm = []int{s[0], c, b, b, s[2], s[3]}, []int{0, 1, 4, 2, 5, 3}
	}
	t, err := in[0].Reshape(view...)
	if err != nil {
		return nil, err
	}
	t, err = transpose(t, perm).Reshape(out[0].Shape...)
	return one(t), err
}

func inferSpaceToDepth(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	b, err := blockSize(n, in)
	if err != nil {
		return nil, err
	}
	s := in[0].Shape
	if s[2]%b != 0 || s[3]%b != 0 {
		return nil, fmt.Errorf("shape %v does not divide by blocksize %d", s, b)
	}
	return []Type{{in[0].DType, []int{s[0], mulSat(s[1], b*b), s[2] / b, s[3] / b}}}, nil
}

func runSpaceToDepth(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	b, err := blockSize(n, typesOf(in))
	if err != nil {
		return nil, err
	}
	s := in[0].Shape()
	t, err := in[0].Reshape(s[0], s[1], s[2]/b, b, s[3]/b, b)
	if err != nil {
		return nil, err
	}
	t, err = transpose(t, []int{0, 3, 5, 1, 2, 4}).Reshape(out[0].Shape...)
	return one(t), err
}

func inferTrilu(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := wantRank(in, 0, 2, -1); err != nil {
		return nil, err
	}
	if present(in, 1) {
		if err := want(in, 1, tensor.Int64); err != nil {
			return nil, err
		}
		if c, err := tensor.CheckShape(in[1].Shape, 1); err != nil || c != 1 {
			return nil, fmt.Errorf("input 1 has shape %v, want a scalar", in[1].Shape)
		}
	}
	if _, err := n.Attrs.Bool("upper", true); err != nil {
		return nil, err
	}
	return []Type{in[0]}, nil
}

func runTrilu(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	upper, err := n.Attrs.Bool("upper", true)
	if err != nil {
		return nil, err
	}
	shape := in[0].Shape()
	rows, cols := shape[len(shape)-2], shape[len(shape)-1]
	k := 0
	if len(in) > 1 && in[1] != nil {
		// Beyond the matrix every diagonal is as good as the nearest one outside.
		k = int(max(-int64(rows)-1, min(tensor.Values[int64](in[1])[0], int64(cols)+1)))
	}
	index := make([]int, in[0].Len())
	for i := range index {
		r, c := i/cols%rows, i%cols
		if upper && c-r < k || !upper && c-r > k {
			index[i] = -1
		} else {
			index[i] = i
		}
	}
	return one(takeBlocks(shape, in[0], index, 1)), nil
}

func inferEyeLike(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := wantRank(in, 0, 2, 2); err != nil {
		return nil, err
	}
	if _, err := n.Attrs.Int("k", 0); err != nil {
		return nil, err
	}
	dtype := in[0].DType
	if n.Attrs.Has("dtype") {
		number, err := n.Attrs.Int("dtype", 0)
		if err != nil {
			return nil, err
		}
		if dtype, err = TypeNumbered(number); err != nil {
			return nil, err
		}
	}
	return []Type{{dtype, in[0].Shape}}, nil
}

func runEyeLike(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	k, err := n.Attrs.Int("k", 0)
	if err != nil {
		return nil, err
	}
	rows, cols := out[0].Shape[0], out[0].Shape[1]
	v := make([]uint8, rows*cols)
	if k > -rows && k < cols {
		for r := max(0, -k); r < rows && r+k < cols; r++ {
			v[r*cols+r+k] = 1
		}
	}
	return one(convert(tensor.Of(v, rows, cols), out[0].DType)), nil
}
