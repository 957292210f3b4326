package vfio

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"
)

// layout is what we think a struct of the kernel's looks like: its size, and
// offset and size of the fields that are ours by another name.
type layout struct {
	size   uintptr
	fields map[string][2]uintptr
}

func at[T any](off uintptr, _ T) [2]uintptr {
	var t T
	return [2]uintptr{off, unsafe.Sizeof(t)}
}

func layouts() map[string]layout {
	var (
		gs groupStatus
		di deviceInfo
		ri regionInfo
		ch capHeader
		sa sparseArea
		ii irqInfo
		is irqSet
		ti type1Info
		ir iovaRange
		tm type1Map
		tu type1Unmap
		bi bindIOMMUFD
		ap attachPT
		hi hotResetInfo
		dd dependent
		hr hotReset
		de destroy
		ia ioasAlloc
		rs ioasRanges
		im ioasMap
		iu ioasUnmap
	)
	return map[string]layout{
		"vfio_group_status":                    {unsafe.Sizeof(gs), map[string][2]uintptr{"argsz": at(unsafe.Offsetof(gs.argsz), gs.argsz), "flags": at(unsafe.Offsetof(gs.flags), gs.flags)}},
		"vfio_device_info":                     {unsafe.Sizeof(di), map[string][2]uintptr{"argsz": at(unsafe.Offsetof(di.argsz), di.argsz), "flags": at(unsafe.Offsetof(di.flags), di.flags), "num_regions": at(unsafe.Offsetof(di.regions), di.regions), "num_irqs": at(unsafe.Offsetof(di.irqs), di.irqs), "cap_offset": at(unsafe.Offsetof(di.capOffset), di.capOffset)}},
		"vfio_region_info":                     {unsafe.Sizeof(ri), map[string][2]uintptr{"argsz": at(unsafe.Offsetof(ri.argsz), ri.argsz), "flags": at(unsafe.Offsetof(ri.flags), ri.flags), "index": at(unsafe.Offsetof(ri.index), ri.index), "cap_offset": at(unsafe.Offsetof(ri.capOffset), ri.capOffset), "size": at(unsafe.Offsetof(ri.size), ri.size), "offset": at(unsafe.Offsetof(ri.offset), ri.offset)}},
		"vfio_info_cap_header":                 {unsafe.Sizeof(ch), map[string][2]uintptr{"id": at(unsafe.Offsetof(ch.id), ch.id), "version": at(unsafe.Offsetof(ch.version), ch.version), "next": at(unsafe.Offsetof(ch.next), ch.next)}},
		"vfio_region_sparse_mmap_area":         {unsafe.Sizeof(sa), map[string][2]uintptr{"offset": at(unsafe.Offsetof(sa.offset), sa.offset), "size": at(unsafe.Offsetof(sa.size), sa.size)}},
		"vfio_region_info_cap_sparse_mmap":     {0, map[string][2]uintptr{"nr_areas": {8, 4}, "reserved": {12, 4}}}, // as caps.go reads it
		"vfio_irq_info":                        {unsafe.Sizeof(ii), map[string][2]uintptr{"argsz": at(unsafe.Offsetof(ii.argsz), ii.argsz), "flags": at(unsafe.Offsetof(ii.flags), ii.flags), "index": at(unsafe.Offsetof(ii.index), ii.index), "count": at(unsafe.Offsetof(ii.count), ii.count)}},
		"vfio_irq_set":                         {unsafe.Sizeof(is), map[string][2]uintptr{"argsz": at(unsafe.Offsetof(is.argsz), is.argsz), "flags": at(unsafe.Offsetof(is.flags), is.flags), "index": at(unsafe.Offsetof(is.index), is.index), "start": at(unsafe.Offsetof(is.start), is.start), "count": at(unsafe.Offsetof(is.count), is.count)}},
		"vfio_iommu_type1_info":                {unsafe.Sizeof(ti), map[string][2]uintptr{"argsz": at(unsafe.Offsetof(ti.argsz), ti.argsz), "flags": at(unsafe.Offsetof(ti.flags), ti.flags), "iova_pgsizes": at(unsafe.Offsetof(ti.pageSizes), ti.pageSizes), "cap_offset": at(unsafe.Offsetof(ti.capOffset), ti.capOffset)}},
		"vfio_iova_range":                      {unsafe.Sizeof(ir), map[string][2]uintptr{"start": at(unsafe.Offsetof(ir.first), ir.first), "end": at(unsafe.Offsetof(ir.last), ir.last)}},
		"vfio_iommu_type1_info_cap_iova_range": {0, map[string][2]uintptr{"nr_iovas": {8, 4}}},
		"vfio_iommu_type1_dma_map":             {unsafe.Sizeof(tm), map[string][2]uintptr{"argsz": at(unsafe.Offsetof(tm.argsz), tm.argsz), "flags": at(unsafe.Offsetof(tm.flags), tm.flags), "vaddr": at(unsafe.Offsetof(tm.vaddr), tm.vaddr), "iova": at(unsafe.Offsetof(tm.iova), tm.iova), "size": at(unsafe.Offsetof(tm.size), tm.size)}},
		"vfio_iommu_type1_dma_unmap":           {unsafe.Sizeof(tu), map[string][2]uintptr{"argsz": at(unsafe.Offsetof(tu.argsz), tu.argsz), "flags": at(unsafe.Offsetof(tu.flags), tu.flags), "iova": at(unsafe.Offsetof(tu.iova), tu.iova), "size": at(unsafe.Offsetof(tu.size), tu.size)}},
		"vfio_device_bind_iommufd":             {unsafe.Sizeof(bi), map[string][2]uintptr{"argsz": at(unsafe.Offsetof(bi.argsz), bi.argsz), "flags": at(unsafe.Offsetof(bi.flags), bi.flags), "iommufd": at(unsafe.Offsetof(bi.iommufd), bi.iommufd), "out_devid": at(unsafe.Offsetof(bi.devID), bi.devID)}},
		"vfio_device_attach_iommufd_pt":        {unsafe.Sizeof(ap), map[string][2]uintptr{"argsz": at(unsafe.Offsetof(ap.argsz), ap.argsz), "flags": at(unsafe.Offsetof(ap.flags), ap.flags), "pt_id": at(unsafe.Offsetof(ap.ptID), ap.ptID)}},
		"vfio_pci_hot_reset_info":              {unsafe.Sizeof(hi), map[string][2]uintptr{"argsz": at(unsafe.Offsetof(hi.argsz), hi.argsz), "flags": at(unsafe.Offsetof(hi.flags), hi.flags), "count": at(unsafe.Offsetof(hi.count), hi.count)}},
		"vfio_pci_dependent_device":            {unsafe.Sizeof(dd), map[string][2]uintptr{"group_id": at(unsafe.Offsetof(dd.id), dd.id), "segment": at(unsafe.Offsetof(dd.segment), dd.segment), "bus": at(unsafe.Offsetof(dd.bus), dd.bus), "devfn": at(unsafe.Offsetof(dd.devfn), dd.devfn)}},
		"vfio_pci_hot_reset":                   {unsafe.Sizeof(hr), map[string][2]uintptr{"argsz": at(unsafe.Offsetof(hr.argsz), hr.argsz), "flags": at(unsafe.Offsetof(hr.flags), hr.flags), "count": at(unsafe.Offsetof(hr.count), hr.count)}},
		"iommu_destroy":                        {unsafe.Sizeof(de), map[string][2]uintptr{"size": at(unsafe.Offsetof(de.size), de.size), "id": at(unsafe.Offsetof(de.id), de.id)}},
		"iommu_ioas_alloc":                     {unsafe.Sizeof(ia), map[string][2]uintptr{"size": at(unsafe.Offsetof(ia.size), ia.size), "flags": at(unsafe.Offsetof(ia.flags), ia.flags), "out_ioas_id": at(unsafe.Offsetof(ia.id), ia.id)}},
		"iommu_iova_range":                     {unsafe.Sizeof(ir), map[string][2]uintptr{"start": at(unsafe.Offsetof(ir.first), ir.first), "last": at(unsafe.Offsetof(ir.last), ir.last)}},
		"iommu_ioas_iova_ranges":               {unsafe.Sizeof(rs), map[string][2]uintptr{"size": at(unsafe.Offsetof(rs.size), rs.size), "ioas_id": at(unsafe.Offsetof(rs.id), rs.id), "num_iovas": at(unsafe.Offsetof(rs.num), rs.num), "__reserved": at(unsafe.Offsetof(rs.reserved), rs.reserved), "allowed_iovas": at(unsafe.Offsetof(rs.ranges), rs.ranges), "out_iova_alignment": at(unsafe.Offsetof(rs.alignment), rs.alignment)}},
		"iommu_ioas_map":                       {unsafe.Sizeof(im), map[string][2]uintptr{"size": at(unsafe.Offsetof(im.size), im.size), "flags": at(unsafe.Offsetof(im.flags), im.flags), "ioas_id": at(unsafe.Offsetof(im.id), im.id), "__reserved": at(unsafe.Offsetof(im.reserved), im.reserved), "user_va": at(unsafe.Offsetof(im.userVA), im.userVA), "length": at(unsafe.Offsetof(im.length), im.length), "iova": at(unsafe.Offsetof(im.iova), im.iova)}},
		"iommu_ioas_unmap":                     {unsafe.Sizeof(iu), map[string][2]uintptr{"size": at(unsafe.Offsetof(iu.size), iu.size), "ioas_id": at(unsafe.Offsetof(iu.id), iu.id), "iova": at(unsafe.Offsetof(iu.iova), iu.iova), "length": at(unsafe.Offsetof(iu.length), iu.length)}},
	}
}

