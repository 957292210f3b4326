package driver

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"testing"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/hci"
)

// sink is a doorbell BAR that remembers nothing.
type sink struct{ n int }

func (s *sink) Size() int           { return 1 << 20 }
func (s *sink) Load32(int) uint32   { return 0 }
func (s *sink) Store32(int, uint32) { s.n++ }
func (s *sink) Load64(int) uint64   { return 0 }
func (s *sink) Store64(int, uint64) { s.n++ }

// still is a clock that moves one microsecond a look.
type still struct{ t int64 }

func (c *still) Now() int64 { c.t += 1000; return c.t }
func (c *still) Relax()     {}

// page allocates memory aligned as a DMA page is.
func page(n int) buffer {
	b := make([]byte, n+hci.PageSize)
	off := -int(addressOf(b)) & (hci.PageSize - 1)
	return buffer{b: b[off : off+n : off+n], iova: 0x1000}
}

// bench is a session on memory that nobody but the test writes: the test
// plays the card.
func benchSession(ringLog2 uint8) (*Card, *Session) {
	var db hal.Region = &sink{}
	c := &Card{cfg: Config{RingLog2: ringLog2, Slack: 1, Clock: &still{}}, clock: &still{}, db: db, log: slog.New(slog.DiscardHandler)}
	c.caps = hci.Capabilities{Vocab: 600, Context: 256, Candidates: 8, Sessions: 16, MaxStop: 16,
		Features: hci.FeatureFreeRun | hci.FeatureStepped, TokenNS: 1, PrefillNS: 1}
	l := &lane{host: page(hci.PageSize), prompt: page(1024), ring: page(hci.RecordSize << ringLog2), block: page(hci.PageSize)}
	l.q = newQueue(1, laneSQEntries, queueDepth, page(laneSQEntries*hci.SQESize), page(laneCQEntries*hci.CQESize), db, 4096)
	s := &Session{c: c, l: l, open: true, kv: make([]uint32, 0, 256)}
	return c, s
}

