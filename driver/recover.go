package driver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/hci"
)

// The ladder: what is done when the card does not answer in its bound. Each
// rung is bounded, logged, and verified before it counts as success:
//
//	poll     the completion may be there and only its interrupt lost (admin.go)
//	abort    the admin queue works: have the card give the command up
//	rebuild  delete and create the queue pair; sessions live on
//	FLR      function level reset and bring-up; sessions are gone
//	hot      hot reset, where the backend offers it
//	lost     nothing helped
//
// rungBound is how long an aborted or rebuilt command may still take: a step
// of every session, with room.
const rungBound = time.Second

// climb deals with a session's command that timed out. It returns nil when
// its completion came after all, and ErrReset, ErrCardLost or ErrTimeout
// when the command is gone. ready is the wait's own test.
func (s *Session) climb(slot uint16, what string, ready func() (bool, error)) error {
	c := s.c
	if ok, err := ready(); ok || err != nil {
		c.log.Warn("ladder: completion was there", "queue", s.l.q.id, "command", what)
		return err
	}
	if err := c.gone(); err != nil {
		return c.revive(s.gen, err)
	}
	found, err := c.abort(s.l.q, slot)
	if err != nil {
		return err
	}
	if found {
		// ABORT's completion comes after the command's own.
		w := waiter{c: c, gen: s.gen, vector: int(s.l.q.id), end: c.clock.Now() + c.bound(rungBound)}
		if err := w.wait(ready); err == nil || !errors.Is(err, ErrTimeout) {
			c.stats.Aborts.Add(1)
			return err
		}
	}
	if err := s.rebuild(what); err != nil {
		return err
	}
	return fmt.Errorf("queue %d was rebuilt: %w", s.l.q.id, ErrTimeout)
}

// rescue deals with a stream that made no progress in its bound. nil means
// that it goes on (or has ended in order).
func (t *Stream) rescue() error {
	s, c := t.s, t.s.c
	t.res.HostStall = true
	c.log.Warn("ladder: stream stalled", "slot", s.slot(), "next", t.seq, "bound", time.Duration(t.bound))
	if err := c.gone(); err != nil {
		return c.revive(s.gen, err)
	}
	slot := t.generate
	if slot < 0 {
		return fmt.Errorf("stream without a command: %w", ErrTimeout)
	}
	found, err := c.abort(s.l.q, uint16(slot))
	if err != nil {
		return err
	}
	if found {
		end := c.clock.Now() + c.bound(rungBound)
		for c.clock.Now() <= end {
			s.l.q.poll(queueDepth)
			t.completions()
			if t.complete {
				c.stats.Aborts.Add(1)
				if t.err == nil {
					t.err = ErrTimeout
				} else {
					t.err = fmt.Errorf("%w: %w", ErrTimeout, t.err)
				}
				t.progress = c.clock.Now()
				return nil
			}
			c.clock.Relax()
		}
	}
	if err := s.rebuild("GENERATE"); err != nil {
		return err
	}
	t.truncate, t.prefill, t.generate, t.cancelSent = -1, -1, -1, -1
	t.unsettle()
	return fmt.Errorf("no record in %v; queue %d was rebuilt: %w", time.Duration(t.bound), s.l.q.id, ErrTimeout)
}

// gone confirms with configuration space whether the card left the bus, and
// asks a card that is there whether its controller has stopped: nothing but a
// reset helps then, and waiting for a bound to pass helps nobody. Such an
// error is an ErrTimeout, which sends its caller up the ladder.
func (c *Card) gone() error {
	id, err := c.fn.ReadConfig(0, 4)
	if err == nil && id != allOnes {
		if v := c.regs.Load32(hci.RegCSTS); v != allOnes && hci.CSTSCFS.Get(uint64(v)) != 0 {
			return fmt.Errorf("controller fatal, %s: %w", fatalName(c.regs.Load32(hci.RegFERR)), ErrTimeout)
		}
		return nil
	}
	c.lost.Store(true)
	c.log.Error("card lost", "serial", c.Serial())
	return errors.Join(ErrCardLost, err)
}

