package user_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/vfio/user"
)

// answer is what an impostor sends instead of what is right.
type answer struct {
	b   []byte
	fds string // kinds for makeFDs; 'w' is the window
	end bool   // it hangs up behind it
}

// impostor is a server that a test makes, with a device of its own: BAR 0 has
// a page, BAR 2 has 16, of which clients map 8, and there are 4 vectors.
type impostor struct {
	t       testing.TB
	c       *net.UnixConn
	window  int // the memory of BAR 2
	replies chan incoming
	done    chan struct{}

	mu  sync.Mutex
	lie func(m incoming) *answer // nil: the right answer
}

// impose makes one, and the client's end of its connection.
func impose(t testing.TB, lie func(m incoming) *answer) (*impostor, *net.UnixConn) {
	c, other := pair(t)
	x := &impostor{t: t, c: other, window: memory(t, "window", 16*page, false), replies: make(chan incoming, 100), done: make(chan struct{}), lie: lie}
	go x.serve()
	return x, c
}

func (x *impostor) serve() {
	defer close(x.done)
	defer x.c.Close()
	for {
		m, err := receive(x.c)
		if err != nil {
			return
		}
		if m.flags&isReply != 0 {
			x.replies <- m
			continue
		}
		x.mu.Lock()
		lie := x.lie
		x.mu.Unlock()
		var a *answer
		if lie != nil {
			a = lie(m)
		}
		if a == nil {
			a = truth(m)
		}
		if len(a.b) > 0 && m.flags&noReply == 0 {
			fds := makeFDs(x.t, strings.ReplaceAll(a.fds, "w", ""))
			all := fds
			if strings.Contains(a.fds, "w") {
				all = append(fds[:len(fds):len(fds)], x.window)
			}
			sendBytes(x.c, a.b, all)
			closeFDs(fds...)
		}
		if a.end {
			return
		}
	}
}

// end hangs up, and waits until all is put away.
func (x *impostor) end() {
	x.c.CloseRead()
	<-x.done
	closeFDs(x.window)
}

func (x *impostor) now(lie func(m incoming) *answer) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.lie = lie
}

// says is a right answer with this payload.
func says(m incoming, body []byte) *answer { return &answer{b: packet(m.id, m.cmd, isReply, 0, body)} }

func refuses(m incoming, errno user.Errno) *answer {
	return &answer{b: packet(m.id, m.cmd, isReply|isError, uint32(errno), nil)}
}

// regionInfo is the payload about a region, with its capabilities.
func regionInfo(flags, index, capsAt uint32, size, off uint64, caps []byte) []byte {
	return append(longs(words(uint32(32+len(caps)), flags, index, capsAt), size, off), caps...)
}

// sparse is the capability that lists areas; count is what it says they are.
func sparse(next, count uint32, areas ...uint64) []byte {
	return longs(words(1|1<<16, next, count, 0), areas...)
}

func truth(m incoming) *answer {
	switch m.cmd {
	case user.CmdVersion:
		return says(m, version(0, 1, `{"capabilities":{"max_msg_fds":8}}`+"\x00"))
	case user.CmdGetInfo:
		return says(m, words(16, 3, 9, 5))
	case user.CmdGetRegionInfo:
		switch i := le.Uint32(m.body[8:]); i {
		case 0, user.RegionConfig:
			return says(m, regionInfo(3, i, 0, page, 0, nil))
		case 2:
			a := says(m, regionInfo(15, i, 32, 16*page, 0, sparse(0, 2, 0, 4*page, 8*page, 4*page)))
			a.fds = "w"
			return a
		default:
			return says(m, regionInfo(0, i, 0, 0, 0, nil))
		}
	case user.CmdGetIRQInfo:
		i := le.Uint32(m.body[8:])
		return says(m, words(16, 1, i, []uint32{0, 0, 4, 1, 1}[i]))
	case user.CmdRegionRead:
		return says(m, append(m.body[:16:16], make([]byte, le.Uint32(m.body[12:]))...))
	case user.CmdRegionWrite:
		return says(m, m.body[:16])
	case user.CmdDMAUnmap:
		return says(m, m.body)
	}
	return says(m, nil)
}

