package user

import (
	"fmt"
	"net"

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
