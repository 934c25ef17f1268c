package codec

import (
	"runtime"
	"sync"
)

// parallel splits 0..n into at most GOMAXPROCS runs of nearly the same length, calls f(from, to) with each at once and
// waits for all. The caller's goroutine takes a share, so that a busy machine is not given more to juggle than needed.
func parallel(n int, f func(from, to int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	if workers <= 1 {
		if n > 0 {
			f(0, n)
		}
		return
	}
	var wg sync.WaitGroup
	for i := 1; i < workers; i++ {
		wg.Go(func() { f(i*n/workers, (i+1)*n/workers) })
	}
	f(0, n/workers)
	wg.Wait()
}
