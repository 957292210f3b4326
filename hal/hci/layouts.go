package hci

// Member is one field of a structure in memory: byte offset and size.
type Member struct {
	Offset, Size int
	Name         string
}

// Offsets of structure shadow (section 4.1).
const (
	ShadowOffSQT = 0x00 // SQ tail, or its event index
	ShadowOffCQH = 0x80 // CQ head, or its event index
)

// Offsets of structure sqe (section 7).
const (
	SQEOffOPC   = 0x00 // opcode
	SQEOffFlags = 0x01 // reserved
	SQEOffCID   = 0x02 // command id, unique among the queue's outstanding commands
	SQEOffSID   = 0x04 // session id; 0 where the command names none
	SQEOffDW2   = 0x08 // command specific
	SQEOffDW3   = 0x0C // command specific
	SQEOffMPTR  = 0x10 // command-specific IOVA
	SQEOffPRP1  = 0x18 // data IOVA
	SQEOffPRP2  = 0x20 // second data IOVA
	SQEOffCDW10 = 0x28 // command specific
	SQEOffCDW11 = 0x2C // command specific
	SQEOffCDW12 = 0x30 // command specific
	SQEOffCDW13 = 0x34 // command specific
	SQEOffCDW14 = 0x38 // command specific
	SQEOffCDW15 = 0x3C // command specific
)

// Offsets of structure cqe (section 7).
const (
	CQEOffDW0    = 0x00 // command-specific result
	CQEOffDW1    = 0x04 // command-specific result
	CQEOffSQHD   = 0x08 // SQ head index: entries before it may be used again
	CQEOffSQID   = 0x0A // queue pair number
	CQEOffCID    = 0x0C // command id of the SQE
	CQEOffStatus = 0x0E // bit 0 phase tag, bits 15:1 status field (section 8)
)

// Offsets of structure caps (section 10).
const (
	CapsOffVID        = 0    // PCI vendor id
	CapsOffSSVID      = 2    // PCI subsystem vendor id
	CapsOffSN         = 4    // serial number
	CapsOffMN         = 24   // model number of the card
	CapsOffFR         = 64   // firmware revision that runs
	CapsOffVER        = 80   // as register VS
	CapsOffACL        = 258  // ABORTs outstanding, minus one
	CapsOffAERL       = 259  // ASYNC EVENT REQUESTs outstanding, minus one
	CapsOffELPE       = 262  // entries in the ERROR log, minus one
	CapsOffModelID    = 1024 // SHA-256 that names the model
	CapsOffNumericsID = 1056 // names the arithmetic: equal MODEL_ID, adapter and NUMERICS_ID mean equal tokens
	CapsOffVocab      = 1060 // number of token ids, 2..130,560
	CapsOffContext    = 1064 // most tokens in a session
	CapsOffKVBudget   = 1068 // SRAM token budget over all sessions
	CapsOffSessions   = 1072 // session slots
	CapsOffCandidates = 1074 // most candidates, and the largest top-k: 1..8
	CapsOffMaxStop    = 1075 // most stop ids of a GENERATE: up to 16
	CapsOffAdapters   = 1076 // most adapters loaded at once
	CapsOffBlock      = 1078 // tokens decoded in parallel; 1 on an autoregressive card
	CapsOffFeatures   = 1080 // capability bits, below
	CapsOffMaxBias    = 1084 // most entries of a bias table
	CapsOffMaskSlots  = 1088 // most mask slots
	CapsOffRingMin    = 1090 // log2 of the fewest entries of a token ring
	CapsOffRingMax    = 1091 // log2 of the most entries of a token ring
	CapsOffBOS        = 1092 // begin-of-text token, 0xFFFFFFFF when there is none
	CapsOffNStop      = 1096 // number of the model's own stop ids, 0..16
	CapsOffStop       = 1100 // the model's own stop ids, 16 x u32
	CapsOffTokenNS    = 1164 // nominal time of a decode step
	CapsOffPrefillNS  = 1168 // nominal time of a prefilled token
	CapsOffChunk      = 1172 // most tokens of a prefill chunk
	CapsOffDepth      = 1174 // commands a session may have running and queued
	CapsOffPowerMinMW = 1176 // lowest power cap
	CapsOffPowerMaxMW = 1180 // highest power cap, and the default
	CapsOffTempWarn   = 1184 // i16, 0.1 °C: throttling begins
	CapsOffTempCrit   = 1186 // i16, 0.1 °C: the card shuts down
	CapsOffSilicon    = 1192 // what computes the tokens: "etched", "llama", "script"
	CapsOffModelName  = 1200 // name of the model
	CapsOffCRC        = 4092 // CRC32C of bytes 0..4091
)

