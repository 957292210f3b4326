// Package hal is the seam between the driver and whatever carries it to a
// card: one PCI function, reached in-process, over a vfio-user socket, or
// through the kernel's VFIO. It fits on a screen on purpose. The written
// guarantees of each method are checked on every backend by hal/haltest.
package hal

import (
	"errors"
	"time"
)

// Errors a caller decides on. Backends wrap them with what was being done.
var (
	ErrCardLost    = errors.New("card lost")                // gone from the bus, or its process died
	ErrClosed      = errors.New("function closed")          // used after Close
	ErrOutOfRange  = errors.New("access out of range")      // offset, width or alignment
	ErrUnsupported = errors.New("not supported by backend") // reset level, number of vectors
	ErrNoMemory    = errors.New("no memory for dma")        // host memory or IOVA space is spent
)

// Direction says who writes a DMA buffer; the IOMMU enforces it.
type Direction uint8

const (
	CardReads  Direction = 1 + iota // host writes, card reads (R)
	CardWrites                      // card writes, host reads (W)
)

// Level is a reset of section 21 of docs/hci.md that a host can ask for.
type Level uint8

const (
	ResetFLR Level = 1 + iota // function level reset
	ResetHot                  // hot reset of the slot: other functions too
)

// Function is one PCI function, owned by the caller until Close. Config,
// AllocDMA, Vectors and Reset are for the control path and may be called
// from any goroutine; Regions and Vectors say what they allow.
type Function interface {
	// ReadConfig reads 1, 2 or 4 bytes, aligned, of configuration space.
	// A function that has left the bus gives all ones or ErrCardLost.
	ReadConfig(off, width int) (uint32, error)
	// WriteConfig is its inverse. It has been carried out when it returns.
	WriteConfig(off, width int, v uint32) error
	// Region gives BAR bar (0..5); ErrOutOfRange when there is none.
	Region(bar int) (Region, error)
	// AllocDMA gives zeroed, page-aligned memory that is contiguous in IOVA
	// space and mapped for the card in one direction. size is rounded up to
	// pages. It stays mapped until Free or Close.
	AllocDMA(size int, dir Direction) (*DMA, error)
	// Vectors turns on n MSI-X vectors and returns them. A second call
	// replaces the first.
	Vectors(n int) ([]Vector, error)
	// Events gives what happened to the function outside its interrupts,
	// oldest first; nil when nothing did. It does not wait.
	Events() []Event
	// Reset returns when the function answers again and its Transactions
	// Pending is clear, or with an error: a reset that was not verified did
	// not succeed. BARs, vectors and DMA mappings stay usable; the vectors
	// must be turned on again.
	Reset(Level) error
	// Close gives the function back: the card is reset (as by an FLR) and
	// its mappings are gone. Memory of DMA buffers must not be used after.
	// A second Close returns nil.
	Close() error
}

// Region is a BAR. Every access is one access of exactly that width, never
// merged, dropped or repeated; 64-bit accesses are two 32-bit ones, low
// first, where the backend has no wider ones. off must be aligned and in
// range: a violation panics with ErrOutOfRange, as an index does. Loads of a
// lost card give all ones, and stores to it vanish. Any goroutine may use it.
type Region interface {
	Size() int
	Load32(off int) uint32
	Store32(off int, v uint32)
	Load64(off int) uint64
	Store64(off int, v uint64)
}

// DMA is memory shared with the card.
type DMA struct {
	Bytes []byte // host's view; len is a whole number of pages
	IOVA  uint64 // card's address of Bytes[0]
	Dir   Direction
	Free  func() error // unmaps; the card's next access faults. Bytes must not be used after
}

// Vector is one interrupt. Only one goroutine waits on it at a time.
type Vector interface {
	// Wait returns true when the interrupt has fired since the last Wait
	// that returned true, or false after d without one. d < 0 waits without
	// bound, d == 0 only looks. Firings in between count as one. Close, and
	// a second Vectors, end a Wait that is under way with ErrClosed.
	Wait(d time.Duration) (bool, error)
}

// EventKind is what an Event tells.
type EventKind uint8

const (
	EventError   EventKind = 1 + iota // uncorrectable PCIe error (AER) of this function
	EventRemoval                      // the kernel asks for the function back
	EventLost                         // the function is gone
)

// Event is one entry of Function.Events.
type Event struct {
	Kind   EventKind
	Detail string
}

// WaitForever is the timeout of a Wait without bound.
const WaitForever = time.Duration(-1)
