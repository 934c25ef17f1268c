//go:build !noasm

// The pages do not depend on the kernels, and photo after photo without them takes minutes.

package web_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"image"
	_ "image/jpeg" // results of one format
	_ "image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"cutout/cli"
)

// patience bounds everything that is waited for. It is for machines that do other things as well.
const patience = 3 * time.Minute

// asServer makes this very binary the program, so that nothing has to be built for it.
const asServer = "CUTOUT_TEST_SERVE"

func TestMain(m *testing.M) {
	if os.Getenv(asServer) == "" {
		os.Exit(m.Run())
	}
	document, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		panic(err) // the tests run in their own directory
	}
	os.Exit(cli.Main(cli.Program{
		Version: "v1.2.3", OpenAPI: document, Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	}))
}

// serve runs the program and returns its address, with a slash at the end.
func serve(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{"serve", "--addr", "127.0.0.1:0", "--data-dir", t.TempDir(), "--fetch-only-allowed"}, args...)...)
	cmd.Env = append(os.Environ(), asServer+"=1")
	said := &lines{}
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait() // its exit code is that of an interruption
	})
	ready := regexp.MustCompile(`"msg":"ready","addr":"([^"]+)"`)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if m := ready.FindStringSubmatch(said.String()); m != nil {
			return "http://" + m[1] + "/"
		}
	}
	t.Fatalf("the server does not get ready:\n%s", said)
	return ""
}

// lines collects what several goroutines say.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// tab is a page in a browser of its own.
type tab struct {
	*testing.T
	ctx  context.Context
	base string

	mu       sync.Mutex
	asked    []string // URLs of requests
	errors   []string // on the console
	received float64  // bytes, as they came over the line
}

// open starts a browser on the server's pages. It skips the test where there is none.
func open(t *testing.T, base string) *tab {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if found, err := exec.LookPath(name); err == nil {
			program = found
			break
		}
	}
	if program == "" {
		t.Skip("there is no Chromium to drive the pages with; web/testdata/chromium.sh installs one")
	}
	profile, err := os.MkdirTemp("", "cutout-browser")
	if err != nil {
		t.Fatal(err)
	}
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(program), chromedp.UserDataDir(profile), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.NoDefaultBrowserCheck, chromedp.WSURLReadTimeout(patience),
	}
	for _, flag := range []string{
		"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync", "disable-default-apps",
		"disable-extensions", "disable-domain-reliability", "disable-dev-shm-usage", "no-pings",
	} {
		options = append(options, chromedp.Flag(flag, true))
	}
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, leave := chromedp.NewContext(ctx, chromedp.WithErrorf(func(string, ...any) {}))
	ctx, cancel := context.WithTimeout(ctx, 3*patience)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx)
		cancel()
		leave()
		stop()
		_ = os.RemoveAll(profile) // the browser may still be writing; the directory is a temporary one
	})
	b := &tab{T: t, ctx: ctx, base: base}
	chromedp.ListenTarget(ctx, b.listen)
	b.run(network.Enable(), log.Enable(), runtime.Enable())
	return b
}

func (b *tab) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.asked = append(b.asked, e.Request.URL)
	case *network.EventLoadingFinished:
		b.received += e.EncodedDataLength
	case *log.EventEntryAdded:
		if e.Entry.Level == log.LevelError || e.Entry.Level == log.LevelWarning {
			b.errors = append(b.errors, e.Entry.Text+" "+e.Entry.URL)
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.APITypeError || e.Type == runtime.APITypeWarning {
			b.errors = append(b.errors, fmt.Sprintf("console.%s: %s", e.Type, e.Args[0].Value))
		}
	case *runtime.EventExceptionThrown:
		b.errors = append(b.errors, e.ExceptionDetails.Error())
	}
}

// quiet fails the test where the console complained or another host was asked.
func (b *tab) quiet() {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.errors {
		b.Errorf("the console says: %s", e)
	}
	for _, url := range b.asked {
		if !strings.HasPrefix(url, b.base) && !strings.HasPrefix(url, "blob:"+b.base) && !strings.HasPrefix(url, "data:") {
			b.Errorf("a request leaves the server: %s", url)
		}
	}
	if len(b.asked) == 0 {
		b.Error("no request was seen")
	}
}

func (b *tab) run(actions ...chromedp.Action) {
	b.Helper()
	if err := chromedp.Run(b.ctx, actions...); err != nil {
		b.Fatal(err)
	}
}

