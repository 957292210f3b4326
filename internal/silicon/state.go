package silicon

import "fmt"

const (
	// kvChunk is the number of positions the KV grows by: a multiple of the
	// lanes of every sum over positions.
	kvChunk = 64
	// maxBatch is the most tokens that go through the layers together.
	maxBatch = 32
	// maxKV bounds the keys of one position, so that a file of many tiny
	// heads cannot ask for far more KV than it has weights.
	maxKV = 1 << 20
)

// llamaState is one session's KV. A chunk holds kvChunk positions of every
// layer and head: for each layer, for each KV head, the keys and then the
// values, so that what one head of attention reads is contiguous.
type llamaState struct {
	e      *llama
	n      int
	chunks [][]float32
	s      scratch
}

func (e *llama) NewState() State { return &llamaState{e: e} }

// block is where in a chunk the keys of (layer, kvHead) start; the values
// follow them.
func (e *llama) block(layer, kvHead int) int {
	return (layer*e.kvHeads + kvHead) * 2 * kvChunk * e.kvStride
}

func (s *llamaState) Len() int { return s.n }

func (s *llamaState) check(tokens []uint32) error {
	if len(tokens) > s.e.context-s.n {
		return fmt.Errorf("silicon: %d tokens after %d do not fit a context of %d", len(tokens), s.n, s.e.context)
	}
	for i, t := range tokens {
		if uint64(t) >= uint64(s.e.vocab) {
			return fmt.Errorf("silicon: token %d of %d has id %d, the vocabulary ends at %d", i, len(tokens), t, s.e.vocab-1)
		}
	}
	return nil
}

// grow makes room for n positions in all.
func (s *llamaState) grow(n int) {
	for len(s.chunks)*kvChunk < n {
		s.chunks = append(s.chunks, make([]float32, s.e.block(len(s.e.layers), 0)))
	}
}

func (s *llamaState) Append(tokens []uint32, each func(i int, logits []float32)) error {
	if err := s.check(tokens); err != nil {
		return err
	}
	s.grow(s.n + len(tokens))
	for at := 0; at < len(tokens); at += maxBatch {
		batch := tokens[at:min(at+maxBatch, len(tokens))]
		if each == nil {
			s.forward(batch, len(batch))
			continue
		}
		s.forward(batch, 0)
		for i := range batch {
			each(at+i, s.logits(i, nil))
		}
	}
	return nil
}

func (s *llamaState) AppendLast(tokens []uint32, logits []float32) error {
	if len(tokens) == 0 {
		return fmt.Errorf("silicon: no tokens, so no last one to give logits for")
	}
	if len(logits) != s.e.vocab {
		return fmt.Errorf("silicon: room for %d logits, the vocabulary has %d", len(logits), s.e.vocab)
	}
	if err := s.check(tokens); err != nil {
		return err
	}
	s.grow(s.n + len(tokens))
	for len(tokens) > maxBatch {
		s.forward(tokens[:maxBatch], maxBatch)
		tokens = tokens[maxBatch:]
	}
	s.forward(tokens, len(tokens)-1)
	s.logits(len(tokens)-1, logits)
	return nil
}

// Truncate keeps the memory: what lies past Len is never read before it is
// written again.
func (s *llamaState) Truncate(n int) {
	if n < 0 || n > s.n {
		panic(fmt.Sprintf("silicon: truncating %d tokens to %d", s.n, n))
	}
	s.n = n
}

// Fork copies the positions in use and nothing else: what Truncate dropped
// does not reach the copy.
func (s *llamaState) Fork() State {
	f := &llamaState{e: s.e, n: s.n}
	f.grow(s.n)
	row := s.e.kvStride
	for c, dst := range f.chunks {
		used := min(kvChunk, s.n-c*kvChunk) * row
		for at := 0; at < len(dst); at += kvChunk * row {
			copy(dst[at:at+used], s.chunks[c][at:])
		}
	}
	return f
}

// Zero also overwrites the scratch memory, which holds the last tokens'
// activations, and keeps both for the next user of this state.
func (s *llamaState) Zero() {
	for _, c := range s.chunks {
		clear(c)
	}
	s.s.zero()
	s.n = 0
}
