package user

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
)

// fzSpan is a buffer that the client had, or tried to have.
type fzSpan struct {
	from, size uint64
	dir        hal.Direction
	freed      int // the clock then; 0: not freed
}

// fzDMA is a command to the client.
type fzDMA struct {
	cmd         Command
	addr, count uint64
	sent        int // the clock then
}

// fzWorld is what both sides of a client's connection know of it.
type fzWorld struct {
	sync.Mutex
	clock int
	spans []fzSpan
	done  []fzDMA // that the client carried out
	bad   error
}

// check: whatever was carried out went to a buffer of the client's that was
// made for it, and not given back before.
func (w *fzWorld) check() error {
	w.Lock()
	defer w.Unlock()
	for _, d := range w.done {
		if !slices.ContainsFunc(w.spans, func(s fzSpan) bool {
			return d.addr >= s.from && d.addr-s.from < s.size && d.count <= s.size-(d.addr-s.from) &&
				(s.dir == hal.CardReads) == (d.cmd == CmdDMARead) && (s.freed == 0 || s.freed > d.sent)
		}) {
			return fmt.Errorf("%v of %d bytes at %#x was carried out, buffers %+v", d.cmd, d.count, d.addr, w.spans)
		}
	}
	return w.bad
}

// fzServer does to a client what bytes tell it.
type fzServer struct {
	*fzWorld
	c       *net.UnixConn
	in      fzBytes
	mode    byte
	events  []int // the client's eventfds
	files   []int // of BARs
	asked   map[uint16]fzDMA
	id      uint16
	ended   chan struct{} // run has returned
	dropped chan struct{} // the client needs no more of us
}

// run serves until the client hangs up, or something is too wrong.
func (s *fzServer) run() {
	defer close(s.ended)
	for k := newConn(s.c); ; {
		m, err := k.read()
		if err != nil {
			break
		}
		ok := true
		if m.reply() {
			s.answered(&m)
		} else {
			ok = s.command(&m)
		}
		m.close()
		if !ok {
			break
		}
	}
	if s.mode&3 == 3 { // does not let go
		<-s.dropped
	}
	s.c.Close()
	closeFDs(s.events)
	closeFDs(s.files)
}

// answered is an answer to DMA.
func (s *fzServer) answered(m *message) {
	s.Lock()
	defer s.Unlock()
	d, ok := s.asked[m.ID]
	delete(s.asked, m.ID)
	want := accessSize
	if d.cmd == CmdDMARead {
		want += int(d.count)
	}
	switch {
	case m.Flags&flagError != 0 && m.Errno != 0 && len(m.body)+len(m.fds) == 0:
	case !ok || d.cmd != m.Cmd || m.Flags&flagError != 0 || len(m.fds) > 0:
		s.bad = fmt.Errorf("%+v, after %+v", m.header, d)
	case len(m.body) != want:
		s.bad = fmt.Errorf("%v of %d bytes is answered with %d", d.cmd, d.count, len(m.body))
	default:
		s.done = append(s.done, d)
	}
}

// dma has the client do an access, or something like it.
func (s *fzServer) dma() bool {
	how := s.in.byte()
	d := fzDMA{cmd: CmdDMARead, addr: iovaBase + s.in.u64(), count: uint64(s.in.byte())}
	s.Lock()
	d.sent = s.clock
	if n := len(s.spans); n > 0 && how&64 != 0 {
		x := s.spans[int(how>>2)%n]
		d.addr = x.from + s.in.u64()
		if how&8 != 0 {
			d.count = x.size - s.in.u64()
		}
	}
	s.Unlock()
	if how >= 240 {
		d.addr, d.count = s.in.u64(), s.in.u64()
	}
	var data []byte
	if how&1 != 0 {
		d.cmd, data = CmdDMAWrite, bytes.Repeat([]byte{0xEE}, int(min(d.count, MaxTransfer)))
	}
	body := append(le.AppendUint64(le.AppendUint64(nil, d.addr), d.count), data...)
	s.id++
	h := header{ID: s.id, Cmd: d.cmd}
	var fds []int
	switch s.in.byte() {
	case 255:
		fds = []int{fzFD(int(how)%fzKinds, 1, nil)}
	case 254:
		body = body[:min(len(body), int(how))]
	case 253:
		body = append(body, how)
	case 252:
		h.Flags = flagNoReply
	case 251:
		h.Cmd = Command(how % 20)
	}
	s.Lock()
	s.asked[h.ID] = d
	s.Unlock()
	return s.send(h, body, fds, 0)
}

