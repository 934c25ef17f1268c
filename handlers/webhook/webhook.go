// Package webhook calls back: it tells a client's server what became of its request, signed, so that the server can tell
// the message from a stranger's.
//
// The headers and the signature are those of Standard Webhooks (https://www.standardwebhooks.com), for which libraries
// exist in many languages.
package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"cutout/fetch"
	"cutout/handlers/dialect"
	"cutout/jobs"
)

// Field is the name under which dialects take the URL to call.
const Field = "callback_url"

// Headers of a call.
const (
	HeaderID        = "Webhook-Id"        // the same in every attempt at one call
	HeaderTimestamp = "Webhook-Timestamp" // of the attempt, in seconds since 1970
	HeaderSignature = "Webhook-Signature" // "v1," and the HMAC in base64
)

const (
	secretPrefix = "whsec_"
	minSecret    = 16      // bytes
	maxURL       = 2 << 10 // bytes
)

// Poster sends a body to a stranger's URL; *fetch.Fetcher is one.
type Poster interface {
	Check(rawURL string) (scheme string, err error)
	Post(ctx context.Context, rawURL string, header http.Header, body []byte) error
}

// Config of the calls.
type Config struct {
	Secret    string // of the signatures, see Key
	AllowHTTP bool   // also for URLs without TLS
	Poster    Poster
	Body      func(jobs.Status) ([]byte, error) // words the end of a job
	Now       func() time.Time                  // nil: time.Now
}

// Hooks calls back. A nil one refuses to.
type Hooks struct {
	cfg Config
	key []byte
}

// New builds the calls. Without a secret there are none: the result is nil.
func New(cfg Config) (*Hooks, error) {
	if cfg.Secret == "" {
		return nil, nil //nolint:nilnil // said above
	}
	key, err := Key(cfg.Secret)
	if err != nil {
		return nil, err
	}
	if cfg.Poster == nil || cfg.Body == nil {
		return nil, errors.New("webhook: a poster and a body are needed")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Hooks{cfg: cfg, key: key}, nil
}

// Key is the key of the signatures for a secret: what follows "whsec_" is base64, anything else stands for itself.
func Key(secret string) ([]byte, error) {
	key := []byte(secret)
	if encoded, ok := strings.CutPrefix(secret, secretPrefix); ok {
		var err error
		if key, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "=")); err != nil {
			return nil, errors.New("what follows whsec_ is no base64")
		}
	}
	if len(key) < minSecret {
		return nil, fmt.Errorf("the secret has %d bytes, at least %d are needed", len(key), minSecret)
	}
	return key, nil
}

// Check tells whether a URL can be called. Its error is a *dialect.Error with status 400.
func (h *Hooks) Check(rawURL string) error {
	refuse := func(public string, err error) error {
		return &dialect.Error{Status: http.StatusBadRequest, Reason: dialect.ReasonBadParameter, Public: Field + ": " + public, Err: err}
	}
	if h == nil {
		return refuse("This server does not call back.", nil)
	}
	if len(rawURL) > maxURL {
		return refuse(fmt.Sprintf("The URL is longer than %d bytes.", maxURL), nil)
	}
	scheme, err := h.cfg.Poster.Check(rawURL)
	if known, ok := errors.AsType[*fetch.Error](err); ok {
		return refuse(known.Public, err)
	}
	switch {
	case err != nil:
		return refuse("The URL is not valid.", err)
	case scheme != "https" && !h.cfg.AllowHTTP:
		return refuse("The URL must begin with https://.", nil)
	}
	return nil
}

// Deliver makes one call. Its error is Permanent where calling again would change nothing.
func (h *Hooks) Deliver(ctx context.Context, c jobs.Call) error {
	body := c.Body
	if c.Job != nil {
		var err error
		if body, err = h.cfg.Body(*c.Job); err != nil {
			return &jobs.PermanentError{Public: "The message cannot be written.", Err: err}
		}
	}
	at := h.cfg.Now()
	header := http.Header{
		"Content-Type":  {"application/json"},
		HeaderID:        {c.ID},
		HeaderTimestamp: {strconv.FormatInt(at.Unix(), 10)},
		HeaderSignature: {Sign(h.key, c.ID, at, body)},
	}
	err := h.cfg.Poster.Post(ctx, c.URL, header, body)
	known, ok := errors.AsType[*fetch.Error](err)
	if ok && (known.Code == http.StatusGone || known.Kind == fetch.Address || known.Kind == fetch.BadURL || known.Kind == fetch.BadScheme) {
		return &jobs.PermanentError{Public: known.Public, Err: err}
	}
	return err
}

// Sign is the signature of a call: over its id, the time of the attempt and the body, joined by dots.
func Sign(key []byte, id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(mac, "%s.%d.", id, at.Unix()) // never fails, and neither does the next
	_, _ = mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
