package config

import (
	"errors"
	"fmt"
	"time"
)

// Video says how clips are worked on, and which are taken. A zero bounds nothing.
type Video struct {
	FFmpeg      string        `name:"ffmpeg" env:"CUTOUT_FFMPEG" placeholder:"PATH" help:"ffmpeg, 5 or newer, with ffprobe beside it; by default the one on the PATH. Without it clips are refused."`
	Workers     int           `name:"video-workers" default:"1" env:"CUTOUT_VIDEO_WORKERS" help:"Jobs with clips worked on at a time, each on all cores; 0 leaves them to other processes on the same NATS servers."`
	WorkDir     string        `name:"video-dir" env:"CUTOUT_VIDEO_DIR" placeholder:"DIR" help:"Directory that clips are worked on in; by default the system's for temporary files. A clip needs room for itself and twice its result."`
	MaxFile     Bytes         `name:"video-max-file" default:"250MB" env:"CUTOUT_VIDEO_MAX_FILE" help:"Largest clip taken."`
	MaxDuration time.Duration `name:"video-max-duration" default:"30m" env:"CUTOUT_VIDEO_MAX_DURATION" help:"Longest clip taken; 0 for any."`
	MaxFrames   int           `name:"video-max-frames" default:"60000" env:"CUTOUT_VIDEO_MAX_FRAMES" help:"Most frames of a result; 0 for any."`
	MaxPixels   int64         `name:"video-max-pixels" default:"8847360" env:"CUTOUT_VIDEO_MAX_PIXELS" help:"Most pixels of a clip's frame; 0 for any."`
	MaxOutput   Bytes         `name:"video-max-output" default:"2GB" env:"CUTOUT_VIDEO_MAX_OUTPUT" help:"Largest result of a clip."`
}

// Validate reports the first setting that cannot work.
func (v Video) Validate() error {
	switch {
	case v.Workers < 0 || v.Workers > 64:
		return fmt.Errorf("--video-workers %d: must be from 0 to 64", v.Workers)
	case v.MaxFile < 1<<10:
		return fmt.Errorf("--video-max-file %v: must be at least 1KB", v.MaxFile)
	case v.MaxDuration < 0 || v.MaxFrames < 0 || v.MaxPixels < 0:
		return errors.New("--video-max-duration, --video-max-frames and --video-max-pixels: must not be negative")
	case v.MaxOutput < 1<<20 || v.MaxOutput > 2<<30:
		return fmt.Errorf("--video-max-output %v: must be from 1MB to 2GB, the largest file that is stored", v.MaxOutput)
	}
	return nil
}
