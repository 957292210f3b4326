package user_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/hc1-toolkit/hc1/vfio/user"
)

// device is a probe with regions of every kind.
func device(t *testing.T) *probe {
	t.Helper()
	window, err := user.NewMemory(8 * page)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(window.Close)
	p := newProbe()
	p.layout.Regions[2] = user.Region{Size: 8 * page, Read: true, Write: true, Memory: window, Areas: []user.Area{{Offset: page, Size: page}, {Offset: 4 * page, Size: 3 * page}}}
	p.layout.Regions[3] = user.Region{Size: 8 * page, Read: true, Write: true, Memory: window}
	p.layout.Regions[4] = user.Region{Size: page, Write: true}
	p.layout.Regions[5] = user.Region{Size: 1 << 45, Read: true, Write: true}
	p.layout.Regions[user.RegionROM] = user.Region{Size: 100, Read: true}
	return p
}

// What a client learns of the device, of each region, and of each interrupt.
func TestInfo(t *testing.T) {
	dev := device(t)
	s := user.NewServer(dev, user.ServerOptions{})
	const r, w, mm, caps = 1, 2, 4, 8
	sparse := longs(append(words(0x10001, 0), words(2, 0)...), page, page, 4*page, 3*page)
	for _, c := range []struct {
		fds          string
		argsz, index uint32
		errno        user.Errno
		size, flags  uint32 // of the answer; argsz in it
		caps         []byte
		region       uint64
		files        int
	}{
		{argsz: 32, index: 0, size: 32, flags: r | w, region: page},
		{argsz: 32, index: 1, size: 32, flags: r, region: page},
		{argsz: 32, index: 2, size: 80, flags: r | w | mm | caps, region: 8 * page},
		{argsz: 79, index: 2, size: 80, flags: r | w | mm | caps, region: 8 * page},
		{argsz: 80, index: 2, size: 80, flags: r | w | mm | caps, region: 8 * page, caps: sparse, files: 1},
		{argsz: most, index: 2, size: 80, flags: r | w | mm | caps, region: 8 * page, caps: sparse, files: 1},
		{argsz: 32, index: 3, size: 32, flags: r | w | mm, region: 8 * page, files: 1},
		{argsz: 32, index: 4, size: 32, flags: w, region: page},
		{argsz: 32, index: 5, size: 32, flags: r | w, region: 1 << 45},
		{argsz: 32, index: user.RegionROM, size: 32, flags: r, region: 100},
		{argsz: 32, index: user.RegionConfig, size: 32, flags: r | w, region: page},
		{argsz: 32, index: user.RegionVGA, size: 32},
		{argsz: 32, index: user.NumRegions, errno: eINVAL},
		{argsz: 32, index: most, errno: eINVAL},
		{argsz: 31, index: 0, errno: eINVAL},
		{argsz: 0, index: 2, errno: eINVAL},
		{fds: "no", argsz: 32, index: 2, size: 32, flags: r | w, region: 8 * page},
		{fds: "no", argsz: 80, index: 3, size: 32, flags: r | w, region: 8 * page},
	} {
		limits := ""
		if c.fds == "no" {
			limits = `{"capabilities":{"max_msg_fds":0}}`
		}
		x := hello(t, s, limits)
		x.send(packet(3, user.CmdGetRegionInfo, 0, 0, words(c.argsz, most, c.index, 0, 1, 2, 3, 4)))
		m, err := x.reply()
		if err != nil || m.errno != c.errno || m.fds != c.files {
			t.Errorf("%+v: %+v, %v", c, m, err)
		}
		if m.errno == 0 {
			at := uint32(0)
			if c.caps != nil {
				at = 32
			}
			if want := append(longs(words(c.size, c.flags, c.index, at), c.region, 0), c.caps...); !bytes.Equal(m.body, want) {
				t.Errorf("region %d, argsz %d: is answered\n% x, not\n% x", c.index, c.argsz, m.body, want)
			}
		}
		x.close()
	}

	x := hello(t, s, "")
	for i := range uint32(user.NumIRQs + 2) {
		errno, b := x.ask(user.CmdGetIRQInfo, words(16, 9, i, 9))
		if i >= user.NumIRQs {
			if errno != eINVAL {
				t.Errorf("interrupt index %d: %v", i, errno)
			}
			continue
		}
		n, flags := uint32(dev.layout.IRQs[i]), uint32(0)
		if n > 0 {
			flags = 1
		}
		if errno != 0 || !bytes.Equal(b, words(16, flags, i, n)) {
			t.Errorf("interrupt index %d: %v, % x", i, errno, b)
		}
	}
	if _, b := x.ask(user.CmdGetInfo, words(16, 0, 0, 0)); !bytes.Equal(b, words(16, 3, user.NumRegions, user.NumIRQs)) {
		t.Errorf("device: % x", b)
	}
	for _, c := range []struct {
		argsz, index uint32
		errno        user.Errno
	}{{16, 0, 0}, {16, 8, 0}, {16, 9, eINVAL}, {16, most, eINVAL}, {15, 0, eINVAL}} {
		errno, b := x.ask(user.CmdGetRegionIOFDs, words(c.argsz, 0, c.index, 0))
		if errno != c.errno || errno == 0 && !bytes.Equal(b, words(16, 0, c.index, 0)) {
			t.Errorf("ioeventfds of region %d: %v, % x", c.index, errno, b)
		}
	}
}

