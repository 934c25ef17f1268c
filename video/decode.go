package video

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// decoder gives the frames of a clip, upright and of the size and rate that were asked for.
type decoder struct {
	child *child
	out   *os.File
	got   int // whole frames read
	bytes int // of a frame
}

// decoding says which frames of a clip are wanted.
type decoding struct {
	width, height int
	rate          Rate
	first         int   // frames passed over
	most          int   // frames given; zero: all
	loop          bool  // from the start again at the end, for ever
	cover         bool  // keeps its proportions and cuts off what is too much, instead of being stretched
	max           int64 // pixels of a frame; zero: any
}

// filters is the chain from what the file holds to RGBA, 8 bits a channel.
func (t *Tools) filters(v *Info, d decoding) string {
	var chain []string
	add := func(format string, args ...any) { chain = append(chain, fmt.Sprintf(format, args...)) }
	if v.interlaced {
		add("yadif=deint=interlaced")
	}
	add("fps=%v", d.rate)
	if d.first > 0 {
		add("trim=start_frame=%d", d.first)
	}
	add("setpts=PTS-STARTPTS")
	matrix := v.matrix
	if v.HDR && t.tonemap {
		// To linear light of a 100-nit display, the highlights rolled off, and back to the curve that screens expect.
		add("zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=hable:desat=0,zscale=t=bt709:m=bt709:r=tv,format=yuv444p")
		matrix = "bt709"
	}
	in := ":in_color_matrix=" + matrix
	if f := v.PixelFormat; strings.HasPrefix(f, "gbr") || strings.Contains(f, "rgb") || strings.Contains(f, "bgr") || strings.HasPrefix(f, "pal") {
		in = "" // no matrix in it
	}
	if d.cover {
		add("scale=w='max(%d,ceil(%d*iw*if(sar,sar,1)/ih))':h='max(%d,ceil(%d*ih/(iw*if(sar,sar,1))))':flags=bicubic%s",
			d.width, d.height, d.height, d.width, in)
		add("crop=%d:%d", d.width, d.height)
	} else {
		add("scale=%d:%d:flags=bicubic%s", d.width, d.height, in)
	}
	add("format=rgba")
	return strings.Join(chain, ",")
}

// decode starts to decode a clip. stop or finish must be called.
func (t *Tools) decode(ctx context.Context, path string, v *Info, d decoding) (*decoder, error) {
	args := []string{"-v", "error", "-nostdin", "-threads", strconv.Itoa(runtime.NumCPU()), "-max_pixels", strconv.FormatInt(pixelBound(d.max), 10)}
	if v.alpha != "" {
		args = append(args, "-c:v", v.alpha)
	}
	if d.loop {
		args = append(args, "-stream_loop", "-1")
	}
	args = append(args, source(path)...)
	args = append(args, "-map", "0:"+strconv.Itoa(v.stream), "-an", "-sn", "-dn", "-vf", t.filters(v, d))
	if d.most > 0 {
		args = append(args, "-frames:v", strconv.Itoa(d.most))
	}
	args = append(args, "-f", "rawvideo", "-pix_fmt", "rgba", "pipe:1")
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	widen(w)
	c, err := launch(ctx, t.FFmpeg, args, "", nil, w)
	_ = w.Close() // the process has its own
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	return &decoder{child: c, out: r, bytes: 4 * d.width * d.height}, nil
}

// pixelBound is the bound on the pixels of a frame that a decoder is given: a header may lie to the probe, and a clip may
// change its size on its way.
func pixelBound(limit int64) int64 {
	if limit <= 0 {
		return maxSide * maxSide
	}
	return limit + limit/4 + 1<<16 // codecs round sides up to whole blocks
}

// read fills a buffer with the next frame. io.EOF is the end of the clip.
func (d *decoder) read(pix []byte) error {
	_, err := io.ReadFull(d.out, pix[:d.bytes])
	if err == nil {
		d.got++
		return nil
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF // the process was ended, or failed; finish tells
	}
	return err
}

// stop ends the process where it still runs and frees the pipe.
func (d *decoder) stop() error {
	_ = d.out.Close() // a process that still writes fails at it
	return d.child.wait()
}

// finish waits for the process after its last frame.
func (d *decoder) finish() error {
	err := d.child.wait()
	_ = d.out.Close() // only read from
	return err
}

// encoder turns raw frames into a file.
type encoder struct {
	child *child
	in    *os.File
}

// encode starts to encode frames into a file of dir.
func (t *Tools) encode(ctx context.Context, dir, name string, size [2]int, rate Rate, s spec) (*encoder, error) {
	args := []string{
		"-v", "error", "-nostdin", "-protocol_whitelist", "file,pipe", "-f", "rawvideo", "-pixel_format", s.raw,
		"-video_size", fmt.Sprintf("%dx%d", size[0], size[1]), "-framerate", rate.String(), "-i", "pipe:0", "-an",
	}
	args = append(args, s.encode...)
	args = append(args, "-f", s.segment, "-y", "file:"+name)
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	widen(w)
	c, err := launch(ctx, t.FFmpeg, args, dir, r, nil)
	_ = r.Close() // the process has its own
	if err != nil {
		_ = w.Close()
		return nil, err
	}
	return &encoder{child: c, in: w}, nil
}

// write hands a frame on. What the process has to say is better than that its pipe is broken.
func (e *encoder) write(pix []byte) error {
	if _, err := e.in.Write(pix); err != nil {
		if failed := e.close(); failed != nil {
			return failed
		}
		return err
	}
	return nil
}

// close ends the stream of frames and waits for the file to be complete.
func (e *encoder) close() error {
	_ = e.in.Close() // what was written is with the process
	return e.child.wait()
}

// elapsed times a piece of work into a sum.
func elapsed(sum *counter, since time.Time) { sum.add(time.Since(since)) }
