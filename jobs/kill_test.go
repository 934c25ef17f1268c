//go:build unix

package jobs

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const killJobs = 50

// child is a process that takes jobs until it is killed. It tells of every job it begins, and hangs in the middle of
// every third one.
func child(dir string) {
	s, err := Open(context.Background(), Config{DataDir: dir, Kinds: []string{kind}, MinFree: 1})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for i := range killJobs {
		var inputs []File
		for n := range 2 {
			f, err := s.Upload(context.Background(), fmt.Sprint(n), "", strings.NewReader(fmt.Sprintf("job %d file %d", i, n)))
			if err != nil {
				fmt.Println("error", err)
				os.Exit(1)
			}
			inputs = append(inputs, f)
		}
		if _, err := s.Submit(context.Background(), Submission{ID: fmt.Sprintf("job-%d", i), Kind: kind, Inputs: inputs}); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	var mu sync.Mutex
	count := 0
	_ = s.Start(kind, 4, func(ctx context.Context, t *Task) error {
		mu.Lock()
		count++
		hang := count%3 == 0
		mu.Unlock()
		if err := upperOne(ctx, t, 0); err != nil {
			return err
		}
		if hang {
			fmt.Println("hangs", t.ID())
			select {}
		}
		return upper(ctx, t)
	})
	select {}
}

// TestKill kills a process in the middle of its jobs. The next one on the same directory ends them all, at once, and
// does nothing twice.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "JOBS_TEST_CHILD="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	hanging := map[string]bool{}
	lines := bufio.NewScanner(out)
	for len(hanging) < 4 && lines.Scan() {
		id, ok := strings.CutPrefix(lines.Text(), "hangs ")
		if !ok {
			t.Fatal(lines.Text())
		}
		hanging[id] = true
	}
	if _, err := Open(t.Context(), Config{DataDir: dir, Kinds: []string{kind}}); err == nil || !strings.Contains(err.Error(), fmt.Sprint(cmd.Process.Pid)) {
		t.Errorf("the directory of a running process: %v", err)
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()

	start := time.Now()
	b := open(t, Config{DataDir: dir, Lease: time.Minute})
	var (
		mu      sync.Mutex
		resumed = map[string]bool{}
	)
	b.start(t, 2, func(ctx context.Context, task *Task) error {
		if p := task.Pending(); len(p) == 1 && p[0] == 1 {
			mu.Lock()
			resumed[task.ID()] = true
			mu.Unlock()
		}
		return upper(ctx, task)
	})
	done := func(id string) bool { return b.status(t, id).Phase == Finished }
	for i := range killJobs {
		id := fmt.Sprintf("job-%d", i)
		until(t, id+" ends", func() bool { return done(id) })
		for n, o := range b.status(t, id).Outcomes {
			want := fmt.Sprintf("JOB %d FILE %d", i, n)
			if len(o.Results) != 1 || string(b.read(t, o.Results[0].Key)) != want {
				t.Errorf("%s: %+v", id, o)
			}
		}
	}
	t.Logf("all %d jobs had ended %v after the restart", killJobs, time.Since(start))
	for id := range hanging {
		if !resumed[id] {
			t.Errorf("%s did not go on with its second file", id)
		}
	}
	until(t, "only results are left", func() bool { return b.stored(t) == 2*2*killJobs })
}
