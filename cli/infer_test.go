package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cutout/inference/npy"
	"cutout/inference/tensor"
)

var testModels = filepath.Join("..", "inference", "onnx", "testdata")

// array returns a tensor as the text of a .npy file.
func array[T tensor.Element](t *testing.T, v []T, shape ...int) string {
	t.Helper()
	var b bytes.Buffer
	if err := npy.Write(&b, tensor.Of(v, shape...)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func file(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestInfer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	x := file(t, dir, "x.npy", array(t, []float32{0, 1, 2, 3, 4, 5}, 2, 3))
	a := file(t, dir, "a.npy", array(t, []int64{5, 7}, 2))
	b := file(t, dir, "b=.npy", array(t, []int64{1, 10}, 2))
	affine, pair := filepath.Join(testModels, "affine.onnx"), filepath.Join(testModels, "pair.onnx")
	for name, c := range map[string]struct {
		args  []string
		stdin string
		want  string
	}{
		"first output":   {[]string{"--model", affine, "--input", x}, "", array(t, []float32{1, 3, 5, 7, 9, 11}, 2, 3)},
		"another output": {[]string{"--model", affine, "--input", x, "--output-name", "z", "--threads", "1"}, "", array(t, []float32{0, 1, 4, 9, 16, 25}, 2, 3)},
		"input name":     {[]string{"--model", affine, "--input", x, "--input-name", "x", "--cpu", "generic"}, "", array(t, []float32{1, 3, 5, 7, 9, 11}, 2, 3)},
		"standard input": {[]string{"--model", affine, "--input", "-"}, array(t, []float32{-1}, 1, 1), array(t, []float32{-1}, 1, 1)},
		"in order":       {[]string{"--model", pair, "-i", a, "-i", b}, "", array(t, []int64{4, -3}, 2)},
		"by name":        {[]string{"--model", pair, "-i", "b=c=" + a, "-i", "a=" + b}, "", array(t, []int64{-4, 3}, 2)},
		"one by name":    {[]string{"--model", pair, "-i", b, "-i", "a=" + a}, "", array(t, []int64{4, -3}, 2)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result := filepath.Join(t.TempDir(), "out.npy")
			if got := run(t, c.stdin, append([]string{"infer", "--output", result}, c.args...)...); got.code != exitOK {
				t.Fatalf("%+v", got)
			}
			got, err := os.ReadFile(result)
			if err != nil || string(got) != c.want {
				t.Errorf("wrote %q, %v; want %q", got, err, c.want)
			}
			if got := run(t, c.stdin, append([]string{"infer", "--output", "-"}, c.args...)...); got.stdout != c.want {
				t.Errorf("printed %q, %q; want %q", got.stdout, got.stderr, c.want)
			}
		})
	}
}

func TestInferRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	x := file(t, dir, "x.npy", array(t, []float32{1}, 1, 1))
	doubles := file(t, dir, "doubles.npy", array(t, []float64{1}, 1, 1))
	flat := file(t, dir, "flat.npy", array(t, []float32{1}, 1))
	junk := file(t, dir, "junk", "junk")
	affine, pair := filepath.Join(testModels, "affine.onnx"), filepath.Join(testModels, "pair.onnx")
	result := filepath.Join(dir, "out.npy")
	for name, c := range map[string]struct {
		args []string
		code int
		says []string
	}{
		"no model":            {[]string{"--model", filepath.Join(dir, "none.onnx"), "-i", x}, exitUsage, []string{"--model", "none.onnx"}},
		"junk model":          {[]string{"--model", junk, "-i", x}, exitFailure, []string{junk, "is this an ONNX file?"}},
		"sub-graph":           {[]string{"--model", filepath.Join(testModels, "subgraph.onnx"), "-i", x}, exitFailure, []string{"If", "opset 11", `"branch"`}},
		"no input":            {[]string{"--model", affine}, exitUsage, []string{"--input"}},
		"no such file":        {[]string{"--model", affine, "-i", filepath.Join(dir, "none.npy")}, exitUsage, []string{"none.npy"}},
		"junk input":          {[]string{"--model", affine, "-i", junk}, exitFailure, []string{junk, "npy"}},
		"element type":        {[]string{"--model", affine, "-i", doubles}, exitFailure, []string{`"x"`, "float64", "float32"}},
		"rank":                {[]string{"--model", affine, "-i", flat}, exitFailure, []string{`"x"`, "[1]", "[rows columns]"}},
		"unknown input":       {[]string{"--model", affine, "-i", x, "--input-name", "y"}, exitUsage, []string{"--input-name y", `"x"`}},
		"name for two":        {[]string{"--model", pair, "-i", x, "-i", x, "--input-name", "a"}, exitUsage, []string{"--input-name a"}},
		"too many":            {[]string{"--model", affine, "-i", x, "-i", x}, exitUsage, []string{"more than the network has inputs"}},
		"too few":             {[]string{"--model", pair, "-i", x}, exitUsage, []string{`"b=c"`}},
		"given twice":         {[]string{"--model", pair, "-i", "a=" + x, "-i", "a=" + x}, exitUsage, []string{`"a"`, "twice"}},
		"unknown output":      {[]string{"--model", affine, "-i", x, "--output-name", "nowhere"}, exitFailure, []string{"nowhere"}},
		"threads":             {[]string{"--model", affine, "-i", x, "--threads=2000"}, exitUsage, []string{"--threads 2000"}},
		"unknown kernels":     {[]string{"--model", affine, "-i", x, "--cpu", "abacus"}, exitUsage, []string{"--cpu"}},
		"nowhere to write to": {[]string{"--model", affine, "-i", x, "--output", filepath.Join(dir, "none", "out.npy")}, exitFailure, []string{"none"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := []string{"infer"}
			if !slices.Contains(c.args, "--output") {
				args = append(args, "--output", result)
			}
			got := run(t, "", append(args, c.args...)...)
			if got.code != c.code {
				t.Errorf("exit code %d, want %d: %s", got.code, c.code, got.stderr)
			}
			for _, s := range c.says {
				if !strings.Contains(got.stderr, s) {
					t.Errorf("%q does not say %q", got.stderr, s)
				}
			}
			if _, err := os.Stat(result); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a result was written: %v", err)
			}
		})
	}
}

