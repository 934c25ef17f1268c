package cli

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// ManCmd prints the manual page.
type ManCmd struct{}

// Help tells how to read the page.
func (ManCmd) Help() string {
	return "cutout man | man -l -, or cutout man > /usr/local/share/man/man1/cutout.1"
}

// Run prints the page in roff, with the macros of man(7).
func (ManCmd) Run(out io.Writer, p Program, k *kong.Kong) error {
	w := bufio.NewWriter(out)
	fmt.Fprintf(w, ".TH CUTOUT 1 \"\" \"cutout %s\" \"User Commands\"\n", roff(p.Version))
	fmt.Fprint(w, ".SH NAME\ncutout \\- remove the background of images\n.SH SYNOPSIS\n")
	for _, node := range k.Model.Leaves(true) {
		fmt.Fprintf(w, ".B cutout\n%s\n.br\n", roff(strings.TrimPrefix(node.Summary(), "cutout ")))
	}
	fmt.Fprintf(w, ".SH DESCRIPTION\n%s\n", roff(k.Model.Help+" Without a command it serves. A flag wins over its environment variable, which stands in brackets behind its description."))
	fmt.Fprint(w, ".SH COMMANDS\n")
	for _, node := range k.Model.Leaves(true) {
		fmt.Fprintf(w, ".SS \"cutout %s\"\n%s\n", roff(strings.TrimPrefix(node.Path(), "cutout ")), roff(node.Help))
		if node.Detail != "" {
			fmt.Fprintf(w, ".PP\n.nf\n%s\n.fi\n", roff(node.Detail))
		}
		for _, arg := range node.Positional {
			fmt.Fprintf(w, ".TP\n.I %s\n%s\n", roff(arg.Name), roff(arg.Help))
		}
		for _, flag := range node.Flags {
			manFlag(w, flag)
		}
	}
	fmt.Fprint(w, manEnd)
	return w.Flush()
}

func manFlag(w io.Writer, flag *kong.Flag) {
	if flag.Name == "help" || flag.Hidden {
		return
	}
	fmt.Fprint(w, ".TP\n")
	if flag.Short != 0 {
		fmt.Fprintf(w, "\\fB\\-%s\\fR, ", roff(string(flag.Short)))
	}
	fmt.Fprintf(w, "\\fB\\-\\-%s\\fR", roff(flag.Name))
	if !flag.IsBool() {
		place := flag.PlaceHolder
		if place == "" {
			place = "VALUE"
		}
		fmt.Fprintf(w, "=\\fI%s\\fR", roff(place))
	}
	text := flag.Help
	if flag.HasDefault && flag.Default != "" && !flag.IsBool() {
		text += " Default: " + flag.Default + "."
	}
	fmt.Fprintf(w, "\n%s [%s]\n", roff(text), roff(strings.Join(flag.Envs, ", ")))
}

// roff escapes text for roff: no character of it is markup, and a hyphen can be copied into a shell.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, `"`, `\(dq`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}

const manEnd = `.SH "EXIT STATUS"
.TP
.B 0
Everything was done; of a batch, every picture has its result.
.TP
.B 1
Some pictures gave no result, each with a line on standard error that says why, or something else went wrong.
.TP
.B 2
The command line or a setting is wrong. Nothing was done.
.TP
.B 130
Interrupted. Results are whole or not there; the same command goes on where it was.
.SH EXAMPLES
.TP
One picture, beside itself:
.B cutout remove photo.jpg
.TP
A folder, on white, as JPEG:
.B cutout remove photos \-\-recursive \-\-bg\-color white \-o \(aqwhite/{dir}/{name}.jpg\(aq
.TP
In a pipe:
.B curl \-s https://example.com/photo.jpg | cutout remove \- | display
.TP
A report for a script:
.B cutout remove photos \-o out/ \-\-json > report.jsonl
.TP
The server, on loopback:
.B cutout \-\-addr 127.0.0.1:8080
`
