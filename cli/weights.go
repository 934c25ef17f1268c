package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"cutout/weights"
)

// WeightsCmd looks after the networks.
type WeightsCmd struct {
	List   WeightsListCmd   `cmd:"" help:"List the networks of the catalogue and those of one's own."`
	Pull   WeightsPullCmd   `cmd:"" help:"Download networks that the binary does not carry."`
	Verify WeightsVerifyCmd `cmd:"" help:"Check the files of networks against the catalogue."`
}

// WeightsDir says where networks lie that the binary does not carry.
type WeightsDir struct {
	Dir string `name:"weights-dir" env:"CUTOUT_WEIGHTS_DIR" placeholder:"DIR" help:"Directory with networks that the binary does not carry; by default below the user's cache directory."`
}

// path is the directory; empty where none is named and the system tells of no cache directory.
func (d WeightsDir) path() string { return weightsDir(d.Dir) }

func weightsDir(dir string) string {
	if dir == "" {
		dir, _ = weights.DefaultDir() // without one there is nothing but what the binary carries
	}
	return dir
}

// WeightsListCmd lists the networks.
type WeightsListCmd struct {
	WeightsDir `embed:""`
}

// Run prints a table.
func (c *WeightsListCmd) Run(out io.Writer) error {
	dir := c.path()
	own, problem := weights.Own(dir)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tSTATE\tLICENCE\tINPUT\tSIZE\tVERSION\tSOURCE")
	for _, e := range append(weights.Catalogue(), own...) {
		size := fmt.Sprintf("%.1f MB", float64(e.Size)/1e6)
		if e.Size == 0 {
			size = "-"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%dx%d\t%s\t%s\t%s\n",
			e.Name, state(e, e.Installed(dir)), e.Licence, e.Input.Width, e.Input.Height, size, dash(e.Version()), dash(e.Source))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nDirectory: %s\n", dash(dir))
	for _, e := range weights.Catalogue() {
		if e.Note != "" {
			fmt.Fprintf(out, "%s: %s.\n", e.Name, e.Note)
		}
	}
	return problem
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
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

// WeightsPullCmd installs networks.
type WeightsPullCmd struct {
	WeightsDir `embed:""`
	URL        string   `name:"weights-url" env:"CUTOUT_WEIGHTS_URL" placeholder:"URL" help:"Directory to download from, which has the files under their published names, instead of where they are published."`
	All        bool     `help:"Pull every network of the catalogue."`
	Names      []string `arg:"" optional:"" name:"name" help:"Networks to pull."`
}

// Run pulls one network after the other. An interrupted pull is taken up by the next.
func (c *WeightsPullCmd) Run(ctx context.Context, p Program) error {
	var entries []weights.Entry
	switch {
	case c.All && len(c.Names) > 0:
		return &usageError{errors.New("name networks or give --all, not both")}
	case c.All:
		entries = weights.Catalogue()
	case len(c.Names) == 0:
		return &usageError{fmt.Errorf("which network? The catalogue has %s", catalogueNames())}
	}
	for _, name := range c.Names {
		e, ok := weights.Lookup(name)
		if !ok {
			return &usageError{fmt.Errorf("no network %q in the catalogue, which has %s", name, catalogueNames())}
		}
		entries = append(entries, e)
	}
	dir := c.path()
	if dir == "" {
		return &usageError{errors.New("the system names no cache directory: say where to with --weights-dir")}
	}
	var problems []error
	for _, e := range entries {
		if e.Embedded() {
			fmt.Fprintf(p.Stdout, "%s: built in\n", e.Name)
			continue
		}
		bar := newDownload(p.Stderr, e)
		puller := weights.Puller{Mirror: c.URL, Report: bar.report, Retried: bar.retried}
		pulled, err := puller.Pull(ctx, e, dir)
		bar.end()
		switch {
		case ctx.Err() != nil:
			return errors.Join(append(problems, fmt.Errorf("%s: interrupted, pull it again to go on: %w", e.Name, ctx.Err()))...)
		case err != nil:
			problems = append(problems, err)
		case pulled:
			fmt.Fprintf(p.Stdout, "%s: pulled into %s (sha256 %s, licence %s)\n", e.Name, dir, e.SHA256, e.Licence)
			if e.Note != "" {
				fmt.Fprintf(p.Stdout, "%s: note: %s.\n", e.Name, e.Note)
			}
		default:
			fmt.Fprintf(p.Stdout, "%s: ok, was installed\n", e.Name)
		}
	}
	return errors.Join(problems...)
}

// download shows how far a download is: a bar on a terminal, else a line for every quarter.
type download struct {
	out     io.Writer
	bar     *progressbar.ProgressBar // nil without a terminal
	quarter int64
}

func newDownload(out io.Writer, e weights.Entry) *download {
	d := &download{out: out}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		d.bar = progressbar.NewOptions64(e.Size, progressbar.OptionSetWriter(out), progressbar.OptionSetDescription(e.Name),
			progressbar.OptionShowBytes(true), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionFullWidth(),
			progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish())
	}
	return d
}

func (d *download) report(e weights.Entry, done, of int64) {
	if d.bar != nil {
		_ = d.bar.Set64(done) // a bar that cannot be drawn is no reason to stop
		return
	}
	if q := 4 * done / max(of, 1); q > d.quarter {
		d.quarter = q
		fmt.Fprintf(d.out, "%s: %d %% of %.1f MB\n", e.Name, 25*q, float64(of)/1e6)
	}
}

func (d *download) retried(e weights.Entry, pause time.Duration, err error) {
	fmt.Fprintf(d.out, "%s: %v; again in %v\n", e.Name, err, pause)
}

func (d *download) end() {
	if d.bar != nil {
		_ = d.bar.Exit()
	}
}

// WeightsVerifyCmd checks the files of networks.
type WeightsVerifyCmd struct {
	WeightsDir `embed:""`
	Names      []string `arg:"" optional:"" name:"name" help:"Networks to check; without one all that are installed."`
}

// Run prints a line for each network and fails if one is damaged, or asked for and not there.
func (c *WeightsVerifyCmd) Run(out io.Writer) error {
	dir := c.path()
	var (
		entries  []weights.Entry
		problems []error
	)
	if len(c.Names) == 0 {
		own, err := weights.Own(dir)
		if err != nil {
			problems = append(problems, err)
		}
		entries = append(weights.Catalogue(), own...)
	}
	for _, name := range c.Names {
		e, err := weights.Find(dir, name)
		if errors.Is(err, weights.ErrUnknown) {
			return &usageError{fmt.Errorf("no network %q in the catalogue, which has %s", name, catalogueNames())}
		}
		if err != nil {
			problems = append(problems, err)
			continue
		}
		entries = append(entries, e)
	}
	for _, e := range entries {
		switch err := e.Verify(dir); {
		case err == nil && e.SHA256 == "":
			fmt.Fprintf(out, "%s: there, but its description has no checksum\n", e.Name)
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
