package video

import (
	"context"
	"encoding/json"
	"errors"
	"image"
	"image/color"
	"image/gif"
	"image/png"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// disc finds what is orange. It is a network that costs nothing.
type disc struct {
	looks atomic.Int64
	slow  chan struct{} // nil: not at all
}

func (*disc) Grid() image.Point { return image.Pt(96, 96) }

func (d *disc) Look(ctx context.Context, small *image.NRGBA) (*image.Gray, error) {
	d.looks.Add(1)
	if d.slow != nil {
		select {
		case <-d.slow:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return orange(small), nil
}

func (*disc) Matte(_ context.Context, frame *image.NRGBA, _ *image.Gray) (*image.Gray, error) {
	return orange(frame), nil
}

func orange(m *image.NRGBA) *image.Gray {
	out := image.NewGray(m.Rect)
	for i := range out.Pix {
		p := m.Pix[4*i:][:4]
		if int(p[0]) > int(p[2])+80 {
			out.Pix[i] = 255
		}
	}
	return out
}

// subject makes a clip of an orange square that moves over blue, with sound, of ffmpeg's own sources.
func subject(t testing.TB, name string, extra ...string) string {
	t.Helper()
	args := []string{
		"-f", "lavfi", "-i", "color=c=0x2040c0:s=160x120:r=25:d=2[bg];color=c=0xf08020:s=48x48:r=25:d=2[fg];[bg][fg]overlay=x='20+t*30':y=36",
		"-f", "lavfi", "-i", "sine=f=440:r=48000:d=2",
	}
	return makeClip(t, name, append(args, extra...)...)
}

// facts is what ffprobe says of a result.
type facts struct {
	codec, format string
	frames        int
	w, h          int
	duration      float64 // of the picture
	rate          Rate
	sound         string
	soundDuration float64
	soundStart    float64
	start         float64
	alpha         bool
}

func examine(t testing.TB, path string) facts {
	t.Helper()
	said, err := capture(t.Context(), needTools(t).FFprobe, []string{
		"-v", "error", "-count_packets", "-of", "json", "-show_entries",
		"stream=codec_type,codec_name,pix_fmt,nb_read_packets,width,height,duration,start_time,avg_frame_rate:stream_tags=alpha_mode,ALPHA_MODE,duration,DURATION:format=duration", path,
	})
	if err != nil {
		t.Fatal(err)
	}
	var p struct {
		Streams []struct {
			Type    string `json:"codec_type"`
			Codec   string `json:"codec_name"`
			Format  string `json:"pix_fmt"`
			Packets string `json:"nb_read_packets"`
			W       int    `json:"width"`
			H       int    `json:"height"`
			Time    string `json:"duration"`
			Start   string `json:"start_time"`
			Rate    string `json:"avg_frame_rate"`
			Tags    map[string]string
		}
		Format struct{ Duration string }
	}
	if err := json.Unmarshal(said, &p); err != nil {
		t.Fatal(err)
	}
	number := func(s string) float64 { v, _ := strconv.ParseFloat(s, 64); return v }
	var f facts
	for _, s := range p.Streams {
		length := number(s.Time)
		for name, value := range s.Tags {
			if strings.EqualFold(name, "duration") && length == 0 { // Matroska: hours, minutes and seconds
				if parts := strings.Split(value, ":"); len(parts) == 3 {
					length = 3600*number(parts[0]) + 60*number(parts[1]) + number(parts[2])
				}
			}
			if strings.EqualFold(name, "alpha_mode") && value == "1" {
				f.alpha = true
			}
		}
		switch s.Type {
		case "video":
			f.codec, f.format, f.w, f.h, f.duration, f.start = s.Codec, s.Format, s.W, s.H, length, number(s.Start)
			f.frames, _ = strconv.Atoi(s.Packets)
			f.rate = fraction(s.Rate)
			f.alpha = f.alpha || strings.Contains(s.Format, "yuva") || s.Format == "bgra"
		case "audio":
			f.sound, f.soundDuration, f.soundStart = s.Codec, length, number(s.Start)
		}
	}
	return f
}

// still takes frame n out of a result, with its alpha.
func still(t testing.TB, path string, n int) *image.NRGBA {
	t.Helper()
	out := filepath.Join(t.TempDir(), "still.png")
	args := []string{"-v", "error", "-nostdin", "-y"}
	if strings.HasSuffix(path, ".webm") {
		args = append(args, "-c:v", "libvpx-vp9") // the other decoder knows of no alpha
	}
	args = append(args, "-i", path, "-vf", "select=eq(n\\,"+strconv.Itoa(n)+"),format=rgba", "-frames:v", "1", out)
	if _, err := capture(t.Context(), needTools(t).FFmpeg, args); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	switch m := m.(type) {
	case *image.NRGBA:
		return m
	default:
		all := image.NewNRGBA(m.Bounds())
		for y := range m.Bounds().Dy() {
			for x := range m.Bounds().Dx() {
				all.Set(x, y, m.At(x, y))
			}
		}
		return all
	}
}

// near fails where a pixel is not of about a colour.
func near(t testing.TB, what string, m *image.NRGBA, x, y int, want color.NRGBA, tolerance int) {
	t.Helper()
	got := m.NRGBAAt(x, y)
	off := func(a, b uint8) bool { return math.Abs(float64(a)-float64(b)) > float64(tolerance) }
	if off(got.A, want.A) || want.A > 0 && (off(got.R, want.R) || off(got.G, want.G) || off(got.B, want.B)) {
		t.Errorf("%s: pixel %d,%d is %v, want about %v", what, x, y, got, want)
	}
}

// children counts the processes that this one has started and not waited for.
func children(t testing.TB) int {
	t.Helper()
	said, err := exec.CommandContext(t.Context(), "ps", "-o", "stat=,comm=", "--ppid", strconv.Itoa(os.Getpid())).Output()
	if err != nil {
		t.Skipf("no ps: %v", err)
	}
	n := 0
	for line := range strings.SplitSeq(string(said), "\n") {
		if strings.Contains(line, "ff") {
			n++
		}
	}
	return n
}

// TestFormats makes every format of one clip and looks at what comes out with programs that are not ours.
func TestFormats(t *testing.T) {
	t.Parallel()
	tl := needTools(t)
	clip := subject(t, "in.mp4", "-c:v", "libx264", "-preset", "ultrafast", "-crf", "12", "-pix_fmt", "yuv420p", "-c:a", "aac")
	picture := filepath.Join(t.TempDir(), "bg.png")
	writePNG(t, picture, 64, 64, color.NRGBA{200, 0, 200, 255})
	behind := makeClip(t, "behind.mp4", "-f", "lavfi", "-i", "color=c=white:s=320x120:r=10:d=0.7", "-f", "lavfi", "-i", "sine=f=220:d=0.7",
		"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac")
	subjectColor := color.NRGBA{0xf0, 0x80, 0x20, 255}
	nothing := color.NRGBA{}
	for _, tc := range []struct {
		format     Format
		background string
		codec      string
		alpha      bool
		sound      string
		outside    color.NRGBA
		subject    color.NRGBA
	}{
		{MOV, "", "prores", true, "aac", nothing, subjectColor},
		{WebM, "", "vp9", true, "opus", nothing, subjectColor},
		{MatteKey, "", "h264", false, "", color.NRGBA{0, 0, 0, 255}, color.NRGBA{255, 255, 255, 255}},
		{GIF, "", "gif", true, "", nothing, subjectColor},
		{OverImage, picture, "h264", false, "aac", color.NRGBA{200, 0, 200, 255}, subjectColor},
		{OverVideo, behind, "h264", false, "aac", color.NRGBA{255, 255, 255, 255}, subjectColor},
		{GIFOver, picture, "gif", true, "", color.NRGBA{200, 0, 200, 255}, subjectColor},
		{MP4Color, "", "h264", false, "aac", color.NRGBA{0, 255, 0, 255}, subjectColor},
	} {
		t.Run(string(tc.format), func(t *testing.T) {
			t.Parallel()
			var told atomic.Int64
			var kept []Segment
			r, err := tl.Convert(t.Context(), &disc{}, Job{
				Options: Options{Format: tc.format, Color: color.NRGBA{G: 255, A: 255}}, Input: clip, Background: tc.background, Dir: t.TempDir(),
				SegmentTime: 700 * time.Millisecond,
				Keep:        func(_ context.Context, s Segment) error { kept = append(kept, s); return nil },
				Progress:    func(p Progress) { told.Store(int64(p.Done)) },
			})
			if err != nil {
				t.Fatal(err)
			}
			f := examine(t, r.Path)
			if f.codec != tc.codec || f.alpha != tc.alpha || f.sound != tc.sound || f.frames != 50 || r.Frames != 50 || f.w != 160 || f.h != 120 {
				t.Errorf("%+v", f)
			}
			if math.Abs(f.duration-2) > 0.041 {
				t.Errorf("the picture takes %v s", f.duration)
			}
			if f.sound != "" && (math.Abs(f.soundDuration-2) > 0.08 || math.Abs(f.soundStart-f.start) > 0.04) {
				t.Errorf("sound: %+v", f)
			}
			if told.Load() != 50 || len(kept) != 3 || kept[0].Frames != 18 {
				t.Errorf("progress %d, segments %v", told.Load(), kept)
			}
			for _, n := range []int{0, 17, 18, 49} {
				m := still(t, r.Path, n)
				x := 20 + 30*n/25
				near(t, "outside", m, 4, 60, tc.outside, 12)
				near(t, "outside", m, x+80, 60, tc.outside, 12)
				near(t, "subject", m, x+24, 60, tc.subject, 16)
			}
		})
	}
}

func writePNG(t testing.TB, path string, w, h int, c color.NRGBA) {
	t.Helper()
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := 0; i < len(m.Pix); i += 4 {
		m.Pix[i], m.Pix[i+1], m.Pix[i+2], m.Pix[i+3] = c.R, c.G, c.B, c.A
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := png.Encode(f, m); err != nil {
		t.Fatal(err)
	}
}

// TestResume breaks off after a segment and goes on: the result is the one that an attempt without a break makes.
func TestResume(t *testing.T) {
	t.Parallel()
	tl := needTools(t)
	clip := subject(t, "in.mp4", "-c:v", "libx264", "-preset", "ultrafast", "-crf", "12", "-pix_fmt", "yuv420p", "-c:a", "aac")
	job := Job{Options: Options{Format: MP4Color}, Input: clip, Dir: t.TempDir(), SegmentTime: 600 * time.Millisecond}
	whole, err := tl.Convert(t.Context(), &disc{}, job)
	if err != nil {
		t.Fatal(err)
	}
	job.Dir = t.TempDir()
	broken := errors.New("breaks off")
	job.Keep = func(_ context.Context, s Segment) error {
		job.Finished = append(job.Finished, s)
		if len(job.Finished) == 2 {
			return broken
		}
		return nil
	}
	first := job
	if _, err := tl.Convert(t.Context(), &disc{}, first); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	job.Keep = nil
	d := &disc{}
	r, err := tl.Convert(t.Context(), d, job)
	if err != nil {
		t.Fatal(err)
	}
	if r.Frames != 50 || r.Stats.Frames != 20 || d.looks.Load() > 20+warmUp {
		t.Errorf("%d frames, %d of them made, %d seen", r.Frames, r.Stats.Frames, d.looks.Load())
	}
	for _, n := range []int{0, 29, 30, 49} {
		a, b := still(t, whole.Path, n), still(t, r.Path, n)
		for i := range a.Pix {
			if d := int(a.Pix[i]) - int(b.Pix[i]); d > 2 || d < -2 {
				t.Fatalf("frame %d differs", n)
			}
		}
	}
	// All segments are there: nothing is left to do but to join them.
	job.Finished = nil
	job.Dir = t.TempDir()
	job.Keep = func(_ context.Context, s Segment) error { job.Finished = append(job.Finished, s); return nil }
	last := job
	if _, err := tl.Convert(t.Context(), &disc{}, last); err != nil {
		t.Fatal(err)
	}
	job.Keep = nil
	if r, err = tl.Convert(t.Context(), &disc{}, job); err != nil || r.Frames != 50 || r.Stats.Frames != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestInputs takes odd clips, one of a kind each.
func TestInputs(t *testing.T) {
	t.Parallel()
	tl := needTools(t)
	h264 := []string{"-c:v", "libx264", "-preset", "ultrafast", "-crf", "12", "-pix_fmt", "yuv420p"}
	with := func(more ...string) []string { return append(more, h264...) }
	for name, tc := range map[string]struct {
		file   string
		args   []string
		o      Options
		w, h   int
		frames int
		rate   Rate
	}{
		"odd sides, h264":    {"a.mkv", []string{"-vf", "scale=161:121", "-c:v", "ffv1", "-an"}, Options{Format: MP4Color}, 160, 120, 50, Rate{25, 1}},
		"odd sides, prores":  {"a.mkv", []string{"-vf", "scale=161:121", "-c:v", "ffv1", "-an"}, Options{Format: MOV}, 161, 121, 50, Rate{25, 1}},
		"odd sides, vp9":     {"a.mkv", []string{"-vf", "scale=161:121", "-c:v", "ffv1", "-an"}, Options{Format: WebM}, 161, 121, 50, Rate{25, 1}},
		"one frame":          {"a.mp4", with("-frames:v", "1"), Options{Format: MP4Color}, 160, 120, 1, Rate{25, 1}},
		"one frame of a GIF": {"a.gif", []string{"-frames:v", "1", "-an"}, Options{Format: WebM}, 160, 120, 1, Rate{10, 1}},
		"slower":             {"a.mp4", h264, Options{Format: GIF, Rate: 10}, 160, 120, 20, Rate{10, 1}},
		"faster than a GIF":  {"a.mp4", h264, Options{Format: GIF, Rate: 60}, 160, 120, 100, Rate{50, 1}},
		"limited":            {"a.mp4", h264, Options{Format: MP4Color, Frames: 7}, 160, 120, 7, Rate{25, 1}},
		"10 bits": {
			"a.mkv", []string{"-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error", "-pix_fmt", "yuv420p10le"},
			Options{Format: MP4Color}, 160, 120, 50, Rate{25, 1},
		},
		"HDR": {
			"a.mp4", []string{
				"-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error", "-pix_fmt", "yuv420p10le", "-color_primaries", "bt2020",
				"-color_trc", "smpte2084", "-colorspace", "bt2020nc",
			}, Options{Format: MP4Color, Frames: 5}, 160, 120, 5, Rate{25, 1},
		},
		"wide pixels": {"a.mp4", with("-vf", "setsar=2/1"), Options{Format: MP4Color, Frames: 5}, 320, 120, 5, Rate{25, 1}},
		"half the frames are missing": {
			"a.mkv", with("-vf", "select='not(mod(n,4))+lt(n,20)'", "-vsync", "vfr"), Options{Format: MP4Color}, 160, 120, 49, Rate{25, 1},
		},
		"interlaced": {"a.mp4", with("-vf", "setfield=tff", "-flags", "+ildct+ilme", "-x264opts", "tff=1"), Options{Format: MP4Color}, 160, 120, 50, Rate{25, 1}},
		"MPEG-TS":    {"a.ts", h264, Options{Format: MP4Color}, 160, 120, 50, Rate{25, 1}},
		"AVI":        {"a.avi", []string{"-c:v", "mpeg4", "-q:v", "2", "-an"}, Options{Format: MP4Color}, 160, 120, 50, Rate{25, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := tl.Convert(t.Context(), &disc{}, Job{Options: tc.o, Input: subject(t, tc.file, tc.args...), Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			f := examine(t, r.Path)
			if f.w != tc.w || f.h != tc.h || f.frames != tc.frames || r.Rate != tc.rate || r.Size != image.Pt(tc.w, tc.h) {
				t.Errorf("%+v, %+v", f, r)
			}
		})
	}
}

// TestRotated turns a clip as phones do.
func TestRotated(t *testing.T) {
	t.Parallel()
	tl := needTools(t)
	flat := subject(t, "flat.mp4", "-c:v", "libx264", "-preset", "ultrafast", "-crf", "12", "-pix_fmt", "yuv420p")
	turned := makeClip(t, "turned.mp4", "-i", flat, "-c", "copy", "-metadata:s:v:0", "rotate=90")
	info, err := tl.Probe(t.Context(), turned)
	if err != nil {
		t.Fatal(err)
	}
	if info.Width != 120 || info.Height != 160 || info.Rotation%180 != 90 {
		t.Fatalf("%v turned by %d", info, info.Rotation)
	}
	r, err := tl.Convert(t.Context(), &disc{}, Job{Options: Options{Format: MP4Color}, Input: turned, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	// The square is 20 from the left and 36 from the top: 36 from the left and 20 from the bottom once it is turned.
	m := still(t, r.Path, 0)
	near(t, "subject", m, 36+24, 159-20-24, color.NRGBA{0xf0, 0x80, 0x20, 255}, 16)
	near(t, "outside", m, 60, 20, color.NRGBA{0, 0, 0, 255}, 12)
}

// TestInStep delays the sound, or the picture, and measures both in the result: a flash and a click at the same moment.
func TestInStep(t *testing.T) {
	t.Parallel()
	tl := needTools(t)
	for name, args := range map[string][]string{
		"together":   {"0", "0"},
		"late sound": {"0", "0.3"},
		"late image": {"0.3", "0"},
	} {
		for _, format := range []Format{MP4Color, MOV, WebM} {
			t.Run(name+" "+string(format), func(t *testing.T) {
				t.Parallel()
				// The picture turns orange, and the sound begins, at 1 s of the source's own clock.
				picture := makeClip(t, "p.mkv", "-f", "lavfi", "-i", "color=c=blue:s=64x64:r=25:d=2,drawbox=c=0xf08020:t=fill:enable='gte(t,1)'", "-c:v", "ffv1")
				sound := makeClip(t, "s.mkv", "-f", "lavfi", "-i", "sine=f=1000:r=48000:d=2,volume=enable='lt(t,1)':volume=0", "-c:a", "pcm_s16le")
				clip := makeClip(t, "in.mkv", "-itsoffset", args[0], "-i", picture, "-itsoffset", args[1], "-i", sound, "-map", "0:v", "-map", "1:a", "-c", "copy")
				late := parse(args[1]) - parse(args[0])
				r, err := tl.Convert(t.Context(), &disc{}, Job{Options: Options{Format: format, Color: color.NRGBA{B: 255}}, Input: clip, Dir: t.TempDir()})
				if err != nil {
					t.Fatal(err)
				}
				if got := click(t, r.Path) - flash(t, r.Path); math.Abs(got-late) > 0.04 {
					t.Errorf("the sound comes %.3f s after the picture, want %.3f", got, late)
				}
			})
		}
	}
}

func parse(s string) float64 { v, _ := strconv.ParseFloat(s, 64); return v }

// flash is when the middle of the picture turns red.
func flash(t testing.TB, path string) float64 {
	t.Helper()
	said, err := capture(t.Context(), needTools(t).FFmpeg, []string{
		"-v", "error", "-nostdin", "-copyts", "-i", path, "-an", "-vf", "scale=1:1:flags=area,format=rgb24,showinfo=checksum=0", "-f", "rawvideo", "pipe:1",
	})
	if err != nil {
		t.Fatal(err)
	}
	times, err := capture(t.Context(), needTools(t).FFprobe, []string{"-v", "error", "-select_streams", "v", "-show_entries", "frame=pts_time", "-of", "csv=p=0", path})
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Fields(strings.ReplaceAll(string(times), ",", " "))
	for i := 0; i+2 < len(said); i += 3 {
		if said[i] > 120 {
			return parse(all[i/3])
		}
	}
	t.Fatal("no flash")
	return 0
}

// click is when the sound begins to be heard.
func click(t testing.TB, path string) float64 {
	t.Helper()
	said, err := capture(t.Context(), needTools(t).FFmpeg, []string{
		"-v", "error", "-nostdin", "-i", path, "-vn", "-ac", "1", "-ar", "8000", "-af", "aresample=async=1:first_pts=0", "-f", "s16le", "pipe:1",
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(said); i += 2 {
		if v := int16(uint16(said[i]) | uint16(said[i+1])<<8); v > 1000 || v < -1000 {
			return float64(i/2) / 8000
		}
	}
	t.Fatal("no sound")
	return 0
}

// TestRefused hands in what is no clip, and clips over a limit.
func TestRefused(t *testing.T) {
	t.Parallel()
	tl := needTools(t)
	clip := subject(t, "in.mp4", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-movflags", "+faststart")
	data, err := os.ReadFile(clip)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	picture := filepath.Join(t.TempDir(), "picture.mp4")
	writePNG(t, picture, 16, 16, color.NRGBA{1, 2, 3, 255})
	secret := write("secret.txt", []byte("secret"))
	for name, tc := range map[string]struct {
		path   string
		change func(*Job)
		want   string
	}{
		"empty":           {write("a.mp4", nil), nil, "The file is empty."},
		"text":            {write("a.mp4", []byte("hello")), nil, "not a video that can be read"},
		"noise":           {write("a.mp4", data[len(data)/2:]), nil, "not a video that can be read"},
		"header alone":    {write("a.mp4", data[:2000]), nil, "can be read"},
		"cut short":       {write("a.mp4", data[:len(data)*3/5]), nil, "damaged"},
		"picture":         {picture, nil, "not a video that can be read"},
		"sound alone":     {makeClip(t, "a.mp4", "-f", "lavfi", "-i", "sine=d=1", "-c:a", "aac"), nil, "no moving picture"},
		"playlist":        {write("a.m3u8", []byte("#EXTM3U\n#EXTINF:1,\nfile://"+clip+"\n#EXT-X-ENDLIST\n")), nil, "not a video that can be read"},
		"playlist as mp4": {write("a.mp4", []byte("#EXTM3U\n#EXTINF:1,\nfile://"+clip+"\n#EXT-X-ENDLIST\n")), nil, "not a video that can be read"},
		"list of files":   {write("a.mp4", []byte("ffconcat version 1.0\nfile "+secret+"\n")), nil, "not a video that can be read"},
		"list of clips":   {write("a.mp4", []byte("ffconcat version 1.0\nfile "+clip+"\n")), nil, "not a video that can be read"},
		"SDP":             {write("a.sdp", []byte("v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n")), nil, "not a video that can be read"},
		"duration":        {clip, func(j *Job) { j.Limits.MaxDuration = time.Second }, "longer than the 1s"},
		"frames":          {clip, func(j *Job) { j.Limits.MaxFrames = 30 }, "more than the 30 frames"},
		"frames by rate":  {clip, func(j *Job) { j.Limits.MaxFrames = 60; j.Rate = 60 }, "more than the 60 frames"},
		"pixels":          {clip, func(j *Job) { j.Limits.MaxPixels = 10000 }, "160x120 pixels"},
		"output":          {clip, func(j *Job) { j.Limits.MaxOutput = 3000 }, "larger than the 3000 bytes"},
		"background text": {clip, func(j *Job) { j.Format = OverImage; j.Background = secret }, "background"},
		"background clip": {clip, func(j *Job) { j.Format = OverVideo; j.Background = picture }, "background"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job := Job{Options: Options{Format: MP4Color}, Input: tc.path, Dir: t.TempDir()}
			if tc.change != nil {
				tc.change(&job)
			}
			_, err := tl.Convert(t.Context(), &disc{}, job)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("%v, want %q", err, tc.want)
			}
			bad, isBad := errors.AsType[*UnreadableError](err)
			_, isLimit := errors.AsType[*LimitError](err)
			_, isBackground := errors.AsType[*BackgroundError](err)
			if !isBad && !isLimit && !isBackground {
				t.Errorf("%T: %v", err, err)
			}
			if isBad && strings.Contains(bad.Public, "/") {
				t.Errorf("a path is told: %s", bad.Public)
			}
		})
	}
	// A frame limit makes a long clip short enough.
	job := Job{Options: Options{Format: MP4Color, Frames: 20, Limits: Limits{MaxDuration: time.Second, MaxFrames: 30}}, Input: clip, Dir: t.TempDir()}
	if r, err := tl.Convert(t.Context(), &disc{}, job); err != nil || r.Frames != 20 {
		t.Errorf("limited to 20 frames: %+v, %v", r, err)
	}
}

// TestCancel ends a conversion in the middle: no process stays behind.
func TestCancel(t *testing.T) {
	tl := needTools(t)
	clip := subject(t, "in.mp4", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
	behind := subject(t, "behind.mp4", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
	ctx, cancel := context.WithCancelCause(t.Context())
	d := &disc{slow: make(chan struct{})}
	cause := errors.New("no longer wanted")
	go func() {
		for range 5 {
			d.slow <- struct{}{}
		}
		cancel(cause)
	}()
	_, err := tl.Convert(ctx, d, Job{Options: Options{Format: OverVideo}, Input: clip, Background: behind, Dir: t.TempDir()})
	if !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	if n := children(t); n != 0 {
		t.Errorf("%d processes are left", n)
	}
}

// TestGIFSize holds our GIF against the one that ffmpeg makes of the same frames in its usual way.
func TestGIFSize(t *testing.T) {
	t.Parallel()
	tl := needTools(t)
	clip := makeClip(t, "in.mp4", "-f", "lavfi", "-i", "testsrc2=s=160x120:r=10:d=1.5", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
	dir := t.TempDir()
	r, err := tl.Convert(t.Context(), &disc{}, Job{Options: Options{Format: GIF}, Input: clip, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	usual := makeClip(t, "usual.gif", "-i", filepath.Join(dir, "part-000000.nut"), "-lavfi", "split[a][b];[a]palettegen[p];[b][p]paletteuse")
	info, err := os.Stat(usual)
	if err != nil {
		t.Fatal(err)
	}
	if r.Bytes > info.Size() {
		t.Errorf("%d bytes, ffmpeg's has %d", r.Bytes, info.Size())
	}
	f, err := os.Open(r.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	g, err := gif.DecodeAll(f)
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Image) != 15 || g.LoopCount != 0 {
		t.Errorf("%d frames, loop count %d", len(g.Image), g.LoopCount)
	}
}
