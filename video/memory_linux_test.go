package video

import (
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cutout/pipeline"
)

// TestLongClip takes ten minutes of 1920x1080 at 10 frames a second through mp4_with_color, and looks at the most memory
// that this process has had resident, which is to be the only thing it does. MINUTES makes it shorter.
func TestLongClip(t *testing.T) {
	long(t)
	const limit = 600 // MB
	minutes := 10.0
	if s := os.Getenv("MINUTES"); s != "" {
		minutes = parse(s)
	}
	tl := needTools(t)
	m := needMasker(t, pipeline.Options{})
	in := makeClip(t, "long.mp4", "-stream_loop", "-1", "-i", shared(t, "cockatoo.mp4"), "-vf", "fps=10,scale=1920:1080", "-t", fmt.Sprint(60*minutes),
		"-an", "-threads", "1", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
	quarters := make([]int, 4) // most resident in each quarter of the frames
	children := 0
	r, err := tl.Convert(t.Context(), m, Job{
		Options: Options{Format: MP4Color, Color: color.NRGBA{G: 255}}, Input: in, Dir: t.TempDir(), SegmentTime: 8 * time.Second,
		Progress: func(p Progress) {
			if p.Done < p.Total {
				q := &quarters[4*p.Done/p.Total]
				*q = max(*q, resident(t, "self", "VmRSS"))
				children = max(children, ofChildren(t))
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	most := resident(t, "self", "VmHWM")
	t.Logf("%d frames in %v: at most %d MB resident here, by quarters of the clip %v, %d MB in all of ffmpeg",
		r.Frames, r.Stats.Elapsed.Round(time.Second), most, quarters, children)
	if want := int(600 * minutes); r.Frames != want {
		t.Errorf("%d frames of %d", r.Frames, want)
	}
	if most >= limit {
		t.Errorf("%d MB resident, of less than %d", most, limit)
	}
	if first, last := quarters[1], quarters[3]; float64(last) > 1.1*float64(first) {
		t.Errorf("it grows: %v MB", quarters)
	}
}

// ofChildren is what this process's children have resident together, in MB.
func ofChildren(t testing.TB) (mb int) {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		pids, err := os.ReadFile(f)
		if err != nil {
			continue // a thread that has ended
		}
		for pid := range strings.FieldsSeq(string(pids)) {
			mb += resident(t, pid, "VmRSS")
		}
	}
	return mb
}

// resident is a line of a process's status, in MB; 0 where it has ended.
func resident(t testing.TB, pid, line string) (mb int) {
	t.Helper()
	status, err := os.ReadFile(filepath.Join("/proc", pid, "status"))
	if err != nil && pid == "self" {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(status)) {
		var kb int
		if n, _ := fmt.Sscanf(l, line+": %d kB", &kb); n == 1 {
			return kb >> 10
		}
	}
	return 0
}
