package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/hc1-toolkit/hc1/internal/catalog"
)

// ctl runs the program in this process.
func ctl(t *testing.T, in string, args ...string) (out, errs string, code int) {
	t.Helper()
	t.Setenv(envCard, "")
	var o, e bytes.Buffer
	a := &app{in: strings.NewReader(in), out: &o, err: &e}
	code = a.execute(context.Background(), args)
	return o.String(), e.String(), code
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestExitCodes(t *testing.T) {
	garbled := write(t, "x.gguf", "GGUF\x03\x00\x00\x00garbage that is no model at all")
	notrace := write(t, "x.txt", "hello")
	long := strings.Repeat("word ", 3000)
	for _, c := range []struct {
		name string
		in   string
		args []string
		code int
		says string
	}{
		{"ok", "", []string{"version"}, catalog.ExitOK, ""},
		{"unknown command", "", []string{"fly"}, catalog.ExitUsage, "unknown command"},
		{"unknown flag", "", []string{"version", "--fast"}, catalog.ExitUsage, "--fast"},
		{"format", "", []string{"version", "-o", "yaml"}, catalog.ExitUsage, "table or json"},
		{"too many arguments", "", []string{"version", "x"}, catalog.ExitUsage, ""},
		{"address", "", []string{"device", "show", "--card", "mock:?clock=slow"}, catalog.ExitUsage, "use realtime, fast, virtual"},
		{"no card", "", []string{"device", "list", "--sysfs", t.TempDir()}, catalog.ExitNotFound, "--card mock:"},
		{"no card for run", "", []string{"run", "hello"}, catalog.ExitNotFound, "--card mock:"},
		{"no function", "", []string{"device", "show", "--card", "ffff:01:00.0"}, catalog.ExitNotFound, "no such PCI function"},
		{"missing model", "", []string{"run", "--card", "mock:?model=/nowhere.gguf", "x"}, catalog.ExitNotFound, "/nowhere.gguf"},
		{"garbled model", "", []string{"run", "--card", "mock:?model=" + garbled, "x"}, catalog.ExitBadInput, "gguf"},
		{"garbled model shown", "", []string{"model", "show", garbled}, catalog.ExitBadInput, garbled},
		{"fault plan", "", []string{"run", "--card", "mock:?fault=explode", "x"}, catalog.ExitUsage, "explode"},
		{"no trace", "", []string{"trace", "show", notrace}, catalog.ExitBadInput, notrace},
		{"error name", "", []string{"error", "explain", "nonsense"}, catalog.ExitNotFound, "nonsense"},
		{"log page", "", []string{"log", "show", "weather", "--card", "mock:"}, catalog.ExitUsage, "telemetry"},
		{"prompt over the context", long, []string{"run", "--card", "mock:?clock=fast"}, catalog.ExitBadInput, "context of 512"},
		{"token over the vocabulary", "", []string{"run", "--card", "mock:?clock=fast", "--tokens", "1,99999"}, catalog.ExitBadInput, "vocabulary"},
		{"token list", "", []string{"run", "--card", "mock:", "--tokens", "1,x"}, catalog.ExitUsage, "entry 1"},
		{"top-k", "", []string{"run", "--card", "mock:?clock=fast", "--top-k", "9", "x"}, catalog.ExitBadInput, "limit is 8"},
		{"temperature", "", []string{"run", "--card", "mock:", "--temperature", "-1", "x"}, catalog.ExitUsage, "--temperature"},
		{"empty prompt", "\n", []string{"run", "--card", "mock:"}, catalog.ExitUsage, "empty"},
		{"card lost", "", []string{"run", "--card", "mock:?clock=fast&fault=all-ones@token%2320", "--greedy", "--ignore-eos", "x"}, catalog.ExitCardLost, "card lost"},
		{"timeout", "", []string{"run", "--card", "mock:", "--timeout", "30ms", "--ignore-eos", "x"}, catalog.ExitTimeout, "--timeout"},
		{"ids", "1 2 x", []string{"detokenize"}, catalog.ExitBadInput, "entry 2"},
		{"vocabulary", "x", []string{"tokenize", "--vocab", t.TempDir()}, catalog.ExitNotFound, "encoder.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, errs, code := ctl(t, c.in, c.args...)
			if code != c.code || !strings.Contains(errs, c.says) {
				t.Errorf("exit %d, want %d; stderr %q, want %q", code, c.code, errs, c.says)
			}
			if code == 0 {
				return
			}
			if !strings.HasPrefix(errs, "hc1ctl: ") || !strings.Contains(errs, "\nhint: ") {
				t.Errorf("stderr is not an error with a hint: %q", errs)
			}
			if c.name == "format" || c.name == "card lost" || c.name == "timeout" {
				return // json has another result
			}
			// The same in JSON: the exit code stays, an error object comes.
			out, _, code = ctl(t, c.in, append(c.args, "-o", "json")...)
			var o errorObject
			if err := json.Unmarshal([]byte(out), &o); err != nil || code != c.code || o.Exit != c.code || o.Schema != "hc1.error/1" || o.Message == "" || o.Hint == "" {
				t.Errorf("json: exit %d, %v, %q", code, err, out)
			}
			if _, ok := catalog.Find(o.Code); !ok {
				t.Errorf("code %q is not in the catalogue", o.Code)
			}
		})
	}
}

