package backgroundremoverai

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"cutout/codec"
	"cutout/config"
	"cutout/fetch"
	"cutout/handlers/dialect"
	"cutout/handlers/upload"
	"cutout/jobs"
	"cutout/pipeline"
	"cutout/video"
)

// VideoKind is that of the jobs that VideoWorker does.
const VideoKind = "video"

// Names of the parameters of clips.
const (
	fieldVideoFormat  = "video_format"
	fieldVideoColored = "video_bg_color_enabled"
	fieldVideoColor   = "video_bg_color"
	fieldFramerate    = "framerate"
	fieldFrameLimit   = "frame_limit"
)

// videoFields are read for clips alone.
var videoFields = []string{fieldVideoFormat, fieldVideoColored, fieldVideoColor, fieldFramerate, fieldFrameLimit}

// formatNames are the values of video_format, with those of the service's German and Spanish pages.
var formatNames = map[string]video.Format{
	"": video.MOV, "mov": video.MOV, "mattekey": video.MatteKey, "gif": video.GIF, "webm": video.WebM,
	"video_over_image": video.OverImage, "video über bild": video.OverImage, "video_sobre_imagen": video.OverImage,
	"video_over_video": video.OverVideo, "video über video": video.OverVideo, "video_sobre_video": video.OverVideo,
	"gif_with_bg": video.GIFOver, "gif mit hintergrund": video.GIFOver, "gif_con_bg": video.GIFOver,
	"mp4_with_color": video.MP4Color, "mp4 mit farbe": video.MP4Color, "mp4_con_color": video.MP4Color,
}

const (
	defaultVideoColor = "#00ff00"
	maxFramerate      = 60
	maxFrameLimit     = 1 << 30
)

// Video is what the dialect needs to take clips.
type Video struct {
	Config config.Video
	// Await ends once it is known whether clips are taken, with why not: a server looks for ffmpeg after it has begun to
	// serve. Nil: they are taken.
	Await   func() error
	Fetcher dialect.Fetcher
}

func (v *Video) refuses() bool { return v.Await != nil && v.Await() != nil }

// WithVideo lets the dialect take clips. It returns a.
func (a *API) WithVideo(v *Video) *API {
	a.video = v
	return a
}

// largestFile is the most that a file may have, be it a picture or a clip: which of them it is may stand behind it.
func (a *API) largestFile() int64 {
	if a.video == nil || a.cfg.MaxFile == 0 || a.video.Config.MaxFile == 0 {
		return int64(a.cfg.MaxFile)
	}
	return int64(max(a.cfg.MaxFile, a.video.Config.MaxFile))
}

// largestRequest is the most that a request may have.
func (a *API) largestRequest() int64 {
	if a.video == nil {
		return int64(a.cfg.MaxRequest)
	}
	const form = 1 << 20 // what else is in it
	return max(int64(a.cfg.MaxRequest), int64(a.video.Config.MaxFile)+form)
}

// clip is what a job wants of its videos.
type clip struct {
	Format video.Format `json:"format"`
	Rate   int          `json:"rate,omitempty"`
	Frames int          `json:"frames,omitempty"`
	Color  string       `json:"color,omitempty"`
}

// clip reads the parameters of videos.
func (p *parser) clip() *clip {
	c := &clip{Color: defaultVideoColor}
	var ok bool
	if c.Format, ok = formatNames[strings.ToLower(p.text(fieldVideoFormat))]; !ok {
		p.refusef("video_format must be mov, mattekey, gif, video_over_image, video_over_video, gif_with_bg, mp4_with_color or webm.")
	}
	// Whether the colour is wanted says the format: there would be no other.
	p.boolean(fieldVideoColored)
	if value := p.text(fieldVideoColor); value != "" {
		c.Color = value
	}
	if _, ok := dialect.ParseColor(c.Color); !ok {
		p.refusef("video_bg_color must be a hex colour such as #00ff00.")
	}
	c.Rate = p.unless("auto", fieldFramerate, maxFramerate)
	c.Frames = p.unless("none", fieldFrameLimit, maxFrameLimit)
	return c
}

