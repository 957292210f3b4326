package secondreading

import (
	"fmt"
	"math"
	"math/bits"
	"os"
	"strings"
	"testing"
)

// weight is the table of Annex A, from its formula.
var weight = func() (w [257]uint64) {
	for i := range w {
		w[i] = uint64(math.Round(math.Ldexp(math.Exp2(-float64(i)/256), 28)))
	}
	return w
}()

// philox is word 0..3 of Philox4x32-10, section 16.
func philox(x [4]uint32, k [2]uint32) [4]uint32 {
	for range 10 {
		h0, l0 := bits.Mul32(0xD2511F53, x[0])
		h1, l1 := bits.Mul32(0xCD9E8D57, x[2])
		x = [4]uint32{h1 ^ x[1] ^ k[0], l1, h0 ^ x[3] ^ k[1], l0}
		k[0] += 0x9E3779B9
		k[1] += 0xBB67AE85
	}
	return x
}

// sample is the sampler of section 16: logits best first, index of the one taken.
func sample(l []float32, invTemp, topP uint32, seed uint64, choice uint16, pos, draw uint32) int {
	const most = 1<<31 - 1
	w := make([]uint64, len(l))
	var sum uint64
	for i := range l {
		if math.IsInf(float64(l[i]), -1) {
			continue
		}
		d := math.Floor(float64(l[0]-l[i]) * 65536)
		D := uint64(most)
		if d < most {
			D = uint64(d)
		}
		E := min(D*uint64(invTemp)>>16, most)
		Y := E * 94548 >> 16
		n, f := Y>>16, Y&0xFFFF
		a, b := weight[f>>8], weight[f>>8+1]
		if n <= 31 {
			w[i] = (a - (a-b)*(f&0xFF)>>8) >> n
		}
		sum += w[i]
	}
	var c uint64
	kept := 0
	for kept < len(w) {
		c += w[kept]
		kept++
		if c*65536 >= sum*uint64(topP) {
			break
		}
	}
	r := philox([4]uint32{pos, draw, uint32(choice), 0}, [2]uint32{uint32(seed), uint32(seed >> 32)})[0]
	t := uint64(r) * c >> 32
	var run uint64
	for i := range kept {
		if run += w[i]; run > t {
			return i
		}
	}
	return -1
}

// table returns the rows of the document's table of that name.
func table(t *testing.T, name string) (rows [][]string) {
	t.Helper()
	b, err := os.ReadFile("../../docs/hci.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(b), "<!-- hci:"+name+" -->\n")
	if !ok {
		t.Fatalf("no table %s", name)
	}
	for i, line := range strings.Split(after, "\n") {
		if !strings.HasPrefix(line, "|") {
			return rows
		}
		if i >= 2 {
			cells := strings.Split(strings.Trim(line, "|"), "|")
			for j := range cells {
				cells[j] = strings.TrimSpace(cells[j])
			}
			rows = append(rows, cells)
		}
	}
	return rows
}

func scan(t *testing.T, s, format string, into ...any) {
	t.Helper()
	if _, err := fmt.Sscanf(s, format, into...); err != nil {
		t.Fatalf("%q: %v", s, err)
	}
}

// TestAnnexes holds the text of sections 16 and 24 against Annexes A and B.
func TestAnnexes(t *testing.T) {
	if c := crc16(0, []byte("123456789")); c != 0xD0DB {
		t.Errorf("CRC-16 is %04X", c)
	}
	if c := crc32c([]byte("123456789")); c != 0xE3069283 {
		t.Errorf("CRC32C is %08X", c)
	}
	seen := 0
	for _, row := range table(t, "weights") {
		var base int
		scan(t, row[0], "%d", &base)
		for i, cell := range row[1:] {
			if cell == "" {
				continue
			}
			var v uint64
			scan(t, cell, "%d", &v)
			if v != weight[base+i] {
				t.Errorf("W[%d] is %d, the formula gives %d", base+i, v, weight[base+i])
			}
			seen++
		}
	}
	if seen != 257 {
		t.Errorf("%d weights", seen)
	}
	for _, row := range table(t, "philox") {
		var x, want [4]uint32
		var k [2]uint32
		scan(t, row[0], "%x %x %x %x", &x[0], &x[1], &x[2], &x[3])
		scan(t, row[1], "%x %x", &k[0], &k[1])
		scan(t, row[2], "%x %x %x %x", &want[0], &want[1], &want[2], &want[3])
		if got := philox(x, k); got != want {
			t.Errorf("philox(%08X, %08X) = %08X, want %08X", x, k, got, want)
		}
	}
	for _, row := range table(t, "vectors") {
		var l []float32
		for _, s := range strings.Fields(row[0]) {
			var b uint32
			scan(t, s, "%x", &b)
			l = append(l, math.Float32frombits(b))
		}
		var k, want int
		var invTemp, topP, pos, draw uint32
		var seed uint64
		var choice uint16
		scan(t, strings.Join(row[1:], " "), "%d %d %d 0x%x %d %d %d %d", &k, &invTemp, &topP, &seed, &choice, &pos, &draw, &want)
		if got := sample(l[:k], invTemp, topP, seed, choice, pos, draw); got != want {
			t.Errorf("%v: %d", row, got)
		}
	}
}
