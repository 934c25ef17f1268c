package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// stdio names standard input or output in place of a file.
const stdio = "-"

// pictureExtensions are those of files that are taken from a folder. A file that is named is taken whatever it is called.
var pictureExtensions = map[string]bool{
	".jpg": true, ".jpeg": true, ".jpe": true, ".jfif": true, ".png": true, ".webp": true, ".gif": true, ".bmp": true,
	".tif": true, ".tiff": true,
}

// source is one picture to work on.
type source struct {
	path  string
	below string // the folders between the folder that was named and the picture
	found bool   // in a folder or by a pattern, not named itself
}

// task is a picture and the place of its result.
type task struct {
	source

	output string
}

// sources lists the pictures that the arguments mean, and whether that is a batch: several, or as many as there are.
func sources(args []string, recursive bool) (all []source, batch bool, err error) {
	batch = len(args) > 1
	for _, arg := range args {
		if arg == stdio {
			all = append(all, source{path: arg})
			continue
		}
		info, statErr := os.Stat(arg)
		switch {
		case statErr == nil && info.IsDir():
			batch = true
			in, err := folder(arg, recursive)
			if err != nil {
				return nil, batch, err
			}
			all = append(all, in...)
			continue
		case statErr == nil || !strings.ContainsAny(arg, "*?["):
			all = append(all, source{path: arg})
			continue
		}
		batch = true
		matches, err := filepath.Glob(arg)
		if err != nil {
			return nil, batch, fmt.Errorf("%s: %w", arg, err)
		}
		before := len(all)
		for _, match := range matches {
			if info, err := os.Stat(match); err == nil && info.Mode().IsRegular() {
				all = append(all, source{path: match, found: true})
			}
		}
		if len(all) == before {
			return nil, batch, fmt.Errorf("%s: no file is called so", arg)
		}
	}
	return all, batch, nil
}

// folder lists the pictures in a folder, by their extension and in the order of their names. What is hidden is left out.
func folder(root string, recursive bool) ([]source, error) {
	var all []source
	deeper := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path == root:
			return nil
		case strings.HasPrefix(entry.Name(), "."):
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case entry.IsDir():
			if !recursive {
				deeper++
				return filepath.SkipDir
			}
			return nil
		case !pictureExtensions[strings.ToLower(filepath.Ext(path))]:
			return nil
		}
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() { // a link may lead anywhere
			below, err := filepath.Rel(root, filepath.Dir(path))
			all = append(all, source{path: path, below: below, found: true})
			return err
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(all) == 0 && deeper > 0:
		return nil, fmt.Errorf("%s: holds no pictures itself; --recursive looks into the folders in it", root)
	case len(all) == 0:
		return nil, fmt.Errorf("%s: holds no pictures", root)
	}
	return all, nil
}

// naming says where results go.
type naming struct {
	output    string // as given: empty, "-", a file, a folder, or a pattern with fields in braces
	extension string // of results whose name is not given
	pattern   bool
	folder    bool
}

var field = regexp.MustCompile(`\{[^{}]*\}`)

func newNaming(output, extension string) (naming, error) {
	n := naming{output: output, extension: extension}
	for _, name := range field.FindAllString(output, -1) {
		if !slices.Contains([]string{"{name}", "{ext}", "{dir}", "{index}"}, name) {
			return n, fmt.Errorf("--output %s: there is no %s, only {name}, {ext}, {dir} and {index}", output, name)
		}
		n.pattern = true
	}
	if output == "" || output == stdio || n.pattern {
		return n, nil
	}
	asFolder := os.IsPathSeparator(output[len(output)-1])
	n.folder = asFolder
	if info, err := os.Stat(filepath.Clean(output)); err == nil {
		n.folder = info.IsDir()
		if asFolder && !n.folder {
			return n, fmt.Errorf("--output %s: is a file", output)
		}
	}
	return n, nil
}

