package card

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// hostile is a host that does what a string of bytes tells it to.
type hostile struct {
	*fakeHost
	in []byte
}

func (x *hostile) byte() byte {
	if len(x.in) == 0 {
		return 0
	}
	b := x.in[0]
	x.in = x.in[1:]
	return b
}

func (x *hostile) u32() uint32 {
	return uint32(x.byte()) | uint32(x.byte())<<8 | uint32(x.byte())<<16 | uint32(x.byte())<<24
}

// small is mostly small, now and then anything.
func (x *hostile) small(n int) uint64 {
	if b := x.byte(); b < 240 {
		return uint64(int(b) % n)
	}
	return uint64(x.u32()) | uint64(x.u32())<<32
}

func (x *hostile) address() uint64 {
	switch x.byte() % 8 {
	case 0:
		return uint64(x.u32()) << x.byte()
	case 1:
		return iovaW + uint64(x.byte())*64
	case 2:
		return iovaR + uint64(x.byte())*64
	case 3, 4:
		return iovaW + offRing + uint64(x.byte()%16)*0x10000
	default:
		return iovaR + offPrompt + uint64(x.byte()%64)*4096
	}
}

// command is one that is nearly right.
func (x *hostile) command() hci.SQE {
	sid := uint32(x.byte()%4) | 1<<16
	if s := x.c.slots[sid&3]; s != nil && x.byte() < 200 {
		sid = s.sid
	}
	epoch := uint16(1)
	if s := x.session(sid); s != nil {
		epoch = s.epoch + 1
	}
	var e hci.SQE
	switch x.byte() % 12 {
	case 0, 1:
		e = x.openCmd(int(x.byte()%4), uint32(4+x.byte()%4), uint32(x.small(100)))
		e.Put(hci.OpenReserve, x.small(200))
	case 2, 3:
		e = x.prefill(sid, count(int(1+x.byte()%100)))
		if x.byte() < 40 {
			e.Put(hci.PrefillScore, 1)
			e.Put(hci.PrefillEpoch, uint64(epoch))
		}
	case 4, 5, 6:
		e = gen(sid, epoch, int(1+x.byte()))
		b := x.byte()
		e.Put(hci.GenerateStepped, uint64(b>>1&b>>2&1))
		e.Put(hci.GenerateLogprobs, uint64(b>>3&1))
		e.Put(hci.GenerateGreedy, uint64(b>>4&1))
		if b&1 != 0 {
			p := hci.Params{MinTokens: uint32(x.byte()), Presence: float32(x.byte()) / 16, Repetition: float32(x.byte()) / 64, MaskSlots: 4, MaskIOVA: iovaR + offMask}
			x.setParams(p)
			e = withParams(e)
			e.Put(hci.GenerateMask, uint64(b>>5&b>>6&1))
		}
	case 7:
		e = hci.SQE{OPC: hci.OpCancel, SID: sid}
	case 8:
		e = hci.SQE{OPC: hci.OpTruncate, SID: sid}
		e.Put(hci.TruncateLength, x.small(60))
	case 9:
		e = x.openCmd(int(x.byte()%4), 5, 0)
		e.OPC, e.SID = hci.OpFork, sid
	case 10:
		e = hci.SQE{OPC: hci.OpClose, SID: sid}
	case 11:
		ops := []uint8{0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 16, 17, 20, 0x7C, 0xC0, 0xC4, 0xC8}
		e = hci.SQE{OPC: ops[int(x.byte())%len(ops)], PRP1: x.address(), PRP2: x.address()}
		e.CDW[0], e.CDW[1], e.CDW[2] = uint32(x.small(8)), uint32(x.small(4)), uint32(x.small(4))
	}
	if x.byte() < 30 { // and then not
		var b [hci.SQESize]byte
		e.Encode(&b)
		b[x.byte()%64] ^= x.byte()
		e.Decode(&b)
	}
	return e
}

