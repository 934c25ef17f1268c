package ops

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"cutout/inference/tensor"
)

// eval calls an operator with one output and fails the test on an error.
func eval(t interface {
	Helper()
	Fatalf(string, ...any)
}, opType string, opset int, attrs Attrs, in ...*tensor.Tensor) *tensor.Tensor {
	t.Helper()
	op, err := Lookup("", opType, opset)
	if err != nil {
		t.Fatalf("%v", err)
	}
	out, err := op.Call(&Node{OpType: opType, Opset: opset, Attrs: attrs, Outputs: 1}, in)
	if err != nil {
		t.Fatalf("%v of %v", err, typesOf(in))
	}
	return out[0]
}

// ramp returns 1, 2, 3...
func ramp[T tensor.Number](shape ...int) *tensor.Tensor {
	v := make([]T, tensor.Count(shape))
	for i := range v {
		v[i] = T(i + 1)
	}
	return tensor.Of(v, shape...)
}

func TestByHand(t *testing.T) {
	t.Parallel()
	f := func(shape []int, v ...float32) *tensor.Tensor { return tensor.Of(v, shape...) }
	ints := func(v ...int64) []int64 { return v }
	square := ramp[float32](1, 1, 3, 3)
	tests := []struct {
		name   string
		op     string
		opset  int
		attrs  Attrs
		in     []*tensor.Tensor
		want   any
		wantSh []int
	}{
		{"conv", "Conv", 11, nil,
			[]*tensor.Tensor{square, f([]int{1, 1, 2, 2}, 1, 0, 0, -1), f([]int{1}, 10)}, []float32{6, 6, 6, 6}, []int{1, 1, 2, 2}},
		{"conv pads and strides", "Conv", 11, Attrs{"pads": ints(1, 0, 0, 1), "strides": ints(2, 1)},
			[]*tensor.Tensor{square, f([]int{1, 1, 2, 2}, 1, 2, 3, 4)}, []float32{11, 18, 9, 67, 77, 33}, []int{1, 1, 2, 3}},
		{"conv dilated row", "Conv", 11, Attrs{"dilations": ints(2)},
			[]*tensor.Tensor{ramp[float32](1, 1, 5), f([]int{1, 1, 2}, 1, 10)}, []float32{31, 42, 53}, []int{1, 1, 3}},
		{"conv depthwise", "Conv", 11, Attrs{"group": int64(2)},
			[]*tensor.Tensor{ramp[float32](1, 2, 2), f([]int{2, 1, 1}, 2, 3)}, []float32{2, 4, 9, 12}, []int{1, 2, 2}},
		{"conv same lower", "Conv", 11, Attrs{"auto_pad": "SAME_LOWER"},
			[]*tensor.Tensor{ramp[float32](1, 1, 3), f([]int{1, 1, 2}, 1, 10)}, []float32{10, 21, 32}, []int{1, 1, 3}},
		{"conv same upper", "Conv", 11, Attrs{"auto_pad": "SAME_UPPER"},
			[]*tensor.Tensor{ramp[float32](1, 1, 3), f([]int{1, 1, 2}, 1, 10)}, []float32{21, 32, 3}, []int{1, 1, 3}},
		{"transposed conv", "ConvTranspose", 11, Attrs{"strides": ints(2), "output_padding": ints(1)},
			[]*tensor.Tensor{ramp[float32](1, 1, 3), f([]int{1, 1, 2}, 1, 10)}, []float32{1, 10, 2, 20, 3, 30, 0}, []int{1, 1, 7}},
		{"transposed conv overlaps", "ConvTranspose", 11, Attrs{"pads": ints(1, 0)},
			[]*tensor.Tensor{ramp[float32](1, 1, 3), f([]int{1, 1, 2}, 1, 10), f([]int{1}, 100)}, []float32{112, 123, 130}, []int{1, 1, 3}},
		{"transposed conv, wide output", "ConvTranspose", 11, Attrs{"strides": ints(3), "auto_pad": "SAME_UPPER"},
			[]*tensor.Tensor{ramp[float32](1, 1, 2), f([]int{1, 1, 1}, 1), f([]int{1}, 5)}, []float32{6, 5, 5, 7, 5, 5}, []int{1, 1, 6}},
		{"max pool ceil", "MaxPool", 12, Attrs{"kernel_shape": ints(2, 2), "strides": ints(2, 2), "ceil_mode": int64(1)},
			[]*tensor.Tensor{square}, []float32{5, 6, 8, 9}, []int{1, 1, 2, 2}},
		{"max pool ceil does not start in the padding", "MaxPool", 12, Attrs{"kernel_shape": ints(1), "strides": ints(2), "ceil_mode": int64(1)},
			[]*tensor.Tensor{ramp[float32](1, 1, 2)}, []float32{1}, []int{1, 1, 1}},
		{"max pool of negatives ignores padding", "MaxPool", 12, Attrs{"kernel_shape": ints(2), "pads": ints(1, 1)},
			[]*tensor.Tensor{f([]int{1, 1, 2}, -3, -2)}, []float32{-3, -2, -2}, []int{1, 1, 3}},
		{"average pool leaves padding out", "AveragePool", 11, Attrs{"kernel_shape": ints(2), "pads": ints(1, 1)},
			[]*tensor.Tensor{f([]int{1, 1, 2}, 4, 2)}, []float32{4, 3, 2}, []int{1, 1, 3}},
		{"average pool counts padding", "AveragePool", 11, Attrs{"kernel_shape": ints(2), "pads": ints(1, 1), "count_include_pad": int64(1)},
			[]*tensor.Tensor{f([]int{1, 1, 2}, 4, 2)}, []float32{2, 3, 1}, []int{1, 1, 3}},
		{"average pool never counts the overhang", "AveragePool", 11,
			Attrs{"kernel_shape": ints(2), "strides": ints(2), "ceil_mode": int64(1), "count_include_pad": int64(1)},
			[]*tensor.Tensor{f([]int{1, 1, 3}, 4, 2, 8)}, []float32{3, 8}, []int{1, 1, 2}},
		{"Lp pool", "LpPool", 11, Attrs{"kernel_shape": ints(2), "p": int64(2)},
			[]*tensor.Tensor{f([]int{1, 1, 2}, 3, -4)}, []float32{5}, []int{1, 1, 1}},
		{"global Lp pool", "GlobalLpPool", 2, Attrs{"p": int64(1)},
			[]*tensor.Tensor{f([]int{1, 1, 2}, 3, -4)}, []float32{7}, []int{1, 1, 1}},
		{"resize of opset 10 shrinks upwards", "Resize", 10, nil,
			[]*tensor.Tensor{ramp[float32](1, 1, 2, 4), f([]int{4}, 1, 1, 0.6, 0.6)}, []float32{1, 3}, []int{1, 1, 1, 2}},
		{"resize nearest asymmetric floor", "Resize", 11, Attrs{"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
			[]*tensor.Tensor{ramp[float32](2), f([]int{0}), f([]int{1}, 2.5)}, []float32{1, 1, 1, 2, 2}, []int{5}},
		{"resize linear half pixel", "Resize", 11, Attrs{"mode": "linear"},
			[]*tensor.Tensor{ramp[float32](2), f([]int{0}), f([]int{1}, 2)}, []float32{1, 1.25, 1.75, 2}, []int{4}},
		{"resize linear align corners", "Resize", 13, Attrs{"mode": "linear", "coordinate_transformation_mode": "align_corners"},
			[]*tensor.Tensor{ramp[float32](2), nil, nil, tensor.Of([]int64{5}, 1)}, []float32{1, 1.25, 1.5, 1.75, 2}, []int{5}},
		{"resize linear of bytes drops the fraction", "Resize", 13, Attrs{"mode": "linear"},
			[]*tensor.Tensor{ramp[uint8](2), nil, f([]int{1}, 2)}, []uint8{1, 1, 1, 2}, []int{4}},
		{"resize of booleans", "Resize", 13, nil,
			[]*tensor.Tensor{tensor.Of([]bool{true, false}, 2), nil, f([]int{1}, 2)}, []bool{true, true, false, false}, []int{4}},
		{"resize with negative axes", "Resize", 18, Attrs{"axes": ints(-1), "keep_aspect_ratio_policy": "not_larger"},
			[]*tensor.Tensor{ramp[float32](1, 2), nil, nil, tensor.Of([]int64{4}, 1)}, []float32{1, 1, 2, 2}, []int{1, 4}},
		{"resize antialiased", "Resize", 18, Attrs{"mode": "linear", "antialias": int64(1)},
			[]*tensor.Tensor{ramp[float32](4), nil, f([]int{1}, 0.5)}, []float32{1.625, 3.375}, []int{2}},
		{"resize crop outside", "Resize", 13,
			Attrs{"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": float32(9)},
			[]*tensor.Tensor{ramp[float32](3), f([]int{2}, 0.5, 1.5), nil, tensor.Of([]int64{3}, 1)}, []float32{2, 3, 9}, []int{3}},
		{"resize keeps aspect", "Resize", 18, Attrs{"keep_aspect_ratio_policy": "not_larger"},
			[]*tensor.Tensor{ramp[float32](1, 2), nil, nil, tensor.Of([]int64{3, 4}, 2)}, []float32{1, 1, 2, 2, 1, 1, 2, 2}, []int{2, 4}},
		{"resize of 0.7 times 10", "Resize", 13, Attrs{"coordinate_transformation_mode": "asymmetric"},
			[]*tensor.Tensor{ramp[float32](10), nil, f([]int{1}, 0.7)}, []float32{1, 2, 4, 5, 7, 8, 10}, []int{7}},
		{"upsample by attribute", "Upsample", 7, Attrs{"scales": []float32{1, 2}},
			[]*tensor.Tensor{ramp[float32](1, 2)}, []float32{1, 1, 2, 2}, []int{1, 4}},
		{"upsample bilinear is asymmetric", "Upsample", 7, Attrs{"scales": []float32{1, 2}, "mode": "bilinear"},
			[]*tensor.Tensor{ramp[float32](1, 2)}, []float32{1, 1.5, 2, 2}, []int{1, 4}},
		{"gemm", "Gemm", 11, Attrs{"transB": int64(1), "alpha": float32(2), "beta": float32(0.5)},
			[]*tensor.Tensor{ramp[float32](2, 2), ramp[float32](2, 2), f([]int{2, 1}, 2, 4)}, []float32{11, 23, 24, 52}, []int{2, 2}},
		{"matmul of vectors", "MatMul", 13, nil,
			[]*tensor.Tensor{ramp[int64](3), ramp[int64](3)}, []int64{14}, []int{}},
		{"matmul of nothing", "MatMul", 13, nil,
			[]*tensor.Tensor{f([]int{2, 0}), f([]int{0, 1})}, []float32{0, 0}, []int{2, 1}},
		{"batch norm", "BatchNormalization", 9, Attrs{"epsilon": float32(1)},
			[]*tensor.Tensor{ramp[float32](1, 2, 2), f([]int{2}, 1, 10), f([]int{2}, 0, 1), f([]int{2}, 1, 3), f([]int{2}, 3, 24)},
			[]float32{0, 0.5, 1, 3}, []int{1, 2, 2}},
		{"LRN", "LRN", 13, Attrs{"size": int64(2), "alpha": float32(2), "beta": float32(1), "bias": float32(0)},
			[]*tensor.Tensor{f([]int{1, 3, 1}, 1, 2, 3)}, []float32{0.2, float32(2.0 / 13), float32(1.0 / 3)}, []int{1, 3, 1}},
		{"Lp normalisation leaves zeros", "LpNormalization", 11, Attrs{"p": int64(1)},
			[]*tensor.Tensor{f([]int{2, 2}, 0, 0, -1, 3)}, []float32{0, 0, -0.25, 0.75}, []int{2, 2}},
		{"quantize rounds half to even and saturates", "QuantizeLinear", 10, nil,
			[]*tensor.Tensor{f([]int{5}, 1, 3, -1000, 1000, float32(math.NaN())), f(nil, 2), tensor.Scalar(int8(1))},
			[]int8{1, 3, -128, 127, 0}, []int{5}},
		{"dequantize int32", "DequantizeLinear", 13, Attrs{"axis": int64(0)},
			[]*tensor.Tensor{tensor.Of([]int32{4, -4}, 2), f([]int{2}, 0.5, 2)}, []float32{2, -8}, []int{2}},
		{"dynamic quantize of zeros", "DynamicQuantizeLinear", 11, nil,
			[]*tensor.Tensor{f([]int{2}, 0, 0)}, []uint8{0, 0}, []int{2}},
		{"integer conv pads with the zero point", "ConvInteger", 10, Attrs{"pads": ints(1, 0)},
			[]*tensor.Tensor{tensor.Of([]uint8{130, 128}, 1, 1, 2), tensor.Of([]int8{2, 3}, 1, 1, 2), tensor.Scalar(uint8(128))},
			[]int32{6, 4}, []int{1, 1, 2}},
		{"grid sample corners", "GridSample", 16, Attrs{"align_corners": int64(1)},
			[]*tensor.Tensor{ramp[float32](1, 1, 2, 2), f([]int{1, 1, 3, 2}, -1, -1, 1, -1, 0, 0)}, []float32{1, 2, 2.5}, []int{1, 1, 1, 3}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			attrs := tt.attrs
			if attrs == nil {
				attrs = Attrs{}
			}
			got := eval(t, tt.op, tt.opset, attrs, tt.in...)
			if diff := cmp.Diff(tt.wantSh, append([]int{}, got.Shape()...)); diff != "" {
				t.Fatalf("shape (-want +got):\n%s", diff)
			}
			var want *tensor.Tensor
			switch v := tt.want.(type) {
			case []float32:
				want = tensor.Of(v, tt.wantSh...)
			case []uint8:
				want = tensor.Of(v, tt.wantSh...)
			case []int8:
				want = tensor.Of(v, tt.wantSh...)
			case []int32:
				want = tensor.Of(v, tt.wantSh...)
			case []int64:
				want = tensor.Of(v, tt.wantSh...)
			case []bool:
				want = tensor.Of(v, tt.wantSh...)
			}
			d, err := distance(got, want)
			if err != nil {
				t.Fatal(err)
			}
			if d > 1e-6 {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

// TestRefusals lists calls that must fail with an error that says what is wrong.
func TestRefusals(t *testing.T) {
	t.Parallel()
	x := tensor.New(tensor.Float32, 1, 4, 8, 8)
	w := tensor.New(tensor.Float32, 4, 4, 3, 3)
	list := func(v ...float32) *tensor.Tensor { return tensor.Of(v, len(v)) }
	sizes := func(v ...int64) *tensor.Tensor { return tensor.Of(v, len(v)) }
	tests := []struct {
		op    string
		opset int
		attrs Attrs
		in    []*tensor.Tensor
		want  string
	}{
		{"Conv", 11, Attrs{"pads": []int64{-1, 0, 0, 0}}, []*tensor.Tensor{x, w}, "pads"},
		{"Conv", 11, Attrs{"strides": []int64{0, 1}}, []*tensor.Tensor{x, w}, "strides"},
		{"Conv", 11, Attrs{"strides": []int64{1}}, []*tensor.Tensor{x, w}, "strides has 1 entries"},
		{"Conv", 11, Attrs{"dilations": []int64{4, 1}}, []*tensor.Tensor{x, w}, "kernel spans 9"},
		{"Conv", 11, Attrs{"dilations": []int64{math.MaxInt64, 1}}, []*tensor.Tensor{x, w}, "dilations"},
		{"Conv", 11, Attrs{"group": int64(3)}, []*tensor.Tensor{x, w}, "group is 3"},
		{"Conv", 11, Attrs{"group": int64(2)}, []*tensor.Tensor{x, w}, "2 groups"},
		{"Conv", 11, Attrs{"group": int64(0)}, []*tensor.Tensor{x, w}, "group is 0"},
		{"Conv", 11, Attrs{"kernel_shape": []int64{5, 5}}, []*tensor.Tensor{x, w}, "kernel_shape"},
		{"Conv", 11, Attrs{"auto_pad": "SOME"}, []*tensor.Tensor{x, w}, "auto_pad"},
		{"Conv", 11, Attrs{}, []*tensor.Tensor{x, w, tensor.New(tensor.Float32, 3)}, "bias"},
		{"Conv", 11, Attrs{}, []*tensor.Tensor{x, tensor.New(tensor.Float64, 4, 4, 3, 3)}, "float64"},
		{"Conv", 11, Attrs{}, []*tensor.Tensor{tensor.New(tensor.Float32, 1, 4), tensor.New(tensor.Float32, 4, 4)}, "rank"},
		{"Conv", 11, Attrs{}, []*tensor.Tensor{tensor.New(tensor.Float32, 1, 4, 0, 8), w}, "spatial size"},
		{"Conv", 11, Attrs{"pads": []int64{1 << 30, 1 << 30, 1 << 30, 1 << 30}}, []*tensor.Tensor{x, w}, "elements"},
		{"ConvTranspose", 11, Attrs{"pads": []int64{5, 5, 5, 5}}, []*tensor.Tensor{x, w}, "leave nothing"},
		{"ConvTranspose", 11, Attrs{"output_shape": []int64{-1, 4}}, []*tensor.Tensor{x, w}, "output_shape"},
		{"ConvTranspose", 11, Attrs{"strides": []int64{1 << 29, 1 << 29}}, []*tensor.Tensor{x, w}, "elements"},
		{"ConvTranspose", 11, Attrs{}, []*tensor.Tensor{x, tensor.New(tensor.Float32, 3, 4, 3, 3)}, "channels"},
		{"MaxPool", 12, Attrs{}, []*tensor.Tensor{x}, "kernel_shape is missing"},
		{"MaxPool", 12, Attrs{"kernel_shape": []int64{9, 1}}, []*tensor.Tensor{x}, "kernel spans 9"},
		{"MaxPool", 12, Attrs{"kernel_shape": []int64{0, 1}}, []*tensor.Tensor{x}, "kernel"},
		{"AveragePool", 12, Attrs{"kernel_shape": []int64{2, 2}, "pads": []int64{2, 0, 0, 0}}, []*tensor.Tensor{x}, "reach a window"},
		{"GlobalMaxPool", 12, Attrs{}, []*tensor.Tensor{tensor.New(tensor.Float32, 1, 4, 0)}, "no spatial elements"},
		{"LpPool", 12, Attrs{"kernel_shape": []int64{2, 2}, "p": int64(0)}, []*tensor.Tensor{x}, "attribute p"},
		{"Resize", 13, Attrs{}, []*tensor.Tensor{x}, "exactly one of scales and sizes"},
		{"Resize", 13, Attrs{}, []*tensor.Tensor{x, nil, list(1, 1, 2, 2), sizes(1, 4, 16, 16)}, "exactly one of scales and sizes"},
		{"Resize", 13, Attrs{}, []*tensor.Tensor{x, nil, list(1, 1, 2)}, "3 scales or sizes for 4 axes"},
		{"Resize", 13, Attrs{}, []*tensor.Tensor{x, nil, list(1, 1, 2, -1)}, "positive"},
		{"Resize", 13, Attrs{}, []*tensor.Tensor{x, nil, list(1, 1, 2, float32(math.NaN()))}, "positive"},
		{"Resize", 13, Attrs{}, []*tensor.Tensor{x, nil, list(1, 1, 2, 1e30)}, "bounded"},
		{"Resize", 13, Attrs{}, []*tensor.Tensor{x, nil, nil, sizes(1, 4, 1<<30, 1<<30)}, "elements"},
		{"Resize", 13, Attrs{}, []*tensor.Tensor{x, nil, nil, sizes(1, 4, -8, 8)}, "outside"},
		{"Resize", 13, Attrs{"coordinate_transformation_mode": "tf_crop_and_resize"}, []*tensor.Tensor{x, nil, nil, sizes(1, 4, 8, 4)}, "roi"},
		{"Resize", 18, Attrs{"axes": []int64{2, 2}}, []*tensor.Tensor{x, nil, list(2, 2)}, "twice"},
		{"Resize", 18, Attrs{"antialias": int64(1)}, []*tensor.Tensor{x, nil, list(1, 1, 2, 2)}, "antialias"},
		{"Resize", 18, Attrs{"mode": "quintic"}, []*tensor.Tensor{x, nil, list(1, 1, 2, 2)}, "quintic"},
		{"Upsample", 9, Attrs{}, []*tensor.Tensor{x, list(1, 1, 0.5, 2)}, "1 and more"},
		{"Upsample", 7, Attrs{}, []*tensor.Tensor{x}, "exactly one of scales"},
		{"Gemm", 11, Attrs{}, []*tensor.Tensor{tensor.New(tensor.Float32, 2, 3), tensor.New(tensor.Float32, 2, 3)}, "do not multiply"},
		{"Gemm", 11, Attrs{}, []*tensor.Tensor{tensor.New(tensor.Float32, 2, 3), tensor.New(tensor.Float32, 3, 2), list(1, 2, 3)}, "broadcast"},
		{"MatMul", 13, Attrs{}, []*tensor.Tensor{tensor.Scalar[float32](1), list(1)}, "scalar"},
		{"MatMul", 13, Attrs{}, []*tensor.Tensor{tensor.New(tensor.Float32, 2, 2, 2), tensor.New(tensor.Float32, 3, 2, 2)}, "broadcast"},
		{"BatchNormalization", 9, Attrs{}, []*tensor.Tensor{x, list(1), list(1), list(1), list(1)}, "want [4]"},
		{"BatchNormalization", 6, Attrs{}, []*tensor.Tensor{x, list(1, 1, 1, 1), list(1, 1, 1, 1), list(1, 1, 1, 1), list(1, 1, 1, 1)}, "training"},
		{"GroupNormalization", 21, Attrs{"num_groups": int64(3)}, []*tensor.Tensor{x, list(1), list(1)}, "num_groups"},
		{"LayerNormalization", 17, Attrs{"axis": int64(4)}, []*tensor.Tensor{x, list(1)}, "axis 4"},
		{"LRN", 13, Attrs{}, []*tensor.Tensor{x}, "size"},
		{"QuantizeLinear", 13, Attrs{}, []*tensor.Tensor{x, list(1, 1)}, "2 scales"},
		{"QuantizeLinear", 21, Attrs{"block_size": int64(3), "axis": int64(3)}, []*tensor.Tensor{x, tensor.New(tensor.Float32, 1, 4, 8, 2)}, "blocks of 3"},
		{"DequantizeLinear", 13, Attrs{}, []*tensor.Tensor{tensor.New(tensor.Uint8, 2), list(1), tensor.Of([]int8{1}, 1)}, "zero point"},
		{"GridSample", 16, Attrs{}, []*tensor.Tensor{x, tensor.New(tensor.Float32, 1, 2, 2, 3)}, "grid"},
	}
	for _, tt := range tests {
		op, err := Lookup("", tt.op, tt.opset)
		if err != nil {
			t.Fatal(err)
		}
		n := &Node{Name: "n1", OpType: tt.op, Opset: tt.opset, Attrs: tt.attrs, Outputs: 1}
		_, err = op.Call(n, tt.in)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "n1") {
			t.Errorf("%s %v of %v: error %v does not name the node and %q", tt.op, tt.attrs, typesOf(tt.in), err, tt.want)
		}
		if _, err := op.Infer(n, typesOf(tt.in), tt.in); err == nil {
			t.Errorf("%s %v of %v: inferred", tt.op, tt.attrs, typesOf(tt.in))
		}
	}
}

func TestShapesThatNeedValues(t *testing.T) {
	t.Parallel()
	x := Type{tensor.Float32, []int{1, 1, 2, 2}}
	op, err := Lookup("", "Resize", 13)
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{OpType: "Resize", Opset: 13, Attrs: Attrs{"coordinate_transformation_mode": "tf_crop_and_resize"}, Outputs: 1}
	in := []Type{x, {tensor.Float32, []int{8}}, {}, {tensor.Int64, []int{4}}}
	if _, err := op.Infer(n, in, make([]*tensor.Tensor, 4)); !errors.Is(err, ErrDynamic) {
		t.Errorf("unknown sizes: %v, want ErrDynamic", err)
	}
	known := []*tensor.Tensor{nil, nil, nil, tensor.Of([]int64{1, 1, 4, 6}, 4)}
	out, err := op.Infer(n, in, known)
	if err != nil || !slices.Equal(out[0].Shape, []int{1, 1, 4, 6}) {
		t.Errorf("known sizes: %v, %v", out, err)
	}
	if _, err := NewResizePlan(n, in, known); !errors.Is(err, ErrDynamic) {
		t.Errorf("unknown roi: %v, want ErrDynamic", err)
	}
}

// drawnConv is a convolution's geometry; its kernel always fits.
type drawnConv struct {
	attrs      Attrs
	axes       int
	group      int
	inC, outC  int // per group
	size, kern []int
	stride     []int
	dilation   []int
	pads       []int
}

func drawConv(t *rapid.T) drawnConv {
	list := func(name string, n, lo, hi int) []int {
		return rapid.SliceOfN(rapid.IntRange(lo, hi), n, n).Draw(t, name)
	}
	d := drawnConv{axes: rapid.IntRange(1, 3).Draw(t, "axes"), group: rapid.IntRange(1, 3).Draw(t, "group"),
		inC: rapid.IntRange(1, 3).Draw(t, "in"), outC: rapid.IntRange(1, 3).Draw(t, "out")}
	d.size, d.kern = list("size", d.axes, 1, 7), list("kernel", d.axes, 1, 3)
	d.stride, d.dilation, d.pads = list("strides", d.axes, 1, 3), list("dilations", d.axes, 1, 3), list("pads", 2*d.axes, 0, 3)
	for i := range d.axes {
		if short := (d.kern[i]-1)*d.dilation[i] + 1 - d.size[i] - d.pads[i] - d.pads[i+d.axes]; short > 0 {
			d.size[i] += short
		}
	}
	d.attrs = Attrs{"group": int64(d.group), "strides": toInt64(d.stride), "dilations": toInt64(d.dilation), "pads": toInt64(d.pads)}
	return d
}

func toInt64(v []int) []int64 {
	out := make([]int64, len(v))
	for i, x := range v {
		out[i] = int64(x)
	}
	return out
}

// drawTensor draws small whole numbers, whose sums are exact.
func drawTensor(t *rapid.T, name string, shape ...int) *tensor.Tensor {
	v := make([]float64, tensor.Count(shape))
	seed := rapid.Uint64().Draw(t, name)
	for i := range v {
		seed = seed*6364136223846793005 + 1442695040888963407
		v[i] = float64(int(seed>>60) - 8)
	}
	return tensor.Of(v, shape...)
}

// each visits every index of a shape.
func each(shape []int, f func(index []int)) {
	index := make([]int, len(shape))
	for range tensor.Count(shape) {
		f(index)
		for d := len(shape) - 1; d >= 0; d-- {
			if index[d]++; index[d] < shape[d] {
				break
			}
			index[d] = 0
		}
	}
}

func offset(index, shape []int) int {
	o := 0
	for i, x := range index {
		o = o*shape[i] + x
	}
	return o
}

func TestConvAgainstDefinition(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := drawConv(t)
		xs, ws := append([]int{2, d.group * d.inC}, d.size...), append([]int{d.group * d.outC, d.inC}, d.kern...)
		x, w := drawTensor(t, "x", xs...), drawTensor(t, "w", ws...)
		bias := drawTensor(t, "bias", d.group*d.outC)
		got := eval(t, "Conv", 11, d.attrs, x, w, bias)
		each(got.Shape(), func(o []int) {
			want := tensor.Values[float64](bias)[o[1]]
			each(ws[1:], func(k []int) {
				at := append([]int{o[0], o[1]/d.outC*d.inC + k[0]}, make([]int, d.axes)...)
				for i := range d.axes {
					at[i+2] = o[i+2]*d.stride[i] + k[i+1]*d.dilation[i] - d.pads[i]
					if at[i+2] < 0 || at[i+2] >= d.size[i] {
						return
					}
				}
				want += tensor.Values[float64](x)[offset(at, xs)] * tensor.Values[float64](w)[offset(append([]int{o[1]}, k...), ws)]
			})
			if v := tensor.Values[float64](got)[offset(o, got.Shape())]; v != want {
				t.Fatalf("element %v is %v, want %v", o, v, want)
			}
		})
		// Whole numbers this small are exact in float32 too.
		single := eval(t, "Conv", 11, d.attrs, convert(x, tensor.Float32), convert(w, tensor.Float32), convert(bias, tensor.Float32))
		if diff, err := distance(convert(single, tensor.Float64), got); err != nil || diff != 0 {
			t.Fatalf("float32 differs by %v (%v)", diff, err)
		}
	})
}

// TestConvTransposeIsAdjoint checks <conv(x), y> = <x, convTranspose(y)>, which with the definition of Conv defines
// ConvTranspose.
func TestConvTransposeIsAdjoint(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := drawConv(t)
		x := drawTensor(t, "x", append([]int{2, d.group * d.inC}, d.size...)...)
		w := drawTensor(t, "w", append([]int{d.group * d.outC, d.inC}, d.kern...)...)
		cx := eval(t, "Conv", 11, d.attrs, x, w)
		y := drawTensor(t, "y", cx.Shape()...)
		extra := make([]int64, d.axes) // what the stride's division forgot
		for i := range d.axes {
			extra[i] = int64((d.size[i] + d.pads[i] + d.pads[i+d.axes] - (d.kern[i]-1)*d.dilation[i] - 1) % d.stride[i])
		}
		d.attrs["output_padding"] = extra
		ty := eval(t, "ConvTranspose", 11, d.attrs, y, w)
		if !slices.Equal(ty.Shape(), x.Shape()) {
			t.Fatalf("transposed output %v, want %v", ty.Shape(), x.Shape())
		}
		if a, b := dot(cx, y), dot(x, ty); a != b {
			t.Fatalf("<conv(x), y> = %v, <x, convTranspose(y)> = %v", a, b)
		}
	})
}

