package vm

import (
	"strings"
	"testing"

	"github.com/hc1-toolkit/hc1/tests/vm/job"
)

// What reaching a card through each way to the kernel costs, beside a card in
// the guest's own process. The processor is emulated: of these figures only
// the ratios say something.
func TestBench(t *testing.T) {
	for name, k := range kernels(t) {
		t.Run(name, func(t *testing.T) {
			todo := job.Job{Bind: true, Huge: 16}
			for _, mode := range modes(name) {
				todo.Steps = append(todo.Steps, job.Step{Name: mode, Args: []string{"/bin/hc1ctl", "bench", "--quick", "--card", "$HC1_TEST_BDF?iommu=" + mode}, Seconds: 120})
			}
			r := boot(t, k, newCards(t, 1), todo)
			for _, mode := range modes(name) {
				out := r.passed(t, mode)
				if !strings.Contains(out, "register read") || !strings.Contains(out, "DMA memory of 2 MiB") {
					t.Errorf("%s: %s", mode, tail(out))
				}
				t.Logf("%s, %s:\n%s", name, mode, out)
			}
		})
	}
}
