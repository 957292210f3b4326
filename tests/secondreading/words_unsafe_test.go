package secondreading

import (
	"sync/atomic"
	"unsafe"
)

// Words of memory that the card writes or reads at the same time. Go's atomic
// operations are totally ordered, so a store and a later load make the full
// fence that sections 4.1, 11 and 15 ask for.

func ld32(b []byte, off int) uint32 { return atomic.LoadUint32((*uint32)(word(b, off, 4))) }
func ld64(b []byte, off int) uint64 { return atomic.LoadUint64((*uint64)(word(b, off, 8))) }

func st32(b []byte, off int, v uint32) { atomic.StoreUint32((*uint32)(word(b, off, 4)), v) }
func st64(b []byte, off int, v uint64) { atomic.StoreUint64((*uint64)(word(b, off, 8)), v) }

func word(b []byte, off, n int) unsafe.Pointer {
	if off%n != 0 || off < 0 || off+n > len(b) {
		panic("word not aligned or not in its memory")
	}
	return unsafe.Pointer(&b[off])
}
