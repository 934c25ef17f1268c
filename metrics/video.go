package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Names of the metrics of clips.
const (
	VideoFramesTotal  = "cutout_video_frames_total"
	VideoLookedTotal  = "cutout_video_frames_looked_total"
	VideoSecondsTotal = "cutout_video_stage_seconds_total"
	VideoClipsTotal   = "cutout_video_clips_total"
)

// Video records what becomes of clips.
type Video struct {
	frames, looked *prometheus.CounterVec
	seconds, clips *prometheus.CounterVec
}

// NewVideo adds the metrics of clips.
func (m *Metrics) NewVideo() *Video {
	v := &Video{
		frames: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: VideoFramesTotal, Help: "Frames of clips made, by format.",
		}, []string{"format"}),
		looked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: VideoLookedTotal, Help: "Frames of clips that the network has seen; the others share a mask, by format.",
		}, []string{"format"}),
		seconds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: VideoSecondsTotal, Help: "Time that clips took: of ffmpeg for decode, encode and join, else of this process, by stage.",
		}, []string{"stage"}),
		clips: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: VideoClipsTotal, Help: "Clips that this process has worked on to their end, by format and outcome.",
		}, []string{"format", "outcome"}),
	}
	m.registry.MustRegister(v.frames, v.looked, v.seconds, v.clips)
	return v
}

// Clip records one clip: "done", "refused" or "failed". A nil Video records nothing.
func (v *Video) Clip(format, outcome string) {
	if v != nil {
		v.clips.WithLabelValues(format, outcome).Inc()
	}
}

// Frames records the frames of a clip that were made and those that the network has seen.
func (v *Video) Frames(format string, frames, looked int) {
	if v != nil {
		v.frames.WithLabelValues(format).Add(float64(frames))
		v.looked.WithLabelValues(format).Add(float64(looked))
	}
}

// Stage records what a stage took.
func (v *Video) Stage(stage string, took time.Duration) {
	if v != nil {
		v.seconds.WithLabelValues(stage).Add(took.Seconds())
	}
}
