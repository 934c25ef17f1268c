package video

import (
	"context"
	"crypto/sha256"
	"image"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"cutout/pipeline"
)

// TestTable takes every clip of the shared data through every format and prints a table of what came out. CLIPS and FRAMES
// narrow it, OUT keeps the results to be looked at.
func TestTable(t *testing.T) {
	long(t)
	tl := needTools(t)
	m := &remembering{Masker: needMasker(t, pipeline.Options{}), masks: map[[sha256.Size]byte]*image.Gray{}}
	shared(t, "realshort.mp4")
	clips, err := filepath.Glob(filepath.Join("..", "..", "shared", "data", "video", "*"))
	if err != nil {
		t.Fatal(err)
	}
	frames := 0
	if s := os.Getenv("FRAMES"); s != "" {
		frames = int(parse(s))
	}
	picture := filepath.Join(t.TempDir(), "bg.png")
	writePNG(t, picture, 640, 360, color.NRGBA{60, 90, 160, 255})
	t.Log("| clip | format | codec | pixels | size | frames | seconds | sound | alpha seen | bytes |")
	t.Log("|---|---|---|---|---|---|---|---|---|---|")
	for _, clip := range clips {
		if only := os.Getenv("CLIPS"); only != "" && !strings.Contains(clip, only) {
			continue
		}
		info, err := tl.Probe(t.Context(), clip)
		if err != nil {
			t.Fatal(err)
		}
		sizes := map[Format]int64{}
		for _, format := range Formats() {
			dir := t.TempDir()
			if out := os.Getenv("OUT"); out != "" {
				dir = filepath.Join(out, filepath.Base(clip)+"-"+string(format))
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			job := Job{Options: Options{Format: format, Frames: frames, Color: color.NRGBA{G: 255}}, Input: clip, Dir: dir, SegmentTime: 4e9}
			switch format.Needs() {
			case "image":
				job.Background = picture
			case "video":
				job.Background = shared(t, "realshort.mp4")
			}
			r, err := tl.Convert(t.Context(), m, job)
			if err != nil {
				t.Errorf("%s as %s: %v", clip, format, err)
				continue
			}
			sizes[format] = r.Bytes
			f := examine(t, r.Path)
			seen := "-"
			if c := specs[format].content; c == transparent || c == stencil {
				seen = "neither all 0 nor all 255"
				if lo, hi := alphaRange(t, r.Path, r.Frames/2); lo == 255 || hi == 0 {
					seen = "NO"
					t.Errorf("%s as %s: alpha is %d to %d", clip, format, lo, hi)
				}
			}
			t.Logf("| %s | %s | %s | %s | %dx%d | %d | %.2f | %s | %s | %d |", filepath.Base(clip), format, f.codec, f.format, f.w, f.h, f.frames, f.duration, f.sound, seen, r.Bytes)
			rate := format.RateOf(info, 0)
			want := info.expected(rate)
			if frames > 0 {
				want = min(want, frames)
			}
			if math.Abs(float64(f.frames-want)) > 1 || f.frames != r.Frames {
				t.Errorf("%s as %s: %d frames, %d were counted, want %d", clip, format, f.frames, r.Frames, want)
			}
			if one := rate.Time(1).Seconds(); math.Abs(f.duration-rate.Time(f.frames).Seconds()) > one+0.011 {
				t.Errorf("%s as %s: %.3f s for %d frames of %.3f s", clip, format, f.duration, f.frames, one)
			}
			sound := specs[format].sound != "" && (info.Sound != nil || format == OverVideo)
			if (f.sound != "") != sound || f.sound != "" && math.Abs(f.soundStart-f.start) > 0.04 {
				t.Errorf("%s as %s: sound %q at %.3f, picture at %.3f", clip, format, f.sound, f.soundStart, f.start)
			}
		}
		if frames == 0 && sizes[WebM] >= sizes[MOV]/10 { // a first frame weighs more in few
			t.Errorf("%s: the WebM has %d bytes, the MOV %d", clip, sizes[WebM], sizes[MOV])
		}
	}
}

// remembering asks the network once for each picture: formats differ in what becomes of masks.
type remembering struct {
	Masker
	mu    sync.Mutex
	masks map[[sha256.Size]byte]*image.Gray
}

func (r *remembering) Look(ctx context.Context, small *image.NRGBA) (*image.Gray, error) {
	key := sha256.Sum256(small.Pix)
	r.mu.Lock()
	mask := r.masks[key]
	r.mu.Unlock()
	if mask != nil {
		return mask, nil
	}
	mask, err := r.Masker.Look(ctx, small)
	if err == nil {
		r.mu.Lock()
		r.masks[key] = mask
		r.mu.Unlock()
	}
	return mask, err
}

// alphaRange is the least and the most alpha of a frame.
func alphaRange(t testing.TB, path string, n int) (lo, hi uint8) {
	m := still(t, path, n)
	lo = 255
	for i := 3; i < len(m.Pix); i += 4 {
		lo, hi = min(lo, m.Pix[i]), max(hi, m.Pix[i])
	}
	return lo, hi
}