// eval evaluates JavaScript; a promise is waited for.
func (b *tab) eval(script string, into any) {
	b.Helper()
	b.run(chromedp.Evaluate(script, into, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
}

// until waits for a condition in JavaScript.
func (b *tab) until(condition string) {
	b.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(30 * time.Millisecond) {
		var holds bool
		b.eval("Boolean("+condition+")", &holds)
		if holds {
			return
		}
	}
	b.Fatalf("it does not come true: %s\ncards: %s", condition, b.text("#cards"))
}

func (b *tab) text(selector string) string {
	b.Helper()
	var text string
	b.eval(fmt.Sprintf("document.querySelector(%q)?.textContent ?? ''", selector), &text)
	return text
}

// click presses a control as scripts do, wherever it is on the page.
func (b *tab) click(selector string) {
	b.Helper()
	var found bool
	b.eval(fmt.Sprintf("(() => { const e = document.querySelector(%q); e?.click(); return Boolean(e); })()", selector), &found)
	if !found {
		b.Fatalf("there is no %s", selector)
	}
}

func (b *tab) visit(path string) {
	b.Helper()
	b.run(chromedp.Navigate(b.base + path))
}

func (b *tab) size(width, height int64) {
	b.Helper()
	b.run(chromedp.EmulateViewport(width, height))
}

func (b *tab) dark(on bool) {
	b.Helper()
	b.run(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: map[bool]string{true: "dark", false: "light"}[on]},
		{Name: "prefers-reduced-motion", Value: "reduce"}, // colours are what they are at once
	}))
}

// upload hands photos to the page and waits until each card has come to an end.
func (b *tab) upload(files ...string) {
	b.Helper()
	b.run(chromedp.SetUploadFiles("#pick", files, chromedp.ByQuery))
	b.settled()
}

// settled waits until the options have been taken up and no card is at work.
func (b *tab) settled() {
	b.Helper()
	var ignored any
	b.eval("new Promise((wake) => setTimeout(wake, 500))", &ignored) // options are taken up once they rest
	b.until(`document.querySelector(".card") && [...document.querySelectorAll(".card")].every((c) =>
		c.dataset.state === "error" || (c.dataset.state === "done" && c.querySelector(".after img").complete))`)
}

// pixel reads a pixel of the first card's result, at fractions of its sides: red, green, blue, alpha.
func (b *tab) pixel(x, y float64) [4]int {
	b.Helper()
	var got [4]int
	b.eval(fmt.Sprintf(`(async () => {
		const img = document.querySelector(".card .after img");
		await img.decode();
		const c = new OffscreenCanvas(img.naturalWidth, img.naturalHeight).getContext("2d");
		c.drawImage(img, 0, 0);
		return [...c.getImageData(Math.floor(img.naturalWidth * %g), Math.floor(img.naturalHeight * %g), 1, 1).data];
	})()`, x, y), &got)
	return got
}

func near(a, b [4]int, tolerance int) bool {
	for i := range a {
		if a[i]-b[i] > tolerance || b[i]-a[i] > tolerance {
			return false
		}
	}
	return true
}

