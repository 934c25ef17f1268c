// Package cli is the command line: it reads flags and environment into settings, builds what a command needs and runs it.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit codes, for scripts.
const (
	exitOK          = 0
	exitFailure     = 1   // some pictures gave no result, or something else went wrong
	exitUsage       = 2   // the command line or a setting is wrong
	exitInterrupted = 130 // by a signal, as shells have it
)

// Program is what main hands down.
type Program struct {
	Version string // of the API, as vX.Y.Z
	OpenAPI []byte // the contract that the server serves
	Args    []string
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
}

// commands is the grammar of the command line.
type commands struct {
	Serve   ServeCmd   `cmd:"" default:"withargs" help:"Serve the HTTP API (the default)."`
	Remove  RemoveCmd  `cmd:"" help:"Remove the background of pictures, or of a video."`
	Matte   MatteCmd   `cmd:"" help:"Find the matte of a picture whose trimap is given."`
	Infer   InferCmd   `cmd:"" help:"Run an ONNX network on tensors in .npy files."`
	Bench   BenchCmd   `cmd:"" help:"Measure how fast networks run."`
	Weights WeightsCmd `cmd:"" help:"List and verify the networks."`
	Keys    KeysCmd    `cmd:"" help:"Make API keys."`
	Version VersionCmd `cmd:"" help:"Print the version."`

	Completion CompletionCmd `cmd:"" help:"Print a script that completes commands, flags and values in a shell."`
	Man        ManCmd        `cmd:"" help:"Print the manual page."`
}

// usageError is a setting or a combination of them that cannot work.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// pictureError says that pictures could not be used; what went wrong with each has been reported.
type pictureError struct{ failed, of int }

func (e *pictureError) Error() string {
	return fmt.Sprintf("%d of %d pictures gave no result", e.failed, e.of)
}

// exit is how kong leaves early, for --help.
type exit int

// Main runs the program and returns its exit code.
func Main(p Program) (code int) {
	defer func() {
		if r := recover(); r != nil {
			early, ok := r.(exit)
			if !ok {
				panic(r)
			}
			code = int(early)
		}
	}()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once

	parser, err := newParser(p)
	if err != nil {
		fmt.Fprintf(p.Stderr, "cutout: %v\n", err)
		return exitFailure
	}
	command, err := parser.Parse(p.Args)
	if err != nil {
		fmt.Fprintf(p.Stderr, "cutout: %v\nSee cutout --help.\n", err)
		return exitUsage
	}
	command.BindTo(ctx, (*context.Context)(nil))
	err = command.Run()
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		fmt.Fprintln(p.Stderr, "cutout: interrupted")
		return exitInterrupted
	}
	fmt.Fprintf(p.Stderr, "cutout: %v\n", err)
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	return exitFailure
}

func newParser(p Program) (*kong.Kong, error) {
	return kong.New(&commands{},
		kong.Name("cutout"),
		kong.Description("Removes the background of images, as a server and from the terminal."),
		kong.Writers(p.Stdout, p.Stderr),
		kong.Exit(func(code int) { panic(exit(code)) }),
		kong.Bind(p),
		kong.BindTo(p.Stdout, (*io.Writer)(nil)),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.PostBuild(func(k *kong.Kong) error {
			nameEnvironment(k.Model.Node, "CUTOUT_")
			return nil
		}),
	)
}

var notEnvironment = regexp.MustCompile(`[^A-Z0-9]+`)

// nameEnvironment gives every flag that names no environment variable one after itself: CUTOUT_ADDR for the server's
// --addr, CUTOUT_REMOVE_OUTPUT for --output of the remove command.
func nameEnvironment(node *kong.Node, prefix string) {
	for _, flag := range node.Flags {
		if flag.Name == "help" || len(flag.Envs) > 0 {
			continue
		}
		name := prefix + notEnvironment.ReplaceAllString(strings.ToUpper(flag.Name), "_")
		flag.Envs = append(flag.Envs, name)
		flag.Tag.Envs = append(flag.Tag.Envs, name)
	}
	for _, child := range node.Children {
		below := prefix
		if child.Name != "serve" {
			below += notEnvironment.ReplaceAllString(strings.ToUpper(child.Name), "_") + "_"
		}
		nameEnvironment(child, below)
	}
}
