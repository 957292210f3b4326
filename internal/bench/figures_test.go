package bench

import (
	"context"
	"testing"

	"github.com/hc1-toolkit/hc1/driver"
	"github.com/hc1-toolkit/hc1/internal/address"
	"github.com/hc1-toolkit/hc1/internal/attach"
)

// The figures of `hc1ctl bench` as Go benchmarks, for profiles and benchstat:
// go test -run '^$' -bench . ./internal/bench. Allocations are those of whole
// requests, card model included.

func session(b *testing.B, card string, replay bool) (*driver.Card, *driver.Session, []uint32) {
	b.Helper()
	a, err := address.Parse(card)
	if err != nil {
		b.Fatal(err)
	}
	e, vocab, err := attach.Engine(a)
	if err == nil && replay {
		e, err = attach.Script(vocab, scriptIDs(vocab.VocabSize(), 6000))
	}
	if err != nil {
		b.Fatal(err)
	}
	via, err := attach.OpenEngine(a, 0, e, vocab)
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	c, err := driver.Open(ctx, via.Function, driver.Config{Spin: driver.SpinAlways})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close(ctx) })
	s, err := c.OpenSession(ctx, driver.SessionConfig{})
	if err != nil {
		b.Fatal(err)
	}
	return c, s, prompt(vocab.VocabSize(), 16)
}

// BenchmarkTokens is requests of 16 prompt and 256 generated tokens, as fast
// as the silicon computes.
func BenchmarkTokens(b *testing.B) {
	for name, replay := range map[string]bool{"llama": false, "script": true} {
		b.Run(name, func(b *testing.B) {
			ctx := context.Background()
			_, s, ids := session(b, "mock:?clock=fast", replay)
			buf := make([]driver.Token, 64)
			b.ReportAllocs()
			tokens := 0
			for b.Loop() {
				if err := s.Truncate(ctx, 0); err != nil {
					b.Fatal(err)
				}
				st, err := s.Generate(ctx, ids, params(256))
				if err != nil {
					b.Fatal(err)
				}
				n, err := drain(st, buf)
				if err != nil {
					b.Fatal(err)
				}
				tokens += n
			}
			b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tokens/s")
		})
	}
}

// BenchmarkRequest is the same in real time: what the host adds.
func BenchmarkRequest(b *testing.B) {
	c, s, ids := session(b, "mock:", false)
	b.ResetTimer()
	m, err := Requests(context.Background(), c, s, ids, params(256), b.N)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(m.PerSecond, "tokens/s")
	b.ReportMetric(m.TokenP50, "host-ns/token")
	b.ReportMetric(m.RequestP50, "host-µs/request")
	b.ReportMetric(float64(m.Late)/float64(m.Tokens), "late/token")
}

// BenchmarkRing is an entry of the driver's queue pair.
func BenchmarkRing(b *testing.B) {
	least := 1e9
	for b.Loop() {
		ns, err := driver.RingBench(ringEntries)
		if err != nil {
			b.Fatal(err)
		}
		least = min(least, ns)
	}
	b.ReportMetric(least, "least-ns/entry")
}
