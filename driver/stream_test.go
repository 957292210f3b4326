package driver_test

import (
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hc1-toolkit/hc1/driver"
	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/hal/mock"
)

func TestStreamContract(t *testing.T) {
	w := open(t, options{})
	s := w.session()
	p := sampled(20)
	want := w.generate(s, prompt, p)
	for _, size := range []int{1, 2, 7, 64} {
		st, err := s.Generate(context.Background(), prompt, p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Next(nil); !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("Next without room: %v", err)
		}
		var got []uint32
		buf := make([]driver.Token, size)
		for {
			n, err := st.Next(buf)
			if (n > 0) == (err != nil) {
				t.Fatalf("Next returned %d, %v", n, err)
			}
			if err != nil {
				if err != io.EOF {
					t.Fatal(err)
				}
				break
			}
			for i, tok := range buf[:n] {
				if int(tok.Position) != len(prompt)+len(got)+0 {
					t.Fatalf("token %d at position %d", i, tok.Position)
				}
				got = append(got, tok.ID)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("buffer of %d: text differs", size)
		}
		if _, err := st.Next(buf); err != io.EOF {
			t.Errorf("Next after the end: %v", err)
		}
		r := st.Result()
		if r.Reason != driver.ReasonLength || r.Tokens != 20 || r.Prompt != len(prompt) || r.Decode <= 0 {
			t.Errorf("result %+v", r)
		}
		// 16 prompt tokens and 20 sampled ones, the last of which is not in KV.
		if s.Len() != len(prompt)+19 {
			t.Errorf("kv holds %d tokens", s.Len())
		}
	}
}

func TestOneStreamAtATime(t *testing.T) {
	w := open(t, options{})
	s := w.session()
	st, err := s.Generate(context.Background(), prompt, sampled(400))
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Generate(context.Background(), prompt, sampled(1))
	wantErr(t, err, driver.ErrBusy)
	wantErr(t, s.Prefill(context.Background(), prompt), driver.ErrBusy)
	wantErr(t, s.Truncate(context.Background(), 0), driver.ErrBusy)
	_, err = s.Fork(context.Background())
	wantErr(t, err, driver.ErrBusy)
	if err := st.Close(); err != nil {
		t.Errorf("close of a running stream: %v", err)
	}
	if len(w.generate(s, prompt, sampled(3))) != 3 {
		t.Error("session unusable after its stream was closed")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	_, err = s.Generate(context.Background(), prompt, sampled(1))
	wantErr(t, err, driver.ErrClosed)
}

func TestArgumentsAreChecked(t *testing.T) {
	w := open(t, options{})
	s := w.session()
	caps := w.card.Capabilities()
	long := make([]uint32, caps.Context)
	cases := map[string]struct {
		prompt []uint32
		p      driver.Params
	}{
		"token beyond the vocabulary": {[]uint32{1, caps.Vocab}, driver.Params{MaxTokens: 1}},
		"prompt fills the context":    {long, driver.Params{MaxTokens: 1}},
		"prompt over the context":     {append(long, 1), driver.Params{MaxTokens: 1}},
		"negative max tokens":         {prompt, driver.Params{MaxTokens: -1}},
		"top-k over the card's":       {prompt, driver.Params{MaxTokens: 1, TopK: 9}},
		"negative temperature":        {prompt, driver.Params{MaxTokens: 1, Temperature: -1}},
		"temperature not a number":    {prompt, driver.Params{MaxTokens: 1, Temperature: math.NaN()}},
		"top-p over 1":                {prompt, driver.Params{MaxTokens: 1, TopP: 1.1}},
		"too many stop ids":           {prompt, driver.Params{MaxTokens: 1, Stop: make([]uint32, 17)}},
	}
	for name, c := range cases {
		if _, err := s.Generate(context.Background(), c.prompt, c.p); !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Nothing was spoilt by any of them.
	if len(w.generate(s, prompt, sampled(2))) != 2 {
		t.Error("session unusable")
	}
	// GENERATE without logits is the card's to refuse.
	if err := s.Truncate(context.Background(), 4); err != nil {
		t.Fatal(err)
	}
	st, err := s.Generate(context.Background(), nil, sampled(1))
	if err != nil {
		t.Fatal(err)
	}
	_, err = drain(st)
	if code, _ := driver.StatusOf(err); code != hci.StatusNotPrimed {
		t.Errorf("generate after truncate: %v", err)
	}
	if len(w.generate(s, prompt, sampled(2))) != 2 {
		t.Error("session unusable after NOT_PRIMED")
	}
}

func TestStopsAndLimits(t *testing.T) {
	w := open(t, options{Options: mock.Options{Engine: script(50)}})
	s := w.session()
	start := []uint32{1}
	st, err := s.Generate(context.Background(), start, driver.Params{MaxTokens: 100})
	if err != nil {
		t.Fatal(err)
	}
	ids, err := drain(st)
	if err != nil || len(ids) != 51 || ids[50] != 2 || st.Result().Reason != driver.ReasonStop {
		t.Errorf("script ended with %d tokens, %v, %v", len(ids), st.Result().Reason, err)
	}
	ids = w.generate(s, start, driver.Params{MaxTokens: 100, Stop: []uint32{9}})
	if len(ids) != 7 || ids[6] != 9 {
		t.Errorf("stop id 9: %v", ids)
	}
	ids = w.generate(s, start, driver.Params{MaxTokens: 100, Stop: []uint32{9}, MinTokens: 20})
	if len(ids) < 20 {
		t.Errorf("min tokens 20: %d", len(ids))
	}
	// To the end of the context.
	ctx := int(w.card.Capabilities().Context)
	st, err = s.Generate(context.Background(), start, driver.Params{IgnoreEOS: true})
	if err != nil {
		t.Fatal(err)
	}
	ids, err = drain(st)
	if err != nil || len(ids) != ctx-1 || st.Result().Reason != driver.ReasonContext {
		t.Errorf("context of %d: %d tokens, %v, %v", ctx, len(ids), st.Result().Reason, err)
	}
}

// A reader that stops: the ring fills, the card skips the session, others go
// on, and nothing is lost.
func TestSlowReader(t *testing.T) {
	w := open(t, options{Options: mock.Options{Engine: script(5000)}, cfg: driver.Config{RingLog2: 4}})
	s, other := w.session(), w.session()
	st, err := s.Generate(context.Background(), []uint32{1}, driver.Params{MaxTokens: 1000})
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]driver.Token, 3)
	var ids []uint32
	for i := 0; ; i++ {
		if i < 3 {
			if got := w.generate(other, []uint32{1}, driver.Params{MaxTokens: 100}); len(got) != 100 {
				t.Fatalf("another session got %d tokens", len(got))
			}
			time.Sleep(10 * time.Millisecond) // the card goes to sleep on the ring
		}
		n, err := st.Next(buf)
		for _, tok := range buf[:n] {
			ids = append(ids, tok.ID)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, id := range ids {
		if id != uint32(3+i%500) {
			t.Fatalf("token %d is %d", i, id)
		}
	}
	if len(ids) != 1000 {
		t.Errorf("%d tokens", len(ids))
	}
	tel, err := w.card.Telemetry(context.Background())
	if err != nil || tel.RingStalls == 0 {
		t.Errorf("ring stalls %d, %v", tel.RingStalls, err)
	}
}

func TestCancel(t *testing.T) {
	w := open(t, options{})
	s := w.session()
	boom := errors.New("boom")
	for _, wait := range []time.Duration{0, time.Microsecond, time.Millisecond, 5 * time.Millisecond} {
		ctx, cancel := context.WithCancelCause(context.Background())
		st, err := s.Generate(ctx, prompt, driver.Params{MaxTokens: 400, IgnoreEOS: true})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(wait)
			cancel(boom)
		}()
		ids, err := drain(st)
		if err != nil && !errors.Is(err, driver.ErrCancelled) || err == nil && len(ids) != 400 {
			t.Fatalf("cancelled stream: %v after %d tokens", err, len(ids))
		}
		if err != nil && st.Result().Reason != driver.ReasonCancelled {
			t.Errorf("reason %v", st.Result().Reason)
		}
	}
	if len(w.generate(s, prompt, sampled(5))) != 5 {
		t.Error("session unusable after cancels")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := s.Generate(ctx, prompt, sampled(1))
	wantErr(t, err, context.Canceled)
}

// 64 callers share the card's sessions and cancel at random.
func TestCallersCancelAtRandom(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("callers", func(t *testing.T) {
		w := open(t, options{})
		p := sampled(64)
		first := w.session()
		want := w.generate(first, prompt, p)
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var whole atomic.Int64
		for i := range 64 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(i), 1))
				for range 3 {
					s, err := w.card.OpenSession(context.Background(), driver.SessionConfig{})
					if err != nil {
						t.Errorf("open: %v", err)
						return
					}
					ctx, cancel := context.WithCancel(context.Background())
					st, err := s.Generate(ctx, prompt, p)
					if err != nil {
						t.Errorf("generate: %v", err)
					} else {
						cut := time.AfterFunc(time.Duration(rng.IntN(20000))*time.Microsecond, cancel)
						ids, err := drain(st)
						cut.Stop()
						if err == nil {
							whole.Add(1)
						} else if !errors.Is(err, driver.ErrCancelled) {
							t.Errorf("stream: %v", err)
						}
						if !slices.Equal(ids, want[:len(ids)]) {
							t.Errorf("caller %d: text differs", i)
						}
					}
					cancel()
					if err := s.Close(); err != nil {
						t.Errorf("close: %v", err)
					}
				}
			})
		}
		wg.Wait()
		t.Logf("%d of 192 streams ran to their end", whole.Load())
		sess, err := w.card.SessionLog(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range sess {
			if e.SID != ^uint32(0) {
				t.Errorf("slot %d is still open: %+v", i, e)
			}
		}
	})
	settle(t, before)
}

