package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

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
	first  time.Duration // from the call to the first token
	wall   time.Duration // to the last
}

// generate streams one answer: show is called with every piece of text as
// soon as it is certain. An answer that a stop string cut short is not an
// error; one that ctx cut short is why ctx ended.
func (c *attached) generate(ctx context.Context, s *driver.Session, prompt []uint32, p driver.Params, stops []string, show func(string) error) (answer, error) {
	var a answer
	caps := c.Capabilities()
	if n := len(prompt); n >= int(caps.Context) {
		return a, tag(errTooLong, fmt.Errorf("a prompt of %d tokens leaves no room in the context of %d", n, caps.Context))
	}
	began := time.Now()
	st, err := s.Generate(ctx, prompt, p)
	if err != nil {
		return a, ended(ctx, err)
	}
	isStop := func(id uint32) bool {
		return slices.Contains(p.Stop, id) || !p.IgnoreEOS && slices.Contains(caps.Stop[:caps.NStop], id)
	}
	dec := c.via.Vocab.NewDecoder()
	stop := stopper{stops: stops}
	var text strings.Builder
	put := func(piece string) error {
		if piece == "" {
			return nil
		}
		text.WriteString(piece)
		return show(piece)
	}
	buf := make([]driver.Token, 64)
	var raw []byte
	found := false
	for !found && err == nil {
		var n int
		if n, err = st.Next(buf); err != nil {
			break
		}
		if a.wall = time.Since(began); a.first == 0 {
			a.first = a.wall
		}
		// Token by token: where a stop string ends must not depend on how
		// many came at once.
		batch := ""
		for _, tok := range buf[:n] {
			if isStop(tok.ID) {
				a.ended = []uint32{tok.ID}
				break // it is the last one
			}
			a.tokens = append(a.tokens, tok.ID)
			if p.LogProbs {
				a.probs = append(a.probs, tok)
			}
			raw = dec.Decode(raw[:0], tok.ID)
			var piece string
			piece, found = stop.feed(string(raw))
			batch += piece
			if found {
				break
			}
		}
		err = put(batch)
	}
	switch {
	case found && err == nil:
		err = st.Close()
		a.reason = driver.ReasonStop.String()
	case errors.Is(err, io.EOF):
		err = nil
		fallthrough
	default:
		// What was held back belongs to the text, however it ends. The
		// stream's own error says more than that of a reader who left.
		tail, _ := stop.feed(string(dec.Flush(nil)))
		err = errors.Join(err, put(tail+stop.rest()), st.Close())
		a.reason = st.Result().Reason.String()
	}
	a.result, a.text = st.Result(), text.String()
	if err != nil && !errors.Is(err, driver.ErrCancelled) {
		err = fmt.Errorf("after %d tokens: %w", len(a.tokens), err)
	}
	return a, ended(ctx, err)
}
