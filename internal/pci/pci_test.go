package pci

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// machine is a made-up sysfs.
type machine struct {
	t *testing.T
	Tree
}

func newMachine(t *testing.T) machine { return machine{t, Tree(t.TempDir())} }

func (m machine) put(path, text string) {
	m.t.Helper()
	path = filepath.Join(string(m.Tree), path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m machine) link(path, to string) {
	m.t.Helper()
	path = filepath.Join(string(m.Tree), path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(to, path)); err != nil {
		m.t.Fatal(err)
	}
}

// card puts a card at an address, with its serial number in configuration
// space, 0 for one that may not be read.
func (m machine) card(bdf, driver string, serial uint64) {
	dir := "sys/bus/pci/devices/" + bdf
	for k, v := range map[string]string{"vendor": "0x1234", "device": "0x4843", "class": "0x120000", "numa_node": "-1", "driver_override": "(null)"} {
		m.put(dir+"/"+k, v+"\n")
	}
	if driver != "" {
		m.link(dir+"/driver", "../../drivers/"+driver)
	}
	config := make([]byte, 64)
	if serial != 0 {
		config = make([]byte, 4096)
		binary.LittleEndian.PutUint32(config[0x100:], 1|1<<16|0x150<<20)
		binary.LittleEndian.PutUint32(config[0x150:], 3|1<<16)
		binary.LittleEndian.PutUint64(config[0x154:], serial)
	}
	m.put(dir+"/config", string(config))
}

func TestFind(t *testing.T) {
	m := newMachine(t)
	m.card("0000:01:00.0", "vfio-pci", 0xDEADBEEF)
	m.card("0000:02:00.0", "", 0)
	m.put("sys/bus/pci/devices/0000:00:02.0/vendor", "0x1234\n")
	m.put("sys/bus/pci/devices/0000:00:02.0/class", "0x030000\n")
	cards, err := m.Cards()
	if err != nil || len(cards) != 2 {
		t.Fatalf("%v, %v", cards, err)
	}
	f, err := m.Find("HC1-00000000DEADBEEF")
	if err != nil || f.BDF != "0000:01:00.0" || f.Driver != "vfio-pci" || f.NUMA != -1 || f.Group != -1 || f.Override != "" {
		t.Errorf("%+v, %v", f, err)
	}
	if _, err := m.Find("HC1-0000000000000001"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "could not be read") {
		t.Error(err)
	}
	if _, err := m.Find("0000:09:00.0"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if c, err := Tree(t.TempDir()).Cards(); err != nil || c != nil {
		t.Errorf("a machine without PCI: %v, %v", c, err)
	}
}

// A capability list that goes in circles ends.
func TestSerialInCircles(t *testing.T) {
	m := newMachine(t)
	m.card("0000:01:00.0", "", 1)
	config := make([]byte, 4096)
	binary.LittleEndian.PutUint32(config[0x100:], 1|1<<16|0x200<<20)
	binary.LittleEndian.PutUint32(config[0x200:], 2|1<<16|0x100<<20)
	m.put("sys/bus/pci/devices/0000:01:00.0/config", string(config))
	if f, err := m.Get("0000:01:00.0"); err != nil || f.Serial != "" {
		t.Errorf("%+v, %v", f, err)
	}
}

func values(steps []Step) (out []string) {
	for _, s := range steps {
		out = append(out, filepath.Base(s.Path)+"="+strings.TrimSpace(s.Value))
	}
	return out
}

func TestPlans(t *testing.T) {
	m := newMachine(t)
	for _, c := range []struct {
		f      Function
		bind   string
		unbind string
	}{
		{Function{BDF: "b"}, "driver_override=vfio-pci drivers_probe=b", ""},
		{Function{BDF: "b", Driver: "nvme"}, "driver_override=vfio-pci unbind=b drivers_probe=b", ""},
		{Function{BDF: "b", Driver: "nvme", Override: VFIO}, "unbind=b drivers_probe=b", "driver_override= drivers_probe=b"},
		{Function{BDF: "b", Driver: VFIO, Override: VFIO}, "", "unbind=b driver_override= drivers_probe=b"},
		{Function{BDF: "b", Driver: VFIO}, "", "unbind=b drivers_probe=b"},
	} {
		if got := strings.Join(values(m.PlanBind(c.f)), " "); got != c.bind {
			t.Errorf("%+v: bind %q, want %q", c.f, got, c.bind)
		}
		if got := strings.Join(values(m.PlanUnbind(c.f)), " "); got != c.unbind {
			t.Errorf("%+v: unbind %q, want %q", c.f, got, c.unbind)
		}
		for _, s := range append(m.PlanBind(c.f), m.PlanUnbind(c.f)...) {
			if strings.Contains(s.Path, "new_id") {
				t.Errorf("%+v: takes all that has the same ids", c.f)
			}
		}
	}
}

// What the kernel did not do is not reported as done.
func TestBindIsVerified(t *testing.T) {
	m := newMachine(t)
	m.card("0000:01:00.0", "", 1)
	f, err := m.Get("0000:01:00.0")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Bind(f, time.Second, nil); !errors.Is(err, ErrNoDriver) {
		t.Errorf("without the driver: %v", err)
	}
	m.put("sys/bus/pci/drivers/vfio-pci/bind", "")
	m.put("sys/bus/pci/drivers_probe", "")
	steps := 0
	if err := m.Bind(f, time.Second, func(Step) { steps++ }); !errors.Is(err, ErrUnchanged) || steps != 2 {
		t.Errorf("a kernel that does nothing: %v after %d steps", err, steps)
	}
	if f, _ = m.Get("0000:01:00.0"); f.Override != VFIO {
		t.Errorf("override %q", f.Override)
	}
	m.link("sys/bus/pci/devices/0000:01:00.0/driver", "../../drivers/vfio-pci")
	if err := m.Bind(f, time.Second, nil); err != nil {
		t.Errorf("bound: %v", err)
	}
	f, _ = m.Get("0000:01:00.0")
	m.put("sys/bus/pci/devices/0000:01:00.0/driver/unbind", "")
	if err := m.Unbind(f, time.Second, nil); err == nil {
		t.Error("an unbind that did nothing succeeded")
	}
}