func (x *hostile) session(sid uint32) *session { return x.c.session(sid) }

func (x *hostile) act() {
	switch x.byte() % 16 {
	case 0, 1, 2, 3, 4:
		q := int(x.byte() % 3)
		if x.size[q] != 0 {
			x.put(q, x.command())
			if x.byte() < 200 {
				x.ring(q)
			}
		}
	case 5:
		x.settleBounded()
	case 6, 7, 8:
		for range x.byte() % 40 {
			x.step()
		}
	case 9:
		for q := range 3 {
			if x.size[q] == 0 {
				continue
			}
			for range 8 {
				x.poll(q)
			}
		}
	case 10:
		for i := range 4 {
			v := &x.sess[i]
			if s := x.c.slots[i]; s != nil && x.byte() < 220 {
				v.head = s.seq
				x.setHead(i)
				x.bell(1, hci.DoorbellKICK, uint32(i))
				if s.phase == phaseChoice {
					x.choose(i, s.epoch, uint32(s.kvLen), s.gen.top[x.byte()%8].id)
				}
				if s.gen.masked && s.running {
					x.setMask(s.epoch, s.kvLen, 4, nil)
				}
			}
		}
	case 11: // a register
		bars := []int{0, 0, 2, 2, 4}
		off := int(x.small(64)) * 4
		w := 4
		if x.byte() < 40 {
			w = 8
		}
		if x.byte() < 60 {
			x.c.ReadBAR(bars[x.byte()%5], off, w)
		} else if b := bars[x.byte()%5]; b != 0 || off != hci.RegCC {
			x.c.WriteBAR(b, off, w, x.small(64))
		}
	case 12: // memory
		x.r[x.u32()%offMask] = x.byte()
	case 13:
		x.c.WriteBAR(2, int(x.byte()%3)*hci.PageSize+hci.DoorbellARM, 8, x.small(200)|x.small(4)<<32|x.small(100)<<48)
	case 14:
		if x.byte() < 40 {
			offs := []int{cfgCommand, cfgPMCSR, cfgDevCtl, cfgMSIXCtl, 0x10, int(x.u32() % 4096)}
			x.c.WriteConfig(offs[x.byte()%6]&^1, 2, x.u32()&0xFFFF)
			x.step()
		}
	case 15:
		if x.byte() < 20 {
			switch x.byte() % 4 {
			case 0:
				x.c.Reset(CCEnable + ResetKind(x.byte()%5))
			case 1:
				x.set(hci.RegCC, x.reg(hci.RegCC)|1<<14)
			case 2:
				x.set(hci.RegCC, 0)
			case 3:
				x.set(hci.RegCC, x.u32())
			}
			x.settleBounded()
			x.c.WriteConfig(cfgCommand, 2, commandMemory|commandMaster)
			x.c.WriteConfig(cfgPMCSR, 2, 0)
			x.recover()
		}
	}
}

// recover brings the controller up again without expecting that it works.
func (x *hostile) recover() {
	x.set(hci.RegCC, 0)
	x.settleBounded()
	clear(x.w[offCQ : offCQ+0x4000])
	x.tail, x.head, x.size = [4]uint32{}, [4]uint32{}, [4]uint32{32, 32, 32}
	x.shadow = false
	x.msixOn()
	x.set(hci.RegAQA, 31|31<<16)
	x.c.WriteBAR(hci.BARRegs, hci.RegASQ, 8, iovaR+offSQ)
	x.c.WriteBAR(hci.BARRegs, hci.RegACQ, 8, iovaW+offCQ)
	x.set(hci.RegCC, 1|6<<16|4<<20)
	x.settleBounded()
	for q := 1; q < 3; q++ {
		x.put(0, createCQ(q, 32, q))
		x.put(0, createSQ(q, 32))
	}
	x.ring(0)
	x.settleBounded()
}

