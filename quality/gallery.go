package main

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"os"
	"path/filepath"

	xdraw "golang.org/x/image/draw"
	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"
)

// Size of a contact sheet's cells, in pixels.
const (
	cellSize  = 300
	cellGap   = 6
	labelSize = 16
)

// Strip is one row of a contact sheet.
type Strip struct {
	Label  string
	Photo  image.Image
	Mask   *image.Gray
	Cutout *image.NRGBA // straight alpha
	Shadow *image.NRGBA // the cutout with its shadow; nil leaves the cell out
}

// columns of a contact sheet: what is drawn, over which ground.
var columns = []struct {
	name    string
	picture func(s Strip) image.Image
	ground  image.Image // nil: the checkerboard
}{
	{"photo", func(s Strip) image.Image { return s.Photo }, image.Black},
	{"mask", func(s Strip) image.Image { return s.Mask }, image.Black},
	{"cutout", func(s Strip) image.Image { return s.Cutout }, nil},
	{"on red", func(s Strip) image.Image { return s.Cutout }, image.NewUniform(color.NRGBA{R: 220, G: 20, B: 30, A: 255})},
	{"on white", func(s Strip) image.Image { return s.Cutout }, image.White},
	{"on black", func(s Strip) image.Image { return s.Cutout }, image.Black},
	{"shadow", func(s Strip) image.Image {
		if s.Shadow == nil {
			return nil
		}
		return s.Shadow
	}, image.White},
}

// sheet draws one row per strip.
func sheet(strips []Strip) *image.NRGBA {
	pitch := cellSize + cellGap
	m := image.NewNRGBA(image.Rect(0, 0, len(columns)*pitch+cellGap, len(strips)*(pitch+labelSize)+cellGap))
	draw.Draw(m, m.Rect, image.NewUniform(color.Gray{Y: 64}), image.Point{}, draw.Src)
	for i, s := range strips {
		top := cellGap + i*(pitch+labelSize)
		for j, c := range columns {
			left := cellGap + j*pitch
			label := c.name
			if j == 0 {
				label = s.Label
			}
			write(m, left, top+labelSize-4, label)
			picture := c.picture(s)
			if picture == nil {
				continue
			}
			into := fit(picture.Bounds().Size(), cellSize).Add(image.Pt(left, top+labelSize))
			ground := c.ground
			if ground == nil {
				ground = checker{}
			}
			draw.Draw(m, into, ground, image.Point{}, draw.Src)
			// Scaling works on colours multiplied by alpha, so that what lies below transparent parts stays out.
			xdraw.CatmullRom.Scale(m, into, picture, picture.Bounds(), xdraw.Over, nil)
		}
	}
	return m
}

// fit returns the largest rectangle of a size's aspect ratio in a square of the given side, at most at full size.
func fit(size image.Point, side int) image.Rectangle {
	longest := max(size.X, size.Y, side)
	return image.Rect(0, 0, max(1, size.X*side/longest), max(1, size.Y*side/longest))
}

func write(m draw.Image, x, y int, text string) {
	d := font.Drawer{Dst: m, Src: image.White, Face: basicfont.Face7x13, Dot: fixed.P(x, y)}
	d.DrawString(text)
}

// checker is the endless checkerboard that stands for transparency.
type checker struct{}

func (checker) ColorModel() color.Model { return color.GrayModel }

func (checker) Bounds() image.Rectangle { return image.Rect(-1e9, -1e9, 1e9, 1e9) }

func (checker) At(x, y int) color.Color {
	if (x>>3+y>>3)&1 == 0 {
		return color.Gray{Y: 255}
	}
	return color.Gray{Y: 204}
}

// writeSheet writes the contact sheet of a set as dir/NAME.png.
func writeSheet(dir, name string, strips []Strip) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the gallery: %w", err)
	}
	f, err := os.Create(filepath.Join(dir, name+".png"))
	if err != nil {
		return fmt.Errorf("make the gallery: %w", err)
	}
	defer func() {
		if closeErr := f.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("write %s: %w", f.Name(), closeErr)
		}
	}()
	encoder := png.Encoder{CompressionLevel: png.BestSpeed}
	if err := encoder.Encode(f, sheet(strips)); err != nil {
		return fmt.Errorf("write %s: %w", f.Name(), err)
	}
	return nil
}
