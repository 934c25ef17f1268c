package npy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"cutout/inference/tensor"
)

func file(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".npy"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// elements returns the elements as float64.
func elements(t *tensor.Tensor) []float64 {
	_, data := encoding(t)
	var out []float64
	switch v := data.(type) {
	case []bool:
		for _, x := range v {
			if x {
				out = append(out, 1)
			} else {
				out = append(out, 0)
			}
		}
		return out
	case []float32:
		return floats(v)
	case []float64:
		return floats(v)
	case []int8:
		return floats(v)
	case []int16:
		return floats(v)
	case []int32:
		return floats(v)
	case []int64:
		return floats(v)
	case []uint8:
		return floats(v)
	case []uint16:
		return floats(v)
	case []uint32:
		return floats(v)
	case []uint64:
		return floats(v)
	}
	panic("no such type")
}

func floats[T tensor.Number](v []T) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}

func counting(n int, step float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = step * float64(i)
	}
	return out
}

func TestReadWhatNumPyWrites(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		dtype  tensor.DType
		shape  []int
		values []float64
	}{
		"b1":     {tensor.Bool, []int{2, 3}, []float64{0, 1, 0, 1, 0, 1}},
		"i1":     {tensor.Int8, []int{2, 3}, counting(6, 1)},
		"i2":     {tensor.Int16, []int{2, 3}, counting(6, 1)},
		"i2_big": {tensor.Int16, []int{2, 3}, counting(6, 1)},
		"i4":     {tensor.Int32, []int{2, 3}, counting(6, 1)},
		"i4_big": {tensor.Int32, []int{2, 3}, counting(6, 1)},
		"i8":     {tensor.Int64, []int{2, 3}, counting(6, 1)},
		"i8_big": {tensor.Int64, []int{2, 3}, counting(6, 1)},
		"u1":     {tensor.Uint8, []int{2, 3}, counting(6, 1)},
		"u2":     {tensor.Uint16, []int{2, 3}, counting(6, 1)},
		"u2_big": {tensor.Uint16, []int{2, 3}, counting(6, 1)},
		"u4":     {tensor.Uint32, []int{2, 3}, counting(6, 1)},
		"u4_big": {tensor.Uint32, []int{2, 3}, counting(6, 1)},
		"u8":     {tensor.Uint64, []int{2, 3}, counting(6, 1)},
		"u8_big": {tensor.Uint64, []int{2, 3}, counting(6, 1)},
		"f4":     {tensor.Float32, []int{2, 3}, counting(6, 1)},
		"f4_big": {tensor.Float32, []int{2, 3}, counting(6, 1)},
		"f8":     {tensor.Float64, []int{2, 3}, counting(6, 1)},
		"f8_big": {tensor.Float64, []int{2, 3}, counting(6, 1)},
		"half":   {tensor.Float32, []int{2, 3}, counting(6, 0.5)},

		"fortran": {tensor.Float32, []int{2, 3, 4}, counting(24, 1)},
		"scalar":  {tensor.Float32, []int{}, []float64{0}},
		"vector":  {tensor.Float32, []int{3}, counting(3, 1)},
		"empty":   {tensor.Float32, []int{0, 3}, []float64{}},
		"v2":      {tensor.Float32, []int{2, 3}, counting(6, 1)},
		"v3":      {tensor.Float32, []int{2, 3}, counting(6, 1)},
	} {
		// One byte at a time: a reader need not yield what is asked for at once.
		got, err := Read(iotest.OneByteReader(bytes.NewReader(file(t, name))), 24)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.DType() != want.dtype || !slices.Equal(got.Shape(), want.shape) || !slices.Equal(elements(got), want.values) {
			t.Errorf("%s is %s %v %v, want %v", name, got.DType(), got.Shape(), elements(got), want)
		}
	}
}

// What is written is what NumPy writes, byte for byte.
func TestWriteAsNumPy(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8", "scalar", "vector", "empty"} {
		want := file(t, name)
		v, err := Read(bytes.NewReader(want), 24)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := Write(&got, v); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s:\n got %q\nwant %q", name, got.Bytes(), want)
		}
	}
}