// photo is a small one, far from every limit: a person in the middle.
func photo(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../testdata/photos/astronaut-crop.png")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func broken(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "broken.jpg")
	if err := os.WriteFile(path, []byte("no picture at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("drives a browser")
	}
	base := serve(t)
	b := open(t, base)
	sub := func(name string, f func(b *tab)) {
		t.Helper()
		if t.Failed() {
			return // what follows needs what went before
		}
		t.Run(name, func(t *testing.T) {
			outer := b.T
			defer func() { b.T = outer }()
			b.T = t
			f(b)
		})
	}
	sub("weight", weight)
	sub("paint without scripts", paintWithoutScripts)
	sub("order of focus", focusOrder)
	sub("several photos, one of them broken", severalPhotos)
	sub("slider", slider)
	sub("zoom", zoom)
	sub("download", download)
	sub("modes and colours", modesAndColours)
	sub("ways in and out", waysInAndOut)
	sub("clip", clip)
	sub("snippets", snippets)
	sub("names, contrast and room", namesContrastRoom)
	sub("theme", theme)
	sub("reference", reference)
	sub("status", status)
	sub("quiet", (*tab).quiet)
}

func weight(b *tab) {
	b.size(1440, 900)
	b.dark(false)
	b.visit("")
	b.until(`document.querySelector("#version").textContent !== "cutout"`) // the last thing that is loaded
	b.until(`[...document.images].every((i) => i.complete)`)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Logf("%d requests, %.0f bytes", len(b.asked), b.received)
	if b.received > 200_000 || b.received < 50_000 {
		b.Errorf("the page takes %.0f bytes", b.received)
	}
}

// The page is there before and without its scripts.
func paintWithoutScripts(b *tab) {
	plain := open(b.T, b.base)
	plain.run(emulation.SetScriptExecutionDisabled(true), chromedp.EmulateViewport(1440, 900))
	plain.visit("")
	var shot []byte
	plain.run(chromedp.ActionFunc(func(ctx context.Context) (err error) {
		shot, err = page.CaptureScreenshot().Do(ctx)
		return err
	}))
	img, _, err := image.Decode(bytes.NewReader(shot))
	if err != nil {
		b.Fatal(err)
	}
	colors := map[uint32]bool{}
	for y := 0; y < 900; y += 3 {
		for x := 0; x < 1440; x += 3 {
			r, g, bl, _ := img.At(x, y).RGBA()
			colors[r>>12<<8|g>>12<<4|bl>>12] = true
		}
	}
	if len(colors) < 100 { // the demonstration's photo alone has more
		b.Errorf("without scripts the page has %d colours", len(colors))
	}
	plain.quiet()
}

// The tab key leads through the page in the order in which it is read, and where it is can be seen.
func focusOrder(b *tab) {
	b.visit("")
	b.until(`document.querySelector("#snippet").textContent`)
	type stop struct {
		Name    string
		Visible bool
	}
	var got []string
	for range 15 {
		b.run(chromedp.KeyEvent(kb.Tab))
		var s stop
		b.eval(`(() => {
			const e = document.activeElement, style = getComputedStyle(e), box = e.getBoundingClientRect();
			const next = e.nextElementSibling && getComputedStyle(e.nextElementSibling);
			const marked = (s) => s && s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2;
			return { Name: e.getAttribute("aria-label") || e.querySelector("img")?.alt || e.value || e.textContent.trim(),
				Visible: box.width > 0 && box.bottom > 0 && (marked(style) || marked(next)) };
		})()`, &s)
		got = append(got, s.Name)
		if !s.Visible {
			b.Errorf("the focus on %q cannot be seen", s.Name)
		}
	}
	want := []string{
		"Skip to content", "cutout", "Remove", "API", "Status", "Theme: as the system",
		"How much of the photo is shown before its cutout", "Choose photos", "Cup", "Astronaut", "Cat", "Format", "curl", "Copy", "Code",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.Errorf("(-want +got)\n%s", diff)
	}
}

func severalPhotos(b *tab) {
	b.visit("")
	b.until(`document.querySelector("#version").textContent !== "cutout"`)
	b.click(`input[name=quality][value=fast]`)
	b.upload(photo(b.T), broken(b.T), photo(b.T))
	if got := b.text("#summary"); got != "2 of 3 done, 1 failed" {
		b.Errorf("the summary says %q", got)
	}
	var cards []string
	b.eval(`[...document.querySelectorAll(".card")].map((c) => c.dataset.state + " " + c.querySelector(".fault p").textContent)`, &cards)
	if diff := cmp.Diff([]string{"done ", "error This file could not be read. Is it a JPEG, PNG or WebP?", "done "}, cards); diff != "" {
		b.Errorf("(-want +got)\n%s", diff)
	}
	var live string
	b.eval(`document.querySelector("#live").textContent`, &live)
	if live == "" {
		b.Error("nothing is said to screen readers")
	}
	if corner, middle := b.pixel(.02, .02), b.pixel(.5, .8); corner[3] > 10 || middle[3] < 250 {
		b.Errorf("the result is %v in the corner and %v in the middle", corner, middle)
	}
	var same bool
	b.eval(`(() => { const [a, p] = [".after img", ".before img"].map((s) => document.querySelector(".card " + s));
		return a.naturalWidth === p.naturalWidth && a.naturalHeight === p.naturalHeight; })()`, &same)
	if !same {
		b.Error("photo and result are of different sizes")
	}
	// A file that is no picture by its name is refused without asking anybody.
	note := filepath.Join(b.TempDir(), "notes.txt")
	if err := os.WriteFile(note, []byte("a note"), 0o600); err != nil {
		b.Fatal(err)
	}
	b.upload(note)
	if got := b.text(".card:last-child .fault p"); got != "notes.txt is no picture. JPEG, PNG and WebP are taken." {
		b.Errorf("of a text it says %q", got)
	}
	for range 3 { // leaves the first
		b.click(`.card:last-child [data-do=remove]`)
	}
	if got := b.text("#summary"); got != "1 of 1 done" {
		b.Errorf("the summary says %q", got)
	}
}

func slider(b *tab) {
	at := func() (value float64, shown string) {
		b.eval(`Number(document.querySelector(".card .reveal input").value)`, &value)
		b.eval(`getComputedStyle(document.querySelector(".card .before")).clipPath`, &shown)
		return value, shown
	}
	b.run(chromedp.Focus(".card .reveal input", chromedp.ByQuery))
	for range 10 {
		b.run(chromedp.KeyEvent(kb.ArrowLeft))
	}
	if value, shown := at(); value != 40 || !strings.Contains(shown, "60%") {
		b.Errorf("ten steps to the left of 50: %g, %s", value, shown)
	}
	var box struct{ X, Y, Width, Height float64 }
	b.eval(`(() => { const v = document.querySelector(".card .view"); v.scrollIntoView({ block: "center" }); const { x, y, width, height } = v.getBoundingClientRect();
		return { X: x, Y: y, Width: width, Height: height }; })()`, &box)
	point := func(kind input.MouseType, part float64) chromedp.Action {
		return input.DispatchMouseEvent(kind, box.X+box.Width*part, box.Y+box.Height/2).WithButton(input.Left).WithClickCount(1)
	}
	b.run(point(input.MousePressed, .4), point(input.MouseMoved, .6), point(input.MouseMoved, .8), point(input.MouseReleased, .8))
	if value, shown := at(); value != 80 || !strings.Contains(shown, "20%") {
		b.Errorf("drawn to 80: %g, %s", value, shown)
	}
}

func zoom(b *tab) {
	level := func() (z, x float64) {
		b.eval(`Number(document.querySelector(".card .view").style.getPropertyValue("--zoom"))`, &z)
		b.eval(`parseFloat(document.querySelector(".card .view").style.getPropertyValue("--x"))`, &x)
		return z, x
	}
	for range 5 {
		b.click(".card [data-do=in]")
	}
	before, _ := level()
	b.run(chromedp.Focus(".card .view", chromedp.ByQuery), chromedp.KeyEvent("+"), chromedp.KeyEvent(kb.ArrowLeft))
	after, x := level()
	if before < 7 || after <= before || x != 48 {
		b.Errorf("zoom %g, then %g moved by %g", before, after, x)
	}
	if got := b.text(".card [data-do=fit]"); !strings.HasSuffix(got, " %") {
		b.Errorf("the level is shown as %q", got)
	}
	b.click(".card [data-do=fit]")
	if z, x := level(); z != 1 || x != 0 {
		b.Errorf("fitted: zoom %g moved by %g", z, x)
	}
}

func download(b *tab) {
	folder := b.TempDir()
	b.run(browser.SetDownloadBehavior(browser.SetDownloadBehaviorBehaviorAllow).WithDownloadPath(folder).WithEventsEnabled(true))
	b.click(".card [data-do=save]")
	img, format := wait(b.T, filepath.Join(folder, "astronaut-crop-cutout.png"))
	want, _ := wait(b.T, photo(b.T))
	if format != "png" || img.Bounds() != want.Bounds() {
		b.Errorf("downloaded: %s %v, want png %v", format, img.Bounds(), want.Bounds())
	}
	if _, _, _, a := img.At(2, 2).RGBA(); a > 0x1000 {
		b.Errorf("its corner has alpha %d", a>>8)
	}
}

// wait reads a picture that may still be on its way.
func wait(t *testing.T, path string) (image.Image, string) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var data []byte
		if data, err = os.ReadFile(path); err != nil {
			continue
		}
		var img image.Image
		var format string
		if img, format, err = image.Decode(bytes.NewReader(data)); err == nil {
			return img, format
		}
	}
	t.Fatalf("%s: %v", path, err)
	return nil, ""
}

