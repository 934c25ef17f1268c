//go:build !noasm

#include "textflag.h"
#include "go_asm.h"

// The kernels of arm64, for every 64-bit ARM processor: Advanced SIMD with fused multiply-add is part of the base
// architecture. A block of 16 channels is four registers of four float32. The plain Go twins in generic.go are the
// specification; native_arm64.go checks shapes before it calls. Go's assembler lacks the float32 vector instructions
// below, so they are encoded here: they take register numbers, in the order of Go's assembler (destination last), on
// lanes .4S. The others are written by name. Registers R18 and R26 to R30 belong to the platform, the linker and the
// runtime, and are left alone.

// FADD Vd.4S, Vn.4S, Vm.4S: d = n + m
#define VFADD(m, n, d) WORD $(0x4E20D400 | (m)<<16 | (n)<<5 | (d))

// FSUB Vd.4S, Vn.4S, Vm.4S: d = n - m
#define VFSUB(m, n, d) WORD $(0x4EA0D400 | (m)<<16 | (n)<<5 | (d))

// FMUL Vd.4S, Vn.4S, Vm.4S: d = n * m
#define VFMUL(m, n, d) WORD $(0x6E20DC00 | (m)<<16 | (n)<<5 | (d))

// FMAX Vd.4S, Vn.4S, Vm.4S: the larger, NaN where either is, as Go's max
#define VFMAX(m, n, d) WORD $(0x4E20F400 | (m)<<16 | (n)<<5 | (d))

// FMIN Vd.4S, Vn.4S, Vm.4S: the smaller, NaN where either is, as Go's min
#define VFMIN(m, n, d) WORD $(0x4EA0F400 | (m)<<16 | (n)<<5 | (d))

// FMLA Vd.4S, Vn.4S, Vm.S[lane]: d += n * m[lane]
#define VFMLAE(m, lane, n, d) WORD $(0x4F801000 | ((lane)&1)<<21 | (m)<<16 | ((lane)>>1)<<11 | (n)<<5 | (d))

// MOV Vd.16B, Vn.16B, that is ORR Vd.16B, Vn.16B, Vn.16B
#define VCOPY(n, d) WORD $(0x4EA01C00 | (n)<<16 | (n)<<5 | (d))

// Gemm
//
// A tile is 6 pixels x 16 channels: 24 accumulators, V0 to V23, pixel p in V(4p) to V(4p+3). Four input channels of the
// six pixels lie in V24 to V29, from where FMLA by element takes one lane at a time; V30 and V31 hold eight channels of
// one row of weights. That is all 32 registers, and no other split of them reads less: four input channels take
// 96 FMLA, 8 LDP of weights and 6 LDR of pixels, 22 quarter blocks or 0.23 loads an FMLA, where 3 pixels x 32 channels
// would read 35. With the loop's own 6 to 8 that is 1.2 instructions an FMLA. By their optimisation guides Cortex-A76
// and Neoverse N1 start two FMLA a cycle, load two registers and decode four instructions, so that 96 FMLA last
// 48 cycles, their loads 11 and their decoding 30; an Apple M1 (four, three and eight) needs 24, 8 and 15. All wait for
// the FMLA alone. The 24 sums also outnumber what four cycles of latency keep in flight, which is 8 there and 16 on the
// M1. V30 and V31 are written anew every 12 FMLA without a spare pair, which costs nothing where registers are renamed,
// and some load latency on small in-order cores.
//
// R0 call, R1 a, R2 w, R3 dst, R4 a and R5 w within the tile, R6 steps left, R7 steps left in the block,
// R8 from the end of one channel block of a to the next, R9 bias, R10 pre, R11 post, R12 tiles left, R13 scratch.

// EACHn does M for n pixels. M takes the first accumulator as a number, the four by name, the register of the pixel's
// input channels as number and by name, and x.
#define EACH1(M, x) M(0, F0, F1, F2, F3, 24, F24, x)
#define EACH2(M, x) EACH1(M, x); M(4, F4, F5, F6, F7, 25, F25, x)
#define EACH3(M, x) EACH2(M, x); M(8, F8, F9, F10, F11, 26, F26, x)
#define EACH4(M, x) EACH3(M, x); M(12, F12, F13, F14, F15, 27, F27, x)
#define EACH5(M, x) EACH4(M, x); M(16, F16, F17, F18, F19, 28, F28, x)
#define EACH6(M, x) EACH5(M, x); M(20, F20, F21, F22, F23, 29, F29, x)

