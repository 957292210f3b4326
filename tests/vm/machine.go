// Package vm runs parts of this project inside a virtual machine with a stock
// kernel, an IOMMU and emulated cards, and brings back what they said. The
// guest's first program is tests/vm/guest.
package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/u-root/mkuimage/cpio"

	"github.com/hc1-toolkit/hc1/tests/vm/job"
)

// Assets are what scripts/vm-assets made, from the environment.
type Assets struct {
	QEMU         string // folder with a Debian that has QEMU
	Stock        string // kernel as Debian built it
	StockModules string
	IOMMUFD      string // kernel of our own
}

// FindAssets reads the environment; the error says what is missing.
func FindAssets() (a Assets, err error) {
	for _, x := range []struct {
		name string
		to   *string
	}{{"QEMU", &a.QEMU}, {"STOCK", &a.Stock}, {"STOCK_MODULES", &a.StockModules}, {"IOMMUFD", &a.IOMMUFD}} {
		if *x.to = os.Getenv(x.name); *x.to == "" {
			return a, fmt.Errorf("%s is not set: eval \"$(scripts/vm-assets)\" and export what it prints", x.name)
		}
	}
	return a, nil
}

// Kernel is what a machine boots.
type Kernel struct {
	Name    string
	Image   string
	Modules []string // paths, in order; their base names are what Job.Modules has
}

// Machine is a virtual machine that runs one job.
type Machine struct {
	Assets  Assets
	Kernel  Kernel
	Cards   []string          // sockets of emulated cards
	Files   map[string]string // path in the guest -> file here
	Args    []string          // more for QEMU
	Job     job.Job
	Control string // UNIX socket that the guest's second serial line leads to
	Bound   time.Duration
	Log     io.Writer // all that the guest prints, as it comes; may be nil
}

// Result is what a step came to.
type Result struct {
	Code   int
	Output string
}

// Results are a job's, by the names of its steps.
type Results struct {
	Steps map[string]Result
	All   string // all that the guest printed
	Done  bool   // it came to its end
	Took  time.Duration
}

// initramfs writes the guest's file system as a cpio archive.
func (m *Machine) initramfs(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := bufio.NewWriterSize(f, 1<<20)
	w := cpio.Newc.Writer(buf)
	todo := m.Job
	records := []cpio.Record{cpio.CharDev("dev/console", 0o600, 5, 1)}
	files := map[string]string{}
	for to, from := range m.Files {
		files[to] = from
	}
	for _, mod := range m.Kernel.Modules {
		base := filepath.Base(mod)
		files["modules/"+base] = mod
		todo.Modules = append(todo.Modules, strings.TrimSuffix(strings.TrimSuffix(base, ".xz"), ".ko"))
	}
	b, err := json.Marshal(todo)
	if err != nil {
		return err
	}
	records = append(records, cpio.StaticFile("job", string(b), 0o644))
	for to, from := range files {
		b, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		records = append(records, cpio.StaticFile(strings.TrimPrefix(to, "/"), string(b), 0o755))
	}
	if err := cpio.WriteRecordsAndDirs(w, records); err != nil {
		return err
	}
	if err := cpio.WriteTrailer(w); err != nil {
		return err
	}
	return errors.Join(buf.Flush(), f.Close())
}

