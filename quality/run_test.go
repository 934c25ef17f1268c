package main

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writePNG writes a picture to a path whose folders need not be there yet.
func writePNG(t *testing.T, m image.Image, path ...string) {
	t.Helper()
	file := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// bundle makes a data directory of two sets, one photo each of 20x10 pixels, subject on the left half, and masks that
// find the left quarter in one set and all of it in the other.
func bundle(t *testing.T) (data, masks string) {
	t.Helper()
	data, masks = t.TempDir(), t.TempDir()
	truth := square(20, 10, image.Rect(0, 0, 10, 10))
	quarter := square(20, 10, image.Rect(0, 0, 5, 10))
	photo := image.NewNRGBA(truth.Rect)
	for i := range photo.Pix {
		photo.Pix[i] = 255
	}
	for _, set := range []string{"lemur", "plain"} {
		writePNG(t, photo, data, "gt", set, "image", "a.png")
		writePNG(t, truth, data, "gt", set, "mask", "a.png")
	}
	writePNG(t, quarter, data, "refpairs", "u2netp_rembg_pre", "plain", "a.png")
	writePNG(t, truth, masks, "lemur", "a.png")
	writePNG(t, quarter, masks, "plain", "a.png")
	return data, masks
}

func TestRunOnMasks(t *testing.T) {
	t.Parallel()
	data, masks := bundle(t)
	gallery := filepath.Join(t.TempDir(), "gallery")
	var out bytes.Buffer
	if err := run(t.Context(), []string{"--data", data, "--masks", masks, "--gallery", gallery}, &out, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, want := range map[int]string{
		2: "| lemur | 1 | 1.0000 | 0 | 0.0000 | 1.000 | 1.000 | 1.000 | 0.00 | 0.00 | – | – | – | – |",
		3: "| plain | 1 | 0.5000 | 0 | 0.2500 |",
		4: "| all | 2 | 0.7500 | 0 | 0.1250 |",
	} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
			t.Errorf("line %d of\n%s\nwant %s", i, &out, want)
		}
	}
	if want := "| – | – | – | 0.5000 | 0.000 | 0.000 plain/a |"; len(lines) == 5 && !strings.HasSuffix(lines[3], want) {
		t.Errorf("got %s, want it to end in %s", lines[3], want)
	}

	// The same into a file that holds other text too.
	file := filepath.Join(t.TempDir(), "report.md")
	if err := os.WriteFile(file, []byte("before\n"+reportBegin+"old"+reportEnd+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"--data", data, "--masks", masks, "--report", file}, &bytes.Buffer{}, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if want := "before\n" + reportBegin + out.String() + "\n" + reportEnd + "after\n"; err != nil || string(got) != want {
		t.Errorf("the report is %q, want %q (%v)", got, want, err)
	}
	if err := run(t.Context(), []string{"--data", data, "--masks", masks, "--report", filepath.Join(data, "gt", "plain", "mask", "a.png")},
		&bytes.Buffer{}, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "marks") {
		t.Errorf("a file without marks: %v", err)
	}

	m, err := readPhoto(filepath.Join(gallery, "plain.png"))
	if err != nil {
		t.Fatal(err)
	}
	// The cell "on red": the quarter that was cut out is white, the rest red.
	left, top := cellGap+3*(cellSize+cellGap), cellGap+labelSize
	for x, want := range map[int]color.NRGBA{
		left + 2: {255, 255, 255, 255}, left + 17: {220, 20, 30, 255},
	} {
		if got := color.NRGBAModel.Convert(m.At(x, top+5)); got != want {
			t.Errorf("column %d: got %v, want %v", x, got, want)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	data, masks := bundle(t)
	short := t.TempDir()
	writePNG(t, square(5, 5, image.Rectangle{}), short, "plain", "a.png")
	broken := t.TempDir()
	if err := os.MkdirAll(filepath.Join(broken, "plain"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(broken, "plain", "a.png"), []byte("no picture"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no data":     {[]string{"--data", filepath.Join(data, "missing")}, "list the sets"},
		"empty data":  {[]string{"--data", masks}, "list the sets"},
		"unknown set": {[]string{"--data", data, "--masks", masks, "--sets", "plain,other"}, `no set "other"`},
		"no mask":     {[]string{"--data", data, "--masks", t.TempDir()}, "lemur/a"},
		"other size":  {[]string{"--data", data, "--masks", short, "--sets", "plain"}, "plain/a: the mask is (5,5)"},
		"broken mask": {[]string{"--data", data, "--masks", broken, "--sets", "plain"}, "decode a mask"},
		"argument":    {[]string{"--data", data, "extra"}, `unexpected argument "extra"`},
	} {
		err := run(t.Context(), tc.args, &bytes.Buffer{}, &bytes.Buffer{})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want it to contain %q", name, err, tc.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run(ctx, []string{"--data", data, "--masks", masks}, &bytes.Buffer{}, &bytes.Buffer{}); err == nil {
		t.Error("a cancelled run succeeded")
	}
}

func TestSpread(t *testing.T) {
	t.Parallel()
	samples := make([]Sample, 10)
	for i := range samples {
		samples[i].Name = string(rune('a' + i))
	}
	var names string
	for _, s := range spread(samples, 4) {
		names += s.Name
	}
	if names != "acfh" || len(spread(samples, 20)) != 10 {
		t.Errorf("picked %q", names)
	}
}
