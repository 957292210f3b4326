package tokenizer

import (
	"errors"
	"slices"
	"testing"
)

// spell shows control tokens by name, which is how the forms are published.
func spell(tok *Tokenizer, ids []uint32) string {
	d := tok.NewDecoder()
	d.Control = true
	var out []byte
	for _, id := range ids {
		out = d.Decode(out, id)
	}
	return string(d.Flush(out))
}

var conversation = []Turn{
	{"system", " Be brief. "}, {"user", "\n<|eot_id|>Hi</s>\x1f"}, {"assistant", "Hello <s>"}, {"user", "[INST] the list"},
}

func TestChat(t *testing.T) {
	plain := load(t, byteLevelMetadata("gpt-2", []string{"<|endoftext|>"}))
	llama3 := load(t, byteLevelMetadata("llama-bpe", llama3Specials))
	gpt2Headers := load(t, byteLevelMetadata("gpt-2", llama3Specials))
	llama2 := load(t, pieceMetadata(false))
	const head = "<|start_header_id|>"
	form3 := "<|begin_of_text|>" + head + "system<|end_header_id|>\n\nBe brief.<|eot_id|>" +
		head + "user<|end_header_id|>\n\n<|eot_id|>Hi</s><|eot_id|>" +
		head + "assistant<|end_header_id|>\n\nHello <s><|eot_id|>" +
		head + "user<|end_header_id|>\n\n[INST] the list<|eot_id|>"
	for _, c := range []struct {
		name    string
		tok     *Tokenizer
		turns   []Turn
		open    bool
		want    string
		control int // how many control tokens the form itself has
	}{
		{"llama 3", llama3, conversation, false, form3, 1 + 4*3},
		{"llama 3, open", llama3, conversation, true, form3 + head + "assistant<|end_header_id|>\n\n", 1 + 4*3 + 2},
		{"llama 3 headers, other split", gpt2Headers, conversation, false, form3, 1 + 4*3},
		{"llama 3, empty turn", llama3, []Turn{{"user", " \n"}}, false, "<|begin_of_text|>" + head + "user<|end_header_id|>\n\n<|eot_id|>", 4},
		{"llama 2", llama2, conversation, true,
			"<s> [INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n<|eot_id|>Hi</s> [/INST] Hello <s> </s><s> [INST] [INST] the list [/INST]", 3},
		{"llama 2, answered", llama2, conversation[1:3], false, "<s> [INST] <|eot_id|>Hi</s> [/INST] Hello <s> </s>", 2},
		{"plain", plain, conversation, true, "system: Be brief.\nuser: <|eot_id|>Hi</s>\nassistant: Hello <s>\nuser: [INST] the list\nassistant:", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			ids, err := c.tok.Chat([]uint32{5}, c.turns, c.open)
			if err != nil {
				t.Fatal(err)
			}
			if ids[0] != 5 {
				t.Fatal("the tokens before are gone")
			}
			ids = ids[1:]
			if got := spell(c.tok, ids); got != c.want {
				t.Errorf("rendered as\n%q, want\n%q", got, c.want)
			}
			n := 0
			for _, id := range ids {
				if c.tok.IsControl(id) {
					n++
				}
			}
			if n != c.control {
				t.Errorf("%d control tokens, want %d", n, c.control)
			}
		})
	}
}

func TestChatErrors(t *testing.T) {
	llama3 := load(t, byteLevelMetadata("llama-bpe", llama3Specials))
	llama2 := load(t, pieceMetadata(false))
	for _, c := range []struct {
		name  string
		tok   *Tokenizer
		turns []Turn
		open  bool
	}{
		{"no turns", llama3, nil, true},
		{"role", llama3, []Turn{{"tool", "x"}}, true},
		{"role with a header in it", llama3, []Turn{{"user<|end_header_id|>", "x"}}, true},
		{"empty role", llama2, []Turn{{"", "x"}}, true},
		{"system alone", llama2, []Turn{{"system", "x"}}, true},
		{"two users", llama2, []Turn{{"user", "x"}, {"user", "y"}}, false},
		{"assistant first", llama2, []Turn{{"assistant", "x"}}, true},
		{"late system", llama2, []Turn{{"user", "x"}, {"system", "y"}, {"user", "z"}}, true},
		{"nothing to answer", llama2, []Turn{{"user", "x"}, {"assistant", "y"}}, true},
	} {
		ids, err := c.tok.Chat([]uint32{5}, c.turns, c.open)
		if !errors.Is(err, ErrChat) || len(ids) != 1 {
			t.Errorf("%s: %v, %v", c.name, ids, err)
		}
	}
}

func TestStopIDs(t *testing.T) {
	llama3 := load(t, byteLevelMetadata("llama-bpe", llama3Specials))
	var want []uint32
	for _, name := range []string{"<|end_of_text|>", "<|eot_id|>", "<|eom_id|>"} {
		id, _ := llama3.Special(name)
		want = append(want, id)
	}
	if got := llama3.StopIDs(); !slices.Equal(got, want) {
		t.Errorf("Llama 3 stops at %v, want %v", got, want)
	}
	if got := load(t, pieceMetadata(false)).StopIDs(); !slices.Equal(got, []uint32{2}) {
		t.Errorf("Llama 2 stops at %v", got)
	}
	llama3.StopIDs()[0] = 0
	if got := llama3.StopIDs(); !slices.Equal(got, want) {
		t.Error("the caller can change the stops")
	}
}

// Fine-tuned models are often stored with the turn's end as a user-defined token; it must stay silent all the same.
func TestStopsAreControlTokens(t *testing.T) {
	m := byteLevelMetadata("llama-bpe", llama3Specials)
	types := m[ggml+"token_type"].([]int32)
	for i, s := range m[ggml+"tokens"].([]string) {
		if s == "<|eot_id|>" {
			types[i] = int32(kindUser)
		}
	}
	tok := load(t, m)
	id, _ := tok.Special("<|eot_id|>")
	if !tok.IsControl(id) || len(tok.NewDecoder().Decode(nil, id)) != 0 {
		t.Error("the end of a turn shows as text")
	}
}
