package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hc1-toolkit/hc1/driver"
	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/address"
	"github.com/hc1-toolkit/hc1/internal/output"
	"github.com/hc1-toolkit/hc1/internal/pci"
)

func (a *app) device() *cobra.Command {
	c := &cobra.Command{Use: "device", Short: "Cards: list and show"}
	var sysfs string
	list := &cobra.Command{
		Use:   "list",
		Short: "List the cards of this machine",
		Long: `Lists the cards of this machine by PCI address: functions of the class of
processing accelerators with the ids of this interface. The ids are
placeholders: nothing is bound by them alone. With --card it lists the
emulated cards of a mock: address.`,
		Example: "  hc1ctl device list\n  hc1ctl device list --card 'mock:?cards=3' -o json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := a.list(cmd.Context(), sysfs)
			if err != nil {
				return err
			}
			return a.printer().Print(v)
		},
	}
	list.Flags().StringVar(&sysfs, "sysfs", "/", "root of the file system that has sysfs")
	if err := list.Flags().MarkHidden("sysfs"); err != nil {
		panic(err)
	}
	c.AddCommand(list, &cobra.Command{
		Use:   "show",
		Short: "Show a card: model, limits, sensors, firmware",
		Long: `Brings the card up and shows its capability page, its sensors and its firmware
slots. Power, temperature and energy of an emulated card are modelled.`,
		Example: "  hc1ctl device show --card mock:\n  hc1ctl device show --card mock: -o json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := a.show(cmd.Context())
			if err != nil {
				return err
			}
			return a.printer().Print(v)
		},
	})
	return c
}

type deviceList struct {
	Schema  string      `json:"schema"`
	Devices []deviceRow `json:"devices"`
}

type deviceRow struct {
	Index  int     `json:"index"`
	Card   string  `json:"card"`
	Serial *string `json:"serial"`
	Model  *string `json:"model"`
	Driver *string `json:"driver"`
	NUMA   *int    `json:"numa"`
}

func (l deviceList) Table(t *output.Rows) {
	t.Row("IDX", "CARD", "SERIAL", "MODEL", "DRIVER")
	for _, d := range l.Devices {
		t.Row(d.Index, clip(d.Card, 24), orMissing(d.Serial), clip(orMissing(d.Model), 16), clip(orMissing(d.Driver), 10))
	}
}

func orMissing(s *string) string {
	if s == nil {
		return output.Missing
	}
	return *s
}

func (a *app) list(ctx context.Context, sysfs string) (deviceList, error) {
	v := deviceList{Schema: "hc1.device.list/1"}
	if a.card == "" {
		var err error
		if v.Devices, err = scan(sysfs); err == nil && len(v.Devices) == 0 {
			err = fmt.Errorf("no card in this machine: %w", errNoCard)
		}
		return v, err
	}
	addr, err := address.Parse(a.card)
	if err != nil {
		return v, tag(errAddress, err)
	}
	for i := range max(addr.Cards, 1) {
		row := deviceRow{Index: i, Card: addr.String()}
		if err := func() (err error) {
			c, err := a.openAt(ctx, addr, i)
			if err != nil {
				return err
			}
			defer c.close(&err)
			serial, model := c.Serial(), modelName(c)
			row.Serial, row.Model = &serial, &model
			return nil
		}(); err != nil {
			return v, err
		}
		v.Devices = append(v.Devices, row)
	}
	return v, nil
}

