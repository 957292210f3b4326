package user

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"
)

// fzClient does to a server what bytes tell it.
type fzClient struct {
	in      fzBytes
	c       *net.UnixConn
	dev     *fzDevice
	hosts   fzBytes // how DMA is answered
	greeted bool    // it has sent VERSION
	lazy    bool    // it does not read before it has written all
	own     bool    // the socket was sent over itself
	sent    int     // messages

	wmu     sync.Mutex
	pending []byte
	keep    int // memory sent before, to be sent again or cut short; -1: none
	id      uint16

	mu     sync.Mutex
	asked  map[header]int // by id and command: answers that may come
	wild   bool           // the server may have seen other messages than these
	bad    error          // what the server did wrong
	synced chan struct{}  // the answer to sync
	gone   chan struct{}  // the reader has ended
}

func (x *fzClient) write(b []byte, fds []int) error {
	wait := 500 * time.Millisecond
	if x.lazy {
		wait = 2 * time.Millisecond
	}
	x.c.SetWriteDeadline(time.Now().Add(wait))
	return fzSend(x.c, b, fds)
}

// read checks what the server sends and answers its DMA.
func (x *fzClient) read() {
	defer close(x.gone)
	k := newConn(x.c) // for its framing
	for {
		m, err := k.read()
		if err != nil {
			if errors.Is(err, ErrProtocol) {
				x.blame(err)
			}
			return
		}
		nfds := len(m.fds)
		m.close()
		switch {
		case !m.reply():
			if !x.serve(&m) {
				x.c.CloseRead()
				x.c.CloseWrite()
				return
			}
			if nfds > 0 {
				x.blame(fmt.Errorf("%d descriptors with %v", nfds, m.Cmd))
			}
		case (m.Flags&flagError != 0) != (m.Errno != 0), m.Errno != 0 && m.Size != headerSize:
			x.blame(fmt.Errorf("error reply %+v", m.header))
		case nfds > 1 || nfds == 1 && (m.Cmd != CmdGetRegionInfo || m.Errno != 0):
			x.blame(fmt.Errorf("%d descriptors with an answer to %v", nfds, m.Cmd))
		default:
			what := header{ID: m.ID, Cmd: m.Cmd}
			x.mu.Lock()
			if x.asked[what]--; x.asked[what] < 0 && !x.wild {
				x.bad = fmt.Errorf("answer to nothing: %+v", m.header)
			}
			x.mu.Unlock()
			if m.ID == fzSync {
				x.synced <- struct{}{}
			}
		}
	}
}

func (x *fzClient) blame(err error) {
	x.mu.Lock()
	x.bad = err
	x.mu.Unlock()
}

// serve answers a DMA command, in one of many ways.
func (x *fzClient) serve(m *message) (alive bool) {
	if m.Cmd != CmdDMARead && m.Cmd != CmdDMAWrite || len(m.body) < accessSize {
		x.blame(fmt.Errorf("command %+v of a server", m.header))
		return false
	}
	n := le.Uint64(m.body[8:])
	if n == 0 || n > MaxTransfer || uint64(len(m.body)-accessSize) != n && m.Cmd == CmdDMAWrite || m.Cmd == CmdDMARead && len(m.body) != accessSize {
		x.blame(fmt.Errorf("%v of %d bytes in %d", m.Cmd, n, m.Size))
		return false
	}
	h := header{ID: m.ID, Cmd: m.Cmd, Flags: typeReply}
	body := append([]byte(nil), m.body[:accessSize]...)
	if m.Cmd == CmdDMARead {
		body = append(body, make([]byte, n)...)
	}
	var fds []int
	way := x.hosts.byte()
	switch way & 15 {
	case 8:
		h.Flags, h.Errno, body = h.Flags|flagError, uint32(way>>4), nil
	case 9:
		h.ID ^= uint16(way)
	case 10:
		h.Cmd ^= 7
	case 11:
		body = body[:len(body)-1-int(way>>4)]
	case 12:
		body = append(body, 0)
	case 13:
		fds = []int{fzFD(int(way>>4)%fzKinds, 1, nil)}
	case 14:
		return true
	case 15:
		return way>>4 > 7 // or hangs up
	}
	h.Size = uint32(headerSize + len(body))
	b := make([]byte, headerSize, h.Size)
	h.put(b)
	x.wmu.Lock()
	err := x.write(append(b, body...), fds)
	x.wmu.Unlock()
	closeFDs(fds)
	return err == nil
}

