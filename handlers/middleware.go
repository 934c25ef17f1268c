package handlers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"cutout/handlers/dialect"
	"cutout/metrics"
	"cutout/tracing"
)

const (
	requestIDHeader = "X-Request-ID"
	maxRequestID    = 128
	infoKey         = "info"
	systemDialect   = "system"
	unmatched       = "unmatched" // the route label of paths that lead nowhere
)

// info is what the server keeps about a request while it is answered.
type info struct {
	log     *slog.Logger
	record  dialect.Record
	route   dialect.Route
	status  int // where it is not the reply's
	client  netip.Addr
	id      string
	span    *tracing.Span
	key     string // name of the key that the request came with
	limited bool   // the key's limit was reached
}

func infoOf(c echo.Context) *info {
	i, ok := c.Get(infoKey).(*info)
	if !ok { // every request passes observe first
		panic("handlers: a request without its info")
	}
	return i
}

// observe gives a request its id, bounds its reading and writing in time, survives its panics, and reports on it.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := time.Now()
		endInFlight := s.cfg.Metrics.Begin()
		r, res := c.Request(), c.Response()
		addr := client(r, s.cfg.Server.TrustedProxies)

		id := requestID(r)
		res.Header().Set(requestIDHeader, id)
		i := &info{
			log:    s.cfg.Log.With("request_id", id),
			route:  dialect.Route{Dialect: systemDialect, Path: unmatched},
			client: addr,
			id:     id,
		}
		i.record.Header = res.Header()
		c.Set(infoKey, i)
		if s.cfg.Tracer != nil {
			var ctx context.Context
			ctx, i.span = s.cfg.Tracer.Begin(r.Context(), r.Header, r.Method)
			r = r.WithContext(ctx)
			c.SetRequest(r)
		}

		control := http.NewResponseController(res.Writer)
		hasBody := r.Body != nil && r.Body != http.NoBody
		bodyHasCome, endConn := s.conns.begin(r.Context(), hasBody)
		defer endConn()
		body := &timedBody{ReadCloser: r.Body, control: control, done: !hasBody, ended: bodyHasCome}
		if hasBody {
			r.Body = body
			_ = control.SetReadDeadline(start.Add(s.cfg.Server.BodyTimeout)) // recorders in tests know no deadline
		}
		res.Before(func() {
			_ = control.SetWriteDeadline(time.Now().Add(s.cfg.Server.WriteTimeout))
		})

		abort := s.guard(c, next)

		status := res.Status
		if i.status != 0 {
			status = i.status
		}
		endInFlight()
		s.report(r, i, status, time.Since(start), body.n, res.Size)
		if abort {
			panic(http.ErrAbortHandler) // net/http breaks the connection without a word in the log
		}
		return nil
	}
}

// guard runs the request and turns a panic into a 500 of the route's shape. It tells whether the connection must be
// broken, because the client is gone or half a reply is out.
func (s *Server) guard(c echo.Context, next echo.HandlerFunc) (abort bool) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		i := infoOf(c)
		if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			abort = true
			return
		}
		s.cfg.Metrics.Panic()
		i.log.Error("panic", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		i.record.Fail(dialect.ReasonPanic, fmt.Errorf("panic: %v", p))
		if c.Response().Committed {
			abort = true
			return
		}
		fail := i.route.Fail
		if fail == nil {
			fail = failDetail
		}
		// What the route has set for the reply it never wrote must not describe this one.
		for _, name := range []string{"Content-Length", "Content-Encoding", "Content-Disposition", "ETag"} {
			c.Response().Header().Del(name)
		}
		fail(c.Response(), &dialect.Error{
			Status: http.StatusInternalServerError, Reason: dialect.ReasonPanic, Public: "Internal server error.",
		})
	}()
	if err := next(c); err != nil {
		s.unrouted(err, c)
	}
	return false
}

