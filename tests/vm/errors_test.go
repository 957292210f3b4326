package vm

import (
	"strings"
	"testing"

	"github.com/hc1-toolkit/hc1/tests/vm/job"
)

// Errors of the bus, injected by the kernel, reach the process that has the
// card.
func TestAER(t *testing.T) {
	for name, k := range kernels(t) {
		t.Run(name, func(t *testing.T) {
			todo := job.Job{Bind: true}
			for _, mode := range modes(name) {
				todo.Steps = append(todo.Steps, job.Step{Name: mode, Args: []string{"/bin/vfio.test", "-test.v", "-test.run", "TestAER"}, Env: []string{"HC1_TEST_AER=$HC1_TEST_BDF", "HC1_TEST_IOMMU=" + mode}})
			}
			todo.Steps = append(todo.Steps, job.Step{Name: "dmesg", Args: []string{"dmesg"}})
			r := boot(t, k, newCards(t, 1), todo)
			for _, mode := range modes(name) {
				if out := r.passed(t, mode); !strings.Contains(out, "--- PASS: TestAER") {
					t.Errorf("%s: %s; %s", mode, tail(out), tail(r.Steps["dmesg"].Output))
				}
			}
		})
	}
}

// A card whose process dies under load: its reads give all ones, and the
// program ends with exit code 6 and its text. The kernel waits a minute for a
// dead card to come back from its reset (pci_dev_wait), twice, and no process
// ends before its files are closed: that is what the bound is for.
func TestCardDiesUnderLoad(t *testing.T) {
	k := kernels(t)["stock"]
	c := newCards(t, 1)
	if err := c.power(job.Request{Engine: "llama", Fault: "slow-token%1,ns=20000000", Serial: 1}); err != nil {
		t.Fatal(err)
	}
	end := wait("one")
	end.Seconds = 200
	r := boot(t, k, c, job.Job{Bind: true, Steps: append(stream("one", "$HC1_TEST_BDF"), job.Step{Name: "die", Args: []string{"ask", "kill"}}, end)})
	if s := r.Steps["end of one"]; s.Code != 6 || !strings.Contains(s.Output, "card lost") || len(s.Output) < 60 {
		t.Errorf("exit code %d: %s", s.Code, tail(s.Output))
	}
}
