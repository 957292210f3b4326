package driver

import (
	"sync/atomic"
	"unsafe"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// Words shared with the card are read and written with sync/atomic, one
// access of their own width each. Loads are acquire and stores release and a
// full fence (on amd64 a store is XCHG), so that a store followed by a load
// is the host's half of a Dekker pair (docs/hci.md section 22, rule 5). This
// is host memory, never a BAR: an XCHG on a register would read it.

func load32(b []byte, off int) uint32 {
	b = b[off : off+4] // checks bounds; indexing would be a read of its own
	return atomic.LoadUint32((*uint32)(unsafe.Pointer(&b[0])))
}

func store32(b []byte, off int, v uint32) {
	b = b[off : off+4] // checks bounds; indexing would be a read of its own
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&b[0])), v)
}

func load64(b []byte, off int) uint64 {
	b = b[off : off+8]
	return atomic.LoadUint64((*uint64)(unsafe.Pointer(&b[0])))
}

func store64(b []byte, off int, v uint64) {
	b = b[off : off+8]
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&b[0])), v)
}

// words views 4-byte aligned memory as u32, in wire order on the
// little-endian machines that this package is built for (amd64, arm64).
func words(b []byte) []uint32 {
	if len(b) == 0 {
		return nil
	}
	return unsafe.Slice((*uint32)(unsafe.Pointer(&b[0])), len(b)/4)
}

// putSQE stores an entry with its command id in a submission queue. The
// id goes to the copy, not to e: a wide load of e right after a narrow store
// into it would wait for the store.
func putSQE(d, e *hci.SQE, cid uint16) {
	*d = *e
	d.CID = cid
}

// sqesOf views the memory of a submission queue as its entries, cqesOf that
// of a completion queue as two words an entry.
func sqesOf(b []byte) []hci.SQE {
	return unsafe.Slice((*hci.SQE)(unsafe.Pointer(&b[0])), len(b)/hci.SQESize)
}

func cqesOf(b []byte) []completion {
	return unsafe.Slice((*completion)(unsafe.Pointer(&b[0])), len(b)/hci.CQESize)
}

// getRecord copies the record at index i of a ring, all but its last 8
// bytes, which the caller has loaded already.
func getRecord(ring []byte, i uint32, tail uint64, r *hci.Record) {
	b := ring[int(i)*hci.RecordSize:][:hci.RecordSize]
	*r = *(*hci.Record)(unsafe.Pointer(&b[0]))
	r.SetTail(tail)
}
