package handlers_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cutout/codec"
	"cutout/compositing"
	"cutout/config"
	"cutout/fetch"
	"cutout/handlers"
	"cutout/pipeline"
)

const emptyMD5 = "d41d8cd98f00b204e9800998ecf8427e"

func md5Of(s string) string {
	digest := md5.Sum([]byte(s))
	return hex.EncodeToString(digest[:])
}

// photo stands for an image: the processor behind these tests does not look at it.
const photo = "\xff\xd8\xff\xe0 a photo, with \r\n--line breaks\r\n and \x00 bytes"

func TestVersionAndModes(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	for _, prefix := range []string{
		"/v1", "/img-bg-removal/v1", "/img-bg-removal/v1/general", "/img-bg-removal/v1/cars", "/img-bg-removal/v1/people",
	} {
		version := b.get(prefix + "/version")
		if version.status != 200 || version.body != "v1.2.3" || !strings.HasPrefix(version.header.Get("Content-Type"), "text/plain") {
			t.Errorf("%s/version: %d %q %s", prefix, version.status, version.body, version.header.Get("Content-Type"))
		}
		modes := b.get(prefix + "/modes")
		if modes.status != 200 || modes.body != `["fg-image","fg-image-shadow","fg-mask"]` {
			t.Errorf("%s/modes: %d %q", prefix, modes.status, modes.body)
		}
		for _, slash := range []string{"", "/"} {
			if got := b.post(prefix+"/results"+slash, file("image", "a.jpg", photo)).outcome(t); got.code != "ok" {
				t.Errorf("%s/results%s: %+v", prefix, slash, got)
			}
		}
	}
}

// The reply to the letter: the order of keys, strings in status, the two entities by index.
func TestResultByteForByte(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	for mode, query := range map[string]string{
		"fg-image": "", "fg-mask": "?mode=fg-mask", "fg-image-shadow": "?mode=fg-image-shadow",
	} {
		got := b.post("/v1/results"+query, file("image", "img.jpg", photo))
		want := `{"results":[{"status":{"code":"ok","message":"Success"},"name":"img.jpg","md5":"` + md5Of(photo) +
			`","width":8,"height":6,"entities":[{"kind":"image","name":"general-` + mode + `","image":"` +
			base64.StdEncoding.EncodeToString(samplePNG) + `","format":"PNG","representation":"base64"},` +
			`{"kind":"objects","name":"objects","objects":[{"box":[0.138,0.37,0.6613333333333333,0.456],` +
			`"entities":[{"kind":"classes","name":"classes","classes":{"opaque-content":1}}]}]}]}]}`
		if diff := cmp.Diff(want, got.body); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", mode, diff)
		}
		if got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: type %q", mode, got.header.Get("Content-Type"))
		}
		if string(b.processor.last(t).image) != photo {
			t.Errorf("%s: the processor got other bytes than were sent", mode)
		}
	}
}