// settleBounded is settle for a card that may have been told to do things
// for long; what it must not do is work for ever without time passing.
func (x *hostile) settleBounded() {
	x.next = x.now
	if x.c.stepping {
		return
	}
	still := 0
	for range 3000 {
		at := x.now
		x.step()
		if x.next == Idle || x.next > x.now && x.c.Quiet() {
			return
		}
		if x.now > at {
			still = 0
		} else if still++; still > 1000 {
			x.t.Fatal("the card works for ever at one moment")
		}
	}
}

// check is what must hold whatever the host does.
func (x *hostile) check() {
	x.t.Helper()
	sum := 0
	for i, s := range x.c.slots {
		if s == nil {
			continue
		}
		sum += s.charge
		if s.slot != i || s.charge < s.kvLen && s.charge < s.reserve || len(s.toks) != s.kvLen || len(s.fifo) > depth {
			x.t.Fatalf("session %d: %+v", i, s)
		}
		if x.c.flight.s != s && x.c.regs.state == stateReady && !x.c.regs.disabling && !x.c.Resetting() && s.state.Len() != s.kvLen {
			x.t.Fatalf("session %d: kv_len %d, %d in KV", i, s.kvLen, s.state.Len())
		}
		for j, cmd := range s.fifo {
			if cmd.s != s {
				x.t.Fatalf("session %d: command %d belongs elsewhere", i, j)
			}
		}
	}
	if sum != x.c.charged || sum > x.c.cfg.KVBudget {
		x.t.Fatalf("charged %d, sum %d, budget %d", x.c.charged, sum, x.c.cfg.KVBudget)
	}
	for i := range x.c.queues {
		if q := &x.c.queues[i]; q.sqTail-q.sqHead > q.sqSize || q.cqTail-q.cqHead > q.cqSize {
			x.t.Fatalf("%s: %+v", q.name(), q)
		}
	}
	if x.c.regs.cc&1 != 0 && x.c.regs.state == stateDisabled {
		x.t.Fatal("CC.EN is 1 and nothing comes of it")
	}
	if x.c.admin.aborts < 0 || x.c.admin.deleting < 0 {
		x.t.Fatalf("%+v", x.c.admin)
	}
}

func playHostile(t *testing.T, in []byte) {
	x := &hostile{in: in}
	cfg := Config{Sessions: 4, Context: 300, KVBudget: 700}
	how := x.byte()
	cfg.Paced = how&1 != 0
	x.fakeHost = newHost(t, cfg, &hashEngine{vocab: 100, context: 4096, stops: []uint32{2}})
	x.lax = true
	x.bringUp(x.byte()&1 != 0)
	b := insideHost(x.fakeHost, nil)
	if how&2 != 0 { // it comes in the middle of steps too
		r := rand.New(rand.NewPCG(uint64(len(in)), uint64(how)))
		b.come = func(int) {
			if len(x.in) > 0 && r.IntN(16) == 0 {
				x.act()
				x.poked = true
			}
		}
	}
	for n := 0; len(x.in) > 0 && n < 3000; n++ {
		x.act()
		x.check()
	}
	if b.come = nil; b.bad != "" {
		t.Fatal(b.bad)
	}
	// After all that a reset brings back a card that works.
	x.c.Reset(FLR)
	x.settleBounded()
	x.c.WriteConfig(cfgCommand, 2, commandMemory|commandMaster)
	x.bringUp(true)
	sid := x.open(0)
	x.ok(1, x.prefill(sid, count(20)))
	x.ok(1, greedy(sid, 1, 5))
	if n := len(x.records(0, 1)); n == 0 {
		t.Fatal("no tokens after the reset")
	}
	x.check()
}

func FuzzHostileHost(f *testing.F) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 1))
		b := make([]byte, 200+r.IntN(3000))
		for i := 0; i+8 <= len(b); i += 8 {
			binary.LittleEndian.PutUint64(b[i:], r.Uint64())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) { playHostile(t, in) })
}
