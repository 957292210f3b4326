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
	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/attach"
	"github.com/hc1-toolkit/hc1/internal/catalog"
	"github.com/hc1-toolkit/hc1/internal/output"
)

var (
	errUsage  = errors.New("usage")
	errNoCard = errors.New("no card")
	errNoName = errors.New("no such name")
)

// usageError is a wrong command line; it wraps what was wrong.
type usageError struct{ err error }

func (e *usageError) Error() string        { return e.err.Error() }
func (e *usageError) Unwrap() error        { return e.err }
func (e *usageError) Is(target error) bool { return target == errUsage }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// classify maps an error to its catalogue entry and exit code.
func classify(err error) (entry string, exit int) {
	code, answered := driver.StatusOf(err)
	switch {
	case errors.Is(err, errUsage), strings.HasPrefix(err.Error(), "unknown command"),
		strings.HasPrefix(err.Error(), "accepts "), strings.HasPrefix(err.Error(), "requires "):
		return "USAGE", catalog.ExitUsage
	case errors.Is(err, errNoCard):
		return "NO_CARD", catalog.ExitNotFound
	case errors.Is(err, errNoName):
		return "FAILED", catalog.ExitNotFound
	case errors.Is(err, attach.ErrNoBackend):
		return "NO_BACKEND", catalog.ExitUnsupported
	case errors.Is(err, attach.ErrBadInput):
		return "BAD_FILE", catalog.ExitBadInput
	case errors.Is(err, driver.ErrCardLost):
		return "CARD_LOST", catalog.ExitCardLost
	case errors.Is(err, driver.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return "TIMEOUT", catalog.ExitTimeout
	case errors.Is(err, driver.ErrReset):
		return "CARD_RESET", catalog.ExitFailed
	case errors.Is(err, driver.ErrProtocol):
		return "PROTOCOL", catalog.ExitFailed
	case errors.Is(err, driver.ErrInvalid):
		return "INVALID", catalog.ExitBadInput
	case answered && code == hci.StatusContextExceeded, answered && code == hci.StatusTokenInvalid:
		return code.String(), catalog.ExitBadInput
	case errors.Is(err, driver.ErrBusy):
		return "BUSY", catalog.ExitBusy
	case errors.Is(err, driver.ErrUnsupported):
		return "UNSUPPORTED", catalog.ExitUnsupported
	case answered:
		return code.String(), catalog.ExitFailed
	case errors.Is(err, driver.ErrCancelled), errors.Is(err, context.Canceled):
		return "STREAM_CANCELLED", catalog.ExitFailed
	case errors.Is(err, fs.ErrNotExist):
		return "BAD_FILE", catalog.ExitNotFound
	case errors.Is(err, fs.ErrPermission):
		return "BAD_FILE", catalog.ExitPermission
	}
	return "FAILED", catalog.ExitFailed
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
	hint := entry.Do
	if exit == catalog.ExitUsage && cmd != nil {
		hint = fmt.Sprintf("See `%s --help`: it has examples.", cmd.CommandPath())
	}
	fmt.Fprintf(a.err, "hc1ctl: %v\n", err)
	fmt.Fprintf(a.err, "hint: %s (hc1ctl error explain %s)\n", strings.TrimSuffix(hint, "."), entry.Code)
	if a.format == string(output.JSON) {
		p := output.Printer{W: a.out}
		if p.Object(errorObject{"hc1.error/1", entry.Code, entry.Name, exit, err.Error(), hint}) != nil {
			return exit // the reader is gone
		}
	}
	return exit
}
