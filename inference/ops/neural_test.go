package ops

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"testing"

	"cutout/inference/tensor"
)

// fixture is one line of testdata/neural.json.gz: a call and what ONNX Runtime made of it.
type fixture struct {
	Op    string           `json:"op"`
	Opset int              `json:"opset"`
	Attrs map[string]any   `json:"attrs"`
	In    []*fixtureTensor `json:"in"`
	Out   []*fixtureTensor `json:"out"`
}

type fixtureTensor struct {
	Type  string `json:"type"`
	Shape []int  `json:"shape"`
	Data  []any  `json:"data"`
}

func (f *fixtureTensor) tensor(t testing.TB) *tensor.Tensor {
	if f == nil {
		return nil
	}
	v := make([]float64, len(f.Data))
	for i, x := range f.Data {
		switch x := x.(type) {
		case float64:
			v[i] = x
		case string: // inf and nan
			var err error
			if v[i], err = strconv.ParseFloat(x, 64); err != nil {
				t.Fatal(err)
			}
		}
	}
	switch f.Type {
	case "float32":
		return tensor.Of(numbers[float32](v), f.Shape...)
	case "int8":
		return tensor.Of(numbers[int8](v), f.Shape...)
	case "uint8":
		return tensor.Of(numbers[uint8](v), f.Shape...)
	case "int32":
		return tensor.Of(numbers[int32](v), f.Shape...)
	case "int64":
		return tensor.Of(numbers[int64](v), f.Shape...)
	}
	t.Fatalf("fixture of type %s", f.Type)
	return nil
}

func numbers[T tensor.Number](v []float64) []T {
	out := make([]T, len(v))
	for i, x := range v {
		out[i] = T(x)
	}
	return out
}

func (f *fixture) node(t testing.TB) *Node {
	n := &Node{OpType: f.Op, Opset: f.Opset, Attrs: Attrs{}, Outputs: len(f.Out)}
	floats := []string{"cubic_coeff_a", "extrapolation_value", "epsilon", "alpha", "beta", "bias", "scales"}
	for k, v := range f.Attrs {
		isFloat := slices.Contains(floats, k)
		switch v := v.(type) {
		case string:
			n.Attrs[k] = v
		case float64:
			if n.Attrs[k] = any(int64(v)); isFloat {
				n.Attrs[k] = float32(v)
			}
		case []any:
			if isFloat {
				n.Attrs[k] = []float32{}
			} else {
				n.Attrs[k] = []int64{}
			}
			for _, x := range v {
				if isFloat {
					n.Attrs[k] = append(n.Attrs[k].([]float32), float32(x.(float64)))
				} else {
					n.Attrs[k] = append(n.Attrs[k].([]int64), int64(x.(float64)))
				}
			}
		default:
			t.Fatalf("attribute %s holds %T", k, v)
		}
	}
	return n
}

