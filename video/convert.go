package video

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"cutout/codec"
	"cutout/compositing"
)

// Masker finds the subject in frames; *pipeline.Frames is one. It is called from several goroutines.
type Masker interface {
	Grid() image.Point
	Look(ctx context.Context, small *image.NRGBA) (*image.Gray, error)
	Matte(ctx context.Context, frame *image.NRGBA, mask *image.Gray) (*image.Gray, error)
}

// Options says what becomes of a clip.
type Options struct {
	Format Format
	Rate   int         // frames a second, 1 to 60; zero: those of the clip
	Frames int         // of the result, from its start; zero: all
	Color  color.NRGBA // below the subject, for MP4Color; its alpha is ignored
	Limits Limits
}

// Job is one clip on its way.
type Job struct {
	Options
	Input      string // path
	Background string // path of the picture or clip below the subject, where the format needs one
	Dir        string // where segments and the result are written; they stay there
	// SegmentTime is how much of the result a segment shows; zero: all of it.
	SegmentTime time.Duration

	// Finished are the segments that an earlier attempt has left in Dir, in their order.
	Finished []Segment
	// Keep, where it is set, is called with every further segment that is complete, in their order.
	Keep func(ctx context.Context, s Segment) error
	// Progress, where it is set, is called once in a while, and at least every few seconds while anything goes on.
	Progress func(Progress)

	perFrame bool // of tests: neither smoothing nor reuse
}

// Segment is a part of a result.
type Segment struct {
	Name   string `json:"name"` // of its file in Job.Dir
	Frames int    `json:"frames"`
	Bytes  int64  `json:"bytes"`
}

// Progress tells how far a clip is.
type Progress struct {
	Done      int           // frames
	Total     int           // frames, as far as the clip tells; zero: it does not
	Rate      float64       // frames a second, lately
	Remaining time.Duration // zero: not known
}

// Result is a clip that is done.
type Result struct {
	Path   string // of the file, in Job.Dir
	Bytes  int64
	Frames int
	Rate   Rate
	Size   image.Point // of the frames
	Sound  bool
	Info   *Info // of the clip that came in
	Stats  Stats
}

// Stats tells where the time went. Those of stages in this process add up the goroutines' own times.
type Stats struct {
	Elapsed              time.Duration
	Decode, Encode, Join time.Duration // processor time of ffmpeg
	Shrink, Look, Steady time.Duration
	Matte, Compose       time.Duration
	Frames               int // worked on in this attempt
	Looked               int // times the network was asked: frames like the one before share its mask
	Cuts                 int // ends of scenes
}

// counter adds up times from several goroutines.
type counter struct{ n atomic.Int64 }

func (c *counter) add(d time.Duration) { c.n.Add(int64(d)) }
func (c *counter) sum() time.Duration  { return time.Duration(c.n.Load()) }

// frame is one frame on its way.
type frame struct {
	picture *image.NRGBA
	small   *view
	before  *view        // of the frame before, in the same scene
	moved   []float32    // by how much each block has changed; nil: a scene begins
	motion  *motion      // from the frame before
	ahead   *motion      // of the frame before, from this one
	same    bool         // as the last one that the network has seen
	mask    *image.Gray  // of the small picture, then of the frame
	under   *image.NRGBA // what lies below, of a clip
	skip    bool         // only there to remember from
	out     []byte
}

// warmUp is how many frames before the first new one are looked at again after an interruption, for masks that are smoothed
// in time to go on as they were.
const warmUp = 12

// conversion is a Job at work.
type conversion struct {
	*Job
	t      *Tools
	m      Masker
	spec   spec
	info   *Info
	rate   Rate
	size   image.Point
	total  int // frames of the whole result; zero: not known
	ground ground
	behind *Info // of the background's clip

	began   time.Time
	done    atomic.Int64 // frames of the whole result
	spent   struct{ shrink, look, steady, matte, compose, decode, encode, join counter }
	looked  int
	cuts    int
	written int // frames of this attempt
	parts   []Segment
	length  int // frames of a segment; zero: all
}

