#include "textflag.h"

// One register is the 16 lanes of a sum. No fused multiply-add anywhere: the
// portable path rounds each product, so these must too.

// func matVecAVX512(out, w, x *float32, rows, n int)
//
// Four rows at a time hide the latency of the adds, and their four trees
// share their shuffles.
TEXT ·matVecAVX512(SB), NOSPLIT, $0-40
	MOVQ out+0(FP), DI
	MOVQ w+8(FP), SI
	MOVQ x+16(FP), DX
	MOVQ rows+24(FP), CX
	MOVQ n+32(FP), R8
	SHLQ $2, R8          // bytes in a row
	LEAQ (R8)(R8*2), R9  // in three
	MOVL $0x1111, AX
	KMOVW AX, K1         // the first lane of each quarter

rows512:
	VPXORQ Z0, Z0, Z0
	VPXORQ Z1, Z1, Z1
	VPXORQ Z2, Z2, Z2
	VPXORQ Z3, Z3, Z3
	XORQ   BX, BX
	MOVQ   SI, R10

elems512:
	VMOVUPS (DX)(BX*1), Z4
	VMULPS  (R10), Z4, Z5
	VMULPS  (R10)(R8*1), Z4, Z6
	VMULPS  (R10)(R8*2), Z4, Z7
	VMULPS  (R10)(R9*1), Z4, Z8
	VADDPS  Z5, Z0, Z0
	VADDPS  Z6, Z1, Z1
	VADDPS  Z7, Z2, Z2
	VADDPS  Z8, Z3, Z3
	ADDQ    $64, R10
	ADDQ    $64, BX
	CMPQ    BX, R8
	JLT     elems512

	// j + (j+8), rows 0,1 and 2,3 side by side
	VSHUFF32X4 $0x44, Z1, Z0, Z4
	VSHUFF32X4 $0xee, Z1, Z0, Z5
	VSHUFF32X4 $0x44, Z3, Z2, Z6
	VSHUFF32X4 $0xee, Z3, Z2, Z7
	VADDPS     Z5, Z4, Z4
	VADDPS     Z7, Z6, Z6
	// j + (j+4): a quarter for each row
	VSHUFF32X4 $0x88, Z6, Z4, Z0
	VSHUFF32X4 $0xdd, Z6, Z4, Z1
	VADDPS     Z1, Z0, Z0
	// j + (j+2), j + (j+1)
	VPERMILPS $0x4e, Z0, Z1
	VADDPS    Z1, Z0, Z0
	VPERMILPS $0xb1, Z0, Z1
	VADDPS    Z1, Z0, Z0

	VCOMPRESSPS Z0, K1, Z1
	VMOVUPS     X1, (DI)

	ADDQ $16, DI
	LEAQ (SI)(R8*4), SI
	SUBQ $4, CX
	JGT  rows512
	VZEROUPPER
	RET

// func wsumAVX512(acc, v, p *float32, n, dim int)
TEXT ·wsumAVX512(SB), NOSPLIT, $0-40
	MOVQ acc+0(FP), DI
	MOVQ v+8(FP), SI
	MOVQ p+16(FP), DX
	MOVQ dim+32(FP), R8
	SHLQ $2, R8         // bytes in a row
	LEAQ (R8)(R8*2), R9
	MOVQ R8, R11        // bytes of the row still to do

cols512:
	VMOVUPS (DI), Z0
	VMOVUPS (DI)(R8*1), Z1
	VMOVUPS (DI)(R8*2), Z2
	VMOVUPS (DI)(R9*1), Z3
	MOVQ    SI, R10
	MOVQ    DX, BX
	MOVQ    n+24(FP), CX
	SUBQ    $4, CX
	JLT     tail512

four512:
	VBROADCASTSS (BX), Z4
	VBROADCASTSS 4(BX), Z5
	VBROADCASTSS 8(BX), Z6
	VBROADCASTSS 12(BX), Z7
	VMULPS       (R10), Z4, Z4
	VMULPS       (R10)(R8*1), Z5, Z5
	VMULPS       (R10)(R8*2), Z6, Z6
	VMULPS       (R10)(R9*1), Z7, Z7
	VADDPS       Z4, Z0, Z0
	VADDPS       Z5, Z1, Z1
	VADDPS       Z6, Z2, Z2
	VADDPS       Z7, Z3, Z3
	LEAQ         (R10)(R8*4), R10
	ADDQ         $16, BX
	SUBQ         $4, CX
	JGE          four512

tail512:
	ADDQ         $4, CX // 0..3 rows left
	JEQ          store512
	VBROADCASTSS (BX), Z4
	VMULPS       (R10), Z4, Z4
	VADDPS       Z4, Z0, Z0
	CMPQ         CX, $2
	JLT          store512
	VBROADCASTSS 4(BX), Z5
	VMULPS       (R10)(R8*1), Z5, Z5
	VADDPS       Z5, Z1, Z1
	JEQ          store512
	VBROADCASTSS 8(BX), Z6
	VMULPS       (R10)(R8*2), Z6, Z6
	VADDPS       Z6, Z2, Z2

store512:
	VMOVUPS Z0, (DI)
	VMOVUPS Z1, (DI)(R8*1)
	VMOVUPS Z2, (DI)(R8*2)
	VMOVUPS Z3, (DI)(R9*1)
	ADDQ    $64, DI
	ADDQ    $64, SI
	SUBQ    $64, R11
	JGT     cols512
	VZEROUPPER
	RET

