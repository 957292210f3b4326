package tokenizer

import "fmt"

// Metadata is what FromGGUF asks of a GGUF file: typed look-ups that say whether the key is there with that type.
type Metadata interface {
	String(key string) (string, bool)
	Uint32(key string) (uint32, bool)
	Bool(key string) (bool, bool)
	Strings(key string) ([]string, bool)
	Int32s(key string) ([]int32, bool)
	Float32s(key string) ([]float32, bool)
}

const ggml = "tokenizer.ggml."

// FromGGUF makes a tokenizer of a model file's metadata.
func FromGGUF(f Metadata) (*Tokenizer, error) {
	src, err := readGGUF(f)
	if err != nil {
		return nil, fmt.Errorf("loading the tokenizer: %w", err)
	}
	t, err := build(src)
	if err != nil {
		return nil, fmt.Errorf("loading the tokenizer: %w", err)
	}
	return t, nil
}

func readGGUF(f Metadata) (*source, error) {
	src := new(source)
	model, ok := f.String(ggml + "model")
	if !ok {
		return nil, fmt.Errorf("%w: the file names no %smodel", ErrVocab, ggml)
	}
	switch model {
	case "gpt2":
		src.pre, _ = f.String(ggml + "pre")
		_, llama3, err := splitterFor(src.pre)
		if err != nil {
			return nil, err
		}
		src.family, src.ignoreMerges, src.addBOS = byteLevel, llama3, llama3
		if src.merges, ok = f.Strings(ggml + "merges"); !ok {
			return nil, fmt.Errorf("%w: the file has no %smerges", ErrVocab, ggml)
		}
		if v, ok := f.Bool(ggml + "ignore_merges"); ok {
			src.ignoreMerges = v
		}
	case "llama":
		src.family, src.addBOS, src.addSpace = sentencePiece, true, true
		src.scores, _ = f.Float32s(ggml + "scores")
		if v, ok := f.Bool(ggml + "add_space_prefix"); ok {
			src.addSpace = v
		}
	default:
		return nil, fmt.Errorf("%w: model %s; gpt2 and llama are known", ErrUnsupported, shortQuote(model))
	}
	if src.tokens, ok = f.Strings(ggml + "tokens"); !ok {
		return nil, fmt.Errorf("%w: the file has no %stokens", ErrVocab, ggml)
	}
	if types, ok := f.Int32s(ggml + "token_type"); ok {
		if len(types) != len(src.tokens) {
			return nil, fmt.Errorf("%w: %d token types for %d tokens", ErrVocab, len(types), len(src.tokens))
		}
		src.kinds = make([]kind, len(types))
		for i, v := range types {
			if v < int32(kindNormal) || v > int32(kindByte) {
				return nil, fmt.Errorf("%w: token %d has the unknown type %d", ErrVocab, i, v)
			}
			src.kinds[i] = kind(v)
		}
	}
	for _, id := range []struct {
		key string
		to  *optionalID
	}{{"bos", &src.bos}, {"eos", &src.eos}, {"eot", &src.eot}, {"unknown", &src.unk}} {
		id.to.id, id.to.ok = f.Uint32(ggml + id.key + "_token_id")
	}
	if v, ok := f.Bool(ggml + "add_bos_token"); ok {
		src.addBOS = v
	}
	return src, nil
}
