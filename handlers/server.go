// Package handlers is the HTTP server: everything around the dialects, and the only place that knows the framework.
//
// A request passes, from the outside in: request id, access log and metrics, panic guard, body and time bounds, its
// dialect's route. Dialects hand back errors; the server writes them in the shape of the route.
package handlers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"cutout/admission"
	"cutout/cache"
	"cutout/config"
	"cutout/handlers/access"
	"cutout/handlers/api4ai"
	"cutout/handlers/apisphere"
	"cutout/handlers/backgroundremoverai"
	"cutout/handlers/dialect"
	"cutout/handlers/hosted"
	"cutout/handlers/photoroom"
	"cutout/handlers/rembg"
	"cutout/handlers/removebg"
	"cutout/handlers/webhook"
	"cutout/handlers/ximilar"
	"cutout/jobs"
	"cutout/metrics"
	"cutout/tracing"
)

// Config is what a server is built from. Every field but Checks is needed.
type Config struct {
	Server    config.Server
	Access    config.Access
	API4AI    config.Limits
	RemoveBG  config.RemoveBG
	APISphere config.Pictures
	Rembg     config.Pictures
	PhotoRoom config.Pictures

	BackgroundRemoverAI config.BackgroundRemoverAI
	Ximilar             config.Ximilar
	Jobs                *jobs.Service              // nil: the dialects that need it are not served
	Webhooks            *webhook.Hooks             // nil: nobody is called back
	Video               *backgroundremoverai.Video // nil: clips are refused
	PublicURL           string                     // under which clients reach the server; empty: each request tells

	Version   string // of the API, as vX.Y.Z
	OpenAPI   []byte // the contract, as YAML
	Processor dialect.Processor
	Fetcher   dialect.Fetcher
	Metrics   *metrics.Metrics
	Log       *slog.Logger
	Engine    func() Engine         // nil: the status page tells nothing of it
	Tracer    *tracing.Tracer       // nil: nothing is traced
	Admission *admission.Controller // the processor's; nil: nobody is turned away before the processor does
	Checks    []Check               // what must hold before /readyz says yes
}

// Check is one condition of readiness. Run returns nil once it holds.
type Check struct {
	Name string
	Run  func(context.Context) error
	// Optional conditions are told of and decide nothing: what depends on them is refused, all else is served.
	Optional bool
}

// Server answers HTTP requests.
type Server struct {
	cfg      Config
	echo     *echo.Echo
	http     *http.Server
	gate     *access.Gate
	conns    *conns
	clients  *clients
	routes   []dialect.Route
	byPath   map[string]dialect.Route // a route of each path, for the shape of its errors
	stopping atomic.Bool
}

