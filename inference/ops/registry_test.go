package ops

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"cutout/inference/tensor"
)

func TestLookup(t *testing.T) {
	for _, c := range []struct {
		domain, name string
		opset        int
		since        int // 0: not found
	}{
		{"", "Add", 7, 7},
		{"", "Add", 22, 7},
		{"", "Add", 6, 1},
		{"ai.onnx", "Slice", 9, 1},
		{"", "Slice", 10, 10},
		{"", "Gelu", 19, 0},
		{"", "Gelu", 20, 20},
		{"", "Nonsense", 20, 0},
		{"com.example", "Add", 20, 0},
	} {
		op, err := Lookup(c.domain, c.name, c.opset)
		if c.since == 0 {
			var unsupported *UnsupportedError
			if !errors.As(err, &unsupported) || unsupported.Node.OpType != c.name || unsupported.Node.Opset != c.opset ||
				!strings.Contains(err.Error(), c.name) || !strings.Contains(err.Error(), fmt.Sprint(c.opset)) {
				t.Errorf("Lookup(%q, %s, %d): %v, want an UnsupportedError that names them", c.domain, c.name, c.opset, err)
			}
			continue
		}
		if err != nil || op.Since != c.since {
			t.Errorf("Lookup(%q, %s, %d) = %+v, %v, want the implementation since %d", c.domain, c.name, c.opset, op, err, c.since)
		}
	}
}

// TestRegistryIsSound finds implementations that shadow or contradict one another.
func TestRegistryIsSound(t *testing.T) {
	all := All()
	for i, a := range all {
		if a.Name == "" || a.Since < 1 || a.Eval == nil || a.Until != 0 && a.Until < a.Since {
			t.Errorf("malformed entry %+v", a)
		}
		for _, b := range all[i+1:] {
			if a.Domain == b.Domain && a.Name == b.Name && (a.Until == 0 || b.Since <= a.Until) && (b.Until == 0 || a.Since <= b.Until) {
				t.Errorf("%s of opsets %d to %d and of %d to %d overlap", a.Name, a.Since, a.Until, b.Since, b.Until)
			}
		}
	}
}

func TestAttrs(t *testing.T) {
	a := Attrs{"i": int64(3), "f": float32(1.5), "s": "x", "I": []int64{1, 2}, "F": []float32{1}, "S": []string{"y"},
		"t": tensor.Scalar[float32](2)}
	if v, err := a.Int("i", 0); v != 3 || err != nil {
		t.Errorf("Int: %v, %v", v, err)
	}
	if v, err := a.Int("none", 7); v != 7 || err != nil {
		t.Errorf("Int of an absent attribute: %v, %v", v, err)
	}
	if v, err := a.Ints("I"); !slices.Equal(v, []int{1, 2}) || err != nil {
		t.Errorf("Ints: %v, %v", v, err)
	}
	if v, err := a.Ints("none"); v != nil || err != nil {
		t.Errorf("Ints of an absent attribute: %v, %v", v, err)
	}
	if v, err := a.IntsN("none", 2, 1); !slices.Equal(v, []int{1, 1}) || err != nil {
		t.Errorf("IntsN of an absent attribute: %v, %v", v, err)
	}
	for what, f := range map[string]func() error{
		"Int":       func() error { _, err := a.Int("s", 0); return err },
		"Ints":      func() error { _, err := a.Ints("i"); return err },
		"IntsN":     func() error { _, err := a.IntsN("I", 3, 0); return err },
		"Bool":      func() error { _, err := a.Bool("i", false); return err },
		"Float":     func() error { _, err := a.Float("i", 0); return err },
		"Floats":    func() error { _, err := a.Floats("f"); return err },
		"String":    func() error { _, err := a.String("f", ""); return err },
		"OneOf":     func() error { _, err := a.OneOf("s", "y", "z"); return err },
		"Strings":   func() error { _, err := a.Strings("s"); return err },
		"TensorOfI": func() error { _, err := a.Tensor("I"); return err },
	} {
		if f() == nil {
			t.Errorf("%s took an attribute of the wrong kind", what)
		}
	}
}

