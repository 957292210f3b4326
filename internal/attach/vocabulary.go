package attach

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/hc1-toolkit/hc1/hal/hci"
	"github.com/hc1-toolkit/hc1/internal/model"
)

// ErrNoVocabulary: the card's tokens cannot be turned into text here.
var ErrNoVocabulary = errors.New("the vocabulary of the card's model is not known")

// Learn finds the vocabulary of a card that is up, by its capability page. A
// card does not carry it: it is that of the GGUF file that is named, or of
// the model that ships with us if the card has that.
func (c *Card) Learn(caps hci.Capabilities, file string) error {
	if file == "" && c.Vocab != nil {
		return nil // the address named the model
	}
	if file == "" {
		// Script silicon replays text in the words of a model. Which, it does
		// not say; the one that ships is what there is without a file.
		script := hci.Text(caps.Silicon[:]) == "script"
		if id := sha256.Sum256(model.Default()); caps.ModelID != id && !script {
			return &tagged{ErrNoVocabulary, fmt.Errorf("the card has model %q (id %x...), which is not known here",
				hci.Text(caps.ModelName[:]), caps.ModelID[:6])}
		}
	}
	m, err := LoadModel(file)
	if err != nil {
		return err
	}
	if n := m.Vocab.VocabSize(); n != int(caps.Vocab) {
		return &tagged{ErrNoVocabulary, fmt.Errorf("model %s has a vocabulary of %d, the card's model one of %d", nameOr(file), n, caps.Vocab)}
	}
	c.Vocab, c.Chat = m.Vocab, m.Chat()
	return nil
}

// Computes reports whether the card's silicon is software that runs a model
// of a size that nobody knows.
func (c *Card) Computes(caps hci.Capabilities) bool {
	return hci.Text(caps.Silicon[:]) == "llama" && caps.ModelID != sha256.Sum256(model.Default())
}
