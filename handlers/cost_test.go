package handlers_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cutout/admission"
	"cutout/handlers"
	"cutout/handlers/access"
	"cutout/pipeline"
)

// BenchmarkProtection tells what keys, limits and validation cost a request, as time and as a share of what its picture
// costs: the same requests go, one after the other, through a server with all of them, through one without keys and
// limits, and through a handler that reads the body and calls the processor. The smallest picture that makes sense, at
// the lowest quality, is what they weigh most on.
func BenchmarkProtection(b *testing.B) {
	dir := b.TempDir()
	const keys = 100
	var file bytes.Buffer
	var secret string
	for i := range keys {
		plain, key, err := access.New(fmt.Sprint("key", i), 1e6, 1e6)
		if err != nil {
			b.Fatal(err)
		}
		secret = plain
		fmt.Fprintln(&file, key.String())
	}
	path := filepath.Join(dir, "keys")
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		b.Fatal(err)
	}
	picture := bytes.Repeat([]byte("picture!"), 8<<10) // as large as a JPEG of 512x512
	contentType, body := form(&testing.T{}, part{name: "image", file: "a.jpg", value: string(picture), isFile: true})
	serverOf := func(change func(*handlers.Config)) http.Handler {
		cfg, made := testConfig(&testing.T{})
		made.processor.run = func(context.Context, []byte, pipeline.Options) (*pipeline.Result, error) {
			made.processor.calls = nil
			return sampleResult(), nil
		}
		if change != nil {
			change(&cfg)
		}
		s, err := handlers.New(cfg)
		if err != nil {
			b.Fatal(err)
		}
		return s.Handler()
	}
	gate, err := admission.New(admission.Config{Slots: 2, Queue: 8, Wait: time.Second, Memory: 1 << 30, Bodies: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	discard := slog.New(slog.NewJSONHandler(io.Discard, nil)) //nolint:sloglint // writing the line is part of the cost
	full := serverOf(func(c *handlers.Config) {
		c.Log, c.Access.APIKeys, c.Admission, c.Server.ClientRate, c.Server.MaxConnections = discard, path, gate, 1e9, 1000
	})
	open := serverOf(func(c *handlers.Config) { c.Log = discard })
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(1 << 20); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		f, _, err := r.FormFile("image")
		if err == nil {
			_, err = io.Copy(io.Discard, f)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, _ = w.Write(samplePNG)
	})
	var took [3]time.Duration
	for b.Loop() {
		for i, h := range []http.Handler{full, open, bare} {
			r := httptest.NewRequest("POST", "/v1/results", bytes.NewReader(body))
			r.Header.Set("Content-Type", contentType)
			r.Header.Set("X-Api-Key", secret)
			rec := httptest.NewRecorder()
			start := time.Now()
			h.ServeHTTP(rec, r)
			took[i] += time.Since(start)
			if rec.Code != http.StatusOK {
				b.Fatalf("%d %s", rec.Code, rec.Body)
			}
		}
	}
	p, err := engine()
	if err != nil {
		b.Fatal(err)
	}
	data, err := os.ReadFile("../testdata/photos/astronaut.png")
	if err != nil {
		b.Fatal(err)
	}
	const runs = 5
	start := time.Now()
	for range runs {
		if _, err := p.Run(context.Background(), data, pipeline.Options{Quality: pipeline.Fast}); err != nil {
			b.Fatal(err)
		}
	}
	each := time.Since(start) / runs
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 / float64(b.N) }
	b.ReportMetric(us(took[0]), "full-µs")
	b.ReportMetric(us(took[1]), "open-µs")
	b.ReportMetric(us(took[2]), "bare-µs")
	b.ReportMetric(100*us(took[0]-took[2])/(float64(each.Nanoseconds())/1e3), "%-of-a-picture")
	b.ReportMetric(100*us(took[0]-took[1])/(float64(each.Nanoseconds())/1e3), "%-keys-and-limits")
}