#define SPREAD(acc, f0, f1, f2, f3, in, fin, x) \
	VCOPY(24, acc); VCOPY(25, acc+1); VCOPY(26, acc+2); VCOPY(27, acc+3)

// ADDFROM adds a block at (ptr) to the sums and moves ptr on; V28 to V31 are free whenever it is done.
#define ADDFROM(acc, f0, f1, f2, f3, in, fin, ptr) \
	FLDPQ.P 32(ptr), (F28, F29); \
	FLDPQ.P 32(ptr), (F30, F31); \
	VFADD(28, acc, acc); VFADD(29, acc+1, acc+1); VFADD(30, acc+2, acc+2); VFADD(31, acc+3, acc+3)

#define LOADA(acc, f0, f1, f2, f3, in, fin, x) \
	FMOVQ (acc*16)(R4), fin

#define MADDLOW(acc, f0, f1, f2, f3, in, fin, lane) \
	VFMLAE(in, lane, 30, acc); VFMLAE(in, lane, 31, acc+1)

#define MADDHIGH(acc, f0, f1, f2, f3, in, fin, lane) \
	VFMLAE(in, lane, 30, acc+2); VFMLAE(in, lane, 31, acc+3)

#define STEP(EACH, lane) \
	FLDPQ (lane*64)(R5), (F30, F31); \
	EACH(MADDLOW, lane); \
	FLDPQ (lane*64+32)(R5), (F30, F31); \
	EACH(MADDHIGH, lane)

#define LIMIT(acc, f0, f1, f2, f3, in, fin, x) \
	VFMAX(30, acc, acc); VFMAX(30, acc+1, acc+1); VFMAX(30, acc+2, acc+2); VFMAX(30, acc+3, acc+3); \
	VFMIN(31, acc, acc); VFMIN(31, acc+1, acc+1); VFMIN(31, acc+2, acc+2); VFMIN(31, acc+3, acc+3)

#define STORE(acc, f0, f1, f2, f3, in, fin, x) \
	FSTPQ.P (f0, f1), 32(R3); \
	FSTPQ.P (f2, f3), 32(R3)

// GEMM is the body of a kernel: bias or zero, pre, four input channels a turn, clamp, post, store, next tile.
#define GEMM(EACH, pixels) \
	MOVD gemmCall_a(R0), R1; \
	MOVD gemmCall_w(R0), R2; \
	MOVD gemmCall_dst(R0), R3; \
	MOVD gemmCall_aStride(R0), R8; \
	SUB $64, R8; \
	MOVD gemmCall_bias(R0), R9; \
	MOVD gemmCall_pre(R0), R10; \
	MOVD gemmCall_post(R0), R11; \
	MOVD gemmCall_tiles(R0), R12; \
tile: \
	VEOR V24.B16, V24.B16, V24.B16; \
	VEOR V25.B16, V25.B16, V25.B16; \
	VEOR V26.B16, V26.B16, V26.B16; \
	VEOR V27.B16, V27.B16, V27.B16; \
	CBZ  R9, nobias; \
	FLDPQ (R9), (F24, F25); \
	FLDPQ 32(R9), (F26, F27); \
nobias: \
	EACH(SPREAD, 0); \
	CBZ R10, nopre; \
	EACH(ADDFROM, R10); \
nopre: \
	MOVD R1, R4; \
	MOVD R2, R5; \
	MOVD gemmCall_k4(R0), R6; \
	MOVD $4, R7; \
four: \
	EACH(LOADA, 0); \
	STEP(EACH, 0); \
	STEP(EACH, 1); \
	STEP(EACH, 2); \
	STEP(EACH, 3); \
	ADD  $256, R5; \
	ADD  $16, R4; \
	SUBS $1, R7; \
	BNE  same; \
	ADD  R8, R4; \
	MOVD $4, R7; \
same: \
	SUBS $1, R6; \
	BNE  four; \
	MOVD gemmCall_clamp(R0), R13; \
	CBZ  R13, noclamp; \
	ADD  $gemmCall_lo, R0, R13; \
	VLD1R.P 4(R13), [V30.S4]; \
	VLD1R (R13), [V31.S4]; \
	EACH(LIMIT, 0); \
noclamp: \
	CBZ R11, nopost; \
	EACH(ADDFROM, R11); \
nopost: \
	EACH(STORE, 0); \
	ADD  $(pixels*64), R1; \
	SUBS $1, R12; \
	BNE  tile

