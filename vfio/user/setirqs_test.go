package user_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/hc1-toolkit/hc1/vfio/user"
)

// Flags of SET_IRQS: one kind of data, one action.
const (
	none, boolean, event  = 1, 2, 4
	mask, unmask, trigger = 8, 16, 32
)

// setIRQs is one message, sent when MSI-X vectors 0 to 3 are armed.
type setIRQs struct {
	name         string
	flags        uint32
	index        uint32
	start, count uint32
	data         string
	fds          string // kinds for makeFD
	errno        user.Errno
	now          string // vectors that fire at once
	after        string // for each vector: old eventfd, new eventfd, neither; "": as before
	argsz        int    // 0: right
}

const (
	msix = user.IRQMSIX
	most = math.MaxUint32
)

var setIRQsTable = []setIRQs{
	{name: "arm one", flags: event | trigger, index: msix, count: 1, fds: "e", after: "nooo"},
	{name: "arm the last", flags: event | trigger, index: msix, start: 3, count: 1, fds: "e", after: "ooon"},
	{name: "arm two in the middle", flags: event | trigger, index: msix, start: 1, count: 2, fds: "ee", after: "onno"},
	{name: "arm all", flags: event | trigger, index: msix, count: 4, fds: "eeee", after: "nnnn"},
	{name: "one eventfd for two", flags: event | trigger, index: msix, count: 2, fds: "e=", after: "nnoo"},
	{name: "an eventfd that is full", flags: event | trigger, index: msix, start: 2, count: 1, fds: "f", after: "oono"},

	{name: "past the last", flags: event | trigger, index: msix, start: 4, count: 1, fds: "e", errno: eINVAL},
	{name: "across the last", flags: event | trigger, index: msix, start: 3, count: 2, fds: "ee", errno: eINVAL},
	{name: "one too many", flags: event | trigger, index: msix, count: 5, fds: "eeeee", errno: eINVAL},
	{name: "start far out", flags: event | trigger, index: msix, start: most, count: 1, fds: "e", errno: eINVAL},
	{name: "end wraps to 0", flags: event | trigger, index: msix, start: 1, count: most, fds: "e", errno: eINVAL},
	{name: "end wraps to 1", flags: event | trigger, index: msix, start: most, count: 2, fds: "ee", errno: eINVAL},
	{name: "halves that wrap", flags: none | trigger, index: msix, start: 1 << 31, count: 1 << 31, errno: eINVAL},
	{name: "as many as there are numbers", flags: none | trigger, index: msix, count: most, errno: eINVAL},
	{name: "so many bytes, that are not there", flags: boolean | trigger, index: msix, count: most, data: "\x01", errno: eINVAL},

	{name: "disarm one", flags: event | trigger, index: msix, start: 2, count: 1, after: "oo-o"},
	{name: "disarm two", flags: event | trigger, index: msix, start: 1, count: 2, after: "o--o"},
	{name: "disarm all", flags: event | trigger, index: msix, count: 4, after: "----"},
	{name: "disarm past the last", flags: event | trigger, index: msix, start: 3, count: 2, errno: eINVAL},

	{name: "fewer eventfds", flags: event | trigger, index: msix, count: 3, fds: "ee", errno: eINVAL},
	{name: "more eventfds", flags: event | trigger, index: msix, count: 1, fds: "ee", errno: eINVAL},
	{name: "pipe", flags: event | trigger, index: msix, count: 1, fds: "p", errno: eINVAL},
	{name: "regular file", flags: event | trigger, index: msix, count: 1, fds: "m", errno: eINVAL},
	{name: "socket", flags: event | trigger, index: msix, count: 1, fds: "s", errno: eINVAL},
	{name: "directory", flags: event | trigger, index: msix, count: 1, fds: "d", errno: eINVAL},
	{name: "an eventfd and a pipe", flags: event | trigger, index: msix, count: 2, fds: "ep", errno: eINVAL},
	{name: "eventfds in the data", flags: event | trigger, index: msix, count: 1, data: "\x05\x00\x00\x00", errno: eINVAL},
	{name: "eventfds in the data and beside it", flags: event | trigger, index: msix, count: 1, data: "\x05\x00\x00\x00", fds: "e", errno: eINVAL},

	{name: "turn off", flags: none | trigger, index: msix, after: "----"},
	{name: "turn off from 1", flags: none | trigger, index: msix, start: 1, errno: eINVAL},
	{name: "turn off from the end", flags: none | trigger, index: msix, start: 4, errno: eINVAL},
	{name: "turn off by bytes", flags: boolean | trigger, index: msix, errno: eINVAL},
	{name: "turn off by eventfd", flags: event | trigger, index: msix, errno: eINVAL},
	{name: "no interrupts with an eventfd", flags: event | trigger, index: msix, fds: "e", errno: eINVAL},
	{name: "turn off by mask", flags: none | mask, index: msix, errno: eINVAL},
	{name: "turn off with a descriptor", flags: none | trigger, index: msix, fds: "e", errno: eINVAL},
	{name: "turn off with data", flags: none | trigger, index: msix, data: "\x00", errno: eINVAL},

	{name: "fire all", flags: none | trigger, index: msix, count: 4, now: "0123"},
	{name: "fire one", flags: none | trigger, index: msix, start: 2, count: 1, now: "2"},
	{name: "fire some", flags: boolean | trigger, index: msix, count: 4, data: "\x01\x00\x80\x00", now: "02"},
	{name: "fire some behind the first", flags: boolean | trigger, index: msix, start: 1, count: 3, data: "\x00\x01\x01", now: "23"},
	{name: "fire none of some", flags: boolean | trigger, index: msix, count: 2, data: "\x00\x00"},
	{name: "too few bytes", flags: boolean | trigger, index: msix, count: 4, data: "\x01\x01\x01", errno: eINVAL},
	{name: "too many bytes", flags: boolean | trigger, index: msix, count: 1, data: "\x01\x01", errno: eINVAL},
	{name: "no bytes", flags: boolean | trigger, index: msix, count: 1, errno: eINVAL},
	{name: "bytes and an eventfd", flags: boolean | trigger, index: msix, count: 1, data: "\x01", fds: "e", errno: eINVAL},
	{name: "fire with data", flags: none | trigger, index: msix, count: 1, data: "\x01", errno: eINVAL},
	{name: "fire with an eventfd", flags: none | trigger, index: msix, count: 1, fds: "e", errno: eINVAL},

	{name: "two kinds of data", flags: none | event | trigger, index: msix, count: 1, fds: "e", errno: eINVAL},
	{name: "two other kinds", flags: boolean | event | trigger, index: msix, count: 1, data: "\x01", fds: "e", errno: eINVAL},
	{name: "all kinds of data", flags: none | boolean | event | trigger, index: msix, count: 1, errno: eINVAL},
	{name: "no kind of data", flags: trigger, index: msix, count: 1, errno: eINVAL},
	{name: "no action", flags: none, index: msix, count: 1, errno: eINVAL},
	{name: "no action for an eventfd", flags: event, index: msix, count: 1, fds: "e", errno: eINVAL},
	{name: "two actions", flags: none | trigger | mask, index: msix, count: 1, errno: eINVAL},
	{name: "two other actions", flags: none | mask | unmask, index: msix, count: 1, errno: eINVAL},
	{name: "all actions", flags: event | mask | unmask | trigger, index: msix, count: 1, fds: "e", errno: eINVAL},
	{name: "no flags", index: msix, count: 1, errno: eINVAL},
	{name: "an unknown flag", flags: none | trigger | 64, index: msix, count: 1, errno: eINVAL},
	{name: "the last flag", flags: none | trigger | 1<<31, index: msix, count: 1, errno: eINVAL},

	{name: "mask", flags: none | mask, index: msix, count: 1, errno: eNOTTY},
	{name: "unmask", flags: none | unmask, index: msix, count: 4, errno: eNOTTY},
	{name: "mask some", flags: boolean | mask, index: msix, count: 2, data: "\x00\x01", errno: eNOTTY},
	{name: "mask none of some", flags: boolean | mask, index: msix, count: 2, data: "\x00\x00"},
	{name: "mask by eventfd", flags: event | mask, index: msix, count: 1, fds: "e", errno: eNOTTY},
	{name: "unmask by eventfd", flags: event | unmask, index: msix, count: 1, fds: "e", errno: eNOTTY},

	{name: "INTx, which has none", flags: event | trigger, index: user.IRQINTx, count: 1, fds: "e", errno: eINVAL},
	{name: "fire INTx", flags: none | trigger, index: user.IRQINTx, count: 1, errno: eINVAL},
	{name: "mask INTx", flags: none | mask, index: user.IRQINTx, count: 1, errno: eINVAL},
	{name: "turn INTx off", flags: none | trigger, index: user.IRQINTx},
	{name: "MSI, which has none", flags: event | trigger, index: user.IRQMSI, count: 1, fds: "e", errno: eINVAL},
	{name: "ERR", flags: event | trigger, index: user.IRQErr, count: 1, fds: "e"},
	{name: "two of ERR", flags: event | trigger, index: user.IRQErr, count: 2, fds: "ee", errno: eINVAL},
	{name: "turn ERR off", flags: none | trigger, index: user.IRQErr},
	{name: "REQ, full", flags: event | trigger, index: user.IRQReq, count: 1, fds: "f"},
	{name: "turn REQ off", flags: event | trigger, index: user.IRQReq, count: 1},
	{name: "an index too many", flags: event | trigger, index: user.NumIRQs, count: 1, fds: "e", errno: eINVAL},
	{name: "an index far out", flags: none | trigger, index: most, count: 1, errno: eINVAL},
	{name: "turn off an index far out", flags: none | trigger, index: most, errno: eINVAL},

	{name: "argsz too small", flags: event | trigger, index: msix, count: 1, fds: "e", argsz: 19, errno: eINVAL},
	{name: "argsz without the data", flags: boolean | trigger, index: msix, count: 1, data: "\x01", argsz: 20, errno: eINVAL},
	{name: "argsz larger", flags: event | trigger, index: msix, count: 1, fds: "e", argsz: 24, after: "nooo"},
}