var numbers = map[string]uint64{
	"VFIO_GET_API_VERSION": vfioGetAPIVersion, "VFIO_CHECK_EXTENSION": vfioCheckExtension, "VFIO_SET_IOMMU": vfioSetIOMMU,
	"VFIO_GROUP_GET_STATUS": vfioGroupGetStatus, "VFIO_GROUP_SET_CONTAINER": vfioGroupSetContainer, "VFIO_GROUP_GET_DEVICE_FD": vfioGroupGetDeviceFD,
	"VFIO_DEVICE_GET_INFO": vfioDeviceGetInfo, "VFIO_DEVICE_GET_REGION_INFO": vfioDeviceGetRegionInfo, "VFIO_DEVICE_GET_IRQ_INFO": vfioDeviceGetIRQInfo,
	"VFIO_DEVICE_SET_IRQS": vfioDeviceSetIRQs, "VFIO_DEVICE_RESET": vfioDeviceReset, "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO": vfioDeviceGetHotResetInfo,
	"VFIO_DEVICE_PCI_HOT_RESET": vfioDeviceHotReset, "VFIO_DEVICE_BIND_IOMMUFD": vfioDeviceBindIOMMUFD, "VFIO_DEVICE_ATTACH_IOMMUFD_PT": vfioDeviceAttachPT,
	"VFIO_IOMMU_GET_INFO": vfioIOMMUGetInfo, "VFIO_IOMMU_MAP_DMA": vfioIOMMUMapDMA, "VFIO_IOMMU_UNMAP_DMA": vfioIOMMUUnmapDMA,
	"IOMMU_DESTROY": iommuDestroy, "IOMMU_IOAS_ALLOC": iommuIOASAlloc, "IOMMU_IOAS_IOVA_RANGES": iommuIOVARanges, "IOMMU_IOAS_MAP": iommuIOASMap, "IOMMU_IOAS_UNMAP": iommuIOASUnmap,
	"VFIO_API_VERSION": apiVersion, "VFIO_TYPE1v2_IOMMU": type1v2, "VFIO_NOIOMMU_IOMMU": noIOMMUType, "VFIO_GROUP_FLAGS_VIABLE": groupViable,
	"VFIO_DEVICE_FLAGS_RESET": deviceFlagsReset, "VFIO_DEVICE_FLAGS_PCI": deviceFlagsPCI, "VFIO_REGION_INFO_FLAG_READ": regionRead, "VFIO_REGION_INFO_FLAG_WRITE": regionWrite,
	"VFIO_REGION_INFO_FLAG_MMAP": regionMMap, "VFIO_REGION_INFO_FLAG_CAPS": regionCaps, "VFIO_REGION_INFO_CAP_SPARSE_MMAP": capSparse, "VFIO_IOMMU_INFO_PGSIZES": iommuInfoPageSizes,
	"VFIO_IOMMU_INFO_CAPS": iommuInfoCaps, "VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE": capIOVARange, "VFIO_DMA_MAP_FLAG_READ": dmaMapRead, "VFIO_DMA_MAP_FLAG_WRITE": dmaMapWrite,
	"IOMMU_IOAS_MAP_FIXED_IOVA": ioasMapFixed, "IOMMU_IOAS_MAP_WRITEABLE": ioasMapWrite, "IOMMU_IOAS_MAP_READABLE": ioasMapRead, "VFIO_IRQ_SET_DATA_NONE": irqDataNone,
	"VFIO_IRQ_SET_DATA_EVENTFD": irqDataEventFD, "VFIO_IRQ_SET_ACTION_TRIGGER": irqTrigger, "VFIO_IRQ_SET_ACTION_UNMASK": irqUnmask, "VFIO_IRQ_INFO_EVENTFD": irqInfoEventFD, "VFIO_PCI_HOT_RESET_FLAG_DEV_ID": hotResetDevIDs,
	"VFIO_PCI_CONFIG_REGION_INDEX": regionConfig, "VFIO_PCI_INTX_IRQ_INDEX": irqINTx, "VFIO_PCI_MSI_IRQ_INDEX": irqMSI, "VFIO_PCI_MSIX_IRQ_INDEX": irqMSIX, "VFIO_PCI_ERR_IRQ_INDEX": irqErr, "VFIO_PCI_REQ_IRQ_INDEX": irqReq,
}

