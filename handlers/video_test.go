package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cutout/config"
	"cutout/handlers"
	"cutout/handlers/backgroundremoverai"
	"cutout/jobs"
	"cutout/pipeline"
	"cutout/video"
)

// videoState is a reply to a poll about clips.
type videoState struct {
	state
	Progress *struct {
		Done      int      `json:"frames_done"`
		Total     *int     `json:"frames_total"`
		Rate      *float64 `json:"fps"`
		Remaining *int     `json:"remaining_seconds"`
	} `json:"progress"`
}

// startVideo runs a server that takes clips, on the real pipeline. Without ffmpeg the test is skipped.
func startVideo(t *testing.T, change func(*config.Video)) (*jobBundle, *video.Tools) {
	t.Helper()
	tools, err := video.Find(t.Context(), "")
	if err != nil {
		t.Skipf("%v", err)
	}
	p, err := engine()
	if err != nil {
		t.Fatal(err)
	}
	cfg := config.Video{
		WorkDir: t.TempDir(), MaxFile: 4 << 20, MaxDuration: time.Minute, MaxFrames: 1000, MaxPixels: 1e6, MaxOutput: 64 << 20,
	}
	if change != nil {
		change(&cfg)
	}
	b := startJobs(t, func(c *handlers.Config, j *jobs.Config) {
		j.Kinds = append(j.Kinds, backgroundremoverai.VideoKind)
		j.Lease = 300 * time.Millisecond
		j.Log = c.Log
		c.Video = &backgroundremoverai.Video{Config: cfg, Fetcher: c.Fetcher}
	})
	frames := func(_ context.Context, o pipeline.Options) (*pipeline.Frames, error) { return p.Frames(o) }
	if err := b.jobs.Start(backgroundremoverai.VideoKind, 1, backgroundremoverai.VideoWorker(cfg, tools, frames, b.metrics.NewVideo(), slog.New(slog.DiscardHandler))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left, err := os.ReadDir(cfg.WorkDir); err != nil || len(left) != 0 {
			t.Errorf("left in the work directory: %v, %v", left, err)
		}
	})
	return b, tools
}

// clipOf makes a clip of ffmpeg's own sources: an orange square on grey.
func clipOf(t *testing.T, tools *video.Tools, seconds string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "clip.mp4")
	out, err := exec.CommandContext(t.Context(), tools.FFmpeg, "-v", "error", "-nostdin", "-f", "lavfi",
		"-i", "color=c=0xbec3c8:s=96x96:r=5:d="+seconds+",drawbox=x=28:y=28:w=40:h=40:c=0xe66e14:t=fill", "-f", "lavfi", "-i", "sine=d="+seconds,
		"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (b *jobBundle) pollVideo(id string) (st videoState) {
	b.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		got := b.post("/v1/results/", text("uuid", id))
		st = videoState{}
		if err := json.Unmarshal([]byte(got.body), &st); got.status != 200 || err != nil {
			b.t.Fatalf("%d %s", got.status, got.body)
		}
		if st.Finished != nil && *st.Finished {
			return st
		}
	}
	b.t.Fatal("the job does not end")
	return st
}