func dot(a, b *tensor.Tensor) float64 {
	var sum float64
	for i, v := range tensor.Values[float64](a) {
		sum += v * tensor.Values[float64](b)[i]
	}
	return sum
}

// TestAveragePoolIsAConv checks pooling against a depthwise convolution with equal weights.
func TestAveragePoolIsAConv(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := drawConv(t)
		for i := range 2 * d.axes {
			d.pads[i] = min(d.pads[i], (d.kern[i%d.axes]-1)*d.dilation[i%d.axes])
		}
		for i := range d.axes {
			d.size[i] += 6
		}
		d.attrs["pads"] = toInt64(d.pads)
		channels := d.inC
		x := drawTensor(t, "x", append([]int{1, channels}, d.size...)...)
		ones := slices.Repeat([]float64{1}, channels*tensor.Count(d.kern))
		d.attrs["group"] = int64(channels)
		sums := eval(t, "Conv", 11, d.attrs, x, tensor.Of(ones, append([]int{channels, 1}, d.kern...)...))
		counts := eval(t, "Conv", 11, d.attrs, tensor.Of(slices.Repeat([]float64{1}, x.Len()), x.Shape()...),
			tensor.Of(ones, append([]int{channels, 1}, d.kern...)...))
		d.attrs["kernel_shape"] = toInt64(d.kern)
		for _, padded := range []bool{false, true} {
			d.attrs["count_include_pad"] = int64(0)
			if padded {
				d.attrs["count_include_pad"] = int64(1)
			}
			got := tensor.Values[float64](eval(t, "AveragePool", 19, d.attrs, x))
			for i, sum := range tensor.Values[float64](sums) {
				n := float64(tensor.Count(d.kern))
				if !padded {
					n = tensor.Values[float64](counts)[i]
				}
				want := 0.0
				if n > 0 {
					want = sum / n
				}
				if math.Abs(got[i]-want) > 1e-12 {
					t.Fatalf("padded %t: element %d is %v, want %v", padded, i, got[i], want)
				}
			}
		}
	})
}