// Our structs and numbers are the kernel's, by the table that a C compiler
// made from its headers; and the table has all of them.
func TestUAPI(t *testing.T) {
	b, err := os.ReadFile("testdata/uapi.txt")
	if err != nil {
		t.Fatal(err)
	}
	ours, lines, seen := layouts(), 0, map[string]bool{}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		lines++
		seen[f[1]] = true
		switch f[0] {
		case "size":
			if l, ok := ours[f[1]]; !ok || fmt.Sprint(l.size) != f[2] {
				t.Errorf("%s: %d bytes here, %s in the kernel's headers", f[1], l.size, f[2])
			}
		case "field":
			x, ok := ours[f[1]].fields[f[2]]
			if !ok || fmt.Sprint(x[0]) != f[3] || fmt.Sprint(x[1]) != f[4] {
				t.Errorf("%s.%s: %v here, %s %s in the kernel's headers", f[1], f[2], x, f[3], f[4])
			}
		case "number":
			if v, ok := numbers[f[1]]; !ok || fmt.Sprint(v) != f[2] {
				t.Errorf("%s: %d here, %s in the kernel's headers", f[1], v, f[2])
			}
		}
	}
	for name := range ours {
		if !seen[name] {
			t.Errorf("%s is not in the table", name)
		}
	}
	for name := range numbers {
		if !seen[name] {
			t.Errorf("%s is not in the table", name)
		}
	}
	if lines < 150 {
		t.Errorf("only %d lines", lines)
	}
}
