package emu

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hc1-toolkit/hc1/driver"
	"github.com/hc1-toolkit/hc1/vfio/user"
)

// Every command of hc1ctl that takes a card works over a socket.
func TestEveryCommand(t *testing.T) {
	emu, cards := emulator(t, "--clock", "fast")
	for _, args := range [][]string{
		{"device", "list"}, {"device", "show"}, {"reg", "dump"}, {"run", "--max-tokens", "8", "hello"}, {"run", "--max-tokens", "4", "--logprobs", "-o", "json", "hello"},
		{"log", "show", "telemetry"}, {"log", "show", "firmware"}, {"log", "show", "selftest"}, {"log", "show", "error"}, {"log", "show", "events"}, {"log", "show", "sessions"},
		{"demo"}, {"bench", "--quick"},
	} {
		if out := well(t, append(args, "--card", cards[0])...); out == "" {
			t.Errorf("%v: no output", args)
		}
	}
	if out, errs, code := ctl(t, "hello\n", "run", "-i", "--max-tokens", "8", "--card", cards[0]); code != 0 || out == "" {
		t.Errorf("a conversation: exit code %d, %q, %s", code, out, errs)
	}
	emu.stop()
	if strings.Contains(emu.err.String(), "breach") {
		t.Errorf("hc1ctl broke the interface: %s", emu.err.String())
	}
}

// The same seed gives the same bytes in this process and over a socket, and
// what does not depend on timing is the same to the last register access.
func TestSameTextSameTrace(t *testing.T) {
	dir := t.TempDir()
	there, here := filepath.Join(dir, "socket.txt"), filepath.Join(dir, "mock.txt")
	emu, cards := emulator(t, "--clock", "fast", "--seed", "7", "--trace", there)
	ask := []string{"run", "--seed", "5", "--temperature", "0.9", "--max-tokens", "200", "--ignore-eos", "Tell me a story", "--card"}
	over := well(t, append(ask, cards[0])...)
	emu.stop()
	in := well(t, append(ask, "mock:?clock=fast&seed=7&trace="+here)...)
	if over != in || len(in) < 300 {
		t.Errorf("over the socket %q, in this process %q", over, in)
	}
	out := well(t, "trace", "show", here, "--diff", there, "--untimed", "-o", "json")
	var d struct {
		Same  bool `json:"same"`
		Count int  `json:"entries_compared"`
	}
	if err := json.Unmarshal([]byte(out), &d); err != nil || !d.Same || d.Count < 300 {
		t.Errorf("%v: %s", err, out)
	}
	// The comparison notices another text.
	well(t, "run", "--seed", "6", "--temperature", "0.9", "--max-tokens", "200", "--ignore-eos", "Tell me a story", "--card", "mock:?clock=fast&seed=7&trace="+here)
	if _, _, code := ctl(t, "", "trace", "show", here, "--diff", there, "--untimed"); code != 1 {
		t.Errorf("another seed gives the same trace: exit code %d", code)
	}
}

// A story that takes about a second in real time.
var story = strings.Repeat("Once there was a fox. ", 1200)

func TestServerKilledMidStream(t *testing.T) {
	emu, cards := emulator(t, "--script", write(t, "story", story))
	run := start(t, "hc1ctl", "run", "--max-tokens", "6000", "go", "--card", cards[0])
	run.until("text", run.wrote("there was a fox. Once"))
	killed := time.Now()
	emu.Process.Signal(syscall.SIGKILL)
	if code := run.end(); code != 6 {
		t.Errorf("exit code %d, want 6: %s", code, run.err.String())
	}
	if d := time.Since(killed); d > 2*time.Second {
		t.Errorf("noticed after %v", d)
	}
	if got := strings.TrimSpace(run.out.String()); !strings.HasPrefix(strings.TrimSpace(story), got) || len(got) < 20 {
		t.Errorf("text that was flushed: %q", got)
	}
	if !strings.Contains(run.err.String(), "card lost") {
		t.Errorf("message %q", run.err.String())
	}
	// What is left of the socket is no card, and hc1emu takes it over.
	path := strings.TrimPrefix(cards[0], "vfio-user:")
	if _, errs, code := ctl(t, "", "device", "list", "--card", cards[0]); code != 3 || !strings.Contains(errs, "hc1emu --socket") {
		t.Errorf("exit code %d: %s", code, errs)
	}
	again := start(t, "hc1emu", "--socket", path)
	again.until("readiness", again.wrote("\nready\n"))
	well(t, "device", "show", "--card", cards[0])
	again.stop()
}

