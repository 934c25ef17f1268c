package handlers_test

import (
	"context"
	"image"
	"net/http"
	"strings"
	"testing"
	"time"

	"cutout/cache"
	"cutout/handlers"
	"cutout/pipeline"
	"cutout/weights"
)

// dialectRequest is a request that has a result in its dialect.
type dialectRequest struct {
	path  string
	parts []part
}

// working is one request of each dialect that answers with a picture at once.
func working() map[string]dialectRequest {
	return map[string]dialectRequest{
		"api4ai":    {"/v1/results", []part{file("image", "a.jpg", photo)}},
		"removebg":  {"/v1.0/removebg", []part{file("image_file", "a.jpg", photo)}},
		"apisphere": {"/v1/remove-bg/universal", []part{file("image", "a.jpg", photo)}},
		"rembg":     {"/api/remove", []part{file("file", "a.jpg", photo)}},
		"photoroom": {"/v1/segment", []part{file("image_file", "a.jpg", photo)}},
	}
}

func (b *bundle) postWith(r dialectRequest, header ...string) reply {
	b.t.Helper()
	contentType, body := form(b.t, r.parts...)
	return b.ask(b.client, http.MethodPost, r.path, contentType, body, header...)
}

func TestPinnedModel(t *testing.T) {
	t.Parallel()
	for name, r := range working() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, nil)
			b.processor.run = func(_ context.Context, _ []byte, o pipeline.Options) (*pipeline.Result, error) {
				res := sampleResult()
				res.Model, res.Version = "u2netp", "309c8469258d"
				res.Canvas, res.Full = image.Pt(8, 6), image.Pt(8, 6)
				if o.Exact && o.Model != "u2netp" {
					return nil, &pipeline.ModelError{Name: o.Model, Version: o.Version, Err: weights.ErrNotInstalled}
				}
				return res, nil
			}
			got := b.postWith(r)
			if got.status != 200 || got.header.Get("X-Cutout-Model") != "u2netp" || got.header.Get("X-Cutout-Model-Version") != "309c8469258d" {
				t.Errorf("%d %v", got.status, got.header)
			}
			if o := b.processor.last(t).options; o.Exact {
				t.Errorf("nothing was pinned: %+v", o)
			}
			got = b.postWith(r, "X-Cutout-Model", "u2netp@309c8469258d")
			if o := b.processor.last(t).options; got.status != 200 || !o.Exact || o.Model != "u2netp" || o.Version != "309c8469258d" {
				t.Errorf("%d, %+v", got.status, o)
			}
			for _, value := range []string{"u2net", "u2netp@", "../u2netp", "u2netp@xyzw", strings.Repeat("u", 100), "a b"} {
				got := b.postWith(r, "X-Cutout-Model", value)
				if got.status != 400 || !strings.Contains(got.body, "X-Cutout-Model") {
					t.Errorf("%q: %d %s", value, got.status, got.body)
				}
			}
		})
	}
}

// identified is a fake processor that a cache can stand before.
type identified struct{ *fakeProcessor }

func (identified) Identify(_ context.Context, o pipeline.Options) (pipeline.Options, string, error) {
	return o, "m@1", nil
}

// Equal requests share a result within a key and not between keys, in every dialect.
func TestCacheKeepsKeysApart(t *testing.T) {
	t.Parallel()
	for name, r := range working() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, alice, bob := keyed(t, func(cfg *handlers.Config) {
				fake := cfg.Processor.(*fakeProcessor)
				cfg.Processor = cache.New(cache.Config{Bytes: 1 << 20, TTL: time.Minute}, identified{fake})
			})
			var first string
			for i, step := range []struct {
				key  string
				runs int
			}{{alice, 1}, {alice, 1}, {bob, 2}, {alice, 2}, {bob, 2}, {alice, 2}} {
				got := b.postWith(r, "X-API-Key", step.key)
				if got.status != 200 || b.processor.count() != step.runs {
					t.Errorf("step %d: %d after %d runs, want %d", i, got.status, b.processor.count(), step.runs)
				}
				if i == 0 {
					first = got.body
				} else if got.body != first {
					t.Errorf("step %d: another body", i)
				}
			}
			if !strings.Contains(b.log.String(), "cache_ms") {
				t.Error("the log does not tell what came from the cache")
			}
		})
	}
}
