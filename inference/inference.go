// Package inference loads ONNX models and runs them: load once, run many, from any number of goroutines.
//
// A Model is decoded once. The first run with a new set of input shapes compiles a plan for it (shapes inferred, constants
// folded, operators fused, kernels and memory laid out), which later runs share.
package inference

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"cutout/inference/graph"
	"cutout/inference/kernels"
	"cutout/inference/onnx"
	"cutout/inference/ops"
	"cutout/inference/tensor"
)

// Config chooses how models run.
type Config struct {
	CPU string // kernel set: "auto" or "", "avx512", "avx2", "neon", "generic"
}

// Model is a loaded network.
type Model struct {
	graph   *graph.Model
	set     *kernels.Set
	weights graph.Weights

	mu    sync.Mutex
	plans []cachedPlan // the most recently made last
}

type cachedPlan struct {
	key  string
	plan *graph.Plan // nil: the model can only be interpreted
}

// maxPlans bounds how many sets of input shapes a model keeps plans for.
const maxPlans = 8

// Load decodes an ONNX model. Errors name the node, operator and opset that cannot be run.
func Load(data []byte, cfg Config) (*Model, error) {
	set, err := kernels.Select(cfg.CPU)
	if err != nil {
		return nil, err
	}
	g, err := onnx.Decode(data)
	if err != nil {
		return nil, err
	}
	return &Model{graph: g, set: set}, nil
}

// Kernels returns the name of the kernel set the model runs on.
func (m *Model) Kernels() string { return m.set.Name }

// Inputs returns the declared graph inputs.
func (m *Model) Inputs() []graph.ValueInfo { return m.graph.Inputs }

// Outputs returns the declared graph outputs.
func (m *Model) Outputs() []graph.ValueInfo { return m.graph.Outputs }

// Bytes returns how much memory the model holds: its weights as they came, as its plans want them, and a run's arena for
// each plan. Runs at the same time need an arena each.
func (m *Model) Bytes() int64 {
	total := m.weights.Bytes()
	for _, t := range m.graph.Initializers {
		total += int64(t.Len()) * int64(t.DType().Size())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.plans {
		if p.plan != nil {
			total += int64(p.plan.ArenaBytes())
		}
	}
	return total
}

// RunOptions chooses what a run yields and what it may use.
type RunOptions struct {
	Threads int      // goroutines to use at most; 0 is one per processor
	Outputs []string // names of the values wanted; empty is the first graph output
}

// Profile runs the model once more than needed to compile it and tells what each step of its plan took. Models that can only
// be interpreted have no steps.
func (m *Model) Profile(ctx context.Context, in map[string]*tensor.Tensor, o RunOptions) ([]graph.StepTime, error) {
	if _, err := m.Run(ctx, in, o); err != nil {
		return nil, err
	}
	plan, err := m.plan(in, m.wanted(o))
	if err != nil || plan == nil {
		return nil, err
	}
	return plan.Profile(ctx, in, m.threads(o))
}

// wanted returns the names of the values a run yields.
func (m *Model) wanted(o RunOptions) []string {
	if len(o.Outputs) == 0 && len(m.graph.Outputs) > 0 {
		return []string{m.graph.Outputs[0].Name}
	}
	return o.Outputs
}

// threads returns how many goroutines a run may use.
func (m *Model) threads(o RunOptions) int {
	limit := runtime.GOMAXPROCS(0)
	if o.Threads <= 0 || o.Threads > limit {
		return limit
	}
	return o.Threads
}

// Run executes the model. Inputs are row-major tensors by name and must match the declared element types and every
// declared dimension that is a number. It returns the wanted outputs by name; they are the caller's.
func (m *Model) Run(ctx context.Context, in map[string]*tensor.Tensor, o RunOptions) (map[string]*tensor.Tensor, error) {
	wanted := m.wanted(o)
	if len(wanted) == 0 {
		return nil, errors.New("inference: the model declares no output")
	}
	if err := m.check(in); err != nil {
		return nil, err
	}
	plan, err := m.plan(in, wanted)
	if err != nil {
		return nil, err
	}
	if plan == nil {
		return graph.Interpret(ctx, m.graph, in, wanted)
	}
	return plan.Run(ctx, in, m.threads(o))
}

// check holds the inputs against what the model declares.
func (m *Model) check(in map[string]*tensor.Tensor) error {
	for _, v := range m.graph.Inputs {
		t := in[v.Name]
		if t == nil {
			return fmt.Errorf("inference: input %q is missing", v.Name)
		}
		if t.DType() != v.DType {
			return fmt.Errorf("inference: input %q is %s, the model takes %s", v.Name, t.DType(), v.DType)
		}
		if v.Dims == nil {
			continue
		}
		fits := len(v.Dims) == t.Rank()
		for i := 0; fits && i < len(v.Dims); i++ {
			fits = v.Dims[i].Size < 0 || v.Dims[i].Size == t.Shape()[i]
		}
		if !fits {
			return fmt.Errorf("inference: input %q is %v, the model takes %s", v.Name, t.Shape(), dimsString(v.Dims))
		}
	}
	return nil
}

func dimsString(dims []graph.Dim) string {
	s := make([]string, len(dims))
	for i, d := range dims {
		switch {
		case d.Size >= 0:
			s[i] = fmt.Sprint(d.Size)
		case d.Symbol != "":
			s[i] = d.Symbol
		default:
			s[i] = "?"
		}
	}
	return "[" + strings.Join(s, " ") + "]"
}

// plan returns the plan for these input shapes and outputs, nil where the shapes depend on the data.
func (m *Model) plan(in map[string]*tensor.Tensor, wanted []string) (*graph.Plan, error) {
	shapes := make(map[string][]int, len(in))
	var key strings.Builder
	for _, v := range m.graph.Inputs {
		shapes[v.Name] = in[v.Name].Shape()
		fmt.Fprintf(&key, "%v", shapes[v.Name])
	}
	for _, name := range wanted {
		key.WriteByte(0)
		key.WriteString(name)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	k := key.String()
	if i := slices.IndexFunc(m.plans, func(c cachedPlan) bool { return c.key == k }); i >= 0 {
		return m.plans[i].plan, nil
	}
	plan, err := m.compile(shapes, wanted)
	if err != nil {
		return nil, err
	}
	if len(m.plans) == maxPlans {
		m.plans = slices.Delete(m.plans, 0, 1)
	}
	m.plans = append(m.plans, cachedPlan{k, plan})
	return plan, nil
}

func (m *Model) compile(shapes map[string][]int, wanted []string) (*graph.Plan, error) {
	a, err := graph.Analyse(m.graph, shapes, wanted)
	if errors.Is(err, ops.ErrDynamic) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("inference: %w", err)
	}
	p, err := graph.Compile(a, m.set, &m.weights)
	if err != nil {
		return nil, fmt.Errorf("inference: %w", err)
	}
	return p, nil
}
