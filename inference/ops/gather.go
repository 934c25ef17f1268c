package ops

import (
	"fmt"
	"slices"

	"cutout/inference/tensor"
)

// gatherOps holds the operators that pick elements by index, or write them by index.
func gatherOps() []Op {
	return []Op{
		newOp("Gather", 1, 0, arity{2, 2, 1}, inferGather, runGather),
		newOp("GatherElements", 11, 0, arity{2, 2, 1}, inferGatherElements, runGatherElements),
		newOp("GatherND", 11, 0, arity{2, 2, 1}, inferGatherND, runGatherND),
		newOp("Scatter", 9, 10, arity{3, 3, 1}, inferScatterElements, runScatterElements),
		newOp("ScatterElements", 11, 0, arity{3, 3, 1}, inferScatterElements, runScatterElements),
		newOp("ScatterND", 11, 0, arity{3, 3, 1}, inferScatterND, runScatterND),
		newOp("Compress", 9, 0, arity{2, 2, 1}, inferCompress, runCompress),
		newOp("ReverseSequence", 10, 0, arity{2, 2, 1}, inferReverseSequence, runReverseSequence),
		newOp("NonZero", 9, 0, arity{1, 1, 1}, inferNonZero, runNonZero),
		newOp("OneHot", 9, 0, arity{3, 3, 1}, inferOneHot, runOneHot),
	}
}

// indexValues returns the elements of an int32 or int64 tensor, negative ones counted from the end of a dimension.
func indexValues(t *tensor.Tensor, dim int) ([]int, error) {
	v := slices.Clone(tensor.Values[int64](convert(t, tensor.Int64)))
	out := make([]int, len(v))
	for i, x := range v {
		if x < -int64(dim) || x >= int64(dim) {
			return nil, fmt.Errorf("index %d is out of range for dimension %d", x, dim)
		}
		if x < 0 {
			x += int64(dim)
		}
		out[i] = int(x)
	}
	return out, nil
}

// attrAxis reads attribute axis for a tensor of the given rank.
func attrAxis(n *Node, def, rank int) (int, error) {
	axis, err := n.Attrs.Int("axis", def)
	if err != nil {
		return 0, err
	}
	return axisIn(axis, rank)
}

func inferGather(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	axis, err := attrAxis(n, 0, len(in[0].Shape))
	if err != nil {
		return nil, err
	}
	if err := want(in, 1, indexTypes...); err != nil {
		return nil, err
	}
	return []Type{{in[0].DType, slices.Concat(in[0].Shape[:axis], in[1].Shape, in[0].Shape[axis+1:])}}, nil
}

func runGather(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	shape := in[0].Shape()
	axis, err := attrAxis(n, 0, len(shape))
	if err != nil {
		return nil, err
	}
	picks, err := indexValues(in[1], shape[axis])
	if err != nil {
		return nil, err
	}
	outer, block := volume(shape[:axis]), volume(shape[axis+1:])
	if tensor.Count(out[0].Shape) == 0 {
		return one(tensor.New(out[0].DType, out[0].Shape...)), nil
	}
	index := make([]int, 0, outer*len(picks))
	for o := range outer {
		for _, k := range picks {
			index = append(index, o*shape[axis]+k)
		}
	}
	return one(takeBlocks(out[0].Shape, in[0], index, block)), nil
}

func inferGatherElements(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if _, err := elementsAxis(n, in); err != nil {
		return nil, err
	}
	return []Type{{in[0].DType, in[1].Shape}}, nil
}

// elementsAxis checks that the indices of GatherElements or ScatterElements fit inside the data.
func elementsAxis(n *Node, in []Type) (int, error) {
	axis, err := attrAxis(n, 0, len(in[0].Shape))
	if err != nil {
		return 0, err
	}
	if err := want(in, 1, indexTypes...); err != nil {
		return 0, err
	}
	if len(in[1].Shape) != len(in[0].Shape) {
		return 0, fmt.Errorf("indices of shape %v do not fit data of shape %v", in[1].Shape, in[0].Shape)
	}
	for d, size := range in[1].Shape {
		if d != axis && size > in[0].Shape[d] {
			return 0, fmt.Errorf("indices of shape %v do not fit data of shape %v", in[1].Shape, in[0].Shape)
		}
	}
	return axis, nil
}

