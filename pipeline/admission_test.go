package pipeline

import (
	"context"
	"errors"
	"testing"
	"time"

	"cutout/admission"
	"cutout/codec"
)

// admitted is the shared pipeline behind an admission of its own.
func admitted(t *testing.T, cfg admission.Config) (*Pipeline, *admission.Controller) {
	t.Helper()
	c, err := admission.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p := *testPipeline(t)
	p.cfg.Admission = c
	return &p, c
}

// Pictures that cannot be used are told so without a slot, refusals come before a pixel is decoded, and whoever gives up
// leaves nothing behind.
func TestRunAsksForAdmission(t *testing.T) {
	p, c := admitted(t, admission.Config{Slots: 1, Queue: 1})
	photo := read(t, "photos/astronaut.png")
	held, err := c.Enter(context.Background(), admission.Demand{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Run(context.Background(), []byte("no picture"), Options{}); !errors.Is(err, codec.ErrUndecodable) {
		t.Errorf("no picture, while every slot is taken: %v", err)
	}
	var limit *codec.LimitError
	if _, err := p.Run(context.Background(), photo, Options{Limits: codec.Limits{MaxPixels: 1}}); !errors.As(err, &limit) {
		t.Errorf("too many pixels, while every slot is taken: %v", err)
	}
	ctx, cancel := context.WithCancel(admission.Visit(context.Background()))
	waiting := make(chan error, 1)
	go func() {
		_, err := p.Run(ctx, photo, Options{})
		waiting <- err
	}()
	for deadline := time.Now().Add(30 * time.Second); c.Stats().Waiting[admission.Interactive] == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody waits")
		}
	}
	if _, err := p.Run(admission.Visit(context.Background()), photo, Options{}); err == nil {
		t.Error("let in over a full queue")
	} else if _, ok := admission.Refusal(err); !ok {
		t.Errorf("over a full queue: %v", err)
	}
	cancel()
	if err := <-waiting; !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	held.Release(false)
	res, err := p.Run(context.Background(), photo, Options{Quality: Fast})
	if err != nil {
		t.Fatal(err)
	}
	if res.Stages[0].Name != StageWait || res.Stages[1].Start.Before(res.Stages[0].Start) {
		t.Errorf("stages %+v", res.Stages)
	}
	if s := c.Stats(); s.Running != [2]int{} || s.Waiting != [2]int{} || s.Memory != 0 {
		t.Errorf("left over: %+v", s)
	}
}

// A caller that hangs up ends the work on its picture soon, whatever step it is at.
func TestRunEndsWithItsContext(t *testing.T) {
	p, c := admitted(t, admission.Config{Slots: 2})
	photo := read(t, "photos/astronaut.png")
	o := Options{Quality: Precise, Matting: &MattingOptions{ForegroundThreshold: 240, BackgroundThreshold: 10, ErodeSize: 40}}
	start := time.Now()
	if _, err := p.Run(context.Background(), photo, o); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(start)
	for i := range 8 {
		ctx, cancel := context.WithTimeout(context.Background(), whole*time.Duration(i)/9)
		_, err := p.Run(ctx, photo, o)
		cancel()
		// The machine may be faster this time; what counts is that nothing stays.
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d ninths: %v", i, err)
		}
		if s := c.Stats(); s.Running != [2]int{} {
			t.Errorf("%d ninths: %v still run", i, s.Running)
		}
	}
}

// Larger pictures are expected to take more of everything.
func TestDemandGrows(t *testing.T) {
	t.Parallel()
	small := demand(codec.Info{Width: 512, Height: 512}, 1<<16, &Options{Quality: Fast})
	for name, d := range map[string]admission.Demand{
		"large":   demand(codec.Info{Width: 4000, Height: 4000}, 1<<20, &Options{Quality: Fast}),
		"precise": demand(codec.Info{Width: 1024, Height: 1024}, 1<<16, &Options{Quality: Precise}),
	} {
		if d.Work <= small.Work || d.Memory <= small.Memory {
			t.Errorf("%s: %+v, small: %+v", name, d, small)
		}
	}
	if got := MaxPixels(1 << 30); got < 30e6 || got > 60e6 {
		t.Errorf("1 GB is enough for %d pixels", got)
	}
}
