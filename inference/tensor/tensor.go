// Package tensor holds the dense, row-major, n-dimensional arrays that flow between operators.
//
// It is a leaf: it knows neither ONNX nor kernels. Blocked layouts (NCHWc) are a matter of the planner,
// which keeps them in its own arena; a Tensor is always plain row-major.
package tensor

import (
	"fmt"
	"math"
	"slices"
)

// DType names the element type of a Tensor. The zero value is invalid.
type DType uint8

// Element types. Float16 and bfloat16 models are widened to Float32 when they are decoded, so neither occurs here.
const (
	Invalid DType = iota
	Float32
	Float64
	Int8
	Int16
	Int32
	Int64
	Uint8
	Uint16
	Uint32
	Uint64
	Bool
)

var dtypeNames = [...]string{"invalid", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"}

// String returns the Go name of the element type, such as "float32".
func (d DType) String() string {
	if int(d) < len(dtypeNames) {
		return dtypeNames[d]
	}
	return fmt.Sprintf("dtype(%d)", uint8(d))
}

// Size returns the number of bytes one element takes.
func (d DType) Size() int {
	switch d {
	case Float64, Int64, Uint64:
		return 8
	case Float32, Int32, Uint32:
		return 4
	case Int16, Uint16:
		return 2
	default:
		return 1
	}
}

// Element is the set of Go types a Tensor can hold.
type Element interface {
	float32 | float64 | int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64 | bool
}

// Number is Element without bool.
type Number interface {
	float32 | float64 | int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64
}

// Tensor is a dense row-major array. Shape may be empty (a scalar, one element) and may hold zeros (no elements).
// A Tensor is treated as immutable once an operator has returned it; Reshape shares its elements.
type Tensor struct {
	dtype DType
	shape []int
	data  any // []T of the matching Element
}

// TypeOf returns the DType of the Go type T.
func TypeOf[T Element]() DType {
	var zero T
	switch any(zero).(type) {
	case float32:
		return Float32
	case float64:
		return Float64
	case int8:
		return Int8
	case int16:
		return Int16
	case int32:
		return Int32
	case int64:
		return Int64
	case uint8:
		return Uint8
	case uint16:
		return Uint16
	case uint32:
		return Uint32
	case uint64:
		return Uint64
	default:
		return Bool
	}
}

// Of wraps data, without copying it, as a Tensor of the given shape.
// It panics when the element count does not match the shape: that is a programming error, never bad input.
func Of[T Element](data []T, shape ...int) *Tensor {
	if n := Count(shape); n != len(data) {
		panic(fmt.Sprintf("tensor: %d elements do not fill shape %v", len(data), shape))
	}
	return &Tensor{dtype: TypeOf[T](), shape: slices.Clone(shape), data: data}
}

// Scalar returns a zero-dimensional Tensor holding v.
func Scalar[T Element](v T) *Tensor { return Of([]T{v}) }

// New returns a zeroed Tensor.
func New(dtype DType, shape ...int) *Tensor {
	n := Count(shape)
	switch dtype {
	case Float32:
		return Of(make([]float32, n), shape...)
	case Float64:
		return Of(make([]float64, n), shape...)
	case Int8:
		return Of(make([]int8, n), shape...)
	case Int16:
		return Of(make([]int16, n), shape...)
	case Int32:
		return Of(make([]int32, n), shape...)
	case Int64:
		return Of(make([]int64, n), shape...)
	case Uint8:
		return Of(make([]uint8, n), shape...)
	case Uint16:
		return Of(make([]uint16, n), shape...)
	case Uint32:
		return Of(make([]uint32, n), shape...)
	case Uint64:
		return Of(make([]uint64, n), shape...)
	case Bool:
		return Of(make([]bool, n), shape...)
	default:
		panic("tensor: New of " + dtype.String())
	}
}

// Values returns the elements of t, shared and not copied. It panics when t does not hold T;
// check DType first where the type comes from a model.
func Values[T Element](t *Tensor) []T {
	v, ok := t.data.([]T)
	if !ok {
		panic(fmt.Sprintf("tensor: holds %s, asked for %s", t.dtype, TypeOf[T]()))
	}
	return v
}

// DType returns the element type.
func (t *Tensor) DType() DType { return t.dtype }

// Shape returns the dimensions; the caller must not change them.
func (t *Tensor) Shape() []int { return t.shape }

// Rank returns the number of dimensions.
func (t *Tensor) Rank() int { return len(t.shape) }

// Len returns the number of elements.
func (t *Tensor) Len() int { return Count(t.shape) }

// Reshape returns a Tensor of another shape that shares t's elements, or an error when the counts differ.
func (t *Tensor) Reshape(shape ...int) (*Tensor, error) {
	if Count(shape) != t.Len() {
		return nil, fmt.Errorf("tensor: cannot reshape %v to %v", t.shape, shape)
	}
	return &Tensor{dtype: t.dtype, shape: slices.Clone(shape), data: t.data}, nil
}

// Count returns the number of elements of a shape: 1 for a scalar. It panics on a negative or overflowing shape;
// check shapes that come from a model with CheckShape first.
func Count(shape []int) int {
	n, err := CheckShape(shape, math.MaxInt)
	if err != nil {
		panic(err.Error())
	}
	return n
}

// CheckShape returns the number of elements of a shape, or an error when a dimension is negative or the count
// is over limit.
func CheckShape(shape []int, limit int) (int, error) {
	n, zero := 1, false
	for _, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("tensor: negative dimension in shape %v", shape)
		}
		if d == 0 {
			zero = true
			continue
		}
		if n > limit/d {
			return 0, fmt.Errorf("tensor: shape %v has more than %d elements", shape, limit)
		}
		n *= d
	}
	if zero {
		return 0, nil
	}
	return n, nil
}

// Strides returns the row-major strides, in elements, of a shape.
func Strides(shape []int) []int {
	s := make([]int, len(shape))
	step := 1
	for i := len(shape) - 1; i >= 0; i-- {
		s[i] = step
		step *= shape[i]
	}
	return s
}
