package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Everything in the binary has a licence, and none asks that the program's own source be given away.
func TestEveryPartHasItsLicence(t *testing.T) {
	t.Parallel()
	all, err := parts("../..")
	if err != nil {
		t.Fatal(err)
	}
	allowed := map[string]bool{"Apache-2.0": true, "BSD-2-Clause": true, "BSD-3-Clause": true, "CC0-1.0": true, "ISC": true, "MIT": true, "MPL-2.0": true}
	seen := map[string]part{}
	for _, p := range all {
		seen[p.name] = p
		if !allowed[p.kind] || len(p.texts[0]) < 200 {
			t.Errorf("%s %s: %s, %d characters", p.name, p.version, p.kind, len(p.texts[0]))
		}
	}
	for name, kind := range map[string]string{
		"Go": "BSD-3-Clause", "github.com/labstack/echo/v4": "MIT", "github.com/nats-io/nats-server/v2": "Apache-2.0",
		"network u2netp": "Apache-2.0", "golang.org/x/image": "BSD-3-Clause", "github.com/prometheus/client_golang": "Apache-2.0",
	} {
		if seen[name].kind != kind {
			t.Errorf("%s: %q, want %s", name, seen[name].kind, kind)
		}
	}
	if _, ok := seen["github.com/google/go-cmp"]; ok {
		t.Error("a module of tests is listed")
	}
	var out bytes.Buffer
	if err := write(&out, all); err != nil || !strings.Contains(out.String(), "prometheus/client_golang") || !strings.Contains(out.String(), "Permission is hereby granted") {
		t.Errorf("written %d bytes, %v", out.Len(), err)
	}
	out.Reset()
	if err := bill(&out, all, "v1.2.3"); err != nil {
		t.Fatal(err)
	}
	var d document
	if err := json.Unmarshal(out.Bytes(), &d); err != nil || d.Metadata.Component.Version != "v1.2.3" || len(d.Components) != len(all) {
		t.Errorf("%d components of %d, %v", len(d.Components), len(all), err)
	}
	refs := map[string]bool{}
	for _, c := range d.Components {
		if refs[c.Ref] || c.Licenses[0].License.ID == "" || c.Type == "library" && !strings.HasPrefix(c.PURL, "pkg:golang/") {
			t.Errorf("component %+v", c)
		}
		refs[c.Ref] = true
	}
}

func TestKind(t *testing.T) {
	t.Parallel()
	if got, err := kind("GNU GENERAL PUBLIC LICENSE\nVersion 3"); err == nil {
		t.Errorf("the GPL is taken for %s", got)
	}
	if _, err := texts(t.TempDir()); err == nil {
		t.Error("no licence in an empty directory, and no error")
	}
}

// largest is what a stripped binary may take, in bytes: people download it, and pods pull it.
const largest = 60 << 20

func TestBinaryIsSmall(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds the program")
	}
	binary := filepath.Join(t.TempDir(), "cutout")
	cmd := exec.Command("go", "build", "-tags", "nodynamic", "-trimpath", "-ldflags", "-s -w", "-o", binary, "../..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.1f MB", float64(info.Size())/(1<<20))
	if info.Size() > largest {
		t.Errorf("%d bytes, at most %d", info.Size(), largest)
	}
}
