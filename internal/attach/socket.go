package attach

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/hc1-toolkit/hc1/internal/address"
	"github.com/hc1-toolkit/hc1/vfio/user"
)

// Errors of a card behind a socket.
var (
	// ErrNoServer: the socket is there, but nobody listens.
	ErrNoServer = errors.New("nobody serves a card there")
	// ErrHeld: somebody else has the card.
	ErrHeld = errors.New("the card is held")
)

// openSocket attaches the card that a vfio-user server has.
func openSocket(ctx context.Context, a address.Address) (*Card, error) {
	f, err := user.Dial(ctx, a.Path, user.ClientOptions{})
	switch {
	case errors.Is(err, user.ErrBusy):
		return nil, &tagged{ErrHeld, fmt.Errorf("%s is held by %s", a, holders(a.Path))}
	case errors.Is(err, user.ErrRefused):
		return nil, &tagged{ErrNoServer, fmt.Errorf("%s: nobody listens", a)}
	case errors.Is(err, fs.ErrNotExist):
		return nil, &tagged{ErrNoServer, fmt.Errorf("%s: no socket there", a)}
	case err != nil:
		return nil, fmt.Errorf("%s: %w", a, err)
	}
	return &Card{Address: a, Function: f, Chat: true, Way: "vfio-user socket"}, nil
}

// holders names the processes that have a socket's card.
func holders(path string) string {
	var names []string
	for _, p := range user.Holders(path) {
		names = append(names, fmt.Sprintf("pid %d (%s)", p.PID, p.Name))
	}
	if names == nil {
		return "another client, which this user may not see"
	}
	return strings.Join(names, ", ")
}
