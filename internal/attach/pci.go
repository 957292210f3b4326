package attach

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/hc1-toolkit/hc1/internal/address"
	"github.com/hc1-toolkit/hc1/internal/pci"
	"github.com/hc1-toolkit/hc1/vfio"
)

// Errors of a card in a slot.
var (
	// ErrNoCard: nothing is there.
	ErrNoCard = errors.New("no such card")
	// ErrNotBound: the kernel's driver for it is not vfio-pci.
	ErrNotBound = errors.New("the card is not bound to vfio-pci")
)

// openPCI attaches a card that the kernel's VFIO lends.
func openPCI(a address.Address, log *slog.Logger) (*Card, error) {
	f, err := pci.Tree("/").Find(a.Name)
	if err != nil {
		return nil, &tagged{ErrNoCard, err}
	}
	d, err := vfio.Open(f.BDF, vfio.Options{Mode: a.IOMMU, Log: log})
	switch {
	case errors.Is(err, vfio.ErrNotBound):
		return nil, &tagged{ErrNotBound, err}
	case errors.Is(err, vfio.ErrBusy):
		return nil, &tagged{ErrHeld, err}
	case err != nil:
		return nil, fmt.Errorf("%s: %w", a, err)
	}
	return &Card{Address: a, Function: d, Chat: true, Way: "VFIO, " + d.Mode()}, nil
}
