package user

import (
	"fmt"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/internal/iommu"
)

// The device's address space: from iovaBase, with an unmapped page after each
// buffer, never used twice, so that every stray access faults.
const (
	iovaBase  = 0x1_0000_0000
	iovaLimit = 1 << 48
	maxBuffer = 1 << 32
)

// buffer is DMA memory of this client.
type buffer struct {
	mem  *Memory
	iova uint64
}

// AllocDMA implements hal.Function.
func (f *Client) AllocDMA(size int, dir hal.Direction) (*hal.DMA, error) {
	if size <= 0 || dir != hal.CardReads && dir != hal.CardWrites {
		return nil, fmt.Errorf("vfio-user: dma buffer of %d bytes, direction %d: %w", size, dir, hal.ErrOutOfRange)
	}
	if size > maxBuffer {
		return nil, fmt.Errorf("vfio-user: dma buffer of %d bytes: %w", size, hal.ErrNoMemory)
	}
	if err := f.shut(); err != nil {
		return nil, err
	}
	n := (size + pageSize - 1) &^ (pageSize - 1)
	newMem := newReadable // the server has no need to write what its card reads
	if dir == hal.CardWrites {
		newMem = NewMemory
	}
	mem, err := newMem(n)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", hal.ErrNoMemory, err)
	}
	f.mu.Lock()
	if f.closed.Load() || f.bumpTo+uint64(n) > iovaLimit || len(f.buffers) >= f.caps.MaxMaps {
		closed, have := f.closed.Load(), len(f.buffers)
		f.mu.Unlock()
		mem.Close()
		if closed {
			return nil, hal.ErrClosed
		}
		return nil, fmt.Errorf("vfio-user: dma buffer of %d bytes beside %d others: %w", size, have, hal.ErrNoMemory)
	}
	b := &buffer{mem, f.bumpTo}
	f.bumpTo += uint64(n) + pageSize
	f.mu.Unlock()
	err = f.share(b, dir)
	f.mu.Lock()
	defer f.mu.Unlock()
	switch { // until now the memory is nobody else's: a Close meanwhile has not seen it
	case err != nil:
		err = fmt.Errorf("vfio-user: dma buffer of %d bytes: %w", size, f.lossOf(err))
	case f.closed.Load():
		f.forget(b)
		err = hal.ErrClosed
	default:
		f.buffers[b.iova] = b
		return &hal.DMA{Bytes: mem.Bytes, IOVA: b.iova, Dir: dir, Free: func() error { return f.free(b) }}, nil
	}
	mem.Close()
	return nil, err
}

// share maps a buffer for the device.
func (f *Client) share(b *buffer, dir hal.Direction) error {
	m := dmaMap{Argsz: dmaMapSize, Flags: dmaRead, Addr: b.iova, Size: uint64(len(b.mem.Bytes))}
	if dir == hal.CardWrites {
		m.Flags = dmaWrite
	}
	f.dma.Lock() // first: the device may use it before we have the answer
	err := f.table.Map(iommu.Mapping{IOVA: b.iova, Bytes: b.mem.Bytes, Read: dir == hal.CardReads, Write: dir == hal.CardWrites})
	f.dma.Unlock()
	if err != nil {
		return err
	}
	var fds []int
	if !f.o.NoFiles && f.caps.MaxFDs > 0 {
		fds = []int{b.mem.fd}
	}
	if _, err = f.ask(CmdDMAMap, make([]byte, dmaMapSize), fds, m.encode()); err != nil {
		f.forget(b)
		return err
	}
	b.mem.closeFD()
	return nil
}

// forget takes a buffer out of what DMA messages may reach.
func (f *Client) forget(b *buffer) {
	f.dma.Lock()
	f.table.Unmap(b.iova, uint64(len(b.mem.Bytes)), nil)
	f.dma.Unlock()
}

func (f *Client) free(b *buffer) error {
	f.mu.Lock()
	if f.closed.Load() {
		f.mu.Unlock()
		return nil // Close has unmapped it
	}
	if f.buffers[b.iova] != b {
		f.mu.Unlock()
		return fmt.Errorf("vfio-user: dma buffer at %#x freed twice: %w", b.iova, hal.ErrOutOfRange)
	}
	delete(f.buffers, b.iova)
	f.mu.Unlock()
	m := dmaUnmap{Argsz: dmaUnmapSize, Addr: b.iova, Size: uint64(len(b.mem.Bytes))}
	_, err := f.ask(CmdDMAUnmap, make([]byte, dmaUnmapSize), nil, m.encode())
	f.forget(b)
	b.mem.Close() // a device that keeps its mapping keeps the file's pages, but nothing of this process
	if err == nil || f.c.reason() != nil {
		return nil // a lost card reaches nothing
	}
	return fmt.Errorf("vfio-user: unmap %#x: %w", b.iova, err)
}

// serve answers a command of the server: the device's DMA by message.
func (f *Client) serve(m *message) error {
	if m.Cmd != CmdDMARead && m.Cmd != CmdDMAWrite || len(m.fds) > 0 {
		f.c.answer(m.header, eINVAL, nil)
		return fmt.Errorf("%w: %s from a server, with %d file descriptors", ErrProtocol, m.Cmd, len(m.fds))
	}
	if len(m.body) < accessSize {
		return f.c.answer(m.header, eINVAL, nil)
	}
	addr, count, data := le.Uint64(m.body), le.Uint64(m.body[8:]), m.body[accessSize:]
	write := m.Cmd == CmdDMAWrite
	f.dma.RLock()
	most := f.caps.MaxTransfer // 0 until it is agreed on
	f.dma.RUnlock()
	if count == 0 || count > uint64(most) || write && uint64(len(data)) != count || !write && len(data) != 0 {
		return f.c.answer(m.header, eINVAL, nil)
	}
	f.dma.RLock()
	if write {
		err := f.write(addr, data)
		f.dma.RUnlock()
		if err != nil {
			return f.c.answer(m.header, eFAULT, nil)
		}
		return f.c.answer(m.header, 0, nil, m.body[:accessSize])
	}
	p := make([]byte, count)
	err := f.fetch(addr, p)
	f.dma.RUnlock()
	if err != nil {
		return f.c.answer(m.header, eFAULT, nil)
	}
	return f.c.answer(m.header, 0, nil, m.body[:accessSize], p)
}

// write does a device's write. An aligned word is one access: it may be what
// a host polls.
func (f *Client) write(addr uint64, p []byte) error {
	switch {
	case len(p) == 4 && addr%4 == 0:
		return f.table.Store32(addr, le.Uint32(p))
	case len(p) == 8 && addr%8 == 0:
		return f.table.Store64(addr, le.Uint64(p))
	}
	return f.table.Write(addr, p)
}

func (f *Client) fetch(addr uint64, p []byte) error {
	switch {
	case len(p) == 4 && addr%4 == 0:
		v, err := f.table.Load32(addr)
		le.PutUint32(p, v)
		return err
	case len(p) == 8 && addr%8 == 0:
		v, err := f.table.Load64(addr)
		le.PutUint64(p, v)
		return err
	}
	return f.table.Read(addr, p)
}
