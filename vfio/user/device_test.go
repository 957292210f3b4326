package user_test

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/internal/iommu"
	"github.com/hc1-toolkit/hc1/vfio/user"
)

// ways are how a client shares its memory: so that the device maps it, or so
// that every access of the device's is a message.
var ways = map[string]user.ClientOptions{"shared memory": {}, "messages": {NoFiles: true}}

// host is a driver of the copier.
type host struct {
	*user.Client
	t        *testing.T
	src, dst *hal.DMA
	irqs     []hal.Vector
	bar      hal.Region
}

// client is a client of a server's; both end with the test.
func client(t *testing.T, s *user.Server, o user.ClientOptions) *user.Client {
	t.Helper()
	c, other := pair(t)
	served := make(chan error, 1)
	go func() { served <- s.ServeConn(other) }()
	f, err := user.NewClient(context.Background(), c, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		select {
		case err := <-served:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("the server does not let go")
		}
	})
	return f
}

func attach(t *testing.T, s *user.Server, o user.ClientOptions, size int) *host {
	t.Helper()
	h := &host{Client: client(t, s, o), t: t}
	var err error
	if h.src, err = h.AllocDMA(size, hal.CardReads); err != nil {
		t.Fatal(err)
	}
	if h.dst, err = h.AllocDMA(size, hal.CardWrites); err != nil {
		t.Fatal(err)
	}
	if h.irqs, err = h.Vectors(vectors); err != nil {
		t.Fatal(err)
	}
	if h.bar, err = h.Region(0); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *host) start(src, dst uint64, n int) {
	h.bar.Store64(regSrc, src)
	h.bar.Store64(regDst, dst)
	h.bar.Store32(regLen, uint32(n))
	h.bar.Store32(regDoorbell, 1)
}

// wait waits for an interrupt, and sees that the other one has not come.
func (h *host) wait(vector int) {
	h.t.Helper()
	if ok, err := h.irqs[vector].Wait(patience); !ok || err != nil {
		h.t.Fatalf("vector %d: fired %v, %v; status %d", vector, ok, err, h.bar.Load32(regStatus))
	}
	if ok, err := h.irqs[1-vector].Wait(0); ok || err != nil {
		h.t.Fatalf("vector %d: fired %v, %v", 1-vector, ok, err)
	}
}

func overWays(t *testing.T, f func(t *testing.T, dev *copier, s *user.Server, o user.ClientOptions)) {
	for name, o := range ways {
		t.Run(name, func(t *testing.T) {
			dev, err := newCopier()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(dev.pad.Close)
			f(t, dev, user.NewServer(dev, user.ServerOptions{}), o)
		})
	}
}

func TestCopy(t *testing.T) {
	overWays(t, func(t *testing.T, dev *copier, s *user.Server, o user.ClientOptions) {
		const size = 5*page + 123
		h := attach(t, s, o, size)
		for i := range h.src.Bytes {
			h.src.Bytes[i] = byte(i * 7)
		}
		for _, n := range []int{1, page, size} {
			clear(h.dst.Bytes)
			before := s.Stats()
			h.start(h.src.IOVA, h.dst.IOVA, n)
			h.wait(vectorDone)
			if got := h.bar.Load32(regStatus); got != done {
				t.Errorf("status %d", got)
			}
			if !bytes.Equal(h.dst.Bytes[:n], h.src.Bytes[:n]) || bytes.Count(h.dst.Bytes[n:], []byte{0}) != len(h.dst.Bytes)-n {
				t.Errorf("%d bytes are not what was asked for", n)
			}
			after := s.Stats()
			chunks := uint64(2 * ((n + page - 1) / page))
			direct, messages := after.DirectDMA-before.DirectDMA, after.MessageDMA-before.MessageDMA
			if o.NoFiles && (direct != 0 || messages != chunks) || !o.NoFiles && (direct != chunks || messages != 0) {
				t.Errorf("%d bytes: %d accesses in place, %d by message", n, direct, messages)
			}
		}
		id, err := h.ReadConfig(0, 4)
		if err != nil || id != 0xC0B1_1AF4 {
			t.Errorf("id %#x, %v", id, err)
		}
		for _, bar := range []int{-1, 1, 3, 6, 7} {
			if _, err := h.Region(bar); !errors.Is(err, hal.ErrOutOfRange) {
				t.Errorf("BAR %d: %v", bar, err)
			}
		}
	})
}

