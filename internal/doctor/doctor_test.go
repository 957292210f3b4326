package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func put(t *testing.T, root, path, text string) {
	t.Helper()
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, root, path, to string) {
	t.Helper()
	path = filepath.Join(root, path)
	os.MkdirAll(filepath.Dir(path), 0o755)
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
}

// healthy is a machine with a card as it should be.
func healthy(t *testing.T) string {
	root := t.TempDir()
	dir := "sys/bus/pci/devices/0000:01:00.0/"
	for k, v := range map[string]string{"vendor": "0x1234", "device": "0x4843", "class": "0x120000", "numa_node": "0", "current_link_speed": "16.0 GT/s PCIe", "max_link_speed": "16.0 GT/s PCIe",
		"current_link_width": "16", "max_link_width": "16", "resource": "0x00000000fe420000 0x00000000fe423fff 0x0000000000140204\n0x0 0x0 0x0"} {
		put(t, root, dir+k, v)
	}
	put(t, root, dir+"vfio-dev/vfio0/dev", "511:0")
	put(t, root, "sys/kernel/iommu_groups/7/type", "DMA")
	put(t, root, "sys/kernel/iommu_groups/7/devices/0000:01:00.0/x", "")
	link(t, root, dir+"iommu_group", "../../../../kernel/iommu_groups/7")
	put(t, root, "sys/bus/pci/drivers/vfio-pci/bind", "")
	link(t, root, dir+"driver", "../../drivers/vfio-pci")
	put(t, root, "dev/iommu", "")
	put(t, root, "dev/vfio/devices/vfio0", "")
	put(t, root, "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "64")
	return root
}

func verdicts(fs []Finding) map[string]Finding {
	out := map[string]Finding{}
	for _, f := range fs {
		out[f.Check] = f
	}
	return out
}

func TestHealthy(t *testing.T) {
	for _, f := range Examine(healthy(t), Limits{MemLock: ^uint64(0)}) {
		if f.Verdict != Good || f.Fix != nil {
			t.Errorf("%+v", f)
		}
	}
}

// Each thing that can be wrong is found, and comes with a fix.
func TestWrong(t *testing.T) {
	const dir = "sys/bus/pci/devices/0000:01:00.0/"
	for name, c := range map[string]struct {
		breaks  func(root string)
		limits  Limits
		check   string
		verdict Verdict
		fix     string
	}{
		"no IOMMU":      {func(r string) { os.RemoveAll(filepath.Join(r, "sys/kernel/iommu_groups")) }, Limits{}, "IOMMU", Bad, "intel_iommu=on"},
		"no driver":     {func(r string) { os.RemoveAll(filepath.Join(r, "sys/bus/pci/drivers/vfio-pci")) }, Limits{}, "vfio-pci", Bad, "modprobe vfio-pci"},
		"not bound":     {func(r string) { os.Remove(filepath.Join(r, dir, "driver")) }, Limits{}, "driver", Bad, "hc1ctl bind 0000:01:00.0"},
		"memlock":       {nil, Limits{MemLock: 64 << 10}, "locked memory", Bad, "LimitMEMLOCK"},
		"no huge pages": {func(r string) { put(t, r, "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "0") }, Limits{}, "huge pages", Note, "vm.nr_hugepages"},
		"narrow link":   {func(r string) { put(t, r, dir+"current_link_width", "4") }, Limits{}, "link", Note, "reseat"},
		"slow link":     {func(r string) { put(t, r, dir+"current_link_speed", "2.5 GT/s PCIe") }, Limits{}, "link", Note, "reseat"},
		"BAR":           {func(r string) { put(t, r, dir+"resource", "0x0 0x3fff 0x140204") }, Limits{}, "BARs", Bad, "above 4G"},
		"forged":        {func(r string) { put(t, r, "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y") }, Limits{}, "interrupt remapping", Bad, "firmware"},
		"no node":       {func(r string) { os.Remove(filepath.Join(r, "dev/vfio/devices/vfio0")) }, Limits{}, "permission", Bad, "modprobe"},
		"shared group": {func(r string) {
			put(t, r, "sys/bus/pci/devices/0000:01:00.1/class", "0x040300")
			put(t, r, "sys/bus/pci/drivers/snd_hda_intel/bind", "")
			link(t, r, "sys/bus/pci/devices/0000:01:00.1/driver", "../../drivers/snd_hda_intel")
			put(t, r, "sys/kernel/iommu_groups/7/devices/0000:01:00.1/x", "")
		}, Limits{}, "group", Bad, "ACS"},
	} {
		t.Run(name, func(t *testing.T) {
			root := healthy(t)
			if c.breaks != nil {
				c.breaks(root)
			}
			if c.limits.MemLock == 0 {
				c.limits.MemLock = ^uint64(0)
			}
			f, ok := verdicts(Examine(root, c.limits))[c.check]
			if !ok || f.Verdict != c.verdict || f.Fix == nil || !strings.Contains(*f.Fix, c.fix) {
				t.Errorf("%+v", f)
			}
		})
	}
	root := t.TempDir()
	if f := verdicts(Examine(root, Limits{})); f["cards"].Verdict != Bad || f["IOMMU"].Verdict != Bad {
		t.Errorf("an empty machine: %+v", f)
	}
}
