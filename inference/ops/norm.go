package ops

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"cutout/inference/tensor"
)

func normOps() []Op {
	return []Op{
		newOp("BatchNormalization", 1, 13, arity{5, 5, 5}, inferBatchNorm, runBatchNorm),
		newOp("BatchNormalization", 14, 0, arity{5, 5, 3}, inferBatchNorm, runBatchNorm),
		newOp("InstanceNormalization", 1, 0, arity{3, 3, 1}, inferInstanceNorm, runInstanceNorm),
		newOp("LayerNormalization", 17, 0, arity{2, 3, 3}, inferLayerNorm, runLayerNorm),
		newOp("GroupNormalization", 18, 0, arity{3, 3, 1}, inferGroupNorm, runGroupNorm),
		newOp("LRN", 1, 0, arity{1, 1, 1}, inferLRN, runLRN),
		newOp("LpNormalization", 1, 0, arity{1, 1, 1}, inferLpNorm, runLpNorm),
		newOp("MeanVarianceNormalization", 9, 0, arity{1, 1, 1}, inferMVN, runMVN),
	}
}

// wantVectors reports inputs from first on that are not vectors of n elements.
func wantVectors(in []Type, first, n int) error {
	for i := first; i < len(in); i++ {
		if s := in[i].Shape; present(in, i) && (len(s) != 1 || s[0] != n) {
			return fmt.Errorf("input %d has shape %v, want [%d]", i, s, n)
		}
	}
	return nil
}

// training reports whether a BatchNormalization asks for the statistics of its own batch. Opset 14 says so by an
// attribute; before, is_test (up to 6) or extra outputs (7 to 13) did.
func training(n *Node) (bool, error) {
	if n.Opset >= 14 {
		return n.Attrs.Bool("training_mode", false)
	}
	test, err := n.Attrs.Bool("is_test", n.Opset >= 7)
	if err != nil {
		return false, err
	}
	if !test || n.Outputs > 1 {
		return false, errors.New("training mode of opsets before 14 is not supported")
	}
	spatial, err := n.Attrs.Bool("spatial", true)
	if err == nil && !spatial {
		err = errors.New("attribute spatial is 0: statistics for every activation are not supported")
	}
	return false, err
}

func inferBatchNorm(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := want(in, 0, floatTypes...); err != nil {
		return nil, err
	}
	if err := wantRank(in, 0, 2, -1); err != nil {
		return nil, err
	}
	for i := 1; i < 5; i++ {
		if err := want(in, i, floatTypes...); err != nil {
			return nil, err
		}
	}
	if err := wantVectors(in, 1, in[0].Shape[1]); err != nil {
		return nil, err
	}
	train, err := training(n)
	if err != nil {
		return nil, err
	}
	if !train && n.Outputs > 1 {
		return nil, fmt.Errorf("has %d outputs, but running statistics come of training mode only", n.Outputs)
	}
	return []Type{in[0], in[3], in[4]}, nil
}

// floats returns the elements of a float32 or float64 tensor as float64.
func floats(t *tensor.Tensor) []float64 {
	if t.DType() == tensor.Float64 {
		return tensor.Values[float64](t)
	}
	v := tensor.Values[float32](t)
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}

// ofFloats makes a tensor of type t from float64 values.
func ofFloats(t Type, v []float64) *tensor.Tensor {
	if t.DType == tensor.Float64 {
		return tensor.Of(v, t.Shape...)
	}
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = float32(x)
	}
	return tensor.Of(out, t.Shape...)
}

func runBatchNorm(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	epsilon, err := n.Attrs.Float("epsilon", 1e-5)
	if err != nil {
		return nil, err
	}
	momentum, err := n.Attrs.Float("momentum", 0.9)
	if err != nil {
		return nil, err
	}
	train, err := training(n)
	if err != nil {
		return nil, err
	}
	scale, bias, mean, variance := floats(in[1]), floats(in[2]), floats(in[3]), floats(in[4])
	var result []*tensor.Tensor
	if train {
		m, v := channelMoments(floats(in[0]), in[0].Shape())
		running := [2][]float64{make([]float64, len(m)), make([]float64, len(m))}
		for c := range m {
			running[0][c] = mean[c]*float64(momentum) + m[c]*(1-float64(momentum))
			running[1][c] = variance[c]*float64(momentum) + v[c]*(1-float64(momentum))
		}
		mean, variance = m, v
		for i, t := range out[1:] {
			result = append(result, ofFloats(t, running[i]))
		}
	}
	factor, offset := make([]float64, len(scale)), make([]float64, len(scale))
	for c := range factor {
		factor[c] = scale[c] / math.Sqrt(variance[c]+float64(epsilon))
		offset[c] = bias[c] - mean[c]*factor[c]
	}
	var y *tensor.Tensor
	if out[0].DType == tensor.Float64 {
		y = perChannel[float64](in[0], factor, offset)
	} else {
		y = perChannel[float32](in[0], factor, offset)
	}
	return append(one(y), result...), nil
}

