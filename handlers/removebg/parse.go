package removebg

import (
	"encoding/base64"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"cutout/codec"
	"cutout/handlers/dialect"
	"cutout/handlers/upload"
	"cutout/pipeline"
)

// Names of the parameters.
const (
	fieldFile            = "image_file"
	fieldURL             = "image_url"
	fieldBase64          = "image_file_b64"
	fieldSize            = "size"
	fieldType            = "type"
	fieldTypeLevel       = "type_level"
	fieldFormat          = "format"
	fieldROI             = "roi"
	fieldCrop            = "crop"
	fieldCropMargin      = "crop_margin"
	fieldScale           = "scale"
	fieldPosition        = "position"
	fieldChannels        = "channels"
	fieldAddShadow       = "add_shadow"
	fieldShadowMethod    = "shadow_method"
	fieldShadowType      = "shadow_type"
	fieldShadowOpacity   = "shadow_opacity"
	fieldSemi            = "semitransparency"
	fieldColor           = "bg_color"
	fieldBackgroundURL   = "bg_image_url"
	fieldBackgroundFile  = "bg_image_file"
	fieldQuality         = "quality" // ours; a client that knows nothing of it loses nothing
	codeMissingSource    = "missing_source"
	maxMarginPixels      = 500
	maxMarginPercent     = 50
	leastScale, allScale = 10, 100
)

var fields = []string{
	fieldFile, fieldURL, fieldBase64, fieldSize, fieldType, fieldTypeLevel, fieldFormat, fieldROI, fieldCrop, fieldCropMargin,
	fieldScale, fieldPosition, fieldChannels, fieldAddShadow, fieldShadowMethod, fieldShadowType, fieldShadowOpacity, fieldSemi,
	fieldColor, fieldBackgroundURL, fieldBackgroundFile, fieldQuality,
}

// sizes are the pixels of a result at most. auto is the best there is; it costs no more here.
var sizes = map[string]int64{
	"preview": 250_000, "small": 250_000, "regular": 250_000, "medium": 1_500_000, "hd": 4_000_000,
	"full": 25_000_000, "4k": 25_000_000, "50mp": 50_000_000, "auto": 0,
}

var formats = map[string]codec.Format{
	"auto": pipeline.Auto, "png": codec.PNG, "jpg": codec.JPEG, "jpeg": codec.JPEG, "webp": codec.WebP, "zip": pipeline.ZIP,
}

// kinds are the types of a foreground as clients ask for them, and as the reply's header names them at the coarse level
// and at the finer ones. Nothing here looks for the type: what the client says is taken for true.
var kinds = map[string]struct {
	subject      pipeline.Subject
	coarse, fine string
	shadow       bool // add_shadow is honoured
}{
	"auto":           {pipeline.Universal, "other", "other", true},
	"person":         {pipeline.Human, "person", "person", false},
	"product":        {pipeline.Product, "product", "product", false},
	"car":            {pipeline.Product, "car", "car", true},
	"animal":         {pipeline.Universal, "animal", "animal", false},
	"graphic":        {pipeline.Universal, "other", "graphics", false},
	"graphics":       {pipeline.Universal, "other", "graphics", false},
	"transportation": {pipeline.Product, "other", "transportation", true},
	"other":          {pipeline.Universal, "other", "other", true},
}

// request is what a client asked for, validated.
type request struct {
	image, background source // the zero background: none, or a colour
	options           pipeline.Options
	kind              string // of the foreground, for the reply; empty: not told
}

// source is a picture that came along, or the URL of one.
type source struct {
	data       []byte
	url        string
	set        bool
	background bool
}

// parser reads parameters and collects what is wrong with them.
type parser struct {
	form     *upload.Form
	problems []problem
}

func (p *parser) text(name string) string {
	field, _ := p.form.Get(name)
	return field.Text()
}

func (p *parser) invalid(name, title string) {
	p.problems = append(p.problems, problem{Title: title, Code: "invalid_" + name})
}

// boolean reads a parameter that is true or false; one that is neither is refused.
func (p *parser) boolean(name string, fallback bool) bool {
	switch strings.ToLower(p.text(name)) {
	case "":
		return fallback
	case "true", "1":
		return true
	case "false", "0":
		return false
	default:
		p.invalid(name, "Invalid "+name+" parameter given")
		return fallback
	}
}

