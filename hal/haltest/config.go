package haltest

import (
	"errors"
	"math"
	"testing"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/hci"
)

// Standard places of configuration space (PCI Express Base 5.0, 7.5).
const (
	cfgCommand = 0x04
	cfgClass   = 0x08
	cfgHeader  = 0x0E
	cfgBAR0    = 0x10
	cfgCapList = 0x34

	capPM, capMSIX, capPCIe = 0x01, 0x11, 0x10
	extAER, extSerial       = 0x0001, 0x0003

	commandMemory, commandMaster = 1 << 1, 1 << 2
)

// space reads configuration space and fails the test where it cannot.
type space struct {
	t  *testing.T
	fn hal.Function
}

func (s space) read(off, width int) uint32 {
	s.t.Helper()
	v, err := s.fn.ReadConfig(off, width)
	if err != nil {
		s.t.Fatalf("read %d bytes at %#x: %v", width, off, err)
	}
	return v
}

func (s space) write(off, width int, v uint32) {
	s.t.Helper()
	if err := s.fn.WriteConfig(off, width, v); err != nil {
		s.t.Fatalf("write %d bytes at %#x: %v", width, off, err)
	}
}

// capabilities walks the list and returns id -> offset.
func (s space) capabilities() map[uint32]int {
	s.t.Helper()
	out, seen := map[uint32]int{}, map[uint32]bool{}
	for p := s.read(cfgCapList, 1); p != 0; p = s.read(int(p)+1, 1) {
		if p < 0x40 || p&3 != 0 || seen[p] {
			s.t.Fatalf("capability list leads to %#x", p)
		}
		seen[p] = true
		out[s.read(int(p), 1)] = int(p)
	}
	return out
}

// extended walks the list that begins at 0x100.
func (s space) extended() map[uint32]int {
	s.t.Helper()
	out, seen := map[uint32]int{}, map[uint32]bool{}
	for p := uint32(0x100); p != 0; {
		if p < 0x100 || p&3 != 0 || seen[p] {
			s.t.Fatalf("extended capability list leads to %#x", p)
		}
		seen[p] = true
		h := s.read(int(p), 4)
		if h == 0 || h == math.MaxUint32 {
			break
		}
		out[h&0xFFFF] = int(p)
		p = h >> 20
	}
	return out
}

// G1, ReadConfig and WriteConfig: "reads 1, 2 or 4 bytes, aligned, of
// configuration space"; a write "has been carried out when it returns".
// Widths agree with each other. The space is that of an accelerator with a
// type 0 header, and the capability lists end and hold what section 2 of the
// document wants. Another width, a misaligned offset, or one outside 0..4095
// is ErrOutOfRange and changes nothing.
func config(t *testing.T, open Open) {
	fn := with(t, open)
	s := space{t, fn}
	if id := s.read(0, 4); id == math.MaxUint32 || id&0xFFFF == 0xFFFF || id&0xFFFF != s.read(0, 2) || s.read(2, 2) != id>>16 || s.read(1, 1) != id>>8&0xFF {
		t.Errorf("ids %#x", id)
	}
	if class := s.read(cfgClass, 4) >> 8; class != hci.PCIClass {
		t.Errorf("class %#06x", class)
	}
	if h := s.read(cfgHeader, 1); h&0x7F != 0 {
		t.Errorf("header type %#x", h)
	}
	caps, ext := s.capabilities(), s.extended()
	for name, id := range map[string]uint32{"power management": capPM, "MSI-X": capMSIX, "PCI Express": capPCIe} {
		if caps[id] == 0 {
			t.Errorf("no %s capability", name)
		}
	}
	for name, id := range map[string]uint32{"AER": extAER, "serial number": extSerial} {
		if ext[id] == 0 {
			t.Errorf("no %s extended capability", name)
		}
	}
	if at := caps[capPCIe]; at != 0 && s.read(at+4, 4)>>28&1 == 0 {
		t.Error("no function level reset in Device Capabilities")
	}
	for _, on := range []uint32{commandMemory, 0, commandMemory | commandMaster} {
		s.write(cfgCommand, 2, on)
		if got := s.read(cfgCommand, 2) & (commandMemory | commandMaster); got != on {
			t.Errorf("command register %#x after writing %#x", got, on)
		}
	}
	before := s.read(cfgCommand, 2)
	for _, x := range []struct{ off, width int }{{4, 3}, {4, 8}, {4, 0}, {4, -1}, {5, 2}, {6, 4}, {-4, 4}, {4096, 4}, {4096, 1}, {4095, 2}, {math.MaxInt, 1}, {math.MinInt, 4}} {
		if _, err := fn.ReadConfig(x.off, x.width); !errors.Is(err, hal.ErrOutOfRange) {
			t.Errorf("read of %d bytes at %d: %v", x.width, x.off, err)
		}
		if err := fn.WriteConfig(x.off, x.width, 0); !errors.Is(err, hal.ErrOutOfRange) {
			t.Errorf("write of %d bytes at %d: %v", x.width, x.off, err)
		}
	}
	if after := s.read(cfgCommand, 2); after != before {
		t.Errorf("command register changed from %#x to %#x", before, after)
	}
}

