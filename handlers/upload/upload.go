// Package upload reads the body of a request into fields, however the client wrote it down.
//
// It takes multipart and urlencoded forms, JSON and raw bodies, and forgives what clients of hosted services are known
// to get wrong: a multipart header without a boundary or with another one than the body's, parts without a type, no
// line break behind the last boundary, URLs that are not percent-encoded. Types and names that a client claims for a
// file decide nothing. The caller bounds the body, with http.MaxBytesReader for example; what Read returns is in memory.
package upload

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Kind is the way a body is written down.
type Kind string

// Kinds of body.
const (
	None       Kind = "none"
	Multipart  Kind = "multipart"
	URLEncoded Kind = "urlencoded"
	JSON       Kind = "json"
	Raw        Kind = "raw"
)

// Options of Read.
type Options struct {
	// Known names the fields that the caller reads. An urlencoded URL that is not percent-encoded may hold an &;
	// what follows it is part of the URL unless it begins with a known name.
	Known []string
	// MaxFields bounds the parts of a form; zero means 100.
	MaxFields int
	// File takes the files of a multipart form as they arrive, instead of their being read into memory and kept; nil
	// keeps them. What it leaves unread is passed over. Its error ends the reading and is returned as it is, unless
	// reading the file itself has failed. Files without a name and without a byte, as forms send for what was not
	// chosen, are not given to it.
	File func(field, fileName string, body io.Reader) error
}

const (
	defaultMaxFields = 100
	sniffLen         = 4096    // of a body, to find its boundary in
	firstChunk       = 1 << 20 // what a client must send before memory is set aside for all that it announced
)

// Field is one field of a form.
type Field struct {
	Data     []byte
	File     bool   // sent as a file: with a file name, be it an empty one
	FileName string // as the client gave it, directories included
}

// Text is the value of the field without the white space around it.
func (f Field) Text() string { return strings.TrimSpace(string(f.Data)) }

// Empty tells whether the client sent the field without a value, as forms do with what was not filled in. A named
// file of no bytes is a file.
func (f Field) Empty() bool {
	return f.FileName == "" && len(bytes.TrimSpace(f.Data)) == 0
}

// Form is a body that was read.
type Form struct {
	Kind   Kind
	Body   []byte // of JSON and Raw
	fields map[string]Field
}

// Get returns the first of the named fields that is not empty; ok tells whether there was one.
func (f *Form) Get(names ...string) (field Field, ok bool) {
	for _, name := range names {
		if field, ok := f.fields[name]; ok {
			return field, true
		}
	}
	return Field{}, false
}

// add keeps a field that is not empty; of several by the same name the first stays.
func (f *Form) add(name string, field Field) {
	if _, ok := f.fields[name]; !ok && !field.Empty() {
		f.fields[name] = field
	}
}

// FormError says that a body is no form that can be read.
type FormError struct {
	Public string // a sentence fit for the client
	Err    error  // nil where Public says it all
}

func (e *FormError) Error() string {
	if e.Err == nil {
		return "upload: " + e.Public
	}
	return fmt.Sprintf("upload: %s (%v)", e.Public, e.Err)
}

// Unwrap returns the cause.
func (e *FormError) Unwrap() error { return e.Err }

// Read reads the body of r. What goes wrong while the bytes arrive (*http.MaxBytesError, a deadline, a client that
// went away) is wrapped as it is; a body that cannot be understood is a *FormError.
func Read(r *http.Request, o Options) (*Form, error) {
	if o.MaxFields == 0 {
		o.MaxFields = defaultMaxFields
	}
	form := &Form{Kind: None, fields: map[string]Field{}}
	if r.Body == nil || r.Body == http.NoBody {
		return form, nil
	}
	source := &source{r: r.Body}
	form, err := read(r, bufio.NewReaderSize(source, sniffLen), form, o)
	if source.err != nil && !(err == nil && form.Kind == Multipart) { // a complete form needs nothing that follows it
		return nil, fmt.Errorf("upload: %w", source.err)
	}
	return form, err
}

// source remembers what went wrong while the bytes arrived: parsers report a body that was cut off as a malformed one.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

func read(r *http.Request, body *bufio.Reader, form *Form, o Options) (*Form, error) {
	contentType := r.Header.Get("Content-Type")
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		media, _, _ = strings.Cut(contentType, ";")
		media = strings.ToLower(strings.TrimSpace(media))
		params = nil
	}
	if head, _ := body.Peek(1); len(head) == 0 {
		return form, nil
	}
	isMultipart := strings.HasPrefix(media, "multipart/")
	if isMultipart || media == "" || media == "application/octet-stream" {
		boundary := sniffBoundary(body)
		if boundary == "" && isMultipart {
			boundary = params["boundary"]
		}
		if boundary != "" {
			form.Kind = Multipart
			return form, form.readMultipart(body, boundary, r.ContentLength, o)
		}
		if isMultipart {
			return nil, &FormError{Public: "The multipart body has no boundary."}
		}
	}
	data, err := readAll(body, r.ContentLength)
	if err != nil {
		return nil, err
	}
	switch {
	case media == "application/x-www-form-urlencoded":
		form.Kind = URLEncoded
		return form, form.parseURLEncoded(string(data), o)
	case media == "application/json" || strings.HasSuffix(media, "+json"):
		form.Kind, form.Body = JSON, data
	default:
		form.Kind, form.Body = Raw, data
	}
	return form, nil
}