// Photos are dropped, pasted and taken from the samples, and leave as one archive.
func waysInAndOut(b *tab) {
	b.click("#clear")
	if got := b.text(".card"); got != "" {
		b.Errorf("cleared, and there is still %q", got)
	}
	b.click(`input[name=quality][value=fast]`)
	b.eval(`(async () => {
		const bytes = await (await fetch("assets/cat.jpg")).arrayBuffer();
		const carry = (name) => { const d = new DataTransfer(); d.items.add(new File([bytes], name, { type: "image/jpeg" })); return d; };
		for (const kind of ["dragenter", "dragover", "drop"]) {
			document.querySelector("#drop").dispatchEvent(new DragEvent(kind, { dataTransfer: carry("same.jpg"), bubbles: true, cancelable: true }));
		}
		document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: carry("same.jpg"), bubbles: true, cancelable: true }));
	})()`, new(any))
	b.click(`[data-sample="cat.jpg"]`)
	b.until(`document.querySelectorAll(".card").length === 3`)
	b.settled()
	if got := b.text("#summary"); got != "3 of 3 done" {
		b.Errorf("the summary says %q", got)
	}
	folder := b.TempDir()
	b.run(browser.SetDownloadBehavior(browser.SetDownloadBehaviorBehaviorAllow).WithDownloadPath(folder).WithEventsEnabled(true))
	b.click("#save-all")
	var names []string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline) && names == nil; time.Sleep(50 * time.Millisecond) {
		archive, err := zip.OpenReader(filepath.Join(folder, "cutouts.zip"))
		if err != nil {
			continue // not there yet
		}
		for _, f := range archive.File {
			names = append(names, f.Name)
			r, err := f.Open()
			if err != nil {
				b.Fatal(err)
			}
			if img, format, err := image.Decode(r); err != nil || format != "png" || img.Bounds().Empty() {
				b.Errorf("%s: %v", f.Name, err)
			}
			if _, err := io.Copy(io.Discard, r); err != nil { // the checksum is compared at the end
				b.Errorf("%s: %v", f.Name, err)
			}
		}
		_ = archive.Close()
	}
	if diff := cmp.Diff([]string{"same-cutout.png", "same-cutout-2.png", "cat-cutout.png"}, names); diff != "" {
		b.Errorf("(-want +got)\n%s", diff)
	}
	b.click("#clear")
	b.upload(photo(b.T))
}