// of is the place of the result of a picture, the index-th counted from 1.
func (n naming) of(s source, index int) string {
	stem, extension := "stdin", ""
	if s.path != stdio {
		base := filepath.Base(s.path)
		extension = filepath.Ext(base)
		stem = strings.TrimSuffix(base, extension)
	}
	name := stem + "-cutout." + n.extension
	switch {
	case n.pattern:
		below := s.below
		if below == "" {
			below = "."
		}
		return filepath.Clean(strings.NewReplacer("{name}", stem, "{ext}", strings.TrimPrefix(extension, "."), "{dir}", below,
			"{index}", strconv.Itoa(index)).Replace(n.output))
	case n.folder:
		return filepath.Join(n.output, s.below, name)
	case n.output != "":
		return n.output
	case s.path == stdio:
		return stdio
	default:
		return beside(s, n.extension)
	}
}

// beside is where the result of a picture goes unless something else is said.
func beside(s source, extension string) string {
	return strings.TrimSuffix(filepath.Clean(s.path), filepath.Ext(s.path)) + "-cutout." + extension
}

// root is the folder below which all results lie, where that is not just beside the pictures.
func (n naming) root() string {
	switch {
	case n.folder:
		return n.output
	case n.pattern:
		fixed, _, _ := strings.Cut(n.output, "{")
		return filepath.Dir(fixed + "x")
	}
	return ""
}

// tasks names the result of each picture. It refuses what would overwrite a picture or another result, and leaves results
// of earlier runs out of the pictures that were found.
func tasks(all []source, n naming) ([]task, error) {
	if len(all) > 1 && n.output != "" && !n.folder && !n.pattern {
		return nil, fmt.Errorf("--output %s: must be a folder or a pattern such as out/{name}.png for more than one picture", n.output)
	}
	list, results := make([]task, len(all)), map[string]bool{}
	for i, s := range all {
		list[i] = task{source: s, output: n.of(s, i+1)}
		results[list[i].output] = true
		results[beside(s, n.extension)] = true
	}
	root := n.root()
	list = slices.DeleteFunc(list, func(t task) bool {
		return t.found && (results[filepath.Clean(t.path)] && t.output != filepath.Clean(t.path) || root != "" && root != "." && inside(root, t))
	})
	if len(list) == 0 {
		return nil, errors.New("there are no pictures but results of earlier runs")
	}
	taken := map[string]string{}
	for _, t := range list {
		if t.output == stdio {
			continue
		}
		if other, ok := taken[t.output]; ok {
			return nil, fmt.Errorf("%s: the results of %s and %s would both be written there; --output can be a pattern such as out/{name}-{ext}.png",
				t.output, other, t.path)
		}
		taken[t.output] = t.path
		if same(t.path, t.output) {
			return nil, fmt.Errorf("%s: would be overwritten by its result", t.path)
		}
	}
	return list, nil
}

// inside tells whether a picture that was found lies in the folder of the results, and that folder below the one that was
// named.
func inside(root string, t task) bool {
	named := filepath.Dir(t.path)
	if t.below != "" && t.below != "." {
		named = filepath.Clean(strings.TrimSuffix(named, t.below))
	}
	toRoot, err := filepath.Rel(named, root)
	if err != nil || toRoot == "." || strings.HasPrefix(toRoot, "..") {
		return false
	}
	toPicture, err := filepath.Rel(root, t.path)
	return err == nil && !strings.HasPrefix(toPicture, "..")
}

// same tells whether two names are the same existing file.
func same(a, b string) bool {
	if a == stdio || b == stdio {
		return false
	}
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}

// done tells whether the result is there and no older than the picture. Results are written whole or not at all.
func (t task) done() bool {
	if t.path == stdio || t.output == stdio {
		return false
	}
	picture, err := os.Stat(t.path)
	if err != nil {
		return false
	}
	result, err := os.Stat(t.output)
	return err == nil && result.Mode().IsRegular() && result.Size() > 0 && !result.ModTime().Before(picture.ModTime())
}

// writeFile writes a whole file or none: a result cut short by a full disk must not look like one. What is there and no
// plain file, such as a pipe or a device, is written to and not replaced; of a link its target is written.
func writeFile(name string, data []byte) (err error) {
	switch info, err := os.Stat(name); {
	case err == nil && info.IsDir():
		return fmt.Errorf("%s: is a folder", name)
	case err == nil && !info.Mode().IsRegular():
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.Write(data)
		return errors.Join(err, f.Close())
	case err == nil:
		if name, err = filepath.EvalSymlinks(name); err != nil {
			return err
		}
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".cutout-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
