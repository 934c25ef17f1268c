// Command quality measures masks against photos whose true masks are known and draws contact sheets of the results.
//
//	go run ./quality --data DIR                  measures this program's own masks
//	go run ./quality --data DIR --masks MASKS    measures the masks in MASKS/SET/NAME.png
//
// DIR/gt/SET holds image/NAME.{jpg,png} and mask/NAME.png; DIR/refpairs/u2netp_rembg_pre/SET/NAME.png, where it is
// there, is the mask that another program made of the same photo. The table goes to standard output.
package main

import (
	"context"
	"flag"
	"fmt"
	"image"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"cutout/compositing"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "quality:", err)
		os.Exit(1)
	}
}

// maker makes the mask of a sample and, for the gallery, its pictures.
type maker interface {
	mask(ctx context.Context, s Sample) (*image.Gray, error)
	strip(ctx context.Context, s Sample) (Strip, error)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("quality", flag.ContinueOnError)
	flags.SetOutput(stderr)
	data := flags.String("data", "../shared/data", "`directory` of the photos and masks")
	masks := flags.String("masks", "", "measure the masks in this `directory` instead of this program's own")
	quality := flags.String("quality", "fast", "quality of this program's own masks: fast, balanced or precise")
	names := flags.String("sets", "", "`names` of the sets, separated by commas; all where empty")
	limit := flags.Int("limit", 0, "`number` of photos of each set; 0 for all")
	gallery := flags.String("gallery", "", "write contact sheets to this `directory`")
	rows := flags.Int("rows", 4, "`number` of photos on each contact sheet")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	var wanted []string
	if *names != "" {
		wanted = strings.Split(*names, ",")
	}
	sets, err := readSets(*data, wanted, *limit)
	if err != nil {
		return err
	}

	var m maker = fromDirectory{*masks}
	if *masks == "" {
		if m, err = newOwn(ctx, *quality); err != nil {
			return err
		}
	}
	outcomes, err := evaluateAll(ctx, m, sets, stderr)
	if err != nil {
		return err
	}
	if err := writeTable(stdout, sets, outcomes); err != nil {
		return err
	}
	if *gallery == "" {
		return nil
	}
	for _, set := range sets {
		var strips []Strip
		for _, s := range spread(set.Samples, *rows) {
			strip, err := m.strip(ctx, s)
			if err != nil {
				return fmt.Errorf("%s/%s: %w", s.Set, s.Name, err)
			}
			strips = append(strips, strip)
		}
		if err := writeSheet(*gallery, set.Name, strips); err != nil {
			return err
		}
	}
	return nil
}

// evaluateAll measures every sample. Masks are made one after the other, as each takes all cores; measuring goes on
// beside it.
func evaluateAll(ctx context.Context, m maker, sets []Set, progress io.Writer) ([][]Outcome, error) {
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0) + 1)
	outcomes := make([][]Outcome, len(sets))
	var makeErr error
making:
	for i, set := range sets {
		outcomes[i] = make([]Outcome, len(set.Samples))
		_, _ = fmt.Fprintf(progress, "%s: %d photos\n", set.Name, len(set.Samples)) // lost where nobody reads it
		for j, s := range set.Samples {
			if working.Err() != nil {
				break making
			}
			mask, err := m.mask(working, s)
			if err != nil {
				makeErr = fmt.Errorf("%s/%s: %w", s.Set, s.Name, err)
				break making
			}
			group.Go(func() error {
				o, err := evaluate(s, mask, set.Matte)
				outcomes[i][j] = o
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if makeErr != nil {
		return nil, makeErr
	}
	return outcomes, ctx.Err()
}

// spread picks n samples evenly.
func spread(samples []Sample, n int) []Sample {
	n = min(n, len(samples))
	picked := make([]Sample, n)
	for i := range picked {
		picked[i] = samples[i*len(samples)/n]
	}
	return picked
}

// fromDirectory takes masks that lie in a directory.
type fromDirectory struct{ dir string }

func (d fromDirectory) mask(_ context.Context, s Sample) (*image.Gray, error) {
	return readMask(filepath.Join(d.dir, s.Set, s.Name+".png"))
}

func (d fromDirectory) strip(ctx context.Context, s Sample) (Strip, error) {
	mask, err := d.mask(ctx, s)
	if err != nil {
		return Strip{}, err
	}
	photo, err := readPhoto(s.Photo)
	if err != nil {
		return Strip{}, err
	}
	return Strip{Label: s.Name, Photo: photo, Mask: mask, Cutout: compositing.Cutout(straight(photo), mask)}, nil
}
