package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/hc1-toolkit/hc1/driver"
	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/attach"
	"github.com/hc1-toolkit/hc1/internal/catalog"
	"github.com/hc1-toolkit/hc1/internal/output"
	"github.com/hc1-toolkit/hc1/internal/pci"
	"github.com/hc1-toolkit/hc1/vfio"
)

// Errors of this program. Where they end a message they read as its reason.
var (
	errUsage       = errors.New("usage")
	errAddress     = errors.New("bad card address")
	errNoCard      = errors.New("name one with --card; --card mock: is the emulated one")
	errNoName      = errors.New("not in the catalogue")
	errTooLong     = errors.New("prompt too long")
	errDeadline    = errors.New("the time of --timeout is up")
	errInterrupted = errors.New("interrupted")
	errWanted      = errors.New("the kernel wants the card back: it was given up in order")
	errDiffer      = errors.New("the traces differ")
	// errReported: the result on standard output tells of the failure
	// already; an error object would be a second result.
	errReported = errors.New("reported")
)

// tagged is an error of a kind that its message does not spell out.
type tagged struct{ kind, err error }

func (e *tagged) Error() string        { return e.err.Error() }
func (e *tagged) Unwrap() error        { return e.err }
func (e *tagged) Is(target error) bool { return target == e.kind }

func tag(kind, err error) error { return &tagged{kind, err} }

// usagef is a wrong command line.
func usagef(format string, args ...any) error { return tag(errUsage, fmt.Errorf(format, args...)) }

// classes maps errors to their catalogue entries and exit codes: the first
// that matches counts.
var classes = []struct {
	err   error
	entry string
	exit  int
}{
	{errInterrupted, "INTERRUPTED", catalog.ExitFailed},
	{errWanted, "WANTED_BACK", catalog.ExitCardLost},
	{errAddress, "BAD_ADDRESS", catalog.ExitUsage},
	{attach.ErrAddress, "BAD_ADDRESS", catalog.ExitUsage},
	{errUsage, "USAGE", catalog.ExitUsage},
	{errNoCard, "NO_CARD", catalog.ExitNotFound},
	{errNoName, "NO_NAME", catalog.ExitNotFound},
	{errTooLong, "PROMPT_TOO_LONG", catalog.ExitBadInput},
	{errDiffer, "TRACES_DIFFER", catalog.ExitFailed},
	{attach.ErrNoServer, "NO_SERVER", catalog.ExitNotFound},
	{attach.ErrHeld, "HELD", catalog.ExitBusy},
	{attach.ErrNoVocabulary, "NO_VOCABULARY", catalog.ExitNotFound},
	{errSick, "UNHEALTHY", catalog.ExitFailed},
	{errUnchecked, "UNCHECKED", 2}, // health and doctor: 0 good, 1 bad, 2 could not check
	{pci.ErrNotFound, "NO_CARD", catalog.ExitNotFound},
	{errNotCard, "NOT_A_CARD", catalog.ExitBadInput},
	{errUnviable, "GROUP_SHARED", catalog.ExitBusy},
	{vfio.ErrNotViable, "GROUP_SHARED", catalog.ExitBusy},
	{errNoIOMMU, "NO_IOMMU", catalog.ExitUnsupported},
	{errAskFirst, "NOT_CONFIRMED", catalog.ExitFailed},
	{errStillHeld, "HELD", catalog.ExitBusy},
	{pci.ErrNoDriver, "NO_DRIVER", catalog.ExitUnsupported},
	{pci.ErrUnchanged, "NOT_VERIFIED", catalog.ExitFailed},
	{attach.ErrNoCard, "NO_CARD", catalog.ExitNotFound},
	{attach.ErrNotBound, "NOT_BOUND", catalog.ExitUnsupported},
	{attach.ErrBadInput, "BAD_FILE", catalog.ExitBadInput},
	{driver.ErrCardLost, "CARD_LOST", catalog.ExitCardLost},
	{errDeadline, "DEADLINE", catalog.ExitTimeout},
	{driver.ErrTimeout, "TIMEOUT", catalog.ExitTimeout},
	{driver.ErrReset, "CARD_RESET", catalog.ExitFailed},
	{driver.ErrProtocol, "PROTOCOL", catalog.ExitFailed},
	{driver.ErrInvalid, "INVALID", catalog.ExitBadInput},
	{driver.ErrClosed, "CLOSED", catalog.ExitFailed},
	{hal.ErrClosed, "CLOSED", catalog.ExitFailed},
	{hal.ErrNoMemory, "NO_MEMORY", catalog.ExitFailed},
	{hal.ErrOutOfRange, "INVALID", catalog.ExitFailed},
}

