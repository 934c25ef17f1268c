package handlers_test

import (
	"os"
	"runtime"
	"testing"
	"time"
)

// holdings is what the process holds.
type holdings struct {
	goroutines, files int
	heap              uint64
}

// held counts what the process holds once it has settled: the least of a few looks, since other tests run at times.
func held(t *testing.T) holdings {
	t.Helper()
	least := holdings{goroutines: 1 << 30, files: 1 << 30, heap: 1 << 62}
	for range 10 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		least.goroutines = min(least.goroutines, runtime.NumGoroutine())
		least.heap = min(least.heap, m.HeapAlloc)
		if files, err := os.ReadDir("/proc/self/fd"); err == nil {
			least.files = min(least.files, len(files))
		}
		time.Sleep(10 * time.Millisecond)
	}
	return least
}
