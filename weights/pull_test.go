package weights

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// synthetic is a file like a network's: of U²-Net's size, or a hundredth of it in short tests.
func synthetic(t *testing.T) (Entry, []byte) {
	t.Helper()
	size := 175_997_641
	if testing.Short() {
		size /= 100
	}
	data := make([]byte, size)
	var seed [32]byte
	seed[0] = 7
	if _, err := rand.NewChaCha8(seed).Read(data); err != nil {
		t.Fatal(err)
	}
	return entryOf(data), data
}

func entryOf(data []byte) Entry {
	strong, weak := sha256.Sum256(data), md5.Sum(data)
	return Entry{
		Name: "synthetic", File: "synthetic.onnx", URL: "https://127.0.0.1/never/asked/published-name.onnx", Size: int64(len(data)),
		SHA256: hex.EncodeToString(strong[:]), MD5: hex.EncodeToString(weak[:]),
	}
}

// mirror serves data under the published name; before may answer in its place.
type mirror struct {
	*httptest.Server
	asked  atomic.Int64
	mu     sync.Mutex
	ranges []string
}

func serve(t *testing.T, data []byte, before func(n int64, w http.ResponseWriter, r *http.Request) (done bool)) *mirror {
	t.Helper()
	m := &mirror{}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := m.asked.Add(1)
		m.mu.Lock()
		m.ranges = append(m.ranges, r.Header.Get("Range"))
		m.mu.Unlock()
		if r.URL.Path != "/weights/published-name.onnx" {
			http.NotFound(w, r)
			return
		}
		if before != nil && before(n, w, r) {
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}))
	t.Cleanup(m.Close)
	return m
}

func (m *mirror) puller() Puller {
	return Puller{Client: m.Client(), Mirror: m.URL + "/weights/", Pause: time.Millisecond, Stall: 20 * time.Second}
}

// cut answers with the head of a reply and breaks the connection behind it.
func cut(data []byte, after int) func(w http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = w.Write(data[:after])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// A pull in the size of the real thing: broken off by the server, taken up where it stood, verified, loaded.
func TestPullResumesAndVerifies(t *testing.T) {
	t.Parallel()
	e, data := synthetic(t)
	half := len(data) / 2
	m := serve(t, data, func(n int64, w http.ResponseWriter, _ *http.Request) bool {
		if n == 1 {
			cut(data, half)(w)
		}
		return false
	})
	p := m.puller()
	var (
		last    int64
		retried int
	)
	p.Report = func(_ Entry, done, of int64) {
		if done < last && last < int64(half) || of != e.Size {
			t.Errorf("%d of %d after %d", done, of, last)
		}
		last = done
	}
	p.Retried = func(Entry, time.Duration, error) { retried++ }
	dir := filepath.Join(t.TempDir(), "made", "for", "it")
	pulled, err := p.Pull(t.Context(), e, dir)
	if err != nil || !pulled {
		t.Fatalf("%t, %v", pulled, err)
	}
	if retried != 1 || last != e.Size {
		t.Errorf("%d further attempts, %d bytes reported", retried, last)
	}
	if len(m.ranges) != 2 || m.ranges[0] != "" || !strings.HasPrefix(m.ranges[1], "bytes=") || m.ranges[1] == "bytes=0-" {
		t.Errorf("asked for the ranges %q", m.ranges)
	}
	got, err := e.LoadFrom(dir)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if err := e.Verify(dir); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.part")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}

	asked := m.asked.Load()
	if pulled, err := p.Pull(t.Context(), e, dir); err != nil || pulled || m.asked.Load() != asked {
		t.Errorf("pulled again: %t, %v", pulled, err)
	}
}

// The process that pulls ends; the next one takes up what it left.
func TestPullAfterInterruption(t *testing.T) {
	t.Parallel()
	e, data := synthetic(t)
	third := len(data) / 3
	ctx, cancel := context.WithCancel(t.Context())
	m := serve(t, data, func(n int64, w http.ResponseWriter, r *http.Request) bool {
		if n > 1 {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = w.Write(data[:third])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return true
	})
	dir := t.TempDir()
	p := m.puller()
	p.Report = func(_ Entry, done, _ int64) {
		if done == int64(third) {
			cancel()
		}
	}
	if _, err := p.Pull(ctx, e, dir); !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted: %v", err)
	}
	if err := e.Installed(dir); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("half a file counts as installed: %v", err)
	}
	p.Report = nil
	if pulled, err := p.Pull(t.Context(), e, dir); err != nil || !pulled {
		t.Fatalf("%t, %v", pulled, err)
	}
	if want := fmt.Sprintf("bytes=%d-", third); m.ranges[1] != want {
		t.Errorf("asked for %q, want %q", m.ranges[1], want)
	}
	if err := e.Verify(dir); err != nil {
		t.Error(err)
	}
}

