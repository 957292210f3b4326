// Package job is what a virtual machine of tests/vm and the test outside it
// say to each other: what to run, what came of it, and what its emulated
// cards, which are outside, should be.
package job

// Job is what the guest is to do, as JSON in /job of its initramfs.
type Job struct {
	Modules []string `json:"modules"` // to load, in order
	Bind    bool     `json:"bind"`    // give the cards to vfio-pci
	Lend    []string `json:"lend"`    // more for vfio-pci, as vendor:device; HC1_TEST_LENT is the last
	Huge    int      `json:"huge"`    // 2 MiB pages to set aside
	Steps   []Step   `json:"steps"`
}

// Step is a program to run.
type Step struct {
	Name    string   `json:"name"`
	Args    []string `json:"args"`
	Env     []string `json:"env"`
	Seconds int      `json:"seconds"` // bound; 60
	// Background: the next step begins at once. "wait", with its name as the
	// argument, is then the step that has its output and exit code.
	Background bool `json:"background"`
}

// Programs that the guest has built in:
//
//	dmesg               the kernel's log
//	cat FILE...         files
//	write FILE TEXT     text to a file, within the step's bound
//	sleep MILLISECONDS
//	ask WHAT            the outside, of card 0 (Request)
//	kill NAME           SIGKILL to a background step
//	peek NAME           what a background step has written so far
//	wait NAME           the end of a background step

// Marks in the guest's output. What a step prints stands between the first
// and the second of its own.
const (
	MarkBegin = "@@@ begin "
	MarkEnd   = "@@@ end " // name, exit code
	MarkDone  = "@@@ done"
)