func (a *API) parse(form *upload.Form) (request, []problem) {
	p := &parser{form: form}
	req := request{options: pipeline.Options{Quality: pipeline.Balanced, Output: pipeline.Cutout}}
	req.image = p.image()

	size := strings.ToLower(p.text(fieldSize))
	if size == "" {
		size = strings.ToLower(a.cfg.Size)
	}
	var ok bool
	if req.options.MaxPixels, ok = sizes[size]; !ok {
		p.invalid(fieldSize, "Invalid value for parameter 'size'")
	}
	name := strings.ToLower(p.text(fieldFormat))
	if name == "" {
		name = "auto"
	}
	if req.options.Format, ok = formats[name]; !ok {
		p.invalid(fieldFormat, "Invalid format parameter given")
	}
	switch strings.ToLower(p.text(fieldChannels)) {
	case "", "rgba":
	case "alpha":
		req.options.Output = pipeline.Mask
	default:
		p.invalid(fieldChannels, "Invalid value for parameter 'channels'")
	}
	switch quality := pipeline.Quality(strings.ToLower(p.text(fieldQuality))); quality {
	case "":
	case pipeline.Fast, pipeline.Balanced, pipeline.Precise:
		req.options.Quality = quality
	default:
		p.invalid(fieldQuality, "Invalid value for parameter 'quality'")
	}
	p.boolean(fieldSemi, true) // for the windows of cars, which nothing here looks for: it is checked and does nothing
	p.kind(&req)
	p.region(&req.options)
	p.crop(&req.options)
	p.placement(&req.options)
	p.shadow(&req.options)
	p.background(&req)
	return req, p.problems
}

// image finds the one picture that is the request's.
func (p *parser) image() source {
	var found []source
	if field, ok := p.form.Get(fieldFile); ok {
		found = append(found, source{data: field.Data, set: true})
	}
	if field, ok := p.form.Get(fieldURL); ok {
		found = append(found, source{url: field.Text(), set: true})
	}
	if field, ok := p.form.Get(fieldBase64); ok {
		data, err := decodeBase64(field.Text())
		if err != nil {
			p.problems = append(p.problems, problem{
				Title: "There was an error reading the image.", Code: "failed_to_read_image",
				Detail: "The image_file_b64 parameter is not base64-encoded.",
			})
		}
		found = append(found, source{data: data, set: true})
	}
	switch len(found) {
	case 0:
		p.problems = append(p.problems, problem{
			Title: "No image given", Code: codeMissingSource,
			Detail: "Please provide the source image in the image_url, image_file or image_file_b64 parameter.",
		})
		return source{}
	case 1:
		return found[0]
	default:
		p.problems = append(p.problems, problem{
			Title: "Multiple image sources given: Please provide either the image_url, image_file or image_file_b64 parameter.",
			Code:  "multiple_sources",
		})
		return source{}
	}
}

// decodeBase64 takes base64 of either alphabet, padded or not, broken into lines or not, with or without the head of a
// data URL.
func decodeBase64(s string) ([]byte, error) {
	if strings.HasPrefix(s, "data:") {
		_, s, _ = strings.Cut(s, ",")
	}
	s = strings.NewReplacer("\r", "", "\n", "", " ", "+", "-", "+", "_", "/").Replace(s)
	return base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
}

func (p *parser) kind(req *request) {
	name := strings.ToLower(p.text(fieldType))
	if name == "" {
		name = "auto"
	}
	kind, ok := kinds[name]
	if !ok {
		p.invalid(fieldType, "Invalid value for parameter 'type'")
		return
	}
	req.options.Subject = kind.subject
	switch strings.ToLower(p.text(fieldTypeLevel)) {
	case "", "1":
		req.kind = kind.coarse
	case "2", "latest":
		req.kind = kind.fine
	case "none":
	default:
		p.invalid(fieldTypeLevel, "Invalid value for parameter 'type_level'")
	}
}

var lengthForm = regexp.MustCompile(`^([+-]?[0-9]{1,9}(?:\.[0-9]{1,9})?)(px|%)?$`)

// length reads a distance: a number of pixels, with or without its suffix, or a percentage.
func length(s string) (pipeline.Length, bool) {
	m := lengthForm.FindStringSubmatch(strings.ToLower(s))
	if m == nil {
		return pipeline.Length{}, false
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return pipeline.Length{}, false
	}
	if m[2] == "%" {
		return pipeline.Length{Value: v / 100, Relative: true}, true
	}
	return pipeline.Length{Value: v}, true
}

// lengths reads distances with white space or commas between them.
func lengths(s string) ([]pipeline.Length, bool) {
	words := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' || r == '\n' || r == '\r' })
	if len(words) > 4 {
		return nil, false
	}
	var all []pipeline.Length
	for _, word := range words {
		l, ok := length(word)
		if !ok {
			return nil, false
		}
		all = append(all, l)
	}
	return all, true
}

func (p *parser) region(o *pipeline.Options) {
	s := p.text(fieldROI)
	if s == "" {
		return
	}
	l, ok := lengths(s)
	if !ok || len(l) != 4 {
		p.invalid(fieldROI, "Invalid roi parameter given")
		return
	}
	whole := []pipeline.Length{{Relative: true}, {Relative: true}, {Value: 1, Relative: true}, {Value: 1, Relative: true}}
	if !slices.Equal(l, whole) {
		o.Region = &pipeline.Region{Left: l[0], Top: l[1], Right: l[2], Bottom: l[3]}
	}
}

