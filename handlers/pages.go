package handlers

import (
	"context"
	"errors"
	"net/http"
	"time"

	"cutout/handlers/dialect"
	"cutout/web"
)

// pagesDialect names the pages in metrics and the log.
const pagesDialect = "web"

// Engine tells what finds the subjects, for people who look at the status page.
type Engine struct {
	Model     string // in use, by its catalogue name; empty while it is loaded
	Kernels   string // instruction set in use; empty while the model is loaded
	Precision string
	CPUs      int // cores that may be used
	Models    []Model
}

// Model is a network that the program knows.
type Model struct {
	Name      string `json:"name"`
	Installed bool   `json:"installed"`
	Active    bool   `json:"active"`
	Bytes     int64  `json:"bytes"`
	Licence   string `json:"licence"`
	Source    string `json:"source"` // URL of where it comes from
}

// pages lists the routes for people in front of a browser; there are none where they are not wanted.
func (s *Server) pages() ([]dialect.Route, error) {
	if s.cfg.Server.NoWeb {
		return nil, nil
	}
	site, err := web.New()
	if err != nil {
		return nil, err
	}
	started := time.Now()
	var routes []dialect.Route
	for _, path := range web.Paths() {
		routes = append(routes, dialect.Route{
			Dialect: pagesDialect, Method: http.MethodGet, Path: path, Fail: failDetail, Keyless: true, Quiet: true,
			Serve: func(w http.ResponseWriter, r *dialect.Request) error {
				err := site.Serve(w, r.Request)
				if errors.Is(err, web.ErrNotFound) {
					return &dialect.Error{Status: http.StatusNotFound, Reason: dialect.ReasonNotFound, Public: "Not Found", Err: err}
				}
				return err
			},
		})
	}
	return append(routes, dialect.Route{
		Dialect: pagesDialect, Method: http.MethodGet, Path: "/status.json", Fail: failDetail, Keyless: true, Quiet: true,
		Serve: func(w http.ResponseWriter, r *dialect.Request) error { return s.status(w, r, time.Since(started)) },
	}), nil
}

type statusReply struct {
	readiness

	Version   string      `json:"version"`
	Uptime    int64       `json:"uptime_seconds"`
	Keys      bool        `json:"keys"` // one is needed
	Model     string      `json:"model"`
	Kernels   string      `json:"kernels"`
	Precision string      `json:"precision"`
	CPUs      int         `json:"cpus"`
	Models    []Model     `json:"models"`
	Queue     *queueReply `json:"queue"` // null where there is no store
}

type queueReply struct {
	Kinds map[string]kindReply `json:"kinds"`
	Bytes int64                `json:"store_bytes"`
}

type kindReply struct {
	Waiting int      `json:"waiting"`
	Running int      `json:"running"`
	Oldest  *float64 `json:"oldest_seconds,omitempty"` // since the oldest job that has not ended was handed in
}

// status tells how the server is, whatever that is: it answers 200 where /readyz says no.
func (s *Server) status(w http.ResponseWriter, r *dialect.Request, uptime time.Duration) error {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	state, _ := s.readiness(ctx)
	out := statusReply{
		readiness: state, Version: s.cfg.Version, Uptime: int64(uptime / time.Second),
		Keys: s.cfg.Access.APIKeys != "" || s.cfg.Access.RapidAPISecret != "", Models: []Model{}, Queue: s.queue(ctx),
	}
	if s.cfg.Engine != nil {
		e := s.cfg.Engine()
		out.Model, out.Kernels, out.Precision, out.CPUs = e.Model, e.Kernels, e.Precision, e.CPUs
		out.Models = append(out.Models, e.Models...)
	}
	w.Header().Set("Cache-Control", "no-store")
	return dialect.WriteJSON(w, http.StatusOK, out)
}

// queue is nil where the store cannot be asked; the checks say why.
func (s *Server) queue(ctx context.Context) *queueReply {
	if s.cfg.Jobs == nil {
		return nil
	}
	stats, err := s.cfg.Jobs.Stats(ctx)
	if err != nil {
		return nil
	}
	out := &queueReply{Kinds: map[string]kindReply{}, Bytes: stats.Bytes}
	for kind, waiting := range stats.Waiting {
		k := kindReply{Waiting: waiting, Running: stats.Running[kind]}
		if oldest, ok := stats.Oldest[kind]; ok {
			age := max(0, time.Since(oldest).Seconds())
			k.Oldest = &age
		}
		out.Kinds[kind] = k
	}
	return out
}
