package irq

import (
	"time"

	"github.com/hc1-toolkit/hc1/hal"
)

// Set is the vectors that one call of hal.Function.Vectors gave: they end
// together.
type Set struct {
	vectors []*vector
	gone    FD // signalled, for good, when the vectors are of no more use
	why     func() error
	// Rearm, if set before the vectors are used, is called with the number of
	// a vector when a Wait follows one that took an interrupt: the device has
	// been served meanwhile, and INTx has to be unmasked.
	Rearm func(i int)
}

// NewSet makes n vectors. why is what a Wait that was let go returns, hal.
// ErrClosed where it is nil or returns nil.
func NewSet(n int, why func() error) (*Set, error) {
	gone, err := New()
	if err != nil {
		return nil, err
	}
	s := &Set{gone: gone, why: why}
	for range n {
		e, err := New()
		if err != nil {
			s.Close()
			return nil, err
		}
		s.vectors = append(s.vectors, &vector{set: s, n: len(s.vectors), event: e, turn: make(chan struct{}, 1)})
	}
	return s, nil
}

// Vectors are the vectors as their user has them.
func (s *Set) Vectors() []hal.Vector {
	out := make([]hal.Vector, len(s.vectors))
	for i, v := range s.vectors {
		out[i] = v
	}
	return out
}

// FDs are the vectors as whoever signals them has them.
func (s *Set) FDs() []int {
	out := make([]int, len(s.vectors))
	for i, v := range s.vectors {
		out[i] = int(v.event)
	}
	return out
}

// Drain forgets what has fired.
func (s *Set) Drain() {
	if s == nil {
		return
	}
	for _, v := range s.vectors {
		v.event.Take()
	}
}

// End lets go whoever waits; the vectors stay what they are.
func (s *Set) End() {
	if s != nil {
		s.gone.Signal()
	}
}

// Close lets waiters go and closes the eventfds once they have left.
func (s *Set) Close() {
	if s == nil {
		return
	}
	s.gone.Signal()
	for _, v := range s.vectors {
		v.turn <- struct{}{}
		v.dead = true
		v.event.Close()
		<-v.turn
	}
	s.gone.Close()
}

// vector is one interrupt.
type vector struct {
	set   *Set
	n     int
	event FD
	turn  chan struct{} // one goroutine waits at a time; Close comes last
	dead  bool          // under turn, as is
	spent bool          // an interrupt was taken since the last Rearm
}

// Wait implements hal.Vector.
func (v *vector) Wait(d time.Duration) (bool, error) {
	v.turn <- struct{}{}
	defer func() { <-v.turn }()
	if v.dead {
		return false, hal.ErrClosed
	}
	if v.spent && v.set.Rearm != nil {
		v.set.Rearm(v.n)
	}
	v.spent = false
	if v.take() {
		return true, nil
	}
	if d == 0 {
		return false, v.reason()
	}
	fired, gone, err := WaitEither(v.event, v.set.gone, d)
	if err != nil {
		return false, err
	}
	if fired && v.take() {
		return true, nil
	}
	if !gone {
		return false, nil
	}
	if err := v.reason(); err != nil {
		return false, err
	}
	return false, hal.ErrClosed
}

func (v *vector) take() bool {
	v.spent = v.event.Take()
	return v.spent
}

func (v *vector) reason() error {
	if v.set.why == nil {
		return nil
	}
	return v.set.why()
}
