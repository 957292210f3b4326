package vm

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// udev takes the rules, and they bind nothing and open nothing to the world.
func TestUdevRules(t *testing.T) {
	const rules = "../../udev/70-hc1.rules"
	b, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		if strings.Contains(line, "driver_override") || strings.Contains(line, "new_id") || !strings.Contains(line, `GROUP="hc1", MODE="0660"`) {
			t.Errorf("rule %q", line)
		}
		if regexp.MustCompile(`MODE="0..[^0]"`).MatchString(line) {
			t.Errorf("open to everybody: %q", line)
		}
	}
	if missing != nil {
		t.Skip(missing)
	}
	lib := assets.QEMU + "/usr/lib/x86_64-linux-gnu"
	out, err := exec.Command(assets.QEMU+"/lib64/ld-linux-x86-64.so.2", "--library-path", lib+":"+lib+"/systemd", assets.QEMU+"/usr/bin/udevadm", "verify", "--resolve-names=never", rules).CombinedOutput()
	if err != nil {
		t.Errorf("udevadm: %v: %s", err, out)
	}
}
