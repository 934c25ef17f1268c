package ops

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"testing"

	"cutout/inference/tensor"
)

// attribute names and what a well-meaning model puts there: i integer, I integers, f float, F floats, s string, t tensor
var attributeKinds = map[string]byte{
	"activation_alpha": 'F', "align_corners": 'i', "allowzero": 'i', "alpha": 'f', "antialias": 'i', "approximate": 's',
	"auto_pad": 's', "axes": 'I', "axis": 'i', "batch_axis": 'i', "batch_dims": 'i', "beta": 'f', "bias": 'f',
	"block_size": 'i', "blocksize": 'i', "broadcast": 'i', "ceil_mode": 'i', "coordinate_transformation_mode": 's',
	"count_include_pad": 'i', "cubic_coeff_a": 'f', "detect_negative": 'i', "detect_positive": 'i', "dilations": 'I',
	"direction": 's', "dtype": 'i', "end": 'i', "ends": 'I', "epsilon": 'f', "equation": 's', "exclude_outside": 'i',
	"exclusive": 'i', "extrapolation_value": 'f', "fmod": 'i', "gamma": 'f', "group": 'i', "height_scale": 'f', "is_test": 'i',
	"k": 'i', "keep_aspect_ratio_policy": 's', "keepdims": 'i', "kernel_shape": 'I', "lambd": 'f', "largest": 'i', "max": 'f',
	"min": 'f', "mode": 's', "momentum": 'f', "nearest_mode": 's', "noop_with_empty_axes": 'i', "num_groups": 'i',
	"num_outputs": 'i', "output_dtype": 'i', "output_padding": 'I', "output_shape": 'I', "p": 'i', "padding_mode": 's',
	"paddings": 'I', "pads": 'I', "perm": 'I', "ratio": 'f', "reduction": 's', "reverse": 'i', "saturate": 'i', "scales": 'F',
	"select_last_index": 'i', "shape": 'I', "size": 'i', "sorted": 'i', "spatial": 'i', "split": 'I', "start": 'i',
	"starts": 'I', "stash_type": 'i', "storage_order": 'i', "strides": 'I', "time_axis": 'i', "to": 'i', "transA": 'i',
	"transB": 'i', "training_mode": 'i', "upper": 'i', "value": 't', "value_float": 'f', "value_floats": 'F',
	"value_int": 'i', "value_ints": 'I', "width_scale": 'f',
}

var attributeWords = []string{"", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", "constant", "reflect", "edge", "wrap", "nearest", "linear",
	"cubic", "bilinear", "half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize", "pytorch_half_pixel", "floor", "ceil",
	"DCR", "CRD", "LEFT", "RIGHT", "add", "mul", "max", "min", "tanh", "none", "zeros", "border", "reflection", "not_larger",
	"ij,jk->ik", "...ij->...ji", "ii->i", "ij->", "i,i", "->", "...", "i...->j"}

// chance draws the parts of a node that may or may not make sense.
type chance struct{ *rand.Rand }

func (c chance) integer() int64 {
	if c.IntN(12) == 0 {
		return []int64{math.MinInt64, math.MinInt64 + 1, math.MaxInt64, 1 << 31, -1 << 31, 1 << 40, 1 << 62, -1 << 62}[c.IntN(8)]
	}
	return int64(c.IntN(8)) - 2
}

func (c chance) float() float32 {
	if c.IntN(12) == 0 {
		return []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), math.MaxFloat32, -math.MaxFloat32, 0, 1e-45}[c.IntN(7)]
	}
	return float32(c.IntN(17)-8) / 4
}

func (c chance) shape() []int {
	shape := make([]int, []int{0, 1, 1, 2, 2, 3, 4, 4, 5}[c.IntN(9)])
	for i := range shape {
		shape[i] = []int{0, 1, 1, 2, 2, 3, 4, 4, 6, 8}[c.IntN(10)]
	}
	return shape
}

func (c chance) tensor() *tensor.Tensor {
	shape := c.shape()
	n := tensor.Count(shape)
	switch c.IntN(8) {
	case 0, 1, 2, 3:
		v := make([]float32, n)
		for i := range v {
			v[i] = c.float()
		}
		return tensor.Of(v, shape...)
	case 4, 5:
		v := make([]int64, n)
		for i := range v {
			v[i] = c.integer()
		}
		return tensor.Of(v, shape...)
	default:
		v := make([]int64, n)
		for i := range v {
			v[i] = c.integer()
		}
		types := append(slices.Clone(numberTypes), tensor.Bool)
		return convert(tensor.Of(v, shape...), types[c.IntN(len(types))])
	}
}

func (c chance) inputs() []*tensor.Tensor {
	in := make([]*tensor.Tensor, c.IntN(6))
	for i := range in {
		like := 2 // what the first input suggests: 0 its type, 1 a list as long as its shape
		if i > 0 && in[0] != nil {
			like = c.IntN(3)
		}
		switch {
		case c.IntN(10) == 0:
		case like == 0:
			// Another tensor of the first one's type, often of its shape: else nearly every node is refused early.
			shape := in[0].Shape()
			if c.IntN(2) == 0 {
				shape = c.shape()
			}
			v := make([]float32, tensor.Count(shape))
			for k := range v {
				v[k] = c.float()
			}
			in[i] = convert(tensor.Of(v, shape...), in[0].DType())
		case like == 1:
			v := make([]int64, []int{in[0].Rank(), 2 * in[0].Rank(), 1}[c.IntN(3)])
			for k := range v {
				v[k] = c.integer()
			}
			in[i] = tensor.Of(v, len(v))
		default:
			in[i] = c.tensor()
		}
	}
	return in
}

