// Command licences lists everything that is in the binary, Go itself, modules and networks: with the texts of their licences,
// or as a bill of materials for machines.
//
//	go run ./deploy/licences > THIRD_PARTY_LICENSES
//	go run ./deploy/licences sbom v1.0.0 > cutout.cdx.json
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"cutout/weights"
)

// part is something in the binary that somebody else made.
type part struct {
	name, version string
	kind          string // of the licence, as SPDX has it
	texts         []string
}

func main() {
	all, err := parts(".")
	switch {
	case err != nil:
	case len(os.Args) == 3 && os.Args[1] == "sbom":
		err = bill(os.Stdout, all, os.Args[2])
	case len(os.Args) == 1:
		err = write(os.Stdout, all)
	default:
		err = errors.New("want nothing, or sbom and a version")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

// write lists the parts and then their licences in full.
func write(out io.Writer, parts []part) error {
	w := bufio.NewWriter(out)
	fmt.Fprintf(w, "cutout is under the Apache License 2.0. It contains the following, each under its own licence.\n\n")
	for _, p := range parts {
		fmt.Fprintf(w, "%-62s %-40s %s\n", p.name, p.version, p.kind)
	}
	for _, p := range parts {
		fmt.Fprintf(w, "\n%s\n%s %s (%s)\n%s\n", strings.Repeat("=", 80), p.name, p.version, p.kind, strings.Repeat("=", 80))
		for _, text := range p.texts {
			fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(text))
		}
	}
	return w.Flush()
}

type (
	licence struct {
		ID string `json:"id"`
	}
	licenceChoice struct {
		License licence `json:"license"`
	}
	component struct {
		Type     string          `json:"type"`
		Ref      string          `json:"bom-ref"`
		Name     string          `json:"name"`
		Version  string          `json:"version,omitempty"`
		PURL     string          `json:"purl,omitempty"`
		Licenses []licenceChoice `json:"licenses"`
	}
	metadata struct {
		Component component `json:"component"`
	}
	// document is a bill of materials as CycloneDX 1.6 has it (https://cyclonedx.org/docs/1.6/json/).
	document struct {
		Format     string      `json:"bomFormat"`
		Spec       string      `json:"specVersion"`
		Version    int         `json:"version"`
		Metadata   metadata    `json:"metadata"`
		Components []component `json:"components"`
	}
)

// bill writes the parts as a bill of materials.
func bill(out io.Writer, parts []part, version string) error {
	describe := func(kind, name, version, licenceID string) component {
		c := component{Type: kind, Ref: name + "@" + version, Name: name, Version: version, Licenses: []licenceChoice{{licence{licenceID}}}}
		if kind == "library" {
			c.PURL = "pkg:golang/" + name + "@" + version
			c.Ref = c.PURL
		}
		return c
	}
	d := document{Format: "CycloneDX", Spec: "1.6", Version: 1, Metadata: metadata{describe("application", "cutout", version, "Apache-2.0")}}
	for _, p := range parts {
		kind, name := "library", p.name
		switch {
		case p.name == "Go":
			name = "std"
		case strings.HasPrefix(p.name, "network "):
			kind = "machine-learning-model"
			name = strings.TrimPrefix(p.name, "network ")
		}
		d.Components = append(d.Components, describe(kind, name, p.version, p.kind))
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(d)
}

// parts finds the modules in the program whose main package is in dir, for every system it is built for, and reads their licences.
func parts(dir string) ([]part, error) {
	goroot, err := goOutput(dir, nil, "env", "GOROOT", "GOVERSION")
	if err != nil {
		return nil, err
	}
	where := strings.Fields(string(goroot))
	found := map[string]string{} // directory by "module version"
	for _, goos := range []string{"linux", "darwin", "windows"} {
		for _, arch := range []string{"amd64", "arm64"} {
			list, err := goOutput(dir, []string{"GOOS=" + goos, "GOARCH=" + arch, "CGO_ENABLED=0"}, "list", "-deps", "-tags=nodynamic", "-json=Module", ".")
			if err != nil {
				return nil, err
			}
			for decoder := json.NewDecoder(bytes.NewReader(list)); ; {
				var p listed
				if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					return nil, err
				}
				if m := p.Module; m != nil && !m.Main {
					found[m.Path+" "+m.Version] = m.Dir
				}
			}
		}
	}
	all := []part{}
	found["Go "+where[1]] = where[0]
	for name, dir := range found {
		p := part{}
		p.name, p.version, _ = strings.Cut(name, " ")
		if p.texts, err = texts(dir); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if p.kind, err = kind(p.texts[0]); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, p)
	}
	apache, err := os.ReadFile(filepath.Join(dir, "LICENSE"))
	if err != nil {
		return nil, err
	}
	for _, e := range weights.Catalogue() {
		if e.Embedded() {
			all = append(all, part{"network " + e.Name, e.Source, e.Licence, []string{string(apache)}})
		}
	}
	slices.SortFunc(all, func(a, b part) int { return strings.Compare(strings.ToLower(a.name), strings.ToLower(b.name)) })
	return all, nil
}

// listed is what go list says about a package.
type listed struct {
	Module *struct {
		Path    string `json:"Path"`
		Version string `json:"Version"`
		Dir     string `json:"Dir"`
		Main    bool   `json:"Main"`
	} `json:"Module"`
}

func goOutput(dir string, environment []string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(context.Background(), "go", args...) //nolint:gosec // the arguments are those above
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	cmd.Env = append(cmd.Environ(), environment...)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w", args[0], err)
	}
	return out, nil
}

var licenceName = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)([-.].*)?$`)

// texts reads the licence of a module and what must be passed on with it, the licence first.
func texts(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all, more []string
	for _, e := range entries {
		if e.IsDir() || !licenceName.MatchString(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		if upper := strings.ToUpper(e.Name()); strings.HasPrefix(upper, "NOTICE") || strings.HasPrefix(upper, "PATENTS") {
			more = append(more, string(text))
		} else {
			all = append(all, string(text))
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no licence in %s", dir)
	}
	return append(all, more...), nil
}

// kind tells a licence by a sentence of its own. Those that are not here have not been thought about.
func kind(text string) (string, error) {
	plain := strings.Join(strings.Fields(strings.ToLower(text)), " ")
	first, name := len(plain), ""
	for _, k := range []struct{ kind, sentence string }{
		{"Apache-2.0", "apache license version 2.0"},
		{"Apache-2.0", "licensed under the apache license, version 2.0"},
		{"MPL-2.0", "mozilla public license version 2.0"},
		{"MPL-2.0", "mozilla public license, version 2.0"},
		{"BSD-2-Clause", "redistributions in binary form must reproduce"},
		{"MIT", "permission is hereby granted, free of charge, to any person obtaining a copy"},
		{"ISC", "permission to use, copy, modify, and/or distribute this software for any purpose"},
		{"ISC", "permission to use, copy, modify, and distribute this software for any purpose"},
		{"CC0-1.0", "cc0 1.0 universal"},
	} {
		// The first is the module's; others are of what is copied into it.
		if i := strings.Index(plain, k.sentence); i >= 0 && i < first {
			first, name = i, k.kind
		}
	}
	if end := plain[first:min(first+600, len(plain))]; name == "BSD-2-Clause" &&
		(strings.Contains(end, "neither the name") || strings.Contains(end, "used to endorse or promote products")) {
		name = "BSD-3-Clause" // whose third clause it is
	}
	if name != "" {
		return name, nil
	}
	return "", fmt.Errorf("a licence that is not known: %.80s", plain)
}
