package user

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls that this package makes beyond those of package net.

// Errno is an error number as it travels in a reply.
type Errno = unix.Errno

// ErrRefused is a socket file on which nobody listens.
const ErrRefused = unix.ECONNREFUSED

// Error numbers that replies carry.
const (
	eBUSY   = unix.EBUSY
	eEXIST  = unix.EEXIST
	eFAULT  = unix.EFAULT
	eINVAL  = unix.EINVAL
	eIO     = unix.EIO
	eNOMEM  = unix.ENOMEM
	eNOSPC  = unix.ENOSPC
	eNOSYS  = unix.ENOSYS
	eNOTSUP = unix.ENOTSUP
	eNOTTY  = unix.ENOTTY
)

// oobSize holds the control data of MaxFDs descriptors and what a peer may
// add to it. Descriptors beyond it are dropped by the kernel, which says so.
var oobSize = unix.CmsgSpace(4*MaxFDs) + 64

// rights takes the descriptors out of control data. They are the caller's to
// close, also when there is an error.
func rights(oob []byte, flags int) (fds []int, err error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("control data: %w", err)
	}
	for i := range msgs {
		if msgs[i].Header.Level != unix.SOL_SOCKET || msgs[i].Header.Type != unix.SCM_RIGHTS {
			continue
		}
		got, perr := unix.ParseUnixRights(&msgs[i])
		if perr != nil {
			err = perr
			continue
		}
		fds = append(fds, got...)
	}
	if flags&unix.MSG_CTRUNC != 0 && err == nil {
		err = fmt.Errorf("more than %d file descriptors in a message", MaxFDs)
	}
	return fds, err
}

func sendRights(fds []int) []byte {
	if len(fds) == 0 {
		return nil
	}
	return unix.UnixRights(fds...)
}

func closeFDs(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// peerPID is the process at the other end of a socket, 0 where the kernel
// does not tell.
func peerPID(c *net.UnixConn) (pid int) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	raw.Control(func(fd uintptr) {
		if u, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(u.Pid)
		}
	})
	return pid
}

// eventFD is an eventfd: the one end of an interrupt.
type eventFD int

func newEventFD() (eventFD, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return -1, fmt.Errorf("eventfd: %w", err)
	}
	return eventFD(fd), nil
}

// adoptEventFD checks that what a peer sent is an eventfd: a write of 8 bytes
// to anything else could do harm, or block.
func adoptEventFD(fd int) (eventFD, error) {
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err == nil && !strings.HasPrefix(name, "anon_inode:[eventfd]") {
		return -1, fmt.Errorf("not an eventfd but %s", name)
	}
	return eventFD(fd), nil // without /proc nobody can tell
}

func (e eventFD) close() { unix.Close(int(e)) }

var one = [8]byte{1}

// signal adds one. An eventfd that cannot take it has been signalled often
// enough. A peer may have made a blocking one: look before the write.
func (e eventFD) signal() {
	p := [1]unix.PollFd{{Fd: int32(e), Events: unix.POLLOUT}}
	if n, err := unix.Poll(p[:], 0); err == nil && n == 1 && p[0].Revents&unix.POLLOUT != 0 {
		unix.Write(int(e), one[:])
	}
}

// take reports whether it was signalled since the last take. It does not
// wait: O_NONBLOCK belongs to the open file, so a peer that was given it can
// take the flag away, but not RWF_NOWAIT.
func (e eventFD) take() bool {
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

// waitEither blocks until one of two eventfds is signalled, or d has passed
// (d < 0: without bound). A thread waits in the kernel: that wakes sooner
// than the runtime's poller does.
func waitEither(a, b eventFD, d time.Duration) (first, second bool, err error) {
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
