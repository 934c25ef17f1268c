package ops

import "slices"

// neuralOps holds the operators that carry weights or windows: convolution, pooling, normalisation, resizing,
// matrix products and their quantised forms.
func neuralOps() []Op {
	return slices.Concat(
		convOps(),
		poolOps(),
		matmulOps(),
		normOps(),
	)
}
