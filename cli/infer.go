package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"cutout/inference"
	"cutout/inference/graph"
	"cutout/inference/npy"
	"cutout/inference/ops"
	"cutout/inference/tensor"
)

// ModelFile is a network from a file and how it runs.
type ModelFile struct {
	Model     string `required:"" type:"existingfile" placeholder:"FILE.onnx" help:"Network in ONNX format."`
	Threads   int    `default:"0" help:"Cores to use; 0 for all."`
	CPU       string `name:"cpu" default:"auto" enum:"auto,generic,avx2,avx512,neon" help:"Instruction set of the kernels: ${enum}."`
	Precision string `default:"fp32" enum:"fp32" help:"Arithmetic of the network: ${enum}."`
}

func (f ModelFile) load() (*inference.Model, error) {
	if f.Threads < 0 || f.Threads > 1024 {
		return nil, &usageError{fmt.Errorf("--threads %d: must be from 0 to 1024", f.Threads)}
	}
	data, err := os.ReadFile(f.Model)
	if err != nil {
		return nil, err
	}
	m, err := inference.Load(data, inference.Config{CPU: f.CPU})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Model, err)
	}
	return m, nil
}

// InferCmd runs a network on tensors in files.
type InferCmd struct {
	ModelFile  `embed:""`
	Input      []string `short:"i" required:"" sep:"none" placeholder:"[NAME=]FILE.npy" help:"Tensor for an input, - for standard input; repeat for networks with several. Without a name they are taken in the order of the network's inputs."`
	InputName  string   `placeholder:"NAME" help:"Input that the only --input is for."`
	Output     string   `short:"o" required:"" placeholder:"FILE.npy" help:"Where to write the result, - for standard output."`
	OutputName string   `placeholder:"NAME" help:"Output to write; the network's first without it."`
}

// Run runs the network once.
func (c *InferCmd) Run(ctx context.Context, p Program) error {
	m, err := c.load()
	if err != nil {
		return err
	}
	files := c.Input
	if c.InputName != "" {
		if len(files) != 1 {
			return &usageError{fmt.Errorf("--input-name %s: names the only --input, there are %d", c.InputName, len(files))}
		}
		if !isInput(m, c.InputName) {
			return &usageError{fmt.Errorf("--input-name %s: the network has no such input, it has %s", c.InputName, names(m.Inputs()))}
		}
		files = []string{c.InputName + "=" + files[0]}
	}
	in, err := readInputs(m, files, p.Stdin)
	if err != nil {
		return err
	}
	o := inference.RunOptions{Threads: c.Threads}
	if c.OutputName != "" {
		o.Outputs = []string{c.OutputName}
	}
	out, err := m.Run(ctx, in, o)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Model, err)
	}
	var result bytes.Buffer
	for _, t := range out { // of the one output wanted
		if err := npy.Write(&result, t); err != nil {
			return err
		}
	}
	if c.Output == stdio {
		_, err = p.Stdout.Write(result.Bytes())
		return err
	}
	return writeFile(c.Output, result.Bytes())
}

func isInput(m *inference.Model, name string) bool {
	return slices.ContainsFunc(m.Inputs(), func(v graph.ValueInfo) bool { return v.Name == name })
}

// names lists values for a message.
func names(values []graph.ValueInfo) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = fmt.Sprintf("%q", v.Name)
	}
	return strings.Join(quoted, ", ")
}

// readInputs reads the tensors that args name, each as NAME=FILE or FILE. Those without a name go to the inputs that
// no other argument names, in order.
func readInputs(m *inference.Model, args []string, stdin io.Reader) (map[string]*tensor.Tensor, error) {
	files := map[string]string{}
	var unnamed []string
	for _, arg := range args {
		// Names may hold an equals sign and so may files: the network's own names decide.
		i := slices.IndexFunc(m.Inputs(), func(v graph.ValueInfo) bool { return strings.HasPrefix(arg, v.Name+"=") })
		if i < 0 {
			unnamed = append(unnamed, arg)
			continue
		}
		name := m.Inputs()[i].Name
		if files[name] != "" {
			return nil, &usageError{fmt.Errorf("--input %s: input %q is given twice", arg, name)}
		}
		files[name] = strings.TrimPrefix(arg, name+"=")
	}
	for _, v := range m.Inputs() {
		if files[v.Name] != "" {
			continue
		}
		if len(unnamed) == 0 {
			return nil, &usageError{fmt.Errorf("--input: nothing is given for input %q; the network has %s", v.Name, names(m.Inputs()))}
		}
		files[v.Name], unnamed = unnamed[0], unnamed[1:]
	}
	if len(unnamed) > 0 {
		return nil, &usageError{fmt.Errorf("--input %s: more than the network has inputs (%s)", unnamed[0], names(m.Inputs()))}
	}
	in := map[string]*tensor.Tensor{}
	for name, file := range files {
		t, err := readArray(file, stdin)
		if errors.Is(err, os.ErrNotExist) {
			return nil, &usageError{fmt.Errorf("--input %s: %w", name, err)}
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		in[name] = t
	}
	return in, nil
}

func readArray(file string, stdin io.Reader) (*tensor.Tensor, error) {
	if file == stdio {
		return npy.Read(stdin, ops.MaxElements)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return npy.Read(f, ops.MaxElements)
}
