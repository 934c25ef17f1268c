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

	leastDoubt  = 0.05 // of a mask, below which none is surer than another
	doubtWeight = 0.3  // of a new mask's doubt in that of those before it
	leastFaith  = 0.5  // what doubt takes from a mask's weight at the most,
	mostFaith   = 2    // and adds to it
)

// steady smooths masks in time: an average that forgets fast where the picture moves and slowly where it stands still, which
// is where flicker shows. It starts anew after a cut.
type steady struct {
	grid  image.Point // size of the pictures that are compared
	side  int         // of their blocks
	mask  []float32
	size  image.Point
	doubt float32 // of the masks so far
	cols  []place
	past  []float32   // scratch: what was remembered, before it was moved,
	seen  *image.Gray // the mask before it is changed,
	off   []float32   // by how much something else differs from it,
	core  []float32   // and as much of that as is beyond doubt
}

// place is the two blocks whose middles a row or column lies between, and how far it is from the first of them.
type place struct {
	a, b int
	t    float32
}

// places are those of n rows or columns, on a grid of so many, in blocks of a side.
func places(n, grid, side int) []place {
	blocks := (grid + side - 1) / side
	out := make([]place, n)
	for i := range out {
		at := (float32(i)+0.5)*float32(grid)/float32(n*side) - 0.5
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

// of is the value at a place along a row.
func (p *place) of(row []float32) float32 { return row[p.a] + p.t*(row[p.b]-row[p.a]) }

// between fills a row of blocks with the values at a place down the columns.
func between(row, values []float32, p place) {
	a, b := values[p.a*len(row):], values[p.b*len(row):]
	for i := range row {
		row[i] = a[i] + p.t*(b[i]-a[i])
	}
}

// next takes a mask, of any size but the same for a scene, and how much each block of its picture differs from the picture
// before, nil where a scene begins. With the movement of a picture as large as the mask, what is remembered moves along, and
// the differences are those that are left. It changes the mask.
func (s *steady) next(mask *image.Gray, moved []float32, m *motion) {
	size := mask.Rect.Size()
	if moved == nil || s.size != size {
		if s.size != size {
			s.size, s.mask, s.cols = size, make([]float32, size.X*size.Y), places(size.X, s.grid.X, s.side)
		}
		for i, v := range mask.Pix {
			s.mask[i] = float32(v)
		}
		s.doubt = doubtOf(mask)
		return
	}
	if size != s.grid || m != nil && m.still {
		m = nil
	}
	if m != nil {
		s.remember(mask)
		m.carry(s.past, s.mask, size)
		s.mask, s.past = s.past, s.mask
		for i, v := range s.mask {
			s.off[i] = v - float32(s.seen.Pix[i])
		}
		s.believe(m, m)
		for i, v := range s.off {
			s.mask[i] = float32(s.seen.Pix[i]) + v
		}
	}
	faith := float32(1)
	if size == s.grid { // the network's: one that is surer than those before it counts for more, one that is in doubt for less
		doubt := doubtOf(mask)
		faith = min(max((s.doubt+leastDoubt)/(doubt+leastDoubt), leastFaith), mostFaith)
		s.doubt += doubtWeight * (doubt - s.doubt)
	}
	weights := weigh(moved, s.grid, s.side)
	rows := places(size.Y, s.grid.Y, s.side)
	bw := (s.grid.X + s.side - 1) / s.side
	line := make([]float32, bw)
	for y, r := range rows {
		between(line, weights, r) // steps from block to block would show
		for i := range line {
			line[i] = min(line[i]*faith, 1)
		}
		row, old := mask.Pix[y*mask.Stride:][:size.X], s.mask[y*size.X:][:size.X]
		for x, v := range row {
			d := float32(v) - old[x]
			if d == 0 {
				continue
			}
			old[x] += d * s.cols[x].of(line)
			if d > -0.5 && d < 0.5 {
				old[x] = float32(v) // near enough to be there
			}
			row[x] = uint8(old[x] + 0.5)
		}
	}
}

// remember keeps a copy of a mask that is going to be changed.
func (s *steady) remember(mask *image.Gray) {
	if size := mask.Rect.Size(); s.seen == nil || s.seen.Rect.Size() != size {
		s.seen = image.NewGray(mask.Rect)
		s.past, s.off, s.core = make([]float32, size.X*size.Y), make([]float32, size.X*size.Y), make([]float32, size.X*size.Y)
	}
	copy(s.seen.Pix, mask.Pix)
}

// believe drops, where there is movement, those differences from the mask that come from vectors being whole pixels: what
// the mask has right beside a place is as good. Around a difference beyond doubt all are believed: it has an outline.
func (s *steady) believe(a, b *motion) {
	w, h := s.seen.Rect.Dx(), s.seen.Rect.Dy()
	for y := range h {
		for x := range w {
			i := y*w + x
			s.core[i] = s.off[i]
			if s.off[i] != 0 && (a.moves(x, y) || b.moves(x, y)) {
				lo, hi := around(s.seen, x, y)
				v := float32(s.seen.Pix[i]) + s.off[i]
				s.core[i] = v - min(max(v, lo), hi)
			}
		}
	}
	const reach = 2
	for y := range h {
		for x := range w {
			i := y*w + x
			if s.core[i] == s.off[i] {
				continue
			}
			if !s.near(x, y, reach, s.off[i]/2) {
				s.off[i] = s.core[i]
			}
		}
	}
}

// near tells whether, at most so far from a place, there is a difference beyond doubt of at least some size.
func (s *steady) near(x, y, reach int, size float32) bool {
	w, h := s.seen.Rect.Dx(), s.seen.Rect.Dy()
	for ny := max(y-reach, 0); ny <= min(y+reach, h-1); ny++ {
		for _, c := range s.core[ny*w+max(x-reach, 0) : ny*w+min(x+reach, w-1)+1] {
			if size > 0 && c >= size || size < 0 && c <= size {
				return true
			}
		}
	}
	return false
}

// outvote gives each place of a mask the median of itself and what the masks before and after have there, as far as the
// movement explains these: what appears for a single frame is gone.
func (s *steady) outvote(mask, before, after *image.Gray, from, to *motion) {
	size := mask.Rect.Size()
	if size != s.grid || before == nil || before.Rect.Size() != size || after.Rect.Size() != size {
		return
	}
	s.remember(mask)
	earlier, later := from.carried(before), to.carried(after)
	wf, wt := weigh(from.residual, size, s.side), weigh(to.residual, size, s.side)
	for i := range wf {
		wf[i] = (1 - max(wf[i], wt[i])) / (1 - stillWeight)
	}
	for i, v := range s.seen.Pix {
		a, b := earlier[i], later[i]
		s.off[i] = max(min(a, b), min(max(a, b), float32(v))) - float32(v)
	}
	s.believe(from, to)
	cols, rows := places(size.X, size.X, s.side), places(size.Y, size.Y, s.side)
	line := make([]float32, from.w)
	for y, r := range rows {
		between(line, wf, r)
		row, off := mask.Pix[y*mask.Stride:][:size.X], s.off[y*size.X:][:size.X]
		for x, d := range off {
			if d != 0 {
				row[x] = uint8(float32(row[x]) + cols[x].of(line)*d + 0.5)
			}
		}
	}
}

// around is the least and the most of a mask at and beside a place.
func around(mask *image.Gray, x, y int) (lo, hi float32) {
	least, most := uint8(255), uint8(0)
	x0, x1 := max(x-1, 0), min(x+2, mask.Rect.Dx())
	for ny := max(y-1, 0); ny < min(y+2, mask.Rect.Dy()); ny++ {
		for _, v := range mask.Pix[ny*mask.Stride:][x0:x1] {
			least, most = min(least, v), max(most, v)
		}
	}
	return float32(least), float32(most)
}

// weigh is what the new mask counts for in each block. A block beside one that moves may be where it moves to.
func weigh(moved []float32, size image.Point, side int) []float32 {
	bw, bh := (size.X+side-1)/side, (size.Y+side-1)/side
	sorted := slices.Sorted(slices.Values(moved))
	still := stillBlock + noiseSpread*min(sorted[int(quietShare*float32(len(sorted)))], mostNoise)
	weights := make([]float32, len(moved))
	for by := range bh {
		for bx := range bw {
			t := min(max((mostAround(moved, bw, bh, bx, by)-still)/movedBlock, 0), 1)
			weights[by*bw+bx] = stillWeight + t*(1-stillWeight)
		}
	}
	return weights
}

// mostAround is the most of the values of a block and of those beside it.
func mostAround(values []float32, bw, bh, bx, by int) (most float32) {
	for y := max(by-1, 0); y < min(by+2, bh); y++ {
		for x := max(bx-1, 0); x < min(bx+2, bw); x++ {
			most = max(most, values[y*bw+x])
		}
	}
	return most
}

// doubtOf is how much of a mask is neither black nor white: 0 where all is, 1 where there is next to nothing.
func doubtOf(mask *image.Gray) float32 {
	const next = 0.001 // of the picture
	var sum, grey float32
	for _, v := range mask.Pix {
		a := float32(v) / 255
		sum += a
		grey += 4 * a * (1 - a)
	}
	if sum < next*float32(len(mask.Pix)) {
		return 1
	}
	return grey / sum
}
