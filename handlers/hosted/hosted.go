// Package hosted serves stored results: whoever has the URL of one can get it until it expires.
package hosted

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"cutout/handlers/dialect"
	"cutout/jobs"
)

// Name of the dialect in metrics and the log.
const Name = "hosted"

const path = "/v1/files/{key}/{name}"

// API serves files.
type API struct {
	jobs *jobs.Service
	base string
}

// New builds the routes. base is the URL, without a slash at its end, under which clients reach this server; where it is
// empty each request tells.
func New(j *jobs.Service, base string) *API { return &API{jobs: j, base: base} }

// Routes lists what is served. A client that joins a host, a slash and the path it was given asks for two slashes; it
// is answered rather than redirected, since not all of them follow.
func (a *API) Routes() []dialect.Route {
	var routes []dialect.Route
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		for _, where := range []string{path, "/" + path} {
			routes = append(routes, dialect.Route{
				Dialect: Name, Method: method, Path: where, Serve: a.serve, Fail: fail,
				Keyless: true, // the path is the secret
			})
		}
	}
	return routes
}

// Ready tells whether files can be stored. Its error is fit to be returned by a route.
func (a *API) Ready(ctx context.Context) error {
	if a == nil {
		return jobError(jobs.ErrUnavailable)
	}
	return jobError(a.jobs.Healthy(ctx))
}

// Host stores a file for as long as results live and returns its whole address for the client of a request. Its error is
// fit to be returned by a route.
func (a *API) Host(r *http.Request, name, contentType string, data []byte) (string, error) {
	f, err := a.jobs.Host(r.Context(), name, contentType, bytes.NewReader(data))
	if err != nil {
		return "", jobError(err)
	}
	return a.URL(r, f), nil
}

func jobError(err error) error {
	if known := dialect.JobError(err); known != nil {
		return known
	}
	return err
}

// Path is where a file is served, from the root of the server.
func Path(f jobs.File) string { return "/v1/files/" + f.Key + "/" + url.PathEscape(f.Name) }

var (
	hostForm   = regexp.MustCompile(`^(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(:[0-9]{1,5})?$`)
	prefixForm = regexp.MustCompile(`^(/[0-9A-Za-z._~-]+)+$`)
)

// URL is the whole address of a file for the client of a request.
func (a *API) URL(r *http.Request, f jobs.File) string { return a.root(r) + Path(f) }

// root is the address of this server as the client of a request knows it. What a proxy says of it is believed, since it
// only ever finds its way into this client's own reply.
func (a *API) root(r *http.Request) string {
	if a.base != "" {
		return a.base
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	if proto := strings.ToLower(first(r.Header.Get("X-Forwarded-Proto"))); proto == "http" || proto == "https" {
		scheme = proto
	}
	host := r.Host
	if forwarded := first(r.Header.Get("X-Forwarded-Host")); hostForm.MatchString(forwarded) {
		host = forwarded
	}
	if port := first(r.Header.Get("X-Forwarded-Port")); port != "" && !strings.Contains(strings.TrimLeft(host, "["), ":") {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n != 0 && !(scheme == "https" && n == 443) && !(scheme == "http" && n == 80) {
			host += ":" + port
		}
	}
	if !hostForm.MatchString(host) {
		host = "localhost"
	}
	prefix := strings.TrimRight(first(r.Header.Get("X-Forwarded-Prefix")), "/")
	if !prefixForm.MatchString(prefix) || strings.Contains(prefix, "..") {
		prefix = ""
	}
	return scheme + "://" + host + prefix
}

// first is the entry of the proxy nearest to the client.
func first(header string) string {
	value, _, _ := strings.Cut(header, ",")
	return strings.TrimSpace(value)
}

// writeTimeout is how long a client may take for what one write gives it. A large file takes as long as it takes, as
// long as it moves.
const writeTimeout = time.Minute

func (a *API) serve(w http.ResponseWriter, r *dialect.Request) error {
	// The deadline of requests is for those that compute; this one lasts as long as its client reads.
	f, err := a.jobs.OpenFile(context.WithoutCancel(r.Context()), r.PathValue("key"))
	if err != nil {
		if errors.Is(err, jobs.ErrNotFound) {
			return &dialect.Error{Status: http.StatusNotFound, Reason: dialect.ReasonExpired, Public: "Not Found"}
		}
		return jobError(err)
	}
	defer func() { _ = f.Close() }() // it only lets memory go
	header := w.Header()
	header.Set("Content-Type", f.File.Type)
	header.Set("Content-Disposition", disposition(f.File.Name))
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "private, max-age="+strconv.Itoa(int(max(0, time.Until(f.Expires)/time.Second))))
	header.Set("ETag", `"`+f.File.Key+`"`)
	http.ServeContent(&rolling{ResponseWriter: w, control: http.NewResponseController(w)}, r.Request, "", f.File.Created, f)
	return nil
}

// disposition names a file for those who save it.
func disposition(name string) string {
	if d := mime.FormatMediaType("inline", map[string]string{"filename": name}); d != "" {
		return d
	}
	return "inline"
}

// rolling gives every write a deadline of its own.
type rolling struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (w *rolling) Write(p []byte) (int, error) {
	_ = w.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // recorders in tests know no deadline
	return w.ResponseWriter.Write(p)
}

func fail(w http.ResponseWriter, e *dialect.Error) {
	body, err := json.Marshal(map[string]string{"detail": e.Public})
	if err != nil {
		return // of two strings: it cannot
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Status)
	_, _ = w.Write(body) // a client that is gone cannot be told so
}

const longestName = 100 // runes of a file's name, without its extension

// FileName makes the name of a result of that of an upload: its last segment without what a file system, a header or a
// terminal could stumble on, its extension replaced.
func FileName(upload, suffix, extension string) string {
	name := upload[strings.LastIndexAny(upload, `/\`)+1:]
	if dot := strings.LastIndexByte(name, '.'); dot > 0 {
		name = name[:dot]
	}
	name = strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) || c == unicode.ReplacementChar || strings.ContainsRune(`"'<>:|?*%;`+"`$", c) {
			return -1
		}
		return c
	}, name)
	name = strings.Trim(name, " .-~")
	if runes := []rune(name); len(runes) > longestName {
		name = strings.TrimRight(string(runes[:longestName]), " .")
	}
	if name == "" {
		name = "image"
	}
	return name + suffix + extension
}
