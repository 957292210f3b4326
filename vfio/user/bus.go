package user

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hc1-toolkit/hc1/internal/iommu"
	"github.com/hc1-toolkit/hc1/internal/irq"
)

// Fault is an access to the client's memory that was refused: nothing is
// mapped there, or not for that.
type Fault = iommu.Fault

// ErrInsideAccess is DMA that was waited for inside Device.Access, or
// another call of the server's: the client waits for that call's end, and may
// hold what it needs to answer.
var ErrInsideAccess = errors.New("vfio-user: DMA waits for the client inside a call that the client waits for")

// Bus is how a device reaches its client: memory and interrupts. Its methods
// may be called from any goroutine between Attach and the end of Detach.
//
// Memory that came with a file is mapped here and costs no message. Where
// there is none, and where nothing is mapped, the client is asked by DMA_READ
// and DMA_WRITE: behind QEMU, that is what makes the guest's IOMMU report a
// fault. Such an access waits for the client, so it must not be made inside
// Device.Access; Yield lets a lock go that Access needs.
type Bus struct {
	x *session

	// Yield, set in Attach, is called around everything that waits for the
	// client. It must call wait.
	Yield func(wait func())

	mu     sync.RWMutex
	table  iommu.Table
	files  map[fileID]*file
	nfiles int               // in files, and older mappings of them
	mapped int64             // bytes of those
	irqs   [NumIRQs][]irq.FD // -1: not armed
	buf    []byte

	gate struct {
		sync.Mutex
		busy  bool
		idle  chan struct{} // closed when no longer busy; nil: nobody waits
		reset chan struct{} // closed while a reset goes on
	}

	direct, messages, failed, sent, swept atomic.Uint64
}

func newBus(x *session) *Bus {
	b := &Bus{x: x, files: map[fileID]*file{}}
	b.gate.reset = make(chan struct{})
	for i := range b.irqs {
		b.irqs[i] = make([]irq.FD, x.layout.IRQs[i])
		for k := range b.irqs[i] {
			b.irqs[i][k] = -1
		}
	}
	return b
}

// Capabilities are what was agreed on with the client.
func (b *Bus) Capabilities() Capabilities { return b.x.caps }

// close gives back all that the client left.
func (b *Bus) close() {
	b.mu.Lock()
	b.table.Clear(b.gone)
	b.mu.Unlock()
	for i := range b.irqs {
		b.disarm(i, 0, len(b.irqs[i]))
	}
}

func (b *Bus) counters(t *Stats) {
	t.DirectDMA += b.direct.Swap(0)
	t.MessageDMA += b.messages.Swap(0)
	t.FailedDMA += b.failed.Swap(0)
	t.Interrupts += b.sent.Swap(0)
	t.SweptUnmaps += b.swept.Swap(0)
	b.mu.RLock()
	t.Maps = b.table.Len()
	b.mu.RUnlock()
}

// scratch is memory for one reply.
func (b *Bus) scratch(n int) []byte {
	if cap(b.buf) < n {
		b.buf = make([]byte, max(n, 4096))
	}
	return b.buf[:n]
}

// enter and leave bracket every call into the device.
func (b *Bus) enter() {
	b.gate.Lock()
	b.gate.busy = true
	b.gate.Unlock()
}

func (b *Bus) leave() {
	b.gate.Lock()
	b.gate.busy = false
	if b.gate.idle != nil {
		close(b.gate.idle)
		b.gate.idle = nil
	}
	b.gate.Unlock()
}

// insideBound is how long DMA waits for a call into the device to end. With
// what the call does besides, it is less than a client's five seconds.
const insideBound = time.Second

// beginReset has DMA that waits for the client given up, and none begun: the
// client waits for the reset, and the device cannot end it while it waits.
func (b *Bus) beginReset() {
	b.gate.Lock()
	close(b.gate.reset)
	b.gate.Unlock()
}

func (b *Bus) endReset() {
	b.gate.Lock()
	b.gate.reset = make(chan struct{})
	b.gate.Unlock()
}

// ErrReset is DMA of a device that is being reset.
var ErrReset = errors.New("vfio-user: the device is being reset")

// outside waits until no call into the device is under way. It returns what
// is closed when a reset begins.
func (b *Bus) outside() (reset <-chan struct{}, err error) {
	t := time.NewTimer(insideBound)
	defer t.Stop()
	for {
		b.gate.Lock()
		reset = b.gate.reset
		if !b.gate.busy {
			b.gate.Unlock()
			return reset, nil
		}
		if b.gate.idle == nil {
			b.gate.idle = make(chan struct{})
		}
		idle := b.gate.idle
		b.gate.Unlock()
		select {
		case <-idle:
		case <-reset:
			return nil, ErrReset
		case <-b.x.c.closed:
			return nil, b.x.c.reason()
		case <-t.C:
			return nil, ErrInsideAccess
		}
	}
}