func (q *setIRQs) body() []byte {
	argsz := q.argsz
	if argsz == 0 {
		argsz = 20 + len(q.data)
	}
	return append(words(uint32(argsz), q.flags, q.index, q.start, q.count), q.data...)
}

// Every shape of the message: its answer, who hears what afterwards, what the
// device is told, and that no descriptor is left behind.
func TestSetIRQs(t *testing.T) {
	dev, before := newProbe(), baseline(t)
	r := hello(t, user.NewServer(dev, user.ServerOptions{}), `{"capabilities":{"max_msg_fds":8}}`)
	bus, old := dev.attached(), makeFDs(t, "eeee")
	send := func(q *setIRQs, fds ...int) user.Errno {
		errno, body := r.ask(user.CmdSetIRQs, q.body(), fds...)
		if len(body) > 0 {
			t.Errorf("%s: answer of %d bytes", q.name, len(body))
		}
		return errno
	}
	off := setIRQs{name: "off", flags: none | trigger, index: msix}
	on := setIRQs{name: "on", flags: event | trigger, index: msix, count: 4}
	arm := func() {
		if send(&off) != 0 || send(&on, old...) != 0 {
			t.Fatal("vectors cannot be armed")
		}
		for _, fd := range old {
			fired(fd)
		}
		dev.locked(func() { dev.irqs = nil })
	}
	arm()
	var elsewhere int // armed for ERR and REQ, which stays
	held := openFDs(t)
	for _, q := range setIRQsTable {
		arm()
		fds := makeFDs(t, q.fds)
		if got := send(&q, fds...); got != q.errno {
			t.Errorf("%s: %v, not %v", q.name, got, q.errno)
		}
		now := ""
		for i, fd := range old {
			if fired(fd) {
				now += fmt.Sprint(i)
			}
		}
		if now != q.now {
			t.Errorf("%s: %q fire at once, not %q", q.name, now, q.now)
		}
		after := ""
		for i, fd := range old {
			heard, who := bus.Interrupt(msix, i), "-"
			if fired(fd) {
				who = "o"
			} else if k := i - int(q.start); q.index == msix && k >= 0 && k < len(fds) && fired(fds[k]) {
				who = "n"
			}
			if heard != (who != "-") {
				t.Errorf("%s: the device hears that %d has a listener: %v, but it is %s", q.name, i, heard, who)
			}
			after += who
		}
		if want := q.after; after != want && (want != "" || after != "oooo") {
			t.Errorf("%s: then %q fire, not %q", q.name, after, want)
		}
		var told []string
		dev.locked(func() { told = dev.irqs })
		want := []string{}
		switch {
		case q.errno != 0:
		case q.count == 0:
			want = append(want, fmt.Sprint(q.index, 0, dev.layout.IRQs[q.index], false))
		case q.flags == event|trigger:
			want = append(want, fmt.Sprint(q.index, q.start, q.count, q.fds != ""))
		}
		if fmt.Sprint(told) != fmt.Sprint(want) {
			t.Errorf("%s: the device was told %v, not %v", q.name, told, want)
		}
		if q.errno == 0 && q.index > msix {
			if heard := bus.Interrupt(int(q.index), 0); heard != (q.fds != "") || heard && !fired(fds[0]) {
				t.Errorf("%s: heard %v", q.name, heard)
			}
			elsewhere = min(len(fds), 1)
		}
		closeFDs(fds...)
		arm()
		if got := openFDs(t); got != held+elsewhere {
			t.Fatalf("%s: %d descriptors, not %d", q.name, got, held+elsewhere)
		}
	}
	r.alive()
	r.close()
	closeFDs(old...)
	settles(t, "descriptors", openFDs, before)
}

