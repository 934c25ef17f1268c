package web

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// maxFront bounds what the front page loads, uncompressed, in bytes.
const maxFront = 200_000

func newSite(t *testing.T) *Site {
	t.Helper()
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func get(t *testing.T, s *Site, path string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest("GET", path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	if err := s.Serve(w, r); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return w
}

// linked finds what a page or a module loads from the server.
var linked = regexp.MustCompile(`(?:src|href)="(assets/[^"]+)"|from "\./([^"]+)"`)

// load returns everything a page loads, by path.
func load(t *testing.T, s *Site, path string) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	var visit func(path string)
	visit = func(path string) {
		if found[path] != nil {
			return
		}
		found[path] = get(t, s, path).Body.Bytes()
		if strings.HasSuffix(path, ".svg") || strings.Contains(path, "swagger-ui") {
			return
		}
		for _, m := range linked.FindAllSubmatch(found[path], -1) {
			if len(m[1]) > 0 {
				visit("/" + string(m[1]))
			} else {
				visit(assetPath + string(m[2]))
			}
		}
	}
	visit(path)
	return found
}

func TestFrontPageIsLight(t *testing.T) {
	t.Parallel()
	sum := 0
	files := load(t, newSite(t), "/")
	for name, data := range files {
		t.Logf("%7d %s", len(data), name)
		sum += len(data)
	}
	if sum > maxFront || len(files) < 8 {
		t.Errorf("%d files of %d bytes, at most %d are wanted", len(files), sum, maxFront)
	}
}

// What the policy would refuse does not stand in a page, and nothing that blocks its first paint but its own styles.
func TestPagesKeepToThePolicy(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for path := range pages {
		document := get(t, s, path).Body.String()
		for what, pattern := range map[string]string{
			"an inline style": `<style|\sstyle=`, "an inline handler": `\son[a-z]+=`, "an inline script": `<script[^>]*>[^<]`,
			"another host": `(?:src|href|action)="(?:[a-z]+:)?//`,
		} {
			if found := regexp.MustCompile(pattern).FindString(document); found != "" {
				t.Errorf("%s has %s: %s", path, what, found)
			}
		}
		for _, script := range regexp.MustCompile(`<script[^>]*>`).FindAllString(document, -1) {
			if !strings.Contains(script, `type="module"`) && !strings.Contains(script, " defer") {
				t.Errorf("%s: %s holds up the first paint", path, script)
			}
		}
		if !strings.Contains(document, `<html lang="en"`) || !strings.Contains(document, "<noscript>") {
			t.Errorf("%s tells neither its language nor what it is without scripts", path)
		}
	}
	for name, f := range s.assets {
		if strings.HasPrefix(name, "swagger-ui") {
			continue
		}
		if strings.HasSuffix(name, ".css") && regexp.MustCompile(`@import|url\(`).Match(f.plain) {
			t.Errorf("%s loads something", name)
		}
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	plain := get(t, s, "/assets/app.css")
	packed := get(t, s, "/assets/app.css", "Accept-Encoding", "br, gzip;q=0.5")
	if packed.Header().Get("Content-Encoding") != "gzip" || packed.Header().Get("ETag") == plain.Header().Get("ETag") {
		t.Errorf("compressed: %v", packed.Header())
	}
	if got := unpack(t, packed.Body.Bytes()); !bytes.Equal(got, plain.Body.Bytes()) {
		t.Error("compressed it is another file")
	}
	if got := get(t, s, "/assets/app.css", "Accept-Encoding", "gzip;q=0"); got.Header().Get("Content-Encoding") != "" {
		t.Error("gzip is sent to a client that refuses it")
	}
	again := get(t, s, "/assets/app.css", "If-None-Match", plain.Header().Get("ETag"))
	if again.Code != http.StatusNotModified || again.Body.Len() > 0 {
		t.Errorf("a client that has it: %d", again.Code)
	}
	viewer := get(t, s, "/assets/swagger-ui.css")
	if packed := get(t, s, "/assets/swagger-ui.css", "Accept-Encoding", "gzip"); !bytes.Equal(unpack(t, packed.Body.Bytes()), viewer.Body.Bytes()) {
		t.Error("the viewer's style differs between its forms")
	}
	for _, path := range []string{"/assets/", "/assets/nothing.js", "/assets/index.html", "/assets/../index.html", "/nowhere"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.Path = path
		if err := s.Serve(httptest.NewRecorder(), r); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func unpack(t *testing.T, data []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

func TestThemeComesWithThePage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for cookie, want := range map[string]string{
		"": `<html lang="en">`, "cutout_theme=dark": `<html data-theme="dark" lang="en">`, "a=b; cutout_theme=light": `<html data-theme="light" lang="en">`,
		`cutout_theme="><script>`: `<html lang="en">`,
	} {
		if got := get(t, s, "/status", "Cookie", cookie).Body.String(); !strings.Contains(got, want) {
			t.Errorf("%q: %.80s", cookie, got)
		}
	}
}

// Text must stand out 4.5 to 1 and what surrounds it 3 to 1 (WCAG 2.2, 1.4.3 and 1.4.11, level AA).
func TestContrast(t *testing.T) {
	t.Parallel()
	style := get(t, newSite(t), "/assets/app.css").Body.String()
	blocks := regexp.MustCompile(`:root([^{\s]*) \{([^}]*)\}`).FindAllStringSubmatch(style, -1)
	themes := map[string]map[string]string{}
	for _, b := range blocks {
		colors := map[string]string{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{6});`).FindAllStringSubmatch(b[2], -1) {
			colors[m[1]] = m[2]
		}
		if len(colors) > 0 {
			themes[b[1]] = colors
		}
	}
	if len(themes) != 3 {
		t.Fatalf("%d themes are found, want light, dark by choice and dark as the system", len(themes))
	}
	chosen, system := themes[`[data-theme="dark"]`], themes[`:not([data-theme="light"])`]
	if fmt.Sprint(chosen) != fmt.Sprint(system) {
		t.Errorf("dark differs between choice and system:\n%v\n%v", chosen, system)
	}
	for name, colors := range themes {
		for _, pair := range []struct {
			least    float64
			fore, on string
		}{
			{4.5, "text", "ground surface raised bad-tint"}, {4.5, "muted", "ground surface raised"},
			{4.5, "on-accent", "accent accent-hover"}, {4.5, "link", "ground surface tint raised"}, {4.5, "bad", "ground surface bad-tint"},
			{4.5, "good", "ground"}, {4.5, "code-text", "code"}, {4.5, "code-muted", "code"},
			{3, "field", "ground surface raised"}, {3, "link", "ground surface"}, {3, "accent", "surface"},
		} {
			for on := range strings.FieldsSeq(pair.on) {
				if got := contrast(t, colors[pair.fore], colors[on]); got < pair.least {
					t.Errorf("theme %q: %s %s on %s %s is %.2f to 1, want %.1f", name, pair.fore, colors[pair.fore], on, colors[on], got, pair.least)
				}
			}
		}
	}
}

// contrast is WCAG's ratio of two colours, from 1 to 21.
func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	la, lb := luminance(t, a), luminance(t, b)
	return (max(la, lb) + 0.05) / (min(la, lb) + 0.05)
}

// luminance is relative luminance as WCAG defines it, 0..1.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	n, err := strconv.ParseUint(strings.TrimPrefix(hex, "#"), 16, 32)
	if err != nil {
		t.Fatalf("%q is no colour", hex)
	}
	linear := func(shift int) float64 {
		v := float64(n>>shift&0xff) / 255
		if v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(16) + 0.7152*linear(8) + 0.0722*linear(0)
}
