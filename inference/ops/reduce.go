package ops

import (
	"fmt"
	"math"
	"slices"

	"cutout/inference/tensor"
)

// reduceOps holds the reductions, the running sum and the searches along an axis.
func reduceOps() []Op {
	var ops []Op
	for _, name := range []string{"ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
		"ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"} {
		// The axes became an input, for ReduceSum before the others.
		since := 18
		if name == "ReduceSum" {
			since = 13
		}
		infer := inferReduce(since)
		ops = append(ops,
			newOp(name, 1, since-1, arity{1, 1, 1}, infer, runReduce(since)),
			newOp(name, since, 0, arity{1, 2, 1}, infer, runReduce(since)))
	}
	return append(ops,
		newOp("ArgMax", 1, 0, arity{1, 1, 1}, inferArg, runArg),
		newOp("ArgMin", 1, 0, arity{1, 1, 1}, inferArg, runArg),
		newOp("CumSum", 11, 0, arity{2, 2, 1}, inferCumSum, runCumSum),
		newOp("TopK", 1, 9, arity{1, 1, 2}, inferTopK, runTopK),
		newOp("TopK", 10, 0, arity{2, 2, 2}, inferTopK, runTopK),
	)
}

// reducedAxes returns which dimensions a reduction folds; noop says that the node passes its input on as it is.
func reducedAxes(n *Node, in []Type, consts []*tensor.Tensor, inputSince int) (folded []bool, noop bool, err error) {
	axes, _, err := axesOf(n, in, consts, inputSince)
	if err != nil {
		return nil, false, err
	}
	rank := len(in[0].Shape)
	folded = make([]bool, rank)
	if len(axes) == 0 {
		if n.Opset >= inputSince {
			if noop, err = n.Attrs.Bool("noop_with_empty_axes", false); err != nil {
				return nil, false, err
			}
		}
		fill(folded, !noop)
		return folded, noop, nil
	}
	if axes, err = axesIn(axes, rank); err != nil {
		return nil, false, err
	}
	for _, a := range axes {
		folded[a] = true
	}
	return folded, false, nil
}

func inferReduce(inputSince int) Infer {
	return func(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
		extremum := n.OpType == "ReduceMax" || n.OpType == "ReduceMin"
		if !extremum || in[0].DType != tensor.Bool {
			if err := want(in, 0, numberTypes...); err != nil {
				return nil, err
			}
		}
		folded, _, err := reducedAxes(n, in, consts, inputSince)
		if err != nil {
			return nil, err
		}
		keep, err := n.Attrs.Bool("keepdims", true)
		if err != nil {
			return nil, err
		}
		shape := make([]int, 0, len(folded))
		for d, size := range in[0].Shape {
			switch {
			case !folded[d]:
				shape = append(shape, size)
			case keep:
				shape = append(shape, 1)
			}
		}
		return []Type{{in[0].DType, shape}}, nil
	}
}

func runReduce(inputSince int) compute {
	return func(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
		folded, noop, err := reducedAxes(n, typesOf(in), in, inputSince)
		if err != nil {
			return nil, err
		}
		t := in[0]
		if noop {
			return one(t), nil
		}
		if t.DType() == tensor.Bool {
			z, err := reduce[uint8](n.OpType, convert(t, tensor.Uint8), folded, out[0].Shape)
			if err != nil {
				return nil, err
			}
			return one(convert(z, tensor.Bool)), nil
		}
		var z *tensor.Tensor
		switch t.DType() {
		case tensor.Float32:
			z, err = reduce[float32](n.OpType, t, folded, out[0].Shape)
		case tensor.Float64:
			z, err = reduce[float64](n.OpType, t, folded, out[0].Shape)
		case tensor.Int8:
			z, err = reduce[int8](n.OpType, t, folded, out[0].Shape)
		case tensor.Int16:
			z, err = reduce[int16](n.OpType, t, folded, out[0].Shape)
		case tensor.Int32:
			z, err = reduce[int32](n.OpType, t, folded, out[0].Shape)
		case tensor.Int64:
			z, err = reduce[int64](n.OpType, t, folded, out[0].Shape)
		case tensor.Uint8:
			z, err = reduce[uint8](n.OpType, t, folded, out[0].Shape)
		case tensor.Uint16:
			z, err = reduce[uint16](n.OpType, t, folded, out[0].Shape)
		case tensor.Uint32:
			z, err = reduce[uint32](n.OpType, t, folded, out[0].Shape)
		default:
			z, err = reduce[uint64](n.OpType, t, folded, out[0].Shape)
		}
		return one(z), err
	}
}