// Every read and write within bounds reaches the device as it is, and no
// other does.
func TestAccess(t *testing.T) {
	dev := device(t)
	s := user.NewServer(dev, user.ServerOptions{})
	var seen []string
	dev.access = func(region int, off uint64, b []byte, write bool) error {
		dev.locked(func() { seen = append(seen, fmt.Sprint(region, off, len(b), write)) })
		for i := range b {
			if write && b[i] != byte(i) {
				t.Errorf("byte %d of a write is %d", i, b[i])
			} else if !write && b[i] != 0 {
				t.Errorf("byte %d to read is %d", i, b[i])
			} else if !write {
				b[i] = byte(i + 1)
			}
		}
		return nil
	}
	r := hello(t, s, `{"capabilities":{"max_data_xfer_size":65536}}`)
	const both = 2
	for _, c := range []struct {
		region, count uint32
		off           uint64
		way           int // both, or only the read (0), or only the write (1)
		errno         user.Errno
	}{
		{region: 0, count: 4, way: both},
		{region: 0, count: 1, off: page - 1, way: both},
		{region: 0, count: 3, off: 5, way: both},
		{region: 0, count: page, way: both},
		{region: 2, count: 8 * page, way: both},
		{region: 5, count: 1 << 16, off: 1<<45 - 1<<16, way: both},
		{region: user.RegionConfig, count: 4, off: page - 4, way: both},
		{region: user.RegionROM, count: 100},
		{region: 1, count: 8},
		{region: 4, count: 8, way: 1},
		{region: 1, count: 8, way: 1, errno: eINVAL},
		{region: 4, count: 8, errno: eINVAL},
		{region: user.RegionROM, count: 1, way: 1, errno: eINVAL},
		{region: user.RegionROM, count: 101, errno: eINVAL},
		{region: 0, way: both, errno: eINVAL},
		{region: 0, count: page + 1, way: both, errno: eINVAL},
		{region: 0, count: 2, off: page - 1, way: both, errno: eINVAL},
		{region: 0, count: 1, off: page, way: both, errno: eINVAL},
		{region: 0, count: 4, off: page + 4, way: both, errno: eINVAL},
		{region: 0, count: 8, off: math.MaxUint64 - 3, way: both, errno: eINVAL},
		{region: 0, count: 1, off: math.MaxUint64, way: both, errno: eINVAL},
		{region: 0, count: 4, off: 1 << 63, way: both, errno: eINVAL},
		{region: 5, count: 1<<16 + 1, way: both, errno: eINVAL},
		{region: 5, count: most, errno: eINVAL},
		{region: 5, count: 1 << 31, errno: eINVAL},
		{region: user.RegionVGA, count: 4, way: both, errno: eINVAL},
		{region: user.NumRegions, count: 4, way: both, errno: eINVAL},
		{region: most, count: 4, way: both, errno: eINVAL},
	} {
		for way := range 2 {
			if c.way != both && c.way != way {
				continue
			}
			cmd, body := user.CmdRegionRead, longs(nil, c.off, uint64(c.count)<<32|uint64(c.region))
			head := body
			if way == 1 {
				cmd = user.CmdRegionWrite
				for i := range c.count {
					body = append(body, byte(i))
				}
			}
			dev.locked(func() { seen = nil })
			errno, b := r.ask(cmd, body)
			var saw []string
			dev.locked(func() { saw = seen })
			name := fmt.Sprintf("%v of %d at %#x of region %d", cmd, c.count, c.off, c.region)
			if errno != c.errno {
				t.Errorf("%s: %v, not %v", name, errno, c.errno)
			}
			if errno != 0 {
				if len(saw) > 0 {
					t.Errorf("%s: the device sees %v", name, saw)
				}
				continue
			}
			want := bytes.Clone(head)
			if way == 0 {
				for i := range c.count {
					want = append(want, byte(i+1))
				}
			}
			if !bytes.Equal(b, want) {
				t.Errorf("%s: other bytes come back", name)
			}
			if want := fmt.Sprint(c.region, c.off, c.count, way == 1); len(saw) != 1 || saw[0] != want {
				t.Errorf("%s: the device sees %v", name, saw)
			}
		}
	}
}