// TestVideo hands in clips and takes the results, which a program that is not ours can read.
func TestVideo(t *testing.T) {
	b, tools := startVideo(t, nil)
	clip := clipOf(t, tools, "1")
	b.fetcher.files["https://example.com/behind"] = clip
	background := file("bg_image", "bg.png", string(encodePNG(8, 8)))
	for name, tc := range map[string]struct {
		parts     []part
		extension string
		kind      string
		frames    string
	}{
		"as it comes":        {nil, ".mov", "video/quicktime", "5"},
		"webm":               {[]part{text("video_format", "webm"), text("frame_limit", "3")}, ".webm", "video/webm", "3"},
		"GIF on a picture":   {[]part{text("video_format", "gif_with_bg"), background}, ".gif", "image/gif", "5"},
		"on a clip by URL":   {[]part{text("video_format", "video_over_video"), text("bg_video", "https://example.com/behind")}, ".mp4", "video/mp4", "5"},
		"on a colour":        {[]part{text("video_format", "mp4_with_color"), text("video_bg_color", "#112233"), text("framerate", "2")}, ".mp4", "video/mp4", "2"},
		"words for nothing":  {[]part{text("video_format", "mattekey"), text("framerate", "auto"), text("frame_limit", "none")}, ".mp4", "video/mp4", "5"},
		"the German page's":  {[]part{text("video_format", "mp4 mit Farbe")}, ".mp4", "video/mp4", "5"},
		"people, with knobs": {[]part{text("model", "u2net_human_seg"), text("alpha_matting", "true"), text("frame_limit", "1")}, ".mov", "video/quicktime", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			parts := append([]part{text("convert_to", "video-backgroundremover"), text("lang", "en"), file("files", "my clip.mp4", clip)}, tc.parts...)
			st := b.pollVideo(b.accepted(b.quirkyPost("/v1/convert/", parts...)))
			if len(st.Files) != 1 || st.Files[0].Filename != "my clip_processed"+tc.extension || len(st.Failed)+len(st.Errors) != 0 {
				t.Fatalf("%+v", st)
			}
			got := b.get(st.Files[0].URL)
			if got.status != 200 || got.header.Get("Content-Type") != tc.kind {
				t.Fatalf("%d %v", got.status, got.header)
			}
			path := filepath.Join(t.TempDir(), "result"+tc.extension)
			if err := os.WriteFile(path, []byte(got.body), 0o600); err != nil {
				t.Fatal(err)
			}
			said, err := exec.CommandContext(t.Context(), tools.FFprobe, "-v", "error", "-count_packets", "-select_streams", "v",
				"-show_entries", "stream=nb_read_packets", "-of", "csv=p=0", path).CombinedOutput()
			if strings.TrimSpace(string(said)) != tc.frames || err != nil {
				t.Errorf("%s frames, want %s: %v", said, tc.frames, err)
			}
		})
	}
}

// quirkyPost sends a form whose files the OpenAPI document names otherwise.
func (b *jobBundle) quirkyPost(path string, parts ...part) reply {
	b.t.Helper()
	contentType, body := form(b.t, parts...)
	return b.send(b.quirky, "POST", path, contentType, string(body))
}

