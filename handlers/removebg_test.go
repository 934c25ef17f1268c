package handlers_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cutout/codec"
	"cutout/compositing"
	"cutout/fetch"
	"cutout/handlers"
	"cutout/pipeline"
)

const removeBG = "/v1.0/removebg"

// formatted answers in the format that was asked for, with a subject in a 100x80 picture.
func formatted(_ context.Context, _ []byte, o pipeline.Options) (*pipeline.Result, error) {
	res := sampleResult()
	res.Width, res.Height, res.Model = 100, 80, "u2netp"
	res.Canvas, res.Full = image.Pt(8, 6), image.Pt(8, 6)
	res.Objects = []pipeline.Object{{Box: compositing.Box{X: 0.1, Y: 0.25, W: 0.5, H: 0.375}}}
	res.Format = o.Format
	if o.Format == pipeline.Auto || o.Format == "" {
		res.Format = codec.PNG
	}
	return res, nil
}

func removeBGOptions(change func(*pipeline.Options)) pipeline.Options {
	o := pipeline.Options{
		Output: pipeline.Cutout, Quality: pipeline.Balanced, Subject: pipeline.Universal, Format: pipeline.Auto, MaxPixels: 250_000,
		Limits: codec.Limits{MaxBytes: 22 << 20, MaxPixels: 50e6, Formats: []codec.Format{codec.JPEG, codec.PNG, codec.WebP}},
	}
	change(&o)
	return o
}

func lengthPx(v float64) pipeline.Length { return pipeline.Length{Value: v} }
func lengthOf(v float64) pipeline.Length { return pipeline.Length{Value: v, Relative: true} }

