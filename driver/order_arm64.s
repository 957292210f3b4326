#include "textflag.h"

// func storePair(p *uint64, lo, hi uint64)
TEXT ·storePair(SB), NOSPLIT, $0-24
	MOVD p+0(FP), R0
	MOVD lo+8(FP), R1
	MOVD hi+16(FP), R2
	MOVD R1, (R0)
	ADD  $8, R0
	STLR R2, (R0)
	RET

// func pause()
TEXT ·pause(SB), NOSPLIT, $0-0
	YIELD
	RET
