package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/hc1-toolkit/hc1/internal/gguf"
	"github.com/hc1-toolkit/hc1/internal/silicon/tiny"
)

// tinyModel writes a model of random weights: the same bytes everywhere, not
// made for conversations.
func tinyModel(t *testing.T) string {
	t.Helper()
	b, err := tiny.Build(tiny.Config{Name: "tiny", Seed: 9, Vocab: 320, Context: 128, Embd: 64, FFN: 96, Layers: 2, Heads: 4, KVHeads: 2,
		RopeBase: 10000, Type: gguf.TypeF32})
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "tiny.gguf", string(b))
}

// testdata does not move with a test that changes its directory.
var testdata = func() string {
	dir, err := filepath.Abs("testdata")
	if err != nil {
		panic(err)
	}
	return dir
}()

// unsteady are figures that change with any change of the driver: they count
// its commands, or time.
var unsteady = []*regexp.Regexp{
	regexp.MustCompile(`(?m)^(uptime|energy|traffic|power|temperature|health) +.*$`),
	regexp.MustCompile(`(?m)^( *)"(uptime_ns|sequence|energy_mj|power_mw|power_[a-z]+_mw|temp_[a-z]+_c|commands|interrupts|dma_read_bytes|dma_written_bytes|energy_uj)": (.*)$`),
}

// TestGoldens compares what people and programs see with what they saw
// before; -update writes it anew.
func TestGoldens(t *testing.T) {
	t.Chdir(filepath.Dir(tinyModel(t)))
	const model, garbled = "tiny.gguf", "garbled.gguf"
	const card = "mock:?clock=virtual&seed=7&model=" + model
	if err := os.WriteFile(garbled, []byte("GGUF\x03\x00\x00\x00garbage that is no model at all"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
	}{
		{"device-list", []string{"device", "list", "--card", card + "&cards=3"}},
		{"device-list-json", []string{"device", "list", "--card", card, "-o", "json"}},
		{"device-show", []string{"device", "show", "--card", card}},
		{"device-show-json", []string{"device", "show", "--card", card, "-o", "json"}},
		{"reg-dump", []string{"reg", "dump", "--card", card}},
		{"log-firmware", []string{"log", "show", "firmware", "--card", card}},
		{"log-sessions", []string{"log", "show", "sessions", "--card", card}},
		{"model-show", []string{"model", "show", model}},
		{"run", []string{"run", "--card", card, "--seed", "1", "--max-tokens", "8", "Hello"}},
		{"run-json", []string{"run", "--card", card, "--greedy", "--max-tokens", "2", "--logprobs", "--top-k", "2", "--tokens", "1,20,30", "-o", "json"}},
		{"error-explain", []string{"error", "explain", "KV_EXHAUSTED"}},
		{"error-usage", []string{"run", "--top-p", "7", "x"}},
		{"error-address", []string{"run", "--card", "mock:?clock=slow", "x"}},
		{"error-no-card", []string{"device", "list", "--sysfs", t.TempDir()}},
		{"error-no-function", []string{"device", "show", "--card", "ffff:01:00.0"}},
		{"error-bad-model", []string{"model", "show", garbled}},
		{"error-bad-model-json", []string{"run", "--card", "mock:?model=" + garbled, "x", "-o", "json"}},
		{"error-context", []string{"run", "--card", card, strings.Repeat("word ", 100)}},
		{"error-lost", []string{"run", "--card", card + "&fault=all-ones@token%235", "--greedy", "--ignore-eos", "Hello"}},
		{"error-typo", []string{"devcie"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, errs, code := ctl(t, "", c.args...)
			s := fmt.Sprintf("%s---- standard error, exit code %d\n%s", out, code, errs)
			s = unsteady[0].ReplaceAllString(s, "$1  *")
			s = unsteady[1].ReplaceAllString(s, `$1"$2": *`)
			golden(t, c.name, s)
		})
	}
}

// The help of every command, in one place to read it.
func TestHelpGolden(t *testing.T) {
	var b strings.Builder
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Hidden || c.Name() == "help" || c.Name() == "completion" {
			return // cobra's own
		}
		path := strings.Fields(c.CommandPath())[1:]
		out, _, _ := ctl(t, "", append(path, "--help")...)
		out, _, _ = strings.Cut(out, "\nGlobal Flags:")
		fmt.Fprintf(&b, "$ hc1ctl %s\n%s\n", strings.Join(append(path, "--help"), " "), out)
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk((&app{}).root())
	golden(t, "help", b.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join(testdata, name+".golden")
	if *update {
		if err := os.MkdirAll(testdata, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != got {
		t.Errorf("%s is another output than this (%v; -update if it is right):\n%s", path, err, got)
	}
}
