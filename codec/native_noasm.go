//go:build !amd64 || noasm

package codec

const hasNative = false

func acrossNative(_, _ *[4][]byte, _ *packedWeights) bool { return false }

func downNative(_, _ []byte, _ int, _ []uint32) bool { return false }
