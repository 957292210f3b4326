package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/hc1-toolkit/hc1/driver"
	"github.com/hc1-toolkit/hc1/internal/output"
	"github.com/hc1-toolkit/hc1/internal/tokenizer"
)

// runFlags are the flags of run.
type runFlags struct {
	system      string
	maxTokens   int
	greedy      bool
	temperature float64
	topK        int
	topP        float64
	seed        uint64
	ignoreEOS   bool
	stops       []string
	raw         bool
	tokens      string
	logprobs    bool
	stats       bool
	interactive bool
}

func (a *app) run() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run [PROMPT]",
		Short: "Run a prompt and stream the answer",
		Long: `Runs a prompt on a card and streams the answer as it is decoded. PROMPT is put
into the model's chat form; with --raw it is continued as it is. PROMPT "-", or
none with a pipe, reads standard input. With -i a conversation is held, whose
past stays in the card's memory.

Ctrl-C cancels on the card. With -o json one object is printed at the end. Its
tokens and text leave out the stop token that ended the answer; its text leaves
out the --stop text too. A model that was not made for conversations continues
every prompt as it is.`,
		Example: `  hc1ctl run --card mock: "Tell me a story about a fox"
  hc1ctl run --card mock: --greedy --max-tokens 40 --raw "Once upon a time"
  hc1ctl run --card mock: -i --system "Answer in one sentence."
  echo "Who are you?" | hc1ctl run --card mock: -o json
  hc1ctl run --card 'mock:?clock=fast&model=m.gguf' --raw --tokens 1,2,3 -o json`,
		Args: maxOneArg("PROMPT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("seed") {
				f.seed = rand.Uint64() >> 11 // fits every JSON reader's numbers
			}
			if f.logprobs && a.format != string(output.JSON) {
				return usagef("--logprobs goes with -o json")
			}
			if f.interactive {
				if len(args) > 0 || f.tokens != "" || a.format == "json" || f.raw {
					return usagef("-i goes without a prompt, --tokens, --raw and -o json")
				}
				return a.chat(cmd.Context(), f)
			}
			return a.once(cmd.Context(), args, f)
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.system, "system", "", "system prompt")
	fl.IntVar(&f.maxTokens, "max-tokens", 0, "most tokens to sample (0: what the context holds)")
	fl.BoolVar(&f.greedy, "greedy", false, "always take the most likely token")
	fl.Float64Var(&f.temperature, "temperature", 0.8, "sampling temperature; 0 is greedy")
	fl.IntVar(&f.topK, "top-k", 0, "sample among the k best (0: the card's maximum)")
	fl.Float64Var(&f.topP, "top-p", 1, "sample among the best of this share")
	fl.Uint64Var(&f.seed, "seed", 0, "same seed, same text (default random)")
	fl.BoolVar(&f.ignoreEOS, "ignore-eos", false, "go on past the model's stop tokens")
	fl.StringArrayVar(&f.stops, "stop", nil, "stop before this text (may be repeated)")
	fl.BoolVar(&f.raw, "raw", false, "continue the prompt as it is, without chat form")
	fl.StringVar(&f.tokens, "tokens", "", "prompt as token ids, separated by commas")
	fl.BoolVar(&f.logprobs, "logprobs", false, "with -o json: log-probabilities and candidates")
	fl.BoolVar(&f.stats, "stats", false, "print times and rates to standard error")
	fl.BoolVarP(&f.interactive, interactive, "i", false, "hold a conversation")
	return c
}

