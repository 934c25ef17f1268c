package handlers_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image/color"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cutout/codec"
	"cutout/config"
	"cutout/handlers"
	"cutout/handlers/backgroundremoverai"
	"cutout/handlers/hosted"
	"cutout/jobs"
	"cutout/pipeline"
)

// jobBundle is a server with a job store.
type jobBundle struct {
	*bundle
	jobs *jobs.Service
	now  atomic.Int64
}

// startJobs runs a server with a store and one worker.
func startJobs(t *testing.T, change func(*handlers.Config, *jobs.Config)) *jobBundle {
	t.Helper()
	b := &jobBundle{}
	b.now.Store(time.Now().UnixNano())
	store := jobs.Config{
		Kinds: []string{backgroundremoverai.Kind}, DataDir: t.TempDir(), MinFree: 1, Backoff: time.Millisecond,
		Now: func() time.Time { return time.Unix(0, b.now.Load()) },
	}
	b.bundle = start(t, func(c *handlers.Config) {
		if change != nil {
			change(c, &store)
		}
		var err error
		if b.jobs, err = jobs.Open(t.Context(), store); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := b.jobs.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		c.Jobs = b.jobs
		if err := b.jobs.Start(backgroundremoverai.Kind, 1, backgroundremoverai.Worker(c.BackgroundRemoverAI, c.Processor)); err != nil {
			t.Fatal(err)
		}
	})
	b.processor.run = variants
	return b
}

// variants answers with data that tells what was asked for.
func variants(_ context.Context, image []byte, o pipeline.Options) (*pipeline.Result, error) {
	if bytes.HasPrefix(image, []byte("broken")) {
		return nil, codec.ErrUndecodable
	}
	res := sampleResult()
	res.Format = o.Format
	res.Data = append([]byte("cutout of "), image...)
	for _, v := range o.Also {
		res.Also = append(res.Also, fmt.Appendf(nil, "%s of %s", v.Output, image))
	}
	return res, nil
}

// state is a reply to a poll.
type state struct {
	Files []struct {
		URL      string `json:"url"`
		Filename string `json:"filename"`
	} `json:"files"`
	Failed     []string `json:"failed"`
	Finished   *bool    `json:"finished"`
	QueueCount *int     `json:"queue_count"`
	Errors     []string `json:"errors"`
}

func (s state) names() (names []string) {
	for _, f := range s.Files {
		names = append(names, f.Filename)
	}
	return names
}

func (b *jobBundle) accepted(got reply) string {
	b.t.Helper()
	m := regexp.MustCompile(`^\{"uuid":"([0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})"\}$`).FindStringSubmatch(got.body)
	if got.status != 200 || m == nil || got.header.Get("Content-Type") != "application/json" {
		b.t.Fatalf("convert: %d %s", got.status, got.body)
	}
	return m[1]
}

// convert sends a form that need not be one of the document's.
func (b *jobBundle) convert(parts ...part) reply {
	b.t.Helper()
	contentType, body := form(b.t, parts...)
	return b.send(b.quirky, "POST", "/v1/convert/", contentType, string(body))
}

func (b *jobBundle) poll(uuid string) state {
	b.t.Helper()
	return b.parse(b.post("/v1/results/", text("uuid", uuid)))
}

func (b *jobBundle) parse(got reply) (s state) {
	b.t.Helper()
	if err := json.Unmarshal([]byte(got.body), &s); err != nil || got.status != 200 || s.Finished == nil || s.QueueCount == nil {
		b.t.Fatalf("poll: %d %s", got.status, got.body)
	}
	return s
}

func (b *jobBundle) finish(uuid string) state {
	b.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if s := b.poll(uuid); *s.Finished {
			return s
		}
	}
	b.t.Fatal("the job does not end")
	return state{}
}

// What the documented clients send, byte for byte but for the host and the picture.
const (
	curlConvert = "POST /v1/convert/ HTTP/1.1\r\nHost: x\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\nAuthorization: YOUR_API_KEY\r\n" +
		"Content-Length: %d\r\nContent-Type: multipart/form-data; boundary=------------------------LbJH0gkH8f2nDLz5mIXZBk\r\n\r\n%s"
	curlBody = "--------------------------LbJH0gkH8f2nDLz5mIXZBk\r\nContent-Disposition: form-data; name=\"lang\"\r\n\r\nen\r\n" +
		"--------------------------LbJH0gkH8f2nDLz5mIXZBk\r\nContent-Disposition: form-data; name=\"convert_to\"\r\n\r\nimage-backgroundremover\r\n" +
		"--------------------------LbJH0gkH8f2nDLz5mIXZBk\r\nContent-Disposition: form-data; name=\"files\"; filename=\"image.jpeg\"\r\nContent-Type: image/jpeg\r\n\r\nthe photo\r\n" +
		"--------------------------LbJH0gkH8f2nDLz5mIXZBk--\r\n"

	pythonConvert = "POST /v1/convert/ HTTP/1.1\r\nHost: x\r\nUser-Agent: python-requests/2.32.3\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\n" +
		"Connection: keep-alive\r\nAuthorization: YOUR_API_KEY\r\nContent-Length: %d\r\nContent-Type: multipart/form-data; boundary=5d9a1c2ef0a7b6d1c4e8f3a2b1c0d9e8\r\n\r\n%s"
	pythonBody = "--5d9a1c2ef0a7b6d1c4e8f3a2b1c0d9e8\r\nContent-Disposition: form-data; name=\"lang\"\r\n\r\nen\r\n" +
		"--5d9a1c2ef0a7b6d1c4e8f3a2b1c0d9e8\r\nContent-Disposition: form-data; name=\"convert_to\"\r\n\r\nimage-backgroundremover\r\n" +
		"--5d9a1c2ef0a7b6d1c4e8f3a2b1c0d9e8\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nu2net\r\n" +
		"--5d9a1c2ef0a7b6d1c4e8f3a2b1c0d9e8\r\nContent-Disposition: form-data; name=\"alpha_matting\"\r\n\r\ntrue\r\n" +
		"--5d9a1c2ef0a7b6d1c4e8f3a2b1c0d9e8\r\nContent-Disposition: form-data; name=\"alpha_fg\"\r\n\r\n240\r\n" +
		"--5d9a1c2ef0a7b6d1c4e8f3a2b1c0d9e8\r\nContent-Disposition: form-data; name=\"alpha_bg\"\r\n\r\n10\r\n" +
		"--5d9a1c2ef0a7b6d1c4e8f3a2b1c0d9e8\r\nContent-Disposition: form-data; name=\"alpha_erode\"\r\n\r\n10\r\n" +
		"--5d9a1c2ef0a7b6d1c4e8f3a2b1c0d9e8\r\nContent-Disposition: form-data; name=\"files\"; filename=\"image.jpeg\"\r\n\r\nthe photo\r\n" +
		"--5d9a1c2ef0a7b6d1c4e8f3a2b1c0d9e8--\r\n"

	phpConvert = "POST /v1/convert/ HTTP/1.1\r\nHost: x\r\nAccept: */*\r\nAuthorization: YOUR_API_KEY\r\nContent-Length: %d\r\n" +
		"Content-Type: multipart/form-data; boundary=------------------------8c1d2b3a4f5e6d7c\r\n\r\n%s"
	phpBody = "--------------------------8c1d2b3a4f5e6d7c\r\nContent-Disposition: form-data; name=\"lang\"\r\n\r\nen\r\n" +
		"--------------------------8c1d2b3a4f5e6d7c\r\nContent-Disposition: form-data; name=\"convert_to\"\r\n\r\nimage-backgroundremover\r\n" +
		"--------------------------8c1d2b3a4f5e6d7c\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nu2net\r\n" +
		"--------------------------8c1d2b3a4f5e6d7c\r\nContent-Disposition: form-data; name=\"alpha_matting\"\r\n\r\ntrue\r\n" +
		"--------------------------8c1d2b3a4f5e6d7c\r\nContent-Disposition: form-data; name=\"file[0]\"; filename=\"image.jpeg\"\r\nContent-Type: image/jpeg\r\n\r\nthe photo\r\n" +
		"--------------------------8c1d2b3a4f5e6d7c\r\nContent-Disposition: form-data; name=\"file[1]\"; filename=\"other.png\"\r\nContent-Type: image/png\r\n\r\nanother photo\r\n" +
		"--------------------------8c1d2b3a4f5e6d7c--\r\n"

	nodeConvert = "POST /v1/convert/ HTTP/1.1\r\nAuthorization: YOUR_API_KEY\r\nContent-Type: multipart/form-data\r\nhost: x\r\nConnection: close\r\n" +
		"Content-Length: %d\r\n\r\n%s"
	nodeBody = "----------------------------515890814546601021194782\r\nContent-Disposition: form-data; name=\"lang\"\r\n\r\nen\r\n" +
		"----------------------------515890814546601021194782\r\nContent-Disposition: form-data; name=\"convert_to\"\r\n\r\nimage-backgroundremover\r\n" +
		"----------------------------515890814546601021194782\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nu2net\r\n" +
		"----------------------------515890814546601021194782\r\nContent-Disposition: form-data; name=\"alpha_matting\"\r\n\r\ntrue\r\n" +
		"----------------------------515890814546601021194782\r\nContent-Disposition: form-data; name=\"files\"; filename=\"image.jpeg\"\r\nContent-Type: image/jpeg\r\n\r\nthe photo\r\n" +
		"----------------------------515890814546601021194782--\r\n"
)