// sniffBoundary finds the boundary in the first line of a multipart body, without consuming anything. It wants the
// header of a part in the next line, so that other bodies that begin with two dashes are left alone.
func sniffBoundary(body *bufio.Reader) string {
	head, _ := body.Peek(sniffLen) // shorter where the body is; an error comes again with the next read
	head = bytes.TrimLeft(head, "\r\n")
	line, rest, ok := bytes.Cut(head, []byte("\n"))
	line = bytes.TrimRight(line, "\r \t")
	if !ok || len(line) < 3 || len(line) > 2+256 || !bytes.HasPrefix(line, []byte("--")) {
		return ""
	}
	if len(rest) < len("Content-") || !strings.EqualFold(string(rest[:len("Content-")]), "Content-") {
		return ""
	}
	return string(line[2:])
}

func (f *Form) readMultipart(body io.Reader, boundary string, announced int64, o Options) error {
	parts := multipart.NewReader(body, boundary)
	for n := 0; ; n++ {
		part, err := parts.NextRawPart()
		if err == io.EOF { //nolint:errorlint // only the bare EOF is the last boundary, a wrapped one is a body cut short
			// The form is complete. What follows means nothing, but only a body read to its end lets the server
			// notice a client that goes away.
			_, _ = io.Copy(io.Discard, body)
			return nil
		}
		if err != nil {
			return multipartError(err)
		}
		if n >= o.MaxFields {
			return &FormError{Public: fmt.Sprintf("The form has more than %d fields.", o.MaxFields)}
		}
		name, field := disposition(part.Header.Get("Content-Disposition"))
		if o.File != nil && field.File {
			if err := stream(name, field.FileName, part, o.File); err != nil {
				return err
			}
			continue
		}
		field.Data, err = readAll(part, announced)
		if err != nil {
			return multipartError(err)
		}
		f.add(name, field)
	}
}

// stream hands a file on as it arrives.
func stream(name, fileName string, part io.Reader, file func(field, fileName string, body io.Reader) error) error {
	body := &source{r: part}
	reader := bufio.NewReader(body)
	if fileName == "" {
		if _, err := reader.Peek(1); errors.Is(err, io.EOF) {
			return nil
		}
	}
	err := file(name, fileName, reader)
	if body.err != nil {
		return multipartError(body.err)
	}
	return err
}

// disposition reads the header of a part. Clients put file names there in many ways; where the header is not
// well-formed the name of the field is all that is wanted.
func disposition(header string) (name string, field Field) {
	_, params, err := mime.ParseMediaType(header)
	if err == nil || errors.Is(err, mime.ErrInvalidMediaParameter) && params != nil {
		field.FileName, field.File = params["filename"]
		return params["name"], field
	}
	for param := range strings.SplitSeq(header, ";") {
		key, value, ok := strings.Cut(strings.TrimSpace(param), "=")
		if !ok {
			continue
		}
		value = strings.Trim(strings.TrimSpace(value), `"`)
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "name":
			name = value
		case "filename":
			field.FileName, field.File = value, true
		}
	}
	return name, field
}

// parseURLEncoded reads key=value pairs. A value that holds "://" was not percent-encoded by its client: it is taken
// as it stands.
func (f *Form) parseURLEncoded(s string, o Options) error {
	type pair struct{ key, value string }
	var pairs []pair
	plain := false // the last value is a URL that was not percent-encoded
	for segment := range strings.SplitSeq(strings.Trim(s, "\r\n"), "&") {
		key, value, _ := strings.Cut(segment, "=")
		key = unescape(key)
		if plain && !slices.Contains(o.Known, key) {
			pairs[len(pairs)-1].value += "&" + segment
			continue
		}
		if len(pairs) >= o.MaxFields {
			return &FormError{Public: fmt.Sprintf("The form has more than %d fields.", o.MaxFields)}
		}
		plain = isPlainURL(value)
		if !plain {
			value = unescape(value)
		}
		pairs = append(pairs, pair{key, value})
	}
	for _, p := range pairs {
		f.add(p.key, Field{Data: []byte(p.value)})
	}
	return nil
}

func isPlainURL(value string) bool {
	scheme, _, ok := strings.Cut(value, "://")
	return ok && (strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https"))
}

// unescape undoes percent-encoding; what is none is left as it stands.
func unescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

// readAll reads r to its end. announced is the length of the whole body as its header claims, or -1: memory for it is
// set aside only once the client has sent some, for a header costs nothing.
func readAll(r io.Reader, announced int64) ([]byte, error) {
	var buf bytes.Buffer
	if _, err := buf.ReadFrom(io.LimitReader(r, firstChunk)); err != nil || buf.Len() < firstChunk {
		return buf.Bytes(), err
	}
	if announced > firstChunk && announced <= 1<<30 {
		buf.Grow(int(announced) - buf.Len() + bytes.MinRead)
	}
	_, err := buf.ReadFrom(r)
	return buf.Bytes(), err
}

// multipartError words a body that is no multipart form.
func multipartError(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return &FormError{Public: "The multipart body ends before its last boundary.", Err: err}
	}
	return &FormError{Public: "The multipart body is malformed.", Err: err}
}
