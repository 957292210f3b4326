// Package bench measures the budgets of the design on an emulated card:
// tokens per second, the host's own time per token and per request, ring
// entries beside a C ring, allocations. Every figure says what made the
// tokens and whether it was measured or modelled.
package bench

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/hc1-toolkit/hc1/driver"
	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/address"
	"github.com/hc1-toolkit/hc1/internal/attach"
	"github.com/hc1-toolkit/hc1/internal/silicon"
)

// Options say what to measure with.
type Options struct {
	Address  address.Address // a mock: address; its clock is overridden
	Prompt   int             // tokens of a prompt; 16
	Tokens   int             // tokens generated; 256
	Requests int             // requests per figure; 40
	Quick    bool            // a tenth of everything: a smoke test
	RingRef  string          // the C ring; "" if there is none
	NoRef    string          // why there is none
}

// Budget is one line of the design's table with what was seen.
type Budget struct {
	Name   string   `json:"name"`
	Value  *float64 `json:"value"`
	Budget float64  `json:"budget"`
	Unit   string   `json:"unit"`
	AtMost bool     `json:"at_most"` // else at least
	OK     *bool    `json:"ok"`      // null: not measured
}

// Report is what was measured. Missing figures are null.
type Report struct {
	Schema           string   `json:"schema"`
	TokensPerSecond  float64  `json:"tokens_per_second"`
	PacedPerSecond   float64  `json:"paced_tokens_per_second"`
	PacedSilicon     string   `json:"paced_silicon"`
	LateTokens       uint64   `json:"late_tokens"`
	PacedTokens      uint64   `json:"paced_tokens"`
	HostTokenP50     float64  `json:"host_ns_per_token_p50"`
	HostTokenP99     float64  `json:"host_ns_per_token_p99"`
	HostRequestP50   float64  `json:"host_us_per_request_p50"`
	HostRequestP99   float64  `json:"host_us_per_request_p99"`
	RingNS           *float64 `json:"ring_ns_per_entry"`
	RingRatio        *float64 `json:"ring_vs_c_ratio"`
	RingReason       *string  `json:"ring_vs_c_reason"`
	RingCNS          *float64 `json:"ring_c_ns_per_entry"`
	AllocsPerToken   float64  `json:"allocs_per_token"`
	AllocTokens      uint64   `json:"allocs_counted_over_tokens"`
	JoulesPerMillion float64  `json:"joules_per_million_tokens"`
	TimerNS          float64  `json:"timer_ns"`
	Cores            int      `json:"cores"`
	Model            string   `json:"model"`
	Silicon          string   `json:"silicon"`
	PromptTokens     int      `json:"prompt_tokens"`
	GeneratedTokens  int      `json:"generated_tokens"`
	Requests         int      `json:"requests"`
	Modelled         []string `json:"modelled"`
	Budgets          []Budget `json:"budgets"`
}

