package driver

import (
	"runtime"
	"time"
)

// Clock is the driver's sense of time, and what it does while it spins. The
// driver reads no other clock and sleeps nowhere, so a simulation that
// implements Clock replays a whole world on one goroutine.
type Clock interface {
	// Now is monotonic time in nanoseconds.
	Now() int64
	// Relax is called once per idle turn of a spinning wait. A real clock
	// gives the processor a rest; a virtual one lets the card do its next
	// piece of work and moves time on.
	Relax()
}

// RealClock returns the machine's monotonic clock.
func RealClock() Clock { return &realClock{base: time.Now()} }

type realClock struct{ base time.Time }

func (c *realClock) Now() int64 { return int64(time.Since(c.base)) }

// Relax yields the processor to another goroutine now and then: with fewer
// cores than spinners the card model, or a neighbour, would starve. A yield
// costs some 100 ns when nobody waits.
func (c *realClock) Relax() { runtime.Gosched() }
