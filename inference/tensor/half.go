package tensor

import "math"

// FromFloat16 returns the value that the bits of an IEEE 754 binary16 stand for. Every one has an exact float32.
func FromFloat16(bits uint16) float32 {
	sign := uint32(bits&0x8000) << 16
	exponent, mantissa := uint32(bits>>10)&0x1f, uint32(bits&0x3ff)
	switch exponent {
	case 0: // zero and subnormals: mantissa × 2⁻²⁴
		return math.Float32frombits(math.Float32bits(float32(mantissa)*0x1p-24) | sign)
	case 0x1f: // infinities and NaN
		return math.Float32frombits(sign | 0x7f800000 | mantissa<<13)
	}
	return math.Float32frombits(sign | (exponent+112)<<23 | mantissa<<13)
}

// FromBFloat16 returns the value that the bits of a bfloat16 stand for: they are the upper half of a float32.
func FromBFloat16(bits uint16) float32 { return math.Float32frombits(uint32(bits) << 16) }
