package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cutout/codec"
)

// visit is one kind of request of the mix, and what may come back.
type visit struct {
	name   string
	weight int
	do     func(ctx context.Context, c *child, photo []byte) (status int, err error)
	want   []int
}

const (
	soakClients = 3
	leastWarm   = time.Minute
	repeated    = 10              // one picture in so many is one that the server has seen
	settle      = 3 * time.Second // until what is left over has ended
	soakSample  = 2 * time.Second
	leakShare   = 1.10
	leakCount   = 10 // goroutines or files that may be more
)

// soak sends a mix of everything for a long time, and looks at what the server keeps.
func soak(ctx context.Context, s settings, out io.Writer) error {
	photos, err := sizes(ctx, s.photo)
	if err != nil {
		return err
	}
	c, err := start(ctx, s)
	if err != nil {
		return err
	}
	defer func() { _ = c.stop() }()
	mix := visits(s.quality)
	t := tally{counts: map[string]map[int]int{}}

	// What is kept for good, such as buffers for every size, is there after a tenth of the time.
	warm := max(s.duration/10, leastWarm)
	if s.duration < 2*warm {
		return fmt.Errorf("%v is too short to tell anything", s.duration)
	}
	t.drive(ctx, c, mix, photos, warm)
	before, err := c.quiet(ctx)
	if err != nil {
		return err
	}
	watched, stopWatch := context.WithCancel(ctx)
	w := c.watch(watched, soakSample, resident)
	from := time.Now()
	t.drive(ctx, c, mix, photos, s.duration-warm)
	to := time.Now()
	stopWatch()
	w.done.Wait()
	after, err := c.quiet(ctx)
	if err != nil {
		return err
	}
	memory := w.over(resident, from, to)
	if len(memory) < 6 {
		return errors.New("too short to tell anything of memory")
	}
	first, last := mean(memory[:len(memory)/3]), mean(memory[len(memory)*2/3:])
	t.print(out)
	_, _ = fmt.Fprintf(out, "resident: first third %.0f MB, second %.0f MB, last %.0f MB, most %.0f MB\n",
		first/(1<<20), mean(memory[len(memory)/3:len(memory)*2/3])/(1<<20), last/(1<<20), slices.Max(memory)/(1<<20))
	more := func(name string) check {
		grown := after[name] - before[name]
		return check{name, fmt.Sprintf("at most %d more", leakCount), fmt.Sprintf("%.0f, then %.0f", before[name], after[name]), grown <= leakCount}
	}
	return report(out, []check{
		{"memory, last over first third", fmt.Sprintf("at most %.2f", leakShare), fmt.Sprintf("%.2f", last/first), last <= leakShare*first},
		more(goroutines),
		more(openFiles),
		{"unexpected answers", "0", fmt.Sprint(t.strange.Load()), t.strange.Load() == 0},
	})
}

// quiet reads what the server holds when nobody asks for anything.
func (c *child) quiet(ctx context.Context) (map[string]float64, error) {
	c.client.CloseIdleConnections()
	time.Sleep(settle)
	return c.gauges(ctx, goroutines, openFiles, resident)
}

// sizes makes pictures of several sizes of a photo.
func sizes(ctx context.Context, path string) ([][]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	img, _, err := codec.Decode(ctx, data, codec.Limits{})
	if err != nil {
		return nil, err
	}
	var photos [][]byte
	for _, size := range []int{64, 256, 512, 800, 1380, 2400} {
		b, err := scaled(img, size)
		if err != nil {
			return nil, err
		}
		photos = append(photos, b)
	}
	var png bytes.Buffer
	if err := codec.EncodePNG(&png, image.Image(img)); err != nil {
		return nil, err
	}
	return append(photos, png.Bytes()), nil
}

// upload is a form with a picture, to a path of a dialect.
func upload(path, field string, fields ...string) func(context.Context, *child, []byte) (int, error) {
	return func(ctx context.Context, c *child, photo []byte) (int, error) {
		contentType, body, err := form(field, photo, fields...)
		if err != nil {
			return 0, err
		}
		status, _, err := c.do(ctx, http.MethodPost, path, contentType, body)
		return status, err
	}
}

