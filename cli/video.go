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
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"cutout/pipeline"
	"cutout/video"
)

// ClipFlags are those of the remove command that are for videos alone.
type ClipFlags struct {
	Framerate  int    `default:"0" help:"Frames a second of the result of a video, 1 to 60; 0 for the video's own."`
	FrameLimit int    `default:"0" help:"Frames of a video that are worked on, from its start; 0 for all."`
	FFmpeg     string `name:"ffmpeg" env:"CUTOUT_FFMPEG" placeholder:"PATH" help:"ffmpeg, 5 or newer, for videos; by default the one on the PATH."`
}

// clipNames are the extensions of files that are taken for videos.
var clipNames = map[string]bool{
	".mp4": true, ".mov": true, ".m4v": true, ".webm": true, ".mkv": true, ".avi": true, ".mpg": true, ".mpeg": true, ".ts": true,
	".3gp": true, ".ogv": true, ".wmv": true, ".flv": true,
}

// isClip tells whether the command is about a video: by the names alone, so that nothing else is needed for pictures. A GIF is
// one where a video is wanted of it.
func (c *RemoveCmd) isClip() bool {
	out := strings.ToLower(filepath.Ext(c.Output))
	for _, file := range c.Files {
		ext := strings.ToLower(filepath.Ext(file))
		if clipNames[ext] || ext == ".gif" && (clipNames[out] || out == ".gif") {
			return true
		}
	}
	return false
}

// clipFormat says what is made, by the name of the result and what lies below the subject.
func (c *RemoveCmd) clipFormat(output string, below *pipeline.Background) (video.Format, error) {
	picture := c.BGImageFile != ""
	colored := below != nil && !picture
	switch strings.ToLower(filepath.Ext(output)) {
	case ".mov", ".webm":
		if below != nil {
			return "", fmt.Errorf("--output %s: holds a transparent video, name it .mp4 for one on a background", output)
		}
		if c.Mode == "fg-mask" {
			return "", fmt.Errorf("--output %s: a mask is an .mp4", output)
		}
		if strings.EqualFold(filepath.Ext(output), ".webm") {
			return video.WebM, nil
		}
		return video.MOV, nil
	case ".gif":
		switch {
		case c.Mode == "fg-mask", colored:
			return "", fmt.Errorf("--output %s: a GIF is transparent, or has a picture below the subject", output)
		case picture:
			return video.GIFOver, nil
		}
		return video.GIF, nil
	case ".mp4", ".m4v":
		switch {
		case c.Mode == "fg-mask":
			return video.MatteKey, nil
		case picture && clipNames[strings.ToLower(filepath.Ext(c.BGImageFile))]:
			return video.OverVideo, nil
		case picture:
			return video.OverImage, nil
		case colored:
			return video.MP4Color, nil
		}
		return "", fmt.Errorf("--output %s: cannot be transparent; give --bg-color, --bg-image-file or --mode fg-mask, or name it .mov or .webm", output)
	default:
		return "", fmt.Errorf("--output %s: a video becomes a .mov, .webm, .mp4 or .gif", output)
	}
}

// clip takes the background out of a video.
func (c *RemoveCmd) clip(ctx context.Context, p Program) error {
	options, err := c.clipOptions()
	if err != nil {
		return &usageError{err}
	}
	input := c.Files[0]
	output := c.Output
	if info, err := os.Stat(output); output == "" || err == nil && info.IsDir() {
		dir := output
		if dir == "" {
			dir = filepath.Dir(input)
		}
		base := filepath.Base(input)
		output = filepath.Join(dir, strings.TrimSuffix(base, filepath.Ext(base))+"-cutout.mov")
	}
	job := video.Job{Input: input, Background: c.BGImageFile}
	job.Rate, job.Frames = c.Framerate, c.FrameLimit
	if job.Format, err = c.clipFormat(output, options.Background); err != nil {
		return &usageError{err}
	}
	if b := options.Background; b != nil {
		job.Color = b.Color
	}
	tools, err := video.Find(ctx, c.FFmpeg)
	if err != nil {
		return fmt.Errorf("videos need ffmpeg, 5 or newer: %w", err)
	}
	pipe, err := newPipeline(ctx, c.Inference)
	if err != nil {
		return err
	}
	masker, err := pipe.Frames(options)
	if err != nil {
		return &usageError{err}
	}
	// The result is made beside where it goes: a whole file or none.
	work, err := video.NewWork(filepath.Dir(output))
	if err != nil {
		return err
	}
	defer func() { _ = work.Remove() }() // what counts is elsewhere by then
	job.Dir = work.Dir
	bar := newClipProgress(p.Stderr, c.Quiet)
	job.Progress = bar.tell
	result, err := tools.Convert(ctx, masker, job)
	bar.end()
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fmt.Fprintf(p.Stderr, "cutout: %s: %v\n", input, err)
		return &pictureError{1, 1}
	}
	if err := os.Rename(result.Path, output); err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(p.Stdout).Encode(describeClip(input, output, result))
	}
	if !c.Quiet {
		fmt.Fprintf(p.Stderr, "%s -> %s: %d frames in %.1fs, %.1f frames/s\n",
			input, output, result.Frames, result.Stats.Elapsed.Seconds(), float64(result.Stats.Frames)/result.Stats.Elapsed.Seconds())
	}
	return nil
}

