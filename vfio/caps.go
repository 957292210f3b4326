package vfio

import (
	"encoding/binary"
	"fmt"
)

var le = binary.LittleEndian

// maxCaps bounds a capability chain: there are some ten kinds.
const maxCaps = 32

// capability walks the chain of capabilities in an ioctl's answer, which
// begins at off of b, and returns the one with an id: its bytes from the
// header on. The chain is bounded, may not leave b, and only goes forward or
// ends.
func capability(b []byte, off uint32, id uint16) ([]byte, error) {
	seen := map[uint32]bool{}
	for n := 0; off != 0; n++ {
		if n == maxCaps || seen[off] {
			return nil, fmt.Errorf("capability chain goes in circles at %#x", off)
		}
		seen[off] = true
		if uint64(off)+8 > uint64(len(b)) {
			return nil, fmt.Errorf("capability at %#x of %d bytes", off, len(b))
		}
		c := b[off:]
		if le.Uint16(c) == id {
			return c, nil
		}
		off = le.Uint32(c[4:])
	}
	return nil, nil
}

// list takes the entries of 16 bytes out of a capability that counts them at
// byte 8.
func list(c []byte, most int) ([][2]uint64, error) {
	if c == nil {
		return nil, nil
	}
	if len(c) < 16 {
		return nil, fmt.Errorf("capability of %d bytes", len(c))
	}
	n := le.Uint32(c[8:])
	if n > uint32(most) || int(n)*16 > len(c)-16 {
		return nil, fmt.Errorf("capability with %d entries in %d bytes", n, len(c))
	}
	out := make([][2]uint64, n)
	for i := range out {
		out[i] = [2]uint64{le.Uint64(c[16+16*i:]), le.Uint64(c[24+16*i:])}
	}
	return out, nil
}
