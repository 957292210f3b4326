// Package arch keeps the shape of the project: which package may import
// which, where unsafe code and system calls may be, and how long a file gets.
package arch

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "github.com/hc1-toolkit/hc1/"
)

// file is a Go source file as the rules see it.
type file struct {
	path    string // from the root, with slashes
	imports []string
	lines   int
	text    string
}

func (f file) pkg() string  { return filepath.ToSlash(filepath.Dir(f.path)) }
func (f file) test() bool   { return strings.HasSuffix(f.path, "_test.go") }
func (f file) unsafe() bool { return regexp.MustCompile(`_unsafe(_test)?\.go$`).MatchString(f.path) }

// within reports whether a package is one of those named, or below one that
// ends in "/...".
func within(pkg string, names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool {
		if base, ok := strings.CutSuffix(n, "/..."); ok {
			return pkg == base || strings.HasPrefix(pkg, base+"/")
		}
		return pkg == n
	})
}

// arrows says what of this module each package may import, outside tests. A
// package that is not named here may import nothing of it.
var arrows = map[string][]string{
	"hal/hci":               {},
	"hal":                   {},
	"driver":                {"hal", "hal/hci"},
	"internal/gguf":         {},
	"internal/model":        {},
	"internal/tokenizer":    {},
	"internal/sampler":      {"hal/hci"},
	"internal/silicon":      {"internal/gguf"},
	"internal/silicon/tiny": {"internal/gguf"},
	"internal/card/trace":   {},
	"internal/iommu":        {},
	"internal/card":         {"hal/hci", "internal/iommu", "internal/silicon", "internal/sampler", "internal/card/trace"},
	"internal/emu":          {"hal/hci", "internal/card"},
	"internal/irq":          {"hal"},
	"vfio":                  {"hal", "internal/iommu", "internal/irq", "internal/pci"},
	"vfio/user":             {"hal", "internal/iommu", "internal/irq", "internal/pci"},
	"internal/emu/socket":   {"internal/card", "internal/emu", "vfio/user"},
	"hal/mock":              {"hal", "hal/hci", "internal/card", "internal/card/trace", "internal/emu", "internal/iommu", "internal/silicon"},
	"hal/haltest":           {"hal", "hal/hci"},
	"internal/address":      {},
	"internal/catalog":      {"hal/hci"},
	"internal/output":       {},
	"internal/pci":          {"hal/hci"},
	"internal/doctor":       {"internal/pci"},
	"tests/vm":              {"tests/vm/job"},
	"tests/vm/job":          {},
	"tests/vm/guest":        {"internal/pci", "tests/vm/job"},
	"internal/attach":       {"driver", "hal", "hal/hci", "hal/mock", "internal/...", "vfio", "vfio/user"},
	"internal/bench":        {"driver", "hal", "hal/hci", "internal/address", "internal/attach", "internal/silicon"},
	"cmd/hc1ctl":            {"driver", "hal", "hal/hci", "internal/...", "vfio"},
	"cmd/hc1emu":            {"internal/...", "vfio/user"},
	"scripts/goldens":       {"internal/model", "internal/silicon/tiny"},
}

// outside says what other modules a package may import; the driver core and
// what is below it have the standard library and golang.org/x/sys only.
var outside = map[string][]string{
	"cmd/hc1ctl": {"github.com/spf13/cobra"},
	"cmd/hc1emu": {"github.com/spf13/cobra"},
	"tests/vm":   {"github.com/u-root/mkuimage/cpio"},
}

const xsys = "golang.org/x/sys"

// maxLines is the length at which a file has become two ideas.
const maxLines = 450

// generated tables may be longer: they are data.
var longTables = []string{"hal/hci/layouts.go"}