// func gemm6(call *gemmCall)
TEXT ·gemm6(SB), NOSPLIT, $0-8
	MOVD call+0(FP), R0
	GEMM(EACH6, 6)
	RET

// func gemm5(call *gemmCall)
TEXT ·gemm5(SB), NOSPLIT, $0-8
	MOVD call+0(FP), R0
	GEMM(EACH5, 5)
	RET

// func gemm4(call *gemmCall)
TEXT ·gemm4(SB), NOSPLIT, $0-8
	MOVD call+0(FP), R0
	GEMM(EACH4, 4)
	RET

// func gemm3(call *gemmCall)
TEXT ·gemm3(SB), NOSPLIT, $0-8
	MOVD call+0(FP), R0
	GEMM(EACH3, 3)
	RET

// func gemm2(call *gemmCall)
TEXT ·gemm2(SB), NOSPLIT, $0-8
	MOVD call+0(FP), R0
	GEMM(EACH2, 2)
	RET

// func gemm1(call *gemmCall)
TEXT ·gemm1(SB), NOSPLIT, $0-8
	MOVD call+0(FP), R0
	GEMM(EACH1, 1)
	RET

// Winograd F(4x4,3x3) input transform
//
// INPUT6 is B^T d of eight channels: d0 to d5 in the register pairs 0, 2, 4, 6, 8, 10; o0 to o5 in 12, 0, 4, 2, 14, 10.
// V29, V30 and V31 hold 2, 4 and 5. The two halves of a pair alternate, so that in-order cores need not wait.
#define INPUT6 \
	VFSUB(4, 8, 14); VFSUB(5, 9, 15);             /* c = d4 - d2 */ \
	VFSUB(2, 6, 16); VFSUB(3, 7, 17);             /* e = d3 - d1 */ \
	VMOV  V8.B16, V12.B16; \
	VMOV  V9.B16, V13.B16; \
	VFMLA V30.S4, V0.S4, V12.S4; \
	VFMLA V30.S4, V1.S4, V13.S4; \
	VFMLA V30.S4, V2.S4, V10.S4; \
	VFMLA V30.S4, V3.S4, V11.S4; \
	VFMLS V31.S4, V4.S4, V12.S4; \
	VFMLS V31.S4, V5.S4, V13.S4;                  /* o0 = d4 + 4 d0 - 5 d2 */ \
	VFMLS V31.S4, V6.S4, V10.S4; \
	VFMLS V31.S4, V7.S4, V11.S4;                  /* o5 = d5 + 4 d1 - 5 d3 */ \
	VFMLS V30.S4, V4.S4, V8.S4; \
	VFMLS V30.S4, V5.S4, V9.S4;                   /* a = d4 - 4 d2 */ \
	VFMLS V30.S4, V2.S4, V6.S4; \
	VFMLS V30.S4, V3.S4, V7.S4;                   /* b = d3 - 4 d1 */ \
	VMOV  V14.B16, V2.B16; \
	VMOV  V15.B16, V3.B16; \
	VFADD(6, 8, 0); VFADD(7, 9, 1);               /* o1 = a + b */ \
	VFSUB(6, 8, 4); VFSUB(7, 9, 5);               /* o2 = a - b */ \
	VFMLA V29.S4, V16.S4, V2.S4; \
	VFMLA V29.S4, V17.S4, V3.S4;                  /* o3 = c + 2 e */ \
	VFMLS V29.S4, V16.S4, V14.S4; \
	VFMLS V29.S4, V17.S4, V15.S4                  /* o4 = c - 2 e */

// Columns of the whole run first, shared by neighbouring tiles, then rows tile by tile. The scratch is
// [column][half][6][8 channels], so that the row pass reads each of its six columns from end to end.
//
// R1 to R6 the six rows of src, later the six columns of scratch; R7 scratch or dst, R8 dst, R9 between positions,
// R10 count, R11 tiles left, R12 and R13 scratch.

// func winogradInput(call *winogradCall)
TEXT ·winogradInput(SB), NOSPLIT, $0-8
	MOVD  call+0(FP), R0
	FMOVS $2.0, F29
	FMOVS $4.0, F30
	FMOVS $5.0, F31
	VDUP  V29.S[0], V29.S4
	VDUP  V30.S[0], V30.S4
	VDUP  V31.S[0], V31.S4
	MOVD  winogradCall_row(R0), R12
	MOVD  winogradCall_src(R0), R1
	ADD   R12, R1, R2
	ADD   R12, R2, R3
	ADD   R12, R3, R4
	ADD   R12, R4, R5
	ADD   R12, R5, R6
	MOVD  winogradCall_scratch(R0), R7
	MOVD  winogradCall_tiles(R0), R11

	// 4*tiles+2 columns of two halves.
	LSL $3, R11, R10
	ADD $4, R10

