package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hc1-toolkit/hc1/driver"
	"github.com/hc1-toolkit/hc1/hal"
	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/attach"
	"github.com/hc1-toolkit/hc1/internal/card"
	"github.com/hc1-toolkit/hc1/internal/catalog"
)

// Every fault the emulated card knows ends in an answer or in an error with
// an exit code of the table: no panic, no wait without end.
func TestEveryFault(t *testing.T) {
	whole, errs, code := ctl(t, "", "run", "--card", "mock:?clock=virtual", "--greedy", "Tell me a story about a fox.")
	if code != 0 {
		t.Fatal(errs)
	}
	plans := func(k card.FaultKind) []string {
		if k.On == "" {
			return []string{k.Name}
		}
		ev, _, _ := strings.Cut(k.On, ",")
		return []string{k.Name, k.Name + "@" + ev + "#3", k.Name + "%0.02"}
	}
	args := map[string]string{"status": ",code=0x703", "fatal": ",code=3", "slow-token": ",ns=1000", "hot": ",c=60", "boot-fail": ",code=5"}
	for _, k := range card.FaultKinds {
		for _, plan := range plans(k) {
			plan += args[k.Name]
			t.Run(plan, func(t *testing.T) {
				began := time.Now()
				out, errs, code := ctl(t, "", "run", "--card", "mock:?clock=virtual&seed=3&fault="+strings.ReplaceAll(plan, "%", "%25"), "--greedy", "Tell me a story about a fox.")
				known := slices.ContainsFunc(catalog.Exits, func(e struct {
					Code    int
					Meaning string
				}) bool {
					return e.Code == code
				})
				if !known || code == catalog.ExitUsage || code != 0 && !strings.Contains(errs, "\nhint: ") {
					t.Errorf("exit %d, %q", code, errs)
				}
				// Whatever came is a prefix of what should have.
				if !strings.HasPrefix(whole, strings.TrimSuffix(out, "\n")) {
					t.Errorf("other text: %q", out)
				}
				if code == 0 && out != whole {
					t.Errorf("half an answer counts as whole: %q", out)
				}
				t.Logf("exit %d in %v: %s", code, time.Since(began).Round(time.Millisecond), strings.SplitN(errs, "\n", 2)[0])
			})
		}
	}
}

// Every sentinel error of the packages below has an entry of its own in the
// catalogue.
func TestSentinelsAreClassified(t *testing.T) {
	sentinels := map[string]error{
		"driver.ErrCardLost": driver.ErrCardLost, "driver.ErrReset": driver.ErrReset, "driver.ErrTimeout": driver.ErrTimeout,
		"driver.ErrProtocol": driver.ErrProtocol, "driver.ErrClosed": driver.ErrClosed, "driver.ErrBusy": driver.ErrBusy,
		"driver.ErrUnsupported": driver.ErrUnsupported, "driver.ErrCancelled": driver.ErrCancelled, "driver.ErrInvalid": driver.ErrInvalid,
		"hal.ErrCardLost": hal.ErrCardLost, "hal.ErrClosed": hal.ErrClosed, "hal.ErrOutOfRange": hal.ErrOutOfRange,
		"hal.ErrUnsupported": hal.ErrUnsupported, "hal.ErrNoMemory": hal.ErrNoMemory,
		"attach.ErrBadInput": attach.ErrBadInput, "attach.ErrAddress": attach.ErrAddress, "attach.ErrNoCard": attach.ErrNoCard, "attach.ErrNotBound": attach.ErrNotBound, "attach.ErrHeld": attach.ErrHeld, "attach.ErrNoServer": attach.ErrNoServer, "attach.ErrNoVocabulary": attach.ErrNoVocabulary,
	}
	for pkg, path := range map[string]string{"driver": "../../driver/errors.go", "hal": "../../hal/hal.go", "attach": "../../internal/attach/attach.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok {
				for _, id := range v.Names {
					if name := pkg + "." + id.Name; strings.HasPrefix(id.Name, "Err") && sentinels[name] == nil {
						t.Errorf("%s is not in this test", name)
					}
				}
			}
			return true
		})
	}
	for name, err := range sentinels {
		entry, exit := classify(fmt.Errorf("something: %w", err))
		if _, ok := catalog.Find(entry); !ok || entry == "FAILED" || exit == 0 {
			t.Errorf("%s: entry %q, exit %d", name, entry, exit)
		}
	}
	for _, s := range hci.Statuses {
		if s.Code == hci.StatusSuccess {
			continue
		}
		err := fmt.Errorf("x: %w", &driver.CommandError{Command: "OPEN", Status: s.Code})
		if entry, exit := classify(err); entry != s.Name && entry != "STREAM_CANCELLED" || exit == 0 {
			t.Errorf("status %s: entry %q, exit %d", s.Name, entry, exit)
		}
	}
	for _, c := range append(classes, later...) {
		if _, ok := catalog.Find(c.entry); !ok {
			t.Errorf("%v: entry %q is not in the catalogue", c.err, c.entry)
		}
	}
	if entry, exit := classify(errors.New("x")); entry != "FAILED" || exit != catalog.ExitFailed {
		t.Errorf("an error of no kind: %s, %d", entry, exit)
	}
	if entry, exit := classify(fmt.Errorf("x: %w", os.ErrPermission)); entry != "NO_PERMISSION" || exit != catalog.ExitPermission {
		t.Errorf("permission: %s, %d", entry, exit)
	}
}
