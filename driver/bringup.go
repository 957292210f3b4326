package driver

import (
	"context"
	"fmt"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/hci"
)

// Bounds of docs/hci.md section 23.
const (
	boundBoot     = 30 * time.Second
	boundShutdown = 5 * time.Second
	boundAdmin    = 5 * time.Second
	boundIO       = time.Second
)

const (
	adminEntries   = 32
	bootDone       = 0xFF
	allOnes        = ^uint32(0)
	healthInterval = 100 * time.Millisecond
	shutdownDone   = 2
)

// attach finds the BARs and checks that what is there is an hc1 card.
func (c *Card) attach() error {
	id, err := c.fn.ReadConfig(0, 4)
	if err != nil {
		return fmt.Errorf("read configuration space: %w", err)
	}
	if id == allOnes {
		return fmt.Errorf("configuration space reads all ones: %w", ErrCardLost)
	}
	class, err := c.fn.ReadConfig(8, 4)
	if err != nil {
		return fmt.Errorf("read class code: %w", err)
	}
	if class>>16 != hci.PCIClass>>8 {
		return fmt.Errorf("class code %#06x is not a processing accelerator (%#06x): %w",
			class>>8, hci.PCIClass, ErrUnsupported)
	}
	if err := c.busMaster(true); err != nil {
		return err
	}
	if c.regs, err = c.fn.Region(hci.BARRegs); err != nil {
		return fmt.Errorf("registers: %w", err)
	}
	if c.db, err = c.fn.Region(hci.BARDoorbells); err != nil {
		return fmt.Errorf("doorbells: %w", err)
	}
	if n := c.regs.Size(); n < hci.RegRGEN+4 {
		return fmt.Errorf("register BAR of %d bytes: %w", n, ErrProtocol)
	}
	return nil
}

// busMaster turns memory decoding and bus mastering on or off (PCI command
// register).
func (c *Card) busMaster(on bool) error {
	const command, memory, master = 0x04, 1 << 1, 1 << 2
	v, err := c.fn.ReadConfig(command, 2)
	if err != nil {
		return fmt.Errorf("read command register: %w", err)
	}
	v |= memory | master
	if !on {
		v &^= master
	}
	if err := c.fn.WriteConfig(command, 2, v); err != nil {
		return fmt.Errorf("write command register: %w", err)
	}
	return nil
}

// stage is one state of the bring-up machine (section 6). It is entered
// once; its poll is then called until it is done or its bound has passed.
type stage struct {
	name  string
	bound func() int64
	enter func() error
	poll  func() (bool, error)
}

