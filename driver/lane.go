package driver

import (
	"context"
	"fmt"
	"math"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/hci"
)

// A lane is what one session needs on the host: a queue pair of its own,
// with its interrupt vector, and memory. One lane has one owner, so the
// token path takes no lock. Lanes are made once, at bring-up, and reused;
// their memory is zeroed between sessions, since the IOMMU protects the host
// from the card, not one client from another.
type lane struct {
	q   *queue
	gen uint32 // card generation its queue pair was created in; 0: not yet

	host   buffer // R: host block and, on its own line, the parameter block
	prompt buffer // R: token ids
	bias   buffer // R: bias table
	masks  buffer // R: mask slots
	ring   buffer // W: token ring
	block  buffer // W: card block

	seq   uint32 // continues over sessions, so that old records never match
	epoch uint16
}

const (
	laneSQEntries = 64
	laneCQEntries = 64
	paramsOff     = 256
	maskSlots     = 2
	maxBias       = 1024
)

// makeLanes sets memory aside for every session in two mappings.
func (c *Card) makeLanes() error {
	n := min(int(c.caps.Sessions), c.nqp)
	if c.cfg.MaxSessions > 0 {
		n = min(n, c.cfg.MaxSessions)
	}
	ring := min(max(c.cfg.RingLog2, c.caps.RingMin), c.caps.RingMax)
	c.cfg.RingLog2 = ring
	sizes := struct{ prompt, bias, masks, ring int }{
		prompt: 4 * int(c.caps.Context),
		ring:   hci.RecordSize << ring,
	}
	if c.caps.Features&hci.FeatureBias != 0 {
		sizes.bias = 8 * min(int(c.caps.MaxBias), maxBias)
	}
	if c.caps.Features&hci.FeatureMask != 0 && c.caps.MaskSlots >= maskSlots {
		sizes.masks = maskSlots * hci.MaskStride
	}
	r, err := newArena(c.fn, n*pages(laneSQEntries*hci.SQESize, hci.PageSize, sizes.prompt, sizes.bias, sizes.masks), hal.CardReads)
	if err != nil {
		return fmt.Errorf("memory for %d sessions: %w", n, err)
	}
	w, err := newArena(c.fn, n*pages(laneCQEntries*hci.CQESize, sizes.ring, hci.CardBlockSize), hal.CardWrites)
	if err != nil {
		return fmt.Errorf("memory for %d sessions: %w", n, err)
	}
	c.lanes = make(chan *lane, n)
	for i := range n {
		// Near the wrap on purpose: what goes wrong there goes wrong at once.
		// Fresh memory is zeroed, so that nothing old can match, and the same
		// run looks the same twice.
		l := &lane{seq: -uint32(1024 * (i + 1)), epoch: math.MaxUint16 - 1}
		var sq, cq buffer
		for _, p := range []struct {
			a    *arena
			b    *buffer
			size int
		}{
			{r, &sq, laneSQEntries * hci.SQESize}, {r, &l.host, hci.PageSize}, {r, &l.prompt, sizes.prompt},
			{r, &l.bias, sizes.bias}, {r, &l.masks, sizes.masks},
			{w, &cq, laneCQEntries * hci.CQESize}, {w, &l.ring, sizes.ring}, {w, &l.block, hci.CardBlockSize},
		} {
			if p.size == 0 {
				continue
			}
			if *p.b, err = p.a.take(p.size); err != nil {
				return err
			}
		}
		id := i + 1
		l.q = newQueue(uint16(id), laneSQEntries, queueDepth, sq, cq, c.db, id*c.stride)
		if c.caps.Features&hci.FeatureShadow != 0 {
			cell := id * hci.ShadowStride
			l.q.shadow = c.shadow.b[cell : cell+hci.ShadowStride]
			l.q.event = c.event.b[cell : cell+hci.ShadowStride]
		}
		c.all = append(c.all, l)
		c.lanes <- l
	}
	return nil
}

// Sessions is how many sessions this driver can have open at once.
func (c *Card) Sessions() int { return len(c.all) }

// takeLane waits for an idle lane and makes its queue pair if need be.
func (c *Card) takeLane(ctx context.Context) (*lane, error) {
	var l *lane
	select {
	case l = <-c.lanes:
	default:
		select {
		case l = <-c.lanes:
		case <-ctx.Done():
			return nil, fmt.Errorf("all %d sessions are in use: %w", len(c.all), context.Cause(ctx))
		}
	}
	if err := c.readyLane(ctx, l); err != nil {
		c.lanes <- l
		return nil, err
	}
	return l, nil
}

// readyLane creates the lane's queue pair on the card unless it is there.
func (c *Card) readyLane(ctx context.Context, l *lane) error {
	c.adminMu.Lock()
	defer c.adminMu.Unlock()
	if c.closed {
		return ErrClosed
	}
	if gen := c.gen.Load() + 1; l.gen != gen {
		if err := c.createQueue(ctx, l); err != nil {
			return err
		}
		l.gen = c.gen.Load() + 1
	}
	return nil
}

func (c *Card) createQueue(ctx context.Context, l *lane) error {
	q := l.q
	q.reset()
	cq := hci.SQE{OPC: hci.AdminCreateIOCQ, PRP1: q.cq.iova}
	cq.Put(hci.CreateIOCQQID, uint64(q.id))
	cq.Put(hci.CreateIOCQQsize, uint64(q.size-1))
	cq.Put(hci.CreateIOCQPC, 1)
	cq.Put(hci.CreateIOCQIEN, 1)
	cq.Put(hci.CreateIOCQIV, uint64(q.id))
	if _, err := c.commandLocked(ctx, &cq); err != nil {
		return err
	}
	sq := hci.SQE{OPC: hci.AdminCreateIOSQ, PRP1: q.sq.iova}
	sq.Put(hci.CreateIOSQQID, uint64(q.id))
	sq.Put(hci.CreateIOSQQsize, uint64(q.size-1))
	sq.Put(hci.CreateIOSQPC, 1)
	sq.Put(hci.CreateIOSQCQID, uint64(q.id))
	_, err := c.commandLocked(ctx, &sq)
	return err
}

// giveLane zeroes what a session left and makes the lane idle.
func (c *Card) giveLane(l *lane) {
	for _, b := range []buffer{l.host, l.prompt, l.bias, l.masks, l.ring, l.block} {
		clear(b.b)
	}
	c.lanes <- l
}