// elementOffsets returns, for every element of indices, the offset in data that it stands for.
func elementOffsets(data, indices *tensor.Tensor, axis int) ([]int, error) {
	picks, err := indexValues(indices, data.Shape()[axis])
	if err != nil {
		return nil, err
	}
	strides := tensor.Strides(data.Shape())
	step := strides[axis]
	strides[axis] = 0
	p := planRows(indices.Shape(), tensor.Strides(indices.Shape()), strides)
	p.each(func(o []int) {
		for i := range p.n {
			k := o[0] + i*p.step[0]
			picks[k] = picks[k]*step + o[1] + i*p.step[1]
		}
	})
	return picks, nil
}

func runGatherElements(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	axis, err := elementsAxis(n, typesOf(in))
	if err != nil {
		return nil, err
	}
	offsets, err := elementOffsets(in[0], in[1], axis)
	if err != nil {
		return nil, err
	}
	return one(takeBlocks(out[0].Shape, in[0], offsets, 1)), nil
}

// tupleWidth returns how many leading dimensions, after the batch ones, the last dimension of the indices addresses.
func tupleWidth(in []Type, batch int) (int, error) {
	if err := want(in, 1, tensor.Int64, tensor.Int32); err != nil {
		return 0, err
	}
	r, q := len(in[0].Shape), len(in[1].Shape)
	if r == 0 || q == 0 || batch < 0 || batch >= min(r, q) {
		return 0, fmt.Errorf("indices of shape %v do not fit data of shape %v with %d batch dimensions", in[1].Shape, in[0].Shape, batch)
	}
	width := in[1].Shape[q-1]
	if width > r-batch {
		return 0, fmt.Errorf("indices of shape %v do not fit data of shape %v", in[1].Shape, in[0].Shape)
	}
	if !slices.Equal(in[0].Shape[:batch], in[1].Shape[:batch]) {
		return 0, fmt.Errorf("indices of shape %v and data of shape %v differ in the %d batch dimensions", in[1].Shape, in[0].Shape, batch)
	}
	return width, nil
}

// tupleBlocks returns the number of the block of data that every index tuple addresses.
func tupleBlocks(data, indices *tensor.Tensor, batch, width int) ([]int, error) {
	shape := data.Shape()
	q := indices.Rank()
	count := volume(indices.Shape()[:q-1])
	perBatch := volume(indices.Shape()[batch : q-1])
	v := tensor.Values[int64](convert(indices, tensor.Int64))
	blocks := make([]int, count)
	for i := range blocks {
		at := i / max(perBatch, 1)
		for j := range width {
			dim := shape[batch+j]
			x := v[i*width+j]
			if x < -int64(dim) || x >= int64(dim) {
				return nil, fmt.Errorf("index %d is out of range for dimension %d", x, dim)
			}
			if x < 0 {
				x += int64(dim)
			}
			at = at*dim + int(x)
		}
		blocks[i] = at
	}
	return blocks, nil
}

func inferGatherND(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	batch, err := n.Attrs.Int("batch_dims", 0)
	if err != nil {
		return nil, err
	}
	width, err := tupleWidth(in, batch)
	if err != nil {
		return nil, err
	}
	q := len(in[1].Shape)
	return []Type{{in[0].DType, slices.Concat(in[1].Shape[:q-1], in[0].Shape[batch+width:])}}, nil
}