// The documented clients, from the first request to the file: only the one in PHP sends its key along when it polls.
func TestDocumentedClients(t *testing.T) { //nolint:tparallel // its subtests share a server whose last call they look at
	t.Parallel()
	b := startJobs(t, nil)
	multipartPoll := func(uuid string) (string, string) {
		return "multipart/form-data; boundary=X", "--X\r\nContent-Disposition: form-data; name=\"uuid\"\r\n\r\n" + uuid + "\r\n--X--\r\n"
	}
	urlencodedPoll := func(uuid string) (string, string) { return "application/x-www-form-urlencoded", "uuid=" + uuid }
	for name, tc := range map[string]struct {
		convert, body string
		poll          func(string) (string, string)
		path          string
		files         []string
	}{
		"curl":             {curlConvert, curlBody, multipartPoll, "/v1/results/", []string{"image_processed.png"}},
		"python":           {pythonConvert, pythonBody, urlencodedPoll, "/v1/results/", []string{"image_processed.png"}},
		"php":              {phpConvert, phpBody, multipartPoll, "/v1/results/", []string{"image_processed.png", "other_processed.png"}},
		"node":             {nodeConvert, nodeBody, multipartPoll, "/v1/results/", []string{"image_processed.png"}},
		"a proxy's slash":  {curlConvert, curlBody, urlencodedPoll, "/v1/results", []string{"image_processed.png"}},
		"a proxy's slash2": {strings.Replace(curlConvert, "convert/", "convert", 1), curlBody, multipartPoll, "/v1/results", []string{"image_processed.png"}},
	} {
		t.Run(name, func(t *testing.T) {
			uuid := b.accepted(b.raw(fmt.Sprintf(tc.convert, len(tc.body), tc.body)))
			contentType, body := tc.poll(uuid)
			var s state
			for s.Finished == nil || !*s.Finished {
				s = b.parse(b.send(b.client, "POST", tc.path, contentType, body))
			}
			if diff := cmp.Diff(tc.files, s.names()); diff != "" || len(s.Failed)+len(s.Errors)+*s.QueueCount != 0 {
				t.Errorf("%+v", s)
			}
			for i, want := range []string{"cutout of the photo", "cutout of another photo"}[:len(s.Files)] {
				if got := b.get(s.Files[i].URL); got.status != 200 || got.body != want || got.header.Get("Content-Type") != "image/png" {
					t.Errorf("file %d: %d %q %v", i, got.status, got.body, got.header)
				}
			}
			o := b.processor.last(t).options
			if matting := strings.Contains(tc.body, "alpha_matting"); matting != (o.Matting != nil) || o.Model != "u2net" {
				t.Errorf("options %+v", o)
			}
		})
	}
}

// The reply to a poll, byte for byte.
func TestStateByteForByte(t *testing.T) {
	t.Parallel()
	b := startJobs(t, nil)
	uuid := b.accepted(b.post("/v1/convert/", text("convert_to", "image-backgroundremover"), file("files", "a.jpg", "a")))
	url := b.finish(uuid).Files[0].URL
	if !regexp.MustCompile(`^/v1/files/[a-z2-7]{26}/a_processed\.png$`).MatchString(url) {
		t.Errorf("url %q", url)
	}
	want := `{"files":[{"url":"` + url + `","filename":"a_processed.png"}],"failed":[],"finished":true,"queue_count":0,"errors":[]}`
	if got := b.post("/v1/results/", text("uuid", uuid)); got.body != want {
		t.Errorf("got  %s\nwant %s", got.body, want)
	}
}

