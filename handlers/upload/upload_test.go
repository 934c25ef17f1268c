package upload

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var known = []string{"url", "mode", "image"}

func request(contentType, body string) *http.Request {
	r := httptest.NewRequest("POST", "/", strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

func TestURLEncoded(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]map[string]string{
		"url=http%3A%2F%2Fh%2Fp%3Fa%3D1%26b%3D2": {"url": "http://h/p?a=1&b=2"},
		"url=http://h/p?a=1&b=2":                 {"url": "http://h/p?a=1&b=2"},
		"url=http://h/p?a=1&b=2&mode=x&c=d":      {"url": "http://h/p?a=1&b=2", "mode": "x", "c": "d"},
		"url=HTTPS://h/a+b%20c":                  {"url": "HTTPS://h/a+b%20c"},
		"mode=a+b%2Bc&other=":                    {"mode": "a b+c"},
		"url=%zz":                                {"url": "%zz"},
		"mode=&mode=second":                      {"mode": "second"},
		"mode=first&mode=second":                 {"mode": "first"},
		"a=1&&b":                                 {"a": "1"},
		"\r\nmode=x\r\n":                         {"mode": "x"},
		"url=http%3a//h/p&c=d":                   {"url": "http://h/p", "c": "d"},
	} {
		form, err := Read(request("application/x-www-form-urlencoded", body), Options{Known: known})
		if err != nil {
			t.Errorf("%q: %v", body, err)
			continue
		}
		got := map[string]string{}
		for name, field := range form.fields {
			got[name] = string(field.Data)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: (-want +got)\n%s", body, diff)
		}
		if form.Kind != URLEncoded {
			t.Errorf("%q: is %s", body, form.Kind)
		}
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	part := "--B\r\nContent-Disposition: form-data; name=\"mode\"\r\n\r\nx\r\n--B--"
	for _, tc := range []struct {
		contentType, body string
		want              Kind
	}{
		{"", "", None},
		{"multipart/form-data", "", None},
		{"multipart/form-data; boundary=B", part, Multipart},
		{"MULTIPART/Form-Data; boundary=B", part, Multipart},
		{"multipart/mixed; boundary=\"B\"", part, Multipart},
		{"multipart/form-data", part, Multipart},
		{"multipart/form-data; boundary=", part, Multipart},
		{"multipart/form-data; boundary=B", "a preamble\r\n" + part, Multipart},
		{"", part, Multipart},
		{"application/octet-stream", part, Multipart},
		{"application/json", part, JSON},
		{"application/json; charset=utf-8", "{}", JSON},
		{"application/problem+json", "{}", JSON},
		{"image/jpeg", "--B\r\nmore", Raw},
		{"", "--B\r\nmore", Raw},
		{"nonsense;;;=", "bytes", Raw},
	} {
		form, err := Read(request(tc.contentType, tc.body), Options{Known: known})
		if err != nil {
			t.Errorf("%q %q: %v", tc.contentType, tc.body, err)
			continue
		}
		if form.Kind != tc.want {
			t.Errorf("%q %q: is %s, want %s", tc.contentType, tc.body, form.Kind, tc.want)
		}
		switch form.Kind {
		case JSON, Raw:
			if string(form.Body) != tc.body {
				t.Errorf("%q: the body became %q", tc.contentType, form.Body)
			}
		case Multipart:
			if field, ok := form.Get("absent", "mode"); !ok || field.Text() != "x" {
				t.Errorf("%q: field %q, %v", tc.contentType, field.Data, ok)
			}
		}
	}
}

func TestNamedEmptyFileIsAFile(t *testing.T) {
	t.Parallel()
	body := "--B\r\nContent-Disposition: form-data; name=\"a\"; filename=\"x.txt\"\r\n\r\n\r\n" +
		"--B\r\nContent-Disposition: form-data; name=\"b\"; filename=\"\"\r\n\r\n\r\n--B--"
	form, err := Read(request("multipart/form-data; boundary=B", body), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if field, ok := form.Get("a"); !ok || !field.File || field.FileName != "x.txt" || len(field.Data) != 0 {
		t.Errorf("the named file is %+v, %v", field, ok)
	}
	if _, ok := form.Get("b"); ok {
		t.Error("a file that was not chosen is there")
	}
}

// broken fails like a connection whose deadline has passed.
type broken struct{ head io.Reader }

func (b broken) Read(p []byte) (int, error) {
	if n, err := b.head.Read(p); err == nil {
		return n, nil
	}
	return 0, os.ErrDeadlineExceeded
}

func (broken) Close() error { return nil }

func TestErrorsOfTheConnectionStayVisible(t *testing.T) {
	t.Parallel()
	for _, contentType := range []string{"multipart/form-data; boundary=B", "image/png", "application/x-www-form-urlencoded"} {
		for _, head := range []string{"", "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nhalf"} {
			r := request(contentType, "")
			r.Body = broken{strings.NewReader(head)}
			_, err := Read(r, Options{})
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s after %d bytes: %v", contentType, len(head), err)
			}
			if _, ok := errors.AsType[*FormError](err); ok {
				t.Errorf("%s after %d bytes: takes it for a malformed form", contentType, len(head))
			}
		}
	}
}

func TestLimitOfTheBodyStaysVisible(t *testing.T) {
	t.Parallel()
	long := "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n" + strings.Repeat("x", 5000) + "\r\n--B--"
	for _, contentType := range []string{"multipart/form-data; boundary=B", "image/png", "application/x-www-form-urlencoded"} {
		for _, limit := range []int64{1, 10, 60, 4500} {
			r := request(contentType, long)
			r.Body = http.MaxBytesReader(httptest.NewRecorder(), r.Body, limit)
			var tooLarge *http.MaxBytesError
			if _, err := Read(r, Options{}); !errors.As(err, &tooLarge) {
				t.Errorf("%s with %d bytes: %v", contentType, limit, err)
			}
		}
	}
}

// A header is free; memory for what it announces must not be.
func TestAnnouncedLengthCostsNothing(t *testing.T) {
	r := request("image/png", "few bytes")
	r.ContentLength = 1 << 30
	allocated := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			r.Body = io.NopCloser(strings.NewReader("few bytes"))
			if _, err := Read(r, Options{}); err != nil {
				b.Fatal(err)
			}
		}
	}).AllocedBytesPerOp()
	if allocated > 64<<10 {
		t.Errorf("%d bytes are allocated for a body of 9", allocated)
	}
}

