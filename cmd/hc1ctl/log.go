package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/output"
)

// logPages are the arguments of log show.
var logPages = []string{"error", "telemetry", "events", "sessions", "firmware", "selftest"}

func (a *app) logs() *cobra.Command {
	c := &cobra.Command{Use: "log", Short: "Log pages of a card"}
	c.AddCommand(&cobra.Command{
		Use:   "show " + strings.Join(logPages, "|"),
		Short: "Show a log page",
		Long: `Shows a log page of the card (docs/hci.md section 17.2). An emulated card is
powered on by the command, so its logs tell of nothing but that.`,
		Example:   "  hc1ctl log show telemetry --card mock:\n  hc1ctl log show error --card mock: -o json",
		Args:      oneArg("page"),
		ValidArgs: logPages,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(logPages, args[0]) {
				return usagef("log page %q: use %s", args[0], strings.Join(logPages, ", "))
			}
			v, err := a.page(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printer().Print(v)
		},
	})
	return c
}

func (a *app) page(ctx context.Context, name string) (v output.View, err error) {
	c, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	defer c.close(&err)
	switch name {
	case "telemetry":
		t, err := c.Telemetry(ctx)
		tv := viewTelemetry(t)
		tv.Schema = "hc1.log.telemetry/1"
		return tv, err
	case "firmware":
		f, err := c.FirmwareLog(ctx)
		fv := viewFirmware(f)
		fv.Schema = "hc1.log.firmware/1"
		return fv, err
	case "selftest":
		s, err := c.SelfTestLog(ctx)
		return selfTestView{"hc1.log.selftest/1", s.Current, s.Percent, s.Code, s.Result, s.TimeNS}, err
	case "error":
		es, err := c.ErrorLog(ctx)
		ev := errorLogView{Schema: "hc1.log.error/1", Entries: []errorEntry{}}
		for _, e := range es {
			ev.Entries = append(ev.Entries, errorEntry{e.Count, e.TimeNS, e.SQID, e.CID,
				hci.Status(e.Status >> 1).String(), e.SID, e.Code, fmt.Sprintf("%#x", e.IOVA)})
		}
		return ev, err
	case "events":
		es, err := c.EventLog(ctx)
		ev := eventLogView{Schema: "hc1.log.events/1", Entries: []eventEntry{}}
		for _, e := range es {
			ev.Entries = append(ev.Entries, eventEntry{e.Number, e.TimeNS, eventName(e.Code), e.Arg0, e.Arg1})
		}
		return ev, err
	default:
		ss, err := c.SessionLog(ctx)
		sv := sessionLogView{Schema: "hc1.log.sessions/1", Sessions: []sessionEntry{}}
		for i, s := range ss {
			if s.SID != ^uint32(0) {
				sv.Sessions = append(sv.Sessions, sessionEntry{i, s.SID, sessionState(s.State), s.KVLen, s.Charge, s.Tokens})
			}
		}
		return sv, err
	}
}

func eventName(code uint16) string {
	for _, e := range hci.Events {
		if uint16(e.Code) == code {
			return e.Name
		}
	}
	return fmt.Sprintf("%#04x", code)
}