func runGatherND(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	batch, err := n.Attrs.Int("batch_dims", 0)
	if err != nil {
		return nil, err
	}
	width, err := tupleWidth(typesOf(in), batch)
	if err != nil {
		return nil, err
	}
	if tensor.Count(out[0].Shape) == 0 {
		return one(tensor.New(out[0].DType, out[0].Shape...)), nil
	}
	blocks, err := tupleBlocks(in[0], in[1], batch, width)
	if err != nil {
		return nil, err
	}
	return one(takeBlocks(out[0].Shape, in[0], blocks, volume(in[0].Shape()[batch+width:]))), nil
}

// reductionOf reads how a scatter combines an update with what is there.
func reductionOf(n *Node, dtype tensor.DType) (string, error) {
	if n.Opset < 16 {
		return "none", nil
	}
	choices := []string{"none", "add", "mul"}
	if n.Opset >= 18 {
		choices = append(choices, "max", "min")
	}
	r, err := n.Attrs.OneOf("reduction", choices...)
	if err == nil && r != "none" && dtype == tensor.Bool {
		err = fmt.Errorf("reduction %s does not apply to bool", r)
	}
	return r, err
}

func inferScatterElements(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if _, err := elementsAxis(n, in); err != nil {
		return nil, err
	}
	if _, err := reductionOf(n, in[0].DType); err != nil {
		return nil, err
	}
	if in[2].DType != in[0].DType || !slices.Equal(in[2].Shape, in[1].Shape) {
		return nil, fmt.Errorf("updates are %s %v for data of %s and indices of %v", in[2].DType, in[2].Shape, in[0].DType, in[1].Shape)
	}
	return []Type{in[0]}, nil
}

func runScatterElements(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	axis, err := elementsAxis(n, typesOf(in))
	if err != nil {
		return nil, err
	}
	offsets, err := elementOffsets(in[0], in[1], axis)
	if err != nil {
		return nil, err
	}
	return scatterBlocks(n, in[0], offsets, in[2], 1)
}

func inferScatterND(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	width, err := tupleWidth(in, 0)
	if err != nil {
		return nil, err
	}
	if _, err := reductionOf(n, in[0].DType); err != nil {
		return nil, err
	}
	q := len(in[1].Shape)
	if shape := slices.Concat(in[1].Shape[:q-1], in[0].Shape[width:]); in[2].DType != in[0].DType || !slices.Equal(in[2].Shape, shape) {
		return nil, fmt.Errorf("updates are %s %v, want %s %v", in[2].DType, in[2].Shape, in[0].DType, shape)
	}
	return []Type{in[0]}, nil
}

func runScatterND(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	width, err := tupleWidth(typesOf(in), 0)
	if err != nil {
		return nil, err
	}
	if in[2].Len() == 0 {
		return one(in[0]), nil
	}
	blocks, err := tupleBlocks(in[0], in[1], 0, width)
	if err != nil {
		return nil, err
	}
	return scatterBlocks(n, in[0], blocks, in[2], volume(in[0].Shape()[width:]))
}

// scatterBlocks writes block i of updates over (or into) block index[i] of a copy of data.
func scatterBlocks(n *Node, data *tensor.Tensor, index []int, updates *tensor.Tensor, block int) ([]*tensor.Tensor, error) {
	reduction, err := reductionOf(n, data.DType())
	if err != nil {
		return nil, err
	}
	dst := duplicate(data)
	switch data.DType() {
	case tensor.Float32:
		put[float32](dst, index, updates, block, reduction)
	case tensor.Float64:
		put[float64](dst, index, updates, block, reduction)
	case tensor.Int8:
		put[int8](dst, index, updates, block, reduction)
	case tensor.Int16:
		put[int16](dst, index, updates, block, reduction)
	case tensor.Int32:
		put[int32](dst, index, updates, block, reduction)
	case tensor.Int64:
		put[int64](dst, index, updates, block, reduction)
	case tensor.Uint8:
		put[uint8](dst, index, updates, block, reduction)
	case tensor.Uint16:
		put[uint16](dst, index, updates, block, reduction)
	case tensor.Uint32:
		put[uint32](dst, index, updates, block, reduction)
	case tensor.Uint64:
		put[uint64](dst, index, updates, block, reduction)
	default:
		d, u := tensor.Values[bool](dst), tensor.Values[bool](updates)
		for i, k := range index {
			copy(d[k*block:(k+1)*block], u[i*block:])
		}
	}
	return one(dst), nil
}

