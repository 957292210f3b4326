package user

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/internal/iommu"
	"github.com/hc1-toolkit/hc1/internal/irq"
	"github.com/hc1-toolkit/hc1/internal/pci"
)

// ClientOptions may be left zero.
type ClientOptions struct {
	// Timeout bounds every answer of the server but that to a reset; 5 s.
	Timeout time.Duration
	// NoFiles keeps the client's memory to itself: the device reaches it by
	// messages only.
	NoFiles bool
}

// resetTimeout bounds a reset: a kernel gives a function one second after a
// hundred milliseconds, and a server may be busy.
const resetTimeout = 10 * time.Second

// Client is a PCI function behind a socket: a hal.Function.
type Client struct {
	c       *conn
	o       ClientOptions
	path    string
	caps    Capabilities
	info    deviceInfo
	regions [NumRegions]*region // nil: none
	irqs    [NumIRQs]int
	done    chan struct{} // the reader has ended

	mu      sync.Mutex // control: buffers, vectors, events
	bumpTo  uint64
	buffers map[uint64]*buffer
	set     *irq.Set // vectors
	err     irq.FD   // the ERR interrupt
	req     irq.FD   // the REQ interrupt
	lost    bool     // reported
	closed  atomic.Bool

	dma   sync.RWMutex
	table iommu.Table // what the device may reach
}

var _ hal.Function = (*Client)(nil)

// Dial connects to a server's socket and learns what device it has.
func Dial(ctx context.Context, path string, o ClientOptions) (*Client, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("vfio-user: %w", err)
	}
	return NewClient(ctx, c.(*net.UnixConn), o)
}

// NewClient is Dial on a socket that is connected already. The client owns
// it, also when there is an error.
func NewClient(ctx context.Context, c *net.UnixConn, o ClientOptions) (*Client, error) {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	f := &Client{c: newConn(c), o: o, path: c.RemoteAddr().String(), done: make(chan struct{}), bumpTo: iovaBase, buffers: map[uint64]*buffer{}, err: irq.None, req: irq.None}
	stop := context.AfterFunc(ctx, func() { f.c.fail(context.Cause(ctx)) })
	go f.read()
	err := f.introduce()
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		f.c.fail(err)
		<-f.done
		f.closeEvents()
		for _, r := range f.regions {
			r.close()
		}
		return nil, err
	}
	return f, nil
}

// read serves the connection until it ends.
func (f *Client) read() {
	defer close(f.done)
	for {
		m, err := f.c.read()
		if err == nil {
			if m.reply() {
				err = f.c.deliver(&m)
			} else {
				err = f.serve(&m)
			}
			m.close()
		}
		if err != nil {
			f.c.fail(err)
			f.wake()
			f.c.c.Close()
			return
		}
	}
}

// wake lets go whoever waits for an interrupt that will not come.
func (f *Client) wake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set.End()
}

// introduce agrees on a version and asks what the device is like.
func (f *Client) introduce() error {
	ours := Capabilities{MaxFDs: MaxFDs, MaxTransfer: MaxTransfer, MaxMaps: defaultMaxMaps, PageSizes: pageSize, ErrorEvents: true}
	reply := make([]byte, maxVersionBytes)
	n, err := f.ask(CmdVersion, reply, nil, encodeVersion(versionMajor, versionMinor, &ours))
	if err != nil {
		if errors.Is(err, eBUSY) {
			return fmt.Errorf("%w: another client holds it", ErrBusy)
		}
		return err
	}
	major, minor, caps, err := decodeVersion(reply[:n])
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	case major != versionMajor || minor > versionMinor:
		return fmt.Errorf("%w: version %d.%d, this is %d.%d", hal.ErrUnsupported, major, minor, versionMajor, versionMinor)
	}
	f.dma.Lock() // the server may ask for DMA already
	f.caps = caps
	f.dma.Unlock()
	if n, err = f.ask(CmdGetInfo, reply, nil, (&deviceInfo{Argsz: deviceInfoSize}).encode()); err != nil {
		return err
	}
	info, ok := decodeDeviceInfo(reply[:n])
	if !ok || info.Flags&devicePCI == 0 || info.Regions <= RegionConfig || info.Regions > 100 || info.IRQs > 50 {
		return fmt.Errorf("%w: no PCI device: %+v", ErrProtocol, info)
	}
	f.info = info
	for i := 0; i <= RegionConfig; i++ {
		if i == RegionROM {
			continue
		}
		if err := f.learnRegion(i); err != nil {
			return err
		}
	}
	if f.regions[RegionConfig] == nil {
		return fmt.Errorf("%w: no configuration space", ErrProtocol)
	}
	return f.learnIRQs()
}

// ErrBusy: the server has a client already.
var ErrBusy = errors.New("vfio-user: busy")

