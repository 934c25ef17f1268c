package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"cutout/codec"
	"cutout/compositing"
	"cutout/config"
	"cutout/pipeline"
)

// RemoveCmd removes the background of pictures, or of a video. Its flags are called as the fields of the API.
type RemoveCmd struct {
	Files []string `arg:"" name:"file" help:"Pictures, folders of pictures, patterns such as 'photos/*.jpg', or - for standard input. Or one video, for which -o names a .mov, .webm, .mp4 or .gif; it takes the mode, the subject, the matting, the background and the frames from the flags below."`

	Output    string `short:"o" placeholder:"PLACE" help:"Where results go: a file, a folder, a pattern such as out/{name}.png with {name}, {ext}, {dir} and {index}, or - for standard output. Without it they go beside their pictures as NAME-cutout.png."`
	Recursive bool   `short:"r" help:"Look into the folders inside of folders too."`
	Force     bool   `short:"f" help:"Make results anew that are there already. Without it a batch goes on where it was interrupted."`
	Jobs      int    `short:"j" default:"0" help:"Pictures to work on at a time, each on a core of its own; 0 for one a core."`
	JSON      bool   `name:"json" help:"Print a line of JSON about each picture to standard output."`
	Quiet     bool   `short:"q" help:"Print nothing but what goes wrong."`

	Mode    string `short:"m" default:"fg-image" enum:"fg-image,fg-mask,fg-image-shadow" help:"What results hold: ${enum}."`
	Subject string `default:"universal" enum:"universal,human,product" help:"What to look for: ${enum}."`
	ROI     string `name:"roi" placeholder:"'L T R B'" help:"Part of the picture to look in, as left, top, right and bottom in pixels or per cent."`

	Format      string `default:"auto" enum:"auto,png,jpg,jpeg,webp,zip" help:"Format of results: ${enum}. auto goes by the name of the result, and is png where that says nothing; zip holds color.jpg and alpha.png."`
	Size        string `default:"auto" enum:"auto,preview,small,regular,medium,hd,4k,full,50MP" help:"Most pixels of results: ${enum}. preview, small and regular are 0.25 megapixels, medium 1.5, hd 4, 4k and full 25; auto is the picture's own."`
	JPEGQuality int    `name:"jpeg-quality" default:"90" help:"Quality of JPEG results, 1 to 100."`
	WebPQuality int    `name:"webp-quality" default:"90" help:"Quality of WebP results, 1 to 100."`

	Crop       bool   `help:"Cut results down to the subject."`
	CropMargin string `placeholder:"MARGIN" help:"Margin around the subject with --crop, in pixels or per cent of it: one for all sides, two, or four from the top clockwise."`
	Scale      string `placeholder:"PERCENT" help:"How much of the canvas the subject fills, 10% to 100%, or original."`
	Position   string `placeholder:"PLACE" help:"Where the subject stands: original, center, or per cent across and down."`

	BGColor     string `name:"bg-color" aliases:"color" placeholder:"COLOR" help:"Colour to put below the subject, as #rgb, #rrggbb, #rrggbbaa or by name."`
	BGImageFile string `name:"bg-image-file" aliases:"background" short:"b" type:"existingfile" placeholder:"FILE" help:"Picture to put below the subject, centred and covering the canvas."`

	ShadowType    string   `default:"" enum:",none,auto,drop,3D,car" placeholder:"TYPE" help:"Shadow below the subject: none, auto or 3D (one cast on the floor), drop or car (where it touches the ground). --mode fg-image-shadow is auto."`
	ShadowOpacity *float64 `placeholder:"PERCENT" help:"How dark the shadow is at its darkest, 0 to 100; 75 unless told otherwise."`
	ShadowBlur    *float64 `placeholder:"PERCENT" help:"Softness of the shadow, in per cent of the subject's height."`
	ShadowAngle   *float64 `placeholder:"DEGREES" help:"Where the shadow falls to, clockwise from straight down."`
	ShadowLength  *float64 `placeholder:"PERCENT" help:"How long the shadow is, in per cent of the subject's height."`
	ShadowColor   string   `placeholder:"COLOR" help:"Colour of the shadow; black unless told otherwise."`

	PostProcessMask bool  `help:"Open, smooth and binarise the mask, as rembg's option of that name does."`
	BinaryMask      bool  `help:"Cut the mask at one half: nothing is half transparent."`
	AlphaMatting    bool  `help:"Matte the edge with the knobs below; asks for --quality precise."`
	MattingFG       uint8 `name:"alpha-matting-foreground-threshold" default:"240" help:"Mask values above are surely subject."`
	MattingBG       uint8 `name:"alpha-matting-background-threshold" default:"10" help:"Mask values below are surely background."`
	MattingErode    int   `name:"alpha-matting-erode-size" default:"10" help:"Side in pixels of the square by which both sure areas shrink."`

	ClipFlags        `embed:""`
	config.Inference `embed:""`
}

