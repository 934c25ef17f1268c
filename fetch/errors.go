package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
)

// Kind says why a fetch failed. It is fit for a metric label.
type Kind string

// Kinds of failure.
const (
	BadURL       Kind = "bad_url"        // cannot be read as an absolute URL with a host
	BadScheme    Kind = "bad_scheme"     // neither http nor https
	Credentials  Kind = "credentials"    // user name or password in the URL
	Address      Kind = "address"        // leads to an address or port that is not allowed
	HostNotFound Kind = "host_not_found" // the name does not resolve
	Connection   Kind = "connection"     // refused, reset, unreachable, not HTTP
	TLS          Kind = "tls"            // certificate or handshake
	Timeout      Kind = "timeout"        // the fetch's own deadline passed
	Status       Kind = "status"         // an answer other than 200
	TooLarge     Kind = "too_large"      // more bytes than the caller takes
	Redirects    Kind = "redirects"      // too many of them, or one that leads nowhere
	Busy         Kind = "busy"           // no slot within the deadline, or over the rate
	Cancelled    Kind = "cancelled"      // the caller gave up
)

// Error is what Get fails with.
type Error struct {
	Kind   Kind
	Code   int    // HTTP status the origin answered with, for Kind Status; else 0
	Public string // a sentence fit for the caller: no address, no header, nothing of the inside
	Err    error  // the cause, for the log; it may name addresses. Nil where Public says it all.
}

func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("fetch: %s: %s", e.Kind, e.Public)
	}
	return fmt.Sprintf("fetch: %s: %v", e.Kind, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

var publicText = map[Kind]string{
	BadURL:       "The URL is not valid.",
	BadScheme:    "The URL must begin with http:// or https://.",
	Credentials:  "The URL must not contain a user name or password.",
	Address:      "The URL leads to an address that is not allowed.",
	HostNotFound: "The host of the URL could not be found.",
	Connection:   "The server of the URL could not be reached or broke off the connection.",
	TLS:          "No trusted TLS connection to the server of the URL could be made.",
	Timeout:      "Fetching the URL took too long.",
	TooLarge:     "The file behind the URL is too large.",
	Redirects:    "The URL redirects too often.",
	Busy:         "Too many URLs are being fetched at the moment, try again later.",
	Cancelled:    "The request was cancelled.",
}

func newError(kind Kind, err error) *Error {
	return &Error{Kind: kind, Public: publicText[kind], Err: err}
}

func statusError(code int) *Error {
	public := fmt.Sprintf("The server of the URL answered with status %d.", code)
	if text := http.StatusText(code); text != "" {
		public = fmt.Sprintf("The server of the URL answered %d %s.", code, text)
	}
	return &Error{Kind: Status, Code: code, Public: public}
}

func tooLargeError(limit int64) *Error {
	return &Error{Kind: TooLarge, Public: fmt.Sprintf("The file behind the URL is too large, at most %d bytes are taken.", limit)}
}

// classify turns whatever the HTTP client failed with into an *Error. ctx is the fetch's own context and caller the
// one it was derived from.
func classify(caller, ctx context.Context, err error) *Error {
	if known, ok := errors.AsType[*Error](err); ok { // from the redirect check
		return known
	}
	// The URL itself may hold a signature; the cause is enough for the log.
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	var (
		netErr  net.Error
		dnsErr  *net.DNSError
		certErr *tls.CertificateVerificationError
		recErr  tls.RecordHeaderError
		alert   tls.AlertError
		hostErr x509.HostnameError
		authErr x509.UnknownAuthorityError
	)
	switch {
	case errors.Is(err, errPort):
		e := newError(Address, err)
		e.Public = "The URL leads to a port that is not allowed, only 80 and 443 are."
		return e
	case errors.Is(err, errAddress) && !errors.As(err, &dnsErr):
		return newError(Address, err)
	case caller.Err() != nil:
		if errors.Is(caller.Err(), context.DeadlineExceeded) {
			return newError(Timeout, err)
		}
		return newError(Cancelled, err)
	case ctx.Err() != nil:
		return newError(Timeout, err)
	case errors.As(err, &dnsErr):
		if dnsErr.IsTimeout {
			return newError(Timeout, err)
		}
		return newError(HostNotFound, err)
	case errors.As(err, &certErr), errors.As(err, &recErr), errors.As(err, &alert), errors.As(err, &hostErr),
		errors.As(err, &authErr), errors.Is(err, http.ErrSchemeMismatch):
		return newError(TLS, err)
	case errors.As(err, &netErr) && netErr.Timeout():
		return newError(Timeout, err)
	case strings.HasPrefix(err.Error(), "failed to parse Location header"): // net/http has no type for it
		e := newError(Redirects, err)
		e.Public = "The URL redirects to one that is not valid."
		return e
	case errors.Is(err, io.ErrUnexpectedEOF):
		e := newError(Connection, err)
		e.Public = "The server of the URL closed the connection before the whole file had arrived."
		return e
	case errors.Is(err, syscall.ECONNREFUSED):
		e := newError(Connection, err)
		e.Public = "The server of the URL refused the connection."
		return e
	default:
		return newError(Connection, err)
	}
}
