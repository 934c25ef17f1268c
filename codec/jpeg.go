package codec

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
)

// decodeJPEG takes nearly all files through a decoder of our own, which is several times as fast and gives the pixels that
// libjpeg gives, and the others, such as those of four channels, through the standard library's.
func (h *header) decodeJPEG(ctx context.Context, b []byte, p *Pool) (image.Image, error) {
	m, err := decodeHuffman(ctx, b, image.Pt(h.width, h.height), p)
	if !errors.Is(err, errOtherProcess) {
		return m, err
	}
	return jpeg.Decode(h.jpegReader(ctx, b))
}

// errOtherProcess says that a file is not for decodeHuffman.
var errOtherProcess = errors.New("unusual JPEG")

// errEntropy says that the coded data is damaged or ends too soon.
var errEntropy = errors.New("damaged JPEG data")

// jpegDecoder reads files of ITU-T T.81's Huffman processes, either sequential with all components in one scan or
// progressive: 8 bits a sample, one component or three of Y'CbCr that are subsampled by at most two.
type jpegDecoder struct {
	size        image.Point
	progressive bool
	components  []jpegComponent
	hs, vs      int // samples of the first component for each of the others
	mcus        image.Point
	restart     int // MCUs between restart markers, 0 for none
	quant       [4][64]uint16
	dc, ac      [4]*huffman
	tables      [4]bool // of quant, those that are there
	adobe       int     // transform of the Adobe segment, -1 where there is none
	data        []byte  // what comes next in the file
	buf         []byte  // of a scan that is done with
	scan        scan
	pool        *Pool
}

// scan is the header of one.
type scan struct {
	components []int // indices
	from, to   int   // coefficients, in the order of the file
	refines    bool  // adds a bit to what earlier scans gave
	low        int   // bits that later scans give
}

type jpegComponent struct {
	id     byte
	h, v   int         // blocks in an MCU, across and down
	table  byte        // its quantiser
	quant  *[64]uint16 // as it was when the component's first scan began
	dc, ac *huffman
	pairs  int // of blocks side by side in a row of blocks; the last may be half empty
}

// zigzag leads from the order in the file to the place in a pair of blocks; see band.
var zigzag = func() (z [64]uint8) {
	x, y := 0, 0
	for i := range z {
		z[i] = uint8(16*y + x)
		switch up := (x+y)%2 == 0; {
		case up && x == 7:
			y++
		case up && y == 0:
			x++
		case up:
			x, y = x+1, y-1
		case y == 7:
			x++
		case x == 0:
			y++
		default:
			x, y = x-1, y+1
		}
	}
	return z
}()

// nextScan reads everything before the coded data of the next scan. It is false at the end of the file.
func (j *jpegDecoder) nextScan() (bool, error) {
	for b := j.data; ; {
		if len(b) < 2 || b[0] != 0xff {
			return false, errOtherProcess
		}
		m := b[1]
		if m == 0xff { // fill byte
			b = b[1:]
			continue
		}
		if m == 0xd9 && j.components != nil {
			return false, nil
		}
		if len(b) < 4 || m < 0xc0 || m >= 0xd0 && m <= 0xd9 {
			return false, errOtherProcess
		}
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n < 2 || 2+n > len(b) {
			return false, errOtherProcess
		}
		seg := b[4 : 2+n]
		b = b[2+n:]
		var err error
		switch {
		case m == 0xdb:
			err = j.readQuant(seg)
		case m == 0xc4:
			err = j.readHuffman(seg)
		case m == 0xdd && len(seg) == 2:
			j.restart = int(binary.BigEndian.Uint16(seg))
		case m == 0xee && len(seg) >= 12 && string(seg[:5]) == "Adobe":
			j.adobe = int(seg[11])
		case m == 0xda:
			j.data = b
			return true, j.readScan(seg)
		case m <= 0xc2:
			j.progressive = m == 0xc2
			err = j.readFrame(seg)
		case m < 0xe0: // other processes, and what changes the frame later
			err = errOtherProcess
		}
		if err != nil {
			return false, err
		}
	}
}

