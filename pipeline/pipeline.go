package pipeline

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"log/slog"
	"runtime"
	"time"

	"cutout/admission"
	"cutout/codec"
	"cutout/compositing"
	"cutout/weights"
)

// Config says how a Pipeline is set up.
type Config struct {
	Model      string  // name in the catalogue of weights; empty is weights.Default
	WeightsDir string  // where networks lie that the binary does not carry
	CPU        string  // kernel set, see inference.Config
	Threads    int     // for one request on an idle machine; 0 is one per processor
	Quality    Quality // where a request names none; empty is Balanced

	Admission *admission.Controller // nil: one that refuses nobody

	Models []string     // loaded at once and for good, beside Model
	Limits ModelLimits  // of what else requests may ask for
	Log    *slog.Logger // told of networks that are loaded and let go; may be nil
}

// Pipeline takes pictures apart. It is safe for concurrent use.
type Pipeline struct {
	cfg     Config
	network *network
	people  *network // asked as well where the subject is human; nil beside networks that do not need it
	models  *models  // the others

	pictures codec.Pool
}

// nothingFound is the largest raw score under which a picture shows no subject. U²-Net's scores stay under 0.06 on flat and
// smooth pictures, where stretching them would turn noise into a subject; real photos go down to 0.2.
const nothingFound = 0.06

// ErrOption is wrapped by errors that say an option of a request is not known.
var ErrOption = errors.New("unknown option")

