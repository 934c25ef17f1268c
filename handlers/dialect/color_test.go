package dialect

import (
	"image/color"
	"testing"
)

func TestParseColor(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]color.NRGBA{
		"fff": {255, 255, 255, 255}, "#81d4fa": {0x81, 0xd4, 0xfa, 255}, "81d4fa77": {0x81, 0xd4, 0xfa, 0x77},
		"F0a8": {255, 0, 0xaa, 0x88}, "Green\n": {0, 128, 0, 255}, "rebeccapurple": {}, "transparent": {}, "#000": {0, 0, 0, 255},
	} {
		got, ok := ParseColor(in)
		if in == "rebeccapurple" { // CSS 4's only addition is not in SVG 1.1
			if ok {
				t.Errorf("%s: %v", in, got)
			}
			continue
		}
		if !ok || got != want {
			t.Errorf("%q: %v, %v, want %v", in, got, ok, want)
		}
	}
	for _, in := range []string{"", "#", "f", "ff", "fffff", "fffffff", "ggg", "##fff", "rgb(1,2,3)", "0x112233"} {
		if got, ok := ParseColor(in); ok {
			t.Errorf("%q is taken as %v", in, got)
		}
	}
}

func FuzzParseColor(f *testing.F) {
	f.Add("#81d4fa")
	f.Add("ñññ")
	f.Fuzz(func(t *testing.T, s string) {
		if c, ok := ParseColor(s); !ok && c != (color.NRGBA{}) {
			t.Errorf("%q is refused with %v", s, c)
		}
	})
}
