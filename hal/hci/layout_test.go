package hci

import (
	"encoding/binary"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// wire is every structure that crosses the bus, with its table in the
// document, its size there, and members whose Go name is not the table's
// without underscores.
var wire = []struct {
	table, section string
	size           int
	value          any
	spans          map[string]string // Go name -> first member of those it holds
}{
	{"sqe", "7", SQESize, SQE{}, map[string]string{"CDW": "CDW10"}},
	{"cqe", "7", CQESize, CQE{}, nil},
	{"caps", "10", CapsSize, Capabilities{}, nil},
	{"record", "12", RecordSize, Record{}, map[string]string{"Payload": "IDS"}},
	{"params", "15", ParamsSize, Params{}, nil},
	{"health", "17.1", HealthSize, Health{}, nil},
	{"logerror", "17.2", 64, ErrorEntry{}, nil},
	{"logfirmware", "17.2", 512, FirmwareLog{}, map[string]string{"FR": "FR0"}},
	{"logselftest", "17.2", 64, SelfTestLog{}, nil},
	{"logtelemetry", "17.2", 256, Telemetry{}, nil},
	{"logsession", "17.2", 64, SessionEntry{}, nil},
	{"logevent", "17.2", 32, EventEntry{}, nil},
}

// layoutFaults compares a Go structure with the members of a table: what is
// in memory, and what encoding/binary writes, are both the wire's layout.
func layoutFaults(typ reflect.Type, size int, members []Member, spans map[string]string) (faults []string) {
	if int(typ.Size()) != size || binary.Size(reflect.New(typ).Elem().Interface()) != size {
		faults = append(faults, "size")
	}
	byName := map[string]Member{}
	for _, m := range members {
		byName[strings.ReplaceAll(m.Name, "_", "")] = m
	}
	packed := 0 // offset as encoding/binary has it, without padding
	for i := range typ.NumField() {
		f := typ.Field(i)
		length := int(f.Type.Size())
		if int(f.Offset) != packed {
			faults = append(faults, f.Name+" is padded")
		}
		packed += length
		if f.Name == "_" || f.Name == "Reserved" {
			continue
		}
		name := strings.ToUpper(f.Name)
		if spans[f.Name] != "" {
			name = spans[f.Name]
		}
		m, ok := byName[name]
		if !ok || m.Offset != int(f.Offset) {
			faults = append(faults, f.Name+" is not where the table has it")
			continue
		}
		// A member of an array's type may stand for several of the table.
		for off := m.Offset; off < m.Offset+length; {
			found := false
			for key, o := range byName {
				if o.Offset == off && o.Offset+o.Size <= m.Offset+length {
					delete(byName, key)
					off += o.Size
					found = true
					break
				}
			}
			if !found {
				faults = append(faults, f.Name+" is longer than the table has it")
				break
			}
		}
	}
	for name := range byName {
		faults = append(faults, name+" has no field")
	}
	return faults
}

func TestLayouts(t *testing.T) {
	for _, w := range wire {
		for _, f := range layoutFaults(reflect.TypeOf(w.value), w.size, Layouts[w.table], w.spans) {
			t.Errorf("%T (section %s): %s", w.value, w.section, f)
		}
	}
	// The structures that have no Go type: their accessors use the offsets.
	for table, size := range map[string]int{"shadow": ShadowStride, "hostblock": HostBlockSize, "cardblock": CardBlockSize, "maskslot": MaskStride} {
		for _, m := range Layouts[table] {
			if m.Offset+m.Size > size || m.Offset%min(m.Size, 8) != 0 {
				t.Errorf("%s: %s at %#x in %d bytes", table, m.Name, m.Offset, size)
			}
		}
	}
	if len(wire)+4 != len(Layouts) {
		t.Errorf("%d structures are checked, there are %d", len(wire)+4, len(Layouts))
	}
}

func TestLayoutCheckCanFail(t *testing.T) {
	type good struct {
		A    uint32
		B, C uint16
	}
	members := []Member{{0, 4, "A"}, {4, 2, "B"}, {6, 2, "C"}}
	if f := layoutFaults(reflect.TypeOf(good{}), 8, members, nil); f != nil {
		t.Fatal(f)
	}
	for name, f := range map[string][]string{
		"size":    layoutFaults(reflect.TypeOf(good{}), 12, members, nil),
		"missing": layoutFaults(reflect.TypeOf(good{}), 8, append(members[:3:3], Member{8, 1, "D"}), nil),
		"extra":   layoutFaults(reflect.TypeOf(good{}), 8, members[:2], nil),
		"longer":  layoutFaults(reflect.TypeOf(good{}), 8, []Member{{0, 2, "A"}, {4, 2, "B"}, {6, 2, "C"}}, nil),
		"order": layoutFaults(reflect.TypeOf(struct {
			A    uint32
			C, B uint16
		}{}), 8, members, nil),
		"padding": layoutFaults(reflect.TypeOf(struct {
			B, C uint16
			D    uint64
		}{}), 16, []Member{{0, 2, "B"}, {2, 2, "C"}, {8, 8, "D"}}, nil),
	} {
		if len(f) == 0 {
			t.Errorf("%s: not noticed", name)
		}
	}
}

// Sizes of log pages as section 17.2 prints them are those of the structures.
func TestLogSizes(t *testing.T) {
	got, err := tables(readDocument(t))
	if err != nil {
		t.Fatal(err)
	}
	size := map[string]any{"ERROR": ErrorEntry{}, "FIRMWARE": FirmwareLog{}, "SELF_TEST": SelfTestLog{},
		"TELEMETRY": Telemetry{}, "SESSIONS": SessionEntry{}, "EVENTS": EventEntry{}}
	for _, row := range got["logs"] {
		text := regexp.MustCompile(`^\d+`).FindString(row[2])
		if n := number(text); int(n) != binary.Size(size[row[1]]) {
			t.Errorf("log page %s: %s, the structure has %d", row[1], row[2], binary.Size(size[row[1]]))
		}
	}
}

// Members of structures that are read as words are aligned, and the last
// words that are stored at once are 8 bytes at the end (section 22, rule 2).
func TestSingleStores(t *testing.T) {
	for name, off := range map[string]int{"record tail": RecOffEpoch, "health tail": HealthOffRGEN, "cqe tail": CQEOffSQHD,
		"choice": HostOffChoice, "valid": MaskOffValid} {
		if off%8 != 0 {
			t.Errorf("%s at %#x is not aligned", name, off)
		}
	}
	if RecOffEpoch+8 != RecordSize || HealthOffRGEN+8 != HealthSize || CQEOffSQHD+8 != CQESize || MaskOffValid+8 != MaskStride {
		t.Error("a tail is not the end of its structure")
	}
	if RecOffCRC != HealthOffCRC || RecordSize != HealthSize {
		t.Error("the health record's CRC is not a record's") // DecodeHealth relies on it
	}
	if d := ShadowOffCQH - ShadowOffSQT; d != 128 {
		t.Errorf("SQ and CQ words are %d bytes apart", d)
	}
}
