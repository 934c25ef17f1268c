package ops

import (
	"math"
	"slices"

	"cutout/inference/tensor"
)

// neuralOps holds the operators that carry weights or windows: convolution, pooling, normalisation, resizing,
// matrix products and their quantised forms.
func neuralOps() []Op {
	return slices.Concat(
		convOps(),
		poolOps(),
		matmulOps(),
		normOps(),
		resizeOps(),
		gridSampleOps(),
		quantOps(),
	)
}

// tensorCount is tensor.Count for a shape that may be hostile: -1 stands for one that is no shape.
func tensorCount(shape []int) int {
	n, err := tensor.CheckShape(shape, math.MaxInt)
	if err != nil {
		return -1
	}
	return n
}
