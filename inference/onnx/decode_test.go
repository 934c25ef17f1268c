package onnx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	onnxgo "github.com/owulveryck/onnx-go"
	"google.golang.org/protobuf/encoding/protowire"
	gorgonia "gorgonia.org/tensor"

	"cutout/inference/graph"
	"cutout/inference/ops"
	"cutout/inference/tensor"
)

func read(t testing.TB, path ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func mustDecode(t testing.TB, data []byte) *graph.Model {
	t.Helper()
	m, err := Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	checkSound(t, m)
	return m
}

// checkSound verifies what Decode promises of every model it returns.
func checkSound(t testing.TB, m *graph.Model) {
	t.Helper()
	written := map[string]bool{}
	write := func(name string) {
		if name != "" && written[name] {
			t.Fatalf("%q is written twice", name)
		}
		written[name] = true
	}
	for _, in := range m.Inputs {
		if in.DType == tensor.Invalid {
			t.Fatalf("input %q has no type", in.Name)
		}
		write(in.Name)
	}
	for name, v := range m.Initializers {
		if v == nil {
			t.Fatalf("initializer %q is nil", name)
		}
		write(name)
	}
	for _, n := range m.Nodes {
		for _, name := range n.Inputs {
			if name != "" && !written[name] {
				t.Fatalf("%s reads %q before it is written", n, name)
			}
		}
		for _, name := range n.Results {
			write(name)
		}
		if n.Outputs != len(n.Results) || n.Outputs == 0 || n.Results[n.Outputs-1] == "" {
			t.Fatalf("%s: %d outputs, results %q", n, n.Outputs, n.Results)
		}
		if n.Opset != m.Opsets[n.Domain] {
			t.Fatalf("%s: the model imports opset %d", n, m.Opsets[n.Domain])
		}
	}
	for _, out := range m.Outputs {
		if !written[out.Name] {
			t.Fatalf("output %q is not written", out.Name)
		}
	}
}

func node(t testing.TB, m *graph.Model, name string) *graph.Node {
	t.Helper()
	i := slices.IndexFunc(m.Nodes, func(n *graph.Node) bool { return n.Name == name })
	if i < 0 {
		t.Fatalf("no node %q", name)
	}
	return m.Nodes[i]
}

// elements returns a tensor's elements as float64.
func elements(v *tensor.Tensor) []float64 {
	switch v.DType() {
	case tensor.Float32:
		return floats(tensor.Values[float32](v))
	case tensor.Float64:
		return floats(tensor.Values[float64](v))
	case tensor.Int8:
		return floats(tensor.Values[int8](v))
	case tensor.Int16:
		return floats(tensor.Values[int16](v))
	case tensor.Int32:
		return floats(tensor.Values[int32](v))
	case tensor.Int64:
		return floats(tensor.Values[int64](v))
	case tensor.Uint8:
		return floats(tensor.Values[uint8](v))
	case tensor.Uint16:
		return floats(tensor.Values[uint16](v))
	case tensor.Uint32:
		return floats(tensor.Values[uint32](v))
	case tensor.Uint64:
		return floats(tensor.Values[uint64](v))
	default:
		out := make([]float64, v.Len())
		for i, x := range tensor.Values[bool](v) {
			if x {
				out[i] = 1
			}
		}
		return out
	}
}

func floats[T tensor.Number](v []T) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}

func TestElementTypes(t *testing.T) {
	t.Parallel()
	m := mustDecode(t, read(t, "testdata", "types.onnx"))
	signed := []float64{0, 1, 2, 100, -1, -100}
	unsigned := []float64{0, 1, 2, 100, 1, 100}
	for name, dtype := range map[string]tensor.DType{
		"FLOAT": tensor.Float32, "UINT8": tensor.Uint8, "INT8": tensor.Int8, "UINT16": tensor.Uint16,
		"INT16": tensor.Int16, "INT32": tensor.Int32, "INT64": tensor.Int64, "BOOL": tensor.Bool,
		"FLOAT16": tensor.Float32, "DOUBLE": tensor.Float64, "UINT32": tensor.Uint32, "UINT64": tensor.Uint64,
		"BFLOAT16": tensor.Float32,
	} {
		want := signed
		if strings.HasPrefix(name, "UINT") {
			want = unsigned
		} else if name == "BOOL" {
			want = []float64{0, 1, 1, 1, 1, 1}
		}
		for _, form := range []string{"typed_", "raw_"} {
			attr, err := node(t, m, "attr_"+form+name).Attrs.Tensor("value")
			if err != nil {
				t.Fatal(err)
			}
			for where, v := range map[string]*tensor.Tensor{"initializer": m.Initializers[form+name], "attribute": attr} {
				label := where + " " + form + name
				if v == nil {
					t.Errorf("%s is missing", label)
					continue
				}
				if v.DType() != dtype || !slices.Equal(v.Shape(), []int{2, 3}) {
					t.Errorf("%s is %s %v, want %s [2 3]", label, v.DType(), v.Shape(), dtype)
				}
				if diff := cmp.Diff(want, elements(v)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", label, diff)
				}
			}
		}
	}
	if len(m.Initializers) != 26 || len(m.Nodes) != 27 {
		t.Errorf("%d initializers and %d nodes, want 26 and 27", len(m.Initializers), len(m.Nodes))
	}
}

