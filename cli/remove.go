package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image/color"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"cutout/codec"
	"cutout/compositing"
	"cutout/config"
	"cutout/pipeline"
)

// stdio names standard input or output in place of a file.
const stdio = "-"

// RemoveCmd removes the background of image files.
type RemoveCmd struct {
	Files      []string `arg:"" name:"file" help:"Pictures, or - for standard input."`
	Output     string   `short:"o" placeholder:"FILE" help:"Result: a file, a directory, or - for standard output. Without it results go beside their pictures as NAME-cutout.png."`
	Mode       string   `short:"m" default:"fg-image" enum:"fg-image,fg-mask,fg-image-shadow" help:"What the result holds: ${enum}."`
	Background string   `short:"b" type:"existingfile" placeholder:"FILE" help:"Picture to put below the subject."`
	Color      string   `placeholder:"COLOR" help:"Colour to put below the subject, as #rgb, #rrggbb or #rrggbbaa."`
	Subject    string   `default:"universal" enum:"universal,human,product" help:"What to look for: ${enum}."`
	Format     string   `default:"auto" enum:"auto,png,jpeg,webp" help:"Format of the result: ${enum}; auto goes by the name of the output."`
	JSON       bool     `name:"json" help:"Print a line of JSON about each picture."`

	config.Inference `embed:""`
}

