// Package pci reads and changes what sysfs tells of PCI functions: which
// there are, which driver each is bound to, what goes with it.
package pci

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// Function is a PCI function as sysfs shows it.
type Function struct {
	BDF            string // domain:bus:device.function
	Vendor, Device uint16
	Class          uint32
	Driver         string // "" for none
	Override       string // driver_override, "" for none
	Group          int    // IOMMU group, -1 without an IOMMU
	NUMA           int    // -1: not told
	Node           string // in /dev/vfio/devices, "" for none
	Serial         string // of an hc1 card; "" where configuration space may not be read
	Resizable      bool
}

// Tree is the file system that sysfs is in: "/" but for tests.
type Tree string

func (t Tree) path(parts ...string) string {
	return filepath.Join(append([]string{string(t), "sys/bus/pci"}, parts...)...)
}

func (t Tree) attr(bdf, name string) string {
	b, err := os.ReadFile(t.path("devices", bdf, name))
	if err != nil {
		return "" // gone, or not there
	}
	return strings.TrimSpace(string(b))
}

func (t Tree) link(bdf, name string) string {
	to, err := os.Readlink(t.path("devices", bdf, name))
	if err != nil {
		return ""
	}
	return filepath.Base(to)
}

func number(s string, bits int) uint64 {
	v, _ := strconv.ParseUint(s, 0, bits) // 0 where it is none
	return v
}

// ErrNotFound: there is no such function.
var ErrNotFound = errors.New("no such PCI function")

// Get describes a function.
func (t Tree) Get(bdf string) (Function, error) {
	if _, err := os.Stat(t.path("devices", bdf)); err != nil {
		return Function{}, fmt.Errorf("%s: %w", bdf, ErrNotFound)
	}
	f := Function{BDF: bdf, Vendor: uint16(number(t.attr(bdf, "vendor"), 16)), Device: uint16(number(t.attr(bdf, "device"), 16)),
		Class: uint32(number(t.attr(bdf, "class"), 32)), Driver: t.link(bdf, "driver"), Group: -1, NUMA: -1}
	if o := t.attr(bdf, "driver_override"); o != "(null)" {
		f.Override = o
	}
	if g, err := strconv.Atoi(t.link(bdf, "iommu_group")); err == nil {
		f.Group = g
	}
	if n, err := strconv.Atoi(t.attr(bdf, "numa_node")); err == nil {
		f.NUMA = n
	}
	if nodes, err := os.ReadDir(t.path("devices", bdf, "vfio-dev")); err == nil && len(nodes) > 0 {
		f.Node = nodes[0].Name()
	}
	f.Serial = t.serial(bdf)
	return f, nil
}

// serial reads the Device Serial Number (PCI Express Base 5.0, 7.9.3) as our
// serial numbers are written.
func (t Tree) serial(bdf string) string {
	b, err := os.ReadFile(t.path("devices", bdf, "config"))
	if err != nil || len(b) < 4096 {
		return "" // only root may read beyond the first 64 bytes
	}
	le := binary.LittleEndian
	for at, n := 0x100, 0; at >= 0x100 && at+12 <= len(b) && n < 64; n++ {
		h := le.Uint32(b[at:])
		if h&0xFFFF == 3 {
			return fmt.Sprintf("HC1-%016X", le.Uint64(b[at+4:]))
		}
		at = int(h >> 20)
	}
	return ""
}

// IsCard reports whether a function has the class and the placeholder ids of
// an hc1 card. Nothing is bound for that alone.
func (f Function) IsCard() bool {
	return f.Class>>8 == hci.PCIClass>>8 && f.Vendor == hci.PCIVendor && f.Device == hci.PCIDevice
}

// Cards lists the cards, by address.
func (t Tree) Cards() ([]Function, error) {
	all, err := os.ReadDir(t.path("devices"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // no PCI here
	}
	if err != nil {
		return nil, fmt.Errorf("list PCI functions: %w", err)
	}
	var out []Function
	for _, d := range all {
		if number(t.attr(d.Name(), "vendor"), 16) != hci.PCIVendor {
			continue // most are not ours: one file each
		}
		if f, err := t.Get(d.Name()); err == nil && f.IsCard() {
			out = append(out, f)
		}
	}
	return out, nil
}

// Find resolves a PCI address, or the serial number of a card, to a function.
func (t Tree) Find(name string) (Function, error) {
	if !strings.HasPrefix(name, "HC1-") {
		return t.Get(name)
	}
	cards, err := t.Cards()
	if err != nil {
		return Function{}, err
	}
	unread := 0
	for _, f := range cards {
		if f.Serial == name {
			return f, nil
		}
		if f.Serial == "" {
			unread++
		}
	}
	if unread > 0 {
		return Function{}, fmt.Errorf("%s: %w among %d cards; the serial number of %d could not be read: use the PCI address, or be root", name, ErrNotFound, len(cards), unread)
	}
	return Function{}, fmt.Errorf("%s: %w among %d cards", name, ErrNotFound, len(cards))
}

// Companions are the other functions of a function's IOMMU group.
func (t Tree) Companions(f Function) ([]Function, error) {
	all, err := os.ReadDir(t.path("devices", f.BDF, "iommu_group/devices"))
	if err != nil {
		return nil, fmt.Errorf("%s: group: %w", f.BDF, err)
	}
	var out []Function
	for _, d := range all {
		if d.Name() == f.BDF {
			continue
		}
		if x, err := t.Get(d.Name()); err == nil {
			out = append(out, x)
		}
	}
	return out, nil
}
