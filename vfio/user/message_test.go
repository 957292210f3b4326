package user_test

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/hc1-toolkit/hc1/internal/iommu"
	"github.com/hc1-toolkit/hc1/vfio/user"
)

// accesses are one of each kind, with the reason why each was refused.
func accesses(b *user.Bus, iova uint64) (reads, writes []iommu.Reason) {
	_, err4 := b.Load32(iova)
	_, err8 := b.Load64(iova)
	reads = []iommu.Reason{whyOf(b.Read(iova, make([]byte, 100))), whyOf(err4), whyOf(err8)}
	writes = []iommu.Reason{whyOf(b.Write(iova, make([]byte, 100))), whyOf(b.Store32(iova, 0)), whyOf(b.Store64(iova, 0))}
	return reads, writes
}

// A device may do with a mapping what the client said, and nothing once it is
// gone.
func TestDMADirection(t *testing.T) {
	ram := memory(t, "ram", 4*page, true)
	defer closeFDs(ram)
	for _, c := range []struct {
		what        string
		flags       uint32
		read, write iommu.Reason
	}{
		{"read", mapRead, fine, iommu.Direction},
		{"write", mapWrite, iommu.Direction, fine},
		{"both", mapRead | mapWrite, fine, fine},
	} {
		for _, files := range []bool{true, false} {
			dev := newProbe()
			r := hello(t, user.NewServer(dev, user.ServerOptions{}), "")
			expect := func(when string, read, write iommu.Reason, asked int) {
				t.Helper()
				r.onDMA(nil)
				reads, writes := accesses(dev.attached(), 0x10000)
				for i := range reads {
					if reads[i] != read || writes[i] != write {
						t.Errorf("%s %s, files %v: access %d: read %s, not %s; write %s, not %s", when, c.what, files, i, reads[i], read, writes[i], write)
					}
				}
				if n := len(r.dmaAsked()); n != asked {
					t.Errorf("%s %s, files %v: the client was asked %d times, not %d", when, c.what, files, n, asked)
				}
			}
			expect("before", iommu.Unmapped, iommu.Unmapped, 6)
			if files {
				r.dmaMap(c.flags, 0, 0x10000, page, ram)
				expect("mapped to", c.read, c.write, 0)
			} else { // this client refuses what may be asked for
				r.dmaMap(c.flags, 0, 0x10000, page)
				read, write, asked := c.read, c.write, 0
				if read == fine {
					read, asked = iommu.Refused, asked+3
				}
				if write == fine {
					write, asked = iommu.Refused, asked+3
				}
				expect("mapped to", read, write, asked)
			}
			if _, err := dev.attached().Load32(0x10002); whyOf(err) != iommu.Unmapped {
				t.Errorf("a word that is not aligned: %v", err)
			}
			if errno, n := r.dmaUnmap(0, 0x10000, page); errno != 0 || n != page {
				t.Fatal(errno, n)
			}
			expect("after", iommu.Freed, iommu.Freed, 6)
			r.close()
		}
	}
}

// A file that its owner cuts short raises a Fault, and nothing worse.
func TestVanishedMemory(t *testing.T) {
	dev := newProbe()
	r := hello(t, user.NewServer(dev, user.ServerOptions{}), "")
	bus := dev.attached()
	fd := memory(t, "shaky", 4*page, false)
	defer closeFDs(fd)
	r.dmaMap(mapRead|mapWrite, 0, 0x10000, 4*page, fd)
	expect := func(i uint64, want iommu.Reason) {
		t.Helper()
		reads, writes := accesses(bus, 0x10000+i*page)
		for k := range reads {
			if reads[k] != want || writes[k] != want {
				t.Errorf("page %d, access %d: %s and %s, not %s", i, k, reads[k], writes[k], want)
			}
		}
	}
	for i := range uint64(4) {
		expect(i, fine)
	}
	for _, left := range []uint64{2, 0, 4} {
		if err := resize(fd, int64(left)*page); err != nil {
			t.Fatal(err)
		}
		for i := range uint64(4) {
			if i < left {
				expect(i, fine)
			} else {
				expect(i, iommu.Vanished)
			}
		}
		if err := bus.Read(0x10000, make([]byte, 4*page)); (err == nil) != (left == 4) {
			t.Errorf("all of it, when %d pages are left: %v", left, err)
		}
	}
	if n := len(r.dmaAsked()); n != 0 {
		t.Errorf("the client was asked %d times", n)
	}
	r.alive()

	sealed := memory(t, "sealed", 4*page, true)
	defer closeFDs(sealed)
	r.dmaMap(mapRead|mapWrite, 0, 0x20000, 4*page, sealed)
	if err := resize(sealed, 0); err == nil {
		t.Error("sealed memory was cut short")
	}
	reads, writes := accesses(bus, 0x20000+3*page)
	for k := range reads {
		if reads[k] != fine || writes[k] != fine {
			t.Errorf("sealed memory: %s, %s", reads[k], writes[k])
		}
	}
}

