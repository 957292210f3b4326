package card

import (
	"encoding/binary"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// healthState is the health record (section 17.1).
type healthState struct {
	iova     uint64 // 0: off
	interval int64
	next     int64
	seq      uint32
	state    uint8 // as last written
}

func (c *Card) healthConfig(cmd *command) result {
	ms := cmd.Get(hci.HealthRecordConfigInterval)
	if cmd.PRP1 == 0 {
		c.health = healthState{}
		return success(0, 0)
	}
	if cmd.PRP1%hci.HealthSize != 0 {
		return badField(hci.SQEOffPRP1)
	}
	if ms < 10 || ms > 10_000 {
		return badField(hci.SQEOffCDW10)
	}
	c.health = healthState{iova: cmd.PRP1, interval: int64(ms) * 1_000_000, next: c.now}
	if !c.health.write(c) {
		c.health = healthState{}
		return c.transferError()
	}
	return success(0, 0)
}

// final writes the record once more when the controller has failed.
func (h *healthState) final(c *Card) {
	if h.iova != 0 && h.state != 3 && c.regs.ferr != hci.FatalFirmware && c.mayMaster() && !h.write(c) {
		h.iova = 0
	}
}

// tick writes the record when it is due and returns when that is next.
func (h *healthState) tick(c *Card) int64 {
	if h.iova == 0 {
		return Idle
	}
	if c.now >= h.next || c.healthNow() != h.state {
		if !h.write(c) {
			*h = healthState{}
			return Idle
		}
	}
	return h.next
}

// healthNow is the STATE field.
func (c *Card) healthNow() uint8 {
	switch {
	case c.regs.state == stateFatal:
		return 3
	case c.counters.ECCUncorrected > 0:
		return 2
	case c.power.throttle != 0:
		return 1
	}
	return 0
}

func (h *healthState) write(c *Card) bool {
	if h.next <= c.now {
		h.next += h.interval * (1 + (c.now-h.next)/h.interval)
	}
	h.state = c.healthNow()
	if c.faultAt(onHealth).is("heartbeat-stop") {
		return true
	}
	c.power.advance(c)
	h.seq++
	open, runnable := 0, 0
	for _, s := range c.slots {
		if s != nil {
			open++
			if s.ready {
				runnable++
			}
		}
	}
	r := hci.Health{
		UptimeNS: c.uptime(), Tokens: c.counters.Tokens, EnergyMJ: c.power.energyNJ / 1_000_000,
		PowerMW: c.power.mw, Temp: c.power.hottest(), ClockMHz: c.power.mhz(), State: h.state, Throttle: c.power.throttle,
		Open: uint16(open), Runnable: uint16(runnable), Errors: uint32(c.logs.nerrors), Late: uint32(c.counters.LateSinceReset),
		KVUsed: uint32(c.charged), RGEN: uint16(c.regs.rgen), Sequence: h.seq,
	}
	b := r.Encode()
	for i := 0; i < hci.HealthSize; i += 8 { // the last 8 bytes last
		if !c.store64(h.iova+uint64(i), binary.LittleEndian.Uint64(b[i:])) {
			return false
		}
	}
	return true
}
