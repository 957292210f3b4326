package user_test

import (
	"fmt"
	"io"
	"testing"

	"github.com/hc1-toolkit/hc1/vfio/user"
)

// command is a message in order, and what becomes of others of its kind.
type command struct {
	cmd   user.Command
	body  []byte
	right user.Errno // the answer to it
	short user.Errno // to one with a byte less
	long  user.Errno // to one with a byte more
	empty user.Errno
	fd    user.Errno // to one with a descriptor that nobody can use
	argsz uint32     // the least; 0: it has none
}

var multi = longs(longs(nil, 1), 8, 4<<32, 0x11223344) // one write of 4 bytes at 8 of region 0

var commands = []command{
	{cmd: 0, right: eNOSYS, long: eNOSYS, empty: eNOSYS, fd: eNOSYS},
	{cmd: 2, body: mapBody(mapRead, 0, page, page), short: eINVAL, long: eINVAL, empty: eINVAL, fd: eINVAL, argsz: 32},
	{cmd: 3, body: unmapBody(0, page, page), short: eINVAL, long: eINVAL, empty: eINVAL, fd: eINVAL, argsz: 24},
	{cmd: 4, body: words(16, 0, 0, 0), short: eINVAL, long: eINVAL, empty: eINVAL, fd: eINVAL, argsz: 16},
	{cmd: 5, body: words(32, 0, 0, 0, 0, 0, 0, 0), short: eINVAL, long: 0, empty: eINVAL, fd: eINVAL, argsz: 32},
	{cmd: 6, body: words(16, 0, 0, 0), short: eINVAL, long: eINVAL, empty: eINVAL, fd: eINVAL, argsz: 16},
	{cmd: 7, body: words(16, 0, 2, 0), short: eINVAL, long: eINVAL, empty: eINVAL, fd: eINVAL, argsz: 16},
	{cmd: 8, body: words(20, none|trigger, msix, 0, 0), short: eINVAL, long: eINVAL, empty: eINVAL, fd: eINVAL, argsz: 20},
	{cmd: 9, body: longs(nil, 0, 8<<32), short: eINVAL, long: eINVAL, empty: eINVAL, fd: eINVAL},
	{cmd: 10, body: longs(nil, 0, 8<<32, 0), short: eINVAL, long: eINVAL, empty: eINVAL, fd: eINVAL},
	{cmd: 11, body: longs(nil, 0, 8), right: eNOSYS, short: eNOSYS, long: eNOSYS, empty: eNOSYS, fd: eNOSYS},
	{cmd: 12, body: longs(nil, 0, 8, 0), right: eNOSYS, short: eNOSYS, long: eNOSYS, empty: eNOSYS, fd: eNOSYS},
	{cmd: 13, long: eINVAL, fd: eINVAL},
	{cmd: 14, body: longs(nil, 0), right: eNOTSUP, short: eNOTSUP, long: eNOTSUP, empty: eNOTSUP, fd: eINVAL},
	{cmd: 15, body: multi, short: eINVAL, long: eINVAL, empty: eINVAL, fd: eINVAL},
	{cmd: 16, body: words(8, 1), right: eNOTSUP, short: eINVAL, long: eNOTSUP, empty: eINVAL, fd: eINVAL},
	{cmd: 17, body: words(8, 0), right: eNOTSUP, short: eNOTSUP, long: eNOTSUP, empty: eNOTSUP, fd: eINVAL},
	{cmd: 18, body: words(8, 0), right: eNOTSUP, short: eNOTSUP, long: eNOTSUP, empty: eNOTSUP, fd: eINVAL},
	{cmd: 19, body: words(8, 0), right: eNOSYS, short: eNOSYS, long: eNOSYS, empty: eNOSYS, fd: eNOSYS},
	{cmd: 999, body: words(8, 0), right: eNOSYS, short: eNOSYS, long: eNOSYS, empty: eNOSYS, fd: eNOSYS},
	{cmd: 0xFFFF, right: eNOSYS, long: eNOSYS, empty: eNOSYS, fd: eNOSYS},
}

const sameMulti = `{"capabilities":{"write_multiple":true,"max_msg_fds":8}}`

// sized is a message whose header lies about its length.
func sized(size uint32, cmd user.Command, body []byte) []byte {
	b := packet(1, cmd, 0, 0, body)
	le.PutUint32(b[4:], size)
	return b
}