func put[T tensor.Number](dst *tensor.Tensor, index []int, updates *tensor.Tensor, block int, reduction string) {
	all, u := tensor.Values[T](dst), tensor.Values[T](updates)
	for i, k := range index {
		d, s := all[k*block:(k+1)*block], u[i*block:(i+1)*block]
		switch reduction {
		case "add":
			for j, x := range s {
				d[j] += x
			}
		case "mul":
			for j, x := range s {
				d[j] *= x
			}
		case "max":
			for j, x := range s {
				d[j] = max(d[j], x)
			}
		case "min":
			for j, x := range s {
				d[j] = min(d[j], x)
			}
		default:
			copy(d, s)
		}
	}
}

// compressView returns the axis and its blocks; without an axis the input counts as flat.
func compressView(n *Node, shape []int) (axis, outer, dim, block int, err error) {
	if !n.Attrs.Has("axis") {
		return 0, 1, volume(shape), 1, nil
	}
	if axis, err = attrAxis(n, 0, len(shape)); err != nil {
		return 0, 0, 0, 0, err
	}
	return axis, volume(shape[:axis]), shape[axis], volume(shape[axis+1:]), nil
}

func inferCompress(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := want(in, 1, tensor.Bool); err != nil {
		return nil, err
	}
	if err := wantRank(in, 1, 1, 1); err != nil {
		return nil, err
	}
	axis, _, dim, _, err := compressView(n, in[0].Shape)
	if err != nil {
		return nil, err
	}
	if in[1].Shape[0] > dim {
		return nil, fmt.Errorf("condition of %d is longer than dimension %d", in[1].Shape[0], dim)
	}
	condition := at(consts, 1)
	if condition == nil {
		return nil, ErrDynamic
	}
	kept := 0
	for _, c := range tensor.Values[bool](condition) {
		if c {
			kept++
		}
	}
	shape := []int{kept}
	if n.Attrs.Has("axis") {
		shape = slices.Clone(in[0].Shape)
		shape[axis] = kept
	}
	return []Type{{in[0].DType, shape}}, nil
}

func runCompress(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	_, outer, dim, block, err := compressView(n, in[0].Shape())
	if err != nil {
		return nil, err
	}
	if tensor.Count(out[0].Shape) == 0 {
		return one(tensor.New(out[0].DType, out[0].Shape...)), nil
	}
	var index []int
	for o := range outer {
		for k, c := range tensor.Values[bool](in[1]) {
			if c {
				index = append(index, o*dim+k)
			}
		}
	}
	return one(takeBlocks(out[0].Shape, in[0], index, block)), nil
}

func inferReverseSequence(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := wantRank(in, 0, 2, -1); err != nil {
		return nil, err
	}
	batch, err := n.Attrs.Int("batch_axis", 1)
	if err != nil {
		return nil, err
	}
	time, err := n.Attrs.Int("time_axis", 0)
	if err != nil {
		return nil, err
	}
	if batch != 0 && batch != 1 || time != 1-batch {
		return nil, fmt.Errorf("batch_axis %d and time_axis %d are not 0 and 1", batch, time)
	}
	if err := want(in, 1, tensor.Int64); err != nil {
		return nil, err
	}
	if !slices.Equal(in[1].Shape, []int{in[0].Shape[batch]}) {
		return nil, fmt.Errorf("sequence_lens has shape %v, want [%d]", in[1].Shape, in[0].Shape[batch])
	}
	return []Type{in[0]}, nil
}

