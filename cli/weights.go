package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"cutout/weights"
)

// WeightsCmd looks after the networks.
type WeightsCmd struct {
	List   WeightsListCmd   `cmd:"" help:"List the networks of the catalogue."`
	Verify WeightsVerifyCmd `cmd:"" help:"Check the files of networks against the catalogue."`
}

// WeightsDir says where networks lie that the binary does not carry.
type WeightsDir struct {
	Dir string `name:"weights-dir" env:"CUTOUT_WEIGHTS_DIR" placeholder:"DIR" help:"Directory with networks that the binary does not carry."`
}

// WeightsListCmd lists the networks.
type WeightsListCmd struct {
	WeightsDir `embed:""`
}

// Run prints a table.
func (c *WeightsListCmd) Run(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tSTATE\tLICENCE\tINPUT\tSIZE\tSOURCE")
	for _, e := range weights.Catalogue() {
		_, err := e.LoadFrom(c.Dir)
		fmt.Fprintf(table, "%s\t%s\t%s\t%dx%d\t%.1f MB\t%s\n",
			e.Name, state(e, err), e.Licence, e.Input.Width, e.Input.Height, float64(e.Size)/1e6, e.Source)
	}
	return table.Flush()
}

func state(e weights.Entry, err error) string {
	switch {
	case errors.Is(err, weights.ErrNotInstalled):
		return "not installed"
	case err != nil:
		return "damaged"
	case e.Embedded():
		return "built in"
	default:
		return "installed"
	}
}

// WeightsVerifyCmd checks the files of networks.
type WeightsVerifyCmd struct {
	WeightsDir `embed:""`
	Names      []string `arg:"" optional:"" name:"name" help:"Networks to check; without one all that are installed."`
}

// Run prints a line for each network and fails if one is damaged, or asked for and not there.
func (c *WeightsVerifyCmd) Run(out io.Writer) error {
	entries := weights.Catalogue()
	if len(c.Names) > 0 {
		entries = nil
		for _, name := range c.Names {
			e, ok := weights.Lookup(name)
			if !ok {
				return &usageError{fmt.Errorf("no network %q in the catalogue, which has %s", name, catalogueNames())}
			}
			entries = append(entries, e)
		}
	}
	var problems []error
	for _, e := range entries {
		switch _, err := e.LoadFrom(c.Dir); {
		case err == nil:
			fmt.Fprintf(out, "%s: ok (sha256 %s)\n", e.Name, e.SHA256)
		case errors.Is(err, weights.ErrNotInstalled) && len(c.Names) == 0:
		default:
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

func catalogueNames() string {
	var names []string
	for _, e := range weights.Catalogue() {
		names = append(names, e.Name)
	}
	return strings.Join(names, ", ")
}
