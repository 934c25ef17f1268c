// Package kernels holds the leaf loops of the engine on float32 data in channel blocks of 16 (NCHW16c).
//
// A block is the 16 channels of one pixel, 64 bytes. A plane of a channel block is [H][W][16]; a picture is
// [C/16][H][W][16], the channels past C being padding that holds finite values. Kernels do not allocate, log, start
// goroutines or check shapes beyond what keeps them inside their slices; each has a plain Go twin in generic.go,
// which is its specification.
package kernels

import (
	"fmt"
	"math"
)

// Block is the number of channels in a block.
const Block = 16

// WinogradPositions is the number of elements of a transformed 6x6 patch.
const WinogradPositions = 36

// MaxTileRun is the largest number of neighbouring tiles one Winograd transform call takes.
const MaxTileRun = 8

// WinogradScratch is the number of float32 a Winograd transform needs as scratch.
const WinogradScratch = (4*MaxTileRun + 2) * 6 * Block

// Epilogue is what is applied to a finished sum before it is stored: y = clamp(sum + Bias + Pre, Lo, Hi) + Post.
type Epilogue struct {
	Bias []float32 // [N*16] per channel, nil for none
	Pre  []float32 // same layout and strides as the destination, nil for none
	Post []float32 // likewise
	// Clamp tells whether Lo and Hi apply; ReLU is Lo 0, Hi +Inf.
	Clamp  bool
	Lo, Hi float32
}

// NoEpilogue stores the sum as it is.
var noEpilogue = Epilogue{Lo: float32(math.Inf(-1)), Hi: float32(math.Inf(1))}

// GemmShape describes a product of blocked matrices. Strides are in float32.
type GemmShape struct {
	M int // pixels
	N int // output channel blocks
	K int // input channels, a multiple of 4; the last block may be partly used

	AStride int // between channel blocks of the input
	WStride int // between output channel blocks of the weights, at least K*16
	DStride int // between channel blocks of the destination
}

// BatchStep is how far the operands of one product of a batch lie from those of the next, in float32.
type BatchStep struct{ D, A, W int }

// TileShape describes a run of neighbouring Winograd tiles. Strides are in float32.
type TileShape struct {
	Tiles int // at most MaxTileRun
	Row   int // between rows of the picture
	Pos   int // between the 36 positions of the transformed tiles
}

// Op is an element-wise operation.
type Op uint8

// Element-wise operations of Set.Arithmetic.
const (
	Add   Op = iota // a + b
	Sub             // a - b
	Mul             // a * b
	Max             // the larger
	Min             // the smaller
	PRelu           // a where it is positive, else a * b
)

// Set is one implementation of all kernels.
type Set struct {
	Name string

	// Gemm computes dst[n][m][16] = epilogue(sum over k of a[k/16][m][k%16] * w[n][k][16]).
	Gemm func(dst, a, w []float32, s GemmShape, e *Epilogue)
	// GemmBatch is Gemm without an epilogue for count products of one shape; operand i of each starts i steps into its slice.
	GemmBatch func(dst, a, w []float32, s GemmShape, count int, step BatchStep)
	// WinogradInput computes V = B^T d B of F(4x4,3x3) (Lavin and Gray 2015) for s.Tiles 6x6 patches, 4 pixels apart in src;
	// position p of tile t goes to dst[p*s.Pos + t*16].
	WinogradInput func(dst, src []float32, s TileShape, scratch []float32)
	// WinogradOutput computes Y = A^T m A for s.Tiles tiles and stores 4x4 pixels each, tiles side by side in dst; Bias is
	// that of one block, Pre and Post start where dst does.
	WinogradOutput func(dst, src []float32, s TileShape, e *Epilogue, scratch []float32)
	// MaxTaps computes dst[x] = max over i of src[x*step + offsets[i]/4 ...], blockwise; offsets are in bytes.
	MaxTaps func(dst, src []float32, offsets []int, pixels, step int)
	// DepthwiseTaps computes dst[x] = clamp(bias + sum over i of w[i]*src[x*step + offsets[i]/4 ...]), blockwise.
	DepthwiseTaps func(dst, src, w []float32, offsets []int, pixels, step int, e *Epilogue)
	// Lerp computes dst = a + (b-a)*w over len(dst)/16 blocks.
	Lerp func(dst, a, b []float32, w float32)
	// GatherLerp computes dst[x] = src[off0[x]/4...] + (src[off1[x]/4...] - src[off0[x]/4...])*w[x] over len(w) blocks.
	// Neither off0 nor off1 may decrease: only their ends are held against src.
	GatherLerp func(dst, src []float32, off0, off1 []int, w []float32)
	// Arithmetic computes dst[i] = a[i] op b[i], or a[i] op b[i%16] where b is one block. dst may be a or b.
	Arithmetic func(op Op, dst, a, b []float32)
}

// Generic returns the plain Go kernels.
func Generic() *Set {
	return &Set{
		Name: "generic", Gemm: gemmGeneric, GemmBatch: batchOf(gemmGeneric), WinogradInput: winogradInputGeneric, WinogradOutput: winogradOutputGeneric,
		MaxTaps: maxTapsGeneric, DepthwiseTaps: depthwiseTapsGeneric, Lerp: lerpGeneric, GatherLerp: gatherLerpGeneric, Arithmetic: arithmeticGeneric,
	}
}

// Available returns the sets this processor can run, the fastest first.
func Available() []*Set { return append(native(), Generic()) }

// Select returns the set of the given name, or the fastest one for "" and "auto".
// It returns an error naming the choices when the processor cannot run it.
func Select(name string) (*Set, error) {
	sets := Available()
	if name == "" || name == "auto" {
		return sets[0], nil
	}
	names := make([]string, len(sets))
	for i, s := range sets {
		if s.Name == name {
			return s, nil
		}
		names[i] = s.Name
	}
	return nil, fmt.Errorf("kernels: %q is not available here, choose one of %v", name, names)
}