// send writes a message whose size is a lie by so much.
func (s *fzServer) send(h header, body []byte, fds []int, lie int) bool {
	h.Size = uint32(headerSize + len(body) + lie)
	b := make([]byte, headerSize, headerSize+len(body))
	h.put(b)
	s.c.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
	err := fzSend(s.c, append(b, body...), fds)
	closeFDs(fds)
	return err == nil
}

// right is the answer to a command as it should be.
func (s *fzServer) right(m *message) (body []byte, fds []int) {
	switch m.Cmd {
	case CmdVersion:
		c := Capabilities{[]int{8, 1, 0, 64}[s.mode>>2&3], []int{MaxTransfer, 4096}[s.mode>>4&1], []int{100, 2}[s.mode>>5&1], pageSize, false, true}
		return encodeVersion(0, 1, &c), nil
	case CmdGetInfo:
		return put32(deviceInfoSize, deviceReset|devicePCI, NumRegions, NumIRQs), nil
	case CmdGetRegionInfo:
		r := regionInfo{Index: le.Uint32(m.body[8:]), Size: pageSize, Flags: regionRead | regionWrite}
		switch r.Index {
		case 1:
			r.Size, r.Flags = 2*pageSize, r.Flags|regionMMap
		case 2:
			r.Size, r.Flags, r.Offset = 8*pageSize, r.Flags|regionMMap, pageSize
			r.Areas = []Area{{0, pageSize}, {5 * pageSize, 2 * pageSize}}
		case 3, 4:
			r.Size = 0
		}
		if r.Flags&regionMMap != 0 {
			fd := fzFD([]int{fzMemfd, fzSealed}[s.mode>>6&1], 9, nil)
			s.files = append(s.files, fzDupFD(fd))
			fds = []int{fd}
		}
		return r.encode(le.Uint32(m.body)), fds
	case CmdGetIRQInfo:
		i := le.Uint32(m.body[8:])
		return put32(irqInfoSize, irqInfoEventFD, i, []uint32{1, 1, 8, 1, 1, 0}[min(5, i)]), nil
	case CmdSetIRQs:
		s.events = append(s.events, m.takeFDs()...)
	case CmdRegionRead:
		a, _, _ := decodeAccess(m.body)
		body = bytes.Clone(m.body[:accessSize])
		config := map[uint64]uint32{0: 0xC0DE1234, 0x34: 0x40, 0x40: 0x5010 | uint32(s.mode)<<16, 0x50: 0x0010}
		v := le.AppendUint64(nil, uint64(config[a.Offset]))
		return append(body, v[:min(8, a.Count)]...), nil
	case CmdRegionWrite:
		return bytes.Clone(m.body[:accessSize]), nil
	case CmdDMAUnmap:
		return bytes.Clone(m.body), nil
	}
	return nil, nil
}

