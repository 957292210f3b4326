// Package trace is the record of what passed between a card and its host: a
// line of text per access, in a stable format, with a hash in place of data.
//
// A line is: time in ns, kind, address, length, value or hash, note. Numbers
// but the time are hexadecimal; the note runs to the end of the line.
//
//	hc1trace 1 seed=7
//	0 MW 0:0014 4 460001 -
//	100000 DR 10000000 40 h5d1f0a2c -
//	158960 IRQ 0 0 1 -
//	158960 NOTE 0 0 0 GENERATE sid=10000 cid=0
package trace

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
)

// Kind is what an entry tells.
type Kind uint8

// Kinds of entries.
const (
	ConfigRead Kind = iota
	ConfigWrite
	MMIORead
	MMIOWrite
	DMARead
	DMAWrite
	IRQ
	Note
)

var kindNames = [...]string{"CR", "CW", "MR", "MW", "DR", "DW", "IRQ", "NOTE"}

func (k Kind) String() string { return kindNames[k] }

// Entry is one access, interrupt or note.
type Entry struct {
	Time   int64
	Kind   Kind
	BAR    uint8  // MMIO
	Addr   uint64 // offset, IOVA or vector
	Len    int    // bytes
	Value  uint64 // register value, or CRC32C of the data
	Hashed bool   // Value is a hash
	Note   string
	Data   []byte // payload of DMA, only if asked for; valid during the call
}

// Writer writes entries as text.
type Writer struct {
	mu   sync.Mutex
	w    *bufio.Writer
	buf  []byte
	data bool
	err  error
}

// NewWriter writes the header line. With payloads the data of DMA accesses
// is written too, in hexadecimal, in the note.
func NewWriter(w io.Writer, seed uint64, payloads bool) *Writer {
	t := &Writer{w: bufio.NewWriter(w), data: payloads}
	_, t.err = fmt.Fprintf(t.w, "hc1trace 1 seed=%d\n", seed)
	return t
}

// Trace writes one entry.
func (t *Writer) Trace(e Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return
	}
	t.buf = e.append(t.buf[:0], t.data)
	_, t.err = t.w.Write(t.buf)
}

// Payloads reports whether Data is wanted.
func (t *Writer) Payloads() bool { return t.data }

// Flush writes what is buffered and returns the first error there was.
func (t *Writer) Flush() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = t.w.Flush()
	}
	return t.err
}

// String is the entry's line without its newline.
func (e Entry) String() string { return strings.TrimSuffix(string(e.append(nil, true)), "\n") }

func (e *Entry) append(b []byte, data bool) []byte {
	b = strconv.AppendInt(b, e.Time, 10)
	b = append(b, ' ')
	b = append(b, e.Kind.String()...)
	b = append(b, ' ')
	if e.Kind == MMIORead || e.Kind == MMIOWrite {
		b = strconv.AppendUint(b, uint64(e.BAR), 10)
		b = append(b, ':')
	}
	b = strconv.AppendUint(b, e.Addr, 16)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(e.Len), 16)
	b = append(b, ' ')
	if e.Hashed {
		b = append(b, 'h')
	}
	b = strconv.AppendUint(b, e.Value, 16)
	b = append(b, ' ')
	switch {
	case data && len(e.Data) > 0:
		const digits = "0123456789abcdef"
		for _, x := range e.Data {
			b = append(b, digits[x>>4], digits[x&15])
		}
	case e.Note != "":
		b = append(b, strings.ReplaceAll(e.Note, "\n", " ")...)
	default:
		b = append(b, '-')
	}
	return append(b, '\n')
}

// Trace is a whole trace in memory.
type Trace struct {
	Seed    uint64
	Entries []Entry
}

// maxLine bounds a line of a trace that is read.
const maxLine = 1 << 20

// ReadTrace reads what a Writer wrote. Payloads are left in Note.
func ReadTrace(r io.Reader) (*Trace, error) {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 4096), maxLine)
	t := &Trace{}
	for n := 1; sc.Scan(); n++ {
		if n == 1 {
			var version int
			if _, err := fmt.Sscanf(sc.Text(), "hc1trace %d seed=%d", &version, &t.Seed); err != nil || version != 1 {
				return nil, fmt.Errorf("trace: line 1: not a trace of version 1: %.40q", sc.Text())
			}
			continue
		}
		e, err := parse(sc.Text())
		if err != nil {
			return nil, fmt.Errorf("trace: line %d: %w", n, err)
		}
		t.Entries = append(t.Entries, e)
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	return t, nil
}

func parse(line string) (e Entry, err error) {
	f := strings.SplitN(line, " ", 6)
	if len(f) != 6 {
		return e, fmt.Errorf("%d fields, want 6", len(f))
	}
	if e.Time, err = strconv.ParseInt(f[0], 10, 64); err != nil {
		return e, fmt.Errorf("time %q", f[0])
	}
	k := 0
	for k < len(kindNames) && kindNames[k] != f[1] {
		k++
	}
	if k == len(kindNames) {
		return e, fmt.Errorf("kind %q", f[1])
	}
	e.Kind = Kind(k)
	addr := f[2]
	if e.Kind == MMIORead || e.Kind == MMIOWrite {
		bar, rest, ok := strings.Cut(addr, ":")
		b, err := strconv.ParseUint(bar, 10, 8)
		if !ok || err != nil {
			return e, fmt.Errorf("register %q", addr)
		}
		e.BAR, addr = uint8(b), rest
	}
	if e.Addr, err = strconv.ParseUint(addr, 16, 64); err != nil {
		return e, fmt.Errorf("address %q", f[2])
	}
	n, err := strconv.ParseUint(f[3], 16, 31)
	if err != nil {
		return e, fmt.Errorf("length %q", f[3])
	}
	e.Len = int(n)
	v, hashed := strings.CutPrefix(f[4], "h")
	e.Hashed = hashed
	if e.Value, err = strconv.ParseUint(v, 16, 64); err != nil {
		return e, fmt.Errorf("value %q", f[4])
	}
	if f[5] != "-" {
		e.Note = f[5]
	}
	return e, nil
}
