// Package mock is a card in this process: internal/card behind hal.Function,
// with a page-granular IOMMU, in real time, as fast as it goes, or on a
// virtual clock that makes a run repeatable to the byte.
package mock

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/card"
	"github.com/hc1-toolkit/hc1/internal/silicon"
)

// Clock is what drives the card.
type Clock int

const (
	Realtime Clock = iota // a token takes its nominal time
	Fast                  // a token takes what it takes
	Virtual               // time is counted, not measured
)

func (c Clock) String() string {
	if c < Realtime || c > Virtual {
		return fmt.Sprintf("Clock(%d)", int(c))
	}
	return [...]string{"realtime", "fast", "virtual"}[c]
}

// ParseClock is the inverse of String.
func ParseClock(s string) (Clock, error) {
	for c := Realtime; c <= Virtual; c++ {
		if c.String() == s {
			return c, nil
		}
	}
	return 0, fmt.Errorf("mock: clock %q: want realtime, fast or virtual", s)
}

// Options describe a card.
type Options struct {
	Engine silicon.Engine
	Clock  Clock
	Seed   uint64
	Serial uint64
	Faults *card.Plan
	Trace  card.Tracer
	// World is the time that several virtual cards share; nil makes one.
	World *World
	// Card overrides the rest of the card's configuration: context, budget,
	// sessions, token time, minor version. Zero fields keep their defaults.
	Card card.Config
}

// Mock is a card in this process.
type Mock struct {
	clock Clock
	world *World // virtual only
	base  time.Time

	mu      sync.Mutex // the card's lock, which also guards what follows
	card    *card.Card
	mmu     card.IOMMU
	bumpTo  uint64 // next IOVA
	buffers map[uint64]*hal.DMA
	vectors []*vector
	closed  bool
	lost    bool // reported
	aer     uint64
	events  []hal.Event
	due     int64 // when the card wants to be stepped (virtual)

	hosts atomic.Int32 // host goroutines that want the lock
	run   runner
}

// acquire takes the lock for the host. The card's goroutine, which would
// take it again at once, makes way.
func (m *Mock) acquire() {
	m.hosts.Add(1)
	m.mu.Lock()
	m.hosts.Add(-1)
}

var _ hal.Function = (*Mock)(nil)

// New powers a card on.
func New(o Options) (*Mock, error) {
	m := &Mock{clock: o.Clock, base: time.Now(), bumpTo: iovaBase, buffers: map[uint64]*hal.DMA{}}
	cfg := o.Card
	cfg.Engine, cfg.Seed, cfg.Serial, cfg.Faults, cfg.Trace = o.Engine, o.Seed, o.Serial, o.Faults, o.Trace
	switch o.Clock {
	case Realtime:
		cfg.Paced, cfg.Clock = true, m.elapsed
	case Fast:
		cfg.Clock = m.elapsed
	case Virtual:
		cfg.Paced = true
		if m.world = o.World; m.world == nil {
			m.world = NewWorld()
		}
	default:
		return nil, fmt.Errorf("mock: %v: no such clock", o.Clock)
	}
	if o.World != nil && o.Clock != Virtual {
		return nil, errors.New("mock: a world is for virtual cards")
	}
	c, err := card.New(cfg, (*bus)(m), &m.mu)
	if err != nil {
		return nil, fmt.Errorf("mock: %w", err)
	}
	m.card = c
	// As the kernel hands a function over: memory space on, bus mastering off.
	c.WriteConfig(0x04, 2, 1<<1)
	if m.world != nil {
		m.world.add(m)
	} else {
		m.run.start(m)
	}
	return m, nil
}

func (m *Mock) elapsed() int64 { return int64(time.Since(m.base)) }

// now is the card's time.
func (m *Mock) now() int64 {
	if m.world != nil {
		return m.world.Now()
	}
	return m.elapsed()
}

// Clock returns a clock for the driver: its time is the card's.
func (m *Mock) Clock() *Time { return &Time{m} }

// Violations returns what the host did wrong so far.
func (m *Mock) Violations() []card.Violation {
	m.acquire()
	defer m.mu.Unlock()
	v, _ := m.card.Violations()
	return v
}

// Counters returns the card's counters.
func (m *Mock) Counters() card.Counters {
	m.acquire()
	defer m.mu.Unlock()
	return m.card.Counters()
}

// ReadConfig implements hal.Function.
func (m *Mock) ReadConfig(off, width int) (uint32, error) {
	if err := configRange(off, width); err != nil {
		return 0, err
	}
	m.acquire()
	defer m.mu.Unlock()
	if m.closed {
		return 0, hal.ErrClosed
	}
	return m.card.ReadConfig(off, width), nil
}

