package vm

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/guarantees.md")

// guarantees collects which guarantee of hal held on which backend.
type guarantees struct {
	names    []string
	backends []string
	held     map[[2]string]bool
}

const tablePath = "../../docs/guarantees.md"

var passLine = regexp.MustCompile(`--- PASS: Test\w+/(?:[\w-]+/)?(G\d+_\S+)`)

// newGuarantees begins with the backends that need no machine.
func newGuarantees(t *testing.T) *guarantees {
	t.Helper()
	g := &guarantees{held: map[[2]string]bool{}}
	if missing != nil {
		return g
	}
	for _, b := range []struct{ name, test string }{{"mock", "TestMock/realtime"}, {"vfio-user", "TestVFIOUser/shared_memory"}, {"vfio-user, messages", "TestVFIOUser/messages"}} {
		out, err := exec.Command(built["/bin/haltest.test"], "-test.v", "-test.run", b.test).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", b.name, err, tail(string(out)))
		}
		g.add(b.name, string(out))
	}
	return g
}

func (g *guarantees) add(backend, out string) {
	g.backends = append(g.backends, backend)
	for _, m := range passLine.FindAllStringSubmatch(out, -1) {
		name := strings.ReplaceAll(m[1], "_", " ")
		if !slices.Contains(g.names, name) {
			g.names = append(g.names, name)
		}
		g.held[[2]string{name, backend}] = true
	}
}

// write makes the table and, with -update, publishes it. Else the published
// one must have the same rows and no hole.
func (g *guarantees) write(t *testing.T) {
	if missing != nil || t.Failed() {
		return
	}
	slices.SortFunc(g.names, func(a, b string) int {
		var x, y int
		fmt.Sscanf(a, "G%d", &x)
		fmt.Sscanf(b, "G%d", &y)
		return x - y
	})
	slices.Sort(g.backends[3:])
	var b strings.Builder
	b.WriteString("# Guarantees\n\nWhat `hal` promises (hal/haltest has each in words and as a test), and where it was seen to hold. Made by `go test ./tests/vm -run TestGuarantees -update`.\n\n| guarantee |")
	for _, x := range g.backends {
		b.WriteString(" " + x + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(g.backends)) + "\n")
	for _, n := range g.names {
		b.WriteString("| " + n + " |")
		for _, x := range g.backends {
			if !g.held[[2]string{n, x}] {
				t.Errorf("%s does not hold on %s", n, x)
			}
			b.WriteString(" holds |")
		}
		b.WriteString("\n")
	}
	if *update {
		if err := os.WriteFile(tablePath, []byte(b.String()), 0o644); err != nil {
			t.Error(err)
		}
	}
	have, err := os.ReadFile(tablePath)
	if err != nil {
		t.Error(err)
	}
	for _, n := range g.names {
		if !strings.Contains(string(have), "| "+n+" |") {
			t.Errorf("docs/guarantees.md has no row for %s: run with -update", n)
		}
	}
}
