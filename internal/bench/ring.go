package bench

import (
	"context"
	"fmt"
	"math"
	"os/exec"
	"strconv"
	"strings"

	"github.com/hc1-toolkit/hc1/driver"
)

// Rounds of the ring comparison. A round is some short runs of each, back to
// back, since the first one is cold after the other's turn. Short runs fit
// between two interruptions, and short rounds see both rings in the same
// placement of the two processors, near or far (three to four times dearer),
// which on a virtual machine comes and goes.
const (
	ringRounds  = 40
	ringQuick   = 15
	ringInner   = 8
	ringEntries = 8192
)

// ring compares the driver's ring with the C ring.
func ring(ctx context.Context, o Options, r *Report) error {
	if r.Cores < 2 {
		why := "a ring between two threads needs two processors"
		r.RingReason = &why
		return nil
	}
	rounds := ringRounds
	if o.Quick {
		rounds = ringQuick
	}
	ours, theirs := math.Inf(1), math.Inf(1)
	for range rounds {
		for range ringInner {
			ns, err := driver.RingBench(ringEntries)
			if err != nil {
				return err
			}
			ours = min(ours, ns)
		}
		if o.RingRef == "" {
			continue
		}
		out, err := exec.CommandContext(ctx, o.RingRef, "--entries", strconv.Itoa(ringEntries), "--rounds", strconv.Itoa(ringInner)).Output()
		if err != nil {
			return fmt.Errorf("%s: %w", o.RingRef, err)
		}
		for _, line := range strings.Fields(string(out)) {
			c, err := strconv.ParseFloat(line, 64)
			if err != nil || c <= 0 {
				return fmt.Errorf("%s printed %q", o.RingRef, out)
			}
			theirs = min(theirs, c)
		}
	}
	r.RingNS = &ours
	if o.RingRef == "" {
		r.RingReason = &o.NoRef
		return nil
	}
	ratio := ours / theirs
	r.RingRatio, r.RingCNS = &ratio, &theirs
	return nil
}