func (j *jpegDecoder) readQuant(seg []byte) error {
	for len(seg) > 0 {
		wide, id := int(seg[0]>>4), seg[0]&15
		seg = seg[1:]
		n := 64 << wide
		if wide > 1 || id > 3 || len(seg) < n {
			return errOtherProcess
		}
		for i := range 64 {
			if wide == 1 {
				j.quant[id][i] = binary.BigEndian.Uint16(seg[2*i:])
			} else {
				j.quant[id][i] = uint16(seg[i])
			}
		}
		j.tables[id] = true
		seg = seg[n:]
	}
	return nil
}

func (j *jpegDecoder) readHuffman(seg []byte) error {
	for len(seg) > 0 {
		class, id := seg[0]>>4, seg[0]&15
		if class > 1 || id > 3 || len(seg) < 17 {
			return errOtherProcess
		}
		n := 0
		for _, c := range seg[1:17] {
			n += int(c)
		}
		if n == 0 || n > 256 || len(seg) < 17+n {
			return errOtherProcess
		}
		t, err := newHuffman((*[16]byte)(seg[1:17]), seg[17:17+n], class == 1)
		if err != nil {
			return err
		}
		if class == 0 {
			j.dc[id] = t
		} else {
			j.ac[id] = t
		}
		seg = seg[17+n:]
	}
	return nil
}

func (j *jpegDecoder) readFrame(seg []byte) error {
	if len(seg) < 6 || j.components != nil {
		return errOtherProcess
	}
	n := int(seg[5])
	w, h := int(binary.BigEndian.Uint16(seg[3:])), int(binary.BigEndian.Uint16(seg[1:]))
	if seg[0] != 8 || n != 1 && n != 3 || len(seg) != 6+3*n || image.Pt(w, h) != j.size {
		return errOtherProcess
	}
	for i := range n {
		s := seg[6+3*i:]
		c := jpegComponent{id: s[0], h: int(s[1] >> 4), v: int(s[1] & 15)}
		if c.table = s[2]; c.table > 3 {
			return errOtherProcess
		}
		switch {
		case n == 1: // what the factors say is of no account
			c.h, c.v = 1, 1
		case i == 0:
			j.hs, j.vs = c.h, c.v
			if c.h < 1 || c.h > 2 || c.v < 1 || c.v > 2 {
				return errOtherProcess
			}
		case c.h != 1 || c.v != 1:
			return errOtherProcess
		}
		j.components = append(j.components, c)
	}
	j.mcus = image.Pt((w+8*j.hs-1)/(8*j.hs), (h+8*j.vs-1)/(8*j.vs))
	for i := range j.components {
		c := &j.components[i]
		c.pairs = (j.mcus.X*c.h + 1) / 2
	}
	return nil
}

func (j *jpegDecoder) readScan(seg []byte) error {
	all := len(j.components)
	if all == 0 || len(seg) < 1 {
		return errOtherProcess
	}
	n := int(seg[0])
	if n < 1 || n > all || len(seg) != 4+2*n || !j.progressive && n != all {
		return errOtherProcess
	}
	if all == 3 {
		ids := string([]byte{j.components[0].id, j.components[1].id, j.components[2].id})
		if j.adobe == 0 || ids == "RGB" {
			return errOtherProcess // not Y'CbCr
		}
	}
	j.scan = scan{to: 63}
	if j.progressive {
		s := seg[1+2*n:]
		high, low := int(s[2]>>4), int(s[2]&15)
		j.scan = scan{from: int(s[0]), to: int(s[1]), refines: high > 0, low: low}
		switch {
		case j.scan.from > j.scan.to, j.scan.to > 63, low > 13, high > 0 && high != low+1,
			j.scan.from == 0 && j.scan.to > 0, j.scan.from > 0 && n > 1:
			return errOtherProcess
		}
	}
	i := -1
	for k := range n {
		s := seg[1+2*k:]
		for i++; i < all && j.components[i].id != s[0]; {
			i++
		}
		if i >= all || s[1]>>4 > 3 || s[1]&15 > 3 {
			return errOtherProcess
		}
		c := &j.components[i]
		if c.quant == nil {
			if !j.tables[c.table] {
				return errOtherProcess
			}
			quant := j.quant[c.table]
			c.quant = &quant
		}
		c.dc, c.ac = j.dc[s[1]>>4], j.ac[s[1]&15]
		// A scan of first coefficients takes no table of others, and one that adds a bit to them takes none at all.
		if c.dc == nil && j.scan.from == 0 && !j.scan.refines || c.ac == nil && j.scan.to > 0 {
			return errOtherProcess
		}
		j.scan.components = append(j.scan.components, i)
	}
	return nil
}

