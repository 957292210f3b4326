// Package driver drives one inference card through HCI 1.0 (docs/hci.md) on
// any hal.Function: bring-up, queues, sessions, token streams, telemetry and
// recovery. The core is step-driven: it owns no goroutine and reads no clock
// but the one it is given; blocking calls are loops of the core's Poll
// around that clock and the card's interrupts.
//
// A Card may be used from any goroutine. A Session and its Stream belong to
// one goroutine at a time; only Stream.Cancel is for others.
package driver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/hci"
)

// SpinPolicy says how a wait for tokens uses the processor.
type SpinPolicy int

const (
	// SpinAdaptive polls for SpinFor, then blocks on the interrupt: one core
	// while tokens come at the card's rate, none when idle.
	SpinAdaptive SpinPolicy = iota
	// SpinAlways polls until the end: lowest latency, one core per waiter.
	SpinAlways
	// SpinOff blocks at once: a wake-up (some 10-40 µs) per batch, no spinning.
	SpinOff
)

// Config is how to drive a card. The zero value is good.
type Config struct {
	Clock    Clock         // nil: RealClock()
	Log      *slog.Logger  // nil: discards
	Spin     SpinPolicy    //
	SpinFor  time.Duration // SpinAdaptive; 0: 200 µs, some three tokens
	RingLog2 uint8         // records of a token ring, log2; 0: 10
	// Slack stretches the timeouts of docs/hci.md section 23, for emulated
	// cards whose silicon computes slower than the nominal token time. 0: 1.
	Slack int
	// MaxSessions bounds the memory set aside; 0: what the card offers.
	MaxSessions int
}

// Card is one card, brought up.
type Card struct {
	fn    hal.Function
	cfg   Config
	log   *slog.Logger
	clock Clock

	busMu  sync.Mutex
	bus    []hal.Event // taken from the bus, not yet given to a caller
	wanted bool        // the kernel wants the function back

	regs, db hal.Region
	vectors  []hal.Vector
	stride   int // bytes between doorbell pages
	nqp      int
	readyTO  int64 // CAP.TO in ns

	read, write *arena
	health      buffer
	shadow      buffer
	event       buffer
	page        buffer // one page for IDENTIFY and log pages

	caps hci.Capabilities

	// gen counts resets of the card by this driver. Sessions of an older
	// generation are dead; lost is set when nothing brings the card back.
	gen  atomic.Uint32
	lost atomic.Bool

	adminMu sync.Mutex // admin queue, bring-up and recovery
	admin   *queue
	aers    []uint16
	events  []Event
	closed  bool
	stats   Stats

	ownMu sync.Mutex
	owned map[uint32]bool // SIDs of this driver's open sessions

	lanes chan *lane // idle session lanes
	all   []*lane
}

// Open brings up the card behind fn and takes fn over: Close closes it. ctx
// bounds the whole; every step has its own bound besides (section 23).
func Open(ctx context.Context, fn hal.Function, cfg Config) (*Card, error) {
	if cfg.Clock == nil {
		cfg.Clock = RealClock()
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.SpinFor == 0 {
		cfg.SpinFor = 200 * time.Microsecond
	}
	if cfg.RingLog2 == 0 {
		cfg.RingLog2 = 10
	}
	if cfg.Slack == 0 {
		cfg.Slack = 1
	}
	c := &Card{fn: fn, cfg: cfg, log: cfg.Log, clock: cfg.Clock, owned: map[uint32]bool{}}
	if err := c.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("bring-up: %w", err), fn.Close())
	}
	return c, nil
}

func (c *Card) open(ctx context.Context) error {
	c.adminMu.Lock()
	defer c.adminMu.Unlock()
	if err := c.attach(); err != nil {
		return err
	}
	if err := c.bringUp(ctx); err != nil {
		return err
	}
	return c.makeLanes()
}

// Capabilities is the card's capability page, checked.
func (c *Card) Capabilities() hci.Capabilities { return c.caps }

// Serial is the card's serial number, safe to print.
func (c *Card) Serial() string { return hci.Text(c.caps.SN[:]) }

// Close shuts the card down in order (section 6), gives its function back
// and returns the first error. Sessions still open are dead afterwards.
func (c *Card) Close(ctx context.Context) error {
	c.adminMu.Lock()
	defer c.adminMu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	c.gen.Add(1)
	var err error
	if !c.lost.Load() {
		err = c.shutdown(ctx)
	}
	if cerr := c.fn.Close(); err == nil {
		err = cerr
	}
	return err
}

// alive returns why the card cannot be used, for a user of generation gen.
func (c *Card) alive(gen uint32) error {
	if c.lost.Load() {
		return ErrCardLost
	}
	if c.gen.Load() != gen {
		return ErrReset
	}
	return nil
}

// SetSlack is Config.Slack for what only the card could tell. No command may
// be under way.
func (c *Card) SetSlack(n int) { c.cfg.Slack = max(n, 1) }

// bound stretches a bound of section 23 by the configured slack.
func (c *Card) bound(d time.Duration) int64 { return int64(d) * int64(c.cfg.Slack) }