// command answers, and does other things besides.
func (s *fzServer) command(m *message) (alive bool) {
	body, fds := s.right(m)
	h := header{ID: m.ID, Cmd: m.Cmd, Flags: typeReply}
	wrong, lie, silent := s.in.byte(), 0, m.Flags&flagNoReply != 0
	for wrong >= 0x40 && wrong < 0x80 { // first something else, then the answer
		switch {
		case wrong < 0x70:
			if !s.dma() {
				closeFDs(fds)
				return false
			}
		case wrong < 0x74 && len(s.events) > 0:
			fzRing(s.events[int(s.in.byte())%len(s.events)])
		case wrong < 0x78 && len(s.events) > 0:
			fzBlocking(s.events[int(s.in.byte())%len(s.events)])
		case len(s.files) > 0:
			how := s.in.byte()
			fzTruncate(s.files[int(how)%len(s.files)], int(how>>6))
		}
		wrong = s.in.byte()
	}
	how := 0
	if wrong >= 0x80 {
		how = int(s.in.byte())
	}
	switch wrong {
	case 0x80, 0x81, 0x82:
		h.Flags, h.Errno, body = h.Flags|flagError, []uint32{0, 1, 12, 16, 22, 28, 1 << 31}[how%7], body[:0]
	case 0x83, 0x84:
		body = body[:how%(len(body)+1)]
	case 0x85, 0x86:
		body = append(body, make([]byte, 1+how)...)
	case 0x87:
		lie = how - 128
	case 0x88:
		h.ID += uint16(how)
	case 0x89:
		h.Cmd = Command(how % 20)
	case 0x8A:
		h.Flags = uint32(how)
	case 0x8B, 0x8C:
		fds = append(fds, fzFD(how%fzKinds, how>>4, nil))
	case 0x8D:
		body = append(body, bytes.Repeat([]byte{byte(how)}, MaxTransfer-len(body))...)
	case 0x8E: // a second answer
		s.send(h, body, nil, 0)
	case 0x8F:
		silent = silent || m.Cmd != CmdReset && how&3 == 0 // it may wait for long
	case 0x90:
		s.c.CloseWrite()
	case 0x91: // an answer to what wants none
		silent = false
	case 0x92:
		s.c.CloseRead()
	default:
		if wrong >= 0xA0 { // another word
			for i := (how & 31) * 4; i < len(body); i += 64 {
				copy(body[i:], le.AppendUint64(nil, s.in.u64())[:4<<(how>>7)])
			}
		}
	}
	if silent {
		closeFDs(fds)
		return true
	}
	return s.send(h, body, fds, lie)
}

// fzUse makes calls, as bytes tell it.
func fzUse(t testing.TB, f *Client, in *fzBytes, w *fzWorld) {
	var live []*hal.DMA
	var at []int // their spans
	var vectors []hal.Vector
	for n := 0; n < 40 && len(in.in) > 0; n++ {
		switch b := in.byte(); b & 15 {
		case 0, 1:
			f.ReadConfig(int(in.u64()&4095), []int{1, 2, 4, 3}[b>>6])
		case 2:
			f.WriteConfig(int(in.u64()&4095), []int{1, 2, 4, 3}[b>>6], in.u32())
		case 3, 4, 5, 6:
			r, err := f.Region(int(b>>4) % 7)
			if err != nil || r.Size() < 8 {
				continue
			}
			off := int(in.u64()%uint64(r.Size()-7)) &^ 7
			r.Load32(off)
			r.Store64(off, in.u64())
			r.Load64(off)
			r.Store32(off, 1)
		case 7, 8, 9:
			size, dir := int(b>>5)*pageSize+1, hal.CardReads+hal.Direction(b>>4&1)
			w.Lock()
			w.spans = append(w.spans, fzSpan{f.bumpTo, uint64(size+pageSize-1) &^ (pageSize - 1), dir, 0})
			i := len(w.spans) - 1
			w.Unlock()
			if d, err := f.AllocDMA(size, dir); err == nil {
				live, at = append(live, d), append(at, i)
			}
		case 10:
			if i := int(b >> 4); i < len(live) {
				fzUnchanged(t, live[i])
				live[i].Free()
				w.Lock()
				w.clock++
				w.spans[at[i]].freed = w.clock
				w.Unlock()
				live, at = slices.Delete(live, i, i+1), slices.Delete(at, i, i+1)
			}
		case 11:
			vectors, _ = f.Vectors(int(b >> 4))
		case 12:
			for _, v := range vectors {
				v.Wait(time.Duration(b>>7) * 100 * time.Microsecond)
			}
		case 13:
			f.Events()
		case 14:
			f.Reset(hal.ResetFLR + hal.Level(b>>7))
		}
	}
	for _, d := range live {
		fzUnchanged(t, d)
	}
}

