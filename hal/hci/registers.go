package hci

// PCI identity (section 2): placeholders, nothing binds by them alone.
const (
	PCIVendor    = 0x1234   // vendor id, a placeholder until one is assigned
	PCIDevice    = 0x4843   // device id, placeholder
	PCISubVendor = 0x1234   // subsystem vendor id, placeholder
	PCISubDevice = 0x0001   // subsystem id: first card
	PCIClass     = 0x120000 // class code, programming interface in bits 7:0
	PCIRevision  = 0x01     // revision id
)

// BAR numbers and the sizes of the reference card (section 2). A host uses
// the size it finds.
const (
	BARRegs          = 0 // registers (section 3)
	BARRegsSize      = 0x4000
	BARDoorbells     = 2 // one 4,096-byte page per queue pair (section 4)
	BARDoorbellsSize = 0x20000
	BARMSIX          = 4 // MSI-X table at 0x0000, pending bits at 0x1000 (section 5)
	BARMSIXSize      = 0x2000
)

// Offsets in BAR0 (section 3).
const (
	RegCAP  = 0x0000 // controller capabilities
	RegVS   = 0x0008 // version of this interface: major, minor, tertiary
	RegCC   = 0x0014 // controller configuration
	RegCSTS = 0x001C // controller status
	RegAQA  = 0x0024 // admin queue sizes
	RegASQ  = 0x0028 // IOVA of the admin submission queue, 4,096-byte aligned
	RegACQ  = 0x0030 // IOVA of the admin completion queue, 4,096-byte aligned
	RegBSTS = 0x0100 // boot status of the controller's firmware
	RegFERR = 0x0104 // first fatal error, valid while CSTS.CFS = 1
	RegRGEN = 0x0108 // reset generation: plus one at every reset of section 21 from CC.EN = 0 down
)

// Register describes one register of BAR0 (section 3).
type Register struct {
	Offset  uint32
	Name    string
	Bits    int
	Access  string // RO or RW
	Reset   string // "implementation" where the card decides
	Meaning string
}

// Registers lists BAR0 in order of offset.
var Registers = []Register{
	{RegCAP, "CAP", 64, "RO", "implementation", "controller capabilities"},
	{RegVS, "VS", 32, "RO", "0x00010000", "version of this interface: major, minor, tertiary"},
	{RegCC, "CC", 32, "RW", "0x00000000", "controller configuration"},
	{RegCSTS, "CSTS", 32, "RO", "0x00000000", "controller status"},
	{RegAQA, "AQA", 32, "RW", "0x00000000", "admin queue sizes"},
	{RegASQ, "ASQ", 64, "RW", "0x0000000000000000", "IOVA of the admin submission queue, 4,096-byte aligned"},
	{RegACQ, "ACQ", 64, "RW", "0x0000000000000000", "IOVA of the admin completion queue, 4,096-byte aligned"},
	{RegBSTS, "BSTS", 32, "RO", "0x000000FF", "boot status of the controller's firmware"},
	{RegFERR, "FERR", 32, "RO", "0x00000000", "first fatal error, valid while CSTS.CFS = 1"},
	{RegRGEN, "RGEN", 32, "RO", "implementation", "reset generation: plus one at every reset of section 21 from CC.EN = 0 down"},
}

// Fields of registers (section 3).
var (
	CAPMQES   = Bits{0, 15}  // most entries in a queue, minus one
	CAPCQR    = Bits{16, 16} // queues must be contiguous: always 1
	CAPTO     = Bits{24, 31} // longest time for CSTS.RDY to follow CC.EN, in 500 ms
	CAPDSTRD  = Bits{32, 35} // doorbell pages are 2^(12 + DSTRD) bytes apart
	CAPNQP    = Bits{40, 47} // number of I/O queue pairs
	CAPMPSMIN = Bits{48, 51} // smallest page is 2^(12 + MPSMIN) bytes: always 0
	VSTER     = Bits{0, 7}   // tertiary version
	VSMNR     = Bits{8, 15}  // minor version
	VSMJR     = Bits{16, 31} // major version
	CCEN      = Bits{0, 0}   // enable
	CCMPS     = Bits{7, 10}  // memory page size: must be 0 (4,096 bytes)
	CCSHN     = Bits{14, 15} // shutdown notification: 0 none, 1 normal, 2 abrupt
	CCIOSQES  = Bits{16, 19} // log2 of the SQE size: must be 6 when EN goes to 1
	CCIOCQES  = Bits{20, 23} // log2 of the CQE size: must be 4 when EN goes to 1
	CSTSRDY   = Bits{0, 0}   // ready
	CSTSCFS   = Bits{1, 1}   // controller fatal status
	CSTSSHST  = Bits{2, 3}   // shutdown status: 0 normal operation, 1 in progress, 2 complete
	AQAASQS   = Bits{0, 11}  // entries of the admin submission queue, minus one
	AQAACQS   = Bits{16, 27} // entries of the admin completion queue, minus one
	BSTSStage = Bits{0, 7}   // 0x00 power-on, 0x10 boot loader, 0x20 image check, 0x30 firmware start, 0xFF running
	BSTSError = Bits{8, 15}  // why the boot stopped; 0 none
	BSTSSlot  = Bits{16, 18} // firmware slot that runs; 0 golden
)

