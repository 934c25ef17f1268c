package cli

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"

	"cutout/codec"
	"cutout/pipeline"
)

// tree makes empty files below a directory of its own.
func tree(t *testing.T, files ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range files {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestPlan(t *testing.T) {
	t.Parallel()
	files := []string{
		"a.jpg", "b.PNG", "notes.txt", ".hidden.png", ".cutout-123", "sub/a.jpg", "sub/deep/c.webp", ".git/x.png", "out/a-cutout.png",
		"empty/readme.txt", "nested/in/d.png", "twins/a.jpg", "twins/a.png", "again/a.jpg", "again/a-cutout.png", "again/b.x.gif", "only/a.png", "only/a-cutout.png",
	}
	for name, tc := range map[string]struct {
		args      []string
		output    string
		format    string
		recursive bool
		want      map[string]string // picture to result
		batch     bool
		err       string
	}{
		"one":                 {args: []string{"a.jpg"}, want: map[string]string{"a.jpg": "a-cutout.png"}},
		"one as webp":         {args: []string{"a.jpg"}, format: "webp", want: map[string]string{"a.jpg": "a-cutout.webp"}},
		"one as jpeg":         {args: []string{"a.jpg"}, format: "jpeg", want: map[string]string{"a.jpg": "a-cutout.jpg"}},
		"one named":           {args: []string{"a.jpg"}, output: "x.png", want: map[string]string{"a.jpg": "x.png"}},
		"one into a folder":   {args: []string{"a.jpg"}, output: "out", want: map[string]string{"a.jpg": "out/a-cutout.png"}},
		"one into a new one":  {args: []string{"a.jpg"}, output: "new/", want: map[string]string{"a.jpg": "new/a-cutout.png"}},
		"missing":             {args: []string{"gone.jpg"}, want: map[string]string{"gone.jpg": "gone-cutout.png"}},
		"two":                 {args: []string{"a.jpg", "b.PNG"}, batch: true, want: map[string]string{"a.jpg": "a-cutout.png", "b.PNG": "b-cutout.png"}},
		"two into one":        {args: []string{"a.jpg", "b.PNG"}, output: "x.png", err: "must be a folder or a pattern"},
		"two of one name":     {args: []string{"a.jpg", "sub/a.jpg"}, output: "new/", err: "would both be written there"},
		"pattern":             {args: []string{"a.jpg", "b.PNG"}, output: "new/{index}-{name}.{ext}", batch: true, want: map[string]string{"a.jpg": "new/1-a.jpg", "b.PNG": "new/2-b.PNG"}},
		"unknown field":       {args: []string{"a.jpg"}, output: "{nome}.png", err: "there is no {nome}"},
		"constant pattern":    {args: []string{"a.jpg", "b.PNG"}, output: "{dir}/x.png", err: "would both be written there"},
		"folder":              {args: []string{"."}, batch: true, want: map[string]string{"a.jpg": "a-cutout.png", "b.PNG": "b-cutout.png"}},
		"folder into itself":  {args: []string{"."}, output: "./", batch: true, want: map[string]string{"a.jpg": "a-cutout.png", "b.PNG": "b-cutout.png"}},
		"folders":             {args: []string{"sub"}, output: "new/", recursive: true, batch: true, want: map[string]string{"sub/a.jpg": "new/a-cutout.png", "sub/deep/c.webp": "new/deep/c-cutout.png"}},
		"folders by pattern":  {args: []string{"sub"}, output: "new/{dir}/{name}.webp", recursive: true, batch: true, want: map[string]string{"sub/a.jpg": "new/a.webp", "sub/deep/c.webp": "new/deep/c.webp"}},
		"results in the tree": {args: []string{"sub", "out"}, output: "out/{name}-cutout.png", batch: true, recursive: true, want: map[string]string{"sub/a.jpg": "out/a-cutout.png", "sub/deep/c.webp": "out/c-cutout.png"}},
		"results of before":   {args: []string{"again"}, batch: true, want: map[string]string{"again/a.jpg": "again/a-cutout.png", "again/b.x.gif": "again/b.x-cutout.png"}},
		"the same elsewhere":  {args: []string{"again"}, output: "new/", batch: true, want: map[string]string{"again/a.jpg": "new/a-cutout.png", "again/b.x.gif": "new/b.x-cutout.png"}},
		"glob":                {args: []string{"sub/*.jpg"}, batch: true, want: map[string]string{"sub/a.jpg": "sub/a-cutout.png"}},
		"glob of nothing":     {args: []string{"*.tiff"}, err: "no file is called so"},
		"bad glob":            {args: []string{"[a"}, err: "syntax error in pattern"},
		"empty folder":        {args: []string{"empty"}, err: "holds no pictures"},
		"only folders":        {args: []string{"nested"}, err: "--recursive"},
		"twins":               {args: []string{"twins"}, err: "{name}-{ext}"},
		"onto itself":         {args: []string{"a.jpg"}, output: "a.jpg", err: "would be overwritten"},
		"onto themselves":     {args: []string{"sub"}, output: "{dir}/sub/{name}.{ext}", err: "would be overwritten"},
		"a file as a folder":  {args: []string{"a.jpg"}, output: "b.PNG/", err: "is a file"},
		"stdin":               {args: []string{"-"}, want: map[string]string{"-": "-"}},
		"stdin into a folder": {args: []string{"-"}, output: "out", want: map[string]string{"-": "out/stdin-cutout.png"}},
		"stdin and more":      {args: []string{"-", "a.jpg"}, err: "must be said with --output"},
		"several to stdout":   {args: []string{"a.jpg", "b.PNG"}, output: "-", err: "must be a folder"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := tree(t, files...)
			at := func(path string) string {
				if path == stdio || path == "" {
					return path
				}
				// A trailing slash says something, and Join would take it away.
				return strings.TrimSuffix(root, "/") + "/" + strings.TrimPrefix(path, "./")
			}
			c := RemoveCmd{Output: at(tc.output), Recursive: tc.recursive, Format: tc.format, Mode: "fg-image"}
			if c.Format == "" {
				c.Format = "auto"
			}
			for _, arg := range tc.args {
				c.Files = append(c.Files, at(arg))
			}
			list, batch, err := c.plan()
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("error %v, want one with %q; plan %v", err, tc.err, list)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, task := range list {
				got[strings.TrimPrefix(task.path, root+"/")] = strings.TrimPrefix(task.output, root+"/")
				if parent := filepath.Dir(task.output); task.output != stdio {
					if info, err := os.Stat(parent); err != nil || !info.IsDir() {
						t.Errorf("%s: %v", parent, err)
					}
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" || batch != tc.batch {
				t.Errorf("batch %v\n%s", batch, diff)
			}
		})
	}
}

func TestRemoveOptions(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args  []string
		check func(pipeline.Options) bool
		err   string
	}{
		"nothing": {check: func(o pipeline.Options) bool {
			return o.Shadow == nil && o.Crop == nil && o.Placement == nil && o.Background == nil && o.Region == nil && o.MaxPixels == 0
		}},
		"quality":        {args: []string{"--quality", "precise"}, check: func(o pipeline.Options) bool { return o.Quality == pipeline.Precise }},
		"subject":        {args: []string{"--subject", "human"}, check: func(o pipeline.Options) bool { return o.Subject == pipeline.Human }},
		"mask":           {args: []string{"--mode", "fg-mask", "--binary-mask"}, check: func(o pipeline.Options) bool { return o.Output == pipeline.Mask && o.Binary }},
		"size":           {args: []string{"--size", "hd"}, check: func(o pipeline.Options) bool { return o.MaxPixels == 4e6 }},
		"roi":            {args: []string{"--roi", "10% 0 90% 300px"}, check: func(o pipeline.Options) bool { return o.Region.Left.Relative && o.Region.Bottom.Value == 300 }},
		"three edges":    {args: []string{"--roi", "1 2 3"}, err: "--roi"},
		"crop":           {args: []string{"--crop"}, check: func(o pipeline.Options) bool { return *o.Crop == pipeline.Crop{} }},
		"margins":        {args: []string{"--crop", "--crop-margin", "5% 10"}, check: func(o pipeline.Options) bool { return o.Crop.Bottom.Value == 0.05 && o.Crop.Left.Value == 10 }},
		"margin alone":   {args: []string{"--crop-margin", "5%"}, err: "needs --crop"},
		"three margins":  {args: []string{"--crop", "--crop-margin", "1 2 3"}, err: "--crop-margin"},
		"scale":          {args: []string{"--scale", "80%"}, check: func(o pipeline.Options) bool { return *o.Placement == pipeline.Placement{Scale: .8, X: .5, Y: .5} }},
		"scale in place": {args: []string{"--scale", "80%", "--position", "original"}, check: func(o pipeline.Options) bool { return o.Placement.Stay }},
		"position":       {args: []string{"--position", "10% 90%"}, check: func(o pipeline.Options) bool { return *o.Placement == pipeline.Placement{X: .1, Y: .9} }},
		"too small":      {args: []string{"--scale", "5%"}, err: "--scale"},
		"odd position":   {args: []string{"--position", "left"}, err: "--position"},
		"shadow":         {args: []string{"--mode", "fg-image-shadow"}, check: func(o pipeline.Options) bool { return o.Shadow.Opacity == .75 && o.Shadow.Length > 0 }},
		"contact shadow": {args: []string{"--shadow-type", "drop"}, check: func(o pipeline.Options) bool { return o.Shadow.Length == 0 }},
		"shadow's knobs": {args: []string{"--shadow-type", "3D", "--shadow-opacity", "40", "--shadow-blur", "2", "--shadow-angle=-45", "--shadow-length", "120", "--shadow-color", "navy"}, check: func(o pipeline.Options) bool {
			s := o.Shadow
			return s.Opacity == .4 && s.Blur == .02 && s.Angle == -45 && s.Length == 1.2 && s.Color.B == 128
		}},
		"invisible":     {args: []string{"--shadow-type", "auto", "--shadow-opacity", "0"}, check: func(o pipeline.Options) bool { return o.Shadow == nil }},
		"knob alone":    {args: []string{"--shadow-angle", "5"}, err: "there is no shadow"},
		"knob and none": {args: []string{"--mode", "fg-image-shadow", "--shadow-type", "none", "--shadow-blur", "5"}, err: "there is no shadow"},
		"too dark":      {args: []string{"--shadow-type", "auto", "--shadow-opacity", "101"}, err: "--shadow-opacity"},
		"odd shadow":    {args: []string{"--shadow-type", "sun"}, err: "--shadow-type"},
		"colour":        {args: []string{"--bg-color", "white"}, check: func(o pipeline.Options) bool { return o.Background.Color.R == 255 }},
		"odd colour":    {args: []string{"--bg-color", "whitish"}, err: "is no colour"},
		"matting": {args: []string{"--alpha-matting", "--alpha-matting-erode-size", "3"}, check: func(o pipeline.Options) bool {
			return o.Quality == pipeline.Precise && o.Matting.ErodeSize == 3 && o.Matting.ForegroundThreshold == 240
		}},
		"matting's range": {args: []string{"--alpha-matting-foreground-threshold", "256"}, err: "--alpha-matting-foreground-threshold"},
		"rembg's mask":    {args: []string{"--post-process-mask"}, check: func(o pipeline.Options) bool { return o.Clean }},
		"jobs":            {args: []string{"-j", "-1"}, err: "--jobs"},
		"jpeg":            {args: []string{"--jpeg-quality", "101"}, err: "--jpeg-quality"},
		"webp":            {args: []string{"--webp-quality", "0"}, err: "--webp-quality"},
		"zip of a mask":   {args: []string{"--mode", "fg-mask", "--format", "zip"}, err: "--format zip"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var grammar struct {
				Remove RemoveCmd `cmd:""`
			}
			parser, err := kong.New(&grammar)
			if err != nil {
				t.Fatal(err)
			}
			_, err = parser.Parse(append([]string{"remove", "x.png"}, tc.args...))
			var o pipeline.Options
			if err == nil {
				o, err = grammar.Remove.options()
			}
			switch {
			case tc.err != "":
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want one with %q", err, tc.err)
				}
			case err != nil:
				t.Error(err)
			case !tc.check(o):
				t.Errorf("got %+v", o)
			}
		})
	}
}

