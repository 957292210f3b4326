package driver_test

import (
	"context"
	"io"
	"os"
	"runtime"
	"slices"
	"testing"

	"github.com/hc1-toolkit/hc1/driver"
	"github.com/hc1-toolkit/hc1/hal/mock"
)

// Two cards and sixteen streams on one goroutine and one virtual clock: the
// core is step-driven, so nothing here blocks and a run can be replayed.
func TestManyStreamsOneGoroutine(t *testing.T) {
	run := func() (texts [][]uint32, end int64) {
		earth := mock.NewWorld()
		var streams []*driver.Stream
		for serial := range uint64(2) {
			w := open(t, options{Options: mock.Options{Clock: mock.Virtual, World: earth, Serial: serial + 1}})
			for i := range 8 {
				p := sampled(30 + i)
				p.Seed = serial*100 + uint64(i)
				st, err := w.session().Generate(context.Background(), prompt, p)
				if err != nil {
					t.Fatal(err)
				}
				streams = append(streams, st)
			}
		}
		texts = make([][]uint32, len(streams))
		buf := make([]driver.Token, 4)
		for left := len(streams); left > 0; earth.Relax() {
			for i, st := range streams {
				if st == nil {
					continue
				}
				n, err := st.Poll(buf)
				for _, tok := range buf[:n] {
					texts[i] = append(texts[i], tok.ID)
				}
				if err == nil {
					continue
				}
				if err != io.EOF {
					t.Fatalf("stream %d: %v", i, err)
				}
				streams[i] = nil
				left--
			}
		}
		return texts, earth.Now()
	}
	texts, end := run()
	for i, ids := range texts {
		if len(ids) != 30+i%8 {
			t.Errorf("stream %d: %d tokens", i, len(ids))
		}
	}
	again, end2 := run()
	if end != end2 || !slices.EqualFunc(texts, again, slices.Equal[[]uint32]) {
		t.Errorf("replay ended at %d ns, first run at %d ns", end2, end)
	}
}

// Opening and closing cards leaves no goroutine and no file behind.
func TestOpenCloseLeavesNothing(t *testing.T) {
	fds := func() int {
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("no /proc:", err)
		}
		return len(d)
	}
	cycle := func() {
		w, err := tryOpen(t, options{})
		if err != nil {
			t.Fatal(err)
		}
		s := w.session()
		w.generate(s, prompt, sampled(4))
		// The session is not closed: closing the card must do.
		if err := w.card.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := w.card.Close(context.Background()); err != nil {
			t.Errorf("second close: %v", err)
		}
		if _, err := w.card.OpenSession(context.Background(), driver.SessionConfig{}); err == nil {
			t.Error("session opened on a closed card")
		}
	}
	cycle()
	runtime.GC()
	goroutines, files := runtime.NumGoroutine(), fds()
	for range 20 {
		cycle()
	}
	settle(t, goroutines)
	if n := fds(); n > files {
		t.Errorf("%d files open, %d before", n, files)
	}
}

// A 1.1 card with capabilities this driver does not know works as a 1.0 one.
func TestNewerMinor(t *testing.T) {
	o := options{}
	o.Card.Minor = 1
	w := open(t, o)
	if got := w.generate(w.session(), prompt, sampled(3)); len(got) != 3 {
		t.Errorf("%d tokens", len(got))
	}
}
