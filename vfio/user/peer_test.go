package user_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/vfio/user"
)

// betray is a client whose server will tell lies when it is told to.
func betray(t *testing.T, o user.ClientOptions) (*impostor, *user.Client) {
	t.Helper()
	x, conn := impose(t, nil)
	if o.Timeout == 0 {
		o.Timeout = patience
	}
	f, err := user.NewClient(context.Background(), conn, o)
	if err != nil {
		t.Fatal(err)
	}
	return x, f
}

// command sends one to the client, and returns its answer.
func (x *impostor) command(id uint16, cmd user.Command, body []byte) incoming {
	x.t.Helper()
	if err := sendBytes(x.c, packet(id, cmd, 0, 0, body), nil); err != nil {
		x.t.Fatal(err)
	}
	select {
	case m := <-x.replies:
		failed := m.flags == isReply|isError && m.errno != 0 && len(m.body) == 0
		if m.id != id || m.cmd != cmd || m.fds > 0 || !failed && (m.flags != isReply || m.errno != 0) {
			x.t.Fatalf("%v is answered %+v", cmd, m)
		}
		return m
	case <-x.done:
		x.t.Fatalf("%v is not answered", cmd)
	}
	return incoming{}
}

// A device reaches the buffers of a client, in their direction, and nothing
// else, whatever it asks for.
func TestDMAOfAClient(t *testing.T) {
	before := baseline(t)
	x, f := betray(t, user.ClientOptions{NoFiles: true})
	r, err := f.AllocDMA(2*page, hal.CardReads)
	if err != nil {
		t.Fatal(err)
	}
	w, err := f.AllocDMA(2*page, hal.CardWrites)
	if err != nil {
		t.Fatal(err)
	}
	freed, err := f.AllocDMA(page, hal.CardReads)
	if err != nil {
		t.Fatal(err)
	}
	if err := freed.Free(); err != nil {
		t.Fatal(err)
	}
	copy(r.Bytes, content(r.IOVA, 2*page))
	const readAt, writeAt = user.CmdDMARead, user.CmdDMAWrite
	for _, c := range []struct {
		name        string
		cmd         user.Command
		addr, count uint64
		data        int // bytes that come along
		errno       user.Errno
	}{
		{"read", readAt, r.IOVA, 100, 0, 0},
		{"read all", readAt, r.IOVA, 2 * page, 0, 0},
		{"read the last byte", readAt, r.IOVA + 2*page - 1, 1, 0, 0},
		{"read 4", readAt, r.IOVA + 4, 4, 0, 0},
		{"read 8", readAt, r.IOVA + 8, 8, 0, 0},
		{"read 4 across words", readAt, r.IOVA + 2, 4, 0, 0},
		{"read 8 across words", readAt, r.IOVA + 4, 8, 0, 0},
		{"write", writeAt, w.IOVA, 100, 100, 0},
		{"write all", writeAt, w.IOVA, 2 * page, 2 * page, 0},
		{"write the last byte", writeAt, w.IOVA + 2*page - 1, 1, 1, 0},
		{"write 4", writeAt, w.IOVA + 4, 4, 4, 0},
		{"write 8", writeAt, w.IOVA + 8, 8, 8, 0},
		{"write 4 across words", writeAt, w.IOVA + 2, 4, 4, 0},
		{"write 8 across words", writeAt, w.IOVA + 4, 8, 8, 0},

		{"read what is written", readAt, w.IOVA, 4, 0, eFAULT},
		{"write what is read", writeAt, r.IOVA, 4, 4, eFAULT},
		{"write 8 of what is read", writeAt, r.IOVA, 8, 8, eFAULT},
		{"read past the end", readAt, r.IOVA, 2*page + 1, 0, eFAULT},
		{"read behind the end", readAt, r.IOVA + 2*page, 4, 0, eFAULT},
		{"read before the start", readAt, r.IOVA - 1, 2, 0, eFAULT},
		{"write past the end", writeAt, w.IOVA + 2*page - 4, 8, 8, eFAULT},
		{"read 0", readAt, 0, 8, 0, eFAULT},
		{"read the last byte of all", readAt, 1<<64 - 1, 1, 0, eFAULT},
		{"read round the end of all", readAt, 1<<64 - 1, 2, 0, eFAULT},
		{"write round the end of all", writeAt, 1<<64 - 4, 8, 8, eFAULT},
		{"read what was freed", readAt, freed.IOVA, 8, 0, eFAULT},

		{"read nothing", readAt, r.IOVA, 0, 0, eINVAL},
		{"write nothing", writeAt, w.IOVA, 0, 0, eINVAL},
		{"read as much as can be said", readAt, r.IOVA, 1<<64 - 1, 0, eINVAL},
		{"read what wraps in 32 bits", readAt, r.IOVA, 1<<32 + 4, 0, eINVAL},
		{"read more than agreed", readAt, r.IOVA, 1<<20 + 1, 0, eINVAL},
		{"read with data", readAt, r.IOVA, 4, 4, eINVAL},
		{"write with less", writeAt, w.IOVA, 8, 4, eINVAL},
		{"write with more", writeAt, w.IOVA, 4, 8, eINVAL},
		{"write as much as can be said", writeAt, w.IOVA, 1<<64 - 1, 4, eINVAL},
	} {
		clear(w.Bytes)
		data := content(c.addr, uint64(c.data))
		m := x.command(uint16(c.count)+3, c.cmd, append(longs(nil, c.addr, c.count), data...))
		if m.errno != c.errno {
			t.Errorf("%s: %v, not %v", c.name, m.errno, c.errno)
		}
		if m.errno != 0 {
			continue
		}
		want := longs(nil, c.addr, c.count)
		if c.cmd == readAt {
			want = append(want, content(c.addr, c.count)...)
		} else if off := c.addr - w.IOVA; !bytes.Equal(w.Bytes[off:off+c.count], data) || bytes.Count(w.Bytes, []byte{0})-bytes.Count(data, []byte{0}) != 2*page-c.data {
			t.Errorf("%s: other bytes were written", c.name)
		}
		if !bytes.Equal(m.body, want) {
			t.Errorf("%s: other bytes come back", c.name)
		}
	}
	for _, body := range [][]byte{nil, make([]byte, 15)} {
		if m := x.command(1, readAt, body); m.errno != eINVAL {
			t.Errorf("%d bytes of a command: %v", len(body), m.errno)
		}
	}
	if !bytes.Equal(r.Bytes, content(r.IOVA, 2*page)) {
		t.Error("what is only read was written")
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	x.end()
	settles(t, "descriptors", openFDs, before)
}

// Messages that a server may not send end the connection.
func TestCommandsOfAServer(t *testing.T) {
	before := baseline(t)
	type message struct {
		b   []byte
		fds string
	}
	rows := map[string]message{
		"DMA_READ with a file":  {packet(1, user.CmdDMARead, 0, 0, longs(nil, 0, 8)), "e"},
		"DMA_WRITE with files":  {packet(1, user.CmdDMAWrite, 0, 0, longs(nil, 0, 8, 0)), "mp"},
		"an answer to nothing":  {packet(99, user.CmdRegionRead, isReply, 0, longs(nil, 0, 8, 0)), ""},
		"a refusal of nothing":  {packet(99, user.CmdRegionRead, isReply|isError, 5, nil), "e"},
		"a type of its own":     {packet(1, user.CmdDMARead, 3, 0, longs(nil, 0, 8)), ""},
		"more than is agreed":   {packet(1, user.CmdDMAWrite, 0, 0, make([]byte, 1<<20+17)), ""},
		"a size of nearly 2^32": {sized(most, user.CmdDMAWrite, nil), ""},
	}
	for _, cmd := range []user.Command{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16, 17, 18, 19, 999} {
		rows[cmd.String()] = message{packet(1, cmd, 0, 0, make([]byte, 32)), "e"}
	}
	for name, c := range rows {
		x, f := betray(t, user.ClientOptions{})
		irqs, err := f.Vectors(1)
		if err != nil {
			t.Fatal(err)
		}
		fds := makeFDs(t, c.fds)
		sendBytes(x.c, c.b, fds) // which may end in the middle of it
		closeFDs(fds...)
		if ok, err := irqs[0].Wait(patience); ok || !errors.Is(err, hal.ErrCardLost) || !errors.Is(err, user.ErrProtocol) {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
		if _, err := f.ReadConfig(0, 4); !errors.Is(err, hal.ErrCardLost) {
			t.Errorf("%s: ReadConfig: %v", name, err)
		}
		if err := f.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		x.end()
		settles(t, name+": descriptors", openFDs, before)
	}
}

// Wrong answers to a client at work.
func TestAnswersOfAServer(t *testing.T) {
	before := baseline(t)
	resized := func(by int) func(m incoming) *answer {
		return func(m incoming) *answer {
			b := append(bytes.Clone(truth(m).b[headSize:]), 0)
			return says(m, b[:len(b)-1+by])
		}
	}
	use := map[user.Command]func(f *user.Client) error{
		user.CmdRegionRead:  func(f *user.Client) error { _, err := f.ReadConfig(0, 4); return err },
		user.CmdRegionWrite: func(f *user.Client) error { return f.WriteConfig(4, 2, 6) },
		user.CmdDMAMap:      func(f *user.Client) error { _, err := f.AllocDMA(page, hal.CardReads); return err },
		user.CmdSetIRQs:     func(f *user.Client) error { _, err := f.Vectors(2); return err },
		user.CmdReset:       func(f *user.Client) error { return f.Reset(hal.ResetFLR) },
	}
	for _, c := range []struct {
		name string
		cmd  user.Command
		lie  func(m incoming) *answer
		err  error // in the chain
		lost bool
	}{
		{"a file", user.CmdRegionRead, func(m incoming) *answer { a := truth(m); a.fds = "e"; return a }, hal.ErrCardLost, true},
		{"a file", user.CmdRegionWrite, func(m incoming) *answer { a := truth(m); a.fds = "w"; return a }, hal.ErrCardLost, true},
		{"a file", user.CmdDMAMap, func(m incoming) *answer { a := truth(m); a.fds = "mm"; return a }, hal.ErrCardLost, true},
		{"a file", user.CmdSetIRQs, func(m incoming) *answer { a := truth(m); a.fds = "p"; return a }, hal.ErrCardLost, true},
		{"a byte short", user.CmdRegionRead, resized(-1), hal.ErrCardLost, true},
		{"a byte long", user.CmdRegionRead, resized(1), hal.ErrCardLost, true},
		{"empty", user.CmdRegionRead, func(m incoming) *answer { return says(m, nil) }, hal.ErrCardLost, true},
		{"a byte long", user.CmdRegionWrite, resized(1), hal.ErrCardLost, true},
		{"a byte long", user.CmdSetIRQs, resized(1), hal.ErrCardLost, true},
		{"a byte long", user.CmdReset, resized(1), hal.ErrCardLost, true},
		{"much", user.CmdDMAMap, func(m incoming) *answer { return says(m, make([]byte, 1<<20)) }, hal.ErrCardLost, true},
		{"hung up", user.CmdReset, func(m incoming) *answer { return &answer{end: true} }, hal.ErrCardLost, true},
		{"refused", user.CmdRegionRead, func(m incoming) *answer { return refuses(m, eIO) }, eIO, false},
		{"refused", user.CmdRegionWrite, func(m incoming) *answer { return refuses(m, eFAULT) }, eFAULT, false},
		{"refused", user.CmdDMAMap, func(m incoming) *answer { return refuses(m, eNOSPC) }, hal.ErrNoMemory, false},
		{"refused", user.CmdSetIRQs, func(m incoming) *answer { return refuses(m, eINVAL) }, eINVAL, false},
		{"refused", user.CmdReset, func(m incoming) *answer { return refuses(m, eBUSY) }, eBUSY, false},
		// Ones, which is what a function that does not answer reads.
		{"all ones", user.CmdReset, nil, nil, false},
	} {
		x, f := betray(t, user.ClientOptions{})
		if c.lie != nil {
			x.now(lieAbout(c.cmd, -1, c.lie))
		} else {
			x.now(lieAbout(user.CmdRegionRead, -1, func(m incoming) *answer { return says(m, append(m.body[:16:16], 255, 255, 255, 255)) }))
		}
		if err := use[c.cmd](f); err == nil || c.err != nil && !errors.Is(err, c.err) {
			t.Errorf("%v, %s: %v, not %v", c.cmd, c.name, err, c.err)
		}
		x.now(nil)
		if _, err := f.ReadConfig(0, 4); c.lost != errors.Is(err, hal.ErrCardLost) || !c.lost && err != nil {
			t.Errorf("%v, %s: then %v", c.cmd, c.name, err)
		}
		if n := mappedFiles(t, "vfio-user"); n != 0 {
			t.Errorf("%v, %s: %d buffers are left", c.cmd, c.name, n)
		}
		if err := f.Close(); err != nil {
			t.Errorf("%v, %s: %v", c.cmd, c.name, err)
		}
		x.end()
		settles(t, c.name+": descriptors", openFDs, before)
	}
}

// A list of capabilities in configuration space leads in circles, or nowhere:
// a reset, which looks for one, ends.
func TestCapabilitiesInCircles(t *testing.T) {
	for name, config := range map[string]map[uint64]uint32{
		"none":             {},
		"its own next":     {0x34: 0x40, 0x40: 0x4005},
		"a circle":         {0x34: 0x40, 0x40: 0x5005, 0x50: 0x4009},
		"into the header":  {0x34: 0x40, 0x40: 0x0405},
		"at the header":    {0x34: 0x04},
		"at an odd place":  {0x34: 0x43, 0x40: 0xFF05, 0xFC: 0xFF05},
		"not pending":      {0x34: 0x80, 0x80: 0x0010},
		"pending for ever": {0x34: 0x80, 0x80: 0x0010, 0x8A: 1 << 5},
	} {
		x, f := betray(t, user.ClientOptions{})
		reads := 0
		x.now(lieAbout(user.CmdRegionRead, -1, func(m incoming) *answer {
			reads++
			return says(m, longs(m.body[:16:16], uint64(config[le.Uint64(m.body)]))[:16+le.Uint32(m.body[12:])])
		}))
		if err := f.Reset(hal.ResetFLR); (err != nil) != (name == "pending for ever") {
			t.Errorf("%s: %v", name, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		x.end()
		if reads > 100 {
			t.Errorf("%s: %d reads", name, reads)
		}
	}
}

// Memory of a BAR that its server cuts short reads all ones, as a card does
// that is gone.
func TestWindowVanishes(t *testing.T) {
	x, f := betray(t, user.ClientOptions{})
	pad, err := f.Region(2)
	if err != nil {
		t.Fatal(err)
	}
	pad.Store32(0, 42)
	if got := peek(t, x.window, 0, 1); got[0] != 42 {
		t.Errorf("the server sees %d", got[0])
	}
	if err := resize(x.window, 0); err != nil {
		t.Fatal(err)
	}
	pad.Store32(0, 1)
	pad.Store64(8*page, 1)
	if a, b := pad.Load32(0), pad.Load64(12*page-8); a != 0xFFFF_FFFF || b != 1<<64-1 {
		t.Errorf("loads give %#x and %#x", a, b)
	}
	if _, err := f.ReadConfig(0, 4); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	x.end()
}
