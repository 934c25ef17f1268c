// Package matting turns a rough mask into a matte: trimap, closed-form alpha, foreground colours and a cheap
// refinement that can always be on.
//
// Everything here is a pure function on buffers; it knows neither files nor HTTP. Photos are *image.NRGBA (straight
// alpha, which is ignored here), masks, trimaps and mattes *image.Gray of the same size. Results have origin (0,0) and
// do not depend on the number of threads.
package matting

import (
	"errors"
	"fmt"
	"image"
	"runtime"
	"sync"
	"sync/atomic"
)

// ErrNoKnown says that a trimap has neither a sure foreground nor a sure background pixel, so that every matte would
// be as good as any other.
var ErrNoKnown = errors.New("the trimap has no sure pixel")

// SizeError says that two planes that belong together differ in size.
type SizeError struct {
	What          string // the plane that does not fit, e.g. "trimap"
	Width, Height int    // its size
	Want          image.Point
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("%s is %dx%d but the photo is %dx%d", e.What, e.Width, e.Height, e.Want.X, e.Want.Y)
}

// sameSize returns a *SizeError where plane is not of the photo's size.
func sameSize(photo *image.NRGBA, what string, plane *image.Gray) error {
	p, q := photo.Rect.Size(), plane.Rect.Size()
	if p != q {
		return &SizeError{What: what, Width: q.X, Height: q.Y, Want: p}
	}
	return nil
}

// threadCount resolves an option's Threads: zero and less mean all the CPUs the process may use.
func threadCount(threads int) int {
	if threads > 0 {
		return threads
	}
	return runtime.GOMAXPROCS(0)
}

// each calls f for 0..n-1 on at most threads goroutines, the caller's being one of them, and returns when all are done.
// f must not depend on which goroutine runs it.
func each(threads, n int, f func(i int)) {
	if threads > n {
		threads = n
	}
	if threads <= 1 {
		for i := 0; i < n; i++ {
			f(i)
		}
		return
	}
	var next atomic.Int64
	work := func() {
		for {
			i := int(next.Add(1)) - 1
			if i >= n {
				return
			}
			f(i)
		}
	}
	var wg sync.WaitGroup
	for t := 1; t < threads; t++ {
		wg.Go(work)
	}
	work()
	wg.Wait()
}

// stripes calls f for consecutive ranges of rows that cover 0..h-1.
func stripes(threads, h int, f func(y0, y1 int)) {
	n := min(h, 4*threads)
	if threads == 1 {
		n = 1
	}
	each(threads, n, func(i int) { f(i*h/n, (i+1)*h/n) })
}