func TestPollWhilePending(t *testing.T) {
	t.Parallel()
	b := startJobs(t, nil)
	begun, release := make(chan string, 10), make(chan struct{})
	b.processor.run = func(ctx context.Context, image []byte, o pipeline.Options) (*pipeline.Result, error) {
		begun <- string(image)
		<-release
		return variants(ctx, image, o)
	}
	convert := func(parts ...part) string {
		return b.accepted(b.post("/v1/convert/", append(parts, text("convert_to", "image-backgroundremover"))...))
	}
	first := convert(file("files", "1.jpg", "one"), file("files", "2.jpg", "two"))
	<-begun
	second := convert(file("files", "3.jpg", "three"))
	third := convert(file("files", "4.jpg", "four"))
	if s := b.poll(first); *s.Finished || *s.QueueCount != 0 || len(s.Files) != 0 {
		t.Errorf("running: %+v", s)
	}
	if s2, s3 := b.poll(second), b.poll(third); *s2.Finished || *s2.QueueCount != 1 || *s3.QueueCount != 2 {
		t.Errorf("waiting: %d, %d", *s2.QueueCount, *s3.QueueCount)
	}
	release <- struct{}{}
	<-begun
	if s := b.poll(first); *s.Finished || !slices.Equal(s.names(), []string{"1_processed.png"}) {
		t.Errorf("half done: %+v", s)
	}
	close(release)
	for _, uuid := range []string{first, second, third} {
		if s := b.finish(uuid); len(s.Failed) != 0 || len(s.Errors) != 0 {
			t.Errorf("%+v", s)
		}
	}
}

// Files that cannot be used take nothing along; results come in the order of the uploads, under names that are fit for
// a disk and unlike each other.
func TestPartialFailure(t *testing.T) {
	t.Parallel()
	b := startJobs(t, nil)
	s := b.finish(b.accepted(b.convert(
		file("files[]", "b.jpg", "first"), text("convert_to", "image-backgroundremover"),
		file("file[]", "bad.pdf", "broken"), file("files[7]", "../../etc/passwd", "second"), file("file", `C:\b.png`, "third"),
		file("files", "x;y%0d%0a.png", "fourth"),
		part{name: "files", file: "", isFile: true}, // a form that was not filled in
	)))
	if diff := cmp.Diff([]string{"b_processed.png", "passwd_processed.png", "b_processed-2.png", "xy0d0a_processed.png"}, s.names()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"bad.pdf"}, s.Failed); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"bad.pdf: The file is not an image that can be read."}, s.Errors); diff != "" {
		t.Error(diff)
	}
	for i, want := range []string{"cutout of first", "cutout of second", "cutout of third", "cutout of fourth"} {
		if got := b.get(s.Files[i].URL); got.body != want {
			t.Errorf("file %d: %q", i, got.body)
		}
	}
}

// A processor that fails is asked again; what it never does fails by itself.
func TestFlakyProcessor(t *testing.T) {
	t.Parallel()
	b := startJobs(t, nil)
	var tries atomic.Int32
	b.processor.run = func(ctx context.Context, image []byte, o pipeline.Options) (*pipeline.Result, error) {
		switch string(image) {
		case "flaky":
			if tries.Add(1) == 1 {
				return nil, errors.New("secret reason")
			}
		case "never":
			return nil, errors.New("secret reason")
		}
		return variants(ctx, image, o)
	}
	s := b.finish(b.accepted(b.post("/v1/convert/", text("convert_to", "image-backgroundremover"),
		file("files", "flaky.png", "flaky"), file("files", "never.png", "never"), file("files", "fine.png", "fine"))))
	if !slices.Equal(s.names(), []string{"flaky_processed.png", "fine_processed.png"}) ||
		!slices.Equal(s.Failed, []string{"never.png"}) || !slices.Equal(s.Errors, []string{"never.png: Processing failed."}) {
		t.Errorf("%+v", s)
	}
	if got := tries.Load(); got != 2 {
		t.Errorf("%d tries", got)
	}
}

// An id that is unknown or has expired ends the polling of every client.
func TestUnknownJob(t *testing.T) {
	t.Parallel()
	b := startJobs(t, nil)
	const want = `{"files":[],"failed":[],"finished":true,"queue_count":0,"errors":["The uuid is unknown or has expired."]}`
	uuid := b.accepted(b.post("/v1/convert/", text("convert_to", "image-backgroundremover"), file("files", "a.jpg", "a")))
	s := b.finish(uuid)
	b.now.Add(int64(23*time.Hour + 59*time.Minute))
	if got := b.get(s.Files[0].URL); got.status != 200 {
		t.Errorf("shortly before: %d", got.status)
	}
	b.now.Add(int64(2 * time.Minute))
	for _, name := range []string{uuid, "3fa85f64-5717-4562-b3fc-2c963f66afa6", "*", ">", "../x", "a b", strings.Repeat("x", 500)} {
		if got := b.post("/v1/results/", text("uuid", name)); got.status != 200 || got.body != want {
			t.Errorf("%q: %d %s", name, got.status, got.body)
		}
	}
	if got := b.get(s.Files[0].URL); got.status != 404 || got.body != `{"detail":"Not Found"}` {
		t.Errorf("the file: %d %s", got.status, got.body)
	}
}

// /v1/results belongs to two dialects: what the request holds decides.
func TestResultsOfTwoDialects(t *testing.T) {
	t.Parallel()
	b := startJobs(t, nil)
	for _, path := range []string{"/v1/results", "/v1/results/"} {
		if got := b.post(path, file("image", "a.jpg", photo), text("uuid", "x")).outcome(t); got.code != "ok" {
			t.Errorf("%s: an image beside a uuid: %+v", path, got)
		}
		if got := b.post(path, text("uuid", "")); got.status != 422 {
			t.Errorf("%s: an empty uuid: %d %s", path, got.status, got.body)
		}
		if s := b.parse(b.post(path, text("uuid", "x"))); !*s.Finished {
			t.Errorf("%s: %+v", path, s)
		}
	}
}