// fzUnchanged: what only the host writes is as it was.
func fzUnchanged(t testing.TB, d *hal.DMA) {
	if d.Dir == hal.CardReads && bytes.Count(d.Bytes, []byte{0}) != len(d.Bytes) {
		t.Fatalf("the card has written to memory at %#x that it reads", d.IOVA)
	}
}

// fzAttach has a client meet a server. Some bytes are for the one and some
// for the other, so that neither depends on how far the other is.
func fzAttach(t testing.TB, in []byte) {
	held := fzHold(t)
	x := fzBytes{in}
	mode, n := x.byte(), int(x.byte())
	a, b := fzPair(t)
	w := &fzWorld{clock: 1}
	s := &fzServer{fzWorld: w, c: b, in: fzBytes{x.take(n)}, mode: mode, asked: map[uint16]fzDMA{}, ended: make(chan struct{}), dropped: make(chan struct{})}
	watch := time.AfterFunc(20*time.Second, func() { fzHang("the client waits for a server without end") })
	defer watch.Stop()
	go s.run()
	f, err := NewClient(context.Background(), a, ClientOptions{Timeout: 10 * time.Millisecond, NoFiles: mode&0x80 != 0})
	if err == nil {
		fzUse(t, f, &x, w)
		if mode&3 == 2 {
			a.Close()
		}
		f.Close()
		if _, err := f.ReadConfig(0, 4); !errors.Is(err, hal.ErrClosed) {
			t.Fatal(err)
		}
	}
	close(s.dropped)
	<-s.ended
	if err := w.check(); err != nil {
		t.Fatal(err)
	}
	held.check(t, 0)
}

func FuzzClient(f *testing.F) {
	// What the server is told, after 16 right answers, and what the client.
	seed := func(mode byte, server, client string) {
		server = strings.Repeat("\x00", 16) + server
		f.Add([]byte(string([]byte{mode, byte(len(server))}) + server + client))
	}
	f.Add([]byte("\x00\x01\x8b"))                     // descriptors with VERSION
	f.Add([]byte("\x00\x08\x00\x00\x00\xa0\x04\x0b")) // another size of BAR 0
	seed(0, "", "\x00\x03\x07\x05\x13\x07\x00\x23\x07\x27\x37\x2b\x0c\x0d\x0e\x0f\x0a")
	seed(0, "\x40\x00\x00\x04\x00\x41\x00\x00\x08\x00\x00\x40\x41\x00\x08\x00\x40\x40\x00\x08\x00\x00", "\x07\x17\x00\x00\x0f\x0a\x0a")
	seed(0, "\x00\x00\x40\x45\x00\x04\x00\x40\x48\x00\x00\x00\x40\x49\x00\x01\x00\x00", "\x37\x27\x00\x0f\x0a") // DMA to buffers
	seed(3, "\x00\x00\x70\x00\x00", "\x2b\x0c\xcc\x0b\x8c")                                                     // an interrupt; does not let go
	seed(0, "\x00\x00\x74\x02\x74\x00\x00", "\x4b\x00\x0c\x0d\x0c\x8c")                                         // reads of eventfds are made to wait
	seed(2, "\x78\x80\x79\x01\x00", "\x00\x13\x07\x00\x23\x07\x00\x13\x00\x00")                                 // BARs cut short
	seed(0, "\x8f\x00", "\x00\x0e")
	seed(0, "\x00\x81\x01\x40\x40\x00\x08\x00\x00\x00", "\x07\x0a\x00\x00") // DMA_UNMAP is refused, then DMA all the same
	f.Fuzz(func(t *testing.T, in []byte) { fzAttach(t, in[:min(len(in), 512)]) })
}
