package user_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/hc1-toolkit/hc1/internal/iommu"
	"github.com/hc1-toolkit/hc1/vfio/user"
)

func mapBody(flags uint32, off, addr, size uint64) []byte {
	return longs(words(32, flags), off, addr, size)
}

func unmapBody(flags uint32, addr, size uint64) []byte { return longs(words(24, flags), addr, size) }

// dmaMap maps memory, which has to work.
func (r *raw) dmaMap(flags uint32, off, addr, size uint64, fds ...int) {
	r.t.Helper()
	if errno, _ := r.ask(user.CmdDMAMap, mapBody(flags, off, addr, size), fds...); errno != 0 {
		r.t.Fatalf("map of %#x bytes at %#x: %v", size, addr, errno)
	}
}

// dmaUnmap unmaps, and returns how much that was.
func (r *raw) dmaUnmap(flags uint32, addr, size uint64) (user.Errno, uint64) {
	r.t.Helper()
	errno, b := r.ask(user.CmdDMAUnmap, unmapBody(flags, addr, size))
	if errno != 0 {
		return errno, 0
	}
	if len(b) != 24 || le.Uint32(b) != 24 || le.Uint32(b[4:]) != flags || le.Uint64(b[8:]) != addr {
		r.t.Fatalf("unmap of %#x bytes at %#x is answered % x", size, addr, b)
	}
	return 0, le.Uint64(b[16:])
}

// whyOf is the reason of a Fault.
func whyOf(err error) iommu.Reason {
	if f, ok := errors.AsType[*user.Fault](err); ok {
		return f.Why
	}
	return iommu.Reason(fmt.Sprint(err))
}

const fine iommu.Reason = "<nil>"

const lastPage uint64 = math.MaxUint64 - page + 1

