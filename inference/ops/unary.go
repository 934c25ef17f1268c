package ops

import (
	"fmt"
	"math"

	"cutout/inference/tensor"
)

// scalarFunc makes the function of one element that a node stands for, its attributes bound.
type scalarFunc func(n *Node) (func(float64) float64, error)

func fixed(f func(float64) float64) scalarFunc {
	return func(*Node) (func(float64) float64, error) { return f, nil }
}

// withAlpha binds attribute alpha and, where b names one, a second.
func withAlpha(aDef float32, b string, bDef float32, f func(alpha, beta, x float64) float64) scalarFunc {
	return func(n *Node) (func(float64) float64, error) {
		alpha, err := n.Attrs.Float("alpha", aDef)
		if err != nil {
			return nil, err
		}
		beta := bDef
		if b != "" {
			if beta, err = n.Attrs.Float(b, bDef); err != nil {
				return nil, err
			}
		}
		return func(x float64) float64 { return f(float64(alpha), float64(beta), x) }, nil
	}
}

func unaryOps() []Op {
	table := []struct {
		name         string
		since, until int
		f            scalarFunc
	}{
		{"Acos", 7, 0, fixed(math.Acos)},
		{"Acosh", 9, 0, fixed(math.Acosh)},
		{"Asin", 7, 0, fixed(math.Asin)},
		{"Asinh", 9, 0, fixed(math.Asinh)},
		{"Atan", 7, 0, fixed(math.Atan)},
		{"Atanh", 9, 0, fixed(math.Atanh)},
		{"Ceil", 1, 0, fixed(math.Ceil)},
		{"Celu", 12, 0, withAlpha(1, "", 0, func(a, _, x float64) float64 {
			return max(0, x) + min(0, a*math.Expm1(x/a))
		})},
		{"Cos", 7, 0, fixed(math.Cos)},
		{"Cosh", 9, 0, fixed(math.Cosh)},
		{"Elu", 1, 0, withAlpha(1, "", 0, func(a, _, x float64) float64 {
			if x >= 0 {
				return x
			}
			return a * math.Expm1(x)
		})},
		{"Erf", 9, 0, fixed(math.Erf)},
		{"Exp", 1, 0, fixed(math.Exp)},
		{"Floor", 1, 0, fixed(math.Floor)},
		{"Gelu", 20, 0, gelu},
		{"HardSigmoid", 1, 0, withAlpha(0.2, "beta", 0.5, func(a, b, x float64) float64 {
			return max(0, min(1, a*x+b))
		})},
		{"HardSwish", 14, 0, fixed(func(x float64) float64 { return x * max(0, min(1, x/6+0.5)) })},
		{"Log", 1, 0, fixed(math.Log)},
		{"Mish", 18, 0, fixed(func(x float64) float64 { return x * math.Tanh(softplus(x)) })},
		{"Reciprocal", 1, 0, fixed(func(x float64) float64 { return 1 / x })},
		{"Round", 11, 0, fixed(math.RoundToEven)},
		// The constants of opset 1 were cut off after four digits.
		{"Selu", 1, 5, withAlpha(1.6732, "gamma", 1.0507, selu)},
		{"Selu", 6, 0, withAlpha(1.67326319217681884765625, "gamma", 1.05070102214813232421875, selu)},
		{"Sigmoid", 1, 0, fixed(sigmoid)},
		{"Sin", 7, 0, fixed(math.Sin)},
		{"Sinh", 9, 0, fixed(math.Sinh)},
		{"Softplus", 1, 0, fixed(softplus)},
		{"Softsign", 1, 0, fixed(func(x float64) float64 { return x / (1 + math.Abs(x)) })},
		{"Sqrt", 1, 0, fixed(math.Sqrt)},
		{"Swish", 24, 0, withAlpha(1, "", 0, func(a, _, x float64) float64 { return x * sigmoid(a*x) })},
		{"Tan", 7, 0, fixed(math.Tan)},
		{"Tanh", 1, 0, fixed(math.Tanh)},
		{"ThresholdedRelu", 10, 0, withAlpha(1, "", 0, func(a, _, x float64) float64 {
			if x > a {
				return x
			}
			return 0
		})},
	}
	var ops []Op
	for _, e := range table {
		infer := func(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
			if _, err := e.f(n); err != nil {
				return nil, err
			}
			return inferSame(floatTypes...)(n, in, consts)
		}
		run := func(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
			f, err := e.f(n)
			if err != nil {
				return nil, err
			}
			return one(mapFloats(in[0], f)), nil
		}
		ops = append(ops, newOp(e.name, e.since, e.until, arity{1, 1, 1}, infer, run))
	}
	return append(ops,
		newOp("Abs", 1, 0, arity{1, 1, 1}, inferSame(numberTypes...), mapNumbers),
		newOp("Neg", 1, 0, arity{1, 1, 1}, inferSame(signedTypes...), mapNumbers),
		newOp("Sign", 9, 0, arity{1, 1, 1}, inferSame(numberTypes...), mapNumbers),
		newOp("Relu", 1, 0, arity{1, 1, 1}, inferSame(signedTypes...), mapNumbers),
		newOp("LeakyRelu", 1, 0, arity{1, 1, 1}, inferLeakyRelu, runLeakyRelu),
		newOp("Shrink", 9, 0, arity{1, 1, 1}, inferShrink, runShrink),
		newOp("Clip", 1, 10, arity{1, 1, 1}, inferClipAttrs, runClip),
		newOp("Clip", 11, 0, arity{1, 3, 1}, inferClip, runClip),
		newOp("PRelu", 1, 6, arity{2, 2, 1}, inferPRelu, runPRelu),
		newOp("PRelu", 7, 0, arity{2, 2, 1}, inferPRelu, runPRelu),
	)
}