func modesAndColours(b *tab) {
	b.click(`input[name=mode][value=fg-mask]`)
	b.settled()
	if corner, middle := b.pixel(.02, .02), b.pixel(.5, .8); !near(corner, [4]int{0, 0, 0, 255}, 10) || !near(middle, [4]int{255, 255, 255, 255}, 10) {
		b.Errorf("the mask is %v in the corner and %v in the middle", corner, middle)
	}
	b.click(`input[name=mode][value=fg-image]`)
	b.click(`input[name=background][value="#bfe8d4"]`)
	b.settled()
	if corner := b.pixel(.02, .02); !near(corner, [4]int{0xbf, 0xe8, 0xd4, 255}, 2) {
		b.Errorf("on mint the corner is %v", corner)
	}
	b.run(chromedp.SetUploadFiles("#pick-background", []string{photo(b.T)}, chromedp.ByQuery))
	b.settled()
	if corner := b.pixel(.02, .02); corner[3] != 255 || near(corner, [4]int{0xbf, 0xe8, 0xd4, 255}, 20) {
		b.Errorf("on a picture the corner is %v", corner)
	}
	if got := b.text("#background-hint"); got != "astronaut-crop.png" {
		b.Errorf("the picture is named %q", got)
	}
	b.click(`input[name=background][value=none]`)
	b.click(`input[name=mode][value=fg-image-shadow]`)
	b.click(`input[name=shadow][value=drop]`)
	b.settled()
	if middle := b.pixel(.5, .8); middle[3] < 250 {
		b.Errorf("with a shadow the middle is %v", middle)
	}
	b.click(`#options [type=reset]`)
	b.click(`input[name=quality][value=fast]`)
	b.settled()
	if corner := b.pixel(.02, .02); corner[3] > 10 {
		b.Errorf("the options are not reset: the corner is %v", corner)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, want := range []string{"v1/results?mode=fg-image&quality=fast", "v1/results?mode=fg-mask&", "v1.0/removebg"} {
		if !slices.ContainsFunc(b.asked, func(url string) bool { return strings.HasPrefix(url, b.base+want) }) {
			b.Errorf("%s was not asked", want)
		}
	}
}

// A clip goes the way of a photo, as far as the server has ffmpeg.
func clip(b *tab) {
	var taken bool
	b.eval(`fetch("status.json").then((r) => r.json()).then((s) => s.checks.video === "ok")`, &taken)
	if !taken {
		b.Skip("the server takes no clips: it finds no ffmpeg")
	}
	path := filepath.Join(b.TempDir(), "clip.mp4")
	if out, err := exec.Command("ffmpeg", "-v", "error", "-loop", "1", "-i", photo(b.T), "-vf", "scale=160:-2", "-r", "10", "-t", "0.3", "-pix_fmt", "yuv420p",
		path).CombinedOutput(); err != nil {
		b.Skipf("no clip can be made: %v\n%s", err, out)
	}
	b.run(chromedp.SetUploadFiles("#pick", []string{path}, chromedp.ByQuery))
	b.until(`document.querySelector(".card:last-child").dataset.state === "done" && document.querySelector(".card:last-child").hasAttribute("data-ready")`)
	var got [2]int // alpha in the corner and in the middle
	b.eval(`(() => {
		const v = document.querySelector(".card:last-child .after video");
		const c = new OffscreenCanvas(v.videoWidth, v.videoHeight).getContext("2d", { willReadFrequently: true });
		c.drawImage(v, 0, 0);
		return [[0.02, 0.02], [0.5, 0.8]].map(([x, y]) => c.getImageData(v.videoWidth * x, v.videoHeight * y, 1, 1).data[3]);
	})()`, &got)
	if got[0] > 40 || got[1] < 215 {
		b.Errorf("the clip's alpha is %d in the corner and %d in the middle", got[0], got[1])
	}
	b.click(`.card:last-child [data-do=remove]`)
}

// Every piece of code that the page shows does what it says, as far as its language is at hand.
func snippets(b *tab) {
	languages := map[string][]string{"curl": {"sh"}, "python": {"python3"}, "javascript": {"node", "--input-type=module"}}
	if _, err := exec.LookPath("jq"); err != nil {
		b.Skip("the shell's code needs jq")
	}
	if err := exec.Command("python3", "-c", "import requests").Run(); err != nil {
		b.Log("skipped: Python's code needs requests")
		delete(languages, "python")
	}
	if err := exec.Command("node", "--input-type=module", "-e", "new FormData(); await fetch('data:,')").Run(); err != nil {
		b.Log("skipped: JavaScript's code needs Node 18")
		delete(languages, "javascript")
	}
	var ids []string
	b.eval(`[...document.querySelector("#dialect").options].map((o) => o.value)`, &ids)
	if len(ids) != 7 {
		b.Fatalf("formats: %v", ids)
	}
	source, err := os.ReadFile(photo(b.T))
	if err != nil {
		b.Fatal(err)
	}
	show := func(id, language string) string {
		b.eval(fmt.Sprintf(`(() => { const d = document.querySelector("#dialect"); d.value = %q; d.dispatchEvent(new Event("input", { bubbles: true })); })()`, id), new(any))
		b.click(fmt.Sprintf("input[name=language][value=%s]", language))
		return b.text("#snippet")
	}
	try := func(id, language, code, mode string) {
		b.Helper()
		folder := b.TempDir()
		if err := os.WriteFile(filepath.Join(folder, "astronaut-crop.png"), source, 0o600); err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(b.Context(), patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, languages[language][0], languages[language][1:]...)
		cmd.Dir, cmd.Stdin = folder, strings.NewReader(code)
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Errorf("%s in %s, %s: %v\n%s\n%s", id, language, mode, err, out, code)
			return
		}
		name := map[string]string{"fg-image": "cutout.png", "fg-mask": "mask.png"}[mode]
		data, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			b.Errorf("%s in %s, %s: %v\n%s", id, language, mode, err, code)
			return
		}
		img, _, err := image.Decode(bytes.NewReader(data))
		if err != nil {
			b.Errorf("%s in %s, %s: %v\n%s", id, language, mode, err, code)
			return
		}
		r, _, _, a := img.At(2, 2).RGBA()
		if mode == "fg-image" && a > 0x1000 || mode == "fg-mask" && (a != 0xffff || r > 0x1000) {
			b.Errorf("%s in %s, %s: the corner is %v", id, language, mode, img.At(2, 2))
		}
	}
	running := errgroup.Group{}
	running.SetLimit(4)
	for _, mode := range []string{"fg-image", "fg-mask"} {
		b.click(fmt.Sprintf(`input[name=mode][value=%s]`, mode))
		for _, id := range ids {
			for language := range languages {
				// Beyond the shell it is enough to see each kind of code once: the formats that are left out are told of by the same
				// lines as remove.bg's.
				if language != "curl" && (mode == "fg-mask" || slices.Contains([]string{"photoroom", "rembg", "apisphere"}, id)) {
					continue
				}
				code := show(id, language)
				running.Go(func() error {
					try(id, language, code, mode)
					return nil
				})
			}
		}
	}
	_ = running.Wait() // each has told of its failure
	b.click(`input[name=mode][value=fg-image]`)

	// What is copied is what is shown.
	want := show("api4ai", "curl")
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		b.run(browser.SetPermission(&browser.PermissionDescriptor{Name: name}, browser.PermissionSettingGranted))
	}
	b.run(page.BringToFront(), chromedp.Click("#copy", chromedp.ByQuery))
	b.until(`document.querySelector("#copy span").textContent === "Copied"`)
	var copied string
	b.eval(`navigator.clipboard.readText()`, &copied)
	if copied != want {
		b.Errorf("copied:\n%s\nshown:\n%s", copied, want)
	}
	try("api4ai", "curl", copied, "fg-image")
	b.settled()
}