// array returns a file of version 1 with the given header.
func array(head, data string) string {
	return magic + "\x01\x00" + string(binary.LittleEndian.AppendUint16(nil, uint16(len(head)))) + head + data
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	const good = "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }"
	for name, c := range map[string]struct{ data, says string }{
		"nothing":           {"", "ends within the header"},
		"a picture":         {"\x89PNG\r\n\x1a\n\x00\x00\x00", "does not start"},
		"an archive":        {"PK\x03\x04\x00\x00\x00\x00\x00\x00", "does not start"},
		"version 4":         {magic + "\x04\x00\x00\x00", "version 4"},
		"cut in the size":   {magic + "\x01\x00\x10", "ends within the header"},
		"cut in the header": {magic + "\x01\x00\x10\x00{", "ends within the header"},
		"huge header":       {magic + "\x02\x00\xff\xff\xff\xff", "header of 4294967295 bytes"},
		"not text":          {array("\xff\xfe", ""), "not text"},
		"cut elements":      {array(good, "a"), "ends after 1 of 2 bytes"},
		"no dictionary":     {array("[]", ""), "cannot be read"},
		"empty dictionary":  {array("{}", ""), "cannot be read"},
		"missing shape":     {array("{'descr': '|u1', 'fortran_order': False}", "a"), "cannot be read"},
		"key twice":         {array("{'descr': '|u1', 'descr': '|u1'}", "a"), "twice"},
		"unknown key":       {array("{'descr': '|u1', 'x': '|u1'}", "a"), `"x"`},
		"rest":              {array(good+" x", "ab"), "cannot be read"},
		"negative":          {array("{'descr': '|u1', 'fortran_order': False, 'shape': (-2,), }", "ab"), "cannot be read"},
		"shape of text":     {array("{'descr': '|u1', 'fortran_order': False, 'shape': ('2',), }", "ab"), "cannot be read"},
		"order of text":     {array("{'descr': '|u1', 'fortran_order': 'no', 'shape': (2,), }", "ab"), "cannot be read"},
		"open string":       {array("{'descr", ""), "cannot be read"},
		"too many sizes":    {array("{'descr': '|u1', 'fortran_order': False, 'shape': ("+strings.Repeat("1,", 65)+"), }", "a"), "cannot be read"},
		"overflow":          {array("{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", ""), "impossible"},
		"number too long":   {array("{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,), }", ""), "cannot be read"},
		"complex":           {string(file(t, "complex")), "<c8"},
		"strings":           {string(file(t, "text")), "<U1"},
		"records":           {string(file(t, "records")), "structured"},
		"odd order":         {array("{'descr': '?u1', 'fortran_order': False, 'shape': (2,), }", "ab"), "?u1"},
	} {
		_, err := Read(strings.NewReader(c.data), 1<<20)
		var format *FormatError
		if !errors.As(err, &format) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want a FormatError that says %q", name, err, c.says)
		}
	}
	if _, err := Read(strings.NewReader(array(good, "ab")), 1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("two elements where one is allowed: %v", err)
	}
	broken := errors.New("broken")
	for _, n := range []int{3, 8, 40, len(array(good, ""))} {
		_, err := Read(&failing{data: array(good, "ab")[:n], err: broken}, 9)
		if !errors.Is(err, broken) {
			t.Errorf("reader that fails after %d bytes: %v", n, err)
		}
	}
}

// failing yields its data and then its error.
type failing struct {
	data string
	err  error
}

func (f *failing) Read(p []byte) (int, error) {
	if f.data == "" {
		return 0, f.err
	}
	n := copy(p, f.data)
	f.data = f.data[n:]
	return n, nil
}

// full fails once it has taken room bytes.
type full struct{ room int }

func (f *full) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, errors.New("full")
	}
	return len(p), nil
}

func TestWriteFails(t *testing.T) {
	t.Parallel()
	for _, room := range []int{0, 128} {
		if err := Write(&full{room}, tensor.Of([]float32{1, 2}, 2)); err == nil {
			t.Errorf("no error from a writer with room for %d bytes", room)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		shape := rapid.SliceOfN(rapid.IntRange(0, 4), 0, 5).Draw(t, "shape")
		bits := rapid.SliceOfN(rapid.Uint32(), tensor.Count(shape), tensor.Count(shape)).Draw(t, "bits")
		values := make([]float32, len(bits))
		for i, b := range bits {
			values[i] = math.Float32frombits(b)
		}
		var b bytes.Buffer
		if err := Write(&b, tensor.Of(values, shape...)); err != nil {
			t.Fatal(err)
		}
		got, err := Read(&b, len(bits))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Shape(), shape) || b.Len() != 0 {
			t.Fatalf("shape %v became %v, %d bytes are left", shape, got.Shape(), b.Len())
		}
		for i, v := range tensor.Values[float32](got) {
			if math.Float32bits(v) != bits[i] {
				t.Fatalf("element %d: %08x became %08x", i, bits[i], math.Float32bits(v))
			}
		}
	})
}

// Fortran order is the transpose of row-major order.
func TestFortran(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		shape := rapid.SliceOfN(rapid.IntRange(0, 4), 0, 4).Draw(t, "shape")
		n := tensor.Count(shape)
		steps := make([]int, len(shape)) // of Fortran order: the first dimension is the fastest
		step := 1
		for i, d := range shape {
			steps[i] = step
			step *= d
		}
		data := make([]byte, n)
		want := make([]uint8, n)
		at := make([]int, len(shape))
		for i := range want {
			want[i] = uint8(i)
			from := 0
			for d := range at {
				from += at[d] * steps[d]
			}
			data[from] = uint8(i)
			for d := len(at) - 1; d >= 0; d-- {
				if at[d]++; at[d] < shape[d] {
					break
				}
				at[d] = 0
			}
		}
		tuple := ""
		for _, d := range shape {
			tuple += fmt.Sprint(d, ",")
		}
		head := fmt.Sprintf("{'descr': '|u1', 'fortran_order': True, 'shape': (%s)}", tuple)
		got, err := Read(strings.NewReader(array(head, string(data))), n)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Shape(), shape) || !slices.Equal(tensor.Values[uint8](got), want) {
			t.Fatalf("%v %v, want %v %v", got.Shape(), tensor.Values[uint8](got), shape, want)
		}
	})
}

func FuzzRead(f *testing.F) {
	names, err := filepath.Glob(filepath.Join("testdata", "*.npy"))
	if err != nil || len(names) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := Read(bytes.NewReader(data), 1<<16)
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := Write(&b, v); err != nil {
			t.Fatal(err)
		}
		again, err := Read(&b, 1<<16)
		if err != nil || again.DType() != v.DType() || !slices.Equal(again.Shape(), v.Shape()) {
			t.Fatalf("written and read again: %v, %v", again, err)
		}
	})
}
