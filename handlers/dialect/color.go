package dialect

import (
	"encoding/hex"
	"image/color"
	"strings"

	"golang.org/x/image/colornames"
)

// ParseColor reads a colour as CSS writes it: 3, 4, 6 or 8 hexadecimal digits, with or without a # before them, the 4th
// and the last two being alpha, or one of the names of SVG 1.1 or "transparent".
func ParseColor(s string) (c color.NRGBA, ok bool) {
	s = strings.ToLower(strings.TrimSpace(s))
	if named, ok := colornames.Map[s]; ok {
		return color.NRGBA{R: named.R, G: named.G, B: named.B, A: 255}, true // none of them is transparent
	}
	if s == "transparent" {
		return color.NRGBA{}, true
	}
	digits := strings.TrimPrefix(s, "#")
	if len(digits) == 3 || len(digits) == 4 { // each digit stands for two
		var long strings.Builder
		for _, d := range digits {
			long.WriteRune(d)
			long.WriteRune(d)
		}
		digits = long.String()
	}
	b, err := hex.DecodeString(digits)
	switch {
	case err != nil:
		return color.NRGBA{}, false
	case len(b) == 3:
		return color.NRGBA{R: b[0], G: b[1], B: b[2], A: 255}, true
	case len(b) == 4:
		return color.NRGBA{R: b[0], G: b[1], B: b[2], A: b[3]}, true
	default:
		return color.NRGBA{}, false
	}
}
