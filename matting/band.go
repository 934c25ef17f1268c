package matting

import "slices"

// reach is how far, in pixels along an axis, two pixels can be apart and still share a 3x3 window.
const reach = 2

// band lists the unknown pixels of a picture without room for the known ones. Slots number, in raster order, the
// unknown pixels and all pixels within reach of them, those outside the picture included, so that every neighbour of
// an unknown pixel has a slot and the neighbours in one row lie side by side.
type band struct {
	w, h  int
	n     int   // slots
	count int   // unknown pixels
	runs  []run // maximal runs of slots, by row then column
	first []int32
	segs  []seg // maximal runs of unknown pixels, by row then column
	block []int // segs[block[i]:block[i+1]] is one block; blocks meet at rows, each at least reach rows high
}

// run is a stretch of one row, x0 inclusive, x1 exclusive, whose first pixel has slot at.
type run struct{ y, x0, x1, at int32 }

// seg is a stretch of n unknown pixels of one row that begins at x. at is the slot of its first pixel; up1, up2, dn1
// and dn2 are those of the pixels one and two rows above and below that one.
type seg struct{ y, x, n, at, up1, up2, dn1, dn2 int32 }

// newBand builds the band of unknown stretches spans[y], given for each row as sorted disjoint [x0,x1) pairs.
func newBand(w, h int, spans [][][2]int32) *band {
	b := &band{w: w, h: h}
	// Row y of the picture is row y+reach of first.
	rows := h + 2*reach
	b.first = make([]int32, rows+1)
	near := make([][][2]int32, 0, 2*reach+1)
	for r := 0; r < rows; r++ {
		b.first[r] = int32(len(b.runs))
		near = near[:0]
		for y := r - 2*reach; y <= r; y++ {
			if y >= 0 && y < h && len(spans[y]) > 0 {
				near = append(near, spans[y])
			}
		}
		y := int32(r - reach)
		for {
			best := -1
			for i := range near {
				if len(near[i]) > 0 && (best < 0 || near[i][0][0] < near[best][0][0]) {
					best = i
				}
			}
			if best < 0 {
				break
			}
			s := near[best][0]
			near[best] = near[best][1:]
			x0, x1 := s[0]-reach, s[1]+reach
			if k := len(b.runs) - 1; k >= int(b.first[r]) && x0 <= b.runs[k].x1 {
				b.runs[k].x1 = max(b.runs[k].x1, x1)
			} else {
				b.runs = append(b.runs, run{y: y, x0: x0, x1: x1})
			}
		}
	}
	b.first[rows] = int32(len(b.runs))
	at := int32(0)
	for i := range b.runs {
		b.runs[i].at = at
		at += b.runs[i].x1 - b.runs[i].x0
	}
	b.n = int(at)
	for y := range spans {
		cur := [2*reach + 1]int32{}
		for d := range cur {
			cur[d] = b.first[y+d]
		}
		for _, s := range spans[y] {
			var at [2*reach + 1]int32
			for d := range at {
				for b.runs[cur[d]].x1 < s[1] {
					cur[d]++
				}
				r := b.runs[cur[d]]
				at[d] = r.at + s[0] - r.x0
			}
			b.segs = append(b.segs, seg{y: int32(y), x: s[0], n: s[1] - s[0], up2: at[0], up1: at[1], at: at[2], dn1: at[3], dn2: at[4]})
			b.count += int(s[1] - s[0])
		}
	}
	b.split()
	return b
}

// blockPixels is how many unknown pixels a block should have at least: enough to be worth a hand-over between threads.
const blockPixels = 4096

// maxBlocks bounds how finely the work is split, and with it how many threads can share it: blocks of one parity run
// together.
const maxBlocks = 32

// split cuts the segments into blocks. The cut depends on the band alone, never on the number of threads, so that
// results do not either.
func (b *band) split() {
	want := max(blockPixels, b.count/maxBlocks)
	b.block = append(b.block[:0], 0)
	n, y0 := 0, int32(0)
	for i, s := range b.segs {
		if n >= want && s.y != b.segs[i-1].y && s.y-y0 >= 2*reach {
			b.block = append(b.block, i)
			n = 0
		}
		if n == 0 {
			y0 = s.y
		}
		n += int(s.n)
	}
	b.block = append(b.block, len(b.segs))
}

// blocks calls f for every block, in parallel.
func (b *band) blocks(threads int, f func(i int, segs []seg)) {
	each(threads, len(b.block)-1, func(i int) { f(i, b.segs[b.block[i]:b.block[i+1]]) })
}

// parity calls f for the blocks whose number is odd (1) or even (0), in parallel. Such blocks are further apart than
// reach, so that what f writes within reach of its block no other call touches.
func (b *band) parity(threads, odd int, f func(i int, segs []seg)) {
	each(threads, (len(b.block)-odd)/2, func(k int) {
		i := 2*k + odd
		f(i, b.segs[b.block[i]:b.block[i+1]])
	})
}

// row returns the runs of slots in row y, which may lie up to reach rows outside the picture.
func (b *band) row(y int) []run {
	return b.runs[b.first[y+reach]:b.first[y+reach+1]]
}

// merge joins overlapping or touching spans, sorting them in place.
func merge(s [][2]int32) [][2]int32 {
	if len(s) < 2 {
		return s
	}
	slices.SortFunc(s, func(a, b [2]int32) int { return int(a[0] - b[0]) })
	out := s[:1]
	for _, t := range s[1:] {
		if k := len(out) - 1; t[0] <= out[k][1] {
			out[k][1] = max(out[k][1], t[1])
		} else {
			out = append(out, t)
		}
	}
	return out
}