// perChannel computes x*factor[c] + offset[c] for x (N, C, ...), rounding once.
func perChannel[T float32 | float64](t *tensor.Tensor, factor, offset []float64) *tensor.Tensor {
	x := tensor.Values[T](t)
	y := make([]T, len(x))
	channels := t.Shape()[1]
	if len(x) == 0 {
		return tensor.Of(y, t.Shape()...)
	}
	area := tensor.Count(t.Shape()[2:])
	for i := 0; i < len(x); i += area {
		c := i / area % channels
		f, o := factor[c], offset[c]
		for j, v := range x[i : i+area] {
			y[i+j] = T(float64(v)*f + o)
		}
	}
	return tensor.Of(y, t.Shape()...)
}

// channelMoments returns mean and population variance of every channel of x (N, C, ...) over all other axes.
func channelMoments(x []float64, shape []int) (mean, variance []float64) {
	channels, area := shape[1], tensor.Count(shape[2:])
	mean, variance = make([]float64, channels), make([]float64, channels)
	count := float64(shape[0] * area)
	for pass := range 2 {
		for i := 0; i < len(x); i += area {
			c := i / area % channels
			for _, v := range x[i : i+area] {
				if pass == 0 {
					mean[c] += v / count
				} else {
					variance[c] += (v - mean[c]) * (v - mean[c]) / count
				}
			}
		}
	}
	return mean, variance
}

// moments returns mean and population variance.
func moments[T float32 | float64](x []T) (mean, variance float64) {
	for _, v := range x {
		mean += float64(v)
	}
	mean /= float64(len(x))
	for _, v := range x {
		d := float64(v) - mean
		variance += d * d
	}
	return mean, variance / float64(len(x))
}

func inferInstanceNorm(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := want(in, 0, floatTypes...); err != nil {
		return nil, err
	}
	if err := wantSame(in); err != nil {
		return nil, err
	}
	if err := wantRank(in, 0, 2, -1); err != nil {
		return nil, err
	}
	return []Type{in[0]}, wantVectors(in, 1, in[0].Shape[1])
}

func runInstanceNorm(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	epsilon, err := n.Attrs.Float("epsilon", 1e-5)
	if err != nil {
		return nil, err
	}
	x := in[0].Shape()
	g := grouping{groups: x[1], channels: x[1], area: tensor.Count(x[2:]), epsilon: float64(epsilon)}
	if out[0].DType == tensor.Float64 {
		return one(normGroups[float64](in, g)), nil
	}
	return one(normGroups[float32](in, g)), nil
}

// grouping says how many groups the channels fall into; scales is the number of scale and bias entries, one a
// channel, or one a group when perGroup is set.
type grouping struct {
	groups, channels, area int
	perGroup               bool
	epsilon                float64
}

// normGroups normalises every group of channels of x (N, C, ...) to mean 0 and variance 1, then scales and shifts.
func normGroups[T float32 | float64](in []*tensor.Tensor, g grouping) *tensor.Tensor {
	x, scale, bias := tensor.Values[T](in[0]), tensor.Values[T](in[1]), tensor.Values[T](in[2])
	y := make([]T, len(x))
	if len(x) == 0 {
		return tensor.Of(y, in[0].Shape()...)
	}
	size := g.channels / g.groups * g.area
	for i := 0; i < len(x); i += size {
		mean, variance := moments(x[i : i+size])
		inv := 1 / math.Sqrt(variance+g.epsilon)
		for j := i; j < i+size; j++ {
			c := j / g.area % g.channels
			if g.perGroup {
				c /= g.channels / g.groups
			}
			y[j] = T((float64(x[j])-mean)*inv*float64(scale[c]) + float64(bias[c]))
		}
	}
	return tensor.Of(y, in[0].Shape()...)
}

