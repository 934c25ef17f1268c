package handlers

import (
	"errors"
	"io"
	"net/http"
	"time"

	"cutout/admission"
	"cutout/handlers/dialect"
)

// door turns a request away before its body is read, where there would be no time or no connection for it.
func (s *Server) door(route dialect.Route) *dialect.Error {
	if route.Quiet {
		return nil // probes and metrics are answered whatever happens
	}
	if s.conns.crowded() {
		return &dialect.Error{
			Status: http.StatusServiceUnavailable, Reason: dialect.ReasonOverload, RetryAfter: time.Second,
			Public: "The server is busy, try again later.", Err: errors.New("too many connections"),
		}
	}
	if s.cfg.Admission == nil || !route.Computes {
		return nil
	}
	if err := s.cfg.Admission.Check(); err != nil {
		return dialect.Refusal(err)
	}
	return nil
}

// bodyStep is how much memory a body is granted at a time: for what has arrived, never for what was announced.
const bodyStep = 256 << 10

// metered is a body whose memory is accounted for, for as long as its request lasts.
type metered struct {
	io.ReadCloser
	admission *admission.Controller
	n, held   int64
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	m.n += int64(n)
	for m.n > m.held {
		if full := m.admission.Reserve(bodyStep); full != nil {
			return n, full
		}
		m.held += bodyStep
	}
	return n, err
}

func (m *metered) free() {
	m.admission.Free(m.held)
	m.held = 0
}
