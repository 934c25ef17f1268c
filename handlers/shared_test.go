package handlers

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"cutout/config"
	"cutout/fetch"
	"cutout/handlers/dialect"
	"cutout/metrics"
	"cutout/pipeline"
)

type unused struct{}

func (unused) Run(context.Context, []byte, pipeline.Options) (*pipeline.Result, error) {
	panic("not asked for here")
}

func (unused) Get(context.Context, string, int64) (*fetch.Result, error) {
	panic("not asked for here")
}

// Dialects that share a method and path are told apart by what the request holds, and each fails in its own shape.
func TestDialectsShareAPath(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	s, err := New(Config{
		Server: config.Server{
			Addr: ":0", HeaderTimeout: time.Second, BodyTimeout: time.Second, RequestTimeout: time.Second, WriteTimeout: time.Second,
			IdleTimeout: time.Second, ShutdownTimeout: time.Second, MaxHeader: 1 << 16,
		},
		API4AI:    config.Limits{MaxRequest: 1 << 20},
		RemoveBG:  config.RemoveBG{Pictures: config.Pictures{MaxRequest: 1 << 20}, Size: "auto"},
		APISphere: config.Pictures{MaxRequest: 1 << 20}, Rembg: config.Pictures{MaxRequest: 1 << 20},
		PhotoRoom: config.Pictures{MaxRequest: 1 << 20},
		Version:   "v1.0.0", OpenAPI: []byte("openapi: 3.0.3"), Processor: unused{}, Fetcher: unused{},
		Metrics: metrics.New(metrics.Build{}), Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	route := func(name string, maxBody int64) dialect.Route {
		return dialect.Route{
			Dialect: name, Method: http.MethodPost, Path: "/jobs/{id}", MaxBody: maxBody, Fields: []string{name},
			Serve: func(w http.ResponseWriter, r *dialect.Request) error {
				form, err := r.Form()
				if err != nil {
					return err
				}
				field, _ := form.Get("uuid", "image")
				_, err = io.WriteString(w, name+" "+r.PathValue("id")+" "+field.Text())
				return err
			},
			Fail: func(w http.ResponseWriter, e *dialect.Error) {
				w.WriteHeader(e.Status)
				_, _ = io.WriteString(w, name+" says no")
			},
		}
	}
	all, polls := route("all", 100), route("polls", 10)
	polls.Claims = func(r *dialect.Request) bool {
		form, err := r.Form()
		if err != nil {
			return false
		}
		_, ok := form.Get("uuid")
		return ok
	}
	groups := groupRoutes([]dialect.Route{all, polls, {Method: http.MethodGet, Path: "/jobs/{id}"}})
	if len(groups) != 2 || len(groups[0]) != 2 {
		t.Fatalf("%d groups", len(groups))
	}
	e := echo.New()
	e.Use(s.observe)
	e.POST(echoPath("/jobs/{id}"), s.serve(groups[0]))

	for body, want := range map[string]string{
		"uuid=1":                            "polls 7 1",
		"image=2":                           "all 7 2",
		"other=3":                           "all 7 ",
		"image=" + strings.Repeat("x", 100): "all says no",
	} {
		r := httptest.NewRequest(http.MethodPost, "/jobs/7", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		rec := httptest.NewRecorder()
		e.ServeHTTP(rec, r)
		if rec.Body.String() != want {
			t.Errorf("%.20q: %d %q, want %q", body, rec.Code, rec.Body, want)
		}
	}
}
