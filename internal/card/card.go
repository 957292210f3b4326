// Package card is the one model of the card: a reference implementation of
// docs/hci.md and a referee that reports what its host does wrong. It is
// step-driven: it owns no goroutine and reads no clock. A face (in-process,
// vfio-user) calls Step and the register handlers under one lock.
package card

import (
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/silicon"
)

// Idle is what Step returns when only a register write can make work.
const Idle = math.MaxInt64

// Config describes one card. The zero value of a field means its default.
type Config struct {
	Engine silicon.Engine
	Serial uint64
	Seed   uint64 // of the fault plan's probabilities

	Context  int // default 6,144, or what the engine can do
	KVBudget int // default 12,288
	Sessions int // default 16

	// Paced makes a token take TokenNS; otherwise it takes what it takes.
	Paced   bool
	TokenNS uint32
	// Clock measures computation inside a step. It has Step's time base.
	// Without it no time passes inside a step.
	Clock func() int64

	Faults *Plan
	Trace  Tracer
	// Minor makes a card of a later minor version, with capability bits and
	// reserved bytes that a host of 1.0 does not know.
	Minor uint8
	// Without takes capability bits away.
	Without uint32
}

// Bus is what the card sees of its host. Words are single aligned accesses,
// each a full fence. Errors are *Fault where the IOMMU refused an access. A
// bus that has to wait for its host lets the card's lock go meanwhile: the
// register handlers only record what a later step does, so the host may come
// in at any access. A step that finds its bus taken away then stops there.
type Bus interface {
	Read(iova uint64, b []byte) error
	Write(iova uint64, b []byte) error
	Load32(iova uint64) (uint32, error)
	Load64(iova uint64) (uint64, error)
	Store32(iova uint64, v uint32) error
	Store64(iova uint64, v uint64) error
	Interrupt(vector int)
}

// Properties of the card that nothing asks to change.
const (
	numQueues     = hci.BARDoorbellsSize/hci.PageSize - 1 // I/O queue pairs
	NumVectors    = numQueues + 1                         // of MSI-X
	maxQueue      = 4096
	readyTimeout  = 4 // CAP.TO, in 500 ms
	depth         = 8 // commands of a session
	chunk         = 32
	candidates    = hci.MaxCandidates
	maxBias       = 1024
	maxMaskSlots  = 64
	ringMin       = 4
	ringMax       = 16
	abortLimit    = 4
	aerLimit      = 4
	errorEntries  = 64
	eventEntries  = 128
	fetchBudget   = 32 // commands fetched in a step
	lookNS        = 20_000
	lookStepNS    = 1_000
	startNS       = 100_000
	resetNS       = 1_000_000
	bootStageNS   = 1_000_000
	shutdownNS    = 100_000
	firmwareRev   = "1.0.0"
	modelNumber   = "HC1 emulated card"
	maxViolations = 256
)

// Card is one card. All methods are called with the lock of New held; Step
// lets it go while the silicon computes.
type Card struct {
	cfg  Config
	bus  Bus
	lock sync.Locker
	info silicon.Info
	now  int64 // of the last Step

	cfgSpace configSpace
	msix     msix
	regs     registers
	reset    resetState
	queues   [numQueues + 1]queue
	armLow   [numQueues + 1]uint32 // ARM in two halves, by page; no queue need be there
	shadow   shadowState
	admin    adminState
	logs     logState
	features featureState
	power    power
	health   healthState
	selftest selfTestState

	slots   []*session // by slot; nil is free
	gens    []uint16   // SID generation by slot
	spare   []*session // closed, kept for their memory
	charged int        // sum of all charges
	turn    int        // slot that has the next turn
	flight  flight
	lastEnd int64 // when the last step ended
	looking int64 // until then the card does not sleep

	perToken int64 // what the silicon takes for one, ns, on average

	stepping  bool // inside Step, which may let the lock go
	worked    bool // the running Step did something
	faults    *injector
	fault     Fault    // last access that was refused
	access    bool     // one is under way
	putOff    bool     // the last one was a read that the host stopped
	posted    []posted // writes that it stopped, oldest first
	violated  []Violation
	nviolated uint64
	stuckBME  bool
	signalled uint64
	counters  Counters

	// scratch, so that the token path does not allocate
	rec      [hci.RecordSize]byte
	sqe      [hci.SQESize]byte
	mask     []byte
	maskHdr  [8]byte
	word     [8]byte
	work     []float32
	block    [hci.CardOffMaskLate + 4 - hci.CardOffPrefillNS]byte
	pickFrom [candidates]float32
	caps     [hci.CapsSize]byte
	cmdFree  []*command
}

// Counters count what the card did, for tests and telemetry.
type Counters struct {
	MMIOReads, MMIOWrites uint64
	Doorbells             uint64 // SQTDBL and CQHDBL writes
	Kicks, Arms           uint64
	DMAReads, DMAWrites   uint64 // accesses
	DMAReadBytes          uint64
	DMAWrittenBytes       uint64
	DMAFaults             uint64
	Interrupts            uint64
	Commands              uint64 // completed
	Tokens                uint64
	Prefilled             uint64
	Late                  uint64
	LateSinceReset        uint64
	MaskLate              uint64
	RingStalls            uint64
	BusyNS                uint64
	Steps                 uint64
	ECCCorrected          uint64
	ECCUncorrected        uint64
}

