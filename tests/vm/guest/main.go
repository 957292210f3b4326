// Command guest is the first program of a test's virtual machine: it loads
// modules, gives the cards to vfio-pci, runs what the job says, tells how it
// ended, and turns the machine off.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hc1-toolkit/hc1/internal/pci"
	"github.com/hc1-toolkit/hc1/tests/vm/job"
)

func main() {
	defer off()
	defer func() {
		if r := recover(); r != nil {
			fmt.Println("guest:", r)
		}
	}()
	if err := run(); err != nil {
		fmt.Println("guest:", err)
		return
	}
	fmt.Println(job.MarkDone)
}

func off() {
	unix.Sync()
	time.Sleep(100 * time.Millisecond) // for the serial line
	unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

func run() error {
	for _, m := range []struct{ what, where, kind string }{{"proc", "/proc", "proc"}, {"sys", "/sys", "sysfs"}, {"dev", "/dev", "devtmpfs"}, {"tmp", "/tmp", "tmpfs"}, {"debug", "/sys/kernel/debug", "debugfs"}} {
		os.MkdirAll(m.where, 0o755)
		if err := unix.Mount(m.what, m.where, m.kind, 0, ""); err != nil && m.kind != "debugfs" && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", m.where, err)
		}
	}
	os.Setenv("PATH", "/bin")
	os.Setenv("HOME", "/tmp")
	os.Setenv("TMPDIR", "/tmp")
	unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
	var todo job.Job
	b, err := os.ReadFile("/job")
	if err == nil {
		err = json.Unmarshal(b, &todo)
	}
	if err != nil {
		return err
	}
	for _, m := range todo.Modules {
		if err := load(m); err != nil {
			return fmt.Errorf("module %s: %w", m, err)
		}
	}
	if todo.Huge > 0 {
		if err := os.WriteFile("/proc/sys/vm/nr_hugepages", []byte(fmt.Sprint(todo.Huge)), 0o644); err != nil {
			return err
		}
	}
	cards, err := find(todo.Bind)
	if err != nil {
		return err
	}
	if err := lend(todo.Lend); err != nil {
		return err
	}
	for i, c := range cards {
		os.Setenv(fmt.Sprintf("HC1_TEST_BDF%d", i), c.BDF)
	}
	if len(cards) > 0 {
		os.Setenv("HC1_TEST_BDF", cards[0].BDF)
	}
	for _, s := range todo.Steps {
		fmt.Printf("%s%s\n", job.MarkBegin, s.Name)
		fmt.Printf("\n%s%s %d\n", job.MarkEnd, s.Name, step(s))
	}
	return nil
}

// load loads a module, of which there may be a compressed file.
func load(name string) error {
	for _, end := range []string{".ko", ".ko.xz"} {
		f, err := os.Open(filepath.Join("/modules", name+end))
		if err != nil {
			continue
		}
		defer f.Close()
		flags := 0
		if end == ".ko.xz" {
			flags = unix.MODULE_INIT_COMPRESSED_FILE
		}
		if err := unix.FinitModule(int(f.Fd()), "", flags); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
		return nil
	}
	return os.ErrNotExist
}

// find waits for the kernel to have seen the cards and gives them to vfio-pci.
func find(bind bool) ([]pci.Function, error) {
	tree := pci.Tree("/")
	cards, err := tree.Cards()
	if err != nil || !bind {
		return cards, err
	}
	for _, c := range cards {
		if err := tree.Bind(c, 10*time.Second, nil); err != nil {
			return nil, err
		}
	}
	return cards, nil
}

// lend gives functions that are no cards to vfio-pci.
func lend(ids []string) error {
	tree := pci.Tree("/")
	all, err := os.ReadDir("/sys/bus/pci/devices")
	if err != nil {
		return err
	}
	for _, d := range all {
		f, err := tree.Get(d.Name())
		if err != nil || !slices.Contains(ids, fmt.Sprintf("%04x:%04x", f.Vendor, f.Device)) {
			continue
		}
		if err := tree.Bind(f, 10*time.Second, nil); err != nil {
			return err
		}
		os.Setenv("HC1_TEST_LENT", f.BDF)
	}
	return nil
}

