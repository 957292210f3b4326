package card

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/card/trace"
)

func TestParsePlan(t *testing.T) {
	for _, good := range []string{
		"", ";", "lost-irq@irq#3", "stuck-queue@sqe#5", "corrupt-cqe@cqe#4", "corrupt-record@record#10", "dma-fault@dma#9",
		"all-ones@mmio#50", "heartbeat-stop@health#3", "slow-token@token#20,ns=5000000", "never-ready", "fatal@token#7",
		"lost-irq%0.01", "lost-irq@irq%0.5", " lost-irq ; never-ready ", "status@cqe#2,code=0x6", "link@token#3,width=1,speed=2", "hot,c=60", "all-ones@token#20",
	} {
		if _, err := ParsePlan(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for bad, want := range map[string]string{
		"lost":                           `"lost" at position 0: no fault is named "lost"`,
		"never-ready;lost-irq@tick#1":    `at position 12: no event is named "tick"`,
		"lost-irq@cqe#1":                 "counted by",
		"lost-irq@irq#0":                 "want 1 or more",
		"lost-irq@irq#x":                 "want 1 or more",
		"lost-irq%2":                     "probability",
		"lost-irq%0":                     "probability",
		"lost-irq%NaN":                   "probability",
		"lost-irq@irq#3%0.5":             "both",
		"never-ready%0.5":                "holds from the start",
		"slow-token@token#1,us=5":        `takes "ns"`,
		"slow-token@token#1,ns":          `takes "ns"`,
		"slow-token@token#1,ns=-5":       "want a number",
		"fatal@token#1,code=1,x=2":       `takes "code"`,
		"lost-irq@irq#3 stuck-queue":     "want 1 or more",
		"@irq#1":                         "no fault",
		"fatal@irq#99999999999999999999": "want 1 or more",
	} {
		_, err := ParsePlan(bad)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", bad, err, want)
		}
	}
}

func FuzzParsePlan(f *testing.F) {
	f.Add("lost-irq@irq#3;slow-token%0.5,ns=1")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePlan(s)
		if err == nil && p.String() != s {
			t.Error("text lost")
		}
	})
}

// play brings a card up under a plan and lets it prefill and decode. It
// returns the host and the completion of the GENERATE, if it came.
func play(t *testing.T, plan string) (h *fakeHost, g hci.CQE, ok bool, rs []hci.Record) {
	t.Helper()
	p, err := ParsePlan(plan)
	if err != nil {
		t.Fatal(err)
	}
	h = up(t, Config{Paced: true, Faults: p}, &hashEngine{vocab: 100, context: 4096}, false)
	h.lax = true
	sid := h.open(0)
	h.ok(1, h.prefill(sid, count(5)))
	cid := h.submit(1, greedy(sid, 1, 30))
	h.settle()
	rs = h.records(0, 1)
	g, ok = h.peek(1)
	return h, g, ok && g.CID == cid, rs
}