func startStream(t testing.TB, s *Session, p Params) *Stream {
	t.Helper()
	st := &Stream{s: s, p: p, epoch: hci.NextEpoch(s.l.epoch), first: s.l.seq, seq: s.l.seq, head: s.l.seq,
		truncate: -1, prefill: -1, generate: -1, cancelSent: -1}
	if err := st.submit([]uint32{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	s.stream, s.l.epoch = st, st.epoch
	return st
}

// put plays the card: it writes a record as it should be written.
func put(s *Session, r hci.Record, seal bool) {
	if seal {
		r.CRC = r.Sum()
	}
	var b [hci.RecordSize]byte
	r.Encode(&b)
	i := int(r.Sequence&(1<<s.c.cfg.RingLog2-1)) * hci.RecordSize
	copy(s.l.ring.b[i:], b[:])
}

func TestRecordsAreChecked(t *testing.T) {
	good := hci.Record{Position: 3, Count: 1, Flags: hci.FlagCommit, Payload: [12]uint32{42}}
	for name, change := range map[string]func(*hci.Record){
		"position":              func(r *hci.Record) { r.Position++ },
		"no tokens":             func(r *hci.Record) { r.Count = 0 },
		"too many tokens":       func(r *hci.Record) { r.Count = 13 },
		"id beyond vocabulary":  func(r *hci.Record) { r.Payload[0] = 600 },
		"not final":             func(r *hci.Record) { r.Flags = 0 },
		"stop reason":           func(r *hci.Record) { r.Stop = 99 },
		"score":                 func(r *hci.Record) { r.Flags |= hci.FlagScore },
		"candidates: none":      func(r *hci.Record) { r.Flags |= hci.FlagCandidates; r.Count = 0 },
		"candidates: nine":      func(r *hci.Record) { r.Flags |= hci.FlagCandidates; r.Count = 9 },
		"candidates: choice":    func(r *hci.Record) { r.Flags |= hci.FlagCandidates; r.Chosen = 1 },
		"candidates: id":        func(r *hci.Record) { r.Flags |= hci.FlagCandidates; r.Payload[0] = 1 << 31 },
		"candidates: stepped":   func(r *hci.Record) { r.Flags |= hci.FlagCandidates | hci.FlagChoice },
		"candidates: not final": func(r *hci.Record) { r.Flags = hci.FlagCandidates },
	} {
		c, s := benchSession(4)
		st := startStream(t, s, Params{MaxTokens: 5})
		r := good
		r.Epoch, r.Sequence = st.epoch, st.seq
		change(&r)
		put(s, r, true)
		var buf [4]Token
		if n, err := st.Poll(buf[:]); n != 0 || err != nil {
			t.Errorf("%s: %d tokens, %v", name, n, err)
		}
		if !errors.Is(st.err, ErrProtocol) || c.stats.BadRecords.Load() != 1 {
			t.Errorf("%s: accepted: %v", name, st.err)
		}
	}
	// A CRC that does not match, and a good record for comparison.
	c, s := benchSession(4)
	st := startStream(t, s, Params{MaxTokens: 5})
	r := good
	r.Epoch, r.Sequence = st.epoch, st.seq
	put(s, r, true)
	r.Sequence++
	r.Position++
	r.CRC = r.Sum() ^ 1
	put(s, r, false)
	var buf [4]Token
	if n, err := st.Poll(buf[:]); n != 1 || err != nil || buf[0].ID != 42 {
		t.Errorf("good record: %d tokens, %v", n, err)
	}
	if !errors.Is(st.err, ErrProtocol) || c.stats.BadRecords.Load() != 1 {
		t.Errorf("bad crc accepted: %v", st.err)
	}
	// Records of another epoch or sequence are not there.
	_, s = benchSession(4)
	st = startStream(t, s, Params{MaxTokens: 5})
	r = good
	r.Epoch, r.Sequence = st.epoch-1, st.seq
	put(s, r, true)
	if n, err := st.Poll(buf[:]); n != 0 || err != nil || st.err != nil {
		t.Errorf("record of an old epoch: %d, %v", n, err)
	}
}

func TestCompletionsAreChecked(t *testing.T) {
	_, s := benchSession(4)
	q := s.l.q
	cqe := func(c hci.CQE) {
		off := int(q.cqHead&q.mask) * hci.CQESize
		binary.LittleEndian.PutUint64(q.cq.b[off:], uint64(c.DW0)|uint64(c.DW1)<<32)
		binary.LittleEndian.PutUint64(q.cq.b[off+8:], uint64(c.SQHD)|uint64(c.SQID)<<16|uint64(c.CID)<<32|uint64(c.Status|1)<<48)
		q.poll(1)
	}
	i, err := q.submit(&hci.SQE{OPC: hci.OpClose})
	if err != nil {
		t.Fatal(err)
	}
	cid := q.cid(i)
	for _, bad := range []hci.CQE{
		{SQID: 2, CID: cid}, {SQID: 1, CID: cid ^ 1<<12}, {SQID: 1, CID: 0xFFF}, {SQID: 1, CID: cid ^ 1},
	} {
		cqe(bad)
		if _, ok := q.done(i); ok {
			t.Errorf("completion %+v was taken for command %#x", bad, cid)
		}
	}
	cqe(hci.CQE{SQID: 1, CID: cid, SQHD: 40}) // a head beyond the tail is of no use to a card
	if _, ok := q.done(i); !ok {
		t.Error("good completion not taken")
	}
	cqe(hci.CQE{SQID: 1, CID: cid}) // the same again
	if q.strays != 5 {
		t.Errorf("%d unexpected completions", q.strays)
	}
	// A command given up on: its late completion frees the slot, and its
	// successor in the slot has another id.
	i, _ = q.submit(&hci.SQE{OPC: hci.OpClose})
	cid = q.cid(i)
	q.abandon(i)
	if n := q.room(); n != queueDepth-1 {
		t.Errorf("%d free slots", n)
	}
	cqe(hci.CQE{SQID: 1, CID: cid})
	if n := q.room(); n != queueDepth {
		t.Errorf("%d free slots after the late completion", n)
	}
	if j, _ := q.submit(&hci.SQE{OPC: hci.OpClose}); q.cid(j) == cid {
		t.Error("command id used again at once")
	}
}

// FuzzHostileCard plays the card from bytes: whatever it writes into the CQ
// and the ring, the host neither panics nor delivers a token beyond the
// vocabulary, and ends.
func FuzzHostileCard(f *testing.F) {
	f.Add([]byte{1, 2, 3}, true)
	f.Add(make([]byte, 400), false)
	f.Fuzz(func(t *testing.T, data []byte, stepped bool) {
		_, s := benchSession(3)
		p := Params{MaxTokens: 8, LogProbs: len(data)%2 == 0}
		if stepped {
			p.Choose = func(tok *Token) int { return int(tok.N) - 1 }
		}
		st := startStream(t, s, p)
		var buf [5]Token
		for turn := 0; len(data) > 0 && turn < 64; turn++ {
			op := data[0]
			data = data[1:]
			take := func(n int) []byte {
				b := make([]byte, n)
				data = data[copy(b, data):]
				return b
			}
			switch op % 4 {
			case 0: // a record that is well formed but for its contents
				var r hci.Record
				b := [hci.RecordSize]byte(take(hci.RecordSize))
				r.Decode(&b)
				r.Epoch, r.Sequence = st.epoch, st.seq
				if op&4 != 0 {
					r.Position = st.pos
				}
				put(s, r, op&8 != 0)
			case 1: // raw bytes into the ring
				copy(s.l.ring.b[int(op>>2)%len(s.l.ring.b):], take(64))
			case 2: // a completion, maybe for a real command
				off := int(s.l.q.cqHead&s.l.q.mask) * hci.CQESize
				b := take(hci.CQESize)
				if op&4 != 0 {
					binary.LittleEndian.PutUint16(b[10:], 1)
					binary.LittleEndian.PutUint16(b[12:], s.l.q.cid(uint16(op>>4)))
				}
				b[14] = b[14]&^1 | byte(1^s.l.q.cqHead/s.l.q.size&1)
				copy(s.l.q.cq.b[off:], b)
			case 3: // card block
				copy(s.l.block.b, take(16))
			}
			n, err := st.Poll(buf[:])
			for _, tok := range buf[:n] {
				if tok.ID >= s.c.caps.Vocab || int(tok.N) > 8 {
					t.Fatalf("token %+v delivered", tok)
				}
			}
			if err != nil {
				break
			}
		}
		if len(s.kv) > 3+8*12*64 {
			t.Fatalf("%d tokens", len(s.kv))
		}
	})
}