// lieAbout answers one question wrongly: a command's, for one index if i >= 0.
func lieAbout(cmd user.Command, i int, f func(m incoming) *answer) func(m incoming) *answer {
	return func(m incoming) *answer {
		at := map[user.Command]int{user.CmdGetRegionInfo: 8, user.CmdGetIRQInfo: 8, user.CmdSetIRQs: 8}[cmd]
		if m.cmd != cmd || i >= 0 && le.Uint32(m.body[at:]) != uint32(i) {
			return nil
		}
		return f(m)
	}
}

// Lies of a server about itself: Dial fails, and nothing is left of it.
func TestHostileServer(t *testing.T) {
	const info, irqs = user.CmdGetRegionInfo, user.CmdGetIRQInfo
	body := func(b []byte) func(m incoming) *answer {
		return func(m incoming) *answer { return says(m, b) }
	}
	fds := func(kinds string, f func(m incoming) *answer) func(m incoming) *answer {
		return func(m incoming) *answer { a := f(m); a.fds = kinds; return a }
	}
	bytesOf := func(f func(m incoming) []byte) func(m incoming) *answer {
		return func(m incoming) *answer { return &answer{b: f(m)} }
	}
	areas := func(size uint64, a ...uint64) func(m incoming) *answer {
		return fds("w", body(regionInfo(15, 2, 32, size, 0, sparse(0, uint32(len(a)/2), a...))))
	}
	caps := func(at uint32, c []byte) func(m incoming) *answer {
		return fds("w", body(regionInfo(15, 2, at, 16*page, 0, c)))
	}
	type row struct {
		name string
		cmd  user.Command
		i    int
		lie  func(m incoming) *answer
		err  error // in the chain
	}
	rows := []row{
		{"busy", user.CmdVersion, -1, func(m incoming) *answer { return refuses(m, eBUSY) }, user.ErrBusy},
		{"major 1", user.CmdVersion, -1, body(version(1, 0, "")), hal.ErrUnsupported},
		{"minor 2", user.CmdVersion, -1, body(version(0, 2, "")), hal.ErrUnsupported},
		{"half a version", user.CmdVersion, -1, body([]byte{0, 0, 1}), user.ErrProtocol},
		{"no JSON", user.CmdVersion, -1, body(version(0, 1, "no\x00")), user.ErrProtocol},
		{"no NUL", user.CmdVersion, -1, body(version(0, 1, "{}")), user.ErrProtocol},
		{"deep JSON", user.CmdVersion, -1, body(version(0, 1, strings.Repeat("[", 4000)+"\x00")), user.ErrProtocol},
		{"long JSON", user.CmdVersion, -1, body(version(0, 1, strings.Repeat(" ", 1<<20-100)+"\x00")), user.ErrProtocol},
		{"negative limits", user.CmdVersion, -1, body(version(0, 1, `{"capabilities":{"max_dma_maps":-1}}`+"\x00")), user.ErrProtocol},

		{"no PCI", user.CmdGetInfo, -1, body(words(16, 1, 9, 5)), user.ErrProtocol},
		{"no regions", user.CmdGetInfo, -1, body(words(16, 3, 0, 5)), user.ErrProtocol},
		{"no configuration space", user.CmdGetInfo, -1, body(words(16, 3, 7, 5)), user.ErrProtocol},
		{"many regions", user.CmdGetInfo, -1, body(words(16, 3, most, 5)), user.ErrProtocol},
		{"many indexes", user.CmdGetInfo, -1, body(words(16, 3, 9, most)), user.ErrProtocol},

		{"another region", info, 0, body(regionInfo(3, 1, 0, page, 0, nil)), user.ErrProtocol},
		{"three bytes", info, 0, body(regionInfo(3, 0, 0, 3, 0, nil)), user.ErrProtocol},
		{"three pages", info, 0, body(regionInfo(3, 0, 0, 3*page, 0, nil)), user.ErrProtocol},
		{"2^47 bytes", info, 0, body(regionInfo(3, 0, 0, 1<<47, 0, nil)), user.ErrProtocol},
		{"2^63 bytes", info, 0, body(regionInfo(3, 0, 0, 1<<63, 0, nil)), user.ErrProtocol},
		{"2^64-1 bytes", info, user.RegionConfig, body(regionInfo(3, 7, 0, 1<<64-1, 0, nil)), user.ErrProtocol},
		{"an empty configuration space", info, user.RegionConfig, body(regionInfo(3, 7, 0, 0, 0, nil)), user.ErrProtocol},
		{"a file without mapping", info, 2, fds("w", body(regionInfo(3, 2, 0, 16*page, 0, nil))), user.ErrProtocol},
		{"two files", info, 2, fds("mw", body(regionInfo(7, 2, 0, 16*page, 0, nil))), user.ErrProtocol},
		{"a pipe", info, 2, fds("p", body(regionInfo(7, 2, 0, 16*page, 0, nil))), user.ErrProtocol},
		{"a device", info, 2, fds("z", body(regionInfo(7, 2, 0, 16*page, 0, nil))), user.ErrProtocol},
		{"a directory", info, 2, fds("d", body(regionInfo(7, 2, 0, 16*page, 0, nil))), user.ErrProtocol},
		{"an empty file", info, 2, fds("n", body(regionInfo(7, 2, 0, 16*page, 0, nil))), user.ErrProtocol},
		{"a file that cannot be written", info, 2, fds("r", body(regionInfo(7, 2, 0, 16*page, 0, nil))), nil},
		{"a larger region than its file", info, 2, fds("w", body(regionInfo(7, 2, 0, 32*page, 0, nil))), user.ErrProtocol},
		{"an offset in the file", info, 2, fds("w", body(regionInfo(7, 2, 0, 16*page, page, nil))), user.ErrProtocol},
		{"an offset behind the file", info, 2, fds("w", body(regionInfo(7, 2, 0, 16*page, 1<<40, nil))), user.ErrProtocol},
		{"an offset that wraps", info, 2, fds("w", body(regionInfo(7, 2, 0, 16*page, 1<<64-page, nil))), user.ErrProtocol},
		{"an offset within a page", info, 2, fds("w", body(regionInfo(7, 2, 0, page, 8, nil))), nil},

		{"area behind the region", info, 2, areas(8*page, 8*page, page), user.ErrProtocol},
		{"area across its end", info, 2, areas(8*page, 7*page, 2*page), user.ErrProtocol},
		{"area larger than it", info, 2, areas(8*page, 0, 16*page), user.ErrProtocol},
		{"area behind the file", info, 2, areas(64*page, 16*page, page), user.ErrProtocol},
		{"area that wraps", info, 2, areas(16*page, 1<<64-page, 2*page), user.ErrProtocol},
		{"area of nearly 2^64", info, 2, areas(16*page, page, 1<<64-page), user.ErrProtocol},
		{"area of no bytes", info, 2, areas(16*page, page, 0), user.ErrProtocol},
		{"area of half a page", info, 2, areas(16*page, 0, page/2), user.ErrProtocol},
		{"area within a page", info, 2, areas(16*page, 8, page), user.ErrProtocol},
		{"a good area and a bad one", info, 2, areas(16*page, 0, page, 16*page, page), user.ErrProtocol},
		{"65 areas", info, 2, caps(32, sparse(0, 65, make([]uint64, 130)...)), user.ErrProtocol},
		{"an area more than there is", info, 2, caps(32, sparse(0, 2, 0, page)), user.ErrProtocol},
		{"2^32-1 areas", info, 2, caps(32, sparse(0, most, 0, page)), user.ErrProtocol},
		{"areas whose bytes wrap", info, 2, caps(32, sparse(0, 1<<28+1, 0, page)), user.ErrProtocol},
		{"half a list", info, 2, caps(32, words(1|1<<16, 0)), user.ErrProtocol},
		{"capabilities in the header", info, 2, caps(8, sparse(0, 1, 0, page)), user.ErrProtocol},
		{"capabilities at the end", info, 2, caps(64, sparse(0, 1, 0, page)), user.ErrProtocol},
		{"capabilities far out", info, 2, caps(most, sparse(0, 1, 0, page)), user.ErrProtocol},
		{"a capability that is its own next", info, 2, caps(32, words(99, 32)), user.ErrProtocol},
		{"capabilities in a circle", info, 2, caps(32, words(99, 40, 98, 32)), user.ErrProtocol},
		{"a list of areas in a circle", info, 2, caps(32, sparse(32, 1, 0, page)), user.ErrProtocol},
		{"a next capability in the header", info, 2, caps(32, words(99, 4)), user.ErrProtocol},
		{"a next capability far out", info, 2, caps(32, words(99, most)), user.ErrProtocol},
		{"a bad region behind a good one", info, 3, body(regionInfo(3, 3, 0, 3, 0, nil)), user.ErrProtocol},

		{"2049 vectors", irqs, msix, body(words(16, 1, 2, 2049)), user.ErrProtocol},
		{"2^32-1 vectors", irqs, msix, body(words(16, 1, 2, most)), user.ErrProtocol},
		{"2^32-1 errors", irqs, user.IRQErr, body(words(16, 1, 3, most)), user.ErrProtocol},
	}
	// What may be wrong with any answer.
	for _, q := range []struct {
		cmd user.Command
		i   int
	}{{user.CmdVersion, -1}, {user.CmdGetInfo, -1}, {info, 0}, {info, 2}, {info, user.RegionConfig}, {irqs, 0}, {irqs, msix}, {user.CmdSetIRQs, user.IRQErr}, {user.CmdSetIRQs, user.IRQReq}} {
		add := func(name string, err error, f func(m incoming) *answer) {
			rows = append(rows, row{fmt.Sprintf("%v %d: %s", q.cmd, q.i, name), q.cmd, q.i, f, err})
		}
		edit := func(f func(b []byte)) func(m incoming) *answer {
			return bytesOf(func(m incoming) []byte { b := truth(m).b; f(b); return b })
		}
		add("refused", eNOSPC, func(m incoming) *answer { return refuses(m, eNOSPC) })
		add("refused without a number", nil, func(m incoming) *answer { return refuses(m, 0) })
		add("hung up", user.ErrDisconnected, func(m incoming) *answer { return &answer{end: true} })
		add("half an answer", user.ErrDisconnected, func(m incoming) *answer { a := truth(m); a.b, a.end = a.b[:len(a.b)-1], true; return a })
		add("another id", user.ErrProtocol, edit(func(b []byte) { b[1]++ }))
		add("another command", user.ErrProtocol, edit(func(b []byte) { b[2] ^= 1 }))
		add("no answer but a command", user.ErrProtocol, edit(func(b []byte) { b[8] = 0 }))
		add("a type that does not exist", user.ErrProtocol, edit(func(b []byte) { b[8] = 9 }))
		add("size 15", user.ErrProtocol, edit(func(b []byte) { le.PutUint32(b[4:], 15) }))
		add("size 2^32-1", user.ErrProtocol, edit(func(b []byte) { le.PutUint32(b[4:], most) }))
		add("2 KiB too much", user.ErrProtocol, func(m incoming) *answer { return says(m, append(truth(m).b[16:], make([]byte, 5000)...)) })
		add("65 files", user.ErrProtocol, fds(strings.Repeat("e", 65), truth))
		if q.cmd != info {
			add("a file", user.ErrProtocol, fds("e", truth))
		}
		if q.cmd != user.CmdVersion && q.cmd != user.CmdSetIRQs {
			add("a byte short", user.ErrProtocol, func(m incoming) *answer { return says(m, truth(m).b[16:31]) })
			add("empty", user.ErrProtocol, body(nil))
		}
	}
	before := baseline(t)
	for _, c := range rows {
		x, conn := impose(t, lieAbout(c.cmd, c.i, c.lie))
		f, err := user.NewClient(context.Background(), conn, user.ClientOptions{Timeout: patience})
		if err == nil {
			t.Errorf("%s: believed", c.name)
			f.Close()
		} else if c.err != nil && !errors.Is(err, c.err) {
			t.Errorf("%s: %v, not %v", c.name, err, c.err)
		} else if errors.Is(err, user.ErrTimeout) {
			t.Errorf("%s: it hangs: %v", c.name, err)
		}
		x.end()
		for name, n := range map[string]int{"window": mappedFiles(t, "window"), "memory": mappedFiles(t, "plain")} {
			if n > 0 {
				t.Errorf("%s: %d mappings of the %s are left", c.name, n, name)
			}
		}
		settles(t, c.name+": descriptors", openFDs, before)
	}
}

