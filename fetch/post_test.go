package fetch

import (
	"io"
	"net/http"
	"testing"
)

func TestPost(t *testing.T) {
	t.Parallel()
	type request struct{ method, path, body, contentType, agent string }
	var got []request
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, request{r.Method, r.URL.Path, string(body), r.Header.Get("Content-Type"), r.Header.Get("User-Agent")})
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		case "/broken":
			w.WriteHeader(http.StatusBadGateway)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
	f := newFetcher(t, loopbackOnly(t))
	header := http.Header{"Content-Type": {"application/json"}}
	if err := f.Post(t.Context(), s.URL+"/hook", header, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if want := (request{"POST", "/hook", "{}", "application/json", "cutout"}); len(got) != 1 || got[0] != want {
		t.Errorf("got %+v", got)
	}
	if e := wantKind(t, f.Post(t.Context(), s.URL+"/moved", header, nil), Status); e.Code != 307 || len(got) != 2 {
		t.Errorf("a redirect: %v, %d requests", e, len(got))
	}
	if e := wantKind(t, f.Post(t.Context(), s.URL+"/broken", nil, nil), Status); e.Code != 502 {
		t.Errorf("%v", e)
	}
	wantKind(t, f.Post(t.Context(), "gopher://x/", nil, nil), BadScheme)
	wantKind(t, f.Post(t.Context(), "http://10.0.0.1/", nil, nil), Address)
	closed := newFetcher(t, Config{})
	wantKind(t, closed.Post(t.Context(), s.URL+"/hook", nil, nil), Address)
	if len(got) != 3 {
		t.Errorf("%d requests arrived", len(got))
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	f := newFetcher(t, Config{Allow: prefixes(t, "10.1.0.0/16")})
	for url, want := range map[string]string{
		"https://example.com/hook": "https", "HTTP://example.com": "http", "http://10.1.2.3:8080/": "http", "https://1.1.1.1/": "https",
		"https://localhost/": "https", // a name is looked at when it is dialled
	} {
		if got, err := f.Check(url); got != want || err != nil {
			t.Errorf("%s: %q, %v", url, got, err)
		}
	}
	for url, want := range map[string]Kind{
		"": BadURL, "example.com": BadScheme, "ftp://example.com": BadScheme, "https://a:b@example.com/": Credentials,
		"http://127.0.0.1/": Address, "https://[::1]/": Address, "http://169.254.169.254/latest": Address, "http://10.2.0.1/": Address,
		"https://1.1.1.1:22/": Address, "https://[::ffff:10.1.2.3]/": Address,
	} {
		_, err := f.Check(url)
		wantKind(t, err, want)
	}
}
