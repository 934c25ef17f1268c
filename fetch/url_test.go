package fetch

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		raw, want, name string
		kind            Kind
	}{
		{raw: "http://a.example/b/c.jpg", want: "http://a.example/b/c.jpg", name: "c.jpg"},
		{raw: "  HTTPS://a.example/c.jpg\n", want: "https://a.example/c.jpg", name: "c.jpg"},
		{raw: "https://a.example", want: "https://a.example/"},
		{raw: "https://a.example?x=1", want: "https://a.example/?x=1"},
		{raw: "https://a.example/dir/", want: "https://a.example/dir/"},
		{raw: "https://a.example/my photo.jpg", want: "https://a.example/my%20photo.jpg", name: "my photo.jpg"},
		{raw: "https://a.example/my%20photo.jpg", want: "https://a.example/my%20photo.jpg", name: "my photo.jpg"},
		{raw: "https://a.example/größe/катя.jpg", want: "https://a.example/gr%C3%B6%C3%9Fe/%D0%BA%D0%B0%D1%82%D1%8F.jpg", name: "катя.jpg"},
		{raw: "https://a.example/100%.jpg", want: "https://a.example/100%25.jpg", name: "100%.jpg"},
		{raw: "https://a.example/%zz/a.jpg", want: "https://a.example/%25zz/a.jpg", name: "a.jpg"},
		{raw: "https://a.example/a%2Fb%7C|.jpg", want: "https://a.example/a%2Fb%7C%7C.jpg", name: "b||.jpg"},
		{raw: "https://a.example/a%00%0ab.jpg", want: "https://a.example/a%00%0ab.jpg", name: "ab.jpg"},
		{raw: "https://a.example/%ff.jpg", want: "https://a.example/%ff.jpg", name: "\uFFFD.jpg"},
		{raw: "https://a.example/p.jpg?q=a b&r=ü#frag", want: "https://a.example/p.jpg?q=a%20b&r=%C3%BC", name: "p.jpg"},
		{raw: "https://a.example/p.jpg?", want: "https://a.example/p.jpg?", name: "p.jpg"},
		{raw: "https://a.example/p.jpg?s=a%2Fb%&t=/x", want: "https://a.example/p.jpg?s=a%2Fb%&t=/x", name: "p.jpg"},
		{raw: "https://a.example/p.jpg#a?b", want: "https://a.example/p.jpg", name: "p.jpg"},
		{raw: `https:\\a.example\b\c.jpg`, want: "https://a.example/b/c.jpg", name: "c.jpg"},
		{raw: "https:a.example/c.jpg", want: "https://a.example/c.jpg", name: "c.jpg"},
		{raw: "http:///a.example/c.jpg", want: "http://a.example/c.jpg", name: "c.jpg"},
		{raw: "http://a.ex\nample/c\t.jpg", want: "http://a.example/c.jpg", name: "c.jpg"},
		{raw: "http://[::1]:8080/c.jpg", want: "http://[::1]:8080/c.jpg", name: "c.jpg"},
		{raw: "http://a.example:8080/c@d.jpg", want: "http://a.example:8080/c@d.jpg", name: "c@d.jpg"},

		{raw: "", kind: BadURL},
		{raw: " \n", kind: BadURL},
		{raw: "http://", kind: BadURL},
		{raw: "http://:80/", kind: BadURL},
		{raw: "http://[::1/a.jpg", kind: BadURL},
		{raw: "http://a.example:http/a.jpg", kind: BadURL},
		{raw: "http://a b.example/a.jpg", kind: BadURL},
		{raw: "http://a%2eexample/a.jpg", kind: BadURL},
		{raw: "http://a.example/" + strings.Repeat("a", maxURL), kind: BadURL},
		{raw: "http://a.example/" + strings.Repeat("\xf8", maxURL/2), kind: BadURL}, // as long as that once it is escaped
		{raw: "http:" + strings.Repeat("\xf8", maxHost+1), kind: BadURL},
		{raw: "http://" + strings.Repeat("a.", maxHost/2) + "aa/", kind: BadURL},
		{raw: "photo.jpg", kind: BadScheme},
		{raw: "//a.example/photo.jpg", kind: BadScheme},
		{raw: "a.example:80/photo.jpg", kind: BadScheme},
		{raw: "file:///etc/passwd", kind: BadScheme},
		{raw: "ftp://a.example/a.jpg", kind: BadScheme},
		{raw: "gopher://a.example/", kind: BadScheme},
		{raw: "data:image/png;base64,AAAA", kind: BadScheme},
		{raw: "http://user@a.example/a.jpg", kind: Credentials},
		{raw: "http://user:secret@a.example/a.jpg", kind: Credentials},
		{raw: `http:\\good.example\@evil.example/`, want: "http://good.example/@evil.example/"},
		{raw: "http://good.example@evil.example/", kind: Credentials},
	} {
		u, err := parse(tc.raw)
		if tc.kind != "" {
			var e *Error
			if !errors.As(err, &e) || e.Kind != tc.kind {
				t.Errorf("%q: got %v, %v, want %s", tc.raw, u, err, tc.kind)
			} else if e.Public == "" || strings.Contains(e.Public, "secret") {
				t.Errorf("%q: public text %q", tc.raw, e.Public)
			}
			if got := Name(tc.raw); got != "" {
				t.Errorf("%q: name %q of a refused URL", tc.raw, got)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", tc.raw, err)
			continue
		}
		if got := u.String(); got != tc.want {
			t.Errorf("%q: got %s, want %s", tc.raw, got, tc.want)
		}
		if got := Name(tc.raw); got != tc.name {
			t.Errorf("%q: name %q, want %q", tc.raw, got, tc.name)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"http://a.example/b.jpg", "https://a.example/ä b%20%zz|?q=1 2#x", `http:\\h\p`, "http://[::1%25eth0]:80/", "http://u:p@h/",
		"http://h?x", "http:h", "http://\u0130.example/", "\x00http://h/\x7f?\x7f", "http:" + strings.Repeat("\xf8", 4000),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := parse(raw)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Public == "" {
				t.Fatalf("%q: untyped error %v", raw, err)
			}
			return
		}
		if u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Hostname() == "" || u.Fragment != "" {
			t.Fatalf("%q: let through as %#v", raw, u)
		}
		target := u.RequestURI()
		if strings.ContainsFunc(target, func(r rune) bool { return r <= ' ' || r >= 0x7f }) || target[0] != '/' {
			t.Fatalf("%q: request target %q", raw, target)
		}
		if !utf8.ValidString(Name(raw)) {
			t.Fatalf("%q: name is not UTF-8", raw)
		}
		again, err := parse(u.String())
		if err != nil || again.RequestURI() != target || again.Host != u.Host {
			t.Fatalf("%q: %s parses to %v, %v the second time", raw, u, again, err)
		}
		if _, err := http.NewRequest(http.MethodGet, u.String(), http.NoBody); err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
	})
}
