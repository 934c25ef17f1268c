package tensor

import (
	"math"
	"testing"
)

func TestFromFloat16(t *testing.T) {
	t.Parallel()
	for i := range 1 << 16 {
		b := uint16(i)
		sign := 1.0
		if b&0x8000 != 0 {
			sign = -1
		}
		exponent, mantissa := int(b>>10&0x1f), float64(b&0x3ff)
		var want float64
		switch exponent {
		case 0:
			want = math.Ldexp(mantissa, -24)
		case 31:
			want = math.Inf(1)
			if mantissa != 0 {
				want = math.NaN()
			}
		default:
			want = math.Ldexp(1024+mantissa, exponent-25)
		}
		want = math.Copysign(want, sign)
		got := float64(FromFloat16(b))
		if got != want && !(math.IsNaN(got) && math.IsNaN(want)) || math.Signbit(got) != math.Signbit(want) && !math.IsNaN(want) {
			t.Fatalf("FromFloat16(%#04x) = %g, want %g", b, got, want)
		}
	}
}

func TestFromBFloat16(t *testing.T) {
	t.Parallel()
	for bits, want := range map[uint16]float32{
		0: 0, 0x3f80: 1, 0xc2c8: -100, 0x7f80: float32(math.Inf(1)), 0x0080: 0x1p-126,
	} {
		if got := FromBFloat16(bits); got != want {
			t.Errorf("FromBFloat16(%#04x) = %g, want %g", bits, got, want)
		}
	}
}
