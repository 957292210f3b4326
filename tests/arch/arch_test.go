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
	"internal/card":         {"hal/hci", "internal/silicon", "internal/sampler", "internal/card/trace"},
	"hal/mock":              {"hal", "hal/hci", "internal/card", "internal/card/trace", "internal/silicon"},
	"hal/haltest":           {"hal", "hal/hci"},
	"internal/address":      {},
	"internal/catalog":      {"hal/hci"},
	"internal/output":       {},
	"internal/attach":       {"driver", "hal", "hal/mock", "internal/..."},
	"internal/bench":        {"driver", "hal/hci", "internal/address", "internal/attach", "internal/silicon"},
	"cmd/hc1ctl":            {"driver", "hal", "hal/hci", "internal/..."},
	"scripts/goldens":       {"internal/model", "internal/silicon/tiny"},
}

// outside says what other modules a package may import; the driver core and
// what is below it have the standard library and golang.org/x/sys only.
var outside = map[string][]string{
	"cmd/hc1ctl": {"github.com/spf13/cobra"},
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
			if !strings.HasPrefix(imp, xsys) && !within(imp, outside[f.pkg()]) {
				say("imports %s: not a dependency of this package", imp)
			}
		}
		if imp == "unsafe" && !f.unsafe() {
			say("imports unsafe outside a *_unsafe.go file")
		}
		sys := imp == "syscall" || imp == xsys+"/unix"
		if sys && !f.unsafe() && !strings.HasPrefix(f.path, "cmd/") {
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
		"wrong way":      {path: "driver/x.go", imports: []string{module + "hal/mock"}},
		"backend":        {path: "driver/x.go", imports: []string{module + "vfio"}},
		"hci imports":    {path: "hal/hci/x.go", imports: []string{module + "hal"}},
		"unknown":        {path: "new/x.go", imports: []string{module + "hal"}},
		"dependency":     {path: "driver/x.go", imports: []string{"github.com/spf13/cobra"}},
		"command":        {path: "driver/x_test.go", imports: []string{module + "cmd/hc1ctl"}},
		"unsafe":         {path: "driver/x.go", imports: []string{"unsafe"}},
		"unsafe in test": {path: "driver/x_test.go", imports: []string{"unsafe"}},
		"system call":    {path: "hal/mock/x.go", imports: []string{"syscall"}},
		"unix":           {path: "hal/mock/x.go", imports: []string{xsys + "/unix"}},
		"exit":           {path: "driver/x.go", text: "os.Exit(1)"},
		"fatal":          {path: "driver/x.go", text: "log.Fatal(err)"},
		"long":           {path: "driver/x.go", lines: maxLines + 1},
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

// Every direct dependency is explained.
func TestDependenciesAreExplained(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(filepath.Join(root, "docs/dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^(?:require )?\t?(\S+\.\S+/\S+) v\S+$`).FindAllStringSubmatch(string(mod), -1) {
		if !strings.Contains(string(doc), "`"+m[1]+"`") {
			t.Errorf("docs/dependencies.md has no line for %s", m[1])
		}
	}
}