// fastBits is how many bits of the data the first table of a Huffman code is indexed by.
const fastBits = 10

// huffman is a code (T.81, annexes C and F.2.2.3), made for being read fast: an entry of fast holds, from the lowest bit
// up, the number of bits to consume (8 bits, 0 for a code longer than fastBits), the run of zeros (4), the number of bits
// the value still has (4), and, where that is 0, the value (16), which was among the fastBits already.
type huffman struct {
	fast [1 << fastBits]int32
	// Codes of length l are those below limit[l], which is aligned to 16 bits; first is what leads to their symbols.
	limit  [18]uint32
	first  [17]int32
	symbol [256]byte
}

func newHuffman(counts *[16]byte, symbols []byte, ac bool) (*huffman, error) {
	t := new(huffman)
	copy(t.symbol[:], symbols)
	code, k := uint32(0), 0
	for l := 1; l <= 16; l++ {
		t.first[l] = int32(k) - int32(code)
		for range counts[l-1] {
			if code >= 1<<l {
				return nil, errOtherProcess
			}
			size := int(symbols[k] & 15)
			if !ac {
				if symbols[k] > 11 {
					return nil, errOtherProcess
				}
			} else if size > 10 {
				return nil, errOtherProcess
			}
			if l <= fastBits {
				t.fill(code, l, symbols[k])
			}
			code++
			k++
		}
		t.limit[l] = code << (16 - l)
		code <<= 1
	}
	t.limit[17] = 1<<32 - 1
	return t, nil
}

// fill sets the entries of fast that begin with a code of length l.
func (t *huffman) fill(code uint32, l int, symbol byte) {
	run, size := int32(symbol>>4), int(symbol&15)
	free := fastBits - l
	for rest := range 1 << free {
		e := run << 8
		if size > 0 && size <= free {
			v := extend(uint32(rest)>>(free-size), size)
			e |= int32(l+size) | v<<16
		} else {
			e |= int32(l) | int32(size)<<12
		}
		t.fast[int(code)<<free|rest] = e
	}
}

// extend turns size bits into a value (T.81, F.2.2.1); size is at least 1.
func extend(v uint32, size int) int32 {
	if v < 1<<(size-1) {
		return int32(v) - 1<<size + 1
	}
	return int32(v)
}

// slow finds a code that is longer than fastBits at the head of the 16 bits v. The result is an entry as fast has them,
// 0 where there is no such code.
func (t *huffman) slow(v uint32) int32 {
	for l := fastBits + 1; l <= 16; l++ {
		if v < t.limit[l] {
			s := t.symbol[uint8(int32(v>>(16-l))+t.first[l])]
			return int32(l) | int32(s>>4)<<8 | int32(s&15)<<12
		}
	}
	return 0
}

// entropy reads the bits of one interval between restarts.
type entropy struct {
	p    []byte // without stuffing, and with padding behind
	end  int    // of what is not padding
	i    int    // next byte of p
	acc  uint64 // bits to read, the next one highest
	n    int    // of them that are valid
	pred [3]int32
}

const entropyPadding = 64

// interval takes the next interval from the scan: data up to the next marker, without the zeros that are stuffed after
// bytes of 255. buf is reused. rest begins with the marker.
func interval(data, buf []byte) (p, rest []byte) {
	buf = buf[:0]
	for {
		i := bytes.IndexByte(data, 0xff)
		if i < 0 || i+1 >= len(data) {
			buf, data = append(buf, data...), nil
			break
		}
		if data[i+1] == 0 {
			buf = append(buf, data[:i+1]...)
			data = data[i+2:]
			continue
		}
		buf, data = append(buf, data[:i]...), data[i:]
		if len(data) > 2 && data[1] == 0xff { // fill byte
			data = data[1:]
			continue
		}
		break
	}
	return append(buf, make([]byte, entropyPadding)...), data
}

