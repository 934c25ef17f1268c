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
	quality := flags.String("quality", "fast,balanced,precise", "`levels` of this program's own masks, separated by commas")
	subject := flags.String("subject", "universal", "what this program's own masks look for: universal, human or product")
	report := flags.String("report", "", "put the tables into this `file`, between its marks")
	names := flags.String("sets", "", "`names` of the sets, separated by commas; all where empty")
	limit := flags.Int("limit", 0, "`number` of photos of each set; 0 for all")
	gallery := flags.String("gallery", "", "write contact sheets to this `directory`")
	rows := flags.Int("rows", 5, "`number` of photos on each contact sheet")
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

	levels := []level{{name: "", maker: fromDirectory{*masks}}}
	if *masks == "" {
		if levels, err = newOwn(ctx, strings.Split(*quality, ","), *subject); err != nil {
			return err
		}
	}
	var text strings.Builder
	for _, l := range levels {
		outcomes, err := evaluateAll(ctx, l, sets, stderr)
		if err != nil {
			return err
		}
		if l.name != "" {
			fmt.Fprintf(&text, "\n### `%s`\n\n", l.name)
		}
		if err := writeTable(&text, sets, outcomes); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(stdout, text.String()); err != nil {
		return fmt.Errorf("write the tables: %w", err)
	}
	if *report != "" {
		if err := replaceReport(*report, text.String()+"\n"); err != nil {
			return err
		}
	}
	if *gallery == "" {
		return nil
	}
	for _, l := range levels {
		if err := writeGallery(ctx, l, filepath.Join(*gallery, l.name), sets, *rows); err != nil {
			return err
		}
	}
	return nil
}

// level is a maker with the name of the quality it works at, "" where there is but one.
type level struct {
	maker

	name string
}

// writeGallery writes a contact sheet of every set.
func writeGallery(ctx context.Context, m maker, dir string, sets []Set, rows int) error {
	for _, set := range sets {
		var strips []Strip
		for _, s := range spread(set.Samples, rows) {
			strip, err := m.strip(ctx, s)
			if err != nil {
				return fmt.Errorf("%s/%s: %w", s.Set, s.Name, err)
			}
			strips = append(strips, strip)
		}
		if err := writeSheet(dir, set.Name, strips); err != nil {
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