// asJSON sends an object made of the picture in base64.
func asJSON(path string, object func(base64 string) any) func(context.Context, *child, []byte) (int, error) {
	return func(ctx context.Context, c *child, photo []byte) (int, error) {
		body, err := json.Marshal(object(base64.StdEncoding.EncodeToString(photo)))
		if err != nil {
			return 0, err
		}
		status, _, err := c.do(ctx, http.MethodPost, path, "application/json", body)
		return status, err
	}
}

// plain sends bytes as they are.
func plain(method, path, contentType, body string) func(context.Context, *child, []byte) (int, error) {
	return func(ctx context.Context, c *child, _ []byte) (int, error) {
		status, _, err := c.do(ctx, method, path, contentType, []byte(body))
		return status, err
	}
}

// hangUp sends a part of a request, or reads a part of its reply, and goes away.
func hangUp(share float64, read int) func(context.Context, *child, []byte) (int, error) {
	return func(ctx context.Context, c *child, photo []byte) (int, error) {
		contentType, body, err := form("image", photo, "quality", "fast")
		if err != nil {
			return 0, err
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(c.url, "http://"))
		if err != nil {
			return 0, err
		}
		defer func() { _ = conn.Close() }() // that is the point
		head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", path, contentType, len(body))
		if _, err := conn.Write(append([]byte(head), body[:int(share*float64(len(body)))]...)); err != nil {
			return 0, err
		}
		if read > 0 {
			_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
			_, err = io.ReadFull(conn, make([]byte, read))
		}
		return 0, err
	}
}

// job hands pictures in, polls and downloads the result.
func job(ctx context.Context, c *child, photo []byte) (int, error) {
	contentType, body, err := form("files", photo, "convert_to", "image-backgroundremover", "lang", "en", "bg_type", "transparent")
	if err != nil {
		return 0, err
	}
	status, reply, err := c.do(ctx, http.MethodPost, "/v1/convert/", contentType, body)
	if err != nil || status != http.StatusOK {
		return status, err
	}
	var accepted struct {
		UUID string `json:"uuid"`
	}
	if err := json.Unmarshal(reply, &accepted); err != nil {
		return 0, err
	}
	for range 600 {
		contentType, body, err := form("none", nil, "uuid", accepted.UUID)
		if err != nil {
			return 0, err
		}
		status, reply, err := c.do(ctx, http.MethodPost, "/v1/results/", contentType, body)
		if err != nil || status != http.StatusOK {
			return status, err
		}
		var state struct {
			Finished bool `json:"finished"`
			Files    []struct {
				URL string `json:"url"`
			} `json:"files"`
		}
		if err := json.Unmarshal(reply, &state); err != nil {
			return 0, err
		}
		for _, file := range state.Files {
			if status, _, err := c.get(ctx, strings.TrimPrefix(file.URL, c.url)); err != nil || status != http.StatusOK {
				return status, err
			}
		}
		if state.Finished {
			return status, nil
		}
		time.Sleep(probeEvery)
	}
	return 0, errors.New("a job that does not end")
}

