package card

import (
	"unsafe"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// alignedPage is n bytes that begin at a page.
func alignedPage(n int) []byte {
	b := make([]byte, n+hci.PageSize)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & (hci.PageSize - 1)
	return b[skip : skip+n : skip+n]
}