func TestConstants(t *testing.T) {
	t.Parallel()
	m := mustDecode(t, read(t, "testdata", "constants.onnx"))
	for name, want := range map[string]struct {
		dtype  tensor.DType
		shape  []int
		values []float64
	}{
		"float":   {tensor.Float32, []int{}, []float64{1.5}},
		"floats":  {tensor.Float32, []int{2}, []float64{1.5, -2}},
		"int":     {tensor.Int64, []int{}, []float64{-7}},
		"ints":    {tensor.Int64, []int{3}, []float64{1, -2, 3}},
		"scalar":  {tensor.Float32, []int{}, []float64{4}},
		"nothing": {tensor.Int64, []int{0}, []float64{}},
	} {
		n := node(t, m, name)
		v, err := n.Attrs.Tensor("value")
		if err != nil || v == nil || len(n.Attrs) != 1 {
			t.Fatalf("%s: attributes %v, %v", name, n.Attrs, err)
		}
		if v.DType() != want.dtype || !slices.Equal(v.Shape(), want.shape) || !slices.Equal(elements(v), want.values) {
			t.Errorf("%s is %s %v %v, want %v", name, v.DType(), v.Shape(), elements(v), want)
		}
		if len(n.Inputs) != 0 {
			t.Errorf("%s reads %q", name, n.Inputs)
		}
	}
	if v := m.Initializers["none"]; v == nil || !slices.Equal(v.Shape(), []int{0, 3}) {
		t.Errorf("the empty initializer is %v", v)
	}
}

func TestWiring(t *testing.T) {
	t.Parallel()
	m := mustDecode(t, read(t, "testdata", "wiring.onnx"))
	type wires struct{ In, Out []string }
	got := map[string]wires{}
	for _, n := range m.Nodes {
		got[n.Name] = wires{n.Inputs, n.Results}
	}
	want := map[string]wires{
		"end":     {[]string{"twice", "a"}, []string{"y"}},
		"square":  {[]string{"x", "x"}, []string{"twice"}},
		"join":    {[]string{"x", "r", "x", "x"}, []string{"joined"}},
		"resize":  {[]string{"x", "", "scales"}, []string{"r"}},
		"resize2": {[]string{"joined", "", "", "sizes"}, []string{"r2"}},
		"c":       {nil, []string{"empty"}},
		"clip":    {[]string{"x", "", "high"}, []string{"a"}},
		"pool":    {[]string{"x"}, []string{"pooled"}},
		"split":   {[]string{"x"}, []string{"", "s1", "", "s3"}},
		"split2":  {[]string{"x", "sizes"}, []string{"", "t1"}},
		"keep":    {[]string{"empty", "sizes"}, []string{"kept"}},
		"/input":  {nil, []string{"/input"}},
		"random":  {nil, []string{"random", "second"}},
		"z":       {[]string{"/input"}, []string{"z"}},
	}
	if diff := cmp.Diff(want, got, equateEmpty); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// A graph output may be an input or an initializer.
	var outs []string
	for _, o := range m.Outputs {
		outs = append(outs, o.Name)
	}
	if !slices.Equal(outs, []string{"y", "z", "x", "high"}) || len(m.Inputs) != 1 || m.Inputs[0].Name != "x" {
		t.Errorf("inputs %v, outputs %v", m.Inputs, outs)
	}
	if got, err := node(t, m, "random").Attrs.Int("dtype", 0); got != 1 || err != nil {
		t.Errorf("dtype FLOAT16 became %d, %v; want 1", got, err)
	}
}

var equateEmpty = cmp.Transformer("empty", func(s []string) string { return fmt.Sprintf("%q", s) })

