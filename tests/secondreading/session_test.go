package secondreading

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
)

// session is section 11.
type session struct {
	d                *driver
	q                *queue
	sid              uint32
	host, card, ring *hal.DMA
	log2             int
	seq              uint32 // next record
	head             uint32 // HEAD as stored
	epoch            uint16
	kv               uint32
	prompt, params   *hal.DMA
	masks            *hal.DMA
	records          []record // all that were read
}

type opening struct {
	log2    int
	seq     uint32
	epoch   uint16
	iv      uint32
	reserve uint32
}

func (d *driver) session(q *queue, o opening) *session {
	s := &session{d: d, q: q, log2: max(o.log2, d.caps.ringMin), seq: o.seq, head: o.seq, epoch: o.epoch,
		host: d.mem(128, hal.CardReads), card: d.mem(128, hal.CardWrites)}
	s.ring = d.mem(64<<s.log2, hal.CardWrites)
	st32(s.host.Bytes, hostHEAD, o.seq)
	return s
}

// place fills in what OPEN and FORK have in common.
func (s *session) place(e *sqe, o opening) *sqe {
	return e.u64(0x10, s.card.IOVA).u64(0x18, s.ring.IOVA).u64(0x20, s.host.IOVA).
		u32(0x28, uint32(s.log2)<<16).u32(0x2C, o.seq).u32(0x30, uint32(o.epoch)|o.iv<<16).u32(0x34, o.reserve)
}

func (d *driver) open(q *queue, o opening) *session {
	d.t.Helper()
	s := d.session(q, o)
	s.sid = q.must(s.place(cmd(ioOpen, 0), o)).dw0
	return s
}

func (s *session) fork(o opening) *session {
	s.d.t.Helper()
	n := s.d.session(s.q, o)
	c := s.q.must(n.place(cmd(ioFork, s.sid), o))
	if c.dw1 != s.kv || c.dw0 == s.sid {
		s.d.fail("FORK: SID %08X, kv_len %d of %d", c.dw0, c.dw1, s.kv)
	}
	n.sid, n.kv = c.dw0, c.dw1
	return n
}

func (s *session) close() { s.d.t.Helper(); s.q.must(cmd(ioClose, s.sid)) }

func (s *session) truncate(n uint32) {
	s.d.t.Helper()
	if c := s.q.must(cmd(ioTruncate, s.sid).u32(0x28, n)); c.dw1 != n {
		s.d.fail("TRUNCATE to %d: kv_len %d", n, c.dw1)
	}
	s.kv = n
}

func (s *session) kick() { s.d.db.Store32(s.q.id*s.d.stride+dbKICK, s.sid&0xFFFF) }

func (s *session) arm(seq uint32, delay uint16) {
	s.d.db.Store64(s.q.id*s.d.stride+dbARM, uint64(seq)|uint64(s.sid&0xFFFF)<<32|uint64(delay)<<48)
}

// prefillCmd puts the ids into memory. The card reads them until the CQE.
func (s *session) prefillCmd(ids []uint32) *sqe {
	if s.prompt == nil || len(s.prompt.Bytes) < 4*len(ids) {
		s.prompt = s.d.mem(4*len(ids), hal.CardReads)
	}
	b := s.prompt.Bytes[:4*len(ids)]
	for i, id := range ids {
		binary.LittleEndian.PutUint32(b[4*i:], id)
	}
	return cmd(ioPrefill, s.sid).u64(0x18, s.prompt.IOVA).u32(0x28, uint32(len(ids))).u32(0x2C, crc32c(b))
}

func (s *session) prefill(ids []uint32) {
	s.d.t.Helper()
	s.prefilled(s.q.wait(s.q.put(s.prefillCmd(ids))[0], s.prefillBound(len(ids))), len(ids))
}

func (s *session) prefilled(c cqe, n int) {
	s.d.t.Helper()
	if s.kv += uint32(n); c.st != success || c.dw0 != uint32(n) || c.dw1 != s.kv {
		s.d.fail("PREFILL of %d: %+v, want kv_len %d", n, c, s.kv)
	}
}

// The bounds of section 23, with a margin for slow silicon.
func (s *session) prefillBound(n int) time.Duration {
	c := s.d.caps
	return 10*time.Second + time.Duration(n*int(c.prefillNS)*c.sessions*4)
}

func (s *session) recordBound() time.Duration {
	c := s.d.caps
	return 10*time.Second + time.Duration(int(c.tokenNS)*c.sessions*32)
}

