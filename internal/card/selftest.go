package card

import (
	"strings"

	"github.com/hc1-toolkit/hc1/hal/hci"
)

// Codes and results of SELF_TEST (sections 9 and 17.2).
const (
	testShort    = 1
	testExtended = 2
	testAbort    = 0xF

	testPassed   = 0
	testAborted  = 1
	testWeights  = 2
	testForward  = 3
	testMemory   = 4
	testShortNS  = 10_000_000
	testLongNS   = 100_000_000
	testKVTokens = 64
)

// selfTestState is the test that runs and the last one that finished. A test
// is modelled as taking some time; the silicon is asked at its end.
type selfTestState struct {
	running    uint8
	begin, end int64
	last       hci.SelfTestLog
}

// stop forgets a running test (reset).
func (t *selfTestState) stop() {
	if t.running != 0 {
		t.last.Code, t.last.Result = t.running, testAborted
	}
	t.running = 0
}

func (c *Card) startSelfTest(cmd *command) result {
	t := &c.selftest
	switch code := uint8(cmd.Get(hci.SelfTestSTC)); code {
	case testAbort:
		if t.running != 0 {
			t.finish(c, testAborted)
		}
	case testShort, testExtended:
		if t.running != 0 {
			return refuse(hci.StatusSelfTestInProgress)
		}
		t.running, t.begin = code, c.now
		t.end = c.now + testShortNS
		if code == testExtended {
			t.end = c.now + testLongNS
		}
	default:
		return badField(hci.SQEOffCDW10)
	}
	return success(0, 0)
}

// tick finishes a test that is due.
func (t *selfTestState) tick(c *Card) int64 {
	if t.running == 0 {
		return Idle
	}
	if c.now < t.end {
		return t.end
	}
	code := t.running
	res := uint8(testPassed)
	c.unlocked(func() {
		if err := c.cfg.Engine.SelfTest(); err != nil {
			res = testWeights
			if strings.Contains(err.Error(), "forward") {
				res = testForward
			}
		} else if code == testExtended && !c.exerciseKV() {
			res = testMemory
		}
	})
	if c.Resetting() || c.regs.disabling {
		return c.now
	}
	if c.faults.plain("selftest-fail") {
		res = testWeights
	}
	t.finish(c, res)
	return Idle
}

// exerciseKV fills some free KV memory twice and compares what it computes.
func (c *Card) exerciseKV() bool {
	n := min(testKVTokens, c.cfg.Context)
	a, b := make([]float32, c.info.Vocab), make([]float32, c.info.Vocab)
	toks := make([]uint32, n)
	for i := range toks {
		toks[i] = uint32(i % c.info.Vocab)
	}
	s := c.cfg.Engine.NewState()
	if s.AppendLast(toks, a) != nil {
		return false
	}
	s.Zero()
	if s.AppendLast(toks, b) != nil {
		return false
	}
	s.Zero()
	for i := range a {
		if a[i] != b[i] && (a[i] == a[i] || b[i] == b[i]) {
			return false
		}
	}
	return true
}

func (t *selfTestState) finish(c *Card, res uint8) {
	t.last = hci.SelfTestLog{Code: t.running, Result: res, TimeNS: c.uptime()}
	t.running = 0
	c.worked = true
	c.event(hci.EventSelfTest, uint64(res), 0)
}

func (t *selfTestState) page(c *Card) *hci.SelfTestLog {
	p := t.last
	if t.running != 0 {
		p.Current = t.running
		p.Percent = uint8(min(99, 100*(c.now-t.begin)/(t.end-t.begin)))
	}
	return &p
}

// unlocked runs f, which must touch nothing of the card's, without the lock.
func (c *Card) unlocked(f func()) {
	c.lock.Unlock()
	f()
	c.lock.Lock()
}
