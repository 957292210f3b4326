// Package socket is the vfio-user face of an emulated card: the card model
// of internal/card as a user.Device. QEMU can plug it into a virtual machine,
// and the driver reaches it without a kernel.
package socket

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/hc1-toolkit/hc1/internal/card"
	"github.com/hc1-toolkit/hc1/internal/emu"
	"github.com/hc1-toolkit/hc1/vfio/user"
)

// Options describe a card. Card's clock fields are set by Clock.
type Options struct {
	Card  card.Config
	Clock emu.Clock // Realtime or Fast
	Log   *slog.Logger
	// Left, if not nil, is called when a client has gone and the card stands
	// still.
	Left func(Visit)
}

// Visit is what one client's time with the card came to.
type Visit struct {
	Counters card.Counters // of the card, in that time
	Messages uint64        // that came over the socket
	Breaches uint64        // of the interface, by the client
	// The first of them, until the card has seen too many to keep.
	Violations []card.Violation
}

// Card is an emulated card behind a socket.
type Card struct {
	now    atomic.Pointer[emu.Function]
	bus    atomic.Pointer[user.Bus] // nil without a client
	server *user.Server
	log    *slog.Logger
	left   func(Visit)

	// Guarded by the card's lock.
	aer uint64

	// As they were when the client came.
	counters card.Counters
	messages uint64
	breaches uint64
	kept     int // violations
}

// New powers a card on.
func New(o Options) (*Card, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Card{log: o.Log, left: o.Left}
	c.server = user.NewServer(c, user.ServerOptions{Log: o.Log})
	return c, c.Power(o.Card, o.Clock)
}

// Power takes the card's power away and puts another card in its place,
// behind the same socket: for tests, whose virtual machine keeps its card as
// long as it runs. Whoever has the card must not be using it.
func (c *Card) Power(cfg card.Config, clock emu.Clock) error {
	f, err := emu.New(cfg, clock, (*bus)(c), nil)
	if err != nil {
		return fmt.Errorf("card: %w", err)
	}
	if old := c.now.Load(); old != nil {
		old.Stop()
		f.Inherit(old)
	}
	c.now.Store(f)
	c.aer, c.counters, c.breaches, c.kept = 0, card.Counters{}, 0, 0
	f.Start()
	return nil
}

func (c *Card) f() *emu.Function { return c.now.Load() }

// Serve takes clients from a listener until Close.
func (c *Card) Serve(l *net.UnixListener) error { return c.server.Serve(l) }

// ServeConn serves one client on a socket that is connected.
func (c *Card) ServeConn(s *net.UnixConn) error { return c.server.ServeConn(s) }

// Close asks the client to leave, hangs up after grace, and powers the card
// off.
func (c *Card) Close(grace time.Duration) error {
	err := c.server.Close(grace)
	c.f().Stop()
	return err
}

// Stats returns what the socket did, Counters what the card did, Violations
// what its hosts did wrong.
func (c *Card) Stats() user.Stats { return c.server.Stats() }

// Counters returns the card's counters.
func (c *Card) Counters() card.Counters { return c.f().Counters() }

// Violations returns what hosts did wrong so far.
func (c *Card) Violations() []card.Violation { return c.f().Violations() }

// Layout implements user.Device. No region is mapped: registers and doorbells
// act on access, and the doorbells of a busy card are words of host memory
// that it looks at (docs/hci.md section 4.1).
func (c *Card) Layout() user.Layout {
	var l user.Layout
	for bar := range 6 {
		if n := card.BARSize(bar); n > 0 {
			l.Regions[bar] = user.Region{Size: uint64(n), Read: true, Write: true}
		}
	}
	l.Regions[user.RegionConfig] = user.Region{Size: 4096, Read: true, Write: true}
	l.IRQs[user.IRQMSIX] = card.NumVectors
	l.IRQs[user.IRQErr], l.IRQs[user.IRQReq] = 1, 1
	return l
}

// Attach implements user.Device.
func (c *Card) Attach(b *user.Bus) {
	b.Yield = func(wait func()) {
		f := c.f()
		f.Mu.Unlock()
		wait()
		f.Mu.Lock()
	}
	messages := c.server.Stats().Total()
	c.f().Acquire()
	defer c.f().Release()
	c.bus.Store(b)
	c.aer = c.f().Card.Signalled()
	c.messages, c.counters = messages, c.f().Card.Counters()
	v, n := c.f().Card.Violations()
	c.kept, c.breaches = len(v), n
}

// Detach implements user.Device: losing the socket is losing the last file.
func (c *Card) Detach() {
	if err := c.f().LastClose(); err != nil {
		c.log.Error("card reset after its client left", "err", err)
	}
	messages := c.server.Stats().Total()
	c.f().Acquire()
	defer c.f().Release()
	c.bus.Store(nil)
	if c.left != nil {
		v, n := c.f().Card.Violations()
		c.left(Visit{c.f().Card.Counters().Minus(c.counters), messages - c.messages, n - c.breaches, v[c.kept:]})
	}
}