func TestFaults(t *testing.T) {
	for plan, check := range map[string]func(h *fakeHost, g hci.CQE, ok bool, rs []hci.Record) bool{
		"lost-irq@irq#6": func(h *fakeHost, g hci.CQE, ok bool, rs []hci.Record) bool {
			return ok && h.irqs[0]+h.irqs[1] == int(h.c.counters.Commands)-1
		},
		"double-irq@irq#7":   func(h *fakeHost, g hci.CQE, ok bool, _ []hci.Record) bool { return ok && h.irqs[0]+h.irqs[1] == 8 },
		"wrong-vector@irq#7": func(h *fakeHost, g hci.CQE, ok bool, _ []hci.Record) bool { return ok && h.irqs[2] == 1 },
		"stuck-queue@sqe#7":  func(h *fakeHost, g hci.CQE, ok bool, rs []hci.Record) bool { return !ok && len(rs) == 0 },
		"drop-command@sqe#7": func(h *fakeHost, g hci.CQE, ok bool, rs []hci.Record) bool { return !ok && len(rs) == 0 },
		"lost-cqe@cqe#7":     func(h *fakeHost, g hci.CQE, ok bool, rs []hci.Record) bool { return !ok && len(rs) == 30 },
		"corrupt-cqe@cqe#7":  func(h *fakeHost, g hci.CQE, ok bool, rs []hci.Record) bool { return !ok && g.CID == ^h.cid },
		"stale-cqe@cqe#7":    func(h *fakeHost, g hci.CQE, ok bool, rs []hci.Record) bool { return !ok && g.CID == h.cid-0x1000 },
		"wrong-queue@cqe#7":  func(h *fakeHost, g hci.CQE, ok bool, rs []hci.Record) bool { return g.SQID == 2 },
		"status@cqe#7": func(h *fakeHost, g hci.CQE, ok bool, rs []hci.Record) bool {
			return ok && g.Code() == hci.StatusInternalError
		},
		"double-cqe@cqe#7": func(h *fakeHost, g hci.CQE, ok bool, rs []hci.Record) bool {
			h.head[1]++
			d, again := h.peek(1)
			return ok && again && d.CID == g.CID
		},
		"stale-record@record#10": func(h *fakeHost, g hci.CQE, ok bool, rs []hci.Record) bool { return ok && len(rs) == 9 },
		"lost-record@record#10":  func(h *fakeHost, g hci.CQE, ok bool, rs []hci.Record) bool { return ok && len(rs) == 9 },
		"torn-record@record#10":  func(h *fakeHost, g hci.CQE, ok bool, rs []hci.Record) bool { return ok && len(rs) == 30 },
		"dma-fault@dma#60": func(h *fakeHost, g hci.CQE, ok bool, rs []hci.Record) bool {
			return ok && g.Code() == hci.StatusDataTransferError
		},
		"all-ones@token#9": func(h *fakeHost, g hci.CQE, ok bool, rs []hci.Record) bool {
			return !ok && h.reg(hci.RegCSTS) == 0xFFFF_FFFF && h.c.ReadConfig(0, 4) == 0xFFFF_FFFF && h.c.Lost()
		},
		"slow-token@token#20": func(h *fakeHost, g hci.CQE, ok bool, rs []hci.Record) bool {
			return ok && rs[19].Flags&hci.FlagLate != 0 && h.cardBlock(0, hci.CardOffDecodeNS) == 30*58960+5_000_000 && h.c.counters.Late == 1
		},
		"numeric@token#4": func(h *fakeHost, g hci.CQE, ok bool, rs []hci.Record) bool {
			return ok && g.Code() == hci.StatusNumericError && len(rs) == 4 && rs[3].Stop == hci.StopError
		},
		"ecc-corrected@token#4,count=3": func(h *fakeHost, g hci.CQE, ok bool, rs []hci.Record) bool {
			return ok && len(rs) == 30 && h.c.counters.ECCCorrected == 3
		},
		"ecc-uncorrected@token#4": func(h *fakeHost, g hci.CQE, ok bool, rs []hci.Record) bool {
			h.head[1]++
			h.bell(1, hci.DoorbellCQHDBL, h.head[1]%32)
			again := h.do(1, h.prefill(h.sess[0].sid, count(1)))
			closed := h.do(1, hci.SQE{OPC: hci.OpClose, SID: h.sess[0].sid})
			return ok && g.Code() == hci.StatusKVUncorrectable && again.Code() == hci.StatusKVUncorrectable && closed.Code() == 0
		},
		"fatal@token#7,code=5": func(h *fakeHost, g hci.CQE, ok bool, rs []hci.Record) bool {
			return !ok && h.reg(hci.RegCSTS) == 3 && h.reg(hci.RegFERR) == 5 && len(rs) == 6
		},
		"hang@token#7": func(h *fakeHost, g hci.CQE, ok bool, rs []hci.Record) bool { return !ok && h.reg(hci.RegCSTS) == 1 },
		"aer@token#3":  func(h *fakeHost, g hci.CQE, ok bool, rs []hci.Record) bool { return ok && h.c.Signalled() == 1 },
		"link@token#3,width=2,speed=1": func(h *fakeHost, g hci.CQE, ok bool, rs []hci.Record) bool {
			return h.c.ReadConfig(cfgLnkSta, 2)&0x3FF == 0x21
		},
	} {
		t.Run(plan, func(t *testing.T) {
			h, g, ok, rs := play(t, plan)
			if !check(h, g, ok, rs) {
				t.Errorf("completion %+v %v, %d records, %+v, irqs %v", g, ok, len(rs), h.c.counters, h.irqs[:4])
			}
			// A reset helps, but where the card is gone.
			if h.c.Lost() {
				return
			}
			h.c.Reset(FLR)
			h.settle()
			h.c.WriteConfig(cfgCommand, 2, commandMaster|commandMemory)
			h.bringUp(false)
			h.open(0)
		})
	}
	t.Run("never-ready", func(t *testing.T) {
		p, _ := ParsePlan("never-ready")
		h := newHost(t, Config{Faults: p}, nil)
		h.set(hci.RegCC, 1|6<<16|4<<20)
		h.run(10_000_000_000)
		if h.reg(hci.RegCSTS) != 0 {
			t.Error("ready")
		}
	})
	t.Run("boot-fail", func(t *testing.T) {
		p, _ := ParsePlan("boot-fail,code=3")
		h := newHost(t, Config{Faults: p}, nil)
		if b := h.reg(hci.RegBSTS); b&0xFF == 0xFF || hci.BSTSError.Get(uint64(b)) != 3 {
			t.Errorf("BSTS %#x", b)
		}
	})
	t.Run("flr-stuck", func(t *testing.T) {
		p, _ := ParsePlan("flr-stuck")
		h := newHost(t, Config{Faults: p}, nil)
		h.c.Reset(FLR)
		h.run(10_000_000_000)
		if !h.c.Resetting() {
			t.Error("over")
		}
	})
	t.Run("corrupt-record", func(t *testing.T) {
		p, _ := ParsePlan("corrupt-record@record#1")
		h := up(t, Config{Faults: p}, nil, false)
		sid := h.open(0)
		h.ok(1, h.prefill(sid, count(5)))
		h.ok(1, greedy(sid, 1, 1))
		var r hci.Record
		r.Decode((*[64]byte)(h.w[offRing+36*64:]))
		if r.Sequence != 100 || r.Sum() == r.CRC {
			t.Errorf("%+v", r)
		}
	})
	t.Run("flip-dma", func(t *testing.T) {
		p, _ := ParsePlan("flip-dma@read#7")
		h := up(t, Config{Faults: p}, nil, false)
		sid := h.open(0)
		h.want(h.do(1, h.prefill(sid, count(5))), hci.StatusCRCError)
	})
}