// Read reads the client's memory. It may have read a part when it fails.
func (b *Bus) Read(iova uint64, p []byte) error { return b.transfer(iova, p, false) }

// Write writes the client's memory.
func (b *Bus) Write(iova uint64, p []byte) error { return b.transfer(iova, p, true) }

func (b *Bus) transfer(iova uint64, p []byte, write bool) error {
	b.mu.RLock()
	var err error
	if write {
		err = b.table.Write(iova, p)
	} else {
		err = b.table.Read(iova, p)
	}
	b.mu.RUnlock()
	if err == nil {
		b.direct.Add(1)
		return nil
	}
	if !b.worthAsking(err) {
		return err
	}
	for len(p) > 0 {
		n := min(len(p), b.x.caps.MaxTransfer, iommu.PageSize-int(iova%iommu.PageSize))
		if aerr := b.ask(iova, p[:n], write); aerr != nil {
			return b.because(err, aerr)
		}
		p, iova = p[n:], iova+uint64(n)
	}
	return nil
}

// worthAsking reports whether the client may have an answer that the table
// has not.
func (b *Bus) worthAsking(err error) bool {
	if errors.Is(err, iommu.ErrNoBytes) {
		return true
	}
	f, ok := errors.AsType[*Fault](err)
	ok = ok && (f.Why == iommu.Unmapped || f.Why == iommu.Freed)
	if !ok {
		b.failed.Add(1)
	}
	return ok
}

// because prefers the table's reason for a refusal to the client's, and
// anything else to both.
func (b *Bus) because(table, asked error) error {
	b.failed.Add(1)
	if _, ok := errors.AsType[*Fault](asked); !ok {
		return asked
	}
	if _, ok := errors.AsType[*Fault](table); ok {
		return table
	}
	return asked
}

// ask has the client do an access. The client's refusal is a *Fault.
func (b *Bus) ask(iova uint64, p []byte, write bool) (err error) {
	wait := func() {
		var reset <-chan struct{}
		if reset, err = b.outside(); err != nil {
			return
		}
		b.messages.Add(1)
		var head [accessSize]byte
		le.PutUint64(head[:], iova)
		le.PutUint64(head[8:], uint64(len(p)))
		var n int
		var fds []int
		if write {
			var echo [accessSize]byte
			// An early QEMU replied with the header alone.
			if n, fds, err = b.x.c.askUntil(reset, CmdDMAWrite, b.x.s.o.Timeout, echo[:], nil, head[:], p); err == nil && n != 0 && n != accessSize {
				err = fmt.Errorf("%w: answer to DMA_WRITE of %d bytes", ErrProtocol, n)
			}
		} else {
			reply := make([]byte, accessSize+len(p))
			if n, fds, err = b.x.c.askUntil(reset, CmdDMARead, b.x.s.o.Timeout, reply, nil, head[:]); err == nil && n != len(reply) {
				err = fmt.Errorf("%w: answer to DMA_READ of %d bytes, not %d", ErrProtocol, n, len(reply))
			}
			copy(p, reply[accessSize:])
		}
		if len(fds) > 0 {
			closeFDs(fds)
			err = fmt.Errorf("%w: file descriptors with an answer to DMA", ErrProtocol)
		}
	}
	if b.Yield != nil {
		b.Yield(wait)
	} else {
		wait()
	}
	switch {
	case errors.Is(err, ErrProtocol):
		b.x.c.fail(err)
	case errors.Is(err, errAbandoned):
		return ErrReset
	}
	if _, ok := errors.AsType[*Refusal](err); ok {
		return &Fault{IOVA: iova, Write: write, Why: iommu.Refused}
	}
	return err
}

// Interrupt sends an interrupt and reports whether the client listens to it.
func (b *Bus) Interrupt(index, n int) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if index < 0 || index >= NumIRQs || n < 0 || n >= len(b.irqs[index]) || b.irqs[index][n] < 0 {
		return false
	}
	b.irqs[index][n].Signal()
	b.sent.Add(1)
	return true
}

func (b *Bus) arm(index, first int, fds []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, fd := range fds {
		if old := b.irqs[index][first+i]; old >= 0 {
			old.Close()
		}
		b.irqs[index][first+i] = irq.FD(fd)
	}
}

func (b *Bus) disarm(index, first, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := first; i < first+n; i++ {
		if old := b.irqs[index][i]; old >= 0 {
			old.Close()
			b.irqs[index][i] = -1
		}
	}
}
