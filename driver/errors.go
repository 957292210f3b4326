package driver

import (
	"errors"
	"fmt"

	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/hci"
)

// Errors a caller decides on. All errors of this package wrap one of these,
// a *CommandError, or an error of the context.
var (
	// ErrCardLost: the card left the bus or no rung of the ladder brought it
	// back. Everything on it is gone.
	ErrCardLost = hal.ErrCardLost
	// ErrReset: the card was reset under the session. Its KV is gone; open a
	// new session and prefill again.
	ErrReset = errors.New("card was reset")
	// ErrTimeout: the card did not answer within its bound.
	ErrTimeout = errors.New("timeout")
	// ErrProtocol: the card wrote something that docs/hci.md does not allow,
	// or data that does not match its CRC.
	ErrProtocol = errors.New("card broke the interface")
	// ErrClosed: used after Close.
	ErrClosed = errors.New("closed")
	// ErrBusy: the session has a stream that has not ended.
	ErrBusy = errors.New("busy")
	// ErrUnsupported: the card lacks the capability, or speaks another
	// version of the interface.
	ErrUnsupported = errors.New("not supported by the card")
	// ErrCancelled: the stream was cancelled.
	ErrCancelled = errors.New("cancelled")
	// ErrInvalid: an argument is outside what the card or the API allows.
	ErrInvalid = errors.New("invalid argument")
)

// CommandError is a completion other than SUCCESS.
type CommandError struct {
	Command string
	Status  hci.Status // without DNR
	DW0     uint32
	DW1     uint32
}

func (e *CommandError) Error() string {
	s := fmt.Sprintf("%s: %s", e.Command, e.Status)
	switch e.Status {
	case hci.StatusInvalidField, hci.StatusSamplingUnsupported:
		s += fmt.Sprintf(" at offset %#x", e.DW1)
	case hci.StatusKVExhausted:
		s += fmt.Sprintf(": %d tokens free", e.DW0)
	case hci.StatusContextExceeded:
		s += fmt.Sprintf(": %d tokens still fit", e.DW0)
	case hci.StatusTokenInvalid:
		s += fmt.Sprintf(": token %d of the prompt", e.DW0)
	case hci.StatusMaskInvalid, hci.StatusNumericError, hci.StatusChoiceInvalid:
		s += fmt.Sprintf(" at position %d", e.DW0)
	case hci.StatusDataTransferError:
		s += fmt.Sprintf(" at iova %#x", uint64(e.DW1)<<32|uint64(e.DW0))
	}
	return s
}

// Is makes errors.Is(err, ErrCancelled) and the like hold for the statuses
// that mean them.
func (e *CommandError) Is(target error) bool {
	switch target {
	case ErrCancelled:
		return e.Status == hci.StatusCancelled || e.Status == hci.StatusAbortRequested
	case ErrBusy:
		return e.Status == hci.StatusSessionBusy || e.Status == hci.StatusSessionLimit
	case ErrUnsupported:
		return e.Status == hci.StatusInvalidOpcode || e.Status == hci.StatusSamplingUnsupported
	}
	return false
}

// StatusOf returns the command status inside err.
func StatusOf(err error) (hci.Status, bool) {
	var c *CommandError
	if errors.As(err, &c) {
		return c.Status, true
	}
	return 0, false
}

// opName names an opcode for messages.
func opName(code uint8, admin bool) string {
	ops := hci.IOOpcodes
	if admin {
		ops = hci.AdminOpcodes
	}
	for _, o := range ops {
		if o.Code == code {
			return o.Name
		}
	}
	return fmt.Sprintf("opcode %#02x", code)
}
