package handlers_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"image/color"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cutout/codec"
	"cutout/pipeline"
)

const photoRoom = "/v1/segment"

func TestPhotoRoomOptions(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		parts []part
		want  func(*pipeline.Options)
	}{
		"defaults": {nil, func(*pipeline.Options) {}},
		"jpg":      {[]part{text("format", "jpg")}, func(o *pipeline.Options) { o.Format = codec.JPEG }},
		"webp":     {[]part{text("format", "webp")}, func(o *pipeline.Options) { o.Format = codec.WebP }},
		"alpha":    {[]part{text("channels", "alpha"), text("bg_color", "red")}, func(o *pipeline.Options) { o.Output = pipeline.Mask }},
		"preview":  {[]part{text("size", "preview")}, func(o *pipeline.Options) { o.MaxPixels = 250_000 }},
		"medium":   {[]part{text("size", "medium")}, func(o *pipeline.Options) { o.MaxPixels = 1_500_000 }},
		"hd":       {[]part{text("size", "hd")}, func(o *pipeline.Options) { o.MaxPixels = 4_000_000 }},
		"crop":     {[]part{text("crop", "true")}, func(o *pipeline.Options) { o.Crop = &pipeline.Crop{} }},
		"despill":  {[]part{text("despill", "true")}, func(*pipeline.Options) {}},
		"colour": {[]part{text("bg_color", "#FF00FF")}, func(o *pipeline.Options) {
			o.Background = &pipeline.Background{Color: color.NRGBA{R: 255, B: 255, A: 255}}
		}},
		"named colour": {[]part{text("bg_color", "Red")}, func(o *pipeline.Options) { o.Background = &pipeline.Background{Color: color.NRGBA{R: 255, A: 255}} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := pipeline.Options{
				Output: pipeline.Cutout, Quality: pipeline.Balanced, Format: codec.PNG, MaxPixels: 36_000_000,
				Limits: codec.Limits{MaxBytes: 30 << 20, MaxPixels: 36e6, Formats: []codec.Format{codec.JPEG, codec.PNG, codec.WebP}},
			}
			tc.want(&want)
			b := start(t, nil)
			b.processor.run = formatted
			got := b.post(photoRoom, append(tc.parts, file("image_file", "a.jpg", photo))...)
			if got.status != 200 || got.body != string(samplePNG) || got.header.Get("Content-Type") != "image/"+string(want.Format) ||
				got.header.Get("X-Uncertainty-Score") != "0.1" {
				t.Fatalf("%d %v %.100q", got.status, got.header, got.body)
			}
			if diff := cmp.Diff(want, b.processor.last(t).options); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestPhotoRoomJSON(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.processor.run = formatted
	contentType, body := form(t, file("image_file", "a.jpg", photo))
	for accept, isJSON := range map[string]bool{"application/json": true, "application/json, */*": false, "image/png, application/json": false} {
		r, err := http.NewRequest(http.MethodPost, b.url+photoRoom, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Accept", accept)
		res, err := b.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		want := string(samplePNG)
		if isJSON {
			want = `{"base64img":"` + base64.StdEncoding.EncodeToString(samplePNG) + `"}`
		}
		if got := read(t, res); got.body != want {
			t.Errorf("Accept %q: %.100q", accept, got.body)
		}
	}
}

func TestPhotoRoomErrors(t *testing.T) {
	t.Parallel()
	image := file("image_file", "a.jpg", photo)
	for name, tc := range map[string]struct {
		parts        []part
		err          error
		status       int
		detail, kind string
	}{
		"no image":    {nil, nil, 400, "Please provide an image.", "missing_image"},
		"empty image": {[]part{file("image_file", "a.jpg", "")}, nil, 400, "Please provide an image.", "missing_image"},
		"format":      {[]part{image, text("format", "zip")}, nil, 400, "Invalid value for format: must be png, jpg or webp.", "invalid_parameter"},
		"channels":    {[]part{image, text("channels", "rgb")}, nil, 400, "Invalid value for channels: must be rgba or alpha.", "invalid_parameter"},
		"size":        {[]part{image, text("size", "4k")}, nil, 400, "Invalid value for size: must be preview, medium, hd or full.", "invalid_parameter"},
		"colour":      {[]part{image, text("bg_color", "nope")}, nil, 400, "Invalid value for bg_color: must be a hex code or the name of a colour.", "invalid_parameter"},
		"crop":        {[]part{image, text("crop", "1")}, nil, 400, "Invalid value for crop: must be true or false.", "invalid_parameter"},
		"despill":     {[]part{image, text("despill", strings.Repeat("x", 1<<20))}, nil, 400, "Invalid value for despill: must be true or false.", "invalid_parameter"},
		"no picture":  {[]part{image}, fmt.Errorf("x: %w", codec.ErrUndecodable), 400, "The image could not be read. JPEG, PNG and WebP are taken.", "invalid_image"},
		"bytes":       {[]part{image}, &codec.LimitError{What: "bytes"}, 400, "The image file exceeds the limit of 30MB.", "image_too_large"},
		"pixels":      {[]part{image}, &codec.LimitError{What: "pixels", Width: 9000, Height: 9000}, 400, "The image has 9000x9000 pixels, at most 36000000 pixels are taken.", "image_too_large"},
		"internal":    {[]part{image}, errors.New("secret"), 500, "Internal server error.", "internal"},
		"request":     {[]part{file("image_file", "a", strings.Repeat("x", 33<<20))}, nil, 400, "The request body is too large, at most 33554432 bytes are taken.", "image_too_large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, nil)
			b.processor.run = func(ctx context.Context, image []byte, o pipeline.Options) (*pipeline.Result, error) {
				res, _ := formatted(ctx, image, o)
				return res, tc.err
			}
			got := b.post(photoRoom, tc.parts...)
			want := fmt.Sprintf(`{"detail":%q,"status_code":%d,"type":%q}`, tc.detail, tc.status, tc.kind)
			if got.status != tc.status || got.body != want {
				t.Errorf("%d %s, want %s", got.status, got.body, want)
			}
		})
	}
}
