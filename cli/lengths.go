package cli

import (
	"fmt"
	"image/color"
	"regexp"
	"strconv"
	"strings"

	"cutout/handlers/dialect"
	"cutout/pipeline"
)

// parseColor reads a colour as the API does: hexadecimal digits, whose # may be missing since shells take it for a comment,
// or a name.
func parseColor(s string) (color.NRGBA, error) {
	c, ok := dialect.ParseColor(s)
	if !ok {
		return c, fmt.Errorf("%q is no colour: want #rgb, #rgba, #rrggbb, #rrggbbaa or a name such as white", s)
	}
	return c, nil
}

var lengthForm = regexp.MustCompile(`^([0-9]{1,9}(?:\.[0-9]{1,9})?)(px|%)?$`)

// parseLengths reads distances with spaces or commas between them: a number of pixels, with or without px behind it, or a
// percentage.
func parseLengths(s string) ([]pipeline.Length, error) {
	words := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' })
	all := make([]pipeline.Length, 0, len(words))
	for _, word := range words {
		m := lengthForm.FindStringSubmatch(strings.ToLower(word))
		if m == nil {
			return nil, fmt.Errorf("%q is no length: want pixels such as 20px or a percentage such as 10%%", word)
		}
		v, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return nil, err
		}
		if m[2] == "%" {
			all = append(all, pipeline.Length{Value: v / 100, Relative: true})
		} else {
			all = append(all, pipeline.Length{Value: v})
		}
	}
	return all, nil
}

// parseRegion reads left, top, right and bottom.
func parseRegion(s string) (*pipeline.Region, error) {
	l, err := parseLengths(s)
	switch {
	case err != nil:
		return nil, err
	case len(l) != 4:
		return nil, fmt.Errorf("%q: want left, top, right and bottom, such as \"10%% 0 90%% 100%%\"", s)
	}
	return &pipeline.Region{Left: l[0], Top: l[1], Right: l[2], Bottom: l[3]}, nil
}

// parseMargin reads one margin for all sides, two for above and beside, or four clockwise from the top.
func parseMargin(s string) (*pipeline.Crop, error) {
	l, err := parseLengths(s)
	if err != nil {
		return nil, err
	}
	switch len(l) {
	case 0:
		return &pipeline.Crop{}, nil
	case 1:
		return &pipeline.Crop{Top: l[0], Right: l[0], Bottom: l[0], Left: l[0]}, nil
	case 2:
		return &pipeline.Crop{Top: l[0], Right: l[1], Bottom: l[0], Left: l[1]}, nil
	case 4:
		return &pipeline.Crop{Top: l[0], Right: l[1], Bottom: l[2], Left: l[3]}, nil
	default:
		return nil, fmt.Errorf("%q: want one margin, two or four", s)
	}
}

// parsePlacement reads how large the subject is to be and where it is to stand; nil is where it is. A scale centres the
// subject unless a position is given too.
func parsePlacement(scale, position string) (*pipeline.Placement, error) {
	var place pipeline.Placement
	if s := strings.ToLower(scale); s != "" && s != "original" {
		l, err := parseLengths(s)
		if err != nil || len(l) != 1 || !l[0].Relative || l[0].Value < 0.1 || l[0].Value > 1 {
			return nil, fmt.Errorf("--scale %s: want original or a percentage from 10%% to 100%%", scale)
		}
		place.Scale = l[0].Value
	}
	switch s := strings.ToLower(position); s {
	case "", "original":
		if place.Scale == 0 {
			return nil, nil
		}
		place.X, place.Y, place.Stay = 0.5, 0.5, s == "original"
	case "center":
		place.X, place.Y = 0.5, 0.5
	default:
		l, err := parseLengths(s)
		ok := err == nil && (len(l) == 1 || len(l) == 2)
		for _, v := range l {
			ok = ok && v.Relative && v.Value <= 1
		}
		if !ok {
			return nil, fmt.Errorf("--position %s: want original, center, or one or two percentages, across and down", position)
		}
		place.X, place.Y = l[0].Value, l[len(l)-1].Value
	}
	return &place, nil
}
