package handlers_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"cutout/fetch"
	"cutout/handlers"
	"cutout/handlers/backgroundremoverai"
	"cutout/handlers/webhook"
	"cutout/jobs"
)

const webhookSecret = "a secret of clients and servers"

// called is what a receiver was sent.
type called struct {
	path, body, id string
	at             time.Time
	signed         bool
}

// hookReceiver is a client's server on loopback. It fails as often as it is told.
func hookReceiver(t *testing.T, failures int) (url string, calls chan called) {
	t.Helper()
	calls = make(chan called, 100)
	left := failures
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		// As a receiver would verify it, without code of ours.
		id, stamp := r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp")
		mac := hmac.New(sha256.New, []byte(webhookSecret))
		_, _ = io.WriteString(mac, id+"."+stamp+"."+string(body))
		want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
		seconds, err := strconv.ParseInt(stamp, 10, 64)
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %v: %v", r.Method, r.Header, err)
		}
		calls <- called{r.URL.RequestURI(), string(body), id, time.Unix(seconds, 0), r.Header.Get("Webhook-Signature") == want}
		if left > 0 {
			left--
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, calls
}

// startHooks runs a server that calls back on loopback, where change does not say otherwise.
func startHooks(t *testing.T, change func(*webhook.Config)) *jobBundle {
	t.Helper()
	poster, err := fetch.New(fetch.Config{OnlyAllowed: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(poster.Close)
	cfg := webhook.Config{Secret: webhookSecret, AllowHTTP: true, Poster: poster, Body: backgroundremoverai.Callback}
	if change != nil {
		change(&cfg)
	}
	hooks, err := webhook.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b := startJobs(t, func(c *handlers.Config, j *jobs.Config) {
		c.Webhooks = hooks
		j.CallBackoff, j.Log = time.Millisecond, c.Log
	})
	if hooks != nil {
		if err := b.jobs.StartCalls(1, hooks.Deliver); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func wait(t *testing.T, calls chan called) called {
	t.Helper()
	select {
	case c := <-calls:
		return c
	case <-time.After(time.Minute):
		t.Fatal("nobody calls")
		return called{}
	}
}

// A job's end is told until it is heard, in the words of a poll.
func TestWebhookOfAJob(t *testing.T) {
	t.Parallel()
	b := startHooks(t, nil)
	url, calls := hookReceiver(t, 2)
	uuid := b.accepted(b.post("/v1/convert/", text("convert_to", "image-backgroundremover"), text("callback_url", url+"/hook?a=b"),
		file("files", "a.jpg", "a"), file("files", "bad.pdf", "broken")))
	b.finish(uuid)
	poll := b.post("/v1/results/", text("uuid", uuid))
	want := `{"uuid":"` + uuid + `",` + strings.TrimPrefix(poll.body, "{")
	for i := range 3 {
		c := wait(t, calls)
		if c.path != "/hook?a=b" || c.body != want || c.id != uuid || !c.signed || time.Since(c.at) > time.Minute {
			t.Errorf("call %d: %+v, want %s", i, c, want)
		}
	}
	b.finish(b.accepted(b.post("/v1/convert/", text("convert_to", "image-backgroundremover"), text("callback_url", ""), file("files", "a.jpg", "a"))))
	until(t, "no calls are left", func() bool { st, err := b.jobs.Stats(t.Context()); return err == nil && st.Calls == 0 })
	if len(calls) != 0 {
		t.Errorf("another call: %+v", <-calls)
	}
	if log := b.log.String(); strings.Contains(log, webhookSecret) || strings.Contains(log, "/hook?a=b") {
		t.Error("the log holds the secret or the URL")
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// A batch's reply is sent to its receiver as well.
func TestWebhookOfABatch(t *testing.T) {
	t.Parallel()
	b := startHooks(t, nil)
	url, calls := hookReceiver(t, 1)
	got := b.ask(b.client, "POST", "/removebg/fast/removebg", "application/json",
		[]byte(`{"callback_url":"`+url+`/","records":[{"_base64":"`+base64.StdEncoding.EncodeToString([]byte("x"))+`","mine":"<&>"},{"_id":"bad"}]}`))
	got.batch(t)
	first, second := wait(t, calls), wait(t, calls)
	if first.body != got.body || second.body != got.body || first.id != second.id || first.id == "" || !first.signed || !second.signed {
		t.Errorf("%+v and %+v, want %s", first, second, got.body)
	}
}

// Nobody calls what is not to be called, and the client hears of it at once.
func TestWebhookRefusals(t *testing.T) {
	t.Parallel()
	lax, strict := startHooks(t, nil), startHooks(t, func(c *webhook.Config) { c.AllowHTTP = false })
	silent := startHooks(t, func(c *webhook.Config) { c.Secret = "" })
	for _, tc := range []struct {
		b         *jobBundle
		url, want string
	}{
		{strict, "http://127.0.0.1/", "callback_url: The URL must begin with https://."},
		{lax, "http://10.0.0.1/", "callback_url: The URL leads to an address that is not allowed."},
		{lax, "http://[::1]/", "callback_url: The URL leads to an address that is not allowed."},
		{lax, "http://169.254.169.254/latest/meta-data", "callback_url: The URL leads to an address that is not allowed."},
		{lax, "gopher://x.example/", "callback_url: The URL must begin with http:// or https://."},
		{lax, "x", "callback_url: The URL must begin with http:// or https://."},
		{silent, "https://x.example/", "callback_url: This server does not call back."},
	} {
		got := tc.b.post("/v1/convert/", text("convert_to", "image-backgroundremover"), file("files", "a.jpg", "a"), text("callback_url", tc.url))
		if got.status != 400 || got.body != `{"error":"`+tc.want+`"}` {
			t.Errorf("convert, %s: %d %s", tc.url, got.status, got.body)
		}
		got = tc.b.removebg("fast", `{"callback_url":"`+tc.url+`","records":[{"_base64":"eA=="}]}`)
		if got.status != 400 || !strings.Contains(got.body, `"error_description":"`+tc.want+`"`) {
			t.Errorf("batch, %s: %d %s", tc.url, got.status, got.body)
		}
		if st, err := tc.b.jobs.Stats(t.Context()); err != nil || st.Bytes != 0 || tc.b.processor.count() != 0 {
			t.Errorf("%s leaves %+v, %v", tc.url, st, err)
		}
	}
	if got := lax.removebg("fast", `{"callback_url":7,"records":[{"_base64":"eA=="}]}`); got.status != 400 || !strings.Contains(got.body, "must be a string") {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// A name that leads inside is found out when it is called: nothing is sent, and it is not tried again.
func TestWebhookGuard(t *testing.T) {
	t.Parallel()
	poster, err := fetch.New(fetch.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(poster.Close)
	b := startHooks(t, func(c *webhook.Config) { c.Poster = poster })
	url, calls := hookReceiver(t, 0)
	uuid := b.accepted(b.post("/v1/convert/", text("convert_to", "image-backgroundremover"), file("files", "a.jpg", "a"),
		text("callback_url", strings.Replace(url, "127.0.0.1", "localhost", 1))))
	b.finish(uuid)
	until(t, "the call is given up", func() bool { st, err := b.jobs.Stats(t.Context()); return err == nil && st.Calls == 0 })
	if len(calls) != 0 {
		t.Error("the guard let a call through")
	}
	if log := b.log.String(); !strings.Contains(log, "was not told") {
		t.Error("the log does not say that nobody was told")
	}
}
