// Package weights is the catalogue of networks: where each comes from, under which licence, and what its input must
// look like. The networks that the binary carries are embedded here; others are read from a directory.
package weights

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

//go:embed u2netp.onnx selfie_segmentation.onnx
var embedded embed.FS

// Default names the network used where nobody asks for another.
const Default = "u2netp"

// People names the network that is asked for a second opinion on people. It knows nothing else.
const People = "selfie_segmentation"

// Layout is the order of an image tensor's dimensions: N images, C channels (red, green, blue), H rows, W columns.
type Layout string

// Layouts.
const (
	NCHW Layout = "NCHW"
	NHWC Layout = "NHWC"
)

// Scale is how 8-bit channel values become numbers before mean and deviation are applied.
type Scale string

// Scales.
const (
	ByMax Scale = "max" // divided by the largest value in the scaled picture; an all-black picture stays 0
	By255 Scale = "255" // divided by 255
)

// Filter names the resampling filter, with its support widened when scaling down (antialiased, as Pillow does).
type Filter string

// Filters.
const (
	Lanczos  Filter = "lanczos" // three lobes
	Bilinear Filter = "bilinear"
)

// Input describes the picture a network takes.
type Input struct {
	Name          string // of the graph input
	Layout        Layout
	Width, Height int // in pixels; the picture is stretched to it, its aspect ratio is not kept
	Filter        Filter
	Scale         Scale
	Mean, Std     [3]float32 // per channel, red first: (value-Mean)/Std, after Scale
}

// Shape returns the dimensions of the input tensor, for one picture.
func (in Input) Shape() []int {
	if in.Layout == NHWC {
		return []int{1, in.Height, in.Width, 3}
	}
	return []int{1, 3, in.Height, in.Width}
}

// Output describes where a network puts its mask.
type Output struct {
	Name    string // of the graph output
	Channel int    // which channel is the subject
	Stretch bool   // scores are stretched so that the least is 0 and the largest 1 before they become a mask
}

// Entry is one network.
type Entry struct {
	Name    string
	File    string // base name, embedded or in the directory of installed networks
	Licence string // SPDX identifier
	Source  string // who made it
	Data    string // what it was trained on
	SHA256  string // of the file, in lower-case hexadecimal
	Size    int64  // of the file, in bytes
	Input   Input
	Output  Output

	fsys fs.FS // set for what the binary carries
}

// Catalogue returns every network known, the default one first.
func Catalogue() []Entry {
	return []Entry{
		{
			Name:    Default,
			File:    "u2netp.onnx",
			Licence: "Apache-2.0",
			Source:  "https://github.com/xuebinqin/U-2-Net",
			Data:    "DUTS-TR",
			SHA256:  "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
			Size:    4574861,
			Input: Input{
				Name: "input.1", Layout: NCHW, Width: 320, Height: 320, Filter: Lanczos, Scale: ByMax,
				// Of the ImageNet training set, as U-2-Net's own data loader has them.
				Mean: [3]float32{0.485, 0.456, 0.406}, Std: [3]float32{0.229, 0.224, 0.225},
			},
			Output: Output{Name: "1959", Stretch: true},
			fsys:   embedded,
		},
		{
			Name:    People,
			File:    "selfie_segmentation.onnx",
			Licence: "Apache-2.0",
			Source:  "https://www.npmjs.com/package/@mediapipe/selfie_segmentation",
			Data:    "photos of people, not published",
			SHA256:  "8898dcc7169e5ff4336af3f3423100a71988aad11d1d7716cd1aac5eadacda69",
			Size:    440079,
			Input: Input{
				Name: "image", Layout: NCHW, Width: 256, Height: 256, Filter: Bilinear, Scale: By255, Std: [3]float32{1, 1, 1},
			},
			Output: Output{Name: "mask"},
			fsys:   embedded,
		},
	}
}

// Lookup returns the network of that name.
func Lookup(name string) (Entry, bool) {
	for _, e := range Catalogue() {
		if e.Name == name {
			return e, true
		}
	}
	return Entry{}, false
}

// MismatchError says that a file is not the one the catalogue describes: damaged, cut short or another version.
type MismatchError struct {
	Name      string // of the network
	File      string
	Want, Got string // SHA-256; Got is "" where the size already differed
	WantSize  int64
	GotSize   int64 // at least this; reading stops beyond WantSize
}

func (e *MismatchError) Error() string {
	if e.Got == "" {
		return fmt.Sprintf("weights: %s: %s is not the expected file: its size is not %d bytes", e.Name, e.File, e.WantSize)
	}
	return fmt.Sprintf("weights: %s: %s is not the expected file: its SHA-256 is %s, not %s", e.Name, e.File, e.Got, e.Want)
}

// ErrNotInstalled is wrapped where the file of a network is not there.
var ErrNotInstalled = errors.New("network is not installed")

// Embedded reports whether the binary carries the network itself.
func (e Entry) Embedded() bool { return e.fsys != nil }

// Load returns the network's ONNX file, checked against the catalogue, from the binary itself. It fails with a
// *MismatchError when the checksum differs and wraps ErrNotInstalled when the binary does not carry the network.
// The caller owns the bytes.
func (e Entry) Load() ([]byte, error) {
	if e.fsys == nil {
		return nil, fmt.Errorf("weights: %s: %w: it is not part of this binary", e.Name, ErrNotInstalled)
	}
	return e.load(e.fsys)
}

// LoadFrom is Load for networks that are installed in a directory. What the binary carries itself is taken from the
// binary, so that dir may be empty or missing for it.
func (e Entry) LoadFrom(dir string) ([]byte, error) {
	if e.fsys != nil {
		return e.Load()
	}
	if dir == "" {
		return nil, fmt.Errorf("weights: %s: %w: no directory for networks is set", e.Name, ErrNotInstalled)
	}
	if !filepath.IsLocal(e.File) || filepath.Base(e.File) != e.File {
		return nil, fmt.Errorf("weights: %s: %q is not a plain file name", e.Name, e.File)
	}
	data, err := e.load(os.DirFS(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("weights: %s: %w: no %s in %s", e.Name, ErrNotInstalled, e.File, dir)
	}
	return data, err
}

// load reads and verifies the file. It never reads more than a byte beyond the expected size.
func (e Entry) load(fsys fs.FS) (data []byte, err error) {
	f, err := fsys.Open(e.File)
	if err != nil {
		return nil, fmt.Errorf("weights: %s: %w", e.Name, err)
	}
	defer func() { _ = f.Close() }() // only read from
	data = make([]byte, e.Size+1)
	n, err := io.ReadFull(f, data)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("weights: %s: read %s: %w", e.Name, e.File, err)
	}
	data = data[:n]
	mismatch := MismatchError{Name: e.Name, File: e.File, Want: e.SHA256, WantSize: e.Size, GotSize: int64(n)}
	if int64(n) != e.Size {
		return nil, &mismatch
	}
	sum := sha256.Sum256(data)
	if mismatch.Got = hex.EncodeToString(sum[:]); mismatch.Got != e.SHA256 {
		return nil, &mismatch
	}
	return data, nil
}
