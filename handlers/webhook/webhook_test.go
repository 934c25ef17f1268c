package webhook

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"cutout/fetch"
	"cutout/handlers/dialect"
	"cutout/jobs"
)

// poster is told what to answer.
type poster struct {
	err    error
	url    string
	header http.Header
	body   string
}

func (p *poster) Check(rawURL string) (string, error) {
	f, err := fetch.New(fetch.Config{})
	if err != nil {
		return "", err
	}
	return f.Check(rawURL)
}

func (p *poster) Post(_ context.Context, rawURL string, header http.Header, body []byte) error {
	p.url, p.header, p.body = rawURL, header, string(body)
	return p.err
}

func newHooks(t *testing.T, cfg Config) *Hooks {
	t.Helper()
	if cfg.Secret == "" {
		cfg.Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	}
	cfg.Body = func(st jobs.Status) ([]byte, error) {
		if st.ID == "bad" {
			return nil, errors.New("no")
		}
		return []byte(`{"uuid":"` + st.ID + `"}`), nil
	}
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// The example of the Standard Webhooks documentation.
func TestSignature(t *testing.T) {
	t.Parallel()
	key, err := Key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := Sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestDeliver(t *testing.T) {
	t.Parallel()
	p := &poster{}
	at := time.Unix(1614265330, 0)
	h := newHooks(t, Config{Poster: p, Now: func() time.Time { return at }})
	if err := h.Deliver(t.Context(), jobs.Call{ID: "1", URL: "https://x.example/", Job: &jobs.Status{ID: "u"}}); err != nil {
		t.Fatal(err)
	}
	want := http.Header{
		"Content-Type": {"application/json"}, "Webhook-Id": {"1"}, "Webhook-Timestamp": {"1614265330"},
		"Webhook-Signature": {Sign(h.key, "1", at, []byte(`{"uuid":"u"}`))},
	}
	if p.url != "https://x.example/" || p.body != `{"uuid":"u"}` || len(p.header) != len(want) {
		t.Errorf("%+v", p)
	}
	for name := range want {
		if p.header.Get(name) != want.Get(name) {
			t.Errorf("%s: %q, want %q", name, p.header.Get(name), want.Get(name))
		}
	}
	if err := h.Deliver(t.Context(), jobs.Call{ID: "2", Body: []byte("[]")}); err != nil || p.body != "[]" {
		t.Errorf("%q, %v", p.body, err)
	}
	for name, tc := range map[string]struct {
		err       error
		call      jobs.Call
		permanent bool
	}{
		"500":        {&fetch.Error{Kind: fetch.Status, Code: 500}, jobs.Call{}, false},
		"404":        {&fetch.Error{Kind: fetch.Status, Code: 404}, jobs.Call{}, false},
		"410":        {&fetch.Error{Kind: fetch.Status, Code: 410}, jobs.Call{}, true},
		"timeout":    {&fetch.Error{Kind: fetch.Timeout}, jobs.Call{}, false},
		"address":    {&fetch.Error{Kind: fetch.Address}, jobs.Call{}, true},
		"no wording": {nil, jobs.Call{Job: &jobs.Status{ID: "bad"}}, true},
	} {
		p.err = tc.err
		err := h.Deliver(t.Context(), tc.call)
		var permanent *jobs.PermanentError
		if err == nil || errors.As(err, &permanent) != tc.permanent {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	strict, lax := newHooks(t, Config{Poster: &poster{}}), newHooks(t, Config{Poster: &poster{}, AllowHTTP: true})
	var none *Hooks
	for _, tc := range []struct {
		h         *Hooks
		url, want string
	}{
		{strict, "https://x.example/hook?a=b", ""},
		{strict, "http://x.example/", "callback_url: The URL must begin with https://."},
		{lax, "http://x.example/", ""},
		{lax, "file:///etc/passwd", "callback_url: The URL must begin with http:// or https://."},
		{strict, "https://127.0.0.1/", "callback_url: The URL leads to an address that is not allowed."},
		{strict, "https://[fd00::1]/", "callback_url: The URL leads to an address that is not allowed."},
		{strict, "https://user:word@x.example/", "callback_url: The URL must not contain a user name or password."},
		{strict, "https://x.example/" + strings.Repeat("x", maxURL), "callback_url: The URL is longer than 2048 bytes."},
		{none, "https://x.example/", "callback_url: This server does not call back."},
	} {
		err := tc.h.Check(tc.url)
		var known *dialect.Error
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%.50s: %v", tc.url, err)
		case tc.want != "" && (!errors.As(err, &known) || known.Public != tc.want || known.Status != 400):
			t.Errorf("%.50s: %v, want %s", tc.url, err, tc.want)
		}
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	if h, err := New(Config{}); h != nil || err != nil {
		t.Errorf("no secret: %v, %v", h, err)
	}
	for _, secret := range []string{"short", "whsec_AAAA", "whsec_not base64 at all, not at all"} {
		if _, err := New(Config{Secret: secret, Poster: &poster{}}); err == nil {
			t.Errorf("%q is taken", secret)
		}
	}
	if key, err := Key("sixteen bytes..."); err != nil || string(key) != "sixteen bytes..." {
		t.Errorf("%q, %v", key, err)
	}
}