func inferGroupNorm(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := want(in, 0, floatTypes...); err != nil {
		return nil, err
	}
	if err := wantSame(in); err != nil {
		return nil, err
	}
	if err := wantRank(in, 0, 2, -1); err != nil {
		return nil, err
	}
	groups, err := groupCount(n, in[0].Shape[1])
	if err != nil {
		return nil, err
	}
	entries := in[0].Shape[1]
	if n.Opset < 21 {
		entries = groups
	}
	return []Type{in[0]}, wantVectors(in, 1, entries)
}

func groupCount(n *Node, channels int) (int, error) {
	groups, err := n.Attrs.Int("num_groups", 0)
	if err != nil {
		return 0, err
	}
	if groups < 1 || channels%groups != 0 {
		return 0, fmt.Errorf("attribute num_groups is %d, which does not divide %d channels", groups, channels)
	}
	return groups, nil
}

func runGroupNorm(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	epsilon, err := n.Attrs.Float("epsilon", 1e-5)
	if err != nil {
		return nil, err
	}
	x := in[0].Shape()
	groups, err := groupCount(n, x[1])
	if err != nil {
		return nil, err
	}
	g := grouping{groups, x[1], tensor.Count(x[2:]), n.Opset < 21, float64(epsilon)}
	if out[0].DType == tensor.Float64 {
		return one(normGroups[float64](in, g)), nil
	}
	return one(normGroups[float32](in, g)), nil
}

func inferLayerNorm(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := want(in, 0, floatTypes...); err != nil {
		return nil, err
	}
	if err := wantSame(in); err != nil {
		return nil, err
	}
	axis, err := layerAxis(n, in[0].Shape)
	if err != nil {
		return nil, err
	}
	inner := in[0].Shape[axis:]
	for i := 1; i < len(in); i++ {
		if !present(in, i) {
			continue
		}
		s, err := broadcastShapes(in[i].Shape, inner)
		if err != nil || !slices.Equal(s, inner) {
			return nil, fmt.Errorf("input %d of shape %v does not broadcast to %v", i, in[i].Shape, inner)
		}
	}
	stats := slices.Clone(in[0].Shape)
	for i := axis; i < len(stats); i++ {
		stats[i] = 1
	}
	return []Type{in[0], {tensor.Float32, stats}, {tensor.Float32, stats}}, nil
}

func layerAxis(n *Node, shape []int) (int, error) {
	axis, err := n.Attrs.Int("axis", -1)
	if err != nil {
		return 0, err
	}
	return axisIn(axis, len(shape))
}

func runLayerNorm(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	if out[0].DType == tensor.Float64 {
		return layerNorm[float64](n, in, out)
	}
	return layerNorm[float32](n, in, out)
}

func layerNorm[T float32 | float64](n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	epsilon, err := n.Attrs.Float("epsilon", 1e-5)
	if err != nil {
		return nil, err
	}
	axis, err := layerAxis(n, in[0].Shape())
	if err != nil {
		return nil, err
	}
	x, inner := tensor.Values[T](in[0]), in[0].Shape()[axis:]
	scale := spreadTo[T](in[1], inner)
	bias := make([]T, len(scale))
	if b := at(in, 2); b != nil {
		bias = spreadTo[T](b, inner)
	}
	rows := tensor.Count(in[0].Shape()[:axis])
	y, means, invs := make([]T, len(x)), make([]float32, rows), make([]float32, rows)
	size := len(scale)
	for i := range rows {
		src, dst := x[i*size:][:size], y[i*size:][:size]
		mean, variance := moments(src)
		inv := 1 / math.Sqrt(variance+float64(epsilon))
		for j, v := range src {
			dst[j] = T((float64(v)-mean)*inv*float64(scale[j]) + float64(bias[j]))
		}
		means[i], invs[i] = float32(mean), float32(inv)
	}
	result := one(tensor.Of(y, out[0].Shape...))
	for i, v := range [][]float32{means, invs} {
		if i+1 < len(out) {
			result = append(result, tensor.Of(v, out[i+1].Shape...))
		}
	}
	return result, nil
}

// spreadTo repeats the elements of t to fill shape, to which t broadcasts.
func spreadTo[T tensor.Element](t *tensor.Tensor, shape []int) []T {
	v, out := tensor.Values[T](t), make([]T, tensor.Count(shape))
	p := planRows(shape, tensor.Strides(shape), broadcastStrides(t.Shape(), shape))
	p.each(func(o []int) {
		for i := range p.n {
			out[o[0]+i*p.step[0]] = v[o[1]+i*p.step[1]]
		}
	})
	return out
}

