package vfio

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// file is a file descriptor that is owned, close-on-exec.
type file int

const noFile = file(-1)

func openFile(path string) (file, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return noFile, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return file(fd), nil
	}
}

func (f file) close() error {
	if f < 0 {
		return nil
	}
	return unix.Close(int(f))
}

// ioctl runs a request until it is not interrupted. The pointer is made an
// integer in the system call's own expression, as unsafe's rules want.
func (f file) ioctl(req uint, arg unsafe.Pointer) (int, error) {
	for {
		r, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(f), uintptr(req), uintptr(arg))
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return 0, e
		}
		return int(r), nil
	}
}

func (f file) ioctlInt(req uint, arg int) (int, error) {
	for {
		r, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(f), uintptr(req), uintptr(arg))
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return 0, e
		}
		return int(r), nil
	}
}

// call is an ioctl whose argument is a struct.
func call[T any](f file, req uint, arg *T) error {
	_, err := f.ioctl(req, unsafe.Pointer(arg))
	return err
}

// sizeOf is what a struct's argsz is.
func sizeOf[T any](*T) uint32 { var t T; return uint32(unsafe.Sizeof(t)) }

// deviceFD asks a group for a device.
func (f file) deviceFD(name string) (file, error) {
	b := append([]byte(name), 0)
	fd, err := f.ioctl(vfioGroupGetDeviceFD, unsafe.Pointer(&b[0]))
	runtime.KeepAlive(b)
	if err != nil {
		return noFile, err
	}
	unix.CloseOnExec(fd)
	return file(fd), nil
}

func (f file) setContainer(container file) error {
	fd := int32(container)
	_, err := f.ioctl(vfioGroupSetContainer, unsafe.Pointer(&fd))
	return err
}

// answer runs an ioctl whose answer grows: it is asked again with as much
// room as it said that it needs, bounded. head fills the request in.
func (f file) answer(req uint, least int, head func(b []byte)) ([]byte, error) {
	const most = 1 << 20
	for size := least; ; {
		b := make([]byte, size)
		le.PutUint32(b, uint32(size))
		if head != nil {
			head(b)
		}
		_, err := f.ioctl(req, unsafe.Pointer(&b[0]))
		need := int(le.Uint32(b))
		if err != nil && !errors.Is(err, unix.ENOSPC) {
			return nil, err
		}
		if need <= size && err == nil {
			return b, nil
		}
		if need <= size || need > most {
			return nil, fmt.Errorf("ioctl %#x wants %d bytes", req, need)
		}
		size = need
	}
}

// send runs an ioctl whose argument has a tail.
func (f file) send(req uint, b []byte) error {
	_, err := f.ioctl(req, unsafe.Pointer(&b[0]))
	runtime.KeepAlive(b)
	return err
}

func (f file) pread(b []byte, off int64) error {
	n, err := unix.Pread(int(f), b, off)
	if err == nil && n != len(b) {
		err = unix.EIO
	}
	return err
}

func (f file) pwrite(b []byte, off int64) error {
	n, err := unix.Pwrite(int(f), b, off)
	if err == nil && n != len(b) {
		err = unix.EIO
	}
	return err
}

// mapBAR maps part of a BAR. The kernel maps it uncached.
func (f file) mapBAR(off int64, size int) ([]byte, error) {
	return unix.Mmap(int(f), off, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

func unmapMemory(b []byte) { unix.Munmap(b) }

const hugePage = 2 << 20

// newMemory gives zeroed memory of size bytes, a multiple of pages: from huge
// pages if that wastes little and there are any.
func newMemory(size int) (b []byte, page int, err error) {
	const flags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	if size >= hugePage/2 {
		n := (size + hugePage - 1) &^ (hugePage - 1)
		if b, err = unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, flags|unix.MAP_HUGETLB|unix.MAP_POPULATE); err == nil {
			return b, hugePage, nil
		}
	}
	b, err = unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, flags|unix.MAP_POPULATE)
	if err == nil {
		unix.Madvise(b, unix.MADV_DONTFORK) // a child must not get copies of pages that the card writes
	}
	return b, pageSize, err
}

func address(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(&b[0]))) }

// memlock is the limit on locked memory, ^0 for none.
func memlock() uint64 {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &r) != nil {
		return 0
	}
	return r.Cur
}

// Error numbers that callers tell apart.
const (
	eBUSY   = unix.EBUSY
	eINVAL  = unix.EINVAL
	eIO     = unix.EIO
	eNODEV  = unix.ENODEV
	eNOMEM  = unix.ENOMEM
	eNOSPC  = unix.ENOSPC
	eNOTTY  = unix.ENOTTY
	ePERM   = unix.EPERM
	eNOTSUP = unix.EOPNOTSUPP
)

// ranges has the kernel list what iovas an IOAS may use.
func (f file) ranges(ioas uint32) (out []iovaRange, alignment uint64, err error) {
	for n := 16; n <= 4096; {
		buf := make([]iovaRange, n)
		var pin runtime.Pinner
		pin.Pin(&buf[0])
		q := ioasRanges{id: ioas, num: uint32(n), ranges: uint64(uintptr(unsafe.Pointer(&buf[0])))}
		q.size = sizeOf(&q)
		err = call(f, iommuIOVARanges, &q)
		pin.Unpin()
		if err == unix.EMSGSIZE {
			n = max(2*n, int(min(q.num, 4096)))
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		if int(q.num) > n {
			return nil, 0, fmt.Errorf("%d iova ranges in %d", q.num, n)
		}
		return buf[:q.num], q.alignment, nil
	}
	return nil, 0, fmt.Errorf("iova ranges: %w", err)
}

func readLink(path string) string {
	to, err := os.Readlink(path)
	if err != nil {
		return ""
	}
	return filepath.Base(to)
}

// answer12 is answer for the one ioctl whose need is not in argsz but in the
// count at byte 8, of entries of 8 bytes after 12.
func (f file) answer12(req uint) ([]byte, error) {
	for n, tries := 8, 0; tries < 8; tries++ {
		b := make([]byte, 12+8*n)
		le.PutUint32(b, uint32(len(b)))
		_, err := f.ioctl(req, unsafe.Pointer(&b[0]))
		if err == nil {
			return b, nil
		}
		need := int(le.Uint32(b[8:]))
		if !errors.Is(err, unix.ENOSPC) || need <= n || need > 4096 {
			return nil, err
		}
		n = need
	}
	return nil, unix.ENOSPC
}
