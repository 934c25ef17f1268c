package graph

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"cutout/inference/kernels"
	"cutout/inference/ops"
	"cutout/inference/tensor"
)

// net builds test models node by node.
type net struct {
	m    *Model
	r    *rand.Rand
	next int
}

func newNet(seed uint64, shape ...int) *net {
	dims := make([]Dim, len(shape))
	for i, d := range shape {
		dims[i].Size = d
	}
	return &net{
		m: &Model{
			Opsets: map[string]int{"": 13}, Initializers: map[string]*tensor.Tensor{},
			Inputs: []ValueInfo{{Name: "x", DType: tensor.Float32, Dims: dims}},
		},
		r: rand.New(rand.NewPCG(seed, 1)),
	}
}

func (n *net) weights(shape ...int) string {
	n.next++
	name := fmt.Sprintf("w%d", n.next)
	v := make([]float32, tensor.Count(shape))
	for i := range v {
		v[i] = n.r.Float32()*2 - 1
	}
	n.m.Initializers[name] = tensor.Of(v, shape...)
	return name
}

func (n *net) constant(name string, t *tensor.Tensor) string {
	n.m.Initializers[name] = t
	return name
}

func (n *net) node(op string, attrs ops.Attrs, in ...string) string {
	n.next++
	out := fmt.Sprintf("%s%d", strings.ToLower(op), n.next)
	n.m.Nodes = append(n.m.Nodes, &Node{
		Node:   ops.Node{Name: out, OpType: op, Opset: 13, Attrs: attrs, Outputs: 1},
		Inputs: in, Results: []string{out},
	})
	return out
}

func ints(v ...int64) []int64 { return v }

// sameAsReference compiles the model for every kernel set, runs it on one and on three goroutines, twice each, and holds the
// results against the interpreter's.
func (n *net) sameAsReference(t *testing.T, shape []int, outputs ...string) {
	t.Helper()
	x := make([]float32, tensor.Count(shape))
	for i := range x {
		x[i] = n.r.Float32()*2 - 1
	}
	in := map[string]*tensor.Tensor{"x": tensor.Of(x, shape...)}
	want, err := Interpret(context.Background(), n.m, in, outputs)
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range kernels.Available() {
		a, err := Analyse(n.m, map[string][]int{"x": shape}, outputs)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Compile(a, set, &Weights{})
		if err != nil {
			t.Fatal(err)
		}
		for _, threads := range []int{1, 3, 1} {
			got, err := p.Run(context.Background(), in, threads)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range outputs {
				compare(t, fmt.Sprintf("%s, %s, %d threads, steps %v", name, set.Name, threads, p.names), got[name], want[name])
			}
		}
	}
}

func compare(t *testing.T, what string, got, want *tensor.Tensor) {
	t.Helper()
	g, w := tensor.Values[float32](got), tensor.Values[float32](want)
	if len(g) != len(w) {
		t.Fatalf("%s: %d elements, want %d", what, len(g), len(w))
	}
	top := 1.0
	for _, v := range w {
		top = max(top, math.Abs(float64(v)))
	}
	for i := range w {
		// Winograd F(4x4,3x3) in float32 loses about four bits against a plain sum.
		if d := math.Abs(float64(g[i] - w[i])); !(d <= 3e-5*top) {
			t.Fatalf("%s: element %d is %g, reference says %g", what, i, g[i], w[i])
		}
	}
}

