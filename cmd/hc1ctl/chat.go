package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/hc1-toolkit/hc1/driver"
	"github.com/hc1-toolkit/hc1/internal/tokenizer"
)

// chat holds a conversation. Its token ids are kept, so that each turn finds
// all before it in the card's KV.
func (a *app) chat(ctx context.Context, f runFlags) (err error) {
	p, err := f.params()
	if err != nil {
		return err
	}
	// Ctrl-C cancels the answer that is being given, or else ends the chat:
	// not the context that the card was opened with.
	ctx = context.WithoutCancel(ctx)
	c, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer c.close(&err)
	s, err := c.OpenSession(ctx, driver.SessionConfig{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	interrupt := make(chan os.Signal, 2)
	signal.Notify(interrupt, os.Interrupt)
	defer signal.Stop(interrupt)
	caps := c.Capabilities()
	fmt.Fprintf(a.err, "%s (%s silicon), context of %d tokens. /reset starts anew, Ctrl-D ends.\n",
		modelName(c), siliconName(c), caps.Context)

	lines, readErr := a.lines()
	var ids []uint32
	for {
		fmt.Fprint(a.err, "> ")
		var line string
		var ok bool
		select {
		case line, ok = <-lines:
		case <-interrupt:
		}
		if !ok {
			fmt.Fprintln(a.err)
			return *readErr
		}
		switch line = strings.TrimSpace(line); line {
		case "":
			continue
		case "/reset":
			ids = nil
			continue
		}
		turn, err := next(c.via.Vocab, ids, f.system, line)
		if err != nil {
			return fmt.Errorf("turn: %w: %w", driver.ErrInvalid, err)
		}
		if len(turn) >= int(caps.Context) {
			fmt.Fprintf(a.err, "the conversation has %d tokens, the context holds %d: /reset starts anew\n", len(turn), caps.Context)
			continue
		}
		ans, err := a.turn(ctx, c, s, turn, p, f, interrupt)
		if err != nil {
			return err
		}
		if f.stats {
			a.stats(f, ans)
		}
		ids = append(append(turn, ans.tokens...), ans.ended...)
		if len(ans.ended) == 0 { // cut short: close the assistant's turn
			if id, ok := c.via.Vocab.Special("<|eot_id|>"); ok {
				ids = append(ids, id)
			}
		}
	}
}

// turn streams one answer; Ctrl-C cancels it.
func (a *app) turn(ctx context.Context, c *attached, s *driver.Session, ids []uint32, p driver.Params, f runFlags, interrupt <-chan os.Signal) (answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-interrupt:
			cancel()
		case <-ctx.Done():
		}
	}()
	ans, err := c.generate(ctx, s, ids, p, f.stops, func(text string) error {
		_, err := io.WriteString(a.out, text)
		return err
	})
	fmt.Fprintln(a.out)
	if errors.Is(err, driver.ErrCancelled) {
		fmt.Fprintln(a.err, "(cancelled)")
		err = nil
	}
	return ans, err
}

// next is the conversation so far with one more turn of the user's.
func next(v *tokenizer.Tokenizer, ids []uint32, system, line string) ([]uint32, error) {
	var turns []tokenizer.Turn
	if len(ids) == 0 && system != "" {
		turns = append(turns, tokenizer.Turn{Role: "system", Content: system})
	}
	more, err := v.Chat(nil, append(turns, tokenizer.Turn{Role: "user", Content: line}), true)
	if err != nil {
		return nil, err
	}
	if bos, ok := v.BOS(); ok && len(ids) > 0 && len(more) > 0 && more[0] == bos {
		more = more[1:]
	}
	return append(ids[:len(ids):len(ids)], more...), nil
}

// lines reads standard input on a goroutine of its own, so that a signal can
// be noticed at the prompt. The channel closes at its end; the error is valid
// then.
func (a *app) lines() (<-chan string, *error) {
	ch, err := make(chan string), new(error)
	go func() {
		defer close(ch)
		sc := bufio.NewScanner(a.in)
		sc.Buffer(nil, maxPrompt)
		for sc.Scan() {
			ch <- sc.Text()
		}
		*err = sc.Err()
	}()
	return ch, err
}
