package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"time"

	"cutout/admission"
	"cutout/config"
	"cutout/fetch"
	"cutout/handlers"
	"cutout/handlers/backgroundremoverai"
	"cutout/handlers/dialect"
	"cutout/jobs"
	"cutout/metrics"
	"cutout/pipeline"
)

// ServeCmd serves the HTTP API until a signal ends it.
type ServeCmd struct {
	config.Server `embed:""`
	config.Access `embed:""`
	API4AI        config.Limits   `embed:"" prefix:"api4ai-"`
	RemoveBG      config.RemoveBG `embed:"" prefix:"removebg-"`
	APISphere     config.Pictures `kong:"embed,prefix='apisphere-',set='max_pixels=50000000',set='max_file=10MB',set='max_request=16MB'"`
	Rembg         config.Pictures `kong:"embed,prefix='rembg-',set='max_pixels=50000000',set='max_file=50MB',set='max_request=64MB'"`
	PhotoRoom     config.Pictures `kong:"embed,prefix='photoroom-',set='max_pixels=36000000',set='max_file=30MB',set='max_request=32MB'"`
	Fetch         config.Fetch    `embed:""`
	Jobs          config.Jobs     `embed:""`
	Webhooks      config.Webhooks `embed:"" prefix:"webhook-"`
	Video         config.Video    `embed:""`

	BackgroundRemoverAI config.BackgroundRemoverAI `embed:"" prefix:"backgroundremoverai-"`
	Ximilar             config.Ximilar             `embed:"" prefix:"ximilar-"`

	Admission        config.Admission `embed:""`
	Models           config.Models    `embed:""`
	Cache            config.Cache     `embed:""`
	TLS              config.TLS       `embed:""`
	config.Inference `embed:""`
	config.Log       `embed:""`
}

func (c *ServeCmd) validate() error {
	return errors.Join(c.Server.Validate(), c.Access.Validate(), c.API4AI.Validate("api4ai-"), c.RemoveBG.Validate("removebg-"),
		c.APISphere.Validate("apisphere-"), c.Rembg.Validate("rembg-"), c.PhotoRoom.Validate("photoroom-"), c.Fetch.Validate(),
		c.BackgroundRemoverAI.Validate("backgroundremoverai-"), c.Ximilar.Validate("ximilar-"), c.Jobs.Validate(), c.Webhooks.Validate(), c.Video.Validate(),
		c.Admission.Validate(), c.Models.Validate(), c.Cache.Validate(), c.TLS.Validate(), c.Inference.Validate())
}

// Run serves. The port is open before the network is loaded: /healthz answers at once, /readyz says no until then, and
// requests that come early wait.
func (c *ServeCmd) Run(ctx context.Context, p Program) error {
	if err := c.validate(); err != nil {
		return &usageError{err}
	}
	log, err := newLogger(p.Stderr, c.Log)
	if err != nil {
		return &usageError{err}
	}
	fetcher, err := newFetcher(c.Fetch)
	if err != nil {
		return &usageError{err}
	}
	hooks, err := newHooks(c.Webhooks, c.Fetch)
	if err != nil {
		return &usageError{err}
	}
	certificate, err := openCertificate(c.TLS, log)
	if err != nil {
		return &usageError{err}
	}
	tuneCollector()
	cores := spareProcessor()
	defer runtime.GOMAXPROCS(cores)
	c.Threads = cmp.Or(c.Threads, cores)
	memory := limitMemory(c.Admission.Memory, log)
	c.boundPixels(cores, memory, log)
	tracer, err := openTracer(ctx, p.Version, log)
	if err != nil {
		return &usageError{err}
	}
	defer closeTracer(ctx, tracer, log)
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Addr)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", c.Addr, err)
	}
	recorder := metrics.New(metrics.Build{Version: p.Version, Model: c.Model, Precision: c.Precision})
	engine := newLoader()
	engine.models, engine.log = c.Models, log
	recorder.NewModels(engine.modelStats)
	processor := newCache(c.Cache, engine, recorder)
	var server *handlers.Server
	gauges := recorder.NewServer(func() metrics.ServerStats { return serverStats(engine, server) })
	engine.admission, err = newAdmission(c.Admission, cores, memory, admission.Observer{
		Admitted: func(class admission.Class, wait time.Duration) { gauges.Admitted(class.String(), wait) },
		Refused:  func(class admission.Class, reason string) { gauges.Refused(class.String(), reason) },
	})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	addr := l.Addr().String()
	serving, stop := context.WithCancel(ctx)
	defer stop()
	start := time.Now()
	loaded := make(chan error, 1)
	go func() {
		loaded <- engine.load(serving, c.Inference)
		if !engine.ready() {
			stop() // a server without its network is of no use
			return
		}
		log.Info("ready", "addr", addr, "version", p.Version, "model", engine.pipeline.Model(),
			"kernels", engine.pipeline.Kernels(), "precision", c.Precision, "load_ms", time.Since(start).Milliseconds())
	}()
	service, err := openJobs(ctx, c.Jobs, c.Webhooks, recorder, log)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer func() {
		// What the server took is answered by now; jobs that run have as long again.
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.ShutdownTimeout)
		defer cancel()
		if err := service.Close(grace); err != nil {
			log.Warn("job store", "error", err.Error())
		}
	}()
	if c.Jobs.Workers > 0 {
		// Where there is no store there is nothing to do, which openJobs has said.
		if err := service.Start(backgroundremoverai.Kind, c.Jobs.Workers, backgroundremoverai.Worker(c.BackgroundRemoverAI, inBackground{engine})); err != nil &&
			!errors.Is(err, jobs.ErrUnavailable) {
			return errors.Join(err, l.Close())
		}
	}
	if hooks != nil {
		if err := service.StartCalls(callWorkers, hooks.Deliver); err != nil && !errors.Is(err, jobs.ErrUnavailable) {
			return errors.Join(err, l.Close())
		}
	}
	clips, found, err := openVideo(serving, c.Video, service, engine, fetcher, recorder, log)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer func() {
		stop()
		_ = found.await() // before the job store closes: it may be about to start workers
	}()
	server, err = handlers.New(handlers.Config{
		Server: c.Server, Access: c.Access, API4AI: c.API4AI, RemoveBG: c.RemoveBG, APISphere: c.APISphere, Rembg: c.Rembg,
		PhotoRoom: c.PhotoRoom, Version: p.Version, OpenAPI: p.OpenAPI, Processor: processor, Fetcher: fetcher,
		BackgroundRemoverAI: c.BackgroundRemoverAI, Ximilar: c.Ximilar, Jobs: service, Webhooks: hooks, Video: clips, PublicURL: c.Jobs.PublicURL,
		Metrics: recorder, Log: log, Tracer: tracer, Admission: engine.admission, Engine: engine.describe(c.Inference), Checks: []handlers.Check{
			{Name: "model", Run: engine.check},
			{Name: "jobs", Run: service.Healthy, Optional: c.Jobs.NATSURL == ""},
			{Name: "video", Run: found.check, Optional: true},
		},
	})
	if err != nil {
		return errors.Join(err, l.Close())
	}

	if err := servePprof(serving, c.PprofAddr, log); err != nil {
		return errors.Join(err, l.Close())
	}
	go trim(serving, engine.admission)
	log.Info("listening", "addr", addr, "version", p.Version, "tls", certificate != nil)
	if certificate != nil {
		defer reloadOnHangup(ctx, certificate)()
		l = tls.NewListener(l, certificate.Server())
	}
	err = server.Serve(serving, l)
	if loadErr := <-loaded; loadErr != nil && !errors.Is(loadErr, context.Canceled) {
		return errors.Join(loadErr, err)
	}
	return err
}

