package user

import (
	"fmt"
	"sync"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/internal/iommu"
)

// region is a region of the device as its client sees it. Areas that the
// server lets us map are accessed in place; the rest takes a message: reads
// wait for the answer, and writes are posted, as on PCI Express, so that a
// read behind them finds them done.
type region struct {
	f       *Client
	index   int
	size    int
	mode    uint32
	mu      sync.RWMutex // windows do not go while they are used
	windows []window
}

// window is a mapped area of a region.
type window struct {
	off   int
	bytes []byte
	shaky bool
}

// maxRegion bounds a BAR: offsets have to fit an int, with room.
const maxRegion = 1 << 46

// learnRegion asks what region i is like; nothing if it has no size.
func (f *Client) learnRegion(i int) error {
	const room = regionInfoSize + 16 + 16*maxAreas
	reply := make([]byte, room)
	q := regionInfo{Argsz: room, Index: uint32(i)}
	head := append(put32(q.Argsz, 0, q.Index, 0), make([]byte, 16)...)
	n, fds, err := f.c.ask(CmdGetRegionInfo, f.o.Timeout, reply, nil, head)
	defer closeFDs(fds)
	if err != nil {
		return err
	}
	info, err := decodeRegionInfo(reply[:n])
	switch {
	case err != nil:
		return fmt.Errorf("%w: region %d: %w", ErrProtocol, i, err)
	case info.Index != uint32(i):
		return fmt.Errorf("%w: asked for region %d, got %d", ErrProtocol, i, info.Index)
	case info.Size == 0:
		return nil
	case info.Size > maxRegion || i <= 5 && info.Size&(info.Size-1) != 0:
		return fmt.Errorf("%w: region %d of %#x bytes", ErrProtocol, i, info.Size)
	}
	r := &region{f: f, index: i, size: int(info.Size), mode: info.Flags}
	f.regions[i] = r
	if info.Flags&regionMMap == 0 || len(fds) != 1 {
		if len(fds) > 0 {
			return fmt.Errorf("%w: %d file descriptors with region %d", ErrProtocol, len(fds), i)
		}
		return nil
	}
	return r.mmap(fds[0], info)
}

func (r *region) mmap(fd int, info regionInfo) error {
	bad := func(why string, args ...any) error {
		return fmt.Errorf("%w: region %d: %s", ErrProtocol, r.index, fmt.Sprintf(why, args...))
	}
	_, size, sealed, err := stat(fd)
	if err != nil {
		return bad("%v", err)
	}
	areas := info.Areas
	if areas == nil {
		areas = []Area{{0, info.Size}}
	}
	for _, a := range areas {
		switch {
		case a.Size == 0 || (a.Offset|a.Size)%pageSize != 0 || a.Size > info.Size || a.Offset > info.Size-a.Size:
			return bad("mmap area of %#x bytes at %#x", a.Size, a.Offset)
		case info.Offset > uint64(size) || a.Offset+a.Size > uint64(size)-info.Offset:
			return bad("mmap area of %#x bytes at %#x is past the end of its file", a.Size, a.Offset)
		}
		b, err := mapWindow(fd, info.Offset+a.Offset, a.Size)
		if err != nil {
			return fmt.Errorf("vfio-user: map region %d: %w", r.index, err)
		}
		r.windows = append(r.windows, window{int(a.Offset), b, !sealed})
	}
	return nil
}

func (r *region) close() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.windows {
		unmap(w.bytes)
	}
	r.windows = nil
}

// Region implements hal.Function.
func (f *Client) Region(bar int) (hal.Region, error) {
	if bar < 0 || bar > 5 || f.regions[bar] == nil {
		return nil, fmt.Errorf("vfio-user: no BAR %d: %w", bar, hal.ErrOutOfRange)
	}
	if f.closed.Load() {
		return nil, hal.ErrClosed
	}
	return f.regions[bar], nil
}

// read is one access by message.
func (r *region) read(off, width int) (v uint64, err error) {
	a := access{uint64(off), uint32(r.index), uint32(width)}
	var head [accessSize]byte
	var reply [accessSize + 8]byte
	a.put(head[:])
	n, err := r.f.ask(CmdRegionRead, reply[:], nil, head[:])
	if err != nil {
		return ^uint64(0), err
	}
	if n != accessSize+width {
		err = fmt.Errorf("%w: answer to REGION_READ of %d bytes, not %d", ErrProtocol, n, accessSize+width)
		r.f.c.fail(err)
		return ^uint64(0), err
	}
	return le.Uint64(reply[accessSize:]), nil // what is beyond width is 0
}

// write is one access by message; posted ones do not wait.
func (r *region) write(off, width int, v uint64, posted bool) error {
	a := access{uint64(off), uint32(r.index), uint32(width)}
	var b [accessSize + 8]byte
	a.put(b[:])
	le.PutUint64(b[accessSize:], v)
	if posted {
		return r.f.c.tell(CmdRegionWrite, b[:accessSize+width])
	}
	var reply [accessSize]byte
	_, err := r.f.ask(CmdRegionWrite, reply[:], nil, b[:accessSize+width])
	return err
}

// Size implements hal.Region.
func (r *region) Size() int { return r.size }

func (r *region) check(off, width int) {
	if off < 0 || off%width != 0 || off > r.size-width {
		panic(fmt.Errorf("vfio-user: BAR%d access of %d bytes at %#x: %w", r.index, width, off, hal.ErrOutOfRange))
	}
}

// mapped returns the memory of an access that needs no message.
func (r *region) mapped(off, width int) (b []byte, shaky bool) {
	for i := range r.windows {
		w := &r.windows[i]
		if d := off - w.off; d >= 0 && d+width <= len(w.bytes) {
			return w.bytes[d : d+width], w.shaky
		}
	}
	return nil, false
}

func (r *region) load(off, width int) (v uint64) {
	r.check(off, width)
	r.mu.RLock()
	defer r.mu.RUnlock()
	b, shaky := r.mapped(off, width)
	if b == nil {
		if r.f.shut() != nil {
			return ^uint64(0)
		}
		v, err := r.read(off, width)
		if err != nil {
			return ^uint64(0)
		}
		return v
	}
	if r.f.c.dead.Load() { // the window is still there, but no card behind it
		return ^uint64(0)
	}
	get := func() {
		if width == 4 {
			v = uint64(load32(b))
		} else {
			v = load64(b)
		}
	}
	if !shaky {
		get()
	} else if iommu.Guard(0, false, get) != nil {
		return ^uint64(0)
	}
	return v
}

func (r *region) store(off, width int, v uint64) {
	r.check(off, width)
	r.mu.RLock()
	defer r.mu.RUnlock()
	b, shaky := r.mapped(off, width)
	if b == nil {
		if r.f.shut() == nil {
			r.write(off, width, v, true) // a lost card's stores vanish
		}
		return
	}
	if r.f.c.dead.Load() {
		return
	}
	put := func() {
		if width == 4 {
			store32(b, uint32(v))
		} else {
			store64(b, v)
		}
	}
	if !shaky {
		put()
	} else {
		iommu.Guard(0, true, put) // stores to what has gone vanish
	}
}

// Load32 implements hal.Region, as the following do.
func (r *region) Load32(off int) uint32 { return uint32(r.load(off, 4)) }

// Load64 is one access of 8 bytes.
func (r *region) Load64(off int) uint64 { return r.load(off, 8) }

// Store32 is one access of 4 bytes.
func (r *region) Store32(off int, v uint32) { r.store(off, 4, uint64(v)) }

// Store64 is one access of 8 bytes.
func (r *region) Store64(off int, v uint64) { r.store(off, 8, v) }
