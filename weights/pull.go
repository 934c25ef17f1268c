package weights

import (
	"context"
	"crypto/md5" //nolint:gosec // what the publisher has
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"cutout/filelock"
)

// Puller installs networks. The zero value is one that asks the publishers.
type Puller struct {
	Client  *http.Client                                  // nil: one without a time limit of its own
	Mirror  string                                        // URL of a directory with the files under their published names; empty: the publishers
	Retries int                                           // further attempts after one that brought nothing new; negative: none; 0: 4
	Stall   time.Duration                                 // after which a download that brings nothing is broken off; 0: 30 s
	Pause   time.Duration                                 // before the first further attempt, doubled with each; 0: 1 s
	Report  func(e Entry, done, of int64)                 // is told how far a download is, in bytes; may be nil
	Retried func(e Entry, pause time.Duration, err error) // is told why another attempt is made; may be nil
}

const (
	defaultRetries = 4
	defaultStall   = 30 * time.Second
	defaultPause   = time.Second
	maxPause       = 30 * time.Second
)

// ErrBusy is wrapped where another process is pulling the same network into the same directory.
var ErrBusy = errors.New("another process is pulling it")

// DefaultDir is where networks are installed where nobody says otherwise: below the user's cache directory.
func DefaultDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("weights: no directory for networks: %w", err)
	}
	return filepath.Join(cache, "cutout", "weights"), nil
}

// permanentError is an answer that asking again will not change.
type permanentError struct{ error }

// Pull installs a network of the catalogue in dir, which is made where it is missing. What an earlier attempt has brought
// is taken up again. The file gets its name only once its size and sums are those of the catalogue; one that is not is
// removed and *MismatchError returned. A network that is installed and intact is left alone, and pulled is false.
func (p Puller) Pull(ctx context.Context, e Entry, dir string) (pulled bool, err error) {
	if e.Embedded() {
		return false, nil
	}
	if err := e.plain(dir); err != nil {
		return false, err
	}
	link, err := p.link(e)
	if err != nil {
		return false, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, fmt.Errorf("weights: %w", err)
	}
	path := filepath.Join(dir, e.File)
	part, err := os.OpenFile(path+".part", os.O_RDWR|os.O_CREATE, 0o644) //nolint:gosec // public, and for every user of the machine
	if err != nil {
		return false, fmt.Errorf("weights: %s: %w", e.Name, err)
	}
	defer func() { _ = part.Close() }() // what counts is Sync, in finish
	taken, err := filelock.Take(part)
	if errors.Is(err, filelock.ErrUnsupported) {
		taken, err = true, nil // two pulls at a time would spoil each other's file, which its checksum tells
	}
	if err != nil {
		return false, fmt.Errorf("weights: %s: lock %s: %w", e.Name, part.Name(), err)
	}
	if !taken {
		return false, fmt.Errorf("weights: %s: %w", e.Name, ErrBusy)
	}
	if sum(path, e) == nil { // by us or by whoever held the lock before
		_ = os.Remove(part.Name())
		return false, nil
	}
	if err := p.download(ctx, e, link, part); err != nil {
		return false, err
	}
	if err := finish(part, path, e); err != nil {
		return false, err
	}
	return true, nil
}

// link is where the file is.
func (p Puller) link(e Entry) (string, error) {
	if e.URL == "" || e.SHA256 == "" {
		return "", fmt.Errorf("weights: %s: %w: nobody publishes it, put %s into the directory of networks", e.Name, ErrNotInstalled, e.File)
	}
	if p.Mirror == "" {
		return e.URL, nil
	}
	base, err := url.Parse(p.Mirror)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return "", fmt.Errorf("weights: mirror %q: want a URL, for example https://mirror.example.com/weights", p.Mirror)
	}
	return base.JoinPath(e.URL[strings.LastIndex(e.URL, "/")+1:]).String(), nil
}

