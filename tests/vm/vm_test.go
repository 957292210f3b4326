package vm

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hc1-toolkit/hc1/internal/address"
	"github.com/hc1-toolkit/hc1/internal/attach"
	"github.com/hc1-toolkit/hc1/internal/card"
	"github.com/hc1-toolkit/hc1/internal/emu"
	"github.com/hc1-toolkit/hc1/internal/emu/socket"
	"github.com/hc1-toolkit/hc1/tests/vm/job"
)

var (
	assets  Assets
	missing error
	built   map[string]string // path in the guest -> program
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if assets, missing = FindAssets(); missing == nil {
			dir, err := os.MkdirTemp("", "hc1-vm")
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			defer os.RemoveAll(dir)
			if built, err = build(dir); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
		return m.Run()
	}())
}

// build makes the programs that go into guests, static.
func build(dir string) (map[string]string, error) {
	out := map[string]string{}
	for _, x := range []struct {
		to   string
		args []string
	}{
		{"/init", []string{"build", "-o", dir + "/init", "./guest"}},
		{"/bin/hc1ctl", []string{"build", "-o", dir + "/hc1ctl", "../../cmd/hc1ctl"}},
		{"/bin/haltest.test", []string{"test", "-c", "-o", dir + "/haltest.test", "../../hal/haltest"}},
		{"/bin/vfio.test", []string{"test", "-c", "-o", dir + "/vfio.test", "../../vfio"}},
		{"/bin/driver.test", []string{"test", "-c", "-o", dir + "/driver.test", "../../driver"}},
	} {
		cmd := exec.Command("go", x.args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if b, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("go %v: %w\n%s", x.args, err, b)
		}
		out[x.to] = filepath.Join(dir, filepath.Base(x.to))
	}
	return out, nil
}

// kernels are what the tests run on, with the modes that each has.
func kernels(t *testing.T) map[string]Kernel {
	t.Helper()
	if missing != nil {
		t.Skip(missing)
	}
	stock := Kernel{Name: "stock", Image: assets.Stock}
	for _, m := range []string{"virt/lib/irqbypass", "drivers/vfio/vfio", "drivers/vfio/vfio_virqfd", "drivers/vfio/vfio_iommu_type1", "drivers/vfio/pci/vfio-pci-core", "drivers/vfio/pci/vfio-pci", "drivers/pci/pcie/aer_inject"} {
		path := filepath.Join(assets.StockModules, "kernel", m+".ko")
		if _, err := os.Stat(path); err == nil { // vfio_virqfd went into vfio with 6.2
			stock.Modules = append(stock.Modules, path)
		}
	}
	return map[string]Kernel{"stock": stock, "iommufd": {Name: "iommufd", Image: assets.IOMMUFD}}
}

// cards are emulated cards behind sockets, in this process.
type cards struct {
	all   []*socket.Card
	paths []string
	args  []string // more devices, for QEMU
}

func newCards(t *testing.T, n int) *cards {
	t.Helper()
	c := &cards{}
	a := address.Address{Scheme: address.Mock, Cards: n, Clock: "realtime"}
	e, _, err := attach.Engine(a)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		x, err := socket.New(socket.Options{Card: card.Config{Engine: e, Serial: uint64(i) + 1}, Clock: emu.Realtime})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "card")
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- x.Serve(l) }()
		t.Cleanup(func() {
			x.Close(0)
			<-served
		})
		c.all, c.paths = append(c.all, x), append(c.paths, path)
	}
	return c
}