// clipOptions translates the flags, as far as videos have them.
func (c *RemoveCmd) clipOptions() (pipeline.Options, error) {
	switch {
	case len(c.Files) != 1:
		return pipeline.Options{}, errors.New("one video at a time")
	case c.Output == stdio:
		return pipeline.Options{}, errors.New("--output -: a video is no stream; name a file")
	case c.Framerate < 0 || c.Framerate > 60:
		return pipeline.Options{}, fmt.Errorf("--framerate %d: must be from 1 to 60", c.Framerate)
	case c.FrameLimit < 0:
		return pipeline.Options{}, fmt.Errorf("--frame-limit %d: must not be negative", c.FrameLimit)
	case c.ROI != "" || c.Crop || c.Scale != "" || c.Position != "" || c.ShadowType != "" || c.Mode == "fg-image-shadow":
		return pipeline.Options{}, errors.New("--roi, --crop, --scale, --position and shadows are for pictures")
	}
	below := c.BGImageFile
	c.BGImageFile = "" // it may be a video, and is read where it is used
	o, err := c.options()
	c.BGImageFile = below
	if err == nil && below != "" {
		if o.Background != nil {
			return o, errors.New("--bg-color and --bg-image-file: only one can lie below the subject")
		}
		o.Background = &pipeline.Background{Color: color.NRGBA{A: 255}}
	}
	return o, err
}

// clipReport is the line of --json.
type clipReport struct {
	Input     string             `json:"input"`
	Output    string             `json:"output"`
	Width     int                `json:"width"`
	Height    int                `json:"height"`
	Frames    int                `json:"frames"`
	Framerate float64            `json:"framerate"`
	Bytes     int64              `json:"bytes"`
	Sound     bool               `json:"sound"`
	FPS       float64            `json:"fps"`    // frames made a second
	Looked    int                `json:"looked"` // frames that the network has seen
	Cuts      int                `json:"cuts"`   // ends of scenes
	StagesMS  map[string]float64 `json:"stages_ms"`
}

func describeClip(input, output string, r *video.Result) clipReport {
	s := r.Stats
	out := clipReport{
		Input: input, Output: output, Width: r.Size.X, Height: r.Size.Y, Frames: r.Frames, Framerate: r.Rate.Float(), Bytes: r.Bytes,
		Sound: r.Sound, FPS: float64(s.Frames) / s.Elapsed.Seconds(), Looked: s.Looked, Cuts: s.Cuts, StagesMS: map[string]float64{},
	}
	for name, took := range map[string]time.Duration{
		"elapsed": s.Elapsed, "decode": s.Decode, "shrink": s.Shrink, "look": s.Look, "steady": s.Steady, "matte": s.Matte,
		"compose": s.Compose, "encode": s.Encode, "join": s.Join,
	} {
		out.StagesMS[name] = float64(took.Microseconds()) / 1e3
	}
	return out
}

// clipProgress tells how far a video is: with a bar on a terminal, with a line every tenth of the way anywhere else.
type clipProgress struct {
	out   io.Writer
	bar   *progressbar.ProgressBar // nil without a terminal, and until the first frame
	term  bool
	quiet bool
	tenth int
}

func newClipProgress(out io.Writer, quiet bool) *clipProgress {
	f, ok := out.(*os.File)
	return &clipProgress{out: out, quiet: quiet, term: ok && term.IsTerminal(int(f.Fd()))}
}

func (c *clipProgress) tell(p video.Progress) {
	switch {
	case c.quiet:
	case c.term:
		if c.bar == nil {
			total := p.Total
			if total == 0 {
				total = -1
			}
			c.bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(c.out), progressbar.OptionShowCount(),
				progressbar.OptionSetPredictTime(false), progressbar.OptionFullWidth(), progressbar.OptionUseANSICodes(true))
		}
		left := ""
		if p.Remaining > 0 {
			left = ", " + p.Remaining.String() + " left"
		}
		c.bar.Describe(fmt.Sprintf("%.1f frames/s%s", p.Rate, left))
		_ = c.bar.Set(p.Done) // what a terminal cannot show is no reason to stop
	case p.Total > 0 && p.Done*10/p.Total > c.tenth:
		c.tenth = p.Done * 10 / p.Total
		fmt.Fprintf(c.out, "%d of %d frames, %.1f frames/s, %v left\n", p.Done, p.Total, p.Rate, p.Remaining)
	}
}

func (c *clipProgress) end() {
	if c.bar != nil {
		_ = c.bar.Clear()
	}
}
