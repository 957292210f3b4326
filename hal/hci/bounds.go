package hci

// Timeout is a bound that the card keeps (section 23). Bound is the
// document's text: some depend on the command.
type Timeout struct{ Name, Bound string }

// Timeouts lists section 23.
var Timeouts = []Timeout{
	{"BOOT", "30 s"},
	{"READY", "CAP.TO x 500 ms"},
	{"SHUTDOWN", "5 s"},
	{"ADMIN", "5 s"},
	{"IO", "1 s"},
	{"PREFILL", "1 s + COUNT x PREFILL_NS x SESSIONS x 4"},
	{"RECORD", "1 s + TOKEN_NS x SESSIONS x 32"},
	{"FLR", "100 ms"},
	{"PENDING", "1 s"},
	{"HEALTH", "3 x INTERVAL"},
}

// Reset is a row of the reset table (section 21): what becomes of sessions
// and KV, queues and rings, adapters, masks, features, power cap, logs,
// firmware slots, PCI configuration.
type Reset struct {
	Name  string
	Keeps [9]string
}

// Resets lists section 21.
var Resets = []Reset{
	{"ABORT", [9]string{"kept", "kept", "kept", "kept", "kept", "kept", "kept", "kept", "kept"}},
	{"QUEUE_DELETE", [9]string{"kept", "that queue lost", "kept", "kept", "kept", "kept", "kept", "kept", "kept"}},
	{"CC_EN", [9]string{"zeroed", "lost", "lost", "lost", "kept", "kept", "kept", "kept", "kept"}},
	{"FLR", [9]string{"zeroed", "lost", "lost", "lost", "default", "kept", "kept", "kept", "default"}},
	{"HOT_RESET", [9]string{"zeroed", "lost", "lost", "lost", "default", "kept", "kept", "next slot boots", "default"}},
	{"POWER", [9]string{"zeroed", "lost", "lost", "lost", "default", "default", "lost", "next slot boots", "default"}},
	{"LAST_FD", [9]string{"zeroed", "lost", "lost", "lost", "default", "kept", "kept", "kept", "default"}},
}
