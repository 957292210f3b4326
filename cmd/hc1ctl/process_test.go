package main

import (
	"bytes"
	"encoding/json"
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

	"github.com/hc1-toolkit/hc1/internal/catalog"
)

// What only a process of its own shows: signals, pipes that close, time to
// start.

var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "hc1ctl-test")
	if err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "hc1ctl"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as make build does
	out, err := build.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return filepath.Join(dir, "hc1ctl"), nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if p, err := program(); err == nil && code >= 0 {
		os.RemoveAll(filepath.Dir(p))
	}
	os.Exit(code)
}

// slow is a card that takes 5 ms for a token, so that there is time for a
// signal.
const slow = "mock:?fault=slow-token%1,ns=5000000"

// proc is the program running, its streams within reach.
type proc struct {
	*exec.Cmd
	t   *testing.T
	in  io.WriteCloser
	out io.ReadCloser
	err lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func start(t *testing.T, args ...string) *proc {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	p := &proc{Cmd: exec.Command(path, args...), t: t}
	p.Env = append(os.Environ(), envCard+"=")
	p.Stderr = &p.err
	if p.in, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if p.out, err = p.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Process.Kill() })
	return p
}

// some reads at least n bytes of output.
func (p *proc) some(n int) string {
	p.t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(p.out, b); err != nil {
		p.t.Fatalf("%v: %q, %s", err, b, p.err.String())
	}
	return string(b)
}

func (p *proc) signal(s os.Signal) {
	p.t.Helper()
	if err := p.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// end reads the rest and returns it with the exit code; a process that does
// not end within 10 s fails the test.
func (p *proc) end() (string, int) {
	p.t.Helper()
	timer := time.AfterFunc(10*time.Second, func() { p.Process.Kill() })
	defer timer.Stop()
	rest, _ := io.ReadAll(p.out)
	err := p.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	if ws, ok := p.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		p.t.Errorf("killed by %v: %s", ws.Signal(), p.err.String())
	}
	return string(rest), p.ProcessState.ExitCode()
}

func TestInterruptCancelsOnTheCard(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		p := start(t, "run", "--card", slow, "--greedy", "Tell me a story about a fox.")
		text := p.some(20)
		p.signal(sig)
		began := time.Now()
		rest, code := p.end()
		if code != catalog.ExitFailed || !strings.Contains(p.err.String(), "hc1ctl: run: interrupted\nhint: ") {
			t.Errorf("%v: exit %d, %s", sig, code, p.err.String())
		}
		if !strings.HasSuffix(rest, "\n") {
			t.Errorf("%v: %q, then %q: no line of its own", sig, text, rest)
		}
		if d := time.Since(began); d > 5*time.Second { // the whole answer would take seconds more
			t.Errorf("%v: it took %v", sig, d)
		}
	}
}

// In JSON what was cut short is still one object, with its reason.
func TestInterruptInJSON(t *testing.T) {
	p := start(t, "run", "--card", slow, "--greedy", "-o", "json", "Tell me a story about a fox.")
	time.Sleep(300 * time.Millisecond)
	p.signal(os.Interrupt)
	out, code := p.end()
	var o runObject
	if err := json.Unmarshal([]byte(out), &o); err != nil || code != catalog.ExitFailed || o.FinishReason != "cancelled" || len(o.Tokens) == 0 {
		t.Errorf("exit %d, %v, %s%s", code, err, out, p.err.String())
	}
}

func TestInterruptWhileReading(t *testing.T) {
	for _, args := range [][]string{{"tokenize"}, {"detokenize"}, {"run", "--card", "mock:", "-"}} {
		p := start(t, args...)
		time.Sleep(200 * time.Millisecond)
		p.signal(os.Interrupt)
		if _, code := p.end(); code != catalog.ExitFailed || !strings.Contains(p.err.String(), "interrupted") {
			t.Errorf("%v: exit %d, %s", args, code, p.err.String())
		}
	}
}

// The first Ctrl-C cancels an answer, and the conversation goes on; one at
// the prompt ends it.
func TestInterruptInChat(t *testing.T) {
	p := start(t, "run", "-i", "--card", slow, "--greedy", "--stats")
	fmt.Fprintln(p.in, "Tell me a story about a fox.")
	p.some(20)
	p.signal(os.Interrupt)
	p.wait("(interrupted)")
	fmt.Fprintln(p.in, "Who are you?")
	p.wait("ended: stop")
	p.signal(os.Interrupt)
	if _, code := p.end(); code != catalog.ExitOK {
		t.Errorf("exit %d, %s", code, p.err.String())
	}
	if strings.Contains(p.err.String(), "(0 cached), 0 answered") {
		t.Errorf("%s", p.err.String())
	}

	p = start(t, "run", "-i", "--card", slow, "--greedy")
	fmt.Fprintln(p.in, "Tell me a story about a fox.")
	p.some(20)
	p.signal(syscall.SIGTERM)
	if _, code := p.end(); code != catalog.ExitFailed {
		t.Errorf("SIGTERM: exit %d, %s", code, p.err.String())
	}
}

// wait waits for text on standard error.
func (p *proc) wait(text string) {
	p.t.Helper()
	go io.Copy(io.Discard, p.out) // the answer is not looked at
	for end := time.Now().Add(10 * time.Second); !strings.Contains(p.err.String(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("no %q in %s", text, p.err.String())
		}
	}
}

// A reader that has had enough, such as head, ends the program quietly.
func TestReaderLeaves(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "t")
	if _, errs, code := ctl(t, "", "run", "--card", "mock:?clock=virtual&trace="+trace, "hi"); code != 0 {
		t.Fatal(errs)
	}
	for _, args := range [][]string{
		{"run", "--card", slow, "--greedy", "Tell me a story about a fox."},
		{"trace", "show", trace},
		{"trace", "show", trace, "-o", "json"},
	} {
		p := start(t, args...)
		p.some(10)
		p.out.Close()
		if _, code := p.end(); code != catalog.ExitOK || p.err.String() != "" {
			t.Errorf("%v: exit %d, %q", args, code, p.err.String())
		}
	}
}

// device list is to take 10 ms at most: a benchmark beside /bin/true, which is
// what starting a process costs.
func BenchmarkDeviceList(b *testing.B) {
	path, err := program()
	if err != nil {
		b.Fatal(err)
	}
	root := b.TempDir()
	best, floor := time.Hour, time.Hour
	for range max(b.N, 40) {
		began := time.Now()
		if err := exec.Command("/bin/true").Run(); err != nil {
			b.Skipf("no /bin/true to compare with: %v", err)
		}
		floor = min(floor, time.Since(began))
		began = time.Now()
		if err := exec.Command(path, "device", "list", "--sysfs", root).Run(); err == nil {
			b.Fatal("an empty machine has a card")
		}
		best = min(best, time.Since(began))
	}
	b.ReportMetric(best.Seconds()*1000, "ms-best")
	b.ReportMetric(float64(best)/float64(floor), "x-true")
	b.ReportMetric(0, "ns/op")
}
