package cli

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// CompletionCmd prints a script that lets a shell complete commands, flags and their values.
type CompletionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish,powershell" help:"${enum}."`
}

// Help tells how to use the scripts.
func (*CompletionCmd) Help() string {
	return `bash: source <(cutout completion bash)
zsh: cutout completion zsh > "${fpath[1]}/_cutout"
fish: cutout completion fish > ~/.config/fish/completions/cutout.fish
powershell: cutout completion powershell | Out-String | Invoke-Expression`
}

// Run prints the script.
func (c *CompletionCmd) Run(out io.Writer, k *kong.Kong) error {
	w := bufio.NewWriter(out)
	places := placesOf(k.Model)
	switch c.Shell {
	case "bash":
		completeBash(w, places)
	case "zsh":
		completeZsh(w, places)
	case "fish":
		completeFish(w, places)
	default:
		completePowerShell(w, places)
	}
	return w.Flush()
}

// place is a command and what may follow it.
type place struct {
	path     string // words after the program's name, with spaces between; empty: none yet
	commands []candidate
	flags    []flagCandidate
	values   []string // of the argument, where it is one of a few
	files    bool     // the argument is a file
}

// candidate is a word and what it is for.
type candidate struct{ word, help string }

// flagCandidate is a flag.
type flagCandidate struct {
	candidate // with its dashes

	short  string // with its dash; empty: none
	value  bool   // takes one
	values []string
	files  bool // its value is a file or directory
}

// placesOf lists every command with its flags; those of the default command are the program's own too.
func placesOf(app *kong.Application) []place {
	var all []place
	var walk func(node *kong.Node, path string)
	walk = func(node *kong.Node, path string) {
		p := place{path: path}
		for _, child := range node.Children {
			if !child.Hidden {
				p.commands = append(p.commands, candidate{child.Name, firstSentence(child.Help)})
			}
		}
		for _, group := range node.AllFlags(true) {
			for _, flag := range group {
				p.flags = append(p.flags, flagOf(flag))
			}
		}
		if path == "" && app.DefaultCmd != nil {
			for _, flag := range app.DefaultCmd.Flags {
				p.flags = append(p.flags, flagOf(flag))
			}
		}
		for _, arg := range node.Positional {
			p.values = offered(arg)
			p.files = arg.Name == "file"
		}
		all = append(all, p)
		for _, child := range node.Children {
			if !child.Hidden {
				walk(child, strings.TrimSpace(path+" "+child.Name))
			}
		}
	}
	walk(app.Node, "")
	return all
}

func flagOf(flag *kong.Flag) flagCandidate {
	f := flagCandidate{candidate: candidate{"--" + flag.Name, firstSentence(flag.Help)}, value: !flag.IsBool() && !flag.IsCounter()}
	if flag.Short != 0 {
		f.short = "-" + string(flag.Short)
	}
	f.values = offered(flag.Value)
	place := strings.ToUpper(flag.PlaceHolder)
	f.files = f.value && len(f.values) == 0 && (strings.Contains(place, "FILE") || place == "DIR" || place == "PLACE" && flag.Name == "output")
	return f
}

// offered lists what a value may be, where it is one of a few.
func offered(v *kong.Value) []string {
	return slices.DeleteFunc(v.EnumSlice(), func(s string) bool { return s == "" })
}

// firstSentence is as much of a help text as fits beside a word.
func firstSentence(help string) string {
	first, _, _ := strings.Cut(help, ". ")
	return strings.TrimSuffix(strings.ReplaceAll(first, "\n", " "), ".")
}

// words are the commands and values that may follow, and the flags.
func (p place) words() (commands, flags string) {
	all := slices.Clone(p.values)
	for _, c := range p.commands {
		all = append(all, c.word)
	}
	var dashed []string
	for _, f := range p.flags {
		dashed = append(dashed, f.word)
	}
	return strings.Join(all, " "), strings.Join(dashed, " ")
}

// names of a flag, as patterns of a case.
func (f flagCandidate) names() []string {
	if f.short == "" {
		return []string{f.word}
	}
	return []string{f.word, f.short}
}

