package user

import (
	"errors"
	"sync"
	"testing"
	"time"
)

// fzDevice is a device with memory, registers and interrupts that does DMA
// from a goroutine of its own, when a register is written. As a card's, its
// lock is held during DMA and needed by Access.
type fzDevice struct {
	mem  *Memory // of BAR 1
	jobs chan fzJob
	quit chan struct{}
	all  sync.WaitGroup

	mu   sync.Mutex
	regs [pageSize]byte
}

// fzJob is what to do, at an address; done is closed when all before it is
// done.
type fzJob struct {
	addr, what uint64
	done       chan struct{}
}

// Registers of BAR 0: a write to the second begins a job.
const (
	fzJobAddr = 0x10
	fzJobWhat = 0x18
)

func newFzDevice(t testing.TB) *fzDevice {
	t.Helper()
	m, err := NewMemory(4 * pageSize)
	if err != nil {
		t.Fatal(err)
	}
	return &fzDevice{mem: m, jobs: make(chan fzJob, 32)}
}

func (d *fzDevice) Layout() (l Layout) {
	l.Regions[0] = Region{Size: pageSize, Read: true, Write: true}
	l.Regions[1] = Region{Size: 4 * pageSize, Read: true, Write: true, Memory: d.mem, Areas: []Area{{pageSize, pageSize}, {3 * pageSize, pageSize}}}
	l.Regions[2] = Region{Size: 8, Read: true}
	l.Regions[3] = Region{Size: 2 * pageSize, Write: true}
	l.Regions[5] = Region{Size: 1 << 40, Read: true, Write: true}
	l.Regions[RegionConfig] = Region{Size: pageSize, Read: true, Write: true}
	l.IRQs = [NumIRQs]int{1, 0, 8, 1, 1}
	return l
}

func (d *fzDevice) Attach(b *Bus) {
	b.Yield = func(wait func()) {
		d.mu.Unlock()
		defer d.mu.Lock()
		wait()
	}
	d.quit = make(chan struct{})
	d.all.Add(1)
	go func(quit chan struct{}) {
		defer d.all.Done()
		for {
			select {
			case <-quit:
				return
			case j := <-d.jobs:
				d.work(b, j)
			}
		}
	}(d.quit)
}

func (d *fzDevice) Detach() {
	close(d.quit)
	d.all.Wait()
	d.Reset()
}

// work must not depend on what becomes of the access: a device goes on.
func (d *fzDevice) work(b *Bus, j fzJob) {
	if j.done != nil {
		close(j.done)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch n := j.what >> 8; j.what & 15 {
	case 0, 1, 2:
		b.Read(j.addr, make([]byte, n&0x3FFF))
	case 3, 4, 5:
		b.Write(j.addr, make([]byte, n&0x3FFF))
	case 6:
		b.Load32(j.addr)
	case 7:
		b.Load64(j.addr)
	case 8:
		b.Store32(j.addr, uint32(n))
	case 9:
		b.Store64(j.addr, n)
	case 10:
		b.Interrupt(int(n), int(j.addr))
	default:
		for i := range NumIRQs {
			b.Interrupt(i, int(n&7))
		}
	}
}

// settle returns when the jobs so far are done, or the client has gone.
func (d *fzDevice) settle(gone chan struct{}) {
	done := make(chan struct{})
	t := time.NewTimer(50 * time.Millisecond)
	defer t.Stop()
	select {
	case d.jobs <- fzJob{done: done}:
		select {
		case <-done:
		case <-gone:
		case <-t.C:
		}
	case <-gone:
	case <-t.C:
	}
}

func (d *fzDevice) Access(region int, off uint64, b []byte, write bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch region {
	case 5:
		return eFAULT
	case 3:
		return errors.New("out of order")
	case 0:
		if !write {
			copy(b, d.regs[off:])
			return nil
		}
		copy(d.regs[off:], b)
		if off <= fzJobWhat && off+uint64(len(b)) > fzJobWhat {
			select {
			case d.jobs <- fzJob{addr: le.Uint64(d.regs[fzJobAddr:]), what: le.Uint64(d.regs[fzJobWhat:])}:
			default: // too much at once: lost
			}
		}
	}
	return nil
}

func (d *fzDevice) Interrupts(index, first, n int, armed bool) {}

func (d *fzDevice) Mask(index, first, n int, masked bool) error {
	if index == IRQINTx {
		return nil
	}
	return ErrCannotMask
}

func (d *fzDevice) Reset() error {
	for {
		select {
		case j := <-d.jobs:
			if j.done != nil {
				close(j.done)
			}
		default:
			return nil
		}
	}
}