// sizes are the pixels of a result at most, by their names.
var sizes = map[string]int64{
	"auto": 0, "preview": 250_000, "small": 250_000, "regular": 250_000, "medium": 1_500_000, "hd": 4_000_000,
	"4k": 25_000_000, "full": 25_000_000, "50MP": 50_000_000,
}

// Run removes the backgrounds of several pictures at a time. A picture that cannot be used does not keep the others from it.
func (c *RemoveCmd) Run(ctx context.Context, p Program) error {
	if c.isClip() {
		return c.clip(ctx, p)
	}
	options, err := c.options()
	if err != nil {
		return &usageError{err}
	}
	list, batch, err := c.plan()
	if err != nil {
		return &usageError{err}
	}
	workers := c.Jobs
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	workers = min(workers, len(list))
	inference := c.Inference
	if workers > 1 && inference.Threads == 0 {
		inference.Threads = 1 // a picture alone for a moment would else take the cores of those that follow at once
	}
	b := &batchRun{cmd: c, program: p, options: options, progress: newProgress(p.Stderr, len(list), batch, c.Quiet)}
	left := make([]task, 0, len(list))
	for _, t := range list {
		if batch && !c.Force && t.done() {
			if err := b.skip(t); err != nil {
				return err
			}
			continue
		}
		left = append(left, t)
	}
	if len(left) > 0 {
		if b.pipe, err = newPipeline(ctx, inference); err != nil {
			return err
		}
		err = b.all(ctx, left, workers)
	}
	b.progress.finish(err)
	if err == nil && b.failed > 0 {
		err = &pictureError{b.failed, len(list)}
	}
	return err
}

// plan says which pictures become which results, and whether that is a batch.
func (c *RemoveCmd) plan() (list []task, batch bool, err error) {
	all, batch, err := sources(c.Files, c.Recursive)
	if err != nil {
		return nil, batch, err
	}
	extension := map[string]string{"jpeg": "jpg", "auto": "png"}[c.Format]
	if extension == "" {
		extension = c.Format
	}
	name, err := newNaming(c.Output, extension)
	if err != nil {
		return nil, batch, err
	}
	if list, err = tasks(all, name); err != nil {
		return nil, batch, err
	}
	for _, t := range list {
		if t.output == stdio && c.JSON {
			return nil, batch, errors.New("--json: standard output is taken by the result")
		}
		if t.output == stdio && len(list) > 1 {
			return nil, batch, errors.New("standard input and other pictures: where the result of the first goes must be said with --output")
		}
		if t.output == stdio || !name.folder && !name.pattern {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(t.output), 0o755); err != nil {
			return nil, batch, fmt.Errorf("--output: %w", err)
		}
	}
	return list, batch, nil
}

