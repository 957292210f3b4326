// Package silicon is what computes tokens inside a card: the part that, on
// an HC1, is etched. A card model owns one Engine and one State per session
// and knows nothing of how the logits come about.
//
// The contract every Engine keeps ("bit-exact tokens"): the logits at a
// position depend only on the engine (model, adapter, numerics id) and on
// the token ids up to that position. How the prompt was chunked, whether a
// token was prefilled or decoded, and whether the State was forked or
// truncated on the way change no bit of them.
package silicon

// Info describes an engine. The card copies it into its capability page.
type Info struct {
	Kind       string   // "llama" or "script": every figure says which silicon made the tokens
	Name       string   // human name of the model, e.g. "hc1-tales-0.3m"
	ModelID    [32]byte // SHA-256 of the model's bytes
	NumericsID uint32   // identifies the arithmetic; equal ids and ModelIDs mean equal bits
	Vocab      int      // token ids are 0..Vocab-1
	Context    int      // most tokens a State can hold
	Params     int64    // weights, for humans
	BOS        uint32   // begin-of-text id; NoToken when the model has none
	Stops      []uint32 // ids that end a generation (EOS, EOT), at most 16
}

// NoToken stands for "no such token" in Info.BOS.
const NoToken = ^uint32(0)

// Engine is an immutable model; it may serve many States, from many
// goroutines, at once.
type Engine interface {
	Info() Info
	// NewState returns an empty KV state able to grow to Info().Context.
	// Memory grows with use, not with the context limit.
	NewState() State
	// SelfTest recomputes a checksum of the weights and a short reference
	// forward pass and compares both with what was seen at load.
	SelfTest() error
}

// State is the KV of one session. One goroutine uses it at a time.
type State interface {
	// Len is the number of tokens in KV.
	Len() int
	// Append runs tokens through the model at positions Len()... and, where
	// each is not nil, calls each(i, logits) after token i with the logits
	// that predict the token after it. logits is len Vocab and valid only
	// during the call. Where each is nil no logits are computed.
	// It fails, changing nothing, when a token is out of range or the
	// context would overflow.
	Append(tokens []uint32, each func(i int, logits []float32)) error
	// AppendLast is Append with logits computed for the last token only,
	// written to logits (len Vocab). It does not allocate once the state
	// has grown.
	AppendLast(tokens []uint32, logits []float32) error
	// Truncate drops all tokens from position n on. n <= Len().
	Truncate(n int)
	// Fork returns an independent copy.
	Fork() State
	// Zero overwrites the KV with zeros and empties it.
	Zero()
}
