package user

import (
	"errors"

	"github.com/hc1-toolkit/hc1/internal/iommu"
)

// A client's files are mapped whole. Address space and the kernel's count of
// mappings (vm.max_map_count) are the server's, so there are bounds.
const (
	maxMapped = 1 << 40 // bytes of all files of a client
	maxFiles  = 512
)

// file is memory that a client shares, mapped once however many DMA mappings
// lead into it: a guest's RAM comes in thousands of pieces.
type file struct {
	id       fileID
	bytes    []byte
	writable bool
	sealed   bool // it cannot shrink
	refs     int
}

// dmaMap is DMA_MAP: with a file its memory is mapped here, without one it is
// asked for piece by piece.
func (x *session) dmaMap(m *message) ([]byte, []int, error) {
	q, _ := decodeDMAMap(m.body)
	switch {
	case q.Argsz < dmaMapSize:
		return nil, nil, refuse(eINVAL, "argsz %d", q.Argsz)
	case q.Flags&^(dmaRead|dmaWrite|dmaMMap|dmaFileIO) != 0 || q.Flags&(dmaRead|dmaWrite) == 0:
		return nil, nil, refuse(eINVAL, "flags %#x", q.Flags)
	case q.Flags&dmaFileIO != 0:
		return nil, nil, refuse(eNOTSUP, "files that are read and written, not mapped")
	case q.Size == 0 || (q.Addr|q.Size|q.Offset)%pageSize != 0:
		return nil, nil, refuse(eINVAL, "%#x bytes at %#x, offset %#x: not whole pages", q.Size, q.Addr, q.Offset)
	case q.Addr+q.Size-1 < q.Addr:
		return nil, nil, refuse(eINVAL, "%#x bytes at %#x: past 2^64", q.Size, q.Addr)
	}
	b := x.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.table.Len() >= x.caps.MaxMaps {
		return nil, nil, refuse(eNOSPC, "%d mappings, no more", b.table.Len())
	}
	y := iommu.Mapping{IOVA: q.Addr, Size: q.Size, Read: q.Flags&dmaRead != 0, Write: q.Flags&dmaWrite != 0}
	var f *file
	if len(m.fds) == 1 {
		var err error
		if f, err = b.open(m.fds[0], q.Offset, q.Size, y.Write); err != nil {
			return nil, nil, err
		}
		y.Bytes, y.Shaky, y.Owner = f.bytes[q.Offset:q.Offset+q.Size:q.Offset+q.Size], !f.sealed, f
	}
	if err := b.table.Map(y); err != nil {
		if f != nil {
			b.release(f)
		}
		if errors.Is(err, iommu.ErrOverlap) {
			return nil, nil, refuse(eEXIST, "%v", err)
		}
		return nil, nil, refuse(eINVAL, "%v", err)
	}
	return nil, nil, nil
}

// open finds the mapping of a file, or makes it, and counts one more use.
func (b *Bus) open(fd int, off, size uint64, write bool) (*file, error) {
	id, n, sealed, err := stat(fd)
	if err != nil {
		return nil, refuse(eINVAL, "file descriptor: %v", err)
	}
	n &^= pageSize - 1
	if off+size < off || off+size > uint64(n) {
		return nil, refuse(eINVAL, "%#x bytes at offset %#x of a file of %#x", size, off, n)
	}
	f := b.files[id]
	if f != nil && (uint64(len(f.bytes)) < off+size || write && !f.writable) {
		f = nil // it has grown, or came read-only: map it anew, the old uses stay
	}
	if f == nil {
		if n > maxMapped-b.mapped || b.nfiles >= maxFiles {
			return nil, refuse(eNOSPC, "a file of %#x bytes beside %d files of %#x", n, b.nfiles, b.mapped)
		}
		bytes, writable, err := mapFile(fd, n)
		if err != nil {
			return nil, refuse(eNOMEM, "map a file of %#x bytes: %v", n, err)
		}
		f = &file{id: id, bytes: bytes, writable: writable, sealed: sealed}
		if write && !writable {
			unmap(bytes)
			return nil, refuse(eINVAL, "file is read-only")
		}
		b.files[id] = f
		b.nfiles++
		b.mapped += n
	}
	f.refs++
	return f, nil
}

func (b *Bus) release(f *file) {
	if f.refs--; f.refs > 0 {
		return
	}
	if b.files[f.id] == f {
		delete(b.files, f.id)
	}
	b.nfiles--
	b.mapped -= int64(len(f.bytes))
	unmap(f.bytes)
}

// gone gives back the file of a mapping that was removed.
func (b *Bus) gone(x iommu.Mapping) {
	if f, ok := x.Owner.(*file); ok {
		b.release(f)
	}
}

// dmaUnmap is DMA_UNMAP with the meaning of VFIO's type 1 v2: whatever lies
// within the range goes, and nothing is no error. QEMU sweeps whole address
// spaces so. The reply's size is what was unmapped.
func (x *session) dmaUnmap(m *message) ([]byte, []int, error) {
	q, _ := decodeDMAUnmap(m.body)
	if q.Argsz < dmaUnmapSize || q.Flags&^unmapAll != 0 {
		return nil, nil, refuse(eINVAL, "argsz %d, flags %#x", q.Argsz, q.Flags)
	}
	b := x.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.table.Len()
	if q.Flags&unmapAll != 0 {
		if q.Addr != 0 || q.Size != 0 {
			return nil, nil, refuse(eINVAL, "unmap of all with %#x bytes at %#x", q.Size, q.Addr)
		}
		q.Size = b.table.Clear(b.gone)
	} else {
		if q.Size == 0 || (q.Addr|q.Size)%pageSize != 0 {
			return nil, nil, refuse(eINVAL, "%#x bytes at %#x: not whole pages", q.Size, q.Addr)
		}
		removed, err := b.table.Unmap(q.Addr, q.Size, b.gone)
		if err != nil {
			return nil, nil, refuse(eINVAL, "%v", err)
		}
		if removed != q.Size || before-b.table.Len() != 1 {
			b.swept.Add(1)
		}
		q.Size = removed
	}
	q.Argsz = dmaUnmapSize
	return q.encode(), nil, nil
}
