package video

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"
)

const (
	killGrace  = 5 * time.Second // between the killing of a process and giving up on its pipes
	tailLength = 4 << 10         // what is kept of what a process complains about
)

// child is a process that runs. Its pipes are ours: it has none left once wait has returned.
type child struct {
	name   string
	cmd    *exec.Cmd
	errors *tail
	done   chan struct{}
	err    error
}

// launch starts a program. The process is the head of a group of its own, which is killed when ctx ends; where the system
// can, it dies with this process too. It sees nothing of this one's environment.
func launch(ctx context.Context, path string, args []string, dir string, stdin, stdout *os.File) (*child, error) {
	c := &child{errors: &tail{}, done: make(chan struct{}), name: toolName(path)}
	c.cmd = exec.CommandContext(ctx, path, args...) //nolint:gosec // the path is the operator's, the arguments are built from numbers and own names
	c.cmd.Dir, c.cmd.Env = dir, []string{"LC_ALL=C", "AV_LOG_FORCE_NOCOLOR=1"}
	c.cmd.Stderr, c.cmd.WaitDelay = c.errors, killGrace
	if stdin != nil {
		c.cmd.Stdin = stdin
	}
	if stdout != nil {
		c.cmd.Stdout = stdout
	}
	group(c.cmd)
	c.cmd.Cancel = func() error { return kill(c.cmd) }
	started := make(chan error, 1)
	go func() {
		// A process that is to die with its parent dies with the thread that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(c.done)
		if err := c.cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		c.err = c.cmd.Wait()
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("video: start %s: %w", c.name, err)
	}
	return c, nil
}

// wait waits for the end of the process.
func (c *child) wait() error {
	<-c.done
	if c.err == nil {
		return nil
	}
	return &toolError{name: c.name, err: c.err, says: c.errors.String()}
}

// cpu is the processor time that the process has used, once it has ended.
func (c *child) cpu() time.Duration {
	<-c.done
	if c.cmd.ProcessState == nil {
		return 0
	}
	return c.cmd.ProcessState.UserTime() + c.cmd.ProcessState.SystemTime()
}

// toolError is a process that failed, with the end of what it said.
type toolError struct {
	name string
	err  error
	says string
}

func (e *toolError) Error() string {
	if e.says == "" {
		return fmt.Sprintf("%s: %v", e.name, e.err)
	}
	return fmt.Sprintf("%s: %v: %s", e.name, e.err, e.says)
}

func (e *toolError) Unwrap() error { return e.err }

// capture runs a program to its end and returns what it writes, of which it takes mostSaid bytes and no more.
func capture(ctx context.Context, path string, args []string) ([]byte, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // only read from
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c, err := launch(ctx, path, args, "", nil, w)
	_ = w.Close() // the process has its own
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, mostSaid+1))
	if err == nil && len(data) > mostSaid {
		err = errors.New("says too much")
	}
	if err != nil {
		cancel()
	}
	if failed := c.wait(); err == nil {
		err = failed
	}
	return data, err
}

// tail is an io.Writer that keeps the end of what is written.
type tail struct {
	mu   sync.Mutex
	text []byte
	all  int64 // bytes written
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all += int64(len(p))
	t.text = append(t.text, p[max(0, len(p)-tailLength):]...)
	if extra := len(t.text) - tailLength; extra > 0 {
		t.text = append(t.text[:0], t.text[extra:]...)
	}
	return len(p), nil
}

// complained tells whether anything was written.
func (t *tail) complained() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all > 0
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ToValidUTF8(string(bytes.TrimSpace(t.text)), "?")
}