// Convert makes a result of a clip. The masker's work is done on every core at once.
//
// Errors: *UnreadableError for the clip, *BackgroundError around that or an error of codec for the background,
// *LimitError, ctx's error.
func (t *Tools) Convert(ctx context.Context, m Masker, job Job) (*Result, error) {
	c := &conversion{Job: &job, t: t, m: m, spec: specs[job.Format], began: time.Now(), parts: slices.Clip(job.Finished)}
	if !job.Format.Valid() {
		return nil, fmt.Errorf("video: no format %q", job.Format)
	}
	if err := c.prepare(ctx); err != nil {
		return nil, err
	}
	if err := c.frames(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	result, err := c.finish(ctx)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return result, err
}

// prepare looks at the files and at the limits.
func (c *conversion) prepare(ctx context.Context) (err error) {
	if c.Input, err = filepath.Abs(c.Input); err != nil {
		return err
	}
	if c.info, err = c.t.Probe(ctx, c.Input); err != nil {
		return err
	}
	c.size = image.Pt(c.info.Width, c.info.Height)
	if err := c.Limits.pixels(c.size.X, c.size.Y); err != nil {
		return err
	}
	if least := 2; c.spec.muxer == "mp4" && min(c.size.X, c.size.Y) < least {
		return &UnreadableError{Public: "The video is too small: this format takes two pixels at least."}
	}
	c.rate = c.Format.RateOf(c.info, c.Rate)
	if c.SegmentTime > 0 {
		c.length = max(1, c.rate.frames(c.SegmentTime))
	}
	c.total = c.info.expected(c.rate)
	if c.Frames > 0 && (c.total == 0 || c.total > c.Frames) {
		c.total = c.Frames
	}
	if err := c.Limits.length(c.total, c.rate); err != nil {
		return err
	}
	return c.openGround(ctx)
}

// BackgroundLimits bounds a picture that is put below a clip.
var BackgroundLimits = codec.Limits{MaxBytes: 64 << 20, MaxPixels: 50_000_000}

// openGround readies what lies below the subject.
func (c *conversion) openGround(ctx context.Context) (err error) {
	c.ground.color = c.Color
	switch c.Format.Needs() {
	case "image":
		info, err := os.Stat(c.Background)
		if err != nil {
			return err
		}
		if info.Size() > BackgroundLimits.MaxBytes {
			return &BackgroundError{&codec.LimitError{What: "bytes"}}
		}
		data, err := os.ReadFile(c.Background)
		if err != nil {
			return err
		}
		picture, _, err := codec.Decode(ctx, data, BackgroundLimits)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return &BackgroundError{err}
		}
		picture = compositing.Cover(picture, c.size.X, c.size.Y, codec.LanczosAlpha)
		c.ground.picture = compositing.Flatten(picture, color.NRGBA{A: 255})
	case "video":
		if c.Background, err = filepath.Abs(c.Background); err != nil {
			return err
		}
		if c.behind, err = c.t.Probe(ctx, c.Background); err != nil {
			if _, ok := errors.AsType[*UnreadableError](err); ok {
				return &BackgroundError{err}
			}
			return err
		}
		if err := c.Limits.pixels(c.behind.Width, c.behind.Height); err != nil {
			return &BackgroundError{err}
		}
	}
	return nil
}