func TestBenchInfer(t *testing.T) {
	t.Parallel()
	affine, pair := filepath.Join(testModels, "affine.onnx"), filepath.Join(testModels, "pair.onnx")
	for _, args := range [][]string{
		{"--model", affine, "--dim", "columns=300", "--threads", "1"},
		{"--model", affine, "--dim", "columns=3", "--dim", "rows=200"},
		{"--model", pair},
	} {
		got := run(t, "", append([]string{"bench", "infer", "--runs", "3", "--json"}, args...)...)
		if got.code != exitOK {
			t.Fatalf("%v: %+v", args, got)
		}
		var numbers map[string]float64
		if err := json.Unmarshal([]byte(got.stdout), &numbers); err != nil {
			t.Fatalf("%q: %v", got.stdout, err)
		}
		if len(numbers) != 3 || numbers["min_ms"] <= 0 || numbers["median_ms"] < numbers["min_ms"] {
			t.Errorf("%s", got.stdout)
		}
		if peak, ok := peakMemory(); ok && (numbers["peak_rss_mb"] < 1 || numbers["peak_rss_mb"] > float64(peak)/(1<<20)) {
			t.Errorf("peak memory %g MiB, now %g", numbers["peak_rss_mb"], float64(peak)/(1<<20))
		}
	}
	x := file(t, t.TempDir(), "x.npy", array(t, []float32{1, 2}, 1, 2))
	if got := run(t, "", "bench", "infer", "--model", affine, "--input", x, "--runs", "1"); got.code != exitOK || !strings.Contains(got.stdout, "of 1 runs") {
		t.Errorf("%+v", got)
	}
	for says, args := range map[string][]string{
		"--dim columns=SIZE": {"--model", affine},
		"negative":           {"--model", affine, "--dim", "columns=-3"},
		"elements":           {"--model", affine, "--dim", "columns=2147483647"},
		"--runs 0":           {"--model", pair, "--runs", "0"},
		"x.npy":              {"--model", affine, "--input", "x.npy"},
	} {
		got := run(t, "", append([]string{"bench", "infer"}, args...)...)
		if got.code != exitUsage || !strings.Contains(got.stderr, says) {
			t.Errorf("%v: %+v, want exit code %d and %q", args, got, exitUsage, says)
		}
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for _, c := range []struct {
		took        []time.Duration
		median, min float64
	}{
		{[]time.Duration{7 * ms}, 7, 7},
		{[]time.Duration{9 * ms, 2 * ms}, 5.5, 2},
		{[]time.Duration{9 * ms, 2 * ms, 3 * ms}, 3, 2},
		{[]time.Duration{8 * ms, 4 * ms, 1 * ms, 5 * ms}, 4.5, 1},
	} {
		if got := summary(c.took); got.Median != c.median || got.Min != c.min {
			t.Errorf("%v: median %g, min %g; want %g and %g", c.took, got.Median, got.Min, c.median, c.min)
		}
	}
}

// Peak memory grows with what is touched.
func TestPeakMemory(t *testing.T) {
	t.Parallel()
	before, ok := peakMemory()
	if !ok {
		t.Skip("this system does not tell")
	}
	touched := make([]byte, 64<<20)
	for i := 0; i < len(touched); i += 4096 {
		touched[i] = 1
	}
	after, _ := peakMemory()
	// Linux adds up what each processor has counted, a little late: the sum may be some pages less than a moment before.
	if before < 1<<20 || after < 64<<20 || after < before-4<<20 {
		t.Errorf("peak memory %d bytes, then %d", before, after)
	}
	_ = touched[0]
}