// content is what a client that answers DMA has at an address.
func content(addr, n uint64) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte((addr + uint64(i)) * 0x9E3779B97F4A7C15 >> 56)
	}
	return b
}

// obey answers DMA as it should be.
func obey(m incoming) ([]byte, []int) {
	body := bytes.Clone(m.body[:16])
	if m.cmd == user.CmdDMARead {
		body = append(body, content(le.Uint64(body), le.Uint64(body[8:]))...)
	}
	return packet(m.id, m.cmd, isReply, 0, body), nil
}

// Answers to DMA, right and wrong.
func TestDMAAnswers(t *testing.T) {
	other := func(f func(m *incoming)) func(m incoming) ([]byte, []int) {
		return func(m incoming) ([]byte, []int) {
			f(&m)
			return obey(m)
		}
	}
	resized := func(by int) func(m incoming) ([]byte, []int) {
		return func(m incoming) ([]byte, []int) {
			b, _ := obey(m)
			body := append(b[headSize:], make([]byte, max(by, 0))...)
			return packet(m.id, m.cmd, isReply, 0, body[:len(body)+min(by, 0)]), nil
		}
	}
	refusal := func(errno uint32, body int) func(m incoming) ([]byte, []int) {
		return func(m incoming) ([]byte, []int) {
			return packet(m.id, m.cmd, isReply|isError, errno, make([]byte, body)), nil
		}
	}
	refused := &user.Fault{IOVA: 0x10010, Why: iommu.Refused}
	for _, c := range []struct {
		name   string
		answer func(m incoming) ([]byte, []int)
		read   error // a *Fault: that reason
		write  error
		lost   bool // the connection is closed; in the end
	}{
		{"right", obey, nil, nil, false},
		{"ENODEV", refusal(19, 0), refused, refused, false},
		{"an error without number", refusal(0, 0), refused, refused, false},
		{"an error with a payload", refusal(14, 100), refused, refused, false},
		{"an echo that is wrong", other(func(m *incoming) { m.body[0]++ }), nil, nil, false},
		{"a byte short", resized(-1), user.ErrProtocol, user.ErrProtocol, true},
		{"a byte long", resized(1), user.ErrProtocol, user.ErrProtocol, true},
		{"far too long", resized(1 << 20), user.ErrProtocol, user.ErrProtocol, true},
		{"half an echo", resized(-8), user.ErrProtocol, user.ErrProtocol, true},
		{"another id", other(func(m *incoming) { m.id ^= 0x8000 }), user.ErrProtocol, user.ErrProtocol, true},
		{"another command", other(func(m *incoming) { m.cmd ^= 7 }), user.ErrProtocol, user.ErrProtocol, true},
		{"a file beside it", func(m incoming) ([]byte, []int) {
			b, _ := obey(m)
			return b, makeFDs(t, "e")
		}, user.ErrProtocol, user.ErrProtocol, true},
		{"a type that does not exist", func(m incoming) ([]byte, []int) { return packet(m.id, m.cmd, 2, 0, nil), nil }, user.ErrProtocol, user.ErrProtocol, true},
		{"twice", func(m incoming) ([]byte, []int) {
			b, _ := obey(m)
			return append(b, b...), nil
		}, nil, nil, true},
		{"none", func(incoming) ([]byte, []int) { return nil, nil }, user.ErrTimeout, user.ErrTimeout, true},
		{"header alone", func(m incoming) ([]byte, []int) { return packet(m.id, m.cmd, isReply, 0, nil), nil }, user.ErrProtocol, nil, true},
	} {
		for _, write := range []bool{false, true} {
			dev, before, bound := newProbe(), baseline(t), patience
			if errors.Is(c.read, user.ErrTimeout) {
				bound = 50 * time.Millisecond
			}
			r := hello(t, user.NewServer(dev, user.ServerOptions{Timeout: bound}), "")
			r.dmaMap(mapRead|mapWrite, 0, 0x10000, page)
			r.onDMA(c.answer)
			p, want, err := content(0x10010, 40), c.read, error(nil)
			if write {
				want, err = c.write, dev.attached().Write(0x10010, p)
			} else {
				clear(p)
				err = dev.attached().Read(0x10010, p)
			}
			if _, fault := want.(*user.Fault); fault {
				if whyOf(err) != iommu.Refused {
					t.Errorf("%s, write %v: %v", c.name, write, err)
				}
			} else if !errors.Is(err, want) {
				t.Errorf("%s, write %v: %v, not %v", c.name, write, err, want)
			}
			if asked := r.dmaAsked(); len(asked) != 1 || !write && len(asked[0].body) != 16 || write && !bytes.Equal(asked[0].body[16:], p) {
				t.Errorf("%s, write %v: asked %+v", c.name, write, asked)
			}
			if err == nil && le.Uint64(p) != le.Uint64(content(0x10010, 8)) && c.name == "right" {
				t.Errorf("read % x", p[:8])
			}
			if c.lost && want != nil || c.name == "twice" {
				if m, err := r.reply(); err != io.EOF {
					t.Errorf("%s, write %v: the connection stays: %+v, %v", c.name, write, m, err)
				}
			} else {
				r.alive()
			}
			r.close()
			settles(t, c.name+": descriptors", openFDs, before)
		}
	}
}