// revive resets a card whose controller has stopped, unless somebody has
// already. It returns why a session of generation gen is over.
func (c *Card) revive(gen uint32, why error) error {
	if !errors.Is(why, ErrTimeout) {
		return why // it is not there to be reset
	}
	c.adminMu.Lock()
	defer c.adminMu.Unlock()
	if c.closed {
		return ErrClosed
	}
	if err := c.alive(gen); err != nil {
		return err
	}
	if err := c.resetLocked(why.Error()); err != nil {
		return err
	}
	return fmt.Errorf("%w: %v", ErrReset, why)
}

// abort is rung 2. found says whether the card knew the command.
func (c *Card) abort(q *queue, slot uint16) (found bool, err error) {
	e := hci.SQE{OPC: hci.AdminAbort}
	e.Put(hci.AbortSQID, uint64(q.id))
	e.Put(hci.AbortCID, uint64(q.cid(slot)))
	cqe, err := c.command(context.Background(), &e)
	c.log.Warn("ladder: abort", "queue", q.id, "cid", q.cid(slot), "found", cqe.dw0()&1 == 0, "err", err)
	if _, answered := StatusOf(err); answered {
		return false, nil
	}
	return err == nil && cqe.dw0()&1 == 0, err
}

// rebuild is rung 3: a fresh queue pair under the same number. Commands that
// were outstanding are gone.
func (s *Session) rebuild(what string) error {
	c, q := s.c, s.l.q
	c.adminMu.Lock()
	defer c.adminMu.Unlock()
	if err := c.alive(s.gen); err != nil {
		return err
	}
	ctx := context.Background()
	err := func() error {
		for _, op := range []uint8{hci.AdminDeleteIOSQ, hci.AdminDeleteIOCQ} {
			e := hci.SQE{OPC: op}
			e.Put(hci.DeleteIOSQQID, uint64(q.id))
			if _, err := c.commandLocked(ctx, &e); err != nil {
				return err
			}
		}
		return c.createQueue(ctx, s.l)
	}()
	c.log.Warn("ladder: queue rebuilt", "queue", q.id, "command", what, "err", err)
	if err == nil {
		c.stats.Rebuilds.Add(1)
		return nil
	}
	if _, answered := StatusOf(err); answered {
		return c.resetLocked(fmt.Sprintf("queue %d could not be rebuilt", q.id))
	}
	return err
}

// reap closes sessions that are open on the card and belong to nobody: what
// an OPEN or FORK leaves whose completion never came. l is the lane of the
// failed command, its queue pair rebuilt.
func (c *Card) reap(l *lane) {
	open, err := c.SessionLog(context.Background())
	if err != nil {
		c.log.Warn("ladder: sessions cannot be listed", "err", err)
		return
	}
	c.ownMu.Lock()
	defer c.ownMu.Unlock()
	for _, e := range open {
		if e.SID == allOnes || c.owned[e.SID] {
			continue
		}
		s := &Session{c: c, l: l, gen: l.gen - 1}
		sqe := hci.SQE{OPC: hci.OpClose, SID: e.SID}
		_, err := s.run(&sqe, int64(boundIO))
		c.log.Warn("ladder: orphan session closed", "sid", e.SID, "err", err)
	}
}

// Reset takes the card down and up again by FLR. All sessions are gone.
func (c *Card) Reset(why string) error { return c.reset(why) }

func (c *Card) reset(why string) error {
	c.adminMu.Lock()
	defer c.adminMu.Unlock()
	if c.closed {
		return ErrClosed
	}
	return c.resetLocked(why)
}

// resetLocked is rungs 4 and up. It returns nil when the card is READY again
// and answered its first commands; else the card is lost.
func (c *Card) resetLocked(why string) error {
	if c.lost.Load() {
		return ErrCardLost
	}
	c.gen.Add(1) // sessions see it before the card forgets them
	var errs []error
	for _, rung := range []struct {
		level hal.Level
		name  string
	}{{hal.ResetFLR, "FLR"}, {hal.ResetHot, "hot reset"}} {
		c.log.Warn("ladder: "+rung.name, "serial", c.Serial(), "why", why)
		err := c.fn.Reset(rung.level)
		if err == nil {
			err = c.busMaster(true)
		}
		if err == nil {
			err = c.bringUp(context.Background())
		}
		if err == nil {
			c.stats.Resets.Add(1)
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", rung.name, err))
		c.log.Error("ladder: "+rung.name+" failed", "err", err)
	}
	c.lost.Store(true)
	return errors.Join(append([]error{ErrCardLost}, errs...)...)
}
