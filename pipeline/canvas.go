package pipeline

import (
	"archive/zip"
	"fmt"
	"image"
	"image/color"
	"io"
	"math"

	"cutout/codec"
	"cutout/compositing"
)

// Formats of a result that are no picture format of their own.
const (
	Auto codec.Format = "auto" // PNG where something of the result is transparent, else JPEG
	ZIP  codec.Format = "zip"  // an archive of color.jpg, the colours alone, and alpha.png, 8-bit grey
)

// Length is a distance along one side of something.
type Length struct {
	Value    float64 // in pixels, or where Relative is set as a fraction of the side
	Relative bool
}

// Of is the length in whole pixels along a side of so many.
func (l Length) Of(side int) int {
	v := l.Value
	if l.Relative {
		v *= float64(side)
	}
	return int(math.Round(min(max(v, -1<<30), 1<<30)))
}

// Region is the part of the picture in which a subject is looked for; what lies outside is background. Its edges are
// distances from the picture's left and top.
type Region struct{ Left, Top, Right, Bottom Length }

// RegionError says that a region cannot be looked at in a picture of the given size.
type RegionError struct {
	Region image.Rectangle // in pixels; with Max before Min where the region is turned around
	Size   image.Point     // of the picture
	Empty  bool            // else it reaches outside of the picture
}

func (e *RegionError) Error() string {
	if e.Empty {
		return fmt.Sprintf("region %v is empty", e.Region)
	}
	return fmt.Sprintf("region %v is not inside a picture of %dx%d", e.Region, e.Size.X, e.Size.Y)
}

// in is the region in the pixels of a width x height picture.
func (r Region) in(width, height int) (image.Rectangle, error) {
	px := image.Rectangle{
		Min: image.Pt(r.Left.Of(width), r.Top.Of(height)), Max: image.Pt(r.Right.Of(width), r.Bottom.Of(height)),
	}
	switch {
	case px.Min.X < 0, px.Min.Y < 0, px.Max.X > width, px.Max.Y > height:
		return px, &RegionError{Region: px, Size: image.Pt(width, height)}
	case px.Empty():
		return px, &RegionError{Region: px, Size: image.Pt(width, height), Empty: true}
	}
	return px, nil
}

// Crop makes the canvas as large as the subject's box, with its shadow, and a margin. Relative margins are fractions
// of the subject's width and height. Where the margin reaches outside of the picture, the result is transparent.
type Crop struct{ Top, Right, Bottom, Left Length }

// margin is c in pixels around a subject of the given size.
func (c Crop) margin(subject image.Point) compositing.Margin {
	return compositing.Margin{
		Top: c.Top.Of(subject.Y), Right: c.Right.Of(subject.X), Bottom: c.Bottom.Of(subject.Y), Left: c.Left.Of(subject.X),
	}
}

// Placement moves the subject on the canvas.
type Placement struct {
	Scale float64 // of the canvas that the subject's box fills, in the direction that it fills first; zero: its own size
	X, Y  float64 // 0 is at the left and top, 1 at the right and bottom, a half is centred
	Stay  bool    // keep the centre where it is, as far as the canvas goes, instead of X and Y
}

// focus cuts the picture down to the region in which the subject is looked for, before the network sees it.
func (j *job) focus() error {
	j.size = j.photo.Rect.Max
	j.region = j.photo.Rect
	if j.o.Region == nil {
		return nil
	}
	region, err := j.o.Region.in(j.size.X, j.size.Y)
	if err != nil {
		return err
	}
	if region != j.photo.Rect {
		j.region = region
		j.photo = compositing.CropTo(j.photo, region)
		j.result.Width, j.result.Height = region.Dx(), region.Dy()
	}
	return nil
}

// unfocus puts what was found in the region back into the whole picture.
func (j *job) unfocus(cut *image.NRGBA) *image.NRGBA {
	if j.region.Size() == j.size {
		return cut
	}
	j.result.Width, j.result.Height = j.size.X, j.size.Y
	whole := image.Rectangle{Max: j.size}.Sub(j.region.Min)
	j.mask = compositing.CropMask(j.mask, whole)
	return compositing.CropTo(cut, whole)
}