func sigmoid(x float64) float64 {
	if x < 0 {
		e := math.Exp(x)
		return e / (1 + e)
	}
	return 1 / (1 + math.Exp(-x))
}

// softplus is ln(1+e^x), without overflow for large x.
func softplus(x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }

func selu(alpha, gamma, x float64) float64 {
	if x > 0 {
		return gamma * x
	}
	return gamma * alpha * math.Expm1(x)
}

func gelu(n *Node) (func(float64) float64, error) {
	mode, err := n.Attrs.OneOf("approximate", "none", "tanh")
	if err != nil {
		return nil, err
	}
	if mode == "tanh" {
		return func(x float64) float64 {
			return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
		}, nil
	}
	return func(x float64) float64 { return 0.5 * x * (1 + math.Erf(x/math.Sqrt2)) }, nil
}

// mapFloats applies f to every element of a float32 or float64 tensor.
func mapFloats(t *tensor.Tensor, f func(float64) float64) *tensor.Tensor {
	if t.DType() == tensor.Float64 {
		src := tensor.Values[float64](t)
		dst := make([]float64, len(src))
		for i, x := range src {
			dst[i] = f(x)
		}
		return tensor.Of(dst, t.Shape()...)
	}
	src := tensor.Values[float32](t)
	dst := make([]float32, len(src))
	for i, x := range src {
		dst[i] = float32(f(float64(x)))
	}
	return tensor.Of(dst, t.Shape()...)
}

// mapNumbers computes Abs, Neg, Sign and Relu.
func mapNumbers(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	switch t := in[0]; t.DType() {
	case tensor.Float32:
		return one(mapNumber[float32](n.OpType, t)), nil
	case tensor.Float64:
		return one(mapNumber[float64](n.OpType, t)), nil
	case tensor.Int8:
		return one(mapNumber[int8](n.OpType, t)), nil
	case tensor.Int16:
		return one(mapNumber[int16](n.OpType, t)), nil
	case tensor.Int32:
		return one(mapNumber[int32](n.OpType, t)), nil
	case tensor.Int64:
		return one(mapNumber[int64](n.OpType, t)), nil
	case tensor.Uint8:
		return one(mapNumber[uint8](n.OpType, t)), nil
	case tensor.Uint16:
		return one(mapNumber[uint16](n.OpType, t)), nil
	case tensor.Uint32:
		return one(mapNumber[uint32](n.OpType, t)), nil
	default:
		return one(mapNumber[uint64](n.OpType, t)), nil
	}
}

