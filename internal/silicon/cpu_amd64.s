#include "textflag.h"

// Each constant of expf, eight times over so that AVX2 can use it in place.
// expLo
DATA ·expTab+0(SB)/8, $0xc2aea8f6c2aea8f6
DATA ·expTab+8(SB)/8, $0xc2aea8f6c2aea8f6
DATA ·expTab+16(SB)/8, $0xc2aea8f6c2aea8f6
DATA ·expTab+24(SB)/8, $0xc2aea8f6c2aea8f6
// expHi
DATA ·expTab+32(SB)/8, $0x42b0bd7142b0bd71
DATA ·expTab+40(SB)/8, $0x42b0bd7142b0bd71
DATA ·expTab+48(SB)/8, $0x42b0bd7142b0bd71
DATA ·expTab+56(SB)/8, $0x42b0bd7142b0bd71
// log2e
DATA ·expTab+64(SB)/8, $0x3fb8aa3b3fb8aa3b
DATA ·expTab+72(SB)/8, $0x3fb8aa3b3fb8aa3b
DATA ·expTab+80(SB)/8, $0x3fb8aa3b3fb8aa3b
DATA ·expTab+88(SB)/8, $0x3fb8aa3b3fb8aa3b
// rounder
DATA ·expTab+96(SB)/8, $0x4b4000004b400000
DATA ·expTab+104(SB)/8, $0x4b4000004b400000
DATA ·expTab+112(SB)/8, $0x4b4000004b400000
DATA ·expTab+120(SB)/8, $0x4b4000004b400000
// ln2Hi
DATA ·expTab+128(SB)/8, $0x3f3172003f317200
DATA ·expTab+136(SB)/8, $0x3f3172003f317200
DATA ·expTab+144(SB)/8, $0x3f3172003f317200
DATA ·expTab+152(SB)/8, $0x3f3172003f317200
// ln2Lo
DATA ·expTab+160(SB)/8, $0x35bfbe8e35bfbe8e
DATA ·expTab+168(SB)/8, $0x35bfbe8e35bfbe8e
DATA ·expTab+176(SB)/8, $0x35bfbe8e35bfbe8e
DATA ·expTab+184(SB)/8, $0x35bfbe8e35bfbe8e
// expC7
DATA ·expTab+192(SB)/8, $0x39500d0139500d01
DATA ·expTab+200(SB)/8, $0x39500d0139500d01
DATA ·expTab+208(SB)/8, $0x39500d0139500d01
DATA ·expTab+216(SB)/8, $0x39500d0139500d01
// expC6
DATA ·expTab+224(SB)/8, $0x3ab60b613ab60b61
DATA ·expTab+232(SB)/8, $0x3ab60b613ab60b61
DATA ·expTab+240(SB)/8, $0x3ab60b613ab60b61
DATA ·expTab+248(SB)/8, $0x3ab60b613ab60b61
// expC5
DATA ·expTab+256(SB)/8, $0x3c0888893c088889
DATA ·expTab+264(SB)/8, $0x3c0888893c088889
DATA ·expTab+272(SB)/8, $0x3c0888893c088889
DATA ·expTab+280(SB)/8, $0x3c0888893c088889
// expC4
DATA ·expTab+288(SB)/8, $0x3d2aaaab3d2aaaab
DATA ·expTab+296(SB)/8, $0x3d2aaaab3d2aaaab
DATA ·expTab+304(SB)/8, $0x3d2aaaab3d2aaaab
DATA ·expTab+312(SB)/8, $0x3d2aaaab3d2aaaab
// expC3
DATA ·expTab+320(SB)/8, $0x3e2aaaab3e2aaaab
DATA ·expTab+328(SB)/8, $0x3e2aaaab3e2aaaab
DATA ·expTab+336(SB)/8, $0x3e2aaaab3e2aaaab
DATA ·expTab+344(SB)/8, $0x3e2aaaab3e2aaaab
// expC2
DATA ·expTab+352(SB)/8, $0x3f0000003f000000
DATA ·expTab+360(SB)/8, $0x3f0000003f000000
DATA ·expTab+368(SB)/8, $0x3f0000003f000000
DATA ·expTab+376(SB)/8, $0x3f0000003f000000
// 1
DATA ·expTab+384(SB)/8, $0x3f8000003f800000
DATA ·expTab+392(SB)/8, $0x3f8000003f800000
DATA ·expTab+400(SB)/8, $0x3f8000003f800000
DATA ·expTab+408(SB)/8, $0x3f8000003f800000
// +Inf
DATA ·expTab+416(SB)/8, $0x7f8000007f800000
DATA ·expTab+424(SB)/8, $0x7f8000007f800000
DATA ·expTab+432(SB)/8, $0x7f8000007f800000
DATA ·expTab+440(SB)/8, $0x7f8000007f800000
GLOBL ·expTab(SB), RODATA|NOPTR, $448

// func cpuid(leaf, sub uint32) (eax, ebx, ecx, edx uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-24
	MOVL leaf+0(FP), AX
	MOVL sub+4(FP), CX
	CPUID
	MOVL AX, eax+8(FP)
	MOVL BX, ebx+12(FP)
	MOVL CX, ecx+16(FP)
	MOVL DX, edx+20(FP)
	RET

// func xgetbv() uint32
TEXT ·xgetbv(SB), NOSPLIT, $0-4
	XORL CX, CX
	XGETBV
	MOVL AX, ret+0(FP)
	RET