// overrun tells whether more bits were read than there were.
func (r *entropy) overrun() bool { return r.i*8-r.n > r.end*8 }

// block reads a block's coefficients, multiplied by their quantiser, into coef, which is zero and is one half of a pair.
// It tells whether there are others than the first.
func (r *entropy) block(coef []int16, c *jpegComponent, pred *int32) (ac bool, err error) {
	coef = coef[:120]
	p, i, acc, n := r.p, r.i, r.acc, r.n
	k := 0
	table := c.dc
	for k < 64 {
		if n < 32 {
			if i+8 > len(p) {
				return false, errEntropy
			}
			acc |= binary.BigEndian.Uint64(p[i:]) >> (n & 63)
			i += (63 - n) >> 3
			n |= 56
		}
		e := table.fast[acc>>(64-fastBits)]
		if e&0xff == 0 {
			if e = table.slow(uint32(acc >> 48)); e == 0 {
				return false, errEntropy
			}
		}
		l := int(e & 0xff)
		acc <<= l & 63
		n -= l
		v := e >> 16
		size := int(e>>12) & 15
		if size > 0 {
			v = extend(uint32(acc>>((64-size)&63)), size)
			acc <<= size & 63
			n -= size
		}
		if k == 0 {
			*pred += v
			coef[0] = int16(*pred * int32(c.quant[0]))
			table = c.ac
			k = 1
			continue
		}
		run := int(e>>8) & 15
		if v == 0 { // end of block, or 16 zeros
			if run < 15 {
				break
			}
			k += 16
			continue
		}
		k += run
		if k > 63 { // damaged, but what follows may be whole, as other decoders see it
			break
		}
		coef[zigzag[k]] = int16(v * int32(c.quant[k]))
		ac = true
		k++
	}
	r.i, r.acc, r.n = i, acc, n
	return ac, nil
}

// band is the coefficients of a row of MCUs, of each component in turn: rows of blocks, in them pairs of blocks. In a pair
// row r of the left block is at 16*r and that of the right at 16*r+8, as the kernel takes them.
type band struct {
	coef [3][]int16
	ac   [3][]bool // pairs that have more than their first coefficients
	err  error
}

func (j *jpegDecoder) newBand() *band {
	b := new(band)
	for i, c := range j.components {
		b.coef[i] = make([]int16, 128*c.pairs*c.v)
		b.ac[i] = make([]bool, c.pairs*c.v)
	}
	return b
}

// decodeHuffman decodes a file to *image.NRGBA or, where it is grey, *image.Gray.
func decodeHuffman(ctx context.Context, b []byte, size image.Point, p *Pool) (image.Image, error) {
	if len(b) < 2 {
		return nil, errOtherProcess
	}
	j := &jpegDecoder{size: size, hs: 1, vs: 1, adobe: -1, data: b[2:], pool: p}
	if more, err := j.nextScan(); err != nil || !more {
		return nil, cmp.Or(err, errOtherProcess)
	}
	if j.progressive {
		return j.decodeProgressive(ctx)
	}
	return j.decodeSequential(ctx)
}

// decodeSequential reads the codes of a row of MCUs in one goroutine while another turns the row before into pixels; no
// plane of the picture is ever whole in memory.
func (j *jpegDecoder) decodeSequential(ctx context.Context) (image.Image, error) {
	const ahead = 3
	free, full := make(chan *band, ahead), make(chan *band, ahead)
	for range min(ahead, j.mcus.Y) {
		free <- j.newBand()
	}
	quit := make(chan struct{})
	defer close(quit)
	go func() {
		defer close(full)
		// A panic here, of which none is known, would end the process. The painter sees that bands are missing.
		defer func() { _ = recover() }()
		j.readBands(ctx, free, full, quit)
	}()
	p := j.newPainter()
	for y := range j.mcus.Y {
		b, ok := <-full
		if !ok {
			return nil, errEntropy
		}
		if b.err != nil {
			return nil, b.err
		}
		p.paint(b, y)
		free <- b
	}
	return p.picture(), nil
}

// intervals leads through the intervals of a scan.
type intervals struct {
	entropy
	data, buf []byte
	restart   int // MCUs in an interval, 0 for all
	left      int
	marker    byte
}

