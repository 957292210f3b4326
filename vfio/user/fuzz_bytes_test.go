package user

import (
	"bytes"
	"reflect"
	"testing"
)

// fzBytes is where decisions come from; spent, it gives zeros.
type fzBytes struct{ in []byte }

func (x *fzBytes) byte() byte {
	if len(x.in) == 0 {
		return 0
	}
	b := x.in[0]
	x.in = x.in[1:]
	return b
}

func (x *fzBytes) take(n int) []byte {
	n = min(n, len(x.in))
	b := x.in[:n:n]
	x.in = x.in[n:]
	return b
}

// u64 is mostly near a boundary.
func (x *fzBytes) u64() uint64 {
	b := uint64(x.byte())
	low := b >> 4
	switch b & 15 {
	case 0, 1, 2:
		return low
	case 3, 4, 5:
		return low * pageSize
	case 6:
		return pageSize - low
	case 7:
		return low * 8
	case 8:
		return -low * pageSize
	case 9:
		return -low - 1
	case 10:
		return 1<<(low*4) - 1
	case 11:
		return 1 << (low * 4)
	case 12:
		return 0x10000 + low*pageSize
	case 13:
		return uint64(x.byte())<<8 | low
	case 14:
		return uint64(x.byte())<<32 | uint64(x.byte())<<12
	}
	var v uint64
	for _, c := range x.take(8) {
		v = v<<8 | uint64(c)
	}
	return v
}

func (x *fzBytes) u32() uint32 { return uint32(x.u64()) }

// pages is a count of bytes, mostly few pages.
func (x *fzBytes) pages() uint64 {
	if b := x.byte(); b < 200 {
		return uint64(b%4+1) * pageSize
	}
	return x.u64()
}

// argsz is mostly enough.
func (x *fzBytes) argsz(enough uint32) uint32 {
	if b := x.byte(); b >= 200 {
		return x.u32()
	}
	return enough
}

// place is a region and a range of it, mostly within.
func (x *fzBytes) place() access {
	a := access{Region: uint32(x.byte() % 12), Offset: x.u64(), Count: uint32(x.byte() % 9)}
	if x.byte() >= 220 {
		a.Count = x.u32()
	}
	return a
}

// fds makes n descriptors, of kinds that the bytes choose among likely ones.
func (x *fzClient) fds(n int, likely ...int) (fds []int) {
	for range n {
		b := int(x.in.byte())
		kind := b % fzKinds
		if b >= 64 && len(likely) > 0 {
			kind = likely[b%len(likely)]
		}
		x.own = x.own || kind == fzOwn
		fds = append(fds, fzFD(kind, 1+b>>5, x.c))
	}
	return fds
}

// message is a command whose form is right.
func (x *fzClient) message() (cmd Command, body []byte, fds []int) {
	switch act := x.in.byte() % 32; act {
	default:
		body = (&dmaMap{x.in.argsz(dmaMapSize), uint32(x.in.byte()%4 + 1), uint64(x.in.byte()%3) * pageSize, x.in.u64() &^ (pageSize - 1), x.in.pages()}).encode()
		if x.keep >= 0 && act&1 != 0 {
			fds = []int{fzDupFD(x.keep)}
		} else if act != 0 {
			fds = x.fds(1, fzMemfd, fzSealed)
		}
		return CmdDMAMap, body, fds
	case 6:
		m := dmaMap{x.in.u32(), x.in.u32(), x.in.u64(), x.in.u64(), x.in.u64()}
		return CmdDMAMap, m.encode(), x.fds(int(x.in.byte() % 3))
	case 7, 8:
		m := dmaUnmap{x.in.argsz(dmaUnmapSize), uint32(x.in.byte()) >> 6, x.in.u64(), x.in.pages()}
		return CmdDMAUnmap, m.encode(), nil
	case 9:
		return CmdDMAUnmap, (&dmaUnmap{Argsz: dmaUnmapSize, Flags: unmapAll}).encode(), nil
	case 10:
		return CmdGetInfo, put32(x.in.argsz(deviceInfoSize), 0, 0, 0), nil
	case 11:
		q := put32(x.in.argsz(regionInfoSize), uint32(x.in.byte()), uint32(x.in.byte()%12), uint32(x.in.byte()))
		return CmdGetRegionInfo, append(q, make([]byte, 16)...), nil
	case 12:
		return CmdGetRegionIOFDs, put32(x.in.argsz(ioFDsSize), 0, uint32(x.in.byte()%12), 0), nil
	case 13:
		return CmdGetIRQInfo, put32(x.in.argsz(irqInfoSize), 0, uint32(x.in.byte()%8), 0), nil
	case 14, 15: // arm
		b := x.in.byte()
		q := irqSet{irqSetSize, irqDataEventFD | irqTrigger, uint32(b % 8), uint32(b >> 5), uint32(x.in.byte() % 5)}
		return CmdSetIRQs, q.encode(), x.fds(int(q.Count), fzEvent, fzEvent, fzFullEvent)
	case 16: // anything, often with the data that it should have
		b := x.in.byte()
		q := irqSet{x.in.argsz(irqSetSize + 8), 1<<(b&3) | 8<<(b>>2&3), uint32(b>>4) % 6, uint32(x.in.byte() % 9), uint32(x.in.byte() % 9)}
		data := x.in.take(int(q.Count))
		if q.Flags&irqDataBool == 0 {
			data = data[:0]
		}
		if x.in.byte() >= 220 {
			q.Flags, q.Start, q.Count = x.in.u32(), x.in.u32(), x.in.u32()
		}
		return CmdSetIRQs, append(q.encode(), data...), x.fds(int(x.in.byte()%16)/14, fzEvent)
	case 17:
		return CmdSetIRQs, put32(irqSetSize, irqDataNone|irqTrigger, uint32(x.in.byte()%8), 0, 0), nil
	case 18, 19, 20:
		a := x.in.place()
		body = make([]byte, accessSize)
		a.put(body)
		return CmdRegionRead, body, nil
	case 21, 22:
		a := x.in.place()
		body = make([]byte, accessSize+int(a.Count%5000))
		a.put(body)
		copy(body[accessSize:], x.in.take(8))
		return CmdRegionWrite, body, nil
	case 23, 24, 25, 26, 27: // a job for the device
		a := access{fzJobAddr, 0, 16}
		body = make([]byte, accessSize)
		a.put(body)
		body = le.AppendUint64(body, x.in.u64())
		return CmdRegionWrite, le.AppendUint64(body, uint64(x.in.byte())|x.in.u64()<<8), nil
	case 28:
		n := int(x.in.byte() % 6)
		body = le.AppendUint64(nil, uint64(n))
		for range n {
			a := x.in.place()
			b := make([]byte, multiEntrySize)
			a.put(b)
			body = append(body, b...)
		}
		return CmdRegionWriteMulti, body, nil
	case 29:
		return CmdReset, nil, nil
	case 30, 31:
		return Command(x.in.byte() % 20), x.in.take(int(x.in.byte() % 64)), x.fds(int(x.in.byte() % 2))
	}
}

