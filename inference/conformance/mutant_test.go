package conformance

import (
	"archive/zip"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"path"
	"path/filepath"
	"runtime/debug"
	"slices"
	"testing"

	"cutout/inference/ops"
	"cutout/inference/tensor"
)

// sample is a node that makes sense, with its inputs.
type sample struct {
	name string
	node ops.Node
	in   []*tensor.Tensor
}

func samples(t testing.TB) []sample {
	t.Helper()
	cases, err := zip.OpenReader(filepath.Join("testdata", "opsets.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer cases.Close()
	all := readSamples(t, cases)
	if len(all) < 300 {
		t.Fatalf("%d samples", len(all))
	}
	return all
}

func readSamples(t testing.TB, cases fs.FS) []sample {
	t.Helper()
	entries, err := fs.ReadDir(cases, ".")
	if err != nil {
		t.Fatal(err)
	}
	var all []sample
	for _, e := range entries {
		data, err := fs.ReadFile(cases, path.Join(e.Name(), "model.onnx"))
		if err != nil {
			t.Fatal(err)
		}
		m, err := readModel(data)
		if err != nil || len(m.nodes) != 1 || m.nodes[0].err != nil {
			continue
		}
		values, err := readSet(cases, path.Join(e.Name(), "test_data_set_0"), "input", m.inputs)
		if err != nil {
			continue
		}
		s := sample{name: e.Name(), node: m.nodes[0].Node}
		for _, name := range m.nodes[0].inputs {
			s.in = append(s.in, values[name])
		}
		all = append(all, s)
	}
	return all
}

var dtypes = []tensor.DType{tensor.Float32, tensor.Float64, tensor.Int8, tensor.Int16, tensor.Int32, tensor.Int64,
	tensor.Uint8, tensor.Uint16, tensor.Uint32, tensor.Uint64, tensor.Bool}

// mutate changes one thing about a sample.
func (s sample) mutate(r *rand.Rand) sample {
	integer := func() int64 {
		if r.IntN(3) == 0 {
			return []int64{math.MinInt64, math.MinInt64 + 1, math.MaxInt64, 1 << 31, -1 << 31, 1 << 40, 1 << 62, -1 << 62}[r.IntN(8)]
		}
		return int64(r.IntN(12)) - 4
	}
	float := func() float64 {
		if r.IntN(3) == 0 {
			return []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat32, -math.MaxFloat32, 0, 1e-45}[r.IntN(7)]
		}
		return float64(r.IntN(17)-8) / 4
	}
	s.in = slices.Clone(s.in)
	s.node.Attrs = maps.Clone(s.node.Attrs)
	if r.IntN(2) == 0 && len(s.node.Attrs) > 0 {
		names := slices.Sorted(maps.Keys(s.node.Attrs))
		name := names[r.IntN(len(names))]
		switch v := s.node.Attrs[name].(type) {
		case int64:
			s.node.Attrs[name] = integer()
		case float32:
			s.node.Attrs[name] = float32(float())
		case string:
			s.node.Attrs[name] = []string{"", "SAME_UPPER", "VALID", "cubic", "wrap", "ij->", "ii"}[r.IntN(7)]
		case []int64:
			v = slices.Clone(v)
			switch k := r.IntN(4); {
			case k == 0 || len(v) == 0:
				v = append(v, integer())
			case k == 1:
				v = v[1:]
			default:
				v[r.IntN(len(v))] = integer()
			}
			s.node.Attrs[name] = v
		case []float32:
			v = slices.Clone(v)
			if len(v) > 0 {
				v[r.IntN(len(v))] = float32(float())
			}
			s.node.Attrs[name] = v
		}
		switch r.IntN(12) {
		case 0:
			delete(s.node.Attrs, name)
		case 1:
			s.node.Attrs[name] = []any{int64(1), float32(1), "x", []int64{1}, []float32{1}, tensor.Scalar[float32](1)}[r.IntN(6)]
		}
		return s
	}
	switch k := r.IntN(12); {
	case k == 0:
		s.node.Opset = 1 + r.IntN(22)
	case k == 1:
		s.node.Outputs = r.IntN(5)
	case k == 2:
		s.in = append(s.in, tensor.New(dtypes[r.IntN(len(dtypes))], r.IntN(3)))
	case len(s.in) == 0:
	case k == 3:
		s.in = s.in[:len(s.in)-1]
	default:
		i := r.IntN(len(s.in))
		t := s.in[i]
		if t == nil {
			s.in[i] = tensor.New(dtypes[r.IntN(len(dtypes))], 1)
			break
		}
		shape := slices.Clone(t.Shape())
		switch k {
		case 4:
			s.in[i] = nil
		case 5:
			s.in[i] = tensor.New(dtypes[r.IntN(len(dtypes))], shape...)
		case 6, 7:
			// Another size along one dimension, often none at all.
			if len(shape) > 0 {
				shape[r.IntN(len(shape))] = []int{0, 0, 1, 2, 3, 5, 9}[r.IntN(7)]
			}
			s.in[i] = tensor.New(t.DType(), shape...)
		case 8:
			s.in[i] = tensor.New(t.DType(), append(shape, 1)...)
		case 9:
			if len(shape) > 0 {
				shape = shape[1:]
			}
			s.in[i] = tensor.New(t.DType(), shape...)
		default:
			if t.Len() == 0 {
				break
			}
			at := r.IntN(t.Len())
			switch t.DType() {
			case tensor.Int64:
				v := slices.Clone(tensor.Values[int64](t))
				v[at] = integer()
				s.in[i] = tensor.Of(v, shape...)
			case tensor.Float32:
				v := slices.Clone(tensor.Values[float32](t))
				v[at] = float32(float())
				s.in[i] = tensor.Of(v, shape...)
			}
		}
	}
	return s
}

// try reports a panic or a broken promise; any other error is what a mutant deserves.
func (s sample) try() (err error) {
	describe := func() string {
		return fmt.Sprintf("%s as %s, %d outputs, attributes %v, inputs %v", s.name, &s.node, s.node.Outputs, s.node.Attrs, typesOf(s.in))
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: panic: %v\n%s", describe(), p, debug.Stack())
		}
	}()
	op, err := ops.Lookup(s.node.Domain, s.node.OpType, s.node.Opset)
	if err != nil {
		return nil
	}
	if op.Infer != nil {
		// A mutant may ask for more than this test wants to hold.
		types, err := op.Infer(&s.node, typesOf(s.in), s.in)
		if err == nil {
			for _, t := range types {
				if n, err := tensor.CheckShape(t.Shape, ops.MaxElements); err != nil {
					return fmt.Errorf("%s: Infer lets %v through", describe(), t.Shape)
				} else if n > 1<<20 {
					return nil
				}
			}
		}
	}
	_, err = call(&s.node, s.in)
	if _, ok := errors.AsType[*BrokenPromiseError](err); ok {
		return fmt.Errorf("%s: %w", describe(), err)
	}
	return nil
}

// TestMutants spoils nodes that make sense, in one to three places each: that must end in an error or in a result
// of the foretold shape, never in a panic.
func TestMutants(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	for _, s := range samples(t) {
		for seed := range rounds {
			r := rand.New(rand.NewPCG(uint64(seed), 3))
			m := s
			for range 1 + r.IntN(3) {
				m = m.mutate(r)
			}
			if err := m.try(); err != nil {
				t.Errorf("seed %d: %v", seed, err)
				break
			}
		}
	}
}

// FuzzMutants is TestMutants without end.
func FuzzMutants(f *testing.F) {
	all := samples(f)
	for i := range all {
		f.Add(uint16(i), uint64(i))
	}
	f.Fuzz(func(t *testing.T, which uint16, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 4))
		m := all[int(which)%len(all)]
		for range 1 + r.IntN(4) {
			m = m.mutate(r)
		}
		if err := m.try(); err != nil {
			t.Fatal(err)
		}
	})
}
