package video

import (
	"fmt"
	"image"
	"math/rand/v2"
	"testing"

	"cutout/pipeline"
)

// BenchmarkStages times what this process does to a frame, each step on one thread.
func BenchmarkStages(b *testing.B) {
	m := needMasker(b, pipeline.Options{})
	people := needMasker(b, pipeline.Options{Subject: pipeline.Human})
	for _, size := range []image.Point{{320, 240}, {640, 480}, {1920, 1080}} {
		r := rand.New(rand.NewPCG(1, 1))
		frame := image.NewNRGBA(image.Rectangle{Max: size})
		cx, cy, radius := size.X/2, size.Y/2, size.Y/3
		for y := range size.Y {
			for x := range size.X {
				p := frame.Pix[y*frame.Stride+4*x:][:4]
				p[0], p[1], p[2], p[3] = 190, 195, 200, 255
				if (x-cx)*(x-cx)+(y-cy)*(y-cy) < radius*radius {
					p[0], p[1], p[2] = 230, 110, 20
				}
				for c := range 3 {
					p[c] += uint8(r.IntN(5))
				}
			}
		}
		var small *image.NRGBA
		var mask, full *image.Gray
		step := func(name string, do func()) {
			b.Run(fmt.Sprintf("%s/%dx%d", name, size.X, size.Y), func(b *testing.B) {
				for b.Loop() {
					do()
				}
			})
		}
		step("shrink", func() { small = shrink(frame, m.Grid()) })
		if small == nil {
			small = shrink(frame, m.Grid())
		}
		step("judge", func() { isCut(histogram(small), histogram(small), blocks(small, small)) })
		seen := newView(small)
		step("motion", func() { newMotion(seen, seen) })
		var err error
		if mask, err = m.Look(b.Context(), small); err != nil {
			b.Fatal(err)
		}
		step("look", func() { mask, _ = m.Look(b.Context(), small) })
		step("look-people", func() { _, _ = people.Look(b.Context(), small) })
		if full, err = m.Matte(b.Context(), frame, mask); err != nil {
			b.Fatal(err)
		}
		step("matte", func() { full, _ = m.Matte(b.Context(), frame, mask) })
		s := steady{grid: m.Grid(), side: blockSide}
		s.next(full, nil, nil)
		moved := blocks(small, small)
		step("steady", func() { s.next(full, moved, nil) })
		for _, c := range []content{transparent, stencil, matte, overColor} {
			step(fmt.Sprintf("compose-%d", c), func() {
				copied := image.NRGBA{Pix: append([]uint8(nil), frame.Pix...), Stride: frame.Stride, Rect: frame.Rect}
				compose(&copied, full, c, ground{})
			})
		}
	}
}
