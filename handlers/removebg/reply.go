package removebg

import (
	"bytes"
	"encoding/json"
	"net/http"

	"cutout/handlers/dialect"
)

type (
	accountReply struct {
		Data accountData `json:"data"`
	}
	accountData struct {
		Attributes attributes `json:"attributes"`
	}
	attributes struct {
		Credits credits `json:"credits"`
		API     calls   `json:"api"`
	}
	credits struct {
		Total        float64 `json:"total"`
		Subscription float64 `json:"subscription"`
		PAYG         float64 `json:"payg"`
		Enterprise   float64 `json:"enterprise"`
	}
	calls struct {
		FreeCalls int    `json:"free_calls"`
		Sizes     string `json:"sizes"`
	}

	// failure is every reply that is no result. Some clients read the first error without looking whether there is one.
	failure struct {
		Errors []problem `json:"errors"`
	}
	problem struct {
		Title  string `json:"title"`
		Code   string `json:"code"`
		Detail string `json:"detail,omitempty"`
	}
)

// refuse answers 400 with what is wrong.
func refuse(w http.ResponseWriter, r *dialect.Request, reason string, cause error, problems ...problem) error {
	r.Record.Fail(reason, cause)
	return writeJSON(w, http.StatusBadRequest, failure{Errors: problems})
}

// fail writes an error that is not about a picture or a parameter.
func fail(w http.ResponseWriter, e *dialect.Error) {
	status, p := e.Status, problem{Title: e.Public}
	switch {
	case e.Reason == dialect.ReasonNoKey:
		status, p = http.StatusForbidden, problem{Title: "Missing API Key", Code: "auth_failed"} // never a 401
	case e.Reason == dialect.ReasonBadKey:
		status, p = http.StatusForbidden, problem{Title: "API Key invalid", Code: "auth_failed"}
	case e.Status == http.StatusRequestEntityTooLarge:
		status, p = http.StatusBadRequest, problem{Title: "File too large", Code: "file_too_large", Detail: e.Public}
	case e.Status == http.StatusTooManyRequests:
		p = problem{Title: "Rate limit exceeded", Code: "rate_limit_exceeded", Detail: e.Public}
	case e.Status == http.StatusBadRequest:
		p.Code = "invalid_request"
	case e.Status == http.StatusRequestTimeout:
		p.Code = "request_timeout"
	case e.Status == http.StatusMethodNotAllowed:
		p.Code = "method_not_allowed"
	case e.Status == http.StatusServiceUnavailable:
		p.Code = "service_unavailable"
	default:
		p.Code = "internal_error"
	}
	_ = writeJSON(w, status, failure{Errors: []problem{p}}) // a client that is gone cannot be told so
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, err := w.Write(bytes.TrimSuffix(buf.Bytes(), []byte("\n")))
	return err
}