func TestLargeFileComesThrough(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("0123456789\r\n--"), 300_000)
	body := "--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\n" + string(data) + "\r\n--B--"
	for _, announced := range []int64{-1, int64(len(body))} {
		r := request("multipart/form-data; boundary=B", body)
		r.ContentLength = announced
		form, err := Read(r, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if field, _ := form.Get("image"); !bytes.Equal(field.Data, data) {
			t.Errorf("announced %d: %d bytes became %d", announced, len(data), len(field.Data))
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("multipart/form-data; boundary=B", "--B\r\nContent-Disposition: form-data; name=\"a\"; filename=\"b\"\r\n\r\nx\r\n--B--")
	f.Add("multipart/form-data", "--B\nContent-Disposition: form-data; name=a; filename=b c\n\nx\n--B--")
	f.Add("application/x-www-form-urlencoded", "url=http://h/?a=1&b=2&mode=x")
	f.Add("application/json", "{}")
	f.Add("", "\r\n--\r\nContent-")
	f.Fuzz(func(t *testing.T, contentType, body string) {
		const limit = 1 << 16
		r := request("", body)
		r.Header["Content-Type"] = []string{contentType}
		r.Body = http.MaxBytesReader(httptest.NewRecorder(), r.Body, limit)
		form, err := Read(r, Options{Known: known, MaxFields: 20})
		var (
			tooLarge  *http.MaxBytesError
			malformed *FormError
		)
		if err != nil {
			switch {
			case errors.As(err, &tooLarge) && len(body) > limit:
			case errors.As(err, &malformed) && malformed.Public != "":
			default:
				t.Fatalf("an error that says nothing: %v", err)
			}
			return
		}
		size := len(form.Body)
		for name, field := range form.fields {
			size += len(name) + len(field.Data) + len(field.FileName)
			if field.Empty() {
				t.Errorf("field %q is kept though it is empty", name)
			}
		}
		if len(form.fields) > 20 || size > 4*len(body)+64 {
			t.Errorf("a body of %d bytes gave %d fields of %d bytes", len(body), len(form.fields), size)
		}
	})
}