func TestPullRefuses(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("weights "), 1<<14)
	e := entryOf(data)
	flipped := bytes.Clone(data)
	flipped[len(flipped)/2] ^= 1
	status := func(code int) func(int64, http.ResponseWriter, *http.Request) bool {
		return func(_ int64, w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(code)
			return true
		}
	}
	for name, tc := range map[string]struct {
		data   []byte
		before func(int64, http.ResponseWriter, *http.Request) bool
		asked  int64 // requests
		want   string
	}{
		"corrupted":     {flipped, nil, 1, "SHA-256"},
		"too short":     {data[:len(data)-1], nil, 1, "size is not"},
		"too long":      {append(bytes.Clone(data), 0), nil, 1, "size is not"},
		"missing there": {data, status(404), 1, "404"},
		"forbidden":     {data, status(403), 1, "403"},
		"out of order":  {data, status(503), 3, "503"},
		"longer than announced": {data, func(_ int64, w http.ResponseWriter, _ *http.Request) bool {
			for range 3 {
				_, _ = w.Write(data)
			}
			return true
		}, 1, "size is not"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := serve(t, tc.data, tc.before)
			dir := t.TempDir()
			p := m.puller()
			p.Retries = 2
			pulled, err := p.Pull(t.Context(), e, dir)
			if err == nil || pulled || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("%t, %v, want %q", pulled, err, tc.want)
			}
			if m.asked.Load() != tc.asked {
				t.Errorf("asked %d times, want %d", m.asked.Load(), tc.asked)
			}
			var mismatch *MismatchError
			if strings.Contains(tc.want, "S") && !errors.As(err, &mismatch) {
				t.Errorf("%T is no *MismatchError", err)
			}
			if _, err := os.Stat(filepath.Join(dir, e.File)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("it was installed all the same: %v", err)
			}
			if _, err := e.LoadFrom(dir); !errors.Is(err, ErrNotInstalled) {
				t.Errorf("load: %v", err)
			}
			// What was refused is not in the way of what is right.
			good := serve(t, data, nil)
			if pulled, err := good.puller().Pull(t.Context(), e, dir); err != nil || !pulled {
				t.Errorf("afterwards: %t, %v", pulled, err)
			}
		})
	}
}