func TestConvertOptions(t *testing.T) { //nolint:tparallel // its subtests share a server whose last call they look at
	t.Parallel()
	b := startJobs(t, nil)
	limits := codec.Limits{MaxBytes: 1 << 20, MaxPixels: 50e6}
	plain := pipeline.Options{Output: pipeline.Cutout, Format: codec.PNG, Model: "u2net", Limits: limits}
	with := func(change func(*pipeline.Options)) pipeline.Options {
		o := plain
		change(&o)
		return o
	}
	matting := func(fg, bg uint8, erode, base int) pipeline.Options {
		return with(func(o *pipeline.Options) {
			o.Quality = pipeline.Precise
			o.Matting = &pipeline.MattingOptions{ForegroundThreshold: fg, BackgroundThreshold: bg, ErodeSize: erode, BaseSize: base}
		})
	}
	colour := func(c color.NRGBA) pipeline.Options {
		return with(func(o *pipeline.Options) { o.Background = &pipeline.Background{Color: c} })
	}
	picture := with(func(o *pipeline.Options) {
		o.Background = &pipeline.Background{Image: []byte("scenery"), Limits: limits}
	})
	mask := with(func(o *pipeline.Options) { o.Output = pipeline.Mask })
	white := color.NRGBA{R: 255, G: 255, B: 255, A: 255}
	for name, tc := range map[string]struct {
		parts []part
		want  pipeline.Options
	}{
		"nothing":           {nil, plain},
		"empty fields":      {[]part{text("model", ""), text("alpha_matting", ""), text("alpha_fg", ""), text("bg_type", "")}, plain},
		"lang":              {[]part{text("lang", "xx")}, plain},
		"people":            {[]part{text("model", "u2net_human_seg")}, with(func(o *pipeline.Options) { o.Model, o.Subject = "u2net_human_seg", pipeline.Human })},
		"fast":              {[]part{text("model", "u2netp")}, with(func(o *pipeline.Options) { o.Model = "u2netp" })},
		"matting":           {[]part{text("alpha_matting", "true")}, matting(240, 10, 10, 1000)},
		"matting, Python":   {[]part{text("alpha_matting", "True")}, matting(240, 10, 10, 1000)},
		"knobs":             {[]part{text("alpha_matting", "1"), text("alpha_fg", "255"), text("alpha_bg", "0"), text("alpha_erode", "25"), text("alpha_base_size", "500")}, matting(255, 0, 25, 500)},
		"knobs, no matting": {[]part{text("alpha_matting", "false"), text("alpha_fg", "100")}, plain},
		"mask":              {[]part{text("only_mask", "true")}, mask},
		"mask, no colour":   {[]part{text("only_mask", "true"), text("bg_type", "color")}, mask},
		"transparent":       {[]part{text("bg_type", "transparent"), text("bg_color_value", "#000000")}, plain},
		"colour":            {[]part{text("bg_type", "color"), text("bg_color_value", "#0a141e")}, colour(color.NRGBA{R: 10, G: 20, B: 30, A: 255})},
		"default colour":    {[]part{text("bg_type", "color")}, colour(white)},
		"German":            {[]part{text("bg_type", "farbig"), text("bg_color_value", "ffffff")}, colour(white)},
		"Spanish":           {[]part{text("bg_type", "transparente")}, plain},
		"picture":           {[]part{text("bg_type", "image"), file("bg_image", "s.jpg", "scenery")}, picture},
		"picture, imagen":   {[]part{text("bg_type", "imagen"), file("background_image", "s.jpg", "scenery")}, picture},
		"picture, Bild":     {[]part{text("bg_type", "Bild"), file("background", "s.jpg", "scenery")}, picture},
		"picture, unwanted": {[]part{file("bg_file", "s.jpg", "scenery")}, plain},
	} {
		t.Run(name, func(t *testing.T) {
			parts := append([]part{file("files", "a.jpg", "photo"), text("convert_to", "image-backgroundremover")}, tc.parts...)
			b.finish(b.accepted(b.convert(parts...)))
			got := b.processor.last(t)
			if diff := cmp.Diff(tc.want, got.options, cmpopts.EquateEmpty()); diff != "" || string(got.image) != "photo" {
				t.Errorf("%q %s", got.image, diff)
			}
		})
	}
	for _, value := range []string{"Bild-Hintergrundentferner", "IMAGE-BACKGROUNDREMOVER"} {
		b.accepted(b.convert(text("convert_to", value), file("files", "a.jpg", "photo")))
	}
}

