package secondreading

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hc1-toolkit/hc1/hal/mock"
	"github.com/hc1-toolkit/hc1/internal/card"
	"github.com/hc1-toolkit/hc1/internal/gguf"
	"github.com/hc1-toolkit/hc1/internal/model"
	"github.com/hc1-toolkit/hc1/internal/silicon"
)

var engine = sync.OnceValue(func() silicon.Engine {
	f, err := gguf.Parse(model.Default())
	if err != nil {
		panic(err)
	}
	e, err := silicon.Load(f)
	if err != nil {
		panic(err)
	}
	return e
})

// powerOn opens an emulated card that checks its host. A driver that follows
// the document is never reported but for what a test does on purpose.
func powerOn(t testing.TB, clock mock.Clock, c card.Config, expected ...string) *mock.Mock {
	t.Helper()
	m, err := mock.New(mock.Options{Engine: engine(), Clock: clock, Serial: 0x0123456789ABCDEF, Card: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, v := range m.Violations() {
			if !slices.ContainsFunc(expected, func(e string) bool { return strings.Contains(v.String(), e) }) {
				t.Errorf("reported by the card: %v", v)
			}
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func clocks(t *testing.T, f func(t *testing.T, clock mock.Clock)) {
	for _, c := range []mock.Clock{mock.Virtual, mock.Fast} {
		t.Run(c.String(), func(t *testing.T) { f(t, c) })
	}
}

func TestBringUp(t *testing.T) {
	clocks(t, func(t *testing.T, clock mock.Clock) {
		d := bringUp(t, powerOn(t, clock, card.Config{}))
		if d.caps.serial != "HC1-0123456789ABCDEF" {
			t.Errorf("serial %q", d.caps.serial)
		}
		t.Logf("%+v", d.caps)

		d.healthOn(10)
		_, was := d.readHealth()
		if was == 0 {
			t.Error("no health record after its command")
		}
		for range 3 {
			d.until(3*10*time.Millisecond+time.Second, "health record", func() bool {
				b, seq := d.readHealth()
				if seq == was {
					return false
				}
				if seq != 0 && (b[0x20] > 3 || get16(b[:], 0x38) != uint16(d.regs.Load32(regRGEN))) {
					t.Errorf("health record % x", b)
				}
				was = seq
				return true
			})
		}
		d.admin(cmd(admHealth, 0)) // PRP1 = 0 stops it
		d.shutdown()
	})
}

func TestQueues(t *testing.T) {
	clocks(t, func(t *testing.T, clock mock.Clock) {
		d := bringUp(t, powerOn(t, clock, card.Config{}, "GET_FEATURES has reserved fields set"))
		for i := range 2 {
			q := d.createQueue(1, 16, 1)
			for range 50 { // more than once round both rings
				if c := q.try(cmd(ioCancel, 0xFFFF)); c.st != sessionInvalid || !c.dnr {
					t.Fatalf("CANCEL of no session: %+v", c)
				}
			}
			d.deleteQueue(q)
			if i == 0 {
				d.shadowOn()
			}
		}
		for _, e := range []struct {
			name string
			e    *sqe
			want status
			dw1  uint32
		}{
			{"opcode", cmd(0x7F, 0), invalidOpcode, 0},
			{"flags", func() *sqe { e := cmd(admGetFeature, 0).u32(0x28, 7); e[1] = 1; return e }(), invalidField, 1},
			{"reserved", cmd(admGetFeature, 0).u32(0x28, 7).u32(0x3C, 1), invalidField, 0x3C},
			{"CNS", cmd(admIdentify, 0).u64(0x18, d.adm.cq.IOVA).u32(0x28, 2), invalidField, 0x28},
			{"queue 0", cmd(admCreateCQ, 0).u64(0x18, d.adm.cq.IOVA).u32(0x28, 15<<16).u32(0x2C, 1), qidInvalid, 0},
			{"queue beyond", cmd(admCreateCQ, 0).u64(0x18, d.adm.cq.IOVA).u32(0x28, uint32(d.nqp+1)|15<<16).u32(0x2C, 1), qidInvalid, 0},
			{"size", cmd(admCreateCQ, 0).u64(0x18, d.adm.cq.IOVA).u32(0x28, 1|14<<16).u32(0x2C, 1), queueSizeInvalid, 0},
			{"vector", cmd(admCreateCQ, 0).u64(0x18, d.adm.cq.IOVA).u32(0x28, 1|15<<16).u32(0x2C, 3|uint32(d.nqp+1)<<16), vectorInvalid, 0},
			{"no CQ", cmd(admCreateSQ, 0).u64(0x18, d.adm.sq.IOVA).u32(0x28, 1|15<<16).u32(0x2C, 1|1<<16), cqInvalid, 0},
			{"log page", cmd(admLog, 0).u64(0x18, d.adm.cq.IOVA).u32(0x28, 0x44), logInvalid, 0},
		} {
			c := d.adm.try(e.e)
			if c.st != e.want || !c.dnr || e.want == invalidField && c.dw1 != e.dw1 {
				t.Errorf("%s: %+v, want %v", e.name, c, e.want)
			}
		}
		q := d.createQueue(1, 16, 1)
		if c := d.adm.try(cmd(admDeleteCQ, 0).u32(0x28, 1)); c.st != queueDelete {
			t.Errorf("CQ deleted before its SQ: %+v", c)
		}
		d.deleteQueue(q)
		d.shutdown()
		// Up again, on the same card, without a reset between.
		d.enable()
		d.identify()
		q = d.createQueue(1, 2, 0) // the shadow doorbells are gone
		for range 5 {
			if c := q.try(cmd(ioCancel, 0xFFFF)); c.st != sessionInvalid {
				t.Fatalf("CANCEL of no session: %+v", c)
			}
		}
		d.shutdown()
	})
}
