// Package doctor looks at a machine as far as cards need it: each finding says
// what is, and what to do where that is wrong.
package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hc1-toolkit/hc1/internal/pci"
)

// Verdict of a finding.
type Verdict string

// Verdicts.
const (
	Good    Verdict = "good"
	Bad     Verdict = "bad"
	Note    Verdict = "note"    // works, could be better
	Unknown Verdict = "unknown" // could not be looked at
)

// Finding is one thing that was looked at.
type Finding struct {
	Check   string  `json:"check"`
	Card    *string `json:"card"` // null: about the machine
	Verdict Verdict `json:"verdict"`
	Found   string  `json:"found"`
	Fix     *string `json:"fix"`
}

// Limits of this process that sysfs does not tell.
type Limits struct {
	MemLock uint64 // bytes that may be locked; ^0: no limit
	Root    bool
}

// examiner collects findings.
type examiner struct {
	tree pci.Tree
	root string
	out  []Finding
	card *string
}

func (x *examiner) say(check string, v Verdict, found, fix string) {
	f := Finding{Check: check, Card: x.card, Verdict: v, Found: found}
	if fix != "" {
		f.Fix = &fix
	}
	x.out = append(x.out, f)
}

func (x *examiner) read(parts ...string) string {
	b, err := os.ReadFile(filepath.Join(append([]string{x.root}, parts...)...))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (x *examiner) there(parts ...string) bool {
	_, err := os.Stat(filepath.Join(append([]string{x.root}, parts...)...))
	return err == nil
}

// Examine looks at the machine whose file system is at root, and at each card.
func Examine(root string, l Limits) []Finding {
	x := &examiner{tree: pci.Tree(root), root: root}
	x.iommu()
	x.driver()
	x.memory(l)
	cards, err := x.tree.Cards()
	switch {
	case err != nil:
		x.say("cards", Unknown, err.Error(), "")
	case len(cards) == 0:
		x.say("cards", Bad, "no PCI function has an hc1 card's class and ids", "check the slot and its power, then `lspci -nn`; without a card: hc1emu, or --card mock:")
	default:
		x.say("cards", Good, fmt.Sprintf("%d", len(cards)), "")
	}
	for _, c := range cards {
		x.card = &c.BDF
		x.bound(c)
		x.group(c)
		x.link(c)
		x.bars(c)
		x.node(c)
	}
	return x.out
}

func (x *examiner) iommu() {
	groups, err := os.ReadDir(filepath.Join(x.root, "sys/kernel/iommu_groups"))
	if err == nil && len(groups) > 0 {
		x.say("IOMMU", Good, fmt.Sprintf("on, %d groups", len(groups)), "")
		return
	}
	arg := "intel_iommu=on"
	if strings.Contains(x.read("proc/cpuinfo"), "AuthenticAMD") {
		arg = "amd_iommu=on"
	}
	x.say("IOMMU", Bad, "no groups: it is off, or there is none", fmt.Sprintf("turn VT-d or AMD-Vi on in the firmware, add %s to GRUB_CMDLINE_LINUX in /etc/default/grub, run update-grub, reboot", arg))
}

func (x *examiner) driver() {
	if !x.there("sys/bus/pci/drivers", pci.VFIO) {
		x.say("vfio-pci", Bad, "not loaded", "modprobe vfio-pci; for every boot: install udev/hc1-modules.conf in /etc/modules-load.d")
		return
	}
	x.say("vfio-pci", Good, "loaded", "")
	switch {
	case x.there("dev/iommu") && x.there("dev/vfio/devices"):
		x.say("kernel interface", Good, "iommufd with device nodes", "")
	case x.there("dev/vfio/vfio"):
		x.say("kernel interface", Good, "groups and type1 (this kernel has no iommufd, or no card is bound)", "")
	default:
		x.say("kernel interface", Bad, "neither /dev/iommu nor /dev/vfio/vfio", "modprobe vfio_iommu_type1")
	}
	if v := x.read("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"); v == "Y" {
		x.say("interrupt remapping", Bad, "vfio_iommu_type1.allow_unsafe_interrupts is on: a card can forge interrupts", "take it off the kernel's command line and out of /etc/modprobe.d; turn interrupt remapping on in the firmware")
	}
}

// arena is about what a card's driver maps.
const arena = 8 << 20

func (x *examiner) memory(l Limits) {
	switch {
	case l.MemLock == ^uint64(0):
		x.say("locked memory", Good, "no limit", "")
	case l.MemLock < arena:
		x.say("locked memory", Bad, fmt.Sprintf("%d KiB may be locked, a card takes some %d", l.MemLock>>10, arena>>10), "ulimit -l unlimited; for a service LimitMEMLOCK=infinity; for users /etc/security/limits.d")
	default:
		x.say("locked memory", Good, fmt.Sprintf("%d MiB", l.MemLock>>20), "")
	}
	free, err := strconv.Atoi(x.read("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"))
	switch {
	case err != nil:
		x.say("huge pages", Unknown, "this kernel does not say", "")
	case free < arena/(2<<20):
		x.say("huge pages", Note, fmt.Sprintf("%d of 2 MiB free: small pages are used", free), fmt.Sprintf("sysctl vm.nr_hugepages=%d (4 a card): fewer IOMMU entries", max(8, free+8)))
	default:
		x.say("huge pages", Good, fmt.Sprintf("%d of 2 MiB free", free), "")
	}
}

func (x *examiner) bound(c pci.Function) {
	if c.Driver == pci.VFIO {
		x.say("driver", Good, pci.VFIO, "")
		return
	}
	found := "no driver"
	if c.Driver != "" {
		found = "driver " + c.Driver
	}
	x.say("driver", Bad, found, "hc1ctl bind "+c.BDF)
}

func (x *examiner) group(c pci.Function) {
	if c.Group < 0 {
		x.say("group", Bad, "no IOMMU group", "see IOMMU above")
		return
	}
	with, err := x.tree.Companions(c)
	if err != nil {
		x.say("group", Unknown, err.Error(), "")
		return
	}
	var bad, all []string
	for _, o := range with {
		all = append(all, o.BDF)
		if o.Driver != "" && o.Driver != pci.VFIO && o.Driver != "pcieport" {
			bad = append(bad, o.BDF+" ("+o.Driver+")")
		}
	}
	switch {
	case bad != nil:
		x.say("group", Bad, fmt.Sprintf("group %d is shared with %s", c.Group, strings.Join(bad, ", ")), "unbind those, or use a slot whose ports have ACS, so that the card gets a group of its own")
	case all != nil:
		x.say("group", Good, fmt.Sprintf("group %d, with %s, all free", c.Group, strings.Join(all, ", ")), "")
	default:
		x.say("group", Good, fmt.Sprintf("group %d, its own", c.Group), "")
	}
}

func (x *examiner) link(c pci.Function) {
	dir := "sys/bus/pci/devices/" + c.BDF
	speed, most := x.read(dir, "current_link_speed"), x.read(dir, "max_link_speed")
	width, wide := x.read(dir, "current_link_width"), x.read(dir, "max_link_width")
	switch {
	case speed == "" || width == "":
		x.say("link", Unknown, "the kernel does not say", "")
	case speed != most || width != wide:
		x.say("link", Note, fmt.Sprintf("x%s at %s; the card can x%s at %s", width, speed, wide, most), "reseat the card; check the slot's width and the firmware's link settings")
	default:
		x.say("link", Good, fmt.Sprintf("x%s at %s", width, speed), "")
	}
}

func (x *examiner) bars(c pci.Function) {
	have, missing := 0, 0
	for i, line := range strings.Split(x.read("sys/bus/pci/devices", c.BDF, "resource"), "\n") {
		f := strings.Fields(line)
		if i >= 6 || len(f) != 3 {
			break
		}
		from, _ := strconv.ParseUint(f[0], 0, 64)
		flags, _ := strconv.ParseUint(f[2], 0, 64)
		switch {
		case flags == 0:
		case from == 0:
			missing++
		default:
			have++
		}
	}
	switch {
	case missing > 0:
		x.say("BARs", Bad, fmt.Sprintf("%d of %d have no address", missing, have+missing), "turn \"above 4G decoding\" on in the firmware, or pci=realloc on the kernel's command line")
	case have == 0:
		x.say("BARs", Unknown, "the kernel lists none", "")
	default:
		x.say("BARs", Good, fmt.Sprintf("%d, all with an address", have), "")
	}
}

func (x *examiner) node(c pci.Function) {
	if c.Driver != pci.VFIO {
		return
	}
	path := x.tree.DevNode(c)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	switch {
	case err == nil:
		f.Close()
		x.say("permission", Good, path+" may be opened", "")
	case os.IsPermission(err):
		x.say("permission", Bad, path+": "+err.Error(), "install udev/70-hc1.rules in /etc/udev/rules.d and join the group hc1: usermod -aG hc1 USER")
	case os.IsNotExist(err):
		x.say("permission", Bad, path+" is not there", "modprobe vfio-pci vfio_iommu_type1; is udev running?")
	default: // EBUSY: somebody has it, which is no fault
		x.say("permission", Good, path+" ("+err.Error()+")", "")
	}
}
