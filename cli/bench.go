package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"cutout/inference"
	"cutout/inference/graph"
	"cutout/inference/ops"
	"cutout/inference/tensor"
)

// BenchCmd measures parts of the program.
type BenchCmd struct {
	Infer BenchInferCmd `cmd:"" help:"Measure how fast a network runs."`
}

// BenchInferCmd measures how fast a network runs and how much memory that takes.
type BenchInferCmd struct {
	ModelFile `embed:""`
	Runs      int            `default:"20" help:"Runs to time, after one that does not count."`
	Input     []string       `short:"i" sep:"none" placeholder:"[NAME=]FILE.npy" help:"Tensor for an input, as infer takes it; random numbers without any."`
	Dim       map[string]int `placeholder:"SYMBOL=SIZE" help:"Size of a symbolic dimension of random inputs; 1 where it is the first and not given."`
	JSON      bool           `name:"json" help:"Print one line of JSON: median_ms, min_ms, and peak_rss_mb in MiB (null where the system does not tell)."`
}

// timing is the line of --json.
type timing struct {
	Median float64  `json:"median_ms"`
	Min    float64  `json:"min_ms"`
	Peak   *float64 `json:"peak_rss_mb"`
}

// Run loads the network and runs it.
func (c *BenchInferCmd) Run(ctx context.Context, p Program) error {
	if c.Runs < 1 || c.Runs > 1e6 {
		return &usageError{fmt.Errorf("--runs %d: must be from 1 to 1000000", c.Runs)}
	}
	start := time.Now()
	m, err := c.load()
	if err != nil {
		return err
	}
	load := time.Since(start)
	var in map[string]*tensor.Tensor
	if len(c.Input) > 0 {
		in, err = readInputs(m, c.Input, p.Stdin)
	} else {
		in, err = randomInputs(m, c.Dim)
	}
	if err != nil {
		return err
	}
	took := make([]time.Duration, c.Runs+1)
	for i := range took {
		start := time.Now()
		if _, err := m.Run(ctx, in, inference.RunOptions{Threads: c.Threads}); err != nil {
			return fmt.Errorf("%s: %w", c.Model, err)
		}
		took[i] = time.Since(start)
	}
	first, took := took[0], took[1:]
	t := summary(took)
	if bytes, ok := peakMemory(); ok {
		mib := float64(bytes) / (1 << 20)
		t.Peak = &mib
	}
	if c.JSON {
		return json.NewEncoder(p.Stdout).Encode(t)
	}
	peak := "unknown"
	if t.Peak != nil {
		peak = fmt.Sprintf("%.1f MiB", *t.Peak)
	}
	_, err = fmt.Fprintf(p.Stdout, "median %.2f ms, fastest %.2f ms of %d runs on %s kernels; loading %.1f ms, first run %.1f ms, peak memory %s\n",
		t.Median, t.Min, c.Runs, m.Kernels(), milliseconds(load), milliseconds(first), peak)
	return err
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// summary of at least one run.
func summary(took []time.Duration) timing {
	took = slices.Sorted(slices.Values(took))
	n := len(took)
	return timing{Median: (milliseconds(took[(n-1)/2]) + milliseconds(took[n/2])) / 2, Min: milliseconds(took[0])}
}

// randomInputs makes the same tensors every time: floats from 0 to 1, integers from 0 to 127, bools.
func randomInputs(m *inference.Model, sizes map[string]int) (map[string]*tensor.Tensor, error) {
	random := rand.New(rand.NewPCG(1, 2))
	in := map[string]*tensor.Tensor{}
	for _, v := range m.Inputs() {
		if v.Dims == nil {
			return nil, &usageError{fmt.Errorf("input %q declares no shape: give it with --input", v.Name)}
		}
		shape := make([]int, len(v.Dims))
		for i, d := range v.Dims {
			size, given := sizes[d.Symbol]
			switch {
			case d.Size >= 0:
				shape[i] = d.Size
			case d.Symbol != "" && given:
				shape[i] = size
			case i == 0: // the batch, nearly always
				shape[i] = 1
			case d.Symbol != "":
				return nil, &usageError{fmt.Errorf("input %q has a dimension %q: give its size with --dim %s=SIZE", v.Name, d.Symbol, d.Symbol)}
			default:
				return nil, &usageError{fmt.Errorf("dimension %d of input %q is open: give the tensor with --input", i, v.Name)}
			}
		}
		if _, err := tensor.CheckShape(shape, ops.MaxElements); err != nil {
			return nil, &usageError{fmt.Errorf("input %q: %w", v.Name, err)}
		}
		in[v.Name] = randomTensor(random, v, shape)
	}
	return in, nil
}

func randomTensor(random *rand.Rand, v graph.ValueInfo, shape []int) *tensor.Tensor {
	switch v.DType {
	case tensor.Float32:
		return fill(shape, random.Float32)
	case tensor.Float64:
		return fill(shape, random.Float64)
	case tensor.Int8:
		return fill(shape, func() int8 { return int8(random.IntN(128)) })
	case tensor.Int16:
		return fill(shape, func() int16 { return int16(random.IntN(128)) })
	case tensor.Int32:
		return fill(shape, func() int32 { return random.Int32N(128) })
	case tensor.Int64:
		return fill(shape, func() int64 { return random.Int64N(128) })
	case tensor.Uint8:
		return fill(shape, func() uint8 { return uint8(random.UintN(128)) })
	case tensor.Uint16:
		return fill(shape, func() uint16 { return uint16(random.UintN(128)) })
	case tensor.Uint32:
		return fill(shape, func() uint32 { return random.Uint32N(128) })
	case tensor.Uint64:
		return fill(shape, func() uint64 { return random.Uint64N(128) })
	default:
		return fill(shape, func() bool { return random.IntN(2) == 1 })
	}
}

func fill[T tensor.Element](shape []int, next func() T) *tensor.Tensor {
	v := make([]T, tensor.Count(shape))
	for i := range v {
		v[i] = next()
	}
	return tensor.Of(v, shape...)
}
