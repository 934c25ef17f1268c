package graph

import "unsafe"

const (
	cacheLine = 64
	hugePage  = 2 << 20
)

// alignedFloats returns n zeroed float32 that begin on a cache line. Large buffers begin on a huge page and ask the system
// for such pages: the 36 streams of a Winograd panel would otherwise need more address translations than a core caches.
func alignedFloats(n int) []float32 {
	bytes, align := n*4, cacheLine
	if bytes >= hugePage/4 {
		bytes, align = (bytes+hugePage-1)&^(hugePage-1), hugePage
	}
	s := make([]float32, (bytes+align)/4)
	skip := 0
	if r := uintptr(unsafe.Pointer(unsafe.SliceData(s))) % uintptr(align); r != 0 {
		skip = (align - int(r)) / 4
	}
	if align == hugePage {
		adviseHugePages(unsafe.Slice((*byte)(unsafe.Pointer(&s[skip])), bytes))
	}
	return s[skip : skip+n : skip+n]
}
