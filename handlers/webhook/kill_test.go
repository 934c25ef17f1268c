//go:build unix

package webhook_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cutout/fetch"
	"cutout/handlers/webhook"
	"cutout/jobs"
)

// TestMain runs the tests, or is the child process of one.
func TestMain(m *testing.M) {
	if dir := os.Getenv("WEBHOOK_TEST_CHILD"); dir != "" {
		child(dir, os.Getenv("WEBHOOK_TEST_URL"))
		return
	}
	os.Exit(m.Run())
}

const hookJobs = 10

func open(dir string) (*jobs.Service, *webhook.Hooks, error) {
	poster, err := fetch.New(fetch.Config{OnlyAllowed: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	if err != nil {
		return nil, nil, err
	}
	hooks, err := webhook.New(webhook.Config{
		Secret: "a secret of many bytes", AllowHTTP: true, Poster: poster,
		Body: func(st jobs.Status) ([]byte, error) { return []byte(st.ID + " " + string(st.Phase)), nil },
	})
	if err != nil {
		return nil, nil, err
	}
	s, err := jobs.Open(context.Background(), jobs.Config{DataDir: dir, Kinds: []string{"image"}, MinFree: 1, CallBackoff: 2 * time.Second})
	return s, hooks, err
}

// child does jobs and tells of them until it is killed.
func child(dir, url string) {
	s, hooks, err := open(dir)
	if err == nil {
		err = s.Start("image", 2, func(context.Context, *jobs.Task) error { return nil })
	}
	for i := range hookJobs {
		if err == nil {
			_, err = s.Submit(context.Background(), jobs.Submission{ID: fmt.Sprintf("job-%d", i), Kind: "image", Callback: url})
		}
	}
	if err == nil {
		err = s.StartCalls(4, hooks.Deliver)
	}
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("ready")
	select {}
}

// TestKill has a receiver that fails, kills the process that calls it, and lets another one go on: the receiver hears of
// every job, under the same ids as before.
func TestKill(t *testing.T) {
	t.Parallel()
	var (
		mu       sync.Mutex
		accepts  bool
		refused  = map[string]bool{}
		accepted = map[string]int{}
	)
	failed := make(chan struct{}, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		id := r.Header.Get("Webhook-Id")
		if string(body) != id+" finished" {
			t.Errorf("%s: %q", id, body)
		}
		mu.Lock()
		defer mu.Unlock()
		if accepts {
			accepted[id]++
			return
		}
		refused[id] = true
		w.WriteHeader(http.StatusServiceUnavailable)
		failed <- struct{}{}
	}))
	t.Cleanup(receiver.Close)
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "WEBHOOK_TEST_CHILD="+dir, "WEBHOOK_TEST_URL="+receiver.URL)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || strings.TrimSpace(line) != "ready" {
		t.Fatal(line, err)
	}
	for range 6 {
		select {
		case <-failed:
		case <-time.After(time.Minute):
			t.Fatal("nobody calls")
		}
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	mu.Lock()
	accepts = true
	mu.Unlock()

	start := time.Now()
	s, hooks, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	if err := s.StartCalls(4, hooks.Deliver); err != nil {
		t.Fatal(err)
	}
	if err := s.Start("image", 2, func(context.Context, *jobs.Task) error { return nil }); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if st, err := s.Stats(t.Context()); err == nil && st.Calls == 0 && st.Waiting["image"]+st.Running["image"] == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("calls are left")
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for i := range hookJobs {
		if id := fmt.Sprintf("job-%d", i); accepted[id] != 1 {
			t.Errorf("%s was told %d times", id, accepted[id])
		}
	}
	t.Logf("%d of %d jobs had been refused before the kill; all were told %v after the restart", len(refused), hookJobs, time.Since(start))
}
