//go:build !race

package driver

import "unsafe"

// publishCQE writes a completion as a card does (docs/hci.md section 7).
func publishCQE(cq []byte, i uint32, lo, hi uint64) {
	b := cq[int(i)*16:][:16]
	storePair((*uint64)(unsafe.Pointer(&b[0])), lo, hi)
}
