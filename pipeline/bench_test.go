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

// BenchmarkStages reports what each step costs for a real photo, resampled to the sizes that docs/performance.md names.
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
				sums := map[string]float64{}
				n := 0
				for b.Loop() {
					r, err := p.Run(b.Context(), file.Bytes(), Options{Quality: q})
					if err != nil {
						b.Fatal(err)
					}
					for _, s := range r.Stages {
						sums[s.Name] += s.Duration.Seconds() * 1e3
					}
					n++
				}
				for name, v := range sums {
					b.ReportMetric(v/float64(n), name+"-ms")
				}
			})
		}
	}
}
