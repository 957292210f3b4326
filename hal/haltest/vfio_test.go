package haltest_test

import (
	"os"
	"testing"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/haltest"
	"github.com/hc1-toolkit/hc1/vfio"
)

// A function that the kernel's VFIO lends: in a virtual machine (tests/vm), or
// a real one. HC1_TEST_BDF names it, HC1_TEST_IOMMU how to reach it.
func TestVFIO(t *testing.T) {
	bdf := os.Getenv("HC1_TEST_BDF")
	if bdf == "" {
		t.Skip("HC1_TEST_BDF names no function")
	}
	haltest.Run(t, func(t *testing.T) hal.Function {
		d, err := vfio.Open(bdf, vfio.Options{Mode: os.Getenv("HC1_TEST_IOMMU")})
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
}