column:
	FLDPQ.P 32(R1), (F0, F1)
	FLDPQ.P 32(R2), (F2, F3)
	FLDPQ.P 32(R3), (F4, F5)
	FLDPQ.P 32(R4), (F6, F7)
	FLDPQ.P 32(R5), (F8, F9)
	FLDPQ.P 32(R6), (F10, F11)
	INPUT6
	FSTPQ   (F12, F13), (R7)
	FSTPQ   (F0, F1), 32(R7)
	FSTPQ   (F4, F5), 64(R7)
	FSTPQ   (F2, F3), 96(R7)
	FSTPQ   (F14, F15), 128(R7)
	FSTPQ   (F10, F11), 160(R7)
	ADD     $192, R7
	SUBS    $1, R10
	BNE     column

	MOVD winogradCall_scratch(R0), R1
	ADD  $384, R1, R2
	ADD  $384, R2, R3
	ADD  $384, R3, R4
	ADD  $384, R4, R5
	ADD  $384, R5, R6
	MOVD winogradCall_dst(R0), R8
	MOVD winogradCall_pos(R0), R9

tile:
	MOVD $2, R12
	MOVD R8, R13

half:
	MOVD R13, R7
	MOVD $6, R10

row:
	FLDPQ.P 32(R1), (F0, F1)
	FLDPQ.P 32(R2), (F2, F3)
	FLDPQ.P 32(R3), (F4, F5)
	FLDPQ.P 32(R4), (F6, F7)
	FLDPQ.P 32(R5), (F8, F9)
	FLDPQ.P 32(R6), (F10, F11)
	INPUT6
	VST1.P  [V12.S4, V13.S4], (R7)(R9)
	VST1.P  [V0.S4, V1.S4], (R7)(R9)
	VST1.P  [V4.S4, V5.S4], (R7)(R9)
	VST1.P  [V2.S4, V3.S4], (R7)(R9)
	VST1.P  [V14.S4, V15.S4], (R7)(R9)
	VST1.P  [V10.S4, V11.S4], (R7)(R9)
	SUBS    $1, R10
	BNE     row
	ADD     $32, R13
	SUBS    $1, R12
	BNE     half

	// The next tile begins four columns on, one of which is read already.
	ADD  $1152, R1
	ADD  $1152, R2
	ADD  $1152, R3
	ADD  $1152, R4
	ADD  $1152, R5
	ADD  $1152, R6
	ADD  $64, R8
	SUBS $1, R11
	BNE  tile
	RET

// Winograd output transform
//
// Four channels at a time the 24 intermediate values stay in V0 to V23, row i of them in V(6i) to V(6i+5): no scratch.
// V31 holds 2, 4 and 8 for FMLA by element, V30 the bias, and while rows are made V28 and V29 the limits.

// OUTPUT6 is A^T m of four channels; m2 and m3 are destroyed.
#define OUTPUT6(m0, m1, m2, m3, m4, m5, o0, o1, o2, o3) \
	VFADD(m2, m1, o0);        /* a = m1 + m2 */ \
	VFSUB(m2, m1, o1);        /* b = m1 - m2 */ \
	VFADD(m4, m3, m2);        /* s = m3 + m4 */ \
	VFSUB(m4, m3, m3);        /* t = m3 - m4 */ \
	VCOPY(o0, o2); \
	VFADD(m5, o1, o3); \
	VFADD(m0, o0, o0); \
	VFMLAE(31, 1, m2, o2);    /* o2 = a + 4 s */ \
	VFMLAE(31, 2, m3, o3);    /* o3 = b + 8 t + m5 */ \
	VFADD(m2, o0, o0);        /* o0 = m0 + a + s */ \
	VFMLAE(31, 0, m3, o1)     /* o1 = b + 2 t */

// COLUMN transforms column j: six positions, 6 apart, each pointer moving on to the next column.
#define COLUMN(j) \
	VLD1.P (R1)(R8), [V24.S4]; \
	VLD1.P (R2)(R8), [V25.S4]; \
	VLD1.P (R3)(R8), [V26.S4]; \
	VLD1.P (R4)(R8), [V27.S4]; \
	VLD1.P (R5)(R8), [V28.S4]; \
	VLD1.P (R6)(R8), [V29.S4]; \
	OUTPUT6(24, 25, 26, 27, 28, 29, j, j+6, j+12, j+18)

