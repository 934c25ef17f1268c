package rembg

import (
	"net/url"
	"testing"

	"cutout/pipeline"
)

// Whatever is sent, what gets through is in range, and what does not is told of in words.
func FuzzOptions(f *testing.F) {
	f.Add("u2net=1&a=true&af=240&ab=10&ae=10&bgc=1,2,3,4")
	f.Add("a=2&af=-1&ab=1.50&ae=99999999999999999999&bgc=red&model=x")
	f.Add("af=+1&ab= 7 &ae=1.&om=ON&ppm=&dc=%zz")
	f.Fuzz(func(t *testing.T, raw string) {
		query, err := url.ParseQuery(raw)
		if err != nil {
			t.Skip("no query")
		}
		p := &parser{place: "query", query: query, get: func(name string) (string, bool) { return last(query, name) }}
		o := p.options()
		for _, problem := range p.problems {
			if problem.Type == "" || problem.Msg == "" || len(problem.Loc) != 2 || problem.Input == nil {
				t.Errorf("%+v", problem)
			}
		}
		if (o.Quality == pipeline.Precise) != (o.Matting != nil) || o.Matting != nil && o.Matting.ErodeSize < 0 {
			t.Errorf("%q gives %+v", raw, o)
		}
	})
}
