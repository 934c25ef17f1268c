package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/adler32"
	"hash/crc32"
	"image"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/flate"
)

// PNGEncoder writes PNG files (W3C PNG, third edition) of 8 bits a channel, without interlacing. The zero value is ready.
// It spends little on compression: rows are filtered by a fixed rule and deflated at a fast level, in strips that are
// compressed at once and joined into one zlib stream.
type PNGEncoder struct {
	DropOpaqueAlpha bool // write RGB instead of RGBA where every pixel is opaque
}

// EncodePNG is PNGEncoder{}.Encode.
func EncodePNG(w io.Writer, m image.Image) error { return PNGEncoder{}.Encode(w, m) }

// pngStrip is about how many bytes of pixels are filtered and compressed as one piece: enough that the compression lost
// at its borders does not show (0.1 % of the file), few enough that a photo gives every core something to do.
const pngStrip = 256 << 10

// Encode writes m: an *image.NRGBA as RGBA (colour type 6), an *image.Gray as grey (0).
// Other types, empty pictures and sides over 2^31-1 are an error, and so is what w returns.
func (e PNGEncoder) Encode(w io.Writer, m image.Image) error {
	src := pngSource{width: m.Bounds().Dx(), height: m.Bounds().Dy()}
	colorType := byte(6)
	switch m := m.(type) {
	case *image.NRGBA:
		src.pix, src.stride, src.channels = m.Pix, m.Stride, 4
		if e.DropOpaqueAlpha && m.Opaque() {
			src.dropAlpha, src.channels, colorType = true, 3, 2
		}
	case *image.Gray:
		src.pix, src.stride, src.channels, colorType = m.Pix, m.Stride, 1, 0
	default:
		return fmt.Errorf("encode png: unsupported pixel type %T", m)
	}
	if src.width <= 0 || src.height <= 0 || int64(src.width) > 1<<31-1 || int64(src.height) > 1<<31-1 {
		return fmt.Errorf("encode png: cannot write a picture of %dx%d", src.width, src.height)
	}

	head := append(make([]byte, 0, 33), pngSignature...)
	var ihdr [13]byte
	binary.BigEndian.PutUint32(ihdr[0:], uint32(src.width))
	binary.BigEndian.PutUint32(ihdr[4:], uint32(src.height))
	ihdr[8], ihdr[9] = 8, colorType
	head = appendChunk(head, "IHDR", ihdr[:])
	if _, err := w.Write(head); err != nil {
		return fmt.Errorf("encode png: %w", err)
	}
	if err := src.writeData(w); err != nil {
		return fmt.Errorf("encode png: %w", err)
	}
	if _, err := w.Write(appendChunk(nil, "IEND", nil)); err != nil {
		return fmt.Errorf("encode png: %w", err)
	}
	return nil
}

func appendChunk(b []byte, kind string, data []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	at := len(b)
	b = append(append(b, kind...), data...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[at:]))
}

// pngSource is the pixels on their way into a file.
type pngSource struct {
	pix           []byte
	stride        int
	width, height int
	channels      int // in the file
	dropAlpha     bool
}

// strip is one compressed piece.
type strip struct {
	c     *compressor
	adler uint32
	size  int64 // uncompressed
	err   error
}

// writeData compresses strips concurrently and writes each as an IDAT chunk, in order. At most two strips for each core
// are in memory.
func (s *pngSource) writeData(w io.Writer) error {
	rows := max(1, pngStrip/(s.width*s.channels+1))
	n := (s.height + rows - 1) / rows
	pending := make([]chan strip, min(n, 2*runtime.GOMAXPROCS(0))) // a ring
	started := 0
	start := func() {
		i, c := started, make(chan strip, 1)
		pending[i%len(pending)] = c
		started++
		compress := func() { c <- s.compress(i*rows, min((i+1)*rows, s.height), i == 0, i == n-1) }
		if n == 1 {
			compress()
		} else {
			go compress()
		}
	}
	for range pending {
		start()
	}
	sum := uint32(1)
	var failed error
	for i := 0; i < started; i++ {
		p := <-pending[i%len(pending)]
		if failed == nil {
			failed = p.err
		}
		if failed == nil {
			sum = combineAdler(sum, p.adler, p.size)
			if i == n-1 {
				p.c.out.Write(binary.BigEndian.AppendUint32(nil, sum))
			}
			failed = p.c.writeChunk(w)
		}
		compressors.Put(p.c)
		if failed == nil && started < n { // after a failure only what runs already is awaited
			start()
		}
	}
	return failed
}

// compressor is the memory one strip needs. It is kept for the next one.
type compressor struct {
	raw     []byte       // filtered rows
	out     bytes.Buffer // chunk length and type, then compressed data
	deflate *flate.Writer
}

