// Package haltest is the written guarantees of hal.Function as tests. Every
// backend runs it; a driver may rely on what is here and on nothing else.
// The card must be an hc1 card: the suite brings its admin queue up itself,
// from docs/hci.md section 6, to see DMA, interrupts and resets at work.
package haltest

import (
	"testing"

	"github.com/hc1-toolkit/hc1/hal"
)

// Open gives a fresh handle of the function under test. When the one before
// was closed it is the same card.
type Open func(t *testing.T) hal.Function

// Run runs the whole suite. Each check quotes the guarantee it holds a
// backend to; where hal.go has it word for word, that is the text there.
func Run(t *testing.T, open Open) {
	for _, g := range []struct {
		name string
		f    func(*testing.T, Open)
	}{
		{"G1 configuration space", config},
		{"G2 regions", regions},
		{"G3 DMA memory", memory},
		{"G4 vectors", vectors},
		{"G5 DMA reaches memory", transfers},
		{"G6 wrong direction faults", direction},
		{"G7 freed memory faults", freed},
		{"G8 reset", reset},
		{"G9 close", closing},
		{"G10 close resets the function", closeResets},
		{"G11 nothing is left", leaks},
		{"G12 interrupts", interrupts},
		{"G13 hot reset", hotReset},
		{"G14 any goroutine", goroutines},
	} {
		t.Run(g.name, func(t *testing.T) { g.f(t, open) })
	}
}

func with(t *testing.T, open Open) hal.Function {
	t.Helper()
	fn := open(t)
	t.Cleanup(func() {
		if err := fn.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return fn
}

func second[T any](_ T, err error) error { return err }

func untouched(t *testing.T, what string, d *hal.DMA) {
	t.Helper()
	for i := 0; i < len(d.Bytes); i += 8 {
		if v := load64(d.Bytes, i); v != 0 {
			t.Errorf("%s: byte %d was written: %#x", what, i, v)
			return
		}
	}
}