// namesContrastRoom looks at the page at work as tools for accessibility do.
func namesContrastRoom(b *tab) {
	b.upload(broken(b.T))
	b.look()
	for _, size := range [][2]int64{{390, 844}, {768, 1024}, {1440, 900}} {
		b.size(size[0], size[1])
		var excess float64
		b.eval(`document.documentElement.scrollWidth - innerWidth`, &excess)
		if excess > 0 {
			b.Errorf("at %d pixels it is %g too wide", size[0], excess)
		}
	}
	b.dark(true)
	b.look()
	b.dark(false)
}

// look checks that every control has a name, and that every text stands out from what is below it.
func (b *tab) look() {
	b.Helper()
	b.named()
	b.readable()
}

func (b *tab) named() {
	b.Helper()
	var nodes []*accessibility.Node
	b.run(chromedp.ActionFunc(func(ctx context.Context) (err error) {
		nodes, err = accessibility.GetFullAXTree().Do(ctx)
		return err
	}))
	controls := 0
	for _, n := range nodes {
		if n.Ignored || n.Role == nil || n.Name == nil {
			continue
		}
		var role, name string
		_ = json.Unmarshal(n.Role.Value, &role)
		_ = json.Unmarshal(n.Name.Value, &name)
		if !slices.Contains([]string{"button", "link", "slider", "radio", "combobox", "textbox", "image", "progressbar", "dialog"}, role) {
			continue
		}
		controls++
		if strings.TrimSpace(name) == "" {
			b.Errorf("a %s has no name", role)
		}
	}
	if controls < 8 {
		b.Errorf("only %d controls were found", controls)
	}
}

