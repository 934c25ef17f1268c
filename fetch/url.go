package fetch

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
)

// maxURL bounds what is parsed, in bytes. Servers commonly stop at 8 KB.
const maxURL = 8 << 10

// parse reads a URL as browsers do (the WHATWG URL standard, "special" schemes): surrounding space, tabs and line
// breaks go, backslashes are slashes, spaces and letters beyond ASCII are percent-encoded, a stray percent sign stands
// for itself. It refuses whatever is not an absolute http or https URL with a host and without credentials.
// The fragment is dropped.
func parse(raw string) (*url.URL, error) {
	raw = strings.TrimFunc(raw, func(r rune) bool { return r <= ' ' })
	raw = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(raw)
	if raw == "" {
		return nil, newError(BadURL, errors.New("empty URL"))
	}
	if err := tooLong(len(raw)); err != nil {
		return nil, err
	}
	scheme, rest, found := strings.Cut(raw, ":")
	scheme = strings.ToLower(scheme)
	if !found || (scheme != "http" && scheme != "https") {
		return nil, newError(BadScheme, nil)
	}
	rest, _, _ = strings.Cut(rest, "#")
	rest, query, hasQuery := strings.Cut(rest, "?")
	rest = strings.TrimLeft(strings.ReplaceAll(rest, `\`, "/"), "/")
	host, path, _ := strings.Cut(rest, "/")
	if strings.Contains(host, "@") {
		return nil, newError(Credentials, nil)
	}

	u, err := url.Parse(scheme + "://" + host + "/" + encodePath(path))
	if err != nil {
		return nil, newError(BadURL, err)
	}
	if u.Hostname() == "" {
		return nil, newError(BadURL, errors.New("no host"))
	}
	if len(u.Hostname()) > maxHost {
		return nil, newError(BadURL, fmt.Errorf("host name of %d bytes, at most %d are taken", len(u.Hostname()), maxHost))
	}
	u.RawQuery, u.ForceQuery = encodeQuery(query), hasQuery && query == ""
	if err := tooLong(len(u.String())); err != nil { // escapes are three times as long as what they stand for
		return nil, err
	}
	return u, nil
}

// maxHost is the most bytes of a name in the DNS (RFC 1035, section 2.3.4).
const maxHost = 253

func tooLong(bytes int) error {
	if bytes > maxURL {
		return newError(BadURL, fmt.Errorf("URL of %d bytes, at most %d are taken", bytes, maxURL))
	}
	return nil
}

// Name returns the last path segment of a URL, percent-decoded and without control characters. It is "" where the
// path ends in a slash or the URL is one that Get refuses.
func Name(rawURL string) string {
	u, err := parse(rawURL)
	if err != nil {
		return ""
	}
	return name(u)
}

func name(u *url.URL) string {
	segment := u.Path[strings.LastIndexByte(u.Path, '/')+1:] // Path is decoded: an encoded slash ends a segment too
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(segment, "\uFFFD"))
}

// encodePath percent-encodes every byte of a path that net/url would not send as it is, and percent signs that begin
// no escape. Existing escapes stay, so that %2F and / remain different.
func encodePath(path string) string {
	return encode(path, "-_.~!$&'()*+,;=:@/[]", true)
}

// encodeQuery does the same for a query, where a stray percent sign may stay: servers read it as it is.
func encodeQuery(query string) string {
	return encode(query, "-_.~!$&()*+,;=:@/[]?{}|^`'%\\", false)
}

func encode(s, keep string, strayPercent bool) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte(keep, c) >= 0:
			b.WriteByte(c)
		case c == '%' && strayPercent && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
