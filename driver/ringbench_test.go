package driver

import "testing"

func TestRingBenchRuns(t *testing.T) {
	if raceOn {
		t.Skip("the race detector does not see stores made in assembly")
	}
	ns, err := RingBench(20000)
	if err != nil || ns <= 0 {
		t.Errorf("%v ns per entry, %v", ns, err)
	}
}

func BenchmarkRing(b *testing.B) {
	ns, err := RingBench(max(b.N, 10*ringBatch))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(ns, "ns/entry")
	b.ReportMetric(0, "ns/op")
}
