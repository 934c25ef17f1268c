package ximilar

import (
	"encoding/json"
	"testing"
)

// A body either is refused or gives records that can be done or say why not; what comes back is JSON.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"records":[{"_url":"http://x.example/"}]}`))
	f.Add([]byte(`{"records":[{"_base64":"data:image/png;base64,iVBORw0KGgo=","image_quality":"5","binary_mask":1}],"image_format":"webp"}`))
	f.Add([]byte(`{"records":[null,[],"",{"_base64":"data:"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := parse(body, true, 10)
		if err != nil {
			return
		}
		if len(req.records) == 0 || len(req.records) > 10 {
			t.Fatalf("%d records", len(req.records))
		}
		for _, r := range req.records {
			if r.problem == nil && (r.url == "") == (len(r.data) == 0) {
				t.Errorf("a record with neither or both: %q", body)
			}
			if r.problem == nil && (r.choice.quality < 1 || r.choice.quality > 100) {
				t.Errorf("quality %d", r.choice.quality)
			}
			if _, err := json.Marshal(r.fields); err != nil {
				t.Error(err)
			}
		}
	})
}