// A card whose process stands still is lost when the bound has passed: no
// hang.
func TestServerStopped(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a bound of seconds")
	}
	emu, cards := emulator(t, "--script", write(t, "story", story))
	run := start(t, "hc1ctl", "run", "--max-tokens", "6000", "go", "--card", cards[0])
	run.until("text", run.wrote("there was a fox. Once"))
	emu.Process.Signal(syscall.SIGSTOP)
	defer emu.Process.Signal(syscall.SIGCONT)
	if code := run.end(); code != 6 && code != 7 {
		t.Errorf("exit code %d: %s", code, run.err.String())
	}
}

// A client that is killed leaves the card as after a function reset.
func TestClientKilledMidStream(t *testing.T) {
	emu, cards := emulator(t, "--script", write(t, "story", story))
	for range 3 {
		run := start(t, "hc1ctl", "run", "--max-tokens", "6000", "go", "--card", cards[0])
		run.until("text", run.wrote("there was a fox. Once"))
		run.Process.Signal(syscall.SIGKILL)
		run.end()
		out := well(t, "log", "show", "sessions", "--card", cards[0], "-o", "json")
		var v struct {
			Sessions []any `json:"sessions"`
		}
		if err := json.Unmarshal([]byte(out), &v); err != nil || len(v.Sessions) != 0 {
			t.Errorf("sessions of a dead client: %v, %s", err, out)
		}
		if out := well(t, "run", "--max-tokens", "20", "go", "--card", cards[0]); !strings.HasPrefix(story, strings.TrimSpace(out)) {
			t.Errorf("the next client got %q", out)
		}
	}
	emu.stop()
	if strings.Contains(emu.err.String(), "breach") {
		t.Errorf("a breach of the interface: %s", emu.err.String())
	}
}

// A card has one client; who is told to wait is told for whom.
func TestHeld(t *testing.T) {
	_, cards := emulator(t, "--script", write(t, "story", strings.Repeat(story, 4)))
	run := start(t, "hc1ctl", "run", "--max-tokens", "6000", "go", "--card", cards[0])
	run.until("text", run.wrote("fox"))
	_, errs, code := ctl(t, "", "device", "show", "--card", cards[0])
	if code != 5 || !strings.Contains(errs, fmt.Sprintf("pid %d (hc1ctl)", run.Process.Pid)) {
		t.Errorf("exit code %d: %s", code, errs)
	}
	run.Process.Signal(syscall.SIGINT)
	run.end()
	well(t, "device", "show", "--card", cards[0])
}

