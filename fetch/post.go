package fetch

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
)

// Check applies the rules of Get that need no network to a URL that is to be used later: its form and, where its host is
// written as an address, that address and port. It returns the scheme, "http" or "https"; its error is an *Error.
func (f *Fetcher) Check(rawURL string) (scheme string, err error) {
	u, err := parse(rawURL)
	if err != nil {
		return "", err
	}
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
		if err := f.guard.check(netip.AddrPortFrom(addr, port(u))); err != nil {
			return "", classify(context.Background(), context.Background(), err)
		}
	}
	return u.Scheme, nil
}

// port is that of a URL; 0 where it is none.
func port(u *url.URL) uint16 {
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	switch {
	case err == nil:
		return uint16(n)
	case u.Port() != "":
		return 0
	case u.Scheme == "https":
		return 443
	default:
		return 80
	}
}

// maxAnswer is how much of the answer to Post is read, so that the connection can be used again. Nobody looks at it.
const maxAnswer = 16 << 10

// Post sends body to rawURL under the rules of Get. A redirect is not followed: what is meant for one server is none of
// the next one's business. Every status but 2xx is an error of kind Status; every error is an *Error.
func (f *Fetcher) Post(ctx context.Context, rawURL string, header http.Header, body []byte) error {
	u, err := parse(rawURL)
	if err != nil {
		return err
	}
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	if err := f.acquire(caller, ctx); err != nil {
		return err
	}
	defer func() { <-f.slots }()

	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return newError(BadURL, err)
	}
	req.Header = header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	req.Header.Set("User-Agent", f.cfg.UserAgent)
	resp, err := f.poster.Do(req)
	if err != nil {
		return classify(caller, ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()                         // nothing was written, nothing can be lost
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer)) // the status has come, and it alone counts
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return statusError(resp.StatusCode)
	}
	return nil
}
