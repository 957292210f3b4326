package vm

import (
	"regexp"
	"strings"
	"testing"

	"github.com/hc1-toolkit/hc1/tests/vm/job"
)

// stream is a long answer on a slow card, beside what the next steps do.
func stream(name, card string) []job.Step {
	return []job.Step{
		{Name: name, Background: true, Args: []string{"/bin/hc1ctl", "run", "--ignore-eos", "--greedy", "--max-tokens", "480", "--card", card, "Tell me a story"}},
		{Name: "let " + name + " begin", Args: []string{"sleep", "2500"}},
	}
}

func wait(name string) job.Step {
	return job.Step{Name: "end of " + name, Args: []string{"wait", name}, Seconds: 30}
}

// A card that is unbound, or removed, while it streams: the kernel asks for it,
// the program gives it up in order, the text so far is there, and the kernel
// is done in bounded time. Afterwards the card works again.
func TestRemovalUnderLoad(t *testing.T) {
	for name, k := range kernels(t) {
		t.Run(name, func(t *testing.T) {
			c := newCards(t, 1)
			if err := c.power(job.Request{Engine: "llama", Fault: "slow-token%1,ns=20000000", Serial: 1}); err != nil {
				t.Fatal(err)
			}
			const dev = "/sys/bus/pci/devices/$HC1_TEST_BDF"
			var steps []job.Step
			steps = append(steps, stream("one", "$HC1_TEST_BDF")...)
			steps = append(steps,
				job.Step{Name: "refused", Args: []string{"/bin/hc1ctl", "unbind", "$HC1_TEST_BDF", "-y"}},
				job.Step{Name: "unbind", Args: []string{"write", dev + "/driver/unbind", "$HC1_TEST_BDF"}, Seconds: 20}, wait("one"),
				job.Step{Name: "bind", Args: []string{"/bin/hc1ctl", "bind", "$HC1_TEST_BDF", "-y"}})
			steps = append(steps, stream("two", "$HC1_TEST_BDF")...)
			steps = append(steps,
				job.Step{Name: "remove", Args: []string{"write", dev + "/remove", "1"}, Seconds: 20}, wait("two"),
				job.Step{Name: "gone", Args: []string{"/bin/hc1ctl", "device", "show", "--card", "$HC1_TEST_BDF"}},
				job.Step{Name: "rescan", Args: []string{"write", "/sys/bus/pci/rescan", "1"}},
				job.Step{Name: "bind again", Args: []string{"/bin/hc1ctl", "bind", "$HC1_TEST_BDF", "-y"}})
			steps = append(steps, stream("three", "$HC1_TEST_BDF")...)
			steps = append(steps, // killed while it streams: the next one finds the card as new
				job.Step{Name: "kill", Args: []string{"kill", "three"}}, wait("three"),
				job.Step{Name: "sessions", Args: []string{"/bin/hc1ctl", "log", "show", "sessions", "--card", "$HC1_TEST_BDF", "-o", "json"}},
				job.Step{Name: "again", Args: []string{"/bin/hc1ctl", "run", "--greedy", "--max-tokens", "20", "--card", "$HC1_TEST_BDF", "Tell me a story"}})
			r := boot(t, k, c, job.Job{Bind: true, Steps: steps})
			for _, x := range []struct {
				step string
				code int
				says string
			}{
				{"refused", 5, `pid \d+ \(hc1ctl\)`}, {"unbind", 0, ""}, {"end of one", 6, "wants the card back"}, {"bind", 0, "verified"},
				{"remove", 0, ""}, {"end of two", 6, "wants the card back"}, {"gone", 3, "no such PCI function"}, {"rescan", 0, ""}, {"bind again", 0, "verified"},
				{"end of three", 137, ""}, {"sessions", 0, `"sessions": (\[\]|null)`}, {"again", 0, `\w+`},
			} {
				if s := r.Steps[x.step]; s.Code != x.code || !regexp.MustCompile(x.says).MatchString(s.Output) {
					t.Errorf("%s: exit code %d, want %d and %q: %s", x.step, s.Code, x.code, x.says, tail(s.Output))
				}
			}
			whole := inProcess(t)
			for _, n := range []string{"end of one", "end of two"} {
				if out := strings.TrimSpace(r.Steps[n].Output); len(out) < 30 || !strings.HasPrefix(out, whole[:30]) {
					t.Errorf("%s: the text so far is %q", n, out)
				}
			}
		})
	}
}

// A function level reset behind the program's back while it streams: the
// stream ends with the reason and its text, and the same program's next one
// works.
func TestFLRUnderLoad(t *testing.T) {
	for name, k := range kernels(t) {
		t.Run(name, func(t *testing.T) {
			c := newCards(t, 1)
			if err := c.power(job.Request{Engine: "llama", Fault: "slow-token%1,ns=20000000", Serial: 1}); err != nil {
				t.Fatal(err)
			}
			r := boot(t, k, c, job.Job{Bind: true, Steps: append(stream("one", "$HC1_TEST_BDF"),
				job.Step{Name: "reset", Args: []string{"write", "/sys/bus/pci/devices/$HC1_TEST_BDF/reset", "1"}, Seconds: 20}, wait("one"),
				job.Step{Name: "again", Args: []string{"/bin/hc1ctl", "run", "--greedy", "--max-tokens", "20", "--card", "$HC1_TEST_BDF", "Tell me a story"}})})
			r.passed(t, "reset")
			if s := r.Steps["end of one"]; s.Code != 7 || !strings.Contains(s.Output, "card was reset") || !strings.HasPrefix(strings.TrimSpace(s.Output), inProcess(t)[:30]) {
				t.Errorf("exit code %d: %s", s.Code, tail(s.Output))
			}
			if out := r.passed(t, "again"); len(out) < 20 {
				t.Errorf("afterwards: %q", out)
			}
		})
	}
}
