package card

import "github.com/hc1-toolkit/hc1/hal/hci"

// injector plays a fault plan.
type injector struct {
	any     bool
	rules   []rule
	count   [numEvents]uint64
	watched [numEvents]bool
	rng     uint64
	hung    bool
}

func newInjector(p *Plan, seed uint64) *injector {
	in := &injector{rng: seed}
	if p == nil {
		return in
	}
	in.rules = p.rules
	for i := range in.rules {
		in.any = true
		in.watched[in.rules[i].on] = true
	}
	return in
}

// next is the splitmix64 sequence.
func (in *injector) next() uint64 {
	in.rng += 0x9E3779B97F4A7C15
	z := in.rng
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// find returns the rule of that name, whatever it is counted by.
func (in *injector) find(name string) *rule {
	for i := range in.rules {
		if in.rules[i].kind.Name == name {
			return &in.rules[i]
		}
	}
	return nil
}

func (in *injector) plain(name string) bool { return in.any && in.find(name) != nil }

func (in *injector) ambient() float64 {
	if r := in.find("hot"); r != nil {
		return float64(r.value("c", 70))
	}
	return ambientC
}

// faultAt counts an event and returns the fault that happens at it, if any.
// Faults of the whole card happen here.
func (c *Card) faultAt(e event) *rule {
	in := c.faults
	if !in.watched[e] {
		return nil
	}
	in.count[e]++
	var hit *rule
	for i := range in.rules {
		r := &in.rules[i]
		if r.on != e || r.nth != 0 && r.nth != in.count[e] {
			continue
		}
		if r.p != 0 && float64(in.next()>>11)/(1<<53) >= r.p {
			continue
		}
		if !c.cardFault(r) && hit == nil {
			hit = r
		}
		c.note("fault " + r.kind.Name)
	}
	return hit
}

// cardFault carries out the faults that are the same at every event.
func (c *Card) cardFault(r *rule) bool {
	switch r.kind.Name {
	case "all-ones":
		c.reset.lost = true
	case "fatal":
		c.fatal(uint32(r.value("code", hci.FatalFirmware)))
	case "hang":
		c.faults.hung = true
	case "aer":
		c.cfgSpace.aer(uint32(r.value("bits", aerInternal)))
		c.signalled++
	case "link":
		w, s := r.value("width", 4), r.value("speed", 1)
		c.cfgSpace.set16(cfgLnkSta, uint16(s&0xF|w&0x3F<<4|1<<12))
	default:
		return false
	}
	return true
}

// Signalled counts the uncorrectable PCI Express errors signalled so far.
func (c *Card) Signalled() uint64 { return c.signalled }

// tokenFault carries out a fault at the sampling of a token. It reports
// whether that ended the command.
func (c *Card) tokenFault(s *session, f *rule) bool {
	switch f.kind.Name {
	case "ecc-corrected":
		n := f.value("count", 1)
		c.counters.ECCCorrected += n
		c.event(hci.EventECCCorrected, n, 0)
	case "ecc-uncorrected":
		c.counters.ECCUncorrected++
		c.event(hci.EventECCUncorrected, uint64(s.sid), 0)
		s.lost = true
		c.endGenerate(s, hci.StopError, refuse(hci.StatusKVUncorrectable))
		return true
	}
	return false
}
