package user_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What the tests need of the kernel: sockets without a name, descriptors of
// many kinds, and a count of what the process holds.

const (
	eIO     = unix.EIO
	eEXIST  = unix.EEXIST
	eBUSY   = unix.EBUSY
	eINVAL  = unix.EINVAL
	eFAULT  = unix.EFAULT
	eNOSPC  = unix.ENOSPC
	eNOSYS  = unix.ENOSYS
	eNOTTY  = unix.ENOTTY
	eNOTSUP = unix.ENOTSUP
)

// pair is two ends of a connection.
func pair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = c.(*net.UnixConn)
		t.Cleanup(func() { c.Close() })
	}
	return ends[0], ends[1]
}

// sendBytes is one sendmsg, with descriptors that stay the caller's.
func sendBytes(c *net.UnixConn, b []byte, fds []int) error {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	c.SetWriteDeadline(time.Now().Add(patience))
	n, _, err := c.WriteMsgUnix(b, oob, nil)
	if err == nil && n < len(b) {
		_, err = c.Write(b[n:])
	}
	return err
}

// recvBytes is one recvmsg. It closes the descriptors that came, and counts
// them.
func recvBytes(c *net.UnixConn, b []byte) (n, fds int, err error) {
	oob := make([]byte, unix.CmsgSpace(4*64))
	n, oobn, _, _, err := c.ReadMsgUnix(b, oob)
	if err != nil {
		return 0, 0, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return n, 0, err
	}
	for i := range messages {
		got, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return n, 0, err
		}
		closeFDs(got...)
		fds += len(got)
	}
	return n, fds, nil
}

func closeFDs(fds ...int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// makeFD makes a descriptor of a kind, which a letter names.
func makeFD(t testing.TB, kind rune) (fd int) {
	t.Helper()
	var err error
	switch kind {
	case 'e': // eventfd
		fd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	case 'f': // one that is full, and blocks
		if fd, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err == nil {
			_, err = unix.Write(fd, []byte{0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF})
		}
	case 'p': // pipe
		var p [2]int
		err = unix.Pipe2(p[:], unix.O_CLOEXEC)
		fd = p[1]
		unix.Close(p[0])
	case 's': // socket
		fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	case 'd': // directory
		fd, err = unix.Open("/", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	case 'z': // device
		fd, err = unix.Open("/dev/zero", unix.O_RDWR|unix.O_CLOEXEC, 0)
	case 'm': // memory: 16 pages
		fd = memory(t, "plain", 16*page, false)
	case 'o': // memory that is not whole pages
		fd = memory(t, "odd", page+100, false)
	case 'n': // none
		fd = memory(t, "empty", 0, false)
	case 'r': // memory that cannot be written
		rw := memory(t, "readonly", 16*page, false)
		fd = reopen(t, rw)
		unix.Close(rw)
	default:
		t.Fatalf("no descriptor of kind %c", kind)
	}
	if err != nil {
		t.Fatalf("descriptor of kind %c: %v", kind, err)
	}
	return fd
}

// makeFDs makes a descriptor for each letter; '=' is the first once more.
func makeFDs(t testing.TB, kinds string) (fds []int) {
	t.Helper()
	for _, k := range kinds {
		if k == '=' {
			fds = append(fds, dup(t, fds[0]))
		} else {
			fds = append(fds, makeFD(t, k))
		}
	}
	return fds
}

func dup(t testing.TB, fd int) int {
	t.Helper()
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// reopen opens a file again, to be read only.
func reopen(t testing.TB, fd int) int {
	t.Helper()
	n, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// memory is a memfd. A sealed one cannot be cut short.
func memory(t testing.TB, name string, size int64, sealed bool) (fd int) {
	t.Helper()
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err == nil {
		err = unix.Ftruncate(fd, size)
	}
	if err == nil && sealed {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func resize(fd int, size int64) error { return unix.Ftruncate(fd, size) }

func poke(t testing.TB, fd int, off int64, b []byte) {
	t.Helper()
	if n, err := unix.Pwrite(fd, b, off); n != len(b) || err != nil {
		t.Fatalf("wrote %d bytes of a file: %v", n, err)
	}
}

func peek(t testing.TB, fd int, off int64, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if n, err := unix.Pread(fd, b, off); n != len(b) || err != nil {
		t.Fatalf("read %d bytes of a file: %v", n, err)
	}
	return b
}

// fired takes what an eventfd counted, and reports whether that was anything.
func fired(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(p, 0); n != 1 || err != nil {
		return false
	}
	var b [8]byte
	n, _ := unix.Read(fd, b[:])
	return n == 8
}

// openFDs counts the descriptors of this process.
func openFDs(t testing.TB) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// mappedFiles counts this process's mappings of memory with a name.
func mappedFiles(t testing.TB, name string) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(b, []byte("/memfd:"+name+" "))
}
