// Package mock is a card in this process: internal/card behind hal.Function,
// with a page-granular IOMMU, in real time, as fast as it goes, or on a
// virtual clock that makes a run repeatable to the byte.
package mock

import (
	"errors"
	"fmt"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/card"
	"github.com/hc1-toolkit/hc1/internal/emu"
	"github.com/hc1-toolkit/hc1/internal/iommu"
	"github.com/hc1-toolkit/hc1/internal/silicon"
)

// Clock is what drives the card.
type Clock = emu.Clock

// Clocks.
const (
	Realtime = emu.Realtime
	Fast     = emu.Fast
	Virtual  = emu.Virtual
)

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
	f     *emu.Function
	card  *card.Card
	world *World // virtual only

	// Guarded by the card's lock.
	mmu     iommu.Table
	bumpTo  uint64 // next IOVA
	buffers map[uint64]*hal.DMA
	vectors []*vector
	closed  bool
	lost    bool // reported
	aer     uint64
	events  []hal.Event
	due     int64 // when the card wants to be stepped (virtual)
}

var _ hal.Function = (*Mock)(nil)

// New powers a card on.
func New(o Options) (*Mock, error) {
	m := &Mock{bumpTo: iovaBase, buffers: map[uint64]*hal.DMA{}, world: o.World}
	cfg := o.Card
	cfg.Engine, cfg.Seed, cfg.Serial, cfg.Faults, cfg.Trace = o.Engine, o.Seed, o.Serial, o.Faults, o.Trace
	var outer emu.Stepper
	if o.Clock == Virtual && m.world == nil {
		m.world = NewWorld()
	}
	if m.world != nil {
		outer = (*stepper)(m)
	}
	var err error
	if m.f, err = emu.New(cfg, o.Clock, (*bus)(m), outer); err != nil {
		return nil, fmt.Errorf("mock: %w", err)
	}
	m.card = m.f.Card
	if m.world != nil {
		m.world.add(m)
	}
	m.f.Start()
	return m, nil
}

func (m *Mock) acquire() { m.f.Acquire() }
func (m *Mock) release() { m.f.Release() }

// Clock returns a clock for the driver: its time is the card's.
func (m *Mock) Clock() *Time { return &Time{m} }

// Violations returns what the host did wrong so far.
func (m *Mock) Violations() []card.Violation { return m.f.Violations() }

// Counters returns the card's counters.
func (m *Mock) Counters() card.Counters { return m.f.Counters() }

// ReadConfig implements hal.Function.
func (m *Mock) ReadConfig(off, width int) (uint32, error) {
	if err := configRange(off, width); err != nil {
		return 0, err
	}
	m.acquire()
	defer m.release()
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
		m.release()
		return hal.ErrClosed
	}
	m.card.WriteConfig(off, width, v)
	m.f.Wake()
	m.release()
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
	defer m.release()
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
	defer m.release()
	m.events = append(m.events, hal.Event{Kind: hal.EventRemoval, Detail: "removal requested"})
}

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
	closed, lost := m.closed, m.card.Lost()
	m.release()
	switch {
	case closed:
		return hal.ErrClosed
	case lost:
		return fmt.Errorf("mock: reset: %w", hal.ErrCardLost)
	}
	if err := m.f.Reset(kind); err != nil {
		return fmt.Errorf("mock: %w", err)
	}
	m.acquire()
	defer m.release()
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

// Close implements hal.Function: the card is reset as when the last file
// through which it was held is closed, and all its mappings go.
func (m *Mock) Close() error {
	m.acquire()
	if m.closed {
		m.release()
		return nil
	}
	m.closed = true
	m.release()
	err := m.f.LastClose()
	m.f.Stop()
	if m.world != nil {
		m.world.remove(m)
	}
	m.acquire()
	defer m.release()
	for iova, d := range m.buffers {
		m.mmu.Unmap(iova, uint64(len(d.Bytes)), nil)
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
