package haltest_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/haltest"
	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/hal/mock"
)

// A suite that cannot fail proves nothing: each backend below breaks one
// guarantee, and the check of that guarantee has to say so. A failing test
// ends its process badly, so each runs in one of its own.

// broken is a function with some of its methods replaced.
type broken struct {
	hal.Function
	readConfig func(off, width int) (uint32, error)
	region     func(bar int) (hal.Region, error)
	alloc      func(size int, dir hal.Direction) (*hal.DMA, error)
	vectors    func(n int) ([]hal.Vector, error)
	events     func() []hal.Event
	reset      func(hal.Level) error
	close      func() error
}

func (b *broken) ReadConfig(off, width int) (uint32, error) {
	if b.readConfig != nil {
		return b.readConfig(off, width)
	}
	return b.Function.ReadConfig(off, width)
}

func (b *broken) Region(bar int) (hal.Region, error) {
	if b.region != nil {
		return b.region(bar)
	}
	return b.Function.Region(bar)
}

func (b *broken) AllocDMA(size int, dir hal.Direction) (*hal.DMA, error) {
	if b.alloc != nil {
		return b.alloc(size, dir)
	}
	return b.Function.AllocDMA(size, dir)
}

func (b *broken) Vectors(n int) ([]hal.Vector, error) {
	if b.vectors != nil {
		return b.vectors(n)
	}
	return b.Function.Vectors(n)
}

func (b *broken) Events() []hal.Event {
	if b.events != nil {
		return b.events()
	}
	return b.Function.Events()
}

func (b *broken) Reset(l hal.Level) error {
	if b.reset != nil {
		return b.reset(l)
	}
	return b.Function.Reset(l)
}

func (b *broken) Close() error {
	if b.close != nil {
		return b.close()
	}
	return b.Function.Close()
}

// region with some of its methods replaced.
type brokenRegion struct {
	hal.Region
	size    int
	load64  func(int) uint64
	store32 func(int, uint32)
}

func (r brokenRegion) Size() int {
	if r.size != 0 {
		return r.size
	}
	return r.Region.Size()
}

func (r brokenRegion) Load64(off int) uint64 {
	if r.load64 != nil {
		return r.load64(off)
	}
	return r.Region.Load64(off)
}

func (r brokenRegion) Store32(off int, v uint32) {
	if r.store32 != nil {
		r.store32(off, v)
		return
	}
	r.Region.Store32(off, v)
}

type brokenVector struct {
	hal.Vector
	wait func(hal.Vector, time.Duration) (bool, error)
}

func (v brokenVector) Wait(d time.Duration) (bool, error) { return v.wait(v.Vector, d) }

// waits replaces Wait of every vector.
func waits(f hal.Function, wait func(hal.Vector, time.Duration) (bool, error)) hal.Function {
	return &broken{Function: f, vectors: func(n int) ([]hal.Vector, error) {
		vs, err := f.Vectors(n)
		for i := range vs {
			vs[i] = brokenVector{vs[i], wait}
		}
		return vs, err
	}}
}

// alters lets a buffer be changed before it is handed out.
func alters(f hal.Function, change func(*hal.DMA)) hal.Function {
	return &broken{Function: f, alloc: func(size int, dir hal.Direction) (*hal.DMA, error) {
		d, err := f.AllocDMA(size, dir)
		if err == nil {
			change(d)
		}
		return d, err
	}}
}

var left hal.Function // by the backend that does not close

