package ops

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"cutout/inference/tensor"
)

func TestMatMulAgainstDefinition(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m, k, n := rapid.IntRange(1, 5).Draw(t, "m"), rapid.IntRange(0, 130).Draw(t, "k"), rapid.IntRange(1, 5).Draw(t, "n")
		batch := rapid.SliceOfN(rapid.IntRange(1, 3), 0, 2).Draw(t, "batch")
		aLead, bLead := slices.Clone(batch), slices.Clone(batch)
		for i := range batch {
			switch rapid.IntRange(0, 2).Draw(t, "broadcast") {
			case 0:
				aLead[i] = 1
			case 1:
				bLead[i] = 1
			}
		}
		as, bs := slices.Concat(aLead, []int{m, k}), slices.Concat(bLead, []int{k, n})
		a, b := drawTensor(t, "a", as...), drawTensor(t, "b", bs...)
		got := eval(t, "MatMul", 13, Attrs{}, a, b)
		each(got.Shape(), func(o []int) {
			ai, bi := slices.Clone(o), slices.Clone(o)
			for i := range batch {
				ai[i], bi[i] = min(o[i], as[i]-1), min(o[i], bs[i]-1)
			}
			var want float64
			for j := range k {
				ai[len(ai)-1], bi[len(bi)-2] = j, j
				want += tensor.Values[float64](a)[offset(ai, as)] * tensor.Values[float64](b)[offset(bi, bs)]
			}
			if v := tensor.Values[float64](got)[offset(o, got.Shape())]; v != want {
				t.Fatalf("element %v is %v, want %v", o, v, want)
			}
		})
	})
}

// TestResizeWeights checks what holds for every interpolation: constants stay constant, nearest yields input
// elements, and whole-number ramps stay ramps inside the borders under linear.
func TestResizeWeights(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		attrs := Attrs{
			"mode":      rapid.SampledFrom([]string{"nearest", "linear", "cubic"}).Draw(t, "mode"),
			"antialias": rapid.Int64Range(0, 1).Draw(t, "antialias"),
			"coordinate_transformation_mode": rapid.SampledFrom([]string{"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel",
				"align_corners", "asymmetric"}).Draw(t, "coordinates"),
			"exclude_outside": rapid.Int64Range(0, 1).Draw(t, "exclude"),
			"nearest_mode":    rapid.SampledFrom([]string{"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"}).Draw(t, "nearest"),
		}
		if attrs["mode"] == "nearest" {
			attrs["antialias"] = int64(0)
		}
		in, out := rapid.SliceOfN(rapid.IntRange(1, 20), 2, 2).Draw(t, "in"), rapid.SliceOfN(rapid.IntRange(1, 40), 2, 2).Draw(t, "out")
		sizes := tensor.Of(toInt64(out), 2)
		flat := eval(t, "Resize", 19, attrs, tensor.Of(slices.Repeat([]float64{3}, in[0]*in[1]), in...), nil, nil, sizes)
		for i, v := range tensor.Values[float64](flat) {
			if math.Abs(v-3) > 1e-5 {
				t.Fatalf("a constant becomes %v at %d", v, i)
			}
		}
		if !slices.Equal(flat.Shape(), out) {
			t.Fatalf("shape %v, want %v", flat.Shape(), out)
		}
		if attrs["mode"] == "nearest" {
			x := ramp[int32](in...)
			for _, v := range tensor.Values[int32](eval(t, "Resize", 19, attrs, x, nil, nil, sizes)) {
				if v < 1 || int(v) > x.Len() {
					t.Fatalf("nearest made %d", v)
				}
			}
		}
		if attrs["mode"] == "linear" && attrs["antialias"] == int64(0) && attrs["coordinate_transformation_mode"] == "align_corners" {
			line := tensor.Values[float64](eval(t, "Resize", 19, attrs, ramp[float64](in[0]), nil, nil, tensor.Of([]int64{int64(out[0])}, 1)))
			for i, v := range line {
				want := 1.0
				if out[0] > 1 {
					want += float64(i) * float64(in[0]-1) / float64(out[0]-1)
				}
				if math.Abs(v-want) > 1e-4 {
					t.Fatalf("ramp of %d at %d of %d is %v, want %v", in[0], i, out[0], v, want)
				}
			}
		}
	})
}

func TestQuantizeRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		shape := rapid.SliceOfN(rapid.IntRange(1, 5), 1, 3).Draw(t, "shape")
		axis := rapid.IntRange(-len(shape), len(shape)-1).Draw(t, "axis")
		steps := shape[(axis+len(shape))%len(shape)]
		x := convert(drawTensor(t, "x", shape...), tensor.Float32)
		scale := make([]float32, steps)
		for i := range scale {
			scale[i] = rapid.Float32Range(0.1, 2).Draw(t, "scale")
		}
		zero := rapid.SliceOfN(rapid.Int8Range(-20, 20), steps, steps).Draw(t, "zero")
		in := []*tensor.Tensor{nil, tensor.Of(scale, steps), tensor.Of(zero, steps)}
		attrs := Attrs{"axis": int64(axis)}
		in[0] = x
		q := eval(t, "QuantizeLinear", 13, attrs, in...)
		in[0] = q
		back := eval(t, "DequantizeLinear", 13, attrs, in...)
		strides := tensor.Strides(shape)
		for i, v := range tensor.Values[float32](x) {
			s := scale[i/strides[(axis+len(shape))%len(shape)]%steps]
			if d := math.Abs(float64(v - tensor.Values[float32](back)[i])); d > float64(s)*0.5001 {
				t.Fatalf("element %d of scale %v moved by %v", i, s, d)
			}
		}
	})
}

// TestQuantizedProductsAgree checks the integer operators against dequantise, multiply in float64, quantise.
func TestQuantizedProductsAgree(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := drawConv(t)
		x := drawBytes(t, "x", append([]int{1, d.group * d.inC}, d.size...))
		w := drawBytes(t, "w", append([]int{d.group * d.outC, d.inC}, d.kern...))
		xZero, wZero := rapid.Uint8().Draw(t, "x zero"), rapid.Uint8().Draw(t, "w zero")
		got := eval(t, "ConvInteger", 10, d.attrs, x, w, tensor.Scalar(xZero), tensor.Scalar(wZero))
		want := eval(t, "Conv", 11, d.attrs, lessZero(x, xZero), lessZero(w, wZero))
		if diff, err := distance(convert(got, tensor.Float64), want); err != nil || diff != 0 {
			t.Fatalf("ConvInteger differs by %v (%v)", diff, err)
		}
		one := tensor.Scalar[float32](1)
		scale := tensor.Scalar[float32](rapid.Float32Range(1, 500).Draw(t, "scale"))
		q := eval(t, "QLinearConv", 10, d.attrs, x, one, tensor.Scalar(xZero), w, one, tensor.Scalar(wZero), scale, tensor.Scalar(uint8(100)))
		for i, v := range tensor.Values[float64](want) {
			exact := v/float64(tensor.Values[float32](scale)[0]) + 100
			if d := math.Abs(min(max(exact, 0), 255) - float64(tensor.Values[uint8](q)[i])); d > 0.501 {
				t.Fatalf("QLinearConv element %d is %d, want %v", i, tensor.Values[uint8](q)[i], exact)
			}
		}
	})
}

func drawBytes(t *rapid.T, name string, shape []int) *tensor.Tensor {
	v := tensor.Values[float64](drawTensor(t, name, shape...))
	out := make([]uint8, len(v))
	for i, x := range v {
		out[i] = uint8(int(x)*16 + 128)
	}
	return tensor.Of(out, shape...)
}

func lessZero(t *tensor.Tensor, zero uint8) *tensor.Tensor {
	v := tensor.Values[uint8](t)
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x) - float64(zero)
	}
	return tensor.Of(out, t.Shape()...)
}

// TestNormalised checks that the normalising operators leave mean 0 and variance 1 behind.
func TestNormalised(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		groups, per := rapid.IntRange(1, 3).Draw(t, "groups"), rapid.IntRange(1, 3).Draw(t, "channels")
		area := rapid.IntRange(4, 20).Draw(t, "area")
		x := drawTensor(t, "x", 2, groups*per, area)
		for i, v := range tensor.Values[float64](x) {
			tensor.Values[float64](x)[i] = v + float64(i%7)*3 // no group is constant
		}
		ones, zeros := tensor.Of(slices.Repeat([]float64{1}, groups*per), groups*per), tensor.New(tensor.Float64, groups*per)
		check := func(name string, y *tensor.Tensor, run int) {
			t.Helper()
			v := tensor.Values[float64](y)
			for i := 0; i < len(v); i += run {
				if m, s := moments(v[i : i+run]); math.Abs(m) > 1e-9 || math.Abs(s-1) > 1e-4 {
					t.Fatalf("%s leaves mean %v, variance %v", name, m, s)
				}
			}
		}
		check("InstanceNormalization", eval(t, "InstanceNormalization", 6, Attrs{}, x, ones, zeros), area)
		check("GroupNormalization", eval(t, "GroupNormalization", 21, Attrs{"num_groups": int64(groups)}, x, ones, zeros), per*area)
		check("LayerNormalization", eval(t, "LayerNormalization", 17, Attrs{"axis": int64(-2)}, x, tensor.Scalar(1.0)), groups*per*area)
		check("MeanVarianceNormalization", eval(t, "MeanVarianceNormalization", 13, Attrs{"axes": []int64{2}}, x), area)
	})
}
