package card

import (
	"math"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// The power and thermal model: an idle floor and a part that follows the
// clock and how busy the silicon is; three sensors that follow the power
// with a time constant each.
const (
	idleMW     = 45_000
	dynamicMW  = 155_000 // more, at full load and full clock
	powerMinMW = 75_000
	powerMaxMW = 250_000
	coreMHz    = 1_000
	sramMHz    = 800
	tempWarn   = 900  // 0.1 °C
	tempCrit   = 1050 //
	ambientC   = 30.0
	powerTick  = 10_000_000

	throttleThermal = 1 << 0
	throttlePower   = 1 << 1
)

// power is the state of the model. Energy is integrated over modelled time:
// a step draws full power for its nominal length whatever the host needed to
// compute it.
type power struct {
	ambient            float64
	core, sram, board  float64 // °C
	last               int64
	busy               int64 // modelled ns in steps since last
	permille           int64 // clock
	mw                 uint32
	energyNJ           uint64
	util               float64 // in the last interval
	throttle           uint8
	started, unsettled bool
}

func (p *power) init(ambient float64) {
	*p = power{ambient: ambient, core: ambient, sram: ambient, board: ambient, permille: 1000, mw: idleMW}
	p.core += idleMW / 1e6 * 250
	p.sram += idleMW / 1e6 * 180
	p.board += idleMW / 1e6 * 80
}

// stepNS is how long nominal ns take at the present clock.
func (p *power) stepNS(nominal int64) int64 { return nominal * 1000 / p.permille }

// charge accounts a step of ns modelled time and returns its energy in nJ.
func (p *power) charge(ns int64) uint64 {
	p.busy += ns
	p.unsettled = true
	nj := uint64(idleMW+dynamicMW*p.permille/1000) * uint64(ns) / 1000
	p.energyNJ += nj
	return nj
}

// tick keeps the model up to date while it changes.
func (p *power) tick(c *Card) int64 {
	if !p.started {
		p.started, p.last = true, c.now
		if c.reset.at == 0 {
			c.reset.at = c.now
		}
	}
	if !p.unsettled {
		return Idle
	}
	if c.now-p.last >= powerTick {
		p.advance(c)
	}
	if !p.unsettled {
		return Idle
	}
	return p.last + powerTick
}

// powerGrain is the shortest interval that is looked at: a step is charged
// when it ends, so a shorter one would look all busy or all idle.
const powerGrain = 1_000_000

// advance brings the model to the present.
func (p *power) advance(c *Card) {
	dt := c.now - p.last
	if dt < powerGrain {
		return
	}
	idle := max(dt-p.busy, 0)
	p.energyNJ += idleMW * uint64(idle) / 1000
	p.util = min(1, float64(p.busy)/float64(dt))
	p.unsettled = p.busy > 0 || p.throttle != 0
	p.last, p.busy = c.now, 0
	watts := (idleMW + dynamicMW*float64(p.permille)/1000*p.util) / 1000
	p.mw = uint32(watts * 1000)
	follow := func(t *float64, kelvinPerWatt, tau float64) {
		target := p.ambient + watts*kelvinPerWatt
		*t += (target - *t) * (1 - math.Exp(-float64(dt)/(tau*1e9)))
	}
	follow(&p.core, 0.25, 8)
	follow(&p.sram, 0.18, 12)
	follow(&p.board, 0.08, 60)
	p.govern(c)
}

// govern sets the clock and tells the host of what changed.
func (p *power) govern(c *Card) {
	hot := int32(p.hottest())
	switch {
	case hot >= tempCrit:
		c.event(hci.EventTemperature, uint64(hot), 0)
		c.fatal(hci.FatalThermal)
		return
	case hot >= c.features.warnAt && !c.features.crossed:
		c.features.crossed = true
		c.event(hci.EventTemperature, uint64(hot), 0)
	case hot < c.features.warnAt-20:
		c.features.crossed = false
	}
	was := p.throttle
	p.permille = 1000
	if hot >= tempWarn || was&throttleThermal != 0 && hot >= tempWarn-50 {
		p.throttle |= throttleThermal
		p.permille = 500
	} else {
		p.throttle &^= throttleThermal
	}
	if want := idleMW + dynamicMW*p.util*float64(p.permille)/1000; want > float64(c.features.capMW) {
		p.throttle |= throttlePower
		p.permille = min(p.permille, max(100, (int64(c.features.capMW)-idleMW)*1000/dynamicMW))
	} else {
		p.throttle &^= throttlePower
	}
	if p.throttle != was {
		p.unsettled = true
		c.event(hci.EventThrottle, uint64(p.throttle), 0)
	}
}

func deci(t float64) int16 { return int16(math.Round(t * 10)) }

func (p *power) hottest() int16 { return max(deci(p.core), deci(p.sram), deci(p.board)) }
func (p *power) mhz() uint16    { return uint16(coreMHz * p.permille / 1000) }

// telemetry is log page 0xC0.
func (c *Card) telemetry() *hci.Telemetry {
	p, n := &c.power, &c.counters
	p.advance(c)
	dyn := p.mw - min(p.mw, idleMW)
	return &hci.Telemetry{
		UptimeNS: c.uptime(), EnergyMJ: p.energyNJ / 1_000_000,
		PowerMW: p.mw, PowerCoreMW: 15_000 + dyn*7/10, PowerSramMW: 12_000 + dyn/4,
		PowerIOMW: p.mw - (15_000 + dyn*7/10) - (12_000 + dyn/4), PowerCapMW: c.features.capMW,
		TempCore: deci(p.core), TempSram: deci(p.sram), TempBoard: deci(p.board),
		ClockCoreMHz: p.mhz(), ClockSramMHz: sramMHz, Throttle: p.throttle, State: c.healthNow(),
		EccCorrected: n.ECCCorrected, EccUncorrected: n.ECCUncorrected,
		Tokens: n.Tokens, Prefilled: n.Prefilled, Late: n.Late, MaskLate: n.MaskLate, RingStalls: n.RingStalls,
		BusyNS: n.BusyNS, Commands: n.Commands, Interrupts: n.Interrupts,
		DMARead: n.DMAReadBytes, DMAWritten: n.DMAWrittenBytes, DMAFaults: n.DMAFaults,
	}
}

// tooHot reports whether the card starts no work (status THERMAL).
func (p *power) tooHot() bool { return p.hottest() >= tempCrit-30 }
