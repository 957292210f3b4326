package user

import (
	"encoding/binary"
	"fmt"
)

// Command is the kind of a message (VFIO_USER_*).
type Command uint16

// Commands. All go from client to server but DMARead and DMAWrite.
const (
	CmdVersion          Command = 1
	CmdDMAMap           Command = 2
	CmdDMAUnmap         Command = 3
	CmdGetInfo          Command = 4
	CmdGetRegionInfo    Command = 5
	CmdGetRegionIOFDs   Command = 6
	CmdGetIRQInfo       Command = 7
	CmdSetIRQs          Command = 8
	CmdRegionRead       Command = 9
	CmdRegionWrite      Command = 10
	CmdDMARead          Command = 11
	CmdDMAWrite         Command = 12
	CmdReset            Command = 13
	CmdDirtyPages       Command = 14
	CmdRegionWriteMulti Command = 15
	CmdFeature          Command = 16
	CmdMigDataRead      Command = 17
	CmdMigDataWrite     Command = 18
)

var commandNames = [...]string{"command 0", "VERSION", "DMA_MAP", "DMA_UNMAP", "GET_INFO", "GET_REGION_INFO", "GET_REGION_IO_FDS", "GET_IRQ_INFO",
	"SET_IRQS", "REGION_READ", "REGION_WRITE", "DMA_READ", "DMA_WRITE", "RESET", "DIRTY_PAGES", "REGION_WRITE_MULTI", "FEATURE", "MIG_DATA_READ", "MIG_DATA_WRITE"}

func (c Command) String() string {
	if int(c) < len(commandNames) {
		return commandNames[c]
	}
	return fmt.Sprintf("command %d", uint16(c))
}

// Sizes in bytes of what messages are made of.
const (
	headerSize     = 16
	versionSize    = 4 // before the JSON
	dmaMapSize     = 32
	dmaUnmapSize   = 24
	deviceInfoSize = 16
	regionInfoSize = 32
	irqInfoSize    = 16
	irqSetSize     = 20
	accessSize     = 16 // of REGION_READ, REGION_WRITE, DMA_READ and DMA_WRITE, before the data
	multiEntrySize = 24
	ioFDsSize      = 16
)

// Bits of header.flags.
const (
	typeMask    = 0xF
	typeCommand = 0
	typeReply   = 1
	flagNoReply = 1 << 4
	flagError   = 1 << 5
)

// header begins every message. Size counts it in; Errno is valid with
// flagError. Words are in the byte order of the machine: little-endian ones
// are supported.
type header struct {
	ID    uint16
	Cmd   Command
	Size  uint32
	Flags uint32
	Errno uint32
}

var le = binary.LittleEndian

func (h *header) put(b []byte) {
	le.PutUint16(b, h.ID)
	le.PutUint16(b[2:], uint16(h.Cmd))
	le.PutUint32(b[4:], h.Size)
	le.PutUint32(b[8:], h.Flags)
	le.PutUint32(b[12:], h.Errno)
}

func getHeader(b []byte) header {
	return header{le.Uint16(b), Command(le.Uint16(b[2:])), le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint32(b[12:])}
}

func (h *header) reply() bool { return h.Flags&typeMask == typeReply }

// Flags of DMA_MAP and DMA_UNMAP.
const (
	dmaRead   = 1 << 0
	dmaWrite  = 1 << 1
	dmaMMap   = 1 << 2 // the fd is to be mapped; so is one without any bit
	dmaFileIO = 1 << 3 // the fd is to be read and written
	unmapAll  = 1 << 1
)

// dmaMap is the payload of DMA_MAP: Size bytes at Offset of the file that
// came along are the device's at Addr.
type dmaMap struct {
	Argsz, Flags       uint32
	Offset, Addr, Size uint64
}

func (m *dmaMap) encode() []byte {
	b := make([]byte, dmaMapSize)
	le.PutUint32(b, m.Argsz)
	le.PutUint32(b[4:], m.Flags)
	le.PutUint64(b[8:], m.Offset)
	le.PutUint64(b[16:], m.Addr)
	le.PutUint64(b[24:], m.Size)
	return b
}

func decodeDMAMap(b []byte) (m dmaMap, ok bool) {
	if len(b) != dmaMapSize {
		return m, false
	}
	return dmaMap{le.Uint32(b), le.Uint32(b[4:]), le.Uint64(b[8:]), le.Uint64(b[16:]), le.Uint64(b[24:])}, true
}

type dmaUnmap struct {
	Argsz, Flags uint32
	Addr, Size   uint64
}

func (m *dmaUnmap) encode() []byte {
	b := make([]byte, dmaUnmapSize)
	le.PutUint32(b, m.Argsz)
	le.PutUint32(b[4:], m.Flags)
	le.PutUint64(b[8:], m.Addr)
	le.PutUint64(b[16:], m.Size)
	return b
}

func decodeDMAUnmap(b []byte) (m dmaUnmap, ok bool) {
	if len(b) != dmaUnmapSize {
		return m, false
	}
	return dmaUnmap{le.Uint32(b), le.Uint32(b[4:]), le.Uint64(b[8:]), le.Uint64(b[16:])}, true
}

// Flags of a device.
const (
	deviceReset = 1 << 0
	devicePCI   = 1 << 1
)

type deviceInfo struct{ Argsz, Flags, Regions, IRQs uint32 }

func (d *deviceInfo) encode() []byte {
	return put32(d.Argsz, d.Flags, d.Regions, d.IRQs)
}