func TestConvolutions(t *testing.T) {
	for _, tc := range []struct {
		name                       string
		n, cin, cout, h, w         int
		k, stride, dilation, group int
		pads                       []int64
		auto                       string
	}{
		{name: "winograd", n: 1, cin: 32, cout: 16, h: 20, w: 24, k: 3, stride: 1, dilation: 1, group: 1, pads: ints(1, 1, 1, 1)},
		{name: "winograd ragged", n: 1, cin: 19, cout: 37, h: 13, w: 11, k: 3, stride: 1, dilation: 1, group: 1, pads: ints(1, 1, 1, 1)},
		{name: "winograd no padding", n: 1, cin: 16, cout: 32, h: 9, w: 10, k: 3, stride: 1, dilation: 1, group: 1, pads: ints(0, 0, 0, 0)},
		{name: "winograd one-sided padding", n: 1, cin: 16, cout: 32, h: 9, w: 10, k: 3, stride: 1, dilation: 1, group: 1, pads: ints(0, 2, 2, 0)},
		{name: "winograd wide", n: 1, cin: 3, cout: 80, h: 8, w: 70, k: 3, stride: 1, dilation: 1, group: 1, pads: ints(1, 1, 1, 1)},
		{name: "winograd batch", n: 3, cin: 24, cout: 20, h: 10, w: 10, k: 3, stride: 1, dilation: 1, group: 1, pads: ints(1, 1, 1, 1)},
		{name: "winograd same", n: 1, cin: 16, cout: 16, h: 10, w: 10, k: 3, stride: 1, dilation: 1, group: 1, auto: "SAME_UPPER"},
		{name: "single", n: 1, cin: 40, cout: 1, h: 21, w: 18, k: 3, stride: 1, dilation: 1, group: 1, pads: ints(1, 1, 1, 1)},
		{name: "single no padding", n: 2, cin: 16, cout: 1, h: 9, w: 8, k: 3, stride: 1, dilation: 1, group: 1, pads: ints(0, 0, 0, 0)},
		{name: "pointwise", n: 2, cin: 20, cout: 50, h: 7, w: 9, k: 1, stride: 1, dilation: 1, group: 1, pads: ints(0, 0, 0, 0)},
		{name: "planar", n: 2, cin: 6, cout: 2, h: 7, w: 9, k: 1, stride: 1, dilation: 1, group: 1, pads: ints(0, 0, 0, 0)},
		{name: "strided", n: 1, cin: 20, cout: 33, h: 15, w: 17, k: 3, stride: 2, dilation: 1, group: 1, pads: ints(1, 1, 1, 1)},
		{name: "strided same lower", n: 1, cin: 20, cout: 33, h: 15, w: 16, k: 3, stride: 2, dilation: 1, group: 1, auto: "SAME_LOWER"},
		{name: "dilated", n: 2, cin: 32, cout: 16, h: 15, w: 17, k: 3, stride: 1, dilation: 4, group: 1, pads: ints(4, 4, 4, 4)},
		{name: "dilated beyond the picture", n: 1, cin: 16, cout: 16, h: 5, w: 5, k: 3, stride: 1, dilation: 8, group: 1, pads: ints(8, 8, 8, 8)},
		{name: "first layer, 7x7", n: 1, cin: 3, cout: 16, h: 30, w: 31, k: 7, stride: 2, dilation: 1, group: 1, pads: ints(3, 3, 3, 3)},
		{name: "tiny 3x3", n: 1, cin: 16, cout: 16, h: 2, w: 2, k: 3, stride: 1, dilation: 1, group: 1, pads: ints(1, 1, 1, 1)},
		{name: "depthwise", n: 2, cin: 35, cout: 35, h: 12, w: 14, k: 3, stride: 1, dilation: 1, group: 35, pads: ints(1, 1, 1, 1)},
		{name: "depthwise 5x5 strided", n: 1, cin: 24, cout: 24, h: 13, w: 14, k: 5, stride: 2, dilation: 1, group: 24, pads: ints(2, 2, 2, 2)},
		{name: "depthwise dilated", n: 1, cin: 16, cout: 16, h: 13, w: 14, k: 3, stride: 1, dilation: 2, group: 16, pads: ints(2, 2, 2, 2)},
		{name: "grouped", n: 1, cin: 32, cout: 64, h: 9, w: 10, k: 3, stride: 1, dilation: 1, group: 4, pads: ints(1, 1, 1, 1)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := newNet(1, tc.n, tc.cin, tc.h, tc.w)
			attrs := ops.Attrs{
				"kernel_shape": ints(int64(tc.k), int64(tc.k)), "strides": ints(int64(tc.stride), int64(tc.stride)),
				"dilations": ints(int64(tc.dilation), int64(tc.dilation)), "group": int64(tc.group),
			}
			if tc.auto != "" {
				attrs["auto_pad"] = tc.auto
			} else {
				attrs["pads"] = tc.pads
			}
			w := n.weights(tc.cout, tc.cin/tc.group, tc.k, tc.k)
			plain := n.node("Conv", attrs, "x", w)
			biased := n.node("Relu", nil, n.node("Conv", attrs, "x", w, n.weights(tc.cout)))
			n.sameAsReference(t, []int{tc.n, tc.cin, tc.h, tc.w}, plain, biased)
		})
	}
}

