// Package vfio reaches a PCI function through the Linux kernel's VFIO, with
// an IOMMU between it and memory: by its character device and iommufd, or by
// its group and type1. It is a backend of hal and knows nothing of what the
// function is.
//
// The function has to be bound to the driver vfio-pci (hc1ctl bind), and its
// node has to be this user's to open: no root is needed then.
package vfio

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/internal/irq"
)

// Errors of opening.
var (
	ErrNotBound  = errors.New("the function is not bound to vfio-pci")
	ErrBusy      = errors.New("the function is held")
	ErrNotViable = errors.New("not all functions that go with it are ours")
)

// Options may be left zero.
type Options struct {
	Mode string       // ModeAuto, ModeIOMMUFD, ModeType1, or ModeNone: no protection at all
	Log  *slog.Logger // what was chosen
	Root string       // of the file system: "/"
	// Interrupts is the kind to use: msix, msi or intx; the best there is
	// without it.
	Interrupts string
	// MaxAddress is the highest address that the function can put on the bus,
	// where that is less than 64 bits; 0 is no limit.
	MaxAddress uint64
}

// Device is a function that is open: a hal.Function.
type Device struct {
	name    string // BDF
	root    string
	log     *slog.Logger
	mmu     mmu
	info    deviceInfo
	config  regionInfo
	bars    [6]*region
	irqs    [numIRQs]irqInfo
	erring  irq.FD // the ERR interrupt: an error that the bus reported
	wanted  irq.FD // the REQ interrupt: the kernel wants the function back
	closed  atomic.Bool
	lost    atomic.Bool
	told    bool   // of the loss
	wants   string // the kind of interrupts
	mu      sync.Mutex
	space   *iovaSpace
	page    uint64
	buffers map[uint64]*buffer
	set     *irq.Set
}

var _ hal.Function = (*Device)(nil)

// slow bounds the opening and closing of a device: a card that is dead can
// hold the kernel for more than a minute ("not ready after FLR"). The call is
// then left to itself.
const slow = 10 * time.Second

// abandonable runs f on a goroutine of its own, which is left behind when
// bound has passed.
func abandonable(what string, bound time.Duration, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	t := time.NewTimer(bound)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-t.C:
		return fmt.Errorf("%w: %s: the kernel has not answered in %v; it is left to itself", hal.ErrCardLost, what, bound)
	}
}

// Open opens a function by its address, domain:bus:device.function.
func Open(name string, o Options) (*Device, error) {
	if o.Root == "" {
		o.Root = "/"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	opened := make(chan *Device, 1)
	err := abandonable("open "+name, slow, func() error {
		d, err := open(name, o)
		opened <- d
		return err
	})
	if err != nil {
		go func() { // one that is given up may open yet: nobody would close it
			if d := <-opened; d != nil {
				d.Close()
			}
		}()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return <-opened, nil
}

func open(name string, o Options) (_ *Device, err error) {
	d := &Device{name: name, root: o.Root, log: o.Log, wants: o.Interrupts, erring: irq.None, wanted: irq.None, buffers: map[uint64]*buffer{}}
	if d.mmu, err = attach(name, o); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.release()
		}
	}()
	d.info.argsz = sizeOf(&d.info)
	if err = call(d.mmu.device(), vfioDeviceGetInfo, &d.info); err != nil {
		return nil, fmt.Errorf("device info: %w", err)
	}
	if d.info.flags&deviceFlagsPCI == 0 || d.info.regions <= regionConfig {
		return nil, fmt.Errorf("%w: no PCI function: flags %#x, %d regions", hal.ErrUnsupported, d.info.flags, d.info.regions)
	}
	for i := range 6 {
		if d.bars[i], err = d.openBAR(i); err != nil {
			return nil, fmt.Errorf("BAR %d: %w", i, err)
		}
	}
	if d.config, _, err = d.regionInfo(regionConfig); err != nil {
		return nil, fmt.Errorf("configuration space: %w", err)
	}
	var ranges []iovaRange
	if o.Mode != ModeNone {
		if ranges, d.page, err = d.mmu.ranges(); err != nil {
			return nil, err
		}
		if d.page = max(d.page, pageSize); d.page > hugePage {
			return nil, fmt.Errorf("%w: an IOMMU with pages of %d bytes", hal.ErrUnsupported, d.page)
		}
		if d.space, err = newIOVASpace(below(ranges, o.MaxAddress)); err != nil {
			return nil, err
		}
	}
	if err = d.openIRQs(); err != nil {
		return nil, err
	}
	d.log.Info("function opened", "card", name, "iommu", d.mmu.String(), "iova_ranges", len(ranges), "vectors", d.irqs[irqMSIX].count)
	return d, nil
}

