package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/hc1-toolkit/hc1/driver"
	"github.com/hc1-toolkit/hc1/internal/tokenizer"
)

// chat is a conversation. Its token ids are kept, so that each turn finds all
// before it in the card's KV.
type chat struct {
	*app
	card    *attached
	session *driver.Session
	flags   runFlags
	params  driver.Params
	ids     []uint32
	quit    bool // a signal other than Ctrl-C came
}

// chat holds a conversation. Ctrl-C cancels the answer that is being given,
// and at the prompt ends the conversation; SIGTERM ends it at once.
func (a *app) chat(ctx context.Context, f runFlags) (err error) {
	p, err := f.params()
	if err != nil {
		return err
	}
	c := &chat{app: a, flags: f, params: p}
	if c.card, err = a.speak(ctx); err != nil {
		return err
	}
	defer c.card.close(&err)
	if c.session, err = c.card.OpenSession(ctx, driver.SessionConfig{}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.session.Close()) }()
	fmt.Fprintf(a.err, "%s, %s silicon, context of %d tokens\n", modelName(c.card), siliconName(c.card), c.card.Capabilities().Context)
	if !c.card.via.Chat {
		fmt.Fprintln(a.err, "Not made for conversations: it goes on where your text ends.")
	}
	fmt.Fprintln(a.err, "/reset starts anew, Ctrl-C cancels an answer, Ctrl-D ends.")

	lines, readErr := a.lines()
	for {
		fmt.Fprint(a.err, "> ")
		select {
		case line, ok := <-lines:
			if !ok {
				fmt.Fprintln(a.err)
				return *readErr
			}
			if err := c.take(ctx, strings.TrimSpace(line)); err != nil {
				return err
			}
			if c.quit {
				return errInterrupted
			}
		case sig := <-a.signals:
			fmt.Fprintln(a.err)
			if sig != os.Interrupt {
				return errInterrupted
			}
			return nil
		}
	}
}

// take does what a line says. An error ends the conversation.
func (c *chat) take(ctx context.Context, line string) error {
	switch {
	case line == "":
		return nil
	case line == "/reset":
		c.ids = nil
		return nil
	case strings.HasPrefix(line, "/"):
		fmt.Fprintln(c.err, "/reset is the only command; Ctrl-D ends")
		return nil
	}
	turn, err := c.next(line)
	if err != nil {
		return fmt.Errorf("turn: %w: %w", driver.ErrInvalid, err)
	}
	ans, err := c.turn(ctx, turn)
	switch {
	case errors.Is(err, errTooLong):
		fmt.Fprintf(c.err, "(%v: /reset starts anew)\n", err)
		return nil
	case errors.Is(err, errDeadline), errors.Is(err, errInterrupted):
		fmt.Fprintf(c.err, "(%v)\n", err)
	case errors.Is(err, driver.ErrReset):
		// The card's KV is gone, but nothing else: the next turn brings the
		// whole conversation to a new session.
		fmt.Fprintf(c.err, "(%v: ask again)\n", err)
		if err := c.session.Close(); err != nil {
			return err
		}
		c.session, err = c.card.OpenSession(ctx, driver.SessionConfig{})
		return err
	case err != nil:
		return err
	}
	if c.flags.stats {
		c.stats(c.flags, ans)
	}
	c.ids = append(turn, ans.tokens...)
	v := c.card.via.Vocab
	if c.card.via.Chat { // what ended the turn, or would have
		if id, ok := v.Special("<|eot_id|>"); ok && len(ans.ended) == 0 {
			ans.ended = []uint32{id}
		} else if id, ok := v.EOS(); ok && len(ans.ended) == 0 {
			ans.ended = []uint32{id}
		}
		c.ids = append(c.ids, ans.ended...)
	}
	return nil
}

// turn streams one answer; Ctrl-C and --timeout cancel it.
func (c *chat) turn(ctx context.Context, ids []uint32) (answer, error) {
	ctx, stop := c.deadline(ctx)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	over, left := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(left)
		select {
		case sig := <-c.signals:
			c.quit = sig != os.Interrupt
			cancel(errInterrupted)
		case <-over:
		}
	}()
	ans, err := c.card.generate(ctx, c.session, ids, c.params, c.flags.stops, c.stream())
	close(over)
	<-left
	fmt.Fprintln(c.out)
	return ans, err
}

// next is the conversation so far with one more turn of the user's.
func (c *chat) next(line string) ([]uint32, error) {
	v, past := c.card.via.Vocab, c.ids[:len(c.ids):len(c.ids)]
	if !c.card.via.Chat {
		return v.Encode(past, line, tokenizer.Options{Begin: len(past) == 0}), nil
	}
	var turns []tokenizer.Turn
	if len(past) == 0 && c.flags.system != "" {
		turns = append(turns, tokenizer.Turn{Role: "system", Content: c.flags.system})
	}
	more, err := v.Chat(nil, append(turns, tokenizer.Turn{Role: "user", Content: line}), true)
	if err != nil {
		return nil, err
	}
	// Llama 2's form begins every question with <s>; the others begin only
	// the conversation.
	begin, ok := v.BOS()
	if s, pieces := v.Special("<s>"); ok && len(past) > 0 && len(more) > 0 && more[0] == begin && !(pieces && s == begin) {
		more = more[1:]
	}
	return append(past, more...), nil
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
