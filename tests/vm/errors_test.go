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
// program says so within seconds, with its text. Its end takes longer: no
// process ends before its files are closed, and the kernel waits minutes for a
// dead card to come back from the reset that closing it is (pci_dev_wait).
func TestCardDiesUnderLoad(t *testing.T) {
	for name, k := range kernels(t) {
		t.Run(name, func(t *testing.T) {
			c := newCards(t, 1)
			if err := c.power(job.Request{Engine: "llama", Fault: "slow-token%1,ns=20000000", Serial: 1}); err != nil {
				t.Fatal(err)
			}
			r := boot(t, k, c, job.Job{Bind: true, Steps: append(stream("one", "$HC1_TEST_BDF"),
				job.Step{Name: "die", Args: []string{"ask", "kill"}}, job.Step{Name: "let it see", Args: []string{"sleep", "15000"}},
				job.Step{Name: "one so far", Args: []string{"peek", "one"}})})
			if out := r.Steps["one so far"].Output; !strings.Contains(out, "card lost") || !strings.HasPrefix(strings.TrimSpace(out), inProcess(t)[:30]) {
				t.Errorf("fifteen seconds later: %q", tail(out))
			}
		})
	}
}