func TestRemoveBGOptions(t *testing.T) {
	t.Parallel()
	contact, cast := compositing.DefaultShadow(), compositing.DefaultShadow()
	contact.Length = 0
	half := cast
	half.Opacity = 0.5
	for _, tc := range []struct {
		parts []part
		want  func(*pipeline.Options)
	}{
		{nil, func(*pipeline.Options) {}},
		{[]part{text("size", "small")}, func(*pipeline.Options) {}},
		{[]part{text("size", "regular")}, func(*pipeline.Options) {}},
		{[]part{text("size", "medium")}, func(o *pipeline.Options) { o.MaxPixels = 1.5e6 }},
		{[]part{text("size", "hd")}, func(o *pipeline.Options) { o.MaxPixels = 4e6 }},
		{[]part{text("size", "full")}, func(o *pipeline.Options) { o.MaxPixels = 25e6 }},
		{[]part{text("size", "4k")}, func(o *pipeline.Options) { o.MaxPixels = 25e6 }},
		{[]part{text("size", "50MP")}, func(o *pipeline.Options) { o.MaxPixels = 50e6 }},
		{[]part{text("size", "auto")}, func(o *pipeline.Options) { o.MaxPixels = 0 }},
		{[]part{text("type", "person")}, func(o *pipeline.Options) { o.Subject = pipeline.Human }},
		{[]part{text("type", "product")}, func(o *pipeline.Options) { o.Subject = pipeline.Product }},
		{[]part{text("quality", "Precise")}, func(o *pipeline.Options) { o.Quality = pipeline.Precise }},
		{[]part{text("type", "car"), text("type_level", "latest")}, func(o *pipeline.Options) { o.Subject = pipeline.Product }},
		{[]part{text("type", "animal")}, func(*pipeline.Options) {}},
		{[]part{text("format", "png")}, func(o *pipeline.Options) { o.Format = codec.PNG }},
		{[]part{text("format", "jpg")}, func(o *pipeline.Options) { o.Format = codec.JPEG }},
		{[]part{text("format", "webp")}, func(o *pipeline.Options) { o.Format = codec.WebP }},
		{[]part{text("format", "zip")}, func(o *pipeline.Options) { o.Format = pipeline.ZIP }},
		{[]part{text("roi", "0% 0% 100% 100%")}, func(*pipeline.Options) {}},
		{[]part{text("roi", "10px 20px 30px 40px")}, func(o *pipeline.Options) {
			o.Region = &pipeline.Region{Left: lengthPx(10), Top: lengthPx(20), Right: lengthPx(30), Bottom: lengthPx(40)}
		}},
		{[]part{text("roi", "25% 0% 50.5% 100%")}, func(o *pipeline.Options) {
			o.Region = &pipeline.Region{Left: lengthOf(.25), Top: lengthOf(0), Right: lengthOf(.505), Bottom: lengthOf(1)}
		}},
		{[]part{text("crop", "true")}, func(o *pipeline.Options) { o.Crop = &pipeline.Crop{} }},
		{[]part{text("crop_margin", "10%")}, func(*pipeline.Options) {}},
		{[]part{text("crop", "true"), text("crop_margin", "30px")}, func(o *pipeline.Options) {
			o.Crop = &pipeline.Crop{Top: lengthPx(30), Right: lengthPx(30), Bottom: lengthPx(30), Left: lengthPx(30)}
		}},
		{[]part{text("crop", "true"), text("crop_margin", "10% 20px")}, func(o *pipeline.Options) {
			o.Crop = &pipeline.Crop{Top: lengthOf(.1), Right: lengthPx(20), Bottom: lengthOf(.1), Left: lengthPx(20)}
		}},
		{[]part{text("crop", "true"), text("crop_margin", "1px 2px 50% 500px")}, func(o *pipeline.Options) {
			o.Crop = &pipeline.Crop{Top: lengthPx(1), Right: lengthPx(2), Bottom: lengthOf(.5), Left: lengthPx(500)}
		}},
		{[]part{text("scale", "original")}, func(*pipeline.Options) {}},
		{[]part{text("scale", "80%")}, func(o *pipeline.Options) { o.Placement = &pipeline.Placement{Scale: .8, X: .5, Y: .5} }},
		{[]part{text("scale", "100%"), text("position", "original")}, func(o *pipeline.Options) {
			o.Placement = &pipeline.Placement{Scale: 1, Stay: true}
		}},
		{[]part{text("scale", "10%"), text("position", "0%")}, func(o *pipeline.Options) { o.Placement = &pipeline.Placement{Scale: .1} }},
		{[]part{text("position", "original")}, func(*pipeline.Options) {}},
		{[]part{text("position", "center")}, func(o *pipeline.Options) { o.Placement = &pipeline.Placement{X: .5, Y: .5} }},
		{[]part{text("position", "25% 100%")}, func(o *pipeline.Options) { o.Placement = &pipeline.Placement{X: .25, Y: 1} }},
		{[]part{text("channels", "alpha")}, func(o *pipeline.Options) { o.Output = pipeline.Mask }},
		{[]part{text("channels", "alpha"), text("bg_color", "red"), text("shadow_type", "3D")}, func(o *pipeline.Options) { o.Output = pipeline.Mask }},
		{[]part{text("add_shadow", "true")}, func(o *pipeline.Options) { o.Shadow = &contact }},
		{[]part{text("add_shadow", "true"), text("type", "car")}, func(o *pipeline.Options) { o.Shadow, o.Subject = &contact, pipeline.Product }},
		{[]part{text("add_shadow", "true"), text("type", "person")}, func(o *pipeline.Options) { o.Subject = pipeline.Human }},
		{[]part{text("shadow_type", "none"), text("add_shadow", "true")}, func(*pipeline.Options) {}},
		{[]part{text("shadow_type", "auto")}, func(o *pipeline.Options) { o.Shadow = &cast }},
		{[]part{text("shadow_type", "3D"), text("shadow_opacity", "auto")}, func(o *pipeline.Options) { o.Shadow = &cast }},
		{[]part{text("shadow_type", "drop")}, func(o *pipeline.Options) { o.Shadow = &contact }},
		{[]part{text("shadow_type", "car")}, func(o *pipeline.Options) { o.Shadow = &contact }},
		{[]part{text("shadow_type", "auto"), text("shadow_opacity", "50")}, func(o *pipeline.Options) { o.Shadow = &half }},
		{[]part{text("shadow_type", "auto"), text("shadow_opacity", "0")}, func(*pipeline.Options) {}},
		{[]part{text("semitransparency", "false")}, func(*pipeline.Options) {}},
		{[]part{text("bg_color", "81d4fa")}, func(o *pipeline.Options) {
			o.Background = &pipeline.Background{Color: color.NRGBA{R: 0x81, G: 0xd4, B: 0xfa, A: 255}}
		}},
		{[]part{text("bg_color", "#81d4fa77")}, func(o *pipeline.Options) {
			o.Background = &pipeline.Background{Color: color.NRGBA{R: 0x81, G: 0xd4, B: 0xfa, A: 0x77}}
		}},
		{[]part{text("bg_color", "f008")}, func(o *pipeline.Options) {
			o.Background = &pipeline.Background{Color: color.NRGBA{R: 255, A: 0x88}}
		}},
		{[]part{text("bg_color", "green")}, func(o *pipeline.Options) {
			o.Background = &pipeline.Background{Color: color.NRGBA{G: 128, A: 255}}
		}},
		{[]part{text("bg_image_url", "http://pictures/bg.png")}, func(o *pipeline.Options) {
			o.Background = &pipeline.Background{Image: []byte("fetched background"), Limits: o.Limits}
		}},
		{[]part{file("bg_image_file", "b.png", "background")}, func(o *pipeline.Options) {
			o.Background = &pipeline.Background{Image: []byte("background"), Limits: o.Limits}
		}},
		// What forms send for what was not filled in.
		{[]part{text("size", ""), text("roi", " "), text("bg_color", ""), text("image_url", ""), file("bg_image_file", "", "")}, func(*pipeline.Options) {}},
		// Given twice: the first counts.
		{[]part{text("size", "hd"), text("size", "full")}, func(o *pipeline.Options) { o.MaxPixels = 4e6 }},
	} {
		name := ""
		for _, p := range tc.parts {
			name += p.name + "=" + p.value + " "
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, nil)
			b.processor.run = formatted
			b.fetcher.files["http://pictures/bg.png"] = "fetched background"
			b.client = b.quirky // form values that are no strings are more than the validator can tell
			got := b.post(removeBG, append(tc.parts, file("image_file", "a.jpg", photo))...)
			if got.status != 200 {
				t.Fatalf("%d %s", got.status, got.body)
			}
			if diff := cmp.Diff(removeBGOptions(tc.want), b.processor.last(t).options); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// removeBGError is what clients of the service read of an error.
type removeBGError struct {
	Errors []struct{ Title, Code, Detail string }
}

func (r reply) removeBGError(t *testing.T) (code, title, detail string) {
	t.Helper()
	var v removeBGError
	if err := json.Unmarshal([]byte(r.body), &v); err != nil || len(v.Errors) == 0 {
		t.Fatalf("%v in %q", err, r.body)
	}
	if !strings.HasPrefix(r.header.Get("Content-Type"), "application/json") {
		t.Errorf("type %q", r.header.Get("Content-Type"))
	}
	return v.Errors[0].Code, v.Errors[0].Title, v.Errors[0].Detail
}

func TestRemoveBGInvalidParameters(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	megabyte := strings.Repeat("9", 1<<20)
	for field, tc := range map[string]struct {
		title  string
		values []string
	}{
		"size":             {"Invalid value for parameter 'size'", []string{"huge", "0", "-1", "1e99", "previews"}},
		"type":             {"Invalid value for parameter 'type'", []string{"dog", "persons", "1"}},
		"type_level":       {"Invalid value for parameter 'type_level'", []string{"3", "0", "newest"}},
		"quality":          {"Invalid value for parameter 'quality'", []string{"best", "3"}},
		"format":           {"Invalid format parameter given", []string{"gif", "PNG24", "image/png"}},
		"roi":              {"Invalid roi parameter given", []string{"1 2 3", "a b c d", "0% 0% 100%", "1px,2px,3px,4px,5px", "NaN 0 1 1", "0x1 0 1 1", "1e9px 0 1 1"}},
		"crop":             {"Invalid crop parameter given", []string{"yes", "2", "truee"}},
		"crop_margin":      {"Invalid crop_margin parameter given", []string{"51%", "501px", "-1px", "1 2 3", "10em", "1px 2px 3px 4px 5px", "Inf"}},
		"scale":            {"Invalid scale parameter given", []string{"9%", "101%", "50px", "50", "big", "-20%"}},
		"position":         {"Invalid position parameter given", []string{"101%", "-1%", "left", "10px", "1% 2% 3%", "center left"}},
		"channels":         {"Invalid value for parameter 'channels'", []string{"rgb", "a"}},
		"add_shadow":       {"Invalid add_shadow parameter given", []string{"maybe"}},
		"shadow_method":    {"Invalid value for parameter 'shadow_method'", []string{"new"}},
		"shadow_type":      {"Invalid shadow_type parameter given", []string{"2D", "soft"}},
		"shadow_opacity":   {"Invalid shadow_opacity parameter given", []string{"101", "-1", "half", "NaN"}},
		"semitransparency": {"Invalid semitransparency parameter given", []string{"no", "1.0"}},
		"bg_color":         {"Invalid bg_color parameter given", []string{"fffff", "gg0000", "no-colour", "rgb(1,2,3)"}},
	} {
		for _, value := range append(tc.values, megabyte, "\x00", "<script>&") {
			got := b.post(removeBG, file("image_file", "a.jpg", photo), text(field, value))
			code, title, _ := got.removeBGError(t)
			if got.status != 400 || code != "invalid_"+field || title != tc.title {
				t.Errorf("%s=%.20q: %d %.200s", field, value, got.status, got.body)
			}
		}
	}
	if b.processor.count() != 0 {
		t.Error("the processor was asked all the same")
	}
}

func TestRemoveBGSources(t *testing.T) {
	t.Parallel()
	encoded := base64.StdEncoding.EncodeToString([]byte(photo))
	const link = "http://pictures/shoes.jpg"
	urlencoded, asJSON := "application/x-www-form-urlencoded", "application/json"
	multi, body := form(t, file("image_file", "a.jpg", photo), text("size", "auto"))
	multiB64, bodyB64 := form(t, text("image_file_b64", encoded))
	multiURL, bodyURL := form(t, text("image_url", link))
	for name, tc := range map[string]struct{ contentType, body, image string }{
		"file":                   {multi, string(body), photo},
		"url, multipart":         {multiURL, string(bodyURL), "shoes"},
		"url, urlencoded":        {urlencoded, "image_url=http%3A%2F%2Fpictures%2Fshoes.jpg&size=auto", "shoes"},
		"url, not encoded":       {urlencoded, "image_url=" + link + "&size=auto", "shoes"},
		"url, JSON":              {asJSON, `{"image_url":"` + link + `","size":"auto","crop":true,"type_level":1,"bg_color":null,"scale":""}`, "shoes"},
		"base64, JSON":           {asJSON, `{"image_file_b64":"` + encoded + `"}`, photo},
		"base64, multipart":      {multiB64, string(bodyB64), photo},
		"base64, urlencoded":     {urlencoded, "image_file_b64=" + strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D").Replace(encoded), photo},
		"base64, plus unescaped": {urlencoded, "image_file_b64=" + encoded, photo},
		"base64, data URL":       {asJSON, `{"image_file_b64":"data:image/jpeg;base64,` + encoded + `"}`, photo},
		"base64, not padded":     {asJSON, `{"image_file_b64":"` + strings.TrimRight(encoded, "=") + `"}`, photo},
		"base64, in lines":       {asJSON, `{"image_file_b64":"` + encoded[:20] + `\r\n` + encoded[20:] + `\n"}`, photo},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, nil)
			b.processor.run = formatted
			b.fetcher.files[link] = "shoes"
			got := b.send(b.quirky, "POST", removeBG, tc.contentType, tc.body)
			if got.status != 200 || got.body != string(samplePNG) {
				t.Fatalf("%d %s", got.status, got.body)
			}
			if image := string(b.processor.last(t).image); image != tc.image {
				t.Errorf("the processor got %q", image)
			}
		})
	}

	b := start(t, nil)
	for name, tc := range map[string]struct {
		contentType, body, code, title string
	}{
		"nothing":        {asJSON, `{}`, "missing_source", "No image given"},
		"no body":        {"", "", "missing_source", "No image given"},
		"only empty":     {urlencoded, "image_url=&size=auto", "missing_source", "No image given"},
		"a raw body":     {"image/jpeg", photo, "missing_source", "No image given"},
		"two of them":    {asJSON, `{"image_url":"` + link + `","image_file_b64":"` + encoded + `"}`, "multiple_sources", "Multiple image sources given: Please provide either the image_url, image_file or image_file_b64 parameter."},
		"no base64":      {asJSON, `{"image_file_b64":"!!"}`, "failed_to_read_image", "There was an error reading the image."},
		"no JSON":        {asJSON, `{"image_url":`, "invalid_json", "The request body is not a JSON object of plain values"},
		"a JSON list":    {asJSON, `[]`, "invalid_json", "The request body is not a JSON object of plain values"},
		"a nested value": {asJSON, `{"image_url":["x"]}`, "invalid_json", "The request body is not a JSON object of plain values"},
		"cut short":      {"multipart/form-data; boundary=B", "--B\r\nContent-Disposition: form-data; name=\"image_file\"\r\n\r\nx", "invalid_request", "The multipart body ends before its last boundary."},
	} {
		got := b.send(b.quirky, "POST", removeBG, tc.contentType, tc.body)
		if code, title, _ := got.removeBGError(t); got.status != 400 || code != tc.code || title != tc.title {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	for _, parts := range [][]part{
		{text("bg_color", "red"), text("bg_image_url", link)},
		{file("bg_image_file", "b.png", "x"), text("bg_image_url", link)},
	} {
		got := b.post(removeBG, append(parts, file("image_file", "a.jpg", photo))...)
		if code, title, _ := got.removeBGError(t); got.status != 400 || code != "multiple_bg_sources" || !strings.HasPrefix(title, "Multiple background sources given: ") {
			t.Errorf("two backgrounds: %d %s", got.status, got.body)
		}
	}
	if len(b.fetcher.urls()) != 0 {
		t.Error("something was fetched for an invalid request")
	}
}

func TestRemoveBGHeaders(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.client = b.quirky // empty fields are not in the document
	for format, contentType := range map[string]string{
		"": "image/png", "auto": "image/png", "png": "image/png", "jpg": "image/jpeg", "webp": "image/webp", "zip": "application/zip",
	} {
		b.processor.run = func(ctx context.Context, image []byte, o pipeline.Options) (*pipeline.Result, error) {
			res, err := formatted(ctx, image, o)
			if o.Format == pipeline.ZIP {
				res.Data = emptyZIP(t)
			}
			return res, err
		}
		got := b.post(removeBG, file("image_file", "a.jpg", photo), text("format", format))
		want := map[string]string{
			"Content-Type": contentType, "X-Width": "8", "X-Height": "6", "X-Max-Width": "", "X-Max-Height": "",
			"X-Foreground-Top": "20", "X-Foreground-Left": "10", "X-Foreground-Width": "50", "X-Foreground-Height": "30",
			"X-Type": "other", "X-Credits-Charged": "0", "X-Ratelimit-Limit": "1000000", "X-Ratelimit-Remaining": "1000000",
			"X-Cutout-Model": "u2netp", "Retry-After": "", "Content-Length": strconv.Itoa(len(got.body)),
		}
		for name, value := range want {
			if got.header.Get(name) != value {
				t.Errorf("format %q: %s is %q, want %q", format, name, got.header.Get(name), value)
			}
		}
		reset, err := strconv.ParseInt(got.header.Get("X-Ratelimit-Reset"), 10, 64)
		if d := reset - time.Now().Unix(); err != nil || d < 50 || d > 61 {
			t.Errorf("X-RateLimit-Reset is %q", got.header.Get("X-Ratelimit-Reset"))
		}
	}
	b.processor.run = func(ctx context.Context, picture []byte, o pipeline.Options) (*pipeline.Result, error) {
		res, err := formatted(ctx, picture, o)
		res.Full = image.Pt(80, 60)
		return res, err
	}
	for _, tc := range []struct{ kind, level, want string }{
		{"", "", "other"}, {"auto", "2", "other"}, {"person", "1", "person"}, {"product", "latest", "product"}, {"car", "", "car"},
		{"animal", "2", "animal"}, {"graphic", "1", "other"}, {"graphic", "2", "graphics"}, {"transportation", "", "other"},
		{"transportation", "latest", "transportation"}, {"person", "none", ""},
	} {
		got := b.post(removeBG, file("image_file", "a.jpg", photo), text("type", tc.kind), text("type_level", tc.level))
		if got.header.Get("X-Type") != tc.want {
			t.Errorf("type %q at level %q is %q, want %q", tc.kind, tc.level, got.header.Get("X-Type"), tc.want)
		}
		if got.header.Get("X-Max-Width") != "80" || got.header.Get("X-Max-Height") != "60" {
			t.Errorf("of a shrunk result: %v", got.header)
		}
	}
}

func emptyZIP(t *testing.T) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := zip.NewWriter(&buf).Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestRemoveBGAccept(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.processor.run = formatted
	contentType, body := form(t, file("image_file", "a.jpg", photo))
	for accept, isJSON := range map[string]bool{
		"": false, "*/*": false, "application/json": true, "application/json; charset=utf-8": true, "Application/JSON, text/plain": true,
		"application/json, text/plain, */*": false, "image/png": false, "image/*, application/json": false, "text/html": false,
	} {
		r, err := http.NewRequest(http.MethodPost, b.url+removeBG, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", contentType)
		if accept != "" {
			r.Header.Set("Accept", accept)
		}
		res, err := b.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		got, want := read(t, res), string(samplePNG)
		if isJSON {
			want = `{"data":{"result_b64":"` + base64.StdEncoding.EncodeToString(samplePNG) +
				`","foreground_top":20,"foreground_left":10,"foreground_width":50,"foreground_height":30}}`
		}
		if got.body != want || got.header.Get("Content-Length") != strconv.Itoa(len(want)) {
			t.Errorf("Accept %q: %.100q", accept, got.body)
		}
	}
}

// The Ruby client builds its objects of exactly these keys.
func TestRemoveBGAccount(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	got := b.get("/v1.0/account")
	want := `{"data":{"attributes":{"credits":{"total":1000000,"subscription":0,"payg":0,"enterprise":1000000},` +
		`"api":{"free_calls":1000000,"sizes":"all"}}}}`
	if got.status != 200 || got.body != want {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got.header.Get("X-Ratelimit-Limit") == "" {
		t.Error("no rate limit is told")
	}
	if got := b.send(b.quirky, "POST", "/v1.0/account", "", ""); got.status != 405 {
		t.Errorf("POST: %d %s", got.status, got.body)
	} else if code, _, _ := got.removeBGError(t); code != "method_not_allowed" {
		t.Errorf("POST: %s", got.body)
	}
}

func TestRemoveBGPictureErrors(t *testing.T) {
	t.Parallel()
	limits := codec.Limits{MaxBytes: 22 << 20, MaxPixels: 50e6}
	jpegHead := "\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
	undecodable := fmt.Errorf("pipeline: %w", codec.ErrUndecodable)
	for name, tc := range map[string]struct {
		picture             string
		err                 error
		code, title, detail string
		reason              string
	}{
		"no picture": {"%PDF-1.7", undecodable, "invalid_file_type", "Invalid file type", "Expected jpg/png/webp, received pdf", "undecodable"},
		"a movie": {
			"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", undecodable, "invalid_file_type", "Invalid file type",
			"Expected jpg/png/webp, received mp4", "undecodable",
		},
		"a GIF": {
			"GIF89a\x01\x00\x01\x00\x00\x00\x00;", undecodable, "invalid_file_type", "Invalid file type", "Expected jpg/png/webp, received gif",
			"undecodable",
		},
		"no dimensions": {
			jpegHead, undecodable, "invalid_dimensions", "Failed to read image dimensions",
			"The dimensions of the given image could not be read.", "undecodable",
		},
		"damaged": {string(samplePNG[:50]), undecodable, "failed_to_read_image", "There was an error reading the image.", "", "undecodable"},
		"file too large": {
			photo, &codec.LimitError{What: "bytes", Bytes: 23 << 20, Limits: limits}, "file_too_large", "File too large",
			"File exceeds limit of 22MB", "bytes",
		},
		"resolution": {
			photo, &codec.LimitError{What: "pixels", Width: 10000, Height: 6000, Limits: limits}, "resolution_too_high",
			"Image resolution too high", "Input image has 60 megapixels, maximum supported input resolution is 50 megapixels", "pixels",
		},
		"region outside": {
			photo, &pipeline.RegionError{}, "roi_exceeds_bounds", "ROI exceeds image bounds",
			"The given roi parameter defines a region that exceeds the image bounds", "bad_parameter",
		},
		"region empty": {
			photo, &pipeline.RegionError{Empty: true}, "roi_region_empty", "ROI region is empty",
			"The given roi parameter defines an empty region", "bad_parameter",
		},
		"background": {
			photo, &pipeline.BackgroundError{Err: undecodable}, "invalid_file_type", "Invalid file type",
			"Expected jpg/png/webp, received plain", "background_undecodable",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, nil)
			b.processor.run = func(context.Context, []byte, pipeline.Options) (*pipeline.Result, error) { return nil, tc.err }
			got := b.post(removeBG, file("image_file", "a.jpg", tc.picture), file("bg_image_file", "b.png", "no picture"))
			code, title, detail := got.removeBGError(t)
			if got.status != 400 || code != tc.code || title != tc.title || detail != tc.detail {
				t.Errorf("%d %s", got.status, got.body)
			}
			if !strings.Contains(b.get("/metrics").body, `cutout_failures_total{dialect="removebg",reason="`+tc.reason+`"} 1`) {
				t.Errorf("no failure with reason %s is counted", tc.reason)
			}
		})
	}

	b := start(t, nil)
	b.processor.run = func(context.Context, []byte, pipeline.Options) (*pipeline.Result, error) {
		res := sampleResult()
		res.Objects = nil
		return res, nil
	}
	got := b.post(removeBG, file("image_file", "a.jpg", photo))
	if code, title, _ := got.removeBGError(t); got.status != 400 || code != "unknown_foreground" || !strings.HasPrefix(title, "Could not identify foreground in image.") {
		t.Errorf("nothing found: %d %s", got.status, got.body)
	}
	b.processor.run = func(context.Context, []byte, pipeline.Options) (*pipeline.Result, error) {
		return nil, errors.New("secret detail of the inside")
	}
	got = b.post(removeBG, file("image_file", "a.jpg", photo))
	if code, _, _ := got.removeBGError(t); got.status != 500 || code != "internal_error" || strings.Contains(got.body, "secret") {
		t.Errorf("internal: %d %s", got.status, got.body)
	}
}

func TestRemoveBGFetchErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		field, url          string
		err                 error
		code, title, detail string
	}{
		"not found":      {"image_url", "http://p/404.png", nil, "failed_image_download", "Failed to download image from given image_url: HTTP Status 404", ""},
		"background":     {"bg_image_url", "http://p/404.png", nil, "failed_bg_download", "Failed to download background image from given image_url: HTTP Status 404", ""},
		"no URL":         {"image_url", "shoes", &fetch.Error{Kind: fetch.BadScheme, Public: "Why."}, "invalid_image_url", "Invalid image_url: Please provide a valid URL.", "Why."},
		"no URL below":   {"bg_image_url", "shoes", &fetch.Error{Kind: fetch.BadURL, Public: "Why."}, "invalid_bg_image_url", "Invalid bg_image_url: Please provide a valid URL.", "Why."},
		"refused":        {"image_url", "http://10.0.0.1/", &fetch.Error{Kind: fetch.Address, Public: "Not allowed.", Err: errors.New("secret")}, "failed_image_download", "Failed to download image from given image_url: Not allowed.", ""},
		"file too large": {"image_url", "http://p/x", &fetch.Error{Kind: fetch.TooLarge}, "file_too_large", "File too large", "File exceeds limit of 22MB"},
	} {
		b := start(t, nil)
		b.fetcher.errs[tc.url] = tc.err
		parts := []part{text(tc.field, tc.url)}
		if tc.field == "bg_image_url" {
			parts = append(parts, file("image_file", "a.jpg", photo))
		}
		got := b.post(removeBG, parts...)
		if code, title, detail := got.removeBGError(t); got.status != 400 || code != tc.code || title != tc.title || detail != tc.detail {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
		if strings.Contains(got.body, "secret") || b.processor.count() != 0 {
			t.Errorf("%s: %s after %d calls", name, got.body, b.processor.count())
		}
	}
}

func TestRemoveBGRequestTooLarge(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *handlers.Config) { c.RemoveBG.MaxRequest, c.RemoveBG.MaxFile = 4<<10, 2<<10 })
	got := b.post(removeBG, file("image_file", "a.jpg", strings.Repeat("x", 5<<10)))
	if code, title, _ := got.removeBGError(t); got.status != 400 || code != "file_too_large" || title != "File too large" {
		t.Errorf("%d %s", got.status, got.body)
	}
	b = start(t, func(c *handlers.Config) { c.RemoveBG.Size = "full" })
	b.processor.run = formatted
	if got := b.post(removeBG, file("image_file", "a.jpg", photo)); got.status != 200 || b.processor.last(t).options.MaxPixels != 25e6 {
		t.Errorf("with another size as the default: %d, %d pixels", got.status, b.processor.last(t).options.MaxPixels)
	}
}

