package emu

import (
	"fmt"
	"time"

	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/card"
)

// What a kernel does for a function that it lends to a process: MSI-X and
// resets. A face stands for the kernel, so it is done here, alike for all.

const (
	cfgCommand     = 0x04
	cfgBAR0        = 0x10
	cfgMSIXControl = 0x52
	msixEnable     = 1 << 15
)

// DisarmVectors turns MSI-X off. The lock is held.
func (f *Function) DisarmVectors() {
	ctl := f.Card.ReadConfig(cfgMSIXControl, 2)
	f.Card.WriteConfig(cfgMSIXControl, 2, ctl&^msixEnable)
}

// ArmVectors fills and unmasks n entries of the MSI-X table from the first
// one on and turns MSI-X on. The lock is held.
func (f *Function) ArmVectors(first, n int) {
	for i := first; i < first+n; i++ {
		at := i * 16
		f.Card.WriteBAR(hci.BARMSIX, at, 4, 0xFEE0_0000)
		f.Card.WriteBAR(hci.BARMSIX, at+4, 4, 0)
		f.Card.WriteBAR(hci.BARMSIX, at+8, 4, uint64(i))
		f.Card.WriteBAR(hci.BARMSIX, at+12, 4, 0)
	}
	ctl := f.Card.ReadConfig(cfgMSIXControl, 2)
	f.Card.WriteConfig(cfgMSIXControl, 2, ctl|msixEnable)
	f.Wake()
}

// resetBound is how long a reset may take before it counts as failed. It is
// more than the 100 ms of section 23 of docs/hci.md: silicon in software may
// be in the middle of a long step. It is less than the five seconds after
// which a peer gives up.
const resetBound = 2 * time.Second

// Reset resets the function and returns when it answers again, with its
// command register and BARs as they were.
func (f *Function) Reset(kind card.ResetKind) error {
	f.Acquire()
	var saved [7]uint32
	saved[0] = f.Card.ReadConfig(cfgCommand, 2)
	for i := range 6 {
		saved[1+i] = f.Card.ReadConfig(cfgBAR0+4*i, 4)
	}
	f.Card.Reset(kind)
	f.Wake()
	f.Release()
	if err := f.Settle(); err != nil {
		return err
	}
	f.Acquire()
	defer f.Release()
	for i := range 6 {
		f.Card.WriteConfig(cfgBAR0+4*i, 4, saved[1+i])
	}
	f.Card.WriteConfig(cfgCommand, 2, saved[0])
	return nil
}

// Inherit gives a function that has just been powered on the configuration of
// the one in whose place it comes: command, BARs, power state, masks. Whoever
// programmed those does not know of the change, and remembers them.
func (f *Function) Inherit(old *Function) {
	old.Acquire()
	defer old.Release()
	f.Acquire()
	defer f.Release()
	for off := 0; off < 0x150; off += 4 {
		f.Card.WriteConfig(off, 4, old.Card.ReadConfig(off, 4))
	}
}

// LastClose resets the function as when the last file through which it was
// held is closed, and hands it over anew: memory space on, bus mastering off.
func (f *Function) LastClose() error {
	f.Acquire()
	lost := f.Card.Lost()
	f.Card.Reset(card.LastFD)
	f.Wake()
	f.Release()
	if lost {
		return nil
	}
	if err := f.Settle(); err != nil {
		return err
	}
	f.Acquire()
	defer f.Release()
	f.Card.WriteConfig(cfgCommand, 2, 1<<1)
	return nil
}

// Settle waits until no reset is under way.
func (f *Function) Settle() error {
	for end := f.Now() + int64(resetBound); ; f.relax() {
		f.Acquire()
		resetting := f.Card.Resetting()
		f.Release()
		if !resetting {
			return nil
		}
		if f.Now() > end {
			return fmt.Errorf("reset not over after %v", resetBound)
		}
	}
}
