package bench

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/hc1-toolkit/hc1/driver"
	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/address"
	"github.com/hc1-toolkit/hc1/internal/attach"
)

// Face is what reaching a card one way costs. Times are medians.
type Face struct {
	Card            string   `json:"card"`
	Silicon         string   `json:"silicon"`
	BringUpMS       float64  `json:"bring_up_ms"`        // attach, bring-up, one session; and all down again
	LoadNS          float64  `json:"mmio_load_ns"`       // a register read
	StoreNS         float64  `json:"mmio_store_ns"`      // a posted register write, and a share of a read
	MapSmallUS      float64  `json:"dma_4k_us"`          // 4 KiB of DMA memory, there and gone again
	MapLargeUS      float64  `json:"dma_2m_us"`          // 2 MiB, from huge pages where there are any
	CommandPollUS   float64  `json:"command_polling_us"` // an admin command, there and back
	CommandBlockUS  float64  `json:"command_blocking_us"`
	HostTokenNS     float64  `json:"host_ns_per_token_p50"` // polling
	RequestUS       float64  `json:"host_us_per_request_p50"`
	TokensPerSecond float64  `json:"tokens_per_second"`  // polling
	Messages        *float64 `json:"messages_per_token"` // while tokens come, polling; null: no socket
}

// FacesReport compares a card behind a socket with one in this process.
type FacesReport struct {
	Schema    string   `json:"schema"`
	Faces     []Face   `json:"faces"`                  // in-process, socket
	Both      *float64 `json:"two_cards_tokens_per_s"` // sum of two cards at once; null: one was given
	Each      *float64 `json:"one_card_tokens_per_s"`  // one of them alone, the same way
	Cores     int      `json:"cores"`
	TimerNS   float64  `json:"timer_ns"`
	Requests  int      `json:"requests"`
	Generated int      `json:"generated_tokens"`
	Budgets   []Budget `json:"budgets"`
}

// messenger is a function behind a socket.
type messenger interface{ Messages() uint64 }

// Faces measures the card at o.Address, behind a socket, and beside it one in
// this process. other, if not empty, is a second card: both then run at once.
func Faces(ctx context.Context, o Options, other *address.Address, step func(string)) (*FacesReport, error) {
	r := &FacesReport{Schema: "hc1.bench.faces/1", Cores: runtime.GOMAXPROCS(0), TimerNS: timerNS(), Requests: o.Requests, Generated: o.Tokens}
	local := address.Address{Scheme: address.Mock, Cards: 1, Clock: "realtime"}
	for _, a := range []address.Address{local, o.Address} {
		step("the face of " + a.String())
		f, err := face(ctx, a, o)
		if err != nil {
			return nil, err
		}
		r.Faces = append(r.Faces, f)
	}
	if other != nil {
		step("two cards at once")
		one, err := together(ctx, o, o.Address)
		if err != nil {
			return nil, err
		}
		both, err := together(ctx, o, o.Address, *other)
		if err != nil {
			return nil, err
		}
		r.Each, r.Both = &one, &both
	}
	ratio := r.Faces[1].HostTokenNS / r.Faces[0].HostTokenNS
	ok := ratio <= 2
	r.Budgets = []Budget{{"host time per token, ratio to in-process", &ratio, 2, "x", true, &ok}}
	if m := r.Faces[1].Messages; m != nil {
		none := *m == 0
		r.Budgets = append(r.Budgets, Budget{"socket messages per token", m, 0, "", true, &none})
	}
	return r, nil
}

// median of what f takes, n times, in units of unit.
func median(n int, unit time.Duration, f func() error) (float64, error) {
	all := make([]float64, 0, n)
	for range n {
		start := time.Now()
		if err := f(); err != nil {
			return 0, err
		}
		all = append(all, float64(time.Since(start))/float64(unit))
	}
	slices.Sort(all)
	return Percentile(all, 0.5), nil
}

// open brings a card up.
func open(ctx context.Context, a address.Address, spin driver.SpinPolicy) (*driver.Card, *attach.Card, error) {
	via, err := attach.Open(ctx, a, 0)
	if err != nil {
		return nil, nil, err
	}
	c, err := driver.Open(ctx, via.Function, driver.Config{Spin: spin})
	return c, via, err
}

