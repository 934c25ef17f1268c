//go:build unix

package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serving is a server in this process.
type serving struct {
	addr   string
	log    *lockedBuffer
	exited chan int
}

func startServing(t *testing.T, args ...string) *serving {
	t.Helper()
	s := &serving{log: &lockedBuffer{}, exited: make(chan int, 1)}
	go func() {
		s.exited <- Main(Program{
			Version: "v1.2.3", OpenAPI: []byte("openapi: 3.0.3"), Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: s.log,
			Args: append([]string{"--addr", "127.0.0.1:0", "--fetch-only-allowed", "--quality", "fast"}, args...),
		})
	}()
	ready := regexp.MustCompile(`"msg":"ready","addr":"([^"]+)"`)
	for deadline := time.Now().Add(time.Minute); s.addr == ""; time.Sleep(5 * time.Millisecond) {
		if m := ready.FindStringSubmatch(s.log.String()); m != nil {
			s.addr = m[1]
		}
		if time.Now().After(deadline) {
			t.Fatalf("does not come up: %s", s.log.String())
		}
	}
	return s
}

// stop sends SIGTERM and waits for a clean end.
func (s *serving) stop(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case code := <-s.exited:
		if code != exitOK {
			t.Errorf("exit %d: %s", code, s.log.String())
		}
	case <-time.After(2 * time.Minute):
		t.Fatalf("does not stop: %s", s.log.String())
	}
	http.DefaultClient.CloseIdleConnections()
}

// ask posts and reads JSON.
func (s *serving) ask(t *testing.T, path, contentType string, body io.Reader, answer any) {
	t.Helper()
	res, err := http.Post("http://"+s.addr+path, contentType, body)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || json.Unmarshal(data, answer) != nil {
		t.Fatalf("%s: %d %s, %v", path, res.StatusCode, data, err)
	}
}

type jobState struct {
	Files          []struct{ URL, Filename string }
	Failed, Errors []string
	Finished       bool
	QueueCount     int `json:"queue_count"`
}

func (s *serving) poll(t *testing.T, uuid string) (st jobState) {
	t.Helper()
	s.ask(t, "/v1/results/", "application/x-www-form-urlencoded", strings.NewReader(url.Values{"uuid": {uuid}}.Encode()), &st)
	return st
}

// A server that is told to stop lets a job end that runs, or gives it back where there is no time for that; the next one on
// its directory goes on. Not parallel: the signal reaches the whole process.
func TestServeDrainsJobs(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the network on many pictures")
	}
	const pictures = 4
	for name, timeout := range map[string]string{"with time": "1m", "without": "1ms"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := startServing(t, "--data-dir", dir, "--job-workers", "1", "--shutdown-timeout", timeout)
			var body bytes.Buffer
			form := multipart.NewWriter(&body)
			if err := form.WriteField("convert_to", "image-backgroundremover"); err != nil {
				t.Fatal(err)
			}
			picture := pictureBytes(t)
			for i := range pictures {
				w, err := form.CreateFormFile("files", fmt.Sprintf("%d.png", i))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.WriteString(w, picture); err != nil {
					t.Fatal(err)
				}
			}
			if err := form.Close(); err != nil {
				t.Fatal(err)
			}
			var accepted [2]struct{ UUID string }
			for i := range accepted {
				s.ask(t, "/v1/convert/", form.FormDataContentType(), bytes.NewReader(body.Bytes()), &accepted[i])
			}
			for deadline := time.Now().Add(time.Minute); len(s.poll(t, accepted[0].UUID).Files) == 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("no picture is done")
				}
			}
			s.stop(t)
			before := strings.Count(s.log.String(), "given back")

			s = startServing(t, "--data-dir", dir)
			defer s.stop(t)
			for _, a := range accepted {
				var st jobState
				for deadline := time.Now().Add(time.Minute); !st.Finished; time.Sleep(5 * time.Millisecond) {
					if st = s.poll(t, a.UUID); time.Now().After(deadline) {
						t.Fatalf("%+v", st)
					}
				}
				seen := map[string]bool{}
				for i, f := range st.Files {
					seen[f.URL] = true
					if want := fmt.Sprintf("%d_processed.png", i); f.Filename != want {
						t.Errorf("file %d is %s, want %s", i, f.Filename, want)
					}
					res, err := http.Get("http://" + s.addr + f.URL)
					if err != nil {
						t.Fatal(err)
					}
					if data, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK || !bytes.HasPrefix(data, []byte("\x89PNG")) {
						t.Errorf("file %d: %d, %d bytes, %v", i, res.StatusCode, len(data), err)
					}
					_ = res.Body.Close()
				}
				if len(seen) != pictures || len(st.Failed)+len(st.Errors) != 0 {
					t.Errorf("%d files, %+v", len(seen), st)
				}
			}
			t.Logf("jobs given back: %d", before)
		})
	}
}
