// Package compositing puts cutouts together: mask clean-up, boxes, cutout, shadow, background and crop.
//
// Everything here is a pure function on buffers; it knows neither files nor HTTP. Pictures are *image.NRGBA
// (straight alpha), masks *image.Gray, all with origin (0,0).
package compositing

import (
	"image"
	"image/color"
)

// Box is the normalised bounding box of an area: X and W are fractions of the picture's width, Y and H of its
// height, all in 0..1, with the origin at the top left.
type Box struct{ X, Y, W, H float64 }

// NormaliseBox expresses r, in pixels, as fractions of a width x height picture.
func NormaliseBox(r image.Rectangle, width, height int) Box {
	w, h := float64(width), float64(height)
	return Box{X: float64(r.Min.X) / w, Y: float64(r.Min.Y) / h, W: float64(r.Dx()) / w, H: float64(r.Dy()) / h}
}

// Shadow describes a shadow that follows the subject's silhouette: a dark contact line under its lowest parts and a
// soft shadow cast on an imagined floor. The canvas never grows.
type Shadow struct {
	Opacity float64     // of the darkest part, 0..1
	Blur    float64     // softness of the cast part, as a fraction of the subject's height
	Angle   float64     // direction the cast part falls to, in degrees clockwise from straight down
	Length  float64     // of the cast part, as a fraction of the subject's height
	Color   color.NRGBA // usually black; its alpha is ignored
}
