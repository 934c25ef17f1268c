package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openTerminal makes a pseudo terminal: what is written to the second file comes out of the first.
func openTerminal(t *testing.T) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	t.Cleanup(func() { _ = master.Close() })
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 25, Col: 80})
	}
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	return master, terminal
}

// The bar appears on a terminal alone.
func TestProgressOnATerminal(t *testing.T) {
	t.Parallel()
	master, terminal := openTerminal(t)
	p := newProgress(terminal, 2, true, false)
	if p.bar == nil {
		t.Fatal("no bar")
	}
	p.done(task{source: source{path: "a"}, output: "b"}, time.Second)
	p.notef("careful")
	p.failed(task{source: source{path: "c"}}, errors.New("broken"))
	p.finish(nil)
	_ = terminal.Close()
	shown := make([]byte, 1<<16)
	n, err := io.ReadAtLeast(master, shown, 1)
	for err == nil && n < len(shown) {
		var more int
		more, err = master.Read(shown[n:]) // until the terminal is closed
		n += more
	}
	for _, want := range []string{"images/s", "(2/2)", "cutout: careful", "cutout: c: broken", "1 done, 0 skipped, 1 failed"} {
		if !strings.Contains(string(shown[:n]), want) {
			t.Errorf("%q is not in %q", want, shown[:n])
		}
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if newProgress(file, 2, true, false).bar != nil {
		t.Error("a bar in a file")
	}
}