// Every shape of DMA_MAP, beside a mapping of 4 pages at 1 MiB.
func TestDMAMap(t *testing.T) {
	const at, rw = 1 << 20, mapRead | mapWrite
	dev, before := newProbe(), baseline(t)
	r := hello(t, user.NewServer(dev, user.ServerOptions{}), `{"capabilities":{"max_msg_fds":8}}`)
	ram := memory(t, "ram", 16*page, false)
	r.dmaMap(rw, 0, at, 4*page, ram)
	r.alive() // and so the descriptor that was sent is closed
	held := openFDs(t)
	for _, c := range []struct {
		name            string
		flags           uint32
		off, addr, size uint64
		fds             string
		errno           user.Errno
		argsz           uint32 // 0: right
	}{
		{name: "before it", flags: rw, addr: at - page, size: page, fds: "m"},
		{name: "behind it", flags: rw, addr: at + 4*page, size: 4 * page, fds: "m"},
		{name: "the same", flags: rw, addr: at, size: 4 * page, fds: "m", errno: eEXIST},
		{name: "its first page", flags: rw, addr: at, size: page, fds: "m", errno: eEXIST},
		{name: "its middle", flags: rw, addr: at + page, size: 2 * page, fds: "m", errno: eEXIST},
		{name: "its last page", flags: rw, addr: at + 3*page, size: page, fds: "m", errno: eEXIST},
		{name: "into it", flags: rw, addr: at - page, size: 2 * page, fds: "m", errno: eEXIST},
		{name: "out of it", flags: rw, addr: at + 3*page, size: 2 * page, fds: "m", errno: eEXIST},
		{name: "to its end", flags: rw, addr: at - page, size: 5 * page, fds: "m", errno: eEXIST},
		{name: "from its start", flags: rw, addr: at, size: 5 * page, fds: "m", errno: eEXIST},
		{name: "around it", flags: rw, addr: at - page, size: 6 * page, fds: "m", errno: eEXIST},
		{name: "around it, without memory", flags: rw, addr: 0, size: lastPage, errno: eEXIST},

		{name: "half a page", flags: rw, addr: 0, size: page / 2, fds: "m", errno: eINVAL},
		{name: "address within a page", flags: rw, addr: 8, size: page, fds: "m", errno: eINVAL},
		{name: "offset within a page", flags: rw, off: 8, size: page, fds: "m", errno: eINVAL},
		{name: "no bytes", flags: rw, fds: "m", errno: eINVAL},
		{name: "no bytes, where there is something", flags: rw, addr: at, fds: "m", errno: eINVAL},
		{name: "the last page", flags: rw, addr: lastPage, size: page, fds: "m"},
		{name: "the last page, without memory", flags: rw, addr: lastPage, size: page},
		{name: "past the last page", flags: rw, addr: lastPage, size: 2 * page, fds: "m", errno: eINVAL},
		{name: "past it, without memory", flags: rw, addr: lastPage, size: 2 * page, errno: eINVAL},
		{name: "round once", flags: rw, addr: 2 * page, size: lastPage, errno: eINVAL},

		{name: "end of the file", flags: rw, off: 15 * page, size: page, fds: "m"},
		{name: "past the end of the file", flags: rw, off: 15 * page, size: 2 * page, fds: "m", errno: eINVAL},
		{name: "behind the end of the file", flags: rw, off: 16 * page, size: page, fds: "m", errno: eINVAL},
		{name: "far behind it", flags: rw, off: 1 << 62, size: page, fds: "m", errno: eINVAL},
		{name: "offset and size wrap", flags: rw, off: lastPage, size: 2 * page, fds: "m", errno: eINVAL},
		{name: "offset and size are 2^64", flags: rw, off: lastPage, size: page, fds: "m", errno: eINVAL},
		{name: "file larger than its pages", flags: rw, size: page, fds: "o"},
		{name: "part of a page of a file", flags: rw, size: 2 * page, fds: "o", errno: eINVAL},
		{name: "empty file", flags: rw, size: page, fds: "n", errno: eINVAL},

		{name: "pipe", flags: rw, size: page, fds: "p", errno: eINVAL},
		{name: "eventfd", flags: rw, size: page, fds: "e", errno: eINVAL},
		{name: "socket", flags: rw, size: page, fds: "s", errno: eINVAL},
		{name: "directory", flags: mapRead, size: page, fds: "d", errno: eINVAL},
		{name: "device", flags: rw, size: page, fds: "z", errno: eINVAL},
		{name: "read-only, to write", flags: rw, size: page, fds: "r", errno: eINVAL},
		{name: "read-only, to write only", flags: mapWrite, size: page, fds: "r", errno: eINVAL},
		{name: "read-only, to read", flags: mapRead, size: page, fds: "r"},
		{name: "two files", flags: rw, size: page, fds: "mm", errno: eINVAL},
		{name: "many files", flags: rw, size: page, fds: "mmmmmmmm", errno: eINVAL},

		{name: "neither read nor write", size: page, fds: "m", errno: eINVAL},
		{name: "to be mapped, neither read nor write", flags: mapMMap, size: page, fds: "m", errno: eINVAL},
		{name: "to be mapped", flags: rw | mapMMap, size: page, fds: "m"},
		{name: "to be read and written", flags: rw | mapFileIO, size: page, fds: "m", errno: eNOTSUP},
		{name: "an unknown flag", flags: rw | 16, size: page, fds: "m", errno: eINVAL},
		{name: "the last flag", flags: rw | 1<<31, size: page, fds: "m", errno: eINVAL},
		{name: "no memory", flags: rw, size: page},
		{name: "more than there is, without memory", flags: rw, addr: 2 << 20, size: 1 << 60},
		{name: "argsz too small", flags: rw, size: page, fds: "m", argsz: 31, errno: eINVAL},
		{name: "argsz larger", flags: rw, size: page, fds: "m", argsz: 64},
	} {
		body := mapBody(c.flags, c.off, c.addr, c.size)
		if c.argsz != 0 {
			le.PutUint32(body, c.argsz)
		}
		fds := makeFDs(t, c.fds)
		errno, answer := r.ask(user.CmdDMAMap, body, fds...)
		if errno != c.errno || len(answer) > 0 {
			t.Errorf("%s: %v, not %v, and %d bytes", c.name, errno, c.errno, len(answer))
		}
		if errno == 0 {
			if len(fds) > 0 {
				want := []byte(c.name)
				if c.fds == "r" {
					clear(want)
				} else {
					poke(t, fds[0], int64(c.off), want)
				}
				got := make([]byte, len(want))
				if err := dev.attached().Read(c.addr, got); c.flags&mapRead != 0 && (err != nil || !bytes.Equal(got, want)) {
					t.Errorf("%s: the device reads %q, %v", c.name, got, err)
				}
			}
			if errno, n := r.dmaUnmap(0, c.addr, c.size); errno != 0 || n != c.size {
				t.Errorf("%s: %#x bytes unmapped, %v", c.name, n, errno)
			}
		}
		closeFDs(fds...)
		settles(t, c.name+": descriptors", openFDs, held) // they are closed behind the answer
		for _, name := range []string{"plain", "odd", "empty", "readonly"} {
			if n := mappedFiles(t, name); n != 0 {
				t.Fatalf("%s: %d mappings are left", c.name, n)
			}
		}
	}
	if got := mappedFiles(t, "ram"); got != 1 {
		t.Errorf("%d mappings of the memory beside all that", got)
	}
	r.close()
	closeFDs(ram)
	if got := mappedFiles(t, "ram"); got != 0 {
		t.Errorf("%d mappings are left", got)
	}
	settles(t, "descriptors", openFDs, before)
}

