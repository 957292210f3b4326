// Package emu keeps an emulated card at work: the card model, its lock, its
// clock, and the goroutine that steps it. A face (hal/mock in this process,
// internal/emu/socket over vfio-user) adds how a host reaches it.
package emu

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hc1-toolkit/hc1/internal/card"
)

// Clock is what drives a card.
type Clock int

// Clocks.
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
	return 0, fmt.Errorf("clock %q: use realtime, fast or virtual", s)
}

// Stepper is a time that others count, for Virtual: it steps the card itself.
type Stepper interface {
	Now() int64
	Relax() // lets time go on a little
	Wake()  // the card has something to do; its lock is held
}

// Function is a card at work.
type Function struct {
	Mu   sync.Mutex // the card's lock
	Card *card.Card

	clock Clock
	outer Stepper // Virtual only
	base  time.Time
	hosts atomic.Int32 // goroutines of the host that want the lock
	run   runner
}

// New powers a card on. outer is for Virtual and nil otherwise. Start makes
// it go.
func New(cfg card.Config, clock Clock, bus card.Bus, outer Stepper) (*Function, error) {
	f := &Function{clock: clock, outer: outer, base: time.Now()}
	switch clock {
	case Realtime:
		cfg.Paced, cfg.Clock = true, f.Now
	case Fast:
		cfg.Paced, cfg.Clock = false, f.Now
	case Virtual:
		cfg.Paced = true
	default:
		return nil, fmt.Errorf("%v: no such clock", clock)
	}
	if (clock == Virtual) != (outer != nil) {
		return nil, errors.New("a world is for virtual cards")
	}
	c, err := card.New(cfg, bus, &f.Mu)
	if err != nil {
		return nil, err
	}
	f.Card = c
	// As the kernel hands a function over: memory space on, bus mastering off.
	c.WriteConfig(cfgCommand, 2, 1<<1)
	return f, nil
}

// Start runs the card, but for Virtual, until Stop.
func (f *Function) Start() {
	if f.outer == nil {
		f.run.start(f)
	}
}

// Stop ends the card's goroutine.
func (f *Function) Stop() { f.run.stop() }

// Now is the card's time, in nanoseconds since it was powered on.
func (f *Function) Now() int64 {
	if f.outer != nil {
		return f.outer.Now()
	}
	return int64(time.Since(f.base))
}

func (f *Function) relax() {
	if f.outer != nil {
		f.outer.Relax()
		return
	}
	runtime.Gosched()
}

// Acquire takes the lock for the host. The card's goroutine, which would
// take it again at once, makes way.
func (f *Function) Acquire() {
	f.hosts.Add(1)
	f.Mu.Lock()
	f.hosts.Add(-1)
}

// Release lets the lock go.
func (f *Function) Release() { f.Mu.Unlock() }

// Wake says that a register was written. The lock is held.
func (f *Function) Wake() {
	if f.outer != nil {
		f.outer.Wake()
		return
	}
	f.run.poke()
}

// Violations returns what the host did wrong so far.
func (f *Function) Violations() []card.Violation {
	f.Acquire()
	defer f.Release()
	v, _ := f.Card.Violations()
	return v
}

// Counters returns the card's counters.
func (f *Function) Counters() card.Counters {
	f.Acquire()
	defer f.Release()
	return f.Card.Counters()
}
