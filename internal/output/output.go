// Package output is the one printer behind every command: a table for
// people, a JSON object for programs.
package output

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
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
	return t.write(p.W)
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
		if row[i] = fmt.Sprint(c); row[i] == "" {
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
	r.blocks = append(r.blocks, block{line: fmt.Sprintf(format, args...)})
}

// Text adds prose wrapped to 78 columns.
func (r *Rows) Text(s string) {
	line := ""
	for _, w := range strings.Fields(s) {
		if line != "" && len(line)+1+len(w) > 78 {
			r.Line("%s", line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	r.Line("%s", line)
}

func (r *Rows) write(w io.Writer) error {
	for _, b := range r.blocks {
		if b.rows == nil {
			if _, err := fmt.Fprintln(w, b.line); err != nil {
				return err
			}
			continue
		}
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, row := range b.rows {
			if _, err := fmt.Fprintln(tw, strings.Join(row, "\t")); err != nil {
				return err
			}
		}
		if err := tw.Flush(); err != nil {
			return err
		}
	}
	return nil
}