func TestAttributes(t *testing.T) {
	t.Parallel()
	m := mustDecode(t, read(t, "testdata", "attributes.onnx"))
	if m.Producer != "make_models 1" {
		t.Errorf("producer %q", m.Producer)
	}
	if want := map[string]int{"": 17, "com.example": 2}; !maps.Equal(m.Opsets, want) {
		t.Errorf("opsets %v, want %v", m.Opsets, want)
	}
	n := node(t, m, "custom")
	if n.Domain != "com.example" || n.Opset != 2 {
		t.Errorf("domain %q opset %d", n.Domain, n.Opset)
	}
	attrs := maps.Clone(n.Attrs)
	v, err := attrs.Tensor("t")
	if err != nil || v.DType() != tensor.Int8 || !slices.Equal(tensor.Values[int8](v), []int8{-1, 1}) {
		t.Errorf("tensor %v, %v", v, err)
	}
	delete(attrs, "t")
	want := ops.Attrs{
		"f": float32(0.5), "i": int64(-3), "s": "text",
		"fs": []float32{1, -2.5}, "ns": []int64{1, -2, 1 << 40}, "ss": []string{"a", "", "c"},
	}
	if diff := cmp.Diff(want, attrs); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, to := range map[string]int{"to16": 1, "tob16": 1, "toi8": 3} {
		if got, err := node(t, m, name).Attrs.Int("to", 0); got != to || err != nil {
			t.Errorf("%s: to is %d, %v; want %d", name, got, err, to)
		}
	}
	if n := node(t, m, "y"); n.Domain != "" || n.Opset != 17 {
		t.Errorf("ai.onnx became %q opset %d", n.Domain, n.Opset)
	}
	wantIn := []graph.ValueInfo{
		{Name: "x", DType: tensor.Float32, Dims: []graph.Dim{{Size: -1, Symbol: "batch"}, {Size: 3}, {Size: -1}, {Size: 7}}},
		{Name: "unranked", DType: tensor.Uint8},
		{Name: "scalar", DType: tensor.Bool, Dims: []graph.Dim{}},
	}
	if diff := cmp.Diff(wantIn, m.Inputs); diff != "" {
		t.Errorf("inputs (-want +got):\n%s", diff)
	}
	wantOut := []graph.ValueInfo{{Name: "y", DType: tensor.Float32, Dims: []graph.Dim{{Size: -1, Symbol: "batch"}}}}
	if diff := cmp.Diff(wantOut, m.Outputs); diff != "" {
		t.Errorf("outputs (-want +got):\n%s", diff)
	}
}

// message builds a protobuf message by hand: what the writers of models do not let one make.
type message []byte

func (m message) str(num protowire.Number, s string) message {
	return protowire.AppendString(protowire.AppendTag(m, num, protowire.BytesType), s)
}

func (m message) num(num protowire.Number, v uint64) message {
	return protowire.AppendVarint(protowire.AppendTag(m, num, protowire.VarintType), v)
}

func (m message) sub(num protowire.Number, sub message) message { return m.str(num, string(sub)) }

// floatInput declares a graph input or output of the type float32 and one dimension.
func floatInput(name string) message {
	shape := message{}.sub(1, message{}.num(1, 1))
	return message{}.str(1, name).sub(2, message{}.sub(1, message{}.num(1, 1).sub(2, shape)))
}

func nodeOf(op string, in, out []string, attrs ...message) message {
	var m message
	for _, s := range in {
		m = m.str(1, s)
	}
	for _, s := range out {
		m = m.str(2, s)
	}
	m = m.str(4, op)
	for _, a := range attrs {
		m = m.sub(5, a)
	}
	return m
}

// modelOf joins a graph of one input x, one output y and the given fields to a model of opset 13.
func modelOf(graphFields message, nodes ...message) message {
	g := message{}.sub(11, floatInput("x")).sub(12, floatInput("y"))
	g = append(g, graphFields...)
	for _, n := range nodes {
		g = g.sub(1, n)
	}
	return message{}.sub(8, message{}.num(2, 13)).sub(7, g)
}

var identity = nodeOf("Identity", []string{"x"}, []string{"y"})

func initializerOf(name string, dataType uint64, dims []uint64, raw string) message {
	m := message{}.num(2, dataType).str(8, name).str(9, raw)
	for _, d := range dims {
		m = m.num(1, d)
	}
	return m
}

