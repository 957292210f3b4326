package vm

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hc1-toolkit/hc1/internal/address"
	"github.com/hc1-toolkit/hc1/internal/attach"
	"github.com/hc1-toolkit/hc1/internal/card"
	"github.com/hc1-toolkit/hc1/internal/emu"
	"github.com/hc1-toolkit/hc1/internal/silicon"
	"github.com/hc1-toolkit/hc1/tests/vm/job"
)

// control listens for a guest that wants something of its cards.
func (c *cards) control(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			s, err := l.Accept()
			if err != nil {
				return
			}
			if err := job.Serve(s, c.answer); err != nil {
				t.Log(err)
			}
			s.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return path
}

func (c *cards) answer(q job.Request) (r job.Reply) {
	if q.Card < 0 || q.Card >= len(c.all) {
		return job.Reply{Error: fmt.Sprintf("no card %d", q.Card)}
	}
	x := c.all[q.Card]
	switch q.Do {
	case "power":
		if err := c.power(q); err != nil {
			r.Error = err.Error()
		}
	case "violations":
		for _, v := range x.Violations() {
			r.Violations = append(r.Violations, v.String())
		}
	case "kill":
		go x.Close(0) // as if its process had died
	default:
		r.Error = "cannot do " + q.Do
	}
	return r
}

func (c *cards) power(q job.Request) error {
	cfg := card.Config{Seed: q.Seed, Serial: q.Serial, Minor: q.Minor, Without: q.Without, Context: q.Context, KVBudget: q.Budget, Sessions: q.Sessions}
	var err error
	if n, ok := strings.CutPrefix(q.Engine, "script:"); ok {
		var k int
		if _, err := fmt.Sscan(n, &k); err != nil {
			return err
		}
		cfg.Engine, err = Script(k)
	} else {
		cfg.Engine, _, err = attach.Engine(address.Address{Scheme: address.Mock, Cards: 1})
	}
	if err != nil {
		return err
	}
	if q.Fault != "" {
		if cfg.Faults, err = card.ParsePlan(q.Fault); err != nil {
			return err
		}
	}
	clock := emu.Realtime
	if q.Fast {
		clock = emu.Fast
	}
	return c.all[q.Card].Power(cfg, clock)
}

// Script replays ids 3, 4, 5, ... as the driver's tests have it.
func Script(n int) (silicon.Engine, error) {
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = uint32(3 + i%500)
	}
	return silicon.NewScript(600, 8192, 1, 2, ids, [32]byte{7})
}
