package user

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
)

// fzServe lets a client loose on a server, and sees whether it survives.
func fzServe(t testing.TB, in []byte) (messages int) {
	dev := newFzDevice(t)
	defer dev.mem.Close()
	held := fzHold(t)
	s := NewServer(dev, ServerOptions{Timeout: 4 * time.Millisecond, MaxFDs: 16, MaxMaps: 8})
	c, other := fzPair(t)
	served := make(chan error, 1)
	go func() { served <- s.ServeConn(other) }()
	x := &fzClient{in: fzBytes{in}, c: c, dev: dev, keep: -1, id: 1, asked: map[header]int{}, synced: make(chan struct{}, 1), gone: make(chan struct{})}
	x.play()
	select {
	case <-served:
	case <-time.After(8 * time.Second):
		fzHang("the server does not let go of a client that has gone")
	}
	if x.bad != nil {
		t.Fatal(x.bad)
	}
	fzServed(t, s)
	held.check(t, 0)
	return x.sent
}

// fzServed is a client that behaves.
func fzServed(t testing.TB, s *Server) {
	t.Helper()
	c, other := fzPair(t)
	defer c.Close()
	served := make(chan error, 1)
	go func() { served <- s.ServeConn(other) }()
	k := newConn(c)
	ask := func(cmd Command, body []byte, want int) {
		t.Helper()
		c.SetReadDeadline(time.Now().Add(3 * time.Second))
		if err := k.write(header{ID: 7, Cmd: cmd}, nil, body); err != nil {
			t.Fatal(err)
		}
		m, err := k.read()
		if err != nil || m.ID != 7 || m.Cmd != cmd || m.Flags != typeReply || len(m.body) < want {
			t.Fatalf("%v is answered %+v, %v", cmd, m, err)
		}
	}
	ask(CmdVersion, encodeVersion(0, 1, &Capabilities{MaxFDs: 1, MaxTransfer: 4096, MaxMaps: 1, PageSizes: pageSize}), versionSize)
	ask(CmdGetInfo, put32(deviceInfoSize, 0, 0, 0), deviceInfoSize)
	ask(CmdRegionRead, append(make([]byte, 8), put32(RegionConfig, 4)...), accessSize+4)
	c.Close()
	select {
	case err := <-served:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(8 * time.Second):
		fzHang("the server does not let go of a client that behaved")
	}
}

// TestRandomMessages: whatever comes, the server serves the next client. The
// seed is another each time, and printed.
func TestRandomMessages(t *testing.T) {
	seed, messages := rand.Uint64(), 10_000
	if testing.Short() {
		messages = 1000
	}
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for clients := 0; messages > 0; clients++ {
		in := make([]byte, 11, 600)
		for len(in) < cap(in) {
			in = append(in, byte(r.Uint32()))
		}
		// Good manners at first, or few would get far.
		in[0] = byte(r.Uint32()) & 0x0F
		if messages -= fzServe(t, in); clients > 20_000 {
			t.Fatalf("%d messages left: clients do not get far", messages)
		}
	}
}

// TestThousandConnects: clients come and go, in order and not.
func TestThousandConnects(t *testing.T) {
	rounds := 1000
	if testing.Short() {
		rounds = 100
	}
	dev := newFzDevice(t)
	defer dev.mem.Close()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(dev, ServerOptions{})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	var held fzHeld
	for i := range rounds {
		if i == 10 { // what is made once has been made
			held = fzHold(t)
		}
		if err := fzVisit(path, i); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
	}
	held.check(t, 3) // the last one may still be on its way out
	s.Close(0)
	if err := <-served; !errors.Is(err, ErrServerClosed) {
		t.Fatal(err)
	}
	if n := s.Stats().Clients; n != uint64(rounds) {
		t.Errorf("%d clients came and went, not %d", n, rounds)
	}
}

