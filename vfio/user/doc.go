// Package user speaks vfio-user: the protocol by which a process offers a
// PCI device on a UNIX stream socket, and another process - QEMU's
// vfio-user-pci, or a driver - uses it as if a kernel's VFIO stood between
// them. The text of the protocol is docs/interop/vfio-user.rst of QEMU; this
// package is its version 0.1, with what QEMU 10.1 and later really do.
//
// # A device
//
// Implement Device, give it to NewServer, and let the Server take clients
// from a listener:
//
//	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
//	s := user.NewServer(dev, user.ServerOptions{Log: slog.Default()})
//	err = s.Serve(l) // until s.Close
//
// A server serves one client at a time; a second one is answered EBUSY. What
// a client leaves behind - mappings, eventfds, a device in the middle of
// something - is put away before the next one is served: Detach is the
// function reset that the kernel makes when the last file is closed.
//
// The device's calls (Access, Reset, Interrupts) come one at a time and the
// client waits for each. It is a processor that waits, perhaps with a lock
// that it would need to answer us: so a device must not wait for the client
// inside them. Do the work that a doorbell asks for on a goroutine of your
// own. A device whose Access takes a lock that is held during DMA sets
// Bus.Yield.
//
// # Memory and interrupts
//
// Attach gives the device a Bus. Read, Write, Load and Store reach the
// client's memory by the addresses that the client mapped (behind a virtual
// IOMMU those are the guest's I/O addresses). Memory that came with a file
// descriptor is mapped once per file and costs a lookup; memory without one
// costs a message. An access to what is not mapped is a *Fault, after the
// client was asked: QEMU then has the guest's IOMMU log it. Interrupt signals
// an eventfd.
//
// # A driver
//
// Dial returns a hal.Function: configuration space, BARs, DMA memory, MSI-X
// and reset, as hal promises them. Stores to BARs are posted.
//
// # Hostile peers
//
// Either side treats the other as hostile. Sizes, counts, offsets, descriptor
// numbers, the depth of JSON and message ids are checked before use; messages
// have to have their exact length (but for the
// room that a GET_REGION_INFO may bring for its answer); descriptors are closed on every path;
// waiting is bounded. A client's file that is cut short under the server
// raises no SIGBUS but a *Fault; memory of this package's own is sealed. A
// command that is merely wrong is answered with an error number; one after
// which nobody knows where the next message begins ends the connection.
package user
