package driver_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hc1-toolkit/hc1/driver"
	"github.com/hc1-toolkit/hc1/hal/mock"
)

// Every fault hook, on the virtual clock: what the caller sees, and that the
// card (or a new one) then gives the text it should.
func TestFaults(t *testing.T) {
	p := sampled(48)
	ref := open(t, options{})
	rs := ref.session()
	want := ref.generate(rs, prompt, p)
	for _, c := range []struct {
		fault string
		err   error // what the stream ends with; nil: it does not notice
		lost  bool
		after func(*testing.T, *driver.Card)
	}{
		{fault: "lost-irq@irq#40"},
		{fault: "lost-irq%0.5"},
		{fault: "stuck-queue@sqe#11", err: driver.ErrTimeout, after: func(t *testing.T, c *driver.Card) {
			if c.Stats().Rebuilds.Load()+c.Stats().Aborts.Load() == 0 {
				t.Error("no rung was climbed")
			}
		}},
		{fault: "corrupt-record@record#10", err: driver.ErrProtocol},
		{fault: "corrupt-cqe@cqe#8", err: driver.ErrTimeout},
		{fault: "slow-token@token#20,ns=50000000"},
		{fault: "slow-token@token#20,ns=30000000000", err: driver.ErrTimeout},
		{fault: "fatal@token#7", err: driver.ErrReset},
		{fault: "all-ones@token#9", err: driver.ErrCardLost, lost: true},
		{fault: "dma-fault@dma#150", err: nil},
		{fault: "heartbeat-stop@health#1"},
	} {
		t.Run(c.fault, func(t *testing.T) {
			before := runtime.NumGoroutine()
			if *faceName == "vfio" { // the kernel's reset at open is an event, and takes a completion
				c.fault = strings.Replace(c.fault, "@cqe#8", "@cqe#9", 1)
			}
			w, err := tryOpen(t, options{Options: mock.Options{Clock: mock.Virtual}, fault: c.fault, breaks: true})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := w.card.Close(context.Background()); err != nil && !c.lost {
					t.Errorf("close: %v", err)
				}
				settle(t, before)
			}()
			s := w.session()
			st, err := s.Generate(context.Background(), prompt, p)
			if err != nil {
				t.Fatal(err)
			}
			ids, err := drain(st)
			t.Logf("%d tokens, %v", len(ids), err)
			if c.err != nil && !errors.Is(err, c.err) {
				t.Errorf("stream ended with %v, want %v", err, c.err)
			}
			if c.err == nil && c.fault[:3] != "dma" && err != nil {
				t.Errorf("stream ended with %v", err)
			}
			if !slices.Equal(ids, want[:len(ids)]) {
				t.Errorf("tokens before the error differ")
			}
			if c.lost {
				if err := s.Close(); err != nil {
					t.Errorf("closing a session of a lost card: %v", err)
				}
				return
			}
			// What was cut off is made up for: same seed, same text.
			if len(ids) < len(want) {
				if errors.Is(err, driver.ErrReset) {
					s.Close()
					s = w.session()
				}
				q := p
				q.MaxTokens = len(want) - len(ids)
				ids = append(ids, w.generate(s, append(slices.Clone(prompt), ids...), q)...)
				if !slices.Equal(ids, want) {
					t.Errorf("text after recovery differs")
				}
			}
			if c.after != nil {
				c.after(t, w.card)
			}
			if err := s.Close(); err != nil {
				t.Errorf("session close: %v", err)
			}
		})
	}
}

func TestBringUpFaults(t *testing.T) {
	for fault, want := range map[string]error{
		"never-ready":       driver.ErrTimeout,
		"all-ones@mmio#1":   driver.ErrCardLost,
		"all-ones@mmio#5":   driver.ErrCardLost,
		"all-ones@mmio#12":  driver.ErrCardLost,
		"corrupt-cqe@cqe#1": driver.ErrTimeout,
	} {
		t.Run(fault, func(t *testing.T) {
			before := runtime.NumGoroutine()
			_, err := tryOpen(t, options{Options: mock.Options{Clock: mock.Virtual}, fault: fault, breaks: true})
			wantErr(t, err, want)
			settle(t, before)
		})
	}
}

// An OPEN whose completion is lost leaves a session on the card that nobody
// knows: the driver finds it in the SESSIONS log and closes it.
func TestOrphanIsClosed(t *testing.T) {
	w, err := tryOpen(t, options{Options: mock.Options{Clock: mock.Virtual}, fault: "corrupt-cqe@cqe#6", breaks: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.card.Close(context.Background())
	_, err = w.card.OpenSession(context.Background(), driver.SessionConfig{})
	wantErr(t, err, driver.ErrTimeout)
	for range w.card.Sessions() { // all of them can still be had
		w.session()
	}
}

// The bounds are in card time: on the virtual clock they pass at once, and a
// caller on a real clock is not held longer than they say.
func TestLostCardIsNoticedInTime(t *testing.T) {
	w, err := tryOpen(t, options{realtime: true, fault: "all-ones@token#20", breaks: true})
	if err != nil {
		t.Fatal(err)
	}
	s := w.session()
	start := time.Now()
	st, err := s.Generate(context.Background(), prompt, sampled(400))
	if err != nil {
		t.Fatal(err)
	}
	_, err = drain(st)
	wantErr(t, err, driver.ErrCardLost)
	if d := time.Since(start); d > 4*time.Second {
		t.Errorf("noticed after %v", d)
	}
	if err := w.card.Close(context.Background()); err != nil {
		t.Errorf("closing a lost card: %v", err)
	}
}

// A controller that stops is noticed in a fraction of a second, and why it did
// is in the error.
func TestFatalIsNoticed(t *testing.T) {
	if *faceName != "mock" {
		t.Skip("virtual time is in one process")
	}
	w, err := tryOpen(t, options{Options: mock.Options{Clock: mock.Virtual}, fault: "fatal@token#7", breaks: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.card.Close(context.Background())
	s := w.session()
	start := w.mock.Clock().Now()
	st, err := s.Generate(context.Background(), prompt, sampled(400))
	if err != nil {
		t.Fatal(err)
	}
	_, err = drain(st)
	wantErr(t, err, driver.ErrReset)
	if !strings.Contains(err.Error(), "controller fatal") {
		t.Errorf("the error does not say why: %v", err)
	}
	if d := time.Duration(w.mock.Clock().Now() - start); d > time.Second {
		t.Errorf("noticed, and up again, after %v", d)
	}
	if got := w.generate(w.session(), prompt, sampled(5)); len(got) != 5 {
		t.Errorf("%d tokens afterwards", len(got))
	}
}