// reduceStrides returns the strides of the result seen from the input: 0 along what is folded.
func reduceStrides(shape []int, folded []bool) []int {
	s := make([]int, len(shape))
	step := 1
	for d := len(shape) - 1; d >= 0; d-- {
		if !folded[d] {
			s[d] = step
			step *= shape[d]
		}
	}
	return s
}

// reduce folds t. Sums of floats run in float64, those of integers wrap in their own type; what needs roots,
// logarithms or a division runs in float64 and is cut back.
func reduce[T tensor.Number](op string, t *tensor.Tensor, folded []bool, shape []int) (*tensor.Tensor, error) {
	src := tensor.Values[T](t)
	count := tensor.Count(shape)
	p := planRows(t.Shape(), tensor.Strides(t.Shape()), reduceStrides(t.Shape(), folded))
	float := slices.Contains(floatTypes, t.DType())
	folds := 0
	if count > 0 {
		folds = len(src) / count
	}
	switch op {
	case "ReduceMax", "ReduceMin":
		if folds == 0 && count > 0 && !float && t.DType() != tensor.Uint8 {
			return nil, fmt.Errorf("nothing to reduce in shape %v", t.Shape())
		}
		dst := make([]T, count)
		if op == "ReduceMax" {
			fill(dst, lowest[T](t.DType()))
			foldRow(&p, dst, src, func(a, x T) T { return max(a, x) })
		} else {
			fill(dst, highest[T](t.DType()))
			foldRow(&p, dst, src, func(a, x T) T { return min(a, x) })
		}
		return tensor.Of(dst, shape...), nil
	case "ReduceSum", "ReduceProd", "ReduceL1", "ReduceSumSquare":
		if float {
			break
		}
		dst := make([]T, count)
		switch op {
		case "ReduceSum":
			foldRow(&p, dst, src, func(a, x T) T { return a + x })
		case "ReduceProd":
			fill(dst, 1)
			foldRow(&p, dst, src, func(a, x T) T { return a * x })
		case "ReduceL1":
			foldRow(&p, dst, src, func(a, x T) T {
				if x < 0 {
					x = -x
				}
				return a + x
			})
		default:
			foldRow(&p, dst, src, func(a, x T) T { return a + x*x })
		}
		return tensor.Of(dst, shape...), nil
	}
	acc := make([]float64, count)
	var finish func(float64) float64
	switch op {
	case "ReduceSum", "ReduceMean":
		sumRow(&p, acc, src)
		if op == "ReduceMean" {
			if folds == 0 && !float && count > 0 {
				return nil, fmt.Errorf("nothing to average in shape %v", t.Shape())
			}
			finish = func(a float64) float64 { return a / float64(folds) }
		}
	case "ReduceLogSum":
		sumRow(&p, acc, src)
		finish = math.Log
	case "ReduceProd":
		fill(acc, 1)
		foldRow(&p, acc, src, func(a float64, x T) float64 { return a * float64(x) })
	case "ReduceL1":
		foldRow(&p, acc, src, func(a float64, x T) float64 { return a + math.Abs(float64(x)) })
	case "ReduceSumSquare", "ReduceL2":
		foldRow(&p, acc, src, func(a float64, x T) float64 { return a + float64(x)*float64(x) })
		if op == "ReduceL2" {
			finish = math.Sqrt
		}
	case "ReduceLogSumExp":
		// The largest element is taken out first, so that nothing overflows.
		top := make([]float64, count)
		fill(top, math.Inf(-1))
		foldRow(&p, top, src, func(a float64, x T) float64 { return max(a, float64(x)) })
		for i, m := range top {
			if math.IsInf(m, 0) {
				top[i] = 0
			}
		}
		p.each(func(o []int) {
			for i := range p.n {
				k := o[1] + i*p.step[1]
				acc[k] += math.Exp(float64(src[o[0]+i*p.step[0]]) - top[k])
			}
		})
		for i, a := range acc {
			acc[i] = math.Log(a) + top[i]
		}
	default:
		return nil, fmt.Errorf("unknown reduction %s", op)
	}
	if finish != nil {
		for i, a := range acc {
			acc[i] = finish(a)
		}
	}
	return convert(tensor.Of(acc, shape...), t.DType()), nil
}

