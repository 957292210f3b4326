package hci

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What TestDocumentIsTheCode cannot see are the names themselves: a constant
// that no list holds, and a comment that says something other than the
// document's Meaning. This file reads the package's source for those.

// named is a constant or variable of the package.
type named struct {
	name, comment string
	value         uint64 // constants
	ident         bool   // a variable with a composite literal
}

// nothing imports empty packages.
type nothing struct{}

func (nothing) Import(name string) (*types.Package, error) {
	p := types.NewPackage(name, path.Base(name))
	p.MarkComplete()
	return p, nil
}

// parse reads the package's files but its tests, in order of name.
func parse(t *testing.T) (*token.FileSet, []*ast.File) {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(set, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return set, files
}

// source returns the declarations in the package's files, in order.
func source(t *testing.T) []named {
	t.Helper()
	set, files := parse(t)
	info := types.Info{Defs: map[*ast.Ident]types.Object{}}
	// Only the values of constants are wanted, which need no other package:
	// what is wrong with calls of empty ones is ignored.
	conf := types.Config{Importer: nothing{}, Error: func(error) {}}
	conf.Check("hci", set, files, &info)
	var out []named
	for _, f := range files {
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST && g.Tok != token.VAR {
				continue
			}
			for _, s := range g.Specs {
				v := s.(*ast.ValueSpec)
				for _, id := range v.Names {
					n := named{name: id.Name, comment: strings.TrimSpace(v.Comment.Text())}
					if c, ok := info.Defs[id].(*types.Const); ok {
						if n.value, ok = constant.Uint64Val(constant.ToInt(c.Val())); !ok {
							continue
						}
					} else if len(v.Values) == 1 {
						lit, ok := v.Values[0].(*ast.CompositeLit)
						if !ok {
							continue
						}
						typ, ok := lit.Type.(*ast.Ident)
						if n.ident = ok && (typ.Name == "Bits" || typ.Name == "CommandField"); !n.ident {
							continue
						}
					} else {
						continue
					}
					out = append(out, n)
				}
			}
		}
	}
	return out
}

// groups says which names belong to which table. The name's column is only
// for messages; value and meaning are compared.
var groups = []struct {
	prefix, table  string
	value, meaning int // columns; value -1: a variable
	not            string
}{
	{"PCI", "ids", 1, 2, ""},
	{"BAR", "bars", 0, 4, "Size$"},
	{"Reg", "registers", 0, 5, ""},
	{"(CAP|VS|CC|CSTS|AQA|BSTS)[A-Z]", "bits", -1, 3, ""},
	{"Fatal", "ferr", 0, 2, ""},
	{"Doorbell", "doorbells", 0, 3, ""},
	{"ShadowOff", "shadow", 0, 3, ""},
	{"SQEOff", "sqe", 0, 3, ""},
	{"CQEOff", "cqe", 0, 3, ""},
	{"Status", "status", -2, 4, "^StatusDNR$"},
	{"Admin", "admin", 0, 3, ""},
	{"(CreateIO|DeleteIO|GetLogPage|Identify|Abort|SetFeatures|GetFeatures|SelfTest|HealthRecord|Firmware|AdapterLoad|AdapterUnload|Attest)", "adminfields", -1, 4, ""},
	{"CapsOff", "caps", 0, 3, ""},
	{"Feature", "features", -3, 2, "^FeatureID"},
	{"Op", "io", 0, 3, "^Open"},
	{"(Open|Fork|Prefill|Generate|Truncate)", "iofields", -1, 4, ""},
	{"HostOff", "hostblock", 0, 3, ""},
	{"CardOff", "cardblock", 0, 3, ""},
	{"RecOff", "record", 0, 3, ""},
	{"Flag", "recordflags", -3, 2, ""},
	{"Stop", "stop", 0, 2, ""},
	{"Arm", "arm", -1, 2, ""},
	{"ParamOff", "params", 0, 3, ""},
	{"MaskOff", "maskslot", 0, 3, ""},
	{"HealthOff", "health", 0, 3, ""},
	{"LogErrorOff", "logerror", 0, 3, ""},
	{"LogFirmwareOff", "logfirmware", 0, 3, ""},
	{"LogSelfTestOff", "logselftest", 0, 3, ""},
	{"TelemetryOff", "logtelemetry", 0, 3, ""},
	{"LogSessionOff", "logsession", 0, 3, ""},
	{"LogEventOff", "logevent", 0, 3, ""},
	{"Log", "logs", 0, 3, "Off"},
	{"Event", "events", 0, 4, ""},
	{"FeatureID", "featureids", 0, 3, ""},
	{"Commit", "commit", 0, 2, ""},
}