// Every fault that the help lists is carried out somewhere.
func TestFaultKindsHaveCode(t *testing.T) {
	for _, k := range FaultKinds {
		if k.Meaning == "" || k.def != onNothing && k.On == "" {
			t.Errorf("%+v", k)
		}
	}
}

func TestProbabilityIsOfTheSeed(t *testing.T) {
	run := func(seed uint64) string {
		p, _ := ParsePlan("slow-token%0.2,ns=1000")
		h := up(t, Config{Paced: true, Faults: p, Seed: seed}, &hashEngine{vocab: 100, context: 4096}, false)
		sid := h.open(0)
		h.ok(1, h.prefill(sid, count(5)))
		h.ok(1, greedy(sid, 1, 60))
		s := ""
		for _, r := range h.records(0, 1) {
			s += fmt.Sprint(r.Flags >> 4 & 1)
		}
		return s
	}
	if run(1) != run(1) || run(1) == run(2) || !strings.Contains(run(1), "1") {
		t.Errorf("%s\n%s\n%s", run(1), run(1), run(2))
	}
}

// Two runs on the virtual clock leave the same trace, byte by byte; a trace
// can be read back; and it holds no payload unless asked.
func TestTrace(t *testing.T) {
	run := func(payloads bool) []byte {
		var b bytes.Buffer
		w := trace.NewWriter(&b, 7, payloads)
		p, _ := ParsePlan("slow-token%0.1;lost-irq%0.1")
		h := up(t, Config{Paced: true, Trace: w, Faults: p, Seed: 7}, nil, true)
		sid := h.open(0)
		h.put(1, h.prefill(sid, count(40)))
		h.submit(1, gen(sid, 1, 100))
		h.all(0, 1)
		h.settle()
		h.c.Reset(FLR)
		h.settle()
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	a, b := run(false), run(false)
	if !bytes.Equal(a, b) {
		t.Fatal("two runs differ")
	}
	tr, err := trace.ReadTrace(bytes.NewReader(a))
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[trace.Kind]int{}
	for _, e := range tr.Entries {
		kinds[e.Kind]++
	}
	for k := trace.ConfigWrite; k <= trace.Note; k++ {
		if kinds[k] == 0 {
			t.Errorf("no %v entries", k)
		}
	}
	if tr.Seed != 7 {
		t.Errorf("seed %d", tr.Seed)
	}
	// Read and written again it is the same.
	var again bytes.Buffer
	w := trace.NewWriter(&again, tr.Seed, false)
	for _, e := range tr.Entries {
		w.Trace(e)
	}
	w.Flush()
	if !bytes.Equal(again.Bytes(), a) {
		t.Error("a trace read and written differs")
	}
	tokens := []byte("0300000004000000050000000600")
	if bytes.Contains(a, tokens) {
		t.Error("the prompt is in the trace")
	}
	if !bytes.Contains(run(true), tokens) {
		t.Error("payloads were asked for")
	}
}
