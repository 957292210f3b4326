package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/hc1-toolkit/hc1/internal/attach"
	"github.com/hc1-toolkit/hc1/internal/gguf"
	"github.com/hc1-toolkit/hc1/internal/output"
	"github.com/hc1-toolkit/hc1/internal/silicon"
	"github.com/hc1-toolkit/hc1/internal/tokenizer"
)

func (a *app) model() *cobra.Command {
	c := &cobra.Command{Use: "model", Short: "Model files"}
	c.AddCommand(&cobra.Command{
		Use:   "show [FILE]",
		Short: "Show a GGUF file: shape, metadata, tensors",
		Long: `Shows what a GGUF file holds, and whether this program can run it. Without FILE
it shows the model that ships with the emulated card.`,
		Example: "  hc1ctl model show\n  hc1ctl model show llama.gguf -o json",
		Args:    maxOneArg("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			path := ""
			if len(args) == 1 {
				path = args[0]
			}
			f, err := attach.LoadFile(path)
			if err != nil {
				return err
			}
			return a.printer().Print(viewModel(path, f))
		},
	})
	return c
}

type modelView struct {
	Schema       string       `json:"schema"`
	File         *string      `json:"file"`
	SHA256       string       `json:"sha256"`
	Name         *string      `json:"name"`
	Architecture *string      `json:"architecture"`
	GGUF         uint32       `json:"gguf_version"`
	Bytes        int          `json:"tensor_bytes"`
	Parameters   uint64       `json:"parameters"`
	Context      *uint32      `json:"context_tokens"`
	Tokenizer    *string      `json:"tokenizer"`
	Vocabulary   *int         `json:"vocabulary"`
	Runs         bool         `json:"runs"`
	Why          *string      `json:"why_not"`
	Metadata     []metaView   `json:"metadata"`
	Tensors      []tensorView `json:"tensors"`
}

type metaView struct {
	Key   string `json:"key"`
	Type  string `json:"type"`
	Value string `json:"value"`
}

type tensorView struct {
	Name  string   `json:"name"`
	Type  string   `json:"type"`
	Shape []uint64 `json:"shape"`
	Bytes int      `json:"bytes"`
}

func viewModel(path string, f *gguf.File) modelView {
	v := modelView{Schema: "hc1.model.show/1", SHA256: fmt.Sprintf("%x", f.SHA256()), GGUF: f.Version()}
	if path != "" {
		v.File = &path
	}
	text := func(key string) *string {
		if s, ok := f.String(key); ok {
			return &s
		}
		return nil
	}
	v.Name, v.Architecture, v.Tokenizer = text("general.name"), text("general.architecture"), text("tokenizer.ggml.model")
	if v.Architecture != nil {
		if n, ok := f.Uint32(*v.Architecture + ".context_length"); ok {
			v.Context = &n
		}
	}
	for _, k := range f.Keys() {
		v.Metadata = append(v.Metadata, metaView(k))
	}
	for _, t := range f.Tensors() {
		v.Parameters += t.Elements()
		v.Bytes += len(t.Data)
		v.Tensors = append(v.Tensors, tensorView{t.Name, t.Type.String(), t.Shape, len(t.Data)})
	}
	vocab, err := tokenizer.FromGGUF(f)
	if err == nil {
		n := vocab.VocabSize()
		v.Vocabulary = &n
		_, err = silicon.Load(f)
	}
	if v.Runs = err == nil; err != nil {
		why := err.Error()
		v.Why = &why
	}
	return v
}

func (v modelView) Table(t *output.Rows) {
	t.Row("file", clip(orMissing(v.File), 64))
	t.Row("sha256", v.SHA256)
	t.Row("model", clip(fmt.Sprintf("%s (%s)", orMissing(v.Name), orMissing(v.Architecture)), 64))
	t.Row("parameters", fmt.Sprintf("%d in %d tensors of %d bytes", v.Parameters, len(v.Tensors), v.Bytes))
	t.Row("tokenizer", clip(orMissing(v.Tokenizer), 64))
	t.Row("vocabulary", orNone(v.Vocabulary))
	t.Row("context", orNone(v.Context))
	if v.Runs {
		t.Row("runs here", "yes")
	} else {
		t.Row("runs here", "no:")
		t.Text(*v.Why)
	}
	t.Line("")
	wide := 0
	for _, k := range v.Metadata {
		wide = max(wide, utf8.RuneCountInString(clip(k.Key, 40)))
	}
	for _, k := range v.Metadata {
		t.Row(clip(k.Key, 40), clip(k.Value, 78-wide))
	}
	t.Line("")
	t.Row("TENSOR", "TYPE", "SHAPE", "BYTES")
	for _, x := range v.Tensors {
		t.Row(clip(x.Name, 34), x.Type, clip(strings.Trim(fmt.Sprint(x.Shape), "[]"), 22), x.Bytes)
	}
}

// orNone is a number, or the sign that it is missing.
func orNone[T any](v *T) any {
	if v == nil {
		return output.Missing
	}
	return *v
}

// clip shortens s to n characters.
func clip(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-3]) + "..."
}