type generation struct {
	max      uint32
	flags    uint32 // GREEDY and so on
	topK     uint32
	invTemp  uint32
	topP     uint32
	seed     uint64
	choice   uint16
	params   bool // s.params is filled in
	unread   bool // read no records: leave HEAD
	onRecord func(record)
	choose   func(record) (uint32, bool) // stepped; false: no choice yet
}

// nextEpoch follows the session's epoch: 0 is none.
func (s *session) nextEpoch() uint16 { return max(s.epoch+1, 1) }

func (s *session) generateCmd(g generation) *sqe {
	e := cmd(ioGenerate, s.sid).u32(0x08, uint32(g.choice)).u32(0x28, g.max).
		u32(0x2C, uint32(s.nextEpoch())|g.topK<<16|g.flags)
	if g.flags&genGreedy == 0 {
		e.u32(0x30, g.invTemp).u32(0x34, g.topP).u32(0x38, uint32(g.seed)).u32(0x3C, uint32(g.seed>>32))
	}
	if g.params {
		e.u64(0x18, s.params.IOVA)
	}
	return e
}

// result is an epoch as the host saw it.
type result struct {
	tokens []uint32
	recs   []record
	stop   uint8
	c      cqe
}

// poll copies the next record if it is there, checks the copy, and gives its
// place back to the card: section 12. Without a known epoch it must not be used.
func (s *session) poll() (r record, ok bool) {
	s.d.t.Helper()
	at := int(s.seq&(1<<s.log2-1)) * 64
	last := ld64(s.ring.Bytes, at+56)
	if uint32(last>>32) != s.seq || uint16(last) != s.epoch {
		return r, false
	}
	var b [64]byte
	for i := 0; i < 56; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], ld64(s.ring.Bytes, at+i))
	}
	binary.LittleEndian.PutUint64(b[56:], last)
	r, err := decode(b[:])
	if err != nil {
		s.d.fail("%v", err)
	}
	for _, id := range r.ids {
		if id >= s.d.caps.vocab {
			s.d.fail("record %d: token %d", r.seq, id)
		}
	}
	s.seq++
	s.records = append(s.records, r)
	return r, true
}

// consumed stores HEAD and wakes a card that sleeps on it.
func (s *session) consumed() {
	old := s.head
	s.head = s.seq
	st32(s.host.Bytes, hostHEAD, s.head)
	if s.head-ld32(s.card.Bytes, cardHEVT)-1 < s.head-old {
		s.kick()
	}
}

// choose answers a choice record, section 15.1.
func (s *session) choose(r record, id uint32) {
	st64(s.host.Bytes, hostCHOICE, uint64(id)|uint64(s.epoch)<<32|uint64(r.pos&0xFFFF)<<48)
	if ld32(s.card.Bytes, cardWAIT)&waitChoice != 0 {
		s.kick()
	}
}

// mask gives the mask of a position, section 15.2; nil allows all.
func (s *session) mask(slots int, pos uint32, epoch uint16, allow func(id uint32) bool) {
	b := s.masks.Bytes[int(pos)%slots*maskSlotSize:][:maskSlotSize]
	n := int(s.d.caps.vocab+31) / 32
	all := uint32(1)
	if allow != nil {
		all = 0
		for w := range n {
			var v uint32
			for i := range 32 {
				if id := uint32(32*w + i); id < s.d.caps.vocab && allow(id) {
					v |= 1 << i
				}
			}
			st32(b, 4*w, v)
		}
		st32(b, maskCRC, crc32c(b[:4*n]))
	}
	st32(b, maskFLAGS, all)
	st64(b, maskVALID, uint64(pos)|uint64(epoch)<<32|1<<48)
	if ld32(s.card.Bytes, cardWAIT)&waitMask != 0 {
		s.kick()
	}
}

// generate submits a PREFILL, if there is a prompt, and a GENERATE under one
// doorbell, and reads the epoch to its end.
func (s *session) generate(prompt []uint32, g generation) result {
	s.d.t.Helper()
	var es []*sqe
	if prompt != nil {
		es = append(es, s.prefillCmd(prompt))
	}
	cids := s.q.put(append(es, s.generateCmd(g))...)
	if prompt != nil {
		s.prefilled(s.q.wait(cids[0], s.prefillBound(len(prompt))), len(prompt))
	}
	return s.follow(g, cids[len(cids)-1])
}