// DMA by message comes in pieces that lie within a page and are no larger
// than agreed on.
func TestDMAPieces(t *testing.T) {
	for caps, most := range map[string]int{"": page, `{"capabilities":{"max_data_xfer_size":100}}`: 100, `{"capabilities":{"max_data_xfer_size":99999999}}`: page} {
		dev := newProbe()
		r := hello(t, user.NewServer(dev, user.ServerOptions{}), caps)
		r.dmaMap(mapRead|mapWrite, 0, 0x10000, 4*page)
		for _, write := range []bool{false, true} {
			r.onDMA(obey)
			const at, n = 0x10F00, 2*page + 5
			p, err := content(at, n), error(nil)
			if write {
				err = dev.attached().Write(at, p)
			} else {
				clear(p)
				err = dev.attached().Read(at, p)
			}
			if err != nil || !bytes.Equal(p, content(at, n)) {
				t.Errorf("write %v: other bytes, %v", write, err)
			}
			next := uint64(at)
			for _, m := range r.dmaAsked() {
				addr, k := le.Uint64(m.body), le.Uint64(m.body[8:])
				if addr != next || k == 0 || k > uint64(most) || addr/page != (addr+k-1)/page {
					t.Errorf("write %v: %d bytes at %#x, at most %d", write, k, addr, most)
				}
				if write && !bytes.Equal(m.body[16:], content(addr, k)) {
					t.Errorf("other bytes at %#x", addr)
				}
				next += k
			}
			if next != at+n {
				t.Errorf("write %v: up to %#x", write, next)
			}
		}
		r.close()
	}
}

// Answers may come in another order than the questions.
func TestDMAAnswersInAnyOrder(t *testing.T) {
	const n = 16
	dev := newProbe()
	r := hello(t, user.NewServer(dev, user.ServerOptions{}), "")
	bus := dev.attached()
	var late []byte
	r.onDMA(func(m incoming) ([]byte, []int) {
		b, _ := obey(m)
		late = append(b, late...)
		if len(late) < n*(headSize+16+8) {
			return nil, nil
		}
		return late, nil
	})
	var wg sync.WaitGroup
	for i := range uint64(n) {
		wg.Go(func() {
			if v, err := bus.Load64(i * page); err != nil || v != le.Uint64(content(i*page, 8)) {
				t.Errorf("%#x at %#x, %v", v, i*page, err)
			}
		})
	}
	wg.Wait()
	r.alive()
}

// A reset does not wait for DMA, nor is it upset by a late answer.
func TestResetGivesDMAUp(t *testing.T) {
	dev := newProbe()
	r := hello(t, user.NewServer(dev, user.ServerOptions{Timeout: patience}), "")
	bus := dev.attached()
	asked := make(chan incoming, 1)
	r.onDMA(func(m incoming) ([]byte, []int) { asked <- m; return nil, nil })
	dma := make(chan error, 1)
	go func() { dma <- bus.Read(0x1000, make([]byte, 8)) }()
	m := <-asked
	dev.locked(func() {
		dev.reset = func() error { // as a device whose reset waits for its DMA
			select {
			case err := <-dma:
				dma <- err
				return nil
			case <-time.After(patience):
				return errors.New("dma is not given up")
			}
		}
	})
	if errno, _ := r.ask(user.CmdReset, nil); errno != 0 {
		t.Errorf("reset: %v", errno)
	}
	if err := <-dma; !errors.Is(err, user.ErrReset) {
		t.Errorf("dma during a reset: %v", err)
	}
	b, _ := obey(m)
	if err := r.send(b); err != nil {
		t.Error(err)
	}
	r.alive()
	r.onDMA(obey)
	if err := bus.Read(0x1000, make([]byte, 8)); err != nil {
		t.Errorf("after the reset: %v", err)
	}
}
