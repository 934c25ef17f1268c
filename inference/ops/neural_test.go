package ops

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"testing"

	"cutout/inference/tensor"
)

// fixture is one line of testdata/neural.json.gz: a call and what ONNX Runtime made of it.
type fixture struct {
	Op    string
	Opset int
	Attrs map[string]any
	In    []*fixtureTensor
	Out   []*fixtureTensor
}

type fixtureTensor struct {
	Type  string
	Shape []int
	Data  []any
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
