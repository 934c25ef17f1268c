// Package web is the page in the browser: the front page, the API reference and the status page, embedded in the binary.
//
// The pages ask nothing of any other host and have neither inline scripts nor inline styles, which their
// Content-Security-Policy enforces. They call the same API as every other client.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/swaggest/swgui/v5/static"
)

//go:embed assets
var assets embed.FS

// Policy is the Content-Security-Policy of every page. Pictures and clips are shown as blob: URLs, and the viewer of the API
// reference draws its icons from data: URLs.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// pages are the documents by their path; everything else lies below assetPath.
var pages = map[string]string{"/": "index.html", "/docs": "docs.html", "/status": "status.html"}

const assetPath = "/assets/"

// Paths lists what the site answers, with the name of an asset in braces.
func Paths() []string { return []string{"/", "/docs", "/status", assetPath + "{file}"} }

// viewer names what is taken of Swagger UI, which its module carries compressed.
var viewer = []string{"swagger-ui.css", "swagger-ui-bundle.js"}

// types are those of the assets; what a system says about extensions differs from one to the next.
var types = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
	".svg": "image/svg+xml", ".jpg": "image/jpeg", ".webp": "image/webp",
}

// themeCookie is what the pages keep the chosen theme in, so that a page is painted in it from the start.
const themeCookie = "cutout_theme"

// file is one thing to serve.
type file struct {
	contentType string
	plain       []byte // nil: only compressed is kept
	compressed  []byte // gzip; nil where that gains nothing
	tag         string // of the plain form, for ETag
}

// Site serves the pages. It is safe for concurrent use.
type Site struct {
	pages  map[string]map[string]file // by path and theme
	assets map[string]file            // by name
}

// New reads the embedded files.
func New() (*Site, error) {
	s := &Site{pages: map[string]map[string]file{}, assets: map[string]file{}}
	entries, err := fs.ReadDir(assets, "assets")
	if err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	for _, entry := range entries {
		data, err := fs.ReadFile(assets, path.Join("assets", entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("web: %w", err)
		}
		if s.assets[entry.Name()], err = newFile(entry.Name(), data); err != nil {
			return nil, err
		}
	}
	for where, name := range pages {
		document := s.assets[name].plain
		delete(s.assets, name)
		s.pages[where] = map[string]file{}
		for _, theme := range []string{"", "light", "dark"} {
			themed := document
			if theme != "" {
				themed = bytes.Replace(document, []byte("<html "), []byte(`<html data-theme="`+theme+`" `), 1)
			}
			if s.pages[where][theme], err = newFile(name, themed); err != nil {
				return nil, err
			}
		}
	}
	for _, name := range viewer {
		data, err := fs.ReadFile(static.FS, name+".gz")
		if err != nil {
			return nil, fmt.Errorf("web: %w", err)
		}
		s.assets[name] = file{contentType: types[path.Ext(name)], compressed: data, tag: sum(data)}
	}
	return s, nil
}

func newFile(name string, data []byte) (file, error) {
	f := file{contentType: types[path.Ext(name)], plain: data, tag: sum(data)}
	if f.contentType == "" {
		return file{}, fmt.Errorf("web: %s: its type is not known", name)
	}
	if media, _, _ := mime.ParseMediaType(f.contentType); strings.HasPrefix(media, "text/") || strings.HasSuffix(media, "xml") {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write(data); err != nil {
			return file{}, fmt.Errorf("web: %s: %w", name, err)
		}
		if err := w.Close(); err != nil {
			return file{}, fmt.Errorf("web: %s: %w", name, err)
		}
		f.compressed = b.Bytes()
	}
	return f, nil
}

func sum(data []byte) string {
	digest := sha256.Sum256(data)
	return hex.EncodeToString(digest[:8])
}

// ErrNotFound says that the site has nothing at a path.
var ErrNotFound = errors.New("web: there is nothing here")

// Serve answers a GET request for one of Paths. It returns ErrNotFound, with nothing written, for an asset that there
// is not.
func (s *Site) Serve(w http.ResponseWriter, r *http.Request) error {
	f, ok := file{}, false
	if themes, page := s.pages[r.URL.Path]; page {
		w.Header().Set("Vary", "Cookie, Accept-Encoding")
		if f, ok = themes[theme(r)]; !ok {
			f, ok = themes[""]
		}
	} else if name, below := strings.CutPrefix(r.URL.Path, assetPath); below {
		f, ok = s.assets[name]
		if ok {
			w.Header().Set("Vary", "Accept-Encoding")
		}
	}
	if !ok {
		return ErrNotFound
	}
	return f.serve(w, r)
}

func theme(r *http.Request) string {
	cookie, err := r.Cookie(themeCookie)
	if err != nil {
		return ""
	}
	return cookie.Value
}

func (f file) serve(w http.ResponseWriter, r *http.Request) error {
	data, tag := f.plain, f.tag
	switch {
	case f.compressed != nil && acceptsGzip(r):
		data, tag = f.compressed, f.tag+"-gzip"
		w.Header().Set("Content-Encoding", "gzip")
	case f.plain == nil:
		reader, err := gzip.NewReader(bytes.NewReader(f.compressed))
		if err != nil {
			return fmt.Errorf("web: %w", err)
		}
		if data, err = io.ReadAll(reader); err != nil {
			return fmt.Errorf("web: %w", err)
		}
	}
	header := w.Header()
	header.Set("Content-Type", f.contentType)
	header.Set("Content-Security-Policy", Policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cache-Control", "no-cache") // kept, but asked about: a new version must not meet the old one's script
	header.Set("ETag", `"`+tag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	return nil
}

// acceptsGzip tells whether a client takes gzip; a client that gives it the weight 0 does not.
func acceptsGzip(r *http.Request) bool {
	for coding := range strings.SplitSeq(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		name, weight, _ := strings.Cut(strings.ReplaceAll(coding, " ", ""), ";")
		if strings.EqualFold(name, "gzip") {
			return strings.Trim(strings.TrimPrefix(strings.ToLower(weight), "q="), "0.") != "" || weight == ""
		}
	}
	return false
}