// New builds a server; Serve or Handler puts it to work.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.Processor == nil, cfg.Fetcher == nil, cfg.Metrics == nil, cfg.Log == nil:
		return nil, errors.New("handlers: processor, fetcher, metrics and log are needed")
	case len(cfg.OpenAPI) == 0:
		return nil, errors.New("handlers: the OpenAPI document is empty")
	}
	if err := cfg.Server.Validate(); err != nil {
		return nil, err
	}
	if err := errors.Join(
		cfg.Access.Validate(), cfg.API4AI.Validate("api4ai-"), cfg.RemoveBG.Validate("removebg-"),
		cfg.APISphere.Validate("apisphere-"), cfg.Rembg.Validate("rembg-"), cfg.PhotoRoom.Validate("photoroom-"),
	); err != nil {
		return nil, err
	}
	if cfg.Jobs != nil {
		if err := errors.Join(cfg.BackgroundRemoverAI.Validate("backgroundremoverai-"), cfg.Ximilar.Validate("ximilar-")); err != nil {
			return nil, err
		}
	}
	gate, err := access.Open(access.Config{File: cfg.Access.APIKeys, ProxySecret: cfg.Access.RapidAPISecret, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	cfg.Processor = pinning{cfg.Processor}
	s := &Server{
		cfg: cfg, gate: gate, byPath: map[string]dialect.Route{},
		conns: newConns(cfg.Server.MaxConnections), clients: newClients(cfg.Server.ClientRate),
	}

	var files *hosted.API
	if cfg.Jobs != nil {
		files = hosted.New(cfg.Jobs, strings.TrimRight(cfg.PublicURL, "/"))
	}
	// One line a dialect.
	s.routes = slices.Concat(
		s.system(),
		api4ai.New(api4ai.Config{Limits: cfg.API4AI, Version: cfg.Version, Files: files}, cfg.Processor, cfg.Fetcher).Routes(),
		removebg.New(cfg.RemoveBG, cfg.Processor, cfg.Fetcher).Routes(),
		apisphere.New(cfg.APISphere, cfg.Processor).Routes(),
		rembg.New(cfg.Rembg, cfg.Processor, cfg.Fetcher).Routes(),
		photoroom.New(cfg.PhotoRoom, cfg.Processor).Routes(),
	)
	if cfg.Jobs != nil {
		s.routes = slices.Concat(s.routes,
			files.Routes(),
			backgroundremoverai.New(cfg.BackgroundRemoverAI, cfg.Jobs, cfg.Webhooks).WithVideo(cfg.Video).Routes(),
			ximilar.New(cfg.Ximilar, cfg.Jobs, files, cfg.Webhooks, cfg.Processor, cfg.Fetcher).Routes(),
		)
	}

	pages, err := s.pages()
	if err != nil {
		return nil, err
	}
	s.routes = append(s.routes, pages...)

	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = s.unrouted
	e.Use(s.observe, s.cors)
	for _, group := range groupRoutes(s.routes) {
		s.byPath[group[0].Path] = group[len(group)-1]
		e.Add(group[0].Method, echoPath(group[0].Path), s.serve(group))
		if group[0].Method == http.MethodGet {
			e.Add(http.MethodHead, echoPath(group[0].Path), s.serve(group)) // net/http leaves the body out
		}
	}
	s.echo = e
	s.http = &http.Server{
		Handler:           e,
		ReadHeaderTimeout: cfg.Server.HeaderTimeout,
		IdleTimeout:       cfg.Server.IdleTimeout,
		MaxHeaderBytes:    int(cfg.Server.MaxHeader),
		ErrorLog:          log.New(connLog{cfg.Log}, "", 0),
		ConnContext:       s.conns.context,
		ConnState:         s.conns.state,
	}
	return s, nil
}

// connLog puts what net/http has to say about connections into the log.
type connLog struct{ log *slog.Logger }

func (l connLog) Write(p []byte) (int, error) {
	l.log.Debug("connection", "error", strings.TrimSpace(string(p)))
	return len(p), nil
}

// groupRoutes gathers the routes that share a method and path, those that take everything last.
func groupRoutes(routes []dialect.Route) [][]dialect.Route {
	var groups [][]dialect.Route
	for _, r := range routes {
		i := slices.IndexFunc(groups, func(g []dialect.Route) bool { return g[0].Method == r.Method && g[0].Path == r.Path })
		switch {
		case i < 0:
			groups = append(groups, []dialect.Route{r})
		case r.Claims != nil:
			groups[i] = slices.Insert(groups[i], 0, r)
		default:
			groups[i] = append(groups[i], r)
		}
	}
	return groups
}

// echoPath writes {name} the way the framework wants it.
func echoPath(path string) string {
	return strings.NewReplacer("{", ":", "}", "").Replace(path)
}

// Routes lists what is served, for tests that hold it against the OpenAPI document.
func (s *Server) Routes() []dialect.Route { return slices.Clone(s.routes) }

// Handler is the server without its listener.
func (s *Server) Handler() http.Handler { return s.echo }

// Serve answers on l until ctx ends, then finishes what it has accepted: /readyz says no during the shutdown delay,
// new connections are refused after it, and requests in flight have the shutdown timeout to end. Serve closes l. It
// returns nil after a clean stop.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	failed := make(chan error, 1)
	go func() { failed <- s.http.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	s.stopping.Store(true)
	s.cfg.Log.Info("stopping", "timeout", s.cfg.Server.ShutdownTimeout.String())
	if s.cfg.Server.ShutdownDelay > 0 {
		time.Sleep(s.cfg.Server.ShutdownDelay)
	}
	// The caller's context has ended; the requests it must not take along get one of their own.
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Server.ShutdownTimeout)
	defer cancel()
	err := s.http.Shutdown(grace)
	if err != nil {
		_ = s.http.Close() // ends what is left; the error that counts is Shutdown's
		err = fmt.Errorf("requests were still running %v after the stop: %w", s.cfg.Server.ShutdownTimeout, err)
	}
	if stopped := <-failed; err == nil && !errors.Is(stopped, http.ErrServerClosed) {
		err = stopped
	}
	return err
}

