package card

import (
	"fmt"
	"strconv"
	"strings"
)

// event is what faults are counted by.
type event uint8

const (
	onNothing event = iota // holds from the start
	onMMIO
	onConfig
	onIRQ
	onSQE
	onCQE
	onRecord
	onDMA
	onDMARead
	onHealth
	onToken
	numEvents
)

var eventNames = [numEvents]string{"", "mmio", "config", "irq", "sqe", "cqe", "record", "dma", "read", "health", "token"}

// FaultKind describes a fault a plan may name.
type FaultKind struct {
	Name    string
	On      string // the event it is counted by, if it is
	Keys    string // its parameters
	Meaning string
	def     event
	any     bool // any event may trigger it
}

// FaultKinds lists them for help.
var FaultKinds = []FaultKind{
	{Name: "lost-irq", def: onIRQ, Meaning: "an interrupt is not sent"},
	{Name: "double-irq", def: onIRQ, Meaning: "an interrupt is sent twice"},
	{Name: "wrong-vector", def: onIRQ, Meaning: "an interrupt goes to the next vector"},
	{Name: "stuck-queue", def: onSQE, Meaning: "the queue is not looked at any more"},
	{Name: "drop-command", def: onSQE, Meaning: "a command is fetched and forgotten"},
	{Name: "lost-cqe", def: onCQE, Meaning: "a completion is not written"},
	{Name: "double-cqe", def: onCQE, Meaning: "a completion is written twice"},
	{Name: "corrupt-cqe", def: onCQE, Keys: "xor", Meaning: "a completion has a wrong command id"},
	{Name: "stale-cqe", def: onCQE, Meaning: "a completion has the generation before in its command id"},
	{Name: "wrong-queue", def: onCQE, Meaning: "a completion names another queue"},
	{Name: "status", def: onCQE, Keys: "code", Meaning: "a completion has status code (SCT<<8 | SC)"},
	{Name: "corrupt-record", def: onRecord, Meaning: "a bit of a record is wrong, its CRC is not"},
	{Name: "stale-record", def: onRecord, Meaning: "a record has the epoch before"},
	{Name: "lost-record", def: onRecord, Meaning: "a record is not written"},
	{Name: "torn-record", def: onRecord, Meaning: "the end of a record is written before its body"},
	{Name: "dma-fault", def: onDMA, Meaning: "an access is refused as if by the IOMMU"},
	{Name: "flip-dma", def: onDMARead, Meaning: "a bit of what the card reads is wrong"},
	{Name: "all-ones", def: onMMIO, any: true, Meaning: "the card leaves the bus: every read gives ones"},
	{Name: "heartbeat-stop", def: onHealth, Meaning: "the health record is not written"},
	{Name: "slow-token", def: onToken, Keys: "ns", Meaning: "a token takes ns longer"},
	{Name: "numeric", def: onToken, Meaning: "the logits are not numbers"},
	{Name: "ecc-corrected", def: onToken, Keys: "count", Meaning: "corrected memory errors"},
	{Name: "ecc-uncorrected", def: onToken, Meaning: "an uncorrectable error in the session's KV"},
	{Name: "fatal", def: onToken, Keys: "code", any: true, Meaning: "the controller stops with FERR = code"},
	{Name: "hang", def: onToken, any: true, Meaning: "the firmware hangs: registers answer, nothing else happens"},
	{Name: "aer", def: onToken, any: true, Keys: "bits", Meaning: "an uncorrectable PCI Express error is signalled"},
	{Name: "link", def: onToken, any: true, Keys: "width,speed", Meaning: "the link comes down to width and speed"},
	{Name: "never-ready", Meaning: "CSTS.RDY never follows CC.EN"},
	{Name: "boot-fail", Keys: "code", Meaning: "the boot stops with BSTS.ERROR = code"},
	{Name: "flr-stuck", Meaning: "a reset does not end"},
	{Name: "selftest-fail", Meaning: "the self-test finds wrong weights"},
	{Name: "hot", Keys: "c", Meaning: "the air is at c °C"},
}

func init() {
	for i := range FaultKinds {
		k := &FaultKinds[i]
		if k.On = eventNames[k.def]; k.any {
			k.On += ", or any"
		}
	}
}

// Plan is a parsed fault plan.
type Plan struct {
	rules []rule
	text  string
}

func (p *Plan) String() string { return p.text }

type rule struct {
	kind *FaultKind
	on   event
	nth  uint64  // 1-based; 0 is every one
	p    float64 // probability; 0 is certain
	args map[string]uint64
}

// ParsePlan reads rules separated by ';': NAME[@EVENT[#N]][%P][,key=value...].
// The fault happens at the Nth EVENT, or with probability P at each.
func ParsePlan(text string) (*Plan, error) {
	p := &Plan{text: text}
	pos := 0
	for _, part := range strings.Split(text, ";") {
		at := pos
		pos += len(part) + 1
		if strings.TrimSpace(part) == "" {
			continue
		}
		r, err := parseRule(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("fault plan: rule %q at position %d: %w", strings.TrimSpace(part), at, err)
		}
		p.rules = append(p.rules, r)
	}
	return p, nil
}

func parseRule(s string) (r rule, err error) {
	head, args, _ := strings.Cut(s, ",")
	head, prob, hasProb := strings.Cut(head, "%")
	name, on, hasOn := strings.Cut(head, "@")
	for i := range FaultKinds {
		if FaultKinds[i].Name == name {
			r.kind = &FaultKinds[i]
		}
	}
	if r.kind == nil {
		return r, fmt.Errorf("no fault is named %q", name)
	}
	r.on = r.kind.def
	if hasOn {
		ev, nth, hasNth := strings.Cut(on, "#")
		found := onNothing
		for i, n := range eventNames {
			if n == ev && n != "" {
				found = event(i)
			}
		}
		if found == onNothing {
			return r, fmt.Errorf("no event is named %q", ev)
		}
		if found != r.on && !r.kind.any {
			return r, fmt.Errorf("%s is counted by %q, not %q", name, eventNames[r.on], ev)
		}
		r.on = found
		if hasNth {
			if r.nth, err = strconv.ParseUint(nth, 10, 64); err != nil || r.nth == 0 {
				return r, fmt.Errorf("number %q of the event: want 1 or more", nth)
			}
		}
	}
	if hasProb {
		if r.p, err = strconv.ParseFloat(prob, 64); err != nil || !(r.p > 0 && r.p <= 1) {
			return r, fmt.Errorf("probability %q: want more than 0, at most 1", prob)
		}
		if r.nth != 0 {
			return r, fmt.Errorf("both a number and a probability")
		}
		if r.on == onNothing {
			return r, fmt.Errorf("%s holds from the start and takes no probability", name)
		}
	}
	if args == "" {
		return r, nil
	}
	r.args = map[string]uint64{}
	for _, kv := range strings.Split(args, ",") {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" || !strings.Contains(","+r.kind.Keys+",", ","+k+",") {
			return r, fmt.Errorf("parameter %q: %s takes %q", kv, name, r.kind.Keys)
		}
		n, err := strconv.ParseUint(v, 0, 63)
		if err != nil {
			return r, fmt.Errorf("parameter %q: want a number", kv)
		}
		r.args[k] = n
	}
	return r, nil
}

func (r *rule) is(name string) bool { return r != nil && r.kind.Name == name }

func (r *rule) value(key string, def uint64) uint64 {
	if v, ok := r.args[key]; ok {
		return v
	}
	return def
}