var faults = []struct {
	name, guarantee string
	make            func(hal.Function) hal.Function
}{
	{"sound", "", func(f hal.Function) hal.Function { return &broken{Function: f} }},
	{"config of any width", "G1", func(f hal.Function) hal.Function {
		return &broken{Function: f, readConfig: func(off, width int) (uint32, error) {
			if v, err := f.ReadConfig(off, width); !errors.Is(err, hal.ErrOutOfRange) {
				return v, err
			}
			return 0, nil
		}}
	}},
	{"config of another class", "G1", func(f hal.Function) hal.Function {
		return &broken{Function: f, readConfig: func(off, width int) (uint32, error) {
			v, err := f.ReadConfig(off, width)
			if off == 8 {
				v ^= 1 << 28
			}
			return v, err
		}}
	}},
	{"a list of capabilities without end", "G1", func(f hal.Function) hal.Function {
		return &broken{Function: f, readConfig: func(off, width int) (uint32, error) {
			v, err := f.ReadConfig(off, width)
			if width == 1 && off > 0x34 && v == 0 && off&3 == 1 {
				v = 0x40
			}
			return v, err
		}}
	}},
	{"a BAR of another size", "G2", func(f hal.Function) hal.Function {
		return &broken{Function: f, region: func(bar int) (hal.Region, error) {
			r, err := f.Region(bar)
			if err == nil {
				r = brokenRegion{Region: r, size: r.Size() * 2}
			}
			return r, err
		}}
	}},
	{"a BAR that is not there", "G2", func(f hal.Function) hal.Function {
		return &broken{Function: f, region: func(bar int) (hal.Region, error) { return f.Region(bar &^ 1) }}
	}},
	{"halves in the wrong order", "G2", func(f hal.Function) hal.Function {
		return &broken{Function: f, region: func(bar int) (hal.Region, error) {
			r, err := f.Region(bar)
			if err == nil {
				inner := r
				r = brokenRegion{Region: r, load64: func(off int) uint64 { v := inner.Load64(off); return v<<32 | v>>32 }}
			}
			return r, err
		}}
	}},
	{"no check of a store", "G2", func(f hal.Function) hal.Function {
		return &broken{Function: f, region: func(bar int) (hal.Region, error) {
			r, err := f.Region(bar)
			if err == nil {
				inner := r
				r = brokenRegion{Region: r, store32: func(off int, v uint32) {
					if off >= 0 && off < inner.Size() {
						inner.Store32(off&^3, v)
					}
				}}
			}
			return r, err
		}}
	}},
	{"memory that is not zeroed", "G3", func(f hal.Function) hal.Function {
		return alters(f, func(d *hal.DMA) { d.Bytes[len(d.Bytes)-3] = 9 })
	}},
	{"memory that is too long", "G3", func(f hal.Function) hal.Function {
		return alters(f, func(d *hal.DMA) { d.Bytes = append(d.Bytes, make([]byte, hci.PageSize)...) })
	}},
	{"the same address twice", "G3", func(f hal.Function) hal.Function {
		var first uint64
		return alters(f, func(d *hal.DMA) {
			if first == 0 {
				first = d.IOVA
			}
			d.IOVA = first
		})
	}},
	{"the same memory twice", "G3", func(f hal.Function) hal.Function {
		shared := make([]byte, 1<<20)
		return alters(f, func(d *hal.DMA) { clear(shared); d.Bytes = shared[:len(d.Bytes)] })
	}},
	{"too much memory is another error", "G3", func(f hal.Function) hal.Function {
		return &broken{Function: f, alloc: func(size int, dir hal.Direction) (*hal.DMA, error) {
			d, err := f.AllocDMA(size, dir)
			if err != nil {
				err = errors.New("no")
			}
			return d, err
		}}
	}},
	{"direction is not looked at", "G3", func(f hal.Function) hal.Function {
		return &broken{Function: f, alloc: func(size int, dir hal.Direction) (*hal.DMA, error) {
			if dir != hal.CardWrites {
				dir = hal.CardReads
			}
			return f.AllocDMA(size, dir)
		}}
	}},
	{"Wait with 0 blocks", "G4", func(f hal.Function) hal.Function {
		return waits(f, func(v hal.Vector, d time.Duration) (bool, error) { return v.Wait(max(d, 25*time.Millisecond)) })
	}},
	{"Wait ends early", "G4", func(f hal.Function) hal.Function {
		return waits(f, func(v hal.Vector, d time.Duration) (bool, error) { return v.Wait(0) })
	}},
	{"Wait makes interrupts up", "G4", func(f hal.Function) hal.Function {
		return waits(f, func(v hal.Vector, d time.Duration) (bool, error) { return true, nil })
	}},
	{"any number of vectors", "G4", func(f hal.Function) hal.Function {
		return &broken{Function: f, vectors: func(n int) ([]hal.Vector, error) { return f.Vectors(min(n, 32)) }}
	}},
	{"DMA goes elsewhere", "G5", func(f hal.Function) hal.Function {
		return alters(f, func(d *hal.DMA) {
			if len(d.Bytes) > 2*hci.PageSize { // the card writes, and the host does not see it
				d.Bytes = make([]byte, len(d.Bytes))
			}
		})
	}},
	{"every buffer can be written", "G6", func(f hal.Function) hal.Function {
		n := 0
		return &broken{Function: f, alloc: func(size int, dir hal.Direction) (*hal.DMA, error) {
			if n++; n > 2 { // the queues have to work
				dir = hal.CardWrites
			}
			return f.AllocDMA(size, dir)
		}}
	}},
	{"Free does nothing", "G7", func(f hal.Function) hal.Function {
		return alters(f, func(d *hal.DMA) { d.Free = func() error { return nil } })
	}},
	{"Reset does nothing", "G8", func(f hal.Function) hal.Function {
		return &broken{Function: f, reset: func(l hal.Level) error {
			if l != hal.ResetFLR && l != hal.ResetHot {
				return f.Reset(l)
			}
			return nil
		}}
	}},
	{"Reset of any level", "G8", func(f hal.Function) hal.Function {
		return &broken{Function: f, reset: func(l hal.Level) error { return f.Reset(hal.ResetFLR) }}
	}},
	{"Reset loses mappings", "G8", func(f hal.Function) hal.Function {
		var all []*hal.DMA
		return &broken{Function: f,
			alloc: func(size int, dir hal.Direction) (*hal.DMA, error) {
				d, err := f.AllocDMA(size, dir)
				if err == nil {
					all = append(all, d)
				}
				return d, err
			},
			reset: func(l hal.Level) error {
				for _, d := range all {
					d.Free()
				}
				all = nil
				return f.Reset(l)
			}}
	}},
	{"Reset that only disables", "G8", func(f hal.Function) hal.Function {
		return &broken{Function: f, reset: func(l hal.Level) error {
			if l != hal.ResetFLR {
				return f.Reset(l)
			}
			r, err := f.Region(hci.BARRegs)
			if err == nil {
				r.Store32(hci.RegCC, 0)
			}
			return err
		}}
	}},
	{"a second Close fails", "G9", func(f hal.Function) hal.Function {
		done := false
		return &broken{Function: f, close: func() error {
			if done {
				return hal.ErrClosed
			}
			done = true
			return f.Close()
		}}
	}},
	{"usable after Close", "G9", func(f hal.Function) hal.Function {
		return &broken{Function: f, readConfig: func(off, width int) (uint32, error) {
			v, err := f.ReadConfig(off, width)
			if errors.Is(err, hal.ErrClosed) {
				err = nil
			}
			return v, err
		}}
	}},
	{"events of nothing", "G9", func(f hal.Function) hal.Function {
		return &broken{Function: f, events: func() []hal.Event { return []hal.Event{{Kind: hal.EventError}} }}
	}},
	{"Close leaves the card running", "G10", func(f hal.Function) hal.Function {
		if left != nil { // the same card again
			f.Close()
			f = left
		}
		left = f
		return &broken{Function: f, close: func() error { return nil }}
	}},
	{"Close leaves a goroutine", "G11", func(f hal.Function) hal.Function {
		go func() { select {} }()
		return f
	}},
	{"Close leaves a file", "G11", func(f hal.Function) hal.Function {
		file, err := os.Open(os.DevNull)
		if err != nil {
			return f
		}
		return &broken{Function: f, close: sync.OnceValue(func() error {
			kept = append(kept, file)
			return f.Close()
		})}
	}},
	{"interrupts are counted", "G12", func(f hal.Function) hal.Function {
		debt := 0
		return waits(f, func(v hal.Vector, d time.Duration) (bool, error) {
			if debt > 0 {
				debt--
				return true, nil
			}
			ok, err := v.Wait(d)
			if ok {
				debt = 2
			}
			return ok, err
		})
	}},
	{"a vector hears another's interrupts", "G12", func(f hal.Function) hal.Function {
		return &broken{Function: f, vectors: func(n int) ([]hal.Vector, error) {
			vs, err := f.Vectors(n)
			for i := 1; i < len(vs); i++ {
				vs[i] = brokenVector{vs[i], func(hal.Vector, time.Duration) (bool, error) { return true, nil }}
			}
			return vs, err
		}}
	}},
	{"hot reset does nothing", "G13", func(f hal.Function) hal.Function {
		return &broken{Function: f, reset: func(hal.Level) error { return nil }}
	}},
	{"hot reset refused, and done", "G13", func(f hal.Function) hal.Function {
		return &broken{Function: f, reset: func(l hal.Level) error { f.Reset(l); return hal.ErrUnsupported }}
	}},
}

