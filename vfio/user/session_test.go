package user_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/vfio/user"
)

// listen has a server serve at a path, until the test ends.
func listen(t *testing.T, s *user.Server) (path string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "user") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Close(0); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, user.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
		os.RemoveAll(dir)
	})
	return l.Addr().String()
}

func dial(t *testing.T, path string) *user.Client {
	t.Helper()
	f, err := user.Dial(context.Background(), path, user.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// The second client is told that the device is busy, and the first is not
// disturbed.
func TestOneClientAtATime(t *testing.T) {
	s := user.NewServer(newProbe(), user.ServerOptions{})
	path, before := listen(t, s), 0
	first := dial(t, path)
	before = baseline(t)
	const others = 3
	var wg sync.WaitGroup
	for range others {
		wg.Go(func() {
			if _, err := user.Dial(context.Background(), path, user.ClientOptions{}); !errors.Is(err, user.ErrBusy) {
				t.Errorf("another client: %v", err)
			}
		})
	}
	wg.Wait()
	settles(t, "descriptors", openFDs, before)
	if _, err := first.ReadConfig(0, 4); err != nil {
		t.Errorf("the first client: %v", err)
	}
	if st := s.Stats(); st.Busy != others || st.Clients != 0 {
		t.Errorf("counted %d refused, %d served", st.Busy, st.Clients)
	}
	for range 5 { // one after another: each finds the device free
		if err := first.Close(); err != nil {
			t.Error(err)
		}
		first = dial(t, path)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if st := s.Stats(); st.Busy != others || st.Clients != 6 {
		t.Errorf("counted %d refused, %d served", st.Busy, st.Clients)
	}
}

// What a client leaves behind, however it leaves, is gone for the next one.
func TestReconnect(t *testing.T) {
	half := packet(9, user.CmdRegionWrite, 0, 0, make([]byte, 64))[:40]
	for name, leave := range map[string]func(r *raw){
		"in order":           func(r *raw) { r.c.CloseWrite() },
		"at once":            func(r *raw) { r.c.Close() },
		"in a message":       func(r *raw) { r.send(half); r.c.Close() },
		"in a header":        func(r *raw) { r.send(half[:5]); r.c.Close() },
		"without listening":  func(r *raw) { r.c.CloseRead(); r.alone(); r.c.Close() },
		"breaking the rules": func(r *raw) { r.send(packet(1, 4, 7, 0, nil)) },
	} {
		dev, err := newCopier()
		if err != nil {
			t.Fatal(err)
		}
		s, before := user.NewServer(dev, user.ServerOptions{}), baseline(t)
		r := hello(t, s, `{"capabilities":{"max_msg_fds":8}}`)
		ram, irqs := memory(t, "ram", 4*page, false), makeFDs(t, "ee")
		r.dmaMap(mapRead|mapWrite, 0, 0x10000, 4*page, ram)
		write := func(region uint32, off uint64, b []byte) {
			t.Helper()
			if errno, _ := r.ask(user.CmdRegionWrite, append(longs(nil, off, uint64(len(b))<<32|uint64(region)), b...)); errno != 0 {
				t.Fatal(errno)
			}
		}
		write(user.RegionConfig, 4, []byte{6, 4})
		write(0, regSrc, longs(nil, 0x10000, 0x11000))
		write(0, regLen, words(page))
		if errno, _ := r.ask(user.CmdSetIRQs, words(20, event|trigger, msix, 0, 2), irqs...); errno != 0 {
			t.Fatal(errno)
		}
		leave(r)
		r.ended()
		r.c.Close()
		dev.mu.Lock() // as the bus's Yield wants it
		if dev.bus.Interrupt(msix, 0) || fired(irqs[0]) {
			t.Errorf("%s: an interrupt for a client that has gone", name)
		}
		if err := dev.bus.Read(0x10000, []byte{0}); err == nil {
			t.Errorf("%s: memory of a client that has gone is read", name)
		}
		dev.mu.Unlock()
		if n := mappedFiles(t, "ram"); n != 0 {
			t.Errorf("%s: memory of a client that has gone stays mapped", name)
		}
		f := client(t, s, user.ClientOptions{})
		if v, err := f.ReadConfig(4, 2); v != 0 || err != nil {
			t.Errorf("%s: command register %#x, %v", name, v, err)
		}
		bar, err := f.Region(0)
		if err != nil {
			t.Fatal(err)
		}
		if v := bar.Load64(regSrc); v != 0 {
			t.Errorf("%s: a register of the last client's: %#x", name, v)
		}
		if st := s.Stats(); st.Maps != 0 || st.Clients != 1 {
			t.Errorf("%s: %d mappings are left of %d clients", name, st.Maps, st.Clients)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		closeFDs(append(irqs, ram)...)
		settles(t, name+": descriptors", openFDs, before)
		dev.pad.Close()
	}
}

// alone sends what the server's answer to cannot be delivered.
func (r *raw) alone() { r.send(packet(1, user.CmdGetInfo, 0, 0, words(16, 0, 0, 0))) }

// A client that goes while the device waits for it does not hold it up.
func TestClientGoesDuringDMA(t *testing.T) {
	dev := newProbe()
	r := hello(t, user.NewServer(dev, user.ServerOptions{Timeout: patience}), "")
	asked := make(chan struct{}, 1)
	r.onDMA(func(incoming) ([]byte, []int) { asked <- struct{}{}; return nil, nil })
	dma := make(chan error, 1)
	go func() { dma <- dev.attached().Write(0x1000, []byte{1}) }()
	<-asked
	r.c.Close()
	select {
	case err := <-dma:
		if !errors.Is(err, user.ErrDisconnected) {
			t.Errorf("dma: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("dma waits for a client that has gone")
	}
	r.ended()
	if err := dev.attached().Write(0x1000, []byte{1}); !errors.Is(err, user.ErrDisconnected) {
		t.Errorf("dma after it: %v", err)
	}
}

// lost checks that a client knows that its card is gone.
func lost(t *testing.T, f *user.Client) {
	t.Helper()
	if _, err := f.ReadConfig(0, 4); !errors.Is(err, hal.ErrCardLost) {
		t.Errorf("ReadConfig: %v", err)
	}
	if err := f.WriteConfig(4, 2, 0); !errors.Is(err, hal.ErrCardLost) {
		t.Errorf("WriteConfig: %v", err)
	}
	if _, err := f.AllocDMA(page, hal.CardReads); !errors.Is(err, hal.ErrCardLost) {
		t.Errorf("AllocDMA: %v", err)
	}
	if _, err := f.Vectors(1); !errors.Is(err, hal.ErrCardLost) {
		t.Errorf("Vectors: %v", err)
	}
	if err := f.Reset(hal.ResetFLR); !errors.Is(err, hal.ErrCardLost) {
		t.Errorf("Reset: %v", err)
	}
	bar, err := f.Region(0)
	if err != nil {
		t.Fatal(err)
	}
	bar.Store32(0, 1)
	bar.Store64(8, 1)
	if a, b := bar.Load32(0), bar.Load64(8); a != 0xFFFF_FFFF || b != 1<<64-1 {
		t.Errorf("loads give %#x and %#x", a, b)
	}
	if e := f.Events(); len(e) != 1 || e[0].Kind != hal.EventLost || e[0].Detail == "" {
		t.Errorf("events: %v", e)
	}
	if e := f.Events(); len(e) != 0 {
		t.Errorf("more events: %v", e)
	}
}

// A server that goes: whoever waits is let go, and all that follows says that
// the card is lost.
func TestServerGoes(t *testing.T) {
	for name, o := range ways {
		dev := newProbe()
		s, before := user.NewServer(dev, user.ServerOptions{}), baseline(t)
		c, other := pair(t)
		served := make(chan error, 1)
		go func() { served <- s.ServeConn(other) }()
		f, err := user.NewClient(context.Background(), c, o)
		if err != nil {
			t.Fatal(err)
		}
		irqs, err := f.Vectors(3)
		if err != nil {
			t.Fatal(err)
		}
		buf, err := f.AllocDMA(page, hal.CardWrites)
		if err != nil {
			t.Fatal(err)
		}
		woken := make(chan error, 2)
		for _, v := range irqs[:2] {
			go func() {
				_, err := v.Wait(hal.WaitForever)
				woken <- err
			}()
		}
		other.Close() // as if its process had ended
		for range 2 {
			select {
			case err := <-woken:
				if !errors.Is(err, hal.ErrCardLost) {
					t.Errorf("%s: a wait ends with %v", name, err)
				}
			case <-time.After(patience):
				t.Fatalf("%s: a wait goes on", name)
			}
		}
		for _, d := range []time.Duration{0, time.Millisecond, hal.WaitForever} {
			if ok, err := irqs[2].Wait(d); ok || !errors.Is(err, hal.ErrCardLost) {
				t.Errorf("%s: a wait of %v: %v, %v", name, d, ok, err)
			}
		}
		lost(t, f)
		buf.Bytes[0] = 1 // it stays until it is given back
		if err := buf.Free(); err != nil {
			t.Errorf("%s: Free: %v", name, err)
		}
		if err := f.Close(); err != nil {
			t.Errorf("%s: Close: %v", name, err)
		}
		if _, err := f.ReadConfig(0, 4); !errors.Is(err, hal.ErrClosed) {
			t.Errorf("%s: after Close: %v", name, err)
		}
		<-served
		settles(t, name+": descriptors", openFDs, before)
	}
}

// The server asks for its device back, tells of an error, and hangs up on who
// does not listen.
func TestServerClose(t *testing.T) {
	dev := newProbe()
	s := user.NewServer(dev, user.ServerOptions{})
	f := dial(t, listen(t, s))
	dev.attached().Interrupt(user.IRQErr, 0)
	if e := f.Events(); len(e) != 1 || e[0].Kind != hal.EventError {
		t.Errorf("events: %v", e)
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close(patience) }()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if e := f.Events(); len(e) == 1 && e[0].Kind == hal.EventRemoval {
			break
		} else if len(e) > 0 || time.Now().After(end) {
			t.Fatalf("events: %v", e)
		}
	}
	if _, err := f.ReadConfig(0, 4); err != nil {
		t.Errorf("before it was given back: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	a, b := pair(t)
	if err := s.ServeConn(b); !errors.Is(err, user.ErrServerClosed) {
		t.Errorf("ServeConn: %v", err)
	}
	if _, err := a.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a connection that is not served: %v", err)
	}

	s = user.NewServer(newProbe(), user.ServerOptions{})
	f = dial(t, listen(t, s))
	if err := s.Close(10 * time.Millisecond); err != nil {
		t.Error(err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if _, err := f.ReadConfig(0, 4); errors.Is(err, hal.ErrCardLost) {
			break
		} else if time.Now().After(end) {
			t.Fatalf("it was not hung up on: %v", err)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// Connections that say nothing do not pile up, and do not keep the device.
func TestSilentConnections(t *testing.T) {
	s := user.NewServer(newProbe(), user.ServerOptions{})
	path, before := listen(t, s), baseline(t)
	var silent []net.Conn
	for range 40 {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, c)
	}
	last := silent[len(silent)-1]
	last.SetReadDeadline(time.Now().Add(patience))
	if _, err := last.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("connection %d stays: %v", len(silent), err)
	}
	for _, c := range silent {
		c.Close()
	}
	settles(t, "descriptors", openFDs, before)
	f := dial(t, path)
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// Close while all else goes on: nobody hangs, and nothing is used that is
// gone.
func TestCloseInUse(t *testing.T) {
	for range 10 {
		dev, err := newCopier()
		if err != nil {
			t.Fatal(err)
		}
		s, before := user.NewServer(dev, user.ServerOptions{}), baseline(t)
		c, other := pair(t)
		served := make(chan error, 1)
		go func() { served <- s.ServeConn(other) }()
		f, err := user.NewClient(context.Background(), c, user.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		pad, err := f.Region(2)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for _, use := range []func() error{
			func() error { _, err := f.ReadConfig(0, 4); return err },
			func() error { pad.Load32(0); pad.Store64(padMapped, 1); _, err := f.Region(0); return err },
			func() error { _, err := f.AllocDMA(page, hal.CardReads); return err },
			func() error {
				b, err := f.AllocDMA(page, hal.CardWrites)
				if err == nil {
					err = b.Free()
				}
				return err
			},
			func() error {
				v, err := f.Vectors(2)
				if err == nil {
					_, err = v[1].Wait(50 * time.Millisecond)
				}
				return err
			},
			func() error { f.Events(); return f.Reset(hal.ResetFLR) },
		} {
			wg.Go(func() {
				for err := error(nil); err == nil; err = use() {
				}
			})
		}
		time.Sleep(2 * time.Millisecond)
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if _, err := f.ReadConfig(0, 4); !errors.Is(err, hal.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		dev.pad.Close()
		settles(t, "descriptors", openFDs, before-1) // the pad's
	}
}
