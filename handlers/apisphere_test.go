package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cutout/codec"
	"cutout/handlers"
	"cutout/pipeline"
)

const apiSphere = "/v1/remove-bg/universal"

func TestAPISphereOptions(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		parts       []part
		want        pipeline.Options
		contentType string
	}{
		"default":     {nil, pipeline.Options{Output: pipeline.Cutout}, "image/png"},
		"transparent": {[]part{text("output_format", "transparent")}, pipeline.Options{Output: pipeline.Cutout}, "image/png"},
		"white":       {[]part{text("output_format", "white_bg")}, pipeline.Options{Output: pipeline.Cutout, Format: codec.JPEG}, "image/jpeg"},
		"mask":        {[]part{text("output_format", "mask")}, pipeline.Options{Output: pipeline.Mask, Binary: true}, "image/png"},
		"crop":        {[]part{text("output_format", "crop")}, pipeline.Options{Output: pipeline.Cutout, Crop: &pipeline.Crop{}}, "image/png"},
		"human":       {[]part{text("subject", "human")}, pipeline.Options{Output: pipeline.Cutout, Subject: pipeline.Human}, "image/png"},
		"product, twice": {
			[]part{text("subject", "product"), text("subject", "human")},
			pipeline.Options{Output: pipeline.Cutout, Subject: pipeline.Product}, "image/png",
		},
		"empty fields": {[]part{text("subject", ""), text("output_format", " ")}, pipeline.Options{Output: pipeline.Cutout}, "image/png"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, nil)
			b.processor.run = formatted
			b.client = b.quirky
			got := b.post(apiSphere, append(tc.parts, file("image", "a.jpg", photo))...)
			if got.status != 200 || got.header.Get("Content-Type") != tc.contentType || got.body != string(samplePNG) {
				t.Fatalf("%d %s %.100q", got.status, got.header.Get("Content-Type"), got.body)
			}
			if got.header.Get("X-Cutout-Model") != "u2netp" {
				t.Error("the network is not named")
			}
			want := tc.want
			want.Quality = pipeline.Balanced
			want.Limits = codec.Limits{
				MaxBytes: 10 << 20, MaxPixels: 50e6, Formats: []codec.Format{codec.JPEG, codec.PNG, codec.BMP, codec.WebP, codec.GIF},
			}
			if want.Subject == "" {
				want.Subject = pipeline.Universal
			}
			if want.Format == "" {
				want.Format = codec.PNG
			}
			last := b.processor.last(t)
			if diff := cmp.Diff(want, last.options); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if string(last.image) != photo {
				t.Error("the processor got other bytes than were sent")
			}
		})
	}
}

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// apiSphereError checks the envelope and returns the error in it.
func (r reply) apiSphereError(t *testing.T) (code, message, details string) {
	t.Helper()
	var v struct {
		Meta struct {
			RequestID    string `json:"requestId"`
			CreatedAt    string `json:"createdAt"`
			ProcessingMs *int   `json:"processingMs"`
		}
		Data     any
		Warnings []string
		Error    struct {
			Code, Message string
			Details       []struct{ Field, Issue string }
		}
	}
	if err := json.Unmarshal([]byte(r.body), &v); err != nil {
		t.Fatalf("%v in %s", err, r.body)
	}
	created, err := time.Parse("2006-01-02T15:04:05.000Z", v.Meta.CreatedAt)
	if err != nil || time.Since(created) > time.Minute || v.Meta.ProcessingMs == nil {
		t.Errorf("meta: %v in %s", err, r.body)
	}
	if v.Meta.RequestID != r.header.Get("X-Request-ID") || !uuidForm.MatchString(v.Meta.RequestID) {
		t.Errorf("request id %q, in the header %q", v.Meta.RequestID, r.header.Get("X-Request-ID"))
	}
	if !strings.HasPrefix(r.body, `{"meta":{"requestId":"`) || !strings.Contains(r.body, `},"data":null,"warnings":[],"error":{"code":"`) {
		t.Errorf("the order of keys: %s", r.body)
	}
	for _, d := range v.Error.Details {
		details += d.Field + ": " + d.Issue + ";"
	}
	return v.Error.Code, v.Error.Message, details
}

