package user_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/vfio/user"
)

// Registers of the copier in BAR 0, and its interrupts. A store to the
// doorbell begins a copy.
const (
	regSrc, regDst, regLen, regDoorbell, regStatus, regEnd = 0x00, 0x08, 0x10, 0x14, 0x18, 0x1C
	idle, busy, done, failed                               = 0, 1, 2, 3 // of the status register
	vectorDone, vectorFailed, vectors                      = 0, 1, 2
)

// BAR 2 is a pad that clients map, but for the last page, which is a register:
// a store there fills the pad, a load counts its calls.
const padSize, padMapped = 64 << 10, 60 << 10

// copier is a PCI function that copies memory of its host's.
type copier struct {
	mu     sync.Mutex
	bus    *user.Bus
	config [4096]byte
	mask   [4096]byte // bits of config that a host may write
	regs   [regEnd]byte
	pad    *user.Memory
	calls  byte  // of the pad's register
	run    int   // counts resets: a copy that began before one is off
	fault  error // why the last copy failed
	work   sync.WaitGroup
}

func newCopier() (*copier, error) {
	pad, err := user.NewMemory(padSize)
	c := &copier{pad: pad}
	set := func(off int, value, mask uint32) {
		binary.LittleEndian.PutUint32(c.config[off:], value)
		binary.LittleEndian.PutUint32(c.mask[off:], mask)
	}
	set(0x00, 0xC0B1_1AF4, 0)                    // device, vendor
	set(0x04, 0x0010_0000, 0x0000_0406)          // status: capabilities; command: memory, master, no INTx
	set(0x08, 0x0801_0001, 0)                    // class: DMA controller
	set(0x10, 0, 0xFFFF_F000)                    // BAR 0: 4 KiB
	set(0x18, 0, 0xFFFF_0000)                    // BAR 2: 64 KiB
	set(0x34, 0x40, 0)                           // first capability
	set(0x40, 0x11|(vectors-1)<<16, 0xC000_0000) // MSI-X
	set(0x44, 0x800, 0)                          // its table, in BAR 0
	set(0x48, 0xC00, 0)                          // its pending bits
	return c, err
}

func (c *copier) Layout() (l user.Layout) {
	l.Regions[0] = user.Region{Size: 4096, Read: true, Write: true}
	l.Regions[2] = user.Region{Size: padSize, Read: true, Write: true, Memory: c.pad, Areas: []user.Area{{Size: padMapped}}}
	l.Regions[user.RegionConfig] = user.Region{Size: 4096, Read: true, Write: true}
	l.IRQs[user.IRQMSIX] = vectors
	return l
}

// Attach lets the lock go while the client is waited for: Access needs it.
func (c *copier) Attach(b *user.Bus) {
	b.Yield = func(wait func()) { c.mu.Unlock(); wait(); c.mu.Lock() }
	c.bus = b
}

func (c *copier) Detach() {
	c.Reset()
	c.work.Wait()
}

func (c *copier) Reset() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.run++
	clear(c.regs[:])
	for i, m := range c.mask {
		c.config[i] &^= m
	}
	return nil
}

func (c *copier) Access(region int, off uint64, b []byte, write bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, end := int(off), int(off)+len(b)
	switch {
	case region == user.RegionConfig && write:
		for i, v := range b {
			c.config[at+i] = c.config[at+i]&^c.mask[at+i] | v&c.mask[at+i]
		}
	case region == user.RegionConfig:
		copy(b, c.config[at:])
	case region == 0 && write && end <= regStatus:
		copy(c.regs[at:], b)
		if at <= regDoorbell && end > regDoorbell && c.regs[regStatus] != busy {
			c.regs[regStatus] = busy
			c.work.Add(1)
			go c.copy(c.run)
		}
	case region == 0 && !write && at < regEnd:
		copy(b, c.regs[at:])
	case region == 2 && end > padMapped:
		c.calls++
		if !write {
			b[0] = c.calls
			break
		}
		copy(c.pad.Bytes, bytes.Repeat(b[:1], padMapped))
	case region == 2 && write: // a client that maps nothing
		copy(c.pad.Bytes[at:], b)
	case region == 2:
		copy(b, c.pad.Bytes[at:])
	}
	return nil
}

// copy is what a doorbell asks for. It runs behind the doorbell's reply,
// since it may have to ask the client for its memory.
func (c *copier) copy(run int) {
	defer c.work.Done()
	c.mu.Lock()
	defer c.mu.Unlock()
	word := func(reg int) uint64 { return binary.LittleEndian.Uint64(c.regs[reg:]) }
	src, dst, n, b := word(regSrc), word(regDst), word(regLen)&0xFFFF_FFFF, make([]byte, 4096)
	var err error
	for n > 0 && err == nil && c.run == run {
		p := b[:min(n, 4096)]
		if err = c.bus.Read(src, p); err == nil && c.run == run {
			err = c.bus.Write(dst, p)
		}
		src, dst, n = src+uint64(len(p)), dst+uint64(len(p)), n-uint64(len(p))
	}
	if c.run != run {
		return
	}
	status, vector := byte(done), vectorDone
	if err != nil {
		status, vector, c.fault = failed, vectorFailed, err
	}
	c.regs[regStatus] = status
	c.bus.Interrupt(user.IRQMSIX, vector)
}

func (c *copier) Interrupts(index, first, n int, armed bool)  {}
func (c *copier) Mask(index, first, n int, masked bool) error { return user.ErrCannotMask }

// A device, the copier, and a driver that has it copy a greeting.
func Example() {
	dev, err := newCopier()
	check(err)
	dir, err := os.MkdirTemp("", "copier")
	check(err)
	defer os.RemoveAll(dir)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "pci"), Net: "unix"})
	check(err)
	s := user.NewServer(dev, user.ServerOptions{})
	go s.Serve(l)
	defer s.Close(0)

	f, err := user.Dial(context.Background(), l.Addr().String(), user.ClientOptions{})
	check(err)
	defer f.Close()
	src, err := f.AllocDMA(4096, hal.CardReads)
	check(err)
	dst, err := f.AllocDMA(4096, hal.CardWrites)
	check(err)
	irqs, err := f.Vectors(vectors)
	check(err)
	bar, err := f.Region(0)
	check(err)

	n := copy(src.Bytes, "hello, device")
	bar.Store64(regSrc, src.IOVA)
	bar.Store64(regDst, dst.IOVA)
	bar.Store32(regLen, uint32(n))
	bar.Store32(regDoorbell, 1)
	fired, err := irqs[vectorDone].Wait(hal.WaitForever)
	fmt.Println(fired, err, string(dst.Bytes[:n]))
	// Output: true <nil> hello, device
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
