package driver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// command runs one admin command from any goroutine. A card that does not
// answer within the bound is taken up the ladder (recover.go) before the
// error is returned.
func (c *Card) command(ctx context.Context, e *hci.SQE) (completion, error) {
	c.adminMu.Lock()
	defer c.adminMu.Unlock()
	return c.commandLocked(ctx, e)
}

func (c *Card) commandLocked(ctx context.Context, e *hci.SQE) (completion, error) {
	if c.closed {
		return completion{}, ErrClosed
	}
	if c.lost.Load() {
		return completion{}, ErrCardLost
	}
	cqe, err := c.adminLocked(ctx, e)
	if errors.Is(err, ErrTimeout) {
		if rerr := c.resetLocked("admin " + err.Error()); rerr != nil {
			return cqe, rerr
		}
		return cqe, fmt.Errorf("%w: %w", ErrReset, err)
	}
	return cqe, err
}

// adminLocked submits and waits. Admin commands own shared buffers, so a
// cancelled context does not abandon them: they are short, and bounded.
func (c *Card) adminLocked(ctx context.Context, e *hci.SQE) (completion, error) {
	if err := ctx.Err(); err != nil {
		return completion{}, context.Cause(ctx)
	}
	name := opName(e.OPC, true)
	i, err := c.admin.submit(e)
	if err != nil {
		return completion{}, fmt.Errorf("%s: %w", name, err)
	}
	c.admin.ring()
	var cqe completion
	w := waiter{c: c, gen: c.gen.Load(), vector: 0, end: c.clock.Now() + c.bound(boundAdmin)}
	err = w.wait(func() (bool, error) {
		c.pollAdmin()
		var ok bool
		cqe, ok = c.admin.done(i)
		return ok, nil
	})
	if err != nil {
		c.admin.abandon(i)
		return cqe, fmt.Errorf("%s: %w", name, err)
	}
	return cqe, failure(cqe, e.OPC, true)
}

// pollAdmin takes completions of the admin queue and sorts out the
// asynchronous events among them.
func (c *Card) pollAdmin() {
	if c.admin.poll(adminEntries) == 0 {
		return
	}
	keep := c.aers[:0]
	for _, i := range c.aers {
		cqe, ok := c.admin.done(i)
		if !ok {
			keep = append(keep, i)
			continue
		}
		if cqe.status() == hci.StatusSuccess {
			c.noteEvent(cqe.dw0())
		}
	}
	c.aers = keep
}

// waiter is one bounded wait for something the card writes to memory: spin,
// then block on an interrupt, by the policy of the card's Config.
type waiter struct {
	c      *Card
	gen    uint32
	vector int
	end    int64       // when the bound has passed
	arm    func() bool // asks for the interrupt; false: look again instead
}

// blockSlice bounds one block, so that a lost interrupt (or a reset by
// another goroutine) costs no more than this before memory is looked at.
const blockSlice = 20 * time.Millisecond

// aliveEvery is how long a wait goes on before configuration space is asked
// whether the card is still there: a lost card writes no completion, and the
// bounds of section 23 are seconds.
const aliveEvery = 250 * time.Millisecond

// fruitlessSpin is half of how long a wait polls after its first interrupt
// that announced nothing.
const fruitlessSpin = 5 * time.Microsecond

// spinTurns is how many idle turns pass between looks at the clock: a clock
// read costs as much as a turn.
const spinTurns = 16

// wait calls ready until it is true or fails; ErrTimeout when the bound ends.
func (w *waiter) wait(ready func() (bool, error)) error {
	c := w.c
	now := c.clock.Now()
	look := now + int64(aliveEvery)
	spinEnd := now + int64(c.cfg.SpinFor)
	switch c.cfg.Spin {
	case SpinAlways:
		spinEnd = w.end
	case SpinOff:
		spinEnd = now
	}
	fruitless := 0
	for turn := 1; ; turn++ {
		if ok, err := ready(); ok || err != nil {
			return err
		}
		if turn%spinTurns != 0 && now < spinEnd {
			c.clock.Relax()
			continue
		}
		if err := c.alive(w.gen); err != nil {
			return err
		}
		if now = c.clock.Now(); now > w.end {
			return ErrTimeout
		}
		if now > look {
			look = now + int64(aliveEvery)
			if err := c.gone(); err != nil {
				return err
			}
		}
		if now < spinEnd || w.vector >= len(c.vectors) {
			c.clock.Relax()
			continue
		}
		if w.arm != nil && !w.arm() {
			continue
		}
		// Between the last look and the interrupt being asked for, the card
		// may have written: look once more before blocking.
		if ok, err := ready(); ok || err != nil {
			return err
		}
		c.stats.Blocks.Add(1)
		fired, err := c.vectors[w.vector].Wait(min(blockSlice, time.Duration(w.end-now)+time.Microsecond))
		if err != nil {
			return fmt.Errorf("wait for interrupt %d: %w", w.vector, err)
		}
		if !fired {
			// Rung 0 of the ladder: memory is the truth, an interrupt a hint.
			if ok, err := ready(); ok || err != nil {
				if ok {
					c.stats.LostInterrupts.Add(1)
				}
				return err
			}
		}
		// An interrupt that announced nothing: the card has not got round to
		// what is waited for, or is stuck. Poll for a while, longer each
		// time, rather than ask for the next one at once.
		fruitless++
		spinEnd = c.clock.Now() + int64(fruitlessSpin)<<min(fruitless, 8)
	}
}