// foldRow folds every row of src into dst, along which the row either stands still or moves on.
func foldRow[T, A any](p *rowPlan, dst []A, src []T, f func(A, T) A) {
	p.each(func(o []int) {
		if p.step[1] == 0 {
			a := dst[o[1]]
			for _, x := range row(p, src, 0, o[0]) {
				a = f(a, x)
			}
			dst[o[1]] = a
			return
		}
		d := row(p, dst, 1, o[1])
		for i, x := range row(p, src, 0, o[0]) {
			d[i] = f(d[i], x)
		}
	})
}

// sumRow is foldRow for the sum, which is worth a loop without calls.
func sumRow[T tensor.Number](p *rowPlan, dst []float64, src []T) {
	p.each(func(o []int) {
		if p.step[1] == 0 {
			a := 0.0
			for _, x := range row(p, src, 0, o[0]) {
				a += float64(x)
			}
			dst[o[1]] += a
			return
		}
		d := row(p, dst, 1, o[1])
		for i, x := range row(p, src, 0, o[0]) {
			d[i] += float64(x)
		}
	})
}

// lowest returns the smallest value of a type: the maximum of nothing.
func lowest[T tensor.Number](d tensor.DType) T {
	v := math.Inf(-1)
	switch d {
	case tensor.Int8, tensor.Int16, tensor.Int32, tensor.Int64:
		v = -math.Ldexp(1, 8*d.Size()-1)
	case tensor.Uint8, tensor.Uint16, tensor.Uint32, tensor.Uint64:
		v = 0
	}
	return T(v)
}

// highest returns the largest value of a type: the minimum of nothing.
func highest[T tensor.Number](d tensor.DType) T {
	switch d {
	case tensor.Float32, tensor.Float64:
		v := math.Inf(1)
		return T(v)
	case tensor.Int8, tensor.Int16, tensor.Int32, tensor.Int64:
		// -1 less the smallest value, which no float64 rounds.
		var zero T
		return zero - 1 - lowest[T](d)
	}
	var zero T
	return zero - 1
}

func inferArg(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := want(in, 0, numberTypes...); err != nil {
		return nil, err
	}
	axis, err := attrAxis(n, 0, len(in[0].Shape))
	if err != nil {
		return nil, err
	}
	keep, err := n.Attrs.Bool("keepdims", true)
	if err != nil {
		return nil, err
	}
	if _, err := n.Attrs.Bool("select_last_index", false); err != nil {
		return nil, err
	}
	shape := slices.Clone(in[0].Shape)
	if shape[axis] == 0 && volume(slices.Delete(slices.Clone(shape), axis, axis+1)) > 0 {
		return nil, fmt.Errorf("nothing to search along axis %d of %v", axis, shape)
	}
	if keep {
		shape[axis] = 1
	} else {
		shape = slices.Delete(shape, axis, axis+1)
	}
	return []Type{{tensor.Int64, shape}}, nil
}

