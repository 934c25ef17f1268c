package handlers_test

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cutout/codec"
	"cutout/fetch"
	"cutout/handlers"
	"cutout/pipeline"
)

const rembgPath = "/api/remove"

// rembgParameters maps parameters to options. bgc is always in the query.
var rembgParameters = map[string]struct {
	params map[string]string
	color  string
	want   func(*pipeline.Options)
}{
	"defaults": {nil, "", func(*pipeline.Options) {}},
	"model":    {map[string]string{"model": "isnet-general-use"}, "", func(o *pipeline.Options) { o.Model = "isnet-general-use" }},
	"model of people": {map[string]string{"model": "u2net_human_seg"}, "", func(o *pipeline.Options) {
		o.Model, o.Subject = "u2net_human_seg", pipeline.Human
	}},
	"matting": {map[string]string{"a": "true"}, "", func(o *pipeline.Options) {
		o.Quality = pipeline.Precise
		o.Matting = &pipeline.MattingOptions{ForegroundThreshold: 240, BackgroundThreshold: 10, ErodeSize: 10}
	}},
	"matting with knobs": {map[string]string{"a": "1", "af": "255", "ab": "0", "ae": "0"}, "", func(o *pipeline.Options) {
		o.Quality, o.Matting = pipeline.Precise, &pipeline.MattingOptions{ForegroundThreshold: 255}
	}},
	"knobs without matting": {map[string]string{"a": "false", "af": "200", "ab": "20", "ae": "40"}, "", func(*pipeline.Options) {}},
	"whole numbers as fractions": {map[string]string{"a": "yes", "af": "200.0", "ae": "99999999999999999999"}, "", func(o *pipeline.Options) {
		o.Quality = pipeline.Precise
		o.Matting = &pipeline.MattingOptions{ForegroundThreshold: 200, BackgroundThreshold: 10, ErodeSize: 1<<31 - 1}
	}},
	"only the mask":   {map[string]string{"om": "on"}, "", func(o *pipeline.Options) { o.Output = pipeline.Mask }},
	"mask, matting":   {map[string]string{"om": "T", "a": "t"}, "", func(o *pipeline.Options) { o.Output = pipeline.Mask }},
	"post-processing": {map[string]string{"ppm": "True"}, "", func(o *pipeline.Options) { o.Clean = true }},
	"decontamination": {map[string]string{"dc": "true"}, "", func(o *pipeline.Options) { o.Quality = pipeline.Balanced }},
	"colour": {nil, "255,128,0,200", func(o *pipeline.Options) {
		o.Background = &pipeline.Background{Color: color.NRGBA{R: 255, G: 128, A: 200}}
	}},
	"colour without alpha": {nil, "1, 2, 3", func(o *pipeline.Options) {
		o.Background = &pipeline.Background{Color: color.NRGBA{R: 1, G: 2, B: 3, A: 255}}
	}},
}

func TestRembgOptions(t *testing.T) {
	t.Parallel()
	const link = "http://pictures/shoes.jpg"
	for name, tc := range rembgParameters {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := pipeline.Options{
				Output: pipeline.Cutout, Quality: pipeline.Fast, Format: codec.PNG, Model: "u2net",
				Limits: codec.Limits{MaxBytes: 50 << 20, MaxPixels: 50e6},
			}
			tc.want(&want)
			b := start(t, nil)
			b.processor.run = formatted
			b.fetcher.files[link] = "shoes"
			check := func(way string, got reply, image string) {
				t.Helper()
				if got.status != 200 || got.header.Get("Content-Type") != "image/png" || got.body != string(samplePNG) || got.header.Get("X-Cutout-Model") != "u2netp" {
					t.Errorf("%s: %d %v %.200q", way, got.status, got.header, got.body)
					return
				}
				last := b.processor.last(t)
				if diff := cmp.Diff(want, last.options); diff != "" {
					t.Errorf("%s: (-want +got)\n%s", way, diff)
				}
				if string(last.image) != image {
					t.Errorf("%s: the processor got %q", way, last.image)
				}
			}
			query, parts := url.Values{"extras": {"{\"putalpha\":true}"}}, []part(nil)
			if tc.color != "" {
				query.Set("bgc", tc.color)
			}
			for name, value := range tc.params {
				parts = append(parts, text(name, value))
			}
			contentType, body := form(t, append(parts, file("file", "a.jpg", photo))...)
			check("POST", b.send(b.quirky, "POST", rembgPath+"?"+query.Encode(), contentType, string(body)), photo)
			for name, value := range tc.params {
				query.Set(name, value)
			}
			query.Set("url", link)
			check("GET", b.send(b.quirky, "GET", rembgPath+"?"+query.Encode(), "", ""), "shoes")
		})
	}
}

