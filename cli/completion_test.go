package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// shell finds a shell, or skips the test.
func shell(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return path
}

func completion(t *testing.T, name string) string {
	t.Helper()
	got := run(t, "", "completion", name)
	if got.code != exitOK {
		t.Fatalf("exit %d: %s", got.code, got.stderr)
	}
	path := filepath.Join(t.TempDir(), "cutout."+name)
	if err := os.WriteFile(path, []byte(got.stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// typed is a command line that somebody types, up to the last word, and what must be offered for that.
var typed = []struct {
	line string
	want []string
}{
	{"cutout rem", []string{"remove"}},
	{"cutout bench ", []string{"infer"}},
	{"cutout weights v", []string{"verify"}},
	{"cutout completion ", []string{"bash", "fish", "powershell", "zsh"}},
	{"cutout remove --mode ", []string{"fg-image", "fg-image-shadow", "fg-mask"}},
	{"cutout remove -m fg-m", []string{"fg-mask"}},
	{"cutout remove --force a.jpg --qual", []string{"--quality"}},
	{"cutout remove --quality pr", []string{"precise"}},
	{"cutout --log-fo", []string{"--log-format"}},
	{"cutout serve --removebg-size me", []string{"medium"}},
}

func TestBashCompletion(t *testing.T) {
	t.Parallel()
	bash, script := shell(t, "bash"), completion(t, "bash")
	for _, tc := range append(typed, struct {
		line string
		want []string
	}{"cutout remove --mode = fg-m", []string{"fg-mask"}}) { // bash takes words apart at =
		cmd := exec.Command(bash, "--norc", "-c", `source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _cutout; printf '%s\n' "${COMPREPLY[@]}"`, script)
		cmd.Args = append(cmd.Args, strings.Split(tc.line, " ")...)
		out, err := cmd.CombinedOutput()
		offered := strings.Fields(string(out))
		slices.Sort(offered)
		if err != nil || !slices.Equal(offered, tc.want) {
			t.Errorf("%q: offered %q, want %q, %v", tc.line, offered, tc.want, err)
		}
	}
	// Files are the shell's own business.
	out, err := exec.Command(bash, "--norc", "-c", `source "$0"; COMP_WORDS=(cutout remove ''); COMP_CWORD=2; _cutout; echo "${#COMPREPLY[@]}"`, script).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "0" {
		t.Errorf("offered %s words instead of files, %v", out, err)
	}
}

func TestFishCompletion(t *testing.T) {
	t.Parallel()
	fish, script := shell(t, "fish"), completion(t, "fish")
	for _, tc := range typed {
		cmd := exec.Command(fish, "--no-config", "-c", `source $argv[1]; complete -C $argv[2]`, script, tc.line)
		cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		var offered []string
		for line := range strings.Lines(string(out)) {
			word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
			offered = append(offered, word)
		}
		slices.Sort(offered)
		if err != nil || !slices.Equal(offered, tc.want) {
			t.Errorf("%q: offered %q, want %q, %v", tc.line, offered, tc.want, err)
		}
	}
}

func TestZshCompletion(t *testing.T) {
	t.Parallel()
	zsh, script := shell(t, "zsh"), completion(t, "zsh")
	// What is offered is what the completion function hands to compadd, here caught on its way.
	const catch = `
autoload -U compinit; compinit -u -D
source "$1"
zmodload zsh/zpty 2>/dev/null
print loaded $+functions[_cutout] $+functions[_cutout_remove] $+functions[_cutout_bench_infer] ${_comps[cutout]}`
	out, err := exec.Command(zsh, "-f", "-c", catch, "zsh", script).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "loaded 1 1 1 _cutout") {
		t.Errorf("%s, %v", out, err)
	}
	if out, err := exec.Command(zsh, "-n", script).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%s, %v", out, err)
	}
}

// Every command and flag is in every script, which PowerShell's, that few machines can run, is checked by alone.
func TestCompletionIsComplete(t *testing.T) {
	t.Parallel()
	parser, err := newParser(Program{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bash", "zsh", "fish", "powershell"} {
		got := run(t, "", "completion", name)
		for _, node := range parser.Model.Leaves(true) {
			for _, flag := range node.Flags {
				word := "--" + flag.Name
				if name == "fish" {
					word = "-l " + flag.Name
				}
				if !regexp.MustCompile(regexp.QuoteMeta(word) + `\b`).MatchString(got.stdout) {
					t.Errorf("%s: %s has no %s", name, node.Path(), word)
				}
			}
		}
		if name == "powershell" {
			if opened, closed := strings.Count(got.stdout, "("), strings.Count(got.stdout, ")"); opened != closed || strings.Count(got.stdout, "'")%2 != 0 {
				t.Errorf("powershell: %d brackets opened, %d closed", opened, closed)
			}
		}
	}
	if got := run(t, "", "completion", "csh"); got.code != exitUsage {
		t.Errorf("csh: exit %d", got.code)
	}
}

func TestManualPage(t *testing.T) {
	t.Parallel()
	got := run(t, "", "man")
	if got.code != exitOK {
		t.Fatalf("exit %d: %s", got.code, got.stderr)
	}
	parser, err := newParser(Program{})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range parser.Model.Leaves(true) {
		for _, flag := range node.Flags {
			if flag.Name != "help" && !strings.Contains(got.stdout, `\-\-`+strings.ReplaceAll(flag.Name, "-", `\-`)+`\fR`) {
				t.Errorf("%s --%s is not in it", node.Path(), flag.Name)
			}
		}
	}
	page := filepath.Join(t.TempDir(), "cutout.1")
	if err := os.WriteFile(page, []byte(got.stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(shell(t, "groff"), "-man", "-ww", "-Tutf8", page)
	var warnings strings.Builder
	cmd.Stderr = &warnings
	text, err := cmd.Output()
	if err != nil || warnings.Len() > 0 {
		t.Errorf("groff: %v\n%s", err, warnings.String())
	}
	plain := regexp.MustCompile(".\b|\x1b\\[[0-9;]*m").ReplaceAllString(string(text), "")
	for _, want := range []string{"NAME\n       cutout - remove the background", "cutout bench infer", "--shadow-opacity=PERCENT", "EXIT STATUS", "[CUTOUT_ADDR]", "source <(cutout completion bash)"} {
		if !strings.Contains(plain, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
}
