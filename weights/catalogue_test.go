package weights

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
)

func TestCatalogueIsComplete(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, e := range Catalogue() {
		if seen[e.Name] {
			t.Errorf("%s is there twice", e.Name)
		}
		seen[e.Name] = true
		sum, err := hex.DecodeString(e.SHA256)
		if err != nil || len(sum) != 32 {
			t.Errorf("%s: SHA-256 %q", e.Name, e.SHA256)
		}
		if e.Licence == "" || e.Source == "" || e.Data == "" || e.Size <= 0 || filepath.Base(e.File) != e.File {
			t.Errorf("%s: %+v", e.Name, e)
		}
		if md5, err := hex.DecodeString(e.MD5); err != nil || !e.Embedded() && (len(md5) != 16 || e.URL == "") {
			t.Errorf("%s: MD5 %q, URL %q", e.Name, e.MD5, e.URL)
		}
		in := e.Input
		if in.Width <= 0 || in.Height <= 0 || in.Filter == "" || in.Scale == "" || in.Layout == "" || e.Own {
			t.Errorf("%s: %+v, %+v", e.Name, in, e.Output)
		}
		for c, std := range in.Std {
			if std <= 0 {
				t.Errorf("%s: deviation %v of channel %d", e.Name, std, c)
			}
		}
	}
}

func TestDefaultIsEmbedded(t *testing.T) {
	t.Parallel()
	e, ok := Lookup(Default)
	if !ok || !e.Embedded() || Catalogue()[0].Name != Default {
		t.Fatalf("got %+v, %t", e, ok)
	}
	data, err := e.Load()
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(data)) != e.Size {
		t.Errorf("%d bytes", len(data))
	}
	data[0] ^= 0xff // the caller's own
	again, err := e.LoadFrom(filepath.Join(t.TempDir(), "missing"))
	if err != nil {
		t.Fatal(err)
	}
	if again[0] == data[0] {
		t.Error("the bytes are shared between callers")
	}
}

func TestLookupUnknown(t *testing.T) {
	t.Parallel()
	if e, ok := Lookup("no-such-network"); ok {
		t.Errorf("got %+v", e)
	}
}

// Every way in which a copy can be wrong is found out.
func TestLoadRefusesCorruptedCopies(t *testing.T) {
	t.Parallel()
	e, _ := Lookup(Default)
	good, err := e.Load()
	if err != nil {
		t.Fatal(err)
	}
	flip := func(at int) []byte {
		bad := bytes.Clone(good)
		bad[at] ^= 1
		return bad
	}
	for name, data := range map[string][]byte{
		"first bit": flip(0),
		"middle":    flip(len(good) / 2),
		"last":      flip(len(good) - 1),
		"short":     good[:len(good)-1],
		"long":      append(bytes.Clone(good), 0),
		"empty":     {},
	} {
		bad := e
		bad.fsys = fstest.MapFS{e.File: {Data: data}}
		got, err := bad.Load()
		var mismatch *MismatchError
		if !errors.As(err, &mismatch) || got != nil {
			t.Errorf("%s: got %d bytes, %v", name, len(got), err)
			continue
		}
		if mismatch.Name != Default || mismatch.Want != e.SHA256 || mismatch.Got == e.SHA256 || mismatch.Error() == "" {
			t.Errorf("%s: %+v", name, mismatch)
		}
		if sameSize := len(data) == len(good); sameSize != (mismatch.Got != "") {
			t.Errorf("%s: %+v", name, mismatch)
		}
	}
	bad := e
	bad.fsys = fstest.MapFS{}
	if _, err := bad.Load(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

func TestLoadFromDirectory(t *testing.T) {
	t.Parallel()
	e, _ := Lookup(Default)
	data, err := e.Load()
	if err != nil {
		t.Fatal(err)
	}
	e.fsys = nil // as if it had to be installed
	e.File = "installed.onnx"
	dir := t.TempDir()

	for name, tc := range map[string]func() ([]byte, error){
		"not embedded": e.Load,
		"no directory": func() ([]byte, error) { return e.LoadFrom("") },
		"missing":      func() ([]byte, error) { return e.LoadFrom(dir) },
		"no such dir":  func() ([]byte, error) { return e.LoadFrom(filepath.Join(dir, "x")) },
	} {
		if _, err := tc(); !errors.Is(err, ErrNotInstalled) {
			t.Errorf("%s: %v", name, err)
		}
	}

	path := filepath.Join(dir, e.File)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := e.LoadFrom(dir)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if err := os.WriteFile(path, data[1:], 0o600); err != nil {
		t.Fatal(err)
	}
	var mismatch *MismatchError
	if _, err := e.LoadFrom(dir); !errors.As(err, &mismatch) {
		t.Errorf("cut short: %v", err)
	}
	for _, file := range []string{"../installed.onnx", "/etc/passwd", "a/b.onnx"} {
		e.File = file
		if _, err := e.LoadFrom(dir); err == nil || errors.As(err, &mismatch) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestInputShape(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		layout Layout
		want   [4]int
	}{{NCHW, [4]int{1, 3, 20, 10}}, {NHWC, [4]int{1, 20, 10, 3}}} {
		if got := (Input{Layout: tc.layout, Width: 10, Height: 20}).Shape(); [4]int(got) != tc.want {
			t.Errorf("%s: got %v, want %v", tc.layout, got, tc.want)
		}
	}
}