// run evaluates one node at an opset.
func run(t *testing.T, name string, opset int, attrs Attrs, in ...*tensor.Tensor) ([]*tensor.Tensor, error) {
	t.Helper()
	op, err := Lookup("", name, opset)
	if err != nil {
		return nil, err
	}
	return op.Call(&Node{OpType: name, Opset: opset, Attrs: attrs, Outputs: 1}, in)
}

func TestErrors(t *testing.T) {
	f := tensor.New(tensor.Float32, 2, 3)
	ints := func(v ...int64) *tensor.Tensor { return tensor.Of(v, len(v)) }
	for _, c := range []struct {
		name  string
		opset int
		attrs Attrs
		in    []*tensor.Tensor
		want  string
	}{
		{"Add", 13, nil, []*tensor.Tensor{f}, "needs 2"},
		{"Add", 13, nil, []*tensor.Tensor{f, nil}, "input 1 is missing"},
		{"Add", 13, nil, []*tensor.Tensor{f, ints(1)}, "int64"},
		{"Add", 13, nil, []*tensor.Tensor{f, tensor.New(tensor.Float32, 4)}, "broadcast"},
		{"Add", 6, Attrs{"broadcast": int64(1), "axis": int64(math.MaxInt64)}, []*tensor.Tensor{f, tensor.New(tensor.Float32, 3)}, "axis"},
		{"Add", 6, nil, []*tensor.Tensor{f, tensor.New(tensor.Float32, 3)}, "broadcast is off"},
		{"Div", 13, nil, []*tensor.Tensor{ints(4), ints(0)}, "division by zero"},
		{"Mod", 13, nil, []*tensor.Tensor{ints(4), ints(0)}, "division by zero"},
		{"Mod", 13, nil, []*tensor.Tensor{f, f}, "fmod"},
		{"Cast", 13, nil, []*tensor.Tensor{f}, "attribute to"},
		{"Cast", 13, Attrs{"to": int64(8)}, []*tensor.Tensor{f}, "element type 8"},
		{"Cast", 13, Attrs{"to": "FLOAT"}, []*tensor.Tensor{f}, "attribute to"},
		{"Reshape", 13, nil, []*tensor.Tensor{f, ints(-1, -1)}, "two unknown"},
		{"Reshape", 13, nil, []*tensor.Tensor{f, ints(4, -1)}, "cannot reshape"},
		{"Expand", 13, nil, []*tensor.Tensor{f, ints(1<<40, 1, 1)}, "elements"},
		{"ConstantOfShape", 13, nil, []*tensor.Tensor{ints(1<<20, 1<<20)}, "elements"},
		{"Tile", 13, nil, []*tensor.Tensor{f, ints(math.MaxInt64, math.MaxInt64)}, "elements"},
		{"Pad", 13, nil, []*tensor.Tensor{f, ints(0, 0, 0, math.MaxInt64)}, "pads"},
		{"Range", 13, nil, []*tensor.Tensor{tensor.Scalar[int64](0), tensor.Scalar[int64](math.MaxInt64), tensor.Scalar[int64](1)}, "elements"},
		{"Range", 13, nil, []*tensor.Tensor{tensor.Scalar[int64](0), tensor.Scalar[int64](5), tensor.Scalar[int64](0)}, "delta"},
		{"Gather", 13, nil, []*tensor.Tensor{f, ints(2)}, "index 2"},
		{"ScatterND", 16, Attrs{"reduction": "max"}, []*tensor.Tensor{f, tensor.New(tensor.Int64, 1, 1), tensor.New(tensor.Float32, 1, 3)}, "reduction"},
		{"Split", 13, nil, []*tensor.Tensor{f, ints(1, 2)}, "add up"},
		{"Transpose", 13, Attrs{"perm": []int64{0, 0}}, []*tensor.Tensor{f}, "twice"},
		{"Concat", 13, nil, []*tensor.Tensor{f}, "axis is missing"},
		{"Squeeze", 13, nil, []*tensor.Tensor{f, ints(0)}, "is not 1"},
		{"Slice", 13, nil, []*tensor.Tensor{f, ints(0), ints(1), ints(0), ints(0)}, "step"},
		{"TopK", 13, nil, []*tensor.Tensor{f, ints(4)}, "k is 4"},
		{"Einsum", 13, Attrs{"equation": "ij,jk->ik"}, []*tensor.Tensor{f}, "terms"},
		{"ArgMax", 13, nil, []*tensor.Tensor{tensor.New(tensor.Float32, 0, 3)}, "nothing to search"},
	} {
		_, err := run(t, c.name, c.opset, c.attrs, c.in...)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.name) {
			t.Errorf("%s of opset %d: error %v, want one about %q that names the operator", c.name, c.opset, err, c.want)
		}
	}
}

