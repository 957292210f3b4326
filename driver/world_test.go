package driver_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/hc1-toolkit/hc1/driver"
	"github.com/hc1-toolkit/hc1/hal/mock"
	"github.com/hc1-toolkit/hc1/internal/card"
	"github.com/hc1-toolkit/hc1/internal/gguf"
	"github.com/hc1-toolkit/hc1/internal/model"
	"github.com/hc1-toolkit/hc1/internal/silicon"
)

// llama is the default model: real tokens.
var llama = sync.OnceValue(func() silicon.Engine {
	f, err := gguf.Parse(model.Default())
	if err != nil {
		panic(err)
	}
	e, err := silicon.Load(f)
	if err != nil {
		panic(err)
	}
	return e
})

// script replays ids 3, 4, 5, ... 3+n-1 at no compute cost.
func script(n int) silicon.Engine {
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = uint32(3 + i%500)
	}
	e, err := silicon.NewScript(600, 8192, 1, 2, ids, [32]byte{7})
	if err != nil {
		panic(err)
	}
	scripts.Store(e, n)
	return e
}

type world struct {
	*testing.T
	mock *mock.Mock // nil behind a socket
	face face
	card *driver.Card
}

// options for a world; the zero value is the default model on the fast clock.
type options struct {
	mock.Options
	cfg driver.Config
	// realtime paces the tokens; without it, and without a virtual clock,
	// the card is as fast as it computes.
	realtime bool
	fault    string
	// breaks says that the test makes the host or card misbehave on purpose.
	breaks bool
}

// open brings up a card and checks at the end of the test that the driver
// kept to the contract and left nothing behind.
func open(t *testing.T, o options) *world {
	t.Helper()
	w, err := tryOpen(t, o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := w.card.Close(context.Background()); err != nil && !o.breaks {
			t.Errorf("close: %v", err)
		}
		w.clean(o)
	})
	return w
}

func tryOpen(t *testing.T, o options) (*world, error) {
	t.Helper()
	if o.Engine == nil {
		o.Engine = llama()
	}
	if o.cfg.Log == nil && testing.Verbose() {
		o.cfg.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if o.Clock == mock.Realtime && !o.realtime {
		o.Clock = mock.Fast
	}
	if o.fault != "" {
		plan, err := card.ParsePlan(o.fault)
		if err != nil {
			t.Fatal(err)
		}
		o.Faults = plan
	}
	if *faceName != "mock" {
		f, fn := overSocket(t, o)
		c, err := driver.Open(context.Background(), fn, o.cfg)
		return &world{T: t, face: f, card: c}, err
	}
	m, err := mock.New(o.Options)
	if err != nil {
		t.Fatalf("mock: %v", err)
	}
	if o.Clock == mock.Virtual {
		o.cfg.Clock = m.Clock()
	}
	c, err := driver.Open(context.Background(), m, o.cfg)
	return &world{T: t, mock: m, face: m, card: c}, err
}

func (w *world) clean(o options) {
	w.Helper()
	if o.breaks {
		return
	}
	for _, v := range w.face.Violations() {
		w.Errorf("contract violation: %+v", v)
	}
}

func (w *world) session() *driver.Session {
	w.Helper()
	s, err := w.card.OpenSession(context.Background(), driver.SessionConfig{})
	if err != nil {
		w.Fatalf("open session: %v", err)
	}
	return s
}

// drain reads a stream to its end.
func drain(st *driver.Stream) (ids []uint32, err error) {
	buf := make([]driver.Token, 16)
	for {
		n, err := st.Next(buf)
		for _, t := range buf[:n] {
			ids = append(ids, t.ID)
		}
		if err == io.EOF {
			return ids, nil
		}
		if err != nil {
			return ids, err
		}
	}
}

func (w *world) generate(s *driver.Session, prompt []uint32, p driver.Params) []uint32 {
	w.Helper()
	st, err := s.Generate(context.Background(), prompt, p)
	if err != nil {
		w.Fatalf("generate: %v", err)
	}
	ids, err := drain(st)
	if err != nil {
		w.Fatalf("stream: %v after %d tokens", err, len(ids))
	}
	return ids
}

// sampled is a decode whose text depends on the seed.
func sampled(n int) driver.Params {
	return driver.Params{MaxTokens: n, Temperature: 1, TopP: 0.95, Seed: 42, IgnoreEOS: true}
}

var prompt = []uint32{5, 100, 200, 300, 17, 42, 99, 256, 7, 8, 9, 10, 11, 12, 13, 14}

// settle waits until the number of goroutines is back to what it was.
func settle(t *testing.T, before int) {
	t.Helper()
	for range 200 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	buf := make([]byte, 1<<16)
	t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
}

func wantErr(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("error %v, want %v", err, target)
	}
}
