// Package tracing tells a collector what requests spend their time on, by OpenTelemetry's protocol over HTTP.
//
// It is set up by OpenTelemetry's own environment variables and costs nothing without them.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Tracer makes spans. A nil one makes none. It is safe for concurrent use.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	context  propagation.TraceContext
}

// Open sets up the export of spans as the environment says. Whether it wants any has been looked at before.
func Open(ctx context.Context, version string, log *slog.Logger) (*Tracer, error) {
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "cutout"), attribute.String("service.version", version)),
		resource.WithFromEnv(), // may give another name
		resource.WithTelemetrySDK(),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("tracing: %w", err), exporter.Shutdown(ctx))
	}
	// What goes wrong with a collector is told, and harms no request.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("tracing", "error", err.Error()) }))
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(about))
	return &Tracer{provider: provider, tracer: provider.Tracer("cutout")}, nil
}

// Close sends what is left, for as long as ctx lets it.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// Span is one request. A nil one takes no notice.
type Span struct {
	tracer *Tracer
	ctx    context.Context //nolint:containedctx // that of the spans below it
	span   trace.Span
}

// Begin starts the span of a request, below that of its client where it names one. It gives a context that carries it.
func (t *Tracer) Begin(ctx context.Context, header http.Header, method string) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	ctx = t.context.Extract(ctx, propagation.HeaderCarrier(header))
	ctx, span := t.tracer.Start(ctx, method, trace.WithSpanKind(trace.SpanKindServer))
	return ctx, &Span{tracer: t, ctx: ctx, span: span}
}

// Request is what a span tells of a request.
type Request struct {
	Method, Route, Dialect string
	Status                 int
	Reason                 string // why there is no result; empty for success
	Model                  string
	Pixels                 int64
	Client                 string
	RequestID              string
}

// ID names the trace; empty where there is none.
func (s *Span) ID() string {
	if s == nil || !s.span.SpanContext().HasTraceID() {
		return ""
	}
	return s.span.SpanContext().TraceID().String()
}

// Stage adds a span of a part of the request that has ended.
func (s *Span) Stage(name string, start time.Time, took time.Duration) {
	if s == nil || start.IsZero() {
		return
	}
	_, span := s.tracer.tracer.Start(s.ctx, name, trace.WithTimestamp(start))
	span.End(trace.WithTimestamp(start.Add(took)))
}

// End ends the span. Names of attributes are those of OpenTelemetry's conventions for HTTP, where there are any.
func (s *Span) End(r Request) {
	if s == nil {
		return
	}
	s.span.SetName(r.Method + " " + r.Route)
	s.span.SetAttributes(
		attribute.String("http.request.method", r.Method), attribute.String("http.route", r.Route),
		attribute.Int("http.response.status_code", r.Status), attribute.String("client.address", r.Client),
		attribute.String("cutout.dialect", r.Dialect), attribute.String("cutout.request_id", r.RequestID),
	)
	if r.Model != "" {
		s.span.SetAttributes(attribute.String("cutout.model", r.Model), attribute.Int64("cutout.pixels", r.Pixels))
	}
	if r.Reason != "" {
		s.span.SetAttributes(attribute.String("error.type", r.Reason))
	}
	if r.Status >= http.StatusInternalServerError {
		s.span.SetStatus(codes.Error, r.Reason)
	}
	s.span.End()
}
