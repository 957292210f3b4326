package card

import (
	"fmt"
	"strings"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// inside is a bus that lets the host in before and after every access of the
// card, in the middle of its steps, as a bus that waits for its host does.
type inside struct {
	*fakeHost
	n      int         // how often the host could come in
	come   func(n int) // what it does then
	irq    func(v int) // and at an interrupt
	at     uint64      // address of the access under way
	within bool
	bad    string // an access that should not have begun
}

// insideHost puts one between a card and its host.
func insideHost(h *fakeHost, come func(n int)) *inside {
	b := &inside{fakeHost: h, come: come}
	h.c.bus = b
	return b
}

// visit lets the host in. A register write there is a reason for one more
// step.
func (b *inside) visit() {
	if b.n++; b.come == nil || b.within {
		return
	}
	b.within = true
	writes := b.c.counters.MMIOWrites
	b.come(b.n)
	b.within = false
	b.poked = b.poked || b.c.counters.MMIOWrites != writes
}

// may looks at whether an access may begin.
func (b *inside) may(what string, iova uint64) {
	c := b.c
	why := ""
	switch {
	case !c.cfgSpace.busMaster():
		why = "bus mastering is off"
	case c.cfgSpace.d3():
		why = "the function is in D3hot"
	case c.Resetting():
		why = "the function is being reset"
	case c.regs.disabling:
		why = "CC.EN is 0"
	case c.regs.csts&1 == 0:
		why = "CSTS.RDY is 0"
	}
	if why != "" && b.bad == "" {
		b.bad = fmt.Sprintf("%s of %#x while %s", what, iova, why)
	}
}

func (b *inside) begin(what string, iova uint64) {
	b.may(what, iova)
	b.at = iova
	b.visit()
}

func (b *inside) Read(iova uint64, p []byte) error {
	b.begin("read", iova)
	defer b.visit()
	return b.fakeHost.Read(iova, p)
}

func (b *inside) Write(iova uint64, p []byte) error {
	b.begin("write", iova)
	defer b.visit()
	return b.fakeHost.Write(iova, p)
}

func (b *inside) Load32(iova uint64) (uint32, error) {
	b.begin("load", iova)
	defer b.visit()
	return b.fakeHost.Load32(iova)
}

func (b *inside) Load64(iova uint64) (uint64, error) {
	b.begin("load", iova)
	defer b.visit()
	return b.fakeHost.Load64(iova)
}

func (b *inside) Store32(iova uint64, v uint32) error {
	b.begin("store", iova)
	defer b.visit()
	return b.fakeHost.Store32(iova, v)
}

func (b *inside) Store64(iova uint64, v uint64) error {
	b.begin("store", iova)
	defer b.visit()
	return b.fakeHost.Store64(iova, v)
}

func (b *inside) Interrupt(v int) {
	if n := len(b.c.posted); n > 0 && b.bad == "" {
		b.bad = fmt.Sprintf("interrupt %d before %d writes", v, n)
	}
	b.may("interrupt", uint64(v))
	b.fakeHost.Interrupt(v)
	if b.irq != nil {
		b.irq(v)
		b.poked = true
	}
}

// reactor is a host that answers at once what it finds in its memory.
type reactor struct {
	*fakeHost
	workers []*worker
	owner   map[uint16]*worker // by CID
	backlog [3][]hci.SQE       // no room in the queue yet
	seen    [3]uint32          // SQ heads
	away    func() bool        // after a step: the host does nothing now
}

// worker is what it does with one session: batches of commands, each when
// the one before has ended.
type worker struct {
	*reactor
	i       int // of its memory; -1: the admin queue's
	epoch   uint16
	want    int // completions of this batch that are to come
	batches []func(w *worker)
	last    hci.CQE
	armed   bool
	masks   bool
	quitAt  uint32 // CANCEL at this position rather than choose
	ends    []string
	recs    []string
}

// send gives a command to the card as soon as there is room for it.
func (w *worker) send(q int, e hci.SQE) {
	w.cid++
	e.CID = w.cid
	w.owner[e.CID] = w
	w.want++
	w.backlog[q] = append(w.backlog[q], e)
}

// react does all there is to do.
func (r *reactor) react() {
	for more := true; more; {
		more = false
		for q := range 3 {
			for c, ok := r.peek(q); ok; c, ok = r.peek(q) {
				r.head[q]++
				r.headBell(q)
				r.seen[q] += (uint32(c.SQHD) - r.seen[q]) & (r.size[q] - 1)
				w := r.owner[c.CID]
				if w == nil || int(c.SQID) != q {
					r.t.Fatalf("completion of nothing: %+v", c)
				}
				delete(r.owner, c.CID)
				w.drain()
				w.completed(c)
				more = true
			}
		}
		for _, w := range r.workers {
			more = w.drain() || more
		}
		for q := range 3 {
			n := len(r.backlog[q])
			for len(r.backlog[q]) > 0 && r.tail[q]-r.seen[q] < r.size[q]-1 {
				r.putRaw(q, &r.backlog[q][0])
				r.backlog[q] = r.backlog[q][1:]
			}
			if n != len(r.backlog[q]) {
				r.ring(q)
			}
		}
	}
	for _, w := range r.workers {
		if w.i >= 0 && w.want > 0 && w.sess[w.i].sid != 0 && !w.armed {
			w.armed = true
			r.armFor(w.i, r.sess[w.i].head+uint32(w.i)*4, uint64(w.i)*100)
		}
	}
}

// armFor arms session i's vector for a record, or a delay in µs.
func (h *fakeHost) armFor(i int, seq uint32, delay uint64) {
	h.c.WriteBAR(hci.BARDoorbells, hci.PageSize+hci.DoorbellARM, 8, uint64(seq)|uint64(h.sess[i].sid&0xFFFF)<<32|delay<<48)
}

func (w *worker) completed(c hci.CQE) {
	w.last = c
	w.ends = append(w.ends, fmt.Sprintf("queue %d: %v %#x %d", c.SQID, c.Code(), c.DW0, c.DW1))
	if w.want--; w.want == 0 && len(w.batches) > 0 {
		next := w.batches[0]
		w.batches = w.batches[1:]
		next(w)
	}
}

// drain takes the records there are.
func (w *worker) drain() (some bool) {
	if w.i < 0 {
		return false
	}
	for _, r := range w.records(w.i, w.epoch) {
		w.record(r)
		some = true
	}
	return some
}

func (w *worker) record(r hci.Record) {
	w.recs = append(w.recs, fmt.Sprintf("record %d: %v %d %d %#x", r.Position, r.Payload, r.Chosen, r.Stop, r.Flags&^hci.FlagLate))
	switch {
	case r.Flags&hci.FlagChoice == 0:
	case r.Position == w.quitAt:
		w.send(2, hci.SQE{OPC: hci.OpCancel, SID: w.sess[w.i].sid})
	default:
		w.choose(w.i, w.epoch, r.Position, r.Payload[r.Position%uint32(r.Count)])
	}
	if w.masks && r.Stop == 0 {
		w.mask(int(r.Position) + 1)
	}
}

// mask allows a third of the tokens at a position.
func (w *worker) mask(position int) {
	w.setMask(w.epoch, position, 4, func(p, id int) bool { return (p+id)%3 == 0 })
	if w.cardBlock(w.i, 0)>>32&waitMask != 0 {
		w.bell(2, hci.DoorbellKICK, w.sess[w.i].sid&0xFFFF)
	}
}

func (w *worker) cmd(opc uint8) hci.SQE { return hci.SQE{OPC: opc, SID: w.sess[w.i].sid} }

// tokens is PREFILL of n tokens, from a place of the session's own.
func (w *worker) tokens(n int) hci.SQE {
	e := w.prefill(w.sess[w.i].sid, count(n))
	copy(w.r[offPrompt+0x1000*(1+w.i):], w.r[offPrompt:][:4*n])
	e.PRP1 += 0x1000 * uint64(1+w.i)
	return e
}

// gen is a GENERATE of n tokens in the next epoch.
func (w *worker) gen(n int, flags ...hci.CommandField) hci.SQE {
	w.epoch++
	e := gen(w.sess[w.i].sid, w.epoch, n)
	for _, f := range flags {
		e.Put(f, 1)
	}
	return e
}

// The work: every feature, in three threads that do not depend on each other.
func work(h *fakeHost, ring uint32) *reactor {
	r := &reactor{fakeHost: h, owner: map[uint16]*worker{}}
	h.setParams(hci.Params{MaskSlots: 4, MaskIOVA: iovaR + offMask, Presence: 1})
	opened := func(w *worker) { w.sess[w.i].sid = w.last.DW0 }
	fork := func(w *worker) {
		e := w.openCmd(2, ring, 7)
		e.OPC, e.SID = hci.OpFork, w.sess[0].sid
		w.send(1, e)
	}
	capTo := func(mw uint32) func(w *worker) {
		return func(w *worker) {
			e := hci.SQE{OPC: hci.AdminSetFeatures}
			e.Put(hci.SetFeaturesFID, hci.FeatureIDPowerCap)
			e.Put(hci.SetFeaturesValue, uint64(mw))
			w.send(0, hci.SQE{OPC: hci.AdminAsyncEventRequest})
			w.send(0, e)
		}
	}
	r.workers = []*worker{
		{reactor: r, i: 0, batches: []func(w *worker){
			func(w *worker) { w.send(1, w.openCmd(0, ring, 100)) },
			func(w *worker) { opened(w); w.send(1, w.tokens(20)); w.send(1, w.gen(20)) },
			func(w *worker) {
				w.epoch++
				e := w.tokens(36)
				e.Put(hci.PrefillScore, 1)
				e.Put(hci.PrefillEpoch, uint64(w.epoch))
				w.send(1, e)
			},
			func(w *worker) { w.send(2, w.gen(9, hci.GenerateStepped)) },
			func(w *worker) {
				w.masks = true
				w.send(1, w.tokens(1))
				w.send(2, withParams(w.gen(8, hci.GenerateMask, hci.GenerateGreedy)))
				w.mask(int(w.last.DW1) + 1)
			},
			func(w *worker) {
				w.masks = false
				e := w.cmd(hci.OpTruncate)
				e.Put(hci.TruncateLength, 10)
				w.send(1, e)
			},
			func(w *worker) { w.send(2, w.tokens(3)); w.send(2, w.gen(5, hci.GenerateLogprobs)) },
			func(w *worker) { w.send(1, w.tokens(1)) },
			fork,
			func(w *worker) { w.i, w.epoch = 2, 0; opened(w); w.send(1, w.gen(4)) },
			func(w *worker) { w.send(1, w.cmd(hci.OpClose)) },
			func(w *worker) { w.i = 0; w.send(1, w.cmd(hci.OpClose)) },
		}},
		{reactor: r, i: 1, batches: []func(w *worker){
			func(w *worker) { w.send(2, w.openCmd(1, ring, ^uint32(0)-20)) },
			func(w *worker) { opened(w); w.send(2, w.tokens(40)); w.send(2, w.gen(25)) },
			func(w *worker) {
				w.quitAt = w.last.DW1 + 1 + 4
				w.send(1, w.tokens(1))
				w.send(2, w.gen(10, hci.GenerateStepped))
				w.send(2, w.tokens(2))
			},
			func(w *worker) { w.send(2, w.cmd(hci.OpCancel)) },
		}},
		{reactor: r, i: -1, batches: []func(w *worker){
			capTo(200_000),
			func(w *worker) {
				e := hci.SQE{OPC: hci.AdminGetLogPage, PRP1: iovaW + offData}
				e.Put(hci.GetLogPageLID, hci.LogTelemetry)
				e.Put(hci.GetLogPageNUMD, 63)
				w.send(0, e)
			},
			capTo(250_000),
		}},
	}
	return r
}

// play has it all done, or as much as will be, and returns what came of it.
// between: the host acts between steps too.
func (r *reactor) play(between bool) (out string) {
	r.t.Helper()
	for _, w := range r.workers {
		next := w.batches[0]
		w.batches = w.batches[1:]
		next(w)
	}
	r.react()
	r.next = r.now
	for range 50_000 {
		r.step()
		if r.away != nil && r.away() {
			r.next = r.now
			continue
		}
		if writes := r.c.counters.MMIOWrites; between {
			if r.react(); r.c.counters.MMIOWrites != writes {
				r.next = r.now
			}
		}
		if len(r.owner) == 0 || r.next == Idle {
			break
		}
	}
	for _, w := range r.workers {
		out += fmt.Sprintf("worker: %d to come\n%s\n", w.want, strings.Join(append(w.ends, w.recs...), "\n"))
	}
	return out
}

// differ shows where two texts part.
func differ(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d: %q, want %q", i, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

// woken has the reactor hear of interrupts, and act at them.
func (b *inside) woken(r *reactor, act bool) {
	b.irq = func(v int) {
		for _, w := range r.workers {
			w.armed = w.armed && v != 3+w.i
		}
		if act {
			r.react()
		}
	}
}