// visits is the mix.
func visits(quality string) []visit {
	fine := []int{http.StatusOK, http.StatusServiceUnavailable}
	return []visit{
		{"api4ai", 6, upload(path, "image", "quality", quality), fine},
		{"api4ai mask", 2, upload(path+"?mode=fg-mask", "image"), fine},
		{"api4ai shadow", 1, upload(path+"?mode=fg-image-shadow", "image"), fine},
		{"remove.bg", 4, upload("/v1.0/removebg", "image_file", "size", "full"), append(fine, http.StatusBadRequest)},
		{"remove.bg json", 2, asJSON("/v1.0/removebg", func(b string) any { return map[string]string{"image_file_b64": b} }), append(fine, http.StatusBadRequest)},
		{"remove.bg webp on colour", 1, upload("/v1.0/removebg", "image_file", "format", "webp", "bg_color", "00ff88"), append(fine, http.StatusBadRequest)},
		{"apisphere", 2, upload("/v1/remove-bg/universal", "image", "output_format", "white_bg"), append(fine, http.StatusBadGateway)},
		{"rembg", 2, upload("/api/remove", "file"), fine},
		{"photoroom", 2, upload("/v1/segment", "image_file", "format", "jpg"), fine},
		{"ximilar", 2, asJSON("/removebg/fast/removebg", func(b string) any {
			return map[string]any{"records": []any{map[string]string{"_base64": b}, map[string]string{"_base64": b}}}
		}), fine},
		{"job", 2, job, fine},
		{"no picture", 2, plain(http.MethodPost, path, "application/json", "{}"), []int{http.StatusUnprocessableEntity, http.StatusBadRequest, http.StatusServiceUnavailable}},
		{"no image at all", 2, func(ctx context.Context, c *child, _ []byte) (int, error) {
			return upload(path, "image")(ctx, c, []byte("this is no picture"))
		}, fine},
		{"cut short", 2, func(ctx context.Context, c *child, photo []byte) (int, error) {
			return upload(path, "image", "quality", "fast")(ctx, c, photo[:len(photo)/2])
		}, fine},
		{"no route", 1, plain(http.MethodGet, "/nowhere", "", ""), []int{http.StatusNotFound}},
		{"broken form", 1, plain(http.MethodPost, path, "multipart/form-data; boundary=B", "--B\r\n"), []int{http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusServiceUnavailable}},
		{"URL that is not fetched", 1, upload("/v1.0/removebg", "none", "image_url", "http://192.0.2.1/a.jpg"), []int{http.StatusBadRequest, http.StatusServiceUnavailable}},
		{"hang up while sending", 2, hangUp(.6, 0), []int{0}},
		{"hang up while waiting", 2, hangUp(1, 0), []int{0}},
		{"hang up while reading", 2, hangUp(1, 200), []int{0}},
		{"health", 2, plain(http.MethodGet, "/healthz", "", ""), []int{http.StatusOK}},
		{"readiness", 1, plain(http.MethodHead, "/readyz", "", ""), []int{http.StatusOK}},
	}
}

// tally counts answers.
type tally struct {
	mu      sync.Mutex
	counts  map[string]map[int]int
	said    map[string]bool
	strange atomic.Int64
}

// drive lets a few clients send the mix for a while.
func (t *tally) drive(ctx context.Context, c *child, mix []visit, photos [][]byte, d time.Duration) {
	end := time.Now().Add(d)
	total := 0
	for _, v := range mix {
		total += v.weight
	}
	var all sync.WaitGroup
	for n := range soakClients {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(n), uint64(d)))
			for time.Now().Before(end) && ctx.Err() == nil {
				at := random.IntN(total)
				for _, v := range mix {
					if at -= v.weight; at < 0 {
						photo := photos[random.IntN(len(photos))]
						if random.IntN(repeated) > 0 {
							photo = fresh(photo)
						}
						status, err := v.do(ctx, c, photo)
						t.count(ctx, v, status, err)
						break
					}
				}
			}
		})
	}
	all.Wait()
}

func (t *tally) count(ctx context.Context, v visit, status int, err error) {
	if ctx.Err() != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts[v.name] == nil {
		t.counts[v.name] = map[int]int{}
	}
	t.counts[v.name][status]++
	if err == nil && slices.Contains(v.want, status) {
		return
	}
	t.strange.Add(1)
	if t.said == nil {
		t.said = map[string]bool{}
	}
	if what := fmt.Sprint(v.name, ": ", status, " ", err); !t.said[what] {
		t.said[what] = true
		fmt.Fprintln(os.Stderr, what)
	}
}

func (t *tally) print(out io.Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(t.counts)) {
		_, _ = fmt.Fprintf(out, "%-28s", name)
		for _, status := range slices.Sorted(maps.Keys(t.counts[name])) {
			what := fmt.Sprint(status)
			if status == 0 {
				what = "hung up"
			}
			_, _ = fmt.Fprintf(out, "  %s: %d", what, t.counts[name][status])
		}
		_, _ = fmt.Fprintln(out)
	}
}