// ADD4 adds four channels of four pixels to V24 to V27. V0 to V3 are free as soon as the first row is made.
#define ADD4(ptr) \
	FMOVQ (ptr), F0; \
	FMOVQ 64(ptr), F1; \
	FMOVQ 128(ptr), F2; \
	FMOVQ 192(ptr), F3; \
	VFADD(0, 24, 24); VFADD(1, 25, 25); VFADD(2, 26, 26); VFADD(3, 27, 27)

// ROW makes four pixels of the row whose first value is in register m, and stores them. R7 is their byte offset.
#define ROW(m, nopre, noclamp, nopost) \
	OUTPUT6(m, m+1, m+2, m+3, m+4, m+5, 24, 25, 26, 27); \
	VFADD(30, 24, 24); VFADD(30, 25, 25); VFADD(30, 26, 26); VFADD(30, 27, 27); \
	CBZ R11, nopre; \
	ADD R7, R11, R17; \
	ADD4(R17); \
nopre: \
	CBZ R13, noclamp; \
	VFMAX(28, 24, 24); VFMAX(28, 25, 25); VFMAX(28, 26, 26); VFMAX(28, 27, 27); \
	VFMIN(29, 24, 24); VFMIN(29, 25, 25); VFMIN(29, 26, 26); VFMIN(29, 27, 27); \
noclamp: \
	CBZ R12, nopost; \
	ADD R7, R12, R17; \
	ADD4(R17); \
nopost: \
	ADD   R7, R10, R17; \
	FMOVQ F24, (R17); \
	FMOVQ F25, 64(R17); \
	FMOVQ F26, 128(R17); \
	FMOVQ F27, 192(R17)

// R0 call, R1 to R6 positions of src 6 apart, R7 byte offset of the pixels, R8 between positions, R9 src, R10 dst,
// R11 pre, R12 post, R13 clamp, R14 between rows of dst, R15 tiles left, R16 quarters left, R17 scratch,
// R19 address of the limits, R20 bias, R21 between positions 6 apart, R22 byte offset of the quarter.

// func winogradOutput(call *winogradCall)
TEXT ·winogradOutput(SB), NOSPLIT, $0-8
	MOVD  call+0(FP), R0
	FMOVS $2.0, F31
	FMOVS $4.0, F30
	FMOVS $8.0, F29
	VMOV  V30.S[0], V31.S[1]
	VMOV  V29.S[0], V31.S[2]
	MOVD  winogradCall_src(R0), R9
	MOVD  winogradCall_dst(R0), R10
	MOVD  winogradCall_row(R0), R14
	MOVD  winogradCall_pos(R0), R8
	MOVD  winogradCall_tiles(R0), R15
	MOVD  winogradCall_pre(R0), R11
	MOVD  winogradCall_post(R0), R12
	MOVD  winogradCall_bias(R0), R20
	MOVD  winogradCall_clamp(R0), R13
	ADD   $winogradCall_lo, R0, R19
	ADD   R8<<1, R8, R21
	LSL   $1, R21

tile:
	MOVD $4, R16
	MOVD $0, R22

quarter:
	ADD R22, R9, R1
	ADD R21, R1, R2
	ADD R21, R2, R3
	ADD R21, R3, R4
	ADD R21, R4, R5
	ADD R21, R5, R6
	COLUMN(0)
	COLUMN(1)
	COLUMN(2)
	COLUMN(3)
	COLUMN(4)
	COLUMN(5)

	VEOR  V30.B16, V30.B16, V30.B16
	CBZ   R20, nobias
	ADD   R22, R20, R17
	FMOVQ (R17), F30

nobias:
	MOVD    R19, R17
	VLD1R.P 4(R17), [V28.S4]
	VLD1R   (R17), [V29.S4]
	MOVD    R22, R7
	ROW(0, nopre0, noclamp0, nopost0)
	ADD     R14, R7
	ROW(6, nopre1, noclamp1, nopost1)
	ADD     R14, R7
	ROW(12, nopre2, noclamp2, nopost2)
	ADD     R14, R7
	ROW(18, nopre3, noclamp3, nopost3)
	ADD     $16, R22
	SUBS    $1, R16
	BNE     quarter

	ADD $64, R9
	ADD $256, R10
	CBZ R11, nopre
	ADD $256, R11