// Constants of expf in Z16..Z29.
#define LOADEXP \
	VBROADCASTSS ·expTab+0(SB), Z16   \ // expLo
	VBROADCASTSS ·expTab+32(SB), Z17  \ // expHi
	VBROADCASTSS ·expTab+64(SB), Z18  \ // log2e
	VBROADCASTSS ·expTab+96(SB), Z19  \ // rounder
	VBROADCASTSS ·expTab+128(SB), Z20 \ // ln2Hi
	VBROADCASTSS ·expTab+160(SB), Z21 \ // ln2Lo
	VBROADCASTSS ·expTab+192(SB), Z22 \ // expC7
	VBROADCASTSS ·expTab+224(SB), Z23 \ // expC6
	VBROADCASTSS ·expTab+256(SB), Z24 \ // expC5
	VBROADCASTSS ·expTab+288(SB), Z25 \ // expC4
	VBROADCASTSS ·expTab+320(SB), Z26 \ // expC3
	VBROADCASTSS ·expTab+352(SB), Z27 \ // expC2
	VBROADCASTSS ·expTab+384(SB), Z28 \ // 1
	VBROADCASTSS ·expTab+416(SB), Z29 \ // +Inf
	VPXORQ       Z30, Z30, Z30

// EXP512: Z1 = expf(Z0), step for step; uses Z2..Z4, K1, K2.
#define EXP512 \
	VMULPS   Z18, Z0, Z2     \
	VADDPS   Z19, Z2, Z2     \ // t
	VSUBPS   Z19, Z2, Z3     \ // k
	VMULPS   Z20, Z3, Z4     \
	VSUBPS   Z4, Z0, Z4      \
	VMULPS   Z21, Z3, Z3     \
	VSUBPS   Z3, Z4, Z4      \ // r
	VMULPS   Z22, Z4, Z1     \
	VADDPS   Z23, Z1, Z1     \
	VMULPS   Z4, Z1, Z1      \
	VADDPS   Z24, Z1, Z1     \
	VMULPS   Z4, Z1, Z1      \
	VADDPS   Z25, Z1, Z1     \
	VMULPS   Z4, Z1, Z1      \
	VADDPS   Z26, Z1, Z1     \
	VMULPS   Z4, Z1, Z1      \
	VADDPS   Z27, Z1, Z1     \ // q
	VMULPS   Z4, Z4, Z3      \
	VMULPS   Z1, Z3, Z1      \
	VADDPS   Z4, Z1, Z1      \
	VADDPS   Z28, Z1, Z1     \ // p
	VPSLLD   $23, Z2, Z2     \
	VPADDD   Z28, Z2, Z2     \ // 2^k
	VMULPS   Z2, Z1, Z1      \
	VCMPPS   $1, Z16, Z0, K1 \ // x < expLo
	VCMPPS   $1, Z0, Z17, K2 \ // expHi < x
	VMOVAPS  Z30, K1, Z1     \
	VMOVAPS  Z29, K2, Z1

// func expSumAVX512(dst, src *float32, n int, m float32, sum *[16]float32)
TEXT ·expSumAVX512(SB), NOSPLIT, $0-40
	MOVQ         dst+0(FP), DI
	MOVQ         src+8(FP), SI
	MOVQ         n+16(FP), CX
	VBROADCASTSS m+24(FP), Z5
	MOVQ         sum+32(FP), DX
	VMOVUPS      (DX), Z6
	LOADEXP

exps512:
	VMOVUPS (SI), Z0
	VSUBPS  Z5, Z0, Z0
	EXP512
	VMOVUPS Z1, (DI)
	VADDPS  Z1, Z6, Z6
	ADDQ    $64, SI
	ADDQ    $64, DI
	SUBQ    $16, CX
	JGT     exps512
	VMOVUPS Z6, (DX)
	VZEROUPPER
	RET

// func siluAVX512(gate, up *float32, n int)
TEXT ·siluAVX512(SB), NOSPLIT, $0-24
	MOVQ gate+0(FP), DI
	MOVQ up+8(FP), SI
	MOVQ n+16(FP), CX
	LOADEXP

silu512:
	VMOVUPS (DI), Z5
	VSUBPS  Z5, Z30, Z0
	EXP512
	VADDPS  Z28, Z1, Z1
	VDIVPS  Z1, Z5, Z5
	VMULPS  (SI), Z5, Z5
	VMOVUPS Z5, (DI)
	ADDQ    $64, SI
	ADDQ    $64, DI
	SUBQ    $16, CX
	JGT     silu512
	VZEROUPPER
	RET

// func maxAVX512(x *float32, n int) float32
TEXT ·maxAVX512(SB), NOSPLIT, $0-20
	MOVQ         x+0(FP), SI
	MOVQ         n+8(FP), CX
	MOVL         $0xff800000, AX // -Inf
	VPBROADCASTD AX, Z0

max512:
	// MAXPS gives its last operand, the running maximum, when either is NaN.
	VMOVUPS (SI), Z1
	VMAXPS  Z0, Z1, Z0
	ADDQ    $64, SI
	SUBQ    $16, CX
	JGT     max512
	VSHUFF32X4 $0x4e, Z0, Z0, Z1
	VMAXPS     Z0, Z1, Z0
	VSHUFF32X4 $0xb1, Z0, Z0, Z1
	VMAXPS     Z0, Z1, Z0
	VPERMILPS  $0x4e, Z0, Z1
	VMAXPS     Z0, Z1, Z0
	VPERMILPS  $0xb1, Z0, Z1
	VMAXPS     Z0, Z1, Z0
	VMOVSS     X0, ret+16(FP)
	VZEROUPPER
	RET