func (f *runFlags) params() (driver.Params, error) {
	p := driver.Params{MaxTokens: f.maxTokens, Temperature: f.temperature, TopK: f.topK, TopP: f.topP,
		Seed: f.seed, IgnoreEOS: f.ignoreEOS, LogProbs: f.logprobs}
	switch {
	case f.maxTokens < 0:
		return p, usagef("--max-tokens %d: use 0 or more", f.maxTokens)
	case !(f.temperature >= 0 && f.temperature <= 100):
		return p, usagef("--temperature %v: use 0 to 100", f.temperature)
	case !(f.topP > 0 && f.topP <= 1):
		return p, usagef("--top-p %v: use more than 0, at most 1", f.topP)
	case f.topK < 0:
		return p, usagef("--top-k %d: use 0 or more", f.topK)
	}
	for _, s := range f.stops {
		if s == "" {
			return p, usagef("--stop: an empty text would stop at once")
		}
	}
	if f.greedy {
		p.Temperature = 0
	}
	return p, nil
}

// maxPrompt bounds what is read from standard input: more than any context.
const maxPrompt = 16 << 20

// promptText is the prompt from the command line or standard input.
func (a *app) promptText(ctx context.Context, args []string) (string, error) {
	if len(args) == 1 && args[0] != "-" {
		return args[0], nil
	}
	if len(args) == 0 && isTerminal(a.in) {
		return "", usagef("no prompt: give one, pipe one in, or use -i for a conversation")
	}
	b, err := a.readAll(ctx, "prompt", maxPrompt)
	if err != nil {
		return "", err
	}
	if text := strings.TrimRight(string(b), "\r\n"); text != "" {
		return text, nil
	}
	return "", usagef("the prompt is empty")
}

// encode turns a prompt into token ids. f.raw is set for models that were
// not made for conversations.
func (f *runFlags) encode(v *tokenizer.Tokenizer, text string) ([]uint32, error) {
	if f.raw {
		return v.Encode(nil, text, tokenizer.Options{Begin: true}), nil
	}
	var turns []tokenizer.Turn
	if f.system != "" {
		turns = append(turns, tokenizer.Turn{Role: "system", Content: f.system})
	}
	return v.Chat(nil, append(turns, tokenizer.Turn{Role: "user", Content: text}), true)
}

func parseTokens(s string) ([]uint32, error) {
	var ids []uint32
	for i, w := range strings.Split(s, ",") {
		id, err := strconv.ParseUint(strings.TrimSpace(w), 10, 32)
		if err != nil {
			return nil, usagef("--tokens: entry %d is %q: use numbers separated by commas", i, w)
		}
		ids = append(ids, uint32(id))
	}
	return ids, nil
}

// once runs one prompt.
func (a *app) once(ctx context.Context, args []string, f runFlags) (err error) {
	p, err := f.params()
	if err != nil {
		return err
	}
	var prompt []uint32
	var text string
	if f.tokens != "" {
		if len(args) > 0 {
			return usagef("a prompt and --tokens exclude each other")
		}
		prompt, err = parseTokens(f.tokens)
	} else {
		text, err = a.promptText(ctx, args)
	}
	if err != nil {
		return err
	}
	c, err := a.speak(ctx)
	if err != nil {
		return ended(ctx, err)
	}
	defer c.close(&err)
	f.raw = f.raw || !c.via.Chat
	if prompt == nil {
		if prompt, err = f.encode(c.via.Vocab, text); err != nil {
			return fmt.Errorf("prompt: %w: %w", driver.ErrInvalid, err)
		}
	}
	s, err := c.OpenSession(ctx, driver.SessionConfig{})
	if err != nil {
		return ended(ctx, err)
	}
	json := a.format == string(output.JSON)
	show := a.stream()
	if json {
		show = func(string) error { return nil }
	}
	ans, err := c.generate(ctx, s, prompt, p, f.stops, show)
	if !json && ans.text != "" { // a line of its own for what follows
		if _, werr := fmt.Fprintln(a.out); werr != nil && err == nil {
			err = werr
		}
	}
	if f.stats && ans.reason != "" {
		a.stats(f, ans)
	}
	// A stream that the caller cut short has a result all the same.
	if cut := errors.Is(err, errInterrupted) || errors.Is(err, errDeadline); json && (err == nil || cut && ans.reason != "") {
		if werr := a.printer().Object(a.object(c, f, ans)); werr != nil {
			err = werr
		} else if err != nil {
			err = tag(errReported, err)
		}
	}
	if cerr := s.Close(); err == nil {
		err = cerr
	}
	return err
}

