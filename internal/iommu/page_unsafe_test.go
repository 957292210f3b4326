package iommu

import (
	"unsafe"
)

// alignedPage is n bytes that begin at a page.
func alignedPage(n int) []byte {
	b := make([]byte, n+PageSize)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & (PageSize - 1)
	return b[skip : skip+n : skip+n]
}
