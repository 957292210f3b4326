// Package output is the one printer behind every command: a table for
// people, a JSON object for programs.
package output

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"
)

// Format is how results are printed.
type Format string

// Formats.
const (
	Table Format = "table"
	JSON  Format = "json"
)

// Missing stands for a value that is not there, for people; JSON has null.
const Missing = "-"

// Printer prints results.
type Printer struct {
	W      io.Writer
	Format Format
}

// View is a result as people see it.
type View interface{ Table(t *Rows) }

// Print prints v: its table, or v itself as one JSON object.
func (p Printer) Print(v View) error {
	if p.Format == JSON {
		return p.Object(v)
	}
	t := &Rows{}
	v.Table(t)
	_, err := io.WriteString(p.W, t.String())
	return err
}

// Object prints v as one JSON object, whatever the format.
func (p Printer) Object(v any) error {
	e := json.NewEncoder(p.W)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// Rows collects a table: blocks of aligned rows, and plain lines.
type Rows struct{ blocks []block }

type block struct {
	rows [][]string
	line string
}

// Row adds a row; cells of consecutive rows are aligned.
func (r *Rows) Row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		if row[i] = Clean(fmt.Sprint(c)); row[i] == "" {
			row[i] = Missing
		}
	}
	if n := len(r.blocks); n > 0 && r.blocks[n-1].rows != nil {
		r.blocks[n-1].rows = append(r.blocks[n-1].rows, row)
		return
	}
	r.blocks = append(r.blocks, block{rows: [][]string{row}})
}

// Line adds a line of text of its own; alignment starts anew after it.
func (r *Rows) Line(format string, args ...any) {
	r.blocks = append(r.blocks, block{line: Clean(fmt.Sprintf(format, args...))})
}

// Text adds prose, wrapped.
func (r *Rows) Text(s string) {
	for _, line := range Wrap(s, 78) {
		r.Line("%s", line)
	}
}

// Wrap breaks prose into lines of at most n characters, where its words let
// it.
func Wrap(s string, n int) []string {
	var lines []string
	line := ""
	for _, w := range strings.Fields(s) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(w) > n {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	return append(lines, line)
}

// String is the table as it is printed.
func (r *Rows) String() string {
	var b strings.Builder
	for _, k := range r.blocks {
		if k.rows == nil {
			b.WriteString(k.line + "\n")
			continue
		}
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, row := range k.rows {
			fmt.Fprintln(w, strings.Join(row, "\t")) // a Builder does not fail
		}
		w.Flush()
	}
	return b.String()
}

// Clean makes text from a file or a card safe for a terminal: characters that
// could drive it become '?'.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
}
