package codec

import (
	"context"
	"encoding/binary"
	"image"
)

// decodeProgressive reads all scans of a progressive file (T.81, annex G), which keeps every coefficient in memory, and
// turns them into pixels when it has come to the end. A file that does not come to its end would be blurred or grey in
// places and is an error.
func (j *jpegDecoder) decodeProgressive(ctx context.Context) (image.Image, error) {
	bands := make([]*band, j.mcus.Y)
	for i := range bands {
		bands[i] = j.newBand()
	}
	for more := true; more; {
		rest, err := j.readProgressive(ctx, bands)
		if err != nil {
			return nil, err
		}
		if len(rest) == 0 {
			return nil, errEntropy
		}
		j.data = rest
		if more, err = j.nextScan(); err != nil {
			return nil, err
		}
	}
	factors := make([][128]int16, len(j.components))
	for i, c := range j.components {
		if c.quant == nil {
			return nil, errOtherProcess // it has no scan
		}
		for k, q := range c.quant {
			factors[i][zigzag[k]], factors[i][zigzag[k]+8] = int16(q), int16(q)
		}
	}
	p := j.newPainter()
	for y, b := range bands {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for i := range j.components {
			for coef := b.coef[i]; len(coef) >= 128; coef = coef[128:] {
				c, f := (*[128]int16)(coef), &factors[i]
				for k := range c {
					c[k] *= f[k]
				}
			}
		}
		p.paint(b, y)
		bands[y] = nil
	}
	return p.picture(), nil
}

// readProgressive reads one scan. rest begins with the marker after it.
func (j *jpegDecoder) readProgressive(ctx context.Context, bands []*band) (rest []byte, err error) {
	r := progressiveReader{intervals: j.newIntervals(), scan: j.scan}
	defer func() { j.buf = r.buf }()
	if len(j.scan.components) > 1 { // then these are first coefficients, MCU by MCU
		for _, b := range bands {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			for x := range j.mcus.X {
				if err := r.mcu(); err != nil {
					return nil, err
				}
				for _, i := range j.scan.components {
					c := &j.components[i]
					for v := range c.v {
						for h := range c.h {
							bx := x*c.h + h
							r.first(b.coef[i][128*(v*c.pairs+bx/2)+bx%2*8:], c, &r.pred[i])
						}
					}
				}
			}
			if r.damaged || r.overrun() {
				return nil, errEntropy
			}
		}
		return r.data, nil
	}
	// The blocks of one component are those that hold pixels, row by row.
	i := j.scan.components[0]
	c := &j.components[i]
	across := ((j.size.X*c.h+j.hs-1)/j.hs + 7) / 8
	downwards := ((j.size.Y*c.v+j.vs-1)/j.vs + 7) / 8
	for y := range downwards {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b := bands[y/c.v]
		for x := range across {
			if r.restart > 0 && r.left == 0 {
				r.endOfBands = 0
			}
			if err := r.mcu(); err != nil {
				return nil, err
			}
			pair := y%c.v*c.pairs + x/2
			coef := b.coef[i][128*pair+x%2*8:]
			switch {
			case j.scan.from == 0:
				r.first(coef, c, &r.pred[i])
			case j.scan.refines:
				r.refineOthers(coef[:120], c.ac)
				b.ac[i][pair] = true
			default:
				r.others(coef[:120], c.ac)
				b.ac[i][pair] = true
			}
		}
		if r.damaged || r.overrun() {
			return nil, errEntropy
		}
	}
	return r.data, nil
}

// progressiveReader reads the blocks of one scan.
type progressiveReader struct {
	*intervals
	scan       scan
	endOfBands int  // blocks to come that have no more coefficients in this scan
	damaged    bool // what is read no longer makes sense
}

// fill makes at least 32 bits ready.
func (r *progressiveReader) fill() {
	if r.n >= 32 {
		return
	}
	if r.i+8 > len(r.p) {
		r.damaged = true
		r.n = 64 // of zeros
		return
	}
	r.acc |= binary.BigEndian.Uint64(r.p[r.i:]) >> (r.n & 63)
	r.i += (63 - r.n) >> 3
	r.n |= 56
}

// take gives the next n bits, which are at most 16 and are ready.
func (r *progressiveReader) take(n int) uint32 {
	v := uint32(r.acc >> 32 >> ((32 - n) & 63))
	r.acc <<= n & 63
	r.n -= n
	return v
}

// code reads a code and the bits of its value, if it has one.
func (r *progressiveReader) code(t *huffman) (run int, value int32) {
	r.fill()
	e := t.fast[r.acc>>(64-fastBits)]
	if e&0xff == 0 {
		if e = t.slow(uint32(r.acc >> 48)); e == 0 {
			r.damaged = true
			return 0, 0
		}
	}
	r.take(int(e & 0xff))
	value = e >> 16
	if size := int(e>>12) & 15; size > 0 {
		value = extend(r.take(size), size)
	}
	return int(e>>8) & 15, value
}

// first reads the first coefficient of a block, or its next bit.
func (r *progressiveReader) first(coef []int16, c *jpegComponent, pred *int32) {
	if r.scan.refines {
		r.fill()
		coef[0] |= int16(r.take(1) << r.scan.low)
		return
	}
	_, v := r.code(c.dc)
	*pred += v
	coef[0] = int16(*pred << r.scan.low)
}

// endOfBand reads for how many blocks, this one included, there is nothing more; run is that of the code.
func (r *progressiveReader) endOfBand(run int) {
	r.fill()
	r.endOfBands = 1<<run | int(r.take(run))
}

// others reads the coefficients of the scan.
func (r *progressiveReader) others(coef []int16, t *huffman) {
	if r.endOfBands > 0 {
		r.endOfBands--
		return
	}
	for k := r.scan.from; k <= r.scan.to; {
		run, v := r.code(t)
		if v == 0 {
			if run < 15 {
				r.endOfBand(run)
				r.endOfBands--
				return
			}
			k += 16
			continue
		}
		if k += run; k > 63 {
			return
		}
		coef[zigzag[k]] = int16(v << r.scan.low)
		k++
	}
}

// refineOthers reads one more bit of the coefficients that are not zero, and the sign of those that have been so far.
func (r *progressiveReader) refineOthers(coef []int16, t *huffman) {
	bit := int16(1) << r.scan.low
	k := r.scan.from
	// refine passes over coefficients until it has met one more zero than are to be left alone, and gives its place.
	refine := func(zeros int) int {
		for ; k <= r.scan.to; k++ {
			c := &coef[zigzag[k]]
			if *c == 0 {
				if zeros == 0 {
					k++
					return int(zigzag[k-1])
				}
				zeros--
				continue
			}
			r.fill()
			if r.take(1) == 0 || *c&bit != 0 {
				continue
			}
			if *c > 0 {
				*c += bit
			} else {
				*c -= bit
			}
		}
		return -1
	}
	for r.endOfBands == 0 && k <= r.scan.to && !r.damaged {
		run, v := r.code(t)
		if v == 0 && run < 15 {
			r.endOfBand(run)
			break
		}
		if v > 1 || v < -1 {
			r.damaged = true
			return
		}
		if at := refine(run); at >= 0 {
			coef[at] = int16(v) * bit
		}
	}
	if r.endOfBands > 0 {
		refine(64)
		r.endOfBands--
	}
}
