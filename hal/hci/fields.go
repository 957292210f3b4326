package hci

// CommandField is a field of a command: bits of the little-endian word at a byte
// offset of the SQE (sections 9 and 11).
type CommandField struct {
	Command, Name string
	Offset        uint8
	Lo, Hi        uint8
}

// Fields of the admin commands (section 9).
var (
	CreateIOCQQID              = CommandField{"CREATE_IO_CQ", "QID", 0x28, 0, 15}              // queue pair number
	CreateIOCQQsize            = CommandField{"CREATE_IO_CQ", "QSIZE", 0x28, 16, 31}           // entries minus one
	CreateIOCQPC               = CommandField{"CREATE_IO_CQ", "PC", 0x2C, 0, 0}                // physically contiguous: must be 1
	CreateIOCQIEN              = CommandField{"CREATE_IO_CQ", "IEN", 0x2C, 1, 1}               // interrupts enabled
	CreateIOCQIV               = CommandField{"CREATE_IO_CQ", "IV", 0x2C, 16, 31}              // interrupt vector
	CreateIOSQQID              = CommandField{"CREATE_IO_SQ", "QID", 0x28, 0, 15}              // queue pair number
	CreateIOSQQsize            = CommandField{"CREATE_IO_SQ", "QSIZE", 0x28, 16, 31}           // entries minus one
	CreateIOSQPC               = CommandField{"CREATE_IO_SQ", "PC", 0x2C, 0, 0}                // must be 1
	CreateIOSQCQID             = CommandField{"CREATE_IO_SQ", "CQID", 0x2C, 16, 31}            // must be equal to QID
	DeleteIOSQQID              = CommandField{"DELETE_IO_SQ", "QID", 0x28, 0, 15}              // queue pair number
	DeleteIOCQQID              = CommandField{"DELETE_IO_CQ", "QID", 0x28, 0, 15}              // queue pair number
	GetLogPageLID              = CommandField{"GET_LOG_PAGE", "LID", 0x28, 0, 7}               // log page
	GetLogPageRAE              = CommandField{"GET_LOG_PAGE", "RAE", 0x28, 15, 15}             // retain the asynchronous event of this page
	GetLogPageNUMD             = CommandField{"GET_LOG_PAGE", "NUMD", 0x2C, 0, 31}             // dwords wanted, minus one; at most 1,023
	GetLogPageLPO              = CommandField{"GET_LOG_PAGE", "LPO", 0x30, 0, 31}              // byte offset in the page, a multiple of 4
	IdentifyCNS                = CommandField{"IDENTIFY", "CNS", 0x28, 0, 7}                   // 0x01 = capability page; others are reserved
	AbortSQID                  = CommandField{"ABORT", "SQID", 0x28, 0, 15}                    // queue pair number
	AbortCID                   = CommandField{"ABORT", "CID", 0x28, 16, 31}                    // command id
	SetFeaturesFID             = CommandField{"SET_FEATURES", "FID", 0x28, 0, 7}               // feature
	SetFeaturesValue           = CommandField{"SET_FEATURES", "VALUE", 0x2C, 0, 31}            // value
	GetFeaturesFID             = CommandField{"GET_FEATURES", "FID", 0x28, 0, 7}               // feature
	GetFeaturesSEL             = CommandField{"GET_FEATURES", "SEL", 0x28, 8, 10}              // 0 current, 1 default, 3 supported (DW0 = lowest, DW1 = highest)
	SelfTestSTC                = CommandField{"SELF_TEST", "STC", 0x28, 0, 3}                  // 1 short, 2 extended, 0xF abort the running one
	HealthRecordConfigInterval = CommandField{"HEALTH_RECORD_CONFIG", "INTERVAL", 0x28, 0, 15} // ms, 10..10,000; PRP1 = 0 stops the record
	FirmwareDownloadNUMD       = CommandField{"FIRMWARE_DOWNLOAD", "NUMD", 0x28, 0, 31}        // dwords of this piece, minus one
	FirmwareDownloadOFST       = CommandField{"FIRMWARE_DOWNLOAD", "OFST", 0x2C, 0, 31}        // offset of this piece in dwords
	FirmwareDownloadCRC        = CommandField{"FIRMWARE_DOWNLOAD", "CRC", 0x30, 0, 31}         // CRC32C of this piece
	FirmwareCommitFS           = CommandField{"FIRMWARE_COMMIT", "FS", 0x28, 0, 2}             // firmware slot; 0 lets the card choose the one not running
	FirmwareCommitCA           = CommandField{"FIRMWARE_COMMIT", "CA", 0x28, 3, 5}             // commit action
	AdapterLoadAID             = CommandField{"ADAPTER_LOAD", "AID", 0x28, 0, 15}              // adapter id, 1..65,535
	AdapterLoadLast            = CommandField{"ADAPTER_LOAD", "LAST", 0x28, 31, 31}            // this is the last piece: check and make usable
	AdapterLoadLength          = CommandField{"ADAPTER_LOAD", "LENGTH", 0x2C, 0, 31}           // bytes of this piece, 1..1,048,576
	AdapterLoadOffset          = CommandField{"ADAPTER_LOAD", "OFFSET", 0x30, 0, 31}           // offset of this piece in the image
	AdapterLoadCRC             = CommandField{"ADAPTER_LOAD", "CRC", 0x34, 0, 31}              // CRC32C of this piece
	AdapterLoadImageCRC        = CommandField{"ADAPTER_LOAD", "IMAGECRC", 0x38, 0, 31}         // with LAST: CRC32C of the whole image
	AdapterUnloadAID           = CommandField{"ADAPTER_UNLOAD", "AID", 0x28, 0, 15}            // adapter id
	AttestNonceLen             = CommandField{"ATTEST", "NONCELEN", 0x28, 0, 7}                // bytes of nonce at PRP1, 16..64
	AttestLength               = CommandField{"ATTEST", "LENGTH", 0x2C, 0, 31}                 // bytes available at PRP2 for the evidence
)

