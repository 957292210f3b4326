package haltest

import (
	"sync/atomic"
	"unsafe"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

func load64(b []byte, off int) uint64 {
	b = b[off : off+8]
	return atomic.LoadUint64((*uint64)(unsafe.Pointer(&b[0])))
}

func misaligned(b []byte) bool { return uintptr(unsafe.Pointer(&b[0]))%hci.PageSize != 0 }
