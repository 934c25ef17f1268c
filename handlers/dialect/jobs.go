package dialect

import (
	"errors"
	"net/http"
	"time"

	"cutout/jobs"
)

// JobError words an error of package jobs for clients; nil where it is none that a client can do something about.
func JobError(err error) *Error {
	switch {
	case errors.Is(err, jobs.ErrStoreFull):
		return &Error{
			Status: http.StatusInsufficientStorage, Reason: ReasonStoreFull, Err: err, RetryAfter: time.Minute,
			Public: "There is no storage left for files, try again later.",
		}
	case errors.Is(err, jobs.ErrQueueFull):
		return &Error{
			Status: http.StatusServiceUnavailable, Reason: ReasonQueueFull, Err: err, RetryAfter: 10 * time.Second,
			Public: "Too many jobs are waiting, try again later.",
		}
	case errors.Is(err, jobs.ErrTooLarge):
		return &Error{
			Status: http.StatusRequestEntityTooLarge, Reason: ReasonFileTooLarge, Err: err, Public: "The file is too large.",
		}
	case errors.Is(err, jobs.ErrUnavailable), errors.Is(err, jobs.ErrConflict):
		return &Error{
			Status: http.StatusServiceUnavailable, Reason: ReasonUnavailable, Err: err, RetryAfter: 5 * time.Second,
			Public: "The job store is not available.",
		}
	default:
		return nil
	}
}
