package cli

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress tells how far a batch is: with a bar on a terminal, with a line for each picture anywhere else. It is safe for
// concurrent use.
type progress struct {
	mu    sync.Mutex
	out   io.Writer
	bar   *progressbar.ProgressBar // nil without a terminal
	lines bool                     // tell about pictures that succeed
	quiet bool
	batch bool
	total int
	start time.Time

	made, passed, broken int
}

func newProgress(out io.Writer, total int, batch, quiet bool) *progress {
	p := &progress{out: out, total: total, batch: batch, quiet: quiet, lines: batch && !quiet, start: time.Now()}
	f, ok := out.(*os.File)
	if !p.lines || !ok || !term.IsTerminal(int(f.Fd())) {
		return p
	}
	p.lines = false
	p.bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(out), progressbar.OptionShowCount(),
		progressbar.OptionSetPredictTime(true), progressbar.OptionFullWidth(), progressbar.OptionThrottle(65*time.Millisecond), progressbar.OptionUseANSICodes(true))
	return p
}

// notef prints a line of its own, with the bar out of its way.
func (p *progress) notef(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.linef("cutout: "+format+"\n", args...)
}

func (p *progress) linef(format string, args ...any) {
	if p.bar != nil {
		_ = p.bar.Clear() // what a terminal cannot show is no reason to stop
	}
	fmt.Fprintf(p.out, format, args...)
	if p.bar != nil {
		_ = p.bar.RenderBlank()
	}
}

func (p *progress) advance() {
	if p.bar != nil {
		p.bar.Describe(fmt.Sprintf("%.1f images/s", p.rate()))
		_ = p.bar.Add(1)
	}
}

// rate is how many pictures a second were worked on.
func (p *progress) rate() float64 {
	return float64(p.made+p.broken) / max(time.Since(p.start).Seconds(), 1e-3)
}

func (p *progress) count() int { return p.made + p.passed + p.broken }

// done counts a picture with its result.
func (p *progress) done(t task, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.made++
	if p.lines {
		p.linef("%d/%d %s -> %s %.2fs\n", p.count(), p.total, t.path, t.output, took.Seconds())
	}
	p.advance()
}

// failed counts a picture that gave no result and says why.
func (p *progress) failed(t task, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken++
	p.linef("cutout: %s: %v\n", t.path, err)
	p.advance()
}

// skipped counts a picture whose result was there. It takes no time, so that the bar leaves it out of its rate.
func (p *progress) skipped() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.passed++
	if p.bar != nil {
		p.bar.ChangeMax(p.total - p.passed)
	}
}

// finish sums up. err is why the batch broke off, if it did.
func (p *progress) finish(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	if !p.batch || p.quiet {
		return
	}
	took := time.Since(p.start)
	fmt.Fprintf(p.out, "%d done, %d skipped, %d failed in %.1fs", p.made, p.passed, p.broken, took.Seconds())
	if p.made > 0 {
		fmt.Fprintf(p.out, ", %.1f images/s", p.rate())
	}
	fmt.Fprintln(p.out)
	if err != nil && p.count() < p.total {
		fmt.Fprintf(p.out, "%d are left: the same command goes on from here\n", p.total-p.count())
	}
	if p.passed > 0 && p.made+p.broken == 0 && err == nil {
		fmt.Fprintln(p.out, "Every result is there and newer than its picture; --force makes them anew.")
	}
}
