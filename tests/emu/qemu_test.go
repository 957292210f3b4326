package emu

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// qemu is the program as words: HC1_QEMU, or what is on the path.
func qemu(t *testing.T) []string {
	t.Helper()
	words := strings.Fields(os.Getenv("HC1_QEMU"))
	if len(words) == 0 {
		words = []string{"qemu-system-x86_64"}
	}
	help := exec.Command(words[0], append(words[1:], "-device", "help")...)
	if out, err := help.CombinedOutput(); err != nil || !strings.Contains(string(out), "vfio-user-pci") {
		t.Skipf("no QEMU with vfio-user-pci (10.1 or later; HC1_QEMU names one): %v", err)
	}
	return words
}

// QEMU takes the card: its firmware sizes and places the BARs, and a register
// read through its physical memory is the card's.
func TestQEMU(t *testing.T) {
	words := qemu(t)
	emu, cards := emulator(t, "-v")
	path := strings.TrimPrefix(cards[0], "vfio-user:")
	vm := start(t, "qemu", append(words, "-accel", "tcg", "-machine", "q35,memory-backend=mem", "-m", "256M",
		"-object", "memory-backend-memfd,id=mem,size=256M,share=on", "-nodefaults", "-display", "none", "-no-reboot", "-monitor", "stdio",
		"-device", "pcie-root-port,id=rp0,slot=1",
		"-device", fmt.Sprintf(`{"driver":"vfio-user-pci","bus":"rp0","id":"card0","socket":{"path":%q,"type":"unix"}}`, path))...)
	bar := regexp.MustCompile(`PCI device 1234:4843\s+PCI subsystem \S+\s+BAR0: 64 bit memory at (0x[0-9a-f]+)`)
	var at []string
	vm.until("BAR0 of the card", func() bool {
		vm.say("info pci\n")
		at = bar.FindStringSubmatch(vm.out.String())
		return at != nil
	})
	var base uint64
	if _, err := fmt.Sscanf(at[1], "0x%x", &base); err != nil {
		t.Fatal(err)
	}
	vm.say(fmt.Sprintf("xp /1wx %#x\n", base+hci.RegVS))
	want := regexp.MustCompile(fmt.Sprintf(`\b0*%x: 0x%08x`, base+hci.RegVS, uint32(hci.Version)))
	vm.until("register VS", func() bool { return want.MatchString(vm.out.String()) })
	vm.say("quit\n")
	if code := vm.end(); code != 0 {
		t.Errorf("QEMU ended with %d: %s", code, vm.err.String())
	}
	if e := vm.err.String(); strings.Contains(e, "vfio") {
		t.Errorf("QEMU complains: %s", e)
	}
	well(t, "device", "show", "--card", cards[0]) // and it is free again
	emu.stop()
	if e := emu.err.String(); strings.Contains(e, "command refused") || strings.Contains(e, "breach") {
		t.Errorf("hc1emu complains: %s", e)
	}
}