func lines(t *testing.T, out string) map[string]report {
	t.Helper()
	all := map[string]report{}
	for line := range strings.Lines(out) {
		var r report
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		all[filepath.Base(r.Input)] = r
	}
	return all
}

// A batch tells about each picture, goes on where it was interrupted, and makes anew what has changed or is told to.
func TestRemoveGoesOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := writePicture(t, dir, "a.png")
	writePicture(t, dir, "b.png")
	broken := filepath.Join(dir, "c.jpg")
	if err := os.WriteFile(broken, []byte("no picture"), 0o600); err != nil {
		t.Fatal(err)
	}
	remove := func(more ...string) (output, map[string]string) {
		t.Helper()
		got := run(t, "", append([]string{"remove", dir, "--json", "-o", filepath.Join(dir, "out", "{name}.png")}, more...)...)
		states := map[string]string{}
		for name, line := range lines(t, got.stdout) {
			states[name] = line.Status
			if (line.Error == "") != (line.Status != "failed") || (line.Box == nil) != (line.Status != "done") {
				t.Errorf("reported %+v", line)
			}
		}
		return got, states
	}
	expect := func(states map[string]string, a, b string) {
		t.Helper()
		if diff := cmp.Diff(map[string]string{"a.png": a, "b.png": b, "c.jpg": "failed"}, states); diff != "" {
			t.Error(diff)
		}
	}
	got, states := remove()
	expect(states, "done", "done")
	if got.code != exitFailure || !strings.Contains(got.stderr, "1 of 3 pictures gave no result") || !strings.Contains(got.stderr, "2 done, 0 skipped, 1 failed") {
		t.Errorf("exit %d: %s", got.code, got.stderr)
	}
	if err := os.Remove(filepath.Join(dir, "out", "b.png")); err != nil {
		t.Fatal(err)
	}
	got, states = remove()
	expect(states, "skipped", "done")
	if !strings.Contains(got.stderr, "1 done, 1 skipped, 1 failed") {
		t.Errorf("told %s", got.stderr)
	}
	soon := time.Now().Add(time.Hour)
	if err := os.Chtimes(first, soon, soon); err != nil {
		t.Fatal(err)
	}
	_, states = remove()
	expect(states, "done", "skipped")
	_, states = remove("--force")
	expect(states, "done", "done")

	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(first, past, past); err != nil {
		t.Fatal(err)
	}
	got = run(t, "", "remove", dir, "-o", filepath.Join(dir, "out", "{name}.png"))
	if got.code != exitOK || !strings.Contains(got.stderr, "0 done, 2 skipped, 0 failed") || !strings.Contains(got.stderr, "--force") {
		t.Errorf("exit %d: %s", got.code, got.stderr)
	}
	if got = run(t, "", "remove", dir, "--quiet", "-o", filepath.Join(dir, "out", "{name}.png")); got.stderr != "" {
		t.Errorf("not quiet: %s", got.stderr)
	}
	if entries, err := filepath.Glob(filepath.Join(dir, "out", ".*")); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// An interrupted batch leaves whole results and nothing else, says so, and goes on.
