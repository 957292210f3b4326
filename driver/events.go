package driver

import (
	"context"
	"fmt"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/hci"
)

// Event is something the card, or the bus, reported on its own.
type Event struct {
	Code uint8  // docs/hci.md section 17.3; 0 for events of the bus
	Name string // e.g. THROTTLE
	Log  uint8  // log page that has more
	Bus  hal.Event
}

// maxEvents bounds what is kept for a caller that never asks.
const maxEvents = 64

// requestEvent gives the card one more ASYNC EVENT REQUEST to complete.
func (c *Card) requestEvent() error {
	e := hci.SQE{OPC: hci.AdminAsyncEventRequest}
	i, err := c.admin.submit(&e)
	if err != nil {
		return fmt.Errorf("ASYNC_EVENT_REQUEST: %w", err)
	}
	c.aers = append(c.aers, i)
	return nil
}

// noteEvent files the event of a completed request. The card is not trusted
// with the code: one that is unknown gets its number as a name.
func (c *Card) noteEvent(dw0 uint32) {
	e := Event{Code: uint8(dw0 >> 8), Log: uint8(dw0 >> 16)}
	e.Name = fmt.Sprintf("event %#02x", e.Code)
	for _, k := range hci.Events {
		if k.Code == e.Code {
			e.Name = k.Name
		}
	}
	if len(c.events) < maxEvents {
		c.events = append(c.events, e)
	}
	c.log.Info("card event", "event", e.Name)
}

// Events returns what has happened since the last call, oldest first. For
// each event of the card it reads the log page that the event names, which
// makes the card report the next one of its kind.
func (c *Card) Events(ctx context.Context) ([]Event, error) {
	c.adminMu.Lock()
	defer c.adminMu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	var out []Event
	c.Wanted()
	c.busMu.Lock()
	bus := c.bus
	c.bus = nil
	c.busMu.Unlock()
	for _, b := range bus {
		out = append(out, Event{Name: b.Detail, Bus: b})
		if b.Kind == hal.EventLost {
			c.lost.Store(true)
		}
	}
	if c.lost.Load() {
		return out, ErrCardLost
	}
	c.pollAdmin()
	took := c.events
	c.events = nil
	out = append(out, took...)
	seen := map[uint8]bool{}
	for _, e := range took {
		if err := c.requestEvent(); err != nil {
			return out, err
		}
		if seen[e.Log] {
			continue
		}
		seen[e.Log] = true
		g := hci.SQE{OPC: hci.AdminGetLogPage, PRP1: c.page.iova}
		g.Put(hci.GetLogPageLID, uint64(e.Log))
		g.Put(hci.GetLogPageNUMD, 15)
		if _, err := c.commandLocked(ctx, &g); err != nil {
			return out, err
		}
	}
	c.admin.ring()
	return out, nil
}

// Wanted reports whether the kernel, or a card's server, wants the card back.
// It asks the bus, not the card, and what else the bus has to tell is kept for
// Events. Any goroutine may call it.
func (c *Card) Wanted() bool {
	for _, b := range c.fn.Events() {
		c.busMu.Lock()
		if len(c.bus) < maxEvents {
			c.bus = append(c.bus, b)
		}
		c.wanted = c.wanted || b.Kind == hal.EventRemoval
		c.busMu.Unlock()
	}
	c.busMu.Lock()
	defer c.busMu.Unlock()
	return c.wanted
}