func (p *parser) crop(o *pipeline.Options) {
	crop := p.boolean(fieldCrop, false)
	margin := pipeline.Crop{}
	if s := p.text(fieldCropMargin); s != "" {
		l, ok := lengths(s)
		for _, m := range l {
			most := float64(maxMarginPixels)
			if m.Relative {
				most = maxMarginPercent / 100.
			}
			ok = ok && m.Value >= 0 && m.Value <= most
		}
		switch {
		case ok && len(l) == 1:
			margin = pipeline.Crop{Top: l[0], Right: l[0], Bottom: l[0], Left: l[0]}
		case ok && len(l) == 2:
			margin = pipeline.Crop{Top: l[0], Right: l[1], Bottom: l[0], Left: l[1]}
		case ok && len(l) == 4:
			margin = pipeline.Crop{Top: l[0], Right: l[1], Bottom: l[2], Left: l[3]}
		default:
			p.invalid(fieldCropMargin, "Invalid crop_margin parameter given")
		}
	}
	if crop {
		o.Crop = &margin
	}
}

// placement reads scale and position. A scale centres the subject unless a position is given too.
func (p *parser) placement(o *pipeline.Options) {
	var place pipeline.Placement
	if s := strings.ToLower(p.text(fieldScale)); s != "" && s != "original" {
		l, ok := length(s)
		if !ok || !l.Relative || l.Value < leastScale/100. || l.Value > allScale/100. {
			p.invalid(fieldScale, "Invalid scale parameter given")
		}
		place.Scale = l.Value
	}
	switch s := strings.ToLower(p.text(fieldPosition)); s {
	case "":
		if place.Scale == 0 {
			return
		}
		place.X, place.Y = 0.5, 0.5
	case "original":
		if place.Scale == 0 {
			return
		}
		place.Stay = true
	case "center":
		place.X, place.Y = 0.5, 0.5
	default:
		l, ok := lengths(s)
		for _, v := range l {
			ok = ok && v.Relative && v.Value >= 0 && v.Value <= 1
		}
		if !ok || len(l) != 1 && len(l) != 2 {
			p.invalid(fieldPosition, "Invalid position parameter given")
			return
		}
		place.X, place.Y = l[0].Value, l[len(l)-1].Value
	}
	o.Placement = &place
}

func (p *parser) shadow(o *pipeline.Options) {
	opacity := 0.0
	hidden := false
	if s := strings.ToLower(p.text(fieldShadowOpacity)); s != "" && s != "auto" {
		l, ok := length(strings.TrimSuffix(s, "%"))
		if !ok || l.Value < 0 || l.Value > 100 {
			p.invalid(fieldShadowOpacity, "Invalid shadow_opacity parameter given")
		}
		opacity = l.Value / 100
		hidden = ok && l.Value == 0
	}
	kind := p.text(fieldShadowType)
	if p.boolean(fieldAddShadow, false) && kind == "" {
		if k, ok := kinds[strings.ToLower(p.text(fieldType))]; !ok || k.shadow {
			kind = "car"
		}
	}
	switch strings.ToLower(p.text(fieldShadowMethod)) { // another way to draw the shadows of cars, long deprecated
	case "", "latest", "legacy":
	default:
		p.invalid(fieldShadowMethod, "Invalid value for parameter 'shadow_method'")
	}
	shadow, ok := shadowOf(kind, opacity)
	if !ok {
		p.invalid(fieldShadowType, "Invalid shadow_type parameter given")
	}
	if !hidden {
		o.Shadow = shadow
	}
}

// background reads what is to lie below the subject: a colour or a picture, not both.
func (p *parser) background(req *request) {
	given := 0
	if s := p.text(fieldColor); s != "" {
		given++
		if c, ok := dialect.ParseColor(s); ok {
			req.options.Background = &pipeline.Background{Color: c}
		} else {
			p.invalid(fieldColor, "Invalid bg_color parameter given")
		}
	}
	if field, ok := p.form.Get(fieldBackgroundURL); ok {
		given++
		req.background = source{url: field.Text(), set: true, background: true}
	}
	if field, ok := p.form.Get(fieldBackgroundFile); ok {
		given++
		req.background = source{data: field.Data, set: true, background: true}
	}
	if given > 1 {
		p.problems = append(p.problems, problem{
			Title: "Multiple background sources given: Please provide either the bg_color, the bg_image_url or the bg_image_file parameter.",
			Code:  "multiple_bg_sources",
		})
	}
	if req.options.Output == pipeline.Mask && req.options.Format != pipeline.ZIP {
		req.background = source{} // means nothing to a mask: it is not even fetched
		req.options.Background, req.options.Shadow = nil, nil
	}
}
