package dialect

import (
	"net/http"

	"cutout/admission"
)

// Refusal words the refusal of an admission for clients; nil where err is none. A dialect that words errors of its
// pictures by itself hands these back.
func Refusal(err error) *Error {
	refused, ok := admission.Refusal(err)
	if !ok {
		return nil
	}
	return &Error{
		Status: http.StatusServiceUnavailable, Reason: ReasonOverload, RetryAfter: refused.RetryAfter, Err: err,
		Public: "The server is busy, try again later.",
	}
}
