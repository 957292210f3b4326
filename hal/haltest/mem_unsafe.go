package haltest

import (
	"sync/atomic"
	"unsafe"
)

func load64(b []byte, off int) uint64 {
	b = b[off : off+8]
	return atomic.LoadUint64((*uint64)(unsafe.Pointer(&b[0])))
}
