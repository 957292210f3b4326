package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hc1-toolkit/hc1/internal/catalog"
)

// The demo answers in full, and with -o json prints one object that adds up.
func TestDemo(t *testing.T) {
	out, errs, code := ctl(t, "", "demo", "-o", "json", "--price-kwh", "0.36")
	if code != catalog.ExitOK {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	var v demoView
	d := json.NewDecoder(strings.NewReader(out))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil || d.More() {
		t.Fatalf("%v in %q", err, out)
	}
	if !strings.Contains(errs, "fox") || v.Tokens < 32 || v.Silicon != "llama" {
		t.Errorf("%d tokens of %s silicon: %q", v.Tokens, v.Silicon, errs)
	}
	if v.TokensPerSecond <= 0 || v.HostNSPerToken <= 0 || v.ResponseMS <= 0 {
		t.Errorf("%+v", v)
	}
	// At 0.36 dollars a kWh a dollar buys ten million joules.
	if per := v.TokensPerDollar * v.JoulesPerMillion / 1e6; per < 0.999e7 || per > 1.001e7 {
		t.Errorf("%v tokens per dollar at %v J per million", v.TokensPerDollar, v.JoulesPerMillion)
	}
	if _, _, code := ctl(t, "", "demo", "--price-kwh", "0"); code != catalog.ExitUsage {
		t.Errorf("free electricity: exit code %d", code)
	}
	if out, _, _ := ctl(t, "", "demo"); !strings.Contains(out, "17000") || !strings.Contains(out, "modelled") {
		t.Errorf("table: %q", out)
	} else {
		narrow(t, "demo", out[strings.Index(out, "FIGURE"):])
	}
}
