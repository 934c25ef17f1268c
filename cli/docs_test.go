package cli

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write docs/settings.md anew")

// pages are the documents for people, by their paths from the top of the repository.
func pages(t *testing.T) map[string]string {
	t.Helper()
	names := []string{}
	for _, pattern := range []string{"../*.md", "../docs/*.md", "../weights/*.md", "../testdata/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	if len(names) < 10 {
		t.Fatalf("only %d documents", len(names))
	}
	all := map[string]string{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Clean(strings.TrimPrefix(name, "../"))] = string(text)
	}
	return all
}

var (
	fence   = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	span    = regexp.MustCompile("`([^`\n]+)`")
)

// anchor is what a heading becomes in a link.
func anchor(title string) string {
	title = strings.ToLower(strings.ReplaceAll(title, "`", ""))
	return strings.ReplaceAll(regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(title, ""), " ", "-")
}

func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	all := pages(t)
	for name, text := range all {
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
			target, part, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			path := filepath.Clean(name)
			if target != "" {
				path = filepath.Join(filepath.Dir(name), target)
			}
			if _, err := os.Stat(filepath.Join("..", path)); err != nil {
				t.Errorf("%s: %s leads nowhere", name, m[1])
				continue
			}
			if part == "" || !strings.HasSuffix(path, ".md") {
				continue
			}
			var anchors []string
			for _, h := range heading.FindAllStringSubmatch(all[path], -1) {
				anchors = append(anchors, anchor(h[1]))
			}
			if !slices.Contains(anchors, part) {
				t.Errorf("%s: %s has no %q but %v", name, path, part, anchors)
			}
		}
	}
}

// words takes a line of shell apart, as far as such lines go: quotes hold words together, and what follows a comment, a pipe
// or a redirection is not the command's.
func shellWords(line string) []string {
	var words []string
	word, quote, open := "", rune(0), false
	for _, r := range line + " " {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word += string(r)
		case r == '\'' || r == '"':
			quote, open = r, true
		case strings.ContainsRune(" \t", r):
			if word != "" || open {
				words = append(words, word)
			}
			word, open = "", false
		case strings.ContainsRune("#|>;&()", r) && word == "":
			return words
		default:
			word += string(r)
		}
	}
	return words
}

// examples are the invocations of the program in the shell blocks of a document.
func examples(text string) [][]string {
	var all [][]string
	for _, block := range fence.FindAllStringSubmatch(text, -1) {
		if block[1] != "sh" && block[1] != "diff" {
			continue
		}
		for line := range strings.Lines(strings.ReplaceAll(block[2], "\\\n", " ")) {
			for _, command := range regexp.MustCompile(`[|;]|\$\(|<\(`).Split(line, -1) {
				words := shellWords(strings.TrimPrefix(strings.TrimSpace(command), "+"))
				if len(words) > 0 && (words[0] == "cutout" || words[0] == "./bin/cutout") {
					all = append(all, words[1:])
				}
			}
		}
	}
	return all
}

// place finds the command that words begin with, and what follows it.
func placeOf(app *kong.Application, words []string) (*kong.Node, []string, error) {
	node := app.Node
	for len(words) > 0 && len(node.Children) > 0 && !strings.HasPrefix(words[0], "-") {
		i := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == words[0] })
		if i < 0 {
			return nil, nil, fmt.Errorf("there is no command %q", words[0])
		}
		node, words = node.Children[i], words[1:]
	}
	if node == app.Node {
		node = app.DefaultCmd
	}
	return node, words, nil
}

// What documents tell people to type can be typed.
func TestExamplesCanBeTyped(t *testing.T) {
	t.Parallel()
	parser, err := newParser(Program{Stdout: io.Discard, Stderr: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	every := map[string]bool{}
	var walk func(*kong.Node)
	walk = func(n *kong.Node) {
		for _, f := range n.Flags {
			every[f.Name] = true
		}
		for _, child := range n.Children {
			walk(child)
		}
	}
	walk(parser.Model.Node)
	count := 0
	for name, text := range pages(t) {
		if name == "CHANGELOG.md" || name == "RATIONALE.md" {
			continue // tell about what was, too
		}
		list := examples(text)
		for _, m := range span.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
			if words := shellWords(m[1]); len(words) > 1 && words[0] == "cutout" && words[1] == strings.ToLower(words[1]) {
				list = append(list, words[1:])
			}
		}
		for _, words := range list {
			count++
			node, rest, err := placeOf(parser.Model, words)
			if err != nil {
				t.Errorf("%s: cutout %s: %v", name, strings.Join(words, " "), err)
				continue
			}
			for _, word := range rest {
				flag, _, _ := strings.Cut(strings.TrimPrefix(word, "--"), "=")
				known := slices.ContainsFunc(node.Flags, func(f *kong.Flag) bool { return f.Name == flag || slices.Contains(f.Aliases, flag) })
				if strings.HasPrefix(word, "--") && !known && flag != "help" {
					t.Errorf("%s: cutout %s: %s has no --%s", name, strings.Join(words, " "), node.Path(), flag)
				}
			}
		}
		// Targets of make, wherever they are named.
		for _, m := range regexp.MustCompile("(?m)(?:^|`|\\$ )make ([a-z][a-z0-9-]*)").FindAllStringSubmatch(text, -1) {
			count++
			if !regexp.MustCompile(`(?m)^` + m[1] + `:`).Match(makefile) {
				t.Errorf("%s: there is no make %s", name, m[1])
			}
		}
	}
	if count < 30 {
		t.Errorf("only %d examples were found", count)
	}
}

// A command named in README.md is one of the program's; so is each flag in its running text.
func TestReadmeNamesWhatThereIs(t *testing.T) {
	t.Parallel()
	readme := pages(t)["README.md"]
	parser, err := newParser(Program{Stdout: io.Discard, Stderr: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string]bool{"help": true, "target": true} // the last is docker's
	for _, leaf := range parser.Model.Leaves(true) {
		for _, f := range leaf.Flags {
			flags[f.Name] = true
		}
		top := strings.Fields(strings.TrimPrefix(leaf.Path(), "cutout "))[0]
		if !strings.Contains(readme, "cutout "+top) && !strings.Contains(readme, "`"+top+"`") {
			t.Errorf("README.md does not name %s", top)
		}
	}
	for _, m := range regexp.MustCompile("`--([a-z0-9-]+)").FindAllStringSubmatch(readme, -1) {
		if !flags[m[1]] {
			t.Errorf("README.md: there is no --%s", m[1])
		}
	}
}

// docs/settings.md is what the flags say. make settings writes it.
func TestSettingsAreListed(t *testing.T) {
	t.Parallel()
	parser, err := newParser(Program{Stdout: io.Discard, Stderr: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("# Settings\n\nThe settings of `cutout serve`. Each is a flag and an environment variable; the flag wins. Sizes take KB, MB and GB,\n" +
		"durations s, m and h. `make settings` writes this page from the flags.\n\n| flag | variable | default | |\n|---|---|---|---|\n")
	for _, f := range parser.Model.DefaultCmd.Flags {
		if f.Name == "help" || f.Hidden {
			continue
		}
		value := f.Default
		if value != "" {
			value = "`" + value + "`"
		}
		fmt.Fprintf(&b, "| `--%s` | `%s` | %s | %s |\n", f.Name, strings.Join(f.Envs, "`, `"), value,
			strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;", "*", `\*`).Replace(f.Help))
	}
	const file = "../docs/settings.md"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(have), b.String()); diff != "" {
		t.Errorf("make settings would change docs/settings.md:\n%s", diff)
	}
}
