package handlers_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"cutout/handlers"
	"cutout/jobs"
	"cutout/pipeline"
)

// place is where a parameter stands.
type place string

// Places of parameters.
const (
	inForm  place = "form"
	inQuery place = "query"
	inJSON  place = "json"
)

// parameter is one parameter of a dialect's operation, with what is wrong for it.
type parameter struct {
	name  string
	place place
	bad   []string // values that must be refused
	file  bool
	with  [2]string // name and value of the field without which this one is passed over
}

// operation is one way to ask a dialect for a result.
type operation struct {
	method, path string
	required     []parameter                 // present in every request that tests another one, with a good value
	good         map[string]string           // of the required
	parameters   []parameter                 // all of them
	shape        func(t *testing.T, r reply) // of what is refused
	refusal      func(status int) bool       // statuses of what is refused; 200 is none of them unless the dialect says so
}

// shapeOf checks that a body is an object with exactly these keys.
func shapeOf(keys ...string) func(*testing.T, reply) {
	return func(t *testing.T, r reply) {
		t.Helper()
		var v map[string]json.RawMessage
		if err := json.Unmarshal([]byte(r.body), &v); err != nil {
			t.Errorf("%d: no JSON object: %.200s", r.status, r.body)
			return
		}
		for _, key := range keys {
			if _, ok := v[key]; !ok {
				t.Errorf("%d: no %q in %.200s", r.status, key, r.body)
			}
		}
		if len(v) != len(keys) {
			t.Errorf("%d: more than %q in %.200s", r.status, keys, r.body)
		}
	}
}

func status(codes ...int) func(int) bool {
	return func(code int) bool { return slices.Contains(codes, code) }
}