// stream writes text to standard output as it comes. A terminal gets no
// control characters from a model.
func (a *app) stream() func(string) error {
	clean := func(s string) string { return s }
	if isTerminal(a.out) {
		clean = func(s string) string {
			return strings.Map(func(r rune) rune {
				if unicode.IsControl(r) && r != '\n' && r != '\t' {
					return -1
				}
				return r
			}, s)
		}
	}
	return func(s string) error {
		_, err := io.WriteString(a.out, clean(s))
		return err
	}
}

// isTerminal reports whether a stream is a character device.
func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	if !ok {
		return false
	}
	st, err := file.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

func (a *app) stats(f runFlags, ans answer) {
	r := ans.result
	rate := 0.0
	if r.Decode > 0 {
		rate = float64(r.Tokens) / r.Decode.Seconds()
	}
	seed := ""
	if p, err := f.params(); err == nil && p.Temperature > 0 {
		seed = fmt.Sprintf(", seed %d", f.seed)
	}
	fmt.Fprintf(a.err, "%d prompt tokens (%d cached), %d answered, ended: %s%s\n"+
		"card: prefill %v, decode %v, %.0f tokens/s, %d late, %.3g J modelled\n"+
		"seen here: first token after %v, last after %v\n",
		r.Prompt, r.Cached, len(ans.tokens), ans.reason, seed,
		short(r.Prefill), short(r.Decode), rate, r.Late, float64(r.EnergyUJ)/1e6, short(ans.first), short(ans.wall))
}

// short rounds a time to about three digits that matter.
func short(d time.Duration) time.Duration {
	unit := time.Nanosecond
	for d/unit >= 10000 {
		unit *= 10
	}
	return d.Round(unit)
}

// runObject is the result of run -o json.
type runObject struct {
	Schema       string       `json:"schema"`
	Tokens       []uint32     `json:"tokens"`
	Text         string       `json:"text"`
	FinishReason string       `json:"finish_reason"`
	PromptTokens int          `json:"prompt_tokens"`
	CachedTokens int          `json:"cached_tokens"`
	PrefillUS    float64      `json:"prefill_us"`
	DecodeUS     float64      `json:"decode_us"`
	EnergyUJ     uint64       `json:"energy_uj"`
	LateTokens   uint32       `json:"late_tokens"`
	Seed         *uint64      `json:"seed"`
	Model        string       `json:"model"`
	Silicon      string       `json:"silicon"`
	LogProbs     []tokenProbs `json:"logprobs,omitempty"`
}

type tokenProbs struct {
	Token   uint32      `json:"token"`
	LogProb float32     `json:"logprob"`
	Top     []candidate `json:"top"`
}

type candidate struct {
	Token   uint32  `json:"token"`
	LogProb float32 `json:"logprob"`
}

func (a *app) object(c *attached, f runFlags, ans answer) runObject {
	r := ans.result
	o := runObject{Schema: "hc1.run/1", Tokens: ans.tokens, Text: ans.text, FinishReason: ans.reason,
		PromptTokens: r.Prompt, CachedTokens: r.Cached,
		PrefillUS: float64(r.Prefill.Nanoseconds()) / 1000, DecodeUS: float64(r.Decode.Nanoseconds()) / 1000,
		EnergyUJ: r.EnergyUJ, LateTokens: r.Late, Model: modelName(c), Silicon: siliconName(c)}
	if o.Tokens == nil {
		o.Tokens = []uint32{}
	}
	if !f.greedy && f.temperature > 0 {
		o.Seed = &f.seed
	}
	for _, t := range ans.probs {
		p := tokenProbs{Token: t.ID, LogProb: t.LogProb}
		for _, k := range t.Candidates[:t.N] {
			p.Top = append(p.Top, candidate{k.ID, k.LogProb})
		}
		o.LogProbs = append(o.LogProbs, p)
	}
	return o
}
