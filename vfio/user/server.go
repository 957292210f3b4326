package user

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Interrupt indexes of a PCI device (VFIO_PCI_*_IRQ_INDEX).
const (
	IRQINTx = iota
	IRQMSI
	IRQMSIX
	IRQErr // an error that the bus reported
	IRQReq // the device is wanted back
	NumIRQs
)

// Region indexes of a PCI device: BARs 0 to 5, then these.
const (
	RegionROM    = 6
	RegionConfig = 7
	RegionVGA    = 8
	NumRegions   = 9
)

// Area is part of a region, in bytes; both are whole pages.
type Area struct{ Offset, Size uint64 }

// Region is what a client may access. The zero Region is none.
type Region struct {
	Size        uint64
	Read, Write bool
	// Memory, when not nil, is mapped by clients that can: Areas says which
	// parts of it, nil meaning all. Offsets are those of the region. What is
	// accessed there is not seen by Device.Access.
	Memory *Memory
	Areas  []Area
}

// Layout is a device's shape. It does not change while a client is there.
type Layout struct {
	Regions [NumRegions]Region
	IRQs    [NumIRQs]int // interrupts of each index
}

// Device is what a Server puts on the wire. Attach and Detach bracket each
// client; between them its calls come one at a time, from one goroutine, and
// the client waits for each: a call has to return well within five seconds,
// and must not wait for DMA (see Bus).
type Device interface {
	// Layout is asked for once per client, before Attach.
	Layout() Layout
	// Attach says that a client has come. bus is how the device reaches its
	// memory and interrupts until Detach.
	Attach(bus *Bus)
	// Detach says that the client has gone, as after a reset of the function.
	// When it returns the device uses the bus no more.
	Detach()
	// Access reads or writes len(b) bytes of a region. The range lies in the
	// region; width and alignment are the client's choice. An Errno in the
	// error's chain is the reply's, else EIO.
	Access(region int, off uint64, b []byte, write bool) error
	// Interrupts says that interrupts first to first+n-1 of an index can be
	// sent (armed), or can no longer.
	Interrupts(index, first, n int, armed bool)
	// Mask masks or unmasks interrupts; a device that cannot returns ENOTTY.
	Mask(index, first, n int, masked bool) error
	// Reset resets the function. It returns when that is over, or an error.
	Reset() error
}

// ErrCannotMask is for devices whose interrupts a client cannot mask.
var ErrCannotMask = fmt.Errorf("vfio-user: interrupts cannot be masked: %w", eNOTTY)

// ServerOptions may be left zero.
type ServerOptions struct {
	Log *slog.Logger // of clients and refusals
	// Timeout bounds a client's answer to DMA_READ and DMA_WRITE; 3 s.
	Timeout time.Duration
	// MaxFDs bounds the descriptors of a message; 32.
	MaxFDs int
	// MaxMaps bounds a client's DMA mappings; 65,535.
	MaxMaps int
}

// Server serves one device to one client at a time. Others are told that it
// is busy.
type Server struct {
	dev Device
	o   ServerOptions

	turn chan struct{} // holds a token while nobody is served

	mu     sync.Mutex
	stats  Stats
	listen map[net.Listener]bool
	conns  map[*net.UnixConn]bool
	now    *session // who is served
	closed bool
	all    sync.WaitGroup
}

// NewServer makes a server for a device.
func NewServer(dev Device, o ServerOptions) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Timeout == 0 {
		o.Timeout = 3 * time.Second
	}
	if o.MaxFDs == 0 {
		o.MaxFDs = 32
	}
	o.MaxFDs = min(o.MaxFDs, MaxFDs)
	if o.MaxMaps == 0 || o.MaxMaps > defaultMaxMaps {
		o.MaxMaps = defaultMaxMaps
	}
	s := &Server{dev: dev, o: o, turn: make(chan struct{}, 1), listen: map[net.Listener]bool{}, conns: map[*net.UnixConn]bool{}}
	s.turn <- struct{}{}
	return s
}

// ErrServerClosed is what Serve returns after Close.
var ErrServerClosed = errors.New("vfio-user: server closed")

// maxWaiting bounds connections that are not served.
const maxWaiting = 32

// Serve takes clients from a listener until Close, or until the listener
// fails.
func (s *Server) Serve(l *net.UnixListener) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrServerClosed
	}
	s.listen[l] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listen, l)
		s.mu.Unlock()
	}()
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			s.mu.Lock()
			closed := s.closed
			s.mu.Unlock()
			if closed {
				return ErrServerClosed
			}
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() || errors.Is(err, eNOMEM) {
				time.Sleep(50 * time.Millisecond) // out of descriptors: they come back
				continue
			}
			return fmt.Errorf("vfio-user: accept: %w", err)
		}
		if !s.begin(c) {
			c.Close()
			continue
		}
		go func() {
			defer s.all.Done()
			if err := s.ServeConn(c); err != nil && !errors.Is(err, ErrServerClosed) {
				s.o.Log.Warn("client ended", "err", err)
			}
		}()
	}
}

