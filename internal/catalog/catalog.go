// Package catalog is the one table of errors: what each means, how bad it is
// and what to do. The command line, the documents and metric labels are made
// from it. Codes are append-only.
package catalog

//go:generate go test -run TestDocument . -update

import (
	"fmt"
	"strings"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// Severity says how bad an error is.
type Severity string

// Severities.
const (
	Info     Severity = "info"     // nothing to do
	Warning  Severity = "warning"  // works, look at it
	Error    Severity = "error"    // one request or command failed
	Critical Severity = "critical" // the card is out of service
)

// Category says whose matter it is.
type Category string

// Categories.
const (
	Caller   Category = "caller"   // the request asks for what cannot be
	Capacity Category = "capacity" // no room now
	Driver   Category = "driver"   // the host broke the interface: a bug
	Hardware Category = "hardware" // the card, its memory or its heat
	Bus      Category = "bus"      // PCI Express and the IOMMU
	Firmware Category = "firmware"
	Input    Category = "input" // a file or address
)

// Entry is one error.
type Entry struct {
	Code     string // append-only
	Name     string
	Severity Severity
	Category Category
	What     string
	Do       string
}

// Find returns the entry with this code or name, whatever its case.
func Find(s string) (Entry, bool) {
	for _, e := range Entries {
		if strings.EqualFold(e.Code, s) || strings.EqualFold(e.Name, s) {
			return e, true
		}
	}
	return Entry{}, false
}

// OfStatus is the entry of a completion's status.
func OfStatus(s hci.Status) (Entry, bool) { return Find(statusCode(s)) }

func statusCode(s hci.Status) string {
	return fmt.Sprintf("HCI-%d-%02X", s>>8&7, uint16(s&0xFF))
}

func status(s hci.Status, sev Severity, cat Category, do string) Entry {
	e := Entry{Code: statusCode(s), Name: s.String(), Severity: sev, Category: cat, Do: do}
	for _, i := range hci.Statuses {
		if i.Code == s {
			e.What = "The card answered " + i.Name + ": " + i.Meaning + "."
		}
	}
	return e
}

// Markdown renders the catalogue as docs/errors.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString("# Errors\n\nMade from `internal/catalog` by `go test ./internal/catalog -update`; do not edit.\n" +
		"`hc1ctl error explain CODE` prints an entry; CODE is the code or the name. Codes are append-only.\n\n" +
		"| code | name | severity | category | what | what to do |\n|---|---|---|---|---|---|\n")
	for _, e := range Entries {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", e.Code, e.Name, e.Severity, e.Category, e.What, e.Do)
	}
	b.WriteString("\n## Exit codes of hc1ctl\n\n| code | meaning |\n|---|---|\n")
	for _, x := range Exits {
		fmt.Fprintf(&b, "| %d | %s |\n", x.Code, x.Meaning)
	}
	return b.String()
}

// Exit codes of hc1ctl, append-only.
const (
	ExitOK          = 0
	ExitFailed      = 1
	ExitUsage       = 2
	ExitNotFound    = 3
	ExitPermission  = 4
	ExitBusy        = 5
	ExitCardLost    = 6
	ExitTimeout     = 7
	ExitBadInput    = 8
	ExitUnsupported = 9
	ExitUnchecked   = 10
)

// Exits says what each exit code means.
var Exits = []struct {
	Code    int
	Meaning string
}{
	{ExitOK, "ok"}, {ExitFailed, "failed"}, {ExitUsage, "usage: the command line is wrong"},
	{ExitNotFound, "not found: no such card, file or name"}, {ExitPermission, "permission denied"},
	{ExitBusy, "busy: somebody else holds it"}, {ExitCardLost, "card lost"}, {ExitTimeout, "timeout"},
	{ExitBadInput, "bad input: a file, prompt or option cannot be used"}, {ExitUnsupported, "not supported by the card or this build"},
	{ExitUnchecked, "could not check"},
}