// Servers that know no ranges, lie about them or have changed their mind about the file.
func TestPullFromOddServers(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<12)
	e := entryOf(data)
	for name, tc := range map[string]struct {
		part   []byte
		before func(int64, http.ResponseWriter, *http.Request) bool
		fails  bool
	}{
		"no ranges": {part: data[:1000], before: func(_ int64, w http.ResponseWriter, _ *http.Request) bool {
			_, _ = w.Write(data)
			return true
		}},
		"another range": {part: data[:1000], fails: true, before: func(_ int64, w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(data)-1, len(data)))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(data)
			return true
		}},
		"in small pieces": {before: func(_ int64, w http.ResponseWriter, r *http.Request) bool {
			var from int
			_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
			w.Header().Set("Content-Length", fmt.Sprint(len(data)-from))
			if from > 0 {
				w.WriteHeader(http.StatusPartialContent)
			}
			_, _ = w.Write(data[from:min(len(data), from+9000)])
			if from+9000 < len(data) {
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}
			return true
		}},
		"more is here than there": {part: append(bytes.Clone(data), "more"...)},
		"all of it is here":       {part: data, before: func(int64, http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }},
		"wrong beginning":         {part: bytes.Repeat([]byte("x"), 1000), fails: true},
		"range not satisfiable": {part: data[:5000], before: func(n int64, w http.ResponseWriter, _ *http.Request) bool {
			if n == 1 {
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			}
			return n == 1
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := serve(t, data, tc.before)
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, e.File+".part"), tc.part, 0o600); err != nil {
				t.Fatal(err)
			}
			p := m.puller()
			p.Retries = 2
			_, err := p.Pull(t.Context(), e, dir)
			if (err != nil) != tc.fails {
				t.Fatalf("got %v", err)
			}
			if !tc.fails {
				if err := e.Verify(dir); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestPullBreaksOffWhatStalls(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("x"), 1<<16)
	release := make(chan struct{})
	m := serve(t, data, func(_ int64, w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_ = http.NewResponseController(w).Flush()
		<-release
		return true
	})
	defer close(release)
	p := m.puller()
	p.Stall, p.Retries = 50*time.Millisecond, -1
	_, err := p.Pull(t.Context(), entryOf(data), t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "nothing came for 50ms") {
		t.Errorf("got %v", err)
	}
}

func TestPullLocks(t *testing.T) {
	t.Parallel()
	data := []byte("a network")
	e := entryOf(data)
	inside, release := make(chan struct{}), make(chan struct{})
	m := serve(t, data, func(int64, http.ResponseWriter, *http.Request) bool {
		close(inside)
		<-release
		return false
	})
	dir := t.TempDir()
	first := make(chan error, 1)
	go func() {
		_, err := m.puller().Pull(context.Background(), e, dir)
		first <- err
	}()
	<-inside
	if _, err := m.puller().Pull(t.Context(), e, dir); !errors.Is(err, ErrBusy) {
		t.Errorf("the second: %v", err)
	}
	close(release)
	if err := <-first; err != nil {
		t.Errorf("the first: %v", err)
	}
	if err := e.Verify(dir); err != nil {
		t.Error(err)
	}
}

func TestPullOfWhatNobodyPublishes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := (Puller{}).Pull(t.Context(), Entry{Name: "own", File: "own.onnx", Own: true}, dir); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("own: %v", err)
	}
	e := entryOf([]byte("x"))
	for _, bad := range []string{"ftp://a/b", "nonsense", "http://"} {
		if _, err := (Puller{Mirror: bad}).Pull(t.Context(), e, dir); err == nil || !strings.Contains(err.Error(), "want a URL") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	e.File = "../up.onnx"
	if _, err := (Puller{}).Pull(t.Context(), e, dir); err == nil {
		t.Error("a file outside of the directory")
	}
	embedded, _ := Lookup(Default)
	if pulled, err := (Puller{}).Pull(t.Context(), embedded, ""); err != nil || pulled {
		t.Errorf("embedded: %t, %v", pulled, err)
	}
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-9/10", "bytes 5-9/*", "bytes */10", "", "bytes -/", "bytes 9999999999999999999-1/2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		from, of, ok := contentRange(s)
		if ok && (from < 0 || of < -1 && !strings.Contains(s, "/-")) {
			t.Errorf("%q: from %d of %d", s, from, of)
		}
	})
}

