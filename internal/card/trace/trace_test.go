package trace

import (
	"bytes"
	"strings"
	"testing"
)

func TestReadRefuses(t *testing.T) {
	for _, c := range []string{
		"hc1trace 2 seed=0\n", "nonsense\n", "hc1trace 1 seed=0\n1 MW 0:14 4 1\n", "hc1trace 1 seed=0\nx MW 0:14 4 1 -\n",
		"hc1trace 1 seed=0\n1 XX 0 4 1 -\n", "hc1trace 1 seed=0\n1 MW 14 4 1 -\n", "hc1trace 1 seed=0\n1 DR zz 4 1 -\n",
		"hc1trace 1 seed=0\n1 DR 0 -4 1 -\n", "hc1trace 1 seed=0\n1 DR 0 4 g -\n", "hc1trace 1 seed=0\n1 MW 900:14 4 1 -\n",
	} {
		if _, err := ReadTrace(strings.NewReader(c)); err == nil {
			t.Errorf("%q: accepted", c)
		}
	}
}

func FuzzReadTrace(f *testing.F) {
	f.Add([]byte("hc1trace 1 seed=7\n0 MW 0:14 4 460001 -\n5 DR 1000 40 h5d1f -\n6 IRQ 3 0 1 -\n7 NOTE 0 0 0 a b c\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		a, err := ReadTrace(bytes.NewReader(in))
		if err != nil {
			return
		}
		write := func(a *Trace) []byte {
			var b bytes.Buffer
			w := NewWriter(&b, a.Seed, false)
			for _, e := range a.Entries {
				w.Trace(e)
			}
			w.Flush()
			return b.Bytes()
		}
		one := write(a)
		b, err := ReadTrace(bytes.NewReader(one))
		if err != nil {
			t.Fatalf("%v\n%s", err, one)
		}
		if !bytes.Equal(one, write(b)) {
			t.Fatalf("%q", one)
		}
	})
}
