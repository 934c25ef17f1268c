package inference

import (
	"bytes"
	"context"
	"errors"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cutout/inference/npy"
	"cutout/inference/tensor"
)

func load(t testing.TB, file string, cfg Config) *Model {
	t.Helper()
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("skipped: %s is not here", file)
	}
	if err != nil {
		t.Fatal(err)
	}
	m, err := Load(data, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func array(t testing.TB, name string) *tensor.Tensor {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	a, err := npy.Read(bytes.NewReader(data), 1<<24)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func furthest(t testing.TB, got, want *tensor.Tensor) float64 {
	t.Helper()
	if got.Len() != want.Len() {
		t.Fatalf("got %v, want %v", got.Shape(), want.Shape())
	}
	g, w := tensor.Values[float32](got), tensor.Values[float32](want)
	diff := 0.0
	for i := range w {
		d := math.Abs(float64(g[i] - w[i]))
		if math.IsNaN(d) {
			t.Fatalf("element %d is not a number", i)
		}
		diff = max(diff, d)
	}
	return diff
}

// TestKernelSetsAgree runs u2netp on every kernel set the processor has and holds each against ONNX Runtime.
func TestKernelSetsAgree(t *testing.T) {
	in, want := array(t, "u2netp/astronaut.input.npy"), array(t, "u2netp/astronaut.scores.npy")
	for _, cpu := range []string{"avx512", "avx2", "neon", "generic"} {
		t.Run(cpu, func(t *testing.T) {
			if cpu == "generic" && testing.Short() {
				t.Skip("skipped: plain Go takes seconds")
			}
			data, err := os.ReadFile("../weights/u2netp.onnx")
			if err != nil {
				t.Fatal(err)
			}
			m, err := Load(data, Config{CPU: cpu})
			if err != nil {
				t.Skipf("skipped: %v", err)
			}
			for _, threads := range []int{1, 2} {
				out, err := m.Run(context.Background(), map[string]*tensor.Tensor{m.Inputs()[0].Name: in}, RunOptions{Threads: threads})
				if err != nil {
					t.Fatal(err)
				}
				diff := furthest(t, out[m.Outputs()[0].Name], want)
				t.Logf("%d threads: largest difference %.2g", threads, diff)
				if !(diff <= 1e-3) {
					t.Errorf("%d threads: scores differ by up to %.2g", threads, diff)
				}
			}
		})
	}
}

// TestPortraitModels runs the two small portrait models, which are not part of the repository, against stored answers.
func TestPortraitModels(t *testing.T) {
	for _, name := range []string{"selfie_segmentation", "mediapipe"} {
		t.Run(name, func(t *testing.T) {
			m := load(t, filepath.Join("..", "..", "shared", "data", "models", name+".onnx"), Config{})
			f, err := os.Open(filepath.Join("..", "testdata", name, "astronaut.input.png"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			img, err := png.Decode(f)
			if err != nil {
				t.Fatal(err)
			}
			b := img.Bounds()
			data := make([]float32, 0, 3*b.Dx()*b.Dy())
			for y := range b.Dy() {
				for x := range b.Dx() {
					r, g, bl, _ := img.At(x, y).RGBA()
					data = append(data, float32(r>>8)/255, float32(g>>8)/255, float32(bl>>8)/255)
				}
			}
			in := map[string]*tensor.Tensor{m.Inputs()[0].Name: tensor.Of(data, 1, b.Dy(), b.Dx(), 3)}
			out, err := m.Run(context.Background(), in, RunOptions{})
			if err != nil {
				t.Fatal(err)
			}
			diff := furthest(t, out[m.Outputs()[0].Name], array(t, name+"/astronaut.scores.npy"))
			t.Logf("largest difference %.2g", diff)
			if !(diff <= 1e-3) {
				t.Errorf("scores differ by up to %.2g", diff)
			}
		})
	}
}

// TestSteadyStateAllocations checks that a run, once its plan and arena are there, allocates little more than its result.
func TestSteadyStateAllocations(t *testing.T) {
	m := load(t, "../weights/u2netp.onnx", Config{})
	in := map[string]*tensor.Tensor{m.Inputs()[0].Name: array(t, "u2netp/astronaut.input.npy")}
	run := func() {
		if _, err := m.Run(context.Background(), in, RunOptions{Threads: 1}); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if n := testing.AllocsPerRun(3, run); n > 20 {
		t.Errorf("a run allocates %v times, the result alone takes a handful", n)
	}
}

func TestInputErrors(t *testing.T) {
	m := load(t, "../weights/u2netp.onnx", Config{})
	name := m.Inputs()[0].Name
	for what, tc := range map[string]struct {
		in   map[string]*tensor.Tensor
		want string
	}{
		"no input":    {nil, "missing"},
		"wrong type":  {map[string]*tensor.Tensor{name: tensor.New(tensor.Uint8, 1, 3, 320, 320)}, "uint8"},
		"wrong shape": {map[string]*tensor.Tensor{name: tensor.New(tensor.Float32, 1, 3, 64, 64)}, "[1 3 320 320]"},
		"wrong rank":  {map[string]*tensor.Tensor{name: tensor.New(tensor.Float32, 3, 320, 320)}, "[3 320 320]"},
	} {
		_, err := m.Run(context.Background(), tc.in, RunOptions{})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	in := map[string]*tensor.Tensor{name: tensor.New(tensor.Float32, 1, 3, 320, 320)}
	if _, err := m.Run(context.Background(), in, RunOptions{Outputs: []string{"nowhere"}}); err == nil {
		t.Error("ran for an output that does not exist")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := m.Run(ctx, in, RunOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("under an ended context: %v", err)
	}
	if _, err := Load([]byte("not a model"), Config{}); err == nil {
		t.Error("loaded text")
	}
	if _, err := Load(nil, Config{CPU: "abacus"}); err == nil {
		t.Error("took an unknown kernel set")
	}
}

func BenchmarkU2NetP(b *testing.B) {
	m := load(b, "../weights/u2netp.onnx", Config{})
	in := map[string]*tensor.Tensor{m.Inputs()[0].Name: array(b, "u2netp/astronaut.input.npy")}
	for b.Loop() {
		if _, err := m.Run(context.Background(), in, RunOptions{Threads: 1}); err != nil {
			b.Fatal(err)
		}
	}
}