const bashHead = `# Completion for cutout. Use: source <(cutout completion bash)
_cutout() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} path= i
    COMPREPLY=()
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = ]]; then
        prev=${COMP_WORDS[COMP_CWORD-2]}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$path ${COMP_WORDS[i]}" in
`

func completeBash(w io.Writer, places []place) {
	fmt.Fprint(w, bashHead)
	for _, p := range places[1:] {
		parent, name := cutLast(p.path)
		fmt.Fprintf(w, "            '%s %s') path='%s' ;;\n", parent, name, p.path)
	}
	fmt.Fprint(w, "        esac\n    done\n    case \"$path $prev\" in\n")
	for _, p := range places {
		for _, f := range p.flags {
			if !f.value {
				continue
			}
			var patterns []string
			for _, name := range f.names() {
				patterns = append(patterns, "'"+p.path+" "+name+"'")
			}
			what := "return" // nothing said: the shell offers files
			if len(f.values) > 0 {
				what = fmt.Sprintf("COMPREPLY=($(compgen -W '%s' -- \"$cur\")); return", strings.Join(f.values, " "))
			}
			fmt.Fprintf(w, "        %s) %s ;;\n", strings.Join(patterns, "|"), what)
		}
	}
	fmt.Fprint(w, "    esac\n    local words= flags=\n    case \"$path\" in\n")
	for _, p := range places {
		commands, flags := p.words()
		fmt.Fprintf(w, "        '%s') words='%s' flags='%s' ;;\n", p.path, commands, flags)
	}
	fmt.Fprint(w, "    esac\n    if [[ $cur == -* ]]; then\n        words=$flags\n    fi\n"+
		"    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\ncomplete -o default -F _cutout cutout\n")
}

func cutLast(path string) (parent, name string) {
	if i := strings.LastIndexByte(path, ' '); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}

func completeZsh(w io.Writer, places []place) {
	fmt.Fprint(w, "#compdef cutout\n# Completion for cutout. Use: cutout completion zsh > \"${fpath[1]}/_cutout\"\n")
	quote := strings.NewReplacer("'", `'\''`, "[", `\[`, "]", `\]`, ":", `\:`).Replace
	function := func(path string) string {
		return strings.TrimSuffix("_cutout_"+strings.NewReplacer(" ", "_", "-", "_").Replace(path), "_")
	}
	for _, p := range places {
		fmt.Fprintf(w, "\n%s() {\n    local curcontext=$curcontext state line\n    _arguments -C", function(p.path))
		for _, f := range p.flags {
			value := ""
			switch {
			case len(f.values) > 0:
				value = ":value:(" + strings.Join(f.values, " ") + ")"
			case f.files:
				value = ":file:_files"
			case f.value:
				value = ":value:"
			}
			for _, name := range f.names() {
				if f.value && strings.HasPrefix(name, "--") {
					name += "="
				}
				fmt.Fprintf(w, " \\\n        '*%s[%s]%s'", name, quote(f.help), value)
			}
		}
		switch {
		case len(p.commands) > 0:
			fmt.Fprint(w, " \\\n        '1:command:((")
			for i, c := range p.commands {
				if i > 0 {
					fmt.Fprint(w, " ")
				}
				fmt.Fprintf(w, `%s\:"%s"`, c.word, strings.NewReplacer(`"`, `\"`, "$", `\$`, "`", "").Replace(quote(c.help)))
			}
			fmt.Fprint(w, "))' \\\n        '*::argument:->below'\n    [[ $state == below ]] || return\n    case $line[1] in\n")
			for _, c := range p.commands {
				fmt.Fprintf(w, "        %s) %s ;;\n", c.word, function(strings.TrimSpace(p.path+" "+c.word)))
			}
			fmt.Fprint(w, "    esac\n")
		case len(p.values) > 0:
			fmt.Fprintf(w, " \\\n        '*:value:(%s)'\n", strings.Join(p.values, " "))
		case p.files:
			fmt.Fprint(w, " \\\n        '*:file:_files'\n")
		default:
			fmt.Fprint(w, "\n")
		}
		fmt.Fprint(w, "}\n")
	}
	fmt.Fprint(w, "\nif [[ $funcstack[1] == _cutout ]]; then\n    _cutout \"$@\"\nelse\n    compdef _cutout cutout\nfi\n")
}

