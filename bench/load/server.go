package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cutout/codec"
)

// child is a server on loopback.
type child struct {
	cmd    *exec.Cmd
	url    string
	client *http.Client
	dir    string
}

const (
	startTimeout = 2 * time.Minute
	stopTimeout  = time.Minute
)

// start runs a server on a free port of loopback, without a way to the world, and waits until it is ready.
func start(ctx context.Context, s settings) (*child, error) {
	dir, err := os.MkdirTemp("", "load")
	if err != nil {
		return nil, err
	}
	args := append([]string{"serve", "--addr", "127.0.0.1:0", "--fetch-only-allowed", "--data-dir", dir, "--log-format", "json"}, s.flags...)
	c := &child{cmd: exec.Command(s.server, args...), dir: dir} //nolint:gosec,noctx // the caller's own binary; stop ends it
	log, err := c.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	addr := make(chan string, 1)
	go follow(log, addr, s.verbose)
	select {
	case a := <-addr:
		c.url = "http://" + a
	case <-time.After(startTimeout):
		return nil, errors.Join(errors.New("the server does not listen"), c.stop())
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), c.stop())
	}
	if err := onLoopback(c.url); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	c.client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, MaxIdleConnsPerHost: 1000, DisableCompression: true,
	}}
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
		if status, _, err := c.get(ctx, "/readyz"); err == nil && status == http.StatusOK {
			return c, nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return nil, errors.Join(errors.New("the server does not become ready"), c.stop())
		}
	}
}

// follow reads the server's log to its end and finds the address in it.
func follow(log io.Reader, addr chan<- string, show bool) {
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if show {
			fmt.Fprintln(os.Stderr, lines.Text())
		}
		var line struct {
			Msg  string `json:"msg"`
			Addr string `json:"addr"`
		}
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			addr <- line.Addr
		}
	}
	_, _ = io.Copy(io.Discard, log)
}

// onLoopback refuses every other address.
func onLoopback(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(u.Hostname()); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%s is not on loopback", raw)
	}
	return nil
}

// stop ends the server and removes what it stored.
func (c *child) stop() error {
	if c.client != nil {
		c.client.CloseIdleConnections()
	}
	_ = c.cmd.Process.Signal(os.Interrupt)
	killed := time.AfterFunc(stopTimeout, func() { _ = c.cmd.Process.Kill() })
	defer killed.Stop()
	err := c.cmd.Wait()
	return errors.Join(err, os.RemoveAll(c.dir))
}

func (c *child) get(ctx context.Context, path string) (status int, body []byte, err error) {
	return c.do(ctx, http.MethodGet, path, "", nil)
}

func (c *child) do(ctx context.Context, method, path, contentType string, body []byte) (int, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	res, err := c.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = res.Body.Close() }() // read to its end below
	got, err := io.ReadAll(res.Body)
	return res.StatusCode, got, err
}

// gauges reads metrics by their names, without labels.
func (c *child) gauges(ctx context.Context, names ...string) (map[string]float64, error) {
	_, body, err := c.get(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	found := map[string]float64{}
	for line := range strings.SplitSeq(string(body), "\n") {
		for _, name := range names {
			if value, ok := strings.CutPrefix(line, name+" "); ok {
				v, err := strconv.ParseFloat(value, 64)
				if err != nil {
					return nil, err
				}
				found[name] = v
			}
		}
	}
	if len(found) != len(names) {
		return nil, fmt.Errorf("metrics %v: found %v", names, found)
	}
	return found, nil
}

const (
	resident   = "process_resident_memory_bytes"
	goroutines = "go_goroutines"
	openFiles  = "process_open_fds"
)

// watch reads a metric every so often until ctx ends.
type watch struct {
	mu      sync.Mutex
	samples []map[string]float64
	times   []time.Time
	done    sync.WaitGroup
}

func (c *child) watch(ctx context.Context, every time.Duration, names ...string) *watch {
	w := &watch{}
	w.done.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			if v, err := c.gauges(ctx, names...); err == nil {
				w.mu.Lock()
				w.samples, w.times = append(w.samples, v), append(w.times, time.Now())
				w.mu.Unlock()
			}
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	})
	return w
}

// over is a metric's values between two moments.
func (w *watch) over(name string, from, to time.Time) []float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var values []float64
	for i, at := range w.times {
		if !at.Before(from) && !at.After(to) {
			values = append(values, w.samples[i][name])
		}
	}
	return values
}

// picture reads a photo and gives it as a JPEG whose longer side has so many pixels.
func picture(ctx context.Context, path string, size int) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	img, _, err := codec.Decode(ctx, data, codec.Limits{})
	if err != nil {
		return nil, err
	}
	return scaled(img, size)
}

func scaled(img *image.NRGBA, size int) ([]byte, error) {
	w, h := img.Rect.Dx(), img.Rect.Dy()
	long := max(w, h)
	small := codec.Lanczos(img, max(1, w*size/long), max(1, h*size/long))
	var buf bytes.Buffer
	err := jpeg.Encode(&buf, small, &jpeg.Options{Quality: 90})
	return buf.Bytes(), err
}

// fresh is the same picture as another file, which no cache has seen: decoders read no further than its end.
func fresh(photo []byte) []byte {
	return binary.BigEndian.AppendUint64(slices.Clip(photo), rand.Uint64())
}

// form writes a multipart form of one file and some fields.
func form(field string, file []byte, fields ...string) (contentType string, body []byte, err error) {
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	for i := 0; i+1 < len(fields); i += 2 {
		if err := w.WriteField(fields[i], fields[i+1]); err != nil {
			return "", nil, err
		}
	}
	part, err := w.CreateFormFile(field, "photo.jpg")
	if err != nil {
		return "", nil, err
	}
	if _, err := part.Write(file); err != nil {
		return "", nil, err
	}
	err = w.Close()
	return w.FormDataContentType(), buf.Bytes(), err
}