var kept []*os.File

const brokenEnv = "HC1_HALTEST_BROKEN"

// TestBroken is what TestSuiteCanFail runs in processes of its own.
func TestBroken(t *testing.T) {
	name := os.Getenv(brokenEnv)
	if name == "" {
		t.Skip("run by TestSuiteCanFail")
	}
	e := engine(t)
	for _, f := range faults {
		if f.name == name {
			haltest.Run(t, func(t *testing.T) hal.Function {
				m, err := mock.New(mock.Options{Engine: e, Clock: mock.Fast})
				if err != nil {
					t.Fatal(err)
				}
				return f.make(m)
			})
			return
		}
	}
	t.Fatalf("no fault %q", name)
}

func TestSuiteCanFail(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIP: a process for each of the broken backends; not with -short")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	covered := map[string]bool{}
	for _, f := range faults {
		covered[f.guarantee] = true
		t.Run(f.name, func(t *testing.T) {
			cmd := exec.Command(self, "-test.run", "^TestBroken$/^"+f.guarantee+" ", "-test.timeout", "60s")
			if f.guarantee == "" {
				cmd.Args[2] = "^TestBroken$"
			}
			cmd.Env = append(os.Environ(), brokenEnv+"="+f.name)
			out, err := cmd.CombinedOutput()
			failed := strings.Contains(string(out), "--- FAIL: TestBroken/"+f.guarantee+"_")
			switch {
			case f.guarantee == "" && err != nil:
				t.Errorf("a sound backend fails: %s", out)
			case f.guarantee != "" && !failed:
				t.Errorf("%s did not notice:\n%s", f.guarantee, out)
			case strings.Contains(string(out), "test timed out"):
				t.Errorf("hung:\n%s", out)
			}
		})
	}
	// G14 is the race detector's.
	for _, g := range []string{"G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8", "G9", "G10", "G11", "G12", "G13"} {
		if !covered[g] {
			t.Errorf("no broken backend for %s", g)
		}
	}
}