func mapNumber[T tensor.Number](op string, t *tensor.Tensor) *tensor.Tensor {
	src := tensor.Values[T](t)
	dst := make([]T, len(src))
	switch op {
	case "Abs":
		for i, x := range src {
			// Adding zero makes -0 into 0, which the comparison leaves alone.
			if x <= 0 {
				x = 0 - x
			}
			dst[i] = x
		}
	case "Neg":
		for i, x := range src {
			dst[i] = -x
		}
	case "Relu":
		for i, x := range src {
			dst[i] = max(x, 0)
		}
	case "Sign":
		for i, x := range src {
			switch {
			case x > 0:
				dst[i] = 1
			case x < 0:
				dst[i]-- // -1, also where T is unsigned and this cannot happen
			}
		}
	}
	return tensor.Of(dst, t.Shape()...)
}

func inferLeakyRelu(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if _, err := n.Attrs.Float("alpha", 0.01); err != nil {
		return nil, err
	}
	return inferSame(floatTypes...)(n, in, consts)
}

func runLeakyRelu(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	alpha, err := n.Attrs.Float("alpha", 0.01)
	if err != nil {
		return nil, err
	}
	if in[0].DType() == tensor.Float64 {
		return one(leakyRelu(in[0], float64(alpha))), nil
	}
	return one(leakyRelu(in[0], alpha)), nil
}

func leakyRelu[T float32 | float64](t *tensor.Tensor, alpha T) *tensor.Tensor {
	src := tensor.Values[T](t)
	dst := make([]T, len(src))
	for i, x := range src {
		if x < 0 {
			x *= alpha
		}
		dst[i] = x
	}
	return tensor.Of(dst, t.Shape()...)
}

func inferShrink(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if _, err := n.Attrs.Float("lambd", 0.5); err != nil {
		return nil, err
	}
	if _, err := n.Attrs.Float("bias", 0); err != nil {
		return nil, err
	}
	return inferSame(numberTypes...)(n, in, consts)
}

func runShrink(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	lambd, err := n.Attrs.Float("lambd", 0.5)
	if err != nil {
		return nil, err
	}
	bias, err := n.Attrs.Float("bias", 0)
	if err != nil {
		return nil, err
	}
	l, b := float64(lambd), float64(bias)
	z := mapFloats(convert(in[0], tensor.Float64), func(x float64) float64 {
		switch {
		case x < -l:
			return x + b
		case x > l:
			return x - b
		}
		return 0
	})
	return one(convert(z, in[0].DType())), nil
}

func inferClipAttrs(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	for _, name := range []string{"min", "max"} {
		if _, err := n.Attrs.Float(name, 0); err != nil {
			return nil, err
		}
	}
	return inferSame(floatTypes...)(n, in, consts)
}

func inferClip(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := want(in, 0, numberTypes...); err != nil {
		return nil, err
	}
	if err := wantSame(in); err != nil {
		return nil, err
	}
	for i := 1; i < len(in); i++ {
		if c, err := tensor.CheckShape(in[i].Shape, 1); err != nil || present(in, i) && c != 1 {
			return nil, fmt.Errorf("input %d has shape %v, want a scalar", i, in[i].Shape)
		}
	}
	return []Type{in[0]}, nil
}

