//go:build race

package driver

// publishCQE writes a completion so that the race detector sees it: stores
// made in assembly it does not.
func publishCQE(cq []byte, i uint32, lo, hi uint64) {
	store64(cq, int(i)*16, lo)
	store64(cq, int(i)*16+8, hi)
}