// TestFusion runs every chain a convolution absorbs, and ones that look like it but must not be absorbed.
func TestFusion(t *testing.T) {
	conv := ops.Attrs{"kernel_shape": ints(3, 3), "pads": ints(1, 1, 1, 1)}
	depthwise := ops.Attrs{"kernel_shape": ints(3, 3), "pads": ints(1, 1, 1, 1), "group": int64(24)}
	shape := []int{1, 24, 11, 13}
	positive := func(n *net) string {
		name := n.weights(24)
		for i, v := range tensor.Values[float32](n.m.Initializers[name]) {
			tensor.Values[float32](n.m.Initializers[name])[i] = v*v + 0.1
		}
		return name
	}
	norm := func(n *net, x string) string {
		return n.node("BatchNormalization", ops.Attrs{"epsilon": float32(1e-3)}, x, n.weights(24), n.weights(24), n.weights(24), positive(n))
	}
	for name, build := range map[string]func(n *net) []string{
		"batch norm, relu": func(n *net) []string {
			return []string{n.node("Relu", nil, norm(n, n.node("Conv", conv, "x", n.weights(24, 24, 3, 3), n.weights(24))))}
		},
		"relu, then sum with an earlier value": func(n *net) []string {
			a := n.node("Relu", nil, n.node("Conv", conv, "x", n.weights(24, 24, 3, 3)))
			b := n.node("Relu", nil, n.node("Conv", conv, a, n.weights(24, 24, 3, 3)))
			return []string{n.node("Add", nil, b, a)}
		},
		"sum, then relu": func(n *net) []string {
			a := n.node("Conv", conv, "x", n.weights(24, 24, 3, 3))
			b := n.node("Conv", conv, a, n.weights(24, 24, 3, 3))
			return []string{n.node("Relu", nil, n.node("Add", nil, a, b))}
		},
		"sum with a later value": func(n *net) []string {
			a := n.node("Conv", conv, "x", n.weights(24, 24, 3, 3))
			b := n.node("Sigmoid", nil, n.node("Conv", conv, "x", n.weights(24, 24, 3, 3)))
			return []string{n.node("Add", nil, a, b)}
		},
		"square": func(n *net) []string {
			a := n.node("Conv", conv, "x", n.weights(24, 24, 3, 3))
			return []string{n.node("Mul", nil, a, a), n.node("Add", nil, a, a)}
		},
		"read twice": func(n *net) []string {
			a := n.node("Conv", conv, "x", n.weights(24, 24, 3, 3))
			return []string{n.node("Relu", nil, a), n.node("Sigmoid", nil, a)}
		},
		"relu is an output and read": func(n *net) []string {
			a := n.node("Relu", nil, n.node("Conv", conv, "x", n.weights(24, 24, 3, 3)))
			return []string{a, n.node("Add", nil, a, "x")}
		},
		"scale and shift by channel": func(n *net) []string {
			a := n.node("Conv", conv, "x", n.weights(24, 24, 3, 3), n.weights(24))
			b := n.node("Mul", nil, a, n.weights(24, 1, 1))
			return []string{n.node("Add", nil, b, n.weights(1, 24, 1, 1))}
		},
		"depthwise, relu6, sum": func(n *net) []string {
			a := n.node("Conv", depthwise, "x", n.weights(24, 1, 3, 3))
			b := n.node("Clip", nil, a, n.constant("lo", tensor.Scalar(float32(0))), n.constant("hi", tensor.Scalar(float32(6))))
			return []string{n.node("Add", nil, b, "x")}
		},
		"depthwise, batch norm": func(n *net) []string {
			return []string{norm(n, n.node("Conv", depthwise, "x", n.weights(24, 1, 3, 3)))}
		},
		"hard swish by hand": func(n *net) []string {
			a := n.node("Conv", conv, "x", n.weights(24, 24, 3, 3))
			b := n.node("Clip", nil, n.node("Add", nil, a, n.constant("three", tensor.Scalar(float32(3)))),
				n.constant("lo", tensor.Scalar(float32(0))), n.constant("hi", tensor.Scalar(float32(6))))
			return []string{n.node("Mul", nil, n.node("Div", nil, b, n.constant("six", tensor.Scalar(float32(6)))), a)}
		},
		"squeeze and excite": func(n *net) []string {
			a := n.node("Conv", conv, "x", n.weights(24, 24, 3, 3))
			s := n.node("GlobalAveragePool", nil, a)
			s = n.node("Sigmoid", nil, n.node("Conv", ops.Attrs{"kernel_shape": ints(1, 1)}, s, n.weights(24, 24, 1, 1), n.weights(24)))
			return []string{n.node("Mul", nil, s, a)}
		},
		"prelu": func(n *net) []string {
			return []string{n.node("PRelu", nil, n.node("Conv", conv, "x", n.weights(24, 24, 3, 3)), n.weights(24, 1, 1))}
		},
		"batch norm alone": func(n *net) []string {
			a := n.node("Relu", nil, norm(n, n.node("AveragePool", ops.Attrs{"kernel_shape": ints(2, 2)}, "x")))
			return []string{a, norm(n, a)}
		},
		"subtract and divide": func(n *net) []string {
			a := n.node("Conv", conv, "x", n.weights(24, 24, 3, 3))
			one := n.constant("one", tensor.Scalar(float32(1)))
			s := n.node("Sigmoid", nil, a)
			return []string{n.node("Sub", nil, one, s), n.node("Div", nil, one, n.node("Add", nil, s, one)), n.node("Sub", nil, s, n.weights(24, 1, 1)), n.node("Div", nil, a, n.node("Add", nil, s, one))}
		},
		"two scales of one weight": func(n *net) []string {
			w := n.weights(24, 24, 3, 3)
			return []string{norm(n, n.node("Conv", conv, "x", w)), norm(n, n.node("Conv", conv, "x", w)), n.node("Conv", conv, "x", w)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNet(2, shape...)
			n.sameAsReference(t, shape, build(n)...)
		})
	}
}

