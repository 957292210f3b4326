package vfio

// The kernel's interface: include/uapi/linux/vfio.h and iommufd.h. Sizes and
// offsets are tested against a table made from the headers (testdata/uapi.txt).

// ioctl numbers: all are _IO(';', nr), without a size.
const (
	vfioGetAPIVersion     = 0x3B00 + 100
	vfioCheckExtension    = 0x3B00 + 101
	vfioSetIOMMU          = 0x3B00 + 102
	vfioGroupGetStatus    = 0x3B00 + 103
	vfioGroupSetContainer = 0x3B00 + 104
	vfioGroupGetDeviceFD  = 0x3B00 + 106

	vfioDeviceGetInfo         = 0x3B00 + 107
	vfioDeviceGetRegionInfo   = 0x3B00 + 108
	vfioDeviceGetIRQInfo      = 0x3B00 + 109
	vfioDeviceSetIRQs         = 0x3B00 + 110
	vfioDeviceReset           = 0x3B00 + 111
	vfioDeviceGetHotResetInfo = 0x3B00 + 112
	vfioDeviceHotReset        = 0x3B00 + 113
	vfioDeviceBindIOMMUFD     = 0x3B00 + 118
	vfioDeviceAttachPT        = 0x3B00 + 119

	vfioIOMMUGetInfo  = 0x3B00 + 112
	vfioIOMMUMapDMA   = 0x3B00 + 113
	vfioIOMMUUnmapDMA = 0x3B00 + 114

	iommuDestroy    = 0x3B80
	iommuIOASAlloc  = 0x3B81
	iommuIOVARanges = 0x3B84
	iommuIOASMap    = 0x3B85
	iommuIOASUnmap  = 0x3B86
)

const (
	apiVersion  = 0
	type1v2     = 3 // VFIO_TYPE1v2_IOMMU
	noIOMMUType = 8 // VFIO_NOIOMMU_IOMMU

	groupViable = 1 << 0

	deviceFlagsReset = 1 << 0
	deviceFlagsPCI   = 1 << 1

	regionRead  = 1 << 0
	regionWrite = 1 << 1
	regionMMap  = 1 << 2
	regionCaps  = 1 << 3
	capSparse   = 1 // VFIO_REGION_INFO_CAP_SPARSE_MMAP

	iommuInfoPageSizes = 1 << 0
	iommuInfoCaps      = 1 << 1
	capIOVARange       = 1 // VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE

	dmaMapRead  = 1 << 0
	dmaMapWrite = 1 << 1

	ioasMapFixed = 1 << 0
	ioasMapWrite = 1 << 1
	ioasMapRead  = 1 << 2

	irqDataNone    = 1 << 0
	irqDataEventFD = 1 << 2
	irqUnmask      = 1 << 4
	irqTrigger     = 1 << 5
	irqInfoEventFD = 1 << 0

	hotResetDevIDs   = 1 << 0 // devices are named by iommufd's ids, not by groups
	devIDNotOwned    = ^uint32(0)
	maxVectorsPerSet = 256
)

// Indexes of regions (BARs are 0 to 5) and interrupts.
const (
	regionConfig = 7

	irqINTx = 0
	irqMSI  = 1
	irqMSIX = 2
	irqErr  = 3
	irqReq  = 4
	numIRQs = 5
)

type groupStatus struct{ argsz, flags uint32 }

type deviceInfo struct{ argsz, flags, regions, irqs, capOffset, pad uint32 }

type regionInfo struct {
	argsz, flags, index, capOffset uint32
	size, offset                   uint64
}

type capHeader struct {
	id, version uint16
	next        uint32
}

type sparseArea struct{ offset, size uint64 }

type irqInfo struct{ argsz, flags, index, count uint32 }

type irqSet struct{ argsz, flags, index, start, count uint32 } // data follows

type type1Info struct {
	argsz, flags   uint32
	pageSizes      uint64
	capOffset, pad uint32
}

type iovaRange struct{ first, last uint64 } // struct vfio_iova_range and iommu_iova_range

type type1Map struct {
	argsz, flags      uint32
	vaddr, iova, size uint64
}

type type1Unmap struct {
	argsz, flags uint32
	iova, size   uint64
}

type bindIOMMUFD struct {
	argsz, flags uint32
	iommufd      int32
	devID        uint32
}

type attachPT struct{ argsz, flags, ptID uint32 }

type hotResetInfo struct{ argsz, flags, count uint32 } // dependents follow

type dependent struct {
	id         uint32 // group, or devid
	segment    uint16
	bus, devfn uint8
}

type hotReset struct{ argsz, flags, count uint32 } // group fds follow

type destroy struct{ size, id uint32 }

type ioasAlloc struct{ size, flags, id uint32 }

type ioasRanges struct {
	size, id, num, reserved uint32
	ranges, alignment       uint64
}

type ioasMap struct {
	size, flags, id, reserved uint32
	userVA, length, iova      uint64
}

type ioasUnmap struct {
	size, id     uint32
	iova, length uint64
}