func runArg(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	axis, err := attrAxis(n, 0, in[0].Rank())
	if err != nil {
		return nil, err
	}
	last, err := n.Attrs.Bool("select_last_index", false)
	if err != nil {
		return nil, err
	}
	t, smallest := in[0], n.OpType == "ArgMin"
	var v []int64
	switch t.DType() {
	case tensor.Float32:
		v = argBest[float32](t, axis, smallest, last)
	case tensor.Float64:
		v = argBest[float64](t, axis, smallest, last)
	case tensor.Int8:
		v = argBest[int8](t, axis, smallest, last)
	case tensor.Int16:
		v = argBest[int16](t, axis, smallest, last)
	case tensor.Int32:
		v = argBest[int32](t, axis, smallest, last)
	case tensor.Int64:
		v = argBest[int64](t, axis, smallest, last)
	case tensor.Uint8:
		v = argBest[uint8](t, axis, smallest, last)
	case tensor.Uint16:
		v = argBest[uint16](t, axis, smallest, last)
	case tensor.Uint32:
		v = argBest[uint32](t, axis, smallest, last)
	default:
		v = argBest[uint64](t, axis, smallest, last)
	}
	return one(tensor.Of(v, out[0].Shape...)), nil
}

func argBest[T tensor.Number](t *tensor.Tensor, axis int, smallest, last bool) []int64 {
	src, shape := tensor.Values[T](t), t.Shape()
	outer, dim, inner := volume(shape[:axis]), shape[axis], volume(shape[axis+1:])
	v := make([]int64, outer*inner)
	if dim == 0 {
		return v
	}
	best := make([]T, inner)
	for o := range outer {
		at := v[o*inner : (o+1)*inner]
		copy(best, src[o*dim*inner:])
		for k := 1; k < dim; k++ {
			for i, x := range src[(o*dim+k)*inner : (o*dim+k+1)*inner] {
				better := x > best[i]
				if smallest {
					better = x < best[i]
				}
				if better || last && x == best[i] {
					best[i], at[i] = x, int64(k)
				}
			}
		}
	}
	return v
}

func inferCumSum(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := want(in, 0, numberTypes...); err != nil {
		return nil, err
	}
	if err := want(in, 1, indexTypes...); err != nil {
		return nil, err
	}
	if c, err := tensor.CheckShape(in[1].Shape, 1); err != nil || c != 1 {
		return nil, fmt.Errorf("axis has shape %v, want a scalar", in[1].Shape)
	}
	for _, name := range []string{"exclusive", "reverse"} {
		if _, err := n.Attrs.Bool(name, false); err != nil {
			return nil, err
		}
	}
	return []Type{in[0]}, nil
}

func runCumSum(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	axis, err := axisIn(int(tensor.Values[int64](convert(in[1], tensor.Int64))[0]), in[0].Rank())
	if err != nil {
		return nil, err
	}
	exclusive, err := n.Attrs.Bool("exclusive", false)
	if err != nil {
		return nil, err
	}
	reverse, err := n.Attrs.Bool("reverse", false)
	if err != nil {
		return nil, err
	}
	switch t := in[0]; t.DType() {
	case tensor.Float32:
		return one(cumSum[float32, float64](t, axis, exclusive, reverse)), nil
	case tensor.Float64:
		return one(cumSum[float64, float64](t, axis, exclusive, reverse)), nil
	case tensor.Uint64:
		return one(cumSum[uint64, uint64](t, axis, exclusive, reverse)), nil
	default:
		// Sums wrap, so the low bits come out the same in a wider type.
		return one(convert(cumSum[int64, int64](convert(t, tensor.Int64), axis, exclusive, reverse), t.DType())), nil
	}
}

