package user

import (
	"fmt"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/internal/irq"
)

// learnIRQs asks how many interrupts there are, and listens to errors and to
// the wish to have the device back.
func (f *Client) learnIRQs() error {
	for i := range min(int(f.info.IRQs), NumIRQs) {
		reply := make([]byte, irqInfoSize)
		n, err := f.ask(CmdGetIRQInfo, reply, nil, put32(irqInfoSize, 0, uint32(i), 0))
		if err != nil {
			return err
		}
		count := uint32(0)
		if n == irqInfoSize {
			count = le.Uint32(reply[12:])
		}
		if n != irqInfoSize || count > 2048 {
			return fmt.Errorf("%w: interrupt index %d: %d interrupts in %d bytes", ErrProtocol, i, count, n)
		}
		f.irqs[i] = int(count)
	}
	for _, x := range []struct {
		index int
		to    *irq.FD
	}{{IRQErr, &f.err}, {IRQReq, &f.req}} {
		if f.irqs[x.index] == 0 {
			continue
		}
		e, err := irq.New()
		if err != nil {
			return err
		}
		*x.to = e
		if err := f.setIRQs(x.index, 0, []int{int(e)}); err != nil {
			return err
		}
	}
	return nil
}

// setIRQs arms interrupts, as many a message as it may have descriptors.
func (f *Client) setIRQs(index, first int, fds []int) error {
	for len(fds) > 0 {
		n := min(len(fds), max(f.caps.MaxFDs, 1))
		q := irqSet{irqSetSize, irqDataEventFD | irqTrigger, uint32(index), uint32(first), uint32(n)}
		if _, err := f.ask(CmdSetIRQs, nil, fds[:n], q.encode()); err != nil {
			return err
		}
		first, fds = first+n, fds[n:]
	}
	return nil
}

// Vectors implements hal.Function.
func (f *Client) Vectors(n int) ([]hal.Vector, error) {
	if err := f.shut(); err != nil {
		return nil, err
	}
	if n < 0 || n > f.irqs[IRQMSIX] {
		return nil, fmt.Errorf("vfio-user: %d vectors, the card has %d: %w", n, f.irqs[IRQMSIX], hal.ErrUnsupported)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed.Load() {
		return nil, hal.ErrClosed
	}
	f.set.Close()
	f.set = nil
	off := irqSet{irqSetSize, irqDataNone | irqTrigger, IRQMSIX, 0, 0}
	if _, err := f.ask(CmdSetIRQs, nil, nil, off.encode()); err != nil || n == 0 {
		return nil, f.lossOf(err)
	}
	set, err := irq.NewSet(n, func() error {
		if f.closed.Load() {
			return nil
		}
		return f.lossOf(f.c.reason())
	})
	if err != nil {
		return nil, err
	}
	if err := f.setIRQs(IRQMSIX, 0, set.FDs()); err != nil {
		set.Close()
		return nil, f.lossOf(err)
	}
	f.set = set
	if f.c.reason() != nil {
		set.End() // it ended before there was something to end
	}
	return set.Vectors(), nil
}

func (f *Client) closeEvents() {
	for _, e := range []*irq.FD{&f.err, &f.req} {
		e.Close()
		*e = irq.None
	}
}
