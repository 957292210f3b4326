#include "textflag.h"

// func storePair(p *uint64, lo, hi uint64)
//
// Two plain MOVs: on amd64 stores stay in order, so the second one is a
// release store. sync/atomic has only XCHG, which costs a locked round trip
// on a line that the other side is reading.
TEXT ·storePair(SB), NOSPLIT, $0-24
	MOVQ p+0(FP), AX
	MOVQ lo+8(FP), BX
	MOVQ hi+16(FP), CX
	MOVQ BX, (AX)
	MOVQ CX, 8(AX)
	RET

// func pause()
//
// Tells the processor that this is a spin: it gives way, and does not fetch
// the line that is waited for again and again while the other side fills it.
TEXT ·pause(SB), NOSPLIT, $0-0
	PAUSE
	RET
