package vfio

import (
	"errors"
	"fmt"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/internal/pci"
)

// resetBound is how long a function may take to answer after a reset: PCI
// Express gives it 1 s after 100 ms (Base 5.0, 6.6.1), and the kernel has
// waited for that already.
const resetBound = 2 * time.Second

// kernelReset bounds the reset call itself. The kernel polls a function that
// does not answer for a minute.
const kernelReset = 20 * time.Second

// Reset implements hal.Function. It succeeds only when the function answers
// and has no transactions pending.
func (d *Device) Reset(level hal.Level) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed.Load() {
		return hal.ErrClosed
	}
	var err error
	switch level {
	case hal.ResetFLR:
		if d.info.flags&deviceFlagsReset == 0 {
			return fmt.Errorf("vfio: the function has no reset: %w", hal.ErrUnsupported)
		}
		err = abandonable("reset "+d.name, kernelReset, func() error { _, err := d.mmu.device().ioctlInt(vfioDeviceReset, 0); return err })
	case hal.ResetHot:
		err = d.resetHot()
	default:
		return fmt.Errorf("vfio: reset level %d: %w", level, hal.ErrUnsupported)
	}
	if err != nil {
		return d.fail(fmt.Errorf("reset: %w", err))
	}
	d.set.Drain()
	return d.verify()
}

// resetHot resets the slot, if every function that goes with it is ours.
func (d *Device) resetHot() error {
	deps, err := d.Dependents()
	if err != nil {
		return err
	}
	list := make([]dependent, len(deps))
	for i, x := range deps {
		list[i] = x.d
	}
	return abandonable("hot reset of "+d.name, kernelReset, func() error { return d.mmu.hotReset(list) })
}

// Dependent is a function that a hot reset takes along.
type Dependent struct {
	Name  string // BDF
	Owned bool   // by who holds this function; unknown for groups
	d     dependent
}

// Dependents lists the functions that a hot reset takes along, this one among
// them.
func (d *Device) Dependents() ([]Dependent, error) {
	b, err := d.mmu.device().answer12(vfioDeviceGetHotResetInfo)
	if errors.Is(err, eNODEV) || errors.Is(err, eNOTTY) || errors.Is(err, eINVAL) {
		return nil, fmt.Errorf("the slot cannot be reset: %w: %w", hal.ErrUnsupported, err)
	}
	if err != nil {
		return nil, fmt.Errorf("what a hot reset takes along: %w", err)
	}
	flags, n := le.Uint32(b[4:]), int(le.Uint32(b[8:]))
	if n < 1 || n > (len(b)-12)/8 {
		return nil, fmt.Errorf("%d dependents in %d bytes", n, len(b))
	}
	out := make([]Dependent, n)
	for i := range out {
		e := b[12+8*i:]
		x := dependent{le.Uint32(e), le.Uint16(e[4:]), e[6], e[7]}
		out[i] = Dependent{Name: x.String(), d: x, Owned: flags&hotResetDevIDs != 0 && x.id != devIDNotOwned}
	}
	return out, nil
}

// verify waits until the function answers and is quiet.
func (d *Device) verify() error {
	at, err := pci.Capability(d.ReadConfig, pci.Express)
	for end := time.Now().Add(resetBound); ; time.Sleep(time.Millisecond) {
		id, rerr := d.ReadConfig(0, 4)
		if rerr != nil {
			return rerr
		}
		if id != 0xFFFF_FFFF {
			if at == 0 || err != nil {
				if at, err = pci.Capability(d.ReadConfig, pci.Express); err != nil || at == 0 {
					return err
				}
			}
			status, serr := d.ReadConfig(at+0x0A, 2)
			if serr != nil {
				return serr
			}
			if status&(1<<5) == 0 {
				return nil
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("vfio: reset: the function does not answer, or has transactions pending, after %v", resetBound)
		}
	}
}
