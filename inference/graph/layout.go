package graph

// blockStep turns a row-major picture into channel blocks; a task is one block of channels.
type blockStep struct {
	dst, src  *store
	n, ch, hw int
}

func (s *blockStep) tasks() int { return s.n * blocksOf(s.ch) }

func (s *blockStep) do(x *exec, _ *worker, task int) { s.convert(x.buf(s.dst), x.buf(s.src), task) }

func (s *blockStep) convert(dst, src []float32, task int) {
	blocks := blocksOf(s.ch)
	n, b := task/blocks, task%blocks
	d := dst[task*s.hw*block:][:s.hw*block]
	have := min(block, s.ch-b*block)
	if have < block {
		clear(d)
	}
	// Sixteen pixels at a time, so that the stretch of d stays in L1 while the channels are dealt into it.
	for p := 0; p < s.hw; p += block {
		end := min(p+block, s.hw)
		for i := range have {
			plane := src[(n*s.ch+b*block+i)*s.hw:][p:end]
			q := p*block + i
			for _, v := range plane {
				d[q] = v
				q += block
			}
		}
	}
}

// unblockStep turns channel blocks, several views one after another, into a row-major picture; a task is one block.
type unblockStep struct {
	dst       *store
	src       []view
	n, ch, hw int
}

func (s *unblockStep) tasks() int { return s.n * blocksOf(s.ch) }

func (s *unblockStep) do(x *exec, _ *worker, task int) {
	blocks := blocksOf(s.ch)
	n, b := task/blocks, task%blocks
	src := blockOf(x, s.src, task, s.hw*block)
	dst := x.buf(s.dst)
	for i := range min(block, s.ch-b*block) {
		plane := dst[(n*s.ch+b*block+i)*s.hw:][:s.hw]
		p := i
		for j := range plane {
			plane[j] = src[p]
			p += block
		}
	}
}

// blockOf returns plane b of views, planes being `plane` float32 long.
func blockOf(x *exec, views []view, b, plane int) []float32 {
	v, i := findBlock(views, b)
	return x.buf(v.st)[i*plane:][:plane:plane]
}

// findBlock returns the view that holds plane b of views, and its number there.
func findBlock(views []view, b int) (v *view, i int) {
	for i := range views {
		if b < views[i].blocks {
			return &views[i], b
		}
		b -= views[i].blocks
	}
	panic("graph: block outside its views")
}

// copyStep copies the views of a concatenation into one buffer; a task is one block of channels.
type copyStep struct {
	dst   *store
	src   []view
	plane int
}

func (s *copyStep) tasks() int {
	n := 0
	for _, v := range s.src {
		n += v.blocks
	}
	return n
}

func (s *copyStep) do(x *exec, _ *worker, task int) {
	copy(x.buf(s.dst)[task*s.plane:][:s.plane], blockOf(x, s.src, task, s.plane))
}