// boot runs a machine with cards and wants it to come to its end.
func boot(t *testing.T, k Kernel, c *cards, todo job.Job) *Results {
	t.Helper()
	m := Machine{Assets: assets, Args: c.args, Kernel: k, Cards: c.paths, Files: built, Job: todo, Bound: 8 * time.Minute, Control: c.control(t)}
	if testing.Verbose() {
		m.Log = t.Output()
	}
	r, err := m.Run(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %v", k.Name, r.Took.Round(time.Millisecond))
	return r
}

// passed wants a step to have ended well.
func (r *Results) passed(t *testing.T, name string) string {
	t.Helper()
	s, ok := r.Steps[name]
	if !ok || s.Code != 0 {
		t.Errorf("%s: exit code %d (ran: %v): %s", name, s.Code, ok, tail(s.Output))
	}
	return s.Output
}

// inProcess is what the run step prints without a machine.
func inProcess(t *testing.T) string {
	t.Helper()
	b, err := exec.Command(built["/bin/hc1ctl"], "run", "--greedy", "--max-tokens", "60", "--card", "mock:?clock=fast", "Tell me a story").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func modes(kernel string) []string {
	if kernel == "stock" {
		return []string{"type1"}
	}
	return []string{"iommufd", "type1"}
}

// The guarantees of hal hold through a real kernel, and hc1ctl works.
func TestGuarantees(t *testing.T) {
	table := newGuarantees(t)
	defer table.write(t)
	for name, k := range kernels(t) {
		t.Run(name, func(t *testing.T) {
			todo := job.Job{Bind: true, Steps: []job.Step{{Name: "list", Args: []string{"/bin/hc1ctl", "device", "list"}}, {Name: "version", Args: []string{"cat", "/proc/sys/kernel/osrelease"}}}}
			for _, mode := range modes(name) {
				todo.Steps = append(todo.Steps,
					job.Step{Name: "haltest " + mode, Args: []string{"/bin/haltest.test", "-test.run", "TestVFIO$", "-test.v"}, Env: []string{"HC1_TEST_IOMMU=" + mode}, Seconds: 120},
					job.Step{Name: "show " + mode, Args: []string{"/bin/hc1ctl", "device", "show", "--card", "$HC1_TEST_BDF?iommu=" + mode}},
					job.Step{Name: "run " + mode, Args: []string{"/bin/hc1ctl", "run", "--greedy", "--max-tokens", "60", "--card", "$HC1_TEST_BDF?iommu=" + mode, "Tell me a story"}})
			}
			todo.Steps = append(todo.Steps, job.Step{Name: "dmesg", Args: []string{"dmesg"}})
			r := boot(t, k, newCards(t, 1), todo)
			if log := r.passed(t, "dmesg"); !regexp.MustCompile(`DMAR: \[DMA Write NO_PASID\] Request device \[01:00\.0\] fault addr`).MatchString(log) {
				t.Error("the kernel's log has no DMAR fault of the card's stray accesses")
			}
			if out := r.passed(t, "list"); !strings.Contains(out, "vfio-pci") {
				t.Errorf("device list: %s", out)
			}
			for _, mode := range modes(name) {
				out := r.passed(t, "haltest "+mode)
				if n := strings.Count(out, "--- PASS: TestVFIO/G"); n != 14 {
					t.Errorf("%s: %d guarantees of 14", mode, n)
				}
				table.add(mode+", Linux "+strings.TrimSpace(r.passed(t, "version")), out)
				if out := r.passed(t, "show "+mode); !strings.Contains(out, mode) {
					t.Errorf("device show does not say %s: %s", mode, out)
				}
				// The same text as in this process, to the byte.
				if here, there := inProcess(t), strings.TrimSpace(r.passed(t, "run "+mode)); here != there || len(here) < 100 {
					t.Errorf("%s: %q, in this process %q", mode, there, here)
				}
			}
		})
	}
}

// The driver's own suite runs through a real kernel. The tests ask the outside
// for the card they want, faults and all.
func TestDriver(t *testing.T) {
	for name, k := range kernels(t) {
		t.Run(name, func(t *testing.T) {
			mode := modes(name)[0]
			r := boot(t, k, newCards(t, 3), job.Job{Bind: true, Steps: []job.Step{
				{Name: "driver", Args: []string{"/bin/driver.test", "-face", "vfio", "-test.v", "-test.short", "-test.run", os.Getenv("HC1_VM_RUN")}, Env: []string{"HC1_TEST_IOMMU=" + mode}, Seconds: 400},
			}})
			out := r.passed(t, "driver")
			if n := strings.Count(out, "--- PASS: Test"); n < 20 {
				t.Errorf("%d tests passed: %s", n, tail(out))
			}
		})
	}
}

// An operator's way: a card that is not bound says so, is bound, works by
// address and by serial number, and is given back; the doctor follows.
func TestOperator(t *testing.T) {
	for name, k := range kernels(t) {
		t.Run(name, func(t *testing.T) {
			ctl := func(name string, args ...string) job.Step {
				return job.Step{Name: name, Args: append([]string{"/bin/hc1ctl"}, args...)}
			}
			r := boot(t, k, newCards(t, 2), job.Job{Huge: 16, Steps: []job.Step{
				ctl("sick", "doctor"), ctl("unbound", "device", "show", "--card", "$HC1_TEST_BDF"), ctl("plan", "bind", "$HC1_TEST_BDF", "--dry-run"),
				ctl("unasked", "bind", "$HC1_TEST_BDF"), ctl("bind", "bind", "$HC1_TEST_BDF", "-y"), ctl("again", "bind", "$HC1_TEST_BDF", "-y"),
				ctl("second", "bind", "HC1-0000000000000002", "-y"), ctl("well", "doctor"), ctl("serial", "run", "--greedy", "--max-tokens", "8", "--card", "HC1-0000000000000002", "hello"),
				ctl("huge", "device", "show", "-v", "--card", "$HC1_TEST_BDF"), ctl("unbind", "unbind", "$HC1_TEST_BDF", "-y"), ctl("gone", "device", "show", "--card", "$HC1_TEST_BDF"),
			}})
			for _, x := range []struct {
				step string
				code int
				says string
			}{
				{"sick", 1, "hc1ctl bind"}, {"unbound", 9, "not bound to vfio-pci"}, {"plan", 0, "driver_override"}, {"unasked", 1, "use -y"}, {"bind", 0, "verified"}, {"again", 0, "nothing to do"},
				{"second", 0, "verified"}, {"well", 0, "in all: good"}, {"serial", 0, ""}, {"huge", 0, "page_bytes=2097152"}, {"unbind", 0, "verified"}, {"gone", 9, "hc1ctl bind"},
			} {
				if s := r.Steps[x.step]; s.Code != x.code || !strings.Contains(s.Output, x.says) {
					t.Errorf("%s: exit code %d, want %d and %q: %s", x.step, s.Code, x.code, x.says, tail(s.Output))
				}
			}
		})
	}
}

// QEMU's own teaching device, which is nothing like our card, through the same
// package: it is not bent to one device.
func TestEdu(t *testing.T) {
	for name, k := range kernels(t) {
		t.Run(name, func(t *testing.T) {
			todo := job.Job{Lend: []string{"1234:11e8"}}
			for _, mode := range modes(name) {
				todo.Steps = append(todo.Steps, job.Step{Name: mode, Args: []string{"/bin/vfio.test", "-test.v", "-test.run", "TestEdu"}, Env: []string{"HC1_TEST_EDU=$HC1_TEST_LENT", "HC1_TEST_IOMMU=" + mode}})
			}
			r := boot(t, k, &cards{args: []string{"-device", "edu,addr=0x10"}}, todo)
			for _, mode := range modes(name) {
				if out := r.passed(t, mode); !strings.Contains(out, "--- PASS: TestEdu") {
					t.Errorf("%s: %s", mode, tail(out))
				}
			}
		})
	}
}