// What a device says is wrong is what the client hears.
func TestAccessErrors(t *testing.T) {
	dev := newProbe()
	r := hello(t, user.NewServer(dev, user.ServerOptions{}), sameMulti)
	for _, c := range []struct {
		err  error
		want user.Errno
	}{
		{nil, 0},
		{eFAULT, eFAULT},
		{fmt.Errorf("wrapped: %w", eNOSPC), eNOSPC},
		{errors.New("broken"), eIO},
		{user.Errno(0), eIO},
		{user.ErrCannotMask, eNOTTY},
	} {
		dev.locked(func() {
			dev.access = func(int, uint64, []byte, bool) error { return c.err }
			dev.reset = func() error { return c.err }
		})
		for cmd, body := range map[user.Command][]byte{
			user.CmdRegionRead:       longs(nil, 0, 4<<32),
			user.CmdRegionWrite:      append(longs(nil, 0, 4<<32), 1, 2, 3, 4),
			user.CmdRegionWriteMulti: multi,
			user.CmdReset:            nil,
		} {
			if got, b := r.ask(cmd, body); got != c.want || got != 0 && len(b) > 0 {
				t.Errorf("%v, when the device says %v: %v, %d bytes", cmd, c.err, got, len(b))
			}
		}
	}
}

// A list of writes is checked before any is done.
func TestWriteMulti(t *testing.T) {
	dev := device(t)
	s := user.NewServer(dev, user.ServerOptions{})
	var seen string
	dev.access = func(region int, off uint64, b []byte, write bool) error {
		dev.locked(func() { seen += fmt.Sprint(region, off, b, write, ";") })
		return nil
	}
	list := func(n uint64, entries ...uint64) []byte { return longs(longs(nil, n), entries...) }
	const data = 0x0807060504030201
	for _, c := range []struct {
		name  string
		body  []byte
		errno user.Errno
		seen  string
	}{
		{"one", list(1, 16, 8<<32, data), 0, "0 16 [1 2 3 4 5 6 7 8] true;"},
		{"three", list(3, 16, 1<<32|4, data, 0, 4<<32, data, page-2, 2<<32|7, data), 0, "4 16 [1] true;0 0 [1 2 3 4] true;7 4094 [1 2] true;"},
		{"none", list(0), eINVAL, ""},
		{"one said to be none", list(0, 16, 8<<32, data), eINVAL, ""},
		{"one said to be two", list(2, 16, 8<<32, data), eINVAL, ""},
		{"two said to be one", list(1, 16, 8<<32, data, 0, 8<<32, data), eINVAL, ""},
		{"said to be so many that their size is right", list(1<<61+1, 16, 8<<32, data), eINVAL, ""},
		{"part of a second", list(1, 16, 8<<32, data, 0), eINVAL, ""},
		{"nine bytes", list(1, 16, 9<<32, data), eINVAL, ""},
		{"no bytes", list(1, 16, 0, data), eINVAL, ""},
		{"four thousand million bytes", list(1, 0, most<<32, data), eINVAL, ""},
		{"a second past the end", list(2, 16, 8<<32, data, page-4, 8<<32, data), eINVAL, ""},
		{"a second that may not be written", list(2, 16, 8<<32, data, 0, 8<<32|1, data), eINVAL, ""},
		{"a second in a region that is not there", list(2, 16, 8<<32, data, 0, 8<<32|9, data), eINVAL, ""},
	} {
		r := hello(t, s, sameMulti)
		dev.locked(func() { seen = "" })
		errno, b := r.ask(user.CmdRegionWriteMulti, c.body)
		if errno != c.errno || errno == 0 && !bytes.Equal(b, c.body[:8]) {
			t.Errorf("%s: %v, % x", c.name, errno, b)
		}
		r.close()
		dev.locked(func() {
			if seen != c.seen {
				t.Errorf("%s: the device sees %q, not %q", c.name, seen, c.seen)
			}
		})
	}
	r := hello(t, s, "")
	if errno, _ := r.ask(user.CmdRegionWriteMulti, multi); errno != eNOTSUP {
		t.Errorf("not agreed on: %v", errno)
	}
}