// subjectBox is where the disc of subject(200, 150) is found, by the header of the reply.
func (r reply) subjectBox(t *testing.T) image.Rectangle {
	t.Helper()
	number := func(name string) int {
		v, err := strconv.Atoi(r.header.Get("X-Foreground-" + name))
		if err != nil {
			t.Fatalf("%v in %s", err, r.body)
		}
		return v
	}
	left, top := number("Left"), number("Top")
	return image.Rect(left, top, left+number("Width"), top+number("Height"))
}

func TestRealRemoveBG(t *testing.T) {
	t.Parallel()
	b := startReal(t)
	photo := asPNG(t, subject(200, 150)) // a disc of radius 47 in the middle
	post := func(parts ...part) reply {
		t.Helper()
		contentType, body := form(t, append(parts, file("image_file", "a.png", photo))...)
		got := b.send(b.quirky, "POST", removeBG, contentType, string(body))
		if got.status != 200 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		return got
	}
	decode := func(r reply) image.Image {
		t.Helper()
		m, _, err := image.Decode(strings.NewReader(r.body))
		if err != nil {
			t.Fatal(err)
		}
		if w, h := r.header.Get("X-Width"), r.header.Get("X-Height"); w != strconv.Itoa(m.Bounds().Dx()) || h != strconv.Itoa(m.Bounds().Dy()) {
			t.Errorf("headers say %sx%s, the picture has %v", w, h, m.Bounds())
		}
		return m
	}
	plain := post()
	box := plain.subjectBox(t)
	if plain.header.Get("Content-Type") != "image/png" || box.Dx() < 85 || box.Dx() > 105 || box.Dy() < 85 || box.Dy() > 105 {
		t.Fatalf("subject at %v, type %s", box, plain.header.Get("Content-Type"))
	}
	if m := decode(plain); m.Bounds() != image.Rect(0, 0, 200, 150) {
		t.Errorf("plain: %v", m.Bounds())
	}

	cropped := post(text("crop", "true"), text("crop_margin", "10px 20px"))
	if m := decode(cropped); m.Bounds().Size() != box.Size().Add(image.Pt(40, 20)) || cropped.subjectBox(t) != box {
		t.Errorf("cropped: %v, subject %v", m.Bounds(), cropped.subjectBox(t))
	} else if _, _, _, a := m.At(m.Bounds().Dx()/2, m.Bounds().Dy()/2).RGBA(); a>>8 < 250 {
		t.Errorf("cropped: alpha %d in the middle", a>>8)
	}

	coloured := post(text("bg_color", "0000ff"))
	if coloured.header.Get("Content-Type") != "image/jpeg" {
		t.Errorf("on a colour, by itself: %s", coloured.header.Get("Content-Type"))
	}
	if _, g, bl, _ := decode(coloured).At(3, 3).RGBA(); bl>>8 < 250 || g>>8 > 5 {
		t.Errorf("on a colour: %v", decode(coloured).At(3, 3))
	}
	white := decode(post(text("format", "jpg")))
	if r, g, bl, _ := white.At(3, 3).RGBA(); r>>8 < 253 || g>>8 < 253 || bl>>8 < 253 {
		t.Errorf("a JPEG without a background: %v", white.At(3, 3))
	}

	mask, ok := decode(post(text("channels", "alpha"))).(*image.Gray)
	if !ok || mask.GrayAt(100, 75).Y < 250 || mask.GrayAt(3, 3).Y != 0 {
		t.Errorf("the mask is a %T", mask)
	}

	scaled := decode(post(text("scale", "50%"), text("position", "0% 100%"), text("channels", "alpha"))).(*image.Gray)
	if at := compositing.Bounds(scaled); at.Min.X > 2 || at.Max.Y != 150 || at.Dy() < 72 || at.Dy() > 75 {
		t.Errorf("scaled and placed: %v", at)
	}

	looked := b.send(b.quirky, "POST", removeBG, "application/x-www-form-urlencoded", "")
	if looked.status != 400 {
		t.Errorf("without an image: %d", looked.status)
	}
	contentType, body := form(t, file("image_file", "a.png", photo), text("roi", "0px 0px 201px 10px"))
	if code, _, _ := b.send(b.quirky, "POST", removeBG, contentType, string(body)).removeBGError(t); code != "roi_exceeds_bounds" {
		t.Errorf("region: %s", code)
	}
	contentType, body = form(t, file("image_file", "a.png", asPNG(t, image.NewGray(image.Rect(0, 0, 64, 64)))))
	if code, _, _ := b.send(b.quirky, "POST", removeBG, contentType, string(body)).removeBGError(t); code != "unknown_foreground" {
		t.Errorf("a flat picture: %s", code)
	}
}

