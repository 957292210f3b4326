#include "textflag.h"

// Two registers are the 16 lanes of a sum: 0-7 and 8-15. As with AVX-512,
// nothing is fused.

// func matVecAVX2(out, w, x *float32, rows, n int)
TEXT ·matVecAVX2(SB), NOSPLIT, $0-40
	MOVQ out+0(FP), DI
	MOVQ w+8(FP), SI
	MOVQ x+16(FP), DX
	MOVQ rows+24(FP), CX
	MOVQ n+32(FP), R8
	SHLQ $2, R8
	LEAQ (R8)(R8*2), R9

rows2:
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	VXORPS Y4, Y4, Y4
	VXORPS Y5, Y5, Y5
	VXORPS Y6, Y6, Y6
	VXORPS Y7, Y7, Y7
	XORQ   BX, BX
	MOVQ   SI, R10

elems2:
	VMOVUPS (DX)(BX*1), Y8
	VMOVUPS 32(DX)(BX*1), Y9
	VMULPS  (R10), Y8, Y10
	VMULPS  32(R10), Y9, Y11
	VMULPS  (R10)(R8*1), Y8, Y12
	VMULPS  32(R10)(R8*1), Y9, Y13
	VADDPS  Y10, Y0, Y0
	VADDPS  Y11, Y1, Y1
	VADDPS  Y12, Y2, Y2
	VADDPS  Y13, Y3, Y3
	VMULPS  (R10)(R8*2), Y8, Y10
	VMULPS  32(R10)(R8*2), Y9, Y11
	VMULPS  (R10)(R9*1), Y8, Y12
	VMULPS  32(R10)(R9*1), Y9, Y13
	VADDPS  Y10, Y4, Y4
	VADDPS  Y11, Y5, Y5
	VADDPS  Y12, Y6, Y6
	VADDPS  Y13, Y7, Y7
	ADDQ    $64, R10
	ADDQ    $64, BX
	CMPQ    BX, R8
	JLT     elems2

	// j + (j+8)
	VADDPS Y1, Y0, Y0
	VADDPS Y3, Y2, Y2
	VADDPS Y5, Y4, Y4
	VADDPS Y7, Y6, Y6
	// j + (j+4), rows 0,1 and 2,3 side by side
	VPERM2F128 $0x20, Y2, Y0, Y1
	VPERM2F128 $0x31, Y2, Y0, Y3
	VPERM2F128 $0x20, Y6, Y4, Y5
	VPERM2F128 $0x31, Y6, Y4, Y7
	VADDPS     Y3, Y1, Y0
	VADDPS     Y7, Y5, Y2
	// j + (j+2): rows 0,2 in the low half, 1,3 in the high
	VSHUFPS $0x44, Y2, Y0, Y1
	VSHUFPS $0xee, Y2, Y0, Y3
	VADDPS  Y3, Y1, Y0
	// j + (j+1)
	VPERMILPS $0xb1, Y0, Y1
	VADDPS    Y1, Y0, Y0

	VEXTRACTF128 $1, Y0, X1
	VUNPCKLPS    X1, X0, X2    // rows 0,1,0,1
	VUNPCKHPS    X1, X0, X3    // rows 2,3,2,3
	VSHUFPS      $0x44, X3, X2, X2
	VMOVUPS      X2, (DI)

	ADDQ $16, DI
	LEAQ (SI)(R8*4), SI
	SUBQ $4, CX
	JGT  rows2
	VZEROUPPER
	RET

// func wsumAVX2(acc, v, p *float32, n, dim int)
TEXT ·wsumAVX2(SB), NOSPLIT, $0-40
	MOVQ acc+0(FP), DI
	MOVQ v+8(FP), SI
	MOVQ p+16(FP), DX
	MOVQ dim+32(FP), R8
	SHLQ $2, R8
	LEAQ (R8)(R8*2), R9
	MOVQ R8, R11

cols2:
	VMOVUPS (DI), Y0
	VMOVUPS (DI)(R8*1), Y1
	VMOVUPS (DI)(R8*2), Y2
	VMOVUPS (DI)(R9*1), Y3
	MOVQ    SI, R10
	MOVQ    DX, BX
	MOVQ    n+24(FP), CX
	SUBQ    $4, CX
	JLT     tail2

four2:
	VBROADCASTSS (BX), Y4
	VBROADCASTSS 4(BX), Y5
	VBROADCASTSS 8(BX), Y6
	VBROADCASTSS 12(BX), Y7
	VMULPS       (R10), Y4, Y4
	VMULPS       (R10)(R8*1), Y5, Y5
	VMULPS       (R10)(R8*2), Y6, Y6
	VMULPS       (R10)(R9*1), Y7, Y7
	VADDPS       Y4, Y0, Y0
	VADDPS       Y5, Y1, Y1
	VADDPS       Y6, Y2, Y2
	VADDPS       Y7, Y3, Y3
	LEAQ         (R10)(R8*4), R10
	ADDQ         $16, BX
	SUBQ         $4, CX
	JGE          four2

tail2:
	ADDQ         $4, CX
	JEQ          store2
	VBROADCASTSS (BX), Y4
	VMULPS       (R10), Y4, Y4
	VADDPS       Y4, Y0, Y0
	CMPQ         CX, $2
	JLT          store2
	VBROADCASTSS 4(BX), Y5
	VMULPS       (R10)(R8*1), Y5, Y5
	VADDPS       Y5, Y1, Y1
	JEQ          store2
	VBROADCASTSS 8(BX), Y6
	VMULPS       (R10)(R8*2), Y6, Y6
	VADDPS       Y6, Y2, Y2

