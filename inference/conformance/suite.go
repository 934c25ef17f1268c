package conformance

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"path"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"

	"cutout/inference/ops"
	"cutout/inference/tensor"
)

// Tolerances of the ONNX project's own runner.
const (
	relTolerance = 1e-3
	absTolerance = 1e-7
)

// Outcome of a case.
type Outcome int

// Outcomes.
const (
	Passed Outcome = iota
	Failed
	NotClaimed // an operator, or an opset of it, that the registry does not hold
	Omitted    // left out on purpose
)

// Result is the outcome of one case.
type Result struct {
	Case     string
	Operator string // the operator under test; "(several)" for functions spelt out as other operators
	Outcome  Outcome
	Detail   string // why it did not pass
}

// Run runs every case in cases: a directory each, with model.onnx and data sets of serialised tensors. omissions names
// the cases that are left out on purpose, with the reason; one that passes all the same counts as failed.
func Run(cases fs.FS, run Runner, omissions map[string]string) ([]Result, error) {
	entries, err := fs.ReadDir(cases, ".")
	if err != nil {
		return nil, err
	}
	var results []Result
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		r := runCase(cases, e.Name(), run)
		r.Case = e.Name()
		if reason, ok := omissions[r.Case]; ok {
			if r.Outcome == Passed {
				r.Outcome, r.Detail = Failed, "passes, but is listed as left out: "+reason
			} else {
				r.Outcome, r.Detail = Omitted, reason
			}
		}
		results = append(results, r)
	}
	return results, nil
}

func runCase(cases fs.FS, dir string, run Runner) (r Result) {
	defer func() {
		if p := recover(); p != nil {
			r.Outcome, r.Detail = Failed, fmt.Sprintf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	r.Operator = "(unread)"
	claimed := false
	fail := func(err error) Result {
		var unsupported *ops.UnsupportedError
		var left *OmittedError
		switch {
		case errors.As(err, &unsupported) && claimed:
			// The operator is there, and refuses something about this call.
			r.Outcome, r.Detail = Omitted, unsupported.Reason
		case errors.As(err, &unsupported):
			r.Outcome, r.Detail = NotClaimed, unsupported.Node.OpType
		case errors.As(err, &left):
			r.Outcome, r.Detail = Omitted, left.Reason
		default:
			r.Outcome, r.Detail = Failed, err.Error()
		}
		return r
	}
	data, err := fs.ReadFile(cases, path.Join(dir, "model.onnx"))
	if err != nil {
		return fail(err)
	}
	m, err := readModel(data)
	if err != nil {
		return fail(err)
	}
	r.Operator = m.nodes[0].OpType
	for _, n := range m.nodes[1:] {
		if n.OpType != r.Operator {
			r.Operator = "(several)"
		}
	}
	// An operator that nobody claims is not claimed, whatever types its test uses.
	for _, n := range m.nodes {
		if _, err := ops.Lookup(n.Domain, n.OpType, n.Opset); err != nil {
			return fail(err)
		}
	}
	claimed = true
	for _, v := range append(slices.Clone(m.inputs), m.outputs...) {
		if v.err != nil {
			return fail(v.err)
		}
	}
	sets, err := fs.Glob(cases, path.Join(dir, "test_data_set_*"))
	if err != nil {
		return fail(err)
	}
	if len(sets) == 0 {
		return fail(errors.New("no data sets"))
	}
	for _, set := range sets {
		inputs, err := readSet(cases, set, "input", m.inputs)
		if err != nil {
			return fail(err)
		}
		expected, err := readSet(cases, set, "output", m.outputs)
		if err != nil {
			return fail(err)
		}
		got, err := run(data, inputs)
		if err != nil {
			return fail(err)
		}
		for _, v := range m.outputs {
			if err := Compare(got[v.name], expected[v.name]); err != nil {
				return fail(fmt.Errorf("output %s: %w", v.name, err))
			}
		}
	}
	return r
}

func readSet(cases fs.FS, dir, kind string, names []value) (map[string]*tensor.Tensor, error) {
	values := map[string]*tensor.Tensor{}
	for i, v := range names {
		data, err := fs.ReadFile(cases, path.Join(dir, fmt.Sprintf("%s_%d.pb", kind, i)))
		if err != nil {
			return nil, err
		}
		_, t, err := readTensor(data)
		if err != nil {
			return nil, err
		}
		values[v.name] = t
	}
	return values, nil
}

// Compare reports how got differs from want: in type, in shape, or in an element by more than the tolerance
// (integers and truth values not at all).
func Compare(got, want *tensor.Tensor) error {
	if got == nil {
		return errors.New("missing")
	}
	if got.DType() != want.DType() || !slices.Equal(got.Shape(), want.Shape()) {
		return fmt.Errorf("is %s %v, want %s %v", got.DType(), got.Shape(), want.DType(), want.Shape())
	}
	switch want.DType() {
	case tensor.Float32:
		return compareFloats(tensor.Values[float32](got), tensor.Values[float32](want))
	case tensor.Float64:
		return compareFloats(tensor.Values[float64](got), tensor.Values[float64](want))
	}
	if !reflect.DeepEqual(elements(got), elements(want)) {
		return fmt.Errorf("is %s, want %s", cut(elements(got)), cut(elements(want)))
	}
	return nil
}

func cut(v any) string {
	s := fmt.Sprint(v)
	if len(s) > 200 {
		s = s[:200] + "..."
	}
	return s
}

func compareFloats[T float32 | float64](got, want []T) error {
	for i := range want {
		g, w := float64(got[i]), float64(want[i])
		if g == w || math.IsNaN(g) && math.IsNaN(w) {
			continue
		}
		if d := math.Abs(g - w); !(d <= absTolerance+relTolerance*math.Abs(w)) || math.IsInf(w, 0) {
			return fmt.Errorf("element %d is %g, want %g", i, g, w)
		}
	}
	return nil
}

// Report prints a table of outcomes by operator, then the reasons for what was left out, and returns the totals.
func Report(w io.Writer, results []Result) (total [4]int, err error) {
	byOp := map[string]*[4]int{}
	reasons := map[string][]string{}
	missing := map[string]int{}
	for _, r := range results {
		c := byOp[r.Operator]
		if c == nil {
			c = new([4]int)
			byOp[r.Operator] = c
		}
		c[r.Outcome]++
		total[r.Outcome]++
		switch r.Outcome {
		case Omitted:
			reasons[r.Detail] = append(reasons[r.Detail], strings.TrimPrefix(r.Case, "test_"))
		case NotClaimed:
			missing[r.Detail]++
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "operator\tpassed\tfailed\tnot claimed\tomitted\t")
	for _, name := range slices.Sorted(maps.Keys(byOp)) {
		c := byOp[name]
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t\n", name, c[Passed], c[Failed], c[NotClaimed], c[Omitted])
	}
	fmt.Fprintf(t, "total of %d\t%d\t%d\t%d\t%d\t\n", len(results), total[Passed], total[Failed], total[NotClaimed], total[Omitted])
	if err := t.Flush(); err != nil {
		return total, err
	}
	if len(missing) > 0 {
		var list []string
		for _, op := range slices.Sorted(maps.Keys(missing)) {
			list = append(list, fmt.Sprintf("%s (%d)", op, missing[op]))
		}
		if _, err := fmt.Fprintf(w, "not claimed: %s\n", strings.Join(list, ", ")); err != nil {
			return total, err
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		if _, err := fmt.Fprintf(w, "omitted, %s: %s\n", reason, strings.Join(reasons[reason], " ")); err != nil {
			return total, err
		}
	}
	return total, nil
}