// step runs a program and returns its exit code, 124 when its time is up. The
// command line "sh-like" forms are not there: there is no shell.
func step(s job.Step) int {
	if s.Seconds == 0 {
		s.Seconds = 60
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(s.Seconds)*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.Args[0], s.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	cmd.Env = os.Environ()
	for _, e := range s.Env {
		cmd.Env = append(cmd.Env, os.ExpandEnv(e))
	}
	for i, a := range cmd.Args {
		cmd.Args[i] = os.ExpandEnv(a)
	}
	cmd.WaitDelay = 5 * time.Second
	if s.Background {
		return begin(s.Name, cmd)
	}
	switch {
	case s.Args[0] == "write":
		return write(ctx, cmd.Args[1], cmd.Args[2])
	case s.Args[0] == "ask":
		if _, err := job.Ask(job.Request{Do: cmd.Args[1]}); err != nil {
			fmt.Println(err)
			return 1
		}
		return 0
	case s.Args[0] == "sleep":
		n, _ := strconv.Atoi(s.Args[1])
		time.Sleep(time.Duration(n) * time.Millisecond)
		return 0
	case s.Args[0] == "kill":
		running[s.Args[1]].cmd.Process.Kill()
		return 0
	case s.Args[0] == "peek":
		fmt.Println(running[s.Args[1]].out.String())
		return 0
	case s.Args[0] == "wait":
		return await(ctx, s.Args[1])
	case s.Args[0] == "dmesg":
		fmt.Println(kernelLog())
		return 0
	case s.Args[0] == "cat":
		for _, path := range cmd.Args[1:] {
			b, err := os.ReadFile(path)
			fmt.Println(strings.TrimSpace(string(b)))
			if err != nil {
				fmt.Println(err)
				return 1
			}
		}
		return 0
	}
	err := cmd.Run()
	if ctx.Err() != nil {
		return 124
	}
	return codeOf(err)
}

// codeOf is the exit code that a program's end was.
func codeOf(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return 128 + int(ws.Signal())
		}
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Println(err)
		return 127
	}
	return 0
}

// background is a step that runs beside others.
type background struct {
	cmd  *exec.Cmd
	out  output
	done chan int
}

// output is what a program has written so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

var running = map[string]*background{}

func begin(name string, cmd *exec.Cmd) int {
	b := &background{done: make(chan int, 1)}
	b.cmd = exec.Command(cmd.Path, cmd.Args[1:]...) // its bound is that of whoever waits
	b.cmd.Env, b.cmd.Stdout, b.cmd.Stderr = cmd.Env, &b.out, &b.out
	if err := b.cmd.Start(); err != nil {
		fmt.Println(err)
		return 127
	}
	running[name] = b
	go func() { b.done <- codeOf(b.cmd.Wait()) }()
	return 0
}

func await(ctx context.Context, name string) int {
	b := running[name]
	if b == nil {
		fmt.Println("nothing runs as", name)
		return 127
	}
	select {
	case code := <-b.done:
		fmt.Println(b.out.String())
		return code
	case <-ctx.Done():
		return 124
	}
}

// write bounds a write: some to sysfs wait for a process.
func write(ctx context.Context, path, text string) int {
	errs := make(chan error, 1)
	go func() { errs <- os.WriteFile(path, []byte(text), 0o644) }()
	select {
	case err := <-errs:
		if err != nil {
			fmt.Println(err)
			return 1
		}
		return 0
	case <-ctx.Done():
		return 124
	}
}

// kernelLog is what dmesg prints.
func kernelLog() string {
	const readAll = 3 // SYSLOG_ACTION_READ_ALL
	b := make([]byte, 1<<20)
	n, err := unix.Klogctl(readAll, b)
	if err != nil {
		return err.Error()
	}
	return string(bytes.ToValidUTF8(b[:n], nil))
}