// command is QEMU out of its folder, with that folder's C library: no chroot,
// and no root.
func (m *Machine) command(ctx context.Context, initrd string) *exec.Cmd {
	q := m.Assets.QEMU
	lib := q + "/usr/lib/x86_64-linux-gnu"
	args := []string{"--library-path", lib + ":" + lib + "/pulseaudio", q + "/usr/bin/qemu-system-x86_64",
		"-L", q + "/usr/share/qemu", "-L", q + "/usr/share/seabios",
		"-accel", "tcg,thread=multi", "-machine", "q35,kernel-irqchip=split,memory-backend=mem", "-cpu", "max", "-smp", "2", "-m", "768M",
		"-object", "memory-backend-memfd,id=mem,size=768M,share=on",
		"-device", "intel-iommu,caching-mode=on",
		"-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", m.Kernel.Image, "-initrd", initrd, "-append", "console=ttyS0 intel_iommu=on no_timer_check panic=-1 quiet loglevel=4"}
	for i, c := range m.Cards {
		// Faster ports do not report their link after a secondary bus reset
		// (11.1.3), and the kernel then gives a hot reset up.
		args = append(args, "-device", fmt.Sprintf("pcie-root-port,id=rp%d,slot=%d,chassis=%d,x-speed=5", i, i+1, i+1),
			"-device", fmt.Sprintf(`{"driver":"vfio-user-pci","bus":"rp%d","id":"card%d","socket":{"path":%q,"type":"unix"}}`, i, i, c))
	}
	if m.Control != "" {
		args = append(args, "-chardev", "socket,id=control,path="+m.Control, "-serial", "chardev:control")
	}
	args = append(args, m.Args...)
	cmd := exec.CommandContext(ctx, q+"/lib64/ld-linux-x86-64.so.2", args...)
	cmd.Env = append(os.Environ(), "QEMU_MODULE_DIR="+lib+"/qemu")
	return cmd
}

// Run boots the machine, has it do its job, and takes what it said apart. dir
// is for its files.
func (m *Machine) Run(ctx context.Context, dir string) (*Results, error) {
	initrd := filepath.Join(dir, "initramfs")
	if err := m.initramfs(initrd); err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	defer os.Remove(initrd)
	if m.Bound == 0 {
		m.Bound = 3 * time.Minute
	}
	ctx, cancel := context.WithTimeoutCause(ctx, m.Bound, fmt.Errorf("the machine still ran after %v", m.Bound))
	defer cancel()
	cmd := m.command(ctx, initrd)
	var out, complaints output
	cmd.Stdout, cmd.Stderr = &out, &complaints
	out.also = m.Log
	cmd.WaitDelay = 5 * time.Second
	start := time.Now()
	err := cmd.Start()
	ended := make(chan struct{})
	if err == nil {
		go func() { // a guest whose card is dead may not get to its own end
			for range time.Tick(200 * time.Millisecond) {
				select {
				case <-ended:
					return
				default:
				}
				if strings.Contains(out.String(), "\n"+job.MarkDone) {
					select {
					case <-ended:
					case <-time.After(3 * time.Second):
						cmd.Process.Kill()
					}
					return
				}
			}
		}()
		err = cmd.Wait()
		close(ended)
	}
	r := parse(out.String())
	r.Took = time.Since(start)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	} else if r.Done {
		err = nil
	}
	if err != nil || !r.Done {
		return r, fmt.Errorf("QEMU: %v; it complained: %q; the guest's last words: %q", err, tail(complaints.String()), tail(out.String()))
	}
	return r, nil
}

func tail(s string) string { return s[max(0, len(s)-3000):] }

type output struct {
	mu   sync.Mutex
	b    strings.Builder
	also io.Writer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.also != nil {
		o.also.Write(p)
	}
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

var endLine = regexp.MustCompile(`^` + job.MarkEnd + `(.*) (-?\d+)$`)

// parse takes a guest's output apart.
func parse(all string) *Results {
	r := &Results{Steps: map[string]Result{}, All: all}
	name, text := "", strings.Builder{}
	for line := range strings.Lines(all) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, job.MarkBegin):
			name = strings.TrimPrefix(line, job.MarkBegin)
			text.Reset()
		case name != "" && endLine.MatchString(line):
			m := endLine.FindStringSubmatch(line)
			code, _ := strconv.Atoi(m[2])
			r.Steps[m[1]] = Result{code, text.String()}
			name = ""
		case line == job.MarkDone:
			r.Done = true
		case name != "":
			text.WriteString(line)
			text.WriteByte('\n')
		}
	}
	return r
}
