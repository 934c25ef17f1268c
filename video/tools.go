package video

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Tools are the programs that read and write clips.
type Tools struct {
	FFmpeg, FFprobe string // absolute paths
	Version         string // of ffmpeg, as it says
	tonemap         bool   // it can turn HDR into SDR
}

const (
	oldest      = 5           // major version of ffmpeg
	findTimeout = time.Minute // a machine may be very busy just then
	mostSaid    = 1 << 20     // bytes of the answers of ffprobe and ffmpeg to questions
)

var versionForm = regexp.MustCompile(`^ffmpeg version (\S+)`)

// Find looks for ffmpeg under the given name or path, "" being ffmpeg on the PATH, and for ffprobe beside it or else on the
// PATH, and asks them for their version. Its errors wrap ErrNoTools.
func Find(ctx context.Context, ffmpeg string) (*Tools, error) {
	if ffmpeg == "" {
		ffmpeg = "ffmpeg"
	}
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	t := &Tools{}
	var err error
	if t.FFmpeg, err = absolute(ffmpeg); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoTools, err)
	}
	if t.FFprobe, err = absolute(filepath.Join(filepath.Dir(t.FFmpeg), "ffprobe")); err != nil {
		if t.FFprobe, err = absolute("ffprobe"); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoTools, err)
		}
	}
	said, err := capture(ctx, t.FFmpeg, []string{"-version"})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoTools, err)
	}
	match := versionForm.FindSubmatch(said)
	if match == nil {
		return nil, fmt.Errorf("%w: %s does not say that it is ffmpeg", ErrNoTools, t.FFmpeg)
	}
	t.Version = string(match[1])
	// Builds of the development version are named after a commit: N-112233-gabcdef.
	if major, err := strconv.Atoi(strings.TrimLeft(strings.SplitN(t.Version, ".", 2)[0], "n")); err == nil && major < oldest {
		return nil, fmt.Errorf("%w: version %s is older than %d", ErrNoTools, t.Version, oldest)
	}
	if _, err := capture(ctx, t.FFprobe, []string{"-version"}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoTools, err)
	}
	filters, err := capture(ctx, t.FFmpeg, []string{"-hide_banner", "-filters"})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoTools, err)
	}
	t.tonemap = strings.Contains(string(filters), " zscale ") && strings.Contains(string(filters), " tonemap ")
	encoders, err := capture(ctx, t.FFmpeg, []string{"-hide_banner", "-encoders"})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoTools, err)
	}
	for _, name := range []string{"prores_ks", "libx264", "libvpx-vp9", "gif", "ffv1", "aac", "libopus"} {
		if !strings.Contains(string(encoders), " "+name+" ") {
			return nil, fmt.Errorf("%w: %s was built without %s", ErrNoTools, t.FFmpeg, name)
		}
	}
	return t, nil
}

func absolute(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

func toolName(path string) string {
	return strings.TrimSuffix(filepath.Base(path), ".exe")
}