func (j *jpegDecoder) newIntervals() *intervals {
	if j.restart == 0 && j.buf == nil {
		j.buf = make([]byte, 0, len(j.data)+entropyPadding)
	}
	r := &intervals{data: j.data, buf: j.buf, restart: j.restart, left: j.restart, marker: 0xd0}
	r.next()
	return r
}

func (r *intervals) next() {
	r.buf, r.data = interval(r.data, r.buf)
	r.entropy = entropy{p: r.buf, end: len(r.buf) - entropyPadding}
}

// mcu is called before each MCU.
func (r *intervals) mcu() error {
	if r.restart == 0 {
		return nil
	}
	if r.left == 0 {
		if r.overrun() {
			return errEntropy
		}
		if len(r.data) < 2 || r.data[1] != r.marker {
			return errOtherProcess
		}
		r.data = r.data[2:]
		r.next()
		r.left, r.marker = r.restart, 0xd0|(r.marker+1)&7
	}
	r.left--
	return nil
}

// readBands reads the scan, band by band. It ends after a band with an error, or when quit is closed.
func (j *jpegDecoder) readBands(ctx context.Context, free <-chan *band, full chan<- *band, quit <-chan struct{}) {
	r := j.newIntervals()
	for y := range j.mcus.Y {
		var b *band
		select {
		case b = <-free:
		case <-quit:
			return
		}
		b.err = ctx.Err()
		for x := 0; x < j.mcus.X && b.err == nil; x++ {
			b.err = j.readMCU(r, b, x)
		}
		if b.err == nil && r.overrun() {
			b.err = errEntropy
		}
		if b.err != nil {
			b.err = fmt.Errorf("row %d: %w", y, b.err)
		}
		full <- b
		if b.err != nil {
			return
		}
	}
}

// readMCU reads the x-th MCU of a row.
func (j *jpegDecoder) readMCU(r *intervals, b *band, x int) error {
	if err := r.mcu(); err != nil {
		return err
	}
	for i := range j.components {
		c := &j.components[i]
		for v := range c.v {
			for h := range c.h {
				bx := x*c.h + h
				pair := v*c.pairs + bx/2
				ac, err := r.block(b.coef[i][128*pair+bx%2*8:], c, &r.pred[i])
				if err != nil {
					return err
				}
				b.ac[i][pair] = b.ac[i][pair] || ac
			}
		}
	}
	return nil
}

// painter turns bands into pixels, from the top down.
type painter struct {
	j      *jpegDecoder
	colour *image.NRGBA // one of the two
	grey   *image.Gray
	planes [3]plane // samples of a band, below one more row, which is the last of the band above
	chroma chromaRows
}

func (j *jpegDecoder) newPainter() *painter {
	p := &painter{j: j}
	for i, c := range j.components {
		p.planes[i] = newPlane(16*c.pairs, 8*c.v+1, 1)
	}
	r := image.Rectangle{Max: j.size}
	if len(j.components) == 1 {
		p.grey = image.NewGray(r)
		return p
	}
	p.colour = j.pool.picture(j.size.X, j.size.Y)
	p.chroma = newChromaRows(j.size.X, j.hs, j.vs)
	return p
}

func (p *painter) picture() image.Image {
	if p.grey != nil {
		return p.grey
	}
	return p.colour
}