nopre:
	CBZ R12, nopost
	ADD $256, R12

nopost:
	SUBS $1, R15
	BNE  tile
	RET

// Taps
//
// Four pixels are in flight, then one at a time: sums of pixel p in V(4p) to V(4p+3), what is read in V16 to V23, the
// weights of a tap in V24 to V27, the bias in V28 to V31.
//
// R0 call, R1 dst, R2 src, R3 offsets, R4 weights, R5 pixels left, R6 between pixels of src, R7 offset pointer,
// R8 weight pointer, R9 taps left, R10 the tap's address, R11 clamp, R12 scratch.

#define TAPS \
	MOVD tapsCall_dst(R0), R1; \
	MOVD tapsCall_src(R0), R2; \
	MOVD tapsCall_offsets(R0), R3; \
	MOVD tapsCall_pixels(R0), R5; \
	MOVD tapsCall_step(R0), R6

#define READ(f0, f1, f2, f3) \
	FLDPQ (R10), (f0, f1); \
	FLDPQ 32(R10), (f2, f3); \
	ADD   R6, R10

#define MAX4(m, acc) \
	VFMAX(m, acc, acc); VFMAX(m+1, acc+1, acc+1); VFMAX(m+2, acc+2, acc+2); VFMAX(m+3, acc+3, acc+3)

// NEXTTAP points R10 at the next tap of the first pixel. An offset counts whole elements, as in the twins.
#define NEXTTAP \
	MOVD.P 8(R7), R10; \
	BIC    $3, R10; \
	ADD    R2, R10

// func maxTaps(call *tapsCall)
TEXT ·maxTaps(SB), NOSPLIT, $0-8
	MOVD call+0(FP), R0
	TAPS

four:
	CMP  $4, R5
	BLT  single
	MOVD R3, R7
	MOVD tapsCall_taps(R0), R9
	NEXTTAP
	READ(F0, F1, F2, F3)
	READ(F4, F5, F6, F7)
	READ(F8, F9, F10, F11)
	READ(F12, F13, F14, F15)
	SUBS $1, R9
	BEQ  fourdone

fourtap:
	NEXTTAP
	READ(F16, F17, F18, F19)
	READ(F20, F21, F22, F23)
	READ(F24, F25, F26, F27)
	READ(F28, F29, F30, F31)
	MAX4(16, 0)
	MAX4(20, 4)
	MAX4(24, 8)
	MAX4(28, 12)
	SUBS $1, R9
	BNE  fourtap

fourdone:
	FSTPQ.P (F0, F1), 32(R1)
	FSTPQ.P (F2, F3), 32(R1)
	FSTPQ.P (F4, F5), 32(R1)
	FSTPQ.P (F6, F7), 32(R1)
	FSTPQ.P (F8, F9), 32(R1)
	FSTPQ.P (F10, F11), 32(R1)
	FSTPQ.P (F12, F13), 32(R1)
	FSTPQ.P (F14, F15), 32(R1)
	ADD     R6<<2, R2
	SUB     $4, R5
	B       four

single:
	CBZ  R5, end
	MOVD R3, R7
	MOVD tapsCall_taps(R0), R9
	NEXTTAP
	READ(F0, F1, F2, F3)
	SUBS $1, R9
	BEQ  singledone

singletap:
	NEXTTAP
	READ(F16, F17, F18, F19)
	MAX4(16, 0)
	SUBS $1, R9
	BNE  singletap

singledone:
	FSTPQ.P (F0, F1), 32(R1)
	FSTPQ.P (F2, F3), 32(R1)
	ADD     R6, R2
	SUB     $1, R5
	B       single

end:
	RET

#define FROMBIAS(acc) \
	VCOPY(28, acc); VCOPY(29, acc+1); VCOPY(30, acc+2); VCOPY(31, acc+3)

#define LIMIT4(acc) \
	VFMAX(16, acc, acc); VFMAX(16, acc+1, acc+1); VFMAX(16, acc+2, acc+2); VFMAX(16, acc+3, acc+3); \
	VFMIN(17, acc, acc); VFMIN(17, acc+1, acc+1); VFMIN(17, acc+2, acc+2); VFMIN(17, acc+3, acc+3)

#define LIMITS \
	ADD     $tapsCall_lo, R0, R12; \
	VLD1R.P 4(R12), [V16.S4]; \
	VLD1R   (R12), [V17.S4]

