package vfio

import (
	"fmt"
	"sync"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/internal/iommu"
)

// region is a BAR: the areas of it that the kernel maps are accessed in
// place, the rest (the MSI-X table, what is not mapped) by pread and pwrite.
type region struct {
	d    *Device
	bar  int
	size int
	off  int64 // of the region in the device's file

	mu      sync.RWMutex // windows do not go while they are used
	windows []window
}

type window struct {
	off   int
	bytes []byte
}

// maxBAR bounds a BAR: its offsets have to fit an int, with room.
const maxBAR = 1 << 46

func (d *Device) regionInfo(i int) (regionInfo, []byte, error) {
	b, err := d.mmu.device().answer(vfioDeviceGetRegionInfo, 32, func(b []byte) { le.PutUint32(b[8:], uint32(i)) })
	if err != nil {
		return regionInfo{}, nil, err
	}
	return regionInfo{le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint32(b[12:]), le.Uint64(b[16:]), le.Uint64(b[24:])}, b, nil
}

// openBAR maps what can be mapped of a BAR; nil where there is none.
func (d *Device) openBAR(i int) (*region, error) {
	info, b, err := d.regionInfo(i)
	if err != nil || info.size == 0 {
		return nil, err
	}
	if info.size > maxBAR || info.flags&(regionRead|regionWrite) != regionRead|regionWrite {
		return nil, fmt.Errorf("%d bytes, flags %#x: %w", info.size, info.flags, hal.ErrUnsupported)
	}
	r := &region{d: d, bar: i, size: int(info.size), off: int64(info.offset)}
	if info.flags&regionMMap == 0 {
		return r, nil
	}
	areas := [][2]uint64{{0, info.size}}
	if info.flags&regionCaps != 0 {
		c, err := capability(b, info.capOffset, capSparse)
		if err != nil {
			return nil, err
		}
		if c != nil {
			if areas, err = list(c, 256); err != nil {
				return nil, err
			}
		}
	}
	for _, a := range areas {
		if a[1] == 0 {
			continue
		}
		if (a[0]|a[1])%pageSize != 0 || a[1] > info.size || a[0] > info.size-a[1] {
			r.close()
			return nil, fmt.Errorf("area of %#x bytes at %#x in %#x", a[1], a[0], info.size)
		}
		m, err := d.mmu.device().mapBAR(r.off+int64(a[0]), int(a[1]))
		if err != nil {
			d.log.Warn("BAR is not mapped: accesses take a system call", "card", d.name, "bar", i, "err", err)
			continue
		}
		r.windows = append(r.windows, window{int(a[0]), m})
	}
	return r, nil
}

func (r *region) close() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.windows {
		unmapMemory(w.bytes)
	}
	r.windows = nil
}

// Region implements hal.Function.
func (d *Device) Region(bar int) (hal.Region, error) {
	if d.closed.Load() {
		return nil, hal.ErrClosed
	}
	if bar < 0 || bar > 5 || d.bars[bar] == nil {
		return nil, fmt.Errorf("vfio: no BAR %d: %w", bar, hal.ErrOutOfRange)
	}
	return d.bars[bar], nil
}

// Size implements hal.Region.
func (r *region) Size() int { return r.size }

func (r *region) check(off, width int) {
	if off < 0 || off%width != 0 || off > r.size-width {
		panic(fmt.Errorf("vfio: BAR%d access of %d bytes at %#x: %w", r.bar, width, off, hal.ErrOutOfRange))
	}
}

// mapped returns the memory of an access that needs no system call.
func (r *region) mapped(off, width int) []byte {
	for i := range r.windows {
		w := &r.windows[i]
		if d := off - w.off; d >= 0 && d+width <= len(w.bytes) {
			return w.bytes[d : d+width]
		}
	}
	return nil
}

func (r *region) load(off, width int) (v uint64) {
	r.check(off, width)
	r.mu.RLock()
	defer r.mu.RUnlock()
	ones := ^uint64(0) >> (64 - 8*width)
	if b := r.mapped(off, width); b != nil {
		// Memory decoding that is off, or a function that has gone: SIGBUS.
		if iommu.Guard(0, false, func() { v = load(b, width) }) != nil {
			return ones
		}
		return v
	}
	var b [8]byte
	if r.d.closed.Load() || r.d.mmu.device().pread(b[:width], r.off+int64(off)) != nil {
		return ones
	}
	return le.Uint64(b[:])
}

func (r *region) store(off, width int, v uint64) {
	r.check(off, width)
	r.mu.RLock()
	defer r.mu.RUnlock()
	if b := r.mapped(off, width); b != nil {
		iommu.Guard(0, true, func() { store(b, width, v) }) // stores to what has gone vanish
		return
	}
	if r.d.closed.Load() {
		return
	}
	var b [8]byte
	le.PutUint64(b[:], v)
	r.d.mmu.device().pwrite(b[:width], r.off+int64(off))
}

// Load32 implements hal.Region, as the following do.
func (r *region) Load32(off int) uint32 { return uint32(r.load(off, 4)) }

// Load64 is one access of 8 bytes.
func (r *region) Load64(off int) uint64 { return r.load(off, 8) }

// Store32 is one access of 4 bytes.
func (r *region) Store32(off int, v uint32) { r.store(off, 4, uint64(v)) }

// Store64 is one access of 8 bytes.
func (r *region) Store64(off int, v uint64) { r.store(off, 8, v) }
