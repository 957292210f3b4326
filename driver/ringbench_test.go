package driver

import (
	"runtime"
	"testing"
)

func TestRingBenchRuns(t *testing.T) {
	ns, err := RingBench(20000)
	if runtime.GOMAXPROCS(0) < 2 {
		if err == nil {
			t.Error("host and device on one processor")
		}
		return
	}
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
