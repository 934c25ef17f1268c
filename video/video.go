// Package video takes the background out of clips, with ffmpeg at both ends: one process decodes to raw frames in a pipe,
// another encodes from one, and between them frames are looked at, matted and put together on every core. Nothing but
// a fixed number of frames is ever in memory, whatever the length of the clip.
//
// A result is made in segments of a few seconds, each a file of its own, so that work that was interrupted goes on after the
// last one that is complete; in the end they are joined without encoding them again, and the sound is added.
//
// ffmpeg reads hostile files here. It is given local files alone, of the listed container formats alone (a playlist is
// none: it would name other files), no shell, and no text of a client on its command line.
package video

import (
	"errors"
	"fmt"
	"time"
)

// ErrNoTools says that ffmpeg or ffprobe is not there, or too old.
var ErrNoTools = errors.New("ffmpeg is not available")

// UnreadableError says that a file is no clip that can be worked on.
type UnreadableError struct {
	Public string // a sentence fit for the client
	Err    error  // may be nil
}

func (e *UnreadableError) Error() string {
	if e.Err == nil {
		return "video: " + e.Public
	}
	return fmt.Sprintf("video: %s (%v)", e.Public, e.Err)
}

// Unwrap returns the cause.
func (e *UnreadableError) Unwrap() error { return e.Err }

// BackgroundError says that it was the background, not the clip, that could not be used.
type BackgroundError struct{ Err error }

func (e *BackgroundError) Error() string { return fmt.Sprintf("background: %v", e.Err) }

// Unwrap returns the cause.
func (e *BackgroundError) Unwrap() error { return e.Err }

// Limits bounds what is worked on. A zero bounds nothing.
type Limits struct {
	MaxDuration time.Duration // of the clip, or of the part of it that is wanted
	MaxFrames   int           // of the result
	MaxPixels   int64         // of one frame
	MaxOutput   int64         // bytes of the result, and of what is kept until it is done
}

// LimitError says that a clip is over a limit.
type LimitError struct {
	What string // "duration", "frames", "pixels" or "output"
	Text string // a sentence fit for the client
}

func (e *LimitError) Error() string { return "video: " + e.Text }

// pixels checks the size of a frame.
func (l Limits) pixels(w, h int) error {
	if l.MaxPixels > 0 && int64(w)*int64(h) > l.MaxPixels {
		return &LimitError{"pixels", fmt.Sprintf("The video has %dx%d pixels, at most %d pixels are taken.", w, h, l.MaxPixels)}
	}
	return nil
}

// length checks how long a result becomes; zero where that is not known yet.
func (l Limits) length(frames int, rate Rate) error {
	if took := rate.Time(frames); l.MaxDuration > 0 && took > l.MaxDuration+rate.Time(1) {
		return &LimitError{"duration", fmt.Sprintf("The video is longer than the %v that are taken. frame_limit takes its start.", l.MaxDuration)}
	}
	if l.MaxFrames > 0 && frames > l.MaxFrames {
		return &LimitError{"frames", fmt.Sprintf("The result has more than the %d frames that are made. frame_limit and framerate make them fewer.", l.MaxFrames)}
	}
	return nil
}

func (l Limits) output(bytes int64) error {
	if l.MaxOutput > 0 && bytes > l.MaxOutput {
		return &LimitError{"output", fmt.Sprintf("The result is larger than the %d bytes that are stored. Another video_format, framerate or frame_limit makes it smaller.", l.MaxOutput)}
	}
	return nil
}

// Rate is a number of frames a second, as a fraction.
type Rate struct{ Num, Den int64 }

// Float is the rate as a number.
func (r Rate) Float() float64 {
	if r.Den == 0 {
		return 0
	}
	return float64(r.Num) / float64(r.Den)
}

// String writes the rate as ffmpeg reads it.
func (r Rate) String() string { return fmt.Sprintf("%d/%d", r.Num, r.Den) }

// Time is how long so many frames are shown.
func (r Rate) Time(frames int) time.Duration {
	if r.Num <= 0 {
		return 0
	}
	return time.Duration(float64(frames) * float64(r.Den) / float64(r.Num) * float64(time.Second))
}

// frames is how many are shown in a time.
func (r Rate) frames(d time.Duration) int { return int(d.Seconds()*r.Float() + 0.5) }