// bringUp runs the machine from any state of the controller to READY, then
// the first admin commands. It is used for opening and after a reset.
func (c *Card) bringUp(ctx context.Context) error {
	for _, s := range c.stages() {
		if s.enter != nil {
			if err := s.enter(); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
		if s.poll == nil {
			continue
		}
		if err := c.until(ctx, s.bound(), s.poll); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return c.configure(ctx)
}

func (c *Card) stages() []stage {
	var cap uint64
	ready := func() int64 { return c.bound(time.Duration(c.readyTO)) } // known once CAP is
	return []stage{
		{name: "boot", bound: func() int64 { return c.bound(boundBoot) }, poll: func() (bool, error) {
			v := uint64(c.regs.Load32(hci.RegBSTS))
			if uint32(v) == allOnes {
				return false, c.onesAreLoss("BSTS")
			}
			if e := hci.BSTSError.Get(v); e != 0 {
				return false, fmt.Errorf("the card's boot stopped at stage %#02x with error %#02x: %w",
					hci.BSTSStage.Get(v), e, ErrProtocol)
			}
			return hci.BSTSStage.Get(v) == bootDone, nil
		}},
		{name: "version", enter: func() error {
			vs := uint64(c.regs.Load32(hci.RegVS))
			if m := hci.VSMJR.Get(vs); m != hci.VersionMajor {
				return fmt.Errorf("card speaks HCI %d.%d, this driver %d.x: %w",
					m, hci.VSMNR.Get(vs), hci.VersionMajor, ErrUnsupported)
			}
			cap = c.regs.Load64(hci.RegCAP)
			return c.geometry(cap)
		}},
		{name: "disable", bound: ready, enter: func() error {
			c.regs.Store32(hci.RegCC, 0)
			return nil
		}, poll: func() (bool, error) {
			v, err := c.csts()
			return err == nil && hci.CSTSRDY.Get(v) == 0, err
		}},
		{name: "memory", enter: c.makeAdmin},
		{name: "enable", bound: ready, enter: func() error {
			c.regs.Store32(hci.RegAQA, uint32(hci.AQAACQS.Put(hci.AQAASQS.Put(0, adminEntries-1), adminEntries-1)))
			c.regs.Store64(hci.RegASQ, c.admin.sq.iova)
			c.regs.Store64(hci.RegACQ, c.admin.cq.iova)
			cc := hci.CCIOCQES.Put(hci.CCIOSQES.Put(0, 6), 4)
			c.regs.Store32(hci.RegCC, uint32(hci.CCEN.Put(cc, 1)))
			return nil
		}, poll: func() (bool, error) {
			v, err := c.csts()
			if err != nil {
				return false, err
			}
			if hci.CSTSCFS.Get(v) != 0 {
				return false, fmt.Errorf("the card refused to start: %s: %w",
					fatalName(c.regs.Load32(hci.RegFERR)), ErrProtocol)
			}
			return hci.CSTSRDY.Get(v) == 1, nil
		}},
	}
}

// geometry checks CAP and sizes what depends on it.
func (c *Card) geometry(cap uint64) error {
	if cap == ^uint64(0) {
		return c.onesAreLoss("CAP")
	}
	c.stride = 4096 << hci.CAPDSTRD.Get(cap)
	c.nqp = int(hci.CAPNQP.Get(cap))
	c.readyTO = max(int64(hci.CAPTO.Get(cap)), 1) * int64(500*time.Millisecond)
	if c.nqp < 1 || (c.nqp+1)*c.stride > c.db.Size() {
		return fmt.Errorf("CAP.NQP = %d does not fit doorbells of %d bytes: %w", c.nqp, c.db.Size(), ErrProtocol)
	}
	if n := int(hci.CAPMQES.Get(cap)) + 1; n < adminEntries || n < laneCQEntries {
		return fmt.Errorf("CAP.MQES = %d: queues of %d entries are needed: %w", n-1, laneCQEntries, ErrUnsupported)
	}
	return nil
}

// csts reads CSTS; all ones is a suspect until configuration space confirms.
func (c *Card) csts() (uint64, error) {
	v := c.regs.Load32(hci.RegCSTS)
	if v == allOnes {
		return 0, c.onesAreLoss("CSTS")
	}
	return uint64(v), nil
}

// onesAreLoss tells a lost card from a register that reads all ones.
func (c *Card) onesAreLoss(reg string) error {
	if id, err := c.fn.ReadConfig(0, 4); err != nil || id == allOnes {
		c.lost.Store(true)
		return fmt.Errorf("%s and configuration space read all ones: %w", reg, ErrCardLost)
	}
	return fmt.Errorf("%s reads all ones: %w", reg, ErrProtocol)
}

// makeAdmin sets aside control memory, once, and resets the admin queue.
func (c *Card) makeAdmin() error {
	var err error
	if c.read == nil {
		cells := (c.nqp + 1) * hci.ShadowStride
		if c.read, err = newArena(c.fn, pages(adminEntries*hci.SQESize, cells), hal.CardReads); err != nil {
			return err
		}
		w := pages(adminEntries*hci.CQESize, hci.HealthSize, cells, hci.PageSize)
		if c.write, err = newArena(c.fn, w, hal.CardWrites); err != nil {
			return err
		}
		var sq, cq buffer
		for _, p := range []struct {
			a    *arena
			b    *buffer
			size int
		}{
			{c.read, &sq, adminEntries * hci.SQESize}, {c.read, &c.shadow, cells},
			{c.write, &cq, adminEntries * hci.CQESize}, {c.write, &c.health, hci.HealthSize},
			{c.write, &c.event, cells}, {c.write, &c.page, hci.PageSize},
		} {
			if *p.b, err = p.a.take(p.size); err != nil {
				return err
			}
		}
		c.admin = newQueue(0, adminEntries, queueDepth, sq, cq, c.db, 0)
	}
	c.admin.reset()
	c.aers = c.aers[:0]
	return nil
}

// configure issues the commands of bring-up step 6.
func (c *Card) configure(ctx context.Context) error {
	vec, err := c.fn.Vectors(c.nqp + 1)
	if err != nil {
		return fmt.Errorf("interrupts: %w", err)
	}
	c.vectors = vec
	id := hci.SQE{OPC: hci.AdminIdentify, PRP1: c.page.iova}
	id.Put(hci.IdentifyCNS, 1)
	if _, err := c.adminLocked(ctx, &id); err != nil {
		return err
	}
	caps, err := hci.DecodeCapabilities(c.page.b)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if c.gen.Load() > 0 && caps.ModelID != c.caps.ModelID {
		return fmt.Errorf("the card came back with another model: %w", ErrProtocol)
	}
	c.caps = caps
	if caps.Features&hci.FeatureFreeRun == 0 && caps.Features&hci.FeatureStepped == 0 {
		return fmt.Errorf("the card offers no decode mode: %w", ErrProtocol)
	}
	clear(c.health.b)
	hr := hci.SQE{OPC: hci.AdminHealthRecordConfig, PRP1: c.health.iova}
	hr.Put(hci.HealthRecordConfigInterval, uint64(healthInterval/time.Millisecond))
	if _, err := c.adminLocked(ctx, &hr); err != nil {
		return err
	}
	if caps.Features&hci.FeatureShadow != 0 {
		db := hci.SQE{OPC: hci.AdminDoorbellBufferConfig, PRP1: c.shadow.iova, PRP2: c.event.iova}
		if _, err := c.adminLocked(ctx, &db); err != nil {
			return err
		}
	}
	for range min(int(caps.AERL)+1, 4) {
		if err := c.requestEvent(); err != nil {
			return err
		}
	}
	c.admin.ring()
	c.log.Debug("card up", "serial", c.Serial(), "model", hci.Text(caps.ModelName[:]),
		"sessions", caps.Sessions, "queues", c.nqp)
	return nil
}

// shutdown tells the card and disables it (section 6).
func (c *Card) shutdown(ctx context.Context) error {
	cc := c.regs.Load32(hci.RegCC)
	if cc == allOnes {
		return c.onesAreLoss("CC")
	}
	c.regs.Store32(hci.RegCC, uint32(hci.CCSHN.Put(uint64(cc), 1)))
	err := c.until(ctx, c.bound(boundShutdown), func() (bool, error) {
		v, err := c.csts()
		return err == nil && hci.CSTSSHST.Get(v) == shutdownDone, err
	})
	if err != nil {
		return fmt.Errorf("shutdown: %w", err)
	}
	c.regs.Store32(hci.RegCC, 0)
	if err := c.until(ctx, c.bound(boundShutdown), func() (bool, error) {
		v, err := c.csts()
		return err == nil && hci.CSTSRDY.Get(v) == 0, err
	}); err != nil {
		return fmt.Errorf("disable: %w", err)
	}
	return c.busMaster(false)
}

// until calls poll, relaxing between turns, until it is true, fails, or the
// bound or the context ends.
func (c *Card) until(ctx context.Context, bound int64, poll func() (bool, error)) error {
	end := c.clock.Now() + bound
	for turn := 0; ; turn++ {
		ok, err := poll()
		if ok || err != nil {
			return err
		}
		if c.clock.Now() > end {
			return fmt.Errorf("no answer in %v: %w", time.Duration(bound), ErrTimeout)
		}
		if turn&63 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		c.clock.Relax()
	}
}

func fatalName(v uint32) string {
	for _, n := range hci.Enums["ferr"] {
		if n.Value == v {
			return n.Name
		}
	}
	return fmt.Sprintf("FERR %d", v)
}
