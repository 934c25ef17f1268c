package cli

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"cutout/admission"
	"cutout/config"
)

func TestBudget(t *testing.T) {
	t.Parallel()
	if compute, bodies := budget(0, 4); compute != 0 || bodies != 0 {
		t.Errorf("of nobody knows how much: %d, %d", compute, bodies)
	}
	for _, memory := range []int64{256 << 20, 512 << 20, 1 << 30, 8 << 30, 64 << 30} {
		compute, bodies := budget(memory, 2)
		if compute < leastCompute || bodies < leastBodies {
			t.Errorf("%d MB: %d for pictures and %d for bodies are too little for anything", memory>>20, compute, bodies)
		}
		if memory >= 512<<20 && compute+bodies > memory-baseMemory {
			t.Errorf("%d MB: %d for pictures and %d for bodies are more than there is", memory>>20, compute, bodies)
		}
	}
}

// A small container takes smaller pictures rather than none at all.
func TestBoundPixels(t *testing.T) {
	t.Parallel()
	pictures := config.Pictures{MaxPixels: 50e6}
	c := ServeCmd{APISphere: pictures, Rembg: pictures, PhotoRoom: pictures, Ximilar: config.Ximilar{Pictures: pictures}}
	c.Admission.Slots = 1
	c.boundPixels(1, 512<<20, slog.New(slog.DiscardHandler))
	for name, got := range map[string]int64{"apisphere": c.APISphere.MaxPixels, "ximilar": c.Ximilar.MaxPixels, "removebg": c.RemoveBG.MaxPixels} {
		if got < 1e6 || got >= 50e6 {
			t.Errorf("%s: %d pixels in 512 MB", name, got)
		}
	}
	c.APISphere.MaxPixels = 2e6
	c.boundPixels(1, 32<<30, slog.New(slog.DiscardHandler))
	if c.APISphere.MaxPixels != 2e6 {
		t.Errorf("a limit that fits became %d", c.APISphere.MaxPixels)
	}
}

func TestPprofIsServedWhereItIsAskedFor(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := servePprof(ctx, "", log); err != nil {
		t.Error(err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := servePprof(ctx, l.Addr().String(), log); err == nil {
		t.Error("an address that is taken is no error")
	}
	addr := l.Addr().String()
	_ = l.Close()
	if err := servePprof(ctx, addr, log); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + addr + "/debug/pprof/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("status %d", res.StatusCode)
	}
}

// Memory is given back once, when nothing is to be done, and the loop ends with its context.
func TestTrimEnds(t *testing.T) {
	t.Parallel()
	gate, err := admission.New(admission.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		trim(ctx, gate)
	}()
	l, err := gate.Enter(ctx, admission.Demand{})
	if err != nil {
		t.Fatal(err)
	}
	l.Release(true)
	if gate.Admitted() != 1 {
		t.Errorf("%d were admitted", gate.Admitted())
	}
	cancel()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("goes on")
	}
}
