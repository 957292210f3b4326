package user

import (
	"fmt"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
)

// vector is an interrupt of the device: an eventfd that the server signals.
type vector struct {
	f     *Client
	event eventFD
	gone  eventFD // signalled, for good, when the vector is of no more use
	users chan struct{}
	dead  bool // under users
}

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
		to    *eventFD
	}{{IRQErr, &f.err}, {IRQReq, &f.req}} {
		if f.irqs[x.index] == 0 {
			continue
		}
		e, err := newEventFD()
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
	f.closeVectors()
	off := irqSet{irqSetSize, irqDataNone | irqTrigger, IRQMSIX, 0, 0}
	if _, err := f.ask(CmdSetIRQs, nil, nil, off.encode()); err != nil || n == 0 {
		return nil, f.lossOf(err)
	}
	var err error
	if f.gone, err = newEventFD(); err != nil {
		return nil, err
	}
	if f.c.reason() != nil {
		f.gone.signal() // it ended before there was something to signal
	}
	out, fds := make([]hal.Vector, n), make([]int, n)
	for i := range n {
		e, err := newEventFD()
		if err != nil {
			f.closeVectors()
			return nil, err
		}
		v := &vector{f: f, event: e, gone: f.gone, users: make(chan struct{}, 1)}
		f.vectors = append(f.vectors, v)
		out[i], fds[i] = v, int(e)
	}
	if err := f.setIRQs(IRQMSIX, 0, fds); err != nil {
		f.closeVectors()
		return nil, f.lossOf(err)
	}
	return out, nil
}

// closeVectors lets waiters go and closes the eventfds once they have left.
// f.mu is held.
func (f *Client) closeVectors() {
	if f.gone < 0 {
		return
	}
	f.gone.signal()
	for _, v := range f.vectors {
		v.users <- struct{}{}
		v.dead = true
		v.event.close()
		<-v.users
	}
	f.gone.close()
	f.vectors, f.gone = nil, -1
}

func (f *Client) closeEvents() {
	for _, e := range []*eventFD{&f.err, &f.req} {
		if *e >= 0 {
			e.close()
			*e = -1
		}
	}
}

// Wait implements hal.Vector.
func (v *vector) Wait(d time.Duration) (bool, error) {
	v.users <- struct{}{} // one goroutine waits at a time; Close comes last
	defer func() { <-v.users }()
	if v.dead {
		return false, hal.ErrClosed
	}
	if v.event.take() {
		return true, nil
	}
	if d == 0 && v.f.c.reason() == nil {
		return false, nil
	}
	fired, gone, err := waitEither(v.event, v.gone, d)
	if err != nil {
		return false, err
	}
	if fired && v.event.take() {
		return true, nil
	}
	if !gone {
		return false, nil
	}
	// Closed, or replaced, or the connection has ended: it tells why.
	if why := v.f.c.reason(); why != nil && !v.f.closed.Load() {
		return false, v.f.lossOf(why)
	}
	return false, hal.ErrClosed
}

// capability is where in configuration space a capability is, 0 for nowhere.
// The list is the device's: it may lead anywhere, or in circles.
func (f *Client) capability(id uint32) (int, error) {
	p, err := f.ReadConfig(0x34, 1)
	for range 48 {
		if err != nil || p < 0x40 || p > 0xFC {
			return 0, err
		}
		v, err := f.ReadConfig(int(p&^3), 2)
		if err != nil {
			return 0, err
		}
		if v&0xFF == id {
			return int(p &^ 3), nil
		}
		p = v >> 8
	}
	return 0, nil
}
