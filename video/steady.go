package video

import (
	"image"
	"slices"
)

// Everything here works on small pictures, all of one size, that the network sees.

// Pictures are compared in square blocks: single pixels are noise.
const (
	blockSide = 16
	cellSide  = 4 // divides blockSide
)

// sameBlock and sameMean are the differences, of 255, up to which two pictures show the same: that of the worst block and
// the mean of all. Camera noise and the grain of a codec stay below, the slowest movement of an outline goes over. Found on
// clips, see docs/video.md.
const (
	sameBlock = 2.5
	sameMean  = 1.2
)

// blocks is how much two pictures differ in every block, of 255: the mean, over the three colours, of the absolute
// difference of small cells' means. The noise of a sensor is mostly gone from these, the movement of an outline is not.
func blocks(a, b *image.NRGBA) []float32 {
	w, h := a.Rect.Dx(), a.Rect.Dy()
	bw, bh := (w+blockSide-1)/blockSide, (h+blockSide-1)/blockSide
	out, count := make([]float32, bw*bh), make([]float32, bw*bh)
	cw := (w + cellSide - 1) / cellSide
	cells := make([][3]int32, cw)
	for y0 := 0; y0 < h; y0 += cellSide {
		clear(cells)
		rows := min(cellSide, h-y0)
		for y := y0; y < y0+rows; y++ {
			p, q := a.Pix[y*a.Stride:][:4*w], b.Pix[y*b.Stride:][:4*w]
			for c := range cells {
				sum := &cells[c]
				for x := 4 * c * cellSide; x < min(4*(c+1)*cellSide, 4*w); x += 4 {
					sum[0] += int32(p[x]) - int32(q[x])
					sum[1] += int32(p[x+1]) - int32(q[x+1])
					sum[2] += int32(p[x+2]) - int32(q[x+2])
				}
			}
		}
		for c, sum := range cells {
			i := y0/blockSide*bw + c*cellSide/blockSide
			columns := min(cellSide, w-c*cellSide)
			out[i] += float32(max(sum[0], -sum[0])+max(sum[1], -sum[1])+max(sum[2], -sum[2])) / float32(3*rows*columns)
			count[i]++
		}
	}
	for i := range out {
		out[i] /= count[i]
	}
	return out
}

// same tells whether the differences of two pictures are none that matter.
func same(blocks []float32) bool {
	var sum, worst float32
	for _, v := range blocks {
		sum += v
		worst = max(worst, v)
	}
	return worst <= sameBlock && sum <= sameMean*float32(len(blocks))
}

// A cut is a change of the picture that movement does not explain: the colours it consists of are others, or, where they
// are alike, nearly every block of it has changed a lot.
const (
	cutHistogram = 0.45 // share of the pixels whose colour the other picture has not
	cutBlocks    = 0.85 // share of the blocks that have changed,
	cutBlock     = 20   // by at least so much
	cutEither    = 0.25 // and of the pixels with them
)

// histogram counts the pixels of each of 512 colours.
func histogram(m *image.NRGBA) *[512]int32 {
	var h [512]int32
	for i := 0; i+3 < len(m.Pix); i += 4 {
		h[int(m.Pix[i]>>5)<<6|int(m.Pix[i+1]>>5)<<3|int(m.Pix[i+2]>>5)]++
	}
	return &h
}

// isCut tells whether a scene ends between two pictures.
func isCut(a, b *[512]int32, blocks []float32) bool {
	var differ, all int32
	for i := range a {
		all += a[i]
		differ += max(a[i]-b[i], 0)
	}
	share := float32(differ) / float32(max(all, 1))
	if share >= cutHistogram {
		return true
	}
	changed := 0
	for _, v := range blocks {
		if v >= cutBlock {
			changed++
		}
	}
	return share >= cutEither && float32(changed) >= cutBlocks*float32(len(blocks))
}

// Smoothing: what a new mask counts for, beside those before it.
const (
	stillWeight = 0.22 // where the picture does not change
	stillBlock  = 1.5  // changes of blocks up to this are noise, of 255, beyond the noise that the whole picture has;
	movedBlock  = 7.0  // so much more and something moves there: the new mask counts alone
	quietShare  = 0.3  // share of the blocks that are taken for still, which tell how much noise there is,
	mostNoise   = 4.0  // as far as it is believed to be noise
	noiseSpread = 1.6  // how much more the noise of a block can be than that
)

// steady smooths masks in time: an average that forgets fast where the picture moves and slowly where it stands still, which
// is where flicker shows. It starts anew after a cut.
type steady struct {
	grid image.Point // size of the pictures that are compared
	mask []float32
	size image.Point
	cols []place
}

// place is the two blocks whose middles a row or column lies between, and how far it is from the first of them.
type place struct {
	a, b int
	t    float32
}

// places are those of n rows or columns, on a grid of so many.
func places(n, grid int) []place {
	blocks := (grid + blockSide - 1) / blockSide
	out := make([]place, n)
	for i := range out {
		at := (float32(i)+0.5)*float32(grid)/(float32(n)*blockSide) - 0.5
		switch a := int(at); {
		case at < 0:
		case a >= blocks-1:
			out[i] = place{blocks - 1, blocks - 1, 0}
		default:
			out[i] = place{a, a + 1, at - float32(a)}
		}
	}
	return out
}

// next takes a mask, of any size but the same for a scene, and how much each block of its picture differs from the picture
// before, nil where a scene begins. It changes the mask.
func (s *steady) next(mask *image.Gray, moved []float32) {
	size := mask.Rect.Size()
	if moved == nil || s.size != size {
		if s.size != size {
			s.size, s.mask, s.cols = size, make([]float32, size.X*size.Y), places(size.X, s.grid.X)
		}
		for i, v := range mask.Pix {
			s.mask[i] = float32(v)
		}
		return
	}
	weights := weigh(moved, s.grid)
	rows := places(size.Y, s.grid.Y)
	bw := (s.grid.X + blockSide - 1) / blockSide
	line := make([]float32, bw)
	for y, r := range rows {
		// Between the middles of the blocks weights are interpolated: steps would show.
		for i := range line {
			line[i] = weights[r.a*bw+i] + r.t*(weights[r.b*bw+i]-weights[r.a*bw+i])
		}
		row, old := mask.Pix[y*mask.Stride:][:size.X], s.mask[y*size.X:][:size.X]
		for x, v := range row {
			d := float32(v) - old[x]
			if d == 0 {
				continue
			}
			c := &s.cols[x]
			old[x] += d * (line[c.a] + c.t*(line[c.b]-line[c.a]))
			if d > -0.5 && d < 0.5 {
				old[x] = float32(v) // near enough to be there
			}
			row[x] = uint8(old[x] + 0.5)
		}
	}
}

// weigh is what the new mask counts for in each block. A block beside one that moves may be where it moves to.
func weigh(moved []float32, size image.Point) []float32 {
	bw, bh := (size.X+blockSide-1)/blockSide, (size.Y+blockSide-1)/blockSide
	sorted := slices.Sorted(slices.Values(moved))
	still := stillBlock + noiseSpread*min(sorted[int(quietShare*float32(len(sorted)))], mostNoise)
	weights := make([]float32, len(moved))
	for by := range bh {
		for bx := range bw {
			var most float32
			for y := max(by-1, 0); y < min(by+2, bh); y++ {
				for x := max(bx-1, 0); x < min(bx+2, bw); x++ {
					most = max(most, moved[y*bw+x])
				}
			}
			t := min(max((most-still)/movedBlock, 0), 1)
			weights[by*bw+bx] = stillWeight + t*(1-stillWeight)
		}
	}
	return weights
}
