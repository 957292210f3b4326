package hci

// Capability bits: FEATURES of the capability page (section 10).
const (
	FeatureMask      = 1 << 0  // vocabulary masks
	FeatureBias      = 1 << 1  // sparse bias table
	FeaturePenalties = 1 << 2  // presence, frequency and repetition penalties
	FeatureScore     = 1 << 3  // prompt log-probabilities
	FeatureStepped   = 1 << 4  // stepped decode
	FeatureFreeRun   = 1 << 5  // free-run decode
	FeatureFork      = 1 << 6  // FORK
	FeatureShadow    = 1 << 7  // shadow doorbells
	FeatureAdapters  = 1 << 8  // adapters
	FeatureSelftest  = 1 << 9  // self-test
	FeatureFirmware  = 1 << 10 // firmware commands
	FeaturePowerCap  = 1 << 11 // power cap
	FeatureAttest    = 1 << 12 // attestation
	FeaturePipeline  = 1 << 13 // reserved for pipelines of cards
)

// Flags of a token record (section 12).
const (
	FlagCommit     = 1 << 0 // the tokens up to and including this record's are final
	FlagCandidates = 1 << 1 // candidate record
	FlagScore      = 1 << 2 // prompt token: candidate 0 is the token itself, others the best ones by logit
	FlagChoice     = 1 << 3 // stepped: the card waits for the host's choice; CHOSEN is the sampler's proposal
	FlagLate       = 1 << 4 // later than the nominal time
)

// Stop reasons of a token record (section 12).
const (
	StopNone      = 0 // more follows
	StopStopToken = 1 // the last token is a stop id; it is in the record
	StopMaxTokens = 2 // MAXTOKENS were sampled
	StopContext   = 3 // the context is full
	StopCancelled = 4 // CANCEL, ABORT, queue deletion or shutdown
	StopError     = 5 // GENERATE failed; its CQE says why
)

// Log page identifiers (section 17.2).
const (
	LogError     = 0x01 // newest first, ELPE + 1 entries
	LogFirmware  = 0x03 // firmware slots
	LogSelfTest  = 0x06 // last self-test
	LogTelemetry = 0xC0 // sensors and counters
	LogSessions  = 0xC1 // sessions
	LogEvents    = 0xC2 // newest first, 128 entries
)

// Feature identifiers (section 18).
const (
	FeatureIDQueues        = 0x07 // read-only: number of I/O queue pairs
	FeatureIDAsyncEvents   = 0x0B // bit per event code (bit n = code n): reported or not
	FeatureIDPowerCap      = 0xC0 // mW, POWER_MIN_MW..POWER_MAX_MW; slows the clock when reached
	FeatureIDTempThreshold = 0xC1 // 0.1 °C, 0..TEMP_CRIT: TEMPERATURE event
)

// Firmware commit actions (section 20).
const (
	CommitReplace         = 0 // write the downloaded image to the slot; do not activate
	CommitReplaceActivate = 1 // write it, and run it from the next reset
	CommitActivate        = 2 // run the slot's image from the next reset
	CommitActivateNow     = 3 // run the slot's image now
	CommitConfirm         = 6 // the running image is good: keep it
	CommitRaise           = 7 // raise the security version floor to the running, confirmed image's
)

// Asynchronous event codes (section 17.3).
const (
	EventReset          = 0x01 // the controller was reset; ARG0 = kind (section 21 order), ARG1 = RGEN
	EventError          = 0x02 // an entry was added to the ERROR log; ARG0 = status
	EventTemperature    = 0x03 // the threshold was crossed; ARG0 = 0.1 °C
	EventThrottle       = 0x04 // throttling began or ended; ARG0 = THROTTLE
	EventECCCorrected   = 0x05 // ARG0 = count
	EventECCUncorrected = 0x06 // ARG0 = SID hit
	EventDMAFault       = 0x07 // ARG0 = IOVA, ARG1 = 0 read, 1 write
	EventSelfTest       = 0x08 // a self-test finished; ARG0 = result
	EventFirmware       = 0x09 // slot state changed; ARG0 = slot
	EventPowerCap       = 0x0A // the power cap was changed; ARG0 = mW
)

// Event describes an asynchronous event (section 17.3).
type Event struct {
	Code    uint8
	Name    string
	Type    uint8 // 0 error, 1 health, 2 notice
	Log     uint8
	Meaning string
}

// Events lists section 17.3.
var Events = []Event{
	{EventReset, "RESET", 2, 0xC2, "the controller was reset; ARG0 = kind (section 21 order), ARG1 = RGEN"},
	{EventError, "ERROR", 0, 0x01, "an entry was added to the ERROR log; ARG0 = status"},
	{EventTemperature, "TEMPERATURE", 1, 0xC0, "the threshold was crossed; ARG0 = 0.1 °C"},
	{EventThrottle, "THROTTLE", 1, 0xC0, "throttling began or ended; ARG0 = THROTTLE"},
	{EventECCCorrected, "ECC_CORRECTED", 1, 0xC0, "ARG0 = count"},
	{EventECCUncorrected, "ECC_UNCORRECTED", 0, 0xC0, "ARG0 = SID hit"},
	{EventDMAFault, "DMA_FAULT", 0, 0x01, "ARG0 = IOVA, ARG1 = 0 read, 1 write"},
	{EventSelfTest, "SELF_TEST", 2, 0x06, "a self-test finished; ARG0 = result"},
	{EventFirmware, "FIRMWARE", 2, 0x03, "slot state changed; ARG0 = slot"},
	{EventPowerCap, "POWER_CAP", 2, 0xC0, "the power cap was changed; ARG0 = mW"},
}

// Name pairs a number of the document with its name.
type Name struct {
	Value uint32
	Name  string
}

// Enums holds the small numbered tables of the document by the name of the table;
// for bit tables the value is the bit number.
var Enums = map[string][]Name{
	"features":    {{0, "MASK"}, {1, "BIAS"}, {2, "PENALTIES"}, {3, "SCORE"}, {4, "STEPPED"}, {5, "FREE_RUN"}, {6, "FORK"}, {7, "SHADOW"}, {8, "ADAPTERS"}, {9, "SELFTEST"}, {10, "FIRMWARE"}, {11, "POWER_CAP"}, {12, "ATTEST"}, {13, "PIPELINE"}},
	"recordflags": {{0, "COMMIT"}, {1, "CANDIDATES"}, {2, "SCORE"}, {3, "CHOICE"}, {4, "LATE"}},
	"stop":        {{0, "NONE"}, {1, "STOP_TOKEN"}, {2, "MAX_TOKENS"}, {3, "CONTEXT"}, {4, "CANCELLED"}, {5, "ERROR"}},
	"logs":        {{0x01, "ERROR"}, {0x03, "FIRMWARE"}, {0x06, "SELF_TEST"}, {0xC0, "TELEMETRY"}, {0xC1, "SESSIONS"}, {0xC2, "EVENTS"}},
	"featureids":  {{0x07, "QUEUES"}, {0x0B, "ASYNC_EVENTS"}, {0xC0, "POWER_CAP"}, {0xC1, "TEMP_THRESHOLD"}},
	"commit":      {{0, "REPLACE"}, {1, "REPLACE_ACTIVATE"}, {2, "ACTIVATE"}, {3, "ACTIVATE_NOW"}, {6, "CONFIRM"}, {7, "RAISE"}},
	"ferr":        {{0, "NONE"}, {1, "CONFIG"}, {2, "ADMIN_DMA"}, {3, "FIRMWARE"}, {4, "THERMAL"}, {5, "MEMORY"}, {6, "DOORBELL"}},
}
