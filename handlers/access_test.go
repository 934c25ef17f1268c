package handlers_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cutout/handlers"
	"cutout/handlers/access"
)

// keyed starts a server that wants keys and returns one without limits and one of three requests a minute.
func keyed(t *testing.T, change func(*handlers.Config)) (b *bundle, free, limited string) {
	t.Helper()
	free, freeKey, err := access.New("free", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	limited, limitedKey, err := access.New("limited", 3, 0)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, fmt.Appendln(nil, freeKey.String()+"\n"+limitedKey.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	b = start(t, func(c *handlers.Config) {
		c.Access.APIKeys = path
		if change != nil {
			change(c)
		}
	})
	b.processor.run = formatted
	return b, free, limited
}

// ask sends a request with a header of its own, for instance a key.
func (b *bundle) ask(client *http.Client, method, path, contentType string, body []byte, header ...string) reply {
	b.t.Helper()
	r, err := http.NewRequest(method, b.url+path, bytes.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	return read(b.t, res)
}

// refusals is how each dialect says no: to a request without a key, with a wrong one, and over the limit.
var refusals = []struct {
	name, path, field   string
	header              string // where its clients put the key
	status              int
	missing, wrong, out string
}{
	{
		"api4ai", "/v1/results", "image", "X-RapidAPI-Key", 401, `{"message":"An API key is needed."}`,
		`{"message":"The API key is not valid."}`, `{"message":"The limit of the API key is reached."}`,
	},
	{
		"removebg", removeBG, "image_file", "X-Api-Key", 403, `{"errors":[{"title":"Missing API Key","code":"auth_failed"}]}`,
		`{"errors":[{"title":"API Key invalid","code":"auth_failed"}]}`,
		`{"errors":[{"title":"Rate limit exceeded","code":"rate_limit_exceeded","detail":"The limit of the API key is reached."}]}`,
	},
	{
		"apisphere", apiSphere, "image", "X-RapidAPI-Key", 401, `"error":{"code":"UNAUTHORIZED","message":"An API key is needed.","details":[]}}`,
		`"error":{"code":"UNAUTHORIZED","message":"The API key is not valid.","details":[]}}`,
		`"error":{"code":"RATE_LIMIT_EXCEEDED","message":"The limit of the API key is reached.","details":[]}}`,
	},
	{
		"rembg", rembgPath, "file", "Authorization", 401, `{"detail":"An API key is needed."}`, `{"detail":"The API key is not valid."}`,
		`{"detail":"The limit of the API key is reached."}`,
	},
	{
		"photoroom", photoRoom, "image_file", "x-api-key", 403, "", "",
		`{"detail":"The limit of the API key is reached.","status_code":429,"type":"rate_limit"}`,
	},
}

func TestKeysOfEachDialect(t *testing.T) {
	t.Parallel()
	for _, tc := range refusals {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b, free, limited := keyed(t, nil)
			contentType, body := form(t, file(tc.field, "a.jpg", photo))
			ask := func(header ...string) reply { return b.ask(b.client, "POST", tc.path, contentType, body, header...) }
			check := func(what string, got reply, status int, want string) {
				t.Helper()
				if got.status != status || !strings.HasSuffix(got.body, want) || want == "" && got.body != "" {
					t.Errorf("%s: %d %.300s", what, got.status, got.body)
				}
			}
			check("without a key", ask(), tc.status, tc.missing)
			for i := range 100 {
				check("a wrong key", ask(tc.header, fmt.Sprint("wrong", i)), tc.status, tc.wrong)
			}
			if b.processor.count() != 0 {
				t.Error("the processor was asked all the same")
			}
			for i := range 100 {
				if got := ask(tc.header, free); got.status != 200 {
					t.Fatalf("request %d with a key: %d %s", i, got.status, got.body)
				}
			}
			for i := range 3 {
				got := ask(tc.header, limited)
				reset, err := strconv.ParseInt(got.header.Get("X-Ratelimit-Reset"), 10, 64)
				if got.status != 200 || got.header.Get("X-Ratelimit-Limit") != "3" || got.header.Get("X-Ratelimit-Remaining") != fmt.Sprint(2-i) ||
					err != nil || reset < time.Now().Unix() || reset > time.Now().Unix()+61 {
					t.Errorf("request %d within the limit: %d %v", i, got.status, got.header)
				}
			}
			got := ask(tc.header, limited)
			check("over the limit", got, 429, tc.out)
			after, err := strconv.Atoi(got.header.Get("Retry-After"))
			if err != nil || after < 1 || after > 20 || got.header.Get("X-Ratelimit-Remaining") != "0" {
				t.Errorf("over the limit: %v", got.header)
			}

			exposition := b.get("/metrics").body
			for _, line := range []string{
				`cutout_key_requests_total{key="free"} 100`, `cutout_key_requests_total{key="limited"} 4`,
				`cutout_key_limited_total{key="limited"} 1`, `cutout_key_pixels_total{key="free"} 800000`,
				`cutout_failures_total{dialect="` + tc.name + `",reason="bad_key"} 100`,
				`cutout_failures_total{dialect="` + tc.name + `",reason="no_key"} 1`,
				`cutout_failures_total{dialect="` + tc.name + `",reason="rate_limit"} 1`,
			} {
				if !strings.Contains(exposition, line) {
					t.Errorf("the metrics lack %s", line)
				}
			}
			if log := b.log.String(); strings.Contains(log, free) || !strings.Contains(log, `"key":"limited"`) {
				t.Error("the log names the key itself, or not its name")
			}
		})
	}
}

// Machines that watch the server need no key, nor does who asks for its version.
func TestKeylessRoutes(t *testing.T) {
	t.Parallel()
	b, free, _ := keyed(t, nil)
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/openapi.yaml", "/v1/version", "/img-bg-removal/v1/version"} {
		if got := b.get(path); got.status != 200 {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	for path, status := range map[string]int{"/v1/modes": 401, "/v1.0/account": 403, "/api/remove?url=x": 401} {
		if got := b.get(path); got.status != status {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if got := b.ask(b.client, "GET", "/v1/modes?api_key="+free, "", nil); got.status != 200 {
		t.Errorf("with a key in the query: %d %s", got.status, got.body)
	}
	if strings.Contains(b.log.String(), free) {
		t.Error("the key of the query is in the log")
	}
	keyless := []string{"/healthz", "/readyz", "/metrics", "/openapi.yaml", "/", "/docs", "/status", "/status.json", "/assets/{file}"}
	for _, r := range b.server.Routes() {
		if strings.HasSuffix(r.Path, "/version") || slices.Contains(keyless, r.Path) || r.Dialect == "backgroundremoverai" {
			continue
		}
		if r.Keyless && r.Method == http.MethodPost {
			t.Errorf("%s %s works without a key", r.Method, r.Path)
		}
	}
}

func TestProxySecretLetsInWithoutAKey(t *testing.T) {
	t.Parallel()
	b, _, _ := keyed(t, func(c *handlers.Config) { c.Access.RapidAPISecret = "vouch" })
	contentType, body := form(t, file("image", "a.jpg", photo))
	got := b.ask(b.client, "POST", "/v1/results", contentType, body, "X-RapidAPI-Proxy-Secret", "vouch", "X-RapidAPI-Key", "theirs")
	if got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
	got = b.ask(b.client, "POST", "/v1/results", contentType, body, "X-RapidAPI-Proxy-Secret", "guess", "X-RapidAPI-Key", "theirs")
	if got.status != 401 {
		t.Errorf("with a wrong secret: %d %s", got.status, got.body)
	}
	if !strings.Contains(b.get("/metrics").body, `cutout_key_requests_total{key="`+access.RapidAPI+`"} 1`) {
		t.Error("the request is not counted")
	}
}

func TestMegapixelsOfAKey(t *testing.T) {
	t.Parallel()
	secret, key, err := access.New("small", 0, 0.01) // a picture of the tests has 0.008
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(key.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	b := start(t, func(c *handlers.Config) { c.Access.APIKeys = path })
	b.processor.run = formatted
	contentType, body := form(t, file("file", "a.jpg", photo))
	var statuses []int
	for range 3 {
		statuses = append(statuses, b.ask(b.client, "POST", rembgPath, contentType, body, "X-Api-Key", secret).status)
	}
	if !slices.Equal(statuses, []int{200, 200, 429}) {
		t.Errorf("got %v", statuses)
	}
}

func TestABrokenFileOfKeysIsRefused(t *testing.T) {
	t.Parallel()
	cfg, _ := testConfig(t)
	cfg.Access.APIKeys = filepath.Join(t.TempDir(), "none")
	if _, err := handlers.New(cfg); err == nil {
		t.Error("a missing file is taken")
	}
	cfg, _ = testConfig(t)
	cfg.Access.CORSOrigins = []string{"example.com"}
	if _, err := handlers.New(cfg); err == nil {
		t.Error("an origin without a scheme is taken")
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	const allow = "Access-Control-Allow-Origin"
	contentType, body := form(t, file("image_file", "a.jpg", photo))
	for name, tc := range map[string]struct {
		origins []string
		origin  string
		want    string
	}{
		"closed":           {nil, "https://a.example", ""},
		"open":             {[]string{"*"}, "https://a.example", "*"},
		"listed":           {[]string{"https://b.example", "https://a.example"}, "https://a.example", "https://a.example"},
		"not listed":       {[]string{"https://b.example"}, "https://a.example", ""},
		"another scheme":   {[]string{"https://a.example"}, "http://a.example", ""},
		"no page at all":   {[]string{"*"}, "", ""},
		"a page's sandbox": {[]string{"https://a.example"}, "null", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, free, _ := keyed(t, func(c *handlers.Config) { c.Access.CORSOrigins = tc.origins })
			header := []string{"X-Api-Key", free}
			if tc.origin != "" {
				header = append(header, "Origin", tc.origin)
			}
			got := b.ask(b.client, "POST", removeBG, contentType, body, header...)
			if got.status != 200 || got.header.Get(allow) != tc.want || tc.origins != nil && got.header.Get("Vary") != "Origin" {
				t.Errorf("%d %v", got.status, got.header)
			}
			// What a browser asks before it sends a key.
			got = b.ask(http.DefaultClient, "OPTIONS", removeBG, "", nil, "Origin", tc.origin,
				"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "x-api-key")
			if tc.want == "" {
				if got.header.Get(allow) != "" || got.header.Get("Access-Control-Allow-Methods") != "" {
					t.Errorf("preflight: %d %v", got.status, got.header)
				}
				return
			}
			if got.status != 204 || got.header.Get(allow) != tc.want || got.header.Get("Access-Control-Allow-Methods") != "GET, POST" ||
				got.header.Get("Access-Control-Allow-Headers") != "x-api-key" {
				t.Errorf("preflight: %d %v", got.status, got.header)
			}
		})
	}
	http.DefaultClient.CloseIdleConnections()
}

// The time a key takes does not tell how much of it is right. What is compared are sums of the keys, so that no prefix
// exists that one could guess; this holds the implementation to looking at all of them for each key.
func TestTimingTellsNothing(t *testing.T) {
	t.Parallel()
	var lines strings.Builder
	var first, last string
	for i := range 400 {
		secret, key, err := access.New(fmt.Sprint("name", i), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = secret
		}
		last = secret
		fmt.Fprintln(&lines, key)
	}
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	gate, err := access.Open(access.Config{File: path})
	if err != nil {
		t.Fatal(err)
	}
	keys := []string{first, last, strings.Repeat("x", len(first)), first[:len(first)-1] + "x"}
	fastest := make([]time.Duration, len(keys))
	for round := range 300 { // the fastest of many, taken in turn, is what a patient listener would find
		for i, key := range keys {
			r, err := http.NewRequest(http.MethodPost, "/", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("X-Api-Key", key)
			begin := time.Now()
			_, err = gate.Admit(r)
			took := time.Since(begin)
			if (err == nil) != (i < 2) {
				t.Fatalf("key %d: %v", i, err)
			}
			if round == 0 || took < fastest[i] {
				fastest[i] = took
			}
		}
	}
	slowest := slices.Max(fastest)
	if quickest := slices.Min(fastest); slowest > 3*quickest {
		t.Errorf("the fastest looks at the four keys took %v", fastest)
	}
}