// Fields of the I/O commands (section 11).
var (
	OpenCardBlock       = CommandField{"OPEN", "CARDBLOCK", 0x10, 0, 63}        // IOVA of the card block (W), 128-byte aligned
	OpenRing            = CommandField{"OPEN", "RING", 0x18, 0, 63}             // IOVA of the token ring (W), 4,096-byte aligned
	OpenHostBlock       = CommandField{"OPEN", "HOSTBLOCK", 0x20, 0, 63}        // IOVA of the host block (R), 128-byte aligned
	OpenAID             = CommandField{"OPEN", "AID", 0x28, 0, 15}              // adapter id; 0 = the model itself
	OpenRingLog2        = CommandField{"OPEN", "RINGLOG2", 0x28, 16, 23}        // log2 of the ring's entries, RING_MIN..RING_MAX
	OpenSequence        = CommandField{"OPEN", "SEQUENCE", 0x2C, 0, 31}         // sequence of the first record
	OpenEpoch           = CommandField{"OPEN", "EPOCH", 0x30, 0, 15}            // epoch before the first one, any value
	OpenIV              = CommandField{"OPEN", "IV", 0x30, 16, 31}              // interrupt vector for ARM
	OpenReserve         = CommandField{"OPEN", "RESERVE", 0x34, 0, 31}          // tokens of KV charged from now on, whether used or not
	ForkCardBlock       = CommandField{"FORK", "CARDBLOCK", 0x10, 0, 63}        // as OPEN, for the new session
	ForkRing            = CommandField{"FORK", "RING", 0x18, 0, 63}             // as OPEN
	ForkHostBlock       = CommandField{"FORK", "HOSTBLOCK", 0x20, 0, 63}        // as OPEN
	ForkRingLog2        = CommandField{"FORK", "RINGLOG2", 0x28, 16, 23}        // as OPEN
	ForkSequence        = CommandField{"FORK", "SEQUENCE", 0x2C, 0, 31}         // as OPEN
	ForkEpoch           = CommandField{"FORK", "EPOCH", 0x30, 0, 15}            // as OPEN
	ForkIV              = CommandField{"FORK", "IV", 0x30, 16, 31}              // as OPEN
	ForkReserve         = CommandField{"FORK", "RESERVE", 0x34, 0, 31}          // as OPEN
	PrefillTokens       = CommandField{"PREFILL", "TOKENS", 0x18, 0, 63}        // IOVA of the token ids, u32 each (R), 4-byte aligned
	PrefillCount        = CommandField{"PREFILL", "COUNT", 0x28, 0, 31}         // number of tokens, 1..CONTEXT
	PrefillCRC          = CommandField{"PREFILL", "CRC", 0x2C, 0, 31}           // CRC32C of the token ids as bytes
	PrefillScore        = CommandField{"PREFILL", "SCORE", 0x30, 0, 0}          // write a SCORE record for each token; starts an epoch
	PrefillEpoch        = CommandField{"PREFILL", "EPOCH", 0x30, 16, 31}        // with SCORE: the new epoch; else 0
	GenerateChoice      = CommandField{"GENERATE", "CHOICE", 0x08, 0, 15}       // choice number for the sampler's key (n > 1)
	GenerateParams      = CommandField{"GENERATE", "PARAMS", 0x18, 0, 63}       // IOVA of the parameter block (R), 64-byte aligned; 0 = none
	GenerateMaxTokens   = CommandField{"GENERATE", "MAXTOKENS", 0x28, 0, 31}    // most tokens to sample, 1 or more
	GenerateEpoch       = CommandField{"GENERATE", "EPOCH", 0x2C, 0, 15}        // the new epoch
	GenerateTopK        = CommandField{"GENERATE", "TOPK", 0x2C, 16, 23}        // 1..CANDIDATES; 0 = CANDIDATES
	GenerateGreedy      = CommandField{"GENERATE", "GREEDY", 0x2C, 24, 24}      // take the best candidate; the sampler's fields are ignored
	GenerateLogprobs    = CommandField{"GENERATE", "LOGPROBS", 0x2C, 25, 25}    // candidate records
	GenerateStepped     = CommandField{"GENERATE", "STEPPED", 0x2C, 26, 26}     // the host chooses (section 15.1)
	GenerateIgnoreEos   = CommandField{"GENERATE", "IGNORE_EOS", 0x2C, 27, 27}  // the model's own stop ids do not stop
	GenerateMask        = CommandField{"GENERATE", "MASK", 0x2C, 28, 28}        // masks, from the parameter block
	GenerateProvisional = CommandField{"GENERATE", "PROVISIONAL", 0x2C, 29, 29} // block-parallel cards: also write provisional records
	GenerateInvTemp     = CommandField{"GENERATE", "INVTEMP", 0x30, 0, 31}      // 1 / temperature, Q16.16
	GenerateTopP        = CommandField{"GENERATE", "TOPP", 0x34, 0, 31}         // top-p, Q16.16, 1..65,536
	GenerateSeedLo      = CommandField{"GENERATE", "SEEDLO", 0x38, 0, 31}       // seed, low half
	GenerateSeedHi      = CommandField{"GENERATE", "SEEDHI", 0x3C, 0, 31}       // seed, high half
	TruncateLength      = CommandField{"TRUNCATE", "LENGTH", 0x28, 0, 31}       // new kv_len, at most the present one
)

