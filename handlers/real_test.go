package handlers_test

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cutout/fetch"
	"cutout/handlers"
	"cutout/pipeline"
)

// engine is the real pipeline, loaded once for all tests.
var engine = sync.OnceValues(func() (*pipeline.Pipeline, error) {
	return pipeline.New(context.Background(), pipeline.Config{})
})

// startReal runs a server on the real pipeline and fetcher, which reaches loopback and nothing else.
func startReal(t *testing.T) *bundle {
	t.Helper()
	p, err := engine()
	if err != nil {
		t.Fatal(err)
	}
	f, err := fetch.New(fetch.Config{
		Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, OnlyAllowed: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return start(t, func(c *handlers.Config) {
		c.Processor, c.Fetcher = p, f
		// Busy machines and the race detector make pictures slow; how long they take is not what is tested here.
		c.Server.BodyTimeout, c.Server.RequestTimeout, c.Server.WriteTimeout = 2*time.Minute, 2*time.Minute, 2*time.Minute
	})
}

// subject is an orange disc on a grey ground, which every network finds; corner marks the picture's top left.
func subject(w, h int) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			c := color.NRGBA{R: 190, G: 195, B: 200, A: 255}
			if dx, dy := x-w/2, y-h/2; dx*dx+dy*dy < h*h/10 {
				c = color.NRGBA{R: 230, G: 110, B: 20, A: 255}
			}
			img.SetNRGBA(x, y, c)
		}
	}
	return img
}