// download completes the part that is there.
func (p Puller) download(ctx context.Context, e Entry, link string, part *os.File) error {
	retries, pause := p.Retries, p.Pause
	if retries == 0 {
		retries = defaultRetries
	}
	if pause == 0 {
		pause = defaultPause
	}
	wait := pause
	for failed := 0; ; {
		have, err := part.Seek(0, io.SeekEnd)
		if err != nil {
			return fmt.Errorf("weights: %s: %w", e.Name, err)
		}
		if have == e.Size {
			return nil
		}
		if have > e.Size { // not what this was the beginning of
			if err := restart(part); err != nil {
				return fmt.Errorf("weights: %s: %w", e.Name, err)
			}
			have = 0
		}
		err = p.attempt(ctx, e, link, part, have)
		if err == nil {
			continue // a server may send less than was asked for
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, ok := errors.AsType[permanentError](err); ok {
			return fmt.Errorf("weights: %s: %s: %w", e.Name, link, err)
		}
		if now, seekErr := part.Seek(0, io.SeekEnd); seekErr == nil && now > have {
			failed, wait = 0, pause // it goes on, if in pieces
		}
		if failed++; failed > retries {
			return fmt.Errorf("weights: %s: %s: %w", e.Name, link, err)
		}
		if p.Retried != nil {
			p.Retried(e, wait, err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
		wait = min(2*wait, maxPause)
	}
}

func restart(part *os.File) error {
	if err := part.Truncate(0); err != nil {
		return err
	}
	_, err := part.Seek(0, io.SeekStart)
	return err
}

// attempt asks for what is missing and appends what comes.
func (p Puller) attempt(ctx context.Context, e Entry, link string, part *os.File, have int64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := p.Stall
	if stall == 0 {
		stall = defaultStall
	}
	stalled := time.AfterFunc(stall, func() { cancel(fmt.Errorf("nothing came for %v", stall)) })
	defer stalled.Stop()

	r, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return permanentError{err}
	}
	r.Header.Set("Accept-Encoding", "identity") // a range of a compressed file would be of no use
	r.Header.Set("User-Agent", "cutout")
	if have > 0 {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	}
	client := p.Client
	if client == nil {
		client = &http.Client{} // the operator's own request, not a stranger's: no guard before it
	}
	res, err := client.Do(r)
	if err != nil {
		return cause(ctx, err)
	}
	defer func() { _ = res.Body.Close() }()
	switch {
	case res.StatusCode == http.StatusPartialContent:
		from, of, ok := contentRange(res.Header.Get("Content-Range"))
		if !ok || from != have {
			return permanentError{fmt.Errorf("the server sent the range %q, not the one from byte %d on", res.Header.Get("Content-Range"), have)}
		}
		if of >= 0 && of != e.Size {
			return permanentError{&MismatchError{Name: e.Name, File: e.File, Want: e.SHA256, WantSize: e.Size, GotSize: of}}
		}
	case res.StatusCode == http.StatusOK:
		if res.ContentLength >= 0 && res.ContentLength != e.Size {
			return permanentError{&MismatchError{Name: e.Name, File: e.File, Want: e.SHA256, WantSize: e.Size, GotSize: res.ContentLength}}
		}
		if err := restart(part); err != nil { // it sends the whole file, whatever was asked for
			return permanentError{err}
		}
		have = 0
	case res.StatusCode == http.StatusTooManyRequests, res.StatusCode == http.StatusRequestTimeout, res.StatusCode >= http.StatusInternalServerError:
		return fmt.Errorf("the server answered %s", res.Status)
	case res.StatusCode == http.StatusRequestedRangeNotSatisfiable: // the file there is shorter than what is here
		if err := restart(part); err != nil {
			return permanentError{err}
		}
		return fmt.Errorf("the server answered %s", res.Status)
	default:
		return permanentError{fmt.Errorf("the server answered %s", res.Status)}
	}
	buf := make([]byte, 256<<10)
	for {
		n, err := res.Body.Read(buf)
		stalled.Reset(stall)
		n = int(min(int64(n), e.Size+1-have)) // one byte too many is enough to know
		if n > 0 {
			if _, err := part.Write(buf[:n]); err != nil {
				return permanentError{err}
			}
			have += int64(n)
			if p.Report != nil {
				p.Report(e, min(have, e.Size), e.Size)
			}
		}
		switch {
		case have > e.Size:
			_ = restart(part)
			return permanentError{&MismatchError{Name: e.Name, File: e.File, Want: e.SHA256, WantSize: e.Size, GotSize: have}}
		case err == io.EOF: // a body cut short is another error
			if have < e.Size {
				return fmt.Errorf("the download ended after %d of %d bytes", have, e.Size)
			}
			return nil
		case err != nil:
			return cause(ctx, err)
		}
	}
}

// cause prefers what ended a request to how that looked to it.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// contentRange reads "bytes 10-99/100"; of is -1 where the server does not say.
func contentRange(s string) (from, of int64, ok bool) {
	s, ok = strings.CutPrefix(s, "bytes ")
	if !ok {
		return 0, 0, false
	}
	span, total, ok := strings.Cut(s, "/")
	if !ok {
		return 0, 0, false
	}
	first, _, ok := strings.Cut(span, "-")
	if !ok {
		return 0, 0, false
	}
	from, err := strconv.ParseInt(first, 10, 64)
	if err != nil || from < 0 {
		return 0, 0, false
	}
	of = -1
	if total != "*" {
		if of, err = strconv.ParseInt(total, 10, 64); err != nil {
			return 0, 0, false
		}
	}
	return from, of, true
}

// finish verifies a complete download and gives it its name.
func finish(part *os.File, path string, e Entry) error {
	if err := sum(part.Name(), e); err != nil {
		if _, ok := errors.AsType[*MismatchError](err); ok {
			_ = os.Remove(part.Name()) // taking it up again would only bring the same
		}
		return err
	}
	if err := part.Sync(); err != nil {
		return fmt.Errorf("weights: %s: %w", e.Name, err)
	}
	if err := moveOpen(part, path); err != nil {
		return fmt.Errorf("weights: %s: %w", e.Name, err)
	}
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		_ = dir.Sync() // systems that cannot do that keep the name anyway, or the file is pulled again
		_ = dir.Close()
	}
	return nil
}

// sum verifies a file without holding it in memory.
func sum(path string, e Entry) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("weights: %s: %w", e.Name, err)
	}
	defer func() { _ = f.Close() }()        // only read from
	strong, weak := sha256.New(), md5.New() //nolint:gosec // beside the other, which is what protects
	n, err := io.Copy(io.MultiWriter(strong, weak), f)
	if err != nil {
		return fmt.Errorf("weights: %s: %w", e.Name, err)
	}
	mismatch := MismatchError{Name: e.Name, File: e.File, Want: e.SHA256, WantSize: e.Size, GotSize: n}
	if e.Size > 0 && n != e.Size {
		return &mismatch
	}
	if e.SHA256 == "" {
		return nil
	}
	if mismatch.Got = hex.EncodeToString(strong.Sum(nil)); mismatch.Got != e.SHA256 {
		return &mismatch
	}
	if got := hex.EncodeToString(weak.Sum(nil)); e.MD5 != "" && got != e.MD5 {
		return fmt.Errorf("weights: %s: the catalogue contradicts itself: %s has the SHA-256 it names and not the MD5 %s", e.Name, e.File, e.MD5)
	}
	return nil
}

// Verify checks the file of a network as Pull does, without holding it in memory. It fails as LoadFrom does.
func (e Entry) Verify(dir string) error {
	if e.fsys != nil {
		_, err := e.Load()
		return err
	}
	if err := e.Installed(dir); err != nil {
		return err
	}
	return sum(filepath.Join(dir, e.File), e)
}