func TestFailureByteForByte(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.processor.run = func(context.Context, []byte, pipeline.Options) (*pipeline.Result, error) {
		return nil, fmt.Errorf("decode: %w", codec.ErrUndecodable)
	}
	got := b.post("/v1/results", file("image", "file.txt", ""))
	want := `{"results":[{"status":{"code":"failure","message":"Can not load image."},"name":"file.txt","md5":"` + emptyMD5 +
		`","entities":[]}]}`
	if diff := cmp.Diff(want, got.body); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestNothingFoundIsAnEmptyList(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.processor.run = func(context.Context, []byte, pipeline.Options) (*pipeline.Result, error) {
		res := sampleResult()
		res.Objects = nil
		return res, nil
	}
	got := b.post("/v1/results", file("image", "flat.png", photo))
	if !strings.HasSuffix(got.body, `{"kind":"objects","name":"objects","objects":[]}]}]}`) {
		t.Errorf("got %s", got.body)
	}
}

// Pictures longer than one chunk of the encoder, of every remainder.
func TestLongPictureSurvivesTheStream(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	for _, size := range []int{48<<10 - 1, 48 << 10, 48<<10 + 1, 150_000, 150_001, 150_002} {
		picture := bytes.Repeat([]byte("\x00\xffabc\x10"), size/6+1)[:size]
		b.processor.run = func(context.Context, []byte, pipeline.Options) (*pipeline.Result, error) {
			res := sampleResult()
			res.Data = picture
			return res, nil
		}
		got := b.post("/v1/results", file("image", "a.jpg", photo))
		if !bytes.Equal(got.outcome(t).picture, picture) {
			t.Errorf("a picture of %d bytes does not come back", size)
		}
		if got.header.Get("Content-Length") != fmt.Sprint(len(got.body)) {
			t.Errorf("length %s announced, %d sent", got.header.Get("Content-Length"), len(got.body))
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	shadow := compositing.DefaultShadow()
	for name, tc := range map[string]struct {
		query string
		parts []part
		want  pipeline.Options
	}{
		"default":           {"", nil, pipeline.Options{Output: pipeline.Cutout}},
		"mask":              {"?mode=fg-mask", nil, pipeline.Options{Output: pipeline.Mask}},
		"shadow":            {"?mode=fg-image-shadow", nil, pipeline.Options{Output: pipeline.Cutout, Shadow: &shadow}},
		"empty mode":        {"?mode=", nil, pipeline.Options{Output: pipeline.Cutout}},
		"mode in the body":  {"", []part{text("mode", "fg-mask")}, pipeline.Options{Output: pipeline.Mask}},
		"query before body": {"?mode=fg-image", []part{text("mode", "fg-mask")}, pipeline.Options{Output: pipeline.Cutout}},
		"base64 asked for":  {"?representation=base64", nil, pipeline.Options{Output: pipeline.Cutout}},
		"quality": {
			"?quality=precise&subject=human", nil,
			pipeline.Options{Output: pipeline.Cutout, Quality: pipeline.Precise, Subject: pipeline.Human},
		},
		"background": {
			"", []part{file("image-bg", "b.png", "background")},
			pipeline.Options{Output: pipeline.Cutout, Background: &pipeline.Background{Image: []byte("background")}},
		},
		"background with shadow": {
			"?mode=fg-image-shadow", []part{file("image-bg", "b.png", "background")},
			pipeline.Options{
				Output: pipeline.Cutout, Shadow: &shadow, Background: &pipeline.Background{Image: []byte("background")},
			},
		},
		"background by url": {
			"", []part{text("url-bg", "http://pictures/bg.png")},
			pipeline.Options{Output: pipeline.Cutout, Background: &pipeline.Background{Image: []byte("fetched background")}},
		},
		"background twice": {
			"", []part{text("url-bg", "http://pictures/bg.png"), file("image-bg", "b.png", "background")},
			pipeline.Options{Output: pipeline.Cutout, Background: &pipeline.Background{Image: []byte("background")}},
		},
		"background of a mask": {
			"?mode=fg-mask", []part{text("url-bg", "http://pictures/missing.png")}, pipeline.Options{Output: pipeline.Mask},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, nil)
			b.fetcher.files["http://pictures/bg.png"] = "fetched background"
			if tc.query == "?mode=" {
				b.client = b.quirky // not in the document, but clients send it
			}
			got := b.post("/v1/results"+tc.query, append(tc.parts, file("image", "a.jpg", photo))...)
			if got := got.outcome(t); got.code != "ok" {
				t.Fatalf("got %+v", got)
			}
			limits := codec.Limits{
				MaxBytes: 16 << 20, MaxWidth: 4096, MaxHeight: 4096, Formats: []codec.Format{codec.JPEG, codec.PNG},
			}
			tc.want.Limits, tc.want.Format = limits, codec.PNG
			if tc.want.Background != nil {
				tc.want.Background.Limits = limits
			}
			if diff := cmp.Diff(tc.want, b.processor.last(t).options); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if strings.Contains(name, "mask") && len(b.fetcher.urls()) > 0 {
				t.Error("the background of a mask was fetched")
			}
		})
	}
}

func TestInvalidParameters(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	modes := `"msg":"unexpected value; permitted: 'fg-image', 'fg-image-shadow', 'fg-mask'"`
	for name, tc := range map[string]struct {
		query string
		parts []part
		want  string
	}{
		"unknown mode":           {"?mode=fg-banana", nil, `{"detail":[{"loc":["query","mode"],` + modes + `}]}`},
		"mode of another case":   {"?mode=FG-IMAGE", nil, `{"detail":[{"loc":["query","mode"],` + modes + `}]}`},
		"plates are not blurred": {"?mode=fg-image-hideclp", nil, `{"detail":[{"loc":["query","mode"],` + modes + `}]}`},
		"mode in the body":       {"", []part{text("mode", "no")}, `{"detail":[{"loc":["body","mode"],` + modes + `}]}`},
		"representation": {
			"?representation=uri", nil,
			`{"detail":[{"loc":["query","representation"],"msg":"unexpected value; permitted: 'base64', 'url'"}]}`,
		},
		"quality": {
			"?quality=best", nil,
			`{"detail":[{"loc":["query","quality"],"msg":"unexpected value; permitted: 'fast', 'balanced', 'precise'"}]}`,
		},
		"two at a time": {
			"?subject=cat&mode=x", nil,
			`{"detail":[{"loc":["query","mode"],` + modes + `},{"loc":["query","subject"],` +
				`"msg":"unexpected value; permitted: 'universal', 'human', 'product'"}]}`,
		},
		"a megabyte of mode": {
			"", []part{text("mode", strings.Repeat("x", 1<<20))}, `{"detail":[{"loc":["body","mode"],` + modes + `}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := b.post("/v1/results"+tc.query, append(tc.parts, file("image", "a.jpg", photo))...)
			if got.status != 422 || got.body != tc.want {
				t.Errorf("%d %s, want %s", got.status, got.body, tc.want)
			}
		})
	}
}

func TestMissingImage(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	contentType, empty := form(t)
	for name, got := range map[string]reply{
		"empty form":         b.send(b.quirky, "POST", "/v1/results", contentType, string(empty)),
		"no body at all":     b.send(b.quirky, "POST", "/v1/results", "", ""),
		"empty urlencoded":   b.send(b.quirky, "POST", "/v1/results", "application/x-www-form-urlencoded", ""),
		"other fields":       b.post("/v1/results", file("image-bg", "b.png", photo)),
		"empty fields":       b.post("/v1/results", text("image", ""), text("url", "  "), text("url-bg", "")),
		"a file not chosen":  b.post("/v1/results", file("image", "", "")),
		"json":               b.send(b.quirky, "POST", "/v1/results", "application/json", `{"image":"x"}`),
		"a raw body":         b.send(b.quirky, "POST", "/v1/results", "image/jpeg", photo),
		"multipart, no body": b.send(b.quirky, "POST", "/v1/results", "multipart/form-data", ""),
	} {
		if got.status != 422 || got.body != `{"detail":"Missing image or url field."}` {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
		if got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: type %q", name, got.header.Get("Content-Type"))
		}
	}
}

// What clients of the hosted service are known to send, byte by byte.
func TestClientQuirks(t *testing.T) {
	t.Parallel()
	const link = "http://pictures/shoes.jpg"
	for name, tc := range map[string]struct {
		contentType, body string
		image             string // the processor's
		file              string // name in the reply
		fetched           string
	}{
		"url, urlencoded": {
			"application/x-www-form-urlencoded", "url=http%3A%2F%2Fpictures%2Fshoes.jpg", "shoes", "shoes.jpg", link,
		},
		"url, urlencoded but not percent-encoded": {
			"application/x-www-form-urlencoded", "url=" + link, "shoes", "shoes.jpg", link,
		},
		"url with a query, not percent-encoded": {
			"application/x-www-form-urlencoded; charset=utf-8", "url=http://pictures/a%20b.jpg?x=1+2&y=3&mode=fg-image", "query",
			"a%20b.jpg?x=1+2&y=3", "http://pictures/a%20b.jpg?x=1+2&y=3",
		},
		"url, multipart": {
			"multipart/form-data; boundary=B", "--B\r\nContent-Disposition: form-data; name=\"url\"\r\n\r\n" + link + "\r\n--B--\r\n",
			"shoes", "shoes.jpg", link,
		},
		"url with white space around it": {
			"multipart/form-data; boundary=B", "--B\r\nContent-Disposition: form-data; name=\"url\"\r\n\r\n  " + link + "\n\r\n--B--\r\n",
			"shoes", "shoes.jpg", link,
		},
		"part without a type, no line break at the end": {
			"multipart/form-data; boundary=B",
			"--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.jpg\"\r\n\r\n" + photo + "\r\n--B--", photo, "a.jpg", "",
		},
		"file name without an extension": {
			"multipart/form-data; boundary=B",
			"--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"picture\"\r\nContent-Type: image/jpeg\r\n\r\n" +
				photo + "\r\n--B--\r\n", photo, "picture", "",
		},
		"wrong type and extension": {
			"multipart/form-data; boundary=B",
			"--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.pdf\"\r\nContent-Type: text/html\r\n\r\n" +
				photo + "\r\n--B--\r\n", photo, "a.pdf", "",
		},
		"no file name at all": {
			"multipart/form-data; boundary=B",
			"--B\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\n" + photo + "\r\n--B--\r\n", photo, "image", "",
		},
		"file name in Unicode": {
			"multipart/form-data; boundary=B",
			"--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"фото \\\"1\\\".jpg\"\r\n\r\n" + photo + "\r\n--B--\r\n",
			photo, `фото "1".jpg`, "",
		},
		"file name in two notations": {
			"multipart/form-data; boundary=B",
			"--B\r\nContent-Disposition: form-data; name=\"image\"; filename*=utf-8''caf%C3%A9.jpg\r\n\r\n" + photo + "\r\n--B--\r\n",
			photo, "café.jpg", "",
		},
		"file name with a directory": {
			"multipart/form-data; boundary=B",
			"--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"C:\\fakepath\\a.jpg\"\r\n\r\n" + photo + "\r\n--B--\r\n",
			photo, `C:\fakepath\a.jpg`, "",
		},
		"file name not quoted": {
			"multipart/form-data; boundary=B",
			"--B\r\nContent-Disposition: form-data; name=image; filename=my photo.jpg\r\n\r\n" + photo + "\r\n--B--\r\n",
			photo, "my photo.jpg", "",
		},
		"no boundary in the header": {
			"multipart/form-data",
			"------WebKitFormBoundaryX\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.jpg\"\r\n\r\n" +
				photo + "\r\n------WebKitFormBoundaryX--\r\n", photo, "a.jpg", "",
		},
		"another boundary in the header than in the body": {
			"multipart/form-data; boundary=wrong",
			"--right\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.jpg\"\r\n\r\n" + photo + "\r\n--right--\r\n",
			photo, "a.jpg", "",
		},
		"boundary with characters that need quotes": {
			"multipart/form-data; boundary=a=b?c/d",
			"--a=b?c/d\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.jpg\"\r\n\r\n" + photo + "\r\n--a=b?c/d--\r\n",
			photo, "a.jpg", "",
		},
		"no content type": {
			"", "--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.jpg\"\r\n\r\n" + photo + "\r\n--B--\r\n",
			photo, "a.jpg", "",
		},
		"bare line feeds": {
			"multipart/form-data; boundary=B",
			"--B\nContent-Disposition: form-data; name=\"image\"; filename=\"a.jpg\"\n\nplain\n--B--\n", "plain", "a.jpg", "",
		},
		"empty fields beside an image": {
			"multipart/form-data; boundary=B",
			"--B\r\nContent-Disposition: form-data; name=\"url\"\r\n\r\n\r\n" +
				"--B\r\nContent-Disposition: form-data; name=\"image-bg\"\r\n\r\n\r\n" +
				"--B\r\nContent-Disposition: form-data; name=\"image-bg\"; filename=\"\"\r\n" +
				"Content-Type: application/octet-stream\r\n\r\n\r\n" +
				"--B\r\nContent-Disposition: form-data; name=\"url-bg\"\r\n\r\n\r\n" +
				"--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.jpg\"\r\n\r\n" + photo + "\r\n--B--\r\n",
			photo, "a.jpg", "",
		},
		"image and url: the image wins": {
			"multipart/form-data; boundary=B",
			"--B\r\nContent-Disposition: form-data; name=\"url\"\r\n\r\n" + link + "\r\n" +
				"--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.jpg\"\r\n\r\n" + photo + "\r\n--B--\r\n",
			photo, "a.jpg", "",
		},
		"url in the field of the image": {
			"multipart/form-data; boundary=B",
			"--B\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\n" + link + "\r\n--B--\r\n", "shoes", "shoes.jpg", link,
		},
		"url in the field of the image, urlencoded": {
			"application/x-www-form-urlencoded", "image=http%3A%2F%2Fpictures%2Fshoes.jpg", "shoes", "shoes.jpg", link,
		},
		"file in the field of the url": {
			"multipart/form-data; boundary=B",
			"--B\r\nContent-Disposition: form-data; name=\"url\"; filename=\"a.jpg\"\r\n\r\n" + photo + "\r\n--B--\r\n", photo, "a.jpg", "",
		},
		"url as a file": {
			"multipart/form-data; boundary=B",
			"--B\r\nContent-Disposition: form-data; name=\"url\"; filename=\"url.txt\"\r\n\r\n" + link + "\r\n--B--\r\n",
			"shoes", "shoes.jpg", link,
		},
		"image twice: the first counts": {
			"multipart/form-data; boundary=B",
			"--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.jpg\"\r\n\r\n" + photo + "\r\n" +
				"--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"b.jpg\"\r\n\r\nother\r\n--B--\r\n", photo, "a.jpg", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, nil)
			b.fetcher.files[link] = "shoes"
			b.fetcher.files["http://pictures/a%20b.jpg?x=1+2&y=3"] = "query"
			got := b.raw(rawPost(tc.contentType, tc.body)).outcome(t)
			want := outcome{
				code: "ok", message: "Success", name: tc.file, md5: md5Of(tc.image), width: 8, height: 6, entities: 2, picture: samplePNG,
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(outcome{})); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if image := string(b.processor.last(t).image); image != tc.image {
				t.Errorf("the processor got %q", image)
			}
			if fetched := strings.Join(b.fetcher.urls(), " "); fetched != tc.fetched {
				t.Errorf("fetched %q, want %q", fetched, tc.fetched)
			}
		})
	}
}

// Every header that clients of the hosted service are known to send: none changes the result.
func TestHeadersOfHostedServices(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	contentType, body := form(t, file("image", "a.jpg", photo))
	r, err := http.NewRequest("POST", b.url+"/v1/results?api_key=abc", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	for _, name := range []string{
		"X-RapidAPI-Key", "X-RapidAPI-Host", "X-API-KEY", "A4A-CLIENT-APP-ID", "A4A-CLIENT-USER-ID", "A4A-CLIENT-API-KEY", "Authorization",
	} {
		r.Header.Set(name, "something")
	}
	res, err := b.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, res).outcome(t); got.code != "ok" {
		t.Errorf("got %+v", got)
	}
	if strings.Contains(b.log.String(), "abc") {
		t.Error("the key of the query is in the log")
	}
}

func TestPictureErrors(t *testing.T) {
	t.Parallel()
	limits := codec.Limits{MaxBytes: 16 << 20, MaxWidth: 4096, MaxHeight: 4096}
	for name, tc := range map[string]struct {
		err             error
		message, reason string
		rejected        string
	}{
		"undecodable": {
			fmt.Errorf("pipeline: %w", codec.ErrUndecodable), "Can not load image.", "undecodable", "undecodable",
		},
		"resolution": {
			fmt.Errorf("pipeline: %w", &codec.LimitError{What: "resolution", Width: 6000, Height: 4000, Limits: limits}),
			"Resolution is too big: 6000x4000. Max allowed resolution: 4096x4096.", "resolution", "resolution",
		},
		"one side only": {
			&codec.LimitError{What: "resolution", Width: 1, Height: 4097, Limits: limits},
			"Resolution is too big: 1x4097. Max allowed resolution: 4096x4096.", "resolution", "resolution",
		},
		"absurd resolution": {
			&codec.LimitError{What: "resolution", Width: 30000, Height: 30000, Limits: limits},
			"Resolution is too big: exceeds limit of 178956970 pixels.", "resolution", "resolution",
		},
		"file too big": {
			&codec.LimitError{What: "bytes", Bytes: 17 << 20, Limits: limits},
			"File size is too big: 17825792 bytes. Max allowed size: 16 MB.", "bytes", "bytes",
		},
		"background undecodable": {
			fmt.Errorf("pipeline: %w", &pipeline.BackgroundError{Err: codec.ErrUndecodable}),
			"Can not load background image.", "background_undecodable", "undecodable",
		},
		"background too big": {
			&pipeline.BackgroundError{Err: &codec.LimitError{What: "resolution", Width: 5000, Height: 10, Limits: limits}},
			"Background image: Resolution is too big: 5000x10. Max allowed resolution: 4096x4096.", "background_resolution", "resolution",
		},
		"internal": {errors.New("secret detail of the inside"), "Processing failed", "internal", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, nil)
			b.processor.run = func(context.Context, []byte, pipeline.Options) (*pipeline.Result, error) { return nil, tc.err }
			reply := b.post("/v1/results", file("image", "a.jpg", photo), file("image-bg", "b.png", "background"))
			want := outcome{code: "failure", message: tc.message, name: "a.jpg", md5: md5Of(photo)}
			if diff := cmp.Diff(want, reply.outcome(t), cmp.AllowUnexported(outcome{})); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if strings.Contains(reply.body, "width") || strings.Contains(reply.body, "secret") {
				t.Errorf("says too much: %s", reply.body)
			}
			exposition := b.get("/metrics").body
			if !strings.Contains(exposition, `cutout_failures_total{dialect="api4ai",reason="`+tc.reason+`"} 1`) {
				t.Errorf("no failure with reason %s is counted", tc.reason)
			}
			if tc.rejected != "" && !strings.Contains(exposition, `cutout_decode_rejected_total{reason="`+tc.rejected+`"} 1`) {
				t.Errorf("no rejected picture with reason %s is counted", tc.rejected)
			}
			if !strings.Contains(b.log.String(), `"reason":"`+tc.reason+`"`) {
				t.Error("the log does not give the reason")
			}
		})
	}
}

func TestFetchErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		url             string
		err             error
		background      bool
		message, file   string
		reason          string
		processorIsUsed bool
	}{
		"not found": {
			url: "http://pictures/dir/gone.jpg?sig=1", message: "Can not load image. The server of the URL answered 404 Not Found.",
			file: "gone.jpg", reason: "fetch_status",
		},
		"refused address": {
			url: "http://10.0.0.1/x.png", err: &fetch.Error{
				Kind: fetch.Address, Public: "The URL leads to an address that is not allowed.", Err: errors.New("10.0.0.1 is secret"),
			},
			message: "Can not load image. The URL leads to an address that is not allowed.", file: "x.png", reason: "fetch_address",
		},
		"not a url": {
			url: "shoes", err: &fetch.Error{Kind: fetch.BadURL, Public: "The URL is not valid."},
			message: "Can not load image. The URL is not valid.", file: "shoes", reason: "fetch_bad_url",
		},
		"no path": {
			url: "http://pictures", err: &fetch.Error{Kind: fetch.Timeout, Public: "Fetching the URL took too long."},
			message: "Can not load image. Fetching the URL took too long.", file: "image", reason: "fetch_timeout",
		},
		"too large": {
			url: "http://pictures/big.jpg", err: &fetch.Error{Kind: fetch.TooLarge, Public: "The file behind the URL is too large."},
			message: "File size is too big. Max allowed size: 16 MB.", file: "big.jpg", reason: "fetch_too_large",
		},
		"endless url": {
			url:     "http://pictures/" + strings.Repeat("x", 9000),
			message: "Can not load image. The URL is longer than 8192 bytes.", file: "image", reason: "fetch_bad_url",
		},
		"background": {
			url: "http://pictures/bg.png", background: true,
			message: "Can not load background image. The server of the URL answered 404 Not Found.", file: "a.jpg",
			reason: "background_fetch_status",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, nil)
			b.fetcher.errs[tc.url] = tc.err
			field, parts, sum := "url", []part(nil), emptyMD5
			if tc.background {
				field, parts, sum = "url-bg", []part{file("image", "a.jpg", photo)}, md5Of(photo)
			}
			reply := b.post("/v1/results", append(parts, text(field, tc.url))...)
			want := outcome{code: "failure", message: tc.message, name: tc.file, md5: sum}
			if diff := cmp.Diff(want, reply.outcome(t), cmp.AllowUnexported(outcome{})); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if strings.Contains(reply.body, "secret") {
				t.Errorf("leaks: %s", reply.body)
			}
			if b.processor.count() != 0 {
				t.Error("the processor was asked all the same")
			}
			if !strings.Contains(b.get("/metrics").body, `cutout_failures_total{dialect="api4ai",reason="`+tc.reason+`"} 1`) {
				t.Errorf("no failure with reason %s is counted", tc.reason)
			}
		})
	}
}

// The limits of the dialect are settings.
func TestConfiguredLimits(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *handlers.Config) {
		c.API4AI = config.Limits{MaxWidth: 100, MaxHeight: 50, MaxFile: 1 << 10, MaxRequest: 4 << 10}
	})
	b.processor.run = func(_ context.Context, _ []byte, o pipeline.Options) (*pipeline.Result, error) {
		return nil, &codec.LimitError{What: "resolution", Width: 200, Height: 10, Limits: o.Limits}
	}
	got := b.post("/v1/results", file("image", "a.jpg", photo)).outcome(t)
	if got.message != "Resolution is too big: 200x10. Max allowed resolution: 100x50." {
		t.Errorf("got %q", got.message)
	}
	if limit := b.processor.last(t).options.Limits; limit.MaxBytes != 1<<10 {
		t.Errorf("files are limited to %d bytes", limit.MaxBytes)
	}
	if got := b.post("/v1/results", file("image", "a.jpg", strings.Repeat("x", 5<<10))); got.status != 413 {
		t.Errorf("a request over the limit: %d", got.status)
	}
}

func TestAnyFormat(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *handlers.Config) { c.API4AI.AnyFormat = true })
	if got := b.post("/v1/results", file("image", "a.webp", photo)).outcome(t); got.code != "ok" {
		t.Fatalf("got %+v", got)
	}
	if formats := b.processor.last(t).options.Limits.Formats; formats != nil {
		t.Errorf("only %v are taken", formats)
	}
}