// A card that is lost ends the run with what came before flushed.
func TestCardLostFlushes(t *testing.T) {
	out, errs, code := ctl(t, "", "run", "--card", "mock:?clock=fast&fault=all-ones@token%2330", "--greedy", "Tell me a story about a fox.")
	if code != catalog.ExitCardLost || len(out) < 20 {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
}

func TestRunIsRepeatable(t *testing.T) {
	args := []string{"run", "--card", "mock:?clock=fast", "--seed", "5", "-o", "json", "Tell me a story about a fox."}
	one, errs, code := ctl(t, "", args...)
	if code != 0 {
		t.Fatal(errs)
	}
	var a, b runObject
	if err := json.Unmarshal([]byte(one), &a); err != nil {
		t.Fatal(err)
	}
	args[2] = "mock:?clock=virtual"
	two, _, _ := ctl(t, "", args...)
	if err := json.Unmarshal([]byte(two), &b); err != nil {
		t.Fatal(err)
	}
	if a.Text != b.Text || !slices.Equal(a.Tokens, b.Tokens) || a.FinishReason != "stop" || !strings.Contains(a.Text, "fox") {
		t.Errorf("%q\n%q (%s)", a.Text, b.Text, a.FinishReason)
	}
	if *a.Seed != 5 || a.PromptTokens == 0 || a.DecodeUS <= 0 || a.Silicon != "llama" {
		t.Errorf("%+v", a)
	}
	// The table format streams the same text.
	text, _, _ := ctl(t, "", "run", "--card", "mock:?clock=fast", "--seed", "5", "Tell me a story about a fox.")
	if text != a.Text+"\n" {
		t.Errorf("table printed %q", text)
	}
}

// The contract for comparing engines.
func TestRawTokens(t *testing.T) {
	out, errs, code := ctl(t, "", "run", "--card", "mock:?clock=fast", "--raw", "--greedy", "--max-tokens", "12", "--ignore-eos", "--tokens", "1,2,3", "-o", "json")
	var o runObject
	if err := json.Unmarshal([]byte(out), &o); code != 0 || err != nil || len(o.Tokens) != 12 || o.FinishReason != "length" || o.PromptTokens != 3 {
		t.Errorf("exit %d, %v, %s %s", code, err, out, errs)
	}
	text, _, _ := ctl(t, strings.Trim(strings.ReplaceAll(strings.Trim(jsonOf(t, o.Tokens), "[]"), ",", " "), "\n"), "detokenize")
	if text != o.Text {
		t.Errorf("text %q, detokenized %q", o.Text, text)
	}
}

func jsonOf(t *testing.T, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestStopStrings(t *testing.T) {
	whole, _, _ := ctl(t, "", "run", "--card", "mock:?clock=fast", "--greedy", "Tell me a story about a fox.")
	cut := strings.Index(whole, ". ")
	out, errs, code := ctl(t, "", "run", "--card", "mock:?clock=fast", "--greedy", "--stop", ". ", "--stop", "zzz", "Tell me a story about a fox.")
	if code != 0 || out != whole[:cut]+"\n" {
		t.Errorf("exit %d, %q, want %q (%s)", code, out, whole[:cut], errs)
	}
	for _, pieces := range [][]string{{"a", "b", "c", "xyz"}, {"ab", "cxyz"}, {"abcxyz"}, {"abcx", "yz"}} {
		s := stopper{stops: []string{"cxy", "q"}}
		var got string
		found := false
		for _, p := range pieces {
			var show string
			show, found = s.feed(p)
			got += show
			if found {
				break
			}
		}
		if got != "ab" || !found {
			t.Errorf("%q: %q, %v", pieces, got, found)
		}
	}
	s := stopper{stops: []string{"cd"}}
	if show, _ := s.feed("abc"); show != "ab" || s.rest() != "c" {
		t.Error("a prefix of a stop string is not held back, or lost")
	}
}

func TestTokenizeRoundTrip(t *testing.T) {
	const text = "Once upon a time, naïve café — 123 tales!\n"
	ids, errs, code := ctl(t, text, "tokenize")
	if code != 0 {
		t.Fatal(errs)
	}
	back, _, _ := ctl(t, ids, "detokenize")
	if back != text {
		t.Errorf("%q came back as %q", text, back)
	}
	n, _, _ := ctl(t, text, "tokenize", "--count")
	if want := len(strings.Fields(ids)); strings.TrimSpace(n) != jsonOf(t, want) {
		t.Errorf("count %s, %d ids", n, want)
	}
}

// Two runs on the virtual clock leave the same trace.
func TestTraceDiff(t *testing.T) {
	a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	for _, p := range []string{a, b} {
		if _, errs, code := ctl(t, "", "run", "--card", "mock:?clock=virtual&trace="+p, "--greedy", "--max-tokens", "5", "hi"); code != 0 {
			t.Fatal(errs)
		}
	}
	out, errs, code := ctl(t, "", "trace", "show", a, "--diff", b)
	if code != 0 || !strings.HasPrefix(out, "same: ") {
		t.Errorf("exit %d, %s%s", code, out, errs)
	}
	if _, errs, code := ctl(t, "", "run", "--card", "mock:?clock=virtual&trace="+b, "--greedy", "--max-tokens", "9", "ho"); code != 0 {
		t.Fatal(errs)
	}
	if out, _, _ := ctl(t, "", "trace", "show", a, "--diff", b); !strings.HasPrefix(out, "entry ") {
		t.Errorf("traces of other runs: %s", out)
	}
	if out, _, _ := ctl(t, "", "trace", "show", a, "--kind", "IRQ"); !strings.Contains(out, " IRQ ") || strings.Contains(out, " DW ") {
		t.Errorf("only interrupts: %.200s", out)
	}
}

func TestDeviceListSysfs(t *testing.T) {
	root := t.TempDir()
	put := func(bdf string, attrs map[string]string) {
		dir := filepath.Join(root, "sys/bus/pci/devices", bdf)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for k, v := range attrs {
			if err := os.WriteFile(filepath.Join(dir, k), []byte(v+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	put("0000:00:02.0", map[string]string{"class": "0x030000", "vendor": "0x1234", "device": "0x4843"})
	put("0000:01:00.0", map[string]string{"class": "0x120000", "vendor": "0x1234", "device": "0x4843", "numa_node": "0"})
	put("0000:02:00.0", map[string]string{"class": "0x120000", "vendor": "0x10de", "device": "0x4843"})
	out, errs, code := ctl(t, "", "device", "list", "--sysfs", root, "-o", "json")
	var l deviceList
	if err := json.Unmarshal([]byte(out), &l); code != 0 || err != nil || len(l.Devices) != 1 || l.Devices[0].Card != "0000:01:00.0" || *l.Devices[0].NUMA != 0 {
		t.Errorf("exit %d, %v, %s %s", code, err, out, errs)
	}
}

// Every command says what it does, with examples, in 80 columns.
func TestHelp(t *testing.T) {
	a := &app{}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Hidden || c.Name() == "completion" || c.Name() == "help" {
			return
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
		if !c.HasSubCommands() && (c.Example == "" || c.Long == "" || c.Short == "") {
			t.Errorf("%s: no example, or no description", c.CommandPath())
		}
		args := append(strings.Fields(c.CommandPath())[1:], "--help")
		out, _, code := ctl(t, "", args...)
		if code != 0 {
			t.Errorf("%s --help: exit %d", c.CommandPath(), code)
		}
		narrow(t, c.CommandPath()+" --help", out)
	}
	walk(a.root())
}

func narrow(t *testing.T, what, out string) {
	t.Helper()
	for _, line := range strings.Split(out, "\n") {
		if n := utf8.RuneCountInString(line); n > 80 {
			t.Errorf("%s: %d columns: %s", what, n, line)
		}
	}
}

func TestTablesFit(t *testing.T) {
	for _, args := range [][]string{
		{"device", "list", "--card", "mock:?cards=3"}, {"device", "show", "--card", "mock:"}, {"reg", "dump", "--card", "mock:"},
		{"error", "list"}, {"error", "explain", "CARD_LOST"}, {"model", "show"}, {"version"}, {"log", "show", "telemetry", "--card", "mock:"},
		{"log", "show", "error", "--card", "mock:"}, {"log", "show", "events", "--card", "mock:"}, {"log", "show", "sessions", "--card", "mock:"},
		{"log", "show", "firmware", "--card", "mock:"}, {"log", "show", "selftest", "--card", "mock:"},
	} {
		out, errs, code := ctl(t, "", args...)
		if code != 0 || out == "" {
			t.Errorf("%v: exit %d, %s", args, code, errs)
		}
		narrow(t, strings.Join(args, " "), out)
	}
}

func TestEveryErrorIsExplained(t *testing.T) {
	for _, e := range catalog.Entries {
		out, errs, code := ctl(t, "", "error", "explain", strings.ToLower(e.Code))
		if code != 0 || !strings.Contains(out, e.Name) || !strings.Contains(out, "What to do: ") {
			t.Errorf("%s: exit %d, %s%s", e.Code, code, out, errs)
		}
		narrow(t, e.Code, out)
	}
}

// A conversation: the second turn finds the first in the card's KV, and
// /reset starts anew.
func TestChat(t *testing.T) {
	out, errs, code := ctl(t, "Who are you?\n\nTell me a story about a fox.\n/reset\nHello!\n",
		"run", "--card", "mock:?clock=fast", "-i", "--greedy", "--stats", "--max-tokens", "60")
	if code != 0 || len(strings.Split(strings.TrimSpace(out), "\n")) < 3 {
		t.Fatalf("exit %d\n%s\n%s", code, out, errs)
	}
	var cached []string
	for _, l := range strings.Split(errs, "\n") {
		if _, rest, ok := strings.Cut(l, " prompt tokens ("); ok {
			n, _, _ := strings.Cut(rest, " cached")
			cached = append(cached, n)
		}
	}
	if len(cached) != 3 || cached[0] != "0" || cached[1] == "0" {
		t.Errorf("cached tokens of the turns: %v\n%s", cached, errs)
	}
}

// A model that was not made for conversations continues the prompt.
func TestModelWithoutChat(t *testing.T) {
	card := "mock:?clock=fast&model=" + tinyModel(t)
	chat, errs, code := ctl(t, "", "run", "--card", card, "--greedy", "--max-tokens", "20", "-o", "json", "Hello")
	raw, _, _ := ctl(t, "", "run", "--card", card, "--greedy", "--max-tokens", "20", "-o", "json", "--raw", "Hello")
	var a, b runObject
	if code != 0 {
		t.Fatal(errs)
	}
	if json.Unmarshal([]byte(chat), &a) != nil || json.Unmarshal([]byte(raw), &b) != nil || !slices.Equal(a.Tokens, b.Tokens) || a.PromptTokens != b.PromptTokens {
		t.Errorf("%s\n%s", chat, raw)
	}
	_, errs, code = ctl(t, "Hello\nand more\n", "run", "--card", card, "-i", "--greedy", "--max-tokens", "20", "--stats")
	if code != 0 || !strings.Contains(errs, "Not made for conversations") || strings.Count(errs, "(0 cached)") != 1 {
		t.Errorf("exit %d, %s", code, errs)
	}
}

// Script silicon replays its text, whatever the prompt.
func TestScript(t *testing.T) {
	const text = "It was a dark and stormy night; the rain fell in torrents."
	for _, prompt := range []string{"Hello", "It was"} {
		out, errs, code := ctl(t, "", "run", "--card", "mock:?clock=fast&model=script:"+write(t, "s.txt", text), "--greedy", prompt)
		if code != 0 || out != text+"\n" {
			t.Errorf("exit %d, %q, %s", code, out, errs)
		}
	}
}

// Where a stop string ends the tokens must not depend on how many came in one
// batch: a slow reader gets the same object as a quick one.
func TestStopIsExact(t *testing.T) {
	var first runObject
	for i, clock := range []string{"fast", "fast", "realtime", "virtual"} {
		out, errs, _ := ctl(t, "", "run", "--card", "mock:?clock="+clock, "--greedy", "--stop", "fox", "-o", "json", "Tell me a story about a fox.")
		var o runObject
		if err := json.Unmarshal([]byte(out), &o); err != nil {
			t.Fatal(err, errs)
		}
		if i == 0 {
			first = o
		}
		if !slices.Equal(o.Tokens, first.Tokens) || o.Text != first.Text || o.FinishReason != "stop" || strings.Contains(o.Text, "fox") {
			t.Errorf("%s: %v %q", clock, o.Tokens, o.Text)
		}
	}
}

// What a model, trace or card says cannot drive the terminal.
func TestHostileText(t *testing.T) {
	trace := write(t, "t.txt", "hc1trace 1 seed=1\n0 NOTE 0 0 0 \x1b[2Jhello\n")
	out, errs, code := ctl(t, "", "trace", "show", trace)
	if code != 0 || strings.Contains(out, "\x1b") || !strings.Contains(out, "hello") {
		t.Errorf("exit %d, %q, %s", code, out, errs)
	}
	_, errs, code = ctl(t, "", "model", "show", write(t, "\x1b[2Jx.gguf", "no"))
	if code != catalog.ExitBadInput || strings.Contains(errs, "\x1b") {
		t.Errorf("exit %d, %q", code, errs)
	}
}

// Truncated model files are refused with a place, wherever they are cut.
func TestTruncatedModels(t *testing.T) {
	whole, err := os.ReadFile(tinyModel(t))
	if err != nil {
		t.Fatal(err)
	}
	for cut := 0; cut < len(whole); cut += 1 + len(whole)/61 {
		_, errs, code := ctl(t, "", "run", "--card", "mock:?clock=fast&model="+write(t, "cut.gguf", string(whole[:cut])), "x")
		if code != catalog.ExitBadInput || !strings.Contains(errs, "cut.gguf") {
			t.Errorf("cut at %d: exit %d, %s", cut, code, errs)
		}
	}
}
