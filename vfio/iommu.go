package vfio

import (
	"errors"
	"fmt"

	"github.com/hc1-toolkit/hc1/hal"
)

// mmu is what the two ways to the kernel's IOMMU have in common: a device
// that is open, and an address space that its DMA goes through.
type mmu interface {
	// device is the open device.
	device() file
	// ranges lists what addresses may be mapped, and the least page size.
	ranges() ([]iovaRange, uint64, error)
	// mapDMA lets the device at memory. It may not be able to keep the device
	// from reading what it only has to write.
	mapDMA(iova uint64, b []byte, dir hal.Direction) error
	unmapDMA(iova, size uint64) error
	// hotReset resets the slot. dependents are the functions that it takes
	// along; the kernel refuses where one of them is not ours.
	hotReset(dependents []dependent) error
	// close gives all of it back, the device first.
	close() error
	String() string
}

// Modes of reaching the kernel's IOMMU, the words of ?iommu=.
const (
	ModeAuto    = ""
	ModeIOMMUFD = "iommufd"
	ModeType1   = "type1"
	ModeNone    = "unsafe-none" // no IOMMU: the card can write anywhere
)

// tooMuch explains why memory could not be mapped, with what to change.
func tooMuch(err error, size uint64, maps int, mode string) error {
	switch {
	case errors.Is(err, eNOSPC):
		return fmt.Errorf("%w: %d DMA mappings are as many as the kernel allows: raise vfio_iommu_type1.dma_entry_limit, or use huge pages: %w", hal.ErrNoMemory, maps, err)
	case errors.Is(err, eNOMEM):
		if limit := memlock(); limit != ^uint64(0) {
			return fmt.Errorf("%w: %d bytes cannot be locked: RLIMIT_MEMLOCK is %d bytes; raise it (ulimit -l unlimited, LimitMEMLOCK=infinity for a service): %w", hal.ErrNoMemory, size, limit, err)
		}
		return fmt.Errorf("%w: %d bytes cannot be locked: %w", hal.ErrNoMemory, size, err)
	}
	return fmt.Errorf("map %d bytes (%s): %w", size, mode, err)
}
