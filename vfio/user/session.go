package user

import (
	"errors"
	"fmt"
	"log/slog"
)

// session is one client of a server.
type session struct {
	s      *Server
	c      *conn
	dev    Device
	layout Layout
	caps   Capabilities
	log    *slog.Logger
	bus    *Bus
}

// refused is a command's error with the number to reply. Nothing was done.
type refused struct {
	errno Errno
	why   string
}

func (r *refused) Error() string { return r.why }

func refuse(errno Errno, format string, args ...any) error {
	return &refused{errno, fmt.Sprintf(format, args...)}
}

// errnoOf is the number that a reply gives for an error.
func errnoOf(err error) Errno {
	if r, ok := errors.AsType[*refused](err); ok {
		return r.errno
	}
	if e, ok := errors.AsType[Errno](err); ok && e != 0 {
		return e
	}
	return eIO
}

// handle carries out one command and answers it. An error ends the
// connection; what is merely wrong is answered with an error.
func (x *session) handle(m *message) error {
	if m.Cmd == CmdVersion {
		x.c.answer(m.header, eINVAL, nil)
		return fmt.Errorf("%w: VERSION a second time", ErrProtocol)
	}
	h := handlers[min(int(m.Cmd), len(handlers)-1)]
	if h.f == nil {
		return x.refuse(m, refuse(eNOSYS, "no such command"))
	}
	if n := len(m.body); n < h.least || h.exact && n != h.least {
		return x.refuse(m, refuse(eINVAL, "payload of %d bytes, not %d", n, h.least))
	}
	if len(m.fds) > x.caps.MaxFDs && m.Cmd != CmdDMAMap || len(m.fds) > 1 && m.Cmd == CmdDMAMap || len(m.fds) > 0 && !h.fds {
		return x.refuse(m, refuse(eINVAL, "%d file descriptors", len(m.fds)))
	}
	x.bus.enter()
	reply, fds, err := h.f(x, m)
	if err != nil {
		err = x.refuse(m, err)
	} else {
		err = x.c.answer(m.header, 0, fds, reply)
	}
	x.bus.leave()
	return err
}

func (x *session) refuse(m *message, why error) error {
	x.s.count(func(t *Stats) { t.Refused++ })
	x.log.Debug("command refused", "command", m.Cmd, "why", why)
	return x.c.answer(m.header, errnoOf(why), nil)
}

// handler says how long a command's payload is and what to do with it. The
// reply is valid until the next command.
type handler struct {
	least int // bytes
	exact bool
	fds   bool // may come with descriptors
	f     func(*session, *message) (reply []byte, fds []int, err error)
}

// handlers by command; the last is for those that do not exist.
var handlers [20]handler

func init() { // not a literal: the handlers use what uses this table
	for cmd, h := range map[Command]handler{
		CmdDMAMap:           {dmaMapSize, true, true, (*session).dmaMap},
		CmdDMAUnmap:         {dmaUnmapSize, true, false, (*session).dmaUnmap},
		CmdGetInfo:          {deviceInfoSize, true, false, (*session).deviceInfo},
		CmdGetRegionInfo:    {regionInfoSize, false, false, (*session).regionInfo},
		CmdGetRegionIOFDs:   {ioFDsSize, true, false, (*session).regionIOFDs},
		CmdGetIRQInfo:       {irqInfoSize, true, false, (*session).irqInfo},
		CmdSetIRQs:          {irqSetSize, false, true, (*session).setIRQs},
		CmdRegionRead:       {accessSize, true, false, (*session).regionRead},
		CmdRegionWrite:      {accessSize, false, false, (*session).regionWrite},
		CmdReset:            {0, true, false, (*session).reset},
		CmdDirtyPages:       {0, false, false, unsupported},
		CmdRegionWriteMulti: {8, false, false, (*session).regionWriteMulti},
		CmdFeature:          {8, false, false, unsupported},
		CmdMigDataRead:      {0, false, false, unsupported},
		CmdMigDataWrite:     {0, false, false, unsupported},
	} {
		handlers[cmd] = h
	}
}

func unsupported(*session, *message) ([]byte, []int, error) {
	return nil, nil, refuse(eNOTSUP, "not offered")
}

func (x *session) deviceInfo(m *message) ([]byte, []int, error) {
	d, _ := decodeDeviceInfo(m.body)
	if d.Argsz < deviceInfoSize {
		return nil, nil, refuse(eINVAL, "argsz %d", d.Argsz)
	}
	d = deviceInfo{deviceInfoSize, deviceReset | devicePCI, NumRegions, NumIRQs}
	return d.encode(), nil, nil
}