// New loads, verifies and warms the network.
func New(ctx context.Context, cfg Config) (*Pipeline, error) {
	if cfg.Model == "" {
		cfg.Model = weights.Default
	}
	if cfg.Threads <= 0 {
		cfg.Threads = runtime.GOMAXPROCS(0)
	}
	if cfg.Quality == "" {
		cfg.Quality = Balanced
	}
	if cfg.Admission == nil {
		var err error
		if cfg.Admission, err = admission.New(admission.Config{}); err != nil {
			return nil, err
		}
	}
	load := func(ctx context.Context, e weights.Entry) (*network, error) {
		return loadNetwork(ctx, e, cfg.WeightsDir, cfg.CPU, cfg.Threads)
	}
	find := func(name string) (weights.Entry, error) {
		e, err := weights.Find(cfg.WeightsDir, name)
		if errors.Is(err, weights.ErrUnknown) {
			return e, fmt.Errorf("pipeline: no network %q in the catalogue", name)
		}
		return e, err
	}
	entry, err := find(cfg.Model)
	if err != nil {
		return nil, err
	}
	p := &Pipeline{cfg: cfg, models: newModels(cfg.WeightsDir, cfg.Limits, cfg.Log, load)}
	if p.network, err = load(ctx, entry); err != nil {
		return nil, err
	}
	if cfg.Model == weights.Default { // measured with this one alone
		people, _ := weights.Lookup(weights.People)
		if p.people, err = load(ctx, people); err != nil {
			return nil, err
		}
	}
	for _, name := range cfg.Models {
		if name == cfg.Model {
			continue
		}
		entry, err := find(name)
		if err != nil {
			return nil, err
		}
		if err := p.models.pin(ctx, entry); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Model returns the name of the network in use.
func (p *Pipeline) Model() string { return p.network.entry.Name }

// IdleBytes is what the networks keep for their next runs, weights not counted.
func (p *Pipeline) IdleBytes() int64 {
	sum := p.network.model.IdleBytes() + p.models.idleBytes()
	if p.people != nil {
		sum += p.people.model.IdleBytes()
	}
	return sum
}

// Kernels returns the name of the kernel set in use.
func (p *Pipeline) Kernels() string { return p.network.model.Kernels() }

// job is one request on its way through the steps.
type job struct {
	p          *Pipeline
	o          Options
	data       []byte
	network    *network        // that finds the subject
	people     *network        // asked as well where the subject is human; may be nil
	threads    func() int      // how many cores the next step may use
	photo      *image.NRGBA    // in the colours of the file until the network has seen it, as its like have in training
	decoded    *image.NRGBA    // what photo was at first
	colours    *codec.Colours  // leads from those to sRGB
	size       image.Point     // of the whole picture
	region     image.Rectangle // the part of it in photo
	background *image.NRGBA
	seen       *sight      // nil: nothing
	mask       *image.Gray // full size
	picture    image.Image
	cut        *image.NRGBA // where variants are wanted
	result     Result
}

// Run takes one encoded picture through decode, infer, matte, composite and encode.
//
// Errors: *codec.LimitError or one wrapping codec.ErrUndecodable for the main picture, *BackgroundError around either
// for the background, *RegionError, ErrOption for an unknown option, *admission.Error for a request that cannot be served
// in time, *ModelError where a network is asked for exactly and cannot serve, ctx's error where ctx ends first.
func (p *Pipeline) Run(ctx context.Context, data []byte, o Options) (*Result, error) {
	if err := o.complete(p.cfg); err != nil {
		return nil, err
	}
	info, err := codec.Inspect(data, o.Limits)
	if err != nil {
		return nil, err // costs next to nothing, so it waits for nobody
	}
	n, release, err := p.choose(ctx, &o)
	if err != nil {
		return nil, err
	}
	defer release()
	start := time.Now()
	lease, err := p.cfg.Admission.Enter(ctx, demand(info, len(data), &o))
	if err != nil {
		return nil, err
	}
	done := false
	defer func() { lease.Release(done) }()
	// All cores for a request alone, one where each has a request; it may change from step to step.
	threads := func() int { return min(p.cfg.Threads, lease.Threads()) }
	j := &job{p: p, o: o, data: data, network: n, threads: threads}
	if n == p.network {
		j.people = p.people
	}
	j.result.Model, j.result.Version = n.entry.Name, n.version
	if o.Model != "" && o.Model != n.entry.Name {
		j.result.Asked = o.Model
	}
	j.result.Stages = append(j.result.Stages, Stage{Name: StageWait, Start: start, Duration: lease.Waited})
	for _, s := range []struct {
		name string
		run  func(context.Context) error
	}{{"decode", j.decode}, {"infer", j.infer}, {"matte", j.matte}, {"composite", j.composite}, {"encode", j.encode}} {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		start := time.Now()
		if err := s.run(ctx); err != nil {
			return nil, err
		}
		j.result.Stages = append(j.result.Stages, Stage{Name: s.name, Start: start, Duration: time.Since(start)})
	}
	done = true
	p.pictures.Put(j.decoded) // the result holds encoded pictures alone
	result := j.result        // a pointer into the job would keep its pictures for as long as somebody keeps the result
	return &result, nil
}

// complete fills in defaults and refuses what is not known.
func (o *Options) complete(cfg Config) error {
	if o.Output == "" {
		o.Output = Cutout
	}
	if o.Quality == "" {
		o.Quality = cfg.Quality
	}
	if o.Subject == "" {
		o.Subject = Universal
	}
	if o.Format == "" {
		o.Format = codec.PNG
	}
	switch o.Output {
	case Cutout, Mask:
	default:
		return fmt.Errorf("output %q: %w", o.Output, ErrOption)
	}
	switch o.Quality {
	case Fast, Balanced, Precise:
	default:
		return fmt.Errorf("quality %q: %w", o.Quality, ErrOption)
	}
	switch o.Subject {
	case Universal, Human, Product:
	default:
		return fmt.Errorf("subject %q: %w", o.Subject, ErrOption)
	}
	switch o.Format {
	case codec.PNG, codec.JPEG, codec.WebP, Auto, ZIP:
	default:
		return fmt.Errorf("format %q: %w", o.Format, ErrOption)
	}
	return nil
}

func (j *job) decode(ctx context.Context) error {
	photo, colours, info, err := j.p.pictures.DecodeStored(ctx, j.data, j.o.Limits)
	if err != nil {
		return err
	}
	j.photo, j.colours, j.decoded = photo, colours, photo
	j.result.Width, j.result.Height = info.Width, info.Height
	if err := j.focus(); err != nil {
		return err
	}
	if b := j.o.Background; b != nil && b.Image != nil && !j.masked() {
		if j.background, _, err = codec.Decode(ctx, b.Image, b.Limits); err != nil {
			if ctx.Err() != nil {
				return err
			}
			return &BackgroundError{Err: err}
		}
	}
	return nil
}

func (j *job) infer(ctx context.Context) error {
	if err := j.look(ctx); err != nil {
		return fmt.Errorf("pipeline: %w", err)
	}
	j.colours.Convert(j.photo)
	return nil
}

func (j *job) composite(context.Context) error {
	compositing.CutoutInPlace(j.photo, j.mask)
	cut := j.unfocus(j.photo)
	j.photo = nil
	for _, r := range compositing.Objects(j.mask) {
		j.result.Objects = append(j.result.Objects, Object{Box: compositing.NormaliseBox(r, j.result.Width, j.result.Height)})
	}
	cut, shadow := j.arrange(cut)
	if len(j.o.Also) > 0 {
		j.cut = cut
	}
	defer j.limit()
	if j.masked() {
		j.picture = j.mask
		return nil
	}
	switch b := j.o.Background; {
	case j.background != nil:
		bg := compositing.Cover(j.background, cut.Rect.Dx(), cut.Rect.Dy(), codec.LanczosAlpha)
		j.background = nil
		j.picture = compositing.Compose(cut, shadow, bg)
	case b != nil:
		j.picture = compositing.FlattenShadow(cut, shadow, b.Color)
	case shadow != nil:
		j.picture = compositing.Compose(cut, shadow, nil)
	default:
		j.picture = cut
	}
	return nil
}

func (j *job) encode(ctx context.Context) (err error) {
	j.result.Data, j.result.Format, err = j.write(j.picture, j.o.Format)
	j.picture = nil
	for _, v := range j.o.Also {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			break
		}
		var picture image.Image = j.cut
		switch {
		case v.Output == Mask:
			picture = j.mask
		case v.Background != nil:
			picture = compositing.FlattenShadow(j.cut, nil, *v.Background)
		}
		var data []byte
		data, _, err = j.write(picture, v.Format)
		j.result.Also = append(j.result.Also, data)
	}
	return err
}

// write encodes a picture, and tells the format where that was left to the picture.
func (j *job) write(picture image.Image, format codec.Format) ([]byte, codec.Format, error) {
	var buf bytes.Buffer
	var err error
	colours, _ := picture.(*image.NRGBA)
	if format == Auto {
		format = codec.PNG
		if colours != nil && colours.Opaque() {
			format = codec.JPEG
		}
	}
	switch format {
	case codec.JPEG:
		err = codec.EncodeJPEG(&buf, picture, cmp.Or(j.o.JPEG, jpegQuality), color.NRGBA{255, 255, 255, 255})
	case codec.WebP:
		err = codec.EncodeWebP(&buf, picture, cmp.Or(j.o.WebP, webpQuality))
	case ZIP:
		err = encodeZIP(&buf, colours, cmp.Or(j.o.JPEG, jpegQuality))
	default:
		err = codec.EncodePNG(&buf, picture)
	}
	if err != nil {
		return nil, format, fmt.Errorf("pipeline: encode: %w", err)
	}
	return buf.Bytes(), format, nil
}

// Qualities of lossy results, 0-100.
const (
	jpegQuality = 90
	webpQuality = 90
)
