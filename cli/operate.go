package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"cutout/admission"
	"cutout/config"
	"cutout/handlers"
	"cutout/handlers/dialect"
	"cutout/metrics"
	"cutout/pipeline"
	"cutout/tracing"
)

const (
	// memoryShare of what the container or the machine has is used: what is left is for the system and for the memory
	// that Go's own accounts leave out.
	memoryShare = 0.9
	// baseMemory is what the program takes beside requests: networks, their transformed weights and a run's buffers for
	// each slot, the job store.
	baseMemory    = 192 << 20
	memoryPerSlot = 48 << 20
	// Of the rest, what pictures that are computed may take; of what is then left, half is for bodies of requests. The
	// other half is the collector's, which needs room to be lazy in.
	computeShare = 0.5
	leastCompute = 64 << 20
	leastBodies  = 32 << 20
	queuePerSlot = 4
)

// collectorPercent is how much may be added to what is in use before the collector runs, unless GOGC says otherwise.
// Nearly all that is in use are pixels and weights, which it need not look through: running twice as often as usual
// costs next to nothing and saves a third of the memory.
const collectorPercent = 50

// spareProcessor lets one goroutine more run than there are cores, and returns their number. Where every core computes, a
// refusal or a probe would wait for the runtime to take one away, some 10 ms a time; the system hands over at once.
func spareProcessor() (cores int) {
	cores = runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(cores + 1)
	return cores
}

// tuneCollector makes the collector run more often.
func tuneCollector() {
	const usual = 100
	if set := debug.SetGCPercent(collectorPercent); set != usual {
		debug.SetGCPercent(set) // GOGC, which the runtime has read
	}
}

// limitMemory tells the runtime how much memory there is and returns it: the setting, else GOMEMLIMIT, else a share of
// what the control group or the machine has. 0 is returned where nothing is known.
func limitMemory(setting config.Bytes, log *slog.Logger) int64 {
	if setting > 0 {
		debug.SetMemoryLimit(int64(setting))
		return int64(setting)
	}
	if set := debug.SetMemoryLimit(-1); set != math.MaxInt64 {
		return set // GOMEMLIMIT, which the runtime has read
	}
	limit, err := memlimit.SetGoMemLimitWithOpts(
		memlimit.WithRatio(memoryShare), memlimit.WithProvider(memlimit.ApplyFallback(memlimit.FromCgroup, memlimit.FromSystem)),
		memlimit.WithLogger(slog.New(slog.DiscardHandler)),
	)
	if err != nil {
		log.Warn("nobody says how much memory there is, so that none is held back; see --memory", "error", err.Error())
		return 0
	}
	return limit
}

// budget is what pictures and bodies may take of so much memory.
func budget(memory int64, slots int) (compute, bodies int64) {
	if memory <= 0 {
		return 0, 0
	}
	free := memory - baseMemory - int64(slots)*memoryPerSlot
	compute = max(leastCompute, int64(computeShare*float64(free)))
	return compute, max(leastBodies, (free-compute)/2)
}

// newAdmission builds the queue before the pipeline.
func newAdmission(c config.Admission, cores int, memory int64, observer admission.Observer) (*admission.Controller, error) {
	slots := cmp.Or(c.Slots, cores)
	compute, bodies := budget(memory, slots)
	return admission.New(admission.Config{
		Slots: slots, Cores: cores, Queue: cmp.Or(c.Queue, queuePerSlot*slots), Wait: c.Wait, Memory: compute, Bodies: bodies, Observer: observer,
	})
}

// boundPixels lowers the limits of dialects to what there is memory for, and says so.
func (c *ServeCmd) boundPixels(cores int, memory int64, log *slog.Logger) {
	compute, _ := budget(memory, cmp.Or(c.Admission.Slots, cores))
	if compute == 0 {
		return
	}
	most := pipeline.MaxPixels(compute)
	for name, pixels := range map[string]*int64{
		"removebg": &c.RemoveBG.MaxPixels, "apisphere": &c.APISphere.MaxPixels, "rembg": &c.Rembg.MaxPixels, "photoroom": &c.PhotoRoom.MaxPixels,
		"backgroundremoverai": &c.BackgroundRemoverAI.MaxPixels, "ximilar": &c.Ximilar.MaxPixels,
	} {
		if *pixels == 0 || *pixels > most {
			if *pixels > most {
				log.Warn("there is no memory for pictures as large as the limit allows", "dialect", name, "limit", *pixels, "pixels", most)
			}
			*pixels = most
		}
	}
}

// inBackground runs pictures of jobs when nobody waits for an answer.
type inBackground struct{ dialect.Processor }

func (b inBackground) Run(ctx context.Context, image []byte, o pipeline.Options) (*pipeline.Result, error) {
	return b.Processor.Run(admission.InBackground(ctx), image, o)
}

// serverStats puts the moment's view of the server together for the metrics.
func serverStats(engine *loader, server *handlers.Server) metrics.ServerStats {
	s := engine.admission.Stats()
	out := metrics.ServerStats{
		Slots: s.Slots, Running: map[string]int{}, Waiting: map[string]int{}, Expected: s.Wait, Overloaded: s.Overloaded,
		Memory: s.Memory, MemoryLimit: s.MemoryLimit, Bodies: s.Bodies, BodiesLimit: s.BodiesLimit,
	}
	for _, class := range []admission.Class{admission.Interactive, admission.Background} {
		out.Running[class.String()], out.Waiting[class.String()] = s.Running[class], s.Waiting[class]
	}
	if engine.ready() {
		out.Arenas = engine.pipeline.IdleBytes()
	}
	if server != nil {
		out.Connections, out.ConnectionsWaiting, out.ConnectionsDropped = server.Connections()
	}
	return out
}

// openTracer sets tracing up where the environment asks for it; nil where it does not.
func openTracer(ctx context.Context, version string, log *slog.Logger) (*tracing.Tracer, error) {
	wanted, err := config.Tracing()
	if err != nil || !wanted {
		return nil, err
	}
	return tracing.Open(ctx, version, log)
}

// closeTimeout is how long a collector that does not answer holds up the end of the program.
const closeTimeout = 3 * time.Second

func closeTracer(ctx context.Context, t *tracing.Tracer, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := t.Close(ctx); err != nil {
		log.Warn("tracing", "error", err.Error())
	}
}

// pprofTimeout bounds the header of a request for a profile; the profile itself takes as long as is asked for.
const pprofTimeout = 10 * time.Second

// servePprof serves profiles until ctx ends. An empty address serves none.
func servePprof(ctx context.Context, addr string, log *slog.Logger) error {
	if addr == "" {
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listen on %s for profiles: %w", addr, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: pprofTimeout}
	log.Info("profiles", "addr", l.Addr().String())
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("profiles", "error", err.Error())
		}
	}()
	context.AfterFunc(ctx, func() { _ = server.Close() })
	return nil
}
