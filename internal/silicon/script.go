package silicon

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// scriptNumericsID is the NumericsID of every script engine: the rule below
// and the logits it gives. It shares no number with the llama engine.
const scriptNumericsID uint32 = 0x80000001

// script is an Engine that replays given text at no compute cost while
// staying, as the contract demands, a function of the token ids alone.
//
// Let m be the length of the longest suffix of the context that is a prefix
// of the script. The predicted token is script[m], or the stop token once the
// whole script has been matched. So an empty match starts the script, a
// continued one goes on where it is, and a context that strays from the
// script falls back to the longest beginning it could still be part of. m is
// kept by the Knuth-Morris-Pratt automaton, in constant time per token on average.
type script struct {
	info Info
	text []uint32
	fail []uint32 // fail[m]: the next shorter m that still matches, for m > 0
	stop uint32
	sum  uint32
}

// The logits: the predicted token, then the scriptNext ids after it, then the
// rest. All are exact in binary32. The predicted token has all but about one
// part in ten thousand of the probability.
const (
	scriptTop   = 10.0
	scriptLow   = -20.0
	scriptNext  = 7
	scriptFirst = -0.25 // logit of the first id after it
	scriptStep  = 0.25  // less for each further one
)

// NewScript makes an engine that predicts script[0], script[1], ... and then
// stop. bos may be NoToken.
func NewScript(vocab, context int, bos uint32, stop uint32, text []uint32, modelID [32]byte) (Engine, error) {
	if vocab < 1 || vocab > maxDim {
		return nil, fmt.Errorf("silicon: script: vocabulary of %d, want 1..%d", vocab, maxDim)
	}
	if context < 1 || context > maxContext {
		return nil, fmt.Errorf("silicon: script: context of %d, want 1..%d", context, maxContext)
	}
	if bos != NoToken && uint64(bos) >= uint64(vocab) {
		return nil, fmt.Errorf("silicon: script: begin token %d is outside the vocabulary of %d", bos, vocab)
	}
	if uint64(stop) >= uint64(vocab) {
		return nil, fmt.Errorf("silicon: script: stop token %d is outside the vocabulary of %d", stop, vocab)
	}
	for i, id := range text {
		if uint64(id) >= uint64(vocab) {
			return nil, fmt.Errorf("silicon: script: token %d has id %d, outside the vocabulary of %d", i, id, vocab)
		}
	}
	e := &script{text: append([]uint32(nil), text...), stop: stop}
	e.fail = make([]uint32, len(text)+1)
	for m := 1; m < len(text); m++ {
		e.fail[m+1] = e.step(e.fail[m], text[m])
	}
	e.sum = e.checksum()
	e.info = Info{Kind: "script", Name: "script", ModelID: modelID, NumericsID: scriptNumericsID,
		Vocab: vocab, Context: context, BOS: bos, Stops: []uint32{stop}}
	return e, nil
}

// step is the automaton: the match length after one more token.
func (e *script) step(m uint32, token uint32) uint32 {
	for {
		if int(m) < len(e.text) && e.text[m] == token {
			return m + 1
		}
		if m == 0 {
			return 0
		}
		m = e.fail[m]
	}
}

func (e *script) Info() Info {
	i := e.info
	i.Stops = append([]uint32(nil), i.Stops...)
	return i
}

func (e *script) NewState() State { return &scriptState{e: e} }

func (e *script) checksum() uint32 {
	var b []byte
	for _, v := range [][]uint32{e.text, e.fail} {
		for _, x := range v {
			b = binary.LittleEndian.AppendUint32(b, x)
		}
	}
	return crc32.ChecksumIEEE(b)
}

var errScript = errors.New("silicon: self-test: the script has changed since load")

func (e *script) SelfTest() error {
	if e.checksum() != e.sum {
		return errScript
	}
	return nil
}

// scriptState holds the match length after each token, which makes Truncate
// and Fork exact.
type scriptState struct {
	e      *script
	match  []uint32
	logits []float32 // lent to Append's callback
}

func (s *scriptState) Len() int { return len(s.match) }

func (s *scriptState) check(tokens []uint32) error {
	if len(tokens) > s.e.info.Context-len(s.match) {
		return fmt.Errorf("silicon: %d tokens after %d do not fit a context of %d", len(tokens), len(s.match), s.e.info.Context)
	}
	for i, t := range tokens {
		if uint64(t) >= uint64(s.e.info.Vocab) {
			return fmt.Errorf("silicon: token %d of %d has id %d, the vocabulary ends at %d", i, len(tokens), t, s.e.info.Vocab-1)
		}
	}
	return nil
}

func (s *scriptState) push(token uint32) {
	var m uint32
	if n := len(s.match); n > 0 {
		m = s.match[n-1]
	}
	s.match = append(s.match, s.e.step(m, token))
}

func (s *scriptState) Append(tokens []uint32, each func(i int, logits []float32)) error {
	if err := s.check(tokens); err != nil {
		return err
	}
	if each != nil && s.logits == nil {
		s.logits = make([]float32, s.e.info.Vocab)
	}
	for i, t := range tokens {
		s.push(t)
		if each != nil {
			s.fill(s.logits)
			each(i, s.logits)
		}
	}
	return nil
}

func (s *scriptState) AppendLast(tokens []uint32, logits []float32) error {
	if len(tokens) == 0 {
		return fmt.Errorf("silicon: no tokens, so no last one to give logits for")
	}
	if len(logits) != s.e.info.Vocab {
		return fmt.Errorf("silicon: room for %d logits, the vocabulary has %d", len(logits), s.e.info.Vocab)
	}
	if err := s.check(tokens); err != nil {
		return err
	}
	for _, t := range tokens {
		s.push(t)
	}
	s.fill(logits)
	return nil
}

// lows is copied over the logits: the copy reads one hot block and runs at
// the speed of writing memory.
var lows = func() (b [1024]float32) {
	for i := range b {
		b[i] = scriptLow
	}
	return b
}()

// fill writes the logits that follow the last token.
func (s *scriptState) fill(logits []float32) {
	for rest := logits; len(rest) > 0; {
		rest = rest[copy(rest, lows[:]):]
	}
	token := s.e.stop
	if m := s.match[len(s.match)-1]; int(m) < len(s.e.text) {
		token = s.e.text[m]
	}
	logits[token] = scriptTop
	next := token
	for i := range min(scriptNext, len(logits)-1) {
		if next++; int(next) == len(logits) {
			next = 0
		}
		logits[next] = scriptFirst - scriptStep*float32(i)
	}
}

func (s *scriptState) Truncate(n int) {
	if n < 0 || n > len(s.match) {
		panic(fmt.Sprintf("silicon: truncating %d tokens to %d", len(s.match), n))
	}
	s.match = s.match[:n]
}

func (s *scriptState) Fork() State {
	return &scriptState{e: s.e, match: append([]uint32(nil), s.match...)}
}

func (s *scriptState) Zero() {
	clear(s.match[:cap(s.match)])
	clear(s.logits)
	s.match = s.match[:0]
}