// later are looked at when the card has not answered with a status of its
// own, which says more.
var later = []struct {
	err   error
	entry string
	exit  int
}{
	{driver.ErrBusy, "BUSY", catalog.ExitBusy},
	{driver.ErrUnsupported, "UNSUPPORTED", catalog.ExitUnsupported},
	{hal.ErrUnsupported, "UNSUPPORTED", catalog.ExitUnsupported},
	{driver.ErrCancelled, "STREAM_CANCELLED", catalog.ExitFailed},
	{context.Canceled, "STREAM_CANCELLED", catalog.ExitFailed},
	{context.DeadlineExceeded, "DEADLINE", catalog.ExitTimeout},
	{fs.ErrNotExist, "NO_FILE", catalog.ExitNotFound},
	{fs.ErrPermission, "NO_PERMISSION", catalog.ExitPermission},
}

// classify gives an error's catalogue entry and exit code.
func classify(err error) (entry string, exit int) {
	for _, c := range classes {
		if errors.Is(err, c.err) {
			return c.entry, c.exit
		}
	}
	if code, ok := driver.StatusOf(err); ok {
		if e, known := catalog.OfStatus(code); known {
			return e.Name, exitOf(err, code)
		}
	}
	for _, c := range later {
		if errors.Is(err, c.err) {
			return c.entry, c.exit
		}
	}
	return "FAILED", catalog.ExitFailed
}

// exitOf is the exit code for a status of the card.
func exitOf(err error, code hci.Status) int {
	switch {
	case code == hci.StatusContextExceeded, code == hci.StatusTokenInvalid:
		return catalog.ExitBadInput
	case errors.Is(err, driver.ErrBusy), code == hci.StatusKVExhausted:
		return catalog.ExitBusy
	case errors.Is(err, driver.ErrUnsupported):
		return catalog.ExitUnsupported
	}
	return catalog.ExitFailed
}

// errorObject is what -o json prints for an error.
type errorObject struct {
	Schema  string `json:"schema"`
	Code    string `json:"code"`
	Name    string `json:"name"`
	Exit    int    `json:"exit"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

// oneLine is an error as one line of text.
func oneLine(err error) string {
	return output.Clean(strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "\n", "; ")), " "))
}

// report prints an error for people and, in JSON, for programs, and returns
// the exit code.
func (a *app) report(cmd *cobra.Command, err error) int {
	if err == nil {
		return catalog.ExitOK
	}
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) {
		return catalog.ExitOK // whoever read our output has had enough
	}
	name, exit := classify(err)
	entry, _ := catalog.Find(name)
	message := oneLine(err)
	hint := entry.Do
	if cmd != nil {
		if _, doing, ok := strings.Cut(cmd.CommandPath(), " "); ok {
			message = doing + ": " + message
		}
		if name == "USAGE" {
			hint = fmt.Sprintf("See `%s --help`: it has examples.", cmd.CommandPath())
		}
	}
	if !a.told {
		fmt.Fprintf(a.err, "hc1ctl: %s\n", output.Clean(message))
	}
	fmt.Fprintf(a.err, "hint: %s (hc1ctl error explain %s)\n", strings.TrimSuffix(hint, "."), entry.Code)
	if a.format == string(output.JSON) && !errors.Is(err, errReported) {
		p := output.Printer{W: a.out}
		if p.Object(errorObject{"hc1.error/1", entry.Code, entry.Name, exit, message, hint}) != nil {
			return exit // the reader is gone
		}
	}
	return exit
}
