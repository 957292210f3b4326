package driver_test

import (
	"context"
	"slices"
	"testing"

	"github.com/hc1-toolkit/hc1/driver"
	"github.com/hc1-toolkit/hc1/hal/mock"
)

// The same seed gives the same text on every clock, in any chunking, after
// TRUNCATE and PREFILL, after FORK, and after an FLR.
func TestSameSeedSameText(t *testing.T) {
	w := open(t, options{})
	p := sampled(96)
	s := w.session()
	want := w.generate(s, prompt, p)
	if len(want) != 96 {
		t.Fatalf("%d tokens", len(want))
	}
	check := func(t *testing.T, got []uint32) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("text differs:\n got %v\nwant %v", got, want)
		}
	}
	t.Run("again", func(t *testing.T) { check(t, w.generate(s, prompt, p)) })
	t.Run("other seed", func(t *testing.T) {
		q := p
		q.Seed++
		if slices.Equal(w.generate(s, prompt, q), want) {
			t.Error("another seed gave the same text")
		}
		q = p
		q.Choice = 1
		if slices.Equal(w.generate(s, prompt, q), want) {
			t.Error("another choice gave the same text")
		}
	})
	t.Run("chunkings", func(t *testing.T) {
		for _, cut := range []int{1, 3, 8, 15} {
			c := w.session()
			for rest := prompt; len(rest) > 0; {
				n := min(cut, len(rest))
				if err := c.Prefill(context.Background(), rest[:n]); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			check(t, w.generate(c, nil, p))
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("truncate", func(t *testing.T) {
		c := w.session()
		defer c.Close()
		w.generate(c, []uint32{5, 100, 200, 9, 9, 9}, p)
		check(t, w.generate(c, prompt, p)) // shares three tokens
	})
	t.Run("continue", func(t *testing.T) {
		c := w.session()
		defer c.Close()
		q := p
		q.MaxTokens = 40
		got := w.generate(c, prompt, q)
		q.MaxTokens = 56
		check(t, append(got, w.generate(c, append(slices.Clone(prompt), got...), q)...))
	})
	t.Run("fork", func(t *testing.T) {
		c := w.session()
		defer c.Close()
		if err := c.Prefill(context.Background(), prompt); err != nil {
			t.Fatal(err)
		}
		kid, err := c.Fork(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer kid.Close()
		check(t, w.generate(c, nil, p))
		check(t, w.generate(kid, nil, p))
	})
	t.Run("stepped", func(t *testing.T) {
		c := w.session()
		defer c.Close()
		q := p
		q.Choose = func(tok *driver.Token) int { return int(tok.Chosen) }
		check(t, w.generate(c, prompt, q))
	})
	t.Run("flr", func(t *testing.T) {
		dead := w.session()
		if err := w.card.Reset("test"); err != nil {
			t.Fatal(err)
		}
		_, err := dead.Generate(context.Background(), prompt, p)
		wantErr(t, err, driver.ErrReset)
		if err := dead.Close(); err != nil {
			t.Errorf("closing a session of before the reset: %v", err)
		}
		c := w.session()
		defer c.Close()
		check(t, w.generate(c, prompt, p))
	})
	for name, o := range map[string]options{
		"realtime":     {realtime: true},
		"virtual":      {Options: mock.Options{Clock: mock.Virtual}},
		"another card": {Options: mock.Options{Seed: 9, Serial: 77}},
	} {
		t.Run(name, func(t *testing.T) {
			v := open(t, o)
			c := v.session()
			defer c.Close()
			check(t, v.generate(c, prompt, p))
		})
	}
}

// On the virtual clock two runs do the same things at the same times.
func TestVirtualClockReplays(t *testing.T) {
	if *faceName != "mock" {
		t.Skip("virtual time is in one process")
	}
	run := func() (int64, []uint32, uint64) {
		w := open(t, options{Options: mock.Options{Clock: mock.Virtual, Seed: 3}})
		s := w.session()
		ids := w.generate(s, prompt, sampled(50))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		tel, err := w.card.Telemetry(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return w.mock.Clock().Now(), ids, tel.EnergyMJ
	}
	at, ids, mj := run()
	for range 3 {
		if a, i, m := run(); a != at || m != mj || !slices.Equal(i, ids) {
			t.Errorf("run ended at %d ns with %d mJ, first one at %d ns with %d mJ", a, m, at, mj)
		}
	}
}
