package handlers_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"cutout/config"
	"cutout/handlers"
	"cutout/handlers/backgroundremoverai"
	"cutout/jobs"
	"cutout/web"
)

func TestPages(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	for path, want := range map[string]string{
		"/": "text/html; charset=utf-8", "/docs": "text/html; charset=utf-8", "/status": "text/html; charset=utf-8",
		"/assets/app.css": "text/css; charset=utf-8", "/assets/app.js": "text/javascript; charset=utf-8",
		"/assets/icon.svg": "image/svg+xml", "/assets/swagger-ui-bundle.js": "text/javascript; charset=utf-8",
	} {
		got := b.get(path)
		if got.status != 200 || got.header.Get("Content-Type") != want || got.body == "" {
			t.Errorf("%s: %d %s, %d bytes", path, got.status, got.header.Get("Content-Type"), len(got.body))
		}
		if got.header.Get("Content-Security-Policy") != web.Policy {
			t.Errorf("%s: policy %q", path, got.header.Get("Content-Security-Policy"))
		}
	}
	for _, path := range []string{"/assets/none.js", "/assets/index.html", "/assets/..%2findex.html", "/assets/"} {
		if got := b.get(path); got.status != 404 || got.body != `{"detail":"Not Found"}` {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}

func TestNoWeb(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *handlers.Config) { c.Server.NoWeb = true })
	for _, path := range []string{"/", "/docs", "/status", "/status.json", "/assets/app.js"} {
		if got := b.get(path); got.status != 404 || got.body != `{"detail":"Not Found"}` {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if got := b.get("/openapi.yaml"); got.status != 200 {
		t.Errorf("/openapi.yaml: %d", got.status)
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *handlers.Config) {
		c.Access = config.Access{RapidAPISecret: "vouch"}
		c.Engine = func() handlers.Engine {
			return handlers.Engine{
				Model: "small", Kernels: "avx2", Precision: "fp32", CPUs: 3,
				Models: []handlers.Model{{Name: "small", Installed: true, Active: true, Bytes: 7, Licence: "MIT", Source: "https://example.com"}},
			}
		}
	})
	got := b.get("/status.json")
	want := `"version":"v1.2.3","uptime_seconds":0,"keys":true,"model":"small","kernels":"avx2","precision":"fp32","cpus":3,` +
		`"models":[{"name":"small","installed":true,"active":true,"bytes":7,"licence":"MIT","source":"https://example.com"}],"queue":null}`
	if got.status != 200 || !strings.HasSuffix(got.body, want) || !strings.HasPrefix(got.body, `{"status":"ready","checks":{`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control: %q", got.header.Get("Cache-Control"))
	}
}

func TestStatusTellsOfJobs(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *handlers.Config) {
		store, err := jobs.Open(t.Context(), jobs.Config{Kinds: []string{backgroundremoverai.Kind}, DataDir: t.TempDir(), MinFree: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close(context.Background()) })
		c.Jobs = store
	})
	var reply struct {
		Queue *struct {
			Kinds map[string]struct{ Waiting, Running *int }
			Bytes *int64 `json:"store_bytes"`
		}
	}
	got := b.get("/status.json")
	if err := json.Unmarshal([]byte(got.body), &reply); err != nil {
		t.Fatalf("%v: %s", err, got.body)
	}
	if reply.Queue == nil || reply.Queue.Bytes == nil || len(reply.Queue.Kinds) == 0 {
		t.Fatalf("the queue is not told of: %s", got.body)
	}
	for kind, k := range reply.Queue.Kinds {
		if k.Waiting == nil || *k.Waiting != 0 || k.Running == nil {
			t.Errorf("%s: %s", kind, got.body)
		}
	}
}
