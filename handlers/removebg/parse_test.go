package removebg

import (
	"math"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"cutout/config"
	"cutout/handlers/upload"
	"cutout/pipeline"
)

func parseForm(t *testing.T, values url.Values) (request, []problem) {
	t.Helper()
	r := httptest.NewRequest("POST", "/", strings.NewReader(values.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	form, err := upload.Read(r, upload.Options{Known: fields})
	if err != nil {
		t.Skip("no form")
	}
	return New(config.RemoveBG{Size: "auto"}, nil, nil).parse(form)
}

// Whatever is sent, what gets through is in range.
func FuzzParse(f *testing.F) {
	for _, seed := range [][4]string{
		{"10px 20% 30 40px", "10% 20px", "50%", "25% 100%"}, {"0% 0% 100% 100%", "0", "original", "center"}, {"", "", "", ""},
		{"-1px 1e9 NaN 1", "501px", "101%", "101%"}, {"1,2,3,4", "1 2 3", "%", "px"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], "81d4fa77", "55")
	}
	f.Fuzz(func(t *testing.T, roi, margin, scale, position, color, opacity string) {
		req, problems := parseForm(t, url.Values{
			fieldBase64: {"AAAA"}, fieldROI: {roi}, fieldCrop: {"true"}, fieldCropMargin: {margin}, fieldScale: {scale},
			fieldPosition: {position}, fieldColor: {color}, fieldShadowType: {"auto"}, fieldShadowOpacity: {opacity},
		})
		for _, p := range problems {
			if p.Title == "" || p.Code == "" {
				t.Errorf("a problem without words: %+v", p)
			}
		}
		if len(problems) > 0 {
			return
		}
		o := req.options
		for _, m := range []pipeline.Length{o.Crop.Top, o.Crop.Right, o.Crop.Bottom, o.Crop.Left} {
			if most := map[bool]float64{true: .5, false: 500}[m.Relative]; !(m.Value >= 0 && m.Value <= most) {
				t.Errorf("margin %q gives %+v", margin, m)
			}
		}
		if o.Region != nil {
			for _, l := range []pipeline.Length{o.Region.Left, o.Region.Top, o.Region.Right, o.Region.Bottom} {
				if math.IsNaN(l.Value) || math.IsInf(l.Value, 0) {
					t.Errorf("roi %q gives %+v", roi, l)
				}
			}
		}
		if p := o.Placement; p != nil && (!(p.Scale == 0 || p.Scale >= .1 && p.Scale <= 1) || !(p.X >= 0 && p.X <= 1 && p.Y >= 0 && p.Y <= 1)) {
			t.Errorf("scale %q and position %q give %+v", scale, position, *p)
		}
		if o.Shadow != nil && !(o.Shadow.Opacity > 0 && o.Shadow.Opacity <= 1) {
			t.Errorf("opacity %q gives %v", opacity, o.Shadow.Opacity)
		}
	})
}

func FuzzDecodeBase64(f *testing.F) {
	f.Add("data:image/png;base64,iVBORw0KGgo=")
	f.Add("AA-_")
	f.Fuzz(func(_ *testing.T, s string) { _, _ = decodeBase64(s) })
}
