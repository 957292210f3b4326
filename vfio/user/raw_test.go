package user_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hc1-toolkit/hc1/vfio/user"
)

// patience bounds what must not take long, on a slow and busy machine.
const patience = 20 * time.Second

const page = 4096

var le = binary.LittleEndian

// The protocol as its text has it, and not as the package's constants do.
const (
	headSize = 16
	isReply  = 1 << 0
	noReply  = 1 << 4
	isError  = 1 << 5

	mapRead, mapWrite, mapMMap, mapFileIO = 1, 2, 4, 8
	unmapAll                              = 2
)

// words is a payload of 32-bit words.
func words(v ...uint32) (b []byte) {
	for _, x := range v {
		b = le.AppendUint32(b, x)
	}
	return b
}

// longs is 64-bit words behind a payload.
func longs(b []byte, v ...uint64) []byte {
	for _, x := range v {
		b = le.AppendUint64(b, x)
	}
	return b
}

// packet is a whole message.
func packet(id uint16, cmd user.Command, flags, errno uint32, body []byte) []byte {
	b := le.AppendUint16(le.AppendUint16(nil, id), uint16(cmd))
	b = append(b, words(uint32(headSize+len(body)), flags, errno)...)
	return append(b, body...)
}

// incoming is a message that was received.
type incoming struct {
	id    uint16
	cmd   user.Command
	flags uint32
	errno user.Errno
	body  []byte
	fds   int
}

func receive(c *net.UnixConn) (m incoming, err error) {
	var head [headSize]byte
	for n := 0; n < headSize; {
		k, fds, err := recvBytes(c, head[n:])
		if err == nil && k == 0 {
			err = io.EOF
		}
		if err != nil {
			return m, err
		}
		n, m.fds = n+k, m.fds+fds
	}
	m.id, m.cmd = le.Uint16(head[:]), user.Command(le.Uint16(head[2:]))
	m.flags, m.errno = le.Uint32(head[8:]), user.Errno(le.Uint32(head[12:]))
	size := le.Uint32(head[4:])
	if size < headSize || size > 2<<20 {
		return m, fmt.Errorf("message of %d bytes", size)
	}
	m.body = make([]byte, size-headSize)
	_, err = io.ReadFull(c, m.body)
	return m, err
}

// raw is a client that writes bytes. What it receives comes out of in, which
// is closed when the server hangs up; DMA is answered by dma.
type raw struct {
	t    testing.TB
	c    *net.UnixConn
	in   chan incoming
	id   uint16
	done chan struct{} // the server has let go
	err  error         // then: what ServeConn returned

	mu    sync.Mutex
	dma   func(m incoming) (b []byte, fds []int) // the whole answer; nil: EFAULT
	asked []incoming
}

// connect has a server serve a raw client, which has not said anything yet.
func connect(t testing.TB, s *user.Server) *raw {
	t.Helper()
	c, other := pair(t)
	r := &raw{t: t, c: c, in: make(chan incoming, 1024), done: make(chan struct{})}
	go func() {
		r.err = s.ServeConn(other)
		close(r.done)
	}()
	go r.read()
	t.Cleanup(r.close)
	return r
}

// hello connects, and agrees on version 0.1 with the limits in caps.
func hello(t testing.TB, s *user.Server, caps string) *raw {
	t.Helper()
	r := connect(t, s)
	if errno, _ := r.ask(user.CmdVersion, version(0, 1, caps+"\x00")); errno != 0 {
		t.Fatalf("VERSION is answered %v", errno)
	}
	r.alive() // so the device is attached
	return r
}

func version(major, minor uint16, data string) []byte {
	return append(le.AppendUint16(le.AppendUint16(nil, major), minor), data...)
}

// close leaves, and waits for the server to let go.
func (r *raw) close() {
	r.t.Helper()
	r.c.Close()
	r.ended()
}

// ended waits for the server to hang up.
func (r *raw) ended() {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(patience):
		r.t.Fatal("the server does not let go of its client")
	}
}

func (r *raw) read() {
	defer close(r.in)
	for {
		m, err := receive(r.c)
		if err != nil {
			return
		}
		if m.flags&isReply != 0 {
			r.in <- m
			continue
		}
		r.mu.Lock()
		r.asked = append(r.asked, m)
		answer := r.dma
		r.mu.Unlock()
		b, fds := packet(m.id, m.cmd, isReply|isError, uint32(eFAULT), nil), []int(nil)
		if answer != nil {
			b, fds = answer(m)
		}
		if len(b) > 0 {
			sendBytes(r.c, b, fds)
		}
		closeFDs(fds...)
	}
}

