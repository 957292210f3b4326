package user

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// The protocol's version. A reply may lower the minor number; QEMU proposes
// 0.0 and takes no other.
const (
	versionMajor = 0
	versionMinor = 1
)

// Limits of both sides, and what a peer that names none has (the defaults of
// the specification).
const (
	defaultMaxFDs   = 1
	defaultMaxXfer  = 1 << 20
	defaultMaxMaps  = 65535
	maxVersionBytes = 4096 // of a VERSION message's JSON
	maxJSONDepth    = 8
	leastTransfer   = 8 // a word

	// MaxFDs is the most file descriptors of a message that this package
	// sends or takes; MaxTransfer the most bytes of a read or write.
	MaxFDs      = 64
	MaxTransfer = 1 << 20
)

// Capabilities are what two sides agreed on.
type Capabilities struct {
	MaxFDs        int    // file descriptors of a message
	MaxTransfer   int    // bytes of a region or DMA access
	MaxMaps       int    // DMA mappings
	PageSizes     uint64 // bit mask of what a DMA mapping may be made of
	WriteMultiple bool   // REGION_WRITE_MULTI may be sent
	// ErrorEvents: the client understands the ERR interrupt as news of an
	// error, not as an order to stop. It is this package's own; QEMU stops
	// the whole machine when that interrupt fires.
	ErrorEvents bool
}

// capsJSON is the JSON of a VERSION message. Pointers: what is absent has a
// default. What is unknown is ignored, as the specification asks.
type capsJSON struct {
	Capabilities *struct {
		MaxMsgFDs     *int64  `json:"max_msg_fds,omitempty"`
		MaxXfer       *int64  `json:"max_data_xfer_size,omitempty"`
		MaxMaps       *int64  `json:"max_dma_maps,omitempty"`
		PageSizes     *uint64 `json:"pgsizes,omitempty"`
		WriteMultiple *bool   `json:"write_multiple,omitempty"`
		ErrorEvents   *bool   `json:"error_events,omitempty"`
	} `json:"capabilities,omitempty"`
}

// encodeVersion makes the payload of a VERSION message, with the NUL that
// ends its JSON.
func encodeVersion(major, minor uint16, c *Capabilities) []byte {
	b := le.AppendUint16(le.AppendUint16(nil, major), minor)
	if c == nil {
		return append(b, 0)
	}
	b = fmt.Appendf(b, `{"capabilities":{"max_msg_fds":%d,"max_data_xfer_size":%d,"max_dma_maps":%d,"pgsizes":%d`, c.MaxFDs, c.MaxTransfer, c.MaxMaps, c.PageSizes)
	if c.WriteMultiple {
		b = append(b, `,"write_multiple":true`...)
	}
	if c.ErrorEvents {
		b = append(b, `,"error_events":true`...)
	}
	return append(b, "}}\x00"...)
}

// decodeVersion takes a VERSION payload apart and checks it. Limits of the
// peer that are absent have their defaults, and none is taken as larger than
// this package's own.
func decodeVersion(b []byte) (major, minor uint16, c Capabilities, err error) {
	if len(b) < versionSize {
		return 0, 0, c, fmt.Errorf("VERSION of %d bytes", len(b))
	}
	major, minor = le.Uint16(b), le.Uint16(b[2:])
	c, err = decodeCaps(b[versionSize:])
	return major, minor, c, err
}

func decodeCaps(b []byte) (Capabilities, error) {
	c := Capabilities{MaxFDs: defaultMaxFDs, MaxTransfer: defaultMaxXfer, MaxMaps: defaultMaxMaps, PageSizes: pageSize}
	if len(b) == 0 {
		return c, nil // the JSON is optional
	}
	if len(b) > maxVersionBytes {
		return c, fmt.Errorf("version data of %d bytes, at most %d", len(b), maxVersionBytes)
	}
	if b[len(b)-1] != 0 {
		return c, errors.New("version data does not end with NUL")
	}
	if b = b[:len(b)-1]; len(b) == 0 {
		return c, nil
	}
	if bytes.IndexByte(b, 0) >= 0 {
		return c, errors.New("version data has a NUL inside")
	}
	if err := checkDepth(b); err != nil {
		return c, err
	}
	var j capsJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return c, fmt.Errorf("version data: %w", err)
	}
	p := j.Capabilities
	if p == nil {
		return c, nil
	}
	for _, x := range []struct {
		name  string
		v     *int64
		to    *int
		least int64
		most  int
	}{
		{"max_msg_fds", p.MaxMsgFDs, &c.MaxFDs, 0, MaxFDs},
		{"max_data_xfer_size", p.MaxXfer, &c.MaxTransfer, leastTransfer, MaxTransfer},
		{"max_dma_maps", p.MaxMaps, &c.MaxMaps, 1, defaultMaxMaps},
	} {
		switch {
		case x.v == nil:
		case *x.v < x.least:
			return c, fmt.Errorf("version data: %s is %d", x.name, *x.v)
		default:
			*x.to = int(min(*x.v, int64(x.most)))
		}
	}
	if p.PageSizes != nil {
		if c.PageSizes = *p.PageSizes; c.PageSizes&pageSize == 0 {
			return c, fmt.Errorf("version data: pgsizes %#x has no pages of 4096 bytes", c.PageSizes)
		}
	}
	c.WriteMultiple = p.WriteMultiple != nil && *p.WriteMultiple
	c.ErrorEvents = p.ErrorEvents != nil && *p.ErrorEvents
	return c, nil
}

// checkDepth bounds how deep JSON nests, before a parser recurses into it.
func checkDepth(b []byte) error {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch ch := b[i]; {
		case quoted && ch == '\\':
			i++
		case ch == '"':
			quoted = !quoted
		case quoted:
		case ch == '{' || ch == '[':
			if depth++; depth > maxJSONDepth {
				return fmt.Errorf("version data nests deeper than %d", maxJSONDepth)
			}
		case ch == '}' || ch == ']':
			depth--
		}
	}
	return nil
}
