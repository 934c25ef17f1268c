package admission

import (
	"runtime"
	"testing"
)

// TestBrief lets short work in the background have every slot, and long work all but one.
func TestBrief(t *testing.T) {
	t.Parallel()
	c, err := New(Config{Slots: 2})
	if err != nil {
		t.Fatal(err)
	}
	ctx := InBackground(t.Context())
	enter := func(d Demand) *Lease {
		l, err := c.Enter(ctx, d)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	first := enter(Demand{Brief: true})
	second := enter(Demand{Brief: true})
	if s := c.Stats(); s.Running[Background] != 2 {
		t.Errorf("%+v", s)
	}
	first.Release(true)
	long := make(chan *Lease)
	go func() { long <- enter(Demand{}) }()
	for c.Stats().Waiting[Background] == 0 {
		runtime.Gosched()
	}
	if s := c.Stats(); s.Running[Background] != 1 || s.Waiting[Background] != 1 {
		t.Errorf("%+v", s)
	}
	second.Release(true)
	(<-long).Release(true)
}