store2:
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, (DI)(R8*1)
	VMOVUPS Y2, (DI)(R8*2)
	VMOVUPS Y3, (DI)(R9*1)
	ADDQ    $32, DI
	ADDQ    $32, SI
	SUBQ    $32, R11
	JGT     cols2
	VZEROUPPER
	RET

// EXP2: Y1 = expf(Y0), step for step; uses Y2..Y4. Y15 is zero.
#define EXP2 \
	VMULPS    ·expTab+64(SB), Y0, Y2       \
	VADDPS    ·expTab+96(SB), Y2, Y2       \ // t
	VSUBPS    ·expTab+96(SB), Y2, Y3       \ // k
	VMULPS    ·expTab+128(SB), Y3, Y4      \
	VSUBPS    Y4, Y0, Y4                   \
	VMULPS    ·expTab+160(SB), Y3, Y3      \
	VSUBPS    Y3, Y4, Y4                   \ // r
	VMULPS    ·expTab+192(SB), Y4, Y1      \
	VADDPS    ·expTab+224(SB), Y1, Y1      \
	VMULPS    Y4, Y1, Y1                   \
	VADDPS    ·expTab+256(SB), Y1, Y1      \
	VMULPS    Y4, Y1, Y1                   \
	VADDPS    ·expTab+288(SB), Y1, Y1      \
	VMULPS    Y4, Y1, Y1                   \
	VADDPS    ·expTab+320(SB), Y1, Y1      \
	VMULPS    Y4, Y1, Y1                   \
	VADDPS    ·expTab+352(SB), Y1, Y1      \ // q
	VMULPS    Y4, Y4, Y3                   \
	VMULPS    Y1, Y3, Y1                   \
	VADDPS    Y4, Y1, Y1                   \
	VADDPS    ·expTab+384(SB), Y1, Y1      \ // p
	VPSLLD    $23, Y2, Y2                  \
	VPADDD    ·expTab+384(SB), Y2, Y2      \ // 2^k
	VMULPS    Y2, Y1, Y1                   \
	VCMPPS    $1, ·expTab+0(SB), Y0, Y3    \ // x < expLo
	VANDNPS   Y1, Y3, Y1                   \
	VMOVUPS   ·expTab+32(SB), Y4           \
	VCMPPS    $1, Y0, Y4, Y3               \ // expHi < x
	VBLENDVPS Y3, ·expTab+416(SB), Y1, Y1

// func expSumAVX2(dst, src *float32, n int, m float32, sum *[16]float32)
TEXT ·expSumAVX2(SB), NOSPLIT, $0-40
	MOVQ         dst+0(FP), DI
	MOVQ         src+8(FP), SI
	MOVQ         n+16(FP), CX
	VBROADCASTSS m+24(FP), Y5
	MOVQ         sum+32(FP), DX
	VMOVUPS      (DX), Y6
	VMOVUPS      32(DX), Y7

exps2:
	VMOVUPS (SI), Y0
	VSUBPS  Y5, Y0, Y0
	EXP2
	VMOVUPS Y1, (DI)
	VADDPS  Y1, Y6, Y6
	VMOVUPS 32(SI), Y0
	VSUBPS  Y5, Y0, Y0
	EXP2
	VMOVUPS Y1, 32(DI)
	VADDPS  Y1, Y7, Y7
	ADDQ    $64, SI
	ADDQ    $64, DI
	SUBQ    $16, CX
	JGT     exps2
	VMOVUPS Y6, (DX)
	VMOVUPS Y7, 32(DX)
	VZEROUPPER
	RET

// func siluAVX2(gate, up *float32, n int)
TEXT ·siluAVX2(SB), NOSPLIT, $0-24
	MOVQ   gate+0(FP), DI
	MOVQ   up+8(FP), SI
	MOVQ   n+16(FP), CX
	VXORPS Y15, Y15, Y15

silu2:
	VMOVUPS (DI), Y5
	VSUBPS  Y5, Y15, Y0
	EXP2
	VADDPS  ·expTab+384(SB), Y1, Y1
	VDIVPS  Y1, Y5, Y5
	VMULPS  (SI), Y5, Y5
	VMOVUPS Y5, (DI)
	ADDQ    $32, SI
	ADDQ    $32, DI
	SUBQ    $8, CX
	JGT     silu2
	VZEROUPPER
	RET

// func maxAVX2(x *float32, n int) float32
TEXT ·maxAVX2(SB), NOSPLIT, $0-20
	MOVQ         x+0(FP), SI
	MOVQ         n+8(FP), CX
	MOVL         $0xff800000, AX
	MOVQ         AX, X0
	VBROADCASTSS X0, Y0

max2:
	VMOVUPS (SI), Y1
	VMAXPS  Y0, Y1, Y0
	ADDQ    $32, SI
	SUBQ    $8, CX
	JGT     max2
	VEXTRACTF128 $1, Y0, X1
	VMAXPS       X0, X1, X0
	VPERMILPS    $0x4e, X0, X1
	VMAXPS       X0, X1, X0
	VPERMILPS    $0xb1, X0, X1
	VMAXPS       X0, X1, X0
	VMOVSS       X0, ret+16(FP)
	VZEROUPPER
	RET
