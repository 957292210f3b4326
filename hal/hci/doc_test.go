package hci

import (
	"fmt"
	"math/big"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The document and the code cannot drift: every table of docs/hci.md that is
// marked <!-- hci:NAME --> is read and compared, row by row and both ways,
// with what this package says.

const document = "../../docs/hci.md"

func readDocument(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var marker = regexp.MustCompile(`^<!-- hci:([a-z]+) -->$`)

// tables returns the rows of every marked table, without its two head lines.
func tables(doc string) (map[string][][]string, error) {
	out := map[string][][]string{}
	lines := strings.Split(doc, "\n")
	for i := 0; i < len(lines); i++ {
		m := marker.FindStringSubmatch(lines[i])
		if m == nil {
			continue
		}
		if _, dup := out[m[1]]; dup {
			return nil, fmt.Errorf("table %s is there twice", m[1])
		}
		var rows [][]string
		for i++; i < len(lines) && strings.HasPrefix(lines[i], "|"); i++ {
			var row []string
			for _, c := range strings.Split(strings.Trim(lines[i], "|"), "|") {
				row = append(row, strings.TrimSpace(c))
			}
			rows = append(rows, row)
		}
		if len(rows) < 3 {
			return nil, fmt.Errorf("table %s has no rows", m[1])
		}
		out[m[1]] = rows[2:]
	}
	return out, nil
}

func number(s string) uint64 {
	v, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		return 1<<63 + 12345 // equal to nothing in the code
	}
	return v
}

// rows of the code, in the form of the document's: what compare holds
// against each other.
type wanted map[string][][]string

func hex(v uint64) string { return fmt.Sprintf("%#x", v) }

func bitRange(lo, hi uint8) string {
	if lo == hi {
		return fmt.Sprint(lo)
	}
	return fmt.Sprintf("%d:%d", hi, lo)
}

// code renders this package's tables. A cell "*" matches anything.
func code() wanted {
	w := wanted{}
	add := func(name string, cells ...any) {
		row := make([]string, len(cells))
		for i, c := range cells {
			row[i] = fmt.Sprint(c)
		}
		w[name] = append(w[name], row)
	}
	for _, x := range []struct {
		n string
		v uint64
	}{{"VENDOR", PCIVendor}, {"DEVICE", PCIDevice}, {"SUBVENDOR", PCISubVendor}, {"SUBDEVICE", PCISubDevice}, {"CLASS", PCIClass}, {"REVISION", PCIRevision}} {
		add("ids", x.n, hex(x.v), "*")
	}
	add("bars", BARRegs, "REGS", hex(BARRegsSize), "no", "*")
	add("bars", BARDoorbells, "DOORBELLS", hex(BARDoorbellsSize), "no", "*")
	add("bars", BARMSIX, "MSIX", hex(BARMSIXSize), "no", "*")
	for _, r := range Registers {
		add("registers", hex(uint64(r.Offset)), r.Name, r.Bits, r.Access, r.Reset, r.Meaning)
	}
	for _, f := range RegisterFields {
		add("bits", f.Register, f.Name, bitRange(f.Bits.Lo, f.Bits.Hi), f.Meaning)
	}
	for _, x := range []struct {
		off  int
		n    string
		bits int
	}{{DoorbellSQTDBL, "SQTDBL", 32}, {DoorbellCQHDBL, "CQHDBL", 32}, {DoorbellKICK, "KICK", 32}, {DoorbellARM, "ARM", 64}} {
		add("doorbells", hex(uint64(x.off)), x.n, x.bits, "*")
	}
	for _, x := range []struct {
		n string
		b Bits
	}{{"SEQUENCE", ArmSequence}, {"SLOT", ArmSlot}, {"DELAY", ArmDelay}} {
		add("arm", bitRange(x.b.Lo, x.b.Hi), x.n, "*")
	}
	for _, s := range Statuses {
		dnr := 0
		if s.DNR {
			dnr = 1
		}
		add("status", uint16(s.Code>>8), hex(uint64(s.Code&0xFF)), s.Name, dnr, s.Meaning)
	}
	for _, o := range AdminOpcodes {
		add("admin", hex(uint64(o.Code)), o.Name, o.Needs, o.Meaning)
	}
	for _, o := range IOOpcodes {
		add("io", hex(uint64(o.Code)), o.Name, o.Needs, o.Meaning)
	}
	for name, fields := range map[string][]CommandField{"adminfields": AdminFields, "iofields": IOFields} {
		for _, f := range fields {
			add(name, f.Command, f.Name, hex(uint64(f.Offset)), bitRange(f.Lo, f.Hi), "*")
		}
	}
	for name, members := range Layouts {
		for _, m := range members {
			add(name, hex(uint64(m.Offset)), m.Name, m.Size, "*")
		}
	}
	for name, entries := range Enums {
		for _, e := range entries {
			row := []any{hex(uint64(e.Value)), e.Name, "*"}
			if name == "logs" || name == "featureids" {
				row = append(row, "*")
			}
			add(name, row...)
		}
	}
	for _, e := range Events {
		add("events", hex(uint64(e.Code)), e.Name, e.Type, hex(uint64(e.Log)), "*")
	}
	for _, t := range Timeouts {
		add("timeouts", t.Name, t.Bound, "*")
	}
	for _, r := range Resets {
		row := []any{r.Name}
		for _, c := range r.Keeps {
			row = append(row, c)
		}
		add("resets", row...)
	}
	for i := 0; i < len(Weights); i += 8 {
		row := []any{i}
		for k := range 8 {
			if i+k < len(Weights) {
				row = append(row, Weights[i+k])
			} else {
				row = append(row, "")
			}
		}
		add("weights", row...)
	}
	return w
}

// others are tables without a counterpart in this package: prose about
// states, and vectors that the sampler's test reads.
var others = []string{"states", "vectors", "philox"}

// sameCell compares a cell: equal text, or equal numbers.
func sameCell(doc, code string) bool {
	if code == "*" || doc == code {
		return true
	}
	a, err1 := strconv.ParseUint(doc, 0, 64)
	b, err2 := strconv.ParseUint(code, 0, 64)
	return err1 == nil && err2 == nil && a == b
}

// compare returns every difference between a document and the code.
func compare(doc string) (diffs []string) {
	got, err := tables(doc)
	if err != nil {
		return []string{err.Error()}
	}
	want := code()
	for name := range got {
		if want[name] == nil && !slices.Contains(others, name) {
			diffs = append(diffs, "table "+name+" is not known to the code")
		}
	}
	for name, rows := range want {
		have := got[name]
		if len(have) != len(rows) {
			diffs = append(diffs, fmt.Sprintf("table %s: %d rows, the code has %d", name, len(have), len(rows)))
			continue
		}
		for i, row := range rows {
			ok := len(have[i]) == len(row)
			for k := 0; ok && k < len(row); k++ {
				ok = sameCell(have[i][k], row[k])
			}
			if !ok {
				diffs = append(diffs, fmt.Sprintf("table %s row %d: %q, the code has %q", name, i, have[i], row))
			}
		}
	}
	return append(diffs, consistent(got)...)
}

// consistent checks the document against itself: nothing overlaps, nothing
// is named or numbered twice.
func consistent(got map[string][][]string) (diffs []string) {
	overlap := func(table, scope string, items [][3]string) { // name, offset, length, all in bits
		slices.SortStableFunc(items, func(a, b [3]string) int { return int(number(a[1])) - int(number(b[1])) })
		for i := 1; i < len(items); i++ {
			if number(items[i-1][1])+number(items[i-1][2]) > number(items[i][1]) {
				diffs = append(diffs, fmt.Sprintf("table %s%s: %s and %s overlap", table, scope, items[i-1][0], items[i][0]))
			}
		}
	}
	for name := range Layouts {
		var items [][3]string
		for _, r := range got[name] {
			items = append(items, [3]string{r[1], r[0], r[2]})
		}
		overlap(name, "", items)
	}
	var regs [][3]string
	for _, r := range got["registers"] {
		regs = append(regs, [3]string{r[1], r[0], fmt.Sprint(number(r[2]) / 8)})
	}
	overlap("registers", "", regs)
	fields := func(table string, scope, name, base, bits int) {
		groups := map[string][][3]string{}
		for _, r := range got[table] {
			hi, lo, ranged := strings.Cut(r[bits], ":")
			if !ranged {
				lo = hi
			}
			start := number(lo)
			if base >= 0 {
				start += number(r[base]) * 8
			}
			groups[r[scope]] = append(groups[r[scope]], [3]string{r[name], fmt.Sprint(start), fmt.Sprint(number(hi) - number(lo) + 1)})
		}
		for g, items := range groups {
			overlap(table, " of "+g, items)
		}
	}
	fields("bits", 0, 1, -1, 2)
	fields("adminfields", 0, 1, 2, 3)
	fields("iofields", 0, 1, 2, 3)
	for table, cols := range map[string][]int{"registers": {0, 1}, "admin": {0, 1}, "io": {0, 1}, "logs": {0, 1}, "events": {0, 1},
		"featureids": {0, 1}, "features": {0, 1}, "recordflags": {0, 1}, "stop": {0, 1}, "commit": {0, 1}, "ferr": {0, 1}, "doorbells": {0, 1}, "status": {2}} {
		for _, col := range cols {
			seen := map[string]bool{}
			for _, r := range got[table] {
				if seen[r[col]] {
					diffs = append(diffs, fmt.Sprintf("table %s: %s is there twice", table, r[col]))
				}
				seen[r[col]] = true
			}
		}
	}
	seen := map[string]bool{}
	for _, r := range got["status"] {
		if k := r[0] + "/" + r[1]; seen[k] {
			diffs = append(diffs, "status "+k+" is there twice")
		} else {
			seen[k] = true
		}
	}
	return diffs
}

func TestDocumentIsTheCode(t *testing.T) {
	for _, d := range compare(readDocument(t)) {
		t.Error(d)
	}
}

// The comparison can fail: each of these edits of the document is noticed.
func TestComparisonNotices(t *testing.T) {
	doc := readDocument(t)
	edit := func(name, old, new string) {
		t.Helper()
		if !strings.Contains(doc, old) {
			t.Errorf("%s: the document has no %q", name, old)
			return
		}
		if len(compare(strings.Replace(doc, old, new, 1))) == 0 {
			t.Errorf("%s: not noticed", name)
		}
	}
	edit("offset", "| 0x001C | CSTS |", "| 0x0018 | CSTS |")
	edit("reset value", "| RW | 0x00000000 | controller configuration |", "| RW | 0x00000001 | controller configuration |")
	edit("bit", "| CSTS | SHST | 3:2 |", "| CSTS | SHST | 4:3 |")
	edit("opcode", "| 0x83 | GENERATE |", "| 0x8B | GENERATE |")
	edit("status code", "| 7 | 0x06 | NOT_PRIMED |", "| 7 | 0x26 | NOT_PRIMED |")
	edit("DNR", "| 7 | 0x06 | NOT_PRIMED | 1 |", "| 7 | 0x06 | NOT_PRIMED | 0 |")
	edit("field", "| GENERATE | TOPK | 0x2C | 23:16 |", "| GENERATE | TOPK | 0x2C | 24:17 |")
	edit("member", "| 0x3A | CRC | 2 | CRC-16 of bytes", "| 0x38 | CRC | 2 | CRC-16 of bytes")
	edit("size", "| 1200 | MODEL_NAME | 64 |", "| 1200 | MODEL_NAME | 32 |")
	edit("row gone", "| 5 | ERROR | GENERATE failed; its CQE says why |\n", "")
	edit("row added", "| 0xC2 | EVENTS | 32 per entry |", "| 0xC3 | MORE | 1 | x |\n| 0xC2 | EVENTS | 32 per entry |")
	edit("table gone", "<!-- hci:params -->", "")
	edit("unknown table", "<!-- hci:ferr -->", "<!-- hci:other -->\n| a |\n|---|\n| b |\n\n<!-- hci:ferr -->")
	edit("weight", "268435456", "268435455")
	edit("reset table", "| CC_EN | zeroed |", "| CC_EN | kept |")
	edit("timeout", "| FLR | 100 ms |", "| FLR | 200 ms |")
	edit("event", "| 0x04 | THROTTLE | 1 |", "| 0x04 | THROTTLE | 0 |")
	edit("overlap", "| 0x4C | LATE | 4 |", "| 0x4C | LATE | 8 |")
}

// Every "section N" of the document exists.
func TestSectionsExist(t *testing.T) {
	doc := readDocument(t)
	heads := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^##+ (\d+(?:\.\d+)?) `).FindAllStringSubmatch(doc, -1) {
		heads[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`sections? (\d+(?:\.\d+)?)`).FindAllStringSubmatch(doc, -1) {
		if !heads[m[1]] {
			t.Errorf("section %s is named and does not exist", m[1])
		}
	}
	if len(heads) < 25 {
		t.Errorf("%d sections", len(heads))
	}
}

// Annex A is what its formula says.
func TestWeights(t *testing.T) {
	const prec = 200
	// 2^(-1/256) by eight square roots of 1/2.
	step := new(big.Float).SetPrec(prec).SetFloat64(0.5)
	for range 8 {
		step.Sqrt(step)
	}
	w := new(big.Float).SetPrec(prec).SetFloat64(1 << 28)
	for i, got := range Weights {
		x := new(big.Float).SetPrec(prec).Add(w, big.NewFloat(0.5))
		want, _ := x.Int(nil)
		if want.Uint64() != uint64(got) {
			t.Errorf("W[%d] = %d, want %d", i, got, want)
		}
		w.Mul(w, step)
	}
}
