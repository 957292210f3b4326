// Package irq is interrupts as a process has them: eventfds that a kernel, or
// a peer, signals.
package irq

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// FD is an eventfd: the one end of an interrupt.
type FD int

// None is no eventfd.
const None = FD(-1)

// New makes an eventfd.
func New() (FD, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return None, fmt.Errorf("eventfd: %w", err)
	}
	return FD(fd), nil
}

// Adopt checks that what a peer sent is an eventfd: a write of 8 bytes to
// anything else could do harm, or block.
func Adopt(fd int) (FD, error) {
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err == nil && !strings.HasPrefix(name, "anon_inode:[eventfd]") {
		return None, fmt.Errorf("not an eventfd but %s", name)
	}
	return FD(fd), nil // without /proc nobody can tell
}

// Close closes it.
func (e FD) Close() {
	if e >= 0 {
		unix.Close(int(e))
	}
}

var one = [8]byte{1}

// stuck is how long a write may block before it is helped.
const stuck = 10 * time.Millisecond

// Signal adds one. An eventfd that cannot take it has been signalled often
// enough. A peer may have made a blocking one, and filled it behind our look:
// the write would then wait for ever. Whoever reads lets it go, so after a
// while we read.
func (e FD) Signal() {
	p := [1]unix.PollFd{{Fd: int32(e), Events: unix.POLLOUT}}
	if n, err := unix.Poll(p[:], 0); err != nil || n != 1 || p[0].Revents&unix.POLLOUT == 0 {
		return
	}
	var over atomic.Bool
	watch := time.AfterFunc(stuck, func() {
		for !over.Load() {
			e.Take()
			time.Sleep(time.Millisecond)
		}
	})
	unix.Write(int(e), one[:])
	over.Store(true)
	watch.Stop()
}

// Take reports whether it was signalled since the last Take. It does not
// wait: O_NONBLOCK belongs to the open file, so a peer that was given it can
// take the flag away, but not RWF_NOWAIT.
func (e FD) Take() bool {
	var b [8]byte
	to := unix.Iovec{Base: &b[0]}
	to.SetLen(len(b))
	n, _, errno := unix.Syscall6(unix.SYS_PREADV2, uintptr(e), uintptr(unsafe.Pointer(&to)), 1, ^uintptr(0), ^uintptr(0), unix.RWF_NOWAIT)
	if errno == unix.EOPNOTSUPP || errno == unix.ENOSYS { // before Linux 5.8
		k, _ := unix.Read(int(e), b[:])
		return k == 8
	}
	return errno == 0 && n == 8
}

// WaitEither blocks until one of two eventfds is signalled, or d has passed
// (d < 0: without bound). A thread waits in the kernel: that wakes sooner
// than the runtime's poller does.
func WaitEither(a, b FD, d time.Duration) (first, second bool, err error) {
	p := [2]unix.PollFd{{Fd: int32(a), Events: unix.POLLIN}, {Fd: int32(b), Events: unix.POLLIN}}
	var end time.Time
	if d >= 0 {
		end = time.Now().Add(d)
	}
	for {
		var ts *unix.Timespec
		if d >= 0 {
			t := unix.NsecToTimespec(int64(max(time.Until(end), 0)))
			ts = &t
		}
		n, err := unix.Ppoll(p[:], ts, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return false, false, fmt.Errorf("wait for interrupt: %w", err)
		case n == 0:
			return false, false, nil
		}
		return p[0].Revents != 0, p[1].Revents != 0, nil
	}
}
