package main

import (
	"context"
	"fmt"

	"github.com/hc1-toolkit/hc1/internal/address"
	"github.com/hc1-toolkit/hc1/internal/bench"
	"github.com/hc1-toolkit/hc1/internal/output"
)

// benchFaces is bench for a card behind a socket.
func (a *app) benchFaces(ctx context.Context, o bench.Options, with string) error {
	var other *address.Address
	if with != "" {
		x, err := address.Parse(with)
		if err != nil {
			return tag(errAddress, err)
		}
		if x.String() == o.Address.String() {
			return usagef("--with %s: that is the same card", x)
		}
		other = &x
	}
	r, err := bench.Faces(ctx, o, other, func(what string) { fmt.Fprintf(a.err, "measuring %s\n", what) })
	if err != nil {
		return err
	}
	return a.printer().Print(facesView{r})
}

type facesView struct{ *bench.FacesReport }

func (v facesView) Table(t *output.Rows) {
	l, s := v.Faces[0], v.Faces[1]
	t.Line("%s (%s silicon) beside a card in this process, %d cores", clip(s.Card, 40), s.Silicon, v.Cores)
	t.Line("")
	t.Row("FIGURE", "CARD", "IN-PROCESS", "UNIT")
	for _, x := range []struct {
		name       string
		sock, here float64
		unit       string
	}{
		{"bring-up and close", s.BringUpMS, l.BringUpMS, "ms"},
		{"register read", s.LoadNS / 1000, l.LoadNS / 1000, "µs"},
		{"register write, posted", s.StoreNS / 1000, l.StoreNS / 1000, "µs"},
		{"DMA memory of 4 KiB, map and unmap", s.MapSmallUS, l.MapSmallUS, "µs"},
		{"DMA memory of 2 MiB, map and unmap", s.MapLargeUS, l.MapLargeUS, "µs"},
		{"command, polling", s.CommandPollUS, l.CommandPollUS, "µs"},
		{"command, block and wake", s.CommandBlockUS, l.CommandBlockUS, "µs"},
		{"host time per token, polling", s.HostTokenNS, l.HostTokenNS, "ns"},
		{"host time per request", s.RequestUS, l.RequestUS, "µs"},
		{"tokens per second, polling", s.TokensPerSecond, l.TokensPerSecond, "tokens/s"},
	} {
		t.Row(x.name, number(x.sock), number(x.here), x.unit)
	}
	if v.Both != nil {
		t.Line("")
		t.Row("one card, waiting as a service does", number(*v.Each), "tokens/s")
		t.Row("two cards at once", number(*v.Both), "tokens/s")
	}
	t.Line("")
	budgets(t, v.Budgets)
}
