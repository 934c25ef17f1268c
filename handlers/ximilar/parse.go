package ximilar

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image/color"
	"net/http"
	"strconv"
	"strings"

	"cutout/codec"
	"cutout/handlers/dialect"
	"cutout/handlers/webhook"
	"cutout/pipeline"
)

// Names of the members of a request and of its records.
const (
	fieldRecords = "records"
	fieldURL     = "_url"
	fieldBase64  = "_base64"
	fieldMask    = "binary_mask"
	fieldWhite   = "white_background"
	fieldFormat  = "image_format"
	fieldQuality = "image_quality"
)

// Names of what a reply adds to a record.
const (
	fieldOutput      = "_output_url"
	fieldOutputMask  = "_output_url_mask"
	fieldOutputWhite = "_output_url_whitebg"
)

// suffixes tell apart the files of one record.
var suffixes = map[string]string{fieldOutputMask: "_mask", fieldOutputWhite: "_whitebg"}

const (
	defaultQuality = 85
	maxURL         = 8 << 10 // bytes
)

// request is a body that was read.
type request struct {
	records  []record
	callback string // URL that is told the reply too; empty: none
}

// record is one picture to be done.
type record struct {
	fields  map[string]json.RawMessage // as they came
	url     string
	data    []byte
	choice  choice
	problem *recordError // why it cannot be done
}

// choice is what can be chosen for a record, there or for all at the top of the request.
type choice struct {
	mask, white bool
	format      codec.Format // empty: by what it is for
	quality     int
}

// parse reads a request. Its error is a *dialect.Error; what is wrong with a single record stands in that.
func parse(body []byte, isJSON bool, maxRecords int) (request, error) {
	var top map[string]json.RawMessage
	if !isJSON || json.Unmarshal(body, &top) != nil || top == nil {
		return request{}, refuse(dialect.ReasonBadBody, "The body must be a JSON object.")
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(top[fieldRecords], &raw); err != nil || len(raw) == 0 {
		return request{}, refuse(dialect.ReasonMissingImage, "The field records must be a list of at least one record.")
	}
	if len(raw) > maxRecords {
		return request{}, refuse(dialect.ReasonBadParameter, fmt.Sprintf("Too many records: %d, at most %d are taken.", len(raw), maxRecords))
	}
	all, problem := choose(choice{quality: defaultQuality}, top)
	if problem != "" {
		return request{}, refuse(dialect.ReasonBadParameter, problem)
	}
	var req request
	if !text(top[webhook.Field], &req.callback) {
		return request{}, refuse(dialect.ReasonBadParameter, "The field "+webhook.Field+" must be a string.")
	}
	for _, r := range raw {
		req.records = append(req.records, parseRecord(r, all))
	}
	return req, nil
}

func refuse(reason, message string) *dialect.Error {
	return &dialect.Error{Status: http.StatusBadRequest, Reason: reason, Public: message}
}

func parseRecord(raw json.RawMessage, all choice) (r record) {
	bad := func(reason, message string) record {
		r.problem = &recordError{code: http.StatusBadRequest, message: message, reason: reason}
		return r
	}
	if err := json.Unmarshal(raw, &r.fields); err != nil || r.fields == nil {
		r.fields = nil
		return bad(dialect.ReasonBadBody, "A record must be an object.")
	}
	for name := range r.fields {
		if strings.HasPrefix(name, fieldOutput) || name == "_status" || name == "_width" || name == "_height" {
			delete(r.fields, name) // of an earlier reply: it would be mistaken for this one's
		}
	}
	var problem string
	if r.choice, problem = choose(all, r.fields); problem != "" {
		return bad(dialect.ReasonBadParameter, problem)
	}
	var encoded string
	if !text(r.fields[fieldURL], &r.url) || !text(r.fields[fieldBase64], &encoded) {
		return bad(dialect.ReasonBadParameter, "The fields _url and _base64 must be strings.")
	}
	switch {
	case encoded != "":
		r.url = "" // the picture itself is at hand
		data, ok := decode(encoded)
		if !ok {
			return bad(dialect.ReasonUndecodable, "The field _base64 is not valid base64.")
		}
		r.data = data
	case r.url == "":
		return bad(dialect.ReasonMissingImage, "A record must contain either _url or _base64.")
	case len(r.url) > maxURL:
		return bad(dialect.ReasonBadParameter, fmt.Sprintf("The URL is longer than %d bytes.", maxURL))
	}
	return r
}

// text reads a string; what is absent or null is empty.
func text(raw json.RawMessage, s *string) bool {
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return true
	}
	if json.Unmarshal(raw, s) != nil {
		return false
	}
	*s = strings.TrimSpace(*s)
	return true
}