// arrange lays the cutout and its shadow out on the canvas. The shadow of a subject that keeps its place falls on the
// whole picture before that is cropped; that of one that is moved falls on the canvas.
func (j *job) arrange(cut *image.NRGBA) (subject, shadow *image.NRGBA) {
	box := compositing.Bounds(j.mask)
	if j.o.Shadow != nil && !j.masked() && (j.o.Placement == nil || box.Empty()) {
		shadow = compositing.CastShadow(j.mask, *j.o.Shadow)
	}
	if box.Empty() || j.o.Crop == nil && j.o.Placement == nil {
		return cut, shadow
	}
	canvas := image.Rectangle{Max: j.size}
	if c := j.o.Crop; c != nil {
		canvas = box
		if shadow != nil {
			canvas = canvas.Union(compositing.BoundsOver(shadow, faintAlpha))
		}
		canvas = compositing.PadBox(canvas, c.margin(box.Size()))
	}
	l := compositing.Layout{Size: canvas.Size(), From: canvas, To: image.Rectangle{Max: canvas.Size()}}
	if p := j.o.Placement; p != nil {
		l = p.layout(box, canvas)
	}
	subject = l.Picture(cut, codec.LanczosAlpha)
	switch {
	case j.masked():
		j.mask = compositing.AlphaOf(subject)
	case j.o.Shadow != nil && j.o.Placement != nil:
		shadow = compositing.CastShadow(compositing.AlphaOf(subject), *j.o.Shadow)
	case shadow != nil:
		shadow = l.Picture(shadow, codec.LanczosAlpha)
	}
	return subject, shadow
}

// layout places the subject's box on a canvas.
func (p Placement) layout(box, canvas image.Rectangle) compositing.Layout {
	size, room := box.Size(), canvas.Size()
	if p.Scale > 0 {
		scale := min(p.Scale*float64(room.X)/float64(size.X), p.Scale*float64(room.Y)/float64(size.Y))
		size = image.Pt(
			min(max(int(math.Round(float64(size.X)*scale)), 1), room.X), min(max(int(math.Round(float64(size.Y)*scale)), 1), room.Y))
	}
	free := room.Sub(size)
	at := image.Pt(int(math.Round(p.X*float64(free.X))), int(math.Round(p.Y*float64(free.Y))))
	if p.Stay {
		centre := box.Min.Add(box.Max).Sub(canvas.Min.Mul(2)) // twice the centre
		at = image.Pt((centre.X-size.X)/2, (centre.Y-size.Y)/2)
	}
	at = image.Pt(min(max(at.X, 0), free.X), min(max(at.Y, 0), free.Y))
	return compositing.Layout{Size: room, From: box, To: image.Rectangle{Min: at, Max: at.Add(size)}}
}

// masked tells whether the result is the mask itself.
func (j *job) masked() bool { return j.o.Output == Mask && j.o.Format != ZIP }

// limit shrinks the picture to the pixels that the request takes.
func (j *job) limit() {
	full := j.picture.Bounds().Max
	j.result.Canvas, j.result.Full = full, full
	pixels := int64(full.X) * int64(full.Y)
	if j.o.MaxPixels <= 0 || pixels <= j.o.MaxPixels {
		return
	}
	scale := math.Sqrt(float64(j.o.MaxPixels) / float64(pixels))
	const slack = 1e-9 // a size that divides without rest must not lose a pixel to rounding
	w := max(int(float64(full.X)*scale+slack), 1)
	h := max(int(float64(full.Y)*scale+slack), 1)
	// A strip that is one pixel high cannot give up any: the other side takes its part.
	w = min(w, max(int(j.o.MaxPixels/int64(h)), 1))
	h = min(h, max(int(j.o.MaxPixels/int64(w)), 1))
	switch m := j.picture.(type) {
	case *image.Gray:
		j.picture = codec.LanczosGray(m, w, h)
	case *image.NRGBA:
		j.picture = codec.LanczosAlpha(m, w, h)
	}
	j.result.Canvas = image.Pt(w, h)
}

// encodeZIP writes the archive of a colour picture and its alpha. Both members are compressed already.
func encodeZIP(w io.Writer, m *image.NRGBA, quality int) error {
	archive := zip.NewWriter(w)
	for _, member := range []struct {
		name  string
		write func(io.Writer) error
	}{
		{"color.jpg", func(w io.Writer) error {
			// Without colours beyond the subject's edge the JPEG would smear black into it.
			return codec.EncodeJPEG(w, compositing.Bleed(m), quality, color.NRGBA{})
		}},
		{"alpha.png", func(w io.Writer) error { return codec.EncodePNG(w, compositing.AlphaOf(m)) }},
	} {
		out, err := archive.CreateHeader(&zip.FileHeader{Name: member.name, Method: zip.Store})
		if err != nil {
			return fmt.Errorf("encode zip: %w", err)
		}
		if err := member.write(out); err != nil {
			return fmt.Errorf("encode zip: %s: %w", member.name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return fmt.Errorf("encode zip: %w", err)
	}
	return nil
}