// report writes the access log and the metrics of one request.
func (s *Server) report(r *http.Request, i *info, status int, took time.Duration, received, sent int64) {
	s.cfg.Metrics.Observe(metrics.Request{
		Dialect: i.route.Dialect, Route: i.route.Path, Code: status, Duration: took, Received: received, Sent: sent,
	})
	stages := make([]any, 0, len(i.record.Stages))
	for _, stage := range i.record.Stages {
		s.cfg.Metrics.Stage(stage.Name, stage.Duration)
		i.span.Stage(stage.Name, stage.Start, stage.Duration)
		if stage.Name == metrics.StageInfer {
			s.cfg.Metrics.Inference(i.record.Model, stage.Duration)
		}
		stages = append(stages, slog.Float64(stage.Name+"_ms", milliseconds(stage.Duration)))
	}
	i.span.End(tracing.Request{
		Method: r.Method, Route: i.route.Path, Dialect: i.route.Dialect, Status: status, Reason: i.record.Reason,
		Model: i.record.Model, Pixels: i.record.Pixels, Client: i.client.String(), RequestID: i.id,
	})
	if i.record.Reason != "" {
		s.cfg.Metrics.Failure(i.route.Dialect, i.record.Reason)
	}
	if i.record.Rejected != "" {
		s.cfg.Metrics.Rejected(i.record.Rejected)
	}

	level := slog.LevelInfo
	switch {
	case i.record.Reason == "" && i.route.Quiet: // a probe that is told no is no error either
		level = slog.LevelDebug
	case i.record.Reason == dialect.ReasonOverload: // what is meant to happen, and often
		level = slog.LevelWarn
	case status >= http.StatusInternalServerError:
		level = slog.LevelError
	}
	if i.key != "" {
		s.cfg.Metrics.Key(i.key, i.record.Pixels, i.limited)
	}
	// The path and not the whole URL: a query may hold a key. So may a part of a path that is a parameter.
	path := r.URL.Path
	if strings.Contains(i.route.Path, "{") {
		path = i.route.Path
	}
	attrs := []slog.Attr{
		slog.String("method", r.Method), slog.String("path", path), slog.String("dialect", i.route.Dialect),
		slog.Int("status", status), slog.Float64("duration_ms", milliseconds(took)),
		slog.Int64("received", received), slog.Int64("sent", sent), slog.String("remote", r.RemoteAddr),
	}
	if peer := parseAddr(r.RemoteAddr); i.client.IsValid() && i.client != peer {
		attrs = append(attrs, slog.String("client", i.client.String()))
	}
	if i.key != "" {
		attrs = append(attrs, slog.String("key", i.key))
	}
	if id := i.span.ID(); id != "" {
		attrs = append(attrs, slog.String("trace_id", id))
	}
	if len(stages) > 0 {
		attrs = append(attrs, slog.Group("stages", stages...))
	}
	attrs = append(attrs, i.record.Attrs...)
	if i.record.Reason != "" {
		attrs = append(attrs, slog.String("reason", i.record.Reason))
	}
	if i.record.Cause != nil {
		attrs = append(attrs, slog.String("cause", i.record.Cause.Error()))
	}
	i.log.LogAttrs(context.WithoutCancel(r.Context()), level, "request", attrs...)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// requestID takes over the id that a proxy or client gave the request, if it is fit for a log line, or makes one.
func requestID(r *http.Request) string {
	id := r.Header.Get(requestIDHeader)
	if id == "" || len(id) > maxRequestID {
		return newRequestID()
	}
	for _, b := range []byte(id) {
		if b <= ' ' || b > '~' || b == '"' || b == '\\' {
			return newRequestID()
		}
	}
	return id
}

// newRequestID makes a random UUID (RFC 9562, version 4), the form in which services hand out theirs.
func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// timedBody counts what is read, and lifts the deadline for reading once everything is there: a deadline that passed
// later would look like a client that went away.
type timedBody struct {
	io.ReadCloser
	control *http.ResponseController
	n       int64
	done    bool   // all of it has come
	ended   func() // told once that it has
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	if errors.Is(err, io.EOF) && !b.done {
		b.done = true
		_ = b.control.SetReadDeadline(time.Time{})
		b.ended()
	}
	return n, err
}
