package jobs

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// TestOutage stops the server under a service and starts it again: every call says that the store is away, and all is as
// before once it is back, without anything being started anew.
func TestOutage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := func(port int) *server.Server {
		n, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true})
		if err != nil {
			t.Fatal(err)
		}
		n.Start()
		if !n.ReadyForConnections(time.Minute) {
			t.Fatal("the server does not start")
		}
		return n
	}
	stop := func(n *server.Server) {
		n.Shutdown()
		n.WaitForShutdown()
	}
	n := run(server.RANDOM_PORT)
	u, err := url.Parse(n.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	b := open(t, Config{URL: n.ClientURL(), Lease: time.Second, MaxAttempts: 10})
	hosted, err := b.Host(t.Context(), "h", "", strings.NewReader("hosted"))
	if err != nil {
		t.Fatal(err)
	}
	begun, release := make(chan struct{}, 20), make(chan struct{})
	b.start(t, 1, func(ctx context.Context, task *Task) error {
		begun <- struct{}{}
		<-release
		return upper(ctx, task)
	})
	id := b.submit(t, Submission{Inputs: []File{b.upload(t, "a", []byte("abc"))}})
	<-begun
	stop(n)

	away := map[string]func(context.Context) error{
		"healthy": b.Healthy,
		"upload":  func(ctx context.Context) error { _, err := b.Upload(ctx, "f", "", strings.NewReader("x")); return err },
		"host":    func(ctx context.Context) error { _, err := b.Host(ctx, "f", "", strings.NewReader("x")); return err },
		"submit":  func(ctx context.Context) error { _, err := b.Submit(ctx, Submission{Kind: kind}); return err },
		"status":  func(ctx context.Context) error { _, err := b.Status(ctx, id); return err },
		"open":    func(ctx context.Context) error { _, err := b.OpenFile(ctx, hosted.Key); return err },
		"delete":  func(ctx context.Context) error { return b.Delete(ctx, id) },
		"call":    func(ctx context.Context) error { _, err := b.Call(ctx, "https://x.example/", []byte("{}")); return err },
		"stats":   func(ctx context.Context) error { _, err := b.Stats(ctx); return err },
	}
	for what, call := range away {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		if err := call(ctx); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
		cancel()
	}
	close(release)

	n = run(port)
	back := time.Now()
	t.Cleanup(func() { stop(n) })
	b.wait(t, Finished)
	t.Logf("the job that ran had ended %v after the server was back", time.Since(back))
	if got := b.read(t, b.status(t, id).Outcomes[0].Results[0].Key); string(got) != "ABC" {
		t.Errorf("result %q", got)
	}
	if got := b.read(t, hosted.Key); string(got) != "hosted" {
		t.Errorf("hosted file %q", got)
	}
	again := b.submit(t, Submission{Inputs: []File{b.upload(t, "a", []byte("again"))}})
	b.wait(t, Finished)
	if got := b.read(t, b.status(t, again).Outcomes[0].Results[0].Key); string(got) != "AGAIN" {
		t.Errorf("result %q", got)
	}
	if err := b.Healthy(t.Context()); err != nil {
		t.Error(err)
	}
}
