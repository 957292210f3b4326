package hci

// Admin opcodes (section 9).
const (
	AdminDeleteIOSQ           = 0x00 // CDW10 = queue. Commands outstanding end ABORTED_SQ_DELETION first
	AdminCreateIOSQ           = 0x01 // PRP1 = memory, CDW10 = queue and size, CDW11 = flags and CQ
	AdminGetLogPage           = 0x02 // PRP1 = buffer, CDW10..12
	AdminDeleteIOCQ           = 0x04 // CDW10 = queue. Its SQ MUST be deleted first
	AdminCreateIOCQ           = 0x05 // PRP1 = memory, CDW10 = queue and size, CDW11 = flags and vector
	AdminIdentify             = 0x06 // PRP1 = 4,096-byte buffer, CDW10 = CNS
	AdminAbort                = 0x08 // CDW10 = queue and CID
	AdminSetFeatures          = 0x09 // CDW10 = feature, CDW11 = value
	AdminGetFeatures          = 0x0A // CDW10 = feature; DW0 = value
	AdminAsyncEventRequest    = 0x0C // completes when an event is there (section 17.3)
	AdminFirmwareCommit       = 0x10 // section 20
	AdminFirmwareDownload     = 0x11 // section 20
	AdminSelfTest             = 0x14 // CDW10 = code
	AdminDoorbellBufferConfig = 0x7C // PRP1 = shadow words (R), PRP2 = event indexes (W)
	AdminHealthRecordConfig   = 0xC0 // PRP1 = record (W), CDW10 = interval in ms
	AdminAdapterLoad          = 0xC4 // section 19
	AdminAdapterUnload        = 0xC5 // section 19
	AdminAttest               = 0xC8 // section 20
)

// I/O opcodes (section 11).
const (
	OpOpen     = 0x81 // take a slot. DW0 = SID
	OpPrefill  = 0x82 // append tokens. DW0 = tokens appended, DW1 = kv_len
	OpGenerate = 0x83 // decode. DW0 = next sequence, DW1 = kv_len
	OpCancel   = 0x84 // end what runs and is queued. DW0 = commands ended, DW1 = kv_len
	OpTruncate = 0x85 // drop tokens from a position on. DW1 = kv_len
	OpFork     = 0x86 // copy a session to a new slot. DW0 = new SID, DW1 = kv_len
	OpClose    = 0x87 // zero the KV, free the slot
)

// Opcode describes one command.
type Opcode struct {
	Code    uint8
	Name    string
	Needs   string // "yes" when mandatory, else the capability bit
	Meaning string
}

// AdminOpcodes lists section 9.
var AdminOpcodes = []Opcode{
	{AdminDeleteIOSQ, "DELETE_IO_SQ", "yes", "CDW10 = queue. Commands outstanding end ABORTED_SQ_DELETION first"},
	{AdminCreateIOSQ, "CREATE_IO_SQ", "yes", "PRP1 = memory, CDW10 = queue and size, CDW11 = flags and CQ"},
	{AdminGetLogPage, "GET_LOG_PAGE", "yes", "PRP1 = buffer, CDW10..12"},
	{AdminDeleteIOCQ, "DELETE_IO_CQ", "yes", "CDW10 = queue. Its SQ MUST be deleted first"},
	{AdminCreateIOCQ, "CREATE_IO_CQ", "yes", "PRP1 = memory, CDW10 = queue and size, CDW11 = flags and vector"},
	{AdminIdentify, "IDENTIFY", "yes", "PRP1 = 4,096-byte buffer, CDW10 = CNS"},
	{AdminAbort, "ABORT", "yes", "CDW10 = queue and CID"},
	{AdminSetFeatures, "SET_FEATURES", "yes", "CDW10 = feature, CDW11 = value"},
	{AdminGetFeatures, "GET_FEATURES", "yes", "CDW10 = feature; DW0 = value"},
	{AdminAsyncEventRequest, "ASYNC_EVENT_REQUEST", "yes", "completes when an event is there (section 17.3)"},
	{AdminFirmwareCommit, "FIRMWARE_COMMIT", "FIRMWARE", "section 20"},
	{AdminFirmwareDownload, "FIRMWARE_DOWNLOAD", "FIRMWARE", "section 20"},
	{AdminSelfTest, "SELF_TEST", "SELFTEST", "CDW10 = code"},
	{AdminDoorbellBufferConfig, "DOORBELL_BUFFER_CONFIG", "SHADOW", "PRP1 = shadow words (R), PRP2 = event indexes (W)"},
	{AdminHealthRecordConfig, "HEALTH_RECORD_CONFIG", "yes", "PRP1 = record (W), CDW10 = interval in ms"},
	{AdminAdapterLoad, "ADAPTER_LOAD", "ADAPTERS", "section 19"},
	{AdminAdapterUnload, "ADAPTER_UNLOAD", "ADAPTERS", "section 19"},
	{AdminAttest, "ATTEST", "ATTEST", "section 20"},
}

// IOOpcodes lists section 11.
var IOOpcodes = []Opcode{
	{OpOpen, "OPEN", "yes", "take a slot. DW0 = SID"},
	{OpPrefill, "PREFILL", "yes", "append tokens. DW0 = tokens appended, DW1 = kv_len"},
	{OpGenerate, "GENERATE", "yes", "decode. DW0 = next sequence, DW1 = kv_len"},
	{OpCancel, "CANCEL", "yes", "end what runs and is queued. DW0 = commands ended, DW1 = kv_len"},
	{OpTruncate, "TRUNCATE", "yes", "drop tokens from a position on. DW1 = kv_len"},
	{OpFork, "FORK", "FORK", "copy a session to a new slot. DW0 = new SID, DW1 = kv_len"},
	{OpClose, "CLOSE", "yes", "zero the KV, free the slot"},
}