func TestRemoveInterrupted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 12 {
		writePicture(t, dir, fmt.Sprintf("%02d.png", i))
	}
	out := filepath.Join(dir, "out")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := RemoveCmd{Files: []string{dir}, Output: out + "/", Mode: "fg-image", Format: "auto", Size: "auto", JPEGQuality: 90, WebPQuality: 90, Jobs: 2}
	c.Model, c.CPU, c.Quality, c.Subject = "u2netp", "auto", "fast", "universal"
	var stderr bytes.Buffer
	stopper := writerFunc(func(b []byte) (int, error) { // after the third picture
		if bytes.HasPrefix(b, []byte("3/12")) {
			cancel()
		}
		return stderr.Write(b)
	})
	if err := c.Run(ctx, Program{Stdout: io.Discard, Stderr: stopper}); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(stderr.String(), "the same command goes on from here") {
		t.Errorf("told %s", stderr.String())
	}
	entries, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) < 3 || len(entries) > 11 {
		t.Errorf("%d results", len(entries))
	}
	for _, e := range entries {
		readPicture(t, filepath.Join(out, e.Name())) // fails on half a picture and on temporary files
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("left behind: %s", e.Name())
		}
	}
	stderr.Reset()
	if err := c.Run(context.Background(), Program{Stdout: io.Discard, Stderr: &stderr}); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%d done, %d skipped, 0 failed", 12-len(entries), len(entries)); !strings.Contains(stderr.String(), want) {
		t.Errorf("%q is not in %s", want, stderr.String())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestRemoveMore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	photo := writePicture(t, dir, "a.png")
	archive := filepath.Join(dir, "a.zip")
	if got := run(t, "", "remove", photo, "-o", archive, "--quality", "fast"); got.code != exitOK {
		t.Fatalf("exit %d: %s", got.code, got.stderr)
	}
	z, err := zip.OpenReader(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = z.Close() }()
	var names []string
	for _, f := range z.File {
		names = append(names, f.Name)
	}
	slices.Sort(names)
	if fmt.Sprint(names) != "[alpha.png color.jpg]" {
		t.Errorf("the archive holds %v", names)
	}

	cropped := filepath.Join(dir, "cropped.webp")
	if got := run(t, "", "remove", photo, "-o", cropped, "--quality", "fast", "--crop", "--crop-margin", "10px"); got.code != exitOK {
		t.Fatalf("exit %d: %s", got.code, got.stderr)
	}
	data, err := os.ReadFile(cropped)
	if err != nil {
		t.Fatal(err)
	}
	if format, ok := codec.Sniff(data); !ok || format != codec.WebP {
		t.Errorf("format %v", format)
	}
	img, _, err := codec.Decode(context.Background(), data, codec.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if size := img.Rect.Size(); size.X < 70 || size.X > 92 || size.Y < 70 || size.Y > 92 { // a disc of 60 and its margin
		t.Errorf("cropped to %v", size)
	}

	if got := run(t, "", "remove", photo, "-o", filepath.Join(dir, "x.png"), "--roi", "0 0 500 500"); got.code != exitFailure || !strings.Contains(got.stderr, "is not inside") {
		t.Errorf("a region that is too large: exit %d: %s", got.code, got.stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "x.png")); err == nil {
		t.Error("a result without a picture")
	}
}

func TestWriteFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(target, []byte("old"), 0o600), os.Symlink(target, link)); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(link, []byte("new")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v", err)
	}
	if data, err := os.ReadFile(target); err != nil || string(data) != "new" {
		t.Errorf("the target holds %q, %v", data, err)
	}
	if err := writeFile(dir, nil); err == nil {
		t.Error("a folder was written")
	}
	if err := writeFile(filepath.Join(dir, "none", "x"), nil); err == nil {
		t.Error("a file in no folder was written")
	}
}

func FuzzParseLengths(f *testing.F) {
	for _, s := range []string{"10% 20px, 3", "1.5", "", "-1", "99999999999%", "px"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		all, err := parseLengths(s)
		for _, l := range all {
			if err == nil && (!(l.Value >= 0) || l.Value > 1e9) {
				t.Errorf("%q: %v", s, l)
			}
		}
		if region, err := parseRegion(s); err == nil && region == nil {
			t.Errorf("%q: neither region nor error", s)
		}
		_, _ = parseMargin(s)
		_, _ = parsePlacement(s, s)
	})
}