// frames makes the segments.
func (c *conversion) frames(ctx context.Context) error {
	from := 0
	for _, s := range c.parts {
		from += s.Frames
	}
	c.done.Store(int64(from))
	if c.Frames > 0 && from >= c.Frames {
		return nil
	}
	warm := min(from, warmUp)
	d := decoding{width: c.size.X, height: c.size.Y, rate: c.rate, first: from - warm, max: c.Limits.MaxPixels}
	if most := c.most(); most > 0 {
		d.most = most - d.first
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	source, err := c.t.decode(ctx, c.Input, c.info, d)
	if err != nil {
		return err
	}
	defer func() { _ = source.stop() }() // what it has to say was asked for before
	var behind *decoder
	if c.behind != nil {
		d.loop, d.cover, d.most = true, true, 0
		if behind, err = c.t.decode(ctx, c.Background, c.behind, d); err != nil {
			return err
		}
		defer func() { cancel(); _ = behind.stop() }() // it goes on for ever
	}

	g, ctx := errgroup.WithContext(ctx)
	pool := newPool(c.size)
	workers := runtime.GOMAXPROCS(0)

	raw := make(chan *frame)
	g.Go(func() error {
		defer close(raw)
		return c.read(ctx, source, behind, pool, warm, raw)
	})
	small := ordered(ctx, g, raw, workers, func(f *frame) error {
		defer elapsed(&c.spent.shrink, time.Now())
		f.small = newView(shrink(f.picture, c.m.Grid()))
		return nil
	})
	judged := make(chan *frame)
	g.Go(func() error {
		defer close(judged)
		return c.judge(ctx, small, judged)
	})
	tracked := ordered(ctx, g, judged, workers, func(f *frame) error {
		defer elapsed(&c.spent.steady, time.Now())
		c.track(f)
		return nil
	})
	seen := ordered(ctx, g, tracked, workers, func(f *frame) (err error) {
		if !f.same {
			defer elapsed(&c.spent.look, time.Now())
			f.mask, err = c.m.Look(ctx, f.small.NRGBA)
		}
		return err
	})
	steadied := make(chan *frame)
	g.Go(func() error {
		defer close(steadied)
		return c.steady(ctx, seen, steadied)
	})
	matted := ordered(ctx, g, steadied, workers, func(f *frame) error { return c.matte(ctx, f) })
	final := make(chan *frame)
	g.Go(func() error {
		defer close(final)
		return c.steadyFrames(ctx, matted, final)
	})
	ready := ordered(ctx, g, final, workers, c.compose)
	g.Go(func() error { return c.write(ctx, ready, pool) })
	err = g.Wait()
	if err != nil {
		return err
	}
	return c.ended(source, from, warm)
}

// most is how many frames are decoded; zero: all. One more than a limit allows shows that it is passed.
func (c *conversion) most() int {
	most := c.Frames
	lower := func(n int) {
		if most == 0 || n < most {
			most = n
		}
	}
	if c.Limits.MaxFrames > 0 {
		lower(c.Limits.MaxFrames + 1)
	}
	if c.Limits.MaxDuration > 0 {
		lower(c.rate.frames(c.Limits.MaxDuration) + 3)
	}
	return most
}

// A clip that ends early is refused from where more of it is missing than a clock that counts a little wrong explains.
const (
	missingShare = 0.05
	missingLeast = 5 // frames
)

// ended looks at how the decoding ended.
func (c *conversion) ended(source *decoder, from, warm int) error {
	failed := source.finish()
	c.spent.decode.add(source.child.cpu())
	got := from - warm + source.got
	switch {
	case got == 0:
		return &UnreadableError{Public: "The video has no frame that can be read.", Err: failed}
	case c.total > 0 && got < c.total-max(missingLeast, int(missingShare*float64(c.total))) && (failed != nil || source.child.errors.complained()):
		return &UnreadableError{
			Public: fmt.Sprintf("The video is damaged: only %d of its %d frames can be read.", got, c.total),
			Err:    errors.Join(failed, errors.New(source.child.errors.String())),
		}
	}
	return c.Limits.length(got, c.rate)
}

// read fills frames from the clip, and from that below it.
func (c *conversion) read(ctx context.Context, source, behind *decoder, pool *pool, warm int, out chan<- *frame) error {
	for n := 0; ; n++ {
		f := &frame{skip: n < warm}
		var err error
		if f.picture, err = pool.get(ctx); err != nil {
			return err
		}
		if err := source.read(f.picture.Pix); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if behind != nil {
			if f.under, err = pool.get(ctx); err != nil {
				return err
			}
			if err := behind.read(f.under.Pix); err != nil {
				return &BackgroundError{&UnreadableError{Public: "The video has no frame that can be read.", Err: behind.stop()}}
			}
		}
		if err := send(ctx, out, f); err != nil {
			return err
		}
	}
}

// judge compares each frame with the one before, and with the last that the network sees.
func (c *conversion) judge(ctx context.Context, in <-chan *frame, out chan<- *frame) error {
	var before, key *view
	var colours *[512]int32
	for f := range in {
		now := histogram(f.small.NRGBA)
		if before != nil {
			f.moved = blocks(before.NRGBA, f.small.NRGBA)
			if isCut(colours, now, f.moved) {
				f.moved = nil
				c.cuts++
			}
		}
		if f.moved != nil && !c.perFrame {
			f.before = before
			f.same = same(blocks(key.NRGBA, f.small.NRGBA))
		}
		if !f.same {
			key = f.small
			c.looked++
		}
		before, colours = f.small, now
		if err := send(ctx, out, f); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// track finds what has moved between a frame and the one before, both ways.
func (c *conversion) track(f *frame) {
	if f.before != nil {
		f.motion, f.ahead = newMotion(f.before, f.small), newMotion(f.small, f.before)
		f.before = nil
	}
}

// steady smooths the masks in time. It holds one frame back, to know what comes after it.
func (c *conversion) steady(ctx context.Context, in <-chan *frame, out chan<- *frame) error {
	s := steady{grid: c.m.Grid(), side: motionSide}
	var held *frame
	var before, now *image.Gray // as the network gave them, of the frame before held and of held
	flush := func(after *frame) error {
		start := time.Now()
		if !c.perFrame {
			held.mask = &image.Gray{Pix: slices.Clone(now.Pix), Stride: now.Stride, Rect: now.Rect}
			if held.motion != nil && after != nil && after.ahead != nil {
				s.outvote(held.mask, before, after.mask, held.motion, after.ahead)
			}
			var moved []float32
			if held.motion != nil {
				moved = held.motion.residual
			}
			s.next(held.mask, moved, held.motion)
		}
		held.small = nil
		c.spent.steady.add(time.Since(start))
		return send(ctx, out, held)
	}
	for f := range in {
		if f.same {
			f.mask = now
		}
		if held != nil {
			if err := flush(f); err != nil {
				return err
			}
		}
		held, before, now = f, now, f.mask
	}
	if held != nil {
		if err := flush(nil); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// matte brings a mask to its frame.
func (c *conversion) matte(ctx context.Context, f *frame) (err error) {
	defer elapsed(&c.spent.matte, time.Now())
	f.mask, err = c.m.Matte(ctx, f.picture, f.mask)
	return err
}

// steadyFrames smooths what became of the masks: noise in a frame moves the edges that were found in it.
func (c *conversion) steadyFrames(ctx context.Context, in <-chan *frame, out chan<- *frame) error {
	s := steady{grid: c.m.Grid(), side: blockSide}
	for f := range in {
		start := time.Now()
		if !c.perFrame {
			s.next(f.mask, f.moved, nil)
		}
		c.spent.steady.add(time.Since(start))
		if err := send(ctx, out, f); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// compose makes a frame of the result.
func (c *conversion) compose(f *frame) error {
	if f.skip {
		return nil
	}
	defer elapsed(&c.spent.compose, time.Now())
	below := c.ground
	if f.under != nil {
		below.picture = f.under
	}
	f.out = compose(f.picture, f.mask, c.spec.content, below)
	return nil
}

// progressEvery is how often progress is told, at most.
const progressEvery = 500 * time.Millisecond

// write gives frames to the encoders of the segments. While one of them finishes its file the next has begun.
func (c *conversion) write(ctx context.Context, in <-chan *frame, pool *pool) error {
	var (
		enc     *encoder
		part    Segment
		closing = make(chan error, 1)
		idle    = true // nothing in closing
		told    time.Time
		meter   = newMeter()
		number  = len(c.Finished) // of the next segment
	)
	settle := func() error {
		if idle {
			return nil
		}
		idle = true
		return <-closing
	}
	cut := func() error {
		if enc == nil {
			return nil
		}
		if err := settle(); err != nil {
			return err
		}
		e, p := enc, part
		enc, idle = nil, false
		go func() { closing <- c.closeSegment(ctx, e, p) }()
		return nil
	}
	defer func() {
		if enc != nil {
			_ = enc.close() // something else has failed
		}
		_ = settle()
	}()
	for f := range in {
		if !f.skip {
			if enc == nil {
				part = Segment{Name: fmt.Sprintf("part-%06d%s", number, c.spec.suffix)}
				number++
				var err error
				if enc, err = c.t.encode(ctx, c.Dir, part.Name, [2]int{c.size.X, c.size.Y}, c.rate, c.spec); err != nil {
					return err
				}
			}
			if err := enc.write(f.out); err != nil {
				return err
			}
			part.Frames++
			c.written++
			if c.written%c.collect() == 0 {
				runtime.GC()
			}
			meter.tick()
			done := int(c.done.Add(1))
			if err := c.Limits.length(done, c.rate); err != nil {
				return err
			}
			if time.Since(told) >= progressEvery {
				told = time.Now()
				c.tell(done, meter.rate())
				if err := c.Limits.output(c.stored(part.Name)); err != nil {
					return err
				}
			}
			if c.length > 0 && part.Frames == c.length {
				if err := cut(); err != nil {
					return err
				}
			}
		}
		pool.put(f.picture)
		if f.under != nil {
			pool.put(f.under)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := cut(); err != nil {
		return err
	}
	if err := settle(); err != nil {
		return err
	}
	c.tell(int(c.done.Load()), meter.rate())
	return c.Limits.output(c.stored(""))
}

// collectBytes is after how many bytes of frames the garbage of masks and mattes is collected. Left to itself the collector
// lets the heap double first, most of which is frames that are used again.
const collectBytes = 48 << 20

func (c *conversion) collect() int { return max(collectBytes/(4*c.size.X*c.size.Y), 1) }

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// closeSegment waits for a segment's file and has it kept.
func (c *conversion) closeSegment(ctx context.Context, e *encoder, s Segment) error {
	err := e.close()
	c.spent.encode.add(e.child.cpu())
	if err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(c.Dir, s.Name))
	if err != nil {
		return err
	}
	s.Bytes = info.Size()
	c.parts = append(c.parts, s)
	if c.Keep != nil {
		return c.Keep(ctx, s)
	}
	return nil
}

// stored is how many bytes the segments take, with one that is being written.
func (c *conversion) stored(current string) int64 {
	var sum int64
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		return 0 // the writer itself will say so
	}
	for _, e := range entries {
		if e.Name() != current && filepath.Ext(e.Name()) != c.spec.suffix {
			continue
		}
		if info, err := e.Info(); err == nil {
			sum += info.Size()
		}
	}
	return sum
}

func (c *conversion) tell(done int, rate float64) {
	if c.Progress == nil {
		return
	}
	p := Progress{Done: done, Total: max(c.total, done), Rate: rate}
	if c.total == 0 {
		p.Total = 0
	} else if rate > 0 {
		p.Remaining = time.Duration(float64(p.Total-done) / rate * float64(time.Second)).Round(time.Second)
	}
	c.Progress(p)
}

// meter tells how fast something goes lately.
type meter struct {
	marks []time.Time // of the latest ticks, one in each second at most
	count []int
	n     int
	began time.Time
}

const meterLength = 20 // marks

func newMeter() *meter { return &meter{began: time.Now()} }

func (m *meter) tick() {
	m.n++
	now := time.Now()
	if k := len(m.marks); k == 0 || now.Sub(m.marks[k-1]) >= time.Second {
		m.marks, m.count = append(m.marks, now), append(m.count, m.n)
		if k >= meterLength {
			m.marks, m.count = m.marks[1:], m.count[1:]
		}
	}
}

func (m *meter) rate() float64 {
	from, n := m.began, 0
	if len(m.marks) >= meterLength {
		from, n = m.marks[0], m.count[0]
	}
	if d := time.Since(from).Seconds(); d > 0 {
		return float64(m.n-n) / d
	}
	return 0
}

// send hands a frame on, unless it is too late for it.
func send(ctx context.Context, out chan<- *frame, f *frame) error {
	select {
	case out <- f:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ordered does work on several frames at a time and gives them on in their order. The first error ends all.
func ordered(ctx context.Context, g *errgroup.Group, in <-chan *frame, workers int, work func(*frame) error) <-chan *frame {
	type item struct {
		f    *frame
		done chan struct{}
	}
	tasks, queue, out := make(chan item), make(chan item, workers), make(chan *frame)
	g.Go(func() error {
		defer close(tasks)
		defer close(queue)
		for f := range in {
			it := item{f, make(chan struct{})}
			for _, to := range []chan<- item{tasks, queue} {
				select {
				case to <- it:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		return ctx.Err()
	})
	for range workers {
		g.Go(func() error {
			for it := range tasks {
				if err := work(it.f); err != nil {
					return err
				}
				close(it.done)
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(out)
		for it := range queue {
			select {
			case <-it.done:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := send(ctx, out, it.f); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	return out
}

// pool hands out frames of one size, a fixed number of them, again and again.
type pool struct {
	size image.Point
	free chan *image.NRGBA // nil: not made yet
}

// poolBytes is what frames may take that are on their way, unless they are so large that nothing could go on beside them.
const poolBytes = 96 << 20

func newPool(size image.Point) *pool {
	workers := runtime.GOMAXPROCS(0)
	bytes := 4 * size.X * size.Y
	n := min(5*workers+8, max(poolBytes/bytes, 2*workers+4))
	p := &pool{size: size, free: make(chan *image.NRGBA, n)}
	for range n {
		p.free <- nil
	}
	return p
}

func (p *pool) get(ctx context.Context) (*image.NRGBA, error) {
	select {
	case m := <-p.free:
		if m == nil {
			m = image.NewNRGBA(image.Rectangle{Max: p.size})
		}
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pool) put(m *image.NRGBA) { p.free <- m }