// decode reads base64, with or without the head of a data URI, padding and line breaks, in either alphabet.
func decode(s string) ([]byte, bool) {
	if strings.HasPrefix(strings.ToLower(s[:min(len(s), 5)]), "data:") {
		_, rest, ok := strings.Cut(s, ",")
		if !ok {
			return nil, false
		}
		s = rest
	}
	s = strings.TrimRight(strings.NewReplacer("\r", "", "\n", "", " ", "", "\t", "", "-", "+", "_", "/").Replace(s), "=")
	data, err := base64.RawStdEncoding.DecodeString(s)
	return data, err == nil && len(data) > 0
}

// choose reads what can be chosen; what is not there stays as it is. It tells the first problem.
func choose(c choice, fields map[string]json.RawMessage) (choice, string) {
	for name, to := range map[string]*bool{fieldMask: &c.mask, fieldWhite: &c.white} {
		raw := plain(fields[name])
		switch strings.ToLower(raw) {
		case "":
		case "true", "1":
			*to = true
		case "false", "0":
			*to = false
		default:
			return c, fmt.Sprintf("The field %s must be true or false.", name)
		}
	}
	switch strings.ToLower(plain(fields[fieldFormat])) {
	case "":
	case "png":
		c.format = codec.PNG
	case "jpg", "jpeg":
		c.format = codec.JPEG
	case "webp":
		c.format = codec.WebP
	default:
		return c, "The field image_format must be png, jpg or webp."
	}
	if raw := plain(fields[fieldQuality]); raw != "" {
		n, err := strconv.Atoi(raw)
		if err != nil || n < 1 || n > 100 {
			return c, "The field image_quality must be a number from 1 to 100."
		}
		c.quality = n
	}
	return c, ""
}

// plain is a string, number or boolean as text; absent and null are empty.
func plain(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return strings.TrimSpace(s)
	}
	return string(bytes.TrimSpace(raw))
}

// options translates a record. fields names what becomes of each of Options.Also.
func (r record) options(quality pipeline.Quality) (o pipeline.Options, fields []string) {
	format := func(fallback codec.Format) codec.Format {
		if r.choice.format != "" {
			return r.choice.format
		}
		return fallback
	}
	o = pipeline.Options{
		Output: pipeline.Cutout, Quality: quality, Format: format(codec.PNG), JPEG: r.choice.quality, WebP: r.choice.quality,
	}
	if r.choice.mask {
		o.Also = append(o.Also, pipeline.Variant{Output: pipeline.Mask, Format: format(codec.JPEG)})
		fields = append(fields, fieldOutputMask)
	}
	if r.choice.white {
		o.Also = append(o.Also, pipeline.Variant{
			Output: pipeline.Cutout, Format: format(codec.JPEG), Background: &color.NRGBA{R: 255, G: 255, B: 255, A: 255},
		})
		fields = append(fields, fieldOutputWhite)
	}
	return o, fields
}

func extension(f codec.Format) string {
	if f == codec.JPEG {
		return ".jpg"
	}
	return "." + string(f)
}

// newID makes a random UUID (RFC 9562, version 4).
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