// What a server may say, though it is odd: Dial succeeds, and what is not
// certain is not mapped.
func TestOddServer(t *testing.T) {
	before := baseline(t)
	for name, lie := range map[string]func(m incoming) *answer{
		"nothing odd": func(m incoming) *answer { return nil },
		"no file":     lieAbout(user.CmdGetRegionInfo, 2, func(m incoming) *answer { return says(m, regionInfo(7, 2, 0, 16*page, 0, nil)) }),
		"unknown capabilities": lieAbout(user.CmdGetRegionInfo, 2, func(m incoming) *answer {
			a := says(m, regionInfo(15, 2, 32, 16*page, 0, bytes.Join([][]byte{words(99, 40), words(77, 48), sparse(0, 1, 0, 8*page)}, nil)))
			a.fds = "w"
			return a
		}),
		"areas that overlap": lieAbout(user.CmdGetRegionInfo, 2, func(m incoming) *answer {
			a := says(m, regionInfo(15, 2, 32, 16*page, 0, sparse(0, 3, 0, 8*page, page, 8*page, 0, 16*page)))
			a.fds = "w"
			return a
		}),
		"no interrupts":  lieAbout(user.CmdGetInfo, -1, func(m incoming) *answer { return says(m, words(16, 3, 9, 0)) }),
		"more of all":    lieAbout(user.CmdGetInfo, -1, func(m incoming) *answer { return says(m, words(16, most, 100, 50)) }),
		"2048 vectors":   lieAbout(user.CmdGetIRQInfo, msix, func(m incoming) *answer { return says(m, words(16, 1, 2, 2048)) }),
		"a tiny BAR":     lieAbout(user.CmdGetRegionInfo, 0, func(m incoming) *answer { return says(m, regionInfo(3, 0, 0, 1, 0, nil)) }),
		"one descriptor": lieAbout(user.CmdVersion, -1, func(m incoming) *answer { return says(m, version(0, 0, "")) }),
	} {
		x, conn := impose(t, lie)
		f, err := user.NewClient(context.Background(), conn, user.ClientOptions{Timeout: patience})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			x.end()
			continue
		}
		if _, err := f.ReadConfig(0, 4); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		pad, err := f.Region(2)
		if err != nil {
			t.Fatal(err)
		}
		for off := 0; off < pad.Size(); off += page {
			pad.Store32(off, uint32(off))
		}
		if err := f.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		x.end()
		if n := mappedFiles(t, "window"); n > 0 {
			t.Errorf("%s: %d mappings are left", name, n)
		}
		settles(t, name+": descriptors", openFDs, before)
	}
}