// unless reads a number from 1 that may be left out, or given as the word that the documentation has for that.
func (p *parser) unless(word, name string, high int) int {
	if value := p.text(name); value == "" || strings.EqualFold(value, word) {
		return 0
	}
	return p.integer(name, 0, 1, high)
}

// checkFiles holds a request against the limits of what it turned out to be.
func (a *API) checkFiles(o options, in *incoming) error {
	limit := int64(a.cfg.MaxFile)
	needs := ""
	if o.Video != nil {
		if a.video == nil || a.video.refuses() {
			return &dialect.Error{
				Status: http.StatusNotImplemented, Reason: reasonNoVideo,
				Public: "Video is not supported by this server: it has no ffmpeg. convert_to must be image-backgroundremover.",
			}
		}
		limit, needs = int64(a.video.Config.MaxFile), o.Video.Format.Needs()
	}
	for _, f := range append(slices.Clone(in.pictures), in.background) {
		if limit > 0 && f.Size > limit {
			return tooLarge(limit)
		}
	}
	if needs != "" && in.background.Key == "" {
		return badRequest(dialect.ReasonMissingImage, fmt.Sprintf(
			"video_format=%s needs a background: send the %s, or its URL, as bg_%s.", o.Video.Format, needs, needs))
	}
	return nil
}

const reasonNoVideo = "no_video"

func tooLarge(limit int64) *dialect.Error {
	return &dialect.Error{
		Status: http.StatusRequestEntityTooLarge, Reason: dialect.ReasonFileTooLarge,
		Public: fmt.Sprintf("A file is too large, at most %d bytes are taken.", limit),
	}
}

// fetchBackground fetches a background of which the form has the URL.
func (a *API) fetchBackground(ctx context.Context, form *upload.Form, o options, in *incoming) error {
	field, ok := form.Get(backgroundFields...)
	url := field.Text()
	if !ok || in.background.Key != "" || a.video == nil || !strings.HasPrefix(url, "http://") && !strings.HasPrefix(url, "https://") {
		return nil
	}
	limit := int64(a.cfg.MaxFile)
	if o.Video != nil {
		if o.Video.Format.Needs() == "" {
			return nil
		}
		limit = int64(a.video.Config.MaxFile)
	} else if o.Background != backgroundImage {
		return nil
	}
	got, err := a.video.Fetcher.Get(ctx, url, limit)
	if err != nil {
		if bad, ok := errors.AsType[*fetch.Error](err); ok {
			return &dialect.Error{
				Status: http.StatusBadRequest, Reason: dialect.ReasonBackground + string(bad.Kind), Public: "Background: " + bad.Public, Err: err,
			}
		}
		return err
	}
	f, err := a.jobs.Upload(ctx, "background", "", bytes.NewReader(got.Body))
	if err != nil {
		return jobError(err)
	}
	in.background = f
	return nil
}

// frames translates a job's options for the pipeline.
func (o options) frames() pipeline.Options {
	out := o.pipeline(codec.Limits{}, nil)
	return pipeline.Options{Model: out.Model, Subject: out.Subject, Quality: out.Quality, Matting: out.Matting}
}

// progress tells how far a job with clips is. Clients that do not know it pass over it.
type progress struct {
	Done      int      `json:"frames_done"`
	Total     *int     `json:"frames_total"` // null: the clip does not tell
	Rate      *float64 `json:"fps"`          // null: not known yet
	Remaining *int     `json:"remaining_seconds"`
}

func progressOf(st jobs.Status) *progress {
	if st.Kind != VideoKind || st.Phase != jobs.Running || st.Done == 0 && st.Total <= len(st.Inputs) {
		return nil
	}
	p := &progress{Done: st.Done}
	if st.Total > 0 {
		p.Total = &st.Total
	}
	if st.Rate > 0 {
		rate := float64(int(st.Rate*100+0.5)) / 100
		p.Rate = &rate
		if st.Total > 0 {
			left := int(float64(max(st.Total-st.Done, 0))/st.Rate + 0.5)
			p.Remaining = &left
		}
	}
	return p
}

// String is for logs.
func (c *clip) String() string {
	return string(c.Format) + " rate=" + strconv.Itoa(c.Rate) + " frames=" + strconv.Itoa(c.Frames)
}