func cumSum[T, A tensor.Number](t *tensor.Tensor, axis int, exclusive, reverse bool) *tensor.Tensor {
	src, shape := tensor.Values[T](t), t.Shape()
	dst := make([]T, len(src))
	outer, dim, inner := volume(shape[:axis]), shape[axis], volume(shape[axis+1:])
	for o := range outer {
		for i := range inner {
			var sum A
			for k := range dim {
				if reverse {
					k = dim - 1 - k
				}
				at := (o*dim+k)*inner + i
				if exclusive {
					dst[at] = T(sum)
					sum += A(src[at])
				} else {
					sum += A(src[at])
					dst[at] = T(sum)
				}
			}
		}
	}
	return tensor.Of(dst, shape...)
}

func topK(n *Node, in []Type, consts []*tensor.Tensor) (axis, k int, err error) {
	if axis, err = attrAxis(n, -1, len(in[0].Shape)); err != nil {
		return 0, 0, err
	}
	if n.Opset < 10 {
		if !n.Attrs.Has("k") {
			return 0, 0, fmt.Errorf("attribute k is missing")
		}
		k, err = n.Attrs.Int("k", 0)
	} else {
		var v []int
		if v, _, err = intsValue(in, consts, 1); err == nil {
			if len(v) != 1 {
				return 0, 0, fmt.Errorf("k has shape %v, want one element", in[1].Shape)
			}
			k = v[0]
		}
	}
	if err != nil {
		return 0, 0, err
	}
	if k < 0 || k > in[0].Shape[axis] {
		return 0, 0, fmt.Errorf("k is %d for dimension %d", k, in[0].Shape[axis])
	}
	return axis, k, nil
}

func inferTopK(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := want(in, 0, numberTypes...); err != nil {
		return nil, err
	}
	for _, name := range []string{"largest", "sorted"} {
		if _, err := n.Attrs.Bool(name, true); err != nil {
			return nil, err
		}
	}
	axis, k, err := topK(n, in, consts)
	if err != nil {
		return nil, err
	}
	shape := slices.Clone(in[0].Shape)
	shape[axis] = k
	return []Type{{in[0].DType, shape}, {tensor.Int64, shape}}, nil
}

func runTopK(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	axis, k, err := topK(n, typesOf(in), in)
	if err != nil {
		return nil, err
	}
	largest := true
	if n.Opset >= 11 {
		if largest, err = n.Attrs.Bool("largest", true); err != nil {
			return nil, err
		}
	}
	t := in[0]
	shape := t.Shape()
	dim, inner := shape[axis], volume(shape[axis+1:])
	picks := make([]int, tensor.Count(out[0].Shape))
	ranks := make([]int64, len(picks))
	order := make([]int, dim)
	outer := volume(shape[:axis])
	if len(picks) == 0 {
		outer = 0
	}
	better := comparer(t, largest)
	for o := range outer {
		for i := range inner {
			for j := range order {
				order[j] = (o*dim+j)*inner + i
			}
			slices.SortStableFunc(order, better)
			for j, p := range order[:k] {
				at := (o*k+j)*inner + i
				picks[at], ranks[at] = p, int64(p/inner%dim)
			}
		}
	}
	results := []*tensor.Tensor{takeBlocks(out[0].Shape, t, picks, 1), tensor.Of(ranks, out[0].Shape...)}
	return results[:len(out)], nil
}

// comparer orders positions of t by their elements.
func comparer(t *tensor.Tensor, descending bool) func(a, b int) int {
	switch t.DType() {
	case tensor.Float32:
		return compareAt(tensor.Values[float32](t), descending)
	case tensor.Float64:
		return compareAt(tensor.Values[float64](t), descending)
	case tensor.Uint64:
		return compareAt(tensor.Values[uint64](t), descending)
	default:
		return compareAt(tensor.Values[int64](convert(t, tensor.Int64)), descending)
	}
}

func compareAt[T tensor.Number](v []T, descending bool) func(a, b int) int {
	return func(a, b int) int {
		x, y := v[a], v[b]
		if descending {
			x, y = y, x
		}
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	}
}