// operations lists every parameter of every dialect that answers at once or takes a job.
func operations() map[string]operation {
	form := func(name string, bad ...string) parameter { return parameter{name: name, place: inForm, bad: bad} }
	query := func(name string, bad ...string) parameter { return parameter{name: name, place: inQuery, bad: bad} }
	upload := func(name string) parameter { return parameter{name: name, place: inForm, file: true} }
	record := func(name string, bad ...string) parameter { return parameter{name: name, place: inJSON, bad: bad} }
	words := []string{"no-such-word", "\x00", "💥", "-1", "1e309", "NaN", "[]"}
	truths := []string{"maybe", "2", "-1", "yes please"}
	return map[string]operation{
		"api4ai": {
			method: "POST", path: "/v1/results", required: []parameter{upload("image")}, good: map[string]string{"image": photo},
			parameters: []parameter{
				upload("image"), upload("image-bg"), form("url"), form("url-bg", words...), query("mode", words...), form("mode", words...),
				query("representation", words...), query("quality", words...), query("subject", words...),
			},
			refusal: status(200, 400, 413, 422), shape: nil, // 200 with a failure, as there; the contract tests have its shape
		},
		"removebg": {
			method: "POST", path: "/v1.0/removebg", required: []parameter{upload("image_file")}, good: map[string]string{"image_file": photo},
			parameters: []parameter{
				upload("image_file"), form("image_url", "no url", "ftp://x/y"), form("image_file_b64", "!!!"), form("size", words...),
				form("type", words...), form("type_level", words...), form("format", words...), form("roi", "1", "a b c d", "1e9 1e9 1e9 1e9"),
				form("crop", truths...), form("crop_margin", "-1px", "501px", "51%", "1 2 3", "1 2 3 4 5", "x"), form("scale", "9%", "101%", "x", "50"),
				form("position", "x", "101%", "-1%", "1% 2% 3%"), form("channels", words...), form("add_shadow", truths...), form("shadow_type", words...),
				form("shadow_opacity", "-1", "101", "x", "NaN"), form("semitransparency", truths...), form("bg_color", "#12", "no colour", "#gggggg"),
				form("bg_image_url", "no url", "ftp://x/y"), upload("bg_image_file"),
			},
			refusal: status(400), shape: shapeOf("errors"),
		},
		"apisphere": {
			method: "POST", path: "/v1/remove-bg/universal", required: []parameter{upload("image")}, good: map[string]string{"image": photo},
			parameters: []parameter{upload("image"), form("subject", words...), form("output_format", words...)},
			refusal:    status(400), shape: shapeOf("meta", "data", "warnings", "error"),
		},
		"rembg, upload": {
			method: "POST", path: "/api/remove", required: []parameter{upload("file")}, good: map[string]string{"file": photo},
			parameters: []parameter{
				upload("file"), form("model", words...), form("a", truths...), form("af", "-1", "256", "x", "1.5", "99999999999999999999"),
				form("ab", "-1", "256", "x"), form("ae", "-1", "x"), form("om", truths...), form("ppm", truths...), form("dc", truths...),
				query("bgc", "1,2", "1,2,3,4,5", "256,0,0,0", "-1,0,0,0", "x"), query("extras"),
			},
			refusal: status(400, 422), shape: shapeOf("detail"),
		},
		"rembg, URL": {
			method: "GET", path: "/api/remove", required: []parameter{query("url")}, good: map[string]string{"url": "http://pictures/a.jpg"},
			parameters: []parameter{
				query("url", "no url", "ftp://x/y", "http://"), query("model", words...), query("a", truths...), query("af", "-1", "256", "x"),
				query("ab", "-1", "256", "x"), query("ae", "-1", "x"), query("om", truths...), query("ppm", truths...), query("dc", truths...),
				query("bgc", "1,2", "x"), query("extras"),
			},
			refusal: status(400, 422), shape: shapeOf("detail"),
		},
		"photoroom": {
			method: "POST", path: "/v1/segment", required: []parameter{upload("image_file")}, good: map[string]string{"image_file": photo},
			parameters: []parameter{
				upload("image_file"), form("format", words...), form("channels", words...), form("bg_color", "#12", "no colour"), form("size", words...),
				form("crop", truths...), form("despill", truths...),
			},
			refusal: status(400), shape: shapeOf("detail", "status_code", "type"),
		},
		"ximilar, precise": {
			method: "POST", path: "/removebg/precise/removebg", required: []parameter{record("_base64")},
			good: map[string]string{"_base64": base64.StdEncoding.EncodeToString([]byte(photo))},
			parameters: []parameter{
				record("_base64", "!!!"), record("_url"), record("binary_mask", truths...), record("white_background", truths...),
				record("image_format", words...), record("image_quality", "0", "101", "-1", "x", "1.5"),
			},
			// A record that cannot be served has its own status in a reply that is 200.
			refusal: status(200, 400), shape: nil,
		},
		"backgroundremoverai": {
			method: "POST", path: "/v1/convert/", required: []parameter{upload("files"), form("convert_to")},
			good: map[string]string{"files": photo, "convert_to": "image-backgroundremover"},
			parameters: []parameter{
				upload("files"), form("convert_to", words...), form("model", words...), form("alpha_matting", truths...), form("alpha_fg", "-1", "256", "x"),
				form("alpha_bg", "-1", "256", "x"), form("alpha_erode", "-1", "x", "99999999999999999999"), form("alpha_base_size", "-1", "x"),
				form("only_mask", truths...), form("bg_type", words...), {name: "bg_color_value", place: inForm, bad: []string{"#12", "x"}, with: [2]string{"bg_type", "color"}}, form("lang"),
			},
			refusal: status(400), shape: shapeOf("error"),
		},
	}
}