// runClip takes its bounds from the inputs (opset 11) or the attributes (before).
func runClip(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	lo, hi := at(in, 1), at(in, 2)
	if n.Opset < 11 {
		for name, bound := range map[string]**tensor.Tensor{"min": &lo, "max": &hi} {
			if n.Attrs.Has(name) {
				v, err := n.Attrs.Float(name, 0)
				if err != nil {
					return nil, err
				}
				*bound = convert(tensor.Scalar(v), in[0].DType())
			}
		}
	}
	switch t := in[0]; t.DType() {
	case tensor.Float32:
		return one(clip[float32](t, lo, hi)), nil
	case tensor.Float64:
		return one(clip[float64](t, lo, hi)), nil
	case tensor.Int8:
		return one(clip[int8](t, lo, hi)), nil
	case tensor.Int16:
		return one(clip[int16](t, lo, hi)), nil
	case tensor.Int32:
		return one(clip[int32](t, lo, hi)), nil
	case tensor.Int64:
		return one(clip[int64](t, lo, hi)), nil
	case tensor.Uint8:
		return one(clip[uint8](t, lo, hi)), nil
	case tensor.Uint16:
		return one(clip[uint16](t, lo, hi)), nil
	case tensor.Uint32:
		return one(clip[uint32](t, lo, hi)), nil
	default:
		return one(clip[uint64](t, lo, hi)), nil
	}
}

// clip raises to lo, then lowers to hi, so that hi wins where the two cross. A nil bound is none.
func clip[T tensor.Number](t, lo, hi *tensor.Tensor) *tensor.Tensor {
	src := tensor.Values[T](t)
	dst := make([]T, len(src))
	copy(dst, src)
	if lo != nil {
		l := tensor.Values[T](lo)[0]
		for i, x := range dst {
			dst[i] = max(x, l)
		}
	}
	if hi != nil {
		h := tensor.Values[T](hi)[0]
		for i, x := range dst {
			dst[i] = min(x, h)
		}
	}
	return tensor.Of(dst, t.Shape()...)
}

// slopeShape returns the shape in which a slope broadcasts to x: before opset 7 a list holds one slope a channel.
func slopeShape(n *Node, x, slope []int) ([]int, error) {
	if n.Opset < 7 && len(slope) == 1 && len(x) > 2 {
		aligned := make([]int, len(x)-1)
		fill(aligned, 1)
		aligned[0] = slope[0]
		slope = aligned
	}
	both, err := broadcastShapes(x, slope)
	if err != nil {
		return nil, err
	}
	if len(both) != len(x) || tensor.Count(both) != tensor.Count(x) {
		return nil, fmt.Errorf("slope of shape %v does not broadcast to %v", slope, x)
	}
	return slope, nil
}

func inferPRelu(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := want(in, 0, signedTypes...); err != nil {
		return nil, err
	}
	if err := wantSame(in); err != nil {
		return nil, err
	}
	if _, err := slopeShape(n, in[0].Shape, in[1].Shape); err != nil {
		return nil, err
	}
	return []Type{in[0]}, nil
}

func runPRelu(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	shape, err := slopeShape(n, in[0].Shape(), in[1].Shape())
	if err != nil {
		return nil, err
	}
	slope, err := in[1].Reshape(shape...)
	if err != nil {
		return nil, err
	}
	switch x := in[0]; x.DType() {
	case tensor.Float32:
		return one(binaryRows(out[0].Shape, x, slope, preluRow[float32])), nil
	case tensor.Float64:
		return one(binaryRows(out[0].Shape, x, slope, preluRow[float64])), nil
	case tensor.Int8:
		return one(binaryRows(out[0].Shape, x, slope, preluRow[int8])), nil
	case tensor.Int16:
		return one(binaryRows(out[0].Shape, x, slope, preluRow[int16])), nil
	case tensor.Int32:
		return one(binaryRows(out[0].Shape, x, slope, preluRow[int32])), nil
	default:
		return one(binaryRows(out[0].Shape, x, slope, preluRow[int64])), nil
	}
}

func preluRow[T tensor.Number](dst, x, slope []T) {
	if len(slope) == 1 {
		s := slope[0]
		for i, v := range x {
			if v < 0 {
				v *= s
			}
			dst[i] = v
		}
		return
	}
	for i, v := range x {
		if v < 0 {
			v *= slope[i]
		}
		dst[i] = v
	}
}
