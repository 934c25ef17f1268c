package graph

import (
	"context"
	"math"
	"testing"

	"cutout/inference/kernels"
	"cutout/inference/ops"
	"cutout/inference/tensor"
)

// conv64 is the definition of a convolution of one picture, in float64.
func conv64(x, w []float32, cin, cout, h, wd, k, stride, pad, group int) []float64 {
	oh, ow := (h+2*pad-k)/stride+1, (wd+2*pad-k)/stride+1
	out := make([]float64, cout*oh*ow)
	per := cin / group
	for o := range cout {
		first := o / (cout / group) * per
		for y := range oh {
			for xx := range ow {
				sum := 0.0
				for i := range per {
					for ky := range k {
						for kx := range k {
							iy, ix := y*stride-pad+ky, xx*stride-pad+kx
							if iy >= 0 && iy < h && ix >= 0 && ix < wd {
								sum += float64(x[((first+i)*h+iy)*wd+ix]) * float64(w[((o*per+i)*k+ky)*k+kx])
							}
						}
					}
				}
				out[(o*oh+y)*ow+xx] = sum
			}
		}
	}
	return out
}

// TestStrategyErrors measures every way of a convolution against float64, on inputs and weights of a network's size: activations
// in -1..1, weights of deviation 1/sqrt(inputs). The bounds are what docs/engine.md states.
func TestStrategyErrors(t *testing.T) {
	const h, w = 40, 40
	for _, tc := range []struct {
		name                             string
		cin, cout, k, stride, pad, group int
		bound                            float64
	}{
		{"winograd F(4x4,3x3)", 64, 64, 3, 1, 1, 1, 2e-5},
		{"packed 3x3/2", 64, 64, 3, 2, 1, 1, 5e-6},
		{"pointwise", 64, 64, 1, 1, 0, 1, 2e-6},
		{"taps, one output", 64, 1, 3, 1, 1, 1, 5e-6},
		{"depthwise", 64, 64, 3, 1, 1, 64, 2e-6},
	} {
		n := newNet(8, 1, tc.cin, h, w)
		name := n.weights(tc.cout, tc.cin/tc.group, tc.k, tc.k)
		ws := tensor.Values[float32](n.m.Initializers[name])
		for i := range ws {
			ws[i] *= float32(math.Sqrt(3 / float64(tc.cin/tc.group*tc.k*tc.k)))
		}
		p := int64(tc.pad)
		out := n.node("Conv", ops.Attrs{
			"kernel_shape": ints(int64(tc.k), int64(tc.k)), "strides": ints(int64(tc.stride), int64(tc.stride)),
			"pads": ints(p, p, p, p), "group": int64(tc.group),
		}, "x", name)
		x := make([]float32, tc.cin*h*w)
		for i := range x {
			x[i] = n.r.Float32()*2 - 1
		}
		want := conv64(x, ws, tc.cin, tc.cout, h, w, tc.k, tc.stride, tc.pad, tc.group)
		for _, set := range kernels.Available() {
			a, err := Analyse(n.m, map[string][]int{"x": {1, tc.cin, h, w}}, []string{out})
			if err != nil {
				t.Fatal(err)
			}
			plan, err := Compile(a, set, &Weights{})
			if err != nil {
				t.Fatal(err)
			}
			res, err := plan.Run(context.Background(), map[string]*tensor.Tensor{"x": tensor.Of(x, 1, tc.cin, h, w)}, 1)
			if err != nil {
				t.Fatal(err)
			}
			worst, square := 0.0, 0.0
			for i, v := range tensor.Values[float32](res[out]) {
				d := math.Abs(float64(v) - want[i])
				worst = max(worst, d)
				square += d * d
			}
			t.Logf("%-20s %-8s largest error %.1e, root mean square %.1e", tc.name, set.Name, worst, math.Sqrt(square/float64(len(want))))
			if !(worst <= tc.bound) {
				t.Errorf("%s on %s: largest error %.2g, %.2g is stated", tc.name, set.Name, worst, tc.bound)
			}
		}
	}
}

func TestSigmoid(t *testing.T) {
	var x []float32
	for v := -100.0; v <= 100; v += 0.0137 {
		x = append(x, float32(v))
	}
	y := append([]float32(nil), x...)
	sigmoid(y)
	for i, v := range x {
		if want := 1 / (1 + math.Exp(-float64(v))); !(math.Abs(float64(y[i])-want) <= 2e-7) {
			t.Fatalf("sigmoid(%g) = %g, want %g", v, y[i], want)
		}
	}
}
