package driver

import "sync/atomic"

// Stats counts what the driver did to keep a card going. All are totals
// since Open.
type Stats struct {
	Blocks         atomic.Uint64 // waits that gave the processor up
	LostInterrupts atomic.Uint64 // completions found in memory without one
	Kicks          atomic.Uint64 // MMIO writes to wake a sleeping session
	Arms           atomic.Uint64 // interrupts asked for
	BadRecords     atomic.Uint64 // token records that broke the interface
	Aborts         atomic.Uint64 // rung 2 of the ladder
	Rebuilds       atomic.Uint64 // rung 3
	Resets         atomic.Uint64 // rung 4 and up, that worked
}

// Stats returns the card's counters; read them with Load.
func (c *Card) Stats() *Stats { return &c.stats }
