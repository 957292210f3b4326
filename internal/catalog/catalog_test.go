package catalog

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

var update = flag.Bool("update", false, "write docs/errors.md")

func TestCatalogueIsComplete(t *testing.T) {
	codes, names := map[string]bool{}, map[string]bool{}
	for _, e := range Entries {
		if codes[e.Code] || names[e.Name] {
			t.Errorf("%s %s is there twice", e.Code, e.Name)
		}
		codes[e.Code], names[e.Name] = true, true
		if e.What == "" || e.Do == "" || e.Severity == "" || e.Category == "" {
			t.Errorf("%s has gaps: %+v", e.Code, e)
		}
	}
	for _, s := range hci.Statuses {
		if e, ok := OfStatus(s.Code); !ok || e.Name != s.Name {
			t.Errorf("status %s has no entry", s.Name)
		}
	}
	for _, f := range hci.Enums["ferr"] {
		if code := fmt.Sprintf("FERR-%d", f.Value); f.Value != 0 && !codes[code] {
			t.Errorf("%s (%s) has no entry", code, f.Name)
		}
	}
	for _, e := range hci.Events {
		if code := fmt.Sprintf("EVT-%02X", e.Code); !codes[code] {
			t.Errorf("%s (%s) has no entry", code, e.Name)
		}
	}
	if e, ok := Find("session_busy"); !ok || e.Code != "HCI-7-02" {
		t.Errorf("by name: %+v", e)
	}
	if _, ok := Find("nonsense"); ok {
		t.Error("nonsense was found")
	}
}

func TestDocument(t *testing.T) {
	const path = "../../docs/errors.md"
	if *update {
		if err := os.WriteFile(path, []byte(Markdown()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil || string(b) != Markdown() {
		t.Errorf("docs/errors.md is not what the catalogue says (%v): run go test ./internal/catalog -update", err)
	}
}
