// Command golden records what llama.cpp makes of a model, for the tests of
// internal/silicon to compare with. It talks to a running llama-server; see
// internal/silicon/testdata/README.md for how to start one.
//
//	golden -write DIR                         write the tiny random models
//	golden -url U -model FILE -out OUT.json   record one of them, with its own prompt
//	golden -url U -model FILE -prompt 1,5,9 -steps 64 -out OUT.json
package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hc1-toolkit/hc1/internal/gguf"
	"github.com/hc1-toolkit/hc1/internal/silicon/tiny"
)

// Golden is one recording. Step k holds the two likeliest tokens after the
// prompt and the first tokens of the steps before it.
type Golden struct {
	Model  string  `json:"model"`
	SHA256 string  `json:"sha256"` // of the model file
	Source string  `json:"source"`
	Prompt []int   `json:"prompt"`
	Steps  []Entry `json:"steps"`
}

// Entry is [token, log-probability, token, log-probability].
type Entry [4]float64

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "golden:", err)
		os.Exit(1)
	}
}

func run() error {
	write := flag.String("write", "", "write the tiny models into this `folder` and stop")
	url := flag.String("url", "http://127.0.0.1:8080", "`address` of a llama-server that has loaded the model")
	model := flag.String("model", "", "GGUF `file`, the one the server has loaded")
	prompt := flag.String("prompt", "", "token `ids`, separated by commas; default: a tiny model's own prompt")
	steps := flag.Int("steps", 80, "`tokens` to generate")
	out := flag.String("out", "", "`file` to write")
	flag.Parse()
	if *write != "" {
		return writeModels(*write)
	}
	if *model == "" || *out == "" {
		return errors.New("-model and -out are needed (or -write)")
	}
	f, err := gguf.Open(*model)
	if err != nil {
		return err
	}
	name, _ := f.String("general.name")
	ids, err := promptFor(name, *prompt)
	if err != nil {
		return err
	}
	sum := f.SHA256()
	g := Golden{Model: name, SHA256: hex.EncodeToString(sum[:]), Prompt: ids}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if g.Source, err = source(ctx, *url); err != nil {
		return err
	}
	word, err := plainWord(f)
	if err != nil {
		return err
	}
	context := append([]int(nil), ids...)
	for range *steps {
		e, err := next(ctx, *url, context, word)
		if err != nil {
			return err
		}
		g.Steps = append(g.Steps, e)
		context = append(context, int(e[0]))
	}
	return save(*out, g)
}

func writeModels(dir string) error {
	for _, c := range tiny.Goldens() {
		data, err := tiny.Build(c)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, c.Name+".gguf"), data, 0o644); err != nil {
			return fmt.Errorf("writing model: %w", err)
		}
	}
	return nil
}

func promptFor(name, given string) ([]int, error) {
	var ids []int
	if given != "" {
		for s := range strings.SplitSeq(given, ",") {
			id, err := strconv.Atoi(strings.TrimSpace(s))
			if err != nil {
				return nil, fmt.Errorf("reading -prompt: %w", err)
			}
			ids = append(ids, id)
		}
		return ids, nil
	}
	for _, c := range tiny.Goldens() {
		if c.Name == name {
			for _, id := range tiny.Prompt(c, 24) {
				ids = append(ids, int(id))
			}
			return ids, nil
		}
	}
	return nil, fmt.Errorf("%q is not one of the tiny models: -prompt is needed", name)
}

// ask posts a request and decodes the answer.
func ask(ctx context.Context, method, url string, body, answer any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("asking llama-server: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("asking llama-server: %s", resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("reading llama-server's answer: %w", err)
	}
	return nil
}

func source(ctx context.Context, url string) (string, error) {
	var props struct {
		Build string `json:"build_info"`
	}
	if err := ask(ctx, http.MethodGet, url+"/props", nil, &props); err != nil {
		return "", err
	}
	return "llama.cpp " + props.Build, nil
}

// plainWord finds a token whose text is lower-case letters and digits.
func plainWord(f *gguf.File) (int, error) {
	tokens, _ := f.Strings("tokenizer.ggml.tokens")
	for id := len(tokens) - 1; id >= 0; id-- {
		s := tokens[id]
		if len(s) > 1 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789") == "" {
			return id, nil
		}
	}
	return 0, errors.New("the model's tokenizer has no token of plain letters")
}

// next asks for the two likeliest next tokens. One token a request, with the
// whole context each time, so that nothing the server chooses matters. It is
// made to choose word, because it withholds a token, log-probabilities and
// all, that ends generation or leaves a character unfinished; what it reports
// are the log-probabilities before that bias.
func next(ctx context.Context, url string, tokens []int, word int) (Entry, error) {
	var answer struct {
		Probs []struct {
			Top []struct {
				ID      int     `json:"id"`
				Logprob float64 `json:"logprob"`
			} `json:"top_logprobs"`
		} `json:"completion_probabilities"`
	}
	err := ask(ctx, http.MethodPost, url+"/completion", map[string]any{
		"prompt": tokens, "n_predict": 1, "n_probs": 2, "temperature": 0, "seed": 1,
		"logit_bias": [][]float64{{float64(word), 1000}}, "cache_prompt": true, "post_sampling_probs": false,
	}, &answer)
	if err != nil {
		return Entry{}, err
	}
	if len(answer.Probs) != 1 || len(answer.Probs[0].Top) != 2 {
		return Entry{}, fmt.Errorf("llama-server gave no top two tokens after %d tokens: %+v", len(tokens), answer)
	}
	t := answer.Probs[0].Top
	return Entry{float64(t[0].ID), t[0].Logprob, float64(t[1].ID), t[1].Logprob}, nil
}

// save writes a step a line, so that a changed golden is a readable diff.
func save(path string, g Golden) error {
	steps := g.Steps
	g.Steps = nil
	head, err := json.Marshal(g)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	b.Write(bytes.TrimSuffix(head, []byte("null}")))
	for i, e := range steps {
		sep := ",\n"
		if i == 0 {
			sep = "[\n"
		}
		fmt.Fprintf(&b, "%s[%.0f,%.6f,%.0f,%.6f]", sep, e[0], e[1], e[2], e[3])
	}
	b.WriteString("\n]}\n")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("writing golden: %w", err)
	}
	return nil
}