// options translates the flags. Pictures on the terminal have no limits.
func (c *RemoveCmd) options() (pipeline.Options, error) {
	if err := c.Inference.Validate(); err != nil {
		return pipeline.Options{}, err
	}
	o := pipeline.Options{
		Output: pipeline.Cutout, Quality: pipeline.Quality(c.Quality), Subject: pipeline.Subject(c.Subject), MaxPixels: sizes[c.Size],
		Clean: c.PostProcessMask, Binary: c.BinaryMask, JPEG: c.JPEGQuality, WebP: c.WebPQuality,
	}
	if c.Mode == "fg-mask" {
		o.Output = pipeline.Mask
	}
	switch {
	case c.Jobs < 0 || c.Jobs > 1024:
		return o, fmt.Errorf("--jobs %d: must be from 0 to 1024", c.Jobs)
	case c.JPEGQuality < 1 || c.JPEGQuality > 100:
		return o, fmt.Errorf("--jpeg-quality %d: must be from 1 to 100", c.JPEGQuality)
	case c.WebPQuality < 1 || c.WebPQuality > 100:
		return o, fmt.Errorf("--webp-quality %d: must be from 1 to 100", c.WebPQuality)
	case c.MattingErode < 0 || c.MattingErode > 1000:
		return o, fmt.Errorf("--alpha-matting-erode-size %d: must be from 0 to 1000", c.MattingErode)
	case c.Format == "zip" && c.Mode == "fg-mask":
		return o, errors.New("--format zip: holds a cutout, for which --mode fg-mask does not ask")
	case c.CropMargin != "" && !c.Crop:
		return o, errors.New("--crop-margin: needs --crop")
	}
	var err error
	if c.ROI != "" {
		if o.Region, err = parseRegion(c.ROI); err != nil {
			return o, fmt.Errorf("--roi: %w", err)
		}
	}
	if c.Crop {
		if o.Crop, err = parseMargin(c.CropMargin); err != nil {
			return o, fmt.Errorf("--crop-margin: %w", err)
		}
	}
	if o.Placement, err = parsePlacement(c.Scale, c.Position); err != nil {
		return o, err
	}
	if c.AlphaMatting {
		o.Quality = pipeline.Precise
		o.Matting = &pipeline.MattingOptions{ForegroundThreshold: c.MattingFG, BackgroundThreshold: c.MattingBG, ErodeSize: c.MattingErode}
	}
	if o.Shadow, err = c.shadow(); err != nil {
		return o, err
	}
	o.Background, err = c.background()
	return o, err
}

// shadow is what the flags ask for; nil is none.
func (c *RemoveCmd) shadow() (*compositing.Shadow, error) {
	s := compositing.DefaultShadow()
	kind := c.ShadowType
	if kind == "" && c.Mode == "fg-image-shadow" {
		kind = "auto"
	}
	if kind == "drop" || kind == "car" {
		s.Length = 0
	}
	given := c.ShadowColor != ""
	for name, set := range map[string]struct {
		value       *float64
		to          *float64
		least, most float64
		unit        float64
	}{
		"opacity": {c.ShadowOpacity, &s.Opacity, 0, 100, 100},
		"blur":    {c.ShadowBlur, &s.Blur, 0, 100, 100},
		"angle":   {c.ShadowAngle, &s.Angle, -360, 360, 1},
		"length":  {c.ShadowLength, &s.Length, 0, 500, 100},
	} {
		if set.value == nil {
			continue
		}
		given = true
		if !(*set.value >= set.least && *set.value <= set.most) {
			return nil, fmt.Errorf("--shadow-%s %v: must be from %v to %v", name, *set.value, set.least, set.most)
		}
		*set.to = *set.value / set.unit
	}
	if c.ShadowColor != "" {
		var err error
		if s.Color, err = parseColor(c.ShadowColor); err != nil {
			return nil, fmt.Errorf("--shadow-color: %w", err)
		}
	}
	switch {
	case (kind == "" || kind == "none") && given:
		return nil, errors.New("--shadow-...: there is no shadow; ask for one with --mode fg-image-shadow or --shadow-type")
	case kind == "" || kind == "none" || s.Opacity == 0:
		return nil, nil
	}
	return &s, nil
}

// background is what the flags put below the subject; nil is nothing.
func (c *RemoveCmd) background() (*pipeline.Background, error) {
	switch {
	case c.BGImageFile != "" && c.BGColor != "":
		return nil, errors.New("--bg-image-file and --bg-color: only one can lie below the subject")
	case c.BGImageFile != "":
		data, err := os.ReadFile(c.BGImageFile)
		if err != nil {
			return nil, fmt.Errorf("--bg-image-file: %w", err)
		}
		return &pipeline.Background{Image: data}, nil
	case c.BGColor != "":
		below, err := parseColor(c.BGColor)
		if err != nil {
			return nil, fmt.Errorf("--bg-color: %w", err)
		}
		return &pipeline.Background{Color: below}, nil
	}
	return nil, nil
}

// format of a result, by the flag or by the name of the output.
func (c *RemoveCmd) format(output string) codec.Format {
	switch c.Format {
	case "jpg":
		return codec.JPEG
	case "auto":
	default:
		return codec.Format(c.Format)
	}
	switch strings.ToLower(filepath.Ext(output)) {
	case ".jpg", ".jpeg":
		return codec.JPEG
	case ".webp":
		return codec.WebP
	case ".zip":
		if c.Mode != "fg-mask" {
			return pipeline.ZIP
		}
	}
	return codec.PNG
}