func TestConcat(t *testing.T) {
	conv := ops.Attrs{"kernel_shape": ints(3, 3), "pads": ints(1, 1, 1, 1)}
	shape := []int{1, 16, 10, 10}
	for name, channels := range map[string][]int{"whole blocks": {32, 16}, "last ragged": {16, 32, 5}, "ragged": {5, 16}, "planes": {1, 1, 1}} {
		t.Run(name, func(t *testing.T) {
			n := newNet(3, shape...)
			var parts []string
			total := 0
			for _, ch := range channels {
				parts = append(parts, n.node("Relu", nil, n.node("Conv", conv, "x", n.weights(ch, 16, 3, 3))))
				total += ch
			}
			all := n.node("Concat", ops.Attrs{"axis": int64(1)}, parts...)
			pooled := n.node("MaxPool", ops.Attrs{"kernel_shape": ints(2, 2), "strides": ints(2, 2)}, all)
			wide := n.node("Conv", conv, all, n.weights(16, total, 3, 3))
			one := n.node("Conv", conv, all, n.weights(1, total, 3, 3))
			point := n.node("Conv", ops.Attrs{"kernel_shape": ints(1, 1)}, all, n.weights(20, total, 1, 1))
			strided := n.node("Conv", ops.Attrs{"kernel_shape": ints(3, 3), "strides": ints(2, 2)}, all, n.weights(20, total, 3, 3))
			n.sameAsReference(t, shape, all, pooled, wide, one, point, strided)
		})
	}
}

