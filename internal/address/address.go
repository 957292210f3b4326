// Package address parses card addresses, the words by which people and
// programs name a card:
//
//	mock:[?clock=realtime|fast|virtual&seed=N&model=PATH|script:PATH&cards=N&fault=PLAN&trace=PATH]
//	vfio-user:PATH
//	0000:01:00.0            a PCI address (BDF)
//	HC1-00000000DEADBEEF    a serial number
//
// The last two may be followed by ?iommu=iommufd|type1|unsafe-none.
package address

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Scheme is the kind of an address.
type Scheme string

// Schemes.
const (
	Mock     Scheme = "mock"
	VFIOUser Scheme = "vfio-user"
	PCI      Scheme = "pci"
	Serial   Scheme = "serial"
)

// Address is a parsed card address.
type Address struct {
	Scheme Scheme
	Path   string // VFIOUser: the socket
	Name   string // PCI: the BDF with its domain; Serial: the serial number
	IOMMU  string // PCI, Serial: how to reach the kernel's; "" chooses

	// The rest is for Mock.
	Clock  string // realtime, fast or virtual
	Seed   uint64
	Model  string // GGUF file; "" is the model that ships with the card
	Script string // text to replay instead of a model
	Cards  int
	Fault  string // fault plan
	Trace  string // file to write a trace to
}

// Clocks are the values of clock=.
var Clocks = []string{"realtime", "fast", "virtual"}

// IOMMUs are the values of iommu=.
var IOMMUs = []string{"iommufd", "type1", "unsafe-none"}

// keys are the options of a mock: address, for messages.
const keys = "clock, seed, model, cards, fault, trace"

// maxCards bounds cards=: a server holds ten.
const maxCards = 64

// matches reports whether s has the shape of pattern, in which an x stands
// for a hexadecimal digit, a 7 for an octal one, and anything else for itself.
func matches(s, pattern string) bool {
	if len(s) != len(pattern) {
		return false
	}
	for i := range len(s) {
		ok := s[i] == pattern[i]
		switch pattern[i] {
		case 'x':
			ok = strings.IndexByte("0123456789abcdefABCDEF", s[i]) >= 0
		case '7':
			ok = '0' <= s[i] && s[i] <= '7'
		}
		if !ok {
			return false
		}
	}
	return true
}

// Parse parses a card address. An error names what is wrong and what is
// allowed.
func Parse(s string) (Address, error) {
	switch scheme, rest, found := strings.Cut(s, ":"); {
	case s == "":
		return Address{}, fmt.Errorf("card address is empty; the emulated card is mock:")
	case found && scheme == string(Mock):
		return parseMock(s, rest)
	case found && scheme == string(VFIOUser):
		if rest == "" {
			return Address{}, fmt.Errorf("card address %q: the path of the socket is missing", s)
		}
		return Address{Scheme: VFIOUser, Path: rest}, nil
	}
	bare, query, asked := strings.Cut(s, "?")
	mode := ""
	if asked {
		var ok bool
		if mode, ok = strings.CutPrefix(query, "iommu="); !ok || !slices.Contains(IOMMUs, mode) {
			return Address{}, fmt.Errorf("card address %q: after '?' goes iommu= with %s", s, strings.Join(IOMMUs, ", "))
		}
	}
	if name := strings.ToLower(bare); matches(name, "xxxx:xx:xx.7") {
		return Address{Scheme: PCI, Name: name, IOMMU: mode}, nil
	} else if matches(name, "xx:xx.7") {
		return Address{Scheme: PCI, Name: "0000:" + name, IOMMU: mode}, nil
	}
	if up := strings.ToUpper(bare); matches(up, "HC1-xxxxxxxxxxxxxxxx") {
		return Address{Scheme: Serial, Name: up, IOMMU: mode}, nil
	}
	return Address{}, fmt.Errorf("card address %q: not mock:, vfio-user:PATH, a PCI address like 0000:01:00.0, or a serial number like HC1-0000000000000001", s)
}

func parseMock(s, rest string) (Address, error) {
	a := Address{Scheme: Mock, Clock: "realtime", Cards: 1}
	query, ok := strings.CutPrefix(rest, "?")
	if rest != "" && !ok {
		return a, fmt.Errorf("card address %q: options of mock: begin with '?'", s)
	}
	seen := map[string]bool{}
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		key, raw, _ := strings.Cut(part, "=")
		// A fault plan has '%' and '+' of its own: only well-formed escapes count.
		val, err := url.PathUnescape(raw)
		if err != nil {
			val = raw
		}
		if seen[key] {
			return a, fmt.Errorf("card address %q: %s is given twice", s, key)
		}
		seen[key] = true
		if err := a.set(key, val); err != nil {
			return a, fmt.Errorf("card address %q: %w", s, err)
		}
	}
	return a, nil
}

func (a *Address) set(key, val string) error {
	if val == "" {
		switch key {
		case "clock", "seed", "model", "cards", "fault", "trace":
			return fmt.Errorf("%s has no value", key)
		}
	}
	switch key {
	case "clock":
		if !slices.Contains(Clocks, val) {
			return fmt.Errorf("clock %q: use %s", val, strings.Join(Clocks, ", "))
		}
		a.Clock = val
	case "seed":
		n, err := strconv.ParseUint(val, 0, 64)
		if err != nil {
			return fmt.Errorf("seed %q: use a number from 0 to 2^64-1", val)
		}
		a.Seed = n
	case "model":
		if path, ok := strings.CutPrefix(val, "script:"); ok {
			if path == "" {
				return fmt.Errorf("model script: has no path")
			}
			a.Script = path
			return nil
		}
		a.Model = val
	case "cards":
		n, err := strconv.Atoi(val)
		if err != nil || n < 1 || n > maxCards {
			return fmt.Errorf("cards %q: use a number from 1 to %d", val, maxCards)
		}
		a.Cards = n
	case "fault":
		a.Fault = val
	case "trace":
		a.Trace = val
	default:
		return fmt.Errorf("option %q is not known; there are %s", key, keys)
	}
	return nil
}

// String is an address that parses to a.
func (a Address) String() string {
	switch a.Scheme {
	case VFIOUser:
		return "vfio-user:" + a.Path
	case PCI, Serial:
		if a.IOMMU != "" {
			return a.Name + "?iommu=" + a.IOMMU
		}
		return a.Name
	}
	var opts []string
	add := func(k, v string) {
		if v != "" {
			opts = append(opts, k+"="+strings.NewReplacer("%", "%25", "&", "%26").Replace(v))
		}
	}
	if a.Clock != "realtime" {
		add("clock", a.Clock)
	}
	if a.Seed != 0 {
		add("seed", strconv.FormatUint(a.Seed, 10))
	}
	add("model", a.Model)
	if a.Script != "" {
		add("model", "script:"+a.Script)
	}
	if a.Cards > 1 {
		add("cards", strconv.Itoa(a.Cards))
	}
	add("fault", a.Fault)
	add("trace", a.Trace)
	if len(opts) == 0 {
		return "mock:"
	}
	return "mock:?" + strings.Join(opts, "&")
}