// TestMaxPoolIndicesPointAtMaxima checks values against indices and indices against windows, in both orders.
func TestMaxPoolIndicesPointAtMaxima(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := drawConv(t)
		for i := range d.axes {
			d.size[i] += 6
			d.pads[i] = min(d.pads[i], d.kern[i]-1)
			d.pads[i+d.axes] = min(d.pads[i+d.axes], d.kern[i]-1)
		}
		shape := append([]int{2, d.inC}, d.size...)
		x := drawTensor(t, "x", shape...)
		columns := rapid.IntRange(0, 1).Draw(t, "order")
		op, err := Lookup("", "MaxPool", 12)
		if err != nil {
			t.Fatalf("%v", err)
		}
		n := &Node{OpType: "MaxPool", Opset: 12, Outputs: 2, Attrs: Attrs{"kernel_shape": toInt64(d.kern), "pads": toInt64(d.pads),
			"strides": toInt64(d.stride), "storage_order": int64(columns), "ceil_mode": rapid.Int64Range(0, 1).Draw(t, "ceil")}}
		out, err := op.Call(n, []*tensor.Tensor{x})
		if err != nil {
			t.Fatalf("%v", err)
		}
		area := tensor.Count(d.size)
		each(out[0].Shape(), func(o []int) {
			i := offset(o, out[0].Shape())
			at := int(tensor.Values[int64](out[1])[i])
			plane, rest := at/area, at%area
			index := make([]int, d.axes)
			for k := range index {
				axis := k
				if columns == 0 {
					axis = d.axes - 1 - k
				}
				index[axis], rest = rest%d.size[axis], rest/d.size[axis]
			}
			if plane != o[0]*d.inC+o[1] {
				t.Fatalf("index %d of %v is in plane %d", at, o, plane)
			}
			for k, p := range index {
				if from := o[k+2]*d.stride[k] - d.pads[k]; p < from || p >= from+d.kern[k] {
					t.Fatalf("index %v of %v is outside its window", index, o)
				}
			}
			if v := tensor.Values[float64](x)[plane*area+offset(index, d.size)]; v != tensor.Values[float64](out[0])[i] {
				t.Fatalf("element %v is %v, its index holds %v", o, tensor.Values[float64](out[0])[i], v)
			}
		})
	})
}