// Run measures everything. step is told what is being measured.
func Run(ctx context.Context, o Options, step func(string)) (*Report, error) {
	if o.Prompt < 1 || o.Tokens < 2 || o.Requests < 2 {
		return nil, fmt.Errorf("%d prompt tokens, %d tokens, %d requests: %w", o.Prompt, o.Tokens, o.Requests, driver.ErrInvalid)
	}
	r := &Report{Schema: "hc1.bench/1", Cores: runtime.GOMAXPROCS(0), PromptTokens: o.Prompt, GeneratedTokens: o.Tokens,
		Requests: o.Requests, TimerNS: timerNS(), Modelled: []string{"joules_per_million_tokens"}}
	engine, vocab, err := attach.Engine(o.Address)
	if err != nil {
		return nil, err
	}
	replay, err := attach.Script(vocab, scriptIDs(vocab.VocabSize(), 6000))
	if err != nil {
		return nil, err
	}
	open := func(clock string, e silicon.Engine) (*driver.Card, error) {
		a := o.Address
		a.Clock = clock
		via, err := attach.OpenEngine(a, 0, e, vocab)
		if err != nil {
			return nil, err
		}
		return driver.Open(ctx, via.Function, driver.Config{Spin: driver.SpinAlways})
	}
	on := func(clock string, e silicon.Engine, f func(*driver.Card) error) error {
		c, err := open(clock, e)
		if err != nil {
			return err
		}
		if err := f(c); err != nil {
			c.Close(context.Background())
			return err
		}
		return c.Close(context.Background())
	}

	step("tokens per second, as fast as the silicon computes")
	if err := on("fast", engine, func(c *driver.Card) (err error) {
		caps := c.Capabilities()
		r.Model, r.Silicon = hci.Text(caps.ModelName[:]), hci.Text(caps.Silicon[:])
		r.TokensPerSecond, err = throughput(ctx, c, o)
		return err
	}); err != nil {
		return nil, err
	}

	// A paced card is only as good as its silicon is fast: with room to spare
	// the model itself, else the script.
	paced := engine
	if r.TokensPerSecond < 1.1*nominalRate {
		paced = replay
	}
	r.PacedSilicon = paced.Info().Kind
	step("real time: pace, host time per token and request (" + r.PacedSilicon + " silicon)")
	if err := on("realtime", paced, func(c *driver.Card) error {
		s, err := c.OpenSession(ctx, driver.SessionConfig{})
		if err != nil {
			return err
		}
		m, err := Requests(ctx, c, s, prompt(vocab.VocabSize(), o.Prompt), params(o.Tokens), o.Requests)
		if err != nil {
			return err
		}
		r.PacedPerSecond, r.LateTokens, r.PacedTokens = m.PerSecond, uint64(m.Late), m.Tokens
		r.HostTokenP50, r.HostTokenP99 = m.TokenP50, m.TokenP99
		r.HostRequestP50, r.HostRequestP99 = m.RequestP50, m.RequestP99
		r.JoulesPerMillion = m.JoulesPerMillion
		return s.Close()
	}); err != nil {
		return nil, err
	}

	step("allocations")
	if err := on("fast", replay, func(c *driver.Card) (err error) {
		want := uint64(1_000_000)
		if o.Quick {
			want /= 10
		}
		r.AllocsPerToken, r.AllocTokens, err = allocations(ctx, c, want)
		return err
	}); err != nil {
		return nil, err
	}

	step("ring entries beside a C ring")
	if err := ring(ctx, o, r); err != nil {
		return nil, err
	}
	r.judge()
	return r, nil
}

// nominalRate is the chip's: 58.96 µs a token.
const nominalRate = 1e9 / 58960

// scriptIDs are ids that no prompt of the benchmark ends with.
func scriptIDs(vocab, n int) []uint32 {
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = uint32(vocab/2 + i%(vocab/2))
	}
	return ids
}

// prompt is a fixed prompt of n ids from the lower half of the vocabulary.
func prompt(vocab, n int) []uint32 {
	ids := make([]uint32, n)
	x := uint32(12345)
	for i := range ids {
		x = x*1664525 + 1013904223
		ids[i] = 10 + x>>8%uint32(max(vocab/2-10, 1))
	}
	return ids
}

// timerNS is what reading the clock costs.
func timerNS() float64 {
	const n = 20000
	start := time.Now()
	for range n {
		_ = time.Now()
	}
	return float64(time.Since(start).Nanoseconds()) / n
}

func (r *Report) judge() {
	add := func(name string, v *float64, budget float64, unit string, atMost bool) {
		b := Budget{name, v, budget, unit, atMost, nil}
		if v != nil {
			ok := *v >= budget
			if atMost {
				ok = *v <= budget
			}
			b.OK = &ok
		}
		r.Budgets = append(r.Budgets, b)
	}
	add("paced rate ("+r.PacedSilicon+" silicon)", &r.PacedPerSecond, 16900, "tokens/s", false)
	add("card model, one core ("+r.Silicon+")", &r.TokensPerSecond, 17000, "tokens/s", false)
	add("host time per token, p50", &r.HostTokenP50, 2000, "ns", true)
	add("host time per request, p50", &r.HostRequestP50, 100, "µs", true)
	add("host time per request, p99", &r.HostRequestP99, 300, "µs", true)
	add("ring entry, ratio to C", r.RingRatio, 1.3, "x", true)
	add("allocations per token", &r.AllocsPerToken, 0, "", true)
}
