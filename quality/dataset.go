package main

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/draw"
	_ "image/jpeg" // photos
	_ "image/png"  // masks and photos
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Sample is one photo with its true mask.
type Sample struct {
	Set, Name string
	Photo     string // path
	Truth     string // path of the true mask
	Reference string // path of the mask another program made, "" where there is none
}

// Set is a folder of photos with true masks.
type Set struct {
	Name    string
	Matte   bool // the true masks are mattes, not outlines
	Samples []Sample
}

// mattes names the sets whose true masks hold fractions that were measured.
var mattes = []string{"alphamatting", "lemur"}

// readSets lists the sets under data/gt, all of them or those named, with at most limit photos each (0: all).
func readSets(data string, names []string, limit int) ([]Set, error) {
	root := filepath.Join(data, "gt")
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("list the sets: %w", err)
	}
	var sets []Set
	for _, e := range entries {
		if !e.IsDir() || (len(names) > 0 && !slices.Contains(names, e.Name())) {
			continue
		}
		set := Set{Name: e.Name(), Matte: slices.Contains(mattes, e.Name())}
		photos, err := os.ReadDir(filepath.Join(root, e.Name(), "image"))
		if err != nil {
			return nil, fmt.Errorf("list the photos of %s: %w", e.Name(), err)
		}
		for _, p := range photos {
			name := strings.TrimSuffix(p.Name(), filepath.Ext(p.Name()))
			s := Sample{
				Set: e.Name(), Name: name,
				Photo:     filepath.Join(root, e.Name(), "image", p.Name()),
				Truth:     filepath.Join(root, e.Name(), "mask", name+".png"),
				Reference: filepath.Join(data, "refpairs", "u2netp_rembg_pre", e.Name(), name+".png"),
			}
			if _, err := os.Stat(s.Reference); errors.Is(err, fs.ErrNotExist) {
				s.Reference = ""
			}
			set.Samples = append(set.Samples, s)
			if len(set.Samples) == limit {
				break
			}
		}
		sets = append(sets, set)
	}
	for _, n := range names {
		if !slices.ContainsFunc(sets, func(s Set) bool { return s.Name == n }) {
			return nil, fmt.Errorf("no set %q under %s", n, root)
		}
	}
	if len(sets) == 0 {
		return nil, fmt.Errorf("no sets under %s", root)
	}
	return sets, nil
}

// readMask reads a mask file as grey values. It uses the standard library's decoders, not the ones under test.
func readMask(path string) (*image.Gray, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read a mask: %w", err)
	}
	m, err := decodeMask(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

func decodeMask(b []byte) (*image.Gray, error) {
	m, _, err := image.Decode(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("decode a mask: %w", err)
	}
	if g, ok := m.(*image.Gray); ok && g.Rect.Min == (image.Point{}) {
		return g, nil
	}
	g := image.NewGray(image.Rectangle{Max: m.Bounds().Size()})
	draw.Draw(g, g.Rect, m, m.Bounds().Min, draw.Src)
	return g, nil
}

// readPhoto reads a photo for the gallery.
func readPhoto(path string) (image.Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read a photo: %w", err)
	}
	defer func() { _ = f.Close() }() // only read from
	m, _, err := image.Decode(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// decodeCutout decodes a result picture.
func decodeCutout(b []byte) (*image.NRGBA, error) {
	m, _, err := image.Decode(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("decode a cutout: %w", err)
	}
	return straight(m), nil
}
