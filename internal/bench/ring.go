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
	ringRounds  = 30
	ringEntries = 100_000
)

// ring compares the driver's ring with the C ring.
func ring(ctx context.Context, o Options, r *Report) error {
	rounds := ringRounds
	if o.Quick {
		rounds = 5
	}
	ours, theirs := math.Inf(1), math.Inf(1)
	for range rounds {
		ns, err := driver.RingBench(ringEntries)
		if err != nil {
			return err
		}
		ours = min(ours, ns)
		if o.RingRef == "" {
			continue
		}
		out, err := exec.CommandContext(ctx, o.RingRef, "--entries", strconv.Itoa(ringEntries), "--rounds", "1").Output()
		if err != nil {
			return fmt.Errorf("%s: %w", o.RingRef, err)
		}
		c, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
		if err != nil || c <= 0 {
			return fmt.Errorf("%s printed %q", o.RingRef, out)
		}
		theirs = min(theirs, c)
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
