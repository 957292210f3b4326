package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// ErrChat marks turns that the model's chat form cannot express.
var ErrChat = errors.New("bad chat")

// A Turn is one message of a conversation. Role is system, user or assistant.
type Turn struct{ Role, Content string }

// Chat appends a conversation in the form that the vocabulary was made for: Llama 3's where it has Llama 3's header tokens, Llama 2's
// for SentencePiece vocabularies with <s> and </s>, and plain "role: text" lines otherwise. With openAssistant the prompt ends
// where the assistant is to go on. Control tokens come from the form alone; content is encoded as text whatever it says.
func (t *Tokenizer) Chat(dst []uint32, turns []Turn, openAssistant bool) ([]uint32, error) {
	if len(turns) == 0 {
		return dst, fmt.Errorf("%w: no turns", ErrChat)
	}
	for i, turn := range turns {
		switch turn.Role {
		case "system", "user", "assistant":
		default:
			return dst, fmt.Errorf("%w: turn %d has role %s; system, user and assistant are known", ErrChat, i, shortQuote(turn.Role))
		}
	}
	if form, ok := t.llama3(); ok {
		return form.render(dst, turns, openAssistant), nil
	}
	if s, ok := t.Special("<s>"); ok && t.family == sentencePiece && t.bos == (optionalID{s, true}) && t.eos.ok {
		return t.llama2(dst, turns, openAssistant)
	}
	return t.plainChat(dst, turns, openAssistant), nil
}

type llama3Form struct {
	t                              *Tokenizer
	begin, header, headerEnd, turn uint32
}

func (t *Tokenizer) llama3() (llama3Form, bool) {
	f := llama3Form{t: t}
	for _, name := range []struct {
		text string
		to   *uint32
	}{
		{"<|begin_of_text|>", &f.begin}, {"<|start_header_id|>", &f.header}, {"<|end_header_id|>", &f.headerEnd}, {"<|eot_id|>", &f.turn},
	} {
		id, ok := t.Special(name.text)
		if !ok {
			return f, false
		}
		*name.to = id
	}
	return f, true
}

func (f llama3Form) render(dst []uint32, turns []Turn, open bool) []uint32 {
	dst = append(dst, f.begin)
	for _, turn := range turns {
		dst = f.head(dst, turn.Role)
		// Encoded together, because not every split rule keeps two line breaks apart from what follows.
		dst = f.t.Encode(dst, "\n\n"+trim(turn.Content), Options{})
		dst = append(dst, f.turn)
	}
	if open {
		dst = f.head(dst, "assistant")
		dst = f.t.Encode(dst, "\n\n", Options{})
	}
	return dst
}

func (f llama3Form) head(dst []uint32, role string) []uint32 {
	dst = append(dst, f.header)
	dst = f.t.Encode(dst, role, Options{})
	return append(dst, f.headerEnd)
}

// llama2 renders pairs of question and answer, each a text of its own with <s> and </s>:
//
//	<s> [INST] <<SYS>>\nsystem\n<</SYS>>\n\nuser [/INST] assistant </s><s> [INST] user [/INST]
//
// The form has no place for anything else, so turns that do not alternate are refused.
func (t *Tokenizer) llama2(dst []uint32, turns []Turn, open bool) ([]uint32, error) {
	mark := len(dst)
	system := ""
	if turns[0].Role == "system" {
		system = "<<SYS>>\n" + trim(turns[0].Content) + "\n<</SYS>>\n\n"
		turns = turns[1:]
	}
	if len(turns) == 0 {
		return dst[:mark], fmt.Errorf("%w: this model needs a user turn after the system turn", ErrChat)
	}
	if open && len(turns)%2 == 0 {
		return dst[:mark], fmt.Errorf("%w: this model can answer only a user turn, and the last turn is the assistant's", ErrChat)
	}
	for i := 0; i < len(turns); i += 2 {
		if turns[i].Role != "user" {
			return dst[:mark], fmt.Errorf("%w: this model takes user and assistant in turn, not %s here", ErrChat, turns[i].Role)
		}
		text := "[INST] " + system + trim(turns[i].Content) + " [/INST]"
		system = ""
		dst = append(dst, t.bos.id)
		if i+1 == len(turns) {
			dst = t.Encode(dst, text, Options{})
			break
		}
		if turns[i+1].Role != "assistant" {
			return dst[:mark], fmt.Errorf("%w: this model takes user and assistant in turn, not %s here", ErrChat, turns[i+1].Role)
		}
		dst = t.Encode(dst, text+" "+trim(turns[i+1].Content)+" ", Options{})
		dst = append(dst, t.eos.id)
	}
	return dst, nil
}

// plainChat is for models that were trained on no form at all.
func (t *Tokenizer) plainChat(dst []uint32, turns []Turn, open bool) []uint32 {
	var text strings.Builder
	for _, turn := range turns {
		text.WriteString(turn.Role)
		text.WriteString(": ")
		text.WriteString(trim(turn.Content))
		text.WriteByte('\n')
	}
	if open {
		text.WriteString("assistant:")
	}
	return t.Encode(dst, text.String(), Options{Begin: true})
}

// trim removes what the models' own templates remove: white space and the four ASCII separators.
func trim(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return unicode.IsSpace(r) || 0x1c <= r && r <= 0x1f })
}
