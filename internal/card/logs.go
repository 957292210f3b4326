package card

import (
	"encoding/binary"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// logState is the ERROR and EVENTS logs and which events the host is yet to
// hear of (section 17).
type logState struct {
	errors   [errorEntries]hci.ErrorEntry // ring, by count
	nerrors  uint64
	events   [eventEntries]hci.EventEntry
	nevents  uint32
	pending  uint32 // bit per event code: waits for a request
	reported uint32 // bit per event code: reported, its log page not read yet
	fresh    bool   // pending has grown since the last report
}

func (l *logState) forgetReported() { l.pending, l.reported = 0, 0 }

// logError adds an entry to the ERROR log.
func (c *Card) logError(qid, cid uint16, sid uint32, s hci.Status, location, code uint32, iova uint64) {
	l := &c.logs
	l.nerrors++
	l.errors[l.nerrors%errorEntries] = hci.ErrorEntry{
		Count: l.nerrors, SQID: qid, CID: cid, Status: uint16(s.Field()) << 1, Location: uint16(location),
		SID: sid, Code: code, IOVA: iova, TimeNS: c.uptime(),
	}
	c.event(hci.EventError, uint64(s), 0)
}

// event adds an entry to the EVENTS log. The step reports it: what a register
// access brings about must not write to the host's memory inside it.
func (c *Card) event(code uint16, arg0, arg1 uint64) {
	l := &c.logs
	l.nevents++
	l.events[l.nevents%eventEntries] = hci.EventEntry{TimeNS: c.uptime(), Number: l.nevents, Code: code, Arg0: arg0, Arg1: arg1}
	if l.reported&(1<<code) == 0 {
		l.pending |= 1 << code
		l.fresh = true
	}
}

// reportEvents completes ASYNC EVENT REQUESTs with what waits.
func (c *Card) reportEvents() {
	l := &c.logs
	l.fresh = false
	for _, e := range hci.Events {
		bit := uint32(1) << e.Code
		if l.pending&bit == 0 || c.features.events&bit == 0 {
			continue
		}
		if len(c.admin.aers) == 0 || c.regs.state != stateReady {
			return
		}
		cmd := c.admin.aers[0]
		c.admin.aers = c.admin.aers[1:]
		l.pending &^= bit
		l.reported |= bit
		c.complete(cmd, success(uint32(e.Type)|uint32(e.Code)<<8|uint32(e.Log)<<16, 0))
	}
}

// getLogPage is GET_LOG_PAGE: a snapshot, zeros beyond its end.
func (c *Card) getLogPage(cmd *command) result {
	lid := uint8(cmd.Get(hci.GetLogPageLID))
	n, off := cmd.Get(hci.GetLogPageNUMD), cmd.Get(hci.GetLogPageLPO)
	if n > 1023 {
		return badField(hci.SQEOffCDW11)
	}
	if off%4 != 0 {
		return badField(hci.SQEOffCDW12)
	}
	if cmd.PRP1 == 0 || cmd.PRP1%4 != 0 {
		return badField(hci.SQEOffPRP1)
	}
	data, ok := c.logPage(lid)
	if !ok {
		return refuse(hci.StatusLogPageInvalid)
	}
	out := make([]byte, (n+1)*4)
	if off < uint64(len(data)) {
		copy(out, data[off:])
	}
	if !c.dmaWrite(cmd.PRP1, out) {
		return c.transferError()
	}
	if cmd.Get(hci.GetLogPageRAE) == 0 {
		for _, e := range hci.Events {
			if e.Log == lid {
				c.logs.reported &^= 1 << e.Code
			}
		}
	}
	return success(0, 0)
}

func (c *Card) logPage(lid uint8) ([]byte, bool) {
	l := &c.logs
	var b []byte
	switch lid {
	case hci.LogError:
		for i := range min(l.nerrors, errorEntries) {
			b = append(b, hci.Marshal(&l.errors[(l.nerrors-i)%errorEntries])...)
		}
	case hci.LogEvents:
		for i := range min(l.nevents, eventEntries) {
			b = append(b, hci.Marshal(&l.events[(l.nevents-i)%eventEntries])...)
		}
	case hci.LogFirmware:
		p := hci.FirmwareLog{AFI: 1, Confirmed: 0b011, Bootable: 0b011}
		copy(p.FR[0][:], firmwareRev)
		copy(p.FR[1][:], firmwareRev)
		b = hci.Marshal(&p)
	case hci.LogSelfTest:
		b = hci.Marshal(c.selftest.page(c))
	case hci.LogTelemetry:
		b = hci.Marshal(c.telemetry())
	case hci.LogSessions:
		for _, s := range c.slots {
			b = append(b, hci.Marshal(s.entry())...)
		}
	default:
		if c.cfg.Minor > 0 && lid == 0xC3 { // a page that 1.0 does not know
			b = binary.LittleEndian.AppendUint32(nil, 1)
			break
		}
		return nil, false
	}
	return b, true
}

// entry is the session's entry of the SESSIONS log; s may be nil.
func (s *session) entry() *hci.SessionEntry {
	if s == nil {
		return &hci.SessionEntry{SID: 0xFFFF_FFFF}
	}
	e := &hci.SessionEntry{SID: s.sid, State: 1, Queued: uint8(len(s.fifo)), KVLen: uint32(s.kvLen), Charge: uint32(s.charge),
		Sequence: s.seq, Epoch: s.epoch, Tokens: s.tokens}
	switch {
	case !s.running:
	case s.full:
		e.State = 4
	case s.phase == phasePrefill:
		e.State = 2
	case s.phase == phaseChoice:
		e.State = 5
	case s.phase == phaseMask:
		e.State = 6
	default:
		e.State = 3
	}
	return e
}
