package conformance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// nodeTests finds the directory that fetch.sh fills, beside go.mod.
func nodeTests(t *testing.T) string {
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
	return dir
}

// omissions names the cases of claimed operators that are left out on purpose.
var omissions = map[string]string{
	// The expected values of these were wrong in 1.17.0 and were corrected in later releases of ONNX.
	"test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True": "expects windows that overhang the padding to count as padded",
	"test_qlinearmatmul_2D_int8_float16":                                           wrapped,
	"test_qlinearmatmul_2D_int8_float32":                                           wrapped,
	"test_qlinearmatmul_3D_int8_float16":                                           wrapped,
	"test_qlinearmatmul_3D_int8_float32":                                           wrapped,
}

const wrapped = "expects results to wrap where the operator saturates"

func TestNodes(t *testing.T) {
	dir := nodeTests(t)
	for _, runner := range []struct {
		name string
		run  Runner
	}{
		{"interpreter", Interpret},
	} {
		t.Run(runner.name, func(t *testing.T) {
			results, err := Run(dir, runner.run, omissions)
			if err != nil {
				t.Fatal(err)
			}
			if len(results) != 1288 {
				t.Errorf("%d cases, the suite of ONNX 1.17.0 has 1288", len(results))
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
			if total[Passed] < 400 {
				t.Errorf("%d cases passed, want at least 400", total[Passed])
			}
		})
	}
}