// act is one step: a message, perhaps with something wrong about it, or
// something else.
func (x *fzClient) act() error {
	switch b := x.in.byte(); {
	case b < 16:
		return x.settle()
	case b < 24:
		fzTruncate(x.keep, int(b&3))
		return nil
	case b < 26:
		fzSeal(x.keep)
		return nil
	case b < 40:
		closeFDs([]int{x.keep})
		x.keep = x.fds(1, fzMemfd, fzSealed)[0]
		return nil
	case b < 46:
		x.expect(nil, 0)
		return x.put(x.in.take(int(x.in.byte()%40)), nil, 0)
	}
	wrong, how := int(x.in.byte()), x.in.byte()
	if wrong < 176 {
		wrong = 0
	}
	cmd, body, fds := x.message()
	defer func() { closeFDs(fds) }()
	h := header{ID: x.id, Cmd: cmd}
	x.id++
	lie, split, times, many := uint32(0), 0, 1, 0
	switch wrong & 15 {
	case 1:
		h.Flags = flagNoReply
	case 2:
		lie = uint32(how) + 1
	case 3:
		lie = -uint32(how) - 1
	case 4:
		body = body[:int(how)%(len(body)+1)]
	case 5:
		body = append(body, make([]byte, 1+int(how))...)
	case 6:
		h.Flags = uint32(how)
	case 7:
		h.ID--
	case 8:
		fds = append(fds, x.fds(1+int(how&3))...)
	case 9: // about as many as may come, or as the kernel takes
		fds, many = append(fds, fzFD(fzNull, 1, nil)), []int{61, 62, 63, 64, 77, 78, 79, 80, 249, 251}[how%10]
	case 10, 11:
		split = 1 + int(how)%(headerSize+len(body)-1)
	case 12, 13:
		split = -1
	case 14:
		times = 2
	case 15:
		h.Cmd = Command(how)
	}
	all := fds
	for range many {
		all = append(all, fds[len(fds)-1])
	}
	h.Size = uint32(headerSize+len(body)) + lie
	if lie != 0 || h.Flags&^flagNoReply != 0 {
		x.expect(nil, 0)
	} else if h.Flags == 0 || h.Cmd == CmdVersion || !x.greeted { // the first message is always answered
		x.expect(&h, times)
	}
	b := make([]byte, headerSize, headerSize+len(body))
	h.put(b)
	b = append(b, body...)
	var err error
	for ; err == nil && times > 0; times-- {
		x.sent++
		err = x.put(b, all, split)
	}
	if err == nil && len(body) == accessSize+16 && how&1 == 0 { // a job
		err = x.settle()
	}
	return err
}

// fzSync is the id of a question whose answer is waited for.
const fzSync = 0xFFFF

// sync returns when the server has read all so far, or has gone.
func (x *fzClient) sync() error {
	h := header{ID: fzSync, Cmd: CmdGetInfo, Size: headerSize + deviceInfoSize}
	b := make([]byte, headerSize)
	h.put(b)
	x.expect(&h, 1)
	if err := x.put(append(b, put32(deviceInfoSize, 0, 0, 0)...), nil, 0); err != nil {
		return err
	}
	select {
	case <-x.synced:
	case <-x.gone:
	case <-time.After(5 * time.Second):
		x.blame(errors.New("GET_INFO is not answered"))
	}
	return nil
}

// settle returns when the device has done what it was told.
func (x *fzClient) settle() error {
	if x.lazy || !x.greeted {
		return nil
	}
	err := x.put(nil, nil, 0)
	if err == nil && !x.wild { // else the server may be in the middle of a message
		err = x.sync()
	}
	if err == nil {
		x.dev.settle(x.gone)
	}
	return err
}

// expect notes answers that may come, or that anything may.
func (x *fzClient) expect(h *header, n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if h == nil {
		x.wild = true
		return
	}
	x.asked[header{ID: h.ID, Cmd: h.Cmd}] += n
}

// put writes, in two pieces if split is not 0, or later if it is negative.
func (x *fzClient) put(b []byte, fds []int, split int) error {
	x.wmu.Lock()
	defer x.wmu.Unlock()
	if split < 0 && len(fds) == 0 {
		x.pending = append(x.pending, b...)
		return nil
	}
	if len(fds) == 0 {
		b = append(x.pending, b...)
	} else if len(x.pending) > 0 { // else the descriptors come too early
		if err := x.write(x.pending, nil); err != nil {
			return err
		}
	}
	x.pending = nil
	if split > 0 && split < len(b) {
		if err := x.write(b[:split], fds); err != nil {
			return err
		}
		b, fds = b[split:], fds[:len(fds)&(split&1)]
	}
	if len(b) == 0 {
		return nil
	}
	return x.write(b, fds)
}

