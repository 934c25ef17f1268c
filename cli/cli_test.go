package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"cutout/config"
	"cutout/fetch"
)

// output is what a run of the program left.
type output struct {
	code           int
	stdout, stderr string
}

func run(t *testing.T, stdin string, args ...string) output {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := Main(Program{
		Version: "v1.2.3", OpenAPI: []byte("openapi: 3.0.3"), Args: args,
		Stdin: strings.NewReader(stdin), Stdout: &stdout, Stderr: &stderr,
	})
	return output{code, stdout.String(), stderr.String()}
}

// Every flag can be set by an environment variable, and no two flags share one by accident.
func TestEveryFlagHasItsEnvironmentVariable(t *testing.T) {
	t.Parallel()
	parser, err := newParser(Program{Stdout: io.Discard, Stderr: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	good := regexp.MustCompile(`^CUTOUT_[A-Z0-9]+(_[A-Z0-9]+)*$`)
	owner := map[string]string{}
	var walk func(*kong.Node)
	walk = func(node *kong.Node) {
		for _, flag := range node.Flags {
			if flag.Name == "help" {
				continue
			}
			if len(flag.Envs) != 1 || !good.MatchString(flag.Envs[0]) {
				t.Errorf("%s --%s: environment %v", node.Path(), flag.Name, flag.Envs)
				continue
			}
			if flag.Help == "" {
				t.Errorf("%s --%s: has no help", node.Path(), flag.Name)
			}
			if other, ok := owner[flag.Envs[0]]; ok && other != flag.Name {
				t.Errorf("%s sets both --%s and --%s", flag.Envs[0], other, flag.Name)
			}
			owner[flag.Envs[0]] = flag.Name
		}
		for _, child := range node.Children {
			walk(child)
		}
	}
	walk(parser.Model.Node)
	for _, name := range []string{
		"CUTOUT_ADDR", "CUTOUT_LOG_FORMAT", "CUTOUT_LOG_LEVEL", "CUTOUT_SHUTDOWN_TIMEOUT", "CUTOUT_FETCH_ALLOW",
		"CUTOUT_FETCH_ONLY_ALLOWED", "CUTOUT_API4AI_MAX_WIDTH", "CUTOUT_API4AI_MAX_REQUEST", "CUTOUT_CPU", "CUTOUT_THREADS",
		"CUTOUT_MODEL", "CUTOUT_PRECISION", "CUTOUT_QUALITY", "CUTOUT_REMOVE_OUTPUT", "CUTOUT_REMOVE_MODE",
	} {
		if owner[name] == "" {
			t.Errorf("%s sets nothing", name)
		}
	}
}

func TestEnvironmentAndFlags(t *testing.T) {
	t.Setenv("CUTOUT_ADDR", "127.0.0.1:1")
	t.Setenv("CUTOUT_FETCH_ALLOW", "10.0.0.0/8,127.0.0.0/8")
	t.Setenv("CUTOUT_API4AI_MAX_FILE", "3MB")
	t.Setenv("CUTOUT_LOG_LEVEL", "debug")
	var c commands
	parser, err := kong.New(&c, kong.PostBuild(func(k *kong.Kong) error {
		nameEnvironment(k.Model.Node, "CUTOUT_")
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"--log-level", "warn", "--fetch-only-allowed"}); err != nil {
		t.Fatal(err)
	}
	if r := c.Serve.RemoveBG; r.MaxPixels != 50e6 || r.MaxFile != 22<<20 || r.MaxRequest != 48<<20 || r.Size != "preview" {
		t.Errorf("remove.bg's defaults: %+v", r)
	}
	for name, tc := range map[string]struct {
		got        config.Pictures
		pixels     int64
		file, body config.Bytes
	}{
		"apisphere": {c.Serve.APISphere, 50e6, 10 << 20, 16 << 20}, "rembg": {c.Serve.Rembg, 50e6, 50 << 20, 64 << 20},
		"photoroom": {c.Serve.PhotoRoom, 36e6, 30 << 20, 32 << 20},
	} {
		if tc.got != (config.Pictures{MaxPixels: tc.pixels, MaxFile: tc.file, MaxRequest: tc.body}) {
			t.Errorf("%s's defaults: %+v", name, tc.got)
		}
	}
	s := c.Serve
	if s.Addr != "127.0.0.1:1" || len(s.Fetch.Allow) != 2 || s.API4AI.MaxFile != 3<<20 || !s.Fetch.OnlyAllowed {
		t.Errorf("got %+v", s)
	}
	if s.Level != "warn" {
		t.Error("the flag does not come before the environment")
	}
	if s.API4AI.MaxWidth != 4096 || s.API4AI.MaxHeight != 4096 || s.API4AI.MaxRequest != 32<<20 || s.BodyTimeout != time.Minute {
		t.Errorf("defaults: %+v", s)
	}
	if err := s.validate(); err != nil {
		t.Errorf("refused: %v", err)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	photo := writePicture(t, dir, "a.png")
	for name, tc := range map[string]struct {
		args []string
		code int
		want string // in what is printed
	}{
		"help":                  {[]string{"--help"}, exitOK, "weights verify"},
		"help of a command":     {[]string{"remove", "--help"}, exitOK, "CUTOUT_REMOVE_MODE"},
		"version":               {[]string{"version"}, exitOK, "cutout v1.2.3 go1."},
		"unknown command":       {[]string{"frobnicate"}, exitUsage, "frobnicate"},
		"unknown flag":          {[]string{"serve", "--frobnicate"}, exitUsage, "--frobnicate"},
		"bad address":           {[]string{"--addr", "nonsense"}, exitUsage, "want host:port"},
		"bad prefix":            {[]string{"--fetch-allow", "10.0.0.1"}, exitUsage, "--fetch-allow"},
		"bad size":              {[]string{"--api4ai-max-file", "big"}, exitUsage, "is no size"},
		"bad precision":         {[]string{"--precision", "int3"}, exitUsage, "--precision"},
		"nothing to remove":     {[]string{"remove"}, exitUsage, "<file>"},
		"unknown mode":          {[]string{"remove", photo, "--mode", "x"}, exitUsage, "--mode"},
		"missing background":    {[]string{"remove", photo, "-b", filepath.Join(dir, "none.png")}, exitUsage, "none.png"},
		"two backgrounds":       {[]string{"remove", photo, "-b", photo, "--color", "#fff"}, exitUsage, "only one"},
		"bad colour":            {[]string{"remove", photo, "--color", "#12"}, exitUsage, "is no colour"},
		"two into one file":     {[]string{"remove", photo, photo, "-o", filepath.Join(dir, "x.png")}, exitUsage, "must be a folder"},
		"onto itself":           {[]string{"remove", photo, "-o", photo}, exitUsage, "would be overwritten"},
		"json into the picture": {[]string{"remove", photo, "-o", "-", "--json"}, exitUsage, "standard output is taken"},
		"weights":               {[]string{"weights", "list"}, exitOK, "u2netp               built in "},
		"weights verify":        {[]string{"weights", "verify", "u2netp"}, exitOK, "u2netp: ok"},
		"weights of no network": {[]string{"weights", "verify", "nonet"}, exitUsage, `no network "nonet"`},
		"unknown network":       {[]string{"remove", photo, "--model", "nonet"}, exitFailure, `no network "nonet"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := run(t, "", tc.args...)
			if got.code != tc.code || !strings.Contains(got.stdout+got.stderr, tc.want) {
				t.Errorf("exit %d, want %d with %q\n%s%s", got.code, tc.code, tc.want, got.stdout, got.stderr)
			}
		})
	}
}

func TestParseColor(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]color.NRGBA{
		"#fff": {255, 255, 255, 255}, "102030": {16, 32, 48, 255}, "#10203040": {16, 32, 48, 64}, "#fff8": {255, 255, 255, 136}, "red": {255, 0, 0, 255},
	} {
		if got, err := parseColor(in); err != nil || got != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "#", "#ff", "#fffff", "#gggggg", "+12345", "#123456789"} {
		if got, err := parseColor(in); err == nil {
			t.Errorf("%q: taken as %v", in, got)
		}
	}
}

// picture is an orange disc on grey: a subject that every network finds.
func picture() *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, 120, 100))
	for y := range 100 {
		for x := range 120 {
			c := color.NRGBA{R: 190, G: 195, B: 200, A: 255}
			if (x-60)*(x-60)+(y-50)*(y-50) < 30*30 {
				c = color.NRGBA{R: 230, G: 110, B: 20, A: 255}
			}
			img.SetNRGBA(x, y, c)
		}
	}
	return img
}

func pictureBytes(t *testing.T) string {
	t.Helper()
	var buf bytes.Buffer
	if err := png.Encode(&buf, picture()); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

func writePicture(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(pictureBytes(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func readPicture(t *testing.T, path string) image.Image {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	img, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestRemove(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	photo := writePicture(t, dir, "a.png")
	result := filepath.Join(dir, "result.png")
	if got := run(t, "", "remove", photo, "-o", result, "--json"); got.code != exitOK {
		t.Fatalf("exit %d: %s", got.code, got.stderr)
	} else {
		var line report
		if err := json.Unmarshal([]byte(got.stdout), &line); err != nil {
			t.Fatalf("%v in %s", err, got.stdout)
		}
		if line.Width != 120 || line.Height != 100 || line.Box == nil || line.StagesMS["infer"] <= 0 || line.Output != result {
			t.Errorf("reported %s", got.stdout)
		}
	}
	cut := readPicture(t, result)
	straight, ok := cut.(*image.NRGBA)
	if !ok {
		t.Fatalf("the result is a %T", cut)
	}
	if c := straight.NRGBAAt(2, 2); c.A != 0 {
		t.Errorf("the corner is %v", c)
	}
	if c := straight.NRGBAAt(60, 50); c.A < 250 || c.R != 230 || c.G != 110 || c.B != 20 {
		t.Errorf("the middle is %v", c)
	}

	if got := run(t, pictureBytes(t), "remove", "-", "-o", "-", "--mode", "fg-mask"); got.code != exitOK {
		t.Errorf("exit %d: %s", got.code, got.stderr)
	} else if mask, err := png.Decode(strings.NewReader(got.stdout)); err != nil {
		t.Error(err)
	} else if _, ok := mask.(*image.Gray); !ok || mask.Bounds() != image.Rect(0, 0, 120, 100) {
		t.Errorf("the mask is a %T of %v", mask, mask.Bounds())
	}

	onGreen := filepath.Join(dir, "green.jpg")
	if got := run(t, "", "remove", photo, "-o", onGreen, "--color", "#00ff00"); got.code != exitOK {
		t.Errorf("exit %d: %s", got.code, got.stderr)
	} else if r, g, b, _ := readPicture(t, onGreen).At(2, 2).RGBA(); r>>8 > 30 || g>>8 < 225 || b>>8 > 30 {
		t.Errorf("below the subject lies %d %d %d", r>>8, g>>8, b>>8)
	}
}

func TestRemoveSeveral(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, second := writePicture(t, dir, "a.png"), writePicture(t, dir, "b.x.png")
	text := filepath.Join(dir, "c.png")
	if err := os.WriteFile(text, []byte("no picture"), 0o600); err != nil {
		t.Fatal(err)
	}
	results := filepath.Join(dir, "results") + "/"
	got := run(t, "", "remove", first, text, second, filepath.Join(dir, "gone.png"), "-o", results)
	if got.code != exitFailure {
		t.Errorf("exit %d", got.code)
	}
	for _, want := range []string{"c.png: ", "gone.png: ", "2 of 4 pictures"} {
		if !strings.Contains(got.stderr, want) {
			t.Errorf("%q is not in %s", want, got.stderr)
		}
	}
	entries, err := os.ReadDir(results)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if fmt.Sprint(names) != "[a-cutout.png b.x-cutout.png]" {
		t.Errorf("the results are %v", names)
	}

	if got := run(t, "", "remove", first, "--background", text); got.code != exitUsage || !strings.Contains(got.stderr, "background") {
		t.Errorf("a broken background: exit %d, %s", got.code, got.stderr)
	}
}

func TestClosedFetcher(t *testing.T) {
	t.Parallel()
	var c ServeCmd
	c.Fetch.OnlyAllowed = true
	f, err := newFetcher(c.Fetch)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Get(context.Background(), "http://127.0.0.1/", 1)
	if e, ok := err.(*fetch.Error); !ok || e.Kind != fetch.Address {
		t.Errorf("got %v", err)
	}
}

// lockedBuffer is a log that the server writes and the test reads.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// The whole program: it comes up, answers, and stops on a signal. Not parallel: the signal reaches the whole process.
func TestServeUntilASignal(t *testing.T) {
	var log lockedBuffer
	exited := make(chan int, 1)
	go func() {
		exited <- Main(Program{
			Version: "v1.2.3", OpenAPI: []byte("openapi: 3.0.3"), Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: &log,
			Args: []string{"--addr", "127.0.0.1:0", "--data-dir", t.TempDir(), "--fetch-only-allowed"},
		})
	}()
	addr := ""
	listening := regexp.MustCompile(`"msg":"ready","addr":"([^"]+)"`)
	for deadline := time.Now().Add(20 * time.Second); addr == ""; time.Sleep(5 * time.Millisecond) {
		if m := listening.FindStringSubmatch(log.String()); m != nil {
			addr = m[1]
		}
		if time.Now().After(deadline) {
			t.Fatalf("does not come up: %s", log.String())
		}
	}
	for path, want := range map[string]string{
		"/readyz": `^{"status":"ready","checks":{"jobs":"ok","model":"ok","video":"[^"]+"}}$`, "/v1/version": `^v1\.2\.3$`,
	} {
		res, err := http.Get("http://" + addr + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil || !regexp.MustCompile(want).Match(body) {
			t.Errorf("%s: %s, %v", path, body, err)
		}
		_ = res.Body.Close()
	}
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := self.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case code := <-exited:
		if code != exitOK {
			t.Errorf("exit %d: %s", code, log.String())
		}
	case <-time.After(10 * time.Second):
		t.Fatal("does not stop")
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestServeReportsAPortThatIsTaken(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if got := run(t, "", "--addr", l.Addr().String()); got.code != exitFailure || !strings.Contains(got.stderr, "listen on") {
		t.Errorf("exit %d: %s", got.code, got.stderr)
	}
}

// Without its network a server is of no use: it must not stay up half alive.
func TestServeEndsWithoutItsNetwork(t *testing.T) {
	t.Parallel()
	got := run(t, "", "--addr", "127.0.0.1:0", "--data-dir", t.TempDir(), "--model", "nonet")
	if got.code != exitFailure || !strings.Contains(got.stderr, `no network "nonet"`) {
		t.Errorf("exit %d: %s", got.code, got.stderr)
	}
}