// Reset implements user.Device.
func (c *Card) Reset() error {
	return c.f().Reset(card.FLR)
}

// Access implements user.Device. A client may read configuration space in
// any pieces; the card takes 1, 2 or 4 aligned bytes of it, and 4 or 8 of a
// BAR.
func (c *Card) Access(region int, off uint64, b []byte, write bool) error {
	c.f().Acquire()
	defer c.f().Release()
	for len(b) > 0 {
		n := piece(region, off, len(b))
		if region == user.RegionConfig {
			if write {
				c.f().Card.WriteConfig(int(off), n, uint32(get(b, n)))
			} else {
				put(b, n, uint64(c.f().Card.ReadConfig(int(off), n)))
			}
		} else {
			if write {
				c.f().Card.WriteBAR(region, int(off), n, get(b, n))
			} else {
				put(b, n, c.f().Card.ReadBAR(region, int(off), n))
			}
		}
		b, off = b[n:], off+uint64(n)
	}
	if write {
		c.f().Wake()
	}
	c.report()
	return nil
}

// piece is the width of the next access of a range. What is too narrow for a
// BAR goes through as it is: the card reports it.
func piece(region int, off uint64, n int) int {
	most := 8
	if region == user.RegionConfig {
		most = 4
	}
	for w := most; w > 1; w /= 2 {
		if n >= w && off%uint64(w) == 0 {
			return w
		}
	}
	return 1
}

func get(b []byte, n int) (v uint64) {
	for i := n - 1; i >= 0; i-- {
		v = v<<8 | uint64(b[i])
	}
	return v
}

func put(b []byte, n int, v uint64) {
	for i := range n {
		b[i] = byte(v >> (8 * i))
	}
}

// report tells the client of an error that the card signalled. The lock is
// held.
func (c *Card) report() {
	if n := c.f().Card.Signalled(); n != c.aer {
		c.aer = n
		if b := c.bus.Load(); b != nil && b.Capabilities().ErrorEvents { // QEMU would stop its machine
			b.Interrupt(user.IRQErr, 0)
		}
	}
}

// Interrupts implements user.Device. The client's kernel, or the client in
// its place, has armed vectors: the card's table follows.
func (c *Card) Interrupts(index, first, n int, armed bool) {
	if index != user.IRQMSIX {
		return
	}
	c.f().Acquire()
	defer c.f().Release()
	if armed {
		c.f().ArmVectors(first, n)
	} else if first == 0 && n == card.NumVectors {
		c.f().DisarmVectors()
	}
}

// Mask implements user.Device. MSI-X is masked in its table.
func (c *Card) Mask(int, int, int, bool) error { return user.ErrCannotMask }

// bus is the card's view of its host: the client's memory and eventfds. Its
// methods are called with the card's lock held, which Yield lets go.
type bus Card

// unplugged is an access of a card that nobody holds.
func unplugged(iova uint64, write bool) error {
	return &user.Fault{IOVA: iova, Write: write, Why: "dma"}
}

// done is the result of an access. One that was given up for a reset waits
// until the card knows of the reset too: it is then none of its faults.
func (b *bus) done(err error) error {
	if !errors.Is(err, user.ErrReset) {
		return err
	}
	f := (*Card)(b).f()
	for end := time.Now().Add(time.Second); !f.Card.Resetting() && time.Now().Before(end); {
		f.Mu.Unlock()
		runtime.Gosched()
		f.Mu.Lock()
	}
	return err
}

func (b *bus) Read(iova uint64, p []byte) error {
	if h := b.bus.Load(); h != nil {
		return b.done(h.Read(iova, p))
	}
	return unplugged(iova, false)
}

func (b *bus) Write(iova uint64, p []byte) error {
	if h := b.bus.Load(); h != nil {
		return b.done(h.Write(iova, p))
	}
	return unplugged(iova, true)
}

func (b *bus) Load32(iova uint64) (uint32, error) {
	if h := b.bus.Load(); h != nil {
		v, err := h.Load32(iova)
		return v, b.done(err)
	}
	return 0, unplugged(iova, false)
}

func (b *bus) Load64(iova uint64) (uint64, error) {
	if h := b.bus.Load(); h != nil {
		v, err := h.Load64(iova)
		return v, b.done(err)
	}
	return 0, unplugged(iova, false)
}

func (b *bus) Store32(iova uint64, v uint32) error {
	if h := b.bus.Load(); h != nil {
		return b.done(h.Store32(iova, v))
	}
	return unplugged(iova, true)
}

func (b *bus) Store64(iova uint64, v uint64) error {
	if h := b.bus.Load(); h != nil {
		return b.done(h.Store64(iova, v))
	}
	return unplugged(iova, true)
}

func (b *bus) Interrupt(vector int) {
	if h := b.bus.Load(); h != nil {
		h.Interrupt(user.IRQMSIX, vector)
		(*Card)(b).report()
	}
}