// regionInfo: where there are capabilities that argsz has no room for, the
// reply says how much room they need, and the client asks again.
func (x *session) regionInfo(m *message) ([]byte, []int, error) {
	// Of the request only these two count: the rest is the answer's.
	q := regionInfo{Argsz: le.Uint32(m.body), Index: le.Uint32(m.body[8:])}
	if q.Argsz < regionInfoSize || q.Index >= NumRegions {
		return nil, nil, refuse(eINVAL, "region %d, argsz %d", q.Index, q.Argsz)
	}
	r := x.layout.Regions[q.Index]
	info := regionInfo{Index: q.Index, Size: r.Size}
	if r.Read {
		info.Flags |= regionRead
	}
	if r.Write {
		info.Flags |= regionWrite
	}
	var fds []int
	if r.Memory != nil && r.Size > 0 && x.caps.MaxFDs > 0 {
		info.Flags |= regionMMap
		info.Areas = r.Areas
		if int64(q.Argsz) >= int64(info.size()) {
			fds = []int{r.Memory.fd}
		}
	}
	return info.encode(q.Argsz), fds, nil
}

func (x *session) regionIOFDs(m *message) ([]byte, []int, error) {
	argsz, index := le.Uint32(m.body), le.Uint32(m.body[8:])
	if argsz < ioFDsSize || index >= NumRegions {
		return nil, nil, refuse(eINVAL, "region %d, argsz %d", index, argsz)
	}
	return put32(ioFDsSize, 0, index, 0), nil, nil // no ioeventfds
}

func (x *session) regionRead(m *message) ([]byte, []int, error) {
	a, _, _ := decodeAccess(m.body)
	if err := x.check(a, false); err != nil {
		return nil, nil, err
	}
	b := x.bus.scratch(accessSize + int(a.Count))
	copy(b, m.body)
	data := b[accessSize:]
	clear(data)
	if err := x.dev.Access(int(a.Region), a.Offset, data, false); err != nil {
		return nil, nil, err
	}
	return b, nil, nil
}

func (x *session) regionWrite(m *message) ([]byte, []int, error) {
	a, data, _ := decodeAccess(m.body)
	if len(data) != int(a.Count) {
		return nil, nil, refuse(eINVAL, "write of %d bytes with %d bytes of data", a.Count, len(data))
	}
	if err := x.check(a, true); err != nil {
		return nil, nil, err
	}
	if err := x.dev.Access(int(a.Region), a.Offset, data, true); err != nil {
		return nil, nil, err
	}
	return m.body[:accessSize], nil, nil
}

// check holds an access against the region it goes to.
func (x *session) check(a access, write bool) error {
	if a.Region >= NumRegions {
		return refuse(eINVAL, "region %d", a.Region)
	}
	r := &x.layout.Regions[a.Region]
	switch {
	case a.Count == 0 || int64(a.Count) > int64(x.caps.MaxTransfer):
		return refuse(eINVAL, "access of %d bytes", a.Count)
	case a.Offset > r.Size || uint64(a.Count) > r.Size-a.Offset:
		return refuse(eINVAL, "access of %d bytes at %#x of region %d, which has %#x", a.Count, a.Offset, a.Region, r.Size)
	case write && !r.Write || !write && !r.Read:
		return refuse(eINVAL, "region %d does not allow it", a.Region)
	}
	return nil
}

// regionWriteMulti is up to 8 bytes each to many places: what QEMU packs
// posted writes in.
func (x *session) regionWriteMulti(m *message) ([]byte, []int, error) {
	if !x.caps.WriteMultiple {
		return nil, nil, refuse(eNOTSUP, "write_multiple was not agreed on")
	}
	n := le.Uint64(m.body)
	entries := m.body[8:]
	if n == 0 || len(entries)%multiEntrySize != 0 || n != uint64(len(entries)/multiEntrySize) {
		return nil, nil, refuse(eINVAL, "%d writes in %d bytes", n, len(entries))
	}
	for pass := range 2 { // all are checked before any is done
		for e := entries; len(e) > 0; e = e[multiEntrySize:] {
			a, data, _ := decodeAccess(e[:multiEntrySize])
			if pass == 0 {
				if a.Count > 8 {
					return nil, nil, refuse(eINVAL, "write of %d bytes in a list", a.Count)
				}
				if err := x.check(a, true); err != nil {
					return nil, nil, err
				}
				continue
			}
			if err := x.dev.Access(int(a.Region), a.Offset, data[:a.Count], true); err != nil {
				return nil, nil, err
			}
		}
	}
	return m.body[:8], nil, nil
}

func (x *session) reset(*message) ([]byte, []int, error) {
	x.bus.beginReset()
	defer x.bus.endReset()
	return nil, nil, x.dev.Reset()
}
