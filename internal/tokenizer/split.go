package tokenizer

import "fmt"

// Byte-level BPE never merges across the borders that its split rule draws. The rules are published as regular expressions with
// a lookahead, which package regexp does not have, and whose alternatives are tried in order. These scanners decide the same
// borders by looking at most one character ahead (and, for white space, at the run), so a text costs time linear in its length.

// splitFunc is the end of the word that begins at s[i]; i < len(s).
type splitFunc func(c *classTable, s string, i int) int

// splitterFor knows the names that GGUF files give to the rules.
func splitterFor(pre string) (split splitFunc, llama3 bool, err error) {
	switch pre {
	case "", "default", "gpt-2", "gpt2":
		return splitGPT2, false, nil
	case "llama-bpe", "llama3", "llama-v3":
		return splitLlama3, true, nil
	}
	return nil, false, fmt.Errorf("%w: pre-tokenizer %s; gpt-2 and llama-bpe are known", ErrUnsupported, shortQuote(pre))
}

// splitGPT2 follows
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
func splitGPT2(c *classTable, s string, i int) int {
	if s[i] == '\'' {
		if end := contraction(s, i, false); end > 0 {
			return end
		}
	}
	cl, n := c.at(s, i)
	if s[i] == ' ' && i+1 < len(s) {
		// One space joins whatever follows it, unless that is white space too.
		if after, m := c.at(s, i+1); after&space == 0 {
			return c.run(s, i+1+m, after)
		}
	}
	if cl&space == 0 {
		return c.run(s, i+n, cl)
	}
	last, end, _ := spaces(c, s, i)
	return leaveOne(s, i, last, end)
}

// splitLlama3 follows
//
//	(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
func splitLlama3(c *classTable, s string, i int) int {
	cl, n := c.at(s, i)
	switch cl {
	case letter:
		return c.run(s, i+n, letter)
	case number:
		end := i + n
		for range 2 {
			if end == len(s) {
				break
			}
			next, m := c.at(s, end)
			if next != number {
				break
			}
			end += m
		}
		return end
	}
	if s[i] == '\'' {
		if end := contraction(s, i, true); end > 0 {
			return end
		}
	}
	// What is left is a symbol or white space. One of either, but no line break, joins the letters that follow.
	if i+n < len(s) && cl&breaking == 0 {
		after, m := c.at(s, i+n)
		switch {
		case after == letter:
			return c.run(s, i+n+m, letter)
		case after == symbol && s[i] == ' ':
			return lineBreaks(s, c.run(s, i+n+m, symbol))
		}
	}
	if cl == symbol {
		return lineBreaks(s, c.run(s, i+n, symbol))
	}
	last, end, broken := spaces(c, s, i)
	if broken > 0 {
		return broken // \s*[\r\n]+ takes the run up to its last line break
	}
	return leaveOne(s, i, last, end)
}

// spaces measures the white space at i: where its last character begins, where it ends, and the end of its last line break,
// which is 0 when there is none.
func spaces(c *classTable, s string, i int) (last, end, broken int) {
	for end = i; end < len(s); {
		cl, n := c.at(s, end)
		if cl&space == 0 {
			break
		}
		last = end
		end += n
		if cl&breaking != 0 {
			broken = end
		}
	}
	return last, end, broken
}

// leaveOne is \s+(?!\S)|\s+ for white space at s[i:end]: at the end of the text all of it, before other text all but its last
// character, which may join that text; a single character stands alone.
func leaveOne(s string, i, last, end int) int {
	if end == len(s) || last == i {
		return end
	}
	return last
}

func lineBreaks(s string, i int) int {
	for i < len(s) && (s[i] == '\r' || s[i] == '\n') {
		i++
	}
	return i
}

// contraction is the end of one of 's 't 're 've 'm 'll 'd at s[i], which is an apostrophe, or 0. With fold, case does not matter,
// and the long s (U+017F) counts as an s, because Unicode folds it to one.
func contraction(s string, i int, fold bool) int {
	at := func(k int) byte {
		if i+k >= len(s) {
			return 0
		}
		b := s[i+k]
		if fold && 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		return b
	}
	switch at(1) {
	case 's', 't', 'm', 'd':
		return i + 2
	case 'r', 'v':
		if at(2) == 'e' {
			return i + 3
		}
	case 'l':
		if at(2) == 'l' {
			return i + 3
		}
	case "ſ"[0]:
		if fold && at(2) == "ſ"[1] {
			return i + 3
		}
	}
	return 0
}