func (b *tab) readable() {
	b.Helper()
	var faint []string
	b.eval(faintTexts, &faint)
	for _, f := range faint {
		b.Errorf("hard to read: %s", f)
	}
}

// faintTexts lists texts with less than 4.5 to 1 to the colours below them, 3 to 1 where they are large. What is disabled
// or lies on a picture is passed over.
const faintTexts = `(() => {
	const parse = (c) => { const m = c.match(/[\d.]+/g)?.map(Number); return c.startsWith("color(") ? [...m.slice(0, 3).map((v) => v * 255), m[3] ?? 1] : [m[0], m[1], m[2], m[3] ?? 1]; };
	const over = (a, b) => [0, 1, 2].map((i) => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
	const light = ([r, g, b]) => { const f = (v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
	const found = [];
	for (const e of document.querySelectorAll("body *")) {
		const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
		if (!own || !e.checkVisibility({ opacityProperty: true, visibilityProperty: true }) || e.closest(".view, :disabled, [hidden], .visually-hidden, .skip, option")) continue;
		const layers = [];
		for (let at = e; at; at = at.parentElement) { const c = parse(getComputedStyle(at).backgroundColor); if (c[3] > 0) layers.push(c); if (c[3] === 1) break; }
		const below = layers.reverse().reduce((b, a) => over(a, b), [255, 255, 255, 1]);
		const style = getComputedStyle(e), fore = over(parse(style.color), below);
		const [a, b] = [light(fore), light(below)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
		const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
		if (ratio < (large ? 3 : 4.5)) found.push(ratio.toFixed(2) + " " + e.tagName + "." + e.className + " " + style.color + ": " + e.textContent.trim().slice(0, 40));
	}
	return found;
})()`