// The mapped part of a BAR costs no message, and the rest reaches the device.
func TestWindow(t *testing.T) {
	overWays(t, func(t *testing.T, dev *copier, s *user.Server, o user.ClientOptions) {
		f := client(t, s, o)
		pad, err := f.Region(2)
		if err != nil {
			t.Fatal(err)
		}
		before := s.Stats()
		for off := 0; off < padMapped; off += 8 {
			pad.Store64(off, uint64(off)<<32|0xABCD)
		}
		for off := 0; off < padMapped; off += 8 {
			if got := pad.Load64(off); got != uint64(off)<<32|0xABCD {
				t.Fatalf("%#x at %#x", got, off)
			}
		}
		pad.Store32(padMapped-4, 5)
		if after := s.Stats(); after.Total() != before.Total() {
			t.Errorf("%d messages for what is mapped", after.Total()-before.Total())
		}
		dev.mu.Lock()
		if got := le.Uint64(dev.pad.Bytes[0x1230:]); got != 0x1230<<32|0xABCD {
			t.Errorf("the device sees %#x", got)
		}
		calls := dev.calls
		dev.mu.Unlock()

		pad.Store32(padMapped, 0x5A) // fills the pad
		if got := pad.Load32(padSize - 4); got != uint32(calls)+2 {
			t.Errorf("%d calls of the device, not %d", got, calls+2)
		}
		if got := pad.Load64(0x1230); got != 0x5A5A5A5A5A5A5A5A {
			t.Errorf("%#x after the pad was filled", got)
		}
		after := s.Stats()
		reads := after.Messages(user.CmdRegionRead) - before.Messages(user.CmdRegionRead)
		writes := after.Messages(user.CmdRegionWrite) - before.Messages(user.CmdRegionWrite)
		if reads != 1 || writes != 1 {
			t.Errorf("%d reads and %d writes by message", reads, writes)
		}
		for _, off := range []int{-4, 2, padSize, padSize - 2} {
			func() {
				defer func() {
					if err, _ := recover().(error); !errors.Is(err, hal.ErrOutOfRange) {
						t.Errorf("load at %#x: %v", off, err)
					}
				}()
				pad.Load32(off)
			}()
		}
	})
}

// Addresses that nobody mapped, or not for that, or no longer.
func TestCopyFaults(t *testing.T) {
	overWays(t, func(t *testing.T, dev *copier, s *user.Server, o user.ClientOptions) {
		h := attach(t, s, o, page)
		freed, err := h.AllocDMA(page, hal.CardReads)
		if err != nil {
			t.Fatal(err)
		}
		if err := freed.Free(); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			name     string
			src, dst uint64
			at       uint64
			write    bool
			why      iommu.Reason
		}{
			{"nothing there", 0x5000, h.dst.IOVA, 0x5000, false, iommu.Unmapped},
			{"behind a buffer", h.src.IOVA, h.dst.IOVA + page, h.dst.IOVA + page, true, iommu.Unmapped},
			{"freed", freed.IOVA, h.dst.IOVA, freed.IOVA, false, iommu.Freed},
			{"read of what is written", h.dst.IOVA, h.dst.IOVA, h.dst.IOVA, false, iommu.Direction},
			{"write of what is read", h.src.IOVA, h.src.IOVA, h.src.IOVA, true, iommu.Direction},
			{"the last byte of all", ^uint64(0), h.dst.IOVA, ^uint64(0), false, iommu.Unmapped},
		} {
			h.start(c.src, c.dst, 64)
			h.wait(vectorFailed)
			if got := h.bar.Load32(regStatus); got != failed {
				t.Errorf("%s: status %d", c.name, got)
			}
			dev.mu.Lock()
			f, ok := errors.AsType[*user.Fault](dev.fault)
			dev.mu.Unlock()
			if !ok || *f != (user.Fault{IOVA: c.at, Write: c.write, Why: c.why}) {
				t.Errorf("%s: %v", c.name, dev.fault)
			}
		}
		h.start(h.src.IOVA, h.dst.IOVA, page)
		h.wait(vectorDone)
	})
}

