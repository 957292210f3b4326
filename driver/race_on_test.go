//go:build race

package driver

// raceOn: the device of the ring benchmark publishes in assembly, which the
// race detector does not see.
const raceOn = true