func TestRefused(t *testing.T) {
	t.Parallel()
	withInit := func(name string, dataType uint64, dims []uint64, raw string) message {
		return modelOf(message{}.sub(5, initializerOf(name, dataType, dims, raw)), identity)
	}
	file := func(name string) message { return read(t, "testdata", name+".onnx") }
	attr := func(fields message) message {
		return modelOf(nil, nodeOf("Identity", []string{"x"}, []string{"y"}, fields))
	}
	var (
		format    *FormatError
		missing   *UnsupportedError
		operator  *ops.UnsupportedError
		limit     *LimitError
		manyEdges = slices.Repeat([]string{"x"}, 2048)
	)
	results := make([]string, 2048)
	for i := range results {
		results[i] = fmt.Sprint("r", i)
	}
	for name, c := range map[string]struct {
		data message
		kind any
		says []string
	}{
		"nothing":                   {nil, &format, []string{"0 graphs", "is this an ONNX file?"}},
		"not protobuf":              {message("\xff\xfe\xfd"), &format, []string{"broken protobuf"}},
		"a picture":                 {message("\x89PNG\r\n\x1a\n"), &format, nil},
		"two graphs":                {append(modelOf(nil, identity), modelOf(nil, identity)...), &format, []string{"2 graphs"}},
		"no nodes":                  {modelOf(nil), &format, []string{"no nodes"}},
		"no outputs":                {message{}.sub(7, message{}.sub(1, identity)), &format, []string{"no outputs"}},
		"sub-graph":                 {file("subgraph"), &operator, []string{"If", "opset 11", `"branch"`, "sub-graphs"}},
		"external data":             {file("external"), &missing, []string{`"w"`, "external data"}},
		"function":                  {file("function"), &operator, []string{"Twice", "local opset 1", `"call"`, "function"}},
		"sparse":                    {file("sparse"), &missing, []string{"sparse"}},
		"strings":                   {file("strings"), &missing, []string{`"w"`, "strings"}},
		"sequence":                  {file("sequence"), &missing, []string{`"x"`, "sequence"}},
		"float 8":                   {withInit("w", 17, []uint64{1}, "a"), &missing, []string{`"w"`, "17"}},
		"untyped tensor":            {withInit("w", 0, []uint64{1}, "a"), &missing, []string{`"w"`, "element type 0"}},
		"too little data":           {withInit("w", 1, []uint64{2, 3}, "1234"), &format, []string{`"w"`, "6 elements, the data 1"}},
		"too much data":             {withInit("w", 1, nil, "12345678"), &format, []string{"1 elements, the data 2"}},
		"odd data":                  {withInit("w", 1, []uint64{1}, "12345"), &format, []string{"5 bytes"}},
		"huge":                      {withInit("w", 2, []uint64{1 << 31, 1 << 31}, ""), &format, []string{`"w"`}},
		"huge product":              {withInit("w", 2, []uint64{1 << 20, 1 << 20, 1 << 20}, ""), &format, []string{`"w"`}},
		"negative":                  {withInit("w", 2, []uint64{math.MaxUint64}, "a"), &format, []string{"dimension 0"}},
		"no name":                   {withInit("", 2, []uint64{1}, "a"), &format, []string{"has no name"}},
		"name not UTF-8":            {withInit("\xff", 2, []uint64{1}, "a"), &format, []string{"UTF-8"}},
		"int8 out of range":         {modelOf(message{}.sub(5, message{}.num(2, 3).str(8, "w").num(1, 1).num(5, 300)), identity), &format, []string{"300", "int8"}},
		"float from ints":           {modelOf(message{}.sub(5, message{}.num(2, 1).str(8, "w").num(1, 1).num(5, 3)), identity), &format, []string{"1 elements, the data 0"}},
		"two initializers":          {modelOf(message{}.sub(5, initializerOf("w", 2, nil, "a")).sub(5, initializerOf("w", 2, nil, "b")), identity), &format, []string{`"w"`, "taken"}},
		"two inputs":                {modelOf(message{}.sub(11, floatInput("x")), identity), &format, []string{`"x"`, "declared twice"}},
		"two outputs":               {modelOf(message{}.sub(12, floatInput("y")), identity), &format, []string{`"y"`, "declared twice"}},
		"untyped input":             {modelOf(message{}.sub(11, message{}.str(1, "z")), identity), &format, []string{`"z"`, "no type"}},
		"output from nowhere":       {modelOf(message{}.sub(12, floatInput("z")), identity), &format, []string{`"z"`, "nothing computes"}},
		"input from nowhere":        {modelOf(nil, nodeOf("Add", []string{"x", "z"}, []string{"y"})), &format, []string{"Add", `"z"`, "nothing computes"}},
		"written twice":             {modelOf(nil, identity, identity), &format, []string{"Identity", `"y"`, "written already"}},
		"input overwritten":         {modelOf(nil, identity, nodeOf("Identity", []string{"y"}, []string{"x"})), &format, []string{`"x"`, "written already"}},
		"cycle":                     {modelOf(nil, nodeOf("Add", []string{"x", "b"}, []string{"y"}), nodeOf("Identity", []string{"y"}, []string{"b"})), &format, []string{"depends on itself"}},
		"own input":                 {modelOf(nil, nodeOf("Identity", []string{"y"}, []string{"y"})), &format, []string{"depends on itself"}},
		"no operator":               {modelOf(nil, nodeOf("", []string{"x"}, []string{"y"})), &format, []string{"no operator"}},
		"no results":                {modelOf(nil, identity, nodeOf("Identity", []string{"x"}, []string{""})), &format, []string{"Identity", "no outputs"}},
		"unknown domain":            {modelOf(nil, nodeOf("Fused", []string{"x"}, []string{"y"}).str(7, "com.microsoft")), &operator, []string{"Fused", "com.microsoft", "imports no opset"}},
		"opset out of range":        {append(modelOf(nil, identity), message{}.sub(8, message{}.num(2, 1<<40))...), &format, []string{"opset"}},
		"attribute without name":    {attr(message{}.num(3, 1).num(20, 2)), &format, []string{"Identity", "no name"}},
		"attribute without tensor":  {attr(message{}.str(1, "t").num(20, 4)), &format, []string{"Identity", `"t"`, "no tensor"}},
		"attribute of unknown kind": {attr(message{}.str(1, "t").num(20, 99)), &operator, []string{"Identity", "opset 13", "type 99"}},
		"attribute by reference":    {attr(message{}.str(1, "t").str(21, "outer").num(20, 2)), &operator, []string{"Identity", "function"}},
		"attribute twice":           {modelOf(nil, nodeOf("Identity", []string{"x"}, []string{"y"}, message{}.str(1, "a").num(3, 1).num(20, 2), message{}.str(1, "a").num(3, 1).num(20, 2))), &format, []string{`"a"`, "twice"}},
		"floats cut off":            {attr(message{}.str(1, "t").num(20, 6).str(7, "12345")), &format, []string{"broken protobuf"}},
		"type attribute":            {attr(message{}.str(1, "t").num(20, 13).str(14, "")), &operator, []string{"type 13"}},
		"constant without value":    {modelOf(nil, identity, nodeOf("Constant", nil, []string{"c"})), &format, []string{"Constant", `"c"`, "0 attributes"}},
		"constant of a string":      {modelOf(nil, identity, nodeOf("Constant", nil, []string{"c"}, message{}.str(1, "value_string").str(4, "a").num(20, 3))), &operator, []string{"Constant", "value_string"}},
		"constant of another kind":  {modelOf(nil, identity, nodeOf("Constant", nil, []string{"c"}, message{}.str(1, "value_int").str(4, "a").num(20, 3))), &format, []string{"Constant", "value_int"}},
		"too many edges":            {modelOf(nil, identity, nodeOf("Custom", manyEdges, results)), &limit, []string{"edges"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, err := Decode(c.data)
			if err == nil {
				t.Fatalf("decoded to %d nodes", len(m.Nodes))
			}
			if !errors.As(err, c.kind) {
				t.Errorf("%T: %v; want %T", err, err, c.kind)
			}
			for _, s := range c.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
		})
	}
}

