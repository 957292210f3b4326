package user

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hc1-toolkit/hc1/internal/irq"
)

// What the fuzzers need of the kernel: sockets without a name, descriptors of
// every kind, and a count of what the process holds.

// fzPair is two ends of a connection.
func fzPair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range p {
		f := os.NewFile(uintptr(fd), "")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = c.(*net.UnixConn)
	}
	return ends[0], ends[1]
}

// Kinds of descriptors for fzFD.
const (
	fzMemfd     = iota // can shrink
	fzSealed           // cannot
	fzReadOnly         // opened for reading
	fzNoWrite          // sealed against writing
	fzOdd              // memory that is not whole pages
	fzHuge             // of more bytes than a client may have
	fzEvent            // an eventfd
	fzFullEvent        // one that blocks, and is full
	fzPipe
	fzNull
	fzPath   // memory that can only be looked at
	fzFolder // a directory
	fzOwn    // the socket itself
	fzKinds
)

// fzFD makes a descriptor. own may be nil.
func fzFD(kind, pages int, own *net.UnixConn) (fd int) {
	fd = -1
	size := int64(pages) * pageSize
	memory := func() { fd, _ = unix.MemfdCreate("fz", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING) }
	reopen := func(how int) {
		old := fd
		fd, _ = unix.Open(fmt.Sprintf("/proc/self/fd/%d", old), how|unix.O_CLOEXEC, 0)
		unix.Close(old)
	}
	switch kind {
	case fzMemfd, fzSealed, fzReadOnly, fzNoWrite, fzPath, fzOdd, fzHuge:
		memory()
		switch kind {
		case fzOdd:
			size = max(0, size-100)
		case fzHuge:
			size += maxMapped
		}
		unix.Ftruncate(fd, size)
		switch kind {
		case fzSealed:
			fzSeal(fd)
		case fzNoWrite:
			unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK)
		case fzReadOnly:
			reopen(unix.O_RDONLY)
		case fzPath:
			reopen(unix.O_PATH)
		}
	case fzEvent:
		fd, _ = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	case fzFullEvent:
		fd, _ = unix.Eventfd(0, unix.EFD_CLOEXEC)
		unix.Write(fd, []byte{0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF})
	case fzPipe:
		var p [2]int
		unix.Pipe2(p[:], unix.O_CLOEXEC)
		unix.Close(p[0])
		fd = p[1]
	case fzFolder:
		fd, _ = unix.Open("/", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	case fzOwn:
		if own != nil {
			fd = fzDup(own)
		}
	}
	if fd < 0 {
		fd, _ = unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	}
	return fd
}

// fzDup is another descriptor of a socket.
func fzDup(c *net.UnixConn) (fd int) {
	fd = -1
	if raw, err := c.SyscallConn(); err == nil {
		raw.Control(func(s uintptr) { fd, _ = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0) })
	}
	return fd
}

func fzDupFD(fd int) int {
	fd, _ = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	return fd
}

func fzSeal(fd int) { unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK) }

func fzTruncate(fd, pages int) { unix.Ftruncate(fd, int64(pages)*pageSize) }

// fzRing signals an eventfd, whoever made it. It does not wait.
func fzRing(fd int) { irq.FD(fd).Signal() }

// fzBlocking makes reads of a descriptor wait: those of its owner too, since
// the flag belongs to the open file.
func fzBlocking(fd int) { unix.FcntlInt(uintptr(fd), unix.F_SETFL, unix.O_RDWR) }

// fzSend is one sendmsg, with descriptors. A short write counts as an error.
func fzSend(c *net.UnixConn, b []byte, fds []int) error {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	n, _, err := c.WriteMsgUnix(b, oob, nil)
	if err == nil && n < len(b) {
		_, err = c.Write(b[n:])
	}
	return err
}

// fzHeld is what must be given back.
type fzHeld struct{ fds, maps, routines int }

func fzHold(t testing.TB) (h fzHeld) {
	t.Helper()
	d, err := os.Open("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	names, err := d.Readdirnames(-1)
	d.Close()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open("/proc/self/maps", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	buf := make([]byte, 1<<13)
	for { // whole lines: the kernel gives no others
		n, err := unix.Read(fd, buf)
		if n <= 0 || err != nil {
			break
		}
		// Only shared memory: the runtime's own mappings come and go.
		h.maps += bytes.Count(buf[:n], []byte("/memfd:"))
	}
	h.fds, h.routines = len(names), runtime.NumGoroutine()
	return h
}

// check waits a little: a goroutine counts until it is quite gone, and the
// kernel puts some sockets away later.
func (h fzHeld) check(t testing.TB, slack int) {
	t.Helper()
	end := time.Now().Add(5 * time.Second)
	for n := 0; ; n++ {
		for i := 0; i < 20 && runtime.NumGoroutine() > h.routines; i++ {
			runtime.Gosched()
		}
		now := fzHold(t)
		if now.fds <= h.fds+slack && now.maps <= h.maps+slack && now.routines <= h.routines+slack {
			return
		}
		if time.Now().After(end) {
			fzHang(fmt.Sprintf("left behind: held %+v before, %+v after", h, now))
		}
		if n > 3 {
			time.Sleep(time.Millisecond)
		}
	}
}

// fzHang ends the process and shows who waits for what.
func fzHang(what string) {
	buf := make([]byte, 1<<16)
	panic(fmt.Sprintf("%s\n%s", what, buf[:runtime.Stack(buf, true)]))
}
