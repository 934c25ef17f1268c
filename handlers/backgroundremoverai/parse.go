package backgroundremoverai

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cutout/codec"
	"cutout/handlers/dialect"
	"cutout/handlers/upload"
	"cutout/handlers/webhook"
	"cutout/pipeline"
)

// Names of the parameters.
const (
	fieldConvert    = "convert_to"
	fieldLang       = "lang"
	fieldModel      = "model"
	fieldMatting    = "alpha_matting"
	fieldForeground = "alpha_fg"
	fieldBackground = "alpha_bg"
	fieldErode      = "alpha_erode"
	fieldBaseSize   = "alpha_base_size"
	fieldOnlyMask   = "only_mask"
	fieldBgType     = "bg_type"
	fieldBgColor    = "bg_color_value"
)

var fields = slices.Concat([]string{
	fieldConvert, fieldLang, fieldModel, fieldMatting, fieldForeground, fieldBackground, fieldErode, fieldBaseSize, fieldOnlyMask,
	fieldBgType, fieldBgColor, webhook.Field, "files", "file",
}, videoFields, backgroundFields)

// What is below the subject.
const (
	backgroundNone  = "transparent"
	backgroundColor = "color"
	backgroundImage = "image"
)

// Values of parameters by the names that clients give them. The German and Spanish pages of the service translate some.
var (
	conversions = map[string]string{
		"image-backgroundremover": Kind, "bild-hintergrundentferner": Kind, "eliminador de fondo de imagen": Kind,
		"video-backgroundremover": VideoKind, "video-hintergrundentferner": VideoKind, "eliminador de fondo de vídeo": VideoKind,
		"eliminador de fondo de video": VideoKind,
	}
	backgrounds = map[string]string{
		"transparent": backgroundNone, "transparente": backgroundNone,
		"color": backgroundColor, "farbig": backgroundColor, "farbe": backgroundColor,
		"image": backgroundImage, "bild": backgroundImage, "imagen": backgroundImage,
	}
	models = []string{"u2net", "u2net_human_seg", "u2netp"}
)

// Largest value of alpha_base_size; the documentation bounds it nowhere, memory does.
const maxBaseSize = 10000

// options are those of a job, as they are stored with it.
type options struct {
	Model      string   `json:"model"`
	Matting    *matting `json:"matting,omitempty"`
	OnlyMask   bool     `json:"only_mask,omitempty"`
	Background string   `json:"background"`
	Color      string   `json:"color,omitempty"`
	Video      *clip    `json:"video,omitempty"` // nil: the files are pictures
}

type matting struct {
	Foreground uint8 `json:"fg"`
	Background uint8 `json:"bg"`
	Erode      int   `json:"erode"`
	BaseSize   int   `json:"base_size"`
}

// parser reads parameters and keeps the first problem.
type parser struct {
	form    *upload.Form
	problem *dialect.Error
}

func (p *parser) text(name string) string {
	field, _ := p.form.Get(name)
	return field.Text()
}

func (p *parser) refusef(format string, args ...any) {
	if p.problem == nil {
		p.problem = badRequest(dialect.ReasonBadParameter, fmt.Sprintf(format, args...))
	}
}

func (p *parser) boolean(name string) bool {
	switch strings.ToLower(p.text(name)) {
	case "", "false", "0", "off", "no":
		return false
	case "true", "1", "on", "yes":
		return true
	default:
		p.refusef("%s must be true or false.", name)
		return false
	}
}

func (p *parser) integer(name string, fallback, low, high int) int {
	value := p.text(name)
	if value == "" {
		return fallback
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < low || n > high {
		p.refusef("%s must be a number from %d to %d.", name, low, high)
		return fallback
	}
	return n
}

// parse reads the parameters of a conversion. Its error is a *dialect.Error.
func parse(form *upload.Form) (options, error) {
	p := &parser{form: form}
	o := options{Model: p.text(fieldModel), OnlyMask: p.boolean(fieldOnlyMask)}
	switch value := p.text(fieldConvert); conversions[strings.ToLower(value)] {
	case Kind:
	case VideoKind:
		o.Video = p.clip()
	default:
		if value == "" {
			p.refusef("convert_to is missing: it must be image-backgroundremover or video-backgroundremover.")
		}
		p.refusef("convert_to must be image-backgroundremover or video-backgroundremover.")
	}
	if o.Model == "" {
		o.Model = models[0]
	}
	if !slices.Contains(models, o.Model) {
		p.refusef("model must be u2net, u2net_human_seg or u2netp.")
	}
	m := matting{
		Foreground: uint8(p.integer(fieldForeground, 240, 0, 255)),
		Background: uint8(p.integer(fieldBackground, 10, 0, 255)),
		Erode:      p.integer(fieldErode, 10, 1, 25),
		BaseSize:   p.integer(fieldBaseSize, 1000, 1, maxBaseSize),
	}
	if p.boolean(fieldMatting) {
		if m.Foreground < m.Background {
			p.refusef("alpha_fg must not be below alpha_bg.")
		}
		o.Matting = &m
	}
	value := p.text(fieldBgType)
	if value == "" {
		value = backgroundNone
	}
	o.Background = backgrounds[strings.ToLower(value)]
	if o.Background == "" {
		p.refusef("bg_type must be transparent, color or image.")
	}
	if o.Background == backgroundColor {
		if o.Color = p.text(fieldBgColor); o.Color == "" {
			o.Color = "#ffffff"
		}
		if _, ok := dialect.ParseColor(o.Color); !ok {
			p.refusef("bg_color_value must be a hex colour such as #ffffff.")
		}
	}
	if p.problem != nil {
		return o, p.problem
	}
	return o, nil
}

// pipeline translates a job's options.
func (o options) pipeline(limits codec.Limits, background []byte) pipeline.Options {
	out := pipeline.Options{Output: pipeline.Cutout, Format: codec.PNG, Model: o.Model, Limits: limits}
	if o.Model == "u2net_human_seg" {
		out.Subject = pipeline.Human
	}
	if m := o.Matting; m != nil {
		out.Quality = pipeline.Precise
		out.Matting = &pipeline.MattingOptions{
			ForegroundThreshold: m.Foreground, BackgroundThreshold: m.Background, ErodeSize: m.Erode, BaseSize: m.BaseSize,
		}
	}
	switch {
	case o.OnlyMask:
		out.Output = pipeline.Mask
	case o.Background == backgroundImage:
		out.Background = &pipeline.Background{Image: background, Limits: limits}
	case o.Background == backgroundColor:
		c, _ := dialect.ParseColor(o.Color) // checked when it was handed in
		out.Background = &pipeline.Background{Color: c}
	}
	return out
}