func newLogger(w io.Writer, c config.Log) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: %w", c.Level, err)
	}
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "text" {
		return slog.New(slog.NewTextHandler(w, options)), nil
	}
	return slog.New(slog.NewJSONHandler(w, options)), nil
}

// noFetcher refuses every URL.
type noFetcher struct{}

func (noFetcher) Get(context.Context, string, int64) (*fetch.Result, error) {
	return nil, &fetch.Error{Kind: fetch.Address, Public: "This server does not fetch URLs."}
}

func newFetcher(c config.Fetch) (dialect.Fetcher, error) {
	if c.OnlyAllowed && len(c.Allow) == 0 {
		return noFetcher{}, nil
	}
	return fetch.New(fetch.Config{
		Allow: c.Allow, OnlyAllowed: c.OnlyAllowed, Timeout: c.Timeout, MaxBytes: int64(c.MaxFile),
		MaxConcurrent: c.Concurrency, Rate: c.Rate,
	})
}

// newPipeline builds the pipeline from its settings.
func newPipeline(ctx context.Context, c config.Inference) (*pipeline.Pipeline, error) {
	return pipeline.New(ctx, settings(c))
}

func settings(c config.Inference) pipeline.Config {
	return pipeline.Config{
		Model: c.Model, WeightsDir: weightsDir(c.WeightsDir), CPU: c.CPU, Threads: c.Threads, Quality: pipeline.Quality(c.Quality),
	}
}

// loader is a pipeline that may still be loading.
type loader struct {
	admission *admission.Controller
	models    config.Models
	log       *slog.Logger
	done      chan struct{} // closed once pipeline or err is set
	pipeline  *pipeline.Pipeline
	err       error
}

func newLoader() *loader { return &loader{done: make(chan struct{})} }

func (l *loader) load(ctx context.Context, c config.Inference) error {
	defer close(l.done)
	s := settings(c)
	s.Admission, s.Models, s.Log = l.admission, l.models.Keep, l.log
	s.Limits = pipeline.ModelLimits{Count: l.models.Most, Bytes: int64(l.models.Memory)}
	l.pipeline, l.err = pipeline.New(ctx, s)
	return l.err
}

func (l *loader) ready() bool {
	select {
	case <-l.done:
		return l.err == nil
	default:
		return false
	}
}

// check is the condition of readiness: the network's file is verified and the network is loaded.
func (l *loader) check(context.Context) error {
	switch {
	case l.ready():
		return nil
	case l.err != nil:
		return errors.New("could not be loaded")
	default:
		return errors.New("is loading")
	}
}

// wait ends once the pipeline is loaded.
func (l *loader) wait(ctx context.Context) error {
	select {
	case <-l.done:
		return l.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run waits for the pipeline and runs it.
func (l *loader) Run(ctx context.Context, image []byte, o pipeline.Options) (*pipeline.Result, error) {
	if err := l.wait(ctx); err != nil {
		return nil, err
	}
	return l.pipeline.Run(ctx, image, o)
}

// Identify waits for the pipeline and asks it what would serve a request.
func (l *loader) Identify(ctx context.Context, o pipeline.Options) (complete pipeline.Options, model string, err error) {
	if err := l.wait(ctx); err != nil {
		return o, "", err
	}
	return l.pipeline.Identify(o)
}