// RegisterField names a field of a register.
type RegisterField struct {
	Register, Name string
	Bits           Bits
	Meaning        string
}

// RegisterFields lists them in the order of section 3.
var RegisterFields = []RegisterField{
	{"CAP", "MQES", CAPMQES, "most entries in a queue, minus one"},
	{"CAP", "CQR", CAPCQR, "queues must be contiguous: always 1"},
	{"CAP", "TO", CAPTO, "longest time for CSTS.RDY to follow CC.EN, in 500 ms"},
	{"CAP", "DSTRD", CAPDSTRD, "doorbell pages are 2^(12 + DSTRD) bytes apart"},
	{"CAP", "NQP", CAPNQP, "number of I/O queue pairs"},
	{"CAP", "MPSMIN", CAPMPSMIN, "smallest page is 2^(12 + MPSMIN) bytes: always 0"},
	{"VS", "TER", VSTER, "tertiary version"},
	{"VS", "MNR", VSMNR, "minor version"},
	{"VS", "MJR", VSMJR, "major version"},
	{"CC", "EN", CCEN, "enable"},
	{"CC", "MPS", CCMPS, "memory page size: must be 0 (4,096 bytes)"},
	{"CC", "SHN", CCSHN, "shutdown notification: 0 none, 1 normal, 2 abrupt"},
	{"CC", "IOSQES", CCIOSQES, "log2 of the SQE size: must be 6 when EN goes to 1"},
	{"CC", "IOCQES", CCIOCQES, "log2 of the CQE size: must be 4 when EN goes to 1"},
	{"CSTS", "RDY", CSTSRDY, "ready"},
	{"CSTS", "CFS", CSTSCFS, "controller fatal status"},
	{"CSTS", "SHST", CSTSSHST, "shutdown status: 0 normal operation, 1 in progress, 2 complete"},
	{"AQA", "ASQS", AQAASQS, "entries of the admin submission queue, minus one"},
	{"AQA", "ACQS", AQAACQS, "entries of the admin completion queue, minus one"},
	{"BSTS", "STAGE", BSTSStage, "0x00 power-on, 0x10 boot loader, 0x20 image check, 0x30 firmware start, 0xFF running"},
	{"BSTS", "ERROR", BSTSError, "why the boot stopped; 0 none"},
	{"BSTS", "SLOT", BSTSSlot, "firmware slot that runs; 0 golden"},
}

// FERR values (section 3).
const (
	FatalNone     = 0 // no fatal error
	FatalConfig   = 1 // CC, AQA, ASQ or ACQ held something unusable when EN went to 1
	FatalAdminDMA = 2 // an access to the admin queues was refused by the IOMMU
	FatalFirmware = 3 // the controller's firmware stopped (assertion)
	FatalThermal  = 4 // shut down at the critical temperature
	FatalMemory   = 5 // uncorrectable error outside session memory
	FatalDoorbell = 6 // a tail or head beyond its queue was written
)

// Offsets in a doorbell page of BAR2 (section 4).
const (
	DoorbellSQTDBL = 0x00 // submission queue tail: index of the next free entry, 0..size-1
	DoorbellCQHDBL = 0x04 // completion queue head: index of the next entry to read, 0..size-1
	DoorbellKICK   = 0x08 // session slot (bits 15:0): the card reads that session's host block again
	DoorbellARM    = 0x10 // interrupt request for a token ring (section 13); one 64-bit store
)

// Fields of the 64-bit ARM doorbell (section 13).
var (
	ArmSequence = Bits{0, 31}  // fire when the record with this sequence has been written
	ArmSlot     = Bits{32, 47} // session slot
	ArmDelay    = Bits{48, 63} // µs; 0 = none
)
