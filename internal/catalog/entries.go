package catalog

import "github.com/hc1-toolkit/hc1/hal/hci"

const (
	bug     = "A bug of the driver, or of a program that speaks HCI itself: report it with `hc1ctl log show error` and a trace."
	retry   = "Try again; if it comes back, see `hc1ctl log show error`."
	reset   = "The driver resets the card by itself; if that fails, power-cycle the slot."
	fewer   = "Ask for less, or wait for other sessions to end."
	request = "Correct the request; the message says which part of it."
	replace = "Read `hc1ctl log show telemetry`; if it comes back, take the card out of service."
)

// Entries is the catalogue.
var Entries = []Entry{
	{"DRV-01", "CARD_LOST", Critical, Bus, "The card left the bus, or no rung of the reset ladder brought it back.", "Check power, seating and the kernel's log; open the card again."},
	{"DRV-02", "CARD_RESET", Error, Hardware, "The card was reset under a session; its KV is gone.", "Open a new session and prefill again: the same seed gives the same text."},
	{"DRV-03", "TIMEOUT", Error, Hardware, "The card did not answer within its bound (docs/hci.md section 23).", "The driver has climbed its ladder; see the log for which rung helped."},
	{"DRV-04", "PROTOCOL", Error, Hardware, "The card wrote something that the interface does not allow, or data that does not match its CRC.", "Tokens before it are good. If it comes back, take the card out of service."},
	{"DRV-05", "CLOSED", Error, Driver, "A card or session was used after it was closed.", bug},
	{"DRV-06", "BUSY", Error, Capacity, "The session has a stream that has not ended, or all sessions are in use.", fewer},
	{"DRV-07", "UNSUPPORTED", Error, Caller, "The card lacks the capability, or speaks another major version of the interface.", "See `hc1ctl device show` for what the card offers."},
	{"DRV-08", "STREAM_CANCELLED", Info, Caller, "The stream was cancelled.", "Nothing: tokens before it are good."},
	{"DRV-09", "INVALID", Error, Caller, "An argument is outside what the card or the interface allows.", request},
	{"CTL-01", "NO_CARD", Error, Input, "There is no card at this address, or none in this machine.", "Use `--card mock:` for the emulated card."},
	{"CTL-02", "BAD_ADDRESS", Error, Input, "The card address cannot be parsed.", "Use mock:, vfio-user:PATH, a PCI address or a serial number."},
	{"CTL-03", "BAD_FILE", Error, Input, "A model, vocabulary, script or trace file cannot be used.", "The message names the file, the offset and the field."},
	{"CTL-04", "NO_BACKEND", Error, Input, "This build has no backend for this kind of card address yet.", "Use `--card mock:` for the emulated card."},
	{"CTL-05", "USAGE", Error, Input, "The command line is wrong.", "See the command's --help: it has examples."},
	{"CTL-06", "FAILED", Error, Input, "Something failed that has no entry of its own.", "Read the message; run again with -v for the log."},

	status(hci.StatusSuccess, Info, Caller, "Nothing."),
	status(hci.StatusInvalidOpcode, Error, Driver, bug),
	status(hci.StatusInvalidField, Error, Driver, bug),
	status(hci.StatusCIDConflict, Error, Driver, bug),
	status(hci.StatusDataTransferError, Error, Bus, "The IOMMU refused the card's access: see the kernel's log for a DMAR fault, and `hc1ctl log show error`."),
	status(hci.StatusInternalError, Error, Hardware, retry),
	status(hci.StatusAbortRequested, Info, Driver, "The driver gave the command up after a timeout: see its log."),
	status(hci.StatusAbortedSQDeletion, Info, Driver, "The driver rebuilt a queue after a timeout: see its log."),
	status(hci.StatusCommandSequenceError, Error, Driver, "An earlier command failed: its own error says why."),
	status(hci.StatusCQInvalid, Error, Driver, bug),
	status(hci.StatusQIDInvalid, Error, Driver, bug),
	status(hci.StatusQueueSizeInvalid, Error, Driver, bug),
	status(hci.StatusAbortLimit, Warning, Driver, retry),
	status(hci.StatusAERLimit, Error, Driver, bug),
	status(hci.StatusFWSlotInvalid, Error, Firmware, "Name another slot: `hc1ctl log show firmware` lists them."),
	status(hci.StatusFWImageInvalid, Error, Firmware, "Get the image again; it is damaged or not signed for this card."),
	status(hci.StatusVectorInvalid, Error, Driver, bug),
	status(hci.StatusLogPageInvalid, Error, Caller, "The card has no such log page."),
	status(hci.StatusFWNeedsReset, Info, Firmware, "Reset the card to run the new image."),
	status(hci.StatusQueueDeletionInvalid, Error, Driver, bug),
	status(hci.StatusFWActivationProhibited, Error, Firmware, "Use an image with at least the security version that the card asks for."),
	status(hci.StatusFWOverlappingRange, Error, Firmware, "Start the download again from offset 0."),
	status(hci.StatusSelfTestInProgress, Info, Hardware, "Wait for it: `hc1ctl log show selftest`."),
	status(hci.StatusSessionInvalid, Error, Driver, bug),
	status(hci.StatusSessionBusy, Error, Driver, "Wait for the session's command to end, or cancel it."),
	status(hci.StatusSessionLimit, Error, Capacity, fewer),
	status(hci.StatusKVExhausted, Error, Capacity, fewer),
	status(hci.StatusContextExceeded, Error, Caller, "Shorten the prompt, or ask for fewer tokens."),
	status(hci.StatusNotPrimed, Error, Driver, "Prefill at least one token first."),
	status(hci.StatusEpochInvalid, Error, Driver, bug),
	status(hci.StatusTokenInvalid, Error, Caller, "The prompt was made with another vocabulary than the card's."),
	status(hci.StatusCRCError, Error, Bus, retry),
	status(hci.StatusCancelled, Info, Caller, "Nothing: somebody cancelled it."),
	status(hci.StatusAdapterInvalid, Error, Caller, "Load the adapter first, or name another."),
	status(hci.StatusAdapterBusy, Error, Capacity, "Close the sessions that use the adapter."),
	status(hci.StatusSamplingUnsupported, Error, Caller, "See `hc1ctl device show` for the card's sampling limits."),
	status(hci.StatusMaskInvalid, Error, Caller, "The mask forbids every token: the grammar has no way on from here."),
	status(hci.StatusNumericError, Error, Hardware, replace),
	status(hci.StatusChoiceInvalid, Error, Driver, bug),
	status(hci.StatusRingInvalid, Error, Driver, bug),
	status(hci.StatusKVUncorrectable, Error, Hardware, replace),
	status(hci.StatusThermal, Error, Hardware, "Let the card cool; check fans and the power cap."),
	status(hci.StatusAdapterLimit, Error, Capacity, "Unload an adapter first."),
	status(hci.StatusAttestUnavailable, Error, Firmware, "The card has no device key; it cannot be attested."),

	{"FERR-1", "FATAL_CONFIG", Critical, Driver, "The card refused to start: CC, AQA, ASQ or ACQ held something unusable.", bug},
	{"FERR-2", "FATAL_ADMIN_DMA", Critical, Bus, "The card could not reach its admin queues: the IOMMU refused.", "See the kernel's log for a DMAR fault. " + reset},
	{"FERR-3", "FATAL_FIRMWARE", Critical, Firmware, "The controller's firmware stopped.", reset},
	{"FERR-4", "FATAL_THERMAL", Critical, Hardware, "The card shut down at its critical temperature.", "Check fans and airflow, then reset the card."},
	{"FERR-5", "FATAL_MEMORY", Critical, Hardware, "Uncorrectable memory error outside session memory.", replace},
	{"FERR-6", "FATAL_DOORBELL", Critical, Driver, "A tail or head beyond its queue was written.", bug},

	{"EVT-01", "EVENT_RESET", Warning, Hardware, "The controller was reset.", "Look in the driver's log for why."},
	{"EVT-02", "EVENT_ERROR", Warning, Hardware, "An entry was added to the ERROR log.", "Read `hc1ctl log show error`."},
	{"EVT-03", "EVENT_TEMPERATURE", Warning, Hardware, "The temperature threshold was crossed.", "Check fans and airflow."},
	{"EVT-04", "EVENT_THROTTLE", Warning, Hardware, "Throttling began or ended.", "Check temperature and power cap: `hc1ctl log show telemetry`."},
	{"EVT-05", "EVENT_ECC_CORRECTED", Info, Hardware, "Memory errors were corrected.", "Nothing, unless the count grows quickly."},
	{"EVT-06", "EVENT_ECC_UNCORRECTED", Error, Hardware, "A memory error could not be corrected; a session was lost.", replace},
	{"EVT-07", "EVENT_DMA_FAULT", Error, Bus, "The IOMMU refused an access of the card.", "See the kernel's log and `hc1ctl log show error`."},
	{"EVT-08", "EVENT_SELF_TEST", Info, Hardware, "A self-test finished.", "Read `hc1ctl log show selftest`."},
	{"EVT-09", "EVENT_FIRMWARE", Info, Firmware, "The state of a firmware slot changed.", "Read `hc1ctl log show firmware`."},
	{"EVT-0A", "EVENT_POWER_CAP", Info, Hardware, "The power cap was changed.", "Nothing."},
}
