package vfio

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/hc1-toolkit/hc1/hal"
)

// type1 is a container with one group: the way of kernels before 6.6, and of
// all that Debian builds.
type type1 struct {
	container, group, dev file
	groupID               int
	name                  string
	maps                  int
	none                  bool // no IOMMU
}

// openType1 opens the group of a function and the function. Order matters: a
// container takes an IOMMU type only with a group in it, and a group gives
// devices only in a container that has one.
func openType1(root, name string, group int, none bool) (_ *type1, err error) {
	t := &type1{container: noFile, group: noFile, dev: noFile, groupID: group, name: name, none: none}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	if t.container, err = openFile(filepath.Join(root, "dev/vfio/vfio")); err != nil {
		return nil, err
	}
	if v, err := t.container.ioctlInt(vfioGetAPIVersion, 0); err != nil || v != apiVersion {
		return nil, fmt.Errorf("vfio: API version %d, want %d: %w", v, apiVersion, orUnsupported(err))
	}
	kind, node := type1v2, strconv.Itoa(group)
	if none {
		kind, node = noIOMMUType, "noiommu-"+node
	}
	if ok, err := t.container.ioctlInt(vfioCheckExtension, kind); err != nil || ok == 0 {
		return nil, fmt.Errorf("vfio: the kernel has no IOMMU of type %d: %w", kind, orUnsupported(err))
	}
	path := filepath.Join(root, "dev/vfio", node)
	if t.group, err = openFile(path); err != nil {
		if errors.Is(err, eBUSY) {
			return nil, fmt.Errorf("%w: %s is held by %s", ErrBusy, path, Holders(path))
		}
		return nil, err
	}
	st := groupStatus{}
	st.argsz = sizeOf(&st)
	if err := call(t.group, vfioGroupGetStatus, &st); err != nil {
		return nil, fmt.Errorf("vfio: status of group %d: %w", group, err)
	}
	if st.flags&groupViable == 0 {
		return nil, fmt.Errorf("%w: %s", ErrNotViable, companions(root, name))
	}
	if err := t.group.setContainer(t.container); err != nil {
		return nil, fmt.Errorf("vfio: group %d into a container: %w", group, err)
	}
	if _, err := t.container.ioctlInt(vfioSetIOMMU, kind); err != nil {
		if errors.Is(err, ePERM) {
			return nil, fmt.Errorf("vfio: IOMMU: %w: interrupts are not remapped; boot with intremap=on, or turn it on in the firmware", err)
		}
		return nil, fmt.Errorf("vfio: IOMMU of group %d: %w", group, err)
	}
	if t.dev, err = t.group.deviceFD(name); err != nil {
		return nil, fmt.Errorf("vfio: device %s of group %d: %w", name, group, err)
	}
	return t, nil
}

func orUnsupported(err error) error {
	if err == nil {
		return hal.ErrUnsupported
	}
	return err
}

func (t *type1) device() file { return t.dev }

func (t *type1) String() string {
	if t.none {
		return ModeNone
	}
	return ModeType1
}

func (t *type1) ranges() ([]iovaRange, uint64, error) {
	all := []iovaRange{{0, 1<<39 - 1}}
	if t.none {
		return nil, 0, fmt.Errorf("without an IOMMU there are no addresses to map: %w", hal.ErrUnsupported)
	}
	b, err := t.container.answer(vfioIOMMUGetInfo, 32, nil)
	if err != nil {
		return nil, 0, fmt.Errorf("vfio: IOMMU info: %w", err)
	}
	page := uint64(pageSize)
	if flags := le.Uint32(b[4:]); flags&iommuInfoPageSizes != 0 {
		if sizes := le.Uint64(b[8:]); sizes != 0 {
			page = sizes & -sizes
		}
		if flags&iommuInfoCaps == 0 {
			return all, page, nil
		}
	}
	c, err := capability(b, le.Uint32(b[16:]), capIOVARange)
	if err != nil {
		return nil, 0, fmt.Errorf("vfio: IOMMU info: %w", err)
	}
	if c == nil {
		return all, page, nil // a kernel before 5.4 does not say
	}
	entries, err := list(c, 4096)
	if err != nil {
		return nil, 0, fmt.Errorf("vfio: iova ranges: %w", err)
	}
	all = all[:0]
	for _, e := range entries {
		all = append(all, iovaRange{e[0], e[1]})
	}
	return all, page, nil
}

func (t *type1) mapDMA(iova uint64, b []byte, dir hal.Direction) error {
	m := type1Map{flags: dmaMapRead, vaddr: address(b), iova: iova, size: uint64(len(b))}
	m.argsz = sizeOf(&m)
	if dir == hal.CardWrites {
		m.flags = dmaMapWrite
	}
	err := call(t.container, vfioIOMMUMapDMA, &m)
	if errors.Is(err, eINVAL) && dir == hal.CardWrites { // an IOMMU that cannot forbid reads
		m.flags |= dmaMapRead
		err = call(t.container, vfioIOMMUMapDMA, &m)
	}
	if err != nil {
		return tooMuch(err, m.size, t.maps, ModeType1)
	}
	t.maps++
	return nil
}

func (t *type1) unmapDMA(iova, size uint64) error {
	m := type1Unmap{iova: iova, size: size}
	m.argsz = sizeOf(&m)
	if err := call(t.container, vfioIOMMUUnmapDMA, &m); err != nil {
		return fmt.Errorf("vfio: unmap %#x: %w", iova, err)
	}
	if m.size != size {
		return fmt.Errorf("vfio: unmap %#x: %d bytes went, not %d", iova, m.size, size)
	}
	t.maps--
	return nil
}

// hotReset proves by its group that every dependent is ours.
func (t *type1) hotReset(dependents []dependent) error {
	for _, d := range dependents {
		if int(d.id) != t.groupID {
			return fmt.Errorf("%w: hot reset takes %s along, of group %d", ErrNotViable, d, d.id)
		}
	}
	b := make([]byte, 16)
	le.PutUint32(b, 16)
	le.PutUint32(b[8:], 1)
	le.PutUint32(b[12:], uint32(t.group))
	return t.dev.send(vfioDeviceHotReset, b)
}

func (t *type1) close() error {
	return errors.Join(t.dev.close(), t.group.close(), t.container.close())
}

// companions names the functions of a group that stand in the way: all but
// bridges have to be with vfio-pci, or with no driver.
func companions(root, name string) string {
	dir := filepath.Join(root, "sys/bus/pci/devices", name, "iommu_group/devices")
	all, err := os.ReadDir(dir)
	if err != nil {
		return err.Error()
	}
	out := ""
	for _, d := range all {
		driver := readLink(filepath.Join(dir, d.Name(), "driver"))
		if driver == "" || driver == "vfio-pci" || driver == "pcieport" {
			continue
		}
		if out != "" {
			out += ", "
		}
		out += d.Name() + " is on driver " + driver
	}
	if out == "" {
		return "group of " + name + " is not viable"
	}
	return out + ": unbind it, or move the card to a slot with an IOMMU group of its own"
}

func (d dependent) String() string {
	return fmt.Sprintf("%04x:%02x:%02x.%d", d.segment, d.bus, d.devfn>>3, d.devfn&7)
}