// unusableError is about one picture and no other.
type unusableError struct{ err error }

func (e *unusableError) Error() string { return e.err.Error() }
func (e *unusableError) Unwrap() error { return e.err }

// batchRun is one run of the command.
type batchRun struct {
	cmd      *RemoveCmd
	program  Program
	options  pipeline.Options
	pipe     *pipeline.Pipeline
	progress *progress

	mu     sync.Mutex // guards failed and standard output
	failed int
}

// all works through the tasks, so many at a time, until they are done, one error concerns all of them, or ctx ends.
func (b *batchRun) all(ctx context.Context, list []task, workers int) error {
	group, ctx := errgroup.WithContext(ctx)
	queue := make(chan task)
	group.Go(func() error {
		defer close(queue)
		for _, t := range list {
			select {
			case queue <- t:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range workers {
		group.Go(func() error {
			for t := range queue {
				if err := b.one(ctx, t); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// one makes one result and tells about it. Its error concerns all pictures.
func (b *batchRun) one(ctx context.Context, t task) error {
	start := time.Now()
	result, err := b.make(ctx, t)
	line := report{Input: t.path, Output: t.output, Status: "done", Seconds: time.Since(start).Seconds()}
	var unusable *unusableError
	switch {
	case errors.As(err, &unusable):
		line.Status, line.Error = "failed", err.Error()
		b.mu.Lock()
		b.failed++
		b.mu.Unlock()
		b.progress.failed(t, err)
	case err != nil:
		return fmt.Errorf("%s: %w", t.path, err)
	default:
		line.describe(result)
		if len(result.Objects) == 0 {
			b.progress.notef("%s: nothing was found in this picture", t.path)
		}
		b.progress.done(t, time.Since(start))
	}
	return b.print(line)
}

// skip tells about a picture whose result is there.
func (b *batchRun) skip(t task) error {
	b.progress.skipped()
	return b.print(report{Input: t.path, Output: t.output, Status: "skipped"})
}

func (b *batchRun) print(line report) error {
	if !b.cmd.JSON {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return json.NewEncoder(b.program.Stdout).Encode(line)
}

// make reads a picture, works on it and writes the result.
func (b *batchRun) make(ctx context.Context, t task) (*pipeline.Result, error) {
	var (
		image []byte
		err   error
	)
	if t.path == stdio {
		image, err = io.ReadAll(b.program.Stdin)
	} else {
		image, err = os.ReadFile(t.path)
	}
	if err != nil {
		return nil, &unusableError{err}
	}
	o := b.options
	o.Format = b.cmd.format(t.output)
	result, err := b.pipe.Run(ctx, image, o)
	var (
		limit      *codec.LimitError
		region     *pipeline.RegionError
		background *pipeline.BackgroundError
	)
	switch {
	case errors.As(err, &background):
		return nil, &usageError{err} // the same for every picture
	case errors.As(err, &limit), errors.As(err, &region), errors.Is(err, codec.ErrUndecodable):
		return nil, &unusableError{err}
	case err != nil:
		return nil, err
	case ctx.Err() != nil:
		return nil, ctx.Err() // the other pictures are in trouble, or somebody wants to go
	}
	if t.output == stdio {
		_, err = b.program.Stdout.Write(result.Data)
	} else {
		err = writeFile(t.output, result.Data)
	}
	return result, err
}

// report is the line of --json.
type report struct {
	Input    string             `json:"input"`
	Output   string             `json:"output"`
	Status   string             `json:"status"`          // done, skipped or failed
	Error    string             `json:"error,omitempty"` // why it failed
	Seconds  float64            `json:"seconds,omitempty"`
	Width    int                `json:"width,omitempty"`
	Height   int                `json:"height,omitempty"`
	Box      *[4]float64        `json:"box"` // x, y, width and height as fractions; null where nothing was found
	Score    float32            `json:"score,omitempty"`
	StagesMS map[string]float64 `json:"stages_ms,omitempty"`
}

func (r *report) describe(res *pipeline.Result) {
	r.Width, r.Height, r.Score, r.StagesMS = res.Width, res.Height, res.Score, map[string]float64{}
	if len(res.Objects) > 0 {
		box := res.Objects[0].Box
		r.Box = &[4]float64{box.X, box.Y, box.W, box.H}
	}
	for _, stage := range res.Stages {
		r.StagesMS[stage.Name] = float64(stage.Duration.Microseconds()) / 1e3
	}
}