func FuzzRegionInfo(f *testing.F) {
	for _, r := range []regionInfo{
		{},
		{Index: 2, Size: 1 << 20, Flags: regionRead | regionMMap, Areas: []Area{{0, pageSize}, {2 * pageSize, pageSize}}},
		{Flags: regionCaps, Size: pageSize, Areas: make([]Area, maxAreas)},
	} {
		f.Add(r.encode(1 << 20))
		f.Add(r.encode(regionInfoSize))
	}
	// A list that is a circle.
	loop := (&regionInfo{Areas: []Area{{0, pageSize}}}).encode(1 << 20)
	loop[regionInfoSize+4] = regionInfoSize
	f.Add(loop)
	// Two lists, each within the limit.
	two := (&regionInfo{Areas: make([]Area, 40)}).encode(1 << 20)
	le.PutUint32(two[regionInfoSize+4:], uint32(len(two)))
	f.Add(append(two, two[regionInfoSize:]...))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRegionInfo(b)
		if len(r.Areas) > maxAreas {
			t.Fatalf("%d areas", len(r.Areas))
		}
		if err != nil {
			return
		}
		first := r.encode(1 << 20)
		again, err := decodeRegionInfo(first)
		if err != nil || !reflect.DeepEqual(again.Areas, r.Areas) || again.Index != r.Index || again.Size != r.Size || again.Offset != r.Offset {
			t.Fatalf("%+v became %+v, %v", r, again, err)
		}
		if second := again.encode(1 << 20); !bytes.Equal(first, second) {
			t.Fatalf("% x became % x", first, second)
		}
	})
}

func FuzzVersion(f *testing.F) {
	for _, s := range []string{
		"", "\x00", `{}`, `{"capabilities":{"max_msg_fds":8,"max_data_xfer_size":1048576,"pgsizes":4096,"write_multiple":true}}`,
		`{"capabilities":{"max_msg_fds":-1}}`, `{"capabilities":{"max_data_xfer_size":0}}`, `{"capabilities":{"max_dma_maps":9223372036854775807}}`,
		`{"capabilities":null}`, `[[[[[[[[[[]]]]]]]]]]`, `{"a\"{{{{{{{{{":1}`, `{"capabilities":{"pgsizes":2097152}}`,
	} {
		f.Add([]byte("\x00\x00\x01\x00" + s + "\x00"))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		major, minor, c, err := decodeVersion(b)
		if err != nil {
			return
		}
		if c.MaxFDs < 0 || c.MaxFDs > MaxFDs || c.MaxTransfer < 1 || c.MaxTransfer > MaxTransfer || c.MaxMaps < 1 || c.MaxMaps > defaultMaxMaps || c.PageSizes&pageSize == 0 {
			t.Fatalf("%+v", c)
		}
		first := encodeVersion(major, minor, &c)
		major2, minor2, again, err := decodeVersion(first)
		if err != nil || again != c || major2 != major || minor2 != minor {
			t.Fatalf("%+v became %+v, %v", c, again, err)
		}
	})
}