func (s *Server) begin(c *net.UnixConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.conns) >= maxWaiting {
		return false
	}
	s.conns[c] = true // now: the next one is counted against it
	s.all.Add(1)
	return true
}

// turnBound is how long a client waits for the one before it to be put away.
const turnBound = 100 * time.Millisecond

// ServeConn serves one client and returns when it has gone and the device is
// reset: nil if it left in order. The connection is closed.
func (s *Server) ServeConn(c *net.UnixConn) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		c.Close()
		return ErrServerClosed
	}
	s.conns[c] = true
	s.mu.Unlock()
	k := newConn(c)
	defer func() {
		k.fail(ErrDisconnected)
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		c.Close()
	}()
	caps, err := s.negotiate(k)
	if err != nil {
		return err
	}
	pid := peerPID(c)
	x := &session{s: s, c: k, dev: s.dev, layout: s.dev.Layout(), caps: caps, log: s.o.Log.With("pid", pid)}
	x.bus = newBus(x)
	s.mu.Lock()
	s.now = x
	s.mu.Unlock()
	x.log.Info("client attached", "max_fds", caps.MaxFDs, "max_transfer", caps.MaxTransfer)
	s.dev.Attach(x.bus)
	err = x.serve()
	k.fail(err) // ends DMA that waits for an answer
	s.dev.Detach()
	x.bus.close()
	s.mu.Lock()
	x.bus.counters(&s.stats)
	s.stats.Clients++
	s.now = nil
	s.mu.Unlock()
	why := "left"
	if err != ErrDisconnected {
		why = err.Error()
	}
	x.log.Info("client detached", "reason", why)
	s.turn <- struct{}{}
	if errors.Is(err, ErrDisconnected) {
		return nil
	}
	return err
}

// negotiate takes the first message, which has to be VERSION, and answers it
// when the device is free. On success the session has the turn.
func (s *Server) negotiate(k *conn) (Capabilities, error) {
	var caps Capabilities
	k.c.SetReadDeadline(time.Now().Add(stallBound))
	m, err := k.read()
	if err != nil {
		return caps, err
	}
	defer m.close()
	s.count(func(t *Stats) { t.Received[min(int(m.Cmd), len(t.Received)-1)]++ })
	refuse := func(errno Errno, why string) (Capabilities, error) {
		m.Flags &^= flagNoReply
		k.answer(m.header, errno, nil)
		return caps, fmt.Errorf("%w: %s", ErrProtocol, why)
	}
	if m.Cmd != CmdVersion || m.reply() {
		return refuse(eINVAL, fmt.Sprintf("first message is %s, not VERSION", m.Cmd))
	}
	if len(m.fds) > 0 {
		return refuse(eINVAL, "file descriptors with VERSION")
	}
	major, minor, caps, err := decodeVersion(m.body)
	if err != nil {
		return refuse(eINVAL, err.Error())
	}
	if major != versionMajor {
		return refuse(eNOTSUP, fmt.Sprintf("version %d.%d, this is %d.%d", major, minor, versionMajor, versionMinor))
	}
	caps.MaxFDs = min(caps.MaxFDs, s.o.MaxFDs)
	caps.MaxMaps = min(caps.MaxMaps, s.o.MaxMaps)
	caps.PageSizes = pageSize
	t := time.NewTimer(turnBound)
	defer t.Stop()
	select {
	case <-s.turn:
	case <-t.C:
		s.count(func(t *Stats) { t.Busy++ })
		m.Flags &^= flagNoReply
		k.answer(m.header, eBUSY, nil)
		return caps, fmt.Errorf("client with pid %d refused: another one is served", peerPID(k.c))
	}
	reply := encodeVersion(versionMajor, min(minor, versionMinor), &caps)
	if len(reply) > len(m.body) { // QEMU has no room for more than it sent
		reply = encodeVersion(versionMajor, min(minor, versionMinor), nil)[:min(5, len(m.body))]
	}
	if err := k.answer(m.header, 0, nil, reply); err != nil {
		s.turn <- struct{}{}
		return caps, err
	}
	return caps, nil
}

// Close stops serving: listeners are closed, the client is asked to give the
// device back, and is hung up on when it has not after grace.
func (s *Server) Close(grace time.Duration) error {
	s.mu.Lock()
	s.closed = true
	for l := range s.listen {
		l.Close()
	}
	x := s.now
	s.mu.Unlock()
	if x != nil && grace > 0 && x.bus.Interrupt(IRQReq, 0) {
		select {
		case <-x.c.closed:
		case <-time.After(grace):
		}
	}
	s.mu.Lock()
	for c := range s.conns {
		c.CloseRead()
	}
	s.mu.Unlock()
	s.all.Wait()
	return nil
}

// serve handles messages until the connection ends.
func (x *session) serve() error {
	for {
		m, err := x.c.read()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = ErrDisconnected
			}
			return err
		}
		x.s.count(func(t *Stats) { t.Received[min(int(m.Cmd), len(t.Received)-1)]++ })
		if m.reply() {
			err = x.c.deliver(&m)
		} else {
			err = x.handle(&m)
		}
		m.close()
		if err != nil {
			return err
		}
	}
}