// paint takes band n, and leaves it zero.
func (p *painter) paint(b *band, n int) {
	j := p.j
	for i, c := range j.components {
		s := p.planes[i]
		copy(s.row(0), s.row(s.h-1))
		for pair := range b.ac[i] {
			at := (1+pair/c.pairs*8)*s.stride + pair%c.pairs*16
			coef := b.coef[i][128*pair:][:128]
			if b.ac[i][pair] {
				transformPair(s.pix[at:], s.stride, coef)
				clear(coef)
				b.ac[i][pair] = false
				continue
			}
			fillPair(s.pix[at:], s.stride, coef)
			coef[0], coef[8] = 0, 0
		}
	}
	rows := 8 * j.vs
	top := n * rows
	last := n == j.mcus.Y-1
	w, h := j.size.X, j.size.Y
	if p.grey != nil {
		for y := top; y < min(top+rows, h); y++ {
			copy(p.grey.Pix[y*p.grey.Stride:][:w], p.planes[0].row(1+y-top))
		}
		return
	}
	// Where chroma is blended with the row below, a band's last row has to wait for the next band.
	from, to := top, min(top+rows, h)
	if p.chroma.vertical {
		if n > 0 {
			from--
		}
		if !last {
			to--
		}
	}
	samples := (h + j.vs - 1) / j.vs // rows of chroma in the picture
	for y := from; y < to; y++ {
		near, far := p.chroma.rows(y, samples)
		at := 1 - n*8
		cb, cr := p.planes[1], p.planes[2]
		p.chroma.convert(y, p.colour.Pix[y*p.colour.Stride:][:4*w], p.planes[0].row(1 + y - top)[:w],
			cb.row(at+near), cb.row(at+far), cr.row(at+near), cr.row(at+far))
	}
}

// fillPair is transformPair where all coefficients but the first of each block are zero.
func fillPair(dst []byte, stride int, coef []int16) {
	left := uint64(clip8((int32(coef[0])*4+16)>>5+128)) * 0x0101010101010101
	right := uint64(clip8((int32(coef[8])*4+16)>>5+128)) * 0x0101010101010101
	for y := range 8 {
		row := dst[y*stride:][:16]
		binary.LittleEndian.PutUint64(row, left)
		binary.LittleEndian.PutUint64(row[8:], right)
	}
}

// transformPair turns two blocks of coefficients into samples, 16 across and 8 down.
func transformPair(dst []byte, stride int, coef []int16) {
	if idctNative(dst, stride, coef) {
		return
	}
	inverseDCT(dst, stride, coef)
	inverseDCT(dst[8:], stride, coef[8:])
}

// inverseDCT transforms a block, row r of which is at 16*r, with the algorithm of Loeffler, Ligtenberg and Moschytz
// (Practical fast 1-D DCT algorithms with 11 multiplications, 1989) in 13-bit fixed point, columns first. Roundings,
// and what overflows, are those of libjpeg's accurate integer transform as its vector code has it.
func inverseDCT(dst []byte, stride int, coef []int16) {
	var t [64]int16
	for x := range 8 {
		c := coef[x:]
		o := idct8(c[0], c[16], c[32], c[48], c[64], c[80], c[96], c[112], 11)
		for y, v := range o {
			t[8*y+x] = int16(min(max(v, -1<<15), 1<<15-1))
		}
	}
	for y := range 8 {
		r := t[8*y:][:8]
		o := idct8(r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], 18)
		d := dst[y*stride:][:8]
		for x, v := range o {
			d[x] = clip8(min(max(v, -1<<15), 1<<15-1) + 128)
		}
	}
}

// idct8 is one dimension of it; sums are divided by 2^shift and rounded. The factors are 2^13 times those of the paper,
// added up where two of them meet.
func idct8(d0, d1, d2, d3, d4, d5, d6, d7 int16, shift int) [8]int32 {
	w := func(v int16) int32 { return int32(v) }
	half := int32(1) << (shift - 1)
	e2 := 4433*w(d2) - 10704*w(d6)
	e3 := 10703*w(d2) + 4433*w(d6)
	e0 := w(d0+d4)<<13 + half
	e1 := w(d0-d4)<<13 + half
	a0, a3, a1, a2 := e0+e3, e0-e3, e1+e2, e1-e2
	z3, z4 := w(d3+d7), w(d1+d5)
	z3, z4 = -6436*z3+9633*z4, 9633*z3+6437*z4
	o0 := -4927*w(d7) - 7373*w(d1) + z3
	o1 := -4176*w(d5) - 20995*w(d3) + z4
	o2 := -20995*w(d5) + 4177*w(d3) + z3
	o3 := -7373*w(d7) + 4926*w(d1) + z4
	return [8]int32{
		(a0 + o3) >> shift, (a1 + o2) >> shift, (a2 + o1) >> shift, (a3 + o0) >> shift,
		(a3 - o0) >> shift, (a2 - o1) >> shift, (a1 - o2) >> shift, (a0 - o3) >> shift,
	}
}
