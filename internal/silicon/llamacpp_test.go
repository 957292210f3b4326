package silicon_test

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/hc1-toolkit/hc1/internal/gguf"
	"github.com/hc1-toolkit/hc1/internal/model"
	"github.com/hc1-toolkit/hc1/internal/silicon"
	"github.com/hc1-toolkit/hc1/internal/silicon/tiny"
)

// margin is the top-two gap in log-probability above which the greedy token
// must be llama.cpp's on an F32 file. Its order of additions differs from
// ours, so near ties may go either way.
const margin = 0.02

// drift is how far a log-probability may be from llama.cpp's. The default
// model's matrices are F16, whose products llama.cpp rounds differently.
var drift = map[string]float64{"default": 0.02}

const driftF32 = 0.001

// TestLlamaCpp holds greedy decoding against llama.cpp, fed llama.cpp's own
// tokens so that one near tie does not spoil what follows.
func TestLlamaCpp(t *testing.T) {
	raw, err := os.ReadFile("testdata/llamacpp.json")
	if err != nil {
		t.Fatal(err)
	}
	var g tiny.Golden
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	engines := map[string]silicon.Engine{}
	for _, c := range tiny.Goldens() {
		data, err := tiny.Build(c)
		if err != nil {
			t.Fatal(err)
		}
		engines[c.Name] = load(t, data)
	}
	engines["default"] = load(t, model.Default())
	clear, near, worst := 0, 0, 0.0
	for _, r := range g.Runs {
		e := engines[r.Model]
		if e == nil {
			t.Errorf("golden of unknown model %q", r.Model)
			continue
		}
		bound := driftF32
		if d, ok := drift[r.Model]; ok {
			bound = d
		}
		s := e.NewState()
		logits := make([]float32, e.Info().Vocab)
		if err := s.AppendLast(r.Prompt, logits); err != nil {
			t.Fatal(err)
		}
		for i, step := range r.Steps {
			best := 0
			for id, l := range logits {
				if l > logits[best] {
					best = id
				}
			}
			lse := silicon.LogSumExp(logits)
			seen := step.IDs[0] != step.IDs[1]
			for k, id := range step.IDs {
				if !seen {
					break
				}
				d := math.Abs(float64(logits[id]-lse) - float64(step.LogProbs[k]))
				worst = max(worst, d)
				if d > bound {
					t.Errorf("%s step %d: log-probability of %d is off by %.5f", r.Model, i, id, d)
				}
			}
			switch {
			case !seen:
			case step.Token != step.IDs[0]: // a stop token, which llama.cpp was told to pass over
				near++
			case step.LogProbs[0]-step.LogProbs[1] > margin:
				clear++
				if uint32(best) != step.Token {
					t.Errorf("%s step %d: token %d, llama.cpp took %d with a gap of %.3f", r.Model, i, best, step.Token, step.LogProbs[0]-step.LogProbs[1])
				}
			default:
				near++
			}
			if err := s.AppendLast([]uint32{step.Token}, logits); err != nil {
				t.Fatal(err)
			}
		}
	}
	if clear < 500 {
		t.Errorf("only %d steps with a clear winner", clear)
	}
	t.Logf("%d steps with a clear winner agree, %d near ties and stop tokens left out; log-probabilities within %.5f", clear, near, worst)
}

func load(t *testing.T, data []byte) silicon.Engine {
	t.Helper()
	f, err := gguf.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	e, err := silicon.Load(f)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
