package ops

import (
	"cutout/inference/tensor"
)

// copyView copies elements between two strided views: for every index of shape,
// dst[dstOffset + index·dstStrides] = src[srcOffset + index·srcStrides]. Both tensors hold one type.
// Transpose, Slice, Concat, Split, Tile and their kin are all of this form.
func copyView(shape []int, dst *tensor.Tensor, dstOffset int, dstStrides []int, src *tensor.Tensor, srcOffset int, srcStrides []int) {
	switch src.DType() {
	case tensor.Float32:
		copyRows(shape, tensor.Values[float32](dst), dstOffset, dstStrides, tensor.Values[float32](src), srcOffset, srcStrides)
	case tensor.Float64:
		copyRows(shape, tensor.Values[float64](dst), dstOffset, dstStrides, tensor.Values[float64](src), srcOffset, srcStrides)
	case tensor.Int8:
		copyRows(shape, tensor.Values[int8](dst), dstOffset, dstStrides, tensor.Values[int8](src), srcOffset, srcStrides)
	case tensor.Int16:
		copyRows(shape, tensor.Values[int16](dst), dstOffset, dstStrides, tensor.Values[int16](src), srcOffset, srcStrides)
	case tensor.Int32:
		copyRows(shape, tensor.Values[int32](dst), dstOffset, dstStrides, tensor.Values[int32](src), srcOffset, srcStrides)
	case tensor.Int64:
		copyRows(shape, tensor.Values[int64](dst), dstOffset, dstStrides, tensor.Values[int64](src), srcOffset, srcStrides)
	case tensor.Uint8:
		copyRows(shape, tensor.Values[uint8](dst), dstOffset, dstStrides, tensor.Values[uint8](src), srcOffset, srcStrides)
	case tensor.Uint16:
		copyRows(shape, tensor.Values[uint16](dst), dstOffset, dstStrides, tensor.Values[uint16](src), srcOffset, srcStrides)
	case tensor.Uint32:
		copyRows(shape, tensor.Values[uint32](dst), dstOffset, dstStrides, tensor.Values[uint32](src), srcOffset, srcStrides)
	case tensor.Uint64:
		copyRows(shape, tensor.Values[uint64](dst), dstOffset, dstStrides, tensor.Values[uint64](src), srcOffset, srcStrides)
	case tensor.Bool:
		copyRows(shape, tensor.Values[bool](dst), dstOffset, dstStrides, tensor.Values[bool](src), srcOffset, srcStrides)
	}
}

func copyRows[T any](shape []int, dst []T, dstOffset int, dstStrides []int, src []T, srcOffset int, srcStrides []int) {
	p := planRows(shape, dstStrides, srcStrides)
	p.each(func(o []int) {
		d, s := dstOffset+o[0], srcOffset+o[1]
		switch dstStep, srcStep := at(p.step, 0), at(p.step, 1); {
		case p.n == 1:
			dst[d] = src[s]
		case dstStep == 1 && srcStep == 1:
			copy(dst[d:d+p.n], src[s:s+p.n])
		case dstStep == 1 && srcStep == 0:
			fill(dst[d:d+p.n], src[s])
		default:
			for range p.n {
				dst[d] = src[s]
				d += dstStep
				s += srcStep
			}
		}
	})
}

// transpose returns t with its dimensions in the order of perm.
func transpose(t *tensor.Tensor, perm []int) *tensor.Tensor {
	shape := make([]int, len(perm))
	strides := make([]int, len(perm))
	own := tensor.Strides(t.Shape())
	for i, p := range perm {
		shape[i], strides[i] = t.Shape()[p], own[p]
	}
	dst := tensor.New(t.DType(), shape...)
	copyView(shape, dst, 0, tensor.Strides(shape), t, 0, strides)
	return dst
}

// takeBlocks returns a tensor of the given shape made of blocks of src: block i is src's block index[i], or zeros
// where index[i] is negative.
func takeBlocks(shape []int, src *tensor.Tensor, index []int, block int) *tensor.Tensor {
	switch src.DType() {
	case tensor.Float32:
		return take[float32](shape, src, index, block)
	case tensor.Float64:
		return take[float64](shape, src, index, block)
	case tensor.Int8:
		return take[int8](shape, src, index, block)
	case tensor.Int16:
		return take[int16](shape, src, index, block)
	case tensor.Int32:
		return take[int32](shape, src, index, block)
	case tensor.Int64:
		return take[int64](shape, src, index, block)
	case tensor.Uint8:
		return take[uint8](shape, src, index, block)
	case tensor.Uint16:
		return take[uint16](shape, src, index, block)
	case tensor.Uint32:
		return take[uint32](shape, src, index, block)
	case tensor.Uint64:
		return take[uint64](shape, src, index, block)
	default:
		return take[bool](shape, src, index, block)
	}
}

func take[T tensor.Element](shape []int, src *tensor.Tensor, index []int, block int) *tensor.Tensor {
	v := tensor.Values[T](src)
	dst := make([]T, tensor.Count(shape))
	if block == 1 {
		for i, k := range index {
			if k >= 0 {
				dst[i] = v[k]
			}
		}
		return tensor.Of(dst, shape...)
	}
	for i, k := range index {
		if k >= 0 {
			copy(dst[i*block:(i+1)*block], v[k*block:(k+1)*block])
		}
	}
	return tensor.Of(dst, shape...)
}

// duplicate returns a copy of t that shares no elements with it.
func duplicate(t *tensor.Tensor) *tensor.Tensor {
	dst := tensor.New(t.DType(), t.Shape()...)
	copyView([]int{t.Len()}, dst, 0, []int{1}, t, 0, []int{1})
	return dst
}

// volume multiplies the sizes of some dimensions of a checked shape.
func volume(dims []int) int {
	n := 1
	for _, d := range dims {
		n *= d
	}
	return n
}
