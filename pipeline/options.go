// Package pipeline is the core of cutout: one request's Options in, one Result out.
//
// The way of a picture is decode, infer, matte, composite, encode; each step is a method and the deadline is checked
// between them. The package knows no HTTP; every dialect and the terminal translate into its Options.
package pipeline

import (
	"fmt"
	"image"
	"image/color"
	"time"

	"cutout/codec"
	"cutout/compositing"
)

// Output says what the result picture holds.
type Output string

// What a result picture can hold.
const (
	Cutout Output = "cutout" // the subject, transparent or on the chosen background
	Mask   Output = "mask"   // 8-bit single-channel mask, 255 is subject
)

// Quality trades time for edges.
type Quality string

// Quality levels.
const (
	Fast     Quality = "fast"     // the network's mask, scaled up
	Balanced Quality = "balanced" // looked at again where in doubt, refined along the photo's edges, colours decontaminated
	Precise  Quality = "precise"  // looked at again always, matted in a wide band along the outline
)

// Subject tells what to look for.
type Subject string

// Subjects.
const (
	Universal Subject = "universal"
	Human     Subject = "human"
	Product   Subject = "product"
)

// Background is what lies below the subject: an encoded picture, or a colour where Image is nil.
// A picture is centred and covers the canvas; what is transparent in it shows through the result.
type Background struct {
	Image  []byte
	Limits codec.Limits
	Color  color.NRGBA
}

// Options is one request, whichever dialect it came in. The zero value asks for a plain transparent PNG cutout.
type Options struct {
	Output     Output              // zero: Cutout
	Quality    Quality             // zero: the pipeline's default
	Subject    Subject             // zero: Universal
	Model      string              // wanted, by its name in the catalogue; where it is not installed the pipeline's own serves
	Exact      bool                // no other network than Model may serve
	Version    string              // head of the SHA-256 that Model's file must have where Exact is set; empty: any
	Matting    *MattingOptions     // how Precise mattes; nil: the pipeline's own way
	Region     *Region             // nil: the whole picture
	Clean      bool                // open, smooth and binarise the mask, as rembg's post-processing does
	Binary     bool                // only 0 and 255 in the mask, which is cut at one half
	Crop       *Crop               // nil: the canvas is the picture's
	Placement  *Placement          // nil: the subject stays where it is
	Shadow     *compositing.Shadow // nil: none; ignored for Mask
	Background *Background         // nil: transparent; ignored for Mask
	MaxPixels  int64               // of the result, which is shrunk to so many; zero: any
	Format     codec.Format        // of Result.Data; zero: PNG
	JPEG       int                 // quality of a JPEG, 1-100; zero: the pipeline's default
	WebP       int                 // quality of a WebP, 1-100; zero: the pipeline's default
	Also       []Variant           // further pictures of the same subject
	Limits     codec.Limits        // of the main picture
}

// MattingOptions tunes the closed-form matting of Precise.
type MattingOptions struct {
	ForegroundThreshold uint8 // mask values above are surely subject
	BackgroundThreshold uint8 // mask values below are surely background
	ErodeSize           int   // side in pixels of the square by which both sure areas shrink; zero: a cross of 3
	BaseSize            int   // longest side in pixels at which the matte is solved; zero: the picture's own
}

// Variant is a further picture made of the same mask and subject, for a fraction of what a request of its own costs. It
// has neither shadow nor MaxPixels; the qualities are those of the request.
type Variant struct {
	Output     Output
	Format     codec.Format // PNG, JPEG or WebP; zero: PNG
	Background *color.NRGBA // nil: transparent; ignored for Mask
}

// Object is one thing found: its bounding box around what is not transparent.
type Object struct {
	Box compositing.Box
}

// Stage is the time one step took.
type Stage struct {
	Name     string // "wait", "decode", "infer", "matte", "composite" or "encode"
	Start    time.Time
	Duration time.Duration
}

// StageWait is the stage before a request computes.
const StageWait = "wait"

// Result is the outcome of a request.
type Result struct {
	Data          []byte       // the encoded picture
	Also          [][]byte     // those of Options.Also, encoded
	Format        codec.Format // of Data
	Width, Height int          // of the upright picture, in pixels
	Canvas        image.Point  // size of the picture in Data, in pixels
	Full          image.Point  // what Canvas would be without Options.MaxPixels
	Objects       []Object     // the first is the whole subject; empty when nothing was found
	Model         string       // catalogue name of the network that found it
	Version       string       // of that network: the head of its file's SHA-256
	Asked         string       // Options.Model where another network has served; else empty
	Score         float32      // largest raw score of the network, 0..1; low means nothing was found
	Stages        []Stage      // in the order they ran
}

// BackgroundError says that it was the background, not the main picture, that could not be used.
type BackgroundError struct{ Err error }

func (e *BackgroundError) Error() string { return fmt.Sprintf("background: %v", e.Err) }

// Unwrap returns the cause, as codec reports it.
func (e *BackgroundError) Unwrap() error { return e.Err }