func decodeDeviceInfo(b []byte) (d deviceInfo, ok bool) {
	if len(b) != deviceInfoSize {
		return d, false
	}
	return deviceInfo{le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint32(b[12:])}, true
}

func put32(v ...uint32) []byte {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = le.AppendUint32(b, x)
	}
	return b
}

// Flags of a region, and the id of the capability that lists what of it may
// be mapped.
const (
	regionRead  = 1 << 0
	regionWrite = 1 << 1
	regionMMap  = 1 << 2
	regionCaps  = 1 << 3

	capSparseMMap = 1
	maxAreas      = 64 // of a region, taken from a peer
)

// regionInfo is struct vfio_region_info with its capabilities.
type regionInfo struct {
	Argsz, Flags, Index, CapOffset uint32
	Size, Offset                   uint64
	Areas                          []Area // nil: no such capability; empty: nothing may be mapped
}

// size is how long the encoding with capabilities is.
func (r *regionInfo) size() int {
	if r.Areas == nil {
		return regionInfoSize
	}
	return regionInfoSize + 16 + 16*len(r.Areas)
}

// encode writes the region with its capabilities if argsz has room for them.
func (r *regionInfo) encode(argsz uint32) []byte {
	n := r.size()
	full := uint64(argsz) >= uint64(n)
	x := *r
	x.Argsz, x.CapOffset = uint32(n), 0
	if r.Areas != nil {
		x.Flags |= regionCaps
		if full {
			x.CapOffset = regionInfoSize
		}
	}
	b := put32(x.Argsz, x.Flags, x.Index, x.CapOffset)
	b = le.AppendUint64(le.AppendUint64(b, x.Size), x.Offset)
	if x.CapOffset == 0 {
		return b
	}
	b = le.AppendUint16(le.AppendUint16(b, capSparseMMap), 1) // id, version
	b = le.AppendUint32(b, 0)                                 // no further capability
	b = le.AppendUint32(le.AppendUint32(b, uint32(len(r.Areas))), 0)
	for _, a := range r.Areas {
		b = le.AppendUint64(le.AppendUint64(b, a.Offset), a.Size)
	}
	return b
}

// decodeRegionInfo takes a region's description apart. The list of
// capabilities is walked with its bounds and a limit on its length.
func decodeRegionInfo(b []byte) (r regionInfo, err error) {
	if len(b) < regionInfoSize {
		return r, fmt.Errorf("region info of %d bytes", len(b))
	}
	r = regionInfo{Argsz: le.Uint32(b), Flags: le.Uint32(b[4:]), Index: le.Uint32(b[8:]), CapOffset: le.Uint32(b[12:]), Size: le.Uint64(b[16:]), Offset: le.Uint64(b[24:])}
	if r.Flags&regionCaps == 0 || r.CapOffset == 0 {
		return r, nil
	}
	for at, n := uint64(r.CapOffset), 0; at != 0; n++ {
		if n == 16 || at < regionInfoSize || at+8 > uint64(len(b)) {
			return r, fmt.Errorf("capability %d at offset %d of %d bytes", n, at, len(b))
		}
		c := b[at:]
		if le.Uint16(c) == capSparseMMap {
			if len(c) < 16 {
				return r, fmt.Errorf("sparse mmap capability of %d bytes", len(c))
			}
			k := le.Uint32(c[8:])
			if int64(k) > int64(maxAreas-len(r.Areas)) || int(k)*16 > len(c)-16 {
				return r, fmt.Errorf("%d mmap areas in %d bytes", k, len(c))
			}
			if r.Areas == nil {
				r.Areas = []Area{}
			}
			for i := range int(k) {
				r.Areas = append(r.Areas, Area{le.Uint64(c[16+16*i:]), le.Uint64(c[24+16*i:])})
			}
		}
		at = uint64(le.Uint32(c[4:]))
	}
	return r, nil
}

// Flags of SET_IRQS: what data there is, and what it does.
const (
	irqDataNone    = 1 << 0
	irqDataBool    = 1 << 1
	irqDataEventFD = 1 << 2
	irqDataMask    = 7
	irqMask        = 1 << 3
	irqUnmask      = 1 << 4
	irqTrigger     = 1 << 5
	irqActionMask  = 7 << 3

	irqInfoEventFD = 1 << 0
	irqNoResize    = 1 << 3
)

type irqSet struct{ Argsz, Flags, Index, Start, Count uint32 }

func (s *irqSet) encode() []byte { return put32(s.Argsz, s.Flags, s.Index, s.Start, s.Count) }

func decodeIRQSet(b []byte) (s irqSet, data []byte, ok bool) {
	if len(b) < irqSetSize {
		return s, nil, false
	}
	return irqSet{le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint32(b[12:]), le.Uint32(b[16:])}, b[irqSetSize:], true
}

// access is the head of REGION_READ and REGION_WRITE. DMA_READ and DMA_WRITE
// have an address and a 64-bit count in the same 16 bytes.
type access struct {
	Offset uint64
	Region uint32
	Count  uint32
}

func (a *access) put(b []byte) {
	le.PutUint64(b, a.Offset)
	le.PutUint32(b[8:], a.Region)
	le.PutUint32(b[12:], a.Count)
}

func decodeAccess(b []byte) (a access, data []byte, ok bool) {
	if len(b) < accessSize {
		return a, nil, false
	}
	return access{le.Uint64(b), le.Uint32(b[8:]), le.Uint32(b[12:])}, b[accessSize:], true
}