// Offsets of structure hostblock (section 11.2).
const (
	HostOffHead   = 0x00 // sequence of the oldest record the host has not consumed
	HostOffChoice = 0x08 // stepped decode: bits 31:0 token id, 47:32 epoch, 63:48 low half of the position
)

// Offsets of structure cardblock (section 11.2).
const (
	CardOffHEVT      = 0x00 // event index for HEAD
	CardOffWait      = 0x04 // bit 0: sleeping for CHOICE, bit 1: sleeping for a mask; KICK wakes
	CardOffPrefillNS = 0x20 // time spent prefilling this session since its previous GENERATE ended
	CardOffDecodeNS  = 0x28 // last GENERATE: time in its decode steps
	CardOffStallNS   = 0x30 // last GENERATE: time it could not run for a full ring, a late mask or choice
	CardOffWaitNS    = 0x38 // last GENERATE: time it was runnable while other sessions had the turn
	CardOffEnergyUJ  = 0x40 // energy of the last GENERATE and the prefills before it, µJ
	CardOffTokens    = 0x48 // last GENERATE: tokens sampled
	CardOffLate      = 0x4C // last GENERATE: tokens later than the nominal time
	CardOffMaskLate  = 0x50 // last GENERATE: steps that waited for a mask
)

// Offsets of structure record (section 12).
const (
	RecOffPosition = 0x00 // position of the record's first token
	RecOffCount    = 0x04 // tokens (id records: 0..12) or candidates (candidate records: 1..8)
	RecOffChosen   = 0x05 // candidate records: index of the token taken; else 0
	RecOffFlags    = 0x06 // below
	RecOffStop     = 0x07 // stop reason; not 0 only in the last record of an epoch
	RecOffIDS      = 0x08 // id records: up to 12 token ids, u32
	RecOffEpoch    = 0x38 // epoch
	RecOffCRC      = 0x3A // CRC-16 of bytes 0..57 and 60..63 (section 24)
	RecOffSequence = 0x3C // sequence
)

// Offsets of structure params (section 15).
const (
	ParamOffMinTokens      = 0x00 // stop ids are forbidden (logit minus infinity) until so many tokens were sampled
	ParamOffNStop          = 0x04 // further stop ids, 0..MAX_STOP
	ParamOffStop           = 0x08 // their token ids, u32
	ParamOffBiasIOVA       = 0x48 // bias table (R): entries {id u32, bias f32}, ids rising, 4-byte aligned
	ParamOffBiasCount      = 0x50 // its entries, 0..MAX_BIAS
	ParamOffMaskSlots      = 0x54 // mask slots, 2..MASK_SLOTS of section 10
	ParamOffMaskIOVA       = 0x58 // mask slots (R), 4,096-byte aligned
	ParamOffPresence       = 0x60 // f32, subtracted from the logit of each id that was sampled in this epoch
	ParamOffFrequency      = 0x64 // f32, times the number of times that it was
	ParamOffRepetition     = 0x68 // f32, 0 = off: positive logits of ids in KV or sampled are divided by it, others multiplied
	ParamOffBiasCRC        = 0x6C // CRC32C of the bias table
	ParamOffBlockSteps     = 0x70 // block-parallel cards: most steps per block; else 0
	ParamOffBlockThreshold = 0x74 // f32, confidence at which a token is final; else 0
	ParamOffBlockEdit      = 0x78 // f32, edit threshold; else 0
	ParamOffCRC            = 0xFC // CRC32C of bytes 0..251
)

// Offsets of structure maskslot (section 15.2).
const (
	MaskOffBits  = 0x0000 // the mask; words beyond VOCAB are ignored
	MaskOffCRC   = 0x3FF0 // CRC32C of the ceil(VOCAB / 32) words
	MaskOffFlags = 0x3FF4 // bit 0: ALL, every token is allowed and BITS and CRC are ignored
	MaskOffValid = 0x3FF8 // bits 31:0 position, 47:32 epoch, 63:48 must be 1
)