// onDMA says how DMA is answered from now on, and forgets what was asked.
func (r *raw) onDMA(f func(m incoming) ([]byte, []int)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dma, r.asked = f, nil
}

func (r *raw) dmaAsked() []incoming {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

// send writes bytes, which the server may have no ear for any more.
func (r *raw) send(b []byte, fds ...int) error { return sendBytes(r.c, b, fds) }

// reply waits for an answer; io.EOF is a server that has hung up.
func (r *raw) reply() (incoming, error) {
	select {
	case m, ok := <-r.in:
		if !ok {
			return m, io.EOF
		}
		return m, nil
	case <-time.After(patience):
		return incoming{}, errors.New("no answer, and the connection stays")
	}
}

// ask sends a command and returns what the answer to it says.
func (r *raw) ask(cmd user.Command, body []byte, fds ...int) (user.Errno, []byte) {
	r.t.Helper()
	r.id++
	if err := r.send(packet(r.id, cmd, 0, 0, body), fds...); err != nil {
		r.t.Fatalf("%v: %v", cmd, err)
	}
	m, err := r.reply()
	if err != nil {
		r.t.Fatalf("%v: %v", cmd, err)
	}
	r.t.Helper()
	r.verify(m, cmd)
	return m.errno, m.body
}

// verify checks that an answer is one to the last command, and well-formed.
func (r *raw) verify(m incoming, cmd user.Command) {
	r.t.Helper()
	failed := m.flags == isReply|isError && m.errno != 0 && len(m.body) == 0
	if m.id != r.id || m.cmd != cmd || !failed && (m.flags != isReply || m.errno != 0) || m.fds > 0 && (failed || cmd != user.CmdGetRegionInfo) {
		r.t.Fatalf("%v, id %d, is answered %+v", cmd, r.id, m)
	}
}

// alive checks that a connection is in order: the next answer is to this.
func (r *raw) alive() {
	r.t.Helper()
	if errno, b := r.ask(user.CmdGetInfo, words(16, 0, 0, 0)); errno != 0 || len(b) != 16 {
		r.t.Fatalf("GET_INFO is answered %v, %d bytes", errno, len(b))
	}
}

// probe is a device that tells what is done to it.
type probe struct {
	layout user.Layout

	mu       sync.Mutex
	bus      *user.Bus
	irqs     []string // calls of Interrupts
	resets   int
	detaches int
	access   func(region int, off uint64, b []byte, write bool) error
	reset    func() error
}

func newProbe() *probe {
	p := &probe{}
	p.layout.Regions[0] = user.Region{Size: page, Read: true, Write: true}
	p.layout.Regions[1] = user.Region{Size: page, Read: true}
	p.layout.Regions[user.RegionConfig] = user.Region{Size: page, Read: true, Write: true}
	p.layout.IRQs = [user.NumIRQs]int{user.IRQMSIX: 4, user.IRQErr: 1, user.IRQReq: 1}
	return p
}

func (p *probe) locked(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *probe) Layout() user.Layout { return p.layout }
func (p *probe) Attach(b *user.Bus)  { p.locked(func() { p.bus = b }) }
func (p *probe) Detach()             { p.locked(func() { p.detaches++ }) }

func (p *probe) attached() (b *user.Bus) {
	p.locked(func() { b = p.bus })
	return b
}

func (p *probe) Access(region int, off uint64, b []byte, write bool) error {
	var f func(int, uint64, []byte, bool) error
	p.locked(func() { f = p.access })
	if f == nil {
		return nil
	}
	return f(region, off, b, write)
}

func (p *probe) Interrupts(index, first, n int, armed bool) {
	p.locked(func() { p.irqs = append(p.irqs, fmt.Sprint(index, first, n, armed)) })
}

func (p *probe) Mask(index, first, n int, masked bool) error { return user.ErrCannotMask }

func (p *probe) Reset() error {
	var f func() error
	p.locked(func() { p.resets++; f = p.reset })
	if f == nil {
		return nil
	}
	return f()
}

// baseline counts descriptors when the runtime has all that it opens once.
func baseline(t testing.TB) int {
	t.Helper()
	a, b := pair(t)
	a.Close()
	b.Close()
	return openFDs(t)
}

// settles waits for a count to come to a value: what a peer lets go of takes
// a moment.
func settles(t testing.TB, what string, count func(testing.TB) int, want int) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		got := count(t)
		if got == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %d, not %d", what, got, want)
		}
	}
}
