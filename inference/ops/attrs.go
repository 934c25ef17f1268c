package ops

import (
	"fmt"
	"math"
	"slices"

	"cutout/inference/tensor"
)

// attr reads one attribute; absent ones yield def, those of another type an error.
func attr[T any](a Attrs, name string, def T) (T, error) {
	v, ok := a[name]
	if !ok || v == nil {
		return def, nil
	}
	t, ok := v.(T)
	if !ok {
		return def, fmt.Errorf("attribute %s holds %T, want %T", name, v, def)
	}
	return t, nil
}

// Has reports whether the attribute is present.
func (a Attrs) Has(name string) bool {
	v, ok := a[name]
	return ok && v != nil
}

// Int returns an integer attribute, def where absent.
func (a Attrs) Int(name string, def int) (int, error) {
	v, err := attr(a, name, int64(def))
	return int(v), err
}

// Bool returns an integer attribute that stands for a truth value: 0 or 1.
func (a Attrs) Bool(name string, def bool) (bool, error) {
	d := 0
	if def {
		d = 1
	}
	v, err := a.Int(name, d)
	if err == nil && v != 0 && v != 1 {
		err = fmt.Errorf("attribute %s is %d, want 0 or 1", name, v)
	}
	return v != 0, err
}

// Ints returns a list of integers, nil where absent.
func (a Attrs) Ints(name string) ([]int, error) {
	v, err := attr[[]int64](a, name, nil)
	if err != nil || !a.Has(name) {
		return nil, err
	}
	return toInts(v), nil
}

// IntsN is Ints for a list that must have n entries, or def in every entry where absent.
func (a Attrs) IntsN(name string, n, def int) ([]int, error) {
	v, err := a.Ints(name)
	if err != nil {
		return nil, err
	}
	if !a.Has(name) {
		return slices.Repeat([]int{def}, n), nil
	}
	if len(v) != n {
		return nil, fmt.Errorf("attribute %s has %d entries, want %d", name, len(v), n)
	}
	return v, nil
}

// Float returns a float attribute, def where absent.
func (a Attrs) Float(name string, def float32) (float32, error) { return attr(a, name, def) }

// Floats returns a list of floats, nil where absent.
func (a Attrs) Floats(name string) ([]float32, error) { return attr[[]float32](a, name, nil) }

// String returns a string attribute, def where absent.
func (a Attrs) String(name, def string) (string, error) { return attr(a, name, def) }

// OneOf returns a string attribute that must be one of the choices; the first choice is the default.
func (a Attrs) OneOf(name string, choices ...string) (string, error) {
	v, err := a.String(name, choices[0])
	if err != nil {
		return "", err
	}
	if !slices.Contains(choices, v) {
		return "", fmt.Errorf("attribute %s is %q, want one of %q", name, v, choices)
	}
	return v, nil
}

// Strings returns a list of strings, nil where absent.
func (a Attrs) Strings(name string) ([]string, error) { return attr[[]string](a, name, nil) }

// Tensor returns a tensor attribute, nil where absent.
func (a Attrs) Tensor(name string) (*tensor.Tensor, error) { return attr[*tensor.Tensor](a, name, nil) }

func toInts(v []int64) []int {
	out := make([]int, len(v))
	for i, x := range v {
		out[i] = int(x)
	}
	return out
}

// present reports whether input i exists: trailing optional inputs may be left out, inner ones are empty.
func present(in []Type, i int) bool { return i < len(in) && in[i].DType != tensor.Invalid }

// at returns element i of s, or the zero value past its end; trailing optional inputs need not be there.
func at[T any](s []T, i int) T {
	if i < len(s) {
		return s[i]
	}
	var zero T
	return zero
}

// want reports an input whose element type is none of those given.
func want(in []Type, i int, dtypes ...tensor.DType) error {
	if !slices.Contains(dtypes, in[i].DType) {
		return fmt.Errorf("input %d is %s, want one of %v", i, in[i].DType, dtypes)
	}
	return nil
}

// wantSame reports inputs that do not share the element type of the first one; omitted ones are passed over.
func wantSame(in []Type) error {
	for i, t := range in {
		if t.DType != in[0].DType && t.DType != tensor.Invalid {
			return fmt.Errorf("input %d is %s, input 0 is %s", i, t.DType, in[0].DType)
		}
	}
	return nil
}

// wantRank reports an input whose rank is outside lo..hi; hi below zero means no upper bound.
func wantRank(in []Type, i, lo, hi int) error {
	r := len(in[i].Shape)
	if r < lo || hi >= 0 && r > hi {
		return fmt.Errorf("input %d has rank %d (shape %v), which the operator does not take", i, r, in[i].Shape)
	}
	return nil
}

// intsValue returns the elements of input i, a list (or scalar) of int32 or int64 whose value must be known.
// ok is false where the input is omitted. An unknown value is ErrDynamic.
func intsValue(in []Type, consts []*tensor.Tensor, i int) (v []int, ok bool, err error) {
	if !present(in, i) {
		return nil, false, nil
	}
	if len(in[i].Shape) > 1 {
		return nil, false, fmt.Errorf("input %d has shape %v, want a list of integers", i, in[i].Shape)
	}
	if err := want(in, i, tensor.Int64, tensor.Int32); err != nil {
		return nil, false, err
	}
	t := at(consts, i)
	if t == nil {
		return nil, false, ErrDynamic
	}
	if t.DType() == tensor.Int32 {
		for _, x := range tensor.Values[int32](t) {
			v = append(v, int(x))
		}
		return v, true, nil
	}
	return toInts(tensor.Values[int64](t)), true, nil
}

// axisIn maps an axis in -rank..rank-1 to 0..rank-1.
func axisIn(axis, rank int) (int, error) {
	if axis < -rank || axis >= rank {
		return 0, fmt.Errorf("axis %d is out of range for rank %d", axis, rank)
	}
	if axis < 0 {
		axis += rank
	}
	return axis, nil
}

// axesIn maps axes as axisIn does and reports one that occurs twice.
func axesIn(axes []int, rank int) ([]int, error) {
	out := make([]int, len(axes))
	for i, a := range axes {
		v, err := axisIn(a, rank)
		if err != nil {
			return nil, err
		}
		if slices.Contains(out[:i], v) {
			return nil, fmt.Errorf("axis %d occurs twice in %v", a, axes)
		}
		out[i] = v
	}
	return out, nil
}

// mulSat multiplies non-negative sizes and stops at the largest int, where CheckShape will refuse the result.
func mulSat(a, b int) int {
	if a != 0 && b > math.MaxInt/a {
		return math.MaxInt
	}
	return a * b
}
