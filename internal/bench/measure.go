package bench

import (
	"context"
	"errors"
	"io"
	"runtime"
	"runtime/metrics"
	"slices"
	"time"

	"github.com/hc1-toolkit/hc1/driver"
)

// Percentile is the value below which a share p (0..1) of the sorted samples
// lies, by the nearest-rank method. It is 0 for no samples.
func Percentile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	i := int(p*float64(len(sorted))+0.999999) - 1
	return sorted[max(0, min(i, len(sorted)-1))]
}

func params(tokens int) driver.Params {
	return driver.Params{MaxTokens: tokens, IgnoreEOS: true}
}

// drain reads a stream to its end.
func drain(st *driver.Stream, buf []driver.Token) (n int, err error) {
	for {
		k, err := st.Next(buf)
		n += k
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// throughput is tokens generated over the wall time of whole requests.
func throughput(ctx context.Context, c *driver.Card, o Options) (float64, error) {
	s, err := c.OpenSession(ctx, driver.SessionConfig{})
	if err != nil {
		return 0, err
	}
	ids := prompt(int(c.Capabilities().Vocab), o.Prompt)
	buf := make([]driver.Token, 64)
	one := func() (int, error) {
		if err := s.Truncate(ctx, 0); err != nil {
			return 0, err
		}
		st, err := s.Generate(ctx, ids, params(o.Tokens))
		if err != nil {
			return 0, err
		}
		return drain(st, buf)
	}
	if _, err := one(); err != nil { // warms caches and grows the KV
		return 0, err
	}
	tokens, start := 0, time.Now()
	for range o.Requests {
		n, err := one()
		if err != nil {
			return 0, err
		}
		tokens += n
	}
	took := time.Since(start)
	return float64(tokens) / took.Seconds(), s.Close()
}

// Result is what a number of equal requests came to.
type Result struct {
	PerSecond              float64 // tokens over the time from call to last token, less prefill; median request
	Response               float64 // µs from call to last token, median
	TokenP50, TokenP99     float64 // ns of a Poll that brought tokens, per token
	RequestP50, RequestP99 float64 // µs from call to last token, card time excluded
	JoulesPerMillion       float64 // modelled
	Late                   uint32
	Tokens                 uint64
}

// Requests runs n equal requests on a session, polling, and measures the
// pace, the host's time in Poll calls that brought tokens, and what a request
// takes beyond the card's own time.
func Requests(ctx context.Context, c *driver.Card, s *driver.Session, ids []uint32, p driver.Params, n int) (r Result, err error) {
	buf := make([]driver.Token, 64)
	var perToken, perRequest, response, rate []float64
	var energy float64
	for range n {
		if err := s.Truncate(ctx, 0); err != nil {
			return r, err
		}
		asked := time.Now()
		st, err := s.Generate(ctx, ids, p)
		if err != nil {
			return r, err
		}
		var last time.Time
		got := 0
		for err == nil {
			t0 := time.Now()
			var k int
			if k, err = st.Poll(buf); k == 0 {
				runtime.Gosched()
				continue
			}
			t1 := time.Now()
			perToken = append(perToken, float64(t1.Sub(t0).Nanoseconds())/float64(k))
			got, last = got+k, t1
		}
		if err != io.EOF {
			return r, err
		}
		res := st.Result()
		card := res.Prefill + res.Decode + res.Stall + res.Wait
		response = append(response, float64(last.Sub(asked).Nanoseconds())/1000)
		perRequest = append(perRequest, max(0, float64((last.Sub(asked)-card).Nanoseconds())/1000))
		rate = append(rate, float64(got)/(last.Sub(asked)-res.Prefill).Seconds())
		r.Tokens += uint64(got)
		r.Late += res.Late
		energy += float64(res.EnergyUJ)
	}
	for _, x := range [][]float64{perToken, perRequest, response, rate} {
		slices.Sort(x)
	}
	r.PerSecond = Percentile(rate, 0.5)
	r.Response = Percentile(response, 0.5)
	r.TokenP50, r.TokenP99 = Percentile(perToken, 0.5), Percentile(perToken, 0.99)
	r.RequestP50, r.RequestP99 = Percentile(perRequest, 0.5), Percentile(perRequest, 0.99)
	r.JoulesPerMillion = energy / float64(r.Tokens)
	return r, nil
}

// allocations counts heap objects between the first and the last token of
// long streams, card model and driver together, over at least want tokens.
func allocations(ctx context.Context, c *driver.Card, want uint64) (perToken float64, tokens uint64, err error) {
	s, err := c.OpenSession(ctx, driver.SessionConfig{})
	if err != nil {
		return 0, 0, err
	}
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:objects"}}
	objects := func() uint64 {
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	buf := make([]driver.Token, 64)
	start := []uint32{1}
	var total uint64
	for round := 0; tokens < want; round++ {
		st, err := s.Generate(ctx, start, driver.Params{IgnoreEOS: true})
		if err != nil {
			return 0, 0, err
		}
		if round == 0 { // the first one grows what is kept
			if _, err := drain(st, buf); err != nil {
				return 0, 0, err
			}
			continue
		}
		if _, err := st.Next(buf); err != nil {
			return 0, 0, err
		}
		before := objects()
		last := before
		for err == nil {
			var k int
			if k, err = st.Next(buf); err == nil {
				tokens += uint64(k)
				last = objects() // not after the end: that is the request's
			}
		}
		if !errors.Is(err, io.EOF) {
			return 0, 0, err
		}
		total += last - before
	}
	return float64(total) / float64(tokens), tokens, s.Close()
}