// The archive as the Go command line client reads it: it looks for both names and takes grey of 8 bits alone.
func TestRealRemoveBGArchive(t *testing.T) {
	t.Parallel()
	b := startReal(t)
	contentType, body := form(t, file("image_file", "a.png", asPNG(t, subject(200, 150))), text("format", "zip"), text("size", "auto"))
	got := b.send(b.client, "POST", removeBG, contentType, string(body))
	if got.status != 200 || got.header.Get("Content-Type") != "application/zip" {
		t.Fatalf("%d %s", got.status, got.header.Get("Content-Type"))
	}
	archive, err := zip.NewReader(strings.NewReader(got.body), int64(len(got.body)))
	if err != nil {
		t.Fatal(err)
	}
	member := func(name string, decode func(io.Reader) (image.Image, error)) image.Image {
		f, err := archive.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		m, err := decode(f)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	alpha, colours := member("alpha.png", png.Decode), member("color.jpg", jpeg.Decode)
	if alpha.Bounds() != colours.Bounds() || alpha.Bounds() != image.Rect(0, 0, 200, 150) || len(archive.File) != 2 {
		t.Errorf("%v and %v in %d files", alpha.Bounds(), colours.Bounds(), len(archive.File))
	}
	if in, out := alpha.At(100, 75).(color.Gray).Y, alpha.At(3, 3).(color.Gray).Y; in < 250 || out != 0 {
		t.Errorf("alpha %d inside, %d outside", in, out)
	}
	if r, _, bl, _ := colours.At(100, 75).RGBA(); r>>8 < 200 || bl>>8 > 60 {
		t.Errorf("colour %v inside", colours.At(100, 75))
	}
}
