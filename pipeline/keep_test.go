package pipeline

import (
	"context"
	"runtime"
	"testing"
)

// Whoever keeps a result, a cache for instance, keeps no pictures with it.
func TestResultKeepsNoPictures(t *testing.T) {
	p := testPipeline(t)
	photo := read(t, "photos/astronaut.png")
	inUse := func() uint64 {
		runtime.GC()
		runtime.GC() // pools are empty after the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	run := func() *Result {
		res, err := p.Run(context.Background(), photo, Options{Quality: Fast, Format: "jpeg"})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	run()
	before := inUse()
	var kept []*Result
	size := 0
	for range 10 {
		res := run()
		size += cap(res.Data)
		kept = append(kept, res)
	}
	grown := int64(inUse()) - int64(before) - int64(size)
	if picture := int64(4 * kept[0].Width * kept[0].Height); grown > 5*picture {
		t.Errorf("ten results keep %d bytes beside their own, where a picture is %d", grown, picture)
	}
	runtime.KeepAlive(kept)
}