// Every command, with every mistake that there is in its form: the answer's
// error number, and that the connection is in order after it.
func TestMistakesThatAreAnswered(t *testing.T) {
	s, before := user.NewServer(newProbe(), user.ServerOptions{}), baseline(t)
	for _, c := range commands {
		r := hello(t, s, sameMulti)
		check := func(what string, want user.Errno, body []byte, fds ...int) {
			t.Helper()
			if got, _ := r.ask(c.cmd, body, fds...); got != want {
				t.Errorf("%v, %s: %v, not %v", c.cmd, what, got, want)
			}
			r.ask(user.CmdDMAUnmap, unmapBody(unmapAll, 0, 0))
			r.alive()
		}
		check("right", c.right, c.body)
		check("long", c.long, append(c.body[:len(c.body):len(c.body)], 0))
		check("empty", c.empty, nil)
		if len(c.body) > 0 {
			check("short", c.short, c.body[:len(c.body)-1])
		}
		for n := range len(c.body) { // whatever is said of each
			r.ask(c.cmd, c.body[:n])
		}
		if c.argsz != 0 {
			for _, n := range []uint32{0, 1, c.argsz - 1} {
				le.PutUint32(c.body, n)
				check(fmt.Sprint("argsz ", n), eINVAL, c.body)
			}
			le.PutUint32(c.body, most)
			check("argsz as large as can be", c.right, c.body)
			le.PutUint32(c.body, c.argsz)
		}
		for _, kinds := range []string{"p", "m", "eeee", "eeeeeeeee"} {
			fds := makeFDs(t, kinds)
			if c.cmd != user.CmdDMAMap || kinds != "m" {
				check("descriptors "+kinds, c.fd, c.body, fds...)
			}
			closeFDs(fds...)
		}
		// What wants no answer gets none, right or not.
		for _, body := range [][]byte{c.body, append(c.body[:len(c.body):len(c.body)], 0), nil} {
			if err := r.send(packet(77, c.cmd, noReply, 0, body)); err != nil {
				t.Fatal(err)
			}
		}
		r.alive()
		// Flags that mean nothing in a command, and an error number.
		r.id++
		if err := r.send(packet(r.id, c.cmd, 0xFFFF_FFE0, 5, c.body)); err != nil {
			t.Fatal(err)
		}
		if m, err := r.reply(); err != nil {
			t.Errorf("%v with flags: %v", c.cmd, err)
		} else if r.verify(m, c.cmd); m.errno != c.right && m.errno != eEXIST {
			t.Errorf("%v with flags: %v, not %v", c.cmd, m.errno, c.right)
		}
		if r.close(); r.err != nil {
			t.Errorf("%v: %v", c.cmd, r.err)
		}
	}
	settles(t, "descriptors", openFDs, before)
}