// sessionState names STATE of the SESSIONS log (section 17.2).
func sessionState(s uint8) string {
	names := []string{"free", "idle", "prefill", "decode", "ring full", "choice", "mask"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprint(s)
}

type telemetryView struct {
	Schema         string  `json:"schema,omitempty"`
	UptimeNS       uint64  `json:"uptime_ns"`
	State          string  `json:"state"`
	TempCoreC      float64 `json:"temp_core_c"`
	TempSramC      float64 `json:"temp_sram_c"`
	TempBoardC     float64 `json:"temp_board_c"`
	PowerMW        uint32  `json:"power_mw"`
	PowerCoreMW    uint32  `json:"power_core_mw"`
	PowerSramMW    uint32  `json:"power_sram_mw"`
	PowerIOMW      uint32  `json:"power_io_mw"`
	PowerCapMW     uint32  `json:"power_cap_mw"`
	EnergyMJ       uint64  `json:"energy_mj"`
	ClockCoreMHz   uint16  `json:"clock_core_mhz"`
	ClockSramMHz   uint16  `json:"clock_sram_mhz"`
	Throttle       uint8   `json:"throttle"`
	EccCorrected   uint64  `json:"ecc_corrected"`
	EccUncorrected uint64  `json:"ecc_uncorrected"`
	Tokens         uint64  `json:"tokens"`
	Prefilled      uint64  `json:"prefilled_tokens"`
	Late           uint64  `json:"late_tokens"`
	MaskLate       uint64  `json:"late_masks"`
	RingStalls     uint64  `json:"ring_stalls"`
	BusyNS         uint64  `json:"busy_ns"`
	Commands       uint64  `json:"commands"`
	Interrupts     uint64  `json:"interrupts"`
	DMARead        uint64  `json:"dma_read_bytes"`
	DMAWritten     uint64  `json:"dma_written_bytes"`
	DMAFaults      uint64  `json:"dma_faults"`
}

func viewTelemetry(t hci.Telemetry) telemetryView {
	c := func(v int16) float64 { return float64(v) / 10 }
	return telemetryView{"", t.UptimeNS, healthState(t.State), c(t.TempCore), c(t.TempSram), c(t.TempBoard), t.PowerMW, t.PowerCoreMW, t.PowerSramMW,
		t.PowerIOMW, t.PowerCapMW, t.EnergyMJ, t.ClockCoreMHz, t.ClockSramMHz, t.Throttle, t.EccCorrected, t.EccUncorrected,
		t.Tokens, t.Prefilled, t.Late, t.MaskLate, t.RingStalls, t.BusyNS, t.Commands, t.Interrupts, t.DMARead, t.DMAWritten, t.DMAFaults}
}

func (v telemetryView) Table(t *output.Rows) {
	w := func(mw uint32) string { return fmt.Sprintf("%.1f", float64(mw)/1000) }
	t.Row("state", v.State)
	t.Row("uptime", short(time.Duration(v.UptimeNS)))
	t.Row("temperature", fmt.Sprintf("core %.1f, SRAM %.1f, board %.1f °C", v.TempCoreC, v.TempSramC, v.TempBoardC))
	t.Row("power", fmt.Sprintf("%s W of %s (core %s, SRAM %s, I/O %s)", w(v.PowerMW), w(v.PowerCapMW), w(v.PowerCoreMW), w(v.PowerSramMW), w(v.PowerIOMW)))
	t.Row("energy", fmt.Sprintf("%.3f J", float64(v.EnergyMJ)/1000))
	t.Row("clock", fmt.Sprintf("core %d, SRAM %d MHz, throttle %s", v.ClockCoreMHz, v.ClockSramMHz, throttle(v.Throttle)))
	t.Row("ECC", fmt.Sprintf("%d corrected, %d uncorrected", v.EccCorrected, v.EccUncorrected))
	t.Row("tokens", fmt.Sprintf("%d decoded (%d late), %d prefilled", v.Tokens, v.Late, v.Prefilled))
	t.Row("stalls", fmt.Sprintf("%d on full rings, %d on late masks", v.RingStalls, v.MaskLate))
	t.Row("traffic", fmt.Sprintf("%d commands, %d interrupts, %d B read, %d B written", v.Commands, v.Interrupts, v.DMARead, v.DMAWritten))
	t.Row("DMA faults", v.DMAFaults)
}

// healthState names STATE of the health record (section 17.1).
func healthState(s uint8) string {
	if names := []string{"good", "throttled", "degraded", "failed"}; int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprint(s)
}

func throttle(bits uint8) string {
	var s []string
	for i, n := range []string{"thermal", "power cap", "external"} {
		if bits>>i&1 != 0 {
			s = append(s, n)
		}
	}
	if s == nil {
		return "none"
	}
	return strings.Join(s, ", ")
}

type firmwareView struct {
	Schema   string         `json:"schema,omitempty"`
	Running  uint8          `json:"running_slot"`
	Next     *uint8         `json:"next_slot"`
	Security uint32         `json:"security_version"`
	Slots    []firmwareSlot `json:"slots"`
}

type firmwareSlot struct {
	Slot      int     `json:"slot"`
	Name      string  `json:"name"`
	Revision  *string `json:"revision"`
	Bootable  bool    `json:"bootable"`
	Confirmed bool    `json:"confirmed"`
}

func viewFirmware(f hci.FirmwareLog) firmwareView {
	v := firmwareView{Running: f.AFI & 7, Security: f.Security}
	if n := f.AFI >> 4 & 7; n != 0 {
		v.Next = &n
	}
	for i, name := range []string{"golden", "A", "B"} {
		s := firmwareSlot{Slot: i, Name: name, Bootable: f.Bootable>>i&1 != 0, Confirmed: f.Confirmed>>i&1 != 0}
		if rev := hci.Text(f.FR[i][:]); rev != "" {
			s.Revision = &rev
		}
		v.Slots = append(v.Slots, s)
	}
	return v
}

func (v firmwareView) Table(t *output.Rows) {
	t.Row("SLOT", "REVISION", "BOOTABLE", "CONFIRMED", "RUNNING")
	for _, s := range v.Slots {
		t.Row(s.Name, orMissing(s.Revision), yes(s.Bootable), yes(s.Confirmed), yes(s.Slot == int(v.Running)))
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

type selfTestView struct {
	Schema  string `json:"schema"`
	Running uint8  `json:"running_test"`
	Percent uint8  `json:"percent"`
	Last    uint8  `json:"last_test"`
	Result  uint8  `json:"result"`
	TimeNS  uint64 `json:"time_ns"`
}

func (v selfTestView) Table(t *output.Rows) {
	names := []string{"passed", "aborted", "weights differ", "forward pass differs", "memory"}
	switch {
	case v.Running != 0:
		t.Line("self-test %d is running, %d%% done", v.Running, v.Percent)
	case v.Last == 0:
		t.Line("no self-test has run since power-on")
	default:
		t.Line("self-test %d: %s, %v after reset", v.Last, names[min(int(v.Result), len(names)-1)], time.Duration(v.TimeNS))
	}
}

type errorLogView struct {
	Schema  string       `json:"schema"`
	Entries []errorEntry `json:"entries"`
}

type errorEntry struct {
	Number uint64 `json:"number"`
	TimeNS uint64 `json:"time_ns"`
	Queue  uint16 `json:"queue"`
	CID    uint16 `json:"command_id"`
	Status string `json:"status"`
	SID    uint32 `json:"session_id"`
	Fatal  uint32 `json:"fatal"`
	IOVA   string `json:"iova"`
}

func (v errorLogView) Table(t *output.Rows) {
	if len(v.Entries) == 0 {
		t.Line("no errors since power-on")
		return
	}
	t.Row("NO", "TIME", "QUEUE", "CID", "STATUS", "SESSION", "IOVA")
	for _, e := range v.Entries {
		t.Row(e.Number, time.Duration(e.TimeNS), e.Queue, fmt.Sprintf("%#04x", e.CID), e.Status, fmt.Sprintf("%#x", e.SID), e.IOVA)
	}
}

type eventLogView struct {
	Schema  string       `json:"schema"`
	Entries []eventEntry `json:"entries"`
}

type eventEntry struct {
	Number uint32 `json:"number"`
	TimeNS uint64 `json:"time_ns"`
	Event  string `json:"event"`
	Arg0   uint64 `json:"arg0"`
	Arg1   uint64 `json:"arg1"`
}

func (v eventLogView) Table(t *output.Rows) {
	if len(v.Entries) == 0 {
		t.Line("no events since power-on")
		return
	}
	t.Row("NO", "TIME", "EVENT", "ARG0", "ARG1")
	for _, e := range v.Entries {
		t.Row(e.Number, time.Duration(e.TimeNS), e.Event, fmt.Sprintf("%#x", e.Arg0), fmt.Sprintf("%#x", e.Arg1))
	}
}

type sessionLogView struct {
	Schema   string         `json:"schema"`
	Sessions []sessionEntry `json:"sessions"`
}

type sessionEntry struct {
	Slot   int    `json:"slot"`
	SID    uint32 `json:"session_id"`
	State  string `json:"state"`
	KVLen  uint32 `json:"kv_tokens"`
	Charge uint32 `json:"charged_tokens"`
	Tokens uint64 `json:"decoded_tokens"`
}

func (v sessionLogView) Table(t *output.Rows) {
	if len(v.Sessions) == 0 {
		t.Line("no session is open")
		return
	}
	t.Row("SLOT", "SESSION", "STATE", "KV", "CHARGED", "DECODED")
	for _, s := range v.Sessions {
		t.Row(s.Slot, fmt.Sprintf("%#x", s.SID), s.State, s.KVLen, s.Charge, s.Tokens)
	}
}
