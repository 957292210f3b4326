package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hc1-toolkit/hc1/internal/attach"
	"github.com/hc1-toolkit/hc1/internal/output"
	"github.com/hc1-toolkit/hc1/internal/tokenizer"
)

func (a *app) model() *cobra.Command {
	c := &cobra.Command{Use: "model", Short: "Model files"}
	c.AddCommand(&cobra.Command{
		Use:     "show [FILE]",
		Short:   "Show a GGUF file: metadata, tensors, vocabulary",
		Long:    "Shows what a GGUF file holds. Without FILE it shows the model that ships with\nthe emulated card.",
		Example: "  hc1ctl model show\n  hc1ctl model show llama.gguf -o json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path := ""
			if len(args) == 1 {
				path = args[0]
			}
			m, err := attach.LoadModel(path)
			if err != nil {
				return err
			}
			return a.printer().Print(viewModel(path, m))
		},
	})
	return c
}

type modelView struct {
	Schema     string       `json:"schema"`
	File       *string      `json:"file"`
	SHA256     string       `json:"sha256"`
	Parameters uint64       `json:"parameters"`
	Vocabulary int          `json:"vocabulary"`
	Metadata   []metaView   `json:"metadata"`
	Tensors    []tensorView `json:"tensors"`
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

func viewModel(path string, m *attach.Model) modelView {
	v := modelView{Schema: "hc1.model.show/1", SHA256: fmt.Sprintf("%x", m.File.SHA256()), Vocabulary: m.Vocab.VocabSize()}
	if path != "" {
		v.File = &path
	}
	for _, k := range m.File.Keys() {
		v.Metadata = append(v.Metadata, metaView(k))
	}
	for _, t := range m.File.Tensors() {
		v.Parameters += t.Elements()
		v.Tensors = append(v.Tensors, tensorView{t.Name, t.Type.String(), t.Shape, len(t.Data)})
	}
	return v
}

func (v modelView) Table(t *output.Rows) {
	t.Row("file", orMissing(v.File))
	t.Row("sha256", v.SHA256)
	t.Row("parameters", v.Parameters)
	t.Row("vocabulary", v.Vocabulary)
	t.Line("")
	for _, k := range v.Metadata {
		t.Row(k.Key, clip(k.Value, 34))
	}
	t.Line("")
	t.Row("TENSOR", "TYPE", "SHAPE", "BYTES")
	for _, x := range v.Tensors {
		t.Row(x.Name, x.Type, strings.Trim(fmt.Sprint(x.Shape), "[]"), x.Bytes)
	}
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
	v, err := tokenizer.LoadBPE(enc, bpe, "llama-bpe", nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", attach.ErrBadInput, f.dir, err)
	}
	return v, nil
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
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v, err := f.load()
			if err != nil {
				return err
			}
			text, err := io.ReadAll(a.in)
			if err != nil {
				return fmt.Errorf("read text: %w", err)
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
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v, err := f.load()
			if err != nil {
				return err
			}
			in, err := io.ReadAll(a.in)
			if err != nil {
				return fmt.Errorf("read ids: %w", err)
			}
			d := v.NewDecoder()
			d.Control = special
			var text []byte
			for i, w := range strings.FieldsFunc(string(in), func(r rune) bool { return strings.ContainsRune(" ,\t\r\n", r) }) {
				id, err := strconv.ParseUint(w, 10, 32)
				if err != nil || !v.Valid(uint32(id)) {
					return errors.Join(attach.ErrBadInput, fmt.Errorf("entry %d is %q: not an id below %d", i, w, v.VocabSize()))
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