// Files of IR version 1 and 2: no opset, no attribute kinds, initializers declared as inputs.
func TestOldFile(t *testing.T) {
	t.Parallel()
	g := message{}.sub(11, floatInput("x")).sub(11, floatInput("w")).sub(12, floatInput("y")).
		sub(5, initializerOf("w", 1, []uint64{1}, "\x00\x00\x80\x3f")).
		sub(1, nodeOf("Cast", []string{"x"}, []string{"c"}, message{}.str(1, "to").str(4, "FLOAT16"))).
		sub(1, nodeOf("Custom", []string{"c", "w"}, []string{"y"},
			message{}.str(1, "axis").num(3, 2),
			message{}.str(1, "axes").num(8, 1).num(8, 2),
			message{}.str(1, "nothing").num(20, 7)))
	m := mustDecode(t, message{}.sub(7, g))
	if len(m.Inputs) != 1 || m.Inputs[0].Name != "x" {
		t.Errorf("inputs %v, want x alone", m.Inputs)
	}
	if v := m.Initializers["w"]; v == nil || tensor.Values[float32](v)[0] != 1 {
		t.Errorf("initializers %v", m.Initializers)
	}
	n := node(t, m, "y")
	want := ops.Attrs{"axis": int64(2), "axes": []int64{1, 2}, "nothing": []int64(nil)}
	if diff := cmp.Diff(want, n.Attrs); diff != "" || n.Opset != 1 {
		t.Errorf("opset %d, attributes (-want +got):\n%s", n.Opset, diff)
	}
	if to, err := node(t, m, "c").Attrs.String("to", ""); to != "FLOAT" || err != nil {
		t.Errorf("to is %q, %v; want FLOAT", to, err)
	}
}