// scan lists the cards of a machine by class and the placeholder ids.
func scan(root string) ([]deviceRow, error) {
	cards, err := pci.Tree(root).Cards()
	if err != nil {
		return nil, err
	}
	var rows []deviceRow
	for i, c := range cards {
		row := deviceRow{Index: i, Card: c.BDF}
		if c.Driver != "" {
			row.Driver = &c.Driver
		}
		if c.NUMA >= 0 {
			row.NUMA = &c.NUMA
		}
		if c.Serial != "" {
			row.Serial = &c.Serial
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func modelName(c *attached) string {
	caps := c.Capabilities()
	return hci.Text(caps.ModelName[:])
}

func siliconName(c *attached) string {
	caps := c.Capabilities()
	return hci.Text(caps.Silicon[:])
}

// deviceShow is the result of device show.
type deviceShow struct {
	Schema   string        `json:"schema"`
	Card     string        `json:"card"`
	Way      string        `json:"reached_by"`
	Serial   string        `json:"serial"`
	Product  string        `json:"product"`
	Firmware string        `json:"firmware"`
	HCI      string        `json:"hci"`
	Model    modelInfo     `json:"model"`
	Limits   limits        `json:"limits"`
	Features []string      `json:"features"`
	Health   *healthView   `json:"health"`
	Sensors  telemetryView `json:"telemetry"`
	Slots    firmwareView  `json:"firmware_slots"`
}

// healthView is the health record; null where the card wrote none in time.
type healthView struct {
	State    string `json:"state"`
	Sequence uint32 `json:"sequence"`
	Open     uint16 `json:"open_sessions"`
	Runnable uint16 `json:"runnable_sessions"`
	KVUsed   uint32 `json:"kv_charged_tokens"`
	Errors   uint32 `json:"errors"`
	Late     uint32 `json:"late_tokens"`
}

// healthWait is how long the first health record may take: it comes every
// 100 ms.
const healthWait = 300 * time.Millisecond

func (c *attached) health(ctx context.Context) *healthView {
	clock := c.via.Clock
	if clock == nil {
		clock = driver.RealClock()
	}
	for end := clock.Now() + int64(healthWait); clock.Now() < end && ctx.Err() == nil; {
		h, err := c.Health()
		if err == nil {
			return &healthView{healthState(h.State), h.Sequence, h.Open, h.Runnable, h.KVUsed, h.Errors, h.Late}
		}
		if c.via.Clock == nil {
			time.Sleep(time.Millisecond)
		}
		clock.Relax()
	}
	return nil
}

type modelInfo struct {
	Name       string `json:"name"`
	ID         string `json:"id"`
	NumericsID uint32 `json:"numerics_id"`
	Silicon    string `json:"silicon"`
	Vocabulary uint32 `json:"vocabulary"`
}

type limits struct {
	Context    uint32 `json:"context_tokens"`
	KVBudget   uint32 `json:"kv_budget_tokens"`
	Sessions   uint16 `json:"sessions"`
	Candidates uint8  `json:"top_k"`
	StopIDs    uint8  `json:"stop_ids"`
	Bias       uint32 `json:"bias_entries"`
	TokenNS    uint32 `json:"token_ns"`
	PrefillNS  uint32 `json:"prefill_token_ns"`
	PowerMinMW uint32 `json:"power_min_mw"`
	PowerMaxMW uint32 `json:"power_max_mw"`
}

func (a *app) show(ctx context.Context) (v deviceShow, err error) {
	c, err := a.open(ctx)
	if err != nil {
		return v, err
	}
	defer c.close(&err)
	tel, err := c.Telemetry(ctx)
	if err != nil {
		return v, err
	}
	fw, err := c.FirmwareLog(ctx)
	if err != nil {
		return v, err
	}
	caps := c.Capabilities()
	v = deviceShow{
		Schema: "hc1.device.show/1", Card: a.card, Way: c.via.Way, Serial: c.Serial(), Product: hci.Text(caps.MN[:]), Firmware: hci.Text(caps.FR[:]),
		HCI:   fmt.Sprintf("%d.%d", caps.VER>>16, caps.VER>>8&0xFF),
		Model: modelInfo{modelName(c), fmt.Sprintf("%x", caps.ModelID), caps.NumericsID, siliconName(c), caps.Vocab},
		Limits: limits{caps.Context, caps.KVBudget, caps.Sessions, caps.Candidates, caps.MaxStop, caps.MaxBias,
			caps.TokenNS, caps.PrefillNS, caps.PowerMinMW, caps.PowerMaxMW},
		Health: c.health(ctx), Sensors: viewTelemetry(tel), Slots: viewFirmware(fw),
	}
	for _, f := range hci.Enums["features"] {
		if caps.Features>>f.Value&1 != 0 {
			v.Features = append(v.Features, strings.ToLower(f.Name))
		}
	}
	slices.Sort(v.Features)
	return v, nil
}

func (v deviceShow) Table(t *output.Rows) {
	t.Row("card", clip(v.Card, 66))
	t.Row("reached by", v.Way)
	t.Row("serial", v.Serial)
	t.Row("product", v.Product)
	t.Row("firmware", v.Firmware+", HCI "+v.HCI)
	t.Row("model", fmt.Sprintf("%s, vocabulary of %d", v.Model.Name, v.Model.Vocabulary))
	t.Row("model id", v.Model.ID[:16]+"...")
	t.Row("silicon", fmt.Sprintf("%s, numerics %#x", v.Model.Silicon, v.Model.NumericsID))
	t.Row("context", fmt.Sprintf("%d tokens; KV for %d over %d sessions", v.Limits.Context, v.Limits.KVBudget, v.Limits.Sessions))
	t.Row("speed", fmt.Sprintf("%.0f tokens/s nominal (%d ns a token)", 1e9/float64(v.Limits.TokenNS), v.Limits.TokenNS))
	t.Row("sampling", fmt.Sprintf("top-k up to %d, %d stop ids, %d bias entries", v.Limits.Candidates, v.Limits.StopIDs, v.Limits.Bias))
	t.Line("")
	t.Text("features: " + strings.Join(v.Features, ", "))
	t.Line("")
	if h := v.Health; h != nil {
		t.Row("health", fmt.Sprintf("%s; %d sessions open, %d runnable, %d errors logged", h.State, h.Open, h.Runnable, h.Errors))
	} else {
		t.Row("health", "no record from the card")
	}
	v.Sensors.Table(t)
	t.Line("")
	v.Slots.Table(t)
}