// What is read from the form is not looked for in the query and the other way round.
func TestRembgPlaces(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.processor.run = formatted
	contentType, body := form(t, file("file", "a.jpg", photo), text("bgc", "1,2,3,4"), text("a", ""), text("af", ""))
	got := b.send(b.quirky, "POST", rembgPath+"?model=sam&a=true&om=nonsense&extras=nonsense", contentType, string(body))
	if got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if o := b.processor.last(t).options; o.Model != "u2net" || o.Quality != pipeline.Fast || o.Background != nil || o.Output != pipeline.Cutout {
		t.Errorf("got %+v", o)
	}
	// Of a parameter that is given twice the last counts.
	b.fetcher.files["http://p/b"] = "b"
	got = b.send(b.quirky, "GET", rembgPath+"?url=http://p/a&url=http://p/b&om=true&om=false", "", "")
	if got.status != 200 || b.processor.last(t).options.Output != pipeline.Cutout {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// The replies of FastAPI to the letter.
func TestRembgInvalidParameters(t *testing.T) {
	t.Parallel()
	pattern := "(u2net|u2netp|u2net_human_seg|u2net_cloth_seg|u2net_custom|silueta|isnet-general-use|isnet-anime|dis_custom|sam|" +
		"birefnet-general|birefnet-general-lite|birefnet-portrait|birefnet-dis|birefnet-hrsod|birefnet-cod|birefnet-massive|" +
		"ben_custom|bria-rmbg)"
	boolean := func(name, value string) string {
		return `{"type":"bool_parsing","loc":["query","` + name + `"],"msg":"Input should be a valid boolean, unable to interpret input","input":"` + value + `"}`
	}
	integer := func(name, value string) string {
		return `{"type":"int_parsing","loc":["query","` + name + `"],"msg":"Input should be a valid integer, unable to parse string as an integer","input":"` + value + `"}`
	}
	colour := func(value string) string {
		return `{"type":"value_error","loc":["query","bgc"],"msg":"Value error, the colour must be r,g,b,a with values from 0 to 255","input":"` + value + `"}`
	}
	below := func(name, value string) string {
		return `{"type":"greater_than_equal","loc":["query","` + name + `"],"msg":"Input should be greater than or equal to 0","input":"` + value + `","ctx":{"ge":0}}`
	}
	above := func(name, value string) string {
		return `{"type":"less_than_equal","loc":["query","` + name + `"],"msg":"Input should be less than or equal to 255","input":"` + value + `","ctx":{"le":255}}`
	}
	b := start(t, nil)
	b.processor.run = formatted
	for query, want := range map[string]string{
		"":                              `{"type":"missing","loc":["query","url"],"msg":"Field required","input":null}`,
		"url=x&a=2":                     boolean("a", "2"),
		"url=x&om=":                     boolean("om", ""),
		"url=x&ppm=maybe&dc=-1":         boolean("ppm", "maybe") + "," + boolean("dc", "-1"),
		"url=x&af=256":                  above("af", "256"),
		"url=x&af=-1":                   below("af", "-1"),
		"url=x&ab=1e3":                  integer("ab", "1e3"),
		"url=x&ab=99999999999999999999": above("ab", "99999999999999999999"),
		"url=x&ae=-10":                  below("ae", "-10"),
		"url=x&ae=1.5":                  integer("ae", "1.5"),
		"url=x&ae=":                     integer("ae", ""),
		"url=x&bgc=red":                 colour("red"),
		"url=x&bgc=1,2":                 colour("1,2"),
		"url=x&bgc=1,2,3,256":           colour("1,2,3,256"),
		"url=x&bgc=1,2,3,4,5":           colour("1,2,3,4,5"),
		"url=x&bgc=-1,0,0,0":            colour("-1,0,0,0"),
		"url=x&model=u2net2": `{"type":"string_pattern_mismatch","loc":["query","model"],"msg":"String should match pattern '` + pattern +
			`'","input":"u2net2","ctx":{"pattern":"` + pattern + `"}}`,
		"url=x&a=" + strings.Repeat("9", 30_000): boolean("a", strings.Repeat("9", 200)+"..."),
	} {
		got := b.send(b.quirky, "GET", rembgPath+"?"+query, "", "")
		if got.status != 422 || got.body != `{"detail":[`+want+`]}` {
			t.Errorf("%.100s: %d %s", query, got.status, got.body)
		}
	}
	for name, tc := range map[string]struct {
		parts []part
		query string
		want  string
	}{
		"no file":         {nil, "", `{"type":"missing","loc":["body","file"],"msg":"Field required","input":null}`},
		"no chosen file":  {[]part{file("file", "", "")}, "", `{"type":"missing","loc":["body","file"],"msg":"Field required","input":null}`},
		"in the form":     {[]part{file("file", "a", photo), text("a", "2")}, "", strings.Replace(boolean("a", "2"), "query", "body", 1)},
		"colour in query": {[]part{file("file", "a", photo)}, "?bgc=x", colour("x")},
		"a megabyte": {
			[]part{file("file", "a", photo), text("af", strings.Repeat("x", 1<<20))}, "",
			strings.Replace(integer("af", strings.Repeat("x", 200)+"..."), "query", "body", 1),
		},
	} {
		contentType, body := form(t, tc.parts...)
		got := b.send(b.quirky, "POST", rembgPath+tc.query, contentType, string(body))
		if got.status != 422 || got.body != `{"detail":[`+tc.want+`]}` {
			t.Errorf("%s: %d %.300s", name, got.status, got.body)
		}
	}
	if b.processor.count() != 0 || len(b.fetcher.urls()) != 0 {
		t.Error("something was done for an invalid request")
	}
}

func TestRembgErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		err    error
		status int
		want   string
	}{
		"undecodable": {fmt.Errorf("x: %w", codec.ErrUndecodable), 400, "The image cannot be decoded."},
		"bytes":       {&codec.LimitError{What: "bytes"}, 400, "The image is too large, at most 52428800 bytes are taken."},
		"pixels":      {&codec.LimitError{What: "pixels", Width: 9000, Height: 8000}, 400, "The image has 9000x8000 pixels, at most 50000000 pixels are taken."},
		"internal":    {errors.New("secret"), 500, "Internal server error."},
	} {
		b := start(t, nil)
		b.processor.run = func(context.Context, []byte, pipeline.Options) (*pipeline.Result, error) { return nil, tc.err }
		got := b.post(rembgPath, file("file", "a.jpg", photo))
		if got.status != tc.status || got.body != `{"detail":"`+tc.want+`"}` {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	b := start(t, func(c *handlers.Config) { c.Rembg.MaxFile, c.Rembg.MaxRequest = 1<<10, 4<<10 })
	b.fetcher.errs["http://10.0.0.1/"] = &fetch.Error{Kind: fetch.Address, Public: "The URL leads to an address that is not allowed."}
	for query, want := range map[string]string{
		"http://10.0.0.1/":        "The URL leads to an address that is not allowed.",
		"http://p/none":           "The server of the URL answered 404 Not Found.",
		strings.Repeat("x", 9000): "The URL is longer than 8192 bytes.",
	} {
		got := b.send(b.quirky, "GET", rembgPath+"?url="+url.QueryEscape(query), "", "")
		if got.status != 400 || got.body != `{"detail":"`+want+`"}` {
			t.Errorf("%.40s: %d %s", query, got.status, got.body)
		}
	}
	if got := b.post(rembgPath, file("file", "a.jpg", strings.Repeat("x", 5<<10))); got.status != 413 {
		t.Errorf("a request too large: %d %s", got.status, got.body)
	}
}

func TestRealRembg(t *testing.T) {
	t.Parallel()
	b := startReal(t)
	photo := asPNG(t, subject(200, 150))
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(photo)) }))
	t.Cleanup(origin.Close)
	decode := func(got reply) image.Image {
		t.Helper()
		if got.status != 200 || got.header.Get("X-Cutout-Model") != "u2netp" {
			t.Fatalf("%d %s by %q", got.status, got.body, got.header.Get("X-Cutout-Model"))
		}
		m, format, err := image.Decode(strings.NewReader(got.body))
		if err != nil || format != "png" || m.Bounds() != image.Rect(0, 0, 200, 150) {
			t.Fatalf("%v %s %v", err, format, m.Bounds())
		}
		return m
	}
	cut := decode(b.post(rembgPath, file("file", "a.png", photo), text("model", "isnet-anime")))
	if c := cut.(*image.NRGBA).NRGBAAt(100, 75); c.R != 230 || c.A < 250 {
		t.Errorf("cutout: %v inside", c)
	}
	mask := decode(b.send(b.client, "GET", rembgPath+"?om=true&ppm=true&url="+origin.URL, "", "")).(*image.Gray)
	for i, v := range mask.Pix {
		if v != 0 && v != 255 {
			t.Fatalf("mask value %d is %d", i, v)
		}
	}
	coloured := decode(b.send(b.client, "GET", rembgPath+"?bgc=0,0,255,255&url="+origin.URL, "", ""))
	if c := coloured.At(3, 3); c != (color.NRGBA{B: 255, A: 255}) {
		t.Errorf("on blue: %v", c)
	}
}
