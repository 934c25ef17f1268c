package video

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"cutout/pipeline"
)

var tools = sync.OnceValues(func() (*Tools, error) { return Find(context.Background(), "") })

// needTools finds ffmpeg, or skips the test.
func needTools(t testing.TB) *Tools {
	t.Helper()
	found, err := tools()
	if err != nil {
		t.Skipf("%v", err)
	}
	return found
}

var network = sync.OnceValues(func() (*pipeline.Pipeline, error) {
	return pipeline.New(context.Background(), pipeline.Config{})
})

func needMasker(t testing.TB, o pipeline.Options) *pipeline.Frames {
	t.Helper()
	p, err := network()
	if err != nil {
		t.Fatal(err)
	}
	f, err := p.Frames(o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// shared is the path of a clip among the shared data, or skips the test.
func shared(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "shared", "data", "video", name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Skipf("no shared data: %v", err)
	}
	return path
}

// make runs ffmpeg on what a test asks for.
func makeClip(t testing.TB, name string, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	all := append([]string{"-v", "error", "-nostdin", "-y"}, args...)
	if _, err := capture(t.Context(), needTools(t).FFmpeg, append(all, path)); err != nil {
		t.Fatal(err)
	}
	return path
}

// long skips tests that take minutes, unless they are asked for: make video.
func long(t testing.TB) {
	t.Helper()
	if os.Getenv("CUTOUT_VIDEO_TESTS") == "" {
		t.Skip("takes minutes; set CUTOUT_VIDEO_TESTS=1 or run make video")
	}
}
