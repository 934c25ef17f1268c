package handlers

import (
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"
)

// cors lets the pages of the configured origins call the API. Keys travel in headers and never in cookies, so that no
// page acts with another's credentials.
func (s *Server) cors(next echo.HandlerFunc) echo.HandlerFunc {
	allowed := s.cfg.Access.CORSOrigins
	if len(allowed) == 0 {
		return next
	}
	everybody := slices.Contains(allowed, "*")
	return func(c echo.Context) error {
		r, header := c.Request(), c.Response().Header()
		header.Add("Vary", "Origin")
		origin := r.Header.Get("Origin")
		if origin == "" || !everybody && !slices.Contains(allowed, origin) {
			return next(c)
		}
		header.Set("Access-Control-Allow-Origin", origin)
		if everybody {
			header.Set("Access-Control-Allow-Origin", "*")
		}
		header.Set("Access-Control-Expose-Headers", "*")
		if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
			return next(c)
		}
		header.Set("Access-Control-Allow-Methods", "GET, POST")
		if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
			header.Set("Access-Control-Allow-Headers", asked)
		}
		header.Set("Access-Control-Max-Age", "600")
		c.Response().WriteHeader(http.StatusNoContent)
		return nil
	}
}