// WriteConfig implements hal.Function.
func (m *Mock) WriteConfig(off, width int, v uint32) error {
	if err := configRange(off, width); err != nil {
		return err
	}
	m.acquire()
	if m.closed {
		m.mu.Unlock()
		return hal.ErrClosed
	}
	m.card.WriteConfig(off, width, v)
	m.wake()
	m.mu.Unlock()
	return nil
}

func configRange(off, width int) error {
	if width != 1 && width != 2 && width != 4 || off < 0 || off%width != 0 || off > 4096-width {
		return fmt.Errorf("mock: config access of %d bytes at %#x: %w", width, off, hal.ErrOutOfRange)
	}
	return nil
}

// Events implements hal.Function.
func (m *Mock) Events() []hal.Event {
	m.acquire()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	if n := m.card.Signalled(); n != m.aer {
		m.aer = n
		m.events = append(m.events, hal.Event{Kind: hal.EventError, Detail: "uncorrectable PCI Express error signalled by the card"})
	}
	if m.card.Lost() && !m.lost {
		m.lost = true
		m.events = append(m.events, hal.Event{Kind: hal.EventLost, Detail: "the card left the bus"})
	}
	e := m.events
	m.events = nil
	return e
}

// RequestRemoval makes the event of a kernel that asks for the function back.
func (m *Mock) RequestRemoval() {
	m.acquire()
	defer m.mu.Unlock()
	m.events = append(m.events, hal.Event{Kind: hal.EventRemoval, Detail: "removal requested"})
}

// resetBound is how long a reset may take before it counts as failed. It is
// more than the 100 ms of section 23: silicon in software may be in the
// middle of a long step.
const resetBound = 2 * time.Second

// Reset implements hal.Function. Like the kernel's, it brings the command
// register and BARs back; vectors have to be turned on again.
func (m *Mock) Reset(level hal.Level) error {
	kind := card.FLR
	switch level {
	case hal.ResetFLR:
	case hal.ResetHot:
		kind = card.HotReset
	default:
		return fmt.Errorf("mock: reset level %d: %w", level, hal.ErrUnsupported)
	}
	m.acquire()
	if m.closed {
		m.mu.Unlock()
		return hal.ErrClosed
	}
	if m.card.Lost() {
		m.mu.Unlock()
		return fmt.Errorf("mock: reset: %w", hal.ErrCardLost)
	}
	var saved [7]uint32
	saved[0] = m.card.ReadConfig(0x04, 2)
	for i := range 6 {
		saved[1+i] = m.card.ReadConfig(0x10+4*i, 4)
	}
	m.card.Reset(kind)
	m.wake()
	m.mu.Unlock()

	if err := m.settle(); err != nil {
		return fmt.Errorf("mock: reset: %w", err)
	}
	m.acquire()
	defer m.mu.Unlock()
	for i := range 6 {
		m.card.WriteConfig(0x10+4*i, 4, saved[1+i])
	}
	m.card.WriteConfig(0x04, 2, saved[0])
	for _, v := range m.vectors {
		v.drain()
	}
	const deviceStatus, pending = 0x6A, 1 << 5
	if id := m.card.ReadConfig(0, 4); id != hci.PCIDevice<<16|hci.PCIVendor {
		return fmt.Errorf("mock: reset: function does not answer: id %#x", id)
	}
	if m.card.ReadConfig(deviceStatus, 2)&pending != 0 {
		return errors.New("mock: reset: transactions pending")
	}
	return nil
}

// settle waits until no reset is under way.
func (m *Mock) settle() error {
	for end := m.now() + int64(resetBound); ; m.relax() {
		m.acquire()
		resetting := m.card.Resetting()
		m.mu.Unlock()
		if !resetting {
			return nil
		}
		if m.now() > end {
			return fmt.Errorf("not over after %v", resetBound)
		}
	}
}

// Close implements hal.Function: the card is reset as when the last file
// through which it was held is closed, and all its mappings go.
func (m *Mock) Close() error {
	m.acquire()
	if m.closed {
		m.mu.Unlock()
		return nil
	}
	m.closed = true
	lost := m.card.Lost()
	m.card.Reset(card.LastFD)
	m.wake()
	m.mu.Unlock()
	var err error
	if !lost {
		err = m.settle()
	}
	m.run.stop()
	if m.world != nil {
		m.world.remove(m)
	}
	m.acquire()
	defer m.mu.Unlock()
	for iova, d := range m.buffers {
		m.mmu.Unmap(iova, uint64(len(d.Bytes)))
	}
	m.buffers = nil
	for _, v := range m.vectors {
		v.close()
	}
	if err != nil {
		return fmt.Errorf("mock: close: %w", err)
	}
	return nil
}
