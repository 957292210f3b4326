package mock

import (
	"unsafe"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// pages returns n zeroed bytes of Go memory that begin at a page. The garbage
// collector does not move heap memory, and the race detector sees it.
func pages(n int) []byte {
	b := make([]byte, n+hci.PageSize)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & (hci.PageSize - 1)
	return b[skip : skip+n : skip+n]
}
