package mock

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/internal/card"
)

// vector counts like an eventfd: firings in between Waits are one.
type vector struct {
	m     *Mock
	fired chan struct{}
	done  chan struct{}
	once  sync.Once
	timer *time.Timer
}

// ErrDeadlock is a Wait without bound that nothing can end: the time is
// virtual and the card has nothing to do.
var ErrDeadlock = errors.New("deadlock: waiting for an interrupt of a card that has nothing to do")

// Vectors implements hal.Function. It does what the kernel does for VFIO.
func (m *Mock) Vectors(n int) ([]hal.Vector, error) {
	m.acquire()
	defer m.release()
	if m.closed {
		return nil, hal.ErrClosed
	}
	if n < 0 || n > card.NumVectors {
		return nil, fmt.Errorf("mock: %d vectors, the card has %d: %w", n, card.NumVectors, hal.ErrUnsupported)
	}
	for _, v := range m.vectors {
		v.close()
	}
	m.vectors = nil
	m.f.DisarmVectors()
	if n == 0 {
		return nil, nil
	}
	out := make([]hal.Vector, n)
	for i := range n {
		v := &vector{m: m, fired: make(chan struct{}, 1), done: make(chan struct{})}
		m.vectors = append(m.vectors, v)
		out[i] = v
	}
	m.f.ArmVectors(0, n)
	return out, nil
}

func (v *vector) fire() {
	select {
	case v.fired <- struct{}{}:
	default:
	}
}

func (v *vector) drain() {
	select {
	case <-v.fired:
	default:
	}
}

func (v *vector) close() { v.once.Do(func() { close(v.done) }) }

// Wait implements hal.Vector.
func (v *vector) Wait(d time.Duration) (bool, error) {
	select {
	case <-v.fired:
		return true, nil
	case <-v.done:
		return false, hal.ErrClosed
	default:
	}
	if d == 0 {
		return false, nil
	}
	if v.m.world != nil {
		return v.m.world.wait(v, d)
	}
	if d < 0 {
		select {
		case <-v.fired:
			return true, nil
		case <-v.done:
			return false, hal.ErrClosed
		}
	}
	if v.timer == nil {
		v.timer = time.NewTimer(d)
	} else {
		v.timer.Reset(d)
	}
	defer v.timer.Stop()
	select {
	case <-v.fired:
		return true, nil
	case <-v.done:
		return false, hal.ErrClosed
	case <-v.timer.C:
		return false, nil
	}
}