// follow reads a GENERATE that was submitted: every check of sections 7, 11 and 12.
func (s *session) follow(g generation, cid uint16) (res result) {
	s.d.t.Helper()
	was := s.epoch
	s.epoch = s.nextEpoch()
	start := s.kv
	first := s.seq
	var over, ended bool
	for !ended || !over {
		s.d.until(s.recordBound(), "next record or completion", func() bool {
			if !over {
				res.c, over = s.q.look(cid) // before the ring: its records are there
			}
			if g.unread && !over {
				return false
			}
			r, ok := s.poll()
			if !ok {
				if over {
					ended = true
				}
				return over
			}
			if res.stop != 0 {
				s.d.fail("record %+v after the last one", r)
			}
			s.take(g, &res, r, start)
			s.consumed()
			if r.flags&recChoice != 0 && g.choose != nil {
				if id, ok := g.choose(r); ok {
					res.tokens = append(res.tokens, id)
					s.choose(r, id)
				}
			}
			if g.onRecord != nil {
				g.onRecord(r)
			}
			return true
		})
	}
	if s.kv = s.end(res, start, first); s.seq == first {
		s.epoch = was // no record, and the ring had room: it did not start
	}
	return res
}

// take checks a record against the epoch so far.
func (s *session) take(g generation, res *result, r record, start uint32) {
	s.d.t.Helper()
	bad := func(what string) { s.d.t.Helper(); s.d.fail("record %+v: %s (epoch began at %d)", r, what, start) }
	wantCand := g.flags&(genLogprobs|genStepped) != 0
	if n := len(res.tokens); r.count == 0 && n > 0 && g.flags&genStepped != 0 && r.stop >= stopCancelled && r.pos == start+uint32(n)-1 {
		res.tokens = res.tokens[:n-1] // the last choice was not taken
	}
	switch {
	case r.pos != start+uint32(len(res.tokens)):
		bad("position")
	case r.flags&recScore != 0:
		bad("SCORE")
	case r.count == 0: // ends without a token
		if r.flags&(recCand|recChoice) != 0 || (r.flags&recCommit != 0) != (g.flags&genStepped == 0) {
			bad("flags of an end")
		}
	case (r.flags&recCand != 0) != wantCand:
		bad("kind")
	case (r.flags&recChoice != 0) != (g.flags&genStepped != 0):
		bad("CHOICE")
	case r.flags&recChoice != 0:
		if r.stop != 0 || r.flags&recCommit != 0 {
			bad("choice record that ends or commits")
		}
	case r.flags&recCommit == 0:
		bad("not final")
	case r.flags&recCand != 0:
		res.tokens = append(res.tokens, r.token())
	default:
		res.tokens = append(res.tokens, r.ids...)
	}
	if uint32(len(res.tokens)) > g.max {
		bad("too many tokens")
	}
	if n := len(res.tokens); n > 0 && r.stop == stopToken && g.flags&genIgnoreEOS != 0 && slices.Contains(s.d.caps.stops, res.tokens[n-1]) && !g.params {
		bad("stopped at a stop id that it was to ignore")
	}
	if r.stop == stopMax && uint32(len(res.tokens)) != g.max {
		bad("MAX_TOKENS")
	}
	res.stop = r.stop
	res.recs = append(res.recs, r)
}

// end checks completion and card block and returns kv_len.
func (s *session) end(res result, start, first uint32) uint32 {
	s.d.t.Helper()
	kv := start
	if n := uint32(len(res.tokens)); n > 0 {
		kv += n - 1
	}
	c := res.c
	switch c.st {
	case success:
		if res.stop != stopToken && res.stop != stopMax && res.stop != stopContext {
			s.d.fail("GENERATE succeeded, stop reason %d", res.stop)
		}
	case cancelled, abortRequested:
		if res.stop != stopCancelled && res.stop != 0 { // none if the ring was full
			s.d.fail("GENERATE: %v, stop reason %d", c.st, res.stop)
		}
	default:
		if res.stop != stopError && s.seq != first {
			s.d.fail("GENERATE: %v, stop reason %d", c.st, res.stop)
		}
		return kv
	}
	if c.dw0 != s.seq || c.dw1 != kv {
		s.d.fail("GENERATE: %+v, want next sequence %d, kv_len %d", c, s.seq, kv)
	}
	if n := ld32(s.card.Bytes, cardTokens); n != uint32(len(res.tokens)) && s.seq != first {
		s.d.fail("card block: %d tokens, not %d", n, len(res.tokens))
	}
	return kv
}
