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

// Rounds of the ring comparison. They are short and interleaved, and their
// minima are compared, so that what else the machine does touches both alike.
const (
	ringRounds  = 12
	ringInner   = 4 // of each, back to back: the first one is cold after the other's turn
	ringEntries = 100_000
)

// ring compares the driver's ring with the C ring.
func ring(ctx context.Context, o Options, r *Report) error {
	rounds := ringRounds
	if o.Quick {
		rounds = 3
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
	r.RingNS = ours
	if o.RingRef == "" {
		r.RingReason = &o.NoRef
		return nil
	}
	ratio := ours / theirs
	r.RingRatio, r.RingCNS = &ratio, &theirs
	return nil
}