// A client may not send more eventfds in a message than was agreed on.
func TestSetIRQsAgreed(t *testing.T) {
	for _, c := range []struct {
		server int
		client string
		most   int
	}{
		{2, `{"capabilities":{"max_msg_fds":8}}`, 2},
		{8, `{"capabilities":{"max_msg_fds":3}}`, 3},
		{8, ``, 1},
		{8, `{"capabilities":{"max_msg_fds":0}}`, 0},
	} {
		dev, before := newProbe(), baseline(t)
		r := hello(t, user.NewServer(dev, user.ServerOptions{MaxFDs: c.server}), c.client)
		bus, fds := dev.attached(), makeFDs(t, "eeee")
		for n := 1; n <= len(fds); n++ {
			want := user.Errno(0)
			if n > c.most {
				want = eINVAL
			}
			q := setIRQs{flags: event | trigger, index: msix, count: uint32(n)}
			if got, _ := r.ask(user.CmdSetIRQs, q.body(), fds[:n]...); got != want {
				t.Errorf("%d descriptors, at most %d: %v", n, c.most, got)
			}
		}
		for i, fd := range fds {
			if heard := bus.Interrupt(msix, i); heard != (i < c.most) || heard != fired(fd) {
				t.Errorf("at most %d descriptors: %d is heard: %v", c.most, i, heard)
			}
		}
		r.close()
		if bus.Interrupt(msix, 0) {
			t.Error("an interrupt of a client that has gone")
		}
		closeFDs(fds...)
		settles(t, "descriptors", openFDs, before)
	}
}
