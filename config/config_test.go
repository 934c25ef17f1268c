package config

import (
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func goodServer() Server {
	return Server{
		Addr: ":8080", HeaderTimeout: time.Second, BodyTimeout: time.Second, RequestTimeout: time.Second,
		WriteTimeout: time.Second, IdleTimeout: time.Second, ShutdownTimeout: time.Second, MaxHeader: 1 << 16,
	}
}

func TestServerValidate(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*Server)
		want   string // empty: valid
	}{
		"good":              {func(*Server) {}, ""},
		"port zero":         {func(s *Server) { s.Addr = "127.0.0.1:0" }, ""},
		"no port":           {func(s *Server) { s.Addr = "localhost" }, "host:port"},
		"word for a port":   {func(s *Server) { s.Addr = ":http" }, "65535"},
		"port too big":      {func(s *Server) { s.Addr = ":70000" }, "65535"},
		"no body timeout":   {func(s *Server) { s.BodyTimeout = 0 }, "--body-timeout"},
		"negative shutdown": {func(s *Server) { s.ShutdownTimeout = -1 }, "--shutdown-timeout"},
		"negative delay":    {func(s *Server) { s.ShutdownDelay = -1 }, "--shutdown-delay"},
		"tiny header":       {func(s *Server) { s.MaxHeader = 10 }, "--max-header"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := goodServer()
			tc.change(&s)
			check(t, s.Validate(), tc.want)
		})
	}
}

func TestLimitsValidate(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		limits Limits
		want   string
	}{
		"good":              {Limits{MaxWidth: 1, MaxHeight: 1, MaxFile: 1 << 10, MaxRequest: 1 << 20}, ""},
		"unbounded":         {Limits{MaxRequest: 1 << 20}, ""},
		"negative width":    {Limits{MaxWidth: -1, MaxRequest: 1 << 20}, "--x-max-width"},
		"negative file":     {Limits{MaxFile: -1, MaxRequest: 1 << 20}, "--x-max-file"},
		"no request":        {Limits{}, "--x-max-request"},
		"file over request": {Limits{MaxFile: 1 << 21, MaxRequest: 1 << 20}, "2MB: is over --x-max-request 1MB"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t, tc.limits.Validate("x-"), tc.want)
		})
	}
}

func TestPicturesValidate(t *testing.T) {
	t.Parallel()
	check(t, Pictures{MaxPixels: 1, MaxFile: 1 << 10, MaxRequest: 1 << 20}.Validate("x-"), "")
	check(t, Pictures{MaxRequest: 1 << 20}.Validate("x-"), "")
	check(t, Pictures{MaxPixels: -1, MaxRequest: 1 << 20}.Validate("x-"), "--x-max-pixels")
	check(t, Pictures{}.Validate("x-"), "--x-max-request")
	check(t, Pictures{MaxFile: 1 << 21, MaxRequest: 1 << 20}.Validate("x-"), "--x-max-file")
}

func TestAccessValidate(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"*", "https://example.com", "http://localhost:3000"} {
		check(t, Access{CORSOrigins: []string{good}}.Validate(), "")
	}
	for _, bad := range []string{"", "example.com", "https://example.com/", "https://", "//example.com", "https://a b"} {
		check(t, Access{CORSOrigins: []string{bad}}.Validate(), "--cors-origin")
	}
}

func TestFetchValidate(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*Fetch)
		want   string
	}{
		"good":           {func(*Fetch) {}, ""},
		"no time":        {func(f *Fetch) { f.Timeout = 0 }, "--fetch-timeout"},
		"no bytes":       {func(f *Fetch) { f.MaxFile = 0 }, "--fetch-max-file"},
		"no rate":        {func(f *Fetch) { f.Rate = 0 }, "--fetch-rate"},
		"endless rate":   {func(f *Fetch) { f.Rate = math.Inf(1) }, "--fetch-rate"},
		"no concurrency": {func(f *Fetch) { f.Concurrency = 0 }, "--fetch-concurrency"},
		"host bits":      {func(f *Fetch) { f.Allow = []netip.Prefix{netip.MustParsePrefix("10.1.2.3/8")} }, "want 10.0.0.0/8"},
		"mapped":         {func(f *Fetch) { f.Allow = []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")} }, "as IPv4"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := Fetch{
				Timeout: time.Second, MaxFile: 1, Concurrency: 1, Rate: 1,
				Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")},
			}
			tc.change(&f)
			check(t, f.Validate(), tc.want)
		})
	}
}

func TestInferenceValidate(t *testing.T) {
	t.Parallel()
	check(t, Inference{Model: "u2netp"}.Validate(), "")
	check(t, Inference{}.Validate(), "--model")
	check(t, Inference{Model: "u2netp", Threads: -1}.Validate(), "--threads")
}

func TestBytes(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Bytes{
		"0": 0, "123": 123, "1KB": 1 << 10, "16MB": 16 << 20, "16MiB": 16 << 20, "16m": 16 << 20, "2 gb": 2 << 30, "7B": 7,
	} {
		var got Bytes
		if err := got.UnmarshalText([]byte(in)); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "MB", "-1MB", "1XB", "1.5MB", "1IB", "1MBMB", "9999999999GB"} {
		var got Bytes
		if err := got.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q: taken as %d", in, got)
		}
	}
	for want, b := range map[string]Bytes{"0B": 0, "5B": 5, "1KB": 1 << 10, "1025B": 1025, "16MB": 16 << 20, "3GB": 3 << 30} {
		if b.String() != want {
			t.Errorf("%d is written %q, want %q", int64(b), b, want)
		}
	}
}

// check compares an error with a part of its wanted text; an empty text wants none.
func check(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want != "" && err == nil:
		t.Errorf("taken, want an error with %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("error %q, want one with %q", err, want)
	}
}