// strangers are constants that stand in no table.
var strangers = regexp.MustCompile(`^(Version|VersionMajor|VersionMinor|PageSize|[A-Z]\w*(Size|Stride)|TokensPerIDRec|Max\w+|StatusDNR)$`)

// named rows against the document's.
func compareNames(decl []named, got map[string][][]string) (faults []string) {
	say := func(f string, a ...any) { faults = append(faults, fmt.Sprintf(f, a...)) }
	claimed := map[string]bool{}
	for _, g := range groups {
		prefix := regexp.MustCompile("^" + g.prefix + "[A-Z0-9]?")
		var mine []named
		for _, n := range decl {
			if (g.value == -1) == n.ident && prefix.MatchString(n.name) && (g.not == "" || !regexp.MustCompile(g.not).MatchString(n.name)) && !claimed[n.name] {
				claimed[n.name] = true
				mine = append(mine, n)
			}
		}
		rows := got[g.table]
		if len(mine) != len(rows) {
			say("table %s: %d rows, %d names in the source", g.table, len(rows), len(mine))
			continue
		}
		for i, row := range rows {
			n := mine[i]
			var want uint64
			switch g.value {
			case -1:
				want = n.value
			case -2:
				want = number(row[0])<<8 | number(row[1])
			case -3:
				want = 1 << number(row[0])
			default:
				want = number(row[g.value])
			}
			if n.value != want {
				say("%s is %#x, table %s has %#x", n.name, n.value, g.table, want)
			}
			if n.comment != row[g.meaning] {
				say("%s: comment %q, table %s says %q", n.name, n.comment, g.table, row[g.meaning])
			}
		}
	}
	for _, n := range decl {
		if !claimed[n.name] && ast.IsExported(n.name) && !strangers.MatchString(n.name) {
			say("%s stands in no table", n.name)
		}
	}
	return faults
}

