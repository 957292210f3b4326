package address

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Address
		err  string
	}{
		{in: "mock:", want: Address{Scheme: Mock, Clock: "realtime", Cards: 1}},
		{in: "mock:?clock=fast&seed=7&model=/m.gguf", want: Address{Scheme: Mock, Clock: "fast", Seed: 7, Model: "/m.gguf", Cards: 1}},
		{in: "mock:?model=script:a.txt&cards=10", want: Address{Scheme: Mock, Clock: "realtime", Script: "a.txt", Cards: 10}},
		{in: "mock:?fault=lost-irq%0.5;all-ones@mmio#3", want: Address{Scheme: Mock, Clock: "realtime", Cards: 1, Fault: "lost-irq%0.5;all-ones@mmio#3"}},
		{in: "mock:?model=a%26b.gguf", want: Address{Scheme: Mock, Clock: "realtime", Cards: 1, Model: "a&b.gguf"}},
		{in: "vfio-user:/run/card.sock", want: Address{Scheme: VFIOUser, Path: "/run/card.sock"}},
		{in: "01:00.0", want: Address{Scheme: PCI, Name: "0000:01:00.0"}},
		{in: "0000:AF:1f.7", want: Address{Scheme: PCI, Name: "0000:af:1f.7"}},
		{in: "hc1-00000000deadbeef", want: Address{Scheme: Serial, Name: "HC1-00000000DEADBEEF"}},
		{in: "", err: "empty"},
		{in: "mock", err: "not mock:"},
		{in: "mock:clock=fast", err: "begin with '?'"},
		{in: "mock:?clock=slow", err: `clock "slow": use realtime, fast, virtual`},
		{in: "mock:?seed=-1", err: "seed"},
		{in: "mock:?cards=0", err: "from 1 to 64"},
		{in: "mock:?cards=2&cards=3", err: "given twice"},
		{in: "mock:?speed=9", err: `option "speed" is not known; there are clock`},
		{in: "mock:?model=", err: "model has no value"},
		{in: "mock:?model=script:", err: "no path"},
		{in: "vfio-user:", err: "path"},
		{in: "01:00.8", err: "not mock:"},
	} {
		got, err := Parse(c.in)
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: error %v, want %q", c.in, err, c.err)
			}
		case err != nil || got != c.want:
			t.Errorf("%q: %+v, %v", c.in, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"mock:?clock=fast&seed=1", "vfio-user:/x", "01:00.0", "HC1-0000000000000001", "mock:?fault=a%b&model=script:x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Parse(s)
		if err != nil {
			return
		}
		b, err := Parse(a.String())
		if err != nil || a != b {
			t.Errorf("%q -> %+v -> %q -> %+v, %v", s, a, a.String(), b, err)
		}
	})
}