// Lists may come in pieces, packed or not, and joining them must leave the caller's bytes alone.
func TestListInPieces(t *testing.T) {
	t.Parallel()
	one, two := string([]byte{0, 0, 0x80, 0x3f}), string([]byte{0, 0, 0, 0x40})
	w := message{}.num(2, 1).str(8, "w").num(1, 4).str(4, one)
	w = protowire.AppendFixed32(protowire.AppendTag(w, 4, protowire.Fixed32Type), math.Float32bits(3))
	w = w.str(4, two).str(4, one)
	i := message{}.num(2, 7).str(8, "i").str(1, "\x01\x03").num(7, 5).str(7, "\x06\x07")
	data := modelOf(message{}.sub(5, w).sub(5, i), identity)
	before := slices.Clone(data)
	m := mustDecode(t, data)
	if !slices.Equal(data, before) {
		t.Error("the model's bytes have changed")
	}
	if got := tensor.Values[float32](m.Initializers["w"]); !slices.Equal(got, []float32{1, 3, 2, 1}) {
		t.Errorf("floats %v", got)
	}
	if v := m.Initializers["i"]; !slices.Equal(v.Shape(), []int{1, 3}) || !slices.Equal(tensor.Values[int64](v), []int64{5, 6, 7}) {
		t.Errorf("integers %v %v", v.Shape(), tensor.Values[int64](v))
	}
}

// published returns a model that is not part of the repository, or skips the test.
func published(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "data", "models", name))
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("%s is not here", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// want of each published model, as the onnx package counts it.
var publishedModels = map[string]struct {
	opset        int
	producer     string
	initializers int
	in, out      string
	ops          map[string]int
}{
	"SINet_Softmax_simple.onnx": {12, "pytorch 1.6", 225 + 9, "data float32 [1 3 320 320]", "Softmax/1 float32 [1 2 320 320]", map[string]int{"Conv": 58, "PRelu": 39, "Reshape": 24, "BatchNormalization": 20, "Transpose": 15, "Concat": 13, "Add": 9, "Resize": 9, "AveragePool": 8, "Gemm": 3, "Mul": 3, "Flatten": 2, "Softmax": 2, "MaxPool": 1, "Sub": 1, "Expand": 1}},
	"deeplab_nchw.onnx":         {8, "tf2onnx 1.5.6", 110, "MobilenetV2/MobilenetV2/input:0 float32 [1 3 513 513]", "transpose:0 float32 [1 2 513 513]", map[string]int{"Conv": 55, "Clip": 34, "Add": 10, "Relu": 3, "Upsample": 3, "AveragePool": 1, "Concat": 1}},
	"mediapipe.onnx":            {12, "tf2onnx 1.7.2", 115 + 11, "input_1:0 float32 [1 144 256 3]", "segment:0 float32 [1 144 256 2]", map[string]int{"Conv": 42, "Add": 34, "Mul": 32, "Reshape": 30, "Clip": 21, "Transpose": 14, "MatMul": 12, "AveragePool": 10, "Sigmoid": 10, "Relu": 9, "Resize": 3, "Concat": 3, "ConvTranspose": 1}},
	"prisma_nchw.onnx":          {7, "OnnxMLTools 1.7.0", 158, "input_3 float32 [None 3 256 256]", "permute_1 float32 [None 1 256 256]", map[string]int{"Conv": 97, "Relu": 46, "Add": 27, "ConvTranspose": 5, "Sigmoid": 1}},
	"selfie_segmentation.onnx":  {11, "tf2onnx 1.8.4", 115 + 6, "input_1:0 float32 [1 256 256 3]", "activation_10 float32 [1 256 256 1]", map[string]int{"Conv": 54, "Mul": 32, "Add": 26, "Relu": 22, "Clip": 11, "Sigmoid": 11, "AveragePool": 10, "Shape": 3, "Slice": 3, "Concat": 3, "Resize": 3, "Transpose": 1, "ConvTranspose": 1, "Reshape": 1}},
	"u2netp.onnx":               {11, "pytorch 1.9", 238, "input.1 float32 [1 3 320 320]", "1959 float32 [1 1 320 320]", map[string]int{"Constant": 266, "Concat": 127, "Conv": 119, "Shape": 114, "Relu": 112, "Gather": 76, "Unsqueeze": 76, "Slice": 38, "Cast": 38, "Resize": 38, "MaxPool": 33, "Add": 11, "Sigmoid": 7}},
}

func describe(v graph.ValueInfo) string {
	dims := make([]string, len(v.Dims))
	for i, d := range v.Dims {
		if dims[i] = d.Symbol; d.Size >= 0 {
			dims[i] = fmt.Sprint(d.Size)
		}
	}
	return fmt.Sprintf("%s %s [%s]", v.Name, v.DType, strings.Join(dims, " "))
}

func publishedOrOwn(t testing.TB, name string) []byte {
	if name == "u2netp.onnx" {
		return read(t, "..", "..", "weights", name)
	}
	return published(t, name)
}

func TestPublishedModels(t *testing.T) {
	t.Parallel()
	for name, want := range publishedModels {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mustDecode(t, publishedOrOwn(t, name))
			count := map[string]int{}
			for _, n := range m.Nodes {
				count[n.OpType]++
				if n.OpType == "Resize" && (len(n.Inputs) < 3 || n.Inputs[1] != "") {
					t.Errorf("%s reads %q, want the region of interest omitted", n, n.Inputs)
				}
			}
			if diff := cmp.Diff(want.ops, count); diff != "" {
				t.Errorf("operators (-want +got):\n%s", diff)
			}
			if m.Opsets[""] != want.opset || m.Producer != want.producer || len(m.Initializers) != want.initializers {
				t.Errorf("opset %d, producer %q, %d initializers", m.Opsets[""], m.Producer, len(m.Initializers))
			}
			if len(m.Inputs) != 1 || describe(m.Inputs[0]) != want.in || describe(m.Outputs[0]) != want.out {
				t.Errorf("inputs %v, outputs %v", m.Inputs, m.Outputs)
			}
		})
	}
}