func TestManyCards(t *testing.T) {
	emu, cards := emulator(t, "--cards", "4", "--clock", "fast", "--seed", "2")
	if len(cards) != 4 {
		t.Fatalf("%v", cards)
	}
	texts, serials := make([]string, 4), map[string]bool{}
	var all sync.WaitGroup
	for i, c := range cards {
		all.Go(func() {
			texts[i], _, _ = ctl(t, "", "run", "--greedy", "--max-tokens", "40", "hello", "--card", c)
		})
	}
	all.Wait()
	for i, c := range cards {
		if texts[i] == "" || texts[i] != texts[0] {
			t.Errorf("card %d: %q, card 0: %q", i, texts[i], texts[0])
		}
		var v struct {
			Devices []struct {
				Serial string `json:"serial"`
			} `json:"devices"`
		}
		if err := json.Unmarshal([]byte(well(t, "device", "list", "--card", c, "-o", "json")), &v); err != nil || len(v.Devices) != 1 {
			t.Fatalf("%v, %+v", err, v)
		}
		serials[v.Devices[0].Serial] = true
	}
	if len(serials) != 4 {
		t.Errorf("serial numbers %v", serials)
	}
	emu.stop()
	if left, _ := filepath.Glob(strings.TrimPrefix(cards[0], "vfio-user:")[:len(cards[0])-len("vfio-user:")-1] + "*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	file := write(t, "file", "precious")
	sock := filepath.Join(dir, "s")
	trace := write(t, "trace", "precious")
	_, taken := emulator(t)
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{nil, 2, "--socket PATH is missing"},
		{[]string{"--socket", sock, "extra"}, 2, "extra"},
		{[]string{"--socket", sock, "--cards", "0"}, 2, "use 1 to 64"},
		{[]string{"--socket", sock, "--clock", "virtual"}, 2, "use realtime or fast"},
		{[]string{"--socket", sock, "--fault", "gremlins"}, 2, "gremlins"},
		{[]string{"--socket", sock, "--log", "xml"}, 2, "text, json or none"},
		{[]string{"--socket", sock, "--wings"}, 2, "--wings"},
		{[]string{"--socket", sock + strings.Repeat("x", 120)}, 2, "107"},
		{[]string{"--socket", sock, "--model", filepath.Join(dir, "none.gguf")}, 3, "none.gguf"},
		{[]string{"--socket", sock, "--model", file}, 8, file},
		{[]string{"--socket", filepath.Join(dir, "no", "where")}, 3, "no/where"},
		{[]string{"--socket", strings.TrimPrefix(taken[0], "vfio-user:"), "--trace", trace}, 5, "another program"},
		{[]string{"--socket", file}, 1, "no socket"},
		{[]string{"--socket", sock, "--trace", filepath.Join(dir, "no", "trace")}, 3, "no/trace"},
		{[]string{"--version"}, 0, ""},
		{[]string{"--help"}, 0, ""},
	} {
		p := start(t, "hc1emu", c.args...)
		if code := p.end(); code != c.code || !strings.Contains(p.err.String(), c.says) {
			t.Errorf("%v: exit code %d, want %d: %s", c.args, code, c.code, p.err.String())
		}
		for line := range strings.Lines(p.out.String()) {
			if len([]rune(line)) > 81 {
				t.Errorf("%v: a line of %d characters: %s", c.args, len(line), line)
			}
		}
	}
	for _, name := range []string{file, trace} { // no socket, and the trace of whoever has the socket
		if b, err := os.ReadFile(name); err != nil || string(b) != "precious" {
			t.Errorf("%s was overwritten: %q, %v", name, b, err)
		}
	}
	if _, err := os.Stat(sock); err == nil {
		t.Error("a program that failed left its socket behind")
	}
	if st, err := os.Stat(strings.TrimPrefix(taken[0], "vfio-user:")); err != nil || st.Mode().Perm() != 0o700 || st.Mode().Type() != fs.ModeSocket {
		t.Errorf("mode of the socket: %v, %v", st.Mode(), err)
	}
}

// While tokens come and the host polls, nothing goes over the socket.
func TestNoMessagePerToken(t *testing.T) {
	_, cards := emulator(t, "--script", write(t, "story", story))
	ctx := context.Background()
	f, err := user.Dial(ctx, strings.TrimPrefix(cards[0], "vfio-user:"), user.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := driver.Open(ctx, f, driver.Config{Spin: driver.SpinAlways})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	s, err := c.OpenSession(ctx, driver.SessionConfig{})
	if err != nil {
		t.Fatal(err)
	}
	st, err := s.Generate(ctx, []uint32{1}, driver.Params{MaxTokens: 4000, IgnoreEOS: true})
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]driver.Token, 64)
	if _, err := st.Next(buf); err != nil {
		t.Fatal(err)
	}
	before, tokens, last := f.Messages(), 0, uint64(0)
	for {
		n, err := st.Next(buf)
		if err != nil {
			break
		}
		tokens, last = tokens+n, f.Messages()
	}
	// A machine that stops the card for milliseconds may let it fall asleep
	// with a full ring: that takes a doorbell.
	if tokens < 3000 || last-before > uint64(tokens/1000) {
		t.Errorf("%d messages over %d tokens", last-before, tokens)
	}
	t.Logf("%d messages over %d tokens", last-before, tokens)
}