// Run removes the backgrounds one after another. A picture that cannot be used does not keep the others from it.
func (c *RemoveCmd) Run(ctx context.Context, p Program) error {
	options, err := c.options()
	if err != nil {
		return &usageError{err}
	}
	outputs, err := c.outputs()
	if err != nil {
		return &usageError{err}
	}
	pipe, err := newPipeline(ctx, c.Inference)
	if err != nil {
		return err
	}
	failed := 0
	for i, file := range c.Files {
		err := c.one(ctx, p, pipe, options, file, outputs[i])
		var unusable *unusableError
		switch {
		case errors.As(err, &unusable):
			fmt.Fprintf(p.Stderr, "cutout: %s: %v\n", file, err)
			failed++
		case err != nil:
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	if failed > 0 {
		return &pictureError{failed, len(c.Files)}
	}
	return nil
}

// unusableError is about one picture and no other.
type unusableError struct{ err error }

func (e *unusableError) Error() string { return e.err.Error() }
func (e *unusableError) Unwrap() error { return e.err }

// options translates the flags. Pictures on the terminal have no limits.
func (c *RemoveCmd) options() (pipeline.Options, error) {
	if err := c.Inference.Validate(); err != nil {
		return pipeline.Options{}, err
	}
	o := pipeline.Options{Output: pipeline.Cutout, Subject: pipeline.Subject(c.Subject)}
	switch c.Mode {
	case "fg-mask":
		o.Output = pipeline.Mask
	case "fg-image-shadow":
		shadow := compositing.DefaultShadow()
		o.Shadow = &shadow
	}
	if c.Background != "" && c.Color != "" {
		return o, errors.New("--background and --color: only one can lie below the subject")
	}
	if c.Background != "" {
		data, err := os.ReadFile(c.Background)
		if err != nil {
			return o, fmt.Errorf("--background: %w", err)
		}
		o.Background = &pipeline.Background{Image: data}
	}
	if c.Color != "" {
		below, err := parseColor(c.Color)
		if err != nil {
			return o, fmt.Errorf("--color: %w", err)
		}
		o.Background = &pipeline.Background{Color: below}
	}
	return o, nil
}

// parseColor reads #rgb, #rrggbb or #rrggbbaa; the # may be missing, since shells treat it as a comment.
func parseColor(s string) (color.NRGBA, error) {
	digits := strings.TrimPrefix(s, "#")
	if len(digits) == 3 {
		digits = string([]byte{digits[0], digits[0], digits[1], digits[1], digits[2], digits[2]})
	}
	if len(digits) == 6 {
		digits += "ff"
	}
	n, err := strconv.ParseUint(digits, 16, 32)
	if err != nil || len(digits) != 8 {
		return color.NRGBA{}, fmt.Errorf("%q is no colour: want #rgb, #rrggbb or #rrggbbaa", s)
	}
	return color.NRGBA{R: uint8(n >> 24), G: uint8(n >> 16), B: uint8(n >> 8), A: uint8(n)}, nil
}

// outputs names the result of each picture, and refuses what would overwrite a picture or another result.
func (c *RemoveCmd) outputs() ([]string, error) {
	isDir := strings.HasSuffix(c.Output, string(filepath.Separator))
	if info, err := os.Stat(c.Output); c.Output != "" && err == nil {
		isDir = isDir || info.IsDir()
	}
	if len(c.Files) > 1 && c.Output != "" && !isDir {
		return nil, fmt.Errorf("--output %s: must be a directory for more than one picture", c.Output)
	}
	outputs, taken := make([]string, len(c.Files)), map[string]bool{}
	for i, file := range c.Files {
		name := "stdin-cutout"
		if file != stdio {
			base := filepath.Base(file)
			name = strings.TrimSuffix(base, filepath.Ext(base)) + "-cutout"
		}
		name += "." + c.extension()
		switch {
		case isDir:
			outputs[i] = filepath.Join(c.Output, name)
		case c.Output != "":
			outputs[i] = c.Output
		case file == stdio:
			outputs[i] = stdio
		default:
			outputs[i] = filepath.Join(filepath.Dir(file), name)
		}
		if outputs[i] != stdio && taken[outputs[i]] {
			return nil, fmt.Errorf("%s: two pictures would be written there", outputs[i])
		}
		taken[outputs[i]] = true
		if same(file, outputs[i]) {
			return nil, fmt.Errorf("%s: would be overwritten by its result", file)
		}
		if outputs[i] == stdio && c.JSON {
			return nil, errors.New("--json: standard output is taken by the result")
		}
	}
	if isDir {
		if err := os.MkdirAll(c.Output, 0o755); err != nil {
			return nil, fmt.Errorf("--output: %w", err)
		}
	}
	return outputs, nil
}

// extension is that of results whose name is not given.
func (c *RemoveCmd) extension() string {
	switch c.Format {
	case "jpeg":
		return "jpg"
	case "webp":
		return "webp"
	default:
		return "png"
	}
}

// same tells whether two names are the same existing file.
func same(a, b string) bool {
	if a == stdio || b == stdio {
		return false
	}
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}

// format of a result, by the flag or by the name of the output.
func (c *RemoveCmd) format(output string) codec.Format {
	if c.Format != "auto" {
		return codec.Format(c.Format)
	}
	switch strings.ToLower(filepath.Ext(output)) {
	case ".jpg", ".jpeg":
		return codec.JPEG
	case ".webp":
		return codec.WebP
	default:
		return codec.PNG
	}
}

func (c *RemoveCmd) one(
	ctx context.Context, p Program, pipe *pipeline.Pipeline, options pipeline.Options, file, output string,
) error {
	var (
		image []byte
		err   error
	)
	if file == stdio {
		image, err = io.ReadAll(p.Stdin)
	} else {
		image, err = os.ReadFile(file)
	}
	if err != nil {
		return &unusableError{err}
	}
	options.Format = c.format(output)
	result, err := pipe.Run(ctx, image, options)
	var limit *codec.LimitError
	var background *pipeline.BackgroundError
	switch {
	case errors.As(err, &background):
		return &usageError{err} // the same for every picture
	case errors.As(err, &limit), errors.Is(err, codec.ErrUndecodable):
		return &unusableError{err}
	case err != nil:
		return err
	}
	if len(result.Objects) == 0 {
		fmt.Fprintf(p.Stderr, "cutout: %s: nothing was found in this picture\n", file)
	}
	if output == stdio {
		_, err = p.Stdout.Write(result.Data)
	} else {
		err = writeFile(output, result.Data)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(p.Stdout).Encode(describe(file, output, result))
	}
	return nil
}

// report is the line of --json.
type report struct {
	Input    string             `json:"input"`
	Output   string             `json:"output"`
	Width    int                `json:"width"`
	Height   int                `json:"height"`
	Box      *[4]float64        `json:"box"` // x, y, width and height as fractions; null where nothing was found
	Score    float32            `json:"score"`
	StagesMS map[string]float64 `json:"stages_ms"`
}

func describe(input, output string, res *pipeline.Result) report {
	r := report{
		Input: input, Output: output, Width: res.Width, Height: res.Height, Score: res.Score, StagesMS: map[string]float64{},
	}
	if len(res.Objects) > 0 {
		box := res.Objects[0].Box
		r.Box = &[4]float64{box.X, box.Y, box.W, box.H}
	}
	for _, stage := range res.Stages {
		r.StagesMS[stage.Name] = float64(stage.Duration.Microseconds()) / 1e3
	}
	return r
}

// writeFile writes a whole file or none: a result cut short by a full disk must not look like one.
func writeFile(name string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".cutout-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
