package hci

// Status is the 15-bit status field of a completion (section 8): SC in bits
// 7:0, SCT in 10:8, DNR in 14.
type Status uint16

// Status codes, SCT<<8 | SC (section 8).
const (
	StatusSuccess                Status = 0<<8 | 0x00 // done
	StatusInvalidOpcode          Status = 0<<8 | 0x01 // reserved or not supported
	StatusInvalidField           Status = 0<<8 | 0x02 // DW1 = byte offset of the SQE field, or 0x100 + offset in the parameter block
	StatusCIDConflict            Status = 0<<8 | 0x03 // command id already outstanding
	StatusDataTransferError      Status = 0<<8 | 0x04 // the IOMMU refused an access; DW0, DW1 = IOVA
	StatusInternalError          Status = 0<<8 | 0x06 // the card failed; ERROR log has more
	StatusAbortRequested         Status = 0<<8 | 0x07 // aborted by ABORT
	StatusAbortedSQDeletion      Status = 0<<8 | 0x08 // its SQ was deleted
	StatusCommandSequenceError   Status = 0<<8 | 0x0C // a command before it in the session's queue failed
	StatusCQInvalid              Status = 1<<8 | 0x00 // no such completion queue
	StatusQIDInvalid             Status = 1<<8 | 0x01 // queue number 0, above NQP, or in use
	StatusQueueSizeInvalid       Status = 1<<8 | 0x02 // below 2, above MQES + 1, or not a power of two
	StatusAbortLimit             Status = 1<<8 | 0x03 // too many ABORTs outstanding (ACL)
	StatusAERLimit               Status = 1<<8 | 0x05 // too many ASYNC EVENT REQUESTs (AERL)
	StatusFWSlotInvalid          Status = 1<<8 | 0x06 // no such slot, or it is read-only
	StatusFWImageInvalid         Status = 1<<8 | 0x07 // not an image, or its signature does not match
	StatusVectorInvalid          Status = 1<<8 | 0x08 // no such interrupt vector
	StatusLogPageInvalid         Status = 1<<8 | 0x09 // no such log page
	StatusFWNeedsReset           Status = 1<<8 | 0x0B // committed; takes effect at the next reset
	StatusQueueDeletionInvalid   Status = 1<<8 | 0x0C // CQ deleted before its SQ
	StatusFWActivationProhibited Status = 1<<8 | 0x13 // image refused by policy, DW0 = security version needed
	StatusFWOverlappingRange     Status = 1<<8 | 0x14 // download pieces overlap
	StatusSelfTestInProgress     Status = 1<<8 | 0x1D // one self-test at a time
	StatusSessionInvalid         Status = 7<<8 | 0x01 // no session has this SID
	StatusSessionBusy            Status = 7<<8 | 0x02 // commands of the session are running or queued
	StatusSessionLimit           Status = 7<<8 | 0x03 // all slots are in use
	StatusKVExhausted            Status = 7<<8 | 0x04 // the SRAM token budget is spent; DW0 = tokens free
	StatusContextExceeded        Status = 7<<8 | 0x05 // would pass CONTEXT; DW0 = tokens that still fit
	StatusNotPrimed              Status = 7<<8 | 0x06 // GENERATE without logits: PREFILL at least one token first
	StatusEpochInvalid           Status = 7<<8 | 0x07 // not the successor of the session's epoch; DW0 = epoch expected
	StatusTokenInvalid           Status = 7<<8 | 0x08 // token id not below VOCAB; DW0 = its index
	StatusCRCError               Status = 7<<8 | 0x09 // data does not match its CRC; DW0 = CRC computed
	StatusCancelled              Status = 7<<8 | 0x0A // ended by CANCEL or shutdown
	StatusAdapterInvalid         Status = 7<<8 | 0x0B // adapter not loaded
	StatusAdapterBusy            Status = 7<<8 | 0x0C // sessions use the adapter
	StatusSamplingUnsupported    Status = 7<<8 | 0x0D // a sampling field the card cannot honour; DW1 as for INVALID_FIELD
	StatusMaskInvalid            Status = 7<<8 | 0x0E // the mask forbids every token; DW0 = position
	StatusNumericError           Status = 7<<8 | 0x0F // a logit is not a number; DW0 = position
	StatusChoiceInvalid          Status = 7<<8 | 0x10 // the host's choice is not among the candidates; DW0 = position
	StatusRingInvalid            Status = 7<<8 | 0x11 // HEAD is outside the ring
	StatusKVUncorrectable        Status = 7<<8 | 0x12 // memory error in the session's KV; the session is lost
	StatusThermal                Status = 7<<8 | 0x13 // the card is too hot to start work
	StatusAdapterLimit           Status = 7<<8 | 0x14 // no room for another adapter
	StatusAttestUnavailable      Status = 7<<8 | 0x15 // the card has no device key
)

// StatusDNR is the "do not retry" bit of a status field.
const StatusDNR Status = 1 << 14

// StatusInfo describes one status code.
type StatusInfo struct {
	Code    Status
	Name    string
	DNR     bool
	Meaning string
}