func TestReset(t *testing.T) {
	overWays(t, func(t *testing.T, dev *copier, s *user.Server, o user.ClientOptions) {
		h := attach(t, s, o, page)
		if err := h.WriteConfig(4, 2, 0x0406); err != nil {
			t.Fatal(err)
		}
		h.start(h.src.IOVA, h.dst.IOVA, page)
		h.wait(vectorDone)
		if err := h.Reset(hal.ResetHot); !errors.Is(err, hal.ErrUnsupported) {
			t.Errorf("a reset that does not exist: %v", err)
		}
		if err := h.Reset(hal.ResetFLR); err != nil {
			t.Fatal(err)
		}
		if v, err := h.ReadConfig(4, 2); v != 0 || err != nil {
			t.Errorf("command register %#x, %v", v, err)
		}
		if got := h.bar.Load32(regStatus); got != idle {
			t.Errorf("status %d", got)
		}
		// Mappings stay, vectors are turned on again.
		var err error
		if h.irqs, err = h.Vectors(vectors); err != nil {
			t.Fatal(err)
		}
		h.src.Bytes[7] = 77
		h.start(h.src.IOVA, h.dst.IOVA, page)
		h.wait(vectorDone)
		if h.dst.Bytes[7] != 77 {
			t.Error("nothing was copied after a reset")
		}
	})
}

// A reset does not wait for a copy, and a copy ends with it.
func TestResetOfACopy(t *testing.T) {
	overWays(t, func(t *testing.T, dev *copier, s *user.Server, o user.ClientOptions) {
		const size = 8 << 20
		h := attach(t, s, o, size)
		for range 5 {
			h.start(h.src.IOVA, h.dst.IOVA, size)
			if err := h.Reset(hal.ResetFLR); err != nil {
				t.Fatal(err)
			}
			if got := h.bar.Load32(regStatus); got != idle {
				t.Errorf("status %d", got)
			}
		}
		h.start(h.src.IOVA, h.dst.IOVA, page)
		if ok, err := h.irqs[vectorDone].Wait(patience); !ok || err != nil {
			t.Error(ok, err)
		}
	})
}

// impatient is a device that does it wrong: it waits for DMA in Access.
type impatient struct {
	*copier
	src   atomic.Uint64
	tried chan error
}

func (d *impatient) Access(region int, off uint64, b []byte, write bool) error {
	if region != 0 || !write {
		return d.copier.Access(region, off, b, write)
	}
	d.copier.mu.Lock()
	defer d.copier.mu.Unlock()
	d.tried <- d.bus.Read(d.src.Load(), make([]byte, 8))
	return nil
}

// DMA inside Access works if it does not have to wait for the client. If it
// has, it fails before the client's patience ends.
func TestDMAInsideAccess(t *testing.T) {
	overWays(t, func(t *testing.T, inner *copier, _ *user.Server, o user.ClientOptions) {
		dev := &impatient{copier: inner, tried: make(chan error, 1)}
		f := client(t, user.NewServer(dev, user.ServerOptions{}), o)
		src, err := f.AllocDMA(page, hal.CardReads)
		if err != nil {
			t.Fatal(err)
		}
		bar, err := f.Region(0)
		if err != nil {
			t.Fatal(err)
		}
		places := []uint64{src.IOVA, 0x1000}
		if o.NoFiles {
			places = places[:1]
		}
		for _, where := range places {
			dev.src.Store(where)
			bar.Store32(regDoorbell, 1)
			if got := bar.Load32(regSrc); got != 0 { // all ones when it gave up
				t.Errorf("%#x", got)
			}
			err = <-dev.tried
			if works := where == src.IOVA && !o.NoFiles; works != (err == nil) || !works && !errors.Is(err, user.ErrInsideAccess) {
				t.Errorf("at %#x: %v", where, err)
			}
		}
		if _, err := f.ReadConfig(0, 4); err != nil {
			t.Errorf("the connection is lost: %v", err)
		}
	})
}