// fzVisit connects, uses the device and leaves, in a way that depends on i.
func fzVisit(path string, i int) error {
	var f *Client
	for end := time.Now().Add(3 * time.Second); ; {
		var err error
		if f, err = Dial(context.Background(), path, ClientOptions{}); err == nil {
			break
		}
		if !errors.Is(err, ErrBusy) || time.Now().After(end) {
			return err
		}
	}
	defer f.Close()
	if i%8 == 7 { // in the middle of nothing
		return f.c.c.Close()
	}
	in, err := f.AllocDMA(4*pageSize, hal.CardWrites)
	if err != nil {
		return err
	}
	v, err := f.Vectors(4)
	if err != nil {
		return err
	}
	bar, err := f.Region(0)
	if err != nil {
		return err
	}
	bar.Store64(fzJobAddr, in.IOVA+8)
	bar.Store64(fzJobWhat, 9|0x42<<8) // Store64
	bar.Store64(fzJobAddr, 3)
	bar.Store64(fzJobWhat, 10|IRQMSIX<<8)
	if i%8 == 6 { // in the middle of work
		return f.c.c.Close()
	}
	if ok, err := v[3].Wait(3 * time.Second); !ok || err != nil {
		return fmt.Errorf("no interrupt: %w", err)
	}
	if got := load64(in.Bytes[8:]); got != 0x42 {
		return fmt.Errorf("the device wrote %#x", got)
	}
	switch i % 8 {
	case 5: // in the middle of a message
		f.c.c.Write([]byte{1, 0, byte(CmdDMAMap), 0, 48, 0, 0, 0})
		return f.c.c.Close()
	case 4:
		return in.Free()
	case 3:
		return f.Reset(hal.ResetFLR)
	}
	return nil
}

// TestEarlyAnswer: a peer may guess a question's number and answer before it
// is asked. What comes with such an answer is closed, also when nobody asks
// any more.
func TestEarlyAnswer(t *testing.T) {
	held := fzHold(t)
	fzEarly(t, nil, true)
	stop := make(chan struct{})
	close(stop)
	for range 20 { // which of two events is seen first is left to chance
		fzEarly(t, stop, false)
	}
	held.check(t, 0)
}

func fzEarly(t *testing.T, stop chan struct{}, hangUp bool) {
	a, b := fzPair(t)
	defer a.Close()
	defer b.Close()
	k := newConn(a)
	k.wmu.Lock() // holds the question back
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, fds, _ := k.askUntil(stop, CmdGetInfo, time.Second, nil, nil)
		closeFDs(fds)
	}()
	for asked := false; !asked; time.Sleep(10 * time.Microsecond) {
		k.mu.Lock()
		asked = len(k.calls) > 0
		k.mu.Unlock()
	}
	fd := fzFD(fzEvent, 0, nil)
	newConn(b).write(header{ID: 1, Cmd: CmdGetInfo, Flags: typeReply}, []int{fd})
	closeFDs([]int{fd})
	m, err := k.read()
	if err == nil {
		err = k.deliver(&m)
	}
	if err != nil {
		t.Error(err)
	}
	m.close()
	if hangUp {
		b.Close()
	}
	k.wmu.Unlock()
	<-done
}

// TestSealedSize: a file that is cut short and then sealed is never taken for
// one that had its old size when it was sealed. An access to what has gone
// would end the process.
func TestSealedSize(t *testing.T) {
	for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); {
		fd := fzFD(fzMemfd, 4, nil)
		done := make(chan struct{})
		go func() {
			fzTruncate(fd, 0)
			fzSeal(fd)
			close(done)
		}()
		for sealed := false; !sealed; {
			var size int64
			if _, size, sealed, _ = stat(fd); sealed && size > 0 {
				t.Fatalf("a file of %d bytes is sealed, but it has none", size)
			}
		}
		<-done
		closeFDs([]int{fd})
	}
}

// TestAllocWhileClosing: memory that is being shared when the client is
// closed has one owner.
func TestAllocWhileClosing(t *testing.T) {
	dev := newFzDevice(t)
	defer dev.mem.Close()
	s := NewServer(dev, ServerOptions{})
	held := fzHold(t)
	for range 50 {
		a, b := fzPair(t)
		go s.ServeConn(b)
		f, err := NewClient(context.Background(), a, ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				for {
					d, err := f.AllocDMA(pageSize, hal.CardReads)
					if err != nil {
						return
					}
					_ = d.Bytes
				}
			})
		}
		time.Sleep(200 * time.Microsecond)
		f.Close()
		all.Wait()
	}
	held.check(t, 0)
}