// vocabFlags say which vocabulary a command uses.
type vocabFlags struct{ model, dir string }

func (f *vocabFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.model, "model", "", "GGUF file with the vocabulary (default the shipped one)")
	c.Flags().StringVar(&f.dir, "vocab", "", "directory with encoder.json and vocab.bpe (Llama 3)")
}

func (f *vocabFlags) load() (*tokenizer.Tokenizer, error) {
	if f.dir == "" {
		m, err := attach.LoadModel(f.model)
		if err != nil {
			return nil, err
		}
		return m.Vocab, nil
	}
	if f.model != "" {
		return nil, usagef("--model and --vocab exclude each other")
	}
	enc, err := os.Open(filepath.Join(f.dir, "encoder.json"))
	if err != nil {
		return nil, err
	}
	defer enc.Close()
	bpe, err := os.Open(filepath.Join(f.dir, "vocab.bpe"))
	if err != nil {
		return nil, err
	}
	defer bpe.Close()
	v, err := tokenizer.LoadBPE(enc, bpe, "llama-bpe", llama3Specials())
	if err != nil {
		return nil, tag(attach.ErrBadInput, fmt.Errorf("vocabulary %s: %w", f.dir, err))
	}
	return v, nil
}

// maxText bounds what tokenize and detokenize read.
const maxText = 1 << 30

// llama3Specials are the names of Llama 3's special tokens, from id 128,000
// on: its vocabulary files leave them out.
func llama3Specials() []string {
	names := []string{"<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
		"<|finetune_right_pad_id|>", "<|reserved_special_token_2|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>",
		"<|eot_id|>", "<|python_tag|>"}
	for i := 3; len(names) < 256; i++ {
		names = append(names, fmt.Sprintf("<|reserved_special_token_%d|>", i))
	}
	return names
}

func (a *app) tokenize() *cobra.Command {
	var f vocabFlags
	var count, special bool
	c := &cobra.Command{
		Use:   "tokenize",
		Short: "Turn text from standard input into token ids",
		Long: `Reads text from standard input and prints its token ids, separated by spaces.
Special tokens are never taken from the text unless --special is given.`,
		Example: "  hc1ctl tokenize --model m.gguf < text\n  echo hello | hc1ctl tokenize --count",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := f.load()
			if err != nil {
				return err
			}
			text, err := a.readAll(cmd.Context(), "text", maxText)
			if err != nil {
				return err
			}
			ids := v.Encode(nil, string(text), tokenizer.Options{ParseSpecial: special})
			if a.format == string(output.JSON) {
				o := tokenizeView{Schema: "hc1.tokenize/1", Count: len(ids)}
				if !count {
					o.Tokens = append([]uint32{}, ids...)
				}
				return a.printer().Object(o)
			}
			w := bufio.NewWriter(a.out)
			if count {
				fmt.Fprintln(w, len(ids))
				return w.Flush()
			}
			var line []byte
			for i, id := range ids {
				if i > 0 {
					line = append(line, ' ')
				}
				line = strconv.AppendUint(line, uint64(id), 10)
			}
			if _, err := w.Write(append(line, '\n')); err != nil {
				return err
			}
			return w.Flush()
		},
	}
	f.register(c)
	c.Flags().BoolVar(&count, "count", false, "print only how many there are")
	c.Flags().BoolVar(&special, "special", false, "turn the text of special tokens into them")
	return c
}

type tokenizeView struct {
	Schema string   `json:"schema"`
	Count  int      `json:"count"`
	Tokens []uint32 `json:"tokens"`
}

type detokenizeView struct {
	Schema string `json:"schema"`
	Text   string `json:"text"`
}

func (a *app) detokenize() *cobra.Command {
	var f vocabFlags
	var special bool
	c := &cobra.Command{
		Use:     "detokenize",
		Short:   "Turn token ids from standard input into text",
		Long:    "Reads token ids, separated by spaces, commas or lines, from standard input and\nprints their text.",
		Example: "  hc1ctl tokenize < text | hc1ctl detokenize\n  echo 1,2,3 | hc1ctl detokenize --model m.gguf",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := f.load()
			if err != nil {
				return err
			}
			in, err := a.readAll(cmd.Context(), "ids", maxText)
			if err != nil {
				return err
			}
			d := v.NewDecoder()
			d.Control = special
			var text []byte
			for i, w := range strings.FieldsFunc(string(in), func(r rune) bool { return strings.ContainsRune(" ,\t\r\n", r) }) {
				id, err := strconv.ParseUint(w, 10, 32)
				if err != nil || !v.Valid(uint32(id)) {
					return tag(attach.ErrBadInput, fmt.Errorf("entry %d is %q: not an id below %d", i, w, v.VocabSize()))
				}
				text = d.Decode(text, uint32(id))
			}
			text = d.Flush(text)
			if a.format == string(output.JSON) {
				return a.printer().Object(detokenizeView{"hc1.detokenize/1", string(text)})
			}
			_, err = a.out.Write(text)
			return err
		},
	}
	f.register(c)
	c.Flags().BoolVar(&special, "special", false, "show special tokens as their text")
	return c
}
