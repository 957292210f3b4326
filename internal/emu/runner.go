package emu

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/hc1-toolkit/hc1/internal/card"
)

// How long the card's goroutine spins rather than sleeps: a timer comes some
// 60 µs late, a wake of a sleeping goroutine costs some 10 µs.
const (
	spinBefore = 200 * time.Microsecond // when a step is that near
	spinIdle   = 50 * time.Microsecond  // after the last work
)

// runner is the goroutine that steps a card in real time.
type runner struct {
	poked    atomic.Bool
	sleeping atomic.Bool
	bell     chan struct{}
	quit     atomic.Bool
	own      bool // has a thread of its own, and does not yield it
	done     chan struct{}
}

func (r *runner) start(f *Function) {
	r.bell = make(chan struct{}, 1)
	r.done = make(chan struct{})
	r.own = f.clock == Realtime && runtime.GOMAXPROCS(0) > 1
	go r.loop(f)
}

// poke says that a register was written.
func (r *runner) poke() {
	r.poked.Store(true)
	if r.sleeping.Load() {
		select {
		case r.bell <- struct{}{}:
		default:
		}
	}
}

func (r *runner) stop() {
	if r.done == nil {
		return
	}
	r.quit.Store(true)
	r.poke()
	<-r.done
}

func (r *runner) loop(f *Function) {
	defer close(r.done)
	if r.own {
		runtime.LockOSThread()
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for !r.quit.Load() {
		r.poked.Store(false)
		f.Mu.Lock()
		now := f.Now()
		next := f.Card.Step(now)
		f.Mu.Unlock()
		for i := 0; f.hosts.Load() > 0 && i < 100; i++ {
			r.yield()
		}
		if next <= now {
			continue
		}
		if next == card.Idle || time.Duration(next-now) > spinBefore {
			if !r.spin(f, now+int64(spinIdle)) {
				r.sleep(f, timer, next)
			}
			continue
		}
		r.spin(f, next)
	}
}

// yield lets another goroutine run. A paced card with a processor to itself
// does not: on a thread of its own it is late less often, since the scheduler
// has no reason to move it.
func (r *runner) yield() {
	if !r.own {
		runtime.Gosched()
	}
}

// spin waits until t and reports whether it was poked before.
func (r *runner) spin(f *Function, t int64) bool {
	for !r.poked.Load() {
		if f.Now() >= t {
			return false
		}
		r.yield()
	}
	return true
}

// sleep blocks until it is poked, or shortly before t.
func (r *runner) sleep(f *Function, timer *time.Timer, t int64) {
	r.sleeping.Store(true)
	defer r.sleeping.Store(false)
	if r.poked.Load() { // came before the bell was looked at
		return
	}
	if t == card.Idle {
		<-r.bell
		return
	}
	timer.Reset(time.Duration(t-f.Now()) - spinBefore/2)
	select {
	case <-r.bell:
	case <-timer.C:
	}
}
