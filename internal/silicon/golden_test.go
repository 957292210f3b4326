package silicon

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/hc1-toolkit/hc1/internal/gguf"
	"github.com/hc1-toolkit/hc1/internal/silicon/tiny"
)

const (
	// clearGap is the lead in log-probability from which on llama.cpp's
	// choice is no matter of rounding, so that it must be ours.
	clearGap = 0.02
	// logprobBound is how far our log-probabilities may be from llama.cpp's,
	// which sums in another order with fused products and its own exp.
	logprobBound = 1e-4
)

// golden is what the golden command records.
type golden struct {
	Model  string       `json:"model"`
	SHA256 string       `json:"sha256"`
	Prompt []uint32     `json:"prompt"`
	Steps  [][4]float64 `json:"steps"` // token, log-probability, token, log-probability
}

// TestGoldens replays llama.cpp's greedy generation and compares. The tiny
// models are made anew from their seeds; any other golden names a model file
// that TestGoldens finds by its hash in goldenModels.
func TestGoldens(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.json")
	if err != nil || len(paths) < len(tiny.Goldens()) {
		t.Fatalf("found goldens %v, %v", paths, err)
	}
	models := goldenModels(t)
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var g golden
			if err := json.Unmarshal(b, &g); err != nil {
				t.Fatal(err)
			}
			data, ok := models[g.SHA256]
			if !ok {
				t.Fatalf("no model has the hash %s of %s: record the golden again (testdata/README.md)", g.SHA256, g.Model)
			}
			f, err := gguf.Parse(data)
			if err != nil {
				t.Fatal(err)
			}
			e, err := Load(f)
			if err != nil {
				t.Fatal(err)
			}
			compareGolden(t, e, g)
		})
	}
}

// goldenModels maps the hash of each model there may be a golden of to its
// bytes.
func goldenModels(t *testing.T) map[string][]byte {
	models := map[string][]byte{}
	add := func(data []byte) {
		sum := sha256.Sum256(data)
		models[hex.EncodeToString(sum[:])] = data
	}
	for _, c := range tiny.Goldens() {
		data, err := tiny.Build(c)
		if err != nil {
			t.Fatal(err)
		}
		add(data)
	}
	files, err := filepath.Glob("../model/*.gguf")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		add(data)
	}
	return models
}

func compareGolden(t *testing.T, e Engine, g golden) {
	st := e.NewState()
	l := make([]float32, e.Info().Vocab)
	next := g.Prompt
	clear, same := 0, 0
	var worst float64
	for i, s := range g.Steps {
		if err := st.AppendLast(next, l); err != nil {
			t.Fatal(err)
		}
		first, second := uint32(s[0]), uint32(s[2])
		if ours := argmax(l); ours == first {
			same++
		} else if s[1]-s[3] > clearGap {
			t.Errorf("step %d: we choose %d, llama.cpp %d, by %.4f over %d", i, ours, first, s[1]-s[3], second)
		}
		if s[1]-s[3] > clearGap {
			clear++
		}
		z := LogSumExp(l)
		for j := 0; j < 4; j += 2 {
			worst = math.Max(worst, math.Abs(float64(l[int(s[j])]-z)-s[j+1]))
		}
		next = []uint32{first}
	}
	t.Logf("%d steps, %d clear, %d the same; log-probabilities within %.2g", len(g.Steps), clear, same, worst)
	if worst > logprobBound {
		t.Errorf("log-probabilities differ by up to %v, want %v", worst, logprobBound)
	}
	if clear < len(g.Steps)*3/4 {
		t.Errorf("only %d of %d steps are clear enough to compare", clear, len(g.Steps))
	}
}
