package driver

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// Log reads n bytes of a log page from offset off, both multiples of 4.
// retain keeps the page's asynchronous event from being reported again.
func (c *Card) Log(ctx context.Context, lid uint8, off, n int, retain bool) ([]byte, error) {
	if n <= 0 || n%4 != 0 || off < 0 || off%4 != 0 {
		return nil, fmt.Errorf("log page %#02x: bytes %d..%d: %w", lid, off, off+n, ErrInvalid)
	}
	c.adminMu.Lock()
	defer c.adminMu.Unlock()
	out := make([]byte, 0, n)
	for len(out) < n {
		k := min(n-len(out), hci.PageSize)
		e := hci.SQE{OPC: hci.AdminGetLogPage, PRP1: c.page.iova}
		e.Put(hci.GetLogPageLID, uint64(lid))
		e.Put(hci.GetLogPageNUMD, uint64(k/4-1))
		e.Put(hci.GetLogPageLPO, uint64(off+len(out)))
		if retain {
			e.Put(hci.GetLogPageRAE, 1)
		}
		if _, err := c.commandLocked(ctx, &e); err != nil {
			return nil, fmt.Errorf("log page %#02x: %w", lid, err)
		}
		out = append(out, c.page.b[:k]...)
	}
	return out, nil
}

// Telemetry reads sensors and counters.
func (c *Card) Telemetry(ctx context.Context) (hci.Telemetry, error) {
	var t hci.Telemetry
	b, err := c.Log(ctx, hci.LogTelemetry, 0, 256, false)
	if err != nil {
		return t, err
	}
	return t, hci.Unmarshal(b, &t)
}

// entries reads a log page of fixed-size entries, up to the first empty one.
func entries[T any](ctx context.Context, c *Card, lid uint8, size, max int, empty func(*T) bool) ([]T, error) {
	b, err := c.Log(ctx, lid, 0, size*max, false)
	if err != nil {
		return nil, err
	}
	var out []T
	for i := range max {
		var e T
		if err := hci.Unmarshal(b[i*size:(i+1)*size], &e); err != nil {
			return nil, err
		}
		if empty(&e) {
			break
		}
		out = append(out, e)
	}
	return out, nil
}

// ErrorLog reads the ERROR log, newest first.
func (c *Card) ErrorLog(ctx context.Context) ([]hci.ErrorEntry, error) {
	return entries(ctx, c, hci.LogError, 64, int(c.caps.ELPE)+1, func(e *hci.ErrorEntry) bool { return e.Count == 0 })
}

// EventLog reads the event log, newest first.
func (c *Card) EventLog(ctx context.Context) ([]hci.EventEntry, error) {
	return entries(ctx, c, hci.LogEvents, 32, 128, func(e *hci.EventEntry) bool { return e.Number == 0 })
}

// SessionLog reads the state of every session slot.
func (c *Card) SessionLog(ctx context.Context) ([]hci.SessionEntry, error) {
	return entries(ctx, c, hci.LogSessions, 64, int(c.caps.Sessions), func(*hci.SessionEntry) bool { return false })
}

// FirmwareLog reads the firmware slots.
func (c *Card) FirmwareLog(ctx context.Context) (hci.FirmwareLog, error) {
	var f hci.FirmwareLog
	b, err := c.Log(ctx, hci.LogFirmware, 0, 512, false)
	if err != nil {
		return f, err
	}
	return f, hci.Unmarshal(b, &f)
}

// SelfTestLog reads the result of the last self-test.
func (c *Card) SelfTestLog(ctx context.Context) (hci.SelfTestLog, error) {
	var f hci.SelfTestLog
	b, err := c.Log(ctx, hci.LogSelfTest, 0, 64, false)
	if err != nil {
		return f, err
	}
	return f, hci.Unmarshal(b, &f)
}

// StartSelfTest starts a self-test: 1 short, 2 extended, 0xF aborts.
func (c *Card) StartSelfTest(ctx context.Context, code uint8) error {
	e := hci.SQE{OPC: hci.AdminSelfTest}
	e.Put(hci.SelfTestSTC, uint64(code))
	_, err := c.command(ctx, &e)
	return err
}

// Health copies the health record from memory; it costs no MMIO. The record
// is as old as the interval at best: compare Sequence with an earlier one to
// tell a live card from a dead one.
func (c *Card) Health() (hci.Health, error) {
	var b [hci.HealthSize]byte
	// The last 8 bytes are written last. Reading them before and after the
	// rest tells a copy that the card wrote into from a whole one.
	for range 8 {
		tail := load64(c.health.b, hci.HealthOffRGEN)
		for off := 0; off < hci.HealthOffRGEN; off += 8 {
			binary.LittleEndian.PutUint64(b[off:], load64(c.health.b, off))
		}
		binary.LittleEndian.PutUint64(b[hci.HealthOffRGEN:], tail)
		if tail == 0 {
			return hci.Health{}, fmt.Errorf("the card has not written its health record yet: %w", ErrTimeout)
		}
		if h, err := hci.DecodeHealth(&b); err == nil {
			return h, nil
		}
	}
	return hci.Health{}, fmt.Errorf("health record does not match its crc: %w", ErrProtocol)
}

// SetFeature sets a feature (docs/hci.md section 18).
func (c *Card) SetFeature(ctx context.Context, fid uint8, v uint32) error {
	e := hci.SQE{OPC: hci.AdminSetFeatures}
	e.Put(hci.SetFeaturesFID, uint64(fid))
	e.Put(hci.SetFeaturesValue, uint64(v))
	_, err := c.command(ctx, &e)
	return err
}

// Feature reads the current value of a feature.
func (c *Card) Feature(ctx context.Context, fid uint8) (uint32, error) {
	e := hci.SQE{OPC: hci.AdminGetFeatures}
	e.Put(hci.GetFeaturesFID, uint64(fid))
	cqe, err := c.command(ctx, &e)
	return cqe.dw0(), err
}

// Registers reads every register of BAR0, in the order of hci.Registers.
func (c *Card) Registers() []uint64 {
	out := make([]uint64, len(hci.Registers))
	for i, r := range hci.Registers {
		if r.Bits == 64 {
			out[i] = c.regs.Load64(int(r.Offset))
		} else {
			out[i] = uint64(c.regs.Load32(int(r.Offset)))
		}
	}
	return out
}