// New returns a card that has just been powered on. lock is the lock that
// the face holds around every call.
func New(cfg Config, bus Bus, lock sync.Locker) (*Card, error) {
	if cfg.Engine == nil || bus == nil || lock == nil {
		return nil, errors.New("card: needs an engine, a bus and a lock")
	}
	info := cfg.Engine.Info()
	if info.Vocab < 2 || info.Vocab > hci.MaxVocab {
		return nil, fmt.Errorf("card: vocabulary of %d tokens, allowed 2..%d", info.Vocab, hci.MaxVocab)
	}
	if len(info.Stops) > hci.MaxStopIDs {
		return nil, fmt.Errorf("card: %d stop ids, at most %d", len(info.Stops), hci.MaxStopIDs)
	}
	if info.Context < 1 {
		return nil, errors.New("card: the engine has no context")
	}
	if cfg.Context == 0 {
		cfg.Context = 6144
	}
	cfg.Context = min(cfg.Context, info.Context)
	if cfg.KVBudget == 0 {
		cfg.KVBudget = 12288
	}
	if cfg.Sessions == 0 {
		cfg.Sessions = 16
	}
	if cfg.TokenNS == 0 {
		cfg.TokenNS = 58_960
	}
	if cfg.Context < 1 || cfg.KVBudget < 1 || cfg.Sessions < 1 || cfg.Sessions > 4096 {
		return nil, fmt.Errorf("card: context %d, budget %d, sessions %d: out of range", cfg.Context, cfg.KVBudget, cfg.Sessions)
	}
	c := &Card{cfg: cfg, bus: bus, lock: lock, info: info}
	c.slots = make([]*session, cfg.Sessions)
	c.gens = make([]uint16, cfg.Sessions)
	c.mask = make([]byte, (info.Vocab+31)/32*4)
	c.work = make([]float32, info.Vocab)
	c.faults = newInjector(cfg.Faults, cfg.Seed)
	c.power.init(c.faults.ambient())
	c.features.capMW = powerMaxMW
	c.features.toDefault()
	c.cfgSpace.init(cfg.Serial)
	c.msix.toDefault()
	c.regs.bsts = c.bootedStatus()
	for i := range c.queues {
		c.queues[i].id = uint16(i)
	}
	return c, nil
}

// Minus is what was counted since o.
func (c Counters) Minus(o Counters) Counters {
	c.MMIOReads -= o.MMIOReads
	c.MMIOWrites -= o.MMIOWrites
	c.Doorbells -= o.Doorbells
	c.Kicks -= o.Kicks
	c.Arms -= o.Arms
	c.DMAReads -= o.DMAReads
	c.DMAWrites -= o.DMAWrites
	c.DMAReadBytes -= o.DMAReadBytes
	c.DMAWrittenBytes -= o.DMAWrittenBytes
	c.DMAFaults -= o.DMAFaults
	c.Interrupts -= o.Interrupts
	c.Commands -= o.Commands
	c.Tokens -= o.Tokens
	c.Prefilled -= o.Prefilled
	c.Late -= o.Late
	c.RingStalls -= o.RingStalls
	c.BusyNS -= o.BusyNS
	c.Steps -= o.Steps
	return c
}

// Counters returns a copy of the counters.
func (c *Card) Counters() Counters { return c.counters }

// Resetting reports whether a reset is not over yet.
func (c *Card) Resetting() bool { return c.reset.pending != noReset || c.reset.until != 0 }

// Quiet reports whether the card has nothing to do but keep its records.
func (c *Card) Quiet() bool {
	if c.Resetting() || c.reset.stage > 0 || c.regs.starting || c.regs.disabling || c.regs.state == stateShuttingDown || c.flight.s != nil || c.selftest.running != 0 {
		return false
	}
	for _, s := range c.slots {
		if s != nil && (s.ready || s.running && c.now < c.looking || s.arm.on && s.arm.deadline > c.now) {
			return false
		}
	}
	return true
}

// Lost reports whether the card has left the bus.
func (c *Card) Lost() bool { return c.reset.lost }

// Step does at most one bounded piece of work, a token step, and returns
// when it wants to be called again: now or earlier for at once, Idle for
// after a register write only.
func (c *Card) Step(now int64) (next int64) {
	if now > c.now {
		c.now = now
	}
	if c.reset.lost {
		return Idle
	}
	c.counters.Steps++
	c.stepping = true
	defer func() { c.stepping = false }()
	if next, done := c.stepReset(); !done {
		return next
	}
	next = c.power.tick(c)
	if n, ok := c.stepController(); !ok {
		return min(next, n)
	}
	if !c.mayMaster() {
		c.checkBusMaster()
		return Idle
	}
	c.stuckBME = false
	if c.faults.hung {
		return Idle
	}
	c.worked = false
	c.mayBegin()
	c.msix.flush(c)
	c.noteArms()
	c.serviceQueues()
	c.settleDeletes()
	next = min(next, c.health.tick(c), c.selftest.tick(c))
	n := c.schedule()
	if c.stopped() || c.regs.state != stateReady {
		return c.now
	}
	next = min(next, n, c.serviceArms())
	if c.logs.fresh {
		c.reportEvents()
	}
	c.postInterrupts()
	if c.worked {
		c.looking = c.now + lookNS
		return min(next, c.now)
	}
	return next
}

// time is the present, inside a step where there is a clock.
func (c *Card) time() int64 {
	if c.cfg.Clock != nil {
		if t := c.cfg.Clock(); t > c.now {
			return t
		}
	}
	return c.now
}

// mayMaster reports whether the card may use the bus.
func (c *Card) mayMaster() bool { return c.cfgSpace.busMaster() && !c.cfgSpace.d3() }

// uptime is the time since the last reset.
func (c *Card) uptime() uint64 { return uint64(max(c.now-c.reset.at, 0)) }
