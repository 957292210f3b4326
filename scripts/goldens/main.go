// Command goldens records what llama.cpp decodes greedily on small models, for
// internal/silicon's test to be held against: the token of every step, the
// best two candidates and their log-probabilities. It needs llama-server
// (Debian's package llama.cpp):
//
//	go run ./scripts/goldens -server llama-server -out internal/silicon/testdata/llamacpp.json
//
// -server may be a command with arguments, such as a chroot; -dir must then be
// a directory that it sees under the path given by -inside.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/hc1-toolkit/hc1/internal/model"
	"github.com/hc1-toolkit/hc1/internal/silicon/tiny"
)

const port = "127.0.0.1:18111"

func main() {
	server := flag.String("server", "llama-server", "llama-server, with arguments before it if need be")
	dir := flag.String("dir", os.TempDir(), "directory for the models")
	inside := flag.String("inside", "", "path of -dir as the server sees it (default: the same)")
	out := flag.String("out", "internal/silicon/testdata/llamacpp.json", "golden file")
	flag.Parse()
	if *inside == "" {
		*inside = *dir
	}
	if err := record(*server, *dir, *inside, *out); err != nil {
		fmt.Fprintln(os.Stderr, "goldens:", err)
		os.Exit(1)
	}
}

func record(server, dir, inside, out string) error {
	var g tiny.Golden
	ask := func(name string, data []byte, prompts ...[]uint32) error {
		path := filepath.Join(dir, name+".gguf")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
		defer os.Remove(path)
		runs, err := serve(server, filepath.Join(inside, name+".gguf"), prompts)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for i, r := range runs {
			g.Runs = append(g.Runs, tiny.GoldenRun{Model: name, Prompt: prompts[i], Steps: r})
		}
		fmt.Printf("%s: %d runs\n", name, len(runs))
		return nil
	}
	for _, c := range tiny.Goldens() {
		data, err := tiny.Build(c)
		if err != nil {
			return err
		}
		if err := ask(c.Name, data, tiny.Prompt(c, 24), tiny.Prompt(c, 70)); err != nil {
			return err
		}
	}
	if err := ask("default", model.Default(), []uint32{0, 300, 301, 302}, []uint32{0, 400, 512, 700, 42, 99, 1000}); err != nil {
		return err
	}
	b, err := json.Marshal(g)
	if err != nil {
		return err
	}
	return os.WriteFile(out, append(b, '\n'), 0o644)
}

// serve runs the server on one model and asks for every prompt.
func serve(server, path string, prompts [][]uint32) ([][]tiny.GoldenStep, error) {
	args := append(strings.Fields(server), "-m", path, "--host", strings.Split(port, ":")[0], "--port", strings.Split(port, ":")[1],
		"--cache-type-k", "f32", "--cache-type-v", "f32", "--flash-attn", "off", "-c", "256", "-np", "1", "-t", "1", "--no-warmup")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer func() { cancel(); cmd.Wait() }()
	up := false
	for range 200 {
		if r, err := http.Get("http://" + port + "/health"); err == nil {
			up = r.StatusCode == http.StatusOK
			r.Body.Close()
		}
		if up {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if !up {
		return nil, fmt.Errorf("the server did not come up:\n%s", log.String())
	}
	var runs [][]tiny.GoldenStep
	for _, p := range prompts {
		steps, err := complete(p)
		if err != nil {
			return nil, err
		}
		runs = append(runs, steps)
	}
	return runs, nil
}

// steps is how many tokens are decoded after each prompt.
const steps = 64

// unseen is fed where the server does not say what it sampled.
const unseen = 100

// complete asks for one token at a time: asked for many, the server leaves out
// those that end inside a character. Where it leaves out one so, another token
// is fed in its place, and the step has no candidates.
func complete(prompt []uint32) ([]tiny.GoldenStep, error) {
	var out []tiny.GoldenStep
	for range steps {
		s, err := one(prompt)
		if err != nil {
			return out, err
		}
		if s == nil {
			s = &tiny.GoldenStep{Token: unseen}
		}
		out = append(out, *s)
		prompt = append(prompt[:len(prompt):len(prompt)], s.Token)
	}
	return out, nil
}

func one(prompt []uint32) (*tiny.GoldenStep, error) {
	body, err := json.Marshal(map[string]any{"prompt": prompt, "n_predict": 1, "temperature": 0, "top_k": 1, "n_probs": 2,
		"ignore_eos": true, "cache_prompt": false, "post_sampling_probs": false})
	if err != nil {
		return nil, err
	}
	r, err := http.Post("http://"+port+"/completion", "application/json", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var a struct {
		Probs []struct {
			ID  uint32 `json:"id"`
			Top []struct {
				ID      uint32  `json:"id"`
				LogProb float64 `json:"logprob"`
			} `json:"top_logprobs"`
		} `json:"completion_probabilities"`
	}
	if err := json.Unmarshal(raw, &a); err != nil {
		return nil, fmt.Errorf("answer %.300s: %w", raw, err)
	}
	if len(a.Probs) == 0 || len(a.Probs[0].Top) < 2 {
		return nil, nil
	}
	p := a.Probs[0]
	return &tiny.GoldenStep{Token: p.ID, IDs: [2]uint32{p.Top[0].ID, p.Top[1].ID},
		LogProbs: [2]float32{float32(p.Top[0].LogProb), float32(p.Top[1].LogProb)}}, nil
}