func runReverseSequence(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	batchAxis, err := n.Attrs.Int("batch_axis", 1)
	if err != nil {
		return nil, err
	}
	shape := in[0].Shape()
	lens := tensor.Values[int64](in[1])
	steps := shape[1-batchAxis]
	for _, l := range lens {
		if l < 0 || l > int64(steps) {
			return nil, fmt.Errorf("sequence length %d does not fit %d steps", l, steps)
		}
	}
	if in[0].Len() == 0 {
		return one(in[0]), nil
	}
	index := make([]int, shape[0]*shape[1])
	for i := range index {
		step, batch := i/shape[1], i%shape[1]
		if batchAxis == 0 {
			step, batch = batch, step
		}
		if l := int(lens[batch]); step < l {
			step = l - 1 - step
		}
		if batchAxis == 0 {
			index[i] = batch*shape[1] + step
		} else {
			index[i] = step*shape[1] + batch
		}
	}
	return one(takeBlocks(shape, in[0], index, volume(shape[2:]))), nil
}

// nonZero returns the flat positions of the elements that are not zero.
func nonZero(t *tensor.Tensor) []int {
	var at []int
	for i, x := range tensor.Values[bool](convert(t, tensor.Bool)) {
		if x {
			at = append(at, i)
		}
	}
	return at
}

func inferNonZero(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	t := at(consts, 0)
	if t == nil {
		return nil, ErrDynamic
	}
	return []Type{{tensor.Int64, []int{len(in[0].Shape), len(nonZero(t))}}}, nil
}

func runNonZero(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	found := nonZero(in[0])
	strides := tensor.Strides(in[0].Shape())
	v := make([]int64, 0, len(strides)*len(found))
	for d, size := range in[0].Shape() {
		for _, k := range found {
			v = append(v, int64(k/strides[d]%size))
		}
	}
	return one(tensor.Of(v, len(strides), len(found))), nil
}

func oneHotDepth(in []Type, consts []*tensor.Tensor) (int, error) {
	if c, err := tensor.CheckShape(in[1].Shape, 1); err != nil || c != 1 {
		return 0, fmt.Errorf("depth has shape %v, want a scalar", in[1].Shape)
	}
	t := at(consts, 1)
	if t == nil {
		return 0, ErrDynamic
	}
	depth := tensor.Values[int64](convert(t, tensor.Int64))[0]
	if depth < 0 || depth > MaxElements {
		return 0, fmt.Errorf("depth is %d", depth)
	}
	return int(depth), nil
}

func inferOneHot(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	for i := range 2 {
		if err := want(in, i, numberTypes...); err != nil {
			return nil, err
		}
	}
	if !slices.Equal(in[2].Shape, []int{2}) {
		return nil, fmt.Errorf("values have shape %v, want [2]", in[2].Shape)
	}
	axis, err := attrAxis(n, -1, len(in[0].Shape)+1)
	if err != nil {
		return nil, err
	}
	depth, err := oneHotDepth(in, consts)
	if err != nil {
		return nil, err
	}
	return []Type{{in[2].DType, slices.Insert(slices.Clone(in[0].Shape), axis, depth)}}, nil
}

func runOneHot(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	axis, err := attrAxis(n, -1, in[0].Rank()+1)
	if err != nil {
		return nil, err
	}
	depth := out[0].Shape[axis]
	inner := volume(out[0].Shape[axis+1:])
	picks := make([]int, tensor.Count(out[0].Shape)) // off everywhere, which is element 0 of values
	for i, x := range tensor.Values[int64](convert(in[0], tensor.Int64)) {
		if x < 0 {
			x += int64(depth)
		}
		// An index outside the depth lights nothing.
		if x >= 0 && x < int64(depth) && inner > 0 {
			picks[(i/inner*depth+int(x))*inner+i%inner] = 1
		}
	}
	return one(takeBlocks(out[0].Shape, in[2], picks, 1)), nil
}
