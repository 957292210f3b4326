package output

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

type view struct {
	Schema string  `json:"schema"`
	Watts  float64 `json:"power_w"`
	Fan    *int    `json:"fan_rpm"`
}

func (v view) Table(t *Rows) {
	t.Row("NAME", "VALUE")
	t.Row("power", v.Watts)
	t.Row("fan", "")
	t.Line("a line of \x1b[31mits own")
	t.Row("x", "y")
}

func TestPrint(t *testing.T) {
	var b bytes.Buffer
	if err := (Printer{W: &b}).Print(view{Watts: 12.5}); err != nil {
		t.Fatal(err)
	}
	if want := "NAME   VALUE\npower  12.5\nfan    -\na line of ?[31mits own\nx  y\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
	b.Reset()
	if err := (Printer{W: &b, Format: JSON}).Print(view{"hc1.x.y/1", 12.5, nil}); err != nil {
		t.Fatal(err)
	}
	if want := "{\n  \"schema\": \"hc1.x.y/1\",\n  \"power_w\": 12.5,\n  \"fan_rpm\": null\n}\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

func TestWrap(t *testing.T) {
	text := strings.Repeat("naïve café words ", 20)
	for _, n := range []int{1, 10, 78} {
		lines := Wrap(text, n)
		for _, l := range lines {
			if len([]rune(l)) > n && strings.Contains(l, " ") {
				t.Errorf("width %d: %q", n, l)
			}
		}
		if !slices.Equal(strings.Fields(strings.Join(lines, " ")), strings.Fields(text)) {
			t.Errorf("width %d: words are lost", n)
		}
	}
	if got := Wrap("", 10); !slices.Equal(got, []string{""}) {
		t.Errorf("nothing: %q", got)
	}
}