// sub calls visit for each field of the given number that holds bytes, reading the wire format on its own account.
func sub(t testing.TB, msg []byte, num protowire.Number, visit func([]byte)) {
	t.Helper()
	for len(msg) > 0 {
		n, typ, tag := protowire.ConsumeTag(msg)
		if tag < 0 {
			t.Fatal("broken protobuf")
		}
		size := protowire.ConsumeFieldValue(n, typ, msg[tag:])
		if size < 0 {
			t.Fatal("broken protobuf")
		}
		if n == num && typ == protowire.BytesType {
			v, _ := protowire.ConsumeBytes(msg[tag:])
			visit(v)
		}
		msg = msg[tag+size:]
	}
}

// What Decode returns has as many nodes as the bytes on the wire, in their order where that is sorted, and
// initializers with the same bytes.
func TestAgainstWire(t *testing.T) {
	t.Parallel()
	for name := range publishedModels {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := publishedOrOwn(t, name)
			m := mustDecode(t, data)
			var operators, first, got, gotFirst []string
			sums := map[string]uint32{}
			sub(t, data, 7, func(g []byte) {
				sub(t, g, 1, func(n []byte) {
					sub(t, n, 4, func(op []byte) { operators = append(operators, string(op)) })
					size := len(first)
					sub(t, n, 2, func(out []byte) { first = append(first[:size], string(out)) })
				})
				sub(t, g, 5, func(init []byte) {
					label := ""
					sub(t, init, 8, func(s []byte) { label = string(s) })
					raw := false
					sub(t, init, 9, func(b []byte) { sums[label], raw = crc32.ChecksumIEEE(b), true })
					if !raw { // float_data has the same bytes; int64_data is compared by TestAgainstOnnxGo
						sub(t, init, 4, func(b []byte) { sums[label] = crc32.ChecksumIEEE(b) })
					}
				})
			})
			for _, n := range m.Nodes {
				got, gotFirst = append(got, n.OpType), append(gotFirst, n.Results[len(n.Results)-1])
			}
			if !slices.Equal(got, operators) || !slices.Equal(gotFirst, first) {
				t.Errorf("%d nodes, %d on the wire, or in another order", len(got), len(operators))
			}
			for label, want := range sums {
				raw, err := binary.Append(nil, binary.LittleEndian, backing(m.Initializers[label]))
				if err != nil {
					t.Fatal(err)
				}
				if sum := crc32.ChecksumIEEE(raw); sum != want {
					t.Errorf("initializer %q has checksum %08x, on the wire %08x", label, sum, want)
				}
			}
			if len(sums) < len(m.Initializers)*3/4 {
				t.Errorf("%d of %d initializers compared", len(sums), len(m.Initializers))
			}
		})
	}
}

func backing(v *tensor.Tensor) any {
	if v.DType() == tensor.Int64 {
		return tensor.Values[int64](v)
	}
	return tensor.Values[float32](v)
}

// Where onnx-go takes a file as it stands, both ways must lead to the same graph.
func TestAgainstOnnxGo(t *testing.T) {
	t.Parallel()
	taken := 0
	for _, name := range slices.Sorted(maps.Keys(publishedModels)) {
		path := filepath.Join("..", "..", "..", "shared", "data", "models", name)
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		m := mustDecode(t, data)
		b := &backend{resolve: convert}
		if _, err := decode(b, data); err != nil {
			t.Logf("%s: onnx-go alone: %v", name, err)
			continue
		}
		taken++
		if len(b.calls) != len(m.Nodes) {
			t.Fatalf("%s: %d nodes, onnx-go alone %d", name, len(m.Nodes), len(b.calls))
		}
		for i, c := range b.calls {
			n := m.Nodes[i]
			if n.OpType != c.opType || len(n.Results) > len(c.results) || !slices.Equal(n.Results, c.results[:len(n.Results)]) {
				t.Errorf("%s: %s writes %q; onnx-go alone: %s, %q", name, n, n.Results, c.opType, c.results)
			}
			for k, in := range c.inputs {
				if k < len(n.Inputs) && n.Inputs[k] == in {
					continue
				}
				if v := initializer(b, in); v == nil || v.Len() != 0 {
					t.Errorf("%s: input %d of %s is not %q", name, k, n, in)
				}
			}
			if diff := cmp.Diff(c.attrs, n.Attrs, cmp.Comparer(same)); diff != "" {
				t.Errorf("%s: %s (-onnx-go +got):\n%s", name, n, diff)
			}
		}
		for label, v := range m.Initializers {
			if alone := initializer(b, label); alone == nil || !same(alone, v) {
				t.Errorf("%s: initializer %q differs", name, label)
			}
		}
	}
	if taken == 0 {
		t.Skip("no published model is here")
	}
	t.Logf("%d models compared", taken)
}

