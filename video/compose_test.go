package video

import (
	"image"
	"testing"
)

// TestNoFringe composes a dark subject whose soft edge has the white of the surroundings in it: at most a third of that is left.
func TestNoFringe(t *testing.T) {
	t.Parallel()
	const w, h = 200, 60
	const dark = 40
	for c, name := range map[content]string{transparent: "transparent", stencil: "stencil"} {
		frame, mask := image.NewNRGBA(image.Rect(0, 0, w, h)), image.NewGray(image.Rect(0, 0, w, h))
		for y := range h {
			for x := range w {
				a := min(max((100-x)*32, 0), 255) // dark up to 92, white from 100 on
				v := uint8((dark*a + 255*(255-a)) / 255)
				copy(frame.Pix[y*frame.Stride+4*x:], []uint8{v, v, v, 255})
				mask.Pix[y*mask.Stride+x] = uint8(a)
			}
		}
		out := compose(frame, mask, c, ground{})
		soft := 0
		for y := 10; y < h-10; y++ {
			for x := range w {
				p := out[4*(y*w+x):][:4]
				if p[3] == 0 {
					continue
				}
				a := int(mask.Pix[y*mask.Stride+x])
				if a < 255 {
					soft++
				}
				if white := (255 - dark) * (255 - a) / 255; int(p[0]) > dark+white/3 {
					t.Fatalf("%s: at %d, of alpha %d, there is %v", name, x, a, p)
				}
			}
		}
		if soft == 0 {
			t.Errorf("%s: no soft pixel is left to look at", name)
		}
	}
}