// G2, Region: the BARs that the card has are there, 64-bit memory, of a power
// of two and of the size that BAR sizing finds; "ErrOutOfRange when there is
// none". 64-bit loads are what two 32-bit ones give. "off must be aligned and
// in range: a violation panics with ErrOutOfRange" - and does nothing.
func regions(t *testing.T, open Open) {
	fn := with(t, open)
	s := space{t, fn}
	s.write(cfgCommand, 2, 0) // sizing moves the BARs
	for _, bar := range []int{hci.BARRegs, hci.BARDoorbells, hci.BARMSIX} {
		r, err := fn.Region(bar)
		if err != nil {
			t.Errorf("BAR %d: %v", bar, err)
			continue
		}
		if n := r.Size(); n < hci.PageSize || n&(n-1) != 0 {
			t.Errorf("BAR %d of %d bytes", bar, n)
		}
		at := cfgBAR0 + 4*bar
		if kind := s.read(at, 4) & 7; kind != 4 {
			t.Errorf("BAR %d is not 64-bit memory: %#x", bar, kind)
		}
		lo, hi := s.read(at, 4), s.read(at+4, 4)
		s.write(at, 4, math.MaxUint32)
		s.write(at+4, 4, math.MaxUint32)
		mask := uint64(s.read(at+4, 4))<<32 | uint64(s.read(at, 4)&^0xF)
		s.write(at, 4, lo)
		s.write(at+4, 4, hi)
		if size := -mask; size != uint64(r.Size()) {
			t.Errorf("BAR %d: sizing finds %#x, the region has %#x", bar, size, r.Size())
		}
		if s.read(at, 4) != lo || s.read(at+4, 4) != hi {
			t.Errorf("BAR %d does not come back", bar)
		}
		if _, err := fn.Region(bar); err != nil {
			t.Errorf("BAR %d a second time: %v", bar, err)
		}
	}
	for _, bar := range []int{-1, 1, 3, 5, 6, math.MaxInt} {
		if _, err := fn.Region(bar); !errors.Is(err, hal.ErrOutOfRange) {
			t.Errorf("BAR %d: %v", bar, err)
		}
	}
	r := enable(t, fn)
	if v := r.Load32(hci.RegVS); hci.VSMJR.Get(uint64(v)) != hci.VersionMajor {
		t.Errorf("VS %#x", v)
	}
	if lo, hi, v := r.Load32(hci.RegCAP), r.Load32(hci.RegCAP+4), r.Load64(hci.RegCAP); v != uint64(hi)<<32|uint64(lo) || v == 0 || v == math.MaxUint64 {
		t.Errorf("CAP %#x as one, %#x %#x as two", v, hi, lo)
	}
	const address = 0x1234_5678_9ABC_D000 // a card only stores it
	r.Store64(hci.RegASQ, address)
	if lo, hi, v := r.Load32(hci.RegASQ), r.Load32(hci.RegASQ+4), r.Load64(hci.RegASQ); v != address || lo != address&math.MaxUint32 || hi != address>>32 {
		t.Errorf("ASQ %#x, %#x %#x after storing %#x", v, hi, lo, uint64(address))
	}
	r.Store32(hci.RegASQ, 0)
	r.Store32(hci.RegASQ+4, 0)
	if v := r.Load64(hci.RegASQ); v != 0 {
		t.Errorf("ASQ %#x after storing two halves of 0", v)
	}
	for _, bar := range []int{hci.BARRegs, hci.BARDoorbells, hci.BARMSIX} {
		if r, err := fn.Region(bar); err == nil {
			bounds(t, bar, r)
		}
	}
	if v := r.Load32(hci.RegAQA); v != 0 {
		t.Errorf("a refused store reached a register: AQA %#x", v)
	}
}

func bounds(t *testing.T, bar int, r hal.Region) {
	for name, f := range map[string]func(){
		"load beyond":        func() { r.Load32(r.Size()) },
		"load before":        func() { r.Load32(-4) },
		"load far":           func() { r.Load32(math.MaxInt &^ 3) },
		"load64 beyond":      func() { r.Load64(r.Size()) },
		"load64 at end":      func() { r.Load64(r.Size() - 4) },
		"load misaligned":    func() { r.Load32(hci.RegAQA + 2) },
		"load64 misaligned":  func() { r.Load64(hci.RegAQA) },
		"store beyond":       func() { r.Store32(r.Size(), 0) },
		"store before":       func() { r.Store32(-4, math.MaxUint32) },
		"store misaligned":   func() { r.Store32(hci.RegAQA+1, math.MaxUint32) },
		"store64 misaligned": func() { r.Store64(hci.RegAQA, math.MaxUint64) },
		"store64 before":     func() { r.Store64(-8, 0) },
		"store64 at end":     func() { r.Store64(r.Size()-4, 0) },
	} {
		func() {
			defer func() {
				if err, ok := recover().(error); !ok || !errors.Is(err, hal.ErrOutOfRange) {
					t.Errorf("BAR %d, %s: panic %v", bar, name, err)
				}
			}()
			f()
		}()
	}
}
