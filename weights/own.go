package weights

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// description is the file NAME.toml beside a network of one's own.
type description struct {
	File    string            `toml:"file"`
	Licence string            `toml:"licence"`
	Source  string            `toml:"source"`
	Data    string            `toml:"data"`
	SHA256  string            `toml:"sha256"`
	Input   inputDescription  `toml:"input"`
	Output  outputDescription `toml:"output"`
}

type inputDescription struct {
	Name   string    `toml:"name"`
	Layout string    `toml:"layout"`
	Width  int       `toml:"width"`
	Height int       `toml:"height"`
	Filter string    `toml:"filter"`
	Scale  string    `toml:"scale"`
	Mean   []float32 `toml:"mean"`
	Std    []float32 `toml:"std"`
}

type outputDescription struct {
	Name    string `toml:"name"`
	Channel int    `toml:"channel"`
	Sigmoid bool   `toml:"sigmoid"`
	Stretch bool   `toml:"stretch"`
}

// maxSide bounds the input of a network of one's own in pixels.
const maxSide = 4096

var ownName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Own returns the networks that files NAME.toml in dir describe, by name. A missing directory has none. Descriptions that
// cannot be used are left out and joined into the error.
func Own(dir string) ([]Entry, error) {
	if dir == "" {
		return nil, nil
	}
	files, err := filepath.Glob(filepath.Join(escape(dir), "*.toml"))
	if err != nil {
		return nil, fmt.Errorf("weights: %s: %w", dir, err)
	}
	slices.Sort(files)
	var (
		entries  []Entry
		problems []error
	)
	for _, file := range files {
		e, err := readOwn(file)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		entries = append(entries, e)
	}
	return entries, errors.Join(problems...)
}

// escape takes their meaning from the characters that patterns give one.
func escape(dir string) string {
	return strings.NewReplacer(`[`, `[[]`, `*`, `[*]`, `?`, `[?]`).Replace(dir)
}

// Find returns the network of that name: of the catalogue, or described by a file in dir. It wraps ErrUnknown where there
// is neither.
func Find(dir, name string) (Entry, error) {
	if e, ok := Lookup(name); ok {
		return e, nil
	}
	if dir == "" || !ownName.MatchString(name) {
		return Entry{}, fmt.Errorf("weights: %q: %w", name, ErrUnknown)
	}
	e, err := readOwn(filepath.Join(dir, name+".toml"))
	if errors.Is(err, fs.ErrNotExist) {
		return Entry{}, fmt.Errorf("weights: %q: %w", name, ErrUnknown)
	}
	return e, err
}

// ErrUnknown is wrapped where no network of a name is known.
var ErrUnknown = errors.New("no such network in the catalogue")

// readOwn reads and checks one description.
func readOwn(path string) (Entry, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Entry{}, fmt.Errorf("weights: %w", err)
	}
	e, err := parseOwn(strings.TrimSuffix(filepath.Base(path), ".toml"), data)
	if err != nil {
		return Entry{}, fmt.Errorf("weights: %s: %w", path, err)
	}
	return e, nil
}

// parseOwn makes an entry of a description. Only the size of the input has to be there: the rest is by default what U²-Net
// and its kin take.
func parseOwn(name string, data []byte) (Entry, error) {
	var d description
	mean, std := imageNet()
	d.Input.Mean, d.Input.Std = mean[:], std[:]
	meta, err := toml.Decode(string(data), &d)
	if err != nil {
		return Entry{}, err
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return Entry{}, fmt.Errorf("unknown key %q", unknown[0])
	}
	choose := func(value, fallback string, allowed ...string) string {
		if value == "" {
			return fallback
		}
		if !slices.Contains(allowed, value) && err == nil {
			err = fmt.Errorf("%q is none of %s", value, strings.Join(allowed, ", "))
		}
		return value
	}
	e := Entry{
		Name: name, File: d.File, Licence: d.Licence, Source: d.Source, Data: d.Data, SHA256: strings.ToLower(d.SHA256), Own: true,
		Input: Input{
			Name: d.Input.Name, Width: d.Input.Width, Height: d.Input.Height,
			Layout: Layout(choose(d.Input.Layout, string(NCHW), string(NCHW), string(NHWC))),
			Filter: Filter(choose(d.Input.Filter, string(Lanczos), string(Lanczos), string(Bilinear))),
			Scale:  Scale(choose(d.Input.Scale, string(ByMax), string(ByMax), string(By255))),
		},
		Output: Output{Name: d.Output.Name, Channel: d.Output.Channel, Sigmoid: d.Output.Sigmoid, Stretch: d.Output.Stretch},
	}
	if e.File == "" {
		e.File = name + ".onnx"
	}
	if e.Licence == "" {
		e.Licence = "NOASSERTION"
	}
	sum, bad := hex.DecodeString(e.SHA256)
	_, taken := Lookup(name)
	switch {
	case err != nil:
	case !ownName.MatchString(name):
		err = fmt.Errorf("%q is no name: letters, digits and ._- make one, at most 64", name)
	case taken:
		err = fmt.Errorf("%q is the name of a network of the catalogue", name)
	case filepath.Base(e.File) != e.File || !filepath.IsLocal(e.File):
		err = fmt.Errorf("file %q is not a plain file name", e.File)
	case e.SHA256 != "" && (bad != nil || len(sum) != 32):
		err = errors.New("sha256 is no SHA-256 sum in hexadecimal")
	case e.Input.Width < 1 || e.Input.Height < 1 || e.Input.Width > maxSide || e.Input.Height > maxSide:
		err = fmt.Errorf("input.width and input.height must be from 1 to %d", maxSide)
	case len(d.Input.Mean) != 3 || len(d.Input.Std) != 3:
		err = errors.New("input.mean and input.std must have three values, red first")
	case !(d.Input.Std[0] > 0 && d.Input.Std[1] > 0 && d.Input.Std[2] > 0):
		err = errors.New("input.std must be more than 0")
	case e.Output.Channel < 0:
		err = errors.New("output.channel must not be negative")
	}
	if err != nil {
		return Entry{}, err
	}
	copy(e.Input.Mean[:], d.Input.Mean)
	copy(e.Input.Std[:], d.Input.Std)
	return e, nil
}
