package attach

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hc1-toolkit/hc1/driver"
	"github.com/hc1-toolkit/hc1/internal/address"
	"github.com/hc1-toolkit/hc1/internal/card/trace"
)

func parse(t *testing.T, s string) address.Address {
	t.Helper()
	a, err := address.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	traced := filepath.Join(dir, "trace")
	for _, c := range []struct {
		address string
		index   int
		err     error
		says    string
	}{
		{address: "mock:"},
		{address: "mock:?clock=virtual&cards=2", index: 1},
		{address: "mock:?clock=fast&model=script:" + file("s.txt", "once upon a time")},
		{address: "mock:?clock=fast&trace=" + traced},
		{address: "mock:?model=" + file("x.gguf", "GGUF"), err: ErrBadInput, says: "x.gguf"},
		{address: "mock:?model=" + dir, err: ErrBadInput, says: dir},
		{address: "mock:?model=" + dir + "/none", err: fs.ErrNotExist, says: "none"},
		{address: "mock:?model=script:" + dir + "/none", err: fs.ErrNotExist, says: "script"},
		{address: "mock:?trace=" + dir + "/none/t", err: fs.ErrNotExist, says: "trace"},
		{address: "mock:?fault=explode", err: ErrAddress, says: `no fault is named "explode"`},
		{address: "vfio-user:" + dir + "/none", err: ErrNoServer, says: "no socket there"},
		{address: "vfio-user:" + dir + "/s.txt", err: ErrNoServer, says: "nobody listens"},
		{address: "00ff:01:00.0", err: ErrNoCard, says: "00ff:01:00.0"},
		{address: "HC1-00000000000000FF", err: ErrNoCard, says: "HC1-"},
	} {
		got, err := Open(t.Context(), parse(t, c.address), c.index)
		if c.err != nil {
			if !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v, want %v and %q", c.address, err, c.err, c.says)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.address, err)
			continue
		}
		d, err := driver.Open(context.Background(), got.Function, driver.Config{Clock: got.Clock})
		if err != nil {
			t.Errorf("%s: %v", c.address, err)
			continue
		}
		if caps := d.Capabilities(); int(caps.Vocab) != got.Vocab.VocabSize() {
			t.Errorf("%s: card has %d tokens, the vocabulary %d", c.address, caps.Vocab, got.Vocab.VocabSize())
		}
		if err := d.Close(context.Background()); err != nil {
			t.Errorf("%s: close: %v", c.address, err)
		}
	}
	if _, err := Open(t.Context(), parse(t, "mock:?cards=2"), 2); err == nil {
		t.Error("card 2 of 2 is there")
	}
	f, err := os.Open(traced)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if tr, err := trace.ReadTrace(f); err != nil || len(tr.Entries) == 0 {
		t.Errorf("trace: %v", err)
	}
}

// Cards tell their scripts apart, and two that are equal are equal.
func TestScriptsHaveModelIDs(t *testing.T) {
	m, err := LoadModel("")
	if err != nil {
		t.Fatal(err)
	}
	id := func(ids ...uint32) [32]byte {
		e, err := Script(m.Vocab, ids)
		if err != nil {
			t.Fatal(err)
		}
		return e.Info().ModelID
	}
	if id(1, 2) != id(1, 2) || id(1, 2) == id(1, 3) || id(1) == id(1, 0) {
		t.Error("model ids of scripts")
	}
	if !m.Chat() {
		t.Error("the model that ships with the card was made for conversations")
	}
}