// TestEnlargedWhileRead covers resizes that are never written because the convolutions behind them enlarge what they read,
// and the same where something else reads them too.
func TestEnlargedWhileRead(t *testing.T) {
	conv := ops.Attrs{"kernel_shape": ints(3, 3), "pads": ints(1, 1, 1, 1)}
	for i, to := range [][2]int{{17, 23}, {24, 80}, {9, 13}} {
		for _, mode := range []string{"linear", "nearest"} {
			for _, also := range []string{"", "relu", "pool", "point"} {
				rule := []string{"half_pixel", "align_corners", "asymmetric"}[i]
				shape := []int{1, 20, 9, 13}
				n := newNet(9, shape...)
				sizes := n.constant("sizes", tensor.Of([]int64{1, 32, int64(to[0]), int64(to[1])}, 4))
				deep := n.node("Relu", nil, n.node("Conv", conv, "x", n.weights(32, 20, 3, 3)))
				large := n.node("Resize", ops.Attrs{"mode": mode, "coordinate_transformation_mode": rule}, deep, "", "", sizes)
				skip := n.node("Relu", nil, n.node("Conv", conv, large, n.weights(16, 32, 3, 3)))
				both := n.node("Concat", ops.Attrs{"axis": int64(1)}, skip, large)
				var outs []string
				for _, pads := range [][]int64{{1, 1, 1, 1}, {0, 0, 0, 0}, {2, 2, 0, 1}} {
					outs = append(outs, n.node("Conv", ops.Attrs{"kernel_shape": ints(3, 3), "pads": pads}, both, n.weights(18, 48, 3, 3)))
				}
				switch also {
				case "relu":
					outs = append(outs, n.node("Relu", nil, large))
				case "pool":
					outs = append(outs, n.node("MaxPool", ops.Attrs{"kernel_shape": ints(2, 2), "strides": ints(2, 2)}, both))
				case "point":
					outs = append(outs, n.node("Conv", ops.Attrs{"kernel_shape": ints(1, 1)}, both, n.weights(4, 48, 1, 1)))
				}
				n.sameAsReference(t, shape, outs...)
			}
		}
	}
}

// TestPooledWhileWritten covers maximum pooling that a convolution does on its way, beside others that it must leave alone.
func TestPooledWhileWritten(t *testing.T) {
	conv := ops.Attrs{"kernel_shape": ints(3, 3), "pads": ints(1, 1, 1, 1)}
	half := ops.Attrs{"kernel_shape": ints(2, 2), "strides": ints(2, 2)}
	for _, shape := range [][]int{{1, 20, 12, 52}, {2, 7, 8, 8}, {1, 20, 10, 12}, {1, 20, 9, 13}} {
		n := newNet(9, shape...)
		x := n.node("Relu", nil, n.node("Conv", conv, "x", n.weights(40, shape[1], 3, 3)))
		sum := n.node("Add", nil, n.node("Relu", nil, n.node("Conv", conv, x, n.weights(40, 40, 3, 3))), x)
		outs := []string{n.node("MaxPool", half, x), n.node("MaxPool", half, sum), n.node("Relu", nil, sum)}
		alone := n.node("Conv", conv, sum, n.weights(5, 40, 3, 3))
		outs = append(outs, n.node("MaxPool", half, alone))
		both := n.node("Conv", conv, sum, n.weights(17, 40, 3, 3))
		outs = append(outs,
			n.node("MaxPool", ops.Attrs{"kernel_shape": ints(2, 2), "strides": ints(2, 2), "ceil_mode": int64(1)}, both),
			n.node("MaxPool", ops.Attrs{"kernel_shape": ints(3, 3), "strides": ints(2, 2)}, both),
			n.node("AveragePool", half, both),
			n.node("MaxPool", ops.Attrs{"kernel_shape": ints(2, 2), "strides": ints(1, 1)}, both))
		t.Run(fmt.Sprint(shape), func(t *testing.T) { n.sameAsReference(t, shape, outs...) })
	}
}

func TestPoolAndResize(t *testing.T) {
	for _, ch := range []int{3, 20} {
		for _, size := range [][2]int{{12, 16}, {11, 9}} {
			shape := []int{1, ch, size[0], size[1]}
			n := newNet(4, shape...)
			x := n.node("Relu", nil, n.node("Conv", ops.Attrs{"kernel_shape": ints(1, 1)}, "x", n.weights(ch, ch, 1, 1)))
			var outs []string
			for _, op := range []string{"MaxPool", "AveragePool"} {
				for _, ceil := range []int64{0, 1} {
					outs = append(outs,
						n.node(op, ops.Attrs{"kernel_shape": ints(2, 2), "strides": ints(2, 2), "ceil_mode": ceil}, x),
						n.node(op, ops.Attrs{"kernel_shape": ints(3, 3), "strides": ints(2, 2), "pads": ints(1, 1, 1, 1), "ceil_mode": ceil}, x))
				}
			}
			outs = append(outs, n.node("AveragePool", ops.Attrs{"kernel_shape": ints(3, 3), "pads": ints(1, 1, 1, 1), "count_include_pad": int64(1)}, x))
			for _, mode := range []string{"linear", "nearest"} {
				for _, rule := range []string{"half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"} {
					for i, to := range [][2]int{{24, 32}, {5, 7}, {13, 8}} {
						sizes := n.constant(fmt.Sprintf("size%d", i), tensor.Of([]int64{1, int64(ch), int64(to[0]), int64(to[1])}, 4))
						outs = append(outs, n.node("Resize", ops.Attrs{"mode": mode, "coordinate_transformation_mode": rule}, x, "", "", sizes))
					}
				}
			}
			t.Run(fmt.Sprint(shape), func(t *testing.T) { n.sameAsReference(t, shape, outs...) })
		}
	}
}

