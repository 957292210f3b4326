#include "textflag.h"

// Stores to device registers: what was written to memory before is seen before
// (DMB OSHST), then one store.

// func store32(p *uint32, v uint32)
TEXT ·store32(SB), NOSPLIT, $0-12
	MOVD p+0(FP), R0
	MOVW v+8(FP), R1
	DMB  $0x2
	MOVW R1, (R0)
	RET

// func store64(p *uint64, v uint64)
TEXT ·store64(SB), NOSPLIT, $0-16
	MOVD p+0(FP), R0
	MOVD v+8(FP), R1
	DMB  $0x2
	MOVD R1, (R0)
	RET