// serve answers with one of the routes of a group.
func (s *Server) serve(group []dialect.Route) echo.HandlerFunc {
	var (
		maxBody int64
		claimed int64 // a larger body is no other's than the last route's
		fields  []string
	)
	for _, r := range group {
		if r.Claims != nil {
			claimed = max(claimed, r.MaxBody)
		}
		maxBody = max(maxBody, r.MaxBody)
		fields = append(fields, r.Fields...)
	}
	return func(c echo.Context) error {
		r := c.Request()
		for i, name := range c.ParamNames() {
			r.SetPathValue(name, c.ParamValues()[i])
		}
		ctx, cancel := context.WithTimeout(admission.Visit(r.Context()), s.cfg.Server.RequestTimeout)
		defer cancel()

		original := r.Body
		r = r.WithContext(ctx)
		if maxBody > 0 {
			// The limit tells the connection itself to close, so it needs the writer below the framework's.
			r.Body = http.MaxBytesReader(c.Response().Writer, r.Body, maxBody)
		}
		info := infoOf(c)
		route := group[len(group)-1]
		if route.Computes && s.cfg.Admission != nil {
			body := &metered{ReadCloser: r.Body, admission: s.cfg.Admission}
			defer body.free()
			r.Body = body
		}
		req := dialect.NewRequest(r, info.log, &info.record, fields)
		if maxBody > 0 && r.ContentLength > maxBody {
			// Answered from the header alone: a client that asks first need not send anything.
			return s.fail(c, route, original, &dialect.Error{
				Status: http.StatusRequestEntityTooLarge, Reason: dialect.ReasonBodyTooLarge,
				Public: fmt.Sprintf("The request body is too large, at most %d bytes are taken.", maxBody),
			})
		}
		// Who does not say how much it sends is not one of those who send little.
		looked := len(group) == 1 || r.ContentLength > claimed || r.ContentLength < 0
		if looked {
			if busy := s.door(route); busy != nil {
				return s.fail(c, route, original, busy)
			}
		}
		for _, candidate := range group {
			if candidate.Claims == nil || candidate.Claims(req) {
				route = candidate
				break
			}
		}
		info.route = route
		if !looked {
			if busy := s.door(route); busy != nil {
				return s.fail(c, route, original, busy)
			}
		}
		if !route.Keyless {
			if err := s.clients.admit(info.client, time.Now()); err != nil {
				return s.fail(c, route, original, classify(r, err))
			}
			pass, err := s.admit(c, req)
			if err != nil {
				return s.fail(c, route, original, classify(r, err))
			}
			defer func() { pass.Charge(info.record.Pixels) }()
		}
		if err := route.Serve(c.Response(), req); err != nil {
			return s.fail(c, route, original, classify(r, err))
		}
		return nil
	}
}

// admit asks the gate, and tells the client what its key has left where that is limited.
func (s *Server) admit(c echo.Context, r *dialect.Request) (access.Pass, error) {
	pass, err := s.gate.Admit(r.Request)
	info := infoOf(c)
	info.key, info.limited = pass.Name, err != nil
	r.Quota = pass.Quota
	r.Request = r.WithContext(cache.WithScope(withPin(r.Context(), r.Header), pass.Name))
	if q := pass.Quota; q.Limit > 0 {
		header := c.Response().Header()
		header.Set("X-Ratelimit-Limit", strconv.FormatInt(q.Limit, 10))
		header.Set("X-Ratelimit-Remaining", strconv.FormatInt(q.Remaining, 10))
		header.Set("X-Ratelimit-Reset", strconv.FormatInt(q.Reset.Unix(), 10))
	}
	return pass, err
}