func completeFish(w io.Writer, places []place) {
	fmt.Fprint(w, "# Completion for cutout. Use: cutout completion fish > ~/.config/fish/completions/cutout.fish\n"+
		"function __cutout_at\n    set -l path ''\n    set -l typed (commandline -opc)\n    for word in $typed[2..-1]\n        switch \"$path $word\"\n")
	quote := strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace
	for _, p := range places[1:] {
		parent, name := cutLast(p.path)
		fmt.Fprintf(w, "            case '%s %s'\n                set path '%s'\n", parent, name, p.path)
	}
	fmt.Fprint(w, "        end\n")
	fmt.Fprint(w, "    end\n    test \"$path\" = \"$argv[1]\"\nend\n\n")
	for _, p := range places {
		at := fmt.Sprintf("complete -c cutout -n '__cutout_at \"%s\"'", p.path)
		for _, c := range p.commands {
			fmt.Fprintf(w, "%s -f -a '%s' -d '%s'\n", at, c.word, quote(c.help))
		}
		if len(p.values) > 0 {
			fmt.Fprintf(w, "%s -f -a '%s'\n", at, strings.Join(p.values, " "))
		}
		for _, f := range p.flags {
			fmt.Fprintf(w, "%s -l %s", at, strings.TrimPrefix(f.word, "--"))
			if f.short != "" {
				fmt.Fprintf(w, " -s %s", strings.TrimPrefix(f.short, "-"))
			}
			switch {
			case len(f.values) > 0:
				fmt.Fprintf(w, " -x -a '%s'", strings.Join(f.values, " "))
			case f.files:
				fmt.Fprint(w, " -r -F")
			case f.value:
				fmt.Fprint(w, " -x")
			}
			fmt.Fprintf(w, " -d '%s'\n", quote(f.help))
		}
	}
}

const powerShellHead = `# Completion for cutout. Use: cutout completion powershell | Out-String | Invoke-Expression
Register-ArgumentCompleter -Native -CommandName 'cutout' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $commands = @{
`

const powerShellTail = `    $path = ''
    $previous = ''
    $elements = @($commandAst.CommandElements | Select-Object -Skip 1 | Where-Object { $_.Extent.EndOffset -lt $cursorPosition })
    foreach ($element in $elements) {
        $previous = $element.ToString()
        $below = "$path $previous".Trim()
        if ($commands.ContainsKey($below)) { $path = $below }
    }
    $offered = $commands[$path]
    $key = "$path $previous".Trim()
    if ($values.ContainsKey($key)) { $offered = $values[$key] }
    $offered | Where-Object { $_[0] -like "$wordToComplete*" } | ForEach-Object {
        [System.Management.Automation.CompletionResult]::new($_[0], $_[0], 'ParameterValue', $_[1])
    }
}
`

func completePowerShell(w io.Writer, places []place) {
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	fmt.Fprint(w, powerShellHead)
	pair := func(word, help string) {
		if help == "" {
			help = word // a tip must not be empty
		}
		fmt.Fprintf(w, "            , @(%s, %s)\n", quote(word), quote(help))
	}
	for _, p := range places {
		fmt.Fprintf(w, "        %s = @(\n", quote(p.path))
		for _, c := range p.commands {
			pair(c.word, c.help)
		}
		for _, v := range p.values {
			pair(v, "")
		}
		for _, f := range p.flags {
			pair(f.word, f.help)
		}
		fmt.Fprint(w, "        )\n")
	}
	fmt.Fprint(w, "    }\n    $values = @{\n")
	for _, p := range places {
		for _, f := range p.flags {
			for _, name := range f.names() {
				if len(f.values) == 0 {
					continue
				}
				fmt.Fprintf(w, "        %s = @(\n", quote(strings.TrimSpace(p.path+" "+name)))
				for _, v := range f.values {
					pair(v, "")
				}
				fmt.Fprint(w, "        )\n")
			}
		}
	}
	fmt.Fprint(w, "    }\n"+powerShellTail)
}
