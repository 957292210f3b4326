package user

import "github.com/hc1-toolkit/hc1/internal/irq"

func (x *session) irqInfo(m *message) ([]byte, []int, error) {
	argsz, index := le.Uint32(m.body), le.Uint32(m.body[8:])
	if argsz < irqInfoSize || index >= NumIRQs {
		return nil, nil, refuse(eINVAL, "interrupt index %d, argsz %d", index, argsz)
	}
	flags := uint32(0)
	if x.layout.IRQs[index] > 0 {
		flags = irqInfoEventFD
	}
	return put32(irqInfoSize, flags, index, uint32(x.layout.IRQs[index])), nil, nil
}

// setIRQs is VFIO_DEVICE_SET_IRQS, but that the eventfds ride along instead
// of being in the data.
func (x *session) setIRQs(m *message) ([]byte, []int, error) {
	q, data, _ := decodeIRQSet(m.body)
	if int64(q.Argsz) < int64(len(m.body)) {
		return nil, nil, refuse(eINVAL, "argsz %d of %d bytes", q.Argsz, len(m.body))
	}
	if q.Index >= NumIRQs || q.Flags&^(irqDataMask|irqActionMask) != 0 {
		return nil, nil, refuse(eINVAL, "interrupt index %d, flags %#x", q.Index, q.Flags)
	}
	have := uint64(x.layout.IRQs[q.Index])
	if uint64(q.Start)+uint64(q.Count) > have {
		return nil, nil, refuse(eINVAL, "interrupts %d to %d of %d", q.Start, uint64(q.Start)+uint64(q.Count), have)
	}
	index, start, n := int(q.Index), int(q.Start), int(q.Count)
	kind, action := q.Flags&irqDataMask, q.Flags&irqActionMask
	if len(m.fds) > 0 && kind != irqDataEventFD {
		return nil, nil, refuse(eINVAL, "%d file descriptors without DATA_EVENTFD", len(m.fds))
	}
	want := 0
	switch kind {
	case irqDataNone, irqDataEventFD:
	case irqDataBool:
		want = n
	default:
		return nil, nil, refuse(eINVAL, "data flags %#x", kind)
	}
	if len(data) != want {
		return nil, nil, refuse(eINVAL, "%d bytes of data, not %d", len(data), want)
	}
	if n == 0 { // only one thing may have no count: the index is turned off
		if kind != irqDataNone || action != irqTrigger || q.Start != 0 {
			return nil, nil, refuse(eINVAL, "no interrupts, flags %#x", q.Flags)
		}
		x.bus.disarm(index, 0, int(have))
		x.dev.Interrupts(index, 0, int(have), false)
		return nil, nil, nil
	}
	switch action {
	case irqTrigger:
		return nil, nil, x.trigger(m, kind, index, start, n, data)
	case irqMask, irqUnmask:
		if kind == irqDataEventFD {
			return nil, nil, refuse(eNOTTY, "masking by eventfd")
		}
		return nil, nil, x.each(kind, start, n, data, func(i int) error { return x.dev.Mask(index, i, 1, action == irqMask) })
	}
	return nil, nil, refuse(eINVAL, "action flags %#x", action)
}

// trigger gives interrupts their eventfds, takes them away, or fires them.
func (x *session) trigger(m *message, kind uint32, index, start, n int, data []byte) error {
	if kind != irqDataEventFD {
		return x.each(kind, start, n, data, func(i int) error {
			x.bus.Interrupt(index, i)
			return nil
		})
	}
	switch len(m.fds) {
	case 0:
		x.bus.disarm(index, start, n)
		x.dev.Interrupts(index, start, n, false)
		return nil
	case n:
	default:
		return refuse(eINVAL, "%d eventfds for %d interrupts", len(m.fds), n)
	}
	for _, fd := range m.fds {
		if _, err := irq.Adopt(fd); err != nil {
			return refuse(eINVAL, "%v", err)
		}
	}
	x.bus.arm(index, start, m.takeFDs())
	x.dev.Interrupts(index, start, n, true)
	return nil
}

// each calls f for every interrupt that the data names: all, or those whose
// byte is not 0.
func (x *session) each(kind uint32, start, n int, data []byte, f func(i int) error) error {
	for i := range n {
		if kind == irqDataBool && data[i] == 0 {
			continue
		}
		if err := f(start + i); err != nil {
			return err
		}
	}
	return nil
}