// AdminFields lists the fields of the admin commands in order.
var AdminFields = []CommandField{
	CreateIOCQQID,
	CreateIOCQQsize,
	CreateIOCQPC,
	CreateIOCQIEN,
	CreateIOCQIV,
	CreateIOSQQID,
	CreateIOSQQsize,
	CreateIOSQPC,
	CreateIOSQCQID,
	DeleteIOSQQID,
	DeleteIOCQQID,
	GetLogPageLID,
	GetLogPageRAE,
	GetLogPageNUMD,
	GetLogPageLPO,
	IdentifyCNS,
	AbortSQID,
	AbortCID,
	SetFeaturesFID,
	SetFeaturesValue,
	GetFeaturesFID,
	GetFeaturesSEL,
	SelfTestSTC,
	HealthRecordConfigInterval,
	FirmwareDownloadNUMD,
	FirmwareDownloadOFST,
	FirmwareDownloadCRC,
	FirmwareCommitFS,
	FirmwareCommitCA,
	AdapterLoadAID,
	AdapterLoadLast,
	AdapterLoadLength,
	AdapterLoadOffset,
	AdapterLoadCRC,
	AdapterLoadImageCRC,
	AdapterUnloadAID,
	AttestNonceLen,
	AttestLength,
}

// IOFields lists the fields of the I/O commands in order.
var IOFields = []CommandField{
	OpenCardBlock,
	OpenRing,
	OpenHostBlock,
	OpenAID,
	OpenRingLog2,
	OpenSequence,
	OpenEpoch,
	OpenIV,
	OpenReserve,
	ForkCardBlock,
	ForkRing,
	ForkHostBlock,
	ForkRingLog2,
	ForkSequence,
	ForkEpoch,
	ForkIV,
	ForkReserve,
	PrefillTokens,
	PrefillCount,
	PrefillCRC,
	PrefillScore,
	PrefillEpoch,
	GenerateChoice,
	GenerateParams,
	GenerateMaxTokens,
	GenerateEpoch,
	GenerateTopK,
	GenerateGreedy,
	GenerateLogprobs,
	GenerateStepped,
	GenerateIgnoreEos,
	GenerateMask,
	GenerateProvisional,
	GenerateInvTemp,
	GenerateTopP,
	GenerateSeedLo,
	GenerateSeedHi,
	TruncateLength,
}