func TestNamesAreTheDocuments(t *testing.T) {
	decl := source(t)
	doc := readDocument(t)
	got, err := tables(doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range compareNames(decl, got) {
		t.Error(f)
	}
	// And it can fail, on both sides.
	refuse := func(what string, decl []named, got map[string][][]string) {
		if len(compareNames(decl, got)) == 0 {
			t.Errorf("%s: not noticed", what)
		}
	}
	refuse("a constant more", append(slices.Clone(decl), named{name: "OpNew", value: 0x88}), got)
	refuse("a constant less", decl[1:], got)
	refuse("a stranger", append(slices.Clone(decl), named{name: "Answer", value: 42}), got)
	for what, e := range map[string][2]string{
		"meaning of an offset": {"| 0x30 | KV_USED | 4 | sum of all charges, tokens |", "| 0x30 | KV_USED | 4 | sum of all charges |"},
		"meaning of a bit":     {"| 4 | LATE | later than the nominal time |", "| 4 | LATE | late |"},
		"meaning of a field":   {"| OPEN | IV | 0x30 | 31:16 | interrupt vector for ARM |", "| OPEN | IV | 0x30 | 31:16 | vector |"},
		"bit number":           {"| 4 | STEPPED | stepped decode |", "| 14 | STEPPED | stepped decode |"},
		"event code":           {"| 0x0A | POWER_CAP | 2 |", "| 0x0B | POWER_CAP | 2 |"},
	} {
		edited := strings.Replace(doc, e[0], e[1], 1)
		got, err := tables(edited)
		if err != nil || edited == doc {
			t.Errorf("%s: the document has no %q (%v)", what, e[0], err)
			continue
		}
		refuse(what, decl, got)
	}
}

// A section number in a comment of the source exists, and a structure's block
// of offsets names the section that its table stands in.
func TestSourceCitesSections(t *testing.T) {
	doc := readDocument(t)
	inSection, heads := map[string]string{}, map[string]bool{}
	last := ""
	for line := range strings.Lines(doc) {
		if m := regexp.MustCompile(`^##+ (\d+(?:\.\d+)?|Annex [AB])\b`).FindStringSubmatch(line); m != nil {
			last = m[1]
			heads[last] = true
		}
		if m := marker.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			inSection[m[1]] = last
		}
	}
	set, files := parse(t)
	blocks := 0
	for _, f := range files {
		for _, c := range f.Comments {
			text := strings.Join(strings.Fields(c.Text()), " ")
			for _, m := range regexp.MustCompile(`sections? (\d+(?:\.\d+)?)(?:(?:,| and) (\d+(?:\.\d+)?))?`).FindAllStringSubmatch(text, -1) {
				for _, s := range m[1:] {
					if s != "" && !heads[s] {
						t.Errorf("%s: section %s does not exist", set.Position(c.Pos()), s)
					}
				}
			}
			if m := regexp.MustCompile(`^Offsets of structure (\w+) \(section ([\d.]+)\)`).FindStringSubmatch(text); m != nil {
				blocks++
				if inSection[m[1]] != m[2] {
					t.Errorf("structure %s is in section %s, the source says %s", m[1], inSection[m[1]], m[2])
				}
			}
		}
	}
	if blocks != len(Layouts) {
		t.Errorf("%d blocks of offsets, %d structures", blocks, len(Layouts))
	}
}

// The prose of section 1 and the states of section 6 agree with the registers:
// the columns are registers' fields, and what reset leaves is DISABLED.
func TestStatesTable(t *testing.T) {
	doc := readDocument(t)
	got, err := tables(doc)
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(doc, "<!-- hci:states -->\n")
	head, _, _ := strings.Cut(after, "\n")
	for _, m := range regexp.MustCompile(`([A-Z]+)\.([A-Z]+)`).FindAllStringSubmatch(head, -1) {
		if !slices.ContainsFunc(RegisterFields, func(f RegisterField) bool { return f.Register == m[1] && f.Name == m[2] }) {
			t.Errorf("column %s names no field", m[0])
		}
	}
	states := map[string]bool{}
	for _, row := range got["states"] {
		if states[row[0]] {
			t.Errorf("state %s is there twice", row[0])
		}
		states[row[0]] = true
	}
	if row := got["states"][0]; row[0] != "DISABLED" || !slices.Equal(row[1:5], []string{"0", "0", "0", "0"}) {
		t.Errorf("after a reset: %v", row)
	}
	diagram, _, _ := strings.Cut(doc[strings.Index(doc, "## 6 Controller states"):], "<!-- hci:states -->")
	for name := range states {
		if !strings.Contains(diagram, strings.ReplaceAll(name, "SHUTTING_DOWN", "SHUTTING DOWN")) && !strings.Contains(diagram, strings.ReplaceAll(name, "_", " ")) {
			t.Errorf("state %s is not in the diagram", name)
		}
	}
}