func TestConvertRefusals(t *testing.T) { //nolint:tparallel // its subtests share a server whose last call they look at
	t.Parallel()
	b := startJobs(t, nil)
	good, picture := text("convert_to", "image-backgroundremover"), file("files", "a.jpg", "photo")
	many := slices.Repeat([]part{picture}, 6)
	for name, tc := range map[string]struct {
		parts  []part
		status int
		want   string
	}{
		"nothing":          {nil, 400, "convert_to is missing: it must be image-backgroundremover or video-backgroundremover."},
		"no convert_to":    {[]part{picture}, 400, "convert_to is missing: it must be image-backgroundremover or video-backgroundremover."},
		"bad convert_to":   {[]part{picture, text("convert_to", "pdf")}, 400, "convert_to must be image-backgroundremover or video-backgroundremover."},
		"video":            {[]part{picture, text("convert_to", "video-backgroundremover")}, 501, "Video is not supported by this server: it has no ffmpeg. convert_to must be image-backgroundremover."},
		"no file":          {[]part{good}, 400, "No file was sent: send one or more as files."},
		"file not chosen":  {[]part{good, {name: "files", isFile: true}}, 400, "No file was sent: send one or more as files."},
		"file as text":     {[]part{good, text("files", "photo")}, 400, "No file was sent: send one or more as files."},
		"model":            {[]part{good, picture, text("model", "sam")}, 400, "model must be u2net, u2net_human_seg or u2netp."},
		"alpha_matting":    {[]part{good, picture, text("alpha_matting", "maybe")}, 400, "alpha_matting must be true or false."},
		"alpha_fg":         {[]part{good, picture, text("alpha_fg", "256")}, 400, "alpha_fg must be a number from 0 to 255."},
		"alpha_bg":         {[]part{good, picture, text("alpha_bg", "-1")}, 400, "alpha_bg must be a number from 0 to 255."},
		"alpha_erode":      {[]part{good, picture, text("alpha_erode", "0")}, 400, "alpha_erode must be a number from 1 to 25."},
		"alpha_erode high": {[]part{good, picture, text("alpha_erode", "26")}, 400, "alpha_erode must be a number from 1 to 25."},
		"alpha_base_size":  {[]part{good, picture, text("alpha_base_size", "1e3")}, 400, "alpha_base_size must be a number from 1 to 10000."},
		"crossed":          {[]part{good, picture, text("alpha_matting", "true"), text("alpha_fg", "5")}, 400, "alpha_fg must not be below alpha_bg."},
		"only_mask":        {[]part{good, picture, text("only_mask", "2")}, 400, "only_mask must be true or false."},
		"bg_type":          {[]part{good, picture, text("bg_type", "green")}, 400, "bg_type must be transparent, color or image."},
		"bg_color_value":   {[]part{good, picture, text("bg_type", "color"), text("bg_color_value", "#12")}, 400, "bg_color_value must be a hex colour such as #ffffff."},
		"no background":    {[]part{good, picture, text("bg_type", "image")}, 400, "bg_type=image needs a background: send it as bg_image."},
		"too many":         {append(many, good), 400, "Too many files, at most 5 are taken at a time."},
		"too large":        {[]part{good, file("files", "a.jpg", strings.Repeat("x", 1<<20+1))}, 413, "A file is too large, at most 1048576 bytes are taken."},
	} {
		t.Run(name, func(t *testing.T) {
			got := b.post("/v1/convert/", tc.parts...)
			want, _ := json.Marshal(map[string]string{"error": tc.want})
			if got.status != tc.status || got.body != string(want) {
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
	if st, err := b.jobs.Stats(t.Context()); err != nil || st.Bytes != 0 || st.Waiting[backgroundremoverai.Kind] != 0 {
		t.Errorf("refused requests leave %+v, %v", st, err)
	}
	if n := b.processor.count(); n != 0 {
		t.Errorf("%d pictures were processed", n)
	}
}

// Without a store jobs and hosted results are refused, and all else is served.
func TestNoStore(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	picture := []part{text("convert_to", "image-backgroundremover"), file("files", "a.jpg", "photo")}
	const want = `{"error":"The job store is not available."}`
	for what, got := range map[string]reply{
		"convert": b.post("/v1/convert/", picture...), "poll": b.post("/v1/results/", text("uuid", "x")),
		"delete": b.send(b.client, "DELETE", "/v1/jobs/x", "", ""),
	} {
		if got.status != 503 || got.body != want || got.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", what, got.status, got.body)
		}
	}
	if got := b.get("/v1/files/mzxw6ytboi2gk3tfobxxezlqmj/a.png"); got.status != 503 {
		t.Errorf("file: %d %s", got.status, got.body)
	}
	if got := b.removebg("precise", `{"records":[{"_url":"http://pictures.example/a.jpg"}]}`); got.status != 503 || !strings.Contains(got.body, `"code":503`) {
		t.Errorf("ximilar: %d %s", got.status, got.body)
	}
	if got := b.post("/v1/results", file("image", "a.jpg", photo)).outcome(t); got.code != "ok" {
		t.Errorf("API4AI: %+v", got)
	}
}

func TestStoreFull(t *testing.T) {
	t.Parallel()
	b := startJobs(t, func(_ *handlers.Config, c *jobs.Config) { c.MaxStore = 1 << 10 })
	got := b.post("/v1/convert/", text("convert_to", "image-backgroundremover"), file("files", "a.jpg", strings.Repeat("x", 2<<10)))
	if got.status != 507 || got.body != `{"error":"There is no storage left for files, try again later."}` {
		t.Errorf("convert: %d %s", got.status, got.body)
	}
	b.fetcher.files["http://pictures.example/a.jpg"] = strings.Repeat("x", 2<<10)
	if got := b.removebg("fast", `{"records":[{"_url":"http://pictures.example/a.jpg"}]}`); got.status != 507 {
		t.Errorf("ximilar: %d %s", got.status, got.body)
	}
}

func TestDeleteJob(t *testing.T) {
	t.Parallel()
	b := startJobs(t, nil)
	uuid := b.accepted(b.post("/v1/convert/", text("convert_to", "image-backgroundremover"), file("files", "a.jpg", "a")))
	url := b.finish(uuid).Files[0].URL
	if got := b.send(b.client, "DELETE", "/v1/jobs/"+uuid, "", ""); got.status != 204 || got.body != "" {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := b.get(url); got.status != 404 {
		t.Errorf("the file: %d", got.status)
	}
	if log := b.log.String(); strings.Contains(log, uuid) || strings.Contains(log, strings.Split(url, "/")[3]) {
		t.Error("the log holds the secret of a job or a file")
	}
	if s := b.poll(uuid); len(s.Errors) != 1 {
		t.Errorf("%+v", s)
	}
	if got := b.send(b.client, "DELETE", "/v1/jobs/"+uuid, "", ""); got.status != 404 {
		t.Errorf("again: %d %s", got.status, got.body)
	}
}

func TestDownloads(t *testing.T) {
	t.Parallel()
	b := startJobs(t, nil)
	content := strings.Repeat("0123456789abcdef", 5<<20/16) // three parts of the store
	f, err := b.jobs.Host(t.Context(), "päper \"x\".webp", "image/webp", strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	path := hosted.Path(f)
	get := func(header ...string) reply { return b.ask(b.client, "GET", path, "", nil, header...) }
	whole := get("Accept-Encoding", "gzip, deflate, br")
	if whole.status != 200 || whole.body != content || whole.header.Get("Content-Encoding") != "" || whole.header.Get("Content-Type") != "image/webp" ||
		whole.header.Get("Content-Length") != fmt.Sprint(len(content)) || whole.header.Get("X-Content-Type-Options") != "nosniff" ||
		whole.header.Get("Content-Disposition") != `inline; filename*=utf-8''p%C3%A4per%20%22x%22.webp` {
		t.Errorf("whole: %d, %d bytes, %v", whole.status, len(whole.body), whole.header)
	}
	for _, tc := range []struct {
		value, want, contentRange string
		status                    int
	}{
		{"bytes=0-3", content[:4], "bytes 0-3/5242880", 206},
		{"bytes=2097150-2097153", content[2097150:2097154], "bytes 2097150-2097153/5242880", 206},
		{"bytes=-5", content[len(content)-5:], "bytes 5242875-5242879/5242880", 206},
		{"bytes=9999999-", "invalid range: failed to overlap\n", "bytes */5242880", 416},
	} {
		if got := get("Range", tc.value); got.status != tc.status || got.body != tc.want || got.header.Get("Content-Range") != tc.contentRange {
			t.Errorf("%s: %d %.100q %v", tc.value, got.status, got.body, got.header)
		}
	}
	if got := get("If-None-Match", whole.header.Get("ETag")); got.status != 304 || got.body != "" {
		t.Errorf("unchanged: %d", got.status)
	}
	// What a client gets that joins a host with a slash at its end and the path.
	if got := b.raw("GET /" + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); got.status != 200 || got.body != content {
		t.Errorf("two slashes: %d", got.status)
	}
	if got := b.get("/v1/files/" + f.Key + "/any-name"); got.status != 200 {
		t.Errorf("another name: %d", got.status)
	}
	for _, bad := range []string{"/v1/files/" + strings.Repeat("a", 26) + "/x.png", "/v1/files/*/x.png", "/v1/files/file.x/x.png", "/v1/files/%2e%2e/x.png"} {
		if got := b.get(bad); got.status != 404 {
			t.Errorf("%s: %d %s", bad, got.status, got.body)
		}
	}
}

// Keys are wanted for work; a poll and a download carry none.
func TestKeysOfJobs(t *testing.T) {
	t.Parallel()
	var b *jobBundle
	var free string
	plain, free, _ := keyed(t, func(c *handlers.Config) {
		store, err := jobs.Open(t.Context(), jobs.Config{Kinds: []string{backgroundremoverai.Kind}, DataDir: t.TempDir(), MinFree: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close(context.Background()) })
		if err := store.Start(backgroundremoverai.Kind, 1, backgroundremoverai.Worker(c.BackgroundRemoverAI, c.Processor)); err != nil {
			t.Fatal(err)
		}
		c.Jobs = store
	})
	b = &jobBundle{bundle: plain, jobs: nil}
	b.processor.run = variants
	contentType, body := form(t, text("convert_to", "image-backgroundremover"), file("files", "a.jpg", "a"))
	for what, tc := range map[string]struct{ key, want string }{
		"no key":    {"", `{"error":"An API key is needed."}`},
		"wrong key": {"nonsense", `{"error":"The API key is not valid."}`},
	} {
		var header []string
		if tc.key != "" {
			header = []string{"Authorization", tc.key}
		}
		if got := b.ask(b.client, "POST", "/v1/convert/", contentType, body, header...); got.status != 401 || got.body != tc.want {
			t.Errorf("convert, %s: %d %s", what, got.status, got.body)
		}
		if len(header) > 0 {
			header[1] = "Token " + tc.key
		}
		want := strings.Replace(tc.want, "error", "detail", 1)
		for path, method := range map[string]string{"/removebg/fast/removebg": "POST", "/account/v2/details/": "GET", "/authorization/v2/authorize": "POST"} {
			if got := b.ask(b.client, method, path, "application/json", []byte(`{}`), header...); got.status != 401 || got.body != want {
				t.Errorf("%s, %s: %d %s", path, what, got.status, got.body)
			}
		}
	}
	uuid := b.accepted(b.ask(b.client, "POST", "/v1/convert/", contentType, body, "Authorization", free))
	if got := b.get(b.finish(uuid).Files[0].URL); got.status != 200 {
		t.Errorf("download without a key: %d", got.status)
	}
	for _, scheme := range []string{"Token ", "JWT "} {
		if got := b.ask(b.client, "GET", "/account/v2/details/", "application/json", nil, "Authorization", scheme+free); got.status != 200 {
			t.Errorf("%s: %d %s", scheme, got.status, got.body)
		}
	}
}

func (b *bundle) removebg(model, body string, header ...string) reply {
	b.t.Helper()
	return b.ask(b.quirky, "POST", "/removebg/"+model+"/removebg", "application/json", []byte(body), header...)
}

// batch is Ximilar's reply.
type batch struct {
	Records    []map[string]any
	Status     map[string]any
	Statistics map[string]any
}

func (r reply) batch(t *testing.T) (v batch) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.body), &v); err != nil || r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	return v
}

// The vendor's own request, and its reply member by member.
func TestXimilarRecord(t *testing.T) {
	t.Parallel()
	b := startJobs(t, nil)
	b.fetcher.files["https://bit.ly/2IymQJv"] = "a photo"
	body := `{
"records": [
{ "_url": "https://bit.ly/2IymQJv",
"binary_mask": true,
"white_background": true
}
]
}`
	got := b.ask(b.client, "POST", "/removebg/precise/removebg", "application/json", []byte(body), "Authorization", "Token __API_TOKEN__")
	v := got.batch(t)
	rec := v.Records[0]
	names := slices.Sorted(func(yield func(string) bool) {
		for name := range rec {
			if !yield(name) {
				return
			}
		}
	})
	if diff := cmp.Diff([]string{
		"_height", "_id", "_output_url", "_output_url_mask", "_output_url_whitebg", "_status", "_url", "_width", "binary_mask", "white_background",
	}, names); diff != "" {
		t.Error(diff)
	}
	id := got.header.Get("X-Request-ID")
	if diff := cmp.Diff(map[string]any{"code": 200.0, "text": "OK", "request_id": id}, rec["_status"]); diff != "" {
		t.Error(diff)
	}
	if v.Status["code"] != 200.0 || v.Status["text"] != "OK" || v.Status["request_id"] != id || !uuidForm.MatchString(v.Status["proc_id"].(string)) ||
		!uuidForm.MatchString(rec["_id"].(string)) || rec["_width"] != 8.0 || rec["_height"] != 6.0 {
		t.Errorf("%s", got.body)
	}
	if seconds, ok := v.Statistics["processing time"].(float64); !ok || seconds <= 0 || len(v.Statistics) != 1 {
		t.Errorf("statistics %v", v.Statistics)
	}
	for name, want := range map[string]struct{ body, contentType, extension string }{
		"_output_url":         {"cutout of a photo", "image/png", ".png"},
		"_output_url_mask":    {"mask of a photo", "image/jpeg", ".jpg"},
		"_output_url_whitebg": {"cutout of a photo", "image/jpeg", ".jpg"},
	} {
		link := rec[name].(string)
		path, ok := strings.CutPrefix(link, b.url)
		if !ok || !strings.HasSuffix(link, want.extension) {
			t.Errorf("%s: %q", name, link)
		}
		if file := b.get(path); file.body != want.body || file.header.Get("Content-Type") != want.contentType {
			t.Errorf("%s: %d %q %v", name, file.status, file.body, file.header)
		}
	}
	b.now.Add(int64(24*time.Hour + time.Second))
	if file := b.get(strings.TrimPrefix(rec["_output_url"].(string), b.url)); file.status != 404 {
		t.Errorf("after its time: %d", file.status)
	}
	o := b.processor.last(t).options
	if o.Quality != pipeline.Precise || o.JPEG != 85 || o.WebP != 85 || len(o.Also) != 2 || b.processor.count() != 1 {
		t.Errorf("options %+v", o)
	}
}

// A batch of ten with bad records among them.
func TestXimilarBatch(t *testing.T) {
	t.Parallel()
	b := startJobs(t, nil)
	b.fetcher.files["http://pictures.example/a.jpg"] = "by URL"
	encoded := base64.StdEncoding.EncodeToString([]byte("in base64!"))
	body := `{"records":[
		{"_url":"http://pictures.example/a.jpg","_id":"mine","price":12.50,"tags":["a",{"b":null}]},
		{"_base64":"` + encoded + `"},
		{"_base64":"data:image/jpeg;base64,` + strings.TrimRight(encoded, "=") + `"},
		{"_id":7},
		{"_base64":"not base64!"},
		{"_url":"http://pictures.example/none.jpg"},
		{"_base64":"` + base64.StdEncoding.EncodeToString([]byte("broken")) + `"},
		{"_url":"http://pictures.example/a.jpg","image_format":"bmp"},
		{"_url":"http://pictures.example/a.jpg","image_format":"webp","image_quality":"40","binary_mask":"true","_output_url_mask":"http://old.example/"},
		{"_url":17}
	]}`
	got := b.removebg("fast", body)
	v := got.batch(t)
	if strings.Contains(got.body, "_base64\":") {
		t.Error("base64 is echoed")
	}
	want := []string{
		"OK", "OK", "OK", "A record must contain either _url or _base64.", "The field _base64 is not valid base64.",
		"The server of the URL answered 404 Not Found.", "The image cannot be decoded.", "The field image_format must be png, jpg or webp.",
		"OK", "The fields _url and _base64 must be strings.",
	}
	for i, rec := range v.Records {
		status := rec["_status"].(map[string]any)
		code := 200.0
		if want[i] != "OK" {
			code = 400
		}
		_, linked := rec["_output_url"]
		if status["text"] != want[i] || status["code"] != code || linked != (code == 200) {
			t.Errorf("record %d: %v", i, rec)
		}
	}
	if rec := v.Records[0]; rec["_id"] != "mine" || rec["price"] != 12.5 || !strings.Contains(got.body, `"price":12.50`) || rec["tags"] == nil {
		t.Errorf("echo: %v", rec)
	}
	if rec := v.Records[8]; !strings.HasSuffix(rec["_output_url"].(string), ".webp") || !strings.HasSuffix(rec["_output_url_mask"].(string), ".webp") ||
		strings.Contains(got.body, "old.example") {
		t.Errorf("webp: %v", rec)
	}
	for i, content := range []string{"by URL", "in base64!", "in base64!"} {
		if file := b.get(strings.TrimPrefix(v.Records[i]["_output_url"].(string), b.url)); file.body != "cutout of "+content {
			t.Errorf("file %d: %q", i, file.body)
		}
	}
	if v.Status["code"] != 200.0 {
		t.Errorf("status %v", v.Status)
	}
}

// Options at the top count for records that do not say otherwise.
func TestXimilarTopLevel(t *testing.T) {
	t.Parallel()
	b := startJobs(t, nil)
	picture := `"_base64":"` + base64.StdEncoding.EncodeToString([]byte("x")) + `"`
	v := b.removebg("precise", `{"white_background":true,"image_format":"jpg","image_quality":60,"records":[{`+picture+`},{`+picture+`,"white_background":false,"image_format":"png"}]}`).batch(t)
	first, second := v.Records[0], v.Records[1]
	if first["_output_url_whitebg"] == nil || second["_output_url_whitebg"] != nil ||
		!strings.HasSuffix(first["_output_url"].(string), ".jpg") || !strings.HasSuffix(second["_output_url"].(string), ".png") {
		t.Errorf("%v", v.Records)
	}
	if o := b.processor.last(t).options; o.JPEG != 60 || o.Quality != pipeline.Precise {
		t.Errorf("%+v", o)
	}
}

func TestXimilarRefusals(t *testing.T) {
	t.Parallel()
	b := startJobs(t, nil)
	for name, tc := range map[string]struct{ body, want string }{
		"nothing":       {``, "The body must be a JSON object."},
		"no JSON":       {`{`, "The body must be a JSON object."},
		"a list":        {`[]`, "The body must be a JSON object."},
		"null":          {`null`, "The body must be a JSON object."},
		"no records":    {`{}`, "The field records must be a list of at least one record."},
		"no list":       {`{"records":{}}`, "The field records must be a list of at least one record."},
		"none":          {`{"records":[]}`, "The field records must be a list of at least one record."},
		"eleven":        {`{"records":[{}` + strings.Repeat(`,{}`, 10) + `]}`, "Too many records: 11, at most 10 are taken."},
		"bad format":    {`{"records":[{}],"image_format":"gif"}`, "The field image_format must be png, jpg or webp."},
		"bad quality":   {`{"records":[{}],"image_quality":101}`, "The field image_quality must be a number from 1 to 100."},
		"bad quality 2": {`{"records":[{}],"image_quality":[1]}`, "The field image_quality must be a number from 1 to 100."},
		"bad mask":      {`{"records":[{}],"binary_mask":"maybe"}`, "The field binary_mask must be true or false."},
	} {
		got := b.removebg("fast", tc.body)
		var v struct {
			Status map[string]any
		}
		if err := json.Unmarshal([]byte(got.body), &v); err != nil || got.status != 400 || v.Status["code"] != 400.0 ||
			v.Status["text"] != "aborted by error" || v.Status["error_description"] != tc.want {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	for _, rec := range []string{`null`, `17`, `"x"`, `[]`} {
		v := b.removebg("fast", `{"records":[`+rec+`]}`).batch(t)
		if status := v.Records[0]["_status"].(map[string]any); status["code"] != 400.0 || status["text"] != "A record must be an object." {
			t.Errorf("%s: %v", rec, v)
		}
	}
}

func TestXimilarAccount(t *testing.T) {
	t.Parallel()
	b := startJobs(t, nil)
	for _, slash := range []string{"", "/"} {
		var v map[string]any
		for _, path := range []string{"/account/v2/details", "/account/v2/user"} {
			got := b.get(path + slash)
			if err := json.Unmarshal([]byte(got.body), &v); err != nil || v["id"] == "" || v["email"] == "" || v["credits_limit"].(float64) <= v["credits_counter"].(float64) {
				t.Errorf("%d %s", got.status, got.body)
			}
		}
		got := b.ask(b.client, "POST", "/authorization/v2/authorize"+slash, "application/json", []byte(`{"service":"removebg"}`))
		if err := json.Unmarshal([]byte(got.body), &v); err != nil || v["user_id"] == nil {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
}

// Links lead to where the client found the server.
func TestLinksBehindProxies(t *testing.T) {
	t.Parallel()
	body := `{"records":[{"_base64":"` + base64.StdEncoding.EncodeToString([]byte("x")) + `"}]}`
	b := startJobs(t, nil)
	link := func(b *jobBundle, header ...string) string {
		got := b.removebg("fast", body, header...).batch(t).Records[0]["_output_url"].(string)
		root, _, ok := strings.Cut(got, "/v1/files/")
		if !ok {
			t.Fatalf("%q", got)
		}
		return root
	}
	for _, tc := range []struct {
		want   string
		header []string
	}{
		{b.url, nil},
		{"https://api.example.com", []string{"X-Forwarded-Proto", "https", "X-Forwarded-Host", "api.example.com"}},
		{"https://api.example.com:8443/cutout", []string{"X-Forwarded-Proto", "https,http", "X-Forwarded-Host", "api.example.com:8443, inner", "X-Forwarded-Prefix", "/cutout/"}},
		{"https://[2001:db8::1]:99", []string{"X-Forwarded-Proto", "HTTPS", "X-Forwarded-Host", "[2001:db8::1]:99"}},
		{"https://a.example:444", []string{"X-Forwarded-Proto", "https", "X-Forwarded-Host", "a.example", "X-Forwarded-Port", "444"}},
		{"https://a.example", []string{"X-Forwarded-Proto", "https", "X-Forwarded-Host", "a.example", "X-Forwarded-Port", "443"}},
		{b.url, []string{"X-Forwarded-Proto", "javascript", "X-Forwarded-Host", "a.example/x?y", "X-Forwarded-Prefix", "/../x"}},
		{b.url, []string{"X-Forwarded-Host", `"><script>`, "X-Forwarded-Prefix", "//evil.example"}},
	} {
		if got := link(b, tc.header...); got != tc.want {
			t.Errorf("%v: %q, want %q", tc.header, got, tc.want)
		}
	}
	fixed := startJobs(t, func(c *handlers.Config, _ *jobs.Config) { c.PublicURL = "https://cutout.example.com/api/" })
	if got := link(fixed, "X-Forwarded-Host", "other.example"); got != "https://cutout.example.com/api" {
		t.Errorf("%q", got)
	}
}

// Uploads go to the store as they arrive: what a request holds is not held in memory.
func TestUploadsAreStreamed(t *testing.T) {
	t.Parallel()
	b := startJobs(t, func(c *handlers.Config, _ *jobs.Config) {
		c.BackgroundRemoverAI.Pictures = config.Pictures{MaxFile: 1 << 30, MaxRequest: 1 << 30}
	})
	body, w := io.Pipe()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+"/v1/convert/", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "multipart/form-data; boundary=X")
	done := make(chan reply, 1)
	go func() {
		res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
		if err != nil {
			t.Error(err)
			close(done)
			return
		}
		done <- read(t, res)
	}()
	write := func(text string) {
		if _, err := io.WriteString(w, text); err != nil {
			t.Error(err)
		}
	}
	write("--X\r\nContent-Disposition: form-data; name=\"files\"; filename=\"big.jpg\"\r\n\r\n")
	write(strings.Repeat("x", 5<<20))
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if st, err := b.jobs.Stats(t.Context()); err != nil || st.Bytes >= 4<<20 { // two whole parts, and the request goes on
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing arrives in the store")
		}
	}
	write("\r\n--X\r\nContent-Disposition: form-data; name=\"convert_to\"\r\n\r\nimage-backgroundremover\r\n--X--\r\n")
	_ = w.Close()
	b.finish(b.accepted(<-done))
	if got := len(b.processor.last(t).image); got != 5<<20 {
		t.Errorf("%d bytes", got)
	}
}

// A result by URL: the reply byte for byte, the picture behind the link, and its end.
func TestAPI4AIByURL(t *testing.T) {
	t.Parallel()
	b := startJobs(t, nil)
	const picture = "the photo"
	for _, tc := range []struct{ query, mode, name string }{
		{"?representation=url", "fg-image", "shoe-fg-image.png"},
		{"?representation=url&mode=fg-mask", "fg-mask", "shoe-fg-mask.png"},
	} {
		got := b.post("/v1/results"+tc.query, file("image", "../shoe.jpg", picture))
		m := regexp.MustCompile(`"image":"(` + regexp.QuoteMeta(b.url) + `(/v1/files/[a-z2-7]{26}/([^"/]*)))"`).FindStringSubmatch(got.body)
		if got.status != 200 || m == nil || m[3] != tc.name {
			t.Fatalf("%s: %d %s", tc.query, got.status, got.body)
		}
		want := `{"results":[{"status":{"code":"ok","message":"Success"},"name":"../shoe.jpg","md5":"` + md5Of(picture) + `","width":8,"height":6,"entities":[` +
			`{"kind":"image","name":"general-` + tc.mode + `","image":"` + m[1] + `","format":"PNG","representation":"url"},` +
			`{"kind":"objects","name":"objects","objects":[{"box":[0.138,0.37,0.6613333333333333,0.456],"entities":[{"kind":"classes","name":"classes","classes":{"opaque-content":1}}]}]}]}]}`
		if got.body != want {
			t.Errorf("got  %s\nwant %s", got.body, want)
		}
		head := b.send(b.client, "HEAD", m[2], "", "")
		if file := b.get(m[2]); file.status != 200 || file.body != "cutout of "+picture || file.header.Get("Content-Type") != "image/png" ||
			head.status != 200 || head.body != "" || head.header.Get("Content-Length") != fmt.Sprint(len(file.body)) || head.header.Get("ETag") != file.header.Get("ETag") {
			t.Errorf("%s: %d %q %v, HEAD %d %v", tc.query, file.status, file.body, file.header, head.status, head.header)
		}
		b.now.Add(int64(24*time.Hour + time.Second))
		if got := b.get(m[2]); got.status != 404 {
			t.Errorf("after its time: %d", got.status)
		}
		if got := b.send(b.client, "HEAD", m[2], "", ""); got.status != 404 || got.body != "" {
			t.Errorf("HEAD after its time: %d %q", got.status, got.body)
		}
	}
	// In the body, as other parameters may be; a picture that fails is told as ever.
	got := b.post("/img-bg-removal/v1/general/results", file("image", "a.jpg", picture), text("representation", "url"))
	if !strings.Contains(got.body, `"representation":"url"`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := b.post("/v1/results?representation=url", file("image", "a.jpg", "broken")).outcome(t); got.code != "failure" {
		t.Errorf("%+v", got)
	}
}

// Where there is no place for a result, its URL cannot be given; base64 still is.
func TestAPI4AIByURLWithoutAStore(t *testing.T) {
	t.Parallel()
	picture := file("image", "a.jpg", photo)
	for name, change := range map[string]func(*handlers.Config){"unavailable": nil, "none": func(c *handlers.Config) { c.Jobs = nil }} {
		b := start(t, change)
		got := b.post("/v1/results?representation=url", picture)
		if got.status != 503 || got.body != `{"message":"The job store is not available."}` || got.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
		if n := b.processor.count(); n != 0 {
			t.Errorf("%s: %d pictures were processed", name, n)
		}
		if got := b.post("/v1/results", picture).outcome(t); got.code != "ok" {
			t.Errorf("%s: base64: %+v", name, got)
		}
	}
	full := startJobs(t, func(_ *handlers.Config, c *jobs.Config) { c.MaxStore = 1 })
	if got := full.post("/v1/results?representation=url", picture); got.status != 507 ||
		got.body != `{"message":"There is no storage left for files, try again later."}` {
		t.Errorf("full: %d %s", got.status, got.body)
	}
}