func TestUnknownValuesAreDynamic(t *testing.T) {
	f, list := Type{tensor.Float32, []int{2, 3}}, Type{tensor.Int64, []int{2}}
	scalar := Type{tensor.Int64, []int{}}
	for name, in := range map[string][]Type{
		"Reshape": {f, list}, "Expand": {f, list}, "Tile": {f, list}, "Slice": {f, list, list}, "ConstantOfShape": {list},
		"NonZero": {f}, "Range": {scalar, scalar, scalar}, "Unsqueeze": {f, list}, "ReduceSum": {f, list}, "TopK": {f, {tensor.Int64, []int{1}}},
		"Pad": {f, {tensor.Int64, []int{4}}}, "OneHot": {f, scalar, {tensor.Float32, []int{2}}}, "Compress": {f, {tensor.Bool, []int{2}}},
	} {
		op, err := Lookup("", name, 18)
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := op.Infer(&Node{OpType: name, Opset: 18, Outputs: 1}, in, make([]*tensor.Tensor, len(in))); !errors.Is(err, ErrDynamic) {
			t.Errorf("%s: %v, want ErrDynamic", name, err)
		}
	}
}

// TestBroadcastAgainstDefinition compares the row walk with one index at a time.
func TestBroadcastAgainstDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		shape := make([]int, r.IntN(6))
		for i := range shape {
			shape[i] = 1 + r.IntN(4)
			if r.IntN(30) == 0 {
				shape[i] = 0
			}
		}
		cut := func() *tensor.Tensor {
			s := slices.Clone(shape[r.IntN(len(shape)+1):])
			for i := range s {
				if r.IntN(3) == 0 {
					s[i] = 1
				}
			}
			v := make([]float32, tensor.Count(s))
			for i := range v {
				v[i] = r.Float32()
			}
			return tensor.Of(v, s...)
		}
		a, b := cut(), cut()
		out, err := run(t, "Sub", 13, nil, a, b)
		if err != nil {
			t.Fatal(err)
		}
		got := out[0]
		sa, sb := broadcastStrides(a.Shape(), got.Shape()), broadcastStrides(b.Shape(), got.Shape())
		own := tensor.Strides(got.Shape())
		for i, g := range tensor.Values[float32](got) {
			ka, kb := 0, 0
			for d, step := range own {
				at := i / step % got.Shape()[d]
				ka, kb = ka+at*sa[d], kb+at*sb[d]
			}
			if want := tensor.Values[float32](a)[ka] - tensor.Values[float32](b)[kb]; g != want {
				t.Fatalf("%v - %v: element %d is %g, want %g", a.Shape(), b.Shape(), i, g, want)
			}
		}
	}
}

func TestReduceNoopReturnsInput(t *testing.T) {
	x := tensor.Of([]float32{-1, 2}, 2)
	for _, in := range [][]*tensor.Tensor{{x}, {x, tensor.New(tensor.Int64, 0)}} {
		out, err := run(t, "ReduceL1", 18, Attrs{"noop_with_empty_axes": int64(1)}, in...)
		if err != nil || !slices.Equal(tensor.Values[float32](out[0]), []float32{-1, 2}) {
			t.Errorf("%v, %v", out, err)
		}
	}
}
