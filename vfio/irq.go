package vfio

import (
	"fmt"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/internal/irq"
)

// openIRQs asks what interrupts there are, and listens to errors and to the
// kernel's wish to have the function back: without that, unbinding waits for
// us without a word.
func (d *Device) openIRQs() error {
	for i := range min(int(d.info.irqs), numIRQs) {
		q := &d.irqs[i]
		q.argsz, q.index = sizeOf(q), uint32(i)
		if err := call(d.mmu.device(), vfioDeviceGetIRQInfo, q); err != nil {
			*q = irqInfo{} // this function has none
		}
		if q.flags&irqInfoEventFD == 0 {
			q.count = 0
		}
	}
	for _, x := range []struct {
		index int
		to    *irq.FD
	}{{irqErr, &d.erring}, {irqReq, &d.wanted}} {
		if d.irqs[x.index].count == 0 {
			continue
		}
		e, err := irq.New()
		if err != nil {
			return err
		}
		*x.to = e
		if err := d.setIRQs(x.index, 0, []int{int(e)}); err != nil {
			return fmt.Errorf("interrupt index %d: %w", x.index, err)
		}
	}
	return nil
}

// setIRQs gives interrupts first and on of an index to eventfds; none turns
// the index off.
func (d *Device) setIRQs(index, first int, fds []int) error {
	if len(fds) == 0 {
		b := irqRequest(irqDataNone|irqTrigger, index, 0, 0, nil)
		return d.mmu.device().send(vfioDeviceSetIRQs, b)
	}
	for len(fds) > 0 {
		n := min(len(fds), maxVectorsPerSet)
		if err := d.mmu.device().send(vfioDeviceSetIRQs, irqRequest(irqDataEventFD|irqTrigger, index, first, n, fds[:n])); err != nil {
			return err
		}
		first, fds = first+n, fds[n:]
	}
	return nil
}

func irqRequest(flags uint32, index, start, count int, fds []int) []byte {
	b := make([]byte, 20+4*len(fds))
	for i, v := range []uint32{uint32(len(b)), flags, uint32(index), uint32(start), uint32(count)} {
		le.PutUint32(b[4*i:], v)
	}
	for i, fd := range fds {
		le.PutUint32(b[20+4*i:], uint32(int32(fd)))
	}
	return b
}

// Vectors implements hal.Function. MSI-X where the function has it, else MSI,
// else the one line of INTx, or the kind that Options.Interrupts wants.
func (d *Device) Vectors(n int) ([]hal.Vector, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed.Load() {
		return nil, hal.ErrClosed
	}
	index := irqMSIX
	for _, k := range []struct {
		index int
		name  string
	}{{irqINTx, "intx"}, {irqMSI, "msi"}, {irqMSIX, "msix"}} { // the last that is there
		if d.irqs[k.index].count > 0 && (d.wants == "" || d.wants == k.name) {
			index = k.index
		}
	}
	if n < 0 || n > int(d.irqs[index].count) {
		return nil, fmt.Errorf("vfio: %d vectors, the card has %d: %w", n, d.irqs[index].count, hal.ErrUnsupported)
	}
	if d.set != nil {
		d.set.End()
		err := d.setIRQs(index, 0, nil)
		d.set.Close()
		d.set = nil
		if err != nil {
			return nil, d.fail(fmt.Errorf("turn vectors off: %w", err))
		}
	}
	if n == 0 {
		return nil, nil
	}
	set, err := irq.NewSet(n, d.gone)
	if err != nil {
		return nil, err
	}
	if index == irqINTx { // the kernel masks the line each time, since it stays up until the function is served
		set.Rearm = func(i int) {
			d.mmu.device().send(vfioDeviceSetIRQs, irqRequest(irqDataNone|irqUnmask, irqINTx, i, 1, nil))
		}
	}
	if err := d.setIRQs(index, 0, set.FDs()); err != nil {
		set.Close()
		return nil, d.fail(fmt.Errorf("turn %d vectors on: %w", n, err))
	}
	d.set = set
	return set.Vectors(), nil
}

// gone is why a wait was let go.
func (d *Device) gone() error {
	if d.lost.Load() && !d.closed.Load() {
		return fmt.Errorf("%w: %s", hal.ErrCardLost, d.name)
	}
	return nil
}
