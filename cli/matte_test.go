package cli

import (
	"image"
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cutout/codec"
)

// trimapFile is a trimap for picture: sure to a few pixels from the disc's edge.
func trimapFile(t *testing.T, dir string, w, h int) string {
	t.Helper()
	m := image.NewGray(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			switch d := (x-60)*(x-60) + (y-50)*(y-50); {
			case d < 25*25:
				m.SetGray(x, y, color.Gray{Y: 255})
			case d < 35*35:
				m.SetGray(x, y, color.Gray{Y: 128})
			}
		}
	}
	path := filepath.Join(dir, "trimap.png")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := codec.EncodePNG(f, m); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMatte(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	photo, trimap := writePicture(t, dir, "disc.png"), trimapFile(t, dir, 120, 100)
	alpha, subject := filepath.Join(dir, "alpha.png"), filepath.Join(dir, "subject.png")
	if out := run(t, "", "matte", "--image", photo, "--trimap", trimap, "-o", alpha, "--foreground", subject); out.code != exitOK {
		t.Fatalf("exit %d: %s", out.code, out.stderr)
	}
	matte, ok := readPicture(t, alpha).(*image.Gray)
	if !ok || matte.Rect != image.Rect(0, 0, 120, 100) {
		t.Fatalf("the matte is %v", matte)
	}
	wrong := 0
	for y := range 100 {
		for x := range 120 {
			inside := (x-60)*(x-60)+(y-50)*(y-50) < 30*30
			if v := matte.GrayAt(x, y).Y; inside && v < 250 || !inside && v > 5 {
				wrong++
			}
		}
	}
	if wrong > 20 {
		t.Errorf("%d pixels are on the wrong side of an edge that is perfectly sharp", wrong)
	}
	cut, ok := readPicture(t, subject).(*image.NRGBA)
	if !ok || cut.Rect != matte.Rect {
		t.Fatalf("the subject is %v", cut)
	}
	if c := cut.NRGBAAt(60, 50); c != (color.NRGBA{R: 230, G: 110, B: 20, A: 255}) {
		t.Errorf("the middle of the subject is %v", c)
	}
	if c := cut.NRGBAAt(2, 2); c.A != 0 {
		t.Errorf("the background is %v", c)
	}

	// Both ends through pipes.
	in, err := os.ReadFile(photo)
	if err != nil {
		t.Fatal(err)
	}
	piped := run(t, string(in), "matte", "--image", "-", "--trimap", trimap, "-o", "-")
	want, err := os.ReadFile(alpha)
	if err != nil {
		t.Fatal(err)
	}
	if piped.code != exitOK || piped.stdout != string(want) {
		t.Errorf("exit %d, %d bytes, want the %d of the file: %s", piped.code, len(piped.stdout), len(want), piped.stderr)
	}
}

func TestMatteRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	photo, trimap := writePicture(t, dir, "disc.png"), trimapFile(t, dir, 120, 100)
	small := trimapFile(t, t.TempDir(), 60, 50)
	text := filepath.Join(dir, "text.png")
	if err := os.WriteFile(text, []byte("no picture"), 0o600); err != nil {
		t.Fatal(err)
	}
	unsure := writePicture(t, dir, "unsure.png") // a photo: nothing in it is black or white
	out := filepath.Join(dir, "alpha.png")
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no trimap":   {[]string{"--image", photo, "-o", out}, exitUsage, "--trimap"},
		"other size":  {[]string{"--image", photo, "--trimap", small, "-o", out}, exitUsage, "60x50"},
		"unsure":      {[]string{"--image", photo, "--trimap", unsure, "-o", out}, exitUsage, "no sure pixel"},
		"text":        {[]string{"--image", text, "--trimap", trimap, "-o", out}, exitFailure, "cannot decode"},
		"missing":     {[]string{"--image", filepath.Join(dir, "nope"), "--trimap", trimap, "-o", out}, exitFailure, "no such file"},
		"two inputs":  {[]string{"--image", "-", "--trimap", "-", "-o", out}, exitUsage, "standard input"},
		"two outputs": {[]string{"--image", photo, "--trimap", trimap, "-o", "-", "--foreground", "-"}, exitUsage, "standard output"},
		"overwriting": {[]string{"--image", photo, "--trimap", trimap, "-o", photo}, exitUsage, "overwritten"},
		"threads":     {[]string{"--image", photo, "--trimap", trimap, "-o", out, "--threads=-1"}, exitUsage, "--threads"},
		"base size":   {[]string{"--image", photo, "--trimap", trimap, "-o", out, "--base-size=-1"}, exitUsage, "--base-size"},
	} {
		got := run(t, "", append([]string{"matte"}, c.args...)...)
		if got.code != c.code || !strings.Contains(got.stderr, c.says) {
			t.Errorf("%s: exit %d, want %d with %q: %s", name, got.code, c.code, c.says, got.stderr)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: left a result", name)
		}
	}
}
