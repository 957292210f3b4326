// Package emu is hc1emu and hc1ctl as their users run them: two programs with
// a socket between.
package emu

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var bin string

func TestMain(m *testing.M) {
	code := func() int {
		dir, err := os.MkdirTemp("", "hc1-emu")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		bin = dir
		build := exec.Command("go", "build", "-o", dir+"/", "../../cmd/...")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
			return 1
		}
		return m.Run()
	}()
	os.Exit(code)
}

// patience bounds every wait for a program, on a machine that is busy.
const patience = 30 * time.Second

// buffer is what a program wrote so far.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// last is its end, for messages.
func (b *buffer) last() string {
	s := b.String()
	return s[max(0, len(s)-2000):]
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// program is one that runs.
type program struct {
	*exec.Cmd
	t        *testing.T
	in       io.WriteCloser
	out, err buffer
	done     chan struct{}
	code     int
}

func start(t *testing.T, name string, args ...string) *program {
	t.Helper()
	if name == "qemu" { // the first word is the program
		name, args = args[0], args[1:]
	} else {
		name = filepath.Join(bin, name)
	}
	p := &program{Cmd: exec.Command(name, args...), t: t, done: make(chan struct{})}
	var err error
	if p.in, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	p.Stdout, p.Stderr = &p.out, &p.err
	p.Env = append(os.Environ(), "HC1_CARD=", "HC1_VOCAB=")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		var exit *exec.ExitError
		if err := p.Cmd.Wait(); errors.As(err, &exit) {
			p.code = exit.ExitCode() // -1: killed
		}
	}()
	t.Cleanup(func() {
		p.Process.Kill()
		<-p.done
	})
	return p
}

// say writes to a program's standard input.
func (p *program) say(s string) { io.WriteString(p.in, s) }

// end waits for the program and returns its exit code.
func (p *program) end() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("%v still runs; it wrote %q and %q", p.Args, p.out.last(), p.err.last())
	}
	return p.code
}

// until waits for something a program does.
func (p *program) until(what string, f func() bool) {
	p.t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(2 * time.Millisecond) {
		select {
		case <-p.done:
			if f() {
				return
			}
			p.t.Fatalf("%v ended with %d before %s: %q, %q", p.Args, p.code, what, p.out.last(), p.err.last())
		default:
		}
		if time.Now().After(end) {
			p.t.Fatalf("%v: no %s in %v: %q, %q", p.Args, what, patience, p.out.last(), p.err.last())
		}
	}
}

func (p *program) wrote(s string) func() bool {
	return func() bool { return strings.Contains(p.out.String(), s) }
}

// emulator runs hc1emu and waits until it is ready. It returns the addresses
// of its cards.
func emulator(t *testing.T, args ...string) (p *program, cards []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hc1.sock")
	p = start(t, "hc1emu", append([]string{"--socket", path}, args...)...)
	p.until("readiness", p.wrote("\nready\n"))
	for sc := bufio.NewScanner(strings.NewReader(p.out.String())); sc.Scan(); {
		if a, _, ok := strings.Cut(sc.Text(), " "); ok && strings.HasPrefix(a, "vfio-user:") {
			cards = append(cards, a)
		}
	}
	return p, cards
}

// stop ends a program as an operator does and wants it to end in order.
func (p *program) stop() {
	p.t.Helper()
	p.Process.Signal(syscall.SIGTERM)
	if code := p.end(); code != 0 {
		p.t.Errorf("%v ended with %d: %s", p.Args, code, p.err.String())
	}
}

// ctl runs hc1ctl to its end.
func ctl(t *testing.T, in string, args ...string) (out, errs string, code int) {
	t.Helper()
	c := exec.Command(filepath.Join(bin, "hc1ctl"), args...)
	c.Env = append(os.Environ(), "HC1_CARD=", "HC1_VOCAB=")
	c.Stdin = strings.NewReader(in)
	var o, e bytes.Buffer
	c.Stdout, c.Stderr = &o, &e
	err := c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return o.String(), e.String(), code
}

// well is ctl for what has to succeed.
func well(t *testing.T, args ...string) string {
	t.Helper()
	out, errs, code := ctl(t, "", args...)
	if code != 0 {
		t.Fatalf("hc1ctl %v: exit code %d: %s", args, code, errs)
	}
	return out
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