func asPNG(t *testing.T, img image.Image) string {
	t.Helper()
	var buf bytes.Buffer
	if err := png.Encode(&buf, img); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

func asJPEG(t *testing.T, img image.Image) string {
	t.Helper()
	var buf bytes.Buffer
	if err := jpeg.Encode(&buf, img, nil); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

func (o outcome) decode(t *testing.T) image.Image {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(o.picture))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestRealModes(t *testing.T) {
	t.Parallel()
	b := startReal(t)
	photo := asPNG(t, subject(200, 150))
	boxes := map[string]bool{}
	for _, mode := range []string{"fg-image", "fg-mask", "fg-image-shadow"} {
		reply := b.post("/v1/results?mode="+mode, file("image", "a.png", photo))
		got := reply.outcome(t)
		if got.code != "ok" || got.width != 200 || got.height != 150 || got.md5 != md5Of(photo) {
			t.Fatalf("%s: %+v", mode, got)
		}
		_, box, _ := strings.Cut(reply.body, `"box":`)
		boxes[box] = true
		img := got.decode(t)
		if img.Bounds() != image.Rect(0, 0, 200, 150) {
			t.Errorf("%s: the result has %v", mode, img.Bounds())
		}
		switch img := img.(type) {
		case *image.Gray:
			if mode != "fg-mask" {
				t.Errorf("%s: is grey", mode)
			}
			if in, out := img.GrayAt(100, 75).Y, img.GrayAt(2, 2).Y; in < 250 || out != 0 {
				t.Errorf("%s: %d inside, %d outside", mode, in, out)
			}
		case *image.NRGBA:
			if mode == "fg-mask" {
				t.Errorf("%s: has colours", mode)
			}
			if in := img.NRGBAAt(100, 75); in.A < 250 || in.R != 230 || in.G != 110 || in.B != 20 {
				t.Errorf("%s: %v inside", mode, in)
			}
			if out := img.NRGBAAt(2, 2); out.A != 0 {
				t.Errorf("%s: %v outside", mode, out)
			}
		default:
			t.Errorf("%s: is a %T", mode, img)
		}
	}
	if len(boxes) != 1 {
		t.Errorf("the box depends on the mode: %v", boxes)
	}
}

func TestRealBackgrounds(t *testing.T) {
	t.Parallel()
	b := startReal(t)
	photo := asJPEG(t, subject(200, 150))
	blue := image.NewNRGBA(image.Rect(0, 0, 40, 90))
	for i := range blue.Pix {
		blue.Pix[i] = []uint8{0, 0, 255, 255}[i%4]
	}
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/photos/a%20b.jpg", "/photos/a b.jpg":
			_, _ = w.Write([]byte(photo))
		case "/blue.png":
			_, _ = w.Write([]byte(asPNG(t, blue)))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(origin.Close)

	for name, parts := range map[string][]part{
		"as a file": {file("image", "a.jpg", photo), file("image-bg", "b.png", asPNG(t, blue))},
		"by url":    {text("url", origin.URL+"/photos/a%20b.jpg?x=1"), text("url-bg", origin.URL+"/blue.png")},
	} {
		got := b.post("/v1/results", parts...).outcome(t)
		if got.code != "ok" || got.md5 != md5Of(photo) {
			t.Fatalf("%s: %+v", name, got)
		}
		if name == "by url" && got.name != "a b.jpg" {
			t.Errorf("%s: name %q", name, got.name)
		}
		img := got.decode(t)
		if img.Bounds() != image.Rect(0, 0, 200, 150) {
			t.Errorf("%s: the result has %v", name, img.Bounds())
		}
		if r, g, bl, a := img.At(2, 2).RGBA(); r>>8 > 5 || g>>8 > 5 || bl>>8 < 250 || a>>8 != 255 {
			t.Errorf("%s: %d %d %d %d below the subject", name, r>>8, g>>8, bl>>8, a>>8)
		}
	}
	for want, parts := range map[string][]part{
		"Can not load background image.": {file("image", "a.jpg", photo), file("image-bg", "b.png", "no picture")},
		"Can not load background image. The server of the URL answered 404 Not Found.": {
			file("image", "a.jpg", photo), text("url-bg", origin.URL+"/none"),
		},
		"Can not load image. The server of the URL answered 404 Not Found.":    {text("url", origin.URL+"/none.jpg")},
		"Can not load image. The URL leads to an address that is not allowed.": {text("url", "http://10.1.2.3/a.jpg")},
		"Can not load image.": {file("image", "a.jpg", "no picture")},
	} {
		got := b.post("/v1/results", parts...).outcome(t)
		if got.code != "failure" || got.message != want || got.entities != 0 {
			t.Errorf("got %+v, want %q", got, want)
		}
	}
}

func TestRealLimits(t *testing.T) {
	t.Parallel()
	b := startReal(t)
	long := asPNG(t, image.NewGray(image.Rect(0, 0, 4097, 1)))
	heavy := asPNG(t, subject(20, 20)) + strings.Repeat("x", 16<<20)
	gif := "GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
	for want, picture := range map[string]string{
		"Resolution is too big: 4097x1. Max allowed resolution: 4096x4096.": long,
		"File size is too big: ": heavy,
		"Can not load image.":    gif,
	} {
		got := b.post("/v1/results", file("image", "a.png", picture)).outcome(t)
		if got.code != "failure" || !strings.HasPrefix(got.message, want) || got.md5 != md5Of(picture) {
			t.Errorf("got %+v, want %q", got, want)
		}
	}
	if got := b.post("/v1/results", file("image", "flat.png", asPNG(t, image.NewGray(image.Rect(0, 0, 64, 64))))); !strings.Contains(got.body, `"objects":[]`) {
		t.Errorf("a flat picture: %s", got.body)
	}
}

// Every odd and hostile file gets a picture or a clear failure, never a status of its own.
func TestRealNastyFiles(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..", "shared", "data", "nasty")
	if _, err := os.Stat(root); err != nil {
		t.Skip("the odd files are not here: " + root)
	}
	if testing.Short() {
		t.Skip("takes a while")
	}
	b := startReal(t)
	var files []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ok := 0
	for i, path := range files {
		// The network is the same for all: a sample of the good ones is enough here, the decoder's tests take them all.
		if !strings.Contains(path, "crafted") && i%24 != 0 {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		reply := b.post("/v1/results?mode=fg-mask", file("image", filepath.Base(path), string(data)))
		got := reply.outcome(t)
		if got.name != filepath.Base(path) || got.md5 != md5Of(string(data)) || got.message == "Processing failed" {
			t.Errorf("%s: %+v", path, got)
		}
		if got.code == "ok" {
			ok++
			if bounds := got.decode(t).Bounds(); bounds.Dx() != got.width || bounds.Dy() != got.height {
				t.Errorf("%s: %dx%d is announced, %v came", path, got.width, got.height, bounds)
			}
		}
	}
	t.Logf("%d of the files gave a picture", ok)
	if ok == 0 {
		t.Error("none gave a picture")
	}
}
