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
	Name          string // of the graph input; empty: the first
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
	Name    string // of the graph output; empty: the first
	Channel int    // which channel is the subject
	Sigmoid bool   // what comes out are logits, which the logistic function makes scores
	Stretch bool   // scores are stretched so that the least is 0 and the largest 1 before they become a mask
}

// Entry is one network.
type Entry struct {
	Name    string
	File    string // base name, embedded or in the directory of installed networks
	URL     string // where the file is published; empty where it is not
	Licence string // SPDX identifier
	Source  string // who made it
	Data    string // what it was trained on
	Note    string // what somebody who is about to use it should know; may be empty
	SHA256  string // of the file, in lower-case hexadecimal; empty for a file of one's own that names none
	MD5     string // as the publisher of the file has it, in lower-case hexadecimal; may be empty
	Size    int64  // of the file, in bytes; 0 for a file of one's own
	Input   Input
	Output  Output
	Own     bool // described by a file beside it and not by the catalogue

	fsys fs.FS // set for what the binary carries
}

// imageNet returns mean and deviation of the ImageNet training set, as U-2-Net's own data loader has them.
func imageNet() (mean, std [3]float32) {
	return [3]float32{0.485, 0.456, 0.406}, [3]float32{0.229, 0.224, 0.225}
}

// published is where the rembg project publishes networks as ONNX.
const published = "https://github.com/danielgatis/rembg/releases/download/v0.0.0/"

// converted is what there is to say about the licence of what rembg publishes.
const converted = "the licence is that of the authors' weights; the converted file is published without a word of its own"

// Catalogue returns every network known, the default one first. Sizes of input, normalisation and MD5 sums are those of
// rembg 2.0.86, which publishes the files; the SHA-256 sums are of the same files.
func Catalogue() []Entry {
	// input is that of the networks that rembg publishes: an unnamed picture, red first, divided by its largest value.
	input := func(side int, mean, std [3]float32) Input {
		return Input{Layout: NCHW, Width: side, Height: side, Filter: Lanczos, Scale: ByMax, Mean: mean, Std: std}
	}
	mean, std := imageNet()
	half, one := [3]float32{0.5, 0.5, 0.5}, [3]float32{1, 1, 1}
	return []Entry{
		{
			Name:    Default,
			File:    "u2netp.onnx",
			Licence: "Apache-2.0",
			Source:  "https://github.com/xuebinqin/U-2-Net",
			Data:    "DUTS-TR",
			URL:     published + "u2netp.onnx",
			SHA256:  "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
			MD5:     "8e83ca70e441ab06c318d82300c84806",
			Size:    4574861,
			Input: Input{
				Name: "input.1", Layout: NCHW, Width: 320, Height: 320, Filter: Lanczos, Scale: ByMax,
				Mean: mean, Std: std,
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
		{
			Name:    "u2net",
			File:    "u2net.onnx",
			URL:     published + "u2net.onnx",
			Licence: "Apache-2.0",
			Source:  "https://github.com/xuebinqin/U-2-Net",
			Data:    "DUTS-TR",
			Note:    converted,
			SHA256:  "8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491",
			MD5:     "60024c5c889badc19c04ad937298a77b",
			Size:    175997641,
			Input:   input(320, mean, std),
			Output:  Output{Stretch: true},
		},
		{
			Name:    "u2net_human_seg",
			File:    "u2net_human_seg.onnx",
			URL:     published + "u2net_human_seg.onnx",
			Licence: "Apache-2.0",
			Source:  "https://github.com/xuebinqin/U-2-Net",
			Data:    "Supervisely Person, which its publisher offers for research; people alone",
			Note:    converted + "; finds people and nothing else",
			SHA256:  "01eb6a29a5c4d8edb30b56adad9bb3a2a0535338e480724a213e0acfd2d1c73c",
			MD5:     "c09ddc2e0104f800e3e1bb4652583d1f",
			Size:    175997641,
			Input:   input(320, mean, std),
			Output:  Output{Stretch: true},
		},
		{
			Name:    "silueta",
			File:    "silueta.onnx",
			URL:     published + "silueta.onnx",
			Licence: "NOASSERTION",
			Source:  "https://github.com/xuebinqin/U-2-Net/issues/295",
			Data:    "not published",
			Note:    "a smaller u2net that a user of U-2-Net trained and named no licence for; ask before you sell what it makes",
			SHA256:  "75da6c8d2f8096ec743d071951be73b4a8bc7b3e51d9a6625d63644f90ffeedb",
			MD5:     "55e59e0d8062d2f5d013f4725ee84782",
			Size:    44173029,
			Input:   input(320, mean, std),
			Output:  Output{Stretch: true},
		},
		{
			Name:    "isnet-general-use",
			File:    "isnet-general-use.onnx",
			URL:     published + "isnet-general-use.onnx",
			Licence: "Apache-2.0",
			Source:  "https://github.com/xuebinqin/DIS",
			Data:    "DIS5K and others; DIS5K's own terms are for research and education",
			Note:    converted,
			SHA256:  "60920e99c45464f2ba57bee2ad08c919a52bbf852739e96947fbb4358c0d964a",
			MD5:     "fc16ebd8b0c10d971d3513d564d01e29",
			Size:    178648008,
			Input:   input(1024, half, one),
			Output:  Output{Stretch: true},
		},
		{
			Name:    "isnet-anime",
			File:    "isnet-anime.onnx",
			URL:     published + "isnet-anime.onnx",
			Licence: "Apache-2.0",
			Source:  "https://github.com/SkyTNT/anime-segmentation",
			Data:    "drawings from several collections, put together by the author",
			Note:    converted + "; for drawn figures",
			SHA256:  "f15622d853e8260172812b657053460e20806f04b9e05147d49af7bed31a6e99",
			MD5:     "6f184e756bb3bd901c8849220a83e38e",
			Size:    176069933,
			Input:   input(1024, mean, one),
			Output:  Output{Stretch: true},
		},
	}
}

// Lookup returns the network of that name in the catalogue.
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
	if err := e.plain(dir); err != nil {
		return nil, err
	}
	data, err := e.load(os.DirFS(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, e.missing(dir)
	}
	return data, err
}

// Installed tells whether the network's file is there, by its size alone, without reading it. It fails as LoadFrom does
// where it is not.
func (e Entry) Installed(dir string) error {
	if e.fsys != nil {
		return nil
	}
	if err := e.plain(dir); err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(dir, e.File))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return e.missing(dir)
	case err != nil:
		return fmt.Errorf("weights: %s: %w", e.Name, err)
	case e.Size > 0 && info.Size() != e.Size:
		return &MismatchError{Name: e.Name, File: e.File, Want: e.SHA256, WantSize: e.Size, GotSize: info.Size()}
	}
	return nil
}