func TestTransposedConvolutions(t *testing.T) {
	shape := []int{2, 20, 6, 7}
	n := newNet(6, shape...)
	var outs []string
	for _, tc := range []ops.Attrs{
		{"kernel_shape": ints(2, 2), "strides": ints(2, 2)},
		{"kernel_shape": ints(3, 3), "strides": ints(2, 2), "pads": ints(1, 1, 1, 1), "output_padding": ints(1, 1)},
		{"kernel_shape": ints(4, 4), "strides": ints(2, 2), "pads": ints(1, 1, 1, 1)},
		{"kernel_shape": ints(3, 3), "strides": ints(1, 1), "dilations": ints(2, 2)},
		{"kernel_shape": ints(3, 3), "strides": ints(2, 2), "auto_pad": "SAME_UPPER"},
		{"kernel_shape": ints(3, 3), "strides": ints(2, 2), "auto_pad": "SAME_LOWER"},
		{"kernel_shape": ints(3, 3), "strides": ints(3, 2), "output_shape": ints(17, 14)},
	} {
		k := tc["kernel_shape"].([]int64)[0]
		y := n.node("ConvTranspose", tc, "x", n.weights(20, 18, int(k), int(k)), n.weights(18))
		outs = append(outs, y, n.node("Relu", nil, n.node("ConvTranspose", tc, "x", n.weights(20, 5, int(k), int(k)))))
	}
	n.sameAsReference(t, shape, outs...)
}

func TestTranspose(t *testing.T) {
	shape := []int{2, 6, 7, 20}
	n := newNet(7, shape...)
	x := n.node("Transpose", ops.Attrs{"perm": ints(0, 3, 1, 2)}, "x")
	y := n.node("Conv", ops.Attrs{"kernel_shape": ints(1, 1)}, x, n.weights(35, 20, 1, 1))
	z := n.node("Transpose", ops.Attrs{"perm": ints(0, 2, 3, 1)}, y)
	p := n.node("GlobalAveragePool", nil, y)
	q := n.node("Transpose", ops.Attrs{"perm": ints(0, 2, 3, 1)}, p)
	r := n.node("Transpose", ops.Attrs{"perm": ints(3, 2, 1, 0)}, "x")
	n.sameAsReference(t, shape, x, y, z, q, r)
}

func TestRunErrors(t *testing.T) {
	n := newNet(5, 1, 4, 4, 4)
	out := n.node("Relu", nil, "x")
	a, err := Analyse(n.m, map[string][]int{"x": {1, 4, 4, 4}}, []string{out})
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(a, kernels.Generic(), &Weights{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Run(context.Background(), nil, 1); err == nil {
		t.Error("ran without its input")
	}
	x := map[string]*tensor.Tensor{"x": tensor.New(tensor.Float32, 1, 4, 4, 5)}
	if _, err := p.Run(context.Background(), x, 1); err == nil {
		t.Error("ran on another shape")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	x["x"] = tensor.New(tensor.Float32, 1, 4, 4, 4)
	if _, err := p.Run(ctx, x, 1); err == nil {
		t.Error("ran under an ended context")
	}
	if _, err := Analyse(n.m, map[string][]int{"x": {1, 4, 4, 4}}, []string{"nowhere"}); err == nil {
		t.Error("analysed for a value that does not exist")
	}
	n.node("FlyToTheMoon", nil, "x")
	bad := n.m.Nodes[len(n.m.Nodes)-1].Results[0]
	_, err = Analyse(n.m, map[string][]int{"x": {1, 4, 4, 4}}, []string{bad})
	if err == nil || !strings.Contains(err.Error(), "FlyToTheMoon") || !strings.Contains(err.Error(), bad) {
		t.Errorf("an unknown operator gives %v", err)
	}
}