// check returns what breaks the rules in a file.
func check(f file) (faults []string) {
	say := func(format string, args ...any) {
		faults = append(faults, f.path+": "+fmt.Sprintf(format, args...))
	}
	for _, imp := range f.imports {
		first, _, _ := strings.Cut(imp, "/")
		switch own, ours := strings.CutPrefix(imp, module); {
		case ours && !f.test():
			if allowed, known := arrows[f.pkg()]; !known {
				say("package is not named in the arrows of tests/arch")
			} else if !within(own, allowed) {
				say("imports %s: the arrow points the wrong way", own)
			}
		case ours && strings.HasPrefix(own, "cmd/"):
			say("imports a command")
		case !ours && strings.Contains(first, ".") && !f.test():
			sys := within(imp, []string{xsys + "/..."}) && f.pkg() != "hal" && f.pkg() != "hal/hci"
			if !sys && !within(imp, outside[f.pkg()]) {
				say("imports %s: not a dependency of this package", imp)
			}
		}
		if imp == "C" {
			say("needs a C compiler")
		}
		if imp == "unsafe" && !f.unsafe() {
			say("imports unsafe outside a *_unsafe.go file")
		}
		sys := imp == "syscall" || imp == xsys+"/unix"
		if sys && !f.unsafe() && !strings.HasPrefix(f.path, "cmd/") && !strings.HasPrefix(f.path, "tests/emu/") && !strings.HasPrefix(f.path, "tests/vm/") {
			say("makes system calls outside a *_unsafe.go file")
		}
	}
	library := !f.test() && !strings.HasPrefix(f.path, "cmd/") && !strings.HasPrefix(f.path, "scripts/")
	if library && regexp.MustCompile(`\b(log\.Fatal|os\.Exit)`).MatchString(f.text) {
		say("ends the process from a library")
	}
	if f.lines > maxLines && !f.test() && !slices.Contains(longTables, f.path) {
		say("%d lines: more than %d", f.lines, maxLines)
	}
	return faults
}