// Offsets of structure health (section 17.1).
const (
	HealthOffUptimeNS = 0x00 // since the last reset
	HealthOffTokens   = 0x08 // tokens decoded since power-on
	HealthOffEnergyMJ = 0x10 // energy since power-on, mJ
	HealthOffPowerMW  = 0x18 // board power
	HealthOffTemp     = 0x1C // i16, hottest sensor, 0.1 °C
	HealthOffClockMHZ = 0x1E // core clock
	HealthOffState    = 0x20 // 0 good, 1 throttled, 2 degraded, 3 failed
	HealthOffThrottle = 0x21 // bit 0 thermal, bit 1 power cap, bit 2 external
	HealthOffOpen     = 0x22 // open sessions
	HealthOffRunnable = 0x24 // runnable sessions
	HealthOffErrors   = 0x28 // entries ever added to the ERROR log
	HealthOffLate     = 0x2C // late tokens since the last reset
	HealthOffKVUsed   = 0x30 // sum of all charges, tokens
	HealthOffRGEN     = 0x38 // low half of register RGEN
	HealthOffCRC      = 0x3A // CRC-16 as in a token record
	HealthOffSequence = 0x3C // plus one at every write, from 1 after HEALTH RECORD CONFIG
)

// Offsets of structure logerror (section 17.2).
const (
	LogErrorOffCount    = 0x00 // number of this error since power-on, from 1; 0 = no entry
	LogErrorOffSQID     = 0x08 // queue pair
	LogErrorOffCID      = 0x0A // command id
	LogErrorOffStatus   = 0x0C // status field, shifted as in a CQE
	LogErrorOffLocation = 0x0E // as DW1 of INVALID_FIELD; 0xFFFF none
	LogErrorOffSID      = 0x10 // session
	LogErrorOffCode     = 0x14 // FERR value, if fatal
	LogErrorOffIOVA     = 0x18 // address of a refused access; 0 none
	LogErrorOffTimeNS   = 0x20 // uptime
)

// Offsets of structure logfirmware (section 17.2).
const (
	LogFirmwareOffAFI       = 0x00 // bits 2:0 running slot, 6:4 slot at the next reset (0 = the same)
	LogFirmwareOffConfirmed = 0x01 // bit per slot: its image was confirmed
	LogFirmwareOffBootable  = 0x02 // bit per slot: holds an image whose signature matches
	LogFirmwareOffTries     = 0x03 // boots left before an unconfirmed image is reverted
	LogFirmwareOffSecurity  = 0x04 // security version floor
	LogFirmwareOffFR0       = 0x08 // revision of slot 0 (golden, read-only)
	LogFirmwareOffFR1       = 0x10 // revision of slot 1 (A)
	LogFirmwareOffFR2       = 0x18 // revision of slot 2 (B)
)

// Offsets of structure logselftest (section 17.2).
const (
	LogSelfTestOffCurrent = 0x00 // code of the running test; 0 none
	LogSelfTestOffPercent = 0x01 // how far it is
	LogSelfTestOffCode    = 0x02 // code of the last finished test; 0 none
	LogSelfTestOffResult  = 0x03 // 0 passed, 1 aborted, 2 weights differ, 3 forward pass differs, 4 memory
	LogSelfTestOffTimeNS  = 0x08 // uptime when it finished
)

// Offsets of structure logtelemetry (section 17.2).
const (
	TelemetryOffUptimeNS       = 0x00 // since the last reset
	TelemetryOffEnergyMJ       = 0x08 // since power-on
	TelemetryOffPowerMW        = 0x10 // board power
	TelemetryOffPowerCoreMW    = 0x14 // core rail
	TelemetryOffPowerSramMW    = 0x18 // SRAM rail
	TelemetryOffPowerIOMW      = 0x1C // I/O rail
	TelemetryOffPowerCapMW     = 0x20 // power cap
	TelemetryOffTempCore       = 0x24 // i16, 0.1 °C
	TelemetryOffTempSram       = 0x26 // i16, 0.1 °C
	TelemetryOffTempBoard      = 0x28 // i16, 0.1 °C
	TelemetryOffClockCoreMHZ   = 0x2A // core clock
	TelemetryOffClockSramMHZ   = 0x2C // SRAM clock
	TelemetryOffThrottle       = 0x2E // as in the health record
	TelemetryOffState          = 0x2F // as in the health record
	TelemetryOffECCCorrected   = 0x30 // since power-on
	TelemetryOffECCUncorrected = 0x38 // since power-on
	TelemetryOffTokens         = 0x40 // decoded since power-on
	TelemetryOffPrefilled      = 0x48 // prefilled since power-on
	TelemetryOffLate           = 0x50 // late tokens since power-on
	TelemetryOffMaskLate       = 0x58 // late masks since power-on
	TelemetryOffRingStalls     = 0x60 // times a session slept on a full ring
	TelemetryOffBusyNS         = 0x68 // time in token steps since power-on
	TelemetryOffCommands       = 0x70 // commands completed since power-on
	TelemetryOffInterrupts     = 0x78 // interrupts sent since power-on
	TelemetryOffDMARead        = 0x80 // bytes
	TelemetryOffDMAWritten     = 0x88 // bytes
	TelemetryOffDMAFaults      = 0x90 // accesses refused by the IOMMU
)