func readFixtures(t testing.TB, path string) []fixture {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var all []fixture
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var fx fixture
		if err := json.Unmarshal(lines.Bytes(), &fx); err != nil {
			t.Fatal(err)
		}
		all = append(all, fx)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// distance returns the largest difference of two tensors of one type, in parts of 1 + the expected magnitude.
func distance(got, want *tensor.Tensor) (float64, error) {
	if got.DType() != want.DType() || !slices.Equal(got.Shape(), want.Shape()) {
		return 0, fmt.Errorf("is %s %v, want %s %v", got.DType(), got.Shape(), want.DType(), want.Shape())
	}
	g, w := convert(got, tensor.Float64), convert(want, tensor.Float64)
	var worst float64
	for i, x := range tensor.Values[float64](w) {
		y := tensor.Values[float64](g)[i]
		if x == y || x != x && y != y {
			continue
		}
		d := math.Abs(x-y) / (1 + math.Abs(x))
		if d != d {
			d = math.Inf(1)
		}
		worst = max(worst, d)
	}
	return worst, nil
}

// TestAgainstRuntime compares the operators with answers of ONNX Runtime to random calls.
// testdata/make_neural.py makes more of them: OPS_FIXTURES names another file to read.
func TestAgainstRuntime(t *testing.T) {
	t.Parallel()
	path := "testdata/neural.json.gz"
	if other := os.Getenv("OPS_FIXTURES"); other != "" {
		path = other
	}
	counts, worst := map[string]int{}, map[string]float64{}
	for i, f := range readFixtures(t, path) {
		n := f.node(t)
		op, err := Lookup("", n.OpType, n.Opset)
		if err != nil {
			t.Fatal(err)
		}
		var in, want []*tensor.Tensor
		for _, v := range f.In {
			in = append(in, v.tensor(t))
		}
		for _, v := range f.Out {
			want = append(want, v.tensor(t))
		}
		describe := fmt.Sprintf("case %d: %s opset %d %v of %v", i, f.Op, f.Opset, f.Attrs, typesOf(in))
		got, err := op.Call(n, in)
		if err != nil {
			t.Errorf("%s: %v", describe, err)
			continue
		}
		types, err := op.Infer(n, typesOf(in), in)
		if err != nil {
			t.Errorf("%s: infer: %v", describe, err)
			continue
		}
		for k := range want {
			if types[k].DType != want[k].DType() || !slices.Equal(types[k].Shape, want[k].Shape()) {
				t.Errorf("%s: output %d inferred as %v, want %v", describe, k, types[k], typesOf(want)[k])
			}
			// Sums of a few dozen float32 products, and answers written with six digits.
			tolerance := 2e-5
			if want[k].DType() != tensor.Float32 {
				tolerance = 0
			}
			d, err := distance(got[k], want[k])
			if err != nil {
				t.Errorf("%s: output %d %v", describe, k, err)
			} else if d > tolerance {
				t.Errorf("%s: output %d differs by %.3g", describe, k, d)
			}
			worst[f.Op] = max(worst[f.Op], d)
		}
		counts[f.Op]++
	}
	if len(counts) < 25 {
		t.Errorf("fixtures of %d operators only", len(counts))
	}
	t.Logf("cases %v, largest differences %v", counts, worst)
}

// TestSpoiltCalls spoils one thing in each sound call: an attribute, a shape, a type, an input. The operator must
// refuse or answer with what it inferred, and never panic.
func TestSpoiltCalls(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	ints := []int64{math.MinInt64, -1 << 40, -1, 0, 1, 2, 3, 1 << 20, 1 << 31, 1 << 40, math.MaxInt64}
	reals := []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), -1, 0, 1e-40, 0.3, 1e6, 1e30}
	refused, answered := 0, 0
	for i, f := range readFixtures(t, "testdata/neural.json.gz") {
		for range 8 {
			n := f.node(t)
			var in []*tensor.Tensor
			for _, v := range f.In {
				in = append(in, v.tensor(t))
			}
			k := rng.IntN(len(in))
			switch what := rng.IntN(8); {
			case what < 4 && len(n.Attrs) > 0:
				names := slices.Sorted(maps.Keys(n.Attrs))
				name := names[rng.IntN(len(names))]
				switch v := n.Attrs[name].(type) {
				case int64:
					n.Attrs[name] = ints[rng.IntN(len(ints))]
				case []int64:
					if rng.IntN(4) == 0 {
						n.Attrs[name] = append(v, 1)
					} else {
						v[rng.IntN(len(v))] = ints[rng.IntN(len(ints))]
					}
				case []float32:
					v[rng.IntN(len(v))] = reals[rng.IntN(len(reals))]
				case float32:
					n.Attrs[name] = reals[rng.IntN(len(reals))]
				case string:
					n.Attrs[name] = []string{"", "cubic", "linear", "tf_crop_and_resize", "align_corners", "SAME_UPPER", "floor"}[rng.IntN(7)]
				}
			case what == 4:
				in[k] = nil
			case what == 5 && in[k] != nil:
				shape := slices.Clone(in[k].Shape())
				if len(shape) > 0 && rng.IntN(2) == 0 {
					shape[rng.IntN(len(shape))] = rng.IntN(4)
				} else {
					shape = append(shape, 1)
				}
				in[k] = tensor.New(in[k].DType(), shape...)
			case what == 6 && in[k] != nil:
				in[k] = convert(in[k], numberTypes[rng.IntN(len(numberTypes))])
			case in[k] != nil && in[k].DType() == tensor.Float32 && in[k].Len() > 0:
				tensor.Values[float32](in[k])[rng.IntN(in[k].Len())] = reals[rng.IntN(len(reals))]
			case in[k] != nil && in[k].DType() == tensor.Int64 && in[k].Len() > 0:
				tensor.Values[int64](in[k])[rng.IntN(in[k].Len())] = ints[rng.IntN(len(ints))]
			default:
				n.Outputs += rng.IntN(3)
			}
			op, err := Lookup("", n.OpType, n.Opset)
			if err != nil {
				t.Fatal(err)
			}
			func() {
				defer func() {
					if p := recover(); p != nil {
						t.Fatalf("case %d: %s %v of %v panics: %v\n%s", i, n, n.Attrs, typesOf(in), p, debug.Stack())
					}
				}()
				types, err := op.Infer(n, typesOf(in), in)
				if err != nil {
					if _, err := op.Call(n, in); err == nil {
						t.Errorf("case %d: %s %v of %v answers what it cannot infer", i, n, n.Attrs, typesOf(in))
					}
					refused++
					return
				}
				if tensorCount(types[0].Shape) > 1<<20 {
					return // sound, but long
				}
				out, err := op.Call(n, in)
				if err != nil {
					refused++
					return
				}
				answered++
				for k := range out {
					if got := typesOf(out)[k]; got.DType != types[k].DType || !slices.Equal(got.Shape, types[k].Shape) {
						t.Errorf("case %d: %s of %v yields %v, inferred %v", i, n, typesOf(in), got, types[k])
					}
				}
			}()
		}
	}
	if refused < 500 || answered < 500 {
		t.Errorf("%d refused, %d answered: the spoiling is too rough or too mild", refused, answered)
	}
	t.Logf("%d refused, %d answered", refused, answered)
}
