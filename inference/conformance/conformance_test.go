package conformance

import (
	"archive/zip"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cutout/inference"
	"cutout/inference/tensor"
)

// nodeTests finds the directory that fetch.sh fills, beside go.mod.
func nodeTests(t *testing.T) fs.FS {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = parent
	}
	dir = filepath.Join(dir, ".tools", "onnx-1.17.0", "node")
	if _, err := os.Stat(dir); err != nil {
		t.Skip("skipped: the ONNX node tests are not here; inference/conformance/fetch.sh downloads them")
	}
	return os.DirFS(dir)
}

// runners are what every case runs through: the registry of operators alone, and the engine as callers see it, once
// on the best kernels of this machine and once on the portable ones.
var runners = []struct {
	name string
	run  Runner
}{
	{"interpreter", Interpret},
	{"engine", engine("auto")},
	{"engine generic", engine("generic")},
}

func engine(cpu string) Runner {
	return func(data []byte, inputs map[string]*tensor.Tensor) (map[string]*tensor.Tensor, error) {
		m, err := inference.Load(data, inference.Config{CPU: cpu})
		if err != nil {
			return nil, err
		}
		o := inference.RunOptions{Threads: 2}
		for _, v := range m.Outputs() {
			o.Outputs = append(o.Outputs, v.Name)
		}
		given := map[string]*tensor.Tensor{}
		for _, v := range m.Inputs() {
			given[v.Name] = inputs[v.Name]
		}
		return m.Run(context.Background(), given, o)
	}
}

// omissions names the cases of claimed operators that are left out on purpose, beside those that need an element
// type or a kind of value that the engine does not hold.
var omissions = map[string]string{
	"test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True": cellsBeyondPads,
	"test_qlinearmatmul_2D_int8_float16":                                           wraps,
	"test_qlinearmatmul_2D_int8_float32":                                           wraps,
	"test_qlinearmatmul_3D_int8_float16":                                           wraps,
	"test_qlinearmatmul_3D_int8_float32":                                           wraps,
}

const (
	cellsBeyondPads = "the expected mean counts cells beyond the padding, which ONNX Runtime leaves out as we do"
	wraps           = "the expected output wraps around where quantisation is defined to saturate, as it does in ONNX Runtime"
)

func TestNodes(t *testing.T) {
	cases := nodeTests(t)
	for _, runner := range runners {
		t.Run(runner.name, func(t *testing.T) {
			total := check(t, cases, runner.run, omissions)
			if sum := total[Passed] + total[Failed] + total[NotClaimed] + total[Omitted]; sum != 1288 {
				t.Errorf("%d cases, the suite of ONNX 1.17.0 has 1288", sum)
			}
			if total[Passed] < 900 {
				t.Errorf("%d cases passed, want at least 900", total[Passed])
			}
		})
	}
}

// TestOpsets runs the operators in the versions of older opsets, which the ONNX node tests do not cover.
func TestOpsets(t *testing.T) {
	cases, err := zip.OpenReader(filepath.Join("testdata", "opsets.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer cases.Close()
	for _, runner := range runners {
		t.Run(runner.name, func(t *testing.T) {
			total := check(t, cases, runner.run, nil)
			if total[Passed] < 300 {
				t.Errorf("%d cases passed, want at least 300", total[Passed])
			}
		})
	}
}

func check(t *testing.T, cases fs.FS, run Runner, omissions map[string]string) [4]int {
	t.Helper()
	results, err := Run(cases, run, omissions)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Outcome == Failed {
			t.Errorf("%s (%s): %s", r.Case, r.Operator, r.Detail)
		}
	}
	var table strings.Builder
	total, err := Report(&table, results)
	if err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + table.String())
	return total
}
