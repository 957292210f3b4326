package card

import (
	"encoding/binary"
	"fmt"

	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/card/trace"
)

// Tracer receives what passes between the card and its host, in order.
type Tracer interface {
	Trace(trace.Entry)
	// Payloads asks for the data of DMA accesses, not only its hash.
	Payloads() bool
}

const (
	kindConfigRead  = trace.ConfigRead
	kindConfigWrite = trace.ConfigWrite
	kindMMIORead    = trace.MMIORead
	kindMMIOWrite   = trace.MMIOWrite
	kindDMARead     = trace.DMARead
	kindDMAWrite    = trace.DMAWrite
)

func (c *Card) traceReg(k trace.Kind, bar, off, width int, v uint64) {
	if c.cfg.Trace != nil {
		c.cfg.Trace.Trace(trace.Entry{Time: c.time(), Kind: k, BAR: uint8(bar), Addr: uint64(off), Len: width, Value: v})
	}
}

func (c *Card) traceDMA(k trace.Kind, iova uint64, b []byte) {
	if c.cfg.Trace == nil {
		return
	}
	e := trace.Entry{Time: c.time(), Kind: k, Addr: iova, Len: len(b), Value: uint64(hci.CRC32C(b)), Hashed: true}
	if c.cfg.Trace.Payloads() {
		e.Data = b
	}
	c.cfg.Trace.Trace(e)
}

// traceWord is a single access: heads, tails and other words that carry no
// token, so their value may be shown.
func (c *Card) traceWord(k trace.Kind, iova uint64, width int, v uint64) {
	if c.cfg.Trace != nil {
		c.cfg.Trace.Trace(trace.Entry{Time: c.time(), Kind: k, Addr: iova, Len: width, Value: v})
	}
}

// traceSecret is a word that may name a token (CHOICE): a hash, as of data.
func (c *Card) traceSecret(k trace.Kind, iova uint64, v uint64) {
	if c.cfg.Trace != nil {
		binary.LittleEndian.PutUint64(c.word[:], v)
		c.traceDMA(k, iova, c.word[:])
	}
}

func (c *Card) traceIRQ(v int) {
	if c.cfg.Trace != nil {
		c.cfg.Trace.Trace(trace.Entry{Time: c.time(), Kind: trace.IRQ, Addr: uint64(v), Value: 1})
	}
}

func (c *Card) note(s string) {
	if c.cfg.Trace != nil {
		c.cfg.Trace.Trace(trace.Entry{Time: c.time(), Kind: trace.Note, Note: s})
	}
}

func (c *Card) traceCommand(cmd *command) {
	if c.cfg.Trace != nil {
		c.note(fmt.Sprintf("fetch q=%d %s cid=%#x sid=%#x", cmd.q.id, opName(cmd.OPC, cmd.q.id == 0), cmd.CID, cmd.SID))
	}
}

func (c *Card) traceCQE(q *queue, e *hci.CQE) {
	if c.cfg.Trace != nil {
		c.note(fmt.Sprintf("complete q=%d cid=%#x %s dw0=%#x dw1=%#x", q.id, e.CID, e.Code(), e.DW0, e.DW1))
	}
}
