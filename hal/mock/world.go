package mock

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/internal/card"
)

// World is virtual time, shared by any number of cards. It moves only when
// somebody waits: then the card that has work first does a piece of it. With
// one goroutine a run is the same every time.
type World struct {
	mu    sync.Mutex
	now   atomic.Int64
	cards []*Mock
}

// relaxMax is the most that one turn of a spinning wait moves time on.
const relaxMax = 10 * time.Microsecond

// quietMax is how long a Wait without bound lets cards do nothing but keep
// their records before it calls that a deadlock.
const quietMax = 10 * time.Second

// NewWorld returns a world at time 0.
func NewWorld() *World { return &World{} }

// Now is the time.
func (w *World) Now() int64 { return w.now.Load() }

// Relax lets one card do its next piece of work, or moves time on a little.
func (w *World) Relax() { w.advance(int64(relaxMax)) }

// Sleep moves time on by d, with all that happens meanwhile.
func (w *World) Sleep(d time.Duration) {
	for end := w.Now() + int64(d); w.Now() < end; {
		w.advance(end - w.Now())
	}
}

func (w *World) add(m *Mock) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cards = append(w.cards, m)
}

func (w *World) remove(m *Mock) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cards = slices.DeleteFunc(w.cards, func(x *Mock) bool { return x == m })
}

// advance steps the card that is due first; if none is due yet, time moves
// on to it, by limit at most. Ties go to the card that was added first.
func (w *World) advance(limit int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var first *Mock
	due := int64(math.MaxInt64)
	for _, m := range w.cards {
		m.acquire()
		d := m.due
		m.release()
		if d < due {
			first, due = m, d
		}
	}
	now := w.now.Load()
	if due > now {
		if due-now > limit || due == card.Idle {
			w.now.Store(now + limit)
			return
		}
		now = due
		w.now.Store(now)
	}
	first.acquire()
	first.due = card.Idle
	next := max(first.card.Step(now), now)
	first.due = min(first.due, next) // a register write meanwhile made it 0
	first.release()
}

// quiet reports whether no card will do anything by itself but keep records.
func (w *World) quiet() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.cards {
		m.acquire()
		q := m.due == card.Idle || m.card.Quiet() && m.due > w.now.Load()
		m.release()
		if !q {
			return false
		}
	}
	return true
}

// wait is Vector.Wait on virtual time.
func (w *World) wait(v *vector, d time.Duration) (bool, error) {
	end := int64(math.MaxInt64)
	if d >= 0 {
		end = w.Now() + int64(d)
	}
	quietSince := int64(-1)
	for {
		select {
		case <-v.fired:
			return true, nil
		case <-v.done:
			return false, hal.ErrClosed
		default:
		}
		now := w.Now()
		if now >= end {
			return false, nil
		}
		if d < 0 {
			switch {
			case !w.quiet():
				quietSince = -1
			case quietSince < 0:
				quietSince = now
			case now-quietSince >= int64(quietMax):
				return false, fmt.Errorf("mock: %w", ErrDeadlock)
			}
		}
		w.advance(min(end-now, int64(time.Second)))
	}
}

// Time is the driver's clock for one card.
type Time struct{ m *Mock }

// Now is monotonic time in nanoseconds.
func (t *Time) Now() int64 { return t.m.f.Now() }

// Relax is called once per turn of a spinning wait.
func (t *Time) Relax() {
	if t.m.world != nil {
		t.m.world.Relax()
		return
	}
	runtime.Gosched()
}

// stepper is a Mock whose time a World counts.
type stepper Mock

func (s *stepper) Now() int64 { return s.world.Now() }
func (s *stepper) Relax()     { s.world.Relax() }
func (s *stepper) Wake()      { s.due = 0 }