// TestVideoRefusals hands in what cannot be done.
func TestVideoRefusals(t *testing.T) {
	b, tools := startVideo(t, func(c *config.Video) { c.MaxDuration = 3 * time.Second })
	clip := file("files", "a.mp4", clipOf(t, tools, "1"))
	for name, tc := range map[string]struct {
		parts  []part
		status int
		want   string
	}{
		"format":        {[]part{clip, text("video_format", "avi")}, 400, "video_format must be"},
		"rate":          {[]part{clip, text("framerate", "61")}, 400, "framerate must be a number from 1 to 60."},
		"limit":         {[]part{clip, text("frame_limit", "0")}, 400, "frame_limit must be a number from 1"},
		"colour":        {[]part{clip, text("video_bg_color", "#12")}, 400, "video_bg_color must be a hex colour"},
		"no background": {[]part{clip, text("video_format", "video_over_image")}, 400, "video_format=video_over_image needs a background"},
		"no clip":       {nil, 400, "No file was sent"},
		"large":         {[]part{file("files", "a.mp4", strings.Repeat("x", 4<<20+1))}, 413, "at most 4194304 bytes"},
		"bad URL":       {[]part{clip, text("video_format", "video_over_video"), text("bg_video", "https://example.com/missing")}, 400, "Background: "},
	} {
		t.Run(name, func(t *testing.T) {
			got := b.quirkyPost("/v1/convert/", append([]part{text("convert_to", "video-backgroundremover")}, tc.parts...)...)
			if got.status != tc.status || !strings.Contains(got.body, tc.want) {
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
	t.Run("in the reply to a poll", func(t *testing.T) {
		for name, tc := range map[string]struct {
			parts []part
			want  string
		}{
			"a.mp4":       {[]part{file("files", "a.mp4", "no clip")}, "a.mp4: The file is not a video that can be read."},
			"picture.mp4": {[]part{file("files", "picture.mp4", string(encodePNG(4, 4)))}, "picture.mp4: The file is not a video that can be read."},
			"long.mp4":    {[]part{file("files", "long.mp4", clipOf(t, tools, "5"))}, "long.mp4: The video is longer than the 3s that are taken. frame_limit takes its start."},
		} {
			st := b.pollVideo(b.accepted(b.quirkyPost("/v1/convert/", append([]part{text("convert_to", "video-backgroundremover")}, tc.parts...)...)))
			if len(st.Files) != 0 || len(st.Failed) != 1 || st.Failed[0] != name || len(st.Errors) != 1 || st.Errors[0] != tc.want {
				t.Errorf("%+v", st)
			}
		}
	})
	t.Run("background", func(t *testing.T) {
		st := b.pollVideo(b.accepted(b.quirkyPost("/v1/convert/", text("convert_to", "video-backgroundremover"), clip,
			text("video_format", "video_over_image"), file("background", "bg.png", "no picture"))))
		if len(st.Files) != 0 || len(st.Errors) != 1 || st.Errors[0] != "Background: The file is not an image that can be read." {
			t.Errorf("%+v", st)
		}
	})
	t.Run("no ffmpeg", func(t *testing.T) {
		b := startJobs(t, func(c *handlers.Config, _ *jobs.Config) {
			c.Video = &backgroundremoverai.Video{Config: config.Video{MaxFile: 1 << 20}, Await: func() error { return errors.New("not found") }, Fetcher: c.Fetcher}
		})
		if got := b.quirkyPost("/v1/convert/", text("convert_to", "video-backgroundremover"), clip); got.status != 501 || !strings.Contains(got.body, "it has no ffmpeg") {
			t.Errorf("%d %s", got.status, got.body)
		}
	})
}

// TestVideoGoesOn breaks a job off once a part of its result is kept. The next attempt makes the rest and no more.
func TestVideoGoesOn(t *testing.T) {
	tools, err := video.Find(t.Context(), "")
	if err != nil {
		t.Skipf("%v", err)
	}
	p, err := engine()
	if err != nil {
		t.Fatal(err)
	}
	cfg := config.Video{WorkDir: t.TempDir(), MaxFile: 4 << 20, MaxOutput: 64 << 20}
	b := startJobs(t, func(c *handlers.Config, j *jobs.Config) {
		j.Kinds = append(j.Kinds, backgroundremoverai.VideoKind)
		c.Video = &backgroundremoverai.Video{Config: cfg, Fetcher: c.Fetcher}
	})
	frames := func(_ context.Context, o pipeline.Options) (*pipeline.Frames, error) { return p.Frames(o) }
	worker := backgroundremoverai.VideoWorker(cfg, tools, frames, b.metrics.NewVideo(), slog.New(slog.DiscardHandler))
	var kept, attempts int
	err = b.jobs.Start(backgroundremoverai.VideoKind, 1, func(ctx context.Context, task *jobs.Task) error {
		attempts = task.Attempt()
		_, files := task.Saved()
		if attempts > 1 {
			kept = len(files)
			return worker(ctx, task)
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			for ctx.Err() == nil {
				if state, _ := task.Saved(); state != nil {
					cancel()
				}
				time.Sleep(time.Millisecond)
			}
		}()
		return worker(ctx, task)
	})
	if err != nil {
		t.Fatal(err)
	}
	st := b.pollVideo(b.accepted(b.quirkyPost("/v1/convert/", text("convert_to", "video-backgroundremover"), text("video_format", "mp4_with_color"),
		file("files", "long.mp4", clipOf(t, tools, "60")))))
	if len(st.Files) != 1 || attempts != 2 || kept == 0 {
		t.Fatalf("%+v after %d attempts, the second of which found %d segments", st, attempts, kept)
	}
	path := filepath.Join(t.TempDir(), "result.mp4")
	if err := os.WriteFile(path, []byte(b.get(st.Files[0].URL).body), 0o600); err != nil {
		t.Fatal(err)
	}
	said, err := exec.CommandContext(t.Context(), tools.FFprobe, "-v", "error", "-count_packets", "-select_streams", "v",
		"-show_entries", "stream=nb_read_packets", "-of", "csv=p=0", path).CombinedOutput()
	if strings.TrimSpace(string(said)) != "300" || err != nil {
		t.Errorf("%s frames: %v", said, err)
	}
	const segment = 40 // frames
	want := fmt.Sprintf(`cutout_video_frames_total{format="mp4_with_color"} %d`, 300-segment*kept)
	if exposed := b.get("/metrics").body; !strings.Contains(exposed, want) {
		t.Errorf("the second attempt has not made what was left, want %s", want)
	}
	if left, err := os.ReadDir(cfg.WorkDir); err != nil || len(left) != 0 {
		t.Errorf("left in the work directory: %v, %v", left, err)
	}
}