// Offsets of structure logsession (section 17.2).
const (
	LogSessionOffSID      = 0x00 // session id; 0xFFFFFFFF = slot free
	LogSessionOffState    = 0x04 // 0 free, 1 idle, 2 prefill, 3 decode, 4 ring full, 5 waits for choice, 6 waits for mask
	LogSessionOffQueued   = 0x05 // commands running and queued
	LogSessionOffAID      = 0x06 // adapter
	LogSessionOffKVLen    = 0x08 // tokens in KV
	LogSessionOffCharge   = 0x0C // tokens charged
	LogSessionOffSequence = 0x10 // next sequence
	LogSessionOffEpoch    = 0x14 // epoch
	LogSessionOffTokens   = 0x18 // tokens decoded in this session
)

// Offsets of structure logevent (section 17.2).
const (
	LogEventOffTimeNS = 0x00 // uptime
	LogEventOffNumber = 0x08 // plus one per event since power-on, from 1; 0 = no entry
	LogEventOffCode   = 0x0C // event code, below
	LogEventOffArg0   = 0x10 // by code
	LogEventOffArg1   = 0x18 // by code
)

// Layouts holds every structure of the document by the name of its table.
var Layouts = map[string][]Member{
	"shadow": {
		{ShadowOffSQT, 4, "SQT"},
		{ShadowOffCQH, 4, "CQH"},
	},
	"sqe": {
		{SQEOffOPC, 1, "OPC"},
		{SQEOffFlags, 1, "FLAGS"},
		{SQEOffCID, 2, "CID"},
		{SQEOffSID, 4, "SID"},
		{SQEOffDW2, 4, "DW2"},
		{SQEOffDW3, 4, "DW3"},
		{SQEOffMPTR, 8, "MPTR"},
		{SQEOffPRP1, 8, "PRP1"},
		{SQEOffPRP2, 8, "PRP2"},
		{SQEOffCDW10, 4, "CDW10"},
		{SQEOffCDW11, 4, "CDW11"},
		{SQEOffCDW12, 4, "CDW12"},
		{SQEOffCDW13, 4, "CDW13"},
		{SQEOffCDW14, 4, "CDW14"},
		{SQEOffCDW15, 4, "CDW15"},
	},
	"cqe": {
		{CQEOffDW0, 4, "DW0"},
		{CQEOffDW1, 4, "DW1"},
		{CQEOffSQHD, 2, "SQHD"},
		{CQEOffSQID, 2, "SQID"},
		{CQEOffCID, 2, "CID"},
		{CQEOffStatus, 2, "STATUS"},
	},
	"caps": {
		{CapsOffVID, 2, "VID"},
		{CapsOffSSVID, 2, "SSVID"},
		{CapsOffSN, 20, "SN"},
		{CapsOffMN, 40, "MN"},
		{CapsOffFR, 8, "FR"},
		{CapsOffVER, 4, "VER"},
		{CapsOffACL, 1, "ACL"},
		{CapsOffAERL, 1, "AERL"},
		{CapsOffELPE, 1, "ELPE"},
		{CapsOffModelID, 32, "MODEL_ID"},
		{CapsOffNumericsID, 4, "NUMERICS_ID"},
		{CapsOffVocab, 4, "VOCAB"},
		{CapsOffContext, 4, "CONTEXT"},
		{CapsOffKVBudget, 4, "KV_BUDGET"},
		{CapsOffSessions, 2, "SESSIONS"},
		{CapsOffCandidates, 1, "CANDIDATES"},
		{CapsOffMaxStop, 1, "MAX_STOP"},
		{CapsOffAdapters, 2, "ADAPTERS"},
		{CapsOffBlock, 2, "BLOCK"},
		{CapsOffFeatures, 4, "FEATURES"},
		{CapsOffMaxBias, 4, "MAX_BIAS"},
		{CapsOffMaskSlots, 2, "MASK_SLOTS"},
		{CapsOffRingMin, 1, "RING_MIN"},
		{CapsOffRingMax, 1, "RING_MAX"},
		{CapsOffBOS, 4, "BOS"},
		{CapsOffNStop, 1, "NSTOP"},
		{CapsOffStop, 64, "STOP"},
		{CapsOffTokenNS, 4, "TOKEN_NS"},
		{CapsOffPrefillNS, 4, "PREFILL_NS"},
		{CapsOffChunk, 2, "CHUNK"},
		{CapsOffDepth, 1, "DEPTH"},
		{CapsOffPowerMinMW, 4, "POWER_MIN_MW"},
		{CapsOffPowerMaxMW, 4, "POWER_MAX_MW"},
		{CapsOffTempWarn, 2, "TEMP_WARN"},
		{CapsOffTempCrit, 2, "TEMP_CRIT"},
		{CapsOffSilicon, 8, "SILICON"},
		{CapsOffModelName, 64, "MODEL_NAME"},
		{CapsOffCRC, 4, "CRC"},
	},
	"hostblock": {
		{HostOffHead, 4, "HEAD"},
		{HostOffChoice, 8, "CHOICE"},
	},
	"cardblock": {
		{CardOffHEVT, 4, "HEVT"},
		{CardOffWait, 4, "WAIT"},
		{CardOffPrefillNS, 8, "PREFILL_NS"},
		{CardOffDecodeNS, 8, "DECODE_NS"},
		{CardOffStallNS, 8, "STALL_NS"},
		{CardOffWaitNS, 8, "WAIT_NS"},
		{CardOffEnergyUJ, 8, "ENERGY_UJ"},
		{CardOffTokens, 4, "TOKENS"},
		{CardOffLate, 4, "LATE"},
		{CardOffMaskLate, 4, "MASK_LATE"},
	},
	"record": {
		{RecOffPosition, 4, "POSITION"},
		{RecOffCount, 1, "COUNT"},
		{RecOffChosen, 1, "CHOSEN"},
		{RecOffFlags, 1, "FLAGS"},
		{RecOffStop, 1, "STOP"},
		{RecOffIDS, 48, "IDS"},
		{RecOffEpoch, 2, "EPOCH"},
		{RecOffCRC, 2, "CRC"},
		{RecOffSequence, 4, "SEQUENCE"},
	},
	"params": {
		{ParamOffMinTokens, 4, "MIN_TOKENS"},
		{ParamOffNStop, 1, "NSTOP"},
		{ParamOffStop, 64, "STOP"},
		{ParamOffBiasIOVA, 8, "BIAS_IOVA"},
		{ParamOffBiasCount, 4, "BIAS_COUNT"},
		{ParamOffMaskSlots, 4, "MASK_SLOTS"},
		{ParamOffMaskIOVA, 8, "MASK_IOVA"},
		{ParamOffPresence, 4, "PRESENCE"},
		{ParamOffFrequency, 4, "FREQUENCY"},
		{ParamOffRepetition, 4, "REPETITION"},
		{ParamOffBiasCRC, 4, "BIAS_CRC"},
		{ParamOffBlockSteps, 4, "BLOCK_STEPS"},
		{ParamOffBlockThreshold, 4, "BLOCK_THRESHOLD"},
		{ParamOffBlockEdit, 4, "BLOCK_EDIT"},
		{ParamOffCRC, 4, "CRC"},
	},
	"maskslot": {
		{MaskOffBits, 16320, "BITS"},
		{MaskOffCRC, 4, "CRC"},
		{MaskOffFlags, 4, "FLAGS"},
		{MaskOffValid, 8, "VALID"},
	},
	"health": {
		{HealthOffUptimeNS, 8, "UPTIME_NS"},
		{HealthOffTokens, 8, "TOKENS"},
		{HealthOffEnergyMJ, 8, "ENERGY_MJ"},
		{HealthOffPowerMW, 4, "POWER_MW"},
		{HealthOffTemp, 2, "TEMP"},
		{HealthOffClockMHZ, 2, "CLOCK_MHZ"},
		{HealthOffState, 1, "STATE"},
		{HealthOffThrottle, 1, "THROTTLE"},
		{HealthOffOpen, 2, "OPEN"},
		{HealthOffRunnable, 2, "RUNNABLE"},
		{HealthOffErrors, 4, "ERRORS"},
		{HealthOffLate, 4, "LATE"},
		{HealthOffKVUsed, 4, "KV_USED"},
		{HealthOffRGEN, 2, "RGEN"},
		{HealthOffCRC, 2, "CRC"},
		{HealthOffSequence, 4, "SEQUENCE"},
	},
	"logerror": {
		{LogErrorOffCount, 8, "COUNT"},
		{LogErrorOffSQID, 2, "SQID"},
		{LogErrorOffCID, 2, "CID"},
		{LogErrorOffStatus, 2, "STATUS"},
		{LogErrorOffLocation, 2, "LOCATION"},
		{LogErrorOffSID, 4, "SID"},
		{LogErrorOffCode, 4, "CODE"},
		{LogErrorOffIOVA, 8, "IOVA"},
		{LogErrorOffTimeNS, 8, "TIME_NS"},
	},
	"logfirmware": {
		{LogFirmwareOffAFI, 1, "AFI"},
		{LogFirmwareOffConfirmed, 1, "CONFIRMED"},
		{LogFirmwareOffBootable, 1, "BOOTABLE"},
		{LogFirmwareOffTries, 1, "TRIES"},
		{LogFirmwareOffSecurity, 4, "SECURITY"},
		{LogFirmwareOffFR0, 8, "FR0"},
		{LogFirmwareOffFR1, 8, "FR1"},
		{LogFirmwareOffFR2, 8, "FR2"},
	},
	"logselftest": {
		{LogSelfTestOffCurrent, 1, "CURRENT"},
		{LogSelfTestOffPercent, 1, "PERCENT"},
		{LogSelfTestOffCode, 1, "CODE"},
		{LogSelfTestOffResult, 1, "RESULT"},
		{LogSelfTestOffTimeNS, 8, "TIME_NS"},
	},
	"logtelemetry": {
		{TelemetryOffUptimeNS, 8, "UPTIME_NS"},
		{TelemetryOffEnergyMJ, 8, "ENERGY_MJ"},
		{TelemetryOffPowerMW, 4, "POWER_MW"},
		{TelemetryOffPowerCoreMW, 4, "POWER_CORE_MW"},
		{TelemetryOffPowerSramMW, 4, "POWER_SRAM_MW"},
		{TelemetryOffPowerIOMW, 4, "POWER_IO_MW"},
		{TelemetryOffPowerCapMW, 4, "POWER_CAP_MW"},
		{TelemetryOffTempCore, 2, "TEMP_CORE"},
		{TelemetryOffTempSram, 2, "TEMP_SRAM"},
		{TelemetryOffTempBoard, 2, "TEMP_BOARD"},
		{TelemetryOffClockCoreMHZ, 2, "CLOCK_CORE_MHZ"},
		{TelemetryOffClockSramMHZ, 2, "CLOCK_SRAM_MHZ"},
		{TelemetryOffThrottle, 1, "THROTTLE"},
		{TelemetryOffState, 1, "STATE"},
		{TelemetryOffECCCorrected, 8, "ECC_CORRECTED"},
		{TelemetryOffECCUncorrected, 8, "ECC_UNCORRECTED"},
		{TelemetryOffTokens, 8, "TOKENS"},
		{TelemetryOffPrefilled, 8, "PREFILLED"},
		{TelemetryOffLate, 8, "LATE"},
		{TelemetryOffMaskLate, 8, "MASK_LATE"},
		{TelemetryOffRingStalls, 8, "RING_STALLS"},
		{TelemetryOffBusyNS, 8, "BUSY_NS"},
		{TelemetryOffCommands, 8, "COMMANDS"},
		{TelemetryOffInterrupts, 8, "INTERRUPTS"},
		{TelemetryOffDMARead, 8, "DMA_READ"},
		{TelemetryOffDMAWritten, 8, "DMA_WRITTEN"},
		{TelemetryOffDMAFaults, 8, "DMA_FAULTS"},
	},
	"logsession": {
		{LogSessionOffSID, 4, "SID"},
		{LogSessionOffState, 1, "STATE"},
		{LogSessionOffQueued, 1, "QUEUED"},
		{LogSessionOffAID, 2, "AID"},
		{LogSessionOffKVLen, 4, "KV_LEN"},
		{LogSessionOffCharge, 4, "CHARGE"},
		{LogSessionOffSequence, 4, "SEQUENCE"},
		{LogSessionOffEpoch, 2, "EPOCH"},
		{LogSessionOffTokens, 8, "TOKENS"},
	},
	"logevent": {
		{LogEventOffTimeNS, 8, "TIME_NS"},
		{LogEventOffNumber, 4, "NUMBER"},
		{LogEventOffCode, 2, "CODE"},
		{LogEventOffArg0, 8, "ARG0"},
		{LogEventOffArg1, 8, "ARG1"},
	},
}