// hello is the first message: VERSION, if not much is wrong.
func (x *fzClient) hello() error {
	how := x.in.byte()
	c := Capabilities{[]int{8, 0, 1, 64}[how&3], []int{MaxTransfer, 1, 16, 5000}[how>>2&3], []int{9, 1, 3, 1 << 20}[how>>4&3], pageSize, how&64 == 0, false}
	body := encodeVersion(0, uint16(how>>7), &c)
	switch x.in.byte() {
	case 255:
		return nil
	case 254:
		body = append(body[:versionSize], x.in.take(100)...)
	case 253:
		body = body[:versionSize]
	default:
		x.greeted = true
	}
	h := header{ID: 0xFFFE, Cmd: CmdVersion, Size: uint32(headerSize + len(body))}
	b := make([]byte, headerSize)
	h.put(b)
	x.expect(&h, 1)
	return x.put(append(b, body...), nil, 0)
}

// checkAnswered: whoever is still there has had all answers.
func (x *fzClient) checkAnswered() {
	select {
	case <-x.gone:
		return
	default:
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for h, n := range x.asked {
		if n != 0 {
			x.bad = fmt.Errorf("%d answers to %v %d are missing", n, h.Cmd, h.ID)
		}
	}
}

// play is one client, from its first byte to the end of its connection.
func (x *fzClient) play() {
	mode := x.in.byte()
	x.lazy = mode&7 == 7
	x.hosts = fzBytes{x.in.take(int(mode >> 4))}
	if !x.lazy {
		go x.read()
	}
	err := x.hello()
	for n := 0; err == nil && len(x.in.in) > 0 && n < 100; n++ {
		err = x.act()
	}
	if err == nil && mode&8 == 0 {
		err = x.put(nil, nil, 0)
	}
	if x.lazy {
		go x.read()
	}
	if err == nil && mode&1 == 0 { // all that was asked is answered
		if x.greeted && !x.wild && !x.lazy && x.sync() == nil {
			x.checkAnswered()
		}
		x.c.CloseWrite()
		select {
		case <-x.gone:
		case <-time.After(5 * time.Second):
			x.blame(errors.New("not hung up on"))
		}
	}
	if x.own { // the server may hold this end, and wait for it until it has stalled
		x.c.CloseRead()
		x.c.CloseWrite()
	}
	x.c.Close()
	<-x.gone
	closeFDs([]int{x.keep})
}

// Steps of seeds: each is the bytes that act reads.
const (
	fzHello  = "\x00\x00\x00" // reads, leaves in order; good capabilities
	fzMap    = "\x40\x00\x00\x02\x00\x02\x00\x0c\x00\x40"
	fzNoFile = "\x40\x00\x00\x00\x00\x02\x00\x0c\x00"
	fzRead   = "\x40\x00\x00\x17\x0c\x00\x0d\x03"
	fzWrite  = "\x40\x00\x00\x17\x1c\x03\x0d\x10"
	fzWord   = "\x40\x00\x00\x17\x0c\x07\x00"
	fzSettle = "\x00"
	fzArm    = "\x40\x00\x00\x0e\x02\x02\x40\x40"
	fzFire   = "\x40\x00\x00\x17\x00\x0a\x20"
	fzReset  = "\x40\x00\x00\x1d"
)

func FuzzServer(f *testing.F) {
	for _, s := range []string{
		fzHello,
		fzHello + fzMap + fzRead + fzWrite + fzWord + fzSettle + "\x40\x00\x00\x09",                                  // DMA to a file, unmapped in the end
		"\x80\x00\x08\x09\x0a\x0b\x0c\x0d\x0f\x00\x00" + fzNoFile + fzRead + fzWord + fzRead,                         // by messages, answered worse and worse
		fzHello + "\x20\x40" + "\x40\x00\x00\x03\x00\x02\x00\x0c\x00" + fzRead + "\x10" + fzRead + fzWord + fzSettle, // a file cut short
		fzHello + fzArm + fzFire + fzReset + fzFire + fzSettle + "\x40\x00\x00\x11\x02" + "\x40\x00\x00\x10\x00\x20\x00\x02",
		fzHello + "\x40\xb9\x03" + fzArm[3:] + fzFire,             // 65 descriptors
		fzHello + "\x40\xba\x07" + fzMap[3:] + "\x28\x08garbage!", // two pieces, then what is no message
		"\x01\x40\xff" + fzReset, // no VERSION
		"\x20\x0d\x6d\x00\x00" + fzRead[:2] + "\x01" + fzRead[3:] + fzReset, // a reset while DMA is answered, with a descriptor
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) { fzServe(t, in[:min(len(in), 1024)]) })
}
