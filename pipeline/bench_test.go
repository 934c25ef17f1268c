package pipeline

import (
	"bytes"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"testing"

	"cutout/codec"
)

// BenchmarkStages reports the least that each step took for a real photo, resampled to the sizes that docs/performance.md names.
func BenchmarkStages(b *testing.B) {
	name := filepath.Join("..", "..", "shared", "data", "gt", "vikram_people", "image", "271.jpg")
	data, err := os.ReadFile(name)
	if err != nil {
		b.Skip("the shared photos are not here")
	}
	photo, _, err := codec.Decode(b.Context(), data, codec.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	p, err := New(b.Context(), Config{})
	if err != nil {
		b.Fatal(err)
	}
	for _, q := range []Quality{Fast, Balanced} {
		for _, side := range []int{512, 1380, 4000} {
			var file bytes.Buffer
			if err := codec.EncodeJPEG(&file, codec.Lanczos(photo, side, side), 90, color.NRGBA{}); err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("%s/%d", q, side), func(b *testing.B) {
				least := map[string]float64{} // the others tell about the machine's other work
				for b.Loop() {
					r, err := p.Run(b.Context(), file.Bytes(), Options{Quality: q})
					if err != nil {
						b.Fatal(err)
					}
					for _, s := range r.Stages {
						ms := s.Duration.Seconds() * 1e3
						if old, ok := least[s.Name]; !ok || ms < old {
							least[s.Name] = ms
						}
					}
				}
				for name, v := range least {
					b.ReportMetric(v, name+"-ms")
				}
			})
		}
	}
}