func TestOwn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sum := sha256.Sum256([]byte("onnx"))
	write("plain.toml", "[input]\nwidth = 320\nheight = 320\n")
	write("plain.onnx", "onnx")
	write("full.toml", fmt.Sprintf(`file = "other.onnx"
licence = "MIT"
source = "https://example.com"
data = "our own"
sha256 = "%X"
[input]
name = "x"
layout = "NHWC"
width = 512
height = 256
filter = "bilinear"
scale = "255"
mean = [0.5, 0.5, 0.5]
std = [1.0, 1.0, 1.0]
[output]
name = "y"
channel = 1
sigmoid = true
stretch = true
`, sum))
	write("other.onnx", "onnx")
	entries, err := Own(dir)
	if err != nil || len(entries) != 2 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	full, plain := entries[0], entries[1]
	if full.Name != "full" || full.File != "other.onnx" || full.Licence != "MIT" || full.Input.Layout != NHWC || full.Input.Width != 512 ||
		full.Input.Filter != Bilinear || full.Input.Scale != By255 || full.Input.Mean != [3]float32{.5, .5, .5} ||
		full.Output != (Output{Name: "y", Channel: 1, Sigmoid: true, Stretch: true}) || full.Version() != hex.EncodeToString(sum[:])[:12] {
		t.Errorf("%+v", full)
	}
	mean, std := imageNet()
	if plain.Input.Mean != mean || plain.Input.Std != std || plain.Licence != "NOASSERTION" || !plain.Own || plain.Version() != "" {
		t.Errorf("%+v", plain)
	}
	for _, e := range entries {
		if data, err := e.LoadFrom(dir); err != nil || string(data) != "onnx" {
			t.Errorf("%s: %q, %v", e.Name, data, err)
		}
		if err := e.Verify(dir); err != nil {
			t.Errorf("%s: %v", e.Name, err)
		}
		if found, err := Find(dir, e.Name); err != nil || found != e {
			t.Errorf("%s: %+v, %v", e.Name, found, err)
		}
	}
	write("other.onnx", "oops")
	var mismatch *MismatchError
	if _, err := full.LoadFrom(dir); !errors.As(err, &mismatch) {
		t.Errorf("changed: %v", err)
	}
	for _, name := range []string{"none", "../full", "", "a/b"} {
		if _, err := Find(dir, name); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if e, err := Find("", Default); err != nil || e.Name != Default {
		t.Errorf("%+v, %v", e, err)
	}
	write("bad.toml", "nonsense = ")
	entries, err = Own(dir)
	if len(entries) != 2 || err == nil || !strings.Contains(err.Error(), "bad.toml") {
		t.Errorf("%d entries, %v", len(entries), err)
	}
}

func TestOwnRefuses(t *testing.T) {
	t.Parallel()
	const size = "[input]\nwidth = 10\nheight = 10\n"
	for name, tc := range map[string]struct{ name, text, want string }{
		"no size":         {"a", "", "width"},
		"huge":            {"a", "[input]\nwidth = 100000\nheight = 10\n", "width"},
		"unknown key":     {"a", "colour = 1\n" + size, "colour"},
		"unknown layout":  {"a", size + "layout = \"CHWN\"\n", "NCHW"},
		"unknown filter":  {"a", size + "filter = \"sharp\"\n", "lanczos"},
		"unknown scale":   {"a", size + "scale = \"1\"\n", "max"},
		"two means":       {"a", size + "mean = [1.0, 2.0]\n", "three"},
		"no deviation":    {"a", size + "std = [1.0, 0.0, 1.0]\n", "more than 0"},
		"nan":             {"a", size + "std = [1.0, nan, 1.0]\n", "more than 0"},
		"outside":         {"a", "file = \"../x.onnx\"\n" + size, "plain"},
		"sum":             {"a", "sha256 = \"abc\"\n" + size, "SHA-256"},
		"channel":         {"a", size + "[output]\nchannel = -1\n", "negative"},
		"name":            {".hidden", size, "no name"},
		"catalogue":       {"u2net", size, "catalogue"},
		"another type":    {"a", "licence = 5\n" + size, "licence"},
		"no toml":         {"a", "{\"a\":1}", ""},
		"a path for name": {"a/b", size, "no name"},
	} {
		if e, err := parseOwn(tc.name, []byte(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
}

func FuzzOwn(f *testing.F) {
	f.Add("[input]\nwidth = 320\nheight = 320\n")
	f.Add("file = \"x\"\n[input]\nmean = [1,2,3]\nwidth=1\nheight=1")
	f.Fuzz(func(t *testing.T, text string) {
		e, err := parseOwn("fuzz", []byte(text))
		if err != nil {
			return
		}
		if e.Input.Width < 1 || e.Input.Height < 1 || filepath.Base(e.File) != e.File || e.Output.Channel < 0 {
			t.Errorf("%q: %+v", text, e)
		}
	})
}
