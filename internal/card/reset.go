package card

import "github.com/hc1-toolkit/hc1/hal/hci"

// ResetKind is a row of the reset table (section 21), in its order.
type ResetKind uint8

const (
	CCEnable ResetKind = 2 + iota // CC.EN = 0
	FLR
	HotReset
	PowerReset
	LastFD
)

const noReset ResetKind = 0

func (k ResetKind) String() string {
	switch k {
	case CCEnable:
		return "cc-en"
	case FLR:
		return "flr"
	case HotReset:
		return "hot-reset"
	case PowerReset:
		return "power"
	case LastFD:
		return "last-fd"
	}
	return "none"
}

type resetState struct {
	pending ResetKind
	until   int64 // the function answers again
	at      int64 // when the last one was
	lost    bool  // surprise removal
	stage   int   // boot stages left to show
	stageAt int64
}

// Reset begins a reset of the function. It takes effect in the next Step;
// until Resetting is false the function answers no register access.
func (c *Card) Reset(kind ResetKind) {
	c.note("reset " + kind.String())
	r := &c.reset
	if kind == PowerReset {
		r.lost = false
	}
	if r.pending == noReset || rank(kind) > rank(r.pending) {
		r.pending = kind
	}
}

func rank(k ResetKind) int {
	if k == LastFD {
		return int(FLR)
	}
	return int(k)
}

// stepReset carries a reset out. done is false while it lasts.
func (c *Card) stepReset() (next int64, done bool) {
	r := &c.reset
	if r.pending != noReset {
		kind := r.pending
		r.pending = noReset
		c.teardown(kind)
		c.regs = registers{rgen: c.regs.rgen, bsts: c.bootedStatus()}
		c.msix.toDefault()
		c.cfgSpace.toDefault()
		if rank(kind) >= int(HotReset) {
			r.stage, r.stageAt = len(bootStages)-1, 0
		}
		r.until = c.now + resetNS
		if c.faults.plain("flr-stuck") {
			r.until = Idle
		}
	}
	if r.until != 0 {
		if c.now < r.until {
			return r.until, false
		}
		r.until = 0
	}
	return c.stepBoot()
}

var bootStages = [...]uint32{0xFF, 0x30, 0x20, 0x10, 0x00}

// stepBoot moves BSTS through the boot after a power-on or hot reset.
func (c *Card) stepBoot() (next int64, done bool) {
	r := &c.reset
	for r.stage > 0 {
		if r.stageAt == 0 {
			r.stageAt = c.now + bootStageNS
			c.regs.bsts = bootStages[r.stage]
		}
		if c.now < r.stageAt {
			return r.stageAt, false
		}
		r.stage--
		r.stageAt = 0
		c.regs.bsts = c.bootedStatus()
	}
	return 0, true
}

// bootedStatus is BSTS once the firmware runs, or has failed to.
func (c *Card) bootedStatus() uint32 {
	if r := c.faults.find("boot-fail"); r != nil {
		return 0x20 | uint32(r.value("code", 1))<<8
	}
	return 0xFF | 1<<16
}

// teardown forgets what the reset table says is lost.
func (c *Card) teardown(kind ResetKind) {
	for i, s := range c.slots {
		if s != nil {
			c.release(s)
			c.slots[i] = nil
			c.spare = append(c.spare, s)
		}
	}
	c.charged = 0
	c.flight = flight{}
	for i := range c.queues {
		c.queues[i] = queue{id: uint16(i)}
	}
	c.cmdFree, c.posted = nil, nil
	c.shadow = shadowState{}
	c.admin = adminState{}
	c.health = healthState{}
	c.selftest.stop()
	c.msix.raised, c.msix.pending = 0, 0
	c.counters.LateSinceReset = 0
	c.faults.hung = false
	c.stuckBME = false
	if kind != CCEnable {
		c.features.toDefault()
	}
	if kind == PowerReset {
		c.features.capMW = powerMaxMW
		c.logs = logState{}
		c.power.init(c.faults.ambient())
		c.counters = Counters{}
	}
	c.logs.forgetReported()
	c.regs.rgen++
	c.reset.at = c.now
	c.lastEnd = c.now
	c.event(hci.EventReset, uint64(kind), uint64(c.regs.rgen))
}
