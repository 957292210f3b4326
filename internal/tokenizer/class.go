package tokenizer

import (
	"sync"
	"unicode"
	"unicode/utf8"
)

// class is what the split rules ask of a character. Everything that is no letter, number or white space is a symbol: marks,
// punctuation, control characters, unassigned code points, and each byte that is not valid UTF-8.
type class uint8

const (
	symbol class = 0
	letter class = 1 << iota
	number
	space
	breaking // '\r' and '\n', which are white space as well
)

// classTable answers from two small arrays: asking package unicode for each character would cost more than the merging does.
type classTable struct {
	ascii [utf8.RuneSelf]class
	pages [(unicode.MaxRune + 1) >> 8]*[256]class // nil: all symbols
}

// sharedClasses is built on first use, so that a program that never tokenizes does not pay for it.
var sharedClasses = sync.OnceValue(func() *classTable {
	c := new(classTable)
	c.fill(unicode.L, letter)
	c.fill(unicode.N, number)
	c.fill(unicode.White_Space, space)
	c.set('\r', space|breaking)
	c.set('\n', space|breaking)
	copy(c.ascii[:], c.pages[0][:])
	return c
})

func (c *classTable) fill(table *unicode.RangeTable, cl class) {
	for _, r := range table.R16 {
		for x := rune(r.Lo); x <= rune(r.Hi); x += rune(r.Stride) {
			c.set(x, cl)
		}
	}
	for _, r := range table.R32 {
		for x := rune(r.Lo); x <= rune(r.Hi); x += rune(r.Stride) {
			c.set(x, cl)
		}
	}
}

func (c *classTable) set(r rune, cl class) {
	if c.pages[r>>8] == nil {
		c.pages[r>>8] = new([256]class)
	}
	c.pages[r>>8][r&0xff] = cl
}

// at is the class of the character at s[i] and its length in bytes.
func (c *classTable) at(s string, i int) (class, int) {
	if b := s[i]; b < utf8.RuneSelf {
		return c.ascii[b], 1
	}
	return c.wide(s[i:])
}

func (c *classTable) wide(s string) (class, int) {
	r, n := utf8.DecodeRuneInString(s) // an invalid byte is U+FFFD of length 1, and U+FFFD is a symbol
	page := c.pages[r>>8]
	if page == nil {
		return symbol, n
	}
	return page[r&0xff], n
}

// run is the end of the longest stretch of one class that begins at i.
func (c *classTable) run(s string, i int, want class) int {
	for i < len(s) {
		cl, n := c.at(s, i)
		if cl != want {
			break
		}
		i += n
	}
	return i
}