#define WEIGHTS \
	FLDPQ.P 32(R8), (F24, F25); \
	FLDPQ.P 32(R8), (F26, F27)

// func depthwiseTaps(call *tapsCall)
TEXT ·depthwiseTaps(SB), NOSPLIT, $0-8
	MOVD  call+0(FP), R0
	TAPS
	MOVD  tapsCall_weights(R0), R4
	MOVD  tapsCall_clamp(R0), R11
	VEOR  V28.B16, V28.B16, V28.B16
	VEOR  V29.B16, V29.B16, V29.B16
	VEOR  V30.B16, V30.B16, V30.B16
	VEOR  V31.B16, V31.B16, V31.B16
	MOVD  tapsCall_bias(R0), R12
	CBZ   R12, four
	FLDPQ (R12), (F28, F29)
	FLDPQ 32(R12), (F30, F31)

four:
	CMP  $4, R5
	BLT  single
	MOVD R3, R7
	MOVD R4, R8
	MOVD tapsCall_taps(R0), R9
	FROMBIAS(0)
	FROMBIAS(4)
	FROMBIAS(8)
	FROMBIAS(12)
	CBZ  R9, foursummed

fourtap:
	NEXTTAP
	WEIGHTS
	READ(F16, F17, F18, F19)
	READ(F20, F21, F22, F23)
	VFMLA V16.S4, V24.S4, V0.S4
	VFMLA V17.S4, V25.S4, V1.S4
	VFMLA V18.S4, V26.S4, V2.S4
	VFMLA V19.S4, V27.S4, V3.S4
	READ(F16, F17, F18, F19)
	VFMLA V20.S4, V24.S4, V4.S4
	VFMLA V21.S4, V25.S4, V5.S4
	VFMLA V22.S4, V26.S4, V6.S4
	VFMLA V23.S4, V27.S4, V7.S4
	READ(F20, F21, F22, F23)
	VFMLA V16.S4, V24.S4, V8.S4
	VFMLA V17.S4, V25.S4, V9.S4
	VFMLA V18.S4, V26.S4, V10.S4
	VFMLA V19.S4, V27.S4, V11.S4
	VFMLA V20.S4, V24.S4, V12.S4
	VFMLA V21.S4, V25.S4, V13.S4
	VFMLA V22.S4, V26.S4, V14.S4
	VFMLA V23.S4, V27.S4, V15.S4
	SUBS  $1, R9
	BNE   fourtap

foursummed:
	CBZ R11, fourdone
	LIMITS
	LIMIT4(0)
	LIMIT4(4)
	LIMIT4(8)
	LIMIT4(12)

fourdone:
	FSTPQ.P (F0, F1), 32(R1)
	FSTPQ.P (F2, F3), 32(R1)
	FSTPQ.P (F4, F5), 32(R1)
	FSTPQ.P (F6, F7), 32(R1)
	FSTPQ.P (F8, F9), 32(R1)
	FSTPQ.P (F10, F11), 32(R1)
	FSTPQ.P (F12, F13), 32(R1)
	FSTPQ.P (F14, F15), 32(R1)
	ADD     R6<<2, R2
	SUB     $4, R5
	B       four

single:
	CBZ  R5, end
	MOVD R3, R7
	MOVD R4, R8
	MOVD tapsCall_taps(R0), R9
	FROMBIAS(0)
	CBZ  R9, singlesummed

singletap:
	NEXTTAP
	WEIGHTS
	READ(F16, F17, F18, F19)
	VFMLA V16.S4, V24.S4, V0.S4
	VFMLA V17.S4, V25.S4, V1.S4
	VFMLA V18.S4, V26.S4, V2.S4
	VFMLA V19.S4, V27.S4, V3.S4
	SUBS  $1, R9
	BNE   singletap

singlesummed:
	CBZ R11, singledone
	LIMITS
	LIMIT4(0)

singledone:
	FSTPQ.P (F0, F1), 32(R1)
	FSTPQ.P (F2, F3), 32(R1)
	ADD     R6, R2
	SUB     $1, R5
	B       single

end:
	RET

// Lerp: a in V0 to V3, b and b - a in V4 to V7, the weight in V16.
#define BLEND \
	VFSUB(0, 4, 4); VFSUB(1, 5, 5); VFSUB(2, 6, 6); VFSUB(3, 7, 7); \
	VFMLA   V16.S4, V4.S4, V0.S4; \
	VFMLA   V16.S4, V5.S4, V1.S4; \
	VFMLA   V16.S4, V6.S4, V2.S4; \
	VFMLA   V16.S4, V7.S4, V3.S4; \
	FSTPQ.P (F0, F1), 32(R1); \
	FSTPQ.P (F2, F3), 32(R1)

