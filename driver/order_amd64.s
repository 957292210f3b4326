#include "textflag.h"

// func storeRelease64(p *uint64, v uint64)
//
// A plain MOV: on amd64 stores are not reordered with earlier loads and
// stores, so it is a release store. sync/atomic has only XCHG, which costs a
// locked round trip on a line that the other side is reading.
TEXT ·storeRelease64(SB), NOSPLIT, $0-16
	MOVQ p+0(FP), AX
	MOVQ v+8(FP), BX
	MOVQ BX, (AX)
	RET