// ask is a call whose answer brings no descriptors.
func (f *Client) ask(cmd Command, reply []byte, fds []int, parts ...[]byte) (int, error) {
	n, got, err := f.c.ask(cmd, f.o.Timeout, reply, fds, parts...)
	if len(got) > 0 {
		closeFDs(got)
		err = fmt.Errorf("%w: file descriptors with an answer to %s", ErrProtocol, cmd)
		f.c.fail(err)
	}
	return n, err
}

// lossOf turns the end of the connection into hal's error for it.
func (f *Client) lossOf(err error) error {
	if err == nil {
		return nil
	}
	if r, ok := errors.AsType[*Refusal](err); ok {
		if r.Errno == eNOSPC || r.Errno == eNOMEM {
			return fmt.Errorf("%w: %w", hal.ErrNoMemory, err)
		}
		return err
	}
	return fmt.Errorf("%w: %s: %w", hal.ErrCardLost, f.path, err)
}

// shut reports why the function cannot be used.
func (f *Client) shut() error {
	if f.closed.Load() {
		return hal.ErrClosed
	}
	return f.lossOf(f.c.reason())
}

// ReadConfig implements hal.Function.
func (f *Client) ReadConfig(off, width int) (uint32, error) {
	if err := configRange(off, width); err != nil {
		return 0, err
	}
	if err := f.shut(); err != nil {
		return 0, err
	}
	v, err := f.regions[RegionConfig].read(off, width)
	return uint32(v), f.lossOf(err)
}

// WriteConfig implements hal.Function.
func (f *Client) WriteConfig(off, width int, v uint32) error {
	if err := configRange(off, width); err != nil {
		return err
	}
	if err := f.shut(); err != nil {
		return err
	}
	return f.lossOf(f.regions[RegionConfig].write(off, width, uint64(v), false))
}

func configRange(off, width int) error {
	if width != 1 && width != 2 && width != 4 || off < 0 || off%width != 0 || off > 4096-width {
		return fmt.Errorf("vfio-user: config access of %d bytes at %#x: %w", width, off, hal.ErrOutOfRange)
	}
	return nil
}

// Messages is how many messages this client has sent.
func (f *Client) Messages() uint64 { return f.c.sent.Load() }

// Events implements hal.Function.
func (f *Client) Events() (out []hal.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed.Load() {
		return nil
	}
	if f.err >= 0 && f.err.Take() {
		out = append(out, hal.Event{Kind: hal.EventError, Detail: "uncorrectable PCI Express error signalled by the card"})
	}
	if f.req >= 0 && f.req.Take() {
		out = append(out, hal.Event{Kind: hal.EventRemoval, Detail: "removal requested"})
	}
	if why := f.c.reason(); why != nil && !f.lost {
		f.lost = true
		out = append(out, hal.Event{Kind: hal.EventLost, Detail: why.Error()})
	}
	return out
}

// Reset implements hal.Function. The protocol knows no hot reset.
func (f *Client) Reset(level hal.Level) error {
	if err := f.shut(); err != nil {
		return err
	}
	if level != hal.ResetFLR || f.info.Flags&deviceReset == 0 {
		return fmt.Errorf("vfio-user: reset level %d: %w", level, hal.ErrUnsupported)
	}
	_, fds, err := f.c.ask(CmdReset, resetTimeout, nil, nil)
	closeFDs(fds)
	if err != nil {
		return fmt.Errorf("reset: %w", f.lossOf(err))
	}
	f.mu.Lock()
	f.set.Drain()
	f.mu.Unlock()
	return f.answers()
}

// answers verifies a reset: the function is there and has no transactions
// pending (PCI Express Base 5.0, 6.6.2).
func (f *Client) answers() error {
	id, err := f.ReadConfig(0, 4)
	if err != nil {
		return err
	}
	if id == 0xFFFF_FFFF {
		return errors.New("vfio-user: reset: function does not answer")
	}
	at, err := pci.Capability(f.ReadConfig, pci.Express)
	if err != nil || at == 0 {
		return err
	}
	status, err := f.ReadConfig(at+0x0A, 2)
	if err != nil {
		return err
	}
	if status&(1<<5) != 0 {
		return errors.New("vfio-user: reset: transactions pending")
	}
	return nil
}

// Close implements hal.Function. It returns when the server has put the
// function away: it hangs up then.
func (f *Client) Close() error {
	if f.closed.Swap(true) {
		return nil
	}
	f.wake()
	lost := f.c.reason() != nil
	f.c.c.CloseWrite()
	var err error
	t := time.NewTimer(f.o.Timeout)
	defer t.Stop()
	select {
	case <-f.done:
	case <-t.C:
		f.c.fail(ErrTimeout)
		<-f.done
		if !lost {
			err = fmt.Errorf("vfio-user: close: the server did not let go in %v", f.o.Timeout)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dma.Lock()
	f.table.Clear(nil)
	f.dma.Unlock()
	for _, b := range f.buffers {
		b.mem.Close()
	}
	f.buffers = nil
	f.set.Close()
	f.set = nil
	f.closeEvents()
	for _, r := range f.regions {
		r.close()
	}
	return err
}