func TestWaitForSession(t *testing.T) {
	w := open(t, options{cfg: driver.Config{MaxSessions: 2}})
	a, b := w.session(), w.session()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := w.card.OpenSession(ctx, driver.SessionConfig{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("third of two sessions: %v", err)
	}
	go a.Close()
	c := w.session()
	for _, s := range []*driver.Session{b, c} {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The token path allocates nothing.
func TestTokenPathDoesNotAllocate(t *testing.T) {
	if *faceName == "vfio-user-messages" {
		t.Skip("every access of the card is a message here")
	}
	w := open(t, options{Options: mock.Options{Engine: script(8000), Clock: mock.Virtual}})
	s := w.session()
	st, err := s.Generate(context.Background(), []uint32{1}, driver.Params{MaxTokens: 6000})
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]driver.Token, 4)
	if _, err := st.Next(buf); err != nil {
		t.Fatal(err)
	}
	tokens := 0
	allocs := testing.AllocsPerRun(500, func() {
		n, err := st.Next(buf)
		if err != nil {
			t.Fatal(err)
		}
		tokens += n
	})
	if allocs != 0 {
		t.Errorf("%v allocations per batch of %d tokens", allocs, tokens/500)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}

// Blocking instead of spinning gives the same tokens, and blocks.
func TestSpinPolicies(t *testing.T) {
	for name, spin := range map[string]driver.SpinPolicy{"off": driver.SpinOff, "always": driver.SpinAlways, "adaptive": driver.SpinAdaptive} {
		t.Run(name, func(t *testing.T) {
			w := open(t, options{realtime: true, cfg: driver.Config{Spin: spin}})
			s := w.session()
			if n := len(w.generate(s, prompt, sampled(50))); n != 50 {
				t.Errorf("%d tokens", n)
			}
			if blocks := w.card.Stats().Blocks.Load(); (blocks > 0) != (spin == driver.SpinOff) && spin != driver.SpinAdaptive {
				t.Errorf("%d blocks", blocks)
			}
		})
	}
}