func theme(b *tab) {
	b.visit("status")
	var ground [2]string
	b.eval(`getComputedStyle(document.body).backgroundColor`, &ground[0])
	b.click("#theme") // light
	b.click("#theme") // dark
	b.eval(`getComputedStyle(document.body).backgroundColor`, &ground[1])
	if ground[0] == ground[1] {
		b.Errorf("dark is as light: %s", ground)
	}
	b.visit("")
	var kept, label string
	b.eval(`document.documentElement.dataset.theme ?? ""`, &kept)
	b.until(`document.querySelector("#version").textContent !== "cutout"`)
	b.eval(`document.querySelector("#theme").getAttribute("aria-label")`, &label)
	if kept != "dark" || label != "Theme: dark" {
		b.Errorf("on the next page the theme is %q, %q", kept, label)
	}
	b.look()
	b.click("#theme")
	b.visit("")
	b.eval(`document.documentElement.dataset.theme ?? ""`, &kept)
	if kept != "" {
		b.Errorf("as the system, and still %q", kept)
	}
}

func reference(b *tab) {
	b.visit("docs")
	b.until(`document.querySelectorAll("#viewer .opblock-tag").length > 5`)
	b.click("#viewer .opblock-tag")
	b.until(`document.querySelector("#viewer .opblock")`)
	b.click("#viewer .opblock-summary-post button.opblock-summary-control")
	b.until(`document.querySelector("#viewer .parameters")`)
	if got := b.text("#viewer"); !strings.Contains(got, "/v1/results") || strings.Contains(got, "Errors") {
		b.Errorf("the reference says %.300q", got)
	}
	for _, on := range []bool{false, true} {
		b.dark(on)
		b.readable() // the names of its controls are the viewer's own business
	}
	b.dark(false)
}

func status(b *tab) {
	b.visit("status")
	b.until(`document.querySelector("#state").dataset.state === "ready"`)
	for _, want := range []string{"u2netp", "in use", "Kernels", "Up for", "model", "image"} {
		if got := b.text("#main"); !strings.Contains(got, want) {
			b.Errorf("the status does not tell of %s: %q", want, got)
		}
	}
	b.look()
}

// Where keys are on the page asks for one and keeps it for the tab.
func TestBrowserWithKeys(t *testing.T) {
	if testing.Short() {
		t.Skip("drives a browser")
	}
	const secret = "a-key-for-this-test-alone"
	keys := filepath.Join(t.TempDir(), "keys.txt")
	if err := os.WriteFile(keys, fmt.Appendf(nil, "someone %x\n", sha256.Sum256([]byte(secret))), 0o600); err != nil {
		t.Fatal(err)
	}
	b := open(t, serve(t, "--api-keys", keys))
	b.visit("")
	b.until(`!document.querySelector("#key-open").hidden`)
	b.click("input[name=quality][value=fast]")
	b.upload(photo(t))
	if got := b.text(".fault p"); got != "An API key is needed." {
		t.Errorf("without a key it says %q", got)
	}
	b.until(`document.querySelector("#key").open`)
	b.run(chromedp.SendKeys("#key-value", secret+kb.Enter, chromedp.ByQuery))
	b.until(`document.querySelector(".card").dataset.state === "done"`)
	var stored, kept bool
	b.eval(`sessionStorage.length === 1 && localStorage.length === 0 && !document.cookie`, &stored)
	b.eval(`document.querySelector("#snippet").textContent.includes("$CUTOUT_KEY") && !document.body.innerHTML.includes("`+secret+`")`, &kept)
	if !stored || !kept {
		t.Errorf("the key is kept for the tab alone: %v, and not shown: %v", stored, kept)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.errors { // the browser itself reports the refusal that was asked for
		if !strings.Contains(e, "401") {
			t.Errorf("the console says: %s", e)
		}
	}
}