// Mistakes after which nobody knows where the next message begins, or who
// asks whom: the connection is closed. With descriptors at hand, which are
// closed too.
func TestMistakesThatEndIt(t *testing.T) {
	s, before := user.NewServer(newProbe(), user.ServerOptions{}), baseline(t)
	fds := makeFDs(t, "em")
	for _, c := range append(commands, command{cmd: user.CmdVersion, body: version(0, 1, "{}\x00")}) {
		type row struct {
			what  string
			b     []byte
			leave bool       // the client goes in the middle
			errno user.Errno // answered before
			quiet bool       // no error for the server
		}
		rows := []row{
			{what: "an answer", b: packet(1, c.cmd, isReply, 0, c.body)},
			{what: "a refusal", b: packet(1, c.cmd, isReply|isError, 5, nil)},
			{what: "an answer that wants none", b: packet(0, c.cmd, isReply|noReply, 0, c.body)},
			{what: "type 2", b: packet(1, c.cmd, 2, 0, c.body)},
			{what: "type 8", b: packet(1, c.cmd, 8|noReply, 0, c.body)},
			{what: "type 15", b: packet(1, c.cmd, 15, 0, c.body)},
			{what: "size 0", b: sized(0, c.cmd, c.body)},
			{what: "size 15", b: sized(15, c.cmd, c.body)},
			{what: "size too large", b: sized(headSize+1<<20+16+1, c.cmd, c.body)},
			{what: "size as large as can be", b: sized(most, c.cmd, c.body)},
			{what: "more promised", b: sized(uint32(headSize+len(c.body)+1), c.cmd, c.body), leave: true, quiet: true},
			{what: "much more promised", b: sized(1<<20, c.cmd, c.body), leave: true, quiet: true},
			{what: "part of a header", b: packet(1, c.cmd, 0, 0, c.body)[:7], leave: true, quiet: true},
			{what: "a byte", b: []byte{1}, leave: true, quiet: true},
		}
		if c.cmd == user.CmdVersion {
			rows = append(rows,
				row{what: "a second time", b: packet(1, c.cmd, 0, 0, c.body), errno: eINVAL},
				row{what: "a second time, empty", b: packet(1, c.cmd, 0, 0, nil), errno: eINVAL},
				row{what: "a second time, unanswered", b: packet(1, c.cmd, noReply, 0, c.body)})
		}
		for _, x := range rows {
			r := hello(t, s, sameMulti)
			if err := r.send(x.b, fds...); err != nil {
				t.Fatal(err)
			}
			if x.leave {
				if err := r.c.CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			m, err := r.reply()
			if x.errno != 0 {
				if m.errno != x.errno || err != nil {
					t.Errorf("%v, %s: %+v, %v", c.cmd, x.what, m, err)
				}
				m, err = r.reply()
			}
			if err != io.EOF {
				t.Errorf("%v, %s: the connection stays: %+v, %v", c.cmd, x.what, m, err)
			}
			if r.close(); (r.err == nil) != x.quiet {
				t.Errorf("%v, %s: served with %v", c.cmd, x.what, r.err)
			}
		}
		if c.cmd == user.CmdVersion {
			continue
		}
		// Before VERSION, whatever it is.
		for _, b := range [][]byte{packet(1, c.cmd, 0, 0, c.body), packet(1, c.cmd, noReply, 0, c.body), packet(1, c.cmd, isReply, 0, nil)} {
			r := connect(t, s)
			if err := r.send(b, fds...); err != nil {
				t.Fatal(err)
			}
			if m, err := r.reply(); err != nil || m.errno != eINVAL || m.cmd != c.cmd {
				t.Errorf("%v before VERSION: %+v, %v", c.cmd, m, err)
			}
			if m, err := r.reply(); err != io.EOF {
				t.Errorf("%v before VERSION: the connection stays: %+v, %v", c.cmd, m, err)
			}
			if r.close(); r.err == nil {
				t.Errorf("%v before VERSION: served without an error", c.cmd)
			}
		}
	}
	closeFDs(fds...)
	settles(t, "descriptors", openFDs, before)
	if got := mappedFiles(t, "plain"); got != 0 {
		t.Errorf("%d files stay mapped", got)
	}
}

// Where a message is cut does not matter, but its descriptors come with its
// header.
func TestFraming(t *testing.T) {
	s, before := user.NewServer(newProbe(), user.ServerOptions{}), baseline(t)
	r := hello(t, s, `{"capabilities":{"max_msg_fds":64}}`)
	answered := func(what string, want user.Errno) {
		t.Helper()
		if m, err := r.reply(); err != nil || m.errno != want {
			t.Errorf("%s: %+v, %v", what, m, err)
		}
	}
	info := packet(5, user.CmdGetInfo, 0, 0, words(16, 0, 0, 0))
	for i := range info {
		r.send(info[i : i+1])
	}
	answered("byte by byte", 0)
	var all []byte
	for i := range 500 {
		all = append(all, packet(uint16(i), user.CmdGetInfo, 0, 0, words(16, 0, 0, 0))...)
	}
	if err := r.send(all); err != nil {
		t.Fatal(err)
	}
	for i := range 500 {
		if m, err := r.reply(); err != nil || m.id != uint16(i) || m.errno != 0 {
			t.Fatalf("message %d of many: %+v, %v", i, m, err)
		}
	}
	fds := makeFDs(t, "eeee")
	arm := packet(6, user.CmdSetIRQs, 0, 0, words(20, event|trigger, msix, 0, 4))
	r.send(arm, fds...)
	answered("in one piece", 0)
	r.send(arm[:9], fds[:2]...)
	r.send(arm[9:], fds[2:]...)
	answered("with both halves of the header", 0)
	r.send(arm[:5])
	r.send(arm[5:], fds...)
	answered("with the rest of the header", 0)
	r.send(arm[:headSize], fds[:3]...)
	r.send(arm[headSize:], fds[3:]...)
	answered("a descriptor with the payload", eINVAL)
	r.send(arm[:headSize])
	r.send(arm[headSize:], fds...)
	answered("descriptors with the payload", 0) // it has none, which disarms
	r.alive()
	closeFDs(fds...)
	r.close()

	for n, stays := range map[int]bool{32: true, 33: true, 64: true, 65: false, 100: false, 253: false} {
		r := hello(t, s, `{"capabilities":{"max_msg_fds":64}}`)
		fds := makeFD(t, 'e')
		many := make([]int, n)
		for i := range many {
			many[i] = fds
		}
		if err := r.send(info, many...); err != nil {
			t.Fatal(err)
		}
		m, err := r.reply()
		if stays != (err == nil && m.errno == eINVAL) || !stays && err != io.EOF {
			t.Errorf("%d descriptors: %+v, %v", n, m, err)
		}
		r.close()
		closeFDs(fds)
	}
	settles(t, "descriptors", openFDs, before)
}