// Registers, and the ranges that section 3 calls reserved, fill 0..0x10B
// without gap or overlap.
func TestReservedOffsets(t *testing.T) {
	doc := readDocument(t)
	line := regexp.MustCompile(`(?m)^Offsets (.*) are reserved and read as zero`).FindStringSubmatch(doc)
	if line == nil {
		t.Fatal("section 3 names no reserved offsets")
	}
	used := map[uint64]string{}
	take := func(what string, from, to uint64) {
		for o := from; o < to; o += 4 {
			if used[o] != "" {
				t.Errorf("%#x is both %s and %s", o, used[o], what)
			}
			used[o] = what
		}
	}
	for _, r := range Registers {
		take(r.Name, uint64(r.Offset), uint64(r.Offset)+uint64(r.Bits/8))
	}
	for _, m := range regexp.MustCompile(`(0x[0-9A-F]+)(?:\.\.(0x[0-9A-F]+))?`).FindAllStringSubmatch(line[1], -1) {
		end := number(m[1]) + 4
		if m[2] != "" {
			end = number(m[2]) + 1
		}
		take("reserved", number(m[1]), end)
	}
	for o := uint64(0); o < 0x3000; o += 4 {
		if used[o] == "" {
			t.Errorf("%#x is neither a register nor reserved", o)
		}
	}
}

// Opcodes of the tables stay clear of the ranges that sections 9 and 25 keep.
func TestReservedRanges(t *testing.T) {
	for _, o := range AdminOpcodes {
		if o.Code >= 0x80 && o.Code <= 0xBF || o.Code >= 0xC9 {
			t.Errorf("admin %s is in a reserved range", o.Name)
		}
	}
	for _, o := range IOOpcodes {
		if o.Code < 0x80 || o.Code >= 0x88 {
			t.Errorf("%s is in a reserved range", o.Name)
		}
	}
	for _, l := range Enums["logs"] {
		if l.Value >= 0xC3 {
			t.Errorf("log page %s is in a reserved range", l.Name)
		}
	}
	for _, f := range Enums["featureids"] {
		if f.Value >= 0xC2 {
			t.Errorf("feature %s is in a reserved range", f.Name)
		}
	}
	for _, f := range Enums["recordflags"] {
		if f.Value >= 5 {
			t.Errorf("record flag %s is in a reserved range", f.Name)
		}
	}
	needs := map[string]bool{"yes": true}
	for _, f := range Enums["features"] {
		needs[f.Name] = true
	}
	for _, o := range append(slices.Clone(AdminOpcodes), IOOpcodes...) {
		if !needs[o.Needs] {
			t.Errorf("%s needs %s, which is no capability", o.Name, o.Needs)
		}
	}
	commands := map[string]bool{}
	for _, o := range append(slices.Clone(AdminOpcodes), IOOpcodes...) {
		commands[o.Name] = true
	}
	for _, f := range append(slices.Clone(AdminFields), IOFields...) {
		if !commands[f.Command] {
			t.Errorf("field %s of %s, which is no command", f.Name, f.Command)
		}
	}
	logs := map[uint8]bool{}
	for _, l := range Enums["logs"] {
		logs[uint8(l.Value)] = true
	}
	for _, e := range Events {
		if e.Type > 2 || !logs[e.Log] {
			t.Errorf("event %s: type %d, log page %#x", e.Name, e.Type, e.Log)
		}
	}
}

// Every marker is one that the comparison reads, and the contents lead
// somewhere.
func TestMarkersAndAnchors(t *testing.T) {
	doc := readDocument(t)
	got, err := tables(doc)
	if err != nil {
		t.Fatal(err)
	}
	n := strings.Count(doc, "<!-- hci:") - strings.Count(doc, "<!-- hci:NAME")
	if n != len(got) {
		t.Errorf("%d markers, %d tables read", n, len(got))
	}
	known := code()
	for _, name := range others {
		if known[name] != nil || got[name] == nil {
			t.Errorf("table %s: is it compared elsewhere?", name)
		}
	}
	anchors := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(doc, -1) {
		plain := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		anchors[strings.ReplaceAll(plain, " ", "-")] = true
	}
	links := regexp.MustCompile(`\]\(#([^)]*)\)`).FindAllStringSubmatch(doc, -1)
	if len(links) < 25 {
		t.Errorf("%d links in the contents", len(links))
	}
	for _, m := range links {
		if !anchors[m[1]] {
			t.Errorf("the contents lead to #%s, which is no heading", m[1])
		}
	}
}