// classify makes an *dialect.Error of whatever a route failed with.
func classify(r *http.Request, err error) *dialect.Error {
	var known *dialect.Error
	switch {
	case errors.As(err, &known):
		return known
	case dialect.Refusal(err) != nil:
		return dialect.Refusal(err)
	case errors.Is(r.Context().Err(), context.Canceled):
		return &dialect.Error{Status: dialect.StatusClientGone, Reason: dialect.ReasonClientGone, Err: err}
	case errors.Is(r.Context().Err(), context.DeadlineExceeded):
		return &dialect.Error{
			Status: http.StatusServiceUnavailable, Reason: dialect.ReasonTimeout, Public: "The request took too long.",
			RetryAfter: time.Second, Err: err,
		}
	default:
		return &dialect.Error{
			Status: http.StatusInternalServerError, Reason: dialect.ReasonInternal, Public: "Internal server error.", Err: err,
		}
	}
}

// How much of a body that is not wanted is read after the reply, and for how long. Most clients look for a reply only
// once they have sent everything, and lose it when the connection breaks before.
const (
	shortBody   = 256 << 10 // is read to its end, and the connection kept
	lingerBytes = 64 << 20
	lingerTime  = 5 * time.Second
)

// fail writes an error in the shape of its route.
func (s *Server) fail(c echo.Context, route dialect.Route, body io.Reader, e *dialect.Error) error {
	info := infoOf(c)
	info.route = route
	res := c.Response()
	if res.Committed {
		info.record.Fail(dialect.ReasonReplyBroken, e.Err)
		panic(http.ErrAbortHandler) // half a reply is out: breaking the connection is all that tells the client
	}
	info.record.Fail(e.Reason, e.Err)
	if e.Status == dialect.StatusClientGone {
		info.status = e.Status
		panic(http.ErrAbortHandler)
	}
	if e.RetryAfter > 0 {
		res.Header().Set("Retry-After", fmt.Sprint(int(max(time.Second, e.RetryAfter).Round(time.Second)/time.Second)))
	}
	// A body that is still on its way must not hold the reply up, nor break the connection under it.
	control := http.NewResponseController(res.Writer)
	sent, hasBody := body.(*timedBody)
	linger := e.Status == http.StatusRequestEntityTooLarge || hasBody && !sent.done
	if linger {
		_ = control.EnableFullDuplex() // HTTP/1: net/http would read on before it replies; elsewhere it never does
		asked := c.Request().Header.Get("Expect") != ""
		if length := c.Request().ContentLength; asked || length < 0 || length > shortBody {
			res.Header().Set("Connection", "close")
		}
		if asked { // it waits for our word before it sends anything
			linger = false
			_ = control.SetReadDeadline(time.Now().Add(lingerTime))
		}
	}
	route.Fail(res, e)
	if linger {
		res.Flush()
		_ = control.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, body, lingerBytes)
	}
	return nil
}

// unrouted answers what has no route.
func (s *Server) unrouted(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	e := &dialect.Error{
		Status: http.StatusInternalServerError, Reason: dialect.ReasonInternal, Public: "Internal server error.", Err: err,
	}
	route := dialect.Route{Dialect: systemDialect, Path: unmatched, Fail: failDetail}
	if httpErr, ok := errors.AsType[*echo.HTTPError](err); ok {
		switch httpErr.Code {
		case http.StatusMethodNotAllowed:
			e = &dialect.Error{Status: httpErr.Code, Reason: dialect.ReasonMethod, Public: "Method Not Allowed"}
			for path, r := range s.byPath {
				if echoPath(path) == c.Path() {
					route = r
				}
			}
		default:
			e = &dialect.Error{Status: http.StatusNotFound, Reason: dialect.ReasonNotFound, Public: "Not Found"}
		}
	}
	_ = s.fail(c, route, http.NoBody, e)
}