// plain refuses names of files that lead out of the directory.
func (e Entry) plain(dir string) error {
	if dir == "" {
		return fmt.Errorf("weights: %s: %w: no directory for networks is set", e.Name, ErrNotInstalled)
	}
	if !filepath.IsLocal(e.File) || filepath.Base(e.File) != e.File {
		return fmt.Errorf("weights: %s: %q is not a plain file name", e.Name, e.File)
	}
	return nil
}

func (e Entry) missing(dir string) error {
	return fmt.Errorf("weights: %s: %w: no %s in %s", e.Name, ErrNotInstalled, e.File, dir)
}

// Version is what tells one file of a network from another: the head of its SHA-256. It is empty for a file of one's own
// whose description names no sum.
func (e Entry) Version() string { return e.SHA256[:min(len(e.SHA256), versionDigits)] }

const versionDigits = 12

// load reads and verifies the file. It never reads more than a byte beyond the expected size.
func (e Entry) load(fsys fs.FS) (data []byte, err error) {
	f, err := fsys.Open(e.File)
	if err != nil {
		return nil, fmt.Errorf("weights: %s: %w", e.Name, err)
	}
	defer func() { _ = f.Close() }() // only read from
	size := e.Size
	if size == 0 { // a file of one's own
		info, err := f.Stat()
		if err != nil {
			return nil, fmt.Errorf("weights: %s: %w", e.Name, err)
		}
		if size = info.Size(); size > maxOwn {
			return nil, fmt.Errorf("weights: %s: %s has more than %d bytes", e.Name, e.File, int64(maxOwn))
		}
	}
	data = make([]byte, size+1)
	n, err := io.ReadFull(f, data)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("weights: %s: read %s: %w", e.Name, e.File, err)
	}
	data = data[:n]
	mismatch := MismatchError{Name: e.Name, File: e.File, Want: e.SHA256, WantSize: size, GotSize: int64(n)}
	if int64(n) != size {
		return nil, &mismatch
	}
	if e.SHA256 == "" {
		return data, nil
	}
	sum := sha256.Sum256(data)
	if mismatch.Got = hex.EncodeToString(sum[:]); mismatch.Got != e.SHA256 {
		return nil, &mismatch
	}
	return data, nil
}

// maxOwn bounds a file whose size nobody has told, 2 GB: protobuf messages, which ONNX files are, cannot be larger.
const maxOwn = 2 << 30
