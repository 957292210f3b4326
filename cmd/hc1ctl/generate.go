package main

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/hc1-toolkit/hc1/driver"
)

// answer is what a prompt came to.
type answer struct {
	tokens []uint32 // sampled ids, without the stop id that ended it
	ended  []uint32 // that stop id, if any
	probs  []driver.Token
	text   string
	reason string // stop, length, context, cancelled
	result driver.Result
}

// generate streams one answer: show is called with every piece of text as
// soon as it is certain. An answer that a stop string or the caller cut short
// is not an error.
func (c *attached) generate(ctx context.Context, s *driver.Session, prompt []uint32, p driver.Params, stops []string, show func(string) error) (answer, error) {
	var a answer
	st, err := s.Generate(ctx, prompt, p)
	if err != nil {
		return a, err
	}
	caps := c.Capabilities()
	isStop := func(id uint32) bool {
		return slices.Contains(p.Stop, id) || !p.IgnoreEOS && slices.Contains(caps.Stop[:caps.NStop], id)
	}
	dec := c.via.Vocab.NewDecoder()
	stop := stopper{stops: stops}
	put := func(text string) error {
		if text == "" {
			return nil
		}
		a.text += text
		return show(text)
	}
	var raw []byte
	buf := make([]driver.Token, 64)
	found := false
	for !found {
		var n int
		if n, err = st.Next(buf); err != nil {
			break
		}
		raw = raw[:0]
		for _, tok := range buf[:n] {
			if isStop(tok.ID) {
				a.ended = []uint32{tok.ID}
				break // it is the last one
			}
			a.tokens = append(a.tokens, tok.ID)
			if p.LogProbs {
				a.probs = append(a.probs, tok)
			}
			raw = dec.Decode(raw, tok.ID)
		}
		var text string
		text, found = stop.feed(string(raw))
		if err = put(text); err != nil {
			break
		}
	}
	if found {
		err = st.Close()
		a.reason = driver.ReasonStop.String()
	} else {
		if err != nil && err != io.EOF {
			err = errors.Join(err, st.Close())
		}
		if text, _ := stop.feed(string(dec.Flush(nil))); put(text+stop.rest()) != nil && err == io.EOF {
			err = io.ErrClosedPipe
		}
		a.reason = st.Result().Reason.String()
	}
	a.result = st.Result()
	if err == io.EOF {
		err = nil
	}
	return a, err
}
