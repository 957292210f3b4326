package sampler

import (
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
)

// documentTable returns the cells of the table after a marker of docs/hci.md.
func documentTable(t *testing.T, name string) (rows [][]string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/hci.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(text), "<!-- hci:"+name+" -->\n")
	if !ok {
		t.Fatalf("docs/hci.md has no table %s", name)
	}
	for line := range strings.Lines(after) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows[2:] // heading and rule
}

func words(t *testing.T, s string) (out []uint32) {
	t.Helper()
	for _, f := range strings.Fields(s) {
		v, err := strconv.ParseUint(f, 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, uint32(v))
	}
	return out
}

func TestDocumentPhilox(t *testing.T) {
	rows := documentTable(t, "philox")
	if len(rows) < 3 {
		t.Fatalf("%d vectors in Annex B", len(rows))
	}
	for _, r := range rows {
		c, k, want := [4]uint32(words(t, r[0])), [2]uint32(words(t, r[1])), [4]uint32(words(t, r[2]))
		if got := Philox(c, k); got != want {
			t.Errorf("%s, %s: %08X, Annex B has %s", r[0], r[1], got, r[2])
		}
		if got := slowPhilox(c, k); got != want {
			t.Errorf("reference: %s, %s: %08X, Annex B has %s", r[0], r[1], got, r[2])
		}
	}
}

func TestDocumentVectors(t *testing.T) {
	rows := documentTable(t, "vectors")
	if len(rows) < 16 {
		t.Fatalf("%d vectors in Annex B", len(rows))
	}
	seen := map[int]bool{}
	for i, r := range rows {
		var logits []float32
		for _, w := range words(t, r[0]) {
			logits = append(logits, math.Float32frombits(w))
		}
		n := make([]uint64, 9)
		for j := 1; j < 9; j++ {
			v, err := strconv.ParseUint(r[j], 0, 64)
			if err != nil {
				t.Fatal(err)
			}
			n[j] = v
		}
		p := Params{K: int(n[1]), InvTemp: uint32(n[2]), TopP: uint32(n[3]), Seed: n[4], Choice: uint16(n[5])}
		if got := Pick(logits, p, uint32(n[6]), uint32(n[7])); got != int(n[8]) {
			t.Errorf("vector %d: index %d, Annex B has %d", i, got, n[8])
		}
		if got := slowPick(logits, p, uint32(n[6]), uint32(n[7])); got != int(n[8]) {
			t.Errorf("reference: vector %d: index %d, Annex B has %d", i, got, n[8])
		}
		seen[int(n[8])] = true
	}
	if len(seen) < 5 {
		t.Errorf("the vectors take only the indexes %v", seen)
	}
}
