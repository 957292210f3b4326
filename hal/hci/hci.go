// Package hci is HCI 1.0, the host-card interface of docs/hci.md, as data:
// registers, commands, structures in memory, status codes. It has no
// behaviour but what it takes to read and write those; section numbers in
// comments are the document's. A test reads the document's own tables and
// compares them with this package.
package hci

// Version of the interface: register VS and VER of the capability page.
const (
	VersionMajor = 1
	VersionMinor = 0
	Version      = VersionMajor<<16 | VersionMinor<<8
)

// Sizes of wire structures, in bytes.
const (
	PageSize       = 4096
	SQESize        = 64
	CQESize        = 16
	RecordSize     = 64
	HostBlockSize  = 128
	CardBlockSize  = 128
	HealthSize     = 64
	ParamsSize     = 256
	MaskStride     = 16384
	ShadowStride   = 256
	CapsSize       = 4096
	TokensPerIDRec = 12 // ids in an id record
	MaxCandidates  = 8
	MaxStopIDs     = 16
	// MaxVocab is what the bits of a mask slot can name.
	MaxVocab = MaskOffCRC * 8
)

// Bits is a field of a register or word, both ends included.
type Bits struct{ Lo, Hi uint8 }

// Get extracts the field.
func (b Bits) Get(v uint64) uint64 { return v >> b.Lo & b.mask() }

// Put returns v with the field set to x; bits of x beyond the field are dropped.
func (b Bits) Put(v, x uint64) uint64 {
	return v&^(b.mask()<<b.Lo) | (x&b.mask())<<b.Lo
}

func (b Bits) mask() uint64 { return ^uint64(0) >> (63 - (b.Hi - b.Lo)) }