// A server that says nothing, or too late, is lost, and a caller that loses
// patience gets away.
func TestSilentServer(t *testing.T) {
	before := baseline(t)
	silent := func(m incoming) *answer { return &answer{} }
	x, conn := impose(t, silent)
	if _, err := user.NewClient(context.Background(), conn, user.ClientOptions{Timeout: 20 * time.Millisecond}); !errors.Is(err, user.ErrTimeout) {
		t.Errorf("silent from the start: %v", err)
	}
	x.end()
	x, conn = impose(t, silent)
	gone := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	time.AfterFunc(20*time.Millisecond, func() { cancel(gone) })
	if _, err := user.NewClient(ctx, conn, user.ClientOptions{Timeout: patience}); !errors.Is(err, gone) {
		t.Errorf("given up: %v", err)
	}
	x.end()

	x, conn = impose(t, nil)
	f, err := user.NewClient(context.Background(), conn, user.ClientOptions{Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	x.now(func(m incoming) *answer {
		time.Sleep(300 * time.Millisecond)
		return nil
	})
	if _, err := f.ReadConfig(0, 4); !errors.Is(err, hal.ErrCardLost) || !errors.Is(err, user.ErrTimeout) {
		t.Errorf("an answer too late: %v", err)
	}
	lost(t, f)
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	x.end()
	settles(t, "descriptors", openFDs, before)
}
