package dialect

import (
	"errors"
	"net/http"

	"cutout/admission"
)

// Refusal words for clients what is wrong with a request and not with its picture: the refusal of an admission, or what
// the server itself has worded. It is nil where err is neither. A dialect that words errors of its pictures by itself
// hands these back.
func Refusal(err error) *Error {
	if known, ok := errors.AsType[*Error](err); ok {
		return known
	}
	refused, ok := admission.Refusal(err)
	if !ok {
		return nil
	}
	return &Error{
		Status: http.StatusServiceUnavailable, Reason: ReasonOverload, RetryAfter: refused.RetryAfter, Err: err,
		Public: "The server is busy, try again later.",
	}
}
