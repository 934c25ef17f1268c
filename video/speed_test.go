//go:build unix

package video

import (
	"fmt"
	"image/color"
	"runtime"
	"syscall"
	"testing"
	"time"

	"cutout/pipeline"
)

// BenchmarkClip takes 60 frames, no two of them alike, through a clip's whole way, and reports frames a second, the
// processor time of all stages as a share of the cores' time, which bounds the speed, and ffmpeg's shares of that. The rest
// is this process's, see BenchmarkStages.
func BenchmarkClip(b *testing.B) {
	tl := needTools(b)
	for _, network := range []struct {
		name string
		pipeline.Subject
	}{{"u2netp", pipeline.Universal}, {"people", pipeline.Human}} {
		m := needMasker(b, pipeline.Options{Subject: network.Subject})
		for _, size := range []string{"320:240", "640:480", "1920:1080"} {
			for _, format := range []Format{MP4Color, MOV} {
				in := makeClip(b, "in.mp4", "-stream_loop", "-1", "-i", shared(b, "realshort.mp4"), "-vf", "scale="+size+":flags=lanczos,noise=alls=6:allf=t",
					"-frames:v", "60", "-an", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
				b.Run(fmt.Sprintf("%s/%s/%s", network.name, size, format), func(b *testing.B) {
					for b.Loop() {
						own := processorTime(b)
						r, err := tl.Convert(b.Context(), m, Job{Options: Options{Format: format, Color: color.NRGBA{G: 255}}, Input: in, Dir: b.TempDir(), SegmentTime: 8 * time.Second})
						if err != nil {
							b.Fatal(err)
						}
						s := r.Stats
						all := processorTime(b) - own + s.Decode + s.Encode + s.Join
						b.ReportMetric(float64(r.Frames)/s.Elapsed.Seconds(), "frames/s")
						b.ReportMetric(100*all.Seconds()/(s.Elapsed.Seconds()*float64(runtime.GOMAXPROCS(0))), "%busy")
						b.ReportMetric(100*s.Decode.Seconds()/all.Seconds(), "%decode")
						b.ReportMetric(100*(s.Encode+s.Join).Seconds()/all.Seconds(), "%encode")
						b.ReportMetric(float64(s.Looked), "looks")
					}
				})
			}
		}
	}
}

// processorTime is what this process has used.
func processorTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
