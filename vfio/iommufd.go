package vfio

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/hc1-toolkit/hc1/hal"
)

// iommufd is a device's character device with an address space of an
// /dev/iommu: the way since kernel 6.6.
type iommufd struct {
	fd, dev file
	ioas    uint32
	maps    int
}

// openIOMMUFD opens a device. Order matters: bind before anything else of the
// device works, then an address space, then attach, then map.
func openIOMMUFD(root, node string) (_ *iommufd, err error) {
	f := &iommufd{fd: noFile, dev: noFile}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	path := filepath.Join(root, "dev/vfio/devices", node)
	if f.dev, err = openFile(path); err != nil {
		return nil, err
	}
	if f.fd, err = openFile(filepath.Join(root, "dev/iommu")); err != nil {
		return nil, err
	}
	bind := bindIOMMUFD{iommufd: int32(f.fd)}
	bind.argsz = sizeOf(&bind)
	if err := call(f.dev, vfioDeviceBindIOMMUFD, &bind); err != nil {
		if errors.Is(err, eBUSY) {
			return nil, fmt.Errorf("%w: %s is held by %s", ErrBusy, path, Holders(path))
		}
		return nil, fmt.Errorf("vfio: bind %s to an iommufd: %w", node, err)
	}
	alloc := ioasAlloc{}
	alloc.size = sizeOf(&alloc)
	if err := call(f.fd, iommuIOASAlloc, &alloc); err != nil {
		return nil, fmt.Errorf("vfio: address space: %w", err)
	}
	f.ioas = alloc.id
	attach := attachPT{ptID: f.ioas}
	attach.argsz = sizeOf(&attach)
	if err := call(f.dev, vfioDeviceAttachPT, &attach); err != nil {
		if errors.Is(err, ePERM) {
			return nil, fmt.Errorf("vfio: attach: %w: interrupts are not remapped; boot with intremap=on, or turn it on in the firmware", err)
		}
		return nil, fmt.Errorf("vfio: attach %s to its address space: %w", node, err)
	}
	return f, nil
}

func (f *iommufd) device() file { return f.dev }

func (f *iommufd) String() string { return ModeIOMMUFD }

func (f *iommufd) ranges() ([]iovaRange, uint64, error) {
	r, align, err := f.fd.ranges(f.ioas)
	if err != nil {
		return nil, 0, fmt.Errorf("vfio: iova ranges: %w", err)
	}
	return r, align, nil
}

func (f *iommufd) mapDMA(iova uint64, b []byte, dir hal.Direction) error {
	m := ioasMap{flags: ioasMapFixed | ioasMapRead, id: f.ioas, userVA: address(b), length: uint64(len(b)), iova: iova}
	m.size = sizeOf(&m)
	if dir == hal.CardWrites {
		m.flags = ioasMapFixed | ioasMapWrite
	}
	err := call(f.fd, iommuIOASMap, &m)
	if dir == hal.CardWrites && (errors.Is(err, eINVAL) || errors.Is(err, eNOTSUP)) { // an IOMMU that cannot forbid reads
		m.flags |= ioasMapRead
		err = call(f.fd, iommuIOASMap, &m)
	}
	if err != nil {
		return tooMuch(err, m.length, f.maps, ModeIOMMUFD)
	}
	f.maps++
	return nil
}

func (f *iommufd) unmapDMA(iova, size uint64) error {
	m := ioasUnmap{id: f.ioas, iova: iova, length: size}
	m.size = sizeOf(&m)
	if err := call(f.fd, iommuIOASUnmap, &m); err != nil {
		return fmt.Errorf("vfio: unmap %#x: %w", iova, err)
	}
	if m.length != size {
		return fmt.Errorf("vfio: unmap %#x: %d bytes went, not %d", iova, m.length, size)
	}
	f.maps--
	return nil
}

// hotReset: the kernel knows by the iommufd what is ours.
func (f *iommufd) hotReset(dependents []dependent) error {
	for _, d := range dependents {
		if d.id == devIDNotOwned {
			return fmt.Errorf("%w: hot reset takes %s along, which is not ours", ErrNotViable, d)
		}
	}
	b := make([]byte, 12)
	le.PutUint32(b, 12)
	return f.dev.send(vfioDeviceHotReset, b)
}

func (f *iommufd) close() error {
	// The device goes first: it is reset then, and detached from the address
	// space, which the iommufd takes down with itself.
	return errors.Join(f.dev.close(), f.fd.close())
}