// pngLevel is the deflate level; see BenchmarkEncodePNG for what others cost and save.
const pngLevel = 3

var compressors = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, pngLevel)
	if err != nil {
		panic(err) // the level is a constant
	}
	return &compressor{deflate: w}
}}

// compress filters and deflates the rows from..to. All strips but the last end on a byte boundary with an open stream,
// so that the next can follow.
func (s *pngSource) compress(from, to int, first, last bool) strip {
	c, _ := compressors.Get().(*compressor)
	size := (to - from) * (s.width*s.channels + 1)
	if cap(c.raw) < size {
		c.raw = make([]byte, size)
	}
	c.raw = c.raw[:size]
	s.filter(c.raw, from, to)
	c.out.Reset()
	c.out.WriteString("\x00\x00\x00\x00IDAT")
	if first {
		c.out.WriteString("\x78\x01") // zlib: deflate with a 32 KiB window, fastest
	}
	c.deflate.Reset(&c.out)
	_, err := c.deflate.Write(c.raw)
	if last {
		err = errors.Join(err, c.deflate.Close())
	} else {
		err = errors.Join(err, c.deflate.Flush())
	}
	return strip{c: c, adler: adlerSum(c.raw), size: int64(size), err: err}
}

// writeChunk completes the chunk in c.out and writes it.
func (c *compressor) writeChunk(w io.Writer) error {
	b := c.out.Bytes()
	binary.BigEndian.PutUint32(b, uint32(len(b)-8))
	c.out.Write(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(b[4:])))
	_, err := w.Write(c.out.Bytes())
	return err
}

// adlerSum is adler32.Checksum, several times as fast where there is assembly.
func adlerSum(p []byte) uint32 {
	if !hasNative {
		return adler32.Checksum(p)
	}
	const (
		mod  = 65521
		most = 5536 // bytes after which neither sum has outgrown 32 bits, in whole blocks
	)
	a, b := uint32(1), uint32(0)
	for len(p) > 0 {
		run := p[:min(most, len(p))]
		for _, v := range run[adlerNative(run, &a, &b):] {
			a += uint32(v)
			b += a
		}
		a, b = a%mod, b%mod
		p = p[len(run):]
	}
	return b<<16 | a
}

// combineAdler gives the Adler-32 sum of two pieces from theirs (RFC 1950, section 8.2); size is that of the second.
func combineAdler(a, b uint32, size int64) uint32 {
	const mod = 65521
	n := uint64(size % mod)
	a1, a2 := uint64(a&0xffff), uint64(a>>16)
	b1, b2 := uint64(b&0xffff), uint64(b>>16)
	lo := (a1 + b1 + mod - 1) % mod
	hi := (a2 + b2 + n*(a1+mod-1)) % mod
	return uint32(hi<<16 | lo)
}

// filter writes the rows from..to as PNG rows: the filter's number, then each byte less the one above it (filter Up).
func (s *pngSource) filter(dst []byte, from, to int) {
	n := s.width * s.channels
	var rows [2][]byte // room for rows without alpha: the current and the one above
	if s.dropAlpha {
		rows[0], rows[1] = make([]byte, n), make([]byte, n)
	}
	row := func(y int) []byte {
		r := s.pix[y*s.stride:]
		if !s.dropAlpha {
			return r[:n]
		}
		d := rows[y&1]
		for i, j := 0, 0; i+3 <= len(d); i, j = i+3, j+4 {
			d[i], d[i+1], d[i+2] = r[j], r[j+1], r[j+2]
		}
		return d
	}
	var above []byte
	if from > 0 {
		above = row(from - 1)
	} else {
		above = make([]byte, n)
	}
	for y := from; y < to; y++ {
		cur := row(y)
		dst[0] = 2
		subtract(dst[1:n+1], cur, above)
		dst, above = dst[n+1:], cur
	}
}

// subtract sets each byte of dst to that of a less that of b, eight at a time: the top bits are kept apart so that no
// byte borrows from its neighbour.
func subtract(dst, a, b []byte) {
	const top = 0x8080808080808080
	a, b = a[:len(dst)], b[:len(dst)]
	i := subtractNative(dst, a, b)
	for ; i+8 <= len(dst); i += 8 {
		x, y := binary.LittleEndian.Uint64(a[i:]), binary.LittleEndian.Uint64(b[i:])
		binary.LittleEndian.PutUint64(dst[i:], ((x|top)-(y&^top))^((x^^y)&top))
	}
	for ; i < len(dst); i++ {
		dst[i] = a[i] - b[i]
	}
}