// Every shape of DMA_UNMAP, with four mappings: one page, two pages behind
// it, one page elsewhere, and the last page of all.
func TestDMAUnmap(t *testing.T) {
	maps := []struct{ addr, size uint64 }{{0x10000, page}, {0x11000, 2 * page}, {0xFEF0_0000, page}, {lastPage, page}}
	dev := newProbe()
	s := user.NewServer(dev, user.ServerOptions{})
	r := hello(t, s, "")
	ram := memory(t, "ram", 16*page, false)
	defer closeFDs(ram)
	for _, c := range []struct {
		name       string
		flags      uint32
		addr, size uint64
		errno      user.Errno
		removed    uint64
		left       string
		argsz      uint32 // 0: right
	}{
		{name: "exactly one", addr: 0x10000, size: page, removed: page, left: "-234"},
		{name: "exactly the larger", addr: 0x11000, size: 2 * page, removed: 2 * page, left: "1-34"},
		{name: "exactly the last", addr: lastPage, size: page, removed: page, left: "123-"},
		{name: "exactly two", addr: 0x10000, size: 3 * page, removed: 3 * page, left: "--34"},
		{name: "around two", addr: 0, size: 0x100000, removed: 3 * page, left: "--34"},
		{name: "around three", addr: 0, size: 1 << 32, removed: 4 * page, left: "---4"},
		{name: "all but the last", addr: 0, size: lastPage, removed: 4 * page, left: "---4"},
		{name: "upper half", addr: 1 << 63, size: 1 << 63, removed: page, left: "123-"},
		{name: "sweep up to 2^64", addr: 0xFEF0_0000, size: 0xFFFF_FFFF_0110_0000, removed: 2 * page, left: "12--"},
		{name: "nothing there", addr: 0x20000, size: page, left: "1234"},
		{name: "nothing there, much", addr: 1 << 32, size: 1 << 47, left: "1234"},
		{name: "right before", addr: 0xF000, size: page, left: "1234"},
		{name: "right behind", addr: 0x13000, size: page, left: "1234"},

		{name: "first half of one", addr: 0x11000, size: page, errno: eINVAL, left: "1234"},
		{name: "second half of one", addr: 0x12000, size: page, errno: eINVAL, left: "1234"},
		{name: "one and half of the next", addr: 0x10000, size: 2 * page, errno: eINVAL, left: "1234"},
		{name: "half of one, and others", addr: 0x12000, size: 1 << 40, errno: eINVAL, left: "1234"},
		{name: "before, and half of one", addr: 0, size: 0x12000, errno: eINVAL, left: "1234"},
		{name: "no bytes", addr: 0x10000, errno: eINVAL, left: "1234"},
		{name: "no bytes at all", errno: eINVAL, left: "1234"},
		{name: "part of a page", addr: 0x10000, size: 100, errno: eINVAL, left: "1234"},
		{name: "more than a page", addr: 0x10000, size: page + 1, errno: eINVAL, left: "1234"},
		{name: "address within a page", addr: 0x10008, size: page, errno: eINVAL, left: "1234"},
		{name: "past 2^64", addr: lastPage, size: 2 * page, errno: eINVAL, left: "1234"},
		{name: "round once", addr: 2 * page, size: lastPage, errno: eINVAL, left: "1234"},
		{name: "argsz too small", addr: 0x10000, size: page, argsz: 23, errno: eINVAL, left: "1234"},

		{name: "all", flags: unmapAll, removed: 5 * page, left: "----"},
		{name: "all, at an address", flags: unmapAll, addr: 0x10000, errno: eINVAL, left: "1234"},
		{name: "all, of a size", flags: unmapAll, size: page, errno: eINVAL, left: "1234"},
		{name: "with a bitmap", flags: 1, addr: 0x10000, size: page, errno: eINVAL, left: "1234"},
		{name: "an unknown flag", flags: 4, addr: 0x10000, size: page, errno: eINVAL, left: "1234"},
		{name: "all, and an unknown flag", flags: unmapAll | 1<<31, errno: eINVAL, left: "1234"},
	} {
		for _, m := range maps {
			r.dmaMap(mapRead, 0, m.addr, m.size, ram)
		}
		body := unmapBody(c.flags, c.addr, c.size)
		if c.argsz != 0 {
			le.PutUint32(body, c.argsz)
		}
		errno, b := r.ask(user.CmdDMAUnmap, body)
		if errno != c.errno {
			t.Errorf("%s: %v, not %v", c.name, errno, c.errno)
		}
		if want := unmapBody(c.flags, c.addr, c.removed); errno == 0 && !bytes.Equal(b, want) {
			t.Errorf("%s: is answered\n% x, not\n% x", c.name, b, want)
		}
		left, n := "", 0
		for i, m := range maps {
			switch first, last := dev.attached().Read(m.addr, []byte{0}), dev.attached().Read(m.addr+m.size-1, []byte{0}); {
			case first == nil && last == nil:
				left += fmt.Sprint(i + 1)
				n++
			case whyOf(first) == iommu.Freed && whyOf(last) == iommu.Freed:
				left += "-"
			default:
				left += fmt.Sprint(first, last)
			}
		}
		if left != c.left {
			t.Errorf("%s: %s are left, not %s", c.name, left, c.left)
		}
		if got := s.Stats().Maps; got != n {
			t.Errorf("%s: %d mappings counted, not %d", c.name, got, n)
		}
		if got := mappedFiles(t, "ram"); got != min(n, 1) {
			t.Errorf("%s: the file is mapped %d times", c.name, got)
		}
		if errno, _ := r.dmaUnmap(unmapAll, 0, 0); errno != 0 {
			t.Fatalf("unmap all: %v", errno)
		}
	}
}

