// Command load drives a server of its own over loopback: an open loop at a multiple of what it can serve, or hours of
// mixed traffic, and says whether it kept its promises.
//
//	go run ./bench/load -server bin/cutout overload
//	go run ./bench/load -server bin/cutout -duration 20m soak
//
// It ends by itself, with status 1 where a promise was broken.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"
)

// settings of a run.
type settings struct {
	server   string        // binary
	flags    []string      // for its serve
	photo    string        // picture that is sent
	size     int           // longer side, in pixels, that it is brought to
	quality  string        // asked for
	factor   float64       // offered load over capacity
	duration time.Duration // of the overload or the soak
	verbose  bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		stop()
		os.Exit(1) //nolint:gocritic // the signal handler has been put away
	}
}

// errBroken says that a promise was broken; the table tells which.
var errBroken = errors.New("not all of it held")

const longest = 24 * time.Hour

func run(ctx context.Context, args []string, out io.Writer) error {
	var s settings
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	f.StringVar(&s.server, "server", "bin/cutout", "binary of the server")
	f.StringVar(&s.photo, "photo", "testdata/photos/coffee.png", "picture to send")
	f.IntVar(&s.size, "size", 1380, "longer side of the picture that is sent, in pixels")
	f.StringVar(&s.quality, "quality", "fast", "quality that is asked for")
	f.Float64Var(&s.factor, "factor", 3, "offered load, in multiples of the capacity")
	f.DurationVar(&s.duration, "duration", time.Minute, "length of the overload, or of the soak")
	f.BoolVar(&s.verbose, "v", false, "show the log of the server")
	if err := f.Parse(args); err != nil {
		return err
	}
	s.flags = f.Args()
	if len(s.flags) == 0 {
		return errors.New("say what to do: overload or soak, then flags for the server")
	}
	if s.duration <= 0 || s.duration > longest || s.size < 16 || s.factor <= 1 {
		return errors.New("duration, size or factor make no sense")
	}
	do := map[string]func(context.Context, settings, io.Writer) error{"overload": overload, "soak": soak}[s.flags[0]]
	if do == nil {
		return fmt.Errorf("%q: want overload or soak", s.flags[0])
	}
	s.flags = s.flags[1:]
	return do(ctx, s, out)
}

// check is one promise.
type check struct {
	name, want, got string
	ok              bool
}

// report prints promises and whether they held.
func report(out io.Writer, checks []check) error {
	broken := false
	for _, c := range checks {
		verdict := "ok"
		if !c.ok {
			verdict, broken = "BROKEN", true
		}
		_, _ = fmt.Fprintf(out, "%-34s %-26s %-32s %s\n", c.name, c.want, c.got, verdict)
	}
	if broken {
		return errBroken
	}
	return nil
}
