package compositing

import (
	"fmt"
	"image"
	"runtime"
	"sync"
)

// bandPixels is the least number of pixels worth a goroutine of its own: below it starting one costs more than it saves.
const bandPixels = 1 << 17

// eachBand calls fn on bands of rows that together cover 0..height, at the same time where the picture is large.
// fn must not write outside of its rows. The caller's goroutine takes a share.
func eachBand(width, height int, fn func(y0, y1 int)) {
	n := min(runtime.GOMAXPROCS(0), width*height/bandPixels, height)
	if n <= 1 {
		fn(0, height)
		return
	}
	var wg sync.WaitGroup
	for i := 1; i < n; i++ {
		wg.Go(func() { fn(height*i/n, height*(i+1)/n) })
	}
	fn(0, height/n)
	wg.Wait()
}

// sameSize panics when two buffers that must lie on each other do not: that is a mistake of the caller's code and
// never one of the input's.
func sameSize(what string, a, b image.Rectangle) {
	if a.Dx() != b.Dx() || a.Dy() != b.Dy() {
		panic(fmt.Sprintf("compositing: %s: sizes differ: %dx%d and %dx%d", what, a.Dx(), a.Dy(), b.Dx(), b.Dy()))
	}
}

// row returns the n bytes of row y of a plane whose origin is (0,0).
func row(pix []uint8, stride, y, n int) []uint8 { return pix[y*stride : y*stride+n : y*stride+n] }

// div255 is x/255 rounded to the nearest, exact for 0 <= x <= 65535.
func div255(x uint32) uint32 {
	x += 128
	return (x + x>>8) >> 8
}