// A mapping across the middle of the address space goes with all others too.
func TestDMAUnmapAll(t *testing.T) {
	dev := newProbe()
	s := user.NewServer(dev, user.ServerOptions{})
	r := hello(t, s, "")
	r.dmaMap(mapRead, 0, page, lastPage-page)
	r.dmaMap(mapRead, 0, lastPage, page)
	if errno, n := r.dmaUnmap(unmapAll, 0, 0); errno != 0 || n != math.MaxUint64&^(page-1) {
		t.Errorf("%#x bytes unmapped, %v", n, errno)
	}
	if n := s.Stats().Maps; n != 0 {
		t.Errorf("%d mappings are left", n)
	}
}

func TestMaxMaps(t *testing.T) {
	for _, c := range []struct {
		server int
		client string
		most   int
	}{
		{3, ``, 3},
		{3, `{"capabilities":{"max_dma_maps":100}}`, 3},
		{100, `{"capabilities":{"max_dma_maps":2}}`, 2},
	} {
		s := user.NewServer(newProbe(), user.ServerOptions{MaxMaps: c.server})
		r := connect(t, s)
		errno, answer := r.ask(user.CmdVersion, version(0, 1, c.client+"\x00"))
		if errno != 0 || len(answer) < 4 {
			t.Fatalf("%v, %d bytes", errno, len(answer))
		}
		for i := range c.most {
			r.dmaMap(mapRead, 0, uint64(i)*page, page)
		}
		if errno, _ := r.ask(user.CmdDMAMap, mapBody(mapRead, 0, 1<<30, page)); errno != eNOSPC {
			t.Errorf("mapping %d of %d: %v", c.most+1, c.most, errno)
		}
		if errno, n := r.dmaUnmap(0, 0, page); errno != 0 || n != page {
			t.Error(errno, n)
		}
		r.dmaMap(mapRead, 0, 1<<30, page)
		r.close()
	}
}

// A file is mapped once, however often and by which descriptor it comes.
func TestFileIsMappedOnce(t *testing.T) {
	const n = 300
	dev, before := newProbe(), baseline(t)
	r := hello(t, user.NewServer(dev, user.ServerOptions{}), "")
	fds := []int{memory(t, "guest", n*page, false)}
	fds = append(fds, dup(t, fds[0]), reopen(t, fds[0]))
	addr := func(i int) uint64 { return uint64(n-i) * 2 * page }
	for i := range n {
		poke(t, fds[0], int64(i)*page, longs(nil, uint64(i)))
		r.dmaMap(mapRead, uint64(i)*page, addr(i), page, fds[i%3])
	}
	if got := mappedFiles(t, "guest"); got != 1 {
		t.Errorf("mapped %d times", got)
	}
	for i := range n {
		if got, err := dev.attached().Load64(addr(i)); err != nil || got != uint64(i) {
			t.Fatalf("page %d: %d, %v", i, got, err)
		}
	}
	// A file that has grown is mapped once more, for what is new.
	if err := resize(fds[0], 2*n*page); err != nil {
		t.Fatal(err)
	}
	r.dmaMap(mapRead, n*page, 1<<40, page, fds[0])
	r.dmaMap(mapRead, 0, 2<<40, page, fds[0])
	if got := mappedFiles(t, "guest"); got != 2 {
		t.Errorf("mapped %d times after it grew", got)
	}
	for i := range n {
		if errno, size := r.dmaUnmap(0, addr(i), page); errno != 0 || size != page {
			t.Fatal(errno, size)
		}
	}
	if got := mappedFiles(t, "guest"); got != 1 {
		t.Errorf("mapped %d times when half is unmapped", got)
	}
	if errno, size := r.dmaUnmap(0, 1<<40, 2<<40); errno != 0 || size != 2*page {
		t.Error(errno, size)
	}
	if got := mappedFiles(t, "guest"); got != 0 {
		t.Errorf("mapped %d times when all is unmapped", got)
	}
	r.close()
	closeFDs(fds...)
	settles(t, "descriptors", openFDs, before)
}