func (c chance) attrs() Attrs {
	a := Attrs{}
	names := make([]string, 0, len(attributeKinds))
	for name := range attributeKinds {
		names = append(names, name)
	}
	slices.Sort(names)
	share := c.IntN(3)
	for _, name := range names {
		if c.IntN(4) > share {
			continue
		}
		kind := attributeKinds[name]
		if c.IntN(40) == 0 {
			kind = "iIfFst"[c.IntN(6)]
		}
		switch kind {
		case 'i':
			a[name] = c.integer()
			if c.IntN(2) == 0 {
				a[name] = int64(c.IntN(2))
			}
		case 'I':
			v := make([]int64, c.IntN(7))
			for i := range v {
				v[i] = c.integer()
				if c.IntN(2) == 0 {
					v[i] = int64(c.IntN(3))
				}
			}
			a[name] = v
		case 'f':
			a[name] = c.float()
		case 'F':
			v := make([]float32, c.IntN(6))
			for i := range v {
				v[i] = c.float()
			}
			a[name] = v
		case 's':
			a[name] = attributeWords[c.IntN(len(attributeWords))]
		default:
			a[name] = c.tensor()
		}
	}
	return a
}

// try calls one operator with arguments drawn from c and reports a broken promise. ok says whether Eval took them.
func try(op *Op, c chance) (ok bool, err error) {
	opset := op.Since + c.IntN(4)
	if op.Until > 0 {
		opset = min(opset, op.Until)
	}
	n := &Node{OpType: op.Name, Opset: opset, Attrs: c.attrs(), Outputs: 1 + c.IntN(3)/2}
	in := c.inputs()
	describe := func() string {
		return fmt.Sprintf("%s, %d outputs, attributes %v, inputs %v", n, n.Outputs, n.Attrs, typesOf(in))
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: panic: %v\n%s", describe(), p, debug.Stack())
		}
	}()
	var blind, seeing []Type
	var blindErr, seeingErr error
	if op.Infer != nil {
		blind, blindErr = op.Infer(n, typesOf(in), make([]*tensor.Tensor, len(in)))
		seeing, seeingErr = op.Infer(n, typesOf(in), in)
		if errors.Is(seeingErr, ErrDynamic) {
			return false, fmt.Errorf("%s: shape unknown with every input known", describe())
		}
		// What the planner may be asked to hold is no business of this test.
		for _, t := range seeing {
			if count, err := tensor.CheckShape(t.Shape, MaxElements); err != nil {
				return false, fmt.Errorf("%s: Infer lets %v through", describe(), t.Shape)
			} else if count > 1<<20 {
				return false, nil
			}
		}
	}
	out, evalErr := op.Call(n, in)
	if evalErr != nil {
		return false, nil
	}
	if op.Infer == nil {
		return true, nil
	}
	if seeingErr != nil {
		return false, fmt.Errorf("%s: Eval takes what Infer refuses: %w", describe(), seeingErr)
	}
	if blindErr != nil && !errors.Is(blindErr, ErrDynamic) {
		return false, fmt.Errorf("%s: Eval takes what Infer refuses without values: %w", describe(), blindErr)
	}
	for i, t := range out {
		got := Type{t.DType(), t.Shape()}
		for _, types := range [][]Type{blind, seeing} {
			if types != nil && (types[i].DType != got.DType || !slices.Equal(types[i].Shape, got.Shape)) {
				return false, fmt.Errorf("%s: Infer foretells %v, Eval yields %v", describe(), types[i], got)
			}
		}
	}
	return true, nil
}

// TestHostile feeds every operator nodes that mostly make no sense: they are errors, never panics, and what Infer
// says is what Eval does.
func TestHostile(t *testing.T) {
	t.Parallel()
	rounds := 300
	if testing.Short() {
		rounds = 100
	}
	for _, op := range All() {
		t.Run(fmt.Sprintf("%s_%d", op.Name, op.Since), func(t *testing.T) {
			t.Parallel()
			took := 0
			for seed := range rounds {
				ok, err := try(&op, chance{rand.New(rand.NewPCG(uint64(seed), 1))})
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				if ok {
					took++
				}
			}
			t.Logf("%d of %d calls were taken", took, rounds)
		})
	}
}

// FuzzOps is TestHostile without end: go test -fuzz FuzzOps.
func FuzzOps(f *testing.F) {
	all := All()
	for i := range all {
		f.Add(uint16(i), uint64(i))
	}
	f.Fuzz(func(t *testing.T, which uint16, seed uint64) {
		if _, err := try(&all[int(which)%len(all)], chance{rand.New(rand.NewPCG(seed, 2))}); err != nil {
			t.Fatal(err)
		}
	})
}
