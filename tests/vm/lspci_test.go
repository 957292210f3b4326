package vm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hc1-toolkit/hc1/hal/mock"
)

// The card's configuration space is one that lspci decodes without complaint.
func TestLspci(t *testing.T) {
	if missing != nil {
		t.Skip(missing)
	}
	e, err := Script(10)
	if err != nil {
		t.Fatal(err)
	}
	m, err := mock.New(mock.Options{Engine: e, Serial: 0x0123_4567_89AB_CDEF})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	dump := "01:00.0 Processing accelerators: hc1\n"
	for off := 0; off < 4096; off += 16 {
		dump += fmt.Sprintf("%02x:", off)
		for i := range 16 {
			v, err := m.ReadConfig(off+i, 1)
			if err != nil {
				t.Fatal(err)
			}
			dump += fmt.Sprintf(" %02x", v)
		}
		dump += "\n"
	}
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte(dump), 0o644); err != nil {
		t.Fatal(err)
	}
	lib := assets.QEMU + "/usr/lib/x86_64-linux-gnu"
	out, err := exec.Command(assets.QEMU+"/lib64/ld-linux-x86-64.so.2", "--library-path", lib, assets.QEMU+"/usr/bin/lspci", "-vvv", "-F", path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text := string(out)
	for _, want := range []string{"Class 1200", "Region 0: Memory at", "(64-bit, non-prefetchable)", "Power Management version 3", "MSI-X: Enable- Count=32", "Express (v2) Endpoint", "FLReset+", "Speed 16GT/s, Width x16",
		"Advanced Error Reporting", "Device Serial Number 01-23-45-67-89-ab-cd-ef"} {
		if !strings.Contains(text, want) {
			t.Errorf("lspci does not say %q", want)
		}
	}
	for _, bad := range []string{"!!!", "Unknown", "unknown", "<chain broken>", "invalid", "virtual"} {
		if strings.Contains(text, bad) {
			t.Errorf("lspci complains: %q", bad)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}
