package bench

import (
	"context"
	"errors"
	"math"
	"testing"

	"github.com/hc1-toolkit/hc1/driver"
	"github.com/hc1-toolkit/hc1/internal/address"
)

func TestPercentile(t *testing.T) {
	s := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for p, want := range map[float64]float64{0: 1, 0.1: 1, 0.5: 5, 0.51: 6, 0.99: 10, 1: 10} {
		if got := Percentile(s, p); got != want {
			t.Errorf("percentile %v is %v, want %v", p, got, want)
		}
	}
	if Percentile(nil, 0.5) != 0 || Percentile([]float64{7}, 0.01) != 7 {
		t.Error("none, or one")
	}
}

// A quick run fills every figure. What they are depends on the machine.
func TestRun(t *testing.T) {
	a, err := address.Parse("mock:")
	if err != nil {
		t.Fatal(err)
	}
	steps := 0
	r, err := Run(context.Background(), Options{Address: a, Prompt: 16, Tokens: 64, Requests: 3, Quick: true, NoRef: "not asked for"}, func(string) { steps++ })
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]float64{"tokens": r.TokensPerSecond, "paced": r.PacedPerSecond, "token p50": r.HostTokenP50, "token p99": r.HostTokenP99,
		"joules": r.JoulesPerMillion, "timer": r.TimerNS, "cores": float64(r.Cores)} {
		if !(v > 0) || math.IsInf(v, 0) {
			t.Errorf("%s: %v", name, v)
		}
	}
	if (r.RingNS == nil) != (r.Cores < 2) || r.RingNS != nil && !(*r.RingNS > 0) {
		t.Errorf("ring: %v ns on %d processors", r.RingNS, r.Cores)
	}
	// Energy is modelled: some 11.8 J per thousand tokens, and prefill.
	if r.JoulesPerMillion < 10000 || r.JoulesPerMillion > 25000 {
		t.Errorf("%v J per million tokens", r.JoulesPerMillion)
	}
	// A card never runs ahead of its pace.
	if r.PacedPerSecond > 1.01*nominalRate {
		t.Errorf("paced at %v tokens/s", r.PacedPerSecond)
	}
	if r.RingRatio != nil || r.RingReason == nil || steps != 4 || len(r.Budgets) != 7 || r.Silicon != "llama" || r.AllocTokens < 100_000 {
		t.Errorf("%+v", r)
	}
	for _, b := range r.Budgets {
		if (b.OK == nil) != (b.Value == nil) {
			t.Errorf("budget %+v", b)
		}
	}
	if _, err := Run(context.Background(), Options{Address: a}, func(string) {}); !errors.Is(err, driver.ErrInvalid) {
		t.Errorf("nothing to measure: %v", err)
	}
}
