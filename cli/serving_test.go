package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"cutout/weights"
)

// serveInTest runs the server until the test ends, and returns its address once it is ready.
func serveInTest(t *testing.T, args ...string) (addr string, log *lockedBuffer) {
	t.Helper()
	log = &lockedBuffer{}
	p := Program{Version: "v1.2.3", OpenAPI: []byte("openapi: 3.0.3"), Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: log}
	parser, err := newParser(p)
	if err != nil {
		t.Fatal(err)
	}
	command, err := parser.Parse(append([]string{"--addr", "127.0.0.1:0", "--data-dir", t.TempDir(), "--fetch-only-allowed"}, args...))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	command.BindTo(ctx, (*context.Context)(nil))
	done := make(chan error, 1)
	go func() { done <- command.Run() }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	ready := regexp.MustCompile(`"msg":"ready","addr":"([^"]+)"`)
	for deadline := time.Now().Add(120 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if m := ready.FindStringSubmatch(log.String()); m != nil {
			return m[1], log
		}
		if time.Now().After(deadline) {
			t.Fatalf("does not come up: %s", log.String())
		}
	}
}

// testCertificate writes a certificate for 127.0.0.1 and its key.
func testCertificate(t *testing.T, dir string) (certFile, keyFile string, roots *x509.CertPool) {
	t.Helper()
	source := httptest.NewTLSServer(http.NotFoundHandler())
	defer source.Close()
	pair := source.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, keyFile: {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots = x509.NewCertPool()
	roots.AddCert(source.Certificate())
	return certFile, keyFile, roots
}

func rembgForm(t *testing.T, photo []byte, fields map[string]string) (contentType string, body []byte) {
	t.Helper()
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	part, err := w.CreateFormFile("file", "a.png")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part.Write(photo); err != nil {
		t.Fatal(err)
	}
	for name, value := range fields {
		if err := w.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), buf.Bytes()
}

// The whole of it: HTTPS with HTTP/2, a network of one's own, a repeated request, a body that is too large, a certificate
// read again.
func TestServeHTTPS(t *testing.T) {
	dir := t.TempDir()
	cert, key, roots := testCertificate(t, dir)
	people, _ := weights.Lookup(weights.People)
	data, err := people.Load()
	if err != nil {
		t.Fatal(err)
	}
	const description = "[input]\nwidth = 256\nheight = 256\nscale = \"255\"\nmean = [0,0,0]\nstd = [1,1,1]\n"
	for name, content := range map[string][]byte{"u2net_custom.onnx": data, "u2net_custom.toml": []byte(description)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	addr, log := serveInTest(t, "--tls-cert", cert, "--tls-key", key, "--weights-dir", dir, "--rembg-max-request", "2MB", "--rembg-max-file", "1MB")
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	read := func(res *http.Response, err error) (int, http.Header, string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		if res.ProtoMajor != 2 {
			t.Errorf("%s", res.Proto)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, res.Header, string(body)
	}

	m := image.NewNRGBA(image.Rect(0, 0, 64, 64))
	draw.Draw(m, m.Rect, image.NewUniform(color.NRGBA{R: 30, G: 90, B: 200, A: 255}), image.Point{}, draw.Src)
	draw.Draw(m, image.Rect(20, 20, 44, 44), image.NewUniform(color.NRGBA{R: 250, G: 220, B: 10, A: 255}), image.Point{}, draw.Src)
	var photo bytes.Buffer
	if err := png.Encode(&photo, m); err != nil {
		t.Fatal(err)
	}
	remove := func(fields map[string]string) (int, http.Header, string) {
		t.Helper()
		contentType, body := rembgForm(t, photo.Bytes(), fields)
		return read(client.Post("https://"+addr+"/api/remove", contentType, bytes.NewReader(body)))
	}
	status, header, first := remove(nil)
	if status != 200 || header.Get("X-Cutout-Model") != "u2netp" || header.Get("X-Cutout-Model-Version") != "309c8469258d" {
		t.Fatalf("%d %v %q", status, header, first)
	}
	if status, _, again := remove(nil); status != 200 || again != first {
		t.Errorf("repeated: %d, %d bytes", status, len(again))
	}
	if status, header, _ := remove(map[string]string{"model": "u2net_custom"}); status != 200 || header.Get("X-Cutout-Model") != "u2net_custom" ||
		header.Get("X-Cutout-Model-Version") != people.Version() {
		t.Errorf("one's own network: %d %v", status, header)
	}
	contentType, body := rembgForm(t, make([]byte, 3<<20), nil)
	if status, _, text := read(client.Post("https://"+addr+"/api/remove", contentType, bytes.NewReader(body))); status != 413 {
		t.Errorf("too large: %d %s", status, text)
	}
	_, _, metrics := read(client.Get("https://" + addr + "/metrics"))
	for _, want := range []string{
		`cutout_cache_requests_total{outcome="hit"} 1`, `cutout_cache_requests_total{outcome="miss"} 2`,
		`cutout_model_loads_total{model="u2net_custom"} 1`, `cutout_model_bytes{model="u2netp"}`, `cutout_model_substituted_total{model="u2net"}`,
		`cutout_stage_duration_seconds_count{stage="cache"} 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no line with %s", want)
		}
	}
	if res, err := http.Get("http://" + addr + "/healthz"); err == nil {
		_ = res.Body.Close()
		if res.StatusCode != 400 {
			t.Errorf("plain HTTP: %d", res.StatusCode)
		}
	}

	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := self.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(60 * time.Second); !strings.Contains(log.String(), "the certificate was read again"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("SIGHUP does nothing")
		}
	}
}

func TestServeRefusesCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key, _ := testCertificate(t, dir)
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no key":         {[]string{"--tls-cert", cert}, "one needs the other"},
		"no certificate": {[]string{"--tls-key", key}, "one needs the other"},
		"missing":        {[]string{"--tls-cert", filepath.Join(dir, "none"), "--tls-key", key}, "none"},
		"exchanged":      {[]string{"--tls-cert", key, "--tls-key", cert}, "switched"},
		"cache":          {[]string{"--cache-ttl", "0s"}, "--cache-ttl"},
		"models":         {[]string{"--max-models", "-1"}, "--max-models"},
	} {
		got := run(t, "", append([]string{"--addr", "127.0.0.1:0", "--data-dir", t.TempDir()}, tc.args...)...)
		if got.code != exitUsage || !strings.Contains(got.stderr, tc.want) {
			t.Errorf("%s: exit %d: %s", name, got.code, got.stderr)
		}
	}
}

func TestWeightsPull(t *testing.T) {
	t.Parallel()
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/w/silueta.onnx":
			fmt.Fprint(w, "not the network")
		default:
			http.NotFound(w, r)
		}
	}))
	defer mirror.Close()
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"nothing named": {nil, exitUsage, "which network?"},
		"unknown":       {[]string{"nonet"}, exitUsage, `no network "nonet"`},
		"all and one":   {[]string{"--all", "u2net"}, exitUsage, "not both"},
		"built in":      {[]string{"u2netp"}, exitOK, "u2netp: built in"},
		"not the file":  {[]string{"silueta", "--weights-url", mirror.URL + "/w"}, exitFailure, "its size is not 44173029 bytes"},
		"not there":     {[]string{"u2net", "--weights-url", mirror.URL + "/w"}, exitFailure, "404 Not Found"},
		"bad mirror":    {[]string{"u2net", "--weights-url", "ftp://x"}, exitFailure, "want a URL"},
	} {
		got := run(t, "", append([]string{"weights", "pull", "--weights-dir", dir}, tc.args...)...)
		if got.code != tc.code || !strings.Contains(got.stdout+got.stderr, tc.want) {
			t.Errorf("%s: exit %d, want %d with %q\n%s%s", name, got.code, tc.code, tc.want, got.stdout, got.stderr)
		}
	}
	if got := run(t, "", "weights", "list", "--weights-dir", dir); got.code != exitOK || !strings.Contains(got.stdout, "silueta") ||
		strings.Contains(got.stdout, " installed  ") && !strings.Contains(got.stdout, "not installed") {
		t.Errorf("exit %d: %s%s", got.code, got.stdout, got.stderr)
	}
}
