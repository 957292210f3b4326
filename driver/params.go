package driver

import (
	"fmt"
	"math"
	"slices"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// Params is how to decode. The zero value, but for MaxTokens, samples at
// temperature 0: greedily.
type Params struct {
	MaxTokens   int     // most tokens to sample; 0: what the context still holds
	MinTokens   int     // stop ids are forbidden before so many
	Temperature float64 // 0 is greedy
	TopK        int     // 1..CANDIDATES; 0: CANDIDATES
	TopP        float64 // 0 or 1: off
	Seed        uint64
	Choice      uint16 // which of n answers this is: part of the sampler's key
	IgnoreEOS   bool   // the model's own stop ids do not stop
	Stop        []uint32
	LogProbs    bool // fill Token.LogProb and Token.Candidates

	Bias       map[uint32]float32 // added to logits; needs the BIAS capability
	Presence   float32            // penalties need the PENALTIES capability
	Frequency  float32
	Repetition float32 // 0: off

	// Mask, if set, is called once per position before it is sampled, with
	// the token before it (none for the first position: ok is false), and
	// sets the bits of allowed ids; it returns true to allow all instead.
	// bits has ceil(VOCAB/32) words, zeroed. It runs while the card works on
	// the forward pass; taking longer stalls the card. Needs MASK.
	Mask func(position uint32, last Token, ok bool, bits []uint32) (all bool)
	// Choose, if set, picks the index among a token's candidates: stepped
	// decode. Needs STEPPED.
	Choose func(t *Token) int
}

// maxInvTemp caps 1/temperature: beyond it sampling is greedy anyway.
const maxInvTemp = 1 << 31

// encode fills GENERATE and, if the parameters need one, the parameter block
// in the lane's memory.
func (s *Session) encode(e *hci.SQE, p *Params, epoch uint16) error {
	c, caps := s.c, &s.c.caps
	room := int(caps.Context) - s.len(e)
	n := p.MaxTokens
	switch {
	case n < 0:
		return fmt.Errorf("max tokens %d: %w", n, ErrInvalid)
	case n == 0 || n > room:
		n = int(caps.Context) // ends with reason CONTEXT
	}
	e.Put(hci.GenerateMaxTokens, uint64(n))
	e.Put(hci.GenerateEpoch, uint64(epoch))
	e.Put(hci.GenerateChoice, uint64(p.Choice))
	if p.TopK < 0 || p.TopK > int(caps.Candidates) {
		return fmt.Errorf("top-k %d: the card's limit is %d: %w", p.TopK, caps.Candidates, ErrInvalid)
	}
	e.Put(hci.GenerateTopK, uint64(p.TopK))
	switch {
	case math.IsNaN(p.Temperature) || p.Temperature < 0 || math.IsInf(p.Temperature, 0):
		return fmt.Errorf("temperature %v: %w", p.Temperature, ErrInvalid)
	case math.IsNaN(p.TopP) || p.TopP < 0 || p.TopP > 1:
		return fmt.Errorf("top-p %v: %w", p.TopP, ErrInvalid)
	case p.Temperature == 0:
		e.Put(hci.GenerateGreedy, 1)
		e.Put(hci.GenerateTopP, 1<<16)
	default:
		e.Put(hci.GenerateInvTemp, uint64(min(math.Round(65536/p.Temperature), maxInvTemp)))
		top := p.TopP
		if top == 0 {
			top = 1
		}
		e.Put(hci.GenerateTopP, uint64(max(math.Round(top*65536), 1)))
		e.Put(hci.GenerateSeedLo, p.Seed&math.MaxUint32)
		e.Put(hci.GenerateSeedHi, p.Seed>>32)
	}
	put := func(f hci.CommandField, on bool) {
		if on {
			e.Put(f, 1)
		}
	}
	put(hci.GenerateLogprobs, p.LogProbs)
	put(hci.GenerateIgnoreEos, p.IgnoreEOS)
	put(hci.GenerateStepped, p.Choose != nil)
	put(hci.GenerateMask, p.Mask != nil)
	for _, f := range []struct {
		used bool
		bit  uint32
		name string
	}{
		{p.Choose != nil, hci.FeatureStepped, "stepped decode"},
		{p.Choose == nil, hci.FeatureFreeRun, "free-run decode"},
		{p.Mask != nil, hci.FeatureMask, "masks"},
		{len(p.Bias) > 0, hci.FeatureBias, "bias"},
		{p.Presence != 0 || p.Frequency != 0 || p.Repetition != 0, hci.FeaturePenalties, "penalties"},
	} {
		if f.used && caps.Features&f.bit == 0 {
			return fmt.Errorf("%s: %w", f.name, ErrUnsupported)
		}
	}
	if p.Mask != nil && len(s.l.masks.b) == 0 {
		return fmt.Errorf("card has %d mask slots, %d are needed: %w", caps.MaskSlots, maskSlots, ErrUnsupported)
	}
	if p.MinTokens == 0 && len(p.Stop) == 0 && len(p.Bias) == 0 && p.Mask == nil &&
		p.Presence == 0 && p.Frequency == 0 && p.Repetition == 0 {
		return nil
	}
	return c.encodeBlock(e, p, s.l)
}

// len is kv_len when GENERATE starts: what is there plus what PREFILL, if
// one is queued before it, will have appended.
func (s *Session) len(e *hci.SQE) int { return int(e.DW3) }

// encodeBlock writes the parameter block (section 15) and the bias table.
func (c *Card) encodeBlock(e *hci.SQE, p *Params, l *lane) error {
	caps := &c.caps
	b := hci.Params{
		MinTokens: uint32(max(p.MinTokens, 0)),
		Presence:  p.Presence, Frequency: p.Frequency, Repetition: p.Repetition,
	}
	if len(p.Stop) > int(caps.MaxStop) {
		return fmt.Errorf("%d stop ids: the card's limit is %d: %w", len(p.Stop), caps.MaxStop, ErrInvalid)
	}
	b.NStop = uint8(copy(b.Stop[:], p.Stop))
	if n := len(p.Bias); n > 0 {
		if 8*n > len(l.bias.b) {
			return fmt.Errorf("%d bias entries: the limit is %d: %w", n, len(l.bias.b)/8, ErrInvalid)
		}
		ids := make([]uint32, 0, n)
		for id := range p.Bias {
			ids = append(ids, id)
		}
		slices.Sort(ids)
		w := words(l.bias.b)
		for i, id := range ids {
			w[2*i], w[2*i+1] = id, math.Float32bits(p.Bias[id])
		}
		b.BiasIOVA, b.BiasCount, b.BiasCRC = l.bias.iova, uint32(n), hci.CRC32C(l.bias.b[:8*n])
	}
	if p.Mask != nil {
		b.MaskIOVA, b.MaskSlots = l.masks.iova, maskSlots
	}
	raw := hci.Marshal(&b)
	b.CRC = hci.CRC32C(raw[:hci.ParamOffCRC])
	copy(l.host.b[paramsOff:], hci.Marshal(&b))
	e.PRP1 = l.host.iova + paramsOff
	return nil
}