func TestAPISphereErrors(t *testing.T) {
	t.Parallel()
	undecodable := fmt.Errorf("pipeline: %w", codec.ErrUndecodable)
	image := file("image", "a.jpg", photo)
	for name, tc := range map[string]struct {
		parts                  []part
		err                    error
		status                 int
		code, message, details string
	}{
		"no image":     {nil, nil, 400, "VALIDATION_ERROR", "Missing or empty image file", "image: File is required and cannot be empty;"},
		"empty image":  {[]part{file("image", "a.jpg", "")}, nil, 400, "VALIDATION_ERROR", "Missing or empty image file", "image: File is required and cannot be empty;"},
		"subject":      {[]part{image, text("subject", "dog")}, nil, 400, "VALIDATION_ERROR", "Invalid subject", "subject: Must be universal, human or product;"},
		"format":       {[]part{image, text("output_format", "png")}, nil, 400, "VALIDATION_ERROR", "Invalid output_format", "output_format: Must be transparent, white_bg, mask or crop;"},
		"other case":   {[]part{image, text("subject", "Human")}, nil, 400, "VALIDATION_ERROR", "Invalid subject", "subject: Must be universal, human or product;"},
		"a megabyte":   {[]part{image, text("subject", strings.Repeat("x", 1<<20))}, nil, 400, "VALIDATION_ERROR", "Invalid subject", "subject: Must be universal, human or product;"},
		"both":         {[]part{image, text("output_format", "\x00"), text("subject", "<b>")}, nil, 400, "VALIDATION_ERROR", "Invalid subject", "subject: Must be universal, human or product;output_format: Must be transparent, white_bg, mask or crop;"},
		"no picture":   {[]part{image}, undecodable, 400, "VALIDATION_ERROR", "Invalid image file", "image: Only JPEG, PNG, BMP, WEBP and GIF images are accepted, and the file must be intact;"},
		"too large":    {[]part{image}, &codec.LimitError{What: "bytes"}, 400, "VALIDATION_ERROR", "Image file is too large", "image: File exceeds the limit of 10 MB;"},
		"resolution":   {[]part{image}, &codec.LimitError{What: "pixels", Width: 9000, Height: 9000}, 400, "VALIDATION_ERROR", "Image resolution is too high", "image: Image has 9000x9000 pixels, at most 50000000 pixels are allowed;"},
		"internal":     {[]part{image}, errors.New("secret"), 500, "INTERNAL_ERROR", "Internal server error.", ""},
		"no subject":   {[]part{image, text("output_format", "crop")}, nil, 400, "VALIDATION_ERROR", "No subject found in the image", "image: There is no subject to crop to;"},
		"request size": {[]part{file("image", "a.jpg", strings.Repeat("x", 17<<20))}, nil, 400, "VALIDATION_ERROR", "The request body is too large, at most 16777216 bytes are taken.", "image: The request body is too large, at most 16777216 bytes are taken.;"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, nil)
			b.processor.run = func(ctx context.Context, image []byte, o pipeline.Options) (*pipeline.Result, error) {
				res, _ := formatted(ctx, image, o)
				res.Objects = nil
				return res, tc.err
			}
			got := b.post(apiSphere, tc.parts...)
			code, message, details := got.apiSphereError(t)
			if got.status != tc.status || code != tc.code || message != tc.message || details != tc.details {
				t.Errorf("%d %q %q %q", got.status, code, message, details)
			}
			if strings.Contains(got.body, "secret") {
				t.Errorf("leaks: %s", got.body)
			}
		})
	}

	b := start(t, func(c *handlers.Config) { c.Server.RequestTimeout = 50 * time.Millisecond })
	b.processor.run = func(ctx context.Context, _ []byte, _ pipeline.Options) (*pipeline.Result, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	got := b.post(apiSphere, image)
	if code, _, _ := got.apiSphereError(t); got.status != http.StatusBadGateway || code != "UPSTREAM_ERROR" {
		t.Errorf("a timeout: %d %s", got.status, got.body)
	}
	got = b.send(b.quirky, "GET", apiSphere, "", "")
	if code, _, _ := got.apiSphereError(t); got.status != 405 || code != "METHOD_NOT_ALLOWED" {
		t.Errorf("GET: %d %s", got.status, got.body)
	}
	got = b.send(b.quirky, "POST", apiSphere, "multipart/form-data; boundary=B", "--B\r\nContent-")
	if code, _, _ := got.apiSphereError(t); got.status != 400 || code != "VALIDATION_ERROR" {
		t.Errorf("cut short: %d %s", got.status, got.body)
	}
}

func TestRealAPISphere(t *testing.T) {
	t.Parallel()
	b := startReal(t)
	photo := asPNG(t, subject(200, 150))
	results := map[string]image.Image{}
	for _, format := range []string{"transparent", "white_bg", "mask", "crop"} {
		got := b.post(apiSphere, file("image", "a.png", photo), text("output_format", format))
		if got.status != 200 {
			t.Fatalf("%s: %d %s", format, got.status, got.body)
		}
		m, _, err := image.Decode(strings.NewReader(got.body))
		if err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		results[format] = m
	}
	if _, _, _, a := results["transparent"].At(3, 3).RGBA(); a != 0 {
		t.Errorf("transparent: alpha %d in the corner", a>>8)
	}
	if r, g, bl, a := results["white_bg"].At(3, 3).RGBA(); r>>8 < 254 || g>>8 < 254 || bl>>8 < 254 || a>>8 != 255 {
		t.Errorf("white: %v in the corner", results["white_bg"].At(3, 3))
	}
	mask, ok := results["mask"].(*image.Gray)
	if !ok {
		t.Fatalf("the mask is a %T", results["mask"])
	}
	for i, v := range mask.Pix {
		if v != 0 && v != 255 {
			t.Fatalf("mask value %d is %d", i, v)
		}
	}
	if mask.GrayAt(100, 75).Y != 255 || mask.GrayAt(3, 3).Y != 0 {
		t.Error("the mask is not where the subject is")
	}
	if b := results["crop"].Bounds(); b.Dx() < 85 || b.Dx() > 105 || b.Dy() < 85 || b.Dy() > 105 {
		t.Errorf("cropped to %v", b)
	}
}