func readFiles(t *testing.T) (out []file) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.Name() == "testdata" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".go" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		ast, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		f := file{path: filepath.ToSlash(rel), lines: strings.Count(string(text), "\n"), text: string(text)}
		for _, i := range ast.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			f.imports = append(f.imports, p)
		}
		out = append(out, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestShape(t *testing.T) {
	files := readFiles(t)
	if len(files) < 80 {
		t.Fatalf("found only %d Go files", len(files))
	}
	for _, f := range files {
		for _, fault := range check(f) {
			t.Error(fault)
		}
	}
}

// Every rule can be broken, and says so.
func TestRulesCanFail(t *testing.T) {
	for name, f := range map[string]file{
		"wrong way":       {path: "driver/x.go", imports: []string{module + "hal/mock"}},
		"backend":         {path: "driver/x.go", imports: []string{module + "vfio"}},
		"hci imports":     {path: "hal/hci/x.go", imports: []string{module + "hal"}},
		"unknown":         {path: "new/x.go", imports: []string{module + "hal"}},
		"dependency":      {path: "driver/x.go", imports: []string{"github.com/spf13/cobra"}},
		"command":         {path: "driver/x_test.go", imports: []string{module + "cmd/hc1ctl"}},
		"unsafe":          {path: "driver/x.go", imports: []string{"unsafe"}},
		"unsafe in test":  {path: "driver/x_test.go", imports: []string{"unsafe"}},
		"system call":     {path: "hal/mock/x.go", imports: []string{"syscall"}},
		"unix":            {path: "hal/mock/x.go", imports: []string{xsys + "/unix"}},
		"exit":            {path: "driver/x.go", text: "os.Exit(1)"},
		"fatal":           {path: "driver/x.go", text: "log.Fatal(err)"},
		"long":            {path: "driver/x.go", lines: maxLines + 1},
		"sys in hci":      {path: "hal/hci/x.go", imports: []string{xsys + "/cpu"}},
		"not quite sys":   {path: "driver/x.go", imports: []string{xsys + "tem/cpu"}},
		"cgo":             {path: "cmd/hc1ctl/x.go", imports: []string{"C"}},
		"hal imports":     {path: "hal/x.go", imports: []string{module + "hal/hci"}},
		"card to driver":  {path: "internal/card/x.go", imports: []string{module + "driver"}},
		"up to a command": {path: "internal/output/x.go", imports: []string{module + "cmd/hc1ctl"}},
		"x dependency":    {path: "hal/hci/x.go", imports: []string{"golang.org/x/tools/go/packages"}},
		"exit of a test":  {path: "internal/card/x.go", text: "func f() { log.Fatalf(s) }"},
	} {
		if len(check(f)) == 0 {
			t.Errorf("%s: not noticed", name)
		}
	}
	for name, f := range map[string]file{
		"down":         {path: "driver/x.go", imports: []string{module + "hal/hci", "fmt", xsys + "/cpu"}},
		"unsafe named": {path: "driver/x_unsafe.go", imports: []string{"unsafe", "syscall"}},
		"test":         {path: "driver/x_test.go", imports: []string{module + "hal/mock"}, lines: 900},
		"command exit": {path: "cmd/hc1ctl/x.go", text: "os.Exit(1)", imports: []string{module + "internal/output"}},
	} {
		if faults := check(f); len(faults) > 0 {
			t.Errorf("%s: %v", name, faults)
		}
	}
}

// unexplained names the direct dependencies of a go.mod that have no line in
// the document.
func unexplained(mod, doc string) (out []string) {
	for _, m := range regexp.MustCompile(`(?m)^(?:require |\t)(\S+) v\S+$`).FindAllStringSubmatch(mod, -1) {
		if !regexp.MustCompile("(?m)^- `" + regexp.QuoteMeta(m[1]) + "`: \\S").MatchString(doc) {
			out = append(out, m[1])
		}
	}
	return out
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Every direct dependency is explained.
func TestDependenciesAreExplained(t *testing.T) {
	for _, name := range unexplained(read(t, "go.mod"), read(t, "docs/dependencies.md")) {
		t.Errorf("docs/dependencies.md has no line for %s", name)
	}
	const mod = "module m\n\ngo 1.26\n\nrequire a.org/one v1.0.0\n\nrequire (\n\tb.org/two v2.0.0\n\tb.org/three/v3 v3.0.0\n\tc.org/four v1.0.0 // indirect\n)\n"
	if got := unexplained(mod, "- `b.org/two`: for this\nwe refused `a.org/one`\n- `b.org/three/v3`:\n"); !slices.Equal(got, []string{"a.org/one", "b.org/three/v3"}) {
		t.Errorf("found %v", got)
	}
}

// The arrows name packages that are there.
func TestArrowsAreNotStale(t *testing.T) {
	there := map[string]bool{}
	for _, f := range readFiles(t) {
		if !f.test() {
			there[f.pkg()] = true
		}
	}
	for pkg, imports := range arrows {
		for _, p := range append([]string{pkg}, imports...) {
			if !strings.HasSuffix(p, "/...") && !there[p] {
				t.Errorf("the arrows name %s, which is no package", p)
			}
		}
	}
}

// What the arrows may never allow, whoever edits them.
func TestArrowsPointDown(t *testing.T) {
	for _, fault := range upward(arrows) {
		t.Error(fault)
	}
	for name, a := range map[string]map[string][]string{
		"driver to backend": {"driver": {"hal/mock"}},
		"driver to vfio":    {"driver/x": {"vfio"}},
		"driver to card":    {"driver": {"internal/card"}},
		"hci to hal":        {"hal/hci": {"hal"}},
		"hal to hci":        {"hal": {"hal/hci"}},
		"card to driver":    {"internal/card": {"driver"}},
		"internal to cmd":   {"internal/output": {"cmd/hc1ctl"}},
		"all of internal":   {"driver": {"internal/..."}},
		"suite to backend":  {"hal/haltest": {"hal/mock"}},
	} {
		if len(upward(a)) == 0 {
			t.Errorf("%s: not noticed", name)
		}
	}
}

// upward returns the entries of a set of arrows that break the layers of the
// design. It does not look at the table above.
func upward(arrows map[string][]string) (faults []string) {
	under := func(pkg string, dirs ...string) bool {
		return slices.ContainsFunc(dirs, func(d string) bool { return pkg == d || strings.HasPrefix(pkg, d+"/") })
	}
	for pkg, imports := range arrows {
		for _, to := range imports {
			ok := true
			switch base := strings.TrimSuffix(to, "/..."); {
			case under(base, "cmd"):
				ok = false
			case pkg == "hal", pkg == "hal/hci":
				ok = false
			case under(pkg, "driver"):
				ok = to == "hal" || to == "hal/hci" || under(base, "driver")
			case under(pkg, "internal/card"):
				ok = to == "hal/hci" || under(base, "internal/card", "internal/silicon", "internal/sampler", "internal/iommu")
			case pkg == "hal/haltest":
				ok = to == "hal" || to == "hal/hci"
			case under(pkg, "hal", "vfio"):
				ok = !under(base, "driver")
			}
			if !ok {
				faults = append(faults, pkg+" may import "+to)
			}
		}
	}
	return faults
}