// request writes an operation's request with one parameter given the values named; none leaves it out.
func (o operation) request(t *testing.T, server string, p parameter, values ...string) *http.Request {
	t.Helper()
	var (
		parts  []part
		query  = url.Values{}
		object = map[string]any{}
		raw    []string // further members of the object, of the same name
	)
	put := func(p parameter, value string) {
		switch {
		case p.place == inQuery:
			query.Add(p.name, value)
		case p.place == inJSON:
			if _, taken := object[p.name]; taken {
				raw = append(raw, fmt.Sprintf("%q:%s", p.name, quoted(value)))
				return
			}
			object[p.name] = json.RawMessage(quoted(value))
		case p.file:
			parts = append(parts, file(p.name, "a.jpg", value))
		default:
			parts = append(parts, text(p.name, value))
		}
	}
	for _, r := range o.required {
		if r.name != p.name {
			put(r, o.good[r.name])
		}
	}
	if p.with[0] != "" {
		put(parameter{name: p.with[0], place: p.place}, p.with[1])
	}
	for _, v := range values {
		put(p, v)
	}
	var (
		body        []byte
		contentType string
	)
	switch {
	case o.method == "GET":
	case o.required[0].place == inJSON:
		encoded, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		inner := strings.TrimSuffix(string(encoded), "}")
		for _, member := range raw {
			inner += "," + member
		}
		contentType, body = "application/json", []byte(`{"records":[`+inner+`}]}`)
	default:
		contentType, body = form(t, parts...)
	}
	r, err := http.NewRequest(o.method, server+o.path+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(b)
}

// Every parameter of every dialect is given what is out of its range, of the wrong type, twice, empty, a megabyte long and
// hostile bytes: the answer is the dialect's documented error, or a result where the value is right or of no account, and
// never a 500. The transport holds every reply against the OpenAPI document.
func TestBadInputToEveryParameter(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("9", 1<<20)
	for name, o := range operations() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startJobs(t, func(c *handlers.Config, _ *jobs.Config) {
				c.Server.MaxHeader = 4 << 20 // so that a long query reaches the dialect
			}).bundle
			b.processor.run = func(_ context.Context, _ []byte, o pipeline.Options) (*pipeline.Result, error) {
				res, err := formatted(t.Context(), nil, o)
				res.Also = make([][]byte, len(o.Also))
				return res, err
			}
			b.fetcher.files["http://pictures/a.jpg"] = photo
			cases := 0
			send := func(p parameter, what string, mustRefuse bool, values ...string) {
				t.Helper()
				cases++
				res, err := b.quirky.Do(o.request(t, b.url, p, values...))
				if err != nil {
					t.Errorf("%s %s: %v", p.name, what, err)
					return
				}
				got := read(t, res)
				switch {
				case got.status >= 500:
					t.Errorf("%s %s: %d %.200s", p.name, what, got.status, got.body)
				case got.status == 200 && !(mustRefuse && o.shape != nil):
				case !o.refusal(got.status):
					t.Errorf("%s %s: %d %.200s", p.name, what, got.status, got.body)
				case o.shape != nil:
					o.shape(t, got)
				}
				if mustRefuse && o.shape == nil && got.status == 200 && refusedInside(got.body) == "" {
					t.Errorf("%s %s: was taken: %.200s", p.name, what, got.body)
				}
			}
			for _, p := range o.parameters {
				for _, bad := range p.bad {
					send(p, fmt.Sprintf("%q", bad), true, bad)
				}
				send(p, "empty", false, "")
				send(p, "blank", false, "  \t ")
				send(p, "a megabyte", false, long)
				send(p, "twice, empty first", false, "", "x")
				send(p, "bytes that are no text", false, "\xff\xfe\x00\r\n--")
				send(p, "missing", false)
				if len(p.bad) > 0 {
					send(p, "twice, the same", true, p.bad[0], p.bad[0])
					send(p, "a hundred times", false, strings.Split(strings.Repeat(p.bad[0]+"\n", 99), "\n")...)
				}
				if p.place == inJSON {
					for _, value := range []string{"null", "[]", "{}", "1e400", "-0.5", "true", `["a"]`, strings.Repeat("[", 5000) + strings.Repeat("]", 5000)} {
						object := map[string]string{}
						for _, r := range o.required {
							object[r.name] = quoted(o.good[r.name])
						}
						object[p.name] = value
						var members []string
						for k, v := range object {
							members = append(members, fmt.Sprintf("%q:%s", k, v))
						}
						got := b.send(b.quirky, o.method, o.path, "application/json", `{"records":[{`+strings.Join(members, ",")+`}]}`)
						if cases++; got.status != 200 && !o.refusal(got.status) {
							t.Errorf("%s %.40s: %d %.200s", p.name, value, got.status, got.body)
						}
					}
				}
			}
			t.Logf("%d requests", cases)
		})
	}
}

// refusedInside is the word by which a reply that is 200 says no: API4AI's failure, the status of Ximilar's records.
func refusedInside(body string) string {
	var v struct {
		Results []struct {
			Status struct{ Code string }
		}
		Records []struct {
			Status struct{ Code int } `json:"_status"`
		}
	}
	if json.Unmarshal([]byte(body), &v) != nil {
		return "no JSON"
	}
	for _, r := range v.Results {
		if r.Status.Code == "failure" {
			return r.Status.Code
		}
	}
	for _, r := range v.Records {
		if r.Status.Code >= 400 {
			return fmt.Sprint(r.Status.Code)
		}
	}
	return ""
}