func initializer(b *backend, name string) *tensor.Tensor {
	for _, v := range b.vertices {
		if v.name == name {
			return v.tensor
		}
	}
	return nil
}

func same(a, b *tensor.Tensor) bool {
	return a.DType() == b.DType() && slices.Equal(a.Shape(), b.Shape()) && slices.Equal(elements(a), elements(b))
}

// convert copies a tensor of onnx-go's.
func convert(t gorgonia.Tensor) (*tensor.Tensor, error) {
	shape := append([]int{}, t.Shape()...)
	switch v := t.Data().(type) {
	case float32:
		return tensor.Of([]float32{v}, shape...), nil
	case []float32:
		return tensor.Of(slices.Clone(v), shape...), nil
	case int64:
		return tensor.Of([]int64{v}, shape...), nil
	case []int64:
		return tensor.Of(slices.Clone(v), shape...), nil
	default:
		return nil, fmt.Errorf("onnx-go yields %T", v)
	}
}

// The graph that onnx-go builds answers what gonum asks of a directed graph.
func TestBackendIsGraph(t *testing.T) {
	t.Parallel()
	c, err := normalise(modelOf(nil,
		nodeOf("Mul", []string{"x", "x"}, []string{"sq"}), nodeOf("Add", []string{"sq", "x"}, []string{"y"})))
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{resolve: c.resolve}
	if _, err := decode(b, c.message); err != nil {
		t.Fatal(err)
	}
	id := map[string]int64{}
	for it := b.Nodes(); it.Next(); {
		v, ok := b.Node(it.Node().ID()).(*vertex)
		if !ok {
			t.Fatalf("no vertex %d", it.Node().ID())
		}
		id[v.GetName()] = v.ID()
	}
	if b.From(id["sq"]).Len() != 1 || b.From(id["y"]).Len() != 2 || b.To(id["x"]).Len() != 2 || b.To(id["y"]).Len() != 0 {
		t.Error("wrong neighbours")
	}
	if !b.HasEdgeFromTo(id["y"], id["sq"]) || b.HasEdgeFromTo(id["sq"], id["y"]) || !b.HasEdgeBetween(id["sq"], id["y"]) {
		t.Error("wrong edges")
	}
	if e := b.Edge(id["sq"], id["x"]); e == nil || e.ReversedEdge().From().ID() != id["x"] || e.To().ID() != id["x"] {
		t.Errorf("edge %v", e)
	}
	if b.Node(-1) != nil || b.Node(99) != nil {
		t.Error("vertices that do not exist")
	}
	var _ onnxgo.Backend = b
}

// Cut and damaged files: an error or a sound model.
func TestDamaged(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"types", "constants", "wiring", "attributes", "subgraph"} {
		data := read(t, "testdata", name+".onnx")
		for i := 0; i < len(data); i += 1 + len(data)/1000 {
			if i%4 == 0 {
				if m, err := Decode(data[:i]); err == nil {
					checkSound(t, m)
				}
			}
			damaged := slices.Clone(data)
			damaged[i] ^= []byte{1, 0x80, 0xff}[i%3]
			if m, err := Decode(damaged); err == nil {
				checkSound(t, m)
			} else if strings.Contains(err.Error(), "onnx-go") {
				t.Errorf("%s, byte %d damaged: the normalised message fails: %v", name, i, err)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.onnx"))
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, path := range files {
		f.Add(read(f, path))
	}
	f.Add([]byte(modelOf(nil, identity)))
	f.Fuzz(func(t *testing.T, data []byte) {
		before := slices.Clone(data)
		m, err := Decode(data)
		if !slices.Equal(data, before) {
			t.Error("the model's bytes have changed")
		}
		if err == nil {
			checkSound(t, m)
			return
		}
		if strings.Contains(err.Error(), "onnx-go") {
			t.Errorf("the normalised message fails: %v", err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	data := read(b, "..", "..", "weights", "u2netp.onnx")
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}
