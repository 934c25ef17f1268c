//go:build !amd64 || noasm

package codec

const hasNative = false

func acrossNative(_, _ *[4][]byte, _ *packedWeights) bool { return false }

func downNative(_, _ []byte, _ int, _ []uint32) bool { return false }

func yccNative(_, _, _, _ []byte) bool { return false }

func chromaNative(_, _, _ []byte, _ []uint16, _, _ uint16) bool { return false }

func idctNative(_ []byte, _ int, _ []int16) bool { return false }

func subtractNative(_, _, _ []byte) int { return 0 }

func adlerNative(_ []byte, _, _ *uint32) int { return 0 }
