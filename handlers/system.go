package handlers

import (
	"context"
	"net/http"
	"time"

	"cutout/handlers/dialect"
)

// readyTimeout bounds the checks behind one call of /readyz, so that a probe always has its answer.
const readyTimeout = 5 * time.Second

// system lists the routes that belong to no dialect.
func (s *Server) system() []dialect.Route {
	route := func(path string, serve func(http.ResponseWriter, *dialect.Request) error) dialect.Route {
		return dialect.Route{
			Dialect: systemDialect, Method: http.MethodGet, Path: path, Serve: serve, Fail: failDetail,
			Keyless: true, Quiet: true,
		}
	}
	exposition := s.cfg.Metrics.Handler()
	return []dialect.Route{
		route("/healthz", func(w http.ResponseWriter, _ *dialect.Request) error {
			return dialect.WriteJSON(w, http.StatusOK, health{Status: "ok", Version: s.cfg.Version})
		}),
		route("/readyz", s.ready),
		route("/metrics", func(w http.ResponseWriter, r *dialect.Request) error {
			exposition.ServeHTTP(w, r.Request)
			return nil
		}),
		route("/openapi.yaml", func(w http.ResponseWriter, _ *dialect.Request) error {
			w.Header().Set("Content-Type", "application/yaml")
			_, err := w.Write(s.cfg.OpenAPI)
			return err
		}),
	}
}

type health struct {
	Status  string `json:"status"`
	Version string `json:"version"`
}

type readiness struct {
	Status string            `json:"status"` // "ready", "not ready" or "stopping"
	Checks map[string]string `json:"checks"` // "ok" or what is wrong
}

func (s *Server) ready(w http.ResponseWriter, r *dialect.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	state, status := s.readiness(ctx)
	return dialect.WriteJSON(w, status, state)
}

// readiness runs the checks. status is the one to answer a probe with.
func (s *Server) readiness(ctx context.Context) (state readiness, status int) {
	state, status = readiness{Status: "ready", Checks: map[string]string{}}, http.StatusOK
	for _, check := range s.cfg.Checks {
		state.Checks[check.Name] = "ok"
		if err := check.Run(ctx); err != nil {
			state.Checks[check.Name] = err.Error()
			if check.Optional {
				continue
			}
			state.Status, status = "not ready", http.StatusServiceUnavailable
		}
	}
	if s.stopping.Load() {
		state.Status, status = "stopping", http.StatusServiceUnavailable
	}
	return state, status
}

// failDetail writes an error as the routes of no dialect do.
func failDetail(w http.ResponseWriter, e *dialect.Error) {
	_ = dialect.WriteJSON(w, e.Status, struct { // a client that is gone cannot be told so
		Detail string `json:"detail"`
	}{e.Public})
}