// func lerp(call *lerpCall)
TEXT ·lerp(SB), NOSPLIT, $0-8
	MOVD  call+0(FP), R0
	MOVD  lerpCall_dst(R0), R1
	MOVD  lerpCall_a(R0), R2
	MOVD  lerpCall_b(R0), R3
	MOVD  lerpCall_blocks(R0), R4
	ADD   $lerpCall_weight, R0, R5
	VLD1R (R5), [V16.S4]

loop:
	FLDPQ.P 32(R2), (F0, F1)
	FLDPQ.P 32(R3), (F4, F5)
	FLDPQ.P 32(R2), (F2, F3)
	FLDPQ.P 32(R3), (F6, F7)
	BLEND
	SUBS    $1, R4
	BNE     loop
	RET

// func gatherLerp(call *lerpCall)
TEXT ·gatherLerp(SB), NOSPLIT, $0-8
	MOVD call+0(FP), R0
	MOVD lerpCall_dst(R0), R1
	MOVD lerpCall_a(R0), R2
	MOVD lerpCall_off0(R0), R3
	MOVD lerpCall_off1(R0), R4
	MOVD lerpCall_weights(R0), R5
	MOVD lerpCall_blocks(R0), R6

loop:
	MOVD.P  8(R3), R7
	MOVD.P  8(R4), R8
	VLD1R.P 4(R5), [V16.S4]
	BIC     $3, R7
	BIC     $3, R8
	ADD     R2, R7
	ADD     R2, R8
	FLDPQ   (R7), (F0, F1)
	FLDPQ   (R8), (F4, F5)
	FLDPQ   32(R7), (F2, F3)
	FLDPQ   32(R8), (F6, F7)
	BLEND
	SUBS    $1, R6
	BNE     loop
	RET

// Arithmetic: a in V0 to V3, b in V4 to V7; b moves on by R4 bytes a block, 64 or 0.
#define ARITHMETIC(OP) \
	MOVD arithCall_dst(R0), R1; \
	MOVD arithCall_a(R0), R2; \
	MOVD arithCall_b(R0), R3; \
	MOVD arithCall_step(R0), R4; \
	MOVD arithCall_blocks(R0), R5; \
	VEOR V31.B16, V31.B16, V31.B16; \
loop: \
	FLDPQ.P 32(R2), (F0, F1); \
	FLDPQ.P 32(R2), (F2, F3); \
	FLDPQ   (R3), (F4, F5); \
	FLDPQ   32(R3), (F6, F7); \
	ADD     R4, R3; \
	OP(4, 0, 0); OP(5, 1, 1); OP(6, 2, 2); OP(7, 3, 3); \
	FSTPQ.P (F0, F1), 32(R1); \
	FSTPQ.P (F2, F3), 32(R1); \
	SUBS    $1, R5; \
	BNE     loop

// PRELU is d = max(n, 0) + min(n, 0) * m, with V31 zero.
#define PRELU(m, n, d) \
	VFMIN(31, n, 16); \
	VFMAX(31, n, d); \
	VFMUL(m, 16, 16); \
	VFADD(16, d, d)

// func add(call *arithCall)
TEXT ·add(SB), NOSPLIT, $0-8
	MOVD call+0(FP), R0
	ARITHMETIC(VFADD)
	RET

// func sub(call *arithCall)
TEXT ·sub(SB), NOSPLIT, $0-8
	MOVD call+0(FP), R0
	ARITHMETIC(VFSUB)
	RET

// func mul(call *arithCall)
TEXT ·mul(SB), NOSPLIT, $0-8
	MOVD call+0(FP), R0
	ARITHMETIC(VFMUL)
	RET

// func larger(call *arithCall)
TEXT ·larger(SB), NOSPLIT, $0-8
	MOVD call+0(FP), R0
	ARITHMETIC(VFMAX)
	RET

// func smaller(call *arithCall)
TEXT ·smaller(SB), NOSPLIT, $0-8
	MOVD call+0(FP), R0
	ARITHMETIC(VFMIN)
	RET

// func prelu(call *arithCall)
TEXT ·prelu(SB), NOSPLIT, $0-8
	MOVD call+0(FP), R0
	ARITHMETIC(PRELU)
	RET