// attach chooses the way to the kernel.
func attach(name string, o Options) (mmu, error) {
	dir := filepath.Join(o.Root, "sys/bus/pci/devices", name)
	driver := readLink(filepath.Join(dir, "driver"))
	if driver != "vfio-pci" {
		if driver == "" {
			driver = "no driver"
		}
		return nil, fmt.Errorf("%w but to %s: hc1ctl bind %s", ErrNotBound, driver, name)
	}
	group, gerr := strconv.Atoi(readLink(filepath.Join(dir, "iommu_group")))
	byGroup := func(none bool) (mmu, error) {
		if gerr != nil {
			return nil, fmt.Errorf("%w: it has no IOMMU group: is the IOMMU on? (hc1ctl doctor)", hal.ErrUnsupported)
		}
		return openType1(o.Root, name, group, none)
	}
	switch o.Mode {
	case ModeType1:
		return byGroup(false)
	case ModeNone:
		return byGroup(true)
	case ModeAuto, ModeIOMMUFD:
	default:
		return nil, fmt.Errorf("iommu=%s: use iommufd, type1 or unsafe-none", o.Mode)
	}
	node := cdev(dir)
	if node == "" || !exists(filepath.Join(o.Root, "dev/iommu")) {
		if o.Mode == ModeIOMMUFD {
			return nil, fmt.Errorf("%w: the kernel has no /dev/iommu or no device node for it (CONFIG_IOMMUFD, CONFIG_VFIO_DEVICE_CDEV)", hal.ErrUnsupported)
		}
		return byGroup(false)
	}
	return openIOMMUFD(o.Root, node)
}

// Mode is how the kernel's IOMMU is reached.
func (d *Device) Mode() string { return d.mmu.String() }

// fail notes that the function is gone if an error says so.
func (d *Device) fail(err error) error {
	if errors.Is(err, eNODEV) || errors.Is(err, eIO) {
		d.lost.Store(true)
		return fmt.Errorf("%w: %s: %w", hal.ErrCardLost, d.name, err)
	}
	return err
}

// ReadConfig implements hal.Function.
func (d *Device) ReadConfig(off, width int) (uint32, error) {
	if err := configRange(off, width); err != nil {
		return 0, err
	}
	if d.closed.Load() {
		return 0, hal.ErrClosed
	}
	v, err := d.config32(off, width)
	if err == nil && off < 4 {
		// The kernel answers for the ids itself, also those of a function that
		// has gone (vfio_pci_config.c virtualizes them): ask for the class too.
		if class, cerr := d.config32(8, 4); cerr != nil || class == 0xFFFF_FFFF {
			d.lost.Store(true)
			return 0, fmt.Errorf("%w: %s: configuration space reads all ones", hal.ErrCardLost, d.name)
		}
	}
	return v, err
}

func (d *Device) config32(off, width int) (uint32, error) {
	var b [4]byte
	if err := d.mmu.device().pread(b[:width], int64(d.config.offset)+int64(off)); err != nil {
		return 0, d.fail(fmt.Errorf("read configuration space at %#x: %w", off, err))
	}
	return le.Uint32(b[:]), nil
}

// WriteConfig implements hal.Function.
func (d *Device) WriteConfig(off, width int, v uint32) error {
	if err := configRange(off, width); err != nil {
		return err
	}
	if d.closed.Load() {
		return hal.ErrClosed
	}
	var b [4]byte
	le.PutUint32(b[:], v)
	if err := d.mmu.device().pwrite(b[:width], int64(d.config.offset)+int64(off)); err != nil {
		return d.fail(fmt.Errorf("write configuration space at %#x: %w", off, err))
	}
	return nil
}

func configRange(off, width int) error {
	if width != 1 && width != 2 && width != 4 || off < 0 || off%width != 0 || off > 4096-width {
		return fmt.Errorf("vfio: config access of %d bytes at %#x: %w", width, off, hal.ErrOutOfRange)
	}
	return nil
}

// Events implements hal.Function.
func (d *Device) Events() (out []hal.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed.Load() {
		return nil
	}
	if d.erring >= 0 && d.erring.Take() {
		out = append(out, hal.Event{Kind: hal.EventError, Detail: "uncorrectable PCI Express error (AER)"})
	}
	if d.wanted >= 0 && d.wanted.Take() {
		out = append(out, hal.Event{Kind: hal.EventRemoval, Detail: "the kernel wants the function back"})
	}
	if d.lost.Load() && !d.told {
		d.told = true
		out = append(out, hal.Event{Kind: hal.EventLost, Detail: "the function left the bus"})
	}
	return out
}

// Close implements hal.Function. The order is strict: no interrupts, no BARs,
// then the device, which the kernel resets, then its memory.
func (d *Device) Close() error {
	if d.closed.Swap(true) {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return abandonable("close "+d.name, slow, d.release)
}

func (d *Device) release() error {
	d.set.Close()
	d.set = nil
	for _, r := range d.bars {
		r.close()
	}
	for iova, b := range d.buffers {
		d.mmu.unmapDMA(iova, uint64(len(b.mapped)))
	}
	err := d.mmu.close()
	for _, b := range d.buffers {
		unmapMemory(b.mapped)
	}
	d.buffers = nil
	d.erring.Close()
	d.wanted.Close()
	d.erring, d.wanted = irq.None, irq.None
	return err
}
