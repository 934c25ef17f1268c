package cli

import (
	"context"
	"runtime"
	"runtime/debug"
	"time"

	"cutout/admission"
)

const (
	trimEvery = time.Second
	trimAfter = 3 // such periods in which nothing was done
)

// trim gives memory back to the system once the server has had nothing to do for a while: the pictures of the busiest
// moment would stay resident else, for as long as nobody comes. It ends with ctx.
func trim(ctx context.Context, gate *admission.Controller) {
	ticker := time.NewTicker(trimEvery)
	defer ticker.Stop()
	idle, trimmed := 0, gate.Admitted()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		s := gate.Stats()
		if s.Running != [2]int{} || s.Bodies > 0 {
			idle = 0
			continue
		}
		if idle++; idle >= trimAfter && gate.Admitted() != trimmed {
			trimmed = gate.Admitted()
			runtime.GC() // what lies in pools is let go only by the second collection
			debug.FreeOSMemory()
		}
	}
}