func inferLRN(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := want(in, 0, floatTypes...); err != nil {
		return nil, err
	}
	if err := wantRank(in, 0, 2, -1); err != nil {
		return nil, err
	}
	size, err := n.Attrs.Int("size", 0)
	if err == nil && size < 1 {
		err = fmt.Errorf("attribute size is %d, want at least 1", size)
	}
	return []Type{in[0]}, err
}

// runLRN divides by (bias + alpha/size * sum of squares over the size channels around each)^beta.
func runLRN(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	size, err := n.Attrs.Int("size", 0)
	if err != nil {
		return nil, err
	}
	var param [3]float64
	for i, d := range []struct {
		name string
		def  float32
	}{{"alpha", 1e-4}, {"beta", 0.75}, {"bias", 1}} {
		v, err := n.Attrs.Float(d.name, d.def)
		if err != nil {
			return nil, err
		}
		param[i] = float64(v)
	}
	alpha, beta, bias := param[0], param[1], param[2]
	x, shape := floats(in[0]), in[0].Shape()
	y := make([]float64, len(x))
	channels, area := shape[1], tensor.Count(shape[2:])
	for i := range x {
		c := i / area % channels
		var sum float64
		for j := max(c-(size-1)/2, 0); j <= min(c+size/2, channels-1); j++ {
			v := x[i+(j-c)*area]
			sum += v * v
		}
		y[i] = x[i] / math.Pow(bias+alpha/float64(size)*sum, beta)
	}
	return one(ofFloats(out[0], y)), nil
}

func inferLpNorm(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := want(in, 0, floatTypes...); err != nil {
		return nil, err
	}
	p, err := n.Attrs.Int("p", 2)
	if err != nil {
		return nil, err
	}
	if p != 1 && p != 2 {
		return nil, fmt.Errorf("attribute p is %d, want 1 or 2", p)
	}
	_, err = layerAxis(n, in[0].Shape)
	return []Type{in[0]}, err
}

// runLpNorm divides by the p-norm along one axis; a vector of zeros stays as it is.
func runLpNorm(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	power, err := readP(n)
	if err != nil {
		return nil, err
	}
	axis, err := layerAxis(n, in[0].Shape())
	if err != nil {
		return nil, err
	}
	x, shape := floats(in[0]), in[0].Shape()
	y := make([]float64, len(x))
	inner := tensor.Count(shape[axis+1:])
	for i := range y {
		if i/inner%shape[axis] != 0 {
			continue
		}
		acc := norm{p: power}
		for k := range shape[axis] {
			acc.add(x[i+k*inner])
		}
		if v := acc.value(); v != 0 {
			for k := range shape[axis] {
				y[i+k*inner] = x[i+k*inner] / v
			}
		}
	}
	return one(ofFloats(out[0], y)), nil
}

func inferMVN(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := want(in, 0, floatTypes...); err != nil {
		return nil, err
	}
	_, err := mvnAxes(n, len(in[0].Shape))
	return []Type{in[0]}, err
}

func mvnAxes(n *Node, rank int) ([]int, error) {
	axes := []int{0, 2, 3}
	if n.Attrs.Has("axes") {
		var err error
		if axes, err = n.Attrs.Ints("axes"); err != nil {
			return nil, err
		}
	}
	return axesIn(axes, rank)
}

// runMVN subtracts the mean over the axes and divides by the standard deviation plus 1e-9.
func runMVN(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	shape := in[0].Shape()
	axes, err := mvnAxes(n, len(shape))
	if err != nil {
		return nil, err
	}
	kept := slices.Clone(shape)
	count := 1
	for _, a := range axes {
		count *= kept[a]
		kept[a] = 1
	}
	x := floats(in[0])
	y := make([]float64, len(x))
	stat := [2][]float64{make([]float64, tensor.Count(kept)), make([]float64, tensor.Count(kept))}
	p := planRows(shape, tensor.Strides(shape), broadcastStrides(kept, shape))
	each := func(f func(i, k int)) {
		p.each(func(o []int) {
			for j := range p.n {
				f(o[0]+j*p.step[0], o[1]+j*p.step[1])
			}
		})
	}
	each(func(i, k int) { stat[0][k] += x[i] / float64(count) })
	each(func(i, k int) { d := x[i] - stat[0][k]; stat[1][k] += d * d / float64(count) })
	each(func(i, k int) { y[i] = (x[i] - stat[0][k]) / (math.Sqrt(stat[1][k]) + 1e-9) })
	return one(ofFloats(out[0], y)), nil
}
