package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"io"
	"os"

	"cutout/codec"
	"cutout/matting"
)

// MatteCmd runs the matting alone, with a trimap that somebody else made.
type MatteCmd struct {
	Image      string `required:"" placeholder:"FILE" help:"Picture, or - for standard input."`
	Trimap     string `required:"" placeholder:"FILE" help:"Picture of the same size: black is background, white is subject, anything between is to be found out. Or - for standard input."`
	Output     string `short:"o" required:"" placeholder:"FILE.png" help:"Where to write the matte as an 8-bit grey PNG, - for standard output."`
	Foreground string `placeholder:"FILE.png" help:"Where to write the subject in its own colours, with the matte as alpha; - for standard output."`
	BaseSize   int    `default:"0" help:"Longest side at which the matte is solved, in pixels; 0 for the picture's own."`
	Threads    int    `default:"0" help:"Cores to use; 0 for all."`
}

// Run mattes one picture.
func (c *MatteCmd) Run(ctx context.Context, p Program) error {
	switch {
	case c.BaseSize < 0:
		return &usageError{fmt.Errorf("--base-size %d: must not be negative", c.BaseSize)}
	case c.Threads < 0 || c.Threads > 1024:
		return &usageError{fmt.Errorf("--threads %d: must be from 0 to 1024", c.Threads)}
	case c.Image == stdio && c.Trimap == stdio:
		return &usageError{errors.New("--image and --trimap: only one can come from standard input")}
	case c.Output == stdio && c.Foreground == stdio:
		return &usageError{errors.New("--output and --foreground: only one can go to standard output")}
	}
	for _, in := range []string{c.Image, c.Trimap} {
		if same(in, c.Output) || c.Foreground != "" && same(in, c.Foreground) {
			return &usageError{fmt.Errorf("%s: would be overwritten by a result", in)}
		}
	}
	photo, colours, err := c.read(ctx, p, c.Image)
	if err != nil {
		return c.unusable(p, "--image", c.Image, err)
	}
	colours.Convert(photo)
	picture, _, err := c.read(ctx, p, c.Trimap)
	if err != nil {
		return c.unusable(p, "--trimap", c.Trimap, err)
	}
	alpha, err := matting.ClosedForm(ctx, photo, greyOf(picture), matting.ClosedFormOptions{BaseSize: c.BaseSize, Threads: c.Threads})
	if err != nil {
		return c.explain(err)
	}
	if err := writePNG(p, c.Output, alpha); err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	if c.Foreground == "" {
		return nil
	}
	subject, err := matting.EstimateForeground(ctx, photo, alpha, matting.ForegroundOptions{Threads: c.Threads})
	if err != nil {
		return err
	}
	if err := writePNG(p, c.Foreground, subject); err != nil {
		return fmt.Errorf("--foreground: %w", err)
	}
	return nil
}

// unusable reports a picture that cannot be read.
func (c *MatteCmd) unusable(p Program, flag, file string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	fmt.Fprintf(p.Stderr, "cutout: %s %s: %v\n", flag, file, err)
	return &pictureError{1, 1}
}

// explain tells a trimap that cannot be used from what goes wrong inside.
func (c *MatteCmd) explain(err error) error {
	var size *matting.SizeError
	if errors.As(err, &size) || errors.Is(err, matting.ErrNoKnown) {
		return &usageError{fmt.Errorf("--trimap %s: %w", c.Trimap, err)}
	}
	return err
}

func (c *MatteCmd) read(ctx context.Context, p Program, file string) (*image.NRGBA, *codec.Colours, error) {
	var (
		data []byte
		err  error
	)
	if file == stdio {
		data, err = io.ReadAll(p.Stdin)
	} else {
		data, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, nil, err
	}
	m, colours, _, err := codec.DecodeStored(ctx, data, codec.Limits{})
	return m, colours, err
}

// greyOf gives the brightness of m, whose alpha is ignored.
func greyOf(m *image.NRGBA) *image.Gray {
	g := image.NewGray(m.Rect)
	for i := range g.Pix {
		c := m.Pix[4*i:]
		g.Pix[i] = color.GrayModel.Convert(color.NRGBA{c[0], c[1], c[2], 255}).(color.Gray).Y
	}
	return g
}

func writePNG(p Program, file string, m image.Image) error {
	var buf bytes.Buffer
	if err := codec.EncodePNG(&buf, m); err != nil {
		return err
	}
	if file == stdio {
		_, err := p.Stdout.Write(buf.Bytes())
		return err
	}
	return writeFile(file, buf.Bytes())
}
