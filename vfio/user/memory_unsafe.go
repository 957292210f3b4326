package user

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const pageSize = 4096

// Memory is memory that can be shared with a peer: a memfd, sealed so that
// neither side can change its size under the other.
type Memory struct {
	Bytes []byte
	fd    int
}

// NewMemory makes zeroed memory of whole pages, for both sides to write.
func NewMemory(size int) (*Memory, error) { return newMemory(size, 0) }

// newReadable makes memory that a peer can only map for reading.
func newReadable(size int) (*Memory, error) { return newMemory(size, unix.F_SEAL_FUTURE_WRITE) }

func newMemory(size, seals int) (*Memory, error) {
	if size <= 0 || size%pageSize != 0 {
		return nil, fmt.Errorf("vfio-user: memory of %d bytes: not whole pages", size)
	}
	fd, err := unix.MemfdCreate("vfio-user", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("vfio-user: memfd: %w", err)
	}
	m := &Memory{fd: fd}
	if err = unix.Ftruncate(fd, int64(size)); err == nil {
		// What is mapped before the seal may be written; F_SEAL_FUTURE_WRITE is
		// as old as Linux 5.1.
		if m.Bytes, err = unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
			_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
		}
	}
	if err != nil {
		m.Close()
		return nil, fmt.Errorf("vfio-user: memory of %d bytes: %w", size, err)
	}
	return m, nil
}

// Close unmaps the memory here; a peer keeps what it has mapped.
func (m *Memory) Close() {
	m.closeFD()
	if m.Bytes != nil {
		unix.Munmap(m.Bytes)
		m.Bytes = nil
	}
}

// closeFD gives the descriptor up once the peer has it.
func (m *Memory) closeFD() {
	if m.fd >= 0 {
		unix.Close(m.fd)
		m.fd = -1
	}
}

// fileID names a file whatever descriptor leads to it.
type fileID struct{ dev, ino uint64 }

// stat looks at a descriptor that a peer sent. sealed says that the file
// cannot shrink below size.
func stat(fd int) (id fileID, size int64, sealed bool, err error) {
	// The seals first: a size that is read before them may be an old one.
	seals, noSeals := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return id, 0, false, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return id, 0, false, fmt.Errorf("not a regular file (mode %#o)", st.Mode)
	}
	return fileID{uint64(st.Dev), st.Ino}, st.Size, noSeals == nil && seals&unix.F_SEAL_SHRINK != 0, nil
}

// mapFile maps size bytes of a file that a peer sent, for writing if it lets
// us.
func mapFile(fd int, size int64) (b []byte, writable bool, err error) {
	if b, err = unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
		return b, true, nil
	}
	b, err = unix.Mmap(fd, 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	return b, false, err
}

// mapWindow maps part of a region's file.
func mapWindow(fd int, off, size uint64) ([]byte, error) {
	return unix.Mmap(fd, int64(off), int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

func unmap(b []byte) { unix.Munmap(b) }

// Words of shared memory: one access of their width.

func load32(b []byte) uint32 { return atomic.LoadUint32((*uint32)(unsafe.Pointer(&b[:4][0]))) }
func load64(b []byte) uint64 { return atomic.LoadUint64((*uint64)(unsafe.Pointer(&b[:8][0]))) }
func store32(b []byte, v uint32) {
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&b[:4][0])), v)
}
func store64(b []byte, v uint64) {
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&b[:8][0])), v)
}