// Statuses lists section 8 in order.
var Statuses = []StatusInfo{
	{StatusSuccess, "SUCCESS", false, "done"},
	{StatusInvalidOpcode, "INVALID_OPCODE", true, "reserved or not supported"},
	{StatusInvalidField, "INVALID_FIELD", true, "DW1 = byte offset of the SQE field, or 0x100 + offset in the parameter block"},
	{StatusCIDConflict, "CID_CONFLICT", true, "command id already outstanding"},
	{StatusDataTransferError, "DATA_TRANSFER_ERROR", false, "the IOMMU refused an access; DW0, DW1 = IOVA"},
	{StatusInternalError, "INTERNAL_ERROR", false, "the card failed; ERROR log has more"},
	{StatusAbortRequested, "ABORT_REQUESTED", false, "aborted by ABORT"},
	{StatusAbortedSQDeletion, "ABORTED_SQ_DELETION", false, "its SQ was deleted"},
	{StatusCommandSequenceError, "COMMAND_SEQUENCE_ERROR", true, "a command before it in the session's queue failed"},
	{StatusCQInvalid, "CQ_INVALID", true, "no such completion queue"},
	{StatusQIDInvalid, "QID_INVALID", true, "queue number 0, above NQP, or in use"},
	{StatusQueueSizeInvalid, "QUEUE_SIZE_INVALID", true, "below 2, above MQES + 1, or not a power of two"},
	{StatusAbortLimit, "ABORT_LIMIT", false, "too many ABORTs outstanding (ACL)"},
	{StatusAERLimit, "AER_LIMIT", true, "too many ASYNC EVENT REQUESTs (AERL)"},
	{StatusFWSlotInvalid, "FW_SLOT_INVALID", true, "no such slot, or it is read-only"},
	{StatusFWImageInvalid, "FW_IMAGE_INVALID", true, "not an image, or its signature does not match"},
	{StatusVectorInvalid, "VECTOR_INVALID", true, "no such interrupt vector"},
	{StatusLogPageInvalid, "LOG_PAGE_INVALID", true, "no such log page"},
	{StatusFWNeedsReset, "FW_NEEDS_RESET", false, "committed; takes effect at the next reset"},
	{StatusQueueDeletionInvalid, "QUEUE_DELETION_INVALID", true, "CQ deleted before its SQ"},
	{StatusFWActivationProhibited, "FW_ACTIVATION_PROHIBITED", true, "image refused by policy, DW0 = security version needed"},
	{StatusFWOverlappingRange, "FW_OVERLAPPING_RANGE", true, "download pieces overlap"},
	{StatusSelfTestInProgress, "SELF_TEST_IN_PROGRESS", false, "one self-test at a time"},
	{StatusSessionInvalid, "SESSION_INVALID", true, "no session has this SID"},
	{StatusSessionBusy, "SESSION_BUSY", false, "commands of the session are running or queued"},
	{StatusSessionLimit, "SESSION_LIMIT", false, "all slots are in use"},
	{StatusKVExhausted, "KV_EXHAUSTED", false, "the SRAM token budget is spent; DW0 = tokens free"},
	{StatusContextExceeded, "CONTEXT_EXCEEDED", true, "would pass CONTEXT; DW0 = tokens that still fit"},
	{StatusNotPrimed, "NOT_PRIMED", true, "GENERATE without logits: PREFILL at least one token first"},
	{StatusEpochInvalid, "EPOCH_INVALID", true, "not the successor of the session's epoch; DW0 = epoch expected"},
	{StatusTokenInvalid, "TOKEN_INVALID", true, "token id not below VOCAB; DW0 = its index"},
	{StatusCRCError, "CRC_ERROR", false, "data does not match its CRC; DW0 = CRC computed"},
	{StatusCancelled, "CANCELLED", false, "ended by CANCEL or shutdown"},
	{StatusAdapterInvalid, "ADAPTER_INVALID", true, "adapter not loaded"},
	{StatusAdapterBusy, "ADAPTER_BUSY", false, "sessions use the adapter"},
	{StatusSamplingUnsupported, "SAMPLING_UNSUPPORTED", true, "a sampling field the card cannot honour; DW1 as for INVALID_FIELD"},
	{StatusMaskInvalid, "MASK_INVALID", true, "the mask forbids every token; DW0 = position"},
	{StatusNumericError, "NUMERIC_ERROR", true, "a logit is not a number; DW0 = position"},
	{StatusChoiceInvalid, "CHOICE_INVALID", true, "the host's choice is not among the candidates; DW0 = position"},
	{StatusRingInvalid, "RING_INVALID", true, "HEAD is outside the ring"},
	{StatusKVUncorrectable, "KV_UNCORRECTABLE", true, "memory error in the session's KV; the session is lost"},
	{StatusThermal, "THERMAL", false, "the card is too hot to start work"},
	{StatusAdapterLimit, "ADAPTER_LIMIT", false, "no room for another adapter"},
	{StatusAttestUnavailable, "ATTEST_UNAVAILABLE", true, "the card has no device key"},
}