func face(ctx context.Context, a address.Address, o Options) (f Face, err error) {
	f.Card = a.String()
	n := 20
	if o.Quick {
		n = 5
	}
	if f.BringUpMS, err = median(n, time.Millisecond, func() error {
		c, _, err := open(ctx, a, driver.SpinAlways)
		if err != nil {
			return err
		}
		_, err = c.OpenSession(ctx, driver.SessionConfig{})
		if cerr := c.Close(ctx); err == nil {
			err = cerr
		}
		return err
	}); err != nil {
		return f, err
	}
	for _, x := range []struct {
		spin driver.SpinPolicy
		to   *float64
	}{{driver.SpinOff, &f.CommandBlockUS}, {driver.SpinAlways, &f.CommandPollUS}} {
		c, via, err := open(ctx, a, x.spin)
		if err != nil {
			return f, err
		}
		err = func() error {
			if *x.to, err = median(20*n, time.Microsecond, func() error {
				_, err := c.Feature(ctx, hci.FeatureIDPowerCap)
				return err
			}); err != nil || x.spin == driver.SpinOff {
				return err
			}
			return f.tokens(ctx, c, via, o, n)
		}()
		if cerr := c.Close(ctx); err == nil {
			err = cerr
		}
		if err != nil {
			return f, err
		}
	}
	return f, nil
}

// tokens measures what needs the card up and polling.
func (f *Face) tokens(ctx context.Context, c *driver.Card, via *attach.Card, o Options, n int) error {
	caps := c.Capabilities()
	f.Silicon = hci.Text(caps.Silicon[:])
	regs, err := via.Function.Region(hci.BARRegs)
	if err != nil {
		return err
	}
	if f.LoadNS, err = median(100*n, time.Nanosecond, func() error {
		regs.Load32(hci.RegVS)
		return nil
	}); err != nil {
		return err
	}
	const burst = 64
	cc := uint32(hci.CCEN.Put(hci.CCIOCQES.Put(hci.CCIOSQES.Put(0, 6), 4), 1)) // as the driver has set it
	if f.StoreNS, err = median(n, time.Nanosecond, func() error {
		for range burst {
			regs.Store32(hci.RegCC, cc) // as it is: nothing changes
		}
		regs.Load32(hci.RegVS) // they are done
		return nil
	}); err != nil {
		return err
	}
	f.StoreNS /= burst
	for size, to := range map[int]*float64{4 << 10: &f.MapSmallUS, 2 << 20: &f.MapLargeUS} {
		if *to, err = median(5*n, time.Microsecond, func() error {
			d, err := via.Function.AllocDMA(size, hal.CardWrites)
			if err != nil {
				return err
			}
			return d.Free()
		}); err != nil {
			return err
		}
	}
	s, err := c.OpenSession(ctx, driver.SessionConfig{})
	if err != nil {
		return err
	}
	ids := prompt(int(caps.Vocab), o.Prompt)
	m, err := Requests(ctx, c, s, ids, params(o.Tokens), o.Requests)
	if err != nil {
		return err
	}
	f.HostTokenNS, f.RequestUS, f.TokensPerSecond = m.TokenP50, m.RequestP50, m.PerSecond
	if x, ok := via.Function.(messenger); ok {
		per, err := messages(ctx, s, ids, o, x)
		if err != nil {
			return err
		}
		f.Messages = &per
	}
	return s.Close()
}

// messages counts what goes over the socket between the first and the last
// token of requests, per token.
func messages(ctx context.Context, s *driver.Session, ids []uint32, o Options, x messenger) (float64, error) {
	buf := make([]driver.Token, 64)
	var tokens, sent uint64
	for range min(o.Requests, 10) {
		if err := s.Truncate(ctx, 0); err != nil {
			return 0, err
		}
		st, err := s.Generate(ctx, ids, params(o.Tokens))
		if err != nil {
			return 0, err
		}
		if _, err := st.Next(buf); err != nil {
			return 0, err
		}
		before := x.Messages()
		for last := before; err == nil; {
			var k int
			if k, err = st.Next(buf); err == nil {
				tokens += uint64(k)
				last = x.Messages()
				continue
			}
			sent += last - before
		}
		if err != io.EOF {
			return 0, err
		}
	}
	return float64(sent) / float64(max(tokens, 1)), nil
}

// together runs requests on cards at once, each with a goroutine that waits
// as a service would, and returns the tokens per second of all.
func together(ctx context.Context, o Options, cards ...address.Address) (float64, error) {
	var all sync.WaitGroup
	errs := make([]error, len(cards))
	rates := make([]float64, len(cards))
	for i, a := range cards {
		all.Go(func() {
			c, _, err := open(ctx, a, driver.SpinAdaptive)
			if err != nil {
				errs[i] = err
				return
			}
			defer c.Close(ctx)
			rates[i], errs[i] = throughput(ctx, c, o)
		})
	}
	all.Wait()
	sum := 0.0
	for i, err := range errs {
		if err != nil {
			return 0, fmt.Errorf("%s: %w", cards[i], err)
		}
		sum += rates[i]
	}
	return sum, nil
}
